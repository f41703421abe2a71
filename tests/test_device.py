"Tests of the device: a GPU is used only after it has run a training step"
import pytest, torch
from digitfast import device
from digitfast.core import DigitError
from digitfast.device import device_error, digit_device

@pytest.fixture
def gpu(monkeypatch):
    "Let torch report a GPU of a kind, whose training step returns or raises `what`"
    def _gpu(kind, what):
        def step(d):
            if isinstance(what, Exception): raise what
            return what
        there = dict(cuda='torch.cuda', mps='torch.backends.mps')
        for k,m in there.items(): monkeypatch.setattr(f'{m}.is_available', lambda k=k: k==kind)
        monkeypatch.setattr(device, '_train_step', step)
        device._probe.cache_clear()
    yield _gpu
    device._probe.cache_clear()

bad = [RuntimeError('CUDA error: no kernel image is available\nmore'),
       NotImplementedError("'aten::x' isn't implemented"),
       RuntimeError(''), 'the loss of a training step there is nan']

@pytest.mark.parametrize('kind', ['cuda','mps'])
@pytest.mark.parametrize('what', bad, ids=lambda o: type(o).__name__)
def test_a_gpu_that_fails(kind, what, gpu, recwarn):
    "`auto` skips it with a note, its name raises an error of one line, and the seeds do not change"
    gpu(kind, what)
    torch.manual_seed(0)
    a = torch.rand(1)
    torch.manual_seed(0)
    assert digit_device('auto').type=='cpu' and digit_device().type=='cpu'
    assert "can't be used" in str(recwarn[0].message) and '\n' not in str(recwarn[0].message)
    with pytest.raises(DigitError, match=f"device '{kind}' can't be used: .+ Use device='auto'") as e:
        digit_device(kind)
    assert '\n' not in str(e.value) and torch.equal(torch.rand(1), a)

@pytest.mark.parametrize('kind', ['cuda','mps'])
def test_a_gpu_that_works(kind, gpu, recwarn):
    gpu(kind, None)
    assert digit_device('auto').type==kind and device_error(kind) is None and not recwarn
    assert digit_device('mps' if kind=='mps' else 'cpu').type in ('mps','cpu')

def test_no_gpu(gpu, recwarn):
    "Without a GPU, nothing is logged"
    gpu('none', None)
    assert digit_device('auto').type=='cpu' and not recwarn
    for kind,says in (('cuda','no CUDA GPU'), ('mps','no Apple GPU'), ('mps:0','no Apple GPU')):
        with pytest.raises(DigitError, match=f"torch found {says}"): digit_device(kind)

@pytest.mark.parametrize('what', ['tpu','meta','xla','cpu:x','','CUDA',-5,3.5,[]], ids=repr)
def test_no_device(what):
    with pytest.raises(DigitError, match="expected auto, cpu, cuda or mps|can't be used"): digit_device(what)

def test_one_too_many(gpu, monkeypatch):
    gpu('cuda', None)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert digit_device('cuda:1').index==1
    with pytest.raises(DigitError, match="expected one of 2 GPUs"): digit_device('cuda:2')

@pytest.mark.parametrize('broken,says', [(lambda net: net[-1].weight.data.fill_(float('nan')), 'loss'),
                                         (lambda net: net[-1].bias.requires_grad_(False), 'changes no weight')])
def test_the_step_notices(broken, says, monkeypatch):
    "A loss that is NaN, and weights that do not change, are reported"
    make = torch.nn.Sequential
    def sequential(*layers):
        net = make(*layers)
        broken(net)
        return net
    monkeypatch.setattr(device.nn, 'Sequential', sequential)
    assert says in device._train_step('cpu')

# ---- bf16 on a CPU: a rule on shapes, so that a CPU without AMX tests it too

def conv_dtypes(net, x):
    "Return the type in which each convolution of `net` is computed under BF16's autocast"
    from torch.nn.modules.conv import _ConvNd
    seen = []
    for m in net.modules():
        if isinstance(m, _ConvNd): m.register_forward_hook(lambda m,i,o: seen.append(str(o.dtype)[6:]))
    with torch.autocast('cpu', torch.bfloat16), device.Fp32Convs(): out = net(x)
    out.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    return seen

@pytest.mark.parametrize('arch,fp32', [('stride2', {2:4, 4:3, 8:2, 16:1, 17:0, 28:0}),
                                       ('fastbook', {4:3, 8:2, 16:1, 17:0, 28:0}),
                                       ('small', {28:0}), ('stride3', {28:0}), ('residual', {28:0})])
def test_which_layers_stay_in_fp32(arch, fp32):
    from digitfast.models.nets import create_model
    for side,n in fp32.items():
        net = create_model(arch, 10, side)
        seen = conv_dtypes(net, torch.rand(2, 1, side, side))
        assert seen==['bfloat16']*(len(seen)-n)+['float32']*n and len(seen)>n, (side, seen)

@pytest.mark.parametrize('conv,shape,want', [
    (torch.nn.Conv2d(3, 4, 3, 2, 1), (1,1), 'float32'), (torch.nn.Conv2d(3, 4, 3, 2, 1), (2,2), 'bfloat16'),
    (torch.nn.Conv2d(3, 4, 3, 2, 1), (2,1), 'float32'), (torch.nn.Conv2d(3, 4, 3, 2, 1), (1,2), 'bfloat16'),
    (torch.nn.Conv2d(3, 4, 3, 1, 1), (1,1), 'bfloat16'), (torch.nn.Conv2d(3, 4, 1, 2), (1,1), 'bfloat16'),
    (torch.nn.Conv2d(3, 4, 2, 2, 1), (1,1), 'float32'), (torch.nn.Conv2d(3, 4, 3, 3, 1), (2,2), 'float32'),
    (torch.nn.Conv2d(3, 4, 3, 3, 1), (3,3), 'bfloat16'), (torch.nn.Conv2d(3, 4, 3, 2, 2), (1,1), 'bfloat16'),
    (torch.nn.Conv2d(3, 3, 5, 2, 2, groups=3), (1,1), 'float32'),
    (torch.nn.Conv2d(3, 4, 3, 2, 2, dilation=2), (1,1), 'float32'),
    (torch.nn.Conv2d(3, 4, 3, (1,2), (0,1)), (5,1), 'float32'), (torch.nn.Conv2d(3, 4, 3, (2,1), 1), (1,1), 'bfloat16'),
    (torch.nn.Conv2d(3, 4, 3, padding='same'), (1,1), 'bfloat16'), (torch.nn.Conv1d(3, 4, 3, 2, 1), (1,), 'float32'),
    (torch.nn.Conv3d(3, 4, 3, 2, 1), (4,4,1), 'float32'), (torch.nn.ConvTranspose2d(3, 4, 3, 2, 1), (1,1), 'float32'),
    (torch.nn.ConvTranspose2d(3, 4, 3, 2, 1), (2,2), 'bfloat16'),
    (torch.nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), (1,1), 'bfloat16')], ids=str)
def test_the_rule_on_shapes(conv, shape, want):
    for layout in (conv,), (torch.nn.Identity(), conv): # also within a net
        assert conv_dtypes(torch.nn.Sequential(*layout), torch.rand(2, 3, *shape))==[want]

def test_a_net_that_calls_functions_stays_in_fp32_too():
    import torch.nn.functional as F
    w = torch.rand(4, 3, 3, 3, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16), device.Fp32Convs():
        a = F.conv2d(torch.rand(2, 3, 1, 1), w, None, 2, 1)
        b = F.conv2d(input=torch.rand(2, 3, 4, 4), weight=w, padding=1)
    assert (a.dtype,b.dtype)==(torch.float32,torch.bfloat16)
    a.sum().backward()
    assert w.grad.isfinite().all()

def test_small_images_train_in_bf16():
    "On a CPU with AMX, the gradients were uninitialised memory"
    from conftest import digits, learner, loaders
    from digitfast.learn.callbacks import BF16
    seen = []
    learn = learner(loaders(digits(48)), 'stride2', cbs=BF16())
    for m in learn.model.modules():
        if isinstance(m, torch.nn.Conv2d):
            m.register_forward_hook(lambda m,i,o: seen.append(o.dtype) if m.training else None)
    with learn.no_logging(): learn.fit(3, 1e-3)
    assert {torch.float32,torch.bfloat16}==set(seen) and all(torch.tensor(learn.recorder.losses).isfinite())
