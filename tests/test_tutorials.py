"Tests of rules for the tutorials: goals, questions, experiments, and a folder of their own"
import json, re, subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent/'nbs'/'tutorials'
TUTORIALS = sorted(FOLDER.glob('*.ipynb'))

def cells(nb, kind=None):
    return [c for c in json.loads(nb.read_text(encoding='utf-8'))['cells'] if kind in (None, c['cell_type'])]

def source(cs): return '\n'.join(''.join(c['source']) for c in cs)

def section(nb, title):
    "Return the text below a heading, up to the next heading"
    text = source(cells(nb, 'markdown'))+'\n## '
    m = re.search(rf'^## {title}\n(.*?)^## ', text, re.S|re.M)
    assert m, f'{nb.stem} has no section {title}'
    return m[1]

each = pytest.mark.parametrize('nb', TUTORIALS, ids=lambda p: p.stem)

def test_they_are_numbered_without_a_gap():
    "A letter, as in 01b or 05a, marks a further notebook on the same subject"
    numbers = [p.stem.split('_')[0] for p in TUTORIALS]
    assert sorted({o[:2] for o in numbers})==[f'{i:02}' for i in range(13)] and len(set(numbers))==len(numbers)==16

def test_each_is_listed_in_the_readme_in_order():
    text = (FOLDER.parents[1]/'README.md').read_text(encoding='utf-8').split('## Learn from it')[1].split('\n## ')[0]
    assert re.findall(r'nbs/tutorials/(\d\w+)\.ipynb', text)==[p.stem for p in TUTORIALS]

@each
def test_it_says_what_the_reader_will_be_able_to_do(nb):
    first = source(cells(nb)[:1])
    assert first.startswith('# ') and '\n> ' in first
    for o in ('**What you will be able to do**', 'You need', '[glossary](glossary.md)'): assert o in first, o

@each
def test_it_says_how_to_install_on_kaggle_or_colab(nb, tmp_path):
    "The line finds a wheel in the working folder or in Kaggle's input folder"
    (tmp_path/'digitfast-0.1.0-py3-none-any.whl').touch()
    line = re.search(r'^\*\*On Kaggle or Colab\*\*.*`!(pip install [^`]*)`', source(cells(nb)[:1]), re.M)[1]
    r = subprocess.run(['sh','-c','echo '+line], cwd=tmp_path, capture_output=True, text=True)
    assert r.stdout=='pip install -q ./digitfast-0.1.0-py3-none-any.whl\n' and r.stderr==''

@each
def test_it_asks_and_answers(nb):
    text = section(nb, 'Questions')
    asked = re.findall(r'^\d+\. ', text, re.M)
    assert 6<=len(asked)<=12
    assert text.count('<details><summary>Answer</summary>')==text.count('</details>')==len(asked)

@each
def test_it_proposes_three_things_with_what_to_expect(nb):
    things = re.findall(r'^- (.*)', section(nb, 'Things to try'), re.M)
    assert len(things)==3 and all('xpect' in o for o in things)

@each
def test_it_says_where_to_read_on(nb): assert section(nb, 'Where to read on').count('](http')>=2

@each
def test_its_sections_are_numbered_without_a_gap(nb):
    n = [int(o) for o in re.findall(r'^## (\d+)\. ', source(cells(nb, 'markdown')), re.M)]
    assert n and n==list(range(1, len(n)+1))

@each
def test_prose_is_above_each_figure(nb):
    bare,logged = [],True
    for c in cells(nb):
        if c['cell_type']=='markdown': logged = True
        elif any('image/png' in o.get('data', {}) for o in c['outputs']):
            if not logged: bare.append(c['id'])
            logged = False
    assert not bare

@each
def test_it_works_in_its_own_folder(nb):
    code = source(cells(nb, 'code'))
    own = 'write_competition(folder)' in code   # the capstone makes its data itself
    assert 'chdir' not in code and ('find_data()' in code or own)

@each
def test_its_assertions_of_figures_are_hidden_cells(nb):
    hidden = [c for c in cells(nb, 'code') if ''.join(c['source']).startswith('#| hide')]
    assert any('assert' in source([c]) for c in hidden)

MEASURED = [p for p in sorted(FOLDER.parent.rglob('*.ipynb')) if 'benchmarks/results' in source(cells(p, 'code'))]

@pytest.mark.parametrize('nb', MEASURED, ids=lambda p: p.stem)
def test_its_words_are_what_was_measured_last(nb, monkeypatch):
    "Run the cells that compare the text with benchmarks/results. They fail if a new measurement contradicts the text"
    names,asserted = {},0
    exec('from digitfast.all import *\nimport json\nfrom fastcore.test import test_eq', names)
    monkeypatch.chdir(nb.parent)
    for cell in cells(nb, 'code'):
        text = source([cell])
        if 'benchmarks/results' not in text: continue
        exec(text, names)
        asserted += 'assert' in text or 'test_eq' in text
    assert asserted

@each
def test_its_outputs_are_clean(nb):
    outs = [o for c in cells(nb, 'code') for o in c['outputs']]
    assert outs and not [o for o in outs if o['output_type']=='error' or o.get('name')=='stderr']
    words = json.dumps([o for o in outs if 'image/png' not in o.get('data', {})])
    assert not re.search(r'/(work|root|home|tmp)/', words)

@each
def test_links_to_files_lead_somewhere(nb):
    links = re.findall(r'\]\((?!http|#)([^)#]+)', source(cells(nb, 'markdown')))
    assert not [to for to in links if not (nb.parent/to).exists()]

def test_the_glossary_is_in_order():
    "Each row of the glossary names the notebook that explains the word"
    lines = (FOLDER/'glossary.md').read_text(encoding='utf-8').splitlines()
    rows = [l.split('|') for l in lines if l.startswith('| ')][1:]
    assert len(rows)>60 and all(re.search(r'\]\(\d\d[a-z]?_\w+\.ipynb\)', r[3]) for r in rows)
    for to in {m for r in rows for m in re.findall(r'\]\(([^)]+)\)', r[3])}: assert (FOLDER/to).exists(), to
    names = [r[1].strip().lower().strip('`').split(',')[0].replace('1cycle', 'one') for r in rows]
    assert names==sorted(names), 'rows are in alphabetical order'

def test_the_glossary_has_the_terms_of_training_and_of_measuring():
    text = (FOLDER/'glossary.md').read_text(encoding='utf-8')
    terms = ('backpropagation', 'broadcasting', 'chain rule', 'confidence interval', 'hook', 'hyperparameter',
             'log-loss', 'logit', 'MixUp', 'p-value')
    assert not [o for o in terms if f'\n| {o} |' not in text]

def _names(row): return [o.strip(' `*') for o in row[1].split(',')]

def test_the_glossary_leads_to_notebooks_that_use_the_word():
    lines = (FOLDER/'glossary.md').read_text(encoding='utf-8').splitlines()
    text = {p.name:source(cells(p, 'markdown')).lower() for p in TUTORIALS}
    for row in [l.split('|') for l in lines if l.startswith('| ')][1:]:
        for to in re.findall(r'\]\(([^)]+)\)', row[3]):
            assert any(o.lower()[:5].rstrip('e') in text[to] for o in _names(row)), (row[1], to)

def test_the_readme_is_short():
    "It has at most 900 words, including tables, without code"
    text = (FOLDER.parents[1]/'README.md').read_text(encoding='utf-8')
    for a,b in ((r'```.*?```', ''), (r'<div>.*?</div>', ''), (r'!?\[([^\]]*)\]\([^)]*\)', r'\1'), (r'<[^>]+>', '')):
        text = re.sub(a, b, text, flags=re.S)
    assert len([o for o in text.split() if re.search(r'\w', o)])<=900

def code_of(nb, *titles):
    "Return the code cells below these headings, without hidden ones"
    res,on = [],False
    for c in cells(nb):
        s = ''.join(c['source'])
        if c['cell_type']=='markdown' and (m := re.search(r'^## (?:\d\. )?(.*)', s, re.M)): on = m[1] in titles
        if on and c['cell_type']=='code' and not s.startswith('#| hide'): res.append(s)
    return res

def test_thirty_lines_from_a_net_of_ones_own_to_a_submission(tmp_path, capsys):
    "The code in the middle of the tutorial runs unchanged on other digits, without private names"
    nb = FOLDER/'09_your_own.ipynb'
    own = [o for o in code_of(nb, 'An architecture', 'An *augmentation*') if o.startswith(('class', '@arch'))]
    middle = code_of(nb, 'A complete entry in thirty lines')
    code = '\n'.join(own+middle)
    assert len([o for o in code.splitlines() if o.strip()])<=40
    assert not re.search(r'(?<![\w])_[a-z]|\._[a-z]', code), 'a private name'
    import digitfast.all as everything
    from digitfast.models.nets import archs
    from conftest import csvs
    ns = dict(vars(everything))
    ns.update(data=everything.read_csvs(csvs(tmp_path/'d', n=60)), work=tmp_path)
    try:
        for o in own+middle: exec(compile(o, nb.name, 'exec'), ns)
    finally: archs.pop('two-views', None)
    joined,ready_made = ns['joined'],ns['ready_made']
    assert sorted(joined.predictions().rows)==list(range(60)) and joined.metrics['members']==5
    checked = everything.check_submission(joined/'submission.csv', ns['data'])
    assert checked['rows']==20 and (joined/'report.html').exists()
    v = everything.versus(ready_made, joined)
    assert set(v.a.rows)==set(ready_made.predictions().rows) and 'MixUp' in code and 'Pen' in code
