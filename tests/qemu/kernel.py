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

# Kind of kernel: the package that names the newest of them, and what the guest uses of it; what these modules depend on is found in
# themselves, but for what they ask for by an alias.
KINDS = {
    'cloud-amd64': ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'],
    'amd64': ['irqbypass', 'ccp', 'kvm', 'kvm_amd'],
}
SOURCES = ['guest.c', 'guest_disk.c', 'guest_ext4.c', 'guest_exec.c']
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


def package_name(kind):
    """The package that Debian's newest kernel of a kind is in."""
    _, text = said_by(['apt-cache', 'depends', 'linux-image-' + kind])
    found = re.search(r'Depends: (linux-image-[0-9][\w.+-]*-%s)$' % kind, text, re.MULTILINE)
    if not found:
        raise Skip('no kernel package: apt-cache knows no linux-image-' + kind)
    return found.group(1)


def download(kind, folder):
    """The unpacked package in @folder/tree."""
    for attempt in range(2):
        if attempt:
            # The lists may be older than what the archive holds today.
            said_by(['apt-get', '-q', 'update'])
        done, text = said_by(['apt-get', '-q', 'download', package_name(kind)], folder)
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


def collect_modules(kind, tree):
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

    for name in KINDS[kind]:
        add(name)
    return found


def prepare_kernel(kind):
    """(kernel image, folder of modules), both cached."""
    folder = os.path.join(BUILD, 'kernel-' + kind)
    image, modules = os.path.join(folder, 'vmlinuz'), os.path.join(folder, 'modules')
    if os.path.exists(image):
        return image, modules
    if platform.machine() != 'x86_64':
        raise Skip('the guest is an x86-64 machine, and emulated on x86-64 only')
    fresh = folder + '.new'
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(fresh, 'modules'))
    download(kind, fresh)
    tree = os.path.join(fresh, 'tree')
    for number, (name, data) in enumerate(collect_modules(kind, tree)):
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


def libraries(program):
    """What a program is linked with, its loader included."""
    done, text = said_by(['ldd', program])
    if not done:
        raise RuntimeError('ldd %s: %s' % (program, text.strip()))
    return re.findall(r'(?:=> |^\s*)(/\S+) \(', text, re.MULTILINE)


def prepare(kind='cloud-amd64', program=None):
    """(kernel image, initramfs) for QEMU; with a program of this host's in it, and its libraries."""
    with locked():
        image, modules = prepare_kernel(kind)
        files = {'init': build_program()}
        files.update(('modules/' + name, os.path.join(modules, name)) for name in os.listdir(modules))
        if program:
            files['program'] = program
            files.update((path.lstrip('/'), path) for path in libraries(program))
        archive = Archive()
        for folder in sorted({'dev'} | {path[:at] for path in files for at in range(len(path)) if path[at] == '/'}):
            archive.add(folder, stat.S_IFDIR | 0o755)
        archive.add('dev/console', stat.S_IFCHR | 0o600, device=(5, 1))
        for name, path in files.items():
            with open(path, 'rb') as file:
                archive.add(name, stat.S_IFREG | 0o755, file.read())
        output = os.path.join(BUILD, 'initramfs-' + (os.path.basename(program) if program else kind))
        with open(output + '.new', 'wb') as file:
            file.write(archive.finish())
        os.rename(output + '.new', output)
        return image, output
