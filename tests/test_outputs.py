"Test that no function and no subcommand replaces a file that it reads, or a file of a run"
import os, shutil, zipfile
from pathlib import Path
import numpy as np, pytest
from digitfast import cli
from digitfast.tasks.compare import compare
from digitfast.core import DigitError, RunError, check_output, run_files, same_file
from digitfast.runs.weights import export_onnx, export_pickle, load_net, save_net
from digitfast.tasks.pictures import pictures_csv, predict_pictures
from digitfast.kaggle.publish import publish_kernel
from digitfast.data.files import data_files, run_inputs
from digitfast.data.read import read_csvs
from digitfast.report.page import report
from digitfast.tasks.predict import predict_csv
from digitfast.runs.run import Run
from digitfast.tasks.save import save_run
from digitfast.kaggle.submission import save_submission, submission
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.train import train
from conftest import TINY, csvs, digits

def quiet(*a): pass

@pytest.fixture(scope='module')
def made(tiny, tmp_path_factory):
    """Return a folder with data in the folder `d` and the zip `s.zip`, a run `R` on `d`, a run `Z` on the zip, and
    their ensemble `E`"""
    home = tmp_path_factory.mktemp('made')
    shutil.copytree(tiny, home/'d')
    csvs(home/'de', test=digits(20, seed=1))
    with zipfile.ZipFile(home/'s.zip', 'w') as z:
        for o in (home/'d').iterdir(): z.write(o, o.name)
    options = {**TINY, 'epochs':1}
    train(home/'d', out=home/'R', say=quiet, **options)
    train(home/'s.zip', out=home/'Z', say=quiet, seed=1, **options)
    ensemble([home/'R', home/'Z'], home/'E', say=quiet)
    return home

@pytest.fixture
def work(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path/'w')
    for o in 'R','Z','E':
        f = tmp_path/'w'/o/'metrics.json'
        f.write_text(f.read_text().replace(str(made), str(tmp_path/'w')))
    monkeypatch.chdir(tmp_path/'w')
    return tmp_path/'w'

def contents(folder): return {o:o.read_bytes() for o in sorted(folder.rglob('*')) if o.is_file()}

def refused(f, folder):
    "Check that `f` raises an error of one line and changes no file"
    was = contents(folder)
    with pytest.raises((DigitError, SystemExit)) as e: f()
    assert contents(folder)==was
    return str(e.value)

# ---- which names lead to a file

def test_one_file_by_many_names(in_tmp):
    Path('d').mkdir()
    f = Path('d/train.csv')
    f.write_text('x')
    os.symlink('d', 'e')
    os.symlink(f.resolve(), 'link.csv')
    os.link(f, 'hard.csv')
    for o in 'd/train.csv','./d/../d/train.csv','e/train.csv','link.csv','hard.csv','d/TRAIN.CSV',in_tmp/'d/train.csv':
        assert same_file(o, f) and same_file(f, o)
        with pytest.raises(RunError, match='found an input file'): check_output(o, None, f)
    for o in 'd/train2.csv','train.csv','e/d/train.csv': assert not same_file(o, f); check_output(o, f)
    with pytest.raises(RunError, match='train.csv is a file, expected a folder'): check_output('d/train.csv/x.csv')
    with pytest.raises(RunError, match='null|NUL'): check_output('a\0b', f)
    check_output(None, f)

def test_files_of_a_run(work):
    for o in 'R/metrics.json','R/model/model.json','R/submission.csv','R/members','E/members/0/oof.npz','E/members/7', \
             'R/../R/METRICS.json','R/.lock','E/members/new.csv', \
             'E/members/0/net.onnx':
        with pytest.raises(RunError, match='found a file of the run'): check_output(o)
    os.symlink('R', 'other')
    os.symlink(work/'R'/'history.csv', 'h.csv')
    os.link('E/members/1/predictions.npz', 'p.npz')
    for o,run in ('other/history.csv',None),('h.csv',None),('p.npz','E'):
        with pytest.raises(RunError, match='found a file of the run|found an input file'): check_output(o, run)
    Path('R/model.onnx').write_text('of an earlier export')
    for o in 'R/model.onnx','R/new.csv','metrics.json': check_output(o, 'R', 'E')

def test_files_of_the_data(work):
    def names(o): return sorted(p.name for p in o)
    three = ['sample_submission.csv','test.csv','train.csv']
    assert names(data_files('d'))==three and names(data_files('s.zip'))==['s.zip']
    assert names(data_files('d/train.csv', 'de/test.csv'))==['test.csv','train.csv']
    assert names(data_files('s.zip/train.csv'))==['s.zip'] and names(data_files('sample'))==['digit-recognizer.zip']
    assert sorted(map(str, run_inputs('R')[1:]))==[str(work/'d'/o) for o in three] and run_inputs('no')==('no',)
    assert read_csvs('d').files==('d/train.csv','d/test.csv','d/sample_submission.csv')

# ---- every subcommand

COMMANDS = [
    'predict R d --out d/train.csv', 'predict R d --out ./d/../d/test.csv', 'predict R --out d/sample_submission.csv',
    'predict R d/train.csv --test de/test.csv --out de/test.csv', 'predict R d/test.csv --out d/TEST.csv',
    'predict R de/test.csv --out d/train.csv', 'predict R d --out R/metrics.json', 'predict R d --out R/submission.csv',
    'predict R d --out Z/model/model.json', 'predict E d --out E/members/0/predictions.npz',
    'predict Z s.zip --out s.zip', 'predict R s.zip --out s.zip', 'predict R d --out d/train.csv/x.csv',
    'predict R 7.png --out 7.png', 'predict R 7.png --out R/report.html', 'predict R 7.png --out d/test.csv',
    'labels Z --out s.zip', 'labels R --out d/train.csv', 'labels R --png R/model/model.safetensors',
    'labels R --out new --png new', 'export R --onnx R/model/model.json', 'export R --pickle d/train.csv',
    'export R --onnx new --pickle new', 'demo R --export R/members', 'demo R --export E/members/2',
    'ensemble R Z --out R/members/0', 'train d --out R/model/new', 'train d --out E/members/2',
    'compare d --system linear --epochs 1 --seeds 1 --out cmp',
    'publish k/kernel/kernel.ipynb --user ada --dry-run --out k', 'labels R --import my.py --out my.py']

def test_no_subcommand_replaces_what_it_reads(work, capsys):
    from test_kaggle import a_notebook
    from PIL import Image
    Image.fromarray(np.eye(28, dtype=np.uint8)*255).save('7.png')
    Path('my.py').write_text('')
    Path('cmp').mkdir(); os.link('d/train.csv', 'cmp/compare.csv')
    Path('k/kernel').mkdir(parents=True); a_notebook(path='k/kernel/kernel.ipynb')
    for words in COMMANDS:
        refused(lambda: cli.main(words.split()), work)
        out,err = capsys.readouterr()
        last = words.split()[-2:]
        assert 'Choose another name for' in err and err.count('\n')==1 or 'the same file' in err, (words, err)
        assert last[0].strip('-').replace('-', '_') in err.replace('-', '_') or 'publish' in words, (words, err)
        assert 'Traceback' not in err

def test_other_names_are_written(work, capsys):
    for words in 'predict R d --out d/mine.csv', 'predict R d --out d/mine.csv', 'labels R --out R/doubtful.csv':
        with pytest.raises(SystemExit) as e: cli.main(words.split())
        assert not e.value.code, capsys.readouterr().err

# ---- every function

def test_no_function_replaces_what_it_reads(work):
    d,learn = read_csvs('d'),load_net('R', 'cpu')
    res = [dict(file='d/train.csv', error='no picture')]
    for f in (lambda: predict_csv('R', 'd', 'd/train.csv', say=quiet),
              lambda: predict_csv('R', 'de/test.csv', 'R/history.csv', say=quiet),
              lambda: save_submission(submission(np.zeros(20, int), d), 'd/test.csv', d),
              lambda: save_submission(submission(np.zeros(20, int), d), 'R/submission.csv', d),
              lambda: export_onnx(learn, 'R/metrics.json'), lambda: export_pickle(learn, 'R/model/model.safetensors'),
              lambda: save_net(learn, 'Z/model'), lambda: pictures_csv(res, 'd/train.csv'),
              lambda: report('R').save('R/metrics.json'), lambda: Run('R').copy_to('Z'),
              lambda: Run('R').copy_to('R'), lambda: Run('R').copy_model('Z/model'),
              lambda: train(d, out='E/members/9', say=quiet, **TINY),
              lambda: ensemble(['R','Z'], 'E/members/9', say=quiet),
              lambda: save_run(load_net('R', 'cpu'), d, 'R/members/0', say=quiet)):
        assert '--' not in refused(f, work)
    report('R').save('R/report.html')
    assert Run('R').copy_to('copy').metrics==Run('R').metrics

def test_what_a_net_saw_is_not_saved_over_a_picture(work):
    from PIL import Image
    Path('p').mkdir()
    Image.fromarray(np.eye(28, dtype=np.uint8)*255).save('p/a.png')
    os.link('p/a.png', 'a-seen.png')
    was = Path('p/a.png').read_bytes()
    res = predict_pictures('R', ['p/a.png','a-seen.png'], show=True, device='cpu')
    assert Path('p/a.png').read_bytes()==was==Path('a-seen.png').read_bytes() and Path('a-seen-2.png').exists(), res
