#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
A slow and obvious model of machine descriptions, written from docs/machine.md and include/guestmem/layout.h.

judge() says either what "guestmem plan --json" has to print of a description, or all the reasons for which it may be refused: of
several mistakes the tool names one, and it is not the model's business which.
"""
import os
import stat

from machine_values import DIRTY_PAGES_MAX, FROM_POOL, HUGE, KINDS, NODE_NUMBERS, PAGE, LAST, PROTS, VCPU_NUMBERS, Layout, Place, \
    Refusals


def check_source(place, source, huge, path, huge_bytes):
    """What a source needs, and what it has no use for."""
    if source in ("file", "hugetlbfs") and not path:
        place.no.add("source", place.path)
    if source not in ("file", "hugetlbfs") and path:
        place.no.add("source", place.where("path"))
    if huge_bytes and source not in FROM_POOL:
        place.no.add("source", place.where("huge_bytes"))
    if huge not in (None, "default") and (source in FROM_POOL or source == "none"):
        place.no.add("source", place.where("huge"))


def judge_memory(place):
    place.only("source", "path", "huge", "huge_bytes", "prealloc", "dontdump", "dirty_page", "numa")
    before = len(place.no)
    memory = {"source": place.source() or "memfd", "path": place.text("path"), "huge": place.choice("huge", HUGE) or "default",
              "huge_bytes": place.huge_bytes(), "prealloc": place.get("prealloc", bool), "dirty_page": place.dirty_page(),
              "strict": place.choice("numa", ("prefer", "strict")) == "strict"}
    place.get("dontdump", bool)
    if memory["source"] in ("none", "file"):
        place.no.add("source", place.where("source"))
    elif len(place.no) == before:
        check_source(place, memory["source"], memory["huge"], memory["path"], memory["huge_bytes"])
    return memory


def judge_nodes(root, no):
    nodes, guests, vcpus = [], set(), {}
    for i, members in enumerate(root.array("nodes")):
        place = Place(members, "nodes[%d]" % i, no)
        if not isinstance(members, dict):
            no.add("type", place.path)
            continue
        place.only("guest", "host", "bytes", "vcpus")
        node = {"guest": place.integer("guest", 0, NODE_NUMBERS - 1), "host": place.integer("host", 0, NODE_NUMBERS - 1),
                "bytes": place.bytes("bytes", True), "vcpus": place.array("vcpus"), "where": place.path}
        if node["guest"] is None:
            node["guest"] = i
        if node["bytes"] and node["bytes"] % PAGE:
            no.add("align", place.where("bytes"))
        if node["guest"] in guests:
            no.add("node", place.where("guest"))
            # Left out, it is the node's place in the list.
            no.add("node", place.path)
        guests.add(node["guest"])
        for k, vcpu in enumerate(node["vcpus"]):
            path = "%s[%d]" % (place.where("vcpus"), k)
            if not isinstance(vcpu, int) or isinstance(vcpu, bool):
                no.add("type", path)
            elif not 0 <= vcpu < VCPU_NUMBERS:
                no.add("range", path)
            elif vcpu in vcpus:
                no.add("vcpu", path, "vcpu %d " % vcpu)
            else:
                vcpus[vcpu] = node["guest"]
        nodes.append(node)
    return nodes


def judge_node_of(place, nodes, entry):
    guest = place.integer("node", 0, NODE_NUMBERS - 1)
    if guest is None:
        return
    for node in nodes:
        if node["guest"] == guest:
            entry["node"], entry["host_node"] = guest, node["host"]
            return
    place.no.add("node", place.where("node"))


def judge_file(place, entry, folder):
    """The file behind a region, which settles a size that was left to it."""
    try:
        status = os.stat(os.path.join(folder, entry["path"]))
    except FileNotFoundError:
        return place.no.add("file", place.where("path"))
    size = entry["bytes"]
    rest = status.st_size - entry["offset"]
    zero = stat.S_ISCHR(status.st_mode)
    if not zero and not stat.S_ISREG(status.st_mode) or zero and "bytes" not in place.members:
        place.no.add("file", place.where("path"))
        entry["bytes"] = None
    elif "bytes" not in place.members:
        entry["bytes"] = rest
        if rest <= 0:
            place.no.add("file", place.where("path"))
        elif rest % PAGE:
            place.no.add("align", place.where("path"))
        elif entry["first"] is not None and entry["first"] + rest - 1 > LAST:
            place.no.add("wrap", place.where("path"))
        else:
            size = rest
        entry["bytes"] = size
    elif size is not None and not zero and rest < size:
        place.no.add("file", place.where("path"))
    if not zero and not entry["cow"]:
        entry["file"] = (status.st_dev, status.st_ino)
    return None


def judge_region(place, nodes, folder):
    place.only("name", "kind", "first", "bytes", "source", "path", "offset", "prot", "node", "cow", "alias", "huge",
               "huge_bytes", "prealloc", "dontdump", "dirty_page")
    before = len(place.no)
    kind, path = place.choice("kind", KINDS, True), place.text("path")
    entry = {"name": place.name(), "kind": kind, "path": path, "from": place.path, "hotplug": False, "first": None,
             "bytes": None, "huge": place.choice("huge", HUGE) or "default", "huge_bytes": place.huge_bytes(),
             "dirty_page": place.dirty_page() or 0, "offset": place.bytes("offset") or 0, "strict": False}
    for flag in ("cow", "alias", "prealloc", "dontdump"):
        entry[flag] = place.get(flag, bool) or False
    prot = place.choice("prot", PROTS)
    source = place.source()
    judge_node_of(place, nodes, entry)
    if "source" not in place.members:
        source = "none" if kind in ("device", "reserved") else "file" if path else "anon" if kind == "dax" else "memfd"
    entry["source"] = source
    if kind is None or source is None:
        place.range(entry, False)
        return None
    entry["prot"] = PROTS[prot or ("r" if kind == "firmware" else "rw")]
    if (kind in ("device", "reserved")) != (source == "none"):
        place.no.add("source", place.where("source"))
        return None
    check_source(place, source, entry["huge"], path, entry["huge_bytes"])
    if source == "none" and (entry["dirty_page"] or entry["cow"] or entry["alias"] or entry["prealloc"] or entry["dontdump"]):
        place.no.add("source", place.path)
    if source != "file" and entry["cow"]:
        place.no.add("source", place.where("cow"))
    if source in ("anon", "hugeanon") and entry["alias"]:
        place.no.add("source", place.where("alias"))
    if source != "file" and entry["offset"]:
        place.no.add("source", place.where("offset"))
    if entry["offset"] % PAGE:
        place.no.add("align", place.where("offset"))
    entry["cow"] = source == "file" and (entry["cow"] or kind == "firmware")
    place.range(entry, source != "file")
    if source == "file" and path:
        judge_file(place, entry, folder)
    return entry if len(place.no) == before else None


def judge_slot(place, nodes, memory):
    place.only("name", "first", "bytes", "node", "source", "huge", "huge_bytes", "prealloc", "dirty_page")
    before = len(place.no)
    given = {"source": place.source(), "huge": place.choice("huge", HUGE), "huge_bytes": place.huge_bytes(),
             "prealloc": place.get("prealloc", bool), "dirty_page": place.dirty_page()}
    entry = {"name": place.name(), "kind": "ram", "from": place.path, "hotplug": True, "first": None, "bytes": None,
             "prot": "rw-", "cow": False, "alias": True, "offset": 0, "strict": memory["strict"]}
    judge_node_of(place, nodes, entry)
    for key, value in given.items():
        entry[key] = memory[key] if value is None else value
    if entry["source"] in ("none", "file"):
        place.no.add("source", place.where("source"))
    entry["path"] = memory["path"] if entry["source"] == "hugetlbfs" else None
    if entry["source"] == "hugetlbfs" and not entry["path"]:
        place.no.add("source", place.where("source"))
    # What memory says holds where it can hold; what the slot itself says has to.
    if entry["source"] in FROM_POOL:
        if given["huge"] not in (None, "default"):
            place.no.add("source", place.where("huge"))
        entry["huge"] = "default"
    else:
        if given["huge_bytes"]:
            place.no.add("source", place.where("huge_bytes"))
        entry["huge_bytes"] = 0
    place.range(entry, True)
    return entry if len(place.no) == before else None


def judge_pieces(layout, nodes, memory, no):
    placed = layout.place([node["bytes"] for node in nodes])
    entries = []
    if placed is None:
        no.add("room", "nodes")
        return entries
    for node, pieces in zip(nodes, placed):
        for first, last in pieces:
            entry = {**memory, "name": "ram%d" % len(entries), "kind": "ram", "first": first, "bytes": last - first + 1,
                     "from": node["where"], "hotplug": False, "prot": "rw-", "cow": False, "alias": True, "offset": 0,
                     "node": node["guest"], "host_node": node["host"]}
            if entry["bytes"] % max(PAGE, memory["huge_bytes"] or 0):
                no.add("align", node["where"])
            log = memory["dirty_page"]
            if log and (entry["bytes"] + log - 1) // log > DIRTY_PAGES_MAX:
                no.add("pages", node["where"])
            entries.append(entry)
    return entries


def judge_together(layout, entries, no):
    """How entries get along. Each with each: slow, and obvious."""
    whole = [e for e in entries if e["first"] is not None and e["bytes"] is not None]
    for i, a in enumerate(whole):
        a_last = a["first"] + a["bytes"] - 1
        if not layout.admits(a["kind"], a["first"], a_last):
            no.add("layout", a["from"], "'%s'" % a["name"])
        for b in whole[:i]:
            names = "'%s'" % a["name"], "'%s'" % b["name"]
            if a["first"] <= b["first"] + b["bytes"] - 1 and b["first"] <= a_last:
                no.add("overlap", a["from"], *names)
                no.add("overlap", b["from"], *names)
            if a.get("file") and a.get("file") == b.get("file") and not a["alias"] and not b["alias"] and \
                    a["offset"] < b["offset"] + b["bytes"] and b["offset"] < a["offset"] + a["bytes"]:
                no.add("alias", a["from"], names[1])
                no.add("alias", b["from"], names[0])
            if a["name"] == b["name"]:
                no.add("twice", a["from"], names[0])
                no.add("twice", b["from"], names[0])


def has_host_node(node):
    return os.path.exists("/sys/devices/system/node/node%d" % node) or \
        node == 0 and not os.path.exists("/sys/devices/system/node")


def size(number):
    return number if number <= 1 << 53 else hex(number)


def span(first, last):
    return {"first": hex(first), "last": hex(last), "bytes": size(last - first + 1)}


def show_region(entry, folder):
    shown = {"name": entry["name"], "kind": entry["kind"], **span(entry["first"], entry["first"] + entry["bytes"] - 1),
             "from": entry["from"], "hotplug": entry["hotplug"], "source": entry["source"]}
    for key in ("node", "host_node"):
        if entry.get(key) is not None:
            shown[key] = entry[key]
    if entry["source"] == "none":
        return shown
    for key in ("prot", "huge", "cow"):
        shown[key] = entry[key]
    shown.update(prealloc=bool(entry["prealloc"]), dirty_page=entry["dirty_page"] or 0)
    if entry["huge_bytes"]:
        shown["huge_bytes"] = size(entry["huge_bytes"])
    if entry["path"]:
        shown.update(path=os.path.join(folder, entry["path"]), offset=size(entry["offset"]))
    return shown


def show_gaps(layout, entries):
    gaps, at = [], 0
    for first, last in [(e["first"], e["first"] + e["bytes"] - 1) for e in entries] + [(layout.physical[1] + 1, None)]:
        if at < first:
            gap = span(at, first - 1)
            for name, low, high in layout.holes:
                if low <= at and first - 1 <= high:
                    gap["hole"] = name
            gaps.append(gap)
        at = last + 1 if last is not None else at
    return gaps


def title(text):
    return "".join(chr(c) if 32 <= c <= 126 else "?" for c in text.encode()[:63])


def show(machine, layout, nodes, entries, folder):
    entries = sorted(entries, key=lambda e: e["first"])
    ram = [e["bytes"] for e in entries if e["kind"] == "ram" and not e["hotplug"]]
    plan = {"name": title(machine.get("name", "vm")), "layout": layout.name, "physical_bits": layout.bits,
            "physical": span(*layout.physical), "usable_last": hex(layout.usable),
            "holes": [{"name": name, **span(first, last)} for name, first, last in layout.holes],
            "memory_bytes": size(sum(ram)), "hotplug_bytes": size(sum(e["bytes"] for e in entries if e["hotplug"])),
            "nodes": [], "regions": [show_region(e, folder) for e in entries], "gaps": show_gaps(layout, entries)}
    for node in nodes:
        shown = {"guest": node["guest"], "bytes": size(node["bytes"]), "vcpus": node["vcpus"],
                 "regions": [e["name"] for e in entries if e["from"] == node["where"]]}
        if node["host"] is not None:
            shown["host"] = node["host"]
        plan["nodes"].append(shown)
    missing = [e for e in entries if e["source"] != "none" and e.get("host_node") is not None
               and not has_host_node(e["host_node"])]
    return plan, missing


def judge(machine, host_bits, folder):
    """(reasons, plan, entries whose host node is missing): either there are reasons, or there is a plan."""
    no = Refusals()
    root = Place(machine, "", no)
    root.only("name", "layout", "physical_bits", "nodes", "memory", "regions", "hotplug")
    root.text("name")
    name, bits = root.choice("layout", ("x86-64-pc", "aarch64-virt", "open"), True), root.integer("physical_bits", 32, 52)
    if name == "open" and bits:
        no.add("bits", "physical_bits")
    nodes = judge_nodes(root, no)
    memory = root.get("memory", dict)
    memory = judge_memory(Place(memory or {}, "memory", no))
    entries = []
    layout = Layout(name, bits, host_bits) if name else None
    if layout and not no:
        entries += judge_pieces(layout, nodes, memory, no)
    for key in ("regions", "hotplug"):
        for i, members in enumerate(root.array(key)):
            place = Place(members, "%s[%d]" % (key, i), no)
            if not isinstance(members, dict):
                no.add("type", place.path)
                continue
            entries.append(judge_region(place, nodes, folder) if key == "regions" else judge_slot(place, nodes, memory))
    entries = [e for e in entries if e]
    if layout:
        judge_together(layout, entries, no)
    if not entries and not no:
        no.add("nothing", "")
    if no:
        return no, None, None
    plan, missing = show(machine, layout, nodes, entries, folder)
    for entry in missing:
        if entry["strict"]:
            no.add("host", entry["from"], "'%s'" % entry["name"], "node %d," % entry["host_node"])
    return (no, None, None) if no else (no, plan, missing)
