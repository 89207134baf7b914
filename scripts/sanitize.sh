#!/usr/bin/env bash
# The tests under AddressSanitizer and UndefinedBehaviorSanitizer (all but two), then what runs in threads under ThreadSanitizer.
# Two builds of their own: build-asan and build-tsan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-$(nproc)}
scripts/setup.sh

WERROR=ON scripts/configure.sh build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHALFTONE_SANITIZE=address,undefined -DHALFTONE_BENCH=OFF
cmake --build build-asan -j "$jobs"
# An allocation that the input does not explain must fail as it would for a user: as an exception, not as a sanitizer report.
# Left out: SameBits, whose runs on the reference would take an hour under a sanitizer. It is about bits, the other tests go the same ways.
# And PeakMemory: a sanitizer keeps memory of its own.
ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1 GTEST_FILTER='-SameBits.*:PeakMemory.*' \
  ctest --test-dir build-asan --output-on-failure --no-tests=error -LE long -j "$jobs"

threaded=()
for name in par data exec; do
  compgen -G "tests/$name/*.cpp" >/dev/null && threaded+=("$name") || printf 'sanitize: there are no tests in tests/%s yet\n' "$name"
done
if ((${#threaded[@]} == 0)); then
  exit 0
fi
WERROR=ON scripts/configure.sh build-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHALFTONE_SANITIZE=thread -DHALFTONE_BENCH=OFF
cmake --build build-tsan -j "$jobs" --target "${threaded[@]/#/test_}"
pattern=$(IFS='|'; printf '%s' "${threaded[*]}")
# Two threads at least, or there is nothing to see.
TSAN_OPTIONS=halt_on_error=1 ctest --test-dir build-tsan --output-on-failure --no-tests=error -R "^($pattern)\$" -j 1
