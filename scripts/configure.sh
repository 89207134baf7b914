#!/usr/bin/env bash
# configure.sh FOLDER [CMAKE_ARGUMENT...]: configures FOLDER once; later builds re-run CMake by themselves when they must.
# WERROR=ON or OFF: whether warnings are errors, in a folder that is configured already too; unset: as it is, and OFF in a new one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$1
shift
if [[ -f $folder/build.ninja ]]; then
  if [[ -n ${WERROR:-} ]] && ! grep -q "^HALFTONE_WERROR:BOOL=$WERROR\$" "$folder/CMakeCache.txt"; then
    cmake "-DHALFTONE_WERROR=$WERROR" "$folder" >/dev/null
  fi
  exit 0
fi
[[ -n ${WERROR:-} ]] && set -- "-DHALFTONE_WERROR=$WERROR" "$@"
# ccache when there is one, unless the caller chose a launcher.
if command -v ccache >/dev/null && [[ -z ${CMAKE_CXX_COMPILER_LAUNCHER:-} ]]; then
  set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
fi
exec cmake -S . -B "$folder" -G Ninja "$@"
