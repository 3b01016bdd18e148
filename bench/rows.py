# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""What is measured: docs/speed.md tells what each row is. Figures in ns per operation."""

CURVE = [2 ** power for power in range(16)]
PAGES = [0, 1, 10, 100, 1000, 10000, 100000, 1000000]

# Figures of peers, quoted where none of their programs is there: the best that was measured with vm-memory of the version
# named, on another machine of the kind that the aims are for.
QUOTED_010, QUOTED_018 = 'vm-memory 0.10', 'vm-memory 0.18'


class Row:
    """One name: its row in the table, what it shall cost at most, and what a peer is known to cost."""

    def __init__(self, number, name, aim=None, quoted=None, version=None):
        self.number = number
        self.name = name
        self.aim = aim
        self.quoted = quoted
        self.version = version

    @property
    def in_table(self):
        return self.number is not None


ROWS = [
    Row(1, 'load/1', 1.3, 3.2, QUOTED_010),
    Row(1, 'load/1/guarded'),
    Row(2, 'load_same/8', 1.3),
    Row(2, 'load_same/512', 1.3),
    Row(3, 'load_scattered/8', 4, 7.5, QUOTED_010),
    Row(3, 'load_scattered/8/irregular', 4),
    Row(3, 'load_scattered/8/hostile', 4),
    Row(4, 'load_scattered/512', 8, 19, QUOTED_010),
    Row(4, 'load_scattered/512/irregular', 8),
    Row(4, 'load_scattered/512/hostile', 8),
    Row(4, 'load_scattered/512/guarded'),
    Row(5, 'store_dirty/1', 2.2, 6.2, QUOTED_010),
    Row(5, 'store_dirty/1/guarded'),
    Row(6, 'find/4096', 8, 26, QUOTED_010),
    Row(6, 'find/4096/irregular', 8),
    Row(6, 'find/4096/hostile', 8),
    Row(6, 'find/32768', 14, 72, QUOTED_018),
    Row(6, 'find/32768/irregular', 14),
    Row(6, 'find/32768/hostile', 14),
    Row(7, 'read/64', 4, 4.9, QUOTED_010),
    Row(7, 'read/64/guarded'),
    Row(7, 'read/4096', 45, 71.7, QUOTED_018),
    Row(8, 'read_16_regions', 1220, 1596, QUOTED_018),
    Row(9, 'enter_leave', 1.5, 4.3, QUOTED_010),
    Row(10, 'enter_leave_busy', 2.5, 23, QUOTED_018),
    Row(11, 'insert_remove/512', 2500, 7400, QUOTED_010),
    Row(11, 'insert_remove_busy/512'),
    Row(12, 'insert_remove/32768', 5000, 506000, QUOTED_018),
    Row(12, 'insert_remove_busy/32768'),
    Row(13, 'mark_again', 1.2, 3.5, QUOTED_018),
    Row(14, 'mark_1g', 12000, 559000, QUOTED_018),
    Row(15, 'collect_empty', 20000, 22600000, QUOTED_018),
    Row(16, 'collect_1pc', 6000000, 42700000, QUOTED_018),
    Row(17, 'collect_all', 3000000, 201000000, QUOTED_018),
    Row(18, 'chain/1', 18, 47, QUOTED_018),
    Row(18, 'chain/8', 20, 102, QUOTED_018),
    Row(18, 'chain/8/apart'),
    Row(18, 'chain/512', 22, 228, QUOTED_018),
    Row(18, 'chain/512/apart'),
    Row(19, 'chain_copy/1', 70, 101, QUOTED_018),
    Row(19, 'chain_copy/8', 72, 162, QUOTED_018),
    Row(19, 'chain_copy/512', 74, 320, QUOTED_018),
]


def curve_rows():
    """What the pictures need besides."""
    names = ['%s/%d' % (base, count) for base in ['load_scattered', 'find', 'insert_remove'] for count in CURVE]
    names += ['collect/%d' % count for count in PAGES]
    known = {row.name for row in ROWS}
    return [Row(None, name) for name in names if name not in known]
