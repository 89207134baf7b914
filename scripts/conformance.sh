#!/usr/bin/env bash
# The ONNX project's backend tests, and docs/operators.md from their results (tests/long/conformance.py, whose options may follow).
# Python's packages come from PyPI into build/conformance-venv; LONG_PYTHON= names a Python that has numpy, onnx and onnxruntime
# already. pip's own settings (PIP_*, pip.conf) apply.
#
#   scripts/conformance.sh [OPTIONS]      e.g. --only attention --precisions fp32
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$PWD/${BUILD:-build}
python=${LONG_PYTHON:-$build/conformance-venv/bin/python}
if [[ -z ${LONG_PYTHON:-} && ! -f $build/conformance-venv/complete ]]; then
  scripts/setup.sh long
  python3 -m venv --clear "$build/conformance-venv"
  "$build/conformance-venv/bin/pip" install -q numpy onnx onnxruntime
  touch "$build/conformance-venv/complete"
fi
HALFTONE=$build/halftone exec "$python" tests/long/conformance.py --page docs/operators.md --jobs "${JOBS:-2}" "$@"
