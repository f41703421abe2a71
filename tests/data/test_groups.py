"""Tests of splits by group: no group is on both sides, classes keep their shares, and groups that can't be split raise
an error"""
import numpy as np, pandas as pd, pytest
from conftest import csvs, digits
from digitfast.core import DataError
from digitfast.data.block import DigitDataLoaders
from digitfast.data.read import as_data, read_csvs
from digitfast.learn.recipe import Recipe
from digitfast.data.split import Split, digit_splitter, group_codes, held_out, unseen
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

def groups_of(n, k, seed=0): return np.random.default_rng(seed).integers(0, k, n)

def table(n=60, **kw):
    "Return digits with a text column `writer`, and the group of each row"
    g = groups_of(n, 12)
    df = digits(n, **kw)
    df.insert(1, 'writer', [f'writer {o}' for o in g])
    return df,g

@pytest.mark.parametrize('valid_pct', [.02, .1, .5, .95])
def test_no_group_is_on_both_sides(valid_pct):
    df = digits(400)
    for k in (2, 7, 25):
        g = groups_of(400, k)
        trn,val = digit_splitter(valid_pct=valid_pct, groups=g)(df)
        assert not set(g[trn])&set(g[val]) and sorted([*trn, *val])==list(range(400))
        assert len(val)/400==pytest.approx(valid_pct, abs=max(.06, 1.1/k))
        split = Split(valid_pct=valid_pct, groups=g)
        assert held_out(df, split).tolist()==sorted(val)

def test_shares_are_nested_and_classes_keep_theirs():
    "A smaller share is a part of a larger one, and the held-out rows have the classes in their shares"
    df,g = digits(2000, n_class=5),groups_of(2000, 40)
    rows = [set(held_out(df, Split(valid_pct=p, groups=g)).tolist()) for p in (.05, .1, .3)]
    assert rows[0]<rows[1]<rows[2]
    for o in rows: assert df.label.iloc[list(o)].value_counts(normalize=True).between(.15, .25).all()

def test_one_large_writer_stays_in_the_training_rows():
    g = np.r_[np.zeros(600, int), groups_of(400, 30, 1)+1]
    assert 60<=len(held_out(digits(1000), Split(groups=g)))<=140

@pytest.mark.parametrize('by', [dict(members=3), dict(folds=3)])
def test_folds_are_of_whole_groups(by):
    df,g = digits(300),groups_of(300, 20)
    split = Split(groups=g, **by)
    parts = [set(unseen(df, split, k)) for k in range(3)]
    for o in parts: assert not set(g[list(o)])&set(np.delete(g, list(o)))
    common = set.intersection(*parts)
    assert set.union(*parts)==set(range(300)) and common==set(held_out(df, split).tolist())
    assert bool(common)==('members' in by)

def test_folds_are_those_of_sklearn():
    df,g = digits(300),groups_of(300, 20)
    theirs = [o.tolist() for _,o in StratifiedGroupKFold(4, shuffle=True, random_state=42).split(df, df.label, g)]
    assert [unseen(df, Split(folds=4, groups=g), k) for k in range(4)]==theirs

def test_positions_can_be_passed_with_groups_that_stay_whole():
    df,g = digits(60),np.arange(60)//6
    assert digit_splitter([*range(6)], groups=g)(df)[1]==[*range(6)]
    with pytest.raises(DataError, match="the split cuts 1 group, such as 'b'"):
        digit_splitter([0, 1], groups=list(np.array([*'bcdefghijk'])[g]))(df)

WRONG = {'one group':([1]*60, 'all rows are in one group'), 'too few values':([1,2]*10, 'found 20 groups, expected'),
         'no group':([None, *range(29)]*2, 'no group in 2 of 60 rows, such as row 0'),
         'blank':(['', *'ab'*2]*12, 'no group in 12 of 60 rows'), 'an id':(range(60), 'has its own group'),
         'numpy nan':(np.r_[np.nan, np.arange(59)//2], 'no group in 1 of 60 rows'),
         'a table':(np.ones((60,1)), r'groups: found an array of shape \(60, 1\), expected one group for each of 60'),
         'a number':(5, 'groups: found a int, expected one group'),
         'a dict':(dict(enumerate([1,2]*30)), 'found a dict'),
         'one':([1], 'found 1 group, expected'),
         'two spellings':(['1','2','1.0']*20, "'1' and '1.0' are the same number, expected one spelling")}
@pytest.mark.parametrize('groups,why', WRONG.values(), ids=WRONG)
def test_groups_that_cannot_be_split(groups, why):
    with pytest.raises(DataError, match=why): digit_splitter(groups=groups)(digits(60))

def test_rules_that_cut_groups_raise_an_error():
    for rule in 'last','random':
        with pytest.raises(DataError, match=f"found '{rule}' with groups.*split='stratified'"):
            digit_splitter(rule, groups=np.arange(60)//6)(digits(60))

def test_fewer_groups_than_folds():
    df,g = digits(60),np.arange(60)//20
    with pytest.raises(DataError, match='3 groups to train on, expected at least one for each of 4 folds.*folds=3'):
        unseen(df, Split(folds=4, groups=g), 0)
    with pytest.raises(DataError, match="all rows of class '[012]' would be in one"):
        unseen(df, Split(folds=2, groups=df.label.to_numpy()), 0)

def test_a_class_that_one_writer_has_alone_is_never_untrained():
    "The split puts this writer into the training rows, or raises an error"
    df = digits(200, n_class=4)
    g = np.where(df.label==3, 99, groups_of(200, 9))
    for seed in range(5):
        try: trn,_ = digit_splitter(seed=seed, groups=g)(df)
        except DataError as e: assert "no row of class 3 is on the training side" in str(e)
        else: assert set(df.label.iloc[trn])=={0,1,2,3}

def test_the_class_of_a_single_row_is_named():
    df = digits(60)
    df.loc[7, 'label'] = 8
    with pytest.raises(DataError, match='^label: class 8 has a single row'): held_out(df, Split())
    df.loc[9, 'label'] = 6
    with pytest.raises(DataError, match='^label: classes 6, 8 have a single row'): held_out(df, Split())

def test_codes_number_groups_by_their_text():
    codes = group_codes(pd.Series([3, 1, 3, 1.], index=[9,8,7,6]), 4)
    assert codes.tolist()==[0,1,0,1] and group_codes(['b', 'a ', ' b', 'a'], 4).tolist()==[0,1,0,1]

def test_the_reader_keeps_the_column(tmp_path):
    "A column that could be the label is used as the groups, and not as label or pixel. test.csv may lack it"
    df,g = table()
    df = df.rename(columns=dict(label='what'))
    with pytest.raises(DataError, match='label could be'): read_csvs(csvs(tmp_path/'a', train=df, sample=False))
    for name,test in dict(without=digits(20), within=table(20)[0]).items():
        d = read_csvs(csvs(tmp_path/name, train=df, test=test.drop(columns='label'), sample=False), groups='writer')
        assert d.extra['writer'].tolist()==df.writer.tolist() and len(d.pixels)==64 and d.options==dict(groups='writer')
        assert not any('omitted' in o for o in d.notes if 'train.csv' in o)
        assert d.reading.label=='what'

def test_a_column_with_a_number_in_its_name_is_no_pixel(tmp_path):
    df,_ = table()
    df = df.rename(columns=dict(writer='pixel64'))
    with pytest.raises(DataError, match='65 pixel columns'): as_data(df)
    d = as_data(df, groups='pixel64')
    assert len(d.pixels)==64 and d.extra['pixel64'].tolist()==df['pixel64'].tolist()
    assert read_csvs(csvs(tmp_path/'a', train=df), groups='pixel64').extra.columns.tolist()==['pixel64']

def test_packed_pixels_and_tables_without_names(tmp_path):
    df,_ = table()
    packed = pd.DataFrame(dict(emotion=df.label, pixels=[' '.join(map(str, o)) for o in df.iloc[:,2:].to_numpy()],
                               writer=df.writer))
    packed.to_csv(tmp_path/'train.csv', index=False)
    d = read_csvs(tmp_path, groups='writer')
    assert d.extra.writer.tolist()==df.writer.tolist() and d.reading.label=='emotion'
    digits().to_csv(tmp_path/'train.csv', index=False, header=False)
    with pytest.raises(DataError, match="columns have no names.*Add a header"): read_csvs(tmp_path, groups='writer')

COLUMNS = dict(wrtier="unknown column 'wrtier': did you mean 'writer'", label="column 'label' has the labels",
               pixel7="'pixel7' is one of 64 pixels")
@pytest.mark.parametrize('column,why', COLUMNS.items())
def test_a_column_that_has_no_groups(column, why, tmp_path):
    with pytest.raises(DataError, match=why) as e: as_data(table()[0], groups=column)
    assert e.value.option=='groups'
    with pytest.raises(DataError, match=why): read_csvs(csvs(tmp_path/'a', train=table()[0]), groups=column)

def test_dataloaders_of_a_frame_with_writers():
    df,g = table(120)
    for groups in 'writer',g:
        frame = df if isinstance(groups, str) else df.drop(columns='writer')
        dls = DigitDataLoaders.from_df(frame, valid_pct=.2, groups=groups, bs=16, device='cpu')
        trn,val = (g[o.items.index] for o in (dls.train_ds, dls.valid_ds))
        assert not set(trn)&set(val) and len(dls.row2im.cols)==64

def test_dataloaders_of_a_frame_in_another_order():
    "Positions are positions, and a Series or an Index that contradicts them raises an error"
    df = digits(60).sample(frac=1, random_state=0)
    g = pd.Series(np.arange(60)//6)
    dls = DigitDataLoaders.from_df(df, groups=g[df.index], device='cpu', bs=16)
    trn,val = (df.index[o.items.index]//6 for o in (dls.train_ds, dls.valid_ds))
    assert not set(trn)&set(val)
    for kw,why in (dict(groups=g), 'groups: found a Series'),(dict(valid=df.index[:9]), 'valid: found an Index'):
        with pytest.raises(DataError, match=why): DigitDataLoaders.from_df(df, device='cpu', **kw)
        with pytest.raises(DataError, match=why): digit_splitter(**kw)(df)
        with pytest.raises(DataError, match=why): Recipe('stride2', bs=16).dls(df, device='cpu', **kw)
    for mask in np.arange(60)<9,[1]*9+[0]*51:
        with pytest.raises(DataError, match='as in a mask|a mask of'): digit_splitter(mask)

def test_the_specified_label_has_no_groups(tmp_path):
    df = table()[0].rename(columns={'label':'klass'})
    df.to_csv(tmp_path/'train.csv', index=False)
    for o in df,tmp_path/'train.csv':
        with pytest.raises(DataError, match="column 'klass' has the labels, expected another column for groups"):
            as_data(o, label='klass', groups='klass')

def test_a_new_writer_is_harder():
    "Rows of a writer are similar, so a nearest neighbour is more accurate on a split of rows than on a split of groups"
    rng = np.random.default_rng(0)
    g,y = np.repeat(np.arange(30), 20),np.tile(np.arange(2), 300)
    x = np.c_[3*rng.normal(size=(30, 2, 5))[g, y]] + rng.normal(size=(600, 5))
    df = pd.DataFrame(x).assign(label=y)
    def accuracy(**kw): return cross_val_score(KNeighborsClassifier(1), x, y, cv=[digit_splitter(**kw)(df)])[0]
    assert accuracy()>accuracy(groups=g)+.2
