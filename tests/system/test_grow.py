# SPDX-License-Identifier: Apache-2.0
"""Datasets grow while they are mounted and written to, in two recorded halves, whatever dies between them."""
import os
import pathlib
import random
import time

import pytest

import isolate
import kernel
from cluster import MIB, SIZES, Payload, scale, wait_until
from loads import SmallDisk, Writer

CAP_SYS_RESOURCE = 24
FILESYSTEMS = ["ext4", "xfs", "btrfs"]
KILLS, IN_FULL = 6, 60


def larger(fs, step=1):
    """A size to grow to; Linux resizes no btrfs to less than 256 MiB."""
    return max(SIZES[fs], 192 * MIB) + step * 128 * MIB


@pytest.fixture(autouse=True)
def allowed(request):
    """The kernel resizes an ext4 only for who has this capability, and not each test machine has it."""
    fs = request.node.callspec.params.get("fs") if hasattr(request.node, "callspec") else None
    status = kernel.read("/proc/self/status")
    mask = int(status.split("CapEff:")[1].split()[0], 16)
    if fs == "ext4" and not mask & 1 << CAP_SYS_RESOURCE:
        pytest.skip("to grow an ext4 needs CAP_SYS_RESOURCE; see tests/qemu/test_grow.py")


def room(node, dataset):
    """Of the filesystem, in bytes."""
    fs = os.statvfs(node.data(dataset))
    return fs.f_blocks * fs.f_frsize


def patch(cluster, dataset, **fields):
    return cluster.call("PATCH", f"/v2/datasets/{dataset}", fields)


def wait_grown(cluster, node, dataset, size):
    """Both halves are recorded, and true."""
    cluster.wait(dataset, f"{size} bytes large on {node.name}", lambda d: d["volume_size"] == d["size"] == size
                 and d["owner"] == node.uuid and d["why"] == "as wished" and d["node_live"])
    wait_until("the tree says so", lambda: (node.status(dataset) or {}).get("size") == size)
    assert room(node, dataset) > size * 0.8


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_it_grows_under_a_writer(cluster, fs):
    here, there = cluster
    dataset = cluster.make(here, fs)
    payload = Payload(fs)
    here.data(dataset, "payload").mkdir()
    payload.write(here.data(dataset, "payload"))
    writer = Writer(here.data(dataset, "log"))
    wait_until("it writes", lambda: writer.lines > 5)
    size = larger(fs)
    answer = patch(cluster, dataset, size=size)
    assert answer["size"] == size and answer["volume_size"] == SIZES[fs]
    wait_grown(cluster, here, dataset, size)
    at = writer.lines
    wait_until("it writes on", lambda: writer.lines > at + 5)
    writer.end()
    payload.check(here.data(dataset, "payload"))

    seen = cluster.show(dataset)
    since = [s["what"] for s in seen["history"]].index("a size of %.2f MiB wanted" % (size / MIB))
    assert {s["state"] for s in seen["history"][since:]} == {"mounted", "control"}
    assert seen["last_error"] is None
    events = here.read(dataset, "events")
    assert "mounted -> " not in events, events
    assert here.read(dataset, "wanted_size") == f"{size}\n"
    cluster.move(dataset, there)
    cluster.wait_mounted(dataset, there)
    wait_grown(cluster, there, dataset, size)
    payload.check(there.data(dataset, "payload"))


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_whoever_is_killed_meanwhile_the_halves_are_finished(cluster, fs, seed):
    """At random moments; each single one is in tests/crash."""
    here, _ = cluster
    dice = random.Random(seed)
    dataset = cluster.make(here, fs)
    writer = Writer(here.data(dataset, "log"))
    for n in range(1, scale(KILLS, IN_FULL) + 1):
        victim = (here, cluster.control)[n % 2]
        patch(cluster, dataset, size=larger(fs, n))
        time.sleep(dice.uniform(0, 0.08))  # whatever moment it is
        victim.kill()
        victim.start()
        cluster.wait_live()
        wait_grown(cluster, here, dataset, larger(fs, n))
    writer.end()


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_control_that_dies_before_it_is_told_hears_it_again(cluster, fs):
    here, _ = cluster
    dataset = cluster.make(here, fs)
    patch(cluster, dataset, size=larger(fs))
    cluster.control.kill()  # the volume may be larger by now, and nobody has written that down
    here.kill()
    here.start()
    cluster.control.start()
    cluster.wait_live()
    wait_grown(cluster, here, dataset, larger(fs))


def test_two_wishes_in_a_row_end_in_the_second(cluster):
    here, _ = cluster
    dataset = cluster.make(here, "xfs")
    for n in (1, 2, 3):
        patch(cluster, dataset, size=larger("xfs", n))
    wait_grown(cluster, here, dataset, larger("xfs", 3))


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_what_moves_while_it_grows_arrives_grown(cluster, fs, seed):
    dice = random.Random(seed)
    nodes = list(cluster)
    dataset = cluster.make(nodes[0], fs)
    payload = Payload(seed)
    payload.write(nodes[0].data(dataset))
    for n in range(1, 7):
        to = nodes[n % 2]
        patch(cluster, dataset, size=larger(fs, n))
        time.sleep(dice.uniform(0, 0.05))  # whatever moment it is
        patch(cluster, dataset, node=to.uuid)
        cluster.wait_mounted(dataset, to)
        wait_grown(cluster, to, dataset, larger(fs, n))
        payload.check(to.data(dataset))


def test_size_and_node_in_one_wish(cluster):
    here, there = cluster
    dataset = cluster.make(here, "xfs")
    patch(cluster, dataset, size=larger("xfs"), node=there.uuid)
    cluster.wait_mounted(dataset, there)
    wait_grown(cluster, there, dataset, larger("xfs"))


def test_a_dataset_that_is_nowhere_grows_at_its_next_mount(cluster):
    here, there = cluster
    dataset = cluster.make(here, "xfs")
    patch(cluster, dataset, node=None)
    cluster.wait(dataset, "detached", lambda d: d["owner"] is None)
    seen = patch(cluster, dataset, size=larger("xfs"))
    assert seen["size"] == larger("xfs") and seen["volume_size"] == SIZES["xfs"]
    patch(cluster, dataset, node=there.uuid)
    cluster.wait_mounted(dataset, there)
    wait_grown(cluster, there, dataset, larger("xfs"))


def test_nothing_shrinks(cluster):
    here, _ = cluster
    dataset = cluster.make(here, "xfs")
    patch(cluster, dataset, size=larger("xfs"))
    for size in (larger("xfs") - MIB, SIZES["xfs"]):  # also while it grows
        answer = cluster.control.call("PATCH", f"/v2/datasets/{dataset}", {"size": size})
        assert answer.status == 409 and answer.json["code"] == "shrink"
    wait_grown(cluster, here, dataset, larger("xfs"))


def test_btrfs_is_not_grown_to_less_than_linux_resizes(cluster):
    here, _ = cluster
    dataset = cluster.make(here, "btrfs")
    answer = cluster.control.call("PATCH", f"/v2/datasets/{dataset}", {"size": 192 * MIB})
    assert answer.status == 400 and "268435456" in answer.json["description"]
    assert cluster.show(dataset)["size"] == SIZES["btrfs"]


def test_a_leased_dataset_grows_within_its_term(cluster):
    here, _ = cluster
    dataset = cluster.make(here, "xfs", metadata={"flocker:failover": "lease", "flocker:term": "30"})
    patch(cluster, dataset, size=larger("xfs"))
    wait_grown(cluster, here, dataset, larger("xfs"))


def test_what_the_end_of_a_term_interrupts_goes_on_under_the_next_grant(cluster, seed):
    here, _ = cluster
    dice = random.Random(seed)
    dataset = cluster.make(here, "xfs", metadata={"flocker:failover": "lease", "flocker:term": "2"})
    payload = Payload(seed)
    payload.write(here.data(dataset))
    for n in range(1, scale(3, 20)):
        patch(cluster, dataset, size=larger("xfs", n))
        time.sleep(dice.uniform(0, 0.03))  # whatever moment it is
        cluster.control.pause()
        try:
            wait_until("it is fenced", lambda: (here.status(dataset) or {}).get("state") not in ("mounted", None))
        finally:
            cluster.control.resume()
        cluster.wait_mounted(dataset, here)
        wait_grown(cluster, here, dataset, larger("xfs", n))
        payload.check(here.data(dataset))


@pytest.fixture
def small_disk():
    """Ends after the cluster, as it is asked for before it."""
    disk = SmallDisk(pathlib.Path(os.environ[isolate.INSIDE]) / "images-grow", 512 * MIB)
    yield disk
    disk.end()


def test_without_room_it_stays_in_use_and_grows_when_there_is_some(small_disk, make_cluster):
    cluster = make_cluster(images=small_disk.point / "images").start()
    here, _ = cluster
    dataset = cluster.make(here, "xfs")
    with open(small_disk.ballast, "wb") as f:
        free = os.statvfs(small_disk.point)
        os.posix_fallocate(f.fileno(), 0, free.f_bavail * free.f_frsize - 64 * MIB)
    writer = Writer(here.data(dataset, "log"))
    patch(cluster, dataset, size=SIZES["xfs"] + 128 * MIB)
    seen = cluster.wait(dataset, "told that there is no room", lambda d: d["last_error"])
    assert seen["state"] == "mounted"
    assert seen["last_error"]["step"] == "expand" and seen["last_error"]["code"] == "ENOSPC"
    assert "bytes are missing" in seen["why"], seen["why"]
    assert seen["size"] == SIZES["xfs"] + 128 * MIB and seen["volume_size"] == SIZES["xfs"]
    wait_until("the tree says so", lambda: "bytes are missing" in here.read(dataset, "last_error"))
    assert here.read(dataset, "state") == "mounted\n"
    assert here.read(dataset, "wanted_size") == f"{SIZES['xfs'] + 128 * MIB}\n"
    assert here.status(dataset)["size"] == SIZES["xfs"]
    at = writer.lines
    wait_until("it is of use", lambda: writer.lines > at + 5)
    small_disk.empty()
    wait_grown(cluster, here, dataset, SIZES["xfs"] + 128 * MIB)
    assert cluster.show(dataset)["last_error"] is None
    writer.end()
