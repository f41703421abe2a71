"""Each mistake in nbs/tutorials/05a_wrong_measurements.ipynb and 05b_wrong_training.ipynb has a guard, which is tested
here"""
from dataclasses import replace
import numpy as np, pandas as pd, pytest, torch
from fastai.losses import CrossEntropyLossFlat
from torch import nn
from digitfast.core import DataError, DigitError, RunError
from digitfast.models.scratch import by_hand, cross_entropy, mean_squared_error, softmax_rmse
from digitfast.data.block import DigitDataLoaders
from digitfast.report.plots import plot_class_accuracy
from digitfast.learn.recipe import Recipe, recipes
from digitfast.learn.loss import ValueLoss
from digitfast.learn.learner import digit_learner, seed_all
from digitfast.models.nets import archs, create_model
from digitfast.learn.predict import predict_rows, predict_test
from digitfast.kaggle.submission import submission
from conftest import digits

DF,TEST = digits(310),digits(40, seed=7).drop(columns='label')   # 62 validation rows: the last batch is never full

def fit(arch='fastbook', epochs=3, lr=.01, df=DF, **kw):
    dls = DigitDataLoaders.from_df(df, bs=16, val_bs=16, device='cpu', **kw)
    seed_all(0, dls)
    learn = digit_learner(dls, arch)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn

@pytest.fixture(scope='module')
def learn(): return fit()

def hits(learn): return predict_rows(learn).argmax(1)==learn.dls.valid_ds.items.label.to_numpy()

# ---- 1. the validation set built from the training frame

@pytest.mark.parametrize('name', list(recipes))
def test_no_row_is_on_both_sides(name):
    "In the split of each recipe, each row is on one side"
    dls = recipes[name].dls(DF, device='cpu')
    trn,val = (list(o.items.index) for o in (dls.train_ds, dls.valid_ds))
    assert trn and val and sorted(trn+val)==list(DF.index)

def test_a_row_that_is_validated_on_does_not_train():
    "The labels of validation rows do not change the network"
    valid,other = list(range(250,310)),DF.copy()
    other.loc[250:,'label'] = (other.label[250:]+1)%3
    a,b = (fit('stride2', 1, df=o, valid=valid) for o in (DF, other))
    assert all(torch.equal(p,q) for p,q in zip(a.model.parameters(), b.model.parameters()))

# ---- 2. the test set built from the training frame

def test_predictions_of_the_training_frame_are_too_many(learn, data):
    with pytest.raises(DataError, match='4,000 predictions for 1,000 ids'): submission(np.zeros(4000, int), data)

@pytest.mark.parametrize('wrong', [lambda df,n: df[:n], lambda df,n: df[::-1][:n], lambda df,n: pd.concat([df]*n)[:n]],
    ids=['first rows','last rows','repeated'])
def test_control_rows_detect_a_training_frame_as_test_set(wrong, learn, monkeypatch):
    "This also holds if the number of rows is right"
    probs,right = predict_rows(learn),learn.dls.test_dl
    assert hits(learn).mean()>.9 and len(predict_test(learn, TEST, probs)[0])==len(TEST)
    monkeypatch.setattr(learn.dls, 'test_dl', lambda items, **kw: right(wrong(learn.dls.train_ds.items, len(items)),
        **kw), raising=False)
    with pytest.raises(RunError, match='control rows'): predict_test(learn, TEST, probs)

# ---- 3. (256,) against (256, 1)

@pytest.mark.parametrize('loss', [mean_squared_error, cross_entropy, softmax_rmse])
def test_losses_from_scratch_do_not_broadcast(loss):
    with pytest.raises(DigitError, match=r'\(256, 1\).*\(256,\)'): loss(torch.randn(256, 1), torch.randn(256))

def test_the_learners_loss_of_a_value_compares_row_with_row():
    p,t = torch.randn(256, 1),torch.randint(0, 10, (256,))
    assert torch.isclose(ValueLoss(10)(p, t), ((p[:,0]-t)**2).mean())

# ---- 4. regression on the digit's value

def test_classes_are_not_numbers_unless_asked_for():
    """Any names of classes give one output for each class and cross entropy. Only the article's own recipe is a
    regression"""
    df = digits(60, classes=['0','4','9'])
    dls = DigitDataLoaders.from_df(df, bs=16, device='cpu')
    learn = digit_learner(dls, 'stride2')
    assert isinstance(learn.loss_func, CrossEntropyLossFlat) and learn.model(dls.one_batch()[0]).shape==(16,3)
    assert Recipe().loss=='cross_entropy' and [k for k,r in recipes.items() if r.loss=='value']==['two-layer-learner']

def test_metric_and_predictions_squash_as_the_loss_says():
    "Accuracy and probabilities come from the loss function's `decodes` and `activation`"
    recipe = replace(recipes['two-layer-learner'], epochs=1)
    dls = recipe.dls(DF, device='cpu')
    seed_all(0, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging():
        recipe.fit(learn)
        acc = learn.validate()[1]
    assert acc==pytest.approx(hits(learn).mean(), abs=1e-6)
    probs = predict_rows(learn)
    assert probs.shape==(62,3) and np.allclose(probs.sum(1), 1, atol=1e-5)

# ---- 5. softmax before cross entropy

@pytest.mark.parametrize('name', [k for k in archs if k not in by_hand and k not in ('mlp-100','mlp-512-256')])
def test_nets_end_in_raw_activations(name):
    "No network ends in softmax, so the loss can reach zero. The networks of two articles are kept as written"
    seed_all(0)
    net = create_model(name, 10, 28).eval()
    with torch.no_grad(): acts = net(torch.randn(8, 1, 28, 28))
    for o in (acts, acts.exp()): assert not torch.allclose(o.sum(1), torch.ones(8), atol=1e-3)
    assert not any(isinstance(m, (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)) for m in net.modules())

@pytest.mark.parametrize('name', list(by_hand))
def test_systems_from_scratch_give_the_loss_log_probabilities(name):
    "The softmax of cross entropy does not change log-probabilities"
    dls = DigitDataLoaders.from_df(DF, bs=16, device='cpu', mean=0., std=1.)
    acts = digit_learner(dls, name).model(dls.one_batch()[0])
    assert torch.allclose(torch.Tensor(acts).exp().sum(1), torch.ones(16), atol=1e-4)

def test_the_loss_goes_below_the_floor_of_two_softmaxes():
    "With three classes, the loss of a second softmax can't be below 0.551"
    floor = nn.functional.cross_entropy(torch.eye(3), torch.arange(3)).item()
    learn = fit(epochs=4)
    with learn.no_bar(), learn.no_logging(): loss = learn.validate()[0]
    assert floor==pytest.approx(.5514, abs=1e-4) and loss<floor/2

# ---- 6. a second Learner on the same model

def test_a_net_that_is_built_raises_an_error(learn):
    with pytest.raises(DigitError, match='already built'): digit_learner(learn.dls, learn.model)

def test_each_learner_begins_at_the_beginning(learn):
    "Training one Learner does not change the next one"
    def fresh():
        seed_all(1)
        return digit_learner(learn.dls, 'stride2')
    a,b = fresh(),fresh()
    before = [p.clone() for p in b.model.parameters()]
    with a.no_bar(), a.no_logging(): a.fit(1, .1)
    assert all(torch.equal(p,q) for p,q in zip(before, b.model.parameters()))
    assert all(torch.equal(p,q) for p,q in zip(before, fresh().model.parameters()))
    assert any(not torch.equal(p,q) for p,q in zip(before, a.model.parameters()))

# ---- 7. the last batch is not full

def test_accuracy_of_each_class_counts_every_row(learn):
    targs = learn.dls.valid_ds.items.label.to_numpy()
    assert len(targs)%16
    texts = [o.get_text() for o in plot_class_accuracy(targs, predict_rows(learn).argmax(1)).texts]
    assert texts==[f'{(~hits(learn))[targs==k].sum()} of {(targs==k).sum()}' for k in range(3)]

# ---- 8. the last batch's accuracy for the whole's

@pytest.mark.parametrize('bs', [1, 7, 16, 62, 100])
def test_accuracy_is_over_all_rows_whatever_the_batches(bs, learn):
    "Half of the labels are wrong, all at the end, so the batches differ"
    df = learn.dls.valid_ds.items.copy()
    df['label'] = np.where(np.arange(62)<40, predict_rows(learn).argmax(1), (predict_rows(learn).argmax(1)+1)%3)
    dl = learn.dls.test_dl(df, with_labels=True, bs=bs)
    with learn.no_bar(), learn.no_logging(): acc = learn.validate(dl=dl)[1]
    assert acc==pytest.approx(40/62, abs=1e-6)

# ---- 9. eval, and never back

def test_every_epoch_trains_in_training_mode():
    "Batch norm learns from each training batch and from no other, although each epoch validates and predicts"
    learn = fit(epochs=2)
    n,bn = len(learn.dls.train),[m for m in learn.model.modules() if isinstance(m, nn.BatchNorm2d)][0]
    assert bn.num_batches_tracked==2*n
    a = predict_rows(learn)
    assert bn.num_batches_tracked==2*n and np.array_equal(a, predict_rows(learn))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert bn.num_batches_tracked==3*n
