# SPDX-License-Identifier: Apache-2.0
"""Watching: no event is missed or repeated from a revision on, filters, what is too old, slow watchers, their
limits, and requests that wait for a dataset."""
import json
import os
import pathlib
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import pytest

import rig
from fleet import Fleet
from watch import Follower, Picture, Stream, listed, steady

SEED = int(os.environ.get("FLOCKER_SEED") or random.randrange(1 << 32))
DATASETS = "/v1/configuration/datasets"
LEASES = "/v1/configuration/leases"
TERM_S = 3


@pytest.fixture
def bare(authority, tmp_path):
    """A server that the test starts."""
    server = rig.Control(authority, tmp_path)
    yield server
    server.end()


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


def move(control, dataset, node):
    assert control.post(f"{DATASETS}/{dataset}", {"primary": node}).status == 200


def fill(control, node, n, size=200):
    """So many events at least; text of that size in each."""
    return [control.create(node, metadata={f"k{i}": "v" * size for i in range(4)}) for _ in range(n)]


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


def quiet_revision(control, quiet_s=0.5):
    """The revision after which nothing happens any more."""
    last, since, end = None, time.monotonic(), time.monotonic() + rig.LIMIT_S
    while time.monotonic() - since < quiet_s:
        revision = control.get("/v2/nodes").json["revision"]
        assert time.monotonic() < end, "it does not become quiet"
        if revision != last:
            last, since = revision, time.monotonic()
        time.sleep(0.05)
    return last


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
    writers = [Writer(bare, nodes, random.Random(rng.random()), 40) for _ in range(3)]
    for phase in range(6):
        for writer in writers:
            writer.start()
        while any(w.thread.is_alive() for w in writers):
            time.sleep(rng.uniform(0.05, 0.3))
            rng.choice((fleet, others) if phase <= 3 else (fleet,)).cut()
        for writer in writers:
            writer.join()
        if phase == 3:
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


class Listening:
    def __init__(self, control, after=None, query="", **kw):
        self.stream = Stream(control, "&".join(p for p in (query, f"after={after}" if after else "") if p), **kw)
        assert self.stream.status == 200, self.stream.json

    def __enter__(self):
        return self.stream

    def __exit__(self, *_):
        self.stream.close()


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


# ---- how many ----

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


# ---- one dataset ----

class Asking:
    """A request that waits, on a thread."""

    def __init__(self, control, path):
        self.connection = control.connect()
        self.connection.connect()
        self.connection.request("GET", path)
        self.answer = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.answer = rig.Answer(self.connection.getresponse())
        except OSError:
            pass

    def join(self):
        self.thread.join(rig.LIMIT_S)
        assert self.answer
        return self.answer

    def close(self):
        socket.socket.shutdown(self.connection.sock, socket.SHUT_RDWR)
        self.thread.join(rig.LIMIT_S)
        self.connection.close()


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


@pytest.mark.parametrize("query", ["wait=301", "wait=x", "wait=1&until=happy", "until=mounted", "wait=-1"])
def test_what_is_no_wait_is_refused(control, query):
    dataset = control.create(str(uuid.uuid4()))
    answer = control.get(f"/v2/datasets/{dataset}?{query}")
    assert answer.status == 400 and answer.json["code"] == "bad-request"


# ---- very many ----

def sanitized():
    with open(os.environ["FLOCKER_CONTROL"], "rb") as program:
        return b"__asan_init" in program.read()


WATCHERS = 1000 if sanitized() else 10000
PROCESSES = 2


class Crowd:
    def __init__(self, control, count):
        self.control = control
        crt, key = control.authority.user
        self.processes = [subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("watchers.py")), str(control.port),
             str(control.authority.ca), str(crt), str(key), str(count // PROCESSES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]

    def hear(self):
        return [p.stdout.readline().split() for p in self.processes]

    def tell(self, word):
        for p in self.processes:
            p.stdin.write(word + "\n")
            p.stdin.flush()

    def end(self):
        for p in self.processes:
            p.stdin.close()
            p.wait(rig.LIMIT_S)
            p.stdout.close()


@pytest.fixture
def crowd(bare):
    made = []

    def make(count):
        made.append(Crowd(bare, count))
        return made[-1]

    yield make
    for one in made:
        one.end()


def resident_kib(control):
    with open(f"/proc/{control.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def cpu_s(control):
    with open(f"/proc/{control.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ten_thousand_watchers_cost_memory_and_no_time_and_hear_of_each_change(bare, crowd):
    bare.start("--event-memory", "1048576")
    bare.create(str(uuid.uuid4()))
    before, began = resident_kib(bare), time.monotonic()
    watchers = crowd(WATCHERS)
    assert watchers.hear() == [["connected"]] * PROCESSES
    each = (resident_kib(bare) - before) / WATCHERS
    print(f"\n{WATCHERS} watchers within {time.monotonic() - began:.1f} s, {each:.1f} KiB each", flush=True)
    idle_s, spent = time.monotonic(), cpu_s(bare)
    time.sleep(5)  # a measurement, not a wait
    idle_s, spent = time.monotonic() - idle_s, cpu_s(bare) - spent
    print(f"while nothing happens: {100 * spent / idle_s:.1f} % of a processor", flush=True)
    slowest = spent = 0
    for i in range(3):
        word, used = f"change-{i}", cpu_s(bare)
        watchers.tell(word)
        bare.create(str(uuid.uuid4()), metadata={"word": word})
        said = watchers.hear()
        assert [s[:2] for s in said] == [["seen", word]] * PROCESSES, said
        slowest = max(slowest, *(float(s[2]) for s in said))
        spent = max(spent, cpu_s(bare) - used)
    print(f"one change reaches all within {slowest:.3f} s, and costs {spent:.2f} s of a processor", flush=True)
    # The log is bounded, and so is what is kept for them while they are sent what it holds.
    fill(bare, str(uuid.uuid4()), 40, size=250)
    word = "the-last"
    watchers.tell(word)
    bare.create(str(uuid.uuid4()), metadata={"word": word})
    assert [s[:2] for s in watchers.hear()] == [["seen", word]] * PROCESSES
    after = (resident_kib(bare) - before) / WATCHERS
    print(f"after a burst: {after:.1f} KiB each", flush=True)
    assert sanitized() or (each < 64 and after < 96)
    assert bare.get("/v2/nodes").status == 200
