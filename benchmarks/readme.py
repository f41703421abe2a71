"""Render README.md from nbs/index.ipynb: `python benchmarks/readme.py`.

Tables come from the CSVs in benchmarks/results, where the notebook has a line `<!-- table: NAME -->`."""
from pathlib import Path
import re
import pandas as pd
import nbformat
from nbconvert import MarkdownExporter

here = Path(__file__).parent

def systems():
    "What `digitfast compare` measured, a row a system"
    t,runs = pd.read_csv(here/'results'/'compare.csv', dtype=dict(reported=str)),pd.read_csv(here/'results'/'runs.csv')
    rows = [f"| `{r.system}` | {'–' if pd.isna(r.reported) else r.reported} | {r['mean']:.4f} ± {r.sd:.4f} | {r.parameters:,} | {r.epochs} | {r.seconds:.0f} |" for _,r in t.iterrows()]
    o = runs.iloc[0]
    return '\n'.join(['| recipe | reported | measured | parameters | epochs | seconds |', '|---|---:|---:|---:|---:|---:|', *rows, '',
                      f"Accuracy on {round(o.rows/9):,} held-out rows of `train.csv` after training on the others: mean and standard deviation over {t.seeds.min()} seeds. "
                      f"{o.device.upper()}, {o.threads} thread{'' if o.threads==1 else 's'}, {runs.date.max()}. Seconds are of training; the machine was shared, so read them as an order of magnitude."])

tables = dict(systems=systems)

def render():
    "The notebook as Markdown: hidden cells left out, tables filled in, pictures in nbs/images, links relative to the top folder"
    nbs = here.parent/'nbs'
    nb = nbformat.read(nbs/'index.ipynb', 4)
    nb.cells = [c for c in nb.cells if not c.source.startswith('#| hide')]
    nb.metadata['language_info'] = dict(name='python')
    (nbs/'images').mkdir(exist_ok=True)
    md,res = MarkdownExporter().from_notebook_node(nb)
    for o in (nbs/'images').glob('readme_*'): o.unlink()
    for name,png in res['outputs'].items():
        (nbs/'images'/f'readme_{name}').write_bytes(png)
        md = md.replace(f']({name})', f'](images/readme_{name})')
    md = re.sub(r'<style>.*?</style>', '', md, flags=re.S)
    md = re.sub(r'<!-- table: (\w+) -->', lambda m: tables[m[1]](), md)
    md = re.sub(r'\]\(\.\./', '](', md)
    md = re.sub(r'\]\((?!https?:|#|/)(\d\d|tutorials|images)', r'](nbs/\1', md)
    return re.sub(r'\n{3,}', '\n\n', md).strip()+'\n'

if __name__=='__main__': (here.parent/'README.md').write_text(render(), encoding='utf-8')
