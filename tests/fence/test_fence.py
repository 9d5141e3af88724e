# SPDX-License-Identifier: Apache-2.0
"""What the fence helper promises, with real filesystems, writers, and daemons that misbehave.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/fence -q -s

With -s it prints how long after a deadline the last write was acknowledged, and the dataset fenced.
"""
import os
import pathlib
import re
import signal
import statistics
import subprocess

import pytest
from conftest import BUILD, alive, boottime_ms, run, wait_for

SOON_MS = 1000  # time for a request or two, on a slow machine too
FAR_MS = 600000
ESTALE, EBUSY, ENOENT, ENOSPC = 116, 16, 2, 28
NO_REBOOT = "tests/fence/fence_no_reboot"

measured = {}


@pytest.fixture(scope="module", autouse=True)
def print_measurements():
    yield
    for name, values in sorted(measured.items()):
        print(f"\n{name}: median {statistics.median(values):.0f} ms, worst {max(values):.0f} ms, "
              f"of {len(values)}", end="")


def assert_fenced(dataset, deadline):
    """From now on nothing reaches the image, whatever still runs, nor with unmount and detach."""
    fenced = boottime_ms()
    assert dataset.unwritten_pages() == 0
    image = dataset.checksum()
    for p in dataset.programs:
        p.wait(20)
        assert not p.stdout or p.stdout.read().split() in (["EIO"], ["EROFS"])
    run("sync", "-f", dataset.image)
    assert dataset.checksum() == image
    last = max(dataset.acks(n)[-1] for n in range(dataset.writers))
    assert last < fenced
    measured.setdefault(f"{dataset.fs} last acknowledged write", []).append(max(last - deadline, 0))
    measured.setdefault(f"{dataset.fs} fenced", []).append(fenced - deadline)
    dataset.unmount()
    assert dataset.checksum() == image
    dataset.detach()
    assert dataset.checksum() == image
    dataset.verify()


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_writing_ends_at_the_deadline_and_what_was_acknowledged_is_there(place, fs, direct):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset(fs, direct).format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    dataset.fill()
    daemon.expect_state(dataset, "fired")
    daemon.expect_state(dataset, "fenced")
    assert boottime_ms() >= deadline
    assert_fenced(dataset, deadline)
    assert alive(daemon.pid)  # it had no step in flight
    assert daemon.ask("disarm", dataset.id) == 0


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_no_writer_of_several_is_told_of_a_success_that_is_none(place, fs):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset(fs).format().mount()
    dataset.write(4)
    deadline = dataset.arm(daemon, SOON_MS)
    daemon.expect_state(dataset, "fenced")
    assert_fenced(dataset, deadline)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_what_is_in_memory_of_it_is_not_read_any_more(place, fs):
    """Another node may have written it since. btrfs cannot be stopped so."""
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset(fs).format().mount()
    path = pathlib.Path(dataset.at) / "file"
    path.write_text("old")
    dataset.arm(daemon, SOON_MS)
    with open(path, "rb", buffering=0) as f:
        assert f.read() == b"old"
        daemon.expect_state(dataset, "fenced")
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(f.fileno(), 3, 0)
    with pytest.raises(OSError, match="Input/output error"):
        path.read_text()
    dataset.unmount()
    dataset.detach()


def test_a_frozen_filesystem_is_fenced_and_can_be_unmounted(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.arm(daemon, SOON_MS)
    run("fsfreeze", "--freeze", dataset.at)
    daemon.expect_state(dataset, "fenced")
    dataset.unmount()
    dataset.detach()


def test_a_stopped_daemon_changes_nothing(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    daemon.signal(signal.SIGSTOP)
    place.log.expect("fenced", dataset.id + ":")
    assert_fenced(dataset, deadline)
    daemon.signal(signal.SIGCONT)
    daemon.expect_state(dataset, "fenced")
    assert daemon.ask("begin", dataset.id) == -ESTALE


def test_a_dead_daemon_s_datasets_are_fenced_and_then_the_helper_ends(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset("xfs").format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    daemon.signal(signal.SIGKILL)
    place.log.expect("fenced", dataset.id + ":")
    assert_fenced(dataset, deadline)
    wait_for("the helper ends", lambda: not alive(helper))
    assert not (place.run / "fence.sock").exists()


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped"])
def test_a_daemon_in_the_middle_of_a_step_is_killed(place, stopped):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    child = daemon.ask("child")
    assert daemon.ask("begin", dataset.id) == 0
    if stopped:
        daemon.signal(signal.SIGSTOP)
    assert daemon.process.wait(20) == -signal.SIGKILL
    place.log.expect("fenced", dataset.id + ":")
    assert boottime_ms() < deadline + 5000
    wait_for("its process group dies", lambda: not alive(child))
    assert_fenced(dataset, deadline)


def test_a_step_that_ends_when_its_time_is_over_costs_no_daemon(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    assert daemon.ask("begin", dataset.id) == 0
    daemon.expect_state(dataset, "fired")
    daemon.send("end", dataset.id)
    daemon.expect_state(dataset, "fenced")
    assert_fenced(dataset, deadline)
    assert alive(daemon.pid)


def test_a_step_of_another_dataset_costs_no_daemon(place):
    daemon = place.daemon()
    daemon.ready()
    dataset, other = place.dataset(), place.dataset()
    dataset.arm(daemon, 100)
    other.arm(daemon, FAR_MS)
    assert daemon.ask("begin", other.id) == 0
    daemon.expect_state(dataset, "fenced")
    assert daemon.ask("end", other.id) == 0
    assert daemon.ask("disarm", other.id) == 0


def test_a_later_deadline_keeps_it_going(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    dataset.arm(daemon, SOON_MS)
    first = boottime_ms() + SOON_MS
    assert daemon.ask("arm", dataset.id, FAR_MS, "ext4") == 0
    wait_for("records past the first deadline", lambda: dataset.acks()[-1] > first + 300)
    assert daemon.ask("begin", dataset.id) == 0
    assert daemon.ask("disarm", dataset.id) == -EBUSY
    assert daemon.ask("end", dataset.id) == 0
    dataset.unmount()
    assert daemon.ask("disarm", dataset.id) == 0
    dataset.detach()
    dataset.verify()


def test_an_earlier_deadline_ends_it_then(place):
    """A term may become shorter, and control waits for the shorter one only once that is armed."""
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    assert daemon.ask("arm", dataset.id, SOON_MS, "ext4") == 0
    daemon.expect_state(dataset, "fenced")
    assert daemon.ask("disarm", dataset.id) == 0


def test_what_has_fired_stays_fired(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset()
    dataset.arm(daemon, 200)
    daemon.expect_state(dataset, "fenced")
    for request in (("arm", dataset.id, FAR_MS, "ext4"), ("begin", dataset.id),
                    ("device", dataset.id, 7, 0, 1)):
        assert daemon.ask(*request) == -ESTALE
    assert daemon.ask("disarm", dataset.id) == 0
    assert daemon.ask("device", dataset.id, 7, 0, 1) == -ENOENT
    assert daemon.ask("arm", dataset.id, FAR_MS, "ext4") == 0
    assert daemon.ask("disarm", dataset.id) == 0


def test_another_use_of_the_same_loop_device_is_not_touched(place):
    daemon = place.daemon()
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.diskseq -= 1
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    daemon.expect_state(dataset, "fenced")
    wait_for("records past the deadline", lambda: dataset.acks()[-1] > deadline + 300)
    dataset.unmount()
    dataset.detach()
    dataset.verify()


def test_another_filesystem_at_its_place_is_not_shut_down(place):
    daemon = place.daemon()
    daemon.ready()
    stranger = place.dataset().format().mount()
    dataset = place.dataset().format()
    run("mkdir", dataset.at)
    run("mount", "--bind", stranger.at, dataset.at)
    link = place.dataset().format()
    link.at.symlink_to(stranger.at)
    for d in (dataset, link):
        d.arm(daemon, 200)
        daemon.expect_state(d, "fenced")
    (stranger.at / "file").write_text("written")
    run("umount", dataset.at)
    stranger.unmount()
    stranger.detach()


def test_the_next_daemon_finds_the_helper_and_goes_on(place):
    first = place.daemon()
    helper = first.ready()
    dataset = place.dataset().format().mount()
    fenced = place.dataset()
    fenced.arm(first, 200)
    first.expect_state(fenced, "fenced")
    dataset.write()
    deadline = dataset.arm(first, 2 * SOON_MS)
    first.signal(signal.SIGKILL)
    first.process.wait()
    second = place.daemon()
    second.expect_state(dataset, "armed")
    assert second.ready() == helper
    assert second.ask("arm", dataset.id, FAR_MS, "ext4") == 0
    assert second.ask("begin", fenced.id) == -ESTALE
    assert second.ask("disarm", fenced.id) == 0
    wait_for("records past the deadline", lambda: dataset.acks()[-1] > deadline + 300)
    assert place.helpers() == [helper]
    dataset.unmount()
    assert second.ask("disarm", dataset.id) == 0
    second.signal(signal.SIGKILL)
    wait_for("the helper ends with nothing to guard", lambda: not place.helpers())


def test_one_daemon_at_a_time(place):
    first = place.daemon()
    helper = first.ready()
    second = place.daemon()
    second.heard.expect("gone")
    assert first.ask("disarm", place.dataset().id) == 0
    assert place.helpers() == [helper]


def test_a_killed_helper_is_noticed_at_once_and_replaced(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    start = boottime_ms()
    os.kill(helper, signal.SIGKILL)
    daemon.heard.expect("gone")
    measured.setdefault("death of the helper noticed", []).append(boottime_ms() - start)
    again = place.daemon()
    assert again.ready() != helper
    dataset.arm(again, 200)
    again.expect_state(dataset, "fenced")


def lose_helper_until(daemon, helper, deadline):
    """Nobody guards meanwhile. The next helper of that daemon is ready."""
    os.kill(helper, signal.SIGKILL)
    daemon.heard.expect("gone")
    wait_for("the deadline", lambda: boottime_ms() > deadline + 200)
    daemon.send("start")
    assert daemon.ready() != helper


def test_a_helper_that_is_told_when_the_time_is_over_fences_at_once(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    lose_helper_until(daemon, helper, dataset.arm(daemon, SOON_MS))
    assert dataset.arm_again(daemon, -200) == 0
    armed = boottime_ms()
    assert daemon.ask("begin", dataset.id) == -ESTALE
    daemon.expect_state(dataset, "fenced")
    assert_fenced(dataset, armed)
    assert alive(daemon.pid)
    assert daemon.ask("disarm", dataset.id) == 0


def test_a_step_of_before_that_helper_ends_with_its_daemon(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    child = daemon.ask("child")
    assert daemon.ask("begin", dataset.id) == 0
    lose_helper_until(daemon, helper, deadline)
    assert dataset.arm_again(daemon, -200, "step") == 0
    armed = boottime_ms()
    assert daemon.process.wait(20) == -signal.SIGKILL
    assert boottime_ms() > armed + 100  # it had its grace
    place.log.expect("fenced", dataset.id + ":")
    wait_for("its process group dies", lambda: not alive(child))
    assert_fenced(dataset, armed)


def test_a_step_of_before_that_ends_in_time_costs_no_daemon(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    assert daemon.ask("begin", dataset.id) == 0
    lose_helper_until(daemon, helper, 0)
    assert dataset.arm_again(daemon, SOON_MS, "step") == 0
    assert daemon.ask("disarm", dataset.id) == -EBUSY
    assert daemon.ask("end", dataset.id) == 0
    daemon.expect_state(dataset, "fenced")
    assert alive(daemon.pid)


def test_a_stopped_helper_can_be_replaced(place):
    daemon = place.daemon()
    helper = daemon.ready()
    os.kill(helper, signal.SIGSTOP)
    daemon.send("kill")
    daemon.heard.expect("gone")
    assert place.daemon().ready() != helper


def test_a_helper_ignores_what_ends_its_daemon(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset()
    dataset.arm(daemon, FAR_MS)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(helper, number)
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.process.wait()
    assert alive(helper)
    assert os.getsid(helper) == helper
    second = place.daemon()
    second.expect_state(dataset, "armed")
    assert second.ready() == helper
    assert second.ask("disarm", dataset.id) == 0


def test_a_helper_that_was_stopped_past_the_deadline_hears_the_later_one_first(place):
    daemon = place.daemon()
    helper = daemon.ready()
    dataset = place.dataset()
    deadline = dataset.arm(daemon, 300)
    os.kill(helper, signal.SIGSTOP)
    daemon.send("arm", dataset.id, FAR_MS, "ext4")
    wait_for("the deadline", lambda: boottime_ms() > deadline + 20)
    os.kill(helper, signal.SIGCONT)
    assert daemon.ask("begin", dataset.id) == 0
    assert daemon.ask("end", dataset.id) == 0
    assert daemon.ask("disarm", dataset.id) == 0


def test_as_many_as_there_may_be_fire_at_once(place):
    daemon = place.daemon()
    daemon.ready()
    assert daemon.ask("arm-many", 4096, FAR_MS) == 0
    assert daemon.ask("arm-many", 4097, FAR_MS) == -ENOSPC
    assert daemon.ask("arm-many", 4096, FAR_MS) == 0  # once more
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()
    second = place.daemon()
    second.ready()
    states = [line for line in second.heard.all if line.startswith("state")]
    assert len(states) == len(set(states)) == 4096
    second.signal(signal.SIGKILL)
    os.kill(place.helpers()[0], signal.SIGKILL)
    wait_for("the helper is gone", lambda: not place.helpers())
    third = place.daemon()
    third.ready()
    assert third.ask("arm-many", 4096, 1000) == 0
    wait_for("all are fenced", lambda: sum(" fenced " in line for line in third.heard.all) == 4096)


# ---- what hangs ----

class Hangfs:
    """Storage that does not answer, when told to."""

    def __init__(self, place):
        self.store, self.at = place.dir / "store", place.dir / "slow"
        self.store.mkdir()
        self.at.mkdir()
        self.process = subprocess.Popen([BUILD / "tests/system/tools/hangfs", self.store, self.at],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1)
        assert self.process.stdout.readline() == "ready\n"
        place.more.append(self.end)

    def say(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def end(self):
        """Every wait ends with an error."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
        subprocess.run(["umount", "-l", self.at], capture_output=True)


def test_a_dataset_whose_storage_hangs_holds_up_no_other(place):
    hangfs = Hangfs(place)
    daemon = place.daemon()
    daemon.ready()
    slow = place.dataset(direct=False, image_dir=hangfs.at).format().mount()
    quick = place.dataset().format().mount()
    slow.write()
    hangfs.say("hang", "all", "*image*")
    before = boottime_ms()
    wait_for("somebody waits for the storage", lambda: int(hangfs.say("waiting").split()[-1]) > 0)
    slow.arm(daemon, SOON_MS)
    quick.write()
    deadline = quick.arm(daemon, SOON_MS)
    daemon.expect_state(quick, "fenced")
    assert boottime_ms() < deadline + 5000 and before < deadline
    assert_fenced(quick, deadline)
    place.log.expect(slow.id + ":", "not", "fenced", "stop")
    assert daemon.ask("disarm", slow.id) == -EBUSY
    hangfs.say("go")
    daemon.expect_state(slow, "fenced")
    for p in slow.programs:
        p.wait(20)
    slow.unmount()
    slow.detach()
    slow.verify()


@pytest.mark.parametrize("option", [(), ("reboot",)], ids=["go on", "reboot"])
def test_a_daemon_that_cannot_be_killed(place, option):
    hangfs = Hangfs(place)
    (hangfs.store / "file").write_text("x")
    daemon = place.daemon(400, *option, helper=NO_REBOOT)
    daemon.ready()
    dataset = place.dataset().format().mount()
    dataset.write()
    deadline = dataset.arm(daemon, SOON_MS)
    hangfs.say("hang", "all", "*file*")
    daemon.send("hang", hangfs.at / "file")
    wait_for("it waits", lambda: int(hangfs.say("waiting").split()[-1]) > 0)
    assert daemon.ask("begin", dataset.id) == 0
    place.log.expect("not", "fenced", "daemon", dataset.id + ":")
    if option:
        place.log.expect("machine", "gone")
    assert not any(re.search("fenced after", line) for line in place.log.all)
    second = place.daemon()  # it is not the one that has the step
    second.expect_state(dataset, "fired")
    second.ready()
    hangfs.say("go")
    second.expect_state(dataset, "fenced")
    assert_fenced(dataset, deadline)


# ---- the program ----

def test_it_explains_itself():
    helper = BUILD / "fence/flocker-fence"
    out = subprocess.run([helper, "--help"], capture_output=True, text=True, check=True).stdout
    assert "usage: flocker-fence" in out
    version = subprocess.run([helper, "--version"], capture_output=True, text=True,
                             check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    for wrong in ([], ["--fd", "3"], ["--fd", "x", "--run-directory", "/", "--mount-root", "/"],
                  ["--fd", "1", "--run-directory", "/", "--mount-root", "/"], ["--nonsense"]):
        assert subprocess.run([helper, *wrong], capture_output=True).returncode == 1


def test_a_helper_that_cannot_begin_says_so(place):
    place.root.rmdir()
    daemon = place.daemon()
    daemon.heard.expect("gone")
    place.log.expect("mount", "root:")
    place.root.mkdir()


def test_its_memory_is_small_and_locked(place):
    helper = place.daemon().ready()
    status = pathlib.Path(f"/proc/{helper}/status").read_text()
    sizes = dict(re.findall(r"^(VmLck|VmRSS|VmSwap):\s+(\d+) kB", status, re.M))
    assert int(sizes["VmSwap"]) == 0
    if int(sizes["VmLck"]):  # not where a sanitizer forbids it
        print(f"\nresident: {sizes['VmRSS']} kB", end="")
        assert int(sizes["VmRSS"]) < 8192
