# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
A vhost-user proxy between QEMU and a server: passes messages and file descriptors on, writes them down, and can take features
away from what the server offers, or logging from what QEMU asks for. Data does not go through it: rings, buffers and kicks are shared
by the two as always.
"""
import array
import contextlib
import os
import socket
import struct
import threading
import time

(GET_FEATURES, SET_FEATURES, SET_MEM_TABLE, SET_LOG_BASE, SET_VRING_NUM, SET_VRING_ADDR, GET_PROTOCOL_FEATURES,
 ADD_MEM_REG, REM_MEM_REG) = 1, 2, 5, 6, 8, 9, 15, 37, 38
LOG_ALL = 1 << 26
LOG_OF_RING = 1
# Protocol features.
INFLIGHT_SHMFD, CONFIGURE_MEM_SLOTS = 1 << 12, 1 << 15
REPLY_FLAGS = 5
FDS_MAX = 16
MESSAGE_MAX = 1 << 20
SERVER_SECONDS = 5


def receive(peer):
    """(request, flags, payload, fds), or None where the peer is gone."""
    fds = array.array('i')
    header, ancillary, _, _ = peer.recvmsg(12, socket.CMSG_SPACE(FDS_MAX * fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])

    def more(data, size):
        while len(data) < size:
            part = peer.recv(size - len(data))
            if not part:
                raise ConnectionError('the end, in the middle of a message')
            data += part
        return data

    if not header:
        return None
    try:
        request, flags, size = struct.unpack('<III', more(header, 12))
        if size > MESSAGE_MAX:
            raise ConnectionError('a message of %d bytes' % size)
        return request, flags, more(b'', size), list(fds)
    except OSError:
        close_all(fds)
        raise


def send(peer, request, flags, payload, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    data = struct.pack('<III', request, flags, len(payload)) + payload
    sent = peer.sendmsg([data], rights)
    peer.sendall(data[sent:])


def close_all(fds):
    for fd in fds:
        os.close(fd)


class Proxy:
    """
    Accepts QEMU as often as it comes; each time it connects to the server anew, and a connection that ends on one side is ended on
    the other. What is written down of QEMU's messages: (request, size of the payload, number of fds); the features that it acked;
    (guest physical address, bytes) of each used ring that is to be logged.
    """

    def __init__(self, scratch, server_socket, name='proxy', hidden_protocol=0, drops_log=False):
        self.socket, self.server_socket = scratch.path(name + '.sock'), server_socket
        self.hidden_protocol, self.drops_log = hidden_protocol, drops_log
        self.messages, self.acked, self.ends, self.is_closed, self.used_rings, self.sizes = [], [], [], False, {}, {}
        self.lock = threading.Lock()
        self.log = open(scratch.log_path(name), 'a', encoding='ascii', buffering=1)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket)
        self.listener.listen(4)
        scratch.closers.append(self.close)
        self.server_thread = threading.Thread(target=self._serve, daemon=True)
        self.server_thread.start()

    def is_serving(self):
        return self.server_thread.is_alive()

    def count(self, request):
        return sum(1 for message in self.messages if message[0] == request)

    def close(self):
        self.is_closed = True
        self.listener.close()
        with self.lock:
            for end in self.ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.log.close()

    def _serve(self):
        while not self.is_closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = self._connect()
            if server is None:
                client.close()
                continue
            with self.lock:
                self.ends = [client, server]
            for who, source, target, change in (('QEMU', client, server, self._to_server), ('server', server, client, self._to_client)):
                threading.Thread(target=self._pass_on, args=(who, source, target, change), daemon=True).start()

    def _connect(self):
        """
        A connection to the server, or None. Waits for one that is being started: QEMU, which came first, waits in its first
        request. Turned away in the midst of that, it would not come again.
        """
        for _ in range(SERVER_SECONDS * 50):
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.server_socket)
                return server
            except OSError:
                server.close()
            if self.is_closed:
                break
            time.sleep(0.02)
        return None

    def _pass_on(self, who, source, target, change):
        try:
            while self._pass_one_on(who, source, target, change):
                pass
            self._write_down('%s: the end' % who)
        except OSError as error:
            self._write_down('%s: %s' % (who, error))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_one_on(self, who, source, target, change):
        message = receive(source)
        if message is None:
            return False
        request, flags, payload, fds = message
        self._write_down('%s: request %d flags %d, %d fds, %s' % (who, request, flags, len(fds), payload[:256].hex(' ', 8)))
        try:
            changed = change(source, request, payload, fds)
            if changed is not None:
                send(target, request, flags, changed, fds)
        finally:
            close_all(fds)
        return True

    def _write_down(self, line):
        with contextlib.suppress(ValueError):  # closed, at the end of the test
            self.log.write('%.3f %s\n' % (time.monotonic(), line))

    def _to_server(self, client, request, payload, fds):
        self.messages.append((request, len(payload), len(fds)))
        if request == SET_FEATURES:
            self.acked += struct.unpack('<Q', payload)
        elif request == SET_VRING_NUM:
            index, count = struct.unpack('<II', payload)
            self.sizes[index] = count
        elif request == SET_VRING_ADDR:
            index, ring_flags, _, _, _, used = struct.unpack('<IIQQQQ', payload)
            if ring_flags & LOG_OF_RING:
                # Its flags, index, entries, and the event.
                self.used_rings[index] = (used, 6 + 8 * self.sizes[index])
        if not self.drops_log:
            return payload
        # QEMU believes that writes are logged, and the server knows of no log.
        if request == SET_FEATURES:
            return struct.pack('<Q', self.acked[-1] & ~LOG_ALL)
        if request == SET_VRING_ADDR:
            index, ring_flags = struct.unpack('<II', payload[:8])
            return struct.pack('<II', index, ring_flags & ~LOG_OF_RING) + payload[8:]
        if request == SET_LOG_BASE:
            send(client, request, REPLY_FLAGS, payload[:8])
            return None
        return payload

    def _to_client(self, _server, request, payload, _fds):
        if request == GET_PROTOCOL_FEATURES and len(payload) == 8:
            return struct.pack('<Q', struct.unpack('<Q', payload)[0] & ~self.hidden_protocol)
        return payload
