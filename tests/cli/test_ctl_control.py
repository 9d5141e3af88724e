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
import tarfile
import tempfile
import unittest

FLOCKERCTL, FLOCKER_CA, FLOCKER_CONTROL = (os.path.abspath(sys.argv.pop(1)) for _ in range(3))

import stub_control

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
        stub_control.make_certificates(FLOCKER_CA, self.dir)
        for end in ("crt", "key"):
            os.rename(f"{self.dir}/control-127.0.0.1.{end}",
                      f"{self.dir}/control-service.{end}")
        self.port, self.agents = free_ports(2)
        self.start()
        self.addCleanup(self.stop)

    def start(self):
        command = [FLOCKER_CONTROL, "--data-path", self.dir + "/data", "--port",
                   f"tcp:{self.port}:interface=127.0.0.1", "--agent-port",
                   f"tcp:{self.agents}:interface=127.0.0.1", "--certificates-directory", self.dir]
        if os.geteuid() == 0:
            command += ["--user", "root"]
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(self.dir + "/notify"):
            os.unlink(self.dir + "/notify")
        notify.bind(self.dir + "/notify")
        notify.settimeout(30)
        self.control = subprocess.Popen(command, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, NOTIFY_SOCKET=self.dir + "/notify"))
        try:
            self.assertIn(b"READY=1", notify.recv(1000))
        finally:
            notify.close()

    def stop(self):
        self.control.send_signal(signal.SIGTERM)
        self.control.wait(30)

    def environment(self):
        return dict(os.environ, LC_ALL="C.UTF-8", FLOCKER_CONTROL_SERVICE="127.0.0.1",
                    FLOCKER_CONTROL_PORT=str(self.port), FLOCKER_CERTS_PATH=self.dir)

    def ctl(self, *args, status=0):
        run = subprocess.run([FLOCKERCTL, *args], env=self.environment(), capture_output=True, text=True,
                             timeout=60)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stderr if status else run.stdout

    def test_the_forms_of_the_api(self):
        self.assertIn("flocker-control 2.", self.ctl("version"))
        self.assertEqual(json.loads(self.ctl("list-nodes", "--json")), [])
        self.assertEqual(json.loads(self.ctl("list", "--json")), [])
        self.ctl("create", "-n", NODE, status=4)
        self.assertIn("(409 no-node)", self.ctl("create", status=3))
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
                     "wanted        mounted", f"node          {NODE}",
                     "size          1.00 GiB (1073741824 bytes)", "format state  never",
                     "filesystem    xfs"):
            self.assertIn(line + "\n", shown)
        self.assertRegex(shown, r"since +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \(\d+ s ago\)")
        self.assertRegex(shown, r"history\n  \d{4}-\d\d-\d\d .* created")

        out = self.ctl("destroy", "-d", row[0][:13], "--wait=20")
        self.assertIn("Destroyed.", out)
        self.assertEqual(json.loads(self.ctl("list", "--json")), [])
        self.assertIn("deleted", self.ctl("list", "-d"))
        self.assertIn("has been deleted", self.ctl("destroy", "-d", row[0], status=4))

    def json(self, *args):
        return json.loads(self.ctl(*args, "--json"))

    def test_wishes_for_a_dataset_on_no_node(self):
        """All of what needs no node to be done."""
        d = self.json("create", "--unplaced", "--name=db", "-m", "a=b,flocker:failover=lease,flocker:term=9",
                      "--filesystem=xfs", "-s", "1G", "--wait")["dataset_id"]
        self.assertIn("(409 name-in-use)", self.ctl("create", "--unplaced", "--name=db", status=3))
        self.ctl("rename", "db", "other")
        self.ctl("set-metadata", "other", "-m", "a=,c=d")
        self.ctl("failover", "other", "--policy=lease", "--term=20", "--to=any")
        self.ctl("resize", "other", "2G")
        self.assertIn("(409 shrink)", self.ctl("resize", "other", "1G", status=3))
        seen = self.json("show", "other")
        self.assertEqual((seen["metadata"]["c"], seen["size"], seen["failover"]["term"], seen["failover"]["to"]),
                         ("d", 2 << 30, 20, "any"))
        self.assertNotIn("a", seen["metadata"])
        self.assertIn("failover      lease, term 20 s", self.ctl("show", d[:8]))
        self.ctl("lease", "acquire", "other", "-n", NODE, status=4)

        self.assertIn("brings it back until", self.ctl("destroy", "-d", "other", "--undelete=1h", "--wait=20"))
        self.assertIn("deleted, kept", self.ctl("list"))
        self.assertIn("undelete until", self.ctl("show", "other"))
        self.ctl("undelete", "other", "--wait=20")
        self.assertIn("has not been deleted", self.ctl("undelete", d, status=3))
        self.ctl("destroy", "-d", "other", "--undelete=1h")
        self.assertIn("Destroyed.", self.ctl("purge", "other", "--wait=20"))
        self.assertIn("is destroyed.", self.ctl("wait", d, "--timeout=20"))

    def test_plans_change_nothing(self):
        self.create_by_hand()
        before = self.ctl("show", "web", "--json")
        for words in (["create", "--name=x", "--unplaced"], ["move", "-d", "web", "--unplaced"],
                      ["destroy", "-d", "web"], ["resize", "web", "2G"], ["rename", "web", "x"]):
            with self.subTest(words):
                self.assertIn("Nothing was changed.", self.ctl(*words, "--plan"))
        self.assertEqual(self.ctl("show", "web", "--json"), before)
        self.assertIn("(409 shrink)", self.ctl("resize", "web", "64M", "--plan", status=3))

    def test_a_key_makes_one_dataset(self):
        first = self.json("create", "--unplaced", "--idempotency-key=k")
        self.assertEqual(self.json("create", "--unplaced", "--idempotency-key=k")["dataset_id"], first["dataset_id"])
        self.assertIn("(422 idempotency-key)",
                      self.ctl("create", "--unplaced", "--name=x", "--idempotency-key=k", status=3))
        self.assertEqual(len(self.json("list")), 1)

    def test_events_are_told_from_a_revision_on_and_across_a_restart(self):
        made = self.json("create", "--unplaced", "--name=one")
        log = subprocess.Popen([FLOCKERCTL, "events", "--json", "--after", made["revision"]], env=self.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(log.communicate)
        self.addCleanup(log.kill)
        self.ctl("rename", "one", "two")
        while (event := json.loads(log.stdout.readline()))["data"].get("name") != "two":
            pass
        self.assertEqual((event["event"], event["data"]["dataset_id"]), ("dataset", made["dataset_id"]))
        self.stop()
        self.start()
        while (event := json.loads(log.stdout.readline()))["event"] != "list":
            pass
        again = json.loads(log.stdout.readline())
        self.assertEqual((again["event"], again["data"]["name"]), ("dataset", "two"))
        self.ctl("rename", "two", "three")
        while (event := json.loads(log.stdout.readline()))["data"].get("name") != "three":
            pass

    def test_a_wait_outlives_a_restart_of_control(self):
        self.create_by_hand()
        waits = subprocess.Popen([FLOCKERCTL, "wait", "web", "--until=destroyed", "--timeout=60"], env=self.environment(),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(waits.communicate)
        self.addCleanup(waits.kill)
        while not self.waiting():
            pass
        self.stop()
        self.assertIn("still waiting", waits.stderr.readline())
        self.start()
        self.ctl("destroy", "-d", "web")
        self.assertEqual(waits.wait(60), 0)
        self.assertIn("is destroyed.", waits.stdout.read())

    def test_health_and_an_archive_of_it_all(self):
        self.create_by_hand()
        self.assertIn("ready         yes", self.ctl("health"))
        archive = self.dir + "/archive.tar.gz"
        self.ctl("diagnose", "-o", archive)
        with tarfile.open(archive) as tar:
            names = {name.split("/", 1)[1] for name in tar.getnames()}
            top = tar.getnames()[0].split("/")[0]
            self.assertLessEqual({"control/health.json", "control/nodes.json", "control/datasets-001.json",
                                  "control/metrics.txt", "control/events.txt", "host/mountinfo.txt",
                                  "configuration/certificates.txt", "failures.txt", "README.txt"}, names)
            page = json.load(tar.extractfile(top + "/control/datasets-001.json"))
            whole = json.load(tar.extractfile(f"{top}/control/datasets/{page['datasets'][0]['dataset_id']}.json"))
            self.assertTrue(whole["history"])

    def test_a_viewer_may_look_and_a_revoked_one_is_told_why(self):
        subprocess.run([FLOCKER_CA, "create-viewer-certificate", "wall"], cwd=self.dir, check=True,
                       stdout=subprocess.DEVNULL)
        self.create_by_hand()
        dataset = self.ctl("list", "--user", "wall").splitlines()[1].split()[0]
        self.assertIn("(403 viewer): The certificate 'viewer-wall' may only look",
                      self.ctl("destroy", "-d", dataset, "--user", "wall", status=3))
        subprocess.run([FLOCKER_CA, "revoke", "wall.crt"], cwd=self.dir, check=True,
                       stdout=subprocess.DEVNULL)
        self.control.send_signal(signal.SIGHUP)
        for _ in range(20):  # whoever is faster, the alert or the request
            self.assertIn("the other side refused: certificate revoked",
                          self.ctl("list", "--user", "wall", status=2))
        self.assertIn(dataset[:8], self.ctl("list"))

    def waiting(self):
        """Does a request wait for a dataset?"""
        return "\nflocker_control_watchers 1\n" in self.request("GET", "/metrics", 200)

    def create_by_hand(self):
        """flockerctl refuses nodes that are not there; the API does not."""
        self.request("POST", "/v1/configuration/datasets", 201, json.dumps(
            {"primary": NODE, "maximum_size": 1 << 30, "metadata": {"name": "web", "flocker:filesystem": "xfs"}}))

    def request(self, method, path, status, body=None):
        context = ssl.create_default_context(cafile=self.dir + "/cluster.crt")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(self.dir + "/user.crt", self.dir + "/user.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context,
                                                 timeout=30)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.assertEqual(answer.status, status, text)
        return text


if __name__ == "__main__":
    unittest.main()
