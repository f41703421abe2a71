"Tests of the report: its contents, its safety, and that every finished run has one"
import html, json, re, shutil, time
from html.parser import HTMLParser
from pathlib import Path
import matplotlib, numpy as np, pandas as pd, pytest

from digitfast.report.measure import Preds, measured, read_preds, score_interval
from digitfast.core import RunError
from digitfast.report.page import Report, render_report, report, write_report
from digitfast.runs.run import Run
from test_interpret import HIST
from run_double import a_run, fake

OLD = Path(__file__).parents[1]/'fixtures'/'run-0.1'
pytestmark = pytest.mark.usefixtures('drawn')

EVIL = ['<script>alert(1)</script>', '--><script>alert(2)</script>', '"\' onload=alert(3) x="',
        '</svg><img src=x onerror=alert(4)>', ']]>&amp;<!--', '$x$', r'$\frac', '{{ 7*7 }}',
        'fill: #010203', '</style><b>', r'$\frac$']

class Page(HTMLParser):
    "Parse the tags, attributes and text of a page"
    def __init__(self, text):
        super().__init__()
        self.tags,self.attrs,self.text,self.comments = [],[],'',[]
        self.feed(text); self.close()
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag); self.attrs += [(tag,k,v or '') for k,v in attrs]
        if tag not in ('strong','tspan'): self.text += ' '
    def handle_endtag(self, tag): self.text += '' if tag in ('strong','tspan') else ' '
    def handle_data(self, data):
        if self.tags and self.tags[-1]!='style': self.text += data
    def handle_comment(self, data): self.comments.append(data)
    def words(self): return ' '.join(self.text.split())

HTML_TAGS = {'html','head','meta','title','style','body','header','h1','h2','p','div','b','strong','br','figure',
             'figcaption','img','table','tr','th','td','footer'}
SVG_TAGS = {'svg','defs','g','path','text','tspan','use','clippath','rect'}

def check_safe(text):
    "Check that no tag, attribute or address could run or load anything"
    page = Page(text)
    assert set(page.tags)<=HTML_TAGS|SVG_TAGS, set(page.tags)-HTML_TAGS-SVG_TAGS
    for tag,k,v in page.attrs:
        assert not k.startswith('on') and k not in ('srcset','action','data','formaction','xlink:href'), (tag,k,v)
        if k=='src': assert v.startswith('data:image/png;base64,')
        if k=='href': assert v.startswith('#')
        if k=='style': assert not re.search(r'url\((?!#)|expression|@import', v)
    assert not re.search(r'@import|url\((?!#)', text)
    assert sum(v!='' for _,k,v in page.attrs if k=='aria-label')==page.tags.count('svg')
    ids = [v for _,k,v in page.attrs if k=='id']
    assert len(ids)==len(set(ids))
    assert {v[1:] for _,k,v in page.attrs if k=='href'} <= set(ids)
    csp = [v for t,k,v in page.attrs if t=='meta' and k=='content' and 'default-src' in v]
    assert csp==["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    return page

def evil_run(path, **kw):
    a = fake(c=len(EVIL), **kw)
    a.update(classes=np.array(EVIL), valid_labels=np.array(EVIL)[a['valid_labels']])
    run = a_run(path, **a)
    b = EVIL[0]
    (run/'metrics.json').write_text(json.dumps(dict(format=1, recipe=b, arch=b, date=b, data=dict(name=b, sha256=b),
                                                    versions={b:b}, device=b, precision=b,
                                                    settings=dict(opt=b, bs=b), more={b:b})))
    HIST.to_csv(run/'history.csv', index=False)
    return run

def test_names_from_strangers_stay_text(tmp_path):
    run = evil_run(tmp_path/'<script>alert(9)<', n=600, wrong=300)
    page = check_safe(write_report(run).read_text())
    words = page.words()
    assert not page.comments
    for o in EVIL[:1]+EVIL[2:3]+EVIL[5:]: assert o[:15] in words, o
    assert '<script>alert(9)<' in words and '{{ 7*7 }}' in words
    assert '#010203' in words                                              # the name, and no colour of a figure
    assert not re.search('#0[0-9a-f]0', page_styles(page))

def page_styles(page): return ' '.join(v for _,k,v in page.attrs if k=='style')

@pytest.fixture
def run(tmp_path):
    run = a_run(tmp_path/'run', **fake(n=500, c=10, wrong=37, side=28))
    HIST.to_csv(run/'history.csv', index=False)
    return run

def test_what_the_page_says(run):
    m = json.loads((run/'metrics.json').read_text())
    (run/'metrics.json').write_text(json.dumps(dict(m, n_test=28_000)))
    page = check_safe(write_report(run).read_text())
    words = page.words()
    assert '92.60 %' in words and '37 misclassified' in words and '28,000 test rows' in words
    assert page.tags.count('svg')==6
    assert 'one in 14' in words
    lo,hi = re.search(r'(0\.\d{4})\s*–\s*(0\.\d{4}) ?is the expected score', words).groups()
    assert [lo,hi]==[f'{o:.4f}' for o in score_interval(463, 500, 28_000)]
    wlo,whi = (int(o.replace(',','')) for o in re.search(r'([\d,]+) to ([\d,]+) mistakes', words).groups())
    assert wlo==pytest.approx((1-float(hi))*28000, abs=2) and whi==pytest.approx((1-float(lo))*28000, abs=2)
    assert 'expected calibration error' in words and 'The 24 most confident of 37 misclassified rows' in words
    assert sum(v.startswith('data:image') for _,k,v in page.attrs if k=='src')>=24
    worst = re.findall(r'(\d), (\d+\.\d+) % ?label (\d)', words)
    assert len(worst)==24 and [float(o[1]) for o in worst]==sorted([float(o[1]) for o in worst], reverse=True)
    assert all(a!=b for a,_,b in worst)
    for o in ('recipe quick','architecture small','data d, sha256 s'): assert o in words

def test_no_score_is_claimed_for_a_test_set_that_is_not_there(run):
    words = check_safe(report(run).html).words()
    assert '92.60 %' in words and 'test rows' not in words and 'Kaggle' not in words

@pytest.mark.parametrize('n', [20, 28_000])
def test_the_interval_of_the_page_is_that_of_the_metrics(n, run):
    p = read_preds(run)
    m = measured(p, n)
    a = dict(np.load(run/'predictions.npz'))
    # a run of version 0.1 says it by its rows only
    np.savez_compressed(run/'predictions.npz', **a, test_probs=np.full((n,10), .1, np.float32))
    Run(run).save_metrics({**Run(run).metrics, **m})
    for drop in (), ('n_test',):
        (run/'metrics.json').write_text(json.dumps({k:v for k,v in Run(run).metrics.items() if k not in drop}))
        words = check_safe(report(run).html).words()
        assert re.search(r'(0\.\d{4})\s*–\s*(\d\.\d{4}) ?is the expected score',
                         words).groups()==tuple(f'{m[k]:.4f}' for k in ('score_low','score_high'))
        assert f'{n:,} test rows' in words

def test_a_labelled_test_set_has_the_last_word(run):
    Run(run).save_metrics({**Run(run).metrics, **measured(read_preds(run), 200, [True]*150+[False]*50)})
    words = check_safe(report(run).html).words()
    assert '75.00 % of the labelled test rows are classified correctly' in words and 'expected score' not in words

def test_what_the_net_looked_at_is_on_the_page():
    run = OLD/'one'
    page = check_safe(report(run).html)
    assert ('img','class','seen') in page.attrs and 'tinted parts' in page.words()

def test_a_run_whose_model_is_damaged_has_a_report_that_says_so(tmp_path):
    run = shutil.copytree(OLD/'one', tmp_path/'run')
    (run/'model'/'model.safetensors').write_bytes(b'oops')
    page = check_safe(report(run).html)
    assert ('img','class','seen') not in page.attrs and 'model.safetensors' in page.words()
    # such as a run of a net that has no registered name
    shutil.rmtree(run/'model')
    assert 'model.safetensors' not in check_safe(report(run).html).words()

def test_the_page_is_whole_small_quick_and_the_same_each_time(run):
    write_report(run)                                                      # fonts and caches
    t = time.process_time()
    f = write_report(run)
    assert time.process_time()-t<2
    text = f.read_text()
    assert len(text)<2**20 and write_report(run).read_text()==text and f==run/'report.html' and not list(run.glob('.*'))
    assert text.startswith('<!doctype html>') and text.endswith('</html>') and 'prefers-color-scheme: dark' in text
    assert '@media print' in text and 'width=device-width' in text

def test_a_thousand_classes_and_big_images_stay_under_three_megabytes(tmp_path):
    f = write_report(a_run(tmp_path/'r', **fake(n=4200, c=1000, wrong=400, side=128)))
    assert f.stat().st_size<3*2**20
    check_safe(f.read_text())

def test_the_users_matplotlib_settings_neither_matter_nor_change(run):
    want = report(run).html
    with matplotlib.rc_context({'text.usetex':True, 'font.size':30, 'svg.fonttype':'path', 'axes.facecolor':'red'}):
        before = dict(matplotlib.rcParams)
        assert report(run).html==want and dict(matplotlib.rcParams)==before

def test_figures_take_the_pages_colours(run):
    style = page_styles(Page(report(run).html))
    assert 'var(--accent)' in style and 'currentColor' in style
    assert not re.search(r'#[0-9a-f]{6}', style)

def test_a_run_without_pictures_history_or_mistakes(tmp_path):
    words = Page(write_report(a_run(tmp_path/'a', **fake(n_pics=0, wrong=5))).read_text()).words()
    assert 'does not contain their images' in words and 'Training' not in words
    page = Page(write_report(a_run(tmp_path/'b', **fake(n=30, c=2, wrong=0))).read_text())
    words = page.words()
    assert '100.00 %' in words and '0 misclassified' in words and 'No two classes are confused' in words
    assert 'There are none' in words and 'one in' not in words
    few = {k:v for k,v in fake(wrong=5).items() if k not in ('images','image_rows')}
    words = Page(write_report(a_run(tmp_path/'c', **few)).read_text()).words()
    assert 'does not contain their images' in words

def test_labels_that_look_wrong_are_reported_with_their_line(run):
    a = fake(n=500, c=10, wrong=3, side=28, seed=4)
    bad = np.flatnonzero(a['valid_probs'].argmax(1)!=a['valid_labels'])
    # sure that it is not what the label says
    a['valid_probs'][bad[0]] = np.where(np.arange(10)==a['valid_labels'][bad[0]], 1e-5, (1-1e-5)/9)
    np.savez_compressed(run/'predictions.npz', **a)
    words = Page(report(run).html).words()
    assert '1 of the 500 validation rows' in words and '50 times as likely' in words
    assert f"{a['valid_rows'][bad[0]]+2:,} {a['valid_labels'][bad[0]]} < 0.01 %" in words
    # out-of-fold predictions, where a run has them, come first
    b = fake(n=900, c=10, wrong=0, seed=5)
    np.savez_compressed(run/'oof.npz', **b)
    words = Page(report(run).html).words()
    assert '900 training rows' in words and 'not trained on it' in words and 'None:' in words

def test_lr_finds_curve_is_drawn_where_it_was_used(run):
    assert 'lr_find' not in report(run).html
    pd.DataFrame(dict(lr=[1e-5,1e-3,1e-1], loss=[3,1,9])).to_csv(run/'lr_find.csv', index=False)
    page = check_safe(report(run).html)
    assert page.tags.count('svg')==7 and "lr_find's curve" in page.words()
    (run/'lr_find.csv').write_text('lr\n1\n')
    with pytest.raises(RunError, match='lr_find.csv'): report(run)

def test_a_damaged_run_raises_an_error_and_its_old_report_kept(run):
    f = write_report(run)
    old = f.read_text()
    for name in ('predictions.npz','history.csv','metrics.json'):
        was = (run/name).read_bytes()
        (run/name).write_bytes(b'broken')
        with pytest.raises(RunError, match=name): write_report(run)
        (run/name).write_bytes(was)
    assert f.read_text()==old
    with pytest.raises(RunError, match='no such directory'): report(run/'nowhere')

def test_in_a_notebook_it_is_a_frame_that_can_run_nothing(run):
    r = report(run)
    page = Page(r._repr_html_())
    assert page.tags==['iframe'] and dict((k,v) for _,k,v in page.attrs)['srcdoc']==r.html
    assert ('iframe','sandbox','') in page.attrs
    assert len(repr(r))<100

def test_plain_arguments_are_enough():
    p = Preds([0,1,1,0], [[.9,.1],[.2,.8],[.7,.3],[.6,.4]], ['cat','dog'])
    page = check_safe(render_report(p))
    assert '75.00 %' in page.words() and 'label dog predicted as cat (1)' in page.words()

def test_a_real_run_and_a_learner(tiny_run, tmp_path):
    run = tmp_path/'run'
    shutil.copytree(tiny_run[0], run)
    page = check_safe(write_report(run).read_text())
    m = json.loads((run/'metrics.json').read_text())
    assert f"{100*m['accuracy']:.2f} %" in page.words() and f"of {m['n_valid']} held-out rows" in page.words()
    assert page.tags.count('svg')==6
    from conftest import digits
    from digitfast.data.block import DigitDataLoaders
    from digitfast.learn.learner import digit_learner
    learn = digit_learner(DigitDataLoaders.from_df(digits(60), bs=16, device='cpu'), 'stride2')
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    first = report(learn).html
    assert check_safe(first).tags.count('svg')==6 and report(learn).html==first   # the history survives being reported
