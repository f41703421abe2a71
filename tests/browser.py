"Control a page in headless Chromium through its DevTools protocol"
import base64, json, shutil, subprocess, tempfile, time, urllib.request
from pathlib import Path

FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run '
         '--disable-background-networking --disable-component-update --disable-sync '
         '--hide-scrollbars --remote-debugging-port=0 --remote-allow-origins=*').split()

class Browser:
    def __init__(self, width=1100, height=800, scale=1, mobile=False):
        from websockets.sync.client import connect
        self.dir,self.n,self.events = tempfile.mkdtemp(),0,[]
        self.proc = subprocess.Popen([shutil.which('chromium'), *FLAGS, f'--user-data-dir={self.dir}', 'about:blank'],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = Path(self.dir)/'DevToolsActivePort'
        for _ in range(300):
            if port.exists() and port.read_text().strip(): break
            time.sleep(.1)
        url = f'http://127.0.0.1:{port.read_text().split()[0]}/json'
        page = next(o for o in json.load(urllib.request.urlopen(url)) if o['type']=='page')
        self.ws = connect(page['webSocketDebuggerUrl'], max_size=None)
        for o in ('Page','Runtime','Network','Log'): self(o+'.enable')
        self('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
        if mobile: self('Emulation.setTouchEmulationEnabled', enabled=True)
    def __call__(self, method, **params):
        self.n += 1
        self.ws.send(json.dumps(dict(id=self.n, method=method, params=params)))
        while True:
            msg = json.loads(self.ws.recv(60))
            if msg.get('id')==self.n:
                if 'error' in msg: raise RuntimeError(f"{method}: {msg['error']}")
                return msg['result']
            self.events.append(msg)
    def js(self, code):
        res = self('Runtime.evaluate', expression=code, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in res: raise RuntimeError(res['exceptionDetails'])
        return res['result'].get('value')
    def wait(self, code, seconds=30):
        t = time.time()
        while time.time()-t<seconds:
            if v := self.js(code): return v
            time.sleep(.01)
        raise TimeoutError(code)
    def goto(self, url): self('Page.navigate', url=url)
    def drag(self, points, touch=False):
        for i,(x,y) in enumerate(points):
            if touch:
                self('Input.dispatchTouchEvent', type='touchStart' if i==0 else 'touchMove',
                     touchPoints=[dict(x=x, y=y)])
            else:
                if i==0: self('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
                self('Input.dispatchMouseEvent', type='mousePressed' if i==0 else 'mouseMoved',
                     x=x, y=y, button='left', buttons=1, clickCount=1)
        if touch: self('Input.dispatchTouchEvent', type='touchEnd', touchPoints=[])
        else: self('Input.dispatchMouseEvent', type='mouseReleased', x=x, y=y, button='left', buttons=0, clickCount=1)
    def upload(self, selector, path):
        "Choose the file `path` in a file input"
        root = self('DOM.getDocument')['root']['nodeId']
        node = self('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self('DOM.setFileInputFiles', nodeId=node, files=[str(path)])
    def shot(self, path, full=True):
        shot = self('Page.captureScreenshot', format='png', captureBeyondViewport=full)
        Path(path).write_bytes(base64.b64decode(shot['data']))
    def urls(self):
        return [o['params']['request']['url'] for o in self.events if o['method']=='Network.requestWillBeSent']
    def close(self):
        self.ws.close(); self.proc.terminate(); self.proc.wait(20); shutil.rmtree(self.dir, ignore_errors=True)
