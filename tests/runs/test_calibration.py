"""Tests of the temperature: it calibrates probabilities, changes no label, and is measured on rows that it was not
fitted on"""
import json, shutil
import numpy as np, pandas as pd, pytest
from conftest import TINY, csvs, digits
from digitfast.core import DigitError, RunError
from digitfast.runs.calibration import calibrate, cross_calibrate, fit_temperature, measure_calibration
from digitfast.runs.preds import Preds
from digitfast.runs.run import Run

def honest(n=2000, c=10, seed=0, spread=2):
    "Return labels, and the probabilities with which they were drawn"
    rng = np.random.default_rng(seed)
    p = np.exp(spread*rng.normal(size=(n,c)))
    p = (p/p.sum(1, keepdims=True)).astype(np.float32)
    return (p.cumsum(1)>rng.random((n,1))).argmax(1).clip(max=c-1), p

def heated(probs, t):
    "Return the predictions of a network that is calibrated at the temperature `t`"
    logits = np.log(probs.astype(float))*t
    q = np.exp(logits-logits.max(1, keepdims=True))
    return (q/q.sum(1, keepdims=True)).astype(np.float32)

@pytest.mark.parametrize('t', [.3, .8, 1.5, 4])
def test_a_known_temperature_is_found(t):
    y,p = honest()
    assert fit_temperature(y, heated(p, t))==pytest.approx(t, rel=.05)

def test_it_is_the_best_of_a_grid():
    y,p = honest(500, 3, seed=4)
    p = heated(p, 1.7)
    t = fit_temperature(y, p)
    def loss(t): return -np.log(calibrate(p, t)[np.arange(len(y)),y].astype(float)).mean()
    assert loss(t)<=min(loss(o) for o in np.geomspace(.1, 10, 400))+1e-6

edge = np.float32([[.5,.5,0], [0,.5,.5], [1,0,0], [1e-45,1,0], [1/3,1/3,1/3], [0,0,1]])

@pytest.mark.parametrize('t', [.05, .5, 1, 1.001, 3, 20])
def test_no_label_changes(t):
    "Check ties, zeros, denormal numbers, and neighbours that rounding makes equal"
    up = np.nextafter(np.float32(.25), np.float32(1))
    close = np.float32([[.25,up,.25,.25], [.25,.25,.25,up]])
    for p in edge,close,heated(honest(400)[1], .05),heated(honest(400)[1], 30):
        q = calibrate(p, t)
        assert (q.argmax(1)==p.argmax(1)).all() and q.dtype==np.float32
        assert np.abs(q.sum(1, dtype=float)-1).max()<1e-5 and q.min()>=0 and q.max()<=1

def test_a_temperature_of_1_changes_nothing(): assert calibrate(edge, 1) is edge

@pytest.mark.parametrize('t', [0, -1, float('nan'), float('inf'), .049, 20.1, '1', True, None])
def test_a_temperature_out_of_range_raises_an_error(t):
    with pytest.raises(DigitError, match='temperature is .*, expected a number from 0.05 to 20'): calibrate(edge, t)

def test_too_few_rows_fix_no_temperature():
    y,p = honest(99)
    with pytest.raises(DigitError, match='found 99 held-out rows, expected 100 or more'): fit_temperature(y, p)

def test_a_bound_is_reported():
    y,p = honest(300)
    sure = np.eye(10, dtype=np.float32)[y]*.5+.05
    with pytest.raises(DigitError, match='beyond 0.05, because hardly a held-out row is wrong'):
        fit_temperature(y, sure)
    with pytest.raises(DigitError, match='beyond 20, because the predictions say little'):
        fit_temperature(y, p[np.random.default_rng(1).permutation(300)])
    with pytest.raises(DigitError, match='say little'): fit_temperature(y, np.full((300,10), .1, np.float32))
    fields,why = measure_calibration(Preds(y, sure))
    assert not fields and 'beyond 0.05' in why

def test_the_cross_fitted_loss_is_not_that_of_the_fitted_rows():
    y,p = honest(120, seed=3)
    p = heated(p, 1.4)
    fields,_ = measure_calibration(Preds(y, p))
    own = Preds(y, calibrate(p, fields['temperature'])).log_loss
    assert fields['calibrated_log_loss']==pytest.approx(Preds(y, cross_calibrate(y, p)).log_loss)
    assert fields['calibrated_log_loss']>own+1e-4

def test_a_row_does_not_fix_its_own_temperature():
    "If labels of one part change, the probabilities of that part stay, and those of the others change"
    from digitfast.runs.calibration import deal_rows
    y,p = honest(300)
    part = deal_rows(300)==2
    other = np.where(part, p.argmin(1), y)
    a,b = cross_calibrate(y, p),cross_calibrate(other, p)
    assert (a[part]==b[part]).all() and (a[~part]!=b[~part]).any(1).all()

def test_images_that_were_trained_on_do_not_count():
    y,p = honest(400)
    p = heated(p, 2)
    same = np.arange(400)<150
    lies = np.where(same, p.argmin(1), y)
    assert measure_calibration(Preds(lies, p, same=same))==measure_calibration(Preds(y[150:], p[150:]))

# A run with a temperature

@pytest.fixture(scope='module')
def run(sample_run, tmp_path_factory):
    "Return a run of an epoch on the sample, whose temperature is far from 1"
    out = tmp_path_factory.mktemp('calibrated')/'run'
    shutil.copytree(sample_run[0], out)
    f = out/'metrics.json'
    f.write_text(json.dumps(json.loads(f.read_text())|dict(temperature=.4)))
    return Run(out)

def uncalibrated(run, path):
    "Return a copy of `run` in the form of a version without temperatures"
    shutil.copytree(run, path)
    m = json.loads((path/'metrics.json').read_text())
    for k in 'temperature','calibrated_log_loss': m.pop(k, None)
    (path/'metrics.json').write_text(json.dumps(m))
    return Run(path)

def test_training_fits_one(tmp_path):
    """The temperature is below 1, because labels were smoothed a lot. A few labels are wrong, so that some predictions
    are wrong"""
    from digitfast.tasks.train import train
    df,lines = digits(750),[]
    df.loc[::12,'label'] = (df.label[::12]+1)%3
    options = TINY|dict(smooth=.5, bs=64, arch='mlp-25-25')
    run = train(csvs(tmp_path/'d', train=df), out=tmp_path/'run', say=lines.append, **options)
    m,p = run.metrics,run.predictions()
    assert m['temperature']==pytest.approx(fit_temperature(p.targs, p.probs)) and m['temperature']<.8
    assert m['log_loss']==pytest.approx(p.log_loss), 'the log-loss of the run is that of its network'
    assert m['calibrated_log_loss']<m['log_loss']
    [line] = [o for o in lines if o.startswith('calibration')]
    assert f"{m['calibrated_log_loss']:.4f} (cross-fitted)" in line and 'changes no label' in line

def test_a_small_run_says_why_it_has_none(tiny_run):
    run,lines = tiny_run
    assert 'temperature' not in run.metrics
    assert [o for o in lines if 'no temperature: found 12 held-out rows, expected 100 or more' in o]

def test_predicted_probabilities_are_calibrated(run, in_tmp):
    from digitfast.learn.predict import predict_rows
    from digitfast.tasks.predict import predict_csv
    rows = run.data().test.iloc[:64]
    rows.assign(label=0).to_csv('rows.csv', index=False)
    lines = []
    df = pd.read_csv(predict_csv(run, 'rows.csv', 'p.csv', 0, probs=True, say=lines.append))
    learn = run.learner('cpu')
    raw = predict_rows(learn, rows)
    want = calibrate(raw, .4)
    got = df.filter(like='p_').to_numpy(np.float32)
    assert np.abs(got-want).max()<1e-6 and np.abs(raw-want).max()>.05
    assert (df.iloc[:,1]==raw.argmax(1)).all()
    assert any("calibrated with the run's temperature of 0.4" in o for o in lines)

def test_onnx_keeps_labels_that_are_almost_ties():
    import torch
    from digitfast.runs.weights import _scale_probs
    up = np.nextafter(np.float32(.25), np.float32(1))
    p = np.concatenate([np.float32([[.25,up,.25,.25], [.25,.25,.25,up], [.5,.5,0,0], [1e-45,1,0,0]]),
                        heated(honest(200, 4)[1], 20)])
    for t in .05,.7,2,20:
        q = _scale_probs(torch.from_numpy(p), t).numpy()
        assert (q.argmax(1)==p.argmax(1)).all() and np.abs(q-calibrate(p, t)).max()<1e-5

def drawing(data, i=0):
    from PIL import Image
    im = data.train.iloc[i,1:].to_numpy(np.uint8).reshape(28, 28)
    return Image.fromarray(255-im).resize((280,280)).convert('RGB')

def test_pictures_and_the_demo_are_calibrated_and_their_doubts_are_not(run, data, in_tmp):
    import base64, io
    from digitfast.tasks.demo import Reader
    from digitfast.tasks.pictures import predict_pictures
    old,im = uncalibrated(run, in_tmp/'old'),drawing(data, 4)
    im.save('a.png')
    [a],[b] = (predict_pictures(o, ['a.png'], device='cpu', probs=True) for o in (old,run))
    p,q = (np.array([list(o['probs'].values())], np.float32) for o in (a,b))
    assert np.abs(calibrate(p, .4)-q).max()<1e-6 and np.abs(p-q).max()>.01
    assert (a['digit'],a['doubt'])==(b['digit'],b['doubt'])
    limit = (a['probability']+b['probability'])/2 # a temperature that makes the network certain removes no doubt
    [c],[d] = (predict_pictures(o, ['a.png'], device='cpu', sure=limit) for o in (old,run))
    assert c['probability']<limit<d['probability'] and c['doubt']==d['doubt']!=None
    f = io.BytesIO()
    im.save(f, 'PNG')
    res = Reader(run.learner('cpu')).read('data:image/png;base64,'+base64.b64encode(f.getvalue()).decode())
    assert res['digit']==str(b['digit']) and res['doubt']==b['doubt']
    assert dict(res['bars'])=={k:pytest.approx(v, abs=1e-4) for k,v in b['probs'].items()}

def test_an_older_run_has_a_temperature_of_1(run, in_tmp):
    assert uncalibrated(run, in_tmp/'old').learner('cpu').temperature==1

@pytest.mark.parametrize('bad', ['0', '-1', '1e9', '0.01', '"1"', 'true', '[1]', 'NaN', '1e999'])
def test_a_strangers_temperature_is_checked(run, in_tmp, bad):
    out = Run(shutil.copytree(run, in_tmp/'run'))
    f = out/'metrics.json'
    f.write_text(f.read_text().replace('"temperature": 0.4', f'"temperature": {bad}'))
    for do in (lambda: out.metrics, lambda: out.learner('cpu')):
        with pytest.raises(RunError, match='metrics.json') as e: do()
        assert '\n' not in str(e.value)

def test_the_report_shows_reliability_before_and_after(run, tiny_run):
    from digitfast.report.page import report
    assert 'reliability diagram before' in (new := report(run).html) and 'reliability diagram after' in new
    assert 'fitted on other rows' in new.replace('\n', ' ')
    old = (tiny_run[0]/'report.html').read_text() # of a run without a temperature
    assert 'reliability diagram' in old and 'diagram after' not in old and 'calibrates the net' not in old
