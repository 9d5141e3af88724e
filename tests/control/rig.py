# SPDX-License-Identifier: Apache-2.0
"""What the tests share: an authority, a control service, a user's client and a node's."""
import http.client
import json
import os
import pathlib
import queue
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import uuid

import openapi

SLOWER = int(os.environ.get("FLOCKER_SLOWER", "1"))  # for emulated machines; see tests/boot/run-suite
LIMIT_S = 20 * SLOWER


def run(*args):
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, condition, limit=LIMIT_S):
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {limit} s in vain: {what}"
        time.sleep(0.01)
    return value


def fill(path):
    """Until the disk has no room."""
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass


def serial_of(crt):
    out = subprocess.run(["openssl", "x509", "-in", str(crt), "-noout", "-serial"], check=True,
                         capture_output=True, text=True).stdout
    return out.strip().split("=")[1]


class Authority:
    """A cluster's certificates, made with the openssl program."""

    def __init__(self, directory, name="test", path_length="0"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(exist_ok=True)
        self.ca, self.ca_key = self.dir / "cluster.crt", self.dir / "cluster.key"
        self.cluster = str(uuid.uuid4())
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", self.ca_key, "-out", self.ca, "-days", "3650", "-subj",
            f"/OU={self.cluster}/CN={name}", "-addext", f"basicConstraints=critical,CA:TRUE,pathlen:{path_length}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.chain = ""
        self.issue_first()

    @classmethod
    def between(cls, directory, root):
        """One that @root signed. What it signs shows both certificates."""
        self = cls.__new__(cls)
        self.dir, self.cluster = pathlib.Path(directory), root.cluster
        self.dir.mkdir()
        self.ca, self.ca_key = root.issue("between", "basicConstraints=critical,CA:TRUE,pathlen:0\n"
                                          "keyUsage=critical,keyCertSign,cRLSign")
        self.chain = self.ca.read_text()
        self.issue_first()
        return self

    def issue_first(self):
        self.control = self.issue("control-service",
                                  "subjectAltName=DNS:control-service,IP:127.0.0.1")
        self.user = self.issue("user-alice", "extendedKeyUsage=clientAuth")

    def issue(self, cn, extension=None, days=3650, file=None, version3=True,
              key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        base = self.dir / (file or cn)
        crt, pem, csr = (base.with_name(base.name + s) for s in (".crt", ".key", ".csr"))
        if crt.exists():
            return crt, pem
        run("openssl", "req", "-new", "-newkey", *key, "-nodes", "-keyout", pem, "-out", csr, "-subj", f"/OU={self.cluster}/CN={cn}")
        command = ["openssl", "x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key,
                   "-set_serial", str(uuid.uuid4().int), "-days", str(days), "-out", crt]
        if version3:
            ext = base.with_name(base.name + ".ext")
            ext.write_text("authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
                           + (extension or "") + "\n")
            command += ["-extfile", ext]
        run(*command)
        with open(crt, "a") as f:
            f.write(self.chain)
        return crt, pem

    def revocations(self, *pairs, ends="20450101000000Z"):
        """Text of a list that names these certificates."""
        index, conf = self.dir / "index.txt", self.dir / "ca.cnf"
        conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ndefault_md=sha256\n")
        with open(index, "w") as f:
            for crt, _ in pairs:
                serial = serial_of(crt)
                f.write(f"R\t450101000000Z\t260101000000Z\t{serial}\tunknown\t/CN=x\n")
        crl = self.dir / "new.crl"
        run("openssl", "ca", "-gencrl", "-config", conf, "-cert", self.ca, "-keyfile", self.ca_key,
            "-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", ends, "-out", crl)
        return crl.read_text()

    def node(self, node_id):
        return self.issue(f"node-{node_id}")

    def install(self, directory):
        directory.mkdir()
        for name, source in (("cluster.crt", self.ca), ("control-service.crt", self.control[0]),
                             ("control-service.key", self.control[1])):
            (directory / name).write_bytes(source.read_bytes())
            (directory / name).chmod(0o600)
        return directory


def client_context(authority, pair, ca=None):
    context = ssl.create_default_context(cafile=str(ca or authority.ca))
    context.check_hostname = False
    if pair:
        context.load_cert_chain(str(pair[0]), str(pair[1]))
    return context


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read()
        self.type = response.headers.get("Content-Type")

    @property
    def json(self):
        return json.loads(self.text)


class Control:
    """One flocker-control on 127.0.0.1."""

    def __init__(self, authority, directory, name="one"):
        self.authority = authority
        self.dir = pathlib.Path(directory)
        self.data = self.dir / "data"
        self.certs = self.dir / "certs"
        if not self.certs.exists():
            authority.install(self.certs)
        self.log_path = self.dir / f"{name}.log"
        self.port, self.agent_port = free_port(), free_port()
        self.process = None
        self.local = threading.local()

    def command(self, *extra):
        return [os.environ["FLOCKER_CONTROL"], "--data-path", str(self.data),
                "--port", f"tcp:{self.port}:interface=127.0.0.1",
                "--agent-port", f"tcp:{self.agent_port}:interface=127.0.0.1",
                "--certificates-directory", str(self.certs)] + (
                    ["--user", "root"] if os.geteuid() == 0 else []) + [*extra]

    def launch(self, *extra, **options):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command(*extra), stdout=log, stderr=log, **options)

    def start(self, *extra, **options):
        before = self.log.count(": ready:")
        self.launch(*extra, **options)
        wait_until("flocker-control is ready", lambda: self.process.poll() is not None
                   or self.log.count(": ready:") > before)
        assert self.process.poll() is None, self.log

    def fails(self, *extra, **options):
        """Starts in vain; the last line of its log."""
        self.launch(*extra, **options)
        assert self.process.wait(LIMIT_S) == 1, self.log
        return self.log.splitlines()[-1]

    @property
    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_log(self, pattern, limit=LIMIT_S):
        return wait_until(f"'{pattern}' in the log:\n{self.log}",
                          lambda: re.search(pattern, self.log), limit)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def end(self):
        if self.process and self.process.poll() is None:
            status = self.stop()
            assert status == 0, f"ended with {status}:\n{self.log}"
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log

    # ---- a user ----

    def connect(self, pair=None):
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=LIMIT_S,
            context=client_context(self.authority, pair or self.authority.user))

    def call(self, method, path, body=None, headers=None, raw=None):
        connection = getattr(self.local, "connection", None) or self.connect()
        self.local.connection = connection
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        try:
            connection.request(method, path, data, headers or {})
            answer = Answer(connection.getresponse())
        except (http.client.HTTPException, OSError):
            connection.close()
            self.local.connection = None
            raise
        openapi.check(method, path, headers, data, answer.status, answer.headers, answer.text)
        return answer

    def hang_up(self):
        if getattr(self.local, "connection", None):
            self.local.connection.close()
            self.local.connection = None

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.call("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.call("DELETE", path, **kw)

    def every(self, **query):
        """Every dataset as v2 shows it, page by page."""
        query = {"deleted": "true", "limit": 1000, **query}
        found = []
        while True:
            answer = self.get("/v2/datasets?" + urllib.parse.urlencode(query))
            assert answer.status == 200, answer.text
            found += answer.json["datasets"]
            if not answer.json["next"]:
                return found
            query["after"] = answer.json["next"]

    def create(self, primary, **kw):
        answer = self.post("/v1/configuration/datasets", {"primary": primary, **kw})
        assert answer.status == 201, answer.text
        return answer.json["dataset_id"]


def read_exactly(connection, n):
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Node:
    """A node as control sees it: TLS, frames, and what the test makes it say."""

    def __init__(self, control, node_id=None, host=None, boot=None, pair=None):
        self.id = node_id or str(uuid.uuid4())
        self.host, self.boot = host or str(uuid.uuid4()), boot or str(uuid.uuid4())
        self.sequence = 0
        self.inbox = queue.Queue()
        self.closed = threading.Event()
        raw = socket.create_connection(("127.0.0.1", control.agent_port), LIMIT_S)
        context = client_context(control.authority, pair or control.authority.node(self.id))
        self.socket = context.wrap_socket(raw, server_hostname="control-service")
        self.socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        expected = 1
        try:
            while True:
                size, = struct.unpack(">I", read_exactly(self.socket, 4))
                message = json.loads(read_exactly(self.socket, size))
                assert message["seq"] == expected, message
                expected += 1
                self.inbox.put(message)
        except (EOFError, OSError, ValueError):
            pass
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass
        self.closed.set()
        self.inbox.put(None)

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, type_, **fields):
        self.sequence += 1
        data = json.dumps({"type": type_, "seq": self.sequence, **fields}).encode()
        self.send_raw(struct.pack(">I", len(data)) + data)

    def hello(self, holds=(), **fields):
        self.send("hello", **{"wire": 1, "version": "test", "host": self.host, "boot": self.boot,
                              "address": "192.0.2.7", "backend": "loopback", "shared": True,
                              "holds": list(holds), **fields})

    def take(self, type_, limit=LIMIT_S):
        """The next message of this type; others are skipped."""
        while True:
            message = self.inbox.get(timeout=limit)
            assert message is not None, f"the connection ended before {type_}"
            if message["type"] == type_:
                return message

    def take_wish(self, dataset_id, wish):
        while True:
            message = self.take("assign")
            if message["dataset_id"] == dataset_id and message["wish"] == wish:
                return message

    def report(self, kind, order, state, **fields):
        self.send("report", report=kind, dataset_id=order["dataset_id"],
                  volume_id=order["volume_id"], epoch=order["epoch"], state=state,
                  size=order["size"], **fields)

    def join(self):
        self.hello()
        return self.take("welcome")

    def mount(self, dataset_id):
        """From the first order to mounted, as a node does it."""
        order = self.take_wish(dataset_id, "hold")
        if order["format_state"] == "never":
            self.report("ready", order, "attached")
            order = self.take_wish(dataset_id, "hold")
            assert order["format_state"] == "started"
            self.report("formatted", order, "attached", fs_uuid=order["fs_uuid"])
            order = self.take_wish(dataset_id, "hold")
        assert order["format_state"] == "done"
        self.mount_again(order)
        return order

    def mount_again(self, order):
        self.report("status", order, "mounted", mounted=True, fs_uuid=order["fs_uuid"],
                    mountpoint=f"/flocker/{order['dataset_id']}", device="/dev/loop7", used=4096,
                    available=1 << 20)

    def close(self):
        # The reader must be out of its call before the descriptor's number is free for others; and
        # SSLSocket.shutdown() would go on in plain text.
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass
        assert self.closed.wait(LIMIT_S)
        self.socket.close()
