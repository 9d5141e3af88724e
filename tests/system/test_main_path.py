# SPDX-License-Identifier: Apache-2.0
"""The main job, word for word: what the API and the tree say while a dataset is created, used, moved
and destroyed."""
import json
import os
import re
import shutil
import stat
import subprocess

import pytest

from cluster import MIB, SIZES, Payload, executable, wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
FILESYSTEMS = ["ext4", "xfs", "btrfs"]


def loop_of(node, dataset):
    """Its device, by the mount table."""
    mount, = {(m.point, m.source) for m in node.mounts() if m.point.endswith(dataset)}
    return mount[1]


def check_tree(cluster, node, dataset, fs, epoch):
    seen = cluster.show(dataset)
    expected = {
        "state": "mounted", "wanted": "hold", "why": "as wished", "owner": node.uuid,
        "epoch": str(epoch), "primary": node.uuid, "size": str(SIZES[fs]),
        "wanted_size": str(SIZES[fs]), "device": loop_of(node, dataset), "filesystem": fs, "fs_uuid": seen["fs_uuid"],
        "mountpoint": f"{node.root}/{dataset}", "lease": "", "holders": "", "last_error": "",
        "metadata/name": "data", "metadata/flocker:filesystem": fs}
    assert {f: node.read(dataset, f).rstrip("\n") for f in expected} == expected
    files = {str(p.relative_to(node.tree(dataset))) for p in node.tree(dataset).rglob("*")
             if not p.is_dir()}
    assert files == expected.keys() | {"since", "used", "available", "trimmed", "trimmed_bytes",
                                      "status.json", "events"}
    assert TIME.match(node.read(dataset, "since").rstrip("\n"))
    used, available = (int(node.read(dataset, f)) for f in ("used", "available"))
    assert 0 <= used < SIZES[fs] and 0 < available < SIZES[fs]

    status = node.status(dataset)
    assert {k: status[k] for k in ("dataset_id", "name", "state", "size", "epoch", "holders",
                                   "lease", "last_error", "used", "available")} == {
        "dataset_id": dataset, "name": "data", "state": "mounted", "size": SIZES[fs],
        "epoch": epoch, "holders": [], "lease": None, "last_error": None, "used": used,
        "available": available}
    assert os.readlink(node.tree("by-name", "data")) == f"../{dataset}"
    # The copy for those who are not root is the same tree.
    assert node.path(node.run_dir, "datasets", dataset, "state").read_text() == "mounted\n"
    assert sorted(os.listdir(node.tree())) == sorted([".node", "by-name", dataset])


def check_node(cluster, node):
    status = node.node_status()
    assert {k: status[k] for k in ("uuid", "control", "connected", "backend", "datasets", "mounted",
                                   "troubled", "last_error")} == {
        "uuid": node.uuid, "control": f"127.0.0.1:{cluster.control.agent_port}", "connected": True,
        "backend": "loopback", "datasets": 1, "mounted": 1, "troubled": 0, "last_error": None}
    assert node.tree(".node", "uuid").read_text() == node.uuid + "\n"
    assert node.tree(".node", "connected").read_text() == "yes\n"
    era = node.tree(".node", "era").read_text().strip()
    assert cluster.call("GET", f"/v1/state/nodes/by_era/{era}")["uuid"] in \
        {n.uuid for n in cluster}  # nodes of one machine share its boot


def check_api(cluster, node, dataset, fs, epoch):
    configured = {"dataset_id": dataset, "primary": node.uuid, "deleted": False,
                  "maximum_size": SIZES[fs],
                  "metadata": {"name": "data", "flocker:filesystem": fs}}
    assert cluster.call("GET", "/v1/configuration/datasets") == [configured]
    assert cluster.call("GET", "/v1/state/datasets") == [{
        "dataset_id": dataset, "maximum_size": SIZES[fs], "primary": node.uuid,
        "path": f"{node.root}/{dataset}"}]
    seen = cluster.show(dataset)
    expected = {
        "dataset_id": dataset, "name": "data", "state": "mounted", "wanted": "mounted",
        "why": "as wished", "owner": node.uuid, "node": node.uuid, "epoch": epoch,
        "filesystem": fs, "format_state": "done", "maximum_size": SIZES[fs], "size": SIZES[fs], "volume_size": SIZES[fs],
        "deleted": False, "device": loop_of(node, dataset),
        "mountpoint": f"{node.root}/{dataset}", "last_error": None, "attempts": 0,
        "node_live": True}
    assert {k: seen[k] for k in expected} == expected


def check_place(node, dataset, fs):
    """The mount itself: a fresh root as the original left it, safe options, udev's name."""
    mode = node.data(dataset).stat().st_mode
    assert stat.S_ISDIR(mode) and stat.S_IMODE(mode) == 0o777
    options = subprocess.run(
        node.inside("/usr/bin/findmnt", "-no", "FSTYPE,OPTIONS", f"{node.root}/{dataset}"),
        check=True, capture_output=True, text=True).stdout.split()
    assert options[0] == fs and {"rw", "nosuid", "nodev"} <= set(options[1].split(","))
    link = f"/dev/disk/by-dataset/{dataset}"
    wait_until("udev names the device", lambda: os.path.realpath(link) == loop_of(node, dataset))


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_a_dataset_is_created_used_moved_and_destroyed(cluster, fs):
    here, there = cluster
    payload = Payload(fs)
    wish = {"primary": here.uuid, "maximum_size": SIZES[fs],
            "metadata": {"name": "data", "flocker:filesystem": fs}}
    answer = cluster.control.post("/v1/configuration/datasets", wish)
    assert answer.status == 201
    dataset = answer.json["dataset_id"]
    assert answer.json == {**wish, "dataset_id": dataset, "deleted": False}

    here.wait_state(dataset, "mounted")
    cluster.wait_mounted(dataset, here)
    check_api(cluster, here, dataset, fs, 1)
    check_tree(cluster, here, dataset, fs, 1)
    check_node(cluster, here)
    check_place(here, dataset, fs)
    assert not os.listdir(here.data(dataset))
    payload.write(here.data(dataset))

    assert cluster.move(dataset, there) == {**wish, "dataset_id": dataset, "deleted": False,
                                            "primary": there.uuid}
    there.wait_state(dataset, "mounted")
    cluster.wait_mounted(dataset, there)
    check_api(cluster, there, dataset, fs, 2)
    check_tree(cluster, there, dataset, fs, 2)
    check_place(there, dataset, fs)
    payload.check(there.data(dataset))
    assert not here.has(dataset) and not (here.root / dataset).exists()
    wait_until("here shows it no more", lambda: not here.tree(dataset).exists())
    words = [s["state"] for s in cluster.show(dataset)["history"] if s["node"] == there.uuid]
    assert [w for i, w in enumerate(words) if not i or w != words[i - 1]] == \
        ["waiting", "attaching", "mounting", "mounted"]

    assert cluster.delete(dataset)["deleted"] is True
    cluster.wait_destroyed(dataset)
    wait_until("there shows it no more", lambda: not there.tree(dataset).exists())
    assert cluster.call("GET", "/v1/state/datasets") == []
    assert cluster.call("GET", "/v1/configuration/datasets")[0]["deleted"] is True
    assert len(cluster.mkfs_runs()) == 1


def flockerctl(cluster, *arguments, status=0):
    """Standard output; of a failure, standard error."""
    command = [executable("flockerctl"), "--control-service=127.0.0.1",
               f"--control-port={cluster.control.port}", f"--certs-path={cluster.authority.dir}",
               "--user=user", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == status, run.stdout + run.stderr
    return run.stderr if status else run.stdout


def test_flockerctl_goes_the_same_way(cluster):
    here, there = cluster
    made = json.loads(flockerctl(cluster, "create", "--json", "--wait=60", "--node", here.uuid,
                                 "--size", f"{64 * MIB}", "--metadata", "name=data"))
    dataset = made["dataset_id"]
    Payload(1).write(here.data(dataset))
    text = flockerctl(cluster, "move", "--wait=60", "-d", "data", "-t", there.uuid[:8])
    assert "mounted" in text
    seen = json.loads(flockerctl(cluster, "show", "--json", dataset))
    assert seen["state"] == "mounted" and seen["owner"] == there.uuid
    flockerctl(cluster, "destroy", "--wait=60", "-d", dataset)
    assert cluster.show(dataset)["state"] == "destroyed"


def test_flockerctl_leases_a_dataset_to_the_node_that_has_it(cluster):
    here, there = cluster
    made = json.loads(flockerctl(cluster, "create", "--json", "--wait=60", "--node", here.settings["address"],
                                 "--size", f"{64 * MIB}", "--name", "data"))
    dataset = made["dataset_id"]
    flockerctl(cluster, "lease", "acquire", "data", "--expires", "600")
    seen = flockerctl(cluster, "lease", "list", "--no-header").split()
    assert seen[:4] == [dataset, "data", here.uuid[:8], f"({here.settings['address']})"]
    assert re.search(rf"^lease +{here.uuid} \({here.settings['address']}\), until \d", flockerctl(
        cluster, "show", "data"), re.MULTILINE)
    said = flockerctl(cluster, "move", "--wait=0.2", "-d", "data", "-t", there.uuid[:8], status=5)
    assert "a lease keeps it there" in said
    assert "(409 leased)" in flockerctl(
        cluster, "lease", "acquire", "data", "--node", there.uuid, status=3)

    flockerctl(cluster, "lease", "release", dataset[:13])
    cluster.wait_mounted(dataset, there)
    assert "no leased dataset" in flockerctl(cluster, "lease", "release", "data", status=4)


def test_flockerctl_grows_drains_and_brings_back(cluster):
    """xfs, since to grow an ext4 needs a privilege that containers lack (test_grow.py)."""
    here, there = cluster
    plan = flockerctl(cluster, "create", "--size=300M", "--filesystem=xfs", "--name=data", "--plan")
    assert "format" in plan and cluster.datasets() == []
    made = flockerctl(cluster, "create", "--size=300M", "--filesystem=xfs", "--name=data", "--wait=60")
    assert "The control service chose that node: " in made
    dataset = json.loads(flockerctl(cluster, "show", "--json", "data"))
    node = here if dataset["node"] == here.uuid else there
    other = there if node is here else here
    dataset = dataset["dataset_id"]
    payload = Payload(1)
    payload.write(node.data(dataset))

    assert "It has 400.00 MiB." in flockerctl(cluster, "resize", "data", "400M", "--wait=50")
    assert shutil.disk_usage(node.data(dataset)).total > 300 * MIB

    out = flockerctl(cluster, "node", "drain", node.uuid[:13], "--wait=60")
    assert "is drained" in out
    cluster.wait_mounted(dataset, other)  # it has left; that it has arrived is not said
    payload.check(other.data(dataset))
    assert re.search(rf"(?m)^{node.uuid[:8]} .* drained ", flockerctl(cluster, "status"))
    flockerctl(cluster, "node", "undrain", node.uuid)

    flockerctl(cluster, "destroy", "-d", "data", "--undelete=1h", "--wait=60")
    assert not other.has(dataset)
    flockerctl(cluster, "undelete", "data", "--wait=60")
    payload.check(other.data(dataset))
    flockerctl(cluster, "destroy", "-d", "data", "--undelete=1h")
    flockerctl(cluster, "purge", "data", "--wait=60")
    assert cluster.show(dataset)["state"] == "destroyed"


def test_many_datasets_at_once(cluster):
    """Fifty at a time: each has its own way, and all arrive."""
    here, there = cluster
    ids = [cluster.create((here, there)[n % 2]) for n in range(50)]
    for n, dataset in enumerate(ids):
        cluster.wait_mounted(dataset, (here, there)[n % 2])
    for n, dataset in enumerate(ids):
        cluster.move(dataset, (there, here)[n % 2])
    for n, dataset in enumerate(ids):
        cluster.wait_mounted(dataset, (there, here)[n % 2])
