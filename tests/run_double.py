"Write a finished run of invented predictions, for tests that need no training"
import json
import numpy as np

def fake(n=200, c=3, seed=0, wrong=20, n_pics=None, side=5):
    "Return arrays of `predictions.npz` for `n` rows, of which `wrong` are misclassified"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    logged = y.copy()
    bad = rng.permutation(n)[:wrong]
    logged[bad] = (y[bad]+1)%c
    p = rng.uniform(.05, .3, (n,c))
    p[np.arange(n),logged] = rng.uniform(1, 9, n)
    p = (p/p.sum(1, keepdims=True)).astype(np.float32)
    rows = rng.permutation(10*n)[:n]
    return dict(valid_rows=rows, valid_labels=y, valid_probs=p, valid_same=np.zeros(n, bool), classes=np.arange(c),
                image_rows=rows[bad][:n_pics],
                images=rng.integers(0, 256, (wrong,side,side), dtype=np.uint8)[:n_pics])

def a_run(path, file='predictions.npz', sha='s', **arrays):
    "Write the directory of a finished run with these arrays"
    path.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path/file, **arrays)
    (path/'metrics.json').write_text(json.dumps(dict(format=1, recipe='quick', arch='small',
                                                     data=dict(name='d', sha256=sha))))
    return path
