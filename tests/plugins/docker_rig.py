# SPDX-License-Identifier: Apache-2.0
"""A control service, nodes that mount a tmpfs for each dataset, and a plugin beside each node."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import uuid

import fleet
import rig

PODMAN_ID = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2"


class Member(fleet.Member):
    """A node whose mounts are there. `slow`: it takes its time, until it is told to go on."""

    def __init__(self, owner, node_id, pair, root):
        super().__init__(owner, node_id, pair)
        self.root, self.slow, self.waiting, self.grows = root, False, [], True

    def mountpoint(self, dataset):
        return str(self.root / dataset)

    def obey(self, order):
        dataset = order["dataset_id"]
        place = self.root / dataset
        if order["wish"] == "hold" and order["format_state"] == "done":
            self.holds[dataset] = order
            if self.slow:
                self.waiting.append(order)
                self.report("status", order, "mounting")
                return
            self.mount(order)
            return
        if order["wish"] != "hold" and dataset in self.mounted:
            subprocess.run(["umount", place], check=True)
            place.rmdir()
        super().obey(order)

    def mount(self, order):
        dataset = order["dataset_id"]
        place = self.root / dataset
        if dataset not in self.mounted:
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "flocker-test", place], check=True)
        self.mounted.add(dataset)
        self.be_mounted(order)

    def go_on(self):
        """From the test's thread."""
        def now():
            self.slow = False
            for order in self.waiting:
                self.mount(order)
            self.waiting = []
        self.fleet.loop.call_soon_threadsafe(now)


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def error(self):
        assert self.status != 200, self.text
        return self.json["Err"]


class Plugin:
    """One flocker-docker-plugin, and calls to it as engines make them."""

    def __init__(self, cluster, member, directory):
        self.cluster, self.member, self.dir = cluster, member, directory
        directory.mkdir()
        self.socket = directory / "plugins" / "flocker.sock"
        self.state = directory / "state"
        self.log_path = directory / "plugin.log"
        self.process = None
        files = {"cluster.crt": cluster.authority.ca}
        for name, pair in (("node", cluster.authority.node(member.id)),
                           ("plugin", cluster.authority.issue("user-plugin", "extendedKeyUsage=clientAuth"))):
            files[f"{name}.crt"], files[f"{name}.key"] = pair
        for name, source in files.items():
            (directory / name).write_bytes(source.read_bytes())
            (directory / name).chmod(0o600)
        (directory / "agent.yml").write_text(
            "version: 1\ncontrol-service:\n  hostname: 127.0.0.1\n"
            f"  port: {cluster.control.agent_port}\ndataset:\n  backend: loopback\nmount-root: {member.root}\n"
            f"run-directory: {directory}/run\n")

    def command(self, *extra):
        return [os.environ["FLOCKER_DOCKER_PLUGIN"], "--agent-config", str(self.dir / "agent.yml"), "--control-port",
                str(self.cluster.control.port), "--socket", str(self.socket), "--state-directory", str(self.state),
                "--docker-socket", str(self.dir / "docker.sock"),
                "--log-level", "debug", *extra]

    def start(self, *extra, **options):
        before = self.log.count("ready: node")
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command(*extra), stdout=log, stderr=log, **options)
        rig.wait_until("the plugin is ready", lambda: self.process.poll() is not None
                       or self.log.count("ready: node") > before)
        assert self.process.poll() is None, self.log
        return self

    def restart(self, how=signal.SIGKILL, *extra):
        self.process.send_signal(how)
        self.process.wait(rig.LIMIT_S)
        return self.start(*extra)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(rig.LIMIT_S) == 0, self.log

    @property
    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    # ---- the protocol ----

    def raw(self, path, body=b"", headers=None, timeout=rig.LIMIT_S):
        connection = http.client.HTTPConnection("plugin", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(self.socket))
        try:
            connection.request("POST", path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def ask(self, call, timeout=rig.LIMIT_S, **body):
        return self.raw(f"/VolumeDriver.{call}", json.dumps(body).encode() + b"\n",
                        {"Host": "", "Accept": "application/vnd.docker.plugins.v1.2+json"}, timeout)

    def activate(self, engine="docker"):
        accept = {"Accept": "application/vnd.docker.plugins.v1.2+json"} if engine == "docker" else {}
        return self.raw("/Plugin.Activate", headers=accept)

    def create(self, name, **options):
        return self.ask("Create", Name=name, Opts={k.replace("_", "-"): v for k, v in options.items()} or None)

    def made(self, name, **options):
        answer = self.create(name, **options)
        assert answer.status == 200 and answer.json == {"Err": ""}, answer.text
        return self.dataset(name)["dataset_id"]

    def mount(self, name, mount_id="a" * 64, **kw):
        return self.ask("Mount", Name=name, ID=mount_id, **kw)

    def mounted(self, name, mount_id="a" * 64):
        answer = self.mount(name, mount_id)
        assert answer.status == 200, answer.text + self.log.encode()
        return pathlib.Path(answer.json["Mountpoint"])

    def mount_later(self, name, mount_id="a" * 64, may_break=False):
        """In a thread: [answer], when it is there."""
        box = []

        def ask():
            try:
                box.append(self.mount(name, mount_id))
            except http.client.RemoteDisconnected:
                assert may_break
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread, box

    def unmount(self, name, mount_id="a" * 64):
        answer = self.ask("Unmount", Name=name, ID=mount_id)
        assert answer.status == 200 and answer.json == {"Err": ""}, answer.text

    def get(self, name):
        answer = self.ask("Get", Name=name)
        assert answer.status == 200, answer.text
        return answer.json["Volume"]

    def names(self):
        return [v["Name"] for v in self.ask("List").json["Volumes"]]

    @contextlib.contextmanager
    def container(self, place):
        """One that has the volume, in a mount namespace of its own."""
        inside = self.dir / "inside"
        inside.mkdir(exist_ok=True)
        process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                    'mount --bind "$0" "$1" && echo ready && exec cat', place, inside],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.communicate()

    # ---- what control knows ----

    def dataset(self, name):
        found = [d for d in self.cluster.control.every() if d["name"] == name and not d["deleted"]]
        return found[0] if found else None

    def lease(self, name):
        lease = self.dataset(name)["lease"]
        return lease and lease["node"]


class Cluster:
    def kill_control(self):
        self.control.kill()
        self.control.hang_up()

    def __init__(self, authority, directory, nodes=2):
        self.authority, self.dir = authority, pathlib.Path(directory)
        self.control = rig.Control(authority, directory)
        self.control.start()
        self.fleet = fleet.Fleet(self.control, {}, 60)
        self.fleet.members = []
        for i in range(nodes):
            node_id = str(uuid.uuid4())
            root = self.dir / f"mount root {i}"  # with a blank, which a mount table has as "\\040"
            root.mkdir(mode=0o700)
            self.fleet.members.append(Member(self.fleet, node_id, authority.node(node_id), root))
        self.fleet.start()
        self.fleet.wait_welcomed(1)
        self.plugins = [Plugin(self, member, self.dir / f"host{i}") for i, member in enumerate(self.fleet.members)]

    def end(self):
        for plugin in self.plugins:
            if plugin.process and plugin.process.poll() is None:
                plugin.process.kill()
                plugin.process.wait()
        self.fleet.end()
        for member in self.fleet.members:
            for place in member.root.iterdir():
                subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL)
        if self.control.process.poll() is None:
            self.control.end()

    def check_logs(self):
        for plugin in self.plugins:
            assert "Sanitizer" not in plugin.log and "runtime error" not in plugin.log, plugin.log
