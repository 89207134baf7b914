#!/usr/bin/env bash
# Training steps of Halftone and PyTorch side by side; arguments go to bench/run.py (bench.sh --help lists them).
# PyTorch comes from PyPI into build/bench-venv (several GB; pip's own settings, PIP_* and pip.conf, apply). BENCH_PYTHON= names the
# Python of an environment that has bench/requirements.txt already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${BUILD:-build}
venv=$build/bench-venv
python=${BENCH_PYTHON:-$venv/bin/python}
log=$build/bench-setup.log

fail() {
  printf 'bench: %s\n' "$*" >&2
  exit 1
}

scripts/setup.sh bench
scripts/configure.sh "$build" -DCMAKE_BUILD_TYPE=Release
# A folder that was configured before Google Benchmark was there has no target for it yet.
targets=$(cmake --build "$build" --target help)
[[ $targets == *bench_kernels* ]] || cmake "$build" >/dev/null
# halftone itself only for its size.
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target bench_step bench_kernels halftone

if [[ -n ${BENCH_PYTHON:-} ]]; then
  "$python" -c 'import numpy, onnx, timm, torch, torchvision, transformers' 2>"$log" ||
    fail "$python (BENCH_PYTHON) lacks something of bench/requirements.txt: $(tail -n 1 "$log")"
elif [[ ! -f $venv/complete ]]; then
  printf 'bench: installing PyTorch into %s\n' "$venv"
  python3 -m venv --clear "$venv" >"$log" 2>&1 || fail "python3 cannot make a virtual environment (see $log)"
  "$venv/bin/pip" install -q -r bench/requirements.txt >>"$log" 2>&1 ||
    fail "PyPI does not give PyTorch (see $log); without a network, name an environment that has it: BENCH_PYTHON=..."
  touch "$venv/complete"
fi

exec "$python" bench/run.py --build "$build" "$@"
