"Each coding exercise of the course: its checker accepts the printed solution, rejects a wrong answer, and is patient"
import re
import pytest
from digitfast.course import check_answer
from test_tutorials import TUTORIALS, cells

# A wrong answer to each exercise, of the kind that a reader might give
WRONG = {
    ('01_from_scratch', 'pairwise_distances'): 'return ((a[:,None]-b)**2).sum(2).sqrt()',
    ('01_from_scratch', 'slope'): 'return f(x+nudge)-f(x)',
    ('01_from_scratch', 'sgd_step'): 'for p in params: p.data -= lr*p.grad',
    ('01_from_scratch', 'fit_two_layer'):
        'return [torch.randn(2,20), torch.zeros(20), torch.randn(20,2), torch.zeros(2)]',
    ('08a_stability', 'he_weights'): 'return torch.randn(n_in, n_out)*(1/n_in)**.5',
    ('08a_stability', 'batch_norm'): 'return gamma*(x-x.mean(0))/(x.var(0)+eps).sqrt() + beta',
    ('08a_stability', 'dead_share'): 'return (activations==0).float().mean()',
    ('08b_optimisers', 'momentum_step'): 'v = beta*v + (1-beta)*g; return lr*v, v',
    ('08b_optimisers', 'corrected_average'): 'm = 0\n    for g in gradients: m = beta*m + (1-beta)*g\n    return m',
    ('08b_optimisers', 'adamw_step'): 'return adam_step + wd*p',
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
    "Does the checker of the exercise `key` accept `code`? Nothing is needed from the notebook but its imports"
    names = {}
    exec('import math\nfrom digitfast.all import *\nfrom digitfast.course import check_answer', names)
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

def test_each_wrong_answer_has_its_exercise(): assert not WRONG.keys()-EXERCISES.keys()

def test_an_answer_that_raises_is_named(capsys):
    def half(x): return x/0
    def check(f): assert f(1)==.5
    assert not check_answer(half, check)
    assert capsys.readouterr().out=='✗ half raised ZeroDivisionError: division by zero.\n'
