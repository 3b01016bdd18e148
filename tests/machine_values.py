#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
The words of the model in machine_model.py: the classes of reasons for which a description is refused, the layouts, and the values
that the members of its objects may have. Written from docs/machine.md and include/guestmem/layout.h.
"""
import re
import string

PAGE = 4096
LAST = (1 << 64) - 1
MIB, GIB = 1 << 20, 1 << 30
PIECE_MIN = 128 * MIB
KINDS = ("ram", "firmware", "device", "dax", "reserved")
SOURCES = {"none": "none", "anon": "anon", "mmap": "anon", "hugeanon": "hugeanon", "hugemmap": "hugeanon", "memfd": "memfd",
           "shmem": "memfd", "hugememfd": "hugememfd", "hugeshmem": "hugememfd", "hugetlbfs": "hugetlbfs", "file": "file",
           "fd": None, "pointer": None, "callbacks": None}
FROM_POOL = ("hugeanon", "hugememfd", "hugetlbfs")
HUGE = ("default", "transparent", "never")
PROTS = {"r": "r--", "rw": "rw-", "rx": "r-x", "rwx": "rwx"}
NODE_NUMBERS, VCPU_NUMBERS = 1024, 4096
DIRTY_PAGES_MAX = 1 << 32

# What a sentence has to say for each class of reasons.
SENTENCES = {
    "overlap": r"overlaps",
    "wrap": r"pass(es)? the end of the address space|pass 2\^64",
    "layout": r"reaches (outside|above|into hole)|lies neither",
    "room": r"do not fit into what the layout leaves for memory",
    "zero": r"is 0; the smallest",
    "large": r"does not fit into 64 bits",
    "rounded": r"is above 2\^53",
    "number": r"is not a number|is negative",
    "type": r"has to be ",
    "null": r"is null",
    "align": r"not a multiple of",
    "missing": r"has no (name|kind|first address|size in bytes|layout)",
    "key": r"is not a key that is known",
    "choice": r"is none of |is no source",
    "program": r"is for programs",
    "text": r"is empty|longer than 63|not printable ASCII|zero character",
    "twice": r"is that of \S+ already",
    "range": r"are possible",
    "source": r"needs (a|the) path|no use for a path|has no bytes|needs bytes|not made of huge|made of huge pages of the pool"
              r"|has no offset|can't be what|for regions with bytes|copy-on-write|no bytes of a file",
    "page": r"has to be a power of two",
    "pages": r"would have too many pages",
    "bits": r"the open layout has no bounds",
    "node": r"nodes has no guest node|is guest node \d+ already",
    "vcpu": r"is in node \d+ already",
    "file": r"No such file|not a regular file|too few",
    "alias": r"one of them has to say that it is an alias",
    "host": r"which this host does not have",
    "nothing": r"describes nothing",
}


class Layout:
    """Where what may stand: include/guestmem/layout.h."""

    def __init__(self, name, bits, host_bits):
        self.name, self.holes = name, []
        if name == "open":
            self.bits, self.physical, self.memory, self.device, self.usable = 64, (0, LAST), (0, LAST), (0, LAST), LAST
            return
        self.bits = bits or host_bits
        self.physical = (0, (1 << self.bits) - 1)
        self.memory = (0, (1 << (self.bits - 1)) - 1)
        self.device = (1 << (self.bits - 1), (1 << self.bits) - 1)
        self.usable = (1 << host_bits) - 1
        if name == "aarch64-virt":
            self.holes = [("devices", 0, GIB - 1)]
        elif self.bits == 32:
            self.memory, self.device = (0, 3 * GIB - 1), (3 * GIB, 4 * GIB - 1)
        else:
            self.holes = [("pci", 3 * GIB, 4 * GIB - 1)]

    def admits(self, kind, first, last):
        def inside(bounds):
            return bounds[0] <= first and last <= bounds[1]
        ram = inside(self.memory) and last <= self.usable and all(last < low or first > high for _, low, high in self.holes)
        device = inside(self.device) or any(inside(hole[1:]) for hole in self.holes)
        return {"ram": ram, "device": device, "dax": ram or (device and last <= self.usable),
                "firmware": inside(self.physical), "reserved": inside(self.physical)}[kind]

    def place(self, sizes):
        """The pieces of each size, one list each; None when there is no room."""
        room, low = [], self.memory[0]
        end = min(self.memory[1], self.usable) + 1
        for _, first, last in self.holes + [(None, end, end)]:
            if low < min(first, end):
                room.append((low, min(first, end)))
            low = last + 1
        placed, at = [], room[0][0] if room else 0
        for size in sizes:
            pieces = []
            while size:
                if not room:
                    return None
                here = min(size, room[0][1] - at)
                if here == size or here >= PIECE_MIN:
                    pieces.append((at, at + here - 1))
                    at += here
                    size -= here
                if size or at == room[0][1]:
                    room.pop(0)
                    at = room[0][0] if room else 0
            placed.append(pieces)
        return placed


class Refusals(list):
    """(class, path of the value, words that the sentence has to have)."""

    def add(self, why, where, *words):
        assert why in SENTENCES, why
        self.append((why, where, words))


class Place:
    """One object of the description. Getters return None for what is absent or wrong; what is wrong is noted."""

    def __init__(self, members, path, no):
        self.members, self.path, self.no = members, path, no

    def where(self, key):
        return self.path + "." + key if self.path else key

    def only(self, *keys):
        for key in self.members:
            if key not in keys:
                self.no.add("key", self.where(key))

    def get(self, key, types, missing=False):
        value = self.members.get(key)
        if key not in self.members:
            if missing:
                self.no.add("missing", self.path)
        elif value is None:
            self.no.add("null", self.where(key))
        elif not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            self.no.add("type", self.where(key))
            value = None
        return value

    def bytes(self, key, missing=False):
        value = self.get(key, (int, str), missing)
        if isinstance(value, int):
            if 0 <= value <= 1 << 53:
                return value
            self.no.add("number" if value < 0 else "rounded", self.where(key))
        if isinstance(value, str):
            match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)(([KMGTPE])(iB)?)?", value)
            if not match:
                self.no.add("number", self.where(key))
                return None
            digits = match[1]
            number = int(digits, 16 if digits[1:2] in "xX" and len(digits) > 1 else 10) << \
                (10 * (1 + "KMGTPE".index(match[3])) if match[3] else 0)
            if number <= LAST:
                return number
            self.no.add("large", self.where(key))
        return None

    def text(self, key, missing=False):
        value = self.get(key, str, missing)
        if value == "" or (value and "\0" in value):
            self.no.add("text", self.where(key))
            return None
        return value

    def choice(self, key, choices, missing=False):
        value = self.text(key, missing)
        if value is not None and value not in choices:
            self.no.add("choice", self.where(key))
            return None
        return value

    def integer(self, key, low, high):
        value = self.get(key, int)
        if value is not None and not low <= value <= high:
            self.no.add("range", self.where(key))
            return None
        return value

    def array(self, key):
        return self.get(key, list) or []

    def name(self):
        value = self.text("name", True)
        if value is not None and (len(value) > 63 or any(c not in string.printable or not " " <= c <= "~" for c in value)):
            self.no.add("text", self.where("name"))
            return None
        return value

    def source(self):
        value = self.choice("source", SOURCES)
        if value is not None and SOURCES[value] is None:
            self.no.add("program", self.where("source"))
            return None
        return SOURCES.get(value)

    def huge_bytes(self):
        value = self.bytes("huge_bytes")
        if value and (value & (value - 1) or value <= PAGE):
            self.no.add("page", self.where("huge_bytes"))
            return None
        return value

    def dirty_page(self):
        value = self.bytes("dirty_page")
        if value and (value & (value - 1) or not PAGE <= value <= GIB):
            self.no.add("page", self.where("dirty_page"))
            return None
        return value

    def range(self, entry, bytes_needed):
        """first and bytes of an entry whose source is known."""
        first, size = self.bytes("first", True), self.bytes("bytes", bytes_needed)
        if size == 0:
            self.no.add("zero", self.where("bytes"))
            size = None
        if entry["source"] is None:
            return
        has_bytes = entry["source"] != "none"
        unit = max(PAGE, entry.get("huge_bytes") or 0) if has_bytes else 1
        if first is not None and has_bytes and first % PAGE:
            self.no.add("align", self.where("first"))
        if size is not None and size % unit:
            self.no.add("align", self.where("bytes"))
        if first is not None and size is not None and first + size - 1 > LAST:
            self.no.add("wrap", self.where("bytes"))
            size = None
        if size is not None and entry["source"] == "file" and entry["offset"] + size - 1 > LAST:
            self.no.add("wrap", self.where("offset"))
        entry["first"], entry["bytes"] = first, size
        log = entry.get("dirty_page")
        if log and size and (size + log - 1) // log > DIRTY_PAGES_MAX:
            self.no.add("pages", self.path)
