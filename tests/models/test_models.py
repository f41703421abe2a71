"Tests of the registry of networks: shapes, sides, new networks, errors"
from functools import partial
import pytest, torch, torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet
from digitfast.core import DigitError
from digitfast.models.nets import arch, archs, conv, create_model, model_cost
from digitfast.learn.recipe import Recipe
from conftest import loaders

N_OUT = lambda name: 1 if name=='mlp-30-value' else 10

@pytest.mark.parametrize('name', archs)
def test_takes_images_gives_classes(name):
    m = create_model(name).eval()
    assert m(torch.randn(3,1,28,28)).shape==(3,N_OUT(name)) and archs[name].source
    assert m.config==dict(arch=name, arch_kwargs={}, n_out=10, side=28)

@pytest.mark.parametrize('side', [1,2,5,8,20,21,40,64])
@pytest.mark.parametrize('name', archs)
def test_any_side_works(name, side):
    m = create_model(name, 3, side).eval()
    assert m(torch.randn(2,1,side,side)).shape==(2,1 if name=='mlp-30-value' else 3)

def test_layers_that_leave_nothing_raise_an_error():
    with pytest.raises(DigitError, match="leave no pixel of images of 28x28 pixels.*'stride2'"):
        create_model('small', chs=(4,)*9, ks=(5,)*9, strides=(2,)*9)

def test_stride2_takes_any_side(): assert create_model('stride2', 3, 1)(torch.randn(2,1,1,1)).shape==(2,3)

def test_article_net_is_1_4_16_32_64_10_without_batch_norm():
    m = create_model('stride2')
    convs = [o for o in m.modules() if isinstance(o, nn.Conv2d)]
    assert [(o.in_channels,o.out_channels) for o in convs]==[(1,4),(4,16),(16,32),(32,64),(64,10)]
    assert (all(o.stride==(2,2) and o.bias is not None for o in convs)
            and not any('Norm' in type(o).__name__ for o in m.modules()))

def test_fastbook_net_has_batch_norm_and_a_first_kernel_of_5():
    convs = [o for o in create_model('fastbook').modules() if isinstance(o, nn.Conv2d)]
    assert ([(o.in_channels,o.out_channels) for o in convs]==[(1,8),(8,16),(16,32),(32,64),(64,10)]
            and convs[0].kernel_size==(5,5))
    assert sum(isinstance(o, nn.BatchNorm2d) for o in create_model('fastbook').modules())==5

def test_each_call_is_a_fresh_net():
    a,b = create_model('small'),create_model('small')
    assert not {p.data_ptr() for p in a.parameters()} & {p.data_ptr() for p in b.parameters()}
    torch.manual_seed(1); a = create_model('small')
    torch.manual_seed(1); b = create_model('small')
    assert all(torch.equal(x, y) for x,y in zip(a.parameters(), b.parameters()))

def test_arguments_and_functions():
    m = create_model('stride2', 3, 12, chs=(2,3))
    assert m.config['arch_kwargs']==dict(chs=(2,3)) and m(torch.randn(1,1,12,12)).shape==(1,3)
    def mine(n_out, side, width=4):
        return nn.Sequential(nn.Flatten(), nn.Linear(side*side, width), nn.Linear(width, n_out))
    assert create_model(mine, 3, 5, width=2)(torch.randn(1,1,5,5)).shape==(1,3)

@pytest.mark.parametrize('o', ['resnet9000', '', None, 3])
def test_unknown_refused(o):
    with pytest.raises(DigitError, match='unknown architecture') as e: create_model(o)
    assert 'stride2' in str(e.value)

def test_a_net_made_of_a_registered_one_is_fresh():
    "Each call builds a new network, and returning the same network twice raises an error"
    def bare(n_out=10, side=28): return nn.Sequential(create_model('small', n_out, side), nn.Identity())
    def tuned(n_out=10, side=28): return create_model('small', n_out, side)
    for f in bare,tuned: assert create_model(f) is not create_model(f)
    net = create_model('small')
    with pytest.raises(DigitError, match='same net twice'): create_model(lambda n_out, side: net)
    body = nn.Linear(4, 2)
    def around(n_out, side): return nn.Sequential(nn.Flatten(), body)  # another net each time, of the same weights
    create_model(around)
    with pytest.raises(DigitError, match='same net twice'): create_model(around)

def test_built_net_refused():
    with pytest.raises(DigitError, match='already built'): create_model(nn.Linear(2,2))

def test_register_and_use(monkeypatch):
    monkeypatch.setattr('digitfast.models.nets.archs', archs)
    try:
        @arch('mine', 'a test')
        def mine(n_out=10, side=28): return nn.Sequential(nn.Flatten(), nn.Linear(side*side, n_out))
        assert create_model('mine', 4, 3)(torch.randn(1,1,3,3)).shape==(1,4) and model_cost('mine')==(7850, 7840)
    finally: archs.pop('mine')

def test_cost():
    assert model_cost('mlp-30')==(784*30+30+30*10+10, 784*30+300)
    p,macs = model_cost('stride2')
    assert p==sum(o.numel() for o in create_model('stride2').parameters())
    assert macs==14*14*4*9 + 7*7*16*4*9 + 4*4*32*16*9 + 2*2*64*32*9 + 10*64*9

def test_conv():
    assert ([type(o).__name__ for o in conv(1, 2, norm=True)]==['Conv2d','BatchNorm2d','ReLU']
            and conv(1, 2, norm=True)[0].bias is None)
    assert (len(conv(1, 2, act=False))==1 and conv(1, 2)(torch.randn(1,1,9,9)).shape==(1,2,5,5)
            and conv(1, 2, 5, 2, 0)(torch.randn(1,1,9,9)).shape==(1,2,3,3))

# ---- builders of other packages

class Flat(nn.Module):
    "A network of 3 classes; its subclasses accept arguments in the ways that people write them"
    def __init__(self, n=3):
        super().__init__()
        self.lin = nn.Linear(64, n)
    def forward(self, x): return self.lin(x.flatten(1))
class Plain(Flat):
    def __init__(self): super().__init__()
class Widths(Flat):
    def __init__(self, hidden=128, ps=.5):
        super().__init__()
        assert (hidden,ps)==(128,.5)
class Classes(Flat):
    def __init__(self, in_channels=3, num_classes=10):
        super().__init__(num_classes)
        assert in_channels==1
class One(Flat):
    def __init__(self, c, width=8):
        super().__init__(c)
        assert width==8
class Both(Flat):
    def __init__(self, c, s):
        super().__init__(c)
        assert s==8
def timm_create_model(model_name, pretrained=False, pretrained_cfg=None, **kwargs):
    assert model_name=='resnet' and not pretrained
    return resnet(**kwargs)
def resnet(*, weights=None, progress=True, **kwargs):
    assert weights is None and progress
    return ResNet(BasicBlock, [1,1,1,1], **kwargs)

BUILDERS = dict(plain=Plain, widths=Widths, classes=Classes, one=One, both=Both, function=lambda n,s: Flat(n),
                words=lambda *args: Both(*args), torchvision=resnet, timm=partial(timm_create_model, 'resnet'),
                timm_by_name=partial(timm_create_model, model_name='resnet'),
                resnet=partial(ResNet, BasicBlock, [1,1,1,1]))
@pytest.mark.parametrize('name', BUILDERS)
def test_builders_are_called_as_they_are_written(name):
    """The number of classes never becomes `weights`, `pretrained` or a width, and a network for colours accepts grey
    images"""
    net = create_model(BUILDERS[name], 3, 8).eval()
    assert net(torch.rand(2,1,8,8)).shape==(2,3)
    assert Recipe(BUILDERS[name]).learner(loaders()).model(torch.rand(2,1,8,8)).shape==(2,3)

def test_torchvision_s_builder_downloads_nothing(monkeypatch):
    def download(*args, **kwargs): raise AssertionError('a download')
    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', download)
    net = create_model(torchvision.models.resnet18, 10, 28)
    assert net.conv1.in_channels==1 and net.fc.out_features==10 and net.config['arch']=='resnet18 (own)'

def test_a_grey_image_is_three_equal_channels():
    torch.manual_seed(0)
    colour = resnet(num_classes=3).eval()
    torch.manual_seed(0)
    grey = create_model(resnet, 3, 8).eval()
    x = torch.rand(2,1,8,8)
    assert torch.allclose(grey(x), colour(x.expand(-1,3,-1,-1)), atol=1e-5)
