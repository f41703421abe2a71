"How Sphinx builds the site, for `make docs`. The source folder is the repository, so links between its files work."
import pkgutil, re, shutil, sys
from importlib import import_module
from pathlib import Path

from fastcore.docments import docments

import digitfast

repo = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from notebooks import add_label, github_anchors

# -- what is built

project,author = 'digitfast','The digitfast developers'
version = release = digitfast.__version__
extensions = ['myst_nb','sphinx.ext.autodoc']
root_doc = 'README'
include_patterns = ['README.md','CONTRIBUTING.md','CHANGELOG.md','docs/**','nbs/**']
exclude_patterns = ['nbs/index.ipynb','**/.ipynb_checkpoints','docs/site/contents.md','nbs/tutorials/runs']

# -- Markdown and notebooks

nb_execution_mode = 'off' # their outputs are committed
nb_custom_formats = {'.ipynb':['notebooks.read_notebook',{}]}
nb_merge_streams = True
nb_render_markdown_format = 'gfm' # has tables
myst_enable_extensions = ['amsmath','dollarmath']
myst_heading_anchors = 4
myst_heading_slug_func = 'notebooks.anchor'

# -- the API: a page for each folder, with the comments beside arguments

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_default_options = {'members':True}
autodoc_inherit_docstrings = False # fastai's are reStructuredText only by chance
default_role = 'code'

def module_names(folder):
    "Return the modules of a folder of the package, without deprecated ones"
    path = [str(Path(digitfast.__file__).parent/folder)]
    prefix = f'digitfast.{folder}.' if folder else 'digitfast.'
    names = [o.name for o in pkgutil.iter_modules(path, prefix) if not o.ispkg]
    names = [o for o in names if not o.endswith(('__','_modidx'))]
    return [o for o in names if not (import_module(o).__doc__ or '').startswith('Deprecated')]

folders = 'models','data','learn','kaggle','runs','report','tasks'

def write_api(app):
    "Write a page for each folder of the package into docs/site/api"
    api = repo/'docs/site/api'
    shutil.rmtree(api, ignore_errors=True)
    api.mkdir()
    for o in ('',*folders):
        package = f'digitfast.{o}'.rstrip('.')
        question = import_module(package).__doc__ if o else 'The modules that are in no folder.'
        parts = [f'# {package}', question, 'This page lists the public names of each module.']
        for m in module_names(o):
            if m in ('digitfast.all','digitfast.cli'): continue # names of other modules; subcommands
            if not getattr(import_module(m), '__all__', None): continue # it serves only other modules of the package
            parts += [f"## {m.removeprefix('digitfast.')}", f'```{{eval-rst}}\n.. automodule:: {m}\n```']
        (api/f"{o or 'top'}.md").write_text('\n\n'.join(parts)+'\n', encoding='utf-8')

HOOKS = {'setups','encodes','decodes'} # fastai calls them, and their signatures come from its type dispatch

def skip_hooks(app, what, name, obj, skip, options): return True if name in HOOKS else None

def escape(text):
    "Escape what reStructuredText would read as markup, outside of `code`"
    parts = text.split('`')
    if len(parts)%2==0: return re.sub(r'([*|_`])', r'\\\1', text) # a backtick without its partner
    parts[::2] = [re.sub(r'([*|_])', r'\\\1', o) for o in parts[::2]]
    parts[2::2] = [re.sub(r'^(?=[\w(])', r'\\ ', o) for o in parts[2::2]] # as in `Run`s
    return '`'.join(parts)

def describe_arguments(app, what, name, obj, options, lines):
    "Escape what reStructuredText would read as markup, and add the comments beside arguments"
    lines[:] = map(escape, lines)
    if what=='module': lines.clear() # the notebook says it better
    if what not in ('function','method','class'): return
    try: comments = docments(obj)
    except Exception: return # a class without a signature
    found = {k:escape(v) for k,v in comments.items() if isinstance(v, str) and k!='self'}
    returned = found.pop('return', None)
    if found or returned: lines.append('')
    lines += [f':param {k}: {v}' for k,v in found.items()]
    if returned: lines.append(f':returns: {returned}')

def add_to_source(app, docname, source):
    "Add the contents to the README, which is the first page, and a label to each engineering note; convert anchors"
    source[0] = github_anchors(source[0])
    if docname==root_doc: source[0] += '\n\n'+(repo/'docs/site/contents.md').read_text(encoding='utf-8')
    is_note = docname.startswith('nbs/') and not docname.startswith(('nbs/tutorials/','nbs/guides/'))
    if is_note: source[0] = add_label(source[0])

def copy_first_page(app, exception):
    out = Path(app.outdir)
    if not exception and (out/'README.html').exists(): shutil.copyfile(out/'README.html', out/'index.html')

def setup(app):
    app.connect('builder-inited', write_api)
    app.connect('autodoc-skip-member', skip_hooks)
    app.connect('autodoc-process-docstring', describe_arguments)
    app.connect('source-read', add_to_source)
    app.connect('build-finished', copy_first_page)

# -- the look

html_theme = 'sphinx_book_theme'
html_title = 'digitfast'
html_theme_options = dict(show_navbar_depth=1, home_page_in_toc=True, use_download_button=True, navbar_persistent=[])
html_static_path = ['static']
html_css_files = ['site.css']
html_copy_source = False

# -- warnings are errors, because `make docs` passes -W; an exception needs its reason beside it

suppress_warnings = []
