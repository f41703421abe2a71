"What is on disk? Runs and their files, predictions, and saved models."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    calibration='calibrate cross_calibrate fit_temperature',
    preds='Preds',
    run='Run',
    weights='PixelsToProbs export_onnx export_pickle load_net save_net'))
