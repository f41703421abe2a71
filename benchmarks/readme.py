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
figures = {  # {system: (its article, the rows on which the article measured)}
    'average': ('A', 'Kaggle'), 'linear': ('A', 'training rows'), 'two-layer': ('A, fixed', ''),
    'two-layer-broadcast': ('A', 'training rows'), 'two-layer-learner': ('A', 'training rows'),
    'stride2': ('A', 'training rows'), 'mlp-100': ('B', 'held-out rows'), 'mlp-25-25': ('C', 'last batch'),
    'mlp-512-256': ('D', ''), 'mlp-512-512': ('E', 'Kaggle')}

def _csv(name, **kw): return pd.read_csv(results/f'{name}.csv', **kw)
def _threads(n): return f"{n} thread{'' if n==1 else 's'}"
def _seconds(v): return f'{v:.2f} s' if v<10 else f'{v:.0f} s'
def _list(d, f): return ', '.join(f(k, v) for k,v in d.items())

def _table(heads, rows, align=''):
    "Return a table in Markdown; `align` has an `r` for each column of numbers"
    lines = [heads, ['---:' if a=='r' else '---' for a in align.ljust(len(heads))], *rows]
    return '\n'.join('| '+' | '.join(map(str, o))+' |' if o is not lines[1] else '|'+'|'.join(o)+'|' for o in lines)

def _commands(*names): return '; '.join(f'`{_csv(o).command.iloc[0]}`' for o in names)

def _how(*names):
    "Return date, machine, versions and commands of results"
    return f"{_when(*names)}. {_commands(*names)}."

def _days(*dates):
    "Return the first and the last of these dates"
    return ' to '.join(dict.fromkeys((min(dates), max(dates))))

def _when(*names, short=False):
    "Return date, machine and, unless `short`, versions of results, once for each machine"
    t = pd.concat([_csv(k)[['date','machine','threads','versions']] for k in names])
    t = t[t.threads==t.threads.iloc[0]] # millions of rows are measured on one thread
    return '; '.join(f"{_days(*g.date)}, {machine}, {_threads(threads)}{'' if short else ', '+versions}"
                     for (machine,threads,versions),g in t.groupby(['machine','threads','versions'], sort=False))

def systems():
    "Return the results of `digitfast compare`, a row for each system"
    t,runs = _csv('compare', dtype=dict(reported=str)),_csv('runs')
    def row(r):
        source,what = figures.get(r.system, ('–', ''))
        reported = '–' if pd.isna(r.reported) else f'{r.reported}, {what}'
        return (f'`{r.system}`', source, reported, f"{r['mean']:.4f} ± {r.sd:.4f}",
                f'{r.parameters:,}', f'{r.seconds:.0f}')
    o,days = runs.iloc[0],_days(*runs.date)
    heads = ['recipe', 'article', 'reported, on', 'measured', 'parameters', 'seconds']
    return '\n\n'.join([
        _table(heads, [row(r) for _,r in t.iterrows()], '   rrr'),
        f"Measured: {round(o.rows/9):,} held-out rows of `train.csv`, mean and standard deviation over {t.seeds.min()} "
        f"seeds; {o.device.upper()}, {_threads(o.threads)}, {days}; approximate seconds on a shared "
        f"machine. Articles: {'; '.join(f'{k} {v}' for k,v in articles.items())}."])

def _mean(t, col):
    "Return the mean seconds of each system that reached `col` in all its trainings"
    return t.groupby('system', sort=False)[col].agg(lambda o: o.astype(float).mean(skipna=False)).dropna()

def _race(acc, goal, short=False):
    "Return a row: the systems that reached `goal`, with their seconds; None if no recipe reached it"
    t = _mean(acc, goal)
    ours,rest = t[t.index.str.startswith('digitfast')],t[~t.index.str.startswith('digitfast')]
    if not len(ours): return
    kinds = {k:re.sub(r', \d+ epochs?$', '', k) for k in acc.system.unique() if not k.startswith('digitfast')}
    rest = rest.sort_values()
    rest = rest[~rest.index.map(kinds).duplicated()] # of several lengths, the fastest
    lost = [o for o in dict.fromkeys(kinds.values()) if o not in set(rest.index.map(kinds))]
    if short: lost = []
    beside = [_list(rest, lambda k,v: f'{k} {_seconds(v)}'), f"not reached: {', '.join(lost)}" if lost else '']
    mine = _list(ours, lambda k,v: f"{k.removeprefix('digitfast ')} {_seconds(v)}")
    how = '/'.join(acc.precision[acc.system.str.startswith('digitfast')].unique())
    others = ', '.join(filter(None, beside))
    return (f'training to {goal[:-1]} % of held-out rows, {how}', mine,
            others.replace("the 0.99757 ensemble's net", "the net of Kaggle's 0.99757 ensemble"))

def speed(short=False):
    "Return the speed of digitfast and of others, from loading, time_to_accuracy, overhead and command.csv"
    load,acc,over,cmd = map(_csv, ('loading', 'time_to_accuracy', 'overhead', 'command'))
    l,c = load.set_index('loader').seconds,cmd.set_index('what').seconds
    ours,rivals = (l[l.index.str.startswith('digitfast')==o] for o in (True, False))
    if short: ours,rivals = ours[['digitfast']],rivals[rivals.index.str.contains('bare|workers|from rows')]
    rows = [(f'an epoch of {load.rows[0]:,} images in batches of {load.bs[0]}',
             _list(ours.sort_index(), lambda k,v: f"{k.partition(', ')[2]} {_seconds(v)}".strip()),
             _list(rivals, lambda k,v: f'{k} {_seconds(v)}'))]
    rows += filter(None, (_race(acc, goal, short) for goal in ('99.0%', '99.5%', '99.6%')[:1 if short else 3]))
    if not short:
        for col,what in (('ratio', 'an epoch'), ('ratio_training', 'the steps of an epoch')):
            o = over.set_index('recipe')[col]
            rows.append((f'{what} of `Learner` with all callbacks, relative to a bare loop',
                         _list(o, lambda k,v: f'`{k}` {v:.2f}'), '1'))
    whole = [k for k in c.index if k.startswith('digitfast train ') and k.endswith('.zip')]
    rows += [(f'`{k}`, from start to exit', _seconds(c[k]), f"bare torch script {_seconds(c['bare torch script'])}")
             for k in whole]
    if short: rows.append(_on_a_card())
    imports = f"import only: {_seconds(c['import of all that train needs'])}"
    shown = c[c.index.str.startswith(('digitfast train sample', 'digitfast predict SINGLE'))]
    if not short: rows += [(f'`{k}`', _seconds(v), imports) for k,v in shown.items()]
    names = 'loading', 'overhead', 'command'
    how = f"{_when(*names, short=short)}; training to an accuracy {_when('time_to_accuracy', short=short)}."
    how += (' [More results, and how to repeat them](../docs/benchmarks.md).' if short else
            f" {_commands(*names, 'time_to_accuracy')}.")
    rest = ' Slow systems were trained once, the others three times'
    old = acc[acc.date<acc.date.max()]
    if len(old):
        rest += f". On another machine, on {old.date.min()}: {' and '.join(old.system.unique())}"
    if not short: how += f'\nOther systems are written as published, and were stopped after five minutes.{rest}.'
    return '\n\n'.join([_table(['', 'digitfast', 'others'], rows), how])

def _trained(t, **is_):
    "Return seconds and accuracy of the trainings in gpu.csv whose columns start with these values"
    for k,v in is_.items(): t = t[t[k].fillna('').str.startswith(v)]
    return f'{_seconds(t.seconds.mean())} to {100*t.accuracy.mean():.1f} %'

def _on_a_card():
    "Return a row: training on a GPU, with digitfast and with others"
    t = _csv('gpu')
    ours = f"quick {_trained(t, what='quick', mode='graph')}, single {_seconds(t[t.what=='single'].seconds.mean())}"
    beside = [f"{k} {_trained(t, what='rival', system=k)}" for k in ('train_mnist_fast', 'stock fastai')]
    return f'training on an {t.card[0]}', ours, ', '.join(beside)

def _steps(t):
    "Return a table: a step in fastai's Learner and in a bare loop, without a graph and with one"
    t = t[t.what=='step']
    ms = dict(zip(t.system+t['mode'], 1000*t.seconds))
    how = [(o,m) for o in ('Learner','bare') for m in ('eager','graph')]
    rows = [(f'a step of `{k}`, ms', *(f"{ms[f'{k}, {o}{m}']:.2f}" for o,m in how)) for k in ('quick','single')]
    return _table(['', *(f"{dict(bare='bare loop').get(o, o)}, {m}" for o,m in how)], rows, ' rrrr')

def gpu():
    "Return the times on a GPU, from gpu.csv"
    t = _csv('gpu')
    part = dict(list(t.groupby('what')))
    def words(what, col='seconds', of=None):
        means = part[what].groupby('system', sort=False)[col].mean()
        return _list(means, lambda k,v: f"{k.split(', ')[of] if of else k.replace('1 views', 'one view')} {v:.2f} s")
    graph,eager = (part['quick'].query('mode==@o') for o in ('graph', 'eager'))
    lines = [
        f"`quick`: {_trained(graph)} of held-out rows, {graph.seconds.min():.2f} to {graph.seconds.max():.2f} s "
        f"over {len(graph)} seeds; without a graph {_trained(eager)}",
        f"`single`: {part['single'].seconds.mean():.2f} s",
        f"the {len(part['member'])} nets of `ensemble`, one after another: {part['member'].seconds.sum():.0f} s",
        f"prediction: {words('predict')}",
        f"others: {', '.join(f'{k} {_trained(o)}' for k,o in part['rival'].groupby('system', sort=False))}",
        f"the complete command `digitfast train`: {words('command', of=-1)}; without the training: "
        f"{words('command', 'less_training', -1)}; two runs each",
        f"`pytest -m cuda`: {part['tests'].passed.sum():.0f} passed, {part['tests'].failed.sum():.0f} failed"]
    if 'capture' in part: lines += captures(part['capture'])
    return '\n\n'.join([_steps(t), '\n'.join(f'- {o}' for o in lines), f"{t.card[0]}. {_how('gpu')}"])

def captures(t):
    """Return a sentence for each recipe that compares digitfast's graph of a training step with torch's compiler and
    graphed callables"""
    def sentence(name, o):
        ours = o[o['mode']=='graph'].iloc[0]
        others = [f"{m.mode} {1000*m.step:.2f} ms a step and {m.to_99:.2f} s ({m.to_99/ours.to_99:.1f} times)"
                  for m in o[o['mode']!='graph'].itertuples()]
        return (f"`{name}` to 99 % of held-out rows, compiling and capturing included: the graph "
                f"{1000*ours.step:.2f} ms a step and {ours.to_99:.2f} s; {', '.join(others)}")
    return [sentence(k, o) for k,o in t.groupby('system', sort=False)]

def planning():
    "Return the cost of more rows and more nets, from scale.csv and time_to_accuracy.csv"
    t,acc = _csv('scale'),_csv('time_to_accuracy')
    big,most,small = t[t.rows<=420_000].iloc[-1],t.iloc[-1],t.iloc[1]
    us = {k:1e6*big[k]/big.rows for k in ('read', 'split', 'epoch', 'predict')}
    px,base = big.csv_pixels_mb*2**20/big.rows, big.base_mb/1024
    first = (
        f"At {big.rows:,.0f} rows on {big.threads:.0f} threads, each row takes {us['read']:.0f} µs to read, "
        f"{us['split']:.0f} µs to split and turn into tensors, {us['epoch']:.0f} µs in an epoch of `quick`'s net and "
        f"{us['predict']:.0f} µs to predict. The sum is {big.us_per_row:.0f} µs; at {small.rows:,.0f} rows it is "
        f"{small.us_per_row:.0f} µs. The peak of memory is {big.times_pixels:.1f} times the size of the pixels, plus "
        f"{base:.1f} GB for torch.")
    if most.rows!=big.rows:
        first += (
            f" One run with {most.rows:,} rows, with {_threads(most.threads)} and other programs running, took "
            f"{most.us_per_row:.0f} µs per row, {most.read+most.split:.0f} s until training started, and "
            f"{most.times_pixels:.1f} times the size of the pixels.")
    million = (
        f"**A million rows** take {us['read']+us['split']:.0f} s until training starts, {us['epoch']:.0f} s per epoch "
        f"and {big.times_pixels*px*1e6/2**30+base:.1f} GB. The length of a recipe is a number of images, but at least "
        "one epoch. `quick` would see each row once.")
    hundred = (
        "**A hundred nets**: distribute the members of an ensemble, because they share only the split. Run one process "
        "per member, [with Dask](clusters.md) if you have several machines.")
    one = acc[acc.system=='digitfast single'].seconds.mean()
    if not pd.isna(one):
        hundred += (
            f" At {one/60:.1f} minutes each, a hundred nets of `single` take {100*one/3600:.0f} hours on this machine, "
            "and a tenth of that on ten.")
    gpus = (
        "**Eight GPUs**: use eight workers that train one member each, and not one net on eight GPUs. A step of these "
        "nets takes a few milliseconds, and exchanging gradients would take about as long. A larger batch would hide "
        "that, but needs more images for the same accuracy.")
    stops = (
        f"**The limits**: all pixels are one uint8 tensor on the training device, {px:.0f} bytes per row, so a 16 GB "
        "GPU "
        f"holds about {14*2**30/px/1e6:.0f} million rows. One thread reads the CSV: ten million rows take "
        f"{us['read']*1e7/6e7:.0f} minutes and {big.times_pixels:.1f} times the size of the pixels in main memory. For "
        "more rows, write a memory-mapped array once.")
    return '\n\n'.join([first, '\n'.join(f'- {o}' for o in (million, hundred, gpus, stops)), _how('scale')])

def ascent():
    "Return the effect of each ingredient, from accuracy.csv"
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
        f"Accuracy on {o.test:,} rows after training on {o.train:,} others, for {o.epochs} epochs unless the row gives "
        "another number. Only `quick`'s net was chosen on these rows. The columns give the mean and standard "
        "deviation "
        f"over the seeds, and the accuracy of the mean of their probabilities. {o.machine}, {o.threads} thread, "
        f"{_days(*runs.date)}, torch {o.torch}. `python benchmarks/accuracy.py digit-recognizer.zip`."])

def accuracy():
    "Return the accuracy of the recipes, from folds.csv and the metrics of one complete run of `ensemble`"
    t,m,rows = _csv('folds').set_index('arm'),json.loads((results/'ensemble.json').read_text()),[]
    of = 'networks, each on its own held-out sixth of all rows'
    for k,arm,how,more in (('quick','quick, other seeds','_unshifted','; chosen with other seeds'),
                           ('single','single','','')): # with shifts as in its submission
        acc,sd = 100*t.loc[arm, f'accuracy{how}'],100*t.loc[arm, f'sd{how}']
        rows.append((f'`{k}`', f'{acc:.2f} ± {sd:.2f} %', f'{t.trainings[arm]:.0f} {of}{more}'))
    now = recipes['ensemble'].n_epoch(m['n_train'])
    long = f"each net for {m['epochs']} epochs{f' (now {now})' if now!=m['epochs'] else ''}"
    rows += [('a network of `ensemble`', f"{100*m['oof_accuracy']:.2f} %",
        f"{m['n_oof']:,} rows, each predicted by a network that was not trained on it"),
             ('`ensemble`', f"{100*m['accuracy']:.2f} %",
        f"one run, {long}, {m['seconds']['train']/60:.0f} minutes on a busy machine; {m['n_valid']:,} held-out "
        "rows, too few to distinguish it from `single`")]
    return '\n\n'.join([
        _table(['recipe', 'accuracy', 'measured on'], rows, ' r '),
        f"± is the standard deviation over the networks. {_days(t.date.iloc[0], m['date'])}, {t.machine.iloc[0]}; "
        f"{_threads(t.threads.iloc[0])}. "
        "`python benchmarks/folds.py digit-recognizer.zip`. "
        "[A tutorial](tutorials/06_the_ascent.ipynb) measures what each ingredient adds."])

def promises():
    "Return the promises and the number of tested cases, from promises.csv"
    from promises import promises as promised
    t = _csv('promises').set_index('promise', drop=False)
    t = t.loc[[o for o in promised if o in t.index]]
    rows = [(o.promise, ', '.join(f'`{f}`' for f in o.tests.split()), f'{o.cases:,}', f'{o.failures:,}')
            for o in t.itertuples()]
    skipped = f" {t.skipped.sum():,} were skipped." if t.skipped.sum() else ''
    heads = ['promise', 'tests', 'cases', 'failures']
    how = f"Quick and slow tests, {_when('promises')}. {', '.join(f'`{o}`' for o in t.command.unique())}."
    return '\n\n'.join([_table(heads, rows, '  rr'), f'{how}{skipped}',
                        *(f() for name,f in (('interval',_intervals), ('mutants',_mutants))
                          if (results/f'{name}.csv').exists())])

def _intervals():
    "Return how often the printed interval contained the score, from interval.csv"
    t = _csv('interval')
    held = [f'{100*o.held:.0f} % for `{o.recipe}` with {o.n_valid:,} held-out rows' for o in t.itertuples()]
    return (f"**The printed interval** should contain the score of the test rows in 95 of 100 cases. In {t.splits[0]} "
            f"simulated splits of held-out rows it did so in {' and '.join(held)}. {_how('interval')}")

def _mutants():
    "Return how many deliberate faults the tests find, and which they miss, from mutants.csv"
    t = pd.read_csv(results/'mutants.csv', keep_default_na=False)
    left,names = t[t.killed==''],', '.join(f'`{o}`' for o in sorted(t.module.unique()))
    text = (f"**Deliberate faults** measure the tests: each changes one comparison, operator, number, condition or "
            f"returned value of {names}. The quick tests find {len(t)-len(left):,} of {len(t):,} random faults. "
            f"{_days(*t.date)}, `python benchmarks/mutants.py --n {len(t)}`. Not found (line numbers of that day):")
    return '\n'.join([text, '', '```', *(f'{o.module}, line {o.line}: {o.change}' for o in left.itertuples()), '```'])

def folds():
    "Return recipes and means of recipes on the same folds, from the three tables of folds"
    return '\n\n'.join([*map(_fold_table, ('folds', 'folds-single', 'folds-cheaper')), _cheaper_arms()])

def _cheaper_arms():
    "Return a sentence on which arms take 0.75 of the time of `quick` at most, and how many more rows they misclassify"
    t = _csv('folds-cheaper')
    first,arms = t.iloc[0],t[t.cpu_seconds<=.75*t.cpu_seconds.iloc[0]]
    words = [f"`{o.arm}` ({o.cpu_seconds/first.cpu_seconds:.2f} of the time, "
             f"{o.only_this_wrong-o.only_first_wrong:+d} rows)" for o in arms.itertuples()]
    good = [o.arm for o in arms.itertuples() if o.only_this_wrong<=o.only_first_wrong]
    return ("A variant would replace `quick` if it misclassified no more rows in at most 0.75 of the processor time. "
            f"As fast are {_list_words(words)}. "
            +(f"{_list_words(good)} misclassified no more." if good else "Each of these misclassified more."))

def _list_words(words): return ' and '.join([', '.join(words[:-1]), words[-1]] if len(words)>1 else words)

def _fold_table(name):
    t = _csv(name)
    rows = [(o.arm, f'{100*o.accuracy_unshifted:.2f}', f'{100*o.accuracy:.2f}',
             '–' if o.Index==0 else f'{o.only_this_wrong} and {o.only_first_wrong}',
             f'{o.cpu_seconds:.0f}' if o.cpu_seconds>0 else '–') for o in t.itertuples()]
    heads = ['', 'one view, %', 'with shifts, %', f'mistakes of it only, of {t.arm[0]} only', 'seconds of CPU']
    text = (f"Measured on all rows of `train.csv`, each predicted by a net that was not trained on it; "
            f"{t.trainings[0]} trainings per line.")
    return '\n\n'.join([_table(heads, rows, ' rrrr'), f"{text} {_how(name)}"])

def labels():
    "Return the effect of excluding rows whose label looks wrong, from labels.csv"
    t = _csv('labels')
    o,diff = t.iloc[0],t.wrong_with-t.wrong_without
    a,b = (f'{v.mean():.1f} ± {v.std():.1f}' for v in (t.wrong_with, t.wrong_without))
    so = '' if abs(diff.mean())>2*diff.sem() else ', so there is no evidence of a gain or a loss'
    return (f"Of {o.rows:,} held-out rows, {o.dropped} labels looked wrong to the nets. `quick` was trained {len(t)} "
            "times "
            f"on all rows and {len(t)} times without these. It misclassified {a} and {b} of {o.test:,} other rows, "
            "whose "
            f"labels were not cleaned. The difference is {abs(diff.mean()):.1f} {'fewer' if diff.mean()>0 else 'more'} "
            f"mistakes, with a standard error of {diff.sem():.1f}{so}. {_how('labels')}")

def weights():
    "Return what calibration and greedy weights gain over the plain mean of the same nets, from weights.csv"
    t = _csv('weights')
    n,splits = t.rows[0],t.split.nunique()
    def total(pool, what): return t[(t.pool==pool) & (t.what==what)]
    def row(pool, what, o):
        acc = f'{100*(1-o.wrong.sum()/o.rows.sum()):.2f}'
        return pool, what, o.wrong.sum(), acc, f'{o.log_loss.mean():.4f}', f'{o.log_loss_calibrated.mean():.4f}'
    nets,whats = t[t.pool=='single nets'],('best net', 'plain mean', 'greedy weights')
    pools = [o for o in t.pool.unique() if o!='single nets' and 'folds' not in o]
    rows = [row('one net', k, nets[nets.what==k]) for k in nets.what.unique()]
    rows += [row(k, what, total(k, what)) for k in pools for what in whats]
    gains = {}
    for k in pools:
        a,b = (total(k, o) for o in whats[1:])
        gains[k] = a.wrong.sum()-b.wrong.sum(), a.log_loss_calibrated.to_numpy()-b.log_loss_calibrated.to_numpy()
    def gain(pool):
        fewer,lower = gains[pool]
        return (f"- {pool}: {abs(fewer)} {'fewer' if fewer>=0 else 'more'} mistakes; a calibrated log-loss that is "
                f"{abs(lower.mean()):.4f} {'lower' if lower.mean()>=0 else 'higher'} on average, and lower in "
                f"{(lower>0).sum()} of {splits}")
    chance = {k:2*sum(total(k, o).wrong.sum() for o in whats[1:])**.5 for k in pools}
    large = [k for k in pools if gains[k][0]>chance[k]]
    so = (f"Greedy weights make fewer mistakes than chance explains in: {', '.join(large)}." if large else
          "So these rows do not show that weights make fewer mistakes: if the mistakes of two predictions are "
          f"unrelated, chance makes them differ by up to {min(chance.values()):.0f}.")
    folds = t[t.pool.str.contains('folds')]
    own = folds.what.str.contains('own')
    used,best = (o.log_loss_calibrated.mean() for o in (folds[~own], folds[own]))
    heads = ['networks', 'prediction', 'mistakes', 'accuracy, %', 'log-loss', 'log-loss, calibrated']
    return '\n\n'.join([
        _table(heads, rows, '  rrrr'),
        f"Sums and means over {splits} split{'s' if splits>1 else ''} with {n:,} held-out rows each; the networks were "
        f"trained for 3 epochs on the others. \"best net\" is selected, like the weights and the temperature, on other "
        f"rows than those that it predicts.",
        "**Do weights beat the plain mean?** Compared with the plain mean, greedy weights have:",
        '\n'.join(map(gain, pools)), so,
        f"**Folds.** The mean of the nets of folds has no held-out row, so it gets the temperature of single nets. On "
        f"rows that none of them saw, its log-loss is {folds.log_loss.mean():.4f} as predicted, {used:.4f} with that "
        f"temperature, and {best:.4f} with its own. {_how('weights')}"])

def pictures():
    "Return the table of drawn pictures that a run reads, a row for each kind, from pictures.csv"
    t = _csv('pictures')
    n = t.pictures.sum()
    heads = 'kind', 'pictures', 'correct', 'wrong without a doubt', 'correct, but doubtful', 'seconds'
    rows = [(r.kind, r.pictures, r.right, r.silent, r.doubtful, f'{r.seconds:.2f}') for r in t.itertuples()]
    text = (f"Of {n:,} pictures, `quick` reads {t.right.sum()/n:.1%} completely. {t.silent.sum()/n:.1%} are wrong "
            f"without a doubt, and {t.doubtful.sum()/n:.1%} are correct but marked as doubtful. A picture takes "
            f"{(t.seconds*t.pictures).sum()/n:.2f} s of processor time on average.")
    return '\n\n'.join([_table(heads, rows, ' rrrrr'), f"{text} {_how('pictures')}"])

tables = dict(gpu=gpu, folds=folds, labels=labels, accuracy=accuracy, promises=promises, systems=systems, speed=speed,
              pictures=pictures, weights=weights, fast=lambda: speed(short=True), planning=planning, ascent=ascent)

def _fill(text): return re.sub(r'<!-- table: (\w+) -->', lambda m: tables[m[1]](), text)

def fill(path):
    "Write each table that a notebook names in `<!-- table: NAME -->` … `<!-- end -->` between the two"
    nb = read_nb(path)
    marks = re.compile(r'(<!-- table: (\w+) -->\n).*?(\n<!-- end -->)', re.S)
    for c in nb.cells: c.source = marks.sub(lambda m: m[1]+tables[m[2]]()+m[3], c.source)
    write_nb(nb, path)

def render():
    "Return the notebook as Markdown, without hidden cells, with tables, and with links from the top folder"
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
    promises="""# Promises

Each promise has its own tests. `python -m pytest` runs the quick ones, and `-m slow` the others.
`python benchmarks/promises.py` runs both and counts the cases.

<!-- table: promises -->

**The limit of the record of training images.** A `DigitLearner` records the images of the DataLoaders of its fits, and
detects weights that were changed in another way. It cannot detect a callback that deliberately replaces the images of a
batch by held-out ones. For weights of unknown history, `save_run` raises an error until you pass `trained_on=`.""",
    recipes="""# Which recipe when

A recipe defines a training run: the network, the number of epochs, the learning rate, the augmentation and
more. `digitfast train DATA --recipe NAME` trains one, and `digitfast models` lists all. An option such as `--epochs 10`
changes one field.

| If you want | use |
|---|---|
| to check whether your data can be read, or to try an idea | `quick`, the default |
| a good score from one network | `--recipe single` |
| the best score that digitfast reaches | `--recipe ensemble` |
| to know whether a change helps | `digitfast compare` with several seeds, then `digitfast versus` for two runs |
| a prediction for each training row by a network that was not trained on it | `--folds 5` with any recipe |
| to find labels that may be wrong | a run with `--folds 5`, then `digitfast labels RUN` |
| to learn how each part works | the recipes of the course, from `average` to `stride2-1cycle` |
| to repeat a published article | the recipes of [the table of systems](benchmarks.md#systems) |

## How accurate they are

<!-- table: accuracy -->

[The page of benchmarks](benchmarks.md#speed) gives their training times on a CPU and on a GPU.

## How to choose

1. Begin with `quick`. If its accuracy on your data is far below the table's, read the report first, because longer
   training does not fix wrong data.
2. Change one field at a time, and compare on the same held-out rows. `digitfast versus` prints the smallest difference
   that these rows can show.
3. Train `single` or `ensemble` last, after all other choices, because they take much longer.""",
    planning="""# Planning past one machine

<!-- table: planning -->""",
    benchmarks="""# Benchmarks

This page contains all results behind the README's tables, and explains how to repeat them. Every benchmark is a script
in `benchmarks/`. It reads the competition's zip and writes a CSV to `benchmarks/results/`, with the date, the machine,
the versions and the command. `python benchmarks/readme.py` renders the CSVs as tables.

## Speed

<!-- table: speed -->

![Training time until an accuracy on held-out rows is reached](../benchmarks/results/time_to_accuracy.png)

![Errors against training time, one point for each training](../benchmarks/results/frontier.png)

![Time of an epoch of batches](../benchmarks/results/loading.png)

![Time of the parts of the command](../benchmarks/results/command.png)

![Memory and time against the number of rows](../benchmarks/results/scale.png)

## On a GPU

A training step in fastai's `Learner` is one CUDA graph. The last two columns show a bare loop with the same net,
batches, loss and optimiser.

<!-- table: gpu -->

## Accuracy

<!-- table: accuracy -->

## Ingredients

<!-- table: ascent -->

## On the same folds

<!-- table: folds -->

## Probabilities and weights

A run has one temperature, which calibrates its probabilities and changes no label.
[A guide](../nbs/guides/04_probabilities_and_ensembles.ipynb) shows how.

| calibrated | as the network predicts |
|---|---|
| `digitfast predict RUN --probs` | `predictions.npz` |
| the probabilities of predicted pictures | the limits below which a picture is in doubt |
| the demo and an exported Space | `log_loss` in `metrics.json` |
| an exported ONNX file | `digitfast versus` |

The temperature is fitted on the same held-out rows on which the run is measured. So `calibrated_log_loss` in
`metrics.json` is cross-fitted: each row is calibrated with a temperature that was fitted on other rows. The accuracy
needs no such care, because no label changes.

`digitfast ensemble RUN … --weights greedy` selects weights on held-out rows, too, and its accuracy is cross-fitted.

<!-- table: weights -->

## Doubtful labels

<!-- table: labels -->

## Pictures

`python benchmarks/pictures.py DATA RUN` draws held-out digits on many kinds of paper. A number counts as correct if all
of its digits are read in order.

<!-- table: pictures -->

![Misread pictures: kind, digits and prediction, with ? if it was marked as doubtful](pictures.png)

## Systems

<!-- table: systems -->

![Error of each system](../benchmarks/results/compare.png)""")

def page(name):
    "Return a page of docs/"
    return _fill(pages[name]).replace('](tutorials/', '](../nbs/tutorials/')+'\n'

if __name__=='__main__':
    fill(nbs/'tutorials'/'06_the_ascent.ipynb')
    (here.parent/'README.md').write_text(render(), encoding='utf-8')
    docs = here.parent/'docs'
    docs.mkdir(exist_ok=True)
    for name in pages: (docs/f'{name}.md').write_text(page(name), encoding='utf-8')
