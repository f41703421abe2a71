__version__ = "0.1.0"

import warnings
warnings.filterwarnings('ignore', message='`torch.jit.script', category=FutureWarning)  # fastai's import uses it
