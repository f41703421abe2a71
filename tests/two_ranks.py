"Train one network in two processes under fastai's `distrib_ctx`, on CPUs, with gloo"
import json, os, socket, time
from multiprocessing import get_context
import torch, torch.distributed as dist
from fastai.distributed import DistributedDL
from fastai.vision.all import Callback, Datasets
from digitfast.tasks.save import save_run
from conftest import digits, learner, loaders

def over_gloo(self, t, rank):
    t = torch.tensor(t)
    dist.broadcast(t, rank)
    return t.tolist()

class Rows(Callback):
    "Record the rows of each batch"
    order = 100
    def __init__(self, df):
        self.where,self.rows = {o.to_numpy().tobytes():i for i,o in df.drop(columns='label').iterrows()},[]
    def before_batch(self):
        if not self.training: return
        mean,std = self.learn.dls.stats
        x = ((self.x*std+mean)*255).round().byte().flatten(1).numpy()
        self.rows.append([self.where[o.tobytes()] for o in x])

def seconds(dl, n=3):
    "Return the seconds of the shortest of `n` epochs of batches"
    res = []
    for _ in range(n):
        t = time.perf_counter()
        for _ in dl: pass
        res.append(time.perf_counter()-t)
    return min(res)

def counted(f):
    "Return how often an item was loaded while `f` ran"
    n,getitem = [],Datasets.__getitem__
    def count(self, i): n.append(i); return getitem(self, i)
    Datasets.__getitem__ = count
    try: f()
    finally: Datasets.__getitem__ = getitem
    return len(n)

def train(rank, port, out):
    "Run one rank, and write its observations as JSON to the folder `out`"
    os.environ.update(RANK=str(rank), LOCAL_RANK='0', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    DistributedDL._broadcast = over_gloo # fastai's own moves them to a GPU first, as NCCL wants it
    dist.init_process_group('gloo')
    df = digits(62)
    dls = loaders(df, bs=8, drop_last=False, valid=range(12))
    rows = Rows(df)
    learn = learner(dls, cbs=rows)
    with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(cpu=True, sync_bn=False):
        items = counted(lambda: learn.fit(1, .01))
    run = save_run(learn, df, out/'run', say=lambda o: None).metrics if rank==0 else {} # the other rank does not wait
    big = loaders(digits(6000), bs=128).train
    epoch = seconds(big)
    dist.barrier()
    res = dict(rows=rows.rows, items=items, weights=sum(p.double().sum().item() for p in learn.model.parameters()),
               epoch=epoch, share=seconds(DistributedDL(big)), trained=dls.train_ds.items.index.tolist(),
               n_train=run.get('n_train'), n_valid=run.get('n_valid'))
    dist.barrier()
    (out/f'{rank}.json').write_text(json.dumps(res))
    dist.destroy_process_group()

def both(out):
    "Return the observations of the two ranks"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    ps = [get_context('fork').Process(target=train, args=(r, port, out), daemon=True) for r in range(2)]
    [p.start() for p in ps]
    [p.join(60) for p in ps]
    [p.kill() for p in ps]
    return [json.loads((out/f'{r}.json').read_text()) for r in range(2)]
