"Tests of `share_run` and `Run.from_hub` against a double of the hub: what is sent, and what a stranger may send"
import io, json, shutil, socket, struct, time
from types import SimpleNamespace
import numpy as np, pytest
from digitfast.cli import main
from digitfast.core import DigitError, RunError
from digitfast.runs import hub as H
from digitfast.runs.hub import HubError
from digitfast.runs.run import Run
from digitfast.tasks.share import share_run
from digitfast.tasks.train import train
from conftest import TINY
from hub_double import TOKEN, Hub

hf = pytest.importorskip('huggingface_hub', reason="needs digitfast[hub]")
REPO = 'hf:ada/digits'
def quiet(*a): pass

@pytest.fixture
def hub(tmp_path, monkeypatch):
    "Start a hub with a logged-in user, and let waiting between attempts take no time"
    from huggingface_hub import constants
    from huggingface_hub.utils import _http
    with Hub() as o:
        env = dict(HF_ENDPOINT=o.url, HF_TOKEN=TOKEN, HF_HOME=str(tmp_path/'hf'), no_proxy='127.0.0.1')
        for k,v in env.items(): monkeypatch.setenv(k, v)
        monkeypatch.setattr(constants, 'ENDPOINT', o.url) # older releases parse addresses with it
        monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True, raising=False) # from 0.31
        monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path/'no-token'))
        monkeypatch.setattr(_http, 'time', SimpleNamespace(**{**vars(time), 'sleep':quiet}))
        yield o

def arrays(b):
    with np.load(io.BytesIO(b), allow_pickle=False) as z: return {k:z[k] for k in z.files}

# ---- there and back

def test_a_run_is_shared_and_read_again(hub, tiny_run, tmp_path):
    run,lines = tiny_run[0],[]
    shared = share_run(run, REPO, say=lines.append)
    m = hub.models['ada/digits']
    assert m['private'] and len(m['log'])==1 and m['files']==shared.files
    assert lines[-1]==f'shared: {hub.url}/ada/digits, revision {shared.revision[:12]}'
    assert [o.split()[-1] for o in lines[:-2]]==list(shared.files) and 'for a private repository' in lines[-2]
    got = Run.from_hub('ada/digits')
    assert got.metrics['accuracy']==run.metrics['accuracy'] and got.path.name==shared.revision
    assert sorted(o.relative_to(got.path).as_posix() for o in got.path.rglob('*') if o.is_file())==sorted(
        set(shared.files)-{'README.md'})
    assert str(got.predictions())==str(got.predictions()) and got.predictions().test_probs is not None
    a,b = (o.learner('cpu').model.state_dict() for o in (run, got))
    assert all(a[k].equal(b[k]) for k in a)
    n = len(hub.calls)
    again = Run.from_hub('hf:ada/digits', revision=shared.revision)
    assert again.path==got.path and len(hub.calls)==n+1 # from the cache

def test_no_picture_and_no_path_leaves_this_machine(tiny_run, tiny):
    run = tiny_run[0]
    plain,full = (share_run(run, REPO, dry_run=True, with_pictures=o, say=quiet).files for o in (False, True))
    assert 'images' in arrays(full['predictions.npz']) and 'report.html' in full
    kept = arrays(plain['predictions.npz'])
    assert not {'images','image_rows','look','likeness'}&kept.keys() and 'report.html' not in plain
    assert (kept['valid_probs']==arrays(full['predictions.npz'])['valid_probs']).all()
    for k,b in plain.items():
        if not k.endswith(('.npz','.safetensors')): assert str(tiny.parent).encode() not in b, k
    assert not any(b'\x89PNG' in b or b'data:image' in b for b in plain.values())

def test_the_card(tiny_run):
    yaml = pytest.importorskip('yaml')
    run = tiny_run[0]
    text = share_run(run, REPO, dry_run=True, say=quiet).files['README.md'].decode()
    head,m = yaml.safe_load(text.split('---\n')[1]),run.metrics
    assert head['library_name']=='digitfast' and head['model-index'][0]['results'][0]['metrics'][0]['value']==round(
        m['accuracy'], 6)
    low,high = (f"{100*m[k]:.2f} %" for k in ('accuracy_low','accuracy_high'))
    for o in (f'95 % interval: {low} to {high}', '12 held-out rows', m['data']['sha256'], "Run.from_hub('ada/digits')",
              '`stride2`', '8 by 8 pixels', '## Limits', '`valid_pct` | `0.2`'): assert o in text, o

def test_an_ensemble_and_then_one_network(hub, tiny, tiny_run, tmp_path):
    "The later revision does not contain the members of the earlier one"
    both = train(tiny, out=tmp_path/'both', say=quiet, members=2, **TINY)
    share_run(both, REPO, say=quiet)
    got = Run.from_hub('ada/digits')
    assert len(got.members())==2 and got.oof() is not None and got.learner('cpu').model is not None
    lines = []
    share_run(tiny_run[0], REPO, say=lines.append)
    assert 'hf:ada/digits exists: the run becomes its newest revision' in lines
    assert not [k for k in hub.models['ada/digits']['files'] if k.startswith('members/')]
    assert not Run.from_hub('ada/digits').members()

def test_the_command(hub, tiny_run, capsys):
    run = str(tiny_run[0])
    def call(*words):
        try: main(['share', *words]); code = 0
        except SystemExit as e: code = e.code or 0
        return code,*capsys.readouterr()
    code,out,err = call(run, '--to', REPO, '--dry-run')
    assert code==0 and err=='' and 'metrics.json' in out and 'nothing was sent' in out and not hub.calls
    code,out,err = call(run, '--to', REPO, '--public', '--json')
    assert code==0 and json.loads(out)['url']==f'{hub.url}/ada/digits' and not hub.models['ada/digits']['private']
    code,out,err = call(run, '--to', REPO)
    assert code==1 and err.count('\n')==1 and 'found a public repository, expected a private one' in err
    assert '--public' in err
    for to in 'ada/digits', 'hf:ada', 'hf:../x':
        code,out,err = call(run, '--to', to)
        assert code==1 and 'expected hf:USER/NAME' in err

# ---- what goes wrong on the way out

def status(code):
    return lambda h,path,double: double.send(h, code, dict(error=f'no {h.headers.get("Authorization")}'))
def html(h, path, double): double.send(h, 200, b'<html>Log in to the wifi</html>', **{'Content-Type':'text/html'})
def cut(h, path, double):
    h.close_connection = True
    double.send(h, 200, b'x', length=100)
def reset(h, path, double):
    h.close_connection = True
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    h.connection.close()

FAULTS = [ # part of the address, what happens there, the log
    ('/api/models/', status(401), 'does not accept your token: it may have expired. Log in again with hf auth login'),
    ('/api/models/', status(429), 'limits your requests. Wait'),
    ('/api/models/', html, "is not a hub's"),
    ('/api/repos/create', status(403), 'Use a token with write access'),
    ('/api/repos/create', status(500), 'answered with error 500. Try again later'),
    ('/preupload/', html, "is not a hub's"),
    ('/blob/', reset, 'was lost'),
    ('/blob/', status(403), 'write access'),
    ('/commit/', reset, 'was lost'),
    ('/commit/', status(429), 'limits your requests. Wait a few'), ('/commit/', status(413), 'refuses the request')]

@pytest.mark.parametrize('where,fault,says', FAULTS, ids=[f'{o[0].strip("/")}-{i}' for i,o in enumerate(FAULTS)])
def test_an_upload_that_fails(where, fault, says, hub, tiny_run, capfd):
    "The error is one line without the token, and there is no incomplete revision. Afterwards the same command succeeds"
    hub.faults = [lambda h,path: fault(h, path, hub) if where in path else False]
    with pytest.raises(HubError, match=says) as e: share_run(tiny_run[0], REPO, say=quiet)
    assert str(e.value).startswith('hf:ada/digits: ') and TOKEN not in str(e.value)+''.join(capfd.readouterr())
    assert not hub.models.get('ada/digits', dict(log=[]))['log']
    hub.faults = []
    assert share_run(tiny_run[0], REPO, say=quiet).revision

def asks_to_wait(h, path, double): double.send(h, 429, dict(error='slow'), **{'Retry-After':'3600'})

@pytest.mark.parametrize('where,waits', [('/api/models/ada/digits', False), ('/preupload/', True)])
def test_a_hub_that_asks_to_wait_an_hour(where, waits, hub, tiny_run):
    "The client may wait itself, so it must be visible"
    hub.faults = [lambda h,path: asks_to_wait(h, path, hub) if where in path else False]
    lines = []
    with pytest.raises(HubError, match='limits your requests. Wait 3,600 seconds'):
        share_run(tiny_run[0], REPO, say=lines.append)
    assert any(o.startswith('note: ') and '3601' in o for o in lines)==waits and all(o.isprintable() for o in lines)

@pytest.mark.parametrize('code,says', [(403, 'does not let you read this.*conditions'), (410, 'refuses .* error 410')])
def test_a_run_that_may_not_be_read(code, says, hub):
    hub.faults = [lambda h,path: status(code)(h, path, hub)]
    with pytest.raises(HubError, match=says): Run.from_hub('ada/digits')

def test_no_token(hub, tiny_run, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    with pytest.raises(HubError, match='found no token.*hf auth login'): share_run(tiny_run[0], REPO, say=quiet)
    share_run(tiny_run[0], REPO, dry_run=True, say=quiet)
    assert not hub.calls

def test_no_hub(hub, tiny_run, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    for f in (lambda: share_run(tiny_run[0], REPO, say=quiet)), (lambda: Run.from_hub('ada/digits')):
        with pytest.raises(HubError, match='the connection to http://127.0.0.1:9 was lost'): f()

# ---- what a stranger may send

@pytest.fixture
def shared(hub, tiny_run):
    "Return the double with a shared run, and the files of the run"
    share_run(tiny_run[0], REPO, public=True, say=quiet)
    return hub,hub.models['ada/digits']['files']

def cached(tmp_path): return [o for o in (tmp_path/'hf').rglob('*') if o.is_file()]

def test_only_the_files_of_a_run_are_downloaded(shared, tmp_path):
    hub,files = shared
    evil = ['../../x.json', 'model/../../x', 'model.pkl', 'model/model.py', 'members/0/../../../x', '/etc/x',
            'metrics.json\n', 'members/0/members/0/metrics.json', 'config.json', 'model/model.json ']
    for o in evil: files[o] = b'x'
    got = Run.from_hub('ada/digits')
    names = {o.relative_to(got.path).as_posix() for o in got.path.rglob('*') if o.is_file()}
    assert names==set(files)-{*evil, 'README.md'} and not any(o.is_symlink() for o in got.path.rglob('*'))
    assert {o.parent for o in cached(tmp_path)}=={got.path, got.path/'model'}

def lie(**changes):
    "Return a fault that changes the description of a model"
    def f(h, path, double):
        if '/resolve/' in path or '/api/models/' not in path: return False
        m = double.models['ada/digits']
        o = dict(sha=double.sha(m), siblings=[dict(rfilename=k, size=len(b)) for k,b in m['files'].items()])
        double.send(h, 200, {**o, **changes})
    return f

def sizes(n): return [dict(rfilename=k, size=n) for k in ('metrics.json','model/model.json','model/model.safetensors')]

@pytest.mark.parametrize('fault,says', [
    (lie(siblings=[]), 'found no metrics.json'), (lie(siblings=sizes(10**12)), 'expected 4,194,304 at most'),
    (lie(siblings=sizes(None)), 'at most'), (lie(siblings=sizes(-1)), 'at most'), (lie(siblings=sizes('9')), 'at most'),
    (lie(siblings=sizes(10)), 'more bytes than the hub announced'), (lie(siblings=sizes(4_000_000)), 'Try again'),
    (lie(siblings=5), "is not a hub's"), (lie(siblings=[5]), "is not a hub's"),
    (lie(sha='../../x'), "is not a hub's"),
    (lie(sha=None), "is not a hub's"), (html, "is not a hub's"), (reset, 'was lost'), (status(429), 'limits'),
    (status(401), 'hf auth login'), (lambda h,p,d: d.send(h, 200, b'{"a":'*10**5), "is not a hub's"),
    (cut, 'was lost')])
def test_answers_that_lie(fault, says, shared, tmp_path, capfd):
    hub,_ = shared
    hub.faults = [lambda h,path: fault(h, path, hub)]
    with pytest.raises(HubError, match=says) as e: Run.from_hub('ada/digits')
    assert TOKEN not in str(e.value)+''.join(capfd.readouterr()) and '\n' not in str(e.value)
    assert not cached(tmp_path)

@pytest.mark.parametrize('name,content,says', [
    ('metrics.json', b'{}', 'metrics.json: found no format number'),
    ('metrics.json', b'[1', "metrics.json can't be read"),
    ('model/model.safetensors', None, 'no model')])
def test_a_run_that_is_damaged(name, content, says, shared, tmp_path):
    hub,files = shared
    if content is None: del files[name]
    else: files[name] = content
    with pytest.raises(HubError, match=says) as e: Run.from_hub('ada/digits')
    assert str(e.value).startswith('hf:ada/digits: ') and str(tmp_path) not in str(e.value) and not cached(tmp_path)

def test_other_bytes_of_the_same_length(shared, tmp_path):
    "As a proxy or a bad disk may send them; the hash is that of the answer"
    hub,files = shared
    def change(h, path):
        if not path.endswith('.safetensors'): return False
        hub.send(h, 200, files['model/model.safetensors'][:-1]+b'?')
    hub.faults = [change]
    with pytest.raises(HubError, match='model.safetensors has other bytes than the hub announced'):
        Run.from_hub('ada/digits')
    assert not cached(tmp_path)

def test_a_private_run_of_somebody_else(hub, tiny_run, monkeypatch):
    share_run(tiny_run[0], REPO, say=quiet)
    monkeypatch.setenv('HF_TOKEN', 'hf_of_somebody_else')
    with pytest.raises(HubError, match='does not accept your token'): Run.from_hub('ada/digits')
    with pytest.raises(HubError, match='found no such repository'):
        monkeypatch.setenv('HF_TOKEN', TOKEN)
        Run.from_hub('ada/other')
    with pytest.raises(HubError, match='revision'): Run.from_hub('ada/digits', revision='v1')
    with pytest.raises(DigitError, match='expected hf:USER/NAME'): Run.from_hub('../../etc')

def test_a_run_without_a_model_raises_an_error(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run[0], tmp_path/'r')
    m = json.loads((run/'metrics.json').read_text())
    (run/'metrics.json').write_text(json.dumps({**m, 'no_model':'the net has no registered name'}))
    with pytest.raises(DigitError, match="can't be shared: the net has no"):
        share_run(run, REPO, dry_run=True, say=quiet)
    with pytest.raises(RunError, match='not a finished run'): share_run(tmp_path/'none', REPO, dry_run=True, say=quiet)

def test_the_token_goes_nowhere_else(shared, tmp_path):
    "The bytes can be at another host, as they are at Hugging Face"
    hub,files = shared
    seen = []
    with Hub() as other:
        def give(h, path):
            seen.append(h.headers.get('Authorization'))
            other.send(h, 200, files[path.split('/resolve/')[1].split('/', 1)[1]])
        other.faults = [give]
        def move(h, path):
            if '/resolve/' not in path: return False
            hub.send(h, 302, Location=other.url.replace('127.0.0.1', 'localhost')+path)
        hub.faults = [move]
        assert Run.from_hub('ada/digits').metrics and seen and not any(seen)
    assert H.hub_token()==TOKEN
