"How good is it? Measures, plots, the report page, the overview of runs and the page of a search."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    measure='most_confused score_interval suspicious_labels versus wilson worst_mistakes',
    plots=('plot_calibration plot_class_accuracy plot_class_balance plot_confusion plot_history plot_lr_find '
        'read_history show_digits show_predictions show_versus'),
    page='write_report',
    overview='write_overview',
    search='plot_importance plot_parallel plot_trials'))
