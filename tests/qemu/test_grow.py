# SPDX-License-Identifier: Apache-2.0
"""ext4 grows while it is written to, on Debian's kernel: what resizes it needs a capability
(CAP_SYS_RESOURCE) that not each machine for tests gives, and this one has. xfs and btrfs, and whole
clusters, are in tests/mount and tests/system."""
import random
import time

from rig import wait_until

MIB = 1 << 20
LIMIT_S = 180  # a step takes seconds where every instruction is emulated
SIZES = [64 * MIB, 160 * MIB, 256 * MIB, 384 * MIB]


def show(control, dataset):
    answer = control.get(f"/v2/datasets/{dataset}")
    assert answer.status == 200, answer.text
    return answer.json


def make_dataset(control, guest):
    wait_until("the node is there", lambda: any(
        n["uuid"] == guest.node for n in control.get("/v1/state/nodes").json), LIMIT_S)
    dataset = control.create(guest.node, maximum_size=SIZES[0], metadata={"flocker:filesystem": "ext4"})
    wait_until("it is mounted", lambda: show(control, dataset)["state"] == "mounted", LIMIT_S)
    return dataset


def grow(control, dataset, size):
    answer = control.call("PATCH", f"/v2/datasets/{dataset}", {"size": size})
    assert answer.status == 200, answer.text


def wait_grown(control, guest, dataset, size):
    def grown():
        d = show(control, dataset)
        return d["volume_size"] == size and d["state"] == "mounted" and d["why"] == "as wished" and d["node_live"]
    wait_until(f"it has {size} bytes", grown, LIMIT_S)
    blocks = guest.run(f"stat -f -c '%b %s' /flocker/{dataset}").split()
    assert size * 0.85 < int(blocks[0]) * int(blocks[1]) <= size


def wait_records(guest, more=5):
    count = len(guest.acks)
    wait_until("it writes", lambda: len(guest.acks) >= count + more, LIMIT_S)


def test_ext4_grows_under_a_writer_whoever_is_killed_meanwhile(control, make_guest):
    guest = make_guest("none")
    dataset = make_dataset(control, guest)
    guest.run(f"setsid qemu-writer /flocker/{dataset}/log /dev/ttyS1 </dev/null & true")
    wait_records(guest)

    grow(control, dataset, SIZES[1])
    wait_grown(control, guest, dataset, SIZES[1])
    wait_records(guest)

    # Between the halves, or near it.
    grow(control, dataset, SIZES[2])
    time.sleep(random.uniform(0, 0.5))  # whatever moment it is
    guest.run("kill -KILL $(pids flocker-node)")
    wait_grown(control, guest, dataset, SIZES[2])
    wait_records(guest)

    # Full to the last block.
    guest.run(f"! dd if=/dev/zero of=/flocker/{dataset}/full bs=1M; ! dd if=/dev/zero of=/flocker/{dataset}/fuller bs=1k; "
              "sync", LIMIT_S)
    grow(control, dataset, SIZES[3])
    wait_grown(control, guest, dataset, SIZES[3])
    guest.run(f"dd if=/dev/zero of=/flocker/{dataset}/more bs=1M count=64 && sync", LIMIT_S)

    # All of it is there, in a filesystem that is whole.
    guest.run("kill -KILL $(pids qemu-writer)")
    lines = guest.run(f"cat /flocker/{dataset}/log", LIMIT_S).split()
    assert [int(line) for line in lines][:len(guest.acks)] == list(range(len(guest.acks)))
    answer = control.call("PATCH", f"/v2/datasets/{dataset}", {"node": None})
    assert answer.status == 200, answer.text
    wait_until("it is released", lambda: show(control, dataset)["owner"] is None, LIMIT_S)
    guest.run("e2fsck -fn /disk/volumes/volumes/*/image", LIMIT_S)
