"""Measure the effect of excluding rows whose label looks wrong: `python benchmarks/labels.py DATA`

The procedure was fixed in advance. A tenth of train.csv is held out unchanged. `quick` is trained on the rest in five
folds, `doubtful_labels` finds rows whose label looks wrong to the net not trained on them, and `quick` is trained with
and without these rows, with each of `--seeds` seeds. Both are measured on the held-out tenth, whose labels were not
cleaned."""
import tempfile, warnings
import numpy as np
from pathlib import Path
from _common import fold, parse, parser, save

def wrong(recipe, df, drop, seed, test):
    "Return which rows of `test` a net misclassifies after training on `df` without the rows `drop`"
    from digitfast.learn.learner import seed_all
    from digitfast.learn.predict import predict_rows
    dls = recipe.dls(df, drop=drop)
    seed_all(seed, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    return predict_rows(learn, test.drop(columns='label')).argmax(1)!=test.label.to_numpy()

def main():
    from digitfast.report.measure import doubtful_labels
    from digitfast.data.read import read_csvs
    from digitfast.learn.recipe import recipes
    from digitfast.tasks.train import train
    p = parser(__doc__)
    p.add_argument('--seeds', type=int, default=6)
    args,rows = parse(p),[]
    warnings.simplefilter('ignore')
    df = read_csvs(args.data).train
    trn,tst = fold(df)
    rest,test = df.iloc[trn].reset_index(drop=True),df.iloc[tst]
    with tempfile.TemporaryDirectory() as d:
        drop = doubtful_labels(train(rest, 'quick', out=Path(d)/'folds', folds=5, seed=0)).row.to_numpy()
    for seed in range(args.seeds):
        a,b = (wrong(recipes['quick'], rest, o, seed, test) for o in ([], drop))
        rows.append(dict(seed=seed, dropped=len(drop), rows=len(rest), test=len(test), wrong_with=int(a.sum()),
                         wrong_without=int(b.sum()), only_with=int((a&~b).sum()), only_without=int((b&~a).sum())))
        save('labels', rows, args) # saved now, because the command can be stopped
    print(f"{np.mean([r['wrong_with'] for r in rows]):.1f} mistakes with all rows, "
          f"{np.mean([r['wrong_without'] for r in rows]):.1f} without the {len(drop)} doubtful ones")

if __name__=='__main__': main()
