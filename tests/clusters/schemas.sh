#!/usr/bin/env bash
# Do the templates of pipelines/ have the form that their services ask for?
#
# usage: tests/clusters/schemas.sh [BIN]      BIN: folder of the programs of requirements.txt beside this file [those that PATH finds]
set -euo pipefail
[ $# = 0 ] || PATH=$(cd "$1" && pwd):$PATH
cd "$(dirname "$0")/../../pipelines"
check-jsonschema --builtin-schema vendor.github-workflows github/augment.yml
check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci gitlab/.gitlab-ci.yml
for version in 1.33.0 1.37.0; do
  kubernetes-validate --strict --kubernetes-version "$version" kubernetes/*.yaml
done
shellcheck retry.sh slurm/submit.sh slurm/*.sbatch kubernetes/submit.sh ../tests/clusters/schemas.sh
echo "all templates have their services' form"
