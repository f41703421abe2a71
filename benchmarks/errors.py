"""Run the commands on docs/errors.md and write what they print below them: `python benchmarks/errors.py`.

All run in one new folder with small files for the page."""
import contextlib, io, os, re, tempfile
from pathlib import Path
import numpy as np, pandas as pd

page = Path(__file__).parents[1]/'docs/errors.md'
_block = re.compile(r'(```console\n\$ digitfast (.*)\n)(?:.*\n)*?(```\n)')

def _digits(n, label=True):
    pixels = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (n,64)), columns=[f'pixel{i}' for i in range(64)])
    if label: pixels.insert(0, 'label', np.arange(n)%3)
    return pixels

def _data(folder, train):
    Path(folder).mkdir()
    train.to_csv(f'{folder}/train.csv', index=False)
    _digits(20, label=False).to_csv(f'{folder}/test.csv', index=False)

def make_files():
    "Write the example files of the page into the current folder"
    wrong = _digits(60).astype(object)
    wrong.iloc[3,10] = 'x'
    for name,train in dict(digits=_digits(60), text=wrong, unlabelled=_digits(60, label=False)).items():
        _data(name, train)
    for name in 'empty/notes.txt','runs/first/metrics.json','runs/second/checkpoint/state.json':
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text('{"info":{}}')
    sub = pd.DataFrame(dict(ImageId=np.arange(1, 21), Label=1))
    sub[:-1].to_csv('short.csv', index=False)
    sub.assign(ImageId=sub.ImageId-1).to_csv('zero.csv', index=False)
    sub.astype({'Label':float}).to_csv('decimal.csv', index=False)
    sub.to_csv('index.csv')

def run(words):
    "Return the error message of `digitfast WORDS`"
    from digitfast.cli import main
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try: main(words.split())
        except SystemExit as e: code = e.code
        else: code = 0
    if code not in (1,2): raise SystemExit(f'digitfast {words}: expected an error')
    return ''.join(l+'\n' for l in err.getvalue().splitlines() if l.lower().startswith('error: '))

def render(text):
    "Return the page with current messages"
    return _block.sub(lambda m: m[1]+run(m[2])+m[3], text)

if __name__=='__main__':
    text,home = page.read_text(encoding='utf-8'),os.getcwd()
    with tempfile.TemporaryDirectory() as d:
        os.chdir(d)
        make_files()
        text = render(text)
        os.chdir(home)
    page.write_text(text, encoding='utf-8')
