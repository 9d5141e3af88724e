# SPDX-License-Identifier: Apache-2.0
"""What flockerctl shows as it happens: --watch on a terminal and elsewhere, and events, against a control service
that only talks (stub_control.py)."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

FLOCKERCTL, FLOCKER_CA = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))

import stub_control

LIMIT_S = 30
HERE = "aaaa1111-0000-4000-8000-000000000001"
THERE = "aaaa2222-0000-4000-8000-000000000002"


def setUpModule():
    global certs
    certs = tempfile.TemporaryDirectory()
    stub_control.make_certificates(FLOCKER_CA, certs.name)


def tearDownModule():
    certs.cleanup()


class Terminal:
    """A program on a terminal, and what a person sees there: as much of one as the program needs."""

    def __init__(self, command, env, rows=24, columns=100):
        self.rows, self.columns = rows, columns
        self.raw, self.left = "", ""
        self.main, self.other, self.on_other, self.cursor = [""], [], False, True
        self.row = self.column = 0
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(theirs)
        self.program = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs,
                                        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
        self.theirs = theirs

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self):
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def lines(self):
        return self.other if self.on_other else self.main

    def put(self, text):
        lines = self.lines()
        while len(lines) <= self.row:
            lines.append("")
        line = lines[self.row].ljust(self.column)
        lines[self.row] = line[:self.column] + text + line[self.column + len(text):]
        self.column += len(text)

    def escape(self, sequence):
        lines = self.lines()
        if sequence == "\033[H":
            self.row = self.column = 0
        elif sequence == "\033[K":
            while len(lines) <= self.row:
                lines.append("")
            lines[self.row] = lines[self.row][:self.column]
        elif sequence == "\033[J":
            del lines[self.row + 1:]
        elif sequence == "\033[2J":
            lines.clear()
        elif sequence in ("\033[?1049h", "\033[?1049l"):
            self.on_other = sequence.endswith("h")
        elif sequence in ("\033[?25h", "\033[?25l"):
            self.cursor = sequence.endswith("h")

    def take(self, text):
        self.raw += text
        text = self.left + text
        tokens = re.findall(r"\033\[[0-9;?]*[@-~]|\r|\n|[^\033\r\n]+|\033.*", text)
        self.left = tokens.pop() if tokens and re.fullmatch(r"\033(\[[0-9;?]*)?", tokens[-1]) else ""
        for token in tokens:
            if token[0] == "\033":
                self.escape(token)
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self.row += 1
            else:
                self.put(token)

    def wait(self, sees):
        """Until @sees is true of what is on the terminal."""
        end = time.monotonic() + LIMIT_S
        while not sees(self):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.ours], [], [], left)[0]:
                raise AssertionError(f"not seen; there is {self.lines()!r}")
            try:
                self.take(os.read(self.ours, 65536).decode(errors="replace"))
            except OSError:
                raise AssertionError(f"it has ended; there is {self.lines()!r}") from None

    def has(self, text):
        self.wait(lambda t: any(text in line for line in t.lines()))

    def drain(self):
        while select.select([self.ours], [], [], 0.2)[0]:
            try:
                self.take(os.read(self.ours, 65536).decode(errors="replace"))
            except OSError:
                break


class Case(unittest.TestCase):
    def setUp(self):
        path = certs.name + "/control-127.0.0.1"
        self.server = stub_control.start(certs.name, path + ".crt", path + ".key")
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.state = self.server.state
        self.addCleanup(lambda: self.assertEqual(self.state.deviations, []))
        self.state.add_node("127.0.0.1", node=HERE)
        self.state.add_node("127.0.0.2", node=THERE)
        self.web = self.state.add_dataset(HERE, {"name": "web"}, state="mounted")
        self.env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm",
                    "FLOCKER_CONTROL_SERVICE": "127.0.0.1",
                    "FLOCKER_CONTROL_PORT": str(self.server.server_address[1]),
                    "FLOCKER_CERTS_PATH": certs.name}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def terminal(self, *args, **kwargs):
        t = Terminal([FLOCKERCTL, *args], self.env, **kwargs)
        self.addCleanup(t.close)
        return t

    def pipe(self, *args):
        p = subprocess.Popen([FLOCKERCTL, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for end in (p.stderr.close, p.stdout.close, p.wait, p.kill):
            self.addCleanup(end)
        return p

    def until_watched(self, n=1):
        """Until so many streams of events were begun: what is told then is not missed."""
        end = time.monotonic() + LIMIT_S
        while self.state.streams < n and time.monotonic() < end:
            time.sleep(0.01)
        self.assertGreaterEqual(self.state.streams, n)

    def change(self, dataset, **changes):
        dataset.update(changes)
        self.state.tell("dataset", self.state.picture(dataset))


class TerminalTest(Case):
    def test_a_table_follows_what_happens(self):
        t = self.terminal("list", "--watch")
        t.has("name=web")
        self.until_watched()
        self.change(self.web, state="unmounting")
        t.has("unmounting")
        self.assertFalse(any("attached" in line for line in t.lines()))
        new = self.state.add_dataset(THERE, {"name": "db"})
        self.change(new)
        t.has("name=db")
        t.has("2 datasets")
        self.state.tell("dataset-dropped", {"dataset_id": new["dataset_id"], "revision": "run-0"})
        t.wait(lambda t: not any("name=db" in line for line in t.lines()))

    def test_it_is_drawn_in_place_and_never_cleared(self):
        t = self.terminal("list", "-w")
        t.has("name=web")
        self.until_watched()
        for state in ("unmounting", "detaching", "released"):
            self.change(self.web, state=state)
            t.has(state)
        self.assertEqual(t.raw.count("\033[2J"), 1)
        self.assertGreaterEqual(t.raw.count("\033[?2026h\033[H"), 4)

    def test_ctrl_c_leaves_the_terminal_as_it_was(self):
        t = self.terminal("list", "--watch")
        t.has("name=web")
        self.assertTrue(t.on_other)
        self.assertFalse(t.cursor)
        self.assertFalse(termios.tcgetattr(t.theirs)[3] & termios.ECHO)
        os.write(t.ours, b"\x03")
        self.assertEqual(t.program.wait(LIMIT_S), -signal.SIGINT)
        t.drain()
        self.assertFalse(t.on_other)
        self.assertTrue(t.cursor)
        self.assertEqual(termios.tcgetattr(t.theirs), t.before)
        self.assertEqual([line for line in t.main if line.strip("^C ")], [])

    def test_it_can_be_stopped_and_goes_on(self):
        t = self.terminal("status", "--watch")
        t.has("127.0.0.2")
        os.write(t.ours, b"\x1a")
        t.wait(lambda t: not t.on_other)
        os.waitid(os.P_PID, t.program.pid, os.WSTOPPED | os.WNOWAIT)
        self.assertEqual(termios.tcgetattr(t.theirs), t.before)
        t.program.send_signal(signal.SIGCONT)
        t.wait(lambda t: t.on_other and any("127.0.0.2" in line for line in t.lines()))

    def test_a_smaller_terminal_shows_less(self):
        for i in range(30):
            self.state.add_dataset(HERE, {"name": f"n{i}"}, state="mounted")
        t = self.terminal("list", "--watch", rows=60, columns=120)
        t.has("name=n29")
        self.assertTrue(any("(127.0.0.1)" in line for line in t.lines()))
        t.resize(10, 50)
        t.has("... 25 more")
        self.assertEqual(len(t.lines()), 10)
        self.assertLessEqual(max(len(line) for line in t.lines()), 50)

    def test_a_lost_connection_is_told_and_healed(self):
        t = self.terminal("list", "--watch")
        t.has("name=web")
        self.until_watched()
        self.state.forget_events()  # of another run: the stream ends, and all has to be listed anew
        self.web["state"] = "lost"
        t.has(" lost ")
        self.assertTrue(t.on_other)
        self.until_watched(2)
        self.change(self.web, state="mounted")
        t.has("attached")

    def test_one_dataset_and_the_nodes(self):
        t = self.terminal("show", "web", "--watch", rows=60)
        t.has("name          web")
        self.until_watched()
        self.state.say(self.web, "mounted", "a step of its history")
        t.has("a step of its history")
        n = self.terminal("node", "list", "--watch")
        n.has("live")
        self.until_watched(2)
        self.state.nodes[0].update(draining=True, drain={"since": stub_control.moment(0), "left": 3, "stuck": []})
        self.state.tell("node", self.state.nodes[0])
        n.has("draining, 3 left")

    def test_control_characters_stay_out(self):
        self.web["metadata"]["x"] = "\x1b]0;title\x07\x9b31m"
        t = self.terminal("list", "--watch", columns=160)
        t.has("name=web,x=?]0;title???31m")


class PipeTest(Case):
    def printed(self, *args):
        return self.pipe(*args).communicate(timeout=LIMIT_S)[0]

    def test_what_deceives_on_a_terminal_is_not_printed_as_it_is(self):
        odd = "a\x9bb\u202egnp.exe\u2066c\u061cd\u200be"
        d = self.state.add_dataset(HERE, {"name": odd}, 10 << 30, state="mounted")
        d["why"] = "be\x7f\x85fore"
        for command in (("list",), ("show", d["dataset_id"])):
            shown = self.printed(*command)
            self.assertFalse({c for c in odd + d["why"] if not c.isprintable()} & set(shown), shown)
        # A control character is a '?' for each of its bytes, any other one '?'; the columns stand all the same.
        self.assertIn("name          a??b?gnp.exe?c?d?e\n", self.printed("show", d["dataset_id"]))
        first, second = self.printed("list").splitlines()[1:]
        self.assertEqual(first.index("attached"), second.index("attached"))
        for command in (("show", d["dataset_id"], "--json"), ("list", "--json")):
            text = self.printed(*command)
            for escape in ("\\u009b", "\\u202e", "\\u2066", "\\u061c", "\\u200b", "\\u007f", "\\u0085"):
                self.assertIn(escape, text)
            self.assertTrue(text.isascii())
        self.assertIn((odd, d["why"]), [(e["name"], e.get("why")) for e in json.loads(self.printed("list", "--json"))])

    def test_a_line_for_each_change(self):
        p = self.pipe("list", "--watch")
        self.assertRegex(p.stdout.readline(), rf"\d  dataset +{self.web['dataset_id'][:8]}  web  mounted  aaaa1111")
        self.until_watched()
        self.change(self.web, node=THERE, state="unmounting", why="it is \x1bleaving")
        self.assertRegex(p.stdout.readline(), r"  web  unmounting  aaaa1111 -> aaaa2222  it is \?leaving$")

    def test_lines_of_json(self):
        p = self.pipe("status", "--watch", "--json")
        self.assertEqual([json.loads(p.stdout.readline())["data"]["uuid"] for _ in range(2)], [HERE, THERE])
        self.until_watched()
        self.state.tell("node", self.state.nodes[1])
        self.assertEqual(json.loads(p.stdout.readline()), {"id": "run-1", "event": "node", "data": self.state.nodes[1]})

    def test_a_reader_that_goes_ends_it(self):
        p = self.pipe("events")
        self.until_watched()
        p.stdout.close()
        self.change(self.web)
        self.assertEqual(p.wait(LIMIT_S), 1)
        self.assertIn("cannot write to standard output", p.stderr.read())


class EventsTest(Case):
    def lines(self, p, n):
        return [json.loads(p.stdout.readline()) for _ in range(n)]

    def test_all_and_in_order(self):
        self.change(self.web, state="creating")
        self.change(self.web, state="attaching")
        p = self.pipe("events", "--json", "--after", "run-1")
        for state in ("attached", "mounted"):
            self.until_watched()
            self.change(self.web, state=state)
        self.assertEqual([(e["id"], e["data"]["state"]) for e in self.lines(p, 3)],
                         [("run-2", "attaching"), ("run-3", "attached"), ("run-4", "mounted")])

    def test_a_broken_connection_loses_and_repeats_nothing(self):
        p = self.pipe("events", "--json", "--after", "run-0")
        self.change(self.web, state="creating")
        self.assertEqual(self.lines(p, 1)[0]["id"], "run-1")
        with self.state.lock:  # all streams end
            self.state.streams = 0
            self.state.lock.notify_all()
        self.change(self.web, state="attaching")
        self.change(self.web, state="attached")
        self.assertEqual([e["id"] for e in self.lines(p, 2)], ["run-2", "run-3"])

    def test_filters_are_the_servers(self):
        p = self.pipe("events", "--type=dataset,lease", "-d", "web", "-n", "aaaa1")
        self.until_watched()
        self.assertEqual([path for _, path, _ in self.state.requests][-1],
                         f"/v2/events?type=dataset%2Clease&dataset={self.web['dataset_id']}&node={HERE}")
        self.state.tell("node", self.state.nodes[0])
        self.change(self.web, state="lost")
        self.assertRegex(p.stdout.readline(), "  dataset .* lost ")

    def test_what_is_not_kept_any_more_is_listed_again(self):
        other = self.state.add_dataset(THERE, {"name": "other"}, state="mounted")
        self.state.forget_events()
        p = self.pipe("events", "--json", "--after", "run-0", "-d", "web")
        self.assertEqual([(e["event"], e.get("data", {}).get("dataset_id")) for e in self.lines(p, 2)],
                         [("list", None), ("dataset", self.web["dataset_id"])])
        self.until_watched()
        self.change(other, state="lost")
        self.change(self.web, state="lost")
        self.assertEqual([e["data"]["state"] for e in self.lines(p, 1)], ["lost"])
        p.kill()
        self.assertIn("not kept any more", p.stderr.read())

    def test_lists_that_are_too_old_at_once_are_not_read_without_a_rest(self):
        self.state.forgetful = True
        p = self.pipe("events", "--json", "--after", "run-0", "--type", "node")
        times = []
        for _ in range(3):
            self.assertEqual([e["event"] for e in self.lines(p, 3)], ["list", "node", "node"])
            times.append(time.monotonic())
        self.assertGreater(times[2] - times[0], 0.5)  # of 0.2 and 0.4
        self.state.forgetful = False
        self.until_watched()
        self.state.tell("node", self.state.nodes[0])
        while self.lines(p, 1)[0]["event"] == "list":
            self.lines(p, 2)
        p.kill()
        self.assertEqual(p.stderr.read().count("is not kept any more; trying again"), 1)

    def test_an_end_that_was_asked_for(self):
        p = self.pipe("events", "--timeout=0.3")
        self.assertEqual(p.wait(LIMIT_S), 0)

    def test_no_control_service_is_an_error_at_once(self):
        self.env["FLOCKER_CONTROL_PORT"] = "1"
        p = self.pipe("events")
        self.assertEqual(p.wait(LIMIT_S), 2)


class DrainTest(Case):
    def test_what_is_left_and_what_is_stuck_is_told(self):
        p = self.pipe("node", "drain", "aaaa1", "--wait=30")
        self.assertEqual(p.stdout.readline(), "  2 left\n")
        node = self.state.nodes[0]
        node["drain"].update(left=1, stuck=[{"dataset_id": self.web["dataset_id"], "name": "web", "why": "it is leased"}])
        self.state.tell("node", node)
        self.assertEqual(p.stdout.readline(), "  1 left\n")
        self.assertEqual(p.stdout.readline(), f"  stuck: {self.web['dataset_id']} (web): it is leased\n")
        node["drain"].update(left=0, stuck=[])
        node["drained"] = True
        self.state.tell("node", node)
        self.assertEqual(p.wait(LIMIT_S), 0)
        self.assertIn("is drained", p.stdout.read())

    def test_a_drain_that_takes_longer_tells_what_holds_it(self):
        p = self.pipe("node", "drain", "aaaa1", "--wait=0.5")
        self.until_watched()
        self.state.nodes[0]["drain"]["stuck"] = [{"dataset_id": self.web["dataset_id"], "name": None, "why": "no room"}]
        self.assertEqual(p.wait(LIMIT_S), 5)
        self.assertIn(f"stuck: {self.web['dataset_id']}: no room", p.stderr.read())

    def test_a_drain_that_is_taken_back_ends_the_wait(self):
        p = self.pipe("node", "drain", "aaaa1", "--wait")
        self.until_watched()
        self.state.nodes[0].update(draining=False, drain=None)
        self.state.tell("node", self.state.nodes[0])
        self.assertEqual(p.wait(LIMIT_S), 7)


if __name__ == "__main__":
    unittest.main()
