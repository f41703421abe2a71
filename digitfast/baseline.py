"Deprecated: this module is `digitfast.models.scratch` now; the old path works until 0.3."
from digitfast.models.scratch import *
