"""Compare `quick` with a small search on scikit-learn's 8x8 digits, over folds: `python benchmarks/sides.py`"""
import time
import numpy as np, pandas as pd
from sklearn.datasets import load_digits
from digitfast.learn.learner import seed_all
from digitfast.learn.predict import predict_rows
from digitfast.learn.recipe import recipes
from _common import parse, parser, save

systems = {'quick':{}, **{f'{arch}, rate {lr:g}':dict(arch=arch, lr=lr) for arch in ('stride2','fastbook','mlp-100')
                         for lr in (3e-3,1e-2,3e-2)}, 'residual, rate 0.005':dict(arch='residual', lr=5e-3)}

def frame():
    "Return the digits as rows of 0 to 255"
    d = load_digits()
    df = pd.DataFrame((d.data*255/16).round().astype(np.uint8), columns=[f'pixel{i}' for i in range(64)])
    df.insert(0, 'label', d.target)
    return df

def right(recipe, df, fold, seed):
    "Return the accuracy on `fold` of a net trained on the other rows"
    test = np.arange(len(df))%5==fold
    dls = recipe.dls(df[~test].reset_index(drop=True))
    seed_all(seed, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    probs = predict_rows(learn, df[test].drop(columns='label'))
    return (probs.argmax(1)==df.label[test].to_numpy()).mean()

if __name__=='__main__':
    p = parser(__doc__, data=False)
    p.add_argument('--seeds', type=int, default=1, help='trainings of each system on each of five folds')
    args = parse(p)
    df,rows = frame(),[]
    for name,change in systems.items():
        t = time.process_time()
        acc = [right(recipes['quick'].but(**change), df, k, s) for s in range(args.seeds) for k in range(5)]
        rows.append(dict(system=name, accuracy=np.mean(acc), sd=np.std(acc, ddof=1), trainings=len(acc),
                         cpu_seconds=(time.process_time()-t)/len(acc)))
        print(f"{name:<24} {rows[-1]['accuracy']:.4f} ± {rows[-1]['sd']:.4f}", flush=True)
    save('sides', rows, args)
