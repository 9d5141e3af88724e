# SPDX-License-Identifier: Apache-2.0
"""TAB in bash and zsh, as a person presses it: the shells run on a terminal, flockerctl asks a control
service that only talks (stub_control.py)."""
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

FLOCKERCTL, FLOCKER_CA, BASH_FILE, ZSH_FILE = (os.path.abspath(sys.argv.pop(1)) for _ in range(4))

import stub_control

LIMIT_S = 30
HERE = "aaaa1111-0000-4000-8000-000000000001"
THERE = "aaaa2222-0000-4000-8000-000000000002"
BARE = "dddd0000-0000-4000-8000-000000000004"


def setUpModule():
    global certs
    certs = tempfile.TemporaryDirectory()
    stub_control.make_certificates(FLOCKER_CA, certs.name)


def tearDownModule():
    certs.cleanup()


class Case(unittest.TestCase):
    def setUp(self):
        path = certs.name + "/control-127.0.0.1"
        self.server = stub_control.start(certs.name, path + ".crt", path + ".key")
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        state = self.server.state
        self.addCleanup(lambda: self.assertEqual(state.deviations, []))
        state.add_node("127.0.0.1", node=HERE)
        state.add_node("127.0.0.2", node=THERE)
        state.add_dataset(HERE, {"name": "webserver"}, state="mounted")
        state.add_dataset(HERE, {"name": "$(touch pwned)"}, state="mounted", dataset_id=BARE)
        state.add_dataset(HERE, {"name": "webgone"})["deleted"] = True
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        os.symlink(FLOCKERCTL, self.dir.name + "/flockerctl")
        self.env = {"PATH": f"{self.dir.name}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "TERM": "dumb",
                    "HOME": self.dir.name, "FLOCKER_CONTROL_SERVICE": "127.0.0.1",
                    "FLOCKER_CONTROL_PORT": str(self.server.server_address[1]),
                    "FLOCKER_CERTS_PATH": certs.name, "PROMPT_EOL_MARK": ""}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def offered(self, *words, env=None):
        """What flockerctl itself says: the kind, and the candidates."""
        run = subprocess.run([FLOCKERCTL, "complete", *words], env={**self.env, **(env or {})},
                             capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(run.returncode, 0, run.stderr)
        kind, *lines = run.stdout.splitlines()
        self.assertTrue(all("\t" in line for line in lines), lines)
        return kind, [line.split("\t")[0] for line in lines]


class WordsTest(Case):
    def test_commands_of_one_word_and_of_two(self):
        kind, words = self.offered("")
        self.assertEqual(kind, "words")
        self.assertLessEqual({"list", "ls", "create", "lease", "node", "version"}, set(words))
        self.assertEqual(len(words), len(set(words)))
        self.assertNotIn("complete", words)
        self.assertEqual(self.offered("lease", "")[1], ["list", "ls", "acquire", "release"])
        self.assertEqual(self.offered("--json", "node", "f")[1], ["fence", "forget"])
        self.assertEqual(self.offered("frob", "")[1], self.offered("")[1])

    def test_options_are_those_of_the_command(self):
        self.assertEqual(self.offered("create", "--f")[1], ["--filesystem"])
        self.assertEqual(self.offered("list", "--f")[1], [])
        self.assertEqual(self.offered("--cluster")[1], ["--cluster-yml", "--cluster-crt"])

    def test_values(self):
        self.assertEqual(self.offered("create", "--filesystem", "")[1], ["ext4", "xfs", "btrfs"])
        self.assertEqual(self.offered("failover", "db", "--policy=l")[1], ["--policy=lease"])
        self.assertEqual(self.offered("create", "-s", "")[1], [])
        self.assertEqual(self.offered("--certs-path", "")[0], "directories")
        self.assertEqual(self.offered("list", "--cluster-yml=x")[0], "files")
        self.assertEqual(self.offered("show", "webserver", ""), ("words", []))

    def test_nodes_by_address_and_by_the_beginning_of_an_id(self):
        for words in (["create", "-n"], ["move", "-d", "x", "-t"], ["node", "fence"],
                      ["lease", "acquire", "web", "--node"]):
            self.assertEqual(self.offered(*words, "")[1], ["127.0.0.1", "127.0.0.2"])
            self.assertEqual(self.offered(*words, "aaaa2")[1], [THERE])

    def test_datasets_by_name_and_by_the_beginning_of_an_id(self):
        """Never by a name that would do something when the shell runs the line."""
        for words in (["show"], ["move", "-d"], ["destroy", "--dataset"], ["lease", "release"]):
            self.assertEqual(self.offered(*words, "")[1], ["webserver", BARE])
            self.assertEqual(self.offered(*words, "web")[1], ["webserver"])
            self.assertEqual(self.offered(*words, "$")[1], [])

    def test_the_line_says_where_to_ask(self):
        """Options before the cursor count as they will when the line is run."""
        lost = {"FLOCKER_CONTROL_PORT": "1", "FLOCKER_CERTS_PATH": "/nowhere"}
        self.assertEqual(self.offered("show", "", env=lost)[1], [])
        port = self.env["FLOCKER_CONTROL_PORT"]
        self.assertEqual(self.offered("--control-port", port, "show", "--certs-path=" + certs.name, "w",
                                      env=lost)[1], ["webserver"])

    def test_a_server_that_hangs_is_given_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            start = time.monotonic()
            run = subprocess.run([FLOCKERCTL, "complete", "show", ""], capture_output=True,
                                 timeout=LIMIT_S, env=dict(
                                     self.env, FLOCKER_CONTROL_PORT=str(silent.getsockname()[1])))
        self.assertEqual(run.returncode, 2)
        self.assertLess(time.monotonic() - start, 15)


class Shell:
    """An interactive shell on a terminal of its own. Control-G prints the line between marks."""

    def __init__(self, command, env, setup):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        self.seen = ""
        self.send(setup + "\necho rea''dy\n")
        self.wait(r"\nready\r?\n")

    def send(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        end = time.monotonic() + LIMIT_S
        while not (match := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        self.seen = self.seen[match.end():]
        return match

    def complete(self, text):
        """The line after TAB, without the blanks at its end."""
        self.send(text + "\t\x07")
        line = self.wait(r"<<<(.*?)>>>")[1].rstrip()
        self.send("\x15")
        return line

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class ShellCase:
    """What each shell has to get right about words, whatever it does to them before it asks."""

    def test_tab(self):
        shell = self.start()
        self.addCleanup(shell.close)
        for typed, line in (
                ("flockerctl dest", "flockerctl destroy"),
                ("flockerctl lease rel", "flockerctl lease release"),
                ("flockerctl show web", "flockerctl show webserver"),
                ("flockerctl show dddd", "flockerctl show " + BARE),
                ("flockerctl move -d webserver -t aaaa2", "flockerctl move -d webserver -t " + THERE),
                ("flockerctl create --filesystem=x", "flockerctl create --filesystem=xfs"),
                ("flockerctl create --node=aaaa1", "flockerctl create --node=" + HERE),
                ("flockerctl list --dele", "flockerctl list --deleted"),
                ("flockerctl --cluster-yml " + certs.name + "/cluster.c",
                 f"flockerctl --cluster-yml {certs.name}/cluster.crt"),
                ("flockerctl show nothing-such", "flockerctl show nothing-such")):
            with self.subTest(typed):
                self.assertEqual(shell.complete(typed), line)
        self.assertFalse(os.path.exists("pwned"))


    def test_tab_behind_a_home_directory(self):
        """Which the shell writes out only when it runs the line."""
        del self.env["FLOCKER_CERTS_PATH"]
        os.symlink(certs.name, self.dir.name + "/certs")
        shell = self.start()
        self.addCleanup(shell.close)
        self.assertEqual(shell.complete("flockerctl --certs-path ~/certs show web"),
                         "flockerctl --certs-path ~/certs show webserver")


@unittest.skipUnless(shutil.which("bash"), "there is no bash")
class BashTest(ShellCase, Case):
    def start(self):
        return Shell(["bash", "--norc", "--noprofile", "-i"], self.env,
                     f"source {BASH_FILE}; bind 'set enable-bracketed-paste off'; "
                     "bind -x '\"\\C-g\": printf \"<<<%s>>>\" \"$READLINE_LINE\"'")

    def replies(self, *words):
        """COMPREPLY for a line that bash has taken apart already."""
        script = ('source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _flockerctl flockerctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return subprocess.run(["bash", "--norc", "-c", script, "bash", BASH_FILE, "flockerctl", *words],
                              env=self.env, check=True, capture_output=True, text=True,
                              timeout=LIMIT_S).stdout.split()

    def test_words_that_bash_takes_apart(self):
        self.assertEqual(self.replies("create", "--node", "=", "127"), ["127.0.0.1", "127.0.0.2"])
        self.assertEqual(self.replies("create", "--node", "="), ["127.0.0.1", "127.0.0.2"])
        self.assertEqual(self.replies("create", "-m", "a", "=", "b", "--files"), ["--filesystem"])
        self.assertEqual(self.replies("node", ""), ["list", "ls", "show", "drain", "undrain", "fence", "forget", "replace"])


@unittest.skipUnless(shutil.which("zsh"), "there is no zsh")
class ZshTest(ShellCase, Case):
    def start(self):
        functions = self.dir.name + "/functions"
        os.mkdir(functions)
        os.symlink(ZSH_FILE, functions + "/_flockerctl")
        return Shell(["zsh", "-f", "-i"], self.env,
                     f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D; PS1='$ '; "
                     "setopt no_beep; show() { print -rn -- \"<<<$BUFFER>>>\" }; zle -N show; "
                     "bindkey -e; bindkey '^G' show")


if __name__ == "__main__":
    unittest.main()
