#!/usr/bin/env bash
# Builds and tests with the compilers of a later Debian: g++ 14 and clang 19 in Debian 13, whose system is made in a folder by debootstrap.
# Warnings are errors, and every header must compile alone. Needs root and debootstrap; takes as long as two builds from scratch.
#
#   scripts/compilers.sh [--suite SUITE] [--mirror URL] [--root DIR] [--fresh] [COMPILER...]      (default: g++ clang++)
#
# --suite   the Debian release; default: trixie
# --mirror  where packages come from; default: the first Debian mirror that this system's apt uses
# --root    the folder of the system; default: build-compilers/SUITE. It stays, with its builds, for the next run
# --fresh   removes it first
# HEAD is what is built: commit first. JOBS= says how many compilers run at once.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'compilers: %s\n' "$*" >&2
  exit 1
}

suite=trixie mirror='' root='' fresh=0
compilers=()
while (($# > 0)); do
  case $1 in
    --suite | --mirror | --root) (($# > 1)) || fail "$1 needs a value"; printf -v "${1#--}" '%s' "$2"; shift ;;
    --fresh) fresh=1 ;;
    g++ | clang++) compilers+=("$1") ;;
    *) fail "unknown argument $1; there are --suite, --mirror, --root, --fresh, g++ and clang++" ;;
  esac
  shift
done
((${#compilers[@]} > 0)) || compilers=(g++ clang++)
jobs=${JOBS:-$(nproc)}
# shellcheck source=scripts/debian_root.sh
source "$repository/scripts/debian_root.sh"
need_debootstrap
[[ -n $root ]] || root=$repository/build-compilers/$suite
mkdir -p "$root"
root=$(cd "$root" && pwd)

trap 'close_root "$root"' EXIT
if ((fresh)); then
  close_root "$root"
  rm -rf --one-file-system "${root:?}"
fi
# The mark says that debootstrap came to its end.
if [[ ! -f $root/etc/halftone-root ]]; then
  printf 'compilers: debootstrap %s into %s\n' "$suite" "$root"
  rm -rf --one-file-system "${root:?}"
  bootstrap_root "$root" "$suite" "${mirror:-$(debian_mirror)}"
  touch "$root/etc/halftone-root"
fi
open_root "$root"
printf 'compilers: installing packages\n'
in_root "$root" 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git make ccache >/dev/null'

rm -rf --one-file-system "$root/root/halftone.new"
git clone -q --no-local "file://$repository" "$root/root/halftone.new"
printf 'compilers: cloned %s\n' "$(git -C "$root/root/halftone.new" log -1 --format='%h %s')"
# The sources keep their place and what has not changed keeps its time, so that a second run builds little.
if [[ -d $root/root/halftone ]]; then
  git -C "$root/root/halftone" fetch -q "$root/root/halftone.new" HEAD
  git -C "$root/root/halftone" reset -q --hard FETCH_HEAD
  rm -rf --one-file-system "$root/root/halftone.new"
else
  mv "$root/root/halftone.new" "$root/root/halftone"
fi
in_root "$root" 'cd /root/halftone && scripts/setup.sh clang'

failed=0
report=()
for compiler in "${compilers[@]}"; do
  version=$(in_root "$root" "$compiler --version | head -n 1")
  log=$root/root/halftone/build-$compiler.log
  printf 'compilers: %s, log in %s\n' "$version" "$log"
  cc=${compiler/++/}
  [[ $cc == g ]] && cc=gcc
  started=$SECONDS
  outcome=passed
  # What fails does not keep the rest from being tried.
  in_root "$root" "cd /root/halftone
    scripts/configure.sh build-$compiler -DCMAKE_BUILD_TYPE=Release
    status=0
    cmake --build build-$compiler -j $jobs --target check_headers -- -k 0 || status=1
    cmake --build build-$compiler -j $jobs -- -k 0 || exit 1
    ctest --test-dir build-$compiler --output-on-failure --no-tests=error -LE long -j $jobs || status=1
    exit \$status" "CC=$cc" "CXX=$compiler" WERROR=ON >"$log" 2>&1 || outcome=FAILED failed=1
  report+=("$(printf '%-7s %s: %d s, %d warnings, %s' "$outcome" "$version" $((SECONDS - started)) "$(grep -c 'warning:\|\[-Werror' "$log" || true)" \
    "$(grep -E 'tests passed' "$log" | tail -n 1 || true)")")
done
printf '%s\n' "${report[@]}"
exit "$failed"
