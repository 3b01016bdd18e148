#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""guestmem plan: what it says of good machines, and the exit status and sentence for each kind of bad one.

Usage: test_tool_plan.py TOOL EXAMPLES
"""
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

TOOL, EXAMPLES = sys.argv[1:3]
GIB = 1 << 30

GOOD = {
    "layout": "x86-64-pc",
    "physical_bits": 40,
    "nodes": [{"bytes": "1G", "vcpus": [0, 1]}],
    "regions": [{"name": "uart", "kind": "device", "first": "0xfe000000", "bytes": 4096}],
    "hotplug": [{"name": "dimm0", "first": "0x100000000", "bytes": "256M", "node": 0}],
}


def guestmem(*args, env=None):
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    return subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=60, env=environment)


class Base(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, text):
        with open(self.path("vm.json"), "w") as file:
            file.write(text)
        return self.path("vm.json")

    def plan(self, machine):
        """The plan of a machine that has to be good."""
        ran = guestmem("plan", self.write(json.dumps(machine)), "--json")
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        return json.loads(ran.stdout)

    def refused(self, machine, *sentence, status=2):
        """A machine, or a text, that has to be refused in one line with each of these words in it."""
        text = machine if isinstance(machine, str) else json.dumps(machine)
        ran = guestmem("plan", self.write(text))
        self.assertEqual(ran.returncode, status, ran.stderr)
        self.assertEqual(ran.stdout, "")
        self.assertTrue(ran.stderr.startswith("guestmem: "), ran.stderr)
        self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)
        for words in sentence:
            self.assertIn(words, ran.stderr)

    def changed(self, **changes):
        machine = copy.deepcopy(GOOD)
        machine.update(changes)
        return machine

    def with_region(self, **region):
        machine = copy.deepcopy(GOOD)
        machine["regions"].append({"name": "extra", "kind": "device", "first": "0xd0000000", "bytes": 4096, **region})
        return machine


class Shows(Base):
    def test_example_pc(self):
        ran = guestmem("plan", os.path.join(EXAMPLES, "pc-two-nodes.json"), "--json")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        plan = json.loads(ran.stdout)
        ram = [r for r in plan["regions"] if r["kind"] == "ram" and not r["hotplug"]]
        self.assertEqual([(r["name"], r["first"], r["bytes"], r["node"]) for r in ram], [
            ("ram0", "0x0", 3 * GIB, 0), ("ram1", "0x100000000", GIB, 0), ("ram2", "0x140000000", 2 * GIB, 1)])
        self.assertEqual(plan["memory_bytes"], 6 * GIB)
        self.assertEqual(plan["hotplug_bytes"], 2 * GIB)
        self.assertEqual(plan["nodes"][0]["regions"], ["ram0", "ram1"])
        self.assertEqual(plan["nodes"][1]["vcpus"], [4, 5, 6, 7])
        self.assertEqual([h["name"] for h in plan["holes"]], ["pci"])
        self.assertEqual({g.get("hole") for g in plan["gaps"]}, {"pci", None})

    def test_pieces_and_gaps_cover_everything_once(self):
        for name in sorted(os.listdir(EXAMPLES)):
            with self.subTest(name):
                ran = guestmem("plan", os.path.join(EXAMPLES, name), "--json")
                self.assertEqual(ran.returncode, 0, ran.stderr)
                plan = json.loads(ran.stdout)
                ranges = sorted((int(r["first"], 16), int(r["last"], 16)) for r in plan["regions"] + plan["gaps"])
                self.assertEqual(ranges[0][0], 0)
                self.assertEqual(ranges[-1][1], int(plan["physical"]["last"], 16))
                for before, after in zip(ranges, ranges[1:]):
                    self.assertEqual(before[1] + 1, after[0])

    def test_top_of_address_space(self):
        plan = self.plan({"layout": "open", "regions": [
            {"name": "all", "kind": "reserved", "first": 0, "bytes": "0xffffffffffffffff"},
            {"name": "top", "kind": "device", "first": "0xffffffffffffffff", "bytes": 1}]})
        self.assertEqual(plan["regions"][1]["last"], "0xffffffffffffffff")
        self.assertEqual(plan["gaps"], [])

    def test_picture_and_table(self):
        ran = guestmem("plan", self.write(json.dumps(GOOD)))
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        for words in ("FIRST", "ram0", "dimm0", "hot-plug slot", "1 GiB", "0x00fe000000", 'hole "pci"', "\u2500"):
            self.assertIn(words, ran.stdout)
        self.assertNotIn("\033", ran.stdout)
        plain = guestmem("plan", self.path("vm.json"), env={"LC_ALL": "C"})
        self.assertTrue(plain.stdout.isascii())

    def test_color(self):
        path = self.write(json.dumps(GOOD))
        self.assertIn("\033[", guestmem("plan", path, "--color=always").stdout)
        self.assertIn("\033[", guestmem("plan", path, "--color=always", env={"NO_COLOR": "1"}).stdout)
        self.assertNotIn("\033[", guestmem("plan", path, "--color=never").stdout)
        self.assertEqual(guestmem("plan", path, "--color=blue").returncode, 2)

    def test_many_regions_are_folded_in_the_picture_only(self):
        machine = {"layout": "open", "regions": [
            {"name": "r%d" % i, "kind": "ram", "first": i << 14, "bytes": "16K"} for i in range(500)]}
        ran = guestmem("plan", self.write(json.dumps(machine)))
        self.assertIn("r0 ... r499 (500)", ran.stdout)
        self.assertEqual(ran.stdout.count(" rw- "), 500)

    def test_svg(self):
        machine = self.changed(name="a <b> & \"c\"")
        ran = guestmem("plan", self.write(json.dumps(machine)), "--svg", self.path("map.svg"))
        self.assertEqual(ran.returncode, 0, ran.stderr)
        svg = xml.dom.minidom.parse(self.path("map.svg"))
        texts = [t.firstChild.data for t in svg.getElementsByTagName("text") if t.firstChild]
        for text in ("a <b> & \"c\"", "ram0", "dimm0", "uart", "node 0", "0x00fe000000"):
            self.assertIn(text, texts)

    def test_svg_that_can_not_be_written(self):
        path = self.write(json.dumps(GOOD))
        ran = guestmem("plan", path, "--svg", self.path("no/such.svg"))
        self.assertEqual(ran.returncode, 2)
        self.assertIn("no/such.svg: can't be written: No such file", ran.stderr)
        # By another name: what must not be removed here is this system's.
        os.symlink("/dev/full", self.path("full"))
        ran = guestmem("plan", path, "--svg", self.path("full"))
        self.assertEqual(ran.returncode, 3)
        self.assertIn("full: can't be written: No space left", ran.stderr)
        self.assertTrue(os.path.islink(self.path("full")))

    def test_svg_that_is_too_large(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        ran = subprocess.run([TOOL, "plan", self.write(json.dumps(GOOD)), "--svg", self.path("map.svg")],
                             capture_output=True, text=True, timeout=60, preexec_fn=limit)
        self.assertEqual(ran.returncode, 3)
        self.assertIn("map.svg: can't be written: File too large", ran.stderr)
        self.assertFalse(os.path.exists(self.path("map.svg")))

    def test_control_characters_do_not_reach_the_terminal(self):
        self.refused(self.changed(layout="\u001b[31mred"), "?[31mred")


    def test_sums_and_sizes_that_are_none_or_all(self):
        none = self.plan({"layout": "open", "regions": [{"name": "d", "kind": "device", "first": 0, "bytes": 1}]})
        self.assertEqual((none["memory_bytes"], none["hotplug_bytes"]), (0, 0))
        half = {"kind": "ram", "bytes": "8E"}
        all_ = self.plan({"layout": "open", "regions": [
            {"name": "low", "first": 0, **half}, {"name": "high", "first": "8E", **half}]})
        self.assertEqual(all_["memory_bytes"], "0x10000000000000000")
        large = self.plan({"layout": "open", "nodes": [{"bytes": "9E"}],
                           "hotplug": [{"name": "s", "first": "12E", "bytes": "3E"}]})
        self.assertEqual((large["nodes"][0]["bytes"], large["hotplug_bytes"]), (hex(9 << 60), hex(3 << 60)))

    def test_nodes_without_memory(self):
        plan = self.plan({"layout": "open", "nodes": [{"bytes": 0, "host": 0, "vcpus": [1]}],
                          "regions": [{"name": "r", "kind": "ram", "first": 0, "bytes": 4096, "node": 0}]})
        self.assertEqual((plan["nodes"][0]["regions"], plan["regions"][0]["host_node"]), ([], 0))
        self.assertEqual(plan["memory_bytes"], 4096)

    def test_slots_may_differ_from_memory(self):
        def slot(memory, **more):
            return self.plan(self.changed(memory=memory, hotplug=[
                {"name": "s", "first": "0x100000000", "bytes": "256M", **more}]))["regions"][-1]
        self.assertTrue(slot({"prealloc": True})["prealloc"])
        self.assertFalse(slot({"prealloc": True}, prealloc=False)["prealloc"])
        pool = slot({"huge": "transparent"}, source="hugememfd", huge_bytes="2M")
        self.assertEqual((pool["huge"], pool["huge_bytes"]), ("default", 2 << 20))
        self.assertNotIn("huge_bytes", slot({"source": "hugememfd", "huge_bytes": "2M"}, source="memfd"))

    def test_title(self):
        self.assertEqual(self.plan(self.changed(name="caf\u00e9.json"))["name"], "caf??.json")
        self.assertEqual(self.plan(GOOD)["name"], "vm")


class File(Base):
    def region(self, **more):
        return self.with_region(**{"kind": "firmware", "path": "rom.bin", "first": "0xffff0000", **more})

    def rom(self, size):
        with open(self.path("rom.bin"), "wb") as file:
            file.truncate(size)

    def region_without_bytes(self):
        machine = self.region()
        del machine["regions"][1]["bytes"]
        return machine

    def test_size_of_the_file(self):
        self.rom(0x10000)
        region = next(r for r in self.plan(self.region_without_bytes())["regions"] if r["name"] == "extra")
        self.assertEqual((region["bytes"], region["source"], region["cow"]), (0x10000, "file", True))

    def test_missing(self):
        self.refused(self.region(), "regions[1].path: file", "rom.bin: No such file or directory")

    def test_short(self):
        self.rom(4096)
        self.refused(self.region(bytes="8K"), "has 0x1000 bytes, too few for 0x2000")
        self.refused(self.region(offset="0xfffffffffffff000"), "too few")

    def test_not_a_file(self):
        os.mkdir(self.path("rom.bin"))
        self.refused(self.region(), "is not a regular file")

    def test_odd_size(self):
        self.rom(5000)
        self.refused(self.region_without_bytes(), "not a multiple of 4 KiB")

    def test_unaligned_without_a_size(self):
        self.rom(0x10000)
        machine = self.region_without_bytes()
        machine["regions"][1]["first"] = "0xffff0800"
        self.refused(machine, "regions[1].first: 0xffff0800 is not a multiple of 4 KiB")

    def test_offset_that_wraps(self):
        # Nothing has this many bytes, but a character device has no size that would say so.
        self.refused(self.region(path="/dev/zero", offset="0xfffffffffffff000", bytes="8K"), "regions[1].offset", "pass 2^64")

    def test_passes_the_end(self):
        self.rom(0x20000)
        machine = self.region_without_bytes()
        machine["layout"] = "open"
        del machine["physical_bits"]
        machine["regions"][1]["first"] = "0xffffffffffff0000"
        self.refused(machine, "regions[1].path", "passes the end")


class Alias(Base):
    """Which regions may show the same bytes of one file."""

    def setUp(self):
        super().setUp()
        with open(self.path("disk.img"), "wb") as file:
            file.truncate(0x4000)

    def machine(self, *regions):
        return {"layout": "open", "regions": [
            {"name": "r%d" % i, "kind": "ram", "first": i << 20, "bytes": "8K", "path": "disk.img", **region}
            for i, region in enumerate(regions)]}

    def same_bytes(self, *regions):
        self.refused(self.machine(*regions), "regions[1]: shows bytes of ", "which 'r0' of regions[0] shows too", "alias")

    def test_same_bytes(self):
        self.same_bytes({}, {})
        self.same_bytes({}, {"offset": 4096})
        self.same_bytes({"bytes": "16K"}, {"offset": "12K", "bytes": "4K", "prot": "r"})
        self.same_bytes({"alias": False}, {"kind": "dax"})

    def test_whatever_the_file_is_called(self):
        os.link(self.path("disk.img"), self.path("hard.img"))
        os.symlink("disk.img", self.path("soft.img"))
        for name in ("hard.img", "soft.img", self.path("disk.img"), "./disk.img"):
            with self.subTest(name):
                self.same_bytes({}, {"path": name})

    def test_allowed_by_one_of_two(self):
        self.plan(self.machine({"alias": True}, {}))
        self.plan(self.machine({}, {"alias": True}))
        self.plan(self.machine({}, {"alias": True}, {"alias": True, "offset": 4096}))
        self.refused(self.machine({}, {}, {"alias": True}), "regions[1]: shows bytes")
        # The one that allows it does not hide the two beside it in the file that do not.
        self.refused(self.machine({"bytes": "12K"}, {"alias": True, "offset": 4096}, {"offset": "8K"}),
                     "regions[2]: shows bytes", "'r0' of regions[0]")

    def test_not_the_same_bytes(self):
        self.plan(self.machine({}, {"offset": "8K"}))
        self.plan(self.machine({}, {"cow": True}, {"kind": "firmware"}))
        with open(self.path("other.img"), "wb") as file:
            file.truncate(0x4000)
        self.plan(self.machine({}, {"path": "other.img"}))
        self.plan(self.machine({"path": "/dev/zero"}, {"path": "/dev/zero"}))


class Refuses(Base):
    def test_overlap(self):
        self.refused(self.with_region(first="0xfe000800"), "regions[1]", "device region 'extra' [0xfe000800, 0xfe0017ff]",
                     "overlaps device region 'uart' [0xfe000000, 0xfe000fff] of regions[0]")
        self.refused(self.with_region(kind="reserved", first="0x3ffff000", bytes="8K"), "overlaps ram region 'ram0'",
                     "nodes[0]")

    def test_wrap(self):
        self.refused(self.with_region(first="0xfffffffffffff000", bytes="8K"), "regions[1].bytes",
                     "pass the end of the address space")
        self.refused(self.with_region(bytes="0x1ffffffffffffffff"), "does not fit into 64 bits")
        self.refused(self.with_region(bytes="17179869184G"), "does not fit into 64 bits")
        self.refused(self.with_region(bytes=(1 << 64) + 4096), "above 2^53")

    def test_zero_size(self):
        self.refused(self.with_region(bytes=0), "regions[1].bytes: is 0")
        self.refused(self.with_region(bytes="0K"), "regions[1].bytes: is 0")

    def test_sizes_that_are_none(self):
        for bad in ("", "-1", " 1", "1.5G", "0x", "G", "1Gb", "1GG", "1e9", "+1"):
            with self.subTest(bad):
                self.refused(self.with_region(bytes=bad), "regions[1].bytes")
        self.refused(self.with_region(bytes=-1), "is negative")
        self.refused(self.with_region(bytes=1.5), "has to be a number or a string")
        self.refused(self.with_region(bytes=None), "is null")

    def test_outside_the_layout(self):
        self.refused(self.with_region(kind="ram", first="0xd0000000"), "regions[1]", "extra")
        self.refused(self.with_region(kind="device", first="0x10000000000"), "regions[1]", "extra")
        self.refused(self.changed(nodes=[{"bytes": "1024G"}]), "nodes: ")

    def test_unaligned(self):
        self.refused(self.with_region(kind="ram", first="0x100000800"), "regions[1].first", "not a multiple of 4 KiB")
        self.refused(self.with_region(kind="ram", first="0x120000000", bytes=5000), "regions[1].bytes", "not a multiple")
        self.refused(self.changed(nodes=[{"bytes": 5000}]), "nodes[0].bytes")

    def test_sources(self):
        self.refused(self.with_region(source="floppy"), "regions[1].source", "\"floppy\" is no source")
        for source in ("fd", "pointer", "callbacks"):
            self.refused(self.with_region(source=source), "is for programs")
        self.refused(self.with_region(source="memfd"), "a device region has no bytes")
        self.refused(self.with_region(kind="ram", source="none"), "a ram region needs bytes")
        self.refused(self.with_region(kind="ram", source="file"), "needs a path")
        self.refused(self.with_region(kind="ram", source="memfd", path="x"), "has no use for a path")
        self.refused(self.changed(memory={"source": "file"}), "memory.source")

    def test_huge_pages(self):
        self.refused(self.changed(memory={"source": "hugememfd", "huge": "never"}), "memory.huge: ", "not of transparent ones")
        self.refused(self.changed(memory={"source": "hugememfd", "huge_bytes": "4K"}), "memory.huge_bytes", "above 4K")
        self.refused(self.changed(memory={"huge_bytes": "2M"}), "memory.huge_bytes", "not made of huge pages")
        self.refused(self.with_region(huge="transparent"), "regions[1].huge: is for regions with bytes")
        self.refused(self.changed(memory={"source": "hugememfd", "huge_bytes": "2M"}, nodes=[{"bytes": "3M"}]),
                     "nodes[0]: its piece from 0x0 on has 0x300000 bytes, not a multiple")
        slot = {"name": "s", "first": "0x100000000", "bytes": "256M"}
        self.refused(self.changed(hotplug=[{**slot, "huge_bytes": "2M"}]), "hotplug[0].huge_bytes")
        self.refused(self.changed(memory={"source": "hugeanon"}, hotplug=[{**slot, "huge": "never"}]), "hotplug[0].huge: ")

    def test_alias_of_nothing(self):
        for source in ("anon", "hugeanon"):
            self.refused(self.with_region(kind="dax", first="4G", bytes="2M", source=source, alias=True), "regions[1].alias")

    def test_kinds_and_names(self):
        self.refused(self.with_region(kind="tape"), "regions[1].kind", "\"tape\" is none of")
        self.refused(self.with_region(name="uart"), "name 'uart' is that of regions[")
        self.refused(self.with_region(name="x" * 64), "longer than 63")
        self.refused(self.with_region(name="caf\u00e9"), "not printable ASCII")
        self.refused(self.with_region(name="a\0b"), "zero character")

    def test_absent_numa_node(self):
        nodes = [{"bytes": "1G", "host": 1023}]
        self.refused(self.changed(nodes=nodes, memory={"numa": "strict"}, hotplug=[]), "host NUMA node 1023", status=3)
        ran = guestmem("plan", self.write(json.dumps(self.changed(nodes=nodes))), "--json")
        self.assertEqual(ran.returncode, 0)
        self.assertIn("note: this host has no NUMA node 1023", ran.stderr)
        self.assertIn("1023", json.loads(ran.stdout)["note"])
        self.refused(self.changed(nodes=[{"bytes": "1G", "host": 1024}]), "nodes[0].host: is 1024; 0 to 1023")

    def test_nodes(self):
        two = [{"guest": 3, "bytes": "1G"}, {"guest": 3, "bytes": "1G"}]
        self.refused(self.changed(nodes=two, hotplug=[]), "nodes[1].guest: nodes[0] is guest node 3 already")
        twice = [{"bytes": "1G", "vcpus": [0]}, {"bytes": "1G", "vcpus": [0]}]
        self.refused(self.changed(nodes=twice, hotplug=[]), "nodes[1].vcpus[0]: vcpu 0 of node 1 is in node 0 already")
        self.refused(self.changed(nodes=[{"bytes": "1G", "vcpus": [0, "x"]}]), "nodes[0].vcpus[1]: has to be an integer")
        self.refused(self.with_region(node=7), "nodes has no guest node 7")

    def test_dirty_page(self):
        for bad in (1, "3K", "2K", "2G"):
            self.refused(self.changed(memory={"dirty_page": bad}), "memory.dirty_page")
        large = {"layout": "open", "regions": [{"name": "r", "kind": "ram", "first": 0, "bytes": "16T", "dirty_page": "4K"}]}
        self.plan(large)
        large["regions"][0]["bytes"] = (16 << 40) + 4096
        self.refused(large, "regions[0]: its dirty log would have too many pages")
        self.refused({"layout": "open", "nodes": [{"bytes": "17T"}], "memory": {"dirty_page": "4K"}}, "nodes[0]: the dirty log")

    def test_unknown_keys(self):
        self.refused(self.changed(lay_out=1), "lay_out: is not a key")
        self.refused(self.with_region(sise="4K"), "regions[1].sise: is not a key")
        self.refused(self.changed(memory={"sauce": "memfd"}), "memory.sauce: is not a key")

    def test_layouts(self):
        self.refused({"nodes": [{"bytes": "1G"}]}, "has no layout")
        self.refused(self.changed(layout="vax"), "\"vax\" is none of x86-64-pc, aarch64-virt, open")
        self.refused(self.changed(physical_bits=31), "physical_bits: is 31; 32 to 52")
        self.refused(self.changed(layout="open"), "physical_bits: the open layout has no bounds")
        self.refused({"layout": "open"}, "describes nothing")

    def test_line_and_column(self):
        self.refused('{\n\t"layout": "x86-64-pc",\n\t"regions": [\n\t\t{ "name": "a" ]\n}\n', "vm.json:4:17: is not JSON")
        self.refused('{\n  "layout": "open",\n  "regions": [ { "name": "a, b", "kind": "ram", "first": 0,\n'
                     '    "bytes": 0 } ]\n}\n', "vm.json:4:14: regions[0].bytes: is 0")
        self.refused('{ "layout": "open", "name": "caf\u00e9", "memory": 0 }', "vm.json:1:47: memory: has to be")
        self.refused('{ "layout": "open"', "vm.json:1:19: is not JSON: the text breaks off here")
        self.refused('{ "layout": "open" }}', "vm.json:1:21: is not JSON")
        self.refused('{ "a": 1,\n  "b": 2, "a": 3 }', "vm.json:2:11", "key \"a\" comes twice")

    def test_texts_that_are_no_description(self):
        self.refused("", "is not JSON")
        self.refused("null\n", "null is no description")
        self.refused("[]", "a description is an object")
        self.refused("{ \"layout\": 'open' }", "is not JSON")
        self.refused("[" * 100, "nests too deep")
        self.refused('{"layout": "open"}' + " " * (17 << 20), "larger than 16 MiB")

    def test_zero_characters(self):
        """Each of these is a good description to who stops at the zero."""
        self.refused(json.dumps(GOOD) + "\0garbage", "vm.json:1:%d: has a zero character" % (len(json.dumps(GOOD)) + 1))
        self.refused(self.with_region(bytes="4096\0junk"), "regions[1].bytes", "zero character")
        self.refused(self.with_region(**{"prot\0": "r"}), "zero character")
        self.refused(self.changed(**{"a\\u0000b\\\0": 1}), "zero character")
        self.refused('{"layout": "op\0en"}', "vm.json:1:12: has a zero character")
        self.plan(self.changed(name="a\\u0000b"))

    def test_a_repeated_key_is_not_searched_for_ever(self):
        text = "{" + ",".join('"%x":0' % i for i in range(1000000)) + ',"layout":0,"layout":0}'
        self.refused(text, "twice in one object")

    def test_no_such_description(self):
        ran = guestmem("plan", self.path("none.json"))
        self.assertEqual(ran.returncode, 2)
        self.assertIn("none.json: can't be opened: No such file", ran.stderr)
        self.assertIn("can't be read: Is a directory", guestmem("plan", self.directory).stderr)


class Usage(Base):
    def test_help_and_version(self):
        for args in (["--help"], ["-h"], ["plan", "--help"], ["plan", "-h"]):
            ran = guestmem(*args)
            self.assertEqual((ran.returncode, ran.stderr), (0, ""))
            self.assertIn("Usage: guestmem", ran.stdout)
        for command in ("plan", "run"):
            self.assertRegex(guestmem("--help").stdout, r"(?m)^  %s VM\.json " % command)
            self.assertIn("Usage: guestmem " + command, guestmem(command, "--help").stdout)
        self.assertRegex(guestmem("--version").stdout, r"^guestmem \d+\.\d+")

    def test_no_command(self):
        ran = guestmem()
        self.assertEqual((ran.returncode, ran.stdout), (2, ""))
        self.assertIn("Usage: guestmem", ran.stderr)

    def test_bad_usage(self):
        for args in (["fly"], ["plan"], ["plan", "a", "b"], ["plan", "--fly", "a"], ["plan", "a", "--svg"]):
            with self.subTest(args):
                ran = guestmem(*args)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertTrue(ran.stderr.startswith("guestmem: "))
                self.assertEqual(ran.stderr.count("\n"), 1)

    def test_bad_letters(self):
        for args in (["-xy"], ["--json", "-xy"], ["-x"]):
            self.assertIn("option '-x' is not known", guestmem("plan", *args, "a").stderr)
        self.assertIn("option '--json=3' is not", guestmem("plan", "--json=3", "-xy", "a").stderr)

    def test_closed_output(self):
        path = os.path.join(EXAMPLES, "pc-two-nodes.json")
        ran = subprocess.run(["sh", "-c", 'exec "$0" plan "$1" <&- >&-', TOOL, path], stderr=subprocess.PIPE, text=True)
        self.assertEqual(ran.returncode, 3)
        self.assertIn("can't be written", ran.stderr)

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            ran = subprocess.run([TOOL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(ran.returncode, 3)
        self.assertIn("can't be written", ran.stderr)


unittest.main(argv=sys.argv[:1])
