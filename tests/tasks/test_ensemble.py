"""Tests of ensembles: the rows of each member, members apart and together, kills and lost workers, joining, and
predicting"""
import hashlib, json, os, shutil, signal, threading, time
import numpy as np, pandas as pd, pytest, torch
from fastai.callback.core import Callback
from digitfast.core import DataError, DigitError, RunError
from digitfast.data.read import read_csvs
from digitfast.data.split import digit_splitter
from digitfast.runs.weights import load_net
from digitfast.learn.recipe import Recipe, get_recipe
from digitfast.report.measure import versus
from digitfast.tasks import finish
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train
from digitfast.runs.run import read_metrics
from digitfast.learn.predict import predict_rows
from digitfast.cli import main
from conftest import TINY, csvs, digits, ended, every

N = 3
def quiet(*a): pass
def run(data, out, **kw): return train(data, out=out, **{'say':quiet, **TINY, 'members':N, **kw})
def sub(run): return (run/'submission.csv').read_bytes()
def arrays(f):
    with np.load(f, allow_pickle=False) as z: return {k:z[k] for k in z.files}

@pytest.fixture(scope='module')
def trio(tiny, tmp_path_factory):
    "Return an ensemble of three on `tiny`. Do not change it"
    return run(tiny, tmp_path_factory.mktemp('trio')/'run')

# ---- what is seen by whom

def test_each_row_is_unseen_by_one_member_and_the_held_out_ones_by_all(tiny):
    df = read_csvs(tiny).train
    r = Recipe(members=N, valid_pct=.2)
    folds = [set(r.unseen(df, k)) for k in range(N)]
    hold = set.intersection(*folds)
    assert len(hold)==12 and set.union(*folds)==set(range(60))
    assert sum(len(f-hold) for f in folds)==48 and len({frozenset(f) for f in folds})==N
    for k in range(N):
        dls = r.dls(df, member=k)
        assert set(dls.valid_ds.items.index)==folds[k] and set(dls.train_ds.items.index)==set(range(60))-folds[k]
        assert dls.train_ds.items.label.nunique()==dls.valid_ds.items.label.nunique()==3

def test_a_run_has_members_that_kept_to_their_folds(trio, tiny):
    df = read_csvs(tiny).train
    m,a,oof = read_metrics(trio),arrays(trio/'predictions.npz'),arrays(trio/'oof.npz')
    hold = set(a['valid_rows'].tolist())
    assert sorted(o.name for o in (trio/'members').iterdir())==['0','1', '2']
    assert not list(trio.rglob('*checkpoint*'))
    assert not (trio/'model').exists()
    assert (m['members']==N and m['n_valid']==len(hold)==12 and m['n_oof']==60 and len(m['members_accuracy'])==N
            and m['canary_rows']>0)
    assert m['params']==N*read_metrics(trio/'members'/'0')['params'] and sorted(oof['valid_rows'])==list(range(60))
    for k in range(N):
        b = arrays(trio/'members'/str(k)/'predictions.npz')
        assert set(b['valid_rows'].tolist())==set(get_recipe('quick').__class__(members=N, valid_pct=.2).unseen(df, k))
        learn = load_net(trio/'members'/str(k), device='cpu')
        probs = predict_rows(learn, df.iloc[b['valid_rows']].drop(columns='label'))
        assert np.allclose(probs, b['valid_probs'], atol=1e-4)
    assert (m['accuracy']==(a['valid_probs'].argmax(1)==a['valid_labels']).mean()
            and m['oof_accuracy']==(oof['valid_probs'].argmax(1)==oof['valid_labels']).mean())

def test_the_mean_of_the_members_is_what_is_submitted(trio):
    a = arrays(trio/'predictions.npz')
    ms = [arrays(trio/'members'/str(k)/'predictions.npz') for k in range(N)]
    assert np.allclose(a['test_probs'], np.mean([o['test_probs'] for o in ms], 0), atol=1e-6)
    assert (pd.read_csv(trio/'submission.csv').Label==a['test_probs'].argmax(1)).all()

@pytest.fixture
def no_page(monkeypatch):
    "A report without pictures, which take most of so short a run's time"
    monkeypatch.setattr(finish, 'write_page', lambda out: (out/'report.html').write_text('<html></html>'))

def test_each_member_keeps_its_own_shifts(tiny, tmp_path, no_page):
    "A run is joined with another one that was measured without test-time shifts"
    a,b = (train(tiny, out=tmp_path/k, say=quiet, **TINY, tta=tta, seed=tta) for k,tta in (('a',1),('b',0)))
    test,lines = read_csvs(tiny).test,[]
    for runs in (a,b),(b,a):
        out = tmp_path/('joined-'+runs[0].name)
        run = ensemble(runs, out, lines.append)
        want = np.mean([o.predictions().test_probs for o in (a,b)], 0)
        assert np.allclose(run.predictions().test_probs, want, atol=1e-6)
        assert np.allclose(predict_rows(run.learner('cpu'), test), want, atol=1e-5)
        assert sorted(run.metrics['members_tta'])==[0,1]
        assert sub(run)==predict_csv(run, out=tmp_path/'s.csv', say=lines.append).read_bytes()
    text = '\n'.join(lines)
    assert 'note: test-time shifts of 1, 0 pixels: each network keeps its own' in text
    assert 'with test-time shifts: a mean' not in text

def test_shifts_that_vary_are_those_of_each_member(tiny, tmp_path, no_page):
    p = run(tiny, tmp_path/'run', members=2, tta=1, vary=({}, dict(tta=0)))
    assert read_metrics(p)['members_tta']==[1,0]
    for o in p,p/'members'/'1': # whose own shift is 0
        want = (arrays(o/'predictions.npz')['test_probs'].argmax(1)).tolist()
        made = predict_csv(o, out=tmp_path/f'{o.name}.csv', say=quiet) # checks control rows
        assert pd.read_csv(made).Label.tolist()==want

def test_members_differ_as_vary_says(tiny, tmp_path):
    r = Recipe(arch='stride2', epochs=1, bs=16, valid_pct=.2, members=2,
               vary=(dict(arch_kwargs=dict(chs=(4,8))), dict(arch='mlp-30')))
    p = train(tiny, r, tmp_path/'run', say=quiet)
    assert read_metrics(p)['arch']=='stride2 + mlp-30'
    assert [read_metrics(p/'members'/str(k))['arch'] for k in (0,1)]==['stride2','mlp-30']
    assert load_net(p, device='cpu').model.models[0].config['arch_kwargs']==dict(chs=[4,8])

def test_valid_every_leaves_epochs_out_but_not_the_last(tiny, tmp_path):
    lines = []
    p = train(tiny, Recipe(arch='stride2', epochs=5, bs=16, valid_pct=.2, valid_every=2, ema=.9), tmp_path/'run',
              say=lines.append)
    h = pd.read_csv(p/'history.csv')
    assert h.valid_loss.notna().tolist()==[False,True,False,True,True] and h.train_loss.notna().all()
    every = train(tiny, Recipe(arch='stride2', epochs=5, bs=16, valid_pct=.2, ema=.9), tmp_path/'every', say=quiet)
    assert sub(p)==sub(every)

# ---- apart, together, interrupted

def test_members_apart_join_to_the_same_ensemble(trio, tiny, tmp_path):
    apart = [run(tiny, tmp_path/f'm{k}', member=k) for k in range(N)]
    assert all((o/'submission.csv').exists() and read_metrics(o)['member']==k for k,o in enumerate(apart))
    joined = ensemble(apart, tmp_path/'joined', say=quiet)
    assert sub(joined)==sub(trio)
    a,b = (arrays(o/'predictions.npz') for o in (joined,trio))
    assert all((a[k]==b[k]).all() for k in b)

class Stop(Exception): pass

@pytest.mark.parametrize("at", every(2, (1, 3, 4, 7, 12)))    # of 12 batches: 3 members, 2 epochs, 2 batches
def test_an_interrupted_ensemble_continues_where_it_was(at, trio, tiny, tmp_path):
    def tick(i, n):
        if i>=at: raise Stop('by the test')
    def end(i, n): seen.append(i)
    seen,out = [],tmp_path/'run'
    n = []
    with pytest.raises(Stop): run(tiny, out, tick=lambda i,of: (n.append(of), tick(i, of)))
    with pytest.raises(RunError, match='resume=True'): run(tiny, out)
    with pytest.raises(RunError, match='seed 42, not 1'): run(tiny, out, resume=True, seed=1)
    run(tiny, out, resume=True, tick=end)
    assert sub(out)==sub(trio) and not list(out.rglob('*checkpoint*'))
    assert len(seen)<n[0] or at<=2       # whole epochs are not done again

class Counter(Callback):
    "Count the batches"
    n = 0
    def after_batch(self): self.n += 1

def test_a_member_whose_callback_remembers_something_can_t_be_resumed(tiny, tmp_path):
    def tick(i, n):
        if i>3: raise Stop('by the test') # in the second epoch of the first member
    with pytest.raises(Stop): run(tiny, tmp_path/'run', cbs=Counter(), tick=tick)
    with pytest.raises(RunError, match='Counter, whose state a checkpoint'):
        run(tiny, tmp_path/'run', cbs=Counter(), resume=True)

def test_a_finished_member_is_not_trained_again(tiny, trio, tmp_path):
    out = tmp_path/'run'
    def tick(i, n):
        if i>n*2//3: raise Stop('by the test')
    with pytest.raises(Stop): run(tiny, out, tick=tick)
    stamps = {k:(out/'members'/k/'metrics.json').stat().st_mtime_ns for k in '01'}
    lines = []
    run(tiny, out, resume=True, say=lines.append)
    assert 'finished already: 2 of 3 members' in lines
    assert stamps=={k:(out/'members'/k/'metrics.json').stat().st_mtime_ns for k in '01'} and sub(out)==sub(trio)

# ---- predicting

def test_an_ensemble_predicts_like_its_run(trio, tmp_path):
    assert predict_csv(trio, out=tmp_path/'s.csv', device='cpu', say=quiet).read_bytes()==sub(trio)

def test_an_ensemble_is_one_learner(trio, tiny):
    learn,df = load_net(trio, device='cpu'),read_csvs(tiny).test
    probs = predict_rows(learn, df)
    assert np.allclose(probs, arrays(trio/'predictions.npz')['test_probs'], atol=1e-4) and np.allclose(probs.sum(1), 1,
            atol=1e-4)
    assert learn.predict(df.iloc[0])[2].argmax()==probs[0].argmax()

def test_an_ensemble_against_a_single_net(trio, tiny, tmp_path):
    one = train(tiny, out=tmp_path/'one', say=quiet, **TINY)
    assert versus(one, trio).text

# ---- errors

def test_too_few_rows_for_the_folds(tmp_path):
    data = csvs(tmp_path/'few', n=12)
    with pytest.raises(DataError, match='members'): run(data, tmp_path/'run', members=9)

@pytest.mark.parametrize('kw, says',
                         [(dict(member=3), 'expected a number from 0 to 2'), (dict(member=-1), "found '-1'"),
                          (dict(members=1, member=1), 'trains one network'),
                                      (dict(members=1, scheduler='127.0.0.1:1'), 'members'),
                                      (dict(recipe='two-layer-learner', arch=None, bs=None, valid_pct=None),
                                       'averaged')])
def test_members_that_make_no_sense(kw, says, tiny, tmp_path):
    with pytest.raises(DigitError, match=says): run(tiny, tmp_path/'run', **kw)
    assert not (tmp_path/'run').exists()

def test_runs_that_do_not_belong_together(trio, tiny, tiny_run, tmp_path):
    r,_ = tiny_run
    other = train(csvs(tmp_path/'other', seed=5), out=tmp_path/'o', say=quiet, **TINY)
    seen = train(tiny, out=tmp_path/'seen', say=quiet, **{**TINY, 'epochs':1}, split_seed=1, split='last')
    bad = shutil.copytree(r, tmp_path/'bad')
    (bad/'predictions.npz').write_bytes((bad/'predictions.npz').read_bytes()[:-100])
    for runs,says in (([r], 'expected two or more'), ([r,other], 'other data'), ([r,trio], 'found an ensemble'),
                      ([r,tmp_path/'none'], 'not a finished run'), ([r,bad], 'predictions.npz')):
        with pytest.raises(RunError, match=says): ensemble(runs, tmp_path/'joined', say=quiet)
    assert not (tmp_path/'joined'/'metrics.json').exists()
    a,b = (set(arrays(r/'predictions.npz')['valid_rows'].tolist()),
           set(arrays(seen/'predictions.npz')['valid_rows'].tolist()))
    assert a!=b and a&b
    p = ensemble([r,seen], tmp_path/'two', say=quiet)
    assert set(arrays(p/'predictions.npz')['valid_rows'].tolist())==a&b   # only rows that neither saw

def renamed(run, to):
    "Return a copy under another name, with other metadata in each of its files"
    from safetensors.torch import load_file, save_file
    from digitfast.runs.weights import model_checksum
    shutil.copytree(run, to)
    (to/'report.html').unlink()
    m = json.loads((to/'metrics.json').read_text())
    (to/'metrics.json').write_text(json.dumps({**m, 'date':'2020-01-01', 'seed':7, 'recipe':'another'}))
    a = arrays(to/'predictions.npz')
    np.savez(to/'predictions.npz', **dict(reversed(a.items())))
    save_file(load_file(to/'model'/'model.safetensors'), to/'model'/'model.safetensors', dict(made='elsewhere'))
    info = json.loads((to/'model'/'model.json').read_text())
    info['sha256'] = hashlib.sha256((to/'model'/'model.safetensors').read_bytes()).hexdigest()
    (to/'model'/'model.json').write_text(json.dumps({**info, 'check':model_checksum(info)}))
    return to

def test_one_network_is_not_joined_with_itself(tiny_run, trio, tiny, tmp_path):
    a = tiny_run[0]
    plain = shutil.copytree(a, tmp_path/'plain')
    other = train(tiny, out=tmp_path/'other', say=quiet, seed=1, **TINY)
    again = train(tiny, out=tmp_path/'again', say=quiet, **TINY) # the same seed, rows and options: the same weights
    member = shutil.copytree(trio/'members'/'1', tmp_path/'member')
    for runs in ([a, plain], [a, renamed(a, tmp_path/'renamed')], [a, other, plain], [a, again],
                 [trio/'members'/'0', trio/'members'/'1', member]):
        with pytest.raises(RunError, match='found the same network as in .* count twice') as e:
            ensemble(runs, tmp_path/'j', say=quiet)
        assert str(runs[-1]) in str(e.value) and not (tmp_path/'j').exists()
    assert ensemble([a, other], tmp_path/'two', say=quiet).metrics['members']==2
    with pytest.raises(RunError, match='found the same network'): # an ensemble joins copies
        ensemble([a, tmp_path/'two'/'members'/'0'], tmp_path/'j', say=quiet)

def test_a_network_without_a_model_is_known_by_its_predictions(tiny_run, tmp_path):
    a = tiny_run[0]
    copy = shutil.copytree(a, tmp_path/'copy')
    shutil.rmtree(copy/'model')
    m = json.loads((copy/'metrics.json').read_text())
    (copy/'metrics.json').write_text(json.dumps({**m, 'no_model':'the net has no registered name'}))
    with pytest.raises(RunError, match='found the same network'): ensemble([a, copy], tmp_path/'j', say=quiet)

def test_no_row_that_all_hold_out(tiny, tiny_run, tmp_path):
    df,rows = read_csvs(tiny).train,set(arrays(tiny_run[0]/'predictions.npz')['valid_rows'].tolist())
    seed = next(s for s in range(1000) if not rows&set(Recipe(valid_pct=.2, split_seed=s).held_out(df).tolist()))
    other = train(tiny, out=tmp_path/'other', say=quiet, split_seed=seed, **TINY)
    with pytest.raises(RunError, match='no row that all members held out'):
        ensemble([tiny_run[0],other], tmp_path/'joined', say=quiet)

def test_a_damaged_member_is_named(trio, tmp_path):
    p = shutil.copytree(trio, tmp_path/'run')
    f = p/'members'/'1'/'model'/'model.safetensors'
    f.write_bytes(f.read_bytes()[:-4]+b'oops')
    with pytest.raises(RunError, match='members/1'): load_net(p)
    shutil.rmtree(p/'members'/'1'/'model')
    with pytest.raises(RunError, match='members/1'): load_net(p)

def test_the_command(tiny, tmp_path, capsys):
    opts = ['--arch','stride2','--epochs','1','--bs','16','--valid-pct','.2','--quiet']
    for k in '01': main_ok(['train', str(tiny), '--members','2','--member',k,'--out',str(tmp_path/k), *opts])
    main_ok(['ensemble', str(tmp_path/'0'), str(tmp_path/'1'), '--out', str(tmp_path/'both'), '--json'])
    assert json.loads(capsys.readouterr().out.split('\n', 2)[2])['members']==2
    main_ok(['train', str(tiny), '--members','2','--out',str(tmp_path/'run'), *opts])
    assert sub(tmp_path/'run')==sub(tmp_path/'both')

def main_ok(args):
    try: main(args)
    except SystemExit as e: assert not e.code

# ---- Dask

def test_a_worker_that_dies_has_its_member_done_again(cluster, tiny, tmp_path, monkeypatch):
    from digitfast.tasks import spread
    monkeypatch.setattr(spread._Driver, 'poll', .05) # look at the workers often, because members are short here
    addr = cluster.address
    (a,_),(b,tmp) = cluster.worker('a'),cluster.worker('b')
    cluster.wait(2)
    def kill():
        "Kill the worker in the middle of its member, after the log has named both workers"
        while len({o.split()[-1] for o in lines if 'goes to' in o})<2: time.sleep(.01)
        while not list(tmp.rglob('checkpoint/state.json')): time.sleep(.01)
        os.kill(b, signal.SIGKILL)
        ends.append(ended(b))
    killer,lines,ends,opts = threading.Thread(target=kill, daemon=True),[],[],dict(TINY, epochs=40)
    killer.start()
    p = train(tiny, out=tmp_path/'run', say=lines.append, scheduler=addr, members=N, **opts)
    killer.join(60)
    assert ends==['SIGKILL'] and any("is gone: member" in o for o in lines), "\n".join(lines)
    assert sub(p)==sub(train(tiny, out=tmp_path/'here', say=quiet, members=N, **opts))
    assert read_metrics(p)['members']==N and len([o for o in lines if 'rows that it did not see' in o])==N
