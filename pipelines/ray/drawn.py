"""What failures.py and efficiency.py share: a drawn manifest of many identity sets, what an output holds, and a local cluster."""

import hashlib
import json
import pathlib
import subprocess
from typing import Any

from ray.cluster_utils import Cluster

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


def cluster(names: list[str]) -> tuple[Cluster, list[Any]]:
    """A head that does no shards, and a node of one core for each name, which its tasks find as AUGMENT_TEST_NODE."""
    for attempt in range(5):
        made = Cluster()
        try:
            made.add_node(num_cpus=0, include_dashboard=False)
            nodes = [made.add_node(num_cpus=1, env_vars={"AUGMENT_TEST_NODE": name}) for name in names]
            made.wait_for_nodes(120)
            return made, nodes
        except Exception:
            # Ray gives a node 30 s to start, which are few on a busy machine.
            made.shutdown()
            if attempt == 4:
                raise
    raise AssertionError
