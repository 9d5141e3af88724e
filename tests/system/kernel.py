# SPDX-License-Identifier: Apache-2.0
"""What the kernel says: mounts of all namespaces, loop devices, dirty pages. Nothing is opened that
a node may want to take down: an open loop device cannot be."""
import collections
import ctypes
import json
import os
import re

Mount = collections.namedtuple("Mount", "id devno root point fstype source")
Loop = collections.namedtuple("Loop", "name file diskseq")

CACHESTAT = 451
OCTAL = re.compile(r"\\([0-7]{3})")
libc = ctypes.CDLL(None, use_errno=True)


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def plain(text):
    return OCTAL.sub(lambda m: chr(int(m.group(1), 8)), text) if "\\" in text else text


def parse_mountinfo(text):
    mounts = []
    for line in text.splitlines():
        left, right = line.split(" - ", 1)
        left, right = left.split(" "), right.split(" ")
        mounts.append(Mount(int(left[0]), left[2], plain(left[3]), plain(left[4]), right[0],
                            plain(right[1])))
    return mounts


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def namespaces():
    """One process of each mount namespace: {inode of the namespace: pid}."""
    found = {}
    for pid in pids():
        try:
            found.setdefault(os.readlink(f"/proc/{pid}/ns/mnt"), pid)
        except OSError:
            continue
    return found


def mounts():
    """[(namespace, Mount)] of all mount namespaces that have a process."""
    found = []
    for namespace, pid in namespaces().items():
        try:
            text = read(f"/proc/{pid}/mountinfo")
        except OSError:
            continue
        found += [(namespace, m) for m in parse_mountinfo(text)]
    return found


def loops():
    found = []
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop"):
            continue
        try:
            # The text ends with " (deleted)" where the file was.
            file = read(f"/sys/block/{name}/loop/backing_file").rstrip("\n")
            found.append(Loop(name, file, int(read(f"/sys/block/{name}/diskseq"))))
        except OSError:
            continue
    return found


class CachestatRange(ctypes.Structure):
    _fields_ = [("off", ctypes.c_uint64), ("len", ctypes.c_uint64)]


class Cachestat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("cache", "dirty", "writeback", "evicted", "recently_evicted")]


def dirty_pages(path):
    """Pages of a file that are not on the disk; None where the kernel has no cachestat(2) (6.5)."""
    everything, result = CachestatRange(0, 0), Cachestat()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syscall(CACHESTAT, fd, ctypes.byref(everything), ctypes.byref(result), 0) != 0:
            return None
    finally:
        os.close(fd)
    return result.dirty + result.writeback


def claim(volume):
    """The claim of a loopback volume: the slot with the highest serial; None without any."""
    slots = []
    try:
        with open(os.path.join(volume, "claim"), "rb") as f:
            data = f.read()
    except OSError:
        return None
    for at in range(0, len(data), 4096):
        try:
            slots.append(json.loads(data[at:at + 4096]))
        except ValueError:
            continue
    return max(slots, key=lambda s: s["serial"]) if slots else None
