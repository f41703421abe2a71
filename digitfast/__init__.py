"""Modules:

- `digitfast.all`: All names for a notebook: those of `fastai.vision.all` and those of digitfast."""

__version__ = "0.1.0"

import os, warnings
# OpenMP's threads wait for each other in a busy loop. On a busy machine, two threads can therefore be 20 times slower
# than one. A shorter loop costs nothing on an idle machine. The setting has an effect only before torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '10000')
warnings.filterwarnings('ignore', message='`torch.jit.script', category=FutureWarning)  # fastai's import uses it
