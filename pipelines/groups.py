"""Shares the shards of a plan out among machines that share no folder: all shards of an identity set go to one machine, in their order.

usage: augment plan .. --json | python3 pipelines/groups.py MACHINES      prints a JSON list: one text of shard numbers for each machine
"""

import collections
import json
import sys


def groups(shards: list[dict], machines: int) -> list[str]:
    sets: dict[str, list[dict]] = collections.defaultdict(list)
    for shard in shards:
        sets[shard["identity_set"]].append(shard)

    def size(own: list[dict]) -> float:
        # A training takes about as long whatever is made of it; where a plan knows no times, images decide.
        return sum(s["seconds"] or 1 + s["images"] / 1000 for s in own)

    # The largest first, each to whoever has least.
    shares = [(0.0, number, []) for number in range(min(machines, len(sets)))]
    for own in sorted(sets.values(), key=size, reverse=True):
        least, number, numbers = min(shares)
        shares[number] = (least + size(own), number, numbers + [s["shard"] for s in own])
    return [" ".join(map(str, numbers)) for _, _, numbers in shares]


if __name__ == "__main__":
    print(json.dumps(groups(json.load(sys.stdin)["shards"], int(sys.argv[1]))))
