#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Builds our programs into build/bench/. "ours" is linked with the library as "make install" would install it, shared, with its
# installed headers, by what pkg-config says; so is "scale". "ours-lto" has the archive and link-time optimization of both; "raw"
# does without the library.
#
# usage: build.sh
set -eu

cd "$(dirname "$0")/.."
out=$PWD/build/bench
prefix=$out/prefix
cc=${CC:-cc}
log=$out/build.log
mkdir -p "$out"
: >"$log"

# What is said while all goes well is of no interest.
quietly() {
	"$@" >>"$log" 2>&1 || {
		tail -n 40 "$log" >&2
		echo "bench: failed: $*" >&2
		exit 1
	}
}

library() {
	dir=$1
	shift
	[ -f "$dir/build.ninja" ] || quietly meson setup "$dir" -Dtests=false "$@"
}

library "$out/library" --prefix="$prefix" --libdir=lib
quietly ninja -C "$out/library"
quietly meson install -C "$out/library" --no-rebuild
PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export PKG_CONFIG_PATH
cflags="-O2 -g $(bench/jumps.sh "$cc") -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(pkg-config --cflags guestmem)"
common="bench/worker.c bench/places.c bench/queue.c"
# shellcheck disable=SC2086 # flags and files are words
{
	quietly "$cc" $cflags -o "$out/ours" $common bench/ours*.c -Wl,-rpath,"$prefix/lib" $(pkg-config --libs guestmem) -pthread
	quietly "$cc" $cflags -o "$out/raw" $common bench/raw.c -pthread
	quietly "$cc" $cflags -o "$out/scale" bench/scale/*.c -Wl,-rpath,"$prefix/lib" $(pkg-config --libs guestmem) -lm -pthread
}

# Not every compiler can; then there is no such column.
rm -f "$out/ours-lto"
# shellcheck disable=SC2086
if ! (
	library "$out/library-lto" -Db_lto=true
	quietly ninja -C "$out/library-lto" src/libguestmem.a
	quietly "$cc" $cflags -flto -o "$out/ours-lto" $common bench/ours*.c "$out/library-lto/src/libguestmem.a" \
		$(pkg-config --static --libs-only-l guestmem | sed 's/-lguestmem//') -pthread
); then
	echo "bench: going on without link-time optimization" >&2
fi
