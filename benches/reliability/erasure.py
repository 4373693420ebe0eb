"""Forgets a person in datasets of two formats, a model, a cache and an evaluation."""

import json
import shutil

from common import DEMO, WORK, augment, kill_at, rng, row, start, timed

PERSON = "person-03"
cache, evaluation = WORK / "cache", WORK / "evaluation"
checks, folders = [], [WORK / "parquet", WORK / "imagefolder"]
for out in folders:
    augment(
        "--manifest", DEMO, "--per-id", 4, "--new-identities", 150, "--mix", 2, "--duration-kimg", "0.2", "--no-judge", "--shard-rows", 50, "-q",
        "--include-real", "--format", out.name, "--cache", cache, "--out", out,
    )  # fmt: skip
augment(
    "evaluate", "--manifest", DEMO, "--held-out", "test", "--pairs-from", "dev", "--seeds", 1, "--arms", "real", "-q",
    "--set", "recipe.steps=5", "--out", evaluation,
)  # fmt: skip
model = next((cache / "models").iterdir())


def mentions(folder):
    """Whether a dataset lists the person, or any file names them in plain bytes."""
    listed = False
    if (folder / "_SUCCESS.json").exists():
        where = ["imgs", "--uri-column", "file_name"] if (folder / "imgs").exists() else ["data"]
        listed = PERSON in augment("inspect", "--top", 1000, "--manifest", folder / where[0], *where[1:]).stdout
    return listed or any(PERSON.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())



# Copies, to end the command at any moment.
copies, origins = [WORK / "copy-0", WORK / "copy-1", WORK / "copy-model"], [*folders, model]


def copy():
    for to, origin in zip(copies, origins):
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(origin, to)


copy()
forget_copies = ["forget", "--identity", PERSON, *copies, "--cache", WORK / "empty"]
seconds = timed(lambda: augment(*forget_copies))
whole = [json.loads((c / "_SUCCESS.json").read_text())["rows"] for c in copies[:2]]
KILLS, killed, right = 50, 0, 0
for _ in range(KILLS):
    copy()
    killed += kill_at(start(*forget_copies), rng.random() * seconds) == -9
    augment(*forget_copies)
    summaries = [json.loads((c / "_SUCCESS.json").read_text()) for c in copies[:2]]
    right += (
        [s["rows"] for s in summaries] == [s["synthetic"] + s["real"] for s in summaries] == whole
        and not any(mentions(c) for c in copies)
        and not list(copies[2].glob("*.png"))
        and all(augment("verify", c, check=False).returncode == 0 for c in copies)
    )
checks.append(("ended at any moment, the same command completes it", right == KILLS))

before = {p.name: p.read_bytes() for p in (WORK / "imagefolder").glob("imgs/*/*.jpg")}
rows = {out: json.loads((out / "_SUCCESS.json").read_text())["rows"] for out in folders}
assert all(mentions(f) for f in [*folders, model])
result = augment("forget", "--identity", PERSON, *folders, evaluation, "--cache", cache, "--json")
after = {p.name: p.read_bytes() for p in (WORK / "imagefolder").glob("imgs/*/*.jpg")}
checks.append(("no file names the person", not any(mentions(f) for f in [*folders, cache, evaluation])))
checks.append(("other images keep their bytes", all(before[k] == v for k, v in after.items()) and 28 < len(before) - len(after)))
erased = [rows[out] - json.loads((out / "_SUCCESS.json").read_text())["rows"] for out in folders]
checks.append(("both formats lose the same rows", erased[0] == erased[1] == len(before) - len(after)))
checks.append(("outputs verify", all(augment("verify", out, check=False).returncode == 0 for out in folders)))
refused = augment("synthesize", "--model", model, "--per-id", 1, "-q", "--out", WORK / "x", check=False)
checks.append(("the model is refused", refused.returncode == 2 and "forgotten" in refused.stderr))
again = augment(
    "--manifest", DEMO, "--per-id", 4, "--duration-kimg", "0.2", "--no-judge", "-q", "--cache", WORK / "another", "--out", folders[0], check=False
)  # fmt: skip
checks.append(("the output refuses the person", again.returncode == 2 and "forgotten" in again.stderr))
checks.append(("again is no error", augment("forget", "--identity", PERSON, *folders, "--cache", cache, check=False).returncode == 0))
unknown = augment("forget", "--identity", "nobody", *folders, "--cache", cache, check=False)
checks.append(("a name that nothing knows is", unknown.returncode == 2))
held = sum(ok for _, ok in checks)
row(
    "erasure of a person",
    f"{erased[0]} of {rows[folders[0]]} rows erased, {held} of {len(checks)} checks hold; {killed} of {KILLS} runs killed midway, {right} completed by the same command"
    + "".join(f"; NOT: {name}" for name, ok in checks if not ok),
    "rows and files gone, shards rewritten, models refused, other images byte-identical",
    held == len(checks),
)
