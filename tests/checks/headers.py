#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Public headers: each compiles alone and twice over, as C11 and as C++17, without a warning; has nothing that ties a user to
our configuration or kernel; is installed; and, adapters excepted, is in <guestmem/guestmem.h>.
"""
import os
import re
import sys

from compilers import compilers

# Headers of adapters speak a kernel interface, and are for providers who ask for them.
ADAPTERS = {'kvm.h', 'vhost_user.h', 'vhost_user_front.h', 'vfio.h'}

FORBIDDEN = [
    (re.compile(r'\b_Atomic\b|<stdatomic\.h>'), 'C11 atomics, which C++ does not have'),
    (re.compile(r'#\s*include\s*<(linux|asm)/'), 'a kernel header'),
    (re.compile(r'\b(CONFIG|HAVE)_[A-Z]'), "a macro of somebody's configuration"),
    (re.compile(r'#\s*include\s*"'), 'an include that is found from inside of the tree only'),
]


def without_comments(text):
    return re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)


def check_text(name, text):
    if name in ADAPTERS:
        return []
    code = without_comments(text)
    return ['%s has %s' % (name, what) for pattern, what in FORBIDDEN if pattern.search(code)]


def main(root):
    folder = os.path.join(root, 'include', 'guestmem')
    headers = sorted(name for name in os.listdir(folder) if name.endswith('.h'))
    failures = []

    # The patterns find what they are for.
    for bad in ('_Atomic int x;', '#include <linux/kvm.h>', '#ifdef CONFIG_NUMA', '#include "base/base.h"'):
        assert check_text('x.h', bad), bad
    assert not check_text('x.h', '/* _Atomic */ #include <stdint.h>')
    assert len(headers) > 10, 'no headers found'

    with open(os.path.join(root, 'include', 'meson.build'), encoding='utf-8') as file:
        installed = set(re.findall(r"'guestmem/([^']+\.h)'", file.read()))
    with open(os.path.join(folder, 'guestmem.h'), encoding='utf-8') as file:
        together = set(re.findall(r'<guestmem/([^>]+)>', file.read()))
    for name in headers:
        with open(os.path.join(folder, name), encoding='utf-8') as file:
            failures += check_text(name, file.read())
        if name not in installed:
            failures.append('%s is not installed: include/meson.build' % name)
        # inline.h is how the others are built, and comes with each of them.
        if name not in together and name not in ADAPTERS and name not in ('guestmem.h', 'inline.h'):
            failures.append('%s is not in guestmem.h' % name)
    for name in sorted(installed - set(headers)):
        failures.append('%s is installed, but does not exist' % name)

    for compiler in compilers(root):
        for name in headers:
            # A header of macros alone is no translation unit: hence the declaration behind it.
            good, said = compiler.run('#include <guestmem/%s>\n#include <guestmem/%s>\nint here;\n' % (name, name))
            if not good:
                failures.append('%s: %s\n%s' % (compiler.name, name, said))

    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
