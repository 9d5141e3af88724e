# SPDX-License-Identifier: Apache-2.0
"""A mount that is in use: the move waits, names who is in the way, and goes on when that ends."""
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from cluster import wait_until

SOON_S = 3  # from the end of the last holder to the unmount; it is asked twice a second

CWD = "os.chdir(sys.argv[1])"
OPEN_FILE = "f = open(sys.argv[1] + '/held', 'w')"
MAPPED = """
f = open(sys.argv[1] + '/held', 'w+b')
f.write(bytes(4096)); f.flush()
m = mmap.mmap(f.fileno(), 4096)
f.close()
"""
ROOT = "os.chroot(sys.argv[1])"
NAMESPACE = """
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b'/', None, 1 << 18 | 0x4000, None) == 0
"""


class Holder:
    """A process that does one thing to a directory, then waits until its standard input ends."""

    def __init__(self, what, directory):
        program = f"import ctypes, mmap, os, sys\n{what}\nprint(flush=True)\nsys.stdin.read()"
        self.process = subprocess.Popen([sys.executable, "-c", program, str(directory)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"\n"
        self.pid = self.process.pid

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


@pytest.fixture
def hold(cluster):
    """hold(what, directory); what is still held when the test fails is let go."""
    holders = []

    def start(what, directory):
        holders.append(Holder(what, directory))
        return holders[-1]

    yield start
    for one in holders:
        if one.process.poll() is None:
            one.end()


def holders_of(node, dataset):
    return (node.read(dataset, "holders") or "").splitlines()


def is_busy(node, dataset, seen, pattern):
    """Tree and API tell the same: who holds it, in `holders` and in `why`."""
    held = holders_of(node, dataset)
    return any(re.search(pattern, line) for line in held) and (seen["last_error"] or {}).get("holders") == held \
        and re.search(pattern, node.read(dataset, "why") or "") \
        and re.search(pattern, seen["why"]) \
        and node.read(dataset, "state") in ("unmounting\n", "detaching\n") \
        and seen["state"] in ("unmounting", "detaching") and seen["last_error"]["code"] == "EBUSY"


def wait_busy(cluster, node, dataset, pattern):
    cluster.wait(dataset, f"held by '{pattern}'",
                 lambda seen: is_busy(node, dataset, seen, pattern))


def assert_arrives(cluster, dataset, node):
    begun = time.monotonic()
    cluster.wait_mounted(dataset, node)
    took = time.monotonic() - begun
    assert took < SOON_S, f"{took:.1f} s from the end of the holder to the mount"


@pytest.mark.parametrize("what, words", [
    (CWD, "cwd {mount}"),
    (OPEN_FILE, "open file {mount}/held"),
    (MAPPED, "mapped file {mount}/held"),
    (ROOT, "root {mount}"),
], ids=["cwd", "open file", "memory map", "root"])
def test_a_move_waits_for_a_process_and_names_it(cluster, hold, what, words):
    here, there = cluster
    dataset = cluster.make(here)
    mount = here.root / dataset
    holder = hold(what, mount)
    cluster.move(dataset, there)
    wait_busy(cluster, here, dataset, re.escape(f"pid {holder.pid} (python3): ")
              + ".*" + re.escape(words.format(mount=mount)))
    # While it waits nothing of it changes hands, and whoever has it goes on using it.
    assert here.has(dataset) and not there.has(dataset)
    (here.data(dataset) / "written-meanwhile").write_text("yes")
    assert there.read(dataset, "state") == "waiting\n"
    assert "unmounting" in there.read(dataset, "why")
    holder.end()
    assert_arrives(cluster, dataset, there)
    assert (there.data(dataset) / "written-meanwhile").read_text() == "yes"
    assert cluster.show(dataset)["last_error"] is None


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_copy_of_the_mount_in_another_namespace_counts_as_busy(cluster, hold, fs):
    here, there = cluster
    dataset = cluster.make(here, fs)
    holder = hold(NAMESPACE, here.root)
    namespace = os.readlink(f"/proc/{holder.pid}/ns/mnt").strip("mnt:[]")
    cluster.move(dataset, there)
    wait_busy(cluster, here, dataset, rf"pid {holder.pid} \(python3\): mounted at "
              rf"{re.escape(str(here.root / dataset))}; in mount namespace {namespace}$")
    assert len(holders_of(here, dataset)) == 1
    # Gone from the host, alive in the other namespace: the volume must not be given away.
    assert not os.path.ismount(here.root / dataset)
    copy = pathlib.Path(f"/proc/{holder.pid}/root{here.root}/{dataset}")
    (copy / "written-in-the-copy").write_text("yes")
    assert cluster.show(dataset)["owner"] == here.uuid and not there.has(dataset)
    holder.end()
    assert_arrives(cluster, dataset, there)
    assert (there.data(dataset) / "written-in-the-copy").read_text() == "yes"
    assert not (here.root / dataset).exists()


def test_holders_are_named_one_by_one_as_they_go(cluster, hold):
    here, there = cluster
    dataset = cluster.make(here)
    first, second = hold(CWD, here.root / dataset), hold(OPEN_FILE, here.root / dataset)
    cluster.move(dataset, there)
    wait_busy(cluster, here, dataset, rf"pid ({first.pid}|{second.pid}) ")
    assert [re.match(r"pid (\d+) ", line).group(1) for line in holders_of(here, dataset)] == \
        [str(first.pid), str(second.pid)]
    assert here.read(dataset, "why").endswith(" and others\n")
    first.end()
    wait_until("only the second is named", lambda: len(holders_of(here, dataset)) == 1)
    wait_busy(cluster, here, dataset, rf"pid {second.pid} ")
    second.end()
    assert_arrives(cluster, dataset, there)


def test_a_busy_delete_waits_and_loses_nothing(cluster, hold):
    here, _ = cluster
    dataset = cluster.make(here)
    holder = hold(OPEN_FILE, here.root / dataset)
    cluster.delete(dataset)
    wait_busy(cluster, here, dataset, rf"pid {holder.pid} ")
    assert here.has(dataset) and list((cluster.images / "volumes").iterdir())
    holder.end()
    cluster.wait_destroyed(dataset, SOON_S)


def test_a_daemon_that_is_killed_meanwhile_waits_on(cluster, hold):
    here, there = cluster
    dataset = cluster.make(here)
    holder = hold(OPEN_FILE, here.root / dataset)
    cluster.move(dataset, there)
    wait_busy(cluster, here, dataset, rf"pid {holder.pid} ")
    here.kill()
    here.start()
    wait_busy(cluster, here, dataset, rf"pid {holder.pid} ")
    holder.end()
    assert_arrives(cluster, dataset, there)


def test_one_busy_dataset_delays_no_other(cluster, hold):
    here, there = cluster
    busy, others = cluster.make(here), [cluster.make(here) for _ in range(3)]
    holder = hold(CWD, here.root / busy)
    cluster.move(busy, there)
    wait_busy(cluster, here, busy, rf"pid {holder.pid} ")
    for other in others:
        cluster.move(other, there)
    for other in others:
        cluster.wait_mounted(other, there, SOON_S)
    assert here.has(busy)
    holder.end()
    assert_arrives(cluster, busy, there)
