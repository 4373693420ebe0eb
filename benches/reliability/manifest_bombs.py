"""Manifests that take far more time or memory than their size says."""

from common import WORK, measured, plant, row

plant("bombs", WORK / "bombs")
results = {}
for path in sorted((WORK / "bombs").iterdir()):
    code, text, seconds, peak = measured("inspect", "--manifest", path)
    results[path.stem] = (code, seconds, peak, path.name in text and "error" in text)
ended = sum(code in (0, 1, 2) and (code != 2 or named) for code, _, _, named in results.values())
slowest = max(results, key=lambda k: results[k][1])
largest = max(results, key=lambda k: results[k][2])
within = sum(seconds < 0.1 and peak < 64 for _, seconds, peak, _ in results.values())
row(
    "manifest bombs",
    f"{len(results)} bombs: {ended} refused with the file's name or read, {within} within 100 ms and 64 MiB; the slowest "
    f"({slowest}) {results[slowest][1] * 1000:.0f} ms, the largest ({largest}) {results[largest][2]:.0f} MiB",
    "12 bombs, each < 100 ms and < 64 MiB",
    ended == within == len(results) >= 12,
)
