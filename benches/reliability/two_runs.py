"""Starts eight processes on one output at once: one works, the others are refused, and a kill leaves no lock behind."""

import collections
import shutil

from common import WORK, augment, count, rng, row, start, synthesis, tree

rounds = count(50)
whole, out = WORK / "whole", WORK / "out"
augment(*synthesis(whole, 8))
want = tree(whole)
codes = collections.Counter()
equal = winners = 0
for i in range(rounds):
    shutil.rmtree(out, ignore_errors=True)
    processes = [start(*synthesis(out, 8)) for _ in range(8)]
    if i % 2:
        rng.choice(processes).kill()
    ended = [p.wait() for p in processes]
    codes.update(ended)
    winners += ended.count(0) >= 1 or i % 2
    augment(*synthesis(out, 8))
    equal += tree(out) == want
strange = {c: k for c, k in codes.items() if c not in (0, 75, -9)}
row(
    "eight processes, one output",
    f"{rounds} rounds: {codes[0]} done or found done, {codes[75]} refused (exit code 75), {sum(strange.values())} other ends; {equal} outputs byte-equal, no lock stuck",
    "one winner each, clear refusal for the rest, no stuck lock after a kill",
    not strange and equal == rounds and winners == rounds,
)
