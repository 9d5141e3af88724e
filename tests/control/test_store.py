# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged is there after anything; what cannot be kept is refused."""
import http.client
import os
import shutil
import sqlite3
import subprocess
import threading
import uuid

import pytest

import rig

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
DATASETS = "/v1/configuration/datasets"
STORE = "control.sqlite"


def configured(control):
    return {d["dataset_id"]: d for d in control.get(DATASETS).json}


@pytest.mark.parametrize("moment", [5, 60, 200])
def test_kill_during_a_burst_loses_nothing_acknowledged(control, moment):
    acknowledged, moved = set(), set()
    enough = threading.Event()

    def client():
        try:
            while True:
                dataset = control.create(N1)
                acknowledged.add(dataset)
                if control.post(f"{DATASETS}/{dataset}", {"primary": N2}).status == 200:
                    moved.add(dataset)
                if len(acknowledged) >= moment:
                    enough.set()
        except (OSError, http.client.HTTPException):
            control.hang_up()

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    assert enough.wait(rig.LIMIT_S)
    control.kill()
    for t in threads:
        t.join()
    control.start()
    seen = configured(control)
    assert acknowledged <= seen.keys()
    assert all(seen[d]["primary"] == N2 for d in moved)


def test_all_is_there_after_a_stop(control):
    dataset = control.create(N1, metadata={"name": "db"}, maximum_size=1 << 30)
    before = control.every()[0]
    control.hang_up()
    assert control.stop() == 0
    control.start()
    after = control.every()[0]
    for key in ("dataset_id", "metadata", "volume_id", "fs_uuid", "maximum_size", "epoch"):
        assert before[key] == after[key]
    assert after["dataset_id"] == dataset


def test_two_controls_never_share_a_data_path(authority, tmp_path, control):
    second = rig.Control(authority, tmp_path, name="two")
    assert "another flocker-control runs on this data path" in second.fails()
    assert control.create(N1)


def test_the_store_is_private(control):
    assert (control.data / STORE).stat().st_mode & 0o777 == 0o600
    assert control.data.stat().st_mode & 0o777 == 0o700


def spoil_text(path):
    path.write_text("this is no database\n" * 400)


def spoil_other(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE x (y)")
    db.commit()
    db.close()


def spoil_newer(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA application_id = %d" % 0x464c4b52)
    db.execute("PRAGMA user_version = 99")
    db.execute("CREATE TABLE x (y)")
    db.commit()
    db.close()


@pytest.mark.parametrize("spoil, words", [
    (spoil_text, "is not a database of flocker-control"),
    (spoil_other, "is not a database of flocker-control"),
    (spoil_newer, "written by a newer flocker-control (format 99"),
    (lambda p: p.mkdir(), "is not a database of flocker-control"),
])
def test_a_strange_file_is_left_alone(authority, tmp_path, spoil, words):
    control = rig.Control(authority, tmp_path)
    control.data.mkdir(mode=0o700)
    spoil(control.data / STORE)
    assert words in control.fails()


def test_a_record_that_cannot_be_read_stops_the_start(control):
    control.create(N1)
    control.hang_up()
    assert control.stop() == 0
    db = sqlite3.connect(control.data / STORE)
    db.execute("UPDATE record SET value = '{\"version\": 1}' WHERE key LIKE 'dataset/%'")
    db.commit()
    db.close()
    assert "cannot be read" in control.fails()


def test_keys_of_a_later_version_are_kept(control):
    dataset = control.create(N1)
    control.hang_up()
    assert control.stop() == 0

    def value(update=None):
        db = sqlite3.connect(control.data / STORE)
        if update:
            db.execute("UPDATE record SET value = replace(value, '{\"version\"', ?) "
                       "WHERE key = ?", (update, "dataset/" + dataset))
            db.commit()
        text, = db.execute("SELECT value FROM record WHERE key = ?",
                           ("dataset/" + dataset,)).fetchone()
        db.close()
        return text

    value('{"tomorrow": {"x": [1]}, "version"')
    control.start()
    assert control.post(f"{DATASETS}/{dataset}", {"primary": N2}).status == 200
    control.hang_up()
    assert control.stop() == 0
    text = value()
    assert '"tomorrow":{"x":[1]}' in text and N2 in text


def command(control, *words, status=0):
    """flocker-control backup or recover; what it says."""
    extra = ["--user", "root"] if os.geteuid() == 0 and words[0] == "recover" else []
    done = subprocess.run([os.environ["FLOCKER_CONTROL"], *map(str, words), "--data-path",
                           str(control.data), *extra], capture_output=True, text=True,
                          timeout=rig.LIMIT_S)
    assert done.returncode == status, done
    return done.stderr.splitlines()[-1] if status else done.stdout


def end(control):
    control.hang_up()
    assert control.stop() == 0


def test_recover_begins_an_incarnation_that_nodes_are_told(control):
    dataset = control.create(N1)
    assert "stop it first" in command(control, "recover", "--apply", status=1)
    end(control)
    said = command(control, "recover")
    assert "1 dataset and 0 deleted" in said and "incarnation 1," in said and "--apply" in said
    control.start()
    assert rig.Node(control).join()["incarnation"] == 1
    end(control)
    assert "begins with the next start" in command(control, "recover", "--apply")
    control.start()
    first = rig.Node(control).join()["incarnation"]
    assert first > 1
    end(control)
    control.start()
    assert rig.Node(control).join()["incarnation"] == first
    assert dataset in configured(control)


@pytest.mark.parametrize("seen", [{"incarnation": 7}, {"incarnation": 1, "revision": 99},
                                  {"incarnation": 1, "revision": 1, "line": N1}])
def test_a_node_that_saw_a_newer_state_stops_all_decisions(control, seen):
    dataset = control.create(N1)
    early = rig.Node(control, N1)
    early.join()
    node = rig.Node(control)
    node.hello(**seen)
    assert "flocker-control recover" in node.take("bye")["reason"]
    answer = control.post(DATASETS, {"primary": N1})
    assert answer.status == 503 and "flocker-control recover" in answer.json["description"]
    assert control.delete(f"{DATASETS}/{dataset}").status == 503
    for method, path, body in (("POST", "/v2/datasets", {"node": None}), ("DELETE", f"/v2/datasets/{dataset}", None),
                               ("PATCH", f"/v2/datasets/{dataset}", {"name": "db"}),
                               ("PUT", f"/v2/leases/{dataset}", {"node": N1}), ("POST", f"/v2/nodes/{N1}/drain", None)):
        for plan in ("", "?plan=true"):
            answer = control.call(method, path + plan, body)
            assert (answer.status, answer.json["code"]) == (503, "old-store"), (method, path, answer.text)
    assert configured(control).keys() == {dataset}
    assert "flocker-control recover" in control.get(f"/v2/datasets/{dataset}").json["why"]
    shown = {n["uuid"]: n for n in control.get("/v2/nodes").json["nodes"]}
    assert "flocker-control recover" in shown[node.id]["refused"]
    assert shown[N1]["live"] and shown[N1]["refused"] is None
    early.send("ping", stamp=5)  # its terms are renewed as long as its session lasts
    early.take("pong")
    late = rig.Node(control)
    late.hello()
    assert late.take("bye")["refused"]


def test_a_backup_beside_the_server_restores_elsewhere(control, authority, tmp_path):
    kept, enough, stop = set(), threading.Event(), threading.Event()

    def client():
        while not stop.is_set():
            kept.add(control.create(N1))
            if len(kept) >= 100:
                enough.set()
        control.hang_up()

    threads = [threading.Thread(target=client) for _ in range(64)]
    for t in threads:
        t.start()
    try:
        assert enough.wait(rig.LIMIT_S)
        before = set(kept)
        copy = tmp_path / "backup"
        said = command(control, "backup", copy)
        after = len(kept)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert f"{copy}: " in said and "incarnation 1, version " in said
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "--force" in command(control, "backup", copy, status=1)
    assert len(kept) >= after

    second = rig.Control(authority, tmp_path, name="two")
    second.data = tmp_path / "fresh"
    assert "would take the place" in command(second, "recover", "--from", copy)
    assert not second.data.exists()
    command(second, "recover", "--from", copy, "--apply")
    second.start()
    assert before <= configured(second).keys() <= kept
    assert rig.Node(second).join()["incarnation"] > 1
    second.end()


def test_a_store_with_a_lease_and_a_floor_of_epochs_can_be_copied(control, tmp_path):
    dataset = control.create(N1)
    control.post("/v1/configuration/leases", {"dataset_id": dataset, "node_uuid": N1, "expires": None})
    end(control)
    with sqlite3.connect(control.data / STORE) as db:
        db.execute("INSERT INTO record VALUES ('epoch-floor', '{\"version\":1,\"epoch\":7}', 1)")
    db.close()
    assert "1 dataset and 0 deleted, 1 lease, " in command(control, "backup", tmp_path / "copy")
    command(control, "recover", "--from", tmp_path / "copy", "--apply")
    control.start()
    assert [e["dataset_id"] for e in control.get("/v1/configuration/leases").json] == [dataset]


@pytest.mark.parametrize("spoil, words", [
    (lambda p: p.unlink(), "is missing, and there was a store"),
    (lambda p: p.write_bytes(b""), "is empty, and there was a store"),
    (lambda p: os.truncate(p, 100), "is damaged"),
    (lambda p: os.truncate(p, p.stat().st_size - 4096), "is damaged"),
    (spoil_text, "is not a database of flocker-control"),
])
def test_a_damaged_store_names_the_way_out(control, tmp_path, spoil, words):
    dataset = control.create(N1)
    copy = tmp_path / "backup"
    command(control, "backup", copy)
    later = control.create(N1)
    end(control)
    spoil(control.data / STORE)
    line = control.fails()
    assert words in line and f"flocker-control recover --data-path {control.data} --from FILE" in line
    assert "ERROR" in command(control, "recover", "--apply", status=1)
    assert "ERROR" in command(control, "backup", tmp_path / "other", status=1)
    command(control, "recover", "--from", copy, "--apply")
    control.start()
    assert dataset in configured(control) and later not in configured(control)


@pytest.mark.parametrize("make, words", [
    (lambda p: None, "No such file"),
    (lambda p: p.write_bytes(b""), "holds nothing"),
    (lambda p: p.write_text("this is no database\n" * 400), "is not a database of flocker-control"),
])
def test_what_is_no_backup_takes_no_place(control, tmp_path, make, words):
    dataset = control.create(N1)
    end(control)
    make(tmp_path / "backup")
    assert words in command(control, "recover", "--from", tmp_path / "backup", "--apply", status=1)
    control.start()
    assert dataset in configured(control)


def test_a_full_disk_refuses_writes_and_recovers(small):
    small.start()
    kept = {small.create(N1)}
    node = rig.Node(small)
    node.join()
    rig.fill(small.data / "ballast")
    for _ in range(400):  # the log has some room left
        answer = small.post(DATASETS, {"primary": N1, "metadata": {"k": "v" * 256}})
        if answer.status != 201:
            break
        kept.add(answer.json["dataset_id"])
    assert answer.status == 503
    assert "No space left on device" in answer.json["description"]
    answer = small.post("/v2/datasets", {"node": N1, "metadata": {f"k{i}": "v" * 256 for i in range(16)}})
    assert (answer.status, answer.json["code"]) == (503, "unwritable")
    # What it knows that it could not do it does not plan; what it would refuse anyway it refuses for that.
    plan = small.post("/v2/datasets?plan=true", {"node": N1})
    assert (plan.status, plan.json["code"]) == (503, "unwritable")
    assert small.post(f"/v2/datasets/{uuid.uuid4()}/purge?plan=true").status == 404
    small.wait_log("the store cannot be written; changes are refused until it works again")
    assert configured(small).keys() == kept
    node.send("ping")
    node.take("pong")
    newcomers = [rig.Node(small) for _ in range(20)]  # each needs a record of its own
    for newcomer in newcomers:
        newcomer.hello()
    last = rig.wait_until("somebody is sent away", lambda: (
        n := next((n for n in newcomers if n.closed.is_set()), None)))
    assert "store cannot be written; come again" in last.take("bye")["reason"]
    (small.data / "ballast").unlink()
    dataset = rig.wait_until("writes work again", lambda: (
        a := small.post(DATASETS, {"primary": node.id})).status == 201 and a.json["dataset_id"])
    kept.add(dataset)
    small.wait_log("the store works again")
    node.take_wish(dataset, "hold")
    small.kill()
    small.hang_up()
    small.start()
    assert kept <= configured(small).keys()


def test_a_disk_that_is_full_at_the_start_is_said(small):
    rig.fill(small.data / "ballast")
    assert "the disk is full" in small.fails()
    (small.data / "ballast").unlink()
    small.start()


def test_a_read_only_disk_is_said(small):
    subprocess.run(["mount", "-o", "remount,ro", str(small.data)], check=True)
    assert "read-only" in small.fails()
    subprocess.run(["mount", "-o", "remount,rw", str(small.data)], check=True)
    small.start()


def test_a_copy_of_the_store_starts(control, authority, tmp_path):
    dataset = control.create(N1)
    control.kill()
    control.hang_up()
    second = rig.Control(authority, tmp_path, name="two")
    second.data = tmp_path / "copy"
    shutil.copytree(control.data, second.data)
    second.start()
    assert dataset in configured(second)
    second.end()


@pytest.fixture
def freezing(authority, tmp_path):
    """A control service, not started, whose data path is a disk that can be frozen."""
    control = rig.Control(authority, tmp_path)
    control.data.mkdir(mode=0o700)
    image = tmp_path / "image"
    with open(image, "wb") as f:
        f.truncate(16 << 20)
    if os.geteuid() != 0 or subprocess.run(["mkfs.ext4", "-q", str(image)]).returncode or \
            subprocess.run(["mount", "-o", "loop", str(image), str(control.data)]).returncode:
        pytest.skip("needs root, mkfs.ext4 and mount")
    control.data.chmod(0o700)
    yield control
    subprocess.run(["fsfreeze", "--unfreeze", str(control.data)], stderr=subprocess.DEVNULL)
    try:
        control.end()
    finally:
        subprocess.run(["umount", str(control.data)], check=True)


def test_a_renewal_does_not_wait_for_the_store(freezing):
    freezing.start()
    node = rig.Node(freezing)
    node.join()
    dataset = freezing.create(node.id, metadata={"flocker:failover": "lease"})
    order = node.take_wish(dataset, "hold")
    subprocess.run(["fsfreeze", "--freeze", str(freezing.data)], check=True)
    node.report("ready", order, "attached")  # whose answer is an order that has to be durable first
    node.send("ping", stamp_ms=4711)
    assert node.take("pong")["stamp_ms"] == 4711
    subprocess.run(["fsfreeze", "--unfreeze", str(freezing.data)], check=True)
    assert node.take_wish(dataset, "hold")["format_state"] == "started"
