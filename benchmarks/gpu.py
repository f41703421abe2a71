"""Measure a GPU: the tests that need one, and seconds of training in fastai's Learner and in a bare loop.

    python benchmarks/gpu.py digit-recognizer.zip

Each is measured with and without a graph. A part that has not started within `--limit` seconds is skipped with a
message. The times include steps and the capture of a graph, but no validation, unless a row says so. `--device cpu`
tests the script without graphs, and saves nothing."""
from _common import fold, others, parse, parser, save, tensors
import json, subprocess, sys, tempfile, time, traceback, warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
import numpy as np

REPO = Path(__file__).resolve().parent.parent

def clock(device):
    "Return the time after all work on the device is finished"
    import torch
    if device.type=='cuda': torch.cuda.synchronize()
    return time.perf_counter()

def epochs_of(learn, fit):
    "Train `learn` with `fit(callback)`; return (seconds without validation, steps, accuracy) of each epoch"
    from fastai.callback.core import Callback
    class Mark(Callback):
        graph_safe,order = True,90
        def before_fit(self): self.rows,self.spent,self.n = [],0.,0
        def before_train(self): self.t = clock(self.dls.device)
        def after_train(self): self.spent,self.n = self.spent+clock(self.dls.device)-self.t,self.n+self.learn.n_iter
        def after_epoch(self): self.rows.append((self.spent, self.n, float(self.recorder.log[-1])))
    mark = Mark()
    with learn.no_bar(), learn.no_logging(): fit(mark)
    return mark.rows

class Inner:
    "A callback that puts another function in place of a network's forward, for training steps; made in the first one"
    def __new__(cls, make):
        from fastai.callback.core import Callback
        class Inner(Callback):
            order = 5 # before `BF16`, which then calls what is made here
            def before_fit(self):
                net,plain,made = self.model,self.model.forward,[]
                def forward(x):
                    if not net.training: return plain(x)
                    if not made: made.append(make(net, plain, x))
                    return made[0](x)
                net.forward = forward
            def after_fit(self): self.model.__dict__.pop('forward', None)
        return Inner()

def compiled(net, forward, x):
    "torch's compiler, whose steps are CUDA graphs, too; without a GPU what leads to it, and no compiler"
    import torch
    if x.device.type!='cuda': return torch.compile(forward, backend='aot_eager')
    return torch.compile(forward, mode='reduce-overhead')

def graphed_callable(net, forward, x):
    "torch's graphs of a network's forward and backward; without a GPU the network itself"
    import torch
    if x.device.type!='cuda': return forward
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net # so that its parameters get gradients
        def forward(self, x): return forward(x)
    buffers = [o.clone() for o in net.buffers()] # the steps that warm up change averages of batch norms
    with torch.autocast('cuda', torch.bfloat16, enabled=torch.is_autocast_enabled('cuda'), cache_enabled=False):
        res = torch.cuda.make_graphed_callables(Net().train(), (torch.zeros_like(x),))
    for o,was in zip(net.buffers(), buffers): o.copy_(was)
    return res

def trained(recipe, df, val, device, graph, seed=0, cbs=()):
    "Train `recipe` with a seed; return (its Learner, the result of `epochs_of`)"
    from digitfast.learn.learner import seed_all
    dls = recipe.dls(df, device=device, **({} if val is None else dict(valid=val)))
    seed_all(seed, dls)
    learn = recipe.learner(dls, graph=graph, cbs=list(cbs))
    learn.recorder.add_time = False
    return learn, epochs_of(learn, lambda mark: recipe.fit(learn, cbs=mark))

class Bare:
    "The net, batches, augmentation, loss and optimiser of a recipe in a bare loop; `step` trains on `self.rows`"
    def __init__(self, recipe, df, val, device):
        import torch
        from fastai.torch_core import TensorImage
        from digitfast.device import best_precision
        from digitfast.learn.callbacks import RandAffine
        from digitfast.models.nets import create_model
        self.recipe,self.dls,self.device = recipe,recipe.dls(df, valid=val, device=device),device
        self.x,self.y = (o.as_subclass(torch.Tensor) for o in self.dls.train.tensors)
        self.model = create_model(recipe.arch, len(self.dls.vocab), self.dls.side, **recipe.arch_kwargs)
        self.model.to(device, memory_format=torch.channels_last)
        gpu = device.type=='cuda'
        lr = torch.tensor(recipe.lr, device=device) if gpu else recipe.lr
        self.opt = torch.optim.AdamW(self.model.parameters(), lr=lr, betas=(.95,.99), eps=1e-5, fused=True,
                                     weight_decay=recipe.wd, capturable=gpu)
        self.aug = [f for f in self.dls.train.after_batch.fs if isinstance(f, RandAffine)]
        self.image,self.bf16 = TensorImage,best_precision('auto', device, recipe.precision)=='bf16'
        self.rows = torch.arange(recipe.bs, device=device)

    def step(self):
        import torch, torch.nn.functional as F
        mean,std = self.dls.stats
        x = self.x.index_select(0, self.rows).float().div_(255)
        for f in self.aug: x = f(self.image(x), split_idx=0).as_subclass(torch.Tensor)
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if self.bf16 else nullcontext():
            p = self.model(x.sub_(mean).div_(std))
        loss = F.cross_entropy(p.float(), self.y.index_select(0, self.rows), label_smoothing=self.recipe.smooth)
        loss.backward()
        self.opt.step()
        self.opt.zero_grad()
        return (loss.detach(),)

    def seconds(self, graph):
        "Return the mean seconds of a step"
        import torch
        n = 200 if self.device.type=='cuda' else 5
        from digitfast.learn.graph import captures
        for _ in range(5): self.step()
        step = captures[self.device.type](self.step)[1] if graph else self.step
        rows = torch.randint(len(self.x), (n+20, self.recipe.bs), device=self.device)
        for i,b in enumerate(rows):
            if i==20: t = clock(self.device)
            self.rows.copy_(b)
            step()
        return (clock(self.device)-t)/n

def mnist_fast(df, trn, val, device, epochs=1):
    "Train as tuomaso/train_mnist_fast, notebook 8, is described; return (seconds, accuracy)"
    import torch, torch.nn.functional as F
    from torch import nn
    (x,y),(xv,yv) = ([o.to(device) for o in tensors(df.iloc[i])] for i in (trn,val))
    x,xv = (o.float().div_(255).sub_(.1307).div_(.3081) for o in (x,xv))
    convs = nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()
    head = nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10), nn.LogSoftmax(1)
    model = nn.Sequential(*convs, *head).to(device)
    opt = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(.7,.9))
    n = epochs*((len(x)-1)//256+1)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2, total_steps=n, cycle_momentum=False)
    t = clock(device)
    for xb,yb in (b for _ in range(epochs) for b in zip(x.split(256), y.split(256))):
        opt.zero_grad()
        F.nll_loss(model(xb), yb).backward()
        opt.step()
        sched.step()
    t = clock(device)-t
    with torch.no_grad(): ps = torch.cat([model(o) for o in xv.split(2000)])
    return t, (ps.argmax(1)==yv).float().mean().item()

def stock(df, trn, val, device):
    "Train an epoch of fastbook's chapter 13; return (seconds with its validation, accuracy)"
    import torch.nn.functional as F
    from torch import nn
    from fastai.vision.all import Learner, accuracy
    from loading import stock_fastai
    x = df.iloc[:,1:].to_numpy(np.uint8).reshape(len(df), 28, 28)
    dls = stock_fastai(df, lambda r: x[r.name], 512, splitter=lambda o: (trn, val))
    dls.to(device)
    def conv(ni, nf, ks=3): return nn.Conv2d(ni, nf, ks, 2, ks//2), nn.ReLU(), nn.BatchNorm2d(nf)
    layers = [o for a,b,k in ((1,8,5), (8,16,3), (16,32,3), (32,64,3)) for o in conv(a, b, k)]
    model = nn.Sequential(*layers, nn.Conv2d(64, 10, 3, 2, 1), nn.BatchNorm2d(10), nn.Flatten())
    learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy)
    t = clock(device)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, .06)
    return clock(device)-t, float(learn.recorder.log[3])

def cuda_tests():
    "Return (seconds, passed, failed) of the tests that need a GPU"
    t = time.perf_counter()
    with tempfile.TemporaryDirectory() as d:
        args = '-o', 'addopts=', '-q', '-m', 'cuda', f'--junitxml={d}/o.xml', 'tests'
        subprocess.run([sys.executable, '-m', 'pytest', *args], cwd=REPO)
        import xml.etree.ElementTree as ET
        cases = list(ET.parse(f'{d}/o.xml').iter('testcase'))
    bad = sum(o.find('failure') is not None or o.find('error') is not None for o in cases)
    return time.perf_counter()-t, sum(o.find('skipped') is None for o in cases)-bad, bad

def command(data, device):
    "Return the seconds of the process `digitfast train DATA`, and of its training"
    with tempfile.TemporaryDirectory() as d:
        t = time.perf_counter()
        words = 'train', data, '--device', device, '--out', f'{d}/run', '--quiet'
        subprocess.run([sys.executable, '-m', 'digitfast', *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter()-t, json.loads(Path(d, 'run', 'metrics.json').read_text())['seconds']['train']

class Bench:
    "The parts, the most important first; each adds rows"
    def __init__(self, args, df, device):
        self.args,self.df,self.device,self.rows,self.t0 = args,df,device,[],time.perf_counter()
        self.trn,self.val = fold(df)
        self.modes = dict(eager=False, **(dict(graph=True) if device.type=='cuda' else {}))

    def row(self, what, **kw):
        self.rows.append(dict(what=what, **kw))
        words = (f'{k}={v:.4g}' if isinstance(v, float) else f'{k}={v}' for k,v in self.rows[-1].items())
        print('  '.join(words), flush=True)

    def steps(self):
        from digitfast.learn.recipe import recipes
        for k in ('quick','single'):
            r = replace(recipes[k], epochs=2)
            for mode,graph in self.modes.items():
                learn,((s0,n0,_),(s1,n1,_)) = trained(r, self.df, self.val, self.device, graph)
                self.row('step', system=f'{k}, Learner', mode=mode, seconds=(s1-s0)/(n1-n0), graphed=learn.graphed)
            for mode,graph in self.modes.items():
                bare = Bare(r, self.df, self.val, self.device)
                self.row('step', system=f'{k}, bare', mode=mode, seconds=bare.seconds(graph))

    def captures(self):
        "digitfast's graph of a step beside torch's own ways to capture one, with compiling and capturing on the clock"
        from digitfast.learn.recipe import recipes
        ways = dict(eager=(False,()), **({'graph':(True,())} if self.device.type=='cuda' else {}),
                    compiled=(False,(compiled,)), callables=(False,(graphed_callable,)))
        for k in self.args.recipe or ('quick','single'):
            for mode,(graph,make) in ways.items():
                cbs = [Inner(f) for f in make]
                learn,rows = trained(recipes[k], self.df, self.val, self.device, graph, cbs=cbs)
                (s0,n0,_),(s1,n1,a) = rows[-2:] if len(rows)>1 else [(0,0,0),rows[-1]]
                to_99 = next((s for s,_,a in rows if a>=.99), None)
                self.row('capture', system=k, mode=mode, seconds=s1, step=(s1-s0)/(n1-n0), first_epoch=rows[0][0],
                         to_99=to_99, accuracy=a, graphed=learn.graphed)

    def quick(self):
        from digitfast.learn.recipe import recipes
        for mode,graph in self.modes.items():
            for seed in range(self.args.seeds):
                learn,rows = trained(recipes['quick'], self.df, self.val, self.device, graph, seed)
                at = next((s for s,_,a in rows if a>=.99), None)
                self.row('quick', system='digitfast quick', mode=mode, seed=seed, seconds=rows[-1][0], to_99=at,
                         accuracy=rows[-1][2], graphed=learn.graphed)

    def single(self):
        from digitfast.learn.recipe import recipes
        from digitfast.learn.predict import predict_rows
        r = recipes['single']
        learn,rows = trained(r, self.df, None, self.device, True)
        self.row('single', system='digitfast single', seconds=rows[-1][0], accuracy=rows[-1][2], graphed=learn.graphed)
        test = self.df.drop(columns='label')
        test = test.iloc[np.arange(28_000)%len(test)]
        for tta in (0,r.tta):
            t = clock(self.device)
            predict_rows(learn, test, tta)
            what = f'28,000 rows, {"nine views" if tta else "one view"}'
            self.row('predict', system=what, seconds=clock(self.device)-t)

    def members(self):
        from digitfast.learn.recipe import recipes
        for k in range(self.args.members):
            if self.late(): return print(f'members from {k}: skipped', flush=True)
            r = recipes['ensemble'].member(k)
            learn,rows = trained(r, self.df, r.unseen(self.df, k), self.device, True, k)
            self.row('member', system=f'member {k}, {r.arch}', seconds=rows[-1][0], accuracy=rows[-1][2],
                     graphed=learn.graphed)

    def rivals(self):
        for seed in range(self.args.seeds):
            s,a = mnist_fast(self.df, self.trn, self.val, self.device)
            self.row('rival', system='train_mnist_fast, 1 epoch', seed=seed, seconds=s, accuracy=a)
        s,a = stock(self.df, self.trn, self.val, self.device)
        self.row('rival', system='stock fastai, fastbook, 1 epoch', seconds=s, accuracy=a)

    def commands(self):
        for i in range(2): # the first run fills the disk cache
            for device in dict.fromkeys(('cpu', str(self.device))):
                s,train = command(self.args.data, device)
                self.row('command', system=f'digitfast train, {device}', seed=i, seconds=s, less_training=s-train)

    def tests(self):
        s,passed,failed = cuda_tests()
        self.row('tests', system='pytest -m cuda', seconds=s, passed=passed, failed=failed)

    def late(self): return time.perf_counter()-self.t0>self.args.limit

if __name__=='__main__':
    parts = 'steps','captures','quick','single','tests','members','commands','rivals'
    p = parser(__doc__)
    p.add_argument('--device', default='cuda')
    p.add_argument('--only', action='append', choices=parts, help='a part; all by default')
    p.add_argument('--seeds', type=int, default=3, help='trainings of quick and of the rivals')
    p.add_argument('--members', type=int, default=10, help='members of ensemble to train')
    p.add_argument('--rows', type=int, help='rows of the training CSV; all by default')
    p.add_argument('--recipe', action='append', help='of the part captures; quick and single by default')
    p.add_argument('--add', action='store_true', help='keep the results of other parts')
    p.add_argument('--limit', type=float, default=200, help='seconds after which no part starts')
    args = parse(p)
    warnings.simplefilter('ignore')
    import torch
    from digitfast.device import digit_device
    from digitfast.data.read import read_csvs
    device = digit_device(args.device)
    df = read_csvs(args.data).train.iloc[:args.rows].reset_index(drop=True)
    torch.optim.Adam([torch.ones(1)]) # the first optimiser imports much, so do it before the timing
    bench = Bench(args, df, device)
    for k in args.only or parts:
        if bench.late(): print(f'{k}: skipped', flush=True); continue
        try: getattr(bench, k)()
        except Exception as e: # continue with the other parts
            traceback.print_exc()
            bench.row(k, error=f'{type(e).__name__}: {e}'[:200])
    if device.type=='cuda':
        rows = [dict(card=torch.cuda.get_device_name(device), **o) for o in bench.rows]
        save('gpu', rows, args, keep=others('gpu', args, 'what', [o['what'] for o in rows]))
