#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
An inlined load or store with a memory order that makes no sense for it is the machine code of one with GM_SEQ_CST, whatever the
compiler would make of it; and one with GM_RELAXED is not, or the comparison could not tell.
"""
import re
import subprocess
import sys

from compilers import compilers

# Without a diagnostic: gcc warns of such an order where it sees it, and then does what we want.
ARGUMENTS = ['-O2', '-w', '-S', '-o', '-']

TEXT = '''
#include <guestmem/guestmem.h>
int access_here(struct gm_view *view, struct gm_gpa at, uint32_t *number);
int access_here(struct gm_view *view, struct gm_gpa at, uint32_t *number)
{
	return %s;
}
'''

LOAD = 'gm_load_u32(view, at, %s, number)'
STORE = 'gm_store_u32(view, at, %s, *number)'
CASES = [
    (LOAD, ['GM_RELEASE', 'GM_ACQ_REL', '99']),
    (STORE, ['GM_ACQUIRE', 'GM_ACQ_REL', '99']),
]


def code(compiler, call, order):
    text = TEXT % (call % order)
    arguments = [a for a in compiler.arguments if a not in ('-S', '-o', '/dev/null', '-Werror')]
    done = subprocess.run(arguments[:-1] + ARGUMENTS + ['-'], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=False)
    if done.returncode != 0:
        sys.exit('%s: %s' % (compiler.name, done.stderr))
    body = re.search(r'^\w*access_here\w*:(.*?)^\s*\.size', done.stdout, re.M | re.S)
    if body is None:
        sys.exit('%s: no code to be found' % compiler.name)
    lines = [re.sub(r'\s+', ' ', line).strip() for line in body.group(1).splitlines()]
    return [line for line in lines if line and not line.startswith(('.', '#'))]


def instructions(lines):
    """What is done. With what is left out: the out-of-line call is given the order as a number."""
    return sorted(re.split(r'\s', line)[0] for line in lines)


def main(root):
    failures = []

    for compiler in compilers(root):
        for call, orders in CASES:
            strong = instructions(code(compiler, call, 'GM_SEQ_CST'))
            if call is STORE and strong == instructions(code(compiler, call, 'GM_RELAXED')):
                failures.append('%s: a relaxed %s can not be told from a strong one' % (compiler.name, call))
            for order in orders:
                if instructions(code(compiler, call, order)) != strong:
                    failures.append('%s: not that of GM_SEQ_CST: %s' % (compiler.name, call % order))
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
