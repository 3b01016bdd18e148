#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Speed, side by side with qemu-storage-daemon: the same guest has a disk of each, with the same image, and uses them by turns. For sequential and random
reads and writes at depths 1 and 32: requests per second as the guest counts them, and processor time per request of the server
(user and system, all threads). Prints the median of each, and the median of the ratios of each round. Nothing is asserted.

The guest is emulated, so that its processor is what limits it more often than not: then processor time tells more than throughput.

usage: compare.py [--server PATH] [--aio threads|native|io_uring] [--rounds N] [--seconds N] [--chunk SIZE] [--depth 1|32]... [--cache buffered|direct]...
"""
import copy
import shutil
import statistics
import sys

import machine
from machine import Failure, Skip

KINDS = ['read', 'randread', 'write', 'randwrite']
DEPTHS = [1, 32]


def add_options(parser):
    parser.add_argument('--rounds', type=int, default=10, help='how often each figure is taken')
    parser.add_argument('--seconds', type=float, default=0.5, help='of each figure')
    parser.add_argument('--chunk', default='4K', help='bytes of a request')
    parser.add_argument('--bytes', default='256M', help='the part of the disk that is used')
    parser.add_argument('--depth', type=int, action='append', choices=DEPTHS, help='how many requests at a time: all that there are')
    parser.add_argument('--cache', action='append', choices=['buffered', 'direct'], help="with or past the host's page cache")


def measure(scratch, options, servers, name):
    """For each round, for each server: {(kind, depth): (requests per second, microseconds of processor time per request)}"""
    # A bit for each kind at depth 1, then for each at depth 32.
    kinds = sum(15 << 4 * DEPTHS.index(depth) for depth in options.depth)
    guest = machine.Guest(scratch, servers[0].socket, 'bench gm.us=%d gm.chunk=%s gm.bytes=%s gm.rounds=%d gm.kinds=%d' % (
        options.seconds * 1e6, options.chunk, options.bytes, options.rounds, kinds), name='guest-' + name, second=servers[1].socket)
    guest.wait_for('READY')
    rounds = []
    spent = [server.process.cpu_seconds() for server in servers]
    for _ in range(options.rounds):
        rounds.append(({}, {}))
        for _ in range(2 * len(KINDS) * len(options.depth)):
            result = guest.wait_for('RESULT', options.seconds + 60)
            side = result['disk']
            # It is the other one's turn: this one rests until long after we look.
            now = servers[side].process.cpu_seconds()
            kind = result['line'].split('name=')[1].split()[0]
            rounds[-1][side][kind, result['depth']] = (
                result['count'] * 1e6 / result['us'], (now - spent[side]) * 1e6 / result['count'])
            spent[side] = now
    guest.wait_for('DONE')
    guest.monitor.close()
    guest.process.close()
    for server in servers:
        server.finish()
    return rounds


def aio_of_qsd(options, scratch, image):
    """What qemu-storage-daemon does best, of what its build can do."""
    try:
        trial = machine.Server(scratch, options, image, name='trial')
    except Failure:
        return 'threads'
    trial.process.close()
    return options.aio


def show(rounds, title, depths):
    print('\n%s, %d rounds\n' % (title, len(rounds)))
    print('%-13s %5s   %9s %9s %6s   %8s %8s %6s' % ('', 'depth', 'ours/s', 'qsd/s', 'ratio', 'ours us', 'qsd us', 'ratio'))
    for kind in KINDS:
        for depth in depths:
            ours, theirs = ([one[side][kind, depth] for one in rounds] for side in range(2))
            cells = []
            for what in range(2):
                cells += [statistics.median(one[what] for one in ours), statistics.median(one[what] for one in theirs),
                          statistics.median(a[what] / b[what] if b[what] else 0 for a, b in zip(ours, theirs))]
            print('%-13s %5d   %9.0f %9.0f %6.2f   %8.2f %8.2f %6.2f' % tuple([kind, depth] + cells), flush=True)


def main():
    options = machine.parse_options(__doc__, add_options, aio='io_uring')
    options.depth = sorted(set(options.depth or DEPTHS))

    def test(scratch):
        if not shutil.which(machine.QSD):
            raise Skip('there is no ' + machine.QSD)
        image = scratch.image(1 << 30)
        theirs = copy.copy(options)
        theirs.server = 'qsd'
        theirs.aio = aio_of_qsd(theirs, scratch, image)
        for cache in options.cache or ['buffered', 'direct']:
            servers = [machine.Server(scratch, how, image, name='%s-%s' % (cache, name), direct=cache == 'direct')
                       for name, how in (('ours', options), ('theirs', theirs))]
            rounds = measure(scratch, options, servers, cache)
            show(rounds, '%s, %s a request; qemu-storage-daemon with aio=%s' % (cache, options.chunk, theirs.aio), options.depth)
        return '\nus: processor time of the server per request'

    return machine.run_test('compare', test)


if __name__ == '__main__':
    sys.exit(main())
