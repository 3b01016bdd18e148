#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""
guestmem run where memory that was unplugged is not released in time: it has to say which, and who holds it.

What holds it is the device, stopped by ptrace in the middle of a transfer between the disk and guest memory. Takes the tool's
ten seconds. Exit status 77, a skip, where threads of a child can't be stopped in a system call.

Usage: test_tool_held.py TOOL
"""
import ctypes
import errno
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

TOOL = sys.argv[1]
SKIP = 77
ATTEMPTS = 3
# preadv and pwritev, which the device moves all data with.
TRANSFERS = {"x86_64": (295, 296), "aarch64": (69, 70), "riscv64": (69, 70), "s390x": (328, 329)}.get(platform.machine())
PTRACE_DETACH, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 24, 0x4206, 0x4207
WAIT_ALL = 0x40000000  # __WALL: a thread of a child is no child

# Many slots: the transfer that is stopped is, but for bad luck, not in the one that is pulled next.
MACHINE = {
    "layout": "open",
    "regions": [{"name": "r", "kind": "ram", "first": 0, "bytes": "256M"}],
    "hotplug": [{"name": "s%d" % i, "first": (16 + i) << 28, "bytes": "256K"} for i in range(32)],
}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace %#x: %s" % (request, os.strerror(ctypes.get_errno())))


def skip(why):
    print("skipped: " + why)
    sys.exit(SKIP)


def threads_of(process):
    return sorted(map(int, os.listdir("/proc/%d/task" % process.pid)))


def threads_at_work(process):
    """The threads in the order they were made, once the last of them is there: ..., plugger, device, driver."""
    limit, before = time.monotonic() + 30, []
    while time.monotonic() < limit:
        now = threads_of(process)
        if len(now) >= 4 and now == before:
            return now
        before = now
        time.sleep(0.3)
    raise AssertionError("the run did not start its threads: %s" % before)


def stop_in_transfer(process, thread):
    """True when the thread stands in a transfer, stopped."""
    limit = time.monotonic() + 20
    try:
        ptrace(PTRACE_SEIZE, thread)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EIO):
            skip(str(error))
        raise
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WAIT_ALL)
    while time.monotonic() < limit:
        with open("/proc/%d/task/%d/syscall" % (process.pid, thread)) as file:
            if file.read().split()[0] in map(str, TRANSFERS):
                return True
        ptrace(PTRACE_SYSCALL, thread)
        os.waitpid(thread, WAIT_ALL)
    return False


def attempt(folder):
    """Status and errors of a run whose device was held up; None when nobody waited for it."""
    process = subprocess.Popen(
        [TOOL, "run", os.path.join(folder, "vm.json"), "--disk", os.path.join(folder, "disk"), "--bytes", "1T",
         "--queues", "1", "--depth", "1", "--spread", "16M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        plugger, device = threads_at_work(process)[-3:-1]
        stopped = stop_in_transfer(process, device)
        limit = time.monotonic() + 20
        while stopped and plugger in threads_of(process) and time.monotonic() < limit:
            time.sleep(0.1)
        gave_up = plugger not in threads_of(process)
        ptrace(PTRACE_DETACH, device)
        if not gave_up:
            return None
        out, err = process.communicate(timeout=60)
        assert "verified in" not in out, out
        return process.returncode, err
    finally:
        process.kill()
        process.communicate()


def main():
    if not TRANSFERS:
        skip("the numbers of system calls are not known for " + platform.machine())
    if not os.path.exists("/proc/self/syscall"):
        skip("this kernel does not say which system call a thread is in")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "vm.json"), "w") as file:
            json.dump(MACHINE, file)
        with open(os.path.join(folder, "disk"), "wb") as file:
            file.write(os.urandom(1 << 20))
        for _ in range(ATTEMPTS):
            result = attempt(folder)
            if result:
                break
        else:
            sys.exit("in %d attempts nobody waited for the device that was stopped" % ATTEMPTS)
    status, err = result
    said = [line for line in err.split("\n") if line.startswith("guestmem: ")]
    wanted = r"guestmem: 's\d+' was removed and is not released after 10 s; held by disk0/queue0 \((pin|reading)\)"
    if status != 1 or len(said) != 1 or not re.fullmatch(wanted, said[0]):
        sys.exit("status %d, said: %s" % (status, err))
    print(said[0])


if __name__ == "__main__":
    main()
