"""Tables as the public keeps them: read in the one way that is right, or refused with the option that decides.

`layouts.py`, kept beside the competition's data, writes 43 of them; the table below has others of the same
kinds. All are made of the packaged sample."""
import bz2, gzip, importlib.util, io, json, re, warnings, zipfile
from dataclasses import replace
from functools import cache
from math import isqrt
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from digitfast.core import DataError, as_command
from digitfast.data.checks import near_copies
from digitfast.data.columns import NoSuchColumn
from digitfast.data.files import NoTrainingSet, find_data
from digitfast.data.frames import check_frame
from digitfast.data.read import as_data, as_rows, read_csvs, read_rows
from digitfast.data.reading import Reading
from digitfast.kaggle.submission import check_submission, other_labels
from conftest import REPO

LAYOUTS = REPO.parent/'shared'/'data'/'layouts.py'

@pytest.fixture(autouse=True, scope='module')
def for_the_command():
    "Spell the options in messages as on the command line"
    with as_command(): yield

# ---- those of layouts.py

@cache
def shared():
    spec = importlib.util.spec_from_file_location('layouts', LAYOUTS)
    spec.loader.exec_module(m := importlib.util.module_from_spec(spec))
    return m

def judged(path, e, **options):
    "Check that reading `path` gives the result or the error in the expectation `e`"
    if 'refuse' in e or 'option' in e:
        with pytest.raises(DataError) as why: read_csvs(path, **options)
        says = str(why.value)
        words = e.get('refuse', ['--label','--test','Name the file'])
        assert any(o in says for o in words) and says.isprintable(), says
        return says
    d = read_csvs(path, **options)
    assert (d.side, len(d.classes), len(d.train), d.test is not None and len(d.test))==(e['side'], e['classes'],
        e['train'], e.get('test', False))
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
    "Return the images `x` at another size"
    return np.stack([np.asarray(Image.fromarray(o.reshape(28, 28)).resize((w or h, h), Image.BILINEAR)).ravel()
                     for o in x])
def px(n=784, first=0, name='pixel'): return [f'{name}{i+first}' for i in range(n)]
def frame(x, cols=None): return pd.DataFrame(x, columns=px(x.shape[1]) if cols is None else list(cols))
def lab(x, y, cols=None, name='label', at=0):
    f = frame(x, cols)
    y = pd.Series(y, dtype=object) if getattr(y, 'dtype', None)==object else y # text that no UTF-8 holds stays as it is
    f.insert(at if at>=0 else f.shape[1], name, y)
    return f
def csv(f, index=False, **kw): return f.to_csv(index=index, lineterminator=kw.pop('end', '\n'), **kw)
def bare(f, **kw): return csv(f, header=False, **kw)
def zipped(**files):
    with zipfile.ZipFile(o := io.BytesIO(), 'w', zipfile.ZIP_DEFLATED) as z: [z.writestr(k, v) for k,v in files.items()]
    return o.getvalue()
def rows(x, y=None, sep=',', form='%d'):
    "Return lines in the form of `numpy.savetxt`"
    o = io.StringIO()
    np.savetxt(o, x if y is None else np.column_stack([y, x]), fmt=form, delimiter=sep)
    return o.getvalue()
def hot(y, names=None):
    names = pd.Index(names or [f'label_{i}' for i in range(10)], dtype=object)
    return pd.DataFrame(np.eye(10, dtype=int)[y], columns=names)
def packed(x): return pd.DataFrame(dict(pixels=[' '.join(map(str, o)) for o in x]))
GRID8 = [f'pixel_{i}_{j}' for i in range(8) for j in range(8)]
WORDS = 'zero one two three four five six seven eight nine'.split()
LETTERS,KANA = np.array(list('ABCDEFGHIJ')),np.array('あ い う え お か き く け こ'.split())
X8,XT8,X16 = sized(X, 8)//16,sized(XT, 8)//16,sized(X, 16)
TRAIN,TEST,TESTED = csv(lab(X, Y)),csv(frame(XT)),csv(lab(XT, YT))
E = dict(side=28, classes=10, train=N)
T = dict(E, test=M)
def no(*words): return dict(refuse=words)

OTHERS = {
    # competitions and data sets
    'kannada':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, range(M), name='id')), 'Dig-MNIST.csv':TESTED,
                'sample_submission.csv':csv(pd.DataFrame(dict(id=range(M), label=0)))}, T),
    'sign mnist':({'sign_mnist_train.csv':csv(lab(X, Y, px(first=1))),
                   'sign_mnist_test.csv':csv(lab(XT, YT, px(first=1)))}, T),
    'sign mnist, nested':({'sign_mnist_train/sign_mnist_train.csv':TRAIN, 'sign_mnist_test/sign_mnist_test.csv':TESTED,
                           'a.png':b'\x89PNG'}, T),
    'devanagari':({'data.csv':csv(lab(sized(X, 32), [f'character_{i+1:02d}_ka' for i in Y],
                                      [f'pixel_{i:04d}' for i in range(1024)], 'character', -1))}, dict(E, side=32)),
    'chinese mnist':({'chinese_mnist.csv':csv(lab(sized(X, 64), Y, at=-1).assign(character=KANA[Y]))},
                     dict(E, side=64)),
    'usps':({'zip.train.gz':gzip.compress(rows(X16/127.5-1, Y, ' ', '%.4f').encode()),
             'zip.test.gz':gzip.compress(rows(sized(XT, 16)/127.5-1, YT, ' ', '%.4f').encode())}, dict(T, side=16)),
    'optdigits':({'optdigits.tra':bare(lab(X8, Y, at=-1)), 'optdigits.tes':bare(lab(sized(XT, 8)//16, YT, at=-1)),
                  'optdigits.names':'1. Title'}, dict(T, side=8)),
    'sklearn digits':({'digits.csv':csv(lab(X8.astype(float), Y, GRID8, 'target', -1))}, dict(E, side=8)),
    'semeion':({'semeion.data':rows(np.column_stack([X16>99, hot(Y)]), None, ' ', '%.4f')}, dict(E, side=16)),
    'a-z':({'A_Z Handwritten Data.csv':csv(pd.DataFrame(np.column_stack([np.sort(Y), X]),
        columns=['0']+[f'0.{i}' for i in range(1, 785)]))}, E),
    'dacon':({'train.csv':csv(pd.concat([pd.DataFrame(dict(id=range(1, N+1), digit=Y)),
                                         lab(X, LETTERS[Y], range(784), 'letter')], axis=1)),
              'test.csv':csv(lab(XT, LETTERS[YT], range(784), 'letter').assign(id=range(N, N+M))),
              'submission.csv':csv(pd.DataFrame(dict(id=range(N, N+M), digit=0)))}, T),
    'emnist balanced':({'emnist-balanced-train.csv':bare(lab(X, Y)), 'emnist-balanced-test.csv':bare(lab(XT, YT)),
                        'emnist-balanced-mapping.txt':'0 48\n1 49\n'}, T),
    'emnist, zipped one by one':({f'emnist-digits-{k}.csv.zip':zipped(**{f'emnist-digits-{k}.csv':bare(v)})
                                  for k,v in (('train',lab(X, Y)), ('test',lab(XT, YT)))}, T),
    'hasy':({'hasy-data-labels.csv':'path,symbol_id,latex,user_id\na.png,1,A,2\n'}, no('no training set')),
    'kmnist':({'kmnist_train.csv':csv(lab(X, Y)), 'kmnist_test.csv':TESTED,
               'kmnist_classmap.csv':'index,codepoint,char\n0,U+304A,お\n'}, T),
    'mnist 784, arff beside':({'mnist_784.csv':csv(lab(X, Y, px(first=1), 'class', -1)),
                               'mnist_784.arff':'@RELATION mnist'}, E),
    'r':({'train.csv':csv(pd.DataFrame(np.column_stack([Y, X]), columns=px(785, 1, 'V')))}, E),
    'fer2013':({'fer2013.csv':csv(pd.DataFrame(dict(emotion=Y, pixels=[' '.join(map(str, o)) for o in sized(X, 48)],
        Usage='Training')))}, dict(E, side=48)),
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
    'labels beside, X_train':({'X_train.csv':csv(frame(X)), 'y_train.csv':csv(pd.DataFrame(dict(label=Y))),
                               'X_test.csv':TEST}, no('label')),
    'bare, label last':({'data.csv':bare(lab(X, Y, at=-1))}, E),
    'bare, text labels':({'data.csv':bare(lab(X, LETTERS[Y]))}, E),
    'bare, text labels last':({'data.csv':bare(lab(X, LETTERS[Y], at=-1))}, E),
    'bare, one class at a time':({'data.csv':bare(lab(X[np.argsort(Y)], np.sort(Y)))}, E),
    'bare, with index':({'train.csv':csv(lab(X, Y), header=False, index=True)}, E),
    'bare, both ends alike':({'train.csv':bare(lab(np.column_stack([X[:,:-1], Y]), Y))}, no('--label')),
    'numbered from 0':({'train.csv':csv(pd.DataFrame(np.column_stack([Y, X])))}, E),
    'numbered, target last':({'train.csv':csv(lab(X, Y, range(784), 'target', -1))}, E),
    'one-hot, words':({'train.csv':csv(pd.concat([frame(X), hot(Y, WORDS)], axis=1))}, E),
    'one-hot first':({'train.csv':csv(pd.concat([hot(Y, [f'class_{i}' for i in range(10)]), frame(X)], axis=1))}, E),
    'one-hot, both sets':({'train.csv':csv(pd.concat([hot(Y), frame(X)], axis=1)),
                           'test.csv':csv(pd.concat([hot(YT), frame(XT)], axis=1))}, T),
    'quoted digits':({'train.csv':csv(lab(X, Y), quoting=1)}, E),
    'labels 1.0':({'train.csv':csv(lab(X, Y.astype(float)))}, E),
    'labels of -1':({'train.csv':csv(lab(X, [-1, *Y[1:]]))}, no('-1')),
    'a blank label':({'train.csv':csv(lab(X, [None, *map(str, Y[1:])]))}, no('blank')),
    # files
    'Train.csv':({'Train.csv':TRAIN, 'TEST.CSV':TEST}, T),
    'training and testing':({'digits_training.csv':TRAIN, 'digits_testing.csv':TEST}, T),
    'validation beside':({'train.csv':TRAIN, 'validation.csv':TESTED, 'extra.csv':TRAIN, 'test.csv':TEST}, T),
    'a copy':({'train - Copy.csv':TRAIN}, E),
    'twice':({'train.csv':TRAIN, 'train (1).csv':TRAIN}, no('Name the file')),
    'one table and a text':({'my digits.csv':TRAIN, 'notes.txt':'mine'}, E),
    'two tables':({'mine.csv':TRAIN, 'yours.csv':TRAIN}, no('Name the file')),
    'gz':({'train.csv.gz':gzip.compress(TRAIN.encode()), 'test.csv.gz':gzip.compress(TEST.encode())}, T),
    'zip of gz':({'a.zip':zipped(**{'train.csv.gz':gzip.compress(TRAIN.encode())})}, E),
    'zip of zips':({'a.zip':zipped(**{'train.csv.zip':zipped(**{'train.csv':TRAIN}),
                                      'test.csv.zip':zipped(**{'test.csv':TEST})})}, T),
    'zip named by role':({'train.zip':zipped(**{'data.csv':TRAIN}), 'test.zip':zipped(**{'data.csv':TEST})}, T),
    'parquet':({'train.parquet':b'PAR1'}, no('cannot be read as Parquet')),
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
    'rows and columns from 1':({'train.csv':csv(lab(X, Y, [f'{i}x{j}' for i in range(1, 29) for j in range(1, 29)]))},
                               E),
    'R0_C0':({'train.csv':csv(lab(X, Y, [f'R{i}_C{j}' for i in range(28) for j in range(28)]))}, E),
    '(0, 0)':({'train.csv':csv(lab(X, Y, [f'({i}, {j})' for i in range(28) for j in range(28)]))}, E),
    # other files
    'rgb':({'train.csv':bare(lab(np.repeat(X, 3, 1), Y))}, no('colour')),
    'rgb, no label':({'train.csv':bare(frame(np.repeat(X, 3, 1)))}, no('colour')),
    'rgb, three sets':({'train.csv':csv(pd.concat([frame(X, px(name=o)) for o in 'rgb'], axis=1).assign(label=Y))},
                       no('colour')),
    'rgba':({'train.csv':csv(lab(np.stack([X, X, X, X*0+255], 2).reshape(N, -1), Y))}, no('RGBA')),
    'rgba, planes':({'train.csv':csv(lab(np.concatenate([X, X, X, X*0+255], 1), Y))}, no('RGBA')),
    'column, then row':({'train.csv':csv(lab(X, Y, [f'c{j}r{i}' for i in range(28) for j in range(28)]))}, E),
    'x, then y':({'train.csv':csv(lab(X, Y, [f'x{j}_y{i}' for i in range(28) for j in range(28)])[
        ['label', *sorted(f'x{j}_y{i}' for i in range(28) for j in range(28))]])}, E),
    'row, then column':({'train.csv':csv(lab(X, Y, [f'row{i}col{j}' for i in range(28) for j in range(28)]))}, E),
    '14x56':({'train.csv':csv(lab(sized(X, 14, 56), Y))}, no('14x56')),
    '56x14':({'train.csv':csv(lab(sized(X, 56, 14), Y))}, no('56x14')),
    '14x56, by name':({'train.csv':csv(lab(sized(X, 14, 56), Y, [f'r{i}c{j}' for i in range(14) for j in range(56)]))},
                      no('14x56')),
    '20x30':({'train.csv':csv(lab(sized(X, 20, 30), Y))}, no('20x30')),
    'no pictures':({'train.csv':'id,age,label\n1,2,3\n4,5,6\n'}, no('pixel')),
    # more of the same kinds
    'semicolons, Label, an index':({'train.csv':csv(lab(X, Y, name='Label').reset_index(), sep=';'),
                                    'test.csv':csv(frame(XT).reset_index(), sep=';')}, T),
    'gz, y last, 0 to 1':({'train.csv.gz':gzip.compress(csv(lab((X/255).round(5), Y, name='y', at=-1)).encode()),
                           'test.csv.gz':gzip.compress(csv(frame((XT/255).round(5))).encode())}, T),
    'folders train and test':({'train/data.csv':TRAIN, 'test/data.csv':TEST}, T),
    'folders in a zip':({'digits.zip':zipped(**{'digits/train/part.csv':TRAIN, 'digits/test/part.csv':TEST})}, T),
    'train.csv, and a folder train':({'train.csv':TRAIN, 'train/more.csv':TRAIN, 'test.csv':TEST}, T),
    'a folder train with two':({'train/a.csv':TRAIN, 'train/b.csv':TRAIN}, no('Name the file')),
    'folders called as files':({'train.csv/train.csv':TRAIN, 'test.csv/test.csv':TEST}, T),
    'three columns of ids':({'train.csv':csv(lab(X, Y).assign(id=range(N), image_id=[f'i{i}' for i in range(N)],
                                                              filename='a.png'))}, E),
    'words for digits':({'train.csv':csv(lab(X, np.array(WORDS)[Y], name='Digit'))}, E),
    'one-hot, 0 to 9':({'train.csv':csv(pd.concat([frame(X), hot(Y, list('0123456789'))], axis=1))}, E),
    'one-hot, true and false':({'train.csv':csv(pd.concat([frame(X), hot(Y).astype(bool)], axis=1))}, E),
    'one-hot, floats':({'train.csv':csv(pd.concat([frame(X), hot(Y).astype(float)], axis=1))}, E),
    'packed, a test set':({'train.csv':csv(packed(X).assign(label=Y)), 'test.csv':csv(packed(XT))}, T),
    'packed, no label':({'train.csv':csv(packed(X))}, no('images and no labels')),
    'packed, brackets':({'train.csv':csv(pd.DataFrame(dict(label=Y, image=[str(o.tolist()) for o in X])))}, E),
    'packed, commas, semicolons':({'train.csv':'label;pixels\n'+''.join(
        f'{y};{",".join(map(str, x))}\n' for x,y in zip(X, Y))}, E),
    'an archive of three sets':({'archive.zip':zipped(**{f'mnist/mnist_{k}.csv':TESTED if k!='train' else TRAIN
                                                         for k in ('train','test','validation')})}, T),
    'packed, as short as can be':({'train.csv':csv(packed(sized(X, 4)//32).assign(label=Y))}, dict(E, side=4)),
    'beside the pixels, fifteen numbers in a column':({'train.csv':csv(lab(X, Y).assign(box=' '.join(['10']*15)))}, E),
    'names with points':({'train.csv':csv(lab(X, Y, px(name='px.')).assign(**{'from.txt':'a'}))}, E),
    'names that are numbers from 1':({'train.csv':csv(lab(X, Y, map(str, range(1, 785))))}, E),
    'nothing but numbers from 1 for names':({'train.csv':csv(lab(X, Y, map(str, range(2, 786)), name='1'))}, E),
    'a submission beside the sample':({'train.csv':TRAIN, 'test.csv':TEST,
        'submission.csv':'Id,Category\n'+''.join(f'{i},0\n' for i in range(M)),
        'sample_submission.csv':'ImageId,Label\n'+''.join(f'{i+1},0\n' for i in range(M)),
        'right':'ImageId,Label\n'+''.join(f'{i+1},1\n' for i in range(M))}, dict(T, right='right')),
    'input1 to input64':({'optdigits.csv':csv(lab(X8, Y, px(64, 1, 'input'), 'class', -1))}, dict(E, side=8)),
    'V1 to V257':({'train.csv':csv(lab(X16, Y, px(256, 1, 'V'), 'V257', -1))}, dict(E, side=16)),
    'R, with row names':({'train.csv':csv(lab(X, Y), index=True, quoting=2)}, E),
    "R's write.table":({'train.txt':csv(lab(X, Y), sep=' ', index=True, quoting=2).removeprefix('"" ')}, E),
    "R's write.table, tabs":({'train.tsv':csv(lab(X, Y), sep='\t', index=True).removeprefix('\t')}, E),
    'a name too few, and no row names':({'train.csv':csv(lab(X, Y)).replace('pixel3,', '', 1)}, no('without pixel3')),
    'blanks and quotes':({'train.txt':csv(lab(X, Y), sep=' ', quoting=2)}, E),
    'names in alphabetical order':({'train.csv':csv(lab(X, Y)[['label', *sorted(px())]])}, E),
    'a test set with no labels in its label':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, '?'))}, T),
    'a pixel less in the test set':({'train.csv':TRAIN, 'test.csv':csv(frame(XT).drop(columns='pixel0'))},
                                    no('without pixel0')),
    'utf-16':({'train.csv':csv(lab(X, Y), sep='\t').encode('utf-16')}, no('UTF-16')),
    # ids
    'padded ids':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, [f'{i:05d}' for i in range(M)], name='id')),
                   'right.csv':'id,label\n'+''.join(f'{i:05d},1\n' for i in range(M))}, dict(T, right='right.csv')),
    'Id,Category':({'train.csv':TRAIN, 'test.csv':TEST,
                    'entry.csv':'Id,Category\n'+''.join(f'{i},0\n' for i in range(M)),
                    'right':'Id,Category\n'+''.join(f'{i},1\n' for i in range(M))}, dict(T, right='right')),
    'filename for an id':({'train.csv':TRAIN, 'test.csv':csv(lab(XT, [f'{i}.png' for i in range(M)], name='filename')),
                           'sampleSubmission.csv':'filename,y\n'+''.join(f'{i}.png,0\n' for i in range(M)),
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

# ---- the options that decide

CHOICES = [
    ({'train.csv':csv(lab(X, Y, name='quux').assign(foo=LETTERS[Y]))}, dict(label='foo'), list('ABCDEFGHIJ')),
    ({'train.csv':csv(lab(X, Y, name='quux').assign(foo=LETTERS[Y]))}, dict(label='QUUX'), list(range(10))),
    ({'train.csv':csv(lab(X, Y).assign(digit=LETTERS[Y]))}, dict(label='digit'), list('ABCDEFGHIJ')),
    ({'train.csv':bare(lab(np.column_stack([X[:,:-1], 9-Y]), Y))}, dict(label=1), list(range(10))),
    ({'train.csv':bare(lab(np.column_stack([X[:,:-1], Y]), 9-Y))}, dict(label='785'), list(range(10))),
]
@pytest.mark.parametrize('files,options,classes', CHOICES, ids=[str(o[1]) for o in CHOICES])
def test_label_decides(files, options, classes, tmp_path):
    d = read_csvs(put(tmp_path, files), **options)
    assert d.classes==classes and [classes.index(o) for o in d.train['label']]==Y.tolist()
    assert d.options==dict(label=str(options['label'])) and read_csvs(tmp_path, **d.options).train.equals(d.train)
    assert any(o.startswith('label: column ') for o in d.said)

@pytest.mark.parametrize('label,at', [('2',1), ('last',-1)])
def test_a_label_that_is_specified_beside_an_index(label, at, tmp_path):
    "A table without names has row numbers in its first column, and the label in the specified column"
    f = lab(X, Y, at=at) if at<0 else lab(X, Y)
    f.insert(0, 'i', range(N))
    d = read_csvs(put(tmp_path, {'train.csv':bare(f)}), label=label)
    assert d.train['label'].tolist()==Y.tolist() and (d.train.iloc[:,1:].to_numpy()==X).all()

def test_label_that_is_not_there(tmp_path):
    put(tmp_path, {'train.csv':TRAIN})
    with pytest.raises(DataError, match="no column 'nil'.*expected one of label"): read_csvs(tmp_path, label='nil')
    put(tmp_path, {'train.csv':bare(lab(X, Y))})
    with pytest.raises(DataError, match='from 1 to 785, with --label'): read_csvs(tmp_path, label='nil')

SETS = {f'emnist-{k}-{s}.csv':bare(lab(x, y)) for k in ('letters','digits') for s,x,
        y in (('train',X,Y), ('test',XT,YT))}
@pytest.mark.parametrize('kind', ['folder','zip'])
def test_two_files_by_name(kind, tmp_path):
    put(tmp_path, {'e.zip':zipped(**SETS)} if kind=='zip' else {f'e/{k}':v for k,v in SETS.items()})
    p = tmp_path/('e.zip' if kind=='zip' else 'e')
    with pytest.raises(DataError, match='as in DATA/emnist-digits-train.csv --test '
                                        'emnist-digits-test.csv'): read_csvs(p)
    d = read_csvs(p/'emnist-letters-train.csv', test=p/'emnist-letters-test.csv')
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and (d.test.to_numpy()==XT).all()
    assert d.test_labels.tolist()==YT.tolist()
    assert any('--transpose' in o for o in d.notes)
    again = read_csvs(p/'emnist-letters-train.csv', **d.options)
    assert again.sha256==d.sha256 and again.test.equals(d.test)
    assert read_csvs(p/'emnist-letters-train.csv').test is None

def test_test_is_another_file(tmp_path):
    put(tmp_path, {'d/train.csv':TRAIN, 'd/test.csv':TEST, 'other.csv':csv(lab(XT[::-1], YT[::-1])),
                   'd/late.csv':TESTED})
    assert read_csvs(tmp_path/'d', test=tmp_path/'other.csv').test_labels.tolist()==YT[::-1].tolist()
    assert (read_csvs(tmp_path/'d', test='late.csv').test.to_numpy()==XT).all()
    assert (read_csvs(tmp_path/'d/train.csv', test=tmp_path/'d').test.to_numpy()==XT).all()
    assert 'test.csv in the same folder' in read_csvs(tmp_path/'d/train.csv').notes[0]
    with pytest.raises(DataError, match='nil.csv: no such file'): read_csvs(tmp_path/'d', test='nil.csv')

def test_transpose(tmp_path):
    put(tmp_path, {'train.csv':TRAIN, 'test.csv':TEST})
    d,t = read_csvs(tmp_path),read_csvs(tmp_path, transpose=True)
    for a,b in ((d.train.iloc[:,1:], t.train.iloc[:,1:]), (d.test, t.test)):
        assert (a.to_numpy().reshape(-1,28,28)==b.to_numpy().reshape(-1,28,28).swapaxes(1,2)).all()
    assert (d.reading.transpose,t.reading.transpose)==(False,True)
    assert t.options==dict(transpose=True) and d.sha256!=t.sha256
    assert (t.train['label']==d.train['label']).all()
    assert not any('--transpose' in o
                   for o in read_csvs(put(tmp_path/'e', {'emnist-train.csv':TRAIN}), transpose=True).notes)

# ---- nothing is cast, cut or kept silent

@pytest.mark.parametrize('ids,want',
                         [(['00017','18'], ['00017','18']), (['17','18'], [17,18]), (['1.0','2.0'], ['1.0','2.0']),
                          (['0','1'], [0,1]), (['9'*19,'1'], ['9'*19,'1'])])
def test_ids_are_never_cast(ids, want, tmp_path):
    d = read_csvs(put(tmp_path,
                      {'train.csv':TRAIN, 'test.csv':csv(lab(XT[:2], ids, name='id')),
                       'sample_submission.csv':'id,label\n'+''.join(f'{i},0\n' for i in ids)}))
    assert d.test_ids.tolist()==want and d.sample['id'].tolist()==want

@pytest.mark.parametrize('labels,want',
                         [(YT, YT.tolist()), (YT.astype(float), YT.tolist()), ([f'{o:02d}' for o in YT], None),
                          ([-1]*M, None), ([None]*M, None), ([10, *YT[1:]], None), ([3]*M, None)])
def test_labels_of_the_test_set(labels, want, tmp_path):
    "Labels of the test set are kept if they are classes of the training set. Otherwise a note says why not"
    d = read_csvs(put(tmp_path, {'train.csv':TRAIN, 'test.csv':csv(lab(XT, labels))}))
    assert (None if d.test_labels is None else d.test_labels.tolist())==want and (d.test.to_numpy()==XT).all()
    assert bool(want)!=any('its labels are ignored' in o for o in d.notes)

def test_further_columns_are_kept_and_noted(tmp_path):
    d = read_csvs(put(tmp_path,
                      {'train.csv':csv(lab(X, Y).assign(fold=range(N), who='x')),
                       'test.csv':csv(frame(XT).assign(filename='a.png'))}))
    assert d.extra.columns.tolist()==['fold','who'] and d.extra['fold'].tolist()==[str(i) for i in range(N)]
    assert d.test_extra['filename'].tolist()==['a.png']*M
    assert 'columns fold, who omitted' in d.notes[0] and 'column filename omitted' in d.notes[1]

SAID = [({'train.csv':TRAIN, 'test.csv':TEST}, []), ({'train.csv':csv(lab(X, Y, name='class'), sep='\t')}, ["label: "
    "column 'class'", 'fields: separated by tabs']),
        ({'a.csv':bare(lab((X/255).round(4), Y))}, ['training set: a.csv', 'label: column 1 of 785', 'header: '
            'none', 'pixels: numbers from 0 to 1']),
        ({'a-z.csv':csv(pd.DataFrame(np.column_stack([np.sort(Y), X]),
                                     columns=['0']+[f'0.{i}' for i in range(1, 785)]))},
         ['training set: a-z.csv', 'label: column 1 of 785', 'header: numbers that pandas turned into names']),
        ({'train.csv':csv(hot(Y).join(frame(X)))}, ['label: the 10 columns label_0 to label_9, one 1 in each row'])]
@pytest.mark.parametrize('files,says', SAID, ids=['plain','named','bare','mangled','one-hot'])
def test_what_was_inferred_is_logged(files, says, tmp_path):
    d = read_csvs(put(tmp_path, files))
    assert len(d.said)==len(says) and all(o.startswith(s) for o,s in zip(d.said, says)), d.said

@pytest.mark.parametrize('at', [0,-1], ids=['first','last'])
@pytest.mark.parametrize('c', [2,3])
def test_the_label_is_the_even_side(c, at, tmp_path):
    """A table has no names, and few small whole numbers in its first and last column. The label is the column in which
    all numbers are about equally frequent"""
    x,y = np.random.default_rng(0).integers(0, 256, (N,64)),np.arange(N)%c
    x[:,0 if at else -1] = 0 # a corner's pixel, hardly ever inked
    x[:c-1,0 if at else -1] = range(1, c)
    d = read_csvs(put(tmp_path, {'train.csv':bare(lab(x, y, at=at))}))
    assert len(d.classes)==c and d.train['label'].astype(int).tolist()==y.tolist()

@pytest.mark.parametrize('at', [0,-1], ids=['first','last'])
def test_the_label_is_the_side_that_counts(at, tmp_path):
    """A table has no names, and few values in its first and last column. The label is the column whose numbers follow
    each other"""
    x,y = np.random.default_rng(0).integers(0, 256, (N,64)),np.arange(N)%3
    x[:,0 if at else -1] = 120*(np.arange(N)//3%3)
    d = read_csvs(put(tmp_path, {'train.csv':bare(lab(x, y, at=at))}))
    assert d.train['label'].astype(int).tolist()==y.tolist()

@pytest.mark.parametrize('n,ok', [(1,False), (19,False), (20,True)])
def test_a_few_labels_of_255_were_minus_one(n, ok, tmp_path):
    "A label of -1 that was stored as a byte is 255. It is a class only if a quarter of the rows have it"
    y = Y.copy()
    y[:n] = 255
    put(tmp_path, {'train.csv':csv(lab(X, y))})
    if ok: assert 255 in read_csvs(tmp_path).classes
    else:
        message = f'line 2, column label: found 255 in {n} of .*-1 as a byte'
        with pytest.raises(DataError, match=message): read_csvs(tmp_path)

def test_one_number_in_two_spellings_is_two_classes_and_logged(tmp_path):
    y = [f'{i:02d}' if k==3 else str(i) for k,i in enumerate(Y)]
    d = read_csvs(put(tmp_path, {'train.csv':csv(lab(X, y))}))
    assert len(d.classes)==11 and f'the labels {Y[3]} and 0{Y[3]} are two different classes' in ' '.join(d.notes)

@pytest.mark.parametrize('a,b,one', [('zero','Zero',True), ('\u00e9','e\u0301',True), ('no digit','no  digit',True),
                                     ('a','A',False)], ids=['case','accent','spaces','letters'])
def test_one_word_in_two_spellings_is_logged(a, b, one, tmp_path):
    y = [a if i==0 else b if i==1 else f'w{i}' for i in Y]
    for d in (read_csvs(put(tmp_path, {'train.csv':csv(lab(X, y))})), as_data(lab(X, y))):
        assert ('are two different classes' in ' '.join(d.notes))==one

def test_the_ids_of_rows_to_predict(tmp_path):
    "A column that is used is not logged as omitted, and two columns of ids are an error, as in a test set"
    f = lab(X, Y).drop(columns='label').assign(id=range(7, 7+N))
    path = put(tmp_path, {'rows.csv':csv(f), 'two.csv':csv(f.assign(ImageId=range(N)))})
    d = read_rows(path/'rows.csv')
    assert d.test_ids.tolist()[:2]==[7,8] and not d.notes and d.test_extra is None
    for two in (lambda: read_rows(path/'two.csv'), lambda: as_rows(f.assign(ImageId=range(N))),
                lambda: as_data((lab(X, Y), f.assign(ImageId=range(N))))):
        with pytest.raises(DataError, match='with id, ImageId, expected one column of ids'): two()

@pytest.mark.parametrize('ids,found', [([1]*N, "row 0, column id: '1' occurs"), ([0.,float('nan'),*range(2, N)],
    'row 1, column id: blank'), (['a','  ',*range(2, N)], 'row 1, column id: blank')], ids=['twice','nan','blank'])
def test_ids_of_a_frame_are_checked_like_those_of_a_file(ids, found):
    f = lab(X, Y).drop(columns='label').assign(id=ids)
    for call in (lambda: as_data((lab(X, Y), f)), lambda: as_rows(f)):
        with pytest.raises(DataError, match=found): call()

def test_a_further_column_of_a_test_frame_is_logged():
    d = as_data((lab(X, Y), lab(X, Y).drop(columns='label').assign(id=range(N), source='web')))
    assert d.notes==('the test frame: omitted columns: source.',)

@pytest.mark.parametrize('row,n', [([0,0,0],0), ([1,0,1],2), ([.5,.5,0],0), ([float('nan')]*3,0)])
def test_each_row_of_a_frame_has_one_label_column_that_is_1(row, n):
    k = 55 # beyond the rows that show what the columns are
    y = np.eye(3)[np.arange(60)%3]
    y[k] = row
    f = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (60,64)), columns=[f'pixel{i}' for i in range(64)])
    f = pd.concat([f, pd.DataFrame(y, columns=['label_0','label_1','label_2'])], axis=1)
    with pytest.raises(DataError, match=f'the frame, row {k}: {n} of the 3 label columns are 1, expected one'):
        as_data(f)

def test_three_sets_that_are_no_pictures_have_no_colour(tmp_path):
    cols = [f'{c}{i}' for c in 'rgb' for i in range(70)]
    with pytest.raises(DataError) as e: read_csvs(put(tmp_path, {'train.csv':csv(lab(X[:,:210], Y, cols))}))
    assert 'RGB' not in str(e.value)

@pytest.mark.parametrize('k', [0,1], ids=['alone','numbered'])
def test_two_sides_that_are_alike_are_asked_about(k, tmp_path):
    f = lab(np.random.default_rng(0).integers(0, 256, (N,64)), np.arange(N)%3)
    f['pixel63'] = f['label']
    if k: f.insert(0, 'row', range(N))
    with pytest.raises(DataError, match=f'with --label {1+k} or --label {65+k}$'):
        read_csvs(put(tmp_path, {'train.csv':bare(f)}))

@pytest.mark.parametrize('form', [csv, bare], ids=['names','none'])
def test_one_odd_picture_is_no_rectangle(form, tmp_path):
    "Pictures count as rectangles only if most of them look like rectangles"
    x = np.zeros((20,784), int)
    x[:,:28] = 9
    x[3] = 255*(np.arange(784)%16<8)   # as if it were 16 wide
    def read(): return read_csvs(put(tmp_path, {'train.csv':form(lab(x, np.arange(20)%2))}))
    assert read().side==28
    x[:] = x[3]*(np.arange(20)[:,None]%3+1)//3
    with pytest.raises(DataError, match='784 pixels look like rectangles of 49x16.*28x28'): read()

def packed_by(x): return csv(packed(x).assign(label=Y))
@pytest.mark.parametrize('form,h,w', [(lambda x: csv(lab(x, Y)),26,30), (lambda x: bare(lab(x, Y)),40,50),
                                      (lambda x: bare(lab(x, Y)),26,30), (packed_by,26,30)],
                         ids=['names','none','none, near a square','packed'])
def test_rectangles_are_named_by_their_sides(form, h, w, tmp_path):
    "The error also says what to do"
    with pytest.raises(DataError, match=rf'\({h}x{w}\), pad or scale'):
        read_csvs(put(tmp_path, {'train.csv':form(sized(X, h, w))}))

def test_scales_are_those_of_the_training_set(tmp_path):
    d = read_csvs(put(tmp_path, {'train.csv':csv(lab((X/255).round(4), Y)), 'test.csv':csv(frame((XT/255).round(4)))}))
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and (d.test.to_numpy()==XT).all()
    put(tmp_path, {'test.csv':TEST})
    with pytest.raises(DataError,
                       match=r'test.csv.*expected a number from 0 to 1 as in the training set'): read_csvs(tmp_path)
    x = X//16
    d = read_csvs(put(tmp_path/'levels',
                      {'train.csv':csv(lab(sized(X, 8)//16, Y)), 'test.csv':csv(frame(sized(XT, 8)//32))}))
    assert (d.train.iloc[:,1:].to_numpy().max(), d.test.to_numpy().max())==(255, 7*17)
    levels = np.zeros((3,64), int)
    levels[[0,2],[5,6]] = 15,16
    put(tmp_path/'levels', {'test.csv':csv(frame(levels))})
    with pytest.raises(DataError, match='test.csv, row 3, pixel 7: found 16, expected a whole number from 0 to 15'):
        read_csvs(tmp_path/'levels')

@pytest.mark.parametrize('sub,ok', [('Id,Category', True), ('Id,Category,x', False), ('a', False)])
def test_another_sample_submission(sub, ok, tmp_path):
    body = ''.join(','.join([str(i), *['0']*sub.count(',')])+'\n' for i in range(M))
    d = read_csvs(put(tmp_path, {'train.csv':TRAIN, 'test.csv':TEST, 'entry.csv':f'{sub}\n{body}'}))
    assert (d.sample is not None)==ok
    assert any(('sample submission: entry.csv' if ok else 'not read: entry.csv') in o for o in d.said)
    d = read_csvs(put(tmp_path/'b', {'train.csv':TRAIN, 'test.csv':TEST, 'submission.csv':'Id,Category\n1,0\n'}))
    assert d.sample is None and '1 rows, not 30' in d.notes[0]

def test_rows_alone_of_two_tables(tmp_path):
    with pytest.raises(DataError, match='Name the file'): read_rows(put(tmp_path, {'mine.csv':TEST, 'yours.csv':TEST}))

# ---- ink, rows alone, frames, copies, the working directory

@pytest.mark.parametrize('x,ink',
                         [(X, 'bright'), (255-X, 'dark'), (X//3+80, 'bright'), (255-X//4, 'dark'),
                          (sized(X[:,:], 8), 'bright'), (255-sized(X, 16), 'dark')])
def test_polarity(x, ink, tmp_path): assert read_csvs(put(tmp_path, {'train.csv':csv(lab(x, Y))})).reading.polarity==ink

@pytest.mark.parametrize('files',
                         [{'new.csv':TEST}, {'test.csv':TEST}, {'new.csv':bare(frame(XT))}, {'new.csv':TESTED},
                          {'new.csv':bare(lab(XT, YT))}, {'train.csv':TRAIN, 'test.csv':TEST},
                          {'new.csv':csv(lab(XT, range(5, 5+M), name='id'))}])
def test_rows_alone(files, tmp_path):
    d = read_rows(put(tmp_path, files))
    assert d.train is None and (d.test.to_numpy()==XT).all() and d.side==28 and d.classes==[] and repr(d)
    labelled = any(v in (TESTED, bare(lab(XT, YT))) for v in files.values())
    assert (d.test_labels.tolist()==YT.tolist()) if labelled else d.test_labels is None
    if len(files)==1: assert (read_rows(tmp_path/next(iter(files))).test.to_numpy()==XT).all()

def test_frames():
    d = as_data(lab(X, LETTERS[Y], name='class').assign(id=range(N)))
    assert d.classes==list('ABCDEFGHIJ') and (d.train.iloc[:,1:].to_numpy()==X).all()
    assert d.sha256!=as_data(lab(X, Y)).sha256
    two = as_data((lab(X/255, Y), lab(XT/255, YT)))
    assert (two.train.iloc[:,1:].to_numpy()==X).all() and (two.test.to_numpy()==XT).all()
    assert two.test_labels.tolist()==YT.tolist()
    assert as_data('sample').name=='sample' and as_data(two) is two
    turned = as_data(lab(X, Y), transpose=True)
    assert (turned.train.iloc[0,1:].to_numpy(np.uint8).reshape(28,28).T==X[0].reshape(28,28)).all()
    with pytest.raises(DataError, match='the label could be a, b'): as_data(frame(X).assign(a=Y, b=Y))
    assert as_data(frame(X).assign(a=Y, b=LETTERS[Y]), label='b').classes==list('ABCDEFGHIJ')
    with pytest.warns(UserWarning, match='omitted columns: fold'): check_frame(lab(X, Y).assign(fold=1))

def numbers(n): return list(map(str, range(n)))
def mangled(n): return ['0', *(f'0.{i}' for i in range(1, n))]
@pytest.mark.parametrize('n', [64,65,66,74,784,785,786,794])
@pytest.mark.parametrize('names', [numbers, mangled])
@pytest.mark.parametrize('test', [False,True], ids=['train','test'])
def test_a_header_alone_is_a_header_alone(names, n, test, tmp_path):
    """A table that was cut off after its header is recognised, even if its names are numbers (found by the slow fuzz
    tests)"""
    put(tmp_path, {'train.csv':TRAIN, f'{"test" if test else "train"}.csv':','.join(names(n))+'\n'})
    for read in read_csvs,lambda p: read_rows(p/('test.csv' if test else 'train.csv')):
        with pytest.raises(DataError, match='found only a header'+'|, line 1: '*(names is numbers)): read(tmp_path)
    for f in check_frame,as_data:
        with pytest.raises(DataError, match='no rows, expected one per image'): f(pd.DataFrame(columns=names(n)))

@pytest.mark.parametrize('at', [0,-1])
def test_frames_whose_columns_say_nothing(at):
    "The label is the column whose numbers look like classes. If several columns do, the error names the option"
    f = lab(X8, Y, at=at).set_axis([f'c{i}' for i in range(65)] if at else range(65), axis=1)
    d = as_data(f)
    assert d.train['label'].astype(int).tolist()==Y.tolist() and (d.train.iloc[:,1:].to_numpy()==17*X8).all()
    f[f.columns[-1 if at==0 else 0]] = Y
    with as_command(False), pytest.raises(DataError, match='label=NAME'): as_data(f)

# ---- near copies

def noisy(x, size=20, seed=0):
    return np.clip(x+np.random.default_rng(seed).normal(0, size, x.shape), 0, 255).astype(np.uint8)
def moved(x, by=(1,0)): return np.roll(x.reshape(-1, 28, 28), by, (1,2)).reshape(len(x), -1)
def four_shifts(x): return np.concatenate([moved(x, by) for by in ((1,0),(-1,0),(0,1),(0,-1))])
def half_inverted(x): return np.where(np.arange(len(x))[:,None]%2, 255-x, x)
def parted(x, seed=0):
    x = x[np.random.default_rng(seed).permutation(len(x))]
    return x[:len(x)*4//5],x[len(x)*4//5:]

def test_near_copies():
    x = digits()[0]
    assert near_copies(X[:0], X)==near_copies(X, X[:0])==0 and near_copies(X, X)==1
    assert near_copies(x[:1], x[1:2])==near_copies(x[:5], x[5:9])==0
    assert near_copies(x[:5], noisy(x[:5], 5))==near_copies(x[:1], x[:1])==1 # too few to know what is usual
    assert near_copies(x[:3000].astype(int), x[:3000].astype(int))==1

UNRELATED = dict(sample=lambda x: x, few=lambda x: x[:400], half_inverted=half_inverted, all_inverted=lambda x: 255-x,
                 faint=lambda x: (x//4+90).astype(np.uint8),
                 small=lambda x: x.reshape(-1, 28, 28)[:,2:26:3,2:26:3].reshape(-1, 64),
                 noise=lambda x: np.random.default_rng(0).integers(0, 256, (900,256)).astype(np.uint8))
@pytest.mark.parametrize('kind', UNRELATED)
def test_unrelated_images_are_no_copies(kind):
    assert near_copies(*parted(UNRELATED[kind](digits()[0])))<=.08 # half of `near_limit`

COPIES = dict(noisy=noisy, moved=moved, diagonal=lambda x: noisy(moved(x, (1,-1)), 10), inverted=lambda x: 255-x,
              inverted_noisy=lambda x: 255-noisy(x),
              paler=lambda x: (x*.6).astype(np.uint8), brighter=lambda x: x//2+100)
@pytest.mark.parametrize('kind', COPIES)
def test_copies_are_found_among_few_and_many(kind):
    x = digits()[0]
    for n in 300,4000: assert near_copies(x[:n], COPIES[kind](x[:n]))>=.9, n

def test_many_copies_of_each():
    x = digits()[0]
    assert near_copies(*parted(four_shifts(x[:1200])))>.9
    for m,n in (10,100),(30,40),(200,5):
        assert near_copies(*parted(np.concatenate([noisy(x[:n], 8, seed) for seed in range(m)])))>.9, m

def test_the_share_is_that_of_the_copies():
    "The share of near copies is right, even if the other images correlate by less than 0.992"
    x = digits()[0]
    for share in .1,.3,.6:
        b = np.concatenate([noisy(x[:int(300*share)]), x[4000:4300-int(300*share)]])
        assert abs(near_copies(x[:4000], b)-share)<.03
    assert .5<near_copies(x[:4000], noisy(x[:300], 60))<.95 # where noise hides the image, some are found

def test_the_warning_of_near_copies(tmp_path):
    "The warning appears from a share of 0.15. Identical rows have their own note and do not count"
    import torch
    from digitfast.tasks.finish import check_preds, collect_preds
    from digitfast.data.checks import near_limit
    x,y = digits()
    assert near_limit==.15
    def told(held):
        d = as_data(lab(np.concatenate([x[:1000], held]), np.concatenate([y[:1000], y[:len(held)]])))
        rows,lines = np.arange(1000, 1000+len(held)),[]
        probs,seen = np.eye(10, dtype=np.float32)[y[:len(held)]],torch.tensor(x[:1000])
        preds = collect_preds(d, rows, probs, range(10), seen, 'x')
        return check_preds(preds, d, seen, lines.append),[o for o in lines if 'near copy' in o]
    for n,warned in (10,False),(13,False),(18,True),(60,True):
        near,lines = told(np.concatenate([noisy(x[:n]), x[2000:2100-n]]))
        assert abs(near-n/100)<.02 and bool(lines)==warned and (not warned or f'{100*near:.0f} %' in lines[0])
    near,lines = told(np.concatenate([x[:60], x[2000:2040]]))
    assert near<.03 and not lines

@pytest.mark.slow
def test_near_copies_at_full_size(big_zip):
    import time
    x = read_csvs(big_zip).train.iloc[:,1:].to_numpy()
    t = time.process_time()
    found = near_copies(x, noisy(x, 30))
    assert time.process_time()-t<1 and found>.85
    assert near_copies(x[:20_000], noisy(x[:20_000], 30))>.85 and near_copies(*parted(x))<.03
    assert near_copies(*parted(four_shifts(x[:8400])))>.75 and near_copies(*parted(half_inverted(x)))<.03

def test_the_working_directory(tmp_path, monkeypatch):
    "`train` without DATA reads train.csv in the current folder"
    monkeypatch.setenv('DIGITFAST_KAGGLE_INPUT', str(tmp_path/'no'))
    here = tmp_path/'here'
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ('train.xlsx','test.csv','train.txt'):
        put(here, {name:TRAIN})
        assert find_data() is None
    put(here, {'mnist_train.csv':TRAIN})
    assert find_data()==Path('.') and len(read_csvs(find_data()).train)==N
    put(here, {'digit-recognizer/train.csv':TRAIN, 'digit-recognizer/test.csv':TEST})
    assert find_data()==Path('digit-recognizer')

def test_label_changes_the_sum(tmp_path):
    "The label is part of the checksum, because runs with equal checksums are compared"
    put(tmp_path, {'train.csv':csv(lab(X, Y).assign(other=LETTERS[Y]))})
    options = {}, dict(label='other'), dict(transpose=True), dict(label='other', transpose=True)
    sums = {read_csvs(tmp_path, **o).sha256 for o in options}
    assert len(sums)==4

# ---- on which scale pixels are, and what is wrong with numbers on none

XI,XTI = X.astype(int),XT.astype(int)
SCALES = dict(bits2=lambda x: x//64, bits3=lambda x: x//32, bits4=lambda x: x//16, bits5=lambda x: x//8,
              bits6=lambda x: x//4, bits7=lambda x: x//2, percent=lambda x: np.rint(x/2.55), tenths=lambda x: x//25.6,
              binary=lambda x: x//128, truth=lambda x: x>127, counts=lambda x: np.rint(x/16), bits16=lambda x: x*257,
              unit=lambda x: x/255, centred=lambda x: x/255-.5, signed=lambda x: x/127.5-1)
TOPS = dict(bits2=3, bits3=7, bits4=15, bits5=31, bits6=63, bits7=127, percent=100, tenths=9, binary=1, truth=1,
            counts=16, bits16=65535, unit=1, centred=.5, signed=1)

def as_csvs(tmp_path, train, test=None):
    files = {'train.csv':csv(train)} if test is None else {'train.csv':csv(train), 'test.csv':csv(test)}
    return read_csvs(put(tmp_path, files))

@pytest.mark.parametrize('scale', SCALES)
def test_a_scale_is_stretched_in_files_and_frames_alike(scale, tmp_path):
    "Files and frames are stretched to 0 to 255, with the test set on the training set's scale, and both log it"
    to = SCALES[scale]
    train,test = lab(to(XI), Y),frame(to(XTI[:9]//2))
    low,high = (float(f(to(XI))) for f in (np.min, np.max))
    def stretched(df): return np.rint((df.to_numpy().astype(float)-low)*255/(high-low))
    for d in as_csvs(tmp_path, train, test),as_data((train, test)):
        x = d.train.iloc[:,1:].to_numpy().astype(int)
        assert (d.reading.value_range[1],x.max(),x.min())==(TOPS[scale],255,0)
        assert abs(x-stretched(train.iloc[:,1:])).max()<=1 and abs(d.test.to_numpy()-stretched(test)).max()<=1
        assert any(f'to {TOPS[scale]}, stretched to 0 to 255' in o for o in d.said)

def dim(x, top):
    "Return images with different maxima, up to `top`"
    return x*np.linspace(40, top, len(x)).astype(int)[:,None]//255
@pytest.mark.parametrize('x', [np.minimum(X, 254), XI*2//5, dim(XI, 127), dim(XI, 100), dim(XI, 90), XI[:1]//2, X],
                         ids=['254','102','dim 127','dim 100','dim 90','one row','255'])
def test_dim_images_are_not_stretched(x, tmp_path):
    df = lab(x, Y[:len(x)]) if len(x)>1 else frame(x)
    if len(x)==1:
        (tmp_path/'a.csv').write_text(csv(df))
        d = read_rows(tmp_path/'a.csv')
        assert (d.test.to_numpy()==x).all() and d.reading.value_range==(0,255)
        return
    for d in as_csvs(tmp_path, df),as_data(df):
        assert (d.train.iloc[:,1:].to_numpy()==x).all() and d.reading.value_range==(0,255)
        assert not any('stretched' in o for o in d.said)

@pytest.mark.parametrize('a,b', [(16,17),(100,101),(1,2),(127,255)])
def test_a_test_set_beyond_the_scale_of_the_training_set(a, b, tmp_path):
    "Files and frames raise an error that names the scale"
    train,test = lab(np.rint(XI*a/255).astype(int), Y),frame(np.rint(XTI*b/255).astype(int))
    for read in lambda: as_csvs(tmp_path, train, test),lambda: as_data((train, test)):
        with pytest.raises(DataError, match=f'test.*found .* number from 0 to {a} as in the training'): read()
    as_data((test.assign(label=YT), train.drop(columns='label')))

@pytest.mark.parametrize('test,says', [
    (lambda x: ((x/255-.1307)/.3081).round(4), r'mean 0\.1307'),
    (lambda x: x.astype(np.uint8).astype(np.int8), 'int8'), (lambda x: x*257, '16-bit'),
    (lambda x: (x/255).round(4), 'Multiply the numbers by 255')])
def test_a_test_set_on_no_scale_gets_its_cause(test, says, tmp_path):
    "Files and frames raise an error with the cause, the training set's scale and advice"
    train,test = lab(XI, Y),frame(test(XTI))
    for read in lambda: as_csvs(tmp_path, train, test),lambda: as_data((train, test)):
        with pytest.raises(DataError, match=f'from 0 to 255 as in the training (set|frame).*{says}'): read()
    test = frame(np.rint(XTI/1.1).astype(int))
    with pytest.raises(DataError, match='from 0 to 1 as in the training set. Divide the numbers by 255'):
        as_csvs(tmp_path, lab((XI/255).round(4), Y), test)

def test_files_that_differ_by_a_number_may_be_parts(tmp_path):
    "The error does not only advise to read one of the files"
    train = lab(XI, Y)
    put(tmp_path, {'train_1.csv':csv(train[:15]), 'train_2.csv':csv(train[15:])})
    with pytest.raises(DataError, match='or remove the others, or join them if they are parts of one table'):
        read_csvs(tmp_path)

def normalised(x): return (x-x.mean())/x.std()
def many_greys(x):
    "Return images in which most pixels share no colour"
    return np.where(x<60, (np.arange(x.size)*7%60).reshape(x.shape), np.minimum(x, 239))

NONE = {'int8':(lambda x: x.astype(np.uint8).astype(np.int8), r"found '-\d+'.*0 to 255\. .*-128 to 12\d.*int8"),
        'int8, shifted':(lambda x: x-128, r"found '-\d+'.*add 128"),
        'normalised':(lambda x: ((x/255-.1307)/.3081).round(4), r'mean 0\.1307 and the standard deviation 0\.3081'),
        'normalised otherwise':(lambda x: ((x/255-.286)/.353).round(4), r'mean 0\.2860 and .* 0\.3530'),
        'normalised, noisy paper':(lambda x: ((many_greys(x)/255-.1307)/.3081).round(4), r'with the mean 0\.1307 and'),
        'normalised otherwise, noisy paper':(lambda x: normalised(many_greys(x)), 'with the mean 0'),
        'each column':(lambda x: (x-x.mean(0))/(x.std(0)+1), 'each column was normalised by itself'),
        'overshoot':(lambda x: (x/255*1.26-.13).round(4), "found '-0.13', expected a number from 0 to 1.*clip"),
        'overshoot below':(lambda x: (x/255*1.1-.1).round(4), 'from 0 to 1.*clip'),
        'overshoot in bytes':(lambda x: x*5//4-30, "found '-30'.*clip the numbers to 0 and 255"),
        '16 bits':(lambda x: x*256, r"16-bit values, divide them by 257"),
        '12 bits':(lambda x: x*16+5*(x>0), r"12-bit values, divide them by 16\.0588"),
        '10 bits':(lambda x: x*4-(x>249), r"10-bit values, divide them by 4\.01176"),
        'averages':(lambda x: x*.75+.25, r"found '0\.25', .*averages of pixels, round"),
        'truth among numbers':(lambda x: pd.DataFrame(x, dtype=object).map(lambda o: True if o==1 else o).to_numpy(),
                               "found 'True'")}
@pytest.mark.parametrize('what', NONE)
def test_numbers_on_no_scale_get_their_cause(what, tmp_path):
    "The error has advice, is the same for files and frames, and names no valid number"
    make,says = NONE[what]
    x = XI.copy()
    x[:,5] = np.arange(len(x))%3
    train = lab(make(x), Y)
    errors = []
    for read in lambda: as_csvs(tmp_path, train),lambda: as_data(train),lambda: check_frame(train):
        with pytest.raises(DataError, match=says) as e: read()
        errors.append(str(e.value).partition('found')[2])
    assert len(set(errors))==1 or what in ('averages','each column','truth among numbers')

def test_true_and_false_in_a_file(tmp_path):
    train = lab(X>99, Y)
    for form in csv(train),csv(train).replace('True', 'TRUE').replace('False', 'FALSE'),csv(train).lower():
        d = read_csvs(put(tmp_path, {'train.csv':form}))
        assert (d.train.iloc[:,1:].to_numpy()==255*(X>99)).all() and d.reading.value_range==(0,1)

@pytest.mark.parametrize('low,high', [(0,255),(0,16),(0,1),(-1,1),(0,127)])
def test_rows_are_on_the_scale_of_their_run(low, high, tmp_path):
    "This includes a single row that is dim or blank. Numbers beyond the scale raise an error that names it"
    x = low+XI*(high-low)/255
    if high>1: x = np.rint(x).astype(int)
    reading = Reading((low,high), label='label')
    want = as_data(lab(x, Y)).train
    for rows in slice(0,1),slice(3,5),slice(0,N):
        (tmp_path/'new.csv').write_text(csv(lab(x, Y).iloc[rows]))
        d = read_rows(tmp_path/'new.csv', reading=reading)
        assert (d.test.to_numpy()==want.iloc[rows,1:].to_numpy()).all() and d.reading.value_range==(low,high)
        assert d.test_labels.tolist()==Y[rows].tolist()
    (tmp_path/'blank.csv').write_text(csv(frame(x[:1]*0)))
    assert read_rows(tmp_path/'blank.csv', reading=reading).test.to_numpy().std()==0
    over = x.copy()
    over[0,300] = high+3
    (tmp_path/'over.csv').write_text(csv(frame(over[:2])))
    with pytest.raises(DataError, match=rf'found .*{high+3}.* from {low} to {high}( as in the run|. Fix)'):
        read_rows(tmp_path/'over.csv', reading=reading)

@pytest.mark.parametrize('at', [0,-1])
def test_one_row_without_names_has_the_runs_label(at, tmp_path):
    "A single row does not show on which side its label is, so the run's label decides"
    f = lab(X, Y, at=at)
    d = read_csvs(put(tmp_path, {'train.csv':bare(f)}))
    assert d.reading.label==(785 if at else 1)
    (tmp_path/'row.csv').write_text(bare(f.iloc[:1]))
    r = read_rows(tmp_path/'row.csv', reading=d.reading)
    assert (r.test.to_numpy()==X[:1]).all() and r.test_labels.tolist()==[Y[0]]

# ---- labels: what Python printed around them, digits of other scripts, names that look like numbers

PRINTED = {"b'{}'":str, 'b"{}"':str, 'tensor({})':str, 'tensor({}.)':str, 'tensor({}, dtype=torch.uint8)':str,
           "tensor({}, device='cuda:0')":str, 'np.int64({})':str, 'np.float64({}.0)':str, "np.str_('{}')":str,
           'array([{}])':str, 'tensor([{}])':str, 'tf.Tensor({}, shape=(), dtype=int64)':str, 'TensorCategory({})':str}
@pytest.mark.parametrize('form', PRINTED)
def test_a_label_that_python_printed_is_read_as_what_is_inside(form, tmp_path):
    "Check the training set, a labelled test set, and rows alone"
    def printed(y): return [form.format(o) for o in y]
    d = read_csvs(put(tmp_path, {'train.csv':csv(lab(X8, printed(Y))), 'test.csv':csv(lab(XT8, printed(YT)))}))
    assert d.classes==list(range(10)) and d.train['label'].tolist()==Y.tolist() and d.test_labels.tolist()==YT.tolist()
    logged = [o for o in d.said if o.startswith('labels: ')]
    assert len(logged)==1 and form.format(Y[0]) in logged[0] and f'is read as {Y[0]}' in logged[0]
    assert read_rows(tmp_path/'test.csv').test_labels.tolist()==YT.tolist()

@pytest.mark.parametrize('form', [lambda o: str(o).encode(), torch.tensor, np.int64, lambda o: f"b'{o}'", np.array],
                         ids=['bytes','tensor','int64','text of bytes','array'])
def test_labels_that_are_objects_in_a_frame(form, tmp_path):
    f = lab(X8, pd.Series([form(o) for o in Y], dtype=object))
    d = as_data((f, f))
    assert d.train['label'].tolist()==d.test_labels.tolist()==Y.tolist()
    assert any(o.startswith('labels: ') for o in d.said)==(not isinstance(form(1), (np.int64,np.ndarray)))

def test_bytes_without_names_and_text_in_bytes(tmp_path):
    d = read_csvs(put(tmp_path, {'train.csv':bare(lab(X8, [f"b'{o}'" for o in Y], at=-1))}))
    assert d.train['label'].tolist()==Y.tolist()
    d = as_data(lab(X8, pd.Series([o.encode() for o in KANA[Y]], dtype=object)))
    assert d.train['label'].tolist()==KANA[Y].tolist()
    other = ['f(1)',"'a'",'[a]',"b'\\xff'",'tensor()','np.int64']
    assert as_data(lab(X8, np.array(other)[Y%6])).classes==sorted(other)

SCRIPTS = {'arabic':'٠١٢٣٤٥٦٧٨٩', 'bengali':'০১২৩৪৫৬৭৮৯', 'devanagari':'०१२३४५६७८९',
           'full width':'０１２３４５６７８９', 'kannada':'೦೧೨೩೪೫೬೭೮೯', 'chinese':'零一二三四五六七八九',
           'superscripts':'⁰¹²³⁴⁵⁶⁷⁸⁹', 'roman':'ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ', 'circled':'⓪①②③④⑤⑥⑦⑧⑨',
           'underscores':[f'{i}_0' for i in range(10)], 'exponents':[f'{i}e1' for i in range(10)],
           'signs':[f'+{i}' for i in range(10)], 'minus':[f'-{i+1}' for i in range(10)],
           'long':[f'{i}'*20 for i in range(1, 11)],
           'words of numbers':'nan inf 1e5 -inf NaN infinity d e f g'.split(), 'only those':['nan','inf']*5,
           'two signs':['-1','1']*5, 'fractions':[f'{i}/2' for i in range(10)], 'two signs, dotted':['-1.0','1.0']*5}
@pytest.mark.parametrize('name', SCRIPTS)
def test_classes_that_python_would_take_for_numbers(name, tmp_path):
    "Classes stay as they are written. They are whole numbers only if the text of each number is unchanged"
    names = np.array([*SCRIPTS[name]])
    right = [o.replace('.0', '') for o in names[YT]]
    put(tmp_path, {'train.csv':csv(lab(X8, names[Y])), 'test.csv':csv(frame(XT8)),
                   'sample_submission.csv':csv(pd.DataFrame(dict(ImageId=range(1, M+1), Label=names[0]))),
                   'right':csv(pd.DataFrame(dict(ImageId=range(1, M+1), Label=right)))})
    d = read_csvs(tmp_path)
    whole = name in ('minus','two signs','two signs, dotted')
    want = [int(float(o)) if whole else str(o) for o in names[Y]]
    assert d.train['label'].tolist()==want and d.classes==sorted(set(want)) and other_labels(d)==''
    assert check_submission(tmp_path/'right', d)['rows']==M
    assert as_data(lab(X8, names[Y])).train['label'].tolist()==want
    assert read_csvs(put(tmp_path/'bare', {'train.csv':bare(lab(X8, names[Y]))}), label=1).train['label'].tolist()==want

ODD = {'one 1e1':('1e1', 1), 'some 1e1':('1e1', 9), 'nan':('nan', 9), 'inf':('-inf', 9), '+5':('+5', 9),
       'one ٣':('٣', 1), 'fractions':('2.5', 9), '-1':('-1', 9), '−1':('−1', 9), '-7':('-7', 9), 'long':('9'*20, 9)}
@pytest.mark.parametrize('name', ODD)
def test_such_a_label_among_whole_numbers_is_a_question(name, tmp_path):
    odd,n = ODD[name]
    f = lab(X8, [odd]*n+[str(o) for o in Y[n:]])
    for read in (lambda: read_csvs(put(tmp_path, {'train.csv':csv(f)})), lambda: as_data(f)):
        with pytest.raises(DataError, match='(line 2|row 0), column label: found .*expected a whole number'): read()

@pytest.mark.parametrize('a,b', ['5５','7٧'])
def test_one_digit_in_two_scripts_is_two_classes_and_logged(a, b, tmp_path):
    y = list(map(str, Y))
    for i in np.flatnonzero(Y==int(a))[1::2]: y[i] = b
    d = read_csvs(put(tmp_path, {'train.csv':csv(lab(X8, y))}))
    assert len(d.classes)==11 and f'the labels {a} and {b} are two different classes' in ' '.join(d.notes)

def test_a_minus_one_among_other_classes_may_be_a_class(tmp_path):
    with pytest.raises(DataError, match='Remove the rows without a label, or give the class another name'):
        read_csvs(put(tmp_path, {'train.csv':csv(lab(X8, Y%3-1))}))

BROKEN = {'newline':('a\nb','one line'), 'carriage return':('a\rb','one line'), 'NUL':('a\0b','one line'),
          'half a pair':('a\ud800','UTF-8'), 'long':('a'*400_000,'at most 200'),
          'just too long':('a'*201,'at most 200')}
@pytest.mark.parametrize('name', BROKEN)
def test_labels_that_no_run_could_hold(name, tmp_path):
    """The error is raised while reading, and not after training. Check one label in each row, and a column for each
    class"""
    l,says = BROKEN[name]
    f = lab(X8, np.array([*'abcdefghi', l], dtype=object)[Y])
    i = Y.tolist().index(9)
    # pandas 3 has no column with half a pair in its name
    hot_ = [] if 'half' in name else [pd.concat([frame(X8), hot(Y, [*'abcdefghi', l])], axis=1)]
    for o in f,(f,f),*hot_,replace(as_data(lab(X8, Y)), train=f):
        with pytest.raises(DataError, match=says) as e: as_data(o)
        assert f'row {i}, column label: found' in str(e.value) and len(str(e.value))<300 and str(e.value).isprintable()
    if 'long' in name:
        with pytest.raises(DataError, match=f'train.csv, line {i+2}, column label: found .*{says}'):
            read_csvs(put(tmp_path, {'train.csv':csv(f)}))
    assert as_data(lab(X8, np.array(['b'*200,'a'])[Y%2])).classes==['a','b'*200]

def test_labels_of_rows_to_predict_that_no_run_could_hold(tmp_path):
    "A test set with labels that are not valid text can't be scored, but it is predicted"
    y = np.array([*'abcdefghi', '\ud800'])[Y]
    f = frame(X8).assign(label=pd.Series(list(y), dtype=object))
    np.savez(tmp_path/'mine.npz', x=X8.reshape(-1, 8, 8), y=y)
    for read,o in (as_rows,f),(as_rows,(X8, y)),(as_data,(X8, y)),(read_rows,tmp_path/'mine.npz'):
        with pytest.raises(DataError, match=f'row {Y.tolist().index(9)}, column label: found .*UTF-8'): read(o)
    d = as_data(lab(X8, np.array([*'abcdefghij'])[Y]), f)
    assert d.test_labels is None and 'is not a class of the training set' in ' '.join(d.notes)

# ---- labels that are not the competition's

def of_competition(path, y, sample):
    "Write a folder with the labels `y`, the label `sample` in the sample submission, and a submission with some of `y`"
    return put(path, {'train.csv':csv(lab(X8, y)), 'test.csv':csv(frame(XT8)),
        'sample_submission.csv':csv(pd.DataFrame(dict(ImageId=range(1, M+1), Label=sample))),
        'mine.csv':csv(pd.DataFrame(dict(ImageId=range(1, M+1), Label=list(y)[-M:])))})

OTHER = {'from 1':(Y+1, 0, 'subtract 1'), 'letters':(LETTERS[Y], 0, 'label 0 is not one of'),
         'padded':(Y, '00', 'label 00'), 'one of several':(Y+1, [*range(10)]*3, 'label 0'),
         'words':(Y, 'zero', 'label zero')}
@pytest.mark.parametrize('name', OTHER)
def test_labels_that_the_sample_submission_does_not_have(name, tmp_path):
    y,sample,says = OTHER[name]
    d = read_csvs(of_competition(tmp_path, y, sample))
    for data in d,tmp_path:
        with pytest.raises(DataError, match='mine.csv: .*allow.other.labels') as e:
            check_submission(tmp_path/'mine.csv', data)
        assert says in str(e.value)
        assert check_submission(tmp_path/'mine.csv', data, allow_other_labels=True)['rows']==M

@pytest.mark.parametrize('y,sample', [(Y,0), (Y,'0.0'), (Y,''), (Y,range(M)), (LETTERS[Y],'A')])
def test_labels_that_the_sample_submission_has(y, sample, tmp_path):
    if isinstance(sample, range): sample = [i%10 for i in sample]
    d = read_csvs(of_competition(tmp_path, y, sample))
    assert other_labels(d)=='' and check_submission(tmp_path/'mine.csv', d)

def test_without_a_sample_submission_any_labels_will_do(tmp_path):
    of_competition(tmp_path, Y+1, 0)
    (tmp_path/'sample_submission.csv').unlink(), (tmp_path/'mine.csv').rename(tmp_path/'mine.txt')
    assert check_submission(tmp_path/'mine.txt', tmp_path)['rows']==M

def test_train_warns_of_other_labels_before_it_trains(tmp_path):
    from digitfast.tasks.inputs import load_data
    logged = []
    load_data(of_competition(tmp_path/'a', Y+1, 0), logged.append)
    assert any(o.startswith('warning: ') and '--allow-other-labels' in o for o in logged), logged
    more = []
    load_data(of_competition(tmp_path/'b', Y, 0), more.append)
    assert not any('warning' in o for o in more)

# ---- tables that are no pictures, and zips with two files of one name

PEN = np.random.default_rng(0).integers(0, 101, (N,16))
SMALL = {'input':px(16, 1, 'input'), 'V':px(16, 1, 'V'), 'pixel':px(16), 'numbers':list(map(str, range(16))),
         'x and y':[f'{c}{i}' for i in range(1, 9) for c in 'xy'],
         'grid':[f'r{i}c{j}' for i in range(4) for j in range(4)]}
@pytest.mark.parametrize('name', SMALL)
def test_pen_coordinates_are_no_picture(name, tmp_path):
    "UCI's pendigits is not read as images of 4x4"
    f = lab(PEN, Y, SMALL[name], 'class', -1)
    for read in (lambda: read_csvs(put(tmp_path, {'train.csv':csv(f)})), lambda: as_data(f), lambda: as_data((f,f))):
        with pytest.raises(DataError, match='pixel columns.*expected a square of at least 8x8.*Pen coordinates'): read()
    with pytest.raises(DataError, match='17 numbers per row, expected a square of at least 8x8.*Pen coordinates'):
        read_csvs(put(tmp_path/'bare', {'pendigits.tra':bare(f), 'pendigits.tes':bare(f)}))

@pytest.mark.parametrize('side,ok', [(2,False), (7,False), (8,True), (9,True)])
def test_named_pixels_make_eight_by_eight_at_least(side, ok, tmp_path):
    put(tmp_path, {'train.csv':csv(lab(sized(X, side), Y))})
    if ok: assert read_csvs(tmp_path).side==side
    else:
        with pytest.raises(DataError, match=f'{side**2} pixel columns, pixel0 to pixel{side**2-1}, expected'):
            read_csvs(tmp_path)

def test_other_small_tables_are_no_pictures(tmp_path):
    "Check Iris in the forms of scikit-learn, R and UCI, and as a frame of numbered columns"
    rng = np.random.default_rng(0)
    x,y = rng.integers(1, 80, (N,4))/10,np.array(['setosa','versicolor','virginica'])[np.arange(N)%3]
    for i,names in enumerate((['sepal length (cm)','sepal width (cm)','petal length (cm)','petal width (cm)'],
                              px(4, 1, 'V'), list(map(str, range(4))))):
        with pytest.raises(DataError, match='pixel'):
            read_csvs(put(tmp_path/str(i), {'train.csv':csv(lab(x, y, names, 'Species', -1))}))
        with pytest.raises(DataError, match='pixel'): as_data(lab(x, y, names, 'Species', -1))
    with pytest.raises(DataError, match='no column names, and 5 numbers per row, expected a square of at least 8x8'):
        read_csvs(put(tmp_path/'bare', {'iris.data':bare(lab(x, y, at=-1))})/'iris.data')

TWICE = {'train':['train.csv','train.csv'], 'test':['train.csv','test.csv','test.csv'],
         'sample':['train.csv','sample_submission.csv','sample_submission.csv'],
         'case':['train.csv','Train.CSV'], 'folders':['a/train.csv','b/train.csv'],
         'tests in folders':['train.csv','a/test.csv','b/test.csv'], 'point':['train.csv','./train.csv'],
         'backslash':['d/train.csv','d\\train.csv'], 'other':['mine.csv','mine.csv']}
@pytest.mark.parametrize('name', TWICE)
def test_a_zip_with_two_files_of_one_name(name, tmp_path):
    "An error is raised, because it is unclear which file to read"
    o = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(o, 'w') as z:
        warnings.simplefilter('ignore')
        for i,k in enumerate(TWICE[name]): z.writestr(k, csv(lab(X8[i:i+40], Y[i:i+40])))
    put(tmp_path, {'d.zip':o.getvalue(), 'e/train.csv.zip':o.getvalue()})
    a,b = TWICE[name][-2:]
    for p in [tmp_path/'d.zip', tmp_path/'e', *([tmp_path/'d.zip'/b] if a==b else [])]:
        with pytest.raises(DataError) as e: read_csvs(p)
        says = str(e.value)
        one = b.replace('\\', '/').removeprefix('./')
        assert f'2 entries named {one}' in says or a in says and b in says, says

def test_a_zip_with_two_readmes_is_read(tmp_path):
    o = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(o, 'w') as z:
        warnings.simplefilter('ignore')
        for k in 'README.md','README.md','train.csv': z.writestr(k, csv(lab(X8, Y)))
    assert len(read_csvs(put(tmp_path, {'d.zip':o.getvalue()})/'d.zip').train)==N

# ---- which way up

def turned(x): return x.reshape(len(x), *[isqrt(x.shape[1])]*2).swapaxes(1, 2).reshape(len(x), -1)
def orientation_notes(d): return [o for o in d.notes if 'look transposed' in o]

@pytest.mark.parametrize('make', [lambda x: x, lambda x: 255-x, lambda x: sized(x, 8), lambda x: sized(x, 40),
                                  lambda x: x//2, lambda x: x[:40]], ids=['28','dark','8','40','0 to 127','40 rows'])
def test_images_stored_column_by_column_get_a_note(make, tmp_path):
    "Files and frames get a note that names --transpose. With this option, or with upright images, there is no note"
    x,y = (o[:150] for o in digits())
    x = make(x)
    y = y[:len(x)]
    for d in as_csvs(tmp_path, lab(turned(x), y)),as_data(lab(turned(x), y)):
        assert d.reading.orientation=='transposed' and len(orientation_notes(d))==1
        assert orientation_notes(d)[0].endswith('add --transpose.')
    for d in as_data(lab(x, y)),as_data(lab(turned(x), y), transpose=True):
        assert d.reading.orientation=='upright' and not orientation_notes(d)
    d = as_data(lab(x, y), transpose=True)
    assert [o.rpartition(': ')[2] for o in orientation_notes(d)]==['read them without that option.']

def test_no_note_on_what_may_be_something_else(tmp_path):
    "Check other classes, other symbols with the labels 0 to 9, images turned in other ways, few rows, and noise"
    x,y = (o[:400] for o in digits())
    s = x.reshape(-1, 28, 28)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, x.shape).astype(np.uint8)
    blobs = np.outer(np.hanning(28), np.hanning(28)).ravel()*255*np.roll(np.eye(28), 3, 1).ravel().clip(.2)
    cases = [(turned(x), y+1), (turned(x), [f'c{o}' for o in y]), (x, (y+3)%10), (turned(x), (y+3)%10), (noise, y),
             (s[:,:,::-1], y), (s[:,::-1], y), (np.rot90(s, 1, (1,2)), y), (turned(x)[:15], y[:15]),
             (turned(x)[y<3], y[y<3]), (x*0+blobs.astype(np.uint8)+noise//200, y)]
    for i,(a,b) in enumerate(cases):
        d = as_data(lab(np.ascontiguousarray(a).reshape(len(a), -1), b))
        assert d.reading.orientation=='upright' and not orientation_notes(d), i

def test_the_average_digits_are_those_of_the_sample():
    x,y = digits()
    means = np.load(REPO/'digitfast'/'sample'/'class_means.npy')
    assert (means==np.stack([np.rint(x[y==c].mean(0)) for c in range(10)]).reshape(10, 28, 28)).all()

# ---- folders with other tables, and tables in several files

HOUSING = 'longitude,latitude,housing_median_age,total_rooms,median_house_value\n-114.3,34.2,15,5612,66900\n'
def colab(x=X, y=Y):
    "Write Colab's sample_data: MNIST without headers, and other tables"
    return {'README.md':'hello', 'anscombe.json':'[{"X":1}]', 'california_housing_train.csv':HOUSING,
            'california_housing_test.csv':HOUSING, 'mnist_train_small.csv':bare(lab(x, y)),
            'mnist_test.csv':bare(lab(XT, YT))}

def test_tables_of_images_are_found_among_others(tmp_path):
    d = read_csvs(put(tmp_path, colab()))
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and (d.test.to_numpy()==XT).all()
    assert d.test_labels.tolist()==YT.tolist()
    assert any('not read: california_housing_test.csv, california_housing_train.csv' in o for o in d.said), d.said
    d = read_csvs(put(tmp_path/'z', {'a.zip':zipped(**colab())})/'a.zip')
    assert (d.train.iloc[:,1:].to_numpy()==X).all()
    assert 'mnist_test.csv in the same folder' in read_csvs(tmp_path/'mnist_train_small.csv').notes[0]

def test_only_tables_of_images_are_proposed(tmp_path):
    "The advice in the errors is followed until the data are read"
    put(tmp_path, colab() | {'a_train.csv':HOUSING, 'fashion_train.csv':TRAIN, 'fashion_test.csv':TEST})
    with pytest.raises(DataError) as e: read_csvs(tmp_path)
    assert 'fashion_train.csv, mnist_train_small.csv could each be the train CSV' in str(e.value)
    name,test = re.search(r'as in DATA/(\S+) --test (\S+),', str(e.value)).groups()
    d = read_csvs(tmp_path/name, test=tmp_path/test)
    assert len(d.train)==N and len(d.test)==M

def spark(x, y, n=4, head='each', folder='train.csv', ext='.csv', pack=str.encode, **kw):
    "Write a table in `n` parts like Spark, with the other files that Spark writes"
    job,res = '1f0d2c4e-5a6b-47c8-9d0e-aabbccddeeff',{f'{folder}/_SUCCESS':'', f'{folder}/._SUCCESS.crc':b'crc'}
    for i,rows in enumerate(np.array_split(np.arange(len(x)), n)):
        f = frame(x[rows]) if y is None else lab(x[rows], y[rows])
        text = csv(f, header=head=='each' or head=='first' and i==0, **kw)
        res[f'{folder}/part-{i:05d}-{job}-c000{ext}'] = pack(text)
        res[f'{folder}/.part-{i:05d}-{job}-c000{ext}.crc'] = b'crc'
    return res

PARTS = {'header in each':spark(X, Y), 'in the first':spark(X, Y, head='first'), 'in none':spark(X, Y, head='none'),
         'gz':spark(X, Y, ext='.csv.gz', pack=lambda o: gzip.compress(o.encode())), 'twelve':spark(X, Y, 12),
         'folder train':spark(X, Y, folder='train'), 'semicolons':spark(X, Y, sep=';'),
         'an empty one':spark(X, Y)|{'train.csv/part-00009.csv':''}, 'a header alone':spark(X, Y)|{
             'train.csv/part-00009.csv':TRAIN.partition('\n')[0]+'\n'},
         'hadoop':{f'train/part-r-{i:05d}':bare(lab(X[i*40:i*40+40], Y[i*40:i*40+40])) for i in range(2)},
         'dask':{f'train.csv/{i}.part':csv(lab(X[i*8:i*8+8], Y[i*8:i*8+8])) for i in range(10)},
         'shards':{f'train-{i:05d}-of-00002.csv':csv(lab(X[i*40:i*40+40], Y[i*40:i*40+40])) for i in range(2)},
         'named':{f'mnist_train_part{i+1}.csv':csv(lab(X[i*40:i*40+40], Y[i*40:i*40+40])) for i in range(2)}}
@pytest.mark.parametrize('kind', ['folder','zip'])
@pytest.mark.parametrize('name', PARTS)
def test_all_parts_of_a_table_are_read_in_order(name, kind, tmp_path):
    head = 'none' if name in ('in none','hadoop') else 'each'
    files = PARTS[name] | spark(XT, None, 3, head=head, folder='test.csv')
    if name in ('shards','named'): files = {f'd.csv/{k}' if '/' not in k else k:v for k,v in files.items()}
    p = put(tmp_path, {'a.zip':zipped(**files)} if kind=='zip' else files)/('a.zip' if kind=='zip' else '')
    d = read_csvs(p)
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and d.train['label'].tolist()==Y.tolist()
    assert (d.test.to_numpy()==XT).all()
    n = sum(bool(re.search('part|-of-', k)) and '/.' not in k and len(v)>0 for k,v in PARTS[name].items())
    assert any(f': {n} files, read as one table' in o for o in d.said), d.said
    assert any('test.csv/part-*.csv: 3 files, read as one table' in o for o in d.said)
    assert not any('not read' in o for o in d.said)

def test_a_folder_of_parts_alone(tmp_path):
    put(tmp_path, spark(X, Y) | spark(XT, None, folder='test.csv'))
    d = read_csvs(tmp_path/'train.csv', test=tmp_path/'test.csv')
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and (d.test.to_numpy()==XT).all()
    assert read_csvs(tmp_path/'train.csv', **d.options).sha256==d.sha256 and len(d.files)==8
    assert (read_csvs(tmp_path, test='test.csv').test.to_numpy()==XT).all()
    rows = read_rows(tmp_path/'test.csv')
    assert (rows.test.to_numpy()==XT).all() and '4 files, read as one table' in rows.said[0]
    one = sorted((tmp_path/'train.csv').glob('part*'))[1]
    d = read_csvs(one)
    note = f'{one.name} is one of 4 parts of a table. To read all of them, use the folder'
    assert len(d.train)==20 and note in d.notes[0]

UNLIKE = {'another name':lambda f: f.rename(columns={'pixel3':'pixel784'}),
          'one less':lambda f: f.drop(columns='pixel783'), 'another order':lambda f: f[f.columns[::-1]],
          'one more':lambda f: f.assign(fold=1)}
@pytest.mark.parametrize('name', UNLIKE)
def test_parts_with_other_columns(name, tmp_path):
    put(tmp_path, spark(X, Y) | {'train.csv/part-00002.csv':csv(UNLIKE[name](lab(X, Y)))})
    with pytest.raises(DataError, match='00002.csv, line 1: found 78. columns.*expected the 785 columns of part-00000'):
        read_csvs(tmp_path)

def test_a_part_that_is_missing(tmp_path):
    files = PARTS['shards'] | {'train-00002-of-00003.csv':TRAIN}
    put(tmp_path, {k.replace('of-00002', 'of-00003'):v for k,v in files.items() if '00001-' not in k})
    with pytest.raises(DataError, match='train-.-of-00003.csv: found 2 of 3 parts, expected all'): read_csvs(tmp_path)

def test_errors_name_the_part(tmp_path):
    for col,bad,says in (('pixel5', 256, "column pixel5: found '256'"), ('label', '', 'column label: blank')):
        f = lab(X[20:40], Y[20:40]).astype(object)
        f.loc[3,col] = bad
        files = spark(X, Y)
        put(tmp_path, {k:csv(f) if 'part-00001' in k and '/.' not in k else v for k,v in files.items()})
        with pytest.raises(DataError, match=f'part-00001-.*csv, line 5, {says}'): read_csvs(tmp_path)

def test_too_many_files_to_be_sure_of_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr('digitfast.data.files._files_max', 10)
    put(tmp_path, spark(X, Y, 12))
    with pytest.raises(DataError, match='over 10 files, expected fewer'): read_csvs(tmp_path)

# ---- almost tables: each cause is named, and the advice is followed to its end

def arrays(x, y=Y, to=str): return csv(pd.DataFrame(dict(label=y, image=[to(o) for o in x])))
def squares(x): return x.reshape(len(x), isqrt(x.shape[1]), -1)
ARRAYS = {'flat':arrays(X), '28x28':arrays(squares(X)), '8x8':arrays(X8),
          'lists':arrays(squares(X), to=lambda o: str(o.tolist())), 'repr':arrays(X, to=repr),
          'repr of uint8':arrays(squares(X).astype(np.uint8), to=repr),
          'tensor':arrays(X, to=lambda o: str(torch.tensor(o))), 'fractions':arrays((X8/15).round(3)),
          'image first':csv(pd.DataFrame(dict(image=list(X), label=Y))), 'no header':arrays(X).partition('\n')[2],
          'semicolons, CRLF':arrays(X).replace(',"', ';"').replace('label,', 'label;').replace('\n', '\r\n')}
@pytest.mark.parametrize('chunk', [1000,2**19])
@pytest.mark.parametrize('name', ARRAYS)
def test_arrays_that_were_printed_into_cells_are_read(name, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr('digitfast.data.table._chunk_bytes', chunk)
    put(tmp_path, {'train.csv':ARRAYS[name], 'test.csv':csv(pd.DataFrame(dict(image=[str(o) for o in XT])))}
        if name=='flat' else {'train.csv':ARRAYS[name]})
    d = read_csvs(tmp_path)
    want = X8*17 if '8x8' in name or name=='fractions' else X
    assert np.abs(d.train.iloc[:,1:].to_numpy().astype(int)-want).max()<=(name=='fractions')
    assert d.train['label'].tolist()==Y.tolist() and (d.test is None or (d.test.to_numpy()==XT).all())

@pytest.mark.parametrize('form', [str, repr, lambda o: str(torch.tensor(o))], ids=['str','repr','tensor'])
@pytest.mark.parametrize('x', [X, squares(X)], ids=['flat','28x28'])
def test_arrays_that_were_cut_in_printing(form, x, tmp_path, monkeypatch):
    torch.set_printoptions(threshold=10)
    try:
        with np.printoptions(threshold=10): put(tmp_path, {'train.csv':arrays(x, to=form)})
    finally: torch.set_printoptions(profile='default')
    with pytest.raises(DataError, match=r"column image: found an array printed with '\.\.\.', expected all") as e:
        read_csvs(tmp_path)
    monkeypatch.chdir(tmp_path)
    eval(str(e.value).rpartition('arrays x and y: ')[2], dict(pd=pd, x=x, y=Y))
    assert (read_csvs(tmp_path).train.iloc[:,1:].to_numpy()==X).all()

def orange(x, y, sep='\t', kinds=None, flag='class'):
    f = lab(x, y, px(x.shape[1]), 'what', -1)
    n = x.shape[1]
    head = f.columns, kinds or ['continuous']*n+['discrete'], ['']*n+[flag]
    return '\n'.join(map(sep.join, head))+'\n'+bare(f, sep=sep)
ORANGE = {'tab':{'train.tab':orange(X, Y)}, 'csv':{'train.csv':orange(X, Y, ',')},
          'short':{'train.tab':orange(X, Y, kinds=['c']*784+['d'], flag='c')},
          'values':{'train.tab':orange(X, Y, kinds=['c']*784+['0 1 2 3 4 5 6 7 8 9'])},
          'both sets':{'train.tab':orange(X, Y), 'test.tab':orange(XT, YT)},
          'one line':{'train.csv':csv(lab(X, Y, ['C#'+o for o in px()], 'cD#what', -1).assign(**{'mS#who':'me'}))}}
@pytest.mark.parametrize('chunk', [100,2**19])
@pytest.mark.parametrize('name', ORANGE)
def test_headers_of_orange_are_read(name, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr('digitfast.data.table._chunk_bytes', chunk)
    d = read_csvs(put(tmp_path, ORANGE[name]))
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and d.train['label'].tolist()==Y.tolist()
    assert "label: column 'what', which the header marks as class" in d.said
    if d.test is not None: assert (d.test.to_numpy()==XT).all() and d.test_labels.tolist()==YT.tolist()

def test_lines_are_counted_below_three_lines_of_header(tmp_path):
    f = orange(X, Y).split('\n')
    f[6] = f[6][:-1]
    with pytest.raises(DataError, match='train.tab, line 7, column label: blank'):
        read_csvs(put(tmp_path, {'train.tab':'\n'.join(f)}))

TURNED = {'names':csv(lab(X, Y).T, index=True), 'names, no header':csv(lab(X, Y).T, index=True, header=False),
          'label last':csv(lab(X, Y, at=-1).T, index=True), 'semicolons':csv(lab(X, Y).T, index=True, sep=';'),
          'bare':bare(lab(X, Y).T), 'labels above':csv(pd.DataFrame(X.T, columns=Y))}
@pytest.mark.parametrize('name', TURNED)
def test_one_image_a_column(name, tmp_path, monkeypatch):
    with pytest.raises(DataError, match='rows and 8. columns, so each column seems to hold an image of 28x28') as e:
        read_csvs(put(tmp_path, {'train.csv':TURNED[name]}))
    monkeypatch.chdir(tmp_path)
    eval(str(e.value).rpartition('turned.csv: ')[2], dict(pd=pd))
    d = read_csvs('turned.csv')
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and d.train['label'].tolist()==Y.tolist()

@pytest.mark.parametrize('cols', [px(100, 0, 'img'), px(100, 0, 'image_')])
def test_a_square_number_of_images_in_columns(cols, tmp_path):
    x = np.concatenate([X, X[:20]]).T
    with pytest.raises(DataError, match='784 rows and 100 columns, so each column seems to hold an image of 28x28'):
        read_csvs(put(tmp_path, {'train.csv':csv(frame(x, cols))}))

def test_an_image_a_row_is_never_taken_for_an_image_a_column(tmp_path):
    "There are as many rows as an image has pixels"
    x = np.tile(X[:49], (16,1))
    with pytest.raises(DataError, match="no 'label', found 784 columns, all pixels"):
        read_csvs(put(tmp_path, {'train.csv':bare(frame(x))}))
    with pytest.raises(DataError, match="line 1: no 'label' column, found 784 pixels"):
        read_csvs(put(tmp_path/'b', {'train.csv':csv(frame(x))}))

LABELS = pd.DataFrame(dict(id=range(1, N+1), label=Y))
APART = {'saved with an index':{'train_images.csv':csv(frame(X), index=True),
                                'train_labels.csv':csv(pd.DataFrame(Y), index=True)},
         'X and y':{'X_train.csv':csv(frame(X)), 'y_train.csv':csv(LABELS[['label']])},
         'without headers':{'X_train.csv':bare(frame(X)), 'y_train.csv':bare(LABELS[['label']])},
         'trainLabels':{'train.csv':csv(frame(X)), 'trainLabels.csv':csv(LABELS)},
         'images and labels':{'images.csv':csv(frame(X)), 'labels.csv':csv(LABELS)},
         'semicolons':{'train.csv':csv(frame(X), sep=';'), 'labels.csv':csv(LABELS, sep=';')}}
@pytest.mark.parametrize('name', APART)
@pytest.mark.parametrize('given', ['folder','file'])
def test_labels_in_a_file_of_their_own(given, name, tmp_path, monkeypatch):
    files = APART[name]
    put(tmp_path, files)
    with pytest.raises(DataError, match=f"no 'label' column, .*The labels seem to be in {[*files][1]}") as e:
        read_csvs(tmp_path if given=='folder' else tmp_path/[*files][0])
    monkeypatch.chdir(tmp_path)
    eval(str(e.value).rpartition('joined.csv: ')[2], dict(pd=pd))
    d = read_csvs('joined.csv')
    assert (d.train.iloc[:,1:].to_numpy()==X).all() and d.train['label'].tolist()==Y.tolist()

def test_a_column_without_a_name_is_called_so(tmp_path):
    with pytest.raises(DataError, match="no 'label' column, found 784 pixels and a column without a name, expected"):
        read_csvs(put(tmp_path, {'train.csv':csv(frame(X), index=True)}))

def test_in_python_an_error_names_the_argument(tmp_path):
    "The message and the attribute name the option like a caller of `read_csvs`"
    put(tmp_path, {'train.csv':csv(lab(X, Y, name='quux').assign(foo=1))})
    with as_command(False):
        with pytest.raises(DataError, match='label=NAME$') as e: read_csvs(tmp_path)
        assert e.value.option=='label'
        with pytest.raises(NoSuchColumn, match="no column 'nil' .*quux, foo.* label=NAME$") as e:
            read_csvs(tmp_path, label='nil')
        assert e.value.option=='label'

def test_an_error_without_a_training_set_has_a_class_of_its_own(tmp_path):
    with pytest.raises(NoTrainingSet, match='no training set'): read_csvs(put(tmp_path, {'test.csv':TEST}))
    with pytest.raises(DataError) as e: read_csvs(put(tmp_path/'two', {'mine.csv':TRAIN, 'yours.csv':TRAIN}))
    assert not isinstance(e.value, NoTrainingSet)

@pytest.mark.parametrize('labels,why', [
    ([0]*20, "'0' is in every row"), (['x']*20, "'x' in row 1 is not a class"),
    ([7]*19+[0], "'7' in row 1 is not a class"), ([np.nan]*20, 'is not a class')])
def test_placeholders_in_a_test_frame_are_no_labels(labels, why, tmp_path):
    "A score on placeholders would be wrong, in a frame as in a file"
    from conftest import digits
    train,test = digits(60),digits(20, seed=1).assign(label=labels)
    d = as_data((train, test))
    assert d.test_labels is None and why in ' '.join(d.notes)
    right = digits(20, seed=1)
    assert as_data((train, right)).test_labels.tolist()==right.label.tolist()
