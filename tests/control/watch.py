# SPDX-License-Identifier: Apache-2.0
"""Followers of GET /v2/events, to the letter: every event in the order in which it came, and a picture of the
cluster that is made of them."""
import http.client
import json
import re
import socket
import threading
import time

import openapi
import rig

DATASETS = "/v1/configuration/datasets"
KINDS = {"dataset": "dataset_id", "node": "uuid", "lease": "dataset_id"}


class Event:
    def __init__(self, revision, type_, data):
        self.revision, self.type, self.data = revision, type_, data
        self.run, n = revision.split("-")
        self.n = int(n)
        self.kind, self.dropped = type_.split("-")[0], type_.endswith("-dropped")
        self.id = data[KINDS[self.kind]]

    def __repr__(self):
        return f"{self.revision} {self.type} {self.id}"


class Stream:
    """One connection. Iterating over it gives its events, and ends with it."""

    def __init__(self, control, query="", last_event_id=None, pair=None, receive_buffer=None, limit=rig.LIMIT_S):
        context = rig.client_context(control.authority, pair or control.authority.user)
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(limit)
        raw.connect(("127.0.0.1", control.port))
        self.socket = context.wrap_socket(raw)
        header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        target = f"/v2/events{'?' if query else ''}{query}"
        self.socket.sendall(f"GET {target} HTTP/1.1\r\n{header}\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket)
        self.response.begin()
        self.status, self.headers = self.response.status, self.response.headers
        self.revision, self.comments = None, 0
        text = None if self.status == 200 else self.response.read()
        openapi.check("GET", target, {"Last-Event-ID": last_event_id} if last_event_id else {}, None, self.status,
                      self.headers, text)
        if self.status != 200:
            self.json = json.loads(text)
            return
        while self.revision is None:  # it comes at once
            self.block()

    def block(self):
        """What stands up to the next empty line; None at the end."""
        fields = {}
        while True:
            line = self.response.readline()
            if not line.endswith(b"\n"):
                return None
            name, _, value = line.decode("ascii").rstrip("\n").partition(":")
            if not name and not line.startswith(b":"):
                break
            if not name:
                self.comments += 1
                continue
            assert name in ("id", "event", "data") and name not in fields, line
            fields[name] = value.removeprefix(" ")
        if "event" in fields:
            openapi.Events.check(fields["event"], fields["data"], fields["id"])
        if "id" in fields:
            self.revision = fields["id"]
        return fields

    def __iter__(self):
        return self

    def __next__(self):
        while True:
            try:
                fields = self.block()
            except (OSError, ValueError):  # closed, here or there
                fields = None
            if fields is None:
                raise StopIteration
            if "event" in fields:
                return Event(fields["id"], fields["event"], json.loads(fields["data"]))

    def until(self, what, condition):
        """The events up to the one that fulfils it."""
        seen = []
        for event in self:
            seen.append(event)
            if condition(event):
                return seen
        raise AssertionError(f"the stream ended before {what}: {seen}")

    def close(self):
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Follower:
    """Follows on a thread of its own, and comes again from where it was whenever the stream ends; it ends it
    itself as well, as @rng likes."""

    def __init__(self, control, rng, revision, most=40):
        """@most: events of one connection"""
        self.control, self.rng, self.revision, self.most = control, rng, revision, most
        self.events, self.connections = [], 0
        self.ending = threading.Event()
        self.stream = None
        self.error = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def connect(self):
        self.connections += 1
        if self.rng.random() < 0.5:
            return Stream(self.control, "heartbeat=1", self.revision)
        return Stream(self.control, f"heartbeat=1&after={self.revision}")

    def run(self):
        try:
            while not self.ending.is_set():
                self.stream = self.connect()
                assert self.stream.status == 200, self.stream.json
                self.read(self.rng.randrange(1, self.most))
                self.stream.close()
        except Exception as e:  # told by end()
            self.error = e

    def read(self, most):
        while most > 0 and not self.ending.is_set():
            try:
                fields = self.stream.block()
            except (OSError, ValueError):
                return
            if fields is None:
                return
            if "event" in fields:
                self.events.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
                most -= 1
            self.revision = self.stream.revision

    def wait_for(self, revision):
        n = int(revision.split("-")[1])
        rig.wait_until(f"all events up to {revision} ({self.revision}, {self.error!r})",
                       lambda: self.error or int(self.revision.split("-")[1]) >= n)
        self.check()

    def check(self):
        if self.error:
            raise self.error

    def end(self):
        self.ending.set()
        if self.stream:
            self.stream.close()
        self.thread.join(rig.LIMIT_S)
        assert not self.thread.is_alive()
        self.check()


class Picture:
    """What a client knows that listed once and followed since."""

    def __init__(self, control):
        self.objects, self.revision = listed(control)
        self.applied = 0

    def apply(self, events):
        for e in events:
            if e.dropped:
                self.objects.pop((e.kind, e.id), None)
            else:
                self.objects[e.kind, e.id] = e.data
        return self


def listed(control):
    """({(kind, id): object}, the revision to follow from)"""
    objects, revision, after = {}, None, ""
    while True:
        page = control.get(f"/v2/datasets?deleted=true&limit=50{after}").json
        revision = revision or page["revision"]
        objects.update({("dataset", d["dataset_id"]): d for d in page["datasets"]})
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    objects.update({("node", n["uuid"]): n for n in control.get("/v2/nodes").json["nodes"]})
    objects.update({("lease", v["dataset_id"]): v for v in control.get("/v2/leases").json["leases"]})
    return objects, revision


def steady(thing):
    """Without what changes while nothing happens."""
    thing = {k: v for k, v in thing.items() if k != "silent_s"}
    if "why" in thing:
        thing["why"] = re.sub(r"within \d+ s", "within N s", thing["why"])
    return thing


def move(control, dataset, node):
    assert control.post(f"{DATASETS}/{dataset}", {"primary": node}).status == 200


def fill(control, node, n, size=200):
    """So many events at least; text of that size in each."""
    return [control.create(node, metadata={f"k{i}": "v" * size for i in range(4)}) for _ in range(n)]


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


class Listening:
    def __init__(self, control, after=None, query="", **kw):
        self.stream = Stream(control, "&".join(p for p in (query, f"after={after}" if after else "") if p), **kw)
        assert self.stream.status == 200, self.stream.json

    def __enter__(self):
        return self.stream

    def __exit__(self, *_):
        self.stream.close()


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
