"Tests of from-scratch systems: gradients, seeds, state, shapes, and their accuracy on the packaged sample"
from dataclasses import replace

import numpy as np, pytest, torch
from torch.nn import functional as F

from digitfast.models import scratch as B
from digitfast.models.scratch import by_hand
from digitfast.core import DataError, DigitError, RunError
from digitfast.data.read import read_csvs

torch.set_num_threads(1)

@pytest.fixture(scope='module')
def sample():
    df = read_csvs('sample').train
    x,y = torch.tensor(df.iloc[:,1:].to_numpy()).float()/255, torch.tensor(df['label'].to_numpy())
    return x[:4000], y[:4000], x[4000:], y[4000:]

@pytest.fixture
def small():
    "Return images of 5x5 of three classes, each with its own bright row"
    g = torch.Generator().manual_seed(1)
    y = torch.arange(3).repeat(40)
    x = torch.rand(120, 5, 5, generator=g)*.3
    x[torch.arange(120),y] += .6
    x = x.flatten(1)
    return x[:90], y[:90], x[90:], y[90:]

def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def test_gradients_written_out_are_those_of_autograd():
    g = torch.Generator().manual_seed(3)
    x,y = torch.rand(50, 7, generator=g).double(), torch.randint(4, (50,), generator=g)
    ps = [torch.randn(s, generator=g).double().requires_grad_() for s in ((7,5), (5,), (5,4), (4,))]
    loss = F.cross_entropy(B.two_layer(x, *ps), y)
    loss.backward()
    np_loss,grads = B.np_grads(x.numpy(), np.eye(4)[y], *[p.detach().numpy() for p in ps])
    assert np_loss==pytest.approx(loss.item(), rel=1e-12)
    for p,d in zip(ps, grads): np.testing.assert_allclose(d, p.grad, rtol=1e-9, atol=1e-12)

def test_numpy_survives_activations_that_overflow_exp():
    x,eye = np.full((2,3), 1., np.float32), np.eye(2, dtype=np.float32)
    w1,w2 = np.full((3,4), 50., np.float32), np.array([[9.,-9]]*4, np.float32)
    loss,grads = B.np_grads(x, eye, w1, np.zeros(4, np.float32), w2, np.zeros(2, np.float32))
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in grads)

def test_losses_are_what_they_are_called():
    g = torch.Generator().manual_seed(4)
    a,y = torch.randn(6, 3, generator=g), torch.tensor([0,1,2,2,1,0])
    assert B.cross_entropy(a, B.one_hot_labels(y, 3)).item()==pytest.approx(F.cross_entropy(a, y).item(), rel=1e-6)
    want = np.sqrt(((a.softmax(1).numpy()-np.eye(3)[y])**2).mean())
    assert B.softmax_rmse(a, B.one_hot_labels(y, 3)).item()==pytest.approx(want, rel=1e-5)
    assert B.mean_squared_error(B.as_value(y), B.as_value(y)+2).item()==4

def test_one_epoch_is_gradient_descent_written_out():
    "With one batch, the order does not matter, and the gradient of least squares has a closed form"
    g = torch.Generator().manual_seed(5)
    x,y = torch.rand(20, 3, generator=g), torch.rand(20, 1, generator=g)
    w = torch.zeros(3, 1, requires_grad=True)
    for _ in range(2):
        want = w.detach() - .1*2/20*x.T@(x@w.detach()-y)
        B.train_epoch(lambda x,w: x@w, [w], B.mean_squared_error, x, y, lr=.1, bs=20)
        torch.testing.assert_close(w.detach(), want)

def test_every_image_is_seen_once_an_epoch():
    seen = []
    def net(x, w): seen.append(x[:,0]); return x@w
    x = torch.arange(50.)[:,None]
    loss = B.train_epoch(net, [torch.zeros(1, 1, requires_grad=True)], B.mean_squared_error, x, x, lr=0, bs=16)
    assert [len(o) for o in seen]==[16,16,16,2]
    assert torch.equal(torch.cat(seen).sort().values, x[:,0]) and not torch.equal(torch.cat(seen), x[:,0])
    assert loss==pytest.approx((x**2).mean().item())   # the short last batch weighs what it holds

@pytest.mark.parametrize('loss', [B.mean_squared_error, B.softmax_rmse, B.cross_entropy])
@pytest.mark.parametrize('shapes', [((256,1),(256,)), ((256,),(256,1)), ((256,10),(256,)), ((8,10),(7,10))])
def test_unequal_shapes_raise_an_error(loss, shapes):
    a,b = [torch.zeros(s) for s in shapes]
    with pytest.raises(DigitError) as e: loss(a, b)
    assert all(str(s) in str(e.value) for s in shapes)

def test_a_loop_given_labels_of_the_wrong_shape_stops(small):
    x,y,*_ = small
    w = torch.zeros(25, 1, requires_grad=True)
    with pytest.raises(DigitError, match='shape'):
        B.train_epoch(lambda x,w: x@w, [w], B.mean_squared_error, x, y.float(), .1, 16)
    assert not w.any()

def test_nearest_label_is_the_nearest():
    acts = torch.linspace(-9, 9, 181)[:,None]
    for c in (3,10):
        p = B.nearest_label(acts, c)
        v = torch.sigmoid(acts[:,0])*(c-.5)
        assert torch.equal(p.argmax(1), (v[:,None]-torch.arange(c)).abs().argmin(1))
        torch.testing.assert_close(p.sum(1), torch.ones(181))
        assert set(p.argmax(1).tolist())==set(range(c))

@pytest.mark.parametrize('name', by_hand)
def test_any_side_and_any_number_of_classes(name, small):
    x,y,xv,yv = small
    m = by_hand[name].fit(x, y, xv, yv, epochs=2)
    p = m.predict_proba(xv)
    assert p.shape==(30,3) and p.dtype==torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(30))
    assert sum(v.numel() for v in m.params.values())==B.n_params(by_hand[name].start(25, 3).values())
    assert [r[0] for r in m.history]==[0,1] and all(np.isfinite(r).all() for r in m.history)
    assert m.history[-1][3]==pytest.approx((p.argmax(1)==yv).float().mean().item())

@pytest.mark.parametrize('name', by_hand)
def test_a_seed_decides_and_the_global_state_is_left_alone(name, small):
    fit = lambda seed: by_hand[name].fit(*small, seed=seed, epochs=2)
    torch.manual_seed(0)
    a = fit(1)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert after==torch.rand(1)
    b,c = fit(1), fit(2)
    assert same(a.state(), b.state()) and a.history==b.history
    assert same(a.state(), c.state())==(name=='average')
    assert not any(p is q for p,q in zip(a.params.values(), b.params.values()))

@pytest.mark.parametrize('name', by_hand)
def test_state_goes_through_safetensors_and_comes_back(name, small, tmp_path):
    from safetensors.torch import load_file, save_file
    m = by_hand[name].fit(*small, epochs=1)
    save_file(m.state(), tmp_path/'model.safetensors')
    again = by_hand[name].load(load_file(tmp_path/'model.safetensors'))
    assert torch.equal(again.predict_proba(small[2]), m.predict_proba(small[2]))
    assert (again.n_pixels, again.n_classes)==(25,3)

def test_a_state_is_a_copy(small):
    m = by_hand['linear'].fit(*small, epochs=1)
    p = m.predict_proba(small[2])
    m.state()['w'].zero_()
    assert torch.equal(m.predict_proba(small[2]), p)

def test_a_state_of_another_system_raises_an_error(small):
    st = by_hand['linear'].fit(*small, epochs=1).state()
    for name,bad in (('two-layer',st), ('linear-softmax',st), ('linear',{}), ('linear', st|{'w':st['w'][:-1]}),
                     ('linear', {k:v for k,v in st.items() if k!='b'})):
        with pytest.raises(RunError, match=name): by_hand[name].load(bad)

def test_bad_input_is_named(small):
    x,y,xv,yv = small
    o = by_hand['linear-softmax']
    with pytest.raises(DataError, match='up to'): o.fit(x*255, y, xv, yv)
    with pytest.raises(DataError, match='uint8'): o.fit((x*255).byte(), y, xv, yv)
    with pytest.raises(DataError, match='89 labels'): o.fit(x, y[1:], xv, yv)
    with pytest.raises(DataError, match='from 0 to 2'): o.fit(x, y, xv, yv, n_classes=2)
    with pytest.raises(DataError, match='36 pixels'): o.fit(x, y, torch.zeros(30,36), yv)
    m = o.fit(x, y, xv, yv, epochs=1)
    with pytest.raises(DataError, match='16 pixels'): m.predict_proba(torch.zeros(2,16))
    with pytest.raises(DataError, match='class 3'): by_hand['average'].fit(x, y, xv, yv, n_classes=4)

def test_a_class_without_rows_has_a_column(small):
    assert by_hand['numpy'].fit(*small, epochs=1, n_classes=5).predict_proba(small[2]).shape==(30,5)

def test_progress_gets_each_row_as_it_is_known(small):
    rows = []
    m = by_hand['numpy'].fit(*small, epochs=4, progress=rows.append)
    assert rows==m.history and len(rows)==4

def test_predictions_do_not_depend_on_the_company(small):
    x,_,xv,_ = small
    for o in by_hand.values():
        m = o.fit(*small, epochs=1)
        torch.testing.assert_close(m.predict_proba(xv)[3:5], m.predict_proba(xv[3:5]))

# The accuracy of each on 1,000 rows of the sample. Guessing gives 0.1.

def acc(o, sample, **kw): return o.fit(*sample, **kw).history[-1][-1]

def test_average(sample): assert acc(by_hand['average'], sample)>.78

@pytest.mark.parametrize('name', ['linear','two-layer'])
def test_regression_runs_as_written_and_hardly_learns(name, sample):
    m = by_hand[name].fit(*sample)
    assert len(m.history)==by_hand[name].epochs
    assert m.history[-1][1]<m.history[0][1]   # the loss does fall
    assert m.history[-1][-1]<.25

def test_regression_with_the_squashing_in_the_loss_learns(sample):
    o = replace(by_hand['two-layer'], init=lambda *s: (torch.randn(s)*.05).requires_grad_(), lr=1e-2, epochs=30,
        loss=lambda a,t: B.mean_squared_error(torch.sigmoid(a)*9.5, t))
    assert acc(o, sample)>.3

@pytest.mark.parametrize('name', ['linear-softmax','two-layer-softmax'])
def test_root_mean_square_creeps_where_cross_entropy_runs(name, sample):
    "Start with weights within ±0.5, at ten times the learning rate and a tenth of the epochs"
    o = replace(by_hand[name], init=B.uniform_params, lr=.1, epochs=50)
    slow,fast = acc(o, sample), acc(replace(o, loss=B.cross_entropy), sample)
    assert slow>.3 and fast>.83 and fast>slow+.1

def test_weights_of_the_right_size_do_not_creep(sample):
    assert acc(replace(by_hand['two-layer-softmax'], lr=.1), sample, epochs=50)>.82

def test_numpy(sample): assert acc(by_hand['numpy'], sample, epochs=200)>.78

def test_settings_are_the_articles():
    got = {k:(o.lr,o.bs,o.epochs,B.n_params(o.start().values())) for k,o in by_hand.items() if k!='average'}
    assert got=={'linear':(1e-4,256,11,785), 'two-layer':(1e-5,256,10,23581), 'two-layer-broadcast':(1e-5,256,10,23581),
        'linear-softmax':(1e-2,256,500,7850),
        'two-layer-softmax':(1e-2,256,500,23860), 'numpy':(.1,None,500,7960)}
