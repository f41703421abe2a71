"""Measure the time of each part of the command, from `import` to exit, and its peak memory.

    python benchmarks/command.py digit-recognizer.zip

Beside a training of `quick` runs bare.py, a short script that trains the same network without fastai and without a
check. The two alternate, and the median counts. `times_bare` is the ratio of their complete times."""
from _common import bars, parse, parser, save
import json, os, subprocess, sys, tempfile, time
from pathlib import Path

# from /proc, because rusage keeps the peak of the parent after an exec
peak = ("import atexit; atexit.register(lambda: "
        "print(next(l for l in open('/proc/self/status') if 'VmHWM' in l).split()[1])); ")

bare_script = str(Path(__file__).parent/'bare.py')

def run(code, *words, cwd=None):
    "Return (seconds, peak MB) of a Python process, which must succeed"
    t = time.perf_counter()
    report_peak = peak if os.path.exists('/proc/self/status') else ''
    p = subprocess.run([sys.executable, '-c', report_peak+code, *words], cwd=cwd, capture_output=True, text=True)
    s = time.perf_counter()-t
    if p.returncode: raise SystemExit(f"{code} {' '.join(words)}: {p.stderr}")
    return s, int(p.stdout.split()[-1])/2**10 if report_peak else float('nan')

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('--times', type=int, default=3,
                   help='processes per part; the fastest counts, and the median of the pairs')
    p.add_argument('--quick-only', action='store_true',
                   help='skip the prediction with single, which trains its net for an epoch')
    args = parse(p)
    data = args.data if args.data=='sample' else str(Path(args.data).resolve())
    def best(*words, **kw): return min(run(*words, **kw) for _ in range(args.times))
    cli,rows = 'from digitfast.cli import main; main()',[]
    def row(what, seconds, mb, **kw):
        rows.append(dict(what=what, seconds=seconds, peak_mb=mb, **kw))
        print(f'{what}: {seconds:.2f} s, {mb:.0f} MB', flush=True)
    run('import digitfast.tasks.train') # now the files are in the cache
    imported,mb = best('import digitfast.tasks.train')
    row('import of all that train needs', imported, mb)
    for k in ('torch','fastai.learner'): row(f'import {k}', *best(f'import {k}'))
    row('digitfast --help', *best(cli, '--help'))
    row('digitfast info', *best(cli, 'info'))
    with tempfile.TemporaryDirectory() as d:
        def train_once(name, *words):
            secs,mb = run(cli, 'train', *words, '--out', name, cwd=d)
            return secs, mb, json.loads((Path(d)/name/'metrics.json').read_text())
        def train(name, *words, result=None, **kw):
            secs,mb,metrics = result or train_once(name, *words)
            parts = {k:metrics['seconds'][k] for k in ('load','train','predict')}
            what = f"digitfast train {' '.join(Path(o).name for o in words)}"
            row(what, secs, mb, **parts, rest=secs-imported-sum(parts.values()),
                less_training=secs-parts['train'], **kw)
        def bare(precision):
            t = time.perf_counter()
            words = [data, '--bf16'] if precision=='bf16' else [data]
            p = subprocess.run([sys.executable, bare_script, *words], cwd=d, capture_output=True, text=True, check=True)
            return time.perf_counter()-t, json.loads(p.stdout)['train']
        def predict(name, code, *words):
            secs,mb = best(code, *words, cwd=d)
            row(name, secs, mb, beyond_import=secs-imported)
        train('sample', 'sample')
        if args.data!='sample':
            pairs = []
            for i in range(args.times):
                ours = train_once('quick' if i==0 else f'quick{i}', data)
                pairs.append((ours, bare(ours[2]['precision'])))
            ours,beside = (sorted(o, key=lambda r: r[0])[len(pairs)//2] for o in zip(*pairs))
            train('quick', data, result=ours, times_bare=ours[0]/beside[0])
            row('bare torch script', beside[0], float('nan'), train=beside[1], less_training=beside[0]-beside[1])
        else: train('quick', data)
        predict(f'digitfast predict QUICK {Path(data).name}', cli, 'predict', 'quick', data)
        if not args.quick_only:
            train('single', data, '--recipe', 'single', '--epochs', '1')
            predict(f'digitfast predict SINGLE {Path(data).name}', cli, 'predict', 'single', data)
            predict(f'digitfast predict SINGLE {Path(data).name} --tta', cli, 'predict', 'single', data, '--tta')
    t = save('command', rows, args)
    bars('command', t.what.tolist(), t.seconds.tolist(), 'seconds', args, log=False)
