"""Recipes on the same folds, paired over the rows: `python benchmarks/folds.py DATA [--group NAME] [--arm NAME …]`

A group of arms answers a question, such as: which net is best for `quick`? Each arm is a recipe. It is trained once for
each of `--folds` stratified folds, on all other rows, with its own seed, and measured on the fold. So every row of
train.csv is predicted by a net that was not trained on it. The recipe's own held-out share is trained on. Two arms
are compared by the rows that only one of them misclassifies. Probabilities are stored in `--keep`, and a stored
training is not repeated, so you can stop and resume the command, and two processes can share the work."""
import time, warnings
import numpy as np, pandas as pd
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from _common import parse, parser, save

@dataclass(frozen=True)
class Arm:
    recipe:object
    seed:int=0              # Added to the number of the fold
    prepare:object=None     # A function applied to the frame before training and measuring
    setup:object=None       # A function of the Learner, applied before training
    teachers:tuple=()       # Arms whose mean prediction is half of each label, each net for its own fold

def upright(df):
    "Return the images, each sheared until rows and columns are uncorrelated, as in the committees of 2012"
    from scipy.ndimage import affine_transform
    x,(i,j) = df.drop(columns='label').to_numpy(np.float32),np.mgrid[:28,:28].reshape(2, -1)
    res = np.empty((len(x),784), np.uint8)
    for k,row in enumerate(x):
        m = row/row.sum()
        ci,cj = m@i,m@j
        slant = (m@((i-ci)*(j-cj)))/(m@(i-ci)**2)
        a = np.array([[1,0],[slant,1]])
        out = affine_transform(row.reshape(28, 28), a, offset=np.array([ci,cj])-a@np.array([ci,cj]), order=1)
        res[k] = out.clip(0, 255).round().ravel()
    return df[['label']].join(pd.DataFrame(res, columns=df.columns.drop('label'), index=df.index))

def whiten_stem(learn):
    """Set the first convolution to the principal components of its patches, scaled to the same variance, and to their
    negatives, and train it no further: as in cifar10-airbench"""
    import torch
    from torch import nn
    conv = next(o for o in learn.model.modules() if isinstance(o, nn.Conv2d))
    mean,std = learn.dls.stats
    x = (learn.dls.train.images.as_subclass(torch.Tensor)[:5000]/255-mean)/std
    patches = nn.functional.unfold(x, conv.kernel_size, stride=conv.stride).movedim(1, 2).flatten(0, 1)
    variances,components = torch.linalg.eigh(patches.T@patches/len(patches))
    n = conv.out_channels//2
    w = (components[:,-n:]/(variances[-n:]+5e-3).sqrt()).T.flip(0).view(n, *conv.weight.shape[1:])
    with torch.no_grad(): conv.weight.copy_(torch.cat([w,-w]))
    conv.weight.requires_grad_(False)

def relu_first(learn):
    "Let each ReLU come before its batch norm"
    from torch import nn
    for block in learn.model.modules():
        kinds = [type(o) for o in block] if isinstance(block, nn.Sequential) else []
        if kinds==[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]: block[1],block[2] = block[2],block[1]

def unfold_stem(learn):
    "Compute the first convolution as one matrix product of unfolded patches, with the same weights"
    from torch import nn
    from torch.nn.functional import unfold
    class UnfoldConv(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.weight,self.stride = conv.weight,conv.stride
        def forward(self, x):
            (n,_,h,w),k = x.shape,self.weight.shape[-1]
            y = unfold(x, k, stride=self.stride).transpose(1, 2)@self.weight.flatten(1).T
            h,w = ((o-k)//s+1 for o,s in zip((h, w), self.stride))
            return y.view(n, h, w, -1).permute(0, 3, 1, 2) # channels last
    block = next(o for o in learn.model.modules() if isinstance(o, nn.Sequential) and isinstance(o[0], nn.Conv2d))
    block[0] = UnfoldConv(block[0])

def average_last_third(learn):
    "Use the mean of the weights after each step of the last third of the training"
    import torch
    from fastai.callback.core import Callback
    class LastThird(Callback):
        def before_fit(self): self.avg = torch.optim.swa_utils.AveragedModel(self.learn.model, use_buffers=True)
        def after_batch(self):
            if self.training and self.pct_train>=2/3: self.avg.update_parameters(self.model)
        def after_fit(self): self.learn.model.load_state_dict(self.avg.module.state_dict())
    learn.add_cb(LastThird())

def soft_loss(p, y):
    "Cross-entropy with a class or with probabilities as target"
    from torch import Tensor
    from torch.nn.functional import cross_entropy
    return cross_entropy(p.as_subclass(Tensor), y.as_subclass(Tensor))

def taught(recipe, learn, rows, teacher):
    "Fit with half of each label from the probabilities `teacher` of all `rows`: distillation, Hinton et al. 2015"
    import torch
    dl,hard = learn.dls.train,torch.eye(teacher.shape[1])[torch.tensor(rows.label.to_numpy())]
    soft = .5*((1-recipe.smooth)*hard+recipe.smooth/teacher.shape[1])+.5*torch.tensor(teacher)
    soft,pack,loss = soft[list(dl.dataset.items.index)],dl._pack,learn.loss_func
    dl._pack = lambda cols, b: (pack(cols, b)[0], soft[b])
    learn.loss_func = soft_loss
    recipe.fit(learn)
    learn.loss_func = loss

@dataclass(frozen=True)
class Group:
    arms:dict               # {name: Arm}; the others are compared with the first
    means:dict              # {name: names of arms} whose probabilities are averaged

def of_quick():
    from digitfast.learn.recipe import recipes
    quick,single = replace(recipes['quick'], epochs=3),replace(recipes['single'], epochs=8, valid_every=99)
    before = replace(quick, arch='small', lr=.01)
    arms = {'quick':Arm(quick), 'quick, a stem of stride 2':Arm(before), 'quick, other seeds':Arm(quick, 100),
            'quick, slant removed':Arm(quick, 200, upright), 'single':Arm(single)}
    return Group(arms, {f'mean of quick and {k}':('quick',k) for k in ('quick, other seeds','quick, slant removed')})

def of_single():
    "Return the two kinds of net of `ensemble`, the second also on upright images, their means, and a distilled net"
    from digitfast.learn.recipe import recipes
    single = replace(recipes['single'], epochs=8, valid_every=99)
    small = replace(single, **recipes['ensemble'].vary[1], epochs=12)
    arms = {'single':Arm(single), 'small, 12 epochs':Arm(small, 300), 'small, slant removed':Arm(small, 300, upright)}
    means = {f'mean of single and {k}':('single',k) for k in list(arms)[1:]}|{'mean of all three':tuple(arms)}
    return Group(arms|{'single, taught by all three':Arm(single, teachers=tuple(arms))}, means)

def of_cheaper():
    "Return `quick` with fewer images, with larger batches, and with a network whose step takes less time"
    from digitfast.learn.recipe import recipes
    quick = replace(recipes['quick'], epochs=3)
    def channels(*chs): return replace(quick, arch_kwargs=dict(chs=chs))
    two = replace(quick, epochs=2, lr=.03)
    return Group({
        'quick':Arm(quick), 'quick, other seeds':Arm(quick, 100),
        'batch 512, rate 0.03':Arm(replace(quick, bs=512, lr=.03), 400),
        '2 epochs, rate 0.03':Arm(two, 500), '2 epochs, rate 0.03, averaged weights':Arm(replace(two, ema=.95), 600),
        'whitened stem':Arm(quick, 700, setup=whiten_stem), 'channels 32-32-48-64':Arm(channels(32, 32, 48, 64), 800),
        'channels 16-32-32-64':Arm(channels(16, 32, 32, 64), 900),
        'channels 16-32-32-64, whitened stem':Arm(channels(16, 32, 32, 64), 1000, setup=whiten_stem),
        'ReLU before batch norm':Arm(quick, 1100, setup=relu_first),
        'stem as a matrix product':Arm(quick, 1200, setup=unfold_stem),
        '2 epochs, rate 0.03, mean of the last third':Arm(two, 1300, setup=average_last_third)}, {})

groups = dict(quick=of_quick, single=of_single, cheaper=of_cheaper)

def trained(arm, df, val, seed, teacher=None):
    "Return (probabilities of the rows `val` without and with shifts, processor seconds of training, device)"
    from digitfast.learn.learner import seed_all
    from digitfast.learn.predict import predict_rows
    dls = arm.recipe.dls(df, valid=val.tolist())
    seed_all(arm.seed+seed, dls)
    learn = arm.recipe.learner(dls)
    if arm.setup: arm.setup(learn)
    t = time.process_time()
    with learn.no_bar(), learn.no_logging():
        if teacher is None: arm.recipe.fit(learn)
        else: taught(arm.recipe, learn, df, teacher)
    t = time.process_time()-t
    return [predict_rows(learn, tta=o).astype(np.float16) for o in (0,1)],t,device_name(dls.device)

def device_name(device):
    import torch
    return torch.cuda.get_device_name(device) if device.type=='cuda' else device.type

def kept(keep, name, k): return Path(keep)/f'{name}-{k}.npz'.replace(' ', '_').replace(',', '')

def run(name, arm, df, folds, args):
    y = df.label.to_numpy()
    todo = [k for k in range(len(folds)) if (not args.fold or k in args.fold) and not kept(args.keep, name, k).exists()]
    if todo and arm.prepare: df = arm.prepare(df)
    if todo and (lost := [o for o in arm.teachers if not done(o, folds, args)]):
        return print(f'{name}: train all folds of {lost} first', flush=True)
    teacher = np.mean([joined(o, df, folds, args) for o in arm.teachers], 0) if todo and arm.teachers else None
    for k in todo:
        f = kept(args.keep, name, k)
        f.parent.mkdir(parents=True, exist_ok=True)
        (p,q),t,device = trained(arm, df, folds[k], k, teacher)
        with open(f.with_suffix('.tmp'), 'wb') as o: np.savez(o, p=p, q=q, t=t, device=device)
        f.with_suffix('.tmp').rename(f)
        wrong = ' and '.join(str((o.argmax(1)!=y[folds[k]]).sum()) for o in (p, q))
        print(f'{name}, fold {k}: {wrong} of {len(folds[k])} wrong, {t:.0f} s', flush=True)

def joined(name, df, folds, args, what='q'):
    "Return the probabilities of all rows, each from the net that was not trained on it"
    res = np.zeros((len(df), df.label.nunique()), np.float32)
    for k,val in enumerate(folds): res[val] = np.load(kept(args.keep, name, k))[what]
    return res

def done(name, folds, args): return all(kept(args.keep, name, k).exists() for k in range(len(folds)))

def row(name, p, q, first, y, folds):
    "Return a row of the table for probabilities `p` without and `q` with shifts; `first` has the first arm's mistakes"
    plain,bad = p.argmax(1)!=y,q.argmax(1)!=y
    worse,better = int((bad&~first).sum()),int((first&~bad).sum())
    def sd(o): return np.std([o[f].mean() for f in folds], ddof=1)
    return dict(arm=name, accuracy=1-bad.mean(), sd=sd(bad), accuracy_unshifted=1-plain.mean(), sd_unshifted=sd(plain),
                nll=-np.log(q[np.arange(len(y)),y].clip(1e-6)).mean(),
                only_this_wrong=worse, only_first_wrong=better, difference_se=sqrt(worse+better)/len(y),
                trainings=len(folds))

def table(group, df, folds, args):
    "Return a row for each finished arm, and for each mean of finished arms"
    y,rows,first = df.label.to_numpy(),[],None
    for name in filter(lambda o: done(o, folds, args), group.arms):
        p,q = (joined(name, df, folds, args, o) for o in 'pq')
        if first is None: first = q.argmax(1)!=y
        files = [np.load(kept(args.keep, name, k)) for k in range(len(folds))]
        devices = sorted({str(o['device']) if 'device' in o else 'cpu' for o in files})
        rows.append(dict(row(name, p, q, first, y, folds), cpu_seconds=np.mean([o['t'] for o in files]),
                         device=', '.join(devices)))
    for name,names in group.means.items():
        if not all(done(o, folds, args) for o in names): continue
        p,q = (np.mean([joined(k, df, folds, args, o) for k in names], 0) for o in 'pq')
        rows.append(row(name, p, q, first, y, folds))
    return rows

def main():
    from sklearn.model_selection import StratifiedKFold
    from digitfast.data.read import read_csvs
    p = parser(__doc__)
    p.add_argument('--group', choices=groups, default='quick', help='arms to compare')
    p.add_argument('--arm', action='append', help='an arm of the group; all by default')
    p.add_argument('--folds', type=int, default=6)
    p.add_argument('--fold', type=int, action='append', help='only this fold, without a table; repeat it for more')
    p.add_argument('--keep', default='folds', metavar='DIR', help='folder for probabilities')
    args = parse(p)
    warnings.simplefilter('ignore')
    df = read_csvs(args.data).train
    folds = [o[1] for o in StratifiedKFold(args.folds, shuffle=True, random_state=0).split(df, df.label)]
    group = groups[args.group]()
    for name,arm in group.arms.items():
        if not args.arm or name in args.arm: run(name, arm, df, folds, args)
    name = 'folds' if args.group=='quick' else f'folds-{args.group}'
    if not args.fold: save(name, table(group, df, folds, args), args)

if __name__=='__main__': main()
