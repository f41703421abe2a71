"""Whole run directories from a stranger: bytes flipped, fields and arrays replaced, members exchanged, files as other
kinds. Whatever is in the folder, reading it ends in an answer or in one line that says what is damaged; nothing in it
is run, nothing outside it is copied, and nothing hangs or eats the machine.

`python tests/test_run_fuzz.py FIRST N` tries N cases from FIRST on: one process that forks a case at a time, under
limits of time, processor and memory."""
import io, json, os, pickle, random, resource, shutil, signal, socket, sys, tempfile, traceback, zipfile
from pathlib import Path
import numpy as np, pytest

OLD = Path(__file__).parents[1]/'fixtures'/'run-0.1'
FILES = ['metrics.json','predictions.npz','history.csv','lr_find.csv','oof.npz','model/model.json',
         'model/model.safetensors',
         'members/0/metrics.json','members/0/predictions.npz','members/1/model/model.json','members/1/history.csv']
NASTY = [None, True, False, -1, 0, 1, 3, 1.0, -0.5, 1e308, 2**31, 2**63, 2**64, '', 'x', 'x'*5000, '../../..',
         '/etc/passwd', 'a\0b', '<script>', '\x1b[31m', '\ud800', [], {},
         [0,0], [[]], {'a':{}}, 'stride2', 'small', 'resnet18', 'nan', '1e999', [1]*1000]
NUMBERS = ['1e400', '1'+'0'*400, '-1'+'0'*5000, 'NaN', 'Infinity', '-0.0', '1E5', '0x10']
DTYPES = '<f2 <f4 >f4 <f8 <g <i1 >i2 <i8 <u8 |b1 <U1 <U9 |S3 <M8[s] <m8[D] <c8 |V4'.split()

class Evil:
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return os.system, (f'touch {self.mark}',)

# ---- one change to a run

def walk(o, at=()):
    "Yield the paths to every value in the JSON `o`"
    yield at
    for k,v in (o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()): 
        yield from walk(v, (*at,k))

def put(o, at, v):
    if not at: return v
    p = o
    for k in at[:-1]: p = p[k]
    p[at[-1]] = v
    return o

def some_bytes(rng, b):
    "Return `b` with a part of it changed"
    b,what = bytearray(b),rng.choice(['flip','cut','twice','zeros','insert','empty','random'])
    i = rng.randrange(len(b)+1)
    if what=='flip':
        for _ in range(rng.choice([1,1,2,8])): b[rng.randrange(len(b))] ^= 1<<rng.randrange(8)
    elif what=='cut': del b[i:]
    elif what=='twice': b[i:i] = b[:rng.randrange(200)]
    elif what=='zeros': b[i:i+40] = bytes(40)
    elif what=='insert': b[i:i] = rng.randbytes(rng.randrange(1, 30))
    elif what=='empty': b = b''
    else: b = rng.randbytes(rng.randrange(1, 2000))
    return bytes(b)

def some_json(rng, b):
    o = json.loads(b)
    for _ in range(rng.choice([1,1,1,3])):
        at = rng.choice(list(walk(o)))
        try: o = put(o, at, rng.choice(NASTY))
        except (TypeError, KeyError, IndexError): pass
    if isinstance(o, dict) and 'check' in o:                               # a model that is what it says it is
        from digitfast.runs.weights import model_checksum
        if rng.random()<.8: o['check'] = model_checksum(o)
    s = json.dumps(o)
    if rng.random()<.15: s = s.replace(': 1', ': '+rng.choice(NUMBERS), rng.choice([1,3]))
    return s.encode('utf-8', 'surrogatepass')

def some_array(rng, a):
    x = rng.choice(['dtype','shape','value','nothing','other'])
    try:
        if x=='dtype': return a.astype(rng.choice(DTYPES))
        if x=='shape': return rng.choice([a[:0], a[1:], a[None], a.ravel(), a.reshape(-1)[:1].reshape(()),
                                          np.repeat(a, 2, 0), a.T])
        if x=='value':
            a = a.copy(); a.reshape(-1)[rng.randrange(a.size)] = rng.choice([-1, 0, 2, 1e30, np.nan, np.inf, 2**40])
            return a
        return np.zeros(rng.choice([0,1,7]), rng.choice(DTYPES))
    except (ValueError, OverflowError, IndexError, TypeError): return np.zeros(3)

def header(rng):
    "Return a header of .npy, followed by few bytes"
    f4 = "{'descr': '<f4', 'fortran_order': %s, 'shape': %s}"
    h = rng.choice([f4%('False', '(%d,)'), f4%('False', '(-%d,)'), f4%('0', '(2L, %d)'), f4%('False', '(0,%d)'),
                    "{'descr': '|O', 'fortran_order': False, 'shape': (%d,)}", "{'descr': '<f4', 'shape': %d}",
                    "{'descr': '<U%d', 'fortran_order': True, 'shape': (2,)}", '('*5000+'%d', "\0'%d",
                    "{'descr': [('a','<f4')], 'fortran_order': False, 'shape': (%d,)}",
                    "__import__('os').system('%d')"])
    h = (h%rng.choice([0, 1, 3, 10**5, 10**13, 2**62, 10**30])).encode()+b'\n'
    return b'\x93NUMPY'+bytes(rng.choice([(1,0),(1,0),(2,0),(3,0),(9,9)]))+(
        len(h).to_bytes(2, 'little')+h+bytes(rng.randrange(60)))

def some_npz(rng, b, mark):
    a = dict(np.load(io.BytesIO(b)))
    k,what,f = rng.choice(list(a)),rng.choice(['array','array','array','gone','header','object','packing','flag',
                                               'size','twice','many','npy','pickle']),io.BytesIO()
    if what=='npy': return header(rng)
    if what=='pickle': return pickle.dumps(Evil(mark))
    if what=='gone': a.pop(k)
    if what=='array': a[k] = some_array(rng, a[k])
    with zipfile.ZipFile(f, 'w',
                         rng.choice([zipfile.ZIP_LZMA,
                                     zipfile.ZIP_BZIP2]) if what=='packing' else zipfile.ZIP_DEFLATED) as z:
        for n,v in a.items():
            if what=='object' and n==k: v = np.array([Evil(mark)], object)
            o = io.BytesIO(); np.save(o, v)
            z.writestr(f'{n}.npy', header(rng) if what=='header' and n==k else o.getvalue())
        if what=='twice': z.fp.write(b''); z.filelist.append(z.filelist[0])
        if what=='many': z.filelist += z.filelist*200
        if what=='size': z.filelist[0].file_size = rng.choice([0, 5, 2**31, 2**40])
        if what=='flag': z.filelist[0].flag_bits |= rng.choice([1, 8, 0x20, 0x40, 0x800])
    return f.getvalue()

def some_csv(rng, b):
    rows = [l.split(',') for l in b.decode().splitlines()]
    odd = ['', 'nan', 'inf', '-1', '1e308', '1'+'0'*400, 'x', '"', 'a,b', '\0', '=1+1', '\udcff', '2020-01-01', 'epoch',
           '-0', '1e-320']
    for _ in range(rng.choice([1,2,9])):
        r = rng.choice(rows)
        r[rng.randrange(len(r))] = rng.choice(odd)
    return '\n'.join(map(','.join, rows)).encode('utf-8', 'surrogateescape')

def as_other_kind(rng, f, outside):
    "Replace the plain file `f` by something else"
    shutil.rmtree(f) if f.is_dir() and not f.is_symlink() else f.unlink()
    what = rng.choice(['fifo','zero','secret','folder','loop','gone','socket','big','tty'])
    if what=='fifo': os.mkfifo(f)
    elif what in ('zero','secret','loop',
                  'tty'): f.symlink_to(dict(zero='/dev/zero', secret=outside/'secret', loop=f, tty='/dev/tty')[what])
    elif what=='folder': f.mkdir()
    elif what=='socket':
        with socket.socket(socket.AF_UNIX) as s: os.chdir(f.parent); s.bind(f.name); os.chdir('/')
    elif what=='big':
        with open(f, 'wb') as o: o.truncate(rng.choice([2**23, 2**25, 2**33]))

def exchange(rng, run, runs, outside):
    "Replace a file or folder by that of another run"
    a = rng.choice([o for o in runs.rglob('*') if o.name[0]!='.'])
    b = rng.choice([o for o in run.rglob('*') if o!=run])
    if a==b or a in b.parents or b in a.parents: return
    tmp = outside/f'moved{rng.random()}'
    a.rename(tmp)
    if b.is_dir(): shutil.rmtree(b)
    else: b.unlink()
    tmp.rename(b)

def large(f): return f.is_file() and f.stat().st_size>2**22

def folder(rng, run, outside):
    "Replace folders by links, remove them, or add one"
    d = rng.choice([o for o in run.rglob('*') if o.is_dir()] or [run])
    what = rng.choice(['link','gone','more','name'])
    if what=='more': shutil.copytree(d, d.with_name(rng.choice(['9','2','x','-1','00'])), dirs_exist_ok=True,
                                     ignore=lambda p,names: [o for o in names if large(Path(p)/o)])
    elif what=='name': d.rename(d.with_name(rng.choice(['9','x',' ','\x1b[1m','n'*200])))
    else:
        away = outside/f'moved{rng.random()}'
        d.rename(away)
        if what=='link': d.symlink_to(away)

def one_change(rng, what, f, run, outside):
    if what=='bytes' and f.stat().st_size: f.write_bytes(some_bytes(rng, f.read_bytes()))
    elif what=='kind': as_other_kind(rng, f, outside)
    elif what=='exchange': exchange(rng, run, run.parent, outside)
    elif what=='folder': folder(rng, run, outside)
    elif what=='content':
        def arrays(rng, b): return some_npz(rng, b, outside/'executed')
        content = dict(json=some_json, npz=arrays, csv=some_csv, safetensors=some_bytes)[f.suffix[1:]]
        f.write_bytes(content(rng, f.read_bytes()))

def change(rng, runs, outside):
    "Make one to three changes to one of `runs`, and return that run and the changes"
    run,done = runs/rng.choice(['one','both']),[]
    for _ in range(rng.choice([1,1,1,2,3])):
        f = run/rng.choice([o for o in FILES if (run/o).is_file()] or ['metrics.json'])
        what = rng.choice(['bytes','content','content','content','kind','exchange','folder'])
        if what in ('bytes','content') and (not f.is_file() or large(f)): continue
        done.append(f'{what} {f.relative_to(runs)}')
        try: one_change(rng, what, f, run, outside)
        # it was damaged already
        except (OSError, ValueError, KeyError, EOFError, IndexError, NotImplementedError, zipfile.BadZipFile): pass
    return run,done

# ---- what is done with it

def use(run, out, page):
    "Yield (name, function) for everything that people do with a run"
    from digitfast.report.measure import doubtful_labels, list_runs, versus
    from digitfast.report.page import report
    from digitfast.runs.run import Run
    r = Run(run)
    yield from dict(metrics=lambda: r.metrics, predictions=r.predictions, oof=r.oof, history=r.history,
                    lr_curve=r.lr_curve, members=r.members, learner=lambda: r.learner('cpu'),
                    repr=lambda: repr(r), html=r._repr_html_, copy=lambda: r.copy_to(out/'copy'),
                    model=lambda: r.copy_model(out/'model'), versus=lambda: versus(r, OLD/'both'),
                    runs=lambda: list_runs(run.parent), labels=lambda: doubtful_labels(r),
                    need=lambda: r.need('data.path','settings.tta','seconds'), gone=r.data).items()
    if page: yield from dict(report=lambda: report(r), data=lambda: r.data(OLD/'digits.zip')).items()

def case(seed):
    "Return the failure in case `seed` as text, or None"
    from digitfast.core import DigitError
    rng,tmp = random.Random(seed),Path(tempfile.mkdtemp(prefix='fuzz'))
    try:
        runs,outside,out = tmp/'runs',tmp/'outside',tmp/'out'
        shutil.copytree(OLD, runs); outside.mkdir(); out.mkdir(); (outside/'secret').write_text('SECRET'*10)
        run,done = change(rng, runs, outside)
        for name,f in use(run, out, seed%20==0):
            try: f()
            except DigitError as e:
                if not str(e).isprintable() or len(str(e))>600: return f'{done}: {name} says {e!r}'
            except BaseException: return f'{done}: {name} ends in\n{traceback.format_exc(limit=-6)}'
        if (outside/'executed').exists(): return f'{done}: code of the run was executed'
        for o in out.rglob('*'):
            if o.is_symlink() or o.is_file() and b'SECRET' in o.read_bytes():
                return f'{done}: {o.name} was copied from outside'
    finally: shutil.rmtree(tmp, ignore_errors=True)

def limited(seed):
    "Run `case` in its own process, with limits of 4 minutes, 30 s of processor time and 4 GiB of additional memory"
    r,w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            statm = Path('/proc/self/statm')
            now = int(statm.read_text().split()[0])*resource.getpagesize() if statm.exists() else 0
            for k,v in ((resource.RLIMIT_AS, now+2**32), (resource.RLIMIT_CPU, 30)):
                if now or k!=resource.RLIMIT_AS: resource.setrlimit(k, (v,v))
            signal.alarm(240)
            os.write(w, (case(seed) or '').encode('utf-8', 'replace')[:60_000])
        except BaseException: os.write(w, traceback.format_exc().encode()[:60_000])
        finally: os._exit(0)
    os.close(w)
    with open(r, 'rb') as f: logged = f.read().decode()
    status = os.waitpid(pid, 0)[1]
    return logged or (f'the process ended with {status}' if status else None)

def main(first, n):
    import warnings; warnings.simplefilter('ignore')
    import torch; torch.set_num_threads(1)
    from digitfast.report.page import report
    report(OLD/'one')                                                       # imports and fonts, once for all
    for seed in range(first, first+n):
        if logged := limited(seed): print(f'case {seed}: {logged}', flush=True)
    print(f'{n} cases')

@pytest.mark.parametrize('first,n', [(0,100), pytest.param(100, 5200, marks=pytest.mark.slow)])
def test_damaged_runs(first, n, record_property):
    "The slow part takes about ten minutes, because each case is a run that is read in every way"
    record_property('cases', n)
    logged = {seed:limited(seed) for seed in range(first, first+n)}
    assert not any(logged.values()), '\n'.join(f'case {k}: {v}' for k,v in logged.items() if v)[-6000:]

if __name__=='__main__': main(int(sys.argv[1]), int(sys.argv[2]))
