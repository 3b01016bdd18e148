#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Counts what one run of "meson test" found, from the log that meson keeps (a line of JSON for each program). A program of
cmocka's counts as the tests in it, any other one as one test. Names what failed, and what was skipped with the reason that
it gave. The last line is three numbers: passed, failed, skipped.

usage: count-results.py testlog.json
"""
import json
import re
import sys


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'no reason given'


def cases(said):
    """What a program of cmocka's said of its tests: [(name, result, reason)]; empty for any other program."""
    found, reason = [], ''
    for line in said.splitlines():
        match = re.match(r'\[ *(RUN|OK|SKIPPED|FAILED|ERROR) *\] (\w+)$', line)
        if match is None:
            if line.startswith('skipped: '):
                reason = line[len('skipped: '):]
        elif match.group(1) == 'RUN':
            found.append([match.group(2), None, ''])
            reason = ''
        elif found and found[-1][0] == match.group(2) and found[-1][1] is None:
            found[-1][1:] = [match.group(1), reason]
    return found


def count(record):
    """(passed, failed, skipped, remarks) of one program."""
    name, result = record['name'].split(' / ')[-1], record['result']
    said = record.get('stdout', '') + '\n' + record.get('stderr', '')
    if result == 'SKIP':
        return 0, 0, 1, ['skipped: %s: %s' % (name, last_line(said))]
    tests = cases(said)
    passed = sum(1 for test in tests if test[1] == 'OK')
    skipped = [test for test in tests if test[1] == 'SKIPPED']
    failed = [test for test in tests if test[1] not in ('OK', 'SKIPPED')]
    remarks = ['skipped: %s: %s: %s' % (name, test[0], test[2] or 'no reason given') for test in skipped]
    remarks += ['FAILED: %s: %s' % (name, test[0]) for test in failed]
    if result not in ('OK', 'EXPECTEDFAIL'):
        # It may have failed beside its tests: before the first, behind the last, or by a sanitizer's report at its end.
        if not failed:
            remarks.append('FAILED: %s: %s' % (name, result))
        return passed, max(1, len(failed)), len(skipped), remarks
    if not tests:
        passed = 1
    return passed, len(failed), len(skipped), remarks


def self_test():
    def counts(result, stdout):
        return count({'name': 'guestmem / x', 'result': result, 'stdout': stdout})[:3]

    two = '[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n'
    assert counts('OK', '') == (1, 0, 0)
    assert counts('OK', two + '[       OK ] b\n') == (2, 0, 0)
    assert counts('OK', two + 'skipped: none here\n[  SKIPPED ] b\n') == (1, 0, 1)
    assert counts('FAIL', two + '[  FAILED  ] b\n') == (1, 1, 0)
    assert counts('TIMEOUT', two) == (1, 1, 0)
    assert counts('FAIL', two + '[       OK ] b\n') == (2, 1, 0)
    assert counts('SKIP', 'no gcc\n') == (0, 0, 1)
    assert counts('ERROR', '') == (0, 1, 0)
    reason = count({'name': 'x', 'result': 'OK', 'stdout': two + 'skipped: none here\n[  SKIPPED ] b\n'})[3]
    assert reason == ['skipped: x: b: none here'], reason


def main(path):
    self_test()
    total = [0, 0, 0]
    with open(path, encoding='utf-8') as file:
        for line in file:
            passed, failed, skipped, remarks = count(json.loads(line))
            total = [total[0] + passed, total[1] + failed, total[2] + skipped]
            for remark in remarks:
                print(remark)
    print('%d %d %d' % tuple(total))


if __name__ == '__main__':
    main(*sys.argv[1:])
