"""Tests of pictures: several digits on one, folders, bad pictures among good ones, tables, and names that are taken or
too long"""
import csv, io, json
from itertools import product
import numpy as np, pandas as pd, pytest
from PIL import Image
from digitfast.cli import main
from digitfast.core import DataError
from digitfast.runs.weights import load_net, save_net
from digitfast.data.picture import image_row, read_picture, read_pictures
from digitfast.tasks.pictures import are_pictures, network_judge, predict_pictures
from digitfast.learn.predict import predict_rows
from digitfast.data.reading import Reading
from conftest import digits as easy_rows, every
from draw_digits import draw, strokes

@pytest.fixture(scope='module')
def net(sample_run): return sample_run[0]

def cli(capsys, *words):
    with pytest.raises(SystemExit) as e: main([str(o) for o in words])
    out,err = capsys.readouterr()
    return e.value.code or 0,out,err

def sheet(*digits, size=(560,300), step=(100,120), side=90, **kw):
    "Return lines of digits on one sheet; each of `digits` is a line"
    a = np.full(size[::-1], 255, np.uint8)
    for r,line in enumerate(digits):
        for c,d in enumerate(line):
            y,x = 20+step[1]*r+5*(c%3),20+step[0]*c
            a[y:y+side, x:x+side] = np.asarray(draw(strokes(int(d), 0), side, pen=.08, height=.9, **kw).convert('L'))
    return Image.fromarray(a)

def photo(im):
    a = (np.asarray(im.convert('RGB'))*np.linspace(.6, .9, im.width)[:,None]
         +np.random.default_rng(0).normal(0, 4, (im.height,im.width,3)))
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))

def alike(a, b):
    """Return the correlation of two rows, also with a shift by a pixel, because a centre of mass can be rounded up or
    down"""
    im = a.reshape(28, 28)
    return max(np.corrcoef(np.roll(im, (y,x), (0,1)).ravel(), b)[0,1] for y in (-1,0,1) for x in (-1,0,1))

# several digits on one picture

SHEETS = dict(line=('12345',), lines=('678','90','12345'), two=('47',), below=('3','8'))
LOOKS = dict(dark=lambda im: im, bright=lambda im: Image.eval(im, lambda v: 255-v),
             photo=photo, large=lambda im: im.resize((1960,1470)))

@pytest.mark.parametrize('name,how', every(3, product(SHEETS, LOOKS)))
def test_several_in_reading_order(name, how):
    lines = SHEETS[name]
    found = read_pictures(LOOKS[how](sheet(*lines, size=(560,420))))
    f,want = 3.5 if how=='large' else 1,''.join(lines)
    assert len(found)==len(want)
    for d,got in zip(want, found):
        assert alike(got.row, image_row(draw(strokes(int(d), 0), 200, pen=.08, height=.9)))>.8
    boxes,k = [o.box for o in found],0
    for r,line in enumerate(lines):
        for c in range(len(line)):
            x0,y0,x1,y1 = boxes[k]; k += 1
            assert 20+100*c-3<=x0/f<x1/f<=20+100*c+93 and 20+120*r-3<=y0/f<y1/f<=20+120*r+106

def glued(data, lines, n, margin, seed, scale=4):
    "Return the rows of `lines` by `n` random images of MNIST, edge to edge, as one picture, and their labels"
    x = data.train.drop(columns='label').to_numpy(np.uint8).reshape(-1, 28, 28)
    at = np.random.default_rng(seed).choice(len(x), (lines,n))
    a = np.pad(np.concatenate([np.concatenate(x[o], 1) for o in at]), margin)
    a = 255-a if seed%2 else a
    return Image.fromarray(a).resize([scale*o for o in a.shape[::-1]], Image.Resampling.BICUBIC), x[at.ravel()]

@pytest.mark.parametrize('lines,n,margin', [(1,5,0), (2,4,0)])
def test_images_glued_together(data, lines, n, margin):
    "All digits are found, except on one sheet in ten, although strokes come near the edges and the next line"
    found = [(read_pictures(im),want) for im,want in (glued(data, lines, n, margin, k) for k in range(10))]
    whole = [(o,want) for o,want in found if len(o)==len(want)]
    assert len(whole)>=9
    assert np.mean([alike(o.row, v.ravel()) for got,want in whole for o,v in zip(got, want)])>.8

@pytest.mark.parametrize('gap,why',
                         [(12, 'close above or below'), (1, 'several that touch'), (-8, 'several digits may touch')])
def test_stacked_ones_are_unsure(gap, why):
    "A 1 above an 8 is a doubtful 8"
    a = np.full((300,200), 255, np.uint8)
    for d,y in (1,20),(8,20+100+gap):
        im = np.asarray(draw(strokes(d), (120,120), pen=.08, height=.75).convert('L'))[12:108]
        a[y:y+96, 40:160] = np.minimum(a[y:y+96, 40:160], im)
    found = read_pictures(Image.fromarray(a))
    assert any(why in n for o in found for n in o.notes)

def test_touching_ones_are_unsure():
    a = np.full((200,300), 255, np.uint8)
    for d,x in (3,40),(8,105):
        im = np.asarray(draw(strokes(d), (120,120), pen=.08, height=.9).convert('L'))
        a[40:160, x:x+120] = np.minimum(a[40:160, x:x+120], im)
    (found,) = read_pictures(Image.fromarray(a))
    assert any('several digits may touch' in n for n in found.notes)

@pytest.mark.parametrize('digit', range(10))
def test_one_digit_raises_no_doubt(digit):
    for v in range(3): assert read_picture(draw(strokes(digit, v), 200))[1]==[]

# nets that know other rows

@pytest.mark.parametrize('polarity', ['bright','dark'])
@pytest.mark.parametrize('transposed', [False, True])
def test_as_the_net_was_trained(polarity, transposed, net, tmp_path):
    from fastai.vision.core import PILImage
    learn = load_net(net, 'cpu')
    reading = Reading(polarity=polarity, orientation='transposed' if transposed else 'upright')
    learn.dls.reading = reading
    again = load_net(save_net(learn, tmp_path/'model'), 'cpu')
    assert again.dls.reading==again.dls.new_empty().reading==reading
    im = draw(strokes(7), 100)
    row = image_row(im).reshape(28, 28)
    if transposed: row = row.T
    if polarity=='dark': row = 255-row
    got = again.dls.test_dl([PILImage(im.convert('RGB'))]).items.to_numpy().reshape(28, 28)
    assert (got==row).all() and (image_row(im, reading=reading).reshape(28, 28)==row).all()

def test_a_factory_sees_how_its_images_are(data):
    "The images are dark and stored column by column, so a picture is converted to such an image"
    from fastai.vision.core import PILImage
    from digitfast.data.block import DigitDataLoaders
    df = data.train.iloc[:100]
    x = 255-df[data.pixels].to_numpy().reshape(-1, 28, 28).swapaxes(1, 2).reshape(-1, 784)
    dls = DigitDataLoaders.from_df(df[['label']].join(pd.DataFrame(x, columns=data.pixels)), device='cpu')
    assert dls.reading==Reading(polarity='dark', orientation='transposed')
    im = draw(strokes(7), 100)
    got = dls.test_dl([PILImage(im.convert('RGB'))]).items.to_numpy().reshape(28, 28)
    assert (255-got.T==image_row(im).reshape(28, 28)).all()

def test_no_polarity():
    with pytest.raises(DataError, match="polarity: found 'grey', expected 'bright' or 'dark'"): Reading(polarity='grey')

# the command

def test_a_table_of_any_suffix_is_no_picture(net, data, tmp_path, capsys):
    "UCI's tables end in .tra and .tes, and a picture is recognised by its bytes"
    rows,out = tmp_path/'optdigits.tes',tmp_path/'o.csv'
    data.train[data.pixels].iloc[:3].to_csv(rows, header=False, index=False)
    code,_,err = cli(capsys, 'predict', net, rows, '--out', out, '--device', 'cpu')
    assert code==0, err
    want = predict_rows(load_net(net, 'cpu'), data.train[data.pixels].iloc[:3]).argmax(1)
    assert pd.read_csv(out).iloc[:,-1].tolist()==want.tolist()
    draw(strokes(7), 100).save(tmp_path/'seven.photo', 'PNG')
    assert cli(capsys, 'predict', net, tmp_path/'seven.photo')[1].startswith(f"{tmp_path/'seven.photo'}: ")

@pytest.fixture
def photos(here):
    d = here/'photos'
    (d/'b').mkdir(parents=True)
    draw(strokes(7), 100).save(d/'a.png')
    photo(sheet('47')).save(d/'c.JPG'); (d/'b.png').write_bytes(b'no picture'); (d/'notes.txt').write_text('x')
    draw(strokes(3), 100).save(d/'b'/'a.png')
    return d

def test_a_folder_with_a_bad_one(photos, net, here, capsys):
    code,out,err = cli(capsys, 'predict', net, photos, '--out', 'read.csv', '--probs')
    lines = out.splitlines()
    assert code==1 and 'Traceback' not in err
    assert ([o.split(':')[0].split(' at ')[0] for o in lines[:4]]==['note']
            +[str(photos/o) for o in ('a.png','c.JPG','c.JPG')])
    assert ' at ' in lines[2] and err.count('error:')==1 and 'b.png: found no readable picture' in err
    rows = list(csv.DictReader(io.StringIO((here/'read.csv').read_text())))
    assert [r['file'] for r in rows]==[str(photos/o) for o in ('a.png','b.png','c.JPG','c.JPG')]
    assert rows[1]['error'] and not rows[1]['digit'] and rows[2]['left']
    assert abs(sum(float(rows[0][f'p_{k}']) for k in range(10))-1)<1e-3

def test_one_digit_has_no_box_in_its_line(photos, net, capsys):
    code,out,_ = cli(capsys, 'predict', net, photos/'a.png')
    assert code==0 and len(out.splitlines())==1 and ' at ' not in out

def test_json(photos, net, capsys):
    code,out,_ = cli(capsys, 'predict', net, photos/'a.png', '--json', '--probs')
    (res,) = json.loads(out)
    assert code==0 and len(res['box'])==4 and len(res['probs'])==10

@pytest.mark.parametrize('words,code,says', [
    (['photos/a.png','--probs'], 2, '--out'),
    (['photos/b/none.png'], 1, 'No such file'),
    (['a'*300+'.png'], 1, 'too long'),
    (['empty'], 1, '')])
def test_what_raises_an_error(words, code, says, photos, net, here, capsys):
    (here/'empty').mkdir()
    got,_,err = cli(capsys, 'predict', net, *words)
    assert got==code and says in err and 'Traceback' not in err

def test_show_of_one_name_and_over_a_folder(photos, net, here, capsys):
    (here/'a-seen.png').mkdir()
    code,out,_ = cli(capsys, 'predict', net, photos/'a.png', photos/'b'/'a.png', '--show')
    seen = [o.split('seen as ')[1] for o in out.splitlines()]
    assert code==0 and seen==['a-seen-2.png','a-seen-3.png']
    for f,p in zip(seen, ('a.png','b/a.png')):
        assert (np.asarray(Image.open(here/f))[::10,::10].ravel()==image_row(photos/p)).all()

def test_show_leaves_the_pictures_alone(net, here, capsys):
    draw(strokes(7), 100).save('a.png'); draw(strokes(3), 100).save('a-seen.png')
    before = (here/'a-seen.png').read_bytes()
    cli(capsys, 'predict', net, 'a.png', 'a-seen.png', '--show')
    assert (here/'a-seen.png').read_bytes()==before

def test_a_table_does_not_replace_a_drawing(net, here, capsys):
    draw(strokes(7), 100).save('a.png')
    for out in ('a-seen.png', 'a-boxes-2.png'):
        code,_,err = cli(capsys, 'predict', net, 'a.png', '--show', '--out', out)
        assert code==1 and len(err.splitlines())==1 and f'{out}: found the name of a drawing of a.png' in err
        assert '--out' in err and sorted(o.name for o in here.glob('*.png'))==['a.png']

# rows that a run takes

@pytest.mark.parametrize('value_range', [(0,16),(0,1),(-1,1),(0,65535)])
def test_rows_have_the_range_of_the_run(value_range, net):
    "Rows of pictures pass through `predict_rows`, and the network gets the same input as for the picture"
    learn,im = load_net(net, 'cpu'),draw(strokes(7), 100)
    learn.dls.reading = Reading(value_range)
    (d,) = read_pictures(im, reading=learn.dls.reading, judge=network_judge(learn))
    row = image_row(im, reading=learn.dls.reading)
    assert (row==d.row).all() and value_range[0]<=row.min()<row.max()<=value_range[1]
    want = predict_rows(learn, row[None])
    assert abs(want-d.probs).max()<1e-4
    df = pd.DataFrame(row[None], columns=learn.dls.row2im.cols)
    assert abs(predict_rows(learn, df)-want).max()<1e-6

@pytest.mark.parametrize('file,is_table', [('labels.csv',False), ('readings.csv.gz',False), ('rows.csv',True),
                                           ('train.parquet',True), ('x.npz',True), ('d.zip',True)])
def test_a_folder_of_pictures_with_another_file(file, is_table, tmp_path):
    "A list of names beside the pictures is no table of images"
    Image.new('L', (28,28), 255).save(tmp_path/'a.png')
    df = pd.DataFrame(dict(file=['a.png'], label=[3])) if file in ('labels.csv','readings.csv.gz') else easy_rows(20)
    if file.endswith('npz'):
        x = df.iloc[:,1:].to_numpy(np.uint8).reshape(-1, 8, 8)
        np.savez(tmp_path/file, x_train=x, y_train=df.label)
    elif file.endswith('parquet'): df.to_parquet(tmp_path/file)
    else: df.to_csv(tmp_path/file, index=False)
    assert are_pictures([str(tmp_path)])!=is_table
