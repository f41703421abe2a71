"""Tests of two widgets of the course in a browser: their numbers equal Python's, with mouse, finger and keys, also on a
phone"""
import base64, json, re, shutil, subprocess, sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np, pytest, torch
import torch.nn.functional as F
from digitfast.core import DataError
from digitfast.tasks.course import load_drawing_network, network_widget, roll_widget

REPO = Path(__file__).parent.parent.parent
MADE = json.loads((REPO/'digitfast'/'pages'/'network.json').read_text())
LOSSES = {'one valley':[1,-2,1.5], 'two valleys':[1,.3,-2,0,1]}
needs_chromium = pytest.mark.skipif(not shutil.which('chromium'), reason='needs Chromium: apt install chromium')

def roll(**kwargs): return roll_widget(LOSSES, **{**dict(span=(-2,2.5), start=-1.5, rate=.1, max_rate=1.), **kwargs})

@pytest.fixture(scope='module')
def digits():
    """Return the packaged digits on which the widget's network was measured: images (1000, 28, 28) from 0 to 1, and
    labels"""
    from digitfast.data.read import read_csvs
    data = read_csvs('sample')
    held = data.train.iloc[4000:]
    return held[data.pixels].to_numpy().reshape(-1, 28, 28)/255, held.label.to_numpy()

@contextmanager
def shown(tmp_path, *widgets, **kwargs):
    """Open a browser with these widgets on one page. Afterwards check that no script failed and that nothing else was
    fetched"""
    pytest.importorskip('websockets')
    from browser import Browser
    file = tmp_path/'page.html'
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    file.write_text(head+''.join(o.data for o in widgets), encoding='utf-8')
    b = Browser(**kwargs)
    try:
        b.goto(file.as_uri())
        b.wait("document.readyState=='complete' && document.querySelectorAll('svg').length>0")
        yield b
        assert not [o for o in b.events if o['method']=='Runtime.exceptionThrown'] and len(b.urls())==1
    finally: b.close()

def press(b, *keys):
    for key in keys: b('Input.dispatchKeyEvent', type='keyDown', key=key, code=key, windowsVirtualKeyCode=CODES[key])

CODES = dict(ArrowLeft=37, ArrowUp=38, ArrowRight=39, ArrowDown=40, Delete=46)|{' ':32}

# ---- roll down a loss

def numbers(text): return [float(o) for o in re.findall(r'-?[\d.]+(?:e[+-]?\d+)?', text.replace('−', '-'))]

def table(b):
    rows = b.js("[...document.querySelectorAll('tbody tr')].map(o => o.innerText)")
    return np.array([numbers(o) for o in rows])

def set_rate(b, rate):
    b.js(f"(o => {{ o.value = {rate}; o.dispatchEvent(new Event('input')) }})(document.querySelector('.rate'))")

def descend(coefficients, start, rate, n):
    "Return the steps of gradient descent: step, weight, slope and loss"
    loss = np.polynomial.Polynomial(coefficients)
    w,res = start,[]
    for i in range(n+1):
        res.append((i, w, loss.deriv()(w), loss(w)))
        w -= rate*loss.deriv()(w)
    return np.array(res)

ROLLS = [('one valley', .1, 'get shorter and shorter. They converge'),
         ('one valley', .55, 'oscillate, but they converge'), ('one valley', .8, 'They diverge'),
         ('two valleys', .02, 'They converge'), ('two valleys', .25, 'oscillate')]

@needs_chromium
def test_the_ball_takes_the_steps_of_gradient_descent(tmp_path):
    with shown(tmp_path, roll()) as b:
        for name,rate,verdict in ROLLS:
            b.js(f"document.querySelector('.loss').value = '{name}'")
            b.js("document.querySelector('.loss').dispatchEvent(new Event('change'))")
            set_rate(b, rate)
            for _ in range(6): b.js("document.querySelector('.step').click()")
            found,expected = table(b), descend(LOSSES[name], -1.5, rate, 6)
            assert found.shape==expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
            assert verdict in b.js("document.querySelector('.verdict').textContent")
            following = numbers(b.js("document.querySelector('.sum').textContent").split('=')[1])
            np.testing.assert_allclose(following, [expected[-1,1]-rate*expected[-1,2]], rtol=1e-4)
            b.js("document.querySelector('.reset').click()")
            assert len(table(b))==1

@needs_chromium
def test_the_ball_rolls_to_the_end_by_itself(tmp_path):
    with shown(tmp_path, roll(n_steps=12)) as b:
        b.js("document.querySelector('.roll').click()")
        b.wait("document.querySelectorAll('tbody tr').length==13")
        np.testing.assert_allclose(table(b), descend(LOSSES['one valley'], -1.5, .1, 12), rtol=1e-4)

@needs_chromium
def test_keys_move_the_rate_and_the_start(tmp_path):
    with shown(tmp_path, roll()) as b:
        b.js("document.querySelector('.rate').focus()")
        press(b, 'ArrowRight', 'ArrowRight')
        assert b.js("document.querySelector('.shown').textContent")=='0.11'
        b.js("document.querySelector('.curve').focus()")
        press(b, 'ArrowRight', 'ArrowRight', 'ArrowLeft')
        assert abs(table(b)[0,1]-(-1.5+4.5/40))<1e-4
        x,y,w = b.js("(o => [o.left, o.top, o.width])(document.querySelector('.curve').getBoundingClientRect())")
        b.drag([(x+w*(10+440*.75)/460, y+50)])   # a click at three quarters of the span
        assert abs(table(b)[0,1]-(-2+4.5*.75))<.02

@pytest.mark.parametrize('wrong,message', [
    (dict(start=3), 'start: found 3, expected a weight from -2.0 to 2.5'),
    (dict(rate=2), 'rate: found 2, expected more than 0, and at most 1.0')])
def test_arguments_out_of_range_are_named(wrong, message):
    with pytest.raises(DataError, match=re.escape(message)): roll(**wrong)

def test_a_loss_without_a_slope_is_named():
    with pytest.raises(DataError, match='losses: .* expected two or more finite coefficients'):
        roll_widget({'flat':[1]}, (-1,1), 0)

# ---- draw a digit

def activations(net, image):
    "Return the outputs of the layers, computed with torch"
    (w1,b1),(w2,b2),(w3,b3),(w4,b4) = [(o.weight, o.bias) for o in net if hasattr(o, 'weight')]
    x = torch.tensor(np.array(image)).float().view(1, 1, 28, 28)
    a = F.conv2d(x, w1, b1, stride=2, padding=2).relu()
    b = F.conv2d(a, w2, b2, stride=2, padding=1).relu()
    c = F.conv2d(b, w3, b3, stride=2, padding=1).relu()
    return [o.detach().flatten().numpy() for o in (a, b, c, F.linear(c.flatten(1), w4, b4))]

def state(b):
    "Return the pixels, the activations of each layer, the probabilities, and the line with the prediction"
    root = "document.querySelector('.pad').parentElement.parentElement"
    pixels,layers,chances = (b.js(f'JSON.stringify({o})') for o in (
        f'[...{root}.pixels]', f'{root}.layers.map(o => [...o])', f'{root}.chances'))
    return *map(json.loads, (pixels, layers, chances)), b.js("document.querySelector('.answer').textContent")

def test_the_network_is_as_accurate_as_its_file_says(digits):
    images,labels = digits
    with torch.no_grad(): acts = load_drawing_network()(torch.tensor(images).float()[:,None])
    assert (acts.argmax(1).numpy()==labels).mean()==pytest.approx(MADE['accuracy'], abs=.0011)
    assert MADE['accuracy']>.97 and (REPO/MADE['command'].split()[1]).exists()

def test_the_pages_need_no_network_and_are_small(digits):
    images,labels = digits
    widgets = [network_widget(images[:10], labels[:10]), network_widget(), roll(), roll(rate=.2)]
    pages = [o.data for o in widgets]
    for page in pages: assert len(page.encode())<200_000 and not re.search(r'https?:|src=|import ', page)
    assert len({re.search(r'id="([\w-]+)"', o)[1] for o in pages})==4   # several on one page have ids of their own

@needs_chromium
def test_a_chosen_digit_has_the_activations_of_torch(digits, tmp_path):
    images,labels = digits
    net = load_drawing_network()
    with shown(tmp_path, network_widget(images[:8], labels[:8])) as b:
        for i in range(8):
            b.js(f"document.querySelector('.example').value = '{i}'")
            b.js("document.querySelector('.example').dispatchEvent(new Event('change'))")
            pixels,layers,chances,answer = state(b)
            np.testing.assert_allclose(pixels, images[i].ravel(), atol=1e-6)
            expected = activations(net, images[i])
            assert [len(o) for o in layers]==[len(o) for o in expected]
            for mine,theirs in zip(layers, expected): np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
            np.testing.assert_allclose(chances, torch.tensor(expected[-1]).softmax(0), atol=1e-4)
            assert answer==f'The network predicts {expected[-1].argmax()}, label {labels[i]}.'

SEVEN = [(80,60),(190,60),(150,140),(120,230)]

@needs_chromium
@pytest.mark.parametrize('phone', [False, True], ids=['mouse','finger'])
def test_a_drawn_digit_is_centred_and_has_the_activations_of_torch(tmp_path, phone):
    with shown(tmp_path, network_widget(), width=360 if phone else 1100, mobile=phone) as b:
        assert b.js('document.documentElement.scrollWidth')<=(360 if phone else 1100)
        x,y,w = b.js("(o => [o.left, o.top, o.width])(document.querySelector('.pad').getBoundingClientRect())")
        b.drag([(x+w*px/280, y+w*py/280) for px,py in SEVEN], touch=phone)
        pixels,layers,chances,answer = state(b)
        expected = activations(load_drawing_network(), pixels)
        for mine,theirs in zip(layers, expected): np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
        im = np.array(pixels).reshape(28, 28)
        rows,cols = (np.flatnonzero(im.any(a)) for a in (1, 0))
        assert max(np.ptp(rows), np.ptp(cols))+1 in (20, 21)
        centre = [(im*o).sum()/im.sum() for o in np.mgrid[:28,:28]]
        np.testing.assert_allclose(centre, [14,14], atol=.1)
        assert answer=='The network predicts 7.' and max(chances)>.9
        b.js("document.querySelector('.clear').click()")
        assert state(b)[3]=='The paper is empty.' and not any(state(b)[0])

@needs_chromium
def test_keys_draw_a_digit(tmp_path):
    with shown(tmp_path, network_widget()) as b:
        b.js("document.querySelector('.pad').focus()")
        press(b, *['ArrowUp']*9, ' ', *['ArrowDown']*18, ' ')
        assert state(b)[3]=='The network predicts 1.'
        before = state(b)[0]
        press(b, *['ArrowLeft']*5)                # the pen is up
        assert state(b)[0]==before
        press(b, 'Delete')
        assert state(b)[3]=='The paper is empty.'

@pytest.mark.parametrize('images,labels,message', [
    (np.zeros((2,8,8)), [1,2], 'images: found shape (2, 8, 8), expected (n, 28, 28)'),
    (np.zeros((2,28,28)), [1], 'labels: found 1, expected one for each of 2 images')])
def test_wrong_examples_are_named(images, labels, message):
    with pytest.raises(DataError, match=re.escape(message)): network_widget(images, labels)

@pytest.mark.slow
def test_the_command_makes_such_a_network(tmp_path):
    """With a few epochs, the file has the layers and the right number of weights, and most digits are predicted
    correctly"""
    cmd = [sys.executable, 'benchmarks/network.py', '--epochs', '4', '--out', tmp_path/'network.json']
    subprocess.run(cmd, cwd=REPO, check=True, capture_output=True)
    made = json.loads((tmp_path/'network.json').read_text())
    assert made['accuracy']>.85 and made.keys()==MADE.keys() and made['layers']==MADE['layers']
    assert len(base64.b64decode(made['weights']))==len(base64.b64decode(MADE['weights']))
