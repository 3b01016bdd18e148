#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# The whole proof: every test, built by each compiler, plain and under the sanitizers. Ends with one line of the form
# "N passed, N failed, N skipped", summed over all builds, and fails when anything did. A build that fails counts as one
# failure. Builds stay in build/test-*, so that the second time is quick.
#
#	plain	everything
#	asan	AddressSanitizer and UndefinedBehaviorSanitizer: everything that runs the library
#	tsan	ThreadSanitizer: what has threads
#
# usage: test-matrix.sh [BUILD...], each of gcc-plain clang-plain gcc-asan clang-asan gcc-tsan clang-tsan; none: all of them
set -u

cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- gcc-plain clang-plain gcc-asan clang-asan gcc-tsan clang-tsan

# Tests with threads, by name. Those of one thread have nothing to tell ThreadSanitizer.
threaded='threads|^space|^dirty|^blk|prealloc|listener|holders|reclaim|view|^example|^tool_run|^wait_free|^scale|^kvm_(dirty|log)'

# The first report ends a test, and a report is a failure.
export ASAN_OPTIONS=detect_stack_use_after_return=1:abort_on_error=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:abort_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

jobs=$(nproc)
builds=$#
passed=0 failed=0 skipped=0 # tests, over all builds
trap 'echo interrupted; exit 130' INT TERM

# Kernels that spread mappings widely leave no room for the shadow memory of older sanitizers: no spreading where it can be had.
unspread=
if setarch "$(uname -m)" -R true 2>/dev/null; then
	unspread="setarch $(uname -m) -R"
fi

build() {
	dir=$1
	shift
	if [ ! -f "$dir/build.ninja" ]; then
		rm -rf "$dir"
		meson setup "$dir" -Dtests=true "$@" >"$dir.log" 2>&1 || {
			cat "$dir.log"
			return 1
		}
	fi
	# One line that moves for people, nothing but trouble for logs.
	if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
	ninja -C "$dir" -j "$jobs" $quiet
}

# Adds up what meson's log says, and shows what failed or was skipped.
tally() {
	said=$(python3 -B scripts/count-results.py "$1") || said='FAILED: the log can not be read
0 1 0'
	printf '%s\n' "$said" | sed '$d'
	# shellcheck disable=SC2046 # three numbers
	set -- $(printf '%s\n' "$said" | tail -n 1)
	bad=$2
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
	echo "$dir: $1 passed, $2 failed, $3 skipped"
}

run_tests() {
	dir=$1 kind=$2
	log=$dir/meson-logs/testlog.json
	rm -f "$log"
	case $kind in
	plain) meson test -C "$dir" --no-rebuild --num-processes "$jobs" --print-errorlogs ;;
	asan) $unspread meson test -C "$dir" --no-rebuild --num-processes "$jobs" --print-errorlogs -t 5 \
		--no-suite checks --no-suite install ;;
	tsan)
		names=$(meson test -C "$dir" --no-rebuild --list --no-suite checks --no-suite install 2>/dev/null |
			sed -n 's/^.* \/ //p' | grep -E "$threaded")
		# shellcheck disable=SC2086 # names are words
		$unspread meson test -C "$dir" --no-rebuild --num-processes "$jobs" --print-errorlogs -t 10 $names
		;;
	esac
	status=$?
	[ -f "$log" ] || {
		echo "no test was run"
		failed=$((failed + 1))
		return
	}
	tally "$log"
	# What meson calls a failure, and the log does not show, is one too.
	if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
		failed=$((failed + 1))
	fi
}

number=0
mkdir -p build
for name in "$@"; do
	number=$((number + 1))
	compiler=${name%-*} kind=${name#*-}
	dir=build/test-$name
	echo
	echo "[$number/$builds] $compiler, $kind"
	case $kind in
	plain) set -- ;;
	asan) set -- -Db_sanitize=address,undefined -Db_lundef=false ;;
	tsan) set -- -Db_sanitize=thread -Db_lundef=false ;;
	*)
		echo "no such kind of build: $name" >&2
		exit 2
		;;
	esac
	if CC=$compiler build "$dir" "$@"; then
		run_tests "$dir" "$kind"
	else
		echo "$name does not build"
		failed=$((failed + 1))
	fi
done

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
