"""Peak memory of reading a manifest of ten million rows, and of one million."""

from common import WORK, count, measured, plant, row

n = count(10_000_000)
peaks = []
for rows in (n // 10, n):
    path = WORK / f"{rows}.parquet"
    plant("rows", rows, path)
    code, text, seconds, peak = measured("inspect", "--manifest", path, "--split", "train")
    assert code == 0, text
    peaks.append((peak, seconds))
    path.unlink()
(small, _), (large, seconds) = peaks
row(
    "memory of a large manifest",
    f"{n:,} rows: {large:.0f} MiB, {large / small:.2f} of that of {n // 10:,} rows, {seconds:.1f} s",
    "<= 256 MiB and <= 1.1 x",
    large <= 256 and large <= 1.1 * small and n >= 10_000_000,
)
