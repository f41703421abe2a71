"Tests of intervals, calibration, mistakes, predictions of a run, and the comparison of two runs"
import io, json, math, pickle, zipfile
import numpy as np, pandas as pd, pytest
from pathlib import Path
from scipy.stats import binom, binomtest

from digitfast.report.measure import (Preds, calibration, doubtful_labels, holm, list_runs, measured, most_confused,
                               read_preds, score_interval,
                               suspicious_labels, versus, versus_table, wilson, worst_mistakes)
from digitfast.runs.run import Run, read_metrics
from digitfast.core import DigitError, RunError
from run_double import a_run, fake

@pytest.mark.parametrize('k,n', [(0,5), (5,5), (91,100), (4199,4200), (1,1)])
def test_wilson_is_scipys(k, n):
    ci = binomtest(k, n).proportion_ci(method='wilson')
    assert wilson(k, n, z=1.959963984540054)==pytest.approx((ci.low, ci.high), abs=1e-12)
    assert wilson(n-k, n)==pytest.approx((1-wilson(k, n)[1], 1-wilson(k, n)[0]))

@pytest.mark.parametrize('p,n_test', [(.85,28_000), (.99,28_000), (.997,28_000), (.99,2000)])
def test_the_score_interval_holds_the_score_on_other_rows(p, n_test):
    rng,n = np.random.default_rng(1),4200
    k,score = rng.binomial(n, p, 3000),rng.binomial(n_test, p, 3000)/n_test
    ivs = [score_interval(int(o), n, n_test) for o in k]
    held = np.mean([lo<=s<=hi for (lo,hi),s in zip(ivs, score)])
    assert .93<held<.97
    lo,hi = score_interval(n, n, n_test)
    assert lo<1 and hi==1

def test_predictions_of_a_run(tmp_path):
    a = fake()
    a['valid_same'][:50] = True
    p = read_preds(a_run(tmp_path/'r', **a))
    assert len(p)==150 and (p.rows==a['valid_rows'][50:]).all() and (p.probs==a['valid_probs'][50:]).all()
    assert p.hits.sum()==(a['valid_probs'].argmax(1)==a['valid_labels'])[50:].sum()
    assert p.sha256=='s' and '150 rows' in repr(p)
    for r,im in zip(a['image_rows'], a['images']): assert (p.images[int(r)]==im).all()

def test_labels_are_found_among_the_classes_whatever_they_are(tmp_path):
    a = fake()
    names = np.array(['zebra','10','9'])   # no order that sorting would give
    a.update(classes=names, valid_labels=names[a['valid_labels']])
    p = read_preds(a_run(tmp_path/'r', **a))
    assert p.classes==['zebra','10','9'] and (~p.hits).sum()==20

class Touch:
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (str(self.path), 'w')

def damage(what, f, tmp_path):
    a = fake()
    if what=='gone': return f.unlink()
    if what=='truncated': return f.write_bytes(f.read_bytes()[:-200])
    if what=='flipped':
        b = bytearray(f.read_bytes()); b[len(b)//3] ^= 255
        return f.write_bytes(b)
    if what=='no zip': return f.write_text('hello')
    if what=='empty': return f.write_bytes(b'')
    if what=='pickle':
        o = np.empty(1, object); o[0] = Touch(tmp_path/'made')
        a['valid_labels'] = o
    if what=='bare pickle': return f.write_bytes(pickle.dumps(Touch(tmp_path/'made')))
    if what=='bomb':
        with zipfile.ZipFile(f, 'w') as z:
            z.writestr('valid_rows.npy', b'1')
            z.filelist[0].file_size = 2**31
        return
    if what=='huge header':
        b = io.BytesIO()
        np.lib.format.write_array_header_1_0(b, dict(descr='<i8', fortran_order=False, shape=(2**58,)))
        with zipfile.ZipFile(f, 'w') as z: z.writestr('valid_rows.npy', b.getvalue())
        return
    if what=='no labels': a.pop('valid_labels')
    if what=='short': a['valid_probs'] = a['valid_probs'][:-1]
    if what=='classes': a['classes'] = np.arange(4)
    if what=='twice': a['classes'] = np.array([0,1,1])
    if what=='other label': a['valid_labels'] = a['valid_labels']+1
    if what=='nan': a['valid_probs'][3,1] = np.nan
    if what=='whole numbers': a['valid_probs'] = a['valid_probs'].astype(int)
    if what=='no row': a = {k:v[:0] if k.startswith('valid') else v for k,v in a.items()}
    if what=='all trained on': a['valid_same'][:] = True
    if what=='images': a['images'] = a['images'][1:]
    if what=='float images': a['images'] = a['images'].astype(float)
    if what=='flat images': a['images'] = a['images'].reshape(20, -1)
    np.savez_compressed(f, **a)

@pytest.mark.parametrize('what',
                         ['gone','truncated','flipped','no zip','empty','pickle','bare pickle','bomb','huge header',
                          'no labels','short','classes','twice','other label',
                                  'nan','whole numbers','no row','all trained on','images',
                                  'float images','flat images'])
def test_damaged_predictions_are_one_clear_line_and_run_nothing(what, tmp_path):
    run = a_run(tmp_path/'r', **fake())
    damage(what, run/'predictions.npz', tmp_path)
    with pytest.raises(RunError,
                       match='predictions.npz.*over 1 GiB' if what=='bomb' else 'predictions.npz') as e: read_preds(run)
    assert '\n' not in str(e.value) and len(str(e.value))<400
    assert not (tmp_path/'made').exists()

@pytest.mark.parametrize('text,says',
                         [(None,'no metrics.json'), ('[1]',"no format number"), ('{"format": 2}','newer digitfast'),
                          ('{"form','read'), ('['*100_000,'read'),
                                       ('{"format": "1"}',"no format number"), (' '*2**23,'bytes')])
def test_metrics_that_are_none(text, says, tmp_path):
    if text is not None: (tmp_path/'metrics.json').write_text(text)
    with pytest.raises(RunError, match=says): read_metrics(tmp_path)

def test_what_is_no_finished_run_says_what_it_is(tmp_path):
    with pytest.raises(RunError, match='no such directory'): read_metrics(tmp_path/'gone')
    (tmp_path/'f').write_text('')
    with pytest.raises(RunError, match='it is a file'): read_metrics(tmp_path/'f')
    (tmp_path/'run'/'checkpoint').mkdir(parents=True)
    with pytest.raises(RunError, match='resume=True'): read_metrics(tmp_path/'run')

def test_predictions_of_a_learner_leave_out_trained_images_and_its_history_alone():
    from conftest import digits
    from digitfast.data.block import DigitDataLoaders
    from digitfast.learn.learner import digit_learner
    df = digits(60)
    df.iloc[50,1:] = df.iloc[2,1:].to_numpy()
    dls = DigitDataLoaders.from_df(df, valid=range(45,60), bs=16, device='cpu')
    learn = digit_learner(dls, 'stride2')
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    lrs,vals = list(learn.recorder.lrs),list(learn.recorder.values)
    p = read_preds(learn)
    assert sorted(p.rows)==[i for i in range(45,60) if i!=50] and p.probs.sum(1)==pytest.approx(1)
    assert (p.images[47].ravel()==df.iloc[47,1:].to_numpy()).all() and (p.targs==df.label[p.rows]).all()
    assert lrs==list(learn.recorder.lrs) and len(vals)==len(learn.recorder.values)==1
    learn.dls = dls.new_empty()
    with pytest.raises(DigitError, match='without validation rows'): read_preds(learn)

def test_most_confused_counts_each_way_and_breaks_ties_by_class():
    t,p = [0,0,0,1,1,2,2],[1,1,0,0,2,1,2]
    assert most_confused(t, p)==[(0,1,2), (1,0,1), (1,2,1), (2,1,1)]
    assert most_confused(t, p, ['a','b','c'], n=1)==[('a','b',2)]
    assert most_confused([1,1], [1,1])==[]

def test_worst_mistakes_come_most_confident_first_and_ties_by_the_label():
    probs = [[.9,.1,0], [0,1,0], [1,0,0], [.6,.4,0], [.99,.009,.001], [1,1e-9,0]]
    assert worst_mistakes([0,0,2,1,2,1], probs).tolist() in ([1,2,5,4,3], [2,1,5,4,3])
    assert worst_mistakes([0,0,2,1,2,1], probs)[2]==5   # as confident, but its label has some probability
    assert len(worst_mistakes([0,0,2,1,2,1], probs, 2))==2 and len(worst_mistakes([0], [[1.,0]]))==0

def test_suspicious_labels_are_those_that_another_class_beats_by_far():
    probs = [[.9,.1], [.99,.01], [.9999,.0001], [.001,.999]]
    assert suspicious_labels([1,1,1,1], probs).tolist()==[2,1]
    assert suspicious_labels([1,1,1,1], probs, times=9).tolist()==[2,1,0]
    assert suspicious_labels([0,0,0,1], probs).tolist()==[]
    assert suspicious_labels([2], [[.4,.39,.01,.2]]).tolist()==[]           # 40 times
    # as sure as label smoothing of 0.1 lets a net be
    smooth = np.full((2,10), .1/10) + .9*np.eye(10)[[3,3]]
    assert suspicious_labels([3,4], smooth).tolist()==[1]

def test_calibration():
    assert calibration([0,1,1], np.eye(2)[[0,1,1]])[0]==0                   # sure and right
    assert calibration([1,0,0], np.eye(2)[[0,1,1]])[0]==1                   # sure and wrong
    ece,df = calibration([0]*3+[1], [[.75,.25]]*4)
    assert ece==pytest.approx(0) and df.rows.tolist()==[4]
    assert calibration([0,0], [[.8,.2],[.7,.3]], 5)[1].rows.tolist()==[2]    # a bin has its upper end, as in Guo et al.
    rng = np.random.default_rng(0)
    q = rng.uniform(.5, 1, 100_000)
    y = (rng.uniform(size=len(q))>q).astype(int)
    p = np.stack([q,1-q], 1)
    assert calibration(y, p)[0]<.01 # labels drawn from the probabilities
    e,df = calibration(y, np.stack([q**.5,1-q**.5], 1))
    assert e==pytest.approx((q**.5-q).mean(), abs=.01) and df.rows.sum()==len(q)
    assert df.confidence.is_monotonic_increasing

def pair(n=100, a_wrong=(), b_wrong=(), **kw):
    def net(wrong, name):
        logged = np.zeros(n, int); logged[list(wrong)] = 1
        return Preds(np.zeros(n, int), np.eye(3)[logged], rows=np.arange(n)+7, name=name, **kw)
    return net(a_wrong, 'runs/A'),net(b_wrong, 'runs/B')

@pytest.mark.parametrize('na,nb', [(0,0), (1,0), (3,9), (9,3), (5,5), (0,12), (40,20)])
def test_mcnemars_p_is_the_exact_one(na, nb):
    v = versus(*pair(200, range(nb), range(50,50+na)))
    assert (v.a_only,v.b_only)==(na,nb) and len(v.differ)==na+nb
    pmf = binom.pmf(range(na+nb+1), na+nb, .5)
    assert v.p==pytest.approx(min(1, pmf[pmf<=pmf[na]*(1+1e-9)].sum()))

def test_the_sentence_says_who_and_whether():
    assert str(versus(*pair(100,
                            range(12))))==(
        'runs/B beats runs/A (p < 0.001): of 100 rows, only runs/B is correct on 12 and only runs/A on 0')
    assert str(versus(*pair(100, (), range(12)))).startswith('runs/A beats runs/B (p < 0.001)')
    assert str(versus(*pair(100, range(7),
                            range(20,24)))).startswith('no evidence that runs/B beats runs/A (p = 0.549)')
    assert str(versus(*pair(100, range(3),
                            range(20,23)))).startswith('no evidence that runs/B or runs/A is better (p = 1.000)')
    a,b = pair(100, range(5)); a.name = b.name = 'the net'
    assert 'B beats A' in str(versus(a, b))

def test_rows_that_both_misclassify_do_not_count():
    a,b = pair(100, range(30), range(30))
    b.probs = np.eye(3)[[2]*30+[0]*70]
    v = versus(a, b)
    assert (v.a_only,v.b_only,v.p)==(0,0,1) and len(v.differ)==30

def test_runs_are_compared_row_by_row_whatever_their_order(tmp_path):
    a,b = fake(wrong=20),fake(wrong=50)
    i = np.random.default_rng(5).permutation(200)
    want = versus(a_run(tmp_path/'a', **a), a_run(tmp_path/'b', **b))
    got = versus(tmp_path/'a', a_run(tmp_path/'c', **{k:v[i] if k.startswith('valid') else v for k,v in b.items()}))
    assert (got.a_only,got.b_only,got.p)==(want.a_only,want.b_only,want.p) and want.a_only-want.b_only==30
    assert (got.a.rows==got.b.rows).all() and set(got.b.rows[got.differ])==set(want.a.rows[want.differ])
    assert set(got.a.rows[~got.a.hits])==set(a['image_rows'])

def test_runs_are_compared_on_the_rows_that_neither_was_trained_on():
    n,rng = 300,np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    def net(rows, wrong): return Preds(y[rows], np.eye(3)[(y[rows]+np.isin(rows, wrong))%3], rows=rows,
                                       name=f'net {len(rows)}')
    a,b = net(rng.permutation(n)[:200], range(0, 300, 7)),net(rng.permutation(n)[:150], range(0, 300, 5))
    both = set(a.rows)&set(b.rows)
    v = versus(a, b)
    assert set(v.a.rows)==set(v.b.rows)==both and f'of {len(both)} rows' in v.text
    assert f'these {len(both)} rows' in v.more
    assert v.a_only==sum(r%5==0 and r%7>0 for r in both) and v.b_only==sum(r%7==0 and r%5>0 for r in both)
    w = versus(b, a)
    assert (w.a_only,w.b_only,w.p)==(v.b_only,v.a_only,v.p)

def test_repeated_images_are_compared_by_nobody():
    a,b = pair(100, range(10))
    a.same = np.arange(100)<5
    assert len(versus(a, b).a)==95 and versus(a, b).b_only==5

@pytest.mark.parametrize('na,nb', [(0,0), (3,2), (5,1), (12,4), (40,20), (300,250)])
def test_the_least_difference_is_the_least_that_shows(na, nb):
    n = 1000
    v = versus(*pair(n, range(nb), range(300,300+na)))
    d,k = max(na+nb, 6),round(v.least*n)
    assert binomtest((d-k)//2, d).pvalue<.05 and (d-k+2>d or binomtest((d-k)//2+1, d).pvalue>=.05)
    assert f'{100*v.least:.2f} points' in v.more

def test_log_loss_and_the_interval_of_its_difference():
    y,rng = np.zeros(4000, int),np.random.default_rng(0)
    def net(m):
        q = np.clip(rng.normal(m, .05, 4000), .5, .99)
        return Preds(y, np.stack([q, 1-q], 1))
    a,b,c = net(.9),net(.9),net(.85)
    assert a.log_loss==pytest.approx(-np.log(a.probs[:,0]).mean())
    assert versus(a, b).losses[:2]==pytest.approx((a.log_loss, b.log_loss))
    for o,differs in (b,False),(c,True):
        x,z,half = versus(a, o).losses
        assert (abs(z-x)>half)==differs
    assert Preds([0], [[0.,1.]]).log_loss==pytest.approx(-math.log(1e-7)) and versus(a, b).p==1

def test_holms_correction():
    from scipy.stats import false_discovery_control
    assert holm([.01,.02,.03,.04]).tolist()==pytest.approx([.04,.06,.06,.06]) and holm([]).tolist()==[]
    assert holm([.5,.9]).tolist()==[1,1]
    ps = np.random.default_rng(0).uniform(size=20)
    assert (holm(ps)>=ps).all() and (holm(ps)>=false_discovery_control(ps)-1e-12).all()

def test_holm_keeps_its_promise():
    "Among ten equally good networks, at most one set in twenty shows a winner"
    rng,found = np.random.default_rng(0),0
    for _ in range(60):
        nets = [Preds(np.zeros(400, int), np.eye(2)[(rng.uniform(size=400)<.05).astype(int)],
                      name=str(i)) for i in range(5)]
        found += (versus_table(*nets).p_holm<.05).any()
    assert found<=6

def test_a_table_of_three():
    a,b = pair(200, range(30), range(27))
    c = Preds(np.zeros(200, int), np.eye(3)[np.zeros(200, int)], rows=np.arange(200)+7, name='runs/C')
    df = versus_table(a, b, c)
    assert len(df)==3 and df.p.is_monotonic_increasing and (df.p_holm>=df.p).all() and df.rows.tolist()==[200]*3
    assert df.text[0]=='runs/C beats runs/A' and 'no evidence' in df.text[2] and df.difference[0]==pytest.approx(.15)

def test_the_rows_of_single_lie_within_those_of_quick(data):
    from digitfast.learn.recipe import recipes
    from digitfast.data.split import digit_splitter
    rows = [set(digit_splitter(r.split, r.valid_pct, r.split_seed)(data.train)[1])
            for r in (recipes['single'], recipes['quick'])]
    assert rows[0]<rows[1] and len(rows[0])==250

# ---- what a run says of itself

@pytest.mark.parametrize('n_test', [None, 0, 20, 28_000])
def test_one_place_computes_the_interval(n_test):
    p = Preds(np.zeros(100, int), np.eye(2)[(np.arange(100)<7).astype(int)], same=np.arange(100)>=90)
    m = measured(p, n_test)
    assert m['n_valid']==90 and m['accuracy']==pytest.approx(83/90)
    assert (m['accuracy_low'],m['accuracy_high'])==wilson(83, 90)
    assert (m['score_low'],m['score_high'])==(score_interval(83, 90, n_test) if n_test else (None,None))
    assert m['n_test']==(n_test or None)

# ---- labels that look wrong, and all runs

def test_doubtful_labels_name_the_row(tmp_path):
    a = fake(n=500, c=10, wrong=3, side=28, seed=4)
    bad = np.flatnonzero(a['valid_probs'].argmax(1)!=a['valid_labels'])
    for i in bad[:2]: a['valid_probs'][i] = np.where(np.arange(10)==a['valid_labels'][i], 1e-5, (1-1e-5)/9)
    run = a_run(tmp_path/'r', **a)
    df = doubtful_labels(run)
    assert sorted(df.row)==sorted(a['valid_rows'][bad[:2]]) and (df.p_label<1e-4).all()
    assert df.label.tolist()==[a['valid_labels'][a['valid_rows']==r][0] for r in df.row]
    assert (df.label!=df.predicted).all()
    np.savez_compressed(run/'oof.npz', **fake(n=900, c=10, wrong=0, seed=5))   # out of fold comes first
    assert len(doubtful_labels(run))==0 and list(doubtful_labels(run).columns)==list(df.columns)

def test_runs_below_a_folder_best_first_and_damaged_ones_named(tmp_path):
    for k,wrong in dict(a=40, b=10, c=20).items(): a_run(tmp_path/'x'/k, **fake(wrong=wrong))
    (tmp_path/'x'/'a'/'predictions.npz').write_bytes(b'oops')
    (tmp_path/'begun'/'checkpoint').mkdir(parents=True)
    a_run(tmp_path/'x'/'b'/'members'/'0', **fake())                         # not a run of its own
    (tmp_path/'link').symlink_to(tmp_path/'x')
    df = list_runs(tmp_path)
    assert [Path(o).name for o in df.run]==['b','c','begun','a'] and df.rows.tolist()[:2]==[200,200]
    assert df.accuracy.tolist()[:2]==[.95,.9]
    assert df.note.tolist()[:2]==['',''] and df.note[2]==Run(tmp_path/'begun').why_no_metrics()
    assert 'unfinished' in df.note[2] and 'predictions.npz' in df.note[3]
    assert (df.low[0],df.high[0])==wilson(190, 200) and df.log_loss[0]>0
    assert len(list_runs(tmp_path/'x'/'b'))==1 and list(list_runs(tmp_path/'x'/'c').run)==[str(tmp_path/'x'/'c')]
    with pytest.raises(RunError, match='no such folder'): list_runs(tmp_path/'nowhere')

def test_runs_on_other_rows_labels_or_data_raise_an_error(tmp_path):
    a = a_run(tmp_path/'a', **fake())
    b = fake(); b['valid_rows'] = b['valid_rows']+10_000; b['image_rows'] = b['image_rows']+10_000
    with pytest.raises(RunError, match='no common validation row'):
        versus(a, a_run(tmp_path/'none', **b))
    with pytest.raises(RunError, match='different labels'):
        versus(a, a_run(tmp_path/'seed', **fake(seed=1)))
    with pytest.raises(RunError, match='different classes'): versus(a, a_run(tmp_path/'classes', **fake(c=4)))
    b = fake(); b['valid_labels'] = b['valid_labels'][::-1]
    with pytest.raises(RunError, match='different labels|no common validation row'): versus(a, a_run(tmp_path/'b', **b))
    with pytest.raises(RunError, match='different data'): versus(a, a_run(tmp_path/'c', sha='t', **fake()))
