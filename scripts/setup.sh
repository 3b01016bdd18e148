#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Sees to it that what scripts/packages lists is there. What is missing is installed where that can be done without asking
# (Debian and its kin; as root, or through a sudo that wants no password); otherwise it is named, and that is the end. Where
# nothing is missing, nothing is run, downloaded or changed.
#
# usage: setup.sh run|test|bench|peers|qemu
set -eu

purpose=${1-}
case $purpose in
run | test | bench | peers | qemu) ;;
*)
	echo "usage: setup.sh run|test|bench|peers|qemu" >&2
	exit 2
	;;
esac
cd "$(dirname "$0")"
# mke2fs stands where only root looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

list_missing() {
	# Not on this loop's input: a check may read its own.
	while read -r package needed check <&3; do
		case $package in '' | '#'*) continue ;; esac
		[ "$needed" = run ] || [ "$needed" = "$purpose" ] || continue
		sh -c "$check" >/dev/null 2>&1 </dev/null || printf ' %s' "$package"
	done 3<packages
}

missing=$(list_missing)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root='sudo -n'
else
	as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
	echo "missing, by the names of Debian's packages:$missing" >&2
	echo "install them, for example with: apt-get install$missing" >&2
	exit 1
fi

apt() {
	# shellcheck disable=SC2086 # words on purpose
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

echo "installing:$missing"
# Lists that can't be refreshed may still be good enough.
apt update || echo "the package lists could not be refreshed; trying with those that are there" >&2
# shellcheck disable=SC2086
apt install -y --no-install-recommends $missing
missing=$(list_missing)
if [ -n "$missing" ]; then
	echo "installed, and still not usable:$missing" >&2
	exit 1
fi
