"""Flips random bits in files of datasets, models and checkpoints, and asks `augment verify`."""

from common import WORK, augment, count, model, rng, row, synthesis

n = count(2000)
out = WORK / "out"
augment(*synthesis(out, 2))
folders = [out, model()]
files = [(f, p) for f in folders for p in sorted(f.rglob("*")) if p.is_file() and p.stat().st_size > 0]
sealed = [(f, p) for f, p in files if f == out or p.suffix == ".safetensors"]
found = 0
for _ in range(n):
    folder, path = rng.choice(sealed)
    at, bit = rng.randrange(path.stat().st_size), 1 << rng.randrange(8)
    with path.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ bit]))
        f.flush()
        found += augment("verify", folder, check=False).returncode == 2
        f.seek(at)
        f.write(bytes([byte]))
augment("verify", out), augment("verify", model())
row(
    "random bit flips in outputs, models and checkpoints",
    f"{found} of {n} found by `augment verify`, over {len(sealed)} files",
    "2,000 of 2,000",
    found == n and n >= 2000,
)
