"""Tests of `unlike`: no warning for real test sets of any size and mixture of classes, and the right warning for each
wrong one"""
import re, shutil
import numpy as np, pandas as pd, pytest
from digitfast.core import RunError
from digitfast.data.read import read_csvs
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train
from digitfast.kaggle.submission import check_submission
from digitfast.data.drift import looks, unlike
from conftest import TINY, csvs, digits

def frame(x, y=None):
    df = pd.DataFrame(np.asarray(x).clip(0, 255).astype(np.uint8).reshape(len(x), -1)).add_prefix('pixel')
    return df if y is None else df.assign(label=y)[['label',*df.columns]]
def images(df): return df.drop(columns='label', errors='ignore').to_numpy().reshape(len(df),
    *[round((df.shape[1]-('label' in df))**.5)]*2)

def sets(name, request):
    "Return a labelled frame and one without labels"
    if name=='whole': d = read_csvs(request.getfixturevalue('big_zip'))
    elif name=='sample': d = request.getfixturevalue('data')
    elif name=='bars': return digits(600), digits(600, seed=1).drop(columns='label')
    else:
        o = pytest.importorskip('sklearn.datasets').load_digits()   # 8x8, of other writers
        df = frame(o.images*16, o.target)
        return df[:1200], df[1200:].drop(columns='label').reset_index(drop=True)
    return d.train, d.test
NAMES = ['sample','bars','8x8',pytest.param('whole', marks=pytest.mark.slow)]

# ---- no false alarm

@pytest.mark.parametrize('name', NAMES)
def test_the_true_test_set_is_like_the_training_set(name, request):
    train,test = sets(name, request)
    assert unlike(looks(train), test)==[] and unlike(looks(train), train)==[]

@pytest.mark.parametrize('times', [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', NAMES[:1]+NAMES[2:])
def test_no_false_alarm(name, times, request, record_property):
    "Check random test sets of 1 to 300 images of all classes or of one class, from rows that were not averaged"
    train,test = sets(name, request)
    rng = np.random.default_rng(0)
    half = rng.permutation(len(train))
    known,rest = train.iloc[half[::2]],train.iloc[half[1::2]]
    full,part = looks(train),looks(known)
    record_property('cases', 14*times)
    for n in 1,2,5,10,30,100,300:
        for i in range(times):
            assert unlike(full, test.iloc[rng.choice(len(test), n, False)])==[]
            one = rest[rest.label==rng.choice(train.label.unique())]
            if n<=len(one): assert unlike(part, one.iloc[rng.choice(len(one), n, False)])==[], (n, one.label.iloc[0])

def test_order_of_rows_and_labels_do_not_matter(data):
    look = looks(data.train)
    assert unlike(look, data.train.iloc[::-1])==[] and unlike(looks(data.train.sort_values('label')), data.test)==[]
    assert np.allclose(looks(data.train.iloc[::-1])[0], look[0], atol=1e-3) and look[0].shape==(10,28,28)
    assert unlike(looks(data.train.assign(label=data.train.label.map(lambda o: 'abcdefghij'[o]))), data.test)==[]

# ---- made on purpose

def zoom(x, f):
    from PIL import Image
    side,n = x.shape[1],round(x.shape[1]*f)
    big = np.stack([np.asarray(Image.fromarray(o).resize((n,n), Image.BILINEAR)) for o in x])
    if n>=side: a = (n-side)//2; return big[:,a:a+side,a:a+side]
    res = np.zeros_like(x)
    a = (side-n)//2
    res[:,a:a+n,a:a+n] = big
    return res

WRONG = dict(inverted=(lambda x: 255-x, 'inverted'), ones=(lambda x: x>127, 'from 0 to 1'),
    scaled=(lambda x: x//255, 'from 0 to 1'), transposed=(lambda x: x.swapaxes(1,2),
    'look transposed, rows for columns'), mirrored=(lambda x: x[:,:,::-1], 'mirrored left to right'),
    flipped=(lambda x: x[:,::-1], 'mirrored top to bottom'), upside=(lambda x: x[:,::-1,::-1], 'turned upside down'),
    left=(lambda x: np.rot90(x, 1, (1,2)), 'a quarter to the left'),
    right=(lambda x: np.rot90(x, -1, (1,2)), 'a quarter to the right'),
    other=(lambda x: x.swapaxes(1,2)[:,::-1,::-1], 'transposed and turned'),
    faint=(lambda x: x//2, '0.(49|50|51) times as strong'), grey=(lambda x: x.astype(int)+40,
    'ground of the test images is (39|40|41) brighter'), small=(lambda x: zoom(x, .7), 'times as wide'),
    large=(lambda x: zoom(x, 1.4), 'times as wide'),
    moved=(lambda x: np.roll(x, 3, 2), '(2.9|3.0|3.1) further right'),
    high=(lambda x: np.roll(x, -3, 1), '(2.9|3.0|3.1) pixels higher'),
    shuffled=(lambda x: x.reshape(len(x), -1)[:,np.random.default_rng(0).permutation(784)].reshape(x.shape),
    'not resemble any class'),
    noise=(lambda x: np.random.default_rng(0).integers(0, 256, x.shape), 'not resemble any class'),
    blank=(lambda x: x*0, 'each pixel of the test images is 0'),
    full=(lambda x: x*0+255, 'each pixel of the test images is 255'))
@pytest.mark.parametrize('n', [100,1000])
@pytest.mark.parametrize('name', WRONG)
def test_each_wrong_set_is_reported(name, n, data):
    f,says = WRONG[name]
    res = unlike(looks(data.train), frame(f(images(data.test)[-n:])))
    assert re.search(says, res[0]) and len(res)<=2 and all(o.isprintable() and len(o)<250 for o in res), res

@pytest.mark.parametrize('name', ['inverted','ones','blank'])
def test_one_image_is_enough_for(name, data):
    f,says = WRONG[name]
    for i in range(0, 1000, 50): assert says in unlike(looks(data.train), frame(f(images(data.test)[i:i+1])))[0]

def test_sets_that_are_both_from_0_to_1(data):
    "The training rows are 0 and 1, with a pixel that is always 1"
    def bits(df):
        df = (df>127).astype(np.uint8)
        df.iloc[:,-1] = 1
        return df
    train = bits(data.train.drop(columns='label'))
    train.insert(0, 'label', data.train.label)
    assert not [o for o in unlike(looks(train), bits(data.test)) if '0 to 1' in o]

def test_the_option_that_turns_them_is_named(data):
    "The warning names the option if it turns only these rows"
    turned = frame(images(data.test).swapaxes(1, 2))
    for o in '--transpose','--no-transpose': assert unlike(looks(data.train), turned, o)[0].endswith(f'fixed: add {o}')
    assert unlike(looks(data.train), turned)[0].endswith('until this is fixed')

def test_two_wrongs(data):
    res = unlike(looks(data.train), frame(255-images(data.test).swapaxes(1,2)))
    assert len(res)==2 and 'inverted' in res[0] and 'transposed' in res[1]

@pytest.mark.parametrize('name', ['inverted','ones','transposed','left','upside'])
def test_other_images(name, request):
    train,test = sets('8x8', request)
    assert any(WRONG[name][1] in o for o in unlike(looks(train), frame(WRONG[name][0](images(test)))))

# ---- where a user meets it

def test_train_says_so_and_continues(tmp_path):
    lines,test = [],frame(255-images(digits(40, seed=1)))
    r = train(csvs(tmp_path/'d', test=test), out=tmp_path/'r', say=lines.append, **TINY)
    logged = [o for o in lines if o.startswith('warning: ')]
    assert len(logged)==1 and 'inverted' in logged[0] and check_submission(r/'submission.csv')['rows']==40

def warned(run, folder, out):
    lines = []
    predict_csv(run, folder, out, device='cpu', say=lines.append)
    return [o for o in lines if o.startswith('warning: ')]

def test_predict_says_so_of_the_runs_own_training_set(tiny_run, tmp_path):
    "The other CSVs of the run are turned in the same way"
    sets = dict(train=digits(60), test=digits(40, seed=1))
    both = {k:frame(255-images(df), df.label if k=='train' else None) for k,df in sets.items()}
    logged = warned(tiny_run[0], csvs(tmp_path/'d', **both), tmp_path/'s.csv')
    assert len(logged)==1 and 'inverted' in logged[0]
    assert not warned(tiny_run[0], csvs(tmp_path/'e', n=90), tmp_path/'s.csv')

DAMAGE = dict(both=lambda a: (a.pop('look'), a.pop('likeness')), gone=lambda a: a.pop('look'),
              side=lambda a: a.update(look=a['look'][:,:4]),
    floats=lambda a: a.update(look=a['look'].astype('f8')), nan=lambda a: a.update(look=a['look']*np.nan),
    huge=lambda a: a.update(look=a['look']*1e30), flat=lambda a: a.update(look=a['look'].ravel()),
              text=lambda a: a.update(look=np.array(['x'])), none=lambda a: a.update(look=a['look'][:0],
              likeness=a['likeness'][:0]), zero=lambda a: a.update(likeness=a['likeness']*0),
              nolike=lambda a: a.pop('likeness'), bright=lambda a: a.update(look=a['look']*0+255.5))
@pytest.mark.parametrize('name', DAMAGE)
def test_predict_without_or_with_a_damaged_look(name, tiny_run, tiny, tmp_path):
    r = shutil.copytree(tiny_run[0], tmp_path/'r')
    with np.load(r/'predictions.npz') as z: a = dict(z)
    DAMAGE[name](a)
    np.savez_compressed(r/'predictions.npz', **a)
    if name not in ('floats','huge','zero','both','bright'):
        with pytest.raises(RunError, match='predictions.npz is damaged'): warned(r, None, tmp_path/'s.csv')
        return
    assert warned(r, None, tmp_path/'s.csv')==[]
    assert (tmp_path/'s.csv').read_bytes()==(r/'submission.csv').read_bytes()
