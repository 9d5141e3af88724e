# SPDX-License-Identifier: Apache-2.0
"""flockerctl diagnose: what is in the archive, and above all what is not."""
import base64
import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import unittest

FLOCKERCTL, FLOCKER_CA = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))

import stub_control

SECRET = "hunter2-Zm9v"
AGENT_YML = f"""# the password is {SECRET}
version: 1
control-service: {{hostname: control.example.com, port: 4524, token: {SECRET}}}
dataset:
  backend: loopback
  root_path: /srv/volumes
  secret_access_key: {SECRET}
  nested: {{root_path: [{SECRET}]}}
address: &a !secret{SECRET} 192.0.2.7
space-warning: 15
discard: weekly
other: *a
? {{complicated: {SECRET}}}
: root_path
logging: |
  {SECRET}
"""


class Case(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.dir = tmp.name
        stub_control.make_certificates(FLOCKER_CA, self.dir)
        path = self.dir + "/control-127.0.0.1"
        self.server = stub_control.start(self.dir, path + ".crt", path + ".key")
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.state = self.server.state
        self.addCleanup(lambda: self.assertEqual(self.state.deviations, []))
        self.here = self.state.add_node("127.0.0.1")
        self.port = str(self.server.server_address[1])

    def diagnose(self, *args, port=None, host="127.0.0.1"):
        """What is in the archive, by name."""
        archive = self.dir + "/archive"
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "FLOCKER_CONTROL_PORT": port or self.port,
               "FLOCKER_CERTS_PATH": self.dir}
        if host:
            env["FLOCKER_CONTROL_SERVICE"] = host
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        run = subprocess.run([FLOCKERCTL, "diagnose", "-o", archive, *args], env=env, capture_output=True, text=True,
                             timeout=100, cwd=self.dir)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.stderr = run.stderr
        with tarfile.open(archive, "r:gz") as tar:
            self.assertTrue(all(m.isfile() and m.mode == 0o600 for m in tar.getmembers()))
            return {m.name.split("/", 1)[1]: tar.extractfile(m).read() for m in tar.getmembers()}

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write(text)

    def test_states_histories_and_the_kernels_view(self):
        self.state.page = 1
        here = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        stuck = self.state.add_dataset(self.here, {"name": "stuck"}, state="attaching")
        parts = self.diagnose()
        for name in ("control/health.json", "control/nodes.json", "control/leases.json", "control/backends.json",
                     "control/metrics.txt", "control/events.txt", "control/version.json",
                     "control/datasets-001.json", "control/datasets-002.json", "host/kernel.txt", "README.txt",
                     "configuration/certificates.txt", f"control/datasets/{here['dataset_id']}.json"):
            self.assertIn(name, parts)
        self.assertIn(b'"history"', parts[f"control/datasets/{stuck['dataset_id']}.json"])
        self.assertIn(b" / ", parts["host/mountinfo.txt"])
        self.assertIn(b"user.crt", parts["configuration/certificates.txt"])
        self.assertIn(b"not after", parts["configuration/certificates.txt"])
        self.assertEqual(os.stat(self.dir + "/archive").st_mode & 0o777, 0o600)

    def test_no_secret_and_no_key_is_in_it(self):
        self.write("agent.yml", AGENT_YML)
        self.write("cluster.yml", f"cluster_name: x\nusers: [alice]\ncontrol_node: 192.0.2.1\npassword: {SECRET}\n")
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        with open(self.dir + "/user.key") as f:
            key = f.read()
        d["why"] = key  # which nobody puts there; and yet
        parts = self.diagnose()
        self.assertIn(b"left out: there is a private key", parts["failures.txt"])
        material = [line for line in key.splitlines() if not line.startswith("-")]
        self.assertTrue(material)
        for name in os.listdir(self.dir):
            if name.endswith(".key"):
                with open(f"{self.dir}/{name}") as f:
                    material += [line for line in f.read().splitlines() if not line.startswith("-")]
        for name, data in parts.items():
            self.assertNotIn(b"PRIVATE KEY", data, name)
            self.assertNotIn(SECRET.encode(), data, name)
            for line in material:
                self.assertNotIn(line.encode(), data, name)
                self.assertNotIn(base64.b64decode(line + "==="[:-len(line) % 4]), data, name)

    def test_settings_that_are_no_secrets_are_shown(self):
        self.write("agent.yml", AGENT_YML)
        text = self.diagnose()["configuration/user/agent.yml"].decode()
        for line in ("version: 1", "hostname: control.example.com", "port: 4524", "token: (left out)",
                     "backend: loopback", "root_path: /srv/volumes", "secret_access_key: (left out)",
                     "address: 192.0.2.7", "space-warning: 15", "discard: weekly", "other: (left out)", "logging: (left out)"):
            self.assertRegex(text.replace("'", "").replace('"', ""), rf"(?m)^ *{re.escape(line)}$")

    def test_the_kernels_command_line_is_shown_without_its_values(self):
        with open("/proc/cmdline") as f:
            line = f.read().strip()
        parts = self.diagnose()
        shown = parts["host/cmdline.txt"].decode()

        def names(text):
            return [word.split("=")[0] for word in text.split(" -- ")[0].split()]
        if '"' not in line:
            self.assertEqual(names(shown.replace("(left out)", "")), names(line))
        if "(left out)" in shown:
            for name, data in parts.items():
                self.assertNotIn(line.encode(), data, name)

    def test_what_is_no_yaml_is_left_out(self):
        self.write("agent.yml", f"version: 1\npassword: [{SECRET}\n")
        parts = self.diagnose()
        self.assertIn(b"configuration/user/agent.yml: exit status 1", parts["failures.txt"])
        self.assertNotIn(SECRET.encode(), parts.get("configuration/user/agent.yml", b""))

    def test_control_may_be_away(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            parts = self.diagnose(port=str(free.getsockname()[1]))
        self.assertIn(b"control/health.json: cannot connect", parts["failures.txt"])
        self.assertIn(b"control/nodes.json: not asked for", parts["failures.txt"])
        self.assertIn("host/mountinfo.txt", parts)
        self.assertIn("The control service was not asked: cannot connect", self.stderr)
        self.assertIn(b"no control service is named", self.diagnose(host=None)["failures.txt"])

    def test_an_answer_that_is_an_error_stops_nothing(self):
        self.state.health.update(ready=False, reasons=["The store cannot be written."])
        self.state.add_dataset(self.here, {"name": "broken"}, state="attaching")
        parts = self.diagnose()
        self.assertIn(b"control/health.json: the control service answered 503", parts["failures.txt"])
        self.assertIn(b"The store cannot be written", parts["control/health.json"])
        self.assertIn(b": the control service answered 500", parts["failures.txt"])
        self.assertIn("control/events.txt", parts)

    def test_a_file_that_hangs_is_left_behind(self):
        os.mkfifo(self.dir + "/agent.yml")
        os.mkfifo(self.dir + "/other.crt")
        with open(self.dir + "/other.crt", "w+b", buffering=0):  # somebody may write there, and never does
            parts = self.diagnose()
        self.assertIn(b"configuration/certificates.txt: it was not there within", parts["failures.txt"])
        self.assertIn(b"configuration/user/agent.yml: exit status", parts["failures.txt"])
        self.assertIn("control/events.txt", parts)


if __name__ == "__main__":
    unittest.main()
