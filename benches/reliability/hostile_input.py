"""Mutated manifests and pictures, and pictures that want much memory for few bytes."""

import json
import struct
import subprocess
import sys
import zlib

from common import WORK, bench, count, row

n = count(10_000_000)
HOSTILE = bench("hostile")


def mutated(kind, total):
    """Two processes share the work; an abort of either ends the script."""
    half = total // 2
    parts = [subprocess.Popen([HOSTILE, kind, str(half), str(seed)], stdout=subprocess.PIPE, text=True) for seed in (1, 2)]
    results = []
    for part in parts:
        out = part.communicate()[0]
        if part.returncode != 0:
            sys.exit(f"{kind}: a reader ended with {part.returncode}")
        results.append(json.loads(out))
    return {k: max(r[k] for r in results) if k == "slowest_ms" else sum(r[k] for r in results) for k in results[0]}


m = mutated("manifests", n)
row(
    "mutated manifests",
    f"{n:,} mutations: {m['panics']} panics got out, no abort, {m['accepted']:,} read without an error, the slowest {m['slowest_ms']:.0f} ms",
    "10,000,000: no panic, abort or hang",
    m["panics"] == 0 and n >= 10_000_000,
)
p = mutated("pictures", n // 10)
row(
    "mutated pictures",
    f"{n // 10:,} mutations: {p['panics']} panics got out, no abort, the slowest {p['slowest_ms']:.0f} ms",
    "no panic, abort or hang",
    p["panics"] == 0,
)


paths = json.loads(subprocess.run([HOSTILE, "paths", "100000"], capture_output=True, text=True, check=True).stdout)
row(
    "paths that try to leave the manifest's folder",
    f"{paths['listed']} listed and {paths['random']:,} random ones: {paths['outside']} files outside were read ({paths['inside']} reads inside)",
    "60 + 100,000: nothing outside the root",
    paths["outside"] == 0 and paths["inside"] > 0,
)
names = json.loads(subprocess.run([HOSTILE, "names", "1000000"], capture_output=True, text=True, check=True).stdout)
row(
    "names of image files",
    f"{names['identities']:,} unicode identities: {names['distinct']:,} distinct names without regard to case, {names['plain']:,} ASCII of 64 bytes or less",
    "1,000,000: injective, ASCII, <= 64 bytes",
    names["identities"] == names["distinct"] == names["plain"],
)
terms = json.loads(subprocess.run([HOSTILE, "terms", "20000"], capture_output=True, text=True, check=True).stdout)
row(
    "rows without consent, of another purpose, or expired",
    f"{terms['forbidden_seen']} of {terms['rows'] // 2:,} seen by anything after the reader; {terms['permitted']:,} of {terms['rows'] // 2:,} permitted ones are",
    "0 in 10,000 cases",
    terms["forbidden_seen"] == 0 and terms["permitted"] == terms["rows"] // 2,
)


def png(width, height, depth, colour, data, interlace=0):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width, height, components=3, progressive=False):
    """Headers of a picture of this size, with tables that are valid and no data."""
    table = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    huffman = b"".join(
        b"\xff\xc4" + struct.pack(">H", 19 + 1) + bytes([k]) + bytes([1] + [0] * 15) + b"\x00" for k in (0, 16)
    )
    parts = b"".join(bytes([c + 1, 0x11, 0]) for c in range(components))
    frame = (b"\xff\xc2" if progressive else b"\xff\xc0") + struct.pack(">HBHHB", 8 + 3 * components, 8, height, width, components) + parts
    scan = b"\xff\xda" + struct.pack(">HB", 6 + 2 * components, components)
    scan += b"".join(bytes([c + 1, 0]) for c in range(components)) + (b"\x00\x00\x00" if progressive else b"\x00\x3f\x00")
    return b"\xff\xd8" + table + frame + huffman + scan + b"\x00" * 1000 + b"\xff\xd9"


zeros = zlib.compress(b"\0" * (200 << 20), 9)
bombs = []
for side in (8193, 20000, 65535, 1 << 20, (1 << 31) - 1):
    for depth, colour in ((8, 2), (16, 6), (1, 0)):
        bombs.append((f"png-{side}-{depth}-{colour}", png(side, side, depth, colour, zeros[:400_000])))
for side in (8192, 7000, 6000, 5000, 4500):
    bombs.append((f"png-{side}-16-6", png(side, side, 16, 6, zeros)))
bombs += [(f"png-interlaced-{s}", png(s, s, 16, 6, zeros, 1)) for s in (8192, 6000)]
bombs += [(f"jpeg-{s}-{c}-{p}", jpeg(s, s, c, p)) for s in (8192, 65535) for c in (3, 4) for p in (False, True)]
worst_time = worst_memory = accepted = 0
for name, data in bombs:
    path = WORK / name
    path.write_bytes(data)
    process = subprocess.run([HOSTILE, "picture", path], stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(f"{name}: the decoder ended with {process.returncode}")
    memory, result = (json.loads(line) for line in process.stdout.splitlines())
    accepted += result["accepted"]
    worst_time = max(worst_time, result["slowest_ms"])
    worst_memory = max(worst_memory, memory["peak_kib"] / 1024)
row(
    "picture bombs",
    f"{len(bombs)} bombs: {accepted} accepted, the slowest {worst_time:.0f} ms, at most {worst_memory:.1f} MiB more",
    "30 bombs < 250 ms, < 32 MiB",
    accepted == 0 and worst_time < 250 and worst_memory < 32 and len(bombs) >= 30,
)
