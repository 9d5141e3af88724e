# SPDX-License-Identifier: Apache-2.0
"""Certificates are renewed while everything goes on; who is revoked or has expired is out, and told so."""
import shutil
import subprocess
import threading
import time

import test_identity
from cluster import executable, wait_until
from loads import Writer
from test_lease import acknowledged, check_lines, come_back, make

TAKEN = "certificates are read anew and in use for new sessions"


def ca(cluster, *arguments):
    """flocker-ca as the administrator calls it; what it makes anew is in the folder "new"."""
    new = cluster.authority.dir / "new"
    new.mkdir(exist_ok=True)
    where = ["-i", str(cluster.authority.dir)] + (["-o", str(new)] if arguments[0] == "renew" else [])
    subprocess.run([executable("flocker-ca"), arguments[0], *where, *map(str, arguments[1:])], check=True,
                   capture_output=True)
    return new


def put(source, target, owner=None):
    """As installers do: whole, under a new name, then renamed."""
    new = target.with_name(target.name + ".new")
    shutil.copy(source, new)
    if owner:
        shutil.chown(new, owner)
    new.rename(target)


def put_pair(source, target, owner=None):
    for end in (".crt", ".key"):
        put(source.with_suffix(source.suffix + end), target.with_suffix(target.suffix + end), owner)


def openssl(crt, what):
    return subprocess.run(["openssl", "x509", "-in", crt, "-noout", what], check=True, capture_output=True,
                          text=True).stdout.strip().split("=")[1]


def wait_date(node):
    """Until the tree tells until when the node's present certificate is valid."""
    end = time.strptime(openssl(node.etc / "node.crt", "-enddate"), "%b %d %H:%M:%S %Y %Z")
    text = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", end)
    wait_until("the tree tells the date", lambda: node.node_status()["certificate_expires"] == text)
    assert node.tree(".node", "certificate_expires").read_text() == text + "\n"


class Traffic:
    """A user who asks and changes without end; the first failure ends it."""

    def __init__(self, cluster, node):
        self.cluster, self.node, self.done, self.error = cluster, node, 0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        try:
            while not self.stop.is_set():
                dataset = self.cluster.create(self.node, metadata={"n": str(self.done)})
                self.cluster.show(dataset)
                self.cluster.delete(dataset)
                self.cluster.wait_destroyed(dataset)
                if self.done % 2:
                    self.cluster.control.hang_up()
                self.done += 1
        except Exception as e:  # noqa: BLE001 - whatever it is, the test is to tell
            self.error = e
        self.cluster.control.hang_up()

    def goes_on(self):
        before = self.done
        wait_until("traffic goes on", lambda: self.done > before + 3 or self.error)
        assert not self.error, self.error

    def end(self):
        self.stop.set()
        self.thread.join()
        assert not self.error, self.error


def test_all_certificates_are_renewed_under_traffic(cluster):
    """Control's, both nodes' and the user's: no request fails, no writer stops, no node is away."""
    here, there = cluster
    control, authority = cluster.control, cluster.authority
    dataset = make(cluster, there)
    writer, traffic = Writer(there.data(dataset, "log")), Traffic(cluster, here)
    traffic.goes_on()
    sessions = [len(n.log) for n in cluster]

    new = ca(cluster, "renew", authority.dir / "control-127.0.0.1.crt")
    put_pair(new / "control-127.0.0.1", control.certs / "control-service", "nobody")
    control.wait_log(TAKEN)
    traffic.goes_on()
    for node in cluster:
        wait_date(node)
        put_pair(ca(cluster, "renew", authority.dir / f"{node.uuid}.crt") / node.uuid, node.etc / "node")
        node.wait_log(TAKEN)
        wait_date(node)
    put_pair(ca(cluster, "renew", authority.dir / "user.crt") / "user", authority.dir / "user")
    traffic.goes_on()
    assert all("session" not in n.log[at:].replace(TAKEN, "") for n, at in zip(cluster, sessions))
    assert "disconnected" not in control.log

    # The old one may be revoked then: the node's next session is the new one's.
    here.kill()
    here.start()
    cluster.wait_live(here)
    ca(cluster, "revoke", openssl(authority.dir / f"{here.uuid}.crt", "-serial"))
    put(authority.dir / "cluster.crl", control.certs / "cluster.crl")
    wait_until("the list is taken", lambda: control.log.count(TAKEN) > 1)
    traffic.goes_on()
    cluster.wait_live()
    traffic.end()
    lines = writer.lines
    writer.end()
    assert lines > 10


def test_a_revoked_node_is_cut_off_and_fenced_like_a_lost_one(cluster):
    here, there = cluster
    dataset = make(cluster, there)
    writer = Writer(there.data(dataset, "log"))
    wait_until("it writes", lambda: writer.lines > 3)
    ca(cluster, "revoke", cluster.authority.dir / f"{there.uuid}.crt")
    put(cluster.authority.dir / "cluster.crl", cluster.control.certs / "cluster.crl")
    cluster.control.wait_log(f"node {there.uuid}: closed .*certificate 'node-{there.uuid}' .* was revoked on")
    there.wait_log("the other side refused: certificate revoked")
    cluster.move(dataset, here)
    lines = acknowledged(writer)
    cluster.wait_mounted(dataset, here)
    check_lines(here.data(dataset, "log"), lines)
    assert cluster.show(dataset)["fenced"]["proof"] == "term"

    # With a new certificate it is the same node, without a restart.
    new = ca(cluster, "renew", cluster.authority.dir / f"{there.uuid}.crt")
    put_pair(new / there.uuid, there.etc / "node")
    cluster.wait_live(there)
    come_back(cluster, there, dataset)


def test_an_expired_node_says_so_and_is_back_with_a_new_certificate(cluster):
    _, there = cluster
    dataset = cluster.make(there)
    kept = cluster.base / "kept"
    kept.mkdir()
    for name in ("node.crt", "node.key"):
        shutil.copy(there.etc / name, kept / name)
    crt, key = test_identity.issue(cluster.authority, cluster.base, f"node-{there.uuid}", -1)
    put(crt, there.etc / "node.crt")
    put(key, there.etc / "node.key")
    there.wait_log(f"the certificate of this service, {there.etc}/node.crt, expired on 20")
    there.wait_log("the other side refuses new sessions; those that stand go on until they break")
    wait_date(there)
    assert there.node_status()["connected"]

    # A date cuts nothing off; the end of the session does.
    cluster.control.restart()
    cluster.control.wait_log(f"agent port: refused .*certificate 'node-{there.uuid}' expired on 20")
    there.wait_log("the other side refused: certificate expired")
    assert there.has(dataset)
    put_pair(kept / "node", there.etc / "node")
    cluster.wait_live(there)
    cluster.wait_mounted(dataset, there)
