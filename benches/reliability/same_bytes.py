"""Synthesizes the same images in other numbers of shards, with other numbers of threads, interrupted or not."""

import hashlib
import shutil

from common import WORK, augment, kill_at, row, start, synthesis, tree


def images(out):
    """Hash over names and bytes of the images of a folder, which do not tell how they were cut into units."""
    h = hashlib.sha256()
    for path in sorted(out.glob("imgs/*/*")):
        h.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return h.hexdigest()


hashes, shards, out, n = set(), {}, WORK / "out", 0
for parts in (1, 2, 4, 8):
    for threads in (1, 2):
        for broken in (False, True):
            for form in ("imagefolder", "parquet"):
                arguments = synthesis(out, 8, 256 // parts, "--format", form, "--threads", threads)
                shutil.rmtree(out, ignore_errors=True)
                if broken:
                    kill_at(start(*arguments), 0.15)
                augment(*arguments)
                n += 1
                if form == "imagefolder":
                    hashes.add(images(out))
                else:
                    shards.setdefault(parts, set()).add(tree(out))
different = len(hashes) + sum(len(s) for s in shards.values()) - 1 - len(shards)
row(
    "same bytes: shards {1, 2, 4, 8} x threads {1, 2} x interrupted or not",
    f"{n} runs: {len(hashes)} hash of all images, {max(len(s) for s in shards.values())} of the files of each number of shards",
    "one hash",
    different == 0,
)
