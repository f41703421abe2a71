"""A rehearsal of Kaggle: the kernel that `publish` would push runs where Kaggle would run it.

Another Python environment without digitfast, the data and the wheel below a look-alike of `/kaggle/input`, a working directory of its own, no network.
`DIGITFAST_OVERLAY` names a folder with the releases of Kaggle's image, which then go before the installed ones. It is made with
`pip install --no-deps --target DIR fastai==2.8.7 fastcore==1.14.5 fasttransform==0.0.2 fastprogress==1.0.3`.
"""
import json, os, site, subprocess, sys, sysconfig, venv, zipfile
from pathlib import Path
import pytest
from digitfast.publish import publish_kernel
from digitfast.read import sample_path
from digitfast.submit import check_submission

OLD = os.environ.get('DIGITFAST_OVERLAY')
TUTORIALS = sorted((Path(__file__).parent.parent/'nbs/tutorials').glob('*.ipynb'))

@pytest.fixture(scope='module')
def image(tmp_path_factory):
    "A stand-in for Kaggle's image: an environment with everything installed here (the overlay first), but neither digitfast nor fastkaggle"
    env = tmp_path_factory.mktemp('image')
    venv.EnvBuilder(symlinks=True).create(env)
    libs = Path(sysconfig.get_path('purelib', vars=dict(base=str(env))))
    for src in [*([Path(OLD)] if OLD else []), *map(Path, dict.fromkeys(sysconfig.get_path(k) for k in ('purelib','platlib')))]:
        have = {p.name.split('-')[0] for p in libs.iterdir()}
        for p in src.iterdir():
            name = p.name.split('-')[0]
            if name not in have and not name.lower().startswith(('digitfast','fastkaggle','__editable__','__pycache__')): (libs/p.name).symlink_to(p.resolve())
    return env

@pytest.fixture
def kaggle(image, tmp_path, monkeypatch):
    "A function that publishes a notebook to this pretended Kaggle, and gives its working directory after the run"
    data = tmp_path/'input/competitions/digit-recognizer'
    data.mkdir(parents=True)
    with zipfile.ZipFile(sample_path()) as z: z.extractall(data)
    for d in ('home','working','jupyter/kernels/python3'): (tmp_path/d).mkdir(parents=True)
    for k in [k for k in os.environ if k.startswith(('KAGGLE_','PYTHON','DIGITFAST_','VIRTUAL_ENV')) or k.lower().endswith('_proxy')]: monkeypatch.delenv(k)
    python = image/('Scripts' if os.name=='nt' else 'bin')/'python'
    spec = dict(argv=[str(python), '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='Python 3', language='python')
    (tmp_path/'jupyter/kernels/python3/kernel.json').write_text(json.dumps(spec))
    for k,v in dict(JUPYTER_PATH=tmp_path/'jupyter', HOME=tmp_path/'home', DIGITFAST_KAGGLE_INPUT=tmp_path/'input', KAGGLE_KERNEL_RUN_TYPE='Batch', OMP_NUM_THREADS='1',
                    PYTHONDONTWRITEBYTECODE='1', http_proxy='http://127.0.0.1:9', https_proxy='http://127.0.0.1:9').items(): monkeypatch.setenv(k, str(v))
    def run(notebook):
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

def test_small_kernel(kaggle, tmp_path):
    "The wheel installs, and the data is found where Kaggle mounts it"
    src = ['#| hide\nraise Exception', 'from digitfast.read import find_data, read_csvs\nfound = find_data()',
           'open("found.txt", "w").write(str(found))', 'assert len(read_csvs(found).train)>10']
    nb = dict(cells=[dict(cell_type='code', source=s, metadata={}, outputs=[], execution_count=None) for s in src], metadata={}, nbformat=4, nbformat_minor=4)
    (tmp_path/'small_kernel.ipynb').write_text(json.dumps(nb))
    work,data,made = kaggle(tmp_path/'small_kernel.ipynb')
    assert (work/'found.txt').read_text()==str(data) and made.id=='ada/small-kernel'

@pytest.mark.parametrize('notebook', [pytest.param(p, marks=[pytest.mark.slow] if i else [], id=p.stem) for i,p in enumerate(TUTORIALS)] or
                                     [pytest.param(None, marks=pytest.mark.skip(reason='there is no tutorial in nbs/tutorials'), id='none')])
def test_tutorial(kaggle, notebook):
    "Each tutorial runs as a kernel, and what it submits passes the check"
    work,data,_ = kaggle(notebook)
    for p in work.rglob('*submission*.csv'): check_submission(p, data)
    code = ''.join(''.join(c['source']) for c in json.loads(notebook.read_text())['cells'] if c['cell_type']=='code')
    assert 'submission' not in code or list(work.rglob('*submission*.csv')), 'it speaks of a submission and leaves none'
