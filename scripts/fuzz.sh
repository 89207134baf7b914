#!/usr/bin/env bash
# libFuzzer on each program in tests/fuzz, FUZZ_SECONDS of processor time in total (default 1800, 30 minutes), shared out equally.
# Starts from the seeds that the build makes in build-fuzz/corpus/fuzz_NAME and those in tests/fuzz/corpus/NAME; what it finds is left in
# build-fuzz/found. An input that ends up there belongs, made small, into the tests of its reader.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
total=${FUZZ_SECONDS:-1800}
jobs=${JOBS:-$(nproc)}
if [[ ! -f tests/fuzz/CMakeLists.txt ]]; then
  printf 'fuzz: there is no tests/fuzz yet\n' >&2
  exit 1
fi
scripts/setup.sh clang
CC=clang CXX=clang++ scripts/configure.sh build-fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHALFTONE_FUZZ=ON \
  -DHALFTONE_TESTS=OFF -DHALFTONE_BENCH=OFF -DHALFTONE_SANITIZE=address,undefined,fuzzer-no-link
cmake --build build-fuzz -j "$jobs" --target fuzzers
mapfile -t programs < <(find build-fuzz -maxdepth 3 -name 'fuzz_*' -type f -executable | sort)
if ((${#programs[@]} == 0)); then
  printf 'fuzz: the build made no program called fuzz_*\n' >&2
  exit 1
fi
each=$((total / ${#programs[@]}))
((each > 0)) || each=1
found=$PWD/build-fuzz/found
mkdir -p "$found"
printf 'fuzz: %d programs, %d s each\n' "${#programs[@]}" "$each"

# -rss_limit_mb and -malloc_limit_mb: no file may make a reader take more than its size explains. -timeout: nor hang.
fuzz_one() {
  local program=$1 name seeds=()
  name=$(basename "$program")
  name=${name#fuzz_}
  mkdir -p "build-fuzz/corpus/fuzz_$name"
  [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
  if "$program" -max_total_time="$each" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 \
    -artifact_prefix="$found/$name-" "build-fuzz/corpus/fuzz_$name" "${seeds[@]}" >"build-fuzz/$name.log" 2>&1; then
    printf '%-24s ok      %s\n' "$name" "$(grep -E 'number_of_executed_units' "build-fuzz/$name.log" | tr -s ' ')"
  else
    printf '%-24s FAILED  see build-fuzz/%s.log and %s\n' "$name" "$name" "$found"
    return 1
  fi
}
export -f fuzz_one
export each found
printf '%s\n' "${programs[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz_one {}'
