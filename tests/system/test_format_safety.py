# SPDX-License-Identifier: Apache-2.0
"""A new volume that holds anything at all is never formatted, and a lost one is never made anew."""
import hashlib
import os
import random
import struct
import subprocess

import pytest

from cluster import MIB, Payload, build, wait_until

SIZE = 320 * MIB  # enough for every filesystem; sparse


def run(*command, **options):
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, **options)


# ---- what may lie on a disk ----


def shell(command):
    """$D is the image."""
    return lambda image: run("sh", "-ec", command, env=dict(os.environ, D=str(image)))


def device(command):
    """$D is a loop device on the image, for tools that want one."""
    return shell(f'D=$(losetup --show -f "$D"); trap \'losetup -d "$D"\' EXIT\n{command}')


def write(offset, data):
    """A negative offset counts from the end."""
    def put(image):
        with open(image, "r+b") as f:
            f.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            f.write(data)
    return put


def raid(image):
    """The superblock of a Linux RAID, version 1.2."""
    words = [0] * 64
    words[0], words[1], words[4], words[36] = 0xa92b4efc, 1, 0x12345678, 8
    total = sum(words)
    words[54] = (total + (total >> 32)) & 0xffffffff
    write(4096, struct.pack("<64I", *words))(image)


def ext4_and_xfs(image):
    """The superblocks of both find room beside each other."""
    shell("mkfs.xfs -q $D")(image)
    with open(image, "rb") as f:
        xfs = f.read(512)
    shell("mkfs.ext4 -q -F $D")(image)
    write(0, xfs)(image)


CONTENTS = {
    "ext4": (shell("mkfs.ext4 -q -F $D"), "an ext4 filesystem"),
    "xfs": (shell("mkfs.xfs -q $D"), "an xfs filesystem"),
    "btrfs": (shell("mkfs.btrfs -q $D"), "a btrfs filesystem"),
    "MBR": (shell("echo start=2048 | sfdisk --label dos $D"), "an MBR partition table (dos)"),
    "GPT": (shell("echo start=2048 | sfdisk --label gpt $D"), "a GPT partition table (gpt)"),
    "LVM": (device("pvcreate -q -y $D"), "an LVM physical volume (LVM2_member)"),
    "LUKS": (shell("echo -n secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 "
                   "--pbkdf-force-iterations 1000 $D -"), "a LUKS container (crypto_LUKS)"),
    "swap": (shell("mkswap $D"), "a swap area (swap)"),
    "RAID": (raid, "a member of a Linux RAID (linux_raid_member)"),
    "two filesystems": (ext4_and_xfs, "several signatures at once (xfs, ext4)"),
    "its first byte": (write(0, b"\1"),
                       "unknown data: bytes that are not zero in the first MiB"),
    "its last byte": (write(-1, b"\1"), "unknown data: bytes that are not zero in the last MiB"),
    "a random last MiB": (write(-MIB, random.Random(7).randbytes(MIB)),
                          "unknown data: bytes that are not zero in the last MiB"),
}


# ---- volumes that are there before their node is ----


def checksum(image):
    """Of every block that holds anything, and its place."""
    total, size = hashlib.sha256(), image.stat().st_size
    with open(image, "rb") as f:
        at = 0
        while at < size:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole follows
                break
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            for at in range(at, end, MIB):
                data = os.pread(f.fileno(), min(MIB, end - at), at)
                if data.strip(b"\0"):
                    total.update(b"%d:" % at + data)
            at = end
    return f"{size} {total.hexdigest()}"


def image_of(cluster, dataset):
    return cluster.images / "volumes" / cluster.show(dataset)["volume_id"] / "image"


def create_with(cluster, node, content, fs="ext4"):
    """A dataset whose volume was made before its node is, with something on it."""
    dataset = cluster.create(node, fs, SIZE)
    run(build() / "tests/system/tools/volume", cluster.images, cluster.show(dataset)["volume_id"],
        dataset, SIZE)
    content(image_of(cluster, dataset))
    return dataset


def wait_blocked(cluster, node, dataset, words, state="blocked"):
    """Tree and API say the same, and why."""
    cluster.wait(dataset, f"{state}: {words}", lambda d: d["state"] == state and words in d["why"])
    wait_until(f"the tree says {words}", lambda: node.read(dataset, "state") == f"{state}\n"
               and words in node.read(dataset, "why"))


def test_a_new_volume_that_holds_anything_is_never_formatted(cluster):
    here, _ = cluster
    here.stop()
    made = {}
    for n, (name, (content, words)) in enumerate(CONTENTS.items()):
        dataset = create_with(cluster, here, content, ("ext4", "xfs", "btrfs")[n % 3])
        made[dataset] = name, words, checksum(image_of(cluster, dataset))
    here.start()
    for dataset, (name, words, before) in made.items():
        wait_blocked(cluster, here, dataset, f"the volume is new and yet holds {words}")
        seen = cluster.show(dataset)
        assert "it is never formatted" in seen["why"]
        assert seen["format_state"] == "never" and seen["last_error"]["step"] == "probe"
        assert not here.has(dataset)
        assert checksum(image_of(cluster, dataset)) == before, f"{name} was written to"
    assert cluster.mkfs_runs() == []


def test_a_volume_that_was_emptied_by_a_person_is_formatted_after_all(cluster):
    here, _ = cluster
    here.stop()
    dataset = create_with(cluster, here, write(0, b"\1"))
    here.start()
    wait_blocked(cluster, here, dataset, "unknown data")
    write(0, b"\0")(image_of(cluster, dataset))
    here.kill()  # or wait a minute: that is how often such a volume is looked at
    here.start()
    cluster.wait_mounted(dataset, here)
    assert len(cluster.mkfs_runs()) == 1


def test_a_device_that_cannot_be_read_is_not_taken_for_empty(cluster):
    """Attached, then cut short: the end of the device gives read errors."""
    here, _ = cluster
    cluster.remove_program("mkfs.xfs")
    dataset = cluster.create(here, "xfs", SIZE)
    wait_blocked(cluster, here, dataset, "mkfs.xfs", "failed")
    image = image_of(cluster, dataset)
    assert cluster.devices()
    os.truncate(image, SIZE - MIB)
    cluster.add_program("mkfs.xfs")
    wait_blocked(cluster, here, dataset, "to see whether it is empty; it is not formatted", "failed")
    assert cluster.mkfs_runs() == [] and cluster.show(dataset)["format_state"] == "never"
    os.truncate(image, SIZE)
    cluster.wait_mounted(dataset, here)
    assert len(cluster.mkfs_runs()) == 1


@pytest.mark.parametrize("size", [SIZE - MIB, SIZE + MIB, 0], ids=["short", "long", "empty"])
def test_an_image_of_another_size_is_not_touched(cluster, size):
    here, _ = cluster
    here.stop()
    dataset = create_with(cluster, here, lambda image: os.truncate(image, size))
    here.start()
    wait_blocked(cluster, here, dataset, f"the volume's size differs from the recorded {SIZE} bytes")
    assert cluster.devices() == [] and cluster.mkfs_runs() == []
    assert image_of(cluster, dataset).stat().st_size == size


@pytest.fixture
def released(cluster):
    """(dataset, volume directory, payload): it has data, is wanted by a stopped node, held by none."""
    here, there = cluster
    payload = Payload("released")
    dataset = cluster.make(here)
    payload.write(here.data(dataset))
    there.stop()
    cluster.move(dataset, there)
    cluster.wait(dataset, "released", lambda d: d["owner"] is None)
    return dataset, image_of(cluster, dataset).parent, payload


def restart(node):
    """It looks again; by itself it does so once a minute."""
    node.kill()
    node.start()


def test_a_lost_volume_is_never_made_anew(cluster, released):
    dataset, volume, payload = released
    _, there = cluster
    away = cluster.base / "away"
    volume.rename(away)
    there.start()
    wait_blocked(cluster, there, dataset,
                 f"volume {volume.name} held data and is missing from the backend", "lost")
    assert f"{dataset}: " in there.log and "-> lost: " in there.log
    assert not volume.exists() and len(cluster.mkfs_runs()) == 1
    away.rename(volume)
    restart(there)
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))
    assert len(cluster.mkfs_runs()) == 1


def test_another_filesystem_in_the_place_of_ours_is_not_mounted(cluster, released):
    dataset, volume, payload = released
    _, there = cluster
    image, ours = volume / "image", cluster.base / "ours"
    image.rename(ours)
    with open(image, "wb") as f:
        f.truncate(ours.stat().st_size)
    shell("mkfs.ext4 -q -F $D")(image)
    before = checksum(image)
    there.start()
    wait_blocked(cluster, there, dataset, "and not the ext4 filesystem")
    assert not there.has(dataset) and checksum(image) == before
    assert len(cluster.mkfs_runs()) == 1
    there.stop()
    run("losetup", "-d", *[f"/dev/{d.name}" for d in cluster.devices()])
    ours.rename(image)
    there.start()
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))


def test_a_volume_of_another_dataset_is_not_taken(cluster):
    here, _ = cluster
    here.stop()
    dataset, other = cluster.create(here, size=SIZE), cluster.create(here, size=SIZE)
    run(build() / "tests/system/tools/volume", cluster.images, cluster.show(dataset)["volume_id"],
        other, SIZE)
    here.start()
    wait_blocked(cluster, here, dataset, f"the backend says that this volume is of dataset {other}")
    cluster.wait_mounted(other, here)
    assert not here.has(dataset)
    # Nobody may destroy it for this dataset either: the file of its identity is put right by hand.
    here.stop()
    meta = image_of(cluster, dataset).parent / "meta"
    meta.write_text(meta.read_text().replace(other, dataset))
    here.start()
    cluster.wait_mounted(dataset, here)
