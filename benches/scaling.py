#!/usr/bin/env python3
"""Training speed and peak memory over batch sizes, image sizes and numbers of identities, as a Markdown table.

usage: cargo bench --no-run --bench engine; benches/scaling.py ENGINE AUGMENT   (the executables)
"""

import json
import pathlib
import subprocess
import sys
import tempfile

engine, augment = sys.argv[1:3]
# (what, batch size, image size, identities), preset `base` adapted to the image size.
POINTS = [(f"batch size {n}", n, 64, 100) for n in (8, 16, 32, 64, 128, 256)]
POINTS += [(f"image size {n}", 32, n, 100) for n in (32, 64, 128)]
POINTS += [(f"{n} identities", 32, 64, n) for n in (10, 100, 1000, 2000, 10000, 30000, 100000)]

print("| preset `base` with | training images/s | peak memory, MiB |\n|---|---|---|")
with tempfile.TemporaryDirectory() as folder:
    config = pathlib.Path(folder) / "config.toml"
    for what, batch, size, identities in POINTS:
        command = [augment, "config", "--preset", "base", "--image-size", str(size), "--set", f"train.batch_size={batch}"]
        config.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        steps = max(3, 256 // batch)
        out = subprocess.run([engine, config, "train", str(steps), str(identities)], check=True, capture_output=True, text=True)
        result = json.loads(out.stdout)
        print(f"| {what} | {result['images_per_s']:.1f} | {result['peak_mib']:.0f} |", flush=True)
