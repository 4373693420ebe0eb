"""Alternates the engine and PyTorch on the same work and prints medians and ratios (see compare.sh).

usage: compare.py PEER_PYTHON ENGINE AUGMENT [ROUNDS] [WORK ..]
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
DEMO = HERE.parent.parent / "manifests" / "demo.parquet"
# Steps that a run is timed over.
STEPS = {"base:train": 12, "base:synthesize": 40, "small:recognise": 20, "paper:train": 3, "paper:synthesize": 6}

python, engine, augment = (os.path.abspath(p) for p in sys.argv[1:4])
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
works = sys.argv[5:] or list(STEPS)


def run(*command):
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE)
    return json.loads(out.stdout.splitlines()[-1])


def median(results, key):
    return statistics.median(r[key] for r in results)


def spread(results, key):
    values = sorted(r[key] for r in results)
    return f"{values[0]:.4g}..{values[-1]:.4g}"


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


print(f"{processor()}, {os.cpu_count()} cores; {rounds} rounds; medians (smallest..largest)")
network_rate = None
# Our bf16 needs a processor that multiplies it.
bf16 = "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else False
with tempfile.TemporaryDirectory() as folder:
    for work in works:
        named, kind = work.split(":")
        preset, *size = named.split("@")
        command = ["evaluate", "--dry-run", "--manifest", DEMO] if kind == "recognise" else ["config"]
        command = [augment, *command, "--preset", preset, *(["--image-size", size[0]] if size else [])]
        section = "recipe" if kind == "recognise" else "train"

        def resolved(precision):
            path = pathlib.Path(folder) / f"{named}-{precision}.toml"
            more = ["--set", f'{section}.precision="{precision}"']
            path.write_text(subprocess.run([*command, *more], check=True, capture_output=True, text=True).stdout)
            return str(path)

        config, half = resolved("f32"), resolved("bf16")
        sides = {"ours": [], "ours bf16": [], "PyTorch f32": [], "PyTorch bf16": []}
        for _ in range(rounds):
            steps = str(STEPS[f"{preset}:{kind}"])
            sides["ours"].append(run(engine, config, kind, steps))
            sides["PyTorch f32"].append(run(python, str(HERE / "peer.py"), config, kind, steps))
            if kind != "synthesize":
                if bf16:
                    sides["ours bf16"].append(run(engine, half, kind, steps))
                sides["PyTorch bf16"].append(run(python, str(HERE / "peer.py"), config, f"{kind}-bf16", steps))
        ours, theirs = sides["ours"], sides["PyTorch f32"]
        assert ours[0]["parameters"] == theirs[0]["parameters"], "the networks differ"
        print(f"\n{named}, {kind}: parameters {ours[0]['parameters']} on both sides; PyTorch {theirs[0]['version']}")
        for name, results in sides.items():
            if results:
                print(
                    f"  {name:13} {median(results, 'images_per_s'):8.1f} images/s ({spread(results, 'images_per_s')})"
                    f"  first step {median(results, 'first_step_s'):5.1f} s  peak {median(results, 'peak_mib'):6.0f} MiB"
                )
        print(
            f"  ours / PyTorch f32: speed {median(ours, 'images_per_s') / median(theirs, 'images_per_s'):.2f}"
            f"  peak memory {median(ours, 'peak_mib') / median(theirs, 'peak_mib'):.2f}"
            f"  time to first step {median(ours, 'first_step_s') / median(theirs, 'first_step_s'):.2f}"
        )
        if sides["ours bf16"]:
            ratio = median(sides["ours bf16"], "images_per_s") / median(sides["PyTorch bf16"], "images_per_s")
            print(f"  ours bf16 / PyTorch bf16: speed {ratio:.2f}")
        if work == "base:synthesize":
            network_rate = median(ours, "images_per_s")

    if network_rate:
        # The whole command: network, JPEG and Parquet, start included.
        model, per_id = pathlib.Path(folder) / "model", 400
        subprocess.run([augment, "train", "--manifest", DEMO, "--preset", "base", "--duration-kimg", "0.064", "-q", "--out", model], check=True, capture_output=True)
        rates = []
        for i in range(rounds):
            begin = time.monotonic()
            out = run(augment, "synthesize", "--model", str(model), "--per-id", str(per_id), "-q", "--json", "--out", f"{folder}/out{i}")
            rates.append(out["rows"] / (time.monotonic() - begin))
        rate = statistics.median(rates)
        print(f"\naugment synthesize, base, {out['rows']} images: {rate:.1f} images/s, {rate / network_rate:.2f} of the network alone")
