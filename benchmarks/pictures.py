"""Count the drawn pictures of known digits that a run reads correctly, and those it misreads without a doubt.

    python benchmarks/pictures.py DATA RUN      train RUN with --split last, so that the drawn rows are held out

It writes pictures.csv, with a row for each kind of picture, and docs/pictures.png with the misread pictures."""
import io, time
import numpy as np
from pathlib import Path
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage as ndi
from _common import parse, parser, save

PENS = [((255,255,255),(0,0,0)), ((250,248,240),(30,40,130)), ((235,228,210),(60,60,60)), ((240,240,240),(110,110,110)),
        ((255,255,255),(190,40,40)), ((255,240,150),(20,90,40)), ((40,60,50),(235,235,230)), ((0,0,0),(255,255,255))]

class Sheet:
    "Digits in lines on one sheet of ink, from 0 to 1, and their boxes"
    def __init__(self, rows, rng, gap=0, margin=None, low=60, high=180, per_line=99, thicker=0):
        self.rng,self.side,self.thicker = rng,int(rng.integers(low, high)),thicker
        inks = [self._enlarge(r) for r in rows]
        t,r,b,l = rng.integers(self.side//4, self.side, 4) if margin is None else [margin]*4
        lines = [inks[k:k+per_line] for k in range(0, len(inks), per_line)]
        h = max(o.shape[0] for o in inks)
        step,w = h+self.side//3,max(sum(o.shape[1]+gap for o in line)-gap for line in lines)
        self.ink,self.boxes = np.zeros((step*(len(lines)-1)+h+t+b, w+l+r), np.float32),[]
        for k,line in enumerate(lines):
            x = l
            for o in line:
                y = t+step*k+(h-o.shape[0])//2
                self.ink[y:y+o.shape[0], x:x+o.shape[1]] = o
                self.boxes.append((x, y, x+o.shape[1], y+o.shape[0]))
                x += o.shape[1]+gap
        self.paper,self.pen = PENS[rng.integers(len(PENS))]

    def _enlarge(self, row):
        "Enlarge a row of pixels, with strokes thicker by the share `thicker` of the digit's side"
        n = round(1.4*self.side)
        ink = np.asarray(Image.fromarray(row).resize((n,n), Image.Resampling.BICUBIC), np.float32)/255
        k = 2*round(abs(self.thicker)*self.side/2)+1
        if self.thicker: ink = (ndi.grey_dilation if self.thicker>0 else ndi.grey_erosion)(ink, (k,k))
        ys,xs = np.nonzero(ink>.2)
        return ink[ys.min():ys.max()+1, xs.min():xs.max()+1]

    def layer(self, f):
        "Return the drawing of `f` as ink, drawn with a pen of 255 on a sheet twice as large"
        h,w = self.ink.shape
        im = Image.new('L', (2*w, 2*h))
        f(ImageDraw.Draw(im), w, h)
        return np.asarray(im.resize((w,h), Image.Resampling.BOX), np.float32)/255

    def add(self, f):
        "Add the drawing of `f` to the ink"
        self.ink = np.maximum(self.ink, self.layer(f))
        return self

    def painted(self, ground=None):
        "Return the sheet in the colours of its pen and its paper (or `ground`)"
        ground = np.array(self.paper, np.float32) if ground is None else ground
        return ground*(1-self.ink[...,None])+np.array(self.pen, np.float32)*self.ink[...,None]

def photo(a, rng, quality=85, noise=3):
    f = io.BytesIO()
    Image.fromarray((a+rng.normal(0, noise, a.shape)).clip(0, 255).astype(np.uint8)).save(f, 'JPEG', quality=quality)
    return Image.open(f)

def plain(s): return s.painted()
def crop(s):
    ys,xs = np.nonzero(s.ink>.2)
    return s.painted()[ys.min():ys.max()+1, xs.min():xs.max()+1]
def light(s):
    h,w = s.ink.shape
    y,x = np.mgrid[:h,:w]/max(h,w)-.5
    t = s.rng.uniform(0, 6.3)
    return photo(s.painted()*(.4+.6/(1+np.exp(-s.rng.uniform(2, 40)*(x*np.cos(t)+y*np.sin(t)))))[...,None], s.rng)
def coarse(s):
    "Draw a scan with few pixels, enlarged"
    im = Image.fromarray(s.painted().astype(np.uint8))
    n = s.rng.uniform(9, 14)/s.side
    small = im.resize([max(4, round(n*v)) for v in im.size], Image.Resampling.BOX)
    return small.resize(im.size, Image.Resampling.BICUBIC)
def blurred(s): return photo(s.painted(), s.rng).filter(ImageFilter.GaussianBlur(s.side*s.rng.uniform(.01, .04)))
def lined(s, gap, squares=False, colour=(170,190,225)):
    "Draw the sheet on paper with a line every `gap` pixels, or with squares"
    start,tilt = s.rng.integers(20),s.rng.uniform(-10, 10)
    def draw(d, w, h):
        for v in range(-60, 2*max(w, h), gap):
            d.line((0, 2*(v+start), 2*w, 2*(v+start)+tilt), fill=255, width=4)
            if squares: d.line((2*(v+start), 0, 2*(v+start)-tilt, 2*h), fill=255, width=4)
    line = s.layer(draw)[...,None]
    s.paper,s.pen = PENS[s.rng.integers(4)]
    return s.painted(np.array(s.paper)*(1-line)+np.array(colour)*line)
def ruled(s): return photo(lined(s, s.rng.integers(24, 60)), s.rng)
def squared(s): return photo(lined(s, s.rng.integers(24, 60), True), s.rng)
def fine_squares(s): return photo(lined(s, s.rng.integers(s.side//6, s.side//3), True), s.rng)
def dark_squares(s): return photo(lined(s, s.rng.integers(24, 60), True, (120,120,130)), s.rng)
def on_desk(s, a, tilt, widest):
    "Cover the painted sheet `a` with a dark desk along two edges"
    (h,w),t = s.ink.shape,np.radians(s.rng.uniform(-tilt, tilt))
    y,x = np.mgrid[:h,:w]
    u,v = (x-w/2)*np.cos(t)+(y-h/2)*np.sin(t),(y-h/2)*np.cos(t)-(x-w/2)*np.sin(t)
    left,below = s.rng.integers(5, widest, 2)
    return photo(np.where(((u>left-w/2)&(v<h/2-below))[...,None], a, (90,60,40)), s.rng)
def desk(s):
    s.paper,s.pen = PENS[s.rng.integers(4)]
    return on_desk(s, s.painted(), 6, s.side//4)
def ruled_on_desk(s): return on_desk(s, lined(s, s.rng.integers(24, 60)), 2, 20)
def colours(s):
    "Draw any pen on any paper with enough contrast"
    while True:
        s.paper,s.pen = (tuple(s.rng.integers(0, 256, 3).tolist()) for _ in range(2))
        if np.abs(np.subtract(s.paper, s.pen)).sum()>200: return s.painted()
def pencil(s):
    s.paper = tuple(s.rng.integers(200, 255, 3).tolist())
    s.pen = tuple(int(v*s.rng.uniform(.6, .75)) for v in s.paper)
    return photo(s.painted(), s.rng)
def board(s):
    "Draw chalk on a wiped board"
    wiped = ndi.gaussian_filter(s.rng.normal(0, 1, s.ink.shape), s.side/5)
    s.pen = (235,235,225)
    ground = np.array((45,70,60))*(1+.15*wiped/wiped.std())[...,None]
    return photo(s.painted(ground), s.rng, noise=6)
def turned(s):
    im,angle = Image.fromarray(s.painted().astype(np.uint8)),s.rng.uniform(-12, 12)
    return im.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=s.paper)
def frame(s):
    (x0,y0,x1,y1),m = s.boxes[0],s.side//6
    box = 2*(x0-m),2*(y0-m),2*(x1+m),2*(y1+m)
    return s.add(lambda d,w,h: d.rectangle(box, outline=255, width=2*s.side//30+2)).painted()
def ring(s):
    (x0,y0,x1,y1),r = s.boxes[0],.75*s.side
    x,y = (x0+x1)/2,(y0+y1)/2
    return s.add(lambda d,w,h: d.ellipse((2*(x-r), 2*(y-r), 2*(x+r), 2*(y+r)), outline=255, width=8)).painted()
def touching_ring(s):
    (x0,y0,x1,y1),r = s.boxes[0],np.hypot(*np.subtract(s.boxes[0][2:], s.boxes[0][:2]))/2
    x,y,r = (x0+x1)/2,(y0+y1)/2,r*s.rng.uniform(.88, .98)
    return s.add(lambda d,w,h: d.ellipse((2*(x-r), 2*(y-r), 2*(x+r), 2*(y+r)), outline=255, width=8)).painted()
def touching_frame(s):
    x0,y0,x1,y1 = s.boxes[0]
    m = s.side//8
    top,left = s.rng.choice([0,m], 2)
    box = 2*(x0-left),2*(y0-top),2*(x1+m),2*(y1+m)
    return s.add(lambda d,w,h: d.rectangle(box, outline=255, width=6)).painted()
def underline(s, gap=.15):
    x0,x1,y = s.boxes[0][0]-s.side//4,s.boxes[-1][2]+s.side//4,max(b[3] for b in s.boxes)+gap*s.side
    return s.add(lambda d,w,h: d.line((2*x0, 2*y, 2*x1, 2*y+4), fill=255, width=8)).painted()
def touching_line(s): return underline(s, 0)
def boxes(s, m=10):
    "Draw a box around each digit, `m` pixels from the outermost"
    cuts = [s.boxes[0][0]-m,*[(a[2]+b[0])//2 for a,b in zip(s.boxes, s.boxes[1:])],s.boxes[-1][2]+m]
    y0,y1 = min(b[1] for b in s.boxes)-m,max(b[3] for b in s.boxes)+m
    def draw(d, w, h):
        for a,b in zip(cuts, cuts[1:]): d.rectangle((2*a, 2*y0, 2*b, 2*y1), outline=255, width=6)
    return s.add(draw).painted()
def postcode(s): return boxes(s, 4)
def comb(s):
    "Draw a base line with ticks between the digits, as on a form"
    cuts = [s.boxes[0][0]-10,*[(a[2]+b[0])//2 for a,b in zip(s.boxes, s.boxes[1:])],s.boxes[-1][2]+10]
    y = max(b[3] for b in s.boxes)+s.side//10
    def draw(d, w, h):
        d.line((2*cuts[0], 2*y, 2*cuts[-1], 2*y), fill=255, width=6)
        for x in cuts: d.line((2*x, 2*y, 2*x, 2*y-s.side//2), fill=255, width=6)
    return s.add(draw).painted()
def date(s):
    "Draw six digits with a point after the second and the fourth"
    r = max(2, s.side//24)
    at = [(s.boxes[k][2]+(s.boxes[k+1][0]-s.boxes[k][2])/2, max(b[3] for b in s.boxes)) for k in (1,3)]
    return s.add(lambda d,w,h: [d.ellipse((2*(x-r), 2*(y-2*r), 2*(x+r), 2*y), fill=255) for x,y in at]).painted()
def label(s):
    h,w = s.ink.shape
    x0,y0,x1,y1 = s.boxes[0]
    m = s.side//5
    on = s.layer(lambda d,w,h: d.rectangle((2*(x0-m), 2*(y0-m), 2*(x1+m), 2*(y1+m)), fill=255))[...,None]
    return s.painted()*on+np.array((60,110,170))*(1-on)
def specks(s):
    h,w = s.ink.shape
    at = [(s.rng.uniform(0, 2*w), s.rng.uniform(0, 2*h), s.rng.uniform(1, .03*s.side)) for _ in range(15)]
    s.add(lambda d,w,h: [d.ellipse((x-r, y-r, x+r, y+r), fill=255) for x,y,r in at])
    return photo(s.painted(), s.rng, noise=8)

# kind: (function, number of digits or its range, arguments of `Sheet`)
KINDS = {
    'plain':(plain,1,{}), 'no margin':(crop,1,{}), 'wide margin':(plain,1,dict(margin=300)),
    'few pixels':(plain,1,dict(low=14, high=24)), 'slope or shadow':(light,1,{}), 'coarse scan':(coarse,1,{}),
    'blurred':(blurred,1,{}), 'any colours':(colours,1,{}), 'pencil':(pencil,1,{}), 'chalk':(board,1,{}),
    'heavy pen':(plain,1,dict(thicker=.08)), 'thin pen':(plain,1,dict(thicker=-.05)), 'turned':(turned,1,{}),
    'ruled':(ruled,1,{}), 'squared':(squared,1,{}), 'fine squares':(fine_squares,1,{}),
    'dark squares':(dark_squares,1,{}), 'on a desk':(desk,1,{}), 'ruled, on a desk':(ruled_on_desk,1,{}),
    'frame':(frame,1,{}), 'ring':(ring,1,dict(margin=150)), 'frame that touches':(touching_frame,1,{}),
    'ring that touches':(touching_ring,1,dict(margin=150)), 'underlined':(underline,1,{}),
    'touching line':(touching_line,1,{}), 'label':(label,1,{}), 'specks':(specks,1,{}), 'five':(plain,5,dict(gap=30)),
    'five, close':(plain,5,dict(gap=7, low=90)), 'two to eight':(plain,(2,8),dict(gap=16)),
    'two lines':(plain,6,dict(gap=20, per_line=3)), 'date':(date,6,dict(gap=24)),
    'five in boxes':(boxes,5,dict(gap=40)), 'postcode in boxes':(postcode,5,dict(gap=14)), 'comb':(comb,5,dict(gap=30)),
    'five, ruled':(ruled,5,dict(gap=24))}

def pictures(x, y, n, seed=0):
    "Yield (kind, picture, digits), `n` of each kind"
    for i,(kind,(draw,m,kw)) in enumerate(KINDS.items()):
        rng = np.random.default_rng((seed, i))
        for _ in range(n):
            few,many = m if isinstance(m, tuple) else (m,m)
            at = rng.integers(len(x), size=rng.integers(few, many+1))
            im = draw(Sheet([x[j] for j in at], rng, **kw))
            if not isinstance(im, Image.Image): im = Image.fromarray(im.clip(0, 255).astype(np.uint8))
            yield kind,im,''.join(str(y[j]) for j in at)

def score(learn, x, y, n):
    "Return the rows of the table, and (kind, picture, digits, read) of each misread picture"
    from digitfast.core import DataError
    from digitfast.data.picture import read_pictures
    from digitfast.tasks.pictures import network_judge
    judge,rows,wrong = network_judge(learn),{},[]
    for kind,im,digits in pictures(x, y, n):
        t = time.process_time()
        try: found = read_pictures(im, learn.dls.side, learn.dls.reading, judge)
        except DataError: found = []
        r = rows.setdefault(kind, dict(kind=kind, pictures=0, right=0, silent=0, doubtful=0, seconds=0.))
        read = ''.join(str(learn.dls.vocab[d.probs.argmax()]) for d in found)
        doubt,ok = not found or any(d.doubt for d in found),read==digits
        seconds = time.process_time()-t
        more = dict(pictures=1, right=ok, silent=not ok and not doubt, doubtful=ok and doubt, seconds=seconds)
        for k,v in more.items(): r[k] += v
        if not ok: wrong.append((kind, im, digits, read+('?' if doubt else '')))
    return list(rows.values()),wrong

def draw_failures(wrong, path, cell=130, per=7):
    "Draw the misread pictures on one sheet: kind, digits and prediction, with ? if doubtful"
    res = Image.new('RGB', (per*cell, max(1, -(-len(wrong)//per))*(cell+30)), 'white')
    d = ImageDraw.Draw(res)
    for i,(kind,im,digits,read) in enumerate(wrong):
        x,y = i%per*cell,i//per*(cell+30)
        im = im.convert('RGB')
        im.thumbnail((cell-8, cell-8))
        res.paste(im, (x+4, y+28))
        d.rectangle((x+3, y+27, x+4+im.width, y+28+im.height), outline='grey')
        d.text((x+4, y+2), f'{kind}\n{digits}: {read or "none"}', fill='black', spacing=1)
    res.quantize(64).save(path, optimize=True)

if __name__=='__main__':
    p = parser(__doc__)
    p.add_argument('run', metavar='RUN', help='a run trained on DATA with --split last')
    p.add_argument('--n', type=int, default=20, help='pictures of each kind')
    args = parse(p)
    from digitfast.runs.weights import load_net
    from digitfast.data.read import read_csvs
    df = read_csvs(args.data).train
    df = df.iloc[-len(df)//10:]
    x = df.drop(columns='label').to_numpy(np.uint8)
    x = x.reshape(-1, *[round(x.shape[1]**.5)]*2)
    rows,wrong = score(load_net(args.run, 'cpu'), x, df.label.to_numpy(), args.n)
    for r in rows: r['seconds'] = round(r['seconds']/r['pictures'], 3)
    save('pictures', rows, args)
    draw_failures(wrong, Path(__file__).parent.parent/'docs'/'pictures.png')
    n = sum(r['pictures'] for r in rows)
    print(', '.join(f"{k} {sum(r[k] for r in rows)/n:.2%}" for k in ('right','silent','doubtful')), f'of {n}')
