#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Makes one disk image out of real files of this machine. Needs no mount and no privileges. It appears under its name when it is
# whole, so that an interrupted run leaves none that is half done.
#
#	files	an ext4 file system with all of /usr/include, and room to spare
#	odd	an archive of the same, of a size that is a multiple of neither 4096 nor 512
#	sparse	256 MiB, most of it a hole, with islands of random bytes at odd places
#	boot	16 MiB that a PC boots from: its guest reads a part, and prints a text of it and a sum, which is said here too
#
# usage: make-image.sh files|odd|sparse|boot IMAGE
set -eu

usage() {
	echo "usage: make-image.sh files|odd|sparse|boot IMAGE" >&2
	exit 2
}

[ $# = 2 ] || usage
kind=$1 image=$2
scripts=$(cd "$(dirname "$0")" && pwd)
from=/usr/include
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

mkdir -p "$(dirname "$image")"
new=$image.new
trap 'rm -f "$new"' EXIT
trap 'exit 130' INT TERM HUP
rm -f "$new"

make_files() {
	kib=$(du -sk "$from" | cut -f1)
	# A quarter for blocks that are not full and for tables; mke2fs refuses if that should not do.
	mke2fs -q -t ext4 -m 0 -L guestmem -d "$from" "$new" "$((kib * 5 / 4 + 32768))k"
}

make_odd() {
	tar -C "$from" -cf "$new" .
	# An archive is a multiple of 512 bytes; this makes it one of 512 n + 123.
	printf '%123s' '' >>"$new"
}

make_sparse() {
	truncate -s 256M "$new"
	for at in 0 1000003 33554431 67108865 134217000 200000001 267386879; do
		head -c 1048577 /dev/urandom | dd of="$new" bs=64K seek="$at" oflag=seek_bytes conv=notrunc status=none
	done
	truncate -s 256M "$new" # the last island goes beyond it
}

make_boot() {
	work=$(mktemp -d)
	trap 'rm -rf "$new" "$work"' EXIT
	as --32 -o "$work/boot.o" "$scripts/boot.S"
	ld -m elf_i386 -Ttext 0x7c00 --oformat binary -e start -o "$work/boot" "$work/boot.o"
	printf '\r\nThis text is from the second sector of the disk.\r\n\0' >"$work/rest"
	head -c 1048576 /dev/urandom >>"$work/rest"
	head -c 1048576 "$work/rest" >"$work/data"
	cat "$work/boot" "$work/data" >"$new"
	truncate -s 16M "$new"
	od -An -v -tu4 -w4 "$work/data" | awk '{ sum = (sum + $1) % 4294967296 }
		END { printf "its guest will find the sum %04x%04x\n", int(sum / 65536), sum % 65536 }'
}

case $kind in
files | odd | sparse | boot) "make_$kind" ;;
*) usage ;;
esac
mv "$new" "$image"
echo "made $image: $(wc -c <"$image") bytes"
