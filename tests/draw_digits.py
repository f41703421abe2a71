"""Digits as pen strokes, and a pen to draw them with: for the tests of `digitfast.data.picture` and the drawing page.

`strokes(digit, variant)` gives lists of (x, y) points in 0..1, y down, that a mouse could follow; `draw` puts them on
a PIL picture."""
import math
import numpy as np
from PIL import Image, ImageDraw

# Control points of each shape. A curve runs smoothly through them; a point given twice is a corner.
VARIANTS = {
    # oval
    0: [[[(.5,.05),(.25,.2),(.18,.5),(.25,.8),(.5,.95),(.75,.8),(.82,.5),(.75,.2),(.5,.05)]],
        # leaning, ends overlap
        [[(.6,.06),(.3,.22),(.22,.55),(.4,.92),(.65,.85),(.78,.5),(.7,.15),(.5,.06),(.42,.12)]],
        # round
        [[(.5,.1),(.2,.25),(.12,.5),(.25,.82),(.5,.9),(.8,.78),(.88,.5),(.75,.2),(.52,.1)]]],
    # a bar
    1: [[[(.5,.05),(.5,.95)]],
        # with a serif
        [[(.3,.28),(.52,.05),(.52,.05),(.52,.95)]],
        # serif and foot
        [[(.3,.25),(.5,.05),(.5,.05),(.5,.95)],[(.28,.95),(.72,.95)]],
        # leaning
        [[(.62,.05),(.55,.4),(.42,.95)]]],
    # straight foot
    2: [[[(.2,.28),(.32,.09),(.55,.05),(.76,.18),(.74,.4),(.5,.66),(.2,.94),(.2,.94),(.82,.94)]],
        # with a loop
        [[(.22,.25),(.4,.06),(.7,.12),(.75,.35),(.55,.65),(.3,.9),(.17,.86),(.26,.74),(.5,.86),(.84,.92)]],
        # wavy foot
        [[(.25,.2),(.5,.05),(.75,.2),(.68,.45),(.4,.75),(.2,.93),(.45,.86),(.65,.94),(.85,.86)]]],
    # two bows
    3: [[[(.22,.16),(.45,.05),(.74,.15),(.72,.36),(.45,.47),(.45,.47),(.74,.56),(.8,.76),(.55,.95),(.2,.84)]],
        # flat top
        [[(.22,.06),(.76,.06),(.76,.06),(.44,.42),(.44,.42),(.72,.5),(.8,.72),(.55,.95),(.2,.84)]],
        # smooth middle
        [[(.25,.12),(.55,.06),(.7,.22),(.6,.4),(.4,.46),(.65,.52),(.76,.7),(.6,.9),(.22,.9)]]],
    # open
    4: [[[(.3,.06),(.2,.55),(.2,.55),(.84,.55)],[(.66,.08),(.62,.95)]],
        # closed
        [[(.66,.95),(.66,.05),(.66,.05),(.15,.66),(.15,.66),(.88,.66)]],
        # open, round elbow
        [[(.25,.08),(.24,.42),(.45,.52),(.74,.46)],[(.76,.06),(.74,.46),(.7,.95)]]],
    # one stroke
    5: [[[(.76,.06),(.3,.06),(.3,.06),(.25,.44),(.25,.44),(.5,.37),(.78,.52),(.76,.8),(.5,.95),(.2,.86)]],
        # the bar last
        [[(.32,.08),(.28,.42),(.28,.42),(.55,.38),(.76,.58),(.68,.85),(.45,.95),(.2,.84)],[(.32,.08),(.8,.06)]],
        # leaning
        [[(.8,.05),(.4,.08),(.4,.08),(.3,.42),(.55,.44),(.7,.65),(.55,.88),(.22,.95)]]],
    # curved
    6: [[[(.68,.05),(.4,.25),(.23,.6),(.32,.9),(.58,.94),(.76,.74),(.62,.54),(.38,.58),(.25,.74)]],
        # straight back
        [[(.42,.04),(.26,.4),(.24,.75),(.42,.95),(.68,.88),(.72,.66),(.52,.56),(.27,.72)]],
        # hooked
        [[(.78,.1),(.5,.08),(.28,.35),(.22,.7),(.4,.93),(.68,.9),(.78,.68),(.58,.5),(.3,.6)]]],
    # plain
    7: [[[(.18,.07),(.82,.07),(.82,.07),(.62,.45),(.42,.95)]],
        # with a bar
        [[(.18,.08),(.8,.06),(.8,.06),(.42,.95)],[(.34,.5),(.78,.48)]],
        # with a serif
        [[(.17,.22),(.2,.08),(.2,.08),(.5,.12),(.8,.06),(.8,.06),(.55,.5),(.48,.95)]]],
    8: [[[(.72,.15),(.5,.05),(.28,.18),(.36,.38),(.66,.58),(.78,.78),(.5,.95),(.22,.78),
          (.36,.58),(.64,.4),(.74,.22),(.66,.1)]],   # one stroke
        [[(.5,.05),(.3,.14),(.3,.34),(.5,.46),(.7,.34),(.7,.14),(.5,.05)],
         # two rings
         [(.5,.46),(.24,.58),(.24,.84),(.5,.95),(.76,.84),(.76,.58),(.5,.46)]],
        # leaning
        [[(.8,.1),(.5,.06),(.36,.22),(.52,.45),(.64,.7),(.52,.94),(.32,.85),(.36,.64),(.58,.42),(.8,.1)]]],
    # straight
    9: [[[(.74,.22),(.52,.05),(.28,.18),(.3,.42),(.52,.5),(.74,.36),(.76,.14),(.76,.14),(.72,.95)]],
        # curved
        [[(.74,.25),(.55,.06),(.3,.16),(.28,.4),(.5,.52),(.72,.38),(.76,.15),(.76,.55),(.62,.9),(.3,.92)]],
        # leaning
        [[(.7,.12),(.4,.08),(.24,.3),(.4,.48),(.66,.34),(.74,.1),(.74,.1),(.62,.5),(.5,.95)]]],
}

def _curve(pts, n=10):
    "Catmull-Rom through `pts`, `n` points a span"
    ring = len(pts) > 2 and pts[0] == pts[-1]
    p = np.array([pts[-2 if ring else 0], *pts, pts[1 if ring else -1]], float)
    t = np.linspace(0, 1, n, endpoint=False)[:, None]
    out = [p[i] + .5*t*(p[i+1]-p[i-1]) + t**2*(p[i-1]-2.5*p[i]+2*p[i+1]-.5*p[i+2])
           + t**3*(-.5*p[i-1]+1.5*p[i]-1.5*p[i+1]+.5*p[i+2]) for i in range(1, len(p)-2)]
    return [*map(tuple, np.concatenate(out)), tuple(p[-2])]

def strokes(digit, variant=0):
    "The strokes of a digit: a list of lists of (x, y) in 0..1, y down"
    res = []
    for pts in VARIANTS[digit][variant]:
        run, line = [pts[0]], []
        for a, b in zip(pts, pts[1:]):
            if a == b and len(run) > 1: line += _curve(run); run = [b]
            elif a != b: run.append(b)
        res.append(line + _curve(run))
    return res

def draw(strokes, size=200, pen=.06, ink=0, paper=255, height=.6, at=(.5,.5), angle=0,
         aspect=1., tip='round', wobble=0., gap=0., seed=0):
    """A PIL picture of `strokes`. `size` is its side in pixels or (width, height); of the smaller side, `pen` and
    `height` are the shares that the pen's
    width and the digit's height take; `at` is where the digit's middle is, `angle` in degrees clockwise, `aspect` a
    factor on its width. `ink` and `paper` are
    greys or RGB tuples; with `paper=None` the paper is transparent. `tip` is round, brush (width varies along the
    stroke) or dry (with `gap`, the share left
    out). `wobble` shakes the hand by that share of the height."""
    rng = np.random.default_rng(seed)
    w, h = (size, size) if np.isscalar(size) else size
    small, ss = min(w, h), 4 if max(w, h) < 700 else 2
    a = math.radians(angle)
    mask = Image.new('L', (w*ss, h*ss)); d = ImageDraw.Draw(mask)
    for s in strokes:
        p = (np.array(s)-.5)*(aspect, 1)
        if wobble:
            k = np.hanning(9)/np.hanning(9).sum()
            n = rng.normal(0, wobble*2, (len(p)+8, 2))
            p = p + np.stack([np.convolve(n[:, i], k, 'valid') for i in (0, 1)], 1)
        p = p @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])*height*small + (at[0]*w, at[1]*h)
        # dots close enough to look like a line
        n = np.maximum(np.linalg.norm(np.diff(p, axis=0), axis=1)*ss/max(.15*pen*small*ss, .3), 1).astype(int)
        dots = np.concatenate([a0 + (a1-a0)*np.arange(k)[:, None]/k for a0, a1, k in zip(p, p[1:], n)] + [p[-1:]])*ss
        r = np.full(len(dots), max(pen*small*ss, 1)/2)
        if tip == 'brush':
            r *= 1.15 - .5*np.linspace(0, 1, len(r)) + .25*np.sin(np.linspace(0, 9, len(r)) + rng.uniform(0, 6))
        keep = (np.ones(len(dots), bool) if not gap else np.sin(np.linspace(0, len(dots)/12, len(dots)))
                +rng.normal(0, .3, len(dots)) > -1.2+2*gap)
        for (x, y), q in zip(dots[keep], r[keep]): d.ellipse((x-q, y-q, x+q, y+q), fill=255)
    mask = mask.resize((w, h), Image.Resampling.BOX)
    rgb = lambda c: (c,)*3 if np.isscalar(c) else tuple(c)
    if paper is None: im = Image.new('RGBA', (w, h), rgb(ink)+(0,)); im.putalpha(mask); return im
    im = Image.new('RGB', (w, h), rgb(paper)); im.paste(Image.new('RGB', (w, h), rgb(ink)), mask=mask)
    return im if not (np.isscalar(ink) and np.isscalar(paper)) else im.convert('L')
