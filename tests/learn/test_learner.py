"`digit_learner`, recipes, callbacks and transforms. For fastai's own calls, see test_fastai.py."
import pickle, random, threading
from functools import partial
from dataclasses import FrozenInstanceError, asdict, replace
import numpy as np, pytest, torch
import torch.nn.functional as F
from torch import nn
from fastai.vision.all import (BaseLoss, Callback, CancelBatchException, CrossEntropyLossFlat, EarlyStoppingCallback,
                               FocalLoss, IntToFloatTensor, LabelSmoothingCrossEntropy, Learner, SaveModelCallback,
                               TensorImageBW, TerminateOnNaNCallback, accuracy, error_rate, load_learner)
from digitfast.core import DigitError
from digitfast.runs.weights import PixelsToProbs, load_net, save_net
from digitfast.learn.callbacks import EMA, BF16, RandAffine, opts
from digitfast.learn.learner import digit_learner, seed_all
from digitfast.models.nets import shifts
from digitfast.learn.loss import loss_name, losses
from digitfast.learn.predict import predict_rows
from digitfast.learn.recipe import Recipe, find_lr, get_recipe, recipes
from digitfast.device import best_precision
from conftest import digits, learner, loaders

def state(m): return {k:v.clone() for k,v in m.state_dict().items()}
def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

# ---- the Learner

def test_learner_is_fresh_on_the_device_and_flat():
    dls = loaders()
    a,b = learner(dls),learner(dls)
    assert (isinstance(a, Learner)
            and not {p.data_ptr() for p in a.model.parameters()} & {p.data_ptr() for p in b.model.parameters()})
    assert isinstance(a.loss_func, CrossEntropyLossFlat) and [m.name for m in a.metrics]==['accuracy']
    assert {p.device for p in a.model.parameters()}=={dls.device}
    assert a.model(dls.one_batch()[0]).shape==(16,3)

def test_two_learners_share_nothing():
    dls = loaders()
    a,b = learner(dls, 'fastbook'),learner(dls, 'fastbook')
    was = state(b.model)
    with a.no_bar(), a.no_logging(): a.fit(1, .1)
    assert same(was, state(b.model)) and a.loss_func is not b.loss_func and b.opt is None

def test_built_net_refused():
    with pytest.raises(DigitError, match='already built'): digit_learner(loaders(), nn.Linear(2,2))
    with pytest.raises(DigitError, match='unknown architecture'): digit_learner(loaders(), 'nope')

def test_arguments_pass_through_to_learner(tmp_path):
    cb = TerminateOnNaNCallback()
    learn = digit_learner(loaders(), 'stride2', arch_kwargs=dict(chs=(2,)), metrics=[accuracy, error_rate],
                          lr=.5, wd=.3, path=tmp_path, cbs=[cb], loss_func=nn.CrossEntropyLoss())
    assert ((learn.lr,learn.wd,learn.path)==(.5,.3,tmp_path) and cb in learn.cbs
            and [m.name for m in learn.metrics]==['accuracy','error_rate'])
    assert len([o for o in learn.model.modules() if isinstance(o, nn.Conv2d)])==2

def test_accuracy_is_the_share_that_is_right(trained):
    loss,acc = trained.validate()
    probs,y = trained.get_preds()
    assert acc==pytest.approx((probs.argmax(1)==y).float().mean().item()) and acc>.9
    assert (loss==pytest.approx(F.nll_loss(probs.log(), y).item(), rel=1e-4)
            and torch.allclose(probs.sum(1), torch.ones(len(y))))

def test_get_preds_is_in_row_order(trained):
    df = digits(33, seed=5).drop(columns='label')
    dl = trained.dls.test_dl(df)
    all_ = trained.get_preds(dl=dl)[0]
    one = torch.cat([trained.get_preds(dl=trained.dls.test_dl(df.iloc[[i]]))[0] for i in range(33)])
    assert torch.allclose(all_, one, atol=1e-5)
    perm = np.random.default_rng(0).permutation(33)
    assert torch.allclose(trained.get_preds(dl=trained.dls.test_dl(df.iloc[perm]))[0], all_[perm], atol=1e-5)
    assert torch.allclose(trained.get_preds(dl=trained.dls.test_dl(df, bs=4))[0], all_, atol=1e-5)

@pytest.mark.parametrize('form',
                         [lambda r: r, lambda r: r.drop('label'), lambda r: r.drop('label').to_numpy(),
                          lambda r: r.drop('label').to_numpy().reshape(8,8),
                                  lambda r: torch.tensor(r.drop('label').to_numpy(np.uint8)).view(8,8),
                                  lambda r: torch.tensor(r.drop('label').to_numpy(np.uint8)).view(1,8,8)],
                         ids='row unlabelled array image tensor channel'.split())
def test_predict_one(trained, form):
    row = digits(9, seed=4).iloc[5]
    with trained.no_bar(): cls,idx,probs = trained.predict(form(row))
    assert cls=='2' or cls==2
    assert int(idx)==2==int(probs.argmax()) and probs.shape==(3,)

def test_predict_text_class():
    learn = learner(loaders(digits(classes=['ka','ki','ku'])))
    with learn.no_bar(): cls,idx,_ = learn.predict(digits().iloc[0])
    assert cls==['ka','ki','ku'][int(idx)]

def test_lr_find_leaves_the_model_as_it_was(in_tmp):
    learn = learner(loaders(digits(600), bs=8), 'fastbook', path=in_tmp)
    was = state(learn.model)
    with learn.no_bar(): r = learn.lr_find(show_plot=False, num_it=20)
    assert same(was, state(learn.model)) and 0<r.valley<10

def test_find_lr_leaves_model_path_and_folder_as_they_were(in_tmp):
    learn = learner(loaders(digits(600), bs=8), 'fastbook', cbs=EMA(.9), path=in_tmp)
    was = state(learn.model)
    with learn.no_bar(): lr = find_lr(learn)
    assert (isinstance(lr, float) and 0<lr<10 and same(was, state(learn.model))
            and learn.path==in_tmp and not list(in_tmp.iterdir()))
    assert len(learn.lr_curve[0])==len(learn.lr_curve[1])>10
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, lr)

def growing():
    "Return a loss that is ten times larger at each call, as if the network knew the first batches best"
    scale = [1.]
    def loss(p, y):
        scale[0] *= 10
        return F.cross_entropy(p, y)*scale[0]
    return loss

@pytest.mark.parametrize('make_loss', [lambda: lambda p, y: p.sum()*float('nan'), growing], ids=['nan','growing'])
def test_find_lr_without_a_curve_is_an_error_in_one_line(make_loss, in_tmp):
    "fastai's `lr_find` indexes an empty tensor in this case"
    learn = learner(loss_func=make_loss(), activation='softmax', path=in_tmp)
    was = state(learn.model)
    with learn.no_bar(), pytest.raises(DigitError, match='within the first 15 steps') as e: find_lr(learn)
    assert '\n' not in str(e.value) and 'learning rate, such as' in str(e.value)
    assert same(was, state(learn.model)) and learn.path==in_tmp and not list(in_tmp.iterdir())

def test_tta_with_augmentation():
    learn = learner(loaders(batch_tfms=[RandAffine(shift=2)]), 'fastbook')
    with learn.no_bar():
        a = learn.tta(n=2)[0]
        assert a.shape==(12,3) and not torch.allclose(a, learn.get_preds()[0], atol=1e-6)

def test_export_has_no_pixels_and_loads(in_tmp):
    big = learner(loaders(digits(3000, side=20), path=in_tmp))   # 1.2 MB of pixels
    big.export('m.pkl')
    assert (in_tmp/'m.pkl').stat().st_size<250_000+sum(p.numel()*4 for p in big.model.parameters())
    other = load_learner(in_tmp/'m.pkl')
    df = digits(9, side=20, seed=3).drop(columns='label')
    with other.no_bar(), big.no_bar():
        assert torch.equal(other.get_preds(dl=other.dls.test_dl(df))[0], big.get_preds(dl=big.dls.test_dl(df))[0])
        assert other.predict(df.iloc[0])[2].shape==(3,)

# ---- from outputs to probabilities

class Smoothed(nn.Module):
    "A loss like timm's LabelSmoothingCrossEntropy"
    def forward(self, x, target):
        logprobs = F.log_softmax(x, dim=-1)
        nll = -logprobs.gather(dim=-1, index=target.unsqueeze(1)).squeeze(1)
        return (.9*nll - .1*logprobs.mean(dim=-1)).mean()
class Soft(nn.Module):
    "A loss like timm's SoftTargetCrossEntropy"
    def forward(self, x, target): return torch.sum(-target*F.log_softmax(x, dim=-1), dim=-1).mean()
class Twice(nn.CrossEntropyLoss):
    def forward(self, x, target): return 2*super().forward(x, target)
def written(pred, targ): return F.cross_entropy(pred, targ.long(), label_smoothing=.2)
def logs(n_out, side): return nn.Sequential(nn.Flatten(), nn.Linear(side*side, n_out), nn.LogSoftmax(1))

LOSSES = dict(plain=nn.CrossEntropyLoss(), function=F.cross_entropy, weighted=nn.CrossEntropyLoss(torch.arange(1., 4.)),
              partial=partial(F.cross_entropy, label_smoothing=.1), timm=Smoothed(), soft=Soft(), subclass=Twice(),
              fastai=LabelSmoothingCrossEntropy(), focal=FocalLoss(), written=written, flat=CrossEntropyLossFlat(),
              base=BaseLoss(nn.CrossEntropyLoss), method=nn.CrossEntropyLoss().forward, nll=nn.NLLLoss(),
              nll_function=F.nll_loss, nll_partial=partial(F.nll_loss, reduction='sum'))

@pytest.mark.parametrize('name', LOSSES)
def test_outputs_become_the_probabilities_of_their_loss(name, tmp_path):
    learn = digit_learner(loaders(), logs if 'nll' in name else 'stride2', loss_func=LOSSES[name])
    with torch.no_grad(): want = learn.model.eval()(learn.dls.valid.one_batch()[0]).softmax(-1).numpy()
    plain = Learner(learn.dls, learn.model, loss_func=LOSSES[name])
    for o in learn,plain:
        assert np.allclose(predict_rows(o), want, atol=1e-5)
        assert np.allclose(predict_rows(o, tta=1).sum(1), 1, atol=1e-5)
    if name=='soft': return # fastai takes its loss of these labels
    with learn.no_bar(), learn.no_logging():
        probs,_,classes = learn.get_preds(with_decoded=True)
        assert np.allclose(probs, want, atol=1e-5) and classes.tolist()==want.argmax(1).tolist()
        assert learn.predict(digits().iloc[0])[1]==predict_rows(learn, digits().iloc[:1]).argmax()
    net = PixelsToProbs(learn)(learn.dls.valid.images).detach().numpy()
    assert np.allclose(net, want, atol=1e-5) and loss_name(LOSSES[name], 3)=='cross_entropy'
    if 'nll' in name: return
    saved = load_net(save_net(learn, tmp_path/'net'))
    assert np.allclose(predict_rows(saved, learn.dls.valid_ds.items), want, atol=1e-5)

UNKNOWN = dict(margin=nn.MultiMarginLoss(), squares=lambda p,t: (p-F.one_hot(t, 3)).pow(2).mean())
@pytest.mark.parametrize('name', UNKNOWN)
@pytest.mark.parametrize('make', [digit_learner, lambda dls,arch,**k: Recipe(arch).learner(dls, **k)],
                         ids=['digit_learner','recipe'])
def test_a_loss_without_an_activation_raises_an_error_before_training(make, name):
    loss,dls = UNKNOWN[name],loaders()
    with pytest.raises(DigitError, match='loss_func: no activation.*Pass activation='):
        make(dls, 'stride2', loss_func=loss)
    for act in 'softmax',nn.Softmax(1),partial(torch.softmax, dim=-1):
        learn = make(dls, 'stride2', loss_func=loss, activation=act)
        with learn.no_bar(): assert np.allclose(learn.get_preds()[0], predict_rows(learn))
        assert np.allclose(predict_rows(learn, tta=1).sum(1), 1, atol=1e-5)
    plain = Learner(dls, learn.model, loss_func=loss)
    with pytest.raises(DigitError, match='Pass activation='): predict_rows(plain)
    assert np.allclose(predict_rows(plain, activation='softmax'), predict_rows(learn), atol=1e-6)

@pytest.mark.parametrize('kw,says', [
    (dict(loss_func=nn.MultiMarginLoss(), activation=torch.sigmoid), 'sum to .*expected 1'),
    (dict(loss_func=nn.MultiMarginLoss(), activation='sigmoid'), "activation is 'sigmoid'.*softmax, exp"),
    (dict(loss_func=nn.NLLLoss()), r'sum to .*LogSoftmax\(1\)'),
    (dict(loss_func=nn.CrossEntropyLoss), r'loss_func: found the class CrossEntropyLoss.*Pass CrossEntropyLoss\(\)'),
    (dict(loss_func=CrossEntropyLossFlat), r'loss_func: found the class CrossEntropyLossFlat, expected'),
    (dict(arch=lambda n,s: nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))), '1,000 outputs.*expects 3')])
def test_what_gives_no_probabilities_raises_an_error_before_training(kw, says):
    with pytest.raises(DigitError, match=says): digit_learner(loaders(), kw.pop('arch', 'stride2'), **kw)

@pytest.mark.parametrize('share', [-.1, 1.5, float('nan')])
def test_the_share_of_steps_with_a_rising_rate_is_one(share):
    "fastai's own asserts it without a text"
    with pytest.raises(DigitError, match='^pct_start: found .*, expected the share of the steps'):
        learner(loaders()).fit_one_cycle(1, .01, pct_start=share)

# ---- seeds

def test_seed_all_makes_equal_runs():
    def run(seed):
        dls = loaders(digits(200), batch_tfms=[RandAffine(shift=1, rotate=9)])
        random.random(); torch.rand(3)
        seed_all(seed, dls)
        learn = learner(dls, 'fastbook')
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, .01)
        return state(learn.model)
    a,b,c = run(1),run(1),run(2)
    assert same(a, b) and not same(a, c)

# ---- RandAffine

class _Fixed:
    "`RandAffine` with six fixed draws: angle, shear, zoom x, zoom y, shift x, shift y in -1..1"
    def __init__(self, mp, *u):
        mp.setattr(torch.Tensor, 'uniform_', lambda s,a=0,b=1: s.copy_(torch.tensor(u)[:,None].expand_as(s)))

def affine(mp, x, u, **kw):
    with mp.context() as m:
        _Fixed(m, *u)
        return RandAffine(**kw).encodes(TensorImageBW(x))

@pytest.mark.parametrize('kw', [dict(rotate=30), dict(zoom=1e-9, shift=2.5), dict(zoom=.3), dict(shear=20),
                                dict(rotate=10, shift=1, zoom=.1, shear=8)], ids='rotate shift zoom shear all'.split())
def test_affine_against_scipy(kw, monkeypatch):
    ndi = pytest.importorskip('scipy.ndimage')
    s = 15
    x = torch.tensor(ndi.gaussian_filter(np.random.default_rng(0).random((4,1,s,s)), (0,0,1,1)), dtype=torch.float32)
    for u in (1,1,1,1,1,1),(-1,.5,-.3,.8,.2,-.7):
        got = affine(monkeypatch, x, u, **kw)
        a,sh,zx,zy,tx,ty = u
        a,sh = np.deg2rad(a*kw.get('rotate',0)),np.tan(np.deg2rad(sh*kw.get('shear',0)))
        # (x,y) of the input for (x,y) of the output about the centre, in pixels: shear, rotate, then the zoom's inverse
        zoom = np.diag([1/(1+o*kw.get('zoom',0)) for o in (zx,zy)])
        turn = np.array([[np.cos(a),-np.sin(a)], [np.sin(a),np.cos(a)]])
        m = zoom @ turn @ np.array([[1,sh],[0,1]])
        m,t = m[::-1,::-1],np.array([ty,tx])*kw.get('shift',0)   # scipy counts (row, column)
        c = np.array([(s-1)/2]*2)
        for i in range(4):
            want = ndi.affine_transform(x[i,0].numpy(), m, c+t-m@c, order=1, mode='grid-constant', cval=0)
            assert np.allclose(got[i,0].numpy(), want, atol=1e-4)

def test_affine_shift_moves_whole_pixels_and_brings_black(monkeypatch):
    x = torch.rand(2,1,9,9)+.1
    got = affine(monkeypatch, x, (0,0,0,0,1,-1), shift=2, zoom=1e-9)
    assert (torch.allclose(got[:,:,2:,:-2], x[:,:,:-2,2:], atol=1e-5) and got[:,:,:2].abs().max()<1e-5
            and got[:,:,:,-2:].abs().max()<1e-5)

def test_affine_zoom_makes_bigger(monkeypatch):
    x = torch.zeros(1,1,21,21)
    x[...,8:13,8:13] = 1
    area = lambda *u: affine(monkeypatch, x, u, zoom=.4).sum().item()
    assert (area(0,0,0,0,0,0)==pytest.approx(25) and area(0,0,1,1,0,0)==pytest.approx(25*1.4**2, rel=.05)
            and area(0,0,1,0,0,0)==pytest.approx(25*1.4, rel=.05))
    assert area(0,0,-1,-1,0,0)==pytest.approx(25*.6**2, rel=.05)

def test_affine_shift_alone_is_every_whole_pixel_window():
    x = TensorImageBW(torch.rand(400,1,6,6)+.1)
    torch.manual_seed(0)
    got,pad = RandAffine(shift=1).encodes(x),F.pad(x.as_subclass(torch.Tensor), (1,1,1,1))
    views = torch.stack([pad[:,:,i:i+6,j:j+6] for i in range(3) for j in range(3)], 1)
    hit = (views==got.as_subclass(torch.Tensor)[:,None]).flatten(2).all(2)
    assert (hit.sum(1)==1).all() and hit.sum(0).min()>20 and isinstance(got, TensorImageBW)

def test_affine_draws_within_bounds_and_by_image():
    x = TensorImageBW(torch.zeros(500,1,11,11))
    x[...,5,5] = 1
    torch.manual_seed(0)
    got = RandAffine(shift=2, zoom=1e-9).encodes(x)
    assert isinstance(got, TensorImageBW) and got.dtype==x.dtype and len({o.tobytes() for o in got.numpy()})>400
    pos = torch.arange(11.)
    cx = ((got.sum((1,2))*pos).sum(1)/got.sum((1,2,3)))-5
    assert -2.01<cx.min()<-1.8 and 1.8<cx.max()<2.01 and abs(cx.mean())<.2
    assert torch.allclose(RandAffine().encodes(x), x, atol=1e-5)

def test_affine_before_normalisation_and_on_training_only():
    dls,plain = loaders(batch_tfms=[RandAffine(shift=3)]),loaders()
    assert torch.equal(dls.valid.one_batch()[0], plain.valid.one_batch()[0])
    assert torch.equal(dls.test_dl(digits()).one_batch()[0], plain.test_dl(digits()).one_batch()[0])
    x = dls.train.one_batch()[0]
    black = -dls.stats[0]/dls.stats[1]
    ours,theirs = (o.train.new(shuffle=False).one_batch()[0] for o in (dls,plain))
    assert x.min().item()>=black-1e-4 and not torch.equal(ours, theirs)
    assert dls.stats==plain.stats

# ---- shifts

def test_shifts():
    x = torch.arange(2*1*5*5.).view(2,1,5,5)
    views = shifts(x, 1)
    assert len(views)==9 and torch.equal(views[0], x) and len({o.numpy().tobytes() for o in views})==9
    assert any(torch.equal(v[...,:-1,:], x[...,1:,:]) and torch.equal(v[...,-1,:], x[...,-1,:]) for v in views)
    assert len(shifts(x, 2))==25 and all(v.shape==x.shape for v in shifts(x, 2)) and len(shifts(x, 0))==1

# ---- EMA

class _ByHand(Callback):
    "The average that `EMA` should have, computed from its definition"
    order = 19
    def __init__(self, decay): self.decay,self.avg,self.raw,self.seen = decay,None,None,[]
    def after_step(self):
        s = {k:v.clone().double() for k,v in self.model.state_dict().items()}
        n = self.n = getattr(self, 'n', -1)+1
        d = min(self.decay, (1+n)/(10+n))
        self.avg = s if self.avg is None else {k:d*v+(1-d)*s[k] for k,v in self.avg.items()}
    def before_train(self): self.raw = state(self.model)
    def after_train(self): self.last = state(self.model)

def _fit(learn, n=2, lr=.05):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, lr)
    return learn

def test_ema_is_the_average_with_batch_norms_statistics():
    hand = _ByHand(.8)
    learn = _fit(learner(loaders(digits(120)), 'fastbook', cbs=[EMA(.8), hand]), 3)
    got = learn.model.state_dict()
    assert any('running_mean' in k for k in got) and any('running_var' in k for k in got)
    for k,v in hand.avg.items():
        if not k.endswith('num_batches_tracked'): assert torch.allclose(got[k].double(), v, atol=1e-5), k
    assert not torch.allclose(got['0.0.weight'], hand.last['0.0.weight'], atol=1e-4)

def test_ema_does_not_change_training_and_validates_with_the_average():
    class Val(Callback):
        def before_batch(self):
            if not self.training: self.learn.seen = state(self.model)
        def after_epoch(self): self.learn.after = state(self.model)
    def run(cbs):
        dls = loaders(digits(120))
        seed_all(3, dls)
        hand = _ByHand(.8)
        return _fit(learner(dls, 'fastbook', cbs=[hand, Val(), *cbs]), 3),hand
    (a,ha),(b,hb) = run([]),run([EMA(.8)])
    assert same(ha.last, hb.last)   # the weights that are trained are the same with and without
    assert same(b.seen, state(b.model)) and not same(a.seen, b.seen)

def test_ema_copies_the_net_alone_in_bf16():
    "With bf16, the network's `forward` refers to the Learner, which may contain a lock that can't be copied"
    learn = learner(loaders(digits(60)), 'fastbook', cbs=[EMA(.8), BF16()])
    learn.lock = threading.RLock()
    _fit(learn)
    assert 'forward' not in vars(learn.ema.avg.module) and 'forward' not in vars(learn.model)

def test_ema_stays_through_predictions_and_validate():
    learn = _fit(learner(loaders(digits(120)), 'fastbook', cbs=EMA(.8)))
    was = state(learn.model)
    learn.get_preds(); learn.validate(); learn.predict(digits().iloc[0])
    assert same(was, state(learn.model))

def test_ema_in_a_second_fit_starts_from_the_average():
    learn = _fit(learner(loaders(digits(120)), 'fastbook', cbs=EMA(.8)))
    was = state(learn.model)
    _fit(learn, 1, 0.)
    assert torch.allclose(was['0.0.weight'], learn.model.state_dict()['0.0.weight'])

# ---- precision

def is_autocast(): return torch.is_autocast_enabled('cpu')

class _Spy(Callback):
    order = 200
    def __init__(self): self.dtypes,self.losses = set(),set()
    def before_fit(self):
        self.h = [m.register_forward_hook(lambda m,i,o: self.dtypes.add(o.dtype))
                  for m in self.model.modules() if isinstance(m, nn.Conv2d)]
    def after_pred(self): self.preds = self.pred.dtype
    def after_loss(self): self.losses.add(self.loss.dtype) if len(self.yb) else None
    def after_fit(self): [o.remove() for o in self.h]

def test_bf16_computes_in_bfloat16_and_gives_float32():
    spy = _Spy()
    learn = _fit(learner(loaders(digits(side=28)), cbs=[BF16(), spy]), 1) # smaller ones have convs that stay in fp32
    assert spy.dtypes=={torch.bfloat16} and spy.preds==torch.float32 and spy.losses=={torch.float32}
    assert {p.dtype for p in learn.model.parameters()}=={torch.float32} and not is_autocast()
    assert learn.get_preds()[0].dtype==torch.float32 and not is_autocast()
    spy2 = _Spy()
    _fit(learner(cbs=[spy2]), 1)
    assert spy2.dtypes=={torch.float32}

def test_bf16_closes_autocast_after_predicting_rows_without_labels():
    learn = learner(cbs=BF16())
    learn.get_preds(dl=learn.dls.test_dl(digits().drop(columns='label')))
    assert not is_autocast()

@pytest.mark.parametrize('where', ['before_batch','model','after_pred','after_loss','after_backward','after_batch'])
@pytest.mark.parametrize('error', [RuntimeError, CancelBatchException, KeyboardInterrupt])
def test_bf16_closes_autocast_whatever_stops_a_batch(where, error):
    class Stop(Callback):
        order = 100
        def __call__(self, e):
            if e==where: raise error
    learn = learner(cbs=[BF16(), Stop()])
    if where=='model':
        def fail(*a): raise error
        learn.model[0].register_forward_hook(fail)
    try:
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    except BaseException: pass   # fastai's Recorder stumbles over some cancelled batches; that is not the matter here
    assert not is_autocast()

def test_bf16_learner_exports(in_tmp):
    learn = _fit(learner(loaders(path=in_tmp), cbs=BF16()), 1)
    learn.export('m.pkl')
    assert load_learner(in_tmp/'m.pkl').predict(digits().iloc[0])[2].shape==(3,)

def test_best_precision(monkeypatch):
    cpu,gpu = torch.device('cpu'),torch.device('cuda')
    assert ([best_precision('auto', cpu), best_precision('fp32', cpu, 'bf16'), best_precision('bf16', cpu),
             best_precision('fp16', gpu)]==['fp32','fp32','bf16','fp16'])
    for cap,want in ((7,5),'fp32'),((8,0),'bf16'),((9,0),'bf16'):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: cap)
        assert best_precision('auto', gpu, 'bf16')==want
    for caps,want in (({},'fp32'), ({'avx512_bf16':True},'bf16'), ({'amx_bf16':True},'bf16'),
                      ({'avx512_bf16':False},'fp32')):
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: caps, raising=False)
        assert best_precision('auto', cpu, 'bf16')==want
    with pytest.raises(DigitError, match='NVIDIA GPU'): best_precision('fp16', cpu)
    with pytest.raises(DigitError, match='fp8'): best_precision('fp8', gpu)

# ---- recipes

def test_recipe_is_frozen_data():
    r = get_recipe('quick')
    with pytest.raises(FrozenInstanceError): r.lr = 1
    assert replace(r, lr=.5).lr==.5 and get_recipe('quick').lr!=.5
    import json
    json.dumps(asdict(r))
    with pytest.raises(DigitError, match='quick'): get_recipe('nope')

@pytest.mark.parametrize('name', recipes)
def test_recipe_names_what_exists(name):
    from digitfast.models.nets import archs
    r = recipes[name]
    assert r.arch in archs and r.opt in opts and r.loss in losses and r.source and 0<r.valid_pct<1

def test_epochs_follow_from_rows():
    r = Recipe(images=1000)
    assert [r.n_epoch(n) for n in (10,100,300,1000,5000)]==[60,10,3,1,1] and replace(r, epochs=7).n_epoch(10)==7

def test_recipe_is_plain_fastai():
    r = Recipe(arch='fastbook', bs=8, valid_pct=.3, epochs=1, affine=dict(shift=1), ema=.9, smooth=.1, wd=.2, lr=.02)
    dls = r.dls(digits(100), device='cpu')
    assert len(dls.valid_ds)==30 and dls.bs==8 and any(isinstance(f, RandAffine) for f in dls.train.after_batch.fs)
    learn = r.learner(dls)
    assert (isinstance(learn, Learner) and learn.precision=='fp32' and learn.wd==.2
            and learn.ema.decay==.9 and learn.model.config['arch']=='fastbook')
    with learn.no_bar(), learn.no_logging(): assert r.fit(learn) is learn
    assert max(learn.recorder.lrs)==pytest.approx(.02, rel=.01) and len(learn.recorder.values)==1
    flat = replace(r, sched='flat')
    learn = flat.learner(dls)
    with learn.no_bar(), learn.no_logging(): flat.fit(learn)
    assert set(learn.recorder.lrs)=={.02}

@pytest.mark.parametrize('opt', opts)
def test_optimisers_learn(opt):
    r = Recipe(arch='fastbook', bs=16, epochs=4, opt=opt, lr=.02)
    dls = r.dls(digits(240), device='cpu')
    seed_all(0, dls)
    learn = r.learner(dls)
    with learn.no_bar(), learn.no_logging(): r.fit(learn)
    assert learn.recorder.values[-1][2]>.6 and learn.opt.hypers[0]['wd']==.01

def test_recipe_lr_auto():
    r = Recipe(arch='fastbook', bs=8, epochs=1, lr='auto')
    learn = r.learner(r.dls(digits(400), device='cpu'))
    with learn.no_bar(), learn.no_logging(): r.fit(learn)
    assert 1e-5<max(learn.recorder.lrs)<1 and len(learn.lr_curve[0])>10

@pytest.mark.parametrize('kw,says',
                         [(dict(opt='nope'),'nope'), (dict(loss='nope'),'nope'),
                          (dict(sched='nope'),'nope'), (dict(split='nope'),'nope'), (dict(arch='nope'),'nope')])
def test_recipe_with_unknown_names_refused(kw, says):
    with pytest.raises(DigitError, match=says):
        r = Recipe(**{**dict(arch='stride2', epochs=1, bs=16), **kw})
        learn = r.learner(r.dls(digits(), device='cpu'))
        with learn.no_bar(), learn.no_logging(): r.fit(learn)

@pytest.mark.cuda
@pytest.mark.parametrize('precision', ['fp32','bf16','fp16'])
def test_gpu_trains_with_data_and_augmentation_there(precision):
    seen = []
    class See(Callback):
        def before_batch(self): seen.append((self.xb[0].device.type, self.yb[0].device.type))
    epochs = 12 if precision=='fp16' else 4 # the loss scaler skips steps until it has found its scale
    r = Recipe(arch='fastbook', bs=16, epochs=epochs, affine=dict(shift=1), ema=.9)
    dls = r.dls(digits(240))
    learn = r.learner(dls, precision=precision, cbs=See())
    with learn.no_bar(), learn.no_logging(): r.fit(learn)
    assert set(seen)=={('cuda','cuda')} and dls.train.images.device.type=='cuda' and learn.recorder.values[-1][2]>.5

# ---- with fastai's own callbacks and losses

class _Seen(Callback):
    "Record the weights at the validation of each epoch"
    order = 70
    def before_fit(self): self.val = []
    def before_batch(self):
        if not self.training: self.now = state(self.model)
    def after_validate(self): self.val.append(self.now)

def test_ema_saves_what_it_measured(in_tmp):
    seen,save = _Seen(),SaveModelCallback(fname='best')
    learn = _fit(learner(loaders(digits(120), path=in_tmp), 'fastbook', cbs=[EMA(.8), seen, save]), 3)
    best = int(np.argmin([o[1] for o in learn.recorder.values]))
    assert same(state(learn.model), seen.val[best])

def test_ema_ends_with_the_average_where_it_stops_early():
    hand,stop = _ByHand(.8),EarlyStoppingCallback(min_delta=99., patience=1)
    learn = _fit(learner(loaders(digits(120)), 'fastbook', cbs=[EMA(.8), hand, stop]), 5)
    assert len(learn.recorder.values)<5
    assert all(torch.allclose(v.double(), hand.avg[k], atol=1e-5) for k,v in learn.model.state_dict().items()
               if 'num_batches' not in k)

@pytest.mark.parametrize('cb', [lambda: SaveModelCallback(), lambda: EarlyStoppingCallback(patience=9)],
                         ids='save early'.split())
def test_valid_every_with_trackers(cb, in_tmp):
    from digitfast.learn.callbacks import ValidEvery
    learn = _fit(learner(loaders(digits(120), path=in_tmp), cbs=[ValidEvery(2), cb()]), 5)
    assert [len(o)>1 for o in learn.recorder.values]==[False,True,False,True,True]
    assert len(learn.validate())==2 and all(o.run for o in learn.cbs)

def test_learner_pickles_and_says_what_it_is():
    learn = _fit(learner(loaders(), cbs=EMA(.9)), 1)
    other = pickle.loads(pickle.dumps(learn))
    assert same(state(learn.model), state(other.model))
    assert (repr(RandAffine(rotate=3))=='RandAffine(rotate=3)' and repr(BF16())=='BF16'
            and repr(learn.metrics[0])=='LossAccuracy(CrossEntropyLossFlat)')
    *head,train,valid = repr(learn).splitlines()
    assert head==[
        f'DigitLearner: stride2, {sum(p.numel() for p in learn.model.parameters()):,} parameters',
        '  loss: CrossEntropyLossFlat', '  optimiser: Adam', '  metrics: accuracy',
        '  callbacks: TrainEvalCallback, Recorder, CastToTensor, EMA(0.9)',
        '  data: DigitDataLoaders: images of 8x8, 3 classes'] and 'train: DigitDL' in train and 'valid' in valid
    assert 'optimiser: AdamW' in repr(learner(learn.dls, opt_func=opts['adamw'], metrics=[accuracy, error_rate]))

def test_loss_and_outputs_come_from_the_data():
    from fastai.vision.all import (DataBlock, RegressionBlock, ColReader, RandomSplitter, MultiCategoryBlock)
    from digitfast.data.block import DigitBlock
    df = digits()
    cols = list(df.columns[1:])
    df['y'],df['w'] = df.label/2, df.label.map(lambda o: f'a b{o}')
    words = MultiCategoryBlock(vocab=['a','b0','b1','b2'])
    for block,col,n in ((RegressionBlock(n_out=1),ColReader('y'),1), (words,ColReader('w', label_delim=' '),4)):
        dls = DataBlock((DigitBlock(cols), block), get_y=col,
                        splitter=RandomSplitter(seed=1)).dataloaders(df, bs=16, device='cpu')
        learn = _fit(learner(dls), 1)
        assert learn.model(dls.one_batch()[0]).shape[1]==n and type(learn.loss_func) is not CrossEntropyLossFlat

def test_tta_under_bf16_predicts_in_float32():
    spy = _Spy()
    learn = learner(cbs=[BF16(), spy])
    with learn.no_bar(): learn.tta(n=1)
    assert spy.dtypes=={torch.float32}

def test_tta_takes_batch_tfms():
    learn = learner(loaders())
    with learn.no_bar(): a = learn.tta(n=2, batch_tfms=[IntToFloatTensor()])[0]
    assert a.shape==(12,3)
