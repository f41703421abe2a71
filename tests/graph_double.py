"""A CUDA graph's stand-in on a CPU: `capture(step)` records the ATen operations of one step and replays those.

As a graph does, it knows tensors by their memory, not by their Python objects, and writes each result where it was at
the capture. Decisions in Python stay as they were then; a number that is read back ends the capture."""
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

def memory(o): return o.detach() if isinstance(o, torch.Tensor) else o
def tensors(o): return [t for t in tree_leaves(o) if isinstance(t, torch.Tensor)]

class Recorder(TorchDispatchMode):
    "Keep each operation: its function, the memory of its arguments, and that of its new results"
    def __init__(self): super().__init__(); self.ops = []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        if f is torch.ops.aten._local_scalar_dense.default: raise RuntimeError('a number is read back')
        out = f(*args, **(kwargs or {}))
        args,kwargs,out_ = (tree_map(memory, o) for o in (args, kwargs or {}, out))
        there = {o.untyped_storage().data_ptr() for o in tensors((args, kwargs))}
        new = [o.untyped_storage().data_ptr() not in there for o in tensors(out_)]
        self.ops.append((f, args, kwargs, tensors(out_), new))
        return out

def capture(step):
    "Run `step` once, recording it: (what it returned, what runs it again)"
    rec = Recorder()
    with rec: kept = step()
    @torch.no_grad()
    def replay():
        for f,args,kwargs,out,new in rec.ops:
            for o,n,is_new in zip(out, tensors(f(*args, **kwargs)), new):
                if is_new: o.copy_(n)
    replay.ops = rec.ops
    return kept,replay
