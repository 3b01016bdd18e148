#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Runs the tests with QEMU one after the other, says a line of each, and how many passed, failed and were skipped in the last line.
Logs of all that ran stay in build/qemu/logs. Ends all processes of a test with it, whatever became of it.

usage: run.py [--server PATH|qsd] [--full] [NAME...]
"""
import argparse
import os
import signal
import subprocess
import sys
import time

import kernel

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77

# name: (script and options, options with --full, seconds that it may take)
TESTS = {
    'boot': (['boot.py'], [], 120),
    'boot-direct-queues': (['boot.py', '--direct', '--cpus', '2'], ['--bytes', '768M'], 120),
    'hotplug-slots': (['hotplug.py'], ['--cycles', '10'], 150),
    'hotplug-tables': (['hotplug.py', '--tables'], ['--cycles', '10'], 150),
    'migrate': (['migrate.py', '--runs', '5'], ['--runs', '20'], 200),
    'migrate-dimm': (['migrate.py', '--dimm', '--go-on'], ['--runs', '5'], 120),
    'migrate-without-log': (['migrate.py', '--without-log'], ['--runs', '5'], 120),
    'kill': (['kill.py'], ['--kills', '40'], 240),
    'kill-direct': (['kill.py', '--direct', '--kills', '5'], ['--kills', '40'], 120),
    'kill-without-record': (['kill.py', '--without-record'], [], 240),
    # With the time to download another kernel.
    'kvm': (['kvm.py'], [], 600),
}
FULL_TIMES = 5


def run_one(name, options):
    """(exit status, what it said last, seconds)"""
    command, more, limit = TESTS[name]
    command = [sys.executable, '-B', os.path.join(HERE, command[0])] + command[1:] + (more if options.full else [])
    if options.server:
        command += ['--server', options.server]
    begun = time.monotonic()
    # A session of its own, so that all of it can be ended.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        said, _ = child.communicate(timeout=limit * (FULL_TIMES if options.full else 1))
        status = child.returncode
    except subprocess.TimeoutExpired:
        status, said = 1, b'took too long'
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    lines = [line for line in said.decode('utf-8', 'replace').splitlines() if line.strip()]
    if status not in (0, 1, SKIPPED):
        print('\n'.join(lines))
    return status, lines[-1].strip() if lines else 'said nothing', time.monotonic() - begun


def prepare():
    """Downloads and builds what all tests need, which has no place in the time that one may take. Returns why it can't be had."""
    try:
        kernel.prepare()
    except kernel.Skip as reason:
        return str(reason)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--server', help='our tool, or "qsd"')
    parser.add_argument('--full', action='store_true', help='more of everything')
    parser.add_argument('names', nargs='*', metavar='NAME', help='tests: ' + ' '.join(TESTS))
    options = parser.parse_args()
    for name in options.names:
        if name not in TESTS:
            parser.error('there is no test ' + name)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    missing = prepare()
    for name in options.names or TESTS:
        status, said, seconds = (SKIPPED, missing, 0) if missing else run_one(name, options)
        result = {0: 'passed', SKIPPED: 'skipped'}.get(status, 'failed')
        counts[result] += 1
        print('%-7s %s (%d s): %s' % (result if result != 'failed' else 'FAILED', name, round(seconds), said), flush=True)
    print('%(passed)d passed, %(failed)d failed, %(skipped)d skipped' % counts)
    return 1 if counts['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
