# SPDX-License-Identifier: Apache-2.0
"""flocker-dataset beside a node of docker_rig's cluster, with a socket for what it tells systemd."""
import os
import pathlib
import signal
import socket
import subprocess

import rig

PLACES = pathlib.Path("/srv/flocker")  # in the mount namespace of the tests


class Holder:
    """One flocker-dataset on the host of @plugin."""

    def __init__(self, plugin, name, *options):
        self.plugin, self.name, self.options = plugin, name, options
        self.place = PLACES / name
        self.log_path = plugin.dir / f"dataset-{name}.log"
        self.said, self.process = [], None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = plugin.dir / f"notify-{id(self)}"
        self.socket.bind(str(self.address))
        self.socket.setblocking(False)

    def start(self, *options):
        self.options = options or self.options
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [os.environ["FLOCKER_DATASET"], "--agent-config", str(self.plugin.dir / "agent.yml"),
                 "--control-port", str(self.plugin.cluster.control.port), *self.options, self.name],
                stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": str(self.address)})
        return self

    def held(self, *options):
        """Started, and ready."""
        self.said = []
        self.start(*options)
        self.wait_said("READY=1")
        return self

    def hear(self):
        while True:
            try:
                self.said += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.said

    def wait_said(self, text):
        def said():
            assert self.process.poll() is None or any(text in s for s in self.hear()), self.log
            return any(text in s for s in self.hear())
        rig.wait_until(f"it says {text}", said)

    @property
    def status(self):
        found = [s[7:] for s in self.hear() if s.startswith("STATUS=")]
        return found[-1] if found else ""

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def worker(self):
        """Process id of the child, which does the work."""
        text = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(text.split()[0]) if text.split() else None

    def wait_end(self):
        return self.process.wait(rig.LIMIT_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self):
        """As a whole, unheard."""
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.socket.close()

    def is_bound(self):
        return os.path.ismount(self.place)
