# SPDX-License-Identifier: Apache-2.0
"""The original's state files, of all its formats, become the first records of an empty store."""
import json
import os
import pathlib
import re
import subprocess

import pytest

import rig

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
A, B, C, D, E = (f"{c * 8}-{c * 4}-4{c * 3}-8{c * 3}-{c * 12}" for c in "abcde")
FILES = pathlib.Path(__file__).parent / "import"
FORMATS = range(1, 7)
CONFIGURED = [
    {"dataset_id": A, "primary": N1, "deleted": False, "maximum_size": 134217728,
     "metadata": {"name": "db", "clusterhq:flocker:profile": "gold"}},
    {"dataset_id": B, "primary": N1, "deleted": False, "metadata": {}},
    {"dataset_id": C, "primary": N1, "deleted": True, "maximum_size": 134217728, "metadata": {"name": "old"}},
    {"dataset_id": D, "primary": N2, "deleted": False, "maximum_size": 67108864,
     "metadata": {"name": "caf\u00e9"}},
]


def run(data, file, *words, status=0):
    extra = ["--user", "root"] if os.geteuid() == 0 else []
    done = subprocess.run([os.environ["FLOCKER_CONTROL"], "import", str(file), "--data-path", str(data),
                           *words, *extra], capture_output=True, text=True, timeout=rig.LIMIT_S)
    assert done.returncode == status, done
    return done.stderr.splitlines()[-1] if status else done.stdout


def file_of(format_):
    return FILES / f"format-{format_}.json"


@pytest.fixture
def stopped(make_control, authority):
    return make_control(authority)


def end(control):
    control.hang_up()
    assert control.stop() == 0


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_of_each_format_is_served_as_the_original_did(stopped, format_):
    run(stopped.data, file_of(format_), "--apply")
    stopped.start()
    listed = stopped.get("/v1/configuration/datasets").json
    assert sorted(listed, key=lambda d: d["dataset_id"]) == CONFIGURED
    leases = {e["dataset_id"]: e for e in stopped.get("/v1/configuration/leases").json}
    if format_ < 3:
        assert not leases
    else:
        assert leases.keys() == {A, D}
        assert leases[A] == {"dataset_id": A, "node_uuid": N1, "expires": None}
        assert leases[D]["node_uuid"] == N2 and leases[D]["expires"] > 1e9
    made = {d["dataset_id"]: d["format_state"] for d in stopped.every()}
    assert made[A] == made[D] == "done"
    assert made[B] == ("done" if format_ < 4 else "never")
    end(stopped)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_record_of_a_file_is_taken_or_said_to_be_left(tmp_path, format_):
    said = run(tmp_path / "data", file_of(format_)).splitlines()
    text = file_of(format_).read_text()
    ids = set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}", text))
    first = [line.split()[0:3] for line in said if line.startswith(("taken ", "left "))]
    named = {words[2].rstrip(":") for words in first if words[1] in ("dataset", "node")}
    assert named == ids - {E}
    assert sum(words[:2] == ["left", "application"] for words in first) == 1
    leases = sum("lease on dataset" in line for line in said)
    assert leases == (3 if format_ >= 3 else 0)
    assert any(line.startswith("left   volume 'vol-4e5f6071'") for line in said) == (format_ >= 4)


def test_a_dry_run_says_the_same_and_changes_nothing(stopped, tmp_path):
    said = run(stopped.data, file_of(6)).splitlines()
    assert not stopped.data.exists() and "--apply" in said[-1]
    assert run(stopped.data, file_of(6), "--apply").splitlines()[:len(said) - 1] == said[:-1]


def test_a_store_that_is_not_empty_is_refused_as_it_is(stopped):
    run(stopped.data, file_of(6), "--apply")
    for words in [], ["--apply"]:
        assert "is not empty" in run(stopped.data, file_of(5), *words, status=1)
    stopped.start()
    dataset = stopped.create(N1)
    assert "ERROR" in run(stopped.data, file_of(6), "--apply", status=1)
    assert dataset in [d["dataset_id"] for d in stopped.get("/v1/configuration/datasets").json]
    end(stopped)


def test_a_store_in_use_is_refused(stopped):
    stopped.start()
    assert "another flocker-control runs on this data path" in run(stopped.data, file_of(6), "--apply", status=1)
    end(stopped)
    run(stopped.data, file_of(6), "--apply")  # which had made nothing yet


def test_a_damaged_store_is_refused(stopped):
    stopped.start()
    end(stopped)
    os.truncate(stopped.data / "control.sqlite", 100)
    assert "is damaged" in run(stopped.data, file_of(6), "--apply", status=1)


def test_a_file_with_a_mistake_takes_nothing(stopped, tmp_path):
    tree = json.loads(file_of(6).read_text())
    tree["deployment"]["leases"]["values"][2][1]["node_id"] = None
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(tree))
    line = run(stopped.data, broken, "--apply", status=1)
    assert "/deployment/leases/values/2/1/node_id: must be an object of class UUID" in line
    assert not stopped.data.exists()


def test_a_node_is_granted_what_was_its_own_in_a_new_incarnation(stopped):
    run(stopped.data, file_of(6), "--apply")
    stopped.start()
    node = rig.Node(stopped, N1)
    assert node.join()["incarnation"] > 1700000000
    order = node.take_wish(A, "hold")
    assert order["format_state"] == "done" and order["volume_id"] == order["fs_uuid"] == A
    assert node.take_wish(B, "hold")["format_state"] == "never"
    node.close()
    end(stopped)
