#!/usr/bin/env bash
# usage: evaluate-sets.sh "SET .." OUT [OPTION ..]
# `augment evaluate` with the options for each identity set in turn (`default` where the manifest has no column `identity_set`): reports in
# OUT/SET, and all short ones in OUT/summary.md. All are evaluated, whatever one of them says; the exit code is the last one that was not 0.
# AUGMENT is the program.
set -u
cd "$(dirname "$0")/.." || exit 70
sets=$1 out=$2
shift 2
mkdir -p "$out"
: > "$out/summary.md"
code=0
for set in $sets; do
  pipelines/retry.sh "${AUGMENT:-augment}" evaluate --identity-set "$set" --out "$out/$set" --summary "$out/$set.md" "$@" || code=$?
  [ ! -e "$out/$set.md" ] || cat "$out/$set.md" >> "$out/summary.md"
done
exit "$code"
