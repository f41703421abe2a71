"Memory and time stay within bounds for large inputs. Each case is measured in its own process."
import gzip, io, json, os, shutil, time, traceback, zipfile
from pathlib import Path
import numpy as np, pandas as pd, pytest
from digitfast.learn import predict
from digitfast.runs.weights import load_net
from digitfast.core import DataError
from digitfast.data.files import sample_path
from digitfast.data.read import read_csvs
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train
from digitfast.kaggle.submission import check_submission
from digitfast.learn.predict import predict_rows
from conftest import csvs, digits

pytestmark = pytest.mark.skipif(not os.path.exists('/proc/self/clear_refs'), reason='needs Linux to measure memory')
MB = 2**20

def status(k): return next(int(o.split()[1])*1024 for o in open('/proc/self/status') if o.startswith(k))

def measured(f, out):
    "Return (result of `f`, growth of memory at its peak in bytes, processor seconds), measured in a forked process"
    pid = os.fork()
    if not pid:
        try:
            Path('/proc/self/clear_refs').write_text('5')   # reset the peak
            was,t = status('VmRSS'),time.process_time()
            res = f()
            out.write_text(json.dumps([res, status('VmHWM')-was, time.process_time()-t]))
        except BaseException: out.write_text(json.dumps([traceback.format_exc(), 0, 0]))
        finally: os._exit(0)
    os.waitpid(pid, 0)
    return json.loads(out.read_text())

# ---- CSVs that are meant to exhaust

BASE = digits(30).to_csv(index=False).encode()
HEAD,ROW = BASE[:BASE.index(b'\n')+1],b'0'+b',0'*64+b'\n'
def stream(name, *parts):
    "Write a file `name` of `(bytes, times)`"
    def _put(folder):
        with (gzip.open if name.endswith('.gz') else open)(folder/name, 'wb') as f:
            for b,n in parts: [f.write(b) for _ in range(n)]
        return folder
    return _put
def zipped(how, *parts):
    def _put(folder):
        with zipfile.ZipFile(folder/'a.zip', 'w', how) as z, z.open('train.csv', 'w', force_zip64=True) as f:
            for b,n in parts: [f.write(b) for _ in range(n)]
        return folder/'a.zip'
    return _put
def entries(name):
    def _put(folder):
        with zipfile.ZipFile(folder/'a.zip', 'w') as z: [z.writestr(f'd{i}/{name}', '') for i in range(30_000)]
        return folder/'a.zip'
    return _put
def names(n): return b'label,'+','.join(f'p{i}' for i in range(n)).encode()+b'\n'

K,M = b'0'*2**10,b'0'*2**20
HOSTILE = {
    'zip bomb': (zipped(zipfile.ZIP_DEFLATED, (BASE,1), (ROW*8000,200)), 'zip bomb'),
    'zip bomb, bzip2': (zipped(zipfile.ZIP_BZIP2, (BASE,1), (ROW*8000,80)), 'zip bomb'),
    'zip bomb, lzma': (zipped(zipfile.ZIP_LZMA, (BASE,1), (ROW*8000,80)), 'zip bomb'),
    'zip bomb of one line': (zipped(zipfile.ZIP_DEFLATED, (M,200)), 'line 1: over'),
    'gzip bomb': (stream('train.csv.gz', (BASE,1), (ROW*8000,200)), 'zip bomb'),
    'gzip bomb of one line': (stream('train.csv.gz', (BASE,1), (M,200)), 'line 32: over'),
    'million columns': (stream('train.csv', (names(10**6),1), (b'0,'*10**6+b'0\n',2)), 'line 1: over'),
    '400,000 columns': (stream('train.csv', (names(400_000),1), (b'0,'*400_000+b'0\n',2)), 'not a square picture'),
    'million columns of one name': (stream('train.csv', (b'label'+b',p'*10**6+b'\n',1)), 'two columns'),
    'a row of a million': (stream('train.csv', (BASE,1), (b'0,'*10**6+b'0\n',1)), 'line 32: 1,000,001 fields'),
    'huge line': (stream('train.csv', (BASE,1), (M,200)), 'line 32: over'),
    'huge first line': (stream('train.csv', (M,200)), 'line 1: over'),
    'quote that never closes': (stream('train.csv', (BASE,1), (b'"',1), (ROW*8000,200)), 'line 32: a quoted field'),
    'quote in the header': (stream('train.csv', (b'"'+HEAD,1), (ROW*8000,200)), 'line 1: a quoted field'),
    'only quotes': (stream('train.csv', (b'"'*2**20,200)), 'line 1: over'),
    'quotes in a field': (stream('train.csv', (BASE,1), (b'0,'+b'"'*3*2**20+b',0'*63+b'\n',1)), 'line 32'),
    'only line ends': (stream('train.csv', (b'\n'*2**20,200)), 'line 1: over'),
    'line ends to the end': (stream('train.csv', (BASE,1), (b'\n'*2**20,200)), 'line 31: over'),
    'only commas': (stream('train.csv', (b','*2**20,200)), 'line 1: over'),
    'long label of digits': (stream('train.csv', (BASE,1), (b'9'*3*2**20+b',0'*64+b'\n',1)),
                                   'line 32, column label'),
    'long pixel': (stream('train.csv', (BASE,1), (b'0,'+b'0'*3*2**20+b',0'*63+b'\n',1)), 'line 32'),
    'spaces': (stream('train.csv', (BASE,1), (b'0,1'+b' '*3*2**20+b'x'+b',0'*63+b'\n',1)), 'line 32'),
    'long name': (stream('train.csv', (b'label,p'+b'0'*3*2**20+b'\n',1)), 'line 1'),
    '30,000 files in a zip': (entries('train.txt'), 'could each be'),
    '30,000 tables of other names': (entries('a.csv'), 'Name the file'),
    '30,000 test sets': (entries('test.csv'), 'could each be'),
}
SLOW = 'zip bomb, bzip2', 'zip bomb, lzma', '30,000 files in a zip', '30,000 test sets' # slow to make, or like another
@pytest.mark.parametrize('name',
                         [pytest.param(o, marks=pytest.mark.slow) if o in SLOW else o
                          for o in HOSTILE])
def test_refused_within_seconds_and_within_bounds(name, tmp_path):
    "A bad file of 200 MB raises its error within 10 s and 400 MB"
    put,says = HOSTILE[name]
    (tmp_path/'d').mkdir()
    path = put(tmp_path/'d')
    def f():
        try: return repr(read_csvs(path))
        except DataError as e: return f'error: {e}'
    res,memory,seconds = measured(f, tmp_path/'res')
    assert res.startswith('error: ') and says in res and memory<400*MB and seconds<10, (res, memory/MB, seconds)

@pytest.mark.parametrize('kind', ['plain','quoted','labels'])
def test_honest_large_files_are_read_in_a_time_that_grows_as_they_do(kind, tmp_path):
    "200,000 rows of 8x8 (13 MB of pixels) with quoted fields, or with 200,000 classes"
    row = {'plain':ROW, 'quoted':b'"0"'+b',"0"'*64+b'\n', 'labels':b'%d'+ROW[1:]}[kind]
    (tmp_path/'d').mkdir()
    with open(tmp_path/'d'/'train.csv',
              'wb') as f: f.write(BASE+b''.join(row%i if kind=='labels' else row for i in range(200_000)))
    res,memory,seconds = measured(lambda: len(read_csvs(tmp_path/'d').train), tmp_path/'res')
    assert res==200_030 and memory<150*MB and seconds<30, (res, memory/MB, seconds)

# ---- predictions

@pytest.fixture(scope='module')
def small_run(tmp_path_factory):
    return train('sample', arch='mlp-30', epochs=1, out=tmp_path_factory.mktemp('load')/'run', say=lambda o: None)

def test_blocks_of_rows_give_what_all_at_once_does(tiny_run, monkeypatch):
    learn,df = load_net(tiny_run[0], device='cpu'),digits(100, seed=3).drop(columns='label')
    for tta in 0,1:
        want,sizes = predict_rows(learn, df, tta),[]
        with monkeypatch.context() as m:
            old = learn.dls.test_dl
            m.setattr(predict, '_block', 16)
            m.setattr(learn.dls, 'test_dl', lambda o, **kw: (sizes.append(len(o)), old(o, **kw))[1], raising=False)
            got = predict_rows(learn, df, tta)
        assert np.allclose(got, want, atol=1e-6) and sizes==[16]*6+[4]

@pytest.mark.parametrize('times', [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_calls_of_predict_do_not_grow_memory(times, tiny_run, tmp_path, record_property):
    "After the first fifth of the calls, memory grows by at most 20 MB"
    record_property('cases', times)
    def f():
        was = None
        for i in range(times):
            predict_csv(tiny_run[0], out=tmp_path/'s.csv', device='cpu', say=lambda o: None)
            if i==times//5: was = status('VmRSS')
        return status('VmRSS')-was
    grown,*_ = measured(f, tmp_path/'res')
    assert isinstance(grown, int) and grown<20*MB, grown

def rows(folder, times):
    "Return the sample with its test set repeated `times` times"
    folder.mkdir()
    with zipfile.ZipFile(sample_path()) as z:
        for o in z.namelist():
            if 'train' in o: (folder/'train.csv').write_bytes(z.read(o))
            if 'test' in o: head,_,body = z.read(o).partition(b'\n')
    with open(folder/'test.csv', 'wb') as f:
        f.write(head+b'\n')
        for _ in range(times): f.write(body.rstrip(b'\n')+b'\n')
    return folder

@pytest.mark.parametrize('times', [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_predict_holds_the_pixels_once(times, small_run, tmp_path):
    """Predicting a million rows of 28x28 needs a byte for each pixel and at most 1 GiB more, a hundred thousand rows
    400 MB more"""
    folder,n = rows(tmp_path/'d', times),times*1000
    res,memory,seconds = measured(lambda: str(predict_csv(small_run, folder, tmp_path/'s.csv', device='cpu',
        say=lambda o: None)), tmp_path/'res')
    assert res==str(tmp_path/'s.csv'), res
    assert memory<n*784+(1024 if times>100 else 400)*MB, memory/MB
    sub = pd.read_csv(tmp_path/'s.csv')
    assert len(sub)==n and (sub.Label.to_numpy().reshape(times, 1000)==sub.Label[:1000].to_numpy()).mean()>.9999
    shutil.rmtree(folder)
