"""Measure the form of the code: folders and imports, widths of lines, branches of functions, prose around code.

    python benchmarks/form.py [FOLDER]      the repository, or another checkout of it"""
import ast, json, re, sys
from collections import Counter
from pathlib import Path
import numpy as np, pandas as pd

def files(root):
    "Return the Python files of each part, without nbdev's generated index"
    return {k:[f for f in sorted((root/d).rglob('*.py')) if f.name!='_modidx.py']
            for k,d in (('package','digitfast'), ('tests','tests'), ('benchmarks','benchmarks'))}

def raised(tree, text):
    "Return the number of characters within `raise` statements"
    return sum(len(ast.get_source_segment(text, o)) for o in ast.walk(tree) if isinstance(o, ast.Raise))

def widths(fs):
    "Return the number and the widths of the lines of a part, and their share within `raise`"
    texts = [f.read_text('utf-8') for f in fs]
    w = np.array([len(l) for t in texts for l in t.splitlines() if l.strip()])
    within = sum(raised(ast.parse(t), t) for t in texts)
    mid,wide = (int(np.percentile(w, p)) for p in (50,95))
    return {'lines':len(w), 'over 120':int((w>120).sum()), 'median width':mid, '95th percentile':wide,
            'within raise':f'{within/sum(map(len, texts)):.1%}'}

def branches(f):
    "Return McCabe's complexity: 1, plus 1 for each condition, loop, handler, `and`, `or` and comprehension"
    one = ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case
    def n(o):
        if isinstance(o, ast.BoolOp): return len(o.values)-1
        if isinstance(o, ast.comprehension): return 1+len(o.ifs)
        return isinstance(o, one)
    return 1+sum(map(n, ast.walk(f)))

def functions(tree):
    "Yield the functions and methods of a module, but no nested ones"
    for o in ast.iter_child_nodes(tree):
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)): yield o
        elif isinstance(o, (ast.ClassDef, ast.If, ast.Try, ast.With)): yield from functions(o)

def most_branches(fs, n=10):
    "Return the `n` functions with most branches"
    found = [(branches(o), f'{f.stem}.{o.name}') for f in fs for o in functions(ast.parse(f.read_text('utf-8')))]
    return sorted(found, key=lambda o: (-o[0], o[1]))[:n]

def names(fs):
    "Return the names that the modules export"
    every = [o for f in fs for o in ast.parse(f.read_text('utf-8')).body if isinstance(o, ast.Assign)]
    lists = [o.value for o in every if getattr(o.targets[0], 'id', '')=='__all__' and isinstance(o.value, ast.List)]
    return [e.value for o in lists for e in o.elts if isinstance(e, ast.Constant)]

def module_name(f, root): return '.'.join(f.relative_to(root).with_suffix('').parts).removesuffix('.__init__')

def imports(tree, name):
    "Yield (module of digitfast, imported name, at the module's top?) for each name that the module `name` imports"
    top = {id(o) for o in tree.body}
    for o in ast.walk(tree):
        if not isinstance(o, ast.ImportFrom): continue
        base = '.'.join(name.split('.')[:-o.level]) if o.level else ''
        source = '.'.join(filter(None, (base, o.module)))
        if source.split('.')[0]=='digitfast': yield from ((source, a.name, id(o) in top) for a in o.names)

def levels(needs):
    "Return {module: level}: 1 if it imports nothing of digitfast, else one more than the highest that it imports"
    res = {}
    def level(m, path=()):
        if m in path: raise ValueError(f"a circle of imports: {' -> '.join((*path, m))}")
        if m not in res: res[m] = 1+max((level(o, (*path, m)) for o in needs[m]), default=0)
        return res[m]
    for m in needs: level(m)
    return res

question = re.compile(r'(Is|Are|Was|Were|Does|Do|Has|Have|Can|May|Must|Should|What|Which|Who|Whose|Where|When|Why|'
                      r'How)\b')

def docstrings(trees):
    "Yield (module, name, first line of its docstring) of every function and class"
    for m,t in trees.items():
        for o in ast.walk(t):
            if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(o):
                yield m,o.name,ast.get_docstring(o).splitlines()[0]

def private_twice(trees):
    "Return the private names that several modules define, with how many modules"
    kinds = ast.FunctionDef, ast.ClassDef
    found = Counter(o.name for t in trees.values() for o in t.body if isinstance(o, kinds) and o.name.startswith('_'))
    return {k:n for k,n in found.items() if n>1}

def is_compatibility(f):
    "Return whether `f` only keeps an old import path working"
    return (ast.get_docstring(ast.parse(f.read_text('utf-8'))) or '').startswith('Deprecated:')

def structure(root):
    "Return the number of folders, modules, levels, names that cross modules, and docstrings that are questions"
    pkg = root/'digitfast'
    written = [f for f in sorted(pkg.rglob('*.py')) if f.name not in ('_modidx.py','__main__.py')]
    fs = [f for f in written if not is_compatibility(f)]
    trees = {module_name(f, root):ast.parse(f.read_text('utf-8')) for f in fs}
    crossing = [(m,s,n) for m,t in trees.items() for s,n,_ in imports(t, m) if n.startswith('_') and n!='__version__']
    needs = {m:{s for s,_,top in imports(t, m) if top and s in trees and s!=m} for m,t in trees.items()}
    level = levels(needs)
    docs = list(docstrings(trees))
    asked = [(m,n,d) for m,n,d in docs if d.endswith('?') or question.match(d)]
    lines = {m:len(f.read_text('utf-8').splitlines()) for m,f in zip(trees, fs)}
    longest = max(lines, key=lines.get)
    every = names(fs)
    return {'modules at the top':len([f for f in fs if f.parent==pkg and f.name!='__init__.py']),
            'folders at the top':len({f.relative_to(pkg).parts[0] for f in fs if f.parent!=pkg}),
            'modules':len(fs), 'largest module':f'{longest}, {lines[longest]} lines',
            'levels of imports':max(level.values()), 'public names':len(every),
            'underscore names imported from another module':len(crossing),
            'private names that several modules define':len(private_twice(trees)),
            'docstrings that are questions':f'{len(asked)} of {len(docs)}'}

def prose(root):
    "Return the number of exported lines and cells, of cells without prose before them, and of words"
    lines,cells,bare,words = 0,0,0,0
    for f in sorted((root/'nbs').rglob('*.ipynb')):
        kinds = [(c['cell_type'], ''.join(c['source'])) for c in json.loads(f.read_text('utf-8'))['cells']]
        if not any(s.startswith('#| default_exp') for _,s in kinds): continue
        words += sum(len(s.split()) for t,s in kinds if t=='markdown')
        for (before,_),(t,s) in zip(kinds, kinds[1:]):
            if t!='code' or not s.startswith('#| export'): continue
            body = [l for l in s.splitlines()[1:] if l.strip()]
            imports = all(l.startswith(('from ','import ',' ',')')) for l in body)
            lines,cells,bare = lines+len(body),cells+1,bare+(before!='markdown' and not imports)
    return {'exported lines':lines, 'exported cells':cells, 'without prose before':bare,
            'words per exported line':round(words/lines, 2)}

def report(root):
    "Print all measures for the checkout in `root`"
    fs = files(root)
    print(pd.DataFrame({k:widths(v) for k,v in fs.items()}).T.to_string())
    print(*(f'{k}: {v}' for k,v in {**structure(root), **prose(root)}.items()), sep='\n')
    for k,v in fs.items():
        print(f'\nmost branches in {k}:', *(f'{n:4}  {name}' for n,name in most_branches(v)), sep='\n')

if __name__=='__main__': report(Path(sys.argv[1]) if len(sys.argv)>1 else Path(__file__).resolve().parent.parent)
