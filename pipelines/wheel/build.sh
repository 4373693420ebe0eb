#!/usr/bin/env bash
# A wheel that brings the program, its manual and its completions: whoever installs it needs no compiler.
#
# usage: pipelines/wheel/build.sh      then: pip install target/wheels/augment-*.whl
#
# Serves machines with the C library of this one, or a newer one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
cargo build --release --locked
# Two levels below the root, as its manifest's path says.
stage=$PWD/target/wheel
rm -rf "$stage"
share=$stage/augment.data/data/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
cp "$here/pyproject.toml" "$stage"
target/release/augment man >"$share/man/man1/augment.1"
target/release/augment completions bash >"$share/bash-completion/completions/augment"
target/release/augment completions zsh >"$share/zsh/site-functions/_augment"
target/release/augment completions fish >"$share/fish/vendor_completions.d/augment.fish"
python=target/wheel-python
[ -x "$python/bin/maturin" ] || { python3 -m venv "$python" && "$python/bin/pip" install -q 'maturin>=1.9,<2'; }
cd "$stage"
"../../$python/bin/maturin" build --release --locked --compatibility linux --out ../wheels
