"""Measure the training time until an accuracy on held-out rows is reached, for digitfast's recipes and others.

    python benchmarks/time_to_accuracy.py digit-recognizer.zip

Every system trains on the same nine tenths of the rows, as published, and is measured on the other tenth: after a
quarter of a second, then each time that the training time has grown by a twentieth, and at the end. The time includes
batches and steps, but not reading the CSVs, imports, set-up, measuring or validation. Other systems are stopped after
`--limit` seconds, and slow systems are trained once."""
from _common import fold, others, parse, parser, save, tensors
from loading import Digits, stock_fastai, torch_loader
import time, warnings
import numpy as np

targets = [.97, .98, .99, .993, .995, .996]

class Clock:
    "A clock of the training time, and the accuracies on held-out rows"
    def __init__(self, yv, limit): self.yv,self.limit,self.marks,self.due,self.spent,self.cut = yv,limit,[],.25,0.,False
    def start(self): self.t = time.perf_counter()
    def batch(self, predict):
        """Call after each batch. Measure with `predict()`, the class of each held-out row, if due; return whether time
        is up"""
        if self.spent+time.perf_counter()-self.t>=self.due: self.measure(predict)
        return self.cut
    def measure(self, predict):
        self.spent += time.perf_counter()-self.t
        self.marks.append((self.spent, (predict()==self.yv).float().mean().item()))
        self.due = max(self.spent*1.05, self.due+.25)
        self.cut = self.limit is not None and self.spent>self.limit
        self.start()
    def until(self, acc): return next((s for s,a in self.marks if a>=acc), None)

def classes_of(model, xs):
    "Return the predicted classes of the batches `xs`"
    import torch
    was = model.training
    model.eval()
    with torch.no_grad(): ps = torch.cat([model(x).argmax(1) for x in xs])
    model.train(was)
    return ps

def normal(x, bs=1000): return [o.float().div_(255).sub_(0.1307).div_(0.3081) for o in x.split(bs)]

def torch_loop(model, opt, sched, batches, epochs, loss, clock, xv, each='batch'):
    "Train in a standard loop"
    def predict(): return classes_of(model, xv)
    model.train()
    clock.start()
    for epoch in range(epochs):
        for x,y in batches():
            opt.zero_grad()
            loss(model(x), y).backward()
            opt.step()
            if each=='batch': sched.step()
            if clock.batch(predict): return
        if each=='epoch': sched.step()
    clock.measure(predict)

def mark(clock, predict):
    "A callback that runs the clock of a Learner"
    from fastai.callback.core import Callback, CancelFitException
    class Mark(Callback):
        order = 90
        def after_batch(self):
            if self.training and clock.batch(lambda: predict(self.learn)): raise CancelFitException
        def before_validate(self): clock.spent += time.perf_counter()-clock.t
        def after_epoch(self): clock.start()
    return Mark()

def digitfast(recipe):
    "Train a recipe, or the recipe of a name"
    def _run(df, trn, val, clock):
        import torch
        from digitfast.learn.recipe import get_recipe
        from digitfast.learn.learner import seed_all
        from digitfast.learn.predict import predict_rows
        r = get_recipe(recipe) if isinstance(recipe, str) else recipe
        dls = r.dls(df, valid=val)
        seed_all(torch.initial_seed(), dls)
        learn = r.learner(dls)
        xv = torch.cat([b[0].as_subclass(torch.Tensor) for b in dls.valid]).split(1000)
        def predict(learn): return classes_of(learn.ema.avg.module if hasattr(learn, 'ema') else learn.model, xv)
        clock.start()
        with learn.no_bar(), learn.no_logging(): r.fit(learn, cbs=mark(clock, predict))
        clock.measure(lambda: torch.tensor(predict_rows(learn, tta=r.tta).argmax(1)))
        return learn.model
    return _run

def members(recipe):
    "Train a recipe of several nets, each without its fold; measure their mean at the end, and add up the seconds"
    def _run(df, trn, val, clock):
        import torch
        from digitfast.learn.recipe import get_recipe
        from digitfast.learn.learner import seed_all
        from digitfast.learn.predict import predict_rows
        r,rows,probs,seed = get_recipe(recipe),df.iloc[trn].reset_index(drop=True),0,torch.initial_seed()
        for k in range(r.n_members):
            one = r.member(k)
            dls = one.dls(rows, valid=r.unseen(rows, k))
            seed_all(seed+k, dls)
            learn = one.learner(dls)
            clock.start()
            with learn.no_bar(), learn.no_logging(): one.fit(learn)
            clock.spent += time.perf_counter()-clock.t
            probs = probs+predict_rows(learn, df.iloc[val].drop(columns='label'), tta=r.tta)
        clock.start()
        clock.measure(lambda: torch.tensor(probs.argmax(1)))
    return _run

def rival(epochs):
    "Train the net of the 0.99757 ensemble as its author did; fewer epochs end at the same rate"
    def _run(*args):
        from accuracy import systems
        from dataclasses import replace
        return digitfast(replace(systems(epochs)['rival'], epochs=epochs))(*args)
    return _run

def stock(df, trn, val, clock):
    "fastbook's chapter 13: PIL images, the stride-2 net with batch norm, five epochs of 1cycle"
    import torch, torch.nn.functional as F
    from torch import nn
    from fastai.vision.all import Learner, accuracy
    x = df.iloc[:,1:].to_numpy(np.uint8).reshape(len(df), 28, 28)
    dls = stock_fastai(df, lambda r: x[r.name], 512, splitter=lambda o: (trn, val))
    def conv(ni, nf, ks=3, act=True):
        layers = [nn.Conv2d(ni, nf, stride=2, kernel_size=ks, padding=ks//2)]
        if act: layers.append(nn.ReLU())
        return nn.Sequential(*layers, nn.BatchNorm2d(nf))
    convs = conv(1, 8, ks=5), conv(8, 16), conv(16, 32), conv(32, 64), conv(64, 10, act=False)
    model = nn.Sequential(*convs, nn.Flatten())
    learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy)
    xv = normal(torch.from_numpy(x[val][:,None].copy()))
    def predict(learn): return classes_of(learn.model, xv)
    clock.start()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(5, .06, cbs=mark(clock, predict))
    if not clock.cut: clock.measure(lambda: predict(learn))
    return model

def example(df, trn, val, clock):
    "PyTorch's MNIST example: 14 epochs of Adadelta"
    import torch, torch.nn.functional as F
    from torch import nn
    (x,y),(xv,_) = tensors(df.iloc[trn]),tensors(df.iloc[val])
    convs = nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)
    head = nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(.5), nn.Linear(128, 10), nn.LogSoftmax(1)
    model = nn.Sequential(*convs, nn.Dropout(.25), nn.Flatten(), *head)
    opt = torch.optim.Adadelta(model.parameters(), lr=1.)
    dl = torch_loader(x, y, 64)
    sched = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=.7)
    torch_loop(model, opt, sched, lambda: dl, 14, F.nll_loss, clock, normal(xv), each='epoch')
    return model

def keras(df, trn, val, clock):
    "Keras' MNIST convnet in torch: 15 epochs of Adam, arrays in memory"
    import torch, torch.nn.functional as F
    from torch import nn
    (x,y),(xv,_) = tensors(df.iloc[trn]),tensors(df.iloc[val])
    def conv(ni, nf): return nn.Conv2d(ni, nf, 3), nn.ReLU(), nn.MaxPool2d(2)
    model = nn.Sequential(*conv(1, 32), *conv(32, 64), nn.Flatten(), nn.Dropout(.5), nn.Linear(1600, 10))
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    x = x.float()/255
    def batches(): return ((x[b], y[b]) for b in torch.randperm(len(x)).split(128))
    sched,xv = torch.optim.lr_scheduler.ConstantLR(opt, 1.),[o.float()/255 for o in xv.split(1000)]
    torch_loop(model, opt, sched, batches, 15, F.cross_entropy, clock, xv)
    return model

def train_mnist_fast(epochs):
    "tuomaso/train_mnist_fast, notebook 8, as a bare loop over tensors; its one epoch was of 60,000 rows"
    def _run(df, trn, val, clock):
        import torch, torch.nn.functional as F
        from torch import nn
        (x,y),(xv,_) = tensors(df.iloc[trn]),tensors(df.iloc[val])
        convs = nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()
        head = nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10), nn.LogSoftmax(1)
        model = nn.Sequential(*convs, nn.Flatten(), *head)
        opt = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(.7,.9))
        x = torch.cat(normal(x)) # stored in this order
        bs = 256
        n = epochs*((len(x)-1)//bs+1)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2, total_steps=n, cycle_momentum=False)
        torch_loop(model, opt, sched, lambda: zip(x.split(bs), y.split(bs)), epochs, F.nll_loss, clock, normal(xv))
        return model
    return _run

rivals = {f'train_mnist_fast, {n} epoch{"s"*(n>1)}':train_mnist_fast(n) for n in (1,2,3,5)}
rivals |= {f"the 0.99757 ensemble's net, {n} epochs":rival(n) for n in (2,4,8)}
rivals |= {"Keras' convnet in torch":keras, 'stock fastai, fastbook':stock, "PyTorch's example":example}

def main():
    import torch
    from dataclasses import replace
    from digitfast.device import best_precision
    from digitfast.data.read import read_csvs
    from digitfast.learn.recipe import recipes
    ours = {'digitfast quick':digitfast('quick'), 'digitfast single':digitfast('single'),
            'digitfast ensemble':members('ensemble'),
            'digitfast single, 26 epochs':digitfast(replace(recipes['single'], epochs=26))} # the earlier recipe
    systems = ours|rivals
    p = parser(__doc__)
    p.add_argument('--system', action='append', help=f'one of: {"; ".join(systems)}; all by default')
    p.add_argument('--seeds', type=int, default=3, help='trainings of each system, the slow ones once')
    p.add_argument('--limit', type=float, default=300, help='seconds of training after which another system is stopped')
    p.add_argument('--add', action='store_true', help='keep the results of other systems')
    p.add_argument('--rows', type=int, help='rows of the training CSV; all by default')
    args = parse(p)
    warnings.simplefilter('ignore')
    df,rows = read_csvs(args.data).train.iloc[:args.rows],[]
    trn,val = fold(df)
    keep = others('time_to_accuracy', args, 'system', args.system or systems)
    yv = torch.tensor(df.label.to_numpy()[val])
    torch.optim.Adam([torch.ones(1)]) # the first optimiser imports much, so do it before the timing
    for k in args.system or systems:
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            clock = Clock(yv, None if 'digitfast' in k else args.limit)
            systems[k](df, trn, val, clock)
            last = clock.marks[-1]
            rows.append(dict(system=k, seed=seed, seconds=last[0], accuracy=last[1], best=max(a for _,a in clock.marks),
                             finished=not clock.cut, precision=best_precision('auto', torch.device('cpu'), 'bf16')
                             if 'digitfast' in k else 'fp32', **{f'{t:.1%}':clock.until(t) for t in targets}))
            words = (f'{a}={b:.4g}' if isinstance(b, float) else f'{a}={b}' for a,b in rows[-1].items())
            print('  '.join(words), flush=True)
            save('time_to_accuracy', rows, args, show=False, keep=keep) # saved now, because the command can be stopped
            if last[0]>60: break
    t = save('time_to_accuracy', rows, args, keep=keep)
    picture(t, args)

def colour(system): return '#c0504d' if 'digitfast' in system else None

def picture(t, args):
    "Return the mean seconds to each target that a system reached in all its trainings"
    from matplotlib.figure import Figure
    t = t.sort_values('system', key=lambda o: ~o.str.startswith('digitfast'), kind='stable')
    fig = Figure(figsize=(6.5,3.2), layout='constrained')
    ax = fig.subplots()
    for k,g in t.groupby('system', sort=False):
        s = g[[f'{o:.1%}' for o in targets]].astype(float).mean(skipna=False).dropna()
        style = dict(lw=2 if 'digitfast' in k else 1, color=colour(k))
        if len(s): ax.plot(s, [f'{float(o[:-1]):g} %' for o in s.index], 'o-', label=k, **style)
    ax.set(xscale='log', xlabel='seconds of training', ylabel='held-out accuracy')
    ax.legend(frameon=False, fontsize=7, loc='upper left', bbox_to_anchor=(1,1))
    fig.savefig(args.out/'time_to_accuracy.png', dpi=80)
    frontier(t, args)

def frontier(t, args):
    "Plot the errors against the training time, one point for each training; stopped systems at their last accuracy"
    from matplotlib.figure import Figure
    fig = Figure(figsize=(6.5,3.6), layout='constrained')
    ax = fig.subplots()
    for (k,g),mark in zip(t.groupby('system', sort=False), 'o^sDvP<*>XphdH8'):
        ours = 'digitfast' in k
        ax.scatter(g.seconds, 100*(1-g.accuracy), marker=mark, s=36 if ours else 22,
                   label=k+', stopped'*(not g.finished.astype(bool).all()),
                   color='#c0504d' if ours else '#5b7a99', facecolor=None if ours else 'none')
    ax.set(xscale='log', yscale='log', xlabel='seconds of training', ylabel='misclassified held-out rows, %')
    ax.yaxis.set_major_formatter('{x:g}')
    ax.yaxis.set_minor_formatter('{x:g}')
    ax.tick_params(axis='y', which='both', labelsize=7)
    ax.grid(alpha=.3, which='both', lw=.5)
    ax.legend(frameon=False, fontsize=7, loc='upper left', bbox_to_anchor=(1,1))
    fig.savefig(args.out/'frontier.png', dpi=100)

if __name__=='__main__': main()
