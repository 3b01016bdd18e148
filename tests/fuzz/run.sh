#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Looks for inputs that break something, by libFuzzer and with AddressSanitizer and UndefinedBehaviorSanitizer: each program for so many seconds,
# one after the other, beginning with the corpus. Needs clang. What is found is named, and stays in build/fuzz/found: mend it, and put the input
# into tests/fuzz/corpus, whose inputs "make test" runs. What only leads to new code stays in build/fuzz/corpus, where the next run goes on;
# --merge puts the least of it that leads as far into tests/fuzz/corpus.
#
# usage: run.sh [--merge] [PROGRAM...]; FUZZ_SECONDS in the environment: for each, 60 unless told
set -eu

cd "$(dirname "$0")/../.."
merge=
if [ "${1-}" = --merge ]; then
	merge=yes
	shift
fi
[ $# -gt 0 ] || set -- message table backend front
seconds=${FUZZ_SECONDS:-60}
build=build/fuzz

# No input is longer: what takes more is found by something shorter.
bytes_max=768

if [ ! -f $build/build.ninja ]; then
	rm -rf $build
	mkdir -p build
	CC=clang meson setup $build -Dfuzz=true -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all' >$build.log 2>&1 || {
		cat $build.log
		exit 1
	}
fi

status=0
for name in "$@"; do
	program=$build/tests/fuzz/fuzz_$name kept=$build/corpus/$name given=tests/fuzz/corpus/$name
	ninja -C $build --quiet "tests/fuzz/fuzz_$name" >$build.log || {
		cat $build.log
		exit 1
	}
	mkdir -p "$kept" "$given" $build/found
	if [ -n "$merge" ]; then
		rm -rf $build/merged
		mkdir $build/merged
		# What was put there by hand stays: its name has a dash. Lines that are reached count, not how often: that would make ten
		# times as many inputs.
		find "$given" -type f -name '*-*' -exec cp {} $build/merged \;
		$program -set_cover_merge=1 -use_counters=0 -max_len=$bytes_max $build/merged "$given" "$kept" >"$build/$name.log" 2>&1
		find "$given" -type f ! -name '*-*' -delete
		# Named by what is in them.
		for input in $build/merged/*; do
			case $input in *-*) continue ;; esac
			mv "$input" "$given/$(sha1sum <"$input" | cut -c1-16)"
		done
		echo "$name: $(find "$given" -type f | wc -l) inputs"
		continue
	fi
	if $program -max_total_time="$seconds" -max_len=$bytes_max -timeout=20 -print_final_stats=1 \
		-artifact_prefix="$build/found/$name-" "$kept" "$given" >"$build/$name.log" 2>&1; then
		sed -n "s/^#[0-9]*[[:space:]]*DONE \(.*\)$/$name: \1/p; s/^stat::number_of_executed_units: */$name: inputs tried: /p" "$build/$name.log"
	else
		status=1
		echo "$name: found something:"
		tail -n 60 "$build/$name.log"
	fi
done
exit $status
