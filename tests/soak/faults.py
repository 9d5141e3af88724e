# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a round.

strike() breaks something, hold() waits as long as it stays so whatever the others do, heal() mends it.
A fault of a node that `loses` it is healed only after its leased datasets were taken over, and the time is
counted from strike(). One that `stops` leased datasets by design is counted from its end. The others may
or may not interrupt anything; should they, it is counted from strike() as well.
"""
import os
import signal
import time

import records
from cluster import wait_until


def wait_s(seconds):
    """Time is what the fault consists of."""
    end = time.monotonic() + seconds
    wait_until("its time has passed", lambda: time.monotonic() > end)


class Fault:
    loses = stops = False
    may_lose = False  # whether it does is up to the moment
    of_control = False

    def __init__(self, soak, random, node=None):
        self.soak, self.node = soak, node
        self.share = random.random()  # of whatever is at random in it
        self.counted_from = None

    def __str__(self):
        return self.kind if self.of_control else f"{self.kind} ({self.node.name})"

    def begin(self):
        self.counted_from = records.now_ns()
        self.strike()

    def hold(self):
        pass

    def heal(self):
        pass


class NodeKilled(Fault):
    kind, loses = "node daemon killed", True

    def strike(self):
        self.soak.down.add(self.node)
        self.node.kill()

    def heal(self):
        self.node.start(wait=False)
        self.soak.down.discard(self.node)


class NodeRestarted(NodeKilled):
    kind, loses = "node daemon killed, back at once", False

    def hold(self):
        super().heal()

    def heal(self):
        pass


class NodeStopped(Fault):
    kind, loses = "node daemon stopped", True

    def strike(self):
        self.stopped = self.node.process
        self.stopped.send_signal(signal.SIGSTOP)

    def heal(self):
        self.stopped.send_signal(signal.SIGCONT)  # not of one that was started instead of it


class HelperKilled(Fault):
    kind = "fence helper killed"

    def strike(self):
        before = self.node.helper()
        os.kill(before, signal.SIGKILL)
        wait_until("another helper", lambda: set(self.node.helpers()) - {before})


class LinkCut(Fault):
    kind, loses = "link cut", True

    def strike(self):
        links = self.soak.links
        links.cut(self.node, links.to_control, links.from_control)

    def heal(self):
        self.soak.links.heal(self.node)


class LinkCutToControl(LinkCut):
    kind = "link cut towards control"

    def strike(self):
        self.soak.links.cut(self.node, self.soak.links.to_control)


class LinkCutFromControl(LinkCut):
    kind = "link cut from control"

    def strike(self):
        self.soak.links.cut(self.node, self.soak.links.from_control)


class LinkLossy(LinkCut):
    kind, loses, may_lose = "link loses packets", False, True

    def strike(self):
        self.soak.links.lose(self.node, int(20 + 50 * self.share))

    def hold(self):
        wait_s(2 * self.soak.term_s)

    def heal(self):
        """TCP has grown slow as well: what it does not deliver in time now is lost by it."""
        super().heal()
        wait_s(1.2 * self.soak.term_s)


class LinkSlow(LinkLossy):
    kind = "link slow"

    def strike(self):
        self.soak.links.slow(self.node, int(1 + 8 * self.share))


class ControlKilled(Fault):
    kind, of_control = "control killed, back at once", True

    def strike(self):
        self.soak.down.add(self.soak.control)
        self.soak.control.kill()

    def hold(self):
        self.soak.control.start()
        self.soak.down.discard(self.soak.control)


class ControlAway(ControlKilled):
    kind, stops = "control killed for longer than a term", True

    def hold(self):
        wait_s((1.2 + self.share) * self.soak.term_s)
        self.counted_from = records.now_ns()
        super().hold()


class ControlStopped(Fault):
    kind, of_control, stops = "control stopped for longer than a term", True, True

    def strike(self):
        self.soak.control.pause()

    def hold(self):
        wait_s((1.2 + self.share) * self.soak.term_s)
        self.counted_from = records.now_ns()
        self.soak.control.resume()


class ControlFull(ControlKilled):
    """Its store was started a moment ago, and sets no room aside yet. What is asked for meanwhile is
    refused or delayed; what is leased goes on."""
    kind = "control's disk full"

    def begin(self):
        super().strike()
        super().hold()
        self.soak.cluster.wait_live()
        self.soak.wait_writers()
        self.counted_from = records.now_ns()
        self.strike()

    def strike(self):
        self.soak.disk.fill()

    def hold(self):
        wait_s((0.5 + 1.5 * self.share) * self.soak.term_s)
        self.counted_from = records.now_ns()
        self.soak.disk.empty()


OF_NODES = (NodeKilled, NodeRestarted, NodeStopped, HelperKilled, LinkCut, LinkCutToControl,
            LinkCutFromControl, LinkLossy, LinkSlow)
OF_CONTROL = (ControlKilled, ControlAway, ControlStopped, ControlFull)
