"""A double of Kaggle on the loopback, faithful to the wire, for the real `kaggle` client to talk to.

The client is sent here with `KAGGLE_API_ENVIRONMENT=LOCALHOST` and `http_proxy` (see `Double.env`), so request lines
are absolute: calls are JSON, `POST http://localhost/api/v1/<Service>/<Method>`; the bytes are at a second host,
`storage.localhost`, which takes no credentials but a signature in the address, as Kaggle's does. It listens on
127.0.0.1 only, answers a bounded number of requests of bounded size, and stops by itself. `fail` plants
a fault in the next calls of a method:

    with Double() as k:
        k.fail('DownloadDataFiles', 429, retry_after=1)
"""
import base64, io, json, re, socket, struct, threading, time, zipfile
from urllib.parse import parse_qs, urlsplit
from loopback import Loopback

USER, TOKEN, KEY, OAUTH = 'ada', 'KGAT_0123456789abcdef', 'fedcba9876543210', 'refresh-0123456789abcdef'
SIGNED = 'X-Goog-Signature=5163ed'
STORE = 'http://storage.localhost'

def a_zip(files):
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z:
        for n,s in files.items(): z.writestr(n, s)
    return b.getvalue()

class Refuse(Exception):
    "An error that Kaggle answers with"
    def __init__(self, code, message, **headers): self.code,self.message,self.headers = code,message,headers

class Double(Loopback):
    "The state of the double of Kaggle; `calls` are the requests, in order"
    def __init__(self, files=None, life=600, most=400, body=1<<26):
        self.zip = a_zip(files or {'train.csv':'label,pixel0\n1,0\n', 'test.csv':'pixel0\n0\n',
            'sample_submission.csv':'ImageId,Label\n1,0\n'})
        self.life,self.most,self.body = life,most,body
        self.calls,self.faults,self.lock = [],{},threading.Lock()
        self.blobs,self.subs,self.datasets,self.kernels,self.oauth = {},[],{},{},{}
        self.rules,self.allowed,self.total,self.by_total = True,5,0,False
        # of a submission; polls that it is pending for; score of a team mate's, a moment later
        self.score,self.error,self.pending,self.mate = '0.99571',None,1,None
        # of a kernel; polls that a dataset is busy for
        self.run,self.log,self.message,self.busy = ['QUEUED','RUNNING','COMPLETE'],'',None,1
        self.answers = {}                       # method: function of its answer, whose result is sent in its place
        self.push = {}                                                 # further fields of SaveKernel's answer

    @property
    def env(self):
        "Return environment variables that send the client's requests only to this double"
        return dict(KAGGLE_API_ENVIRONMENT='LOCALHOST', http_proxy=f'http://127.0.0.1:{self.port}',
            https_proxy='http://127.0.0.1:9')

    def fail(self, method, fault, times=1, **kw):
        """The next `times` calls of `method` meet `fault`: a status, or 'reset', 'short', 'hang' or 'garbage', or a
        function that is called with the handler in place of answering"""
        self.faults.setdefault(method, []).extend([(fault,kw)]*times)

    def asked(self, method): return [c for c in self.calls if c['method']==method]

    # -- one request
    def answer(self, h):
        try:
            n = int(h.headers.get('Content-Length') or 0)
            if 'chunked' in (h.headers.get('Transfer-Encoding') or ''): return self.send(h, 411, b'')
            if len(self.calls)>=self.most or n>self.body: h.close_connection = True; return self.send(h, 503, b'')
            body,url = h.rfile.read(n),urlsplit(h.path)
            if url.scheme!='http' or not url.hostname: return self.send(h, 400, b'expected a proxy request')
            store = url.hostname=='storage.localhost'
            name = {'GET':'Get','PUT':'Put'}[h.command]+'Blob' if store else url.path.split('/')[-1]
            call = dict(method=name, verb=h.command, path=url.path, body=body, headers=dict(h.headers),
                time=time.monotonic())
            with self.lock:
                self.calls.append(call)
                fault,kw = self.faults[name].pop(0) if self.faults.get(name) else (None,{})
            if callable(fault): h.close_connection = True; return fault(h)
            if fault in ('reset','hang','garbage'): return self.misbehave(h, fault, **kw)
            if isinstance(fault, int):
                head = {'Retry-After':str(kw['retry_after'])} if 'retry_after' in kw else {}
                logged = kw.get('message', 'Too many requests' if fault==429 else 'An internal server error occurred'
                    if fault>=500 else 'Permission denied')
                if kw.get('echo'): logged += ': '+h.headers.get('Authorization','')
                if store: return self.send(h, fault, b'<Error><Code>Refused</Code></Error>',
                    {'Content-Type':'application/xml', **head})
                raise Refuse(fault, logged, **head)
            if store: return self.store(h, url, body, call, fault, **kw)
            return self.rpc(h, url, name, body)
        except Refuse as e: self.send(h, e.code, json.dumps(dict(code=e.code, message=e.message)).encode(),
            {'Content-Type':'application/json', **e.headers})
        except (BrokenPipeError, ConnectionResetError): h.close_connection = True

    def send(self, h, code, body, headers=None, length=None):
        h.send_response(code)
        for k,v in (headers or {}).items(): h.send_header(k, v)
        h.send_header('Content-Length', str(len(body) if length is None else length))
        h.end_headers()
        h.wfile.write(body)

    def misbehave(self, h, fault, seconds=5, **kw):
        h.close_connection = True
        if fault=='hang': return time.sleep(seconds)
        if fault=='garbage': return self.send(h, 200, b'<html>under maintenance</html>', {'Content-Type':'text/html'})
        self.reset(h)

    def reset(self, h):
        h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        h.connection.close()

    # -- the bytes
    def store(self, h, url, body, call, fault, **kw):
        if h.headers.get('Authorization'): raise Refuse(400, 'storage takes no credentials')
        if url.query!=SIGNED: raise Refuse(403, 'the address is not signed')
        if h.command=='PUT':
            tok = url.path.split('/')[-1]
            if tok not in self.blobs: raise Refuse(404, 'no such upload')
            self.blobs[tok]['data'] = body
            return self.send(h, 200, b'')
        data,head = self.zip,{'Content-Type':'application/zip', 'Accept-Ranges':'bytes', 'ETag':'"e1"',
            'Last-Modified':'Mon, 02 Dec 2019 18:00:00 GMT'}
        if m := re.fullmatch(r'bytes=(\d+)-', h.headers.get('Range','')):
            head['Content-Range'] = f'bytes {m[1]}-{len(data)-1}/{len(data)}'
            if int(m[1])>=len(data): return self.send(h, 416, b'')
            data = data[int(m[1]):]
        part = data[:len(data)//2]
        if fault=='cut':    # the connection is reset half way
            h.close_connection = True
            self.send(h, 200, part, head, length=len(data))
            h.wfile.flush()
            time.sleep(.1)
            return self.reset(h)
        if fault=='short':  # fewer bytes than were announced, then an orderly end
            h.close_connection = True
            return self.send(h, 200, part, head, length=len(data))
        self.send(h, 206 if 'Content-Range' in head else 200, data, head)

    # -- the calls
    def who(self, h):
        auth = h.headers.get('Authorization') or ''
        ok = f'Bearer {TOKEN}', 'Basic '+base64.b64encode(f'{USER}:{KEY}'.encode()).decode(), *(f'Bearer {t}'
            for t in self.oauth)
        if auth not in ok: raise Refuse(401, 'Unauthenticated')

    def rpc(self, h, url, name, body):
        if h.command!='POST' or url.hostname!='localhost' or 'application/json' not in h.headers.get('Content-Type',
            ''): raise Refuse(404, 'Not found')
        m,req = re.fullmatch(r'/api/v1/([a-z.]+\.\w+)/(\w+)', url.path),json.loads(body or b'{}')
        f = m and getattr(self, 'on_'+name, None)
        if not f or m[1]!=f.__doc__: raise Refuse(404, 'Not found')
        if name not in ('IntrospectToken','GenerateAccessToken'): self.who(h)
        with self.lock: res = f(req)
        if name in self.answers: res = self.answers[name](res)
        if isinstance(res, str): self.send(h, 302, b'', {'Location':res})
        else: self.send(h, 200, json.dumps(res).encode(), {'Content-Type':'application/json'})

    def on_IntrospectToken(self, r):
        "security.OAuthService"
        return dict(active=True, username=USER) if r.get('token')==TOKEN else dict(active=False)

    def on_GenerateAccessToken(self, r):
        "users.AccountService"
        if r.get('refreshToken')!=OAUTH: raise Refuse(401, 'Unauthenticated')
        self.oauth['access-0123456789abcdef'] = True
        return dict(token='access-0123456789abcdef', expiresIn=43200)

    def comp(self, r):
        if r.get('competitionName')!='digit-recognizer': raise Refuse(404, 'Not found')
        if not self.rules: raise Refuse(403, "You must accept this competition's rules before you can continue")

    def on_DownloadDataFiles(self, r):
        "competitions.CompetitionApiService"
        self.comp(r)
        return f'{STORE}/kaggle-competitions-data/3004/bundle/archive.zip?{SIGNED}'

    def on_GetSubmissionLimits(self, r):
        "competitions.CompetitionApiService"
        if r.get('competitionName')!='digit-recognizer': raise Refuse(404, 'Not found')
        if not self.rules: return {}
        today = len(self.subs)
        return dict(numToday=today, numTotal=self.total+today, numAllowedNow=max(self.allowed-today, 0),
            limitedByTotal=self.by_total)

    def blob(self, r, name):
        tok = f'tok-{len(self.blobs)}-0123456789abcdef'
        self.blobs[tok] = dict(name=r[name], size=r.get('contentLength',0), data=None)
        return dict(token=tok, createUrl=f'{STORE}/upload/{tok}?{SIGNED}')

    def whole(self, tok):
        b = self.blobs.get(tok)
        if not b or b['data'] is None or len(b['data'])!=int(b['size']): raise Refuse(400, 'The file was not uploaded')
        return b

    def on_StartSubmissionUpload(self, r):
        "competitions.CompetitionApiService"
        self.comp(r)
        return self.blob(r, 'fileName')

    def on_CreateSubmission(self, r):
        "competitions.CompetitionApiService"
        self.comp(r)
        b = self.whole(r['blobFileTokens'])
        if len(self.subs)>=self.allowed: raise Refuse(400,
            'Submission not allowed: Your team has used its daily Submission allowance')
        self.subs.insert(0, dict(ref=51000000+len(self.subs), fileName=b['name'],
            description=r.get('submissionDescription'), polls=self.pending, date='2026-01-01T00:00:00.000Z'))
        ref = self.subs[0]['ref']
        if self.mate: self.subs.insert(0, dict(ref=ref+1, status='COMPLETE', publicScore=self.mate, polls=10**6))
        return dict(message='Successfully submitted to Digit Recognizer', ref=ref)

    def on_ListSubmissions(self, r):
        "competitions.CompetitionApiService"
        self.comp(r)
        res = []
        for s in self.subs:
            s['polls'] -= 1
            end = {} if s['polls']>=0 else dict(status='ERROR',
                errorDescription=self.error) if self.error else dict(status='COMPLETE', publicScore=self.score)
            res.append({k:v for k,v in s.items() if k!='polls'} | end)
        return dict(submissions=res)

    def on_SaveKernel(self, r):
        "kernels.KernelsApiService"
        if self.message: return dict(error=self.message)
        nb = json.loads(r['text'])
        made = re.sub(r'[^a-z0-9]+', '-', r['newTitle'].lower()).strip('-')  # Kaggle makes the address of the title
        if not 5<=len(r['newTitle'])<=50: raise Refuse(500, 'An internal server error occurred')
        bad = dict(invalidDatasetSources=[d for d in r.get('datasetDataSources',[]) if self.datasets.get(d,
            dict(busy=1))['busy']>=0],
                   invalidCompetitionSources=[c for c in r.get('competitionDataSources',[]) if c!='digit-recognizer'])
        ref = f'{r["slug"].split("/")[0]}/{made}'
        k = self.kernels.setdefault(ref, dict(version=0))
        k.update(version=k['version']+1, request=r, nb=nb, run=list(self.run)
            if (nb.get('metadata') or {}).get('kernelspec') else ['ERROR'])
        return dict(ref=f'/code/{ref}', url=f'https://www.kaggle.com/code/{ref}', versionNumber=k['version'],
            kernelId=7) | {k:v for k,v in bad.items() if v} | self.push

    def kernel(self, r):
        if not (k := self.kernels.get(f'{r.get("userName")}/{r.get("kernelSlug")}')): raise Refuse(403,
            "Permission 'kernels.get' was denied")
        return k

    def on_GetKernelSessionStatus(self, r):
        "kernels.KernelsApiService"
        run = self.kernel(r)['run']
        st = run.pop(0) if len(run)>1 else run[0]
        return dict(status=st) | (dict(failureMessage='Notebook threw an exception') if st=='ERROR' else {})

    def on_ListKernelSessionOutput(self, r):
        "kernels.KernelsApiService"
        self.kernel(r)
        return dict(files=[], log=self.log)

    def dataset(self, r):
        if not (d := self.datasets.get(f'{r.get("ownerSlug")}/{r.get("datasetSlug")}')): raise Refuse(403,
            "Permission 'datasets.get' was denied")
        return d

    def on_GetDatasetStatus(self, r):
        "datasets.DatasetApiService"
        d = self.dataset(r)
        d['busy'] -= 1
        return dict(status='READY' if d['busy']<0 else 'BLOBS_RECEIVED')

    def on_ListDatasetFiles(self, r):
        "datasets.DatasetApiService"
        d = self.dataset(r)
        return dict(datasetFiles=[dict(name=n, totalBytes=len(b)) for n,b in d['versions'][-1].items()])

    def on_GetDatasetMetadata(self, r):
        "datasets.DatasetApiService"
        d = self.dataset(r)
        return dict(info=dict(title='digitfast-wheel', ownerUser=r['ownerSlug'], isPrivate=d['private']))

    def on_StartBlobUpload(self, r):
        "blobs.BlobApiService"
        if r.get('type')!='DATASET': raise Refuse(400, 'unknown type of blob')
        return self.blob(r, 'name')

    def take(self, r): return {b['name']:b['data'] for b in (self.whole(f['token']) for f in r['files'])}

    def on_CreateDataset(self, r):
        "datasets.DatasetApiService"
        ref = f'{r["ownerSlug"]}/{r["slug"]}'
        if ref in self.datasets: return dict(status='error', error='The requested title is already in use by a dataset')
        if not r.get('files'): return dict(status='error', error='A dataset needs a file')
        self.datasets[ref] = dict(versions=[self.take(r)], private=r.get('isPrivate',False),
            licence=r.get('licenseName'), busy=self.busy)
        return dict(ref=ref, url=f'https://www.kaggle.com/datasets/{ref}', status='ok')

    def on_CreateDatasetVersion(self, r):
        "datasets.DatasetApiService"
        d = self.dataset(r)
        d['versions'].append(self.take(r['body']))
        d['busy'] = self.busy
        return dict(url='https://www.kaggle.com/datasets', status='ok')
