#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
The tests of the KVM adapter inside an emulated machine that has hardware virtualization (AMD's, which QEMU emulates) and Debian's
kernel with its KVM: a second implementation beside the host's, and one where the host has none.

usage: kvm.py [--tests FOLDER] [NAME...]
"""
import os
import re
import sys

import machine
from machine import Failure, Skip

# Those that run a guest. What a model of KVM shows needs no other kernel.
NAMES = ['kvm_dirty', 'kvm']
RUN_SECONDS = 400


def add_options(parser):
    parser.add_argument('--tests', default=os.path.join(machine.ROOT, 'build/test-gcc-plain/tests'), help='where test_kvm is')
    parser.add_argument('names', nargs='*', help='tests: ' + ' '.join(NAMES))


def run_one(scratch, folder, name):
    """(passed, skipped) of one program's tests."""
    program = os.path.join(folder, 'test_' + name)
    if not os.access(program, os.X_OK):
        raise Skip('there is no %s: run make test first' % os.path.relpath(program, machine.ROOT))
    guest = machine.Guest(scratch, None, 'exec', name=name, memory='1G', kernel_kind='amd64', program=program)
    guest.finish(RUN_SECONDS)
    text = '\n'.join(guest.process.lines)
    # cmocka names those that were skipped a second time, in the end.
    passed, skipped = (len(set(re.findall(r'\[ *%s *\] (\w+)$' % word, text, re.MULTILINE))) for word in ('OK', 'SKIPPED'))
    if not passed:
        raise Failure(name + ' ran no test')
    return passed, skipped


def main():
    options = machine.parse_options(__doc__, add_options)

    def test(scratch):
        counts = [run_one(scratch, options.tests, name) for name in options.names or NAMES]
        passed, skipped = map(sum, zip(*counts))
        return '%d tests of the adapter passed in an emulated machine with its own KVM, %d skipped there' % (passed, skipped)

    return machine.run_test('kvm', test)


if __name__ == '__main__':
    sys.exit(main())
