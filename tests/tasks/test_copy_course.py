"Tests of `digitfast course`, which copies the tutorials from the package into a new folder"
import ast, builtins, json, os, re, subprocess, sys, zipfile
from pathlib import Path
import pytest
from digitfast.core import DigitError
from digitfast.tasks import copy_course as cc
from conftest import REPO
from test_tutorials import FOLDER, TUTORIALS, cells, source

@pytest.fixture(scope='module')
def course(tmp_path_factory): return cc.copy_course(tmp_path_factory.mktemp('home')/'course')

def run_cli(*words):
    from digitfast.cli import main
    try: main([str(o) for o in words])
    except SystemExit as e: return e.code or 0
    return 0

def test_all_tutorials_pictures_and_the_glossary_are_copied(course):
    names = {o.name for o in course.iterdir()}
    assert {o.name for o in TUTORIALS}<=names and {'glossary.md','left.png'}<=names
    assert [o.name for o in course.parent.iterdir()]==['course'], 'a temporary folder is left'

def test_links_of_the_copy_lead_to_files_of_the_copy(course):
    for nb in course.glob('*.ipynb'):
        links = re.findall(r'\]\((?!http|#|[a-z]+:)([^)#\s]+)', source(cells(nb, 'markdown')))
        assert not [o for o in links if not (course/o).exists()], nb.name

def loaded_and_stored(cs):
    "Return the names that code cells use, and the names that they define"
    code = '\n'.join(re.sub(r'^\s*[%!].*$', '', source([c]), flags=re.M) for c in cs)
    used,made = set(),set()
    for o in ast.walk(ast.parse(code)):
        if isinstance(o, ast.Name): (used if isinstance(o.ctx, ast.Load) else made).add(o.id)
        elif isinstance(o, (ast.FunctionDef, ast.ClassDef)): made.add(o.name)
        elif isinstance(o, (ast.Import, ast.ImportFrom)): made |= {(a.asname or a.name).split('.')[0] for a in o.names}
        elif isinstance(o, ast.arg): made.add(o.arg)
    return used,made

@pytest.mark.parametrize('nb', TUTORIALS, ids=lambda o: o.stem)
def test_the_copy_has_no_hidden_cell_and_needs_none(nb, course):
    import digitfast.all as everything
    code = cells(nb, 'code')
    hidden = [c for c in code if ''.join(c['source']).startswith('#| hide')]
    copied = cells(course/nb.name, 'code')
    assert hidden and [source([c]) for c in copied]==[source([c]) for c in code if c not in hidden]
    assert [c['outputs'] for c in copied]==[c['outputs'] for c in code if c not in hidden]
    used,made = loaded_and_stored(copied)
    made_hidden = loaded_and_stored(hidden)[1]
    assert not (used&made_hidden)-made-set(dir(everything))-set(dir(builtins))

def test_an_existing_folder_is_kept_and_one_line_says_what_to_do(tmp_path, capsys):
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'notes').write_text('mine')
    assert run_cli('course', tmp_path/'mine')==1
    out,err = capsys.readouterr()
    assert out=='' and err.count('\n')==1 and str(tmp_path/'mine') in err and 'digitfast course DIR' in err
    assert [o.name for o in tmp_path.rglob('*')]==['mine','notes']
    with pytest.raises(DigitError, match=r'copy_course\(dir\)'): cc.copy_course(tmp_path/'mine')

@pytest.mark.parametrize('there', [True, False])
def test_it_says_how_to_open_the_course(there, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cc, 'find_spec', lambda name: there or None)
    monkeypatch.setattr(cc.shutil, 'which', lambda name: str(Path(sys.executable).parent/name))
    assert run_cli('course', tmp_path/'new')==0
    first,last = capsys.readouterr().out.splitlines()
    assert first==f'16 tutorials: {tmp_path/"new"}' and last.endswith(f'jupyter lab {tmp_path/"new"}')
    assert ("pip install 'digitfast[tutorials]'" in last)!=there

def test_jupyter_of_another_python_is_not_proposed(monkeypatch):
    monkeypatch.setattr(cc, 'find_spec', lambda name: True)
    monkeypatch.setattr(cc.shutil, 'which', lambda name: '/elsewhere/bin/jupyter-lab')
    assert cc.how_to_open('course')==f'open them: {sys.executable} -m jupyterlab course'

BUILT = '''
import digitfast
from digitfast.cli import main
from digitfast.kaggle.publish import mk_wheel
print(digitfast.__file__, mk_wheel('.'), flush=True)
main(['course', 'course'])'''

def test_a_built_package_has_the_tutorials_and_a_kernels_wheel_has_not(tmp_path):
    lib,info = tmp_path/'lib',tmp_path/'info'
    info.mkdir()
    build = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', str(info), 'build_py', '--build-lib', str(lib)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True)
    env = {**os.environ, 'PYTHONPATH':str(lib)}
    res = subprocess.run([sys.executable, '-c', BUILT], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert res.returncode==0, res.stderr
    where,wheel = res.stdout.splitlines()[0].split()
    assert where.startswith(str(tmp_path)) and len(list((tmp_path/'course').glob('*.ipynb')))==len(TUTORIALS)
    with zipfile.ZipFile(tmp_path/wheel) as z: assert not [o for o in z.namelist() if o.endswith('.ipynb')]
