#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Style that can be measured: length of files and functions, the licence on top, a comment that opens each file, tabs, and no path
of anybody's machine.
"""
import os
import re
import sys

FILE_LINES_MAX = 700      # any source; 500 is the aim
FUNCTION_LINES_MAX = 70   # one screen, braces included
SPDX = 'SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause'
SPDX_C = '/* ' + SPDX + ' */'

FOLDERS = ['src', 'include', 'devices', 'tools', 'examples', 'bench', 'adapters', 'snapshot', 'loader', 'tests']
# Functions of tests are tables of cases as often as not, and those of headers are macros.
FUNCTION_FOLDERS = ['src', 'devices', 'tools', 'examples', 'bench', 'adapters', 'snapshot', 'loader']
# Put together here, for this file is looked at as well.
PATHS = re.compile('/' + 'work/|/' + 'tmp/wt|/' + 'root/|/' + 'home/')


def check_length(lines):
    if len(lines) > FILE_LINES_MAX:
        yield 'has %d lines, more than %d' % (len(lines), FILE_LINES_MAX)


def check_functions(lines):
    """A function's body is between a brace alone in the first column and the next one that closes it there."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == '{':
            start = number
        elif start is not None and line.startswith('}'):
            if number - start + 1 > FUNCTION_LINES_MAX:
                yield '%d: a function of %d lines, more than %d' % (start, number - start + 1, FUNCTION_LINES_MAX)
            start = None


def check_searches(lines):
    """What searches a tree is declared so: src/map/search.h says why."""
    head = ''
    for number, line in enumerate(lines, 1):
        if re.match(r'[A-Za-z]', line):
            head = line
        elif re.search(r'\bgmi_(seek|floor)\(', line) and not re.search(r'\bGMI_(SEEKING|ALWAYS_INLINE)\b', head):
            yield '%d: searches, and is not GMI_SEEKING' % number


def check_opening(path, lines, names):
    """SPDX first; then a comment on what the file is, in the header where a source has one of its name."""
    if not lines or lines[0] != SPDX_C:
        yield 'does not begin with ' + SPDX_C
    elif path.endswith('.h') or os.path.basename(path)[:-2] + '.h' not in names:
        if len(lines) < 2 or not lines[1].startswith('/*'):
            yield 'does not open with a comment on what it owns'


def check_script(lines):
    head = lines[1:2] if lines and lines[0].startswith('#!') else lines[:1]
    if head != ['# ' + SPDX]:
        yield 'does not begin with # ' + SPDX


def check_lines(lines, is_c):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield '%d: blanks at the end of the line' % number
        # Blank lines of macros are aligned with blanks, by clang-format.
        if is_c and re.match(r' {8}', line) and not line.endswith('\\'):
            yield '%d: indented with blanks' % number
        if PATHS.search(line):
            yield '%d: a path of somebody\'s machine' % number


def check_file(path, text, names):
    """Complaints about one file; @names are those of all files in its folder."""
    lines = text.split('\n')
    is_c = path.endswith(('.c', '.h'))
    found = []
    if lines and lines[-1] == '':
        lines.pop()
    else:
        found.append('does not end with a line feed')
    found += check_length(lines)
    found += check_lines(lines, is_c)
    if is_c:
        found += check_opening(path, lines, names)
        if path.split('/')[0] in FUNCTION_FOLDERS:
            found += check_functions(lines)
            found += check_searches(lines)
    else:
        found += check_script(lines)
    return found


def self_test():
    def complaints(path, text):
        return check_file(path, text, set())

    good = SPDX_C + '\n/* Owns nothing. */\nint f(void)\n{\n' + '\treturn 0;\n' * 68 + '}\n'
    assert not complaints('src/x.c', good), complaints('src/x.c', good)
    bad = [
        good.replace('{\n', '{\n\tf();\n'), good[1:], good.replace('/* Owns nothing. */\n', ''), good.rstrip('\n'),
        good + 'int x;\n' * 700, good + 'int x; \n', good + ' ' * 8 + 'int x;\n', good + '/* see /' + 'work/x */\n',
        good.replace('return 0;', 'gmi_floor(root, at);', 1),
    ]
    for text in bad:
        assert len(complaints('src/x.c', text)) == 1, (complaints('src/x.c', text), text[:200])
    assert not check_file('src/x.c', good.replace('/* Owns nothing. */\n', ''), {'x.h'})
    assert not complaints('tests/x.py', '#!/bin/sh\n# ' + SPDX + '\n')
    assert complaints('tests/x.py', '#!/bin/sh\n')


def main(root):
    failures, count = [], 0

    self_test()
    for folder in FOLDERS:
        for where, folders, names in sorted(os.walk(os.path.join(root, folder))):
            folders[:] = [name for name in folders if name != '__pycache__']
            for name in sorted(names):
                if not name.endswith(('.c', '.h', '.py', '.sh')) and name != 'meson.build':
                    continue
                path = os.path.relpath(os.path.join(where, name), root).replace(os.sep, '/')
                with open(os.path.join(where, name), encoding='utf-8') as file:
                    failures += ['%s: %s' % (path, what) for what in check_file(path, file.read(), set(names))]
                count += 1
    assert count > 30, 'no files found'
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
