# SPDX-License-Identifier: Apache-2.0
"""A node is lost, its dataset is fenced and taken over, and the node comes back: with a daemon or a fence
helper that dies, or a call that fails, at a point.

Whatever it was, the dataset ends mounted on one node, with all that was acknowledged, formatted once;
and of the lost node's side nothing is left: mount, device, directory.
"""
import os
import signal

import pytest

from cluster import Payload, wait_until
from loads import Writer
from matrix import Matrix
from test_lease import LEASE, check_lines

KILLS = OTHERS = 1  # of each test, without FLOCKER_FULL: most take the time of a term


class Fences(Matrix):
    def __init__(self, *args):
        super().__init__(*args)
        self.writer = None
        self.logs = 0

    # ---- the owner of a leased dataset is lost ----

    def killed(self):
        lost = self.here
        self.write()
        self.lost = lost
        if self.armed is self.helpers[self.there]:  # it is started anew
            for pid in self.there.helpers():
                os.kill(pid, signal.SIGKILL)
        lost.kill()
        self.take_over()
        self.start_again(lost)
        self.has_gone_over(lost)

    def stopped(self):
        lost = self.here
        self.write()
        self.lost = lost
        os.kill(lost.process.pid, signal.SIGSTOP)
        self.take_over()
        os.kill(lost.process.pid, signal.SIGCONT)
        self.lost = None
        self.has_gone_over(lost)

    def silent(self):
        """Only control is lost: the owner stops itself, and has it again under another epoch."""
        self.write()
        epoch = self.cluster.show(self.dataset)["epoch"]
        self.control.pause()
        try:
            self.until("it stops itself", lambda: self.writer.error)
        finally:
            self.control.resume()
        self.until("it is back", lambda: self.is_mounted(self.here) and
                   self.cluster.show(self.dataset)["epoch"] > epoch)

    # ---- an operator's word ----

    def reboot(self):
        """The machine is off."""
        lost = self.lost = self.here
        lost.reboot()
        self.say_fenced()
        self.until("it is taken over", lambda: self.is_mounted(self.here))
        self.start_again(lost)
        self.has_gone_over(lost)

    def mistake(self):
        """Only its daemon is down: who comes back cuts what is left, and nobody has it before."""
        lost = self.lost = self.here
        lost.kill()
        self.say_fenced()
        self.start_again(lost)
        self.has_gone_over(lost)

    # ---- parts of these ----

    def write(self):
        self.logs += 1
        self.writer = Writer(self.here.data(self.dataset, f"log-{self.logs}"))
        self.until("something is written", lambda: self.writer.lines)

    def move_there(self):
        self.insist("POST", f"/v1/configuration/datasets/{self.dataset}", {"primary": self.there.uuid})
        self.here, self.there = self.there, self.here

    def take_over(self):
        """A helper that is killed leaves its dataset to the next daemon: that has it again if it is back
        before control ended its grant, and then it is in use; or it cuts what keeps everybody else out."""
        self.move_there()
        self.until("it is taken over", lambda: self.is_mounted(self.here) or
                   (self.armed is self.helpers[self.there] and self.armed.hit))

    def say_fenced(self):
        self.move_there()
        self.until("control notices", lambda: not any(
            n["live"] for n in self.cluster.call("GET", "/v2/nodes")["nodes"] if n["uuid"] == self.lost.uuid))
        self.insist("POST", f"/v2/nodes/{self.lost.uuid}/fence", {"accept_risk": True})

    def start_again(self, node):
        starts = node.log.count(": ready")
        node.launch()
        self.lost = None
        self.until("it has started", lambda: node.log.count(": ready") > starts)

    def has_gone_over(self, lost):
        if self.writer and self.armed is self.helpers[lost] and self.armed.hit:
            self.writer.ended.set()
        self.until("it is taken over", lambda: self.is_mounted(self.here) and self.is_kept())
        self.until("the lost node has cleaned up", lambda: not lost.has(self.dataset) and
                   self.dataset not in os.listdir(lost.path(lost.root)) and
                   len(self.cluster.attached()) == 1)
        self.until("the lost node is back", lambda: any(
            n["live"] for n in self.cluster.call("GET", "/v2/nodes")["nodes"] if n["uuid"] == lost.uuid))

    def is_kept(self):
        """No writer hangs."""
        return not self.writer or not self.writer.thread.is_alive()

    def prepare(self, what):
        self.metadata = LEASE if what in ("killed", "stopped", "silent") else {}
        if self.dataset is None:
            self.create()
            self.payload = Payload(self.random.random(), files=2, size=20_000)
            self.payload.write(self.here.data(self.dataset))
        if what == "reboot" and self.here is self.a:  # which shares its namespace with the test
            self.move()

    def check(self, what):
        if self.writer:
            self.writer.thread.join()
            log = self.here.data(self.dataset, f"log-{self.logs}")
            check_lines(log, self.writer.lines)
            log.unlink()
            self.writer = None
        super().check(what)
        wait_until("a helper a node at most", lambda: len(self.cluster.processes()) <= 6)


@pytest.mark.parametrize("what, victim", [
    ("killed", "control"), ("killed", "there"), ("killed", "there's helper"),
    ("killed", "here"), ("killed", "here's helper"), ("stopped", "here"), ("stopped", "here's helper"),
    ("silent", "here"), ("silent", "here's helper"),
    ("reboot", "control"), ("reboot", "there"), ("reboot", "here"),
    ("mistake", "control"), ("mistake", "there"), ("mistake", "here")])
def test_each_point_of_a_fence_can_be_the_last_or_fail(disturbed, what, victim):
    Fences(*disturbed).take_all(what, victim, KILLS, OTHERS)
