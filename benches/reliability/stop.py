"""Sends SIGTERM at random moments to syntheses and trainings."""

import shutil
import signal
import time

from common import DEMO, WORK, augment, count, model, rng, row, start, synthesis, timed

n = count(100)
out = WORK / "out"
train = ["train", "--manifest", DEMO, "--duration-kimg", 2, "--no-judge", "-q", "--out", out]
model()
seconds = timed(lambda: augment(*synthesis(WORK / "whole", 150, 256)))
slowest, right, early, lost, remade = 0.0, 0, 0, 0, 0


def shards():
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (out / "data").glob("*.parquet")}


for i in range(n):
    shutil.rmtree(out, ignore_errors=True)
    process = start(*(train if i % 2 else synthesis(out, 150, 256)))
    # Not before the handler is there: such a process has nothing to lose and ends by the signal itself.
    time.sleep(0.1 + rng.random() * seconds * 0.8)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    slowest = max(slowest, time.monotonic() - begin)
    early += code == 0
    right += code in (143, 0)
    if code == 143 and i % 2 == 0 and out.exists():
        kept, records = shards(), len(list((out / "_commits").glob("*.json")))
        lost = max(lost, len(kept) - records + len(list((out / ".staging").rglob("*.parquet"))))
        # Going on takes long: a few tell whether shards that have a record are made again.
        if i % 10 == 0:
            augment(*synthesis(out, 150, 256))
            remade += sum(shards()[p] != stat for p, stat in kept.items()) > len(kept) - records
row(
    "SIGTERM",
    f"{n} signals: {right} ended with exit code 143 ({early} were done just before), the slowest after {slowest:.2f} s; "
    f"at most {lost} shards unfinished, {remade} runs made a finished one again",
    "<= 10 s, exit code 143, at most one shard lost",
    right == n and slowest <= 10 and lost <= 1 and remade == 0,
)
