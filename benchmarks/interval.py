"""Count how often the printed interval contains the test score: `python benchmarks/interval.py DATA [--keep DIR]`

`folds.py` stores held-out predictions for all rows of train.csv in `--keep`. A simulated split draws a stratified
validation set from them, and a test set of up to 28,000 other rows. The interval is computed from the validation set,
as `train` prints it, and the score from the test set. All splits share their rows, so the result confirms the formula
rather than its use on other data."""
from argparse import Namespace
import numpy as np, pandas as pd
from _common import parse, parser, save
from folds import done, joined

def held(hits, y, n, draws, rng, n_test=28_000):
    "For each of `draws` splits with `n` validation rows, return (whether the interval contains the score, its width)"
    from digitfast.report.measure import score_interval
    from digitfast.data.split import stratified_order
    res = []
    for _ in range(draws):
        order = stratified_order(y, int(rng.integers(2**31)))
        val,test = order[:n],rng.permutation(order[n:])[:n_test]
        low,high = score_interval(int(hits[val].sum()), n, len(test))
        res.append((low<=hits[test].mean()<=high, high-low))
    return np.array(res)

def main():
    from sklearn.model_selection import StratifiedKFold
    from digitfast.data.read import read_csvs
    p = parser(__doc__)
    p.add_argument('--keep', default='folds', metavar='DIR', help='folder with the probabilities of folds.py')
    p.add_argument('--folds', type=int, default=6, help='as for folds.py')
    p.add_argument('--draws', type=int, default=200, help='simulated splits')
    args,rows = parse(p),[]
    df = read_csvs(args.data).train
    y = df.label.to_numpy()
    folds = [o[1] for o in StratifiedKFold(args.folds, shuffle=True, random_state=0).split(df, y)]
    kept = Namespace(keep=args.keep)
    for recipe,pct in (('quick', .1), ('single', .05)):
        if not done(recipe, folds, kept): continue
        hits = joined(recipe, df, folds, kept, 'q' if recipe=='single' else 'p').argmax(1)==y
        n = round(pct*len(df))
        res = held(hits, y, n, args.draws, np.random.default_rng(0))
        rows.append(dict(recipe=recipe, n_valid=n, n_test=min(28_000, len(y)-n), splits=args.draws,
                         accuracy=hits.mean(), held=res[:,0].mean(), nominal=.95, width=res[:,1].mean()))
    save('interval', rows, args)

if __name__=='__main__': main()
