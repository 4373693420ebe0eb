"""What failures.py and efficiency.py share: a drawn manifest of many identity sets, and what an output holds."""

import hashlib
import json
import pathlib
import subprocess

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Trains for a moment; nobody judges.
TINY = ["--no-judge", "--duration-kimg", "0.2"]


def manifest(augment: str, path: pathlib.Path, sets: int, persons: int, images: int) -> None:
    """Procedural faces, no photograph: `sets` identity sets of `persons` each, with `images` of each person."""
    drawn = path.with_suffix(".drawn.parquet")
    # Two thirds of the persons are drawn for training.
    count = max(6, -(-sets * persons * 3 // 2))
    size = ["--identities", str(count), "--per-id", str(images), "--image-size", "32"]
    subprocess.run([augment, "demo", "--out", str(drawn), *size, "-q"], check=True, stdout=subprocess.DEVNULL)
    table = pq.read_table(drawn)
    table = table.filter(pc.equal(table["split"], "train"))
    names = sorted(set(table["identity"].to_pylist()))
    if len(names) < sets * persons:
        raise SystemExit(f"{len(names)} persons were drawn, {sets * persons} are needed")
    place = {name: f"set-{i // persons:03}" for i, name in enumerate(names[: sets * persons])}
    table = table.filter(pc.is_in(table["identity"], pa.array(list(place))))
    own = pa.array([place[name] for name in table["identity"].to_pylist()])
    pq.write_table(table.append_column("identity_set", own), path)


def listed(out: pathlib.Path) -> list[str]:
    """All files that the summary of a dataset lists, and those that its records list."""
    summary = json.loads((out / "_SUCCESS.json").read_text())
    records = [entry["path"] for entry in summary.get("commits", [])]
    files = [file["path"] for record in records for file in json.loads((out / record).read_text())["files"]]
    return sorted({"_SUCCESS.json", *records, *files, *(entry["path"] for entry in summary["files"])})


def fingerprint(out: pathlib.Path) -> str:
    """Hash of names and bytes of all files that the summary lists, and of the summary."""
    h = hashlib.sha256()
    for name in listed(out):
        h.update(name.encode() + b"\0" + hashlib.sha256((out / name).read_bytes()).digest())
    return h.hexdigest()
