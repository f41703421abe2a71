"""Modules:

- `digitfast.all`: All that a notebook needs: `fastai.vision.all`, and beside it what digitfast adds."""

__version__ = "0.1.0"

import os, warnings
# OpenMP's threads wait for each other in a busy loop, for so long that on a machine that is doing something else too
# two threads can be 20 times slower than one. Waiting a little less costs nothing on a quiet machine. It counts if
# torch is not imported yet.
os.environ.setdefault('GOMP_SPINCOUNT', '10000')
warnings.filterwarnings('ignore', message='`torch.jit.script', category=FutureWarning)  # fastai's import uses it
