#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
guestmem plan against a model: random machine descriptions, about half of them good. What is good has to be shown exactly as the
model shows it; what is not has to be refused for one of the model's reasons, at the value that it is about, in words that say so.

Usage: test_tool_random.py TOOL COUNT [INDEX]
Description number INDEX of a run is the same in all runs; with INDEX only that one is made, and shown.
"""
import collections
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import machine_model
import machine_values as values

TOOL, COUNT = sys.argv[1], int(sys.argv[2])
SEED = 20240917
CHUNK = 250
WORKERS = 2
PAGE, MIB, GIB, LAST = values.PAGE, values.MIB, values.GIB, values.LAST
FILES = {"rom": 64 << 10, "disk": 1 << 20, "odd": 5000, "empty": 0}
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}


class Good:
    """Makes a description that ought to be good: whether it is, the model says."""

    def __init__(self, rng, host_bits):
        self.rng, self.taken, self.names = rng, [], 0
        self.machine = {"layout": rng.choice(("x86-64-pc", "x86-64-pc", "aarch64-virt", "open"))}
        bits = rng.choice((None, 32, 33, 36, 40, 46, 48, 52)) if self.machine["layout"] != "open" else None
        if bits:
            self.machine["physical_bits"] = bits
        self.layout = values.Layout(self.machine["layout"], bits, host_bits)
        if rng.random() < 0.2:
            self.machine["name"] = rng.choice(("guest", "vm.json", "a \"b\" <c>", "x" * 63))
        self.memory()
        self.nodes()
        for key, make, most in (("regions", self.region, 6), ("hotplug", self.slot, 4)):
            if rng.random() < 0.8:
                self.machine[key] = [e for e in (make() for _ in range(rng.randrange(most + 1))) if e]
        if not self.taken:
            self.machine["regions"] = [{"name": "only", "kind": "reserved", "first": 0, "bytes": 1}]

    def spell(self, number):
        ways = ['"%d"' % number, '"0x%x"' % number, '"0X%X"' % number]
        if number <= 1 << 53:
            ways += [str(number)] * 2
        for i, unit in enumerate("KMGTPE"):
            if number and number % (1 << (10 * (i + 1))) == 0:
                ways += ['"%d%s"' % (number >> (10 * (i + 1)), end) for end in (unit, unit + "iB")]
        return json.loads(self.rng.choice(ways))

    def maybe(self, entry, key, *values):
        if self.rng.random() < 0.15:
            entry[key] = self.rng.choice(values)

    def log(self, entry, size):
        """The page of a dirty log that a region of this size can have."""
        if self.rng.random() < 0.15:
            page = self.rng.choice((0, 4096, 1 << 16, 1 << 21, 1 << 30))
            entry["dirty_page"] = self.spell(page if page and size // page < 1 << 31 else 0)

    def memory(self):
        self.defaults = {}
        if self.rng.random() < 0.4:
            return
        memory = self.machine["memory"] = self.defaults
        self.maybe(memory, "source", "memfd", "shmem", "anon", "mmap", "hugememfd", "hugeshmem", "hugeanon", "hugetlbfs")
        source = values.SOURCES[memory.get("source", "memfd")]
        if source == "hugetlbfs":
            memory["path"] = self.rng.choice(("huge/vm", "/dev/hugepages/vm"))
        if source in values.FROM_POOL:
            self.maybe(memory, "huge_bytes", "2M", "64K", 2097152)
        else:
            self.maybe(memory, "huge", *values.HUGE)
        self.maybe(memory, "prealloc", True, False)
        self.maybe(memory, "dontdump", True, False)
        self.maybe(memory, "numa", "prefer", "strict")
        if self.machine["layout"] != "open":
            self.log(memory, 1 << 40)

    def unit(self):
        """What sizes have to be multiples of so that they fit huge pages where there are some."""
        return 2 * MIB if "huge_bytes" in self.defaults else PAGE

    def nodes(self):
        rng, nodes, sizes, vcpu = self.rng, [], [], 0
        for i in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
            bytes_ = rng.choice((0, 1 << 12, 127 * MIB, 128 * MIB, GIB, 2 * GIB, 3 * GIB - PAGE, 3 * GIB, 3 * GIB + PAGE,
                                 3 * GIB - 127 * MIB, 3 * GIB - 128 * MIB, 3 * GIB + 64 * MIB, 5 * GIB,
                                 rng.randrange(1 << 22) << 12, 1 << 37, (1 << 62) + PAGE))
            bytes_ -= bytes_ % self.unit()
            if self.layout.place(sizes + [bytes_]) is None:
                continue
            sizes.append(bytes_)
            node = {"bytes": self.spell(bytes_)}
            if rng.random() < 0.5:
                node["guest"] = i if rng.random() < 0.7 else 100 + i * 7
            self.maybe(node, "host", 0, 0, 0, 700)
            if rng.random() < 0.5:
                count = rng.randrange(4)
                node["vcpus"] = [vcpu + k for k in range(count)]
                vcpu += count
            nodes.append(node)
        self.guests = [node.get("guest", i) for i, node in enumerate(nodes)]
        # One that is left out may be what another one says.
        if len(set(self.guests)) < len(self.guests):
            for node in nodes:
                node.pop("guest", None)
            self.guests = list(range(len(nodes)))
        if nodes or rng.random() < 0.1:
            self.machine["nodes"] = nodes
        self.taken += [piece for pieces in self.layout.place(sizes) for piece in pieces]

    def borders(self):
        layout = self.layout
        return [0, layout.memory[0], layout.memory[1] + 1, layout.device[0], layout.usable + 1, layout.physical[1] + 1] + \
            [at for _, first, last in layout.holes for at in (first, last + 1)]

    def address(self):
        """First addresses where something interesting ends or begins, or anywhere."""
        rng = self.rng
        borders = self.borders()
        borders += [at for first, last in self.taken for at in (first, last + 1)] * 2
        borders += [rng.randrange(self.layout.physical[1] + 1) for _ in range(2)]
        return rng.choice(borders)

    def size(self):
        rng = self.rng
        return rng.choice((1, 2, 16, PAGE, 2 * PAGE, MIB, 2 * MIB, 256 * MIB, GIB, 4 * GIB, rng.randrange(1, 1 << 20) << 12,
                           1 << rng.randrange(12, 63)))

    def find(self, kind, unit, align, size=None):
        """A place for a region of that kind beside all that is taken, or None."""
        for _ in range(12):
            at, here = self.address(), size or self.size()
            here = max(unit, here - here % unit)
            # In front of a border, or behind it.
            first = at - here if self.rng.random() < 0.4 else at
            first -= first % align
            last = first + here - 1
            if first < 0 or last > LAST or not self.layout.admits(kind, first, last):
                continue
            if all(last < low or first > high for low, high in self.taken):
                self.taken.append((first, last))
                return first, here
        return None

    def name(self):
        self.names += 1
        return self.rng.choice(("r%d", "pci %d", "~%d~", "%d" + "n" * 60)) % self.names

    def common(self, entry, pool):
        if pool:
            self.maybe(entry, "huge_bytes", "2M")
            self.maybe(entry, "huge", "default")
        else:
            self.maybe(entry, "huge", *values.HUGE)
        self.maybe(entry, "prealloc", True, False)
        if self.guests and self.rng.random() < 0.4:
            entry["node"] = self.rng.choice(self.guests)

    def region(self):
        rng = self.rng
        kind = rng.choice(values.KINDS)
        entry = {"name": self.name(), "kind": kind}
        if kind in ("device", "reserved"):
            found = self.find(kind, 1, 1)
            if found:
                entry.update(first=self.spell(found[0]), bytes=self.spell(found[1]))
            self.maybe(entry, "source", "none")
            if self.guests:
                self.maybe(entry, "node", *self.guests)
            return found and entry
        if rng.random() < 0.35:
            return self.file_region(entry)
        entry["source"] = rng.choice(("memfd", "anon", "mmap", "shmem", "hugeanon", "hugetlbfs", None))
        if entry["source"] is None:
            del entry["source"]
        if entry.get("source") == "hugetlbfs":
            entry["path"] = "huge/file"
        pool = entry.get("source") in values.FROM_POOL
        self.common(entry, pool)
        self.maybe(entry, "dontdump", True, False)
        if entry.get("source", "memfd") in ("memfd", "shmem") and kind != "dax":
            self.maybe(entry, "alias", True)
        self.maybe(entry, "cow", False)
        self.maybe(entry, "prot", *values.PROTS)
        found = self.find(kind, 2 * MIB if pool else PAGE, PAGE)
        if found:
            entry.update(first=self.spell(found[0]), bytes=self.spell(found[1]))
            self.log(entry, found[1])
        return found and entry

    def file_region(self, entry):
        rng = self.rng
        name, size = rng.choice((("rom", 64 << 10), ("disk", MIB), ("hard", MIB), ("soft", MIB), ("./disk", MIB)))
        offset = rng.choice((0, 0, rng.randrange(size // PAGE) * PAGE))
        rest = rng.choice((None, rng.randrange(1, (size - offset) // PAGE + 1) * PAGE))
        entry["path"] = name
        found = self.find(entry["kind"], PAGE, PAGE, rest or size - offset)
        if not found:
            return None
        entry["first"] = self.spell(found[0])
        if rest:
            entry["bytes"] = self.spell(rest)
        if offset or rng.random() < 0.1:
            entry["offset"] = self.spell(offset)
        if rng.random() < 0.8:
            entry[rng.choice(("alias", "cow"))] = True
        self.maybe(entry, "source", "file")
        self.common(entry, False)
        self.log(entry, MIB)
        return entry

    def slot(self):
        entry = {"name": self.name()}
        self.maybe(entry, "source", "memfd", "anon", "hugeanon")
        pool = values.SOURCES[entry.get("source", self.defaults.get("source", "memfd"))] in values.FROM_POOL
        self.common(entry, pool)
        found = self.find("ram", 2 * MIB if pool else PAGE, PAGE)
        if found:
            entry.update(first=self.spell(found[0]), bytes=self.spell(found[1]))
            self.log(entry, found[1])
        return found and entry


WRONG = (None, True, 1.5, -1, "", "x", " 1", "+1", "0x", "1.5G", "1GB", "12Q", [], {}, [1], "a\0b", "caf\u00e9", "y" * 64, 0, 1, 2047,
         PAGE, (1 << 53) + 1, 1 << 64, "0xffffffffffffffff", "0x10000000000000000", "18446744073709551616", "16E", "15E", "0xfffffffffffff000")
KEYS = ("first", "bytes", "kind", "name", "node", "source", "path", "offset", "prot", "cow", "alias", "huge", "huge_bytes",
        "prealloc", "dontdump", "dirty_page", "guest", "host", "vcpus", "layout", "memory", "numa", "sise", "Name", "hotplug")


class Spoiler:
    """Changes to a good description, most of which make it a bad one."""

    def __init__(self, rng, good):
        self.rng, self.good, self.machine = rng, good, good.machine

    def entries(self):
        return self.machine.get("regions", []) + self.machine.get("hotplug", [])

    def entry(self):
        entries = self.entries()
        if not entries:
            entries = self.machine["regions"] = [{"name": "new", "kind": "device", "first": 0, "bytes": 1}]
        return self.rng.choice(entries)

    def any_object(self):
        objects = [self.machine, self.machine.get("memory", {})] + self.machine.get("nodes", []) + self.entries() * 2
        return self.rng.choice([o for o in objects if isinstance(o, dict)])

    def overlap(self):
        if self.good.taken:
            first, last = self.rng.choice(self.good.taken)
            size = self.rng.choice((1, PAGE, 2 * PAGE, last - first + 1))
            at = self.rng.choice((first, last, max(first - size + 1, 0), max(first - size, 0), min(last + 1, LAST)))
            at -= at % self.rng.choice((1, PAGE))
            self.machine.setdefault("regions", []).append(
                {"name": "lap", "kind": self.rng.choice(values.KINDS), "first": hex(at), "bytes": hex(size)})

    def same_name(self):
        self.entry()["name"] = self.rng.choice([e["name"] for e in self.entries()] + ["ram0", "ram1"])

    def wrap(self):
        self.entry()["first"] = hex(LAST - self.rng.choice((0, 1, 15, PAGE - 1, 2 * PAGE - 1, GIB - 1)))

    def no_bytes(self):
        self.entry()["bytes"] = self.rng.choice((0, "0", "0K", "0x0"))

    def outside(self):
        self.entry()["first"] = hex(self.good.address() & LAST)

    def border(self):
        """Something small that ends, stands over, or begins where the layout's rules change, with nothing in its way."""
        if self.rng.random() < 0.5:
            for key in ("nodes", "regions", "hotplug"):
                self.machine.pop(key, None)
        size = self.rng.choice((PAGE, 2 * PAGE, MIB))
        first = self.rng.choice(self.good.borders()) - self.rng.choice((0, PAGE, size))
        self.machine.setdefault("regions", []).append(
            {"name": "edge", "kind": self.rng.choice(values.KINDS + ("ram", "dax")), "first": hex(max(first, 0)), "bytes": size})

    def pool(self):
        self.machine["memory"] = {"source": "hugememfd", "huge_bytes": self.rng.choice(("64K", "2M", "1G"))}

    def askew(self):
        entry = self.rng.choice((self.entry(), self.rng.choice(self.machine.get("nodes") or [{}])))
        entry[self.rng.choice(("first", "bytes", "bytes", "offset"))] = self.rng.choice((1, 512, PAGE - 1, PAGE + 1, "0x100000800"))

    def wrong_value(self):
        thing = self.any_object()
        thing[self.rng.choice(list(thing) or ["name"])] = self.rng.choice(WRONG)

    def odd_key(self):
        self.any_object()[self.rng.choice(KEYS)] = self.rng.choice(WRONG + (True, False, "memfd", "r", "transparent", "2M", "4K", 0))

    def drop_key(self):
        thing = self.any_object()
        if thing:
            del thing[self.rng.choice(list(thing))]

    def source(self):
        thing = self.rng.choice((self.entry(), self.machine.setdefault("memory", {})))
        thing["source"] = self.rng.choice(list(values.SOURCES) + ["floppy", "MEMFD"])

    def kind(self):
        self.entry()["kind"] = self.rng.choice(values.KINDS + ("tape",))

    def node(self):
        self.rng.choice((self.entry(), self.entry(), self.rng.choice(self.machine.get("nodes") or [{}])))[
            self.rng.choice(("node", "guest", "host"))] = self.rng.choice((0, 1, 2, 7, 1023, 1024, -1, "0"))

    def vcpu(self):
        if self.machine.get("nodes"):
            self.rng.choice(self.machine["nodes"]).setdefault("vcpus", []).extend(
                self.rng.choice(([0], [1, 1], [4095], [4096], [-1], ["0"], [None])))

    def much(self):
        self.machine.setdefault("nodes", []).append({"bytes": self.rng.choice(
            ("1E", "15E", hex(self.good.layout.usable & ~4095), "0xfffffffffffff000", "128T", 4096, 0)), "guest": 999})

    def file(self):
        # A slot has no use for a path; that is a mistake as well.
        self.entry().update(path=self.rng.choice(("none", "odd", "empty", "folder", "/dev/zero", "rom", "disk")))

    def alias(self):
        pair = [e for e in self.entries() if e.get("path") in ("disk", "hard", "soft", "./disk")]
        for entry in pair if self.rng.random() < 0.5 else ():
            entry.pop("cow", None)
            entry.pop("alias", None)
        # Two that share a page of the file, adjoin in it, or are apart.
        offset = self.rng.randrange(3) * values.PAGE
        for name in ("front", "back"):
            found = self.good.find("ram", values.PAGE, values.PAGE, 2 * values.PAGE)
            if found:
                self.machine.setdefault("regions", []).append(
                    {"name": name, "kind": "ram", "first": found[0] if found[0] < 1 << 53 else hex(found[0]), "bytes": "8K",
                     "path": self.rng.choice(("disk", "hard")), "offset": offset})
            offset += self.rng.choice((1, 2, 2, 3)) * values.PAGE

    def bits(self):
        self.machine["physical_bits"] = self.rng.choice((31, 32, 52, 53, 40.5, "40"))

    def log(self):
        self.rng.choice((self.entry(), self.machine.setdefault("memory", {})))["dirty_page"] = \
            self.rng.choice((1, "2K", "3K", "4K", "1G", "2G", 0))

    def long_log(self):
        self.machine.setdefault("regions", []).append(
            {"name": "long", "kind": "ram", "first": self.rng.choice(("0x1000000000000000", "256G", "1T")),
             "bytes": self.rng.choice(("16T", (16 << 40) + PAGE, "32T", "1E")), "dirty_page": self.rng.choice(("4K", "4K", "8K"))})

    def huge(self):
        thing = self.rng.choice((self.entry(), self.machine.setdefault("memory", {})))
        thing[self.rng.choice(("huge", "huge_bytes", "source"))] = self.rng.choice(("2M", "4K", "transparent", "hugememfd", 0))

    def cow(self):
        self.entry()[self.rng.choice(("cow", "alias", "prealloc", "dontdump"))] = True

    def list_of_what(self):
        key = self.rng.choice(("nodes", "regions", "hotplug", "memory"))
        self.machine[key] = self.rng.choice(({}, [], [1], "none", None, [{}], [None]))

    def layout(self):
        self.machine["layout"] = self.rng.choice(("x86-64-pc", "aarch64-virt", "open", "vax", "X86-64-PC"))

    def empty(self):
        for key in ("nodes", "regions", "hotplug"):
            if key in self.machine and self.rng.random() < 0.8:
                self.machine[key] = []

    def strict(self):
        self.machine.setdefault("memory", {})["numa"] = "strict"
        for node in self.machine.get("nodes", []):
            node["host"] = 900

    ALL = (border, border, border, pool, overlap, overlap, overlap, same_name, wrap, wrap, no_bytes, outside, outside, askew, askew, wrong_value, wrong_value,
           odd_key, odd_key, drop_key, source, kind, node, vcpu, much, file, alias, alias, bits, log, long_log, huge, cow, list_of_what, layout,
           empty, strict)


def describe(index, host_bits):
    """The description of that number, and the text that it is written as."""
    rng = random.Random(SEED * 1000003 + index)
    good = Good(rng, host_bits)
    if rng.random() < 0.62:
        spoiler = Spoiler(rng, good)
        for _ in range(rng.choice((1, 1, 1, 2))):
            try:
                rng.choice(Spoiler.ALL)(spoiler)
            except (AttributeError, KeyError, TypeError):
                pass  # spoiled beyond what the second one can change
    machine = good.machine
    return machine, json.dumps(machine, indent=rng.choice((None, "\t")), ensure_ascii=rng.random() < 0.5)


def value_at(machine, path):
    value = machine
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        value = value[key] if key else value[int(index)]
    return value


def disagreement(machine, text, host_bits, folder):
    """What is wrong with what the tool makes of a description, or None; and the class that it was refused for, or None."""
    with open(os.path.join(folder, "vm.json"), "w", encoding="utf-8") as file:
        file.write(text)
    reasons, plan, missing = machine_model.judge(machine, host_bits, folder)
    ran = subprocess.run([TOOL, "plan", os.path.join(folder, "vm.json"), "--json"], capture_output=True, encoding="utf-8", timeout=60,
                         env=ENVIRONMENT)
    if ran.returncode == 0:
        if reasons:
            return "accepted, and should be refused: %s" % reasons, None
        got = json.loads(ran.stdout)
        note = got.pop("note", "")
        if got != plan:
            keys = [key for key in plan if got.get(key) != plan[key]] + sorted(set(got) - set(plan))
            return "shown otherwise: " + "".join("\n  %s\n    is        %s\n    should be %s" %
                                                 (key, got.get(key), plan.get(key)) for key in keys), None
        if bool(missing) != bool(note) or (note and not any("'%s'" % e["name"] in note for e in missing)):
            return "note %r for %s" % (note, missing), None
        return None, None
    said = ran.stderr
    match = re.fullmatch(r"guestmem: %s:(\d+):(\d+): (?:([\w.\[\]-]+): )?([^\n]+)\n" %
                         re.escape(os.path.join(folder, "vm.json")), said)
    if not reasons or not match or ran.stdout:
        return "status %d, said %r; reasons: %s" % (ran.returncode, said, list(reasons)), None
    line, column, path, sentence = int(match[1]), int(match[2]), match[3] or "", match[4]
    fitting = [why for why, where, words in reasons
               if where == path and re.search(values.SENTENCES[why], sentence) and all(word in sentence for word in words)]
    if not fitting:
        return "said %r; reasons: %s" % (said, list(reasons)), None
    if ran.returncode != (3 if "host" in fitting else 2):
        return "status %d, said %r" % (ran.returncode, said), None
    begins = json.dumps(value_at(machine, path))[0]
    if text.split("\n")[line - 1][column - 1:column] != begins:
        return "said %r, where no value of %s begins" % (said, path), None
    return None, fitting[0]


def make_files(folder):
    for name, size in FILES.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.truncate(size)
    os.link(os.path.join(folder, "disk"), os.path.join(folder, "hard"))
    os.symlink("disk", os.path.join(folder, "soft"))
    os.mkdir(os.path.join(folder, "folder"))


def work(job):
    first, last, host_bits = job
    accepted, refused, found = 0, collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder)
        for index in range(first, last):
            machine, text = describe(index, host_bits)
            wrong, why = disagreement(machine, text, host_bits, folder)
            if wrong:
                found.append("description %d: %s\n%s" % (index, wrong, text))
            elif why:
                refused[why] += 1
            else:
                accepted += 1
    return accepted, refused, found


def host_bits_of_tool():
    """How wide the host's addresses are only the host can say."""
    ran = subprocess.run([TOOL, "plan", "/dev/stdin", "--json"], input='{"layout": "x86-64-pc", "nodes": [{"bytes": "1G"}]}',
                         capture_output=True, text=True, timeout=60, check=True)
    return (int(json.loads(ran.stdout)["usable_last"], 16) + 1).bit_length() - 1


def main():
    host_bits = host_bits_of_tool()
    first, last = (int(sys.argv[3]), int(sys.argv[3]) + 1) if len(sys.argv) > 3 else (0, COUNT)
    if len(sys.argv) > 3:
        print(describe(first, host_bits)[1])
    jobs = [(at, min(at + CHUNK, last), host_bits) for at in range(first, last, CHUNK)]
    accepted, refused, found = 0, collections.Counter(), []
    with multiprocessing.Pool(WORKERS) as pool:
        for a, r, f in pool.imap(work, jobs):
            accepted, refused, found = accepted + a, refused + r, found + f
    for text in found[:5]:
        print(text + "\n")
    if last - first > 1:
        # A generator that lost its variety would agree on everything.
        unseen = sorted(set(values.SENTENCES) - set(refused)) if last - first >= 10000 else []
        if unseen or not 0.4 < accepted / (last - first) < 0.6:
            found.append("lopsided")
            print("lopsided: %d of %d accepted; never refused for: %s" % (accepted, last - first, ", ".join(unseen)))
    print("%d descriptions: %d accepted, %d refused (%s), %d disagreements with the model" %
          (last - first, accepted, sum(refused.values()), ", ".join("%s %d" % pair for pair in refused.most_common()), len(found)))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
