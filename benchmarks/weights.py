"""Is a mean with greedy weights better than the plain mean, and how good are probabilities after calibration?
`python benchmarks/weights.py DATA [--splits N]`

On each split, a stratified tenth of train.csv is held out. Eight nets are trained on the rest, three epochs each: four
alike (`quick` with four seeds), and four of other kinds, weak ones among them. Three pools of them are joined, by the
plain mean and by greedy weights, which `digitfast ensemble --weights greedy` selects. Whatever is selected or fitted
on held-out rows is cross-fitted: a row is predicted with weights, and calibrated with a temperature, that come from
other rows. "best net" is the net with the least log-loss on the other rows.

Three more nets are `quick` on folds of the nine tenths. Their mean is measured on the tenth, which none of them saw,
with the temperature of single nets on their folds, as a run of folds has it, and with that of the mean itself.
test.csv is not used."""
import time, warnings
import numpy as np, pandas as pd
from dataclasses import replace
from _common import fold, parse, parser, save

alike = {f'quick, seed {i}':{} for i in range(4)}
other = {'small':dict(arch='small', lr=.01), 'fastbook':dict(arch='fastbook', lr=.01),
         'mlp-512-512':dict(arch='mlp-512-512', lr=.003), 'two layers':dict(arch='mlp-25-25', lr=.01)}
nets = alike|other
pools = {'four alike':list(alike), 'all eight':list(nets), 'one quick and the other kinds':['quick, seed 0', *other]}

def trained(recipe, df, trn, val, seed):
    "Return the probabilities of the rows `val` by a network that is trained on the rows `trn`"
    from digitfast.learn.learner import seed_all
    from digitfast.learn.predict import predict_rows
    dls = recipe.dls(df.iloc[np.concatenate([trn, val])], valid=list(range(len(trn), len(trn)+len(val))))
    seed_all(seed, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    return predict_rows(learn)

def best_net(y, probs):
    "Return each row by the network with the smallest log-loss on the other parts of the rows"
    from digitfast.runs.calibration import deal_rows
    own,part = -np.log(probs[:,np.arange(len(y)),y].clip(1e-7)),deal_rows(len(y))
    res = np.empty_like(probs[0])
    for k in range(5): res[part==k] = probs[own[:,part!=k].mean(1).argmin(),part==k]
    return res

def row(split, pool, what, y, p, calibrated=None, weights=()):
    from digitfast.runs.calibration import cross_calibrate
    from digitfast.runs.preds import Preds
    a,b = Preds(y, p),Preds(y, cross_calibrate(y, p) if calibrated is None else calibrated)
    return dict(split=split, pool=pool, what=what, rows=len(y), wrong=int((~a.hits).sum()), accuracy=a.hits.mean(),
                log_loss=a.log_loss, log_loss_calibrated=b.log_loss,
                weights=' '.join(f'{o:.2f}' for o in weights))

def joined_rows(split, y, probs):
    "Return rows of the table for the pools of networks with these `probs`, {name: (n, classes)}"
    from digitfast.tasks.ensemble import cross_weigh, greedy_weights
    for pool,names in pools.items():
        p = np.stack([probs[k] for k in names])
        yield row(split, pool, 'best net', y, best_net(y, p))
        yield row(split, pool, 'plain mean', y, p.mean(0))
        yield row(split, pool, 'greedy weights', y, cross_weigh(y, p), weights=greedy_weights(y, p))

def fold_rows(split, df, trn, val, recipe, k=3):
    "Return rows of the table for the mean of networks that were trained on folds of the rows `trn`"
    from sklearn.model_selection import StratifiedKFold
    from digitfast.runs.calibration import calibrate, fit_temperature
    y,own,mean = df.label.to_numpy(),np.empty((len(trn),10), np.float32),0
    for seed,(a,b) in enumerate(StratifiedKFold(k, shuffle=True, random_state=0).split(trn, y[trn])):
        p = trained(recipe, df, trn[a], np.concatenate([trn[b], val]), seed)
        own[b],mean = p[:len(b)],mean+p[len(b):]/k
    t = fit_temperature(y[trn], own)
    yield row(split, f'{k} folds', f'mean, temperature {t:.2f} of single nets', y[val], mean, calibrate(mean, t))
    t = fit_temperature(y[val], mean)
    yield row(split, f'{k} folds', f'mean, own temperature {t:.2f}', y[val], mean)

def main():
    from digitfast.data.read import read_csvs
    from digitfast.learn.recipe import recipes
    p = parser(__doc__)
    p.add_argument('--splits', type=int, default=3, help='how many tenths are held out, one after another')
    args = parse(p)
    warnings.simplefilter('ignore')
    df,quick,rows = read_csvs(args.data).train,replace(recipes['quick'], epochs=3),[]
    y = df.label.to_numpy()
    for split in range(args.splits):
        trn,val = (np.array(o) for o in fold(df, split))
        start,probs = time.process_time(),{}
        for seed,(name,change) in enumerate(nets.items()):
            probs[name] = trained(replace(quick, **change), df, trn, val, 10*split+seed)
            rows.append(row(split, 'single nets', name, y[val], probs[name]))
            print(f"split {split}, {name}: {rows[-1]['wrong']} of {len(val)} wrong, "
                  f"{time.process_time()-start:.0f} s", flush=True)
        rows += [*joined_rows(split, y[val], probs), *fold_rows(split, df, trn, val, quick)]
        save('weights', rows, args, show=split==args.splits-1)

if __name__=='__main__': main()
