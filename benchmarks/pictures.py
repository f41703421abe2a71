"""The pictures of README: `python benchmarks/pictures.py [DATA]`, with Chromium, websockets and the extra demo.

terminal.svg is `digitfast train DATA` (or the sample) as it ran, report.png the head of its report, demo.png the page of `digitfast demo` with a digit drawn on it."""
from pathlib import Path
import io, os, re, subprocess, sys, tempfile
here = Path(__file__).parent
sys.path.insert(0, str(here.parent/'tests'))
from browser import Browser
from draw_digits import strokes
from PIL import Image
from rich.console import Console
from digitfast.demo import demo_page, launch_page

images = here.parent/'nbs'/'images'

def small(name):
    "Save as a PNG of at most 64 colours"
    f = images/name
    Image.open(f).convert('RGB').quantize(64, dither=Image.Dither.NONE).save(f, optimize=True)

def terminal(data, path):
    "Train in the folder `path`, and draw what was said"
    res = subprocess.run([sys.executable, '-c', 'from digitfast.cli import main; main()', 'train', data, '--out', 'runs/first'], cwd=path, capture_output=True, text=True)
    if res.returncode: sys.exit(res.stderr)
    con = Console(record=True, width=112, file=io.StringIO())
    con.print(f'[bold]$ digitfast train {Path(data).name} --out runs/first[/]')
    con.print(res.stdout.rstrip(), markup=False, highlight=False)
    svg = re.sub(r'@font-face \{.*?\}\s*', '', con.export_svg(title='digitfast', unique_id='run'), flags=re.S)      # fonts from a network are not asked for
    (images/'terminal.svg').write_text(svg)

def report(run):
    b = Browser(1000, 660)
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
    data = sys.argv[1] if len(sys.argv)>1 else 'sample'
    with tempfile.TemporaryDirectory() as d:
        terminal(data if data=='sample' else str(Path(data).resolve()), d)
        for f in (report, demo): f(f'{d}/runs/first')
