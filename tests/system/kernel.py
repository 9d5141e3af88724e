# SPDX-License-Identifier: Apache-2.0
"""What the kernel says: mounts of all namespaces, loop devices, dirty pages. But for loops_of(),
nothing is opened that a node may want to take down: an open loop device cannot be."""
import collections
import ctypes
import fcntl
import json
import os
import re
import struct

Mount = collections.namedtuple("Mount", "id devno root point fstype source")
Loop = collections.namedtuple("Loop", "name file diskseq")

CACHESTAT = 451
LOOP_GET_STATUS64, LOOP_INFO64_SIZE = 0x4C05, 232
# of an image of the loopback driver, also while it is destroyed and after
VOLUME = re.compile(r"/(?:\.gone-)?([0-9a-f-]{36})(?:\.[0-9a-f]+)?/image(?: \(deleted\))?$")
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
    """What is attached. The path of the file is as in the namespace of whoever attached it, and
    once that has ended it lacks its beginning; the volume's directory is always part of it."""
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


def loops_on_volumes():
    """[(volume_id, Loop)] of whatever loopback drivers there are."""
    return [(volume.group(1), loop) for loop in loops() if (volume := VOLUME.search(loop.file))]


def backing_file(loop):
    """Device and inode of the file below, and the device's own number; None when it is gone."""
    try:
        fd = os.open(f"/dev/{loop.name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(LOOP_INFO64_SIZE))
        return struct.unpack_from("QQ", info) + (os.fstat(fd).st_rdev,)
    except OSError:
        return None
    finally:
        os.close(fd)


def loops_of(*directories):
    """Loop devices on files below, and on files of filesystems on those; the innermost first."""
    files, paths = set(), {}
    for directory in directories:
        for path, _, names in os.walk(directory):
            for name in names:
                st = os.lstat(os.path.join(path, name))
                files.add((st.st_dev, st.st_ino))
                paths[st.st_ino] = os.path.join(path, name)
    rest = [(loop, below) for loop in loops() if (below := backing_file(loop))]
    # What was opened through an overlay has the overlay's number instead of its disk's.
    layer = [one for one in rest if one[1][:2] in files
             or paths.get(one[1][1], "").endswith(one[0].file)]
    found = []
    while layer:
        found = [loop for loop, _ in layer if loop not in found] + found
        devices = {below[2] for _, below in layer}
        layer = [one for one in rest if one[1][0] in devices]
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
