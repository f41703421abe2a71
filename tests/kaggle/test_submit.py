"Tests from probabilities to a submission: order, control rows, ids, and the errors of `check_submission`"
import os
from dataclasses import replace
import numpy as np, pandas as pd, pytest, torch
import fastai.callback.schedule   # fit_one_cycle
from hypothesis import HealthCheck, given, settings, strategies as st
from digitfast.core import DataError, RunError
from digitfast.data.frames import DigitData
from digitfast.data.read import read_csvs
from digitfast.data.block import DigitDataLoaders
from digitfast.learn.learner import digit_learner, seed_all
from digitfast.learn.predict import check_canary, predict_rows, predict_test
from digitfast.learn.predict import ShiftTTA
from digitfast.kaggle.submission import check_submission, save_submission, submission
from conftest import csvs, digits

@pytest.fixture(scope='module')
def trained():
    seed_all(0)
    dls = DigitDataLoaders.from_df(digits(300), bs=16, device='cpu')
    seed_all(0, dls)
    learn = digit_learner(dls, 'fastbook')
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, .01)
    return learn

TEST = digits(40, seed=7)
def pixels(df=TEST): return df.drop(columns='label')

# ---- predictions

def test_predict_rows_of_validation_and_of_a_frame_agree(trained):
    valid = trained.dls.valid_ds.items
    probs = predict_rows(trained)
    assert probs.dtype==np.float32 and probs.shape==(60,3) and np.allclose(probs.sum(1), 1, atol=1e-5)
    assert np.allclose(predict_rows(trained, valid.drop(columns='label')), probs, atol=1e-4)
    assert (probs.argmax(1)==valid.label).mean()>.9

def test_predict_rows_is_silent_and_repeatable(trained, capsys):
    a = predict_rows(trained, pixels())
    assert np.array_equal(a, predict_rows(trained, pixels()))
    out = capsys.readouterr()
    assert out.out==out.err==''

def test_tta_averages_the_moved_copies(trained):
    from digitfast.models.nets import shifts
    plain,tta = predict_rows(trained, pixels()),predict_rows(trained, pixels(), tta=1)
    x = next(iter(trained.dls.test_dl(pixels())))[0]
    with torch.no_grad(): want = torch.stack([trained.model.eval()(torch.Tensor(v)).softmax(1) for v in shifts(x,
        1)]).mean(0)
    assert np.allclose(tta, want, atol=1e-4) and not np.allclose(plain, tta, atol=1e-3) and np.allclose(tta.sum(1), 1,
        atol=1e-4)
    assert np.allclose(predict_rows(trained, tta=1), predict_rows(trained, trained.dls.valid_ds.items, tta=1),
        atol=1e-4)

# ---- control rows

def test_control_rows_match(trained):
    valid = predict_rows(trained)
    probs,n = predict_test(trained, pixels(), valid)
    # without the control rows
    assert n==60 and np.allclose(probs, predict_rows(trained, pixels()), atol=1e-4)
    assert predict_test(trained, pixels(), valid, n=7)[1]==7 and len(predict_test(trained, pixels()[:1], valid)[0])==1
    tta = predict_rows(trained, tta=1)
    assert np.allclose(predict_test(trained, pixels(), tta, tta=1)[0], predict_rows(trained, pixels(), tta=1),
        atol=1e-4)

@pytest.mark.parametrize('tta', [0,1])
def test_control_rows_are_predicted_like_test_rows(trained, tta):
    "Without probabilities, the validation rows are predicted with the same shifts"
    probs,n = predict_test(trained, pixels(), tta=tta)
    assert n==60 and np.allclose(probs, predict_rows(trained, pixels(), tta=tta), atol=1e-4)

@pytest.mark.parametrize('tta,given', [(1,0), (0,1)])
def test_probabilities_made_otherwise_are_named_as_the_cause(trained, tta, given):
    "The error does not blame the test rows"
    with pytest.raises(RunError, match=rf'predict_rows\(learn, tta={tta}\)') as e:
        predict_test(trained, pixels(), predict_rows(trained, tta=given), tta=tta)
    assert 'not read like' not in str(e.value) and 'No submission' in str(e.value)

def test_a_wrong_test_path_is_named_as_the_cause(trained, monkeypatch):
    monkeypatch.setattr(DigitDataLoaders, 'test_dl', lambda self, df, old=DigitDataLoaders.test_dl,
        **kw: old(self, 255-df, **kw))
    for valid in None, predict_rows(trained):
        with pytest.raises(RunError, match='control rows do not match.*not read like'):
            predict_test(trained, pixels(), valid)

WRONG = dict(transposed=lambda df: df.iloc[:, np.arange(64).reshape(8,8).T.ravel()].set_axis(df.columns, axis=1),
    scaled=lambda df: (df//255).astype(np.uint8), halved=lambda df: df//2,
    inverted=lambda df: 255-df, shuffled=lambda df: df.iloc[np.random.default_rng(0).permutation(len(df))],
    reversed=lambda df: df.iloc[::-1], rolled=lambda df: df.iloc[np.roll(np.arange(len(df)), 1)],
    columns=lambda df: df.iloc[:,::-1].set_axis(df.columns, axis=1),
    frame=lambda df: digits(len(df), seed=3).drop(columns='label'), shorter=lambda df: df.iloc[1:],
    longer=lambda df: pd.concat([df, df.iloc[-1:]]),
    twice=lambda df: pd.concat([df, df]), blank=lambda df: df*0)
@pytest.mark.parametrize('name', WRONG)
def test_control_rows_differ(name, trained, monkeypatch):
    "Each mistake that a test path could make is made on purpose in `test_dl`, which only the test path uses"
    valid,old = predict_rows(trained),DigitDataLoaders.test_dl
    monkeypatch.setattr(DigitDataLoaders, 'test_dl', lambda self, df, **kw: old(self, WRONG[name](df), **kw))
    with pytest.raises(RunError, match='[Nn]o submission') as e: predict_test(trained, pixels(), valid)
    assert '\n' not in str(e.value)

def test_control_rows_differ_for_another_net_or_nonsense(trained):
    valid = predict_rows(trained)
    other = digit_learner(trained.dls, 'fastbook')
    with pytest.raises(RunError, match='control rows'): predict_test(other, pixels(), valid)
    with pytest.raises(RunError, match='control rows'): predict_test(trained, pixels(), np.full_like(valid, np.nan))
    with pytest.raises(RunError, match='control rows'): predict_test(trained, pixels(), valid[::-1].copy())
    with pytest.raises(RunError, match='control rows'): predict_test(trained, pixels(), valid[:,[1,0,2]])

def test_check_control_rows():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)
    check_canary(p, p)
    check_canary(p+.001, p)
    for q in p[::-1], p[:49], p[:,:2], p*0, p*np.nan, p+.05:
        with pytest.raises(RunError, match='control rows'): check_canary(q, p)
    q = p.copy()
    q[31] = np.roll(q[31], 1)
    with pytest.raises(RunError, match='1 of 50.*number 31'): check_canary(q, p)
    with pytest.raises(RunError): check_canary(p[:0], p[:0])   # no rows prove nothing

# ---- alignment

def data(n=4, sample=('ImageId','Label'), ids=None, sample_ids=None, labels=(0,1,2), test=True):
    s = None if sample is None else pd.DataFrame({sample[0]: range(1, n+1) if sample_ids is None else sample_ids,
        sample[1]: 0})
    return DigitData(pd.DataFrame(dict(label=labels, pixel0=0)), pixels()[:n] if test else None, s,
        None if ids is None else pd.Series(ids, name='id'), 'made up', '0'*64)

def test_submission_is_1_to_n_in_row_order():
    assert submission([2,0,1,1], data()).to_csv(index=False).split()==['ImageId,Label','1,2','2,0','3,1','4,1']
    assert submission([2,0,1,1], data(sample=None)).to_csv(index=False).split()==['ImageId,Label','1,2','2,0','3,1',
        '4,1']

def test_submission_takes_names_from_the_sample():
    assert list(submission([2,0,1,1], data(sample=('id','label'))).columns)==['id','label']
    assert list(submission([2,0,1,1], data(sample=None, ids=[7,8,9,3])).columns)==['id','label']

@pytest.mark.parametrize('ids,sample_ids', [([0,1,2,3],[0,1,2,3]), ([3,1,0,2],[0,1,2,3]), ([0,1,2,3],[3,1,0,2]),
    (['b','d','a','c'],['a','b','c','d'])])
def test_submission_is_aligned_by_id_in_the_samples_order(ids, sample_ids):
    df = submission([2,0,1,1], data(sample=('id','label'), ids=ids, sample_ids=sample_ids))
    assert df.id.tolist()==list(sample_ids) and dict(zip(df.id, df.label))==dict(zip(ids, [2,0,1,1]))

def test_submission_of_text_classes(tmp_path):
    d = data(labels=('ka','ki','ku'), sample=('id','label'))
    f = save_submission(submission(np.array(['ka','ki','ku'])[[2,0,1,1]], d), tmp_path/'s.csv', d)
    assert f.read_text()=='id,label\n1,ku\n2,ka\n3,ki\n4,ki\n'

@pytest.mark.parametrize('kw,n', [(dict(sample_ids=[1,2,3,5], ids=[1,2,3,4]),4), (dict(),3), (dict(),5),
    (dict(ids=[1,2,3,4]),3), (dict(sample=None, ids=[1,2,3,4]),5)])
def test_submission_refused_where_ids_do_not_belong(kw, n):
    with pytest.raises(DataError): submission([0]*n, data(**kw))

def test_save_submission_checks_first(tmp_path):
    d = data()
    good = submission([2,0,1,1], d)
    f = save_submission(good, tmp_path/'s.csv', d)
    assert f.read_bytes()==b'ImageId,Label\n1,2\n2,0\n3,1\n4,1\n'
    renamed = good.rename(columns=dict(Label='label'))
    for bad in good.iloc[:3], good.assign(Label=7), good.assign(ImageId=1), renamed, good.reset_index(), good.iloc[:0]:
        with pytest.raises(DataError): save_submission(bad, tmp_path/'s.csv', d)
        assert f.read_bytes()==b'ImageId,Label\n1,2\n2,0\n3,1\n4,1\n'

# ---- check

GOOD = 'ImageId,Label\n1,2\n2,0\n3,1\n4,1\n'
@pytest.fixture
def put(tmp_path):
    def _put(text):
        f = tmp_path/'s.csv'
        f.write_bytes(text if isinstance(text, bytes) else text.encode())
        return f
    return _put

@pytest.mark.parametrize('text', [GOOD, GOOD.rstrip(), GOOD.replace('\n','\r\n'), '\ufeff'+GOOD,
    GOOD.replace('1,2','"1","2"'), GOOD+'\n\n', 'ImageId,Label\n4,1\n2,0\n1,2\n3,1\n'],
    ids='plain unended crlf bom quoted blanks order'.split())
def test_check_takes(text, put):
    res = check_submission(put(text), data())
    assert res['rows']==4 and res['columns']==['ImageId','Label'] and res['labels']=={'0':1,'1':2,
        '2':1} and res['against']=='made up'
    assert check_submission(put(text))['against'] is None

BAD = dict(empty=('', 'empty'), blank=('\n\n', 'empty'), spaces=('   ', 'line 1'),
    header=('ImageId,Label\n', 'only a header'), noheader=('1,2\n2,0\n3,1\n4,1\n', 'header'),
    names=(GOOD.replace('Label','label'), 'expected ImageId,Label'),
    swapped=(GOOD.replace('ImageId,Label','Label,ImageId'), 'expected ImageId,Label'),
    index=(',ImageId,Label\n0,1,2\n', '3 columns'), one=('Label\n2\n0\n1\n1\n', '1 column,'),
    semicolon=(GOOD.replace(',',';'), '1 column,'), tab=(GOOD.replace(',','\t'), '1 column,'),
    missing=(GOOD.replace('3,1\n',''), 'found no row for 1 of 4 ids'),
    short=('ImageId,Label\n1,2\n', 'found no row for 3 of 4 ids'), extra=(GOOD+'5,1\n', "line 6: found id '5'"),
    repeated=(GOOD+'2,0\n', "line 6: found id '2' again"), zero=(GOOD.replace('1,2','0,2'), "id '0'"),
    fields=(GOOD.replace('3,1','3,1,1'), 'line 4: found 3 fields'),
    few=(GOOD.replace('3,1','3'), 'line 4: found 1 field,'),
    blanklabel=(GOOD.replace('3,1','3,'), "line 4: found label ''"), label=(GOOD.replace('3,1','3,7'), "line 4: found "
                                                                                                       "label '7'"),
    floats=(GOOD.replace('3,1','3,1.0'), "line 4: found label '1.0'"),
    nan=(GOOD.replace('3,1','3,nan'), "line 4: found label 'nan'"),
    minus=(GOOD.replace('3,1','3,-1'), "label '-1'"), floatid=(GOOD.replace('3,1','3.0,1'), "id '3.0'"),
    spaceid=(GOOD.replace('3,1',' 3,1'), "id ' 3'"), blankid=(GOOD.replace('3,1',',1'), "found the id ''"),
    probs=('ImageId,0,1,2\n1,.1,.2,.7\n', '4 columns'), utf16=(GOOD.encode('utf-16'), 'UTF-8'),
    latin=(b'ImageId,Label\n1,\xe9\n', 'UTF-8'), nul=(GOOD+'\0', 'NUL'), zipped=(b'PK\x03\x04\xff\xfe', 'UTF-8'),
    text=('hello', 'line 1'), html=('<html><body>no</body></html>', 'line 1'), quote=(GOOD+'"5,1\n', 'line'),
    huge=('ImageId,Label\n1,'+'9'*200_000, None), longid=('ImageId,Label\n'+'1'*100_000+',1\n', None),
    esc=('ImageId,Label\n\x1b[31m,1\n', None))
@pytest.mark.parametrize('name', BAD)
def test_check_refuses(name, put):
    text,says = BAD[name]
    with pytest.raises(DataError) as e: check_submission(put(text), data())
    msg = str(e.value)
    assert msg.isprintable() and len(msg)<400 and 's.csv' in msg and (says is None or says in msg), msg

FORM = dict(empty='', header='a,b\n', noheader='1,2\n2,0\n', one='Label\n2\n', fields='a,b\n1,2,3\n',
    repeated='a,b\n1,2\n1,3\n', blank='a,b\n1,\n', blankid='a,b\n,1\n')
@pytest.mark.parametrize('name', FORM)
def test_check_of_the_form_alone_refuses(name, put):
    with pytest.raises(DataError): check_submission(put(FORM[name]))

def test_check_against_ids_of_the_test_set(put):
    d = data(sample=None, ids=['x','y','z','w'])
    assert check_submission(put('id,label\nw,0\nx,1\ny,2\nz,2\n'), d)['rows']==4
    with pytest.raises(DataError, match="id '1'"): check_submission(put('id,label\n1,0\nx,1\ny,2\nz,2\n'), d)

def test_check_paths(tmp_path, tiny, put):
    for p in tmp_path/'none.csv', tmp_path:
        with pytest.raises(DataError, match='expected a CSV'): check_submission(p)
    os.mkfifo(tmp_path/'pipe')
    for p in tmp_path/'pipe', '/dev/zero':   # which have no end
        with pytest.raises(DataError, match="it is not a regular file"): check_submission(p)
    f = put('ImageId,Label\n'+''.join(f'{i},{i%3}\n' for i in range(1,21)))
    assert check_submission(f, tiny)['rows']==20 and check_submission(str(f), str(tiny))['against']=='tiny'
    with pytest.raises(DataError, match='no such'): check_submission(f, tmp_path/'nowhere')

def test_check_of_a_set_without_tests(put):
    "With training rows only, labels are checked and ids are not"
    d = data(sample=None, test=False)
    assert check_submission(put('a,b\n5,0\n9,2\n'), d)['rows']==2
    with pytest.raises(DataError, match="label '7'"): check_submission(put('a,b\n5,7\n'), d)

# ---- files of the right form that are no predictions

def labelled(n_test, labels):
    "Return data with `n_test` test rows and the `labels` in the training rows"
    return replace(data(4), train=pd.DataFrame(dict(label=labels, pixel0=0)), test=digits(n_test).drop(columns='label'),
                   sample=pd.DataFrame(dict(ImageId=range(1, n_test+1), Label=0)))

def file_of(ids, labels): return 'ImageId,Label\n'+''.join(f'{i},{l}\n' for i,l in zip(ids, labels))

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, 500)
IDS = range(1, 101)
SHUFFLED = RNG.permutation(100)
NO_PREDICTIONS = dict(
    first=(LABELS[:100], 'training rows 1 to 100'),
    validation=(LABELS[400:], 'training rows 401 to 500'),
    somewhere=(LABELS[37:137], 'training rows 38 to 137'),
    constant=([7]*100, 'every label is 7'),
    sample=([0]*100, "those of sample_submission.csv"))

@pytest.mark.parametrize('name', NO_PREDICTIONS)
@pytest.mark.parametrize('order', ['file','shuffled'])
def test_check_warns_of_labels_that_are_no_predictions(name, order, put):
    labels,says = NO_PREDICTIONS[name]
    rows = list(zip(IDS, labels))
    if order=='shuffled': rows = [rows[i] for i in SHUFFLED]
    res = check_submission(put(file_of(*zip(*rows))), labelled(100, LABELS))
    assert says in ' '.join(res['warnings']) and all(o.isprintable() for o in res['warnings'])

def test_labels_in_the_files_own_order_are_known_too(put):
    "The labels are written below ids in another order"
    res = check_submission(put(file_of(SHUFFLED+1, LABELS[:100])), labelled(100, LABELS))
    assert 'training rows 1 to 100' in res['warnings'][0]

def test_a_sample_submission_with_other_labels(put):
    d = labelled(100, LABELS)
    d = replace(d, sample=d.sample.assign(Label=LABELS[::-1][:100]))
    assert "placeholders" in check_submission(put(file_of(IDS, LABELS[::-1][:100])), d)['warnings'][0]

def test_more_test_rows_than_training_rows(put):
    res = check_submission(put(file_of(IDS, [*LABELS[:60], *LABELS[:40]])), labelled(100, LABELS[:60]))
    assert 'training rows 1 to 60' in res['warnings'][0]

@pytest.mark.parametrize('classes', [list('abcdefghij'), [f'{i:03}' for i in range(10)], ['ka\x1b[31m', *'bcdefghij']],
    ids=['letters','zeros','escape'])
def test_classes_that_are_no_digits(classes, put):
    labels = [classes[i] for i in LABELS]
    d = labelled(100, labels)
    d = replace(d, sample=d.sample.assign(Label=classes[0]))
    assert 'training rows' in check_submission(put(file_of(IDS, labels[:100])), d)['warnings'][0]
    constant = check_submission(put(file_of(IDS, classes[:1]*100)), d)['warnings']
    assert constant and all(o.isprintable() for o in constant)

@pytest.mark.parametrize('n', [1,2,3,5,10,100])
def test_no_warning_for_predictions(n, put):
    "In a large file a few labels are frequent by chance, so they give no warning"
    rng = np.random.default_rng(1)
    for _ in range(20):
        labels = rng.integers(1, 10, n)
        first = np.array_equal(labels, LABELS[:n])
        res = check_submission(put(file_of(range(1, n+1), labels)), labelled(n, LABELS))
        assert not res['warnings'] or n>1 and (len(set(labels))==1 or first), (labels, res['warnings'])

@pytest.mark.parametrize('n,says', [(1,False), (2,True), (3,True)])
def test_the_first_training_labels_are_known_from_two_on(n, says, put):
    first = [k for k in range(10) if k!=LABELS[0]]
    labels = [LABELS[0], *first[:2]]
    res = check_submission(put(file_of(range(1, n+1), labels[:n])), labelled(n, [*labels, *LABELS]))
    assert any('training rows 1' in o for o in res['warnings'])==says

@pytest.mark.parametrize('n,says', [(1,False), (2,True)])
def test_a_constant_is_reported_from_two_on(n, says, put):
    res = check_submission(put(file_of(range(1, n+1), [3]*n)), labelled(n, [*range(3), *LABELS]))
    assert any('every label is 3' in o for o in res['warnings'])==says

def test_without_data_a_constant_is_all_that_can_be_seen(put):
    assert 'every label is 3' in check_submission(put(file_of(IDS, [3]*100)))['warnings'][0]
    assert check_submission(put(file_of(IDS, LABELS[:100])))['warnings']==[]

def test_check_is_quick(put, data=None):
    import time
    text = 'ImageId,Label\n'+''.join(f'{i},{i%3}\n' for i in range(200_000))
    t = time.process_time()
    assert check_submission(put(text))['rows']==200_000 and time.process_time()-t<5

SMALL = ('ImageId,Label\n'+''.join(f'{i},{i%3}\n' for i in range(1,5))).encode()
@st.composite
def mutated(draw):
    "Return a good submission with some bytes changed, inserted, removed or repeated"
    b = bytearray(SMALL)
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(b)))
        k = draw(st.integers(0, 3))
        if k==0: b[i:i+1] = bytes([draw(st.integers(0, 255))])
        elif k==1: b[i:i] = draw(st.sampled_from([b',', b'\n', b'"', b'\0', b'\r', b'1', b'-', b' ', b'\xff', b'2,1\n',
            '\u0663'.encode(), '\ufeff'.encode()]))
        elif k==2: del b[i:i+draw(st.integers(1, 6))]
        else: b[i:i] = b[:draw(st.integers(0, len(b)))]
    return bytes(b)

@pytest.mark.parametrize('n', [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_check_of_any_bytes_says_yes_rightly_or_no_in_one_line(n, tmp_path, record_property):
    record_property('cases', n)
    f,d = tmp_path/'s.csv',data()
    @settings(max_examples=n, deadline=None, database=None, derandomize=n<1000, suppress_health_check=list(HealthCheck))
    @given(st.one_of(mutated(), st.binary(max_size=60)))
    def check(b):
        f.write_bytes(b)
        try: res = check_submission(f, d)
        except DataError as e:
            assert str(e).isprintable() and len(str(e))<400
            return
        df = pd.read_csv(f, dtype=str, skip_blank_lines=True, encoding='utf-8-sig')   # as Kaggle reads it
        assert res['rows']==len(df)==4 and list(df.columns)==['ImageId','Label'] and sorted(df.ImageId)==['1','2','3',
            '4'] and set(df.Label)<={'0','1','2'}
    check()
