# SPDX-License-Identifier: Apache-2.0
"""Control and nodes of neighbouring versions work together: frames of version 1 of the protocol as they were
recorded (../unit/wire-1.jsonl), and what a later version may say; records of both as well."""
import json
import os
import pathlib
import shutil
import sqlite3
import uuid

import rig
from test_nodes import state_of, wait_state

FRAMES = [json.loads(line) for line in
          (pathlib.Path(__file__).parents[1] / "unit/wire-1.jsonl").read_text().splitlines()]
# Of records as the version before wrote them; all others came later.
DATASET_KEYS = """version dataset_id metadata maximum_size size created_at primary failed_over deleted deleted_at
    backend volume_id filesystem fs_uuid format_state owner epoch born_epoch grant failover term_ms extended_ms
    failover_rev in_force in_force_term_ms sure_from fenced_from fenced fenced_also proof incarnation request""".split()
NODE_KEYS = "version uuid host given_up forgotten".split()


def recorded(type_, **fields):
    return next(f for f in FRAMES if f["type"] == type_ and fields.items() <= f.items())


def say(node, order, report, state):
    """As a node of version 1 said it, about this dataset."""
    fields = dict(recorded("report", report=report, state=state))
    for key in ("type", "seq"):
        del fields[key]
    fields.update(dataset_id=order["dataset_id"], volume_id=order["volume_id"], epoch=order["epoch"],
                  size=order["size"], failover_rev=order["failover_rev"])
    if "fs_uuid" in fields:
        fields["fs_uuid"] = order["fs_uuid"]
    if "mountpoint" in fields:
        fields["mountpoint"] = f"/flocker/{order['dataset_id']}"
    fields.pop("claimant", None)  # of the recording
    node.send("report", **fields)


def check_order(order):
    """A node of version 1 finds what it knows, and no word that it does not know."""
    like = recorded("assign", wish=order["wish"], failover=order["failover"])
    missing = like.keys() - order.keys() - {"metadata", "fenced", "request", "why"}
    assert not missing
    for key in like.keys() & order.keys():
        assert type(order[key]) is type(like[key]), key
    assert order["filesystem"] in ("ext4", "xfs", "btrfs")


def join_as_version_1(control, **fields):
    node = rig.Node(control)
    hello = dict(recorded("hello"), host=node.host, boot=node.boot, **fields)
    del hello["type"], hello["seq"]
    node.send("hello", **hello)
    welcome = node.take("welcome")
    assert recorded("welcome").keys() <= welcome.keys()
    return node


def test_a_node_of_version_1_takes_a_dataset_from_wish_to_destroyed(control):
    node = join_as_version_1(control)
    backend, = control.get(f"/v2/nodes/{node.id}").json["backends"]
    assert backend == {"name": "default", "driver": "loopback", "capacity": None, "shared": True, "warning": None,
                       "free": recorded("hello")["free"], "promised": None, "allocation_unit": None,
                       "capabilities": []}
    dataset = control.create(node.id)
    order = node.take_wish(dataset, "hold")
    check_order(order)
    for state in ("waiting", "creating", "attaching", "attached"):
        say(node, order, "status", state)
    say(node, order, "ready", "attached")
    order = node.take_wish(dataset, "hold")
    assert order["format_state"] == "started"
    say(node, order, "status", "formatting")
    say(node, order, "formatted", "formatting")
    order = node.take_wish(dataset, "hold")
    check_order(order)
    say(node, order, "status", "mounting")
    say(node, order, "status", "mounted")
    assert wait_state(control, dataset, "mounted")["mountpoint"] == f"/flocker/{dataset}"
    assert control.delete(f"/v2/datasets/{dataset}").status == 200
    order = node.take_wish(dataset, "release")
    check_order(order)
    for report, state in (("status", "unmounting"), ("status", "detaching"), ("released", "released")):
        say(node, order, report, state)
    order = node.take_wish(dataset, "destroy")
    check_order(order)
    say(node, order, "status", "destroying")
    say(node, order, "destroyed", "destroyed")
    wait_state(control, dataset, "destroyed")


def test_a_renewal_of_version_1_is_answered(control):
    node = join_as_version_1(control)
    ping = recorded("ping")
    node.send("ping", stamp_ms=ping["stamp_ms"], free=12345)
    assert node.take("pong")["stamp_ms"] == ping["stamp_ms"]
    backend, = control.get(f"/v2/nodes/{node.id}").json["backends"]
    assert backend["free"] == 12345


def test_backends_and_their_warnings_are_told_by_hello_and_ping(control):
    node = rig.Node(control)
    backends = [{"name": "default", "driver": "loopback", "capacity": 1000, "free": 0, "promised": 5000, "unit": 512,
                 "shared": True, "capabilities": ["cut", "failover"], "warning": "it is full"},
                {"name": "fast", "driver": "lvm"}]
    node.hello(wire=2, backends=backends)
    node.take("welcome")
    seen, fast = control.get(f"/v2/nodes/{node.id}").json["backends"]
    assert seen == {"name": "default", "driver": "loopback", "capacity": 1000, "free": 0, "promised": 5000,
                    "allocation_unit": 512, "shared": True, "capabilities": ["cut", "failover"],
                    "warning": "it is full"}
    assert (fast["name"], fast["driver"], fast["free"], fast["shared"]) == ("fast", "lvm", None, False)
    node.send("ping", free=700, backends=[dict(backends[0], free=700, capabilities=["cut"], warning="")])
    node.take("pong")
    seen, = control.get(f"/v2/nodes/{node.id}").json["backends"]
    assert (seen["free"], seen["capabilities"], seen["warning"]) == (700, ["cut"], None)
    node.send("ping", free=600)
    node.take("pong")
    seen, = control.get("/v2/backends").json["backends"]
    assert (seen["capacity"], seen["free"], seen["capabilities"]) == (1000, 600, ["cut"])
    assert seen["nodes"] == [{"uuid": node.id, "capacity": 1000, "free": 600, "promised": 5000, "warning": None}]


def test_a_later_node_is_understood_as_far_as_it_can_be(control):
    node = rig.Node(control)
    node.hello(wire=9, zone="a", filesystem="bcachefs", backends=[{"name": "x", "driver": "new", "capabilities": ["fly"],
                                                                  "iops": 7}])
    node.take("welcome")
    dataset = control.create(node.id)
    order = node.mount(dataset)
    wait_state(control, dataset, "mounted")
    node.send("census", everything=[1, {}])
    node.report("snapshotted", order, "mounted", mounted=True, mood="good")
    node.report("status", order, "thawing", mounted=True, step="thaw", errno=5)
    assert wait_state(control, dataset, "waiting")["owner"] == node.id
    node.mount_again(order)
    wait_state(control, dataset, "mounted")
    assert not node.closed.is_set()
    assert control.log.count("which this version of control does not know") == 1
    assert "filesystem 'bcachefs'" in control.log


# ---- records ----

def rows(control):
    """{key: map}; control has to be stopped."""
    db = sqlite3.connect(control.data / "control.sqlite")
    found = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM record")}
    db.close()
    return found


def rewrite(control, change):
    """change(key, map) on every record, as another version would have left it."""
    for name in ("control.sqlite", "control.sqlite-wal"):
        if (control.data / name).exists():
            shutil.chown(control.data / name, os.geteuid())
    db = sqlite3.connect(control.data / "control.sqlite")
    for key, value in rows(control).items():
        change(key, value)
        db.execute("UPDATE record SET value = ? WHERE key = ?", (json.dumps(value), key))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def make_records(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id, metadata={"name": "db"})
    node.mount(dataset)
    wait_state(control, dataset, "mounted")
    assert control.call("PUT", f"/v2/leases/{dataset}", {"node": node.id}).status == 201
    return node, dataset


def test_records_of_the_version_before_are_read_and_go_on(control):
    node, dataset = make_records(control)
    node.close()
    control.stop()
    control.hang_up()

    def lose(key, value):
        keys = DATASET_KEYS if key.startswith("dataset/") else NODE_KEYS if key.startswith("node/") else value
        for late in value.keys() - set(keys):
            del value[late]

    rewrite(control, lose)
    control.start()
    again = rig.Node(control, node.id, node.host)
    again.hello([{"dataset_id": dataset, "epoch": 1, "state": "mounted", "mounted": True,
                  "volume_id": state_of(control, dataset)["volume_id"]}])
    again.take_wish(dataset, "hold")
    assert state_of(control, dataset)["owner"] == node.id
    assert control.get("/v2/leases").json["leases"][0]["node"] == node.id


def test_what_a_later_version_wrote_is_kept_when_a_record_is_written_anew(control):
    node, dataset = make_records(control)
    node.close()
    control.stop()
    control.hang_up()
    tomorrow = {"a": [1, {"b": None}], "text": "\u00e9"}
    rewrite(control, lambda key, value: value.update(tomorrow=tomorrow) if "/" in key else None)
    control.start()
    assert control.call("PATCH", f"/v2/datasets/{dataset}", {"metadata": {"k": "v"}}).status == 200
    assert control.call("PUT", f"/v2/leases/{dataset}", {"node": node.id, "seconds": 1000}).status == 200
    assert control.post(f"/v2/nodes/{node.id}/replace").status == 200
    stranger = rig.Node(control, node.id, str(uuid.uuid4()))
    stranger.join()
    control.stop()
    kept = rows(control)
    for kind in ("dataset/", "node/", "lease/"):
        found = [value for key, value in kept.items() if key.startswith(kind)]
        assert [value["tomorrow"] for value in found] == [tomorrow], kind
    assert kept[f"dataset/{dataset}"]["metadata"]["k"] == "v"
    assert kept[f"node/{node.id}"]["host"] == stranger.host
    assert "expires_ms" in kept[f"lease/{dataset}"]
