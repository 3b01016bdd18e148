#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
DIMMs are plugged and pulled while the guest writes and verifies its disk from buffers that come and go, in either way that QEMU
tells of memory: region by region, or whole tables (a proxy hides the protocol feature for the former).

usage: hotplug.py [--server PATH|qsd] [--tables] [--cycles N]
"""
import sys

import machine
from machine import Failure, wait_until
from proxy import ADD_MEM_REG, CONFIGURE_MEM_SLOTS, REM_MEM_REG, SET_MEM_TABLE, Proxy

DIMMS = 2


def add_options(parser):
    parser.add_argument('--tables', action='store_true', help='QEMU sends whole tables')
    parser.add_argument('--cycles', type=int, default=2, help='how often the DIMMs are plugged and pulled')


def plug(guest, number):
    guest.monitor.execute('object-add', **{'qom-type': 'memory-backend-memfd', 'id': 'm%d' % number, 'size': 128 << 20, 'share': True})
    guest.monitor.execute('device_add', driver='pc-dimm', id='d%d' % number, memdev='m%d' % number)


def pull(guest, number):
    """The guest has to move what it keeps there, and may say that it can't just now: ask again."""
    device = 'd%d' % number
    for _ in range(10):
        guest.monitor.execute('device_del', id=device)
        try:
            guest.monitor.wait_event('DEVICE_DELETED', lambda data: data.get('device') == device, 6)
            guest.monitor.execute('object-del', id='m%d' % number)
            return
        except Failure:
            guest.wait_for_last('ROUND')
    raise Failure('the guest does not give back ' + device)


def one_cycle(guest):
    """The most pages of a buffer that were in plugged memory."""
    for number in range(DIMMS):
        plug(guest, number)
    seen = []

    def buffers_are_plugged():
        seen.append(guest.wait_for_last('ROUND')['plugged'])
        return len([count for count in seen if count]) >= 5

    wait_until(buffers_are_plugged, 'five rounds with buffers in plugged memory', 60)
    for number in reversed(range(DIMMS)):
        pull(guest, number)
    guest.wait_for_last('ROUND')
    return max(seen)


def check_messages(proxy, options):
    plugs = options.cycles * DIMMS
    counts = {number: proxy.count(number) for number in (SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG)}
    if options.tables:
        good = counts[SET_MEM_TABLE] > 2 * plugs and not counts[ADD_MEM_REG] and not counts[REM_MEM_REG]
    else:
        good = counts[ADD_MEM_REG] > plugs and counts[REM_MEM_REG] >= plugs and not counts[SET_MEM_TABLE]
    if not good:
        raise Failure('other messages than expected: %s' % counts)
    return '%d tables, %d regions added, %d removed' % tuple(counts.values())


def main():
    options = machine.parse_options(__doc__, add_options)

    def test(scratch):
        server = machine.Server(scratch, options, scratch.image(256 << 20))
        proxy = Proxy(scratch, server.socket, hidden_protocol=CONFIGURE_MEM_SLOTS if options.tables else 0)
        guest = machine.Guest(scratch, proxy.socket, 'load', slots=True)
        guest.wait_for('ROUND')
        plugged = max(one_cycle(guest) for _ in range(options.cycles))
        guest.tell_to_stop()
        found = guest.finish()
        server.finish()
        said = check_messages(proxy, options)
        return '%d DIMMs plugged and pulled under %d MiB of transfers (up to %d pages of a buffer in them), 0 bad; %s' % (
            DIMMS * options.cycles, found['bytes'] >> 20, plugged, said)

    return machine.run_test('hotplug-' + ('tables' if options.tables else 'slots'), test)


if __name__ == '__main__':
    sys.exit(main())
