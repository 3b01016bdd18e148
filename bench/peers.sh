#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Builds the peers that the benchmark compares with into build/bench/peers/: vm-memory (Rust) and dpdk (C); see peers.md.
# Nothing is downloaded: the Rust sources are those that Debian's packages install. Ends with 0 when both are built, with 3
# when something that one of them needs is not there (each said in one line; the other is built all the same), and with 1
# when a build fails.
#
# usage: peers.sh
set -eu

cd "$(dirname "$0")/.."
out=$PWD/build/bench/peers
# Debian's folder of crates' sources.
registry=/usr/share/cargo/registry
# The standard library's binary search has no branches from this version on: lookups are three times as fast.
rust_good=82
mkdir -p "$out"
status=0

missing() {
	echo "peers: no $1: $2" >&2
	[ "$status" = 1 ] || status=3
}

failed() {
	echo "peers: building $1 failed: see $out/$1.log" >&2
	status=1
}

# The second number of a compiler's version: 63 for "rustc 1.63.0".
rust_minor() {
	"$1" --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p'
}

# Sets rustc and cargo to the newer of the system's and the one in the path.
find_rust() {
	rustc='' cargo='' newest=0
	for folder in /usr/bin "$(dirname "$(command -v rustc || echo /usr/bin/rustc)")"; do
		minor=$(rust_minor "$folder/rustc")
		if [ -x "$folder/cargo" ] && [ "${minor:-0}" -gt "$newest" ]; then
			rustc=$folder/rustc cargo=$folder/cargo newest=$minor
		fi
	done
}

build_vm_memory() {
	find_rust
	if [ -z "$rustc" ]; then
		missing vm-memory "needs cargo and rustc (Debian's cargo-web and rustc-web)"
		return
	fi
	if ! ls -d "$registry"/vm-memory-0.10.* >/dev/null 2>&1; then
		missing vm-memory "needs the crate's sources (Debian 12's librust-vm-memory-dev)"
		return
	fi
	[ "$newest" -ge "$rust_good" ] ||
		echo "peers: vm-memory would be faster with rustc 1.$rust_good or newer (Debian's rustc-web); this is 1.$newest" >&2
	# From a copy, for cargo writes a lock file of what the folder of sources has next to them; with its times, lest all be
	# compiled again each time.
	rm -rf "$out/source"
	cp -Rp bench/vm-memory "$out/source"
	jumps=''
	[ "$(uname -m)" != x86_64 ] || jumps='-C llvm-args=-x86-branches-within-32B-boundaries'
	if (cd "$out/source" && RUSTFLAGS=$jumps RUSTC=$rustc CARGO_HOME=$out/cargo CARGO_TARGET_DIR=$out/target "$cargo" build \
		--release --offline --config 'source.crates-io.replace-with="debian"' \
		--config "source.debian.directory=\"$registry\"") >"$out/vm-memory.log" 2>&1; then
		cp "$out/target/release/peer-vm-memory" "$out/vm-memory"
	else
		failed vm-memory
	fi
}

build_dpdk() {
	if ! pkg-config --exists libdpdk 2>/dev/null; then
		missing dpdk "needs its headers (Debian's libdpdk-dev)"
		return
	fi
	# Only inlined functions are used: nothing to link with.
	# shellcheck disable=SC2046 # words on purpose
	${CC:-cc} -std=gnu11 -O3 $(bench/jumps.sh ${CC:-cc}) $(pkg-config --cflags libdpdk) -o "$out/dpdk" bench/dpdk.c >"$out/dpdk.log" 2>&1 || failed dpdk
}

# What is not built now shall not be there from before.
rm -f "$out/vm-memory" "$out/dpdk"
build_vm_memory
build_dpdk
exit $status
