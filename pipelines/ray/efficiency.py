"""What does the driver cost? Measures on this machine, and writes one JSON object a line.

usage: python pipelines/ray/efficiency.py sets [--augment PATH] [--sets 64] [--rounds 3]     one worker against two, one thread each
       python pipelines/ray/efficiency.py empty [--shards 100000] [--workers 2]              shards that do nothing: the scheduler alone

`sets`: drawn identity sets of 10 persons, tiny trainings, every run into a fresh job, one worker and two in turn, and the same without Ray. The
driver's own cost of a shard is what its task takes beyond the program, and what lies between tasks. Needs requirements-test.txt; Linux.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import drawn
import driver
import ray

PERSONS, IMAGES, PER_ID = 10, 4, 4


def memory(*names: str) -> float:
    """Resident MiB of this process, or of processes below it of these names."""
    parents, sizes, titles = {}, {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            sizes[int(path.name)] = int((path / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            titles[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue
    if not names:
        return sizes[os.getpid()]

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    return sum(sizes[p] for p in sizes if p in titles and any(n in titles[p] for n in names) and ours(p))


def warm(workers: int) -> None:
    """Starts the workers' processes, which happens once and is no cost of a task."""

    @ray.remote(num_cpus=1)
    def idle() -> None:
        time.sleep(0.5)

    ray.get([idle.remote() for _ in range(2 * workers)])


def planned(folder: pathlib.Path, augment: str, manifest: pathlib.Path) -> tuple[str, list[dict[str, Any]]]:
    """A fresh job, and its shards."""
    job = str(folder / "job")
    options = ["--manifest", str(manifest), "--per-id", str(PER_ID), *drawn.TINY, "--cache", str(folder / "cache")]
    command = [augment, "plan", "--job", job, *options, "--out", str(folder / "out"), "--json"]
    return job, json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["shards"]


def one(work: pathlib.Path, name: str, workers: int, augment: str, manifest: pathlib.Path) -> dict[str, Any]:
    job, listed = planned(work / name, augment, manifest)
    made, _ = drawn.cluster([str(k) for k in range(workers)])
    args = driver.parse(["--job", job, "--augment", augment, "--address", made.address, "--cpus", "1", "--quiet"])
    shards = [driver.Shard(s["shard"], s["kind"], s["identity_set"], s["after"]) for s in listed]
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    warm(workers)
    run = driver.Run(shards, [augment, "run", job, "--json", "--shard"], args)
    begin, own = time.monotonic(), time.process_time()
    run.work()
    seconds, own = time.monotonic() - begin, time.process_time() - own
    ray.shutdown()
    made.shutdown()
    if not all(s.state == "done" for s in shards):
        raise SystemExit(f"not done: {[s for s in shards if s.state != 'done'][:3]}")
    busy = sum(s.seconds for s in shards)
    # Of a worker's time, what no task had; and the processor's time of the driver.
    between = 1000 * (seconds * workers - busy) / len(shards)
    costs = {"between_tasks_ms": between, "driver_cpu_ms": 1000 * own / len(shards)}
    return {"workers": workers, "shards": len(shards), "seconds": seconds, "rate": len(shards) / seconds, **costs}


def plain(work: pathlib.Path, name: str, workers: int, augment: str, manifest: pathlib.Path) -> dict[str, Any]:
    """The same without Ray: so many processes at a time. What the machine itself allows."""
    job, shards = planned(work / name, augment, manifest)

    def shard(number: int) -> None:
        env = {**os.environ, "RAYON_NUM_THREADS": "1", "AUGMENT_THREADS": "1"}
        subprocess.run([augment, "run", job, "--json", "--shard", str(number)], check=True, capture_output=True, env=env)

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(shard, range(len(shards))))
    seconds = time.monotonic() - begin
    return {"workers": workers, "shards": len(shards), "seconds": seconds, "rate": len(shards) / seconds}


def sets(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="augment-efficiency-") as name:
        work = pathlib.Path(name)
        drawn.manifest(args.augment, work / "ids.parquet", args.sets, PERSONS, IMAGES)
        rates: dict[str, list[float]] = collections.defaultdict(list)
        for number in range(args.rounds):
            for kind, workers in (("ray", 1), ("ray", 2), ("plain", 1), ("plain", 2)):
                load = os.getloadavg()[0]
                measure = one if kind == "ray" else plain
                result = measure(work, f"{number}-{kind}-{workers}", workers, args.augment, work / "ids.parquet")
                rates[f"{kind}-{workers}"].append(result["rate"])
                print(json.dumps({"with": kind, **result, "load_before": load}), flush=True)
        median = {k: statistics.median(v) for k, v in rates.items()}
        ratios = {kind: median[f"{kind}-2"] / median[f"{kind}-1"] for kind in ("ray", "plain")}
        print(json.dumps({"median_rates": median, "two_workers_against_one": ratios, "goal": 1.9}))


def empty(args: argparse.Namespace) -> None:
    made, _ = drawn.cluster([str(k) for k in range(args.workers)])
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    warm(args.workers)
    options = driver.parse(["--job", "none", "--cpus", "1", "--quiet", "--window", str(args.window)])
    shards = [driver.Shard(k, "set", f"set-{k}", None) for k in range(args.shards)]
    before = {"driver": memory(), "ray": memory("raylet", "gcs_server", "ray::")}
    run = driver.Run(shards, [args.command], options)
    begin, own = time.monotonic(), time.process_time()
    run.work()
    seconds, own = time.monotonic() - begin, time.process_time() - own
    after = {"driver": memory(), "ray": memory("raylet", "gcs_server", "ray::")}
    done = sum(s.state == "done" for s in shards)
    ray.shutdown()
    made.shutdown()
    result = {"shards": args.shards, "done": done, "workers": args.workers, "window": args.window, "seconds": seconds}
    result |= {"tasks_per_second": done / seconds, "driver_cpu_ms": 1000 * own / done, "mib_before": before, "mib_after": after}
    # What the same processes cost without Ray.
    begin = time.monotonic()
    for _ in range(200):
        subprocess.run(["setpriv", "--pdeathsig", "TERM", args.command, "0"], check=True, capture_output=True)
    print(json.dumps({**result, "ms_of_an_empty_process": (time.monotonic() - begin) * 5}))


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["sets", "empty"])
    p.add_argument("--augment", default="augment", help="the program")
    p.add_argument("--sets", type=int, default=64)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--shards", type=int, default=100_000)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--window", type=int, default=1000)
    p.add_argument("--command", default="true", help="what an empty shard runs [true]")
    args = p.parse_args()
    args.augment = shutil.which(args.augment) or args.augment
    (sets if args.what == "sets" else empty)(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
