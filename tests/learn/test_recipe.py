"Tests of `Recipe`: checks of fields, misspelled names, variation of members, held-out rows, and from-scratch loops"
import math, pickle
from dataclasses import asdict, fields, replace
import numpy as np, pytest, torch
from torch import nn
from digitfast.core import DataError, DigitError
from digitfast.data.split import digit_splitter
from digitfast.learn.recipe import HandRecipe, Recipe, get_recipe, parse_fields, recipes
from digitfast.tasks.train import train
from conftest import TINY, digits

def refused(f, *says):
    with pytest.raises(DigitError) as e: f()
    msg = str(e.value)
    assert '\n' not in msg and len(msg)<500, msg
    for o in says: assert o in msg, (o, msg)

# ---- fields

ODD = [None, 'x', True, -1, .5, math.nan, math.inf, [], {}, (), b'', 10**30, np.array([1,2])]
SHARE = [*ODD[:4], *ODD[5:]]               # .5 is a share
RATE = [*ODD[:4], *ODD[5:11], ODD[12]]      # and any number is a rate
WRONG = dict(
    arch=[None, 1, '', [], {}, nn.Linear(1, 1)], arch_kwargs=[None, 1, 'x', [], dict(nope=1)],
    split=ODD, valid_pct=[*SHARE, 0, 1, 1.5],
    split_seed=[*ODD, 2**32], shuffle=[None, 'x', 1, 0, []], normalize=[None, 'yes', 1],
    bs=[*ODD, 0], loss=ODD, class_weights=[*ODD[1:], {0:-1}, {0:'x'}, {0:math.nan}],
    smooth=[*SHARE, 1], opt=ODD, lr=[*RATE, 0, 'Auto'], sched=ODD, wd=RATE, images=[*ODD, 0],
    epochs=[*ODD[1:], 0], ema=[*SHARE, 1, 2], tta=[*ODD, 9], precision=[*ODD, 'fp8', 'auto'], valid_every=[*ODD, 0],
    affine=[None, 1, 'x', [], dict(nope=1), dict(shift=-1), dict(rotate='x'), dict(zoom=1)],
    members=[*ODD, 0], folds=[*ODD[1:], 0, 1], source=[None, 1], reported=[None, .5],
    vary=[None, 1, 'x', (1,), ('ab',), (dict(nope=1),), (dict(bs=0),), (dict(members=2),), (dict(split='last'),)])

def test_no_field_lacks_values_to_test(): assert WRONG.keys()=={o.name for o in fields(Recipe)}

@pytest.mark.parametrize('field,value', [pytest.param(k, v, id=f'{k}-{i}')
                                         for k,vs in WRONG.items() for i,v in enumerate(vs)])
def test_a_wrong_value_raises_an_error_with_the_field_s_name(field, value):
    refused(lambda: Recipe(**{field:value}), dict(arch='arch', opt='opt', vary='').get(field, field))

@pytest.mark.parametrize('field,value', [('lr','auto'), ('epochs',None), ('folds',5), ('wd',0), ('tta',8),
                                         ('vary',[dict(smooth=.1)]), ('arch',lambda n,side: None)])
def test_a_right_value_is_taken(field, value):
    if not callable(value): assert Recipe(**{field:value}).settings()[field]==value
    else: assert Recipe(**{field:value}).settings()[field]=='<lambda>'

def test_numbers_of_numpy_become_python_s_own():
    r = Recipe(bs=np.int32(7), lr=np.float32(.5), members=np.int64(3))
    assert (r.bs,r.lr,r.members)==(7,.5,3) and {type(o) for o in (r.bs,r.members)}=={int} and type(r.lr) is float

@pytest.mark.parametrize('name', recipes)
def test_a_recipe_comes_back_from_a_pickle(name): assert pickle.loads(pickle.dumps(recipes[name]))==recipes[name]

@pytest.mark.parametrize('word,near', [('epoch','epochs'), ('batch_size',''), ('learning_rate',''), ('smoth','smooth'),
                                       ('valid_pc','valid_pct')])
def test_an_unknown_field_is_answered_with_the_nearest(word, near):
    for f in (lambda: Recipe(**{word:1}), lambda: replace(Recipe(), **{word:1}), lambda: train('sample', **{word:1}),
              lambda: parse_fields([f'{word}=1'])):
        refused(f, word, f"did you mean '{near}'" if near else 'Use one of arch')

@pytest.mark.parametrize('f,near', [
    (lambda: get_recipe('quik'), 'quick'),
    (lambda: Recipe(arch='smal'), 'small'),
    (lambda: Recipe(split='lats'), 'last'),
    (lambda: Recipe(opt='adanw'), 'adamw'),
    (lambda: Recipe(affine=dict(rotat=1)), 'rotate')])
def test_a_mistyped_name_is_answered_with_the_nearest(f, near): refused(f, f"did you mean '{near}'?")

@pytest.mark.parametrize('words,says', [(['epochs'],'FIELD=VALUE'), (['epochs=1','epochs=2'],'twice'),
                                        (['=1'],'field'), ([''],'FIELD=VALUE')])
def test_words_that_set_nothing(words, says): refused(lambda: parse_fields(words), says)

@pytest.mark.parametrize('word,value', [
    ('lr=1e-3', 1e-3), ('lr=auto', 'auto'), ('shuffle=FALSE', False), ('epochs=None', None), ('source=a=b', 'a=b'),
    ("arch_kwargs={'ps':.1}", dict(ps=.1)), ('source=__import__("os")', '__import__("os")'), ('bs='+'('*200, '('*200)])
def test_words_that_set_a_field(word, value): assert parse_fields([word])=={word.partition('=')[0]:value}

# ---- what members vary

def test_an_option_that_a_member_would_override_raises_an_error(in_tmp):
    for kw in dict(arch='stride2'), dict(arch_kwargs=dict(ps=.1)):
        refused(lambda: train('sample', 'ensemble', out='r', **kw), next(iter(kw)), 'member 1', 'vary=()')
    assert not list(in_tmp.iterdir())
    r = get_recipe('ensemble')
    assert r.but(arch='stride2', vary=()).member(1).arch=='stride2' and r.but(epochs=1).member(1).epochs==1
    refused(lambda: get_recipe('quick').but(members=2, folds=3), '3 folds')

# ---- rows held out

@pytest.mark.parametrize('split', ['stratified','random','last'])
@pytest.mark.parametrize('n,n_class', [(60,3), (997,7), (5000,10)])
def test_a_smaller_share_lies_within_a_larger_one(split, n, n_class):
    df,last = digits(n, n_class=n_class),set()
    for p in (.04, .05, .1, .15, .2, .333, .5, .8):
        try: rows = Recipe(split=split, valid_pct=p).held_out(df).tolist()
        except DataError: continue      # a share that leaves a class out
        assert last<=set(rows) and len(rows)==len(set(rows)) and abs(len(rows)-p*n)<=1, p
        last = set(rows)
    assert len(last)>=.5*n

def test_single_holds_out_some_of_quick_s_rows(data):
    a,b = (set(get_recipe(k).held_out(data.train).tolist()) for k in ('single','quick'))
    assert a<b and len(a)==250 and b==set(digit_splitter('stratified', .1, 42)(data.train)[1])
    dls = get_recipe('single').dls(data.train, device='cpu')
    assert set(dls.valid_ds.items.index)==a and not a&set(dls.train_ds.items.index)

def test_each_class_has_its_share():
    df = digits(1000, n_class=5)
    for p in (.03, .05, .3): assert set(df.label.iloc[Recipe(valid_pct=p).held_out(df)].value_counts())=={round(p*200)}

@pytest.mark.parametrize('n,n_class,kw', [(3000,3000,{}), (3000,3000,dict(valid_pct=.3)), (3000,1500,{}),
                                          (30,3,dict(valid_pct=.01)), (3000,3000,dict(folds=2))])
def test_too_few_rows_raise_our_own_error(n, n_class, kw):
    "The message of scikit-learn would list 3,000 classes"
    df = digits(n, side=8, n_class=n_class)
    refused(lambda: Recipe(arch='stride2', **kw).dls(df, 0 if 'folds' in kw else None, device='cpu'), 'class')
    with pytest.raises(DataError) as e: Recipe(arch='stride2', **kw).dls(df, 0 if 'folds' in kw else None, device='cpu')
    assert len(str(e.value))<300 and 'least populated' not in str(e.value)

def test_folds_are_each_row_once():
    df = digits(90)
    r = Recipe(folds=5)
    rows = [r.unseen(df, k) for k in range(5)]
    assert sorted(sum(rows, []))==list(range(90)) and {len(o) for o in rows}=={18} and not len(r.held_out(df))

@pytest.mark.parametrize('split', ['stratified','last'])
def test_dropped_rows_are_not_trained_on_and_held_out_ones_stay(split):
    df = digits(100)
    r = Recipe('stride2', split=split, bs=16, valid_pct=.2)
    val,drop = set(r.held_out(df).tolist()),set(range(0, 100, 7))
    dls = r.dls(df, drop=sorted(drop), device='cpu')
    assert set(dls.valid_ds.items.index)==val and set(dls.train_ds.items.index)==set(range(100))-val-drop and val&drop
    for o in dls.train_ds.items,dls.valid_ds.items: assert (o.to_numpy()==df.iloc[o.index].to_numpy()).all()
    assert [int(y) for _,y in dls.valid_ds]==df.label.iloc[dls.valid_ds.items.index].tolist()

# ---- from-scratch systems

@pytest.mark.parametrize('name', [k for k,r in recipes.items() if isinstance(r, HandRecipe)])
def test_what_means_nothing_to_a_loop_from_scratch_raises_an_error(name):
    odd = dict(wd=.1, smooth=.1, ema=.9, sched='one_cycle', opt='adam', affine=dict(shift=1), lr='auto', arch='small')
    for k,v in odd.items():
        refused(lambda: replace(recipes[name], **{k:v}), *([k] if k!='arch' else ['scratch', v, name]))

def test_numpy_s_rate_can_be_chosen(tiny, tmp_path):
    "Its batch size can't be chosen, because it has none"
    a,b = (train(tiny, 'numpy', tmp_path/str(lr), lr=lr, epochs=3, say=lambda o: None) for lr in (.1,.2))
    assert (a/'history.csv').read_text().split('\n')[2]!=(b/'history.csv').read_text().split('\n')[2]
    refused(lambda: train(tiny, 'numpy', tmp_path/'c', bs=8), 'bs', 'numpy')

def test_nets_that_do_not_fit_their_arguments(tiny, tmp_path):
    def odd(n): return nn.Linear(1, n)
    def breaks(n, side): raise ValueError('two\nlines')
    for arch in odd,breaks: refused(lambda: train(tiny, arch=arch, out=tmp_path/'r'), arch.__name__)
    assert not (tmp_path/'r').exists()

@pytest.mark.parametrize('side', [8,10,12,16,20,24,28,32,48,64])
@pytest.mark.parametrize('name,member', [('quick',None), ('single',None), ('ensemble',0), ('ensemble',1)])
def test_any_side(name, member, side):
    "The recipes have a network for images of each side, and small images are shifted less"
    df,recipe = digits(60, side=side),get_recipe(name)
    if member is not None: recipe = recipe.member(member)
    dls = recipe.dls(df, bs=8)
    learn = recipe.learner(dls)
    x,y = dls.one_batch()
    assert learn.model(x).shape==(8,3) and x.shape[-1]==side
    assert recipe.affine_at(side)['shift']==recipe.affine['shift']*(side/28 if side<20 else 1)

@pytest.mark.parametrize('kw,says', [({}, 'folds'), (dict(split='random'), 'folds'), (dict(split='last'), 'folds'),
                                     (dict(folds=5), 'folds=3 or fewer')])
def test_a_class_of_few_rows_is_sent_to_folds(kw, says):
    df = digits(300)
    df = df[(df.label!=2)|(df.index<9)].reset_index(drop=True)
    recipe = Recipe('stride2', **kw)
    with pytest.raises(DataError, match=says): recipe.dls(df, 0 if 'folds' in kw else None, device='cpu')
    assert len(Recipe('stride2', folds=3).dls(df, 0, device='cpu').vocab)==3
