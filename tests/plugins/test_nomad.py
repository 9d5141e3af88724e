# SPDX-License-Identifier: Apache-2.0
"""The contract of dynamic host volumes, as Nomad 1.10 runs a plugin: its arguments, environment, output, exit."""
import json
import os
import signal
import stat
import subprocess
import time

import docker_rig
import nomad_rig
import pytest
import rig
from nomad_rig import Volume

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(scope="module")
def hosts(authority, tmp_path_factory):
    """Two hosts of one cluster, for tests that name their datasets differently and leave both as they were."""
    cluster = docker_rig.Cluster(authority, tmp_path_factory.mktemp("hosts"))
    try:
        yield [nomad_rig.Host(plugin) for plugin in cluster.plugins]
    finally:
        cluster.end()


@pytest.fixture
def here(hosts):
    return hosts[0]


@pytest.fixture
def there(hosts):
    return hosts[1]


@pytest.fixture
def alone(cluster):
    return nomad_rig.Host(cluster.plugins[0])


# ---- fingerprint ----

def test_fingerprint_needs_neither_control_nor_files_and_is_fast(alone):
    alone.host.dir.joinpath("agent.yml").unlink()
    began = time.monotonic()
    result = alone.run("fingerprint")
    assert time.monotonic() - began < 5  # after which Nomad kills it
    assert set(result.answer) == {"version"} and all(part.isdigit() for part in result.answer["version"].split("."))


@pytest.mark.parametrize("words", ([], ["update"], ["create", "delete"], ["--limit", "x", "fingerprint"]))
def test_what_is_no_operation_is_an_error(words):
    done = subprocess.run([os.environ["FLOCKER_NOMAD_PLUGIN"], *words], env={}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


# ---- create ----

def test_create_makes_a_dataset_that_is_leased_and_mounted_here(here):
    volume = Volume("pgdata", min_bytes=GIB, max_bytes=2 * GIB, filesystem="xfs", failover="lease", profile="gold")
    answer = here.create(volume).answer
    dataset = here.dataset("pgdata")
    assert answer == {"path": f"{here.member.root}/{dataset['dataset_id']}", "bytes": GIB}
    assert os.path.ismount(answer["path"])
    assert here.lease("pgdata") == dataset["node"] == dataset["owner"] == here.member.id
    assert (dataset["filesystem"], dataset["failover"]["policy"]) == ("xfs", "lease")
    assert dataset["metadata"]["clusterhq:flocker:profile"] == "gold"


def test_create_repeats_itself_also_after_a_boot(alone):
    volume = Volume("again", min_bytes=GIB, max_bytes=GIB)
    first = alone.create(volume).answer
    revision = alone.dataset("again")["revision"]
    assert alone.create(volume).answer == first
    alone.reboot()
    assert alone.create(volume).answer == first
    assert alone.lease("again") == alone.member.id and len(alone.cluster.control.every()) == 1
    assert alone.dataset("again")["revision"] == revision


def test_many_creates_at_once_make_one_dataset(alone):
    volume = Volume("one")
    results = [alone.finish(p) for p in [alone.start_create(volume) for _ in range(4)]]
    assert len({r.answer["path"] for r in results}) == 1 and len(alone.cluster.control.every()) == 1


def test_the_size_is_what_was_asked_and_never_told_as_more(here):
    here.created(Volume("most", max_bytes=100 * 1000 * 1000))
    assert here.dataset("most")["size"] == 100000768  # a multiple of 1024
    assert here.create(Volume("least", min_bytes=100 * 1000 * 1000, max_bytes=GIB)).answer["bytes"] == 100000768
    assert here.create(Volume("both", min_bytes=10**8, max_bytes=10**8)).answer["bytes"] == 10**8
    assert here.create(Volume("none")).answer["bytes"] == 75 * GIB


def test_a_larger_minimum_grows_it_and_a_smaller_one_leaves_it(here):
    volume = Volume("grows", min_bytes=GIB, max_bytes=GIB)
    here.created(volume)
    volume.min_bytes = volume.max_bytes = 2 * GIB
    assert here.create(volume).answer["bytes"] == 2 * GIB
    assert here.dataset("grows")["volume_size"] == 2 * GIB
    volume.min_bytes, volume.max_bytes = GIB, 3 * GIB
    assert here.create(volume).answer["bytes"] == 2 * GIB


WRONG = (({"parameters": {"size": "1G"}}, "no parameter 'size'; there are: dataset, filesystem"),
         ({"parameters": {"filesystem": "zfs"}}, "ext4, xfs or btrfs"),
         ({"parameters": {"failover": "never"}}, "manual or lease"),
         ({"parameters": {"on_remove": "maybe"}}, "keep or delete"),
         ({"parameters": {"uid": "root"}}, "uid: must be a number"),
         ({"parameters": {"mode": "rwx"}}, "mode"),
         ({"parameters": {"dataset": ""}}, "name or the UUID"),
         ({"parameters": {"uid": 1}}, "must be a text"),
         ({"parameters": [1]}, "must be an object"),
         ({"min_bytes": MIB}, "too small"),
         ({"min_bytes": 3 * GIB, "max_bytes": 2 * GIB}, "capacity_max is less"),
         ({"min_bytes": "1G"}, "number of bytes"),
         ({"id": "../x"}, "DHV_VOLUME_ID"),
         ({"name": ""}, "DHV_VOLUME_NAME"),
         ({"name": "a\nb"}, ""))


def test_what_cannot_be_right_is_refused_in_one_line_and_makes_nothing(alone):
    for changes, message in WRONG:
        volume = Volume("wrong")
        for key, value in changes.items():
            setattr(volume, key, value)
        assert message in alone.create(volume).error
    assert alone.cluster.control.every() == [] and not list(alone.users.glob("*"))


def test_a_name_with_other_options_is_refused_with_the_difference(here, there):
    here.deleted(made(here, Volume("taken", min_bytes=GIB, max_bytes=GIB, filesystem="xfs")))
    assert "its filesystem is xfs, not ext4" in there.create(Volume("taken", filesystem="ext4")).error
    assert "its on-remove is keep, not delete" in there.create(Volume("taken", on_remove="delete")).error
    assert "its size is 1.00 GiB" in there.create(Volume("taken", min_bytes=100 * MIB, max_bytes=200 * MIB)).error
    assert there.lease("taken") is None and there.users_of("taken") == []
    there.created(Volume("taken", filesystem="xfs"))


def made(nomad, volume):
    nomad.created(volume)
    return volume


def test_what_was_changed_since_is_no_reason_to_refuse_it_after_a_boot(here):
    volume = made(here, Volume("kept", min_bytes=GIB, max_bytes=GIB, failover="manual"))
    dataset = here.dataset("kept")["dataset_id"]
    answer = here.cluster.control.call("PATCH", f"/v2/datasets/{dataset}",
                                       {"failover": {"policy": "lease"}, "size": 2 * GIB})
    assert answer.status == 200
    here.reboot()
    assert here.create(volume).answer["bytes"] == 2 * GIB


# ---- names ----

def test_namespaces_do_not_meet(here, there):
    here.created(Volume("data", space="shop"))
    here.created(Volume("data"))
    assert here.dataset("shop.data")["dataset_id"] != here.dataset("data")["dataset_id"]
    for volume in (Volume("shop.data"), Volume("x", dataset="shop.data")):
        assert "is of Nomad's namespace shop" in here.create(volume).error


def test_a_dataset_that_is_there_is_named_by_its_name_or_its_uuid(here):
    control = here.cluster.control
    dataset = control.call("POST", "/v2/datasets", {"name": "from-docker", "node": None}).json["dataset_id"]
    volume = Volume("web", dataset="from-docker")
    assert here.created(volume).name == dataset
    here.deleted(volume)
    assert here.created(Volume("other", dataset=dataset)).name == dataset
    gone = Volume("none", dataset="11111111-2222-4333-8444-555555555555")
    assert "there is no dataset 11111111" in here.create(gone).error


def test_a_dataset_without_a_name_is_named_by_its_uuid(here):
    answer = here.cluster.control.post("/v1/configuration/datasets", body={"primary": here.member.id})
    dataset = answer.json["dataset_id"]
    volume = Volume("nameless", dataset=dataset)
    assert here.created(volume).name == dataset
    here.deleted(volume)
    assert here.cluster.control.delete(f"/v2/datasets/{dataset}").status == 200
    assert f"there is no dataset {dataset}" in here.create(Volume("late", dataset=dataset)).error


@pytest.mark.parametrize("name", ["é" * 200, "a" + "é" * 200], ids=["even", "odd"])
def test_long_names_are_told_as_whole_characters(here, name):
    volume = made(here, Volume(name))
    metadata = here.dataset(name)["metadata"]
    assert f"Nomad volume {name}".startswith(metadata["flocker:used-by"])
    assert f"default/{name}".startswith(metadata["flocker:nomad-name"])
    here.deleted(volume)


def test_one_dataset_is_one_volume_of_a_node(here):
    here.created(Volume("first"))
    assert "is Nomad's volume default/first on this node already" in here.create(Volume("second", dataset="first")).error
    assert here.lease("first") == here.member.id


# ---- two nodes ----

def test_data_in_use_elsewhere_is_refused_with_the_nodes_name_and_left_there(here, there):
    volume = made(here, Volume("busy", on_remove="delete"))
    refused = Volume("busy", on_remove="delete")
    error = there.create(refused).error
    assert here.member.id in error and here.member.address in error and "by Nomad volume busy;" in error
    there.deleted(refused)  # as Nomad does with what it could not create
    dataset = here.dataset("busy")
    assert dataset["owner"] == here.member.id == here.lease("busy") and not dataset["deleted"]


def test_deleted_here_it_is_created_there(here, there):
    volume = made(here, Volume("moves"))
    place = volume.path
    here.deleted(volume)
    assert not os.path.ismount(place) and here.lease("moves") is None
    there.created(Volume("moves"))
    assert there.lease("moves") == there.member.id == there.dataset("moves")["owner"]


def test_a_volume_that_has_moved_on_is_deleted_without_touching_it(here, there):
    old = made(here, Volume("moved", on_remove="delete"))
    control, dataset = here.cluster.control, here.dataset("moved")["dataset_id"]
    assert control.call("DELETE", f"/v2/leases/{dataset}").status == 200  # by an operator
    new = made(there, Volume("moved", on_remove="delete"))
    assert "in use on node" in here.create(old).error
    here.deleted(old)
    assert there.dataset("moved")["owner"] == there.member.id == there.lease("moved")
    assert os.path.ismount(new.path)


# ---- delete ----

def test_a_volume_that_an_operator_moves_is_let_go_by_its_delete_and_goes_there(here, there):
    volume = Volume("v1")
    place = here.created(volume)
    dataset = here.dataset("v1")["dataset_id"]
    assert here.cluster.control.call("PATCH", f"/v2/datasets/{dataset}", {"node": there.member.id}).status == 200
    here.deleted(volume)
    assert here.lease("v1") is None and not place.exists() and here.dataset("v1")["node"] == there.member.id


def test_delete_keeps_the_data_unless_told_otherwise(here):
    here.deleted(made(here, Volume("kept")))
    dataset = here.dataset("kept")
    assert dataset["node"] is None and here.lease("kept") is None and "flocker:nomad-volume" not in dataset["metadata"]
    here.deleted(made(here, Volume("lost", on_remove="delete")))
    rig.wait_until("it is destroyed", lambda: here.dataset("lost") is None)


def test_delete_of_what_is_not_there_succeeds(here):
    volume = made(here, Volume("twice"))
    here.deleted(volume)
    here.deleted(volume)
    here.deleted(Volume("never"))


def test_delete_without_a_name_undoes_a_create_and_destroys_nothing(here):
    volume = made(here, Volume("unnamed", on_remove="delete"))
    volume.name = volume.space = ""
    here.deleted(volume)
    assert here.lease("unnamed") is None and here.dataset("unnamed")["node"] is None


def test_delete_of_what_could_not_be_created_destroys_nothing(here):
    here.deleted(made(here, Volume("old")))
    here.member.slow = True
    here.install("--limit", "1")
    failed = Volume("old", dataset="old")
    assert "is not here yet" in here.create(failed).error
    here.install()
    failed.parameters["on_remove"] = "delete"
    here.deleted(failed)
    here.member.go_on()
    dataset = here.dataset("old")
    assert dataset and dataset["lease"] is None and "flocker:nomad-volume" not in dataset["metadata"]


def test_a_volume_whose_mark_a_person_removed_is_deleted_all_the_same(here):
    volume = made(here, Volume("unmarked"))
    answer = here.cluster.control.call("PATCH", f"/v2/datasets/{here.dataset('unmarked')['dataset_id']}",
                                       {"metadata": {"flocker:nomad-volume": None}})
    assert answer.status == 200
    here.deleted(volume)
    assert here.lease("unmarked") is None and here.users_of("unmarked") == []


def test_delete_after_a_boot_without_a_create_finds_its_lease(here):
    volume = made(here, Volume("booted"))
    here.reboot()
    here.deleted(volume)
    assert here.lease("booted") is None


def test_delete_under_a_task_is_refused(here):
    volume = made(here, Volume("used", on_remove="delete"))
    task = subprocess.Popen(["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /mnt && echo && read x', volume.path],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    task.stdout.readline()
    assert "is still used here" in here.delete(volume).error
    assert here.lease("used") == here.member.id and not here.dataset("used")["deleted"]
    task.communicate(b"\n", rig.LIMIT_S)
    here.deleted(volume)


def test_a_volume_whose_dataset_was_destroyed_does_not_come_back_empty(here):
    volume = made(here, Volume("gone"))
    control, dataset = here.cluster.control, here.dataset("gone")["dataset_id"]
    for path in (f"/v2/leases/{dataset}", f"/v2/datasets/{dataset}"):
        assert control.call("DELETE", path).status == 200
    rig.wait_until("it is destroyed", lambda: here.dataset("gone") is None)
    here.reboot()
    assert "has been destroyed" in here.create(volume).error
    here.deleted(volume)
    here.created(Volume("gone"))


def test_the_lease_stays_while_another_program_of_the_host_needs_it(here):
    volume = made(here, Volume("shared"))
    user = here.users / here.dataset("shared")["dataset_id"] / "docker"
    user.touch()
    here.deleted(volume)
    assert here.lease("shared") == here.member.id and os.path.ismount(volume.path)
    metadata = here.dataset("shared")["metadata"]
    assert "flocker:nomad-volume" not in metadata and "flocker:used-by" not in metadata
    again = made(here, Volume("again", dataset="shared"))
    again.parameters = {"on_remove": "delete"}
    assert "another program" in here.delete(again).error
    user.unlink()
    here.deleted(again)


def test_a_container_of_the_same_host_does_not_end_the_lease_of_nomad_nor_nomad_its(alone):
    volume = made(alone, Volume("both"))
    docker = alone.host.start()
    docker.mounted("both")
    docker.unmount("both")
    assert alone.lease("both") == alone.member.id
    docker.mounted("both")
    alone.deleted(volume)
    assert alone.lease("both") == alone.member.id and os.path.ismount(volume.path)
    docker.unmount("both")
    rig.wait_until("nobody has it", lambda: alone.lease("both") is None)


# ---- owner ----

def test_owner_and_mode_of_the_directory_are_set(here):
    path = here.created(Volume("owned", uid="1234", gid="99", mode="0750"))
    st = path.stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1234, 99, 0o750)


# ---- what goes wrong ----

def test_a_dataset_that_is_slow_is_waited_for_then_refused_and_not_kept_from_others(here, there):
    here.member.slow = True
    here.install("--limit", "1")
    error = here.create(Volume("slow")).error
    assert "is not here yet" in error and here.member.id in error
    assert here.lease("slow") is None and here.users_of("slow") == []
    here.member.go_on()
    here.install()
    here.created(Volume("slow"))


def test_killed_at_any_point_it_is_finished_by_the_next_run(here):
    volume = Volume("killed")
    for ms in (0, 5, 10, 15, 20, 30, 40, 60):
        for start, finish in ((here.start_create, here.created), (here.start_delete, here.deleted)):
            process = start(volume)
            time.sleep(ms / 1000)
            process.send_signal(signal.SIGKILL)
            here_killed = process.communicate(timeout=rig.LIMIT_S)
            assert "error" not in here_killed[0]
            finish(volume)
        assert here.lease("killed") is None and here.users_of("killed") == []


def test_while_control_is_away_what_is_mounted_stays_and_all_else_is_an_error(alone):
    volume = made(alone, Volume("stays", min_bytes=GIB, max_bytes=GIB))
    alone.install("--limit", "1")
    alone.cluster.kill_control()
    assert alone.create(volume).answer == {"path": volume.path, "bytes": GIB}
    assert "cannot be asked" in alone.delete(volume).error
    assert "cannot be asked" in alone.create(Volume("new")).error
    assert os.path.ismount(volume.path)


def test_a_host_that_is_not_set_up_is_told_what_is_missing(alone):
    (alone.host.dir / "plugin.crt").unlink()
    assert "create-api-certificate plugin" in alone.create(Volume("x")).error
    (alone.host.dir / "node.crt").unlink()
    assert "no certificate of a node" in alone.create(Volume("x")).error
    (alone.host.dir / "agent.yml").unlink()
    assert "cannot read" in alone.create(Volume("x")).error
