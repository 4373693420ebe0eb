"""What a shard of a planned job reads, of a manifest with many rows and identity sets.

usage: shards.py AUGMENT FOLDER [ROWS] [SETS]; needs pyarrow, pillow, numpy. FOLDER gets about 3 kB a row.

Draws a manifest of noise, sorted by identity set, in row groups of 1,000 rows, without statistics of images, as `augment manifest` writes it; plans it; begins some shards, and looks what each has read when
its training begins, beside the bytes of its own row groups. Prints a JSON object a line.
"""

import io
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

GROUP, SIDE, PERSONS = 1000, 32, 10


def draw(path, rows, sets):
    noise = np.random.default_rng(0)
    schema = pa.schema({"identity": pa.string(), "identity_set": pa.string(), "image": pa.binary()})
    with pq.ParquetWriter(path, schema, compression="zstd", write_statistics=["identity", "identity_set"]) as out:
        for first in range(0, rows, GROUP):
            names, of, images = [], [], []
            for row in range(first, first + GROUP):
                pixels = noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "PNG", compress_level=0)
                images.append(data.getvalue())
                of.append(f"set-{row * sets // rows:05}")
                names.append(f"person-{row % PERSONS}")
            out.write_table(pa.table([names, of, images], schema=schema), row_group_size=GROUP)


def read_until_training(command):
    """Bytes that a shard has read when its training begins."""
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in run.stderr:
        if line.startswith("training on"):
            io_counts = pathlib.Path(f"/proc/{run.pid}/io").read_text()
            run.kill()
            run.wait()
            return int(io_counts.split("rchar: ")[1].split("\n")[0])
    raise SystemExit(f"{command}: no training began")


def main(augment, folder, rows=1_000_000, sets=100):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest, job = folder / "sets.parquet", folder / "job"
    if not manifest.exists():
        draw(manifest, rows, sets)
    began = time.time()
    subprocess.run(
        [augment, "plan", "--manifest", manifest, "--per-id", "1", "--no-judge", "--job", job, "--out", folder / "out", "-q"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(json.dumps({"rows": rows, "sets": sets, "bytes": manifest.stat().st_size, "plan_seconds": round(time.time() - began, 1), "plan_peak_mib": peak}))
    metadata = pq.ParquetFile(manifest).metadata
    each = metadata.num_row_groups // sets
    for shard in (0, sets // 2, sets - 1):
        groups = range(shard * each, (shard + 1) * each)
        own = sum(metadata.row_group(g).column(c).total_compressed_size for g in groups for c in range(3))
        read = read_until_training([augment, "run", job, "--shard", str(shard)])
        print(json.dumps({"shard": shard, "own_bytes": own, "read_bytes": read, "ratio": round(read / own, 3)}))


if __name__ == "__main__":
    main(*sys.argv[1:3], *(int(a) for a in sys.argv[3:]))
