"""Tests of training with the user's own validation rows and with groups: the run stores them, and runs with other
groups are not mixed"""
import numpy as np, pandas as pd, pytest, torch
from digitfast.core import DigitError, RunError
from digitfast.report.measure import versus
from digitfast.runs.run import Run
from digitfast.tasks import finish
from digitfast.tasks.compare import compare
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.train import train
from conftest import TINY, csvs, digits
from test_resume import interrupt, outcome
from test_run import quiet, run

@pytest.fixture(autouse=True)
def no_page(monkeypatch): monkeypatch.setattr(finish, 'write_page', lambda out: (out/'report.html').write_text(''))

WRITERS = np.random.default_rng(0).integers(0, 12, 60)
def written(g=WRITERS):
    df = digits()
    df.insert(1, 'writer', [f'w{o}' for o in g])
    return df

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return csvs(tmp_path_factory.mktemp('written')/'a', train=written())

def test_groups_from_beginning_to_end(folder, tmp_path):
    lines = []
    r = train(folder, groups='writer', out=tmp_path/'r', say=lines.append, **TINY)
    held,m = r.predictions(same=True).rows,r.metrics
    assert not set(WRITERS[held])&set(np.delete(WRITERS, held)) and 3<=len(held)<=24
    assert m['groups']['column']=='writer' and m['groups']['n']==12 and m['options']==dict(groups='writer')
    assert any(o.startswith('groups: 12 in column writer, none on both sides; held out: ') for o in lines)
    assert any('interval counts rows' in o and 'too narrow' in o for o in lines)
    again = train(config=r, out=tmp_path/'again', say=quiet)
    assert outcome(again)==outcome(r)
    assert r.data().sha256==m['data']['sha256']

FOLDS = [dict(folds=2, valid_pct=None), pytest.param(dict(members=2), marks=pytest.mark.slow)]
@pytest.mark.parametrize('folds', FOLDS)
def test_members_hold_out_whole_groups_and_resume(folds, folder, tmp_path):
    whole = run(folder, tmp_path/'whole', groups='writer', **folds)
    for o in whole.members():
        held = o.predictions(same=True).rows
        assert not set(WRITERS[held])&set(np.delete(WRITERS, held))
    interrupt(folder, tmp_path/'r', groups='writer', **folds)
    assert outcome(train(out=tmp_path/'r', resume=True, say=quiet))==outcome(whole)

def test_other_groups_do_not_resume(folder, tmp_path):
    interrupt(written(), tmp_path/'r', groups='writer')
    for data,groups in (written(), WRITERS),(written(np.roll(WRITERS, 1)), 'writer'):
        with pytest.raises(RunError, match="was started with groups '12 in column writer, .*not '12"):
            train(data, groups=groups, out=tmp_path/'r', resume=True, say=quiet)
    interrupt(digits(), tmp_path/'array', groups=WRITERS)
    with pytest.raises(RunError, match=r'with groups \(an array of groups\).*data=?.*groups=groups'):
        train(digits(), out=tmp_path/'array', resume=True, say=quiet)
    r = train(digits(), out=tmp_path/'array', resume=True, groups=WRITERS, say=quiet)
    with pytest.raises(RunError, match='an array of groups, which a run does not'):
        train(config=r, data=digits(), out=tmp_path/'x', say=quiet)

ROWS = list(range(0, 60, 5))
def test_positions_are_held_out_from_every_network(tmp_path):
    r = run(digits(), tmp_path/'r', valid=np.array(ROWS), valid_pct=None)
    assert r.predictions(same=True).rows.tolist()==ROWS==r.metrics['valid']['rows']
    again = train(config=r, data=digits(), out=tmp_path/'again', say=quiet)
    assert outcome(again)==outcome(r)
    both = run(digits(), tmp_path/'both', valid=ROWS, valid_pct=None, members=2, epochs=1)
    assert both.predictions(same=True).rows.tolist()==ROWS and len(both.oof())==60

@pytest.mark.parametrize('option', ['valid', 'drop'])
def test_an_index_is_no_list_of_positions_if_the_frame_is_in_another_order(option, tmp_path):
    df = digits().sample(frac=1, random_state=0)
    with pytest.raises(DigitError, match=f'{option}: found an Index.*df.index.get_indexer') as e:
        run(df, tmp_path/'r', valid_pct=None, **{option:df.index[ROWS]})
    assert '\n' not in str(e.value) and not (tmp_path/'r').exists()

def test_positions_of_any_kind(tmp_path):
    df = digits().sample(frac=1, random_state=0)
    for i,rows in enumerate((torch.tensor(ROWS), pd.Series(ROWS, index=ROWS[::-1]), [torch.tensor(o) for o in ROWS])):
        r = run(df, tmp_path/str(i), valid=rows, valid_pct=None, epochs=1)
        assert r.predictions(same=True).rows.tolist()==ROWS

def test_a_column_that_hardly_groups_rows(tmp_path):
    lines = []
    run(digits(), tmp_path/'r', groups=[0,0,*range(1, 59)], epochs=1, say=lines.append)
    assert [o for o in lines if 'groups: 58 of 59 groups have one row' in o]

@pytest.mark.slow
def test_a_rule_beside_config_replaces_its_positions(tmp_path):
    r = run(digits(), tmp_path/'r', valid=ROWS, valid_pct=None, epochs=1)
    again = train(config=r, data=digits(), out=tmp_path/'again', say=quiet, split='last', valid_pct=.1)
    assert again.predictions(same=True).rows.tolist()==list(range(54, 60)) and not again.metrics.get('valid')

WRONG = dict(twice=(dict(valid=[1,1]), 'found a row twice'), beyond=(dict(valid=[60]), "found '60'"),
    negative=(dict(valid=[-1]), "found '-1'"),
    mask=(dict(valid=np.arange(60)%5==0), 'found a mask.*np.flatnonzero'),
    listed=(dict(valid=[True,False]*30), 'found a mask'), bits=(dict(valid=[0,1,0]*20), 'only 0 and 1 in 60 values'),
    tensor=(dict(valid=torch.arange(60)%5==0), 'valid: found a mask'),
    drop=(dict(drop=[0,1,0]*20), 'drop: found only 0 and'),
    slice=(dict(valid=slice(9)), r"'slice\(.*expected positions"),
    number=(dict(valid=5), "valid: found '5', expected pos"),
    table=(dict(valid=np.ones((3,1), int)), r'shape \(3, 1\)'), lists=(dict(valid=[[1],[2]]), r"found '\[1\]'"),
    blank=(dict(groups=''), 'groups=: found a blank name'), matrix=(dict(groups=WRITERS[:,None]), r'shape \(60, 1\)'),
    nobody=(dict(valid=[]), '0 of 60 rows are held out'),
    rule=(dict(valid='last'), "found 'last', expected positions.*split=RULE"),
    split=(dict(valid=ROWS, split='last'), 'valid and split both'),
    folds=(dict(valid=ROWS, folds=2), 'valid and folds both'),
    last=(dict(groups=WRITERS, split='last'), "found 'last' with groups"),
    column=(dict(groups='wrter'), "did you mean 'writer'"),
    folds_of_groups=(dict(groups='writer', folds=13), '12 groups to train on.*13 folds.*folds=12'),
    cut=(dict(groups='writer', valid=ROWS), "the split cuts .* groups, such as 'w"),
    array=(dict(groups=WRITERS[:9]), 'found 9 groups, expected one for each of 60 rows'),
    none=(dict(valid=range(60)), 'training side of the split is empty, because 60 of 60 rows are held out'),
    order=(dict(groups=pd.Series(WRITERS)[::-1]), 'groups: found a Series with the index of the images in another'))
@pytest.mark.parametrize('name', WRONG)
def test_rows_that_cannot_be_held_out(name, tmp_path):
    kw,why = WRONG[name]
    with pytest.raises(DigitError, match=why) as e:
        train(written(), out=tmp_path/'r', say=quiet, **{**TINY, 'valid_pct':None, **kw})
    assert '\n' not in str(e.value) and not (tmp_path/'r').exists()

def test_runs_of_other_groups_are_not_joined_and_versus_says_so(folder, tmp_path):
    a,b = (run(folder, tmp_path/str(i), groups='writer', epochs=1, seed=i) for i in range(2))
    held = a.predictions(same=True).rows.tolist()
    c = run(folder, tmp_path/'c', valid=held, valid_pct=None, epochs=1, seed=2)
    assert ensemble([a, b], out=tmp_path/'e', say=quiet).metrics['groups']==a.metrics['groups']
    with pytest.raises(RunError, match='found another split into groups'): ensemble([a, c], out=tmp_path/'f', say=quiet)
    assert 'split by different groups' in versus(a, c).text and 'different' not in versus(a, b).text

def test_compare_measures_on_groups_that_no_system_sees(folder, monkeypatch):
    sides = []
    def measure(f, jobs, shared, keep, *args, **kw):
        sides.append(shared[1:3])
        keep(jobs[0], dict(system='quick', seed=0, accuracy=1., seconds=1., parameters=1, reported='', epochs=1))
    monkeypatch.setattr('digitfast.tasks.compare.spread_jobs', measure)
    compare(folder, ['quick'], seeds=1, groups='writer', say=quiet)
    trn,test = (WRITERS[o.index] for o in sides[0])
    assert len(test) and not set(trn)&set(test)

# ---- weights

def weighed():
    df = written()
    df.insert(2, 'w', np.where(df.label==2, 0., 1.5))
    return df

def test_a_column_of_weights_and_of_groups(tmp_path):
    "The run stores both. Rows with weight 0 are not learnt, but they count in the accuracy"
    lines,data = [],csvs(tmp_path/'a', train=weighed())
    r = run(data, tmp_path/'r', weights='w', groups='writer', class_weights={0:2}, say=lines.append)
    m = r.metrics
    assert m['weights']['column']=='w' and m['options']==dict(groups='writer', weights='w')
    assert m['settings']['class_weights']=={'0':2.0} and 'omitted' not in ' '.join(lines)
    assert any(o.startswith('weights: of column w and of classes 0: 2, from 0 to 3 for a training row') for o in lines)
    assert any(o.startswith('note: all training rows of class 2 have the weight 0') for o in lines)
    assert 2 in r.predictions(same=True).targs and 2 not in r.predictions(same=True).preds
    assert outcome(train(config=r, out=tmp_path/'again', say=quiet))==outcome(r)

def test_other_weights_do_not_resume(tmp_path):
    whole = run(weighed(), tmp_path/'whole', weights='w', class_weights='balanced')
    interrupt(weighed(), tmp_path/'r', weights='w', class_weights='balanced')
    others = (dict(weights=np.ones(60)), "weights 'in column w"),(dict(class_weights={0:2}), "class_weights 'balanced'")
    for kw,why in others:
        with pytest.raises(RunError, match='was started with '+why):
            train(weighed(), out=tmp_path/'r', resume=True, say=quiet, **kw)
    assert outcome(train(weighed(), out=tmp_path/'r', resume=True, say=quiet))==outcome(whole)

BAD_WEIGHTS = dict(table=(dict(weights=np.ones((60,1))), r'shape \(60, 1\), expected one weight for each of 60'),
    order=(dict(weights=pd.Series(np.arange(60.))[::-1]), 'weights: found a Series.*another order'),
    zero=(dict(weights=[0]*60), 'rows are 0'), nan=(dict(weights=[np.nan]*60), "the weight 'nan'"),
    text=(dict(weights='writer'), "weights='writer': row 0 .* has the weight 'w"),
    dates=(dict(weights=pd.date_range('2020', periods=60)), 'datetime64.*expected numbers'),
    complex=(dict(weights=np.full(60, 1j)), 'complex128'), mapping=(dict(weights={1:2}), 'weights: found a dict'),
    blank=(dict(weights=' '), 'weights=: found a blank name'),
    twice=(dict(class_weights={0:2, '0':3}), 'expected .balanced'),
    short=(dict(weights=[1]), 'found 1 weight,'),
    column=(dict(weights='x'), "unknown column 'x'"), field=(dict(class_weights='heavy'), "expected 'balanced'"),
    unknown=(dict(class_weights={'7':1}), "unknown class '7'"),
    hand=(dict(weights='w', recipe='linear'), 'written from scratch'))
@pytest.mark.parametrize('name', BAD_WEIGHTS)
def test_weights_that_cannot_be_used(name, tmp_path):
    kw,why = BAD_WEIGHTS[name]
    own = TINY if name!='hand' else {}
    with pytest.raises(DigitError, match=why) as e: train(weighed(), out=tmp_path/'r', say=quiet, **own, **kw)
    assert '\n' not in str(e.value) and not (tmp_path/'r').exists()

def test_the_command_takes_columns_and_class_weights(tmp_path):
    from digitfast.cli import main
    data = csvs(tmp_path/'a', train=weighed())
    words = ['train', data, '--groups', 'writer', '--weights', 'w', '--arch', 'stride2', '--epochs', '1', '--quiet']
    for name,value,kept in ('r','balanced','balanced'),('s','{0: 2, 1: 0.5}',{'0':2.0, '1':.5}):
        own = ['--class-weights', value, '--out', tmp_path/name]
        with pytest.raises(SystemExit) as e: main([*map(str, words+own)])
        assert not e.value.code and Run(tmp_path/name).metrics['settings']['class_weights']==kept
