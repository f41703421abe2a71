"The pictures of a search show what the table of its trials has"
import matplotlib
matplotlib.use('agg')
import numpy as np, pandas as pd, pytest
from digitfast.report.search import plot_parallel, plot_trials

def table(accuracy, **fields):
    "Trials with these accuracies; a trial without one failed"
    n = len(accuracy)
    state = ['complete' if a==a else 'failed' for a in accuracy]
    return pd.DataFrame(dict(trial=range(n), state=state, accuracy=accuracy, **fields))

def texts(ax): return [o.get_text() for o in ax.texts]

def test_each_trial_has_a_place_and_the_best_so_far_is_on_the_axis():
    df = table([np.nan,.25,.9,.91,.92,np.nan])
    ax = plot_trials(df)
    best = next(o for o in ax.lines if o.get_label()=='best so far')
    clipped = next(o for o in ax.lines if o.get_label()=='further below')
    assert best.get_ydata()[0]==clipped.get_ydata()[0]>25 and ax.get_xlim()==(-.5, 5.5)

def test_numbers_of_trials_are_whole():
    ax = plot_trials(table([.9]))
    low,high = ax.get_xlim()
    assert [o for o in ax.get_xticks() if low<=o<=high]==[0]

def test_choices_are_labelled_by_their_values():
    df = table([.9,.91,.92,.5,.905], smooth=[0,.05,0,.05,0], lr=[.01,.02,.03,.04,.05], tta=[0,1,2,0,1])
    shown = texts(plot_parallel(df, dict(smooth=False, lr=True, tta=False)))
    assert shown[:3]==['smooth','0','0.05'] and shown[-1]=='92' and {'0','1','2'}<=set(shown)

@pytest.mark.parametrize('worst,is_cut', [(.1, True), (.895, False)])
def test_an_axis_that_is_cut_says_so(worst, is_cut):
    shown = texts(plot_parallel(table([.9,.91,.92,worst,.905], bs=[1,2,3,4,5]), dict(bs=False)))
    assert any(o.startswith('≤ ') for o in shown)==is_cut
