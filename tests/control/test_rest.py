# SPDX-License-Identifier: Apache-2.0
"""The REST API: what it says beyond the recorded answers of the original (those: test_v1.py)."""
import http.client
import json
import socket
import threading
import uuid

import pytest

import rig

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
DATASETS = "/v1/configuration/datasets"


def test_every_error_is_an_object_with_a_description(control):
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/nothere", 404),
                                 ("PATCH", "/v1/version", 405), ("TRACE", "/v1/version", 405),
                                 ("DELETE", f"{DATASETS}/{uuid.uuid4()}", 404),
                                 ("GET", f"/v2/datasets/{uuid.uuid4()}", 404),
                                 ("GET", f"{DATASETS}/%ff", 405), ("DELETE", f"{DATASETS}/%ff", 400),
                                 ("DELETE", f"{DATASETS}/%00", 400)):
        answer = control.call(method, path)
        assert (answer.status, answer.type) == (status, "application/json"), (method, path)
        code = ["code"] if path.startswith("/v2/") else []
        assert list(answer.json) == [*code, "description"] and answer.json["description"]


@pytest.mark.parametrize("body, pointer, advice", [
    ({"primary": "x"}, "/primary", "version-4 UUID"),
    ({"primary": N1, "a/b~c": 1}, "/a~1b~0c", "not allowed"),
    ({"primary": N1, "maximum_size": 1 << 20}, "/maximum_size", "at least 67108864"),
    ({"primary": N1, "maximum_size": (1 << 30) + 1}, "/maximum_size", "multiple of 1024"),
    ({"primary": N1, "maximum_size": 1 << 90}, "/maximum_size", "below 2^63"),
    ({"primary": N1, "maximum_size": 1 << 63}, "/maximum_size", "below 2^63"),
    ({"primary": N1, "metadata": {"k": "v" * 257}}, "/metadata/k", "256 characters"),
    ({"primary": N1, "metadata": {str(i): "" for i in range(17)}}, "/metadata", "at most 16"),
    ({"primary": N1, "metadata": {"flocker:filesystem": "ntfs"}}, "/metadata/flocker:filesystem",
     "ext4, xfs or btrfs"),
    ({"primary": N1, "metadata": {"flocker:filesystem": "xfs"}, "maximum_size": 64 << 20},
     "/maximum_size", "kind xfs"),
    ({"primary": N1, "metadata": {"flocker:filesystem": "btrfs"}, "maximum_size": 64 << 20},
     "/maximum_size", "kind btrfs"),
])
def test_violations_name_the_place_and_what_would_be_right(control, body, pointer, advice):
    answer = control.post(DATASETS, body)
    assert answer.status == 400
    error, = answer.json["errors"]
    assert error.startswith(pointer + ":") and advice in error


@pytest.mark.parametrize("raw", [
    b'{"primary": "%s", "primary": "%s"}' % (N1.encode(), N2.encode()),
    b'{"primary": "\\u0000"}', b'{"primary": "\\ud800"}', b'{"primary": NaN}', b'\xef\xbb\xbf{}',
    b'[' * 33 + b']' * 33, b'{"primary": "%s"} x' % N1.encode(), b"{'primary': 1}", b"\x00",
    b'{"a": 01}', b'{"a": .5}', b'{"a": 1.}', b'{"a": "\t"}', b'{"a": tru}', b'{"a" 1}', b'{"a": 1,}',
])
def test_what_is_no_json_is_refused(control, raw):
    answer = control.post(DATASETS, raw=raw)
    assert answer.status == 400
    assert answer.json["description"].startswith("The request body could not be decoded")
    assert answer.json["errors"]


def test_sizes_are_integers_by_their_spelling(control):
    for text in (b"67108864.0", b"1e9", b"true", b'"67108864"', b"6.7108864e7"):
        answer = control.post(DATASETS, raw=b'{"primary": "%s", "maximum_size": %s}'
                              % (N1.encode(), text))
        assert answer.status == 400, text


def test_text_comes_back_as_it_was_given(control):
    metadata = {"name": "caf\u00e9 \U0001d11e \u202e\u0001\"\\/", "k\u00e9y": ""}
    dataset = control.create(N1, metadata=metadata)
    answer = control.get(DATASETS)
    assert answer.text.isascii()
    assert answer.json == [{"dataset_id": dataset, "primary": N1, "deleted": False,
                            "metadata": metadata}]


def test_the_filesystem_of_a_dataset(control):
    plain = control.create(N1)
    xfs = control.create(N1, metadata={"flocker:filesystem": "xfs"}, maximum_size=1 << 30)
    kinds = {d["dataset_id"]: d["filesystem"] for d in control.every()}
    assert kinds == {plain: "ext4", xfs: "xfs"}


def test_a_stale_tag_never_lets_two_writers_through(control):
    tag = control.get(DATASETS).headers["X-Configuration-Tag"]
    statuses = []

    def writer():
        statuses.append(control.post(DATASETS, {"primary": N1}, headers={
            "X-If-Configuration-Matches": tag}).status)
        control.hang_up()

    threads = [threading.Thread(target=writer) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [201] + [412] * 15


def test_tags_of_two_runs_differ(control):
    tag = control.get(DATASETS).headers["X-Configuration-Tag"]
    control.hang_up()
    assert control.stop() == 0
    control.start()
    assert control.get(DATASETS).headers["X-Configuration-Tag"] != tag


def test_one_of_several_tags_suffices(control):
    tag = control.get(DATASETS).headers["X-Configuration-Tag"]
    connection = control.connect()
    body = json.dumps({"primary": N1}).encode()
    connection.putrequest("POST", DATASETS)
    for value in ("nope", tag):
        connection.putheader("X-If-Configuration-Matches", value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    assert connection.getresponse().status == 201


def test_large_bodies_and_headers_are_refused(control):
    answer = control.post(DATASETS, raw=b'"' + b"x" * (1 << 20) + b'"')
    assert answer.status == 413 and "1048576" in answer.json["description"]
    answer = control.get("/v1/version", headers={"X-Long": "x" * 20000})
    assert answer.status == 431 and "16384" in answer.json["description"]
    assert control.get("/v1/version").status == 200


def test_requests_may_be_pipelined_and_chunked(control):
    connection = control.connect()
    connection.connect()
    body = json.dumps({"primary": N1}).encode()
    chunked = (b"POST " + DATASETS.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
               + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    connection.sock.sendall(chunked + b"GET /v1/version HTTP/1.1\r\nConnection: close\r\n\r\n")
    data = b""
    while part := connection.sock.recv(65536):
        data += part
    assert data.count(b"HTTP/1.1 ") == 2 and b"201 Created" in data and b'"flocker"' in data


def test_a_client_that_leaves_early_harms_nobody(control):
    for _ in range(20):
        connection = control.connect()
        connection.connect()
        body = json.dumps({"primary": N1}).encode()
        connection.sock.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s"
                                % (DATASETS.encode(), len(body), body))
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sock.close()
    rig.wait_until("all were created", lambda: len(control.get(DATASETS).json) == 20)


def test_an_ipv4_address_of_the_server_is_enough_for_a_strict_client(control):
    context = rig.client_context(control.authority, control.authority.user)
    context.check_hostname = True
    connection = http.client.HTTPSConnection("127.0.0.1", control.port, context=context)
    connection.request("GET", "/v1/version")
    assert connection.getresponse().status == 200
