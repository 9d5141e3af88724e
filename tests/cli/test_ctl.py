# SPDX-License-Identifier: Apache-2.0
"""flockerctl against a control service that only talks (stub_control.py)."""
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

FLOCKERCTL, FLOCKER_CA = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))

import stub_control

USAGE, CONNECT, REFUSED, NOT_FOUND, TIMEOUT, SERVER, OVERTAKEN = 1, 2, 3, 4, 5, 6, 7


def setUpModule():
    global certs
    certs = tempfile.TemporaryDirectory()
    stub_control.make_certificates(FLOCKER_CA, certs.name, ("user", "alice"))


def tearDownModule():
    certs.cleanup()


class Case(unittest.TestCase):
    certificate = "control-127.0.0.1"

    def setUp(self):
        path = f"{certs.name}/{self.certificate}"
        self.server = stub_control.start(certs.name, path + ".crt", path + ".key")
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.state = self.server.state
        self.addCleanup(lambda: self.assertEqual(self.state.deviations, []))
        self.here = self.state.add_node("127.0.0.1", node="aaaa1111-0000-4000-8000-000000000001")
        self.there = self.state.add_node("127.0.0.2", node="aaaa2222-0000-4000-8000-000000000002")
        self.gone = self.state.add_node("127.0.0.3", node="bbbb0000-0000-4000-8000-000000000003",
                                        live=False)

    def ctl(self, *args, status=0, env=None, stdout=subprocess.PIPE, cwd=None):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
                       "FLOCKER_CONTROL_SERVICE": "127.0.0.1",
                       "FLOCKER_CONTROL_PORT": str(self.server.server_address[1]),
                       "FLOCKER_CERTS_PATH": certs.name}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        environment.update(env or {})
        environment = {k: v for k, v in environment.items() if v is not None}
        run = subprocess.run([FLOCKERCTL, *args], env=environment, stdout=stdout, cwd=cwd,
                             stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(run.returncode, status, (run.stdout or "") + run.stderr)
        if status:
            self.assertIn("rror: " if status != USAGE else "", run.stderr)
            self.assertTrue(run.stderr)
        self.stderr = run.stderr
        return run.stdout

    def rows(self, out):
        return [line.split() for line in out.splitlines()]


class ReadTest(Case):
    def test_version(self):
        self.assertEqual(self.ctl("version"), "flockerctl 2.0.0\nflocker-control 9.9.9\n")
        self.assertEqual(json.loads(self.ctl("version", "--json")),
                         {"flockerctl": "2.0.0", "flocker-control": "9.9.9"})
        alone = {"FLOCKER_CONTROL_SERVICE": None}
        self.assertEqual(self.ctl("version", env=alone), "flockerctl 2.0.0\n")
        self.assertEqual(self.ctl("--version", env=alone), "2.0.0\n")

    def test_list_nodes(self):
        rows = self.rows(self.ctl("list-nodes"))
        self.assertEqual(rows[0][:2], ["SERVER", "ADDRESS"])
        self.assertEqual(rows[1][:3], ["aaaa1111", "127.0.0.1", "live"])
        self.assertEqual(rows[1][3:], ["loopback", "2.0.0", "1.50", "GiB"])
        self.assertEqual(rows[3][:6], ["bbbb0000", "127.0.0.3", "gone", "for", "99", "s"])
        self.assertEqual(self.ctl("status", "-l").splitlines()[1].split()[0], self.here)
        self.assertEqual(json.loads(self.ctl("list-nodes", "--json")), self.state.nodes)

    def test_refused_nodes_are_explained_once(self):
        web = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.ctl("status")
        self.assertEqual(self.stderr, "")
        for node in self.state.nodes:
            node.update(live=False, state="refused", refused="the store is old, see flocker-control recover")
        for words in (["status"], ["list"], ["show", web["dataset_id"]]):
            out = self.ctl(*words)
            self.assertEqual(self.stderr, f"Warning: node {self.state.nodes[0]['uuid'][:8]} and "
                             f"{len(self.state.nodes) - 1} more are refused: the store is old, see "
                             "flocker-control recover\n")
            if words == ["status"]:
                self.assertEqual(self.rows(out)[1][2], "refused")

    def test_datasets_that_control_does_not_know_are_named(self):
        self.state.nodes[0]["unknown_datasets"] = ["cccc0000-0000-4000-8000-000000000007"]
        self.ctl("status")
        self.assertEqual(self.stderr, "Warning: node aaaa1111 has dataset "
                         "cccc0000-0000-4000-8000-000000000007, which control has no record of; it "
                         "is left alone\n")

    def test_list(self):
        web = self.state.add_dataset(self.here, {"name": "web"}, 10 << 30, state="mounted")
        self.state.add_dataset(self.there, state="waiting")
        lost = self.state.add_dataset("cccc0000-0000-4000-8000-000000000009", state="lost")
        away = self.state.add_dataset(self.here, {"name": "away"}, state="destroyed")
        away["deleted"] = True
        moving = self.state.add_dataset(self.here, {}, 1536 << 20, state="mounted")
        moving["node"] = self.there
        self.state.page = 2
        lines = self.ctl("ls").splitlines()
        self.assertEqual(lines[0].split(), ["DATASET", "SIZE", "METADATA", "STATUS", "SERVER"])
        self.assertEqual(lines[1].split(), [web["dataset_id"], "10.00G", "name=web", "attached",
                                            "\u2705", "aaaa1111", "(127.0.0.1)"])
        self.assertEqual(lines[2].split()[1:], ["75.00G", "pending", "\u231b", "aaaa2222", "(127.0.0.2)"])
        self.assertEqual(lines[3].split(), [lost["dataset_id"], "75.00G", "lost", "<missing>"])
        self.assertEqual(lines[4].split()[1:3], ["1.50G", "moving"])
        self.assertEqual(len(lines), 5)
        self.assertIn("deleted", self.ctl("list", "-d", "-h"))
        self.assertEqual(len(json.loads(self.ctl("list", "--json"))), 4)
        self.assertEqual(json.loads(self.ctl("--json", "list", "-d")),
                         [self.state.picture(d) for d in self.state.datasets.values()])
        ascii_only = self.ctl("list", env={"LC_ALL": "C"})
        self.assertTrue(ascii_only.isascii())

    def test_show(self):
        d = self.state.add_dataset(self.here, {"name": "web", "a": "b"}, 10 << 30, state="mounted")
        d.update(why="held\x1b[31m", used=1 << 20,
                 last_error={"step": "mount", "code": "EBUSY", "message": "Device busy",
                             "holders": ["pid 1 (a)", "pid 2 (b)"]},
                 history=[{"time": stub_control.moment(1790000000), "node": self.here, "state": "mounted",
                           "what": "first"}])
        shown = self.ctl("show", "web")
        for line in ("name          web", "state         mounted", "why           held?[31m",
                     f"owner         {self.here} (127.0.0.1)",
                     "size          10.00 GiB (10737418240 bytes)",
                     "used          1.00 MiB (1048576 bytes)", "available     -",
                     "holders       pid 1 (a)\n              pid 2 (b)",
                     "last error    mount: Device busy (EBUSY)",
                     "  2026-09-21 14:13:20.000 UTC  aaaa1111  mounted      first"):
            self.assertIn(line + "\n", shown)
        self.assertIn("since         2026-09-21 14:13:20.000 UTC (", shown)
        self.assertNotIn("\033", shown)
        self.assertEqual(json.loads(self.ctl("show", d["dataset_id"][:8], "--json")), d)
        self.assertEqual(json.loads(self.ctl("show", d["dataset_id"].upper(), "--json")), d)

    def test_show_tells_of_a_lease(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.assertIn("\nlease         -\n", self.ctl("show", "web"))
        self.state.leases = [{"dataset_id": d["dataset_id"], "node": self.here, "expires": None}]
        self.assertIn(f"\nlease         {self.here} (127.0.0.1), until it is released\n",
                      self.ctl("show", "web"))
        self.state.leases[0]["expires"] = "2026-09-21T14:13:20.500Z"
        self.assertIn("(127.0.0.1), until 2026-09-21 14:13:20.500 UTC\n", self.ctl("show", "web"))

    def test_unknown_and_ambiguous_datasets_list_the_candidates(self):
        one = self.state.add_dataset(self.here, {"name": "twin"})
        two = self.state.add_dataset(self.here, {"name": "twin"})
        self.ctl("show", "nothing", status=NOT_FOUND)
        self.assertIn(one["dataset_id"], self.stderr)
        self.ctl("show", "twin", status=NOT_FOUND)
        self.assertIn("more than one dataset", self.stderr)
        self.assertIn(two["dataset_id"], self.stderr)
        self.ctl("show", "99999999-9999-4999-8999-999999999999", status=NOT_FOUND)
        self.assertIn("Dataset not found.", self.stderr)


class ChangeTest(Case):
    def created(self):
        return [body for method, path, body in self.state.requests if method == "POST" and path == "/v2/datasets"]

    def test_create_without_waiting(self):
        out = self.ctl("create", "-n", "aaaa1", "-s", "1.0001G", "-m", "a=b,c=d", "-m", "e=f",
                       "--name", "db", "--filesystem", "xfs")
        body = self.created()[0]
        size = body.pop("size")
        self.assertEqual(size % 1024, 0)
        self.assertGreaterEqual(size, 1.0001 * 2**30)
        self.assertEqual(body, {"node": self.here, "name": "db", "filesystem": "xfs",
                                "metadata": {"a": "b", "c": "d", "e": "f"}})
        self.assertIn(list(self.state.datasets)[0], out)

    def test_what_v1_has_as_metadata_is_said_as_v2_wants_it(self):
        self.ctl("create", "-n", "aaaa1", "-m", "flocker:failover=lease,flocker:term=6,flocker:failover-to=any,name=x")
        self.assertEqual(self.created()[0], {"node": self.here, "name": "x",
                                             "failover": {"policy": "lease", "term": 6, "to": "any"}})
        self.ctl("create", "--policy=lease", "--term=9", "--to", self.here + "," + self.there)
        self.assertEqual(self.created()[1], {"failover": {"policy": "lease", "term": 9,
                                                          "to": [self.here, self.there]}})

    def test_the_server_chooses_a_node_and_says_why(self):
        out = self.ctl("create")
        self.assertEqual(self.created()[0], {})
        self.assertIn(f"is recorded for node {self.there}.\nThe control service chose that node: it has the most "
                      "free space", out)

    def test_unplaced(self):
        self.assertIn("on no node", self.ctl("create", "--unplaced", "--wait"))
        self.assertEqual(self.created()[0], {"node": None})
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.assertIn("On no node.", self.ctl("move", "-d", "web", "--unplaced", "--wait"))
        self.assertIsNone(d["owner"])

    def test_a_lost_answer_makes_no_second_dataset(self):
        self.state.lost_answers = 2
        out = self.ctl("create", "-n", "aaaa1", "--name", "db")
        self.assertEqual(len(self.created()), 3)
        self.assertEqual(len(self.state.datasets), 1)
        self.assertIn(list(self.state.datasets)[0], out)
        self.assertIn("asking again", self.stderr)

    def test_a_key_finds_what_it_made(self):
        first = json.loads(self.ctl("create", "--idempotency-key=k1", "--json"))
        self.assertEqual(json.loads(self.ctl("create", "--idempotency-key=k1", "--json")), first)
        self.ctl("create", "--idempotency-key=k1", "--name=other", status=REFUSED)
        self.assertIn("(422 idempotency-key): Another body.", self.stderr)

    def test_a_size_is_only_sent_when_given(self):
        answer = json.loads(self.ctl("create", "--node", "127.0.0.2", "--json"))
        self.assertEqual(answer["node"], self.there)
        self.assertEqual(self.created()[0], {"node": self.there})

    def test_create_shows_its_steps(self):
        out = self.ctl("create", "-n", self.here, "--name", "db", "--wait")
        states = [row[2] for row in self.rows(out) if len(row) > 2 and row[1] == "aaaa1111"]
        self.assertEqual(states, stub_control.STEPS[1:])
        self.assertIn("Mounted at /flocker/", out)

    def test_move_shows_only_its_own_steps(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.state.say(d, "mounted", "long ago")
        out = self.ctl("move", "-d", "web", "-t", "127.0.0.2", "--wait=30")
        self.assertNotIn("long ago", out)
        self.assertIn("granted", out)
        self.assertEqual(d["owner"], self.there)

    def test_json_and_wait_print_the_outcome_alone(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        out = self.ctl("move", "-d", "web", "-t", self.there, "--wait", "--json")
        self.assertEqual(json.loads(out)["owner"], self.there)
        self.assertIn("granted", self.stderr)
        out = self.ctl("destroy", "-d", d["dataset_id"], "--wait", "--json")
        self.assertEqual(json.loads(out)["state"], "destroyed")

    def test_destroy(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        out = self.ctl("destroy", "-d", "web", "--wait")
        self.assertIn("Destroyed.", out)
        self.ctl("destroy", "-d", "web", status=NOT_FOUND)
        self.ctl("destroy", "-d", d["dataset_id"], status=NOT_FOUND)
        self.assertIn("has been deleted", self.stderr)

    def test_a_wait_that_ends_tells_the_last_why(self):
        out = self.ctl("create", "-n", self.here, "--name", "stuck", "--wait=0.5", status=TIMEOUT)
        self.assertIn("why: loop device busy", out)
        self.assertIn("held by pid 4711", self.stderr)
        self.assertIn("attaching", self.stderr)

    def test_another_wish_ends_the_wait(self):
        d = self.state.add_dataset(self.here, {"name": "stuck"}, state="mounted")
        d["state"] = "attaching"

        def overtake():
            d.update(node=self.gone)
            self.state.tell("dataset", self.state.picture(d))
        threading.Timer(0.3, overtake).start()
        self.ctl("move", "-d", "stuck", "-t", self.there, "--wait=30", status=OVERTAKEN)
        self.assertIn(self.gone, self.stderr)

    def test_refusals_are_told_in_the_servers_words(self):
        self.ctl("create", "-n", self.here, "-s", "1M", status=REFUSED)
        self.assertIn("refused (400 bad-body): The body is not", self.stderr)
        self.assertIn("  /size: must be at least 67108864 bytes\n", self.stderr)

    def test_failures_of_the_server(self):
        for name, status, words in (("broken", SERVER, "failed (500 internal): a3c1f2@/2"),
                                    ("rude", CONNECT, "is no JSON"),
                                    ("cut", CONNECT, "hung up")):
            d = self.state.add_dataset(self.here, {"name": name})
            self.ctl("show", d["dataset_id"], status=status)
            self.assertIn(words, self.stderr)

    def test_a_failure_names_its_request_a_refusal_does_not(self):
        broken = self.state.add_dataset(self.here, {"name": "broken"})
        self.ctl("show", broken["dataset_id"], status=SERVER)
        self.assertIn("its log has more about request r-1\n", self.stderr)
        self.ctl("show", "99999999-9999-4999-8999-999999999999", status=NOT_FOUND)
        self.assertNotIn("request r-", self.stderr)

    def test_unknown_nodes_list_the_candidates(self):
        self.ctl("create", "-n", "ffff", status=NOT_FOUND)
        self.assertIn(f"  {self.here}  127.0.0.1\n", self.stderr)
        self.ctl("create", "-n", "aaaa", status=NOT_FOUND)
        self.assertIn("more than one node", self.stderr)
        self.assertNotIn(self.gone, self.stderr)

    def node_calls(self):
        return [(path, body) for _, path, body in self.state.requests if path.startswith("/v2/nodes/")]

    def test_node_replace(self):
        self.ctl("node", "replace", "bbbb")
        self.assertEqual(self.node_calls(), [(f"/v2/nodes/{self.gone}/replace", None)])

    def test_node_fence_wants_the_risk_accepted(self):
        self.ctl("node", "fence", "bbbb", status=USAGE)
        self.assertIn("--accept-risk", self.stderr)
        self.assertEqual(self.node_calls(), [])
        self.ctl("node", "fence", "bbbb", "--accept-risk")
        self.assertEqual(self.node_calls(), [(f"/v2/nodes/{self.gone}/fence", {"accept_risk": True})])

    def test_node_forget_wants_the_risk_accepted(self):
        self.ctl("node", "forget", "bbbb", status=USAGE)
        self.assertIn("node forget needs --accept-risk", self.stderr)
        self.assertEqual(self.node_calls(), [])
        self.assertIn("is forgotten", self.ctl("node", "forget", "bbbb", "--accept-risk"))
        self.assertEqual(self.node_calls(), [(f"/v2/nodes/{self.gone}/forget", {"accept_risk": True})])

    def patches(self):
        return [body for method, _, body in self.state.requests if method == "PATCH"]

    def test_failover(self):
        self.state.add_dataset(self.here, {"name": "db"}, dataset_id="11111111-0000-4000-8000-000000000001")
        self.assertIn("is to fail over by lease", self.ctl("failover", "db", "--policy=lease", "--term=9"))
        self.ctl("failover", "1111", "--policy", "manual", "--to=none")
        self.assertEqual(self.patches(), [{"failover": {"policy": "lease", "term": 9}},
                                          {"failover": {"policy": "manual", "to": None}}])

    def test_resize_waits_until_the_filesystem_has_grown(self):
        d = self.state.add_dataset(self.here, {"name": "db"}, 1 << 30, state="mounted")
        out = self.ctl("resize", "db", "2G", "--wait")
        self.assertEqual(self.patches(), [{"size": 2 << 30}])
        self.assertIn("is to have 2.00 GiB.\n", out)
        self.assertIn("It has 2.00 GiB.\n", out)
        self.assertEqual(d["volume_size"], 2 << 30)
        self.ctl("resize", "db", "1G", status=REFUSED)
        self.assertIn("(409 shrink)", self.stderr)

    def test_rename_and_set_metadata(self):
        self.state.add_dataset(self.here, {"name": "db", "a": "b"}, state="mounted")
        self.assertIn("is called other.", self.ctl("rename", "db", "other"))
        self.ctl("set-metadata", "other", "-m", "a=,c=d")
        self.assertEqual(self.patches(), [{"name": "other"}, {"metadata": {"a": None, "c": "d"}}])

    def test_undelete_brings_back_what_was_kept(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        out = self.ctl("destroy", "-d", "web", "--undelete=2h", "--wait")
        self.assertIn("flockerctl undelete brings it back until 2026-", out)
        self.assertIn("its volume is kept", out)
        self.assertIn(("DELETE", f"/v2/datasets/{d['dataset_id']}?undelete=7200", None), self.state.requests)
        self.assertIn("deleted, kept", self.ctl("list"))
        self.state.add_dataset(self.here, {"name": "web"}, state="mounted")  # the name is free again
        self.assertIn("Mounted at", self.ctl("undelete", "web", "--wait"))
        self.assertFalse(d["deleted"])
        self.ctl("undelete", d["dataset_id"], status=REFUSED)
        self.assertIn("has not been deleted", self.stderr)

    def test_purge_ends_the_time_in_which_it_was_kept(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.ctl("purge", "web", status=NOT_FOUND)
        self.ctl("destroy", "-d", "web", "--undelete=7d", "--wait")
        self.assertIn("Destroyed.", self.ctl("purge", "web", "--wait"))
        self.assertEqual(d["state"], "destroyed")

    def test_a_name_means_the_living_one(self):
        old = self.state.add_dataset(self.here, {"name": "web"}, state="destroyed")
        old["deleted"] = True
        new = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.assertEqual(json.loads(self.ctl("show", "web", "--json"))["dataset_id"], new["dataset_id"])
        new["name"] = "other"
        self.assertEqual(json.loads(self.ctl("show", "web", "--json"))["dataset_id"], old["dataset_id"])

    def test_a_name_needs_no_list_of_all(self):
        self.state.add_dataset(self.here, {"name": "web 1+1&x"}, state="mounted")
        self.ctl("show", "web 1+1&x", "--json")
        self.assertEqual([path for _, path, _ in self.state.requests if path.startswith("/v2/datasets?")],
                         ["/v2/datasets?deleted=true&name=web%201%2B1%26x&limit=1000"])

    def test_a_plan_changes_nothing_and_tells_the_steps(self):
        self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.state.leases = [{"dataset_id": list(self.state.datasets)[0], "node": self.here, "expires": None}]
        before = json.dumps([self.state.datasets, self.state.nodes, self.state.leases])
        for words in (["create", "--name=x"], ["move", "-d", "web", "-t", "aaaa2"], ["destroy", "-d", "web"],
                      ["resize", "web", "99G"], ["rename", "web", "x"], ["set-metadata", "web", "-m", "a=b"],
                      ["failover", "web", "--policy=lease"], ["lease", "acquire", "web"], ["lease", "release", "web"],
                      ["node", "drain", "aaaa1"], ["node", "undrain", "aaaa1"], ["node", "replace", "bbbb"],
                      ["node", "fence", "bbbb", "--accept-risk"], ["node", "forget", "bbbb", "--accept-risk"],
                      ["destroy", "-d", "web", "--undelete=1h"]):
            with self.subTest(words):
                rows = self.rows(self.ctl(*words, "--plan"))
                self.assertEqual(rows[0][:3], ["Nothing", "was", "changed."])
                self.assertEqual(rows[2:], [["1.", "record", "control", "the", "wish"],
                                            ["2.", "mount", "aaaa1111", "(127.0.0.1)", "at", "?[31m/flocker/x"]])
                self.assertEqual(json.loads(self.ctl(*words, "--plan", "--json"))["status"], 200)
        after = json.loads(json.dumps([self.state.datasets, self.state.nodes, self.state.leases]))
        for d in list(after[0].values()):
            d["history"] = []
        self.assertEqual(after, json.loads(before))

    def test_wait_asks_the_server(self):
        d = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        d["node"] = self.there
        self.assertIn("is mounted.", self.ctl("wait", "web"))
        self.assertEqual(d["owner"], self.there)
        self.assertIn("?wait=60&until=settled", self.state.requests[-1][1])
        self.ctl("wait", "web", "--until=destroyed", "--timeout=0.3", status=TIMEOUT)
        self.assertIn("is not destroyed; it is mounted", self.stderr)

    def test_health(self):
        self.assertIn("ready         yes\nversion       9.9.9\nnodes         2 of 3 connected\ncertificate   "
                      "control-service.crt of control-service, until 2027-01-31", self.ctl("health"))
        self.state.health.update(ready=False, reasons=["The store cannot be written."])
        self.assertIn("no\n              The store cannot be written.\n", self.ctl("health", status=SERVER))

    def test_wrong_command_lines(self):
        for args, words in (
                (["failover", "db"], "failover needs --policy"),
                (["failover", "--policy=lease"], "failover needs DATASET"),
                (["failover", "db", "--policy=maybe"], "manual or lease, not 'maybe'"),
                (["failover", "db", "--policy=lease", "--term=6s"], "number of seconds, not '6s'"),
                (["create", "--unplaced", "-n", "a"], "--unplaced means no node"),
                (["resize", "x"], "resize needs SIZE"),
                (["resize", "x", "2X"], "10G, 1.5G or 500MiB"),
                (["resize", "x", "2G", "3"], "one argument too many"),
                (["destroy", "-d", "x", "--undelete=soon"], "with s, m, h, d or w"),
                (["wait", "x", "--until=done"], "settled or a state"),
                (["set-metadata", "x"], "set-metadata needs --metadata"),
                (["create", "--idempotency-key=a b"], "1 to 64 of A-Z"),
                (["list", "--plan"], "unrecognized option"),
                (["move", "-d", "x"], "move needs --destination"),
                (["destroy"], "destroy needs --dataset"),
                (["show"], "show needs DATASET"),
                (["node"], "flockerctl node --help lists the second"),
                (["lease"], "flockerctl lease --help lists the second"),
                (["lease", "frob"], "there is no command 'lease frob'; flockerctl lease --help lists them"),
                (["lease", "acquire"], "lease acquire needs DATASET"),
                (["lease", "acquire", "db", "--expires=0"], "number of seconds"),
                (["lease", "acquire", "db", "-e", "-1"], "number of seconds"),
                (["node", "forget"], "node forget needs NODE"),
                (["list", "--cluster-yml", "/nowhere.yml"], "'/nowhere.yml': No such file"),
                (["frob"], "there is no command 'frob'; flockerctl --help lists them"),
                (["create", "-n", "a", "-s", "10X"], "10G, 1.5G or 500MiB"),
                (["create", "-n", "a", "-m", "x"], "lacks its '='"),
                (["create", "-n", "a", "-m", "name=x", "--name", "y"], "both say it"),
                (["create", "-n", "a", "--filesystem", "zfs"], "ext4, xfs or btrfs"),
                (["create", "-n", "a", "--wait", "30"], "--wait=SECONDS"),
                (["create", "-n", "a", "--wait=soon"], "number of seconds"),
                (["destroy", "demo"], "named by --dataset"),
                (["move", "-d", "demo", "192.0.2.1"], "named by --destination"),
                (["create", "demo"], "the dataset by --name"),
                (["-h"], "flockerctl --help tells"),
                (["list", "--dataset", "x"], "unrecognized option"),
                (["--control-port", "0", "list"], "from 1 to 65535"),
                ([], "Usage:")):
            with self.subTest(args):
                self.ctl(*args, status=USAGE)
                self.assertIn(words, self.stderr)
        self.assertEqual(self.state.requests, [])
        self.ctl("list", status=USAGE, env={"FLOCKER_CONTROL_SERVICE": None})
        self.assertIn("FLOCKER_CONTROL_SERVICE", self.stderr)

    def test_help_everywhere(self):
        for args in (["--help"], ["list", "--help"], ["node", "replace", "--help"],
                     ["create", "--help"], ["lease", "acquire", "--help"], ["lease", "--help"]):
            out = self.ctl(*args)
            self.assertTrue(out.startswith("Usage: flockerctl"))
            self.assertEqual([line for line in out.splitlines() if len(line) > 80], [])
        self.assertEqual(out.count("\n  lease "), 3)
        self.assertNotIn("node", out)

    def test_a_full_standard_output_is_an_error(self):
        with open("/dev/full", "w") as full:
            self.ctl("list", status=USAGE, stdout=full)
        self.assertIn("No space left", self.stderr)


class LeaseTest(Case):
    def setUp(self):
        super().setUp()
        self.web = self.state.add_dataset(self.here, {"name": "web"}, state="mounted")["dataset_id"]
        self.bare = self.state.add_dataset(self.there, state="mounted")["dataset_id"]

    def sent(self):
        return [(path, body) for method, path, body in self.state.requests if method == "PUT"]

    def test_a_lease_is_for_the_node_that_has_the_dataset(self):
        out = self.ctl("lease", "acquire", "web")
        self.assertEqual(out, f"Dataset {self.web} is leased to node {self.here}; the lease ends "
                         "when it is released.\n")
        self.assertEqual(self.sent(), [(f"/v2/leases/{self.web}", {"node": self.here})])

    def test_seconds_are_sent_as_they_are(self):
        self.assertRegex(self.ctl("lease", "acquire", "web", "-e", "30"), r"the lease ends in (29|30)\.\d s")
        self.assertEqual(json.loads(self.ctl("lease", "acquire", "web", "--expires=1.5", "--json"))["node"], self.here)
        self.assertEqual([body["seconds"] for _, body in self.sent()], [30, 2])

    def test_a_lease_that_protects_nothing_is_warned_of(self):
        self.ctl("lease", "acquire", "web", "-n", "127.0.0.2")
        self.assertIn(f"Warning: node {self.there} does not have the dataset", self.stderr)
        self.assertEqual(self.state.leases[0]["node"], self.there)

    def test_a_dataset_that_nobody_has_needs_a_node(self):
        self.state.datasets[self.web]["owner"] = None
        self.ctl("lease", "acquire", "web", status=NOT_FOUND)
        self.assertIn("--node", self.stderr)
        self.assertEqual(self.state.leases, [])

    def test_an_answer_that_never_came_leaves_a_doubt(self):
        self.ctl("lease", "acquire", "web", "-e", "666", status=CONNECT)
        self.assertIn("recorded is not known; flockerctl lease list tells.\n", self.stderr)

    def test_a_lease_of_another_is_a_refusal(self):
        self.ctl("lease", "acquire", "web")
        self.ctl("lease", "acquire", "web", "-n", self.there, status=REFUSED)
        self.assertIn("(409 leased): Lease already held.", self.stderr)

    def test_list(self):
        self.assertEqual(self.rows(self.ctl("lease", "ls")),
                         [["DATASET", "NAME", "SERVER", "EXPIRES"]])
        gone = "dddd0000-0000-4000-8000-000000000004"
        self.state.leases = [
            {"dataset_id": self.web, "node": self.here, "expires": None},
            {"dataset_id": self.bare, "node": self.there, "expires": stub_control.moment(time.time() + 3000)},
            {"dataset_id": gone, "node": gone, "expires": stub_control.moment(time.time() - 2)}]
        rows = self.rows(self.ctl("lease", "list", "--no-header"))
        self.assertEqual(rows, [[self.web, "web", "aaaa1111", "(127.0.0.1)", "never"],
                                [self.bare, "aaaa2222", "(127.0.0.2)", "in", "50", "min"],
                                [gone, "dddd0000", "(?)", "now"]])
        self.assertEqual(json.loads(self.ctl("lease", "list", "--json")), self.state.leases)

    def test_release_finds_leases_of_datasets_that_are_gone(self):
        gone = "dddd0000-0000-4000-8000-000000000004"
        self.state.leases = [{"dataset_id": i, "node": self.here, "expires": None}
                             for i in (self.web, gone)]
        self.state.datasets[self.web]["deleted"] = True
        self.assertIn(f"{self.web} is no more leased", self.ctl("lease", "release", "web"))
        self.ctl("lease", "release", "dddd")
        self.assertEqual(self.state.leases, [])
        self.ctl("lease", "release", "web", status=NOT_FOUND)
        self.assertIn("there is no leased dataset 'web'", self.stderr)


class WhereTest(Case):
    """The files that installers of the original leave, in a directory of their own."""

    def setUp(self):
        super().setUp()
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.dir = tmp.name
        for name in ("cluster.crt", "alice.crt", "alice.key"):
            shutil.copy(f"{certs.name}/{name}", self.dir)
        self.port = {"FLOCKER_CONTROL_SERVICE": None, "FLOCKER_CERTS_PATH": None}

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write(text)

    def test_cluster_yml_here_and_agent_yml_beside_it(self):
        self.write("cluster.yml", "cluster_name: x\nusers:\n- alice\n- bob\ncontrol_node: 192.0.2.1\n")
        self.write("agent.yml", "version: 1\ncontrol-service: {hostname: 127.0.0.1, port: 4524}\n")
        self.ctl("list", env=self.port, cwd=self.dir)
        self.ctl("--cluster-yml", self.dir + "/cluster.yml", "--cluster-crt=elsewhere.crt", "list",
                 env=self.port)
        self.ctl("list", "--certs-path", self.dir, "--user=alice", env=self.port)

    def test_the_cluster_file_knows_the_control_node_too(self):
        self.write("cluster.yml", "users: [alice]\ncontrol_node: 127.0.0.1\n")
        self.ctl("list", env=self.port, cwd=self.dir)

    def test_who_wins(self):
        """Options, the cluster file that is named, the environment, the one that lies there."""
        self.write("cluster.yml", "users: [nobody]\ncontrol_node: 127.0.0.1\n")
        self.ctl("list", env=self.port, cwd=self.dir, status=CONNECT)
        self.assertIn("nobody.crt", self.stderr)
        self.ctl("list", "--user=alice", env=self.port, cwd=self.dir)
        environment = {"FLOCKER_CERTS_PATH": certs.name, "FLOCKER_USER": "alice"}
        self.ctl("list", env=environment, cwd=self.dir)
        self.ctl("list", "--cluster-yml=cluster.yml", env=environment, cwd=self.dir, status=CONNECT)
        self.assertIn("nobody.crt", self.stderr)

    def test_files_that_are_no_yaml(self):
        self.write("cluster.yml", "users: [alice\n")
        self.ctl("list", "--cluster-yml", self.dir + "/cluster.yml", status=USAGE)
        self.assertIn("cluster.yml': it is no YAML", self.stderr)
        os.mkfifo(self.dir + "/agent.yml")
        self.ctl("list", "--certs-path", self.dir, env=self.port, status=USAGE)
        self.assertIn("agent.yml': Invalid argument", self.stderr)

    def test_a_node_by_host_name(self):
        self.ctl("create", "-n", "localhost")
        self.assertEqual(self.state.requests[-1][2]["node"], self.here)
        self.ctl("create", "-n", "no.such.host.invalid", status=NOT_FOUND)
        self.assertIn("there is no node 'no.such.host.invalid'", self.stderr)


class TerminalTest(Case):
    def on_terminal(self, *args, env=None):
        """What it prints to a terminal."""
        ours, theirs = pty.openpty()
        try:
            self.ctl(*args, env={"TERM": "xterm", **(env or {})}, stdout=theirs)
            return os.read(ours, 65536).decode()
        finally:
            os.close(ours)
            os.close(theirs)

    def test_states_are_coloured_on_a_terminal_alone_and_stay_aligned(self):
        self.state.add_dataset(self.here, {"name": "web"}, state="mounted")
        self.state.add_dataset(self.there, state="lost")
        for words, good, bad in ((["list"], "attached \u2705", "lost"),
                                 (["list-nodes"], "live", "gone for 99 s")):
            plain = self.ctl(*words)
            coloured = self.on_terminal(*words)
            self.assertIn(f"\033[32m{good}\033[0m", coloured)
            self.assertIn(f"\033[31m{bad}\033[0m", coloured)
            self.assertEqual(re.sub(r"\033\[\d+m|\r", "", coloured), plain)
            self.assertEqual(self.on_terminal(*words, env={"NO_COLOR": "1"}).replace("\r", ""), plain)
            self.assertEqual(self.ctl(*words, "--no-header").splitlines(), plain.splitlines()[1:])


class TrustTest(Case):
    def test_options_and_environment(self):
        port = str(self.server.server_address[1])
        bare = {"FLOCKER_CONTROL_SERVICE": None, "FLOCKER_CONTROL_PORT": None,
                "FLOCKER_CERTS_PATH": None}
        for args in (["--control-service", "127.0.0.1", "--control-port", port, "--certs-path",
                      certs.name, "--user", "alice", "list"],
                     ["list", "--control-service=127.0.0.1", "--control-port=" + port,
                      "--certs-path=" + certs.name, "--user=alice"]):
            self.ctl(*args, env=bare)
        self.ctl("list", env={"FLOCKER_USER": "alice"})

    def test_nobody_answers(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.ctl("list", "--control-port", str(free.getsockname()[1]), status=CONNECT)
        self.assertIn("Connection refused", self.stderr)

    def test_an_unknown_host(self):
        self.ctl("list", "--control-service", "no.such.host.invalid", status=CONNECT)
        self.assertIn("no.such.host.invalid", self.stderr)

    def test_missing_certificates_are_named(self):
        self.ctl("list", "--user", "nobody", status=CONNECT)
        self.assertIn(f"there is no user certificate '{certs.name}/nobody.crt': make one", self.stderr)
        self.assertIn("flocker-ca create-api-certificate NAME", self.stderr)
        self.assertIn("--user=NAME", self.stderr)
        with tempfile.TemporaryDirectory() as part:
            for name in ("user.crt", "user.key"):
                shutil.copy(f"{certs.name}/{name}", part)
            self.ctl("list", "--certs-path", part, status=CONNECT)
        self.assertIn("certificate of the cluster's authority", self.stderr)

    def test_another_clusters_server_is_not_trusted(self):
        with tempfile.TemporaryDirectory() as other:
            for args in (["initialize", "o"], ["create-api-certificate", "user"]):
                subprocess.run([FLOCKER_CA, *args], cwd=other, check=True, stdout=subprocess.DEVNULL)
            self.ctl("list", "--certs-path", other, status=CONNECT)
        self.assertIn("no trust between user.crt and 127.0.0.1", self.stderr)
        self.assertEqual(self.state.requests, [])

    def test_no_tls_and_silence(self):
        for talk, words in ((b"HTTP/1.1 200 OK\r\n\r\n", "no trust"), (b"", "hung up|broke|closed|TLS")):
            with socket.create_server(("127.0.0.1", 0)) as plain:
                def serve():
                    client, _ = plain.accept()
                    client.recv(100)
                    client.sendall(talk)
                    client.close()
                thread = threading.Thread(target=serve)
                thread.start()
                self.ctl("list", "--control-port", str(plain.getsockname()[1]), status=CONNECT)
                thread.join()
                self.assertRegex(self.stderr, words)


class WrongServerTest(Case):
    certificate = "alice"  # of the right cluster, but not the control service

    def test_a_user_cannot_pose_as_the_control_service(self):
        self.ctl("list", status=CONNECT)
        self.assertIn("no trust", self.stderr)
        self.assertEqual(self.state.requests, [])


if __name__ == "__main__":
    unittest.main()
