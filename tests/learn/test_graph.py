"""Tests of a training step as one graph: replays do the same as the steps, and steps that can't be replayed stay eager.
A CPU has no graphs, so `graph_double.capture` replaces them: it records the operations of a step and replays them."""
import copy, random, warnings
from importlib import import_module
from pkgutil import walk_packages
from dataclasses import replace
from functools import partial
import pytest, torch
from fastai.vision.all import (Adam, Callback, GradientClip, MixedPrecision, MixUp, OptimWrapper, RandomErasing,
                               SaveModelCallback, Transform, nn)
import digitfast
from digitfast.learn import graph
from digitfast.learn.learner import DigitLearner
from digitfast.learn.graph import StepGraph, graph_problem
from digitfast.learn.callbacks import EMA, opts
from digitfast.learn.learner import digit_learner, seed_all
from digitfast.learn.recipe import recipes
from digitfast.runs.run import read_metrics
from conftest import digits
from graph_double import capture

SMALL = dict(epochs=2, bs=32)
warmup = StepGraph.warmup

@pytest.fixture
def doubled(monkeypatch):
    "Let CPUs capture with the double"
    monkeypatch.setitem(graph.captures, 'cpu', capture)

def small(df, **kwargs):
    "Return a Learner for images of 8x8, with AdamW, that requests a graph"
    dls = recipes['quick'].dls(df, device='cpu', bs=16)
    seed_all(1, dls)
    return digit_learner(dls, 'stride2', **{'opt_func':opts['adamw'], 'graph':True, **kwargs})

class Keep(Callback):
    "Record the schedules and averages"
    graph_safe,order = True,70
    def before_fit(self): self.hypers = []
    def after_batch(self):
        if self.training: self.hypers.append([(h['lr'], h['mom'], h['wd']) for h in self.opt.hypers])

def learner(recipe, df, graph=True, cbs=None, **kwargs):
    "Return a seeded Learner of a recipe"
    dls = recipe.dls(df, device='cpu', **kwargs)
    seed_all(3, dls)
    return recipe.learner(dls, precision='fp32', graph=graph, cbs=[Keep(), *(cbs or [])])

def fit(recipe, learn, **kwargs):
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn, **kwargs)
    return learn

def weights(learn): return torch.cat([o.detach().flatten().double() for o in learn.model.state_dict().values()])

def same(a, b):
    "Check that two fits are equal to the bit: weights, losses, schedules and records"
    assert torch.equal(weights(a), weights(b))
    assert [float(o) for o in a.recorder.losses]==[float(o) for o in b.recorder.losses]
    assert a.recorder.lrs==b.recorder.lrs and a.keep.hypers==b.keep.hypers
    assert a.recorder.values==b.recorder.values and a.recorder.iters==b.recorder.iters
    assert float(a.recorder.smooth_loss.value)==float(b.recorder.smooth_loss.value)==float(a.smooth_loss)

@pytest.fixture
def uncaptured(monkeypatch):
    "Run each step as for a graph, but never capture it"
    def _do(f):
        with monkeypatch.context() as m:
            m.setattr(StepGraph, 'warmup', 10**6)
            return f()
    return _do

@pytest.mark.parametrize('recipe,n', [('quick', 200), ('single', 220)])
def test_replays_are_the_steps(recipe, n, data, doubled, uncaptured):
    "Replays of a recipe with augmentation, dropout, averages and 1cycle are equal to single steps, to the bit"
    r,df = replace(recipes[recipe], **SMALL),data.train.iloc[:n]
    a = fit(r, learner(r, df))
    b = uncaptured(lambda: fit(r, learner(r, df)))
    same(a, b)
    steps = 2*len(a.dls.train)
    assert a.graphed and a.graph_steps==(steps-warmup, steps) and not b.graphed
    assert all(len({h[0][i] for h in a.keep.hypers})>5 for i in (0,1)) # lr and mom were scheduled

@pytest.mark.parametrize('recipe,n,most', [('quick', 200, 1e-5), ('single', 220, 5e-3)])
def test_as_without_a_graph(recipe, n, most, data, doubled):
    "The result equals that of torch's fused AdamW and fastai's recorder, except for rounding"
    r,df = replace(recipes[recipe], **SMALL),data.train.iloc[:n]
    a,b = (fit(r, learner(r, df, graph=g)) for g in (True,False))
    assert a.graphed and not b.graphed and a.recorder.lrs==b.recorder.lrs and a.recorder.iters==b.recorder.iters
    for o,p in zip(a.recorder.losses, b.recorder.losses): assert abs(float(o)-float(p))<most
    for k in ('step','exp_avg','exp_avg_sq'):
        x,y = ([s[k] for s in o.opt.opt.state.values()] for o in (a,b))
        assert len(x)==len(y) and all(o.shape==p.shape and o.dtype==p.dtype for o,p in zip(x, y))
    assert a.opt.hypers==b.opt.hypers

def test_averages(data, doubled, uncaptured):
    "The moving average equals torch's, except for rounding, and the Learner ends with it"
    r = replace(recipes['quick'], ema=.9, **SMALL)
    ema = []
    class Look(Callback):
        graph_safe,order = True,19
        def after_fit(self): ema.append((copy.deepcopy(self.learn.ema.avg.state_dict()), weights(self.learn)))
    a,b,c = (f() for f in (lambda: fit(r, learner(r, data.train[:200], cbs=[Look()])),
                           lambda: uncaptured(lambda: fit(r, learner(r, data.train[:200], cbs=[Look()]))),
                           lambda: fit(r, learner(r, data.train[:200], graph=False, cbs=[Look()]))))
    same(a, b)
    (x,_),(_,_),(z,_) = ema
    assert x.keys()==z.keys() and int(x['n_averaged'])==int(z['n_averaged'])==2*len(a.dls.train)
    assert all(torch.allclose(x[k].float(), z[k].float(), atol=1e-4) for k in x if 'num_batches' not in k)

def test_short_batches(data, doubled, uncaptured):
    "The last batch of an epoch is shorter, and runs without the graph"
    r = replace(recipes['quick'], epochs=3, bs=32)
    def go():
        learn = learner(r, data.train[:150])
        learn.dls.train = learn.dls.train.new(drop_last=False)
        return fit(r, learn)
    a,b = go(),uncaptured(go)
    same(a, b)
    n = len(a.dls.train)
    assert len(a.dls.train_ds)%32 and a.graph_steps==(3*(n-1)-warmup, 3*n)

@pytest.mark.parametrize('lr', [slice(1e-4,1e-2), 1e-2])
def test_groups_and_freezing(lr, data, doubled, uncaptured):
    "Check frozen groups, different rates for groups, and a second fit after unfreezing"
    def go():
        dls = recipes['quick'].dls(data.train[:200], device='cpu', bs=32)
        seed_all(1, dls)
        halves = lambda m: [list(m[:4].parameters()), list(m[4:].parameters())]
        learn = digit_learner(dls, opt_func=opts['adamw'], splitter=halves, graph=True, cbs=Keep())
        convs = lambda: [p for p in learn.model[:4].parameters() if p.ndim==4] # batch norm is trained frozen too
        before = [p.detach().clone() for p in convs()]
        with learn.no_bar(), learn.no_logging():
            learn.freeze()
            learn.fit_one_cycle(1, lr)
            assert all(torch.equal(p, q) for p,q in zip(before, convs()))
            learn.unfreeze()
            learn.fit_one_cycle(2, lr)
        assert not any(torch.equal(p, q) for p,q in zip(before, convs()))
        return learn
    a,b = go(),uncaptured(go)
    same(a, b)
    assert a.graph_steps==(2*len(a.dls.train)-warmup, 2*len(a.dls.train))

def test_loaded_in_the_middle(data, doubled, uncaptured, tmp_path):
    "Training continues with weights and an optimiser's state that were loaded between two epochs"
    class Back(Callback):
        graph_safe = True
        def before_epoch(self):
            if self.epoch==1: self.learn.save('one', with_opt=True)
            if self.epoch==2: self.learn.load('one', with_opt=True)
    r = replace(recipes['quick'], epochs=4, bs=32)
    def go(): return fit(r, learner(r, data.train[:200], cbs=[Back()], path=tmp_path))
    a,b = go(),uncaptured(go)
    same(a, b)
    assert a.graph_steps[0]>2*len(a.dls.train)

def test_swapped_weights(data, doubled, uncaptured):
    "If another tensor replaces a weight between two epochs, training changes the new tensor"
    class Swap(Callback):
        graph_safe = True
        def before_epoch(self):
            if self.epoch==1:
                for p in self.model.parameters(): p.data = p.data.clone()
    r = replace(recipes['quick'], epochs=3, bs=32)
    def go(): return fit(r, learner(r, data.train[:200], cbs=[Swap()]))
    same(go(), uncaptured(go))

def test_counted_again(data, doubled, uncaptured):
    "If a callback sets the optimiser's count of steps between two epochs, the optimiser continues from this count"
    class Restart(Callback):
        graph_safe = True
        def before_epoch(self):
            if self.epoch==1:
                for s in self.opt.opt.state.values(): s['step'].zero_()
    r = replace(recipes['quick'], epochs=3, bs=32)
    def go(cbs=()): return fit(r, learner(r, data.train[:200], cbs=cbs))
    a = go([Restart()])
    same(a, uncaptured(lambda: go([Restart()])))
    assert not torch.equal(weights(a), weights(go()))

def test_counts_that_change_sides(data, doubled, uncaptured):
    "The two halves of the parameters have other counts than before, but the number of different counts is the same"
    class Shift(Callback):
        graph_safe = True
        def before_epoch(self):
            if not self.epoch: return
            steps = [s['step'] for s in self.opt.opt.state.values()]
            for i,s in enumerate(steps): s.fill_(3. if i<len(steps)*self.epoch//3 else 9.)
    r = replace(recipes['quick'], epochs=3, bs=32)
    def go(): return fit(r, learner(r, data.train[:200], cbs=[Shift()]))
    same(go(), uncaptured(go))

def test_callbacks_are_called_as_ever(doubled):
    "A callback with its own methods in an object, or with its own `__call__`, is called at each batch, too"
    seen = []
    class Hears(Callback):
        graph_safe,order = True,80
        def __call__(self, event_name):
            if event_name=='before_batch' and self.training: seen.append('called')
            super().__call__(event_name)
    class Bare(Callback): graph_safe = True
    cb = Bare()
    cb.after_batch = lambda: seen.append('own') if cb.training else None
    learn = small(digits(100), cbs=[Hears(), cb])
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    n = len(learn.dls.train)
    assert learn.graphed and seen.count('called')==seen.count('own')==n

def test_resume(data, doubled, tmp_path):
    "An interrupted and resumed fit ends like one without an interruption"
    from digitfast.runs.checkpoint import RunLog
    class Stop(Exception): pass
    def stop(i, n):
        if i>n*.6: raise Stop("here")
    r = replace(recipes['quick'], ema=.9, epochs=4, bs=32)
    info = dict(data=dict(sha256='0'), recipe={}, path='x', threads=1)
    whole = fit(r, learner(r, data.train[:200]), cbs=RunLog(tmp_path/'a', info))
    with pytest.raises(Stop): fit(r, learner(r, data.train[:200]), cbs=RunLog(tmp_path/'b', info, tick=stop))
    again = learner(r, data.train[:200])
    seed_all(99, again.dls)
    fit(r, again, cbs=(log := RunLog(tmp_path/'b', info)))
    assert log.error is None
    assert again.graphed and again.recorder.values[-1]==whole.recorder.values[-1]
    assert torch.equal(weights(whole), weights(again))

class Lying(nn.Module):
    "A module that copies a number back from the device"
    graph_safe = True
    def forward(self, x): return x*(1 if x.sum().item()>-1e9 else 2)

class Random(nn.Module):
    def forward(self, x): return x*random.random()

class Invert(Transform):
    def encodes(self, x): return x

def adam(cls, **kwargs): return partial(OptimWrapper, opt=partial(cls, **kwargs))

@pytest.mark.parametrize('what,says', [
    (dict(cbs=MixUp()), 'callback MixUp'),
    (dict(cbs=type('Other', (EMA,), {})()), 'callback Other'),
    (dict(tfm=Invert()), 'transform Invert'),
    (dict(tfm=RandomErasing()), 'transform RandomErasing'),
    (dict(loss_func=lambda p,t: nn.functional.cross_entropy(p, t)), 'loss <lambda>'),
    (dict(loss_func=type('Loss', (nn.CrossEntropyLoss,), {})()), 'loss Loss'),
    (dict(opt_func=Adam), "optimiser Optimizer isn't AdamW"),
    (dict(opt_func=opts['sgd']), "optimiser SGD isn't AdamW"),
    (dict(opt_func=adam(torch.optim.AdamW, fused=True, amsgrad=True)), 'amsgrad'),
    (dict(opt_func=adam(torch.optim.AdamW)), 'fused=True'),
    (dict(module=Random()), 'module Random'),
    (dict(hook=lambda m: m[0].register_forward_hook(lambda *a: None)), 'hook is on the module'),
    (dict(hook=lambda m: next(m.parameters()).register_hook(lambda g: g)), 'hook is on a parameter'),
    (dict(hook=lambda m: vars(m[0]).update(forward=m[0].forward)), 'forward replaced'),
    (dict(dl=type('DL', (graph.DigitDL,), {})), 'DataLoader DL'),
], ids=lambda o: o if isinstance(o, str) else '')
def test_what_stays_eager(what, says, doubled):
    "Each obstacle to a graph makes the fit eager. One warning names it, and the result is the same"
    def go(graph):
        kwargs = {k:copy.deepcopy(v) for k,v in what.items() if k in ('loss_func','opt_func','cbs')}
        learn = small(digits(80), metrics=[], graph=graph, **kwargs)
        if 'tfm' in what: learn.dls.train.after_batch.add(what['tfm'])
        if 'dl' in what: learn.dls.train = learn.dls.train.new(cls=what['dl'])
        if 'module' in what: learn.model.append(what['module'])
        if 'hook' in what: what['hook'](learn.model)
        random.seed(0)
        with warnings.catch_warnings(record=True) as w, learn.no_bar(), learn.no_logging():
            warnings.simplefilter('always')
            for _ in range(2): learn.fit(1, 1e-3)
        return learn, [str(o.message) for o in w if 'as a graph' in str(o.message)]
    (a,logged),(b,none) = go(True),go(False)
    assert len(logged)==1 and says in logged[0] and not a.graphed and not none
    assert torch.equal(weights(a), weights(b))

def test_fp16_is_eager():
    "The loss scaler of mixed precision copies a number from the device at each step"
    learn = small(digits(80), cbs=MixedPrecision())
    learn.create_opt()
    assert "fp16's loss scaler" in graph_problem(learn)

def test_a_capture_that_fails(doubled):
    "A network that wrongly claims to be safe is trained step by step"
    learn = small(digits(160))
    learn.model.append(Lying())
    with learn.no_bar(), learn.no_logging(), pytest.warns(UserWarning, match="be captured: a number is read back"):
        learn.fit(2, 1e-2)
    n = 2*len(learn.dls.train)
    assert not learn.graphed and learn.graph_steps==(0,n) and len(learn.recorder.losses)==n

@pytest.mark.parametrize('recipe', ['quick','single','ensemble'])
def test_the_command_has_a_graph(recipe, doubled, tmp_path):
    """With everything that `train` adds to a recipe, the steps are still a graph, without a warning, and the run
    records it"""
    from digitfast.tasks.train import train
    lines = []
    few = dict(members=2) if recipe=='ensemble' else {}
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        run = train(digits(150), recipe, out=tmp_path/'run', epochs=2, bs=16, valid_pct=.2, arch='stride2',
                    arch_kwargs={}, **few, **(dict(vary=()) if few else {}), say=lines.append)
    assert not [o for o in lines if 'one by one' in o]
    nets = [run.path/'members'/f'{k}' for k in range(2)] if few else [run.path]
    assert [read_metrics(o)['graph'] for o in nets]==[True]*len(nets)

def test_the_list_names_what_there_is():
    "Each name in the list exists, and the list has all callbacks of this package except that for shifts"
    for name,ks in graph._safe.items():
        for k in ks.split(): assert getattr(import_module(name), k).__module__==name, (name, k)
    ours = [k for o in walk_packages(digitfast.__path__, 'digitfast.') for k in vars(import_module(o.name)).values()
            if isinstance(k, type) and issubclass(k, Callback) and k.__module__==o.name]
    assert {o.__name__ for o in ours if not graph.is_graph_safe(o)}=={'ShiftTTA'}

def test_lr_find(doubled, tmp_path):
    "`lr_find` runs without a graph and without a warning, and the next fit is captured"
    learn = small(digits(400), path=tmp_path)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        learn.lr_find(num_it=20, show_plot=False)
        assert not learn.graphed
        learn.fit_one_cycle(2, 1e-2)
    assert learn.graphed

def test_interrupted(doubled):
    "After an interrupted fit, the Learner can be trained, shows its losses and predicts"
    class Stop(Exception): pass
    class Ends(Callback):
        graph_safe = True
        def after_batch(self):
            if self.training and self.iter==5: raise Stop("here")
    learn = small(digits(200))
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(Stop): learn.fit(1, cbs=Ends())
        assert learn.step_graph is None and learn.graphed and len(learn.recorder.losses)==5
        assert all(isinstance(o, torch.Tensor) and o>0 for o in learn.recorder.losses)
        learn.fit(1)
        assert learn.graphed and learn.get_preds()[0].isfinite().all()
    copy.deepcopy(learn.model)

def test_losses_wait_for_nobody(doubled, monkeypatch):
    "The losses of an epoch are read at its end, and earlier only if a progress bar shows them"
    reads,read = [],graph.DeviceSmoothLoss.read
    monkeypatch.setattr(graph.DeviceSmoothLoss, 'read', lambda self: (reads.append(self.n), read(self)))
    monkeypatch.setattr(graph.time, 'monotonic', lambda: 1.)
    learn = small(digits(200))
    with learn.no_bar(), learn.no_logging(): learn.fit(2)
    n = len(learn.dls.train)
    assert reads==[1,n,1,n]

def test_callbacks_of_fastai(doubled, uncaptured, data, tmp_path):
    "Gradients are clipped within the graph, and the best epoch is saved and loaded"
    r = replace(recipes['quick'], epochs=3, bs=32)
    def go():
        cbs = [GradientClip(.1), SaveModelCallback('accuracy')]
        return fit(r, learner(r, data.train[:200], cbs=cbs, path=tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        a,b,c = go(),uncaptured(go),fit(r, learner(r, data.train[:200]))
    same(a, b)
    assert a.graphed and not torch.equal(weights(a), weights(c))

def test_cpu_is_as_it_was(data, monkeypatch):
    "On a device without a capture, the fit is fastai's, and nothing is logged"
    r = replace(recipes['quick'], epochs=1, bs=32)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        a,b = (fit(r, learner(r, data.train[:150], graph=g)) for g in (True,False))
    assert not a.graphed and torch.equal(weights(a), weights(b)) and isinstance(a, DigitLearner)

@pytest.mark.cuda
@pytest.mark.parametrize('recipe', ['quick','single'])
def test_on_a_gpu(recipe, data):
    "All steps except the first ones are replayed, and the fit ends as without the graph, except for rounding"
    r = replace(recipes[recipe], epochs=3, affine={})
    def go(graph):
        dls = r.dls(data.train, device='cuda')
        seed_all(3, dls)
        return fit(r, r.learner(dls, precision='fp32', graph=graph))
    a,b = go(True),go(False)
    steps = 3*len(a.dls.train)
    assert a.graph_steps==(steps-warmup, steps) and not b.graphed
    assert abs(float(a.recorder.losses[0])-float(b.recorder.losses[0]))<1e-4 # dropout may draw other numbers
    assert a.recorder.lrs==b.recorder.lrs and abs(a.recorder.values[-1][2]-b.recorder.values[-1][2])<.05

@pytest.mark.cuda
def test_no_randomness_is_frozen_on_a_gpu(data):
    "Replays draw new random numbers: dropout and augmentation of equal rows differ between steps"
    r = replace(recipes['quick'], affine=dict(shift=2), bs=64)
    dls = r.dls(data.train[:100], device='cuda')
    seen = []
    class Look(Callback):
        graph_safe,order = True,70
        def after_batch(self):
            if self.training: seen.append(self.learn.xb[0].clone())
    dls.train.get_idxs = lambda: torch.arange(64)
    learn = r.learner(dls, graph=True, cbs=Look())
    with learn.no_bar(), learn.no_logging(): learn.fit(12, 0.)
    assert learn.graphed and not any(torch.equal(a, b) for a,b in zip(seen[warmup:], seen[warmup+1:]))
