#!/usr/bin/env bash
# Proves that a fresh clone builds where nothing but git and make is installed: makes a bare Debian 12 root with debootstrap,
# installs git and make in it, clones this repository into it and runs make targets there. Needs root and debootstrap.
#
#   scripts/bare_root_test.sh [--mirror URL] [--root DIR] [--fresh] [--keep] [TARGET...]      (targets: default demo, build, test)
#
# --mirror  where packages come from; default: the first Debian mirror that this system's apt uses
# --root    the folder for the bare root (it is emptied first); default: a new folder under ${TMPDIR:-/tmp}. What debootstrap made
#           is kept beside it as DIR.base.tar, and used again by the next run
# --fresh   does not use DIR.base.tar
# --keep    leaves the root as it is, for a look inside; without it the root is removed at the end
# HEAD is what is cloned: commit first.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'bare-root: %s\n' "$*" >&2
  exit 1
}

mirror='' root='' keep=0 fresh=0
targets=()
while (($# > 0)); do
  case $1 in
    --mirror | --root) (($# > 1)) || fail "$1 needs a value"; printf -v "${1#--}" '%s' "$2"; shift ;;
    --keep) keep=1 ;;
    --fresh) fresh=1 ;;
    -*) fail "unknown option $1" ;;
    *) targets+=("$1") ;;
  esac
  shift
done
((${#targets[@]} > 0)) || targets=(demo build test)
# shellcheck source=scripts/debian_root.sh
source "$repository/scripts/debian_root.sh"
need_debootstrap
[[ -n $mirror ]] || mirror=$(debian_mirror)
base=
if [[ -z $root ]]; then
  root=$(mktemp -d "${TMPDIR:-/tmp}/halftone-bare-XXXXXX")
else
  mkdir -p "$root"
  root=$(cd "$root" && pwd)
  base=$root.base.tar
fi

finish() {
  close_root "$root"
  # Never delete through a mount that would not go away.
  if ((keep == 0)) && ! grep -q " $root/" /proc/mounts; then
    rm -rf --one-file-system "$root"
  fi
}
trap finish EXIT

close_root "$root"
rm -rf --one-file-system "${root:?}"
mkdir -p "$root"
if ((fresh == 0)) && [[ -n $base && -f $base ]]; then
  printf 'bare-root: unpacking %s\n' "$base"
  tar -xf "$base" -C "$root"
else
  printf 'bare-root: debootstrap\n'
  bootstrap_root "$root" bookworm "$mirror"
  [[ -z $base ]] || tar -cf "$base" -C "$root" .
fi

open_root "$root"
inside() {
  in_root "$root" "$1"
}
inside 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git make >/dev/null'
printf 'bare-root: %s packages before the build\n' "$(inside 'dpkg-query -W | wc -l')"

git clone -q --no-local "file://$repository" "$root/root/halftone"
printf 'bare-root: cloned %s\n' "$(git -C "$root/root/halftone" log -1 --format='%h %s')"
for target in "${targets[@]}"; do
  started=$SECONDS
  inside "cd /root/halftone && make $target" || fail "make $target failed"
  printf 'bare-root: make %s passed in %d s\n' "$target" $((SECONDS - started))
done
