"""Measure seconds and peak memory of reading, splitting, an epoch and predicting, for growing numbers of rows.

    python benchmarks/scale.py digit-recognizer.zip --rows 5000 42000 420000

The training set is repeated with shifts into a CSV in a temporary folder, or in the folder --keep. Each size runs in
its own process. With --add, scale.csv keeps its other sizes, so that millions of rows need to be measured only once."""
from _common import others, parse, parser, save
import json, os, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, pandas as pd
from contextlib import nullcontext

def peak_mb():
    "Return the peak memory of this process"
    try: return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])/2**10
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10

def write_csv(df, n, path):
    "Write `n` rows: those of `df`, repeated with a different shift each time"
    side = round((df.shape[1]-1)**0.5)
    x,y = df.iloc[:,1:].to_numpy(np.uint8).reshape(-1, side, side),df.label.to_numpy(np.uint8)
    text = np.array([f'{i},'.encode() for i in range(256)], dtype='S4')
    with open(path, 'wb') as f:
        f.write((','.join(df.columns)+'\n').encode())
        for k in range(-(-n//len(x))):
            moved = np.roll(x, (k%7-3 if k else 0, k//7%7-3 if k else 0), (1,2)).reshape(len(x), -1)
            for i in range(0, min(len(x), n-k*len(x)), 2048):
                rows = np.column_stack([y[i:i+2048], moved[i:i+2048]])[:n-k*len(x)-i]
                lines = text[rows].view(np.uint8).reshape(len(rows), -1)
                lines = np.pad(lines, ((0,0),(0,1)), constant_values=10) # a line end after the last comma
                f.write(lines.tobytes().replace(b'\0', b'').replace(b',\n', b'\n'))

def measure(folder, recipe):
    "Return the seconds and the peak memory of each stage in this process"
    from dataclasses import replace
    import torch
    from digitfast.learn.recipe import recipes
    from digitfast.data.read import read_csvs
    from digitfast.learn.predict import predict_rows
    from torch import optim
    recipe,res = replace(recipes[recipe], epochs=1),{}
    torch.nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).sum().backward()
    optim.Adam([torch.ones(1)])
    res['base_mb'],t = peak_mb(),time.perf_counter()
    def done(stage):
        nonlocal t
        res[stage],res[f'{stage}_mb'] = time.perf_counter()-t,peak_mb()
        t = time.perf_counter()
    df = read_csvs(folder).train
    res['rows'],res['pixels_mb'] = len(df),len(df)*(df.shape[1]-1)/2**20
    done('read')
    dls = recipe.dls(df)
    dls.train.tensors,dls.valid.tensors
    done('split')
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    done('epoch')
    predict_rows(learn, df.drop(columns='label'))
    done('predict')
    return res

def picture(t, out):
    "Plot the cost of a row, for equal numbers of threads, and the peak memory"
    from matplotlib.figure import Figure
    fig = Figure(figsize=(6.5,2.6), layout='constrained')
    a,b = fig.subplots(1, 2)
    same = t[t.threads==t.threads.iloc[0]]
    for s in ('read','split','epoch','predict'): a.plot(same.rows, same[s]/same.rows*1e6, 'o-', label=s)
    a.set(xscale='log', xlabel='rows', ylabel='µs per row', ylim=(0,1.5e6*(same.epoch/same.rows).max()))
    a.legend(frameon=False, fontsize=8, ncol=2)
    b.plot(t.rows, t.epoch_mb, 'o-', color='#c0504d', label='peak memory')
    b.plot(t.rows, t.csv_pixels_mb, 'o-', color='#8fa8c0', label='pixels as uint8')
    b.set(xscale='log', yscale='log', xlabel='rows', ylabel='MB')
    b.legend(frameon=False, fontsize=8)
    fig.savefig(out/'scale.png', dpi=80)

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('--rows', type=int, nargs='+', default=[5_000, 42_000, 420_000], help='rows to try')
    p.add_argument('--recipe', default='quick', help='recipe of the epoch')
    p.add_argument('--keep', metavar='DIR',
                   help='folder for the CSVs, which are kept; default: a temporary folder')
    p.add_argument('--add', action='store_true', help='keep the results of other sizes')
    p.add_argument('--one', action='store_true', help='measure DATA itself in this process, as JSON')
    args = parse(p)
    if args.one: print(json.dumps(measure(args.data, args.recipe))); sys.exit()
    from digitfast.data.read import read_csvs
    rows = []
    for n in args.rows:
        with nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as d:
            d = Path(d)/f'{n}-rows'
            if not d.exists():
                d.mkdir(parents=True)
                write_csv(read_csvs(args.data).train, n, d/'train.csv')
            words = '-W', 'ignore', __file__, str(d), '--one', '--recipe', args.recipe, '--threads', str(args.threads)
            out = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stdout
        o = json.loads(out.splitlines()[-1])
        parts = 'read','split','epoch','predict'
        us,times = 1e6*sum(o[k] for k in parts)/n,(o['epoch_mb']-o['base_mb'])/o['pixels_mb']
        rows.append(dict(rows=n, csv_pixels_mb=o['pixels_mb'], base_mb=o['base_mb'],
                         **{k:o[k] for s in parts for k in (s,f'{s}_mb')}, us_per_row=us, times_pixels=times))
        print(f"{n:,} rows: {us:.0f} us per row, peak {o['epoch_mb']:.0f} MB to the end of the epoch, "
              f"{times:.1f} times the pixels", flush=True)
    t = save('scale', rows, args, keep=others('scale', args, 'rows', args.rows)).sort_values('rows')
    t.to_csv(args.out/'scale.csv', index=False)
    picture(t, args.out)
