#!/usr/bin/env bash
# libFuzzer on each program in tests/fuzz, in turn, in rounds of FUZZ_ROUND seconds (default 60), until FUZZ_SECONDS (default 1800, 30 minutes) are
# spent altogether. All are seconds of processor time. It may be stopped at any moment, and goes on where it was: build-fuzz/spent has a line for each
# round (program, seconds, executions); remove it to begin anew. FUZZ_BUILD=no takes the programs as they are.
# Starts from the seeds that the build makes in build-fuzz/corpus/fuzz_NAME and those in tests/fuzz/corpus/NAME. When all is spent, the former are
# reduced to those that reach something new. What it finds is left in build-fuzz/found. An input that ends up there belongs, made small, into the tests
# of its reader, and into tests/fuzz/corpus/NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
total=${FUZZ_SECONDS:-1800}
round=${FUZZ_ROUND:-60}
jobs=${JOBS:-$(nproc)}
if [[ ${FUZZ_BUILD:-yes} != no ]]; then
  scripts/setup.sh clang
  CC=clang CXX=clang++ scripts/configure.sh build-fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHALFTONE_FUZZ=ON \
    -DHALFTONE_TESTS=OFF -DHALFTONE_BENCH=OFF -DHALFTONE_SANITIZE=address,undefined,fuzzer-no-link
  cmake --build build-fuzz -j "$jobs" --target fuzzers
fi
mapfile -t names < <(find build-fuzz -maxdepth 1 -name 'fuzz_*' -type f -executable -printf '%f\n' | sed 's/^fuzz_//' | sort)
if ((${#names[@]} == 0)); then
  printf 'fuzz: there is no program called build-fuzz/fuzz_*\n' >&2
  exit 1
fi
found=$PWD/build-fuzz/found
spent=$PWD/build-fuzz/spent
mkdir -p "$found" build-fuzz/logs
touch "$spent"
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT

# The seconds that all programs have spent, or those that one has.
spent_by() {
  awk -v name="${1:-}" 'name == "" || $1 == name { sum += $2 } END { printf "%.2f", sum }' "$spent"
}

# -rss_limit_mb and -malloc_limit_mb: no file may make a reader take more than its size explains. Nor may it hang: the programs themselves count
# processor time, -timeout is for those that wait for something.
limits="-timeout=600 -rss_limit_mb=2048 -malloc_limit_mb=512"

# A round of one program, in a shell of its own: `times` says what its children took.
fuzz_one() {
  local name=$1 seeds=() flags log=build-fuzz/logs/$1.log state=ok executed
  read -ra flags <<<"$limits"
  mkdir -p "build-fuzz/corpus/fuzz_$name"
  [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
  trap : INT TERM HUP # of this shell, so that what was spent is written down
  HALFTONE_FUZZ_SECONDS=$round "build-fuzz/fuzz_$name" "${flags[@]}" -print_final_stats=1 -artifact_prefix="$found/$name-" \
    "build-fuzz/corpus/fuzz_$name" "${seeds[@]}" >"$log" 2>&1 || state=$?
  times >"$log.times"
  executed=$(awk '/number_of_executed_units/ { print $2 }' "$log")
  # Its second line: user and system time, as 1m2.345s.
  awk -v name="$name" -v runs="${executed:-0}" \
    'NR == 2 { split($1, u, "[ms]"); split($2, s, "[ms]"); printf "%s %.2f %d\n", name, u[1] * 60 + u[2] + s[1] * 60 + s[2], runs }' \
    "$log.times" >>"$spent"
  # 72: interrupted.
  [[ $state == ok || $state == 72 ]] && return
  printf '%s\n' "$name" >>"$failed"
  cp "$log" "$found/$name-$(date +%s).log"
  printf '%-24s FAILED  see %s and build-fuzz/found\n' "$name" "$log"
}
export -f fuzz_one
export round found spent failed limits

stopped=
trap 'stopped=yes' INT TERM HUP
printf 'fuzz: %d programs, %s of %d s are spent\n' "${#names[@]}" "$(spent_by)" "$total"
while [[ -z $stopped ]]; do
  sum=$(spent_by)
  ((${sum%.*} < total)) || break
  # One that failed would fail again. Those that have spent least go first.
  mapfile -t next < <(for name in "${names[@]}"; do
    grep -qx "$name" "$failed" || printf '%s %s\n' "$(spent_by "$name")" "$name"
  done | sort -n | head -n "$jobs" | cut -d' ' -f2)
  ((${#next[@]} > 0)) || break
  printf '%s\n' "${next[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz_one {}' || true
done

awk '{ seconds[$1] += $2; runs[$1] += $3; all += $2 }
     END { for (name in seconds) printf "%-24s %8.0f s  %12d executions\n", name, seconds[name], runs[name] | "sort"; close("sort"); printf "%-24s %8.0f s\n", "all", all }' "$spent"
if [[ -s $failed ]]; then
  printf 'fuzz: findings in %s\n' "$(sort -u "$failed" | paste -sd' ')" >&2
  exit 1
fi
[[ -z $stopped ]] || exit 130
read -ra flags <<<"$limits"
for name in "${names[@]}"; do
  corpus=build-fuzz/corpus/fuzz_$name
  rm -rf "$corpus.small"
  mkdir -p "$corpus" "$corpus.small"
  "build-fuzz/fuzz_$name" "${flags[@]}" -merge=1 "$corpus.small" "$corpus" >"build-fuzz/logs/$name-merge.log" 2>&1
  rm -rf "$corpus"
  mv "$corpus.small" "$corpus"
done
