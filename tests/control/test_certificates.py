# SPDX-License-Identifier: Apache-2.0
"""Certificates of a running flocker-control are exchanged, and those of others revoked."""
import signal
import socket
import ssl
import threading

import pytest

import rig

NODE = "33333333-3333-4333-8333-333333333333"
TAKEN = "certificates are read anew and in use for new sessions"
KEPT = "changed certificates are not taken, and the former go on: "


def put(path, data):
    """As installers do: whole, under a new name, then renamed."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data if isinstance(data, bytes) else data.encode())
    new.chmod(0o600)
    new.rename(path)


def put_pair(control, pair):
    put(control.certs / "control-service.key", pair[1].read_bytes())
    put(control.certs / "control-service.crt", pair[0].read_bytes())


def new_control_pair(authority, file, **options):
    return authority.issue("control-service", "subjectAltName=DNS:control-service,IP:127.0.0.1",
                           file=file, **options)


def shown_serial(control):
    """Of the certificate that a new connection is shown."""
    context = rig.client_context(control.authority, control.authority.user)
    with socket.create_connection(("127.0.0.1", control.port), rig.LIMIT_S) as raw, \
            context.wrap_socket(raw, server_hostname="control-service") as s:
        return ssl.DER_cert_to_PEM_cert(s.getpeercert(True))


def is_refused(control, pair):
    connection = control.connect(pair)
    try:
        connection.request("GET", "/v1/version")
        return connection.getresponse().status != 200
    except OSError:
        return True
    finally:
        connection.close()


def log_after(control, mark, pattern):
    return rig.wait_until(f"'{pattern}' in the log:\n{control.log}", lambda: pattern in control.log[mark:])


class Traffic:
    """Users that ask without end, on connections that stay and on new ones; every failure counts."""

    def __init__(self, control):
        self.control, self.stop, self.asked, self.failed = control, threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.work, args=(stays,)) for stays in (True, False)]

    def work(self, stays):
        connection = self.control.connect()
        try:
            while not self.stop.is_set():
                connection.request("GET", "/v1/configuration/datasets")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                self.asked += 1
                if not stays:
                    connection.close()
        except Exception as e:  # noqa: BLE001 - whatever it is, the test is to tell
            self.failed.append(e)
        connection.close()

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join(rig.LIMIT_S)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_renewed_certificate_is_taken_without_a_failed_request(control, kind):
    """Also one of another kind of key, where OpenSSL would keep the old one beside it."""
    node = rig.Node(control, NODE)
    node.join()
    renewed = new_control_pair(control.authority, f"renewed-{kind}",
                               **({"key": ("rsa:2048",)} if kind == "rsa" else {}))
    with Traffic(control) as traffic:
        rig.wait_until("there is traffic", lambda: traffic.asked > 20)
        put_pair(control, renewed)
        control.wait_log(TAKEN)
        rig.wait_until("the new one is shown",
                       lambda: shown_serial(control).strip() in renewed[0].read_text())
        asked = traffic.asked
        rig.wait_until("traffic goes on", lambda: traffic.asked > asked + 20)
    assert not traffic.failed, traffic.failed
    node.send("ping")
    node.take("pong")
    assert "disconnected" not in control.log


def test_half_a_pair_is_not_taken_and_the_other_half_completes_it(control):
    renewed = new_control_pair(control.authority, "renewed-late")
    before = shown_serial(control)
    put(control.certs / "control-service.crt", renewed[0].read_bytes())
    control.wait_log(KEPT + ".*control-service.key is not the key of the certificate in .*control-service.crt")
    assert shown_serial(control) == before
    (control.certs / "control-service.crt").write_text(renewed[0].read_text()[:300])
    control.wait_log(KEPT + ".*control-service.crt holds no certificate in PEM form")
    put_pair(control, renewed)
    control.wait_log(TAKEN)
    assert shown_serial(control).strip() in renewed[0].read_text()


def test_another_clusters_files_are_not_taken(control, tmp_path):
    other = rig.Authority(tmp_path / "other", "other")
    put(control.certs / "cluster.crt", other.ca.read_bytes())
    control.wait_log(KEPT + ".*is not signed by the authority in")
    assert not is_refused(control, control.authority.user)
    # A name is an identity: another one is another program.
    named = control.authority.issue("control-other", "subjectAltName=DNS:control-service,IP:127.0.0.1")
    put(control.certs / "cluster.crt", control.authority.ca.read_bytes())
    put_pair(control, named)
    control.wait_log("is of 'control-other', and this program is 'control-service' until it is started anew")


def test_hangup_reads_the_files(control):
    control.process.send_signal(signal.SIGHUP)
    control.wait_log(TAKEN)
    (control.certs / "control-service.key").write_text("no key")
    control.process.send_signal(signal.SIGHUP)
    control.wait_log(KEPT + ".*control-service.key holds no private key")
    assert not is_refused(control, control.authority.user)


def test_another_directory_in_its_place_is_read_and_watched(control):
    renewed = new_control_pair(control.authority, "renewed-directory")
    new = control.authority.install(control.dir / "new")
    control.certs.rename(control.dir / "old")
    new.rename(control.certs)
    control.wait_log(TAKEN)
    put_pair(control, renewed)
    rig.wait_until("the new one is shown",
                   lambda: shown_serial(control).strip() in renewed[0].read_text())


def test_a_revoked_user_is_cut_off_and_kept_out(control):
    bob = control.authority.issue("user-bob")
    eve = control.authority.issue("viewer-eve")
    connections = {pair: control.connect(pair) for pair in (bob, eve, control.authority.user)}
    for connection in connections.values():
        connection.request("GET", "/v1/version")
        assert connection.getresponse().read()
    put(control.certs / "cluster.crl", control.authority.revocations(bob, eve))
    serial = rig.serial_of(bob[0])
    control.wait_log(f"REST port: closed 127.0.0.1:[0-9]+: certificate 'user-bob' \\(serial {serial}\\) was "
                     "revoked on 2026-01-01 00:00:00 UTC")
    control.wait_log("REST port: closed .*'viewer-eve'")
    for pair in (bob, eve):
        assert connections[pair].sock.recv(1) == b""
        assert is_refused(control, pair)
    control.wait_log(f"REST port: refused 127.0.0.1:[0-9]+: TLS handshake failed: certificate 'user-bob' "
                     f"\\(serial {serial}\\) was revoked")
    connections[control.authority.user].request("GET", "/v1/version")
    assert connections[control.authority.user].getresponse().status == 200
    for connection in connections.values():
        connection.close()
    # A name is not what is revoked: a new certificate of it comes in.
    assert not is_refused(control, control.authority.issue("user-bob", file="bob-again"))


def test_a_revoked_node_is_cut_off_and_counts_as_lost(control):
    pair, other = control.authority.node(NODE), rig.Node(control)
    node = rig.Node(control, NODE, pair=pair)
    for one in (node, other):
        one.join()
    put(control.certs / "cluster.crl", control.authority.revocations(pair))
    assert node.closed.wait(rig.LIMIT_S)
    control.wait_log(f"node {NODE}: closed 127.0.0.1:[0-9]+: certificate 'node-{NODE}' .* was revoked")
    views = {n["uuid"]: n["live"] for n in control.get("/v2/nodes").json["nodes"]}
    assert views == {NODE: False, other.id: True}
    with pytest.raises((OSError, AssertionError)):
        rig.Node(control, NODE, pair=pair).join()
    control.wait_log(f"agent port: refused .*certificate 'node-{NODE}' .* was revoked")
    # Renewed, it is the same node.
    renewed = control.authority.issue(f"node-{NODE}", file="node-again")
    rig.Node(control, NODE, node.host, node.boot, renewed).join()


def test_a_list_counts_from_the_start(authority, make_control):
    bob = authority.issue("user-bob")
    server = make_control(authority)
    (server.certs / "cluster.crl").write_text(authority.revocations(bob))
    server.start()
    assert is_refused(server, bob)
    assert not is_refused(server, authority.user)
    # Gone means: nobody is revoked. It is said, since it may be a mistake.
    (server.certs / "cluster.crl").unlink()
    server.wait_log("cluster.crl is gone: no certificate counts as revoked any more")
    assert not is_refused(server, bob)
    server.end()


def test_a_list_past_its_date_still_counts(authority, make_control):
    """Refusing everybody would stop a cluster because a file was forgotten."""
    bob = authority.issue("user-bob")
    server = make_control(authority)
    (server.certs / "cluster.crl").write_text(authority.revocations(bob, ends="20260201000000Z"))
    server.start()
    server.wait_log("cluster.crl should have been replaced by 2026-02-01 00:00:00 UTC: whoever is on it stays")
    assert is_refused(server, bob)
    assert not is_refused(server, authority.user)
    server.end()


def test_a_list_that_is_none_is_refused(authority, tmp_path, make_control):
    bob, other = authority.issue("user-bob"), rig.Authority(tmp_path / "other", "other")
    server = make_control(authority)
    crl, good = server.certs / "cluster.crl", authority.revocations(bob)
    for wrong, says in (("no list", "holds no list of revoked certificates in PEM form, or not the whole of it"),
                        (good[:-60], "holds no list of revoked certificates in PEM form, or not the whole of it"),
                        (good + good[:200], "holds no list .* or not the whole of it"),
                        (other.revocations(other.user), "is not signed by an authority in ")):
        crl.write_text(wrong)
        assert rig.re.search(f"cluster.crl {says}", server.fails())
    crl.write_text(good)
    server.start()
    crl.write_text("no list")
    server.wait_log(KEPT + ".*cluster.crl holds no list")
    assert is_refused(server, bob)
    server.end()


def test_an_authority_that_is_trusted_no_more_takes_its_sessions_with_it(authority, tmp_path, make_control):
    """The way to a new authority: both are trusted for a time, then the new one alone."""
    next_one = rig.Authority(tmp_path / "next", "next")
    server = make_control(authority)
    (server.certs / "cluster.crt").write_bytes(authority.ca.read_bytes() + next_one.ca.read_bytes())
    server.start()
    old, new = server.connect(authority.user), server.connect(next_one.user)
    for connection in (old, new):
        connection.request("GET", "/v1/version")
        assert connection.getresponse().read()
    put(server.certs / "cluster.crt", next_one.ca.read_bytes())
    put_pair(server, next_one.control)
    server.wait_log("REST port: closed .*: certificate 'user-alice' is signed by another cluster")
    assert old.sock.recv(1) == b""
    new.request("GET", "/v1/version")
    assert new.getresponse().status == 200
    for connection in (old, new):
        connection.close()
    server.end()


@pytest.mark.parametrize("days, said", [(45, None), (29, "expires within 29 days"), (6, "expires within 6 days"),
                                        (1, "expires within 1 day, "), (-1, "expired on 20")])
def test_the_end_of_its_certificate_is_told_once(authority, days, said, make_control):
    pair = new_control_pair(authority, f"control-{days}", days=days)
    server = make_control(authority)
    put_pair(server, pair)
    server.start()
    server.process.send_signal(signal.SIGHUP)
    server.wait_log(TAKEN)
    assert server.log.count("the certificate of this service") == (1 if said else 0)
    if said:
        assert f"control-service.crt, {said}" in server.log
    mark = len(server.log)
    put_pair(server, authority.control)
    log_after(server, mark, TAKEN)
    assert "expire" not in server.log[mark:]
    server.end()


def test_an_authority_between_is_as_good(tmp_path, make_control):
    """The root signs another authority, and that one signs everybody; each shows the chain."""
    root = rig.Authority(tmp_path / "root", "root", path_length="1")
    between = rig.Authority.between(tmp_path / "between", root)
    server = make_control(between)
    (server.certs / "cluster.crt").write_bytes(root.ca.read_bytes())
    between.ca = root.ca  # what everybody trusts
    server.start()
    assert not is_refused(server, between.user)
    assert is_refused(server, rig.Authority(tmp_path / "other", "other").user)
    server.end()
