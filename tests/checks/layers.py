#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
Layers: who may include what, and who may call the system. The tables below are the rules; a file or a folder that they do not
know is an error, so that a new layer has to say where it stands.
"""
import os
import re
import sys

# Layers of src/, lowest first: the layers (their private headers, and the public ones that they own) that each may include.
MAY_INCLUDE = {
    'base': ['base'],
    'sys': ['base', 'sys'],
    'dirty': ['base', 'sys', 'dirty'],
    'mapping': ['base', 'sys', 'mapping'],
    'guard': ['base', 'sys', 'guard'],
    'region': ['base', 'sys', 'dirty', 'mapping', 'guard', 'region'],
    'layout': ['base', 'sys', 'layout'],
    'map': ['base', 'sys', 'dirty', 'mapping', 'region', 'layout', 'map'],
    'access': ['base', 'sys', 'dirty', 'guard', 'region', 'map', 'access'],
    'space': ['base', 'sys', 'dirty', 'region', 'layout', 'map', 'access', 'space'],
}

# Which layer owns a public header. What is not here is an error.
PUBLIC_OWNER = {
    'address.h': 'base', 'byteorder.h': 'base', 'error.h': 'base', 'inline.h': 'base',
    'dirty.h': 'dirty',
    'guard.h': 'guard',
    'region.h': 'region',
    'layout.h': 'layout',
    'map.h': 'map', 'memory.h': 'map',
    'view.h': 'map',  # a plain struct; the map's domain keeps the list of them
    'access.h': 'access',
    'space.h': 'space',
}

# Beyond the table: (file or folder, header, why).
ALSO = [
    ('src/ffi.c', 'guestmem/guestmem.h', 'emits the inlined functions of all of them'),
    ('src/sys/numa.h', 'guestmem/region.h', 'the policies are words of that header'),
    ('src/mapping', 'guestmem/region.h', 'the sources and options that it maps by are words of that header'),
    ('src/guard', 'guestmem/view.h', 'the head of what is guarded, which inlined accesses read'),
    ('src/layout', 'guestmem/region.h', 'kinds; and a plan makes regions, by the public constructor only'),
]

# System headers of the library outside of src/sys: what is pure,
PURE = {'assert.h', 'ctype.h', 'endian.h', 'errno.h', 'inttypes.h', 'limits.h', 'stdalign.h', 'stdarg.h', 'stdatomic.h', 'stdbool.h',
        'stddef.h', 'stdint.h', 'stdio.h', 'stdlib.h', 'string.h'}
# and these, for their words or because they make no system call of their own. Calls are looked for by name besides.
SYSTEM_ALSO = [
    ('src/dirty', 'pthread.h', 'mutexes'),
    ('src/map', 'pthread.h', 'mutexes'),
    ('src/access', 'immintrin.h', 'vector instructions of x86-64'),
    ('src/dirty', 'immintrin.h', 'vector instructions of x86-64'),
    ('src/space', 'pthread.h', 'mutexes and conditions'),
    ('src/access', 'sys/uio.h', 'struct iovec is in the interface'),
    ('src/guard', 'sys/mman.h', 'protections of mappings'),
    ('src/mapping', 'sys/mman.h', 'flags of mappings, which are in the interface'),
    ('src/region', 'sys/mman.h', 'flags of mappings, which are in the interface'),
    ('src/mapping', 'fcntl.h', 'flags of open files'),
    ('src/mapping', 'sys/sysmacros.h', 'makedev(), a macro'),
]

# What the library calls under src/sys only: the system,
SYSTEM_CALLS = '''open openat close read write pread pwrite readv writev preadv pwritev preadv2 pwritev2 lseek ftruncate fallocate
fstat stat lstat fstatfs statfs unlink unlinkat mkdir mkdirat rename dup dup2 dup3 fcntl ioctl mmap mmap64 munmap mremap mprotect
madvise mincore mlock mbind set_mempolicy get_mempolicy move_pages membarrier memfd_create syscall sysconf getpagesize getauxval
sigaction sigprocmask pthread_sigmask pthread_atfork raise
clock_gettime nanosleep clock_nanosleep usleep sleep sched_yield sched_getaffinity pthread_create pthread_join fork poll epoll_wait
eventfd futex fopen fread opendir readdir numa_available'''.split()
# its own memory,
ALLOCATION = 'malloc calloc realloc reallocarray free strdup strndup asprintf aligned_alloc posix_memalign'.split()
# and, not even there, what a library has no business with.
NOWHERE = 'getenv secure_getenv setenv exit _exit abort printf fprintf puts fputs perror vprintf vfprintf syslog signal'.split()

# Consumers' sources: the one header, and what it pulls in.
CONSUMERS = ['devices']
CONSUMER_HEADER = 'access.h'
# Adapters: each has its own public headers, and sees no other's.
ADAPTER_HEADERS = {'vhost_user': ['vhost_user.h', 'vhost_user_front.h'], 'kvm': ['kvm.h'], 'vfio': ['vfio.h']}
# Users of the whole public interface, and of no private header.
USERS = ['devices', 'tools', 'examples', 'bench', 'adapters', 'snapshot', 'loader']


def strip(text):
    """Without comments and strings, so that a word in them is no call."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', ' ', text, flags=re.S)


def includes(text):
    text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, flags=re.M)


def is_excepted(table, path, header):
    return any((path == where or path.startswith(where + '/')) and header == what for where, what, _ in table)


def calls(text, names):
    """Calls of plain functions: not of members (io->read), and not as parts of longer names (gm_read)."""
    return sorted(set(re.findall(r'(?<![\w.>*])(%s)\s*\(' % '|'.join(names), strip(text))))


def check_library_include(path, layer, mark, header):
    if is_excepted(ALSO, path, header):
        return None
    if header.startswith('guestmem/'):
        owner = PUBLIC_OWNER.get(header[len('guestmem/'):])
        if owner is None:
            return 'includes <%s>, which no layer owns' % header
    elif mark == '"':
        owner = header.split('/')[0]
        if owner not in MAY_INCLUDE:
            return 'includes "%s", which is of no layer; private headers are named from src/ on' % header
    else:
        if layer == 'sys' or header in PURE or is_excepted(SYSTEM_ALSO, path, header):
            return None
        return 'includes <%s>, which is for src/sys' % header
    if layer is not None and owner in MAY_INCLUDE[layer]:
        return None
    return 'includes %s of %s, which it may not see' % (header, owner)


def check_library(path, text):
    parts = path.split('/')
    layer = parts[1] if len(parts) > 2 else None
    found = []
    if layer is not None and layer not in MAY_INCLUDE:
        return ['is in a layer that the table does not have']
    for mark, header in includes(text):
        complaint = check_library_include(path, layer, mark, header)
        if complaint:
            found.append(complaint)
    if layer != 'sys':
        found += ['calls %s(), which is for src/sys' % name for name in calls(text, SYSTEM_CALLS)]
    if path != 'src/sys/memory.c':
        found += ['calls %s(), and not gmi_alloc() and its like' % name for name in calls(text, ALLOCATION)]
    found += ['calls %s(), which a library has no business with' % name for name in calls(text, NOWHERE)]
    return found


def is_sibling(adapter, header):
    return any(header in own for other, own in ADAPTER_HEADERS.items() if other != adapter)


def check_user(path, text, consumer_headers, own_headers):
    found = []
    for mark, header in includes(text):
        if header.startswith('guestmem/'):
            if path.split('/')[0] in CONSUMERS and header[len('guestmem/'):] not in consumer_headers:
                found.append('includes <%s>, which is no header of consumers' % header)
            if path.startswith('adapters/') and is_sibling(path.split('/')[1], header[len('guestmem/'):]):
                found.append("includes <%s>, which is a sibling's" % header)
        elif mark == '"' and os.path.basename(header) not in own_headers:
            found.append('includes "%s", which is private to somebody else' % header)
    return found


def pulled_in(root, name, seen=None):
    """The public headers that one pulls in, itself too."""
    seen = set() if seen is None else seen
    if name in seen:
        return seen
    seen.add(name)
    with open(os.path.join(root, 'include', 'guestmem', name), encoding='utf-8') as file:
        for _, header in includes(file.read()):
            if header.startswith('guestmem/'):
                pulled_in(root, header[len('guestmem/'):], seen)
    return seen


def sources(root, folder):
    for where, _, names in sorted(os.walk(os.path.join(root, folder))):
        for name in sorted(names):
            if name.endswith(('.c', '.h')):
                path = os.path.join(where, name)
                with open(path, encoding='utf-8') as file:
                    yield os.path.relpath(path, root).replace(os.sep, '/'), file.read()


def self_test():
    """Each rule refuses what it is for, and takes what is next to it."""
    bad = [
        ('src/base/x.c', '#include "sys/memory.h"'), ('src/sys/x.c', '#include "map/map.h"'),
        ('src/map/x.c', '#include "access/access.h"'), ('src/access/x.c', '#include <guestmem/space.h>'),
        ('src/dirty/x.c', '#include "mapping/mapping.h"'), ('src/layout/x.c', '#include "region/region.h"'),
        ('src/map/x.c', '#include <unistd.h>'), ('src/map/x.c', ' # include <numa.h>'),
        ('src/map/x.c', '#include <sys/mman.h>'), ('src/map/x.c', '#include "tree.h"'),
        ('src/map/x.c', '#include <guestmem/new.h>'), ('src/new/x.c', ''), ('src/x.c', '#include "map/map.h"'),
        ('src/space/x.c', 'r = pthread_create(&t);'), ('src/space/x.c', '\tclose (fd);'),
        ('src/space/x.c', 'p = malloc(1);'), ('src/sys/mmap.c', 'free(p);'), ('src/sys/x.c', 'printf("x");'),
        ('src/space/x.c', 'e = getenv("X");'),
    ]
    good = [
        ('src/map/x.c', '#include "map/tree.h"\n#include <string.h>\n#include <guestmem/layout.h>'),
        ('src/sys/x.c', '#include <unistd.h>\nclose(fd);'), ('src/sys/memory.c', 'free(p);'),
        ('src/access/x.c', 'io->read(1); io.write(2); gm_read(3); int (*close)(void); /* mmap(2) */ "open()"'),
        ('src/space/x.c', '#include <pthread.h>\npthread_mutex_lock(&m);'), ('src/map/x.c', '/*\n#include <unistd.h>\n*/'),
    ]
    for path, text in bad:
        assert check_library(path, text), 'not refused: %s: %s' % (path, text)
    for path, text in good:
        assert not check_library(path, text), 'refused: %s: %s: %s' % (path, text, check_library(path, text))
    assert check_user('devices/x.c', '#include <guestmem/space.h>', {'access.h'}, set())
    assert check_user('tools/x.c', '#include "map/map.h"', set(), {'x.h'})
    assert check_user('adapters/kvm/x.c', '#include <guestmem/vhost_user.h>', set(), set())
    assert not check_user('adapters/kvm/x.c', '#include <guestmem/kvm.h>\n#include <guestmem/space.h>', set(), set())
    assert not check_user('devices/x.c', '#include <guestmem/access.h>\n#include "x.h"\n#include <stdio.h>', {'access.h'}, {'x.h'})
    assert not check_user('tools/x.c', '#include <guestmem/space.h>', set(), set())


def main(root):
    failures, count = [], 0

    self_test()
    for path, text in sources(root, 'src'):
        count += 1
        failures += ['%s %s' % (path, what) for what in check_library(path, text)]
    assert count > 10, 'no sources found'
    consumer_headers = pulled_in(root, CONSUMER_HEADER)
    for folder in USERS:
        files = list(sources(root, folder))
        own = {os.path.basename(path) for path, _ in files if path.endswith('.h')}
        # A user's private header may be that of a device which it builds in, too.
        own |= {os.path.basename(path) for path, _ in sources(root, 'devices') if path.endswith('.h')}
        for path, text in files:
            failures += ['%s %s' % (path, what) for what in check_user(path, text, consumer_headers, own)]
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
