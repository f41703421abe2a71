"""Features of fastai, one row each: fits, callbacks, optimisers, losses, metrics, predictions, interpretation, loading

If a release of fastai breaks one, a test fails, and also if a callback has no row.

The rows are on small images that any net learns; digitfast's own callbacks are tested in test_learner.py."""
import contextlib, io, re
from functools import partial
from pathlib import Path
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
import torch.nn.functional as F
from torch import nn
import fastai.vision.all as V
from fastai.vision.all import (
    Adam, BnFreeze, CSVLogger, Callback, CategoryBlock, ChannelsLast, ClassificationInterpretation, CollectDataCallback,
    ColReader, ColSplitter, CrossEntropyLossFlat, CutMix, DataBlock, EarlyStoppingCallback, FetchPredsCallback,
    FocalLoss, FocalLossFlat, GradientAccumulation, GradientClip, Interpretation, L1LossFlat, Learner,
    Lookahead, MCDropoutCallback, MixUp, MultiCategoryBlock, Normalize, OptimWrapper, ParamScheduler, RandomSplitter,
    ReduceLROnPlateau, RegressionBlock, SaveModelCallback, SchedCos, ShortEpochCallback, ShowGraphCallback,
    TensorImageBW, TerminateOnNaNCallback, aug_transforms, hook_outputs, load_learner, noop, params, vision_learner)
from fastai.callback.hook import ActivationStats
from digitfast.data.block import DigitBlock, NormalizePixels
from digitfast.learn.loss import ValueLoss
from conftest import digits, learner, loaders

# ---- helpers

class Steps(Callback):
    "Record the steps of the optimiser, and the labels of the batches"
    def before_fit(self): self.n,self.seen = 0,[]
    def before_batch(self):
        if self.training and len(self.yb): self.seen.append(self.yb[0])
    def after_step(self): self.n += 1

def fit(how=lambda l: l.fit(2, .01), n=2, dls=None, **kw):
    "Check a Learner after `how`: its weights changed, and it has finite numbers for `n` epochs"
    learn = learner(dls, **kw)
    learn.was = {k:v.clone() for k,v in learn.model.state_dict().items()}
    with quiet(learn): how(learn)
    values = learn.recorder.values
    assert moved(learn)>0 and len(values)==n and all(np.isfinite(o).all() for o in values)
    return learn

@contextlib.contextmanager
def quiet(learn):
    with learn.no_bar(), learn.no_logging(), contextlib.redirect_stdout(io.StringIO()): yield learn

def moved(learn):
    "Return how far the weights have moved"
    return sum((p-learn.was[k]).detach().pow(2).sum().item() for k,p in learn.model.named_parameters())**.5

def block(second, get_y, df, **kw):
    "Return DataLoaders of images and `second`, without the factory"
    cols = [c for c in df.columns if c.startswith('pixel')]
    kw = {**dict(splitter=RandomSplitter(seed=1)), **kw}
    return DataBlock((DigitBlock(cols), second), get_y=get_y, **kw)

def numbers():
    df = digits().assign(y=lambda d: d.label/2.)
    return block(RegressionBlock(n_out=1), ColReader('y'), df).dataloaders(df, bs=16, device='cpu')

def several():
    df = digits().assign(w=lambda d: d.label.map(lambda o: f'a b{o}'))
    many = MultiCategoryBlock(vocab=['a','b0','b1','b2'])
    return block(many, ColReader('w', label_delim=' '), df).dataloaders(df, bs=16, device='cpu')

def datasets(n=60, n_class=3):
    df = digits(n, n_class=n_class)
    return block(CategoryBlock(vocab=[0,1,2], sort=False), ColReader('label'), df).datasets(df)

def loose(n_out, side): return nn.Sequential(nn.Flatten(), nn.Dropout(.5), nn.Linear(side*side, n_out))
def nan_loss(p, t): return (p*float('nan')).sum()
def last_apart(model): return [params(model)[:-2], params(model)[-2:]]

# ---- the rows; each is true, or raises

FITS = dict(
    fit=lambda: fit(lambda l: l.fit(2, .01)),
    one_cycle=lambda: fit(lambda l: l.fit_one_cycle(2, .01)),
    flat_cos=lambda: fit(lambda l: l.fit_flat_cos(2, .01)),
    sgdr=lambda: fit(lambda l: l.fit_sgdr(2, 1, .01), 3),
    fine_tune=lambda: fit(lambda l: l.fine_tune(2, .01)),
    resumed=lambda: fit(lambda l: l.fit(3, .01, start_epoch=1), 3).epoch==2,
    frozen=lambda: (l:=fit(lambda l: (l.freeze(), l.fit(1, .01)), 1, splitter=last_apart)) and
        torch.equal(first(l), next(iter(l.was.values()))),
    unfrozen=lambda: (l:=fit(lambda l: (l.freeze(), l.unfreeze(), l.fit(1, slice(.001,.01))), 1,
                             splitter=last_apart)) and [o['lr'] for o in l.opt.hypers]==[.001,.01],
    lr_find=lambda: all(0<o<100 for o in found_lr()),
    twice=lambda: fit(lambda l: (l.fit(1, .01), l.fit(2, .01))),
    saved=lambda: (l:=fit()) and l.save('m') and torch.equal(first(learner().load('m')), first(l)),
    exported=lambda: (l:=fit()) and (l.export('m.pkl'), torch.equal(first(load_learner('m.pkl')), first(l)))[1],
    plain_learner=lambda: (l:=Learner(loaders(), nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))) and quiet_fit(l),
    new_data=lambda: (l:=fit()) and (setattr(l, 'dls', loaders(digits(90))), quiet_fit(l))[1],
    augmented=lambda: fit(dls=loaders(batch_tfms=aug_transforms(do_flip=False, max_lighting=.1))),
    values=lambda: explained(fit(arch='mlp-30-value', loss_func=ValueLoss(3))).confusion_matrix().sum()==12,
    summary=lambda: 'Total params' in learner().summary(),
    training_loop=lambda: logged(lambda: learner().show_training_loop(), 'after_pred'))

def first(learn): return next(iter(learn.model.parameters()))
def quiet_fit(learn):
    with quiet(learn): learn.fit(1, .01)
    return len(learn.recorder.values)==1
def logged(f, what):
    with contextlib.redirect_stdout(io.StringIO()) as out: f()
    return what in out.getvalue()
def found_lr():
    learn = learner(loaders(digits(600), bs=8), 'fastbook')
    with quiet(learn):
        return learn.lr_find(show_plot=True, num_it=40, suggest_funcs=(V.valley, V.slide, V.minimum, V.steep))

CALLBACKS = dict(
    early=lambda: fit(lambda l: l.fit(5, .01), cbs=EarlyStoppingCallback(min_delta=99., patience=1)),
    save=lambda: fit(cbs=SaveModelCallback(every_epoch=True, with_opt=True)) and Path('models/model_1.pth').exists(),
    plateau=lambda: fit(lambda l: l.fit(3, .01), 3, cbs=ReduceLROnPlateau(min_delta=99.)).opt.hypers[-1]['lr']<.01,
    nan=lambda: (l:=learner(cbs=TerminateOnNaNCallback(), loss_func=nan_loss)) and not quiet_fit(l),
    short=lambda: fit(cbs=[ShortEpochCallback(.3, short_valid=False), Steps()]).steps.n==4,
    accumulate=lambda: fit(cbs=[GradientAccumulation(32), Steps()]).steps.n==2*3//2,
    clip=lambda: moved(fit(lambda l: l.fit(1, 1., wd=0), 1, opt_func=V.SGD, cbs=GradientClip(.01)))<=3*.0101,
    bn_freeze=lambda: (l:=fit(lambda l: (l.freeze(), l.fit(1, .01)), 1, arch='fastbook', splitter=last_apart,
                              train_bn=False, cbs=BnFreeze())) and all(
        torch.equal(v, l.was[k]) for k,v in l.model.state_dict().items() if 'running' in k and k[0]!='4'),
    mixup=lambda: fit(cbs=MixUp()),
    cutmix=lambda: fit(cbs=CutMix()),
    csv=lambda: fit(cbs=CSVLogger()) and list(pd.read_csv('history.csv').epoch)==[0,1],
    graph=lambda: logged(lambda: learner(cbs=ShowGraphCallback(), bar=True).fit(2, .01), 'train_loss'),
    progress=lambda: logged(lambda: learner(bar=True).fit(2, .01), 'train_loss'),
    channels_last=lambda: fit(cbs=ChannelsLast()),
    fp16=lambda: fit(lambda l: l.to_fp16().fit(2, .01)),
    bf16=lambda: fit(lambda l: l.to_bf16().fit(2, .01)),
    fp32=lambda: fit(lambda l: l.to_fp16().to_fp32().fit(2, .01)),
    activations=lambda: len(fit(cbs=ActivationStats(with_hist=True)).activation_stats.layer_stats(0))==3,
    collected=lambda: len(fit(cbs=CollectDataCallback()).collect_data.data)==2*(3+1),
    scheduled=lambda: fit(cbs=ParamScheduler(dict(lr=SchedCos(.01, .001)))).recorder.lrs[-1]<.002,
    fetched=lambda: fit(cbs=FetchPredsCallback()).fetch_preds.preds[0].shape==(12,3),
    hooked=lambda: (l:=fit()) and hooked(l),
    dropout=lambda: (l:=fit(arch=loose)) and not torch.equal(*(preds(l, cbs=MCDropoutCallback()) for _ in '12')),
    tensorboard=lambda: events())

def hooked(l):
    with hook_outputs(list(l.model[:2]), detach=True) as h: l.model(l.dls.one_batch()[0])
    return [len(o) for o in h.stored]==[16,16]
def preds(l, **kw):
    with quiet(l): return l.get_preds(**kw)[0]
def events():
    "Return the names that TensorBoard received"
    pytest.importorskip('tensorboard', reason='tensorboard is not installed')
    from fastai.callback.tensorboard import TensorBoardCallback
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    fit(cbs=TensorBoardCallback('board'))
    ea = EventAccumulator('board').Reload()
    return {'train_loss','valid_loss','accuracy','lr_0'}<=set(ea.Tags()['scalars']) and len(ea.Scalars('accuracy'))==2

# Callbacks that no row has, and why.
NOT_HERE = dict(
    needs_a_service='CometCallback WandbCallback AzureMLCallback'.split(),
    needs_a_gpu='MixedPrecision NonNativeMixedPrecision ModelToHalf ParallelTrainer'.split(), # to_fp16 is a row
    other_data='ModelResetter RNNCallback RNNRegularizer GANTrainer FixedGANSwitcher AdaptiveGANSwitcher'.split()
        +['GANDiscriminativeLR'],
    base='Callback TrackerCallback HookCallback MixHandler TensorBoardBaseCallback'.split(),
    in_all_rows='TrainEvalCallback Recorder ProgressCallback CastToTensor SkipToEpoch GatherPredsCallback LRFinder'
        .split(),
    two_processes='DistributedTrainer'.split(), projects_embeddings='TensorBoardProjectorCallback'.split())

OPTIMISERS = dict(
    adam=Adam, sgd=partial(V.SGD, mom=.9), rms=V.RMSProp, radam=V.RAdam, qhadam=V.QHAdam, larc=V.Larc, lamb=V.Lamb,
    ranger=V.ranger, lookahead=lambda *a,**k: Lookahead(Adam(*a, **k)),
    torch=partial(OptimWrapper, opt=torch.optim.NAdam))

LOSSES = dict(
    flat=(CrossEntropyLossFlat, loaders), smooth=(lambda: CrossEntropyLossFlat(label_smoothing=.1), loaders),
    weighted=(lambda: CrossEntropyLossFlat(weight=torch.tensor([1.,2.,3.])), loaders),
    smoothing=(V.LabelSmoothingCrossEntropy, loaders), smoothing_flat=(V.LabelSmoothingCrossEntropyFlat, loaders),
    focal=(FocalLoss, loaders), focal_flat=(FocalLossFlat, loaders), module=(nn.CrossEntropyLoss, loaders),
    function=(lambda: F.cross_entropy, loaders), none=(lambda: None, loaders), number=(lambda: None, numbers),
    mse=(V.MSELossFlat, numbers), l1=(L1LossFlat, numbers), several=(lambda: None, several),
    bce=(V.BCEWithLogitsLossFlat, several))

CLASS_METRICS = [V.accuracy, V.error_rate, partial(V.top_k_accuracy, k=2), V.BalancedAccuracy(), V.CohenKappa(),
                 V.F1Score(average='macro'), V.FBeta(.5, average='macro'), V.HammingLoss(), V.Jaccard(average='macro'),
                 V.Precision(average='macro'), V.Recall(average='macro'), V.RocAuc(), V.MatthewsCorrCoef(),
                 V.Perplexity()]
METRICS = dict(
    classes=lambda: len(fit(dls=loaders(digits(150)), metrics=CLASS_METRICS).recorder.values[-1])==2+14,
    numbers=lambda: len(fit(dls=numbers(), metrics=[V.rmse, V.mae, V.R2Score(), V.ExplainedVariance(),
                                                    V.PearsonCorrCoef(), V.SpearmanCorrCoef()]).recorder.values[-1])==8,
    several=lambda: len(fit(dls=several(), metrics=[V.accuracy_multi, V.F1ScoreMulti(), V.HammingLossMulti()])
                        .recorder.values[-1])==5)

# ---- rows about a trained Learner

PREDICTIONS = dict(
    with_all=lambda l: [len(o) for o in l.get_preds(with_input=True, with_loss=True, with_decoded=True)]==[60]*5,
    raw=lambda l: torch.allclose(preds(l, act=noop).softmax(1), preds(l), atol=1e-5),
    in_pieces=lambda l: torch.equal(in_pieces(l), preds(l, act=noop)),
    training_rows=lambda l: l.get_preds(ds_idx=0)[1].tolist()==l.dls.train_ds.items.label.tolist(),
    predict=lambda l: l.predict(digits().iloc[2])[0]=='2',
    predict_with_input=lambda l: isinstance(l.predict(digits().iloc[2], with_input=True)[0], TensorImageBW),
    test_rows=lambda l: l.get_preds(dl=l.dls.test_dl(digits(9).drop(columns='label')))[1] is None,
    test_labels=lambda l: l.validate(dl=l.dls.test_dl(digits(90, seed=9), with_labels=True))[1]>.9,
    validate=lambda l: l.validate(ds_idx=0)[1]>.9,
    tta=lambda l: torch.allclose(l.tta()[0], preds(l), atol=1e-4),
    tta_max=lambda l: l.tta(n=2, use_max=True)[0].shape==(60,3),
    tta_both=lambda l: len(l.tta(n=1, beta=None)[0])==2,
    unreduced=lambda l: len(unreduced(l))==60,
    show_results=lambda l: l.show_results(max_n=4) or pictures()==4,
    interpret=lambda l: len(Interpretation.from_learner(l).top_losses(3)[0])==3,
    interpret_train=lambda l: ClassificationInterpretation.from_learner(l, ds_idx=0).confusion_matrix().sum()==240,
    confusion=lambda l: explained(l).confusion_matrix().trace()>54,
    confusion_plot=lambda l: explained(l).plot_confusion_matrix(normalize=True) or pictures()==1,
    confused=lambda l: isinstance(explained(l).most_confused(), list),
    report=lambda l: logged(explained(l).print_classification_report, 'macro avg'),
    top_losses=lambda l: worst(l) and (explained(l).plot_top_losses(4) or pictures()==4),
    show_some=lambda l: explained(l).show_results([0,5]) or pictures()==2,
    plot_loss=lambda l: l.recorder.plot_loss() is not False and len(plt.gca().lines)==2,
    plot_sched=lambda l: l.recorder.plot_sched() or len(plt.gcf().axes)==2,
    decoded=lambda l: [str(o[1]) for o in l.dls.valid.decode_batch(l.dls.valid.one_batch(), max_n=4)]
        ==[str(o) for o in l.dls.valid_ds.items.label[:4]],
    moved=lambda l: l.dls.to('cpu').train.one_batch()[0].device.type=='cpu',
    shorter=lambda l: len(l.dls.train.new(bs=7, shuffle=False).one_batch()[0])==7,
    emptied=lambda l: len(l.dls.new_empty().train_ds)==0)

def explained(l): return ClassificationInterpretation.from_learner(l)
def in_pieces(l):
    for o in 'pt': Path(o).mkdir(exist_ok=True)
    l.get_preds(save_preds=Path('p'), save_targs=Path('t'))
    return torch.cat([torch.load(o) for o in sorted(Path('p').iterdir())])
def worst(l):
    "Return whether these rows have the largest losses"
    probs,y = l.get_preds()
    each = F.nll_loss(probs.log(), y, reduction='none')
    return each[explained(l).top_losses(3)[1]].tolist()==pytest.approx(each.topk(3)[0].tolist(), rel=1e-3, abs=1e-5)
def pictures(): return len([a for a in plt.gcf().axes if a.images])
def unreduced(l):
    with l.loss_not_reduced(): return l.loss_func(l.model(l.dls.valid.one_batch()[0]), l.dls.valid.one_batch()[1])

# ---- what Kagglers do with rows

def folded():
    "Predict each row once, by a network that was not trained on it; the folds are a column"
    df = digits(90)
    df['fold'] = np.arange(90)//3%3
    out = torch.full((90,), -1)
    for k in range(3):
        part = df.assign(is_valid=df.fold==k)
        blk = block(CategoryBlock(vocab=[0,1,2], sort=False), ColReader('label'), df, splitter=ColSplitter())
        learn = learner(blk.dataloaders(part, bs=16, device='cpu'))
        quiet_fit(learn)
        p,y = learn.get_preds()
        assert y.tolist()==df.label[df.fold==k].tolist() and p.shape==(30,3)
        out[np.flatnonzero(df.fold==k)] = p.argmax(1)
    return (out>=0).all().item()

def positions():
    "Use folds from scikit-learn, by position"
    from sklearn.model_selection import StratifiedKFold
    df = digits(90)
    vals = [val for _,val in StratifiedKFold(3).split(df, df.label)]
    return all(loaders(df, valid=val).valid_ds.items.index.tolist()==val.tolist() for val in vals)

def pseudo(l):
    "Train on confident predictions as labels, in addition to the other rows; the validation rows stay the same"
    df,test = digits(90),digits(30, seed=9)
    probs = l.get_preds(dl=l.dls.test_dl(test.drop(columns='label')))[0]
    sure = probs.max(1)[0].numpy()>.6
    more = test[sure].assign(label=[l.dls.vocab[i] for i in probs.argmax(1)[sure]])
    dls = loaders(pd.concat([df, more], ignore_index=True), valid=range(18), drop_last=False)
    steps = fit(lambda l: l.fit(1, .01), 1, dls=dls, cbs=Steps()).steps
    return sure.sum()>20 and sorted(torch.cat(steps.seen).tolist())==sorted([*df.label[18:], *more.label])

def counts(dl): return torch.cat([y for _,y in dl]).bincount(minlength=3).tolist()
def copied():
    "Repeat rows of a rare class several times in the training frame"
    df = digits(60).query('label<2 or index<12')   # 20, 20 and 4 of a class
    trn,val = df[8:],df[:8]
    more = pd.concat([val, trn, *[trn.query('label==2')]*4], ignore_index=True)
    return counts(loaders(more, valid=range(8), drop_last=False).train)==[17,17,5*(trn.label==2).sum()]

def weighted():
    "Give all weight to one class, in fastai's WeightedDL"
    ds = datasets()
    w = (ds.train.items.label==2).to_numpy().astype(float)
    dls = ds.weighted_dataloaders(w, bs=16, device='cpu', after_batch=[V.IntToFloatTensor])
    return counts(dls.train)[:2]==[0,0] and sum(counts(dls.train))==48

def longer():
    "Draw more rows in an epoch than there are, with `get_idxs`"
    df = digits()
    dls = block(CategoryBlock(vocab=[0,1,2], sort=False), ColReader('label'), df).dataloaders(
        df, bs=16, device='cpu', get_idxs=lambda: list(range(48))*2, drop_last=False)
    return sum(counts(dls.train))==96

KAGGLERS = dict(
    folds=lambda l: folded(), folds_by_position=lambda l: positions(), pseudo_labels=pseudo,
    copied=lambda l: copied(), weighted=lambda l: weighted(), longer=lambda l: longer(),
    partial=lambda l: len(list(datasets().partial_dataloaders(16, bs=8, device='cpu').train))==2)

# ---- the one table

ROWS = {**{f'fit-{k}':f for k,f in FITS.items()}, **{f'callback-{k}':f for k,f in CALLBACKS.items()},
        **{f'optimiser-{k}':partial(fit, opt_func=f) for k,f in OPTIMISERS.items()},
        **{f'loss-{k}':lambda loss=loss,dls=dls: fit(dls=dls(), loss_func=loss()) and True
           for k,(loss,dls) in LOSSES.items()},
        **{f'metric-{k}':f for k,f in METRICS.items()}}
TRAINED = {**{f'trained-{k}':f for k,f in PREDICTIONS.items()}, **{f'kaggle-{k}':f for k,f in KAGGLERS.items()}}

@pytest.mark.parametrize('row', [*ROWS, *TRAINED])
def test_what_fastai_does(row, request, in_tmp):
    try:
        if row in ROWS: assert ROWS[row]()
        else:
            learn = request.getfixturevalue('trained')
            with quiet(learn) if 'report' not in row else learn.no_bar(): assert TRAINED[row](learn)
    finally: plt.close('all')

def test_every_callback_of_fastais_has_a_row():
    import fastai.callback.all, fastai.vision.gan
    rooms = V, fastai.callback.all, fastai.vision.gan
    theirs = {o.__name__ for m in rooms for o in vars(m).values() if isinstance(o, type) and issubclass(o, Callback)
              and o.__module__.startswith('fastai.')}
    named = set(re.findall(r'\w+', Path(__file__).read_text().split('FITS =')[1]))
    assert theirs<=named, theirs-named

# ---- nets that are torchvision's, and two processes

def normalisations(dls): return [type(o) for o in dls.train.after_batch.fs if isinstance(o, Normalize)]

@pytest.mark.parametrize('pretrained', [False,True])
def test_vision_learner_normalises_once(pretrained, monkeypatch, in_tmp):
    """Use a network of torchvision for one channel with invented weights. fastai adds ImageNet's statistics to a
    pretrained network, and must find that the images are normalised"""
    weights = V.resnet18().state_dict()
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', lambda *a,**k: weights)
    learn = vision_learner(loaders(), V.resnet18, n_in=1, pretrained=pretrained, metrics=V.accuracy)
    assert normalisations(learn.dls)==[NormalizePixels]
    with quiet(learn): learn.fine_tune(1, .001)
    assert np.isfinite(learn.recorder.values[-1]).all() and preds(learn).shape==(12,3)

def test_two_processes_share_an_epoch(tmp_path, record_property):
    "Each process gets half of the rows in complete batches, and both end with the same weights"
    pytest.importorskip('accelerate', reason="fastai's distrib_ctx wants accelerate, which is not installed")
    from two_ranks import both
    a,b = both(tmp_path)
    assert [*map(len, a['rows'])]==[*map(len, b['rows'])]==[8,8,8,1]   # of 50 rows
    assert sorted(sum(a['rows']+b['rows'], []))==sorted(a['trained'])
    assert a['items']==b['items']==0 and a['weights']==b['weights']
    assert (a['n_train'],a['n_valid'])==(50,12)   # one rank saves the run alone
    for o in a,b:
        record_property('share', f"{o['share']/o['epoch']:.2f} of an epoch of {1000*o['epoch']:.1f} ms")
        assert o['share']<20*o['epoch']   # row by row: hundreds of times; benchmarks/loading.py measures it
