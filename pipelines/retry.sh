#!/usr/bin/env bash
# Runs a command of `augment` as its exit codes ask: 75 again after a pause, 70 once more, every other one ends it. 1 (rows were rejected,
# and are listed) counts as done.
#
# usage: pipelines/retry.sh augment run JOB --shard 3      TRIES [10], PAUSE [60] seconds, TIME: `timeout` of one attempt, as in 300m [none]
set -uo pipefail
defects=0
for ((try = 1; ; try++)); do
  code=0
  # The time is up: SIGINT, so that it saves what it has.
  if [ -n "${TIME:-}" ]; then timeout --preserve-status -s INT -k 60 "$TIME" "$@" || code=$?; else "$@" || code=$?; fi
  case $code in
    0 | 1) exit 0 ;;
    70) [ $((defects++)) = 0 ] || exit 70 ;;
    75) [ "$try" -lt "${TRIES:-10}" ] || exit 75; sleep "${PAUSE:-60}" ;;
    *) exit "$code" ;;
  esac
done
