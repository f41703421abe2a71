"Tests of the page to draw on: answers to drawings and to nonsense, serving, and use in a browser"
import base64, io, json, math, os, shutil, socket, signal, sys, time, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from digitfast.tasks.demo import Reader, demo_page, export_space, launch_page
from digitfast.runs.weights import load_net, save_net
from digitfast.core import DigitError, RunError
from digitfast.learn.predict import predict_rows
from digitfast.data.picture import image_row
from conftest import REPO, command, digits, forked
from draw_digits import draw, strokes

def url_of(im):
    f = io.BytesIO()
    im.save(f, 'PNG')
    return 'data:image/png;base64,'+base64.b64encode(f.getvalue()).decode()

@pytest.fixture(scope='module')
def net(sample_run): return sample_run[0]

@pytest.fixture(scope='module')
def reader(net): return Reader(load_net(net, 'cpu'))

# answers

def test_answers_are_those_of_predict(net, reader):
    for d in (0,3,7):
        im = draw(strokes(d), 280, pen=18/280)
        ans,want = reader.read(url_of(im)),predict_rows(load_net(net, 'cpu'), image_row(im)[None])[0]
        assert [k for k,_ in ans['bars']]==[str(i) for i in range(10)]
        assert np.abs(np.array([p for _,p in ans['bars']])-want).max()<1e-3 and ans['digit']==str(want.argmax())
        assert (np.array(ans['seen'])==image_row(im).reshape(28,28)).all()
        json.dumps(ans)

NONSENSE = dict(blank=(url_of(Image.new('RGB', (280,280), 'white')), 'no ink'), none=(None, 'no drawing'),
                number=(7, 'no drawing'), list=([1,2], 'no drawing'), empty=('', 'no drawing'),
    html=('<script>alert(1)</script>', 'no drawing'), file=('file:///etc/passwd', 'no drawing'),
    odd=('data:image/png;base64,!!!', 'no drawing'), letters=('data:image/png;base64,'+'é'*9, 'no drawing'),
    no_png=('data:image/png;base64,'+base64.b64encode(b'seven').decode(), 'no readable picture'),
    cut=(url_of(draw(strokes(3), 280))[:900], 'no '), huge=('data:image/png;base64,'+'A'*2**22, 'no drawing'),
    tiny=(url_of(Image.new('L', (1,1))), '1x1'), bomb=(url_of(Image.new('1', (10_000,10_000))), '100 megapixels'))

@pytest.mark.parametrize('name', NONSENSE)
def test_nonsense_gets_a_sentence(name, reader):
    drawing,why = NONSENSE[name]
    ans = reader.read(drawing)
    assert (list(ans)==['note'] and why in ans['note'] and '\n' not in ans['note']
            and '0x' not in ans['note'].replace('0x1',''))

def test_few_pixels_and_one_at_a_time(reader):
    "A small file with many pixels is not unpacked, and drawings are read one after another"
    assert '4 megapixels' in reader.read(url_of(Image.new('1', (3000,3000))))['note']
    with ThreadPoolExecutor(1) as pool:
        with reader.lock:
            job = pool.submit(reader.read, url_of(Image.new('RGB', (64,64), 'white')))
            time.sleep(.3)
            assert not job.done()
        assert 'no ink' in job.result(60)['note']

@pytest.mark.parametrize('host', ['999.1.1.1', 'no such host', 'x'*300, '203.0.113.7'])
def test_a_host_that_is_none(host, net):
    pytest.importorskip('gradio')
    with pytest.raises(DigitError, match='host=: .*expected an address of this machine'):
        launch_page(demo_page(net), host)

def test_large_uploads_raise_an_error(page):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'
    body = head+bytes(2**21)+b'\r\n--x--\r\n'
    kind = {'Content-Type':'multipart/form-data; boundary=x'}
    req = urllib.request.Request(page.url+'gradio_api/upload', body, kind)
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(req, timeout=30)
    assert e.value.code in (400, 413)

def test_other_classes_and_many(tmp_path):
    from digitfast.learn.learner import digit_learner
    from digitfast.data.block import DigitDataLoaders
    df = digits(n=120, n_class=30, side=28, classes=[f'k{i:02}' for i in range(30)])
    learn = digit_learner(DigitDataLoaders.from_df(df, bs=16, valid_pct=.5, device='cpu'), 'stride2')
    ans = Reader(learn).read(url_of(draw(strokes(3), 280)))
    names = [k for k,_ in ans['bars']]
    assert len(names)==10 and names==sorted(names) and ans['digit'] in names

def test_without_gradio(net, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(DigitError, match=r'digitfast\[demo\]'): demo_page(net)

# served

@pytest.fixture(scope='module')
def page(net):
    pytest.importorskip('gradio', reason='the extra demo is not installed')
    page = demo_page(net)
    page.url = launch_page(page, '127.0.0.1')
    yield page
    page.close(verbose=False)

def post(page, fn, data, raw=None, slash='', **changes):
    part = next(o['id'] for o in page.config['components'] if o['props'].get('elem_id')=='demo')
    body = (json.dumps({**dict(data=data, fn_name=fn, component_id=part, session_hash='test'), **changes}).encode()
            if raw is None else raw)
    req = urllib.request.Request(f'{page.url}gradio_api/component_server{slash}', body,
                                 {'Content-Type':'application/json'})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(req, timeout=30))

def test_served_on_this_machine_and_asks_nothing_of_others(page):
    assert page.url.startswith('http://127.0.0.1:') and not page.analytics_enabled and not page.share
    text = urllib.request.urlopen(page.url, timeout=30).read().decode()
    assert 'fonts.googleapis' not in text and '<script src="http' not in text

def test_the_address_that_gradios_client_uses(page):
    "Gradio 6.31 adds a slash at the end of the address, earlier releases do not"
    assert post(page, 'read', 'x', slash='/')==post(page, 'read', 'x')=={'note':'that is no drawing of this page'}

def test_a_hundred_clicks(page):
    "Four threads send drawings and malformed requests, and equal drawings get equal answers"
    seven,blank = url_of(draw(strokes(7), 64, pen=.07)),url_of(Image.new('RGB', (64,64), 'white'))
    want = post(page, 'read', seven)
    assert len(want['bars'])==10
    def click(i): return post(page, 'read', seven if i%20==0 else blank if i%20==10 else ('nonsense', None, {})[i%3])
    with ThreadPoolExecutor(4) as pool: got = list(pool.map(click, range(100)))
    assert all(o==want for o in got[::20]) and all('note' in o for i,o in enumerate(got) if i%20)

@pytest.mark.parametrize('bad', [dict(raw=b'{'), dict(raw=b'[]'), dict(raw=b'\xff\x00'), dict(fn_name='__class__'),
                                 dict(fn_name='nope'), dict(component_id=10**6), dict(component_id='x')])
def test_malformed_requests_leave_it_alive(bad, page):
    kw = dict(bad)
    with pytest.raises(urllib.error.HTTPError) as e: post(page, 'read', 'x', **kw)
    assert e.value.code>=400
    assert post(page, 'read', 'x')=={'note':'that is no drawing of this page'}

def test_a_taken_port_is_logged(page, net):
    port = int(page.url.rsplit(':', 1)[1].strip('/'))
    with pytest.raises(DigitError, match=f'127.0.0.1:{port}.*Choose another host= or port='):
        launch_page(demo_page(net), '127.0.0.1', port)

def test_a_port_that_is_none(net):
    pytest.importorskip('gradio')
    with pytest.raises(DigitError, match='port=: found 99999, expected 1 to 65535'):
        launch_page(demo_page(net), '127.0.0.1', 99_999)

# requests of strangers

def ask(page, path, body=None, method=None, **headers):
    "Send a request to the page's server, and return (status, headers, text)"
    req = urllib.request.Request(page.url+path, body, headers, method=method)
    try: res = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(req, timeout=30)
    except urllib.error.HTTPError as e: res = e
    with res: return res.status, {k.lower():v for k,v in res.headers.items()}, res.read().decode(errors='replace')

FORM = {'Content-Type':'multipart/form-data; boundary=x'}
@pytest.mark.parametrize('path', ['upload', 'upload?upload_id=1', 'queue/join', 'run/predict', 'call/predict', 'reset',
                                  'vibe-edit', 'component_server/..%2fupload', 'stream/1'])
def test_routes_that_the_page_does_not_need_are_closed(path, page):
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\nhello\r\n--x--\r\n'
    assert ask(page, 'gradio_api/'+path, body, **FORM)[0]==404
    assert ask(page, 'gradio_api/'+path, body, 'PUT', **FORM)[0]==404

ORIGINS = 'https://evil.example', 'null', 'http://localhost:9', 'http://127.0.0.1.evil.example'
@pytest.mark.parametrize('origin', ORIGINS)
@pytest.mark.parametrize('host', [None, 'digits.example.org', '192.168.1.7:7860'])
def test_no_website_is_let_in(origin, host, page):
    "Gradio allows any Origin if the server has another name than localhost, and the page must not"
    heads = dict(Origin=origin) | (dict(Host=host) if host else {})
    preflight = {'Access-Control-Request-Method':'POST', 'Access-Control-Request-Headers':'content-type'}
    for path,body,method,more in (('config', None, 'GET', {}), ('gradio_api/info', None, 'GET', {}),
        ('gradio_api/component_server', b'{}', 'POST', {'Content-Type':'application/json'}),
        ('gradio_api/component_server', None, 'OPTIONS', preflight), ('gradio_api/upload', b'x', 'POST', FORM)):
        _,head,_ = ask(page, path, body, method, **heads, **more)
        assert not [k for k in head if k.startswith('access-control')], (path, method)

def place(page):
    host,port = page.url.removeprefix('http://').strip('/').split(':')
    return host,int(port)

def test_large_requests_are_not_read(page):
    assert ask(page, 'gradio_api/component_server', b'x'*(2**21+1))[0]==413
    assert ask(page, '', b'x'*(2**21+1), 'GET')[0]==413
    assert ask(page, 'gradio_api/component_server', iter([b'x'*2**20]*3))[0]==413 # without a length
    for length in (b'99999999999999', b'-1', b'nan'):
        with socket.create_connection(place(page), 10) as s:
            s.sendall(b'POST /gradio_api/component_server HTTP/1.1\r\nHost: x\r\nContent-Length: '+length+b'\r\n\r\n')
            assert s.recv(100).split()[1] in (b'413', b'400')

def test_slow_and_many_requests(page, monkeypatch):
    "A request that does not arrive is ended, and only some are answered at a time"
    from digitfast.tasks import demo
    monkeypatch.setattr(demo, '_patience', .5)
    monkeypatch.setitem(demo._most_open, 'POST', 2)
    slow = [socket.create_connection(place(page), 10) for _ in range(2)]
    for s in slow: s.sendall(b'POST /gradio_api/component_server HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
    time.sleep(.1)
    assert ask(page, 'gradio_api/component_server', b'{}')[0]==503
    assert ask(page, 'config')[0]==200
    for s in slow:
        with s: assert s.recv(100).split()[1]==b'408'
    assert post(page, 'read', 'x')=={'note':'that is no drawing of this page'}

# a Space

def test_space_runs_without_digitfast_installed(net, tmp_path):
    gradio = pytest.importorskip('gradio')
    path = export_space(net, tmp_path/'space')
    head = (path/'README.md').read_text().split('---')[1]
    assert 'sdk: gradio\n' in head and f'sdk_version: {gradio.__version__}\n' in head and 'app_file: app.py\n' in head
    assert {o.name for o in (path/'model').iterdir()}=={'model.json','model.safetensors'}
    pins = (path/'requirements.txt').read_text()
    assert 'torch==' in pins and 'fastai==' in pins and '+' not in pins and str(tmp_path) not in pins
    def start():
        "Do what `python app.py` does, except for serving"
        for k in [k for k in sys.modules if k.split('.')[0]=='digitfast']: del sys.modules[k]
        os.chdir(path)
        sys.path[:] = [str(path), *(o for o in sys.path if o and Path(o)!=REPO)]
        import app, digitfast
        assert Path(digitfast.__file__).parent==path/'digitfast' and len(app.page.blocks)
        assert all(Path(m.__file__).is_relative_to(path) for k,m in sys.modules.items() if k.startswith('digitfast'))
    assert forked(start, tmp_path/'log')==0, (tmp_path/'log').read_text()
    with pytest.raises(RunError, match='expected a new or an empty folder'): export_space(net, path)

def test_space_of_an_ensemble(net, tmp_path):
    pytest.importorskip('gradio')
    for i in '01': shutil.copytree(net/'model', tmp_path/'run'/'members'/i/'model')
    (tmp_path/'run'/'metrics.json').write_text(json.dumps(dict(
        format=1, recipe='ensemble', arch='small', data=dict(name='d', path='/home/ada/d'), members=2,
        members_weights=[.75,.25], temperature=.4)))
    path = export_space(tmp_path/'run', tmp_path/'space')
    learn = load_net(path/'model', 'cpu')
    assert len(learn.model.models)==2 and learn.temperature==.4 and learn.model.logs==[math.log(.75),math.log(.25)]
    assert 'ada' not in (path/'model'/'metrics.json').read_text()

def test_space_of_no_run(tmp_path):
    pytest.importorskip('gradio')
    with pytest.raises(RunError, match='no model'): export_space(tmp_path, tmp_path/'space')
    assert not (tmp_path/'space').exists()

def test_command_serves_until_ctrl_c(net):
    "The machine reaches other machines only through a proxy"
    pytest.importorskip('gradio')
    nowhere = 'http://127.0.0.1:9'
    p = command('demo', net, '--json', cwd=net, env=dict(http_proxy=nowhere, https_proxy=nowhere))
    try:
        url = json.loads(''.join(p.stdout.readline() for _ in range(3)))['url']
        assert urllib.request.urlopen(url, timeout=60).status==200
        p.send_signal(signal.SIGINT)
        out,err = p.communicate(timeout=60)
        assert p.returncode==0 and 'Traceback' not in err, err
    finally: p.kill()

# in a browser

BOX = "(q => { const r = document.querySelector(q).getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })"

def pictures():
    "Return pictures of a seven: wide, white on black, and larger than the page sends"
    seven = draw(strokes(7), 280, pen=18/280)
    wide = Image.new('RGB', (560,280), 'white')
    wide.paste(seven, (140,0))
    black = Image.eval(seven.convert('L'), lambda v: 255-v)
    return {'wide.jpg':wide, 'black.png':black, 'large.png':seven.resize((1400,1400))}

@pytest.mark.slow
@pytest.mark.parametrize('phone', [False, True])
def test_in_a_browser(phone, page, tmp_path):
    "Strokes on the canvas with mouse and finger are predicted correctly, Clear works, and no other machine is asked"
    if not shutil.which('chromium'): pytest.skip('there is no chromium')
    pytest.importorskip('websockets', reason='there is no websockets to steer chromium with')
    from browser import Browser
    b = Browser(390, 844, 2, True) if phone else Browser(1000, 700)
    try:
        b.goto(page.url)
        b.wait("document.querySelector('.prediction')?.innerText.startsWith('Draw one digit')", 60)
        assert b.js("document.documentElement.scrollWidth<=innerWidth")
        right = 0
        for d in range(10):
            x,y,w,h = b.js(BOX+"('.pad')")
            for s in strokes(d): b.drag([(x+w*(.2+.6*px), y+h*(.2+.6*py)) for px,py in s], touch=phone)
            got = b.wait("document.querySelector('.prediction b')?.innerText")
            time.sleep(1)                                       # a second stroke is read after the first
            right += b.js("document.querySelector('.prediction').innerText")==str(d)
            assert b.js("document.querySelectorAll('.bar').length")==10
            b.js("document.querySelector('.clear').click()")
            b.wait("document.querySelector('.prediction').innerText.startsWith('Draw one digit')")
        assert right>=8                                          # after one epoch on the sample
        for name,im in pictures().items():
            im.save(tmp_path/name)
            b.upload('.upload input', tmp_path/name)
            b.wait("document.querySelector('.prediction b')?.innerText==='7'")
            shape = "[document.querySelector('.pad').width, document.querySelector('.pad').height]"
            assert np.divide(*b.js(shape))==im.width/im.height
            assert b.js("document.documentElement.scrollWidth<=innerWidth")
            b.js("document.querySelector('.clear').click()")
            b.wait("document.querySelector('.prediction').innerText.startsWith('Draw one digit')")
        (tmp_path/'seven.txt').write_text('seven')
        b.upload('.upload input', tmp_path/'seven.txt')
        b.wait("document.querySelector('.prediction').innerText.includes('no picture that the browser can open')")
        b.js("document.querySelector('.clear').click()")
        b.wait("document.querySelector('.prediction').innerText.startsWith('Draw one digit')")
        x,y,w,h = b.js(BOX+"('.pad')")
        for i in range(300): b.drag([(x+w*(i*7%90+5)/100, y+h*(i*13%90+5)/100)], touch=phone)
        b.js("document.querySelector('.clear').click()")
        b.wait("document.querySelector('.prediction').innerText.startsWith('Draw one digit')")
        assert not [u for u in b.urls() if not u.startswith((page.url, 'data:', 'blob:'))]
        assert not [e for e in b.events if e['method']=='Runtime.exceptionThrown']
    finally: b.close()
