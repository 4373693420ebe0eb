"""What the reliability scripts share: the program, a small model, runs that are killed, and how a row is printed."""

import atexit
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
AUGMENT = os.environ.get("AUGMENT", str(ROOT / "target/release/augment"))
DEMO = ROOT / "manifests/demo.parquet"
ENV = {k: v for k, v in os.environ.items() if not k.startswith("AUGMENT_")}

WORK = pathlib.Path(tempfile.mkdtemp(prefix="augment-reliability-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
rng = random.Random(0)


def count(default):
    """How many cases to run: the script's first argument, or `default`."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def row(name, value, target, met):
    """One row of the table: property, measured value, target, whether it is met."""
    print(f"{name}\t{value}\t{target}\t{'yes' if met else 'NO'}", flush=True)


def augment(*args, check=True, prefix=(), **more):
    """Runs the program and returns its result; fails loudly unless `check` is off."""
    command = [*prefix, AUGMENT, *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, env=ENV, **more)
    if check and result.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit code {result.returncode}\n{result.stderr}")
    return result


def start(*args):
    return subprocess.Popen([AUGMENT, *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)


def bench(name):
    """Builds the program benches/NAME.rs and returns its path."""
    build = ["cargo", "bench", "--no-run", "--bench", name, "--message-format=json"]
    messages = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(m)["executable"] for m in messages if f'"name":"{name}"' in m and '"executable":"' in m][-1]


def plant(*args):
    """Plants a fault: benches/plant.rs."""
    subprocess.run([bench("plant"), *map(str, args)], check=True)


def measured(*args):
    """Runs the program: exit code, what it wrote, seconds, and the largest resident memory of it and its children, in MiB."""
    begin = time.monotonic()
    process = subprocess.Popen([AUGMENT, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENV)
    text = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), text, time.monotonic() - begin, used.ru_maxrss / 1024


def model():
    """A model of the demonstration set, trained for a moment."""
    return trained("0.1")


def trained(kimg):
    """A model of the demonstration set."""
    folder = WORK / f"model-{kimg}"
    if not folder.exists():
        augment("train", "--manifest", DEMO, "--duration-kimg", kimg, "--no-judge", "-q", "--out", folder)
    return folder


def synthesis(out, per_id=4, rows=16, *more):
    """Arguments that make 32 times `per_id` images in shards of `rows`."""
    return ["synthesize", "--model", model(), "--per-id", per_id, "--shard-rows", rows, "-q", "--out", out, *more]


def tree(folder):
    """Hash over names and bytes of all files."""
    h = hashlib.sha256()
    for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file()):
        h.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()


def partial_is_visible(out):
    """True if an output shows a Parquet file that is not whole, or says that it is complete and is not."""
    ends = [p.read_bytes()[-4:] for p in pathlib.Path(out).glob("data/*.parquet")]
    complete = (pathlib.Path(out) / "_SUCCESS.json").exists()
    return any(end != b"PAR1" for end in ends) or (complete and augment("verify", out, check=False).returncode != 0)


def kill_at(process, seconds, number=signal.SIGKILL):
    """Sends a signal after `seconds`, unless the process has ended; returns its exit code."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    return process.wait()


def timed(f):
    begin = time.monotonic()
    f()
    return time.monotonic() - begin
