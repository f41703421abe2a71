"""Train the network of `quick` with torch and pandas alone, to see what a short script without checks costs.

    python benchmarks/bare.py digit-recognizer.zip [--bf16]

It reads the CSVs, holds out a tenth of the rows, trains for as many images as `quick`, measures the held-out rows,
predicts the test rows and writes submission.csv here. It prints the seconds of training and the accuracy as JSON."""
from contextlib import nullcontext
import json, sys, time, zipfile
import pandas as pd, torch, torch.nn.functional as F
from torch import nn

bf16 = '--bf16' in sys.argv
with zipfile.ZipFile(sys.argv[1]) as z:
    train,test = (pd.read_csv(z.open(name), dtype='uint8') for name in ('train.csv', 'test.csv'))
y = torch.tensor(train.pop('label').to_numpy()).long()
x,test = (torch.tensor(df.to_numpy()).view(-1, 1, 28, 28) for df in (train, test))
valid,rows = torch.randperm(len(x)).split([len(x)//10, len(x)-len(x)//10])
mean,std = x[rows].float().mean()/255, x[rows].float().std()/255

def block(ni, nf, ks=3, stride=1):
    return nn.Sequential(nn.Conv2d(ni, nf, ks, stride, bias=False), nn.BatchNorm2d(nf), nn.ReLU(inplace=True))
model = nn.Sequential(block(1, 24, 5, 3), block(24, 32), block(32, 48), block(48, 64), nn.Flatten(), nn.Linear(256, 10))
model = model.to(memory_format=torch.channels_last)

def normal(xb): return xb.float().div_(255).sub_(mean).div_(std)
def predict(xb):
    with torch.autocast('cpu', torch.bfloat16) if bf16 else nullcontext(): return model(xb).float()

bs,images = 256,126_000
n_epoch = -(-images//len(rows))
opt = torch.optim.AdamW(model.parameters(), lr=0.02, betas=(.95,.99), eps=1e-5, weight_decay=0.01, fused=True)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.02, total_steps=n_epoch*(len(rows)//bs), pct_start=.25,
                                            base_momentum=.85, max_momentum=.95, final_div_factor=4000)
start = time.perf_counter()
for epoch in range(n_epoch):
    for b in rows[torch.randperm(len(rows))].split(bs)[:len(rows)//bs]:
        i,j = torch.randint(3, (2, bs)) # move each image by up to a pixel
        xb = F.pad(x[b], (1,1,1,1)).unfold(2, 28, 1).unfold(3, 28, 1)[torch.arange(bs), :, i, j]
        F.cross_entropy(predict(normal(xb)), y[b], label_smoothing=.05).backward()
        opt.step()
        opt.zero_grad()
        sched.step()
seconds = time.perf_counter()-start

model.eval()
def classes(x):
    with torch.no_grad(): return torch.cat([predict(normal(o)).argmax(1) for o in x.split(1024)])
accuracy = (classes(x[valid])==y[valid]).float().mean().item()
pd.DataFrame(dict(ImageId=range(1, len(test)+1), Label=classes(test).numpy())).to_csv('submission.csv', index=False)
print(json.dumps(dict(train=seconds, accuracy=accuracy)))
