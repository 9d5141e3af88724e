# SPDX-License-Identifier: Apache-2.0
"""The main job: a dataset is created, used, moved and destroyed."""
import pytest

from cluster import Payload


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_dataset_is_created_moved_and_destroyed(cluster, fs):
    here, there = cluster
    payload = Payload(fs)
    dataset = cluster.make(here, fs)
    payload.write(here.data(dataset))
    payload.check(here.data(dataset))
    cluster.move(dataset, there)
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))
    assert not here.has(dataset)
    cluster.delete(dataset)
    cluster.wait_destroyed(dataset)
    assert len(cluster.mkfs_runs()) == 1
