"Tests of pictures: what is drawn and where, also for unusual input"
import numpy as np, pandas as pd, pytest, torch
import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt
from fastai.learner import Learner

from conftest import digits
from digitfast.report import plots as I
from digitfast.report.measure import Preds, versus
from digitfast.core import DigitError, RunError

# names that trip matplotlib or a reader
TRAPS = ['$x$', r'$\frac', r'$\frac$', '<b>&', '_hidden', 'x'*80, 'two\nlines', '\u202eback', '漢字', '']

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def drawn(fig):
    "Return the texts that `fig` shows. Drawing must not fail or warn of bad mathematics"
    import warnings
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph')
        fig.canvas.draw()
    return [t.get_text() for t in fig.findobj(matplotlib.text.Text)]

@pytest.fixture(scope='module')
def some():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 300)
    p = rng.dirichlet(np.ones(10)/2, 300)
    p[np.arange(300),y] += 1
    return y, p/p.sum(1, keepdims=True)

def shown(ax): return np.asarray(ax.images[0].get_array())

def test_show_digits_pairs_images_with_labels_however_they_come():
    df = digits(30, side=6)
    px = df.iloc[:,1:].to_numpy()
    ims = px.reshape(-1,6,6)
    mixed = df[[df.columns[0], *df.columns[:0:-1]]]                        # pixel columns in another order
    for items,labels in ((df,None), (mixed,None), (px,df.label), (ims,df.label.tolist()),
                         (torch.tensor(ims)[:,None],torch.tensor(df.label.to_numpy()).tolist())):
        fig = I.show_digits(items, labels, n=9, seed=3)
        axs = [ax for ax in fig.axes if ax.images]
        assert len(axs)==9
        found = [int(np.flatnonzero((ims==shown(ax)).all((1,2)))[0]) for ax in axs]
        assert [ax.get_title() for ax in axs]==[str(df.label[i]) for i in found] and len(set(found))==9
    assert len([ax for ax in I.show_digits(df, n=99).axes if ax.images])==30

@pytest.mark.parametrize('bad', [np.zeros((3,10)), np.zeros((0,9)), np.zeros(9), np.zeros((2,3,5))])
def test_what_is_no_image_raises_an_error(bad):
    with pytest.raises(DigitError, match='images'): I.show_digits(bad)

def test_show_predictions_is_green_where_right_and_red_where_wrong():
    fig = I.show_predictions(np.zeros((3,4,4)), [0,1,2], [0,2,2], [.5,.9,1], ['a','b','c'])
    assert [(ax.get_title(),ax.title.get_color()) for ax in fig.axes]==[
        ('label a,\npredicted a\n50 %','#1a7f37'), ('label c,\npredicted b\n90 %','#cf222e'),
        ('label c,\npredicted c\n100 %','#1a7f37')]
    fig = I.show_predictions(np.zeros((2,4,4)), [0,1], [0,0], [[.7,.3],[.2,.8]])
    assert [ax.get_title() for ax in fig.axes]==['label 0,\npredicted 0\n70 %', 'label 0,\npredicted 1\n80 %']
    with pytest.raises(DigitError, match='3 images, 2 predictions'): I.show_predictions(np.zeros((3,4,4)), [0,1], [0,1])

def test_names_that_matplotlib_would_take_for_mathematics(some):
    y,p = some
    for fig in (I.plot_confusion(y, p.argmax(1), TRAPS).figure, I.plot_class_accuracy(y, p.argmax(1), TRAPS).figure,
                I.show_predictions(np.zeros((10,4,4)), range(10), range(10),
                                   classes=TRAPS),
                I.plot_class_balance(np.array(TRAPS*2)).figure, I.show_digits(np.zeros((10,4,4)), TRAPS)):
        texts = ' '.join(drawn(fig))
        assert '$x$' in texts and r'$\frac' in texts and 'two?lines' in texts and '\u202e' not in texts
        assert 'x'*50 not in texts

def test_the_confusion_matrix_counts_and_shades_mistakes():
    t,p = np.repeat([0,0,1,2], [50,4,30,1]), np.repeat([0,1,1,0], [50,4,30,1])
    ax = I.plot_confusion(t, p, ['a','b','c'])
    at = {(int(o.get_position()[1]),int(o.get_position()[0])):o.get_text() for o in ax.texts}
    assert at=={(0,0):'50', (0,1):'4', (1,1):'30', (2,0):'1'}
    shade = {tuple(path.vertices.mean(0).round()):a for path,
             a in zip(ax.collections[0].get_paths(), ax.collections[0].get_alpha())}
    # 4 mistakes are the darkest, although 50 are right
    assert shade[1,0]==max(shade.values())>.5 and shade[0,0]<shade[0,2]<.5
    assert ax.get_ylabel()=='label' and ax.get_xlabel()=='predicted' and ax.yaxis_inverted()

def test_of_many_classes_those_with_mistakes_are_drawn():
    y = np.repeat(np.arange(300), 3)
    logged = y.copy()
    logged[600] = 7                                                          # class 200 confused with 7
    ax = I.plot_confusion(y, logged)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert ax.get_xlim()==(-.5,39.5) and '40 classes' in ax.get_ylabel() and len(names)<=20
    assert len(ax.collections[0].get_paths())==41
    ax = I.plot_class_accuracy(y, logged)
    assert '200' in [t.get_text() for t in ax.get_yticklabels()] and len(ax.lines[0].get_xdata())==40

def test_class_accuracy_skips_classes_without_rows():
    ax = I.plot_class_accuracy([0,0,0,0,3,3], [0,0,0,1,3,2])
    assert ax.lines[0].get_xdata().tolist()==[75,50] and [t.get_text() for t in ax.get_yticklabels()]==['0','3']
    assert [t.get_text() for t in ax.texts]==['1 of 4','1 of 2']

def test_class_balance():
    ax = I.plot_class_balance(pd.DataFrame(dict(label=[3,3,3,5])))
    assert [b.get_height() for b in ax.patches]==[3,1] and '1 to 3 per class' in ax.get_title()

def test_calibration_states_its_error():
    ax = I.plot_calibration([0,1]*50, [[.6,.4]]*100)
    assert '10.00 %' in ax.get_title() and ax.lines[1].get_xydata().tolist()==[[60,50]]

def test_pictures_go_to_the_specified_place(some):
    y,p = some
    for f in (lambda ax: I.plot_confusion(y, p.argmax(1), ax=ax),
              lambda ax: I.plot_class_accuracy(y, p.argmax(1), ax=ax), lambda ax: I.plot_calibration(y, p, ax=ax),
              lambda ax: I.plot_class_balance(y, ax=ax), lambda ax: I.plot_lr_find(([1e-4,1e-3,1e-2],[3,1,9]), ax=ax)):
        ax = plt.subplots()[1]
        n = len(plt.get_fignums())
        assert f(ax) is ax and len(plt.get_fignums())==n and ax.has_data()

HIST = pd.DataFrame(dict(epoch=[0,1,2], train_loss=[3.,2,1], valid_loss=[2.,1.5,1.2], accuracy=[.5,.7,.9],
                         lr=[.1,.2,.01], seconds=[1.,1,1]))

def test_history_from_a_frame_a_file_and_a_run(tmp_path):
    HIST.to_csv(tmp_path/'history.csv', index=False)
    for o in (HIST, tmp_path/'history.csv', tmp_path):
        loss,acc,lr = I.plot_history(o)
        assert [l.get_ydata().tolist() for l in loss.lines]==[[3,2,1],[2,1.5,1.2]]
        assert [t.get_text() for t in loss.get_legend().get_texts()]==['training','validation']
        assert acc.lines[0].get_ydata()==pytest.approx([50,70,90]) and lr.lines[0].get_ydata().tolist()==[.1,.2,.01]

@pytest.mark.parametrize('text,says',
                         [('','history.csv'), ('epoch,train_loss\n0,1\n','valid_loss'),
                          ('epoch,train_loss,valid_loss,accuracy\n0,a,1,1\n','history.csv'), (None,'history.csv')])
def test_a_history_that_is_none(text, says, tmp_path):
    if text is not None: (tmp_path/'history.csv').write_text(text)
    with pytest.raises(RunError, match=says): I.read_history(tmp_path if text is not None else tmp_path/'history.csv')

@pytest.mark.parametrize('n', [1,3])
def test_epochs_are_whole_numbers_on_the_axis(n):
    axs = I.plot_history(pd.DataFrame(dict(epoch=range(n), train_loss=.5, valid_loss=.4, accuracy=.9, lr=.01)))
    for ax in axs:
        low,high = ax.get_xlim()
        assert not [o for o in ax.get_xticks() if low<=o<=high and o!=int(o)]
    plt.close('all')

def test_history_of_a_learner():
    from digitfast.data.block import DigitDataLoaders
    from digitfast.learn.learner import digit_learner
    learn = digit_learner(DigitDataLoaders.from_df(digits(60), bs=16, device='cpu'), 'stride2')
    with pytest.raises(DigitError, match='without a training history'): I.plot_history(learn)
    with pytest.raises(DigitError, match='find_lr'): I.plot_lr_find(learn)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, .01)
    df = I.read_history(learn)
    assert df.epoch.tolist()==[0,1] and df.lr.iloc[-1]<df.lr.iloc[0]<=.01 and df.accuracy.between(0, 1).all()
    with learn.no_logging(): learn.get_preds()
    assert I.read_history(learn).equals(df)
    own = Learner(learn.dls, learn.model, loss_func=learn.loss_func)
    with own.no_bar(), own.no_logging():
        own.fit(1)
        own.get_preds()
    with pytest.raises(DigitError, match='without its history'): I.read_history(own)

def test_show_versus_colours_rows_by_who_is_right():
    y,a,b = np.zeros(4, int),np.eye(3)[[0,1,0,1]],np.eye(3)[[0,0,1,2]]
    ims = {i:np.full((4,4), i, np.uint8) for i in range(4)}
    fig = I.show_versus(versus(Preds(y, a, images=ims), Preds(y, b)))
    assert [(ax.get_title(),ax.title.get_color()) for ax in fig.axes if ax.images]==[
        ('1 / 0 / 0','#1a7f37'), ('0 / 1 / 0','#cf222e'), ('1 / 2 / 0','#777777')]
    assert [shown(ax)[0,0] for ax in fig.axes if ax.images]==[1,2,3]
    with pytest.raises(DigitError, match='no stored image'): I.show_versus(versus(Preds(y, a), Preds(y, b)))

def test_learning_curve():
    "There is a point for each training, the mean at each number of rows, and intervals. A missing column is named"
    df = pd.DataFrame(dict(n_train=[1000,100,100], accuracy=[.9,.7,.8], n_valid=500))
    ax = I.plot_learning_curve(df)
    points,mean = ax.lines[-2:]
    assert points.get_ydata().tolist()==[70,80,90] and mean.get_xydata().tolist()==[[100,75],[1000,90]]
    assert ax.get_title()=='3 trainings' and ax.get_xscale()=='log'
    plt.close('all')
    with pytest.raises(DigitError, match='no column n_valid'): I.plot_learning_curve(df.drop(columns='n_valid'))

def test_show_occlusion(trained):
    "Each image has axes with its title, and the bright bar that distinguishes the classes is red"
    df = digits(3)
    fig = I.show_occlusion(trained, df.drop(columns='label'), titles=df.label)
    assert [ax.get_title() for ax in fig.axes[:3]]==['0','1','2']
    heat = [ax.images[-1].get_array() for ax in fig.axes[:3]]
    assert all(h.shape==(8,8) and h.min()>=0 for h in heat) and any(h.max()>0 for h in heat)
    plt.close('all')
