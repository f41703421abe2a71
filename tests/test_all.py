"Tests of `from digitfast.all import *`: all of fastai's names, unchanged, and digitfast's own names"
import importlib, pkgutil, subprocess, sys

import pytest

import digitfast

FASTAI = ['fastai.vision.all', 'fastai.tabular.all', 'fastai.text.all', 'fastai.collab']
NOT_IMPORTED = {'cli', '__main__'}  # the command: its functions are named after subcommands, and nobody imports them

def star(*modules):
    "Return the names that `from module import *` imports"
    names = {}
    for m in modules: exec(f'from {m} import *', names)
    return {k:v for k,v in names.items() if k!='__builtins__'}

def modules():
    "Return the names of the package's modules, including those in its folders"
    found = [m.name for m in pkgutil.walk_packages(digitfast.__path__, 'digitfast.') if not m.ispkg]
    return sorted(set(found)-{f'digitfast.{o}' for o in ('all', '_modidx', *NOT_IMPORTED)})

@pytest.fixture(scope='module')
def fastai(): return star('fastai.vision.all')

@pytest.fixture(scope='module')
def ours(): return star('digitfast.all')

@pytest.mark.parametrize('order', [('digitfast.all','fastai.vision.all'), ('fastai.vision.all','digitfast.all')])
def test_the_order_of_imports_does_not_matter(fastai, order):
    both = star(*order)
    assert not [k for k,v in fastai.items() if both[k] is not v]
    assert not [k for k,v in star('digitfast.all').items() if both[k] is not v]

def test_it_is_a_superset(fastai):
    assert not [k for k,v in fastai.items() if star('digitfast.all').get(k, None) is not v]

@pytest.mark.parametrize('module', modules())
def test_no_public_name_is_one_of_fastais(module):
    o = importlib.import_module(module)
    theirs = star(*FASTAI)
    ours = getattr(o, '__all__', None)
    assert ours is not None, f'{module} says not which of its names are public'
    assert not [k for k in ours if k in theirs]

NEEDED = """
    MixUp aug_transforms ClassificationInterpretation vision_learner resnet18 one_hot read_csvs as_data
    find_data DigitData DigitBlock DigitDataLoaders digit_learner Recipe recipes archs arch create_model by_hand
    save_net load_net export_onnx train tune save_run ensemble compare versus Run predict_csv predict_test
    save_submission check_submission read_picture write_report submit_to_kaggle publish_kernel DigitError""".split()

@pytest.mark.parametrize('name', NEEDED)
def test_what_a_notebook_needs_is_there(ours, name): assert name in ours

PIECES = 'stride2 fastbook small mlp_30 linear1 two_layer np_forward conv looks scrub echo'.split()

@pytest.mark.parametrize('name', PIECES)
def test_pieces_are_reached_through_their_registries(ours, name): assert name not in ours

def test_fastais_own_resnet_still_works():
    from types import SimpleNamespace as NS
    names = star('fastai.vision.all', 'digitfast.all')
    names['dls'] = names['DigitDataLoaders'].from_df(names['read_csvs']('sample').train, valid_pct=.1, bs=16)
    exec('learn = vision_learner(dls, resnet18, pretrained=False, n_in=1)', names)
    assert names['learn'].model(names['dls'].one_batch()[0][:2]).shape==(2, 10)

CODE = """import sys, time
import fastai.vision.all
fastais = time.process_time()
import digitfast.all
slow = 'optuna kaggle kagglesdk onnx onnxruntime gradio distributed dask'.split()
print(fastais, time.process_time()-fastais, *[o for o in slow if o in sys.modules])"""

def test_it_costs_little_more_than_fastai():
    "Kaggle's client, ONNX, Gradio and Dask are imported only when they are used. One process times both imports"
    args = [sys.executable, '-Wignore', '-c', CODE]
    fastais,ours,*slow = subprocess.run(args, capture_output=True, text=True, check=True).stdout.split()
    assert not slow and float(ours)<.15*float(fastais)+.2

OLD_PATHS = dict(baseline='cross_entropy mean_squared_error nearest_label',
                 course='check_answer kernel_widget draw_convolution',
                 models='conv', train='train ensemble predict_csv', data='DigitDataLoaders digit_splitter read_csvs',
                 kaggle='submit_to_kaggle', report='write_report')

@pytest.mark.parametrize('module', OLD_PATHS)
def test_an_old_import_path_still_works(module):
    "The README, the tutorials and 20_fastai of version 0.1 used these paths"
    names = {}
    exec(f"from digitfast.{module} import {', '.join(OLD_PATHS[module].split())}", names)
    assert all(callable(names[o]) for o in OLD_PATHS[module].split())
