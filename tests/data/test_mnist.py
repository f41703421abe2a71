"Tests of MNIST's own IDX files, with small files that the tests write"
import gzip, pickle
from pathlib import Path

import numpy as np, pytest
from digitfast.data.block import DigitDataLoaders
from digitfast.data.mnist import read_mnist
from digitfast.core import DataError
from digitfast.tasks.train import train
from digitfast.runs.run import read_metrics

def idx(a, magic): return np.array([magic, *a.shape], '>u4').tobytes()+a.astype(np.uint8).tobytes()

@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    raw = tmp_path/'mnist'/'MNIST'/'raw'
    raw.mkdir(parents=True)
    for part,n in (('train',60), ('t10k',20)):
        y = np.arange(n)%10
        x = rng.integers(0, 256, (n,28,28))
        x[np.arange(n),0,0] = y
        (raw/f'{part}-images-idx3-ubyte').write_bytes(idx(x, 2051))
        (raw/f'{part}-labels-idx1-ubyte').write_bytes(idx(y, 2049))
    return tmp_path/'mnist'

def test_its_own_split(root):
    dls = DigitDataLoaders.from_mnist(root, download=False, bs=8)
    assert (len(dls.train_ds), len(dls.valid_ds))==(60, 20)
    x,y = dls.valid.tensors
    assert y.tolist()==[i%10 for i in range(20)] and x[:,0,0,0].tolist()==y.tolist()

def test_no_submission(root, tmp_path):
    logged = []
    run = train(root, recipe='mlp-25-25', epochs=1, bs=8, out=tmp_path/'run', say=logged.append)
    assert not (run/'submission.csv').exists() and read_metrics(run)['n_valid']==20
    assert any("contain the competition's test set" in o for o in logged)

@pytest.mark.parametrize('name,change,says', [
    ('train-images-idx3-ubyte', lambda b: b[:-1], 'cut short'),
    ('train-images-idx3-ubyte', lambda b: b+b'0', 'bytes, expected'),
    ('t10k-labels-idx1-ubyte', lambda b: b[:5], 'cut short'),
    ('train-labels-idx1-ubyte', lambda b: b'\0\0\x08\x03'+b[4:], 'magic number 2051, expected 2049'),
    ('train-labels-idx1-ubyte', lambda b: b'', 'magic number'),
    ('train-labels-idx1-ubyte', lambda b: idx(np.zeros(59), 2049), '60 images and 59 labels'),
])
def test_bad_files_are_named(root, name, change, says):
    f = root/'MNIST'/'raw'/name
    f.write_bytes(change(f.read_bytes()))
    with pytest.raises(DataError, match=says) as e: read_mnist(root)
    assert name.split('-')[0] in str(e.value)

def test_missing(root):
    (root/'MNIST'/'raw'/'t10k-labels-idx1-ubyte').unlink()
    with pytest.raises(DataError, match='t10k-labels.*is missing'): DigitDataLoaders.from_mnist(root, download=False)

class Touch:
    "Create the file `path` when it is unpickled"
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)

def test_what_torchvision_pickled_is_not_looked_at(root, tmp_path):
    "Only the checked files in `raw` are read, and no pickle is loaded"
    old = root/'MNIST'/'processed'
    old.mkdir()
    for o in 'training.pt','test.pt': (old/o).write_bytes(pickle.dumps(Touch(tmp_path/'touched')))
    data,n = read_mnist(root)
    assert (len(data.train), n)==(80, 60) and not (tmp_path/'touched').exists()

def test_gzipped_and_elsewhere(root, tmp_path):
    want,_ = read_mnist(root)
    (tmp_path/'gz').mkdir()
    for f in (root/'MNIST'/'raw').iterdir(): (tmp_path/'gz'/f'{f.name}.gz').write_bytes(gzip.compress(f.read_bytes()))
    got,n = read_mnist(tmp_path/'gz')
    assert got.train.equals(want.train) and n==60 and got.sha256==want.sha256
