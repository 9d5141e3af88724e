# SPDX-License-Identifier: Apache-2.0
"""Thin images in a directory that gets full: said before, said while it lasts, and mended without
loss; and the room that files no longer need goes back to the directory."""
import errno
import os
import pathlib
import subprocess

import pytest

import isolate
from cluster import MIB, SIZES, Payload, wait_until
from loads import SmallDisk


@pytest.fixture
def small_disk():
    disks = []

    def make(name, size):
        disks.append(SmallDisk(pathlib.Path(os.environ[isolate.INSIDE]) / name, size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.end()


def warnings(node):
    return node.tree(".node", "warnings").read_text().splitlines()


def images(cluster):
    return list((cluster.images / "volumes").glob("*/image"))


def taken(cluster):
    """Bytes that all images take on their disk."""
    return sum(image.stat().st_blocks * 512 for image in images(cluster))


# ---- little room, and none ----

def test_little_room_is_a_warning_before_it_is_an_error(small_disk, make_cluster):
    disk = small_disk("low", 400 * MIB)
    cluster = make_cluster(nodes=1, images=disk.point / "images")
    node, = cluster
    node.settings["space-warning"] = "30%"
    node.write_config(cluster.images)
    cluster.start()
    dataset = cluster.make(node, size=900 * MIB)
    assert warnings(node) == [] and node.node_status()["warnings"] == []
    space = os.statvfs(disk.point)
    with open(disk.ballast, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - 80 * MIB)

    said = wait_until("a warning is shown", lambda: warnings(node))
    assert len(said) == 1 and "less than 30 %" in said[0] and "900.00 MiB are promised" in said[0]
    assert node.node_status()["warnings"] == said
    assert int(node.tree(".node", "promised").read_text()) == 900 * MIB
    assert 0 < int(node.tree(".node", "free").read_text()) < 120 * MIB
    assert 'flocker_node_backend_warning{backend="default",driver="loopback"} 1\n' \
        in node.tree(".node", "metrics").read_text()
    assert node.read(dataset, "state") == "mounted\n"
    disk.empty()
    wait_until("there is none any more", lambda: not warnings(node))
    assert node.log.count("less than 30 %") == 1 and node.log.count("has room again") == 1


@pytest.mark.parametrize("fs", list(SIZES))
def test_a_dataset_on_a_full_disk_says_so_and_is_mended_without_loss(small_disk, make_cluster, fs):
    disk = small_disk(f"full-{fs}", 500 * MIB)
    cluster = make_cluster(nodes=1, images=disk.point / "images").start()
    node, = cluster
    dataset = cluster.make(node, fs, size=900 * MIB)
    payload = Payload(3)
    payload.write(node.data(dataset))
    disk.fill()

    with pytest.raises(OSError) as failed, open(node.data(dataset, "more"), "wb", buffering=0) as f:
        for _ in range(64):
            f.write(os.urandom(MIB))
            os.fsync(f.fileno())
    assert failed.value.errno in (errno.EIO, errno.ENOSPC, errno.EROFS)
    node.wait_state(dataset, "faulty")
    why = node.read(dataset, "why")
    assert "the backend is full" in why and "make room in" in why
    assert ["is full" in line for line in warnings(node)] == [True]
    cluster.wait(dataset, "faulty", lambda d: d["state"] == "faulty" and "backend is full" in d["why"])

    disk.empty()
    wait_until("there is room", lambda: not warnings(node))
    mount = f"{node.root}/{dataset}"

    def is_mended():
        """By itself, or, when the filesystem has turned read-only meanwhile, once it is unmounted."""
        try:
            if node.has(dataset):
                with open(node.data(dataset, "try"), "wb") as f:
                    f.write(b"again")
                    os.fsync(f.fileno())
                node.data(dataset, "try").unlink()
                return node.read(dataset, "state") == "mounted\n"
        except OSError:
            subprocess.run(node.inside("umount", mount), check=False, stderr=subprocess.DEVNULL)
        return False

    wait_until("it is mended", is_mended)
    if node.data(dataset, "more").exists():
        node.data(dataset, "more").unlink()
    payload.add(node.data(dataset))
    payload.check(node.data(dataset))


# ---- trims ----

def make_due(node, *datasets):
    """As if they had been seen first two weeks ago."""
    (node.state / "trims").write_text("".join(f"{d} 1000 0 0\n" for d in datasets))


def write_and_delete(node, dataset, size=40 * MIB):
    """Until it is free on disk. Returns what was taken before it was deleted."""
    file = node.data(dataset, "big")
    with open(file, "wb") as f:
        f.write(os.urandom(size))
        os.fsync(f.fileno())
    peak = taken(node.cluster)
    free = os.statvfs(node.data(dataset)).f_bfree
    file.unlink()
    # xfs and btrfs free in the background, and trim what is free in their log: a freeze waits for both.
    wait_until("it is free", lambda: os.statvfs(node.data(dataset)).f_bfree > free)
    for what in ("--freeze", "--unfreeze"):
        subprocess.run(["fsfreeze", what, str(node.data(dataset))], check=True)
    return peak


@pytest.mark.parametrize("failover", [{}, {"flocker:failover": "lease", "flocker:term": "6"}],
                         ids=["manual", "leased"])
@pytest.mark.parametrize("fs", list(SIZES))
def test_a_trim_gives_room_back_and_is_remembered(make_cluster, fs, failover):
    cluster = make_cluster(nodes=1).start()
    node, = cluster
    dataset = cluster.make(node, fs, metadata=failover)
    payload = Payload(5)
    payload.write(node.data(dataset))
    before = taken(cluster)
    assert write_and_delete(node, dataset) - before > 30 * MIB
    assert node.read(dataset, "trimmed") == ""
    node.stop()
    make_due(node, dataset)
    node.start()

    wait_until("it is trimmed", lambda: node.read(dataset, "trimmed"))
    # Newer kernels' xfs does not wait for the device; btrfs may have begun to give it back by itself.
    wait_until("the room is back", lambda: taken(cluster) - before < 10 * MIB)
    assert int(node.read(dataset, "trimmed_bytes")) > 30 * MIB
    assert "flocker_node_trims_total 1\n" in node.tree(".node", "metrics").read_text()
    payload.check(node.data(dataset))
    when = node.read(dataset, "trimmed")
    wait_until("it is remembered", lambda: " 1000 " not in (node.state / "trims").read_text())
    node.stop()
    node.start()
    node.wait_state(dataset, "mounted")
    assert node.read(dataset, "trimmed") == when
    assert node.log.count("the backend was told of") == 1


def test_discard_on_gives_room_back_at_once_and_off_never(make_cluster):
    cluster = make_cluster(nodes=2)
    on, off = cluster
    on.settings["discard"], off.settings["discard"] = "on", "off"
    for node in cluster:
        node.write_config(cluster.images)
    cluster.start()
    dataset = cluster.make(on)
    before = taken(cluster)
    write_and_delete(on, dataset)
    wait_until("the room is back", lambda: taken(cluster) - before < 10 * MIB)
    cluster.move(dataset, off)
    cluster.wait_mounted(dataset, off)
    before = taken(cluster)
    write_and_delete(off, dataset)
    off.stop()
    make_due(off, dataset)
    off.start()
    off.wait_state(dataset, "mounted")
    payload = Payload(1)
    payload.write(off.data(dataset))
    assert taken(cluster) - before > 30 * MIB and off.read(dataset, "trimmed") == ""
