"""Tests of `save_run`, of the Python objects that `train` accepts, and of folds, `--config`, `--set`, `--import`,
`--drop` and labelled test rows"""
import json, os, re, shutil, sys, types
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from torch import nn
from fastai.vision.all import (Adam, Callback, CategoryBlock, ClassificationInterpretation, ColReader,
                               CrossEntropyLossFlat, CSVLogger, DataBlock, DataLoaders, load_learner,
    EarlyStoppingCallback, FocalLossFlat, GradientAccumulation, Learner, MixUp, RandomSplitter, RegressionBlock, Resize,
    SaveModelCallback, SGD, ShortEpochCallback, TensorImage, Transform, accuracy, error_rate, F)
from digitfast import cli
from digitfast.learn import plugins
from digitfast.learn import seen
from digitfast.core import DataError, DigitError, RunError
from digitfast.data.block import DigitBlock, DigitDataLoaders
from digitfast.runs.weights import load_net, save_net
from digitfast.learn.callbacks import BF16, EMA, RandAffine, opts
from digitfast.learn.learner import digit_learner
from digitfast.learn.loss import losses
from digitfast.report.plots import plot_history, read_history
from digitfast.report.measure import list_runs, read_preds, versus
from digitfast.models.nets import archs, stride2
from digitfast.learn.predict import predict_rows, predict_test
from digitfast.data.read import as_data, read_csvs
from digitfast.learn.recipe import Recipe, recipes
from digitfast.report.page import report
from digitfast.runs.run import Run
from digitfast.tasks.save import save_run
from digitfast.kaggle.submission import check_submission
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.train import train
from conftest import TINY, csvs, digits

def quiet(*a): pass
def refused(f, *says, left=None):
    with pytest.raises(DigitError) as e: f()
    msg = str(e.value)
    assert '\n' not in msg and len(msg)<600 and '--' not in msg.replace('---', ''), msg
    for o in says: assert str(o) in msg, (o, msg)
    if left is not None: assert not left.exists()

def net(n_out, side):
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, n_out))
def fitted(dls, n=2, **kw):
    torch.manual_seed(0)
    learn = Learner(dls, kw.pop('model', None) or net(3, 8),
                    **{'loss_func':CrossEntropyLossFlat(), 'metrics':accuracy, **kw})
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n, .02)
    return learn
def loaders(df=None, **kw):
    return DigitDataLoaders.from_df(digits() if df is None else df, **{'bs':16, 'device':'cpu', **kw})

@pytest.fixture(scope='module')
def frames(): return digits(),digits(20, seed=1).drop(columns='label')

@pytest.fixture(scope='module')
def mine(frames, tmp_path_factory):
    "Return (a run saved from a Learner, the Learner). Do not change them"
    learn = fitted(loaders())
    return save_run(learn, frames, tmp_path_factory.mktemp('mine')/'run', say=quiet),learn

# ---- save_run

def test_a_learner_becomes_a_run(mine, frames):
    r,learn = mine
    p,m = r.predictions(),r.metrics
    assert set(p.rows.tolist())==set(learn.dls.valid_ds.items.index) and (p.labels==frames[0].label[p.rows]).all()
    assert np.allclose(p.probs, predict_rows(learn), atol=1e-6)
    assert np.allclose(p.test_probs, predict_rows(learn, frames[1]), atol=1e-4)
    assert m['accuracy']==p.hits.mean() and m['canary_rows']==12 and m['n_train']==48 and m['epochs']==2
    assert ((pd.read_csv(r/'submission.csv').Label==p.test_probs.argmax(1)).all()
            and check_submission(r/'submission.csv')['rows']==20)
    h = r.history()
    assert h.accuracy.iloc[-1]==pytest.approx(learn.recorder.values[-1][2]) and len(h)==2 and (r/'report.html').exists()
    assert not (r/'checkpoint').exists() and sorted(o.name for o in r.iterdir() if o.name[0]=='.')==[]

def search_lr(learn):
    """Run all 100 steps of `lr_find`, whatever the losses are. fastai stops early if a loss is four times the lowest
    one, and indexes an empty tensor if this happens within 15 steps"""
    learn.lr_find(show_plot=False, stop_div=False, suggest_funcs=None)
    assert len(learn.recorder.lrs)==100

LOOKS = dict(get_preds=lambda l: l.get_preds(), validate=lambda l: l.validate(),
             show_results=lambda l: l.show_results(),
             predict=lambda l: l.predict(l.dls.valid_ds.items.iloc[0]), lr_find=lambda l: search_lr(l),
             interpretation=lambda l: ClassificationInterpretation.from_learner(l), tta=lambda l: l.tta(n=1))

@pytest.fixture(scope='module')
def unseen(frames, tmp_path_factory):
    "Return (a Learner with a tracker, the run that was saved before anything else was called)"
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp('unseen')
    learn = digit_learner(loaders(), 'stride2', cbs=SaveModelCallback(fname=str(out/'best')))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, .02)
    return learn,save_run(learn, frames, out/'run', say=quiet)

@pytest.mark.parametrize('look', LOOKS)
def test_looking_at_a_learner_before_it_is_saved_changes_nothing(look, unseen, frames, tmp_path):
    "fastai's Recorder deletes the fit at each of these calls, and after `lr_find` it has rates that trained nothing"
    learn,was = unseen
    with learn.no_bar(), learn.no_logging(): LOOKS[look](learn)
    r = save_run(learn, frames, tmp_path/'r', say=quiet)
    assert r.history().equals(was.history()) and len(r.history())==3
    assert [r.metrics[k] for k in ('epochs','lr','accuracy')]==[was.metrics[k] for k in ('epochs','lr','accuracy')]
    assert r.metrics['epochs']==3 and r.metrics['lr']==pytest.approx(.02, rel=.1)
    assert plot_history(learn)[1].lines[0].get_ydata().tolist()==(100*was.history().accuracy).tolist()

@pytest.mark.parametrize('opt', [Adam, SGD])
@pytest.mark.parametrize('look', LOOKS)
def test_of_fastai_s_own_learner_what_is_forgotten_is_not_made_up(look, opt, frames, tmp_path):
    learn,lines = fitted(loaders(), opt_func=opt),[]
    with learn.no_bar(), learn.no_logging(): LOOKS[look](learn)
    if look=='lr_find' or opt is SGD:
        return refused(lambda: save_run(learn, frames, tmp_path/'r', say=quiet), 'record is gone', left=tmp_path/'r')
    r = save_run(learn, frames, tmp_path/'r', say=lines.append)
    assert r.history() is None and not {'epochs','lr'}&set(r.metrics) and any('history' in o for o in lines)
    assert predict_rows(learn).argmax(1).tolist()==r.predictions().preds.tolist()
    assert '2 epochs' not in (r/'report.html').read_text() and list_runs(tmp_path)['accuracy'].notna().all()

def test_an_exported_learner_has_no_rows(frames, tmp_path):
    learn = kept()
    learn.path = tmp_path
    learn.export('learn.pkl')
    loaded = load_learner(tmp_path/'learn.pkl')
    assert np.allclose(predict_rows(loaded, frames[1]), predict_rows(learn, frames[1]), atol=1e-4)
    for o in (loaded, load_net(save_net(learn, tmp_path/'net'))):
        for f in (lambda: save_run(o, frames, tmp_path/'r', say=quiet), lambda: predict_test(o, frames[1]),
                  lambda: predict_rows(o), lambda: read_preds(o)):
            refused(f, ' rows', left=tmp_path/'r')

def held(learn, cb):
    "Train with a callback that is removed afterwards"
    with learn.added_cbs(cb): learn.fit(1, .02)

HOW = dict(to_fp16=(lambda l: l.to_fp16().fit(1, .02), 'fp32'), to_bf16=(lambda l: l.to_bf16().fit(1, .02), 'fp32'),
           BF16=(lambda l: l.add_cb(BF16()).fit(1, .02), 'bf16'), in_fit=(lambda l: l.fit(1, .02, cbs=BF16()), 'bf16'),
           held=(lambda l: held(l, BF16()), 'bf16'), none=(lambda l: l.fit(1, .02), 'fp32'))
@pytest.mark.parametrize('how', HOW)
def test_the_precision_is_that_of_the_steps(how, frames, tmp_path):
    "On a CPU fastai's `MixedPrecision` computes in fp32, and a callback of the fit alone counts, too"
    learn,(f,want) = digit_learner(loaders(), 'stride2'),HOW[how]
    with learn.no_bar(), learn.no_logging(): f(learn)
    assert save_run(learn, frames, tmp_path/'r', say=quiet).metrics['precision']==want

def test_a_copy_of_a_learner_was_trained_on_the_same_rows(frames, tmp_path):
    learn = kept()
    a,b = (save_run(o, frames, tmp_path/k, say=quiet) for k,o in dict(a=learn, b=deepcopy(learn)).items())
    assert a.history().equals(b.history()) and a.metrics['accuracy']==b.metrics['accuracy']

def test_measuring_a_learner_leaves_its_history(frames, tmp_path):
    learn = fitted(loaders(), cbs=SaveModelCallback(fname=str(tmp_path/'best')))
    was = read_history(learn)
    for f in (predict_rows, read_preds, report, lambda l: predict_test(l, frames[1])):
        f(learn)
        assert read_history(learn).equals(was)

def test_a_datablock_of_one_s_own(frames, tmp_path):
    block = DataBlock((DigitBlock(), CategoryBlock()), get_y=ColReader('label'), splitter=RandomSplitter(.3, seed=3))
    learn = fitted(block.dataloaders(frames[0], bs=16, device='cpu'), metrics=error_rate)
    r = save_run(learn, frames[0], tmp_path/'r', say=quiet)
    assert (set(r.predictions().rows.tolist())==set(learn.dls.valid_ds.items.index)
            and r.history().error_rate.notna().all())
    assert r.metrics['n_test'] is None and not (r/'submission.csv').exists()

def test_rows_are_found_by_their_pixels_where_numbers_differ(frames, tmp_path):
    part = frames[0].sample(40, random_state=1).reset_index(drop=True)
    learn = fitted(loaders(part))
    p = save_run(learn, frames[0], tmp_path/'r', say=quiet).predictions()
    x = frames[0].drop(columns='label').to_numpy()
    assert (x[p.rows]==learn.dls.valid_ds.items.drop(columns='label').to_numpy()).all()

def test_a_registered_net_is_loaded_again(frames, tmp_path):
    learn = digit_learner(loaders(), 'stride2')
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .02)
    r = save_run(learn, frames, tmp_path/'r', say=quiet)
    assert np.allclose(predict_rows(r.learner('cpu'), frames[1]), r.predictions().test_probs, atol=1e-4)

class Invert(Transform):
    order = 20
    def encodes(self, x:TensorImage): return 1-x

@pytest.mark.parametrize('change', ['layer','transform'])
def test_a_net_that_is_not_what_its_name_says_is_not_loaded(change, frames, tmp_path):
    torch.manual_seed(0)
    learn = digit_learner(loaders(batch_tfms=[Invert] if change=='transform' else None), 'stride2')
    if change=='layer': learn.model.insert(0, nn.Threshold(0., 0.))
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .05)
    r = save_run(learn, frames[0], tmp_path/'r', say=quiet)
    refused(lambda: load_net(r), 'own')
    assert 'own' in r.metrics['no_model'] and learn.model.config['arch']=='stride2'

def test_a_run_without_a_loadable_model_refuses_by_name(mine, tmp_path):
    r,_ = mine
    assert 'Sequential' in r.metrics['no_model']
    def predict(): predict_csv(r, out=tmp_path/'s.csv', data='sample', say=quiet)
    for f in (r.learner, lambda: load_net(r), predict): refused(f, 'Sequential')
    assert not (tmp_path/'s.csv').exists()

def swapped(dls, other): learn = fitted(dls); learn.dls = other; return learn
def swapped_and_sought(learn):
    "Run `lr_find` on the other rows for at least as many steps as the training"
    learn.dls = loaders(seed=1)
    with learn.no_bar(), learn.no_logging(): search_lr(learn)
    return learn
def kept():
    learn = digit_learner(loaders(), 'stride2')
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .02)
    return learn
def half(learn):
    learn.dls = loaders(seed=1)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, .02)
    return learn
NOT = dict(untrained=(lambda: Learner(loaders(), net(3, 8), loss_func=CrossEntropyLossFlat()), 'not trained'),
    swapped=(lambda: swapped(loaders(), loaders(seed=1)), 'dls changed'),
    shown=(lambda: (lambda l: (l.dls.one_batch(), l)[1])(swapped(loaders(), loaders(seed=1))), 'dls changed'),
    shorter=(lambda: swapped(loaders(), fitted(loaders(seed=1), 1).dls), 'dls changed'),
    looked_at=(lambda: (lambda l: (l.validate(), l)[1])(swapped(loaders(), loaders(seed=1))), 'dls changed'),
    sought=(lambda: swapped_and_sought(fitted(loaders())), 'record is gone'),
    kept_and_sought=(lambda: swapped_and_sought(kept()), 'dls changed'),
    further=(lambda: half(fitted(loaders(), 4)), 'dls changed'),
    no_block=(lambda: fitted(DataLoaders.from_dsets([(torch.randn(1,8,8), i%3) for i in range(32)],
                                                    [(torch.randn(1,8,8), i%3) for i in range(32)], bs=8,
                                                    device='cpu')), 'DigitBlock'),
    other_rows=(lambda: fitted(loaders(digits(seed=9))), 'no image equal to image 0'),
    other_side=(lambda: fitted(loaders(digits(side=9))), 'expected 81, as in'),
    no_probs=(lambda: fitted(loaders(), loss_func=F.multi_margin_loss), 'activation='),
    classes=(lambda: fitted(loaders(digits(classes=['a','b','c']))), 'found the classes'),
    no_valid=(lambda: fitted(loaders(valid=[])), 'validation side of the split is empty'))
@pytest.mark.parametrize('name', NOT)
def test_what_cannot_be_a_run_raises_an_error_and_leaves_nothing(name, frames, tmp_path):
    f,says = NOT[name]
    try: learn = f()
    except DigitError as e: # refused before training, with the same reason
        assert re.search(says, str(e))
        return
    refused(lambda: save_run(learn, frames, tmp_path/'r', say=quiet), says, left=tmp_path/'r')

def twice(make, **kw):
    "Return a Learner that plain SGD, which counts no steps, trained on two splits one after the other"
    learn = make(loaders(), opt_func=SGD, **kw)
    for dls in learn.dls,loaders(seed=1):
        learn.dls = dls
        with learn.no_bar(), learn.no_logging(): learn.fit(4, .02)
    return learn

def test_a_net_that_learnt_from_other_rows_before_is_detected_by_its_batch_norms(frames, tmp_path):
    refused(lambda: save_run(twice(digit_learner, arch='fastbook'), frames, tmp_path/'r', say=quiet), 'trained before',
            left=tmp_path/'r')
    lines = []
    own = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8,3))
    save_run(twice(Learner, model=own, loss_func=CrossEntropyLossFlat()), frames, tmp_path/'r', say=lines.append)
    assert any('held out now' in o for o in lines)
    assert 'SGD' in save_run.__doc__

# ---- which images a Learner has learnt from

A,B = range(12),range(12,24)   # two splits of the same rows
def small(df):
    "Return the same rows as images of half the size"
    x = df.drop(columns='label').to_numpy().reshape(-1,4,2,4,2).mean((2,4)).astype(np.uint8)
    return pd.DataFrame(x.reshape(len(x), -1), columns=[f'pixel{i}' for i in range(16)]).assign(label=df.label)
def make(valid=A, df=None, arch='stride2', **kw): return digit_learner(loaders(df, valid=valid), arch, **kw)
def fit(learn, n=1, how='fit', valid=None, **kw):
    "Train `learn`, on another split if `valid` is one"
    if valid is not None: learn.dls = loaders(valid=valid, **kw)
    with learn.no_bar(), learn.no_logging(): getattr(learn, how)(n, .02)
    return learn
def steps(learn, opt=None, n=15, rows='valid'):
    "Train `learn` for `n` steps of a custom loop"
    opt = opt or learn.opt
    for _ in range(n):
        xb,yb = getattr(learn.dls, rows).one_batch()
        learn.loss_func(learn.model(xb), yb).backward()
        opt.step()
        opt.zero_grad()
    return learn
def with_model(learn, other): learn.model = other.model; return learn
def with_dls(learn, dls): learn.dls = dls; return learn
def with_weights(learn, other): learn.model.load_state_dict(other.model.state_dict()); return learn
def with_train(learn, dls): learn.dls.train = dls.train; return learn
def sought(learn):
    with learn.no_bar(), learn.no_logging(): search_lr(learn)
    return learn
def initialised(learn):
    for o in learn.model.parameters(): nn.init.uniform_(o, -.1, .1)
    return learn
def never_fitted():
    learn = make()
    return steps(learn, torch.optim.SGD(learn.model.parameters(), .1))
def fresh_weights():
    "Return a Learner with weights that no fit has trained"
    return initialised(make())
class OtherRows(Callback):
    "Train on another DataLoader than that of the Learner"
    def before_train(self): self.learn.dl = loaders(valid=B).train
class Best(Callback):
    "Keep the weights of the second epoch"
    def before_fit(self): self.state = None
    def after_epoch(self):
        if self.epoch==1: self.state = deepcopy(self.model.state_dict())
def own_best():
    learn = fit(make(cbs=Best()), 3)
    learn.model.load_state_dict(learn.best.state)
    return learn
def looked_at(learn):
    with learn.no_bar(), learn.no_logging():
        learn.validate(); learn.get_preds(); learn.summary()
        learn.model.train()(learn.dls.one_batch()[0]) # batch norms follow it
    return learn

ACCEPTED = dict(
    batch_size=lambda: fit(fit(make(), 3), valid=A, bs=8), fits=lambda: fit(fit(make())),
    resize=lambda: fit(with_dls(fit(make()), loaders(valid=A, item_tfms=Resize(4)))),
    progressive=lambda: fit(fit(make(df=small(digits()))), valid=A), fine_tune=lambda: fit(make(), how='fine_tune'),
    lr_find=lambda: fit(sought(make())), lr_find_after=lambda: sought(fit(make())),
    lr_find_elsewhere=lambda: with_dls(sought(with_dls(fit(make()), loaders(valid=B))), loaders(valid=A)),
    copy=lambda: deepcopy(fit(make())), accumulation=lambda: fit(make(cbs=GradientAccumulation(32)), 2),
    short=lambda: fit(make(cbs=ShortEpochCallback(.3))), ema=lambda: fit(fit(make(cbs=EMA(.8)), 2)), best=own_best,
    model=lambda: with_model(fit(make()), fit(make())), weights=lambda: with_weights(make(), fit(make())),
    initialised=lambda: fit(initialised(make())), looked_at=lambda: looked_at(fit(make(arch='fastbook'))),
    subset=lambda: with_dls(fit(make(df=digits().iloc[:40])), loaders(valid=A)))
@pytest.mark.parametrize('name', ACCEPTED)
def test_a_learner_that_met_no_held_out_image_is_accepted(name, frames, tmp_path):
    lines = []
    r = save_run(ACCEPTED[name](), frames[0], tmp_path/'r', say=lines.append)
    assert sorted(r.predictions().rows)==list(A) and r.metrics['n_train']==(28 if name=='subset' else 48)
    assert any('before its first fit' in o for o in lines)==(name=='initialised')

HELD,LOOP = 'trained before on','outside fit'
LEAKS = dict(
    splits=(lambda: fit(fit(make()), valid=B), HELD), splits_sgd=(lambda: fit(fit(make(opt_func=SGD)), valid=B), HELD),
    steps=(lambda: steps(fit(make())), LOOP), steps_sgd=(lambda: steps(fit(make(opt_func=SGD))), LOOP),
    one_step=(lambda: steps(fit(make()), n=1), LOOP), steps_first=(lambda: fit(steps(make_opt())), LOOP),
    own_opt=(lambda: own_opt(), LOOP), steps_between=(lambda: fit(steps(fit(make()))), LOOP),
    train=(lambda: fit(with_train(fit(make()), loaders(valid=B))), 'trained on'),
    progressive=(lambda: fit(fit(make(B, df=small(digits()))), valid=A), HELD),
    copy=(lambda: deepcopy(fit(fit(make()), valid=B)), HELD),
    model=(lambda: with_model(fit(make()), fit(make(B))), HELD),
    model_and_fit=(lambda: fit(with_model(fit(make()), fit(make(B)))), HELD),
    weights=(lambda: fit(with_weights(make(), fit(make(B)))), HELD),
    callback=(lambda: fit(make(cbs=OtherRows())), HELD),
    subset=(lambda: with_dls(fit(make(df=digits().iloc[:40])), loaders(valid=range(30, 42))), 'on 10 of its 12'),
    renumbered=(lambda: with_dls(fit(make(df=digits().sample(40, random_state=1).reset_index(drop=True))),
                                 loaders(valid=A)), HELD),
    never_fitted=(lambda: never_fitted(), LOOP), weights_only=(lambda: with_weights(make(), fresh_weights()), LOOP),
    other_data=(lambda: with_dls(fit(make(df=digits(seed=9))), loaders(valid=A)), 'dls changed'),
    lr_find_only=(lambda: sought(make()), 'not trained'))
def make_opt():
    learn = make()
    learn.create_opt()
    return learn
def own_opt():
    learn = fit(make())
    return steps(learn, torch.optim.SGD(learn.model.parameters(), .1))
@pytest.mark.parametrize('name', LEAKS)
def test_a_learner_that_met_held_out_images_raises_an_error(name, frames, tmp_path):
    f,says = LEAKS[name]
    learn = f()
    refused(lambda: save_run(learn, frames[0], tmp_path/'r', say=quiet), says, left=tmp_path/'r')

def test_after_a_training_loop_the_user_says_on_which_rows(frames, tmp_path):
    learn = steps(fit(make()), rows='train')
    def save(name='r', **kw): return save_run(learn, frames[0], tmp_path/name, say=quiet, **kw)
    refused(save, 'trained_on=', left=tmp_path/'r')
    for rows,says in ([3,30],'row 3'),([99],'from 0 to 59'),(['a'],'whole numbers'):
        refused(lambda: save(trained_on=rows), says, left=tmp_path/'r')
    assert save(trained_on=range(12, 60)).metrics['accuracy']==save('s', trained_on=[]).metrics['accuracy']

@pytest.mark.parametrize('process', ['same','another'])
def test_weights_that_are_loaded_bring_their_record(process, frames, in_tmp):
    fit(make()).save('a')
    if process=='another': seen.known_records.clear()
    save_run(make().load('a'), frames[0], in_tmp/'r', say=quiet)
    save_run(fit(make().load('a', with_opt=False)), frames[0], in_tmp/'s', say=quiet)
    for learn in make(B).load('a'),fit(make(B).load('a')):
        refused(lambda: save_run(learn, frames[0], in_tmp/'no', say=quiet), HELD, left=in_tmp/'no')

@pytest.mark.parametrize('make_learn', [make, lambda: Learner(loaders(valid=A), stride2(3, 8),
                                                              loss_func=CrossEntropyLossFlat())], ids=['ours','plain'])
def test_of_weights_without_a_record_it_is_logged(make_learn, frames, in_tmp):
    fitted(loaders(valid=A), model=stride2(3, 8)).save('plain')
    lines = []
    save_run(make_learn().load('plain'), frames[0], in_tmp/'r', say=lines.append)
    assert any('weights were loaded' in o and 'accuracy is too high' in o for o in lines)

@pytest.mark.parametrize('content', [b'', b'PK', None])
def test_a_damaged_record_is_none(content, frames, in_tmp):
    a,b = fit(make()),fit(make(B))
    a.save('a'); b.save('b')
    f = in_tmp/'models/a.seen.npz'
    f.write_bytes((in_tmp/'models/b.seen.npz').read_bytes() if content is None else content)
    seen.known_records.clear()
    assert 'a.pth, which has no record' in make().load('a').seen_images.doubts[0]

def test_steps_outside_a_plain_fit_are_counted_exactly(frames, tmp_path):
    learn = fitted(loaders(valid=A))
    for n in 1,14:
        refused(lambda: save_run(steps(learn, n=n), frames[0], tmp_path/'r', say=quiet), 'steps', 'trained_on=',
                left=tmp_path/'r')

def test_a_run_can_be_saved_from_what_was_exported(frames, in_tmp):
    fit(make()).export('e.pkl')
    for valid,says in (A,None),(B,HELD):
        learn = with_dls(load_learner('e.pkl'), loaders(valid=valid))
        if says: refused(lambda: save_run(learn, frames[0], in_tmp/'no', say=quiet), says, left=in_tmp/'no')
        else: save_run(learn, frames[0], in_tmp/'r', say=quiet)

def test_rows_on_both_sides_raise_an_error(frames, tmp_path):
    learn = fitted(loaders())
    learn.dls.loaders[1] = learn.dls.train.new(shuffle=False)
    refused(lambda: save_run(learn, frames, tmp_path/'r', say=quiet), 'trained on', left=tmp_path/'r')

def copies(*parts, n_valid=12):
    "Return a Learner on `parts` of a frame, one below the other with new numbers, the first rows held out"
    df = pd.concat(parts, ignore_index=True)
    return fitted(DigitDataLoaders.from_df(df, valid=range(n_valid), bs=16, device='cpu'))

def test_training_rows_that_were_repeated_count_once(frames, tmp_path):
    df = frames[0]
    r = save_run(copies(df, df[12:].query('label==2'), df[40:]), df, tmp_path/'r', say=quiet)
    assert r.metrics['n_train']==48 and sorted(r.predictions().rows)==list(range(12))

@pytest.mark.parametrize('parts,n,says', [(lambda df: (df, df[:4]), 12, 'validation rows that were trained on'),
                                          (lambda df: (df[:12], df), 24, 'held out 2 times')])
def test_validation_rows_that_were_repeated_raise_an_error(parts, n, says, frames, tmp_path):
    learn = copies(*parts(frames[0]), n_valid=n)
    refused(lambda: save_run(learn, frames[0], tmp_path/'r', say=quiet), says, left=tmp_path/'r')

def test_a_net_of_a_thousand_outputs_raises_an_error(frames, tmp_path):
    learn = fitted(loaders(), model=nn.Sequential(nn.Flatten(), nn.Linear(64, 1000)))
    for f in predict_rows,lambda l: save_run(l, frames, tmp_path/'r', say=quiet):
        refused(lambda: f(learn), '1000', '3 classes', left=tmp_path/'r')

def test_soft_labels_are_named(frames, tmp_path):
    df = frames[0].assign(**{f'p{i}':(frames[0].label==i)*.9+.1/3 for i in range(3)})
    block = DataBlock((DigitBlock([o for o in df if o.startswith('pixel')]), RegressionBlock(n_out=3)),
                      get_y=ColReader(['p0','p1','p2']), splitter=RandomSplitter(seed=1))
    learn = fitted(block.dataloaders(df, bs=16, device='cpu'), metrics=None, loss_func=nn.CrossEntropyLoss())
    assert np.allclose(predict_rows(learn).sum(1), 1, atol=1e-5)
    for f in (read_preds, lambda l: save_run(l, frames[0], tmp_path/'r', say=quiet),
              lambda l: Recipe('stride2').learner(l.dls)):
        refused(lambda: f(learn), 'RegressionSetup', 'CategoryBlock', left=tmp_path/'r')

def test_another_loss_is_saved_with_its_activation(frames, tmp_path):
    learn = fitted(loaders(), loss_func=F.multi_margin_loss)
    r = save_run(learn, frames, tmp_path/'r', say=quiet, tta=1, activation='softmax')
    p = r.predictions()
    assert np.allclose(p.probs, predict_rows(learn, tta=1, activation='softmax'))
    assert np.allclose(p.test_probs.sum(1), 1)

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(label_smoothing=.1), F.cross_entropy])
def test_torch_s_cross_entropy_trains_a_run_that_loads(loss, frames, tmp_path):
    r = train(frames, out=tmp_path/'r', say=quiet, loss_func=loss, tta=1, **TINY)
    p = r.predictions()
    assert 'no_model' not in r.metrics and np.allclose(p.probs.sum(1), 1, atol=1e-5)
    assert np.allclose(predict_rows(r.learner('cpu'), frames[1], tta=1), p.test_probs, atol=1e-4)

def test_control_rows_that_differ_leave_nothing(frames, tmp_path, monkeypatch):
    learn = fitted(loaders())
    old = DigitDataLoaders.test_dl
    monkeypatch.setattr(DigitDataLoaders, 'test_dl', lambda self, df,
                        **k: old(self, df[df.columns[::-1]].set_axis(df.columns, axis=1), **k))
    refused(lambda: save_run(learn, frames, tmp_path/'r', say=quiet), 'control rows', left=tmp_path/'r')

# ---- what a Kaggler would write

def test_a_notebook_of_thirty_lines(frames, tmp_path):
    """Use an own network, own augmentation, MixUp, five explicit folds, joining, versus, a submission and a report,
    without a private name"""
    from sklearn.model_selection import StratifiedKFold
    df,test = frames
    runs = []
    for k,(_,fold) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(df, df.label)):
        dls = DigitDataLoaders.from_df(df, valid=fold.tolist(), batch_tfms=[RandAffine(shift=1)], bs=16)
        learn = Learner(dls, net(3, 8), loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=MixUp())
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, .02)
        runs.append(save_run(learn, (df, test), tmp_path/f'fold{k}', say=quiet))
    lines = []
    joined = ensemble(runs, tmp_path/'joined', data=(df, test), say=lines.append)
    recipe = train((df, test), 'quick', arch=net, epochs=2, bs=16, valid_pct=.2, out=tmp_path/'quick', say=quiet)
    p,m = joined.predictions(),joined.metrics
    assert (sorted(p.rows)==list(range(60)) and m['n_valid']==60 and 'did not see it' in m['measured_on']
            and m['canary_rows']==12)
    assert m['accuracy']==m['oof_accuracy'] and any('folds: 5 nets' in o for o in lines)
    assert np.allclose(p.test_probs, np.mean([o.predictions().test_probs for o in runs], 0), atol=1e-6)
    assert check_submission(joined/'submission.csv')['rows']==20 and (joined/'report.html').exists()
    assert len(versus(runs[0], runs[0]).text)>10 and recipe.predictions().rows.size==12

# ---- train(data, …)

def test_train_takes_frames_paths_and_digitdata_alike(frames, tiny, tmp_path):
    d = read_csvs(tiny)
    runs = [train(o, out=tmp_path/str(i), say=quiet, **TINY) for i,o in enumerate((tiny, d, (d.train, d.test)))]
    a,*rest = [r.predictions() for r in runs]
    for b in rest: assert np.array_equal(a.probs, b.probs) and np.array_equal(a.test_probs, b.test_probs)
    assert isinstance(runs[0], Run) and os.path.isdir(runs[0]) and (runs[0]/'metrics.json').exists()
    assert train(frames[0], out=tmp_path/'one', say=quiet, **TINY).metrics['n_test'] is None

def test_what_goes_to_fastai_goes_there(tiny, tmp_path):
    seen = []
    class See(Callback):
        def before_batch(self): seen.append((type(self.opt).__name__, self.xb[0].shape, type(self.loss_func).__name__))
    def opt(params, lr, **kw): return Adam(params, lr, **kw)
    r = train(tiny, arch=net, cbs=[See(), MixUp], batch_tfms=[RandAffine(shift=1)], loss_func=FocalLossFlat(),
              opt_func=opt, metrics=[error_rate, accuracy],
              out=tmp_path/'r', say=quiet, **{k:v for k,v in TINY.items() if k!='arch'})
    assert seen and seen[0][0]=='Optimizer' and {o[2] for o in seen}>={'FocalLossFlat'}
    h,m = r.history(),r.metrics
    assert list(h.columns)==['epoch','train_loss','valid_loss','accuracy','lr','seconds',
                             'error_rate'] and np.allclose(h.accuracy+h.error_rate, 1)
    assert m['arch']=='net' and m['given']==dict(cbs=['See','MixUp'], batch_tfms=['RandAffine'],
                                                 loss_func=['FocalLossFlat'], opt_func=['opt'],
                                                 metrics=['error_rate','accuracy'])
    refused(lambda: load_net(r), 'net')
    refused(lambda: train(config=r, out=tmp_path/'again', say=quiet), 'See', left=tmp_path/'again')

def test_early_stopping_and_the_best_model(tiny, tmp_path):
    cb = EarlyStoppingCallback(monitor='accuracy', min_delta=2.)
    r = train(tiny, out=tmp_path/'r', cbs=[cb, SaveModelCallback()], say=quiet, **{**TINY, 'epochs':9})
    assert len(r.history())==2 and r.metrics['epochs']==2 and not list(r.rglob('*.pth'))

@pytest.fixture
def wandb(monkeypatch):
    "Return a module with the names of wandb that fastai's callback uses; `logs` is what was logged"
    m = types.ModuleType('wandb')
    m.logs,m.configs,m.run = [],[],types.SimpleNamespace(step=0, summary={})
    m.config = types.SimpleNamespace(update=lambda o,**kw: m.configs.append(o))
    m.log = lambda o,step=None: m.logs.append(o)
    m.watch = m.Image = m.Histogram = lambda *args,**kw: None
    m.Table = lambda *args,**kw: types.SimpleNamespace(add_data=lambda *a: None)
    monkeypatch.setitem(sys.modules, 'wandb', m)
    return m

@pytest.mark.parametrize('recipe', ['quick','single','stride2'])
def test_tensorboard_logs_a_recipe(recipe, tiny, tmp_path):
    "TensorBoard can't write a hyperparameter that is None"
    pytest.importorskip('tensorboard')
    from fastai.callback.tensorboard import TensorBoardCallback
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    cb = TensorBoardCallback(tmp_path/'tb', trace_model=recipe=='quick', log_preds=False)
    train(tiny, recipe, epochs=2, bs=16, cbs=cb, out=tmp_path/'r', say=quiet)
    log = EventAccumulator(str(tmp_path/'tb')).Reload()
    assert len(log.Scalars('train_loss'))>=6 and {'lr_0','wd_0','accuracy'}<=set(log.Tags()['scalars'])

def test_wandb_and_a_csv_log_a_recipe(wandb, tiny, tmp_path):
    from fastai.callback.wandb import WandbCallback
    cbs = [WandbCallback(), CSVLogger(tmp_path/'log.csv')]
    r = train(tiny, 'quick', epochs=2, bs=16, cbs=cbs, out=tmp_path/'r', say=quiet)
    names = {k for o in wandb.logs for k in o}
    assert {'train_loss','valid_loss','accuracy','lr_0'}<=names and wandb.configs[0]['network']=='stride3'
    assert pd.read_csv(tmp_path/'log.csv').accuracy.round(4).tolist()==r.history().accuracy.round(4).tolist()

class Reads(Callback):
    "Read the recorder after each epoch and fit"
    order = 60
    def __init__(self): self.epochs,self.fits = [],0
    def before_fit(self): self.epochs.clear()
    def after_epoch(self): self.epochs.append(self.recorder.values[-1][2])
    def after_fit(self): self.fits,self.last = self.fits+1,self.recorder.values[-1]

def test_a_callback_of_the_users_own_is_called_for_fits_only(tiny, tmp_path):
    cb,seen = Reads(),[]
    plain = Callback(after_epoch=lambda self: seen.append(self.recorder.values[-1] if self.recorder.values else None))
    r = train(tiny, cbs=[cb, plain], out=tmp_path/'r', say=quiet, tta=1, **TINY)
    assert cb.epochs==r.history().accuracy.tolist() and cb.fits==1 and len(seen)==2

class Stop(Exception): pass
def stop_at(n):
    def tick(i, of):
        if i==n: raise Stop('by the test')
    return tick
class Remembers(Callback):
    def after_epoch(self): self.best = getattr(self, 'best', 0)+1
class Forgets(Callback):
    def after_epoch(self): pass

@pytest.mark.parametrize('cb,ok',
                         [(MixUp, True), (Forgets, True), (EarlyStoppingCallback, False), (SaveModelCallback, False),
                          (Remembers, False)])
def test_callbacks_with_a_state_refuse_to_resume(cb, ok, tiny, tmp_path):
    kw = dict(TINY, epochs=4, say=quiet, bs=24)
    whole = train(tiny, cbs=cb(), out=tmp_path/'whole', metrics=error_rate, **kw)
    with pytest.raises(Stop): train(tiny, cbs=cb(), out=tmp_path/'r', tick=stop_at(5), metrics=error_rate, **kw)
    if not ok: return refused(lambda: train(tiny, cbs=cb(), out=tmp_path/'r', resume=True, metrics=error_rate, **kw),
                              cb.__name__)
    r = train(tiny, cbs=cb(), out=tmp_path/'r', resume=True, metrics=error_rate, **kw)
    assert np.array_equal(r.predictions().probs, whole.predictions().probs)
    assert (r/'submission.csv').read_bytes()==(whole/'submission.csv').read_bytes()
    assert r.history().error_rate.tolist()==whole.history().error_rate.tolist()

ODD = dict(loss=(dict(loss_func=F.multi_margin_loss), 'activation='), cbs=(dict(cbs=[1]), 'callbacks'),
           both=(dict(batch_tfms=[], affine=dict(shift=1)), 'specify the same setting'),
    hand=(dict(recipe='linear', cbs=MixUp(), arch=None, bs=None), 'from-scratch'),
    built=(dict(arch=net(3, 8)), 'already built'), outputs=(dict(arch=lambda n,s: net(n+1, s)), '4 outputs'),
    folds=(dict(folds=30, valid_pct=None), 'class'), many=(dict(members=2, folds=3), '3 folds'),
    all_rows=(dict(valid_pct=0), 'folds=5'), config=(dict(config='nowhere'), 'nowhere'),
    two=(dict(recipe='quick', config='x'), 'not a finished run'))
@pytest.mark.parametrize('name', ODD)
def test_what_train_cannot_take_raises_an_error_in_python_s_words(name, tiny, in_tmp):
    kw,says = ODD[name]
    refused(lambda: train(tiny, out=in_tmp/'r', say=quiet, **{**TINY, **kw}), says)
    assert os.listdir(in_tmp)==[]

def test_advice_speaks_the_language_of_the_caller(tiny, tiny_run, tmp_path, capsys):
    with pytest.raises(Stop): train(tiny, out=tmp_path/'r', tick=stop_at(4), say=quiet, **TINY)
    refused(lambda: train(tiny, out=tmp_path/'r', say=quiet, **TINY), 'resume=True')
    with pytest.raises(SystemExit): cli.main(['train', str(tiny), '--out', str(tmp_path/'r'), '--arch', 'stride2'])
    assert '--resume' in capsys.readouterr().err

def test_a_path_that_looks_like_an_option_is_reported_unchanged(mine, in_tmp):
    "This also holds in Python, where messages name arguments"
    for f in (lambda: train('scan--test A', say=quiet), lambda: save_run(known(digits()), 'scan--test A', say=quiet),
              lambda: predict_csv(mine[0], 'scan--test A', say=quiet), lambda: predict_csv('scan--test A', say=quiet)):
        with pytest.raises(DigitError, match='scan--test A'): f()

# ---- folds

FOLDS = {k:v for k,v in TINY.items() if k!='valid_pct'} # no share is held out from all

def test_the_control_rows_of_folds_are_predicted_with_the_net_that_knew_each_row(tiny, tmp_path):
    r,lines = train(tiny, folds=3, out=tmp_path/'r', say=quiet, **{**FOLDS, 'epochs':6, 'lr':.05}),[]
    df,p = read_csvs(tiny).train.drop(columns='label'),r.predictions()
    assert np.abs(predict_rows(r.learner('cpu'), df.iloc[p.rows])-p.probs).max()>.05 # the mean is another thing
    assert predict_csv(r, out=tmp_path/'s.csv', device='cpu',
                       say=lines.append).read_bytes()==(r/'submission.csv').read_bytes()
    assert 'control rows: 60 validation rows have the same predictions as in the run' in lines
    digits(9, seed=5).drop(columns='label').to_csv(tmp_path/'new.csv', index=False)
    predict_csv(r, tmp_path/'new.csv', tmp_path/'t.csv', device='cpu', say=lines.append)
    assert lines[-2].startswith('control rows:'), lines
    shutil.rmtree(r/'members'/'1'/'model')
    shutil.copytree(r/'members'/'0'/'model', r/'members'/'1'/'model')
    refused(lambda: predict_csv(r, out=tmp_path/'u.csv', device='cpu', say=quiet), 'control rows do not match',
            left=tmp_path/'u.csv')

def test_folds_measure_each_row_by_the_net_that_did_not_see_it(tiny, tmp_path):
    lines = []
    r = train(tiny, folds=3, out=tmp_path/'r', say=lines.append, **FOLDS)
    m,p,d = r.metrics,r.predictions(),read_csvs(tiny)
    assert (m['members']==3 and m['n_valid']==60 and m['accuracy']==m['oof_accuracy']
            and sorted(p.rows)==list(range(60)) and 'did not see it' in m['measured_on'])
    for k,o in enumerate(r.members()):
        q = o.predictions()
        assert q.rows.tolist()==Recipe(folds=3).unseen(d.train, k) and o.metrics['canary_rows']==20
        at = np.searchsorted(p.rows, q.rows)
        assert np.array_equal(p.rows[at], q.rows) and np.allclose(p.probs[at], q.probs, atol=1e-6)
    assert any('3 nets' in o for o in lines) and any('did not see it' in o and 'accuracy' in o for o in lines)
    apart = [train(tiny, folds=3, member=k, out=tmp_path/f'm{k}', say=quiet, **FOLDS) for k in range(3)]
    both = ensemble(apart, tmp_path/'both', say=quiet)
    assert np.array_equal(both.predictions().test_probs, p.test_probs) and both.metrics['accuracy']==m['accuracy']
    refused(lambda: ensemble(apart[:2], tmp_path/'two', say=quiet), 'every row', left=tmp_path/'two'/'metrics.json')
    assert predict_csv(r, out=tmp_path/'s.csv', device='cpu', say=quiet).read_bytes()==(r/'submission.csv').read_bytes()

# ---- config, set, drop, import

def test_config_trains_again_byte_for_byte(tiny, tmp_path):
    a = train(tiny, out=tmp_path/'a', say=quiet, seed=7, smooth=.1, split='random', **TINY)
    b = train(config=a, out=tmp_path/'b', say=quiet)
    for f in 'model/model.safetensors','submission.csv': assert (a/f).read_bytes()==(b/f).read_bytes()
    c = train(config=a, out=tmp_path/'c', say=quiet, seed=8)
    assert (c.metrics['settings']==a.metrics['settings'] and c.metrics['seed']==8
            and (c/'model/model.safetensors').read_bytes()!=(a/'model/model.safetensors').read_bytes())

def test_config_of_what_was_not_trained_by_a_recipe_raises_an_error(mine, tiny_run, tmp_path):
    refused(lambda: train(config=mine[0], out=tmp_path/'r', say=quiet), 'Learner', left=tmp_path/'r')

def test_config_of_runs_that_were_joined_raises_an_error(tiny, tmp_path):
    runs = [train(tiny, out=tmp_path/str(k), say=quiet, seed=k, **{**TINY, 'epochs':1}) for k in range(2)]
    both = ensemble(runs, tmp_path/'both', say=quiet)
    refused(lambda: train(config=both, out=tmp_path/'r', say=quiet), 'joins runs that were trained separately',
            'members/0', left=tmp_path/'r')
    one = train(config=both/'members'/'0', out=tmp_path/'one', say=quiet)
    assert (one/'submission.csv').read_bytes()==(runs[0]/'submission.csv').read_bytes()

def test_config_of_frames_in_memory_needs_them(frames, in_tmp):
    csvs(in_tmp) # other data, on disk
    a = train(frames, out=in_tmp/'a', say=quiet, **TINY)
    refused(lambda: train(config=a, out=in_tmp/'b', say=quiet), 'frames in memory', left=in_tmp/'b')
    b = train(frames, config=a, out=in_tmp/'b', say=quiet)
    assert (a/'submission.csv').read_bytes()==(b/'submission.csv').read_bytes()

# ---- data remember where they were read

def known(df):
    "Return a trained Learner whose network can be loaded again"
    learn = digit_learner(loaders(df), 'fastbook')
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, .01)
    return learn

def test_a_run_finds_the_data_that_a_digit_data_was_read_from(in_tmp):
    csvs(in_tmp/'d')
    d = read_csvs('d')
    assert d.source==str(in_tmp/'d')
    assert sorted(map(os.path.basename, d.files))==['sample_submission.csv','test.csv','train.csv']
    a = save_run(known(d.train), d, in_tmp/'a', say=quiet)
    b = train(d, out=in_tmp/'b', say=quiet, **TINY)
    for run in a,b:
        assert run.metrics['data']['path']==d.source and run.data().sha256==d.sha256
        predict_csv(run, out=in_tmp/'p.csv', say=quiet)
        assert (run/'submission.csv').read_bytes()==(in_tmp/'p.csv').read_bytes()
    both = ensemble([a, b], in_tmp/'both', say=quiet)
    assert both.metrics['data']['path']==d.source

def test_reading_options_are_remembered_with_the_place(in_tmp):
    folder = csvs(in_tmp/'d', digits().rename(columns=dict(label='kind')), test=False)
    csvs(in_tmp/'other')
    d = read_csvs(folder/'train.csv', test='other/test.csv', label='kind', transpose=True)
    a = save_run(known(d.train), d, in_tmp/'a', say=quiet)
    assert a.metrics['options']==dict(test=str(in_tmp/'other'/'test.csv'), label='kind', transpose=True)
    assert (a.data().train==d.train).all(axis=None)
    predict_csv(a, out=in_tmp/'p.csv', say=quiet)
    assert (a/'submission.csv').read_bytes()==(in_tmp/'p.csv').read_bytes()

def shuffled(d): return replace(d, train=d.train.sample(frac=1, random_state=0).reset_index(drop=True))
def fewer(d): return replace(d, train=d.train.iloc[:50])
def relabelled(d): return replace(d, train=d.train.assign(label=d.train.label.iloc[::-1].to_numpy()))
def other_test(d): return replace(d, test=255-d.test)
def in_place(d): d.train.iloc[3,5] = 99; return d

@pytest.mark.parametrize('change', [shuffled, fewer, relabelled, other_test, in_place])
def test_changed_frames_claim_no_place(change, in_tmp):
    csvs(in_tmp/'d')
    was = read_csvs('d')
    sha,now = was.sha256,as_data(change(was))
    assert now.source is None and now.files==() and now.options is None and now.sha256!=sha
    assert any(f'changed after reading, so a run cannot read them from {in_tmp}/d again' in o for o in now.notes)
    assert as_data(now) is now

def test_inverted_frames_are_read_as_inverted(tiny):
    d = read_csvs(tiny)
    now = as_data(replace(d, train=d.train.assign(**(255-d.train[d.pixels]))))
    assert {d.reading.polarity, now.reading.polarity}=={'bright','dark'}

def test_a_run_of_changed_frames_does_not_go_back_to_the_unchanged(in_tmp):
    csvs(in_tmp/'d')
    d = shuffled(read_csvs('d'))
    lines = []
    a = save_run(known(d.train), d, in_tmp/'a', say=lines.append)
    assert a.metrics['data']=={**a.metrics['data'], 'path':None, 'sha256':as_data(d).sha256}
    assert any('changed after reading' in o for o in lines)
    refused(lambda: predict_csv(a, out=in_tmp/'p.csv', say=quiet), f"predict_csv('{a}', data)", left=in_tmp/'p.csv')

def test_equal_frames_keep_their_place(in_tmp):
    csvs(in_tmp/'d')
    d = read_csvs('d')
    assert as_data(replace(d, train=d.train.copy())).source==d.source and as_data(d) is d

def test_each_front_door_gives_its_own_advice_on_frames_in_memory(frames, mine, in_tmp, capsys):
    run = str(mine[0])
    other = train(frames, out=in_tmp/'o', say=quiet, **TINY)
    for args,advice in ((('predict', run), f'digitfast predict {run} DATA'),
                        (('train', '--config', str(other), '--out', 'r'), f'digitfast train DATA --config {other}'),
                        (('ensemble', run, other, '--out', 'e'), 'call ensemble(runs, data=(train, test)) in Python')):
        with pytest.raises(SystemExit) as e: cli.main([str(o) for o in args])
        err = capsys.readouterr().err
        assert e.value.code==1 and advice in err and err.count('\n')==1
    refused(lambda: predict_csv(run, say=quiet), f"predict_csv('{run}', data)")
    refused(lambda: train(config=other, out='r', say=quiet), f"train(data, config='{other}')")
    refused(lambda: ensemble([run, other], 'e', say=quiet), 'Pass them: ensemble(runs, data=(train, test))')

# ---- what the last lines say

def test_epochs_of_all_fits_are_counted(frames, in_tmp):
    learn = digit_learner(loaders(), 'fastbook', metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(2, freeze_epochs=1)
        learn.fit_one_cycle(3, .01)
    lines = []
    run = save_run(learn, frames, in_tmp/'a', say=lines.append)
    assert run.metrics['epochs']==6 and len(run.history())==3
    assert 'note: history.csv has only the last fit, 3 of 6 epochs' in lines
    plain = fitted(loaders(), 2)
    with plain.no_bar(), plain.no_logging(): plain.fit(1, 1e-3)
    assert save_run(plain, frames, in_tmp/'b', say=quiet).metrics['epochs']==3
    once = known(digits())
    assert save_run(once, frames, in_tmp/'c', say=lines.append).metrics['epochs']==1
    assert sum('history.csv has only' in o for o in lines)==1

def test_only_times_that_are_known_are_logged(frames, mine, in_tmp):
    lines = []
    a = save_run(known(digits()), frames, in_tmp/'a', say=lines.append)
    assert set(a.metrics['seconds'])=={'predict','total'} and 'of training' not in lines[-1]
    assert lines[-1].startswith(f"run: {a} (") and lines[-1].endswith(' s without the training)')
    b = train(frames, out=in_tmp/'b', say=lines.append, **TINY)
    assert lines[-1].endswith(' s in all)') and ' s of training, ' in lines[-1]
    c = train(frames, out=in_tmp/'c', say=quiet, seed=1, **TINY)
    both = ensemble([b, c], in_tmp/'both', data=frames, say=lines.append)
    spent = sum(o.metrics['seconds']['train'] for o in (b,c))
    assert abs(both.metrics['seconds']['train']-spent)<1e-6
    assert f"({spent:.1f} s of training in 2 runs, joined in {both.metrics['seconds']['total']:.1f} s)" in lines[-1]
    mixed = ensemble([a, b], in_tmp/'mixed', data=frames, say=lines.append)
    assert 'train' not in mixed.metrics['seconds'] and lines[-1].endswith(' s without the training)')
    train(frames, out=in_tmp/'d', say=lines.append, members=2, **TINY)
    assert ' s of training, the sum of 2 members, ' in lines[-1]

def test_what_each_accuracy_is(frames, in_tmp):
    lines = []
    train(frames, out=in_tmp/'a', say=lines.append, tta=1, **TINY)
    at = lines.index('epochs: accuracy on held-out rows, without test-time shifts')
    assert lines[at+1].split()[:4]==['epoch','train_loss','valid_loss','accuracy']
    (last,) = [o for o in lines if o.startswith('accuracy ')]
    assert last.endswith('), with test-time shifts: a mean over 9 copies of each image')
    lines.clear()
    train(frames, out=in_tmp/'b', say=lines.append, **TINY)
    assert not any('test-time shifts' in o for o in lines)
    save_run(known(digits()), frames, in_tmp/'c', tta=2, say=lines.append)
    assert any('a mean over 25 copies of each image' in o for o in lines)

CHOOSERS = [(lambda: SaveModelCallback(monitor='accuracy'), ['SaveModelCallback']),
            (lambda: EarlyStoppingCallback(patience=5), ['EarlyStoppingCallback']),
            (lambda: SaveModelCallback(every_epoch=True), None), (lambda: EarlyStoppingCallback('train_loss'), None),
            (lambda: MixUp(.2), None)]
@pytest.mark.parametrize('make,chosen', CHOOSERS)
def test_an_epoch_chosen_by_held_out_rows_has_a_caveat(make, chosen, frames, in_tmp):
    lines = []
    def noted(): return [o for o in lines if 'chose the epoch by the held-out rows' in o]
    run = train(frames, out=in_tmp/'a', say=lines.append, cbs=make(), **TINY)
    assert run.metrics.get('chosen_by')==chosen and bool(noted())==bool(chosen)
    if chosen is None: return
    assert chosen[0] in noted()[0] and 'this accuracy and the expected score are too high' in noted()[0]
    learn = digit_learner(loaders(), 'fastbook', metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3, cbs=make())
        learn.fit(1, 1e-3)
    lines.clear()
    assert save_run(learn, frames, in_tmp/'b', say=lines.append).metrics['chosen_by']==chosen and len(noted())==1

def run_cli(*args):
    with pytest.raises(SystemExit) as e: cli.main([*map(str, args), '--quiet'])
    return e.value.code or 0

def test_the_command_sets_fields_and_takes_a_run_s(tiny, tmp_path, capsys):
    base = 'train',tiny,'--arch','stride2','--epochs',1,'--bs',16
    assert not run_cli(*base, '--set','smooth=.2','--set','affine={"shift":2}','--split','random','--valid-pct','.2',
                       '--out',tmp_path/'a')
    assert not run_cli('train','--config',tmp_path/'a','--out',tmp_path/'b')
    a,b = (Run(tmp_path/o) for o in 'ab')
    assert (a.metrics['settings']==b.metrics['settings'] and a.metrics['settings']['smooth']==.2
            and (a/'submission.csv').read_bytes()==(b/'submission.csv').read_bytes())
    assert not run_cli(*base[:-4], '--epochs',1,'--bs',16,'--folds',2,'--out',
                       tmp_path/'f') and Run(tmp_path/'f').metrics['n_valid']==60
    for args,code,says in ((['--set','smoth=1'],1,'smooth'), (['--set','epochs=2'],2,'set the same field'),
                           (['--set','ema=2'],1,'ema'), (['--folds','1'],2,'folds'), (['--split','x'],2,'stratified')):
        capsys.readouterr()
        assert run_cli(*base, *args, '--out', tmp_path/'no')==code
        err = capsys.readouterr().err
        assert says in err and 'Traceback' not in err and not (tmp_path/'no').exists()

@pytest.fixture
def my_py(tmp_path):
    f = tmp_path/'my_own_net.py'
    f.write_text("from digitfast.models.nets import arch, stride2\nfrom digitfast.learn.recipe import recipes, "
                 "Recipe\n@arch('mine', 'me')\ndef mine(n_out=10, side=28): return stride2(n_out, side, (2,4))\n"
                 "recipes['my-recipe'] = Recipe('mine', epochs=1, bs=16, valid_pct=.2)\n")
    yield f
    forget()
def forget():
    for d,k in (archs,'mine'),(recipes,'my-recipe'),(sys.modules,'my_own_net'): d.pop(k, None)
    plugins.imported.clear(); plugins.import_sources.clear()

def test_import_registers_for_every_subcommand_and_is_needed_to_load(my_py, tiny, tmp_path, capsys):
    assert not run_cli('train', tiny, '--import', my_py, '--recipe', 'my-recipe', '--out', tmp_path/'r')
    r = Run(tmp_path/'r')
    assert list(r.metrics['imports'])==['my_own_net.py'] and not [o for o in r.rglob('*.py')]
    assert not run_cli('predict', r, '--out', tmp_path/'s.csv', f'--import={my_py}')
    forget()
    capsys.readouterr()
    assert run_cli('predict', r, '--out', tmp_path/'t.csv')==1
    assert 'my_own_net.py' in capsys.readouterr().err
    assert not (tmp_path/'t.csv').exists()
    my_py.write_text(my_py.read_text()+'\n# changed')
    assert run_cli('predict', r, '--out', tmp_path/'t.csv', '--import',
                   my_py)==1 and 'expected' in capsys.readouterr().err
    for f in predict_csv,(lambda o, **k: train(config=o, **k)):
        with pytest.raises(RunError, match='expected'): f(r, out=tmp_path/'t.csv', say=quiet)

@pytest.mark.parametrize('text,says',
                         [(None,'No such file'), ('1/0','line 1: ZeroDivisionError'), ('\n(','line 2'),
                          ('import nothing_here','nothing_here'), ('raise SystemExit(3)','SystemExit'),
                          ('x="\\0"\nraise Exception("a\\nb")','line 2')])
def test_a_module_that_cannot_be_imported_is_one_line(text, says, tmp_path, tiny, capsys):
    f = tmp_path/'broken_module.py'
    if text is not None: f.write_text(text)
    assert run_cli('train', tiny, '--import', f, '--out', tmp_path/'r')==1
    err = capsys.readouterr().err
    assert says in err and err.count('\n')==1 and not (tmp_path/'r').exists()

own_registry = """
from torch import nn
from digitfast.models.nets import archs, stride2
from digitfast.learn.recipe import Recipe, recipes
def mine(n_out, side): return nn.Sequential(nn.Flatten(), nn.Linear(side*side, n_out))
archs['mine'] = mine
recipes['my-recipe'] = Recipe(mine, epochs=1)
recipes['my-folds'] = Recipe('mine', epochs=1, folds=3, vary=({}, dict(arch='stride2')))
"""

def test_models_lists_what_was_put_directly_into_the_registries(tmp_path, capsys):
    (f := tmp_path/'my_own_net.py').write_text(own_registry)
    try:
        assert not run_cli('models', '--import', f)
        out = capsys.readouterr().out.splitlines()
        assert next(o for o in out if o.startswith('my-folds')).split()[1:7]==['mine','stride2','3','x','1','epoch']
        assert next(o for o in out if o.startswith('my-recipe')).split()[1]=='mine'
        assert not run_cli('models', '--import', f, '--json')
        assert json.loads(capsys.readouterr().out)['recipes']['my-recipe']['arch']=='mine'
    finally:
        recipes.pop('my-folds', None)
        forget()

@pytest.mark.parametrize('text,says', [
    ("archs['mine'] = stride2(10, 28)",'builds a net'), ("archs['mine'] = None",'builds a net'),
    ("archs[3] = stride2","the key '3'"),
    ("losses['my-loss'] = 'l1'",'builds a loss'), ("opts['my-opt'] = 3",'optimiser'),
    ("recipes['my-recipe'] = dict(arch='small')",'a Recipe'), ("recipes['my-recipe'] = Recipe",'a Recipe')])
def test_what_can_be_no_architecture_loss_or_recipe_is_not_registered(text, says, tmp_path, capsys):
    known = archs,losses,opts,recipes
    was = [dict(o) for o in known]
    (f := tmp_path/'my_own_net.py').write_text('from digitfast.models.nets import archs, stride2\n'
        'from digitfast.learn.loss import losses\nfrom digitfast.learn.callbacks import opts\n'
        f'from digitfast.learn.recipe import Recipe, recipes\n{text}\n')
    try:
        assert run_cli('models', '--import', f)==1
        err = capsys.readouterr().err
        assert says in err and 'my_own_net.py' in err and err.count('\n')==1
        assert [dict(o) for o in known]==was and 'my_own_net' not in sys.modules   # nothing was done
        f.write_text("from digitfast.models.nets import archs, stride2\narchs['mine'] = stride2\n")
        assert not run_cli('models', '--import', f)  # fixed, in the same process
    finally: forget()

in_training = """
from torch import nn
from digitfast.learn.loss import losses
from digitfast.models.nets import arch, stride2
class Late(nn.Module):
    def __init__(self, n_out): super().__init__(); self.m = stride2(n_out)
    def forward(self, x):
        if self.training: raise ValueError('no more\\nof this')
        return self.m(x)
@arch('late', 'me')
def late(n_out, side): return Late(n_out)
def loss(n, smooth):
    def f(p, y, reduction='mean'): return p.nothing
    return f
losses['my-loss'] = loss
"""

@pytest.mark.parametrize('words,says', [(('late',), 'line 8: ValueError: no more?of this'),
                                        (('stride2','--set','loss=my-loss'), "line 13: AttributeError: 'Tensor")])
def test_code_of_ones_own_that_fails_in_training_is_named_by_its_line(words, says, tiny, tmp_path, capsys):
    (f := tmp_path/'my_own_net.py').write_text(in_training)
    try: assert run_cli('train', tiny, '--import', f, '--arch', *words, '--epochs', 1, '--out', tmp_path/'r')==1
    finally:
        for d,k in (archs,'late'),(losses,'my-loss'): d.pop(k, None)
        forget()
    err = capsys.readouterr().err.splitlines()
    assert len(err)==1 and f'my_own_net.py, {says}' in err[0] and '--debug' in err[0]

def test_rows_are_dropped_from_training_alone(tiny, tmp_path, capsys):
    pd.DataFrame(dict(row=[0,1,2,3,4,5], label=0)).to_csv(tmp_path/'drop.csv', index=False)
    lines = []
    a = train(tiny, out=tmp_path/'a', say=quiet, **TINY)
    b = train(tiny, drop=tmp_path/'drop.csv', out=tmp_path/'b', say=lines.append, **TINY)
    held = set(a.predictions().rows)&set(range(6))
    assert (a.predictions().rows.tolist()==b.predictions().rows.tolist() and b.metrics['n_train']==48-6+len(held)
            and any(o.startswith('drop:') for o in lines))
    again = train(config=b, out=tmp_path/'c', say=quiet)
    assert b.metrics['drop']['rows']==[0,1,2,3,4,5] and again.metrics['n_train']==b.metrics['n_train']
    for bad in 'row\n60\n','row\nx\n','row\n-1\n','a,b\n1,2\n','':
        (tmp_path/'bad.csv').write_text(bad)
        refused(lambda: train(tiny, drop=tmp_path/'bad.csv', out=tmp_path/'no', say=quiet, **TINY), 'bad.csv',
                left=tmp_path/'no')

# ---- labelled test rows

def test_a_labelled_test_file_is_scored_and_nothing_chosen_by_it(tmp_path):
    test = digits(30, seed=1)
    csvs(tmp_path/'d', test=test, sample=False)
    lines = []
    r = train(tmp_path/'d', out=tmp_path/'r', say=lines.append, **TINY)
    m,p = r.metrics,r.predictions()
    assert (m['test_score']==(p.test_probs.argmax(1)==test.label).mean()
            and m['test_low']<=m['test_score']<=m['test_high'])
    assert any('30 labelled test rows' in o and 'used for nothing else' in o for o in lines[-5:])
    test.label = (test.label+1)%3
    csvs(tmp_path/'e', test=test, sample=False)
    other = train(tmp_path/'e', out=tmp_path/'s', say=quiet, **TINY)
    assert (other/'model/model.safetensors').read_bytes()==(r/'model/model.safetensors').read_bytes()

# ---- predicting new rows

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Return a run on `digits` that has learnt something"
    tmp = tmp_path_factory.mktemp('good')
    return train(csvs(tmp/'data', n=200), out=tmp/'run', say=quiet, arch='fastbook', epochs=6, bs=16, lr=.02)

NEW = dict(rows=lambda d: digits(30, seed=5).drop(columns='label').to_csv(d/'new.csv', index=False),
           other_names=lambda d: digits(30, seed=5, prefix='px').drop(columns='label').to_csv(d/'new.csv', index=False),
           labelled=lambda d: digits(30, seed=5).to_csv(d/'new.csv', index=False),
           folder=lambda d: (d/'f').mkdir()
           or digits(30, seed=5).drop(columns='label').to_csv(d/'f'/'test.csv', index=False))
@pytest.mark.parametrize('name', NEW)
@pytest.mark.parametrize('probs', [False,True])
def test_new_rows_are_predicted(name, probs, good, tmp_path):
    NEW[name](tmp_path)
    lines,df = [],digits(30, seed=5)
    f = predict_csv(good, tmp_path/('f' if name=='folder' else 'new.csv'), tmp_path/'out.csv', device='cpu',
                    say=lines.append, probs=probs)
    got,want = pd.read_csv(f),predict_rows(good.learner('cpu'), df.drop(columns='label'))
    assert got.iloc[:,1].tolist()==want.argmax(1).tolist() and got.iloc[:,0].tolist()==list(range(1,31))
    assert list(got.columns[2:])==(['p_0','p_1','p_2'] if probs else [])
    assert not probs or np.allclose(got.iloc[:,2:], want, atol=1e-5)
    assert any(o.startswith('control rows:') for o in lines)
    score = [o for o in lines if o.startswith('score ')]
    assert ((len(score)==1 and f'{100*(want.argmax(1)==df.label).mean():.2f} %' in score[0])
            if name=='labelled' else not score)

def test_the_run_s_own_training_rows_are_known_for_what_they_are(good, tmp_path):
    lines = []
    predict_csv(good, Path(good.metrics['data']['path'])/'train.csv', tmp_path/'out.csv', device='cpu',
                say=lines.append)
    assert any('180 of these rows are training rows' in o for o in lines), lines

def test_the_command_predicts_a_table(good, tmp_path, capsys):
    NEW['labelled'](tmp_path)
    assert not run_cli('predict', good, tmp_path/'new.csv', '--out', tmp_path/'o.csv',
                       '--probs') and len(pd.read_csv(tmp_path/'o.csv').columns)==5

@pytest.mark.parametrize('df', [digits(5, side=9), pd.DataFrame(dict(a=[1]))], ids=['side','no pixels'])
def test_rows_that_do_not_fit_raise_an_error(df, good, tmp_path):
    df.to_csv(tmp_path/'new.csv', index=False)
    with pytest.raises(DataError): predict_csv(good, tmp_path/'new.csv', tmp_path/'o.csv', device='cpu', say=quiet)
    assert not (tmp_path/'o.csv').exists()

def test_near_copies_are_warned_of(tmp_path):
    rng,df = np.random.default_rng(0),digits(12, side=16)
    noisy = pd.concat([df]*20, ignore_index=True)
    x = noisy.iloc[:,1:].to_numpy().astype(int)+rng.integers(-6, 7, (240,256))
    noisy.iloc[:,1:] = x.clip(0, 255).astype(np.uint8)
    for frame,warned in (noisy,True),(digits(240, side=16),False):
        lines = []
        r = train(frame, out=tmp_path/str(warned), say=lines.append, **TINY)
        assert any('near copy' in o for o in lines)==warned and (r.metrics['near_valid']>.9)==warned

@pytest.mark.parametrize('order', [1,-1])
def test_an_image_that_one_of_the_joined_was_trained_on_stays_left_out(order, tmp_path):
    """Row 0 is held out by both runs, but its copy, row 59, is a training row of the first. The order of the runs does
    not matter"""
    df = digits()
    df.iloc[59] = df.iloc[0]
    held = [*range(12)],[*range(12),59]
    runs = [save_run(fitted(loaders(df, valid=v)), df, tmp_path/str(len(v)), say=quiet) for v in held]
    assert [o.predictions(same=True).same.sum() for o in runs]==[1,0]
    joined = ensemble(runs[::order], tmp_path/'joined', data=df, say=quiet)
    p = joined.predictions(same=True)
    assert p.rows[p.same].tolist()==[0] and joined.metrics['n_valid']==11 and joined.metrics['same_valid']==1

def test_a_test_frame_beside_a_frame(frames, tmp_path):
    a,b = (train(*o, out=tmp_path/str(i), say=quiet, test=t, **TINY)
           for i,(o,t) in enumerate((([frames[0]],frames[1]), ([frames],None))))
    assert (a/'submission.csv').read_bytes()==(b/'submission.csv').read_bytes()

@pytest.mark.parametrize('options', [dict(label='kind'), dict(transpose=True), dict(test='x.csv')])
def test_data_that_were_read_already_are_not_read_in_another_way(options, tiny, tmp_path):
    refused(lambda: train(read_csvs(tiny), out=tmp_path/'r', say=quiet, **options, **TINY), 'read already',
            left=tmp_path/'r')

def test_runs_of_a_labelled_column_are_joined_with_the_data_as_read(tmp_path):
    csvs(tmp_path/'d', train=digits().rename(columns=dict(label='kind')).assign(batch=1), sample=False)
    d = read_csvs(tmp_path/'d', label='kind')
    runs = [train(tmp_path/'d', label='kind', seed=k, out=tmp_path/str(k), say=quiet, **TINY) for k in range(2)]
    a,b = (ensemble(runs, tmp_path/o, data=x, say=quiet) for o,x in dict(path=None, read=d).items())
    assert (a/'submission.csv').read_bytes()==(b/'submission.csv').read_bytes()
