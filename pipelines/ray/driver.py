"""Runs a job of `augment` on a Ray cluster: one task for each shard, then the commit.

usage: python pipelines/ray/driver.py --job JOB [options] -- OPTIONS OF `augment plan` (--manifest, --per-id, --out, ..)
       python pipelines/ray/driver.py --job JOB [options]          goes on with a job that is planned

JOB, the manifest and the output lie in a folder that all machines share; `augment` is on all of them. Ctrl-C lets every shard
save what it has; the same command goes on. Exit code: the commit's, or that of the worst shard. Needs requirements.txt beside it.
"""

import argparse
import collections
import contextlib
import dataclasses
import heapq
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import ray
import tqdm
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

DONE, NEVER, DEFECT, LATER = (0, 1), (2, 8), 70, (75, 130, 143)
LONGEST_PAUSE, GRACE, NAMED = 300.0, 30.0, 2000


@dataclasses.dataclass
class Shard:
    number: int
    kind: str
    set: str
    after: int | None
    attempts: int = 0
    defects: int = 0
    postponed: int = 0
    seconds: float = 0.0
    node: str = ""
    state: str = "waiting"
    code: int | None = None
    message: str = ""


def run_shard(command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """One attempt, on the node that Ray chose."""
    begin, context = time.monotonic(), ray.get_runtime_context()
    # The system ends the program together with this worker: left over, it would hold the shard's lock against the next attempt.
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*tied, *command], env={**os.environ, **env}, **pipes)
    try:
        while True:
            # Short waits: a task that is cancelled learns of it between two of them.
            with contextlib.suppress(subprocess.TimeoutExpired):
                errors = process.communicate(timeout=0.5)[1]
                break
    except BaseException:
        process.terminate()
        process.communicate()
        raise
    return {
        "code": process.returncode,
        "node": context.get_node_id(),
        "seconds": time.monotonic() - begin,
        "message": errors.strip().rsplit("\n", 1)[-1],
        # How often Ray itself began this task anew, because a worker or a node was lost.
        "lost": ray._private.worker.global_worker.core_worker.get_current_task_attempt_number(),
    }


class Run:
    """All shards of a job, from the first to the last."""

    def __init__(self, shards: list[Shard], command: list[str], args: argparse.Namespace) -> None:
        self.shards, self.command, self.args = {s.number: s for s in shards}, command, args
        self.env = {k: v for k, v in os.environ.items() if k.startswith("AUGMENT_")}
        self.env |= {"RAYON_NUM_THREADS": str(args.cpus), "AUGMENT_THREADS": str(args.cpus)}
        if args.gpus:
            self.env["AUGMENT_DEVICE"] = "cuda:0"  # Ray shows every task its own GPU alone.
        self.task = ray.remote(num_cpus=args.cpus, num_gpus=args.gpus, max_retries=args.lost, retry_exceptions=True)(run_shard)
        self.followers: dict[int, list[Shard]] = collections.defaultdict(list)
        self.ready: collections.deque[Shard] = collections.deque()
        self.later: list[tuple[float, int]] = []
        self.running: dict[ray.ObjectRef, Shard] = {}
        for shard in shards:
            waits = shard.after in self.shards
            self.followers[shard.after].append(shard) if waits else self.ready.append(shard)
        self.bar = tqdm.tqdm(total=len(shards), unit="shard", disable=args.quiet, smoothing=0)

    def submit(self, shard: Shard) -> None:
        # Ray keeps counts of every name: a large job has one name for all.
        few = len(self.shards) <= NAMED
        options: dict[str, Any] = {"name": f"shard {shard.number} {shard.kind} {shard.set}".strip() if few else "shard"}
        if shard.postponed:
            # What is wrong may be the node, a full disk say: another one, if there is one.
            others = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= self.args.cpus]
            others = [n for n in others if n != shard.node]
            if others:
                options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(random.choice(others), soft=True)
        shard.state = "running"
        ref = self.task.options(**options).remote([*self.command, str(shard.number)], self.env)
        self.running[ref] = shard

    def settle(self, ref: ray.ObjectRef) -> None:
        shard = self.running.pop(ref)
        try:
            outcome = ray.get(ref)
        except ray.exceptions.RayError as error:
            # Lost, or not even started, more often than --lost allows.
            shard.attempts += self.args.lost + 1
            return self.end(shard, "failed", 75, str(error).strip().rsplit("\n", 1)[-1])
        code = outcome["code"]
        shard.attempts += 1 + outcome["lost"]
        shard.seconds += outcome["seconds"]
        shard.node = outcome["node"]
        if code in DONE:
            self.end(shard, "done", code, "")
        elif code == DEFECT and not shard.defects:
            shard.defects += 1
            self.ready.append(shard)
        # Below 0 the system killed it, as it does where memory is short.
        elif (code in LATER or code < 0) and shard.postponed < self.args.tries:
            pause = min(self.args.pause * 2**shard.postponed, LONGEST_PAUSE)
            shard.postponed += 1
            shard.state, shard.message = "postponed", outcome["message"]
            heapq.heappush(self.later, (time.monotonic() + pause, shard.number))
        else:
            self.end(shard, "failed", code, outcome["message"])

    def end(self, shard: Shard, state: str, code: int | None, message: str) -> None:
        shard.state, shard.code, shard.message = state, code, message
        self.bar.update()
        for follower in self.followers.pop(shard.number, []):
            if state == "done":
                self.ready.append(follower)
            else:
                self.end(follower, "left out", None, f"shard {shard.number} is missing")

    def work(self) -> None:
        while self.ready or self.later or self.running:
            while self.later and self.later[0][0] <= time.monotonic():
                self.ready.append(self.shards[heapq.heappop(self.later)[1]])
            while self.ready and len(self.running) < self.args.window:
                self.submit(self.ready.popleft())
            if not self.running:
                time.sleep(max(0.0, self.later[0][0] - time.monotonic()))
                continue
            # Waits for one, then takes all that are there.
            refs = list(self.running)
            if ray.wait(refs, num_returns=1, timeout=1)[0]:
                for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                    self.settle(ref)

    def cancel(self) -> None:
        self.bar.write("stopping: every shard saves what it has")
        for ref in self.running:
            ray.cancel(ref)
        if self.running:
            ray.wait(list(self.running), num_returns=len(self.running), timeout=GRACE)

    def table(self, rows: int) -> str:
        """What became of the shards, those first that were not done at once."""
        nodes = {n["NodeID"]: f"{n['NodeManagerHostname']}/{n['NodeID'][:6]}" for n in ray.nodes()}
        order = sorted(self.shards.values(), key=lambda s: (s.state == "done", -s.attempts, s.number))
        lines = [("shard", "set", "node", "seconds", "attempts", "state")]
        for s in order[:rows]:
            state = f"{s.state} {s.message}".strip() if s.code is None or s.code in DONE else f"{s.state} ({s.code}) {s.message}"
            node = nodes.get(s.node, s.node[:6])
            lines.append((f"{s.number} {s.kind}", s.set, node, f"{s.seconds:.1f}", str(s.attempts), state))
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        text = ["  ".join([*(c.ljust(w) for c, w in zip(line, widths)), line[5]]) for line in lines]
        if len(order) > rows:
            text.append(f"and {len(order) - rows} more")
        return "\n".join(text)


def augment(args: argparse.Namespace, *command: str) -> tuple[int, dict[str, Any]]:
    """Runs the program here and returns what it says in JSON."""
    result = subprocess.run([args.augment, *command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return result.returncode, json.loads(result.stdout) if result.returncode in DONE else {}


def parse(argv: list[str]) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--job", required=True, help="folder of the job, shared by all machines")
    p.add_argument("--augment", default="augment", help="the program, on every machine [augment, found by PATH]")
    p.add_argument("--address", help="Ray cluster [RAY_ADDRESS, else this machine]")
    p.add_argument("--cpus", type=int, default=2, help="cores, and threads, of a shard [2]")
    p.add_argument("--gpus", type=float, default=0, help="GPUs of a shard [0]")
    p.add_argument("--tries", type=int, default=10, help="how often a shard is postponed that ends with 75 [10]")
    p.add_argument("--pause", type=float, default=5, help="seconds before the second try; doubles [5]")
    p.add_argument("--lost", type=int, default=5, help="how often a shard begins anew whose worker or node is lost [5]")
    p.add_argument("--window", type=int, default=1000, help="tasks that are given to Ray at a time [1000]")
    p.add_argument("--rows", type=int, default=50, help="shards that are listed at the end [50]")
    p.add_argument("--no-commit", action="store_true", help="stop before the commit")
    p.add_argument("--quiet", action="store_true", help="no bar")
    cut = argv.index("--") if "--" in argv else len(argv)
    args = p.parse_args(argv[:cut])
    args.plan = argv[cut + 1 :]
    return args


def execute(args: argparse.Namespace) -> tuple[int, list[Shard]]:
    """Plan, shards and commit; the exit code, and what became of the shards."""
    code, plan = augment(args, *(["plan", "--job", args.job, *args.plan] if args.plan else ["status", args.job]))
    if code not in DONE:
        return code, []
    listed = plan["shards"] if args.plan else plan["states"]
    # `status` need not say what a shard waits for: then it is postponed until that is done.
    shards = [Shard(s["shard"], s.get("kind", ""), s.get("identity_set", ""), s.get("after")) for s in listed]
    ray.init(address=args.address, log_to_driver=False, logging_level="error")
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    run = Run(shards, [args.augment, "run", args.job, "--json", "--shard"], args)
    try:
        run.work()
    except KeyboardInterrupt:
        run.cancel()
    run.bar.close()
    print(run.table(args.rows), file=sys.stderr)
    ray.shutdown()
    codes = {s.code for s in shards if s.state == "failed"}
    if stopped or codes or args.no_commit:
        return 128 + stopped[0] if stopped else next((c for c in (*NEVER, DEFECT) if c in codes), 75 if codes else 0), shards
    code, summary = augment(args, "commit", args.job)
    if code in DONE:
        print(json.dumps(summary))
    return code, shards


if __name__ == "__main__":
    sys.exit(execute(parse(sys.argv[1:]))[0])
