"How the site reads notebooks"
import json, re
import nbformat

def anchor(title):
    "Return the anchor of a heading as GitHub names it in Markdown"
    return re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')

def github_anchors(text):
    "Return Markdown or a notebook with the anchors of its links as GitHub names them; Jupyter keeps capitals"
    return re.sub(r'(\]\((?!https?:)[^)#\s]*#)([^)\s]+)\)', lambda m: f'{m[1]}{anchor(m[2])})', text)

def _directives(source):
    "Return the directives of a code cell, and its source without them"
    lines = source.split('\n')
    n = next((i for i,o in enumerate(lines) if not re.match(r'#\s*\|', o)), len(lines))
    return [re.sub(r'^#\s*\|\s*', '', o).strip() for o in lines[:n]], '\n'.join(lines[n:]).strip('\n')

def read_notebook(text):
    "Return a notebook without its hidden cells and without nbdev's directives"
    nb = nbformat.reads(text, 4)
    nb.metadata.language_info = dict(name='python', pygments_lexer='ipython3')
    cells,nb.cells = nb.cells,[]
    for o in cells:
        if o.cell_type=='code':
            found,o.source = _directives(o.source)
            if 'hide' in found or not o.source and not o.outputs: continue
            if 'echo: false' in found: o.metadata.tags = ['remove-input']
        nb.cells.append(o)
    return nb

NOTE = """```{note}
This is an engineering note: the source of `digitfast.%s`, for readers who want to change the package.
If you want to use it, start with the course.
```"""

def add_label(text):
    "Add a note on what it is to the notebook of a module, below its title"
    nb = json.loads(text)
    found = [re.match(r'#\|\s*default_exp (\S+)', ''.join(o['source'])) for o in nb['cells']]
    module = next((m[1] for m in found if m), None)
    if module: nb['cells'].insert(1, dict(cell_type='markdown', id='note', metadata={}, source=NOTE%module))
    return json.dumps(nb)
