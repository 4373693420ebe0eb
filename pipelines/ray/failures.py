"""Does the driver keep its promises? Breaks a local cluster of two nodes while it works, and compares what is committed with the main job's
output on one machine, byte for byte.

usage: python pipelines/ray/failures.py [--augment PATH] [--rounds 3] [--only NAME]      needs requirements-test.txt; Linux

    undisturbed  nothing happens
    worker       the worker process of a running shard is killed
    node         a node with a running shard is killed
    raise        the task of one shard raises an exception the first time
    stop         Ctrl-C while shards run, then the same command again
    disk         everything that one node writes goes to a disk of 64 kB (a tmpfs over the shared folder; needs root)
    data         Ray Data reads the committed dataset: rows and pixels
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import drawn
import driver
import numpy as np
import pyarrow.parquet as pq
import ray
from PIL import Image

SETS, PERSONS, IMAGES, PER_ID = 6, 2, 6, 6
FULL_DISK = """#!/bin/sh
if [ "$AUGMENT_TEST_NODE" = full ] && [ "$1" = run ]; then
  exec unshare --mount sh -c 'mount -t tmpfs -o size=64k none "{disk}" && mkdir "{disk}/new" "{disk}/work" &&
    mount -t overlay -o "lowerdir={shared},upperdir={disk}/new,workdir={disk}/work" none "{shared}" && exec "$@"' sh "{augment}" "$@"
fi
exec "{augment}" "$@"
"""


class Stage:
    """A cluster of two nodes of one core, and what a job there needs."""

    def __init__(self, folder: pathlib.Path, augment: str, manifest: pathlib.Path) -> None:
        self.folder, self.augment = folder, augment
        self.job, self.out = folder / "shared/job", folder / "shared/out"
        (folder / "shared").mkdir(parents=True)
        options = ["--manifest", str(manifest), "--per-id", str(PER_ID), *drawn.TINY, "--cache", str(folder / "shared/cache")]
        self.plan = [*options, "--out", str(self.out)]
        self.cluster, self.nodes = drawn.cluster(["sound", "full"])

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()

    def arguments(self) -> list[str]:
        own = ["--augment", self.augment, "--address", self.cluster.address, "--cpus", "1", "--pause", "0.2", "--quiet"]
        return ["--job", str(self.job), *own, "--", *self.plan]

    def drive(self) -> list[driver.Shard]:
        code, shards = driver.execute(driver.parse(self.arguments()))
        if code not in driver.DONE:
            raise AssertionError(f"the driver ended with {code}")
        return shards

    def running(self) -> dict[int, int]:
        """Processes of the program that do a shard of this job, and their parents."""
        found = {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().split(b"\0")
                if b"run" in command and str(self.job).encode() in command and b"setpriv" not in command[0]:
                    found[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
        return found

    def strike(self, blow: Callable[[], Any], at_once: int = 2) -> threading.Thread:
        """Does something while `at_once` shards run."""

        def wait() -> None:
            while len(self.running()) < at_once:
                time.sleep(0.01)
            blow()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread


def need(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def undisturbed(stage: Stage) -> str:
    shards = stage.drive()
    need(all(s.attempts == 1 for s in shards), "a shard was tried twice")
    return f"{len(shards)} shards"


def worker(stage: Stage) -> str:
    def blow() -> None:
        child, parent = next(iter(stage.running().items()))
        title = pathlib.Path(f"/proc/{parent}/cmdline").read_bytes()
        need(title.startswith(b"ray::"), f"process {child} is not a worker's child: {title!r}")
        os.kill(parent, signal.SIGKILL)

    thread = stage.strike(blow)
    shards = stage.drive()
    need(not thread.is_alive(), "nothing was killed")
    again = [s.number for s in shards if s.attempts > 1]
    need(bool(again), "no shard was tried again")
    return f"shards {again} tried again"


def node(stage: Stage) -> str:
    lost = stage.nodes[1].node_id
    thread = stage.strike(lambda: stage.cluster.remove_node(stage.nodes[1], allow_graceful=False))
    shards = stage.drive()
    need(not thread.is_alive(), "no node was killed")
    again = [s.number for s in shards if s.attempts > 1]
    need(bool(again), "no shard was tried again")
    need(any(s.node != lost for s in shards), "nothing ran on the node that is left")
    return f"shards {again} tried again"


def raising(stage: Stage) -> str:
    original, marker = driver.run_shard, stage.folder / "raised"

    def run_shard(command: list[str], env: dict[str, str]) -> dict[str, Any]:
        if command[-1] == "1" and not marker.exists():
            marker.touch()
            raise RuntimeError("as the test demands")
        return original(command, env)

    driver.run_shard = run_shard
    try:
        shards = stage.drive()
    finally:
        driver.run_shard = original
    need(marker.exists(), "nothing was raised")
    need(shards[1].attempts == 2, f"shard 1 took {shards[1].attempts} attempts")
    return "shard 1 tried again"


def stop(stage: Stage) -> str:
    command = [sys.executable, driver.__file__, *stage.arguments()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stage.strike(lambda: process.send_signal(signal.SIGINT)).join()
    code = process.wait()
    need(code == 130, f"the driver ended with {code}")
    time.sleep(1)
    need(not stage.running(), "shards run on")
    need(not (stage.out / "_SUCCESS.json").exists(), "the output says that it is complete")
    state = json.loads(subprocess.run([stage.augment, "status", stage.job, "--json"], capture_output=True, check=True).stdout)
    stage.drive()
    return f"{state['done']} of {state['shards']} done when stopped"


def disk(stage: Stage) -> str:
    place = stage.folder / "disk"
    place.mkdir()
    wrapper = stage.folder / "augment"
    wrapper.write_text(FULL_DISK.format(disk=place, shared=stage.folder / "shared", augment=stage.augment))
    wrapper.chmod(0o755)
    stage.augment = str(wrapper)
    shards = stage.drive()
    again = [s.number for s in shards if s.postponed]
    need(bool(again), "no shard met the full disk")
    full = stage.nodes[1].node_id
    need(all(s.node != full for s in shards), "a shard was done on the full disk")
    return f"shards {again} moved to the other node"


def data(stage: Stage) -> str:
    """Ray's own reader on the committed dataset."""
    stage.drive()
    files = sorted(str(p) for p in (stage.out / "data").glob("*.parquet"))
    ray.init(address=stage.cluster.address, log_to_driver=False, logging_level="error")
    dataset = ray.data.read_parquet(files)
    rows = pq.read_table(files).to_pylist()
    need(dataset.count() == len(rows) == SETS * PERSONS * PER_ID, f"{dataset.count()} rows, {len(rows)} in the files")
    first = dataset.take(1)[0]
    pixels = np.asarray(Image.open(io.BytesIO(first["image"]["bytes"])))
    ours = next(r for r in rows if r["image"]["path"] == first["image"]["path"])
    theirs = np.asarray(Image.open(io.BytesIO(ours["image"]["bytes"])))
    need(pixels.ndim == 3 and pixels.std() > 0 and np.array_equal(pixels, theirs), "an image is another one")
    return f"{len(rows)} rows, one image of {pixels.shape[1]} px equal"


SCENARIOS = {"undisturbed": undisturbed, "worker": worker, "node": node, "raise": raising, "stop": stop, "disk": disk, "data": data}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--augment", default="augment", help="the program")
    p.add_argument("--rounds", type=int, default=1, help="how often all of it is done")
    p.add_argument("--only", choices=SCENARIOS, help="one scenario")
    args = p.parse_args()
    program = subprocess.run(["which", args.augment], capture_output=True, text=True, check=True).stdout.strip()
    program = str(pathlib.Path(program).resolve())
    failed = 0
    with tempfile.TemporaryDirectory(prefix="augment-failures-") as name:
        work = pathlib.Path(name)
        manifest = work / "ids.parquet"
        drawn.manifest(program, manifest, SETS, PERSONS, IMAGES)
        main_job = ["--manifest", manifest, "--per-id", str(PER_ID), *drawn.TINY, "--cache", work / "cache", "--out", work / "out", "-q"]
        subprocess.run([program, *main_job], check=True, stdout=subprocess.DEVNULL)
        wanted = drawn.fingerprint(work / "out")
        print(f"main job: {len(drawn.listed(work / 'out'))} files, {wanted[:16]}")
        for number in range(args.rounds):
            for scenario in [args.only] if args.only else SCENARIOS:
                stage = Stage(work / f"{number}-{scenario}", program, manifest)
                begin = time.monotonic()
                told = io.StringIO()
                try:
                    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
                        said = SCENARIOS[scenario](stage)
                    got = drawn.fingerprint(stage.out)
                    need(got == wanted, f"the output differs: {got[:16]}")
                    result = f"ok, byte-equal; {said}"
                except AssertionError as error:
                    failed += 1
                    result = f"FAILED: {error}\n{told.getvalue()}"
                finally:
                    stage.close()
                print(f"round {number + 1}  {scenario:12}{time.monotonic() - begin:6.1f} s  {result}", flush=True)
    print(f"{failed} failures")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
