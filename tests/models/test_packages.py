"Tests of networks of timm and torchvision: sizes, limits, names in a stranger's file, and networks of vision_learner"
import json, sys, time
import numpy as np, pytest, timm, torch, torchvision
from fastai.vision.all import CrossEntropyLossFlat, Learner, resnet18, vision_learner
from torch import nn
from conftest import csvs, digits, loaders
from digitfast.core import DigitError, RunError
from digitfast.models.nets import create_model, on_meta
from digitfast.learn.learner import digit_learner
from digitfast.learn.predict import predict_rows
from digitfast.learn.recipe import Recipe
from digitfast.runs.run import Run
from digitfast.runs.weights import export_onnx, load_net, model_checksum, save_net
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.save import save_run
from digitfast.tasks.train import train

TIMM,TV = 'timm:test_resnet','torchvision:shufflenet_v2_x0_5'
def quiet(*args): pass

def refused(f, *texts, error=DigitError):
    with pytest.raises(error) as e: f()
    assert '\n' not in str(e.value) and len(str(e.value))<500 and all(o in str(e.value) for o in texts), str(e.value)

# ---- networks

@pytest.mark.parametrize('name', [TIMM, 'timm:test_vit', TV])
def test_a_network_of_a_package_takes_grey_images_and_is_fresh(name):
    net = create_model(name, 3).eval()
    assert net(torch.rand(2,1,28,28)).shape==(2,3)
    assert net.config==dict(arch=name, arch_kwargs=dict(size=64), n_out=3, side=28)
    assert not {id(o) for o in net.parameters()}&{id(o) for o in create_model(name, 3).parameters()}

SIZES = [(TIMM,28,None,64), (TIMM,96,None,96), (TIMM,28,28,28), (TIMM,28,40,40)]
SLOW_SIZES = [('timm:crossvit_tiny_240',28,None,240), ('torchvision:vit_b_32',28,None,64),
              ('torchvision:inception_v3',28,None,96), ('torchvision:maxvit_t',28,None,224),
              ('timm:vit_tiny_patch16_224',28,None,64), ('torchvision:regnet_y_400mf',28,None,64)]

@pytest.mark.parametrize('name,side,size,expected',
                         [*SIZES, *(pytest.param(*o, marks=pytest.mark.slow) for o in SLOW_SIZES)])
def test_an_image_is_enlarged_to_what_the_network_needs(name, side, size, expected):
    with on_meta(): net = create_model(name, 3, side, size=size)
    seen = []
    inner = net if expected==side else net[-1]
    inner.register_forward_pre_hook(lambda m, x: seen.append(x[0].shape[-1]))
    net.to('meta').eval()(torch.empty(1, 1, side, side, device='meta'))
    assert net.config['arch_kwargs']['size']==expected and seen==[expected]

def test_the_grey_channel_is_repeated_for_torchvision_and_not_for_timm():
    firsts = [next(o for o in create_model(k).modules() if isinstance(o, nn.Conv2d)) for k in (TV,TIMM)]
    assert [o.in_channels for o in firsts]==[3,1]

@pytest.mark.slow
def test_a_network_with_several_outputs_in_training_has_one():
    with on_meta(): net = create_model('torchvision:googlenet', 3)
    assert net.to('meta').train()(torch.empty(2, 1, 28, 28, device='meta')).shape==(2,3)

# ---- names and arguments

@pytest.mark.parametrize('name', ['timm:hf-hub:somebody/net', 'timm:local-dir:net', 'timm:../net', 'timm:/net.pth',
    'timm:', 'torchvision:https://x.org/net', 'torchvision:resnet18.IMAGENET1K_V1', 'timm:resnet18.a.b',
    'timm:resnet18\n', 'fastai:hf-hub:x', 'timm:timm:resnet18', 'timm:hf_hub:x'])
def test_nothing_is_loaded_from_elsewhere(name, monkeypatch):
    monkeypatch.setattr(timm, 'create_model', None)
    refused(lambda: Recipe(arch=name), 'expected a network of the package itself')

@pytest.mark.parametrize('name,near', [('timm:resnet10x','timm:resnet10t'), ('torchvision:shufflenet_x0_5', TV),
    ('timm:zzzzzzzz','1,'), ('fastai:resnet19','fastai:resnet18'), ('fastai:timm:resnet10x','fastai:timm:resnet10t')])
def test_an_unknown_name_gets_the_nearest(name, near):
    refused(lambda: Recipe(arch=name), 'unknown architecture', near, 'list_models()')

def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    refused(lambda: Recipe(arch=TIMM), "pip install 'digitfast[timm]'")

RANGES = [(TV, dict(size=4), 'size is'), (TV, dict(size=10**9), 'whole number from 8 to 512'),
    (TV, dict(size='28'), 'size is'), (TIMM, dict(drop_rate=2), 'drop_rate is'),
    (TIMM, dict(pretrained='yes'), 'pretrained is'), ('fastai:resnet18', dict(lin_ftrs=[0]), 'lin_ftrs is'),
    ('torchvision:alexnet', dict(size=9), "can't train on images of 9x9 pixels"),
    ('timm:vgg11', dict(drop_path_rate=.1), "can't train on images")]

@pytest.mark.parametrize('name,kwargs,text', RANGES)
def test_arguments_have_a_range(name, kwargs, text): refused(lambda: create_model(name, **kwargs), text)

@pytest.mark.parametrize('kwargs', [dict(checkpoint_path='net.pth'), dict(pretrained_cfg={}), dict(features_only=True),
                                    dict(num_classes=3), dict(weights='DEFAULT')])
def test_other_arguments_of_the_package_are_unknown(kwargs):
    for name in TIMM,TV,'fastai:resnet18':
        refused(lambda: Recipe(arch=name, arch_kwargs=kwargs), 'arch_kwargs')

@pytest.mark.parametrize('name', ['torchvision:vit_l_32',
    pytest.param('timm:eva_giant_patch14_224', marks=pytest.mark.slow)])
def test_too_large_a_network_is_not_built(name):
    t = time.process_time()
    refused(lambda: create_model(name), 'parameters, expected 268,435,456 at most')
    assert time.process_time()-t<5 # to fill so many numbers takes longer

# ---- pretrained weights

def test_pretrained_weights_only_if_asked_for(monkeypatch):
    loaded = []
    def load(model, **kwargs): loaded.append(kwargs['pretrained_cfg']['tag'])
    monkeypatch.setattr('timm.models._builder.load_pretrained', load)
    net = create_model(TIMM)
    assert not loaded and not hasattr(net, 'pretrained')
    net = create_model(f'{TIMM}.r160_in1k', pretrained=True)
    assert loaded==['r160_in1k'] and net.pretrained
    assert net.config['arch']==TIMM and net.config['arch_kwargs']==dict(size=64) # a file has its own weights
    refused(lambda: create_model(f'{TIMM}.r160_in1k'), 'names pretrained weights')
    refused(lambda: create_model(f'{TIMM}.other', pretrained=True), "weights can't be loaded")

def test_pretrained_weights_keep_the_versions_of_their_layers(monkeypatch):
    big = torchvision.models.mnasnet0_5(num_classes=1000).state_dict()
    class Weights: get_state_dict = staticmethod(lambda **kw: big)
    monkeypatch.setattr('torchvision.models.get_model_weights', lambda name: type('Enum', (), dict(DEFAULT=Weights)))
    first = big['layers.0.weight'].clone()
    assert create_model('torchvision:mnasnet0_5', pretrained=True)[-1].layers[0].weight.equal(first)

def test_torchvisions_pretrained_weights_are_those_of_the_body(monkeypatch):
    big = torchvision.models.shufflenet_v2_x0_5(num_classes=1000).state_dict()
    class Weights: get_state_dict = staticmethod(lambda **kw: big)
    monkeypatch.setattr('torchvision.models.get_model_weights', lambda name: type('Enum', (), dict(DEFAULT=Weights)))
    net = create_model(TV, pretrained=True)
    own = net[-1].state_dict()
    assert torch.equal(own['conv1.0.weight'], big['conv1.0.weight']) and own['fc.weight'].shape==(10,1024)
    assert net.pretrained and 'pretrained' not in net.config['arch_kwargs']

@pytest.mark.parametrize('name', [TIMM, TV])
def test_without_a_network_pretrained_weights_are_an_error(name, monkeypatch):
    def fail(*args, **kwargs): raise ConnectionError('no route\nto host')
    monkeypatch.setattr('timm.models._builder.load_pretrained', fail)
    monkeypatch.setattr('torchvision.models.get_model_weights', fail)
    refused(lambda: create_model(name, pretrained=True), "pretrained weights can't be loaded (ConnectionError",
            'leave out pretrained')

# ---- runs

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return csvs(tmp_path_factory.mktemp('data'), n=60)

@pytest.fixture(scope='module')
def run(folder, tmp_path_factory):
    lines = []
    run = train(folder, out=tmp_path_factory.mktemp('runs')/'r', arch=TIMM, arch_kwargs=dict(size=32), epochs=1, bs=16,
                valid_pct=.2, device='cpu', say=lines.append)
    assert 'note: the network resizes images of 8x8 pixels to 32x32' in lines
    return run

def test_a_run_predicts_as_it_was_measured(run, folder):
    "The run is loaded without an import, and its control rows match"
    rows = digits().drop(columns='label').iloc[run.predictions().rows]
    assert np.allclose(predict_rows(run.learner('cpu'), rows), run.predictions().probs, atol=1e-5)
    assert run.metrics['arch']==TIMM and run.metrics['canary_rows']>0 and 'no_model' not in run.metrics

@pytest.mark.slow
def test_members_of_both_packages_are_one_network(folder, tmp_path):
    recipe = Recipe(arch=TV, arch_kwargs=dict(size=32), epochs=1, bs=16, valid_pct=.2, members=2,
                    vary=({}, dict(arch=TIMM)))
    run = train(folder, recipe, tmp_path/'r', device='cpu', say=quiet)
    nets = load_net(run, 'cpu').model.models
    assert [o.config['arch'] for o in nets]==[TV,TIMM] and [o.config['arch_kwargs']['size'] for o in nets]==[32,32]

@pytest.fixture
def command(capsys):
    from digitfast.cli import main
    def run_words(*words):
        with pytest.raises(SystemExit) as e: main(list(map(str, words)))
        return e.value.code,''.join(capsys.readouterr())
    return run_words

def test_the_command_names_what_is_near(command, folder, tmp_path):
    code,out = command('train', folder, '--arch', 'timm:resnet10x', '--out', tmp_path/'q')
    assert code==1 and "error: unknown architecture 'timm:resnet10x': did you mean timm:" in out.splitlines()[-1]
    code,out = command('train', folder, '--arch', 'resnet34', '--out', tmp_path/'q')
    assert code==2 and 'torchvision:NAME' in ' '.join(out.split()) and not (tmp_path/'q').exists()
    assert 'timm:NAME' in command('models')[1]

@pytest.mark.slow
def test_the_command_trains_one_and_trains_it_again(command, folder, tmp_path):
    code,out = command('train', folder, '--arch', TIMM, '--out', tmp_path/'r', '--set', "arch_kwargs={'size':32}",
                       '--epochs', '1', '--bs', '16', '--valid-pct', '.2', '--device', 'cpu')
    assert code==0 and f'{TIMM}, ' in out
    code,out = command('train', '--config', tmp_path/'r', '--out', tmp_path/'again')
    assert code==0 and Run(tmp_path/'again').metrics['arch']==TIMM

def test_layers_with_versions_are_saved_loaded_and_resumed(folder, tmp_path):
    "MNASNet of torchvision refuses weights without the version of its layers, and safetensors keep none"
    def stop(i, n):
        if i>n//2: raise KeyboardInterrupt
    kw = dict(arch='torchvision:mnasnet0_5', arch_kwargs=dict(size=32), epochs=2, bs=16, valid_pct=.2, device='cpu')
    with pytest.raises(KeyboardInterrupt): train(folder, out=tmp_path/'r', tick=stop, say=quiet, **kw)
    run = train(out=tmp_path/'r', resume=True, say=quiet)
    rows = digits().drop(columns='label').iloc[run.predictions().rows]
    assert len(run.history())==2
    assert np.allclose(predict_rows(run.learner('cpu'), rows), run.predictions().probs, atol=1e-5)

# ---- a stranger's file

@pytest.fixture
def model(run, tmp_path):
    "Write a model folder whose `model.json` has other values, with the right checksum"
    def write(**changes):
        info = {**json.loads((run/'model'/'model.json').read_text()), **changes}
        (tmp_path/'model.json').write_text(json.dumps(dict(info, check=model_checksum(info))))
        (tmp_path/'model.safetensors').write_bytes((run/'model'/'model.safetensors').read_bytes())
        return tmp_path
    return write

@pytest.mark.parametrize('changes,text', [
    (dict(arch='timm:hf-hub:somebody/net'), 'a network of the package itself'),
    (dict(arch='torchvision:vit_l_32'), '268,435,456'),
    (dict(arch='timm:nothing_like_it'), 'unknown architecture'),
    (dict(arch='timm:test_vit'), 'so it belongs to another model'),
    (dict(arch_kwargs=dict(pretrained=True)), 'a saved model has its own weights'),
    (dict(arch_kwargs=dict(checkpoint_path='/dev/zero')), "can't be built"),
    (dict(arch_kwargs=dict(size=10**9)), 'from 8 to 512'), (dict(arch_kwargs=dict(size=[32])), "can't be built"),
    pytest.param(dict(arch='timm:vit_base_patch8_224', arch_kwargs=dict(size=512)), 'multiplications for one image',
                 marks=pytest.mark.slow)])
def test_what_a_strangers_model_may_not_name(model, changes, text, monkeypatch):
    def fail(*args, **kwargs): raise AssertionError('loads')
    monkeypatch.setattr('timm.models._builder.load_pretrained', fail)
    folder = model(**changes)
    refused(lambda: load_net(folder, 'cpu'), text, error=RunError)

def test_a_saved_network_of_timm_needs_timm(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    refused(lambda: load_net(model(), 'cpu'), 'model.json', "pip install 'digitfast[timm]'", error=RunError)

# ---- vision_learner

def fitted(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    return learn

def with_resnet18(**kw): return vision_learner(loaders(), resnet18, pretrained=False, n_in=1, **kw)

NETS = dict(plain=(lambda: with_resnet18(), dict(arch='fastai:resnet18', arch_kwargs={})),
    head=(lambda: with_resnet18(lin_ftrs=[8], concat_pool=False),
          dict(arch='fastai:resnet18', arch_kwargs=dict(lin_ftrs=[8], concat_pool=False))),
    timm=(lambda: vision_learner(loaders(), 'test_resnet', pretrained=False, n_in=1),
          dict(arch='fastai:timm:test_resnet', arch_kwargs={})),
    alone=(lambda: Learner(loaders(), timm.create_model('test_resnet', in_chans=1, num_classes=3),
                           loss_func=CrossEntropyLossFlat()), dict(arch=TIMM, arch_kwargs=dict(size=8))))

@pytest.mark.parametrize('kind', ['alone', # the test of save_run below has timm's
    *(pytest.param(o, marks=pytest.mark.slow) for o in ('timm','plain','head'))])
def test_a_network_of_vision_learner_is_saved_without_a_config(kind, tmp_path):
    learn = fitted(NETS[kind][0]())
    save_net(learn, tmp_path)
    info,rows = json.loads((tmp_path/'model.json').read_text()),digits(9, seed=3).drop(columns='label')
    assert {k:info[k] for k in ('arch','arch_kwargs')}==NETS[kind][1] and not hasattr(learn.model, 'config')
    assert np.allclose(predict_rows(load_net(tmp_path, 'cpu'), rows), predict_rows(learn, rows), atol=1e-5)

def test_save_run_names_the_network_of_vision_learner(tmp_path):
    df = digits()
    learn = fitted(vision_learner(loaders(df), 'test_resnet', pretrained=False, n_in=1))
    run = save_run(learn, df, tmp_path/'r', say=quiet)
    assert run.metrics['arch']=='fastai:timm:test_resnet' and 'no_model' not in run.metrics
    assert np.allclose(predict_rows(learn, df.drop(columns='label')[:9]),
                       predict_rows(run.learner('cpu'), df.drop(columns='label')[:9]), atol=1e-5)

def with_head(**kw): return vision_learner(loaders(), 'test_resnet', pretrained=False, n_in=1, **kw)
OTHER = dict(head=lambda: with_head(bn_final=True), activation=lambda: replaced(with_head()))
def replaced(learn):
    "Return the same weights with another function"
    learn.model[0].model.layer1[0].act2 = nn.Tanh()
    return learn

@pytest.mark.parametrize('kind', OTHER)
def test_a_network_that_no_name_builds_raises_an_error(kind, tmp_path):
    learn = fitted(OTHER[kind]())
    refused(lambda: save_net(learn, tmp_path/'m'), 'Write @arch above')
    assert not (tmp_path/'m').exists()

@pytest.mark.slow
@pytest.mark.parametrize('name', [TIMM, TV, 'timm:test_vit', 'timm:test_convnext', 'torchvision:mobilenet_v3_small'])
def test_it_becomes_onnx(name, tmp_path):
    assert export_onnx(fitted(digit_learner(loaders(), name)), tmp_path/'net.onnx').stat().st_size
