"Tests of a run's directory as an object: reading, equal results everywhere, and errors"
import io, json, os, shutil, socket
from pathlib import Path
import numpy as np, pandas as pd, pytest

from digitfast.core import DigitError, RunError, as_command, check_run_dir
from digitfast.report.measure import Preds, versus
from digitfast.report.page import report
from digitfast.runs.rundir import RunDir, resumable
from digitfast.runs.checkpoint import read_checkpoint
from digitfast.runs.run import Run
from digitfast.runs.weights import load_net
from run_double import a_run, fake

OLD = Path(__file__).parents[1]/'fixtures'/'run-0.1'   # two runs of version 0.1, and their data

def npz(**arrays):
    f = io.BytesIO()
    np.savez_compressed(f, **arrays)
    return f.getvalue()

def edit(f, **changes):
    "Replace fields of the JSON file `f`; `...` removes a field"
    m = json.loads(f.read_text())
    m.update(changes)
    f.write_text(json.dumps({k:v for k,v in m.items() if v is not ...}))

@pytest.fixture
def old(tmp_path):
    "Return a copy of the runs of version 0.1, with their data at a path that can be specified"
    return shutil.copytree(OLD, tmp_path/'old')

# ---- runs of version 0.1 stay readable

@pytest.mark.parametrize('name,n,n_oof,members', [('one',9,None,0), ('both',9,44,2)])
def test_a_run_of_version_0_1(name, n, n_oof, members):
    run = Run(OLD/name)
    p,oof = run.predictions(),run.oof()
    assert run.metrics['format']==1 and len(p)==n and len(p.test_probs)==10 and p.classes==[0,1,7]
    assert p.hits.mean()==pytest.approx(run.metrics['accuracy']) and (oof and len(oof))==n_oof
    assert len(run.members())==members
    assert len(run.history())==8 and (run.lr_curve() is not None)==(name=='one')
    d = run.data(OLD/'digits.zip')
    learn = run.learner('cpu')
    assert (len(d.train),len(d.test),learn.dls.side)==(44,10,14)
    assert check_page(report(run).html, p) and 'of 9 rows' in versus(OLD/'one', OLD/'both').text

def check_page(text, p): return f'{100*p.hits.mean():.2f} %' in text

def test_the_predictions_of_a_run_of_version_0_1_are_those_of_its_net(old):
    from digitfast.learn.predict import predict_rows
    run = Run(old/'one')
    d,p = run.data(old/'digits.zip'),run.predictions(same=True)
    got = predict_rows(run.learner('cpu'), d.train.iloc[p.rows], tta=run.metrics['settings']['tta'])
    assert np.allclose(got, p.probs, atol=1e-4)

# ---- one wording for a directory that can't be written to

@pytest.mark.parametrize('files,resume,found', [
    (['metrics.json','model/model.json'], False, 'a finished run, expected a new directory'),
    (['metrics.json','model/model.json'], True, 'a finished run, expected an unfinished run'),
    (['checkpoint/state.json'], False, 'an unfinished run, expected a new directory'),
    (['notes.txt'], False, 'other files, expected'), (['notes.txt'], True, 'other files, expected'),
    (['history.csv'], False, 'other files, expected'), (['history.csv'], True, None),
    (['history.csv','.owner'], False, None), (['history.csv','notes.txt','.owner'], False, 'other files, expected'),
    (['checkpoint/state.json'], True, None), (['metrics.json','checkpoint/state.json'], True, None), ([], False, None)])
def test_the_early_check_of_a_directory_and_its_lock_agree(files, resume, found, tmp_path):
    (out := tmp_path/'r').mkdir()
    for f in files:
        (out/f).parent.mkdir(exist_ok=True)
        (out/f).write_text('{}')
    def fault(call):
        try: call()
        except RunError as e: return str(e)
    def lock():
        with RunDir(out, resume): pass
    early = fault(lambda: check_run_dir(out, resume))
    assert early==fault(lock) and (early is None)==(found is None) and (not found or f'{out}: found {found}' in early)

# ---- a copy by way of Windows

def test_files_with_a_byte_order_mark_and_windows_line_ends(tmp_path):
    run = shutil.copytree(OLD/'one', tmp_path/'one')
    for f in [*run.rglob('*.json'), *run.rglob('*.csv')]:
        f.write_bytes(b'\xef\xbb\xbf'+f.read_bytes().replace(b'\n', b'\r\n'))
    a,b = Run(OLD/'one'),Run(run)
    assert a.metrics==b.metrics and a.history().equals(b.history()) and len(a.predictions())==len(b.predictions())
    assert b.learner('cpu')

# ---- stopped after all is written

def test_ctrl_c_after_the_run_is_finished_says_that_it_is(tmp_path):
    out = tmp_path/'r'
    with pytest.raises(KeyboardInterrupt, match='nothing was saved yet'):
        with resumable(out): raise KeyboardInterrupt
    a_run(out, **fake())
    with pytest.raises(KeyboardInterrupt, match='contains the finished run. '):
        with resumable(out): raise KeyboardInterrupt
    (out/'checkpoint').mkdir() # it is not finished before its checkpoint is removed
    with pytest.raises(KeyboardInterrupt, match='resume it'):
        with resumable(out): raise KeyboardInterrupt

# ---- still a path

def test_a_run_is_as_good_as_a_path(tmp_path):
    run = Run(a_run(tmp_path/'r', **fake()))
    assert os.fspath(run)==str(run)==f'{run}'==str(tmp_path/'r') and Path(run)==tmp_path/'r' and run==tmp_path/'r'
    assert run==Run(run) and run!=Run(tmp_path/'q') and run!=tmp_path/'q' and run!=str(run) and run!=3
    assert (run/'metrics.json').is_file() and run.exists() and run.is_dir() and run.name=='r' and run.parent==tmp_path
    assert open(os.path.join(run, 'metrics.json')).read(1)=='{'
    assert sorted(o.name for o in run.iterdir())==['metrics.json','predictions.npz']
    assert len({run, Run(str(run))})==1 and shutil.copytree(run, tmp_path/'c').name=='c'

def test_what_it_looks_like(tmp_path):
    run = Run(OLD/'both')
    assert '77.78 % (95 %: 45.26 % to 93.68 %) on 9 held-out rows' in repr(run) and '2 members' in run._repr_html_()
    assert 'no such directory' in repr(Run(tmp_path/'no')) and 'no such directory' in Run(tmp_path/'no')._repr_html_()
    evil = Run(a_run(tmp_path/'<b>', **fake()))
    edit(evil/'metrics.json', recipe='<script>x\\n\x1b[31m')
    assert '<script' not in evil._repr_html_() and '<b></b>' not in evil._repr_html_()
    assert '\x1b' not in repr(evil)+evil._repr_html_() and '\n' not in repr(evil)

# ---- damaged arrays: one answer everywhere

def same(a, k, v): return {**a, k:v}
BAD = dict(
    nan=lambda a: same(a, 'valid_probs', np.where(np.arange(3)==1, np.nan, a['valid_probs'])),
    nan_test=lambda a: same(a, 'test_probs', np.full((5,3), np.nan, np.float32)),
    other_labels=lambda a: same(a, 'valid_labels', a['valid_labels']+7),
    text_labels=lambda a: same(a, 'valid_labels', a['valid_labels'].astype(str)),
    classes_twice=lambda a: same(a, 'classes', np.array([0,1,1])),
    no_classes=lambda a: {k:v for k,v in a.items() if k!='classes'},
    one_class=lambda a: {**{k:v for k,v in a.items() if k!='test_probs'}, 'classes':np.array([0]),
                         'valid_labels':a['valid_labels']*0, 'valid_probs':np.ones((200,1), np.float32)},
    half_classes=lambda a: same(a, 'classes', a['classes'].astype(np.float16)),
    all_repeated=lambda a: same(a, 'valid_same', np.ones(200, bool)),
    negative=lambda a: same(a, 'valid_probs', a['valid_probs']*np.float32([-1,1,1])),
    over_one=lambda a: same(a, 'valid_probs', a['valid_probs']+1),
    sum=lambda a: same(a, 'valid_probs', a['valid_probs']*np.float32(.9)),
    sum_test=lambda a: same(a, 'test_probs', np.full((5,3), .3, np.float32)),
    long_double=lambda a: same(a, 'valid_probs', a['valid_probs'].astype(np.longdouble)),
    half=lambda a: same(a, 'valid_probs', a['valid_probs'].astype(np.float16)),
    rows_twice=lambda a: same(a, 'valid_rows', np.r_[a['valid_rows'][:-1], a['valid_rows'][0]]),
    rows_negative=lambda a: same(a, 'valid_rows', -1-a['valid_rows']),
    rows_huge=lambda a: same(a, 'valid_rows', a['valid_rows'].astype(np.uint64)+np.uint64(2**63)),
    rows_too_far=lambda a: same(a, 'valid_rows', a['valid_rows']-a['valid_rows'].max()+2**40),
    rows_of_floats=lambda a: same(a, 'valid_rows', a['valid_rows'].astype(float)),
    no_size=lambda a: same(a, 'images', np.zeros((20,0,0), np.uint8)),
    not_square=lambda a: same(a, 'images', np.zeros((20,5,6), np.uint8)),
    foreign_pictures=lambda a: same(a, 'image_rows', a['image_rows']+10_000),
    no_text=lambda a: same(same(a, 'classes', np.frombuffer(b'\xff\xff\xff\x7f'*3, '<U1')), 'valid_labels',
                           np.frombuffer(b'\xff\xff\xff\x7f'*200, '<U1')),
    test_of_other_classes=lambda a: same(a, 'test_probs', np.full((5,4), .25, np.float32)),
    no_test_rows=lambda a: same(a, 'test_probs', np.zeros((0,3), np.float32)),
    dates=lambda a: same(a, 'valid_rows', a['valid_rows'].astype('datetime64[s]')),
    bytes=lambda a: same(a, 'classes', a['classes'].astype('S3')))

def readers():
    "Return all functions that read predictions of a run"
    return dict(run=lambda r: Run(r).predictions(), report=report, versus=lambda r: versus(r, r))

@pytest.mark.parametrize('what', BAD)
def test_what_is_damaged_is_damaged_for_everyone(what, tmp_path):
    run = a_run(tmp_path/'r', **fake())
    (run/'predictions.npz').write_bytes(npz(**BAD[what](fake())))
    says = set()
    for name,f in readers().items():
        with pytest.raises(RunError,
                           match='predictions.npz.*Copy the complete run|predictions.npz.*other rows') as e: f(run)
        says.add(str(e.value))
    assert len(says)==1 and len(says.pop())<400

def test_what_is_wrong_is_logged(tmp_path):
    run = a_run(tmp_path/'r', **fake())
    for what,says in dict(not_square='images are of 5x6 pixels', rows_too_far=f'a row number is {2**40}',
                          negative='a probability is -', all_repeated='image is also in the training set').items():
        (run/'predictions.npz').write_bytes(npz(**BAD[what](fake())))
        with pytest.raises(RunError, match=says): Run(run).predictions()

def test_what_is_just_right_is_read(tmp_path):
    a = fake()
    sure = np.eye(3, dtype=np.float32)[a['valid_probs'].argmax(1)]
    far = {k:a[k]-a['valid_rows'].max()+2**40-1 for k in ('valid_rows','image_rows')}
    p = Run(a_run(tmp_path/'r', **{**a, 'valid_probs':sure, **far})).predictions()
    assert (p.probs==sure).all() and p.rows.max()==2**40-1

@pytest.mark.parametrize('kind', ['<i2','>i4','<u8','>u2'])
def test_other_widths_of_integers_are_the_same_run(kind, tmp_path):
    a = fake()
    b = {**a, **{k:a[k].astype(kind) for k in ('valid_rows','valid_labels','classes','image_rows')},
         'valid_probs':a['valid_probs'].astype('>f4')}
    want,got = (Run(a_run(tmp_path/k, **o)).predictions() for k,o in (('a',a),('b',b)))
    assert (want.rows==got.rows).all() and (want.targs==got.targs).all() and got.rows.dtype==np.int64
    assert got.images.keys()==want.images.keys()
    assert versus(tmp_path/'a', tmp_path/'b').a_only==0
    assert report(tmp_path/'a').html==report(tmp_path/'b').html.replace('>b<', '>a<').replace('<title>b:', '<title>a:')

def test_predictions_that_are_another_runs(tmp_path):
    run = a_run(tmp_path/'r', **fake())
    edit(run/'metrics.json', accuracy=.9, n_valid=200)
    assert len(Run(run).predictions())==200
    (run/'predictions.npz').write_bytes(npz(**fake(wrong=30)))
    with pytest.raises(RunError, match='which differs from metrics.json'): Run(run).predictions()

@pytest.mark.parametrize('name', [None,'/there/file'])
def test_what_the_disk_refuses_is_named(name, tmp_path):
    with pytest.raises(RunError, match=f'^{name or tmp_path}: No space. Fix this first; nothing was saved yet'):
        with resumable(tmp_path): raise OSError(28, 'No space', name)

# ---- damaged metrics

@pytest.mark.parametrize('change',
                         [dict(accuracy=1.5), dict(accuracy='x'), dict(accuracy=True), dict(n_valid=-1),
                          dict(n_valid=1.0), dict(seed=2**70), dict(lr='fast'), dict(data=[]), dict(data=...),
                                    dict(data=dict(path='x'*5000)),
    dict(data=dict(path='a\0b')), dict(settings=dict(tta=1.0)),
    dict(settings=dict(tta=9)), dict(settings=3), dict(recipe=...),
                                    dict(recipe=3), dict(seconds=dict(train='x')),
    dict(versions=[1]), dict(members_accuracy=[2]), dict(members_accuracy='1'), dict(joined='ab'), dict(joined=[1]),
    dict(given=dict(loss_func='ab')), dict(given=[['a']]), dict(imports=['a']), dict(imports=3),
    dict(options=dict(label=1)), dict(drop=dict(rows=[1.5])), dict(drop=dict(rows='1')), dict(drop=[1]),
    dict(format=True), dict(format=0), dict(format=1.0)], ids=str)
def test_fields_that_are_not_of_their_kind(change, tmp_path):
    run = a_run(tmp_path/'r', **fake())
    edit(run/'metrics.json', **change)
    for f in readers().values():
        with pytest.raises(RunError, match='metrics.json') as e: f(run)
        assert len(str(e.value))<400

def test_an_error_in_a_field_names_file_field_found_and_expected(old):
    "The wording is the same for all three files"
    run = Run(old/'one')
    shutil.copytree(run, old/'damaged')
    edit(old/'damaged'/'metrics.json', accuracy=1.5)
    edit(run/'model'/'model.json', side='8')
    (run/'checkpoint').mkdir()
    info = dict(path='a', data=dict(sha256='s'), recipe={}, threads=1, seed=-1)
    (run/'checkpoint'/'state.json').write_text(json.dumps(dict(info=info, epoch=0, sha256='s')))
    damaged = Run(old/'damaged')
    found = {"metrics.json is damaged: accuracy is '1.5', expected a number from 0 to 1.":lambda: damaged.metrics,
             "model.json is damaged: side is '8', expected a whole number from 1 to 1,024.":lambda: load_net(run),
             "is damaged (seed is '-1', expected a whole number)":lambda: read_checkpoint(run/'checkpoint')}
    for want,f in found.items():
        with pytest.raises(RunError) as e: f()
        assert want in str(e.value)

@pytest.mark.parametrize('text',
                         ['{"format": 1, "lr": 1'+'0'*400+'}', '{"format": 1, "lr": 1e400}',
                          '{"format": 1, "lr": NaN}', r'{"format": 1, "arch": "\ud800"}', '\xff'])
def test_numbers_and_texts_that_no_page_can_hold(text, tmp_path):
    run = a_run(tmp_path/'r', **fake())
    (run/'metrics.json').write_bytes(text.encode('latin-1'))
    with pytest.raises(RunError, match="metrics.json can't be read"): Run(run).metrics

# ---- files that are none

KINDS = dict(pipe=lambda f: os.mkfifo(f), device=lambda f: f.symlink_to('/dev/zero'),
             link=lambda f: f.symlink_to('/etc/passwd'), folder=lambda f: f.mkdir(),
             loop=lambda f: f.symlink_to(f), socket=lambda f: socket.socket(socket.AF_UNIX).bind(os.path.relpath(f)))
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name',
                         ['metrics.json','predictions.npz','history.csv','lr_find.csv','oof.npz','model/model.json',
                          'model/model.safetensors','members/0/predictions.npz'])
def test_only_plain_files_are_read(kind, name, old, monkeypatch):
    monkeypatch.chdir(old)
    run = old/('both' if 'oof' in name or 'members' in name else 'one')
    (run/name).unlink()
    KINDS[kind](run/name)
    def all_of(r): return [r.metrics, r.predictions(), r.history(), r.lr_curve(), r.oof(), *map(all_of, r.members()),
                           r.learner('cpu')]
    with pytest.raises(RunError, match=Path(name).name) as e: all_of(Run(run))
    assert str(e.value).isprintable()
    with pytest.raises(RunError, match=Path(name).name): Run(run).copy_to(old/'copy')

LIMITS = {'metrics.json':2**22, 'history.csv':2**24, 'lr_find.csv':2**24, 'predictions.npz':2**30,
          'model/model.json':2**22, 'model/model.safetensors':2**32}
@pytest.mark.parametrize('name', LIMITS)
def test_files_of_more_bytes_than_they_may_have(name, old):
    "The files are sparse, so they need no disk space"
    run,says = Run(old/'one'),f'{LIMITS[name]:,} bytes'
    with open(run/name, 'wb') as f: f.truncate(LIMITS[name]+1)
    def all_of(r): return [r.metrics, r.predictions(), r.history(), r.lr_curve(), r.learner('cpu')]
    for f in all_of,lambda r: r.copy_to(old/'copy'):
        with pytest.raises(RunError, match=f'{Path(name).name}.*{says}'): f(run)

@pytest.mark.parametrize('threads,ok', [(1,True), (4096,True), (4097,False), (0,False), (1.0,False), (True,False)])
def test_threads_of_a_checkpoint(threads, ok, tmp_path):
    (tmp_path/'checkpoint').mkdir()
    info = dict(path='a', data=dict(sha256='s'), recipe={}, threads=threads)
    (tmp_path/'checkpoint'/'state.json').write_text(json.dumps(dict(info=info, epoch=0, sha256='s')))
    if ok: assert read_checkpoint(tmp_path/'checkpoint')['info']==info
    else:
        with pytest.raises(RunError, match='threads.*Remove it and start again'): read_checkpoint(tmp_path/'checkpoint')

def test_data_that_are_gone_or_changed_are_named_by_their_place(old):
    run,data = Run(old/'one'),old/'digits.zip'
    was = run.metrics['data']['path']
    with pytest.raises(RunError, match=f'no longer at {was}'): run.data()
    with pytest.raises(RunError, match=f'not at {old}/no.zip'): run.data(old/'no.zip')
    edit(run/'metrics.json', data=dict(run.metrics['data'], path=str(data), sha256='0'*64))
    for path in None,data:
        with pytest.raises(RunError, match=f'{data}: found other data'): Run(run).data(path)
    edit(run/'metrics.json', data=dict(run.metrics['data'], path=None))
    with pytest.raises(RunError, match='frames in memory'): Run(run).data()

def test_data_of_a_run_may_be_passed_themselves(old):
    run = Run(old/'one')
    d = run.data(old/'digits.zip')
    assert run.data(d) is d and run.locate_data('other')=='other'
    for o in d.train.iloc[:50],(d.train.iloc[:50], d.test):
        with pytest.raises(RunError, match='the data: found other data'): run.data(o)
    for f in run.data,run.locate_data:
        with pytest.raises(RunError, match='no longer at.*do this$'): f(todo='do this')

def test_options_of_a_run_hold_unless_others_are_specified(old):
    run = Run(old/'one')
    assert run.read_options()=={} and run.read_options('d', label='y', test=None)==dict(label='y')
    edit(run/'metrics.json', options=dict(label='digit', test='t.csv', transpose=True, more='x'))
    assert run.read_options()==dict(label='digit', test='t.csv', transpose=True)
    assert run.read_options(transpose=False)==dict(label='digit', test='t.csv')
    assert run.read_options('elsewhere', label='y')==dict(label='y', transpose=True)

def test_a_run_needs_the_files_that_it_was_trained_with(old):
    run = Run(old/'one')
    run.check_imports()
    edit(run/'metrics.json', imports={'mine.py':'0'*64})
    with pytest.raises(RunError, match=r"trained with 'mine.py': add import_file\('FILE.py'\)"): run.check_imports()
    with as_command(), pytest.raises(RunError, match='add --import FILE.py'): run.check_imports()

@pytest.mark.parametrize('name', ['model','members','members/1','members/1/model'])
def test_folders_that_are_links(name, old):
    run = old/('one' if name=='model' else 'both')
    (run/name).rename(old/'elsewhere')
    (run/name).symlink_to(old/'elsewhere')
    for f in (lambda r: r.learner('cpu')), (lambda r: r.copy_to(old/'copy')), (lambda r: r.copy_model(old/'copy')):
        with pytest.raises(RunError, match=name.split('/')[-1]): f(Run(run))

@pytest.mark.parametrize('break_',
                         [lambda p: (p/'1').rename(p/'2'), lambda p: shutil.rmtree(p/'1'),
                          lambda p: shutil.copytree(p/'1', p/'2'), lambda p: (p/'1').rename(p/'one'),
                                    lambda p: (p/'x').write_text(''), lambda p: shutil.rmtree(p)],
                         ids='gap less more name file gone'.split())
def test_members_that_are_not_all_there(break_, old):
    break_(old/'both'/'members')
    with pytest.raises(RunError, match='members|no model'): Run(old/'both').learner('cpu')

# ---- copies

def test_a_copy_takes_known_files_only(old, tmp_path):
    run = old/'both'
    for f in ('notes.txt','members/0/x.pkl','model.json','members/0/model/model.pkl',
              'report.html'): (run/f).write_text('secret')
    c = Run(run).copy_to(tmp_path/'c')
    assert sorted(str(o.relative_to(c)) for o in c.rglob('*') if o.is_file())==sorted(
        str(o.relative_to(OLD/'both')) for o in (OLD/'both').rglob('*') if o.is_file() and o.name!='submission.csv')
    assert (c.predictions().probs==Run(OLD/'both').predictions().probs).all() and c.learner('cpu')

# ---- written and read again

def test_what_is_written_can_be_read(tmp_path):
    run,p = Run(tmp_path/'r'),Run(OLD/'both').predictions(same=True)
    run.save_predictions(p); run.save_predictions(Run(OLD/'both').oof(), oof=True)
    run.save_history(Run(OLD/'both').history()); run.save_lr_curve([1e-3,1e-2], [2.,1.])
    run.save_metrics(dict(Run(OLD/'both').metrics, n_test=np.int64(10)))
    q = run.predictions(same=True)
    for k in ('targs','probs','rows','same','test_probs'): 
        a,b = getattr(p, k),getattr(q, k)
        assert (a==b).all() and a.dtype==b.dtype, k
    assert all((a==b).all() for a,b in zip(p.looks, q.looks)) and len(run.oof())==44
    assert run.history().equals(Run(OLD/'both').history()) and run.metrics['n_test']==10
    assert [list(o) for o in run.lr_curve()]==[[1e-3,1e-2], [2.,1.]]
    with np.load(run/'predictions.npz') as a, np.load(OLD/'both'/'predictions.npz') as b:
        assert list(a)==list(b) and all(a[k].dtype==b[k].dtype and (a[k]==b[k]).all() for k in a)

@pytest.mark.parametrize('change',
                         [dict(accuracy=float('nan')), dict(lr=float('inf')), dict(recipe=None), dict(n_valid=-1),
                          dict(x=print)], ids=str)
def test_what_could_not_be_read_is_not_written(change, tmp_path):
    with pytest.raises(RunError,
                       match='metrics.json'): Run(tmp_path/'r').save_metrics({**Run(OLD/'one').metrics, **change})
    assert not (tmp_path/'r').exists()

@pytest.mark.parametrize('n', [2,10**12])
def test_a_run_of_a_newer_format_says_so(n, old):
    edit(old/'one'/'metrics.json', format=n)
    with pytest.raises(RunError, match='newer digitfast, expected 1. Upgrade'): Run(old/'one').metrics

@pytest.mark.parametrize('big', ['1e31','-1e31','inf','-inf'])
def test_a_table_holds_no_number_that_is_too_large(big, old):
    f = old/'one'/'history.csv'
    pd.read_csv(f).assign(train_loss=float(big)).to_csv(f, index=False)
    with pytest.raises(RunError, match='history.csv.*a number that is too large'): Run(old/'one').history()

# ---- runs that are joined and given away

def worse(run, change):
    "Change the arrays of the predictions of `run`"
    f = Path(run)/'predictions.npz'
    with np.load(f) as z: a = dict(z)
    change(a)
    f.write_bytes(npz(**a))

@pytest.mark.parametrize('change', [lambda a: a['test_probs'].fill(np.nan), lambda a: a['valid_labels'].__iadd__(3),
                                    lambda a: a['valid_same'].fill(True), lambda a: a['valid_rows'].fill(0),
                                    lambda a: a.pop('classes')],
                         ids='nan labels same rows classes'.split())
def test_a_damaged_member_is_not_joined(change, old, tmp_path):
    from digitfast.tasks.ensemble import ensemble
    for k in '01': edit(old/'both'/'members'/k/'metrics.json',
                        data={**Run(old/'one').metrics['data'], 'path':str(old/'digits.zip')})
    runs = [old/'both'/'members'/k for k in '01']
    worse(runs[1], change)
    with pytest.raises(RunError, match='members/1/predictions.npz'):
        ensemble(runs, tmp_path/'joined', say=lambda o: None)
    assert not (tmp_path/'joined'/'metrics.json').exists() and not (tmp_path/'joined'/'submission.csv').exists()

def test_a_space_takes_no_links(old, tmp_path):
    pytest.importorskip('gradio', reason="needs digitfast[demo]")
    from digitfast.tasks.demo import export_space
    (tmp_path/'secret').write_bytes(b'SECRET')
    (old/'one'/'model'/'extra').mkdir()
    (old/'one'/'model'/'extra'/'model.json').symlink_to(tmp_path/'secret')
    export_space(old/'one', tmp_path/'space')
    assert sorted(o.name for o in (tmp_path/'space'/'model').iterdir())==['model.json','model.safetensors']
    assert not any(b'SECRET' in o.read_bytes() for o in (tmp_path/'space').rglob('*') if o.is_file())

# ---- the commands that read runs

@pytest.fixture
def say(capsys):
    "Run the command, and return (exit code, standard output, standard error)"
    from digitfast.cli import main
    def run(*words):
        try: main([str(o) for o in words]); code = 0
        except SystemExit as e: code = e.code or 0
        return code,*capsys.readouterr()
    return run

def test_versus_on_the_command_line(say):
    code,out,_ = say('versus', OLD/'one', OLD/'both')
    assert code==0 and 'of 9 rows' in out and 'points or more' in out and 'log-loss' in out
    m = json.loads(say('versus', OLD/'one', OLD/'both', '--json')[1])
    assert m['rows']==9 and m['p']==1 and m['least']==pytest.approx(6/9)
    code,out,_ = say('versus', OLD/'one', OLD/'both', OLD/'both'/'members'/'0')
    assert code==0 and len(out.splitlines())==4 and 'Holm' in out
    assert len(json.loads(say('versus', *[OLD/'one']*3, '--json')[1]))==3 and say('versus', OLD/'one')[0]==2

def test_runs_on_the_command_line(say, old):
    (old/'one'/'predictions.npz').write_bytes(b'oops')
    code,out,_ = say('runs', old)
    assert code==0 and 'predictions.npz' in out.splitlines()[-1] and '77.78 %' in out
    m = json.loads(say('runs', old, '--json')[1])
    assert [Path(o['run']).name for o in m]==['both','one'] and m[0]['rows']==9 and m[1]['accuracy'] is None
    df = pd.read_csv(io.StringIO(say('runs', old, '--csv')[1]))
    assert len(df)==2 and df.accuracy[0]==pytest.approx(7/9) and 'read' in df.note[1]
    assert say('runs', old/'nowhere')[0]==1

def test_labels_on_the_command_line(say, tmp_path):
    code,out,_ = say('labels', OLD/'both', '--times', 3, '--out', tmp_path/'l.csv', '--png', tmp_path/'l.png')
    df = pd.read_csv(tmp_path/'l.csv')
    assert code==0 and 'of 44 training rows' in out and list(df.columns)[:3]==['row','label','predicted'] and len(df)
    assert (tmp_path/'l.png').read_bytes()[:4]==b'\x89PNG'
    assert len(json.loads(say('labels', OLD/'both', '--times', 3, '--json')[1]))==len(df)
    d = Run(OLD/'both').data(OLD/'digits.zip')
    assert d.train.label.iloc[df.row].tolist()==df.label.tolist()
    assert 'none of 44 rows' in say('labels', OLD/'both', '--times', 1e9)[1] and say('labels', tmp_path/'no')[0]==1
