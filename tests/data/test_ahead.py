"Tests of CSVs that a second process reads"
import subprocess
import pytest
from digitfast.core import DataError
from digitfast.data import ahead
from digitfast.data.read import read_csvs
from digitfast.tasks.inputs import load_data
from conftest import csvs

@pytest.fixture
def begin(monkeypatch):
    "Start to read, even if the files are small or there is one processor, and return whether it started"
    monkeypatch.setattr(ahead, '_least_bytes', 0)
    monkeypatch.setattr(ahead.os, 'cpu_count', lambda: 2)
    def _begin(*args, **kwargs):
        ahead.begin_reading(*args, **kwargs)
        return len(ahead._begun)==1
    yield _begin
    ahead.read_begun('')

def test_the_data_are_those_of_read_csvs(begin, tmp_path):
    "Check text labels, an option, and files in the current folder"
    csvs(tmp_path/'d', n=40)
    assert begin(str(tmp_path/'d'), transpose=True, test=None)
    got,want = ahead.read_begun(str(tmp_path/'d'), transpose=True),read_csvs(tmp_path/'d', transpose=True)
    assert vars(got).keys()==vars(want).keys() and got.sha256==want.sha256
    for k,v in vars(want).items():
        same = getattr(got, k).equals(v) if hasattr(v, 'equals') else getattr(got, k)==v
        assert same, k

def test_a_task_takes_them_once(begin, tmp_path, monkeypatch):
    from digitfast.tasks import inputs
    d = csvs(tmp_path/'d')
    assert begin(d)
    def nothing(*args, **kwargs): raise AssertionError('it was read here')
    with monkeypatch.context() as m:
        m.setattr(inputs, 'as_data', nothing)
        first = load_data(str(d))[0]
    assert first.train.equals(load_data(str(d))[0].train) and not ahead._begun

@pytest.mark.parametrize('other', [dict(transpose=True), dict(label='label')])
def test_other_options_read_again(begin, tmp_path, other):
    d = csvs(tmp_path/'d')
    assert begin(d)
    assert load_data(d, **other)[0].options!={} and not ahead._begun

def test_an_error_is_raised_here(begin, tmp_path):
    d = csvs(tmp_path/'d')
    text = (d/'train.csv').read_text().splitlines()
    (d/'train.csv').write_text('\n'.join([*text[:3], text[3].replace(',', ',x', 1), *text[4:]]))
    assert begin(d)
    with pytest.raises(DataError, match='line 4'): load_data(d)

def test_no_second_process_without_need(monkeypatch, tmp_path):
    "Check small files, one processor, and MNIST's own files"
    def none(*args, **kwargs): raise AssertionError('a process was started')
    monkeypatch.setattr(subprocess, 'Popen', none)
    ahead.begin_reading(csvs(tmp_path/'d'))
    (tmp_path/'m'/'MNIST').mkdir(parents=True)
    ahead.begin_reading(tmp_path/'m')
    monkeypatch.setattr(ahead, '_least_bytes', 0)
    monkeypatch.setattr(ahead.os, 'cpu_count', lambda: 1)
    ahead.begin_reading(tmp_path/'d')

def test_a_process_that_cannot_start_is_no_error(begin, monkeypatch, tmp_path):
    def none(*args, **kwargs): raise OSError('no memory')
    monkeypatch.setattr(subprocess, 'Popen', none)
    d = csvs(tmp_path/'d')
    assert not begin(d) and len(load_data(d)[0].train)
