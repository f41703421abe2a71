"Tests of the `digitfast` command: its output, its errors and its exit codes"
import json, os, re, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pytest
from digitfast.cli import app, main
from conftest import REPO, TINY, command, csvs, digits

CALL = [sys.executable, '-c', 'from digitfast.cli import main; main()']
PATHS = os.pathsep.join([str(REPO), *filter(None, [os.environ.get('PYTHONPATH')])])
OPTS = ['--arch','stride2','--epochs','2','--bs','16','--valid-pct','.2']   # TINY
def subcommands(): return [o.name or o.callback.__name__ for o in app.registered_commands]

@pytest.fixture
def cli(capsys, here):
    "Call the command in this process, and return (exit code, stdout, stderr)"
    def _cli(*words):
        try: main([str(o) for o in words]); code = 0
        except SystemExit as e: code = e.code or 0
        out,err = capsys.readouterr()
        assert 'Traceback' not in err or '--debug' in words, err
        assert '\x1b[' not in out+err
        return code,out,err
    return _cli

def sub(*words, cwd=None, env=None, **kw):
    return subprocess.run([*CALL, *map(str, words)], cwd=cwd, env={**os.environ, 'PYTHONPATH':PATHS, **(env or {})},
        capture_output=True, text=True, timeout=300, **kw)

# ---- help and usage

def test_help_of_each_subcommand_without_torch(tmp_path):
    "One process prints every help, and none of them may import torch, fastai or matplotlib"
    code = f'''
import sys, io, contextlib
from digitfast.cli import main
for cmd in {[[]]+[[o] for o in subcommands()]!r}:
    try: main([*cmd, '--help'])
    except SystemExit as e: assert not e.code, cmd
heavy = [o for o in ('torch','fastai','matplotlib','kaggle','PIL') if o in sys.modules]
assert not heavy, heavy
'''
    r = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'COLUMNS':'200'})
    assert r.returncode==0 and r.stderr=='', r.stderr
    for o in subcommands(): assert f'Usage: digitfast {o} ' in r.stdout
    options = '--recipe --arch --epochs --lr --bs --valid-pct --seed --precision --device --out --resume --tta'
    for o in options.split(): assert o in r.stdout
    for o in ('--quiet prints','--json prints','--debug shows'):
        assert ' '.join(r.stdout.split()).count(o)==len(subcommands())+1

def test_help_fits_80_columns(cli, monkeypatch):
    "A summary is one line, no option's name is cut off, and each argument and option is explained"
    monkeypatch.setenv('COLUMNS', '80')
    out = cli('--help')[1]
    names = re.findall(r'^│ (\S.*?) {2}', out[out.index('Commands'):], re.M)
    assert names==subcommands() and all(len(o)<=80 for o in out.splitlines())
    import typer.main
    for name,sub in typer.main.get_command(app).commands.items():
        text = cli(name, '--help')[1]
        assert 'Example: digitfast '+name in text, name
        for o in sub.params:
            assert o.help, (name, o.name)
            if o.opts[0].startswith('--'): assert all(w in text for w in o.opts), (name, o.opts)

SLOW_IMPORTS = 'torch','fastai','sklearn','matplotlib','sympy','torch._dynamo'

@pytest.mark.parametrize('words,allowed', [('runs .',''), ('runs . --html p.html','matplotlib'),
    ('versus a b',''), ('check s.csv t',''), ('models',''),
    ('info','torch'), ('report nowhere',''), ('train t --out a',''), ('train nowhere',''),
    ('train t --recipe nope',''), ('train t --arch nope',''),
    ('train t --arch timm:hf-hub:a/b',''), ('predict nowhere t',''), ('share a --to hf:ada/x --dry-run',''),
    ('tune t --set lr=1',''), ('tune t --set lr=1..2 --recipe nope',''),
    ('predict a t','torch fastai sklearn matplotlib')])
def test_which_slow_packages_a_subcommand_imports(words, allowed, tmp_path, tiny_run, tiny):
    "A table, and an error in the arguments, do not import torch or fastai"
    import shutil
    run = tiny_run[0]
    for o in 'a','b': shutil.copytree(run, tmp_path/o)
    shutil.copy(run/'submission.csv', tmp_path/'s.csv')
    (tmp_path/'t').symlink_to(tiny)
    code = f"""
import sys
from digitfast.cli import main
try: main({words.split()!r})
except SystemExit: pass
print('imported', *[o for o in {SLOW_IMPORTS!r} if o in sys.modules])"""
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHONPATH':PATHS})
    assert 'Traceback' not in r.stderr and r.stdout.splitlines()[-1].split()[1:]==allowed.split(), r.stdout+r.stderr

def test_the_table_of_models_is_up_to_date():
    "`python benchmarks/models.py` writes the table"
    from digitfast.tasks.list_models import count_models, stored_models
    assert json.loads(json.dumps(count_models()))==stored_models()

WRONG = [ # words, message, code
    ('train d --out R', 'R: found a finished run, expected a new directory. Choose a new directory with --out DIR', 1),
    ('train d --out U', 'U: found an unfinished run', 1),
    ('train d --out d', 'd: found other files, expected a new directory or a run', 1),
    ('train d --out d/train.csv', 'd/train.csv: found a file, expected a directory', 1),
    ('train d --out R --resume', 'R: found a finished run', 1),
    ('train d --out R --import my.py', 'R: found a finished run', 1),
    ('train nowhere', 'nowhere: no such file or folder', 1),
    ('train nowhere.csv --import my.py', 'no such file', 1),
    ('train d --test nowhere.csv', 'nowhere.csv: no such file', 1),
    ('train empty', 'no training set', 1),
    ('train --config nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('train d --drop nowhere.csv', 'nowhere.csv: no such file', 1),
    ('train d --import nowhere.py', 'nowhere.py: No such file or directory', 1),
    ('train d --resume', '--resume needs --out', 2),
    ('predict nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('predict R nowhere', 'nowhere: no such file or folder', 1),
    ('predict R d/train.csv --test nowhere.csv', 'nowhere.csv: no such file', 1),
    ('predict R --out d', 'found a folder', 1),
    ('predict R d --out d/train.csv', 'found an input file', 1),
    ('predict R --out R/metrics.json', 'a file of the run', 1),
    ('ensemble R R --out R', 'R: found a finished run', 1),
    ('ensemble R nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('compare nowhere', 'nowhere: no such file or folder', 1),
    ('tune nowhere --set lr=1..2', 'nowhere: no such file or folder', 1),
    ('tune d', 'found no field to vary, expected at least one. Specify one, such as --set lr=0.001..0.1', 1),
    ('tune d --set lr=.1', 'lr=0.1: found a single value', 1),
    ('tune d --set lr=1..2 --time 20', "--time: found '20', expected a duration such as 20m", 1),
    ('tune d --set lr=1..2 --out R', 'R: found files that belong to no search', 1),
    ('tune d --resume', '--resume needs --out', 2),
    ('export nowhere --onnx x', 'nowhere: no such directory, expected a finished run', 1),
    ('export R', '--onnx FILE or --pickle FILE', 2),
    ('export R --onnx R/metrics.json', 'a file of the run', 1),
    ('report nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('labels nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('labels R --out d/train.csv', 'found an input file', 1),
    ('demo nowhere', 'nowhere: no such directory, expected a finished run', 1),
    ('share nowhere --to hf:ada/x', 'nowhere: no such directory, expected a finished run', 1),
    ('share R --to ada/x', 'ada/x', 1),
    ('demo R --export R/members', 'a file of the run', 1),
    ('versus R nowhere', 'nowhere: no such directory, expected a finished run', 1)]

def test_errors_are_raised_before_torch_is_imported(tmp_path):
    "One process raises all of these errors"
    csvs(tmp_path/'d')
    for o in 'R/metrics.json','R/predictions.npz','U/checkpoint/state.json','empty/notes.md':
        (tmp_path/o).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/o).write_text('{}')
    (tmp_path/'R'/'metrics.json').write_text(json.dumps(dict(data=dict(path=str(tmp_path/'d')))))
    (tmp_path/'my.py').write_text('import torch')
    code = f'''
import sys
from digitfast.cli import main
for words,says,code in {WRONG!r}:
    print('>', words, file=sys.stderr, flush=True)
    try: main(words.split())
    except SystemExit as e: assert e.code==code, (words, e.code)
    heavy = [o for o in ('torch','fastai','matplotlib','PIL','sklearn') if o in sys.modules]
    assert not heavy, (words, heavy)
'''
    was = sorted(tmp_path.rglob('*'))
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                       env={**os.environ, 'PYTHONPATH':PATHS, 'COLUMNS':'200'})
    assert r.returncode==0, r.stderr
    errors = dict(o.split('\n', 1) for o in r.stderr.split('> ')[1:])
    for words,says,code in WRONG:
        assert says in errors[words], (words, errors[words])
        if code==1: assert errors[words].count('\n')==1 and errors[words].startswith('error: ')
    assert sorted(tmp_path.rglob('*'))==was

def test_help_lists_subcommands_and_defaults(cli):
    code,out,_ = cli('--help')
    assert code==0 and 'digitfast train sample' in out
    assert all(re.search(rf'^\W+{o} ', out, re.M) for o in subcommands())
    assert cli('train','-h')[0]==0 and '42' in cli('train','--help')[1]
    assert 'Usage' in ''.join(cli()[1:])

@pytest.mark.parametrize('words', ['nope', '--nope', 'train --nope', 'train a b', 'train --epochs 0',
    'train --epochs x', 'train --epochs', 'train --lr abc', 'train --lr 0', 'train --lr -1', 'train --lr nan',
    'train --lr inf', 'train --bs 0', 'train --bs 1.5', 'train --seed -1',
    'train --seed 99999999999', 'train --valid-pct 2', 'train --valid-pct -1', 'train --valid-pct x',
    'train --precision fp8', 'train --device tpu', 'train --recipe nope', 'train --arch nope', 'train --resume',
    'predict', 'predict --device tpu x', 'check', 'models x', 'info x'])
def test_wrong_usage_exits_2(words, cli, here):
    code,out,err = cli(*words.split())
    assert code==2 and out=='' and 'Error: ' in err and len(err.strip().splitlines())<9
    last = words.split()[-1]
    if words.split()[0]=='train' and last not in ('b','--resume',
        '--epochs'): assert last in err or words.split()[-2] in err
    assert not list(here.iterdir())

# ---- errors

@pytest.mark.parametrize('words,says', [('train nowhere','nowhere'), ('predict nowhere','nowhere'),
    ('predict nowhere a.png b.png','nowhere'), ('check nowhere','nowhere'), ('train . --out r','no training set'),
    ('train sample --valid-pct 0 --out r','valid_pct'), ('train sample --valid-pct 1','valid_pct'),
    ('check . nowhere','.')])
def test_errors_exit_1_with_one_line(words, says, cli, here):
    code,out,err = cli(*words.split())
    assert code==1 and err.startswith('error: ') and err.count('\n')==1 and says in err and not list(here.iterdir())

def test_debug_shows_the_traceback(cli):
    code,_,err = cli('train','nowhere','--debug')
    assert code==1 and 'Traceback' in err and 'DataError' in err and 'nowhere' in err

@pytest.mark.parametrize('words', ['--json train nowhere', 'train nowhere --quiet'])
def test_errors_go_to_stderr_only(words, cli):
    code,out,err = cli(*words.split())
    assert code==1 and out=='' and err.startswith('error: ')

# ---- train

def test_train_says_what_it_does(cli, here, tiny):
    code,out,err = cli('train', tiny, *OPTS, '--out','r')
    assert code==0 and err=='' and (here/'r'/'submission.csv').exists()
    assert 'accuracy' in out and 'r/submission.csv' in out and out.splitlines()[0].startswith('data: tiny')
    assert out.splitlines()[-1].startswith('run: r')

def test_train_with_nothing_takes_the_sample_and_says_so(cli, here):
    code,out,_ = cli('train','--epochs','1','--arch','stride2')
    assert code==0 and 'packaged sample' in out and 'no Kaggle credentials' in out
    assert len(list((here/'runs').iterdir()))==1
    run = next((here/'runs').iterdir())
    assert run.name.endswith('_quick') and (run/'submission.csv').read_text().count('\n')==1001
    code,out,_ = cli('predict', run)
    assert code==0 and 'control rows' in out
    assert (here/'submission.csv').read_bytes()==(run/'submission.csv').read_bytes()

def test_train_finds_the_data_beside_it(cli, here):
    csvs(here/'digit-recognizer')
    code,out,_ = cli('train', *OPTS, '--out','r')
    assert code==0 and 'found digit-recognizer' in out

def test_quiet_prints_only_the_path(cli, here, tiny):
    for words in ['--quiet','train',tiny,*OPTS,'--out','a'],['train',tiny,'-q',*OPTS,'--out','b'],['train',tiny,*OPTS,
        '--out','c','--quiet']:
        code,out,err = cli(*words)
        assert code==0 and out==words[-1 if words[-1]!='--quiet' else -2]+'\n' and err==''

def test_json_parses(cli, here, tiny):
    for words in ['--json','train',tiny,*OPTS,'--out','a'],['train',tiny,*OPTS,'--json','--out','b']:
        code,out,err = cli(*words)
        m = json.loads(out)
        assert code==0 and err=='' and m['format']==1 and 'accuracy' in m and m['n_valid']==12
        assert json.loads((here/words[-1]/'metrics.json').read_text())==m

def test_options_reach_the_run(cli, here, tiny):
    code,out,_ = cli('train', tiny, '--arch','fastbook','--epochs','3','--lr','0.02','--bs','8','--valid-pct','.3',
        '--seed','7','--precision','fp32','--device','cpu','--out','r','--json')
    m = json.loads(out)
    assert (m['arch'],m['epochs'],m['lr'],m['n_valid'],m['seed'],m['precision'],m['device'],
        m['settings']['bs'])==('fastbook',3,.02,18,7,'fp32','cpu',8)

def test_lr_auto_says_what_it_took(cli, tiny):
    code,out,_ = cli('train', tiny, *OPTS, '--lr','auto','--out','r')
    assert code==0 and re.search(r'^lr: [\d.e-]+, from the valley', out, re.M)

def test_out_in_use(cli, here, tiny):
    from digitfast.runs.rundir import RunDir
    with RunDir(here/'r'):
        code,_,err = cli('train', tiny, *OPTS, '--out','r')
    assert code==1 and 'in use by process' in err and not (here/'r').exists()
    assert cli('train', tiny, *OPTS, '--out','r')[0]==0
    code,_,err = cli('train', tiny, *OPTS, '--out','r')
    assert code==1 and 'finished run' in err
    (here/'f').write_text('')
    assert 'found a file' in cli('train', tiny, *OPTS, '--out','f')[2]

def test_ctrl_c_says_how_to_resume_and_exits_130(cli, here, tiny, tiny_run, monkeypatch):
    from digitfast.tasks import fit as run
    old = run.RunLog.after_batch
    def stop(self):
        old(self)
        if self.training and self.epoch==1: raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(run.RunLog, 'after_batch', stop)
        code,_,err = cli('train', tiny, *OPTS, '--out','r')
    assert code==130 and err.startswith('stopped: ') and '--resume --out r' in err and err.count('\n')==1
    code,_,err = cli('train', tiny, *OPTS, '--out','r')
    assert code==1 and '--resume' in err
    assert cli('train', tiny, *OPTS, '--out','r','--resume')[0]==0
    assert (here/'r'/'submission.csv').read_bytes()==(tiny_run[0]/'submission.csv').read_bytes()

def test_ctrl_c_in_another_subcommand(cli, monkeypatch, tiny_run):
    def stop(*a, **k): raise KeyboardInterrupt
    monkeypatch.setattr('digitfast.tasks.predict.predict_csv', stop)
    code,_,err = cli('predict', tiny_run[0])
    assert code==130 and err=='stopped\n'
    code,_,err = cli('predict', tiny_run[0], '--debug')
    assert code==130 and 'KeyboardInterrupt' in err

def test_ctrl_c_while_the_words_are_read(cli, monkeypatch):
    def stop(*a, **k): raise KeyboardInterrupt
    monkeypatch.setattr('digitfast.cli.app.registered_callback', None) # no help is needed
    monkeypatch.setattr('digitfast.console._Group.make_context', stop)
    code,_,err = cli('models')
    assert code==130 and err=='stopped\n'

def test_ids_of_another_competition_end_it_before_training(cli, here):
    path = csvs(here/'d', test=digits(20, label=False).assign(id=range(101, 121)))
    code,out,err = cli('train', path, *OPTS, '--out','r')
    assert code==1 and 'found the ids 101' in err and 'recipe' not in out and not (here/'r').exists()

# ---- the others

def test_predict(cli, here, tiny, tiny_run):
    code,out,err = cli('predict', tiny_run[0], '--out','s.csv')
    assert code==0 and err=='' and (here/'s.csv').read_bytes()==(tiny_run[0]/'submission.csv').read_bytes()
    assert 's.csv' in out
    assert cli('predict', tiny_run[0], tiny, '--tta',
        '--quiet')[1]=='submission.csv\n' and (here/'submission.csv').exists()
    assert json.loads(cli('predict', tiny_run[0], '--json')[1])=={'submission':'submission.csv'}

def test_check(cli, here, tiny, tiny_run):
    s = tiny_run[0]/'submission.csv'
    code,out,_ = cli('check', s, tiny)
    assert code==0 and '20 rows' in out and 'Kaggle will accept' in out
    code,out,_ = cli('check', s)
    assert code==0 and 'the form is right' in out and 'could not be compared' in out
    assert re.search(r'rows of each label: \S+ \(\d+\)', out)
    assert json.loads(cli('check', s, tiny, '--json')[1])['rows']==20
    (here/'bad.csv').write_text('ImageId,Label\n1,1\n1,2\n')
    for words in ('check','bad.csv'),('check','bad.csv',tiny):
        code,_,err = cli(*words)
        assert code==1 and 'bad.csv, line 3' in err
    csvs(here/'digit-recognizer')
    assert 'match digit-recognizer' in cli('check', s)[1]

def test_check_warns_of_what_is_no_prediction(cli, here, tiny):
    (here/'s.csv').write_text('ImageId,Label\n'+''.join(f'{i},1\n' for i in range(1,21)))
    code,out,_ = cli('check','s.csv',tiny)
    assert code==0 and 'warning: every label is 1' in out and 'Kaggle will accept' in out
    assert 'every label is 1' in json.loads(cli('check','s.csv','--json')[1])['warnings'][0]

def test_check_of_other_labels_needs_an_option(cli, here, tiny, tiny_run):
    csvs(here/'d', sample=pd.DataFrame(dict(ImageId=range(1, 21), Label=9)))
    s = tiny_run[0]/'submission.csv'
    code,out,err = cli('check', s, 'd')
    assert code==1 and "label 9 is not one of the training set's classes 0, 1, 2" in err
    assert '--allow-other-labels' in err
    code,out,err = cli('check', s, 'd', '--allow-other-labels')
    assert code==0 and 'not those of its sample submission' in out and 'Kaggle will accept' not in out

def test_check_never_takes_the_sample(cli, here):
    (here/'s.csv').write_text('ImageId,Label\n1,1\n2,2\n')
    code,out,_ = cli('check','s.csv')
    assert code==0 and 'sample' not in out

def test_models(cli):
    from digitfast.learn.recipe import recipes
    from digitfast.models.nets import archs
    code,out,_ = cli('models')
    assert code==0 and all(re.search(rf'^{re.escape(o)} ', out, re.M) for o in [*archs, *recipes])
    d = json.loads(cli('models','--json')[1])
    assert set(d['archs'])==set(archs) and set(d['recipes'])==set(recipes)
    assert d['archs']['mlp-30']['parameters']==23_860 and all(v['source'] for v in d['archs'].values())

def test_info(cli, here):
    code,out,_ = cli('info')
    assert code==0 and 'torch' in out and 'device' in out and 'none on disk' in out and 'credentials: none' in out
    csvs(here/'digit-recognizer')
    d = json.loads(cli('info','--json')[1])
    assert d['data']=='digit-recognizer' and d['versions']['torch'] and d['device'] and d['credentials'] is None

def test_info_does_not_wait_for_fastai(tmp_path):
    code = """
import sys
from digitfast.cli import main
main(['info'])
assert 'torch' in sys.modules and 'fastai' not in sys.modules"""
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHONPATH':PATHS})
    assert r.returncode==0 and 'fastai 2.' in r.stdout, r.stderr

# ---- a real process

def test_process_codes_and_streams(tmp_path, tiny):
    r = sub('train', tiny, *OPTS, '--out','r', cwd=tmp_path, env=dict(NO_COLOR='1', TERM='xterm-256color',
        FORCE_COLOR=''))
    assert r.returncode==0 and r.stderr=='' and '\x1b' not in r.stdout, r.stderr
    assert (tmp_path/'r'/'metrics.json').exists(), r.stderr
    assert r.stdout.splitlines()[-1].startswith('run: r')

def test_process_interrupted(tmp_path, tiny):
    p = command('train', tiny, '--arch','stride2','--bs','4','--epochs','2000','--out','r', cwd=tmp_path)
    for line in p.stdout:
        if line.split()[:1]==['1']: break
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=120)
    assert p.returncode==130 and 'Traceback' not in err and '--resume --out r' in err, err
    assert (tmp_path/'r'/'checkpoint'/'state.json').exists() and not (tmp_path/'r'/'.lock').exists()

@pytest.mark.parametrize('start', [lambda **kw: command('models', **kw),
    lambda **kw: subprocess.Popen([*CALL,'train','--help'], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH':PATHS, 'PYTHONUNBUFFERED':'1'}, **kw)], ids=['models','train --help'])
def test_closed_pipe_is_silent(start, tmp_path):
    p = start(cwd=tmp_path)
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(120) in (0,1,141,-13) and err==''

def test_script_is_installed():
    from importlib.metadata import entry_points
    assert [o.value for o in entry_points(group='console_scripts') if o.name=='digitfast']==['digitfast.cli:main']

# ---- the wheel

@pytest.mark.slow
def test_wheel(tmp_path):
    import shutil, zipfile
    src = shutil.copytree(REPO, tmp_path/'src', ignore=shutil.ignore_patterns('.git','.hypothesis','__pycache__',
        '*.egg-info','build','tests','nbs','benchmarks'))
    r = subprocess.run([sys.executable,'-m','pip','wheel',str(src),'--no-deps','--no-build-isolation','-w',
        str(tmp_path)], capture_output=True, text=True)
    assert r.returncode==0, r.stderr[-2000:]
    whl, = tmp_path.glob('digitfast-*.whl')
    with zipfile.ZipFile(whl) as z:
        names = z.namelist()
        z.extractall(tmp_path/'site')
        meta = z.read(next(o for o in names if o.endswith('METADATA'))).decode()
    assert 'digitfast/sample/digit-recognizer.zip' in names and any('LICENSE' in o.rsplit('/')[-1]
        for o in names) and not [o for o in names if o.startswith(('tests','nbs'))]
    assert {o.relative_to(REPO).as_posix() for o in (REPO/'digitfast').rglob('*.py')}<=set(names)
    assert 'Requires-Python: >=3.11' in meta and 'Requires-Dist: fastai' in meta and '# ' in meta.split('\n\n', 1)[1]
    r = subprocess.run([sys.executable,'-c',
        'import digitfast; print(digitfast.__file__); from digitfast.cli import main; main()','train','sample',
        '--epochs','1','--out','r','--quiet'], cwd=tmp_path,
                       env={**os.environ, 'PYTHONPATH':str(tmp_path/'site')}, capture_output=True, text=True,
                       timeout=300)
    assert r.returncode==0 and str(tmp_path/'site') in r.stdout and (tmp_path/'r'/'submission.csv').exists(), r.stderr

# ---- ordinary life

NOBODY = '''
import os, pwd, sys
for k in ('HOME','USER','LOGNAME','USERNAME'): os.environ.pop(k, None)
def no(*args): raise KeyError('getpwuid(): uid not found: 12345')
pwd.getpwuid,os.getuid = no,lambda: 12345
from digitfast.cli import main
main(sys.argv[1:])
'''
@pytest.mark.parametrize('words', [['info'], pytest.param(['train','--arch','mlp-30','--epochs','1','--out','r'],
    marks=pytest.mark.slow)])
def test_a_containers_user_without_a_home(words, tmp_path):
    "There is no HOME, and the system does not know the user"
    env = {**os.environ, 'PYTHONPATH':PATHS, 'MPLCONFIGDIR':str(tmp_path/'mpl'),
        'DIGITFAST_KAGGLE_INPUT':str(tmp_path/'none')}
    r = subprocess.run([sys.executable,'-c',NOBODY,*words], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=env)
    assert r.returncode==0 and 'Traceback' not in r.stderr, r.stderr

LONG = 'x'*300
@pytest.mark.parametrize('words', [
    ['check',LONG], ['check',LONG,'sample'], ['train',LONG], ['predict',LONG], ['predict',LONG,'a.png'],
        ['report',LONG],
    ['versus',LONG,LONG], ['publish',LONG,'--user','ada'], ['export',LONG,'--onnx','x'], ['ensemble',LONG,LONG],
    ['compare',LONG], ['submit',LONG,'-m','m']], ids=lambda o: o[0])
def test_names_that_no_file_has(words, cli, here):
    code,out,err = cli(*words)
    assert code==1 and out=='' and err.startswith('error: ') and err.count('\n')==1 and len(err)<700

def test_a_closed_pipe_does_not_end_a_training(tmp_path, tiny):
    "After `digitfast train | head -1`, the training is complete, with all of its files"
    p = command('train', tiny, *OPTS, '--out','r', cwd=tmp_path)
    assert p.stdout.readline().startswith('data: ')
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(120)==0 and err=='' and (tmp_path/'r'/'submission.csv').exists()

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_logged(tmp_path):
    with open('/dev/full','w') as full: r = subprocess.run([*CALL,'--version'], stdout=full, stderr=subprocess.PIPE,
        text=True, env={**os.environ, 'PYTHONPATH':PATHS})
    assert r.returncode==1 and r.stderr.startswith("error: can't print") and r.stderr.count('\n')==1

# ---- one door

ESC = '\x1b[31mred\x1b]0;title\x07\u202e'
@pytest.mark.parametrize('flag', [None,'--json'])
def test_no_escape_reaches_the_terminal(flag, cli, here):
    "Check a label, a column, a file's name, an argument, and an error"
    (here/f'{ESC}.csv').write_text(f'{ESC}id,label\n1,{ESC}\n2,{ESC}\n')
    for words in ['check',f'{ESC}.csv'],['check','.',f'{ESC}.csv'],['train',ESC],[ESC],['train','sample',ESC],['check',
        '--'+ESC]:
        code,out,err = cli(*words, *([flag] if flag else []))
        logged = out+err
        assert logged.replace('\n','').isprintable(), repr(logged)
        if flag and out: json.loads(out)

def test_a_terminal_without_the_letters(tmp_path):
    csvs(tmp_path/'d', train=digits(60, classes=['か','é','c']))
    (tmp_path/'s.csv').write_text('ImageId,Label\n1,か\n2,é\n', encoding='utf-8')
    r = sub('check','s.csv', cwd=tmp_path, env=dict(PYTHONIOENCODING='ascii', LC_ALL='C'))
    assert r.returncode==0 and '\\u304b' in r.stdout and r.stderr==''

def test_json_has_no_nan(capsys, monkeypatch):
    from digitfast import console as c
    monkeypatch.setitem(c.flags, 'json', True)
    c.print_result(dict(a=float('nan'), b=[np.float32(.5), np.int64(3)], c=Path('x'), d={1:float('inf')}, e=None,
                        f=True))
    assert json.loads(capsys.readouterr().out)==dict(a=None, b=[.5,3], c='x', d={'1':None}, e=None, f=True)

@pytest.mark.parametrize('words,want', [
    (['a','--json','b'], (['a','b'], {'json'})),
    (['-q','--debug','a'], (['a'], {'quiet','debug'})),
    (['a','--','--json'], (['a','--','--json'], set())),
    ([], ([], set()))])
def test_flags_anywhere_before_two_dashes(words, want):
    from digitfast import console as c
    assert (c.take_flags(words), {k for k,v in c.flags.items() if v})==want

def test_version_and_module(tmp_path):
    import digitfast
    env = {**os.environ, 'PYTHONPATH':PATHS}
    r = subprocess.run([sys.executable,'-m','digitfast','--version'], cwd=tmp_path, capture_output=True, text=True,
        env=env)
    assert r.returncode==0 and r.stdout==f'digitfast {digitfast.__version__}\n'

# ---- how tables are read, wherever there are some

@pytest.fixture
def apart(here):
    "Write kinds.csv, with the label `kind` and another column, rows.csv to predict, and a labelled new.csv"
    def table(n, seed): return digits(n, seed=seed).rename(columns=dict(label='kind')).assign(batch=1)
    table(60, 0).to_csv('kinds.csv', index=False)
    table(30, 2).to_csv('new.csv', index=False)
    table(20, 1).drop(columns='kind').to_csv('rows.csv', index=False)
    return here

def test_train_predict_check_and_submit_read_alike(apart, cli):
    read = '--test','rows.csv','--label','kind'
    assert cli('train','kinds.csv',*read,'--transpose',*OPTS,'--out','r')[0]==0
    own = Path('r/submission.csv').read_bytes()
    for words in ([], ['kinds.csv','--test','rows.csv'], ['kinds.csv',*read]):
        code,out,err = cli('predict','r',*words,'--out','s.csv')
        assert code==0 and Path('s.csv').read_bytes()==own and 'control rows' in out, err
    assert 'ids and labels match' in cli('check','s.csv','kinds.csv',*read)[1]
    code,_,err = cli('submit','s.csv','kinds.csv',*read,'-m','x')
    assert code==1 and 'no Kaggle credentials' in err
    assert cli('predict','r','new.csv','--out','n.csv')[1].count('score ')==1 # by the column that was the label
    up,turned = (cli('predict','r','rows.csv','--out',f'{o}.csv','--probs',o) and Path(f'{o}.csv').read_text()
                 for o in ('--no-transpose','--transpose'))
    assert up!=turned
    code,out,_ = cli('train','--config','r','--out','again','--transpose')
    assert code==0 and Path('again/submission.csv').read_bytes()==own
    assert cli('compare','kinds.csv','--label','kind','--system','linear','--seeds',1,'--epochs',1)[0]==0

@pytest.mark.parametrize('words,code,says', [
    ('predict r a.png --label kind',2,'--label is for rows'), ('predict r a.png --transpose',2,'is for rows'),
    ('predict r a.png --tta',2,'--tta is for rows'), ('predict r a.png --test rows.csv',2,'--test is for rows'),
    ('predict r rows.csv --show',2,'--show is for pictures'),
    ('check rows.csv --label kind',1,'columns'), ('check s.csv --test rows.csv',2,'DATA'),
    ('submit s.csv --label kind -m x',2,'DATA'), ('check s.csv kinds.csv',1,'--label NAME'),
    ('check s.csv kinds.csv --label nope',1,'nope'), ('check s.csv kinds.csv --label kind --test no.csv',1,'no.csv'),
    ('compare kinds.csv',1,'--label NAME'), ('predict r kinds.csv --label nope',1,'nope')])
def test_options_that_have_no_meaning_or_no_answer_raise_an_error(words, code, says, apart, cli, tiny_run):
    Path('r').symlink_to(tiny_run[0])
    Path('s.csv').write_text('ImageId,Label\n'+''.join(f'{i},{i%3}\n' for i in range(1, 21)))
    res = cli(*words.split())
    assert res[0]==code and says in res[2] and len(res[2])<600, res
