# SPDX-License-Identifier: Apache-2.0
"""Who may be a node: one machine an identity, certificates of this cluster only, TLS 1.2 at least."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import isolate
import rig
from cluster import LIMIT_S, Authority, Cluster, Node, Payload, executable, wait_until

ANSWERS = "another machine with this certificate is connected and answers"
OTHER_MACHINE = "this certificate belongs to another machine"
FILES = ("node.crt", "node.key", "cluster.crt")


@pytest.fixture
def guest(cluster):
    """guest(name): a node that is not of the cluster's two; ended with the test."""
    made = []

    def make(name):
        made.append(Node(cluster, name, False, cluster.images))
        return made[-1]

    yield make
    for one in made:
        if one.alive():
            one.kill()
        one.leave_namespace()


def take_identity(node, other):
    """The certificate of another, on a machine (state directory) of its own."""
    for name in FILES[:2]:
        shutil.copy(other.etc / name, node.etc / name)
    node.uuid = other.uuid


def reasons(node):
    """What the log of a node says of why it has no session."""
    return re.findall(r"no session with control at [^ ]+ (.*); what is here is kept", node.log)


def wait_no_session(node, words):
    wait_until(f"the log of {node.name} says '{words}': {node.log}",
               lambda: any(words in r for r in reasons(node)))


def ctl(cluster, *arguments):
    return subprocess.run(
        [executable("flockerctl"), "--control-service", "127.0.0.1", "--control-port",
         str(cluster.control.port), "--certs-path", str(cluster.authority.dir), "--user", "user",
         *arguments], capture_output=True, text=True, timeout=LIMIT_S)


def test_two_machines_with_one_certificate(make_cluster):
    """The first is not disturbed; the second gets in when a person says that the first is gone."""
    cluster = make_cluster(nodes=3).start()
    _, there, second = cluster
    second.stop()
    payload = Payload("kept")
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    session = len(there.log)
    take_identity(second, there)
    second.start()
    wait_no_session(second, ANSWERS)
    cluster.control.wait_log(f"node {there.uuid}: refused 127.0.1.3:[0-9]+: {ANSWERS}")
    assert second.node_status()["last_error"] == ANSWERS

    # The first goes on as if nothing were: same session, and it takes orders.
    assert "session" not in there.log[session:]
    other = cluster.make(there)
    refused = ctl(cluster, "node", "replace", there.uuid)
    assert refused.returncode and "is connected and answers" in refused.stderr
    payload.check(there.data(dataset))

    # Also when the first is away: it may come back.
    for one in (dataset, other):
        cluster.delete(one)
        cluster.wait_destroyed(one)
    there.kill()
    cluster.control.wait_log(f"node {there.uuid}: disconnected")
    wait_no_session(second, OTHER_MACHINE)
    assert "flockerctl node replace" in reasons(second)[-1]
    assert not second.node_status()["connected"]

    # Gone for good, says a person. Then the first is the stranger.
    said = ctl(cluster, "node", "replace", there.uuid)
    assert said.returncode == 0, said.stderr
    wait_until("the second is in", lambda: second.node_status()["connected"])
    dataset = cluster.create(second)
    cluster.wait(dataset, "mounted on the second", lambda d: d["state"] == "mounted")
    payload.write(second.data(dataset))
    there.start()
    wait_no_session(there, ANSWERS)
    assert second.node_status()["connected"]


def test_a_copied_state_directory_does_not_make_one_machine_of_two(cluster, guest):
    """A cloned machine: the same nonce, another boot."""
    _, there = cluster
    twin = guest("twin")
    take_identity(twin, there)
    shutil.copytree(there.state, twin.state)
    twin.enter_namespace()
    twin.boot = twin.dir / "boot_id"
    twin.boot.write_text("11111111-2222-4333-8444-555555555555\n")
    subprocess.run(twin.inside("mount", "--bind", str(twin.boot),
                               "/proc/sys/kernel/random/boot_id"), check=True)
    quiet = len(there.log)
    twin.start()
    wait_no_session(twin, ANSWERS)
    cluster.control.wait_log(f"node {there.uuid}: refused 127.0.1.3:[0-9]+: {ANSWERS}")
    assert "no session" not in there.log[quiet:]
    cluster.make(there)


def test_two_daemons_do_not_share_a_state_directory(cluster):
    here, _ = cluster
    first, here.process = here.process, None
    assert f"another flocker-node uses the state directory {here.state}" in here.fails()
    here.process = first
    cluster.make(here)


def test_a_machine_replaces_its_own_dead_session(cluster):
    """The daemon is gone and its connection stands, as after a machine lost its power."""
    here, _ = cluster
    dataset = cluster.make(here)
    dead = here.process
    dead.send_signal(signal.SIGSTOP)
    # The same nonce and the same boot, without the lock that the stopped one still has.
    here.settings["state-directory"] = shutil.copytree(here.state, here.dir / "state-copy")
    here.write_config(cluster.images)
    here.start()
    cluster.control.wait_log(f"node {here.uuid}: ended 127.0.1.1:[0-9]+: "
                             "replaced by a newer session of this machine")
    wait_until("it is connected", lambda: here.node_status()["connected"])
    dead.kill()
    dead.wait(LIMIT_S)
    here.wait_state(dataset, "mounted")
    cluster.make(here)


@pytest.fixture
def strangers(cluster):
    """Another cluster's authority."""
    return Authority(cluster.base / "other-ca")


def issue(authority, directory, name, days):
    """A certificate by the cluster's own key, for as many days, with a subject as flocker-ca's."""
    key, crt, csr = (directory / f"{name}.{s}" for s in ("key", "crt", "csr"))
    unit = re.search(r"OU ?= ?([0-9a-f-]+)", subprocess.run(
        ["openssl", "x509", "-in", str(authority.ca), "-noout", "-subject"], check=True,
        capture_output=True, text=True).stdout).group(1)
    rig.run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", csr, "-subj", f"/OU={unit}/CN={name}")
    rig.run("openssl", "x509", "-req", "-in", csr, "-CA", authority.ca, "-CAkey",
            authority.dir / "cluster.key", "-set_serial", "7", "-days", str(days), "-out", crt)
    return crt, key


STRANGER = "33333333-3333-4333-8333-333333333333"


def test_files_of_two_clusters_are_told_at_the_start(guest, strangers):
    node = guest("stranger")
    ours = (node.etc / "cluster.crt").read_bytes()
    strangers.install_node(node.etc)
    (node.etc / "cluster.crt").write_bytes(ours)
    assert f"{node.etc}/node.crt is not signed by the authority in {node.etc}/cluster.crt: both " \
        "have to be of one cluster" in node.fails()


def test_an_expired_node_is_refused(cluster, guest):
    node = guest("late")
    crt, key = issue(cluster.authority, cluster.base, f"node-{STRANGER}", -1)
    shutil.copy(crt, node.etc / "node.crt")
    shutil.copy(key, node.etc / "node.key")
    node.start()
    cluster.control.wait_log("agent port: refused 127.0.1.3:[0-9]+: TLS handshake failed: "
                             f".*'node-{STRANGER}' expired on 20")
    wait_no_session(node, "expired")
    assert STRANGER not in {n["uuid"] for n in cluster.call("GET", "/v2/nodes")["nodes"]}


def test_a_node_does_not_talk_to_another_clusters_control(cluster, guest, strangers):
    """Whoever answers at the address has to show a certificate of the node's own cluster."""
    node = guest("stranger")
    node.uuid = strangers.install_node(node.etc)
    node.start()
    wait_no_session(node, "is signed by another cluster")
    cluster.control.wait_log("agent port: refused 127.0.1.3:[0-9]+: TLS handshake failed: "
                             "the other side refused: unknown CA")


@pytest.mark.parametrize("kind", ["a user's", "control's"])
def test_a_node_needs_a_certificate_of_a_node(cluster, guest, kind):
    """Said before anything is dialled: the certificate names no node."""
    node = guest("stranger")
    name = "user" if kind == "a user's" else "control-127.0.0.1"
    shutil.copy(cluster.authority.dir / f"{name}.crt", node.etc / "node.crt")
    shutil.copy(cluster.authority.dir / f"{name}.key", node.etc / "node.key")
    said = node.fails()
    assert "a node needs one of node-UUID: make it with flocker-ca create-node-certificate" in said
    assert str(node.etc / "node.crt") in said


def knock(port, pair, *options):
    """openssl s_client, as anybody may have it."""
    files = ["-cert", str(pair[0]), "-key", str(pair[1])] if pair else []
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet",
                           "-no_ign_eof", *files, *options], input=b"GET /v1/version HTTP/1.1\r\n\r\n",
                          capture_output=True, timeout=LIMIT_S)


OLD = ["-cipher", "ALL:@SECLEVEL=0"]


@pytest.mark.parametrize("port, whose, options, reason", [
    ("agent", "user", [], "only node-... may come here"),
    ("agent", "nobody", [], "no certificate sent"),
    ("agent", "other cluster", [], "signed by another cluster"),
    ("agent", "expired", [], "expired on 20"),
    ("agent", "node", ["-tls1", *OLD], "TLS 1.0 offered, TLS 1.2 is the least"),
    ("agent", "node", ["-tls1_1", *OLD], "TLS 1.1 offered, TLS 1.2 is the least"),
    ("REST", "node", [], "only user-... and viewer-... may come here"),
    ("REST", "nobody", [], "no certificate sent"),
    ("REST", "other cluster", [], "only user-... and viewer-... may come here|signed by another cluster"),
    ("REST", "user", ["-tls1", *OLD], "TLS 1.0 offered, TLS 1.2 is the least"),
    ("REST", "user", ["-tls1_1", *OLD], "TLS 1.1 offered, TLS 1.2 is the least"),
], ids=lambda v: " ".join(v[:1]) if isinstance(v, list) else v[:24])
def test_the_wrong_ones_are_refused_at_the_handshake(knocked, port, whose, options, reason):
    cluster, pairs = knocked
    number = cluster.control.agent_port if port == "agent" else cluster.control.port
    before, quiet = len(cluster.control.log), [len(n.log) for n in cluster]
    knock(number, pairs[whose], *options)
    wait_until(f"the log tells: {reason}", lambda: re.search(
        f"{port} port: refused 127.0.0.1:[0-9]+: TLS handshake failed: .*({reason})",
        cluster.control.log[before:]))
    # Nobody who belongs here noticed.
    assert [len(n.log) for n in cluster] == quiet
    assert len([n for n in cluster.call("GET", "/v2/nodes")["nodes"] if n["live"]]) == 2


@pytest.fixture(scope="module")
def knocked(tmp_path_factory):
    """One cluster for all who knock, since none of them gets in; and what they show."""
    base = pathlib.Path(os.environ[isolate.INSIDE]) / "knocked"
    cluster = Cluster(base)
    try:
        cluster.start()
        here, _ = cluster
        other = Authority(base / "other-ca")
        uuid = other.install_node(base / "n1")
        yield cluster, {
            "nobody": None, "user": cluster.authority.user,
            "node": (here.etc / "node.crt", here.etc / "node.key"),
            "other cluster": (other.dir / f"{uuid}.crt", other.dir / f"{uuid}.key"),
            "expired": issue(cluster.authority, base, f"node-{STRANGER}", -1)}
        cluster.end()
    finally:
        cluster.abandon()
        shutil.rmtree(base)
