"""Render README.md from nbs/index.ipynb, and the pages beside it in docs/: `python benchmarks/readme.py`.

Tables come from the CSVs in benchmarks/results, where the notebook or page has a line `<!-- table: NAME -->`."""
from pathlib import Path
import json, re
import pandas as pd
import nbformat
from fastcore.nbio import read_nb, write_nb
from nbconvert import MarkdownExporter
from digitfast.learn.recipe import recipes

here = Path(__file__).parent
results,nbs = here/'results', here.parent/'nbs'

_blog = 'https://gurtaj1.github.io/blog/2023/09/02/mnist-sgd-linear-functions-and-convolutions.html'
_code = 'https://github.com/RathanakSreang/PyTorchScholarshipLesson/tree/master/hand-written-digit'
articles = dict(
    A=f'gurtaj1, [MNIST SGD, Linear Functions, and Convolutions]({_blog})',
    B='[seyong2](https://github.com/seyong2), Predicting Digits using Neural Network',
    C='an unnamed author, MNIST Digit Classification using PyTorch (21 November 2024)',
    D='[Pratik Kumar](https://pr2tik1.github.io), Digit Recognition using MLP in PyTorch',
    E=f'[RathanakSreang]({_code}), on Viblo')
figures = {  # of a system: its article, and what the figure was measured on that the article reports
    'average': ('A', 'Kaggle'), 'linear': ('A', 'training rows'), 'two-layer': ('A, fixed', ''),
    'two-layer-broadcast': ('A', 'training rows'), 'two-layer-learner': ('A', 'training rows'),
    'stride2': ('A', 'training rows'), 'mlp-100': ('B', 'held-out rows'), 'mlp-25-25': ('C', 'last batch'),
    'mlp-512-256': ('D', ''), 'mlp-512-512': ('E', 'Kaggle')}

def _csv(name, **kw): return pd.read_csv(results/f'{name}.csv', **kw)
def _threads(n): return f"{n} thread{'' if n==1 else 's'}"
def _seconds(v): return f'{v:.2f} s' if v<10 else f'{v:.0f} s'
def _list(d, f): return ', '.join(f(k, v) for k,v in d.items())

def _table(heads, rows, align=''):
    "A table in Markdown; `align` has an `r` for each column of numbers"
    lines = [heads, ['---:' if a=='r' else '---' for a in align.ljust(len(heads))], *rows]
    return '\n'.join('| '+' | '.join(map(str, o))+' |' if o is not lines[1] else '|'+'|'.join(o)+'|' for o in lines)

def _how(*names):
    "Date, machine, versions and commands of results"
    return f"{_when(*names)}. {'; '.join(f'`{_csv(o).command.iloc[0]}`' for o in names)}."

def _days(*dates):
    "The first and the last of these dates"
    return ' to '.join(dict.fromkeys((min(dates), max(dates))))

def _when(*names):
    "Date, machine and versions of results"
    o = _csv(names[0]).iloc[0]
    return f"{_days(*(d for k in names for d in _csv(k).date))}, {o.machine}, {_threads(o.threads)}, {o.versions}"

def systems():
    "What `digitfast compare` measured, a row a system"
    t,runs = _csv('compare', dtype=dict(reported=str)),_csv('runs')
    def row(r):
        source,what = figures.get(r.system, ('–', ''))
        said = '–' if pd.isna(r.reported) else f'{r.reported}, {what}'
        return f'`{r.system}`', source, said, f"{r['mean']:.4f} ± {r.sd:.4f}", f'{r.parameters:,}', f'{r.seconds:.0f}'
    o,days = runs.iloc[0],_days(*runs.date)
    heads = ['recipe', 'article', 'reported, on', 'measured', 'parameters', 'seconds']
    return '\n\n'.join([
        _table(heads, [row(r) for _,r in t.iterrows()], '   rrr'),
        f"Measured: {round(o.rows/9):,} held-out rows of `train.csv`, mean and standard deviation over {t.seeds.min()} "
        f"seeds; {o.device.upper()}, {_threads(o.threads)}, {days}; seconds of training on a shared machine, "
        f"roughly. Articles: {'; '.join(f'{k} {v}' for k,v in articles.items())}."])

def _mean(t, col):
    "Mean seconds of each system that reached `col` in all its trainings"
    return t.groupby('system', sort=False)[col].agg(lambda o: o.astype(float).mean(skipna=False)).dropna()

def _race(acc, goal):
    "A row: who reached `goal` and after how many seconds; None where no recipe did"
    t = _mean(acc, goal)
    ours,rest = t[t.index.str.startswith('digitfast')],t[~t.index.str.startswith('digitfast')]
    if not len(ours): return
    kinds = {k:re.sub(r', \d+ epochs?$', '', k) for k in acc.system.unique() if not k.startswith('digitfast')}
    rest = rest.sort_values()
    rest = rest[~rest.index.map(kinds).duplicated()] # of several lengths the one that suits it best
    lost = [o for o in dict.fromkeys(kinds.values()) if o not in set(rest.index.map(kinds))]
    beside = [_list(rest, lambda k,v: f'{k} {_seconds(v)}'), f"not reached: {', '.join(lost)}" if lost else '']
    mine = _list(ours, lambda k,v: f"{k.removeprefix('digitfast ')} {_seconds(v)}")
    how = '/'.join(acc.precision[acc.system.str.startswith('digitfast')].unique())
    return f'training to {goal[:-1]} % of held-out rows, {how}', mine, ', '.join(filter(None, beside))

def speed(short=False):
    "digitfast and what stands beside it, from loading.csv, time_to_accuracy.csv, overhead.csv and command.csv"
    load,acc,over,cmd = map(_csv, ('loading', 'time_to_accuracy', 'overhead', 'command'))
    l,o,c = load.set_index('loader').seconds,over.set_index('recipe').ratio,cmd.set_index('what').seconds
    ours,rivals = (l[l.index.str.startswith('digitfast')==o] for o in (True, False))
    if short: ours,rivals = ours[['digitfast']],rivals[rivals.index.str.contains('bare|workers|from rows')]
    rows = [(f'an epoch of batches of {load.bs[0]}, {load.rows[0]:,} images',
             _list(ours.sort_index(), lambda k,v: f"{k.partition(', ')[2]} {_seconds(v)}".strip()),
             _list(rivals, lambda k,v: f'{k} {_seconds(v)}'))]
    rows += filter(None, (_race(acc, goal) for goal in ('99.0%', '99.5%', '99.6%')[:1 if short else 3]))
    if not short:
        rows.append(('`Learner` with all callbacks, to a bare loop of the same',
                     _list(o, lambda k,v: f'`{k}` {v:.2f}'), '1'))
    if short: rows.append(_on_a_card())
    imports = f"{_seconds(c['import of all that train needs'])} of it the import"
    shown = c[c.index.str.startswith(('digitfast train sample', 'digitfast predict SINGLE'))]
    if not short: rows += [(f'`{k}`', _seconds(v), imports) for k,v in shown.items()]
    names = 'loading', 'time_to_accuracy', 'overhead', 'command'
    how = f'{_when(*names)}. [More of it, and how to repeat it](../docs/benchmarks.md).' if short else _how(*names)
    rest = '; slow systems trained once, the others three times'
    old = acc[acc.date<acc.date.max()]
    if len(old):
        rest += f". Timed on {old.date.min()}, on another machine: {' and '.join(old.system.unique())}"
    if not short: how += f'\nRivals are written as they were published and cut off after five minutes{rest}.'
    return '\n\n'.join([_table(['', 'digitfast', 'beside it'], rows), how])

def _trained(t, **is_):
    "Seconds and accuracy of those trainings in gpu.csv whose columns start so"
    for k,v in is_.items(): t = t[t[k].fillna('').str.startswith(v)]
    return f'{_seconds(t.seconds.mean())} to {100*t.accuracy.mean():.1f} %'

def _on_a_card():
    "A row: training on a GPU, beside what others take there"
    t = _csv('gpu')
    ours = f"quick {_trained(t, what='quick', mode='graph')}, single {_seconds(t[t.what=='single'].seconds.mean())}"
    beside = [f"{k} {_trained(t, what='rival', system=k)}" for k in ('train_mnist_fast', 'stock fastai')]
    return f'training on an {t.card[0]}', ours, ', '.join(beside)

def _steps(t):
    "A table: a step under fastai's Learner and by hand, without a graph and with one"
    t = t[t.what=='step']
    ms = dict(zip(t.system+t['mode'], 1000*t.seconds))
    how = [(o,m) for o in ('Learner','bare') for m in ('eager','graph')]
    rows = [(f'a step of `{k}`, ms', *(f"{ms[f'{k}, {o}{m}']:.2f}" for o,m in how)) for k in ('quick','single')]
    return _table(['', *(f"{dict(bare='by hand').get(o, o)}, {m}" for o,m in how)], rows, ' rrrr')

def gpu():
    "What was timed on a GPU, from gpu.csv"
    t = _csv('gpu')
    part = dict(list(t.groupby('what')))
    def words(what, col='seconds', of=None):
        means = part[what].groupby('system', sort=False)[col].mean()
        return _list(means, lambda k,v: f"{k.split(', ')[of] if of else k.replace('1 views', 'one view')} {v:.2f} s")
    graph,eager = (part['quick'].query('mode==@o') for o in ('graph', 'eager'))
    says = [
        f"`quick`: {_trained(graph)} of held-out rows, from {graph.seconds.min():.2f} to {graph.seconds.max():.2f} s "
        f"over {len(graph)} seeds; step by step {_trained(eager)}",
        f"`single`: {part['single'].seconds.mean():.2f} s",
        f"the {len(part['member'])} nets of `ensemble`, one after another: {part['member'].seconds.sum():.0f} s",
        f"prediction: {words('predict')}",
        f"beside it: {', '.join(f'{k} {_trained(o)}' for k,o in part['rival'].groupby('system', sort=False))}",
        f"the whole command `digitfast train`: {words('command', of=-1)}; less its training: "
        f"{words('command', 'less_training', -1)}; two runs each",
        f"`pytest -m cuda`: {part['tests'].passed.sum():.0f} passed, {part['tests'].failed.sum():.0f} failed"]
    if 'capture' in part: says += captures(part['capture'])
    return '\n\n'.join([_steps(t), '\n'.join(f'- {o}' for o in says), f"{t.card[0]}. {_how('gpu')}"])

def captures(t):
    "digitfast's graph of a training step beside torch's compiler and graphed callables: a sentence a recipe"
    def sentence(name, o):
        ours = o[o['mode']=='graph'].iloc[0]
        others = [f"{m.mode} {1000*m.step:.2f} ms a step and {m.to_99:.2f} s ({m.to_99/ours.to_99:.1f} times)"
                  for m in o[o['mode']!='graph'].itertuples()]
        return (f"`{name}` to 99 % of held-out rows, compiling and capturing included: the graph "
                f"{1000*ours.step:.2f} ms a step and {ours.to_99:.2f} s; {', '.join(others)}")
    return [sentence(k, o) for k,o in t.groupby('system', sort=False)]

def planning():
    "What more rows and more nets cost, from scale.csv and time_to_accuracy.csv"
    t,acc = _csv('scale'),_csv('time_to_accuracy')
    big,most,small = t[t.rows<=420_000].iloc[-1],t.iloc[-1],t.iloc[1]
    us = {k:1e6*big[k]/big.rows for k in ('read', 'split', 'epoch', 'predict')}
    px,base = big.csv_pixels_mb*2**20/big.rows, big.base_mb/1024
    first = (
        f"A row costs {us['read']:.0f} µs to read, {us['split']:.0f} to split and turn into tensors, "
        f"{us['epoch']:.0f} in an epoch of `quick`'s net and {us['predict']:.0f} to predict, "
        f"at {big.rows:,.0f} rows on {big.threads:.0f} threads; at {small.rows:,.0f} rows the "
        f"sum is {small.us_per_row:.0f} µs, at {big.rows:,.0f} it is {big.us_per_row:.0f}. "
        f"Memory peaks at {big.times_pixels:.1f} times the pixels, beside {base:.1f} GB of torch.")
    if most.rows!=big.rows:
        first += (f" {most.rows:,} rows were put through it once, on {_threads(most.threads)} beside other work: "
        f"{most.us_per_row:.0f} µs a row, {most.read+most.split:.0f} s until training starts, "
        f"{most.times_pixels:.1f} times the pixels.")
    million = (
        f"**A million rows**: {us['read']+us['split']:.0f} s until training starts, {us['epoch']:.0f} s an epoch, "
        f"{big.times_pixels*px*1e6/2**30+base:.1f} GB. A recipe's length is in images, not epochs, but it is an epoch "
               "at least: `quick` would see each row once.")
    hundred = (
        "**A hundred nets**: members of an ensemble share nothing but the split, so they are the thing to spread: one "
        "process a member, [over Dask](clusters.md) where there are more machines.")
    one = acc[acc.system=='digitfast single'].seconds.mean()
    if not pd.isna(one):
        hundred += (
            f" At {one/60:.1f} minutes each, a hundred nets of `single` are {100*one/3600:.0f} hours "
            "of this machine, and a tenth of it on ten.")
    gpus = (
        "**Eight GPUs**: eight workers with a member each, not one net over eight. A step of these nets is a few "
        "milliseconds or less; to exchange gradients at each would cost as much again, and the larger batch that hides "
            "it needs more images to the same accuracy.")
    stops = (
        f"**Where it stops**: all pixels are one uint8 tensor on the device that trains, {px:.0f} bytes a row, "
        f"so a 16 GB card holds some {14*2**30/px/1e6:.0f} million; and the CSV is read by one thread, "
        f"{us['read']*1e7/6e7:.0f} minutes for ten million rows, into {big.times_pixels:.1f} times the "
        "pixels of main memory. Beyond that the rows want to be a memory-mapped array, written once.")
    return '\n\n'.join([first, '\n'.join(f'- {o}' for o in (million, hundred, gpus, stops)), _how('scale')])

def ascent():
    "What each ingredient is worth, from accuracy.csv"
    t,runs = _csv('accuracy'),_csv('accuracy-runs')
    cols = ['mean', 'sd', 'nll', 'cpu_seconds', 'parameters', 'seeds']
    t = t.pivot(index='system', columns='tta')[cols].reindex(t.system.unique())
    o = runs[runs.system=='stride-2 net'].iloc[0]
    epochs = runs.groupby('system').epochs.first()
    def acc(k, tta):
        sd = f" ± {100*t.at[k,('sd',tta)]:.2f}" if t.at[k,('seeds',0)]>1 else ''
        return f"{100*t.at[k,('mean',tta)]:.2f}{sd}"
    def row(k):
        several = next((f"{100*t.at[o,('mean',1)]:.2f}" for o in t.index if o.startswith(f'{k}, mean of')), '–')
        name = f'recipe `{k}`, {epochs[k]} epochs' if k=='quick' else k
        seeds,n,secs = (t.at[k,(c,0)] for c in ('seeds', 'parameters', 'cpu_seconds'))
        return name, acc(k, 0), acc(k, 1), several, f'{seeds:.0f}', f'{n:,.0f}', f'{secs:.0f}'
    heads = ['', 'one net, %', 'with shifts at test time', 'their mean', 'seeds', 'parameters', 'seconds of CPU']
    return '\n\n'.join([
        _table(heads, [row(k) for k in t.index if ', mean of' not in k], ' rrrrrr'),
        f"Accuracy on {o.test:,} rows on which nothing but `quick`'s net was chosen, after training on {o.train:,} "
        f"others, for {o.epochs} epochs where nothing else is said: mean and standard deviation over the seeds, "
        f"and that of the mean of their probabilities. {o.machine}, {o.threads} thread, "
        f"{_days(*runs.date)}, torch {o.torch}. `python benchmarks/accuracy.py digit-recognizer.zip`."])

def accuracy():
    "How right the recipes are, from accuracy-runs.csv and the metrics of one whole run of `ensemble`"
    t,m,rows = _csv('folds').set_index('arm'),json.loads((results/'ensemble.json').read_text()),[]
    of = 'networks, each on its own held-out sixth of all rows'
    for k,arm,how,more in (('quick','quick, other seeds','_unshifted','; chosen with other seeds'),
                           ('single','single','','')): # as each makes its submission
        acc,sd = 100*t.loc[arm, f'accuracy{how}'],100*t.loc[arm, f'sd{how}']
        rows.append((f'`{k}`', f'{acc:.2f} ± {sd:.2f} %', f'{t.trainings[arm]:.0f} {of}{more}'))
    now = recipes['ensemble'].n_epoch(m['n_train'])
    long = f"each net for {m['epochs']} epochs{f' ({now} by now)' if now!=m['epochs'] else ''}"
    rows += [('a network of `ensemble`', f"{100*m['oof_accuracy']:.2f} %",
        f"{m['n_oof']:,} rows, each predicted by a network that was not trained on it"),
             ('`ensemble`', f"{100*m['accuracy']:.2f} %",
        f"one run, {long}, {m['seconds']['train']/60:.0f} minutes; {m['n_valid']:,} held-out rows, too few to "
        f"distinguish it from `single`; expected score {m['score_low']:.4f} to {m['score_high']:.4f}")]
    return '\n\n'.join([
        _table(['recipe', 'accuracy', 'measured on'], rows, ' r '),
        f"± is the standard deviation over the networks. {_days(t.date.iloc[0], m['date'])}, {t.machine.iloc[0]}; "
        f"{_threads(t.threads.iloc[0])}, `ensemble` on {m['threads']} beside other work. "
        "`python benchmarks/folds.py digit-recognizer.zip`, "
        "`digitfast train digit-recognizer.zip --recipe ensemble`. "
        "[A tutorial](tutorials/06_the_ascent.ipynb) measures what each ingredient adds."])

def promises():
    "What is promised, and how often it was put to the test, from promises.csv"
    from promises import promises as promised
    t = _csv('promises').set_index('promise', drop=False)
    t = t.loc[[o for o in promised if o in t.index]]
    rows = [(o.promise, ', '.join(f'`{f}`' for f in o.tests.split()), f'{o.cases:,}', f'{o.failures:,}')
            for o in t.itertuples()]
    skipped = f" {t.skipped.sum():,} were skipped." if t.skipped.sum() else ''
    heads = ['promise', 'proven by, in `tests/`', 'cases', 'failures']
    how = f"Quick tests and slow ones, {_when('promises')}. {', '.join(f'`{o}`' for o in t.command.unique())}."
    return '\n\n'.join([_table(heads, rows, '  rr'), f'{how}{skipped}',
                        *(f() for name,f in (('interval',_intervals), ('mutants',_mutants))
                          if (results/f'{name}.csv').exists())])

def _intervals():
    "How often the printed interval held the score, from interval.csv"
    t = _csv('interval')
    held = [f'{100*o.held:.0f} % of them for `{o.recipe}` with {o.n_valid:,} rows held out' for o in t.itertuples()]
    return (f"**The printed interval** is to hold the score of the test rows in 95 of 100 cases. In {t.splits[0]} "
            f"simulated splits of rows that nets had not seen it did so in {' and '.join(held)}. {_how('interval')}")

def _mutants():
    "How many deliberate faults the tests find, and which they don't, from mutants.csv"
    t = pd.read_csv(results/'mutants.csv', keep_default_na=False)
    left,names = t[t.killed==''],', '.join(f'`{o}`' for o in sorted(t.module.unique()))
    said = (f"**The tests are put to the test** by small faults: one comparison, operator, number, condition or "
            f"returned value of {names} is changed. Of {len(t):,} drawn, the quick tests find {len(t)-len(left):,}. "
            f"{_days(*t.date)}, `python benchmarks/mutants.py --n {len(t)}`. Not found, with the lines of that day:")
    return '\n'.join([said, '', '```', *(f'{o.module}, line {o.line}: {o.change}' for o in left.itertuples()), '```'])

def folds():
    "Arms on the same folds, and means of two, from folds.csv, folds-single.csv and folds-cheaper.csv"
    return '\n\n'.join([*map(_fold_table, ('folds', 'folds-single', 'folds-cheaper')), _cheaper_arms()])

def _cheaper_arms():
    "Return a sentence on which arms take 0.75 of the time of `quick` at most, and how many more rows they misclassify"
    t = _csv('folds-cheaper')
    first,arms = t.iloc[0],t[t.cpu_seconds<=.75*t.cpu_seconds.iloc[0]]
    words = [f"`{o.arm}` ({o.cpu_seconds/first.cpu_seconds:.2f} of the time, "
             f"{o.only_this_wrong-o.only_first_wrong:+d} rows)" for o in arms.itertuples()]
    good = [o.arm for o in arms.itertuples() if o.only_this_wrong<=o.only_first_wrong]
    return ("An arm would replace `quick` if it misclassified no more rows in at most 0.75 of the processor time. "
            f"As fast are {_list_words(words)}. "
            +(f"{_list_words(good)} misclassified no more." if good else "Each of these misclassified more."))

def _list_words(words): return ' and '.join([', '.join(words[:-1]), words[-1]] if len(words)>1 else words)

def _fold_table(name):
    t = _csv(name)
    rows = [(o.arm, f'{100*o.accuracy_unshifted:.2f}', f'{100*o.accuracy:.2f}',
             '–' if o.Index==0 else f'{o.only_this_wrong} and {o.only_first_wrong}',
             f'{o.cpu_seconds:.0f}' if o.cpu_seconds>0 else '–') for o in t.itertuples()]
    heads = ['', 'one look, %', 'with shifts, %', f'wrong in it alone, and in {t.arm[0]} alone', 'seconds of CPU']
    said = f"All rows of `train.csv`, each by a net that did not see it: {t.trainings[0]} trainings an arm."
    return '\n\n'.join([_table(heads, rows, ' rrrr'), f"{said} {_how(name)}"])

def labels():
    "What leaving out the rows whose label looks wrong is worth, from labels.csv"
    t = _csv('labels')
    o,diff = t.iloc[0],t.wrong_with-t.wrong_without
    a,b = (f'{v.mean():.1f} ± {v.std():.1f}' for v in (t.wrong_with, t.wrong_without))
    so = '' if abs(diff.mean())>2*diff.sem() else ', so neither a gain nor a loss is seen'
    return (f"Of {o.rows:,} rows, nets that had not seen them took {o.dropped} labels for wrong. `quick`, trained "
            f"{len(t)} times on all of them and {len(t)} times without these, had {a} and {b} of {o.test:,} other rows "
            f"wrong, whose labels nobody had cleaned: {abs(diff.mean()):.1f} {'fewer' if diff.mean()>0 else 'more'}, "
            f"with a standard error of {diff.sem():.1f}{so}. {_how('labels')}")

def pictures():
    "Return the table of drawn pictures that a run reads, a row for each kind, from pictures.csv"
    t = _csv('pictures')
    n = t.pictures.sum()
    heads = 'kind', 'pictures', 'right', 'wrong, no doubt shown', 'right, but doubtful', 'seconds'
    rows = [(r.kind, r.pictures, r.right, r.silent, r.doubtful, f'{r.seconds:.2f}') for r in t.itertuples()]
    said = (f"Of {n:,} pictures, `quick` reads {t.right.sum()/n:.1%} completely. {t.silent.sum()/n:.1%} are wrong "
            f"without a doubt, and {t.doubtful.sum()/n:.1%} are right but marked as doubtful. A picture takes "
            f"{(t.seconds*t.pictures).sum()/n:.2f} s of processor time on average.")
    return '\n\n'.join([_table(heads, rows, ' rrrrr'), f"{said} {_how('pictures')}"])

tables = dict(gpu=gpu, folds=folds, labels=labels, accuracy=accuracy, promises=promises, systems=systems, speed=speed,
              pictures=pictures, fast=lambda: speed(short=True), planning=planning, ascent=ascent)

def _fill(text): return re.sub(r'<!-- table: (\w+) -->', lambda m: tables[m[1]](), text)

def fill(path):
    "Write each table that a notebook names in `<!-- table: NAME -->` … `<!-- end -->` between the two"
    nb = read_nb(path)
    marks = re.compile(r'(<!-- table: (\w+) -->\n).*?(\n<!-- end -->)', re.S)
    for c in nb.cells: c.source = marks.sub(lambda m: m[1]+tables[m[2]]()+m[3], c.source)
    write_nb(nb, path)

def render():
    "The notebook as Markdown: hidden cells left out, tables filled in, pictures in nbs/images, links from the top"
    nb = nbformat.read(nbs/'index.ipynb', 4)
    nb.cells = [c for c in nb.cells if not c.source.startswith('#| hide')]
    nb.metadata['language_info'] = dict(name='python')
    (nbs/'images').mkdir(exist_ok=True)
    md,res = MarkdownExporter().from_notebook_node(nb)
    for o in (nbs/'images').glob('readme_*'): o.unlink()
    for name,png in res['outputs'].items():
        (nbs/'images'/f'readme_{name}').write_bytes(png)
        md = md.replace(f']({name})', f'](images/readme_{name})')
    md = _fill(re.sub(r'<style>.*?</style>', '', md, flags=re.S))
    md = re.sub(r'\]\(\.\./', '](', md)
    md = re.sub(r'\]\((?!https?:|#|/)(\d\d|tutorials|images|\w+/\d\d_)', r'](nbs/\1', md)
    return re.sub(r'\n{3,}', '\n\n', md).strip()+'\n'

pages = dict(
    promises="""# What digitfast promises

Each promise has tests of its own: `python -m pytest` runs the quick part of each, `-m slow` the rest, and
`python benchmarks/promises.py` both, and counts.

<!-- table: promises -->

**What the record of training images can't see.** A `DigitLearner` records the images of the DataLoaders that its fits
go through, and notices weights that were changed in another way. It can't see a callback that swaps the images of a
batch for held-out ones on purpose. For weights of unknown history, `save_run` asks: answer with `trained_on=`.""",
    recipes="""# Which recipe when

A recipe is everything that defines a training run: the network, how long it trains, the learning rate, augmentation and
more. `digitfast train DATA --recipe NAME` trains one, and `digitfast models` lists all. An option such as `--epochs 10`
changes one field.

| If you want | use |
|---|---|
| to see whether your data can be read, or to try an idea | `quick`, the default |
| a good score from one network | `--recipe single` |
| the best score that digitfast reaches | `--recipe ensemble` |
| to know whether a change helps | `digitfast compare` with several seeds, then `digitfast versus` for two runs |
| a prediction for each training row by a network that did not see it | `--folds 5` with any recipe |
| to find labels that may be wrong | a run with `--folds 5`, then `digitfast labels RUN` |
| to learn how each part works | the recipes of the course, from `average` to `stride2-1cycle` |
| to repeat a published article | the recipes of [the table of systems](benchmarks.md#Systems) |

## How accurate they are

<!-- table: accuracy -->

How long they train on a CPU and on a GPU is on [the page of benchmarks](benchmarks.md#Speed).

## How to choose

1. Begin with `quick`. If its accuracy on your data is far below the table's, look at the report first, because a longer
   training does not repair wrong data.
2. Change one field at a time, and compare on the same held-out rows. `digitfast versus` prints the smallest difference
   that these rows can show.
3. Train `single` or `ensemble` only when nothing else changes any more, because they take much longer.""",
    planning="""# Planning past one machine

<!-- table: planning -->""",
    benchmarks="""# Benchmarks

What stands in the README's tables, how to repeat it, and the pictures. Every benchmark is a script in `benchmarks/`
that takes the competition's zip and writes a CSV into `benchmarks/results/`, with the date, the machine, the
versions and the command. `python benchmarks/readme.py` renders them.

## Speed

<!-- table: speed -->

![Seconds of training to an accuracy on held-out rows](../benchmarks/results/time_to_accuracy.png)

![Errors against seconds of training, a point a training](../benchmarks/results/frontier.png)

![An epoch of batches](../benchmarks/results/loading.png)

![The command's parts](../benchmarks/results/command.png)

![Memory and time by rows](../benchmarks/results/scale.png)

## On a GPU

A training step is one CUDA graph, under fastai's `Learner`; beside it, the same net, batches, loss and optimiser in a
loop by hand.

<!-- table: gpu -->

## How right

<!-- table: accuracy -->

## Ingredients

<!-- table: ascent -->

## On the same folds

<!-- table: folds -->

## Doubtful labels

<!-- table: labels -->

## Pictures

`python benchmarks/pictures.py DATA RUN` draws held-out digits on paper of many kinds. A number counts as right if all
of its digits are read in order.

<!-- table: pictures -->

![Pictures that were misread: kind, digits and what was read, with ? if it was marked as doubtful](pictures.png)

## Systems

<!-- table: systems -->

![Error of each system](../benchmarks/results/compare.png)""")

def page(name):
    "A page beside the README"
    return _fill(pages[name]).replace('](tutorials/', '](../nbs/tutorials/')+'\n'

if __name__=='__main__':
    fill(nbs/'tutorials'/'06_the_ascent.ipynb')
    (here.parent/'README.md').write_text(render(), encoding='utf-8')
    docs = here.parent/'docs'
    docs.mkdir(exist_ok=True)
    for name in pages: (docs/f'{name}.md').write_text(page(name), encoding='utf-8')
