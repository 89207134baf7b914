#!/usr/bin/env bash
# The longer proofs, one line each: passed, skipped with a reason, or FAILED.
#   1. ctest's tests with the label `long`.
#   2. tests/long/*.sh and *.py. Each gets HALFTONE (the program), HALFTONE_BUILD and WORK (an empty folder of its own); exit code 77
#      means skipped, and the last line it printed is the reason. Python ones run in build/long-venv, which has PyTorch and ONNX
#      Runtime from PyPI (several GB); without a network they are skipped. pip's own settings (PIP_*, pip.conf) apply, and LONG_PYTHON=
#      names the Python of an environment that has tests/long/requirements.txt already.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=$PWD/${BUILD:-build}
venv=$build/long-venv
python=${LONG_PYTHON:-$venv/bin/python}
passed=0 skipped=0 failed=0

note() {
  printf '%-8s %s%s\n' "$1" "$2" "${3:+: $3}"
}

# Prints the reason when the environment cannot be made.
make_venv() {
  if [[ -n ${LONG_PYTHON:-} ]]; then
    "$LONG_PYTHON" -c 'import onnx, onnxruntime, torch' 2>/dev/null && return 0
    printf '%s has no onnx, onnxruntime or torch' "$LONG_PYTHON"
    return 1
  fi
  if [[ -f $venv/complete ]]; then
    return 0
  fi
  if ! scripts/setup.sh long >"$build/long-venv.log" 2>&1; then
    printf 'python3-venv cannot be installed (see %s)' "$build/long-venv.log"
    return 1
  fi
  if ! python3 -m venv --clear "$venv" >>"$build/long-venv.log" 2>&1; then
    printf 'python3 cannot make a virtual environment (see %s)' "$build/long-venv.log"
    return 1
  fi
  if ! "$venv/bin/pip" install -q -r tests/long/requirements.txt >>"$build/long-venv.log" 2>&1; then
    printf 'PyPI does not give PyTorch and ONNX Runtime (see %s)' "$build/long-venv.log"
    return 1
  fi
  touch "$venv/complete"
}

if ctest --test-dir "$build" -N -L long 2>/dev/null | grep -q 'Test *#'; then
  if ctest --test-dir "$build" --output-on-failure -L long; then
    note passed 'ctest -L long'
    passed=$((passed + 1))
  else
    note FAILED 'ctest -L long'
    failed=$((failed + 1))
  fi
fi

venv_reason=
if compgen -G 'tests/long/*.py' >/dev/null; then
  printf 'test-long: preparing %s\n' "$python"
  venv_reason=$(make_venv) || true
fi
shopt -s nullglob
for script in tests/long/*.sh tests/long/*.py; do
  name=$(basename "$script")
  if [[ $name == _* ]]; then
    continue  # a module that the others import
  fi
  if [[ $name == *.py && -n $venv_reason ]]; then
    note skipped "$name" "$venv_reason"
    skipped=$((skipped + 1))
    continue
  fi
  runner=(bash)
  [[ $name == *.py ]] && runner=("$python")
  export HALFTONE=$build/halftone HALFTONE_BUILD=$build WORK=$build/long/${name%.*}
  rm -rf "$WORK"
  mkdir -p "$WORK"
  started=$SECONDS
  "${runner[@]}" "$script" 2>&1 | tee "$WORK.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) note passed "$name" "$((SECONDS - started)) s"; passed=$((passed + 1)) ;;
    77) note skipped "$name" "$(tail -n 1 "$WORK.log")"; skipped=$((skipped + 1)) ;;
    *) note FAILED "$name" "exit code $code, see $WORK.log"; failed=$((failed + 1)) ;;
  esac
done
printf 'test-long: %d passed, %d skipped, %d failed\n' "$passed" "$skipped" "$failed"
((failed == 0))
