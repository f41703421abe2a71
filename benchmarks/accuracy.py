"""Measure the effect of each ingredient: `python benchmarks/accuracy.py DATA [--system NAME …]`

Each system is trained with several seeds on nine tenths of train.csv and measured once on the other tenth, on which
nothing was chosen. The list adds one ingredient at a time and ends at the recipe `single`. Ingredients that were tried
but not used are marked. The rival is the published net of the ensemble with the best documented score, and its author
trained for 45 epochs. `single` had 29 epochs before. `quick` has its own length. Runs in accuracy-runs.csv are not
repeated, so you can stop and resume the command, and two processes can share the work."""
from _common import cpu_name, fold, parse, parser, results
import json, time, warnings
import numpy as np, pandas as pd, torch, torch.nn.functional as F
from dataclasses import dataclass, replace
from torch import nn
from fastai.callback.schedule import ParamScheduler, SchedExp
from fastai.torch_core import TensorImage
from importlib.metadata import version
from digitfast.all import *
from digitfast.core import write_file
from digitfast.runs.run import read_metrics
from digitfast.data.block import DigitDataLoaders
from digitfast.data.read import read_csvs
from digitfast.learn.recipe import Recipe, recipes
from digitfast.learn.callbacks import RandAffine
from digitfast.learn.learner import seed_all
from digitfast.models.nets import arch, conv
from digitfast.learn.predict import predict_rows

@arch('rival', 'the net of the 0.99757 ensemble: 32C3-32C3-32C5S2-64C3-64C3-64C5S2-128C4')
def rival(n_out=10, side=28, ps=0.4):
    def c(*a, padding=0): return conv(*a, padding=padding, norm=True)
    def stage(a, b): return c(a, b, 3, 1), c(b, b, 3, 1), c(b, b, 5, 2, padding=2), nn.Dropout(ps)
    head = nn.Flatten(), nn.Dropout(ps), nn.Linear(128, n_out)
    return nn.Sequential(*stage(1, 32), *stage(32, 64), c(64, 128, 4, 1), *head)

@dataclass(frozen=True)
class RivalRecipe(Recipe):
    "Train with Adam at 1e-3 times 0.95 per epoch for 45 epochs, as its author did; fewer epochs end at the same rate"
    def fit(self, learn, cbs=None):
        falls = ParamScheduler(dict(lr=SchedExp(1e-3, 1e-3*0.95**45)))
        learn.fit(self.n_epoch(len(learn.dls.train_ds)), cbs=[falls, *L(cbs)])
        return learn

class Elastic(RandAffine):
    "`RandAffine` and a smooth field of displacements of `alpha` pixels"
    def __init__(self, alpha, **kwargs): super().__init__(**kwargs); self.alpha = alpha
    def encodes(self, x:TensorImage):
        x = super().encodes(x)
        n,_,h,w = x.shape
        d = F.interpolate(torch.randn(n, 2, 6, 6)*2*self.alpha/w, size=(h,w), mode='bicubic', align_corners=True)
        d = d.permute(0, 2, 3, 1)
        grid = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), list(x.shape), align_corners=False)+d
        return type(x)(F.grid_sample(x.as_subclass(torch.Tensor), grid, align_corners=False))

@dataclass(frozen=True)
class ElasticRecipe(Recipe):
    alpha:float=0.4
    def dls(self, df, member=None, **kwargs):
        kwargs = dict(valid=self.split, valid_pct=self.valid_pct, seed=self.split_seed, bs=self.bs, **kwargs)
        return DigitDataLoaders.from_df(df, batch_tfms=[Elastic(self.alpha, **self.affine)], **kwargs)

def systems(epochs):
    "Return {name: recipe}: each has one more ingredient than the last; then recipes with their own length"
    a = Recipe(arch='fastbook', lr=5e-3, epochs=epochs, precision='bf16', valid_pct=0.05)
    b = replace(a, arch='small', arch_kwargs=dict(chs=(32,48,64,96,128), ks=(5,3,3,3,3), strides=(2,1,1,2,1)))
    c = replace(b, smooth=0.05)
    d = replace(c, affine=recipes['single'].affine)
    e = replace(d, arch_kwargs=dict(b.arch_kwargs, ps=0.3))
    f = replace(e, arch='residual', arch_kwargs={})
    affine = dict(rotate=10, shift=2.8, zoom=0.1)
    rival = RivalRecipe(arch='rival', opt='adam', bs=64, epochs=epochs, valid_pct=0.05, wd=0., affine=affine,
                        precision='bf16')
    return {'stride-2 net': a, 'valid convolutions': b, '+ label smoothing': c, '+ affine': d, '+ dropout': e,
            '+ residual blocks': f, 'residual blocks, 29 epochs': replace(f, epochs=29),
            'not used: average of weights': replace(e, ema=0.998), 'not used: elastic': ElasticRecipe(**vars(e)),
            'rival': rival, 'rival, 45 epochs': replace(rival, epochs=45), 'quick': recipes['quick']}

def score(p, y):
    nll = -np.log(p[np.arange(len(y)),y].clip(1e-12)).mean()
    return dict(wrong=int((p.argmax(1)!=y).sum()), nll=float(nll))

def main():
    p = parser(__doc__)
    p.add_argument('--seeds', type=int, default=5)
    p.add_argument('--epochs', type=int, default=8, help='epochs of each training')
    p.add_argument('--system', action='append', help='only this system; repeat it for more')
    p.add_argument('--ensemble', metavar='RUN', help='train nothing; copy the metrics of this finished run of the '
                   'recipe ensemble on DATA to ensemble.json')
    args = parse(p)
    if args.ensemble:
        m = read_metrics(args.ensemble)
        del m['data']['path']
        return write_file(args.out/'ensemble.json', json.dumps(dict(m, machine=cpu_name()), indent=1)+'\n')
    warnings.simplefilter('ignore')
    d = read_csvs(args.data)
    trn,tst = fold(d.train)
    train,test = d.train.iloc[trn],d.train.iloc[tst]
    y,x = test.label.to_numpy(),test.drop(columns='label')
    args.out.mkdir(parents=True, exist_ok=True)
    f,probs = args.out/'accuracy-runs.csv',{}
    def runs(): return pd.read_csv(f) if f.exists() else pd.DataFrame(columns=['system','seed','epochs'])
    def add(*rows): pd.DataFrame(rows).to_csv(f, mode='a', header=not f.exists(), index=False)
    for name,recipe in systems(args.epochs).items():
        if args.system and name not in args.system: continue
        for seed in range(args.seeds):
            dls = recipe.dls(train)
            epochs = recipe.n_epoch(len(dls.train_ds))
            if ((o := runs()).system.eq(name)&o.seed.eq(seed)&o.epochs.eq(epochs)).any(): continue
            seed_all(seed, dls)
            learn = recipe.learner(dls)
            t = time.process_time()
            with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
            t = time.process_time()-t
            about = dict(cpu_seconds=round(t, 1), epochs=epochs, train=len(dls.train_ds), test=len(y),
                         parameters=sum(o.numel() for o in learn.model.parameters()), threads=args.threads,
                         precision=learn.precision, date=time.strftime('%Y-%m-%d'), torch=torch.__version__,
                         fastai=version('fastai'), machine=cpu_name())
            ps = [predict_rows(learn, x, tta=tta) for tta in (0,1)]
            probs.setdefault(name, []).append(ps[1])
            add(*(dict(system=name, seed=seed, tta=tta, **score(p, y), **about) for tta,p in enumerate(ps)))
            right = (f"{100*(1-score(p, y)['wrong']/len(y)):.2f} %" for p in ps)
            print(name, seed, *right, f'{t:.0f} s of CPU', flush=True)
        mine = probs.get(name, [])
        if len(mine)==args.seeds>1:
            add(dict(system=f'{name}, mean of {len(mine)}', seed=-1, tta=1, **score(np.mean(mine, 0), y), **about))
    df = runs()
    kind = df.system.str.replace(r', mean of \d+$', '', regex=True)
    order = list(systems(args.epochs)).index
    df = df[(df.epochs==args.epochs)|kind.isin(['rival, 45 epochs', 'residual blocks, 29 epochs', 'quick'])]
    df = df.sort_values('system', key=lambda _: kind.map(order), kind='stable')
    df['accuracy'] = 1-df.wrong/df.test
    g = df.groupby(['system','tta'], sort=False)
    table = pd.DataFrame(dict(mean=g.accuracy.mean(), sd=g.accuracy.std(), nll=g.nll.mean(), seeds=g.size(),
                              cpu_seconds=g.cpu_seconds.mean(), parameters=g.parameters.first())).reset_index()
    table.to_csv(args.out/'accuracy.csv', index=False)
    print(table.round(5).to_string(index=False))

if __name__=='__main__': main()
