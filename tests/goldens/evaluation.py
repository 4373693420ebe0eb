"""Writes evaluation.json: distances of feature sets and a verification result by the reference implementations.

Run with the versions below: python tests/goldens/evaluation.py
Frechet and kernel distance: torch-fidelity. Precision, recall, density, coverage: prdc. Verification: the steps of
insightface's evaluation of LFW, with scikit-learn's folds.
"""

import json
import pathlib
from importlib.metadata import version

import numpy as np
import torch
from prdc import compute_prdc
from sklearn.model_selection import KFold
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_poly, mmd2

VERSIONS = {"prdc": "0.2", "torch-fidelity": "0.4.0", "scikit-learn": "1.9.1", "numpy": "2.4.6"}
for name, wanted in VERSIONS.items():
    assert version(name) == wanted, (name, version(name))

rng = np.random.default_rng(3)


def features(n, d, shift):
    x = rng.normal(size=(n, d)) * (1 + np.arange(d) / d) + shift
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).round(4).astype(np.float32)


def distances(real, fake):
    a, b = (fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake))
    fid = fid_statistics_to_metric(a, b, False)
    fid = next(iter(fid.values())) if isinstance(fid, dict) else fid
    x, y = real.astype(np.float64), fake.astype(np.float64)
    poly = lambda p, q: (p @ q.T / p.shape[1] + 1) ** 3
    assert np.allclose(poly(x, y), kernel_poly(x, y))
    # mmd2 takes sets of one size: the larger is cut.
    n = min(len(x), len(y))
    kid = mmd2(poly(x[:n], x[:n]), poly(x[:n], y[:n]), poly(y[:n], y[:n]))
    return {"frechet": float(fid), "kernel_of_first": n, "kernel": float(kid), **compute_prdc(x, y, nearest_k=5)}


def verification(distance, same):
    thresholds = np.arange(0, 4, 0.01)
    accuracy, correct = [], np.zeros(len(same), bool)
    for train, test in KFold(10, shuffle=False).split(same):
        hits = [np.mean((distance[train] < t) == same[train]) for t in thresholds]
        best = thresholds[np.argmax(hits)]
        correct[test] = (distance[test] < best) == same[test]
        accuracy.append(correct[test].mean())
    return {"accuracy": float(np.mean(accuracy)), "deviation": float(np.std(accuracy)), "correct": correct.tolist()}


cases = []
for n, m, d, shift in [(40, 60, 6, 0.3), (50, 50, 8, 0.0), (30, 70, 4, 1.0)]:
    real, fake = features(n, d, 0.0), features(m, d, shift)
    values = {k: (float(v) if k != "kernel_of_first" else v) for k, v in distances(real, fake).items()}
    cases.append({"size": d, "real": real.flatten().tolist(), "fake": fake.flatten().tolist(), **values})

same = rng.random(137) < 0.5
# Off the grid of thresholds, so that rounding decides nothing.
distance = (np.clip(rng.normal(np.where(same, 1.1, 1.6), 0.4), 0.01, 3.9) * 100).round() / 100 + 0.0037
out = {
    "versions": VERSIONS,
    "distances": cases,
    "verification": {"distance": distance.tolist(), "same": same.tolist(), **verification(distance, same)},
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out))
print(path, path.stat().st_size)
