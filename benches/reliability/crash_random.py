"""Kills a synthesis with SIGKILL at random moments, runs it again, and compares every byte with an undisturbed run."""

import shutil

from common import WORK, augment, count, kill_at, model, partial_is_visible, rng, row, start, synthesis, timed, tree

n = count(200)
whole = WORK / "whole"
model()
seconds = timed(lambda: augment(*synthesis(whole, 150, 256)))
want = tree(whole)
killed = equal = visible = 0
for i in range(n):
    out = WORK / "out"
    shutil.rmtree(out, ignore_errors=True)
    code = kill_at(start(*synthesis(out, 150, 256)), rng.random() * seconds)
    if code == -9:
        killed += 1
        visible += partial_is_visible(out) if out.exists() else 0
    augment(*synthesis(out, 150, 256))
    equal += tree(out) == want
row(
    "crash at a random moment",
    f"{n} runs, {killed} killed midway: {equal} byte-equal after running again, {visible} showed a partial file",
    "200 of 200 byte-equal, no partial file visible",
    equal == n and visible == 0 and n >= 200,
)
