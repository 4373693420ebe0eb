#!/usr/bin/env bash
# The recognition experiment of the paper on any manifest: what about 200 images of each existing identity, and 100 of each of 5,000 new
# ones (three labels mixed), gain.
#
# usage: pipelines/paper/table2.sh MANIFEST OUT [options of `augment evaluate`]
# With the networks of the paper unless PRESET says otherwise; NEW (5000) new identities, PER_ID (200), PER_NEW (100). TRAIN may hold more options of
# `augment`. The test is the manifest's split of other persons, or --pairs. Interrupt it at any time; the same command goes on. AUGMENT names a
# built program.
set -euo pipefail
manifest=${1:?manifest} out=${2:?output folder}
shift 2
here=$(cd "$(dirname "$0")/../.." && pwd)
[ -n "${AUGMENT:-}" ] || cargo build --release --manifest-path "$here/Cargo.toml"
augment=${AUGMENT:-$here/target/release/augment}
# Exit code 1 is success with rejected rows, which are listed beside the output.
run() { "$augment" "$@" || [ $? = 1 ]; }
mkdir -p "$out"
read -ra train <<<"${TRAIN:-}"
common=(--manifest "$manifest" --cache "$out/cache" --preset "${PRESET:-paper}" --no-judge "${train[@]}")
run "${common[@]}" --per-id "${PER_ID:-200}" --out "$out/existing"
run "${common[@]}" --per-id "${PER_NEW:-100}" --new-identities "${NEW:-5000}" --mix 3 --mix-sum 1 --out "$out/new"
run evaluate --manifest "$manifest" --synthetic "$out/existing" --arms existing --out "$out/evaluation-existing" "$@"
run evaluate --manifest "$manifest" --synthetic "$out/new" --arms new --out "$out/evaluation-new" "$@"
