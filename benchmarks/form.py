"""How the code reads, in numbers: widths of lines, branches of functions, messages within the logic, prose around code.

    python benchmarks/form.py [FOLDER]      the repository, or another checkout of it"""
import ast, json, sys
from pathlib import Path
import numpy as np, pandas as pd

def files(root):
    "The Python files of each part; what is generated for nbdev's index is nobody's to read"
    return {k:[f for f in sorted((root/d).rglob('*.py')) if f.name!='_modidx.py']
            for k,d in (('package','digitfast'), ('tests','tests'), ('benchmarks','benchmarks'))}

def raised(tree, text):
    "Characters within `raise` statements"
    return sum(len(ast.get_source_segment(text, o)) for o in ast.walk(tree) if isinstance(o, ast.Raise))

def widths(fs):
    "A part's lines: how many, how wide, and how much of them is within `raise`"
    texts = [f.read_text('utf-8') for f in fs]
    w = np.array([len(l) for t in texts for l in t.splitlines() if l.strip()])
    within = sum(raised(ast.parse(t), t) for t in texts)
    mid,wide = (int(np.percentile(w, p)) for p in (50,95))
    return {'lines':len(w), 'over 120':int((w>120).sum()), 'median width':mid, '95th percentile':wide,
            'within raise':f'{within/sum(map(len, texts)):.1%}'}

def branches(f):
    "Ways through a function, as McCabe counts: one, and one a condition, loop, handler, `and`, `or`, comprehension"
    one = ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case
    def n(o):
        if isinstance(o, ast.BoolOp): return len(o.values)-1
        if isinstance(o, ast.comprehension): return 1+len(o.ifs)
        return isinstance(o, one)
    return 1+sum(map(n, ast.walk(f)))

def functions(tree):
    "Functions and methods of a module, without those within them"
    for o in ast.iter_child_nodes(tree):
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)): yield o
        elif isinstance(o, (ast.ClassDef, ast.If, ast.Try, ast.With)): yield from functions(o)

def most_branches(fs, n=10):
    "The `n` functions with most branches"
    found = [(branches(o), f'{f.stem}.{o.name}') for f in fs for o in functions(ast.parse(f.read_text('utf-8')))]
    return sorted(found, key=lambda o: (-o[0], o[1]))[:n]

def names(fs):
    "Names that the modules export"
    every = [o for f in fs for o in ast.parse(f.read_text('utf-8')).body if isinstance(o, ast.Assign)]
    lists = [o.value for o in every if getattr(o.targets[0], 'id', '')=='__all__' and isinstance(o.value, ast.List)]
    return sum(len(o.elts) for o in lists)

def prose(root):
    "Exported lines, the cells that hold them, those of the cells without prose before them, and the notebooks' words"
    lines,cells,bare,words = 0,0,0,0
    for f in sorted((root/'nbs').glob('*.ipynb')):
        kinds = [(c['cell_type'], ''.join(c['source'])) for c in json.loads(f.read_text('utf-8'))['cells']]
        if not any(s.startswith('#| default_exp') for _,s in kinds): continue
        words += sum(len(s.split()) for t,s in kinds if t=='markdown')
        for (before,_),(t,s) in zip(kinds, kinds[1:]):
            if t!='code' or not s.startswith('#| export'): continue
            body = [l for l in s.splitlines()[1:] if l.strip()]
            imports = all(l.startswith(('from ','import ',' ',')')) for l in body)
            lines,cells,bare = lines+len(body),cells+1,bare+(before!='markdown' and not imports)
    return {'exported lines':lines, 'exported cells':cells, 'without prose before':bare,
            'words an exported line':round(words/lines, 2)}

def report(root):
    "Print it all for the checkout in `root`"
    fs = files(root)
    print(pd.DataFrame({k:widths(v) for k,v in fs.items()}).T.to_string())
    print(*(f'{k}: {v}' for k,v in {**prose(root), 'public names':names(fs['package'])}.items()), sep='\n')
    for k,v in fs.items():
        print(f'\nmost branches in {k}:', *(f'{n:4}  {name}' for n,name in most_branches(v)), sep='\n')

if __name__=='__main__': report(Path(sys.argv[1]) if len(sys.argv)>1 else Path(__file__).resolve().parent.parent)
