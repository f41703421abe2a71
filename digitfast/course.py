"Deprecated: `digitfast.tasks.course` has these names now; this path works until version 0.3."
from digitfast.tasks import course as _moved

__all__ = _moved.__all__

def __getattr__(name): return getattr(_moved, name)
