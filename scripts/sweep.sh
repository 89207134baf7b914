#!/usr/bin/env bash
# Networks of torch.nn, torchvision, timm and transformers, exported, trained and compared with PyTorch (tests/long/sweep.py, whose options may follow).
# Without --minute: all of them, for hours, and docs/coverage.md from the results. It goes on where it was stopped: results are in build/sweep.
# Python's packages come from PyPI into build/long-venv (several GB); LONG_PYTHON= names a Python that has tests/long/requirements.txt
# already. pip's own settings (PIP_*, pip.conf) apply.
#
#   scripts/sweep.sh [OPTIONS]            e.g. --only transformers/ --exporters dynamo --again failed
#   scripts/sweep.sh --minute [OPTIONS]   a sample, with what is installed; exit code 77 where PyTorch is missing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$(realpath "${BUILD:-build}")
python=${LONG_PYTHON:-$build/long-venv/bin/python}
export HALFTONE=$build/halftone
if [[ ${1:-} == --minute ]]; then
  shift
  [[ -x $python ]] || python=python3
  if ! "$python" -c 'import numpy, onnx, onnxruntime, onnxscript, torch' 2>/dev/null; then
    printf 'SKIP %s has no PyTorch, ONNX, ONNX Runtime or onnxscript\n' "$python"
    exit 77
  fi
  rm -rf "$build/sweep-minute"
  exec "$python" tests/long/sweep.py --seconds 60 --work "$build/sweep-minute" "$@"
fi
if [[ -z ${LONG_PYTHON:-} && ! -f $build/long-venv/complete ]]; then
  scripts/setup.sh long
  python3 -m venv --clear "$build/long-venv"
  "$build/long-venv/bin/pip" install -q -r tests/long/requirements.txt
  touch "$build/long-venv/complete"
fi
exec "$python" tests/long/sweep.py --all --work "$build/sweep" --page docs/coverage.md "$@"
