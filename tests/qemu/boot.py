#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
QEMU boots a Linux whose disk we serve; the guest writes and verifies it. No proxy here: QEMU and the server speak to each other.

usage: boot.py [--server PATH|qsd] [--direct] [--cpus N] [--bytes SIZE]
"""
import sys

import machine


def add_options(parser):
    parser.add_argument('--direct', action='store_true', help="past the host's page cache")
    parser.add_argument('--cpus', type=int, default=1, help='processors of the guest, each with a queue of its own')
    parser.add_argument('--bytes', default='256M', help='how much is written')


def main():
    options = machine.parse_options(__doc__, add_options)

    def test(scratch):
        server = machine.Server(scratch, options, scratch.image(1 << 30), direct=options.direct, queues=options.cpus)
        guest = machine.Guest(scratch, server.socket, 'verify gm.bytes=' + options.bytes, cpus=options.cpus)
        found = guest.finish()
        server.finish()
        return '%d MiB written and verified, %d queue(s)' % (found['bytes'] >> 20, options.cpus)

    return machine.run_test('boot%s-%d' % ('-direct' if options.direct else '', options.cpus), test)


if __name__ == '__main__':
    sys.exit(main())
