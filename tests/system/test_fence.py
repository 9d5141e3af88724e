# SPDX-License-Identifier: Apache-2.0
"""A lost node loses its datasets by an operator's word, and finds itself clean when it comes back."""
import re
import subprocess

import pytest

from cluster import LIMIT_S, Payload, executable, wait_until

RISK = {"accept_risk": True}


def fence(cluster, node):
    wait_until("control notices", lambda: not any(
        n["live"] for n in cluster.call("GET", "/v2/nodes")["nodes"] if n["uuid"] == node.uuid))
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
    assert shown["fenced"] == {"epoch": shown["epoch"] - 1, "proof": "operator"}
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
    assert shown["node"] == here.uuid and shown["failed_over"]
    assert any("the node that it was wanted on is lost" in s["what"] for s in shown["history"])
    assert cluster.show(one_node)["node"] == there.uuid
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


def forget(cluster, node):
    """As an operator says it."""
    return subprocess.run(
        [executable("flockerctl"), "--control-service", "127.0.0.1", "--control-port", str(cluster.control.port),
         "--certs-path", str(cluster.authority.dir), "--user", "user", "node", "forget", node.uuid,
         "--accept-risk"], capture_output=True, text=True, timeout=LIMIT_S)


def wait_refused(node, after):
    """Its log, beyond the first @after characters, and its tree say why it has no session."""
    wait_until("its log says so", lambda: re.search(
        "no session with control at .* this node was forgotten: .*flocker-ca create-node-certificate", node.log[after:]))
    wait_until("its tree says so", lambda: "this node was forgotten" in (node.node_status()["last_error"] or ""))
    assert not node.node_status()["connected"]


def test_a_forgotten_node_has_no_way_back_and_touches_nothing(cluster):
    here, there = cluster
    payload = Payload("forgotten")
    moved, waiting = cluster.make(there), cluster.make(there)
    payload.write(there.data(moved))
    refused = forget(cluster, there)
    assert refused.returncode and "is connected and answers" in refused.stderr
    there.reboot()
    cluster.move(moved, here)
    wait_until("control notices", lambda: "not connected" in cluster.show(moved)["why"])
    said = forget(cluster, there)
    assert said.returncode == 0 and "its identity is refused for ever" in said.stdout, said
    cluster.wait_mounted(moved, here)
    payload.check(here.data(moved))
    payload.add(here.data(moved))
    cluster.wait(waiting, "told where it cannot go", lambda d: "was forgotten: move it" in d["why"])

    there.start()
    wait_refused(there, 0)
    cluster.control.wait_log(f"node {there.uuid}: refused .*: this node was forgotten")
    cluster.control.restart()
    there.kill()
    logged = len(there.log)
    there.start()
    wait_refused(there, logged)
    cluster.wait_mounted(moved, here)
    assert cluster.show(moved)["epoch"] == 2 and cluster.show(waiting)["owner"] is None
    assert not there.mounts() and not there.devices()
    payload.check(here.data(moved))

    cluster.move(waiting, here)
    cluster.wait_mounted(waiting, here)
    shown = {n["uuid"]: n for n in cluster.call("GET", "/v2/nodes")["nodes"]}[there.uuid]
    assert shown["state"] == "forgotten" and not shown["live"]
    cluster.remove_node(there)


def test_a_forgotten_node_that_lives_gives_up_without_a_write(cluster):
    here, there = cluster
    payload = Payload("left")
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    there.kill()
    cluster.move(dataset, here)
    wait_until("control notices", lambda: "not connected" in cluster.show(dataset)["why"])
    assert forget(cluster, there).returncode == 0
    wait_until("it is kept out", lambda: "somebody else" in (here.read(dataset, "why") or ""))
    there.start()
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))
    wait_refused(there, 0)
    cluster.remove_node(there)
