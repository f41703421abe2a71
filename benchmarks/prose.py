r"""Count habits of translated English in everything that a person reads, per 1,000 words.

    python benchmarks/prose.py [FOLDER]           totals and the worst files of the repository, or of another checkout
    python benchmarks/prose.py --list [FILE ...]  each occurrence, with its file and habit
    python benchmarks/prose.py --check            exit 1 above 0.5 per 1,000 words overall or above 2 in one file

Read are Markdown files, notebooks (Markdown cells; comments, docstrings and other strings of code cells), the pages of
the report and the demo, and docstrings, comments and names of tests. Code, inline code and blocks of code are not."""
import argparse, io, json, re, sys, tokenize
from collections import Counter
from pathlib import Path

OVERALL,FILE = 0.5,2 # the most occurrences per 1,000 words
_modal = r"(?:can|cannot|could|may|might|must|should|would|will|wants?|has to|does)"
_verb = rf"(?:[a-z]+[^s\W]s|is|has|needn't|had|did|was|{_modal})"
_before = (r'(?:^|[.!?;:,(]\s+|\b(?:if|when|what|how|where|as|than|because|before|after|whether|and|or|but|until|'
           r'unless)\s+)')
HABITS = { # eight that readers of version 0.1 marked most often, then words that the style guide replaces
    'one (subject)': rf"(?:{_before})one {_verb}\b|\bthat one {_modal}\b|\boneself\b|\bone's own\b",
    'whoever': r'\b(?:whoever|whomever|whosoever)\b|(?:^|[.;|]\s+)who(?= [a-z])(?![^.!?;]*\?)',
    'told': r'\btold\b',
    'has … wrong': r'\b(?:has|have|had|having)(?: [^\s.;:]+){0,4} (?<!the )(?<!a )(?<!no )(?:wrong|right)\b',
    'What … (subject)': r'(?:^|[.!?;|]\s+|#\s+)what(?= \w)(?! if\b)(?![^.!?|]*\?)',
    'mend': r'\bmend(?:s|ed|ing)?\b',
    'surest': r'\b(?:surest|surer)\b',
    'anew': r'\banew\b',
    'refused': r'\b(?:is|are|was|were|be|been|being|gets?) refused\b|\brefused(?: with)?[,:]',
    'stands': r'\b(?:stands|stood)\b',
    'said': r'\bsaid\b',
    'canary': r'\bcanar(?:y|ies)\b',
    'net says': r'\b(?:nets?|networks?|models?) (?:says?|tells?)\b',
    'put aside': r'\b(?:puts?|putting|laid|lays?|set) (?:\w+ )?aside\b',
    'no net saw': r'\bno (?:net|network|model) (?:saw|has seen|ever saw)\b',
    'by hand': r'\bby hand\b',
    'given': r'\b(?:is|are|was|were|be|been|as|if|what|that|one|those|not|none) given\b',
    'goes on': r'\b(?:goes|went) on\b|\bgo on\b(?! to)',
    'lived': r'\b(?:lives|lived)\b',
    'of like': r'\bof like\b',
    'left out:': r'\bleft out:',
}
_patterns = {k:re.compile(p, re.I|re.M) for k,p in HABITS.items()}
_inline = re.compile(r'`[^`\n]*`|\$[^$\n]+\$|!?\]\([^)]*\)|<[^>\n]+>|https?://\S+')
_fence = re.compile(r'^ *(```|~~~)(\w*).*?^ *\1 *$', re.M|re.S)

def markdown(text):
    "Return the prose of a Markdown text; the output of commands is prose, other blocks of code are not"
    return _inline.sub(' x ', _fence.sub(lambda m: m[0] if m[2]=='console' else ' ', text))

def _strings(code):
    "Yield each comment and string literal of `code`, adjacent strings joined as Python joins them"
    code = ''.join(l for l in code.splitlines(True) if not l.lstrip().startswith(('%','!','#|')))
    texts,depth = [],0
    try: tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError): return
    for t in tokens:
        name = tokenize.tok_name[t.type]
        if name=='COMMENT':
            yield t.string.lstrip('# ')
            continue
        if name=='NL': continue
        if name=='FSTRING_START': depth += 1
        if name=='FSTRING_END': depth -= 1
        part = None
        if name=='STRING' and not depth:
            part = re.sub(r'^[rRbBuUfF]*("""|\'\'\'|"|\')(.*)\1$', r'\2', t.string, flags=re.S)
            if re.match(r'[rRbBuU]*[fF]', t.string): part = re.sub(r'\{[^{}]*\}', 'x', part)
        if name=='FSTRING_MIDDLE': part = t.string
        if depth and part is None: # an expression of an f-string
            if texts and not texts[-1].endswith('x'): texts.append('x')
            continue
        if part is not None: texts.append(part)
        elif name not in ('FSTRING_START','FSTRING_END'):
            if texts: yield ''.join(texts)
            texts = []
    if texts: yield ''.join(texts)

def python(code):
    "Return the prose of Python code: its comments, and its strings of at least three words"
    found = (_inline.sub(' x ', s.replace('\\n', '\n')) for s in _strings(code))
    return '\n'.join(s for s in found if len(s.split())>2)

def notebook(text):
    "Return the prose of a notebook's cells"
    cells = ((c['cell_type'], ''.join(c['source'])) for c in json.loads(text)['cells'])
    return '\n\n'.join(markdown(s) if kind=='markdown' else python(s) for kind,s in cells if kind!='raw')

def test(text):
    "Return the prose of a module of tests, and the names of its tests as words"
    names = (m[1].replace('_', ' ') for m in re.finditer(r'def (test_\w+)', text))
    return '\n'.join([python(text), *names])

def page(text):
    "Return the text of a page, with the comments and strings of its scripts"
    text = re.sub(r'<style.*?</style>|/\*.*?\*/', ' ', text, flags=re.S)
    return re.sub(r'<[^>]*>|\{\{.*?\}\}|\$\{[^}]*\}', ' ', text)

def texts(root):
    "Return {file: prose} of the files in `root` that people write and read"
    kinds = ((markdown, ['README.md','CONTRIBUTING.md','CHANGELOG.md','docs/*.md','docs/site/*.md','nbs/**/*.md',
                         'digitfast/sample/*.md','digitfast/pages/*.md']),
             (notebook, ['nbs/**/*.ipynb']), (page, ['digitfast/pages/*.html','digitfast/pages/*.js']),
             (python, ['benchmarks/*.py','digitfast/all.py','digitfast/**/__init__.py','docs/site/*.py']),
             (test, ['tests/**/*.py']))
    return {f.relative_to(root).as_posix():read(f.read_text('utf-8')) for read,globs in kinds for g in globs
            for f in sorted(root.glob(g))
            if f.name not in ('prose.py','test_prose.py') and '.ipynb_checkpoints' not in f.parts}

def occurrences(text):
    "Yield (habit, the words around it) for each habit in `text`"
    for k,p in _patterns.items():
        for m in p.finditer(text): yield k,' '.join(text[max(m.start()-40, 0):m.end()+50].split())

def count(found):
    "Return {file: (words, Counter of habits)} of {file: prose}"
    word = re.compile(r"[A-Za-z][A-Za-z'’-]*")
    return {f:(len(word.findall(t)), Counter(k for k,_ in occurrences(t))) for f,t in found.items()}

def rate(words, n): return 1000*n/max(words, 1)

def too_many(counts):
    "Return what is above the limits, one line each"
    words,n = sum(w for w,_ in counts.values()),sum(c.total() for _,c in counts.values())
    res = [f'{f}: {rate(w, c.total()):.1f} per 1,000 words, at most {FILE}: {", ".join(c)}'
           for f,(w,c) in counts.items() if rate(w, c.total())>FILE]
    if rate(words, n)>OVERALL: res.append(f'all files: {rate(words, n):.2f} per 1,000 words, at most {OVERALL}')
    return res

def report(counts, n=20):
    "Print the rate of each habit and the `n` worst files"
    words,total = sum(w for w,_ in counts.values()),sum((c for _,c in counts.values()), Counter())
    n_habits = total.total()
    print(f'{len(counts)} files, {words} words, {n_habits} habits: {rate(words, n_habits):.2f} per 1,000 words')
    for k,m in total.most_common(): print(f'{m:6}  {rate(words, m):5.2f}  {k}')
    print('\nper 1,000 words, the worst files')
    worst = sorted(((rate(w, c.total()), f, c) for f,(w,c) in counts.items() if c), key=lambda o: (-o[0], o[1]))
    for r,f,c in worst[:n]: print(f'{r:6.1f}  {f}: {", ".join(f"{k} {m}" for k,m in c.most_common(4))}')

def main(args):
    "Run as the module's docstring says"
    p = argparse.ArgumentParser(description='Count habits of translated English.')
    p.add_argument('paths', nargs='*')
    p.add_argument('--list', action='store_true')
    p.add_argument('--check', action='store_true')
    a = p.parse_args(args)
    repo = Path(__file__).resolve().parent.parent
    found = texts(Path(a.paths[0]) if a.paths and not a.list else repo)
    if a.list:
        for f,t in found.items():
            if a.paths and not any(p in f for p in a.paths): continue
            for k,s in occurrences(t): print(f'{f}: [{k}] {s}')
        return 0
    counts = count(found)
    report(counts)
    wrong = too_many(counts) if a.check else []
    if wrong: print('', *wrong, sep='\n', file=sys.stderr)
    return int(bool(wrong))

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
