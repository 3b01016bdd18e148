#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
An example prints what its opening comment says that it prints, to the letter, and exits with 0; or, with 77 and the reason, because
the machine lacks what it needs.

usage: prints.py SOURCE PROGRAM
"""
import difflib
import re
import subprocess
import sys

SKIPPED = 77


def promised(text):
    """The lines behind " * Prints:", which are indented, up to the end of the comment."""
    block = re.search(r'^ \* Prints:\n((?: \*\t.*\n)+) \*/', text, flags=re.M)
    return None if block is None else [line[3:] for line in block.group(1).splitlines()]


def main(source, program):
    assert promised('/*\n * Prints:\n *\ta\n *\t b\n */\n') == ['a', ' b']
    assert promised('/*\n * Prints: a\n */\n') is None
    with open(source, encoding='utf-8') as file:
        want = promised(file.read())
    if want is None:
        print('%s does not say what it prints' % source)
        return 1
    done = subprocess.run([program], stdout=subprocess.PIPE, universal_newlines=True, check=False)
    if done.returncode == SKIPPED:
        return SKIPPED
    have = done.stdout.splitlines()
    for line in difflib.unified_diff(want, have, 'promised', 'printed', lineterm=''):
        print(line)
    if done.returncode != 0:
        print('exits with %d' % done.returncode)
    return 1 if done.returncode != 0 or want != have else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
