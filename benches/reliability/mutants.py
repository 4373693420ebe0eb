"""Mutation tests: cargo-mutants changes the code of commits, records, files, manifests and paths; do the tests see it?

usage: mutants.py [PARTS]   (one of PARTS parts of the mutants is tried, spread over all files; 1: all of them)

Needs cargo-mutants (`cargo install cargo-mutants`). Works in a clone of the last commit, whose tests must pass.
"""

import json
import os
import shutil
import subprocess

from common import ROOT, count, row

FILES = ["src/store.rs", "src/sink/commit.rs", "src/sink/records.rs", "src/manifest/*.rs"]
# Not the slowest tests, which are about other code: a mutant that they alone would see counts as missed.
TESTS = ["--lib", "--test", "pipeline", "--test", "cli", "--test", "corpus", "--", "--skip", "evaluat", "--skip", "an_interrupted_run"]
# One mutant costs a build of the program's own crate: quick to build, dependencies stay as they are.
QUICK = ["--config", "profile.release.package.augment.opt-level=1", "--config", "profile.release.package.augment.codegen-units=256"]

parts = count(20)
# Always the same place: what was built for the last run is of use.
tree = ROOT / "target/mutants"
shutil.rmtree(tree, ignore_errors=True)
subprocess.run(["git", "clone", "-q", ROOT, tree], check=True)
command = ["cargo", "mutants", "--in-place", "--profile", "release", "--shard", f"0/{parts}", "--sharding", "round-robin", "--no-shuffle", "--baseline", "skip"]
command += [f"--file={f}" for f in FILES] + [f"--cargo-arg={c}" for c in QUICK] + ["--timeout", "300", "--", *TESTS]
env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target"), "CARGO_INCREMENTAL": "1"}
# Its exit code tells whether any was missed.
subprocess.run(command, cwd=tree, env=env, stdout=subprocess.DEVNULL)
found = json.loads((tree / "mutants.out/outcomes.json").read_text())
caught, missed = found["caught"] + found["timeout"], found["missed"]
row(
    "tests' own strength",
    f"{caught} of {caught + missed} mutants caught ({found['unviable']} do not compile; one of {parts} parts of all mutants)",
    "cargo-mutants: >= 90 % caught in commit, manifest, path and verify code",
    caught >= 0.9 * (caught + missed),
)
