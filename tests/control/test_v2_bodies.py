# SPDX-License-Identifier: Apache-2.0
"""REST v2 and its document agree on bodies: those made from the schemas of control/openapi.json are taken and come back
as they were meant; with one place changed they are refused, and the answer points at the place."""
import os
import random
import re
import uuid

import pytest

import bodies
import openapi
import rig

SEED = int(os.environ.get("FLOCKER_SEED") or 1)
FULL = bool(os.environ.get("FLOCKER_FULL"))
DATASETS = "/v2/datasets"
KEPT = {"name": "name", "filesystem": "flocker:filesystem"}  # members that are metadata, too


@pytest.fixture
def make(request):
    return bodies.Generator(random.Random(f"{SEED} {request.node.name}"))


def points_at(errors, wrong):
    """Each error is at a wrong place or within it, and each wrong place has one. Keys may hold colons and blanks, and
    the pointer to a long one is cut."""
    def at(error, place):
        return not place or re.match(re.escape(place) + "(: |/)", error) or error.startswith("/: ") or (
            len(place) > 120 and error.startswith(place[:120]))

    shown = len(errors) < 32
    return all(any(at(e, w) for w in wrong) for e in errors) and \
        (not shown or all(any(at(e, w) for e in errors) for w in wrong))


def check_refusal(answer, body, wrong):
    assert answer.status == 400 and answer.json["code"] == "bad-body", (SEED, body, wrong, answer.text)
    errors = [e for e in answer.json["errors"] if not openapi.BEYOND.search(e)]
    assert points_at(errors, wrong), (SEED, body, wrong, answer.text)


def is_beyond(answer):
    return answer.status == 400 and openapi.BEYOND.search(answer.text.decode())


def check_dataset(seen, body):
    """What a body of create makes of it."""
    assert seen["name"] == body.get("name", body.get("metadata", {}).get("name"))
    assert seen["size"] == (body.get("size") or 75 << 30)
    assert seen["filesystem"] == (body.get("filesystem") or "ext4")
    assert (seen["node"] or "") == (body["node"] or "").lower()
    want = dict(body.get("metadata", {}))
    for member, key in KEPT.items():
        if body.get(member) is not None:
            want[key] = body[member]
    failover = body.get("failover", {})
    if failover.get("to"):
        want["flocker:failover-to"] = failover["to"] if failover["to"] == "any" else " ".join(failover["to"]).lower()
    assert seen["metadata"] == want
    assert seen["failover"]["policy"] == failover.get("policy", "manual")
    if failover.get("policy") == "lease":
        assert seen["failover"]["term"] == (failover.get("term") or 6)


def create(control, body, names):
    """The dataset; or None when the document does not say why not."""
    body["node"] = body.get("node")  # else the server looks for one that has room
    for place in (body, body.get("metadata", {})):
        if place.get("name") is not None:
            place["name"] = place["name"][:240] + f" {len(names)}"
            names.add(place["name"])
    answer = control.post(DATASETS, body)
    if is_beyond(answer):
        return None
    assert answer.status == 201, (SEED, body, answer.text)
    check_dataset(answer.json, body)
    return answer.json


def test_what_the_document_allows_is_taken_and_read_back(control, make):
    names, made = set(), {}
    for _ in range(2000 if FULL else 200):
        seen = create(control, make.valid("DatasetCreate"), names)
        if seen:
            made[seen["dataset_id"]] = seen
    assert len(made) > 50
    for dataset, seen in made.items():
        again = control.get(f"{DATASETS}/{dataset}").json
        for key in ("name", "metadata", "size", "node", "filesystem", "failover", "created_at"):
            assert again[key] == seen[key]


def refused_ones(make, name, times):
    for _ in range(times):
        body = make.valid(name)
        for changed in make.mutations(bodies.SCHEMAS[name], body):
            wrong = bodies.violations(name, changed)
            if wrong:
                yield changed, wrong


def test_one_wrong_place_of_a_create_is_pointed_at(control, make):
    n = 0
    for body, wrong in refused_ones(make, "DatasetCreate", 100 if FULL else 8):
        check_refusal(control.post(DATASETS, body), body, wrong)
        n += 1
    assert n > 500 and control.get(DATASETS).json["datasets"] == []


def test_one_wrong_place_of_a_patch_is_pointed_at_and_changes_nothing(control, make):
    before = control.post(DATASETS, {"node": None, "name": "kept"}).json
    n = 0
    for body, wrong in refused_ones(make, "DatasetPatch", 100 if FULL else 8):
        check_refusal(control.call("PATCH", f"{DATASETS}/{before['dataset_id']}", body), body, wrong)
        n += 1
    assert n > 500 and control.get(f"{DATASETS}/{before['dataset_id']}").json == before


def test_patches_that_the_document_allows_are_taken(control, make):
    dataset = control.post(DATASETS, {"node": None, "size": 64 << 20}).json
    path, size = f"{DATASETS}/{dataset['dataset_id']}", dataset["size"]
    taken = 0
    for _ in range(1000 if FULL else 150):
        body = make.valid("DatasetPatch")
        answer = control.call("PATCH", path, body)
        if body.get("size", size) < size:
            assert is_beyond(answer) or (answer.status, answer.json["code"]) == (409, "shrink"), (SEED, body)
        elif not is_beyond(answer):
            assert answer.status == 200, (SEED, body, answer.text)
            size, taken = answer.json["size"], taken + 1
            assert size == body.get("size", size)
            for key, value in body.get("metadata", {}).items():
                assert answer.json["metadata"].get(key) == value, (SEED, body)
            if "name" in body:
                assert answer.json["name"] == body["name"]
    assert taken > 5


def test_leases_obey_the_document(control, make):
    dataset = control.post(DATASETS, {"node": None}).json["dataset_id"]
    path = f"/v2/leases/{dataset}"
    for _ in range(500 if FULL else 50):
        body = make.valid("LeaseTake")
        answer = control.call("PUT", path, body)
        assert answer.status == 201 and answer.json["node"] == body["node"].lower(), (SEED, body, answer.text)
        assert (answer.json["expires"] is None) == (body.get("seconds") is None)
        assert control.delete(path).json == answer.json
    for body, wrong in refused_ones(make, "LeaseTake", 50 if FULL else 10):
        check_refusal(control.call("PUT", path, body), body, wrong)
    assert control.get("/v2/leases").json["leases"] == []


def test_a_lease_that_another_node_has_is_not_ended_by_one_that_means_its_own(control):
    dataset, mine, others = control.post(DATASETS, {"node": None}).json["dataset_id"], uuid.uuid4(), uuid.uuid4()
    path = f"/v2/leases/{dataset}"
    assert control.call("PUT", path, {"node": str(others)}).status == 201
    refused = control.delete(f"{path}?node={mine}")
    assert (refused.status, refused.json["code"]) == (409, "leased") and str(others) in refused.json["description"]
    assert control.delete(f"{path}?node=me").status == 400
    assert control.get("/v2/leases").json["leases"][0]["node"] == str(others)
    assert control.delete(f"{path}?node={others}").status == 200
    assert control.delete(f"{path}?node={others}").status == 404


def test_bodies_that_are_no_objects_are_refused_as_a_whole(control):
    dataset = control.post(DATASETS, {"node": None}).json["dataset_id"]
    for method, path in (("POST", DATASETS), ("PATCH", f"{DATASETS}/{dataset}"), ("PUT", f"/v2/leases/{dataset}")):
        for raw in (b"null", b"true", b"7", b"1.5", b'"x"', b"[]", b"[{}]"):
            check_refusal(control.call(method, path, raw=raw), raw, {""})
        for raw in (b"", b"{", b"{}x", b'{"name": "a", "name": "b"}', b"\xef\xbb\xbf{}", b'{"name": "\xff"}'):
            answer = control.call(method, path, raw=raw)
            assert (answer.status, answer.json["code"]) == (400, "bad-body"), (raw, answer.text)


@pytest.mark.parametrize("verb", ["fence", "forget"])
def test_a_risk_is_accepted_in_so_many_words(control, verb):
    node = rig.Node(control)
    node.join()
    node.close()
    path = f"/v2/nodes/{node.id}/{verb}"
    for raw in (b"", b"{}", b"[]", b'{"accept_risk": false}', b'{"accept_risk": "true"}', b'{"accept_risk": 1}',
                b'{"accept_risk": true, "x": 1}'):
        answer = control.call("POST", path, raw=raw)
        assert (answer.status, answer.json["code"]) == (400, "bad-body"), raw
    rig.wait_until("it is away", lambda: not control.get(f"/v2/nodes/{node.id}").json["live"])
    assert control.post(path, {"accept_risk": True}).status == 200
