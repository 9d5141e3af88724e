# SPDX-License-Identifier: Apache-2.0
"""The agent port: sessions, orders, and what users then see."""
import datetime
import struct
import uuid

import pytest

import rig


def state_of(control, dataset_id):
    return control.get(f"/v2/datasets/{dataset_id}").json


def wait_state(control, dataset_id, state):
    return rig.wait_until(f"{dataset_id} is {state}: {state_of(control, dataset_id)}",
                          lambda: (d := state_of(control, dataset_id))["state"] == state and d)


def test_a_node_is_welcomed_and_listed(control):
    node = rig.Node(control)
    welcome = node.join()
    assert welcome["incarnation"] == 1
    assert control.get("/v1/state/nodes").json == [{"uuid": node.id, "host": "192.0.2.7"}]
    seen, = control.get("/v2/nodes").json["nodes"]
    assert seen["live"] and seen["boot"] == node.boot and seen["backends"][0]["driver"] == "loopback"
    assert seen["silent_s"] == 0


def test_without_an_address_of_its_own_a_node_has_that_of_its_connection(control):
    node = rig.Node(control)
    node.send("hello", wire=1, version="test", host=node.host, boot=node.boot, backend="loopback",
              holds=[])
    node.take("welcome")
    assert control.get("/v1/state/nodes").json == [{"uuid": node.id, "host": "127.0.0.1"}]


def test_an_era_outlives_the_session_of_its_node(control):
    node = rig.Node(control)
    node.join()
    node.close()
    control.wait_log("disconnected")
    for era in (node.boot, node.boot.upper(), node.boot.replace("-", "")):
        assert control.get(f"/v1/state/nodes/by_era/{era}").json == {"uuid": node.id}
    for era in (uuid.uuid4(), uuid.UUID(int=0)):
        answer = control.get(f"/v1/state/nodes/by_era/{era}")
        assert answer.status == 404
        assert answer.json == {"description": "No node found with given era."}


def test_a_node_that_boots_again_replaces_its_era(control):
    node = rig.Node(control)
    node.join()
    node.close()
    again = rig.Node(control, node.id, node.host)
    again.join()
    assert control.get(f"/v1/state/nodes/by_era/{node.boot}").status == 404
    assert control.get(f"/v1/state/nodes/by_era/{again.boot}").json == {"uuid": node.id}


def test_a_dataset_goes_from_wish_to_mounted(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id, metadata={"name": "db"}, maximum_size=1 << 30)
    assert control.get("/v1/state/datasets").json == []
    order = node.mount(dataset)
    seen = wait_state(control, dataset, "mounted")
    assert seen["name"] == "db" and seen["owner"] == seen["node"] == node.id
    assert seen["epoch"] == order["epoch"] and seen["fs_uuid"] == order["fs_uuid"]
    assert seen["node_live"] and seen["used"] == 4096 and seen["last_error"] is None
    assert seen["mountpoint"] == f"/flocker/{dataset}" and seen["since"]
    whats = [step["what"] for step in seen["history"]]
    assert whats[0] == f"created, wanted on node {node.id}"
    assert "formatting done: ext4" in whats and seen["history"][-1]["state"] == "mounted"
    assert control.get("/v1/state/datasets").json == [
        {"dataset_id": dataset, "maximum_size": 1 << 30, "primary": node.id,
         "path": f"/flocker/{dataset}"}]


def test_revisions_of_orders_grow(control):
    node = rig.Node(control)
    last = node.join()["revision"]
    for _ in range(3):
        dataset = control.create(node.id)
        revision = node.take_wish(dataset, "hold")["revision"]
        assert revision > last
        last = revision


def test_a_move_waits_for_the_release(control):
    here, there = rig.Node(control), rig.Node(control)
    here.join(), there.join()
    dataset = control.create(here.id)
    here.mount(dataset)
    wait_state(control, dataset, "mounted")
    assert control.post(f"/v1/configuration/datasets/{dataset}",
                        {"primary": there.id}).status == 200
    there.take_wish(dataset, "wait")
    order = here.take_wish(dataset, "release")
    here.report("status", order, "unmounting", errno=16, step="unmount",
                holders="pid 7 bash: a file\npid 8 vi: its directory")
    seen = wait_state(control, dataset, "unmounting")
    assert seen["last_error"]["holders"] == ["pid 7 bash: a file", "pid 8 vi: its directory"]
    assert seen["owner"] == here.id and seen["node"] == there.id
    here.report("released", order, "released")
    granted = there.mount(dataset)
    assert granted["epoch"] > order["epoch"]
    seen = wait_state(control, dataset, "mounted")
    assert seen["owner"] == there.id and seen["fs_uuid"] == granted["fs_uuid"]


def test_a_deleted_dataset_is_destroyed_and_stays_configured(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    node.mount(dataset)
    wait_state(control, dataset, "mounted")
    assert control.delete(f"/v1/configuration/datasets/{dataset}").json["deleted"]
    node.report("released", node.take_wish(dataset, "release"), "released")
    node.report("destroyed", node.take_wish(dataset, "destroy"), "destroyed")
    seen = wait_state(control, dataset, "destroyed")
    assert seen["deleted"] and seen["volume_id"] is None
    assert control.get("/v1/state/datasets").json == []
    assert [d["deleted"] for d in control.get("/v1/configuration/datasets").json] == [True]


def test_the_last_error_is_told_in_words(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    order = node.take_wish(dataset, "hold")
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(milliseconds=1)
    node.report("status", order, "failed", why="no room", step="create", errno=28, attempts=3, retry_in_ms=60000)
    seen = wait_state(control, dataset, "failed")
    assert seen["last_error"] == {"step": "create", "code": "ENOSPC",
                                  "message": "No space left on device", "holders": []}
    assert seen["attempts"] == 3 and "no room" in seen["why"]
    # When it is tried again, by control's clock; what is old news is told no more.
    due = datetime.datetime.fromisoformat(seen["next_retry"].replace("Z", "+00:00"))
    assert before <= due - datetime.timedelta(seconds=60) <= datetime.datetime.now(datetime.timezone.utc)
    node.report("status", order, "creating", why="making the volume")
    rig.wait_until("it is at it", lambda: state_of(control, dataset)["next_retry"] is None)


def test_a_lost_node_keeps_its_datasets(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    node.mount(dataset)
    wait_state(control, dataset, "mounted")
    node.close()
    seen = rig.wait_until("the node is gone",
                          lambda: not (d := state_of(control, dataset))["node_live"] and d)
    assert seen["owner"] == node.id
    assert control.get("/v1/state/nodes").json != []  # for 120 s


def test_a_second_machine_with_the_same_certificate_is_refused(control):
    first = rig.Node(control)
    first.join()
    second = rig.Node(control, node_id=first.id)
    second.hello()
    bye = second.take("bye")
    assert bye["refused"] and "another machine" in bye["reason"]
    assert second.closed.wait(rig.LIMIT_S)
    control.wait_log(f"node {first.id}: refused 127.0.0.1:[0-9]+: another machine")
    first.send("ping")
    first.take("pong")


def test_a_new_session_of_the_same_machine_replaces_the_old_one(control):
    first = rig.Node(control)
    first.join()
    second = rig.Node(control, node_id=first.id, host=first.host, boot=first.boot)
    second.join()
    assert "replaced" in first.take("bye")["reason"]
    assert first.closed.wait(rig.LIMIT_S)


def test_another_machine_may_have_the_identity_once_it_was_given_free(control):
    first = rig.Node(control)
    first.join()
    answer = control.post(f"/v2/nodes/{first.id}/replace")
    assert answer.status == 409 and "answers" in answer.json["description"]
    first.close()
    control.wait_log("disconnected")
    second = rig.Node(control, node_id=first.id)
    second.hello()
    assert "flockerctl node replace" in second.take("bye")["reason"]
    assert control.post(f"/v2/nodes/{first.id}/replace").status == 200
    third = rig.Node(control, node_id=first.id)
    third.join()
    assert control.post(f"/v2/nodes/{uuid.uuid4()}/replace").status == 404


def test_a_node_is_fenced_only_when_it_is_gone_and_somebody_answers_for_it(control):
    node = rig.Node(control)
    node.join()
    path, yes = f"/v2/nodes/{node.id}/fence", {"accept_risk": True}
    for body in ({}, {"accept_risk": False}, {"accept_risk": 1}, {"accept_risk": True, "x": 1}, []):
        answer = control.post(path, body)
        assert answer.status == 400 and "accept_risk" in answer.json["description"], body
    answer = control.post(path, yes)
    assert answer.status == 409 and "connected" in answer.json["description"]
    node.close()
    control.wait_log("disconnected")
    assert control.post(path, yes).status == 200
    assert control.post(f"/v2/nodes/{uuid.uuid4()}/fence", yes).status == 404


@pytest.mark.parametrize("data, reason", [
    (struct.pack(">I", 0), "frame of 0 bytes"),
    (struct.pack(">I", (1 << 20) + 1), "frame of 1048577 bytes"),
    (struct.pack(">I", 4) + b"nope", "no valid message"),
    (struct.pack(">I", 2) + b"{}", "no valid message"),
    (b"GET / HTTP/1.0\r\n\r\n", "frame of"),
])
def test_broken_frames_end_the_session(control, data, reason):
    node = rig.Node(control)
    node.join()
    node.send_raw(data)
    assert node.closed.wait(rig.LIMIT_S)
    control.wait_log(f"node {node.id}: disconnected .*{reason}")


def test_a_lost_frame_ends_the_session(control):
    node = rig.Node(control)
    node.join()
    node.sequence += 1
    node.send("ping")
    assert node.closed.wait(rig.LIMIT_S)
    control.wait_log("received message 3 after 1: some were lost")


def test_a_repeated_frame_is_dropped(control):
    node = rig.Node(control)
    node.join()
    node.sequence -= 1
    node.send("ping")
    node.send("ping")
    node.take("pong")
    assert node.inbox.empty()


def test_an_unknown_message_is_passed_over(control):
    node = rig.Node(control)
    node.join()
    node.send("a-word-of-tomorrow", x=1)
    node.send("ping")
    node.take("pong")


def test_a_session_begins_with_hello(control):
    node = rig.Node(control)
    node.send("report", report="status", dataset_id=str(uuid.uuid4()), state="mounted")
    assert "begins with hello" in node.take("bye")["reason"]
    assert node.closed.wait(rig.LIMIT_S)


def test_silence_ends_a_session(control):
    node = rig.Node(control)
    node.join()
    assert node.take("ping")
    control.wait_log("nothing heard from .* the connection is closed", limit=60)
    assert node.closed.wait(rig.LIMIT_S)
    assert not control.get("/v2/nodes").json["nodes"][0]["live"]


def test_a_planned_stop_says_goodbye(control):
    node = rig.Node(control)
    node.join()
    assert control.stop() == 0
    assert node.take("bye")["reason"] == "control stops"
    assert "nodes keep what they have" in control.log


def test_a_restarted_control_takes_up_where_it_was(control):
    node = rig.Node(control)
    revision = node.join()["revision"]
    dataset = control.create(node.id)
    order = node.mount(dataset)
    wait_state(control, dataset, "mounted")
    control.kill()
    control.start()
    control.hang_up()
    again = rig.Node(control, node_id=node.id, host=node.host, boot=node.boot)
    again.hello(holds=[{"dataset_id": dataset, "volume_id": order["volume_id"],
                        "epoch": order["epoch"], "state": "mounted", "mounted": True,
                        "mountpoint": f"/flocker/{dataset}", "size": order["size"]}])
    assert again.take("welcome")["revision"] > revision
    same = again.take_wish(dataset, "hold")
    assert same["epoch"] == order["epoch"] and same["format_state"] == "done"
    assert state_of(control, dataset)["state"] == "mounted"
