# SPDX-License-Identifier: Apache-2.0
"""Leased datasets leave a lost node by themselves: it stops them at the end of their term, and control
grants them elsewhere only after that. What was acknowledged is there; nothing is written in two places."""
import contextlib
import fcntl
import os
import shutil
import signal
import time

import pytest

from cluster import LIMIT_S, Payload, wait_until
from loads import Writer

TERM_S = 2
LEASE = {"flocker:failover": "lease", "flocker:term": str(TERM_S)}


def make(cluster, node, fs="ext4"):
    dataset = cluster.create(node, fs, metadata=LEASE)
    cluster.wait_mounted(dataset, node)
    return dataset


def acknowledged(writer):
    """Lines that an fsync said are written, when the dataset was taken from under the writer."""
    wait_until("the writer is stopped", lambda: writer.error is not None)
    writer.thread.join()
    return writer.lines


def check_lines(path, lines):
    """At least those, in order; the last one may be there without having been acknowledged."""
    found = [int(line) for line in path.read_text().splitlines()]
    assert found[:lines] == list(range(lines)) and len(found) <= lines + 1


def test_terms_are_renewed_and_nothing_happens(cluster):
    here, there = cluster
    dataset = make(cluster, there)
    writer = Writer(there.data(dataset, "log"))
    end = time.monotonic() + 3 * TERM_S
    wait_until("some terms have passed", lambda: time.monotonic() > end)
    shown = cluster.show(dataset)
    assert shown["epoch"] == 1 and shown["failover"]["policy"] == "lease" and shown["failover"]["in_force"]
    writer.end()
    cluster.move(dataset, here)
    cluster.wait_mounted(dataset, here)


def come_back(cluster, node, dataset):
    """A fenced node cleans up its side, whatever became of its daemon."""
    if node.alive():
        node.kill()
    node.start()
    cluster.wait_live(node)
    wait_until("it has cleaned up", lambda: not node.has(dataset))
    assert not [m for m in node.mounts() if dataset in m.point]


# Not xfs: one kernel does not mount the same filesystem twice, and here the old mount lives on.
@pytest.mark.parametrize("fs", ["ext4", "btrfs"])
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_lost_owner_is_stopped_and_another_goes_on(cluster, fault, fs):
    here, there = cluster
    dataset = make(cluster, there, fs)
    writer = Writer(there.data(dataset, "log"))
    os.kill(there.process.pid, fault)
    begun = time.monotonic()
    cluster.move(dataset, here)
    lines = acknowledged(writer)
    cluster.wait_mounted(dataset, here)
    took = time.monotonic() - begun
    print(f"{fs} {fault.name}: mounted elsewhere {took:.2f} s after the fault, the term is {TERM_S} s")
    check_lines(here.data(dataset, "log"), lines)
    shown = cluster.show(dataset)
    assert shown["fenced"]["proof"] == "term" and shown["epoch"] == 2
    assert any("did not renew its term" in step["what"] for step in shown["history"])
    come_back(cluster, there, dataset)
    assert cluster.show(dataset)["epoch"] == 2


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_an_owner_without_control_stops_itself_and_recovers(cluster, fs):
    here, there = cluster
    dataset, manual = make(cluster, there, fs), cluster.make(there)
    payload = Payload(fs)
    payload.write(there.data(dataset))
    writer, untouched = Writer(there.data(dataset, "log")), Writer(there.data(manual, "log"))
    cluster.control.pause()
    lines = acknowledged(writer)
    there.wait_log(f"{dataset}: its term is over")
    cluster.control.resume()
    cluster.wait(dataset, "mounted again", lambda d: d["state"] == "mounted" and d["epoch"] == 2)
    check_lines(there.data(dataset, "log"), lines)
    there.data(dataset, "log").unlink()
    payload.check(there.data(dataset))
    untouched.end()
    assert cluster.show(manual)["epoch"] == 1


def test_a_planned_stop_of_control_stops_nobody(cluster):
    here, there = cluster
    dataset = make(cluster, there)
    writer = Writer(there.data(dataset, "log"))
    cluster.control.stop()
    end = time.monotonic() + 3 * TERM_S
    wait_until("some terms have passed", lambda: time.monotonic() > end)
    cluster.control.start()
    cluster.wait(dataset, "its own term again", lambda d: d["failover"]["term_in_force"] == TERM_S)
    assert writer.error is None and cluster.show(dataset)["epoch"] == 1
    there.kill()
    cluster.move(dataset, here)
    lines = acknowledged(writer)
    cluster.wait_mounted(dataset, here)
    check_lines(here.data(dataset, "log"), lines)
    come_back(cluster, there, dataset)


def test_a_restarted_daemon_goes_on_within_the_term(cluster):
    here, there = cluster
    dataset = make(cluster, there)
    helper = there.helper()
    writer = Writer(there.data(dataset, "log"))
    for _ in range(3):
        there.kill()
        there.start()
        cluster.wait_live(there)
        assert there.helper() == helper
    end = time.monotonic() + 2 * TERM_S
    wait_until("the terms of its past have ended", lambda: time.monotonic() > end)
    writer.end()
    assert cluster.show(dataset)["epoch"] == 1


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_lost_helper_is_replaced(cluster, fault):
    here, there = cluster
    dataset = make(cluster, there)
    writer = Writer(there.data(dataset, "log"))
    first = there.helper()
    os.kill(first, fault)
    there.wait_log("the fence helper is gone")
    wait_until("another guards", lambda: set(there.helpers()) - {first})
    second = cluster.make(there, metadata=LEASE)
    end = time.monotonic() + 2 * TERM_S
    wait_until("the terms of its past have ended", lambda: time.monotonic() > end)
    writer.end()
    assert cluster.show(dataset)["epoch"] == 1 and cluster.show(second)["epoch"] == 1


def endless_mkfs(cluster):
    """Writes to its device until that takes nothing any more, and does not end then. Files that say so, the
    first one with its process id."""
    begun, stopped = cluster.base / "mkfs-begun", cluster.base / "mkfs-stopped"
    cluster.remove_program("mkfs.ext4")
    mkfs = cluster.bin / "mkfs.ext4"
    mkfs.write_text(f"""#!/bin/sh
for device; do :; done
while {shutil.which("dd")} if=/dev/zero of=$device bs=4096 seek=1000 count=1 oflag=direct conv=notrunc 2>/dev/null
do echo $$ >{begun}; done
: >{stopped}
exec {shutil.which("sleep")} 600
""")
    mkfs.chmod(0o755)
    return begun, stopped


@contextlib.contextmanager
def no_helper(node):
    """Its helper is killed, and no other comes into being."""
    with open(node.run_dir / "fence.lock") as lock:
        os.kill(node.process.pid, signal.SIGSTOP)
        os.kill(node.helper(), signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)  # free once that helper is dead
        os.kill(node.process.pid, signal.SIGCONT)
        node.wait_log("there is another flocker-fence")
        yield


def test_a_step_that_outlives_its_term_without_a_helper_is_ended_by_the_next_one(cluster):
    here, there = cluster
    begun, stopped = endless_mkfs(cluster)
    dataset = cluster.create(there, metadata=LEASE)
    wait_until("mkfs writes", lambda: begun.exists() and begun.read_text())
    cluster.control.pause()
    paused = time.monotonic()
    with no_helper(there):
        wait_until("its term is over", lambda: time.monotonic() > paused + TERM_S)
        assert there.alive() and not stopped.exists()
    assert there.process.wait(LIMIT_S) == -signal.SIGKILL
    there.wait_log(f"{dataset}: fenced after")
    wait_until("mkfs can write no more", stopped.exists)
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(begun.read_text()), signal.SIGKILL)
    cluster.control.resume()
    cluster.remove_program("mkfs.ext4")
    cluster.add_program("mkfs.ext4")
    there.start()
    cluster.wait_live(there)


def test_the_helper_is_told_to_restart_the_machine_when_that_is_wished(cluster):
    here, there = cluster
    make(cluster, here)
    there.stop()
    there.settings["self-fence"] = "reboot"
    there.write_config(cluster.images)
    there.start()
    make(cluster, there)
    assert "--reboot" in dict(cluster.processes())[there.helper()].split()
    assert "--reboot" not in dict(cluster.processes())[here.helper()].split()


def test_a_dataset_is_leased_later_and_no_more(cluster):
    here, there = cluster
    dataset = cluster.make(there)
    path = f"/v2/datasets/{dataset}"
    assert cluster.call("PATCH", path, {"failover": {"policy": "lease", "term": TERM_S}})["failover"]["policy"] == "lease"
    cluster.wait(dataset, "leased", lambda d: d["failover"]["term_in_force"] == TERM_S)
    cluster.call("PATCH", path, {"failover": {"policy": "manual"}})
    cluster.wait(dataset, "manual", lambda d: d["failover"]["in_force"] and d["failover"]["term_in_force"] is None)
    cluster.control.pause()
    writer, end = Writer(there.data(dataset, "log")), time.monotonic() + 2 * TERM_S
    wait_until("its old term is over", lambda: time.monotonic() > end)
    cluster.control.resume()
    writer.end()
    cluster.call("PATCH", path, {"failover": {"policy": "lease"}})
    seen = cluster.wait(dataset, "leased as before", lambda d: d["failover"]["term_in_force"] == TERM_S)
    assert seen["epoch"] == 1, "the end of its first lease ended the next one"
    there.kill()
    cluster.move(dataset, here)
    cluster.wait_mounted(dataset, here)
    come_back(cluster, there, dataset)


@pytest.mark.parametrize("body, wrong", [
    ({"policy": "soon"}, "/failover/policy: must be manual or lease"),
    ({"policy": "lease", "term": 1}, "/failover/term: must be a whole number of seconds from 2 to 86400"),
    ({"policy": "lease", "term": "6"}, "/failover/term: must be"), ({"policy": "lease", "to": 1}, "/failover/to: must be"),
    ({"for": 1}, "/failover/for: is not known here"), ([], "/failover: must be an object")])
def test_a_wrong_failover_is_refused(cluster, body, wrong):
    dataset = cluster.create(next(iter(cluster)))
    with pytest.raises(AssertionError, match=f"400.*{wrong}"):
        cluster.call("PATCH", f"/v2/datasets/{dataset}", {"failover": body})


def test_a_term_that_is_no_number_is_refused(cluster):
    here, _ = cluster
    for key, value in (("flocker:term", "soon"), ("flocker:term", "0"), ("flocker:failover", "maybe")):
        with pytest.raises(AssertionError, match=f"400.*{key}"):
            cluster.create(here, metadata={key: value})


def test_a_node_that_had_no_lease_for_long_takes_one(cluster):
    """Its last renewal is older than a term by then."""
    here, there = cluster
    dataset = make(cluster, there)
    cluster.move(dataset, here)
    cluster.wait_mounted(dataset, here)
    end = time.monotonic() + 2 * TERM_S
    wait_until("a term has passed without", lambda: time.monotonic() > end)
    cluster.move(dataset, there)
    assert cluster.wait_mounted(dataset, there)["epoch"] == 3


def test_leases_outlive_a_restart_of_control(cluster):
    here, there = cluster
    dataset = make(cluster, there)
    writer = Writer(there.data(dataset, "log"))
    cluster.control.restart()
    cluster.wait_live()
    end = time.monotonic() + 2 * TERM_S
    wait_until("the terms of its past have ended", lambda: time.monotonic() > end)
    writer.end()
    shown = cluster.show(dataset)
    assert shown["epoch"] == 1 and shown["failover"]["term"] == TERM_S
