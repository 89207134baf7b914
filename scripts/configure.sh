#!/usr/bin/env bash
# configure.sh FOLDER [CMAKE_ARGUMENT...]: configures FOLDER once; later builds re-run CMake by themselves when they must.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$1
shift
[[ -f $folder/build.ninja ]] && exit 0
# ccache when there is one, unless the caller chose a launcher.
if command -v ccache >/dev/null && [[ -z ${CMAKE_CXX_COMPILER_LAUNCHER:-} ]]; then
  set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
fi
exec cmake -S . -B "$folder" -G Ninja "$@"
