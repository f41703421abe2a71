"A server on the loopback for doubles of services: each request goes to `answer`, and it stops by itself"
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Loopback:
    life = 300 # seconds

    def __enter__(self):
        outer = self
        class Handler(BaseHTTPRequestHandler):
            protocol_version,timeout = 'HTTP/1.1',10
            def log_message(self, *args): pass
            def do_GET(self): outer.answer(self)
            do_POST = do_PUT = do_HEAD = do_GET
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads,self.server.handle_error = True,lambda *_: None # a client that hangs up is no news
        self.port = self.server.server_address[1]
        self.url = f'http://127.0.0.1:{self.port}'
        threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=.05), daemon=True).start()
        self.timer = threading.Timer(self.life, self.server.shutdown)
        self.timer.daemon = True
        self.timer.start()
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.server.shutdown()
        self.server.server_close()
