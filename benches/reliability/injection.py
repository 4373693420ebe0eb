"""Keys of persons that are meant for a terminal, a browser or a shell."""

from common import WORK, augment, plant, row

manifest = WORK / "names.parquet"
plant("names", manifest)
common = ["--cache", WORK / "cache"]
out, evaluation = WORK / "out", WORK / "evaluation"
results = [
    augment("inspect", "--manifest", manifest),
    augment("--manifest", manifest, "--split", "train", "--per-id", 2, "--duration-kimg", "0.1", "--no-judge", "--format", "imagefolder", "--out", out, *common),
    augment(
        "evaluate", "--manifest", manifest, "--split", "train", "--held-out", "test", "--pairs-from", "dev", "--synthetic", out,
        "--arms", "existing", "--seeds", 1, "--set", "recipe.steps=5", "--out", evaluation, *common,
    ),
    augment("evaluate", "--manifest", manifest, "--split", "train", "--pairs-from", "test", "--out", WORK / "none", *common, check=False),
]  # fmt: skip
assert results[-1].returncode == 8, results[-1].stderr
printed = "".join(r.stdout + r.stderr for r in results)
controls = [c for c in printed if ord(c) < 32 and c not in "\n\r" or ord(c) == 127]
page = (evaluation / "report.html").read_text()
raw = sum(page.count(mark) for mark in ("<script>alert", "<img src=x", "onerror=alert(1)>"))
shown = page.count("&#60;script&#62;alert") + page.count("&lt;script&gt;alert")
outside = [p for p in (WORK / "out").rglob("*") if any(c in p.name for c in "<>$=@\n\x1b") or ".." in p.name]
tables = list(WORK.rglob("*.csv"))
row(
    "hostile names of persons",
    f"{len(controls)} control characters on the terminal, {raw} unescaped in the report (shown escaped {shown} times), "
    f"{len(outside)} in names of files, {len(tables)} CSV files written",
    "terminal, HTML and CSV injection escaped",
    not (controls or raw or outside or tables) and shown > 0,
)
