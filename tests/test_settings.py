"""settings.ini names all packages that the package imports, tests/oldest.txt has its lower bounds, and notebooks are
clean"""
import ast, json, re, sys
from configparser import ConfigParser
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
CALLED = dict(PIL='pillow', sklearn='scikit-learn', slugify='python-slugify', cycler='matplotlib', urllib3='requests',
              tqdm='kaggle')
EXTRAS = {'distributed', 'gradio', 'huggingface_hub', 'onnx', 'onnxruntime', 'onnxscript', 'optuna', 'pyarrow', 'timm'}

def settings():
    c = ConfigParser(delimiters=['='])
    c.read(REPO/'settings.ini', encoding='utf-8')
    return c['DEFAULT']

def required(): return dict(o.split('>=') for o in settings()['requirements'].split())

def imported(file):
    "Return the names of the packages that a module imports, at its top or within a function"
    for o in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(o, ast.Import): yield from (a.name.split('.')[0] for a in o.names)
        elif isinstance(o, ast.ImportFrom) and not o.level: yield o.module.split('.')[0]

@pytest.mark.parametrize('file', sorted((REPO/'digitfast').rglob('*.py')),
                         ids=lambda f: f.relative_to(REPO/'digitfast').as_posix())
def test_what_is_imported_is_required(file):
    names = set(imported(file))-set(sys.stdlib_module_names)-{'digitfast'}-EXTRAS
    assert not {CALLED.get(o, o) for o in names}-set(required())

def test_lower_bounds_are_those_that_were_tried():
    "They were tried with `pip install -c tests/oldest.txt .`"
    tried = dict(o.split('==') for o in (REPO/'tests'/'oldest.txt').read_text().split() if '==' in o)
    def whole(v): return [int(o) for o in v.split('.')]+[0]*(3-v.count('.'))
    assert {k:whole(v)[:3] for k,v in required().items()}=={k:whole(v)[:3] for k,v in tried.items()}

def test_fastai_stays_at_kaggles_release(): assert required()['fastai']=='2.8.7'

def test_no_notebook_has_the_marks_of_a_merge():
    "nbdev-merge writes a conflict as separate cells, and both sides would be exported"
    marked = [f.name for f in (REPO/'nbs').rglob('*.ipynb') if '"`<<<<<<<' in f.read_text(encoding='utf-8')]
    assert not marked

def outputs(file):
    "Return the outputs of a notebook as text, without pictures"
    outs = [o for c in json.loads(file.read_text(encoding='utf-8'))['cells'] for o in c.get('outputs', [])]
    for o in outs: o['data'] = {k:v for k,v in o.get('data', {}).items() if not k.startswith('image/')}
    return json.dumps(outs)

def test_no_output_of_a_notebook_tells_of_the_machine_that_ran_it():
    where = re.compile(r'/(?:work|tmp|root|home|private|Users)/[\w.-]+|[A-Z]:\\\\Users|\b(?:subagent|scratchpad)\b')
    found = {f.name:m[0] for f in (REPO/'nbs').rglob('*.ipynb') if (m := where.search(outputs(f)))}
    assert not found, 'show a relative path, or replace the folder before you print it'
