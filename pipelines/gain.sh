#!/usr/bin/env bash
# The whole experiment on real faces: manifest of a protocol, generator, synthetic images, comparison, report.
#
# usage: pipelines/gain.sh OUT PER_IDENTITY KIMG SET.parquet ..   (PER_IDENTITY 0: all images of a person; KIMG "": by their number)
# Each set has the columns identity, image_id, image and split; persons that are not in split `train` are those to choose
# by. OUT/evaluation has the report on those; with PAIRS and PAIR_IMAGES, OUT/evaluation-pairs has one on that list (LFW).
# The defaults are those that were chosen on persons of split `dev` (docs/experiments.md): SEEDS (5), PER_ID (40), NEW (1500 new
# identities), SHARE (of every batch synthetic: 0.7), ARMS (all). TRAIN and EVALUATE may hold more options of `augment` and
# `augment evaluate`: on a processor that multiplies bf16, TRAIN='--set train.precision="bf16"' and
# EVALUATE='--set recipe.precision="bf16"' save up to half of the time. AUGMENT names a built program. Needs a Python with pyarrow as
# PYTHON. Interrupt it at any time; the same command goes on.
set -euo pipefail
out=${1:?output folder} per_identity=${2:?images of a person} kimg=${3?training length in thousand images}
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
[ -n "${AUGMENT:-}" ] || cargo build --release --manifest-path "$here/Cargo.toml"
augment=${AUGMENT:-$here/target/release/augment}
mkdir -p "$out"

# Exit code 1 is success with rejected rows, which are listed beside the output.
run() { "$augment" "$@" || [ $? = 1 ]; }

[ -e "$out/manifest.parquet" ] || "${PYTHON:-python3}" "$here/pipelines/protocol.py" "$out/manifest.parquet" "$per_identity" "$@"
manifest=(--manifest "$out/manifest.parquet")
read -ra train <<<"${TRAIN:-}"
read -ra more <<<"${EVALUATE:-}"
run "${manifest[@]}" --preset base ${kimg:+--duration-kimg "$kimg"} --per-id "${PER_ID:-40}" --new-identities "${NEW:-1500}" \
  --cache "$out/cache" --out "$out/faces" "${train[@]}"
evaluate=(evaluate "${manifest[@]}" --synthetic "$out/faces" --seeds "${SEEDS:-5}" ${SHARE:+--set "comparison.synthetic_share=$SHARE"}
  ${ARMS:+--arms "$ARMS"} "${more[@]}")
run "${evaluate[@]}" --out "$out/evaluation"
if [ -n "${PAIRS:-}" ]; then
  # With the weights there already, the second test trains nothing.
  if [ ! -e "$out/evaluation-pairs" ]; then
    rm -rf "$out/evaluation-pairs.part"
    cp -r "$out/evaluation" "$out/evaluation-pairs.part"
    mv "$out/evaluation-pairs.part" "$out/evaluation-pairs"
  fi
  run "${evaluate[@]}" --out "$out/evaluation-pairs" --pairs "$PAIRS" --pair-images "${PAIR_IMAGES:?images of the pairs}"
fi
