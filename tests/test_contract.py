"""fastai's contract: a batch of a `DigitDL` is, value and type, what fastai's own `TfmdDL` collates from the same
block.

Errors, counted here: a `Normalize` and own statistics together (two normalisations). No
other kind is."""
import random
from collections import Counter
from functools import partial
import numpy as np, pytest, torch
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from fastai.callback.data import WeightedDL
from fastai.data.load import SkipItemException
from fastai.vision.all import (Brightness, CategoryBlock, ColReader, DataBlock, IndexSplitter,
                               IntToFloatTensor, ItemTransform,
                               MultiCategoryBlock, Normalize, Pipeline, RandomSplitter,
                               RegressionBlock, TensorCategory, TensorImage,
                               TfmdDL, Transform, TransformBlock, noop)
from digitfast.core import DigitError
from digitfast.data.block import DigitBlock
from digitfast.data.load import DigitDL, WeightedDigitDL
from digitfast.data.transforms import RowToImage
from conftest import digits

class Tag(Transform):
    "A batch transform that gets only categories"
    order = 40
    def encodes(self, x:TensorCategory): return x+1

class Invert(Transform):
    def encodes(self, x:TensorImage): return 255-x

class Noise(Transform):
    def encodes(self, x:TensorImage): return (x+torch.randint(0, 9, x.shape, dtype=torch.uint8)).clamp(0, 255)

class Skip(ItemTransform):
    "A transform that skips some of the items"
    order = 20
    def encodes(self, o):
        if int(o[0].float().sum())%4==1: raise SkipItemException
        return o

def frame(n, side, seed):
    df = digits(n, side, seed=seed)
    rng = np.random.default_rng(seed)
    df['word'] = [f'c{i}' for i in df.label]
    df['words'] = [' '.join({'a',w}) for w in df.word]
    df['pair'] = [[w,'b'] for w in df.word]
    df['x'],df['y'] = rng.random(n),rng.random(n)*9
    return df.set_axis(rng.permutation(n)+100)

def row_target(r): return float(r.name)
CLASSES = CategoryBlock(vocab=[0,1,2], sort=False)
TARGETS = dict(   # blocks after the image, and what gets their items from a row
    label=(lambda: CLASSES, lambda: ColReader('label')),
    found=(CategoryBlock, lambda: ColReader('word')),
    function=(lambda: CLASSES, lambda: lambda r: r['label']),
    prefix=(lambda: CategoryBlock(vocab=['p_0','p_1','p_2']), lambda: ColReader('label', pref='p_')),
    index=(RegressionBlock, lambda: row_target),
    number=(RegressionBlock, lambda: ColReader('x')),
    numbers=(RegressionBlock, lambda: ColReader(['x','y'])),
    piped=(CategoryBlock, lambda: Pipeline([ColReader('word'), str.upper])),
    many=(lambda: MultiCategoryBlock(vocab=['a','b','c0','c1','c2']), lambda: ColReader('words', label_delim=' ')),
    lists=(lambda: MultiCategoryBlock(vocab=['a','b','c0','c1','c2']), lambda: ColReader('pair')),
    raw=(TransformBlock, lambda: ColReader('label')),
    text=(TransformBlock, lambda: ColReader('word')),
    itself=('digits', lambda: noop),
    flipped=('digits', lambda: lambda r: r.iloc[::-1] if False else r))
TYPE_TFMS = dict(none=[], invert=[Invert], noise=[Noise], both=[Invert,Noise])
ITEM_TFMS = dict(none=None, plain=lambda x: x, invert=Invert, skip=Skip)
BATCH_TFMS = dict(none=None, bright=lambda: Brightness(.3, p=.5), tag=Tag,
                  normalize=lambda: Normalize.from_stats([.2],[.3], cuda=False))
HOOKS = dict(none={}, longer=dict(get_idxs=lambda: [0,0,1,2,1,1,0]), end=dict(get_idxs=lambda: [-1,0,-2]),
             lazy=dict(get_idxs=lambda: iter([1,2,0])),
    numpy=dict(get_idxs=lambda: list(np.array([2,1,0,1]))), last=dict(shuffle_fn=lambda o: o[::-1]), few=dict(n=2),
    reverse=dict(before_batch=lambda b: b[::-1]),
    halves=dict(create_batch=lambda b: TfmdDL([0], num_workers=0).create_batch(b[:1])))

def spread(n, **kw): return st.sampled_from([*[n]*3, *kw])
cases = st.fixed_dictionaries(dict(rows=st.integers(8, 14), side=st.integers(3, 4),
                                   seed=st.integers(0, 99), target=st.sampled_from(sorted(TARGETS)),
    types=spread('none', **TYPE_TFMS), items=spread('none', **ITEM_TFMS), batch=spread('none', **BATCH_TFMS),
    hook=spread('none', **HOOKS), get_x=st.sampled_from([None,None,'drop','light']),
    split=st.sampled_from(['random','index']), bs=st.sampled_from([1,2,3,3,4,4,5,7,64,None]),
    shuffle=st.booleans(), drop_last=st.sampled_from([None,False]),
    stats=st.sampled_from([(None,None)]*9+[(.1,.3)]), weights=st.sampled_from([False,False,False,True]),
    change=st.sampled_from(['','','','items','within'])))

def pixels(df): return [c for c in df.columns if c.startswith('pixel')]
def light(r, cols=None): return (r[[c for c in r.index if c.startswith('pixel')]]//2).astype('uint8')


def loaders(c, dl_type):
    "Return the DataLoaders of the case, with `dl_type` for both sides"
    random.seed(c['seed']); np.random.seed(c['seed']); torch.manual_seed(c['seed'])
    df = frame(c['rows'], c['side'], c['seed'])
    block = DigitBlock(pixels(df), *c['stats'])
    block.type_tfms += [f() for f in TYPE_TFMS[c['types']]]
    other,get_y = TARGETS[c['target']]
    split = dict(random=RandomSplitter(.4, seed=c['seed']), index=IndexSplitter([0,2,5]))[c['split']]
    get_x = dict(drop=lambda r: r[pixels(df)], light=light).get(c['get_x'])
    item,batch = ITEM_TFMS[c['items']],BATCH_TFMS[c['batch']]
    dblock = DataBlock((block, DigitBlock(pixels(df)) if other=='digits' else other()),
                       get_x=get_x, get_y=get_y(), splitter=split, dl_type=dl_type,
                       item_tfms=item, batch_tfms=batch and batch())
    kw = dict(bs=c['bs'], shuffle=c['shuffle'], drop_last=False if c['bs'] is None else c['drop_last'],
              num_workers=0, device=torch.device('cpu'), **HOOKS[c['hook']])
    if c['weights']: kw['dl_kwargs'] = [dict(wgts=np.arange(len(dblock.splitter(df)[0]))+1.), {}]
    return dblock.dataloaders(df, **kw)

def epochs(c, dls):
    "Run two epochs of each side, with a possible change between them"
    res = []
    for dl in dls.loaders:
        if c['shuffle'] and c['hook']!='last': dl.shuffle_fn = partial(DigitDL.shuffle_fn, dl)   # one order for both
        for i in range(2 if c['change'] else 1):
            random.seed(7); np.random.seed(7); torch.manual_seed(7)
            dl.rng = random.Random(7)
            res.append(list(dl))
            if i==0 and c['change']: change(c['change'], dl.dataset)
    return res

def change(kind, ds):
    df = ds.items.copy() if kind=='items' else ds.items
    at = [df.columns.get_loc(o) for o in pixels(df)]
    df.iloc[0,at] = df.iloc[1,at].to_numpy()[::-1]
    if kind=='items': ds.items = df

def same(a, b):
    "Return whether two objects are equal in type and value, with all their parts"
    if type(a) is not type(b): return False
    if isinstance(a, torch.Tensor): return a.dtype==b.dtype and a.shape==b.shape and torch.equal(a, b)
    if isinstance(a, (list,tuple)): return len(a)==len(b) and all(map(same, a, b))
    return a==b

def attempt(f):
    try: return f(),None
    except Exception as e: return None,e

def check(c, seen):
    types = (WeightedDigitDL,WeightedDL) if c['weights'] else (DigitDL,TfmdDL)
    (fast,oops),(stock,error) = (attempt(lambda: epochs(c, loaders(c, t))) for t in types)
    seen['all'] += 1
    if isinstance(oops, DigitError) and error is None: raise AssertionError(f'refused by one only: {oops}')
    if oops is not None or error is not None:
        assert type(oops) is type(error), (c, oops, error)
        seen['refused' if isinstance(oops, DigitError) else 'failed'] += 1
        seen[f'{oops!r:.90}'] += 1
        return
    assert same(fast, stock), c

def run(n):
    seen = Counter()
    @settings(max_examples=n, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(cases)
    def go(c): check(c, seen)
    go()
    assert seen['refused']<=seen['all']/10 and seen['failed']<=seen['all']/8, seen

def test_batches_are_what_fastai_collates(): run(60)

@pytest.mark.slow   # 5,000 cases take some minutes
def test_batches_are_what_fastai_collates_5000(): run(5000)

PLAIN = dict(rows=20, side=4, seed=1, target='label', types='none', items='none',
             batch='none', hook='none', get_x=None, split='random', bs=4, shuffle=True, drop_last=None,
             stats=(None,None), weights=False, change='')
KINDS = dict(target=TARGETS, types=TYPE_TFMS, items=ITEM_TFMS, batch=BATCH_TFMS, hook=HOOKS)
ALONE = [{k:o} for k,os in KINDS.items() for o in os]+[
    dict(bs=None), dict(weights=True), dict(change='items'), dict(change='within'),
    dict(get_x='drop'), dict(get_x='light'), dict(change='within', target='lists'),
    dict(get_x='light', target='itself', hook='halves')]   # whose images are the statistics of?
@pytest.mark.parametrize('c', ALONE, ids=lambda c: '-'.join(f'{k}:{v}' for k,v in c.items()))
def test_each_kind_alone(c):
    seen = Counter()
    check({**PLAIN, **c}, seen)
    assert seen=={'all':1}
