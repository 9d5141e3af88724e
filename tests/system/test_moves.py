# SPDX-License-Identifier: Apache-2.0
"""Many moves of data with checksums, alone and while other datasets come and go."""
import threading

import pytest

import kernel
from cluster import Payload, scale, wait_until

MOVES, IN_FULL = 200, 1000
BUSY_SHARE = 10  # one move in so many happens while others are created and destroyed


class Crowd(threading.Thread):
    """Creates and destroys other datasets, a handful at a time, and keeps what went wrong."""

    def __init__(self, cluster, count):
        super().__init__()
        self.cluster, self.count, self.error = cluster, count, None

    def run(self):
        try:
            nodes = list(self.cluster)
            for first in range(0, self.count, 5):
                ids = [self.cluster.create(nodes[n % 2])
                       for n in range(first, min(first + 5, self.count))]
                for n, dataset in enumerate(ids, first):
                    self.cluster.wait_mounted(dataset, nodes[n % 2])
                    self.cluster.delete(dataset)
                for dataset in ids:
                    self.cluster.wait_destroyed(dataset)
        except BaseException as e:  # noqa: B902 - the test raises it
            self.error = e

    def end(self):
        self.join()
        if self.error:
            raise self.error


def move_around(cluster, dataset, payload, moves):
    """Ends where it began when @moves is even. Each stay adds data of its own."""
    nodes = list(cluster)
    for n in range(moves):
        node = nodes[(n + 1) % 2]
        cluster.move(dataset, node)
        cluster.wait_mounted(dataset, node)
        payload.check(node.data(dataset))
        payload.add(node.data(dataset))


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_data_survives_many_moves(cluster, fs, seed):
    moves = scale(MOVES, IN_FULL)
    crowded = moves // BUSY_SHARE
    here, _ = cluster
    payload = Payload(seed)
    dataset = cluster.make(here, fs)
    payload.write(here.data(dataset))

    move_around(cluster, dataset, payload, moves - crowded)
    crowd = Crowd(cluster, scale(50, 250))
    crowd.start()
    try:
        move_around(cluster, dataset, payload, crowded)
    finally:
        crowd.end()

    seen = cluster.show(dataset)
    assert seen["epoch"] == moves + 1
    assert cluster.stop_watching()["releases"] > 0


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_release_leaves_nothing_to_be_written(cluster, fs, seed):
    """Given back while nobody takes it: what was never fsynced is on the disk, too."""
    here, there = cluster
    payload = Payload(seed, files=40)
    dataset = cluster.make(there, fs)
    here.stop()
    payload.write(there.data(dataset), sync=False)
    cluster.move(dataset, here)
    volume = cluster.images / "volumes" / cluster.show(dataset)["volume_id"]
    wait_until("the claim is free", lambda: kernel.claim(volume)["state"] == "free")
    dirty = kernel.dirty_pages(volume / "image")
    assert not dirty  # None: this kernel does not tell
    assert not there.has(dataset) and not cluster.devices()
    seen = cluster.wait(dataset, "without an owner", lambda d: d["owner"] is None)
    assert seen["state"] == "detached"
    here.start()
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))
