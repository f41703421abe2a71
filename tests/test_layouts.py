"""Tables as the public keeps them: read in the one way that is right, or refused with the option that decides.

`layouts.py`, kept beside the competition's data, writes 43 of them; the table below has others of the same kinds. All are made of the
packaged sample."""
import bz2, gzip, importlib.util, io, json, zipfile
from functools import cache
from pathlib import Path

import numpy as np, pandas as pd, pytest
from PIL import Image
from digitfast.core import DataError
from digitfast.read import as_data, check_frame, find_data, near_copies, read_csvs, read_rows
from digitfast.submit import check_submission
from conftest import REPO

LAYOUTS = REPO.parent/'shared'/'data'/'layouts.py'

# ---- those of layouts.py

@cache
def shared():
    spec = importlib.util.spec_from_file_location('layouts', LAYOUTS)
    spec.loader.exec_module(m := importlib.util.module_from_spec(spec))
    return m

def judged(path, e, **options):
    "Hold what is read at `path` to the expectation `e`"
    if 'refuse' in e or 'option' in e:
        with pytest.raises(DataError) as why: read_csvs(path, **options)
        says = str(why.value)
        assert any(o in says for o in e.get('refuse', ['--label','--test','by name'])) and says.isprintable(), says
        return says
    d = read_csvs(path, **options)
    assert (d.side, len(d.classes), len(d.train), d.test is not None and len(d.test))==(e['side'], e['classes'], e['train'], e.get('test', False))
    if 'right' in e: check_submission(path/e['right'], d)
    return d

def names(): return list(shared().layouts) if LAYOUTS.exists() else ['none']

@pytest.mark.parametrize('name', names())
def test_shared_layouts(name, tmp_path):
    if not LAYOUTS.exists(): pytest.skip(f'{LAYOUTS} is not there')
    why,files,expect = shared().layouts[name]
    shared().write(tmp_path, name, why, files, expect)
    judged(tmp_path/name, expect)

# ---- others

@cache
def digits():
    d = read_csvs('sample').train
    return d.iloc[:,1:].to_numpy(), d['label'].to_numpy()

N,M = 80,30
X,Y = (o[:N] for o in digits())
XT,YT = (o[4000:4000+M] for o in digits())
def sized(x, h, w=None):
    "The images `x` at another size"
    return np.stack([np.asarray(Image.fromarray(o.reshape(28, 28)).resize((w or h, h), Image.BILINEAR)).ravel() for o in x])
def px(n=784, first=0, name='pixel'): return [f'{name}{i+first}' for i in range(n)]
def frame(x, cols=None): return pd.DataFrame(x, columns=px(x.shape[1]) if cols is None else list(cols))
def lab(x, y, cols=None, name='label', at=0):
    f = frame(x, cols)
    f.insert(at if at>=0 else f.shape[1], name, y)
    return f
def csv(f, index=False, **kw): return f.to_csv(index=index, lineterminator=kw.pop('end', '\n'), **kw)
def bare(f, **kw): return csv(f, header=False, **kw)
def zipped(**files):
    with zipfile.ZipFile(o := io.BytesIO(), 'w', zipfile.ZIP_DEFLATED) as z: [z.writestr(k, v) for k,v in files.items()]
    return o.getvalue()
def rows(x, y=None, sep=',', form='%d'):
    "Lines as `numpy.savetxt` writes them"
    o = io.StringIO()
    np.savetxt(o, x if y is None else np.column_stack([y, x]), fmt=form, delimiter=sep)
    return o.getvalue()
def hot(y, names=None): return pd.DataFrame(np.eye(10, dtype=int)[y], columns=names or [f'label_{i}' for i in range(10)])
LETTERS,KANA = np.array(list('ABCDEFGHIJ')),np.array('あ い う え お か き く け こ'.split())
X8,X16 = sized(X, 8)//16,sized(X, 16)
TRAIN,TEST,TESTED = csv(lab(X, Y)),csv(frame(XT)),csv(lab(XT, YT))
E = dict(side=28, classes=10, train=N)
T = dict(E, test=M)
def no(*words): return dict(refuse=words)

OTHERS = {
    # competitions and data sets
    'kannada':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, range(M), name='id')), 'Dig-MNIST.csv':TESTED,
                'sample_submission.csv':csv(pd.DataFrame(dict(id=range(M), label=0)))}, T),
    'sign mnist':({'sign_mnist_train.csv':csv(lab(X, Y, px(first=1))), 'sign_mnist_test.csv':csv(lab(XT, YT, px(first=1)))}, T),
    'sign mnist, nested':({'sign_mnist_train/sign_mnist_train.csv':TRAIN, 'sign_mnist_test/sign_mnist_test.csv':TESTED, 'a.png':b'\x89PNG'}, T),
    'devanagari':({'data.csv':csv(lab(sized(X, 32), [f'character_{i+1:02d}_ka' for i in Y], [f'pixel_{i:04d}' for i in range(1024)], 'character', -1))}, dict(E, side=32)),
    'chinese mnist':({'chinese_mnist.csv':csv(lab(sized(X, 64), Y, at=-1).assign(character=KANA[Y]))}, dict(E, side=64)),
    'usps':({'zip.train.gz':gzip.compress(rows(X16/127.5-1, Y, ' ', '%.4f').encode()), 'zip.test.gz':gzip.compress(rows(sized(XT, 16)/127.5-1, YT, ' ', '%.4f').encode())}, dict(T, side=16)),
    'optdigits':({'optdigits.tra':bare(lab(X8, Y, at=-1)), 'optdigits.tes':bare(lab(sized(XT, 8)//16, YT, at=-1)), 'optdigits.names':'1. Title'}, dict(T, side=8)),
    'sklearn digits':({'digits.csv':csv(lab(X8.astype(float), Y, [f'pixel_{i}_{j}' for i in range(8) for j in range(8)], 'target', -1))}, dict(E, side=8)),
    'semeion':({'semeion.data':rows(np.column_stack([X16>99, hot(Y)]), None, ' ', '%.4f')}, dict(E, side=16)),
    'a-z':({'A_Z Handwritten Data.csv':csv(pd.DataFrame(np.column_stack([np.sort(Y), X]), columns=['0']+[f'0.{i}' for i in range(1, 785)]))}, E),
    'dacon':({'train.csv':csv(lab(X, LETTERS[Y], range(784), 'letter').pipe(lambda f: (f.insert(0, 'digit', Y), f.insert(0, 'id', range(1, N+1)), f)[2])),
              'test.csv':csv(lab(XT, LETTERS[YT], range(784), 'letter').assign(id=range(N, N+M))), 'submission.csv':csv(pd.DataFrame(dict(id=range(N, N+M), digit=0)))}, T),
    'emnist balanced':({'emnist-balanced-train.csv':bare(lab(X, Y)), 'emnist-balanced-test.csv':bare(lab(XT, YT)), 'emnist-balanced-mapping.txt':'0 48\n1 49\n'}, T),
    'emnist, zipped one by one':({f'emnist-digits-{k}.csv.zip':zipped(**{f'emnist-digits-{k}.csv':v}) for k,v in dict(train=bare(lab(X, Y)), test=bare(lab(XT, YT))).items()}, T),
    'hasy':({'hasy-data-labels.csv':'path,symbol_id,latex,user_id\na.png,1,A,2\n'}, no('no training CSV')),
    'kmnist':({'kmnist_train.csv':csv(lab(X, Y)), 'kmnist_test.csv':TESTED, 'kmnist_classmap.csv':'index,codepoint,char\n0,U+304A,お\n'}, T),
    'mnist 784, arff beside':({'mnist_784.csv':csv(lab(X, Y, px(first=1), 'class', -1)), 'mnist_784.arff':'@RELATION mnist'}, E),
    'r':({'train.csv':csv(pd.DataFrame(np.column_stack([Y, X]), columns=px(785, 1, 'V')))}, E),
    'fer2013':({'fer2013.csv':csv(pd.DataFrame(dict(emotion=Y, pixels=[' '.join(map(str, o)) for o in sized(X, 48)], Usage='Training')))}, dict(E, side=48)),
    # labels
    'label last':({'train.csv':csv(lab(X, Y, at=-1))}, E),
    'label in the middle':({'train.csv':csv(lab(X, Y, at=400))}, E),
    'LABEL':({'train.csv':csv(lab(X, Y, name='LABEL'))}, E),
    'labels':({'train.csv':csv(lab(X, Y, name='labels')), 'test.csv':TEST}, T),
    'y':({'train.csv':csv(lab(X, Y, px(name='x'), 'y'))}, E),
    'an odd name':({'train.csv':csv(lab(X, Y, name='quux'))}, E),
    'two odd names':({'train.csv':csv(lab(X, Y, name='quux').assign(foo=1))}, no('--label')),
    'two good names':({'train.csv':csv(lab(X, Y, name='target').assign(**{'class':Y}))}, no('--label')),
    'no label, header':({'train.csv':csv(frame(X))}, no('label')),
    'no label, an id':({'train.csv':csv(lab(X, range(N), name='id'))}, no('label')),
    'labels beside, X_train':({'X_train.csv':csv(frame(X)), 'y_train.csv':csv(pd.DataFrame(dict(label=Y))), 'X_test.csv':TEST}, no('label')),
    'bare, label last':({'data.csv':bare(lab(X, Y, at=-1))}, E),
    'bare, text labels':({'data.csv':bare(lab(X, LETTERS[Y]))}, E),
    'bare, text labels last':({'data.csv':bare(lab(X, LETTERS[Y], at=-1))}, E),
    'bare, one class at a time':({'data.csv':bare(lab(X[np.argsort(Y)], np.sort(Y)))}, E),
    'bare, with index':({'train.csv':csv(lab(X, Y), header=False, index=True)}, E),
    'bare, both ends alike':({'train.csv':bare(lab(np.column_stack([X[:,:-1], Y]), Y))}, no('--label')),
    'numbered from 0':({'train.csv':csv(pd.DataFrame(np.column_stack([Y, X])))}, E),
    'numbered, target last':({'train.csv':csv(lab(X, Y, range(784), 'target', -1))}, E),
    'one-hot, words':({'train.csv':csv(pd.concat([frame(X), hot(Y, 'zero one two three four five six seven eight nine'.split())], axis=1))}, E),
    'one-hot first':({'train.csv':csv(pd.concat([hot(Y, [f'class_{i}' for i in range(10)]), frame(X)], axis=1))}, E),
    'one-hot, both sets':({'train.csv':csv(pd.concat([hot(Y), frame(X)], axis=1)), 'test.csv':csv(pd.concat([hot(YT), frame(XT)], axis=1))}, T),
    'quoted digits':({'train.csv':csv(lab(X, Y), quoting=1)}, E),
    'labels 1.0':({'train.csv':csv(lab(X, Y.astype(float)))}, E),
    'labels of -1':({'train.csv':csv(lab(X, [-1, *Y[1:]]))}, no('-1')),
    'a blank label':({'train.csv':csv(lab(X, [None, *map(str, Y[1:])]))}, no('blank')),
    # files
    'Train.csv':({'Train.csv':TRAIN, 'TEST.CSV':TEST}, T),
    'training and testing':({'digits_training.csv':TRAIN, 'digits_testing.csv':TEST}, T),
    'validation beside':({'train.csv':TRAIN, 'validation.csv':TESTED, 'extra.csv':TRAIN, 'test.csv':TEST}, T),
    'a copy':({'train - Copy.csv':TRAIN}, E),
    'twice':({'train.csv':TRAIN, 'train (1).csv':TRAIN}, no('by name')),
    'one table and a text':({'my digits.csv':TRAIN, 'notes.txt':'mine'}, E),
    'two tables':({'mine.csv':TRAIN, 'yours.csv':TRAIN}, no('by name')),
    'gz':({'train.csv.gz':gzip.compress(TRAIN.encode()), 'test.csv.gz':gzip.compress(TEST.encode())}, T),
    'zip of gz':({'a.zip':zipped(**{'train.csv.gz':gzip.compress(TRAIN.encode())})}, E),
    'zip of zips':({'a.zip':zipped(**{'train.csv.zip':zipped(**{'train.csv':TRAIN}), 'test.csv.zip':zipped(**{'test.csv':TEST})})}, T),
    'zip named by role':({'train.zip':zipped(**{'data.csv':TRAIN}), 'test.zip':zipped(**{'data.csv':TEST})}, T),
    'parquet':({'train.parquet':b'PAR1'}, no('no training CSV')),
    'bz2':({'train.csv':bz2.compress(TRAIN.encode())}, no('bzip2')),
    'tsv':({'train.tsv':csv(lab(X, Y), sep='\t')}, E),
    'train.txt':({'train.txt':rows(X, Y, ' ')}, E),
    # how it is written
    'bars':({'train.csv':csv(lab(X, Y), sep='|')}, E),
    'semicolons and decimal commas':({'train.csv':csv(lab((X/255).round(3), Y), sep=';', decimal=',')}, E),
    'bare semicolons, decimal commas':({'train.csv':bare(lab((X/255).round(3), Y), sep=';', decimal=',')}, E),
    'blanks that line up':({'train.txt':rows(X, Y, ' ', '%4d')}, E),
    'commas and blanks':({'train.csv':TRAIN.replace(',', ', ')}, E),
    'a comment for a header':({'train.csv':'# '+TRAIN}, E),
    'bom and crlf':({'train.csv':b'\xef\xbb\xbf'+csv(lab(X, Y), end='\r\n').encode()}, E),
    'bom, bare':({'train.csv':b'\xef\xbb\xbf'+bare(lab(X, Y)).encode()}, E),
    'a comma at the end':({'train.csv':TRAIN.replace('\n', ',\n')}, E),
    '-1 to 1':({'train.csv':csv(lab((X/127.5-1).round(3), Y))}, E),
    'black and white':({'train.csv':csv(lab(X//128, Y))}, E),
    'standardised':({'train.csv':csv(lab(((X-33.)/78).round(3), Y))}, no('from 0 to 255')),
    'fractions of 255':({'train.csv':csv(lab(X+.25, Y))}, no('from 0 to 255')),
    # names of pixels
    'rows and columns from 1':({'train.csv':csv(lab(X, Y, [f'{i}x{j}' for i in range(1, 29) for j in range(1, 29)]))}, E),
    'R0_C0':({'train.csv':csv(lab(X, Y, [f'R{i}_C{j}' for i in range(28) for j in range(28)]))}, E),
    '(0, 0)':({'train.csv':csv(lab(X, Y, [f'({i}, {j})' for i in range(28) for j in range(28)]))}, E),
    # what they are not
    'rgb':({'train.csv':bare(lab(np.repeat(X, 3, 1), Y))}, no('colour')),
    'rgb, three sets':({'train.csv':csv(pd.concat([frame(X, px(name=o)) for o in 'rgb'], axis=1).assign(label=Y))}, no('colour')),
    'rgba':({'train.csv':csv(lab(np.stack([X, X, X, X*0+255], 2).reshape(N, -1), Y))}, no('RGBA')),
    'rgba, planes':({'train.csv':csv(lab(np.concatenate([X, X, X, X*0+255], 1), Y))}, no('RGBA')),
    '14x56':({'train.csv':csv(lab(sized(X, 14, 56), Y))}, no('14x56')),
    '56x14':({'train.csv':csv(lab(sized(X, 56, 14), Y))}, no('56x14')),
    '14x56, by name':({'train.csv':csv(lab(sized(X, 14, 56), Y, [f'r{i}c{j}' for i in range(14) for j in range(56)]))}, no('14x56')),
    '20x30':({'train.csv':csv(lab(sized(X, 20, 30), Y))}, no('20x30')),
    'no pictures':({'train.csv':'id,age,label\n1,2,3\n4,5,6\n'}, no('pixel')),
    # ids
    'padded ids':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, [f'{i:05d}' for i in range(M)], name='id')),
                   'right.csv':'id,label\n'+''.join(f'{i:05d},1\n' for i in range(M))}, dict(T, right='right.csv')),
    'Id,Category':({'train.csv':TRAIN, 'test.csv':TEST, 'entry.csv':'Id,Category\n'+''.join(f'{i},0\n' for i in range(M)),
                    'right':'Id,Category\n'+''.join(f'{i},1\n' for i in range(M))}, dict(T, right='right')),
    'filename for an id':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, [f'{i}.png' for i in range(M)], name='filename')), 'sampleSubmission.csv':'filename,y\n'+''.join(f'{i}.png,0\n' for i in range(M)),
                           'right':'filename,y\n'+''.join(f'{i}.png,1\n' for i in range(M))}, dict(T, right='right')),
}

def put(path, files):
    for k,v in files.items():
        (path/k).parent.mkdir(parents=True, exist_ok=True)
        (path/k).write_bytes(v if isinstance(v, bytes) else v.encode())
    return path

@pytest.mark.parametrize('name', OTHERS)
def test_other_layouts(name, tmp_path):
    files,expect = OTHERS[name]
    judged(put(tmp_path, files), expect)
