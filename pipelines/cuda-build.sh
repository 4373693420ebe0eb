#!/usr/bin/env bash
# Builds the program with GPU support (features `cuda`, or what is given) on a machine that need not have a GPU or CUDA.
#
# usage: pipelines/cuda-build.sh [cargo build arguments]   (default: --release --features cuda)
# The compiler and libraries of CUDA 13.0 come from PyPI into target/cuda/toolkit; the program lies in target/cuda/release.
# CUDA_COMPUTE_CAP (90) is the GPU's compute capability. To run it, a driver and the CUDA libraries must be found: on a GPU machine add
# target/cuda/toolkit/lib/python3*/site-packages/nvidia/cu13/lib to LD_LIBRARY_PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$PWD/target/cuda
venv=$target/toolkit
packages='cuda-toolkit[nvcc,cudart,cccl,crt,nvvm,curand,cublas,nvrtc]==13.0.2'
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$packages" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q "$packages"
  echo "$packages" >"$venv/installed"
fi
cuda=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia/cu13

# Wheels hold libraries under their versioned names only; the linker asks for the plain ones.
for library in "$cuda"/lib/lib{cublas,cublasLt,cudart,curand,nvrtc}.so.*; do
  ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
ln -sfn lib "$cuda/lib64"

# The driver comes with a GPU and with nothing else: link against a stand-in that answers "no device" (100) to every call.
stub=$cuda/lib/stub
if [ ! -e "$stub/libcuda.so" ]; then
  mkdir -p "$stub"
  cargo fetch -q --locked
  bindings=$(cargo metadata --format-version 1 --features cuda | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(os.path.dirname(next(p["manifest_path"] for p in packages if p["name"] == "cudarc")))')/src/driver/sys/mod.rs
  grep -oE 'fn cu[A-Z][A-Za-z0-9_]*' "$bindings" | sort -u | sed -E 's/fn (.*)/int \1(void) { return 100; }/' >"$stub/stub.c"
  cc -shared -fPIC -O1 -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so" "$stub/stub.c"
  ln -sf libcuda.so "$stub/libcuda.so.1"
fi

export CUDA_HOME=$cuda CUDA_PATH=$cuda CUDA_ROOT=$cuda CUDA_TOOLKIT_ROOT_DIR=$cuda NVCC=$cuda/bin/nvcc PATH=$cuda/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
export RUSTFLAGS="${RUSTFLAGS:-} -L native=$cuda/lib -L native=$stub"
[ $# -gt 0 ] || set -- --release --features cuda
exec cargo build --locked --target-dir "$target" "$@"
