"Tests of the site: hidden cells and directives are left out, and links lead to headings, also on GitHub"
import json, re, sys
import pytest
from conftest import REPO

pytest.importorskip('nbformat')
sys.path.append(str(REPO/'docs/site'))
import notebooks

def notebook(*sources):
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=[], source=o)
             for i,o in enumerate(sources)]
    return json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5))

def sources(nb): return [o['source'] for o in nb['cells']]

def test_hidden_cells_and_directives_are_left_out():
    text = notebook('#| default_exp data.read', '#| export\nx = 1', '#| hide\nassert x==1', 'print("#| hide")',
                    '#|hide\n1')
    assert sources(notebooks.read_notebook(text))==['x = 1', 'print("#| hide")']

def test_a_cell_without_echo_keeps_only_its_outputs():
    nb = notebooks.read_notebook(notebook('#| echo: false\nplot()'))
    assert nb.cells[0].metadata.tags==['remove-input']

def test_the_notebook_of_a_module_is_labelled_and_another_is_not():
    labelled = json.loads(notebooks.add_label(notebook('# title', '#| default_exp data.read')))
    assert 'engineering note' in sources(labelled)[1] and 'digitfast.data.read' in sources(labelled)[1]
    assert sources(json.loads(notebooks.add_label(notebook('1+1'))))==['1+1']

@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', *(f'docs/{o.name}' for o in
                                  sorted((REPO/'docs').glob('*.md')))])
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r'\]\((?!https?:|#|mailto:)([^)#\s]+)', (REPO/page).read_text(encoding='utf-8'))
    assert not [o for o in links if not (REPO/page).parent.joinpath(o).exists()]

def headings(path):
    "Return the headings of a page or notebook"
    text = path.read_text(encoding='utf-8')
    if path.suffix=='.ipynb':
        text = '\n'.join(''.join(o['source']) for o in json.loads(text)['cells'] if o['cell_type']=='markdown')
    return re.findall(r'^#+ (.+)', re.sub(r'```.*?```', '', text, flags=re.S), re.M)

def links_to_headings(path):
    "Yield (file, anchor) for each link of a page or notebook that leads to a heading"
    for file,anchor in re.findall(r'\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)', path.read_text(encoding='utf-8')):
        yield path.parent/file if file else path, anchor

def test_links_lead_to_headings_on_github_and_in_jupyter():
    "GitHub writes anchors of Markdown in lower case; Jupyter, and GitHub for notebooks, keep the heading"
    pages = [*REPO.glob('*.md'), *REPO.glob('docs/*.md'), *REPO.glob('nbs/**/*.ipynb'), *REPO.glob('nbs/**/*.md')]
    found = [(page.name, to, anchor) for page in pages for to,anchor in links_to_headings(page)]
    assert len(found)>5
    def anchors(to): return {o.replace(' ', '-') if to.suffix=='.ipynb' else notebooks.anchor(o) for o in headings(to)}
    assert not [(page, to.name, o) for page,to,o in found if o not in anchors(to)]

def test_the_site_reads_both_kinds_of_anchors():
    text = '[a](05a.ipynb#The-articles), [b](#9.-What-is-it?), [c](x.md#speed), [d](https://a.b/c#D-E)'
    assert notebooks.github_anchors(text)==('[a](05a.ipynb#the-articles), [b](#9-what-is-it), [c](x.md#speed), '
                                            '[d](https://a.b/c#D-E)')
