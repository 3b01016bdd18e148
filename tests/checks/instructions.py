#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Instructions that the operations of a device's inner loops take, held against tests/instructions.json: fails when one takes over
a tenth more than is recorded there. Times drift with the machine; these counts are the same on each run of the same program, so
a check of every build can hold them.

tests/counts.c has the operations, and says how N and 2N of each leave what one costs. It runs under callgrind, which shows
a program no AVX-512: so what picks its instructions at run time (memcpy, for one) takes those of a machine with AVX2.

The counts are those of one compiler, one C library and one kind of processor; anywhere else this is skipped, and says why.

usage: instructions.py ROOT PROGRAM OPTIMIZATION COMPILER... [--record]

OPTIMIZATION: the level, and further arguments of the compiler that the build was given, as one word.
PROGRAM is tests/counts.c, built against the shared library; "none" where valgrind's headers are missing. --record writes the file.
"""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
RECORD = 'tests/instructions.json'
GROWTH_MAX = 0.10


def skip(reason):
    print(reason)
    sys.exit(SKIPPED)


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return done.stdout.strip()


def first_number(text):
    return re.search(r'\d+', text).group()


def surroundings(optimization, compiler):
    """What the counts depend on, as far as it is not in the tree."""
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        flags = re.search(r'^flags\s*:(.*)$', file.read(), re.M)
    return {
        'compiler': 'gcc ' + first_number(output(compiler + ['-dumpversion'])),
        'optimization': optimization,
        'libc': os.confstr('CS_GNU_LIBC_VERSION'),
        'valgrind': first_number(output(['valgrind', '--version'])),
        'processor': platform.machine() + (' with AVX2' if flags and ' avx2 ' in flags.group(1) + ' ' else ''),
    }


def per_operation(totals):
    """{(name, operations): instructions} -> {name: instructions of one}, from the pair of each name."""
    found = {}
    for name in dict.fromkeys(name for name, _ in totals):
        few, many = sorted(count for other, count in totals if other == name)
        assert many == 2 * few, 'not N and 2N: %s' % name
        found[name] = round((totals[name, many] - totals[name, few]) / few, 3)
    return found


def parse(text):
    """Callgrind's dumps, one behind the other: each has its label above its sum."""
    totals, label = {}, None
    for line in text.splitlines():
        match = re.match(r'desc: Trigger: Client Request: (\S+) (\d+)$', line)
        if match:
            label = match.group(1), int(match.group(2))
        match = re.match(r'totals: (\d+)$', line)
        if match and label:
            assert label not in totals, 'twice: %s %d' % label
            totals[label] = int(match.group(1))
            label = None
    return totals


def count(program):
    with tempfile.TemporaryDirectory() as folder:
        dumps = os.path.join(folder, 'dumps')
        # The rest of the environment would be on the stack, and is nobody's business.
        environment = {name: value for name, value in os.environ.items() if name in ('PATH', 'LD_LIBRARY_PATH')}
        done = subprocess.run(['valgrind', '--tool=callgrind', '--combine-dumps=yes', '--callgrind-out-file=' + dumps,
                               os.path.abspath(program)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, env=environment, check=False)
        if done.returncode != 0:
            sys.exit('%s under valgrind: exit %d\n%s' % (program, done.returncode, done.stdout))
        with open(dumps, encoding='utf-8') as file:
            return per_operation(parse(file.read()))


def compare(recorded, now):
    """A table of all operations, and what is wrong with them."""
    table, wrong = ['%-22s %10s %10s %8s' % ('operation', 'recorded', 'now', 'change')], []
    for name in list(recorded) + [name for name in now if name not in recorded]:
        before, after = recorded.get(name), now.get(name)
        if before is None or after is None:
            table.append('%-22s %10s %10s' % (name, before, after))
            wrong.append('%s is %s' % (name, 'not recorded' if before is None else 'not counted any more'))
            continue
        change = after / before - 1
        table.append('%-22s %10.2f %10.2f %+7.1f%%' % (name, before, after, 100 * change))
        if after > before * (1 + GROWTH_MAX) + 1e-6:
            wrong.append('%s takes %.1f %% more instructions' % (name, 100 * change))
    return table, wrong


def self_test():
    dump = 'desc: Trigger: Client Request: x/8 %d\nsummary: 9\ntotals: %d\n'
    assert per_operation(parse(dump % (10, 150) + dump % (20, 250) + 'totals: 7\n')) == {'x/8': 10.0}
    assert not compare({'a': 10.0, 'b': 5.0}, {'a': 11.0, 'b': 1.0})[1]
    assert len(compare({'a': 10.0}, {'a': 11.01})[1]) == 1
    assert len(compare({'a': 10.0}, {'b': 10.0})[1]) == 2


def main(root, program, optimization, *compiler):
    record = compiler[-1] == '--record'
    compiler = [word for word in compiler if word != '--record']
    path = os.path.join(root, RECORD)

    self_test()
    if platform.machine() != 'x86_64':
        skip('the counts are those of x86-64, this is ' + platform.machine())
    if shutil.which('valgrind') is None:
        skip('no valgrind')
    if program == 'none':
        skip('no <valgrind/callgrind.h>')
    here = surroundings(optimization, compiler)
    if not record:
        with open(path, encoding='utf-8') as file:
            kept = json.load(file)
        for what, recorded in kept['counted with'].items():
            if here[what] != recorded:
                skip('counted with %s %s, and this is %s' % (what, recorded, here[what]))
    now = count(program)
    if record:
        with open(path, 'w', encoding='utf-8') as file:
            json.dump({'counted with': here, 'instructions': now}, file, indent='\t')
            file.write('\n')
        print('recorded %d operations in %s' % (len(now), RECORD))
        return 0
    table, wrong = compare(kept['instructions'], now)
    print('\n'.join(table))
    if wrong:
        print('\nIf that has to be: tests/checks/instructions.py ... --record, with the reason in the commit.')
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
