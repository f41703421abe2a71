"""Find the held-out rows that every arm of `folds.py` misclassifies: `python benchmarks/left.py DATA [--keep DIR]`

It writes left.csv, with a line for each row, and the picture of the tutorial. The column `look` contains the judgement
of a person who looked at the picture: `label`, `read` or `either`. It is kept when the CSV is written again."""
import numpy as np, pandas as pd
from pathlib import Path
from _common import parse, parser, save
from folds import done, groups, joined

picture = Path(__file__).parent.parent/'nbs'/'tutorials'/'left.png'

def draw(df, rows):
    "Draw the images of `rows`, each with its label, its prediction and its row number"
    from matplotlib.figure import Figure
    from PIL import Image
    wide = 13
    fig = Figure(figsize=(wide*.68, -(-len(rows)//wide)*.95), layout='constrained')
    for ax in np.ravel(fig.subplots(-(-len(rows)//wide), wide)): ax.axis('off')
    for ax,r in zip(fig.axes, rows):
        ax.imshow(df.drop(columns='label').iloc[r['row']].to_numpy().reshape(28, 28), cmap='Greys')
        ax.set_title(f"label {r['label']},\npredicted {r['read']}", fontsize=7)
    fig.savefig(picture, dpi=100)
    Image.open(picture).convert('L').quantize(16).save(picture, optimize=True) # 16 greys give a small file

def main():
    from sklearn.model_selection import StratifiedKFold
    from digitfast.data.read import read_csvs
    p = parser(__doc__)
    p.add_argument('--keep', default='folds', metavar='DIR', help='folder with the probabilities of folds.py')
    p.add_argument('--folds', type=int, default=6, help='as for folds.py')
    args = parse(p)
    df = read_csvs(args.data).train
    y = df.label.to_numpy()
    folds = [o[1] for o in StratifiedKFold(args.folds, shuffle=True, random_state=0).split(df, y)]
    names = [o for o in groups['quick']().arms if done(o, folds, args)]
    probs = np.stack([joined(o, df, folds, args) for o in names])
    at = np.flatnonzero((probs.argmax(2)!=y).all(0))
    rows = [dict(row=int(i), label=int(y[i]), read=int(probs[:,i].mean(0).argmax()),
                 probability=float(probs[:,i,y[i]].mean())) for i in at]
    rows.sort(key=lambda o: o['probability'])
    print(f"{len(rows)} of {len(y):,} rows are misclassified by all of: {'; '.join(names)}")
    draw(df, rows)
    look,f = {},args.out/'left.csv'
    if f.exists(): look = pd.read_csv(f).set_index('row').look.dropna().to_dict()
    save('left', [dict(o, look=look.get(o['row'], ''), arms='; '.join(names)) for o in rows], args, show=False)

if __name__=='__main__': main()
