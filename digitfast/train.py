"Deprecated: this module is `digitfast.tasks.train` now; the old path works until 0.3."
from digitfast.tasks.train import *
from digitfast.tasks.train import __all__ # noqa: F401
