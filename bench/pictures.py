# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""Pictures of the curves, in SVG, with both axes logarithmic. Colours and greys that can be read on light and dark ground."""
import math
from xml.sax.saxutils import escape

import rows

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 180, 48, 62
TEXT, GRID = '#808080', '#80808040'
COLOURS = {'ours': '#1a9850', 'peer': '#e08214', 'raw': '#808080'}

# File, title, what the horizontal axis counts, its values, and lines: (label, program, base of names, dashes).
PICTURES = [
    ('bench-lookup.svg', 'An address in a random region', 'regions', rows.CURVE, [
        ('guestmem, load', 'ours', 'load_scattered', ''), ('{peer}, load', 'peer', 'load_scattered', ''),
        ('a pointer, load', 'raw', 'load_scattered', '2 3'), ('guestmem, find', 'ours', 'find', '6 4'), ('{peer}, find', 'peer', 'find', '6 4')]),
    ('bench-update.svg', 'Insert a region and remove it again', 'regions', rows.CURVE, [
        ('guestmem', 'ours', 'insert_remove', ''), ('{peer}', 'peer', 'insert_remove', '')]),
    ('bench-collect.svg', 'Collect the dirty pages, as ranges, of a log of 1 000 000', 'dirty pages, at random', rows.PAGES, [
        ('guestmem', 'ours', 'collect', ''), ('{peer}', 'peer', 'collect', '')]),
]


def duration(nanoseconds):
    """10^n nanoseconds as people write it."""
    for unit, size in [('s', 1e9), ('ms', 1e6), ('µs', 1e3)]:
        if nanoseconds >= size:
            return '%g %s' % (nanoseconds / size, unit)
    return '%g ns' % nanoseconds


class Axes:
    """Where a value stands. A zero, which has no logarithm, stands one step left of the 1."""

    def __init__(self, values, costs):
        logs = [self.log(value) for value in values]
        self.low_x, self.high_x = min(logs), max(logs)
        self.low_y = math.floor(math.log10(min(costs)))
        self.high_y = max(math.ceil(math.log10(max(costs))), self.low_y + 1)

    @staticmethod
    def log(value):
        return math.log10(value) if value else -1

    def x(self, value):
        return LEFT + (self.log(value) - self.low_x) / ((self.high_x - self.low_x) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, cost):
        return HEIGHT - BOTTOM - (math.log10(cost) - self.low_y) / (self.high_y - self.low_y) * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, anchor='middle', more=''):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, more, escape(words))


def frame(axes, title, counted, values):
    yield text(LEFT, TOP - 22, title, 'start', ' font-size="16"')
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, counted)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield text(20, middle, 'time of one, logarithmic', more=' transform="rotate(-90 20 %.1f)"' % middle)
    for power in range(axes.low_y, axes.high_y + 1):
        y = axes.y(10 ** power)
        yield '<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>' % (LEFT, y, WIDTH - RIGHT, y, GRID)
        yield text(LEFT - 8, y + 4, duration(10 ** power), 'end')
    # Every third of the many powers of two.
    for value in values[::3] if len(values) > 10 else values:
        x = axes.x(value)
        yield '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>' % (x, TOP, x, HEIGHT - BOTTOM, GRID)
        yield text(x, HEIGHT - BOTTOM + 18, '{:,}'.format(value).replace(',', '\u202f'))


def curve(axes, points, colour, dashes):
    places = ['%.1f,%.1f' % (axes.x(value), axes.y(cost)) for value, cost in points]
    dash = ' stroke-dasharray="%s"' % dashes if dashes else ''
    yield '<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>' % (' '.join(places), colour, dash)
    for place in places:
        yield '<circle cx="%s" cy="%s" r="2.5" fill="%s"/>' % (*place.split(','), colour)


def labels(axes, lines):
    """Behind the curves' ends, as close as they may stand."""
    at = TOP - 16
    for points, label, colour in sorted(lines, key=lambda line: axes.y(line[0][-1][1])):
        at = max(axes.y(points[-1][1]) + 4, at + 16)
        yield text(axes.x(points[-1][0]) + 8, at, label, 'start', ' fill="%s"' % colour)


def points_of(measured, program, base, values):
    """(value, cost) of what was measured. A peer's curve is of one peer, not of whichever is best at a place."""
    found = []
    for value in values:
        cost = measured.get('%s/%d' % (base, value), {}).get(program)
        if cost:
            found.append((value, cost))
    # Two points are no curve.
    return found if len(found) > 2 else []


def draw(title, counted, values, lines, measured, peer):
    """The picture, or None when there is nothing to show. @measured: name -> program ("ours", "raw", "peer") -> ns."""
    shown = []
    for label, program, base, dashes in lines:
        points = points_of(measured, program, base, values)
        if points:
            shown.append((points, label.format(peer=peer), COLOURS[program], dashes))
    if not shown:
        return None
    axes = Axes(values, [cost for points, *_ in shown for _, cost in points])
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">'
             % (WIDTH, HEIGHT, TEXT), '<title>%s</title>' % escape(title)]
    parts += frame(axes, title, counted, values)
    for points, _, colour, dashes in shown:
        parts += curve(axes, points, colour, dashes)
    parts += labels(axes, [line[:3] for line in shown])
    return '\n'.join(parts + ['</svg>', ''])


def write_all(folder, measured, peer):
    """Paths of those that there is something to show in."""
    written = []
    for name, title, counted, values, lines in PICTURES:
        picture = draw(title, counted, values, lines, measured, peer)
        if picture:
            path = folder / name
            path.write_text(picture, encoding='utf-8')
            written.append(path)
    return written
