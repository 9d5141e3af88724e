# SPDX-License-Identifier: Apache-2.0
"""flockerctl against flocker-control itself, without a node: the forms of the API that both must know."""
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

FLOCKERCTL, FLOCKER_CA, FLOCKER_CONTROL = (os.path.abspath(sys.argv.pop(1)) for _ in range(3))
NODE = "99999999-0000-4000-8000-000000000000"


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class ControlTest(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.dir = tmp.name
        for args in (["initialize", "c"], ["create-control-certificate", "127.0.0.1"],
                     ["create-api-certificate", "user"]):
            subprocess.run([FLOCKER_CA, *args], cwd=self.dir, check=True,
                           stdout=subprocess.DEVNULL)
        for end in ("crt", "key"):
            os.rename(f"{self.dir}/control-127.0.0.1.{end}",
                      f"{self.dir}/control-service.{end}")
        self.port, agents = free_ports(2)
        command = [FLOCKER_CONTROL, "--data-path", self.dir + "/data", "--port",
                   f"tcp:{self.port}:interface=127.0.0.1", "--agent-port",
                   f"tcp:{agents}:interface=127.0.0.1", "--certificates-directory", self.dir]
        if os.geteuid() == 0:
            command += ["--user", "root"]
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(self.dir + "/notify")
        notify.settimeout(30)
        self.control = subprocess.Popen(command, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, NOTIFY_SOCKET=self.dir + "/notify"))
        self.addCleanup(self.stop)
        self.assertIn(b"READY=1", notify.recv(1000))
        notify.close()

    def stop(self):
        self.control.send_signal(signal.SIGTERM)
        self.control.wait(30)

    def ctl(self, *args, status=0):
        environment = dict(os.environ, LC_ALL="C.UTF-8", FLOCKER_CONTROL_SERVICE="127.0.0.1",
                           FLOCKER_CONTROL_PORT=str(self.port), FLOCKER_CERTS_PATH=self.dir)
        run = subprocess.run([FLOCKERCTL, *args], env=environment, capture_output=True, text=True,
                             timeout=60)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stderr if status else run.stdout

    def test_the_forms_of_the_api(self):
        self.assertIn("flocker-control 2.", self.ctl("version"))
        self.assertEqual(json.loads(self.ctl("list-nodes", "--json")), [])
        self.assertEqual(json.loads(self.ctl("list", "--json")), [])
        self.ctl("create", "-n", NODE, status=4)
        self.ctl("show", NODE, status=4)
        self.ctl("node", "replace", "9", status=4)
        self.assertIn("There is no node", self.ctl("node", "forget", NODE, "--accept-risk", status=4))

        self.create_by_hand()
        row = self.ctl("list").splitlines()[1].split()
        self.assertEqual(row[1:], ["1.00G", "name=web,flocker:filesystem=xfs", "pending", "\u231b",
                                   "<missing>"])
        self.assertEqual(self.ctl("complete", "show", "w"), f"words\nweb\t{row[0]}\n")
        shown = self.ctl("show", "web")
        for line in (f"dataset       {row[0]}", "name          web", "state         waiting",
                     "wanted        mounted", f"primary       {NODE}",
                     "maximum size  1.00 GiB (1073741824 bytes)", "format state  never",
                     "filesystem    xfs"):
            self.assertIn(line + "\n", shown)
        self.assertRegex(shown, r"since +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \(\d+ s ago\)")
        self.assertRegex(shown, r"history\n  \d{4}-\d\d-\d\d .* created")

        out = self.ctl("destroy", "-d", row[0][:13], "--wait=20")
        self.assertIn("Destroyed.", out)
        self.assertEqual(json.loads(self.ctl("list", "--json")), [])
        self.assertIn("deleted", self.ctl("list", "-d"))
        self.assertIn("has been deleted", self.ctl("destroy", "-d", row[0], status=4))

    def test_a_viewer_may_look_and_a_revoked_one_is_told_why(self):
        subprocess.run([FLOCKER_CA, "create-viewer-certificate", "wall"], cwd=self.dir, check=True,
                       stdout=subprocess.DEVNULL)
        self.create_by_hand()
        dataset = self.ctl("list", "--user", "wall").splitlines()[1].split()[0]
        self.assertIn("(403): The certificate 'viewer-wall' may only look",
                      self.ctl("destroy", "-d", dataset, "--user", "wall", status=3))
        subprocess.run([FLOCKER_CA, "revoke", "wall.crt"], cwd=self.dir, check=True,
                       stdout=subprocess.DEVNULL)
        self.control.send_signal(signal.SIGHUP)
        for _ in range(20):  # whoever is faster, the alert or the request
            self.assertIn("the other side refused: certificate revoked",
                          self.ctl("list", "--user", "wall", status=2))
        self.assertIn(dataset[:8], self.ctl("list"))

    def create_by_hand(self):
        """flockerctl refuses nodes that are not there; the API does not."""
        context = ssl.create_default_context(cafile=self.dir + "/cluster.crt")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(self.dir + "/user.crt", self.dir + "/user.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context,
                                                 timeout=30)
        connection.request("POST", "/v1/configuration/datasets", json.dumps(
            {"primary": NODE, "maximum_size": 1 << 30,
             "metadata": {"name": "web", "flocker:filesystem": "xfs"}}))
        answer = connection.getresponse()
        self.assertEqual(answer.status, 201, answer.read())
        connection.close()


if __name__ == "__main__":
    unittest.main()
