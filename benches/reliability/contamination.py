"""Test images planted among the training images, one at a time."""

import re

from common import DEMO, WORK, augment, count, plant, row

n = count(100)
found = printed = 0
for i in range(n):
    manifest = WORK / "leak.parquet"
    plant("leak", i, DEMO, manifest)
    result = augment(
        "evaluate", "--manifest", manifest, "--pairs-from", "dev", "--seeds", 1, "--arms", "real", "--json",
        "--out", WORK / "evaluation", check=False,
    )  # fmt: skip
    found += result.returncode == 8 and bool(re.search(r"\b1 test images? ", result.stderr))
    printed += bool(result.stdout.strip()) or (WORK / "evaluation/report.json").exists()
row(
    "planted test images",
    f"{found} of {n} found, a gain was printed {printed} times",
    "100 of 100 found, no gain printed",
    found == n >= 100 and printed == 0,
)
