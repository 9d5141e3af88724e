# SPDX-License-Identifier: Apache-2.0
"""Things that are full, missing or broken: a clear error on the right line, no crash, nothing lost,
and recovery by itself once they are mended."""
import os
import pathlib
import shutil
import socket

import pytest

import isolate
from cluster import MIB, SIZES, Payload, wait_until
from loads import SmallDisk

LOOKED_AT_S = 100  # what only looking can change is looked at every minute or so


@pytest.fixture
def small_disk(tmp_path_factory):
    """small_disk(point, size); ends after the clusters, as it was asked for before them."""
    disks = []

    def make(point, size):
        disks.append(SmallDisk(point, size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.end()


# ---- disks that are full ----

@pytest.fixture
def base():
    """A directory on the machine's own disk, outside of all clusters."""
    return pathlib.Path(os.environ[isolate.INSIDE])


@pytest.mark.parametrize("fs", list(SIZES))
def test_a_full_image_directory_delays_changes_and_loses_nothing(base, small_disk, make_cluster,
                                                                 fs):
    """Images are sparse, so even a clean unmount may need room that is not there."""
    disk = small_disk(base / f"images-{fs}", 300 * MIB)
    cluster = make_cluster(images=disk.point / "images").start()
    here, there = cluster
    payload = Payload(7)
    dataset = cluster.make(here, fs)
    payload.write(here.data(dataset))
    disk.fill()

    cluster.move(dataset, there)
    moved = cluster.wait(dataset, "at its new owner", lambda d: d["owner"] == there.uuid
                         and d["state"] in ("mounted", "failed", "blocked", "faulty"))
    print(moved["state"], moved["why"])
    new = cluster.create(here)
    seen = cluster.wait(new, "failed", lambda d: d["state"] == "failed")
    assert "no room" in seen["why"] and seen["last_error"]["code"] == "ENOSPC"
    assert "no room" in here.read(new, "why") and "create" in here.read(new, "last_error")
    here.wait_log(f"dataset {new}: creating -> failed")
    assert not [v for v in os.listdir(cluster.images / "volumes") if v.startswith(".new")]
    assert here.alive() and there.alive()

    disk.empty()
    cluster.wait_mounted(new, here)
    cluster.wait_mounted(dataset, there)
    payload.check(there.data(dataset))
    payload.add(there.data(dataset))


def test_a_filesystem_that_cannot_be_written_is_made_again_in_a_new_volume(base, small_disk,
                                                                          make_cluster):
    """The disk gets full between create and mkfs: sparse images take their space when written."""
    disk = small_disk(base / "mkfs-full", 300 * MIB)
    cluster = make_cluster(images=disk.point / "images").start()
    node = list(cluster)[1]
    gate = cluster.base / "gate"
    os.mkfifo(gate)
    real = (cluster.bin / "mkfs.ext4").read_text()
    (cluster.bin / "mkfs.ext4").write_text(real.replace("exec ", f"read -r go <{gate}\nexec "))

    dataset = cluster.create(node)
    wait_until("mkfs waits", lambda: cluster.mkfs_runs())
    disk.fill()
    (cluster.bin / "mkfs.ext4").write_text(real)
    gate.write_text("go\n")
    seen = cluster.wait(dataset, "in trouble",
                        lambda d: d["last_error"] or "failed" in d["why"])
    assert seen["state"] in ("failed", "formatting", "blocked", "creating"), seen
    assert node.alive()
    disk.empty()
    cluster.wait_mounted(dataset, node)
    Payload(9).write(node.data(dataset))
    assert len(set(cluster.mkfs_runs())) == len(cluster.mkfs_runs()) > 1


def test_a_full_store_refuses_changes_and_keeps_what_it_said(base, small_disk, make_cluster):
    cluster = make_cluster()
    disk = small_disk(base / "store", 16 * MIB)
    cluster.control.data = disk.point / "data"
    cluster.start()
    here, there = cluster
    payload = Payload(10)
    dataset = cluster.make(here)
    payload.write(here.data(dataset))
    disk.fill()

    body = {"primary": here.uuid, "maximum_size": SIZES["ext4"], "metadata": {"x": "y" * 200}}
    for _ in range(2000):  # until what the store had set aside is used up
        answer = cluster.control.post("/v1/configuration/datasets", body)
        if answer.status != 201:
            break
    assert answer.status >= 500 and answer.json["description"], answer.text
    cluster.control.wait_log("the store cannot be written.*No space")
    acknowledged = {d["dataset_id"] for d in cluster.call("GET", "/v1/configuration/datasets")}
    assert dataset in acknowledged
    payload.check(here.data(dataset))

    disk.empty()
    assert cluster.control.post("/v1/configuration/datasets", body).status == 201
    cluster.move(dataset, there)
    cluster.wait_mounted(dataset, there)
    cluster.control.restart()
    cluster.wait_live()
    now = {d["dataset_id"] for d in cluster.call("GET", "/v1/configuration/datasets")}
    assert acknowledged < now and len(now) == len(acknowledged) + 1
    payload.check(there.data(dataset))


# ---- at the start ----

def test_a_port_in_use_is_named(make_cluster):
    cluster = make_cluster()
    with socket.socket() as other:
        other.bind(("127.0.0.1", cluster.control.agent_port))
        other.listen()
        line = cluster.control.fails()
        assert f"port {cluster.control.agent_port}" in line and "--agent-port" in line
    cluster.start()


@pytest.mark.parametrize("file", ["cluster.crt", "node.crt", "node.key"])
def test_a_missing_certificate_of_a_node_is_named(make_cluster, file):
    cluster = make_cluster()
    node = list(cluster)[1]
    (node.etc / file).rename(node.etc / "away")
    assert str(node.etc / file) in node.fails()
    (node.etc / "away").rename(node.etc / file)
    cluster.start()


@pytest.mark.parametrize("file", ["cluster.crt", "control-service.crt", "control-service.key"])
def test_a_missing_certificate_of_control_is_named(make_cluster, file):
    cluster = make_cluster()
    path = cluster.control.certs / file
    path.rename(path.with_suffix(".away"))
    assert str(path) in cluster.control.fails()
    path.with_suffix(".away").rename(path)
    cluster.start()


def test_a_configuration_that_cannot_be_read_is_an_error_with_its_line(make_cluster):
    cluster = make_cluster()
    node = list(cluster)[1]
    text = node.config.read_text()
    for wrong, line, word in ((text.replace("address:", "adress:"), "line 8", "'address'"),
                              (text + "x: [\n", "line", ""),
                              (text.replace("version: 1", "version: 7"), "line 1", "version")):
        node.config.write_text(wrong)
        said = node.fails()
        assert str(node.config) in said and line in said and word in said, said
    node.config.unlink()
    assert str(node.config) in node.fails()
    node.config.mkdir()
    assert str(node.config) in node.fails()
    node.config.rmdir()
    node.config.write_text(text)
    cluster.start()


# ---- missing parts of the machine ----

def test_without_dev_fuse_only_the_tree_is_missing_until_it_is_back(make_cluster):
    cluster = make_cluster()
    device = os.stat("/dev/fuse").st_rdev
    os.unlink("/dev/fuse")  # of this machine within the machine
    try:
        cluster.start()
        here, there = cluster
        dataset = cluster.make(there)
        assert "the status tree is down: cannot open /dev/fuse" in there.log
        assert not there.tree(dataset).exists()
        cluster.move(dataset, here)
        cluster.wait_mounted(dataset, here)
    finally:
        os.mknod("/dev/fuse", 0o20666, device)
    for node in cluster:
        wait_until("the tree is up", lambda: node.tree(".node", "uuid").exists())
    assert here.read(dataset, "state") == "mounted\n"


def test_without_mkfs_xfs_only_new_xfs_datasets_wait_for_it(cluster):
    here, there = cluster
    old = cluster.make(here, "xfs")
    payload = Payload(11)
    payload.write(here.data(old))
    cluster.remove_program("mkfs.xfs")

    new = cluster.create(here, "xfs")
    seen = cluster.wait(new, "refused", lambda d: d["last_error"])
    assert "mkfs.xfs" in seen["why"] and "xfsprogs" in seen["why"]
    assert seen["state"] in ("failed", "blocked") and seen["format_state"] == "never"
    assert "mkfs.xfs" in here.read(new, "why") and "mkfs.xfs" in here.read(new, "last_error")
    cluster.make(here, "ext4")
    cluster.move(old, there)
    cluster.wait_mounted(old, there)
    payload.check(there.data(old))

    cluster.add_program("mkfs.xfs")
    cluster.wait_mounted(new, here)


def test_volumes_that_are_missing_at_boot_are_lost_until_they_are_back(base, small_disk,
                                                                       make_cluster):
    """As when the disk of the images was not mounted at boot: said, and nothing made anew."""
    disk = small_disk(base / "images-late", 300 * MIB)
    cluster = make_cluster(images=disk.point / "images").start()
    node = list(cluster)[1]
    dataset = cluster.make(node)
    payload = Payload(12)
    payload.write(node.data(dataset))
    node.reboot()
    disk.unmount()
    node.start()
    seen = cluster.wait(dataset, "lost", lambda d: d["state"] == "lost")
    assert seen["volume_id"] in seen["why"] and "held data and is missing" in seen["why"]
    assert node.read(dataset, "state") == "lost\n"
    node.wait_log(f"dataset {dataset}: waiting -> lost")
    assert os.listdir(cluster.images / "volumes") == []
    shutil.rmtree(cluster.images)

    disk.mount()
    cluster.wait_mounted(dataset, node, LOOKED_AT_S)
    payload.check(node.data(dataset))
    assert len(cluster.mkfs_runs()) == 1
