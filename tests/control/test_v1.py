# SPDX-License-Identifier: Apache-2.0
"""The API v1 as the original answered it: its recorded requests in order, what differs on purpose, and how
the state follows what nodes say."""
import json
import pathlib
import re
import socket
import uuid

import pytest

import fleet
import rig
import schema

EXAMPLES = json.loads(pathlib.Path(__file__).with_name("v1-examples.json").read_text())
PAGE = (schema.DOCS / "api-v1.md").read_text()
N1, N2, NOBODY = (f"{str(i) * 8}-{str(i) * 4}-4{str(i) * 3}-8{str(i) * 3}-{str(i) * 12}" for i in (1, 2, 3))
ERA = "56780f44-0499-4153-9352-92344b180021"
MOUNTED, DETACHED = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
CONFIGURATION, STATE = "/v1/configuration", "/v1/state"
DATASETS, LEASES = f"{CONFIGURATION}/datasets", f"{CONFIGURATION}/leases"

# Answers that differ from the original's on purpose: what is answered instead. docs/api-v1.md says why.
DELIBERATE = {
    "HEAD is routed but treated as a body-carrying method": 200,
    "duplicate key, last wins": 400,
    "deleted=false accepted by schema, not by handler": 400,
    "by era not a UUID": 400,
    "release, not a UUID": 400,
    "36 characters that are no UUID": 400,
    "expires beyond calendar": 400,
}

# What an answer of this status is, in docs/api-v1.schema.json.
ANSWERS = {
    ("GET", "version"): "version", ("GET", "configuration/datasets"): "datasets",
    ("POST", "configuration/datasets"): "dataset", ("POST", "configuration/datasets/*"): "dataset",
    ("DELETE", "configuration/datasets/*"): "dataset", ("GET", "state/datasets"): "dataset_states",
    ("GET", "state/nodes"): "nodes", ("GET", "state/nodes/by_era/*"): "era",
    ("GET", "configuration/leases"): "leases", ("POST", "configuration/leases"): "lease",
    ("DELETE", "configuration/leases/*"): "lease", ("GET", "state/containers"): "containers",
    ("GET", "configuration/containers"): "containers",
}


def definition_of(method, path, status):
    if status >= 400:
        return "error"
    path = re.sub(r"\?.*", "", re.sub("/+", "/", path)).removeprefix("/v1/")
    path = re.sub(r"^(configuration/datasets|configuration/leases|state/nodes/by_era)/.+", r"\1/*", path)
    return ANSWERS[method, path]


class Placeholders:
    """<tag-1> and the like stand for one value each, found when first seen."""

    def __init__(self):
        self.values = {}

    def fill(self, text):
        for name, value in self.values.items():
            text = text.replace(name, value)
        return text

    def check_list(self, want, have):
        """In any order."""
        have = list(have)
        for w in sorted(want, key=lambda v: "<new-uuid4>" in json.dumps(v)):
            for h in have:
                try:
                    self.check(w, h)
                except AssertionError:
                    continue
                have.remove(h)
                break
            else:
                raise AssertionError((w, have))
        assert not have, have

    def check(self, want, have, key=None):
        if isinstance(want, dict):
            assert isinstance(have, dict) and want.keys() == have.keys(), (want, have)
            for k in want:
                self.check(want[k], have[k], k)
        elif isinstance(want, list):
            assert isinstance(have, list) and len(want) == len(have), (want, have)
            self.check_list(want, have)
        elif key == "expires" and want is not None:  # what is left of it
            assert isinstance(have, float) and -rig.LIMIT_S < have - want < 1, (want, have)
        elif want == "<new-uuid4>":
            assert uuid.UUID(have).version == 4
        elif isinstance(want, str) and "<tag-" in want:
            pattern = re.sub(r"<tag\\?-[0-9]+>", "([0-9a-f]{32})", re.escape(self.fill(want)))
            found = re.fullmatch(pattern, have)
            assert found, (want, have)
            new = [n for n in re.findall("<tag-[0-9]+>", want) if n not in self.values]
            self.values.update(zip(new, found.groups()))
        elif want != "<version string>":
            assert want == have and type(want) is type(have), (want, have)

    def check_answer(self, want, have):
        if isinstance(want, dict) and "errors" in want:
            assert have["errors"] and all(isinstance(e, str) for e in have["errors"])
        # The original left the reader to find out what was wrong with the JSON.
        if isinstance(want, dict) and "description" in want:
            want, have = {"description": want["description"]}, {"description": have["description"]}
        self.check(want, have)


def send(control, example, places):
    headers = example.get("headers") or {}
    pairs = headers.items() if isinstance(headers, dict) else headers
    connection = control.connect()
    connection.putrequest(example["method"], example["path"])
    body = None
    if "raw" in example:
        body = example["raw"].encode("latin-1")
    elif "body" in example:
        body = json.dumps(example["body"]).encode()
    for name, value in pairs:
        if value.startswith("<tag-"):  # the recorder had looked at it
            places.values.setdefault(value, control.get(DATASETS).headers["X-Configuration-Tag"])
        connection.putheader(name, places.fill(value))
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    elif example["method"] in ("POST", "PUT"):
        connection.putheader("Content-Length", "0")
    connection.endheaders()
    if body:
        try:
            connection.send(body)
        except OSError:  # the answer to a GET needs no body, and may come before it
            pass
    answer = rig.Answer(connection.getresponse())
    connection.close()
    return answer


def check_example(control, example, places):
    if example["what"] == "expired but not yet swept":
        return  # maybe it is; see the next one
    if example["what"] == "swept within about a second":
        rig.wait_until("the lease is gone", lambda: control.get(LEASES).json == [])
    answer = send(control, example, places)
    if example["path"] == "/":  # the web page is there now
        assert (answer.status, answer.type.split(";")[0]) == (200, "text/html")
        return
    status = DELIBERATE.get(example["what"], example["status"])
    assert answer.status == status, answer.text
    assert answer.type == "application/json"
    if example["method"] == "HEAD":
        assert answer.text == b""
        return
    shape = definition_of(example["method"], example["path"], status)
    of_v2 = ["code"] if example["path"].startswith("/v2/") else []  # the original had none of it
    body = {k: v for k, v in answer.json.items() if k not in of_v2} if of_v2 else answer.json
    assert not schema.violations(schema.DEFS[shape], body), (shape, answer.text)
    if example["what"] in DELIBERATE:
        return
    if example.get("answer") is not None:
        places.check_answer(example["answer"], answer.json)
    headers = example.get("answer_headers", {})
    if "allow" in headers:
        assert set(answer.headers["Allow"].split(", ")) == set(headers["allow"].split(", "))
    if "x-configuration-tag" in headers:
        places.check(headers["x-configuration-tag"], answer.headers["X-Configuration-Tag"])


def of_group(group):
    return [e for e in EXAMPLES if e["group"] == group]


@pytest.fixture
def nodes(control):
    """The recorder's two nodes, which do what they are told."""
    both = fleet.Fleet(control, {n: control.authority.node(n) for n in (N1, N2)}, 6)
    both.members[0].address, both.members[1].address = "10.0.0.3", "10.0.0.4"
    both.members[0].boot = ERA
    both.start()
    both.wait_welcomed(1)
    yield both
    both.end()


def state(control):
    return control.get(f"{STATE}/datasets").json


def wait_state(control, dataset, **want):
    """Until it is in the state with exactly these keys beside its id and size."""
    def found():
        return any({k: v for k, v in d.items() if k != "maximum_size"} == {"dataset_id": dataset, **want}
                   for d in state(control))
    rig.wait_until(f"{dataset} is in the state with {want}: {state(control)}", found)


def mounted_on(node, dataset):
    return {"primary": node, "path": f"/flocker/{dataset}"}


@pytest.fixture
def recorded_state(control, nodes):
    """One dataset is mounted on the first node, the volume of another is attached nowhere."""
    for dataset, size in ((MOUNTED, 107374182400), (DETACHED, 1 << 30)):
        control.create(N1, dataset_id=dataset, maximum_size=size)
        wait_state(control, dataset, **mounted_on(N1, dataset))
    control.post(f"{DATASETS}/{DETACHED}", {"primary": NOBODY})
    wait_state(control, DETACHED)


@pytest.mark.parametrize("group", ["routing", "state", "dataset-create", "dataset-lifecycle", "leases",
                                   "documentation"])
def test_recorded_answers_of_the_original(control, nodes, group, request):
    if group == "state":
        request.getfixturevalue("recorded_state")
    places = Placeholders()
    examples = [e for e in of_group(group) if "no GET of single container" != e["what"]]
    assert len(examples) >= 8
    for example in examples:
        try:
            check_example(control, example, places)
        except AssertionError as e:
            raise AssertionError(f"{group} {example['step']} {example['what']}: {e}") from e
    if group == "state":
        assert [d["dataset_id"] for d in state(control)] == [MOUNTED, DETACHED]  # clients take the first


# ---- what the original could do and this cannot ----

def test_containers_are_refused_with_where_they_are_started(control):
    tag = control.create(N1) and control.get(DATASETS).headers["X-Configuration-Tag"]
    asked = 0
    for example in of_group("containers"):
        if "/containers" not in example["path"]:
            continue
        answer, asked = send(control, example, Placeholders()), asked + 1
        if example["method"] == "GET":
            assert (answer.status, answer.json) == (200, [])
            continue
        assert (answer.status, answer.type) == (405, "application/json"), example
        assert "Kubernetes" in answer.json["description"] and list(answer.json) == ["description"]
        assert answer.headers["Allow"] == ("GET, HEAD" if example["path"].endswith("/containers") else "")
    assert asked >= 25
    assert control.get(f"{CONFIGURATION}/containers/web").status == 405
    assert control.get(f"{STATE}/containers").json == []
    assert control.get(DATASETS).headers["X-Configuration-Tag"] == tag


def test_compose_wipes_nothing(control):
    dataset = control.create(N1)
    lease = {"dataset_id": dataset, "node_uuid": N1, "expires": None}
    assert control.post(LEASES, lease).status == 201
    before = control.get(DATASETS)
    asked = [e for e in of_group("compose") if e["path"].endswith("/_compose")]
    assert len(asked) >= 10
    for example in asked:
        answer = send(control, example, Placeholders())
        assert (answer.status, answer.headers["Allow"]) == (405, "")
        assert answer.json["description"].startswith("Nothing was changed")
    after = control.get(DATASETS)
    assert [d["dataset_id"] for d in after.json] == [dataset] and after.text == before.text
    assert after.headers["X-Configuration-Tag"] == before.headers["X-Configuration-Tag"]
    assert control.get(LEASES).json == [lease]


def test_the_page_names_every_route_and_its_methods(control):
    routes = re.findall(r"^\| `(GET|POST|DELETE)` \| `(/v1/[^`]*)` \|", PAGE, re.M)
    refused = re.findall(r"^\| `(POST|DELETE)` \| `(/v1/[^`]*)` \| refused", PAGE, re.M)
    paths = dict.fromkeys(path for _, path in routes)
    assert len(paths) >= 10
    for path in paths:
        answer = control.call("OPTIONS", path.replace("<", "x").replace(">", ""))
        methods = {m for m, p in routes if p == path} - {m for m, p in refused if p == path}
        assert answer.status == 405, path
        assert set(filter(None, answer.headers["Allow"].split(", "))) == methods | (
            {"HEAD"} if "GET" in methods else set()), path


# ---- requests ----

def test_head_is_get_without_the_body(control):
    control.create(N1)
    for path in ("/v1/version", DATASETS, f"{STATE}/nodes"):
        get, head = control.get(path), control.call("HEAD", path)
        assert (head.status, head.text, head.type) == (200, b"", "application/json")
        assert head.headers["Content-Length"] == str(len(get.text))
        assert head.headers["X-Configuration-Tag"] == get.headers["X-Configuration-Tag"]


def test_clients_of_http_1_0_without_a_host_are_served(control):
    connection = control.connect()
    connection.connect()
    connection.sock.sendall(b"GET /v1/version HTTP/1.0\r\n\r\n")
    data = b""
    while part := connection.sock.recv(65536):
        data += part
    assert b" 200 " in data.partition(b"\r\n")[0] and b'"flocker"' in data


def test_who_waits_for_100_continue_gets_it(control):
    connection = control.connect()
    connection.connect()
    connection.sock.settimeout(rig.LIMIT_S)
    body = json.dumps({"primary": N1}).encode()
    connection.sock.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                            % (DATASETS.encode(), len(body)))
    assert b"HTTP/1.1 100" in connection.sock.recv(65536)
    connection.sock.sendall(body)
    assert b"HTTP/1.1 201" in connection.sock.recv(65536)
    connection.sock.shutdown(socket.SHUT_RDWR)


# ---- the configuration tag ----

def test_what_nodes_do_leaves_the_tag_alone(control, nodes):
    dataset = control.create(N1)
    tag = control.get(DATASETS).headers["X-Configuration-Tag"]
    wait_state(control, dataset, **mounted_on(N1, dataset))
    assert control.get(DATASETS).headers["X-Configuration-Tag"] == tag
    answer = control.post(f"{DATASETS}/{dataset}", {"primary": N2}, headers={"X-If-Configuration-Matches": tag})
    assert answer.status == 200
    moved = control.get(DATASETS).headers["X-Configuration-Tag"]
    wait_state(control, dataset, **mounted_on(N2, dataset))
    assert control.get(DATASETS).headers["X-Configuration-Tag"] == moved != tag


def test_a_move_and_a_delete_wait_for_the_lease(control, nodes):
    held, other = control.create(N1), control.create(N1)
    for dataset in (held, other):
        wait_state(control, dataset, **mounted_on(N1, dataset))
    lease = {"dataset_id": held, "node_uuid": N1, "expires": None}
    assert control.post(LEASES, lease).status == 201
    for dataset in (held, other):
        answer = control.post(f"{DATASETS}/{dataset}", {"primary": N2})
        assert (answer.status, answer.json["primary"]) == (200, N2)
    wait_state(control, other, **mounted_on(N2, other))  # what was asked for later is done
    wait_state(control, held, **mounted_on(N1, held))
    assert "lease" in control.get(f"/v2/datasets/{held}").json["why"]
    assert control.delete(f"{LEASES}/{held}").json == lease
    wait_state(control, held, **mounted_on(N2, held))
    assert control.post(LEASES, lease | {"node_uuid": N2, "expires": 1}).status == 201
    assert control.delete(f"{DATASETS}/{held}").json["deleted"]
    rig.wait_until("it is destroyed when the lease is over", lambda: len(state(control)) == 1)
    assert control.get(LEASES).json == []


# ---- the state ----

def test_a_dataset_without_a_size_has_75_gib_in_the_state_only(control, nodes):
    dataset = control.create(N1)
    wait_state(control, dataset, **mounted_on(N1, dataset))
    assert [d["maximum_size"] for d in state(control)] == [80530636800]
    assert "maximum_size" not in control.get(DATASETS).json[0]


def test_a_dataset_has_a_path_only_while_it_is_mounted(control):
    node = rig.Node(control, N1)
    node.join()
    dataset = control.create(N1, maximum_size=1 << 30)
    order = node.mount(dataset)
    wait_state(control, dataset, **mounted_on(N1, dataset))
    node.report("status", order, "attached")
    wait_state(control, dataset)
    node.mount_again(order)
    wait_state(control, dataset, **mounted_on(N1, dataset))


def test_a_node_that_boots_again_has_nothing_mounted(control):
    node = rig.Node(control, N1)
    node.join()
    dataset = control.create(N1)
    order = node.mount(dataset)
    wait_state(control, dataset, **mounted_on(N1, dataset))
    node.close()
    again = rig.Node(control, N1, node.host)
    again.hello(partial=True)  # its storage hangs: it does not know yet what it holds
    again.take("welcome")
    wait_state(control, dataset)
    again.mount_again(order)
    wait_state(control, dataset, **mounted_on(N1, dataset))


def test_a_dataset_that_was_taken_over_is_not_where_it_was(control):
    here, there = rig.Node(control, N1), rig.Node(control, N2)
    here.join(), there.join()
    dataset = control.create(N1)
    here.mount(dataset)
    wait_state(control, dataset, **mounted_on(N1, dataset))
    here.close()
    rig.wait_until("the node is gone", lambda: control.post(f"/v2/nodes/{N1}/fence", {
        "accept_risk": True}).status == 200)
    assert control.post(f"{DATASETS}/{dataset}", {"primary": N2}).status == 200
    wait_state(control, dataset)  # its last node was heard a moment ago, and said that it is mounted
    there.mount(dataset)
    wait_state(control, dataset, **mounted_on(N2, dataset))


@pytest.fixture
def impatient(authority, tmp_path):
    server = rig.Control(authority, tmp_path)
    server.start("--state-expiry", "1")
    yield server
    server.end()


def test_the_state_of_a_silent_node_expires_and_its_era_does_not(impatient):
    control, node = impatient, rig.Node(impatient, N1)
    node.join()
    dataset = control.create(N1)
    node.mount(dataset)
    wait_state(control, dataset)
    rig.wait_until("the node is not listed", lambda: control.get(f"{STATE}/nodes").json == [])
    wait_state(control, dataset)  # the volume is still there
    assert control.get(f"{STATE}/nodes/by_era/{node.boot}").json == {"uuid": N1}
    node.send("pong")
    wait_state(control, dataset, **mounted_on(N1, dataset))


@pytest.fixture
def forgetful(authority, tmp_path):
    server = rig.Control(authority, tmp_path)
    server.start("--retention", "1")
    yield server
    server.end()


def test_a_deleted_dataset_goes_in_the_end_and_its_id_is_free(forgetful):
    control = forgetful
    dataset = control.create(N1)
    kept = control.create(N2)
    assert control.delete(f"{DATASETS}/{dataset}").status == 200
    rig.wait_until("the deleted one is dropped",
                   lambda: [d["dataset_id"] for d in control.get(DATASETS).json] == [kept])
    assert control.get(f"/v2/datasets/{dataset}").status == 404
    assert control.post(DATASETS, {"primary": N1, "dataset_id": dataset}).status == 201
    control.kill()
    control.hang_up()
    control.start("--retention", "1")
    assert sorted(d["dataset_id"] for d in control.get(DATASETS).json) == sorted([kept, dataset])


def test_the_retention_is_a_number_of_seconds(authority, tmp_path):
    control = rig.Control(authority, tmp_path)
    control.fails("--retention", "30d")
    assert "--retention '30d' is no number of seconds from 0 to 3153600000" in control.log


@pytest.mark.parametrize("value", ["0", "86401", "x", "-1", "1.5"])
def test_the_expiry_is_a_number_of_seconds(authority, tmp_path, value):
    control = rig.Control(authority, tmp_path)
    control.fails("--state-expiry", value)
    assert f"--state-expiry '{value}' is no number of seconds from 1 to 86400" in control.log


def test_after_a_restart_volumes_are_listed_at_once_and_mounts_when_their_nodes_are_back(control):
    node = rig.Node(control, N1)
    node.join()
    dataset = control.create(N1, maximum_size=1 << 30)
    order = node.mount(dataset)
    wait_state(control, dataset, **mounted_on(N1, dataset))
    node.close()
    control.hang_up()
    control.kill()
    control.start()
    assert control.get(f"{STATE}/nodes").json == []
    assert state(control) == [{"dataset_id": dataset, "maximum_size": 1 << 30}]
    again = rig.Node(control, N1, node.host, node.boot)
    again.hello(holds=[{"dataset_id": dataset, "volume_id": order["volume_id"], "epoch": order["epoch"],
                        "state": "mounted", "mounted": True, "mountpoint": f"/flocker/{dataset}"}])
    again.take("welcome")
    wait_state(control, dataset, **mounted_on(N1, dataset))
