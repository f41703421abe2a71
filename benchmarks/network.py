"""Train the small network of the tutorials' widget: `python benchmarks/network.py`

It trains on the first 4,000 of the 5,000 packaged digits, and measures on the last 1,000. It writes
`digitfast/pages/network.json`: the layers, the weights as base64 of bfloat16 (the upper half of a float32), the
accuracy with these rounded weights, and this command. The weights depend on the CPU and the release of torch."""
import argparse, base64, json, warnings
from pathlib import Path

FILE = Path(__file__).parent.parent/'digitfast'/'pages'/'network.json'

def main():
    from digitfast.tasks.course import build_network
    from digitfast.learn.learner import seed_all
    from digitfast.data.read import read_csvs
    from digitfast.learn.recipe import Recipe
    import torch
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--out', type=Path, default=FILE, help='file to write')
    p.add_argument('--epochs', type=int, default=60)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    convs = [dict(n_in=a, n_out=b, size=k, stride=2, padding=k//2) for a,b,k in ((1,8,5), (8,16,3), (16,32,3))]
    layers = [*convs, dict(n_in=512, n_out=10)]
    recipe = Recipe(lambda n_out, side: build_network(layers), split='last', valid_pct=0.2, normalize=False, bs=64,
                    lr=4e-3, epochs=args.epochs, affine=dict(shift=2, rotate=12, zoom=0.12, shear=8))
    data = read_csvs('sample')
    dls = recipe.dls(data.train)
    seed_all(0, dls)
    learn = recipe.learner(dls)
    with learn.no_bar(), learn.no_logging(): recipe.fit(learn)
    net = learn.model.float().eval()
    words = torch.cat([o.detach().flatten() for o in net.parameters()]).bfloat16().view(torch.int16).numpy()
    weights = base64.b64encode(words.astype('<i2').tobytes()).decode()
    held = data.train.iloc[4000:]
    images = torch.tensor(held[data.pixels].to_numpy(copy=True)).view(-1, 1, 28, 28)/255
    labels = torch.tensor(held.label.to_numpy())
    with torch.no_grad(): right = build_network(layers, weights)(images).argmax(1)==labels
    made = dict(command='python benchmarks/network.py', trained_on='rows 1 to 4,000 of the packaged train.csv',
                measured_on='rows 4,001 to 5,000', accuracy=round(right.float().mean().item(), 4),
                layers=layers, weights=weights)
    args.out.write_text(json.dumps(made, indent=1)+'\n', encoding='utf-8')
    print(f"{made['accuracy']:.1%} of {len(labels):,} held-out digits; {args.out.stat().st_size:,} bytes")

if __name__=='__main__': main()
