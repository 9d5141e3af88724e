# SPDX-License-Identifier: Apache-2.0
"""A lost node loses its datasets by an operator's word, and finds itself clean when it comes back."""
import pytest

from cluster import Payload, wait_until

RISK = {"accept_risk": True}


def fence(cluster, node):
    wait_until("control notices", lambda: not any(
        n["live"] for n in cluster.call("GET", "/v2/nodes") if n["uuid"] == node.uuid))
    cluster.call("POST", f"/v2/nodes/{node.uuid}/fence", RISK)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_the_datasets_of_a_fenced_machine_go_where_they_are_wanted(cluster, fs):
    here, there = cluster
    payload = Payload(fs)
    moved, staying, doomed = cluster.make(there, fs), cluster.make(there), cluster.make(there)
    payload.write(there.data(moved))
    there.reboot()
    cluster.move(moved, here)
    cluster.delete(doomed)
    wait_until("it waits for its owner", lambda: "not connected" in cluster.show(moved)["why"])
    fence(cluster, there)
    cluster.wait_mounted(moved, here)
    payload.check(here.data(moved))
    cluster.wait_destroyed(doomed)
    shown = cluster.show(moved)
    assert shown["fence_proof"] == "operator" and shown["fenced_epoch"] == shown["epoch"] - 1
    assert any("an operator said that the node is fenced" in step["what"] for step in shown["history"])
    assert cluster.show(staying)["owner"] is None
    assert "can be moved" in cluster.show(staying)["why"]

    there.start()
    cluster.wait_mounted(staying, there)
    assert not there.has(moved) and cluster.show(moved)["owner"] == here.uuid
    cluster.move(moved, there)
    cluster.wait_mounted(moved, there)
    payload.check(there.data(moved))


def test_a_dataset_that_may_go_elsewhere_does(cluster):
    here, there = cluster
    payload = Payload("any")
    any_node = cluster.make(there, metadata={"flocker:failover-to": "any"})
    one_node = cluster.make(there, metadata={"flocker:failover-to": there.uuid})
    payload.write(there.data(any_node))
    there.reboot()
    fence(cluster, there)
    cluster.wait_mounted(any_node, here)
    payload.check(here.data(any_node))
    shown = cluster.show(any_node)
    assert shown["primary"] == here.uuid and shown["failed_over"]
    assert any("chosen since the node that it was wanted on is lost" in s["what"] for s in shown["history"])
    assert cluster.show(one_node)["primary"] == there.uuid
    assert "another that flocker:failover-to names" in cluster.show(one_node)["why"]
    there.start()
    cluster.wait_mounted(one_node, there)
    assert cluster.show(any_node)["owner"] == here.uuid


def test_where_a_dataset_may_go_is_any_or_uuids(cluster):
    here, _ = cluster
    with pytest.raises(AssertionError, match="must be any, or UUIDs of nodes separated by spaces"):
        cluster.create(here, metadata={"flocker:failover-to": "somewhere"})


def test_a_node_that_was_fenced_and_lives_gives_up_without_a_write(cluster):
    """The operator was wrong: the machine is up, only its daemon was not. On one kernel the image is still
    locked then, so nobody else gets it before the device is gone."""
    here, there = cluster
    payload = Payload("kept")
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    there.kill()
    fence(cluster, there)
    cluster.move(dataset, here)
    wait_until("it is kept out", lambda: "somebody else" in (here.read(dataset, "why") or ""))
    there.start()
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))
    assert not there.has(dataset)


def test_a_live_node_is_not_fenced(cluster):
    here, there = cluster
    dataset = cluster.make(there)
    with pytest.raises(AssertionError, match="409"):
        cluster.call("POST", f"/v2/nodes/{there.uuid}/fence", RISK)
    assert cluster.show(dataset)["owner"] == there.uuid
