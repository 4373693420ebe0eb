"""Kills a training at random moments, goes on, and compares the weights with those of an undisturbed training."""

import shutil

from common import DEMO, WORK, augment, count, kill_at, rng, row, start, timed

n = count(50)


def arguments(out):
    quick = ["--set", "train.batch_size=8", "--set", "train.checkpoint_kimg=0.04"]
    return ["train", "--manifest", DEMO, "--duration-kimg", 0.4, "--no-judge", "-q", "--out", out, *quick]


def weights(out):
    return [(out / name).read_bytes() for name in ("model.safetensors", "checkpoint.safetensors")]


whole, out = WORK / "whole", WORK / "out"
seconds = timed(lambda: augment(*arguments(whole)))
want = weights(whole)
killed = equal = 0
for _ in range(n):
    shutil.rmtree(out, ignore_errors=True)
    killed += kill_at(start(*arguments(out)), rng.random() * seconds) == -9
    augment(*arguments(out))
    equal += weights(out) == want
row(
    "training killed and gone on with",
    f"{n} runs, {killed} killed midway: {equal} with equal weights and moments",
    "50 of 50 equal",
    equal == n and n >= 50,
)
