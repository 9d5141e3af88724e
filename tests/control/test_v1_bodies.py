# SPDX-License-Identifier: Apache-2.0
"""The API v1 and its published schema agree: bodies made from docs/api-v1.schema.json under a seed are taken
and come back equal; with one field changed they are refused, and the answer names the field."""
import json
import os
import random

import pytest

import schema

SEED = int(os.environ.get("FLOCKER_SEED") or 1)
FULL = bool(os.environ.get("FLOCKER_FULL"))
DATASETS, LEASES = "/v1/configuration/datasets", "/v1/configuration/leases"


@pytest.fixture
def make(request):
    return schema.Generator(random.Random(f"{SEED} {request.node.name}"))


def places(answer):
    """The pointers in the errors of a refusal; keys may have colons, but none with a blank behind it."""
    assert answer.json["description"] == "The provided JSON doesn't match the required schema."
    return {error.rsplit(": ", error.count(": "))[0] for error in answer.json["errors"]}


def check_refusal(answer, body, wrong):
    assert answer.status == 400, (SEED, body, answer.text)
    assert places(answer) == {pointer or "/" for pointer in wrong}, (SEED, body, wrong, answer.text)


def as_dataset(body, dataset_id):
    """What a body of create makes of the configuration."""
    want = {"dataset_id": body.get("dataset_id", dataset_id).lower(), "primary": body["primary"].lower(),
            "deleted": False, "metadata": body.get("metadata", {})}
    if body.get("maximum_size") is not None:
        want["maximum_size"] = body["maximum_size"]
    return want


class Creator:
    """Creates datasets, and remembers what there must be."""

    def __init__(self, control):
        self.control, self.want = control, {}

    def create(self, body):
        answer = self.control.post(DATASETS, body)
        if body.get("dataset_id", "").lower() in self.want:
            assert answer.status == 409, (SEED, body, answer.text)
            return None
        assert answer.status == 201, (SEED, body, answer.text)
        dataset = answer.json
        assert not schema.violations({"$ref": "#/$defs/dataset"}, dataset)
        assert dataset == as_dataset(body, dataset["dataset_id"]), (SEED, body)
        self.want[dataset["dataset_id"]] = dataset
        return dataset

    def check(self):
        have = self.control.get(DATASETS).json
        assert {d["dataset_id"]: d for d in have} == self.want and len(have) == len(self.want), SEED


def test_what_the_schema_allows_is_taken_and_read_back(control, make):
    creator = Creator(control)
    for _ in range(5000 if FULL else 500):
        creator.create(make.valid(schema.DEFS["dataset_create"]))
    creator.check()


def test_one_wrong_field_of_a_create_is_refused_by_its_name(control, make):
    creator, refused = Creator(control), 0
    for _ in range(500 if FULL else 40):
        body = make.valid(schema.DEFS["dataset_create"])
        for changed in make.mutations(schema.DEFS["dataset_create"], body):
            wrong = schema.violations(schema.DEFS["dataset_create"], changed)
            if wrong:
                refused += 1
                check_refusal(control.post(DATASETS, changed), changed, wrong)
            else:
                creator.create(changed)
    assert refused > 1000
    creator.check()


def test_updates_obey_the_schema(control, make):
    creator = Creator(control)
    dataset = creator.create(make.valid(schema.DEFS["dataset_create"]))
    for _ in range(1000 if FULL else 100):
        body = make.valid(schema.DEFS["dataset_update"])
        for changed in [body, *make.mutations(schema.DEFS["dataset_update"], body)]:
            wrong = schema.violations(schema.DEFS["dataset_update"], changed)
            answer = control.post(f"{DATASETS}/{dataset['dataset_id']}", changed)
            if wrong:
                check_refusal(answer, changed, wrong)
                continue
            dataset["primary"] = changed.get("primary", dataset["primary"]).lower()
            assert (answer.status, answer.json) == (200, dataset), (SEED, changed)
    creator.check()


def test_leases_obey_the_schema(control, make):
    held = {}
    for _ in range(300 if FULL else 30):
        body = make.valid(schema.DEFS["lease"])
        for changed in [body, *make.mutations(schema.DEFS["lease"], body)]:
            wrong = schema.violations(schema.DEFS["lease"], changed)
            answer = control.post(LEASES, changed)
            if wrong:
                check_refusal(answer, changed, wrong)
                continue
            dataset, node = changed["dataset_id"].lower(), changed["node_uuid"].lower()
            if held.get(dataset, node) != node:
                assert answer.status == 409, (SEED, changed, answer.text)
                continue
            assert answer.status == (200 if dataset in held else 201), (SEED, changed, answer.text)
            assert answer.json == {"dataset_id": dataset, "node_uuid": node,
                                   "expires": pytest.approx(changed["expires"])}
            held[dataset] = node
            if changed["expires"] is not None and changed["expires"] < 1000:  # before it ends by itself
                assert control.delete(f"{LEASES}/{dataset}").json["node_uuid"] == held.pop(dataset)
    assert {e["dataset_id"]: e["node_uuid"] for e in control.get(LEASES).json} == held


@pytest.mark.parametrize("expires", ["1e300", "-1e300", "1e11000", "253402300800", "-1e12"])
def test_a_lease_ends_within_the_calendar(control, expires):
    node = "11111111-1111-4111-8111-111111111111"
    answer = control.post(LEASES, raw=b'{"dataset_id": "%s", "node_uuid": "%s", "expires": %s}'
                          % (node.encode(), node.encode(), expires.encode()))
    assert places(answer) == {"/expires"} and control.get(LEASES).json == []


def test_bodies_that_are_no_objects_are_refused_as_a_whole(control):
    for path in (DATASETS, LEASES, f"{DATASETS}/11111111-1111-4111-8111-111111111111"):
        for body in (None, True, 7, 1.5, "x", [], [{}]):
            answer = control.post(path, raw=json.dumps(body).encode())
            check_refusal(answer, body, {""})
