# SPDX-License-Identifier: Apache-2.0
"""REST v2's nodes, leases and backends."""
import concurrent.futures
import errno
import uuid

import pytest
import rig
import watch

MIB = 1 << 20
N1, N2 = "aaaaaaaa-0001-4000-8000-000000000001", "aaaaaaaa-0002-4000-8000-000000000002"
RISK = {"accept_risk": True}


def refused(answer, status, code, *words):
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    for word in words:
        assert word in answer.json["description"], answer.text
    return answer.json


def join(control, node_id, **hello):
    node = rig.Node(control, node_id)
    node.hello(**hello)
    node.take("welcome")
    return node


def make(control, **body):
    answer = control.post("/v2/datasets", body)
    assert answer.status == 201, answer.text
    return answer.json["dataset_id"]


@pytest.fixture
def pair(control):
    nodes = [join(control, N1, free=10 << 30), join(control, N2, free=20 << 30)]
    yield nodes
    for node in nodes:
        node.close()


def node_of(control, node_id):
    answer = control.get(f"/v2/nodes/{node_id}")
    assert answer.status == 200, answer.text
    return answer.json


# ---- nodes ----

def test_a_node_is_told_as_in_the_list(control, pair):
    listed = control.get("/v2/nodes").json["nodes"]
    assert {n["uuid"] for n in listed} == {N1, N2}
    seen = node_of(control, N1)
    assert (seen["uuid"], seen["host"], seen["live"], seen["state"]) == (N1, "192.0.2.7", True, "live")
    assert set(seen) == set(listed[0])


@pytest.mark.parametrize("node_id", [str(uuid.uuid4()), "nonsense", N2])
@pytest.mark.parametrize("verb, body", [("", None), ("/drain", None), ("/undrain", None), ("/replace", None),
                                        ("/fence", RISK), ("/forget", RISK)])
def test_a_node_that_was_never_here_is_not_found(control, node_id, verb, body):
    make(control, node=N2)  # that somebody wishes for it does not make it known
    answer = control.call("POST" if verb else "GET", f"/v2/nodes/{node_id}{verb}", body)
    refused(answer, 404, "not-found", node_id)


def test_a_drain_moves_what_is_there_and_places_nothing_more(control, pair):
    first, second = pair
    moved = make(control, node=N1, name="moved")
    first.mount(moved)
    pinned = make(control, node=N1, name="pinned")
    first.mount(pinned)
    assert control.call("PUT", f"/v2/leases/{pinned}", {"node": N1}).status == 201
    seen = control.post(f"/v2/nodes/{N1}/drain").json
    assert (seen["draining"], seen["drained"], seen["drain"]["left"]) == (True, False, 2)
    order = first.take_wish(moved, "release")
    first.report("released", order, "released")
    assert second.take_wish(moved, "hold")["format_state"] == "done"
    assert "drains" in control.get(f"/v2/datasets/{moved}").json["chosen"]
    rig.wait_until("the rest is told", lambda: node_of(control, N1)["drain"]["left"] == 1)
    stuck, = node_of(control, N1)["drain"]["stuck"]
    assert (stuck["dataset_id"], stuck["name"]) == (pinned, "pinned") and "lease" in stuck["why"]
    assert control.get(f"/v2/datasets/{make(control)}").json["node"] == N2
    assert control.delete(f"/v2/leases/{pinned}").status == 200
    first.report("released", first.take_wish(pinned, "release"), "released")
    rig.wait_until("it is drained", lambda: node_of(control, N1)["drained"])
    seen = control.post(f"/v2/nodes/{N1}/undrain").json
    assert (seen["draining"], seen["drained"], seen["drain"]) == (False, False, None)
    assert control.get(f"/v2/datasets/{moved}").json["node"] == N2  # what went stays


def test_what_fails_on_its_way_out_is_told_until_it_does_no_more(control, pair):
    first, _ = pair
    dataset = make(control, node=N1)
    first.mount(dataset)
    with watch.Listening(control, query=f"type=node&node={N1}") as stream:
        assert control.post(f"/v2/nodes/{N1}/drain").status == 200
        order = first.take_wish(dataset, "release")
        first.report("status", order, "unmounting", mounted=True, why="somebody has files open there", errno=errno.EBUSY,
                     step="unmount", attempts=1)
        stuck, = stream.until("it is stuck", lambda e: e.data["drain"]["stuck"])[-1].data["drain"]["stuck"]
        assert (stuck["dataset_id"], stuck["why"].split(": ")[-1]) == (dataset, "unmounting, somebody has files open there")
        first.report("status", order, "detaching", why="it is detached")
        node = stream.until("it goes on", lambda e: not e.data["drain"]["stuck"])[-1].data
        assert node["drain"]["left"] == 1 and not node["drained"]
        first.report("released", order, "released")
        assert stream.until("it is drained", lambda e: e.data["drained"])[-1].data["drain"]["left"] == 0


def test_a_node_with_much_to_drain_is_told_of_now_and_then(control, pair):
    """Each of its datasets changes how it looks, and it takes long to be looked at: with so many on a fast machine too."""
    first, _ = pair
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        datasets = list(pool.map(lambda _: make(control, node=N1), range(2000)))
    with watch.Listening(control, query=f"type=node&node={N1}") as stream:
        assert control.post(f"/v2/nodes/{N1}/drain").status == 200
        orders = []
        while len(orders) < len(datasets):  # in whatever order they were made
            order = first.take("assign")
            if order["wish"] == "release":
                orders.append(order)
        for order in orders:
            first.report("status", order, "unmounting", errno=errno.EBUSY, step="unmount", attempts=1)
            first.report("status", order, "detaching")
        for order in orders:
            first.report("released", order, "released")
        seen = stream.until("it is drained", lambda e: e.data["drained"])
    assert len(seen) < len(datasets) / 2, len(seen)


def test_a_drain_lasts_over_a_crash(control, pair):
    control.post(f"/v2/nodes/{N1}/drain")
    control.kill()
    control.hang_up()
    control.start()
    again = join(control, N1, host=pair[0].host)
    assert node_of(control, N1)["draining"]
    refused(control.post("/v2/datasets", {"node": N1}), 409, "node-draining")
    again.close()


def test_a_drain_again_and_an_undrain_of_one_that_does_not_change_nothing(control, pair):
    since = control.post(f"/v2/nodes/{N1}/drain").json["drain"]["since"]
    assert control.post(f"/v2/nodes/{N1}/drain").json["drain"]["since"] == since
    assert control.post(f"/v2/nodes/{N2}/undrain").status == 200


@pytest.mark.parametrize("verb", ["fence", "forget", "replace"])
def test_a_node_that_answers_is_not_given_up(control, pair, verb):
    refused(control.post(f"/v2/nodes/{N1}/{verb}", RISK), 409, "node-answers", N1)


@pytest.mark.parametrize("body", [{}, {"accept_risk": False}, {"accept_risk": 1}, {"accept_risk": True, "x": 1}, []])
@pytest.mark.parametrize("verb", ["fence", "forget"])
def test_a_risk_is_accepted_in_so_many_words(control, pair, verb, body):
    pair[0].close()
    rig.wait_until("it is away", lambda: not node_of(control, N1)["live"])
    refused(control.post(f"/v2/nodes/{N1}/{verb}", body), 400, "bad-body", '{"accept_risk": true}')
    assert node_of(control, N1)["state"] == "away"


def test_what_a_fenced_node_had_goes_elsewhere(control, pair):
    first, second = pair
    dataset = make(control, node=N1)
    first.mount(dataset)
    first.close()
    rig.wait_until("it is away", lambda: not node_of(control, N1)["live"])
    control.call("PATCH", f"/v2/datasets/{dataset}", {"node": N2})
    assert control.post(f"/v2/nodes/{N1}/fence", RISK).json["state"] == "given-up"
    assert second.take_wish(dataset, "hold")["epoch"] == 2
    seen = control.get(f"/v2/datasets/{dataset}").json
    assert seen["fenced"] == {"epoch": 1, "proof": "operator"}


def test_a_forgotten_node_stays_out(control, pair):
    pair[0].close()
    rig.wait_until("it is away", lambda: not node_of(control, N1)["live"])
    assert control.post(f"/v2/nodes/{N1}/forget", RISK).json["state"] == "forgotten"
    assert {n["uuid"] for n in control.get("/v2/nodes").json["nodes"]} == {N2}
    back = rig.Node(control, N1, host=pair[0].host)
    back.hello()
    assert "forgotten" in back.take("bye")["reason"]
    back.close()


# ---- leases ----

def test_a_lease_is_taken_renewed_and_released(control, pair):
    dataset = make(control, node=N1)
    path = f"/v2/leases/{dataset}"
    first = control.call("PUT", path, {"node": N1, "seconds": 60})
    assert (first.status, first.json["dataset_id"], first.json["node"]) == (201, dataset, N1)
    again = control.call("PUT", path, {"node": N1, "seconds": 600})
    assert again.status == 200 and again.json["expires"] > first.json["expires"]
    endless = control.call("PUT", path, {"node": N1})
    assert (endless.status, endless.json["expires"]) == (200, None)
    assert control.get("/v2/leases").json["leases"] == [endless.json]
    assert control.get(f"/v2/datasets/{dataset}").json["lease"] == {"node": N1, "expires": None}
    refused(control.call("PUT", path, {"node": N2}), 409, "leased", N1)
    gone = control.delete(path)
    assert (gone.status, gone.json) == (200, endless.json)
    assert control.get("/v2/leases").json["leases"] == []
    refused(control.delete(path), 404, "not-found", dataset)


def test_a_lease_of_v2_is_one_of_v1(control, pair):
    dataset = make(control, node=N1)
    control.call("PUT", f"/v2/leases/{dataset}", {"node": N1})
    lease, = control.get("/v1/configuration/leases").json
    assert lease == {"dataset_id": dataset, "node_uuid": N1, "expires": None}
    assert control.delete(f"/v1/configuration/leases/{dataset}").status == 200
    assert control.get("/v2/leases").json["leases"] == []


@pytest.mark.parametrize("body, wrong", [
    ({}, "/node: is required"), ({"node": "x"}, "/node: must be a version-4 UUID"), ({"node": None}, "/node: must be"),
    ({"node": N1, "seconds": 0}, "/seconds: must be a whole number of seconds from 1 to 3153600000"),
    ({"node": N1, "seconds": 1.5}, "/seconds: must be"), ({"node": N1, "seconds": "60"}, "/seconds: must be"),
    ({"node": N1, "seconds": 3153600001}, "/seconds: must be"),
    ({"node": N1, "expires": 60}, "/expires: is not known here; there are node, seconds"), ([], "/: must be an object")])
def test_a_wrong_lease_is_refused(control, body, wrong):
    dataset = make(control, node=N1)
    told = refused(control.call("PUT", f"/v2/leases/{dataset}", body), 400, "bad-body")
    assert [e for e in told["errors"] if e.startswith(wrong)], told


@pytest.mark.parametrize("dataset", [str(uuid.uuid4()), "nonsense"])
def test_what_is_not_there_is_not_leased(control, dataset):
    refused(control.call("PUT", f"/v2/leases/{dataset}", {"node": N1}), 404, "not-found", dataset)
    refused(control.delete(f"/v2/leases/{dataset}"), 404, "not-found", dataset)


def test_a_leased_dataset_waits_with_its_move(control, pair):
    dataset = make(control, node=N1)
    pair[0].mount(dataset)
    control.call("PUT", f"/v2/leases/{dataset}", {"node": N1})
    plan = control.call("PATCH", f"/v2/datasets/{dataset}?plan=true", {"node": N2}).json
    assert [s["step"] for s in plan["steps"]] == ["record", "wait"] and "lease" in plan["steps"][1]["what"]
    plan = control.delete(f"/v2/leases/{dataset}?plan=true").json
    assert (plan["lease"], [s["step"] for s in plan["steps"]]) == (None, ["record"])


# ---- who may ----

@pytest.mark.parametrize("method, path", [
    ("POST", "/v2/datasets"), ("PATCH", "/v2/datasets/x"), ("DELETE", "/v2/datasets/x"), ("POST", "/v2/datasets/x/purge"),
    ("PUT", "/v2/leases/x"), ("DELETE", "/v2/leases/x"), ("POST", "/v2/nodes/x/drain"), ("POST", "/v2/nodes/x/forget")])
def test_a_viewer_changes_nothing(control, method, path):
    viewer = control.authority.issue("viewer-v", "extendedKeyUsage=clientAuth")
    connection = control.connect(viewer)
    connection.request(method, path, b"{}")
    refused(rig.Answer(connection.getresponse()), 403, "viewer", "viewer-v")
    connection.request("GET", "/v2/datasets")
    assert rig.Answer(connection.getresponse()).status == 200
    connection.close()
