# SPDX-License-Identifier: Apache-2.0
"""Control ends, is killed or hangs: nodes keep what they have, and go on where it left off."""
import signal

import pytest

from cluster import Payload, wait_until

SILENCE_S = 30  # then either side ends a session that says nothing; see AGENTS_SILENCE_S


def works(node, dataset, payload):
    """The data can be read and written, and the tree answers."""
    payload.add(node.data(dataset))
    payload.check(node.data(dataset))
    assert node.read(dataset, "state") == "mounted\n"
    assert node.read(dataset, "why") == "as wished\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_control_datasets_stay_and_moves_go_on_when_it_is_back(cluster, number):
    here, there = cluster
    payload = Payload(3)
    dataset, other = cluster.make(here), cluster.make(there)
    payload.write(here.data(dataset))
    before = here.mounts() | there.mounts()

    # Acknowledged, and then control is gone before the release can have been told.
    there.process.send_signal(signal.SIGSTOP)
    cluster.move(other, here)
    cluster.control.process.send_signal(number)
    cluster.control.process.wait(60)
    there.process.send_signal(signal.SIGCONT)
    here.wait_log("no session with control")
    for node in cluster:
        wait_until("the tree tells", lambda: node.tree(".node", "connected").read_text() == "no\n")
    works(here, dataset, payload)
    assert "no session" not in here.read(dataset, "why")
    assert here.node_status()["last_error"]
    assert here.has(dataset) and before & here.mounts()

    cluster.control.start()
    cluster.wait_live()
    works(here, dataset, payload)
    cluster.wait_mounted(other, here)
    cluster.move(dataset, there)
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))
    assert here.node_status()["last_error"] is None


def test_a_node_that_boots_and_a_wish_both_wait_for_control(cluster):
    """With control away and the owner's machine down, everything still ends as wished."""
    here, there = cluster
    payload = Payload(4)
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    cluster.move(dataset, here)
    cluster.control.kill()
    there.reboot()
    there.start()
    there.wait_log("Connection refused")
    cluster.control.start()
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))


def test_a_control_that_hangs_is_given_up_and_taken_up_again(cluster):
    here, there = cluster
    payload = Payload(5)
    dataset = cluster.make(here)
    payload.write(here.data(dataset))
    mounts = here.mounts()

    cluster.control.pause()
    here.wait_log("control is silent", limit=2 * SILENCE_S)
    there.wait_log("control is silent", limit=SILENCE_S)
    works(here, dataset, payload)
    assert here.mounts() == mounts

    cluster.control.resume()
    cluster.wait_live()
    works(here, dataset, payload)
    assert here.mounts() == mounts
    cluster.move(dataset, there)
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))


def test_a_node_that_hangs_keeps_its_datasets(cluster):
    """Its data goes on; control waits for it, says so, and gives nothing of it to another."""
    here, there = cluster
    payload = Payload(6)
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    there.process.send_signal(signal.SIGSTOP)
    cluster.move(dataset, here)
    seen = cluster.wait(dataset, "not live", lambda d: not d["node_live"], 2 * SILENCE_S)
    assert seen["owner"] == there.uuid and there.uuid[:8] in seen["why"]
    assert there.uuid[:8] in here.read(dataset, "why")
    payload.add(there.data(dataset))
    there.process.send_signal(signal.SIGCONT)
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))
