#!/usr/bin/env bash
# From labelled photographs to a tested recogniser that is not ours: synthesizes, exports RecordIO and WebDataset with the real images, trains an
# arcface-style network from each, and tests it on pairs of other persons.
#
# usage: handoff.sh MANIFEST OUT [SPLIT_OF_OTHER_PERSONS]     (the drawn set takes a few minutes on two cores)
#
# AUGMENT, the program [target/release/augment]; PYTHON with what downstream/arcface-requirements.txt names [made in OUT/python];
# ARGS of the synthesis [--per-id 20]; STEPS of the trainings [60]; PAIRS of one person, and as many of two, to test on [300].
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
manifest=$1 out=$2 split=${3:-dev}
augment=${AUGMENT:-$here/../target/release/augment}
read -ra more <<<"${ARGS:---per-id 20}"
mkdir -p "$out"
python=${PYTHON:-$out/python/bin/python}
if [ ! -x "$python" ]; then
  python3 -m venv "$out/python"
  "$out/python/bin/pip" install -q -r "$here/downstream/arcface-requirements.txt"
fi

"$augment" --manifest "$manifest" "${more[@]}" --out "$out/synthetic" --cache "$out/cache"
for format in recordio webdataset; do
  "$augment" export "$out/synthetic" --to "$format" --size 112 --include-real "$manifest" --out "$out/$format"
done
"$augment" pairs --manifest "$manifest" --pairs-from "$split" --count "${PAIRS:-300}" --out "$out/test.bin"
train() { "$python" "$here/downstream/arcface.py" "$@" --test "$out/test.bin" --steps "${STEPS:-60}"; }
train --rec "$out/recordio/recordio" | tee "$out/recordio.json"
train --tars "$out/webdataset/webdataset/train-*.tar" | tee "$out/webdataset.json"
