"""Parquet, Feather, .npz, arrays, and data sets of torchvision and Hugging Face give the same rows as a CSV, or an
error of one line"""
import io, pickle, time, zipfile
from types import SimpleNamespace as NS

import numpy as np, pandas as pd, pytest, torch
from conftest import TINY, digits
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from digitfast.core import DataError
from digitfast.data.files import find_data
from digitfast.data.frames import check_frame
from digitfast.data.read import as_data, read_csvs, read_rows
from digitfast.runs.run import Run
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train

pa = pytest.importorskip('pyarrow')
import pyarrow.feather, pyarrow.ipc, pyarrow.parquet  # noqa: E402

TRAIN,TEST = digits(),digits(20, seed=1)
X,Y = TRAIN.iloc[:,1:].to_numpy().reshape(-1, 8, 8),TRAIN.label.to_numpy()
XT,YT = TEST.iloc[:,1:].to_numpy().reshape(-1, 8, 8),TEST.label.to_numpy()
rgb = lambda o: np.repeat(o[...,None], 3, -1)

def encoded(a, form='PNG', **kw):
    f = io.BytesIO()
    Image.fromarray(a).save(f, form, **kw)
    return f.getvalue()

def hf(x, y=None, wrap=lambda b: dict(bytes=b, path=None)):
    "Return a frame in the form in which Hugging Face writes it"
    df = pd.DataFrame(dict(image=pd.Series([wrap(encoded(o)) for o in x], dtype=object)))
    return df if y is None else df.assign(label=y)

def same(d, test=True):
    "Return whether the data `d` are equal to TRAIN and TEST, except for the names of the pixels"
    assert (d.train.iloc[:,1:].to_numpy()==X.reshape(60, -1)).all() and d.train.label.tolist()==Y.tolist()
    assert d.train.dtypes.iloc[1:].eq(np.uint8).all() and d.train.columns[0]=='label'
    if test: assert (d.test.to_numpy()==XT.reshape(20, -1)).all() and list(d.test)==list(d.train)[1:]
    return d

def refused(data, *says, read=as_data, **kw):
    "Return the error of one line that `data` raises, and check that it contains each of `says`"
    with pytest.raises(DataError) as e: read(data, **kw)
    msg = str(e.value)
    assert msg.isprintable() and len(msg)<600 and not [o for o in says if o not in msg], msg
    return msg

# ---- files that are read

def npz(**kw):
    def save(p): np.savez_compressed(p, **kw)
    return save
def frames(train, test, ending='parquet', **kw):
    def save(p):
        for name,df in dict(train=train, test=test).items():
            f = p.parent/f'{name}.{ending}'
            df.to_parquet(f, **kw) if ending=='parquet' else df.to_feather(f, **kw)
    return save
def stream(p):
    for name,df in dict(train=hf(X, Y), test=hf(XT)).items():
        (p.parent/name).mkdir()
        t = pa.Table.from_pandas(df)
        with pa.ipc.new_stream(p.parent/name/'data-00000-of-00001.arrow', t.schema) as o: o.write_table(t)
def parts(p):
    for i in range(2): hf(X[30*i:30*i+30],
        Y[30*i:30*i+30]).to_parquet(p.parent/f'train-0000{i}-of-00002-{i:016x}.parquet')
    hf(XT).to_parquet(p.parent/'test-00000-of-00001.parquet')
def nested(x): return pd.Series([o.tolist() for o in x], dtype=object)

FILES = {
    'keras':npz(x_train=X, y_train=Y, x_test=XT, y_test=YT),
    'medmnist':npz(train_images=X, train_labels=Y[:,None], val_images=XT, val_labels=YT[:,None], test_images=XT),
    'one-hot':npz(x_train=X.reshape(60, -1), y_train=np.eye(3)[Y], x_test=XT),
    'channel':npz(X_train=X[:,None], ytrain=Y, X_test=XT[:,None]),
    'last':npz(train_x=X[...,None], train_y=Y, test_x=XT),
    'grey as RGB':npz(x_train=rgb(X), y_train=Y, x_test=rgb(XT)), 'floats':npz(x_train=X/255, y_train=Y, x_test=XT/255),
    'torch order, -1 to 1':npz(x_train=(X/127.5-1)[:,None].astype('f4'), y_train=Y, x_test=(XT/127.5-1).astype('f4')),
    'Fortran, big-endian':npz(x_train=np.asfortranarray(X.astype('>i4')), y_train=Y.astype('>i8'), x_test=XT),
    'parquet':frames(TRAIN, TEST.drop(columns='label')),
    'int64':frames(TRAIN.astype('int64'), TEST.iloc[:,1:].astype('int64')),
    'zero to one':frames((TRAIN.iloc[:,1:]/255).assign(label=Y), TEST.iloc[:,1:]/255),
    'shuffled index':frames(TRAIN.set_index(np.arange(60)[::-1]), TEST.iloc[:,1:].set_index(np.arange(20)[::-1])),
    'numbers for names':frames(*(o.rename(columns=lambda c: c.removeprefix('pixel')) for o in (TRAIN, TEST))),
    'categories':frames(TRAIN.assign(label=TRAIN.label.astype('category')), TEST.iloc[:,1:]),
    'feather':frames(TRAIN, TEST.iloc[:,1:], 'feather'),
    'feather 1':frames(TRAIN, TEST.iloc[:,1:], 'feather', version=1),
    'feather plain':frames(TRAIN, TEST.iloc[:,1:], 'feather', compression='uncompressed', chunksize=7),
    'hugging face':frames(hf(X, Y), hf(XT)), 'row groups':frames(hf(X, Y), hf(XT, YT), row_group_size=7),
    'bytes':frames(hf(X, Y, lambda b: b), hf(XT, None, lambda b: b)), 'parts':parts, 'arrow stream':stream,
    'lists':frames(pd.DataFrame(dict(image=nested(X.reshape(60, -1)), label=Y)),
        pd.DataFrame(dict(image=nested(XT.reshape(20, -1))))),
    'nested lists':frames(pd.DataFrame(dict(image=nested(X), label=Y)), pd.DataFrame(dict(image=nested(XT)))),
    'mixed with CSV':lambda p: (TRAIN.to_csv(p.parent/'train.csv', index=False),
        TEST.iloc[:,1:].to_parquet(p.parent/'test.parquet'))}

@pytest.mark.parametrize('name', FILES)
def test_a_folder_and_a_zip_of_it(name, tmp_path):
    "The rows are those of the CSVs, and the checksum is the same at each reading"
    (tmp_path/'d').mkdir()
    FILES[name](tmp_path/'d'/'mnist.npz')
    d = same(read_csvs(tmp_path/'d'))
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        for f in (tmp_path/'d').rglob('*'): z.write(f, f.relative_to(tmp_path/'d'))
    assert same(read_csvs(tmp_path/'a.zip')).sha256==d.sha256==read_csvs(tmp_path/'d').sha256
    assert all(str(tmp_path/'d') in o for o in d.files)
    if (f := tmp_path/'d'/'mnist.npz').exists(): assert same(read_csvs(f)).sha256==d.sha256
    if (f := tmp_path/'d'/'test.parquet').exists():
        assert (read_rows(f, reading=d.reading).test.to_numpy()==XT.reshape(20, -1)).all()

def test_what_is_inferred_is_logged(tmp_path):
    FILES['medmnist'](tmp_path/'m.npz')
    assert any('val_images' in o for o in read_csvs(tmp_path/'m.npz').said)
    np.savez(tmp_path/'n.npz', x=rgb(X)/255, y=Y, writer=Y)
    said = read_csvs(tmp_path/'n.npz').said
    assert all(any(o in s for s in said) for o in ('not read: writer','3 equal colours','numbers from 0 to 1'))
    hf(X, Y).assign(writer='w').to_parquet(tmp_path/'train.parquet')
    d = read_csvs(tmp_path/'train.parquet')
    assert d.extra.writer.tolist()==['w']*60 and any('column writer omitted' in o for o in d.notes)
    d = read_csvs(tmp_path/'m.npz')
    assert d.test is not None and d.test_labels is None

def test_labels_are_those_of_a_csv(tmp_path):
    for y in (Y*1., Y.astype(str), np.array(list('abc'))[Y], Y.astype('S1'), Y.astype(np.uint8)):
        df = TRAIN.assign(label=y)
        df.to_csv(tmp_path/'train.csv', index=False)
        want = read_csvs(tmp_path/'train.csv').train.label.tolist()
        df.to_parquet(tmp_path/'train.parquet')
        np.savez(tmp_path/'train.npz', x=X, y=y)
        got = [read_csvs(tmp_path/o).train.label.tolist() for o in ('train.parquet','train.npz')]
        assert got==[want]*2 and as_data((X, y)).train.label.tolist()==want

def test_where_data_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DIGITFAST_KAGGLE_INPUT', str(tmp_path/'input'))
    (tmp_path/'input'/'digits').mkdir(parents=True)
    frames(TRAIN, TEST)(tmp_path/'input'/'digits'/'x')
    assert find_data()==tmp_path/'input'/'digits'
    monkeypatch.setenv('DIGITFAST_KAGGLE_INPUT', str(tmp_path/'no'))
    assert find_data() is None
    TRAIN.to_parquet('train.parquet')
    assert str(find_data())=='.'
    TRAIN.to_csv('train.csv', index=False)
    assert "train.csv, train.parquet could each be the train" in refused('.', read=read_csvs)
    assert len(read_csvs('train.parquet').train)==60

@pytest.mark.slow
def test_speed(tmp_path):
    "A quarter of 42,000 rows of Parquet is read in about half a second"
    x = np.random.default_rng(0).integers(0, 256, (10_500,784)).astype('int64')
    pd.DataFrame(x).add_prefix('pixel').assign(label=np.arange(len(x))%10).to_parquet(tmp_path/'train.parquet')
    t = time.process_time()
    read_csvs(tmp_path/'train.parquet')
    assert time.process_time()-t<1.5

# ---- objects in memory

class HF:
    def __init__(self, df): self.df = df
    def to_pandas(self): return self.df
def vision(x, y, name='FashionMNIST', **kw): return type(name, (), dict(data=x, targets=y, **kw))()
def subset(): return NS(dataset=vision(np.concatenate([XT, X]), np.concatenate([YT, Y])), indices=range(20, 80))
def loaded():
    f = io.BytesIO()
    np.savez(f, x_train=X, y_train=Y, x_test=XT)
    return np.load(io.BytesIO(f.getvalue()))

OBJECTS = {
    'arrays':lambda: (X, Y), 'tensors':lambda: (torch.tensor(X)[:,None], torch.tensor(Y)),
    'lists':lambda: (X.tolist(), Y.tolist()),
    'bfloat16':lambda: (torch.tensor(X/255.>.5).bfloat16(), Y), 'keras':lambda: ((X, Y), (XT, YT)),
    'frame and series':lambda: (TRAIN.iloc[:,1:], TRAIN.label),
    'frame and column':lambda: (TRAIN.iloc[:,1:], TRAIN[['label']]),
    'images and vector':lambda: (hf(X), Y), 'torchvision':lambda: vision(torch.tensor(X), torch.tensor(Y)),
    'list of targets':lambda: vision(X, Y.tolist()),
    'QMNIST':lambda: vision(torch.tensor(X), torch.tensor(np.stack([Y]*8, 1)), 'QMNIST'),
    'pair of them':lambda: (vision(X, Y), vision(XT, YT)), 'subset':subset,
    'tensor data set':lambda: TensorDataset(torch.tensor(X)[:,None]/255, torch.tensor(Y)),
    'bunch':lambda: NS(data=X.reshape(60, -1)/1., target=Y),
    'hugging face':lambda: HF(hf(X, Y)),
    'its dict':lambda: dict(train=HF(hf(X, Y)), test=HF(hf(XT, YT))), 'frame of images':lambda: hf(X, Y),
    'PIL':lambda: pd.DataFrame(dict(image=[Image.fromarray(o) for o in X], label=Y)), 'load':loaded,
    'dict':lambda: dict(images=X, labels=Y), 'cells of arrays':lambda: pd.DataFrame(dict(image=list(X), label=Y))}

@pytest.mark.parametrize('name', OBJECTS)
def test_objects(name):
    o = OBJECTS[name]()
    if name=='bfloat16': return [as_data(o)]
    d = same(as_data(o), test=name in ('keras','pair of them','its dict','load'))
    assert d.source is None and as_data(OBJECTS[name]()).sha256==d.sha256
    if name in ('keras','its dict'): assert d.test_labels.tolist()==YT.tolist()
    if name in ('arrays','hugging face','PIL'): same(as_data(o, test=XT))

def test_the_real_torchvision(tmp_path):
    from torchvision.datasets import EMNIST, MNIST
    for cls,note in (MNIST,''),(EMNIST,'transpose'):
        m = cls.__new__(cls)
        m.data,m.targets,m.transform,m.target_transform = torch.tensor(X),torch.tensor(Y),torch.relu,None
        d = same(as_data(m), test=False)
        assert any('transforms' in o for o in d.notes) and any(note in o for o in d.notes) and d.name==cls.__name__
    turned = as_data(m, transpose=True)
    assert (turned.train.iloc[:,1:].to_numpy()==X.swapaxes(1, 2).reshape(60, -1)).all()

def test_mnist_is_recognised():
    first = [5,0,4,1,9,2,1,3,1,4,3,5,3,6,1,7]
    y = np.arange(60_000)%10
    y[:16] = first
    assert any('would not be honest' in o for o in as_data((np.arange(60_000*64).reshape(-1, 8, 8).astype(np.uint8),
        y)).notes)

def test_frames_are_checked_alike():
    assert check_frame(hf(X, Y)).iloc[:,1:].to_numpy().tolist()==X.reshape(60, -1).tolist()
    assert (as_data((hf(X, Y), hf(XT))).test.to_numpy()==XT.reshape(20, -1)).all()

# ---- errors

BAD = {
    'lengths':((X, Y[:-1]), '59 labels for 60 images'), 'labels twice':((TRAIN, TRAIN.label), "column 'label'"),
    'rectangles':((X[:,:,:7], Y), 'rectangles of 8x7', 'Pad or scale'),
    'last axis':((np.moveaxis(X, 0, -1), Y), 'np.moveaxis(x, -1, 0)'),
    'colours':((np.stack([X, X, X//2], 1), Y), 'colour', 'np.moveaxis(x, 1, -1)'),
    'text':((X.astype(str), Y), 'expected numbers'),
    'ragged':(([[1,2],[3]]*2, [0,1]*2), 'different lengths'), 'masked':((np.ma.masked_equal(X, 0), Y), 'masked'),
    'swapped':((Y, X), 'expected'), 'no labels':(X, "no 'label' column"), 'two arrays':((X, XT), 'expected (x, y)'),
    'three':((X, Y, XT), '(training, test)'), 'number':(7, 'data holds a int', 'torchvision'),
    'hot':((X, np.ones((60,3))), '(60, 3)'),
    'NaN':((np.where(X==X[0,0,0], np.nan, X), Y), 'nan'),
    'two images':(hf(X, Y).assign(mask=hf(X).image), 'both hold images'),
    'pixels, too':(hf(X, Y).assign(pixel3=0), 'pixel3'),
    'a path':(hf(X, Y).assign(image=[dict(bytes=None, path='/etc/passwd')]*60), 'only the path'),
    'null':(hf(X, Y).assign(image=[*hf(X).image[:-1], None]), 'row 59, column image'),
    'size':(pd.concat([hf(X, Y), hf(np.zeros((1,9,9), np.uint8), [1])]), '9x9 pixels, expected 8x8'),
    'colour picture':(hf(np.stack([X, X, X//2], -1), Y), 'row 0, column image: a picture in colour'),
    'cut picture':(hf(X, Y, lambda b: dict(bytes=b[:-40])), 'no picture'),
    'no picture':(hf(X, Y, lambda b: dict(bytes=b'abc')), 'no picture'),
    'huge picture':(hf(np.zeros((1,600,600), np.uint8), [1]), 'expected 512 a side'),
    'no images':((X[:0], Y[:0]), 'no images in an array of shape (0, 8, 8)'),
    'labels first':((Y, X), 'Pass (x, y): the images first'),
    'other order':((pd.DataFrame(X.reshape(60, -1)), pd.Series(Y)[::-1]), 'labels: found a Series', '.loc[index]'),
    'repeated ids':((TRAIN, TEST.assign(id=0)), 'the test frame, row 0, column id', 'occurs 20 times'),
    'a missing id':((TRAIN, TEST.assign(id=[*range(19), None])), 'the test frame, row 19, column id: blank'),
    'empty dict':({}, 'expected images x and labels y'),
    'two test sets':(dict(x_train=X, y_train=Y, x_test=XT), 'test is another'),
    'two images in a dict':(dict(a=X, b=X, y=Y), 'a, b could each be the images')}

@pytest.mark.parametrize('name', BAD)
def test_bad_objects(name):
    o,*says = BAD[name]
    refused(o, *says, **(dict(test=XT) if name=='two test sets' else {}))

def test_a_folder_of_arrays_is_written_to_one_file(tmp_path):
    for k,o in dict(X_train=X, y_train=Y, X_test=XT).items(): np.save(tmp_path/f'{k}.npy', o)
    assert "np.savez('train.npz', x=x, y=y)" in refused(tmp_path, 'X_train.npy, y_train.npy', read=read_csvs)

def save(f, **arrays):
    np.savez(f, **arrays)
    return f.read_bytes()

def bad_files(p):
    "Return {name of a file: what its error says} of broken files in `p`"
    np.savez(p/'pickle.npz', x=np.array([X, None], dtype=object), y=Y)
    with zipfile.ZipFile(p/'bomb.npz', 'w', zipfile.ZIP_DEFLATED) as z:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, dict(descr='|u1', fortran_order=False, shape=(90_000,28,28)))
        z.writestr('x.npy', head.getvalue()+b'\0'*(90_000*784))
    with zipfile.ZipFile(p/'liar.npz', 'w') as z:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, dict(descr='<f8', fortran_order=False, shape=(10**9,28,28)))
        z.writestr('x.npy', head.getvalue()+b'\0'*100)
    np.savez(p/'unlabelled.npz', x=X)
    np.savez(p/'lengths.npz', x=X, y=Y[:-1])
    np.savez(p/'two.npz', x=X, y=Y, target=Y)
    np.savez(p/'none.npz', a=Y)
    np.save(p/'train.npy', X)
    TRAIN.assign(pixel3=TRAIN.pixel3.where(TRAIN.index!=7)).to_parquet(p/'gap.parquet')
    TRAIN.assign(pixel3=TRAIN.pixel3.astype(int)+(TRAIN.index==7)*900).to_parquet(p/'range.parquet')
    TRAIN.assign(pixel3='x').to_parquet(p/'text.parquet')
    TRAIN.assign(label=[dict(a=1)]*60).to_parquet(p/'struct.parquet')
    TRAIN.assign(label=[[1,0]]*60).to_feather(p/'list.feather')
    TRAIN.assign(label=TRAIN.label.where(TRAIN.index!=7)).to_parquet(p/'nolabel.parquet')
    TRAIN.drop(columns='label').to_parquet(p/'bare.parquet')
    TRAIN.iloc[:0].to_parquet(p/'empty.parquet')
    TRAIN.assign(target=TRAIN.label).drop(columns='label').assign(klass=1).to_parquet(p/'other.parquet')
    pa.parquet.write_table(pa.Table.from_arrays([pa.array(Y)]*2, ['label','label']), p/'twice.parquet')
    (p/'csv.parquet').write_text(TRAIN.to_csv())
    TRAIN.to_parquet(p/'train.csv')
    return {'pickle.npz':('Python objects',), 'bomb.npz':('zip bomb',), 'liar.npz':('truncated or corrupt',),
            'unlabelled.npz':('no labels',), 'lengths.npz':('59 labels for 60 images',),
            'two.npz':('could each be the labels',),
            'none.npz':('expected images x',), 'train.npy':('np.savez',), 'gap.parquet':('row 7, column pixel3','nan'),
            'range.parquet':('row 7, column pixel3','found'),
            'text.parquet':('row 0, column pixel3',), 'struct.parquet':('row 0, column label',),
            'list.feather':('row 0, column label',),
            'nolabel.parquet':('row 7, column label: blank',), 'bare.parquet':("no 'label' column",),
            'empty.parquet':('no rows',), 'twice.parquet':('label',), 'csv.parquet':('expected Parquet',)}

def test_bits_and_missing_numbers_in_the_first_image(tmp_path):
    np.savez(tmp_path/'bits.npz', x=X>127, y=Y)
    assert (read_csvs(tmp_path/'bits.npz').train.iloc[:,1:].to_numpy()==255*(X.reshape(60, -1)>127)).all()
    x = X.astype(np.float32)
    x[0,0,3] = np.nan
    np.savez(tmp_path/'nan.npz', x=x, y=Y)
    pd.DataFrame(dict(image=nested(x.reshape(60, -1)), label=Y)).to_parquet(tmp_path/'nan.parquet')
    for o in 'nan.npz','nan.parquet': refused(tmp_path/o, 'row 0, column image 4', "found 'nan'", read=read_csvs)

def test_bad_files(tmp_path):
    for f,says in bad_files(tmp_path).items(): refused(tmp_path/f, f, *says, read=read_csvs)
    assert 'klass' in str(read_csvs(tmp_path/'other.parquet').notes)
    same(read_csvs(tmp_path/'train.csv'), test=False) # named on its own, its first bytes decide

def test_without_pyarrow(tmp_path, monkeypatch):
    TRAIN.to_parquet(tmp_path/'train.parquet')
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    assert "pip install 'digitfast[parquet]'" in refused(tmp_path, 'train.parquet', read=read_csvs)

def test_nothing_is_run_or_opened(tmp_path, monkeypatch):
    "Neither a pickle in an .npz nor a class in a file's metadata is loaded"
    class Evil:
        def __reduce__(self): return (open, (str(tmp_path/'ran'), 'w'))
    np.savez(tmp_path/'a.npz', x=np.array([Evil()]*3, dtype=object), y=[0,1,0])
    with zipfile.ZipFile(tmp_path/'b.npz', 'w') as z: z.writestr('x.npy', pickle.dumps(Evil()))
    for f in 'ab': refused(tmp_path/f'{f}.npz', read=read_csvs)
    t = pa.Table.from_pandas(TRAIN).replace_schema_metadata({'pandas':'{"columns":7}', 'huggingface':'{]'})
    pa.parquet.write_table(t, tmp_path/'train.parquet')
    same(read_csvs(tmp_path/'train.parquet'), test=False)
    assert not (tmp_path/'ran').exists()

WHOLE = {}
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(['a.parquet','a.feather','a.npz','i.parquet']), cut=st.floats(0, 1), flips=st.lists(
    st.tuples(st.floats(0, .999), st.integers(0, 255)), max_size=3), keep=st.booleans())
def test_damaged_files(kind, cut, flips, keep, tmp_path):
    "Cut or changed bytes give rows or a `DataError` of one line, and never another exception"
    if not WHOLE:
        TRAIN.to_parquet(tmp_path/'a.parquet'), TRAIN.to_feather(tmp_path/'a.feather')
        np.savez(tmp_path/'a.npz', x=X, y=Y), hf(X, Y).to_parquet(tmp_path/'i.parquet')
        WHOLE.update({f.name:f.read_bytes() for f in tmp_path.glob('?.*')})
    b = bytearray(WHOLE[kind])
    for at,v in flips: b[int(at*len(b))] = v
    if not keep: b = b[:int(cut*len(b))]
    (tmp_path/kind).write_bytes(b)
    try: read_csvs(tmp_path/kind)
    except DataError as e: assert str(e).isprintable() and kind in str(e)

def test_ids_in_an_index():
    "As pandas reads them with index_col"
    d = as_data((TRAIN, TEST.iloc[:,1:].set_index(pd.Index(range(7, 27), name='ImageId'))))
    assert d.test_ids.tolist()==list(range(7, 27)) and d.test_ids.name=='ImageId' and same(d)

# ---- train and predict

def test_train_and_predict(tiny_run, tmp_path):
    "Arrays train the same model as the same CSVs, and each form of the test rows gets the same labels"
    run = train((X, Y), out=tmp_path/'run', say=lambda o: None, **TINY)
    a,b = Run(run).predictions(),Run(tiny_run[0]).predictions()
    assert (a.rows==b.rows).all() and np.abs(a.probs-b.probs).max()<1e-6
    want = pd.read_csv(tiny_run[0]/'submission.csv').Label.tolist()
    np.savez(tmp_path/'rows.npz', x=XT)
    np.savez(tmp_path/'both.npz', x_train=X, y_train=Y, x_test=XT)
    TEST.iloc[:,1:].to_feather(tmp_path/'rows.feather')
    hf(XT).to_parquet(tmp_path/'rows.parquet')
    for o in (XT, torch.tensor(XT), ((X, Y), XT), hf(XT), vision(XT, YT), *tmp_path.glob('*.*')):
        lines = []
        f = predict_csv(tiny_run[0], o, tmp_path/'out.csv', device='cpu', say=lines.append)
        assert pd.read_csv(f).Label.tolist()==want and any('control rows' in o for o in lines), o
        f.unlink()
    refused(XT/255, 'Multiply the numbers by 255', read=lambda o: predict_csv(tiny_run[0], o, tmp_path/'out.csv'))
    assert not (tmp_path/'out.csv').exists()

def test_groups(tmp_path):
    "A column with the writer is neither a pixel nor the label, in each form that has columns"
    df = hf(X, Y).assign(writer=np.arange(60)//6)
    df.to_parquet(tmp_path/'train.parquet')
    for d in (read_csvs(tmp_path/'train.parquet', groups='writer'), as_data(df, groups='writer')):
        assert d.extra.writer.astype(int).tolist()==df.writer.tolist() and not any('omitted' in o for o in d.notes)
    refused(tmp_path, 'author', read=read_csvs, groups='author')
