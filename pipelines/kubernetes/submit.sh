#!/usr/bin/env bash
# Plans the job, then starts an index for each of its shards, and the commit.
#
# usage: pipelines/kubernetes/submit.sh       first: kubectl apply -f volume.yaml, the manifest to /data there, the options into plan.yaml
set -euo pipefail
cd "$(dirname "$0")"
kubectl apply -f plan.yaml
kubectl wait --for=condition=complete --timeout="${TIMEOUT:-1h}" job/augment-plan
shards=$(kubectl logs job/augment-plan | python3 -c '
import json, sys
print(len(json.loads([line for line in sys.stdin if line.startswith("{")][-1])["shards"]))')
sed "s/^  completions: 1$/  completions: $shards/" job.yaml | kubectl apply -f -
kubectl apply -f commit.yaml
echo "$shards shards; kubectl get job augment-shards augment-commit"
