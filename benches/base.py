#!/usr/bin/env python3
"""Many small identity sets, each trained with fresh weights and begun with one model of other persons, as a Markdown table.

usage: benches/base.py AUGMENT FOLDER [SETS [KIMG [BASE_KIMG]]]

draws SETS (64) identity sets of ten persons each and one of 200 others, trains a model of these for BASE_KIMG (20) thousand images
and then, with it and without, one of every set for at most KIMG (6) thousand, preset `tiny` at 32 px. A judge looks after every 500
images; a training ends when 1,500 have made nothing better. It can be interrupted; the same command goes on.
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys

augment, folder = sys.argv[1], pathlib.Path(sys.argv[2])
sets, kimg, base_kimg = (int(value) for value in [*sys.argv[3:], *["64", "6", "20"][len(sys.argv) - 3 :]])

if sets < 2:
    sys.exit("SETS must be 2 or more")


def run(*args):
    subprocess.run([augment, *(str(a) for a in args)], check=True, stdout=sys.stderr)


def draw(name, *args):
    if not (folder / name).exists():
        run("demo", "--per-id", 10, "--image-size", 32, *args, "--out", folder / name)
    return folder / name


def train(manifest, out, *args):
    run("train", "--manifest", manifest, "--split", "train", "--preset", "tiny", "--out", folder / out, *args)


def looks(out):
    """Of every set: images shown, distance and top-1 of every look, the best so far."""
    for metrics in sorted((folder / out).glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        seen, distance, top1 = [], float("inf"), 0.0
        for line in (line for line in lines if "figures" in line):
            distance, top1 = min(distance, line["figures"]["frechet"]), max(top1, line["figures"]["top1"])
            seen.append((line["images"], distance, top1))
        if not seen:
            sys.exit(f"{metrics}: nobody looked at it: more images are needed")
        yield seen, lines[-1]["images"]


folder.mkdir(parents=True, exist_ok=True)
many = draw("sets.parquet", "--sets", sets, "--identities", 10 * sets, "--seed", 1)
others = draw("others.parquet", "--identities", 200, "--seed", 2)
length = ["--duration-kimg", kimg, "--set", "train.patience_kimg=1.5"]
train(others, "base", "--duration-kimg", base_kimg, "--no-judge")
train(many, "fresh", *length)
for judge in (folder / "fresh").glob("*/judge.safetensors"):
    # One judge for both: it knows photographs alone.
    (folder / "begun" / judge.parent.name).mkdir(parents=True, exist_ok=True)
    shutil.copy(judge, folder / "begun" / judge.parent.name)
train(many, "begun", *length, "--init", folder / "base")

ways = {name: list(looks(name)) for name in ("fresh", "begun")}
print(f"\n{sets} sets of ten persons, means over sets (distance and top-1: the best so far)\n")
print("| images | distance, fresh | begun | top-1, fresh | begun |\n|---|---|---|---|---|")
for n in range(max(len(seen) for way in ways.values() for seen, _ in way)):
    # Whoever has ended stays where it was.
    at = {name: [seen[min(n, len(seen) - 1)] for seen, _ in way] for name, way in ways.items()}
    images = max(look[0] for way in at.values() for look in way)
    cells = [f"{statistics.mean(look[i] for look in at[name]):.3f}" for i in (1, 2) for name in ways]
    print(f"| {images} | {' | '.join(cells)} |")
shown = {name: sum(images for _, images in way) for name, way in ways.items()}
print(f"\nimages shown until the end: {shown['fresh']} fresh, {shown['begun']} begun ({shown['begun'] / shown['fresh']:.2f})")
need = []
for (fresh, _), (begun, _) in zip(ways["fresh"], ways["begun"], strict=True):
    best = fresh[-1][1]
    first = next((images for images, distance, _ in begun if distance <= best), None)
    need.append((next(images for images, distance, _ in fresh if distance <= best), first))
reached = [(a, b) for a, b in need if b is not None]
print(f"the least distance of fresh weights was reached by {len(reached)} of {len(need)} sets", end="")
if reached:
    fresh, begun = (statistics.mean(pair[i] for pair in reached) for i in (0, 1))
    print(f", after {begun:.0f} images on average; these needed {fresh:.0f} fresh", end="")
print()
