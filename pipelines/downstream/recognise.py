"""A face recogniser that knows nothing of `augment`: trains on labelled images read with `datasets` and verifies pairs.

usage: recognise.py --real REAL.parquet --test TEST.parquet [--test-split NAME] [--synthetic DATASET_FOLDER] [--share S]
       [--steps N] [--seed N] [--bf16] [--pairs PAIRS.parquet]

REAL and TEST have the columns identity and image, REAL also split (rows of `train` are used); DATASET_FOLDER is what
`augment` wrote: S of every batch comes from it, half of that from existing and half from new identities where it has both.
Pairs are PAIRS (left_identity, left_image_id, right_identity, right_image_id, is_same), or drawn from TEST.
Prints one JSON object. Versions: requirements.txt.
"""

import argparse
import json
import random

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Image, load_dataset
from torch import nn

SIDE, BATCH, EMBEDDING, SCALE, MARGIN = 64, 64, 128, 16.0, 0.2


def pixels(rows):
    """`[N, 3, SIDE, SIDE]` bytes."""
    images = [r["image"].convert("RGB").resize((SIDE, SIDE)) for r in rows]
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).contiguous()


def read(path, split=None):
    rows = load_dataset("parquet", data_files=path, split="train")
    if split and "split" in rows.column_names:
        rows = rows.filter(lambda s: s == split, input_columns="split")
    return rows.cast_column("image", Image())


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        conv = lambda i, k, s: nn.Sequential(nn.Conv2d(i, outputs, k, s, k // 2, bias=False), nn.BatchNorm2d(outputs))
        self.body = nn.Sequential(conv(inputs, 3, 2), nn.ReLU(), conv(outputs, 3, 1))
        self.shortcut = conv(inputs, 1, 2)

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class Recogniser(nn.Module):
    def __init__(self, classes):
        super().__init__()
        widths = [16, 32, 64, 128, 256]
        blocks = [Block(i, o) for i, o in zip(widths, widths[1:])]
        self.net = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(), *blocks,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING),
        )  # fmt: skip
        self.classes = nn.Parameter(torch.randn(classes, EMBEDDING) * 0.01)

    def forward(self, x):
        return self.net(x)


def augmented(x):
    """Mirrored, shifted and with other brightness and contrast, image by image; input bytes, result about [-1, 1]."""
    x = x.float() / 127.5 - 1
    n = len(x)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) * (0.9 + 0.2 * torch.rand(n))
    theta[:, 1, 1] = 0.9 + 0.2 * torch.rand(n)
    theta[:, :, 2] = 0.2 * torch.rand(n, 2) - 0.1
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="border", align_corners=False)
    return x * (0.8 + 0.4 * torch.rand(n, 1, 1, 1)) + 0.4 * torch.rand(n, 1, 1, 1) - 0.2


def embed(model, images):
    model.eval()
    out = []
    with torch.inference_mode():
        for part in images.split(128):
            x = part.float() / 127.5 - 1
            out.append(F.normalize(F.normalize(model(x)) + F.normalize(model(x.flip(3)))))
    return torch.cat(out)


def accuracy(similarity, same):
    """Ten folds: the threshold of nine decides the tenth."""
    folds, scores = np.array_split(np.arange(len(same)), 10), []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(same)), fold)
        grid = np.arange(-1, 1, 0.005)
        best = grid[np.argmax([np.mean((similarity[rest] > t) == same[rest]) for t in grid])]
        scores.append(np.mean((similarity[fold] > best) == same[fold]))
    return float(np.mean(scores))


def auc(similarity, same):
    """Chance that a pair of one person is more similar than a pair of two."""
    order = similarity.argsort().argsort()
    count = same.sum()
    return float((order[same].sum() - count * (count - 1) / 2) / (count * (~same).sum()))


def drawn_pairs(identities, count=3000):
    """`count` pairs of one person and as many of two, always the same."""
    rng = random.Random(0)
    by = {}
    for i, name in enumerate(identities):
        by.setdefault(name, []).append(i)
    several = [v for v in by.values() if len(v) > 1]
    pairs = []
    while len(pairs) < 2 * count:
        pairs.append((*rng.sample(rng.choice(several), 2), True))
        a, b = rng.sample(range(len(identities)), 2)
        while identities[a] == identities[b]:
            a, b = rng.sample(range(len(identities)), 2)
        pairs.append((a, b, False))
    return pairs


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--real", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--test-split")
    p.add_argument("--synthetic")
    p.add_argument("--pairs")
    p.add_argument("--share", type=float, default=0.5)
    p.add_argument("--steps", type=int, default=500)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--bf16", action="store_true", help="train in bf16: faster on processors with AVX512-BF16 or AMX")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    real = read(args.real, "train")
    sources = [(pixels(real), real["identity"])]
    if args.synthetic:
        made = load_dataset(args.synthetic, split="train").filter(lambda s: s, input_columns="synthetic")
        x, identities = pixels(made), np.array(made["identity"])
        existing = np.isin(identities, real["identity"])
        sources += [(x[kind], identities[kind].tolist()) for kind in (existing, ~existing) if kind.any()]
    names = sorted({name for _, identities in sources for name in identities})
    label = {name: i for i, name in enumerate(names)}
    sources = [(x, torch.tensor([label[name] for name in identities])) for x, identities in sources]
    kinds = len(sources) - 1
    counts = [int(BATCH * args.share) // kinds for _ in range(kinds)]
    counts.insert(0, BATCH - sum(counts))

    model = Recogniser(len(names)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=args.steps, pct_start=0.1)
    orders = [torch.randperm(len(x)) for x, _ in sources]
    for step in range(args.steps):
        model.train()
        xs, ys = [], []
        for k, ((x, y), n) in enumerate(zip(sources, counts)):
            if len(orders[k]) < n:
                orders[k] = torch.cat([orders[k], torch.randperm(len(x))])
            chosen, orders[k] = orders[k][:n], orders[k][n:]
            xs.append(x[chosen])
            ys.append(y[chosen])
        y = torch.cat(ys)
        x = augmented(torch.cat(xs)).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            features = model(x)
        cosines = F.normalize(features.float()) @ F.normalize(model.classes).T
        loss = F.cross_entropy(SCALE * (cosines - MARGIN * F.one_hot(y, len(names))), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    test = read(args.test, args.test_split)
    known = set(test["identity"]) & set(names)
    assert not known, f"test persons were trained on: {sorted(known)[:5]}"
    embeddings = embed(model, pixels(test))
    if args.pairs:
        at = {(i, n): k for k, (i, n) in enumerate(zip(test["identity"], test["image_id"]))}
        rows = load_dataset("parquet", data_files=args.pairs, split="train")
        pairs = [
            (at[r["left_identity"], r["left_image_id"]], at[r["right_identity"], r["right_image_id"]], r["is_same"])
            for r in rows
        ]
    else:
        pairs = drawn_pairs(list(test["identity"]))
    left, right, same = (np.array(c) for c in zip(*pairs))
    same, similarity = same.astype(bool), (embeddings[left] * embeddings[right]).sum(1).numpy()
    result = {
        "images": [len(x) for x, _ in sources], "classes": len(names), "steps": args.steps, "seed": args.seed,
        "loss": loss.item(), "pairs": len(pairs), "accuracy": accuracy(similarity, same), "auc": auc(similarity, same),
    }  # fmt: skip
    print(json.dumps(result))


main()
