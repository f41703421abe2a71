"Tests of `compare`, which measures systems with several seeds on a test fold"
import numpy as np, pandas as pd, pytest
from digitfast.tasks import compare as C
from digitfast.tasks.compare import compare, summarise
from digitfast.core import DigitError
from digitfast.data.read import read_csvs
from conftest import csvs

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return csvs(tmp_path_factory.mktemp('c')/'tiny', n=120)

def test_table_and_files(folder, tmp_path):
    lines = []
    t = compare(folder, ['linear-softmax','mlp-100'], seeds=2, epochs=1, device='cpu', out=tmp_path/'o',
                say=lines.append)
    assert t.index.tolist()==['linear-softmax',
                              'mlp-100'] and (t.seeds==2).all() and (t.epochs==1).all() and t['mean'].between(0,
                                      1).all() and (t.parameters>0).all()
    runs = pd.read_csv(tmp_path/'o'/'runs.csv')
    assert len(runs)==4 and runs.seed.tolist()==[0,1,0,1] and (runs['rows']==108).all() and (runs.data=='tiny').all()
    back = pd.read_csv(tmp_path/'o'/'compare.csv', index_col=0)
    assert np.allclose(back['mean'], runs.groupby('system', sort=False).accuracy.mean())
    assert (tmp_path/'o'/'compare.png').read_bytes()[1:4]==b'PNG'
    assert '108 rows to train on, 12 to test on' in lines[0] and len(lines)==5 and '[4/4] mlp-100' in lines[-1]

def test_no_system_sees_the_fold(folder, monkeypatch):
    "The training rows of a recipe and the predicted rows are all rows, each once"
    seen,old = {},C.predict_rows
    def dls(self, df, **kw): seen['train'] = df; return type(self).dls.old(self, df, **kw)
    dls.old = C.recipes['linear-softmax'].__class__.dls
    with monkeypatch.context() as m:
        m.setattr(C.recipes['linear-softmax'].__class__, 'dls', dls)
        m.setattr(C, 'predict_rows', lambda learn, df, **kw: (seen.update(test=df), old(learn, df, **kw))[1])
        compare(folder, ['linear-softmax'], seeds=1, epochs=1, device='cpu', say=lambda o: None)
    trn,test = seen['train'],seen['test']
    assert 'label' not in test and len(test)==12 and sorted([*trn.index, *test.index])==list(range(120))

def test_the_same_seed_gives_the_same_figures(folder):
    a,b = (compare(folder, ['mlp-100'], seeds=1, epochs=1, device='cpu', say=lambda o: None) for _ in range(2))
    assert a['mean'].tolist()==b['mean'].tolist() and np.isnan(a.sd.iloc[0])

def test_unknown_systems_and_ensembles_raise_an_error(folder):
    with pytest.raises(DigitError, match='nope'): compare(folder, ['nope'], say=lambda o: None)
    many = next(k for k,r in C.recipes.items() if r.members>1)
    with pytest.raises(DigitError, match='ensemble'): compare(folder, [many], say=lambda o: None)

def test_summary():
    t = summarise(pd.DataFrame(dict(system=['b','b','a'], accuracy=[.5,.7,1.], seconds=[1.,3.,2.], parameters=[5,5,7],
                                    reported=['0.9','0.9',''], epochs=[1,1,2])))
    assert t.index.tolist()==['b','a']
    assert t['mean'].tolist()==pytest.approx([.6, 1.])
    assert t.sd.iloc[0]==pytest.approx(.2**2/2**.5/.2)
    assert t.seconds.tolist()==[2.,2.]
    assert C._plot_errors(t)[1:4]==b'PNG'

def test_everything_is_exported():
    "Import with `from digitfast.all import *`, as the notebooks do"
    names = {}
    exec('from digitfast.all import *', names)
    want = ('find_data read_csvs DigitBlock DigitDataLoaders digit_learner Recipe recipes save_net load_net '
            'predict_csv check_submission train')
    for o in want.split(): assert o in names, o
