# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for one dataset, and how many may watch."""
import signal
import time
import uuid

import pytest

import openapi
import rig
from watch import DATASETS, Asking, Stream, move


def test_watchers_take_no_room_of_requests(bare):
    bare.start("--max-connections", "4", "--max-watchers", "3")
    streams = [Stream(bare) for _ in range(2)]
    node = str(uuid.uuid4())
    dataset = bare.create(node)
    waits = Asking(bare, f"/v2/datasets/{dataset}?wait=60&until=mounted")
    rig.wait_until("all places are taken", lambda: Stream(bare).status == 503)
    refused = Stream(bare)
    assert refused.json["code"] == "too-many-watchers" and refused.headers["Retry-After"]
    refused.close()
    assert bare.get(f"/v2/datasets/{dataset}?wait=1&until=mounted").status == 503
    assert bare.get("/v2/nodes").status == 200
    streams[0].close()
    rig.wait_until("there is room", lambda: Stream(bare).status == 200)
    waits.close()
    streams[1].close()


def test_a_wait_ends_when_the_state_is_reached(control):
    here, there = rig.Node(control), rig.Node(control)
    here.join()
    there.join()
    dataset = control.create(here.id)
    path = f"/v2/datasets/{dataset}?wait=60"
    waits = [Asking(control, f"{path}&until={u}") for u in ("mounted", "settled")] + [Asking(control, path)]
    attached = Asking(control, f"{path}&until=attached")
    order = here.take_wish(dataset, "hold")
    here.report("ready", order, "attached")
    assert attached.join().json["state"] == "attached" and not any(w.answer for w in waits)
    here.report("formatted", order := here.take_wish(dataset, "hold"), "attached", fs_uuid=order["fs_uuid"])
    here.mount_again(here.take_wish(dataset, "hold"))
    for w in waits:
        seen = w.join()
        assert seen.status == 200 and seen.json["state"] == "mounted" and seen.json["history"]
    # It is reached already.
    assert control.get(f"{path}&until=mounted").json["owner"] == here.id
    # Mounted where it is to leave does not count.
    move(control, dataset, there.id)
    moved = Asking(control, f"{path}&until=mounted")
    here.report("released", here.take_wish(dataset, "release"), "released")
    there.mount(dataset)
    assert moved.join().json["owner"] == there.id
    here.close()
    there.close()


def test_a_wait_that_is_in_vain_ends_with_its_time(control):
    dataset = control.create(str(uuid.uuid4()))
    began = time.monotonic()
    answer = control.get(f"/v2/datasets/{dataset}?wait=1&until=mounted")
    assert time.monotonic() - began >= 0.99
    assert answer.status == 200 and answer.json["state"] == "waiting"
    assert control.get(f"/v2/datasets/{dataset}?wait=0&until=mounted").json["state"] == "waiting"


def test_a_wait_for_a_deletion_ends_with_the_volume(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    node.mount(dataset)
    assert control.delete(f"{DATASETS}/{dataset}").status == 200
    gone = Asking(control, f"/v2/datasets/{dataset}?wait=60&until=settled")
    node.report("released", node.take_wish(dataset, "release"), "released")
    node.report("destroyed", node.take_wish(dataset, "destroy"), "destroyed")
    seen = gone.join().json
    assert seen["state"] == "destroyed" and seen["volume_id"] is None
    node.close()


def test_who_waits_and_goes_is_forgotten(bare):
    bare.start("--max-watchers", "1")
    dataset = bare.create(str(uuid.uuid4()))
    path = f"/v2/datasets/{dataset}?until=mounted&wait="
    for _ in range(5):
        asking = Asking(bare, path + "300")
        rig.wait_until("it waits", lambda: asking.answer or bare.get(path + "1").status == 503)
        if asking.answer:  # the one who looks had the place
            assert asking.answer.status == 503
            continue
        asking.close()
        rig.wait_until("its place is free", lambda: bare.get(path + "1").status == 200)


def test_a_connection_is_of_use_after_a_wait(bare):
    """Also for its place among the ordinary ones: many waits one after the other use none up."""
    bare.start("--max-connections", "2", "--max-watchers", "2")
    dataset = bare.create(str(uuid.uuid4()))
    for _ in range(8):
        assert bare.get(f"/v2/datasets/{dataset}?wait=1&until=waiting").status == 200
    assert bare.get(f"/v2/datasets/{dataset}?wait=1&until=mounted").status == 200
    connections = [bare.connect() for _ in range(2)]
    for c in connections:
        c.request("GET", "/v1/version")
        assert c.getresponse().status == 200
        c.close()


def test_who_waits_hears_that_the_service_stops(control):
    dataset = control.create(str(uuid.uuid4()))
    asking = Asking(control, f"/v2/datasets/{dataset}?wait=60&until=mounted")
    control.hang_up()
    rig.wait_until("it waits", lambda: control.get("/v2/nodes").status == 200)
    control.hang_up()
    assert control.stop() == 0
    assert asking.join().status == 503 and asking.answer.json["code"] == "stopping"
    control.start()


@pytest.mark.parametrize("path", ["/v2/datasets/{}?wait=60&until=mounted", "/v2/events"])
def test_who_comes_while_the_service_stops_is_sent_away_and_holds_up_nothing(control, path):
    node = rig.Node(control)
    node.join()
    leased = control.create(node.id, metadata={"flocker:failover": "lease"})
    node.mount(leased)  # a term to extend: the stop waits for the node's word
    path = path.format(control.create(str(uuid.uuid4())))
    connection = control.connect()
    connection.request("GET", "/v2/health")
    assert rig.Answer(connection.getresponse()).status == 200
    control.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    control.wait_log("stopping; nodes keep what they have")
    connection.request("GET", path)
    answer = rig.Answer(connection.getresponse())
    assert (answer.status, answer.json["code"]) == (503, "stopping")
    openapi.check("GET", path, {}, None, answer.status, answer.headers, answer.text)
    assert control.process.wait(rig.LIMIT_S) == 0
    assert time.monotonic() - began < 8  # it would be ten


@pytest.mark.parametrize("query", ["wait=301", "wait=x", "wait=1&until=happy", "until=mounted", "wait=-1"])
def test_what_is_no_wait_is_refused(control, query):
    dataset = control.create(str(uuid.uuid4()))
    answer = control.get(f"/v2/datasets/{dataset}?{query}")
    assert answer.status == 400 and answer.json["code"] == "bad-request"
