"""Each generated CSV is read exactly, or raises an error. Damaged files give exact pixels and labels, or a `DataError`
that names the place."""
import csv, gzip, io, re, zipfile
from fractions import Fraction

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from digitfast.data import columns, table
from digitfast.core import *
from digitfast.data.columns import pixel_cols
from digitfast.data.files import data_options, find_data, sample_path
from digitfast.data.frames import check_frame
from digitfast.data.labels import label_kind
from digitfast.data.read import as_data, read_csvs, read_rows

@pytest.fixture(autouse=True, scope='module')
def small_images():
    "Images of any size are read here, because small tables are quick; test_layouts.py tests the least size"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(columns, 'least_side', 1)
        yield

many = pytest.mark.parametrize('n', [300, pytest.param(20_000, marks=pytest.mark.slow)])
fewer = pytest.mark.parametrize('n', [200, pytest.param(5_000, marks=pytest.mark.slow)])
def cases(n, f, **kw):
    "Run `f` on `n` random arguments: the same ones in the quick part, new ones in the slow part"
    settings(max_examples=n, deadline=None, derandomize=n<1000, database=None,
             suppress_health_check=list(HealthCheck))(given(**kw)(f))()

@pytest.fixture(autouse=True)
def counted(request, record_property):
    if 'n' in (ps := getattr(getattr(request.node, 'callspec', None), 'params', {})): record_property('cases', ps['n'])

def reads(path):
    "Return the result of `read_csvs`, or its error message"
    try: return read_csvs(path), None
    except DataError as e:
        assert str(e).isprintable() and 10<len(str(e))<600, str(e)
        return None, str(e)

# ---- generated frames

@st.composite
def frames(draw):
    side, n, first = draw(st.integers(1,5)), draw(st.integers(2,9)), draw(st.integers(0,1))
    x = np.frombuffer(draw(st.binary(min_size=n*side**2, max_size=n*side**2)), np.uint8).reshape(n,-1)
    word = st.text(st.characters(blacklist_categories=['Cs','Cc','Nd','Zs','Zl','Zp'], blacklist_characters='\ufeff'),
                   min_size=1, max_size=6)
    text = word.filter(lambda s: label_kind(s.strip())=='text' and s==s.strip())
    label = draw(st.sampled_from([st.integers(0,9), st.integers(0,10**18-1), text]))
    labels = draw(st.lists(label, min_size=n, max_size=n).filter(lambda o: len(set(o))>1))
    prefix = draw(st.sampled_from(['pixel','px_','','p x']))
    df = pd.DataFrame(x, columns=[f'{prefix}{i+first}' for i in range(side**2)])
    df.insert(0, 'label', labels)
    return df

@many
def test_frames_come_back(n, tmp_path, monkeypatch):
    def f(df, order, quote, end, bom, last, kind, chunk):
        monkeypatch.setattr(table, '_chunk_bytes', chunk)
        cols = list(df.columns)
        order.shuffle(cols)
        b = df[cols].to_csv(index=False, quoting=quote, lineterminator=end).encode()
        b = b'\xef\xbb\xbf'*bom + (b if last else b.removesuffix(end.encode()))
        for o in tmp_path.iterdir(): o.unlink()
        p = tmp_path
        if kind=='dir': (p/'train.csv').write_bytes(b)
        elif kind=='gz': (p/'train.csv.gz').write_bytes(gzip.compress(b))
        else:
            p = p/'a.zip'
            with zipfile.ZipFile(p, 'w') as z: z.writestr('a/b/train.csv', b, zipfile.ZIP_DEFLATED)
        d = read_csvs(p)
        assert list(d.train.columns)==list(df.columns) and d.train['label'].tolist()==df['label'].tolist()
        x = df[d.pixels].to_numpy()
        assert (d.train[d.pixels].to_numpy()==x*(255 if x.max()==1 else 1)).all() and d.side**2==df.shape[1]-1
        assert x.max()==1 or check_frame(df[cols]).equals(d.train)
    cases(n, f, df=frames(), order=st.randoms(use_true_random=False),
          quote=st.sampled_from([csv.QUOTE_MINIMAL,csv.QUOTE_ALL,csv.QUOTE_NONNUMERIC]),
          end=st.sampled_from(['\n','\r\n']), bom=st.booleans(),
        last=st.booleans(), kind=st.sampled_from(['dir','gz','zip']), chunk=st.sampled_from([13,100,2**19]))

# ---- written in any of the ways that people write

@st.composite
def tables(draw):
    """Return (bytes of a table, labels, pixels) with any separator, header, quoting, kind of number, and place and name
    of the label"""
    side,n,k = draw(st.integers(8,10)),draw(st.integers(4,9)),draw(st.integers(2,4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32-1)))
    x,y = rng.integers(0, 256, (n,side*side)),[str(i%k) for i in range(n)]
    x[0,0],x[:,-1],x[:,0] = 255,0,0
    x[0,1] = 255
    sep,head = draw(st.sampled_from(',;\t| ')),draw(st.sampled_from(['names','grid','none','numbers']))
    kind,at = draw(st.sampled_from(['plain','dot0','unit','savetxt'])),draw(st.sampled_from(['first','last']))
    words = draw(st.booleans())
    if words: y = ['abcd'[int(o)] for o in y]
    form = {'plain':str, 'dot0':lambda v: f'{v}.0', 'unit':lambda v: f'{v/255:.5f}',
            'savetxt':lambda v: f'{v:.18e}'}[kind]
    names = {'names':[f'p{i}' for i in range(side*side)], 'grid':[f'{i}x{j}' for i in range(side) for j in range(side)],
             'numbers':list(map(str, range(side*side))), 'none':None}[head]
    rows = [[o,*map(form, r)] if at=='first' else [*map(form, r),o] for o,r in zip(y, x)]
    if head!='none':
        name = draw(st.sampled_from(['label','Label','class','target','quux']))
        rows.insert(0, [name,*names] if at=='first' else [*names,name])
        if draw(st.booleans()): rows = [[['','index'][sep==' '] if not i else str(i-1),*r] for i,r in enumerate(rows)]
    quote = draw(st.booleans()) and sep!=' '
    end = draw(st.sampled_from(['\n','\r\n']))
    gap = ' '*draw(st.integers(1,3)) if sep==' ' else sep
    b = end.join(gap.join(f'"{o}"' if quote else o for o in r) for r in rows)+end*draw(st.integers(0,2))
    return b'\xef\xbb\xbf'*draw(st.booleans())+b.encode(), y if words else list(map(int, y)), x

@fewer
def test_any_table_comes_back(n, tmp_path, monkeypatch):
    def f(t, chunk, name):
        monkeypatch.setattr(table, '_chunk_bytes', chunk)
        for o in tmp_path.iterdir(): o.unlink()
        b,labels,x = t
        (tmp_path/name).write_bytes(b)
        d = read_csvs(tmp_path)
        assert d.train['label'].tolist()==labels and (d.train[d.pixels].to_numpy()==x).all()
    cases(n, f, t=tables(), chunk=st.sampled_from([100,2**19]),
          name=st.sampled_from(['train.csv','data.txt','TRAIN (1).CSV']))

@fewer
def test_damaged_tables(n, tmp_path):
    "Damaged tables with any separator give rows of whole pixels or an error of one line"
    def f(t, edits):
        (tmp_path/'train.csv').write_bytes(mutate(t[0], edits))
        d,why = reads(tmp_path)
        if d: assert d.side**2==len(d.pixels) and set(map(str,
            d.train[d.pixels].dtypes))=={'uint8'} and len(d.classes)>1
        else: assert 'train.csv' in why
    cases(n, f, t=tables(), edits=edits(['set','insert','delete','cut','copy','flip'], 3))

# ---- damaged files, against a reader that is slow, knows only this file's 4x4 pictures, and shares no code

def oracle(b):
    "Return (labels, pixels) of the CSV `b`; None if it should raise an error"
    try: t = b.decode().removeprefix('\ufeff').replace('\r\n','\n')
    except UnicodeDecodeError: return
    t = t.rstrip('\r\n')
    if '\0' in t or '\r' in t: return
    rows, t = [], re.sub('^# ?', '', t)
    for l in t.split('\n'):
        try: rows += list(csv.reader([l], strict=True)) or [[]]
        except csv.Error: return
    if len(rows)<2 or any(len(r)!=len(rows[0]) for r in rows): return
    head = [o.strip() for o in rows[0]]
    num = {}
    label = None
    for c,name in enumerate(head):
        if not name.isascii() or not re.fullmatch('pixel[0-9]+', name):
            if label is not None: return
            label = c
        elif int(name[5:]) in num: return
        else: num[int(name[5:])] = c
    if label is None or sorted(num) not in (list(range(16)), list(range(1,17))): return
    if head[label].isdecimal(): return     # such a name could be a pixel's, so it is asked
    if not head[label].isprintable() or head[label].lower() in ('','id') or re.fullmatch('unnamed[: ]*[0-9]*',
        head[label].lower()):
        return
    x, ls = [], []
    for r in rows[1:]:
        row = []
        for i in sorted(num):
            s = r[num[i]].strip(' ')
            whole,_,frac = s.partition('.')
            if not (whole.isascii() and whole.isdigit()) or frac.strip('0') or int(whole)>255: return
            row.append(int(Fraction(whole)))
        x.append(row)
        ls.append(r[label].strip())
    ls = classes(ls)
    return None if ls is None or len(set(ls))<2 else (ls, x)

def whole(o):
    """Return whether the number `o` is written as a label may be: as digits, as `3.0` up to 10^15, or as `1.5e+01`, but
    not as `2e1`"""
    if o.isdigit(): return o.isascii() and len(o)<19
    point = re.fullmatch(r'[0-9]+\.0*([eE][+-]?[0-9]+)?|[0-9]\.[0-9]+[eE]\+?[0-9]+', o)
    return bool(point) and float(o)%1==0 and float(o)<1e15

def number(o):
    """Return whether the text `o` is an ASCII number other than `nan` and `inf`. Python's `float` also accepts `٣` and
    `1_0`"""
    try: return abs(float(o))>=0 and o.isascii() and '_' not in o and not o.strip('+-')[:1].isalpha()
    except ValueError: return False

def is_name(o):
    "Return whether the text `o` is a number only by chance, such as `+5`, `1e1` or `nan`, or is far too long"
    return o.strip('+-').lower() in ('nan','inf','infinity') or number(o) and (o[0]=='+' and o[1:].isdigit() or
        o.isdigit() and len(o)>18 or bool(re.fullmatch(r'[0-9]+[eE]\+?[0-9]+', o)))

def negative(o): return re.fullmatch(r'-[0-9]+(\.0*)?', o) and float(o)!=0

def classes(ls):
    "Return the labels as they should be read; None if one of them is a mistake"
    if '' in ls: return
    nums = [o for o in ls if number(o) and not is_name(o)]
    words = [o for o in ls if not number(o) and not is_name(o)]
    numeric = nums and len(nums)>=len(words)
    if len({o for o in ls if not negative(o)})>1 and any(o.replace('−', '-') in ('-1','-1.0','-1.') for o in ls): return
    alone = len({o for o in ls if not negative(o)})<2
    if numeric and not all(whole(o) or alone and negative(o) for o in ls if o not in words): return
    if words and len(words)<len(nums) and len(set(words))==len(words) and all(ls.count(o)==1
        for o in words) and len(set(ls))<len(ls):
        return
    if all(re.fullmatch('0|-?[1-9][0-9]*', o) for o in ls) or all(re.fullmatch(r'-?[0-9]+\.0*', o) for o in ls):
        ks = [int(o.split('.')[0]) for o in ls]
        return None if is_minus_one(ks) else ks
    return ls

def is_minus_one(ks):
    "Return whether a few labels of 255 among small class numbers were -1 before they were stored as bytes"
    rest = set(ks)-{255}
    return 255 in ks and len(rest)>1 and max(rest)<min(128, 2*len(rest)+2) and 4*ks.count(255)<len(ks)

def plain(labels='numbers'):
    rng = np.random.default_rng(3)
    rows = [['label',*(f'pixel{i}' for i in range(16))]]
    rows += [[[str(i%4), 'abcd'[i%4]][labels!='numbers'], *map(str, rng.integers(0, 256, 16))] for i in range(8)]
    return '\n'.join(map(','.join, rows)).encode()+b'\n'

def mutate(b, edits):
    b = bytearray(b)
    for kind,at,new in edits:
        i = int(at*len(b))
        if kind=='set': b[i:i+len(new)] = new
        elif kind=='insert': b[i:i] = new
        elif kind=='delete': del b[i:i+len(new)]
        elif kind=='cut': del b[i:]
        elif kind=='copy': b[i:i] = b[i:i+40*len(new)]
        elif kind=='flip' and i<len(b): b[i] ^= new[0] if new else 1
    return bytes(b)

odd = st.sampled_from([b'"', b',', b'\n', b'\r\n', b'\r', b'\0', b' ', b'.', b'.0', b'-', b'+', b'e', b'0', b'00', b'9',
                       b'256', b'\xff', b'\xc3\xa9', b'\xef\xbb\xbf', b'nan', b'1e1', b'\t', b'_', b'""', b'x', b'',
                       b'\x0b', b'\xd9\xa3', b'id', b';', b':', b'/'])
edits = lambda kinds, size: st.lists(st.tuples(st.sampled_from(kinds), st.floats(0,1), odd|st.binary(max_size=3)),
                                     min_size=1, max_size=size)

@many
@pytest.mark.parametrize('labels', ['numbers','text'])
def test_damaged_csv(n, labels, tmp_path, monkeypatch):
    base, count = plain(labels), dict(read=0, refused=0)
    def f(edits, chunk):
        monkeypatch.setattr(table, '_chunk_bytes', chunk)
        b = mutate(base, edits)
        (tmp_path/'train.csv').write_bytes(b)
        d,why = reads(tmp_path)
        want = oracle(b)
        count['read' if d else 'refused'] += 1
        if d: assert want and d.train['label'].tolist()==want[0] and d.train.iloc[:,1:].to_numpy().tolist()==want[1]
        else:
            assert want is None, why
            assert f'{tmp_path}/train.csv' in why
            assert re.search(r'train\.csv(, line \d+|: the file is empty|: found only a header|: found (UTF-16|UTF-32|'
                             r'binary|a zip|gzip|a web|JSON)|, column label: found .* in )', why), why
    cases(n, f, edits=edits(['set','insert','delete','cut','copy','flip'], 3), chunk=st.sampled_from([13,100,2**19]))
    assert min(count.values())>n/20, count   # both ends are reached

@many
def test_damaged_cell(n, tmp_path):
    "One cell is overwritten, and the error names its line and column"
    base = [o.split(',') for o in plain().decode().split()]
    def f(line, col, s):
        rows = [list(o) for o in base]
        rows[line-1][col] = s
        b = '\n'.join(map(','.join, rows)).encode()
        (tmp_path/'train.csv').write_bytes(b)
        d,why = reads(tmp_path)
        want = oracle(b)
        assert bool(d)==bool(want), why
        if d: assert d.train['label'].tolist()==want[0] and d.train.iloc[:,1:].to_numpy().tolist()==want[1]
        else:
            if 'column label: 255 in 1 rows' in why: return
            at = int(re.search(r'train\.csv, line (\d+)', why)[1])
            assert line<=at<=line+s.count('\n'), why
            if not set(s)&set(',"\n\r\0'): assert f'column {base[0][col]}' in why
    other = st.characters(blacklist_categories=['Cs'])
    cells = st.text('0123456789.+-eE _nax,"\'\n\r\0\t٣é', max_size=5)|st.integers(-10, 300).map(str)| \
        st.floats().map(str)|st.from_regex(r'[0-9]{1,2}\.?[0-9]{0,2}[eE][-+]?[0-9]{1,2}', fullmatch=True)| \
        st.text(max_size=4, alphabet=other)
    cases(n, f, line=st.integers(2,9), col=st.just(0)|st.integers(0,16), s=cells)

@many
def test_damaged_zip(n, tmp_path):
    "The checksums of a zip detect the damage that its structure does not show"
    bases = []
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(o := io.BytesIO(), 'w', how) as z: z.writestr('a/train.csv', plain()), z.writestr('b.csv',
            b'1,2'*50)
        bases.append(o.getvalue())
    (tmp_path/'a.zip').write_bytes(bases[0])
    want = read_csvs(tmp_path/'a.zip').train
    def f(base, edits):
        (tmp_path/'a.zip').write_bytes(mutate(base, edits))
        d,why = reads(tmp_path/'a.zip')
        if d: assert d.train.equals(want)
        else: assert 'a.zip' in why
    cases(n, f, base=st.sampled_from(bases), edits=edits(['set','insert','delete','cut','flip'], 3))

@pytest.mark.parametrize('name', [b'a/train.csv',b'b.csv'])
def test_zip_with_a_file_of_no_name(name, tmp_path):
    "A name that begins with NUL is read as an empty name (found by the slow fuzz tests)"
    with zipfile.ZipFile(o := io.BytesIO(), 'w') as z: z.writestr('a/train.csv', plain()), z.writestr('b.csv', b'1,2')
    i = o.getvalue().rindex(name)
    (tmp_path/'a.zip').write_bytes(o.getvalue()[:i]+b'\0'+o.getvalue()[i+1:])
    d,why = reads(tmp_path/'a.zip')
    assert (d and len(d.train)==8) if name==b'b.csv' else 'no training set' in why

@many
def test_damaged_gzip(n, tmp_path):
    base = gzip.compress(plain(), mtime=0)
    (tmp_path/'train.csv.gz').write_bytes(base)
    want = read_csvs(tmp_path).train
    def f(edits):
        (tmp_path/'train.csv.gz').write_bytes(mutate(base, edits))
        d,why = reads(tmp_path)
        if d: assert d.train.equals(want)
        else: assert 'train.csv.gz' in why
    cases(n, f, edits=edits(['set','insert','delete','cut','flip'], 2))

@many
def test_bytes(n, tmp_path):
    "Check bytes that are not a CSV"
    def f(b):
        (tmp_path/'train.csv').write_bytes(b)
        assert reads(tmp_path)[1]
    cases(n, f, b=st.binary(max_size=300)|st.text(max_size=100).map(lambda s: s.encode('utf-8',
        'surrogatepass'))|st.binary(max_size=60).map(lambda o: b'label,pixel0\n'+o).filter(
            lambda o: not re.search(rb'\d,', o)))

# ---- frames in memory

@many
def test_frame_values(n):
    "One unusual value in a frame is accepted if it is 0 to 255. Otherwise the error names its row and column"
    num = st.integers(-2**63, 2**63-1)|st.integers(-3,260)|st.floats()|st.floats(0,
        256)|st.sampled_from([255.5,-0.0,256.,255.,1e-9,254.99999999999997])
    def f(v, row, col, dtype):
        df = pd.DataFrame(np.arange(27).reshape(3,9), columns=[f'p{i}' for i in range(9)], dtype=dtype)
        if dtype is float: v = float(v)
        elif dtype is int: v = max(min(int(v), 2**63-1), -2**63) if v==v and abs(v)!=np.inf else -1
        df.iat[row,col] = v
        df['label'] = [0,1,2]
        want = v==v and 0<=v<=255 and v==int(v)
        try: x = check_frame(df)
        except DataError as e: assert not want and f'row {row}, column p{col}: found' in str(e)
        else:
            exp = np.arange(27).reshape(3,9)
            exp[row,col] = v
            assert want and (x.iloc[:,1:].to_numpy()==exp).all()
    cases(n, f, v=num, row=st.integers(0,2), col=st.integers(0,8), dtype=st.sampled_from([int,float,object]))
