#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# What keeps a program's jumps off borders of 32 bytes, which some processors take up to half as long for: see meson.build. The library
# is built so; the programs of the comparison are too, all of them, or their figures would hang on where their jumps happen to lie.
# Prints the option, or nothing where the compiler does not know it.
#
# usage: jumps.sh COMPILER [WORD...]
set -eu

for option in -Wa,-mbranches-within-32B-boundaries -mbranches-within-32B-boundaries; do
	if echo 'int number;' | "$@" -Werror "$option" -c -x c - -o /dev/null 2>/dev/null; then
		echo "$option"
		break
	fi
done
