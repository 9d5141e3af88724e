# SPDX-License-Identifier: Apache-2.0
"""Watching: no event is missed or repeated from a revision on, filters, what is too old, and slow watchers."""
import json
import os
import random
import sqlite3
import threading
import time
import uuid

import pytest

import rig
from fleet import Fleet
from watch import DATASETS, Follower, Listening, Picture, Stream, fill, listed, move, quiet_revision, steady

SEED = int(os.environ.get("FLOCKER_SEED") or random.randrange(1 << 32))
LEASES = "/v1/configuration/leases"
TERM_S = 3


@pytest.fixture
def make_fleet():
    made = []

    def make(control, n):
        pairs = {(i := str(uuid.uuid4())): control.authority.node(i) for _ in range(n)}
        made.append(Fleet(control, pairs, TERM_S).start())
        made[-1].wait_welcomed(1)
        return made[-1]

    yield make
    for fleet in made:
        if not fleet.loop.is_closed():
            fleet.end()


# ---- all of them ----

class Writer:
    """Changes its own datasets in every way there is, and nodes as well, as @rng likes, until it has done enough.
    Refusals are answers like others here."""

    def __init__(self, control, nodes, rng, acts):
        self.control, self.nodes, self.rng, self.acts = control, nodes, rng, acts
        self.mine = []
        self.error = None

    def start(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            for _ in range(self.acts):
                self.act()
        except Exception as e:  # told by join()
            self.error = e
        self.control.hang_up()

    def act(self):
        node = self.rng.choice(self.nodes)
        if not self.mine or self.rng.random() < 0.15:
            self.mine.append(self.control.create(node, metadata={"name": f"n{self.rng.randrange(1 << 30)}"}))
            return
        dataset = self.rng.choice(self.mine)
        path = f"/v2/datasets/{dataset}"
        method, path, body = self.rng.choice((
            ("POST", f"{DATASETS}/{dataset}", {"primary": node}),
            ("PATCH", path, {"node": self.rng.choice((node, None))}),
            ("PATCH", path, {"metadata": {"k": self.rng.choice(("a", "b", None))}}),
            ("PATCH", path, {"size": (76 << 30) + self.rng.randrange(8) * 1024}),
            ("PATCH", path, {"failover": {"policy": self.rng.choice(("manual", "lease"))}}),
            ("DELETE", path, None),
            ("DELETE", f"{path}?undelete={self.rng.choice((1, 3600))}", None),
            ("POST", f"{path}/undelete", None),
            ("POST", f"{path}/purge", None),
            ("POST", LEASES, {"dataset_id": dataset, "node_uuid": node,
                              "expires": self.rng.choice((None, 0.1, 3600))}),
            ("DELETE", f"{LEASES}/{dataset}", None),
            ("POST", f"/v2/nodes/{node}/drain", None),
            ("POST", f"/v2/nodes/{node}/undrain", None),
            ("POST", f"/v2/nodes/{node}/fence", {"accept_risk": True}),
        ))
        answer = self.control.call(method, path, body)
        assert answer.status < 500 and answer.status not in (400, 405) or b"deleted" in answer.text, (
            method, path, body, answer.text)

    def join(self):
        self.thread.join()
        if self.error:
            raise self.error


def stored(control):
    with sqlite3.connect(f"file:{control.data / 'control.sqlite'}?mode=ro", uri=True) as db:
        table, = [t for t, in db.execute("select name from sqlite_master where type = 'table'")
                  if {"key", "value"} <= {c[1] for c in db.execute(f"pragma table_info({t})")}
                  and db.execute(f"select count(*) from {t} where key like 'dataset/%'").fetchone()[0]]
        return {k: json.loads(v) for k, v in db.execute(f"select key, value from {table}")}


def assert_same(picture, seen):
    assert picture.keys() == seen.keys()
    for key, thing in seen.items():
        assert steady(picture[key]) == steady(thing), key


def assert_of_store(picture, records):
    datasets = {k.removeprefix("dataset/"): r for k, r in records.items() if k.startswith("dataset/")}
    assert {i for kind, i in picture if kind == "dataset"} == datasets.keys()
    for dataset, record in datasets.items():
        shown = picture["dataset", dataset]
        for key, word in (("epoch", "epoch"), ("owner", "owner"), ("primary", "node"), ("deleted", "deleted"),
                          ("volume_id", "volume_id"), ("format_state", "format_state"), ("metadata", "metadata")):
            assert (record.get(key) or None) == (shown[word] or None), (dataset, key)
    assert {k.removeprefix("lease/") for k in records if k.startswith("lease/")} == {
        i for kind, i in picture if kind == "lease"}


def moment(control):
    """What is listed and stored while nothing is told, and at which revision."""
    while True:
        seen, revision = listed(control)
        records = stored(control)
        if control.get("/v2/nodes").json["revision"] == revision:
            return seen, records, revision


def assert_all_was_told(control, pictures, followers):
    """What was decided and is not durable yet may show already: so it may take a moment."""
    end = time.monotonic() + rig.LIMIT_S
    while True:
        seen, records, revision = moment(control)
        n = int(revision.split("-")[1])
        for picture, follower in zip(pictures, followers):
            follower.wait_for(revision)
            picture.apply(e for e in follower.events[picture.applied:] if e.n <= n)
            picture.applied = sum(e.n <= n for e in follower.events)
        try:
            for picture in pictures:
                assert_same(picture.objects, seen)
                assert_of_store(picture.objects, records)
            return
        except AssertionError:
            if time.monotonic() > end:
                raise


def test_no_event_is_missed_or_repeated_across_reconnects(bare, make_fleet):
    print(f"FLOCKER_SEED={SEED}", flush=True)
    rng = random.Random(SEED)
    bare.start("--retention", "1", "--term", str(TERM_S))
    pictures = [Picture(bare) for _ in range(3)]
    followers = [Follower(bare, random.Random(rng.random()), p.revision) for p in pictures]
    fleet, others = make_fleet(bare, 3), make_fleet(bare, 2)
    nodes = [m.id for m in fleet.members + others.members]
    writers = [Writer(bare, nodes, random.Random(rng.random()), 30) for _ in range(3)]
    for phase in range(5):
        for writer in writers:
            writer.start()
        while any(w.thread.is_alive() for w in writers):
            time.sleep(rng.uniform(0.05, 0.3))
            rng.choice((fleet, others) if phase <= 2 else (fleet,)).cut()
        for writer in writers:
            writer.join()
        if phase == 2:
            others.end()  # these stay away
        assert_all_was_told(bare, pictures, followers)
    # What is deleted is dropped in that time, and the terms of those that stay away end.
    last = quiet_revision(bare, 1.5 * TERM_S)
    assert_all_was_told(bare, pictures, followers)
    for picture, follower in zip(pictures, followers):
        follower.end()
        first = int(picture.revision.split("-")[1])
        assert [e.n for e in follower.events] == list(range(first + 1, first + 1 + len(follower.events)))
        assert follower.events[-1].n >= int(last.split("-")[1])
    dropped = sum(e.dropped for e in followers[0].events)
    print(f"{len(followers[0].events)} events, {dropped} of what is no more, "
          f"{sum(f.connections for f in followers)} connections", flush=True)
    assert all(e.kind == "lease" or e.data["revision"] == e.revision for e in followers[0].events) and dropped


def test_what_looks_as_before_is_no_event(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    order = node.mount(dataset)
    rig.wait_until("it is mounted", lambda: control.get(f"/v2/datasets/{dataset}").json["state"] == "mounted")
    before = quiet_revision(control)
    for _ in range(20):
        node.mount_again(order)  # says what it said before
        node.send("pong")
    node.report("status", order, "mounted", mounted=True, why="now it is another")
    after = rig.wait_until("the event", lambda: (r := control.get("/v2/nodes").json["revision"]) != before and r)
    assert int(after.split("-")[1]) == int(before.split("-")[1]) + 1
    node.close()


def test_a_burst_is_one_event(control):
    node = rig.Node(control)
    node.join()
    dataset = control.create(node.id)
    order = node.mount(dataset)
    before = quiet_revision(control)
    with Listening(control, before) as stream:
        frames = b""
        for i in range(200):
            node.sequence += 1
            data = json.dumps({"type": "report", "seq": node.sequence, "report": "status", "dataset_id": dataset,
                               "volume_id": order["volume_id"], "epoch": order["epoch"], "state": "mounted",
                               "mounted": True, "size": order["size"], "why": f"step {i}"}).encode()
            frames += len(data).to_bytes(4, "big") + data
        node.send_raw(frames)
        seen = stream.until("the last of it", lambda e: e.data.get("why") == "step 199")
    assert len(seen) < 100, len(seen)
    node.close()


# ---- some of them ----

def test_a_filtered_stream_is_what_passes_of_the_whole(control, make_fleet):
    here, there = (m.id for m in make_fleet(control, 2).members)
    start = quiet_revision(control)
    first, second = control.create(here), control.create(there)
    control.post(LEASES, {"dataset_id": second, "node_uuid": there, "expires": None})
    rig.wait_until("they are mounted", lambda: all(
        d["state"] == "mounted" for d in control.get("/v2/datasets").json["datasets"]))
    move(control, first, there)
    rig.wait_until("it has moved", lambda: control.get(f"/v2/datasets/{first}").json["owner"] == there)
    control.delete(f"{LEASES}/{second}")
    last = int(quiet_revision(control).split("-")[1])

    def events(query=""):
        with Listening(control, start, query + "&heartbeat=1" if query else "heartbeat=1") as stream:
            seen = []
            while int(stream.revision.split("-")[1]) < last:
                fields = stream.block()
                if "event" in fields:
                    seen.append((fields["event"], json.loads(fields["data"])))
            return seen

    every = events()
    assert events("type=node") == [e for e in every if e[0] == "node"]
    leases = [e for e in every if e[0] in ("lease", "lease-dropped")]
    assert [t for t, _ in leases] == ["lease", "lease-dropped"] and events("type=lease") == leases
    assert events("type=lease,node") == [e for e in every if not e[0].startswith("dataset")]
    of_second = [e for e in every if e[1].get("dataset_id") == second]
    assert events(f"dataset={second}") == of_second
    assert events(f"dataset={second}&type=dataset") == [e for e in of_second if e[0] == "dataset"]
    # What leaves a node concerns it as well: its last event there is the one by which it is elsewhere.
    of_here = events(f"node={here}")
    assert of_here == [e for e in every if e[1].get("uuid") == here or e[1].get("dataset_id") == first
                       and e in of_here]
    left = [d for t, d in of_here if d.get("dataset_id") == first][-1]
    assert left["node"] == there and left["owner"] in (None, there)
    assert events(f"node={uuid.uuid4()}") == []


def test_a_stream_without_a_revision_begins_now(control):
    control.create(str(uuid.uuid4()))
    now = quiet_revision(control)
    with Listening(control) as stream:
        assert stream.revision == now
        dataset = control.create(str(uuid.uuid4()))
        assert next(stream).id == dataset


def test_a_heartbeat_tells_how_far_a_filtered_stream_is(control):
    with Listening(control, query=f"dataset={uuid.uuid4()}&heartbeat=1") as stream:
        began, comments = stream.revision, stream.comments
        control.create(str(uuid.uuid4()))
        now = quiet_revision(control)
        assert now != began
        rig.wait_until("a heart-beat", lambda: stream.block() is not None and stream.revision == now)
        assert stream.comments > comments


@pytest.mark.parametrize("query, word", [
    ("type=volume", "type"), ("type=", "type"), ("type=node,", "type"), ("dataset=x", "dataset"),
    ("node=1", "node"), ("heartbeat=0", "heartbeat"), ("heartbeat=301", "heartbeat"), ("since=1", "since"),
    ("heartbeat=1&heartbeat=2", "heartbeat"), ("after=1", "revision"), ("after=0123456789ab-x", "revision"),
])
def test_what_is_no_filter_is_refused(control, query, word):
    answer = control.get(f"/v2/events?{query}")
    assert answer.status == 400 and word in answer.text.decode() and answer.json["code"] == "bad-request"


# ---- what is gone ----

def assert_gone(control, revision):
    stream = Stream(control, f"after={revision}")
    assert stream.status == 410 and stream.json["code"] == "revision-gone"
    assert "list again" in stream.json["description"]


def test_a_revision_that_is_not_kept_any_more_is_told(bare):
    bare.start("--event-memory", "65536")
    old = Picture(bare).revision
    with Listening(bare, old):
        pass
    nobody = str(uuid.uuid4())
    fill(bare, nobody, 40)
    now = quiet_revision(bare)
    assert_gone(bare, old)
    run, n = now.split("-")
    assert_gone(bare, f"{run}-{int(n) + 1}")
    assert_gone(bare, f"{'0' * 12}-{n}")
    # What was said last counts: a browser asks for the same address again.
    with Listening(bare, old, last_event_id=now) as stream:
        assert stream.revision == now
    # Listing again is all that it takes.
    picture = Picture(bare)
    with Listening(bare, picture.revision) as stream:
        dataset = bare.create(nobody)
        picture.apply(stream.until("the new one", lambda e: e.id == dataset))
    assert_same(picture.objects, listed(bare)[0])


def test_another_run_has_other_revisions(control):
    dataset = control.create(str(uuid.uuid4()))
    before = quiet_revision(control)
    control.hang_up()
    assert control.stop() == 0
    control.start()
    assert_gone(control, before)
    seen, after = listed(control)
    assert after.split("-")[0] != before.split("-")[0]
    assert seen["dataset", dataset]["revision"] == after.split("-")[0] + "-0"


def test_streams_end_when_the_service_stops(control):
    stream = Stream(control)
    assert control.stop() == 0
    assert list(stream) == []
    control.hang_up()
    control.start()


# ---- who is slow ----

def test_a_slow_watcher_is_dropped_and_the_others_go_on(bare):
    bare.start("--event-memory", "65536")
    quick = Follower(bare, random.Random(1), Picture(bare).revision, most=1 << 30)
    slow = Stream(bare, receive_buffer=4096)
    fill(bare, str(uuid.uuid4()), 400)
    quick.wait_for(quiet_revision(bare))
    quick.end()
    read = list(slow)
    assert read and len(read) < len(quick.events)
    assert [e.n for e in read] == list(range(1, len(read) + 1))  # what came is whole and in order
    assert_gone(bare, read[-1].revision)
    slow.close()


def test_who_takes_nothing_is_closed(bare):
    bare.start("--answer-limit", "1", "--max-watchers", "1")
    nobody = str(uuid.uuid4())
    stuck = Stream(bare, receive_buffer=4096)
    fill(bare, nobody, 200)
    rig.wait_until("its place is free", lambda: Stream(bare).status == 200)
    stuck.close()


def test_a_silent_stream_outlives_the_limits_of_requests(bare):
    bare.start("--answer-limit", "1", "--idle-limit", "1", "--request-limit", "1")
    with Listening(bare, query="heartbeat=300") as stream:
        with Listening(bare, query="heartbeat=1") as other:
            for _ in range(4):
                assert other.block() is not None
        dataset = bare.create(str(uuid.uuid4()))
        assert next(stream).id == dataset


def test_who_may_not_come_in_any_more_is_closed(control):
    eve = control.authority.issue("user-eve", "extendedKeyUsage=clientAuth")
    viewer = control.authority.issue("viewer-joe", "extendedKeyUsage=clientAuth")
    hers, his = Stream(control, pair=eve), Stream(control, pair=viewer)
    (control.certs / "cluster.crl").write_text(control.authority.revocations(eve))
    assert list(hers) == []
    dataset = control.create(str(uuid.uuid4()))
    assert next(his).id == dataset
    his.close()
