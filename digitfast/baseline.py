"Deprecated: this module is `digitfast.models.scratch` now; the old path works until 0.3."
from digitfast.models.scratch import *
from digitfast.models.scratch import __all__ # noqa: F401
