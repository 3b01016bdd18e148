#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""guestmem blk, as a front-end of vhost-user sees it that checks what it gets: see blk_load.c. QEMU's tests are elsewhere.

Usage: test_tool_blk.py TOOL LOAD
"""
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.dom.minidom

TOOL, LOAD = sys.argv[1:3]
MIB = 1 << 20
INDIRECT, EVENT_INDEX, FLUSH = 1 << 28, 1 << 29, 1 << 9


class Server:
    """A server, and what it says."""

    def __init__(self, test, *options, image, pass_fds=()):
        self.test = test
        self.err = open(test.path("err"), "a+", encoding="utf-8")
        self.process = subprocess.Popen([TOOL, "blk", *options, image], stdout=subprocess.PIPE, stderr=self.err, text=True,
                                        pass_fds=pass_fds)
        test.addCleanup(self.close)
        self.greeting = self.process.stdout.readline()
        if not self.greeting:
            self.process.wait(30)
            raise AssertionError("no server: " + self.said())

    def said(self):
        with open(self.test.path("err"), encoding="utf-8") as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def end(self, number=signal.SIGTERM):
        """As a user ends it: the exit status, and what it printed."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out

    def close(self):
        self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()
        self.err.close()


class Base(unittest.TestCase):
    def setUp(self):
        # Not where temporary files are: that may be memory, without O_DIRECT.
        directory = tempfile.TemporaryDirectory(dir=".", prefix="blk-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.socket = self.path("s")

    def path(self, name):
        return os.path.join(self.directory, name)

    def image(self, size, name="disk.img"):
        with open(self.path(name), "wb") as file:
            file.truncate(size)
        return self.path(name)

    def serve(self, *options, image):
        return Server(self, "--socket", self.socket, *options, image=image)

    def start_load(self, *words):
        return subprocess.Popen([LOAD, self.socket, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish_load(self, process):
        """The numbers that it prints."""
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self.fail("it hangs: " + out + err)
        self.assertEqual((process.returncode, err), (0, ""))
        return {key: int(float(value)) for key, value in re.findall(r"(\w+)=([\d.]+)", out)}

    def load(self, *words):
        return self.finish_load(self.start_load(*words))


class Requests(Base):
    def check(self, size, *words, options=()):
        server = self.serve(*options, image=self.image(size))
        found = self.load("check", *words)
        self.assertEqual(found["sectors"], (size + 511) // 512)
        self.assertEqual(server.end()[0], 0)
        self.assertEqual(server.said(), "")
        self.assertFalse(os.path.exists(self.socket))

    def test_all_kinds(self):
        self.check(4 * MIB, "queues=3")

    def test_odd_size(self):
        self.check(4 * MIB + 77)

    def test_direct(self):
        self.check(4 * MIB + 512, options=["--direct"])

    def test_old_front_end(self):
        self.check(4 * MIB, "plain=1")

    def test_without_features(self):
        for refused in INDIRECT, EVENT_INDEX, FLUSH, INDIRECT | EVENT_INDEX:
            self.check(4 * MIB, "refuse=%d" % refused)

    def test_read_only(self):
        path = self.image(4 * MIB)
        os.chmod(path, 0o400)
        self.check(4 * MIB, "readonly=1", options=["--readonly"])

    def test_one_queue(self):
        server = self.serve("--queues", "1", image=self.image(4 * MIB))
        self.assertEqual(self.load("check", "queues=1")["queues"], 1)
        process = self.start_load("check", "queues=2")
        self.assertIn("1 queues only", process.communicate(timeout=30)[1])
        self.assertEqual(server.end()[0], 0)

    def test_small_queue(self):
        self.check(4 * MIB, "size=32", "refuse=%d" % INDIRECT, options=["--queue-size", "32"])

    def test_verified(self):
        for options in [], ["--direct"]:
            server = self.serve(*options, image=self.image(64 * MIB))
            found = self.load("survive", "seconds=1", "queues=4", "depth=16")
            self.assertGreater(found["requests"], 1000)
            self.assertEqual(server.end()[0], 0)

    def test_order_of_writes_in_the_image(self):
        """What was flushed is in the file, and nowhere else than it belongs."""
        path = self.image(4 * MIB)
        server = self.serve(image=path)
        self.load("check", "queues=1")
        server.end()
        with open(path, "rb") as file:
            data = file.read()
        self.assertNotEqual(data[:8192], bytes(8192))
        self.assertEqual(data[1 * MIB:3 * MIB], bytes(2 * MIB))


class Connections(Base):
    def test_killed(self):
        """SIGKILL at any time, and another one in its place: no request is lost, none has an error."""
        image = self.image(64 * MIB)
        for options in [], ["--direct"]:
            server = self.serve(*options, image=image)
            load = self.start_load("survive", "seconds=7", "queues=2", "depth=16")
            kills = 0
            while load.poll() is None and kills < 20:
                time.sleep(0.03 + 0.009 * kills)
                server.kill()
                server = self.serve(*options, image=image)
                kills += 1
            found = self.finish_load(load)
            self.assertEqual(kills, 20)
            self.assertGreater(found["lost"], 10)
            self.assertEqual(server.end()[0], 0)
            self.assertEqual(server.said(), "")

    def test_waits_for_the_dead(self):
        """The socket of a server that was killed stays for as long as its ring, with what is in flight: another server waits."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket)
        listener.listen(1)
        timer = threading.Timer(1, listener.close)
        begin = time.monotonic()
        timer.start()
        server = self.serve(image=self.image(4 * MIB))
        self.assertGreater(time.monotonic() - begin, 0.9)
        timer.join()
        self.load("check")
        self.assertEqual(server.end()[0], 0)

    def test_does_not_disturb(self):
        """Where somebody serves already, who does not notice even when it serves one front-end only."""
        image = self.image(4 * MIB)
        server = self.serve("--once", image=image)
        process = subprocess.run([TOOL, "blk", "--socket", self.socket, image], capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("somebody does already", process.stderr)
        self.load("check")
        self.assertEqual(server.process.wait(30), 0)
        self.assertEqual(server.said(), "")

    def test_stopped_before_it_ran(self):
        """What a killed server left in flight is done before the queue is given back, however early it is asked for."""
        server = self.serve(image=self.image(4 * MIB))
        self.load("stop", "queues=1")
        self.assertEqual(server.end()[0], 0)
        self.assertEqual(server.said(), "")

    def test_flooded(self):
        """A front-end that sends messages without end does not keep the server from hearing that it is to end."""
        server = self.serve(image=self.image(4 * MIB))
        load = self.start_load("flood", "queues=1", "seconds=15")
        time.sleep(1)
        begin = time.monotonic()
        self.assertEqual(server.end()[0], 0)
        self.assertLess(time.monotonic() - begin, 9)
        self.finish_load(load)

    def test_ended_and_started_again(self):
        """As above, but asked to: what is in flight is finished first."""
        image = self.image(64 * MIB)
        server = self.serve(image=image)
        load = self.start_load("survive", "seconds=3", "queues=2", "depth=16")
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGTERM:
            time.sleep(0.4)
            self.assertEqual(server.end(number)[0], 0)
            self.assertFalse(os.path.exists(self.socket))
            server = self.serve(image=image)
        self.assertEqual(self.finish_load(load)["lost"], 3)

    def test_one_after_the_other(self):
        server = self.serve(image=self.image(64 * MIB))
        first = self.start_load("survive", "seconds=1")
        time.sleep(0.3)
        second = self.start_load("check")
        time.sleep(0.3)
        self.assertIsNone(second.poll())
        self.finish_load(first)
        self.finish_load(second)
        self.load("check", "plain=1")
        self.assertEqual(server.end()[0], 0)
        self.assertEqual(server.said(), "")

    def test_nonsense(self):
        """Whoever sends it is dropped, with a reason, and the next one is served."""
        server = self.serve(image=self.image(4 * MIB))
        for data in b"GET / HTTP/1.0\r\n\r\n", b"\x25\0\0\0\x01\0\0\0\xff\xff\xff\xff", b"\x01\0\0\0\x01\0\0\0\x04\0\0\0abcd":
            with socket.socket(socket.AF_UNIX) as front:
                front.connect(self.socket)
                front.settimeout(20)
                front.sendall(data)
                front.shutdown(socket.SHUT_WR)
                try:
                    front.recv(1000)
                except ConnectionResetError:
                    pass
        self.load("check")
        self.assertEqual(server.end()[0], 0)
        self.assertRegex(server.said(), "(?m)^guestmem: the front-end is dropped: .+")

    def test_memory_that_shrinks(self):
        server = self.serve(image=self.image(64 * MIB))
        found = self.load("truncate", "rounds=100")
        self.assertGreater(found["failed"], 100)
        self.load("check")
        self.assertEqual(server.end()[0], 0)
        self.assertIn("the machine's memory for it has gone", server.said())

    def test_memory_with_holes(self):
        server = self.serve(image=self.image(64 * MIB))
        found = self.load("punch", "rounds=20")
        self.assertGreater(found["requests"], 20 * 400)
        self.load("check")
        self.assertEqual(server.end()[0], 0)

    def test_memory_that_vanishes(self):
        """The rings too, which only the guard against SIGBUS makes an error."""
        server = self.serve(image=self.image(64 * MIB))
        for _ in range(20):
            self.load("vanish")
        self.load("check")
        self.assertEqual(server.end()[0], 0)
        self.assertIn("is broken by its driver: rings or indirect table not accessible", server.said())
        self.assertIn("memory of the machine has gone in ", server.said())

    def test_image_that_shrinks(self):
        path = self.image(64 * MIB)
        server = self.serve("--readonly", image=path)
        os.truncate(path, MIB)
        load = self.start_load("load", "op=randread", "seconds=1")
        load.communicate(timeout=30)
        self.assertEqual(load.returncode, 1)
        self.assertEqual(server.end()[0], 0)
        self.assertIn("the image has become shorter", server.said())

    def test_given_sockets(self):
        """One that listens serves one after the other; one that is connected, its peer."""
        image = self.image(4 * MIB)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen()
            server = Server(self, "--fd", str(listener.fileno()), image=image, pass_fds=[listener.fileno()])
            self.load("check")
            self.load("check")
            self.assertEqual(server.end()[0], 0)
        ours, theirs = socket.socketpair()
        server = Server(self, "--fd", str(theirs.fileno()), image=image, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(b"\x01\0\0\0\x01\0\0\0\0\0\0\0")
        self.assertEqual(len(ours.recv(100)), 20)
        ours.close()
        self.assertEqual(server.process.wait(30), 0)

    def test_once(self):
        server = self.serve("--once", image=self.image(4 * MIB))
        self.load("check")
        self.assertEqual(server.process.wait(30), 0)
        self.assertFalse(os.path.exists(self.socket))


class Sockets(Base):
    def refused(self, *arguments, status, says):
        done = subprocess.run([TOOL, "blk", *arguments], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, r"^guestmem: [^\n]*%s[^\n]*\n$" % re.escape(says))

    def test_left_over(self):
        image = self.image(4 * MIB)
        self.serve(image=image).kill()
        self.assertTrue(stat.S_ISSOCK(os.stat(self.socket).st_mode))
        server = self.serve(image=image)
        self.load("check")
        self.refused("--socket", self.socket, image, status=2, says="somebody does already")
        self.load("check")
        # Somebody else's by now: it stays.
        os.unlink(self.socket)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.socket)
            self.assertEqual(server.end()[0], 0)
            self.assertTrue(os.path.exists(self.socket))

    def test_usage(self):
        image = self.image(4 * MIB)
        with open(self.path("file"), "w", encoding="utf-8"):
            pass
        self.refused("--socket", self.path("file"), image, status=2, says="not a socket")
        self.assertTrue(os.path.exists(self.path("file")))
        self.refused("--socket", self.path("no/s"), image, status=2, says="No such file or directory")
        self.refused("--socket", "x" * 200, image, status=2, says="1 to 107 characters")
        self.refused("--socket", self.socket, self.path("none"), status=2, says="No such file or directory")
        self.refused("--socket", self.socket, "/dev/null", status=2, says="neither a file nor a block device")
        self.refused("--socket", self.socket, self.directory, status=2, says="directory")
        self.refused("--socket", self.socket, "--direct", self.image(1000, "odd"), status=2, says="multiple of 512")
        self.refused(image, status=2, says="either --socket PATH or --fd N")
        self.refused("--socket", self.socket, "--fd", "9", image, status=2, says="either --socket PATH or --fd N")
        self.refused("--fd", "77", image, status=2, says="Bad file descriptor")
        self.refused("--socket", self.socket, status=2, says="one disk image")
        self.refused("--socket", self.socket, "--queues", "65", image, status=2, says="out of range")
        self.refused("--socket", self.socket, "--queue-size", "100", image, status=2, says="power of two")
        self.refused("--socket", self.socket, "--nope", image, status=2, says="--nope")
        self.assertFalse(os.path.exists(self.socket))

    def test_help(self):
        done = subprocess.run([TOOL, "blk", "--help"], capture_output=True, text=True, timeout=30, check=True)
        for word in "--socket", "--direct", "--readonly", "--queues", "--status", "--map", "--fd", "vhost-user-blk-pci":
            self.assertIn(word, done.stdout)


class Pictures(Base):
    def test_status(self):
        server = self.serve("--status", image=self.image(64 * MIB))
        self.load("survive", "seconds=2")
        time.sleep(1.2)
        status, out = server.end()
        self.assertEqual(status, 0)
        lines = out.splitlines()
        self.assertGreaterEqual(len(lines), 3)
        for line in lines:
            self.assertRegex(line, r"^\d+ requests/s, read [\d.]+ \w+/s, written [\d.]+ \w+/s, \d+ in flight, "
                                   r"\d+ queues?, \d+ regions? of [\d.]+ \w+, 0 failed")
        self.assertIn("2 queues, 2 regions of 128 MiB", out)
        self.assertIn("no front-end is connected", lines[-1])

    def test_map(self):
        svg = self.path("map.svg")
        server = self.serve("--map", svg, image=self.image(64 * MIB))
        load = self.start_load("survive", "seconds=2")
        time.sleep(1)
        server.process.send_signal(signal.SIGUSR1)
        lines = [server.process.stdout.readline() for _ in range(4)]
        self.assertRegex(lines[0], r"^2 regions, 128 MiB of memory, [\d.]+ \w+ of it written by the disk$")
        self.assertRegex(lines[1], r"^  0x000000000000 vu\d+ +\S{64} 64 MiB, [\d.]+ \w+ written$")
        self.assertIn("3.93 GiB free", lines[2])
        self.assertIn("0x000100000000", lines[3])
        # The upper half of the lower region has nothing that anybody writes to.
        strip = re.search(r"\S{64}", lines[1])[0]
        self.assertEqual(len(set(strip[32:])), 1)
        self.assertGreater(len(set(strip[:32])), 1)
        limit = time.monotonic() + 20
        while not os.path.exists(svg) and time.monotonic() < limit:
            time.sleep(0.01)
        os.unlink(svg)
        self.finish_load(load)
        self.assertEqual(server.end()[0], 0)
        text = xml.dom.minidom.parse(svg).documentElement
        words = " ".join(node.firstChild.data for node in text.getElementsByTagName("text"))
        self.assertIn("0x000100000000", words)
        self.assertIn("2 regions, 128 MiB of memory", words)
        self.assertNotIn("unknown", words)

    def test_map_that_cannot_be_written(self):
        server = self.serve("--map", "/nonexistent/map.svg", image=self.image(64 * MIB))
        self.load("check")
        self.assertEqual(server.end()[0], 0)
        self.assertIn("/nonexistent/map.svg: can't be written", server.said())


def is_missing():
    """Where there is no io_uring, there is nothing to test."""
    done = subprocess.run([TOOL, "blk", "--socket", "/nonexistent/s", __file__], capture_output=True, text=True, timeout=30)
    return "io_uring" in done.stderr


if __name__ == "__main__":
    if is_missing():
        print("skipped: this host has no io_uring to offer", file=sys.stderr)
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
