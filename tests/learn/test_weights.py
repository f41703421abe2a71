"""Tests of weights in the training loss: they equal torch's and scikit-learn's, and validation has none. Rows drawn by
weight."""
import warnings
import numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from fastai.vision.all import (Callback, CategoryBlock, ColReader, CrossEntropyLossFlat, DataBlock, FocalLossFlat,
                               Interpretation, Learner, MixUp, PartialDL, RandomSplitter, WeightedDL)
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from digitfast.core import DataError, DigitError
from digitfast.data.block import DigitBlock, DigitDataLoaders
from digitfast.data.load import DigitDL
from digitfast.learn.callbacks import RowWeights
from digitfast.learn.learner import seed_all
from digitfast.learn.recipe import Recipe
from digitfast.models.nets import stride2
from conftest import digits, learner, loaders

ROW_W = np.random.default_rng(0).uniform(0, 3, 60)

class Keep(Callback):
    "Record the loss, outputs, labels and rows of each training batch"
    order = 90
    def before_fit(self): self.seen = []
    def after_loss(self):
        if not self.training: return
        rows = self.dls.train_ds.items.index.to_numpy()[self.dls.train.positions.cpu().numpy()]
        self.seen.append((self.loss_grad.item(), self.pred.detach(), self.y.as_subclass(torch.Tensor), rows))

def trained(loss=None, weights=None, class_weights=None, dls=None, cbs=(), n=1):
    dls,keep = dls or loaders(valid_pct=.2),Keep()
    seed_all(0, dls)
    own = [RowWeights(weights, class_weights)] if weights is not None or class_weights is not None else []
    learn = learner(dls, loss_func=loss, cbs=[*own, keep, *cbs])
    with learn.no_bar(), learn.no_logging(): learn.fit(n, .01)
    return learn,keep.seen

LOSSES = dict(flat=CrossEntropyLossFlat(), smooth=CrossEntropyLossFlat(label_smoothing=.1), torch=nn.CrossEntropyLoss(),
              function=F.cross_entropy, focal=FocalLossFlat(gamma=2.))
@pytest.mark.parametrize('name', LOSSES)
def test_the_loss_is_the_weighted_mean_of_the_rows(name):
    loss = LOSSES[name]
    learn,seen = trained(loss, ROW_W)
    for value,pred,y,rows in seen:
        w = torch.tensor(ROW_W[rows], dtype=torch.float32)
        each = torch.stack([torch.as_tensor(loss(pred[i:i+1], y[i:i+1])) for i in range(len(y))])
        assert value==pytest.approx(((w*each).sum()/w.sum()).item(), rel=1e-5)
    assert learn.loss_func is loss and getattr(loss, 'reduction', 'mean')=='mean'

def test_class_weights_are_those_of_torch_and_sklearn():
    df = digits(120).iloc[[i for i in range(120) if i%3 or i<30]].reset_index(drop=True)
    dls = loaders(df, valid_pct=.2)
    y = dls.train_ds.items.label.to_numpy()
    theirs = compute_class_weight('balanced', classes=np.unique(y), y=y)
    for class_weights,w in ('balanced', theirs),({0:2., '1':.5}, [2., .5, 1.]):
        learn,seen = trained(class_weights=class_weights, dls=dls)
        w = torch.tensor(w).float()
        for value,pred,y,_ in seen: assert value==pytest.approx(F.cross_entropy(pred, y, w).item(), rel=1e-5)

@pytest.mark.parametrize('scale', [1e-300, 1e300])
def test_the_scale_of_weights_does_not_matter(scale):
    (a,seen),(b,_) = trained(weights=ROW_W*scale),trained(weights=ROW_W)
    assert all(0<value<9 for value,*_ in seen)
    for p,q in zip(a.model.parameters(), b.model.parameters()): assert torch.allclose(p, q, atol=1e-5)

INDEX = dict(order=lambda df: df.sample(frac=1, random_state=0), gaps=lambda df: df.iloc[::2],
             texts=lambda df: df.set_index(df.index.map('row{}'.format)))
@pytest.mark.parametrize('index', INDEX.values(), ids=INDEX)
def test_weights_belong_to_rows_by_position_whatever_the_index(index):
    df = index(digits(120))
    w = np.arange(1., len(df)+1)
    block = DataBlock((DigitBlock(), CategoryBlock), get_y=ColReader('label'), splitter=RandomSplitter(seed=0))
    dls = block.dataloaders(df, bs=16, device='cpu')
    want = pd.Series(w, df.index)[dls.train_ds.items.index].tolist()
    assert RowWeights(w).of(dls).tolist()==RowWeights(pd.Series(w, df.index)).of(dls).tolist()==want
    own = DigitDataLoaders.from_df(df, device='cpu', bs=16)
    rows = own.train_ds.items.index
    assert RowWeights(w).of(own).tolist()==w[rows].tolist()
    assert (own.train_ds.items.iloc[:,1:].to_numpy()==df.iloc[rows,1:].to_numpy()).all()

def test_a_series_of_weights_in_another_order_than_the_frame():
    df = digits(60).sample(frac=1, random_state=0)
    block = DataBlock((DigitBlock(), CategoryBlock), get_y=ColReader('label'), splitter=RandomSplitter(seed=0))
    with pytest.raises(DataError, match='weights: found a Series.*another order'):
        RowWeights(pd.Series(ROW_W)).of(block.dataloaders(df, bs=16, device='cpu'))

def test_weights_of_one_change_nothing_and_validation_is_not_weighted():
    (a,_),(b,_),(c,_) = trained(n=2),trained(weights=np.ones(60), n=2),trained(weights=ROW_W, n=2)
    for p,q in zip(a.model.parameters(), b.model.parameters()): assert torch.allclose(p, q, atol=1e-5)
    assert not torch.allclose(next(a.model.parameters()), next(c.model.parameters()))
    valid_loss = c.recorder.values[-1][1]
    with c.no_bar(): preds,targs = c.get_preds()
    loss = F.nll_loss(preds.log(), targs.as_subclass(torch.Tensor)).item()
    assert valid_loss==pytest.approx(loss, rel=1e-4)

def test_rows_of_weight_0_teach_nothing():
    "This also holds for a batch with no other rows"
    df = digits()
    w = (df.label!=2).astype(float)
    learn,_ = trained(weights=w, n=4, dls=loaders(df, bs=8, valid_pct=.2))
    with learn.no_bar(): assert 2 not in learn.get_preds()[0].argmax(1)
    learn,seen = trained(weights=np.r_[np.zeros(48), np.ones(12)], dls=loaders(valid=range(48), bs=4, shuffle=False))
    assert all(np.isfinite(o[0]) for o in seen)

def test_a_plain_learner_and_its_interpretation():
    "fastai's own Learner accepts the callback, and saves and shows its own loss"
    dls = loaders(valid_pct=.2)
    learn = Learner(dls, stride2(3, 8), loss_func=CrossEntropyLossFlat(), cbs=RowWeights(ROW_W, 'balanced'))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, .01)
        interp = Interpretation.from_learner(learn)
        assert len(interp.top_losses(3)[0])==3 and learn.lr_find(show_plot=False, num_it=5)

class Unreduced:
    def __call__(self, pred, targ): return F.cross_entropy(pred, targ)
WRONG = dict(short=(dict(weights=[1]*10), DataError, 'found 10 weights, expected one for each of'),
    nan=(dict(weights=[np.nan]+[1]*59), DataError, "row 0 .* has the weight 'nan'"),
    negative=(dict(weights=[1]*59+[-1]), DataError, "row 59 .* has the weight '-1', expected a number from 0"),
    text=(dict(weights=['heavy']*60), DataError, "weight 'heavy'"),
    zero=(dict(weights=[0]*60), DataError, 'rows are 0'),
    infinite=(dict(weights=[np.inf]*60), DataError, "weight 'inf'"),
    unknown=(dict(class_weights={'7':2}), DigitError, "unknown class '7'.*Use one of 0, 1, 2"),
    none=(dict(class_weights={0:0, 1:0, 2:0}), DataError, 'all 48 training rows have the weight 0'),
    loss=(dict(weights=ROW_W, loss_func=Unreduced(), activation='softmax'), DigitError,
          "Unreduced has no reduction='none'"),
    total=(dict(weights=ROW_W, loss_func=CrossEntropyLossFlat(reduction='sum')), DigitError, "reduction='sum'"),
    mixup=(dict(weights=ROW_W, cbs=[MixUp()]), DigitError, 'MixUp makes one row of two'))
@pytest.mark.parametrize('name', WRONG)
def test_weights_that_mean_nothing(name):
    kw,error,why = WRONG[name]
    r = Recipe('stride2', valid_pct=.2, bs=16, class_weights=kw.get('class_weights'))
    others = {k:v for k,v in kw.items() if k!='class_weights'}
    with pytest.raises(error, match=why) as e: r.learner(r.dls(digits(), device='cpu'), **others)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('value', ['balance', {}, {'0':-1}, {0:'2'}, {0:float('nan')}, [1,2], True])
def test_a_field_that_is_no_class_weights(value):
    with pytest.raises(DigitError, match="class_weights is .*expected 'balanced', or a"): Recipe(class_weights=value)

def test_batches_whose_rows_are_not_known():
    dls = loaders(item_tfms=lambda x: x)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = learner(dls, cbs=RowWeights(ROW_W))
        with pytest.raises(DigitError, match="rows of a batch are unknown"), learn.no_logging(): learn.fit(1)

# ---- rows that are drawn by weight

def test_weighted_and_partial_draws_are_fastais():
    "The rows, and the type and value of the batches, equal those of fastai's WeightedDL and PartialDL"
    dls = loaders(digits(90), valid_pct=.2)
    w = np.random.default_rng(1).uniform(0, 1, len(dls.train_ds))
    ours = dict(weighted=dls.weighted_dataloaders(w, bs=8), partial=dls.partial_dataloaders(20, bs=8))
    theirs = dict(weighted=WeightedDL(dls.train_ds, bs=8, wgts=w, shuffle=True, drop_last=True),
                  partial=PartialDL(dls.train_ds, bs=8, partial_n=20, shuffle=True, drop_last=True))
    for name,d in ours.items():
        assert isinstance(d.train, type(theirs[name])) and isinstance(d.train, DigitDL) and not d.train.slow_reason
        theirs[name].after_batch = d.train.after_batch
        batches = []
        for dl in d.train,theirs[name]:
            np.random.seed(3)
            batches.append(list(dl))
            assert len(batches[-1])==len(dl)
        for a,b in zip(*batches):
            for x,y in zip(a, b): assert type(x) is type(y) and x.dtype==y.dtype and torch.equal(x, y)
        assert type(d) is type(dls) and d.valid is dls.valid and d.vocab==dls.vocab and d.reading is dls.reading

def test_draws_follow_the_weights():
    dls = loaders(digits(300))
    d = dls.weighted_dataloaders(np.where(dls.train_ds.items.label==1, 8., 1.), bs=32)
    y = torch.cat([y for _ in range(4) for _,y in d.train]).as_subclass(torch.Tensor)
    assert (y==1).float().mean().item()==pytest.approx(.8, abs=.06)
    learn,seen = trained(weights=np.arange(300.), dls=d)
    for value,pred,y,rows in seen: assert [d.train_ds.items.label.loc[o] for o in rows]==y.tolist()

@pytest.mark.parametrize('n', [-1, 1.5, True])
def test_a_partial_epoch_has_a_number_of_rows(n):
    with pytest.raises(DataError, match='partial_n: found .*expected a number of rows from 1 to 48'):
        loaders(valid_pct=.2).partial_dataloaders(n)

@pytest.mark.parametrize('w,why', [([1], 'found 1 weight,'), ([0]*48, 'are 0'), ([-1]*48, "weight '-1'")])
def test_weights_that_no_row_can_be_drawn_by(w, why):
    with pytest.raises(DataError, match=why): loaders(valid_pct=.2).weighted_dataloaders(w)
