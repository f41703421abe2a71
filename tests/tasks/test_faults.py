"""A run that is killed, or whose disk fails, at each thing that it does to a file: what is on disk is whole, and
`--resume` ends with the same submission.

The points are not listed but found: a run is recorded, and each write, fsync, rename, removal and new folder below its
directory becomes a test. Children are forked
from this process, which has imported everything, so that each takes a tenth of a second."""
import builtins, errno, hashlib, io, itertools, json, os, random, resource
import shutil, signal, tempfile, time
from contextlib import contextmanager
from pathlib import Path
import numpy as np, pandas as pd, pytest
from digitfast import cli
from digitfast.tasks import finish
from digitfast.learn import recipe
from digitfast.core import write_file
from digitfast.learn.recipe import Recipe
from digitfast.tasks.train import train
from conftest import child, csvs, ended, forked

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
RECIPE = Recipe(arch='stride2', bs=16, epochs=2, valid_pct=.2, affine=dict(shift=1),
                ema=.8, smooth=.1, lr=.02, source='test')

@pytest.fixture(scope='module', autouse=True)
def plain_report():
    "Write a report without pictures, which take most of the time of such a short run"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(finish, 'write_page', lambda out: write_file(out/'report.html', '<html></html>'))
        m.setitem(recipe.recipes, 'faults', RECIPE)
        yield

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return csvs(tmp_path_factory.mktemp('faults')/'data')

def go(data, out, resume=False, **kw):
    lines = []
    train(data, 'faults', out=out, resume=resume, say=lines.append, **kw)
    return lines

@pytest.fixture(scope='module')
def want(folder, tmp_path_factory):
    "Return the files of an uninterrupted run"
    out = tmp_path_factory.mktemp('want')/'r'
    go(folder, out)
    return {o:content(out/o) for o in names(out)}

# ---- what is on disk

def names(out):
    return sorted(str(o.relative_to(out)) for o in out.rglob('*') if o.is_file()
                  and not any(p.startswith('.') for p in o.relative_to(out).parts))

def content(f):
    "Return the contents of a run's file without times. Raises an error if it is incomplete"
    if f.suffix=='.npz':
        with np.load(f, allow_pickle=False) as z: return {k:z[k].tobytes() for k in z.files}
    if f.name=='metrics.json':
        m = json.loads(f.read_text())
        return {k:v for k,v in m.items() if k not in ('seconds','date','data')}|dict(sha256=m['data']['sha256'])
    if f.name=='history.csv': return pd.read_csv(f).drop(columns='seconds').to_csv()
    if f.suffix=='.html':
        assert f.read_text().rstrip().endswith('</html>')
        return 'a page'
    return f.read_bytes()

def whole(out, want):
    """Every file in `out` with a name of its own is just what an uninterrupted run leaves, and the checkpoint fits
    together. Its epoch, -1 where there is none"""
    for o in names(out):
        if not o.startswith('checkpoint'): assert content(out/o)==want[o], o
    for c in out/'checkpoint', out/'.checkpoint.old':
        if c.exists():
            if c.name!='checkpoint' and (out/'checkpoint').exists(): return -1   # it is being removed
            state = json.loads((c/'state.json').read_text())
            assert hashlib.sha256((c/'state.safetensors').read_bytes()).hexdigest()==state['sha256']
            return state['epoch']
    return -1

def finished(out, want):
    assert names(out)==sorted(want) and {o:content(out/o) for o in want}==want
    assert not [o for o in os.listdir(out) if o.startswith('.')]

# ---- processes that fail

@contextmanager
def watched(root, at):
    """Call `at(i, phase, kind, path)` before, halfway through (writes) and after operation number `i` on a file below
    `root`"""
    root,count,old = str(root),itertools.count(1),{}
    # a name alone is `rmtree`'s
    def below(o): return isinstance(o, int) or str(os.fspath(o)).startswith(root) or not os.path.isabs(os.fspath(o))
    def op(kind, path, *fs):
        i = next(count)
        for f,phase in zip(fs, ('before','half') if len(fs)>1 else ('before',)):
            at(i, phase, kind, path)
            res = f()
        at(i, 'after', kind, path)
        return res
    class File:
        "A file that is written in two halves, of which the first reaches the disk"
        def __init__(self, f, path): self.f,self.path = f,path
        def write(self, b):
            k = len(b)//2
            op('write', self.path, lambda: (self.f.write(b[:k]), self.f.flush()), lambda: self.f.write(b[k:]))
            return len(b)
        def __getattr__(self, k): return getattr(self.f, k)
        def __enter__(self): return self
        def __exit__(self, *a): return self.f.__exit__(*a)
    def opened(f, mode='r', *a, **k):
        if not set(mode)&set('wax+') or not below(f): return old['open'](f, mode, *a, **k)
        return File(op('open', f, lambda: old['open'](f, mode, *a, **k)), f)
    def wrap(kind):
        def _f(path, *a, **k):
            return op(kind, path, lambda: old[kind](path, *a, **k)) if below(path) else old[kind](path, *a, **k)
        return _f
    kinds = 'fsync','replace','rename','mkdir','unlink','rmdir'
    old.update(open=builtins.open, **{k:getattr(os, k) for k in kinds})
    builtins.open = io.open = opened
    for k in kinds: setattr(os, k, wrap(k))
    try: yield
    finally:
        builtins.open = io.open = old['open']
        for k in kinds: setattr(os, k, old[k])

@pytest.fixture(scope='module')
def points(folder, tmp_path_factory):
    "Return (operation, phase, kind, file) for each operation of an uninterrupted run"
    out,seen = tmp_path_factory.mktemp('points')/'r',[]
    def see(i, phase, kind, path): seen.append((i, phase, kind, '' if isinstance(path, int) else Path(path).name))
    with watched(out, see): go(folder, out)
    return seen

def test_the_points_are_all_that_a_run_does(points, want):
    kinds = {k:sum(o[2]==k and o[1]=='before' for o in points) for k in ('open','write','fsync','replace','rename')}
    n = len(want)+2*RECIPE.epochs+1   # the outputs, the two files of each checkpoint, the owner's name
    assert (kinds==dict(open=n, write=n, fsync=n, replace=n, rename=2*RECIPE.epochs)
            and len(points)>150), (kinds, len(points))

def parts(n):
    def part(i): return pytest.param(slice(i, None, n), id=f'{i+1} of {n}', marks=[pytest.mark.slow] if i else [])
    return pytest.mark.parametrize('part', [part(i) for i in range(n)])

def resumed(out, folder, want, epoch, why):
    "Resume the run in `out` in another process. It starts after `epoch`, and its result is the same"
    seen,log = out.parent/'ticks',out.parent/'log'
    seen.write_text('')
    assert forked(lambda: go(folder, out, resume=True, tick=lambda i,n: seen.write_text(seen.read_text()+f'{i} ')),
                  log)==0, ((why, log.read_text()))
    finished(out, want)
    # three batches an epoch
    assert seen.read_text().split()==[str(i) for i in range(3*(epoch+1)+1, 3*RECIPE.epochs+1)], (why, epoch)

def over(out): return (out/'metrics.json').exists() and not (out/'checkpoint').exists()

# ---- killed

@parts(24)
def test_killed_at_each_file_operation(part, points, folder, want, tmp_path, record_property):
    record_property('cases', len(points[part]))
    for i,phase,kind,name in points[part]:
        out,why = tmp_path/f'{i}{phase}'/'r',(i, phase, kind, name)
        out.parent.mkdir()
        def die(j, p, *_):
            if (j,p)==(i,phase): os.kill(os.getpid(), signal.SIGKILL)
        def f():
            with watched(out, die): go(folder, out)
        assert forked(f)=='SIGKILL', why
        epoch = whole(out, want)
        if over(out):   # it had finished, but for the removal of its checkpoint, and is left as it is
            assert names(out)==sorted(want), why
            assert forked(lambda: go(folder, out, resume=True), out.parent/'log')==1, why
            assert 'finished run' in (out.parent/'log').read_text(), why
        else: resumed(out, folder, want, epoch, why)

@pytest.fixture(scope='module')
def pair(folder, tmp_path_factory):
    "Return the files of an uninterrupted ensemble of two members, and each of its operations"
    out,seen = tmp_path_factory.mktemp('pair')/'r',[]
    with watched(out, lambda i,phase,*_: seen.append((i, phase))): go(folder, out, members=2)
    return {o:content(out/o) for o in names(out)},seen

@parts(48)
def test_an_ensemble_is_killed_at_each_file_operation(part, pair, folder, tmp_path, record_property):
    "Kill it between its members, inside them, and while they are joined"
    want,points = pair
    record_property('cases', len(points[part]))
    assert len(points)>350 and {'members/0/metrics.json','members/1/metrics.json',
                                'oof.npz','submission.csv'}<=want.keys()
    for i,phase in points[part]:
        out,log = tmp_path/f'{i}{phase}'/'r',tmp_path/f'{i}{phase}'/'log'
        out.parent.mkdir()
        def die(j, p, *_):
            if (j,p)==(i,phase): os.kill(os.getpid(), signal.SIGKILL)
        def f():
            with watched(out, die): go(folder, out, members=2)
        assert forked(f)=='SIGKILL', (i, phase)
        for o in names(out): assert 'checkpoint' in o or content(out/o)==want[o], (i, phase, o)
        if over(out): assert names(out)==sorted(want), (i, phase)
        else:
            assert forked(lambda: go(folder, out, resume=True, members=2), log)==0, (i, phase, log.read_text())
            finished(out, want)

def command(out, folder, tick, *flags):
    "Do what `digitfast train` does, in this process"
    for sig,f in (signal.SIGINT,signal.default_int_handler),(signal.SIGTERM,signal.SIG_DFL): signal.signal(sig, f)
    class Bar:
        def __call__(self, i, n): tick(i)
        def stop(self): pass
    cli.Bar = Bar
    cli.main(['train', str(folder), '--recipe', 'faults', '--out', str(out), *flags])

@pytest.mark.parametrize('sig,code', [(signal.SIGINT,130), (signal.SIGTERM,143)], ids=['Ctrl-C','SIGTERM'])
def test_a_signal_ends_it_cleanly_and_it_says_how_to_resume(sig, code, folder, want, tmp_path):
    out,log = tmp_path/'r',tmp_path/'said'
    def at_5(i):
        if i==5: os.kill(os.getpid(), sig); time.sleep(5)
    assert forked(lambda: command(out, folder, at_5), log)==code
    logged = log.read_text()
    assert logged.splitlines()[-1].startswith('stopped: ') and f'--resume --out {out}' in logged
    assert 'Traceback' not in logged
    assert sorted(os.listdir(out))==['checkpoint']   # neither lock nor half a file
    resumed(out, folder, want, 0, sig)

MOMENTS = [(s, i) for i in range(7) for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)][:20]
@pytest.mark.parametrize('sig,i',
                         [pytest.param(s, i, id=f'{s.name}-{i}', marks=[] if i==0 else [pytest.mark.slow])
                          for s,i in MOMENTS])
def test_signals_at_random_moments(sig, i, folder, want, tmp_path):
    "Interrupt a run at up to three random times"
    out,log,rng = tmp_path/'r',tmp_path/'said',random.Random(f'{sig} {i}')
    for n in range(3):
        # slow enough for a moment to fall into it
        pid = child(lambda: command(out, folder, lambda i: time.sleep(.03), '--resume'), log)
        time.sleep(rng.uniform(.02, .6))
        os.kill(pid, sig)
        how = ended(pid)
        assert how in {signal.SIGKILL:('SIGKILL',0), signal.SIGTERM:('SIGTERM',143,0),
                       signal.SIGINT:(130,0)}[sig], ((how, log.read_text()))
        assert 'Traceback' not in log.read_text()
        epoch = whole(out, want) if out.exists() else -1
        if over(out): return finished(out, want) if how==0 else None
    resumed(out, folder, want, epoch, i)

# ---- disks that refuse

FULL = dict(error=errno.ENOSPC, kinds=('open','write','fsync','mkdir'))
REFUSES = dict(full=FULL, readonly=dict(error=errno.EROFS, kinds=None), broken=dict(error=errno.EIO, kinds=None),
               forbidden=dict(error=errno.EACCES, kinds=('open','replace','rename','mkdir','unlink','rmdir')))

def refusing(out, i, phase, error, kinds):
    "Let operations of some kinds below `out` fail from a certain operation on"
    def at(j, p, kind, path):
        if (not kinds or kind in kinds) and (j>i or (j,p)==(i,phase)):
            raise OSError(error, os.strerror(error), str(path))
    return watched(out, at)

@pytest.mark.parametrize('how', REFUSES)
@parts(24)
def test_refused_at_each_file_operation(how, part, points, folder, want, tmp_path, record_property):
    "The error is one line, the exit code 1, and the checkpoint is still there. With free space, the run resumes"
    ops = [o for o in points if o[1]!='after' and o[2] in (REFUSES[how]['kinds'] or [o[2]])]
    record_property('cases', len(ops[part]))
    for i,phase,kind,name in ops[part]:
        out,why = tmp_path/f'{i}{phase}'/'r',(how, i, phase, kind, name)
        out.parent.mkdir()
        log = out.parent/'said'
        def f():
            with refusing(out, i, phase, **REFUSES[how]): go(folder, out)
        code = forked(f, log)
        logged = log.read_text()
        assert code==(0 if over(out) else 1), (why, logged)
        if code:
            assert (logged.count('\n')==1 and os.strerror(REFUSES[how]['error']) in logged
                    and str(out) in logged and 'Errno' not in logged), (why, logged)
        epoch = whole(out, want)
        saved = sum(o[1:]==('after','rename','.checkpoint.new') and o[0]<i for o in points)
        assert epoch==saved-1 or over(out), (why, epoch)   # nothing that had been saved is lost
        if not over(out): resumed(out, folder, want, epoch, why)

@parts(16)
def test_folder_that_vanishes_at_each_file_operation(part, points, folder, want, tmp_path, record_property):
    "The run does not create the folder again, with half of its files"
    ops = [o for o in points if o[1]=='before'][part]
    record_property('cases', len(ops))
    for i,phase,kind,name in ops:
        out,why = tmp_path/f'{i}'/'r',(i, kind, name)
        out.parent.mkdir()
        log,gone = out.parent/'said',[]
        def at(j, p, *_):
            if j>=i and not gone: gone.append(1); shutil.rmtree(out, ignore_errors=True)
        def f():
            with watched(out, at): go(folder, out)
        code = forked(f, log)
        logged = log.read_text()
        assert code==0 or code==1 and logged.count('\n')==1, (why, logged)
        whole(out, want)
        if not code and out.exists(): finished(out, want)   # it went before anything was in it

def test_folder_that_vanishes_between_the_files_of_a_checkpoint(folder, tmp_path):
    "No checkpoint consists of the second file alone"
    out,log,gone = tmp_path/'r',tmp_path/'said',[]
    def at(*_):
        if not gone and (out/'.checkpoint.new'/'state.safetensors').exists(): gone.append(1); shutil.rmtree(out)
    def f():
        with watched(out, at): go(folder, out)
    assert forked(f, log)==1 and log.read_text().count('\n')==1 and not (out/'checkpoint').exists()

@pytest.mark.parametrize('most', [0, 100, 2000, 20_000, 10**7])
def test_file_size_limit_of_the_system(most, folder, want, tmp_path):
    "The kernel interrupts a write, with limits from no file to all files"
    out,log = tmp_path/'r',tmp_path/'said'
    def f():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        go(folder, out)
    assert ended(child(f))==(0 if over(out) else 1) and over(out)==(most>10**6)
    if not over(out): resumed(out, folder, want, whole(out, want), most)

@pytest.mark.parametrize('begun', [False,True])
def test_read_only_folder(begun, folder, want):
    "This also holds for root, who gives up the permission first"
    home = Path(tempfile.mkdtemp())
    try:
        data,out,log = shutil.copytree(folder, home/'data'),home/'r',home/'said'
        def at_4(i, n):
            if i==4: os.kill(os.getpid(), signal.SIGKILL)
        if begun: assert forked(lambda: go(data, out, tick=at_4))=='SIGKILL'
        else: out.mkdir()
        log.write_text('')
        log.chmod(0o666)
        for o in out,*out.rglob('*'): o.chmod(0o555 if o.is_dir() else 0o444)
        home.chmod(0o555)
        was = {o:o.read_bytes() for o in out.rglob('*') if o.is_file()}
        def f():
            if os.geteuid()==0: os.setuid(65534)
            go(data, out, resume=begun)
        assert forked(f, log)==1 and f"can't write to {out}" in log.read_text()
        assert {o:o.read_bytes() for o in out.rglob('*') if o.is_file()}==was
        for o in home,out,*out.rglob('*'): o.chmod(0o755 if o.is_dir() else 0o644)
        resumed(out, data, want, 0 if begun else -1, 'read-only')
    finally: shutil.rmtree(home)

# ---- two at once

@pytest.mark.parametrize('resume', [False,True])
@pytest.mark.parametrize('times', [2, pytest.param(20, marks=pytest.mark.slow)])
def test_of_six_at_once_one_runs(resume, times, folder, want, tmp_path, record_property):
    "The others raise an error of one line, and leave nothing in the directory"
    record_property('cases', times)
    for n in range(times):
        out,begin = tmp_path/f'r{n}',time.time()+.2
        def f():
            time.sleep(max(0, begin-time.time()))
            go(folder, out, resume=resume)
        codes = [ended(p) for p in [child(f, tmp_path/f'logged{n}') for _ in range(6)]]
        logged = (tmp_path/f'logged{n}').read_text().splitlines()
        ways = 'in use by','a finished run','unfinished run'
        assert sorted(codes)==[0]+[1]*5 and len(logged)==5, (codes, logged)
        assert all(any(way in o for way in ways) for o in logged), logged
        finished(out, want)
