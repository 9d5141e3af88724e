# SPDX-License-Identifier: Apache-2.0
"""What a client may take of the REST port: bytes, time, connections; and how the end of it is said."""
import http.client
import json
import os
import re
import resource
import socket
import threading
import time

import pytest

import rig

# Memory that was freed counts as freed, also with the sanitizers, which keep it for a while else.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"

N1 = "11111111-1111-4111-8111-111111111111"
DATASETS = "/v1/configuration/datasets"


@pytest.fixture
def limited(authority, tmp_path):
    """A server that the test starts with options of its own."""
    server = rig.Control(authority, tmp_path)
    yield server
    server.end()


def opened(control):
    connection = control.connect()
    connection.connect()
    return connection.sock


def read_answer(sock):
    response = http.client.HTTPResponse(sock)
    response.begin()
    return rig.Answer(response)


def read_end(sock):
    """True once the server has closed it; what comes before is dropped."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def is_refusal(answer, status, word):
    assert (answer.status, answer.type) == (status, "application/json"), answer.text
    assert word in answer.json["description"] and answer.headers["Connection"] == "close"
    assert answer.headers["X-Request-Id"]


def test_a_body_has_as_many_bytes_as_it_may(limited):
    limited.start("--max-body", "2000")
    assert limited.post(DATASETS, raw=b'"' + b"x" * 1998 + b'"').status == 400
    is_refusal(limited.post(DATASETS, raw=b"x" * 2001), 413, "2000 bytes")
    sock = opened(limited)
    sock.sendall(b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" % DATASETS.encode()
                 + b"400\r\n" + b"x" * 1024 + b"\r\n400\r\n")
    is_refusal(read_answer(sock), 413, "2000 bytes")
    assert read_end(sock)


def test_headers_have_as_many_bytes_as_they_may(limited):
    limited.start("--max-headers", "2048")
    assert limited.get("/v1/version", headers={"X": "x" * 1500}).status == 200
    is_refusal(limited.get("/v1/version", headers={"X": "x" * 2048}), 431, "2048 bytes")


def test_bodies_are_as_deep_as_they_may(limited):
    limited.start("--max-depth", "3")
    errors = [limited.post(DATASETS, raw=b"[" * n + b"]" * n).json.get("errors") for n in (3, 4)]
    assert errors == [["/: must be an object"], ["/0/0/0: more than 3 levels at byte 4"]]


def test_a_refused_body_is_answered_while_the_client_still_sends(control):
    sock = opened(control)
    sock.sendall(b"POST %s HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n" % DATASETS.encode())
    try:
        for _ in range(300):
            sock.sendall(b"x" * 10000)
    except OSError:
        pytest.fail("the connection was reset before the answer could be read")
    is_refusal(read_answer(sock), 413, "1048576 bytes")


def test_a_client_that_asks_may_send_its_body(control):
    sock = opened(control)
    body = json.dumps({"primary": N1}).encode()
    head = b"POST %s HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %%d\r\n\r\n" % DATASETS.encode()
    sock.sendall(head % len(body))
    assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    sock.sendall(body)
    assert read_answer(sock).status == 201
    sock.sendall(head % (1 << 21))  # refused without a word of it
    is_refusal(read_answer(sock), 413, "1048576 bytes")


@pytest.mark.parametrize("begin, step", [
    (b"", b"G"),
    (b"GET /v1/version HTTP/1.1\r\n", b"X: y\r\n"),
    (b"POST /v1/configuration/datasets HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", b" "),
    (b"POST /v1/configuration/datasets HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
])
def test_a_request_is_here_in_time_however_slowly_it_drips(limited, begin, step):
    limited.start("--request-limit", "1", "--idle-limit", "1000")
    sock = opened(limited)
    started = time.monotonic()
    sock.sendall(begin or step)
    sock.settimeout(0.1)
    while True:
        try:
            sock.sendall(step)
            answer = read_answer(sock)
            break
        except TimeoutError:
            assert time.monotonic() - started < rig.LIMIT_S
    sock.settimeout(rig.LIMIT_S)
    is_refusal(answer, 408, "within 1 s")
    assert 0.9 < time.monotonic() - started and read_end(sock)
    assert limited.get("/v1/version").status == 200


def test_idle_connections_are_closed(limited):
    limited.start("--idle-limit", "1")
    sock = opened(limited)
    sock.sendall(b"GET /v1/version HTTP/1.1\r\n\r\n")
    assert read_answer(sock).status == 200
    sock.sendall(b"\r\n")  # no request, so no sign of life either
    assert read_end(sock)


def test_who_does_not_read_is_dropped_and_costs_one_answer(limited):
    limited.start("--answer-limit", "1")
    for i in range(200):
        limited.create(N1, metadata={str(k): "x" * 256 for k in range(16)})
    whole = len(limited.get(DATASETS).text)
    assert whole > 800000
    before = memory_of(limited)
    socks = []
    for _ in range(10):
        sock = opened(limited)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET %s HTTP/1.1\r\n\r\n" % DATASETS.encode() * 200)
        socks.append(sock)
    rig.wait_until("they are dropped", lambda: connections_of(limited) <= 1)
    # Answering all that was asked at once would take 2000 of them.
    assert memory_of(limited) - before < 10 * 6 * whole
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("framing, piece", [
    (b"Content-Length: 1000000", b" "),
    (b"Transfer-Encoding: chunked", b"1\r\nx\r\n"),
])
def test_a_body_costs_its_bytes_however_small_the_records_are(control, framing, piece):
    before = memory_of(control)
    socks = [opened(control) for _ in range(5)]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"POST %s HTTP/1.1\r\n%s\r\n\r\n" % (DATASETS.encode(), framing))
        for _ in range(8000):
            sock.sendall(piece)
        sock.close()
    rig.wait_until("they are read to the end", lambda: connections_of(control) == 0)
    # A record has room for 16 KiB: kept so, these would take 600 MiB.
    assert memory_of(control) - before < 32 << 20


def memory_of(control):
    with open(f"/proc/{control.process.pid}/status") as f:
        return int(re.search(r"VmHWM:\s*(\d+)", f.read())[1]) * 1024


def connections_of(control):
    """Established ones at the REST port, by the kernel's table."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(1 for r in rows if r[1].endswith(f":{control.port:04X}") and r[3] == "01" and r[9] != "0")


def test_more_connections_than_allowed_wait_for_their_turn(limited):
    limited.start("--max-connections", "3")
    socks = [opened(limited) for _ in range(3)]
    limited.wait_log("3 connections are open; more have to wait")
    waiting = socket.create_connection(("127.0.0.1", limited.port), rig.LIMIT_S)
    context = rig.client_context(limited.authority, limited.authority.user)
    waiting.settimeout(0.5)
    with pytest.raises(TimeoutError):
        context.wrap_socket(waiting, do_handshake_on_connect=True)
    waiting.close()
    for sock in socks:
        sock.sendall(b"GET /v1/version HTTP/1.1\r\n\r\n")
        assert read_answer(sock).status == 200
        sock.close()
    assert limited.get("/v1/version").status == 200


def test_pipelined_requests_are_answered_in_their_order(control):
    paths = ["/v1/version", "/nothere", DATASETS, "/v2/nodes"] * 500
    sock = opened(control)
    sock.sendall(b"".join(b"GET %s HTTP/1.1\r\n\r\n" % p.encode() for p in paths[:-1])
                 + b"\r\nGET %s HTTP/1.1\r\nConnection: close\r\n\r\n" % paths[-1].encode())
    data = b""
    while part := sock.recv(65536):
        data += part
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", data)
    assert statuses == [b"404" if p == "/nothere" else b"200" for p in paths]


def test_http_1_0_is_spoken(control):
    sock = opened(control)
    sock.sendall(b"GET /v1/version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = read_answer(sock)
    assert answer.status == 200 and answer.headers["Connection"] == "keep-alive"
    sock.sendall(b"GET /v1/version HTTP/1.0\r\n\r\n")
    assert read_answer(sock).headers["Connection"] == "close" and read_end(sock)


def test_a_stop_while_clients_send_is_a_stop_like_any(control):
    """They still do when their connections are closed; a sanitizer would tell of what is not freed."""
    def send_on_and_on(sock):
        try:
            while True:
                sock.sendall(b"GET /v1/version HTTP/1.1\r\n\r\n" * 20)
        except OSError:
            pass

    senders = [threading.Thread(target=send_on_and_on, args=(opened(control),)) for _ in range(8)]
    for s in senders:
        s.start()
    control.end()
    for s in senders:
        s.join()


def test_every_answer_says_when(control):
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", control.get("/").headers["Date"])


@pytest.mark.parametrize("option, wrong", [
    ("--max-body", "1"), ("--max-body", "1M"), ("--max-headers", "0"), ("--max-depth", "1"),
    ("--max-connections", "0"), ("--max-watchers", "0"), ("--event-memory", "1000"), ("--idle-limit", "0"), ("--request-limit", "-1"), ("--answer-limit", ""),
])
def test_a_limit_that_is_none_is_told(limited, option, wrong):
    limited.fails(option, wrong)
    assert re.search(rf"{option} '{wrong}' is no number from \d+ to \d+", limited.log)


def test_too_few_descriptors_are_told(limited):
    limited.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)))
    limited.wait_log("1000 files may be open, which is too few for --max-connections 4096 and --max-watchers 10000")
