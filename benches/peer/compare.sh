#!/usr/bin/env bash
# Compares the engine with PyTorch on the same networks and prints medians and ratios.
#
# usage: benches/peer/compare.sh [ROUNDS] [WORK ..]   (works: base:train base:synthesize small:recognise
#        paper:train paper:synthesize; base@112:train at another image size)
# AUGMENT_PEER_PYTHON names a Python that has PyTorch; without it one is installed into target/peer.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TERM_COLOR=never
python=${AUGMENT_PEER_PYTHON:-}
if [ -z "$python" ]; then
  venv=target/peer/venv
  if ! cmp -s benches/peer/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r benches/peer/requirements.txt
    cp benches/peer/requirements.txt "$venv/requirements.txt"
  fi
  python=$venv/bin/python
fi
cargo build --release
engine=$(cargo bench --no-run --bench engine --message-format=json 2>/dev/null | sed -n 's/.*"executable":"\([^"]*engine[^"]*\)".*/\1/p' | tail -n 1)
exec python3 benches/peer/compare.py "$python" "$engine" target/release/augment "$@"
