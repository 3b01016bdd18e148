# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
What every test here is made of: a server of a disk, QEMU with a guest whose disk that is, and what both say. Everything that
waits has a limit, everything started is ended with the test (and by the runner, if the test is not there to do it).
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import kernel
from kernel import BUILD, ROOT, Skip

QEMU = 'qemu-system-x86_64'
QSD = 'qemu-storage-daemon'
BOOT_SECONDS = 120
REPLY_SECONDS = 30


class Failure(Exception):
    """What went wrong, in one sentence."""


class GuestFailed(Failure):
    """What went wrong for the guest, as it says itself."""


def wait_until(condition, what, seconds=REPLY_SECONDS):
    """The first true value of @condition()."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failure('waited %g s for %s' % (seconds, what))


class Process:
    """A child with its output in a log, and line by line for who waits for it."""

    def __init__(self, scratch, name, command):
        self.name, self.lines, self.log = name, [], open(scratch.log_path(name), 'ab')
        self.log.write(('$ ' + ' '.join(command) + '\n').encode())
        self.log.flush()
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        scratch.processes.append(self)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.log.write(line)
            self.log.flush()
            self.lines.append(line.decode('utf-8', 'replace').rstrip())

    def is_running(self):
        return self.child.poll() is None

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends it, and returns its exit status."""
        if self.is_running():
            self.child.send_signal(number)
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Failure('%s did not end within %d s' % (self.name, seconds)) from None
        self.reader.join(5)
        return status

    def close(self):
        if self.is_running():
            self.child.kill()
        self.child.wait()
        self.reader.join(5)
        self.log.close()
        self.child.stdin.close()

    def cpu_seconds(self):
        """User and system time of all its threads, those of the kernel that work for it included."""
        # What clock_getcpuclockid() makes of a process: to the nanosecond, other than /proc.
        return time.clock_gettime(~self.child.pid << 3 | 2)


class Scratch:
    """One test's folder, with a short path as sockets need one; its children; its images; its logs, which stay."""

    def __init__(self, name):
        self.name, self.processes, self.closers = name, [], []
        self.folder = tempfile.mkdtemp(prefix='gm-qemu-')
        self.logs = os.path.join(BUILD, 'logs', name)
        shutil.rmtree(self.logs, ignore_errors=True)
        os.makedirs(self.logs)

    def path(self, name):
        return os.path.join(self.folder, name)

    def log_path(self, name):
        return os.path.join(self.logs, name + '.log')

    def image(self, size, name='disk.img'):
        """A sparse file beside the logs: where O_DIRECT works is more likely there than in a folder for temporary files."""
        path = os.path.join(BUILD, '%s-%s' % (self.name, name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with open(path, 'wb') as file:
            file.truncate(size)
        self.closers.append(lambda: os.unlink(path))
        return path

    def close(self):
        for process in reversed(self.processes):
            process.close()
        for closer in self.closers:
            closer()
        shutil.rmtree(self.folder, ignore_errors=True)


def is_listening(path):
    with open('/proc/net/unix', encoding='utf-8') as file:
        for line in file:
            fields = line.split()
            # The flags of a socket that listens: __SO_ACCEPTCON.
            if len(fields) == 8 and fields[7] == path and int(fields[3], 16) & 0x10000:
                return True
    return False


class Server:
    """Serves an image on a socket: our own, or QEMU's for comparison. Can be killed and started again on the same socket."""

    def __init__(self, scratch, options, image, name='server', direct=False, queues=1):
        self.scratch, self.name, self.socket, self.process = scratch, name, scratch.path(name + '.sock'), None
        if options.server == 'qsd':
            if not shutil.which(QSD):
                raise Skip('there is no ' + QSD)
            file = 'driver=file,node-name=f,filename=%s,locking=off,discard=unmap,cache.direct=%s,aio=%s' % (
                image, 'on' if direct else 'off', options.aio)
            # Both names of a file are needed: writing and zeroing go through the format's node.
            self.command = [QSD, '--blockdev', file, '--blockdev', 'driver=raw,node-name=d,file=f,discard=unmap', '--export',
                            'type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=%s,writable=on,num-queues=%d' % (
                                self.socket, queues)]
        else:
            if not os.access(options.server, os.X_OK):
                raise Skip('there is no %s: run make first' % options.server)
            self.command = [options.server, 'blk', '--socket', self.socket, image, '--queues', str(queues)]
            self.command += ['--direct'] if direct else []
        self.start()

    def start(self):
        self.process = Process(self.scratch, self.name, self.command)
        wait_until(lambda: is_listening(self.socket) or not self.process.is_running(), 'the server to listen')
        self.fds = len(os.listdir(self._proc('fd'))) if self.process.is_running() else 0
        if not self.process.is_running():
            raise Failure('the server ended at once: ' + ' '.join(self.process.lines[-2:]))

    def kill(self):
        """As a crash would: nothing is flushed, closed or unlinked."""
        self.process.child.kill()
        self.process.child.wait()

    def check_alive(self):
        if not self.process.is_running():
            raise Failure('the server died, status %s: %s' % (self.process.child.poll(), ' '.join(self.process.lines[-2:])))

    def _proc(self, name):
        return '/proc/%d/%s' % (self.process.child.pid, name)

    def _kept(self):
        """What is left of a guest that is gone, as text; empty for nothing."""
        with open(self._proc('maps'), encoding='utf-8') as file:
            maps = [line.split()[-1] for line in file if '/memfd:' in line]
        count = len(os.listdir(self._proc('fd')))
        return ', '.join(maps + (['%d fds, not %d' % (count, self.fds)] if count != self.fds else []))

    def finish(self):
        """For when the guest is gone: nothing of it may be left. Then ends the server as a user would."""
        self.check_alive()
        with contextlib.suppress(Failure):
            wait_until(lambda: not self._kept(), 'the server to let go of its guest', 5)
        kept = self._kept()
        if kept:
            raise Failure('the server keeps something of a guest that is gone: ' + kept)
        status = self.process.stop()
        if status != 0:
            raise Failure('the server ended with status %d on SIGTERM: %s' % (status, ' '.join(self.process.lines[-2:])))


def says_failure(line):
    return line.startswith('GM: FAILED') or 'Kernel panic' in line


class Guest:
    """QEMU with a guest that runs one workload, and its monitor."""

    def __init__(self, scratch, socket_path, mode, name='guest', memory='256M', cpus=1, extra=(), reconnect=False, slots=False, append='', second=None,
                 kernel_kind='cloud-amd64', program=None):
        image, initramfs = kernel.prepare(kernel_kind, program)
        self.name, self.position = name, 0
        disks = []
        for number, path in enumerate(path for path in (socket_path, second) if path):
            disks += ['-chardev', 'socket,id=c%d,path=%s%s' % (number, path, ',reconnect=1' if reconnect else ''),
                      '-device', 'vhost-user-blk-pci,chardev=c%d,num-queues=%d' % (number, cpus)]
        self.process = Process(scratch, name, [
            QEMU, '-accel', 'tcg', '-cpu', 'max', '-smp', str(cpus), '-m', memory + (',slots=4,maxmem=2G' if slots else ''),
            '-object', 'memory-backend-memfd,id=mem,size=%s,share=on' % memory, '-machine', 'q35,memory-backend=mem',
            '-kernel', image, '-initrd', initramfs,
            # no_timer_check: a busy host delays ticks, and the kernel would take its timer for broken.
            '-append', 'console=ttyS0 quiet panic=-1 nokaslr no_timer_check memhp_default_state=online_movable %s gm.mode=%s' % (append, mode),
            '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-nodefaults',
            '-qmp', 'unix:%s,server=on,wait=off' % scratch.path(name + '.qmp')] + disks + list(extra))
        self.monitor = Monitor(scratch.path(name + '.qmp'), self.process)
        scratch.closers.append(self.monitor.close)

    def wait_for(self, word, seconds=BOOT_SECONDS, accept_end=False):
        """The numbers of the next line of the workload that begins with @word; what comes before is passed over."""
        def look():
            while self.position < len(self.process.lines):
                line = self.process.lines[self.position]
                self.position += 1
                if says_failure(line):
                    raise GuestFailed('%s: %s' % (self.name, line))
                if line.startswith('GM: ' + word):
                    return {'line': line, **{key: int(value) for key, value in re.findall(r'(\w+)=(\d+)', line)}}
            if not self.process.is_running() and not self.process.reader.is_alive() and not accept_end:
                said = [line for line in self.process.lines if says_failure(line)]
                raise GuestFailed('%s: %s' % (self.name, said[0])) if said else Failure(
                    '%s ended: %s' % (self.name, ' '.join(self.process.lines[-3:])))
            return None

        return wait_until(look, '"%s" of %s' % (word, self.name), seconds)

    def wait_for_last(self, word):
        """As wait_for(), for what is said from now on."""
        self.position = len(self.process.lines)
        return self.wait_for(word)

    def tell_to_stop(self):
        self.process.child.stdin.write(b'stop\n')
        self.process.child.stdin.flush()

    def finish(self, seconds=BOOT_SECONDS):
        """What the workload found in the end."""
        found = self.wait_for('VERIFIED', seconds)
        if found['bad']:
            raise Failure('%s: %s' % (self.name, found['line']))
        self.wait_for('DONE')
        try:
            self.process.child.wait(REPLY_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(self.name + ': QEMU did not end with its guest') from None
        return found


class Monitor:
    """QEMU's control socket."""

    def __init__(self, path, process):
        self.events, self.buffer = [], b''
        self.socket = socket.socket(socket.AF_UNIX)

        def connect():
            if not process.is_running():
                raise Failure('QEMU ended at once: ' + ' '.join(process.lines[-2:]))
            try:
                self.socket.connect(path)
            except OSError:
                return False
            return True

        wait_until(connect, "QEMU's monitor")
        self.socket.settimeout(REPLY_SECONDS)
        self._receive()
        self.execute('qmp_capabilities')

    def _receive(self):
        while b'\n' not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise Failure('QEMU closed its monitor')
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b'\n')
        return json.loads(line)

    def execute(self, command, **arguments):
        self.socket.settimeout(REPLY_SECONDS)
        self.socket.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        while True:
            answer = self._receive()
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise Failure('QEMU refused %s: %s' % (command, answer['error']['desc']))
            else:
                return answer['return']

    def wait_event(self, name, matches=lambda data: True, seconds=REPLY_SECONDS):
        limit = time.monotonic() + seconds
        while True:
            for event in self.events:
                if event['event'] == name and matches(event.get('data', {})):
                    self.events.remove(event)
                    return event
            left = limit - time.monotonic()
            if left <= 0:
                raise Failure('waited %g s for QEMU to say %s' % (seconds, name))
            self.socket.settimeout(left)
            try:
                answer = self._receive()
            except socket.timeout:
                continue
            if 'event' in answer:
                self.events.append(answer)

    def close(self):
        self.socket.close()


def parse_options(description, add_options, aio='threads'):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--server', default=os.path.join(ROOT, 'build/main/tools/guestmem'), metavar='PATH',
                        help='our tool, or "qsd" for ' + QSD)
    parser.add_argument('--aio', default=aio, help='how qsd does its input and output: threads, native or io_uring')
    add_options(parser)
    return parser.parse_args()


def run_test(name, test):
    """Runs @test(scratch), which returns a sentence on what it saw. Exit status: 0, 1 for a failure, 77 for a skip."""
    os.makedirs(BUILD, exist_ok=True)
    scratch = Scratch(name)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        if not shutil.which(QEMU):
            raise Skip('there is no ' + QEMU)
        print(test(scratch))
        return 0
    except Skip as reason:
        print(reason)
        return 77
    except (Failure, OSError) as error:
        print('%s (logs: %s)' % (error, os.path.relpath(scratch.logs, ROOT)))
        return 1
    finally:
        scratch.close()
