"How is a network trained? The Learner, its callbacks, recipes and predictions."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    seen='Seen',
    loss='LossAccuracy losses',
    callbacks='BF16 EMA RandAffine RowWeights ValidEvery opts',
    learner='DigitLearner digit_learner seed_all',
    recipe='Recipe find_lr get_recipe recipes',
    predict='ShiftTTA check_canary predict_rows predict_test',
    plugins='import_file'))
