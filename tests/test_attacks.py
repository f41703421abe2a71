"Tests of hostile networks, losses, recipes, settings and files: each raises an error of one line and leaves no files"
import json, os, shutil
from pathlib import Path
import numpy as np, pytest, torch
from fastai.learner import AvgMetric
from fastai.metrics import F1Score, Perplexity, accuracy, error_rate
from torch import nn
from digitfast.data.block import DigitDataLoaders
from digitfast.learn.loss import losses
from digitfast.report.measure import versus
from digitfast.models.nets import archs
from digitfast.learn.predict import predict_rows
from digitfast.learn.recipe import recipes
from digitfast.tasks.predict import predict_csv
from digitfast.runs.run import Run
from digitfast.tasks.save import save_run
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.inputs import read_row_numbers
from digitfast.tasks.train import train
from conftest import TINY, digits
from test_save_run import fitted, quiet, refused, run_cli

class Odd(nn.Module):
    "A network that does `f` in place of its work"
    def __init__(self, f):
        super().__init__()
        self.f,self.lin = f,nn.Linear(64, 3)
    def forward(self, x): return self.f(self, x)
def raises(net, x): raise KeyError('a\nb')
def flat(n): return nn.Sequential(nn.Flatten(), nn.Linear(n, 3))
ONE = flat(64)

NETS = dict(
    none=(lambda n,s: None, 'a NoneType'), number=(lambda n,s: 5, 'a int'),
    raises=(lambda n,s: Odd(raises), "images of 8x8 pixels: KeyError"),
    two=(lambda n,s: Odd(lambda net,x: (x,x)), 'a tuple, expected one tensor'),
    shape=(lambda n,s: flat(784), "images of 8x8 pixels: RuntimeError"),
    no_parameters=(lambda n,s: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(n)), 'no parameters'))
@pytest.mark.parametrize('name', NETS)
def test_a_net_of_ones_own_that_is_none_is_one_line(name, tiny, tmp_path):
    net,says = NETS[name]
    refused(lambda: train(tiny, out=tmp_path/'r', say=quiet, **{**TINY, 'arch':net}), says, left=tmp_path/'r')

def test_a_net_that_comes_twice_raises_an_error(tiny, tmp_path):
    "A factory must build a new model at each call, or two members would share their weights"
    refused(lambda: train(tiny, out=tmp_path/'r', say=quiet, members=2, **{**TINY, 'arch':lambda n,s: ONE}),
            'same net twice')

@pytest.mark.parametrize('reg,thing,kw,says', [
    (losses, 5, dict(loss='mine'), "the loss 'mine' can't be built"),
    (losses, lambda c,s: 1/0, dict(loss='mine'), 'ZeroDivisionError'),
    (recipes, 5, dict(recipe='mine'), 'expected a Recipe')])
def test_what_is_registered_and_no_good_is_one_line(reg, thing, kw, says, tiny, tmp_path):
    reg['mine'] = thing
    try: refused(lambda: train(tiny, out=tmp_path/'r', say=quiet, **{**TINY, **kw}), says, left=tmp_path/'r')
    finally: del reg['mine']

def test_models_are_listed_with_one_that_takes_no_28(capsys):
    archs['mine'] = lambda n,s: flat(64)
    archs['mine'].source = 'me'
    try: assert run_cli('models')==0
    finally: del archs['mine']
    assert [o.split() for o in capsys.readouterr().out.splitlines() if o.startswith('mine')]==[['mine','-','-','me']]

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no FIFOs here')
def test_an_import_is_a_plain_file(tmp_path, capsys):
    os.mkfifo(tmp_path/'m.py')
    assert run_cli('info', '--import', tmp_path/'m.py')==1 and 'not a regular file' in capsys.readouterr().err
    (tmp_path/'n.py').write_bytes(b'\0')
    assert run_cli('info', '--import', tmp_path/'n.py')==1 and 'None' not in capsys.readouterr().err

# ---- options

@pytest.mark.parametrize('words,code,says', [
    ('--set precision=fp64',1,'fp64'), ('--set precision=fp32 --precision fp32',2,'--set precision and --precision'),
    ('--folds 3 --valid-pct .2',1,'valid_pct: found it'), ('--folds 3 --split last',1,'split: found it'),
    ('--folds 21',1,"class '0' has 20"), ("--set arch_kwargs={'chs':[0]}",1,"can't process images")])
def test_options_that_say_nothing_or_no_sense(words, code, says, tiny, tmp_path, capsys):
    base = 'train',tiny,'--arch','stride2','--epochs',1,'--bs',16,'--out',tmp_path/'r'
    assert run_cli(*base, *words.split())==code
    err = capsys.readouterr().err
    assert says in err and 'np.' not in err and not (tmp_path/'r').exists()

ARGS = [(dict(seed=o),'seed is') for o in (-1,1.5,True,'3',2**70)] + [
    (dict(member=0),'trains one network'), (dict(member='0', members=2),'a number from 0 to 1'),
    (dict(recipe=''),'unknown'),
    (dict(recipe=[]),'unknown recipe'), (dict(out=5),'5: found a int'), (dict(out='o/\0x'),'o/?x: found a str'),
    (dict(config=3),'3: found a int'), (dict(cbs=[3]),"cbs: found '3'"), (dict(batch_tfms='x'),'batch_tfms: found'),
    (dict(opt_func=3),'opt_func: found'), (dict(metrics=[accuracy,3]),"metrics: found '3'"),
    (dict(drop=3),"drop: found '3'"),
    (dict(data=3),'data holds a int, expected'), (dict(data=[]),'data is a list of 0'),
    (dict(data={}),'the dict: found nothing'), (dict(data=np.zeros((3,3))),'3 pixel columns'),
    (dict(data=(1,2)),'data holds a int')]
@pytest.mark.parametrize('kw,says', ARGS, ids=lambda o: str(o)[:30].replace('\0', '0'))
def test_arguments_of_another_kind_are_one_line(kw, says, tiny, tmp_path):
    kw = {**TINY, 'out':tmp_path/'r', **kw}
    refused(lambda: train(kw.pop('data', tiny), say=quiet, **kw), says, left=tmp_path/'r')

def test_numbers_of_numpy_are_numbers(tiny, tmp_path):
    kw = dict(seed=np.int64(3), member=np.int64(1), members=np.int64(2))
    m = train(tiny, out=tmp_path/'r', say=quiet, **kw, **TINY).metrics
    assert (m['seed'],m['member'])==(3,1)
    refused(lambda: train(tiny, out=tmp_path/'s', say=quiet, **{**kw, 'member':1.}, **TINY), 'a number from 0 to 1')

def test_metrics_of_fastai_are_metrics(tiny, tmp_path):
    kw = {**TINY, 'metrics':[Perplexity(),AvgMetric(error_rate),F1Score(average='macro')]}
    h = train(tiny, out=tmp_path/'r', say=quiet, **kw).history()
    assert {'perplexity','error_rate','f1_score'}<=set(h)

@pytest.mark.parametrize('name', ['mixup, lr=.01 (2)', 'é', '..', 'a'*100])
def test_names_that_people_give_are_names(name, fitted_learn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn,df = fitted_learn
    r = save_run(learn, df, name=name, say=quiet)
    assert r.metrics['recipe']==name and r.path.parent==Path('runs')

@pytest.mark.parametrize('f,says', [
    (lambda r,df: predict_csv(r, 3), 'data holds a int'), (lambda r,df: predict_csv(3), '3: found a int'),
    (lambda r,df: predict_rows(r.learner(), df, tta=1.5), "tta is '1.5'"),
    (lambda r,df: predict_rows(r.learner(), df, tta=9), "tta is '9'"),
    (lambda r,df: ensemble([1, 2]), '1: found a int')])
def test_arguments_of_another_kind_for_a_run_are_one_line(f, says, tiny_run):
    refused(lambda: f(Run(tiny_run[0]), digits(4).drop(columns='label')), says)

SAVED = [(dict(tta=o),'tta is') for o in (-1,1.5,True,9,'1',None)] + [
    (dict(name=o),'name: found') for o in ('',' ','a/b','x\ny',3,None,'é'*300)]
@pytest.mark.parametrize('kw,says', SAVED, ids=lambda o: str(o)[:30].replace('\n', 'n'))
def test_save_run_refuses_arguments_of_another_kind(kw, says, fitted_learn, tmp_path):
    learn,df = fitted_learn
    refused(lambda: save_run(learn, df, tmp_path/'r', say=quiet, **kw), says, left=tmp_path/'r')

def test_save_run_refuses_what_is_no_learner_or_went_astray(fitted_learn, tmp_path):
    learn,df = fitted_learn
    for o in (None, learn.model, learn.dls):
        refused(lambda: save_run(o, df, tmp_path/'r', say=quiet), 'expected a trained Learner', left=tmp_path/'r')
    was = {k:v.clone() for k,v in learn.model.state_dict().items()}
    with torch.no_grad(): next(learn.model.parameters()).fill_(float('nan'))
    try: refused(lambda: save_run(learn, df, tmp_path/'r', say=quiet), 'NaN', left=tmp_path/'r')
    finally: learn.model.load_state_dict(was)

@pytest.fixture(scope='module')
def fitted_learn():
    df = digits(48)
    return fitted(DigitDataLoaders.from_df(df, valid_pct=.25, bs=8)),df

DROPS = [('row\n1\n',[1]), ('\ufeffrow\n1\n',[1]), ('5\n6\n',[5,6]), (' row \n 3\n',[3]), ('"row",label\n"3",1\n',[3]),
         ('row\n',[]), ('line\n3\n',None), ('row;label\n1;2\n',None), ('row\n٣\n',None), ('row\n'+'9'*400+'\n',None),
         ('row\n1.0\n',None), ('row,row\n1,2\nx,y\n',None)]
@pytest.mark.parametrize('text,want', DROPS)
def test_drop_files_are_read_in_one_way_or_not(text, want, tmp_path):
    (tmp_path/'d.csv').write_text(text, encoding='utf-8')
    if want is None: return refused(lambda: read_row_numbers(tmp_path/'d.csv', 60), 'd.csv')
    assert read_row_numbers(tmp_path/'d.csv', 60).tolist()==want

# ---- runs of others

FIELDS = [('options','x'), ('options',dict(label=5)), ('imports','x'), ('imports',dict(a=1)), ('given','x'),
          ('given',dict(cbs='x')), ('drop','x'), ('drop',dict(rows='x')), ('kind',[1]), ('no_model',5),
          ('joined','x'), ('measured_on',5), ('settings',dict(vary=5)), ('settings',dict(nope=1))]
@pytest.mark.parametrize('field,value', FIELDS)
def test_a_field_of_another_kind_is_damage(field, value, tiny_run, tmp_path):
    r = Path(shutil.copytree(tiny_run[0], tmp_path/'r'))
    m = json.loads((r/'metrics.json').read_text())
    m[field] = {**m['settings'], **value} if field=='settings' else value
    (r/'metrics.json').write_text(json.dumps(m))
    refused(lambda: train(config=r, out=tmp_path/'again', say=quiet), left=tmp_path/'again')

@pytest.mark.parametrize('threads,want', [(3,3), (4096,max(os.cpu_count(), 16))])
def test_threads_of_others_are_no_order(threads, want, tiny_run, tmp_path, monkeypatch):
    "A run is trained again with its own number of threads, up to a limit"
    r = Path(shutil.copytree(tiny_run[0], tmp_path/'r'))
    m = json.loads((r/'metrics.json').read_text())
    (r/'metrics.json').write_text(json.dumps({**m, 'threads':threads}))
    set_to,was = [],torch.get_num_threads()
    # only recorded: sixteen threads on two cores would take seconds
    monkeypatch.setattr(torch, 'set_num_threads', set_to.append)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: set_to[-1] if set_to else was)
    assert train(config=r, out=tmp_path/'again', say=quiet).metrics['threads']==want and set_to==[want]

def test_config_says_that_the_data_have_changed(tiny, tiny_run, tmp_path):
    "There is no such note if the data are the same"
    d,r = (Path(shutil.copytree(o, tmp_path/o.name)) for o in (tiny,Path(tiny_run[0])))
    m = json.loads((r/'metrics.json').read_text())
    (r/'metrics.json').write_text(json.dumps({**m, 'data':{**m['data'], 'path':str(d)}}))
    logged = []
    for k in 'same','other':
        lines = []
        if k=='other': digits(60, seed=3).to_csv(d/'train.csv', index=False)
        train(config=r, out=tmp_path/k, say=lines.append)
        logged.append(any('changed since' in o for o in lines))
    assert logged==[False,True]

def test_a_run_is_joined_once(tiny_run, tmp_path):
    a = tiny_run[0]
    refused(lambda: ensemble([a, Path(a)/'..'/Path(a).name], tmp_path/'j', say=quiet), 'named twice', left=tmp_path/'j')

def test_members_that_cannot_be_joined_leave_nothing(tiny, tmp_path):
    kw = dict(folds=3, arch='stride2', epochs=1, bs=16, say=quiet)
    two = [train(tiny, member=k, out=tmp_path/str(k), **kw) for k in (0,1)]
    refused(lambda: ensemble(two, tmp_path/'j', say=quiet), 'every row', left=tmp_path/'j')

def test_few_rows_can_show_nothing(tiny_run):
    p = Run(tiny_run[0]).predictions().take(np.arange(4))
    assert '%' not in versus(p, p).more and 'too few to show any' in versus(p, p).more

def test_predictions_do_not_overwrite_the_rows(tiny_run, tmp_path):
    digits(20, seed=1).to_csv(tmp_path/'new.csv', index=False)
    was = (tmp_path/'new.csv').read_bytes()
    def over(): predict_csv(tiny_run[0], tmp_path/'new.csv', tmp_path/'new.csv', device='cpu', say=quiet)
    refused(over, 'another')
    assert (tmp_path/'new.csv').read_bytes()==was
