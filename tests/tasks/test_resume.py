"""Tests of interrupted runs: they resume with any data and from their directory alone, differences raise an error with
the reason, the advice works, and two runs never mix in one directory"""
import ast, json, os, re, shlex, shutil, signal, sys
from functools import partial
from pathlib import Path
import numpy as np, pytest
from fastai.vision.all import Adam, CrossEntropyLossFlat, GradientClip, MixUp
from digitfast import cli
from digitfast.learn import plugins
from digitfast.tasks import ensemble as joining, finish, fit, save
from digitfast.report import page as report
from digitfast.core import DigitError, RunError
from digitfast.report.measure import list_runs, versus
from digitfast.models.nets import archs, stride2
from digitfast.data.read import as_data
from digitfast.core import as_command, how_to_resume
from digitfast.runs.rundir import RunDir
from digitfast.runs.run import Run, read_metrics
from digitfast.tasks.save import save_run
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.train import train
from conftest import REPO, TINY, csvs, digits
from test_run import DONE, Stop, die, files, forked, names, quiet, run, stop_at

slow = pytest.mark.slow
def cases(quick, **others):
    "Return parameters with names; all but the `quick` ones are slow"
    return [pytest.param(v, id=k, marks=() if k in quick.split() else slow) for k,v in others.items()]

@pytest.fixture(autouse=True)
def no_page(monkeypatch):
    "Write a report without pictures, which take most of the time of such a short run"
    monkeypatch.setattr(finish, 'write_page', lambda out: (out/'report.html').write_text('<html></html>'))

def outcome(r):
    "Return the parts of a run that must not depend on interruptions"
    weights = {k:b for k,b in files(r).items() if k.endswith(('.safetensors','submission.csv'))}
    arrays = [(str(o.relative_to(r)), np.load(o)) for o in sorted(r.rglob('*.npz'))]
    metrics = {k:v for k,v in read_metrics(r).items() if k not in ('seconds','date')}
    arrays = [(f, k, a[k].tobytes()) for f,a in arrays for k in a]
    return weights,arrays,r.history().drop(columns='seconds').to_csv(),metrics

def interrupt(data, out, **kw):
    "Train until there is a checkpoint of an epoch"
    def tick(i, n):
        states = [json.loads(o.read_text()) for o in out.rglob('checkpoint/state.json')]
        if any(o['epoch']>=0 for o in states): raise Stop('by the test')
    with pytest.raises(Stop): run(data, out, tick=tick, **kw)

# ---- frames

def other_frame(): return digits(20, seed=1).drop(columns='label')
def renamed(): return digits().rename(columns=dict(label='kind'))
def both(): return digits(),other_frame()
FRAMES = cases('frame pair digit_data label', frame=(digits, {}),
    pair=(both, dict(members=2, vary=({}, dict(lr=.03)))),
    digit_data=(lambda: as_data(both()), dict(drop=[0,5,9])), label=(renamed, dict(label='kind', transpose=True)),
    test=(digits, dict(test=other_frame)), folds=(both, dict(folds=2, valid_pct=None)),
    graph=(digits, dict(graph=False)), net=(digits, dict(arch=lambda n,s: stride2(n, s))),
    member=(digits, dict(members=2, member=1)))
@pytest.mark.parametrize('given', FRAMES)
def test_a_run_on_frames_resumes_byte_for_byte(given, tmp_path):
    make,kw = given
    def made(): return {k:v() if v is other_frame else v for k,v in kw.items()}
    whole = run(make(), tmp_path/'whole', **made())
    interrupt(make(), tmp_path/'r', **made())
    again = {k:v for k,v in made().items() if k in ('test','arch')} # not stored in a checkpoint
    assert outcome(train(make(), out=tmp_path/'r', resume=True, say=quiet, **again))==outcome(whole)

@pytest.fixture(scope='module')
def on_frame(tmp_path_factory):
    "Return an unfinished run on a frame. Do not change it"
    out = tmp_path_factory.mktemp('on_frame')/'r'
    interrupt(digits(), out)
    return out

OTHER = dict(rows=(lambda: digits(57), '60 training.*not.*57 training'), test=(both, '0 test.*20 test'),
             pixel=(lambda: digits().replace(150, 151), 'other images or labels'),
             label=(lambda: digits().assign(label=(np.arange(60)+1)%3), 'other images or labels'))
@pytest.mark.parametrize('name', OTHER)
def test_another_frame_raises_an_error_with_the_reason(name, on_frame):
    make,says = OTHER[name]
    was = files(on_frame)
    with pytest.raises(RunError, match='started on other data.*'+says):
        train(make(), out=on_frame, resume=True, say=quiet)
    assert files(on_frame)==was

# ---- the directory is enough

ALONE = cases('fields members',
    fields=dict(smooth=.1, affine=dict(shift=1), seed=7, precision='fp32', device='cpu', drop=[1,2]),
    members=dict(members=2, vary=({}, dict(arch_kwargs=dict(chs=[4,4,4,4])))), member=dict(members=2, member=1),
    recipe=dict(recipe='two-layer-1cycle', arch=None),
    mixed=dict(split='random', ema=.5, sched='flat', opt='sgd', lr=.05), lr=dict(lr='auto', epochs=3))
@pytest.mark.parametrize('kw', ALONE)
def test_out_and_resume_are_enough(kw, tiny, tmp_path, here):
    whole = run(tiny, tmp_path/'whole', **kw)
    interrupt(tiny, tmp_path/'r', **kw)
    assert outcome(train(out=tmp_path/'r', resume=True, say=quiet))==outcome(whole)

@pytest.fixture(scope='module')
def begun(tiny, tmp_path_factory):
    "Return an unfinished run on `tiny`. Do not change it"
    out = tmp_path_factory.mktemp('begun')/'r'
    interrupt(tiny, out)
    return out

CONTRADICTIONS = dict(epochs=(9, 'epochs 2, not 9'), seed=(1, 'seed 42, not 1'), drop=([1], 'drop None'),
    recipe=('single', "recipe 'quick', not 'single'"), members=(3, 'members 1, not 3'), transpose=(True, 'options'),
    precision=('bf16', "precision 'auto', not 'bf16'"), label=('label', 'options'),
    cbs=(GradientClip(), r"cbs None, not \['GradientClip'\]"))
@pytest.mark.parametrize('name', CONTRADICTIONS)
def test_an_option_that_contradicts_raises_an_error(name, begun):
    value,says = CONTRADICTIONS[name]
    was = files(begun)
    with pytest.raises(RunError, match=f'was started with .*{says}.*same options') as e:
        train(out=begun, resume=True, say=quiet, **{name:value})
    assert files(begun)==was and '\n' not in str(e.value)

def test_the_same_options_are_not_refused(tiny, begun, tmp_path):
    "Some of the options, or the recipe's name without its changes, are accepted, too"
    out = shutil.copytree(begun, tmp_path/'r')
    with pytest.raises(Stop): run(tiny, out, resume=True, tick=stop_at(4), recipe='quick', seed=42)
    assert names(train(tiny, 'quick', out=out, resume=True, say=quiet, bs=16))==DONE

def test_resume_needs_the_directory(tiny):
    with pytest.raises(DigitError, match='resume=True needs out='): train(tiny, resume=True)

def test_a_directory_without_a_checkpoint_needs_data(tmp_path, here):
    "A mistyped directory must not start a training on the packaged sample"
    with pytest.raises(RunError, match='typo: found nothing to resume.*specify DATA'):
        train(out=tmp_path/'typo', resume=True)
    assert not (tmp_path/'typo').exists()

def test_data_that_are_gone_can_be_passed_again(tmp_path):
    d = csvs(tmp_path/'d')
    interrupt(d, tmp_path/'r')
    d.rename(tmp_path/'e')
    with pytest.raises(RunError, match=r'no longer there.*: train\(data, resume=True, out='):
        train(out=tmp_path/'r', resume=True)
    assert names(train(tmp_path/'e', out=tmp_path/'r', resume=True, say=quiet))==DONE

# ---- the same objects again

def net_of(k): return lambda n_out, side: stride2(n_out, side, chs=(k,)*4)
OBJECTS = cases('mixup net', mixup=(lambda a: dict(cbs=MixUp(a)), .1, 8., r'cbs MixUp.*\[0.1, 0.1\], not \[8.0, 8.0\]'),
    net=(lambda k: dict(arch=net_of(k)), 4, 5, r'arch.*\[4\], not \[5\]'),
    clip=(lambda a: dict(cbs=[MixUp(.2), GradientClip(a)]), .3, .4, 'cbs GradientClip.max_norm 0.3, not 0.4'),
    opt=(lambda a: dict(opt_func=partial(Adam, mom=a)), .8, .7, 'opt_func.*0.8, not 0.7'),
    loss=(lambda a: dict(loss_func=CrossEntropyLossFlat(label_smoothing=a)), .1, 0., 'loss_func.*0.1, not 0.0'),
    metric=(lambda a: dict(metrics=[lambda p, t: (p.argmax(1)==t).float().mean()**a]), 2, 3,
            r'metrics.*\[2\], not \[3\]'))
@pytest.mark.parametrize('given', OBJECTS)
def test_an_object_with_other_arguments_raises_an_error_and_an_equal_one_resumes(given, tiny, tmp_path):
    make,a,b,says = given
    out,used = tmp_path/'r',make(a)
    interrupt(tiny, out, **used)
    was,(k,) = files(out),used
    with pytest.raises(RunError, match='was started with '+says) as e:
        train(out=out, resume=True, say=quiet, **make(b))
    assert len(str(e.value))<500 and files(out)==was
    with pytest.raises(RunError, match=rf'{k}.*in Python.*train\({k}={k}, resume=True, out='):
        train(out=out, resume=True, say=quiet)
    with pytest.raises(Stop): # a fit changed it
        train(out=out, resume=True, say=quiet, tick=stop_at(4), **used)
    assert 'metrics.json' in names(train(out=out, resume=True, say=quiet, **make(a)))

def test_a_checkpoint_without_fingerprints_resumes_by_names(tiny, tmp_path):
    out = tmp_path/'r'
    interrupt(tiny, out, cbs=MixUp(.1))
    f = out/'checkpoint'/'state.json'
    state = json.loads(f.read_text())
    for k in 'objects','functions','name','about','import_files','scheduler': del state['info'][k]
    f.write_text(json.dumps(state))
    with pytest.raises(RunError, match='cbs .*GradientClip'): run(tiny, out, resume=True, cbs=GradientClip())
    assert 'metrics.json' in names(run(tiny, out, resume=True, cbs=MixUp(.1)))

ODD = dict(seed='x', member=-1, imports=[1], given=dict(cbs=1), functions='arch', name=3, drop=dict(rows=['a']),
           options=[], import_files=[None], path=5, kind=[], scheduler={})
@pytest.mark.parametrize('name', ODD)
def test_a_checkpoint_with_an_odd_field_is_damaged(name, begun, tmp_path):
    out = shutil.copytree(begun, tmp_path/'r')
    f = out/'checkpoint'/'state.json'
    state = json.loads(f.read_text())
    state['info'][name] = ODD[name]
    f.write_text(json.dumps(state))
    with pytest.raises(RunError, match='checkpoint is damaged'): train(out=out, resume=True)
    with as_command(): assert how_to_resume(out)==f'resume it with digitfast train --resume --out {out}'

# ---- advice that can be followed

def command(capsys, *words):
    "Run the command, and return (exit code, output, errors)"
    try: cli.main([str(o) for o in words]); code = 0
    except SystemExit as e: code = e.code or 0
    return code,*capsys.readouterr()

def advised(text):
    "Return the words of the command at the end of a message"
    return shlex.split(re.search(r'digitfast (.*)', text.strip().splitlines()[-1])[1])

def ways(tiny, out, capsys, monkeypatch, tmp_path):
    "Return the messages that say how to resume the unfinished run in `out`"
    yield 'versus',command(capsys, 'versus', out, out)[2]
    yield 'runs',command(capsys, 'runs', out.parent)[1]
    yield 'predict',command(capsys, 'predict', out)[2]
    yield 'report',command(capsys, 'report', out)[2]
    yield 'without --resume',command(capsys, 'train', tiny, '--out', out)[2]
    def full(*a, **k): raise OSError(28, 'No space left on device')
    def stopped(*a, **k): raise KeyboardInterrupt
    for f in full,stopped:
        with monkeypatch.context() as m:
            m.setattr(fit, 'make_learner', f)
            yield f.__name__,command(capsys, 'train', '--resume', '--out', out)[2]

@pytest.mark.parametrize('name', ["r", "my run's"])
def test_each_message_gives_the_complete_command(name, tiny, begun, tmp_path, capsys, monkeypatch, here):
    runs = tmp_path/'runs'
    out = shutil.copytree(begun, runs/name)
    kept = shutil.copytree(begun, tmp_path/'kept')
    for what,text in ways(tiny, out, capsys, monkeypatch, tmp_path):
        assert advised(text)==['train','--resume','--out',str(out)], (what, text)
    call = f'train(resume=True, out={str(out)!r})'
    assert list_runs(out.parent).note[0].endswith(call)
    with pytest.raises(RunError, match=re.escape(call)): versus(out, out)
    code,text,err = command(capsys, *advised(text), '--quiet')
    assert (code,text.strip(),err)==(0, str(out), '') and names(Run(out).path)==DONE
    with pytest.raises(RunError, match=re.escape(f'train(resume=True, out={str(kept)!r})')): train(tiny, out=kept)
    assert names(eval(f"train(resume=True, out={str(kept)!r}, say=quiet)"))==DONE

def test_a_lower_rate_is_advised_for_a_new_directory(tiny, tmp_path):
    kw = dict(lr=1e9, opt='sgd', sched='flat', members=2)
    advice = 'lower lr= than.*Choose a new directory with out=DIR'
    with pytest.raises(RunError, match=advice): run(tiny, tmp_path/'r', **kw)
    with pytest.raises(RunError, match=r'lower lr= than 1e\+09\.$'): run(tiny, tmp_path/'s', **{**kw, 'members':1})
    assert names(run(tiny, tmp_path/'s'))==DONE

def test_a_member_is_resumed_by_its_ensemble(tiny, tmp_path, capsys):
    out = tmp_path/'runs'/'r'
    interrupt(tiny, out, members=2)
    for path in out,out/'members'/'0':
        text = command(capsys, 'versus', path, path)[2]
        assert advised(text)==['train','--resume','--out',str(out)]
    (out/'members'/'0'/'checkpoint'/'state.json').write_text('[')
    code,_,text = command(capsys, *advised(text))
    assert code==1 and f'Remove {out/"members"/"0"}, so' in text
    assert advised(text)==['train','--resume','--out',str(out)]
    shutil.rmtree(out/'members'/'0')
    assert command(capsys, *advised(text))[0]==0 and read_metrics(out)['members']==2

def test_a_damaged_checkpoint_is_removed_with_its_run(begun, tiny, tmp_path, capsys):
    out = shutil.copytree(begun, tmp_path/'r')
    (out/'checkpoint'/'state.json').write_text('[')
    (out/'lr_find.csv').write_text('lr,loss\n1,1\n')
    text = command(capsys, 'train', '--resume', '--out', out)[2]
    assert f'run in {out} ' in text and 'Remove it and start again' in text
    shutil.rmtree(out)
    assert names(run(tiny, out))==DONE

def test_advice_names_what_to_import_and_the_scheduler(tiny, tmp_path, capsys, monkeypatch):
    f = tmp_path/'my net.py'
    f.write_text("from digitfast.models.nets import arch, stride2\n@arch('mine', 'me')\n"
                 "def mine(n_out=10, side=28): return stride2(n_out, side)\n")
    out = tmp_path/'r'
    def forget():
        for o,k in (archs,'mine'),(sys.modules,'my net'): o.pop(k, None)
        plugins.imported.clear(); plugins.import_sources.clear()
    try:
        plugins.import_file(f)
        interrupt(tiny, out, arch='mine')
        forget()
        want = ['train','--import',str(f),'--resume','--out',str(out)]
        for words in ('versus', out, out),('train','--resume','--out',out):
            text = command(capsys, *words)[2]
            assert advised(text)==want, text
        call = f"import_file({str(f)!r}); train(resume=True, out={str(out)!r})"
        with pytest.raises(RunError, match=re.escape(call)):
            train(out=out, resume=True)
        state = json.loads((out/'checkpoint'/'state.json').read_text())
        state['info']['scheduler'] = '127.0.0.1:9'
        (out/'checkpoint'/'state.json').write_text(json.dumps(state))
        with as_command(): assert advised(how_to_resume(out))==[*want[:3], '--scheduler', '127.0.0.1:9', *want[3:]]
        assert how_to_resume(out).endswith(call.replace('train(', "train(scheduler='127.0.0.1:9', "))
        code,text,_ = command(capsys, *want)
        assert code==0 and 'note: this run was started with --scheduler 127.0.0.1:9' in text
    finally: forget()

def test_advice_for_frames_and_callbacks_is_a_call(on_frame, tiny, tmp_path, capsys):
    out = shutil.copytree(on_frame, tmp_path/'r')
    call = f'train(data, resume=True, out={str(out)!r})'
    for words in ('versus', out, out),('train', '--resume', '--out', out): assert call in command(capsys, *words)[2]
    with pytest.raises(RunError, match=re.escape(call)): train(out=out, resume=True)
    assert 'metrics.json' in names(eval(call, dict(train=partial(train, say=quiet), data=digits())))

def test_other_commands_that_are_advised_exist(tiny_run, tiny, tmp_path, capsys, monkeypatch):
    r = shutil.copytree(tiny_run[0], tmp_path/'my run')
    m = json.loads((r/'metrics.json').read_text())
    m['data']['path'] = str(tmp_path/'gone')
    (r/'metrics.json').write_text(json.dumps(m))
    words = advised(command(capsys, 'predict', r)[2])
    assert words==['predict',str(r),'DATA']
    assert command(capsys, *words[:-1], tiny, '--out', tmp_path/'s.csv')[0]==0
    words = advised(command(capsys, 'compare', '--system', 'ensemble')[2])
    assert words==['train','--recipe','ensemble'] and command(capsys, *words, '--help')[0]==0
    (tmp_path/'empty').mkdir()
    words = advised(command(capsys, 'runs', tmp_path/'empty', '--html', tmp_path/'runs.html')[2])
    assert words==['train'] and command(capsys, *words, '--help')[0]==0

ADVICE = {'core.py':['digitfast train'], 'train.py':['digitfast train'], 'predict.py':['digitfast predict'],
          'compare.py':['digitfast train'], 'copy_course.py':['digitfast course'], 'overview.py':['digitfast train'],
          'space.py':['digitfast tune'], # followed by test_tune
          'hub.py':['digitfast share'],  # followed by test_share
          'rundir.py':['digitfast report']} # for a run that is complete except for its page
def advised_commands(file):
    "Return the subcommands that `file` advises, in texts that are no docstrings or by `spell_call`"
    subcommands = '|'.join(o.name or o.callback.__name__ for o in cli.app.registered_commands)
    tree = ast.parse(file.read_text(encoding='utf-8'))
    docs = {id(o.value) for o in ast.walk(tree) if isinstance(o, ast.Expr)}
    texts = [o.value for o in ast.walk(tree) if isinstance(o, ast.Constant) and id(o) not in docs]
    lists = [o.elts for o in ast.walk(tree) if isinstance(o, ast.List)]
    texts += [' '.join(str(e.value) for e in o if isinstance(e, ast.Constant)) for o in lists]
    calls = [o for o in ast.walk(tree) if isinstance(o, ast.Call) and getattr(o.func, 'id', '')=='spell_call']
    texts += [f'digitfast {o.args[0].value}' for o in calls if isinstance(o.args[0], ast.Constant)]
    return {m[0] for o in texts if (m := re.search(rf'digitfast ({subcommands})\b', str(o)))}

def test_no_message_gives_advice_that_these_tests_do_not_follow():
    "The command's own help and output are excluded"
    found = {}
    for f in sorted((REPO/'digitfast').rglob('*.py')):
        names = set() if f.name in ('cli.py','console.py','_modidx.py') else advised_commands(f)
        if names: found.setdefault(f.name, names)
    assert found=={k:set(v) for k,v in ADVICE.items()}
    assert 'the same command' not in ''.join(o.read_text(encoding='utf-8') for o in (REPO/'digitfast').rglob('*.py'))

# ---- another run in the same directory

def take(out, how):
    "Remove or rename the directory `out` and start another run in it; return the `RunDir` of that run"
    if how=='removed': shutil.rmtree(out)
    elif how=='renamed': out.rename(out.with_name('elsewhere'))
    elif how=='parent renamed': out.parent.rename(out.parent.with_name('elsewhere'))
    elif how=='lock removed': [(out/o).unlink() for o in ('.lock','.owner')]
    return RunDir(out, resume=how=='lock removed').__enter__()

def left(out):
    "Return the contents of `out`, without the locks of members"
    return {k:v for k,v in files(out).items() if '/.' not in k}

LOST = [('removed', {}), ('lock removed', {}), ('renamed', dict(members=2)),
        ('parent renamed', dict(folds=2, valid_pct=None))]
@pytest.mark.parametrize('how,kw', LOST, ids=[o[0] for o in LOST])
@pytest.mark.parametrize('at', [2, pytest.param(4, marks=slow)])
def test_a_run_that_lost_its_directory_ends_and_leaves_the_other_alone(how, kw, at, tmp_path):
    out,others = tmp_path/'a'/'mix',[]
    def tick(i, n):
        if i==at: others.append((take(out, how), left(out)))
    with pytest.raises(RunError, match='mix was replaced.*in use by process.*Start again') as e:
        run(digits(), out, tick=tick, **kw)
    (other,was), = others
    assert '\n' not in str(e.value) and left(out)==was and other.is_own() and not list(out.rglob('metrics.json'))
    with pytest.raises(RunError, match='in use'): run(digits(), out)
    other.__exit__()

WRITES = dict(save_net=fit, submission_text=finish, save_predictions=Run, save_history=Run, save_metrics=Run,
              write_page=finish, report=report)
@pytest.mark.parametrize('name', WRITES)
def test_nothing_more_is_written_once_the_directory_is_lost(name, tiny, tmp_path, monkeypatch):
    out,others,lines,old = tmp_path/'mix',[],[],getattr(WRITES[name], name)
    def after(*args, **kw):
        res = old(*args, **kw)
        others.append(take(out, 'removed'))
        return res
    monkeypatch.setattr(WRITES[name], name, after)
    if name=='report': monkeypatch.setattr(finish, 'write_page', report.write_report)
    with pytest.raises(RunError, match='mix was replaced'): run(tiny, out, say=lines.append)
    assert sorted(os.listdir(out))==['.lock','.owner'] and not any(o.startswith(('accuracy ','run: ')) for o in lines)
    others[0].__exit__()

def test_a_run_does_not_continue_from_the_checkpoint_of_another(tiny, tmp_path):
    "Run A's checkpoint is in the directory before run B's first epoch, although B did not resume"
    out,seen,want = tmp_path/'mix',[],run(tiny, tmp_path/'want', seed=2)
    def tick(i, n):
        if i!=5: return
        kept = shutil.copytree(out/'checkpoint', tmp_path/'kept')
        shutil.rmtree(out)
        make = fit.make_learner
        def made(*args):
            if not (out/'checkpoint').exists(): shutil.copytree(kept, out/'checkpoint')
            return make(*args)
        with pytest.MonkeyPatch.context() as m:
            m.setattr(fit, 'make_learner', made)
            seen.append(run(tiny, out, seed=2))
    with pytest.raises(RunError, match='mix was replaced'): run(tiny, out, seed=1, tick=tick)
    assert outcome(seen[0])==outcome(want) and not list(out.glob('.*'))

def test_ctrl_c_does_not_speak_of_the_other_run_s_checkpoint(tiny, tmp_path):
    others = []
    def tick(i, n):
        if i==4: others.append(take(tmp_path/'mix', 'removed')); raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt, match='mix was replaced'): run(tiny, tmp_path/'mix', tick=tick)
    assert others[0].is_own()
    others[0].__exit__()

def test_a_run_whose_name_of_the_owner_was_deleted_continues(tiny, tmp_path):
    def tick(i, n):
        if i==2: (tmp_path/'r'/'.owner').unlink()
    r = run(tiny, tmp_path/'r', tick=tick)
    assert names(r)==DONE and not list(r.path.glob('.*'))

def test_a_directory_that_was_only_removed_is_not_made_again(tiny, tmp_path):
    def tick(i, n):
        if i==2: shutil.rmtree(tmp_path/'r')
    with pytest.raises(RunError, match='r was removed or renamed'): run(tiny, tmp_path/'r', tick=tick)
    assert not (tmp_path/'r').exists()

@pytest.fixture(scope='module')
def second(tiny, tmp_path_factory):
    "Train a run on `tiny` with another seed"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(finish, 'write_page', quiet)
        return run(tiny, tmp_path_factory.mktemp('second')/'run', seed=3)

@pytest.fixture
def makers(tiny_run, second, trained):
    "Return functions that create a run in a directory, and the functions that they call, as (place, name)"
    return [(lambda out: ensemble([tiny_run[0], second], out, say=quiet), (joining,'join_members')),
            (lambda out: save_run(trained, digits(300), out, say=quiet), (save,'_save_net'))]

def test_save_run_and_ensemble_leave_the_directory_of_another_alone(makers, tmp_path, monkeypatch):
    out = tmp_path/'mix'
    for make,(place,name) in makers:
        with RunDir(out) as other:
            with pytest.raises(RunError, match='in use by process'): make(out)
            assert other.is_own() and sorted(os.listdir(out))==['.lock','.owner']
        old,others = getattr(place, name),[]
        def lose(*args, **kw): others.append(take(out, 'removed')); return old(*args, **kw)
        with monkeypatch.context() as m:
            m.setattr(place, name, lose)
            with pytest.raises(RunError, match='mix was replaced'): make(out)
        assert sorted(os.listdir(out))==['.lock','.owner'] and others[0].is_own()
        others[0].__exit__()

def test_an_interrupted_save_run_or_ensemble_can_be_started_again(makers, tmp_path, monkeypatch):
    for i,(make,(place,name)) in enumerate(makers):
        out = tmp_path/f'{i}'
        def stop(*args, **kw): raise KeyboardInterrupt
        for f in (stop,die)[:1+hasattr(os, 'fork')]:
            with monkeypatch.context() as m:
                m.setattr(place, name, f)
                if f is die: assert forked(lambda: make(out))==signal.SIGKILL and (out/'.owner').exists()
                else:
                    with pytest.raises(KeyboardInterrupt, match='nothing was saved yet: start again'): make(out)
                    assert not out.exists()
        assert 'metrics.json' in names(make(out).path)

def test_what_a_killed_run_left_is_not_taken_for_somebody_s_files(tiny, tmp_path):
    (tmp_path/'r'/'model').mkdir(parents=True)
    with pytest.raises(RunError, match='found other files'): run(tiny, tmp_path/'r')
    (tmp_path/'r'/'.owner').write_text('process 1 on a')
    (tmp_path/'r'/'notes.txt').write_text('mine')
    with pytest.raises(RunError, match='found other files'): run(tiny, tmp_path/'r')
    assert sorted(os.listdir(tmp_path/'r'))==['.owner','model','notes.txt']

# ---- paths that are not UTF-8

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='names are text on Windows')
def test_paths_that_are_not_utf8_raise_an_error_before_training(tiny, tiny_run, trained, tmp_path):
    odd,out = Path(os.fsdecode(os.fsencode(tmp_path)+b'/caf\xe9')),tmp_path/'o'
    data,link,r = shutil.copytree(tiny, odd/'d'),tmp_path/'link',tiny_run[0]
    link.symlink_to(data)
    test,other = shutil.copy(tiny/'test.csv', odd/'t.csv'),shutil.copytree(r, odd/'r')
    (odd/'my.py').write_text('')
    began = []
    todo = dict(out=lambda: run(tiny, odd/'out', tick=began.append), data=lambda: run(data, out, tick=began.append),
                link=lambda: run(link, out, tick=began.append),
                test=lambda: run(tiny, out, test=test, tick=began.append),
                runs=lambda: ensemble([r, other], out, say=quiet), joined=lambda: ensemble([r, r], odd/'o', say=quiet),
                imported=lambda: plugins.import_file(odd/'my.py'),
                saved=lambda: save_run(trained, digits(300), odd/'o', say=quiet))
    for name,f in todo.items():
        with pytest.raises(DigitError, match=r'caf\?.*not UTF-8') as e: f()
        assert '\n' not in str(e.value), name
    assert not began and not out.exists() and sorted(os.listdir(odd))==['d','my.py','r','t.csv']
