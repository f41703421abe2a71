"Tests of pictures of digits: drawn digits, each kind of picture, each bad picture, and the predictions of a network"
import io, struct, zlib
from functools import cache
from itertools import product
import numpy as np, pytest
from PIL import Image, ImageFile, ImageFilter
from scipy import ndimage as ndi
from digitfast.data.picture import image_row, read_picture, save_row
from digitfast.core import DataError
from conftest import every
from draw_digits import VARIANTS, draw, strokes

SHAPES = [(d,v) for d in VARIANTS for v in range(len(VARIANTS[d]))]
rot90 = Image.Transpose.ROTATE_90

def alike(a, b):
    """Return the largest correlation of two rows, with and without a shift by a pixel, because a centre of mass near
    half a pixel can be rounded up or down"""
    im = a.reshape(28,28)
    return max(np.corrcoef(np.roll(im, (y,x), (0,1)).ravel(), b)[0,1] for y in (-1,0,1) for x in (-1,0,1))
def side_by_side(*ims): return Image.fromarray(np.concatenate([np.asarray(o.convert('RGB')) for o in ims], 1))
def png(im, fmt='PNG', **kw):
    f = io.BytesIO()
    im.save(f, fmt, **kw)
    return f.getvalue()

def stroke_width(row):
    m = np.asarray(Image.fromarray(row.reshape(28,28)).resize((224,224), Image.Resampling.BICUBIC))>127
    return ndi.distance_transform_edt(m)[m].mean()*4/8

@pytest.fixture(scope='module')
def five(): return draw(strokes(5), 300, pen=.05, at=(.45,.55))
@pytest.fixture(scope='module')
def row(five): return image_row(five)

# as MNIST's were made

@pytest.mark.parametrize('digit,pen', every(4, product(range(10), (.008, .05, .12))))
def test_box_centre_and_stroke(digit, pen):
    r = image_row(draw(strokes(digit, digit%3), 320, pen=pen, at=(.42,.56), angle=digit*3-13))
    im = r.reshape(28,28)
    assert r.dtype==np.uint8 and r.shape==(784,)
    ys,xs = np.nonzero(im)
    assert max(np.ptp(ys), np.ptp(xs))+1==20
    assert np.abs(np.array(ndi.center_of_mass(im))-14).max()<=.5
    assert im.max()>=230 and (im==0).mean()>.5
    assert 2<stroke_width(r)<4.5

def test_aspect_is_kept():
    "The row of a 1 is as narrow as the 1 on the picture"
    ys,xs = np.nonzero(image_row(draw(strokes(1), 200, pen=.03)).reshape(28,28))
    assert np.ptp(ys)+1==20 and np.ptp(xs)+1<=4

@pytest.mark.parametrize('side', [8,14,28,56])
def test_side(five, side):
    im = image_row(five, side).reshape(side, side)
    ys,xs = np.nonzero(im)
    assert max(np.ptp(ys), np.ptp(xs))+1==round(side*20/28)
    assert np.abs(np.array(ndi.center_of_mass(im))-side/2).max()<=.5

def test_mnist_comes_back(data):
    rows = data.train.drop(columns='label').to_numpy(np.uint8)[:40]
    back = np.array([image_row(r.reshape(28,28)) for r in rows])
    assert np.median([alike(a, b) for a,b in zip(rows, back)])>.9
    assert abs(np.mean([stroke_width(a) for a in back])-np.mean([stroke_width(a) for a in rows]))<.5

# the same digit, whatever the picture

@pytest.mark.parametrize('digit,variant', every(3, SHAPES))
def test_polarity(digit, variant):
    im = draw(strokes(digit, variant), 240, pen=.07)
    a,b = image_row(im),image_row(Image.eval(im, lambda v: 255-v))
    assert np.abs(a.astype(int)-b).mean()<2

@pytest.mark.parametrize('digit', [0,1,4,8])
def test_polarity_of_a_broad_pen_and_no_margin(digit):
    "Most of the picture is ink, and the ink is still recognised"
    im = draw(strokes(digit, 1), 200, pen=.2, height=.75)
    a = np.asarray(im); ys,xs = np.nonzero(a<128); a = a[ys.min():ys.max()+1, xs.min():xs.max()+1]
    assert alike(image_row(im), image_row(np.pad(a, 2, constant_values=255)))>.9
    assert alike(image_row(im), image_row(255-np.pad(a, 2, constant_values=255)))>.9

def tight(im, cut=0):
    "Return the picture, cropped to the pixels that are darker than half, and `cut` pixels further"
    ys,xs = np.nonzero(np.asarray(im.convert('L'))<128)
    return im.crop((xs.min()+cut, ys.min()+cut, xs.max()+1-cut, ys.max()+1-cut))

CROPS = dict(tight=lambda im: tight(im), bright=lambda im: Image.eval(tight(im), lambda v: 255-v),
             cut=lambda im: tight(im, 3),
    blurred=lambda im: tight(im.filter(ImageFilter.GaussianBlur(5))), lit=lambda im: Image.fromarray(
        (np.asarray(tight(im))*np.linspace(.5, .9, tight(im).width)).astype(np.uint8)))

@cache
def with_margin(digit, variant):
    im = draw(strokes(digit, variant), 240, pen=.07, height=.8)
    return im,image_row(im)

# a bar that fills its picture is no ink on anything; three variants of each digit repeat it
SHAPED = [(d,h,v) for d in range(10) for h in CROPS for v in range(3) if (d,v)!=(1,0)]
@pytest.mark.parametrize('digit,how,variant', every(7, SHAPED))
def test_cropped_to_its_digit(digit, how, variant):
    "Neither the hole of a 0 nor the white beside a 6 counts as ink"
    im,row = with_margin(digit, variant)
    assert alike(image_row(CROPS[how](im)), row)>.8

@pytest.mark.parametrize('ink', [0, 255, (200,30,30), 128])
def test_transparent_paper(ink, row):
    assert alike(image_row(draw(strokes(5), 300, pen=.05, at=(.45,.55), ink=ink, paper=None)), row)>.97

def test_transparent_corners(five, row):
    im = five.convert('RGBA')
    a = np.array(im); y,x = np.mgrid[:300,:300]; a[np.minimum(x,299-x)+np.minimum(y,299-y)<30] = 0
    assert alike(image_row(a), row)>.97

@pytest.mark.parametrize('ink,paper',
                         [((20,30,120),(250,240,200)), ((250,250,120),(20,40,30)),
                          ((200,60,60),(90,115,90)), (225,255), (60,40),
                                       ((255,235,60),(255,255,255))])
def test_colours_and_contrast(ink, paper, row):
    assert alike(image_row(draw(strokes(5), 300, pen=.05, at=(.45,.55), ink=ink, paper=paper)), row)>.95

@pytest.mark.parametrize('size', [60, 150, 700, 2000, (900,300), (200,640)])
def test_size(size, row): assert alike(image_row(draw(strokes(5), size, pen=.05)), row)>.9

@pytest.mark.parametrize('at', [(.3,.3), (.7,.35), (.5,.7)])
def test_place(at, row): assert alike(image_row(draw(strokes(5), 300, pen=.05, at=at)), row)>.95

def test_small_in_a_large_picture(row):
    assert alike(image_row(draw(strokes(5), 1600, pen=.003, height=.04, at=(.8,.2))), row)>.85

def test_specks_are_left_out(five, row):
    a = np.array(five)
    for y,x in np.random.default_rng(0).integers(5, 290, (12,2)): a[y:y+3, x:x+2] = 40
    assert alike(image_row(a), row)>.9

# photographs

Y,X = np.mgrid[:400,:500]
def shadow(l): return l*(.55+.45/(1+np.exp(-(X-1.2*Y+60)/4)))
LIGHT = dict(gradient=1-.7*X/500, lamp=1-.5*((X/500-.3)**2+(Y/400-.3)**2), shadow=shadow(1-.3*Y/400),
             dim=np.full(X.shape, .35))

def on_paper(digit=2, light='gradient', ink=(40,50,120), paper=(210,207,200), back=None,
             blur=1., noise=5, quality=50, pen=.05, height=.55, seed=0, **kw):
    "Return a photograph of the digit. `back` (h, w, 3) is the paper, if it is not plain"
    m = np.asarray(draw(strokes(digit, 1), (500,400), pen=pen, height=height, ink=255, paper=0, **kw))[...,None]/255
    a = (np.array(paper, float) if back is None else back)*(1-m)+np.array(ink)*m
    a = a*LIGHT[light][...,None]+np.random.default_rng(seed).normal(0, noise, (400,500,3))
    return Image.open(
        io.BytesIO(png(Image.fromarray(a.clip(0,255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur)),
                       'JPEG', quality=quality)))

def squares(pitch, width=2, colour=(150,170,215), upright=True):
    t = np.minimum((Y+.02*X)%pitch, (X-.02*Y)%pitch if upright else 99)<width
    return np.where(t[...,None], colour, (222,222,218)).astype(float)

def table():
    u,v = X-250+.2*(Y-200),Y-200-.2*(X-250)
    return np.where(((abs(u)<190)&(abs(v)<170))[...,None], (222,220,212), (90,60,40)).astype(float)

def border(n): a = np.full((400,500,3), 235.); a[:n] = a[-n//2:] = 8; a[:,:n+9] = 8; return a
def frame(): a = np.full((400,500,3), 250.); a[30:370,40:460] = 70; a[32:368,42:458] = 250; return a

PHOTOS = dict(gradient={}, lamp=dict(light='lamp', ink=(120,120,120), pen=.03), shadow=dict(light='shadow'),
    pencil_in_shadow=dict(light='shadow', ink=(110,110,110), pen=.03), dim=dict(light='dim', blur=2),
    chalk=dict(ink=(225,225,220), paper=(45,60,52)), lined=dict(back=squares(70, upright=False)),
    squared=dict(back=squares(40)),
    table=dict(back=table(), height=.4), scan=dict(back=border(12), light='lamp'),
    frame=dict(back=frame(), light='lamp', height=.5))

@pytest.mark.parametrize('name', PHOTOS)
def test_photographs(name):
    kw = PHOTOS[name]
    for digit in (2,7):
        clean = image_row(draw(strokes(digit, 1), (500,400), pen=kw.get('pen', .05), height=kw.get('height', .55)))
        assert alike(image_row(on_paper(digit, **kw)), clean)>.85

# every kind of picture

MODES = '1','L','LA','P','RGB','RGBA','RGBX','CMYK','YCbCr','LAB','HSV','I;16','I','F'
def as_mode(im, mode):
    if mode=='I;16': return Image.fromarray((np.asarray(im).astype(np.uint16)*257))
    if mode=='LAB': return Image.merge('LAB', (im,)+(Image.new('L', im.size, 128),)*2)
    return (im.convert('RGB') if mode in ('RGBX','CMYK','YCbCr','HSV') else im).convert(mode)

@pytest.mark.parametrize('mode', MODES)
def test_modes(mode, five, row): assert alike(image_row(as_mode(five, mode)), row)>.98

@pytest.mark.parametrize('fmt', ['PNG','JPEG','GIF','WEBP','BMP','TIFF','PPM','ICO'])
def test_formats(fmt, five, row, tmp_path):
    im = five.resize((256,256)) if fmt=='ICO' else five
    im.convert('RGB').save(tmp_path/f'a.{fmt.lower()}', fmt)
    r,notes = read_picture(tmp_path/f'a.{fmt.lower()}')
    assert alike(r, row)>.95 and notes==[]
    assert ((image_row(str(tmp_path/f'a.{fmt.lower()}'))==r).all()
            and (image_row((tmp_path/f'a.{fmt.lower()}').read_bytes())==r).all())

def arrays(five):
    import torch
    a = np.asarray(five)
    rgb = np.stack([a]*3, -1)
    return dict(grey=a, rgb=rgb, one=a[...,None], rgba=np.dstack([rgb, np.full_like(a, 255)]),
                int64=a.astype(int), uint16=a.astype(np.uint16)*257, unit=a/255.,
                floats=a.astype(np.float32), signed=a/127.5-1, bools=a>127, tensor=torch.tensor(a),
                chw=torch.tensor(rgb).permute(2,0,1)/255.,
                grad=torch.tensor(a/255., requires_grad=True), read_only=np.broadcast_to(a, a.shape))
ARRAYS = 'grey','rgb','one','rgba','int64','uint16','unit','floats','signed','bools','tensor','chw','grad','read_only'
@pytest.mark.parametrize('kind', ARRAYS)
def test_arrays(kind, five, row): assert alike(image_row(arrays(five)[kind]), row)>.98

def test_fastai_image(five, row):
    from fastai.vision.core import PILImage
    assert alike(image_row(PILImage(five.convert('RGB'))), row)>.98

def test_upright(five, row):
    "A telephone stores a picture on its side, and its EXIF orientation says so"
    exif = Image.Exif(); exif[0x0112] = 6
    assert alike(image_row(png(five.transpose(rot90), 'JPEG', exif=exif)), row)>.95
    assert alike(image_row(png(five.transpose(rot90), 'JPEG')), row)<.8

def test_the_picture_is_left_as_it_was(five):
    im = five.convert('RGB'); a = np.array(im)
    before = im.size,im.mode,a.copy()
    image_row(im); image_row(a)
    assert (im.size,im.mode)==before[:2] and (a==before[2]).all() and (np.asarray(im)==before[2]).all()

@pytest.mark.parametrize('fmt', ['GIF','PNG','WEBP','TIFF'])
def test_first_frame(fmt, five, row):
    other = draw(strokes(8), 300)
    r,notes = read_picture(png(five.convert('RGB'), fmt, save_all=True, append_images=[other.convert('RGB')]))
    assert alike(r, row)>.95
    assert len(notes)==1 and 'the first is read' in notes[0]

# errors

def header(w, h):
    "Return a PNG of which only the header is valid"
    chunk = lambda k,d: struct.pack('>I', len(d))+k+d+struct.pack('>I', zlib.crc32(k+d))
    return (b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0))
            +chunk(b'IDAT', zlib.compress(b'\0'*100))+chunk(b'IEND', b''))

@pytest.mark.parametrize('size', [(10_000,10_000), (13_000,10_000), (60_000,60_000)])
def test_100_megapixels_are_not_unpacked(size, monkeypatch):
    def load(*args): raise AssertionError('it was unpacked')
    monkeypatch.setattr(ImageFile.ImageFile, 'load', load)
    with pytest.raises(DataError, match='100 megapixels'): image_row(header(*size))

def test_100_megapixels_of_an_array():
    with pytest.raises(DataError, match='100 megapixels'): image_row(np.broadcast_to(np.uint8(0), (10_000,10_000)))

def cut(im): b = png(im); return b[:len(b)//2]
NO_PICTURE,NO_INK = 'no readable picture','no ink'
REFUSED = dict(
    text=(lambda: b'seven', NO_PICTURE), empty=(lambda: b'', NO_PICTURE),
    cut=(lambda: cut(draw(strokes(3), 300)), NO_PICTURE),
    missing=(lambda: 'no/such.png', r'no/such\.png: .*no readable picture \(No such file or directory\)'),
    folder=(lambda: '.', NO_PICTURE), none=(lambda: None, 'expected numbers'),
    postscript=(lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', NO_PICTURE),
    one=(lambda: Image.new('L', (1,1)), '1x1'), tiny=(lambda: Image.new('L', (7,7)), '7x7'),
    strip=(lambda: Image.new('L', (2000,5)), '2,000x5'),
    zero=(lambda: np.zeros((0,28)), '28x0'), channels=(lambda: np.zeros((28,28,7)), r'\(28, 28, 7\)'),
    flat=(lambda: np.zeros(784), r'\(784,\)'),
    words=(lambda: np.full((28,28), 'a'), 'expected numbers'), nan=(lambda: np.full((28,28), np.nan), 'not numbers'),
    white=(lambda: Image.new('RGB', (300,200), 'white'), NO_INK), black=(lambda: np.zeros((28,28)), NO_INK),
    transparent=(lambda: Image.new('RGBA', (200,200)), NO_INK),
    noise=(lambda: np.random.default_rng(0).normal(128, 20, (200,300)), NO_INK),
    gradient=(lambda: np.tile(np.linspace(20, 220, 300), (200,1)), NO_INK),
    blank_photo=(lambda: on_paper(ink=(210,207,200)), NO_INK),
    dim_photo=(lambda: on_paper(ink=(210,207,200), light='dim', noise=9), NO_INK),
    two=(lambda: side_by_side(*[draw(strokes(d), 200) for d in (4,2)]), '2 digits'),
    ones=(lambda: side_by_side(*[draw(strokes(1), (90,200))]*2), '2 digits'),
    three=(lambda: side_by_side(*[draw(strokes(d), 200, pen=.02, height=.8) for d in (7,5,0)]), '3 digits'),
    stacked=(lambda: side_by_side(*[draw(strokes(d), 200).transpose(rot90)
                                    for d in (3,8)]).transpose(Image.Transpose.ROTATE_270), '2 digits'))

@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, monkeypatch, tmp_path):
    make,why = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=why) as e: image_row(make())
    assert '\n' not in str(e.value)

def test_errors_name_the_file(tmp_path):
    Image.new('L', (90,90)).save(tmp_path/'blank.png')
    with pytest.raises(DataError, match=r'blank\.png: .*no ink'): image_row(tmp_path/'blank.png')

def test_strokes_of_one_digit_are_not_several():
    "Check the separate bar of a 5, and a 4 whose strokes do not meet"
    four = [[(.3,.06),(.2,.55),(.58,.55)],[(.68,.1),(.68,.95)]]
    five = [[(.3,.2),(.27,.45),(.55,.42),(.74,.62),(.6,.9),(.22,.9)],[(.32,.07),(.78,.05)]]
    for s in (four, five):
        im = draw(s, 300, pen=.03)
        assert len([o for o in ndi.find_objects(ndi.label(np.asarray(im)<128)[0])])==2
        ys,xs = np.nonzero(image_row(im).reshape(28,28))
        assert np.ptp(ys)+1==20 and np.ptp(xs)+1>=10

def test_save_row(row, tmp_path):
    p = save_row(row, tmp_path/'seen.png')
    assert (np.asarray(Image.open(p))[::10,::10]==row.reshape(28,28)).all()
    with pytest.raises(OSError): save_row(row, tmp_path/'no'/'seen.png')

# predictions of a net

PENS = [dict(pen=.01), dict(pen=.04, tip='brush'), dict(pen=.14), dict(pen=.05, ink=150),
        dict(pen=.05, ink=(180,40,60), paper=(240,235,200)),
        dict(pen=.06, ink=255, paper=0), dict(pen=.06, ink=(90,20,120), paper=None),
        dict(pen=.09, tip='brush', height=.85), dict(pen=.05, height=.3)]
SIZES = 20,28,64,200,(640,480),(300,420),1000,2000

def pictures(n, seed=0):
    """Yield (digit, picture) of `n` pictures with different pens, sizes, places, slants and handwritings, some on poor
    paper"""
    rng = np.random.default_rng(seed)
    for i in range(n):
        (d,v),kw,size = SHAPES[i%len(SHAPES)],{**PENS[i%len(PENS)]},SIZES[(i*5+i//8)%len(SIZES)]
        if np.max(size)<100: kw.update(pen=max(kw['pen'], .05), height=.75)
        at,angle,aspect,wobble = rng.uniform(.44, .56, 2),rng.uniform(-15, 15),rng.uniform(.8, 1.1),rng.uniform(0, .012)
        im = draw(strokes(d, v), size, at=at, angle=angle, aspect=aspect, wobble=wobble, seed=i, **kw)
        if i%4==3 and im.mode!='RGBA':
            a = (np.asarray(im.convert('RGB'))*np.linspace(.6, 1, im.width)[:,None]
                 +rng.normal(0, 5, (im.height,im.width,3)))
            im = Image.fromarray(a.clip(0,255).astype(np.uint8))
        yield d,im

def accuracy(df, recipe, n, **kwargs):
    "Return the accuracy on `n` pictures of a network trained on `df`. An error counts as wrong"
    from digitfast.learn.recipe import recipes
    from digitfast.learn.learner import seed_all
    from digitfast.learn.predict import predict_rows
    recipe = recipes[recipe].but(**kwargs)
    dls = recipe.dls(df)
    seed_all(42, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    digits,rows = [],[]
    for d,im in pictures(n):
        try: rows.append(image_row(im))
        except DataError: rows.append(np.zeros(784, np.uint8)); d = -1
        digits.append(d)
    return (predict_rows(learn, np.stack(rows)).argmax(1)==digits).mean()

def test_a_net_of_the_sample_reads_them(data): assert accuracy(data.train, 'quick', 62, epochs=10)>=.95

@pytest.mark.slow
def test_single_reads_them(big_zip):
    from digitfast.data.read import read_csvs
    assert accuracy(read_csvs(big_zip).train, 'single', 930)>=.95
