"""An arcface-style training that knows nothing of `augment`: MobileFaceNet, additive angular margin, 112 px, from RecordIO or WebDataset, tested on
a verification set as insightface tests.

usage: arcface.py (--rec FOLDER | --tars 'GLOB') --test SET.bin [--steps N] [--batch N] [--seed N] [--threads N] [--onnx FILE]

FOLDER holds train.rec, train.idx and property, read with mxnet's own reader; tars hold jpg and cls, read with webdataset. Prints one JSON
object. --onnx writes the network, 128 values for `[1, 3, 112, 112]`, RGB, (x - 127.5) / 127.5. Versions: arcface-requirements.txt.
"""

import argparse
import glob
import io
import json
import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

SIDE, EMBEDDING, SCALE, MARGIN = 112, 128, 64.0, 0.5


def pixels(encoded):
    """`[3, SIDE, SIDE]` bytes."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB").resize((SIDE, SIDE))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


class Records(torch.utils.data.Dataset):
    """RecordIO, as arcface_torch reads it."""

    def __init__(self, folder):
        from mxnet import recordio

        self.recordio = recordio
        self.reader = recordio.MXIndexedRecordIO(f"{folder}/train.idx", f"{folder}/train.rec", "r")
        header, _ = recordio.unpack(self.reader.read_idx(0))
        self.keys = range(1, int(header.label[0]))
        self.classes = int(Path(folder, "property").read_text().split(",")[0])

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index):
        header, image = self.recordio.unpack(self.reader.read_idx(self.keys[index]))
        return pixels(image), int(header.label)


def batches_of_records(folder, size):
    data = Records(folder)
    loader = torch.utils.data.DataLoader(data, batch_size=size, shuffle=True, drop_last=True)

    def forever():
        while True:
            yield from loader

    return forever(), len(data), data.classes


def batches_of_tars(pattern, size):
    import webdataset as wds

    tars = sorted(glob.glob(pattern))
    labels = [int(sample["cls"]) for sample in wds.WebDataset(tars, shardshuffle=False)]
    data = wds.WebDataset(tars, shardshuffle=len(tars)).repeat().shuffle(2000)
    data = data.map(lambda s: (pixels(s.get("jpg") or s["png"]), int(s["cls"]))).batched(size)
    return iter(data), len(labels), max(labels) + 1


def layer(inputs, outputs, kernel, stride, groups=1, active=True):
    """A convolution with its normalisation, at 7x7 over all that is left."""
    padding = 0 if kernel == 7 else kernel // 2
    parts = [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*parts, *([nn.PReLU(outputs)] if active else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        self.body = nn.Sequential(
            layer(inputs, inner, 1, 1), layer(inner, inner, 3, stride, inner), layer(inner, outputs, 1, 1, active=False)
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


def mobilefacenet():
    """Chen et al., 2018."""
    layers, inputs = [layer(3, 64, 3, 2), layer(64, 64, 3, 1, 64)], 64
    for expansion, outputs, count, stride in ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)):
        for i in range(count):
            layers.append(Bottleneck(inputs, outputs, stride if i == 0 else 1, expansion))
            inputs = outputs
    layers += [layer(inputs, 512, 1, 1), layer(512, 512, 7, 1, 512, active=False), layer(512, EMBEDDING, 1, 1, active=False)]
    return nn.Sequential(*layers, nn.Flatten())


def loss_of(embeddings, weights, labels):
    """ArcFace: the angle to the own class is enlarged by the margin."""
    cosines = (F.normalize(embeddings) @ F.normalize(weights).T).clamp(-1 + 1e-6, 1 - 1e-6)
    own = torch.cos(cosines.acos() + MARGIN)
    logits = torch.where(F.one_hot(labels, len(weights)).bool(), own, cosines)
    return F.cross_entropy(SCALE * logits, labels)


def accuracy(model, path):
    """insightface's protocol: mirrored images are added, the threshold of nine folds decides the tenth."""
    with open(path, "rb") as file:
        images, same = pickle.load(file, encoding="bytes")
    x, same = torch.stack([pixels(bytes(image)) for image in images]), np.array(same)
    model.eval()
    with torch.inference_mode():
        parts = [part.float() / 127.5 - 1 for part in x.split(64)]
        e = F.normalize(torch.cat([model(part) + model(part.flip(3)) for part in parts]))
    distance = (e[::2] - e[1::2]).pow(2).sum(1).numpy()
    folds, scores, grid = np.array_split(np.arange(len(same)), 10), [], np.arange(0, 4, 0.01)
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(same)), fold)
        best = grid[np.argmax([np.mean((distance[rest] < t) == same[rest]) for t in grid])]
        scores.append(np.mean((distance[fold] < best) == same[fold]))
    return float(np.mean(scores)), len(same)


def main():
    p = argparse.ArgumentParser()
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--rec")
    source.add_argument("--tars")
    p.add_argument("--test", required=True)
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--onnx")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    read = batches_of_records(args.rec, args.batch) if args.rec else batches_of_tars(args.tars, args.batch)
    batches, images, classes = read
    model, weights = mobilefacenet(), nn.Parameter(torch.randn(classes, EMBEDDING) * 0.01)
    optimiser = torch.optim.SGD([*model.parameters(), weights], lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, args.steps)
    losses = []
    for _ in range(args.steps):
        model.train()
        x, labels = next(batches)
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(3)).float() / 127.5 - 1
        loss = loss_of(model(x), weights, torch.as_tensor(labels))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())

    score, pairs = accuracy(model, args.test)
    if args.onnx:
        torch.onnx.export(model, torch.zeros(1, 3, SIDE, SIDE), args.onnx, opset_version=13, dynamo=False)
    result = {
        "images": images, "classes": classes, "steps": args.steps, "loss": [losses[0], losses[-1]],
        "pairs": pairs, "accuracy": score,
    }  # fmt: skip
    print(json.dumps(result))


main()
