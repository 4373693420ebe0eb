#!/usr/bin/env bash
# usage: evaluate-sets.sh "SET .." OUT [OPTION ..]
# `augment evaluate` with the options for each identity set in turn (`default` where the manifest has no column `identity_set`): reports in
# OUT/SET, and all short ones in OUT/summary.md. Sets with other characters than letters, digits, `.`, `_` and `-` are refused: give such a set
# a run of its own. All are evaluated, also where one of them falls short (exit code 9); any other failure ends it. AUGMENT is the program.
set -u
retry=$(cd "$(dirname "$0")" && pwd)/retry.sh
[ $# -ge 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
read -ra sets <<< "$1"
out=$2
shift 2
[ "${#sets[@]}" -gt 0 ] || { echo "no identity set to evaluate" >&2; exit 2; }
for set in "${sets[@]}"; do
  case $set in
    *[!A-Za-z0-9._-]* | .* | summary) echo "identity set \`$set\`: evaluate it alone, with a folder of its own" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" || exit 2
: > "$out/summary.md"
fallen=0
for set in "${sets[@]}"; do
  rm -f "$out/$set.md"
  code=0
  "$retry" "${AUGMENT:-augment}" evaluate --identity-set "$set" --out "$out/$set" --summary "$out/$set.md" "$@" || code=$?
  [ ! -e "$out/$set.md" ] || cat "$out/$set.md" >> "$out/summary.md"
  case $code in 0) ;; 9) fallen=9 ;; *) exit "$code" ;; esac
done
exit "$fallen"
