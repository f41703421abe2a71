"Splits, whole batches and what fastai's calls do with them: `DigitDataLoaders`, `DigitBlock`, `digit_splitter`."
import random, warnings
import numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import (DataBlock, CategoryBlock, ColReader, IndexSplitter, TfmdDL, Brightness, IntToFloatTensor,
    TensorImageBW, TensorCategory)
from digitfast.core import DataError, DigitError
from digitfast.data.block import DigitBlock, DigitDataLoaders, NormalizePixels
from digitfast.data.transforms import RowToImage, pixel_stats, same_images
from digitfast.data.split import digit_splitter
from digitfast.device import digit_device
from conftest import digits, loaders

def pixels(df): return df.drop(columns='label').to_numpy()
def rows_of(dls): return list(dls.train_ds.items.index),list(dls.valid_ds.items.index)
def labels_seen(dl): return [int(o) for _,y in dl for o in y]
def order_of(dl, df):
    "Return the rows of `df` in the order of the batches of `dl`"
    where = {o.tobytes():i for i,o in enumerate(pixels(df))}
    f = next(f for f in dl.after_batch.fs if isinstance(f, NormalizePixels))
    return [where[o.tobytes()] for x,*_ in dl for o in ((x*f.std+f.mean)*255).round().to(torch.uint8).cpu().numpy()]

# ---- splits

def test_split_is_stratified_whole_and_seeded():
    df = digits(90)
    trn,val = digit_splitter(valid_pct=.2, seed=1)(df)
    assert sorted([*trn,*val])==list(range(90)) and len(val)==18
    assert df.label.iloc[list(val)].value_counts().to_dict()=={0:6, 1:6, 2:6}
    assert (
        list(digit_splitter(valid_pct=.2, seed=1)(df)[1])==list(val)!=list(digit_splitter(valid_pct=.2, seed=2)(df)[1]))

@pytest.mark.parametrize('valid', ['stratified','random','last'])
def test_split_leaves_global_random_state(valid):
    states = lambda: (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())
    old = states()
    digit_splitter(valid)(digits())
    assert states()==old

def test_split_random_follows_seed_only():
    df = digits()
    torch.manual_seed(0); a = digit_splitter('random', seed=5)(df)
    torch.manual_seed(1); b = digit_splitter('random', seed=5)(df)
    assert list(a[1])==list(b[1])!=list(digit_splitter('random', seed=6)(df)[1])

def test_split_last_and_given():
    df = digits()
    assert rows_of(loaders(df, valid='last', valid_pct=.25))==(list(range(45)), list(range(45,60)))
    assert rows_of(loaders(df, valid=[3,1,2]))==([0,*range(4,60)], [3,1,2])
    assert rows_of(loaders(df, valid=np.array([3,1,2])))[1]==[3,1,2]

def test_split_does_not_depend_on_learners_seed():
    df = digits()
    torch.manual_seed(0); random.seed(0); a = rows_of(loaders(df))
    torch.manual_seed(9); random.seed(9); b = rows_of(loaders(df))
    assert a==b and not set(a[0])&set(a[1])

BAD_SPLITS = dict(unknown=(dict(valid='nope'), 'nope'), zero=(dict(valid_pct=0), 'found 0,'),
                  one=(dict(valid_pct=1.), 'found 1,'), over=(dict(valid_pct=2), 'found 2,'),
    negative=(dict(valid_pct=-.5), 'found -0.5'), nan=(dict(valid_pct=float('nan')), 'nan'),
    few=(dict(valid_pct=.01), 'share of 0.01'),
    lastfew=(dict(valid='last', valid_pct=.001), 'empty'), most=(dict(valid_pct=.99), 'share of 0.99'),
    none=(dict(valid=[]), 'empty'), all=(dict(valid=range(60)), 'empty'),
    classes=(dict(valid=range(0,60,3)), 'class 0'), beyond=(dict(valid=[5,60]), '60'),
    negatives=(dict(valid=[-1]), '-1'), twice=(dict(valid=[4,4]), '4'),
    floats=(dict(valid=[1.5]), '1.5'), words=(dict(valid=['a']), "'a'"))
@pytest.mark.parametrize('name', BAD_SPLITS)
def test_split_refused(name):
    kw,says = BAD_SPLITS[name]
    with pytest.raises(DataError) as e: loaders(**kw)
    assert says in str(e.value) and '\n' not in str(e.value)

def test_split_refused_where_a_class_is_on_one_side():
    df = digits()
    df.loc[0,'label'] = 7
    for valid in 'stratified','random','last':
        with pytest.raises(DataError, match='7|class'): loaders(df, valid=valid)
    last = pd.concat([digits(40, n_class=2), digits(20, n_class=3).query('label==2')], ignore_index=True)
    with pytest.raises(DataError, match='training side.*class 2'): loaders(last, valid='last', valid_pct=.3)

# ---- batches

def test_batch_is_what_the_stock_loader_gives():
    df = digits(40, side=6)
    fast = loaders(df, bs=8, mean=.3, std=.2)
    stock = TfmdDL(fast.valid_ds, bs=8, shuffle=False, after_batch=[IntToFloatTensor(), NormalizePixels(.3, .2)],
                   device=torch.device('cpu'))
    n = 0
    for a,b in zip(fast.valid.new(bs=8), stock, strict=True):
        assert (torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
                and [type(o) for o in a]==[type(o) for o in b]==[TensorImageBW, TensorCategory])
        n += len(a[0])
    assert n==len(fast.valid_ds)==8

def test_batch_is_the_pixels_normalised():
    df = digits()
    dls = loaders(df)
    x,y = dls.valid.one_batch()
    val = df.iloc[list(dls.valid_ds.items.index)]
    mean,std = dls.stats
    trn = pixels(df.iloc[list(dls.train_ds.items.index)])/255
    assert np.isclose(mean, trn.mean()) and np.isclose(std, trn.std())
    assert (np.allclose(x.numpy(), ((pixels(val)/255-mean)/std).reshape(-1, 1, 8, 8), atol=1e-5)
            and y.tolist()==val.label.tolist())

def test_every_row_once_an_epoch_and_order_follows_seed():
    df = digits()
    def orders(seed):
        dls = loaders(df, drop_last=False)
        dls.train.rng = random.Random(seed)
        return order_of(dls.train, df),order_of(dls.train, df)
    (a1,a2),(b1,b2),(c1,_) = orders(1),orders(1),orders(2)
    assert a1==b1 and a2==b2 and a1!=a2 and a1!=c1
    assert sorted(a1)==sorted(a2)==sorted(rows_of(loaders(df))[0])

def test_order_does_not_depend_on_torchs_generator_and_takes_of_it_what_fastai_does():
    df = digits()
    def order(s, cls=None):
        dl = loaders(df, drop_last=False).train
        dl.rng = random.Random(0)
        torch.manual_seed(s)
        res = order_of(dl if cls is None else dl.new(cls=cls), df)
        return res,torch.get_rng_state().tolist()
    assert order(0)[0]==order(1)[0]
    assert order(0)[1]==order(0, TfmdDL)[1]

def test_drop_last_and_val_bs():
    dls = loaders(digits(60), bs=20, val_bs=5)   # 48 and 12 rows
    assert [len(o[0]) for o in dls.train]==[20,20] and len(dls.train)==2
    assert [len(o[0]) for o in dls.valid]==[5,5,2] and len(dls.valid)==3
    assert [len(o[0]) for o in loaders(digits(60), bs=20, drop_last=False).train]==[20,20,8]

def test_batch_shrinks_and_says_so():
    with pytest.warns(UserWarning, match='48 instead of 64'): dls = loaders(bs=64)
    assert [len(o[0]) for o in dls.train]==[48]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loaders(bs=48)

def test_it_says_what_it_is():
    dls = loaders()
    assert repr(dls).splitlines()==[
        'DigitDataLoaders: images of 8x8, 3 classes',
        '  train: DigitDL: 48 rows, batches of 16, shuffled, on cpu; images whole, targets whole',
        f'  valid: DigitDL: 12 rows, batches of {dls.valid.bs}, on cpu; images whole, targets whole']
    assert 'train: DigitDL: 0 rows, batches of 16, shuffled, on cpu\n' in repr(dls.new_empty())
    assert repr(NormalizePixels())=='NormalizePixels'
    assert repr(NormalizePixels(.1, .25))=='NormalizePixels(mean=0.1000, std=0.2500)'
    assert repr(dls.train_ds.tls[0].tfms)=='Pipeline: RowToImage(8x8)'
    images = DigitBlock()
    def invert(x:TensorImageBW): return 255-x
    images.type_tfms.append(invert)
    own = DataBlock((images, CategoryBlock), get_y=ColReader('label')).dataloaders(digits(), bs=9, device='cpu')
    assert repr(own.train).endswith('; RowToImage(8x8) -> invert item by item, targets whole')

def test_validation_order_is_the_frames():
    df = digits()
    dls = loaders(df)
    assert order_of(dls.valid, df)==order_of(dls.valid, df)==rows_of(dls)[1]

def test_batches_do_not_share_memory_with_the_frame_or_each_other():
    df = digits()
    was = df.copy()
    dls = loaders(df)
    a = dls.valid.one_batch()[0].clone()
    dls.valid.one_batch()[0].zero_()
    assert torch.equal(dls.valid.one_batch()[0], a) and df.equals(was)
    df.iloc[:,1:] = 0
    assert torch.equal(dls.valid.one_batch()[0], a)
    raw = dls.valid.new(after_batch=[]) # no transform changes its batches
    b = raw.one_batch()[0].clone()
    raw.one_batch()[0].zero_()
    assert b.dtype==torch.uint8 and b.any() and torch.equal(raw.one_batch()[0], b)
    items = dls.valid_ds.items
    was = items.copy()
    dls.valid.tensors[0].zero_()
    assert items.equals(was)

@pytest.mark.parametrize('side', [1,8,28,40])
def test_sides(side):
    df = digits(20, side=max(side,3), n_class=2)
    if side==1: df = df[['label','pixel0']]
    dls = loaders(df, bs=4)
    assert dls.side==side and dls.one_batch()[0].shape==(4,1,side,side)

def test_text_classes():
    df = digits(classes=['ka','ki','ku'])
    dls = loaders(df)
    assert list(dls.vocab)==['ka','ki','ku']
    assert [dls.vocab[i] for i in labels_seen(dls.valid)]==dls.valid_ds.items.label.tolist()

def test_classes_are_the_labels_not_ten():
    df = digits()
    df['label'] = df.label.map({0:3, 1:11, 2:7})
    assert list(loaders(df).vocab)==[3,7,11]
    assert list(loaders(df, classes=[11,7,3,1]).vocab)==[11,7,3,1]

def test_label_column_anywhere_and_pixels_by_name():
    df = digits()
    moved = df[[*df.columns[:0:-1],'label']]
    assert torch.equal(loaders(df).valid.one_batch()[0], loaders(moved).valid.one_batch()[0])

@pytest.mark.parametrize('index', ['shuffled','text','repeated'])
def test_frames_index_does_not_matter(index):
    df = digits()
    other = df.set_axis(dict(shuffled=np.random.default_rng(0).permutation(60), text=[f'r{i}' for i in range(60)],
                             repeated=[0]*60)[index])
    a,b = loaders(df),loaders(other)
    assert (torch.equal(a.valid.one_batch()[0], b.valid.one_batch()[0])
            and torch.equal(a.valid.one_batch()[1], b.valid.one_batch()[1]))

@pytest.mark.parametrize('change',
                         [lambda d: d.drop(columns='label'), lambda d: d.astype(float)+.5,
                          lambda d: d.astype(int)+200, lambda d: d.drop(columns='pixel5'), lambda d: d.iloc[:0],
    lambda d: d.assign(pixel3=-1), lambda d: d.assign(pixel3=np.nan), lambda d: d.assign(label=1),
    lambda d: d.assign(label=[-1,0,1]*20)],
    ids='unlabelled fraction above missing empty negative blank one-class minus'.split())
def test_frame_refused(change):
    with pytest.raises(DataError): loaders(change(digits()))

def test_from_csv(tiny, data):
    dls = DigitDataLoaders.from_csv(tiny, bs=16, device='cpu')
    assert (len(dls.train_ds), len(dls.valid_ds), dls.side)==(48,12,8)
    assert len(DigitDataLoaders.from_csv('sample', valid_pct=.1, device='cpu').valid_ds)==500
    with pytest.raises(DataError, match='no such file'): DigitDataLoaders.from_csv('/nowhere')

def test_item_tfms_run_item_by_item_and_are_logged():
    dls = loaders(item_tfms=lambda x: x)
    assert 'item by item' in repr(dls.train) and 'after_item' in repr(dls.train)
    assert 'images whole, targets whole' in repr(loaders().train)
    assert torch.equal(dls.valid.one_batch()[0], loaders().valid.one_batch()[0])
    with pytest.warns(UserWarning, match='item by item'):
        next(iter(loaders(pd.concat([digits()]*50, ignore_index=True), item_tfms=lambda x: x).train))

def test_training_transforms_leave_validation_alone():
    dls = loaders(batch_tfms=[Brightness(.9, p=1.)])
    plain = loaders()
    assert torch.equal(dls.valid.one_batch()[0], plain.valid.one_batch()[0])
    raw = lambda d: d.train.new(shuffle=False).one_batch()[0]
    assert not torch.allclose(raw(dls), raw(plain))

# ---- fastai's own calls

def test_datablock_without_the_factory(capsys):
    df = digits()
    block = DataBlock((DigitBlock(), CategoryBlock(vocab=[0,1,2])), get_y=ColReader('label'),
                      splitter=IndexSplitter(range(12)))
    dls = block.dataloaders(df, bs=8, device='cpu')
    assert dls.one_batch()[0].shape==(8,1,8,8) and order_of(dls.valid, df)==list(range(12))
    block.summary(df)
    out = capsys.readouterr().out
    assert 'RowToImage' in out and 'NormalizePixels' in out and 'error' not in out.lower()

def test_get_y_that_is_a_function():
    df = digits()
    block = DataBlock((DigitBlock(), CategoryBlock(vocab=[0,1,2])), get_y=lambda r: (r['label']+1)%3,
                      splitter=IndexSplitter(range(12)))
    dls = block.dataloaders(df, bs=8, device='cpu')
    assert labels_seen(dls.valid)==((df.label[:12]+1)%3).tolist()

def test_show_batch():
    import matplotlib.pyplot as plt
    dls = loaders()
    dls.show_batch(max_n=4)
    assert len([a for a in plt.gcf().axes if a.images])==4
    plt.close('all')
    dls.show_batch(max_n=4, unique=True)
    ims = [a.images[0].get_array().tobytes() for a in plt.gcf().axes if a.images]
    assert len(ims)==4 and len(set(ims))==1
    plt.close('all')
    dls.show_batch(max_n=2)
    assert plt.gcf().axes[0].get_title() in ('0','1','2')
    plt.close('all')

@pytest.mark.parametrize('form',
                         ['frame','labelled','rows','row','array','images','image','tensor','list','reordered','int64'])
def test_test_dl_takes(form):
    df = digits()
    dls = loaders(df)
    x = df.drop(columns='label')[:5]
    a = x.to_numpy()
    items,n = dict(frame=(x,5), labelled=(df[:5],5), rows=([x.iloc[i] for i in range(5)],5),
                   row=(x.iloc[0],1), array=(a,5), images=(a.reshape(-1,8,8),5), image=(a[0].reshape(8,8),1),
        tensor=(torch.tensor(a).view(-1,1,8,8),5), list=([o.reshape(8,8) for o in a],5),
        reordered=(x[x.columns[::-1]],5), int64=(x.astype('int64'),5))[form]
    dl = dls.test_dl(items)
    got = torch.cat([b[0] for b in dl])
    mean,std = dls.stats
    assert len(dl.dataset)==n and np.allclose(got.numpy(), ((a[:n]/255-mean)/std).reshape(n,1,8,8), atol=1e-5)

def test_test_dl_with_labels():
    df = digits()
    dl = loaders(df).test_dl(df[:7], with_labels=True)
    assert labels_seen(dl)==df.label[:7].tolist()

def test_test_dl_neither_shuffles_drops_nor_augments():
    df = digits(50)
    dls = loaders(df, batch_tfms=[Brightness(.9, p=1.)], val_bs=8)
    dl = dls.test_dl(df.drop(columns='label'))
    assert order_of(dl, df)==list(range(50)) and [len(o[0]) for o in dl]==[8]*6+[2]

@pytest.mark.parametrize('items', [np.zeros((2,63)), np.zeros((0,64)), np.full((2,64), 300), np.full((2,64), .5),
                                   np.full((2,64), np.nan), digits().drop(columns=['label','pixel9']),
                                   [], digits(side=6)],
    ids='size none above fraction nan column empty side'.split())
def test_test_dl_refuses(items):
    with pytest.raises(DataError) as e: loaders().test_dl(items)
    assert '\n' not in str(e.value)

def test_test_dl_with_labels_of_rows_that_have_none():
    with pytest.raises(DataError, match="no column 'label', expected one for with_labels=True") as e:
        loaders().test_dl(digits().drop(columns='label'), with_labels=True)
    assert '\n' not in str(e.value)

NO_PIXELS = dict( # a change of a frame's pixels, and the error
    above=(lambda x: x+200, "row .*, column '?pixel.*: found '?2..'?, expected a whole number from 0 to 255"),
    negative=(lambda x: x-300, "row .*, column '?pixel.*: found '?-2..'?, expected a whole number from 0 to 255"),
    halves=(lambda x: x/2, r"row .*, column '?pixel.*: found '?\d+\.5'?, expected a whole number from 0 to 255"),
    fractions=(lambda x: x/255, 'numbers of 0 to 1, expected whole numbers of 0 to 255. Multiply them by 255'),
    rounded=(lambda x: (x/255).round(), 'numbers of 0 to 1, expected whole numbers of 0 to 255. Multiply them by 255'))
@pytest.mark.parametrize('where', ['block','item by item','test_dl','test_dl of a block','test_dl item by item'])
@pytest.mark.parametrize('what', NO_PIXELS)
def test_no_pixels_are_cast(where, what):
    "Check the user's own `DataBlock`, fast and slow, and the factory"
    df,(change,says) = digits(),NO_PIXELS[what]
    bad = pd.concat([df[['label']], change(df.drop(columns='label').astype('int64'))], axis=1)
    slow = (lambda x: x) if 'item by item' in where else None
    block = DataBlock((DigitBlock(), CategoryBlock(vocab=[0,1,2])), get_y=ColReader('label'),
                      splitter=IndexSplitter(range(12)), item_tfms=slow)
    def dl():
        if where=='test_dl': return loaders().test_dl(bad)
        if 'test' in where: return block.dataloaders(df, bs=16, device='cpu').test_dl(bad)
        return block.dataloaders(bad, bs=16, device='cpu').train
    with pytest.raises(DataError, match=says) as e: list(dl())
    assert '\n' not in str(e.value)

def test_numbers_on_no_scale_get_their_cause():
    "Check the user's own `DataBlock`, which uses the function for files and frames"
    df = digits()
    x = df.drop(columns='label').astype(int)
    dblock = DataBlock((DigitBlock(), CategoryBlock(vocab=[0,1,2])), get_y=ColReader('label'),
                       splitter=IndexSplitter(range(12)))
    for bad,says in ((x.astype(np.int8).astype(int), 'int8'), ((x/255-.1307)/.3081, 'normalised'), (x*200, '16-bit'),
                     (x+.25, 'averages')):
        with pytest.raises(DataError, match=f'found .*expected a whole number from 0 to 255.*{says}'):
            list(dblock.dataloaders(bad.assign(label=df.label), bs=16, device='cpu').train)

@pytest.mark.parametrize('kind', [bool,object])
def test_truth_is_black_and_white_only_if_the_training_rows_were(kind):
    df = digits()
    x = df.drop(columns='label')>99
    with pytest.raises(DataError, match="pixel0: found '(True|False)', expected a whole number from 0 to 255"):
        loaders(df).test_dl(x.astype(kind))
    with pytest.warns(UserWarning, match='from 0 to 1, stretched'): dls = loaders(x.astype(kind).assign(label=df.label))
    for o in x,x.astype(int),x*255: assert (dls.test_dl(o).items.to_numpy()==255*x.to_numpy()).all()

@pytest.mark.parametrize('kind', [str,object])
def test_pixels_in_text_are_numbers(kind):
    "A frame from `pd.read_csv(dtype=str)`"
    df = digits()
    text = df.astype(str).astype(kind)
    assert (loaders(text).train.images==loaders(df).train.images).all()
    text.iloc[7,3] = '12a'
    with pytest.raises(DataError, match="row 7, column pixel2: found '12a', expected a whole number from 0 to 255"):
        loaders(text)

def test_new_empty_holds_no_pixels():
    dls = loaders().new_empty()
    assert len(dls.train_ds)==0 and dls.side==8 and list(dls.vocab)==[0,1,2]
    assert dls.test_dl(digits().drop(columns='label')).one_batch()[0].shape==(60,1,8,8)

# ---- pieces

def test_pixel_stats_are_exact():
    x = torch.randint(0, 256, (1000,3,3), dtype=torch.uint8)
    mean,std = pixel_stats(x)
    assert np.isclose(mean, (x.double()/255).mean()) and np.isclose(std, (x.double()/255).std(unbiased=False))
    assert pixel_stats(torch.zeros(9, dtype=torch.uint8))==(0.,1.)   # a blank set must not divide by zero

def test_same_images():
    a = torch.randint(0, 256, (20,1,5,5), dtype=torch.uint8)
    b = torch.cat([a[3:5], a[:2].flip(-1), a[:1]+1])
    assert same_images(a, b).tolist()==[True,True,False,False,False]
    assert same_images(a, b[:0]).tolist()==[]

def test_row_to_image_copies():
    df = digits().drop(columns='label')
    t = RowToImage(df.columns)
    im = t(df.iloc[3])
    assert (isinstance(im, TensorImageBW) and im.dtype==torch.uint8 and im.shape==(1,8,8)
            and im.flatten().tolist()==df.iloc[3].tolist())
    x = np.arange(64, dtype=np.uint8)
    im = t.images(x)
    x[:] = 0
    assert t.images(df.to_numpy()).shape==(60,1,8,8) and im.flatten().tolist()==list(range(64))

@pytest.mark.parametrize('device,says', [('tpu','tpu'), ('xyz','xyz'), ('cpu:x','cpu:x'), ('cuda:99','cuda:99')])
def test_device_refused(device, says):
    with pytest.raises(DigitError, match=says): digit_device(device)

def test_device_that_fails_is_not_used(monkeypatch):
    from digitfast import device
    def broken(*a, **k): raise RuntimeError('CUDA error: no kernel image is available\nmore')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch, 'ones', broken)
    device._probe.cache_clear()
    try:
        with pytest.warns(UserWarning, match='no kernel image'): assert digit_device('auto').type=='cpu'
        with pytest.raises(DigitError, match='no kernel image') as e: digit_device('cuda')
        assert '\n' not in str(e.value)
    finally: device._probe.cache_clear()

@pytest.mark.slow
def test_an_epoch_of_the_whole_set_is_quick(big_zip):
    import time
    from digitfast.data.read import read_csvs
    dls = DigitDataLoaders.from_df(read_csvs(big_zip).train, bs=128, device='cpu')
    dl = dls.train
    for _ in dl: pass
    ts = []
    for _ in range(3):
        t = time.perf_counter()
        for _ in dl: pass
        ts.append(time.perf_counter()-t)
    assert min(ts)<.5, ts

@pytest.mark.cuda
def test_batches_and_pixels_are_on_the_gpu():
    dls = DigitDataLoaders.from_df(digits(), bs=16)
    assert dls.train.images.device.type=='cuda'==dls.train.one_batch()[0].device.type
    assert all(b[0].device.type=='cuda' for b in dls.test_dl(digits().drop(columns='label')))
