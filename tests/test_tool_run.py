#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""guestmem run: small runs that have to be verified, and ones that must not be.

Usage: test_tool_run.py TOOL EXAMPLES
"""
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOOL, EXAMPLES = sys.argv[1:3]
PC = os.path.join(EXAMPLES, "pc-two-nodes.json")
FICLONE = 0x40049409  # linux/fs.h
KIB, MIB = 1 << 10, 1 << 20

# Small regions side by side, so that buffers cross borders, and two slots among them.
PATCHES = {
    "layout": "open",
    "regions": [{"name": "r%d" % i, "kind": "ram", "first": i * 256 * KIB, "bytes": "256K",
                 "dirty_page": "64K" if i % 3 == 0 else "4K"} for i in range(32) if i not in (7, 20)],
    "hotplug": [{"name": "s%d" % i, "first": i * 256 * KIB, "bytes": "256K"} for i in (7, 20)],
}


def links(directory):
    """What the links in a directory show; those that go meanwhile are left out."""
    for name in os.listdir(directory):
        try:
            yield os.readlink(os.path.join(directory, name))
        except FileNotFoundError:
            pass


class Base(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def image(self, size, name="disk.img"):
        with open(self.path(name), "wb") as file:
            file.write(os.urandom(size))
        return self.path(name)

    def machine(self, machine):
        with open(self.path("vm.json"), "w") as file:
            json.dump(machine, file)
        return self.path("vm.json")

    def digest(self, path):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def command(self, machine, *args):
        return [TOOL, "run", machine, *args]

    def run_tool(self, machine, *args):
        return subprocess.run(self.command(machine, *args), capture_output=True, text=True, timeout=110)

    def verified(self, machine, *args):
        ran = self.run_tool(machine, *args)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertRegex(ran.stdout, r"(?m)^verified in ")
        self.assertIn("every byte that was read equals the image", ran.stdout)
        self.assertRegex(ran.stdout, r"names exactly the [1-9]\d* pages written")
        return ran.stdout

    def refused(self, status, words, machine, *args):
        ran = self.run_tool(machine, *args)
        self.assertEqual(ran.returncode, status, ran.stderr)
        self.assertIn(words, ran.stderr)
        self.assertNotIn("verified in", ran.stdout)


class Verifies(Base):
    def test_odd_image_of_the_example(self):
        disk = self.image(8 * MIB + 1001)
        before = self.digest(disk)
        said = self.verified(PC, "--disk", disk, "--bytes", "64M", "--cycles", "10", "--spread", "64M")
        cycles, in_use = map(int, re.search(r"(\d+) cycles, (\d+) of them under requests", said).groups())
        self.assertGreaterEqual(cycles, 10)
        self.assertGreater(in_use, 0)
        self.assertRegex(said, r"[1-9]\d* buffers across region borders")
        self.assertEqual(self.digest(disk), before, "the image was touched")
        self.assertEqual(os.listdir(self.directory), ["disk.img"], "a file was left")

    def test_many_borders(self):
        said = self.verified(self.machine(PATCHES), "--disk", self.image(1 * MIB), "--bytes", "24M", "--cycles", "20")
        self.assertGreater(int(re.search(r"(\d+) buffers across", said).group(1)), 100)

    def test_images_of_all_sizes(self):
        for size in (1, 511, 512, 513, 4096, 5000, 70001):
            with self.subTest(size):
                self.verified(self.machine(PATCHES), "--disk", self.image(size), "--bytes", "256K", "--cycles", "2")

    def test_read_only(self):
        disk = self.image(MIB + 3)
        os.chmod(disk, 0o444)
        said = self.verified(PC, "--disk", disk, "--bytes", "16M", "--cycles", "3", "--read-only", "--spread", "32M")
        self.assertRegex(said, r"[1-9]\S* MiB read, 0 B written")

    def test_in_place(self):
        disk = self.image(MIB + 3)
        before = self.digest(disk)
        self.verified(PC, "--disk", disk, "--bytes", "16M", "--cycles", "3", "--in-place", "--spread", "32M")
        self.assertNotEqual(self.digest(disk), before)
        self.assertEqual(os.path.getsize(disk), MIB + 3)

    def test_closed_standard_files(self):
        """What would be printed must not end up in the image, which would get the numbers of these files."""
        disk = self.image(MIB)
        ran = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&-',
                              *self.command(PC, "--disk", disk, "--bytes", "16M", "--cycles", "3", "--in-place",
                                            "--spread", "32M")], stderr=subprocess.PIPE, text=True, timeout=110)
        self.assertEqual(ran.returncode, 3, ran.stderr)
        self.assertIn("the output can't be written", ran.stderr)
        self.assertEqual(os.path.getsize(disk), MIB)

    def test_without_slots_and_with_one_queue(self):
        machine = self.machine({"layout": "aarch64-virt", "physical_bits": 40, "nodes": [{"bytes": "64M"}]})
        said = self.verified(machine, "--disk", self.image(MIB), "--bytes", "8M", "--queues", "1", "--depth", "1")
        self.assertIn("0 cycles", said)

    def test_picture_and_svg(self):
        said = self.verified(self.machine(PATCHES), "--disk", self.image(MIB), "--bytes", "1M", "--cycles", "2", "--svg",
                             self.path("map.svg"))
        self.assertIn("r0", said)
        with open(self.path("map.svg")) as file:
            self.assertIn("hot-plug slot", file.read())


class Large(Base):
    def test_cells_of_a_large_machine(self):
        """What is kept of 8 TiB is as much as --spread says, and not all of it first."""
        # With this the C library writes to all that it gives.
        environment = {name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"}
        machine = self.machine({"layout": "open", "nodes": [{"bytes": "8T"}]})
        process = subprocess.Popen(self.command(machine, "--disk", self.image(MIB), "--bytes", "1M", "--spread", "16M"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        err = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.stderr.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == 3 and "Cannot allocate memory" in err:
            self.skipTest("no 8 TiB of addresses here: " + err)
        self.assertEqual(process.returncode, 0, err)
        self.assertLess(usage.ru_maxrss, 256 * KIB)


class Refuses(Base):
    def test_usage(self):
        disk = self.image(4096)
        for args in ([PC], [PC, PC, "--disk", disk], [PC, "--disk"], [PC, "--disk", disk, "--bytes", "much"],
                     [PC, "--disk", disk, "--queues", "0"], [PC, "--disk", disk, "--depth", "1000"],
                     [PC, "--disk", disk, "--in-place", "--read-only"], [PC, "--disk", disk, "--color=red"]):
            with self.subTest(args):
                ran = self.run_tool(*args)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertEqual(ran.stderr.count("\n"), 1)

    def test_disks(self):
        self.refused(2, "none.img can't be opened: No such file", PC, "--disk", self.path("none.img"))
        self.refused(2, "is neither a file nor a block device", PC, "--disk", self.directory)
        self.refused(2, "is neither a file nor a block device", PC, "--disk", "/dev/null")
        self.refused(2, "is empty", PC, "--disk", self.image(0))

    def test_machines(self):
        disk = self.image(4096)
        self.refused(2, "can't be opened", self.path("none.json"), "--disk", disk)
        none = self.machine({"layout": "open", "regions": [{"name": "d", "kind": "device", "first": 0, "bytes": 4096}]})
        self.refused(2, "no memory that a driver could use", none, "--disk", disk)
        small = self.machine({"layout": "open", "regions": [{"name": "r", "kind": "ram", "first": 0, "bytes": 8192}]})
        self.refused(2, "too little fixed memory", small, "--disk", disk)
        self.refused(2, "has no hotplug slots: --cycles has to be 0", small, "--disk", disk, "--cycles", "1")

    def test_memory_that_is_not_to_be_had(self):
        machine = self.machine({"layout": "open", "memory": {"source": "hugememfd", "huge_bytes": "1G", "prealloc": True},
                                "nodes": [{"bytes": "16384G"}]})
        ran = self.run_tool(machine, "--disk", self.image(4096))
        self.assertEqual(ran.returncode, 3, ran.stderr)
        self.assertTrue(ran.stderr.startswith("guestmem: "))

    def test_no_numa_node(self):
        machine = self.machine({"layout": "open", "memory": {"numa": "strict"}, "nodes": [{"bytes": "16M", "host": 999}]})
        self.refused(3, "host NUMA node 999", machine, "--disk", self.image(4096))


class Interrupted(Base):
    """What happens to the image, or to the run, while it goes on: the run would last for ever otherwise."""

    def start(self, *args):
        self.disk = self.image(4 * MIB)
        process = subprocess.Popen(self.command(PC, "--disk", self.disk, "--bytes", "1T", "--spread", "16M", *args),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        # The picture is there when the disk is in use.
        while "248 GiB free" not in process.stdout.readline():
            pass
        time.sleep(0.3)
        return process

    def ended(self, process, status, words):
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, status, err)
        self.assertIn(words, err)
        self.assertNotIn("verified in", out)

    def test_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start()
            process.send_signal(number)
            self.ended(process, 130, "guestmem: interrupted")

    def test_signal_while_the_image_is_copied(self):
        disk, clone = self.path("large.img"), self.path("clone.img")
        with open(disk, "wb") as file:
            for _ in range(512):
                file.write(b"x" * MIB)
        with open(disk, "rb") as file, open(clone, "wb") as copy:
            try:
                fcntl.ioctl(copy, FICLONE, file.fileno())
                self.skipTest("this filesystem clones: there is no copying to interrupt")
            except OSError:
                pass
        process = subprocess.Popen(self.command(PC, "--disk", disk, "--bytes", "1T", "--spread", "16M"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        # A file without a name (O_TMPFILE). Other deleted files may be seen before the tool runs: the fork's, as it is.
        while not any(re.search(r"/#\d+ \(deleted\)$", link) for link in links("/proc/%d/fd" % process.pid)):
            pass
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("guestmem: interrupted while %s was copied" % disk, err)

    def test_disk_vanishes(self):
        process = self.start()
        os.unlink(self.disk)
        self.ended(process, 1, "disk.img vanished during the run")

    def test_disk_is_replaced(self):
        process = self.start()
        os.rename(self.image(4 * MIB, "other.img"), self.disk)
        self.ended(process, 1, "replaced by another file")

    def test_disk_shrinks(self):
        # In place the device may have made it as long again before anyone looks: then it is the contents that are wrong.
        for args, words in (([], "during the run"), (["--read-only"], "during the run"), (["--in-place"], "guestmem: ")):
            with self.subTest(args):
                process = self.start(*args)
                os.truncate(self.disk, 12345)
                self.ended(process, 1, words)

    def test_disk_is_written_by_another(self):
        process = self.start("--read-only")
        with open(self.disk, "r+b") as file:
            file.truncate(4 * MIB + 1)
        self.ended(process, 1, "grew during the run")


unittest.main(argv=sys.argv[:1])
