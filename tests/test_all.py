"What `from digitfast.all import *` brings: all of fastai's names, untouched, and digitfast's own beside them"
import importlib, pkgutil, subprocess, sys

import pytest

import digitfast

FASTAI = ['fastai.vision.all', 'fastai.tabular.all', 'fastai.text.all', 'fastai.collab']
NOT_IMPORTED = {'cli'}  # its functions are named after the command's subcommands: nobody takes them by `*`

def star(*modules):
    "The names that `from module import *` brings, the later over the earlier"
    names = {}
    for m in modules: exec(f'from {m} import *', names)
    return {k:v for k,v in names.items() if k!='__builtins__'}

def modules(): return sorted({m.name for m in pkgutil.iter_modules(digitfast.__path__)}-{'all','_modidx'}-NOT_IMPORTED)

@pytest.fixture(scope='module')
def fastai(): return star('fastai.vision.all')

@pytest.mark.parametrize('order', [('digitfast.all','fastai.vision.all'), ('fastai.vision.all','digitfast.all')])
def test_the_order_of_imports_does_not_matter(fastai, order):
    both = star(*order)
    assert not [k for k,v in fastai.items() if both[k] is not v]
    assert not [k for k,v in star('digitfast.all').items() if both[k] is not v]

def test_it_is_a_superset(fastai):
    assert not [k for k,v in fastai.items() if star('digitfast.all').get(k, None) is not v]

@pytest.mark.parametrize('module', modules())
def test_no_public_name_is_one_of_fastais(module):
    o = importlib.import_module(f'digitfast.{module}')
    theirs = star(*FASTAI)
    ours = getattr(o, '__all__', None)
    assert ours is not None, f'{module} says not which of its names are public'
    assert not [k for k in ours if k in theirs]

@pytest.mark.parametrize('name', """MixUp aug_transforms ClassificationInterpretation vision_learner resnet18 one_hot
    read_csvs find_data DigitBlock DigitDataLoaders digit_learner Recipe recipes save_net load_net archs by_hand create_model
    train ensemble compare versus predict_csv check_submission read_picture write_report submit_to_kaggle
    publish_kernel""".split())
def test_what_a_notebook_needs_is_there(name): assert name in star('digitfast.all')

@pytest.mark.parametrize('name', ['stride2','fastbook','small','mlp_30','linear1','two_layer','np_forward','conv','looks','scrub','echo'])
def test_pieces_are_reached_through_their_registries(name): assert name not in star('digitfast.all')

def test_fastais_own_resnet_still_works():
    from types import SimpleNamespace as NS
    names = star('fastai.vision.all', 'digitfast.all')
    names['dls'] = names['DigitDataLoaders'].from_df(names['read_csvs']('sample').train, valid_pct=.1, bs=16)
    exec('learn = vision_learner(dls, resnet18, pretrained=False, n_in=1)', names)
    assert names['learn'].model(names['dls'].one_batch()[0][:2]).shape==(2, 10)

CPU = "import time, {}; print(time.process_time())"
def _cpu(module):
    return min(float(subprocess.run([sys.executable, '-Wignore', '-c', CPU.format(module)], capture_output=True, text=True, check=True).stdout)
               for _ in range(2))

def test_it_costs_little_more_than_fastai():
    "The slow parts (Kaggle's client, ONNX, Gradio, Dask, Jinja) wait until they are used"
    code = "import sys, digitfast.all; print(*[o for o in 'kaggle kagglesdk onnx onnxruntime gradio distributed dask'.split() if o in sys.modules])"
    assert not subprocess.run([sys.executable, '-Wignore', '-c', code], capture_output=True, text=True, check=True).stdout.strip()
    assert _cpu('digitfast.all') < 1.25*_cpu('fastai.vision.all') + .2
