"Tests of all calls to Kaggle with the real fastkaggle and kaggle client, against the double on the loopback"
import base64, builtins, hashlib, json, os, shutil, subprocess, sys, tempfile, textwrap, time, zipfile
from dataclasses import replace
from pathlib import Path
import pandas as pd, pytest
import digitfast
from conftest import csvs
from kaggle_double import KEY, OAUTH, TOKEN, USER, Double, a_zip
from digitfast.kaggle import client as dk, publish as pb
from digitfast.kaggle.credentials import credentials, hide_secrets
from digitfast.kaggle.download import comp_path
from digitfast.kaggle.submit import submit_to_kaggle
from digitfast.core import DataError, KaggleError, RunError
from digitfast.data.files import find_data, sample_path

HERE = Path(__file__).parent
SECRETS = TOKEN, KEY, OAUTH, '0123456789abcdef', 'X-Goog-Signature'

def forget():
    for m in [m for m in sys.modules if m.split('.')[0] in ('kaggle','fastkaggle')]: del sys.modules[m]

@pytest.fixture
def home(tmp_path, monkeypatch):
    "Use an empty home, without credentials, without a network, and with a client that is not imported yet"
    for k in list(os.environ):
        if k.startswith(('KAGGLE_','VERBOSE')) or k.lower() in ('no_proxy','http_proxy','https_proxy','all_proxy',
            'xdg_config_home'): monkeypatch.delenv(k)
    h = tmp_path/'home'
    h.mkdir()
    for k,v in dict(HOME=h, USERPROFILE=h, http_proxy='http://127.0.0.1:9',
        https_proxy='http://127.0.0.1:9').items(): monkeypatch.setenv(k, str(v))
    work = tmp_path/'work'
    work.mkdir()
    monkeypatch.chdir(work)
    (tmp_path/'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path/'tmp'))
    monkeypatch.setattr(dk, 'poll', .02)
    forget()
    yield h
    forget()

@pytest.fixture
def kg(home, monkeypatch, capfd, caplog):
    "Start the double with a valid token. Afterwards check that no secret was printed or written"
    with Double() as k:
        for n,v in k.env.items(): monkeypatch.setenv(n, v)
        monkeypatch.setenv('KAGGLE_API_TOKEN', TOKEN)
        yield k
    logged = ''.join([*capfd.readouterr(), *(r.getMessage() for r in caplog.get_records('call'))])
    logged += ''.join(p.read_text(errors='replace') for p in Path.cwd().rglob('*') if p.is_file())
    assert not [s for s in SECRETS if s in logged] and not [p for p in Path(tempfile.gettempdir()).rglob('*')
        if p.is_file()]

def fails(*match, kind=KaggleError):
    "A context that expects an error of one line that contains all of `match`, and no secret"
    class C:
        def __enter__(self): return self
        def __exit__(self, t, e, tb):
            assert t is not None, 'nothing was raised'
            if not issubclass(t, kind): return False
            self.msg = str(e)
            assert '\n' not in self.msg and not [s for s in SECRETS if s in self.msg], self.msg
            for m in match: assert m in self.msg, self.msg
            assert e.__cause__ is None and (e.__context__ is None or e.__suppress_context__)
            return True
    return C()

def inside(p='.'): return sorted(q.name for q in Path(p).iterdir())

# -- credentials

def as_json(home, name, **kw):
    (home/'.kaggle').mkdir(exist_ok=True)
    (home/'.kaggle'/name).write_text(json.dumps(kw))

CREDS = dict(token=lambda h,m: m.setenv('KAGGLE_API_TOKEN', TOKEN),
    file=lambda h,m: ((h/'.kaggle').mkdir(), (h/'.kaggle/access_token').write_text(TOKEN+'\n')),
    token_file=lambda h,m: ((h/'t').write_text(TOKEN), m.setenv('KAGGLE_API_TOKEN', str(h/'t'))),
    env=lambda h,m: (m.setenv('KAGGLE_USERNAME', USER), m.setenv('KAGGLE_KEY', KEY)),
    json=lambda h,m: as_json(h, 'kaggle.json', username=USER, key=KEY),
    xdg=lambda h,m: ((h/'.config/kaggle').mkdir(parents=True),
    (h/'.config/kaggle/kaggle.json').write_text(json.dumps(dict(username=USER, key=KEY)))),
    config_dir=lambda h,m: ((h/'c').mkdir(), (h/'c/kaggle.json').write_text(json.dumps(dict(username=USER, key=KEY))),
    m.setenv('KAGGLE_CONFIG_DIR', str(h/'c'))),
    half=lambda h,m: (as_json(h, 'kaggle.json', username=USER), m.setenv('KAGGLE_KEY', KEY)),
    oauth=lambda h,m: as_json(h, 'credentials.json', refresh_token=OAUTH, username=USER, scopes=['resources.admin:*']))
KINDS = dict(token='API token', file='API token', token_file='API token', oauth='OAuth login')

@pytest.mark.parametrize('how', CREDS)
def test_credentials_are_the_clients(how, kg, home, monkeypatch):
    "Each kind of credentials is found and named, and the client signs in with it"
    monkeypatch.delenv('KAGGLE_API_TOKEN')
    assert credentials() is None
    CREDS[how](home, monkeypatch)
    got = credentials()
    assert str(got)==f'{got.kind} from {got.where}'
    assert got.kind==KINDS.get(how, 'username and key') and not [s for s in SECRETS if s in repr(got)]
    assert 'kaggle' not in sys.modules
    ask = dk.Kaggle()
    method = {'API token':'ACCESS_TOKEN', 'username and key':'LEGACY_API_KEY', 'OAuth login':'OAUTH'}[got.kind]
    assert ask.api.config_values['auth_method'].upper().endswith(method) and ask.api.config_values['username']==USER
    assert ask('count', 'competition_get_submission_limits', 'digit-recognizer').num_allowed_now==5

@pytest.mark.parametrize('junk', ['', '{', '[]', '{"username":"ada"}', '\x00'])
def test_no_credentials_in_junk(home, junk):
    (home/'.kaggle').mkdir()
    for n in ('kaggle.json','credentials.json'): (home/'.kaggle'/n).write_text(junk)
    (home/'.kaggle/access_token').write_text(' \n')
    assert credentials() is None

@pytest.mark.parametrize('act', [lambda: comp_path(), lambda: dk.Kaggle(),
    lambda: pb.publish_kernel(a_notebook(), USER)])
def test_none_says_the_three_ways(home, act):
    with fails('kaggle auth login', 'KAGGLE_API_TOKEN', 'kaggle.json'): act()
    assert 'kaggle' not in sys.modules  # importing it signs in, and answers with SystemExit

@pytest.mark.parametrize('ipython', [False, True])
def test_wrong_token(kg, monkeypatch, ipython):
    "The client raises SystemExit, or NameError under IPython"
    if ipython: monkeypatch.delattr(builtins, 'exit')
    monkeypatch.setenv('KAGGLE_API_TOKEN', 'KGAT_wrong')
    with fails('KAGGLE_API_TOKEN', 'wrong or has expired', 'settings/api'): comp_path()
    assert inside()==[]

def test_wrong_key(kg, monkeypatch):
    monkeypatch.delenv('KAGGLE_API_TOKEN')
    monkeypatch.setenv('KAGGLE_USERNAME', USER)
    monkeypatch.setenv('KAGGLE_KEY', KEY[:-1]+'9')
    with fails('username and key from KAGGLE_KEY', 'wrong or has expired'): comp_path()

def test_no_secret_gets_out(kg, monkeypatch, capfd):
    "No secret is printed if the client prints its headers, or if the server repeats the header"
    monkeypatch.setenv('VERBOSE', '1')
    kg.fail('DownloadDataFiles', 403, echo=True)
    with fails('***', 'rules'): comp_path()
    kg.fail('DownloadDataFiles', 429, retry_after=0, echo=True)  # the client prints this one
    comp_path()
    out,err = capfd.readouterr()
    assert 'retrying in' in err and not [s for s in SECRETS if s in out+err]

# -- data

def test_download(kg, monkeypatch):
    logged = []
    monkeypatch.setenv('KAGGLE_PATH', '/nowhere')
    p = comp_path(say=logged.append)
    assert p.read_bytes()==kg.zip and inside()==['digit-recognizer.zip'] and find_data()==p
    assert len(logged)==1 and 'ownloading' in logged[0]
    n = len(kg.calls)
    assert comp_path(say=logged.append)==p and len(kg.calls)==n and len(logged)==1
    assert 'fastkaggle' in sys.modules

def test_download_into_a_new_folder(kg):
    assert comp_path(path='a/b').read_bytes()==kg.zip and inside('a/b')==['digit-recognizer.zip']

def test_broken_file_is_replaced(kg):
    Path('digit-recognizer.zip').write_bytes(kg.zip[:50])
    assert comp_path().read_bytes()==kg.zip

@pytest.fixture
def old():
    "Write a damaged zip, and check that a failed download does not change it"
    b = b'PK\3\4 an earlier download'
    Path('digit-recognizer.zip').write_bytes(b)
    yield
    assert inside()==['digit-recognizer.zip'] and Path('digit-recognizer.zip').read_bytes()==b

def test_rules(kg, old):
    kg.rules = False
    with fails('https://www.kaggle.com/competitions/digit-recognizer/rules', '403', 'must accept'): comp_path()

def test_not_found(kg):
    with fails("'digit-recogniser'", '404'): comp_path('digit-recogniser')
    assert inside()==[]

@pytest.mark.parametrize('slug', ['../x', 'a/b', '', 'Digit Recognizer', '/etc/passwd', None])
def test_no_slug(kg, slug):
    with fails('is not a competition'): comp_path(slug)
    assert not kg.calls

def test_refused(kg, old, monkeypatch):
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    monkeypatch.setattr(dk, 'patience', 2)
    t = time.monotonic()
    with fails('no connection to Kaggle'): comp_path()
    assert time.monotonic()-t<30

@pytest.mark.parametrize('fault', ['cut', 'short'])
def test_broken_download_continues(kg, fault):
    "The client resumes the download, and the complete file is checked"
    kg.zip = a_zip({'train.csv': os.urandom(300_000)})
    kg.fail('GetBlob', fault)
    assert comp_path().read_bytes()==kg.zip
    assert [c for c in kg.asked('GetBlob') if 'Range' in c['headers']] and inside()==['digit-recognizer.zip']

@pytest.mark.parametrize('fault', ['cut', 'short', 'reset'])
def test_broken_for_good(kg, old, fault, monkeypatch):
    monkeypatch.setattr(dk, 'patience', 1)
    kg.fail('GetBlob', fault, times=50)
    with fails('could not download', 'was lost'): comp_path()
    assert len(kg.asked('GetBlob'))<4

def test_silence_while_signing_in(kg, monkeypatch):
    "The client signs in without a time limit when it is imported"
    monkeypatch.setattr(dk, 'silence', .2)
    kg.fail('IntrospectToken', 'hang', times=9, seconds=1)
    t = time.monotonic()
    with fails('could not sign in', 'no answer'): dk.Kaggle()
    assert time.monotonic()-t<5
    time.sleep(3)   # the thread that waits ends with the server's answer

def test_nothing_of_others_is_changed(kg):
    "No function of another library is replaced, during the client's work or afterwards"
    import logging, requests.adapters, urllib3.util.retry
    def now():
        log = logging.getLogger('urllib3.connectionpool')
        return (requests.adapters.HTTPAdapter.send, requests.Session, urllib3.util.retry.time, time.sleep,
                tempfile.tempdir, log.disabled)
    before,seen = now(),[]
    answer = kg.rpc
    kg.rpc = lambda *args: (seen.append(now()), answer(*args))[1]
    comp_path()
    assert seen and all(o==before for o in [*seen, now()]) and 'mock' not in ' '.join(vars(dk))

def test_silence(kg, old, monkeypatch):
    monkeypatch.setattr(dk, 'silence', .3)
    monkeypatch.setattr(dk, 'patience', 1)
    kg.fail('DownloadDataFiles', 'hang', times=50, seconds=20)
    t = time.monotonic()
    with fails('no connection'): comp_path()
    assert time.monotonic()-t<30

def test_busy_is_waited_for(kg):
    kg.fail('DownloadDataFiles', 429, retry_after=1)
    comp_path()
    a,b = kg.asked('DownloadDataFiles')
    assert 1<=b['time']-a['time']<30

def test_busy_for_an_hour_is_not(kg, old):
    kg.fail('DownloadDataFiles', 429, times=9, retry_after=3600)
    with fails('too many requests', '3600 s'): comp_path()
    assert len(kg.asked('DownloadDataFiles'))==1

def test_busy_storage(kg):
    kg.fail('GetBlob', 429, retry_after=1)
    assert comp_path().read_bytes()==kg.zip

def test_address_has_expired(kg, old):
    "The answer of the storage contains the signed address, which must not be printed"
    kg.fail('GetBlob', 403)
    with fails('403', 'archive.zip?***'): comp_path()

def test_server_error_is_tried_again(kg):
    kg.fail('DownloadDataFiles', 500, times=2)
    assert comp_path().read_bytes()==kg.zip

def test_server_error_for_good(kg, old, monkeypatch):
    monkeypatch.setattr(dk, 'patience', 3)
    kg.fail('DownloadDataFiles', 500, times=50)
    with fails('internal error', '500'): comp_path()
    assert 2<=len(kg.asked('DownloadDataFiles'))<=5

@pytest.mark.parametrize('files,match', [({'../train.csv':'x'}, 'outside'), ({'/etc/x':'x'}, 'outside'),
    ({'C:\\x':'x'}, 'outside'), ({}, 'empty')])
def test_zip_is_not_trusted(kg, old, files, match):
    kg.zip = a_zip(files)
    with fails('not usable', match): comp_path()

def test_damage_is_found(kg, old):
    "A checksum covers every byte of the contents"
    b = bytearray(a_zip({'train.csv': os.urandom(10_000)}))
    b[5000] ^= 1
    kg.zip = bytes(b)
    with fails('not usable', 'train.csv'): comp_path()

def test_page_for_a_zip(kg, old):
    kg.fail('DownloadDataFiles', 'garbage')
    with fails('could not download'): comp_path()

def test_disk_full(kg, old):
    "The process has a limit for the size of a file. The error is logged at once, and not after the client's retries"
    kg.zip = a_zip({'train.csv': os.urandom(400_000)})
    code = '''
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        from digitfast.core import KaggleError
        from digitfast.kaggle.download import comp_path
        try: comp_path()
        except KaggleError as e: print(e)'''
    res = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True,
        env=os.environ|dict(PYTHONPATH=str(HERE.parents[1])))
    assert 'could not download' in res.stdout and 'Free some space' in res.stdout and 'Traceback' not in res.stderr, res
    assert len(kg.asked('GetBlob'))==1

def test_folder_that_refuses(kg):
    Path('file').write_text('')
    with fails('could not download', 'file'): comp_path(path='file')

# -- bounds of what a server sends

def drip(h):
    "Send the head at once, then a byte from time to time"
    h.send_response(200)
    h.send_header('Content-Length', '100000')
    h.end_headers()
    for _ in range(500): h.wfile.write(b'x'); time.sleep(.02)

def drip_head(h):
    h.wfile.write(b'HTTP/1.1 200 OK\r\nX-Slow: ')
    for _ in range(500): h.wfile.write(b'x'); time.sleep(.02)

def drip_chunk(h):
    "Send the size of the next part of an answer, without an end"
    h.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    for _ in range(500): h.wfile.write(b'0'); time.sleep(.02)

def endless(h, n=10**9):
    "Send a body without a length"
    h.send_response(200)
    h.send_header('Content-Type', 'application/json')
    h.end_headers()
    for _ in range(n//2**16): h.wfile.write(b'['*2**16)

def unpacks(h):
    "Send a small body that unpacks to a large one"
    import gzip
    b = gzip.compress(b'['*10**7)
    h.send_response(200)
    for k,v in {'Content-Encoding':'gzip', 'Content-Length':len(b), 'Content-Type':'application/json'}.items():
        h.send_header(k, str(v))
    h.end_headers()
    h.wfile.write(b)

def announces(h, n=2**40):
    h.send_response(200)
    h.send_header('Content-Length', str(n))
    h.end_headers()
    h.wfile.write(b'PK')
    time.sleep(.1)

def impatient(kg, monkeypatch, **bounds):
    "Lower the `bounds` after the client has signed in"
    def lower(answer):
        for k,v in dict(silence=.3, patience=0, **bounds).items(): monkeypatch.setattr(dk, k, v)
        return answer
    kg.answers['IntrospectToken'] = lower

BOUNDS = dict(drip=(drip, 'too slowly'), drip_head=(drip_head, 'was lost (ReadTimeout)'), drip_chunk=(drip_chunk,
    'too slowly'), endless=(endless, 'too large: over 200,000 bytes'),
    unpacks=(unpacks, 'too large: over 200,000 bytes'))
@pytest.mark.parametrize('name', BOUNDS)
def test_download_has_bounds(kg, old, monkeypatch, name):
    fault,says = BOUNDS[name]
    impatient(kg, monkeypatch, largest_download=200_000, largest_answer=200_000)
    for method in ('GetBlob','DownloadDataFiles'):
        kg.fail(method, fault)
        monkeypatch.setattr(dk, 'silence', 60)
        t,n = time.monotonic(),len(kg.asked(method))
        with fails('could not download', says): comp_path()
        assert time.monotonic()-t<5 and len(kg.asked(method))==n+1

def test_a_large_announcement_is_enough(kg, old):
    kg.fail('GetBlob', announces)
    with fails('too large', '1,099,511,627,776 bytes are announced', '1,073,741,824'): comp_path()

def test_room_on_the_disk_is_checked_first(kg, old, monkeypatch):
    monkeypatch.setattr(dk.shutil, 'disk_usage', lambda p: shutil._ntuple_diskusage(10**6, 10**6-100, 100))
    kg.fail('GetBlob', lambda h: announces(h, 5000))
    with fails('5,000', '100 bytes are free', 'Free some space'): comp_path()

def test_a_broken_download_stays_bounded(kg, monkeypatch):
    "The bytes of an earlier attempt count, too"
    kg.zip = a_zip({'train.csv': os.urandom(300_000)})
    monkeypatch.setattr(dk, 'largest_download', 200_000)
    kg.fail('GetBlob', lambda h: kg.store(h, dk.urlsplit(h.path), b'', {}, 'cut'))
    kg.fail('GetBlob', lambda h: announces(h, 'many'))
    with fails('too large'): comp_path()
    assert inside()==[]

def test_a_zip_that_unpacks_to_too_much(kg, old, monkeypatch):
    monkeypatch.setattr(dk, 'largest_download', 1000)
    kg.zip = a_zip({'train.csv':'0'*20_000})
    with fails('unpacks to 20,000 bytes'): comp_path()

def test_other_answers_have_bounds(kg, sub, monkeypatch):
    impatient(kg, monkeypatch, largest_answer=200_000)
    for name in ('endless','unpacks','drip','drip_head'):
        fault,says = BOUNDS[name]
        kg.fail('GetSubmissionLimits', fault)
        monkeypatch.setattr(dk, 'silence', 60)
        with fails(says): submit_to_kaggle(sub, 'm')
    assert not kg.subs

def test_a_score_that_drips_keeps_its_reference(kg, sub, monkeypatch):
    impatient(kg, monkeypatch)
    kg.fail('ListSubmissions', drip)
    with fails('submission 51000000'): submit_to_kaggle(sub, 'm')

def test_an_address_to_upload_to_that_is_none(kg, sub):
    urls = ['', 'storage', 'ftp://storage/x', 'http://[::1', '//storage/x', 'https://', 'http://:80', 'file:///etc/passwd',
            None, 7, [1], {}]
    for url in urls:
        kg.answers['StartSubmissionUpload'] = lambda r: r|dict(createUrl=url)
        with fails('address for the upload', 'Nothing was uploaded') as e: submit_to_kaggle(sub, 'm')
        assert 'no connection' not in e.msg, url
    assert not kg.subs and len(kg.asked('StartSubmissionUpload'))==len(urls)

def test_an_upload_is_not_sent_on_to_another_host(kg, sub):
    def redirect(h):
        h.send_response(307)
        h.send_header('Location', 'http://localhost/elsewhere')
        h.send_header('Content-Length', '0')
        h.end_headers()
    kg.fail('PutBlob', redirect)
    with fails('did not accept'): submit_to_kaggle(sub, 'm')
    assert not kg.asked('elsewhere') and not kg.subs

def test_secrets_are_hidden_quickly():
    t = time.monotonic()
    for s in '/', '/?', 'a/', '?/', 'x': hide_secrets(s*200_000)
    assert time.monotonic()-t<2
    assert hide_secrets('(see http://a/b?sig=1) "/c?x=/d"')=='(see http://a/b?***) "/c?***"'

# -- submissions

@pytest.fixture
def sub(tmp_path):
    p = Path('submission.csv')
    with zipfile.ZipFile(sample_path()) as z: n = z.read('test.csv').count(b'\n')-1
    p.write_text('ImageId,Label\n'+''.join(f'{i},{i%10}\n' for i in range(1, n+1)))
    return p

def test_submit(kg, sub):
    logged = []
    res = submit_to_kaggle(sub, 'first try', say=logged.append)
    assert (res.status,res.score,res.left)==('complete', .99571,
        4) and res.ref==kg.subs[0]['ref'] and res.url.endswith('digit-recognizer/submissions')
    assert kg.subs[0]['description']=='first try' and kg.subs[0]['fileName']=='submission.csv'
    assert [b['data'] for b in kg.blobs.values()]==[sub.read_bytes()]
    assert [c['method'] for c in kg.calls if c['method']!='IntrospectToken'][:4]==['GetSubmissionLimits',
        'StartSubmissionUpload','PutBlob','CreateSubmission']
    assert submit_to_kaggle(sub, 'again').left==3

NO_PREDICTIONS = dict(constant=lambda d: [7]*len(d.test), copied=lambda d: d.train.label[:len(d.test)],
    sample=lambda d: d.sample.iloc[:,1])
@pytest.mark.parametrize('name', NO_PREDICTIONS)
def test_submit_refuses_what_is_no_prediction(kg, sub, data, name):
    rows = zip(data.sample.ImageId, NO_PREDICTIONS[name](data))
    sub.write_text('ImageId,Label\n'+''.join(f'{i},{l}\n' for i,l in rows))
    with fails('was not submitted', 'force=True', kind=DataError): submit_to_kaggle(sub, 'm', data=data)
    assert not kg.calls
    assert submit_to_kaggle(sub, 'm', data=data, force=True).score==.99571

def test_submit_of_other_labels_needs_an_option(kg, sub, data, capfd, tmp_path):
    other = replace(data, sample=data.sample.assign(Label='zero'))
    with fails('allow_other_labels=True', kind=DataError):
        submit_to_kaggle(sub, 'm', data=other, force=True)
    assert not kg.calls
    assert submit_to_kaggle(sub, 'm', data=other, allow_other_labels=True).score==.99571
    csvs(tmp_path/'d', sample=pd.DataFrame(dict(ImageId=range(1, 21), Label=9)))
    sub.write_text('ImageId,Label\n'+''.join(f'{i},{i*i%3}\n' for i in range(1, 21)))
    assert command('submit', sub, tmp_path/'d', '-m', 'm')==1 and '--allow-other-labels' in capfd.readouterr().err
    assert command('submit', sub, tmp_path/'d', '-m', 'm', '--allow-other-labels')==0

def test_command_submit_force(kg, sub, capfd):
    sub.write_text('ImageId,Label\n'+''.join(f'{i},7\n' for i in range(1, 1001)))
    assert command('submit', sub, 'sample', '-m',
        'm')==1 and 'every label is 7' in capfd.readouterr().err and not kg.subs
    assert command('submit', sub, 'sample', '-m', 'm', '--force')==0 and len(kg.subs)==1

def test_submit_checks_first(kg, sub):
    sub.write_text('ImageId,Label\n1,11\n')
    with fails(kind=DataError): submit_to_kaggle(sub, 'm', data='sample')
    assert not kg.calls

def test_submit_without_waiting(kg, sub):
    assert submit_to_kaggle(sub, 'm', wait=0)[1:3]==('pending', None) and not kg.asked('ListSubmissions')

def test_score_that_does_not_come(kg, sub):
    kg.pending = 10**6
    assert submit_to_kaggle(sub, 'm', wait=.2)[1:3]==('pending', None) and len(kg.asked('ListSubmissions'))>1

def test_score_that_is_an_error(kg, sub):
    kg.error = 'Evaluation Exception: 27999 rows expected'
    with fails('could not score', '27999 rows'): submit_to_kaggle(sub, 'm')

def test_score_of_this_submission(kg, sub):
    kg.mate = '0.10217'
    assert submit_to_kaggle(sub, 'm').score==.99571

NO_SCORES = ['N/A', '0,99', [.9], {'a':1}, '\x1b[31m0.9', 'nan', '1e999', float('nan'), float('inf'), True, '9'*5000,
    '1_0', '\u0660.\u0669', 'inf', '-', '0.9 0.8', '0x1']
def test_a_score_that_is_no_number(kg, sub):
    "The submission counts, so its reference is printed at once and is part of the error"
    kg.allowed = 99
    for score in NO_SCORES:
        kg.score,logged = score,[]
        with fails('scored submission 510000', 'expected a number', 'digit-recognizer/submissions') as e:
            submit_to_kaggle(sub, 'm', say=logged.append)
        ref = f"submission {kg.subs[0]['ref']}"
        assert ref in e.msg and len(e.msg)<400 and '\x1b' not in e.msg and any(ref in o for o in logged), score

def test_a_score_that_is_a_number(kg, sub):
    for kg.score in ('0.5', .5, ' 0.5 ', '5e-1', '+.5'): assert submit_to_kaggle(sub, 'm').score==.5

def test_a_reference_that_is_none(kg, sub):
    "The submission may have counted, so another attempt is not advised"
    kg.allowed = 99
    for ref in (None, 0, 'abc', [1], {'a':1}, '\x1b[31m', -1, float('inf'), True):
        kg.answers['CreateSubmission'] = lambda r: r|dict(ref=ref)
        with fails('no reference', 'before another try', 'digit-recognizer/submissions') as e:
            submit_to_kaggle(sub, 'm')
        assert 'did not accept' not in e.msg
    assert len(kg.subs)==9

def test_a_reference_that_is_text(kg, sub):
    kg.answers['CreateSubmission'] = lambda r: r|dict(ref=str(r['ref']))
    assert submit_to_kaggle(sub, 'm')[:3]==(51000000, 'complete', .99571)

def test_a_list_of_submissions_that_cannot_be_read(kg, sub):
    kg.allowed = 99
    for more,says in ((dict(date='today'), 'today'), (dict(date=5), "can't be read"), (dict(status='NOPE'), "can't"),
                      (dict(status=None), "can't be read"), (dict(status=[1]), "can't be read")):
        kg.answers['ListSubmissions'] = lambda r: dict(submissions=[o|more for o in r['submissions']])
        with fails(f'submission {51000000+len(kg.subs)}', says): submit_to_kaggle(sub, 'm')
    for answer in (5, None, dict(submissions=5), dict(submissions=[None])):
        kg.answers['ListSubmissions'] = lambda r: answer
        with fails(f'submission {51000000+len(kg.subs)}', "can't be read"): submit_to_kaggle(sub, 'm')

def test_the_rest_of_an_answer_does_not_matter(kg, sub):
    more = dict(totalBytes='many', publicScoreNullable='N/A', privateScore=[1], errorDescription=7, new={'a':[1]})
    kg.answers['ListSubmissions'] = lambda r: dict(submissions=[o|more for o in r['submissions']])
    assert submit_to_kaggle(sub, 'm').score==.99571

def test_ctrl_c_while_waiting(kg, sub, monkeypatch, capfd):
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr('digitfast.kaggle.submit.wait_until', stop)
    assert command('--quiet', 'submit', sub, '-m', 'm')==130
    assert 'submission 51000000 was sent' in capfd.readouterr().err

def test_no_score_to_show(kg, sub):
    kg.score = ''
    assert submit_to_kaggle(sub, 'm')[1:3]==('complete', None)

def test_limit(kg, sub):
    kg.allowed,kg.total = 0,5
    with fails('no submission is left', '00:00 UTC'): submit_to_kaggle(sub, 'm')
    kg.by_total = True
    with fails('no submission is left', '5 in all'): submit_to_kaggle(sub, 'm')
    assert not kg.asked('StartSubmissionUpload')

LIMITS = [({}, None), ([], None), (dict(numAllowedNow='5', numTotal='7', numToday='2'), 4), (dict(numAllowedNow=5.), 4),
    (dict(numAllowedNow='N/A', numTotal=7), None), (dict(numAllowedNow=None), None), (dict(numAllowedNow=[5]), None),
    (dict(numAllowedNow=float('inf')), None), (dict(numAllowedNow=True), None), (dict(numAllowedNow=-1), None)]
def test_limits_of_other_types(kg, sub):
    "The remaining number is a number or unknown. An answer without limits does not mean that the limit is reached"
    kg.allowed = 99
    for answer,left in LIMITS:
        kg.answers['GetSubmissionLimits'],logged = lambda r: answer,[]
        assert submit_to_kaggle(sub, 'm', say=logged.append, wait=0).left==left, answer
        assert any('does not report' in o for o in logged)==(left is None)

def test_limits_of_other_types_that_are_used_up(kg, sub):
    for answer,says in ((dict(numAllowedNow='0', numTotal='7', numToday='5'), '5 were made today'),
        (dict(numTotal='7', numToday='\x1b'), '0 were made today'),
        (dict(numTotal=7, limitedByTotal='no'), '0 were made today')):
        kg.answers['GetSubmissionLimits'] = lambda r: answer
        with fails('no submission is left', says): submit_to_kaggle(sub, 'm')
    assert not kg.asked('StartSubmissionUpload')

def test_command_without_limits(kg, sub, capfd):
    kg.answers['GetSubmissionLimits'] = lambda r: {}
    assert command('submit', sub, '-m', 'm')==0
    assert 'more today' not in capfd.readouterr().out

def test_submit_before_the_rules(kg, sub):
    "All limits are zero for a user who has not joined, and this does not mean that the limit is reached"
    kg.rules = False
    with fails('digit-recognizer/rules'): submit_to_kaggle(sub, 'm')

def test_submit_nowhere(kg, sub):
    with fails('404', "'digits'"): submit_to_kaggle(sub, 'm', competition='digits')

def test_upload_refused(kg, sub):
    "The client returns a message and `ref=0`"
    kg.fail('PutBlob', 403)
    with fails('did not accept', 'Could not submit'): submit_to_kaggle(sub, 'm')
    assert not kg.asked('CreateSubmission') and not kg.subs

def test_upload_unreachable(kg, sub, monkeypatch):
    monkeypatch.setattr(dk, 'patience', 1)
    kg.fail('PutBlob', 'reset', times=50)
    with fails('submission.csv'): submit_to_kaggle(sub, 'm')
    assert len(kg.asked('PutBlob'))<5 and not kg.subs

def test_busy_submission_counts_once(kg, sub):
    kg.fail('CreateSubmission', 429, retry_after=0)
    assert submit_to_kaggle(sub, 'm').score==.99571 and len(kg.subs)==1

@pytest.mark.parametrize('fault', ['reset', 500])
def test_doubtful_submission_is_not_repeated(kg, sub, fault):
    "The submission may have counted, and a second attempt would use another of the day's few submissions"
    kg.fail('CreateSubmission', fault)
    with fails('before another try', 'digit-recognizer/submissions'): submit_to_kaggle(sub, 'm')
    assert len(kg.asked('CreateSubmission'))==1

@pytest.mark.parametrize('method', ['GetSubmissionLimits','StartSubmissionUpload','ListSubmissions'])
@pytest.mark.parametrize('fault', ['reset', 500])
def test_the_rest_is_tried_again(kg, sub, method, fault):
    kg.fail(method, fault)
    assert submit_to_kaggle(sub, 'm').score==.99571 and len(kg.subs)==1

def test_score_out_of_reach(kg, sub):
    kg.fail('ListSubmissions', 403)
    with fails('which Kaggle has'): submit_to_kaggle(sub, 'm')

# -- publishing

PNG = b'\x89PNG\r\n\x1a\n of a seven'

def a_notebook(*cells, path='first_look.ipynb', **meta):
    cells = cells or [('markdown','# A first look\n\n> at digits'), ('code','#| default_exp x'),
        ('code','#| hide\nassert 0'), ('code','#| echo: false\n#|label: f\nimport digitfast'),
                      ('code','#| eval: false\nraise Exception'), ('code','%%time\n#| export\n\n1+1'),
                      ('code','# | exports\n# a comment\n2'), ('raw','---\na: b\n---')]
    nb = dict(cells=[dict(cell_type=t, source=s, metadata={}) | (dict(outputs=[dict(output_type='stream',
        name='stdout', text='x'*2_000_000)], execution_count=1) if t=='code' else {})
                     for t,s in cells], metadata=meta, nbformat=4, nbformat_minor=5)
    Path(path).write_text(json.dumps(nb))
    return path

def test_links_that_lead_nowhere_on_kaggle_become_text_and_pictures_come_along(home):
    Path('7.png').write_bytes(PNG)
    nb = a_notebook(('markdown',
        'See [scratch](01_first.ipynb#sgd), [the data](../README.md), [fastai](https://docs.fast.ai), [above](#up), '
        '![a 7](7.png), ![an 8](8.png) and ![a 9](attachment:9.png)'),
                    ('code','x[0](1)'))
    a,b = pb.kernel_nb(nb).cells
    assert a.source==('See scratch, the data, [fastai](https://docs.fast.ai), [above](#up), ![a 7](attachment:7.png), '
                      'an 8 and ![a 9](attachment:9.png)')
    assert a.attachments=={'7.png':{'image/png':base64.b64encode(PNG).decode()}} and b.source=='x[0](1)'
    assert 'attachments' not in b

def test_code_in_text_stays_and_only_pictures_come_along(home):
    "If a stranger's notebook names a file with a token, the file is not published"
    (home/'kaggle.json').write_text('secret')
    (home/'a.png').write_bytes(b'secret')
    Path('token').write_text('secret')
    text = 'Call `f[0](x)`, or\n```python\ng[1](y)\n```\n'
    c,_ = pb.kernel_nb(a_notebook(('markdown', f'{text}![a]({home}/kaggle.json) ![b](token) ![c]({home}/a.png)'),
        ('code','1'))).cells
    assert c.source==f'{text}a b c' and 'attachments' not in c
    nb = json.loads(Path('first_look.ipynb').read_text())
    nb['cells'][0]['attachments'] = ['nonsense']
    Path('odd.ipynb').write_text(json.dumps(nb))
    assert 'attachments' not in pb.kernel_nb('odd.ipynb').cells[0]

def pictures(files, src):
    "Convert a cell with pictures `files`; return its source, its attachments and the log"
    for name,f in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(f, bytes): Path(name).write_bytes(f)
        else: f(Path(name))
    logged = []
    c,_ = pb.kernel_nb(a_notebook(('markdown', src), ('code','1')), logged.append).cells
    return c.source, {k:base64.b64decode(next(iter(v.values()))) for k,v in c.get('attachments', {}).items()}, logged

KINDS_OF_PICTURES = dict(png=b'\x89PNG\r\n\x1a\n..', jpg=b'\xff\xd8\xff\xe0..', gif=b'GIF89a..',
    webp=b'RIFF\0\0\0\0WEBP..')
@pytest.mark.parametrize('kind', KINDS_OF_PICTURES)
def test_a_picture_is_what_its_bytes_are(home, kind):
    b = KINDS_OF_PICTURES[kind]
    src,att,logged = pictures({'img/a b.'+kind: b}, f'![a](img/a%20b.{kind})')
    assert src==f'![a](attachment:img-a%20b.{kind})' and list(att.values())==[b] and len(logged)==1
    assert f'a%20b.{kind} attached' in logged[0]

def link_to(target): return lambda p: p.symlink_to(target)
SECRET = b'{"username":"ada","key":"fedcba9876543210"}'
OUTSIDE = dict(
    a_link=({'fig.png': link_to('../home/secret.png')}, '![f](fig.png)'),
    a_link_to_the_token=({'fig.png': link_to('../home/kaggle.json')}, '![f](fig.png)'),
    a_link_within=({'7.png': b'', 'fig.png': link_to('7.png')}, '![f](fig.png)'),
    a_folder_that_is_a_link=({'img': link_to('../home')}, '![f](img/secret.png)'),
    above=({}, '![f](../home/secret.png)'),
    above_and_back=({}, '![f](x/../../home/secret.png)'),
    above_quoted=({}, '![f](%2e%2e/home/secret.png)'),
    absolute=({}, '![f]({home}/secret.png)'),
    a_file_url=({}, '![f](/../{home}/secret.png)'),
    a_text=({'fig.png': SECRET}, '![f](fig.png)'),
    a_page=({'fig.svg': b'<svg/>'}, '![f](fig.svg)'),
    a_pipe=({'fig.png': lambda p: os.mkfifo(p)}, '![f](fig.png)'),
    a_device=({'fig.png': link_to('/dev/zero')}, '![f](fig.png)'),
    a_folder=({'fig.png': lambda p: p.mkdir()}, '![f](fig.png)'),
    too_large=({'fig.png': b'\x89PNG\r\n\x1a\n'+b'.'*10**6}, '![f](fig.png)'),
    nothing=({}, '![f](gone.png)'),
    a_nul=({}, '![f](a%00b.png)'),
    a_long_name=({}, '![f]('+'x'*5000+'.png)'))
@pytest.mark.parametrize('name', OUTSIDE)
def test_what_is_no_picture_below_the_notebook_stays_behind(home, name):
    "The log names these files"
    (home/'secret.png').write_bytes(PNG+SECRET)
    (home/'kaggle.json').write_bytes(SECRET)
    files,src = OUTSIDE[name]
    src,att,logged = pictures(files, src.format(home=home))
    assert src=='f' and not att and len(logged)==1 and 'omitted' in logged[0] and len(logged[0])<300

def test_pictures_are_named_in_the_dry_run(home, capsys):
    Path('7.png').write_bytes(PNG)
    pb.publish_kernel(a_notebook(('markdown','![a](7.png) ![b](../8.png)'), ('code','1')), USER, title='Pictures',
        dry_run='out')
    out = capsys.readouterr().out
    assert f'7.png attached ({len(PNG)} bytes)' in out and '../8.png omitted' in out

REF = f'{USER}/digitfast-wheel'

def test_publish(kg, capfd):
    res = pb.publish_kernel(a_notebook(), USER)
    assert res==(f'{USER}/a-first-look', 1, 'pushed', f'https://www.kaggle.com/code/{USER}/a-first-look')
    d = kg.datasets[REF]
    assert d['private'] and d['licence']=='apache-2.0' and len(d['versions'])==1
    (name,) = d['versions'][0]
    k = kg.kernels[res.id]
    want = dict(slug=res.id, newTitle='A first look', language='python', kernelType='notebook', isPrivate=True,
        enableGpu=False, enableInternet=False, enableTpu=False,
                datasetDataSources=[REF], competitionDataSources=['digit-recognizer'])
    assert {n:k['request'].get(n) for n in want}==want and not k['request'].get('machineShape')
    cells = k['nb']['cells']
    assert [c['source'] for c in cells[1:]]==['# A first look\n\n> at digits', 'import digitfast',
        '```python\nraise Exception\n```', '%%time\n1+1', '# a comment\n2']
    assert name in cells[0]['source'] and '--no-index' in cells[0]['source'] and '--no-deps' in cells[0]['source']
    assert k['nb']['metadata']['kernelspec']==dict(name='python3', display_name='Python 3',
        language='python') and not any(c.get('outputs') for c in cells)
    assert 'Version 1 is at https://www.kaggle.com/code/ada/a-first-look' in capfd.readouterr().out
    assert inside()==['first_look.ipynb']

def test_publish_as_asked(kg):
    pb.publish_kernel(a_notebook(('code','1')), USER, title='Linear: y = mx + b', competition=None, gpu=True,
        internet=True, public=True)
    r = kg.kernels[f'{USER}/linear-y-mx-b']['request']
    assert r['isPrivate'] is False and r['enableGpu'] and r['enableInternet'] and r['machineShape']=='NvidiaTeslaT4'
    # it does without digitfast
    assert not r.get('competitionDataSources') and not r.get('datasetDataSources') and not kg.datasets

def test_a_public_kernel_has_a_public_dataset(kg, capfd):
    "Everybody who copies the kernel can install digitfast"
    pb.publish_kernel(a_notebook(), USER, public=True)
    out = capfd.readouterr().out
    assert not kg.datasets[REF]['private'] and 'public dataset' in out and 'warning' not in out

def test_a_private_dataset_of_a_public_kernel_is_logged(kg, capfd):
    pb.publish_kernel(a_notebook(), USER)
    assert kg.datasets[REF]['private'] and 'warning' not in capfd.readouterr().out
    pb.publish_kernel(a_notebook(), USER, public=True)
    out = capfd.readouterr().out
    assert 'warning: the kernel is public' in out and f'datasets/{REF}/settings' in out
    kg.fail('GetDatasetMetadata', 500, times=9)
    dk.patience,old = 0,dk.patience
    try: pb.publish_kernel(a_notebook(), USER, public=True)
    finally: dk.patience = old
    assert 'warning: the kernel is public' in capfd.readouterr().out   # it could not be found out

@pytest.mark.parametrize('pin,want', [(None,None), ('original','original'), ('latest','latest')])
def test_docker_image(kg, pin, want):
    pb.publish_kernel(a_notebook(), USER, docker_image_pinning_type=pin)
    assert kg.kernels[f'{USER}/a-first-look']['request'].get('dockerImagePinningType')==want

@pytest.mark.parametrize('head,path,want', [('# `MLPs`','04_mlps.ipynb','04-mlps'),
    ('# '+'x'*51,'04_mlps.ipynb','04-mlps'), ('## no title','04_mlps.ipynb','04-mlps'),
    ('# `Learner`','x.ipynb','learner')])
def test_title_of_the_notebook(home, head, path, want):
    assert pb.publish_kernel(a_notebook(('markdown',head), ('markdown','# Another'*(head[1]!='#')), ('code','1'),
        path=path), USER, dry_run='out').id==f'{USER}/{want}'

def test_publish_again(kg, monkeypatch):
    "Equal sources upload no second wheel. Other sources create a new version of the same dataset"
    ver = digitfast.__version__
    pb.publish_kernel(a_notebook(), USER)
    assert pb.publish_kernel(a_notebook(),
        USER).version==2 and len(kg.datasets[REF]['versions'])==1 and len(kg.asked('StartBlobUpload'))==1
    monkeypatch.setattr(digitfast, '__version__', '9.9')
    pb.publish_kernel(a_notebook(), USER)
    assert [n.split('-')[1] for v in kg.datasets[REF]['versions'] for n in v]==[ver, '9.9']

def test_dry_run(home, capsys):
    "Nothing is sent, no credentials are needed, and everything that would be sent is written"
    res = pb.publish_kernel(a_notebook(), USER, gpu=True, dry_run='out')
    assert res.status=='written' and 'kaggle' not in sys.modules
    fs = sorted(p.relative_to('out').as_posix() for p in Path('out').rglob('*') if p.is_file())
    assert fs[0]=='dataset/dataset-metadata.json' and fs[1].endswith('.whl')
    assert fs[2:]==['kernel/kernel-metadata.json','kernel/kernel.ipynb']
    meta = json.loads(Path('out/kernel/kernel-metadata.json').read_text())
    assert meta['id']==f'{USER}/a-first-look' and meta['enable_gpu'] is True
    assert meta['machine_shape']=='NvidiaTeslaT4' and meta['competition_sources']==['digit-recognizer']
    assert json.loads(Path('out/dataset/dataset-metadata.json').read_text())['licenses']==[{'name':'apache-2.0'}]
    logged = capsys.readouterr().out
    assert all(o in logged for o in ('Nothing was sent', 'GPU on', 'internet off', 'private kernel'))
    pb.publish_kernel(a_notebook(), USER, dry_run='out')
    assert len(list(Path('out/dataset').glob('*.whl')))==1

def test_dry_run_on_a_file(home):
    Path('out').write_text('')
    with fails('found that out is a file', kind=RunError): pb.publish_kernel(a_notebook(), USER, dry_run='out')

@pytest.mark.parametrize('run,status', [(['QUEUED','RUNNING','COMPLETE'], 'complete'), (['RUNNING'], 'running')])
def test_follow(kg, run, status):
    kg.run = run
    assert pb.publish_kernel(a_notebook(), USER, wait=.3).status==status

def test_failed_run_leaves_its_log(kg):
    kg.run,kg.log = ['RUNNING','ERROR'],json.dumps([dict(stream_name='stderr', time=1.0, data='Traceback\n'),
        dict(stream_name='stderr', time=1.1, data='NameError: x\n')])
    with fails('did not finish', 'threw an exception', 'a-first-look.log'): pb.publish_kernel(a_notebook(), USER,
        wait=True)
    assert Path('a-first-look.log').read_text()=='Traceback\nNameError: x\n'

@pytest.mark.parametrize('version', [False, True])
def test_push_refused(kg, version):
    logged = 'Maximum batch CPU session count of 5 reached'
    if version: kg.push = dict(error=logged)
    else: kg.message = logged
    with fails('did not accept', 'session count'): pb.publish_kernel(a_notebook(), USER)

def test_push_with_invalid_sources(kg):
    "Kaggle accepts the kernel, leaves out the data, and reports success"
    with fails('without its data', 'competition digits'): pb.publish_kernel(a_notebook(), USER, competition='digits')

def test_push_without_a_version(kg):
    kg.push = dict(versionNumber=0)
    with fails('no version number'): pb.publish_kernel(a_notebook(), USER)

@pytest.mark.parametrize('fault', ['reset', 500])
def test_doubtful_push_is_not_repeated(kg, fault):
    kg.fail('SaveKernel', fault)
    with fails('before another try', 'code/ada/a-first-look'): pb.publish_kernel(a_notebook(), USER)
    assert len(kg.asked('SaveKernel'))==1

def test_landed_elsewhere(kg, capfd):
    "Kaggle derives the address from the title by its own rule"
    res = pb.publish_kernel(a_notebook(), USER, title='Über digits')
    assert res.id==f'{USER}/ber-digits' and 'not ada/uber-digits' in capfd.readouterr().out

@pytest.mark.parametrize('fault', [403, 'reset'])
def test_wheel_refused(kg, fault, monkeypatch):
    "The client would create the dataset without its file"
    monkeypatch.setattr(dk, 'patience', 1)
    kg.fail('PutBlob', fault, times=50)
    with fails('.whl'): pb.publish_kernel(a_notebook(), USER)
    assert not kg.datasets and not kg.kernels

def test_dataset_refused(kg, monkeypatch):
    pb.publish_kernel(a_notebook(), USER)
    monkeypatch.setattr(digitfast, '__version__', '9.9')
    monkeypatch.setattr(kg, 'on_CreateDatasetVersion', type('F', (),
        dict(__doc__='datasets.DatasetApiService', __call__=lambda s,r: dict(status='error', error='quota'))  )())
    with fails('did not accept the dataset', 'quota'): pb.publish_kernel(a_notebook(), USER)
    assert kg.kernels[f'{USER}/a-first-look']['version']==1

def test_not_your_name(kg):
    with fails('belongs to ada', 'expected bob'): pb.publish_kernel(a_notebook(), 'bob')
    assert not kg.asked('SaveKernel') and not kg.datasets

@pytest.mark.parametrize('kw,match', [(dict(title='Look'), '5 to 50'), (dict(title='x'*51), '5 to 50'),
    (dict(title='?????'), 'address'), (dict(title='a ... b'), 'address'),
                                      (dict(docker_image_pinning_type='newest'), 'expected original or latest'),
                                      (dict(user='a/b'), 'not a Kaggle user'), (dict(user=''), 'not a Kaggle user'),
                                      (dict(competition='c/d'), 'not a competition')])
def test_metadata_refused(kg, kw, match):
    with fails(match): pb.publish_kernel(a_notebook(), **(dict(user=USER)|kw))
    assert not kg.calls

@pytest.mark.parametrize('text,match', [('', 'a notebook'), ('{}', 'not a notebook'), ('[1]', 'not a notebook'),
    ('{"cells":[{}],"nbformat":4}', 'cell 0 is faulty'), ('{"cells":3,"nbformat":4}', 'not a notebook'),
    ('{"worksheets":[],"nbformat":3}', 'not a notebook'), ('{"cells":[],"nbformat":4}', 'no code'),
    ('{"cells":[{"cell_type":"code","source":"#| hide\\n1"}],"nbformat":4}', 'no code'),
    ('{"cells":[{"cell_type":"code","source":"1"}],"nbformat":3}', 'nbformat 4'),
    ('{"cells":[{"cell_type":"code","source":"1"}],"nbformat":4,"metadata":{"kernelspec":{"language":"R"}}}',
    'notebook in R')])
def test_no_notebook(kg, text, match):
    Path('x.ipynb').write_text(text)
    with fails('x.ipynb', match): pb.publish_kernel('x.ipynb', USER)
    assert not kg.calls

def test_no_file(kg):
    with fails('gone.ipynb', 'a notebook'): pb.publish_kernel('gone.ipynb', USER)

# -- the wheel

def test_wheel_installs(tmp_path):
    "The list of files is right, pip installs the wheel offline, and the result is the package"
    whl = pb.mk_wheel(tmp_path)
    with zipfile.ZipFile(whl) as z:
        rec = dict(l.rsplit(',', 2)[:2] for l in z.read(next(n for n in z.namelist()
            if n.endswith('/RECORD'))).decode().splitlines())
        assert set(rec)==set(z.namelist()) and rec.popitem()[1]==''
        assert rec=={n:'sha256='+base64.urlsafe_b64encode(hashlib.sha256(z.read(n)).digest()).decode().rstrip('=')
            for n in rec}
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--no-compile', '--target',
        str(tmp_path/'t'), str(whl)]
    subprocess.run(pip, check=True, capture_output=True)
    src = {p.relative_to(digitfast.__path__[0]).as_posix():p.read_bytes()
        for p in Path(digitfast.__path__[0]).rglob('*') if p.is_file() and '__pycache__' not in p.parts}
    assert {p.relative_to(tmp_path/'t/digitfast').as_posix():p.read_bytes()
        for p in (tmp_path/'t/digitfast').rglob('*') if p.is_file()}==src
    code = ('import digitfast; from importlib.metadata import version; '
            'assert version("digitfast")==digitfast.__version__; print(digitfast.__file__)')
    res = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=os.environ|dict(PYTHONPATH=str(tmp_path/'t')),
        capture_output=True, text=True, check=True)
    assert res.stdout.startswith(str(tmp_path/'t'))
    code = 'from digitfast.kaggle.publish import mk_wheel; print(mk_wheel("."))'
    again = subprocess.run([sys.executable, '-c', code],
        cwd=tmp_path, env=os.environ|dict(PYTHONPATH=str(tmp_path/'t')),
                           capture_output=True, text=True, check=True).stdout.strip()
    assert (tmp_path/again).name==whl.name  # made from the installed copy, it is the same

@pytest.mark.parametrize('kind,text', [('dist-info', 'METADATA'), ('egg-info', 'PKG-INFO')])
def test_wheel_has_the_installed_distributions_metadata(tmp_path, monkeypatch, kind, text):
    "Check metadata in site-packages, and beside the sources of an editable installation"
    info = tmp_path/f'digitfast-{digitfast.__version__}.{kind}'
    info.mkdir()
    logged = dict(zip((text, 'entry_points.txt', 'LICENSE'), (
        f'Metadata-Version: 2.1\nName: digitfast\nVersion: {digitfast.__version__}\nRequires-Dist: fastai>=2.8.7\n',
        '[console_scripts]\ndigitfast = digitfast.cli:main\n', 'Apache License')))
    for n,s in logged.items(): (info/n).write_text(s)
    files = ''.join(f'{info.name}/{n}'+(',,' if kind=='dist-info' else '')+'\n' for n in logged)
    (info/('RECORD' if kind=='dist-info' else 'SOURCES.txt')).write_text(files)
    monkeypatch.syspath_prepend(str(tmp_path))
    with zipfile.ZipFile(pb.mk_wheel(tmp_path)) as z:
        made = f'digitfast-{digitfast.__version__}.dist-info/'
        got = [z.read(made+n).decode() for n in ('METADATA', 'entry_points.txt', 'licenses/LICENSE')]
    assert got==list(logged.values())

def test_import_needs_no_client():
    "A kernel has no fastkaggle, so importing the module and creating a kernel must work without it"
    code = '''import sys; sys.modules.update(kaggle=None, fastkaggle=None)
import digitfast.kaggle.client as k
try: k.Kaggle()
except k.KaggleError as e: print(e)'''
    res = subprocess.run([sys.executable, '-c', code], env=os.environ|dict(PYTHONPATH=str(HERE.parents[1]),
        KAGGLE_API_TOKEN=TOKEN), capture_output=True, text=True, check=True)
    assert 'pip install fastkaggle' in res.stdout

# -- the command

def command(*args):
    from digitfast.cli import main
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

def test_command_submit(kg, sub, capfd):
    assert command('submit', sub, '-m', 'first try')==0
    assert '0.99571' in capfd.readouterr().out
    assert command('--json', 'submit', sub, '-m', 'first try')==0
    assert json.loads(capfd.readouterr().out)['score']==.99571
    kg.allowed = 0
    assert command('submit', sub, '-m', 'first try')==1
    out,err = capfd.readouterr()
    assert err.startswith('error: ') and 'no submission is left' in err and err.count('\n')==1

def test_command_publish(kg, capfd):
    assert command('publish', a_notebook(), '--user', USER, '--gpu', '--wait')==0
    assert f'https://www.kaggle.com/code/{USER}/a-first-look' in capfd.readouterr().out
    assert kg.kernels[f'{USER}/a-first-look']['request']['enableGpu']
    assert command('publish', a_notebook(), '--user', 'bob')==1
    assert 'belongs to ada' in capfd.readouterr().err
    n = len(kg.calls)
    assert command('publish', a_notebook(), '--user', USER, '--dry-run')==0
    assert len(kg.calls)==n and Path('kernel/kernel/kernel-metadata.json').is_file()

def test_command_info(kg, capfd):
    assert command('info')==0
    assert 'API token' in capfd.readouterr().out and not kg.calls

def test_training_asks_kaggle(kg):
    "Training downloads the data if there are credentials and no data on disk"
    from digitfast.tasks.inputs import locate_data
    logged = []
    assert Path(locate_data(say=logged.append)).read_bytes()==kg.zip and 'Kaggle' in logged[0]
