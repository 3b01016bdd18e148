#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Symbols: what the shared library exports is what the public headers declare, in both directions. A function without a definition,
one that is not exported, and a private one that is, all fail. An adapter is a library of its own, with a header of its own.

usage: symbols.py ROOT LIBRARY [HEADER=ADAPTER...] -- COMPILER...
"""
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77


def exported(nm_output):
    """Names from "nm -D --defined-only": "address type name@@VERSION"; the version nodes themselves have type A."""
    names = set()
    for line in nm_output.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] != 'A':
            names.add(fields[2].split('@')[0])
    return names


def without_bodies(text):
    """What stands outside of all braces."""
    depth, kept = 0, []
    for character in text:
        if character == '{':
            depth += 1
        elif character == '}':
            depth -= 1
            kept.append(';' if depth == 0 else '')
        elif depth == 0:
            kept.append(character)
    return ''.join(kept)


def without_attributes(text):
    """Drops __attribute__((...)), whatever is in its parentheses."""
    result, at = [], 0
    while True:
        start = text.find('__attribute__', at)
        if start < 0:
            return ''.join(result) + text[at:]
        result.append(text[at:start])
        at, depth = text.index('(', start), 0
        while True:
            depth += {'(': 1, ')': -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break


def declared(preprocessed, folder):
    """Functions declared in files below @folder, from a preprocessor's output with its line markers."""
    kept, inside = [], False
    for line in preprocessed.splitlines():
        marker = re.match(r'#\s*(?:line\s+)?\d+\s+"([^"]*)"', line)
        if marker:
            inside = os.path.abspath(marker.group(1)).startswith(os.path.abspath(folder) + os.sep)
        elif inside:
            kept.append(line)
    names = set()
    for statement in without_bodies(without_attributes('\n'.join(kept))).split(';'):
        # "struct gm_gpa gm_gpa(uint64_t value)": the first name with a parenthesis behind it is the function's.
        found = re.search(r'\b(\w+)\s*\(', statement)
        if found and not re.match(r'\s*(_Static_assert|static_assert|typedef)\b', statement):
            names.add(found.group(1))
    return names


def self_test():
    text = '\n'.join([
        '# 1 "/r/include/guestmem/x.h" 1', 'struct a { int (*no)(int); };',
        '__attribute__((warn_unused_result, format(printf, 1, 2))) int yes1(int (*no)(void), struct a b);',
        'static inline struct a a(int x)', '{ if (no(x)) { no(); } return (struct a){ 0 }; }',
        '# 1 "/usr/include/stdio.h" 1', 'int no(int);', '# 9 "/r/include/guestmem/x.h" 2', 'int', 'yes2(void);',
    ])
    assert declared(text, '/r/include/guestmem') == {'yes1', 'a', 'yes2'}, declared(text, '/r/include/guestmem')
    names = exported('0000 T gm_a@@GUESTMEM_0.1\n0000 A GUESTMEM_0.1\n0001 T gm_b\n')
    assert names == {'gm_a', 'gm_b'}, names


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True, check=True, **options).stdout


def functions_of(include, headers, compiler):
    text = ''.join('#include <guestmem/%s>\n' % name for name in headers)
    return declared(run(compiler + ['-E', '-x', 'c', '-I', include, '-'], input=text), os.path.join(include, 'guestmem'))


def compare(library, have, want):
    print('%s: %d functions declared, %d symbols exported' % (os.path.basename(library), len(want), len(have)))
    return (['declared, but not exported: ' + name for name in sorted(want - have)] +
            ['exported, but not declared: ' + name for name in sorted(have - want)])


def main(root, library, adapters, compiler):
    include = os.path.join(root, 'include')
    headers = sorted(name for name in os.listdir(os.path.join(include, 'guestmem')) if name.endswith('.h'))

    self_test()
    nm = shutil.which('nm')
    if nm is None:
        print('no nm')
        return SKIPPED
    core = functions_of(include, [name for name in headers if name not in adapters], compiler)
    assert len(core) > 100, 'only %d functions found in the headers' % len(core)
    failures = compare(library, exported(run([nm, '-D', '--defined-only', library])), core)
    # One library may have several headers.
    for adapter in sorted(set(adapters.values())):
        own = [header for header, library_of in adapters.items() if library_of == adapter]
        failures += compare(adapter, exported(run([nm, '-D', '--defined-only', adapter])),
                            functions_of(include, own, compiler) - core)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    END = sys.argv.index('--')
    sys.exit(main(sys.argv[1], sys.argv[2], dict(pair.split('=', 1) for pair in sys.argv[3:END]), sys.argv[END + 1:]))
