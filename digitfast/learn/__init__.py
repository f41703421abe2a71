"How is a network trained? The Learner, its callbacks, recipes and predictions."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    learner='BF16 EMA LossAccuracy RandAffine ValidEvery digit_learner losses opts seed_all',
    recipe='Recipe find_lr get_recipe',
    plugins='import_file',
    predict='ShiftTTA check_canary predict_rows predict_test'))
