#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
The server is killed (SIGKILL) and started again while the guest writes to an ext4 file system: QEMU connects anew and hands back
the record of what was in flight, so the guest must see no error, lose no write, and leave a file system that e2fsck finds
nothing wrong with. With --without-record, a proxy hides that the server keeps one: then the guest has to get stuck or see an error, or
this test would prove nothing.

usage: kill.py [--server PATH] [--kills N] [--direct] [--without-record]
"""
import random
import shutil
import signal
import subprocess
import sys
import time

import machine
from machine import Failure, GuestFailed, Skip
from proxy import INFLIGHT_SHMFD, Proxy

STUCK_SECONDS = 15
WITHOUT_RECORD_KILLS = 100
NO_WORK = {'writes': 0, 'files': 0}


class Stuck(GuestFailed):
    """The guest waits for its disk."""


def add_options(parser):
    parser.add_argument('--kills', type=int, default=20, help='how often')
    parser.add_argument('--direct', action='store_true', help="past the host's page cache")
    parser.add_argument('--without-record', action='store_true', help='no record of what is in flight: the guest has to be harmed')
    parser.add_argument('--seed', type=int, default=None, help='when to kill')


def run_tool(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode('utf-8', 'replace')


def find_tool(name):
    path = shutil.which(name, path='/usr/sbin:/sbin:/usr/bin:/bin')
    if not path:
        raise Skip('there is no ' + name)
    return path


def next_progress(guest):
    """What the guest says next of its workload."""
    found = guest.wait_for_last('PROGRESS')
    while 'bad' not in found:
        # A message of the guest's kernel came in between, and tore the line.
        found = guest.wait_for_last('PROGRESS')
    if found['bad']:
        raise GuestFailed('wrong data: ' + found['line'])
    return found


def wait_for_work(guest, before):
    """Until both halves of the workload have done something since @before."""
    limit = time.monotonic() + STUCK_SECONDS
    while time.monotonic() < limit:
        found = next_progress(guest)
        if found['writes'] > before['writes'] and found['files'] > before['files']:
            return
    raise Stuck('the guest does nothing any more: ' + found['line'])


def kill_again_and_again(server, guest, kills, rng):
    for _ in range(kills):
        time.sleep(rng.random() * 0.5)
        server.check_alive()
        server.kill()
        # Said behind the kill: what comes on top of it was done by the next server.
        stopped = next_progress(guest)
        time.sleep(rng.random() * 0.3)
        server.start()
        wait_for_work(guest, stopped)


def check_harmed(server, proxy, guest, rng):
    """
    Without the record, the next server begins where the ring of what was used ends. What was overtaken is lost, and the guest waits
    for it for ever; or what overtook it is done and told of twice, which a driver of Linux takes for a broken device ("id 4 is not a
    head"), and fails all that comes. It takes some kills until one comes when something was overtaken.
    """
    try:
        kill_again_and_again(server, guest, WITHOUT_RECORD_KILLS, rng)
    except GuestFailed as failure:
        # It must have come from the record alone: the server lives, unless killed by this test, and so do QEMU's connections to it.
        if not proxy.is_serving():
            raise Failure('the proxy died') from failure
        if server.process.child.poll() != -signal.SIGKILL:
            server.check_alive()
        harm = 'waits for ever' if isinstance(failure, Stuck) else 'sees an error (%s)' % failure
        return 'without a record of what is in flight, the guest ' + harm
    raise Failure('the test does not see that there is no record of what is in flight')


def main():
    options = machine.parse_options(__doc__, add_options)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed

    def test(scratch):
        if options.server == 'qsd':
            raise Skip('qemu-storage-daemon keeps no record of what is in flight')
        mke2fs, e2fsck = find_tool('mke2fs'), find_tool('e2fsck')
        image = scratch.image(256 << 20)
        status, said = run_tool([mke2fs, '-q', '-t', 'ext4', '-F', image])
        if status:
            raise Failure('mke2fs: ' + said)
        server = machine.Server(scratch, options, image, direct=options.direct)
        if options.without_record:
            proxy = Proxy(scratch, server.socket, hidden_protocol=INFLIGHT_SHMFD)
            guest = machine.Guest(scratch, proxy.socket, 'ext4', reconnect=True)
            wait_for_work(guest, NO_WORK)
            return check_harmed(server, proxy, guest, random.Random(seed))
        guest = machine.Guest(scratch, server.socket, 'ext4', reconnect=True)
        wait_for_work(guest, NO_WORK)
        kill_again_and_again(server, guest, options.kills, random.Random(seed))
        guest.tell_to_stop()
        found = guest.finish()
        server.finish()
        status, said = run_tool([e2fsck, '-fn', image])
        if status:
            raise Failure('e2fsck: ' + said)
        return '%d kills under %d direct writes, %d reads and %d files: nothing lost, e2fsck finds nothing (seed %d)' % (
            options.kills, found['writes'], found['reads'], found['files'], seed)

    return machine.run_test('kill' + ('-direct' if options.direct else '') + ('-without-record' if options.without_record else ''), test)


if __name__ == '__main__':
    sys.exit(main())
