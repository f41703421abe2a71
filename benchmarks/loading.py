"""Time an epoch of normalised, shuffled batches: digitfast, a stock fastai DataBlock, torch's DataLoader and bare
indexing.

    python benchmarks/loading.py digit-recognizer.zip"""
from _common import alternate, bars, parse, parser, save, tensors
import numpy as np, time
from itertools import islice

class Digits:
    "Images as in torchvision's MNIST: stored as an array, returned as a transformed PIL image"
    def __init__(self, x, y, tfm): self.x,self.y,self.tfm = x,y,tfm
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        from PIL import Image
        return self.tfm(Image.fromarray(self.x[i])), self.y[i]

def stock_fastai(df, get_x, bs, **kwargs):
    "Return the DataBlock of fastbook's chapter 13, with images from `get_x` of a row"
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, Normalize, PILImageBW, ColReader, RandomSplitter
    cols = list(df.columns[1:])
    blocks = ImageBlock(cls=PILImageBW),CategoryBlock(vocab=sorted(df.label.unique()), sort=False)
    splitter = kwargs.pop('splitter', None) or (lambda o: (list(range(len(o))), [0]))
    norm = Normalize.from_stats([0.1307], [0.3081], cuda=False)
    block = DataBlock(blocks, get_x=get_x, get_y=ColReader('label'), splitter=splitter, batch_tfms=norm)
    return block.dataloaders(df, bs=bs, device='cpu', **kwargs)

def torch_loader(x, y, bs, workers=0):
    "Return the DataLoader of PyTorch's MNIST example"
    from torch.utils.data import DataLoader
    from torchvision import transforms as T
    tfm = T.Compose([T.ToTensor(), T.Normalize((0.1307,), (0.3081,))])
    return DataLoader(Digits(x[:,0].numpy(), y.tolist(), tfm), batch_size=bs, shuffle=True, num_workers=workers)

def digitfast(df, bs):
    from digitfast.data.block import DigitDataLoaders
    return DigitDataLoaders.from_df(df, valid=[0], bs=bs, device='cpu').train

def item_by_item(df, bs):
    "Return digitfast's loader with an additional type transform, so that it builds batches item by item"
    from digitfast.data.block import DigitBlock
    from fastai.vision.all import CategoryBlock, ColReader, DataBlock
    images = DigitBlock(list(df.columns[1:]))
    images.type_tfms += [lambda x: 255-x]
    block = DataBlock((images, CategoryBlock(vocab=sorted(df.label.unique()), sort=False)), get_y=ColReader('label'),
                      splitter=lambda o: (list(range(len(o))), [0]))
    return block.dataloaders(df, bs=bs, device='cpu').train

def a_rank(dl):
    "Return the share of one of two processes in fastai's `distrib_ctx`; the other share has the same size"
    from fastai.distributed import DistributedDL # requires accelerate
    class Rank(DistributedDL):
        def _broadcast(self, t, rank): return t
    return Rank(dl, rank=0, world_size=2)

class Bare:
    "Index a tensor with a slice of a random order, and normalise: no library at all"
    def __init__(self, x, y, bs): self.x,self.y,self.bs = x,y,bs
    def __iter__(self):
        import torch
        for b in torch.randperm(len(self.x)).split(self.bs):
            yield self.x[b].float().div_(255).sub_(0.1307).div_(0.3081), self.y[b]

def run_through(dl):
    for b in dl: pass

def fast(df, bs, n, clock=time.perf_counter):
    "Return the seconds of `n` epochs of digitfast and of bare indexing, in turn"
    dl,bare = digitfast(df, bs),Bare(*tensors(df), bs)
    return alternate(dict(digitfast=lambda: run_through(dl), bare=lambda: run_through(bare)), n, clock)

def share(df, bs, n, clock=time.perf_counter):
    "Return the seconds of an epoch and of a rank's half, in turn; nothing if accelerate is not installed"
    dl = digitfast(df, bs)
    try: rank = a_rank(dl)
    except (ImportError, NameError): return {}
    return alternate(dict(epoch=lambda: run_through(dl), rank=lambda: run_through(rank)), n, clock)

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('--bs', type=int, default=128, help='batch size')
    p.add_argument('--rows', type=int, help='rows of the training CSV; all by default')
    p.add_argument('--limit', type=float, default=300, help='seconds after which another system is stopped')
    args = parse(p)
    from digitfast.data.read import read_csvs
    df = read_csvs(args.data).train.iloc[:args.rows].reset_index(drop=True)
    x,y = tensors(df)
    res = {k:(min(v),True) for k,v in fast(df, args.bs, 7).items()}
    if half := {k:min(v) for k,v in share(df, args.bs, 7).items()}:
        res["digitfast, a rank's share of two"] = half['rank'],True
        print(f"a rank's share of two: {2*half['rank']/half['epoch']:.2f} times half an epoch", flush=True)
    else: print("no row for a rank's share: fastai.distributed requires accelerate", flush=True)
    cols = list(df.columns[1:])
    def row_image(r): return r[cols].to_numpy(np.uint8).reshape(x.shape[-2:])
    def array_image(r, a=x[:,0].numpy()): return a[r.name]
    from fastai.vision.all import PILImageBW
    slow = {'digitfast, an additional type transform': lambda: item_by_item(df, args.bs),
            'torch DataLoader, PIL per item': lambda: torch_loader(x, y, args.bs),
            'torch DataLoader, 2 workers': lambda: torch_loader(x, y, args.bs, 2),
            'fastai DataBlock, from an array': lambda: stock_fastai(df, array_image, args.bs).train,
            'fastai DataBlock, from rows': lambda: stock_fastai(df, row_image, args.bs).train}
    for k,f in slow.items():
        dl,t,done = f(),time.perf_counter(),0
        for b in dl:
            done += len(b[0])
            if time.perf_counter()-t>args.limit: break
        s = time.perf_counter()-t
        res[k] = s,done>=len(df)//args.bs*args.bs
        print(f'{k}: {s:.2f} s', flush=True)
    bare,ours = res['bare'][0],res['digitfast'][0]
    rows = [dict(loader='bare indexing' if k=='bare' else k, seconds=s, finished=ok, times_bare=s/bare,
                 times_digitfast=s/ours, rows=len(df), bs=args.bs) for k,(s,ok) in res.items()]
    t = save('loading', sorted(rows, key=lambda o: o['seconds']), args)
    label = f'seconds for an epoch of {len(df):,} images (batches of {args.bs})'
    bars('loading', t.loader.tolist(), t.seconds.tolist(), label, args)
