"The device: a GPU is believed in once it has taken a training step"
import pytest, torch
from digitfast import device
from digitfast.core import DigitError
from digitfast.device import device_error, digit_device

@pytest.fixture
def gpu(monkeypatch):
    "torch says that there is a GPU of a kind; its training step says `what`, or raises it"
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
    "By `auto` it is passed over, with a note; by name it is refused; in one line, and the seeds stay as they were"
    gpu(kind, what)
    torch.manual_seed(0)
    a = torch.rand(1)
    torch.manual_seed(0)
    assert digit_device('auto').type=='cpu' and digit_device().type=='cpu'
    assert "can't be used" in str(recwarn[0].message) and '\n' not in str(recwarn[0].message)
    with pytest.raises(DigitError, match=f"device '{kind}' can't be used: .+ Use 'auto'") as e: digit_device(kind)
    assert '\n' not in str(e.value) and torch.equal(torch.rand(1), a)

@pytest.mark.parametrize('kind', ['cuda','mps'])
def test_a_gpu_that_works(kind, gpu, recwarn):
    gpu(kind, None)
    assert digit_device('auto').type==kind and device_error(kind) is None and not recwarn
    assert digit_device('mps' if kind=='mps' else 'cpu').type in ('mps','cpu')

def test_no_gpu(gpu, recwarn):
    "Where there is none, nothing is said"
    gpu('none', None)
    assert digit_device('auto').type=='cpu' and not recwarn
    for kind,says in (('cuda','no CUDA GPU'), ('mps','no Apple GPU'), ('mps:0','no Apple GPU')):
        with pytest.raises(DigitError, match=f"torch finds {says}"): digit_device(kind)

@pytest.mark.parametrize('what', ['tpu','meta','xla','cpu:x','','CUDA',-5,3.5,[]], ids=repr)
def test_no_device(what):
    with pytest.raises(DigitError, match="use 'auto', 'cpu', 'cuda' or 'mps'|can't be used"): digit_device(what)

def test_one_too_many(gpu, monkeypatch):
    gpu('cuda', None)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert digit_device('cuda:1').index==1
    with pytest.raises(DigitError, match="only 2 GPU"): digit_device('cuda:2')

@pytest.mark.parametrize('broken,says', [(lambda net: net[-1].weight.data.fill_(float('nan')), 'loss'),
                                         (lambda net: net[-1].bias.requires_grad_(False), 'moves nothing')])
def test_the_step_notices(broken, says, monkeypatch):
    "A loss that is no number, and weights that stay, are told of"
    make = torch.nn.Sequential
    def sequential(*layers):
        net = make(*layers)
        broken(net)
        return net
    monkeypatch.setattr(device.nn, 'Sequential', sequential)
    assert says in device._train_step('cpu')
