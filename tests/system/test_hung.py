# SPDX-License-Identifier: Apache-2.0
"""Storage that never answers: only its own datasets stand still, and a killed daemon comes back."""
import os
import re
import shutil
import signal

import pytest

import kernel
from cluster import LIMIT_S, Payload, wait_until
from loads import HangingDisk, Writer
from test_space import make_due, write_and_delete

STEP_LIMIT_S = 3
HUNG_AT_ONCE = 20  # more than the workers that a node has at work at once
OTHERS = 100
HEARTBEAT_S = 10


@pytest.fixture
def disks():
    """Ends after the cluster, which it is mounted below."""
    made = []
    yield made
    for one in made:
        one.end()


@pytest.fixture
def disk(disks, make_cluster):
    """A running cluster whose images are on a disk that can hang; .cluster is it."""
    cluster = make_cluster()
    disks.append(HangingDisk(cluster.images, cluster.base / "store"))
    disks[0].cluster = cluster
    for node in cluster:
        node.options = ["--step-limit", str(STEP_LIMIT_S)]
    cluster.start()
    yield disks[0]
    disks[0].go()


def volume_of(cluster, dataset):
    return cluster.show(dataset)["volume_id"]


def hang(disk, *datasets):
    disk.hang(*[f"*{volume_of(disk.cluster, d)}*" for d in datasets])


def wait_hung(cluster, node, dataset, step):
    """Until the tree and the API say that the storage hangs."""
    words = re.compile(f"{step} has not returned for [0-9]+ s: the storage hangs")
    wait_until(f"the tree says that {step} hangs", lambda: node.read(dataset, "state") == "failed\n"
               and words.search(node.read(dataset, "why") or ""))
    cluster.wait(dataset, f"hung in {step}",
                 lambda d: d["state"] == "failed" and words.search(d["why"]))
    assert f"{dataset}: {step} does not return: the storage hangs" in node.log


def stuck_threads(process):
    """Threads of a process that sleep beyond all signals: [tid]."""
    found = []
    for tid in os.listdir(f"/proc/{process.pid}/task"):
        try:
            text = kernel.read(f"/proc/{process.pid}/task/{tid}/stat")
        except OSError:
            continue
        if text.rpartition(")")[2].split()[0] == "D":
            found.append(tid)
    return found


class Others:
    """Datasets with data that are moved while storage hangs."""

    def __init__(self, cluster, count):
        self.cluster, self.here, self.there = cluster, *cluster
        self.payloads = {cluster.create(self.here): Payload(n, files=3) for n in range(count)}
        for dataset, payload in self.payloads.items():
            cluster.wait_mounted(dataset, self.here)
            payload.write(self.here.data(dataset))

    def move(self, to, limit):
        for dataset in self.payloads:
            self.cluster.move(dataset, to)
        for dataset, payload in self.payloads.items():
            self.cluster.wait_mounted(dataset, to, limit)
            payload.check(to.data(dataset))


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_hung_unmount_stops_only_its_own_dataset(disk, fs):
    cluster = disk.cluster
    here, there = cluster
    payload = Payload(fs)
    hung, other = cluster.make(here, fs), cluster.make(here)
    payload.write(here.data(hung))
    hang(disk, hung)
    cluster.move(hung, there)
    wait_hung(cluster, here, hung, "unmount")
    assert there.read(hung, "state") == "waiting\n"
    cluster.move(other, there)
    cluster.wait_mounted(other, there)
    made = cluster.make(here)
    cluster.delete(made)
    cluster.wait_destroyed(made)
    disk.go()
    cluster.wait_mounted(hung, there)
    payload.check(there.data(hung))


STEPS = ["create", "attach", "detach", "destroy"]


def begin_hung(disk, step):
    """A dataset whose step hangs: (dataset, the node where it is to be in the end; None: destroyed)."""
    cluster = disk.cluster
    here, there = cluster
    if step in ("create", "attach"):
        here.stop()
        dataset = cluster.create(here)
        volume = volume_of(cluster, dataset)  # chosen by control before the node makes it
        disk.hang({"create": f"*/.new-{volume}*/*", "attach": f"*/{volume}/claim"}[step])
        here.start()
        end = here
    else:
        dataset = cluster.make(here)
        volume = volume_of(cluster, dataset)
        disk.hang({"detach": f"*/{volume}/claim", "destroy": f"*/.gone-{volume}*/*"}[step])
        end = there if step == "detach" else None
        cluster.move(dataset, there) if end else cluster.delete(dataset)
    wait_hung(cluster, here, dataset, step)
    return dataset, end


def wait_ended(disk, dataset, end):
    disk.go()
    if end:
        disk.cluster.wait_mounted(dataset, end)
    else:
        disk.cluster.wait_destroyed(dataset)


def wait_tidied(cluster, node):
    """What a killed daemon left half made or half destroyed goes; a started one tidies up at once."""
    node.kill()
    node.start()
    wait_until("all is tidied up", lambda: not [
        p.name for p in (cluster.images / "volumes").iterdir() if p.name.startswith(".")])


@pytest.mark.parametrize("step", STEPS)
def test_each_hung_step_is_told_and_ends_in_the_end(disk, step):
    wait_ended(disk, *begin_hung(disk, step))


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_beside_each_hung_step_comes_back(disk, step):
    cluster = disk.cluster
    here, _ = cluster
    used = cluster.make(here)
    dataset, end = begin_hung(disk, step)
    old = kill_hung(here)
    here.start()
    cluster.wait_live(here)
    assert old.poll() is None, "the old process was meant to hang on"
    here.wait_state(used, "mounted")
    cluster.make(here)
    wait_ended(disk, dataset, end)
    old.wait(LIMIT_S)
    wait_tidied(cluster, here)


def test_many_hung_at_once_hold_nobody_up(disk):
    cluster = disk.cluster
    here, there = cluster
    others = Others(cluster, OTHERS)
    hung = [cluster.create(here) for _ in range(HUNG_AT_ONCE)]
    for dataset in hung:
        cluster.wait_mounted(dataset, here)
        Payload(dataset, files=2).write(here.data(dataset))
    quiet = len(here.log)
    hang(disk, *hung)
    for dataset in hung:
        cluster.move(dataset, there)
    wait_until("all hang in the kernel", lambda: len(stuck_threads(here.process)) >= HUNG_AT_ONCE)
    others.move(there, limit=30)
    others.move(here, limit=30)
    for dataset in hung:
        wait_hung(cluster, here, dataset, "unmount")
    # Nothing is left to report, so what control hears next is a heartbeat.
    wait_until("the node is silent", lambda: silent_s(cluster, here) >= HEARTBEAT_S // 3)
    wait_until("control heard a heartbeat", lambda: silent_s(cluster, here) <= 1)
    assert "no session with control" not in here.log[quiet:]
    assert here.node_status()["connected"]
    disk.go()
    for dataset in hung:
        cluster.wait_mounted(dataset, there)


def silent_s(cluster, node):
    return next(n["silent_s"] for n in cluster.call("GET", "/v2/nodes")["nodes"] if n["uuid"] == node.uuid)


def test_a_hung_worker_has_none_of_the_daemons_descriptors(disk):
    cluster = disk.cluster
    here, there = cluster
    dataset = cluster.make(here)
    hang(disk, dataset)
    cluster.move(dataset, there)
    wait_until("its worker hangs in the kernel", lambda: stuck_threads(here.process))
    for tid in stuck_threads(here.process):
        kept = {fd: os.readlink(f"/proc/{here.process.pid}/task/{tid}/fd/{fd}")
                for fd in os.listdir(f"/proc/{here.process.pid}/task/{tid}/fd")}
        for fd, link in kept.items():
            assert int(fd) <= 2 or link.startswith(("anon_inode:[eventfd]", str(cluster.images),
                                                    "/dev/loop")), kept
        assert not [link for link in kept.values() if link.startswith("socket:")
                    or link == "/dev/fuse" or link.startswith(str(here.state))]
    disk.go()
    cluster.wait_mounted(dataset, there)


def kill_hung(node):
    """SIGKILL of a daemon that cannot end: it stays a zombie with threads. Returns it."""
    old = node.process
    old.send_signal(signal.SIGKILL)
    return old


@pytest.mark.parametrize("reader", [False, True], ids=["", "while a reader holds the tree"])
def test_a_daemon_killed_beside_a_hung_worker_comes_back(disk, reader):
    cluster = disk.cluster
    here, there = cluster
    payload = Payload("used")
    hung, used = cluster.make(here), cluster.make(here)
    payload.write(here.data(used))
    Payload("hung").write(here.data(hung))
    hang(disk, hung)
    cluster.move(hung, there)
    wait_hung(cluster, here, hung, "unmount")
    held = open(here.tree(used, "state"), "rb", buffering=0) if reader else None
    writer = Writer(here.data(used) / "log")
    old = kill_hung(here)
    here.start()  # its lock, its tree and its claims are free again
    cluster.wait_live(here)
    assert old.poll() is None, "the old process was meant to hang on"
    here.wait_state(used, "mounted")
    assert here.node_status()["connected"]
    made = cluster.make(here)
    cluster.move(made, there)
    cluster.wait_mounted(made, there)
    assert cluster.show(hung)["owner"] == here.uuid and not there.has(hung)
    if reader:
        with pytest.raises(OSError):
            os.pread(held.fileno(), 64, 0)  # of the dead tree; the new one has its own
        held.close()
    disk.go()
    old.wait(LIMIT_S)
    cluster.wait_mounted(hung, there)
    payload.sums["log"] = writer.end()
    payload.check(here.data(used))


def test_an_mkfs_that_never_ends(cluster):
    """A program, which the killed daemon leaves behind: it may still write, so nobody else does."""
    here, _ = cluster
    other = cluster.make(here)
    cluster.remove_program("mkfs.xfs")
    program = cluster.bin / "mkfs.xfs"
    program.write_text(f"#!/bin/sh\necho $$ >{cluster.base}/mkfs.pid\nexec {shutil.which('sleep')} "
                       "infinity\n")
    program.chmod(0o755)
    here.options = ["--step-limit", str(STEP_LIMIT_S)]
    here.stop()
    here.start()
    dataset = cluster.create(here, "xfs")
    wait_hung(cluster, here, dataset, "format")
    volume = volume_of(cluster, dataset)
    pid = int((cluster.base / "mkfs.pid").read_text())
    here.kill()
    here.start()
    cluster.wait_live(here)
    here.wait_state(other, "mounted")
    cluster.make(here)
    cluster.wait(dataset, "kept from a second mkfs", lambda d: "an earlier mkfs" in d["why"])
    assert os.path.exists(f"/proc/{pid}") and volume_of(cluster, dataset) == volume
    cluster.remove_program("mkfs.xfs")
    cluster.add_program("mkfs.xfs")
    os.kill(pid, signal.SIGKILL)
    cluster.wait_mounted(dataset, here)
    assert volume_of(cluster, dataset) != volume, "a volume of an unfinished mkfs was kept"


def test_a_start_beside_a_volume_that_cannot_be_read(disk):
    """What is claimed there is not known. It is left out, and nobody else gets it."""
    cluster = disk.cluster
    here, there = cluster
    hung, used = cluster.make(here), cluster.make(here)
    payloads = {dataset: Payload(dataset) for dataset in (hung, used)}
    for dataset, payload in payloads.items():
        payload.write(here.data(dataset))
    here.kill()
    disk.hang_all(f"*{volume_of(cluster, hung)}*")
    here.start()
    cluster.wait_live(here)
    assert "1 volume on backend loopback did not answer: the storage hangs" in here.log
    here.wait_state(used, "mounted")
    cluster.make(here)
    wait_hung(cluster, here, hung, "observe")
    cluster.move(hung, there)
    wait_until("nobody else has it", lambda: there.read(hung, "state") == "waiting\n")
    disk.go()
    cluster.wait_mounted(hung, there)
    payloads[hung].check(there.data(hung))
    payloads[used].check(here.data(used))


def test_a_start_on_storage_that_does_not_answer_at_all(disk):
    """Nothing may be said to control, since what is not named is given back. The tree says why."""
    cluster = disk.cluster
    here, _ = cluster
    payload = Payload("kept")
    dataset = cluster.make(here)
    payload.write(here.data(dataset))
    here.kill()
    disk.hang_all("*")
    here.start(wait=False)
    wait_until("the tree tells it", lambda: "the storage hangs" in (told(here) or ""))
    assert not any(n["live"] for n in cluster.call("GET", "/v2/nodes")["nodes"] if n["uuid"] == here.uuid)
    assert "is not connected; it is safe to wait" in cluster.show(dataset)["why"]
    disk.go()
    cluster.wait_live(here)
    here.wait_state(dataset, "mounted")
    assert not told(here)
    payload.check(here.data(dataset))


def told(node):
    try:
        return node.node_status()["last_error"]
    except OSError:
        return None


def test_a_trim_that_hangs_holds_up_its_own_dataset_alone(disk):
    cluster = disk.cluster
    here, there = cluster
    payload = Payload(11)
    trimmed, other = cluster.make(here), cluster.make(here)
    payload.write(here.data(trimmed))
    write_and_delete(here, trimmed)
    here.stop()
    make_due(here, trimmed)
    hang(disk, trimmed)
    here.start()
    wait_until("the trim hangs", lambda: disk.waiting() > 0)
    cluster.move(trimmed, there)
    cluster.move(other, there)
    cluster.wait_mounted(other, there)
    assert here.has(trimmed)  # no step of it stands beside the trim
    disk.go()
    cluster.wait_mounted(trimmed, there)
    payload.check(there.data(trimmed))
