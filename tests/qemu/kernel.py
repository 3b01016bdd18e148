# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
The guest's kernel and its first and only file system: Debian's kernel package, downloaded and unpacked into build/qemu/kernel and
never installed, and an initramfs of the workloads' program with the modules that it needs, in the order they are loaded in.

Everything is kept, so that the second run needs no network. What can't be had is a reason to skip, not a failure.
"""
import contextlib
import fcntl
import glob
import lzma
import os
import platform
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, 'build', 'qemu')

META_PACKAGE = 'linux-image-cloud-amd64'
# What the guest uses; what these depend on is found in the modules themselves, but for what they ask for by an alias.
MODULES = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4']
SOURCES = ['guest.c', 'guest_disk.c', 'guest_ext4.c']
DOWNLOAD_SECONDS = 180


class Skip(Exception):
    """The reason why a test can't be run here."""


@contextlib.contextmanager
def locked():
    """One at a time: tests may be started side by side."""
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, 'lock'), 'w', encoding='ascii') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def said_by(command, folder=None):
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=DOWNLOAD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout.decode('utf-8', 'replace')


def package_name():
    """The package that Debian's newest kernel for virtual machines is in."""
    _, text = said_by(['apt-cache', 'depends', META_PACKAGE])
    found = re.search(r'Depends: (linux-image-[\w.+-]+-cloud-amd64)$', text, re.MULTILINE)
    if not found:
        raise Skip('no kernel package: apt-cache knows no ' + META_PACKAGE)
    return found.group(1)


def download(folder):
    """The unpacked package in @folder/tree."""
    for attempt in range(2):
        if attempt:
            # The lists may be older than what the archive holds today.
            said_by(['apt-get', '-q', 'update'])
        done, text = said_by(['apt-get', '-q', 'download', package_name()], folder)
        if done:
            break
    else:
        raise Skip('the kernel package can not be downloaded: ' + (text.strip().splitlines() or ['?'])[-1])
    package = glob.glob(os.path.join(folder, '*.deb'))[0]
    done, text = said_by(['dpkg-deb', '-x', package, os.path.join(folder, 'tree')])
    if not done:
        raise Skip('the kernel package can not be unpacked: ' + text.strip())
    os.unlink(package)


def module_file(tree, name):
    """The bytes of a module, or None where it is built into the kernel."""
    for path in glob.glob(os.path.join(tree, 'lib/modules/*/kernel/**/*.ko*'), recursive=True):
        if os.path.basename(path).split('.')[0].replace('-', '_') == name:
            with open(path, 'rb') as file:
                data = file.read()
            return lzma.decompress(data) if path.endswith('.xz') else data
    for path in glob.glob(os.path.join(tree, 'lib/modules/*/modules.builtin')):
        with open(path, encoding='ascii') as file:
            if re.search(r'/%s\.ko$' % name.replace('_', '[-_]'), file.read(), re.MULTILINE):
                return None
    raise Skip('the kernel package has no module ' + name)


def collect_modules(tree):
    """[(name, bytes)], each behind those that it depends on."""
    found, seen = [], set()

    def add(name):
        if name in seen:
            return
        seen.add(name)
        data = module_file(tree, name)
        if data is None:
            return
        needs = re.search(rb'\0depends=([^\0]*)\0', data)
        for other in needs.group(1).decode().split(',') if needs else []:
            if other:
                add(other.replace('-', '_'))
        found.append((name, data))

    for name in MODULES:
        add(name)
    return found


def prepare_kernel():
    """(kernel image, folder of modules), both cached."""
    folder = os.path.join(BUILD, 'kernel')
    image, modules = os.path.join(folder, 'vmlinuz'), os.path.join(folder, 'modules')
    if os.path.exists(image):
        return image, modules
    if platform.machine() != 'x86_64':
        raise Skip('the guest is an x86-64 machine, and emulated on x86-64 only')
    fresh = folder + '.new'
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(fresh, 'modules'))
    download(fresh)
    tree = os.path.join(fresh, 'tree')
    for number, (name, data) in enumerate(collect_modules(tree)):
        with open(os.path.join(fresh, 'modules', '%02d-%s.ko' % (number, name)), 'wb') as file:
            file.write(data)
    shutil.copyfile(glob.glob(os.path.join(tree, 'boot/vmlinuz-*'))[0], os.path.join(fresh, 'vmlinuz'))
    shutil.rmtree(tree)
    os.rename(fresh, folder)
    return image, modules


class Archive:
    """A cpio archive in the "new ASCII" format, which is what the kernel unpacks; written here, for device nodes need no root."""

    def __init__(self):
        self.parts, self.count = [], 0

    def add(self, name, mode, data=b'', device=(0, 0)):
        self.count += 1
        encoded = name.encode() + b'\0'
        fields = [self.count, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(encoded), 0]
        header = b'070701' + b''.join(b'%08X' % field for field in fields) + encoded
        for part in (header, data):
            self.parts.append(part + b'\0' * (-len(part) % 4))

    def finish(self):
        self.add('TRAILER!!!', 0)
        return b''.join(self.parts)


def build_program():
    """The workloads, as one static program."""
    output = os.path.join(BUILD, 'guest')
    sources = [os.path.join(HERE, name) for name in SOURCES]
    inputs = sources + [os.path.join(HERE, 'guest.h')]
    if not os.path.exists(output) or any(os.path.getmtime(path) >= os.path.getmtime(output) for path in inputs):
        command = [os.environ.get('CC', 'cc'), '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Wpedantic', '-Werror',
                   '-static', '-o', output] + sources
        done, text = said_by(command)
        if not done:
            raise RuntimeError('the program for the guest does not build:\n' + text)
    return output


def prepare():
    """(kernel image, initramfs) for QEMU."""
    with locked():
        image, modules = prepare_kernel()
        program = build_program()
        archive = Archive()
        archive.add('dev', stat.S_IFDIR | 0o755)
        archive.add('dev/console', stat.S_IFCHR | 0o600, device=(5, 1))
        archive.add('modules', stat.S_IFDIR | 0o755)
        for name, path in [('init', program)] + [('modules/' + name, os.path.join(modules, name)) for name in os.listdir(modules)]:
            with open(path, 'rb') as file:
                archive.add(name, stat.S_IFREG | 0o755, file.read())
        output = os.path.join(BUILD, 'initramfs')
        with open(output + '.new', 'wb') as file:
            file.write(archive.finish())
        os.rename(output + '.new', output)
        return image, output
