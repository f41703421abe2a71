"Functions that the benchmarks share: the machine, the data, a table, a CSV and a picture"
import argparse, importlib.metadata, os, platform, sys, time
from pathlib import Path
import numpy as np, pandas as pd

results = Path(__file__).parent/'results'

def parser(doc, data=True):
    "Return a parser with the arguments of every benchmark: DATA, --threads and --out"
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    if data: p.add_argument('data', metavar='DATA', help="folder or zip with the competition's CSVs, or 'sample'")
    p.add_argument('--threads', type=int, default=os.cpu_count(), help="torch's threads")
    p.add_argument('--out', type=Path, default=results, metavar='DIR', help='folder for the CSV and the picture')
    return p

def parse(p):
    args = p.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(args.threads) # set before torch is imported, and for child processes
    if 'torch' in sys.modules: sys.modules['torch'].set_num_threads(args.threads)
    return args

def cpu_name():
    try: names = [l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')]
    except OSError: names = []
    return names[0] if names else platform.processor() or platform.machine()

def others(name, args, col, new):
    "Return the rows of NAME.csv that --add keeps: those whose `col` is not in `new`"
    f = args.out/f'{name}.csv'
    if args.add and f.exists(): return pd.read_csv(f).query(f'{col} not in @new')

def save(name, rows, args, show=True, keep=None):
    "Print `rows` if `show`; save them after the rows `keep` as NAME.csv, with date, machine, versions and command"
    df,v = pd.DataFrame(rows),importlib.metadata.version
    if show: print(df.to_string(index=False, float_format=lambda v: f'{v:.4g}'))
    words = [Path(o).name if os.sep in o else f'"{o}"' if ' ' in o else o for o in sys.argv[1:]]
    words = [o for i,o in enumerate(words) if '--out' not in words[max(0, i-1):i+1]]
    about = dict(date=time.strftime('%Y-%m-%d'), machine=f'{cpu_name()}, {os.cpu_count()} cores', threads=args.threads,
                 versions=f"Python {platform.python_version()}, torch {v('torch')}, fastai {v('fastai')}",
                 command=' '.join(['python', f'benchmarks/{Path(sys.argv[0]).name}', *words]))
    args.out.mkdir(parents=True, exist_ok=True)
    df = pd.concat([keep, df.assign(**about)], ignore_index=True)
    df.to_csv(args.out/f'{name}.csv', index=False)
    return df

def bars(name, labels, values, xlabel, args, log=True, fmt='{:.3g}'):
    "Draw horizontal bars and save them as NAME.png"
    from matplotlib.figure import Figure
    fig = Figure(figsize=(8.5, 0.3*len(labels)+0.9), layout='constrained')
    ax = fig.subplots()
    ax.barh(labels, values, color=['#c0504d' if 'digitfast' in o else '#8fa8c0' for o in labels])
    for i,v in enumerate(values): ax.text(v, i, ' '+fmt.format(v), va='center', fontsize=8)
    ax.invert_yaxis()
    ax.margins(x=.2)
    if log: ax.set_xscale('log')
    ax.set_xlabel(xlabel)
    fig.savefig(args.out/f'{name}.png', dpi=80)

def fold(df, seed=0):
    "Return the positions of nine tenths of the rows for training and of a stratified tenth for validation"
    from digitfast.data.split import digit_splitter
    return digit_splitter('stratified', 0.1, seed)(df)

def tensors(df):
    "Return the uint8 pixels (n, 1, side, side) and the labels of a frame as tensors"
    import torch
    x = torch.from_numpy(df.drop(columns='label').to_numpy(np.uint8, copy=True))
    side = round(x.shape[1]**0.5)
    return x.view(-1, 1, side, side).contiguous(), torch.tensor(df.label.to_numpy())

def alternate(fs, n, clock=time.perf_counter):
    "Return the seconds of each function in the dict `fs`, called in turn `n` times after a first, uncounted call"
    res = {k:[] for k in fs}
    for i in range(n+1):
        for k,f in fs.items():
            t = clock()
            f()
            if i: res[k].append(clock()-t)
    return res
