# SPDX-License-Identifier: Apache-2.0
"""The control server's store under real nodes: an old copy put back, a backup restored, a full disk."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from cluster import LIMIT_S, Payload, executable, wait_until
from loads import Writer

STORE = "control.sqlite"
WAY_OUT = "flocker-control recover"
TERM_S = 2
LEASE = {"flocker:failover": "lease", "flocker:term": str(TERM_S)}


def command(cluster, *words):
    """flocker-control backup or recover, as an operator says it who is root."""
    extra = ["--user", "nobody"] if words[0] == "recover" else []
    return subprocess.run([executable("flocker-control"), *map(str, words), "--data-path",
                           str(cluster.control.data), *extra], check=True, capture_output=True,
                          text=True, timeout=LIMIT_S).stdout


def backup(cluster, name):
    file = cluster.base / name
    assert "dataset" in command(cluster, "backup", file)
    return file


def flockerctl(cluster, *arguments):
    done = subprocess.run(
        [executable("flockerctl"), "--control-service=127.0.0.1",
         f"--control-port={cluster.control.port}", f"--certs-path={cluster.authority.dir}",
         *arguments], capture_output=True, text=True, timeout=LIMIT_S)
    return done.stdout, done.stderr


def put_back_by_hand(cluster, file):
    """As somebody does it who knows no better: the file, over the one that is there."""
    assert cluster.control.stop() == 0
    data = cluster.control.data
    assert sorted(os.listdir(data)) == [STORE, "store-was-made"]
    shutil.copy(file, data / STORE)
    shutil.chown(data / STORE, "nobody")


def wait_refused(cluster):
    def both():
        nodes = cluster.call("GET", "/v2/nodes")["nodes"]
        return all(not n["live"] and WAY_OUT in (n["refused"] or "") for n in nodes)
    wait_until("both nodes are refused", both)


def held(cluster):
    """What is mounted, and the loop devices by what they are on; the numbers of their openings too."""
    return ({m for node in cluster for m in node.mounts()},
            {(volume, loop.name, loop.diskseq) for volume, loop in cluster.attached()})


def works(node, dataset, payload):
    payload.add(node.data(dataset))
    payload.check(node.data(dataset))


def recover(cluster, *words):
    """From stopped to both nodes connected."""
    assert "Nothing was changed" in command(cluster, "recover", *words)
    said = command(cluster, "recover", *words, "--apply")
    cluster.control.start()
    cluster.wait_live()
    return said


def test_an_old_copy_is_refused_and_recovered_without_a_loss(cluster):
    here, there = cluster
    kept, moved = cluster.make(here), cluster.make(here)
    payloads = {kept: Payload(1), moved: Payload(2)}
    for dataset, payload in payloads.items():
        payload.write(here.data(dataset))
    old = backup(cluster, "old")
    cluster.move(moved, there)
    cluster.wait_mounted(moved, there)
    new = cluster.make(there)
    payloads[new] = Payload(3)
    payloads[new].write(there.data(new))
    recent = backup(cluster, "recent")
    before = held(cluster)

    put_back_by_hand(cluster, old)
    cluster.control.start()
    wait_refused(cluster)
    answer = cluster.control.post("/v1/configuration/datasets", {"primary": here.uuid})
    assert answer.status == 503 and WAY_OUT in answer.json["description"]
    out, err = flockerctl(cluster, "status")
    assert "refused" in out and err.count("\n") == 1 and WAY_OUT in err
    out, err = flockerctl(cluster, "show", kept)
    assert WAY_OUT in out and WAY_OUT in err
    for node in cluster:
        assert WAY_OUT in node.node_status()["last_error"]
        assert node.tree(".node", "connected").read_text() == "no\n"
    there.kill()  # also a node that begins anew detaches nothing
    there.start()
    there.wait_log(WAY_OUT)
    wait_refused(cluster)
    assert held(cluster) == before
    for node, dataset in ((here, kept), (there, moved), (there, new)):
        works(node, dataset, payloads[dataset])

    # The old state is put to use: what it does not know stays where it is.
    assert cluster.control.stop() == 0
    recover(cluster)
    cluster.wait_mounted(kept, here)
    cluster.wait_mounted(moved, here)  # where this state wants it, by way of a release
    assert new not in {d["dataset_id"] for d in cluster.datasets()}
    unknown = {n["uuid"]: n["unknown_datasets"] for n in cluster.call("GET", "/v2/nodes")["nodes"]}
    assert unknown == {here.uuid: [], there.uuid: [new]}
    assert f"has dataset {new}" in flockerctl(cluster, "status")[1]
    mounts, devices = held(cluster)
    assert {m for m in before[0] if moved not in m.point} <= mounts
    assert there.has(new)
    for node, dataset in ((here, kept), (here, moved), (there, new)):
        works(node, dataset, payloads[dataset])
    made = cluster.make(there)  # it goes on
    cluster.delete(made)
    cluster.wait_destroyed(made)

    # And the recent one after it, whose word about `moved` is old by now.
    assert cluster.control.stop() == 0
    assert ".kept-" in recover(cluster, "--from", recent)
    for node, dataset in ((here, kept), (there, moved), (there, new)):
        cluster.wait_mounted(dataset, node)
        works(node, dataset, payloads[dataset])


def test_an_old_copy_that_nobody_noticed_at_first_is_refused_as_well(cluster):
    """It goes on while the nodes are away, beyond the revisions that they have seen."""
    here, there = cluster
    payload = Payload(5)
    old = backup(cluster, "old")
    dataset = cluster.make(here)
    payload.write(here.data(dataset))
    before = held(cluster)
    recent = backup(cluster, "recent")
    for node in cluster:
        node.process.send_signal(signal.SIGSTOP)
    put_back_by_hand(cluster, old)
    cluster.control.start()
    ids = [cluster.create(here) for _ in range(20)]
    assert set(ids) == {d["dataset_id"] for d in cluster.datasets()}
    for node in cluster:
        node.process.send_signal(signal.SIGCONT)
    wait_until("one is refused", lambda: any(
        WAY_OUT in (n["refused"] or "") for n in cluster.call("GET", "/v2/nodes")["nodes"]))
    assert {m for m in before[0]} <= held(cluster)[0]
    works(here, dataset, payload)
    assert cluster.control.stop() == 0
    recover(cluster, "--from", recent)
    cluster.wait_mounted(dataset, here)
    works(here, dataset, payload)


def test_a_damaged_store_stops_control_alone(cluster):
    here, there = cluster
    payload = Payload(6)
    dataset = cluster.make(there)
    payload.write(there.data(dataset))
    copy = backup(cluster, "copy")
    before = held(cluster)
    cluster.control.kill()
    cluster.control.hang_up()
    os.truncate(cluster.control.data / STORE, 4096)
    for extra in ("-wal", "-shm"):
        pathlib.Path(f"{cluster.control.data / STORE}{extra}").unlink(missing_ok=True)
    assert WAY_OUT in cluster.control.fails()
    works(there, dataset, payload)
    recover(cluster, "--from", copy)
    cluster.wait_mounted(dataset, there)
    assert held(cluster) == before
    cluster.move(dataset, here)
    cluster.wait_mounted(dataset, here)
    payload.check(here.data(dataset))


@pytest.fixture
def small(make_cluster):
    """A cluster whose control server has a disk of 8 MiB. Its store moves off it at the end."""
    cluster = make_cluster()
    data = cluster.control.data
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(data)],
                   check=True)
    shutil.chown(data, "nobody")
    yield cluster.start()
    if cluster.control.alive():
        assert cluster.control.stop() == 0
    shutil.copytree(data, cluster.base / "moved")
    subprocess.run(["umount", str(data)], check=True)
    data.rmdir()
    (cluster.base / "moved").rename(data)
    for path in [data, *data.iterdir()]:
        shutil.chown(path, "nobody")


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096):
                pass
        except OSError:
            pass


def test_terms_and_reads_outlive_a_full_disk(small):
    here, there = small
    leased, plain = small.create(there, metadata=LEASE), small.make(here)
    small.wait_mounted(leased, there)
    writer = Writer(there.data(leased, "log"))
    ballast = small.control.data / "ballast"
    fill(ballast)

    def refused():
        answer = small.control.post("/v1/configuration/datasets", {"primary": here.uuid})
        return answer if answer.status == 503 else None
    answer = wait_until("writes are refused", refused)
    assert "No space left on device" in answer.json["description"]
    answer = small.control.delete(f"/v1/configuration/datasets/{plain}")
    assert answer.status == 503 and not small.show(plain)["deleted"]
    end = time.monotonic() + 3 * TERM_S
    wait_until("some terms have passed", lambda: time.monotonic() > end)
    shown = small.show(leased)
    assert shown["state"] == "mounted" and shown["epoch"] == 1 and shown["node_live"]

    ballast.unlink()
    wait_until("writes work again", lambda: small.control.delete(
        f"/v1/configuration/datasets/{plain}").status == 200)
    small.wait_destroyed(plain)
    writer.end()
    assert small.show(leased)["epoch"] == 1
