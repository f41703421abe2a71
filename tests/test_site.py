"How the site reads notebooks: hidden cells and directives are left out, and engineering notes have a label"
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
