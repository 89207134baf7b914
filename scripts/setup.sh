#!/usr/bin/env bash
# Installs what Halftone needs from the system's own Debian packages (Debian 12 or later; needs root, or sudo).
# Quick and silent about the network when everything is there already: it asks dpkg first.
#
#   scripts/setup.sh                 what `make build`, `make test` and `make demo` need
#   scripts/setup.sh GROUP...        other groups as well: long (make test-long), bench (make bench), clang (make fuzz), format (make format)
set -euo pipefail

# The one list of packages: group, package, and what it is for.
packages() {
  cat <<'LIST'
build   g++                     the compiler (version 12 or later)
build   cmake                   configures the build (3.25 or later)
build   ninja-build             runs it
build   pkg-config              how CMake finds libspng, libwebp, ICU and Oniguruma
build   libonnx-dev             the official ONNX schema (onnx-ml.proto)
build   protobuf-compiler       turns the schema into C++
build   libprotobuf-dev         reads and writes it
build   libfmt-dev              messages
build   libcli11-dev            the command line
build   libyaml-cpp-dev         --config run.yaml
build   nlohmann-json3-dev      summary.json, events.jsonl
build   libjpeg-dev             JPEG images
build   libspng-dev             PNG images
build   libwebp-dev             WebP images
build   libgif-dev              GIF images
build   libtiff-dev             TIFF images
build   libicu-dev              tokenizers: properties and normal forms of Unicode's characters
build   libonig-dev             tokenizers: regular expressions, in the dialect of their files
build   zlib1g-dev              .gz and .npz data
build   libgtest-dev            the tests
build   dataset-fashion-mnist   the data of `make demo` and of end-to-end tests
long    python3-venv            PyTorch and ONNX Runtime, only to compare with, in an environment of their own
bench   libbenchmark-dev        the benchmarks of single kernels (build/bench_kernels)
bench   python3-venv            PyTorch, to compare with, in an environment of its own
bench   python3-dev             Python.h, which torch.compile's generated C++ includes
clang   clang                   the second compiler, and libFuzzer
format  clang-format            the formatter (.clang-format)
LIST
}

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

groups=" build $* "
for group in "$@"; do
  case $group in
    build | long | bench | clang | format) ;;
    *) fail "no group of packages is called '$group'; there are: build long bench clang format" ;;
  esac
done
wanted=()
while read -r group package _; do
  [[ $groups == *" $group "* ]] && wanted+=("$package")
done <<<"$(packages)"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  printf 'setup: this is no Debian system, so nothing is installed; the build needs the equivalents of:\n  %s\n' "${wanted[*]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

printf 'setup: installing %s\n' "${missing[*]}"
as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null ||
    fail "these packages are missing and installing them needs root, but you are $(id -un) and there is no sudo. As root: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 "$@"; }

# A package list of last month names files that are gone, and a mirror may be briefly away: refresh first, and try three times.
for attempt in 1 2 3; do
  # One broken list among several need not stop us: the install decides.
  apt update -qq || true
  if apt install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; then
    exit 0
  fi
  ((attempt < 3)) && { printf 'setup: that did not work, trying again in %d s\n' $((attempt * 5)) >&2; sleep $((attempt * 5)); }
done
fail "apt-get could not install ${missing[*]} (its own messages are above). Check /etc/apt and the network, then run this again"
