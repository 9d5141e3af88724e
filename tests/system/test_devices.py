# SPDX-License-Identifier: Apache-2.0
"""What happens to a device shows in the tree by event, not by a timer."""
import fcntl
import os
import select
import subprocess
import time

from cluster import MIB, SIZES, wait_until
from test_main_path import loop_of

LOOP_SET_CAPACITY = 0x4C07


def image_of(cluster, dataset):
    """By the volume's directory name, as the driver lays images out."""
    volume = cluster.show(dataset)["volume_id"]
    path, = cluster.images.glob(f"**/{volume}/image")
    return path


def run(node, *command):
    subprocess.run(node.inside(*command), check=True)


def wait_for_size(node, dataset, size, limit):
    """Woken by poll(2) on the file itself; the seconds that it took."""
    began = time.monotonic()
    with open(node.tree(dataset, "size"), "rb", buffering=0) as f:
        poll = select.poll()
        poll.register(f, select.POLLPRI | select.POLLERR)
        while True:
            f.seek(0)
            if f.read().strip() == str(size).encode():
                return time.monotonic() - began
            left = began + limit - time.monotonic()
            assert left > 0, f"{node.read(dataset, 'size')} is shown, not {size}"
            poll.poll(left * 1000)


def test_a_device_that_grew_shows_within_a_second(cluster):
    node = cluster.nodes["n1"]
    dataset = cluster.make(node)
    image, loop = image_of(cluster, dataset), loop_of(node, dataset)
    bigger = SIZES["ext4"] + 64 * MIB
    os.truncate(image, bigger)
    fd = os.open(loop, os.O_RDONLY)
    fcntl.ioctl(fd, LOOP_SET_CAPACITY, 0)
    os.close(fd)
    assert wait_for_size(node, dataset, bigger, 10) < 1.0
    # The record says otherwise: it may stay, but is not attached again until that is mended.
    os.truncate(image, SIZES["ext4"])
    fd = os.open(loop, os.O_RDONLY)
    fcntl.ioctl(fd, LOOP_SET_CAPACITY, 0)
    os.close(fd)
    wait_for_size(node, dataset, SIZES["ext4"], 10)


def test_a_mount_taken_away_by_hand_comes_back(cluster):
    node = cluster.nodes["n1"]
    dataset = cluster.make(node)
    before = node.log.count("-> mounted")
    run(node, "umount", f"{node.root}/{dataset}")
    wait_until("it is mounted again", lambda: node.log.count("-> mounted") > before and
               node.has(dataset))
    assert node.read(dataset, "state") == "mounted\n"


def test_a_filesystem_in_error_is_a_state_of_its_own(cluster):
    """FS_IOC_SHUTDOWN is what an ext4 with errors=remount-ro comes to: no writes any more."""
    node = cluster.nodes["n1"]
    dataset = cluster.make(node)
    run(node, "mount", "-o", "remount,ro", f"{node.root}/{dataset}")
    node.wait_state(dataset, "faulty")
    assert "read-only" in node.read(dataset, "why")
    assert cluster.show(dataset)["state"] == "faulty"
    run(node, "mount", "-o", "remount,rw", f"{node.root}/{dataset}")
    node.wait_state(dataset, "mounted")
