"""The pictures of README: `python benchmarks/pictures.py [DATA]`, with Chromium, websockets and the extra demo;
`python benchmarks/pictures.py --mistakes RUN` without.

terminal.svg is `digitfast train DATA` (or the sample) as it ran, report.png the head of its report, demo.png the page
of `digitfast demo` with a digit drawn on it;
last-mistakes.png are training images that the ensemble RUN has most wrong, each by the net that did not see it."""
from pathlib import Path
import io, os, re, subprocess, sys, tempfile
here = Path(__file__).parent
sys.path.insert(0, str(here.parent/'tests'))
from PIL import Image

images = here.parent/'nbs'/'images'

def small(f):
    "Save the picture `f` as a PNG of at most 64 colours"
    Image.open(f).convert('RGB').quantize(64, dither=Image.Dither.NONE).save(f, optimize=True)

def terminal(data, path):
    "Train in the folder `path`, and draw what was said"
    from rich.console import Console
    res = subprocess.run([sys.executable, '-c', 'from digitfast.cli import main; main()',
                          'train', data, '--out', 'runs/first'], cwd=path, capture_output=True, text=True)
    if res.returncode: sys.exit(res.stderr)
    con = Console(record=True, width=112, file=io.StringIO())
    con.print(f'[bold]$ digitfast train {Path(data).name} --out runs/first[/]')
    con.print(res.stdout.rstrip(), markup=False, highlight=False)
    # fonts from a network are not asked for
    svg = re.sub(r'@font-face \{.*?\}\s*', '', con.export_svg(title='digitfast', unique_id='run'), flags=re.S)
    (images/'terminal.svg').write_text(svg)

def report(run):
    from browser import Browser
    b = Browser(1000, 660)
    try:
        b.goto((Path(run)/'report.html').resolve().as_uri())
        b.wait("document.readyState=='complete' && !!document.querySelector('svg')", 60)
        b.shot(images/'report.png', full=False)
    finally: b.close()
    small(images/'report.png')

def demo(run):
    from browser import Browser
    from draw_digits import strokes
    from digitfast.demo import demo_page, launch_page
    page = demo_page(run)
    url,b = launch_page(page, '127.0.0.1'),Browser(820, 500)
    try:
        b.goto(url)
        b.wait("document.querySelector('.said')?.innerText.startsWith('Draw')", 90)
        x,y,w,h = b.js("(r => [r.x, r.y, r.width, r.height])(document.querySelector('.pad').getBoundingClientRect())")
        for s in strokes(7, 1): b.drag([(x+w*(.2+.6*px), y+h*(.2+.6*py)) for px,py in s])
        b.wait("!!document.querySelector('.said b')", 60)
        b.js("new Promise(f => setTimeout(f, 3000))")           # the answer to the last stroke
        b.shot(images/'demo.png', full=False)
    finally: b.close(); page.close(verbose=False)
    small(images/'demo.png')

def mistakes(run, n=20):
    "The `n` images whose label is least likely, as label and prediction"
    import numpy as np
    from digitfast.interpret import show_digits
    with np.load(Path(run)/'oof.npz') as z: a = dict(z)
    at = [int(np.flatnonzero(a['valid_rows']==r)[0]) for r in a['image_rows']]
    label,probs = a['valid_labels'][at],a['valid_probs'][at]
    code = np.searchsorted(a['classes'], label)
    worst = np.argsort(probs[np.arange(len(at)),code])[:n]
    fig = show_digits(a['images'][worst], [f"{label[i]}, read as {a['classes'][probs[i].argmax()]}" for i in worst])
    f = images.parent/'tutorials'/'last-mistakes.png' # beside its notebook, to be published with it
    fig.savefig(f, dpi=72, bbox_inches='tight')
    small(f)

if __name__=='__main__':
    if sys.argv[1:2]==['--mistakes']: mistakes(sys.argv[2]); sys.exit()
    images.mkdir(exist_ok=True)
    data = sys.argv[1] if len(sys.argv)>1 else 'sample'
    with tempfile.TemporaryDirectory() as d:
        terminal(data if data=='sample' else str(Path(data).resolve()), d)
        for f in (report, demo): f(f'{d}/runs/first')
