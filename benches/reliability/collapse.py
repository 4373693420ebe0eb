"""Offers generators that have collapsed, in three ways, and a sound one."""

from common import WORK, augment, plant, row, trained

sound = trained("5")
augment("synthesize", "--model", sound, "--per-id", 2, "-q", "--out", WORK / "sound")
caught = []
for kind, why in [("constant", "one image, whatever"), ("single", "a single image each"), ("swapped", "other identities")]:
    plant("collapse", kind, sound, WORK / kind)
    result = augment("synthesize", "--model", WORK / kind, "--per-id", 2, "-q", "--out", WORK / f"{kind}-out", check=False)
    if result.returncode == 2 and why in result.stderr and not (WORK / f"{kind}-out/data").exists():
        caught.append(kind)
row(
    "collapsed generators",
    f"{len(caught)} of 3 caught before an image is written ({', '.join(caught)}); the sound one passes",
    "three planted collapses caught",
    len(caught) == 3,
)
