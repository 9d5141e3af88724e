# SPDX-License-Identifier: Apache-2.0
"""What the helper does with the machine's watchdog: one that only keeps what was done to it, so that
these tests can say when the machine would have been reset, and it is not."""
import os
import signal

import pytest
from conftest import alive, boottime_ms, wait_for
from test_fence import FAR_MS, Hangfs

HELPER = "tests/fence/fence_no_reboot"
SLACK_MS = 500  # of fence/watchdog.h
SLOW = 1.02  # a device may count so much slower than it says


class Watchdog:
    def __init__(self, place, says="1 60"):
        self.path = place.dir / "watchdog"
        self.log = place.dir / "watchdog.log"
        self.path.write_text(says)

    def acts(self):
        """(what, timeout in ms, when in ms)"""
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        return [(what, int(n) * 1000, int(at) / 1e6) for what, n, at in map(str.split, lines)]

    def kicks(self):
        return [act for act in self.acts() if act[0] == "kick"]

    def end_ms(self, factor=1):
        """When it resets the machine; None: never, since it is off."""
        what, timeout, at = self.acts()[-1]
        return None if what == "off" else at + timeout * factor

    def is_off(self):
        return self.acts() and self.acts()[-1][0] == "off"

    def check_alive(self):
        """The machine was never reset."""
        acts = self.acts()
        for (what, timeout, at), (_, _, then) in zip(acts, acts[1:]):
            assert what != "kick" or then < at + timeout


@pytest.fixture
def watchdog(place, request):
    return Watchdog(place, *getattr(request, "param", ()))


def start(place, watchdog, policy="cut", limit=0):
    daemon = place.daemon(limit, policy, watchdog.path, helper=HELPER)
    return daemon, daemon.ready()


def told(daemon, *words):
    """The last that the daemon heard of the watchdog, once it says so."""
    def last():
        lines = [line.split() for line in daemon.heard.all if line.startswith("watchdog")]
        return lines and lines[-1][1:1 + len(words)] == list(words) and lines[-1]
    return wait_for(f"watchdog {words}", last)


def reached(ms):
    wait_for("it is that late", lambda: boottime_ms() > ms)


def test_it_is_on_while_something_is_armed(place, watchdog):
    daemon, helper = start(place, watchdog)
    told(daemon, "idle")
    assert not watchdog.acts()
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    told(daemon, "armed")
    place.log.expect("guards", "60")
    assert daemon.ask("disarm", dataset.id) == 0
    told(daemon, "idle")
    assert watchdog.is_off()
    assert alive(helper)


def test_when_both_are_stopped_the_machine_ends_before_another_node_may_write(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    deadline = dataset.arm(daemon, 3000)
    told(daemon, "armed")
    daemon.signal(signal.SIGSTOP)
    os.kill(helper, signal.SIGSTOP)
    kicks = len(watchdog.kicks())
    reached(deadline + SLACK_MS + 200)
    assert len(watchdog.kicks()) == kicks
    assert boottime_ms() > watchdog.end_ms(SLOW) <= deadline + SLACK_MS
    os.kill(helper, signal.SIGCONT)


def test_the_last_kick_is_as_late_as_it_may_be(place, watchdog):
    """Whoever is stopped just before the deadline has the machine to the end, and no longer."""
    daemon, helper = start(place, watchdog)
    deadline = place.dataset().arm(daemon, 3000)
    reached(deadline - 400)
    os.kill(helper, signal.SIGSTOP)
    assert deadline < watchdog.end_ms() and watchdog.end_ms(SLOW) <= deadline + SLACK_MS
    os.kill(helper, signal.SIGCONT)


def test_a_renewed_dataset_keeps_the_machine(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    end = boottime_ms() + 4000
    while boottime_ms() < end:
        deadline = dataset.arm(daemon, 2000, device=False)
        reached(boottime_ms() + 330)
        assert watchdog.end_ms(SLOW) <= deadline + SLACK_MS
    watchdog.check_alive()
    assert daemon.ask("disarm", dataset.id) == 0


def test_a_dataset_that_is_stopped_in_time_costs_no_machine(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset().format().mount()
    dataset.write()
    dataset.arm(daemon, 1500)
    daemon.expect_state(dataset, "fenced")
    wait_for("it is off", watchdog.is_off)
    watchdog.check_alive()
    dataset.unmount()


def test_an_earlier_deadline_is_heeded_before_it_is_acknowledged_for_long(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    told(daemon, "armed")
    deadline = dataset.arm(daemon, 3000)
    os.kill(helper, signal.SIGSTOP)
    assert watchdog.end_ms(SLOW) <= deadline + SLACK_MS
    os.kill(helper, signal.SIGCONT)


@pytest.mark.parametrize("policy", ["cut", "reboot"])
def test_storage_that_hangs_costs_the_machine_only_where_that_is_wanted(place, watchdog, policy):
    hangfs = Hangfs(place)
    daemon, helper = start(place, watchdog, policy, limit=60000)
    slow = place.dataset(direct=False, image_dir=hangfs.at).format().mount()
    slow.write()
    hangfs.say("hang", "all", "*image*")
    wait_for("somebody waits for the storage", lambda: int(hangfs.say("waiting").split()[-1]) > 0)
    deadline = slow.arm(daemon, 1500)
    reached(deadline + SLACK_MS + 100)
    watchdog.check_alive()
    if policy == "cut":
        assert watchdog.is_off()
    else:
        assert deadline < watchdog.end_ms(SLOW) <= deadline + SLACK_MS
    hangfs.say("go")
    daemon.expect_state(slow, "fenced")
    for p in slow.programs:
        p.wait(20)
    slow.unmount()


def test_the_next_helper_takes_it_over(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    dataset.arm(daemon, 3000)
    told(daemon, "armed")
    os.kill(helper, signal.SIGKILL)
    daemon.heard.expect("gone")
    assert not watchdog.is_off()
    second, _ = start(place, watchdog)
    dataset.arm(second, 3000)
    told(second, "armed")
    watchdog.check_alive()
    assert second.ask("disarm", dataset.id) == 0
    wait_for("it is off", watchdog.is_off)


@pytest.mark.parametrize("watchdog", [("1 60 300",)], indirect=True)
def test_a_helper_without_a_daemon_switches_it_off_at_its_end(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    dataset.arm(daemon, 1500)
    daemon.signal(signal.SIGKILL)
    wait_for("the helper ends", lambda: not alive(helper))
    assert watchdog.is_off()
    watchdog.check_alive()


@pytest.mark.parametrize("watchdog", [("20 60",)], indirect=True)
def test_a_device_that_takes_no_timeout_that_short_says_by_how_much_it_is_late(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    deadline = dataset.arm(daemon, 6000)
    late_ns = int(told(daemon, "late")[3])
    assert watchdog.end_ms(SLOW) - deadline - SLACK_MS == pytest.approx(late_ns / 1e6, abs=20)
    place.log.expect("below", "20", "reset")
    assert daemon.ask("disarm", dataset.id) == 0


@pytest.mark.parametrize("watchdog, words, errno", [
    (("busy",), ("process", "1", "RuntimeWatchdogSec="), "-16"), (("for ever",), ("off",), "-1")],
    ids=["busy", "for ever"], indirect=["watchdog"])
def test_one_that_cannot_be_had_is_told_and_the_lease_goes_on(place, watchdog, words, errno):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    place.log.expect(str(watchdog.path), *words)
    told(daemon, "failed", errno)
    assert not watchdog.acts()
    watchdog.path.write_text("1 60")  # now it can be had
    told(daemon, "armed")
    assert daemon.ask("disarm", dataset.id) == 0


def test_a_path_that_is_no_watchdog_is_not_opened(place):
    """With the real ends of the machine."""
    for path, error in ((place.dir / "no", "-2"), ("/dev/null", "-1"), (place.dir, "-25")):
        daemon = place.daemon(0, "cut", path)
        helper = daemon.ready()
        dataset = place.dataset()
        dataset.arm(daemon, FAR_MS)
        told(daemon, "failed", error)
        assert daemon.ask("disarm", dataset.id) == 0
        daemon.end()
        wait_for("the helper ends", lambda: not alive(helper))


@pytest.mark.parametrize("watchdog", [("1 60 1200",)], indirect=True)
def test_a_slow_watchdog_holds_up_nothing(place, watchdog):
    daemon, helper = start(place, watchdog)
    dataset = place.dataset()
    begun = boottime_ms()
    deadline = dataset.arm(daemon, 1000)
    assert boottime_ms() - begun < 1000
    daemon.expect_state(dataset, "fenced")
    assert boottime_ms() < deadline + 1000
    wait_for("it is off", watchdog.is_off)
