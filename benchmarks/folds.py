"""Recipes on the same folds, paired over the rows: `python benchmarks/folds.py DATA [--arm NAME …]`

Each arm is a recipe, trained once on the other rows of each of `--folds` stratified folds, with a seed for each fold,
and measured on the fold, so that every row of train.csv is predicted by a net that has not seen it. What a recipe would
hold out is trained on. Of two arms the rows count that only one of them has wrong. Probabilities are kept in `--keep`,
where a training that is there is not done again: the command can be stopped and go on, and two can share the work."""
import time, warnings
import numpy as np, pandas as pd
from dataclasses import replace
from math import sqrt
from pathlib import Path
from _common import parse, parser, save
from digitfast.core import write_file

def arms():
    "{name: recipe}; the first is what the others are compared with"
    from digitfast.recipe import recipes
    single = replace(recipes['single'], epochs=8, valid_every=99)
    deep = recipes['ensemble'].vary[1]['arch_kwargs']
    wide = dict(chs=(64,64,96,128,160,192), ks=(5,3,3,3,3,3), strides=(2,1,1,1,1,1), ps=.4)
    deep,wide = (replace(single, arch='small', arch_kwargs=o) for o in (deep, wide))
    return {'single':single, 'quick':replace(recipes['quick'], epochs=3),
            'single, 26 epochs':replace(single, epochs=26),
            **{f'deep, {n} epochs':replace(deep, epochs=n) for n in (8,16)}, 'wide, 8 epochs':wide}

def trained(recipe, df, val, seed):
    "(probabilities of the rows `val` without and with shifts, seconds of processor time of training)"
    from digitfast.learner import seed_all
    from digitfast.predict import predict_rows
    dls = recipe.dls(df, valid=val.tolist())
    seed_all(seed, dls)
    learn = recipe.learner(dls)
    t = time.process_time()
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    t = time.process_time()-t
    return [predict_rows(learn, tta=o).astype(np.float16) for o in (0,1)],t

def kept(keep, name, k): return Path(keep)/f'{name}-{k}.npz'.replace(' ', '_').replace(',', '')

def run(name, recipe, df, folds, args):
    for k,val in enumerate(folds):
        f = kept(args.keep, name, k)
        if f.exists() or (args.fold and k not in args.fold): continue
        f.parent.mkdir(parents=True, exist_ok=True)
        (p,q),t = trained(recipe, df, val, k)
        with open(f.with_suffix('.tmp'), 'wb') as o: np.savez(o, p=p, q=q, t=t)
        f.with_suffix('.tmp').rename(f)
        y = df.label.to_numpy()[val]
        wrong = ' and '.join(str((o.argmax(1)!=y).sum()) for o in (p, q))
        print(f'{name}, fold {k}: {wrong} of {len(y)} wrong, {t:.0f} s', flush=True)

def joined(name, df, folds, args, what='q'):
    "Probabilities of all rows, each by the net that has not seen it"
    res = np.zeros((len(df), df.label.nunique()), np.float32)
    for k,val in enumerate(folds): res[val] = np.load(kept(args.keep, name, k))[what]
    return res

def table(names, df, folds, args):
    y,rows,first = df.label.to_numpy(),[],None
    for name in names:
        if not all(kept(args.keep, name, k).exists() for k in range(len(folds))): continue
        p,q = (joined(name, df, folds, args, o) for o in 'pq')
        bad = q.argmax(1)!=y
        if first is None: first = bad
        worse,better = int((bad&~first).sum()),int((first&~bad).sum())
        seconds = np.mean([np.load(kept(args.keep, name, k))['t'] for k in range(len(folds))])
        rows.append(dict(arm=name, accuracy=1-bad.mean(), sd=np.std([bad[o].mean() for o in folds], ddof=1),
                         accuracy_unshifted=(p.argmax(1)==y).mean(),
                         nll=-np.log(q[np.arange(len(y)),y].clip(1e-6)).mean(), only_this_wrong=worse,
                         only_first_wrong=better, difference_se=sqrt(worse+better)/len(y), trainings=len(folds),
                         cpu_seconds=seconds))
    return rows

def main():
    from sklearn.model_selection import StratifiedKFold
    from digitfast.read import read_csvs
    p = parser(__doc__)
    p.add_argument('--arm', action='append', help=f'one of: {"; ".join(arms())}; all if left out')
    p.add_argument('--folds', type=int, default=6)
    p.add_argument('--fold', type=int, action='append', help='only this one, without a table; repeat it for more')
    p.add_argument('--keep', default='folds', metavar='DIR', help='where probabilities are kept')
    args = parse(p)
    warnings.simplefilter('ignore')
    df = read_csvs(args.data).train
    folds = [o[1] for o in StratifiedKFold(args.folds, shuffle=True, random_state=0).split(df, df.label)]
    for name,recipe in arms().items():
        if not args.arm or name in args.arm: run(name, recipe, df, folds, args)
    if not args.fold: save('folds', table(arms(), df, folds, args), args)

if __name__=='__main__': main()
