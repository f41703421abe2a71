"Tests of `train` and its directory: its files, resuming byte for byte, locks and faults; and of `predict_csv`"
import io, json, os, random, shutil, signal, time, warnings, zipfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from digitfast.core import DataError, DigitError, RunError
from digitfast.data.read import as_data, read_csvs
from digitfast.data.reading import Reading
from digitfast.data.block import DigitDataLoaders
from digitfast.learn.recipe import Recipe
from digitfast.device import best_precision
from digitfast.runs.weights import load_net
from digitfast.kaggle.submission import check_submission
from digitfast.learn.predict import predict_rows
from digitfast.runs.rundir import RunDir
from digitfast.runs.checkpoint import read_checkpoint
from digitfast.runs.run import Run, read_metrics
from digitfast.tasks.inputs import locate_data
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train
from digitfast.report.measure import score_interval, wilson
from conftest import TINY, csvs, digits

def quiet(*a): pass
def run(data, out, **kw): return train(data, out=out, **{'say':quiet, **TINY, **kw})
def files(path): return {str(o.relative_to(path)):o.read_bytes() for o in sorted(path.rglob('*')) if o.is_file()}
def names(path): return sorted(files(path))
DONE = ['history.csv','metrics.json','model/model.json','model/model.safetensors',
        'predictions.npz','report.html','submission.csv']

class Stop(Exception): "An interruption by a test"
def stop_at(n, e=Stop):
    "Return a `tick` that raises an error after batch `n`"
    def tick(i, of):
        if i==n: raise e("stopped by the test")
    return tick

def refused(*says, **kw):
    lines = []
    with pytest.raises(DigitError) as e: train(**{**dict(say=lines.append), **TINY, **kw})
    msg = str(e.value)
    assert '\n' not in msg and len(msg)<500, msg
    for o in says: assert str(o) in msg, (o, msg)
    return lines

# ---- what a run leaves

def test_files_of_format_1(tiny_run, sample_run):
    for r,_ in tiny_run,sample_run:
        assert names(r)==DONE and sorted(o.name for o in r.iterdir())==sorted({o.split('/')[0] for o in DONE})

def test_metrics(sample_run):
    r,_ = sample_run
    m = read_metrics(r)
    need = ('accuracy','accuracy_low','accuracy_high','n_valid','score_low','score_high','recipe','arch',
            'params','epochs','seed','device','precision','threads','seconds','canary_rows','data','versions','format')
    assert not [k for k in need if k not in m] and m['format']==1
    assert (m['accuracy_low']<m['accuracy']<m['accuracy_high'] and m['score_low']<m['accuracy_low']
            and m['accuracy_high']<m['score_high'] and m['n_valid']==500)
    assert (m['recipe'],m['epochs'],m['seed'],m['threads'],m['device'].split(':')[0],m['precision'],
            m['canary_rows'])==('quick',1,42,1,m['device'].split(':')[0],
                                best_precision('auto', torch.device(m['device']), 'bf16'),100)
    assert (m['seconds'].keys()>={'load','train','predict','total'} and all(v>=0 for v in m['seconds'].values())
            and m['seconds']['total']>=m['seconds']['train'])
    assert (m['data']['name']=='sample' and len(m['data']['sha256'])==64
            and m['versions'].keys()>={'digitfast','torch','fastai','python'})
    assert m['params']==sum(p.numel() for p in load_net(r, device='cpu').model.parameters())

def test_predictions_bear_the_accuracy_out(sample_run, data):
    r,_ = sample_run
    m = read_metrics(r)
    with np.load(r/'predictions.npz', allow_pickle=False) as z:
        rows,labels,probs,test = z['valid_rows'],z['valid_labels'],z['valid_probs'],z['test_probs']
    assert (len(rows)==len(set(rows))==500 and (labels==data.train.label.iloc[rows]).all()
            and (probs.argmax(1)==labels).mean()==m['accuracy'])
    assert test.shape==(1000,10) and np.allclose(test.sum(1), 1, atol=1e-4)
    sub = pd.read_csv(r/'submission.csv')
    assert (list(sub.columns)==['ImageId','Label'] and sub.ImageId.tolist()==list(range(1,1001))
            and (sub.Label==test.argmax(1)).all())
    assert check_submission(r/'submission.csv', data)['rows']==1000

def test_saved_model_is_the_one_that_was_measured(sample_run, data):
    r,_ = sample_run
    learn = load_net(r, device='cpu')
    with np.load(r/'predictions.npz') as z:
        assert np.allclose(predict_rows(learn, data.train.iloc[z['valid_rows']]), z['valid_probs'], atol=1e-4)
    assert np.allclose(predict_rows(learn, data.test), np.load(r/'predictions.npz')['test_probs'], atol=1e-4)

def test_history(tiny_run):
    h = pd.read_csv(tiny_run[0]/'history.csv')
    assert (h.epoch.tolist()==[0,1] and list(h.columns)==['epoch','train_loss','valid_loss','accuracy','lr','seconds']
            and h.accuracy.iloc[-1]==pytest.approx(read_metrics(tiny_run[0])['accuracy']))

def test_what_is_logged(sample_run):
    r,lines = sample_run
    text = '\n'.join(lines)
    assert ('5,000 training and 1,000 test images' in lines[0] and 'recipe quick' in text
            and 'train_loss' in text and str(r/'submission.csv') in text and lines[-1].startswith(f'run: {r}'))
    m = read_metrics(r)
    assert (any(f"accuracy {100*m['accuracy']:.2f} %" in o for o in lines)
            and any(f"{m['score_low']:.4f} to {m['score_high']:.4f}" in o for o in lines)
            and not [o for o in lines if 'warn' in o.lower()])

def test_default_directory_is_dated_under_runs(tiny, in_tmp):
    r = run(tiny, None)
    assert (r.parent==Path('runs') and r.name.startswith(time.strftime('%Y-')) and r.name.endswith('_quick')
            and names(r)==DONE)

def test_ticks_count_batches(tiny, tmp_path):
    seen = []
    run(tiny, tmp_path/'r', tick=lambda *a: seen.append(a))
    assert seen==[(i,6) for i in range(1,7)]

def test_intervals():
    assert (wilson(50, 100)==pytest.approx((.4038,.5962), abs=1e-4) and wilson(0, 10)[0]==0
            and wilson(10, 10)[1]==1 and wilson(10, 10)[0]==pytest.approx(.7225, abs=1e-3))
    low,high = score_interval(990, 1000, 1000)
    assert low<.99<high<=1 and score_interval(500, 500, 1000)[0]<1 and score_interval(990, 1000, 10**6)[0]>low

def test_score_interval_holds_the_score():
    "Over many random draws, 95 % of the test scores are in the interval computed from their validation fold"
    rng,hits = np.random.default_rng(0),0
    for p in (.9,.97,.995):
        k,t = rng.binomial(500, p, 2000),rng.binomial(1000, p, 2000)/1000
        hits = np.mean([low-1e-9<=s<=high+1e-9
                        for (low,high),s in ((score_interval(int(a), 500, 1000),b) for a,b in zip(k,t))])
        assert hits>.93, (p, hits)

# ---- layouts

def submission_of(folder, tmp_path, **kw):
    lines = []
    r = run(folder, tmp_path/'run', say=lines.append, **kw)
    return pd.read_csv(r/'submission.csv', dtype=object, keep_default_na=False),lines,r

def test_kannada_layout(tmp_path):
    test = digits(20, seed=1).drop(columns='label')
    test.insert(0, 'id', np.arange(20)[::-1])
    csvs(tmp_path/'k', test=test, sample=pd.DataFrame(dict(id=range(20), label=0)))
    sub,_,r = submission_of(tmp_path/'k', tmp_path)
    assert list(sub.columns)==['id','label'] and sub.id.tolist()==[str(i) for i in range(20)]
    with np.load(r/'predictions.npz') as z:
        assert sub.label.astype(int).tolist()==z['test_probs'].argmax(1)[::-1].tolist()

def test_fashion_layout(tmp_path):
    (tmp_path/'f').mkdir()
    one = lambda df: df.rename(columns={f'pixel{i}':f'pixel{i+1}' for i in range(64)})
    for k,seed,n in ('train',0,60),('test',1,20):
        one(digits(n, seed=seed)).to_csv(tmp_path/'f'/f'fashion-mnist_{k}.csv', index=False)
    sub,lines,_ = submission_of(tmp_path/'f', tmp_path)
    assert (list(sub.columns)==['ImageId','Label'] and sub.ImageId.tolist()==[str(i) for i in range(1,21)]
            and any('20 labelled test rows' in o for o in lines))

@pytest.mark.parametrize('kw',
                         [dict(side=40), dict(classes=['ka','ki','ku']), dict(classes=['<b>','a,b','"q"']),
                          dict(classes=['٣','1_0','nan']), dict(classes=['-1','1'], n_class=2),
                          dict(prefix='p')], ids='40 text odd digits signs prefix'.split())
def test_other_sides_and_classes(kw, tmp_path):
    sub,_,r = submission_of(csvs(tmp_path/'d', **kw), tmp_path)
    assert (set(sub.Label)<={str(o) for o in kw.get('classes', [0,1,2])} and len(sub)==20
            and check_submission(r/'submission.csv', tmp_path/'d')['rows']==20)
    assert predict_csv(r, out=tmp_path/'again.csv', device='cpu',
                       say=quiet).read_bytes()==(r/'submission.csv').read_bytes()

def test_zip_and_gz(tiny, tiny_run, tmp_path):
    with zipfile.ZipFile(tmp_path/'tiny.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        for o in tiny.iterdir(): z.write(o, f'sub/{o.name}')
    assert (
        (run(tmp_path/'tiny.zip',
             tmp_path/'run')/'submission.csv').read_bytes()==(tiny_run[0]/'submission.csv').read_bytes())

def test_no_test_set(tmp_path):
    lines = []
    r = run(csvs(tmp_path/'d', test=False), tmp_path/'run', say=lines.append)
    assert (names(r)==[o for o in DONE if o!='submission.csv']
            and any('no test' in o and 'no submission' in o for o in lines) and read_metrics(r)['canary_rows']==0)
    with np.load(r/'predictions.npz') as z: assert 'test_probs' not in z
    with pytest.raises(DataError, match='no test set'): predict_csv(r, out=tmp_path/'s.csv', say=quiet)

def test_fewer_rows_than_a_batch_is_logged(tmp_path):
    lines = []
    run(csvs(tmp_path/'d', n=30), tmp_path/'run', say=lines.append, bs=64)
    assert any('batch size is 24 instead of 64' in o and '24 training rows' in o for o in lines)

# ---- honest numbers

def test_identical_images_are_reported_and_left_out(tmp_path):
    df = digits(60)
    df = pd.concat([df, df[:20]], ignore_index=True)
    lines = []
    # rows 40 to 79: 60 to 79 are rows 0 to 19
    r = run(csvs(tmp_path/'d', train=df), tmp_path/'run', say=lines.append, split='last', valid_pct=.5)
    m = read_metrics(r)
    assert (m['same_valid']==20 and m['n_valid']==20
            and any('20 validation images are also in the training set' in o for o in lines))
    with np.load(r/'predictions.npz') as z:
        assert (m['accuracy']==pytest.approx((z['valid_probs'].argmax(1)==z['valid_labels'])[~z['valid_same']].mean())
                and len(z['valid_rows'])==40)

def test_only_identical_images_raise_an_error(tmp_path):
    df = digits(30)
    twice = csvs(tmp_path/'d', train=pd.concat([df, df], ignore_index=True))
    refused('image is also a training image', data=twice, out=tmp_path/'run', split='last', valid_pct=.5)
    assert not (tmp_path/'run'/'submission.csv').exists() and not (tmp_path/'run'/'metrics.json').exists()

def test_test_images_seen_in_training_are_reported(tmp_path):
    test = pd.concat([digits(18, seed=1), digits(60)[:2]], ignore_index=True).drop(columns='label')
    lines = []
    r = run(csvs(tmp_path/'d', test=test), tmp_path/'run', say=lines.append)
    assert read_metrics(r)['same_test']==2 and any('2 test images' in o for o in lines)

def test_one_class_only_is_warned_of(tmp_path, tiny):
    lines = []
    run(tiny, tmp_path/'run', say=lines.append, lr=1e-12, epochs=1, arch_kwargs=dict(chs=[1]))
    assert any('for every row' in o and 'learnt nothing' in o for o in lines), lines

# ---- determinism

def test_same_seed_same_bytes_other_seed_other_bytes(tiny, tmp_path):
    a,b,c = (run(tiny, tmp_path/k, seed=s) for k,s in (('a',1),('b',1),('c',2)))
    for o in 'submission.csv','model/model.safetensors': assert (a/o).read_bytes()==(b/o).read_bytes()
    assert (a/'model/model.safetensors').read_bytes()!=(c/'model/model.safetensors').read_bytes()
    rows = [np.load(o/'predictions.npz')['valid_rows'].tolist() for o in (a,b,c)]
    assert rows[0]==rows[1]==rows[2]   # seeds share a split

def test_what_ran_before_does_not_matter(tiny, tmp_path):
    a = run(tiny, tmp_path/'a')
    torch.manual_seed(5); np.random.rand(7); random.random(); torch.rand(9)
    run(tiny, tmp_path/'x', seed=8)
    assert files(run(tiny, tmp_path/'b'))['model/model.safetensors']==files(a)['model/model.safetensors']

# ---- resumption

HARD = Recipe(arch='fastbook', bs=8, epochs=4, valid_pct=.2, affine=dict(rotate=10, shift=1, zoom=.1),
              ema=.8, smooth=.1, lr=.01, source='test')   # all that has a state
KINDS = dict(adamw=HARD, adam=replace(HARD, opt='adam'), sgd=replace(HARD, opt='sgd', sched='flat'),
             sgd1cycle=replace(HARD, opt='sgd'), plain=replace(HARD, ema=0., affine={}), tta=replace(HARD, tta=1),
             lrauto=replace(HARD, lr='auto', epochs=3), bf16=replace(HARD, precision='bf16', ema=0.))
def hard(data, out, kind='adamw', **kw):
    return train(data, KINDS[kind], out=out, **{**dict(say=quiet, precision='bf16' if kind=='bf16' else 'auto'), **kw})

@pytest.fixture(scope='module')
# in bf16, torch's gradient of a 3x3 kernel on one padded pixel is not repeatable
def big_tiny(tmp_path_factory): return csvs(tmp_path_factory.mktemp('h')/'data', n=60, side=20)

@pytest.fixture(scope='module')
def whole(big_tiny, tmp_path_factory):
    "Return the files of an uninterrupted run of each kind"
    done = {}
    def _whole(kind):
        if kind not in done: done[kind] = outcome(hard(big_tiny, tmp_path_factory.mktemp('w')/'run', kind))
        return done[kind]
    return _whole

def outcome(r):
    "Return the parts of a run that must not depend on interruptions"
    h = pd.read_csv(r/'history.csv').drop(columns='seconds')
    with np.load(r/'predictions.npz') as z: arrays = {k:z[k].tobytes() for k in z}
    m = read_metrics(r)
    # nothing is left over
    assert [o for o in names(r) if o!='lr_find.csv']==DONE and not [o for o in os.listdir(r) if o.startswith('.')]
    return dict(sub=(r/'submission.csv').read_bytes(), model=(r/'model/model.safetensors').read_bytes(),
                history=h.to_csv(), arrays=arrays, acc=m['accuracy'], lr=m['lr'])

@pytest.mark.parametrize('kind', [pytest.param(k, marks=[] if k in ('adamw','lrauto') else pytest.mark.slow)
                                  for k in KINDS])
def test_resumed_run_is_the_same_byte_for_byte(kind, big_tiny, whole, tmp_path):
    n = KINDS[kind].epochs*6
    for i in random.Random(kind).sample(range(7, n+1), 2):   # from the second epoch on
        out = tmp_path/f'r{i}'
        with pytest.raises(Stop): hard(big_tiny, out, kind, tick=stop_at(i))
        assert (out/'checkpoint').is_dir() and not (out/'submission.csv').exists()
        random.seed(i); torch.manual_seed(i); np.random.seed(i)
        lines = []
        hard(big_tiny, out, kind, resume=True, say=lines.append)
        assert outcome(out)==whole(kind), i
        assert not any('nothing to resume' in o for o in lines)

def test_interrupted_in_the_first_epoch_starts_again(big_tiny, whole, tmp_path):
    with pytest.raises(Stop): hard(big_tiny, tmp_path/'r', tick=stop_at(3))
    lines = []
    hard(big_tiny, tmp_path/'r', resume=True, say=lines.append)
    assert outcome(tmp_path/'r')==whole('adamw') and any('nothing to resume' in o for o in lines)

def test_interrupted_again_and_again(big_tiny, whole, tmp_path):
    for i in 3,8,13,14,20,23:
        with pytest.raises(Stop): hard(big_tiny, tmp_path/'r', resume=True, tick=stop_at(i))
    assert outcome(hard(big_tiny, tmp_path/'r', resume=True))==whole('adamw')

def test_resume_with_nothing_there_starts(tiny, tiny_run, tmp_path):
    assert (
        (run(tiny, tmp_path/'r',
             resume=True)/'submission.csv').read_bytes()==(tiny_run[0]/'submission.csv').read_bytes())

def test_resume_takes_the_data_from_the_run(big_tiny, whole, tmp_path, here):
    with pytest.raises(Stop): hard(big_tiny, tmp_path/'r', tick=stop_at(9))
    assert outcome(hard(None, tmp_path/'r', resume=True))==whole('adamw')

@pytest.mark.parametrize('state', ['old','old+new','new half','checkpoint+old','checkpoint+new'])
def test_resume_between_the_renames(state, big_tiny, whole, tmp_path):
    out = tmp_path/'r'
    with pytest.raises(Stop): hard(big_tiny, out, tick=stop_at(14))
    ck,old,new = out/'checkpoint',out/'.checkpoint.old',out/'.checkpoint.new'
    if state=='old': ck.rename(old)
    elif state=='old+new': shutil.copytree(ck, new); ck.rename(old)
    elif state=='new half': new.mkdir(); (new/'state.safetensors').write_bytes(b'half')
    elif state=='checkpoint+old': shutil.copytree(ck, old)
    elif state=='checkpoint+new': shutil.copytree(ck, new)
    with pytest.raises(RunError, match='unfinished.*resume=True'): hard(big_tiny, out)
    seen = []
    assert outcome(hard(big_tiny, out, resume=True, tick=lambda i,n: seen.append(i)))==whole('adamw')
    assert seen[0]==13   # it resumed, and did not start again

def test_resume_restores_the_random_states_of_python_and_numpy(big_tiny, tmp_path):
    def draws(n=None):
        seen = {}
        def tick(i, of):
            seen[i] = random.random(),np.random.rand(),torch.rand(1).item()
            if i==n: raise Stop('stopped by the test')
        return seen,tick
    whole_,tick = draws()
    hard(big_tiny, tmp_path/'a', tick=tick)
    _,tick = draws(16)
    with pytest.raises(Stop): hard(big_tiny, tmp_path/'b', tick=tick)
    rest,tick = draws()
    random.seed(1); np.random.seed(1); torch.manual_seed(1)
    hard(big_tiny, tmp_path/'b', resume=True, tick=tick)
    assert rest=={i:whole_[i] for i in range(13, 25)}

def test_interrupted_after_training(big_tiny, whole, tmp_path, monkeypatch):
    "Everything after the last epoch can be repeated from its checkpoint"
    from digitfast.tasks import finish, fit
    from digitfast.runs import run as rundir
    for where,name in ((fit,'predict_rows'), (fit,'save_net'), (fit,'predict_test'), (finish,'submission_text'),
                       (rundir.Run,'save_predictions'), (finish,'versions')):
        out = tmp_path/name
        with monkeypatch.context() as m:
            def stop(*a, **k): raise Stop("stopped by the test")
            m.setattr(where, name, stop)
            with pytest.raises(Stop): hard(big_tiny, out)
        assert not (out/'metrics.json').exists() and (out/'checkpoint').is_dir()
        assert outcome(hard(big_tiny, out, resume=True))==whole('adamw'), name

def test_resume_keeps_the_threads(big_tiny, tmp_path):
    with pytest.raises(Stop): hard(big_tiny, tmp_path/'r', tick=stop_at(9))
    torch.set_num_threads(2)
    try:
        hard(big_tiny, tmp_path/'r', resume=True)
        assert read_metrics(tmp_path/'r')['threads']==1
    finally: torch.set_num_threads(1)

OTHER = dict(seed=(dict(seed=7), 'seed'), lr=(dict(lr=.02), 'lr'), epochs=(dict(epochs=9), 'epochs'),
             bs=(dict(bs=16), 'bs'), arch=(dict(arch='stride2'), 'arch'), valid_pct=(dict(valid_pct=.3), 'valid_pct'),
             precision=(dict(precision='bf16'), 'precision'),
             ema=(dict(ema=.5), 'ema'), affine=(dict(affine=dict(shift=2)), 'affine'),
             device=(dict(device='cpu'), 'device'))
@pytest.fixture(scope='module')
def unfinished(big_tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp('u')/'run'
    with pytest.raises(Stop): hard(big_tiny, out, tick=stop_at(9))
    return out

@pytest.mark.parametrize('name', OTHER)
def test_resume_with_other_options_raises_an_error_with_its_name(name, unfinished, big_tiny):
    kw,says = OTHER[name]
    was = files(unfinished)
    with pytest.raises(RunError, match=f'with {says} .*same options') as e:
        hard(big_tiny, unfinished, resume=True, **kw)
    assert files(unfinished)==was and '\n' not in str(e.value)

def test_resume_with_other_data_raises_an_error(unfinished, tmp_path):
    was = files(unfinished)
    with pytest.raises(RunError, match='other data'): hard(csvs(tmp_path/'o', n=63, side=20), unfinished, resume=True)
    assert files(unfinished)==was

DAMAGE = {'no json':('state.json', None), 'empty json':('state.json', b''), 'half json':('state.json', .5),
          'list':('state.json', b'[]'), 'other':('state.json', b'{}'), 'binary':('state.json', b'\xff\xfe'),
          'deep':('state.json', b'['*100_000),
          'no weights':('state.safetensors', None), 'empty weights':('state.safetensors', b''),
          'half weights':('state.safetensors', .5), 'pickle':('state.safetensors', b'\x80\x04\x95\x1f'),
          'flipped':('state.safetensors', 'flip')}
@pytest.mark.parametrize('name', DAMAGE)
def test_resume_from_a_damaged_checkpoint_raises_an_error(name, unfinished, big_tiny, tmp_path):
    out = shutil.copytree(unfinished, tmp_path/'r')
    f,d = DAMAGE[name]
    f = out/'checkpoint'/f
    b = f.read_bytes()
    if d is None: f.unlink()
    elif d=='flip': f.write_bytes(b[:-9]+bytes([b[-9]^1])+b[-8:])
    else: f.write_bytes(b[:int(len(b)*d)] if isinstance(d, float) else d)
    with pytest.raises(RunError, match='checkpoint') as e: hard(big_tiny, out, resume=True)
    assert '\n' not in str(e.value) and 'damaged' in str(e.value)
    assert not (out/'metrics.json').exists()

# ---- killed for good, in a forked process

def forked(f):
    "Run `f` in a child process, and return the number of the signal that ended it, or 0"
    pid = os.fork()
    if not pid:
        try: f()
        except BaseException: os._exit(7)
        os._exit(0)
    _,status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

def die(*a, **kw): os.kill(os.getpid(), signal.SIGKILL)
def die_at(n, sig=signal.SIGKILL):
    def tick(i, of):
        if i==n: os.kill(os.getpid(), sig); time.sleep(5)
    return tick

moments = [(i, s) for i,s in zip(random.Random(0).sample(range(1, 25), 20),
                                 [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]*7)]
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('i,sig',
                         [pytest.param(i, s, id=f'{s.name}-{i}', marks=[] if k<3 else [pytest.mark.slow])
                          for k,(i,s) in enumerate(moments)])
def test_killed_run_resumes(i, sig, big_tiny, whole, tmp_path):
    want = whole('adamw')
    def child():
        if sig==signal.SIGINT: signal.signal(sig, signal.default_int_handler)
        hard(big_tiny, tmp_path/'r', tick=die_at(i, sig))
    assert forked(child)==(signal.SIGKILL if sig==signal.SIGKILL else 7)   # the others end it as an exception does
    assert outcome(hard(big_tiny, tmp_path/'r', resume=True))==want

# ---- directories that raise an error

def test_finished_run_raises_an_error(tiny, tiny_run):
    r,_ = tiny_run
    was = files(r)
    for resume in False,True: refused('finished run', data=tiny, out=r, resume=resume)
    assert files(r)==was

def test_unfinished_run_raises_an_error_without_resume(big_tiny, unfinished):
    was = files(unfinished)
    refused('unfinished', 'resume=True', data=big_tiny, out=unfinished)
    assert files(unfinished)==was

def test_directory_in_use_for_something_else_raises_an_error(tiny, tmp_path):
    (tmp_path/'r').mkdir()
    (tmp_path/'r'/'notes.txt').write_text('mine')
    refused('found other files', data=tiny, out=tmp_path/'r')
    assert names(tmp_path/'r')==['notes.txt'] and os.listdir(tmp_path/'r')==['notes.txt']

def test_empty_directory_is_taken(tiny, tmp_path):
    (tmp_path/'r').mkdir()
    assert names(run(tiny, tmp_path/'r'))==DONE

@pytest.mark.parametrize('out,says',
                         [('file','a file, expected a'), ('file/below','a file, expected a folder'),
                          ('/proc/nothing/here','can\'t write'), ('x'*300,'can\'t write')])
def test_out_that_cannot_be(out, says, tiny, tmp_path):
    (tmp_path/'file').write_text('x')
    refused(says, data=tiny, out=tmp_path/out)
    assert (tmp_path/'file').read_text()=='x' and os.listdir(tmp_path)==['file']

def test_read_only_parent(tiny, tmp_path):
    if os.geteuid()==0: pytest.skip('root may write anywhere')
    tmp_path.chmod(0o500)
    try: refused("can't write", data=tiny, out=tmp_path/'r')
    finally: tmp_path.chmod(0o700)

@pytest.mark.parametrize('kw', [dict(data='/nowhere'), dict(arch='nope'), dict(recipe='nope'), dict(device='tpu'),
                                dict(precision='fp8'), dict(valid_pct=2), dict(opt='nope'), dict(split='nope'),
                                dict(arch='small', arch_kwargs=dict(ks=(9,9,9,9)))],
                                ids='data arch recipe device precision share opt split side'.split())
def test_what_raises_an_error_leaves_nothing(kw, tiny, in_tmp):
    refused(**{**dict(data=tiny, out=in_tmp/'a'/'r'), **kw})
    refused(**{**dict(data=tiny, out=None), **kw})
    assert os.listdir(in_tmp)==[]

def test_two_at_once_raise_an_error_with_the_owner(tiny, tmp_path):
    out = tmp_path/'r'
    def second(i, n):
        if i==2:
            refused('in use', f'process {os.getpid()} on ', data=tiny, out=out)
            refused('in use', data=tiny, out=out, resume=True)
    run(tiny, out, tick=second)
    assert names(out)==DONE and sorted(os.listdir(out))==sorted({o.split('/')[0] for o in DONE})

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_lock_is_freed_when_its_process_dies(tiny, tmp_path):
    out = tmp_path/'r'
    assert forked(lambda: run(tiny, out, tick=die_at(1)))==signal.SIGKILL
    assert names(run(tiny, out, resume=True))==DONE

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_another_process_raises_an_error(tiny, tmp_path):
    out = tmp_path/'r'
    with RunDir(out):
        code = forked(lambda: refused('in use', f'process {os.getppid()}', data=tiny, out=out))
    assert code==0 and not out.exists()

# ---- training that goes wrong

def test_loss_that_is_no_number(tiny, tmp_path):
    lines = refused('lower lr', '1e+09', 'epoch 0', data=tiny, out=tmp_path/'r',
                    lr=1e9, arch='fastbook', opt='sgd', sched='flat')
    assert not (tmp_path/'r'/'submission.csv').exists()

def test_loss_that_is_no_number_later_keeps_the_checkpoint(tiny, tmp_path, monkeypatch):
    made,old = [],Recipe.learner
    def keep(self, *a, **k): made.append(old(self, *a, **k)); return made[-1]
    def spoil(i, n):
        if i==5: [p.data.fill_(float('nan')) for p in made[-1].model.parameters()]
    with monkeypatch.context() as m:
        m.setattr(Recipe, 'learner', keep)
        refused('nan', 'epoch 1', 'checkpoint', 'lower lr', data=tiny, out=tmp_path/'r', tick=spoil)
    ck = read_checkpoint(tmp_path/'r'/'checkpoint')
    assert ck['epoch']==0 and names(run(tiny, tmp_path/'r', resume=True))==DONE

WRONG = dict(transposed=lambda df: df.iloc[:, np.arange(64).reshape(8,8).T.ravel()].set_axis(df.columns, axis=1),
             shuffled=lambda df: df.iloc[np.random.default_rng(0).permutation(len(df))],
             scaled=lambda df: df//255, frame=lambda df: digits(len(df), seed=3).drop(columns='label'))
@pytest.mark.parametrize('name', WRONG)
def test_control_rows_that_differ_write_no_submission_and_can_be_resumed(name, tiny, tmp_path, monkeypatch):
    out,old = tmp_path/'r',DigitDataLoaders.test_dl
    kw = dict(arch='fastbook', epochs=4, bs=8, lr=.02)
    with monkeypatch.context() as m:
        m.setattr(DigitDataLoaders, 'test_dl', lambda self, df, **k: old(self, WRONG[name](df), **k))
        refused('control rows', 'no submission', data=tiny, out=out, **kw)
    assert not (out/'submission.csv').exists() and not (out/'metrics.json').exists() and (out/'checkpoint').is_dir()
    assert names(run(tiny, out, resume=True, **kw))==DONE

def test_folder_that_vanishes(tiny, tmp_path):
    def vanish(i, n):
        if i==4: shutil.rmtree(tmp_path/'r')
    try: run(tiny, tmp_path/'r', tick=vanish)
    except RunError as e: assert '\n' not in str(e)

def test_from_scratch_system_runs_and_resumes(tiny, tmp_path):
    r = train(tiny, 'linear-softmax', out=tmp_path/'r', say=quiet, epochs=2)
    assert names(r)==DONE and load_net(r, device='cpu').dls.side==8

@pytest.mark.parametrize('arch', ['mlp-30-value'])
def test_net_with_one_output_needs_its_loss(arch, tiny, tmp_path): refused(arch, data=tiny, out=tmp_path/'r', arch=arch)

def test_warnings_of_others_do_not_leak(tiny, tmp_path):
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        run(tiny, tmp_path/'r', bs=100)
    assert not [o for o in w if 'the batch size is' in str(o.message)]

# ---- where the data comes from

def test_locate_data(here):
    lines = []
    assert locate_data('x', say=lines.append)=='x' and not lines
    assert locate_data(say=lines.append)=='sample' and 'packaged sample' in lines[-1]
    csvs(here/'digit-recognizer')
    assert Path(locate_data(say=lines.append))==Path('digit-recognizer') and 'digit-recognizer' in lines[-1]

# ---- reading a run

@pytest.mark.parametrize('text',
                         ['', '[]', '{}', '{"format": 2}', '{"format": "1"}', 'null',
                          '{"format": 1', '['*100_000, '{"format": '+'9'*5000+'}'])
def test_metrics_that_are_none(text, tmp_path):
    (tmp_path/'metrics.json').write_text(text)
    for f in read_metrics,(lambda p: predict_csv(p, 'sample', tmp_path/'s.csv', say=quiet)):
        with pytest.raises(RunError) as e: f(tmp_path)
        assert '\n' not in str(e.value)
    assert not (tmp_path/'s.csv').exists()

def test_paths_that_are_no_run(tmp_path, unfinished, tiny_run):
    (tmp_path/'f').write_text('')
    for p,says in ((tmp_path,'metrics.json'), (tmp_path/'no','no such'), (tmp_path/'f','file'),
                   (unfinished,'resume=True'), (tiny_run[0]/'model','no metrics')):
        with pytest.raises(RunError, match=says): read_metrics(p)

# ---- predict_csv

@pytest.fixture
def copy(tiny_run, tmp_path): return shutil.copytree(tiny_run[0], tmp_path/'copy')

def test_predict_gives_the_runs_submission(tiny_run, tmp_path):
    lines = []
    f = predict_csv(tiny_run[0], out=tmp_path/'s.csv', device='cpu', say=lines.append)
    assert (f.read_bytes()==(tiny_run[0]/'submission.csv').read_bytes() and any('control rows' in o for o in lines)
            and any(str(f) in o for o in lines))

def test_predict_other_data_predicts_the_control_rows_from_the_pictures_that_the_run_kept(tiny_run, tmp_path):
    lines = []
    csvs(tmp_path/'o', n=90, test=digits(30, seed=5).drop(columns='label'))
    f = predict_csv(tiny_run[0], tmp_path/'o', tmp_path/'s.csv', device='cpu', say=lines.append)
    assert (len(pd.read_csv(f))==30 and any("these data are not the run's" in o for o in lines)
            and any(o.startswith('control rows: 12 ') for o in lines))
    labels = digits(30, seed=5).label
    want = predict_rows(load_net(tiny_run[0], device='cpu'), digits(30, seed=5)).argmax(1)
    assert pd.read_csv(f).Label.tolist()==want.tolist()

def test_files_of_a_run_are_its_own_until_they_change(tmp_path):
    "However they are given: also the test set alone, and also as Parquet"
    pytest.importorskip('pyarrow')
    folder,test = csvs(tmp_path/'d'),digits(20, seed=1).drop(columns='label')
    (folder/'test.csv').unlink()
    test.to_parquet(folder/'test.parquet')
    r = run(folder, tmp_path/'r', epochs=1)
    shutil.copytree(folder, tmp_path/'copy')
    def is_noted(f):
        lines = []
        predict_csv(r, f, tmp_path/'s.csv', device='cpu', say=lines.append)
        return any("these data are not the run's" in o for o in lines)
    for o in 'test.parquet','train.csv': assert not is_noted(folder/o) and is_noted(tmp_path/'copy'/o)
    test[:9].to_parquet(folder/'test.parquet')
    assert is_noted(folder/'test.parquet')

def test_predict_with_tta(tiny_run, tmp_path):
    said = []
    path = predict_csv(tiny_run[0], out=tmp_path/'s.csv', tta=1, device='cpu', say=said.append)
    assert check_submission(path)['rows']==20
    assert any('9 shifted copies' in o for o in said), 'the slow part begins with a line'

@pytest.mark.parametrize('kw,error',
                         [(dict(side=9),DataError), (dict(prefix='p'),DataError),
                          (dict(classes=['a','b','c']),DataError)], ids='side names classes'.split())
def test_predict_data_that_does_not_fit(kw, error, tiny_run, tmp_path):
    with pytest.raises(error) as e:
        predict_csv(tiny_run[0], csvs(tmp_path/'o', **kw), tmp_path/'s.csv', device='cpu', say=quiet)
    assert '\n' not in str(e.value) and not (tmp_path/'s.csv').exists()

def test_predict_data_gone(copy, tmp_path):
    m = json.loads((copy/'metrics.json').read_text())
    m['data']['path'] = '/nowhere'
    (copy/'metrics.json').write_text(json.dumps(m))
    with pytest.raises(RunError, match='no longer at /nowhere'): predict_csv(copy, out=tmp_path/'s.csv', say=quiet)

def test_predict_with_another_net_fails_on_the_control_rows(copy, tiny, tmp_path):
    shutil.copytree(run(tiny, tmp_path/'o', seed=9, epochs=4, lr=.02)/'model', copy/'model', dirs_exist_ok=True)
    with pytest.raises(RunError, match='control rows'): predict_csv(copy, out=tmp_path/'s.csv', device='cpu', say=quiet)
    assert not (tmp_path/'s.csv').exists()

def npz(**arrays):
    f = io.BytesIO()
    np.savez_compressed(f, **arrays)
    return f.getvalue()
def bomb():
    "Write an .npz whose array claims to have 10**13 numbers"
    f,h = io.BytesIO(),io.BytesIO()
    np.lib.format.write_array_header_1_0(h, dict(descr='<f4', fortran_order=False, shape=(10**13,)))
    with zipfile.ZipFile(f, 'w') as z:
        for k in 'valid_rows.npy','valid_probs.npy': z.writestr(k, h.getvalue())
    return f.getvalue()
class Evil:
    def __reduce__(self): return os.system, ('touch '+os.environ['EVIL_MARK'],)
PREDS = dict(missing=None, empty=b'', text=b'hello', zip=b'PK\x05\x06'+b'\0'*18, other=lambda: npz(x=np.arange(3)),
             objects=lambda: npz(valid_rows=np.array([Evil()], dtype=object), valid_probs=np.zeros((1,3))),
             pickle=lambda: __import__('pickle').dumps(Evil()),
             range=lambda: npz(valid_rows=np.array([10**9]), valid_probs=np.zeros((1,3))),
    floats=lambda: npz(valid_rows=np.array([.5]), valid_probs=np.zeros((1,3))),
    shape=lambda: npz(valid_rows=np.arange(3), valid_probs=np.zeros(7)),
    norows=lambda: npz(valid_rows=np.arange(0), valid_probs=np.zeros((0,3))), bomb=bomb,
    text2=lambda: npz(valid_rows=np.array(['a']), valid_probs=np.zeros((1,3))),
    deep=lambda: npz(valid_rows=np.zeros((2,2,2), int), valid_probs=np.zeros((1,3))))
@pytest.mark.parametrize('name', PREDS)
def test_predict_from_a_hostile_predictions_file(name, copy, tmp_path, monkeypatch):
    monkeypatch.setenv('EVIL_MARK', str(tmp_path/'executed'))
    f,b = copy/'predictions.npz',PREDS[name]
    f.unlink()
    if b is not None: f.write_bytes(b() if callable(b) else b)
    with pytest.raises(RunError) as e: predict_csv(copy, out=tmp_path/'s.csv', device='cpu', say=quiet)
    assert '\n' not in str(e.value) and not (tmp_path/'executed').exists() and not (tmp_path/'s.csv').exists()

@pytest.mark.parametrize('change', [lambda m: m.pop('data'), lambda m: m.pop('settings'), lambda m: m.update(data=[]),
                                    lambda m: m.update(data={}), lambda m: m['data'].update(path=3),
                                    lambda m: m['settings'].update(tta='x'), lambda m: m['settings'].update(tta=10**6),
                                    lambda m: m['settings'].update(tta=-1),
                                    lambda m: m['data'].update(sha256=None, path=None)],
                         ids='nodata nosettings list nopath path tta ttahuge ttaneg none'.split())
def test_predict_from_hostile_metrics(change, copy, tmp_path):
    m = json.loads((copy/'metrics.json').read_text())
    change(m)
    (copy/'metrics.json').write_text(json.dumps(m))
    with pytest.raises(RunError) as e: predict_csv(copy, out=tmp_path/'s.csv', device='cpu', say=quiet)
    assert '\n' not in str(e.value) and not (tmp_path/'s.csv').exists()

def test_predict_where_it_cannot_write(tiny_run, tmp_path):
    (tmp_path/'d').mkdir()
    with pytest.raises(RunError, match="can't write"):
        predict_csv(tiny_run[0], out=tmp_path/'d', device='cpu', say=quiet)

# ---- the whole thing

@pytest.mark.slow
def test_quick_on_the_whole_set(big_zip, tmp_path):
    r = train(big_zip, out=tmp_path/'r', say=quiet)
    m = read_metrics(r)
    assert m['accuracy']>.985 and m['n_valid']==4200 and check_submission(r/'submission.csv', big_zip)['rows']==28_000

@pytest.mark.cuda
@pytest.mark.parametrize('precision', ['auto','bf16','fp16'])
def test_train_on_the_gpu(tiny, tmp_path, precision):
    r = train('sample', out=tmp_path/'r', epochs=2, device='cuda', precision=precision, say=quiet)
    m = read_metrics(r)
    assert m['device'].startswith('cuda') and m['accuracy']>.8 and m['canary_rows']==100
    assert m['graph'] is (precision!='fp16')
    with pytest.raises(Stop): train('sample', out=tmp_path/'s', epochs=2, device='cuda', say=quiet, tick=stop_at(30))
    assert names(train('sample', out=tmp_path/'s', epochs=2, device='cuda', say=quiet, resume=True))==DONE
    assert predict_csv(r, out=tmp_path/'p.csv', device='cpu', say=quiet).exists()

def test_dark_ink_is_remembered(data, tmp_path):
    """A run on dark-on-light rows records the ink, so that a picture is converted to such a row. A run on bright ink
    logs nothing"""
    x = data.train.iloc[:400]
    dark = x.assign(**{k:255-x[k] for k in data.pixels})
    for df,want in ((x,'bright'), (dark,'dark')):
        run = train(df, epochs=1, out=tmp_path/want, say=lambda s: None)
        assert json.loads((run/'model'/'model.json').read_text())['reading']['polarity']==want
        assert run.learner('cpu').dls.reading==Reading.from_json(run.metrics)==Reading(polarity=want, label='label')

# ---- a score that was not expected

def test_a_score_outside_the_expected_is_logged(in_tmp):
    "The training set has four shifted copies of few images, and the labelled test file has other images"
    from digitfast.tasks.finish import why_unexpected
    assert why_unexpected(.98, .97, .99) is why_unexpected(.97, .97, .99) is why_unexpected(.99, .97, .99) is None
    assert 'lower than the expected 0.9700 to 0.9900' in why_unexpected(.9699, .97, .99)
    assert 'higher than the expected 0.9700 to 0.9900' in why_unexpected(1., .97, .99)
    df,other = digits(40, side=16, n_class=2),digits(200, side=16, n_class=2, seed=1)
    other.label = 1-other.label # predictions are never correct there
    x,moved = df.iloc[:,1:].to_numpy().reshape(-1, 16, 16),[df]
    for by in (1,0),(-1,0),(0,1),(0,-1):
        moved.append(df.copy())
        moved[-1].iloc[:,1:] = np.roll(x, by, (1,2)).reshape(40, -1)
    csvs(in_tmp/'d', pd.concat(moved, ignore_index=True), other)
    lines = []
    run = train('d', out='r', say=lines.append, arch='mlp-30', epochs=8, bs=16, valid_pct=.2)
    logged = [o for o in lines if 'than the expected' in o]
    m = run.metrics
    assert m['test_score']<m['score_low'] and len(logged)==1
    assert f"{m['score_low']:.4f} to {m['score_high']:.4f}" in logged[0]
    assert any('near copy' in o for o in lines) and m['near_valid']>.9
    lines.clear()
    predict_csv('r', out='s.csv', say=lines.append)
    assert [o for o in lines if 'than the expected' in o]==logged

# how the training set was read, and what is predicted later

@pytest.fixture(scope='module')
def dim_run(tmp_path_factory):
    "Return (a run on dark ink of 0 to 16, stored column by column, without names; the frame that was written)"
    path = tmp_path_factory.mktemp('dim')
    df = digits(300)
    x = 16-np.rint(df.drop(columns='label').to_numpy()*16/239).astype(int)
    x = x.reshape(-1, 8, 8).swapaxes(1, 2).reshape(-1, 64)
    raw = pd.DataFrame(x, columns=df.columns[1:]).assign(label=df.label)
    raw.to_csv(path/'train.csv', index=False, header=False)
    return train(path/'train.csv', out=path/'run', transpose=True, label='last', say=quiet, arch='fastbook', epochs=5,
                 bs=16, lr=.01),raw

def probs_of(run, path, **kw):
    out = path.with_suffix('.out.csv')
    predict_csv(run, path, out, say=lambda s: None, probs=True, **kw)
    return pd.read_csv(out)

def test_a_run_keeps_how_its_data_were_read(dim_run):
    run,raw = dim_run
    want = Reading((0,16), 'dark', transpose=True, label=65)
    assert run.reading==run.learner('cpu').dls.reading==want and run.metrics['reading']==want.to_json()

@pytest.mark.parametrize('rows', [slice(0,1), slice(7,11), slice(0,40)], ids=['1','4','40'])
def test_few_rows_are_read_as_the_run_was(rows, dim_run, tmp_path):
    "A single row gets the same prediction as among all rows"
    run,raw = dim_run
    raw.to_csv(tmp_path/'all.csv', index=False, header=False)
    raw.iloc[rows].to_csv(tmp_path/'some.csv', index=False, header=False)
    every,some = (probs_of(run, tmp_path/f'{o}.csv').drop(columns='ImageId') for o in ('all','some'))
    assert np.allclose(every.iloc[rows], some, atol=1e-4) and (every.Label==raw.label).mean()>.7

def test_rows_beyond_the_range_of_the_run(dim_run, tmp_path):
    run,raw = dim_run
    for x in raw.iloc[:3,:64]*15,(raw.iloc[:3,:64]/16).round(3):
        x.to_csv(tmp_path/'rows.csv', index=False, header=False)
        with pytest.raises(DataError, match='from 0 to 16 as in the run. Scale all rows to that range'):
            predict_csv(run, tmp_path/'rows.csv', tmp_path/'out.csv', say=lambda s: None)
        assert not (tmp_path/'out.csv').exists()

def test_frames_on_the_scale_of_the_run_and_as_the_reader_returns_them(dim_run):
    "Both get the same predictions from the run's Learner, and another scale raises an error"
    run,raw = dim_run
    learn = run.learner('cpu')
    x = raw.iloc[:,:64].to_numpy().reshape(-1, 8, 8).swapaxes(1, 2).reshape(-1, 64)
    table = pd.DataFrame(x, columns=learn.dls.row2im.cols)
    read = as_data(table.assign(label=raw.label)).train.drop(columns='label')
    want = predict_rows(learn, read)
    assert read.to_numpy().max()==255 and (want.argmax(1)==raw.label).mean()>.7
    for o in table,table.astype(float),x,read.to_numpy(),table.iloc[:50]:
        assert np.allclose(predict_rows(learn, o), want[:len(o)], atol=1e-4)
    assert np.allclose(predict_rows(learn, table.iloc[:1]), want[:1], atol=1e-4)
    with pytest.raises(DataError, match="from 0 to 16 as in the training set"): predict_rows(learn, table*3)

def test_a_factory_stretches_as_the_reader_does(dim_run):
    _,raw = dim_run
    df = raw.set_axis([f'pixel{i}' for i in range(64)]+['label'], axis=1)
    with pytest.warns(UserWarning, match='numbers from 0 to 16, stretched to 0 to 255'):
        dls = DigitDataLoaders.from_df(df, device='cpu', bs=16)
    assert dls.reading==Reading((0,16), 'dark') and dls.train.images.max()==255
    assert dls.test_dl(df.iloc[:3].drop(columns='label')).items.to_numpy().max()>100

def test_a_run_without_a_reading_guesses_as_before(dim_run, tmp_path):
    "A run of version 0.1 stored only the options"
    run,raw = dim_run
    old = Run(shutil.copytree(run, tmp_path/'old'))
    m = {k:v for k,v in run.metrics.items() if k!='reading'}
    (old/'metrics.json').write_text(json.dumps(m))
    assert old.reading==Reading(None, transpose=True, label='last')
    for o in dict(value_range=[16,0]),dict(polarity='grey'),dict(odd=1),'x',dict(label=[1]):
        (old/'metrics.json').write_text(json.dumps({**m, 'reading':o}))
        with pytest.raises(RunError, match='reading is .*expected how data were read'): old.metrics

def test_one_image_with_two_labels_is_logged():
    from digitfast.tasks.inputs import load_data
    df,lines = digits(60),[]
    load_data(df, lines.append)
    assert not any('different labels' in o for o in lines)
    two = pd.concat([df, df[:3].assign(label=[*df.label[:2], 2])], ignore_index=True)
    load_data(two, lines.append)
    assert not any('different labels' in o for o in lines) # row 2 has the label 2
    two.loc[[60,61],'label'] = [2,2]
    load_data(two, lines.append)
    assert "note: 2 images of the training set occur with different labels, such as rows 0 and 60 (from 0), with the " \
           "labels '0' and '2'" in lines

def test_two_threads_that_train_at_once_get_what_one_gets(tmp_path, tiny):
    "They would share torch's random numbers, so the second begins after the first"
    from threading import Thread
    def go(name, say=lambda o: None): train(tiny, out=tmp_path/name, say=say, **TINY)
    go('alone')
    lines = []
    threads = [Thread(target=go, args=(k, lines.append)) for k in 'ab']
    for o in threads: o.start()
    for o in threads: o.join()
    want = (tmp_path/'alone'/'model'/'model.safetensors').read_bytes()
    assert all((tmp_path/k/'model'/'model.safetensors').read_bytes()==want for k in 'ab')
    assert lines.count("another thread of this process trains: this one begins after it")==1

def test_a_long_prediction_logs_how_far_it_is(tmp_path, tiny, tiny_run, monkeypatch):
    from digitfast.tasks.finish import BatchesLeft
    from digitfast.tasks.predict import predict_csv
    def log(every):
        monkeypatch.setattr(BatchesLeft.__init__, '__defaults__', (every,))
        lines = []
        predict_csv(tiny_run[0], tiny, tmp_path/'s.csv', say=lines.append)
        train(tiny, out=tmp_path/f'every{every}', say=lines.append, **TINY)
        return [o for o in lines if o.startswith('predicting: batch ')]
    assert len(log(0))>=3 and not log(30)
