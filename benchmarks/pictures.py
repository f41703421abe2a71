"""The pictures of README: `python benchmarks/pictures.py RUN`, with Chromium, websockets and the extra demo.

terminal.svg is `digitfast train sample` as it ran, report.png the head of RUN's report, demo.png the page of `digitfast demo RUN` with a digit drawn on it."""
from pathlib import Path
import io, os, subprocess, sys, tempfile
here = Path(__file__).parent
sys.path.insert(0, str(here.parent/'tests'))
from browser import Browser
from draw_digits import strokes
from PIL import Image
from digitfast.demo import demo_page, launch_page

images = here.parent/'nbs'/'images'

def small(name):
    "Save as a PNG of at most 64 colours"
    f = images/name
    Image.open(f).convert('RGB').quantize(64, dither=Image.Dither.NONE).save(f, optimize=True)

def terminal():
    from rich.console import Console
    with tempfile.TemporaryDirectory() as d:
        res = subprocess.run([sys.executable, '-c', 'from digitfast.cli import main; main()', 'train', 'sample', '--out', 'runs/first'], cwd=d, capture_output=True, text=True, env={**os.environ, 'COLUMNS':'110'})
    if res.returncode: sys.exit(res.stderr)
    con = Console(record=True, width=112, file=io.StringIO())
    con.print('[bold]$ digitfast train sample --out runs/first[/]')
    con.print(res.stdout.rstrip(), markup=False, highlight=False)
    (images/'terminal.svg').write_text(con.export_svg(title='digitfast'))

def report(run):
    b = Browser(900, 700)
    try:
        b.goto((Path(run)/'report.html').resolve().as_uri())
        b.wait("document.readyState=='complete' && !!document.querySelector('svg')", 60)
        b.shot(images/'report.png', full=False)
    finally: b.close()
    small('report.png')

def demo(run):
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
    small('demo.png')

if __name__=='__main__':
    images.mkdir(exist_ok=True)
    terminal(); report(sys.argv[1]); demo(sys.argv[1])
