"""Speed and memory must not become worse. Each test compares CPU times with a bare loop in the same process and takes
the smallest ratio of several, so a busy machine does not matter"""
import subprocess, sys, time, tracemalloc
import pandas as pd, pytest
from conftest import REPO

@pytest.fixture(autouse=True)
def benchmarks(monkeypatch): monkeypatch.syspath_prepend(str(REPO/'benchmarks'))

def ratio(res, a, b): return min(res[a])/min(res[b])

@pytest.fixture
def measured(data):
    from loading import fast
    from overhead import measure
    from digitfast.learn.recipe import recipes
    clock,r = time.process_time,recipes['quick']
    return dict(loading=lambda: ratio(fast(data.train, 128, 9, clock), 'digitfast', 'bare'),
                overhead=lambda: ratio(measure(r, data.train.iloc[:3000], 5, clock), 'learner', 'bare'))

bounds = dict(loading=4., overhead=1.9)

@pytest.mark.parametrize('what', bounds)
def test_no_slower_than_a_bare_loop(measured, what):
    """Loading takes 2.5 to 3 times as long as bare indexing of 5,000 rows. It is measured again if the speed of the
    machine changes"""
    first = measured[what]()
    most = bounds[what]
    assert first<most or measured[what]()<most, f'{first:.2f} times a bare loop, expected under {most}'

def thrice(f):
    "Return a function that takes three times as long as `f`"
    def _f(*args):
        t = time.process_time()
        try: return f(*args)
        finally:
            t = 3*time.process_time()-2*t
            while time.process_time()<t: pass
    return _f

@pytest.mark.slow # a test of the tests above
def test_threefold_slip_is_seen(measured, monkeypatch):
    "The test fails if a batch, or a step of the Learner, takes three times as long"
    from digitfast.data.load import DigitDL
    from fastai.learner import Learner
    batches = DigitDL.__iter__
    def slow_batches(self):
        it = batches(self)
        step = thrice(lambda: next(it, None))
        while (b := step()) is not None: yield b
    with monkeypatch.context() as m:
        m.setattr(DigitDL, '__iter__', slow_batches)
        assert measured['loading']()>bounds['loading']
    monkeypatch.setattr(Learner, 'one_batch', thrice(Learner.one_batch))
    assert measured['overhead']()>bounds['overhead']

def test_rows_are_not_copied_for_each_pipeline(data):
    """Building DataLoaders needs the checked frame and the rows in the order of the split, and no copy for each
    pipeline and transform"""
    from digitfast.data.block import DigitDataLoaders
    df = pd.concat([data.train]*3, ignore_index=True)
    tracemalloc.start()
    try:
        dls = DigitDataLoaders.from_df(df, device='cpu')
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert peak<3.5*df.shape[0]*(df.shape[1]-1)
    rows = [*dls.train_ds.items.index, *dls.valid_ds.items.index]
    assert rows!=list(range(len(df))) and sorted(rows)==list(range(len(df))) # rows keep their numbers

def test_training_does_not_import_the_compiler():
    "torch.optim imports torch._dynamo at its first optimiser: 868 modules, in a second"
    code = """if True:
        import sys, torch
        from digitfast.learn.callbacks import opts
        p = torch.nn.Parameter(torch.ones(3))
        opt = opts['adamw']([p], lr=.1)
        p.sum().backward(); opt.step(); opt.zero_grad(); opt.load_state_dict(opt.state_dict())
        assert (p!=1).all() and 'torch._dynamo' not in sys.modules"""
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)
