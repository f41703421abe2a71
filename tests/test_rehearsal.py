"""A rehearsal of Kaggle: the kernel that `publish` would push runs where Kaggle would run it.

Another Python environment without digitfast, the data and the wheel below a look-alike of `/kaggle/input`, a working
directory of its own, no network. `DIGITFAST_OVERLAY` names a folder with the releases of Kaggle's image, which then go
before the installed ones. It is made with
`pip install --no-deps --target DIR fastai==2.8.7 fastcore==1.14.5 fasttransform==0.0.2 fastprogress==1.0.3`.
"""
import json, os, subprocess, sys, sysconfig, tempfile, venv, zipfile
from pathlib import Path
import pytest
from digitfast.kaggle.publish import publish_kernel
from digitfast.data.files import sample_path
from digitfast.kaggle.submission import check_submission
from conftest import BIG

OLD = os.environ.get('DIGITFAST_OVERLAY')
TUTORIALS = sorted((Path(__file__).parent.parent/'nbs/tutorials').glob('*.ipynb'))
QUICK = '10_to_kaggle'  # the tutorial that speaks of kernels; the others take up to a minute each

@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """Return a stand-in for Kaggle's image: the overlay first, then all packages that are installed here, except
    digitfast and fastkaggle"""
    absent = ('digitfast', 'fastkaggle', '__editable__', '__pycache__')
    env = tmp_path_factory.mktemp('image')
    venv.EnvBuilder(symlinks=True).create(env)
    libs = Path(sysconfig.get_path('purelib', vars=dict(base=str(env))))
    installed = dict.fromkeys(sysconfig.get_path(k) for k in ('purelib','platlib'))
    for src in [*([Path(OLD)] if OLD else []), *map(Path, installed)]:
        have = {p.name.split('-')[0] for p in libs.iterdir()}
        for p in src.iterdir():
            name = p.name.split('-')[0]
            if name not in have and not name.lower().startswith(absent): (libs/p.name).symlink_to(p.resolve())
    return env

@pytest.fixture
def kaggle(image, tmp_path, monkeypatch):
    """Return a function that publishes a notebook to this stand-in for Kaggle, runs it, and returns its working
    directory"""
    data = tmp_path/'input/competitions/digit-recognizer'
    data.mkdir(parents=True)
    for d in ('home','working','jupyter/kernels/python3'): (tmp_path/d).mkdir(parents=True)
    ours = ('KAGGLE_', 'PYTHON', 'DIGITFAST_', 'VIRTUAL_ENV')
    for k in [k for k in os.environ if k.startswith(ours) or k.lower().endswith('_proxy')]: monkeypatch.delenv(k)
    python = image/('Scripts' if os.name=='nt' else 'bin')/'python'
    argv = [str(python), '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    spec = dict(argv=argv, display_name='Python 3', language='python')
    (tmp_path/'jupyter/kernels/python3/kernel.json').write_text(json.dumps(spec))
    env = dict(
        JUPYTER_PATH=tmp_path/'jupyter', HOME=tmp_path/'home', DIGITFAST_KAGGLE_INPUT=tmp_path/'input',
        KAGGLE_KERNEL_RUN_TYPE='Batch', OMP_NUM_THREADS='1', PYTHONDONTWRITEBYTECODE='1',
        http_proxy='http://127.0.0.1:9', https_proxy='http://127.0.0.1:9')
    for k,v in env.items(): monkeypatch.setenv(k, str(v))
    def run(notebook, source=None):
        with zipfile.ZipFile(source or sample_path()) as z: z.extractall(data)
        import nbformat
        from nbclient import NotebookClient
        made = publish_kernel(notebook, 'ada', dry_run=tmp_path/'made', say=lambda *_: None)
        mount = tmp_path/'input/datasets/ada/digitfast-wheel'
        mount.mkdir(parents=True)
        for p in (tmp_path/'made/dataset').glob('*.whl'): p.rename(mount/p.name)
        nb = nbformat.read(tmp_path/'made/kernel/kernel.ipynb', 4)
        nbformat.validate(nb)
        at = [f'{n}=={v}' for n,v in (('fastai','2.8.7'), ('fastcore','1.14.5'))] if OLD else []
        nb.cells.append(nbformat.v4.new_code_cell(f'''import digitfast, sys
from importlib.metadata import version
assert digitfast.__file__.startswith({str(image)!r}), digitfast.__file__
assert not {at!r} or {at!r}==[n+'=='+version(n) for n in ('fastai','fastcore')]
assert not [m for m in ('nbdev','fastkaggle') if m in sys.modules]'''))
        try: NotebookClient(nb, timeout=900, resources=dict(metadata=dict(path=str(tmp_path/'working')))).execute()
        finally: subprocess.run([python, '-m', 'pip', 'uninstall', '-q', '-y', 'digitfast'], capture_output=True)
        return tmp_path/'working', data, made
    return run

def with_hidden_cells(notebook):
    "Return the notebook with its hidden cells shown, so that their assertions run as well"
    nb = json.loads(notebook.read_text())
    for c in nb['cells']: c['source'] = ''.join(c['source']).removeprefix('#| hide\n')
    to = Path(tempfile.mkdtemp())/notebook.name
    to.write_text(json.dumps(nb))
    return to

def test_small_kernel(kaggle, tmp_path):
    "The wheel installs, and the data are found at Kaggle's path"
    src = ['#| hide\nraise Exception', 'from digitfast.data import find_data, read_csvs\nfound = find_data()',
           'open("found.txt", "w").write(str(found))', 'assert len(read_csvs(found).train)>10']
    cells = [dict(cell_type='code', source=s, metadata={}, outputs=[], execution_count=None) for s in src]
    nb = dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=4)
    (tmp_path/'small_kernel.ipynb').write_text(json.dumps(nb))
    work,data,made = kaggle(tmp_path/'small_kernel.ipynb')
    assert (work/'found.txt').read_text()==str(data) and made.id=='ada/small-kernel'

def cases(marks): return [pytest.param(p, marks=marks(p), id=p.stem) for p in TUTORIALS]

def what_it_left(work, data, notebook):
    "Check the submission of a tutorial, against the table in its folder if there is one"
    for p in work.rglob('*submission*.csv'): check_submission(p, p.parent if (p.parent/'train.csv').exists() else data)
    cells = json.loads(notebook.read_text())['cells']
    code = ''.join(''.join(c['source']) for c in cells if c['cell_type']=='code')
    if 'save_submission' in code: assert list(work.rglob('*submission*.csv')), 'it makes a submission and leaves none'

@pytest.mark.parametrize('notebook', cases(lambda p: [] if OLD and p.stem==QUICK else [pytest.mark.slow]))
def test_tutorial(kaggle, notebook):
    "Each tutorial runs as a kernel. CI runs one, with Kaggle's older releases"
    work,data,_ = kaggle(notebook)
    what_it_left(work, data, notebook)

@pytest.mark.slow  # minutes each: the whole data
@pytest.mark.skipif(not BIG.exists(), reason=f'{BIG} is not here')
@pytest.mark.parametrize('notebook', cases(lambda p: []))
def test_tutorial_on_the_whole_data(kaggle, notebook):
    "The numbers of a tutorial also hold for the competition's data, because its hidden cells run, too"
    work,data,_ = kaggle(with_hidden_cells(notebook), BIG)
    what_it_left(work, data, notebook)
