# SPDX-License-Identifier: Apache-2.0
"""The node's daemon ends and starts, by itself and with its machine: what is mounted is not touched,
and what was mounted comes back."""
import signal
import subprocess
import threading

import pytest

from cluster import Payload, wait_until


def mount_of(node, dataset):
    """Mount id, device and the device's use: all of them change with any new mount."""
    mount, = [m for m in node.mounts() if m.point == f"{node.root}/{dataset}"]
    loop, = [one for one in node.cluster.devices() if f"/dev/{one.name}" == mount.source]
    return mount.id, loop


class Writer(threading.Thread):
    """Appends and syncs all the time, and keeps what went wrong."""

    def __init__(self, path):
        super().__init__()
        self.file = open(path, "ab", buffering=0)
        self.stopping, self.lines, self.error = threading.Event(), 0, None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.file.write(b"line %d\n" % self.lines)
                self.lines += 1
        except OSError as e:
            self.error = e

    def end(self):
        self.stopping.set()
        self.join()
        self.file.close()
        assert self.error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_leaves_mounts_and_the_next_adopts_them(cluster, number):
    node = list(cluster)[1]
    dataset = cluster.make(node)
    before, epoch = mount_of(node, dataset), cluster.show(dataset)["epoch"]
    writer = Writer(node.data(dataset, "log"))
    writer.start()

    node.process.send_signal(number)
    node.process.wait(60)
    if number == signal.SIGTERM:
        assert "1 mounted dataset stays mounted and in use" in node.log
        assert node.process.returncode == 0 and not node.tree(dataset).exists()
    assert mount_of(node, dataset) == before
    wait_until("control notices", lambda: not cluster.show(dataset)["node_live"])
    lines = writer.lines
    wait_until("the writer goes on", lambda: writer.lines > lines)

    node.start()
    assert "1 volume claimed here found" in node.log
    node.wait_state(dataset, "mounted")
    cluster.wait(dataset, "mounted and live", lambda d: d["node_live"] and d["state"] == "mounted")
    assert mount_of(node, dataset) == before and cluster.show(dataset)["epoch"] == epoch
    writer.end()
    assert node.data(dataset, "log").read_bytes().count(b"\n") == writer.lines


def test_a_node_that_boots_attaches_nothing_until_control_confirms(cluster):
    node = list(cluster)[1]
    payloads = {cluster.make(node, fs): Payload(fs) for fs in ("ext4", "xfs", "btrfs")}
    for dataset, payload in payloads.items():
        payload.write(node.data(dataset))
    epochs = {dataset: cluster.show(dataset)["epoch"] for dataset in payloads}
    era = node.tree(".node", "era").read_text()
    assert cluster.control.stop() == 0
    node.reboot()
    assert not cluster.devices()

    node.start()
    assert "3 volumes claimed here found" in node.log
    node.wait_log("Connection refused")
    for dataset in payloads:
        node.wait_state(dataset, "detached")
        assert "control has not confirmed it yet" in node.read(dataset, "why")
    assert node.tree(".node", "connected").read_text() == "no\n"
    assert not cluster.devices() and not node.mounts()

    cluster.control.start()
    for dataset, payload in payloads.items():
        cluster.wait_mounted(dataset, node)
        payload.check(node.data(dataset))
        assert cluster.show(dataset)["epoch"] == epochs[dataset]
    booted = node.tree(".node", "era").read_text()
    assert booted == node.boot.read_text() != era
    by_era = cluster.call("GET", f"/v1/state/nodes/by_era/{booted.strip()}")
    assert by_era == {"uuid": node.uuid}


def test_a_node_that_boots_takes_up_what_was_wished_meanwhile(cluster):
    """One dataset stays, one is moved away and one is destroyed while the machine is down."""
    here, there = cluster
    stays, moves, goes = (cluster.make(there) for _ in range(3))
    payload = Payload(1)
    payload.write(there.data(moves))
    there.reboot()
    cluster.move(moves, here)
    cluster.delete(goes)
    assert cluster.show(moves)["owner"] == there.uuid  # until it says that it let go
    there.start()
    cluster.wait_mounted(stays, there)
    cluster.wait_mounted(moves, here)
    cluster.wait_destroyed(goes)
    payload.check(here.data(moves))


def test_a_move_goes_on_where_its_node_was_killed(cluster):
    """As killed after umount(2), with the mount point still there: the release removes it."""
    here, there = cluster
    dataset = cluster.make(there)
    payload = Payload(2)
    payload.write(there.data(dataset))
    there.kill()
    cluster.move(dataset, here)
    subprocess.run(there.inside("/usr/bin/umount", f"{there.root}/{dataset}"), check=True)
    there.start()
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))
    assert not (there.root / dataset).exists()
