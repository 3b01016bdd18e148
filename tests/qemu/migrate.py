#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Live migration of a guest that reads its disk without end into one buffer: what the server wrote to guest memory while QEMU copied it
has to be in the log, or the copy is old. Source and destination have a server each. The destination does not run at first, so that
the memory of both can be compared, page by page. With --without-log, a proxy lets QEMU believe that there is a log: then
pages have to differ, or this test would prove nothing.

QEMU 7.2 loses writes of an emulated processor: where it takes a page off its log of them, the processor may have the address
translated already, and goes on without telling (newer ones forget the translation then). So the guest changes page tables with
each entry to its kernel (pti=on), which makes QEMU forget its translations, and rests between reads; and a run where only pages
differ that the device did not write is repeated, and counted.

usage: migrate.py [--server PATH|qsd] [--runs N] [--without-log] [--dimm] [--go-on] [--depth N]
"""
import mmap
import os
import struct
import sys

import machine
from machine import Failure, wait_until
from proxy import LOG_ALL, SET_LOG_BASE, Proxy

PAGE = 4096
MIGRATE_SECONDS = 60
REPEATS_MAX = 3  # of one run


def add_options(parser):
    parser.add_argument('--runs', type=int, default=1, help='migrations')
    parser.add_argument('--without-log', action='store_true', help='the writes are not logged: pages have to differ')
    parser.add_argument('--depth', type=int, default=8, help='reads in flight, at most 8')
    parser.add_argument('--dimm', action='store_true', help='with a DIMM at 4 GiB on both sides')
    parser.add_argument('--go-on', action='store_true', help='the destination goes on, and has to find nothing wrong')


def is_from_disk(page):
    """Whether a page begins with a sector as the guest wrote it to its disk (tag_fill() in guest.c)."""
    sector, generation, word = struct.unpack('<QQQ', page[:24])
    return word == ((sector + (generation << 40)) * 0x9e3779b97f4a7c15 + 2) % (1 << 64)


def memory_files(guest):
    """The files of a guest's memory, in the order of their numbers."""
    folder = '/proc/%d/fd' % guest.process.child.pid
    names = [name for name in os.listdir(folder) if os.readlink(os.path.join(folder, name)).startswith('/memfd:memory-backend')]
    return [os.path.join(folder, name) for name in sorted(names, key=int)]


def differing_pages(first, second, log, rings):
    """(pages that differ, those of them that the device wrote, pages), of two files. Writes down which, and the words that differ."""
    count = written = 0
    with open(first, 'rb') as a, open(second, 'rb') as b:
        size = os.fstat(a.fileno()).st_size
        if size != os.fstat(b.fileno()).st_size:
            raise Failure('the memory has not the same size on both sides')
        with mmap.mmap(a.fileno(), size, prot=mmap.PROT_READ) as left, mmap.mmap(b.fileno(), size, prot=mmap.PROT_READ) as right:
            # The driver writes to the pages of these as well.
            for at, length in rings:
                if left[at:at + length] != right[at:at + length]:
                    written += 1
                    log.write('%x: the used ring\n' % at)
            for start in range(0, size, 1 << 20):
                if left[start:start + (1 << 20)] == right[start:start + (1 << 20)]:
                    continue
                for page in range(start, min(size, start + (1 << 20)), PAGE):
                    one, other = left[page:page + PAGE], right[page:page + PAGE]
                    if one != other:
                        count += 1
                        written += is_from_disk(one) or is_from_disk(other)
                        words = [at for at in range(0, PAGE, 8) if one[at:at + 8] != other[at:at + 8]]
                        log.write('%x: %d words: %s\n' % (page, len(words), ', '.join(
                            '+%x %s/%s' % (at, one[at:at + 8].hex(), other[at:at + 8].hex()) for at in words[:4])))
    return count, written, size // PAGE


def start_side(scratch, options, image, side, number):
    """(server, proxy, guest) of one side of a run."""
    tail = '-%s-%d' % (side, number)
    server = machine.Server(scratch, options, image, name='server' + tail)
    proxy = Proxy(scratch, server.socket, name='proxy' + tail, drops_log=options.without_log)
    extra = ['-S', '-incoming', 'defer'] if side == 'destination' else []
    if options.dimm:
        extra += ['-object', 'memory-backend-memfd,id=m0,size=128M,share=on', '-device', 'pc-dimm,id=d0,memdev=m0']
    return server, proxy, machine.Guest(scratch, proxy.socket, 'reader gm.depth=%d gm.rest=5000' % options.depth, name='guest' + tail, extra=extra,
                                        slots=options.dimm, append='pti=on nopcid')


def move(source, destination, path):
    """Migrates, and returns what QEMU says of it."""
    destination.monitor.execute('migrate-incoming', uri='unix:' + path)
    # As fast as it gets, but not in one go: pages that are written behind the first pass are what this is about.
    source.monitor.execute('migrate-set-parameters', **{'max-bandwidth': 256 << 20, 'downtime-limit': 300})
    source.monitor.execute('migrate', uri='unix:' + path)

    def ended():
        status = source.monitor.execute('query-migrate')
        if status.get('status') in ('failed', 'cancelled'):
            raise Failure('the migration failed: %s' % status.get('error-desc', status['status']))
        return status if status.get('status') == 'completed' else None

    status = wait_until(ended, 'the migration', MIGRATE_SECONDS)
    wait_until(lambda: destination.monitor.execute('query-status')['status'] in ('paused', 'prelaunch'), 'the destination')
    return status


def check_log(proxy):
    """That what this is about took place: QEMU gave a log and switched it on."""
    if proxy.count(SET_LOG_BASE) == 0 or not proxy.used_rings or not any(features & LOG_ALL for features in proxy.acked):
        raise Failure('QEMU did not ask for a log')


def migrate_once(scratch, options, image, number):
    """(pages that differ, those of them that the device wrote, pages, milliseconds)"""
    sides = [start_side(scratch, options, image, side, number) for side in ('source', 'destination')]
    (_, proxy, source), (_, _, destination) = sides
    source.wait_for('READ')
    source.wait_for_last('READ')
    status = move(source, destination, scratch.path('migration-%d.sock' % number))
    check_log(proxy)
    with open(scratch.log_path('pages-%d' % number), 'w', encoding='ascii') as log:
        pairs = zip(memory_files(source), memory_files(destination))
        # Rings are where the guest's kernel is: in the first file.
        counts = [differing_pages(*pair, log, [] if which else proxy.used_rings.values()) for which, pair in enumerate(pairs)]
    if len(counts) != 1 + options.dimm:
        raise Failure('%d memory files, not %d' % (len(counts), 1 + options.dimm))
    if options.go_on:
        source.process.close()
        destination.monitor.execute('cont')
        for _ in range(3):
            destination.wait_for_last('READ')
        destination.tell_to_stop()
        destination.finish()
    for server, _, guest in sides:
        guest.monitor.close()
        guest.process.close()
        server.finish()
    return tuple(map(sum, zip(*counts))) + (status['total-time'],)


def main():
    options = machine.parse_options(__doc__, add_options)

    def test(scratch):
        image = scratch.image(128 << 20)
        found, repeats, repeated = [], 0, 0
        while len(found) < options.runs:
            run = migrate_once(scratch, options, image, len(found) + repeated)
            if run[0] and not run[1] and repeats < REPEATS_MAX:
                repeats += 1
                repeated += 1
            else:
                repeats = 0
                found.append(run)
        said = '%s of %d pages differ (%s written by the device), %s ms to migrate, %d repeated' % (
            ', '.join(str(run[0]) for run in found), found[0][2], ', '.join(str(run[1]) for run in found),
            ', '.join(str(run[3]) for run in found), repeated)
        if options.without_log and not all(run[1] for run in found):
            raise Failure('the test does not see that there is no log: ' + said)
        if not options.without_log and any(run[0] for run in found):
            raise Failure('memory was not copied as it was: ' + said)
        return said

    name = 'migrate' + ('-without-log' if options.without_log else '') + ('-dimm' if options.dimm else '')
    return machine.run_test(name, test)


if __name__ == '__main__':
    sys.exit(main())
