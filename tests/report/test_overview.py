"Tests of the page that compares the runs below a folder"
import re
from pathlib import Path

import pytest

from digitfast.core import RunError
from digitfast.report.overview import differing_settings, short_paths, write_overview
from digitfast.runs.run import Run
from run_double import a_run, fake

def history(run, text='epoch,train_loss,valid_loss,accuracy\n0,1.0,0.9,0.8\n1,0.5,0.4,0.9\n'):
    (Path(run)/'history.csv').write_text(text)

def rows(page): return re.findall(r'<tr><td>(?:<a[^>]*>)?([^<]*)', page)

def test_it_shows_each_data_set_apart_and_the_best_run_first(tmp_path):
    for name,wrong,sha in ('a',20,'s'),('b',10,'s'),('other',30,'t'):
        history(a_run(tmp_path/name, sha=sha, **fake(wrong=wrong)))
    page = write_overview(tmp_path, tmp_path/'runs.html').read_text()
    assert rows(page)[:3]==['b','a','other'] and page.count('<h2>')==2
    assert '2 data sets' in page.replace('\n', ' ') and page.count('aria-label="valid_loss')==2
    assert 'http' not in page.replace('http-equiv', '')

def test_a_name_from_elsewhere_is_escaped(tmp_path):
    run = a_run(tmp_path/'<b>&"', **fake())
    history(run)
    (Path(run)/'report.html').write_text('x')
    page = write_overview(tmp_path, tmp_path/'runs.html').read_text()
    assert '<b>&"' not in page and '&lt;b&gt;' in page and 'href="%3Cb%3E%26%22/report.html"' in page

def test_the_link_is_seen_from_the_page(tmp_path):
    run = a_run(tmp_path/'runs'/'a', **fake())
    (Path(run)/'report.html').write_text('x')
    (tmp_path/'pages').mkdir()
    assert 'href="../runs/a/report.html"' in write_overview(tmp_path/'runs', tmp_path/'pages'/'p.html').read_text()

def test_a_damaged_history_or_run_does_not_hide_the_others(tmp_path):
    history(a_run(tmp_path/'good', **fake()))
    history(a_run(tmp_path/'odd', **fake()), 'epoch\nx\n')
    (tmp_path/'begun'/'checkpoint').mkdir(parents=True)
    page = write_overview(tmp_path, tmp_path/'runs.html').read_text()
    assert set(rows(page)[:2])=={'good','odd'} and 'Runs without a result' in page and 'unfinished' in page

def test_only_settings_that_differ_are_shown(tmp_path):
    a,b = a_run(tmp_path/'a', **fake()),a_run(tmp_path/'b', **fake())
    assert differing_settings([Run(a), Run(b)]).empty
    m = Run(b).metrics
    Run(b).save_metrics(dict(m, seed=7))
    assert list(differing_settings([Run(a), Run(b)]).index)==['seed']

def test_without_a_finished_run_nothing_is_written(tmp_path):
    with pytest.raises(RunError, match='found no finished run'): write_overview(tmp_path, tmp_path/'runs.html')
    assert not (tmp_path/'runs.html').exists()
    a_run(tmp_path/'a', **fake())
    with pytest.raises(RunError, match='found a file of the run'): write_overview(tmp_path, tmp_path/'a'/'report.html')

def test_names_lose_what_they_share():
    assert short_paths(['x/runs/a','x/runs/b/c'])==['a','b/c']
