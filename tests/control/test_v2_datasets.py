# SPDX-License-Identifier: Apache-2.0
"""REST v2's datasets: what makes, changes and ends one, and each way in which it is refused."""
import uuid

import pytest
import rig
import watch

MIB = 1 << 20
DATASETS = "/v2/datasets"
N1, N2 = "aaaaaaaa-0001-4000-8000-000000000001", "aaaaaaaa-0002-4000-8000-000000000002"


def one(dataset):
    return f"{DATASETS}/{dataset}"


def make(control, headers=None, **body):
    answer = control.post(DATASETS, {"node": None, **body}, headers=headers)
    assert answer.status == 201, answer.text
    return answer.json


def patch(control, dataset, body):
    return control.call("PATCH", one(dataset), body)


def refused(answer, status, code, *words):
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert answer.type == "application/json"
    for word in words:
        assert word in answer.json["description"], answer.text
    return answer.json


@pytest.fixture
def node(control):
    node = rig.Node(control, N1)
    node.join()
    yield node
    node.close()


# ---- a new one ----

def test_a_new_dataset_is_told_whole_and_where_it_is(control):
    answer = control.post(DATASETS, {
        "name": "db", "metadata": {"team": "a"}, "size": 128 * MIB, "filesystem": "btrfs", "node": N1,
        "failover": {"policy": "lease", "term": 30, "to": [N2, N1]}})
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == one(made["dataset_id"])
    assert (made["name"], made["size"], made["maximum_size"], made["node"]) == ("db", 128 * MIB, 128 * MIB, N1)
    assert made["metadata"] == {"name": "db", "team": "a", "flocker:filesystem": "btrfs",
                                "flocker:failover-to": f"{N2} {N1}"}
    assert (made["failover"]["policy"], made["failover"]["term"], made["failover"]["to"]) == ("lease", 30, [N2, N1])
    assert (made["filesystem"], made["wanted"], made["chosen"], made["deleted"]) == ("btrfs", "mounted", None, False)
    got = control.get(one(made["dataset_id"])).json
    assert got["history"] and {k: got[k] for k in ("dataset_id", "name", "size")} == {
        k: made[k] for k in ("dataset_id", "name", "size")}


def test_nothing_has_to_be_said(control, node):
    answer = control.post(DATASETS, {})
    assert answer.status == 201
    made = answer.json
    assert (made["node"], made["name"], made["maximum_size"], made["size"]) == (N1, None, None, 75 << 30)
    assert "most free space" in made["chosen"]


def test_a_chosen_id_is_kept(control):
    dataset = str(uuid.uuid4())
    assert make(control, dataset_id=dataset)["dataset_id"] == dataset
    refused(control.post(DATASETS, {"dataset_id": dataset, "node": None}), 409, "exists", dataset)


def test_the_node_with_the_most_room_is_chosen_and_it_is_said_why(control):
    nodes = []
    for node_id, free in ((N1, 10 << 30), (N2, 20 << 30)):
        node = rig.Node(control, node_id)
        node.hello(free=free)
        node.take("welcome")
        nodes.append(node)
    bodies = [control.post(DATASETS, {"size": 15 << 30}).json for _ in range(2)]
    assert [b["node"] for b in bodies] == [N2, N1]  # what is promised is not free
    assert "20.00 GiB" in bodies[0]["chosen"] and "of 2 connected nodes" in bodies[0]["chosen"]
    for node in nodes:
        node.close()


def test_without_a_node_nothing_is_placed(control):
    refused(control.post(DATASETS, {}), 409, "no-node", "No node is connected")


def test_what_is_placed_nowhere_waits_until_somebody_asks(control, node):
    made = make(control)
    assert (made["node"], made["wanted"], made["owner"], made["state"]) == (None, "unplaced", None, "waiting")
    assert patch(control, made["dataset_id"], {"node": N1}).json["node"] == N1
    node.mount(made["dataset_id"])
    assert patch(control, made["dataset_id"], {"node": None}).json["wanted"] == "unplaced"
    order = node.take_wish(made["dataset_id"], "release")
    node.report("released", order, "released")
    rig.wait_until("it is detached", lambda: control.get(one(made["dataset_id"])).json["state"] == "detached")


def test_v1_shows_what_is_placed_nowhere_with_the_nil_uuid(control):
    made = make(control, name="db")
    seen, = control.get("/v1/configuration/datasets").json
    assert seen["primary"] == "00000000-0000-0000-0000-000000000000"
    moved = control.post(f"/v1/configuration/datasets/{made['dataset_id']}", {"primary": N1})
    assert (moved.status, moved.json["primary"]) == (200, N1)
    assert control.delete(f"/v1/configuration/datasets/{made['dataset_id']}").json["deleted"]
    gone = control.get(one(made["dataset_id"])).json
    assert (gone["wanted"], gone["undelete_until"]) == ("deleted", None)


@pytest.mark.parametrize("body, wrong", [
    ({"size": 100 * MIB + 1}, f"/size: must be a multiple of 1024 bytes, such as {100 * MIB + 1024}"),
    ({"size": 63 * MIB}, f"/size: must be at least {64 * MIB} bytes"),
    ({"size": 64 * MIB, "filesystem": "xfs"}, f"/size: must be at least {300 * MIB} bytes for a filesystem of kind xfs"),
    ({"size": 64 * MIB, "filesystem": "btrfs"}, "/size: must be at least 114294784 bytes for a filesystem of kind btrfs"),
    ({"size": 1.5}, "/size: must be an integer number of bytes"),
    ({"size": "64MiB"}, "/size: must be an integer number of bytes"),
    ({"size": 1 << 63}, "/size: must be below 2^63"),
    ({"size": -1024}, "/size: must be at least"),
    ({"filesystem": "zfs"}, "/filesystem: must be ext4, xfs or btrfs"),
    ({"name": ""}, "/name: must have 1 to 256 characters"),
    ({"name": "x" * 257}, "/name: must have 1 to 256 characters"),
    ({"name": "a\nb"}, "/name: must have 1 to 256 characters, and none of control"),
    ({"name": 7}, "/name: must be a string"),
    ({"name": "a", "metadata": {"name": "b"}}, "/name: is said twice"),
    ({"metadata": {"name": ""}}, "/metadata/name: must have"),
    ({"metadata": {"flocker:filesystem": "xfs"}}, "/metadata/flocker:filesystem: is said as /filesystem"),
    ({"metadata": {"flocker:failover": "lease"}}, "/metadata/flocker:failover: is said as /failover/policy"),
    ({"metadata": {"k": 1}}, "/metadata/k: must be a string"),
    ({"metadata": {"k": None}}, "/metadata/k: must be a string"),
    ({"metadata": {"k": "v" * 257}}, "/metadata/k: must have at most 256 characters"),
    ({"metadata": {"k" * 257: "v"}}, "/metadata: a key must have 1 to 256 characters"),
    ({"metadata": {str(i): "" for i in range(16)}, "name": "db"}, "/metadata: must have at most 16 keys"),
    ({"metadata": []}, "/metadata: must be an object"),
    ({"node": "here"}, "/node: must be a version-4 UUID"),
    ({"dataset_id": "x"}, "/dataset_id: must be a version-4 UUID"),
    ({"failover": "lease"}, "/failover: must be an object"),
    ({"failover": {"policy": "soon"}}, "/failover/policy: must be manual or lease"),
    ({"failover": {"term": 1}}, "/failover/term: must be a whole number of seconds from 2 to 86400"),
    ({"failover": {"term": 86401}}, "/failover/term"),
    ({"failover": {"to": "some"}}, "/failover/to: must be \"any\""),
    ({"failover": {"to": []}}, "/failover/to: must name 1 to 6 nodes"),
    ({"failover": {"to": [N1] * 7}}, "/failover/to: must name 1 to 6 nodes"),
    ({"failover": {"to": [N1, "x"]}}, "/failover/to/1: must be a version-4 UUID"),
    ({"failover": {"when": 1}}, "/failover/when: is not known here; there are policy, term, to"),
    ({"primary": N1}, "/primary: is not known here; there are name, metadata, size"),
    ([], "/: must be an object")])
def test_a_wrong_body_is_refused_by_what_is_wrong_in_it(control, body, wrong):
    answer = control.post(DATASETS, body)
    told = refused(answer, 400, "bad-body")
    assert [e for e in told["errors"] if e.startswith(wrong)], told
    assert control.every() == []


def test_all_that_is_wrong_is_told_at_once(control):
    told = refused(control.post(DATASETS, {"size": 1, "name": "", "node": 1, "x": 1}), 400, "bad-body")
    assert sorted(e.split(":")[0] for e in told["errors"]) == ["/name", "/node", "/size", "/x"]


def test_a_body_that_is_no_json_is_a_bad_body(control):
    told = refused(control.call("POST", DATASETS, raw=b'{"name": '), 400, "bad-body")
    assert told["errors"][0].startswith("/")


def test_a_body_that_is_too_large_has_a_code(control):
    refused(control.call("POST", DATASETS, raw=b" " * (1 << 20) + b"{}"), 413, "too-large")


# ---- names ----

def test_a_name_belongs_to_one_living_dataset(control):
    first = make(control, name="db")["dataset_id"]
    refused(control.post(DATASETS, {"name": "db", "node": None}), 409, "name-in-use", first, "'db'")
    refused(control.post(DATASETS, {"metadata": {"name": "db"}, "node": None}), 409, "name-in-use", first)
    other = make(control, name="web")["dataset_id"]
    refused(patch(control, other, {"name": "db"}), 409, "name-in-use", first)
    assert patch(control, other, {"name": "web"}).status == 200  # its own
    assert patch(control, first, {"name": "old"}).json["name"] == "old"
    assert patch(control, other, {"name": "db"}).json["name"] == "db"


def test_a_name_is_free_again_when_its_dataset_is_deleted(control):
    first = make(control, name="db")["dataset_id"]
    assert control.delete(one(first) + "?undelete=60").status == 200
    second = make(control, name="db")["dataset_id"]
    refused(control.post(one(first) + "/undelete"), 409, "name-in-use", second)
    assert control.delete(one(second)).status == 200
    assert control.post(one(first) + "/undelete").json["name"] == "db"


def test_datasets_of_v1_may_share_a_name_and_go_on_by_id(control):
    same = [control.create(N1, metadata={"name": "db"}) for _ in range(2)]
    told = refused(control.post(DATASETS, {"name": "db", "node": None}), 409, "name-in-use")
    assert [d for d in same if d in told["description"]]
    assert patch(control, same[1], {"metadata": {"team": "a"}}).status == 200
    assert {d["dataset_id"] for d in control.every(name="db")} == set(same)


# ---- the same wish twice ----

def test_the_same_key_and_body_make_one_dataset(control):
    key = {"Idempotency-Key": "deploy-7.a_B"}
    first = control.post(DATASETS, {"name": "db", "node": None}, headers=key)
    again = control.call("POST", DATASETS, raw=b' {"name":"db",  "node":null}', headers=key)
    assert (first.status, again.status) == (201, 201)
    assert first.headers["Idempotency-Replayed"] is None and again.headers["Idempotency-Replayed"] == "true"
    assert first.json["dataset_id"] == again.json["dataset_id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert len(control.every()) == 1


def test_a_key_with_another_body_is_a_slip(control):
    key = {"Idempotency-Key": "k"}
    first = make(control, key, name="db")["dataset_id"]
    refused(control.post(DATASETS, {"name": "web", "node": None}, headers=key), 422, "idempotency-key", first)
    assert len(control.every()) == 1


@pytest.mark.parametrize("key", ["", "a b", "k" * 65, "\u00e9".encode().decode("latin-1")])
def test_a_key_has_a_form(control, key):
    refused(control.post(DATASETS, {"node": None}, headers={"Idempotency-Key": key}), 400, "bad-request",
            "Idempotency-Key")


def test_a_key_is_remembered_over_a_crash(control):
    """Also when the client never saw the answer: it is killed between."""
    made = {}
    for number in range(12):
        key = {"Idempotency-Key": f"k{number}"}
        connection = control.connect()
        connection.request("POST", DATASETS, b'{"node": null}', key)
        if number % 2:
            made[number] = rig.Answer(connection.getresponse()).json["dataset_id"]
        control.kill()
        connection.close()
        control.hang_up()
        control.start()
        again = control.post(DATASETS, {"node": None}, headers=key)
        assert again.status == 201
        assert made.setdefault(number, again.json["dataset_id"]) == again.json["dataset_id"]
        assert number % 2 == 0 or again.headers["Idempotency-Replayed"] == "true"
    assert {d["dataset_id"] for d in control.every()} == set(made.values())


def test_a_key_still_names_what_was_deleted(control):
    key = {"Idempotency-Key": "k"}
    made = make(control, key)["dataset_id"]
    assert control.delete(one(made)).status == 200
    again = control.post(DATASETS, {"node": None}, headers=key)
    assert (again.status, again.json["dataset_id"], again.json["deleted"]) == (201, made, True)


def test_a_plan_with_a_key_takes_it_not(control):
    key = {"Idempotency-Key": "k"}
    assert control.post(DATASETS + "?plan=true", {"node": None}, headers=key).status == 200
    assert control.post(DATASETS, {"node": None, "name": "db"}, headers=key).status == 201


# ---- changes ----

def test_metadata_are_merged_and_null_takes_a_key_away(control):
    dataset = make(control, name="db", metadata={"a": "1", "b": "2"})["dataset_id"]
    assert patch(control, dataset, {"metadata": {"a": None, "c": "3", "nothere": None}}).json["metadata"] == {
        "name": "db", "b": "2", "c": "3"}
    assert patch(control, dataset, {"name": None}).json["metadata"] == {"b": "2", "c": "3"}
    assert patch(control, dataset, {"failover": {"to": "any"}}).json["failover"]["to"] == "any"
    assert patch(control, dataset, {"failover": {"to": None}}).json["failover"]["to"] is None


def test_a_failover_keeps_what_is_not_said(control):
    dataset = make(control, failover={"policy": "lease", "term": 30})["dataset_id"]
    assert patch(control, dataset, {"failover": {"to": "any"}}).json["failover"]["term"] == 30
    seen = patch(control, dataset, {"failover": {"term": 60}}).json["failover"]
    assert (seen["policy"], seen["term"], seen["to"]) == ("lease", 60, "any")


def test_a_patch_is_all_or_nothing(control):
    first = make(control, name="db")["dataset_id"]
    made = make(control, name="web", size=128 * MIB)
    before = control.get(one(made["dataset_id"])).json
    for body, code in (({"name": "db", "node": N1, "metadata": {"a": "b"}}, "name-in-use"),
                       ({"size": 64 * MIB, "node": N1, "name": "new"}, "shrink"),
                       ({"node": N1, "metadata": {str(i): "" for i in range(16)}}, "bad-body"),
                       ({"node": N1, "size": 1}, "bad-body")):
        assert patch(control, made["dataset_id"], body).json["code"] == code
        assert control.get(one(made["dataset_id"])).json == before
    assert first


def test_a_dataset_never_shrinks(control):
    dataset = make(control, size=128 * MIB)["dataset_id"]
    told = refused(patch(control, dataset, {"size": 64 * MIB}), 409, "shrink", str(128 * MIB), "never shrink")
    assert told["description"].startswith("/size:")
    assert patch(control, dataset, {"size": 128 * MIB}).status == 200
    assert patch(control, dataset, {"size": 256 * MIB}).json["size"] == 256 * MIB
    refused(patch(control, dataset, {"size": 128 * MIB}), 409, "shrink", str(256 * MIB))


@pytest.mark.parametrize("body, wrong", [
    ({"size": None}, "/size: must be an integer"), ({"size": 1}, "/size: must be at least"),
    ({"filesystem": "xfs"}, "/filesystem: is not known here; there are name, metadata, node, size, failover"),
    ({"dataset_id": N1}, "/dataset_id: is not known here"), ({"deleted": True}, "/deleted: is not known here"),
    ({"metadata": {"k": 1}}, "/metadata/k: must be a string"), ({"node": 1}, "/node: must be"),
    ({"metadata": {"flocker:term": None}}, "/metadata/flocker:term: is said as /failover/term"), ([], "/: must be")])
def test_a_wrong_patch_is_refused(control, body, wrong):
    dataset = make(control)["dataset_id"]
    told = refused(patch(control, dataset, body), 400, "bad-body")
    assert [e for e in told["errors"] if e.startswith(wrong)], told


def test_a_move_to_a_node_that_drains_is_refused(control, node):
    assert control.post(f"/v2/nodes/{N1}/drain").status == 200
    dataset = make(control)["dataset_id"]
    refused(patch(control, dataset, {"node": N1}), 409, "node-draining", N1)
    refused(control.post(DATASETS, {"node": N1}), 409, "node-draining", N1)
    assert control.create(N1)  # v1 does not know of that


def test_who_was_told_to_give_it_back_is_not_where_it_is_mounted(control, node):
    """Though it is wanted there again: who begins to use it would lose it. Events tell the same."""
    dataset = control.create(N1)
    order = node.mount(dataset)
    rig.wait_until("it is mounted", lambda: control.get(one(dataset)).json["state"] == "mounted")
    revision = control.get(DATASETS).json["revision"]
    patch(control, dataset, {"node": N2})
    patch(control, dataset, {"node": N1})
    seen = control.get(one(dataset)).json
    assert (seen["state"], seen["node"], seen["owner"]) == ("unmounting", N1, N1)
    assert "told to give it back" in seen["why"]
    events = watch.Stream(control, f"after={revision}")
    assert any((e.data["state"], e.data["node"]) == ("unmounting", N1) for e in events if e.type == "dataset")
    node.report("released", order, "released")
    node.mount_again(node.take_wish(dataset, "hold"))
    rig.wait_until("it is mounted", lambda: control.get(one(dataset)).json["state"] == "mounted")


@pytest.mark.parametrize("method, path, body", [
    ("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("POST", "/undelete", None), ("POST", "/purge", None)])
@pytest.mark.parametrize("dataset", [str(uuid.uuid4()), "nonsense", "%00", "%ff"])
def test_what_is_not_there_is_not_found(control, method, path, body, dataset):
    answer = control.call(method, one(dataset) + path, body)
    refused(answer, 400 if dataset.startswith("%") else 404, "bad-request" if dataset.startswith("%") else "not-found")


@pytest.mark.parametrize("method, path, allow", [
    ("PUT", "", "GET, HEAD, PATCH, DELETE"), ("POST", "", "GET, HEAD, PATCH, DELETE"),
    ("PATCH", "/undelete", "POST"), ("GET", "/purge", "POST"), ("POST", "/failover", None)])
def test_another_method_is_told_which_there_are(control, method, path, allow):
    answer = control.call(method, one(make(control)["dataset_id"]) + path, {})
    if allow:
        refused(answer, 405, "method", allow)
        assert answer.headers["Allow"] == allow
    else:
        refused(answer, 404, "not-found")


# ---- the end ----

def released(control, node, dataset):
    order = node.take_wish(dataset, "release")
    node.report("released", order, "released")
    rig.wait_until("nobody has it", lambda: control.get(one(dataset)).json["owner"] is None)


def test_what_is_deleted_is_kept_for_its_window_and_can_be_had_back(control, node):
    dataset = make(control, node=N1, name="db")["dataset_id"]
    node.mount(dataset)
    answer = control.delete(one(dataset) + "?undelete=3600")
    assert (answer.status, answer.json["deleted"], answer.json["wanted"]) == (200, True, "deleted")
    assert answer.json["undelete_until"] > answer.json["deleted_at"]
    released(control, node, dataset)
    kept = control.get(one(dataset)).json
    assert kept["volume_id"] and kept["state"] == "detached"
    back = control.post(one(dataset) + "/undelete").json
    assert (back["deleted"], back["undelete_until"], back["deleted_at"], back["node"]) == (False, None, None, N1)
    order = node.take_wish(dataset, "hold")
    assert (order["volume_id"], order["format_state"]) == (kept["volume_id"], "done")


def test_a_purge_ends_the_window(control, node):
    dataset = make(control, node=N1)["dataset_id"]
    node.mount(dataset)
    refused(control.post(one(dataset) + "/purge"), 409, "not-deleted", dataset)
    control.delete(one(dataset) + "?undelete=3600")
    released(control, node, dataset)
    assert control.post(one(dataset) + "/purge").json["undelete_until"] is None
    node.report("destroyed", node.take_wish(dataset, "destroy"), "destroyed")
    rig.wait_until("it is destroyed", lambda: control.get(one(dataset)).json["state"] == "destroyed")
    refused(control.post(one(dataset) + "/undelete"), 409, "deleted", "for good")
    assert control.post(one(dataset) + "/purge").status == 200


def test_the_window_ends_by_itself_also_over_a_crash(control, node):
    dataset = make(control, node=N1)["dataset_id"]
    node.mount(dataset)
    control.delete(one(dataset) + "?undelete=2")
    released(control, node, dataset)
    control.kill()
    node.close()
    control.hang_up()
    control.start()
    again = rig.Node(control, N1, host=node.host, boot=node.boot)
    again.join()
    again.report("destroyed", again.take_wish(dataset, "destroy"), "destroyed")
    rig.wait_until("it is destroyed", lambda: control.get(one(dataset)).json["state"] == "destroyed")
    again.close()


def test_what_is_not_deleted_is_not_undeleted(control):
    dataset = make(control)["dataset_id"]
    refused(control.post(one(dataset) + "/undelete"), 409, "not-deleted", dataset)


def test_a_deleted_dataset_is_not_changed(control):
    dataset = make(control)["dataset_id"]
    control.delete(one(dataset) + "?undelete=60")
    refused(patch(control, dataset, {"name": "db"}), 409, "deleted", "/undelete")
    control.post(one(dataset) + "/purge")
    refused(patch(control, dataset, {"name": "db"}), 409, "deleted", "for good")


def test_a_delete_again_changes_nothing(control):
    dataset = make(control)["dataset_id"]
    first = control.delete(one(dataset) + "?undelete=60").json
    again = control.delete(one(dataset) + "?undelete=3600")
    assert (again.status, again.json["undelete_until"]) == (200, first["undelete_until"])


@pytest.mark.parametrize("query, words", [("undelete=soon", "?undelete: must be a whole number from 0 to 315360000"),
                                          ("undelete=-1", "?undelete: must be"), ("undelete=", "?undelete: must be"),
                                          ("undelete=1&undelete=2", "?undelete: appears twice"),
                                          ("keep=1", "?keep: there is no such parameter here; there are: undelete plan")])
def test_a_window_is_a_number_of_seconds(control, query, words):
    dataset = make(control)["dataset_id"]
    told = refused(control.delete(one(dataset) + "?" + query), 400, "bad-request")
    assert told["errors"][0].startswith(words), told
    assert not control.get(one(dataset)).json["deleted"]


def test_the_server_has_a_window_of_its_own(authority, tmp_path):
    control = rig.Control(authority, tmp_path)
    control.start("--undelete-window", "3600")
    first, second, third = [make(control)["dataset_id"] for _ in range(3)]
    assert control.delete(one(first)).json["undelete_until"]
    assert control.delete(one(second) + "?undelete=0").json["undelete_until"] is None
    assert control.delete(f"/v1/configuration/datasets/{third}").status == 200
    assert control.get(one(third)).json["undelete_until"] is None  # v1 knows no way back
    control.end()
    control.fails("--undelete-window", "1h")
    assert "--undelete-window '1h' is no number of seconds from 0 to 315360000" in control.log
