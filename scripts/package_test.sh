#!/usr/bin/env bash
# Proves that the Debian package installs, runs and leaves bare systems: builds it (make deb), and for each release makes a bare root with
# debootstrap, installs the package there by apt with what it depends on and nothing else, trains a network for some steps in each precision,
# and removes it. Needs root and debootstrap.
#
#   scripts/package_test.sh [--mirror URL] [--deb FILE] [SUITE...]      (suites: default bookworm trixie)
#
# --mirror  where packages come from; default: the first Debian mirror that this system's apt uses
# --deb     this package; default: make deb, and what it wrote
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'package: %s\n' "$*" >&2
  exit 1
}

mirror='' deb=''
suites=()
while (($# > 0)); do
  case $1 in
    --mirror | --deb) (($# > 1)) || fail "$1 needs a value"; printf -v "${1#--}" '%s' "$2"; shift ;;
    -*) fail "unknown option $1" ;;
    *) suites+=("$1") ;;
  esac
  shift
done
((${#suites[@]} > 0)) || suites=(bookworm trixie)
# shellcheck source=scripts/debian_root.sh
source "$repository/scripts/debian_root.sh"
need_debootstrap
[[ -n $mirror ]] || mirror=$(debian_mirror)
if [[ -z $deb ]]; then
  make -C "$repository" deb
  debs=("$repository"/build-deb/halftone_*.deb)
  ((${#debs[@]} == 1)) || fail "build-deb has ${#debs[@]} packages; remove the old ones, or name one with --deb"
  deb=${debs[0]}
fi
[[ -f $deb ]] || fail "there is no $deb"

root=$(mktemp -d "${TMPDIR:-/tmp}/halftone-package-XXXXXX")
finish() {
  close_root "$root"
  # Never delete through a mount that would not go away.
  grep -q " $root/" /proc/mounts || rm -rf --one-file-system "$root" "$root.debootstrap.log"
}
trap finish EXIT

for suite in "${suites[@]}"; do
  close_root "$root"
  rm -rf --one-file-system "${root:?}"
  bootstrap_root "$root" "$suite" "$mirror"
  open_root "$root"
  cp "$deb" "$root/root/halftone.deb"
  cp "$repository/demo/resnet8-fashion.onnx" "$root/root/"
  in_root "$root" 'apt-get update -qq
    before=$(dpkg-query -W | wc -l)
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends /root/halftone.deb >/dev/null 2>/root/apt.log || { cat /root/apt.log; exit 1; }
    printf "package: %s: installed with %d packages besides\n" "$(. /etc/os-release; echo "$PRETTY_NAME")" $(($(dpkg-query -W | wc -l) - before - 1))
    halftone --version
    # The data of a few steps; the package does not need it.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dataset-fashion-mnist >/dev/null 2>&1
    cd /root
    for precision in fp32 bf16 fp16; do
      halftone train resnet8-fashion.onnx --data "/usr/share/datasets/fashion-mnist[train][:2560]" --val "/usr/share/datasets/fashion-mnist[test][:500]" \
        --normalize fashion-mnist --precision $precision --steps 10 --lr 0.01 --out run-$precision --quiet
      halftone eval run-$precision --data "/usr/share/datasets/fashion-mnist[test][:500]" --normalize fashion-mnist
    done
    test -s /usr/share/doc/halftone/copyright && test -s /usr/share/doc/halftone/README.md
    dpkg --purge halftone >/dev/null
    left=$(find / -xdev -path /proc -prune -o -path /root -prune -o -path /var -prune -o -iname "*halftone*" -print)
    [[ -z $left ]] || { printf "left behind: %s\n" "$left"; exit 1; }' || fail "$suite failed"
  sha256sum "$root"/root/run-*/model.onnx | sed "s|$root/root/||"
  printf 'package: %s passed\n' "$suite"
done
