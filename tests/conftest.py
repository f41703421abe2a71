"Use one thread everywhere, so that equal seeds give equal bytes. Read the sample and train small runs once a session."
import os, signal, socket, subprocess, sys, tempfile, time, traceback
# before torch is imported; subprocesses inherit them
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', MPLBACKEND='Agg')
from pathlib import Path
import numpy as np, pandas as pd, pytest

REPO = Path(__file__).parent.parent
sys.path += [str(o) for o in sorted((REPO/'tests').iterdir()) if o.is_dir()] # helpers that test files share
BIG = Path(os.environ.get('DIGITFAST_DATA') or REPO.parent/'shared'/'data'/'digit-recognizer.zip')

def pytest_configure(config):
    """Hide GPUs unless `-m cuda` asks for them. Most tests do not depend on the device, and a forked child can't use a
    GPU."""
    if 'cuda' not in (config.getoption('-m') or ''): os.environ['CUDA_VISIBLE_DEVICES'] = ''

def pytest_collection_modifyitems(config, items):
    cuda = [o for o in items if o.get_closest_marker('cuda')]
    if not cuda: return
    from digitfast.device import device_error
    asked = 'cuda' in (config.getoption('-m') or '')
    why = device_error('cuda') if asked else 'run them with -m cuda'
    if why: [o.add_marker(pytest.mark.skip(reason=f'needs a GPU: {why}')) for o in cuda]

def digits(n=60, side=8, n_class=3, seed=0, classes=None, prefix='pixel', label=True):
    """Return a frame of `n` easy images: class k has a bright bar in row k+1 on a dim background, with noise. No two
    images are equal"""
    rng = np.random.default_rng(seed)
    y = np.arange(n)%n_class
    x = rng.integers(0, 90, (n,side,side))
    x[np.arange(n), y%(side-2)+1, 1:-1] += 150
    df = pd.DataFrame(x.reshape(n, -1).astype(np.uint8), columns=[f'{prefix}{i}' for i in range(side*side)])
    if label: df.insert(0, 'label', y if classes is None else np.array(classes, dtype=object)[y])
    return df

def every(n, cases):
    "Return the parameters. Every `n`-th is quick, and the others, which repeat it with other values, are slow"
    return [pytest.param(*(o if isinstance(o, tuple) else (o,)), marks=[pytest.mark.slow] if i%n else [])
            for i,o in enumerate(cases)]

def loaders(df=None, **kw):
    "Return `DigitDataLoaders` of a frame like `digits()`, in batches of 16"
    from digitfast.data.block import DigitDataLoaders
    return DigitDataLoaders.from_df(digits() if df is None else df, **{**dict(bs=16, device='cpu'), **kw})

def learner(dls=None, arch='stride2', bar=False, **kw):
    "Return a Learner on these DataLoaders, without a progress bar"
    from digitfast.learn.learner import digit_learner
    learn = digit_learner(dls or loaders(), arch, **kw)
    if not bar: learn.remove_cbs([o for o in learn.cbs if o.name=='progress'])
    return learn

def csvs(path, train=None, test=None, sample=None, **kw):
    """Write a folder with the CSVs of small invented digits, in Kaggle's format. A frame replaces a file, False leaves
    it out"""
    path.mkdir(parents=True, exist_ok=True)
    if train is None: train = digits(**kw)
    if test is None: test = digits(**{**kw, 'n':20, 'seed':1}).drop(columns='label')
    train.to_csv(path/'train.csv', index=False)
    if test is not False: test.to_csv(path/'test.csv', index=False)
    if sample is None and test is not False:
        sample = pd.DataFrame(dict(ImageId=range(1, len(test)+1), Label=[train.label.iloc[0]]*len(test)))
    if sample is not None and sample is not False: sample.to_csv(path/'sample_submission.csv', index=False)
    return path

@pytest.fixture(scope='session', autouse=True)
def one_thread():
    "And what was imported is not looked through at each collection of garbage"
    import gc, sys
    if 'torch' in sys.modules: sys.modules['torch'].set_num_threads(1)
    gc.freeze()

@pytest.fixture(autouse=True)
def own_imports():
    "Forget the files that a test imported through the command, after the test"
    plugins = sys.modules.get('digitfast.learn.plugins')
    if not plugins: return (yield)
    was = [(o,dict(o)) for o in (plugins.imported,plugins.import_paths,plugins.import_sources)]
    yield
    for now,before in was:
        now.clear()
        now.update(before)

@pytest.fixture(scope='session', autouse=True)
def undrawn():
    """Reports are made without the lines of their figures, which take half of so short a run's time. Gives the function
    that draws them, where it is imported"""
    report = sys.modules.get('digitfast.report.page')
    draw = getattr(report, 'inline_svg', None)
    with pytest.MonkeyPatch.context() as m:
        if draw: m.setattr(report, 'inline_svg', lambda ax, label: f'<svg role="img" aria-label="{label}"></svg>')
        yield draw

@pytest.fixture(scope='module')
def drawn(undrawn):
    "Draw the figures of reports, as outside the tests"
    with pytest.MonkeyPatch.context() as m:
        if undrawn: m.setattr('digitfast.report.page.inline_svg', undrawn)
        yield

def child(f, log=None):
    """Fork a process that runs `f` and writes its output to the file `log`, and return its id at once. It exits with 1
    for a `RunError` of one line, and with 99 for any other error"""
    begun,begins = os.pipe()
    pid = os.fork()
    if pid:
        os.close(begins)
        os.read(begun, 1); os.close(begun)
        return pid
    code = 99
    from digitfast.core import RunError
    try:
        if log:
            fd = os.open(log, os.O_WRONLY|os.O_CREAT|os.O_APPEND)
            os.dup2(fd, 1); os.dup2(fd, 2)
            sys.stdout,sys.stderr = (open(o, 'w', closefd=False) for o in (1,2))
        os.write(begins, b'.'); os.close(begins)
        f()
        code = 0
    except RunError as e: code = 99 if '\n' in str(e) else 1; print(e)
    except SystemExit as e: code = e.code or 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)

def ended(pid):
    "Return how a process ended: 'SIGKILL' or an exit code"
    _,status = os.waitpid(pid, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

def forked(f, log=None): return ended(child(f, log))

def _become(words, env):
    "Run `digitfast words` in this process from start to end"
    from digitfast.cli import main
    os.closerange(3, 4096)
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kw = dict(encoding=os.environ.get('PYTHONIOENCODING', 'utf-8'), closefd=False)
    sys.stdout,sys.stderr = open(1, 'w', **kw),open(2, 'w', buffering=1, errors='backslashreplace', **kw)
    code = 0
    try:
        try: main(words)
        except SystemExit as e: code = e.code or 0
        sys.stdout.flush()   # as Python does at its end
    except BaseException:
        traceback.print_exc()
        code = 120
    finally: os._exit(code)

def command(*words, env={}, **kw):
    """Start `digitfast words` in a process that is forked from this one, and return its `Popen`. This process has
    imported the slow packages already, so the start is quick"""
    kw = {**dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), **kw}
    return subprocess.Popen(['digitfast'], preexec_fn=lambda: _become([*map(str, words)], env), **kw)

@pytest.fixture(scope='session')
def data():
    "Return the packaged sample"
    from digitfast.data.read import read_csvs
    return read_csvs('sample')

@pytest.fixture(scope='session')
def big_zip():
    "Return the path of the complete competition's zip"
    if not BIG.exists(): pytest.skip(f'the competition\'s zip is not at {BIG}: say where in DIGITFAST_DATA')
    return BIG

@pytest.fixture(scope='session')
def trained():
    "Return a Learner that distinguishes the bright bars. Do not train it further"
    from digitfast.learn.learner import seed_all
    seed_all(0)
    dls = loaders(digits(300))
    seed_all(0, dls)
    learn = learner(dls, 'fastbook')
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(4, .01)
    return learn

@pytest.fixture(scope='session')
def sample_run(tmp_path_factory):
    "Return (run directory, lines of the log) of one epoch on the sample. Do not change it"
    from digitfast.tasks.train import train
    lines = []
    return train('sample', epochs=1, out=tmp_path_factory.mktemp('sample')/'run', say=lines.append), lines

@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    "Return a folder with 60 training and 20 test images of 8x8 and three classes"
    return csvs(tmp_path_factory.mktemp('tiny')/'tiny')

TINY = dict(arch='stride2', epochs=2, bs=16, valid_pct=.2)   # options of `train` that suit `tiny`

@pytest.fixture(scope='session')
def tiny_run(tiny, tmp_path_factory):
    "Return (run directory, lines of the log) of two epochs on `tiny`. Do not change it"
    from digitfast.tasks.train import train
    lines = []
    return train(tiny, out=tmp_path_factory.mktemp('tinyrun')/'run', say=lines.append, **TINY), lines

@pytest.fixture
def here(tmp_path, monkeypatch):
    "Change to the test's own folder, with an empty home, without Kaggle's mount and credentials"
    for k in list(os.environ):
        if k.startswith('KAGGLE_'): monkeypatch.delenv(k)
    home,work = tmp_path/'home',tmp_path/'work'
    home.mkdir(); work.mkdir()
    nowhere = 'http://127.0.0.1:9'
    env = dict(HOME=home, USERPROFILE=home, DIGITFAST_KAGGLE_INPUT=tmp_path/'input')
    env |= dict(http_proxy=nowhere, https_proxy=nowhere)
    for k,v in env.items(): monkeypatch.setenv(k, str(v))
    monkeypatch.chdir(work)
    return work

@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

def free_port():
    "Return a free port of the loopback interface"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

class Cluster:
    """A Dask cluster on loopback, whose processes are forked from this one, which has imported what takes long.
    `config` is Dask's own configuration in them, `kw` goes to the scheduler and the workers"""
    def __init__(self, folder, config=None, protocol='tcp', **kw):
        self.folder,self.config,self.pids = folder,config or {},[]
        self.kw = dict(host='127.0.0.1', dashboard=False, protocol=protocol, **kw)
        port = free_port()
        self.address = f'127.0.0.1:{port}' if protocol=='tcp' else f'{protocol}://127.0.0.1:{port}'
        import distributed
        self.scheduler,_ = self.start('scheduler', lambda: distributed.Scheduler(port=port, **self.kw))
        for _ in range(600):
            with socket.socket() as o:
                if not o.connect_ex(('127.0.0.1', port)): break
            time.sleep(.1)

    def start(self, name, make, before=lambda: None):
        "Start a process that serves the result of `make`, and return its id and its temporary folder"
        import asyncio, dask
        from concurrent.futures import ThreadPoolExecutor
        from distributed import utils
        here = self.folder/name
        here.mkdir()
        async def serve():
            async with make() as server: await server.finished()
        def f():
            tempfile.tempdir = str(here)
            os.chdir(here)
            utils._offload_executor = ThreadPoolExecutor(max_workers=1) # a fork has the executor, but not its thread
            before()
            with dask.config.set(self.config): asyncio.run(serve())
        self.pids.append(child(f, self.folder/f'{name}.log'))
        return self.pids[-1],here

    def worker(self, name, before=lambda: None):
        "Start a worker, after calling `before` in its process"
        import distributed
        return self.start(name, lambda: distributed.Worker(self.address, nthreads=1, local_directory=tempfile.tempdir,
                                                           **self.kw), before)

    def wait(self, n, **kw):
        "Wait until there are `n` workers"
        import distributed
        with distributed.Client(self.address, set_as_default=False, **kw) as o: o.wait_for_workers(n, timeout=60)

    def stop(self):
        while self.pids:
            p = self.pids.pop(0)
            try: os.kill(p, signal.SIGKILL)
            except ProcessLookupError: continue
            os.waitpid(p, 0)

@pytest.fixture
def cluster(tmp_path):
    "Return a `Cluster` without workers, which is stopped after the test"
    pytest.importorskip('distributed', reason="needs digitfast[distributed]")
    o = Cluster(tmp_path)
    yield o
    o.stop()
