#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# The library as its users get it: installs into an empty folder, and from then on knows nothing but that folder. The README's
# program and the examples compile there by what pkg-config says, as C and as C++, and print what they are said to print.
#
# usage: test_install.sh SOURCE-ROOT BUILD-ROOT MESON VERSION COMPILER...
set -eu

source=$1 build=$2 meson=$3 version=$4
shift 4
cc=$* # words: the compiler may come with options or a wrapper

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

fail() {
	echo "test_install: $*" >&2
	exit 1
}

skip() {
	echo "$*"
	exit 77
}

command -v pkg-config >/dev/null || skip "no pkg-config"
command -v nm >/dev/null || skip "no nm"
command -v readelf >/dev/null || skip "no readelf"

DESTDIR=$work/dest "$meson" install -C "$build" --no-rebuild --quiet >"$work/log" 2>&1 || fail "$(cat "$work/log")"

check_files() {
	include=$(dirname "$(find "$work/dest" -name guestmem.h)")
	(cd "$include" && echo ./*) >"$work/have"
	(cd "$source/include/guestmem" && echo ./*.h) >"$work/want"
	diff "$work/want" "$work/have" >&2 || fail "headers that are installed differ from those in include/guestmem"
	pc=$(find "$work/dest" -name guestmem.pc)
	[ -n "$pc" ] || fail "no guestmem.pc"
	lib=$(dirname "$(find "$work/dest" -name libguestmem.so)")
	tool=$(find "$work/dest" -type f -name guestmem)
	for file in "$lib/libguestmem.so" "$tool"; do
		! readelf -d "$file" | grep -E 'RPATH|RUNPATH' || fail "$file looks for libraries in a place of its own"
	done
	readelf -d "$lib/libguestmem.so" | grep -q 'SONAME.*libguestmem\.so\.0\]' || fail "not the soname libguestmem.so.0"
}

# The file says where things stand once the folder is the root of a system; here, they stand below.
pc() {
	PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$work/dest pkg-config "$@" guestmem
}

check_pkg_config() {
	[ "$(pc --modversion)" = "$version" ] || fail "guestmem.pc says version $(pc --modversion), not $version"
	cflags=$(pc --cflags)
	libs=$(pc --libs)
	case $cflags in *"$source"* | *"$build"*) fail "guestmem.pc names the tree: $cflags" ;; esac
	case " $libs " in *" -lguestmem "*) ;; *) fail "guestmem.pc does not link guestmem: $libs" ;; esac
	case $libs in *numa* | *json*) fail "guestmem.pc has users link what only the library needs: $libs" ;; esac
}

# Exactly what the version map lets out, all of it by its version.
check_symbols() {
	nm -D --defined-only "$lib/libguestmem.so" | awk '$2 != "A" { print $3 }' >"$work/symbols"
	[ "$(wc -l <"$work/symbols")" -gt 100 ] || fail "only $(wc -l <"$work/symbols") symbols"
	sed -n 's/^\t\(gmi_[a-z0-9_]*\);$/^\1@@GUESTMEM_0.1$/p' "$source/src/guestmem.map" >"$work/allowed"
	[ -s "$work/allowed" ] || fail "no gmi_ symbols found in the version map"
	echo '^gm_[a-z0-9_]*@@GUESTMEM_0.1$' >>"$work/allowed"
	! grep -v -f "$work/allowed" "$work/symbols" >&2 || fail "symbols that are not in the version map"
}

# compile PROGRAM COMMAND... : what it compiles to is run, and has to print what $work/want says.
compile() {
	program=$1
	shift
	echo "+ $*"
	# shellcheck disable=SC2086 # flags are words
	(cd "$work" && "$@" $cflags -o program $libs) || fail "$program does not compile"
	LD_LIBRARY_PATH=$lib "$work/program" >"$work/have" || fail "$program fails"
	diff "$work/want" "$work/have" >&2 || fail "$program does not print what it is said to"
	rm "$work/program"
}

# The first block of that language in the README.
readme_block() {
	awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } /^```/ && inside { exit } inside' "$source/README.md"
}

# The lines that an example's opening comment says it prints.
promised() {
	awk '/^ \* Prints:$/ { inside = 1; next } /^ \*\/$/ { exit } inside' "$1" | sed 's/^ \*\t//'
}

warnings="-Wall -Wextra -Werror"

check_programs() {
	readme_block c >"$work/readme.c"
	readme_block text >"$work/want"
	[ -s "$work/readme.c" ] || fail "no program in README.md"
	[ -s "$work/want" ] || fail "README.md does not say what its program prints"
	# shellcheck disable=SC2086
	{
		compile "README.md's program" $cc -std=c11 $warnings -Wpedantic readme.c
		[ -z "$cxx" ] || compile "README.md's program" $cxx -x c++ -std=c++17 $warnings -Wpedantic readme.c
		promised "$source/examples/01-fixed-map.c" >"$work/want"
		compile 01-fixed-map $cc -std=c11 $warnings -Wpedantic "$source/examples/01-fixed-map.c"
		[ -z "$cxx" ] || compile 01-fixed-map $cxx -x c++ -std=c++17 -Wall -Werror "$source/examples/01-fixed-map.c"
		promised "$source/examples/03-machine.c" >"$work/want"
		compile 03-device $cc -std=c11 $warnings -Wpedantic "$source/examples/03-device.c" "$source/examples/03-machine.c"
	}
}

# The archive, with what guestmem.pc says that it needs besides.
check_static() {
	cp "$work/readme.c" "$work/static.c"
	readme_block text >"$work/want"
	libs="$lib/libguestmem.a $(pc --static --libs-only-l | sed 's/-lguestmem//')"
	# shellcheck disable=SC2086
	compile "README.md's program, with the archive" $cc -std=c11 -pthread static.c
}

# Adapters: each by its own .pc alone, linked with the library that it names, as a shared library and as an archive.
check_adapter() {
	PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$work/dest
	export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
	cflags=$(pkg-config --cflags "$1")
	libs=$(pkg-config --libs "$1")
	case "$cflags $libs" in *"$source"* | *"$build"*) fail "$1.pc names the tree: $cflags $libs" ;; esac
	! readelf -d "$lib/lib$1.so" | grep -E 'RPATH|RUNPATH' || fail "$1 looks for libraries in a place of its own"
	readelf -d "$lib/lib$1.so" | grep -q 'NEEDED.*libguestmem\.so\.0\]' || fail "$1 does not need the library"
	printf '#include <guestmem/%s>\nint main(void)\n{\n\t%s(0);\n\treturn 0;\n}\n' "$2" "$3" >"$work/adapter.c"
	: >"$work/want"
	# shellcheck disable=SC2086
	compile "$1" $cc -std=c11 $warnings -Wpedantic adapter.c
	libs="$lib/lib$1.a $lib/libguestmem.a $(pkg-config --static --libs-only-l "$1" | sed "s/-l$1//; s/-lguestmem//")"
	# shellcheck disable=SC2086
	compile "$1, the archive" $cc -std=c11 -pthread adapter.c
	unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
}

# The README stands in the tree only, and so does what it points to.
check_links() {
	grep -o ']([^)#]*' "$source/README.md" | cut -c3- | sort -u >"$work/links"
	[ -s "$work/links" ] || fail "no links found in README.md"
	while read -r link; do
		case $link in http*) continue ;; esac
		[ -e "$source/$link" ] || fail "README.md points to $link, which is not there"
	done <"$work/links"
}

check_tool() {
	said=$(LD_LIBRARY_PATH=$lib "$tool" --version) || fail "the installed tool does not run"
	case $said in *"$version"*) ;; *) fail "the installed tool says it is '$said', not $version" ;; esac
}

cxx=
for candidate in g++ clang++; do
	if command -v $candidate >/dev/null; then
		cxx=$candidate
		break
	fi
done

check_links
check_files
check_pkg_config
check_symbols
check_programs
check_static
check_adapter guestmem-vhost-user vhost_user.h gm_vu_free
check_adapter guestmem-kvm kvm.h gm_kvm_free
check_tool
[ -n "$cxx" ] || skip "all is well as far as C goes, but there is no g++ or clang++"
