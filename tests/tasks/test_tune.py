"Tests of searches: honest rows, pruning, failures, kills and Ctrl-C, resuming, workers, and bad input"
import json, os, shutil, signal, threading
import numpy as np, pandas as pd, pytest
from digitfast.core import DigitError, RunError
from digitfast.data.read import read_csvs
from digitfast.runs.run import Run
from digitfast.tasks import tune as task
from digitfast.tasks.train import train
from conftest import child, digits, ended

optuna = pytest.importorskip('optuna', reason="needs digitfast[tune]")
train_winner = task.train_winner
SPACE = dict(lr='1e-3..1e-1', bs=[8,16])
def quiet(*a): pass

def search(data, out, space=SPACE, say=quiet, **kw):
    "Search with a few trials of one epoch with the network of `tiny`"
    return task.tune(data, space, out=out, say=say, **{**dict(trials=3, arch='stride2', epochs=1), **kw})

def resume(out, say=quiet, **kw): return task.tune(resume=True, out=out, say=say, **kw)
def rows(out): return pd.read_csv(out/'trials.csv')

def stop_at(line):
    "Return a log that presses Ctrl-C at a line with this beginning"
    def say(o):
        if o.startswith(line): raise KeyboardInterrupt
    return say

@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    from digitfast.report import search
    monkeypatch.setattr(search, 'inline_svg', lambda ax, label: f'<svg aria-label="{label}"></svg>')

@pytest.fixture
def fake(monkeypatch, tiny_run):
    """Return trials of three epochs without a training, whose accuracy rises with the learning rate, and another run as
    winner"""
    def run(point, plan, report):
        if point.get('lr', 0)>9: return dict(state='failed', reason='too high', epochs=0, seconds=.1)
        for epoch in range(3):
            accuracy = (.5+.1*epoch)*min(1, point.get('lr', .1)**.1)
            if report(epoch, accuracy): return dict(state='pruned', accuracy=accuracy, epochs=epoch+1, seconds=.1)
        return dict(state='complete', accuracy=accuracy, log_loss=1-accuracy, n_valid=6, epochs=3, seconds=.1)
    monkeypatch.setattr(task, 'run_trial', run)
    monkeypatch.setattr(task, 'train_winner', lambda plan, out, *_: Run(shutil.copytree(tiny_run[0].path, out/'best')))

# ---- trials and the winner

@pytest.fixture(scope='module')
def found(tiny, tmp_path_factory):
    "Return (search, log lines, images of the trials) of three trials on `tiny`. Do not change it"
    seen,make,lines = set(),task.make_learner,[]
    def spy(plan, *args):
        seen.update(map(bytes, plan.data.train.drop(columns='label').to_numpy()))
        return make(plan, *args)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(task, 'make_learner', spy)
        return search(tiny, tmp_path_factory.mktemp('tune')/'s', say=lines.append),lines,seen

def test_no_trial_sees_the_rows_of_the_last_measurement(found, tiny):
    s,_,seen = found
    last = s.best.predictions().rows
    assert len(last)==6 and len(seen)==54
    assert not seen&set(map(bytes, read_csvs(tiny).train.iloc[last].drop(columns='label').to_numpy()))

def test_the_table_of_trials_and_the_winner(found):
    s,_,_ = found
    df = rows(s.path)
    assert list(df)==['trial','state','accuracy','log_loss','epochs_done','seconds','lr','bs','reason']
    assert df.trial.tolist()==[0,1,2] and set(df.state)=={'complete'} and df.lr.between(.001, .1).all()
    top = df.sort_values(['accuracy','log_loss'], ascending=[False,True]).iloc[0]
    assert s.winner['trial']==top.trial and s.winner['point']==pytest.approx(dict(lr=top.lr, bs=top.bs))
    assert {k:s.best.metrics['settings'][k] for k in ('lr','bs')}==s.winner['point']

def test_both_accuracies_are_logged_and_why_they_differ(found):
    s,lines,_ = found
    m,text,page = s.best.metrics,'\n'.join(lines),(s.path/'tune.html').read_text()
    for p in s.winner['accuracy'],m['accuracy'],m['accuracy_low'],m['accuracy_high']:
        assert f'{100*p:.2f} %' in text and f'{100*p:.2f} %' in page
    assert 'why they differ' in text and 'Why the two numbers differ' in page and '[3/3] trial 2: ' in text
    assert '://' not in page and page.count('<svg')>=2

def test_the_winner_is_a_run_that_is_trained_again_by_config(found, tmp_path):
    s = found[0]
    again = train(config=s.best, out=tmp_path/'again', say=quiet)
    assert (again.predictions().probs==s.best.predictions().probs).all()

def test_a_trial_that_fails_is_a_row_with_its_reason(tiny, tmp_path, fake):
    lines = []
    s = search(tiny, tmp_path/'s', dict(lr=[.01,10.]), say=lines.append)
    bad = s.trials[s.trials.lr==10].iloc[0]
    assert len(s.trials)==2 and s.winner['point']==dict(lr=.01) and (bad.state, bad.reason)==('failed', 'too high')
    assert any(': failed: too high' in o for o in lines) and 'too high' in (tmp_path/'s'/'tune.html').read_text()
    with pytest.raises(RunError, match='no complete trial among 2.*Trial 0 failed: too high'):
        search(tiny, tmp_path/'t', dict(lr=[10.,11.]))
    assert len(rows(tmp_path/'t'))==2 and not (tmp_path/'t'/'best').exists()

def test_a_trial_ends_when_it_is_to_be_pruned_or_fails(tiny):
    data = read_csvs(tiny)
    settings = dict(seed=1, precision='fp32', device='cpu', member=None, graph=True, scheduler=None)
    recipe = task.choose_recipe('quick', dict(arch='stride2', epochs=3, valid_pct=.2), task.Earlier())[0]
    plan = task.Plan(recipe, data, task.describe_run(recipe, 'quick', data, {}, {}, settings))
    told = []
    res = task.run_trial(dict(lr=.01), plan, lambda *o: told.append(o) or len(told)==2)
    assert (res['state'], res['epochs'])==('pruned', 2) and [o[0] for o in told]==[0,1]
    assert task.run_trial(dict(lr=.01), plan, lambda epoch, accuracy: epoch==2)['state']=='complete' # it was the last
    for point,why in (dict(lr=1e30), 'the loss became nan in epoch 0'), (dict(bs=0), "bs is '0'"):
        res = task.run_trial(point, plan)
        assert res['state']=='failed' and res['reason'].startswith(why)

def test_bad_trials_are_pruned_by_the_median(tiny, tmp_path, fake):
    s = search(tiny, tmp_path/'s', dict(lr='1e-6..1e-1'), trials=16, epochs=3)
    pruned = s.trials[s.trials.state=='pruned']
    assert len(pruned)>2 and (pruned.epochs_done==2).all() and pruned.trial.min()>=5
    assert pruned.lr.max()<s.winner['point']['lr']

def test_each_point_of_a_small_space_is_tried_once(tiny, tmp_path, fake):
    s = search(tiny, tmp_path/'s', {'bs':'8..9', 'shuffle':[True,False], 'tta':'0..1'}, trials=50)
    assert len(s.trials)==8 and len(s.trials.drop_duplicates(['bs','shuffle','tta']))==8

def test_more_trials_of_a_small_space_try_the_other_points(tiny, tmp_path, fake):
    out,points = tmp_path/'s',['bs','shuffle','tta']
    with pytest.raises(KeyboardInterrupt):
        search(tiny, out, dict(bs='8..9', shuffle=[True,False], tta='0..1'), trials=4, say=stop_at('[4/'))
    n = len(rows(out).drop_duplicates(points))
    df = resume(out, trials=4+8-n).trials
    assert len(df)==4+8-n and len(df.drop_duplicates(points))==8

def test_epochs_can_vary(tiny, tmp_path, fake):
    "Nothing is pruned, because a longer training is worse in its first epochs"
    lines = []
    s = search(tiny, tmp_path/'s', dict(lr='1e-6..1e-1', epochs='3..9'), trials=9, epochs=None, say=lines.append)
    assert (s.trials.state=='complete').all() and s.trials.epochs.nunique()>1 and (s.trials.epochs_done==3).all()
    assert list(rows(tmp_path/'s')).count('epochs')==1 and any('no trial is pruned, because' in o for o in lines)

def test_choices_of_any_kind(tiny, tmp_path, fake):
    def points(name, space):
        df = search(tiny, tmp_path/name, space, trials=50, epochs=None).trials
        assert len(df)==4==len(df.drop_duplicates([*space]))
        return df
    df = points('s', dict(class_weights=['balanced',None], lr=['auto',.01]))
    assert set(df.class_weights)=={'balanced','None'} and 'balanced' in (tmp_path/'s'/'tune.html').read_text()
    points('t', dict(bs=np.array([8,16]), epochs=[None,np.int64(1)]))
    points('u', dict(opt='adam, sgd', bs=range(8,10)))
    df = search(tiny, tmp_path/'v', [' affine.rotate = 0 .. 20'], trials=2).trials
    assert (df['affine.rotate']%1>0).all() # an angle is no whole number, although the ends are

def test_the_page_counts_what_it_says(tiny, tmp_path, fake):
    def text(name, space, **kw):
        search(tiny, tmp_path/name, space, **kw)
        return (tmp_path/name/'tune.html').read_text()
    page = text('one', SPACE, trials=1)
    assert 'A search of 1 trial<' in page and 'there was no choice' in page and 'best of' not in page
    page = text('many', dict(lr=[.01,*range(10,40)]), trials=50)
    assert 'A search of 31 trials: 30 failed<' in page and 'The first 20 of 30' in page

def test_optunas_own_samplers_and_pruners(tiny, tmp_path, fake):
    with pytest.raises(RunError, match='no complete trial among 3.*Change the pruner'):
        search(tiny, tmp_path/'s', pruner=optuna.pruners.ThresholdPruner(lower=2.))
    assert len(rows(tmp_path/'s'))==3 and not (tmp_path/'s'/'best').exists()
    grid = optuna.samplers.GridSampler(dict(lr=[.02,.03,.04]), seed=0)
    s = search(tiny, tmp_path/'t', dict(lr='.01..1'), sampler=grid)
    assert sorted(s.trials.lr)==[.02,.03,.04]

def test_time_ends_a_search(tiny, tmp_path, fake):
    n = len(search(tiny, tmp_path/'s', trials=None, time=.05).trials)
    assert 1<=n<50
    with pytest.raises(KeyboardInterrupt): search(tiny, tmp_path/'t', trials=None, time=.05, say=stop_at('[1] '))
    lines = []
    assert len(resume(tmp_path/'t', say=lines.append).trials)>1 and any(o.startswith('[2] ') for o in lines)

def test_no_group_is_on_two_sides(tmp_path, monkeypatch, fake):
    df,writers,plans = digits(120),np.arange(120)//3%20,[]
    monkeypatch.setattr(task, 'train_winner', lambda plan, *_: plans.append(plan) or stop_at('')(''))
    make = task.run_trial
    monkeypatch.setattr(task, 'run_trial', lambda point, plan, report: plans.append(plan) or make(point, plan, report))
    with pytest.raises(KeyboardInterrupt): search(df, tmp_path/'s', groups=writers)
    trial,last = plans[0],plans[-1]
    held = last.recipe.held_out(last.data.train, **last.split)
    rest = np.delete(writers, held)
    valid = trial.recipe.held_out(trial.data.train, **trial.split)
    sides = [set(o) for o in (writers[held], rest[valid], np.delete(rest, valid))]
    assert len(trial.data.train)==120-len(held) and all(sides) and sum(map(len, sides))==20==len(set.union(*sides))
    with pytest.raises(RunError, match='was started with an array of groups'): resume(tmp_path/'s', data=df)
    with pytest.raises(RunError, match='was started with groups'):
        resume(tmp_path/'s', data=df, groups=np.roll(writers, 1))

# ---- interruptions

def test_a_killed_search_resumes(tiny, tmp_path, fake):
    out,run = tmp_path/'s',task.run_trial
    def kill(point, plan, report):
        if (out/'trials.csv').exists() and len(rows(out))==2:
            report(0, .5)
            os.kill(os.getpid(), signal.SIGKILL)
        return run(point, plan, report)
    def f():
        task.run_trial = kill
        search(tiny, out, trials=5)
    assert ended(child(f))=='SIGKILL'
    params = [json.loads(o).get('param_value_internal') for o in (out/'journal.jsonl').read_text().splitlines()
              if '"lr"' in o and 'param_name' in o]
    with open(out/'journal.jsonl', 'ab') as f: f.write(b'{"op_code":4,"wor') # a line that was not written completely
    with pytest.raises(RunError, match=r"unfinished search.*Choose .* or resume it with tune\(resume=True"):
        search(tiny, out)
    before,s = rows(out),resume(out)
    assert s.trials.trial.tolist()==[0,1,2,3,4] and s.trials.lr.nunique()==5
    assert len(params)==3 and s.trials.lr[2]==params[2] # the trial that was killed keeps its point
    pd.testing.assert_frame_equal(rows(out)[:2], before)

@pytest.mark.slow
def test_a_search_killed_while_its_winner_is_trained_makes_no_more_trials(tiny, tmp_path, monkeypatch, fake):
    out = tmp_path/'s'
    def say(o):
        if (out/'best'/'checkpoint').exists(): os.kill(os.getpid(), signal.SIGKILL)
    monkeypatch.setattr(task, 'train_winner', train_winner)
    assert ended(child(lambda: search(tiny, out, epochs=2, say=say)))=='SIGKILL'
    s = resume(out, trials=50)
    assert len(s.trials)==3 and s.best.metrics['epochs']==2

def test_the_table_follows_the_journal(tiny, tmp_path, fake):
    "A kill between the two leaves a table without the last trial; the order of fields does not matter"
    out = tmp_path/'s'
    with pytest.raises(KeyboardInterrupt): search(tiny, out, say=stop_at('[3/'))
    before = (out/'trials.csv').read_text()
    (out/'trials.csv').write_text(before[:before.rstrip().rindex('\n')+1])
    assert len(rows(out))==2
    s = resume(out, space=dict(reversed(SPACE.items())))
    assert len(rows(out))==3==len(s.trials) and sorted(rows(out).lr)==sorted(s.trials.lr)

def test_ctrl_c_keeps_finished_trials(tiny, tmp_path, fake):
    out = tmp_path/'s'
    with pytest.raises(KeyboardInterrupt, match=r"s holds 2 finished trials: resume it with tune\(resume=True, out='"):
        search(tiny, out, say=stop_at('[2/'), trials=9)
    assert len(rows(out))==2
    assert len(resume(out, trials=2).trials)==2 # as many as there are, which ends the search here

def test_what_a_search_does_not_resume(tiny, tmp_path, fake):
    out,other = tmp_path/'s',digits(60, seed=5)
    with pytest.raises(KeyboardInterrupt): search(tiny, out, say=stop_at('[1/'))
    journal = out/'journal.jsonl'
    kept = journal.read_bytes()
    for kw,says in ((dict(data=other), 'on other data'), (dict(space=['lr=1e-3..1']), 'with the space lr=0.001..0.1'),
                    (dict(epochs=2), 'with epochs 1, not 2'), (dict(seed=1), 'with seed 42'),
                    (dict(bs=4), 'both fixed')):
        with pytest.raises(DigitError, match=says): resume(out, **kw)
    assert journal.read_bytes()==kept
    for bad in (b'[]\n', b'{"op_code":4}\n', b'\0\n'+kept, kept.replace(b'0.001..0.1', b'3..1'),
                kept.replace(b'sha256', b'sha')):
        journal.write_bytes(bad)
        with pytest.raises(RunError, match='journal.jsonl is damaged'): resume(out)
    shutil.rmtree(out)
    with pytest.raises(RunError, match='nothing to resume'): resume(out)
    assert not out.exists()

def test_frames_in_memory_are_passed_again(tmp_path, fake):
    with pytest.raises(KeyboardInterrupt): search(digits(), tmp_path/'s', say=stop_at('[1/'))
    with pytest.raises(RunError, match=r'tune\(data, resume=True'): resume(tmp_path/'s')
    assert len(resume(tmp_path/'s', data=digits()).trials)==3

# ---- bad input

BAD = [(dict(space=['lr=.1']), 'lr=0.1: found a single value'), (dict(space=dict(lr=[.1])), 'found a single value'),
       (dict(space=['lr=1..1']), 'found a single value'), (dict(space=None), 'no field to vary'),
       (dict(space=['lrr=1..2']), "unknown field of a search 'lrr': did you mean 'lr'"),
       (dict(space=['lr=0..1']), "lr is '0'"), (dict(space=['arch=small,nope'], arch=None), "architecture 'nope'"),
       (dict(space=['epochs=1..2']), 'epochs is both fixed'), (dict(space=['split=last,random']), "can't vary"),
       (dict(space=['folds=2,3']), "can't vary"), (dict(space=['lr=a..b']), 'expected a number on both sides'),
       (dict(recipe='ensemble', arch=None), 'compares single networks'), (dict(trials=0), 'trials is'),
       (dict(time='20'), 'a duration such as 20m'), (dict(scheduler='nowhere'), 'expected HOST:PORT'),
       (dict(data='nowhere'), 'no such file'), (dict(data=digits(6)), 'class'),
       (dict(groups='writer'), 'an unknown column'), (dict(groups=np.zeros(60), data=digits()), 'in one group'),
       (dict(space=['smooth=0,0.0']), 'a single value'), (dict(space=['smooth=0,0.0,.1']), 'twice, expected it once'),
       (dict(space=['lr=1...2']), 'three dots'),
       (dict(space=dict(lr=(1e-3,.1))), 'found a tuple of two numbers'),
       (dict(space=['images=100..900']), 'images: found epochs too'),
       (dict(space=['images=100..900','epochs=1,2'], epochs=None), 'images: found epochs too'),
       (dict(space=['affine.rotate=0..181']), 'rotate'),
       (dict(resume=True, out=None), 'needs out=')]

@pytest.mark.parametrize('kw,says', BAD)
def test_bad_input_is_one_line_and_leaves_nothing(kw, says, tiny, in_tmp):
    with pytest.raises(DigitError, match=says) as e: search(**{**dict(data=tiny, out='s'), **kw})
    assert '\n' not in str(e.value) and not list(in_tmp.iterdir())

def test_directories_of_others_are_left_alone(found, tiny, tiny_run, tmp_path):
    (tmp_path/'notes').mkdir()
    (tmp_path/'notes'/'a.txt').touch()
    with pytest.raises(RunError, match='belong to no search'): search(tiny, tmp_path/'notes')
    with pytest.raises(RunError, match='belong to no search'): search(tiny, tiny_run[0].path)
    for kw in dict(), dict(resume=True):
        with pytest.raises(RunError, match='found a finished search'): search(tiny, found[0].path, **kw)

def test_the_command(tiny, in_tmp, capsys, fake):
    from digitfast.cli import main
    def call(words):
        with pytest.raises(SystemExit) as e: main(words.split())
        return e.value.code or 0
    assert call(f'tune {tiny} --set lr=1e-3..1e-1 --trials 2 --arch stride2 --epochs 1 --out s --json')==0
    out = json.loads(capsys.readouterr().out)
    assert out['trials']==2 and out['accuracy']==Run('s/best').metrics['accuracy'] and out['winner']['trial'] in (0,1)
    assert [call(o) for o in ('tune --resume','tune sample --set lr=1..2 --trials 0')]==[2,2]

# ---- workers

def test_workers_prune_and_a_scheduler_that_dies_costs_no_trial(cluster, tiny, tiny_run, tmp_path, monkeypatch):
    cluster.worker('a')
    prune = optuna.pruners.ThresholdPruner(lower=2., n_warmup_steps=1)
    def say(o):
        lines.append(o)
        if o.startswith('[2/'): os.kill(cluster.scheduler, signal.SIGKILL)
    lines,out = [],tmp_path/'s'
    with pytest.raises(RunError, match=r'connection to the Dask scheduler was lost.*tune\(scheduler=') as e:
        search(tiny, out, trials=9, epochs=3, scheduler=cluster.address, say=say, pruner=prune)
    monkeypatch.setattr(task, 'train_winner', lambda *_: tiny_run[0])
    assert '\n' not in str(e.value) and len(rows(out))>=2
    assert (rows(out).state=='pruned').all() and (rows(out).epochs_done==2).all(), '\n'.join(lines)
    n = len(rows(out))+1
    assert len(resume(out, trials=n).trials)==n

@pytest.mark.slow
def test_a_lost_worker_costs_no_trial(cluster, tmp_path):
    "16 trials of three epochs on the sample, on two workers, of which one is killed in the midst of a trial"
    (a,_),(b,_) = cluster.worker('a'),cluster.worker('b')
    cluster.wait(2)
    lines = []
    def say(o):
        lines.append(o)
        if o.startswith('[4/'): threading.Timer(1, lambda: os.kill(b, signal.SIGKILL)).start()
    s = task.tune('sample', dict(lr='1e-5..1', bs='64..512', arch=['stride3','linear']), trials=16, epochs=3,
                  scheduler=cluster.address, out=tmp_path/'s', say=say)
    assert ended(b)=='SIGKILL' and any('is gone' in o for o in lines), '\n'.join(lines)
    assert s.trials.trial.tolist()==list(range(16)) and (s.trials.state=='pruned').any()
    assert not (s.trials.state=='failed').any() and s.best.metrics['n_valid']==500
