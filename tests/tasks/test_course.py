"""Tests of the exercises of the course: each checker accepts the printed solution, rejects a wrong answer, and raises
no error"""
import re, shutil
from collections import Counter
import numpy as np, pytest
from digitfast.core import DataError
from digitfast.tasks.course import check_answer, draw_convolution, kernel_widget
from test_tutorials import TUTORIALS, cells, source

# A wrong answer to each exercise, of the kind that a reader might give
WRONG = {
    ('00_the_data', 'pixel_name'): "return f'pixel{column*side + row}'",
    ('00_the_data', 'normalise'): 'return (train-train.mean())/train.std(), (valid-valid.mean())/valid.std()',
    ('00_the_data', 'stratified_rows'):
        'return np.random.default_rng(seed).permutation(len(labels))[:int(len(labels)*share)]',
    ('00_the_data', 'epoch_batches'): 'return list(torch.randperm(n)[:n//bs*bs].split(bs))',
    ('01_from_scratch', 'pairwise_distances'): 'return ((a[:,None]-b)**2).sum(2).sqrt()',
    ('01_from_scratch', 'slope'): 'return f(x+nudge)-f(x)',
    ('01_from_scratch', 'sgd_step'): 'for p in params: p.data -= lr*p.grad',
    ('01_from_scratch', 'fit_two_layer'):
        'return [torch.randn(2,20), torch.zeros(20), torch.randn(20,2), torch.zeros(2)]',
    ('02_learner', 'train_step'):
        'loss = loss_func(model(xb), yb)\n    loss.backward()\n    with torch.no_grad():\n'
        '        for p in model.parameters(): p -= lr*p.grad\n    return loss.item()',
    ('02_learner', 'rate_recorder'):
        'class Recorder(Callback):\n        def before_fit(self): self.rates = []\n'
        "        def before_batch(self): self.rates.append(self.opt.hypers[-1]['lr'])\n    return Recorder()",
    ('02_learner', 'one_cycle'): 'return max_lr*(1-math.cos(2*math.pi*t))/2',
    ('02_learner', 'steepest_rate'): 'return rates[np.argmin(losses)]',
    ('03_convolutions', 'convolve'):
        'k = len(kernel)\n    rows,cols = (range(0, n-k+1, stride) for n in im.shape)\n'
        '    return torch.stack([torch.stack([(im[r:r+k, c:c+k]*kernel).sum() for c in cols]) for r in rows])',
    ('03_convolutions', 'receptive_field'): 'return 1+sum(k-1 for k,_ in layers)',
    ('03_convolutions', 'n_weights'): 'return sum(a*b*kernel**2 for a,b in zip(channels, channels[1:]))',
    ('04_mlps', 'mlp'):
        'layers = [nn.Flatten()]\n    for a,b in zip(sizes, sizes[1:]): layers += [nn.Linear(a, b), nn.ReLU()]\n'
        '    return nn.Sequential(*layers)',
    ('04_mlps', 'n_steps'): 'return n_rows//bs*epochs',
    ('04_mlps', 'log_softmax'): 'return acts.softmax(1).log()',
    ('04_mlps', 'one_at_a_time'):
        'res = {}\n    for k,v in changes.items():\n        base[k] = v\n        res[k] = dict(base)\n    return res',
    ('05a_wrong_measurements', 'accuracy_of_batches'):
        'return sum((p==l).float().mean().item() for p,l in batches)/len(batches)',
    ('05a_wrong_measurements', 'rows_on_both_sides'):
        'return [i for i,row in enumerate(valid) if sorted(row) in [sorted(o) for o in train]]',
    ('05a_wrong_measurements', 'control_rows_agree'):
        'preds = predict(np.concatenate([valid, test]))\n'
        "    if len(preds)!=len(valid)+len(test): raise ValueError('rows are missing')\n    return preds[len(valid):]",
    ('05b_wrong_training', 'strict_mse'):
        "if len(preds)!=len(targets): raise ValueError('lengths differ')\n    return ((preds-targets)**2).mean()",
    ('05b_wrong_training', 'softmax_floor'): 'return 1/n_classes',
    ('05b_wrong_training', 'mode_of_each_batch'):
        'model.train()\n    res = []\n    for xb in batches:\n        res.append(model.training)\n'
        '        model(xb)\n    return res',
    ('07_learning_by_heart', 'dropout'): 'return a*(torch.rand_like(a)>=p) if training else a',
    ('07_learning_by_heart', 'early_stop'): 'best = losses.index(min(losses))+1; return len(losses), best',
    ('07_learning_by_heart', 'mistake_confidence'): 'return probs.max(1).mean()',
    ('06_the_ascent', 'smooth_targets'): 'return (1-smooth)*torch.eye(n_classes)[labels] + smooth',
    ('06_the_ascent', 'mean_of_shifts'):
        'return torch.stack([predict(x.roll((r,c), (2,3))) for r in (-1,0,1) for c in (-1,0,1)]).mean(0)',
    ('06_the_ascent', 'mcnemar'):
        'a,b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())\n'
        '    return sum(math.comb(a+b, i) for i in range(min(a, b)+1))/2**(a+b)',
    ('09_your_own', 'mixup'):
        's = share.view(-1, 1, 1, 1)\n    return s*x + (1-s)*x[other], targets',
    ('09_your_own', 'centre'):
        'row,col = np.unravel_index(image.argmax(), image.shape)\n    return np.roll(image, (14-row,14-col), (0,1))',
    ('10_to_kaggle', 'confidence_interval'):
        'p = hits/n\n    d = 1.96*(p*(1-p)/n)**.5\n    return p-d, p+d',
    ('10_to_kaggle', 'submission_text'):
        'return chr(10).join(["ImageId,Label"] + [f"{i},{o}" for i,o in enumerate(labels)])',
    ('11_what_it_looks_at', 'pixel_slopes'):
        'x = x.clone().requires_grad_()\n    model(x).sum().backward()\n    return x.grad[0,0]',
    ('11_what_it_looks_at', 'output_of'):
        'kept = []\n    layer.register_forward_hook(lambda m, i, o: kept.append(o))\n    model(x)\n    return kept[0]',
    ('11_what_it_looks_at', 'cam_from'): 'return (grads.mean((2,3), keepdim=True)*maps).sum(1)',
    ('08a_stability', 'he_weights'): 'return torch.randn(n_in, n_out)*(1/n_in)**.5',
    ('08a_stability', 'batch_norm'): 'return gamma*(x-x.mean(0))/(x.var(0)+eps).sqrt() + beta',
    ('08a_stability', 'dead_share'): 'return (activations==0).float().mean()',
    ('08b_optimisers', 'momentum_step'): 'v = beta*v + (1-beta)*g; return lr*v, v',
    ('08b_optimisers', 'corrected_average'): 'm = 0\n    for g in gradients: m = beta*m + (1-beta)*g\n    return m',
    ('08b_optimisers', 'adamw_step'): 'return adam_step + wd*p',
    ('12_capstone', 'drop_copies'): 'return df.drop_duplicates().reset_index(drop=True)',
    ('12_capstone', 'make_folds'): 'return np.array_split(np.arange(n), k)',
    ('12_capstone', 'predict_nearest_mean'):
        'means = np.stack([images[labels==c].mean(0) for c in np.unique(labels)])\n'
        '    return ((new[:,None]-means)**2).sum(2).argmin(1)',
    ('12_capstone', 'tiny_net'): 'return nn.Sequential(nn.Flatten(), nn.Linear(side*side, n_out))',
    ('12_capstone', 'train_without'):
        'dls = DigitDataLoaders.from_df(df, valid_pct=0.25, bs=64)\n    learn = digit_learner(dls, arch)\n'
        '    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 5e-3)\n    return learn',
    ('12_capstone', 'join_predictions'):
        'votes = probs.argmax(2)\n    return [classes[np.bincount(o).argmax()] for o in votes.T]',
    ('01b_slopes', 'chain'): 'return math.cos(x**2)',
    ('01b_slopes', 'mse_gradient'): 'return 2*(preds-targets)',
    ('01b_slopes', 'linear_backward'): 'return d_out@w.T, x.T@d_out, d_out.mean(0)',
    ('01b_slopes', 'sigmoid_node'):
        'from types import SimpleNamespace as N\n    s = 1/(1+math.exp(-v.data))\n'
        '    return N(data=s, parents=(v,), local_slopes=(s,))',
}

def exercises(nb):
    "Yield (name, code of the exercise, of its checker and of its solution) of a notebook"
    cs = cells(nb)
    for i,c in enumerate(cs):
        code = ''.join(c['source'])
        if c['cell_type']!='code' or 'raise NotImplementedError' not in code: continue
        checker,solution = (''.join(o['source']) for o in cs[i+1:i+3])
        name = re.search(r'^def (\w+)', code, re.M)[1]
        printed = re.search(r'<details><summary>Solution</summary>\n\n```python\n(.*?)```', solution, re.S)
        assert printed, f'{nb.stem}: no solution is printed below the checker of {name}'
        yield name, code, checker, printed[1]

EXERCISES = {(nb.stem, e[0]):e[1:] for nb in TUTORIALS for e in exercises(nb)}
each = pytest.mark.parametrize('key', EXERCISES, ids='-'.join)

def passes(key, code, checker):
    "Return whether the checker of the exercise `key` accepts `code`, with only the imports of the notebook"
    names = {}
    exec('import math\nfrom digitfast.all import *\nfrom digitfast.tasks.course import check_answer', names)
    exec(code, names)
    exec(checker.replace('check_answer(', 'accepted = check_answer('), names)
    return names['accepted']

@each
def test_the_printed_solution_is_right(key):
    _,checker,solution = EXERCISES[key]
    assert passes(key, solution, checker)

@each
def test_a_wrong_answer_is_rejected(key, capsys):
    code,checker,_ = EXERCISES[key]
    wrong = code.replace('raise NotImplementedError', WRONG[key])
    assert not passes(key, wrong, checker)
    out = capsys.readouterr().out
    assert 'is not right yet: ' in out and len(out.splitlines())==1

@each
def test_an_open_exercise_is_no_error(key, capsys):
    code,checker,_ = EXERCISES[key]
    assert not passes(key, code, checker)
    assert 'is not written yet' in capsys.readouterr().out

def test_fundamentals_have_three_exercises_each():
    "Lessons 00 to 04 and 08 have at least three coding exercises, and every other lesson with exercises at least two"
    counts = Counter(nb for nb,_ in EXERCISES)
    few = {nb.stem:counts[nb.stem] for nb in TUTORIALS if '## Exercises' in source(cells(nb, 'markdown'))
           if counts[nb.stem] < (3 if nb.stem[:2] in ('00','01','02','03','04','08') else 2)}
    lessons = {'00','01','02','03','04','05','06','07','08','09','10','11','12'}
    assert not few and {nb[:2] for nb in counts}>=lessons

def test_each_wrong_answer_has_its_exercise(): assert not WRONG.keys()-EXERCISES.keys()

def test_the_capstone_continues_with_the_answers_that_it_prints(capsys):
    "The code in the package equals the printed solution, and a right answer of the reader replaces it"
    import ast, inspect
    from digitfast.tasks.capstone import choose_answer
    printed = {name:solution for (nb,name),(_,_,solution) in EXERCISES.items() if nb=='12_capstone'}
    assert len(printed)>=6
    def open_task(): raise NotImplementedError
    def check(f): f()
    for name,solution in printed.items():
        open_task.__name__ = name
        ours = choose_answer(open_task, check)
        assert ast.dump(ast.parse(inspect.getsource(ours)))==ast.dump(ast.parse(solution)), name
    assert capsys.readouterr().out.count('This notebook continues with our ')==len(printed)
    def right(): pass
    assert choose_answer(right, check) is right and not capsys.readouterr().out

def test_the_competition_of_the_capstone_tells_no_test_label(tmp_path):
    from digitfast.data.read import read_csvs
    from digitfast.tasks.capstone import write_competition
    labels = write_competition(tmp_path)
    data = read_csvs(tmp_path, label='digit')
    assert (len(data.train),len(data.test),len(labels))==(1447,500,500) and 'label' not in data.test
    seen = set(map(bytes, data.train[data.pixels].to_numpy(np.uint8)))
    assert not seen & set(map(bytes, data.test[data.pixels].to_numpy(np.uint8))) and len(seen)==1297

def test_an_answer_that_raises_is_named(capsys):
    def half(x): return x/0
    def check(f): assert f(1)==.5
    assert not check_answer(half, check)
    assert capsys.readouterr().out=='✗ half raised ZeroDivisionError: division by zero.\n'

# ---- drawings and the widget

TOP = np.array([[-1,-1,-1],[0,0,0],[1,1,1]])

@pytest.fixture
def seven(data):
    df = data.train
    return df[df.label==7].iloc[0,1:].to_numpy(float).reshape(28,28)/255

@pytest.mark.parametrize('stride,padding', [(1,0),(2,1),(3,2)])
def test_a_drawing_has_the_sum_of_torch(seven, stride, padding):
    import torch
    im,kernel = (torch.tensor(o).float()[None,None] for o in (seven, TOP))
    out = torch.nn.functional.conv2d(im, kernel, stride=stride, padding=padding)[0,0]
    svg = draw_convolution(seven, TOP, 3, 4, stride, padding).data
    assert f'sum: {out[3,4]+0:.2f}<' in svg and f'result, {out.shape[0]}×{out.shape[1]}<' in svg and len(svg)<20_000

def test_a_place_outside_of_the_result_is_named(seven):
    with pytest.raises(DataError, match='found 26, 0, expected a place in the result of 26x26'):
        draw_convolution(seven, TOP, 26, 0)

def test_the_widget_needs_no_network(seven):
    page = kernel_widget(seven).data
    assert len(page)<200_000 and not re.search(r'https?:|src=|import ', page)
    assert kernel_widget(seven[:10,:10]).data!=page   # two on one page have ids of their own

@pytest.mark.skipif(not shutil.which('chromium'), reason='needs Chromium: apt install chromium')
def test_the_widget_in_a_browser(seven, tmp_path):
    "The sum of each kernel, at places reached with mouse and keys, equals NumPy's"
    pytest.importorskip('websockets')
    from browser import Browser
    file = tmp_path/'widget.html'
    file.write_text('<meta charset="utf-8">'+kernel_widget(seven, 7, 12).data, encoding='utf-8')
    kernels = {'top edges':TOP, 'bottom edges':-TOP, 'left edges':TOP.T, 'right edges':-TOP.T}
    kernels['blur'] = np.full((3,3), 1/9)
    shown = seven.round(2)
    b = Browser()
    try:
        b.goto(file.as_uri())
        b.wait("document.querySelectorAll('.result rect').length>600")
        def place():
            text = b.js("document.querySelector('.total').textContent").replace('−', '-')
            return [float(o) for o in re.search(r'row (\d+), column (\d+): (-?[\d.]+)', text).groups()]
        for name,k in kernels.items():
            b.js(f"document.querySelector('select').value = '{name}'")
            b.js("document.querySelector('select').dispatchEvent(new Event('change'))")
            b.js("window.box = document.querySelector('.image').getBoundingClientRect()")
            x,y,width = b.js("[box.left, box.top, box.width]")
            b.drag([(x+width*c/28, y+width*r/28) for r,c in ((3,3), (9.5,10.5))])
            b.js("document.querySelector('.image').focus()")
            for key in 'ArrowRight','ArrowDown': b('Input.dispatchKeyEvent', type='keyDown', key=key)
            row,col,total = place()
            assert (row,col)==(10,11)
            assert abs(total-(shown[9:12,10:13]*k).sum())<.006
        assert not [o for o in b.events if o['method']=='Runtime.exceptionThrown'] and len(b.urls())==1
    finally: b.close()
