#!/usr/bin/env bash
# Proves that the library serves other programs: installs it into a folder of its own, builds examples/train_steps.cpp against what lies there,
# and trains with it. Needs pkg-config.
#
#   scripts/library_test.sh [BUILD]      (default: build, which must have been made)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build}
place=$(mktemp -d "${TMPDIR:-/tmp}/halftone-library-XXXXXX")
trap 'rm -rf --one-file-system "$place"' EXIT
cmake --build "$build" --target halftone_library >/dev/null
cmake --install "$build" --component library --prefix "$place" >/dev/null
pc=$(find "$place" -name halftone.pc)
read -ra flags < <(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs halftone)
"${CXX:-c++}" -std=c++20 examples/train_steps.cpp -o "$place/train_steps" "${flags[@]}"
"$place/train_steps" tests/fixtures/small/mlp_dynamo20_folded/model.onnx "$place/result.onnx" | tail -2
test -s "$place/result.onnx"
printf 'library: passed\n'
