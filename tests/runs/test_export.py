"Tests of saved models: they load unchanged, and nothing hostile is accepted, executed or allocated"
import errno, hashlib, json, os, pickle, shutil, struct, time, warnings
import numpy as np, pytest, torch
from safetensors.torch import load_file, save_file
from digitfast.core import DigitError, RunError
from digitfast.data.block import DigitDataLoaders
from digitfast.models.nets import archs
from digitfast.learn.callbacks import BF16, EMA
from digitfast.learn.learner import digit_learner
from digitfast.learn.loss import losses
from digitfast.data.ranges import to_bytes
from digitfast.data.reading import Reading
from digitfast.learn.recipe import Recipe
from digitfast.runs.calibration import calibrate
from digitfast.runs.weights import load_net, save_net, export_onnx, export_pickle
from digitfast.device import versions
from digitfast.core import write_file
from digitfast.learn.predict import predict_rows
from conftest import digits, every

def learner(df=None, arch='fastbook', **kw):
    learn = digit_learner(DigitDataLoaders.from_df(digits() if df is None else df, bs=16, device='cpu'), arch, **kw)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    return learn

@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    "Return the folder of a saved model. Do not change it"
    return save_net(learner(), tmp_path_factory.mktemp('saved')/'model')

@pytest.fixture
def folder(saved, tmp_path):
    "Return a copy of the saved model, which a test may damage"
    return shutil.copytree(saved, tmp_path/'model')

def info(folder): return json.loads((folder/'model.json').read_text())
def put(folder, raw=None, seal=True, **changes):
    "Change `model.json`; with `seal`, compute its checksum again, as an attacker would"
    d = {k:v for k,v in {**info(folder), **changes}.items() if v is not ...}
    if seal and 'check' in d: d['check'] = check_of(d)
    (folder/'model.json').write_text(json.dumps(d) if raw is None else raw)
    return folder
def check_of(d):
    from digitfast.runs.weights import model_checksum
    return model_checksum(d)
def weights(folder, tensors=None, data=None):
    "Replace the weights by `tensors` or bytes, with the right sha256"
    f = folder/'model.safetensors'
    save_file(tensors, f) if data is None else f.write_bytes(data)
    return put(folder, sha256=hashlib.sha256(f.read_bytes()).hexdigest())

def refused(path, *says, seconds=5):
    t = time.perf_counter()
    with pytest.raises(RunError) as e: load_net(path, device='cpu')
    msg = str(e.value)
    assert time.perf_counter()-t<seconds and '\n' not in msg and len(msg)<600, msg
    for o in says: assert o in msg, (o, msg)
    return msg

# ---- round trip

@pytest.mark.parametrize('arch', [o for o in archs if o!='resnet18'])
def test_round_trip(arch, tmp_path):
    side = 24 if arch in ('small','residual') else 8
    loss = dict(loss_func=losses['value'](3, 0.)) if arch=='mlp-30-value' else {} # one output for the class's number
    learn = digit_learner(DigitDataLoaders.from_df(digits(side=side), bs=16, device='cpu'), arch, **loss)
    if loss: learn.model.config['loss'] = 'value' # as a recipe names it
    other = load_net(save_net(learn, tmp_path/'m'), device='cpu')
    test = digits(30, side=side, seed=9).drop(columns='label')
    assert np.array_equal(predict_rows(learn, test), predict_rows(other, test))
    assert all(torch.equal(a, b) for a,b in zip(learn.model.state_dict().values(), other.model.state_dict().values()))

@pytest.mark.parametrize('kw', [
    dict(classes=['ka','ki','ku']),
    dict(classes=['<script>alert(1)</script>','a,b','é "x"']),
    dict(side=5),
    dict(prefix='px_'),
], ids='text odd side prefix'.split())
def test_round_trip_of_classes_and_columns(kw, tmp_path):
    df = digits(**kw)
    learn = learner(df, 'stride2', arch_kwargs=dict(chs=[3,5]))
    other = load_net(save_net(learn, tmp_path/'m'), device='cpu')
    assert list(other.dls.vocab)==list(learn.dls.vocab)
    assert other.dls.side==learn.dls.side and other.dls.stats==learn.dls.stats
    row = df.iloc[4]
    with learn.no_bar(), other.no_bar(): (a,_,p),(b,_,q) = learn.predict(row),other.predict(row)
    assert a==b and torch.equal(p, q)

def test_round_trip_of_numbers_that_are_no_digits(tmp_path):
    df = digits()
    df['label'] = df.label.map({0:3, 1:11, 2:7})
    other = load_net(save_net(learner(df), tmp_path/'m'), device='cpu')
    assert list(other.dls.vocab)==[3,7,11] and other.predict(df.iloc[0])[0] in ('3','7','11',3,7,11)

def test_loaded_model_has_no_rows_and_runs_as_it_did(saved):
    learn = load_net(saved, device='cpu')
    assert len(learn.dls.train_ds)==0
    a = predict_rows(learn, digits())
    assert a.shape==(60,3) and np.array_equal(a, predict_rows(load_net(saved, device='cpu'), digits()))

@pytest.mark.parametrize('cbs', [EMA(.9), BF16()], ids=['ema','bf16'])
def test_round_trip_of_averaged_and_half_precision(cbs, tmp_path):
    # at 8x8, torch's bf16 gradient of a 3x3 kernel on one padded pixel can hold NaN
    learn = learner(digits(side=20), cbs=cbs)
    other = load_net(save_net(learn, tmp_path/'m'), device='cpu')
    assert all(torch.equal(a, b) for a,b in zip(learn.model.state_dict().values(), other.model.state_dict().values()))

def test_files_are_safetensors_and_json_and_small(saved):
    assert sorted(o.name for o in saved.iterdir())==['model.json','model.safetensors']
    d = info(saved)
    assert [d[k] for k in ('format','arch','classes','side')]==[1,'fastbook',[0,1,2],8]
    assert len(d['columns'])==64 and d['versions'].keys()>={'digitfast','torch','fastai'}
    f = saved/'model.safetensors'
    assert set(load_file(f))==set(digit_learner_state()) and d['sha256']==hashlib.sha256(f.read_bytes()).hexdigest()

def digit_learner_state():
    from digitfast.models.nets import create_model
    return create_model('fastbook', 3, 8).state_dict()

def test_run_directory_or_model_folder(tiny_run):
    run,_ = tiny_run
    a,b = load_net(run, device='cpu'),load_net(run/'model', device='cpu')
    assert torch.equal(*[next(o.model.parameters()) for o in (a,b)])
    assert load_net(str(run), device='cpu').dls.side==8

def test_unregistered_net_is_not_saved(tmp_path):
    def mine(n_out, side): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(side*side, n_out))
    learn = digit_learner(DigitDataLoaders.from_df(digits(), bs=16, device='cpu'), mine)
    with pytest.raises(DigitError, match="'mine', expected a registered one"): save_net(learn, tmp_path/'m')
    assert not (tmp_path/'m').exists()

def test_shared_memory_and_views_save(tmp_path):
    learn = learner()
    with torch.no_grad():
        for m in learn.model.modules():
            if isinstance(m, torch.nn.Conv2d): m.weight.data = m.weight.data.transpose(2,3)   # not contiguous
    other = load_net(save_net(learn, tmp_path/'m'), device='cpu')
    assert all(torch.equal(a, b) for a,b in zip(learn.model.state_dict().values(), other.model.state_dict().values()))

# ---- hostile models

class Bomb:
    def __init__(self, f): self.f = str(f)
    def __reduce__(self): return os.system, (f'touch {self.f}',)

def torch_bomb(f):
    import io
    b = io.BytesIO()
    torch.save(Bomb(f), b)
    return b.getvalue()

@pytest.mark.parametrize('form', ['pickle','torch'])
@pytest.mark.parametrize('name', ['m.pkl','m.pth','m.pt','m.bin','m.PKL','model.safetensors','model.json','both',
                                  'model','run/model'])
def test_pickle_is_never_run(name, form, folder, tmp_path):
    mark = tmp_path/'executed'
    data = pickle.dumps(Bomb(mark)) if form=='pickle' else torch_bomb(mark)
    if name in ('model.safetensors','model.json'):
        path = folder
        if 'safe' in name: weights(folder, data=data)
        else: (folder/name).write_bytes(data)
    elif name=='both': [(folder/o).write_bytes(data) for o in ('model.json','model.safetensors')]; path = folder
    elif name=='run/model': (tmp_path/'run').mkdir(); (tmp_path/name).write_bytes(data); path = tmp_path/'run'
    else: path = tmp_path/'d'/name; path.parent.mkdir(); path.write_bytes(data)
    msg = refused(path)
    if name.lower() in ('m.pkl','m.pth','m.pt'): assert 'pickle' in msg and 'load_learner' in msg
    assert not mark.exists()

def deep(n): return '{"a":'*n+'1'+'}'*n
JSONS = dict(
    empty='',
    space=' ',
    text='hello',
    list='[]',
    number='1',
    null='null',
    noformat='{}',
    deep=deep(100_000),
    deeplist='['*100_000,
    half='{"format": 1, "arch": "fast',
    long='{"format": '+'9'*5000+'}',
    nul='\0'*100,
    strformat='{"format": "1"}',
    nan='NaN',
    boolean='{"format": true}',
)
@pytest.mark.parametrize('name', JSONS)
def test_json_that_is_none(name, folder): refused(put(folder, raw=JSONS[name]), 'model.json')

@pytest.mark.parametrize('data', [
    b'\xff\xfe{\x00}\x00',
    b'\x80\x81',
    b'{"format": 1, "arch": "\xff"}',
    b'\x1f\x8b'+b'\0'*50,
], ids='utf16 bytes latin gzip'.split())
def test_json_that_is_not_utf8(data, folder):
    (folder/'model.json').write_bytes(data)
    refused(folder, 'model.json')

def test_json_that_is_huge(folder):
    with open(folder/'model.json', 'r+b') as f: f.truncate(2**40)   # a sparse file: 1 TB
    refused(folder, 'bytes')

FIELDS = dict(
    nan=(dict(versions=float('nan')), 'expected JSON'),
    newer=(dict(format=2), 'Upgrade'),
    newest=(dict(format=10**30), 'Upgrade'),
    older=(dict(format=0), 'format'),
    negative=(dict(format=-1), 'format'),
    noarch=(dict(arch=...), 'arch is missing'),
    arch=(dict(arch='evil'), 'evil'),
    archnum=(dict(arch=3), "arch is '3', expected text"),
    archpath=(dict(arch='os.system'), 'os.system'),
    archlong=(dict(arch='x'*10**5), 'xxx'),
    kwargs=(dict(arch_kwargs=dict(evil=1)), 'evil'),
    kwlist=(dict(arch_kwargs=[1]), 'arch_kwargs'),
    kwhuge=(dict(arch_kwargs=dict(chs=[10**9]*4)), None),
    kwbig=(dict(arch_kwargs=dict(chs=[30_000]*4)), None),
    kwzero=(dict(arch_kwargs=dict(chs=[0,0,0,0])), None),
    kwneg=(dict(arch_kwargs=dict(chs=[-1]*4)), None),
    kwmany=(dict(arch_kwargs=dict(chs=[1]*990)), None),
    kwmore=(dict(arch_kwargs=dict(chs=[1]*10**6)), 'at most 2,000 characters'),
    kwtext=(dict(arch_kwargs=dict(chs='abcd')), None),
    kwnested=(dict(arch_kwargs=dict(chs={'a':[1]})), None),
    kwnan=(dict(arch_kwargs=dict(chs=[float('nan')]*4)), None),
    kwside=(dict(arch_kwargs=dict(side=3)), None),
    loss=(dict(loss='evil'), 'evil'),
    noloss=(dict(loss=None), 'loss is missing'),
    classes=(dict(classes=[]), None),
    oneclass=(dict(classes=[1]), None),
    fewer=(dict(classes=[0,1]), 'weight'),
    more=(dict(classes=[0,1,2,3]), 'weight'),
    same=(dict(classes=[1,1,2]), None),
    mixed=(dict(classes=[1,'a',2]), None),
    floats=(dict(classes=[.5,1.5,2.5]), None),
    nested=(dict(classes=[[1],[2],[3]]), None),
    dicts=(dict(classes=[{},{},{}]), None),
    nulls=(dict(classes=[None]*3), None),
    bools=(dict(classes=[True,False,2]), None),
    manyclasses=(dict(classes=list(range(20_000))), None),
    hugeclass=(dict(classes=[0,1,10**40]), None),
    negclass=(dict(classes=[-1,0,1]), None),
    side=(dict(side=9), None),
    sidezero=(dict(side=0,columns=[]), None),
    sideneg=(dict(side=-8), None),
    sidehuge=(dict(side=10**6), None),
    sidefloat=(dict(side=8.), "side is '8.0', expected a whole number"),
    sidebool=(dict(side=True), "side is 'True', expected a whole number"),
    sidetext=(dict(side='8'), 'side is'),
    mean=(dict(mean=float('nan')), None),
    inf=(dict(mean=float('inf')), None),
    std=(dict(std=0), None),
    stdneg=(dict(std=-1), None),
    stdnan=(dict(std=float('nan')), None),
    meantext=(dict(mean='0.1'), 'mean is'),
    meanbig=(dict(mean=10**400), None),
    stdbig=(dict(std=10**400), None),
    stdbool=(dict(std=True), "std is 'True', expected a number above 0 to 1"),
    columns=(dict(columns=['a']*64), None),
    colnum=(dict(columns=list(range(64))), None),
    colnames=(dict(columns=[f'a{chr(97+i%26)}{i//26}x' for i in range(64)]), None),
    label=(dict(columns=['label']+[f'pixel{i}' for i in range(63)]), None),
    colshort=(dict(columns=['pixel0']), None),
    coldict=(dict(columns={}), "columns is '{}', expected names"),
    coldeep=(dict(columns=[['a']]*64), None),
    sha=(dict(sha256='0'*64), 'sha256'),
    nosha=(dict(sha256=...), 'sha256 is missing'),
    shanum=(dict(sha256=7), "sha256 is '7'"),
)
@pytest.mark.parametrize('name', FIELDS)
def test_json_with_a_bad_field(name, folder):
    changes,says = FIELDS[name]
    refused(put(folder, **changes), *([says] if says else []))

@pytest.mark.parametrize('kwargs,says', [
    (dict(chs=[0,0]), 'has no numbers'),
    (dict(chs=[3,0]), 'has no numbers'),
    (dict(chs=[]), "can't be built"),
    (dict(chs=[10**400]), "can't be built"),
    (dict(chs=[2**62]), "can't be built"),
], ids=range(5))
def test_arguments_whose_weights_match(kwargs, says, folder):
    "The file contains exactly the weights for absurd arguments"
    from digitfast.models.nets import create_model
    try: sd = create_model('stride2', 3, 8, **kwargs).state_dict()
    except Exception: sd = dict(x=torch.zeros(1))
    put(folder, arch='stride2', arch_kwargs=kwargs)
    weights(folder, sd)
    refused(folder, says)

def test_strides_of_none(folder):
    "Check faults that appear only when the network runs"
    from digitfast.models.nets import create_model
    kwargs = dict(chs=[3], ks=[3], strides=[1], ps=0.)
    sd = create_model('small', 3, 8, **kwargs).state_dict()
    put(folder, arch='small', arch_kwargs={**kwargs, 'ps':.5})
    weights(folder, sd)
    load_net(folder, 'cpu')
    weights(folder, {k:v*float('nan') if v.is_floating_point() else v for k,v in sd.items()})
    refused(folder, 'its output is NaN')

HEAVY = dict(
    wide=('stride2', dict(chs=[1000,1,1,1]), 300, '22,500,000 numbers in one layer'),
    later=('small', dict(chs=[1,4000,1], ks=[1,1,1], strides=[1,1,1]), 100, '40,000,000 numbers in one layer'),
    deep=('small', dict(chs=[200]*60, ks=[1]*60, strides=[1]*60), 250, 'numbers in all layers'),
    slow=('small', dict(chs=[600]*12, ks=[1]*12, strides=[2]+[1]*11), 300, 'multiplications'),
    blocks=('residual', dict(chs=[2000,1,1], ks=[1,1,1]), 256, '32,768,000 numbers in one layer'),
    weights=('stride2', dict(chs=[6000,6000]), 8, '1,296,912,012 bytes of weights'))
@pytest.mark.parametrize('name', HEAVY)
def test_few_weights_that_ask_for_much(name, folder):
    "The multiplications of a network are counted before it is built, and before the names of columns are parsed"
    arch,kwargs,side,says = HEAVY[name]
    put(folder, arch=arch, arch_kwargs=kwargs, side=side, columns=[f'p{i}' for i in range(side*side)])
    refused(folder, f"'{arch}' with arch_kwargs", f'on images of {side}x{side} needs', says, 'at most', seconds=3)

def test_every_architecture_is_within_the_bounds():
    "Check images of 512x512"
    from digitfast.runs.weights import check_cost
    for arch in archs:
        with torch.device('meta'): net = archs[arch](10, 512)
        assert check_cost(net, 512)>=16, arch

def test_a_wide_layer_makes_batches_small(folder, tmp_path):
    from digitfast.models.nets import create_model
    assert load_net(folder, 'cpu').dls.valid.bs==256
    put(folder, arch='stride2', arch_kwargs=dict(chs=[40_000]))
    weights(folder, create_model('stride2', 3, 8, chs=[40_000]).state_dict())
    learn = load_net(folder, 'cpu')
    assert learn.dls.valid.bs==learn.dls.test_dl(digits(300)).bs==2**27//(40_000*16)==209
    for i,o in enumerate((digit_learner(learn.dls, 'stride2'), learn)): save_net(o, tmp_path/'run'/'members'/str(i))
    assert load_net(tmp_path/'run', 'cpu').dls.valid.bs==209

def test_members_without_number(folder, tmp_path):
    (tmp_path/'run').mkdir()
    for i in range(1001): (tmp_path/'run'/'members'/str(i)).mkdir(parents=True)
    refused(tmp_path/'run', 'over 1,000 members')

@pytest.mark.parametrize('field', ['arch_kwargs','classes','columns','versions','extra'])
@pytest.mark.parametrize('n', [900, 960, 985])
def test_json_that_is_nearly_too_deep(field, n, folder):
    raw = (folder/'model.json').read_text()
    d = json.loads(raw)
    d[field] = [0]
    put(folder, raw=json.dumps(d).replace(f'"{field}": [0]', f'"{field}": '+'[{"a":'*(n//2)+'1'+'}]'*(n//2)))
    refused(folder, 'model.json')

@pytest.mark.parametrize('n', [5_000, 300])
def test_long_paths(n, tmp_path): refused(tmp_path/('x'*n), 'no model at')

@pytest.mark.parametrize('classes', [['1','2','3'], [' a','b ','c'], ['','x','y'], ['nan','1e3','x']])
def test_text_classes_that_look_like_something_else(classes, folder):
    "They load unchanged or raise an error, and never become another class"
    try: learn = load_net(put(folder, classes=classes), device='cpu')
    except RunError: return
    assert list(learn.dls.vocab)==classes and predict_rows(learn, digits(4)).shape==(4,3)

def test_much_memory_is_not_asked_for(folder):
    "Many classes and a large side would need gigabytes of rows"
    import tracemalloc
    from digitfast.models.nets import create_model
    side = 200
    cols = [f'p{i}' for i in range(side*side)]
    put(folder, arch='stride2', side=side, columns=cols, classes=list(range(2000)), arch_kwargs=dict(chs=[1]))
    weights(folder, create_model('stride2', 2000, side, chs=[1]).state_dict())
    tracemalloc.start()
    try: load_net(folder, device='cpu')
    finally: peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert peak<60_000_000   # the rows would be 160 MB

def test_weights_too_large_for_memory(folder):
    "A sparse file with honest shapes raises an error because of its size, before it is read"
    chs = [60_000,60_000]
    put(folder, arch='stride2', arch_kwargs=dict(chs=chs), classes=[0,1,2])
    from digitfast.models.nets import create_model
    with torch.device('meta'): sd = create_model('stride2', 3, 8, chs=chs).state_dict()
    head,at = {},0
    for k,v in sd.items():
        head[k] = dict(dtype='F32', shape=list(v.shape), data_offsets=[at, at+4*v.numel()])
        at += 4*v.numel()
    h = json.dumps(head).encode()
    with open(folder/'model.safetensors', 'wb') as f:
        f.write(struct.pack('<Q', len(h))+h)
        f.truncate(8+len(h)+at)
    refused(folder, 'bytes')

@pytest.mark.parametrize('k', [0,1,7,8,9,100,.5,.99,-1])
def test_truncated_weights(k, folder):
    f = folder/'model.safetensors'
    b = f.read_bytes()
    n = int(len(b)*k) if isinstance(k, float) else k
    f.write_bytes(b[:n])
    refused(folder, 'model.safetensors')
    put(folder, sha256=hashlib.sha256(b[:n]).hexdigest())
    refused(folder, 'model.safetensors')

@pytest.mark.parametrize('k', [0,.2,.5,.9,.99])
def test_truncated_json(k, folder):
    s = (folder/'model.json').read_text()
    refused(put(folder, raw=s[:int(len(s)*k)]), 'model.json')

@pytest.mark.parametrize('name', ['model.safetensors','model.json'])
def test_flipped_bits(name, folder):
    "Flipping any bit in either file raises an error, or changes nothing"
    f = folder/name
    b = f.read_bytes()
    was = predict_rows(load_net(folder, device='cpu'), digits(6))
    rng = np.random.default_rng(0)
    for i in [*range(0, 64, 5), *rng.integers(0, len(b), 40)]:
        for bit in rng.integers(0, 8, 2):
            c = bytearray(b)
            c[i] ^= 1<<bit
            f.write_bytes(c)
            try: learn = load_net(folder, device='cpu')
            except RunError as e: assert '\n' not in str(e); continue
            assert np.array_equal(predict_rows(learn, digits(6)), was) and list(learn.dls.vocab)==[0,1,2], (i, bit)
            assert name=='model.json' and json.loads(c)==json.loads(b), (i, bit)

def test_weights_of_another_model(folder, tmp_path):
    other = save_net(learner(arch='stride2'), tmp_path/'o')
    weights(folder, data=(other/'model.safetensors').read_bytes())
    refused(folder, 'weight')

@pytest.mark.parametrize('change', [
    lambda s: s.popitem(),
    lambda s: s.update(extra=torch.zeros(3)),
    lambda s: s.update({'0.0.weight':torch.zeros(8,1,5,4)}),
    lambda s: s.update({'0.0.weight':torch.zeros(200)}),
    lambda s: s.clear(),
    lambda s: s.update({'x'*10_000:torch.zeros(1)}),
], ids='missing extra shape flat none longname'.split())
def test_weights_of_other_shapes(change, folder):
    s = load_file(folder/'model.safetensors')
    change(s)
    refused(weights(folder, s), 'weight')

@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.int64, torch.bool, torch.uint8])
def test_weights_of_another_type(dtype, folder):
    s = {k:v.to(dtype) if v.dtype==torch.float32 else v for k,v in load_file(folder/'model.safetensors').items()}
    refused(weights(folder, s), 'weight')

def head(**tensors):
    "Return a safetensors header of float32 tensors, each (shape, from, to)"
    o = {k:dict(dtype='F32', shape=shape, data_offsets=[a,b]) for k,(shape,a,b) in tensors.items()}
    h = json.dumps(o).encode()
    return struct.pack('<Q', len(h))+h

HEADS = dict(
    huge=struct.pack('<Q', 2**63),
    large=struct.pack('<Q', 10**9)+b'{',
    negative=b'\xff'*8,
    none=struct.pack('<Q', 0),
    nojson=struct.pack('<Q', 4)+b'abcd',
    list=struct.pack('<Q', 2)+b'[]',
    empty=struct.pack('<Q', 2)+b'{}',
    deep=struct.pack('<Q', 200_000)+b'['*200_000,
    overlap=head(a=([2], 0, 8), b=([2], 0, 8))+b'\0'*8,
    beyond=head(a=([10**12], 0, 4*10**12)),
)
@pytest.mark.parametrize('name', HEADS)
def test_safetensors_with_a_bad_header(name, folder): refused(weights(folder, data=HEADS[name]), 'model.safetensors')

@pytest.mark.parametrize('name', ['model.safetensors','model.json'])
@pytest.mark.parametrize('kind', ['missing','directory','dangling','loop','zero','fifo','elsewhere'])
def test_files_that_are_none(name, kind, folder, tmp_path):
    f = folder/name
    b = f.read_bytes()
    f.unlink()
    if kind=='directory': f.mkdir()
    elif kind=='dangling': f.symlink_to(tmp_path/'nothing')
    elif kind=='loop': f.symlink_to(f)
    elif kind=='zero': f.symlink_to('/dev/zero')
    elif kind=='fifo': os.mkfifo(f)
    elif kind=='elsewhere':   # a link to a whole file is fine: data stores do that
        (tmp_path/'store').write_bytes(b)
        f.symlink_to(tmp_path/'store')
        load_net(folder, device='cpu')
        return
    refused(folder, name)

@pytest.mark.parametrize('path', ['nowhere','empty','file','model/model.json','model/model.safetensors'])
def test_paths_that_are_no_model(path, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'empty').mkdir()
    (tmp_path/'file').write_text('x')
    refused(path)

def test_path_of_control_characters(tmp_path): assert refused(tmp_path/'a\nb\x1b[31m').isprintable()

# ---- writing

def test_write_file(tmp_path):
    f = write_file(tmp_path/'a'/'b.txt', 'é')
    assert f.read_bytes()=='é'.encode() and write_file(f, b'x').read_bytes()==b'x' and os.listdir(f.parent)==['b.txt']

@pytest.mark.parametrize('what', ['replace','fsync'])
@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_full_disk_leaves_what_was_there(what, code, tmp_path, monkeypatch):
    f = write_file(tmp_path/'b.txt', 'old')
    def fail(*a): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(os, what, fail)
    with pytest.raises(RunError, match='b.txt') as e: write_file(f, 'new')
    assert os.strerror(code) in str(e.value) and f.read_text()=='old' and os.listdir(tmp_path)==['b.txt']

def test_full_disk_for_real():
    "Writing to /dev/full raises ENOSPC of the operating system"
    if not os.path.exists('/dev/full'): pytest.skip('no /dev/full here')
    with open('/dev/full', 'wb', buffering=0) as f, pytest.raises(OSError): f.write(b'x')

@pytest.mark.parametrize('path', ['file/b.txt','dir'])
def test_places_that_cannot_be_written(path, tmp_path):
    (tmp_path/'file').write_text('x')
    (tmp_path/'dir').mkdir()
    with pytest.raises(RunError, match="can't write"): write_file(tmp_path/path, 'new')
    assert sorted(os.listdir(tmp_path))==['dir','file']

def test_interrupted_write_leaves_the_old(tmp_path, monkeypatch):
    f = write_file(tmp_path/'b.txt', 'old')
    def stop(*a): raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', stop)
    with pytest.raises(KeyboardInterrupt): write_file(f, 'new')
    assert f.read_text()=='old' and os.listdir(tmp_path)==['b.txt']

def test_versions():
    assert versions().keys()>={'digitfast','python','torch','fastai','pandas','numpy'} and json.dumps(versions())

# ONNX, and fastai's own export

@pytest.fixture
def ort():
    pytest.importorskip('onnx', reason="the extra onnx is not installed")
    pytest.importorskip('onnxscript')
    return pytest.importorskip('onnxruntime')

def to_onnx(learn, path):
    "Call `export_onnx`, and skip the test if the error names a limit of the installed onnxscript"
    try: return export_onnx(learn, path)
    except DigitError as e:
        if "can't convert" not in str(e): raise
        pytest.skip(str(e))

def onnx_probs(ort, path, rows, bs=None):
    s = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
    x = rows.reshape(-1, 1, *(round(rows.shape[1]**.5),)*2)
    return np.concatenate([s.run(None, dict(image=x[i:i+(bs or len(x))]))[0] for i in range(0, len(x), bs or len(x))])

def same(got, want): return np.abs(got-want).max()<1e-4 and (got.argmax(1)==want.argmax(1)).all()

@pytest.mark.parametrize('arch', every(4, archs))
def test_onnx_of_every_architecture(arch, data, ort, tmp_path):
    loss = losses['value'](10, 0.) if arch.endswith('-value') else None
    learn = digit_learner(DigitDataLoaders.from_df(data.train[:200], bs=64, device='cpu'), arch, loss_func=loss)
    torch.manual_seed(0)
    for p in learn.model.parameters(): torch.nn.init.normal_(p, 0, .1)
    rows = data.train.drop(columns='label').to_numpy(np.uint8)[:60]
    path = to_onnx(learn, tmp_path/'m.onnx')
    assert np.abs(onnx_probs(ort, path, rows)-predict_rows(learn, rows)).max()<1e-4
    assert sorted(o.name for o in tmp_path.iterdir())==['m.onnx']

def test_onnx_of_a_run_any_batch_size(sample_run, data, ort, tmp_path):
    learn = load_net(sample_run[0], 'cpu')
    learn.temperature = .4 # as if the run had it
    path,rows = export_onnx(learn, tmp_path/'m.onnx'),data.train.drop(columns='label').to_numpy(np.uint8)[-300:]
    want = predict_rows(learn, rows)
    for bs in (None, 1, 7): assert same(onnx_probs(ort, path, rows, bs), calibrate(want, .4))
    inp, = ort.InferenceSession(path).get_inputs()
    assert (inp.type,inp.shape[1:])==('tensor(uint8)',[1,28,28]) and isinstance(inp.shape[0], str)
    assert not learn.model.training and predict_rows(learn, rows).tobytes()==want.tobytes()

@pytest.mark.slow
def test_onnx_on_all_test_rows(big_zip, ort, tmp_path):
    from digitfast.data.read import read_csvs
    from digitfast.tasks.train import train
    run = train(big_zip, epochs=1, out=tmp_path/'run', device='cpu', say=lambda o: None)
    rows = read_csvs(big_zip).test.to_numpy(np.uint8)
    learn = load_net(run, 'cpu')
    path = export_onnx(learn, tmp_path/'m.onnx')
    assert len(rows)==28_000 and same(onnx_probs(ort, path, rows, 1000), predict_rows(learn, rows))

def test_members_are_read_alike(saved, tmp_path):
    "A member of version 0.1 has no range and is accepted. A member with another range or ink raises an error"
    learn = load_net(saved, 'cpu')
    for i,reading in enumerate((Reading((0,16)), Reading(None), Reading((0,255)), Reading((0,16), 'dark'))):
        learn.dls.reading = reading
        for name,k in (('ok',i) if i<2 else ('no',0), (f'no{i}',1)):
            save_net(learn, tmp_path/name/'members'/str(k), strict=False)
    learn.dls.reading = Reading((0,16))
    for i in 2,3: save_net(learn, tmp_path/f'no{i}'/'members'/'0', strict=False)
    assert load_net(tmp_path/'ok', 'cpu').dls.reading==Reading((0,16))
    for i in 2,3:
        with pytest.raises(RunError, match='members with different'): load_net(tmp_path/f'no{i}', 'cpu')

@pytest.mark.parametrize('top', [1, 2, 16, 100, 65535])
def test_a_net_of_any_scale_is_exported(top, ort, tmp_path):
    "The training table has other numbers than 0 to 255, and the ONNX file accepts bytes"
    df = digits()
    pixels = df.drop(columns='label').astype(int)
    table = pixels*257 if top==65535 else (pixels/255*top).round().astype(int)
    if top==1: table = pixels/255
    table.iloc[:,0] = top
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        df = table.assign(label=df.label)
        learn = learner(df)
    assert learn.dls.reading.value_range==(0,top)
    rows = to_bytes(table.to_numpy(), (0,top))
    want = predict_rows(learn, table)
    assert predict_rows(learn, rows).tobytes()==want.tobytes()
    again = load_net(save_net(learn, tmp_path/'a'), 'cpu')
    assert predict_rows(load_net(save_net(again, tmp_path/'b'), 'cpu'), table).tobytes()==want.tobytes()
    if top==16: assert same(onnx_probs(ort, export_onnx(again, tmp_path/'m.onnx'), rows), want)

def test_onnx_of_several_nets_with_text_classes(ort, tmp_path):
    "The members have different statistics, and the file names the classes"
    df = digits(classes=['ka','ki','ku'])
    for i,rows in enumerate((df, df[:40])): save_net(learner(rows), tmp_path/'run'/'members'/str(i))
    learn,rows = load_net(tmp_path/'run', 'cpu'),df.drop(columns='label').to_numpy(np.uint8)
    path = export_onnx(learn, tmp_path/'m.onnx')
    assert same(onnx_probs(ort, path, rows), predict_rows(learn, rows))
    meta = ort.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(meta['classes'])==['ka','ki','ku']
    assert Reading.from_json(dict(reading=json.loads(meta['reading'])))==learn.dls.reading

def test_onnx_with_other_predictions_is_not_written(saved, ort, tmp_path, monkeypatch):
    class Liar:
        def __init__(self, *args, **kw): pass
        def run(self, *args): return [np.full((16,3), .3, np.float32)]
    monkeypatch.setattr(ort, 'InferenceSession', Liar)
    with pytest.raises(RunError, match="predictions of the ONNX model that differ"):
        export_onnx(load_net(saved, 'cpu'), tmp_path/'m.onnx')
    assert not list(tmp_path.iterdir())

def test_onnx_without_its_packages(saved, tmp_path, monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(DigitError, match=r'digitfast\[onnx\]'): export_onnx(load_net(saved, 'cpu'), tmp_path/'m.onnx')

def test_pickle_by_name(saved, tmp_path):
    from fastai.learner import load_learner
    learn,rows = load_net(saved, 'cpu'),digits().drop(columns='label')
    again = load_learner(export_pickle(learn, tmp_path/'p'/'l.pkl'))
    assert predict_rows(again, rows).tobytes()==predict_rows(learn, rows).tobytes()
    refused(tmp_path/'p'/'l.pkl', 'pickle')

def test_command(saved, ort, tmp_path, monkeypatch, capsys):
    from digitfast.cli import main
    monkeypatch.chdir(tmp_path)
    def run(*args):
        with pytest.raises(SystemExit) as e: main([*map(str, args)])
        return e.value.code, *capsys.readouterr()
    rc,out,err = run('export', saved, '--onnx', 'm.onnx', '--pickle', 'l.pkl')
    assert (rc,out.split())==(0,['m.onnx','l.pkl']) and 'runs the code in it' in err and err.count('\n')==1
    rc,out,err = run('export', saved, '--onnx', 'm.onnx', '--json')
    assert (rc,json.loads(out),err)==(0,dict(onnx='m.onnx'),'')
    rc,out,err = run('export', saved)
    assert rc==2 and '--onnx FILE or --pickle FILE' in err
    rc,out,err = run('export', tmp_path, '--onnx', 'n.onnx')
    assert rc==1 and 'no model' in err and not (tmp_path/'n.onnx').exists()

def test_what_onnxscript_lacks_is_logged(saved, ort, tmp_path, monkeypatch):
    "If onnxscript lacks an operation, one line says what to do, and no file is written"
    def lacks(*args, **kw):
        cause = NotImplementedError("a step failed\nNo ONNX function found for aten.some_op.default")
        raise torch.onnx.OnnxExporterError('a page of text\n'*50) from cause
    monkeypatch.setattr(torch.onnx, 'export', lacks)
    with pytest.raises(DigitError, match="can't convert .*some_op.*-U onnxscript") as e:
        export_onnx(load_net(saved, 'cpu'), tmp_path/'m.onnx')
    assert '\n' not in str(e.value) and not list(tmp_path.iterdir())
