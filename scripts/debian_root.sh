# A Debian system in a folder, made by debootstrap, for tests that need another system than this one. To be sourced, after a function
# `fail MESSAGE` that ends the script. Needs root and debootstrap.
# shellcheck shell=bash

# Where packages come from: the first Debian mirror that this system's apt uses. What apt itself resolved, whichever format its lists are
# written in.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016  # apt-get's own placeholder
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
  [[ -n $mirror ]] || fail "this system's apt has no Debian mirror; give one with --mirror"
  printf '%s\n' "$mirror"
}

need_debootstrap() {
  ((EUID == 0)) || fail "needs root, for debootstrap and chroot"
  command -v debootstrap >/dev/null || fail "needs debootstrap (apt-get install debootstrap)"
}

# bootstrap_root FOLDER SUITE MIRROR: the smallest system of that release.
bootstrap_root() {
  mkdir -p "$1"
  debootstrap --variant=minbase "$2" "$1" "$3" >"$1.debootstrap.log" 2>&1 || fail "debootstrap failed, see $1.debootstrap.log"
}

# open_root FOLDER: hands on how this machine reaches its package mirror (proxies, certificates, resolver), and mounts /proc.
open_root() {
  local file setting value line
  for file in /etc/resolv.conf /etc/hosts; do
    [[ -e $file ]] && cp -L "$file" "$1$file"
  done
  : >"$1/etc/apt/apt.conf.d/90bare-root"
  for setting in Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until Acquire::Check-Date; do
    value=
    line=$(apt-config shell value "$setting") && eval "$line" && [[ -n $value ]] &&
      printf '%s "%s";\n' "$setting" "$value" >>"$1/etc/apt/apt.conf.d/90bare-root"
  done
  [[ -d /etc/ssl/certs ]] && mkdir -p "$1/etc/ssl/certs" && cp -rL /etc/ssl/certs/. "$1/etc/ssl/certs/"
  mountpoint -q "$1/proc" || mount -t proc proc "$1/proc"
}

close_root() {
  if mountpoint -q "$1/proc"; then
    umount -l "$1/proc"
  fi
}

# in_root FOLDER COMMAND [NAME=VALUE...]: runs it there, with nothing of this environment but the network's settings and those given.
in_root() {
  local root=$1 command=$2 name
  shift 2
  local environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@")
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR; do
    [[ -n ${!name:-} ]] && environment+=("$name=${!name}")
  done
  env -i "${environment[@]}" chroot "$root" /bin/bash -euc "$command"
}
