# SPDX-License-Identifier: Apache-2.0
"""Who is let in, and what the log says of those who are not."""
import json
import socket
import ssl
import uuid
import warnings

import pytest

import rig


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return rig.Authority(tmp_path_factory.mktemp("other"), "other")


def knock(control, port, pair, version=None):
    """True when the server let us in: it then waits for us to speak, or answers."""
    context = rig.client_context(control.authority, pair)
    if version:
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
    raw = socket.create_connection(("127.0.0.1", port), rig.LIMIT_S)
    try:
        with context.wrap_socket(raw, server_hostname="control-service") as s:
            s.sendall(b"GET /v1/version HTTP/1.0\r\n\r\n")
            return b"200 OK" in s.recv(4096)
    except OSError:
        return False


def pair_of(kind, authority, stranger):
    return {
        "none": None,
        "user": authority.user,
        "node": authority.node("33333333-3333-4333-8333-333333333333"),
        "other user": stranger.user,
        "other node": stranger.node("33333333-3333-4333-8333-333333333333"),
        "expired user": authority.issue("user-late", days=-1),
        "expired node": authority.issue("node-44444444-4444-4444-8444-444444444444", days=-1),
        "viewer": authority.issue("viewer-wall"),
        "nobody": authority.issue("user-", file="nobody"),
        "control": authority.control,
    }[kind]


@pytest.mark.parametrize("port, kind, reason", [
    ("REST", "none", "no certificate sent"),
    ("REST", "node", "only user-... and viewer-... may come here"),
    ("REST", "control", "only user-... and viewer-... may come here"),
    ("REST", "nobody", "only user-... and viewer-... may come here"),
    ("REST", "other user", "'user-alice' is signed by another cluster"),
    ("REST", "expired user", "'user-late' expired on 20"),
    ("agent", "none", "no certificate sent"),
    ("agent", "viewer", "only node-... may come here"),
    ("agent", "user", "only node-... may come here"),
    ("agent", "other node", "signed by another cluster"),
    ("agent", "expired node", "expired on 20"),
])
def test_refused_at_the_handshake(control, stranger, port, kind, reason):
    number = control.port if port == "REST" else control.agent_port
    assert not knock(control, number, pair_of(kind, control.authority, stranger))
    control.wait_log(f"{port} port: refused 127.0.0.1:[0-9]+: TLS handshake failed: .*{reason}")
    assert control.log.count("refused") == 1
    assert knock(control, control.port, control.authority.user)


@pytest.mark.parametrize("port", ["REST", "agent"])
def test_old_protocols_are_refused(control, port):
    number = control.port if port == "REST" else control.agent_port
    pair = control.authority.user if port == "REST" else control.authority.node(
        "33333333-3333-4333-8333-333333333333")
    assert not knock(control, number, pair, ssl.TLSVersion.TLSv1_1)
    control.wait_log(f"{port} port: refused .*TLS 1.1 offered, TLS 1.2 is the least")
    if port == "REST":
        assert knock(control, number, pair, ssl.TLSVersion.TLSv1_2)
        assert knock(control, number, pair, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("port", ["REST", "agent"])
def test_plain_text_is_refused(control, port):
    number = control.port if port == "REST" else control.agent_port
    with socket.create_connection(("127.0.0.1", number), rig.LIMIT_S) as s:
        s.sendall(b"GET /v1/version HTTP/1.0\r\n\r\n")
        try:
            assert b"200" not in s.recv(4096)
        except ConnectionResetError:
            pass
    control.wait_log(f"{port} port: refused .*no TLS spoken")


def test_a_node_certificate_must_name_a_uuid(control):
    pair = control.authority.issue("node-one")
    node = rig.Node(control, pair=pair)
    assert "node-<uuid>" in node.take("bye")["reason"]
    control.wait_log("agent port: refused .* holds no UUID")


def test_a_dawdling_handshake_is_cut_off(control):
    quiet = [socket.create_connection(("127.0.0.1", p)) for p in (control.port, control.agent_port)]
    for s in quiet:
        s.settimeout(rig.LIMIT_S)
        assert s.recv(1) == b""
    control.wait_log("agent port: refused .*no TLS handshake with .* within 10 seconds")


def test_version_1_certificates_of_old_clusters_are_accepted(control):
    pair = control.authority.issue("user-old", file="old", version3=False)
    rig.run("sh", "-c", f"openssl x509 -in {pair[0]} -noout -text | grep -q 'Version: 1'")
    assert knock(control, control.port, pair)


def call_as(control, pair, method, path, body=None):
    connection = control.connect(pair)
    connection.request(method, path, body)
    answer = rig.Answer(connection.getresponse())
    connection.close()
    return answer


def test_a_viewer_looks_and_changes_nothing(control):
    primary = "33333333-3333-4333-8333-333333333333"
    dataset = control.create(primary)
    viewer = control.authority.issue("viewer-wall", "extendedKeyUsage=clientAuth")
    listed = call_as(control, viewer, "GET", "/v1/configuration/datasets")
    assert listed.status == 200 and listed.json[0]["dataset_id"] == dataset
    assert call_as(control, viewer, "HEAD", "/v1/configuration/datasets").status == 200
    path = f"/v1/configuration/datasets/{dataset}"
    for method, where, body in (("POST", "/v1/configuration/datasets", json.dumps({"primary": primary})),
                                ("POST", path, json.dumps({"primary": str(uuid.uuid4())})),
                                ("DELETE", path, None), ("PUT", path, "{}"), ("PATCH", path, "{}"),
                                ("OPTIONS", path, None), ("POST", "/v1/no/such", "not even JSON")):
        refused = call_as(control, viewer, method, where, body)
        assert refused.status == 403 and refused.type == "application/json", (method, where)
        assert "'viewer-wall' may only look" in refused.json["description"]
    assert control.get("/v1/configuration/datasets").json == listed.json
