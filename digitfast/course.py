"Deprecated: this module is `digitfast.tasks.course` now; the old path works until 0.3."
from digitfast.tasks.course import *
from digitfast.tasks.course import __all__ # noqa: F401
