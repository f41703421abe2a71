"""Tests of greedy selection of weights: the selection, the cross-fitted accuracy, and that every prediction uses the
weights"""
import json
import numpy as np, pandas as pd, pytest
from conftest import TINY, command, csvs, digits
from digitfast.core import DigitError, RunError
from digitfast.runs.calibration import best_temperature, deal_rows, scaled_loss
from digitfast.runs.preds import Preds
from digitfast.runs.run import Run
from digitfast.tasks.ensemble import cross_weigh, ensemble, greedy_weights, mix_probs

def nets(*strengths, n=500, c=5, seed=0):
    "Return labels, and the probabilities of an invented network of each strength, which make different mistakes"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    scores = rng.normal(size=(len(strengths),n,c))+np.array(strengths)[:,None,None]*np.eye(c)[y]
    p = np.exp(scores)
    return y,(p/p.sum(-1, keepdims=True)).astype(np.float32)

def loss(y, p): return Preds(y, p).log_loss

def calibrated(y, p): return scaled_loss(y, p, best_temperature(y, p))

def test_weights_sum_to_1_and_a_net_that_guesses_has_none():
    y,p = nets(2, 2, 0)
    w = greedy_weights(y, p)
    assert w.sum()==pytest.approx(1, abs=1e-12) and (w>=0).all() and w[2]<.1 and min(w[:2])>.2
    assert calibrated(y, mix_probs(w, p))<min(calibrated(y, mix_probs(o, p)) for o in ([1,0,0], [0,1,0], [1/3]*3))

def test_they_are_as_good_as_the_best_of_a_grid():
    y,p = nets(2.5, 1.5, seed=1)
    best = min(calibrated(y, mix_probs([a,1-a], p)) for a in np.linspace(0, 1, 101))
    assert calibrated(y, mix_probs(greedy_weights(y, p), p))<best+1e-3

def test_one_net_that_nothing_helps_is_all():
    y,p = nets(6, -3, -3)
    assert greedy_weights(y, p).tolist()==[1,0,0]

def test_each_row_is_predicted_with_weights_of_other_rows():
    "If labels of one part change, the predictions of that part stay, and those of the others change"
    y,p = nets(2, 1.5, 1, n=200, seed=3)
    part = deal_rows(len(y))==1
    other = np.where(part, p[0].argmin(1), y)
    a,b = cross_weigh(y, p),cross_weigh(other, p)
    assert (a[part]==b[part]).all() and (a[~part]!=b[~part]).any()

def test_the_cross_fitted_loss_is_not_that_of_the_selected_rows():
    y,p = nets(*[1.]*8, n=100, seed=5)
    assert calibrated(y, cross_weigh(y, p))>calibrated(y, mix_probs(greedy_weights(y, p), p))+1e-3

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "Return three finished runs on 150 held-out rows, of which the last was hardly trained"
    from digitfast.tasks.train import train
    path = tmp_path_factory.mktemp('weights')
    df = digits(750)
    df.loc[::12,'label'] = (df.label[::12]+1)%3
    data,options = csvs(path/'data', train=df),TINY|dict(bs=64, arch='mlp-25-25')
    changes = dict(seed=1),dict(seed=2),dict(seed=3, lr=1e-6)
    return [train(data, out=path/f'run{i}', say=lambda o: None, **options|o) for i,o in enumerate(changes)]

@pytest.fixture(scope='module')
def joined(runs, tmp_path_factory):
    lines = []
    return ensemble(runs, tmp_path_factory.mktemp('joined')/'run', lines.append, weights='greedy'),lines

def held_out(runs):
    "Return the labels and the probabilities of each run, for the rows that all runs held out, in order"
    ps = [o.predictions().take(o.predictions().rows.argsort()) for o in runs]
    assert all((o.rows==ps[0].rows).all() for o in ps)
    return ps[0].targs,np.stack([o.probs for o in ps])

def test_the_accuracy_of_a_run_is_cross_fitted(runs, joined):
    (run,lines),(y,p) = joined,held_out(runs)
    m,w = run.metrics,greedy_weights(y, p)
    assert m['members_weights']==pytest.approx(w.tolist()) and sum(m['members_weights'])==pytest.approx(1) and w[2]<.2
    crossed = cross_weigh(y, p)
    assert m['accuracy']==Preds(y, crossed).hits.mean() and m['log_loss']==pytest.approx(loss(y, crossed))
    assert m['log_loss']!=pytest.approx(loss(y, mix_probs(w, p)), rel=1e-6)
    text = '\n'.join(lines)
    assert ', run2 ' in text and f"equal weights: accuracy {100*Preds(y, p.mean(0)).hits.mean():.2f} %" in text
    assert any(o.startswith('accuracy') and ', cross-fitted' in o for o in lines)

def test_every_prediction_uses_the_weights(runs, joined, in_tmp):
    from digitfast.learn.predict import predict_rows
    from digitfast.tasks.predict import predict_csv
    run,test = joined[0],joined[0].data().test
    learn,w = run.learner('cpu'),run.metrics['members_weights']
    want = mix_probs(w, np.stack([predict_rows(o.learner('cpu'), test) for o in runs]))
    assert np.abs(predict_rows(learn, test)-want).max()<1e-5 and len(learn.model.models)==sum(o>0 for o in w)
    assert np.abs(run.predictions().test_probs-want).max()<1e-5
    lines = []
    made = predict_csv(run, out='s.csv', say=lines.append)
    assert made.read_bytes()==(run/'submission.csv').read_bytes() and any('control rows: ' in o for o in lines)
    assert (pd.read_csv(made).Label==want.argmax(1)).all()

def test_the_plain_mean_is_still_the_default(runs, tmp_path):
    lines = []
    run = ensemble(runs[:2], tmp_path/'run', lines.append)
    p = held_out(runs[:2])[1].mean(0)
    assert 'members_weights' not in run.metrics and np.abs(run.predictions().probs-p).max()<1e-6
    assert not any('cross-fitted' in o and o.startswith('accuracy') for o in lines)

def test_few_rows_fix_no_weights(runs, tmp_path, monkeypatch):
    monkeypatch.setattr('digitfast.tasks.ensemble.min_rows', 151)
    with pytest.raises(RunError, match='found 150 rows that all of the runs held out, expected 151 or more'):
        ensemble(runs, tmp_path/'run', say=lambda o: None, weights='greedy')
    assert not (tmp_path/'run').exists()

def test_an_unknown_kind_of_weights_raises_before_anything_is_read(tmp_path):
    with pytest.raises(DigitError, match="weights=: found 'best', expected mean or greedy"):
        ensemble([tmp_path/'a', tmp_path/'b'], weights='best')
    p = command('ensemble', tmp_path/'a', tmp_path/'b', '--weights', 'best')
    assert "'best' is not one of mean, greedy" in p.communicate()[1] and p.returncode==2

@pytest.mark.parametrize('bad,why', [([.5,.5], '2 members_weights for 3 members'), ([0,0,0], 'sum to 0, expected 1'),
                                     ([.5,.5,.5], 'sum to 1.5'), ([2,-1,0], 'numbers from 0 to 1'),
                                     ('x', 'numbers from')])
def test_a_strangers_weights_are_checked(joined, tmp_path, bad, why):
    out = joined[0].copy_to(tmp_path/'run')
    f = out/'metrics.json'
    f.write_text(json.dumps(json.loads(f.read_text())|dict(members_weights=bad)))
    for do in (lambda: Run(out).metrics, lambda: Run(out).learner('cpu')):
        with pytest.raises(RunError, match=why) as e: do()
        assert 'metrics.json' in str(e.value) and '\n' not in str(e.value)
