"""Tests of values that are easily confused, such as data and a frame, or probabilities and labels. Each mistake raises
an error of one sentence, and so do lists of different lengths."""
import numpy as np, pandas as pd, pytest, torch
from torch import nn
from fastai.vision.all import (Brightness, Callback, CategoryBlock, ColReader, DataBlock, Learner, MixUp,
                               RandomSplitter, TensorImage, Transform)
from digitfast.core import DigitError
from digitfast.data.block import DigitBlock, DigitDataLoaders
from digitfast.data.transforms import pixel_stats, same_images
from digitfast.runs.weights import PixelsToProbs, export_onnx, load_net, save_net
from digitfast.report.plots import occlusion, plot_calibration, plot_class_accuracy, plot_confusion, show_digits
from digitfast.learn.learner import digit_learner
from digitfast.report.measure import most_confused, suspicious_labels, wilson, worst_mistakes
from digitfast.learn.predict import predict_rows, predict_test
from digitfast.data.read import as_data
from digitfast.report.page import report
from digitfast.runs.preds import Preds
from digitfast.kaggle.submission import check_submission, save_submission, submission
from conftest import digits

DATA = as_data((digits(), digits(20, seed=1).drop(columns='label')))
X = DATA.train[DATA.pixels].to_numpy().reshape(-1, 8, 8)
Y,P = np.arange(9)%3,np.eye(3)[np.arange(9)%3]

@pytest.fixture(scope='module')
def learn(): return digit_learner(DigitDataLoaders.from_df(DATA.train, bs=16, device='cpu'), 'stride2')

FRAMES = {'a path':'sample', 'data':DATA, 'an array':X, 'nothing':None}
DOORS = {f'{name} for a frame':(lambda l, o=o: DigitDataLoaders.from_df(o), 'read_csvs(path).train')
         for name,o in FRAMES.items()}|{
    f'{name} for test rows':(lambda l, o=o: predict_test(l, o), 'read_csvs(path).test') for name,o in FRAMES.items()}|{
    f'{name} for DataLoaders':(lambda l, o=o: digit_learner(o), 'DataLoaders') for name,o in FRAMES.items()}|{
    'other pixels':(lambda l: predict_test(l, DATA.test.iloc[:,1:]), 'the test rows have no pixel0'),
    'rows for a Learner':(lambda l: predict_rows(DATA.test, l), 'expected a Learner, found a DataFrame'),
    'a net for a Learner':(lambda l: save_net(l.model, 'x'), 'expected a Learner'),
    'a net for a Learner, ONNX':(lambda l: export_onnx(l.model, 'x'), 'expected a Learner'),
    'probabilities for labels':(lambda l: submission(np.eye(3)[[0]*20], DATA), 'argmax(1)'),
    'a path for data':(lambda l: submission([0]*20, 'sample'), 'read_csvs'),
    'labels for a submission':(lambda l: save_submission([0]*20, data=DATA), 'as submission gives it'),
    'a submission for its path':(lambda l: check_submission(submission([0]*20, DATA), DATA), 'the path of a'),
    'probabilities for predictions':(lambda l: plot_confusion(Y, P), 'argmax(1)'),
    'labels for probabilities':(lambda l: worst_mistakes(Y, Y), 'expected probabilities'),
    'names for numbers':(lambda l: Preds([*'abcabcabc'], P), 'class number'),
    'none for numbers':(lambda l: plot_calibration(None, P), 'class number'),
    'too few classes':(lambda l: Preds(Y, P[:,:2]), 'class number 2, expected numbers below 2'),
    'a number below 0':(lambda l: suspicious_labels(Y-1, P), '0 or above'),
    'more right than there are':(lambda l: wilson(5, 3), 'found 5 correct rows of 3'),
    'no rows':(lambda l: wilson(0, 0), 'found 0 correct rows of 0'),
    'fewer titles':(lambda l: show_digits(X, Y), 'expected one label per image'),
    'words for images':(lambda l: show_digits('sample'), 'expected images')}|{
    f'fewer predictions, {f.__name__}':(lambda l, f=f: f(Y, Y[:-1]), 'found 9 and 8 rows')
        for f in (most_confused, plot_confusion, plot_class_accuracy)}|{
    f'fewer labels, {f.__name__}':(lambda l, f=f: f(Y[:-1], P), 'found 8 and 9 rows')
        for f in (Preds, worst_mistakes, suspicious_labels, plot_calibration)}

@pytest.mark.parametrize('name', DOORS)
def test_confused_values_are_reported(name, learn):
    f,says = DOORS[name]
    with pytest.raises(DigitError) as e: f(learn)
    assert says in str(e.value)

def test_tensors_and_arrays_are_as_good():
    x = torch.from_numpy(X.astype(np.uint8))
    assert pixel_stats(x)==pixel_stats(x.numpy())
    assert same_images(x[:5], x[3:9]).tolist()==same_images(x[:5].numpy(), x[3:9].numpy()).tolist()==[True]*2+[False]*4
    assert most_confused(torch.tensor([0,1]), torch.tensor([1,1]))==[(0,1,1)]
    assert worst_mistakes(torch.tensor([1]), torch.tensor([[.9,.1]])).tolist()==[0]

@pytest.fixture(scope='module')
def block():
    "Return a Learner on the user's own `DataBlock`, whose classes are NumPy's numbers"
    db = DataBlock((DigitBlock(), CategoryBlock()), get_y=ColReader('label'), splitter=RandomSplitter(.3, seed=3))
    learn = digit_learner(db.dataloaders(DATA.train, bs=16, device='cpu'), 'stride2')
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .02)
    return learn

def test_a_datablock_of_one_s_own_is_saved_exported_and_looked_into(block, tmp_path):
    ort = pytest.importorskip('onnxruntime')
    want = predict_rows(block, DATA.test)
    assert np.allclose(predict_rows(load_net(save_net(block, tmp_path/'net'), 'cpu'), DATA.test), want, atol=1e-4)
    net = ort.InferenceSession(str(export_onnx(block, tmp_path/'net.onnx')))
    p, = net.run(None, {'image':DATA.test.to_numpy(np.uint8).reshape(-1, 1, 8, 8)})
    assert np.allclose(p, want, atol=1e-4)
    assert occlusion(block, DATA.test.iloc[:2]).shape==(2, 8, 8) and 'img' in report(block).html

class Invert(Transform):
    order = 20
    def encodes(self, x:TensorImage): return -x

class Hotter(Callback):
    def after_pred(self): self.learn.pred = 9*self.pred+torch.tensor([1.,0.,0.])

@pytest.mark.parametrize('tfm,cb', [(Invert, None), (None, Hotter), (None, None), (Brightness(p=1.), MixUp)])
def test_only_a_learner_that_is_its_net_alone_is_exported(tfm, cb, tmp_path):
    """The file would lose a transform or callback that changes predictions. Those that only change the training do not
    matter"""
    torch.manual_seed(0) # a net that learnt nothing would say the same of any image
    dls = DigitDataLoaders.from_df(DATA.train, bs=16, device='cpu', batch_tfms=[tfm] if tfm else None)
    learn = digit_learner(dls, 'stride2', cbs=cb)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .02)
    for f in (lambda: save_net(learn, tmp_path/'net'), lambda: export_onnx(learn, tmp_path/'net.onnx')):
        if tfm is not Invert and cb is not Hotter: assert f().exists()
        else:
            with pytest.raises(DigitError, match='predictions of this Learner'): f()
            assert not list(tmp_path.iterdir())

def test_a_net_that_no_name_can_build_is_not_saved_by_name(block, tmp_path):
    own = Learner(block.dls, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), loss_func=block.loss_func)
    with pytest.raises(DigitError, match='@arch'): save_net(own, tmp_path/'net')
    plain = Learner(DigitDataLoaders.from_df(DATA.train, bs=16, device='cpu'), block.model, loss_func=block.loss_func)
    plain.dls.train.after_batch.fs.clear()
    for f in (lambda: save_net(plain, tmp_path/'net'), lambda: export_onnx(plain, tmp_path/'o.onnx'),
              lambda: occlusion(plain, X)):
        with pytest.raises(DigitError, match='batch transforms'): f()
    assert not list(tmp_path.iterdir())

def test_a_net_that_torchs_cross_entropy_trained_is_saved_with_its_softmax(block, tmp_path):
    raw = digit_learner(block.dls, 'stride2', loss_func=nn.CrossEntropyLoss())
    loaded = load_net(save_net(raw, tmp_path/'net'), 'cpu')
    xb = torch.from_numpy(X[:,None])
    before,after = (PixelsToProbs(o)(xb) for o in (raw, loaded))
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after.sum(1), torch.ones(len(X)))
