# SPDX-License-Identifier: Apache-2.0
"""Requests that are wrong change nothing, leak nothing, and each is told what is wrong and where.

FLOCKER_FULL=1   100,000 of them, not what fits CI
FLOCKER_SEED=n   which; without it others each day. A failure names the seed and the number of its request."""
import concurrent.futures
import http.client
import json
import os
import re
import sqlite3
import socket
import ssl
import threading
import time

import pytest

import malformed
import rig

SEED = int(os.environ.get("FLOCKER_SEED") or time.time() // 86400)
COUNT = 100000 if os.environ.get("FLOCKER_FULL") == "1" else 2000
WORKERS = 16
# Memory that was freed counts as freed, also with the sanitizers, which keep it for a while else.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"

WHERE = re.compile(r"Line \d+ of the request: |Header [A-Z]|The body[,:] |A request (body )?may have "
                   r"|The first line and the headers of a request may have |A request must be here whole ")


class Client:
    """One connection at a time, kept while the server keeps it."""

    def __init__(self, control):
        self.control, self.socket = control, None

    def open(self):
        raw = socket.create_connection(("127.0.0.1", self.control.port), rig.LIMIT_S)
        self.socket = self.context.wrap_socket(raw)

    @property
    def context(self):
        local = self.control.local
        if not hasattr(local, "context"):
            local.context = rig.client_context(self.control.authority, self.control.authority.user)
        return local.context

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def ask(self, request):
        if request.closes:
            self.close()
        if not self.socket:
            self.open()
        try:
            self.socket.sendall(request.raw)
        except (ssl.SSLError, OSError):
            pass  # refused before it was all sent; the answer is there
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        answer = rig.Answer(response)
        if request.closes or answer.headers["Connection"] == "close":
            self.close()
        return answer


def check(request, answer):
    assert 400 <= answer.status < 500, answer.status
    assert answer.type == "application/json" and answer.headers["X-Request-Id"]
    said = json.loads(answer.text)
    assert isinstance(said, dict) and said["description"]
    if request.pointer:
        assert answer.status == 400, (answer.status, said)
        assert "accept_risk" in said["description"] or said["errors"] and all(
            re.match(r"(/|\.\.\.).*: ", e, re.S) for e in said["errors"]), said
    elif request.kind == "query":
        assert (answer.status, said["code"]) == (400, "bad-request") and said["errors"]
        assert all(e.startswith("?") for e in said["errors"]), said
    elif request.kind != "bytes":
        assert WHERE.match(said["description"]), said


def ask_all(control, numbers, statuses):
    client = Client(control)
    counted = {}
    for number in numbers:
        request = malformed.request(SEED, number)
        try:
            answer = client.ask(request)
            check(request, answer)
        except Exception as e:
            raise AssertionError(f"FLOCKER_SEED={SEED}, number {number}, {request}: {e!r}") from e
        counted[answer.status] = counted.get(answer.status, 0) + 1
    client.close()
    with statuses["lock"]:
        for status, n in counted.items():
            statuses[status] = statuses.get(status, 0) + n


def run(control, first, count):
    """How often each status was answered."""
    statuses = {"lock": threading.Lock()}
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(ask_all, control, range(first + i, first + count, WORKERS), statuses)
                for i in range(WORKERS)]
        for job in jobs:
            job.result()
    del statuses["lock"]
    return statuses


def configuration(control):
    lists = [control.get("/v1/configuration/datasets"), control.get("/v2/datasets"), control.get("/v2/nodes")]
    control.hang_up()
    return [lists[0].headers["X-Configuration-Tag"]] + [answer.json for answer in lists]


def store(control):
    path, = (p for p in control.data.iterdir() if p.read_bytes()[:15] == b"SQLite format 3")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return list(db.iterdump())


def resources(control):
    pid = control.process.pid
    with open(f"/proc/{pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    return rss / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def growth_mib():
    """What may be added. The sanitizer keeps a record of each place that ever allocated; it tells of leaks itself."""
    with open(os.environ["FLOCKER_CONTROL"], "rb") as program:
        return 24 if b"__asan_init" in program.read() else 3


@pytest.fixture
def impatient(authority, tmp_path):
    server = rig.Control(authority, tmp_path)
    server.start("--request-limit", str(rig.SLOWER), "--log-level", "notice")
    yield server
    server.end()


def test_what_is_malformed_changes_nothing_and_is_told_where(impatient):
    control = impatient
    for i in range(20):
        control.create(malformed.NODE, metadata={"name": str(i)})
    control.create(malformed.NODE, dataset_id=malformed.PRESENT)
    before = configuration(control), store(control)
    run(control, 0, 500)
    rss, descriptors = resources(control)
    statuses = run(control, 500, COUNT)
    print(f"\n{COUNT} requests, FLOCKER_SEED={SEED}: {dict(sorted(statuses.items()))}", flush=True)
    assert sum(statuses.values()) == COUNT
    assert {400, 404, 405, 408, 413, 417, 431} <= set(statuses), statuses
    assert (configuration(control), store(control)) == before
    rig.wait_until("all descriptors are closed", lambda: resources(control)[1] <= descriptors)
    assert resources(control)[0] - rss < growth_mib(), (rss, resources(control))
