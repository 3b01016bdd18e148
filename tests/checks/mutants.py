#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""Takes out one guard of the library at a time and expects the tests to fail.

    mutants.py SOURCE_TREE [--list] [--check] [WORD ...]

Each mutant is one replacement in one file and the tests that have to notice (under AddressSanitizer); WORDs choose those whose name has one of them.
The tree is copied, configured once, and rebuilt for each mutant. A test notices by failing, by crashing, or by running into
the time limit. Ends with "N passed, N failed": a mutant that no test notices has failed.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

TIME_LIMIT_S = 120
# Some faults are races, which even their own test meets in most runs only.
TRIES = 8
# What a mutant's name says it is "with", and the processor's flag, or vendor, for it.
NEEDED = {"AVX-512": "avx512vl", "AVX2": "avx2", "AMD": "AuthenticAMD"}

# name, file, what stands there (once), what stands there instead, tests
MUTANTS = [
    # KVM, over a model of it
    ("kvm: new slots are deleted when something is refused", "adapters/kvm/listener.c", "\tunset_staged(kvm);\n\tfor",
     "\t(void)unset_staged;\n\tfor", ["kvm_slots"]),
    ("kvm: what made way is set again", "adapters/kvm/listener.c", "\t\t\trestore(kvm, slot);", "\t\t\t(void)restore;", ["kvm_slots"]),
    ("kvm: what was moved away is moved back", "adapters/kvm/listener.c", "(!slot->set || slot->parked)", "!slot->set",
     ["kvm_slots"]),
    ("kvm: numbers are counted before anything is done", "adapters/kvm/listener.c", "\tif (free_numbers < needed)\n", "\tif (0)\n",
     ["kvm_slots"]),
    ("kvm: numbers that are needed are given up first", "adapters/kvm/listener.c", "change->removed_count && free_numbers < needed",
     "change->removed_count && 0", ["kvm_slots"]),
    ("kvm: what stands in the way makes way", "adapters/kvm/listener.c", "\t\t\tthere->fate = MAKES_WAY;", "\t\t\t(void)0;",
     ["kvm_slots"]),
    ("kvm: memory that KVM keeps a slot of stays", "adapters/kvm/listener.c",
     "\tif (slot->set)\n\t\treturn;\n\tif (slot->number != NO_NUMBER)", "\tif (slot->number != NO_NUMBER)", ["kvm_slots"]),
    ("kvm: nothing is changed while slots are wrong", "adapters/kvm/listener.c", "\tr = gmi_kvm_mend(kvm, error);\n\tif (r == 0) {",
     "\tr = 0;\n\tif (r == 0) {", ["kvm_slots"]),
    ("kvm: a slot is inherited with the same flags only", "adapters/kvm/listener.c", "heir->flags == leaver->flags && ", "",
     ["kvm_slots"]),
    ("kvm: rings are emptied before a number is another's", "adapters/kvm/listener.c",
     "\t\t\tgmi_kvm_slot_is_stale(kvm, slot, r);\n\t}\n\t(void)gmi_kvm_rings_sync(kvm);\n\tfor",
     "\t\t\tgmi_kvm_slot_is_stale(kvm, slot, r);\n\t}\n\tfor", ["kvm_log"]),
    ("kvm: the log is handed over with the slot", "adapters/kvm/listener.c", "\tgmi_kvm_log_hand_over(kvm, leaver);\n", "",
     ["kvm_log"]),
    ("kvm: read-only memory", "adapters/kvm/slots.c", "flags |= KVM_MEM_READONLY;", "flags |= 0;", ["kvm_slots"]),
    ("kvm: pages of one slot", "adapters/kvm/slots.c", "if (gm_region_bytes(region) / kvm->page_bytes > GM_KVM_SLOT_PAGES_MAX)",
     "if (0)", ["kvm_slots"]),
    ("kvm: out of reach before the log is taken", "adapters/kvm/log.c", "\tpark(kvm, slot);\n", "\t(void)park;\n", ["kvm_log"]),
    ("kvm: a log that can't be had is of everything", "adapters/kvm/log.c",
     "gm_dirty_mark(dirty, gm_offset(0), gm_region_bytes(slot->region));", "(void)0;", ["kvm_log"]),
    ("kvm: bitmaps are cleared before pages are marked", "adapters/kvm/log.c", "\t\tr = clear(kvm, slot, first, last - first);",
     "\t\tmerge(kvm, slot, first, last - first);\n\t\tr = clear(kvm, slot, first, last - first);", ["kvm_log"]),
    ("kvm: rings are reset before pages are marked", "adapters/kvm/ring.c",
     "\tr = gmi_kvm_call(kvm, kvm->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);",
     "\tfor (i = 0; i < kvm->written_count; i++)\n\t\tmark(kvm, &kvm->written[i]);\n"
     "\tr = gmi_kvm_call(kvm, kvm->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);\n\tkvm->written_count = 0;", ["kvm_log"]),
    ("kvm: a reset that failed is made up for", "adapters/kvm/ring.c", "\tif (r < 0)\n\t\treturn r;\n\tkvm->written_count = 0;",
     "\tkvm->written_count = 0;", ["kvm_log"]),
    ("kvm: a ring's page is inside of its slot", "adapters/kvm/ring.c",
     "written->page < gm_region_bytes(region) / kvm->page_bytes", "true", ["kvm_log"]),
    ("kvm: the last word of a bitmap is cut short", "adapters/kvm/log.c",
     "return pages < (uint64_t)words * 64 ? pages : (uint64_t)words * 64;", "return pages * 0 + (uint64_t)words * 64;", ["kvm_log"]),
    # Bounds
    ("bounds: inlined load", "include/guestmem/access.h",
     "if (GM_LIKELY(offset < view->hot_room && (at.value & (bits / 8 - 1)) == 0))",
     "if (GM_LIKELY((view->hot_room || offset) && (at.value & (bits / 8 - 1)) == 0))", ["object", "access_model"]),
    ("bounds: inlined store is of a writable region", "include/guestmem/access.h",
     "offset < view->hot_room && view->hot_writable &&", "offset < view->hot_room &&", ["object", "access_model"]),
    ("bounds: room leaves no place for the last bytes", "src/region/region.c",
     "region->room = gm_region_bytes(region) - 7;", "region->room = gm_region_bytes(region) + 1;",
     ["object", "access_model"]),
    ("bounds: inlined span, its beginning", "include/guestmem/access.h", "return offset < view->near_bytes && bytes - 1 <",
     "return view->near_bytes && bytes - 1 <", ["iovec", "access_model"]),
    ("bounds: inlined span, its end", "include/guestmem/access.h", "bytes - 1 < view->near_bytes - offset", "bytes",
     ["iovec", "access_model"]),
    ("bounds: inlined span is of a section", "include/guestmem/access.h", "view->near_bytes - offset && view->slot;",
     "view->near_bytes - offset;", ["iovec", "view", "access"]),
    ("bounds: range that wraps", "src/access/walk.c",
     "if (bytes - 1 > UINT64_MAX - at)", "if (0)", ["access"]),
    ("bounds: piece is clipped to its region", "src/access/access.h",
     "bytes - 1 <= left ? bytes : left + 1", "bytes", ["access", "access_model"]),
    ("bounds: question behind the last of a region", "src/map/query.c",
     "region != NULL && address <= region->range.last.value ? region : NULL", "region", ["map"]),
    ("bounds: access behind the last of a region", "src/access/view.c",
     "gmi_region_piece(view, gmi_map_region(map, at), at,", "gmi_region_piece(view, gmi_tree_floor(map->root, at), at,",
     ["access", "access_model"]),
    ("bounds: object behind the last of a region", "src/access/object.c",
     "offset >= region->room || (region->readable & view->kinds) == 0", "(region->readable & view->kinds) == 0",
     ["object", "access_model"]),
    ("bounds: gap between the regions of a range", "src/access/walk.c",
     "if (region != NULL && at - region->range.first.value >", "if (0 && at - region->range.first.value >",
     ["access", "access_model"]),
    ("bounds: all is checked before anything is done", "src/access/walk.c",
     "return look(walk, &found);", "return (void)look, (void)found, 0;", ["access"]),
    ("bounds: range of a region wraps", "include/guestmem/address.h",
     "if (bytes - 1 > UINT64_MAX - first.value)", "if (0)", ["address", "region"]),
    ("bounds: file shorter than its region", "src/mapping/file.c",
     "if (r == 1 && (mapping->fd_offset > room || opts->bytes > room - mapping->fd_offset))", "if (0)", ["source"]),
    ("bounds: walk over the end of a leaf", "src/access/walk.c", "if (GM_LIKELY(place->rank < place->leaf->count))",
     "if (1)", ["access_model"]),
    ("bounds: walk goes on behind what it kept", "src/access/walk.c", "walk->kept++;\n\t\t\twalk->place = place;",
     "walk->kept++;", ["access_model"]),
    ("bounds: bytes at hand, where the hot region ends", "src/access/walk.h",
     "if (offset < view->hot_room && bytes - 1 < view->hot_room + 7 - offset &&",
     "if (offset < view->hot_room && bytes &&", ["access", "access_model"]),
    ("bounds: search of a root of many", "src/map/search.h", "GM_LIKELY(node->group[0] == UINT64_MAX) ? rank_few", "1 ? rank_few",
     ["search"]),
    ("bounds: search in plain C", "src/map/search.h", "base += (size_t)(base[16] <= address) * 16;", "", ["search"]),
    ("bounds: search with AVX-512, half of it", "src/map/search.h", '"vpcmpnltuq " high', '"vpcmpnltq " high', ["search"]),
    ("bounds: search with AVX2, a region's first address", "src/map/search.h", "(((address) + 1) ^", "((address) ^", ["search"]),
    ("bounds: search with AVX2, half of it", "src/map/search.h", '"vpxor " high ", %%ymm1, %%ymm3', '"vmovdqu " high ", %%ymm3', ["search"]),
    ("bounds: copy by lines with AVX2, its end", "src/access/bytes.c", "for (; left > 64; left -= 64, fetched", "for (; left > 128; left -= 64, fetched",
     ["bytes"]),
    ("bounds: move by lines with AMD, upwards", "src/access/bytes.c", "(uintptr_t)to - (uintptr_t)from >= bytes && ", "", ["bytes"]),
    ("bounds: move by lines with AMD, less than a line downwards", "src/access/bytes.c", " && (uintptr_t)from - (uintptr_t)to >= 64", "",
     ["bytes"]),
    ("bounds: what a search goes by after an update", "src/map/tree.c", "\tnode->first[node->count] = UINT64_MAX;\n", "",
     ["search", "tree"]),
    # Memory that faults
    ("fault: inlined load asks afterwards", "include/guestmem/access.h",
     "if (GM_UNLIKELY(gmi_is_hit(view->hot_guard)) && gmi_hot_verdict(view, at, bits / 8) != 0)", "if (0)", ["guard"]),
    ("fault: inlined store asks afterwards", "include/guestmem/access.h",
     "return GM_UNLIKELY(gmi_is_hit(view->hot_guard)) ? gmi_hot_verdict(view, at, bits / 8) : 0;", "return 0;", ["guard"]),
    ("fault: inlined load of a guarded region is of a section", "include/guestmem/access.h",
     "guarded_room) && (at.value & (bits / 8 - 1)) == 0 && view->slot)",
     "guarded_room) && (at.value & (bits / 8 - 1)) == 0)", ["guard"]),
    ("fault: load that is missed asks afterwards", "src/access/object.c", "r = gmi_guarded_check(guarded, hva, bytes);", "r = 0;",
     ["guard"]),
    ("fault: store that is missed asks afterwards", "src/access/object.c",
     "return r ? r : gmi_guarded_check(region->guarded, region->hva + offset, bytes);", "return r;", ["guard"]),
    ("fault: read of the near region asks afterwards", "src/access/access.c",
     "int r = gmi_bytes_read(data, hva, bytes);\n\n\treturn r ? r : gmi_guarded_check(guarded, hva, bytes);",
     "return (void)guarded, gmi_bytes_read(data, hva, bytes);", ["guard"]),
    ("fault: write of the near region asks afterwards", "src/access/access.c",
     "int r = gmi_bytes_write(hva, data, bytes);\n\n\treturn r ? r : gmi_guarded_check(guarded, hva, bytes);",
     "return (void)guarded, gmi_bytes_write(hva, data, bytes);", ["guard"]),
    ("fault: atomic asks afterwards", "src/access/atomic.c", "return r ? r : gmi_piece_check(&piece);", "return r;", ["guard"]),
    ("fault: copy asks of its source", "src/access/copy.c", "r = gmi_piece_check(source);", "r = 0;", ["guard"]),
    ("fault: copy asks of its target", "src/access/copy.c", "return r ? r : gmi_piece_check(target);", "return r;", ["guard"]),
    ("fault: stream stops before what was lost", "src/access/stream.c",
     "if (gmi_piece_check(&piece) != 0)", "if (0)", ["guard"]),
    ("fault: stream finds out what was lost", "src/access/stream.c", "if (r == -GM_EFAULTED)\n\t\tnote(stream, iovecs);", "",
     ["guard"]),
    ("fault: only the page that was lost", "src/guard/guarded.c",
     "if (first >= lost->first && first - lost->first < lost->bytes)", "if (1)", ["guard"]),
    ("fault: a page that was lost further on", "src/guard/guarded.c", "if (first < lost->first && lost->first - first < bytes)",
     "if (0)", ["guard"]),
    ("fault: said before it is replaced", "src/guard/guarded.c", "say_hit(guarded);\n\treturn replace(guarded, first, bytes);",
     "bool r = replace(guarded, first, bytes);\n\tsay_hit(guarded);\n\treturn r;", ["guard_threads"]),
    ("fault: single pages of a region are limited", "src/guard/guard.c", "guarded->lost_count < GM_FAULT_PAGES_MAX", "1",
     ["guard_limits"]),
    ("fault: entries of pages come back", "src/guard/guard.c", "\tgive_back(guarded);\n", "", ["guard_limits"]),
    ("fault: no mapping for a page", "src/guard/guard.c", "if (!gmi_guarded_replace_all(guarded))", "if (1)", ["guard_limits"]),
    ("fault: what the hardware lost is more than a page", "src/guard/guard.c",
     "GMI_MAX(GMI_MAX(guarded->page_bytes, guard.page_bytes), poisoned_bytes)",
     "((void)poisoned_bytes, GMI_MAX(guarded->page_bytes, guard.page_bytes))", ["guard_limits"]),
    ("fault: a child has not all of its parent's", "src/guard/guard.c", "if (guarded->forked)\n\t\t\tgmi_guarded_index_add",
     "if (1)\n\t\t\tgmi_guarded_index_add", ["guard_process"]),
    ("fault: the mask of the handler before", "src/sys/sigbus.c", "\tmask_as_asked(&action, context);\n", "", ["guard_process"]),
    ("fault: errno", "src/sys/sigbus.c", "errno = before;", "(void)before;", ["guard_process"]),
    ("fault: a signal that was sent is ignored as before", "src/sys/sigbus.c", "action.sa_handler == SIG_IGN && is_sent", "0 && is_sent",
     ["guard_process"]),
    ("fault: the handler on top stays", "src/sys/sigbus.c", "return -EBUSY;", "return 0;", ["guard_process"]),
    ("fault: no guard while there is what it guards", "src/guard/guard.c", "else if (guard.root != NULL)", "else if (0)",
     ["guard_process"]),
    ("fault: device asks of what its pointers reached", "devices/vblk_request.c",
     "r = vblk_data_each(request, request->cursor, bytes, VBLK_CHECK_REACHED, NULL);", "r = 0;", ["blk_gone"]),
    ("bounds: inlined load, guarded", "include/guestmem/access.h",
     "if (GM_UNLIKELY(offset < view->guarded_room) && (at.value & (bits / 8 - 1)) == 0 && view->slot)",
     "if (view->guarded_room && (at.value & (bits / 8 - 1)) == 0 && view->slot)", ["object", "access_model"]),
    ("permission: inlined store, guarded", "include/guestmem/access.h",
     "GM_UNLIKELY(offset < view->guarded_room) && view->hot_writable &&", "GM_UNLIKELY(offset < view->guarded_room) &&", ["guard"]),
    ("dirty: inlined store, guarded", "include/guestmem/access.h",
     "gmi_dirty_mark_at(view->hot_dirty, offset);" + " " * 44 + "\\\n\t\t\treturn GM_UNLIKELY", "return GM_UNLIKELY",
     ["object", "access_model"]),
    ("bounds: bytes at hand, guarded, where the hot region ends", "src/access/walk.h",
     "if (offset >= view->guarded_room || bytes - 1 >= view->guarded_room + 7 - offset ||",
     "if (offset >= view->guarded_room || !bytes ||", ["access", "access_model"]),
    ("permission: bytes at hand, guarded", "src/access/walk.h", "((access & GM_WRITE) != 0 && !view->hot_writable))", "0)",
     ["guard"]),
    # Notifications
    ("hold: what is done does not wait for what is not", "tools/guestmem/blk_hold.c", "if (hold->until_ns > hold->limit_ns)", "if (0)",
     ["hold"]),
    ("hold: tried seldom where it is in vain", "tools/guestmem/blk_hold.c", "hold->resume = requests + hold->pause;", "", ["hold"]),
    # What a view remembers
    ("hot: it is given up where it is of no use", "src/access/view.c", "if ((view->room | view->guarded_room) != 0) {", "if (0) {", ["view"]),
    ("hot: another one", "src/access/view.c", "\tview->candidate = region;\n\tview->period = GMI_PERIOD_MIN / 2;", "", ["view"]),
    ("hot: of most objects only", "src/access/view.c", "view->matches >= GMI_SAMPLES - 1", "1", ["view"]),
    # Permissions
    ("permission: protection", "src/access/view.c", "if ((access & ~region->prot) != 0)", "if (0)",
     ["access", "access_model"]),
    ("permission: write", "src/access/access.h", "if (access & GM_WRITE)\n\t\tkinds &= region->writable;", "",
     ["access", "access_model"]),
    ("permission: object that is missed", "src/access/object.c",
     "offset >= region->room || (region->readable & view->kinds) == 0", "offset >= region->room",
     ["object", "access_model"]),
    ("permission: object that is missed, stored", "src/access/object.c",
     "offset >= region->room ||\n\t\t\t(region->readable & region->writable & view->kinds) == 0",
     "offset >= region->room ||\n\t\t\t(region->readable & view->kinds) == 0", ["object", "access_model"]),
    ("permission: object that is missed, stored, guarded", "src/access/object.c",
     "offset >= gmi_region_room(region) || (region->readable & region->writable & view->kinds) == 0",
     "offset >= gmi_region_room(region)", ["guard"]),
    ("permission: object that is missed, guarded", "src/access/object.c",
     "offset >= gmi_region_room(region) || (region->readable & view->kinds) == 0",
     "offset >= gmi_region_room(region)", ["guard"]),
    ("permission: span that is missed", "src/access/iovec.c", "!is_access(access) || (access & ~region->prot) != 0 ||",
     "!is_access(access) ||", ["iovec", "access_model"]),
    ("permission: span of another kind", "src/access/iovec.c",
     "((region->readable | region->writable) & view->kinds) == 0", "0", ["iovec", "access_model"]),
    ("bounds: span that is missed", "src/access/iovec.c", "bytes - 1 > region->range.last.value - at ||", "",
     ["iovec", "access_model"]),
    ("bounds: span that comes near", "src/access/walk.h", "offset >= room || bytes - 1 >=", "bytes - 1 >=",
     ["iovec", "access_model"]),
    ("permission: inlined span", "include/guestmem/access.h", "access != 0 && (access & ~view->near_access) == 0",
     "access != 0", ["iovec", "access_model"]),
    ("permission: bytes at hand in the hot region", "src/access/walk.h",
     "((access & GM_WRITE) == 0 || view->hot_writable)) {", "1) {", ["access", "access_model"]),
    ("permission: bytes at hand in the near region", "src/access/walk.h",
     "gmi_is_near(view, offset, bytes) && (access & ~view->near_access) == 0", "gmi_is_near(view, offset, bytes)",
     ["access", "access_model"]),
    ("permission: hot region of what may be written only", "src/access/access.h",
     "GM_UNLIKELY(view->candidate == NULL) && region->readable != 0",
     "GM_UNLIKELY(view->candidate == NULL)", ["access_model"]),
    ("permission: span to be executed", "src/access/iovec.c", "!is_access(access) || (access & ~region->prot) != 0 ||",
     "access == 0 || (access & ~region->prot) != 0 ||", ["iovec"]),
    ("permission: span to be executed, near", "src/access/access.h", "region->prot & (GM_READ | GM_WRITE);",
     "region->prot;", ["iovec"]),
    ("permission: kinds", "src/access/view.c", "if ((view->kinds & GM_KIND_BIT(region->kind)) == 0)", "if (0)",
     ["access", "access_model"]),
    ("permission: dispatch asked for", "src/access/view.c", "if ((view->flags & GM_VIEW_DISPATCH) == 0)", "if (0)",
     ["dispatch"]),
    ("permission: a device's own registers", "src/access/view.c", "if (view->owned && region->tag == view->owner)",
     "if (0)", ["dispatch"]),
    # Dirty marks
    ("dirty: inlined store", "include/guestmem/access.h",
     "gmi_dirty_mark_at(view->hot_dirty, offset);" + " " * 44 + "\\\n\t\t\treturn 0;", "(void)0; return 0;",
     ["object", "access_model"]),
    ("dirty: inlined report of what was written", "include/guestmem/access.h", "else if (view->near_dirty)",
     "else if (0)", ["iovec", "access_model", "dirty"]),
    ("dirty: store that is missed", "src/access/object.c", "if (region->dirty != NULL)", "if (0)",
     ["object", "access_model"]),
    ("dirty: write", "src/access/walk.c", """		r = gmi_call_write(piece, data);
	/* After a failure too: nobody knows how much of it was done, and a page too many is better than one too few. */
	gmi_mark(piece->region->dirty, piece->offset, piece->bytes);""", """		r = gmi_call_write(piece, data);""",
     ["access", "access_model"]),
    ("dirty: fill", "src/access/walk.c", """	r = gmi_bytes_fill(piece->hva, byte, piece->bytes);
	gmi_mark(piece->region->dirty, piece->offset, piece->bytes);""",
     """	r = gmi_bytes_fill(piece->hva, byte, piece->bytes);""", ["access", "access_model"]),
    ("dirty: write at hand", "src/access/access.c", "\tgmi_mark_spot(&spot, bytes);\n\treturn r;\n}\n\nGMI_PUBLIC int gm_fill(",
     "\treturn r;\n}\n\nGMI_PUBLIC int gm_fill(", ["access", "access_model"]),
    ("dirty: fill at hand", "src/access/access.c", "r = gmi_bytes_fill(spot.hva, byte, bytes);\n\tgmi_mark_spot(&spot, bytes);",
     "r = gmi_bytes_fill(spot.hva, byte, bytes);", ["access", "access_model"]),
    ("dirty: copy at hand", "src/access/copy.c", "\tgmi_mark_spot(&target, bytes);\n", "", ["access", "access_model"]),
    ("dirty: copy", "src/access/copy.c", "\tgmi_mark(target->region->dirty, target->offset, target->bytes);\n", "",
     ["access", "access_model"]),
    ("dirty: mark of more than a page", "src/access/walk.c", "(offset ^ (offset + bytes - 1)) >> head->page_shift == 0", "1",
     ["access", "access_model"]),
    ("dirty: what was written in one region is all of it", "src/access/iovec.c",
     "at.value > region->range.last.value ||\n\t\t\tbytes - 1 > region->range.last.value - at.value))\n\t\tgmi_mark_range",
     "at.value > region->range.last.value))\n\t\tgmi_mark_range", ["iovec", "access_model"]),
    ("dirty: what was written behind a region", "src/access/iovec.c", "at.value > region->range.last.value ||\n", "\n",
     ["iovec", "access_model"]),
    ("dirty: what was written in one region", "src/access/iovec.c", "else if (region->dirty != NULL)", "else if (0)",
     ["iovec", "access_model"]),
    ("bounds: regions of a walk adjoin", "src/access/walk.c", "first != at + 1 ||", "", ["access", "access_model"]),
    ("permission: regions of a walk", "src/access/walk.c",
     "((is_write ? region->writable : region->readable) & kinds) == 0", "0", ["access", "access_model"]),
    ("bounds: last region of a walk is clipped", "src/access/walk.c", "piece->bytes -= at - last;", "", ["access", "access_model"]),
    ("fault: regions of a walk are guarded", "src/access/walk.c", "walk->is_plain &= region->guarded == NULL;", "", ["guard"]),
    ("dirty: what was written in many regions", "src/access/walk.c", "\t\tif (until == last)\n", "\t\tif (1)\n",
     ["iovec", "access_model"]),
    ("dirty: mark by an atomic", "src/access/atomic.c", "if (r || operation !=", "if (0 && operation !=", ["atomic", "access_model"]),
    ("dirty: other readers are told", "src/dirty/collect.c", "if (dirty->readers[i] != except)", "if (0)",
     ["dirty", "dirty_model"]),
    ("dirty: summary bit", "src/dirty/mark.c",
     "(void)__atomic_fetch_or(summary, mask, __ATOMIC_SEQ_CST);", ";", ["dirty"]),
    ("dirty: summary bit of a half-read group", "src/dirty/take.c", "if (left != 0)\n\t\t(void)__atomic_fetch_or",
     "if (0)\n\t\t(void)__atomic_fetch_or", ["dirty", "dirty_model"]),
    ("dirty: clearing is looked at before a mark", "src/dirty/mark.c", "!= window ||\n", "!= window || 1 ||\n", ["dirty_races"]),
    ("dirty: clearing is looked at after a mark", "src/dirty/mark.c",
     "return __atomic_load_n(&head->clearing, __ATOMIC_SEQ_CST) == clearing;",
     "return (__atomic_load_n(&head->clearing, __ATOMIC_SEQ_CST) == clearing) | 1;", ["dirty_races"]),
    ("dirty: clearing is looked at by the inlined mark", "include/guestmem/dirty.h",
     "__atomic_load_n(&head->clearing, __ATOMIC_SEQ_CST) == cleared;", "(cleared | 1) != 0;", ["dirty_races"]),
    ("dirty: late marks are taken", "src/dirty/take.c", "if (!__atomic_load_n(&dirty->late_any, __ATOMIC_SEQ_CST))",
     "if (1)", ["dirty_races"]),
    ("dirty: what was taken in vain is put back", "src/dirty/collect.c",
     "gmi_dirty_put_back(window->dirty, piece->index, taken & todo & ~bit, bits);", "", ["dirty_races", "dirty"]),
    # Readers
    ("readers: slots are looked at", "src/space/reclaim.c",
     "if (__atomic_load_n(&view->slot, __ATOMIC_SEQ_CST) == map)", "if (0)", ["space", "space_model", "space_threads"]),
    ("readers: claims are out before slots are looked at", "src/space/reclaim.c",
     "if (!space->domain.fence)\n\t\tgmi_membarrier();", "", ["space_threads"]),
    ("readers: pins are counted", "src/space/reclaim.c", "return __atomic_load_n(&map->pins, __ATOMIC_ACQUIRE) != 0 ||",
     "return", ["space", "space_model"]),
    ("readers: references are counted", "src/space/reclaim.c",
     "__atomic_load_n(&map->references, __ATOMIC_ACQUIRE) != 0;", "false;", ["space", "space_model"]),
    ("readers: enter looks again", "include/guestmem/view.h", "if (GM_LIKELY(again == map))", "if (1 || again == map)",
     ["space_threads"]),
    ("readers: leave ends the section", "include/guestmem/view.h", "view->hot_room = 0;\n\t/* Pairs", "/* Pairs",
     ["space_threads", "access"]),
    ("readers: what a view caches is of its map", "include/guestmem/view.h",
     "->generation == view->generation))", "->generation == view->generation || view->generation))",
     ["space_threads"]),
    ("readers: the near region is of their map", "src/access/view.c", "\tview->near_bytes = 0;\n", "",
     ["space", "view", "space_threads"]),
    ("readers: regions go to the older map that has them", "src/space/reclaim.c",
     "if (map->older != NULL && region->born <= map->older->head.generation) {", "if (0) {",
     ["space", "space_model"]),
    ("readers: nodes go to the older map that has them", "src/space/reclaim.c",
     "if (map->older != NULL && node->born <= map->older->head.generation) {", "if (0) {", ["space_model"]),
    ("readers: wait waits", "src/space/reclaim.c", "if (!pending && __atomic_load_n(&space->releasing, __ATOMIC_ACQUIRE) == 0)", "if (1)",
     ["space", "space_threads"]),
    ("readers: wait for no writer", "src/access/view.c", "view->generation = map->head.generation;",
     """(void)gmi_domain_lock(view->memory->domain);
	gmi_domain_unlock(view->memory->domain);
	view->generation = map->head.generation;""", ["wait_free"]),
    # Rollback
    ("rollback: indexes forget what was staged", "src/space/commit.c",
     "leave_indexes(staging->space, region);\n\t\tregion->born = 0;", "region->born = 0;",
     ["space", "space_model"]),
    ("rollback: what was to be removed is back", "src/space/commit.c",
     "region->died = 0;\n\t\tjoin_indexes(staging->space, region);", "region->died = 0;", ["space", "space_model"]),
    ("rollback: staged removals live on", "src/space/commit.c",
     "region->died = 0;\n\t\tjoin_indexes(staging->space, region);", "join_indexes(staging->space, region);",
     ["holders"]),
    ("rollback: nodes are freed", "src/map/tree.c", "free_made(builder, true);", "", ["tree"]),
    ("rollback: listeners before the refusal abort", "src/space/commit.c", "while (i-- > 0) {", "while (0) {",
     ["listener"]),
    # Updates
    ("update: overlap", "src/space/commit.c",
     "if (there != NULL && there->range.last.value >= region->range.first.value)", "if (0)", ["space", "space_model"]),
    ("update: name", "src/space/commit.c", "there = gmi_index_find_name(&space->names, region->name);", "there = NULL;",
     ["space", "space_model"]),
    ("update: bytes of a file", "src/space/commit.c",
     "there = region->flags & GM_REGION_ALIAS ? NULL : gmi_index_find_alias(&space->files, region);", "there = NULL;",
     ["space", "space_model"]),
    ("update: layout", "src/space/commit.c", "return space->has_layout ?", "return 0 ?", ["space"]),
    ("update: a region stands in one space", "src/space/commit.c",
     "if (gmi_tree_floor(staging->builder.root, region->range.first.value) != region)", "if (0)", ["space"]),
    # A front-end that is hostile
    ("vhost-user: index of a queue", "adapters/vhost_user/message.c", "if (index >= terms->queues)",
     "if (terms == NULL)", ["vu_message"]),
    ("vhost-user: descriptors are as many as regions", "adapters/vhost_user/message.c",
     "if (message->fds_count != head.count)", "if (0)", ["vu_message"]),
    ("vhost-user: bytes of a configuration", "adapters/vhost_user/message.c",
     "if (head[0] > VU_CONFIG_MAX || head[1] > VU_CONFIG_MAX - head[0])", "if (0)", ["vu_message"]),
    ("vhost-user: a region's guest addresses wrap", "adapters/vhost_user/message.c",
     "last > UINT64_MAX - region->gpa ||", "", ["vu_message"]),
    ("vhost-user: extensions are agreed on", "adapters/vhost_user/message.c",
     "if (shape->extension & ~terms->protocol) {", "if (0) {", ["vu_message"]),
    ("vhost-user: surplus descriptors are closed", "adapters/vhost_user/wire.c", "close(fd);\n\t\t\t\tall = false;",
     "all = false;", ["vu_hostile"]),
    ("vhost-user: descriptors of a message are closed", "adapters/vhost_user/wire.c", "close(wire->fds[i]);", "(void)0;",
     ["vu_hostile"]),
    ("vhost-user: user addresses overlap", "adapters/vhost_user/table.c",
     "if (overlap(region->uva, region->bytes, other->uva, other->bytes)) {", "if (0) {", ["vu_table"]),
    ("vhost-user: another file is another region", "adapters/vhost_user/table.c", "a->file.inode == b->file.inode", "1",
     ["vu_table"]),
    ("vhost-user: user addresses of a ring wrap", "adapters/vhost_user/table.c", "if (bytes - 1 > UINT64_MAX - uva)", "if (0)",
     ["vu_table"]),
    ("vhost-user: a removal is answered when it is released", "adapters/vhost_user/memory.c",
     "return __atomic_load_n(&vu->release->state, __ATOMIC_ACQUIRE) == HELD;", "return false;", ["vu_log"]),
    ("vhost-user: queues stop before their memory goes", "adapters/vhost_user/memory.c",
     "vu_queues_stop_moved(vu, &vu->plan.next);", "(void)0;", ["vu_queues"]),
    ("vhost-user: what was written last in memory that goes", "adapters/vhost_user/memory.c",
     "lost = vu_log_drain(vu, ram);", "lost = 0;", ["vu_log"]),
    ("vhost-user: descriptors that are no eventfd", "adapters/vhost_user/queue.c",
     "if (message->has_fd && !vu_is_eventfd(vu->wire.fds[0]))", "if (0)", ["vu_queues"]),
    ("vhost-user: a full eventfd is not waited for", "adapters/vhost_user/queue.c", "if (!(waiting.revents & POLLOUT))",
     "if (fd < 0)", ["vu_queues"]),
    ("vhost-user: pages beyond the log", "adapters/vhost_user/log.c", "if (last_page >= pages) {", "if (0) {", ["vu_log"]),
    ("vhost-user: a log that is replaced gets the last of it", "adapters/vhost_user/log.c",
     "(void)gm_vu_log_sync(vu);\n\tclose_window(&vu->log);", "close_window(&vu->log);", ["vu_log"]),
    ("vhost-user: memory that comes is logged", "adapters/vhost_user/memory.c", "r = vu_log_add(vu, ram);", "r = 0;",
     ["vu_log"]),
    ("vhost-user: the log is there before the answer", "adapters/vhost_user/backend.c", "synced = gm_vu_log_sync(vu);",
     "synced = 0;", ["vu_log"]),
    ("vhost-user: a record too short for its queues", "adapters/vhost_user/inflight.c",
     "message->inflight.bytes < part_bytes", "message->inflight.bytes + 1 < part_bytes", ["vu_log"]),
]


def shorten(text):
    return " ".join(text.split())[:70]


def replace_once(path, old, new):
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"mutants: {path}: {text.count(old)} places instead of one for: {shorten(old)}")
    path.write_text(text.replace(old, new))
    return text


def run(arguments, **options):
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          **options)


def notices(build, test):
    try:
        return run([str(build / "tests" / f"test_{test}")], timeout=TIME_LIMIT_S).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def build_tests(build, tests):
    result = run(["ninja", "-C", str(build)] + [f"tests/test_{test}" for test in tests])
    if result.returncode != 0:
        sys.exit(result.stdout)


def try_mutant(tree, build, mutant):
    name, file, old, new, tests = mutant
    path = tree / file
    original = replace_once(path, old, new)
    try:
        build_tests(build, tests)
        for _ in range(TRIES):
            for test in tests:
                if notices(build, test):
                    return test
        return None
    finally:
        path.write_text(original)


def check(source, mutants):
    missing = 0
    for name, file, old, _, tests in mutants:
        count = (source / file).read_text().count(old)
        if count != 1:
            print(f"{name}: {count} places instead of one in {file}")
        absent = [test for test in tests if not (source / "tests" / f"test_{test}.c").exists()]
        if absent:
            print(f"{name}: no such tests: {' '.join(absent)}")
        missing += count != 1 or bool(absent)
    return 1 if missing else 0


def processor_words():
    """The flags of the first processor, and who made it."""
    words = set()
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if not line:
            break
        if line.startswith(("flags", "vendor_id")):
            words.update(line.split(":", 1)[1].split())
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source")
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    parser.add_argument("--check", action="store_true", help="only see that each has its place, and its tests are there")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.words or any(word in m[0] for word in options.words)]
    if options.list:
        print("\n".join(m[0] for m in chosen))
        return 0
    if options.check:
        return check(pathlib.Path(options.source), chosen)
    missing = {what for what, flag in NEEDED.items() if flag not in processor_words()}
    left_out = [m for m in chosen if any(f"with {what}," in m[0] for what in missing)]
    chosen = [m for m in chosen if m not in left_out]
    for mutant in left_out:
        print(f"left out, the processor can't: {mutant[0]}")
    if not chosen:
        sys.exit("mutants: none is left")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="guestmem-mutants-") as scratch:
        tree, build = pathlib.Path(scratch) / "tree", pathlib.Path(scratch) / "build"
        shutil.copytree(options.source, tree, ignore=shutil.ignore_patterns(".git", "build*"))
        result = run(["meson", "setup", "-Dwerror=false", "-Db_sanitize=address", str(build), str(tree)])
        if result.returncode != 0:
            sys.exit(result.stdout)
        # First the tree as it is: a test that fails anyway notices nothing.
        tests = sorted({test for m in chosen for test in m[4]})
        build_tests(build, tests)
        for test in tests:
            if notices(build, test):
                sys.exit(f"mutants: test_{test} fails without any mutant")
        for mutant in chosen:
            test = try_mutant(tree, build, mutant)
            failed += test is None
            print(f"{'ok    ' if test else 'MISSED'} {mutant[0]}{': ' + test if test else ''}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
