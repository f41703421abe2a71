"""Where the seconds of the command go, from `import` to exit, and its peak memory.

    python benchmarks/command.py digit-recognizer.zip"""
from _common import bars, parse, parser, save
import json, os, subprocess, sys, tempfile, time
from pathlib import Path

def run(*words, cwd=None):
    "(seconds, peak MB) of a process. It must end well."
    t = time.perf_counter()
    p = subprocess.Popen([sys.executable, *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = p.stderr.read()
    _,status,use = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode: raise SystemExit(f"{' '.join(words)}: {err.decode()}")
    return time.perf_counter()-t, use.ru_maxrss/2**10

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('--recipe', default='quick', help='what to train, and predict with, on DATA')
    p.add_argument('--times', type=int, default=3, help='processes of each; the fastest counts')
    args = parse(p)
    data = args.data if args.data=='sample' else str(Path(args.data).resolve())
    def best(*words, n=args.times, **kw): return min(run(*words, **kw) for _ in range(n))
    cli,rows = ('-c', 'from digitfast.cli import main; main()'),[]
    def row(what, seconds, mb, **kw): rows.append(dict(what=what, seconds=seconds, peak_mb=mb, **kw)); print(f'{what}: {seconds:.2f} s, {mb:.0f} MB', flush=True)
    best('-c', 'import digitfast.run', n=1) # the files are in the cache now
    imported,mb = best('-c', 'import digitfast.run')
    row('import of all that train needs', imported, mb)
    for k in ('torch','fastai.learner'): row(f'import {k}', *best('-c', f'import {k}'))
    row('digitfast --help', *best(*cli, '--help'))
    row('digitfast info', *best(*cli, 'info'))
    with tempfile.TemporaryDirectory() as d:
        for i,words in enumerate([('sample',), (data, '--recipe', args.recipe)]):
            secs,mb = run(*cli, 'train', *words, '--out', f'run{i}', cwd=d)
            s = json.loads((Path(d)/f'run{i}'/'metrics.json').read_text())['seconds']
            row(f'digitfast train {Path(words[0]).name}'+(f' --recipe {args.recipe}' if i else ''), secs, mb, load=s['load'], train=s['train'], predict=s['predict'], rest=secs-imported-s['load']-s['train']-s['predict'])
        secs,mb = best(*cli, 'predict', 'run1', data, cwd=d)
        row(f'digitfast predict RUN {Path(data).name}', secs, mb, rest=secs-imported)
    t = save('command', rows, args)
    bars('command', t.what.tolist(), t.seconds.tolist(), 'seconds', args, log=False)
