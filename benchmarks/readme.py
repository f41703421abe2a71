"""Render README.md from nbs/index.ipynb, and the pages beside it: `python benchmarks/readme.py`.

Tables come from the CSVs in benchmarks/results, where the notebook has a line `<!-- table: NAME -->`."""
from pathlib import Path
import json, re
import pandas as pd
import nbformat
from fastcore.nbio import read_nb, write_nb
from nbconvert import MarkdownExporter

here = Path(__file__).parent

# The five articles, by a letter each; what the figure is that a system's article reports
articles = {'A': 'gurtaj1, [MNIST SGD, Linear Functions, and Convolutions](https://gurtaj1.github.io/blog/2023/09/02/mnist-sgd-linear-functions-and-convolutions.html)',
            'B': '[seyong2](https://github.com/seyong2), Predicting Digits using Neural Network',
            'C': 'an unnamed author, MNIST Digit Classification using PyTorch (21 November 2024)',
            'D': '[Pratik Kumar](https://pr2tik1.github.io), Digit Recognition using MLP in PyTorch',
            'E': '[RathanakSreang](https://github.com/RathanakSreang/PyTorchScholarshipLesson/tree/master/hand-written-digit), on Viblo'}
figures = {'average': ('A', 'Kaggle'), 'linear': ('A', 'training rows'), 'two-layer': ('A, mended', ''), 'two-layer-broadcast': ('A', 'training rows'),
           'two-layer-learner': ('A', 'training rows'), 'stride2': ('A', 'training rows'), 'mlp-100': ('B', 'rows kept aside'), 'mlp-25-25': ('C', 'last batch'),
           'mlp-512-256': ('D', ''), 'mlp-512-512': ('E', 'Kaggle')}

def systems():
    "What `digitfast compare` measured, a row a system"
    t = pd.read_csv(here/'results'/'compare.csv', dtype=dict(reported=str))
    runs = pd.read_csv(here/'results'/'runs.csv')
    def row(r):
        source,what = figures.get(r.system, ('–', ''))
        said = '–' if pd.isna(r.reported) else f'{r.reported}, {what}'
        return f"| `{r.system}` | {source} | {said} | {r['mean']:.4f} ± {r.sd:.4f} | {r.parameters:,} | {r.seconds:.0f} |"
    o = runs.iloc[0]
    threads = f"{o.threads} thread{'' if o.threads==1 else 's'}"
    return '\n'.join([
        '| recipe | article | reported, on | measured | parameters | seconds |', '|---|---|---|---:|---:|---:|', *(row(r) for _,r in t.iterrows()), '',
        f"Measured: {round(o.rows/9):,} held-out rows of `train.csv`, mean and standard deviation over {t.seeds.min()} seeds; "
        f"{o.device.upper()}, {threads}, {runs.date.max()}; seconds of training on a shared machine, an order of magnitude. Articles: "
        + '; '.join(f'{k} {v}' for k,v in articles.items()) + '.'])

def _mean(t, col):
    "Mean seconds of each system that reached `col` in all its trainings"
    return t.groupby('system', sort=False)[col].agg(lambda o: o.astype(float).mean(skipna=False)).dropna()

def _how(*names):
    "Date, machine, versions and commands of results"
    ts = [pd.read_csv(here/'results'/f'{o}.csv') for o in names]
    o = ts[0].iloc[0]
    return f"{max(t.date.max() for t in ts)}, {o.machine}, {o.threads} thread{'' if o.threads==1 else 's'}, {o.versions}. " + '; '.join(f'`{t.command.iloc[0]}`' for t in ts) + '.'

def speed():
    "digitfast and what stands beside it, from loading.csv, time_to_accuracy.csv, overhead.csv and command.csv"
    load,acc,over,cmd = (pd.read_csv(here/'results'/f'{o}.csv') for o in ('loading','time_to_accuracy','overhead','command'))
    l,o,c = load.set_index('loader').seconds,over.set_index('recipe').ratio,cmd.set_index('what')
    def s(v): return f'{v:.2f} s' if v<10 else f'{v:.0f} s'
    rows = [(f"an epoch of batches of {load.bs[0]}, {load.rows[0]:,} images", s(l['digitfast']), ', '.join(f'{k} {s(v)}' for k,v in l.items() if k!='digitfast'))]
    for goal in ('99.0%','99.5%','99.6%'):
        t = _mean(acc, goal)
        ours = t[t.index.str.startswith('digitfast')]
        rest = t.drop(ours.index)
        best = rest[rest.index.str.startswith('train_mnist_fast')].sort_values().head(1) # the length that suits it best
        rest = pd.concat([best, rest[~rest.index.str.startswith('train_mnist_fast')]])
        if not len(ours): continue
        lost = [k for k in acc.system.unique() if not k.startswith(('digitfast','train_mnist_fast')) and k not in rest.index]
        rows.append((f"training to {goal[:-1]} % of held-out rows", ', '.join(f"`{k.split()[1]}` {s(v)}" for k,v in ours.items()) or 'not reached',
                     ', '.join([*(f'{k} {s(v)}' for k,v in rest.items()), *([f"not reached: {', '.join([*lost, *(['train_mnist_fast'] if not len(best) else [])])}"] if lost or not len(best) else [])])))
    rows.append(('`Learner` with all callbacks, to a bare loop of the same', ', '.join(f'`{k}` {v:.2f}' for k,v in o.items()), '1'))
    for k in c.index[c.index.str.startswith(('digitfast train sample','digitfast predict SINGLE'))]:
        rows.append((f'`{k}`', s(c.seconds[k]), f"{s(c.seconds['import of all that train needs'])} of it the import"))
    return '\n'.join(['| | digitfast | beside it |', '|---|---|---|', *(f'| {a} | {b} | {d} |' for a,b,d in rows), '', _how('loading','time_to_accuracy','overhead','command'),
                      'Rivals are written as they were published and cut off after five minutes; slow systems trained once, the others three times.'])

def planning():
    "What more rows and more nets cost, from scale.csv and time_to_accuracy.csv"
    t,acc = pd.read_csv(here/'results'/'scale.csv'),pd.read_csv(here/'results'/'time_to_accuracy.csv')
    big,most = t[t.rows<=420_000].iloc[-1],t.iloc[-1]
    us = {k:1e6*big[k]/big.rows for k in ('read','split','epoch','predict')}
    once = '' if most.rows==big.rows else (f" {most.rows:,} rows were put through it once, on {most.threads} thread{'s' if most.threads>1 else ''} beside other work: {most.us_per_row:.0f} µs a row, "
                                           f"{most.read+most.split:.0f} s until training starts, {most.times_pixels:.1f} times the pixels.")
    one = acc[acc.system=='digitfast single'].seconds.mean()
    hundred = '' if pd.isna(one) else f" At {one/60:.1f} minutes each, a hundred nets of `single` are {100*one/3600:.0f} hours of this machine, and a tenth of it on ten."
    px = big.csv_pixels_mb*2**20/big.rows
    return f"""A row costs {us['read']:.0f} µs to read, {us['split']:.0f} to split and turn into tensors, {us['epoch']:.0f} in an epoch of `quick`'s net and {us['predict']:.0f} to predict, at {big.rows:,.0f} rows on {big.threads:.0f} threads; at {t.rows.iloc[1]:,} rows the sum is {t.us_per_row.iloc[1]:.0f} µs, at {big.rows:,.0f} it is {big.us_per_row:.0f}. Memory peaks at {big.times_pixels:.1f} times the pixels, beside {big.base_mb/1024:.1f} GB of torch.{once}

- **A million rows**: {us['read']+us['split']:.0f} s until training starts, {us['epoch']:.0f} s an epoch, {big.times_pixels*px*1e6/2**30+big.base_mb/1024:.1f} GB. A recipe's length is in images, not epochs, but it is an epoch at least: `quick` would see each row once.
- **A hundred nets**: members of an ensemble share nothing but the split, so they are the thing to spread: one process a member, over Dask where there are more machines.{hundred}
- **Eight GPUs**: eight workers with a member each, not one net over eight. A step of these nets is a few milliseconds or less; to exchange gradients at each would cost as much again, and the larger batch that hides it needs more images to the same accuracy. How fast a member is on a GPU was not measured.
- **Where it stops**: all pixels are one uint8 tensor on the device that trains, {px:.0f} bytes a row, so a 16 GB card holds some {14*2**30/px/1e6:.0f} million; and the CSV is read by one thread, {us['read']*1e7/6e7:.0f} minutes for ten million rows, into {big.times_pixels:.1f} times the pixels of main memory. Beyond that the rows want to be a memory-mapped array, written once.

{_how('scale')}"""

def ascent():
    "What each ingredient is worth, from accuracy.csv"
    t,runs = pd.read_csv(here/'results'/'accuracy.csv'),pd.read_csv(here/'results'/'accuracy-runs.csv')
    t,o = t.pivot(index='system', columns='tta')[['mean','sd','nll','cpu_seconds','parameters','seeds']].reindex(t.system.unique()),runs[runs.system=='stride-2 net'].iloc[0]
    e = runs.groupby('system').epochs.first()
    def acc(k, tta): return f"{100*t.at[k,('mean',tta)]:.2f}" + (f" ± {100*t.at[k,('sd',tta)]:.2f}" if t.at[k,('seeds',0)]>1 else '')
    def row(k):
        several = next((f"{100*t.at[o,('mean',1)]:.2f}" for o in t.index if o.startswith(f'{k}, mean of')), '–')
        name = f'recipe `{k}`, {e[k]} epochs' if k in ('quick','single') else k
        return f"| {name} | {acc(k, 0)} | {acc(k, 1)} | {several} | {t.at[k,('seeds',0)]:.0f} | {t.at[k,('parameters',0)]:,.0f} | {t.at[k,('cpu_seconds',0)]:.0f} |"
    return '\n'.join(['| | one net, % | with shifts at test time | their mean | seeds | parameters | seconds of CPU |', '|---|---:|---:|---:|---:|---:|---:|', *(row(k) for k in t.index if ', mean of' not in k), '',
                      f"Accuracy on {o.test:,} rows on which nothing was chosen, after training on {o.train:,} others, for {o.epochs} epochs where nothing else is said: mean and standard deviation over the seeds, and that of the mean of their probabilities. "
                      f"{o.machine}, {o.threads} thread, {runs.date.max()}, torch {o.torch}. `python benchmarks/accuracy.py digit-recognizer.zip`."])

def accuracy():
    "How right the recipes are, from accuracy-runs.csv and the metrics of one whole run of `ensemble`"
    runs,m = pd.read_csv(here/'results'/'accuracy-runs.csv'),json.loads((here/'results'/'ensemble.json').read_text())
    rows = []
    for k,tta in (('quick',0),('single',1)): # as each makes its submission
        t = runs[(runs.system==k)&(runs.tta==tta)]
        acc = 100*(1-t.wrong/t.test)
        rows.append(f"| `{k}` | {acc.mean():.2f} ± {acc.std():.2f} % | mean and standard deviation over {len(t)} seeds, on {t.test.iloc[0]:,} rows on which nothing was chosen, trained on {t.train.iloc[0]:,} others |")
    rows += [f"| a net of `ensemble` | {100*m['oof_accuracy']:.2f} % | each of {m['n_oof']:,} rows by a net that did not see it |",
             f"| `ensemble` | {100*m['accuracy']:.2f} % | one run, {m['seconds']['train']/60:.0f} minutes; the {m['n_valid']:,} rows that no net saw, too few to tell it from `single`: it expects {m['score_low']:.4f} to {m['score_high']:.4f} of the test set |"]
    return '\n'.join(['| | accuracy | of what |', '|---|---:|---|', *rows, '',
                      f"{max(runs.date.max(), m['date'])}, {runs.machine.iloc[0]}; `ensemble` on {m['threads']} threads, beside other work, the others on {runs.threads.iloc[0]}. `python benchmarks/accuracy.py digit-recognizer.zip`, `digitfast train digit-recognizer.zip --recipe ensemble`. "
                      "What each ingredient is worth is [in the tutorial](tutorials/06_the_ascent.ipynb)."])

def promises():
    "What is promised, and how often it was put to the test, from promises.csv"
    t = pd.read_csv(here/'results'/'promises.csv')
    rows = [f"| {o.promise} | {', '.join(f'`{f}`' for f in o.tests.split())} | {o.cases:,} | {o.failures:,} |" for o in t.itertuples()]
    skipped = f" {t.skipped.sum():,} were skipped." if t.skipped.sum() else ''
    return '\n'.join(['| promise | proven by, in `tests/` | cases | failures |', '|---|---|---:|---:|', *rows, '', f"Quick tests and slow ones, {_how('promises')}{skipped}"])

tables = dict(accuracy=accuracy, promises=promises, systems=systems, speed=speed, planning=planning, ascent=ascent)

def fill(path):
    "Write each table that a notebook names in `<!-- table: NAME -->` … `<!-- end -->` between the two"
    nb = read_nb(path)
    for c in nb.cells: c.source = re.sub(r'(<!-- table: (\w+) -->\n).*?(\n<!-- end -->)', lambda m: m[1]+tables[m[2]]()+m[3], c.source, flags=re.S)
    write_nb(nb, path)

def render():
    "The notebook as Markdown: hidden cells left out, tables filled in, pictures in nbs/images, links relative to the top folder"
    nbs = here.parent/'nbs'
    nb = nbformat.read(nbs/'index.ipynb', 4)
    nb.cells = [c for c in nb.cells if not c.source.startswith('#| hide')]
    nb.metadata['language_info'] = dict(name='python')
    (nbs/'images').mkdir(exist_ok=True)
    md,res = MarkdownExporter().from_notebook_node(nb)
    for o in (nbs/'images').glob('readme_*'): o.unlink()
    for name,png in res['outputs'].items():
        (nbs/'images'/f'readme_{name}').write_bytes(png)
        md = md.replace(f']({name})', f'](images/readme_{name})')
    md = re.sub(r'<style>.*?</style>', '', md, flags=re.S)
    md = re.sub(r'<!-- table: (\w+) -->', lambda m: tables[m[1]](), md)
    md = re.sub(r'\]\(\.\./', '](', md)
    md = re.sub(r'\]\((?!https?:|#|/)(\d\d|tutorials|images)', r'](nbs/\1', md)
    return re.sub(r'\n{3,}', '\n\n', md).strip()+'\n'

pages = {
    'promises': ('What digitfast promises', """Each promise has tests of its own; `python -m pytest` runs the quick part of each, `-m slow` the rest, and
`python benchmarks/promises.py` both, and counts.

<!-- table: promises -->"""),
    'planning': ('Planning past one machine', '<!-- table: planning -->'),
    'benchmarks': ('Benchmarks', """What stands in the README's tables, how to repeat it, and the pictures. Every benchmark is a script in `benchmarks/` that takes the competition's zip,
writes a CSV into `benchmarks/results/` with the date, the machine, the versions and the command, and is rendered by `python benchmarks/readme.py`.

## Speed

<!-- table: speed -->

![Seconds of training to an accuracy on held-out rows](../benchmarks/results/time_to_accuracy.png)

![Batches, loaded](../benchmarks/results/loading.png)

![Memory and time by rows](../benchmarks/results/scale.png)

## How right

<!-- table: accuracy -->

## Ingredients

<!-- table: ascent -->

## Systems

<!-- table: systems -->

![Error of each system](../benchmarks/results/compare.png)"""),
}

def page(name):
    "A page beside the README"
    title,text = pages[name]
    text = re.sub(r'<!-- table: (\w+) -->', lambda m: tables[m[1]](), text)
    return f'# {title}\n\n{text}\n'.replace('](tutorials/', '](../nbs/tutorials/')

if __name__=='__main__':
    fill(here.parent/'nbs'/'tutorials'/'06_the_ascent.ipynb')
    (here.parent/'README.md').write_text(render(), encoding='utf-8')
    (here.parent/'docs').mkdir(exist_ok=True)
    for name in pages: (here.parent/'docs'/f'{name}.md').write_text(page(name), encoding='utf-8')
