"""Count the deliberate faults that the tests find: small changes of the source, each tested with its tests.

    python benchmarks/mutants.py --n 200 --seed 0

A mutant is one change of one module: a comparison, an operator, a number, a condition or a returned value. It is drawn
with a fixed seed and written into a copy of the package. First the quick tests that reach its line run, the shortest
first, and then the other tests of its module. The mutant is killed if a test fails. After `--seconds` it counts as not
found, so the result is a lower bound. Mutants in mutants.csv are not tried again, so you can stop and resume the
command. If the source has changed, remove the file, because other mutants are drawn."""
from _common import results
import argparse, ast, csv, multiprocessing, os, random, shutil, signal, sys, tempfile, time
from collections import Counter
from pathlib import Path

REPO,FORK = Path(__file__).resolve().parent.parent,multiprocessing.get_context('fork')
TESTS = {
    **{f'data.{o}':'test_read test_layouts test_mnist test_read_fuzz'
       for o in 'ranges reading table pixels columns labels checks files frames mnist read'.split()},
    'kaggle.submission':'test_submit',
    **{f'runs.{o}':'test_rundir test_run test_faults test_ensemble test_run_fuzz'
       for o in ('files','fields','preds','rundir','checkpoint','run')},
    'learn.predict':'test_submit test_traps test_run', 'data.drift':'test_unlike'}
SWAPS = {ast.Lt:ast.LtE, ast.LtE:ast.Lt, ast.Gt:ast.GtE, ast.GtE:ast.Gt, ast.Eq:ast.NotEq, ast.NotEq:ast.Eq,
         ast.In:ast.NotIn, ast.NotIn:ast.In, ast.Is:ast.IsNot, ast.IsNot:ast.Is,
         ast.Add:ast.Sub, ast.Sub:ast.Add, ast.Mult:ast.FloorDiv,
         ast.Div:ast.Mult, ast.FloorDiv:ast.Mult, ast.And:ast.Or, ast.Or:ast.And}

def changes(node):
    "Yield the possible changes of `node`, as pairs of a name and a function"
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

def source(module, root=REPO):
    "Return the file of `module`, such as 'data.read', in the repository or a copy of it"
    return root/'digitfast'/f"{module.replace('.', '/')}.py"

def test_file(root, name):
    "Return the file of tests called `name`, from any folder"
    [f] = (root/'tests').rglob(f'{name}.py')
    return str(f.relative_to(root))

def sites(tree): return [(node,k) for node in ast.walk(tree) for k,_ in enumerate(changes(node))]

def mutant(src, i):
    "Return the source with change number `i`, the change in words, and its line"
    tree = ast.parse(src)
    node,k = sites(tree)[i]
    what,do = list(changes(node))[k]
    before = ast.unparse(node).split('\n')[0]
    do()
    what = f'{what}: {before} -> {ast.unparse(node).splitlines()[0]}'
    return ast.unparse(ast.fix_missing_locations(tree)), what, node.lineno

def drawn(n, seed, modules):
    "Draw `n` mutants (module, number) of `modules` with a fixed seed"
    every = [(m,i) for m in modules for i in range(len(sites(ast.parse(source(m).read_text()))))]
    return random.Random(seed).sample(every, min(n, len(every)))

def copy(root):
    "Copy the parts of the repository that tests need"
    for o in 'digitfast','tests','nbs': shutil.copytree(REPO/o, root/o, ignore=shutil.ignore_patterns('__pycache__'))
    for o in 'pyproject.toml','setup.py','settings.ini','README.md','LICENSE': shutil.copy(REPO/o, root/o)

def warm_up():
    "Import the modules that every mutant's tests import"
    os.environ |= dict(OMP_NUM_THREADS='1', MPLBACKEND='agg', CUDA_VISIBLE_DEVICES='')
    import fastai.vision.all, hypothesis, pytest, sklearn.model_selection # noqa: F401

class Only:
    "A plugin of pytest that selects these tests, in this order, or all others"
    def __init__(self, names, but=False): self.order,self.but = {o:i for i,o in enumerate(names)},but
    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((o for o in items if (o.nodeid in self.order)!=self.but),
                          key=lambda o: self.order.get(o.nodeid, 0))

def in_child(root, files, words=(), names=None, but=False):
    "Run pytest silently in the copy `root`, and exit with its status"
    import pytest
    os.setsid()
    sys.dont_write_bytecode = names is not None or '-x' in words
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ['PYTHONPATH'] = str(root)
    for fd in 1,2: os.dup2(os.open(root/'log', os.O_WRONLY|os.O_CREAT|os.O_TRUNC), fd)
    words = ['-q','-n','0','-p','no:cacheprovider', *words, *(test_file(root, o) for o in files)]
    os._exit(pytest.main(words, plugins=[] if names is None else [Only(names, but)]))

def outcome(secs, *args, **kw):
    "Return the exit status of pytest in a forked process, which has the slow imports; None after `secs`"
    p = FORK.Process(target=in_child, args=args, kwargs=kw)
    p.start()
    p.join(secs)
    try: os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError: pass
    p.join()
    return None if p.exitcode<0 else p.exitcode

def reached(root, modules):
    "Return {module: {line: tests that run it}} of the unchanged package, the tests that run fewest lines first"
    from coverage import CoverageData
    files = sorted({o for m in modules for o in TESTS[m].split()})
    words = ['--cov=digitfast','--cov-context=test','--cov-report=']
    if outcome(3600, root, files, words)!=0: sys.exit(f'the tests fail without a mutant:\n{(root/"log").read_text()}')
    d = CoverageData(str(root/'.coverage'))
    d.read()
    lines = {m:d.contexts_by_lineno(str(source(m, root))) for m in modules}
    lines = {m:{l:tests_of(c) for l,c in o.items()} for m,o in lines.items()}
    cost = Counter(t for o in lines.values() for tests in o.values() for t in tests)
    return {m:{l:sorted(tests, key=cost.get) for l,tests in o.items()} for m,o in lines.items()}

def tests_of(contexts):
    "Return the tests of coverage's contexts, which distinguish set-up, run and tear-down"
    return {o.split('|')[0] for o in contexts if o}

def survives(root, module, src, tests, secs):
    "Return whether the tests pass with the source `src` in the copy `root`: first `tests`, then all of the module"
    path,own = source(module, root),TESTS[module].split()
    path.write_text(src)
    try:
        for files,but in ((sorted({Path(o.split('::')[0]).stem for o in tests}),False), (own,True)):
            if files and outcome(secs, root, files, ['-x'], tests, but) not in (0, 5, None):
                return False # 5: no test was run
        return True
    finally: shutil.copy(source(module), path)

COLS = 'module', 'number', 'line', 'change', 'killed', 'date'

def kept(path):
    "Return the rows of an earlier run; create the file if it is missing"
    if not path.exists(): append(path, COLS)
    with open(path, newline='') as f: return [dict(o, number=int(o['number'])) for o in csv.DictReader(f)]

def append(path, row):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a', newline='') as f: csv.writer(f).writerow(row)

def share(root, todo, lines, secs, out):
    "Try the mutants `todo` in a separate copy of the repository"
    for module,i in todo:
        src,what,line = mutant(source(module).read_text(), i)
        alive,what = survives(root, module, src, lines[module].get(line, []), secs),' '.join(what[:160].split())
        append(out, (module, i, line, what, '' if alive else 'yes', time.strftime('%Y-%m-%d')))
        print(f"{'SURVIVED' if alive else 'killed':<9}{module}:{line} {what}", flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--n', type=int, default=200, help='mutants to draw')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--modules', nargs='*', default=list(TESTS), choices=list(TESTS))
    p.add_argument('--seconds', type=int, default=60, help='time for the tests of a mutant, which then counts as not '
                                                           'found')
    p.add_argument('--jobs', type=int, default=os.cpu_count(), help='mutants to try in parallel')
    p.add_argument('--out', type=Path, default=results/'mutants.csv', metavar='FILE.csv')
    a = p.parse_args()
    done = {(o['module'],o['number']) for o in kept(a.out)}
    todo = [o for o in drawn(a.n, a.seed, a.modules) if o not in done]
    warm_up()
    with tempfile.TemporaryDirectory() as d:
        roots = [Path(d)/str(k) for k in range(a.jobs)]
        for o in roots: copy(o)
        lines = reached(roots[0], a.modules)
        jobs = [FORK.Process(target=share, args=(o, todo[k::a.jobs], lines, a.seconds, a.out))
                for k,o in enumerate(roots)]
        for o in jobs: o.start()
        for o in jobs: o.join()
    rows = kept(a.out)
    killed = sum(bool(o['killed']) for o in rows)
    print(f'{killed} of {len(rows)} killed ({killed/max(len(rows), 1):.0%})')

if __name__=='__main__': main()
