"""Which deliberate faults do the tests not see? Small changes of the source, each tried against its module's tests.

    python benchmarks/mutants.py --n 200 --seed 0 --out benchmarks/results/mutants.csv

A mutant is one change of one module: a comparison, an operator, a number, a condition or a returned value. It is drawn
with a fixed seed, written into a copy of the package, and counts as killed where a test fails or takes too long. What
stands in `--out` is not tried again, so the command can be stopped and go on; after a change of the source, remove it.
"""
import argparse, ast, csv, os, random, shutil, subprocess, sys, tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
TESTS = dict(
    read='test_read.py test_layouts.py test_mnist.py', table='test_read.py test_layouts.py',
    columns='test_read.py test_layouts.py', submit='test_submit.py',
    rundir='test_rundir.py test_run.py test_faults.py test_ensemble.py',
    predict='test_submit.py test_unlike.py test_traps.py')
SWAPS = {ast.Lt:ast.LtE, ast.LtE:ast.Lt, ast.Gt:ast.GtE, ast.GtE:ast.Gt, ast.Eq:ast.NotEq, ast.NotEq:ast.Eq,
         ast.In:ast.NotIn, ast.NotIn:ast.In, ast.Is:ast.IsNot, ast.IsNot:ast.Is,
         ast.Add:ast.Sub, ast.Sub:ast.Add, ast.Mult:ast.FloorDiv,
         ast.Div:ast.Mult, ast.FloorDiv:ast.Mult, ast.And:ast.Or, ast.Or:ast.And}

def changes(node):
    "What can be changed in `node`: pairs of a name and a function that does it"
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield 'comparison', lambda: node.ops.__setitem__(0, SWAPS[type(node.ops[0])]())
    if isinstance(node, (ast.BinOp,ast.BoolOp)) and type(node.op) in SWAPS:
        yield 'operator', lambda: setattr(node, 'op', SWAPS[type(node.op)]())
    if isinstance(node, ast.Constant) and type(node.value) in (int,float):
        yield 'number', lambda: setattr(node, 'value', node.value+1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield 'truth', lambda: setattr(node, 'value', not node.value)
    if isinstance(node, (ast.If,ast.IfExp,ast.While)):
        yield 'condition', lambda: setattr(node, 'test', ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Return) and node.value is not None:
        yield 'return', lambda: setattr(node, 'value', ast.Constant(None))

def sites(tree): return [(node,k) for node in ast.walk(tree) for k,_ in enumerate(changes(node))]

def mutant(src, i):
    "The source with its change number `i`, and what that is"
    tree = ast.parse(src)
    node,k = sites(tree)[i]
    what,do = list(changes(node))[k]
    before = ast.unparse(node).split('\n')[0]
    do()
    what = f'{what}: {before} -> {ast.unparse(node).splitlines()[0]}'
    return ast.unparse(ast.fix_missing_locations(tree)), what, node.lineno

def drawn(n, seed, modules):
    "`n` mutants (module, number) with a fixed seed, from `modules` together"
    every = [(m,i) for m in modules for i in range(len(sites(ast.parse((REPO/f'digitfast/{m}.py').read_text()))))]
    return random.Random(seed).sample(every, min(n, len(every)))

def survives(root, module, src, secs):
    "Do the module's tests pass with the source `src` in the copy `root`?"
    (root/f'digitfast/{module}.py').write_text(src)
    env = os.environ|dict(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE='1', OMP_NUM_THREADS='1', MPLBACKEND='agg')
    tests = [f'tests/{o}' for o in TESTS[module].split()]
    cmd = [sys.executable, '-m', 'pytest', '-q', '-x', '-n', '0', '-p', 'no:cacheprovider', *tests]
    try: return subprocess.run(cmd, cwd=root, env=env, capture_output=True, timeout=secs).returncode==0
    except subprocess.TimeoutExpired: return False
    finally: shutil.copy(REPO/f'digitfast/{module}.py', root/f'digitfast/{module}.py')

def kept(path):
    "The rows of an earlier run"
    if not path or not path.exists(): return []
    with open(path, newline='') as f: return [dict(o, number=int(o['number'])) for o in csv.DictReader(f)]

def keep(path, rows):
    if not path: return
    with open(path, 'w', newline='') as f:
        w = csv.DictWriter(f, list(rows[0]))
        w.writeheader()
        w.writerows(rows)

def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--n', type=int, default=200, help='mutants to draw')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--modules', nargs='*', default=list(TESTS), choices=list(TESTS))
    p.add_argument('--seconds', type=int, default=600, help='a mutant whose tests take longer is killed')
    p.add_argument('--part', default='0/1', help='K/N: every N-th of the mutants drawn, beginning with number K')
    p.add_argument('--out', type=Path, help='CSV of the mutants; left out, nothing is written')
    a = p.parse_args()
    k,n = map(int, a.part.split('/'))
    rows = kept(a.out)
    done = {(o['module'],o['number']) for o in rows}
    with tempfile.TemporaryDirectory() as d:
        root = Path(d)
        for o in 'digitfast','tests': shutil.copytree(REPO/o, root/o, ignore=shutil.ignore_patterns('__pycache__'))
        for o in 'pyproject.toml','setup.py','settings.ini','README.md','LICENSE': shutil.copy(REPO/o, root/o)
        for module,i in drawn(a.n, a.seed, a.modules)[k::n]:
            if (module,i) in done: continue
            src,what,line = mutant((REPO/f'digitfast/{module}.py').read_text(), i)
            alive = survives(root, module, src, a.seconds)
            rows.append(dict(module=module, number=i, line=line, change=what[:160], killed='' if alive else 'yes'))
            keep(a.out, rows)
            print(f"{'SURVIVED' if alive else 'killed':<9}{module}:{line} {what[:160]}", flush=True)
    killed = sum(bool(o['killed']) for o in rows)
    print(f'{killed} of {len(rows)} killed ({killed/max(len(rows), 1):.0%})')

if __name__=='__main__': main()
