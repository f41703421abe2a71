"""Measure the overhead of the toolkit: a bare PyTorch loop, and `Learner` with the same net, batches, augmentation,
optimiser, schedule and validation. `ratio` is that of complete epochs, which begin with a new net and end with a
validation; `ratio_training` is that of the steps alone, from the first batch to the end of the last step.

    python benchmarks/overhead.py digit-recognizer.zip"""
from _common import alternate, bars, parse, parser, save
import time, warnings
from contextlib import nullcontext
from dataclasses import replace

def learner_epoch(recipe, dls, cbs=None):
    "Train with `recipe` as `digitfast train` does; return the seconds of the training steps"
    from fastai.callback.core import Callback
    class Steps(Callback):
        order,seconds = -100,0.
        def before_train(self): self.start = time.perf_counter()
        def after_train(self): self.seconds += time.perf_counter()-self.start
    learn,steps = recipe.learner(dls),Steps()
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn, cbs=[*(cbs or []), steps])
    return steps.seconds

def bare_epoch(recipe, dls):
    "Train in a bare loop, for recipes with AdamW and 1cycle; return the seconds of the training steps"
    import torch, torch.nn.functional as F
    from fastai.torch_core import TensorImage
    from digitfast.data.block import NormalizePixels
    from digitfast.device import best_precision
    from digitfast.learn.callbacks import RandAffine, opts
    from digitfast.models.nets import create_model
    (x,y),(xv,yv) = ([o.as_subclass(torch.Tensor) for o in dl.tensors] for dl in dls.loaders)
    norm = next(f for f in dls.train.after_batch.fs if isinstance(f, NormalizePixels))
    aug = [f for f in dls.train.after_batch.fs if isinstance(f, RandAffine)]
    model = create_model(recipe.arch, len(dls.vocab), dls.side, **recipe.arch_kwargs)
    model = model.to(memory_format=torch.channels_last)
    bf16 = best_precision('auto', dls.device, recipe.precision)=='bf16'
    adam = torch.optim.AdamW if recipe.opt=='adamw' else torch.optim.Adam
    opt = adam(model.parameters(), lr=recipe.lr, betas=(.95,.99), eps=1e-5, weight_decay=recipe.wd, fused=True)
    n_epoch,bs = recipe.n_epoch(len(x)),dls.train.bs
    cycle = dict(pct_start=.25, base_momentum=.85, max_momentum=.95, final_div_factor=4000)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, recipe.lr, total_steps=n_epoch*(len(x)//bs), **cycle)
    swa,ema = torch.optim.swa_utils,None
    if recipe.ema: ema = swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    def _net(m, x):
        with torch.autocast('cpu', torch.bfloat16) if bf16 else nullcontext(): p = m(x)
        return p.float()
    seconds = 0.
    for epoch in range(n_epoch):
        start = time.perf_counter()
        model.train()
        for b in torch.randperm(len(x)).split(bs)[:len(x)//bs]:
            xb = x.index_select(0, b).float().div_(255)
            for f in aug: xb = f(TensorImage(xb), split_idx=0).as_subclass(torch.Tensor)
            xb = xb.sub_(norm.mean).div_(norm.std)
            loss = F.cross_entropy(_net(model, xb), y[b], label_smoothing=recipe.smooth)
            loss.backward()
            opt.step()
            opt.zero_grad()
            sched.step()
            if ema is not None: ema.update_parameters(model)
        seconds += time.perf_counter()-start
        m = (model if ema is None else ema.module).eval()
        with torch.no_grad():
            batches = (o.float().div_(255).sub_(norm.mean).div_(norm.std) for o in xv.split(dls.valid.bs))
            ps = torch.cat([_net(m, o) for o in batches])
            F.cross_entropy(ps, yv).item(), (ps.argmax(1)==yv).float().mean().item()
    return seconds

def measure(recipe, df, n, clock=time.perf_counter):
    "Return the seconds of `n` epochs in a bare loop and in `Learner`, in turn, and those of their training steps"
    recipe,steps = replace(recipe, epochs=1),dict(bare=[], learner=[])
    dls = recipe.dls(df, device='cpu')
    fs = dict(bare=lambda: steps['bare'].append(bare_epoch(recipe, dls)),
              learner=lambda: steps['learner'].append(learner_epoch(recipe, dls)))
    return alternate(fs, n, clock)|{f'{k} steps':v[1:] for k,v in steps.items()}

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('--recipe', action='append', help='a recipe; default: quick and single')
    p.add_argument('--rows', type=int, help='rows of the training CSV; default: all for quick, 8,400 for others')
    p.add_argument('--times', type=int, default=5, help='epochs of each')
    args = parse(p)
    warnings.simplefilter('ignore')
    from digitfast.learn.recipe import recipes
    from digitfast.data.read import read_csvs
    df,rows = read_csvs(args.data).train,[]
    for k in args.recipe or [o for o in ('quick','single') if o in recipes]:
        n = args.rows or (None if k=='quick' else 8400)
        res = measure(recipes[k], df.iloc[:n], args.times)
        bare,ours,bare_steps,our_steps = (sorted(v)[len(v)//2] for v in res.values())
        rows.append(dict(recipe=k, bare=bare, learner=ours, ratio=ours/bare, ratio_training=our_steps/bare_steps,
                         rows=len(df.iloc[:n]), bs=recipes[k].bs, times=args.times))
    t = save('overhead', rows, args)
    label = 'seconds in Learner / seconds in a bare loop'
    bars('overhead', t.recipe.tolist(), t.ratio.tolist(), label, args, log=False, fmt='{:.2f}')
