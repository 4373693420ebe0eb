#!/usr/bin/env bash
# Trains, synthesizes and measures on a labelled manifest with splits: the numbers of docs/evaluation.md.
#
# usage: pipelines/real-faces.sh MANIFEST OUT KIMG [HELD_OUT_SPLIT]
# Interrupt it at any time; the same command goes on.
set -euo pipefail
manifest=${1:?manifest} out=${2:?output folder} kimg=${3:?training length in thousand images} held_out=${4:-val}
here=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --manifest-path "$here/Cargo.toml"
augment=$here/target/release/augment

# Exit code 1 is success with rejected rows, which are listed beside the output.
run() { "$augment" "$@" || [ $? = 1 ]; }

run inspect --manifest "$manifest"
run train --manifest "$manifest" --preset base --duration-kimg "$kimg" --out "$out/model"
run synthesize --model "$out/model" --per-id 50 --out "$out/faces"
run synthesize --model "$out/model" --regenerate "$out/faces"
run evaluate --manifest "$manifest" --preset base --synthetic "$out/faces" --held-out "$held_out" --json |
  tee "$out/quality.json"
