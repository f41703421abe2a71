"What is a network? The baseline from scratch, the nets, and the registry of architectures."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    scratch='by_hand',
    nets='Ensemble arch archs conv create_model model_cost stride2'))
