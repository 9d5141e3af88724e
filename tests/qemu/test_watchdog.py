# SPDX-License-Identifier: Apache-2.0
"""Daemon and fence helper of a node both stopped, with a program that writes on: nothing but the
machine's watchdog can end that, and has to before control gives the dataset away."""
import signal
import time

from rig import wait_until

TERM_S = 6
LIMIT_S = 180  # a step takes seconds where every instruction is emulated
LEASE = {"flocker:filesystem": "ext4", "flocker:failover": "lease", "flocker:term": str(TERM_S)}
STOP_BOTH = "kill -STOP $(pids flocker-node) $(pids flocker-fence)"


def show(control, dataset):
    answer = control.get(f"/v2/datasets/{dataset}")
    assert answer.status == 200, answer.text
    return answer.json


def wait_mounted(control, dataset, epoch=1):
    """Under that epoch or a later one, as the node said after the grant."""
    def mounted():
        d = show(control, dataset)
        return d["epoch"] >= epoch and d["node_live"] and d["history"][-1]["state"] == "mounted"
    wait_until("it is mounted", mounted, LIMIT_S)


def make_dataset(control, guest):
    wait_until("the node is there", lambda: any(
        n["uuid"] == guest.node for n in control.get("/v1/state/nodes").json), LIMIT_S)
    dataset = control.create(guest.node, maximum_size=64 << 20, metadata=LEASE)
    wait_mounted(control, dataset)
    return dataset


def start_writer(guest, dataset):
    guest.acks.clear()
    guest.run(f"setsid qemu-writer /flocker/{dataset}/log /dev/ttyS1 </dev/null & true")
    wait_until("some records", lambda: len(guest.acks) > 5, LIMIT_S)


def taken_over(control, dataset, epoch):
    """When control had ended that grant."""
    wait_until("control takes it", lambda: (d := show(control, dataset))["fenced"] ==
               {"epoch": epoch, "proof": "term"}, LIMIT_S)
    return time.monotonic()


def is_watchdog(guest, word):
    return guest.run("cat /flocker/datasets/.node/watchdog") == word


def test_both_stopped_cost_the_machine_before_the_dataset_is_given_away(control, make_guest):
    guest = make_guest("auto")
    dataset = make_dataset(control, guest)
    wait_until("it is armed", lambda: is_watchdog(guest, "armed"), LIMIT_S)

    # The helper stops what it has to by itself, and the machine stays.
    control.process.send_signal(signal.SIGSTOP)
    try:
        wait_until("it is off", lambda: is_watchdog(guest, "idle"), LIMIT_S)
        assert "fenced after" in guest.log()
        assert guest.watchdog_fired(TERM_S + 2) is None
    finally:
        control.process.send_signal(signal.SIGCONT)
    wait_mounted(control, dataset, 2)

    # A helper that is killed is replaced in time.
    guest.run("kill -KILL $(pids flocker-fence)")
    wait_until("another is at work", lambda: is_watchdog(guest, "armed"), LIMIT_S)
    assert guest.watchdog_fired(TERM_S + 2) is None

    epoch = show(control, dataset)["epoch"]
    start_writer(guest, dataset)
    guest.run(STOP_BOTH)
    stopped = time.monotonic()
    reset = guest.watchdog_fired(4 * TERM_S)
    assert reset, "the machine goes on"
    given = taken_over(control, dataset, epoch)
    acks = list(guest.acks)
    print(f"\nreset {reset - stopped:.2f} s after both were stopped, given away after "
          f"{given - stopped:.2f} s; last acknowledged write after {acks[-1][1] - stopped:.2f} s")
    assert stopped + 1 < acks[-1][1] < reset + 0.1 < given

    # What was acknowledged is there.
    assert guest.booted() != guest.boot
    wait_mounted(control, dataset, epoch + 1)
    lines = guest.run(f"cat /flocker/{dataset}/log", LIMIT_S).split()
    assert [int(line) for line in lines][:len(acks)] == list(range(len(acks)))
    assert [number for number, _ in acks] == list(range(len(acks)))


def test_without_a_watchdog_both_stopped_are_beyond_a_lease(control, make_guest):
    guest = make_guest("none")
    dataset = make_dataset(control, guest)
    epoch = show(control, dataset)["epoch"]
    start_writer(guest, dataset)
    guest.run(STOP_BOTH)
    given = taken_over(control, dataset, epoch)
    wait_until("it writes on", lambda: guest.acks[-1][1] > given + 1, LIMIT_S)
