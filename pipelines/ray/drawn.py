"""What failures.py and efficiency.py share: a drawn manifest of many identity sets, and what an output holds."""

import hashlib
import json
import pathlib
import subprocess

# Trains for a moment; nobody judges.
TINY = ["--no-judge", "--duration-kimg", "0.05"]


def manifest(augment: str, path: pathlib.Path, sets: int, persons: int, images: int) -> None:
    """Procedural faces, no photograph: `sets` identity sets of `persons` each, with `images` of each person."""
    size = ["--identities", str(sets * persons), "--sets", str(sets), "--per-id", str(images), "--image-size", "32"]
    subprocess.run([augment, "demo", "--out", str(path), *size, "-q"], check=True, stdout=subprocess.DEVNULL)


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
