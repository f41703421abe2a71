"""A double of Hugging Face's hub on the loopback, for the real `huggingface_hub` to talk to (`HF_ENDPOINT`).

It keeps models as {repository: dict(private, files, log)}. Files that end in .safetensors go through LFS, others are in
the commit. It answers a bounded number of requests of bounded size, and stops by itself. `faults` are functions of
(handler, path) that answer in place of the double; one that returns False leaves the request to it.
"""
import base64, hashlib, json, re
from urllib.parse import unquote, urlsplit
from loopback import Loopback

USER,TOKEN = 'ada','hf_0123456789abcdefABCDEF'

class Hub(Loopback):
    def __init__(self, life=300, most=400, body=1<<26):
        self.life,self.most,self.body = life,most,body
        self.models,self.blobs,self.calls,self.faults = {},{},[],[]

    # -- one request

    def send(self, h, code, body=b'', length=None, **headers):
        if not isinstance(body, bytes): body = json.dumps(body).encode()
        h.send_response(code)
        headers = {'Content-Type':'application/json', 'Content-Length':str(len(body) if length is None else length),
                   **headers}
        for k,v in headers.items(): h.send_header(k, v)
        h.end_headers()
        if h.command!='HEAD': h.wfile.write(body)

    def answer(self, h):
        n = int(h.headers.get('Content-Length') or 0)
        if len(self.calls)>=self.most or n>self.body:
            h.close_connection = True
            return self.send(h, 503)
        h.body,path = h.rfile.read(n),unquote(urlsplit(h.path).path)
        self.calls.append((h.command, path))
        for o in self.faults:
            if o(h, path) is not False: return
        if path.startswith('/blob/'): return self.put_blob(h, path)
        for pattern,name in ROUTES.items():
            if m := re.fullmatch(pattern, path):
                if name in ('describe','resolve') or self.is_signed(h): return getattr(self, name)(h, *m.groups())
                return self.send(h, 401, dict(error='Invalid credentials in Authorization header'))
        self.send(h, 404, dict(error='Not Found'))

    def is_signed(self, h): return h.headers.get('Authorization')==f'Bearer {TOKEN}'

    # -- what a hub does

    def find(self, h, repo, revision):
        "Return the model with this name, or answer the request with an error"
        m,signed = self.models.get(repo),self.is_signed(h)
        if not m or m['private'] and not signed:
            error = dict(error='Repository not found' if signed else 'Invalid username or password.')
            return self.send(h, 404 if signed else 401, error, **({'X-Error-Code':'RepoNotFound'} if signed else {}))
        if revision in (None, 'main', self.sha(m)): return m
        self.send(h, 404, dict(error='Invalid rev id'), **{'X-Error-Code':'RevisionNotFound'})

    def sha(self, m): return f"{len(m['log']):040x}"

    def describe(self, h, repo, revision=None):
        if m := self.find(h, repo, revision):
            def lfs(k, b):
                if not k.endswith('.safetensors'): return {}
                return dict(lfs=dict(sha256=hashlib.sha256(b).hexdigest(), size=len(b), pointerSize=134))
            siblings = [dict(rfilename=k, size=len(b), **lfs(k, b)) for k,b in m['files'].items()]
            self.send(h, 200, dict(id=repo, modelId=repo, private=m['private'], sha=self.sha(m), tags=[], downloads=0,
                                   likes=0, siblings=siblings))

    def resolve(self, h, repo, revision, name):
        if m := self.find(h, repo, revision):
            self.send(h, 200 if name in m['files'] else 404, m['files'].get(name, b''))

    def create(self, h):
        o = json.loads(h.body)
        repo = f"{o.get('organization') or USER}/{o['name']}"
        if not repo.startswith(f'{USER}/'): return self.send(h, 403, dict(error='You have no rights here'))
        if repo in self.models: return self.send(h, 409, dict(error='You already created this model repo'))
        private = o.get('private') or o.get('visibility')=='private'
        self.models[repo] = dict(private=bool(private), files={}, log=[])
        self.send(h, 200, dict(url=f'{self.url}/{repo}', name=repo, id='1'))

    def validate(self, h): self.send(h, 200, dict(errors=[], warnings=[]))

    def preupload(self, h, repo, _):
        files = json.loads(h.body)['files']
        def mode(o): return 'lfs' if o['path'].endswith('.safetensors') else 'regular'
        self.send(h, 200, dict(files=[dict(path=o['path'], uploadMode=mode(o), shouldIgnore=False) for o in files]))

    def lfs(self, h, repo):
        objects = [dict(oid=o['oid'], size=o['size'], actions=dict(upload=dict(href=f"{self.url}/blob/{o['oid']}")))
                   for o in json.loads(h.body)['objects']]
        self.send(h, 200, dict(transfer='basic', objects=objects), **{'Content-Type':'application/vnd.git-lfs+json'})

    def put_blob(self, h, path):
        if hashlib.sha256(h.body).hexdigest()!=path.split('/')[-1]: return self.send(h, 400)
        self.blobs[path.split('/')[-1]] = h.body
        self.send(h, 200)

    def commit(self, h, repo, _):
        m,new = self.models[repo],dict(self.models[repo]['files'])
        for o in map(json.loads, h.body.decode().splitlines()):
            v = o['value']
            if o['key']=='file': new[v['path']] = base64.b64decode(v['content'])
            if o['key']=='lfsFile': new[v['path']] = self.blobs[v['oid']]
            if o['key']=='deletedFile': new.pop(v['path'])
        m['files'] = new
        m['log'].append(sorted(new))
        oid = self.sha(m)
        self.send(h, 200, dict(success=True, commitOid=oid, commitUrl=f'{self.url}/{repo}/commit/{oid}'))

_REPO = r'([\w.-]+/[\w.-]+)'
ROUTES = {r'/api/repos/create':'create', r'/api/validate-yaml':'validate',
          rf'/api/models/{_REPO}/preupload/(.+)':'preupload', rf'/api/models/{_REPO}/commit/(.+)':'commit',
          rf'/{_REPO}\.git/info/lfs/objects/batch':'lfs'}
ROUTES = {**ROUTES, rf'/api/models/{_REPO}(?:/revision/(.+))?':'describe', rf'/{_REPO}/resolve/([^/]+)/(.+)':'resolve'}
