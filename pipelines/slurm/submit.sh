#!/usr/bin/env bash
# Plans a job of `augment`, and submits its shards as an array job and its commit after them.
#
# usage: pipelines/slurm/submit.sh JOB OPTIONS OF `augment plan`      (--manifest, --per-id, --out, ..)
#
# JOB, the manifest and the output lie in a folder that all machines share; the lists JOB.first and JOB.then are written beside JOB. AUGMENT
# names the program; AT_ONCE, how many tasks run at a time [100]; TRIES, how often a task is queued again [10]; Slurm's own variables (SBATCH_PARTITION,
# SBATCH_ACCOUNT, ..) serve, too. TEST_ONLY=1 asks Slurm whether it would take the jobs, and submits nothing.
set -euo pipefail
job=$(realpath -m "${1:?folder of the job}")
shift
here=$(cd "$(dirname "$0")" && pwd)
augment=${AUGMENT:-augment}

code=0
plan=$("$augment" plan --job "$job" --json "$@") || code=$?
[ "$code" -le 1 ] || exit "$code" # 1: some rows were rejected, and are listed.
# Parts of a set wait for its training: a second array.
python3 -c '
import json, sys
shards = json.load(sys.stdin)["shards"]
for name, waits in ("first", False), ("then", True):
    with open(f"{sys.argv[1]}.{name}", "w") as file:
        file.writelines("%d\n" % s["shard"] for s in shards if (s["after"] is not None) == waits)
' "$job" <<<"$plan"

largest=$(scontrol show config | awk '$1 == "MaxArraySize" { print $3 }')
submit() { sbatch --parsable ${TEST_ONLY:+--test-only} --kill-on-invalid-dep=yes "$@"; }
after=()
for list in "$job.first" "$job.then"; do
  count=$(wc -l <"$list")
  [ "$count" -gt 0 ] || continue
  tasks=$((count < largest ? count : largest - 1))
  array=$(submit "${after[@]}" --array="0-$((tasks - 1))%${AT_ONCE:-100}" \
    --export="ALL,JOB=$job,LIST=$list,AUGMENT=$augment" "$here/array.sbatch")
  echo "$count shards in $tasks tasks: ${array:-would be taken}"
  [ -z "$array" ] || after=(--dependency="afterok:$array")
done
commit=$(submit "${after[@]}" --job-name=augment-commit --output=augment-commit-%j.log --requeue \
  --export="ALL,JOB=$job,AUGMENT=$augment" "$here/commit.sbatch")
echo "commit: ${commit:-would be taken}"
