#!/usr/bin/env bash
# Table 1 of the paper on any manifest: CVAE, CGAN, FM-CGAN and CVAE-GAN with equal budgets, judged by a classifier of the real images.
#
# usage: pipelines/paper/table1.sh MANIFEST OUT [options of `augment compare-methods`]
# With the networks of the paper, and 100 images of each identity, unless --preset and --per-id say otherwise. Interrupt it at any time; the same
# command goes on. AUGMENT names a built program.
set -euo pipefail
manifest=${1:?manifest} out=${2:?output folder}
shift 2
here=$(cd "$(dirname "$0")/../.." && pwd)
[ -n "${AUGMENT:-}" ] || cargo build --release --manifest-path "$here/Cargo.toml"
# What is not said otherwise is as in the paper.
[[ " $* " == *" --preset "* ]] || set -- --preset paper "$@"
[[ " $* " == *" --per-id "* ]] || set -- --per-id 100 "$@"
exec "${AUGMENT:-$here/target/release/augment}" compare-methods --manifest "$manifest" --out "$out" "$@"
