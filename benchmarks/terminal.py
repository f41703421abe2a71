"Draw the README's picture: `python benchmarks/terminal.py DATA` writes the output of `digitfast train` as terminal.svg"
import io, re, subprocess, sys, tempfile
from pathlib import Path

picture = Path(__file__).parent.parent/'nbs'/'images'/'terminal.svg'

def terminal(data, path):
    "Train in the folder `path`, and draw the output"
    from rich.console import Console
    res = subprocess.run([sys.executable, '-m', 'digitfast', 'train', data, '--out', 'runs/first'], cwd=path,
                         capture_output=True, text=True)
    if res.returncode: sys.exit(res.stderr)
    con = Console(record=True, width=112, file=io.StringIO())
    con.print(f'[bold]$ digitfast train {Path(data).name} --out runs/first[/]')
    con.print(res.stdout.rstrip(), markup=False, highlight=False)
    # do not load fonts from the network
    svg = re.sub(r'@font-face \{.*?\}\s*', '', con.export_svg(title='digitfast', unique_id='run'), flags=re.S)
    picture.write_text(svg)

if __name__=='__main__':
    data = sys.argv[1] if len(sys.argv)>1 else 'sample'
    with tempfile.TemporaryDirectory() as d: terminal(data if data=='sample' else str(Path(data).resolve()), d)
