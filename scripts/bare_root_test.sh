#!/usr/bin/env bash
# Proves that a fresh clone builds where nothing but git and make is installed: makes a bare Debian 12 root with debootstrap,
# installs git and make in it, clones this repository into it and runs make targets there. Needs root and debootstrap.
#
#   scripts/bare_root_test.sh [--mirror URL] [--root DIR] [--fresh] [--keep] [TARGET...]      (targets: default build, test, demo)
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
((${#targets[@]} > 0)) || targets=(build test demo)
((EUID == 0)) || fail "needs root, for debootstrap and chroot"
command -v debootstrap >/dev/null || fail "needs debootstrap (apt-get install debootstrap)"
if [[ -z $mirror ]]; then
  # shellcheck disable=SC2016  # apt-get's own placeholder
  # What apt itself resolved, whichever format its lists are written in.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
  [[ -n $mirror ]] || fail "this system's apt has no Debian mirror; give one with --mirror"
fi
base=
if [[ -z $root ]]; then
  root=$(mktemp -d "${TMPDIR:-/tmp}/halftone-bare-XXXXXX")
else
  mkdir -p "$root"
  root=$(cd "$root" && pwd)
  base=$root.base.tar
fi

finish() {
  mountpoint -q "$root/proc" && umount -l "$root/proc"
  # Never delete through a mount that would not go away.
  if ((keep == 0)) && ! grep -q " $root/" /proc/mounts; then
    rm -rf --one-file-system "$root"
  fi
}
trap finish EXIT

mountpoint -q "$root/proc" && umount -l "$root/proc"
rm -rf --one-file-system "${root:?}"
mkdir -p "$root"
if ((fresh == 0)) && [[ -n $base && -f $base ]]; then
  printf 'bare-root: unpacking %s\n' "$base"
  tar -xf "$base" -C "$root"
else
  printf 'bare-root: debootstrap\n'
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.debootstrap.log" 2>&1 ||
    fail "debootstrap failed, see $root.debootstrap.log"
  [[ -z $base ]] || tar -cf "$base" -C "$root" .
fi

# How this machine reaches its package mirror (proxies, certificates, resolver) is its own business: hand it on as it is.
for file in /etc/resolv.conf /etc/hosts; do
  [[ -e $file ]] && cp -L "$file" "$root$file"
done
for setting in Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until Acquire::Check-Date; do
  value=
  line=$(apt-config shell value "$setting") && eval "$line" && [[ -n $value ]] &&
    printf '%s "%s";\n' "$setting" "$value" >>"$root/etc/apt/apt.conf.d/90bare-root"
done
[[ -d /etc/ssl/certs ]] && mkdir -p "$root/etc/ssl/certs" && cp -rL /etc/ssl/certs/. "$root/etc/ssl/certs/"
environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR; do
  [[ -n ${!name:-} ]] && environment+=("$name=${!name}")
done
mount -t proc proc "$root/proc"

inside() {
  env -i "${environment[@]}" chroot "$root" /bin/bash -euc "$1"
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
