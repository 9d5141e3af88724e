# SPDX-License-Identifier: Apache-2.0
"""A real node and a control server of a neighbouring version, played by the test: frames of version 1 of the protocol
as they were recorded (../unit/wire-1.jsonl), and what a later version may say."""
import json
import pathlib
import queue
import socket
import ssl
import struct
import threading
import uuid

import pytest

import kernel
import rig
from cluster import LIMIT_S, SIZES, Payload

FRAMES = [json.loads(line) for line in
          (pathlib.Path(__file__).parents[1] / "unit/wire-1.jsonl").read_text().splitlines()]


def recorded(type_, **fields):
    return next(f for f in FRAMES if f["type"] == type_ and fields.items() <= f.items())


class Server:
    """The agent port of a control server, for one session."""

    def __init__(self, cluster):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cluster.authority.dir / "control-127.0.0.1.crt",
                                cluster.authority.dir / "control-127.0.0.1.key")
        context.load_verify_locations(cluster.authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", cluster.control.agent_port))
        self.context, self.inbox, self.sequence, self.socket = context, queue.Queue(), 0, None
        self.ended, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            raw, _ = self.listener.accept()
            self.socket = self.context.wrap_socket(raw, server_side=True)
            while True:
                size, = struct.unpack(">I", rig.read_exactly(self.socket, 4))
                self.answer(json.loads(rig.read_exactly(self.socket, size)))
        except (EOFError, OSError):
            self.ended.set()

    def answer(self, m):
        """Renewals wait for nobody."""
        if m["type"] == "ping":
            self.send("pong", **({"stamp_ms": m["stamp_ms"]} if "stamp_ms" in m else {}))
        self.inbox.put(m)

    def send(self, type_, **fields):
        with self.lock:
            self.sequence += 1
            data = json.dumps({"type": type_, "seq": self.sequence, **fields}).encode()
            self.socket.sendall(struct.pack(">I", len(data)) + data)

    def take(self, type_, **fields):
        """The next such message; others are skipped."""
        while True:
            m = self.inbox.get(timeout=LIMIT_S)
            if m["type"] == type_ and fields.items() <= m.items():
                return m

    def end(self):
        self.listener.close()
        if self.socket:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join(LIMIT_S)
            self.socket.close()


class Dataset:
    """What an order of version 1 says about a dataset of ours."""

    def __init__(self, server, node, failover):
        self.server, self.node, self.failover = server, node, failover
        self.id, self.volume, self.fs_uuid = (str(uuid.uuid4()) for _ in range(3))

    def order(self, wish, epoch=1, format_state="done", **fields):
        like = next(f for f in FRAMES if f["type"] == "assign" and f["wish"] == wish and f["failover"] == self.failover)
        order = {key: value for key, value in like.items() if key not in ("type", "seq", "fenced")}
        order.update(dataset_id=self.id, volume_id=self.volume, fs_uuid=self.fs_uuid, epoch=epoch, revision=1,
                     format_state=format_state, owner=self.node.uuid, primary=self.node.uuid, size=SIZES["ext4"])
        self.server.send("assign", **{**order, **fields})

    def make(self):
        self.order("hold", format_state="never")
        self.server.take("report", dataset_id=self.id, report="ready")
        self.order("hold", format_state="started")
        self.server.take("report", dataset_id=self.id, report="formatted")
        self.order("hold")
        return self.server.take("report", dataset_id=self.id, state="mounted")

    def destroy(self):
        self.order("release")
        self.server.take("report", dataset_id=self.id, report="released")
        self.order("destroy", epoch=2)
        self.server.take("report", dataset_id=self.id, report="destroyed")


@pytest.fixture
def played(make_cluster):
    """(cluster, node, server): the node is about to say hello."""
    cluster = make_cluster(nodes=1)
    server = Server(cluster)
    node, = cluster
    node.start()
    cluster.watch()
    yield cluster, node, server
    server.end()
    node.stop()
    (node.state / "control").unlink()  # the real one, which ends the cluster, has a store of its own


@pytest.mark.parametrize("failover", ["manual", "lease"])
def test_a_control_server_of_version_1_gets_its_datasets(played, failover):
    cluster, node, server = played
    hello = server.take("hello")
    assert recorded("hello").keys() <= hello.keys()
    assert hello["backend"] == "loopback" and hello["free"] > 0 and hello["shared"] is True
    server.send("welcome", **{k: v for k, v in recorded("welcome").items() if k not in ("type", "seq", "line")})
    dataset = Dataset(server, node, failover)
    said = dataset.make()
    like = recorded("report", state="mounted", report="status")
    assert like.keys() - said.keys() <= {"claimant"} and said["mountpoint"] == f"{node.root}/{dataset.id}"
    payload = Payload(1)
    payload.write(node.data(dataset.id))
    payload.check(node.data(dataset.id))
    dataset.destroy()
    assert not node.has(dataset.id) and not node.devices()
    assert not server.ended.is_set()


def test_what_a_later_control_server_orders_is_not_guessed(played):
    cluster, node, server = played
    server.take("hello")
    server.send("welcome", incarnation=1, revision=1, version="9.0", wire=9, heartbeat_ms=10000, moon="full")
    dataset = Dataset(server, node, "lease")
    dataset.make()
    payload = Payload(2)
    payload.write(node.data(dataset.id))
    before = {(d.name, d.diskseq) for d in kernel.loops()}

    server.send("census", of=["everything"])
    server.send("assign", dataset_id=dataset.id, wish="snapshot", epoch=5, volume_id=dataset.volume)
    dataset.order("hold", filesystem="bcachefs")
    dataset.order("hold", format_state="encrypted")
    stranger = Dataset(server, node, "lease")
    stranger.order("hold", format_state="never", filesystem="bcachefs")
    server.send("ping")
    server.take("pong")
    for word in ("wish 'snapshot'", "filesystem 'bcachefs'", "format_state 'encrypted'"):
        node.wait_log(f"{word}, which this version does not know: it is not obeyed")
    assert node.read(dataset.id, "state") == "mounted\n" and node.read(dataset.id, "wanted") == "hold\n"
    assert node.read(dataset.id, "epoch") == "1\n" and node.read(stranger.id, "state") is None
    assert {(d.name, d.diskseq) for d in kernel.loops()} == before
    assert not server.ended.is_set()

    # The lease goes on: what was ordered before is in force, and it is renewed and obeyed.
    for _ in range(3):
        server.take("ping")
    assert node.read(dataset.id, "state") == "mounted\n"
    payload.check(node.data(dataset.id))
    dataset.destroy()
