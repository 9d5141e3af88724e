# SPDX-License-Identifier: Apache-2.0
"""A container's volume has a lease for as long as the container runs, and no longer: whatever dies, comes late, or is
changed by others meanwhile."""
import json
import signal
import subprocess
import threading

import pytest
import rig
from docker_rig import PODMAN_ID


def later(ask, *args, **kw):
    box = []
    thread = threading.Thread(target=lambda: box.append(ask(*args, **kw)), daemon=True)
    thread.start()
    return thread, box


def end_lease(cluster, dataset):
    assert cluster.control.delete(f"/v2/leases/{dataset}").status == 200


def become_of_another_boot(plugin):
    path = plugin.state / "mounts.json"
    state = json.loads(path.read_text())
    state["boot"] = "00000000-0000-4000-8000-000000000000"
    path.write_text(json.dumps(state))


# ---- of this node, and of no other ----

def test_a_machine_that_comes_back_does_not_end_the_lease_of_its_successor(cluster, plugin, other):
    dataset = plugin.made("v1")
    plugin.mounted("v1")
    plugin.process.kill()
    plugin.process.wait()
    end_lease(cluster, dataset)  # as a fence does
    other.mounted("v1")
    become_of_another_boot(plugin)
    plugin.start()
    rig.wait_until("it has given its leases up", lambda: json.loads(
        (plugin.state / "mounts.json").read_text())["volumes"] == [])
    assert plugin.lease("v1") == other.member.id


# ---- a start while the last container ends ----

def test_a_mount_while_the_lease_is_being_released_takes_it_again(cluster, plugin):
    plugin.made("v1")
    plugin.mounted("v1", "c1")
    cluster.control.process.send_signal(signal.SIGSTOP)
    ended = later(plugin.unmount, "v1", "c1")
    rig.wait_until("it is counted no more", lambda: plugin.get("v1")["Status"]["mounts"] == 0)
    thread, box = plugin.mount_later("v1", "c2")
    thread.join(0.5)
    cluster.control.process.send_signal(signal.SIGCONT)
    ended[0].join(rig.LIMIT_S)
    thread.join(rig.LIMIT_S)
    assert box[0].status == 200
    assert plugin.lease("v1") == plugin.member.id


# ---- what others do to a dataset in use ----

@pytest.mark.parametrize("restarted", [False, True])
def test_a_dataset_that_was_renamed_in_use_is_let_go(cluster, plugin, restarted):
    dataset = plugin.made("v1")
    plugin.mounted("v1")
    assert cluster.control.call("PATCH", f"/v2/datasets/{dataset}", {"name": "v2"}).status == 200
    rig.wait_until("it has heard of it", lambda: plugin.names() == ["v2"])
    if restarted:
        plugin.restart()
        rig.wait_until("it is listed", lambda: plugin.names() == ["v2"])
    assert plugin.get("v1")["Name"] == "v1"  # dockerd asks, and does not unmount what is not there
    plugin.unmount("v1")
    assert plugin.ask("Get", Name="v1").status != 200
    assert plugin.lease("v2") is None


@pytest.mark.parametrize("first", ["v1", "v2"])
def test_a_dataset_that_podman_has_by_two_names_is_in_use_by_either(cluster, plugin, first):
    """podman counts by name, and has one ID for all."""
    dataset = plugin.made("v1")
    plugin.mounted("v1", PODMAN_ID)
    assert cluster.control.call("PATCH", f"/v2/datasets/{dataset}", {"name": "v2"}).status == 200
    rig.wait_until("it has heard of it", lambda: plugin.names() == ["v2"])
    plugin.mounted("v2", PODMAN_ID)
    plugin.unmount(first, PODMAN_ID)
    plugin.unmount(first, PODMAN_ID)  # it may be said again
    assert plugin.lease("v2") == plugin.member.id
    plugin.restart()
    plugin.unmount("v1" if first == "v2" else "v2", PODMAN_ID)
    assert plugin.lease("v2") is None


def test_a_name_that_another_dataset_took_over_is_still_that_of_the_mount(cluster, plugin):
    old = plugin.made("v1")
    plugin.mounted("v1")
    assert cluster.control.call("PATCH", f"/v2/datasets/{old}", {"name": "v2"}).status == 200
    rig.wait_until("it has heard of it", lambda: plugin.names() == ["v2"])
    new = plugin.made("v1")
    plugin.mounted("v1", "new")
    plugin.unmount("v1")
    assert plugin.lease("v2") is None and plugin.lease("v1") == plugin.member.id
    plugin.unmount("v1", "new")
    assert plugin.lease("v1") is None and old != new


def test_a_dataset_that_was_deleted_in_use_is_let_go_and_goes(cluster, plugin):
    dataset = plugin.made("v1")
    plugin.mounted("v1")
    assert cluster.control.delete(f"/v2/datasets/{dataset}").status == 200
    rig.wait_until("it has heard of it", lambda: plugin.names() == [])
    assert "deleted" in plugin.get("v1")["Status"]["warning"]
    plugin.unmount("v1")
    assert plugin.ask("Get", Name="v1").status != 200
    assert cluster.control.get("/v2/leases").json["leases"] == []


@pytest.mark.parametrize("away", [False, True])
def test_a_lease_that_was_ended_under_a_container_is_taken_again(cluster, plugin, other, away):
    """As by an operator's mistake, or by a control service that was restored from a backup."""
    dataset = plugin.made("v1")
    with plugin.container(plugin.mounted("v1")):
        if away:
            cluster.kill_control()
            cluster.control.start()
            plugin.process.send_signal(signal.SIGSTOP)
        end_lease(cluster, dataset)
        plugin.process.send_signal(signal.SIGCONT)
        rig.wait_until("it is taken again", lambda: plugin.lease("v1") == plugin.member.id)
        assert "in use on node" in other.mount("v1").error
    plugin.unmount("v1")
    assert plugin.lease("v1") is None


def test_the_lease_of_a_fenced_node_stays_ended_whatever_still_runs_there(cluster, plugin, other):
    plugin.made("v1")
    with plugin.container(plugin.mounted("v1")):
        cluster.fleet.sleep(plugin.member)
        fence = f"/v2/nodes/{plugin.member.id}/fence"
        rig.wait_until("it may be given up", lambda: cluster.control.post(fence, {"accept_risk": True}).status == 200)
        rig.wait_until("it has heard of it", lambda: "in_use_on" not in plugin.get("v1")["Status"])
        assert other.mounted("v1").is_mount() and other.lease("v1") == other.member.id
    plugin.unmount("v1")
    assert other.lease("v1") == other.member.id


# ---- what a plugin did not hear ----

def test_counts_that_nobody_stands_behind_are_found_out(cluster, plugin):
    """Of an unmount that no plugin heard; and of a lease that an operator has ended since no container is there."""
    for name in ("unheard", "ended", "used"):
        plugin.made(name)
    bound = plugin.dir / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", plugin.mounted("unheard"), bound], check=True)
    with plugin.container(plugin.mounted("used")):  # which has copies of the other mounts, at their places
        plugin.restart()
        plugin.mounted("ended", "c2")
        end_lease(cluster, plugin.dataset("ended")["dataset_id"])
        for name in ("unheard", "ended"):
            rig.wait_until("it counts no more", lambda: plugin.get(name)["Status"]["mounts"] == 0, 40)
            rig.wait_until("its lease is released", lambda: plugin.lease(name) is None)
        assert plugin.lease("used") == plugin.member.id and plugin.get("used")["Status"]["mounts"] == 1
    subprocess.run(["umount", bound], check=True)


def test_a_plugin_killed_between_the_last_unmount_and_its_release_releases_then(cluster, plugin):
    plugin.made("v1")
    plugin.mounted("v1", "c1")
    cluster.control.process.send_signal(signal.SIGSTOP)
    later(lambda: pytest.raises(Exception, plugin.ask, "Unmount", Name="v1", ID="c1"))
    rig.wait_until("it is counted no more", lambda: plugin.get("v1")["Status"]["mounts"] == 0)
    plugin.process.kill()
    plugin.process.wait()
    cluster.kill_control()  # and with it what was asked
    cluster.control.start()
    plugin.start()
    rig.wait_until("its lease is released", lambda: plugin.lease("v1") is None)


# ---- removal ----

def test_what_another_node_uses_is_not_removed_by_one_that_has_not_heard_of_it(cluster, plugin, other):
    plugin.made("v1", on_remove="delete")
    rig.wait_until("the other has heard of it", lambda: other.names() == ["v1"])
    other.process.send_signal(signal.SIGSTOP)
    cluster.kill_control()
    cluster.control.start("--max-watchers", "1")  # which this node's plugin is, so that the other hears of nothing
    rig.wait_until("control is followed", lambda: "warning" not in plugin.get("v1")["Status"])
    plugin.mounted("v1")
    other.process.send_signal(signal.SIGCONT)
    assert plugin.member.id in other.ask("Remove", Name="v1").error
    assert "in_use_on" not in other.get("v1")["Status"]  # it has not heard
    assert plugin.dataset("v1")["wanted"] == "mounted" and plugin.lease("v1") == plugin.member.id
    plugin.unmount("v1")
    assert other.ask("Remove", Name="v1").status == 200
    assert plugin.dataset("v1") is None
    rig.wait_until("it is let go", lambda: cluster.control.get("/v2/leases").json["leases"] == [])


def test_what_is_being_mounted_is_not_removed(cluster, plugin):
    plugin.made("v1", on_remove="delete")
    plugin.member.slow = True
    thread, box = plugin.mount_later("v1")
    rig.wait_until("it is being mounted", lambda: plugin.member.waiting)
    assert "in use" in plugin.ask("Remove", Name="v1").error
    plugin.member.go_on()
    thread.join(rig.LIMIT_S)
    assert box[0].status == 200
    plugin.unmount("v1")
    assert plugin.ask("Remove", Name="v1").status == 200
    assert plugin.dataset("v1") is None


def test_a_start_that_comes_while_the_volume_is_being_removed_is_refused(cluster, plugin):
    """Here it is mounted and has a lease, of a start that nobody waited for: that would be taken from its container."""
    plugin.made("v1", on_remove="delete")
    plugin.member.slow = True
    with pytest.raises(TimeoutError):
        plugin.raw("/VolumeDriver.Mount", json.dumps({"Name": "v1", "ID": "c1"}).encode(), timeout=0.5)
    plugin.member.go_on()
    rig.wait_until("it is mounted", lambda: "volume v1 is mounted" in plugin.log)
    cluster.control.process.send_signal(signal.SIGSTOP)
    removed, removal = later(plugin.ask, "Remove", Name="v1")
    removed.join(0.5)
    plugin.get("v1")  # so it has heard of that
    thread, box = plugin.mount_later("v1", "c2")
    thread.join(0.5)
    cluster.control.process.send_signal(signal.SIGCONT)
    for t in (removed, thread):
        t.join(rig.LIMIT_S)
    assert removal[0].status == 200 and "removed" in box[0].error
    rig.wait_until("its lease is released", lambda: cluster.control.get("/v2/leases").json["leases"] == [])
