# SPDX-License-Identifier: Apache-2.0
"""The volume plugin protocol over its socket, as dockerd and podman speak it."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import rig
from docker_rig import PODMAN_ID


# ---- the protocol itself ----

def test_the_handshake_and_what_the_plugin_is(plugin):
    answer = plugin.activate()
    assert (answer.status, answer.json) == (200, {"Implements": ["VolumeDriver"]})
    assert answer.headers["Content-Type"].startswith("application/vnd.docker.plugins.v1")
    assert plugin.ask("Capabilities").json == {"Capabilities": {"Scope": "global"}}


def test_the_socket_is_roots_alone(plugin):
    assert plugin.socket.stat().st_mode & 0o777 == 0o600
    assert plugin.socket.parent.stat().st_mode & 0o777 == 0o700


NAMELESS = [b"", b"{", b"[]", b"null", b"{}", b'{"Name": null}', b'{"Name": 7}', b'{"Name": ""}', b'{"Name": "../x"}',
            b'{"Name": ".."}', b'{"Name": "-x"}', b'{"Name": "a b"}', b'{"Name": "x", "ID": 7}',
            b'{"Name": "' + b"x" * 256 + b'"}']


def test_a_request_that_names_no_volume_is_an_error_that_podman_sees_too(plugin):
    for call in ("Create", "Remove", "Mount", "Unmount", "Path", "Get"):
        for body in NAMELESS:
            answer = plugin.raw(f"/VolumeDriver.{call}", body)
            assert answer.status == 400 and answer.error, (call, body)
    assert plugin.names() == []


def test_what_is_no_call_is_an_error(plugin):
    assert plugin.raw("/VolumeDriver.Destroy", b"{}").status == 404
    assert "no call" in plugin.raw("/", b"{}").error


def test_list_takes_an_empty_body_and_an_object(plugin):
    for body in (b"", b"{}", b"{}\n"):
        assert plugin.raw("/VolumeDriver.List", body).json == {"Volumes": [], "Err": ""}


# ---- create ----

def test_create_places_nothing(cluster, plugin):
    plugin.made("pgdata")
    dataset = plugin.dataset("pgdata")
    assert dataset["node"] is None and dataset["wanted"] == "unplaced" and dataset["lease"] is None
    assert not any(m.holds for m in cluster.fleet.members)
    volume = plugin.get("pgdata")
    assert volume["Name"] == "pgdata" and volume["Mountpoint"] == ""
    assert volume["Status"]["dataset_id"] == dataset["dataset_id"]
    time.strptime(volume["CreatedAt"][:19], "%Y-%m-%dT%H:%M:%S")
    assert plugin.names() == ["pgdata"]


def test_sizes_are_understood(plugin):
    sizes = {"10G": 10 << 30, "1.5G": 3 << 29, "500MiB": 500 << 20, "500mb": 500 << 20, "0.25t": 1 << 38,
             "67108864": 64 << 20, "65536K": 64 << 20}
    for i, (text, size) in enumerate(sizes.items()):
        plugin.made(f"v{i}", size=text)
        assert plugin.dataset(f"v{i}")["size"] == size, text


def test_a_size_that_is_none_is_an_error_that_shows_the_right_form(plugin):
    for text in ("", "10 G", "G", "-1G", "1,5G", "10X", "1.5", "0", "10Gigabytes", "0x10G", "1e3G"):
        answer = plugin.create("v1", size=text)
        assert answer.status == 400 and "10G, 1.5G or 500MiB" in answer.error, text
    assert plugin.dataset("v1") is None


def test_a_size_below_the_least_is_an_error(plugin):
    assert "64.00 MiB" in plugin.create("v1", size="1M").error
    for filesystem, least in (("xfs", 300), ("btrfs", 109)):
        error = plugin.create("v1", size="64M", filesystem=filesystem).error
        assert filesystem in error and str(least << 20) in error, error
    assert plugin.dataset("v1") is None


def test_options_reach_the_dataset(cluster, plugin):
    node = cluster.fleet.members[1].id
    plugin.made("v1", profile="gold", filesystem="xfs", failover="lease", node=node, on_remove="delete", size="1G")
    dataset = plugin.dataset("v1")
    assert dataset["filesystem"] == "xfs" and dataset["failover"]["policy"] == "lease" and dataset["node"] == node
    assert dataset["metadata"]["clusterhq:flocker:profile"] == "gold"
    assert plugin.get("v1")["Status"]["on-remove"] == "delete"


def test_a_wrong_option_is_an_error_that_says_what_would_be_right(plugin):
    for option, text, says in (
            ("sise", "1G", "there are: size, profile, filesystem, failover, node, on-remove"),
            ("filesystem", "zfs", "ext4, xfs or btrfs"), ("failover", "always", "manual or lease"),
            ("on_remove", "never", "keep or delete"), ("node", "nowhere", "no node"), ("node", "", "node"),
            ("profile", "", "profile")):
        answer = plugin.create("v1", **{option: text})
        assert answer.status == 400 and says in answer.error, option
    assert plugin.dataset("v1") is None


def test_options_have_to_be_texts(plugin):
    assert plugin.ask("Create", Name="v1", Opts={"size": 10}).status == 400
    assert plugin.ask("Create", Name="v1", Opts=[]).status == 400


def test_an_existing_name_with_other_options_is_an_error_that_shows_the_difference(plugin, other):
    plugin.made("v1", size="1G")
    rig.wait_until("the other has heard of it", lambda: other.names() == ["v1"])
    for p in (plugin, other):
        for option, text, says in (("size", "2G", "size is 1.00 GiB"), ("filesystem", "xfs", "filesystem is ext4"),
                                   ("failover", "lease", "failover is manual"), ("profile", "gold", "profile is none"),
                                   ("on_remove", "delete", "on-remove is keep")):
            answer = p.create("v1", **{option: text})
            assert answer.status == 400 and says in answer.error, option
        assert p.create("v1").status == 200
        assert p.create("v1", size="1G", filesystem="ext4").status == 200
    assert len(plugin.cluster.control.every()) == 1


def test_a_name_that_another_made_meanwhile_is_found(cluster, plugin, other):
    """The event has not come yet: it is control that says so."""
    other.process.send_signal(signal.SIGSTOP)
    plugin.made("v1", size="1G")
    other.process.send_signal(signal.SIGCONT)
    assert other.create("v1", size="1G").status == 200
    assert len(cluster.control.every()) == 1


def test_a_dataset_of_the_api_is_a_volume(cluster, plugin):
    made = cluster.control.post("/v2/datasets", {"name": "fromapi", "node": None}).json
    rig.wait_until("it is listed", lambda: plugin.names() == ["fromapi"])
    assert plugin.get("fromapi")["Status"]["dataset_id"] == made["dataset_id"]
    assert cluster.control.delete(f"/v2/datasets/{made['dataset_id']}").status == 200
    rig.wait_until("it is not listed any more", lambda: plugin.names() == [])
    assert plugin.ask("Get", Name="fromapi").status == 500


# ---- mount and unmount ----

def test_mount_brings_the_volume_here_with_a_lease(cluster, plugin):
    dataset = plugin.made("v1")
    place = plugin.mounted("v1")
    assert place == plugin.member.root / dataset and place.is_mount()
    assert plugin.lease("v1") == plugin.member.id and plugin.dataset("v1")["node"] == plugin.member.id
    assert plugin.get("v1")["Mountpoint"] == str(place)
    assert plugin.ask("Path", Name="v1").json["Mountpoint"] == str(place)
    assert plugin.ask("List").json["Volumes"][0]["Mountpoint"] == str(place)
    plugin.unmount("v1")
    assert plugin.lease("v1") is None
    assert place.is_mount()  # nobody needs it elsewhere


def test_an_unknown_volume_cannot_be_mounted(plugin):
    assert "no volume" in plugin.mount("v1").error
    assert plugin.ask("Unmount", Name="v1", ID="x").status == 200


def test_mounts_are_counted_for_each_id(plugin):
    """As `docker cp` needs it: it mounts with the ID of the running container, and unmounts."""
    plugin.made("v1")
    for mount_id in ("c1", "c1", "c2"):
        plugin.mounted("v1", mount_id)
    for mount_id in ("c1", "c2", "c2", "unknown"):
        plugin.unmount("v1", mount_id)
        assert plugin.lease("v1")
    plugin.unmount("v1", "c1")
    assert plugin.lease("v1") is None


def test_a_volume_in_use_elsewhere_is_refused_with_the_node(cluster, plugin, other):
    plugin.made("v1")
    place = plugin.mounted("v1")
    (place / "data").write_text("here")
    error = other.mount("v1").error
    assert plugin.member.id in error and "in use on node" in error
    assert plugin.dataset("v1")["node"] == plugin.member.id and (place / "data").read_text() == "here"
    plugin.unmount("v1")
    assert other.mounted("v1").is_mount()
    assert not place.exists()
    assert other.member.id in plugin.mount("v1").error


def test_a_volume_that_only_lies_elsewhere_is_moved(cluster, plugin, other):
    plugin.made("v1", node=plugin.member.id)
    cluster.fleet.wait_mounted(1)
    other.mounted("v1")
    assert plugin.dataset("v1")["owner"] == other.member.id


def test_a_mount_may_wait_for_its_end_elsewhere(cluster, plugin):
    other = cluster.plugins[1].start("--in-use", "wait")
    plugin.made("v1")
    plugin.mounted("v1")
    thread, box = other.mount_later("v1")
    thread.join(0.5)
    assert not box
    plugin.unmount("v1")
    began = time.monotonic()
    thread.join(rig.LIMIT_S)
    assert box[0].status == 200 and other.lease("v1") == other.member.id
    assert time.monotonic() - began < 4  # by the event, and not when it would have tried again by itself


def test_many_mounts_of_one_volume_are_one_action(cluster, plugin):
    plugin.made("v1")
    plugin.member.slow = True
    waiting = [plugin.mount_later("v1", f"c{i}") for i in range(8)]
    rig.wait_until("it is being mounted", lambda: plugin.member.waiting)
    assert plugin.names() == ["v1"] and plugin.get("v1")["Mountpoint"] == ""
    plugin.member.go_on()
    for thread, box in waiting:
        thread.join(rig.LIMIT_S)
        assert box[0].status == 200
    assert plugin.dataset("v1")["epoch"] == 1
    for i in range(8):
        assert plugin.lease("v1")
        plugin.unmount("v1", f"c{i}")
    assert plugin.lease("v1") is None


def test_a_mount_that_takes_too_long_says_why_and_goes_on(cluster):
    plugin = cluster.plugins[0].start("--mount-limit", str(2 * rig.SLOWER))
    plugin.made("v1")
    plugin.member.slow = True
    error = plugin.mount("v1").error
    assert "not here yet" in error and "mounting" in error and plugin.member.id in error
    rig.wait_until("others may have it", lambda: plugin.lease("v1") is None)
    plugin.member.go_on()
    cluster.fleet.wait_mounted(1)
    assert plugin.mounted("v1").is_mount() and plugin.dataset("v1")["epoch"] == 1


def test_who_hung_up_is_not_counted_and_finds_it_done(cluster, plugin):
    """podman waits for 5 s."""
    plugin.made("v1")
    plugin.member.slow = True
    with pytest.raises(TimeoutError):
        plugin.raw("/VolumeDriver.Mount", json.dumps({"Name": "v1", "ID": PODMAN_ID}).encode(), timeout=0.5)
    plugin.member.go_on()
    cluster.fleet.wait_mounted(1)
    rig.wait_until("it is there", lambda: plugin.get("v1")["Mountpoint"])
    assert plugin.get("v1")["Status"]["mounts"] == 0
    began = time.monotonic()
    plugin.mounted("v1", PODMAN_ID)
    assert time.monotonic() - began < rig.SLOWER
    plugin.unmount("v1", PODMAN_ID)
    assert plugin.lease("v1") is None


def seconds_of_calls(plugin, calls, rounds):
    """The median of each call, over a connection that is kept alive as dockerd keeps it."""
    seconds = {name: [] for name, _ in calls}
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(rig.LIMIT_S)
        s.connect(str(plugin.socket))
        answers = s.makefile("rb")
        for _ in range(rounds):
            for name, body in calls:
                text = json.dumps(body)
                request = f"POST /VolumeDriver.{name} HTTP/1.1\r\nHost:\r\nContent-Length: {len(text)}\r\n\r\n{text}"
                began = time.monotonic()
                s.sendall(request.encode())
                assert answers.readline().startswith(b"HTTP/1.1 200")
                length = 0
                while (line := answers.readline().strip()):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert length and len(answers.read(length)) == length
                seconds[name].append(time.monotonic() - began)
    return {name: sorted(took)[len(took) // 2] for name, took in seconds.items()}


@pytest.mark.parametrize("away", [False, True], ids=["a mount hangs", "and control is away"])
def test_what_is_asked_most_is_answered_within_a_millisecond_while(cluster, plugin, away):
    for i in range(100):
        plugin.made(f"v{i}")
    plugin.member.slow = True
    plugin.mount_later("v7", may_break=True)
    rig.wait_until("it is being mounted", lambda: plugin.member.waiting)
    if away:
        cluster.kill_control()
        rig.wait_until("it is noticed", lambda: plugin.get("v7")["Status"].get("warning"))
    calls = [("List", {}), ("Get", {"Name": "v7"}), ("Path", {"Name": "v7"}), ("Capabilities", {})]
    batches = [seconds_of_calls(plugin, calls, 30) for _ in range(3)]
    took = {name: min(b[name] for b in batches) for name, _ in calls}
    print({name: f"{seconds * 1000:.3f} ms" for name, seconds in took.items()})
    assert max(took.values()) < 0.001 * rig.SLOWER, took


def test_podman_has_one_mount_whatever_it_lost(plugin):
    plugin.made("v1")
    for _ in range(3):
        plugin.activate("podman")
        plugin.mounted("v1", PODMAN_ID)
    plugin.activate("podman")
    plugin.unmount("v1", PODMAN_ID)
    assert plugin.lease("v1") is None


def test_podmans_handshakes_say_nothing_of_dockers_counts(plugin):
    plugin.made("v1")
    plugin.mounted("v1", "c1")
    plugin.activate("podman")
    plugin.mounted("v1", "c1")
    plugin.unmount("v1", "c1")
    assert plugin.lease("v1")


def test_a_count_of_before_a_crash_of_dockerd_is_taken_over(plugin):
    plugin.made("v1")
    plugin.mounted("v1", "c1")
    plugin.activate()  # its unmount was lost
    plugin.mounted("v1", "c1")
    plugin.unmount("v1", "c1")
    assert plugin.lease("v1") is None


def test_a_container_that_lived_on_keeps_its_volume(plugin):
    """With live-restore: a copy is a mount and an unmount of the container's ID, which dockerd did not mount again."""
    plugin.made("v1")
    with plugin.container(plugin.mounted("v1", "c1")):
        plugin.activate()
        plugin.mounted("v1", "c1")
        plugin.unmount("v1", "c1")
        assert plugin.lease("v1") == plugin.member.id
    plugin.unmount("v1", "c1")
    assert plugin.lease("v1") is None


# ---- remove ----

def test_remove_keeps_the_data_unless_told_otherwise(plugin):
    plugin.made("kept")
    plugin.made("gone", on_remove="delete")
    for name in ("kept", "gone"):
        assert plugin.ask("Remove", Name=name).json == {"Err": ""}
    assert plugin.dataset("kept") and plugin.dataset("gone") is None
    assert plugin.names() == ["kept"]
    assert plugin.ask("Remove", Name="gone").status == 200  # again


def test_what_is_in_use_is_not_removed(plugin, other):
    plugin.made("v1", on_remove="delete")
    plugin.mounted("v1")
    assert "in use" in plugin.ask("Remove", Name="v1").error
    rig.wait_until("the other has heard of it", lambda: other.get("v1")["Status"].get("in_use_on"))
    assert plugin.member.id in other.ask("Remove", Name="v1").error
    assert plugin.dataset("v1")


# ---- what dies and comes back ----

def test_counts_survive_a_killed_plugin(plugin):
    plugin.made("v1")
    plugin.mounted("v1", "c1")
    plugin.mounted("v1", "c2")
    plugin.restart()
    assert plugin.get("v1")["Status"]["mounts"] == 2
    plugin.unmount("v1", "c1")
    assert plugin.lease("v1")
    plugin.unmount("v1", "c2")
    assert plugin.lease("v1") is None


def test_a_plugin_killed_in_a_mount_finds_its_way(cluster, plugin):
    plugin.made("v1")
    plugin.member.slow = True
    plugin.mount_later("v1", may_break=True)
    rig.wait_until("it is being mounted", lambda: plugin.member.waiting)
    plugin.process.kill()
    plugin.process.wait()
    assert plugin.lease("v1") == plugin.member.id
    plugin.start()
    answer = plugin.raw("/VolumeDriver.Mount", b"")  # as dockerd asks again
    assert answer.status == 400 and "again" in answer.error
    plugin.member.go_on()
    assert plugin.mounted("v1").is_mount() and plugin.dataset("v1")["epoch"] == 1
    plugin.unmount("v1")
    assert plugin.lease("v1") is None


def test_counts_of_another_boot_are_void_and_their_leases_end(plugin):
    plugin.made("v1")
    plugin.mounted("v1")
    plugin.process.kill()
    plugin.process.wait()
    path = plugin.state / "mounts.json"
    state = json.loads(path.read_text())
    state["boot"] = "00000000-0000-4000-8000-000000000000"
    path.write_text(json.dumps(state))
    plugin.start()
    rig.wait_until("its lease is released", lambda: plugin.lease("v1") is None)


def test_a_state_file_that_is_none_stops_nothing(plugin):
    plugin.made("v1")
    plugin.mounted("v1")
    plugin.process.kill()
    plugin.process.wait()
    (plugin.state / "mounts.json").write_text('{"volumes": [{"dataset": 7}]}')
    plugin.start()
    assert "cannot be understood" in plugin.log
    assert plugin.mounted("v1").is_mount()


def test_a_stale_socket_is_replaced_and_one_in_use_is_not(plugin):
    plugin.restart()
    second = subprocess.run(plugin.command("--state-directory", str(plugin.dir / "other")), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=rig.LIMIT_S)
    assert second.returncode == 1 and "another plugin listens there" in second.stdout
    assert plugin.names() == []
    plugin.end()
    assert not plugin.socket.exists()


def test_two_plugins_do_not_share_what_they_remember(plugin):
    second = subprocess.run(plugin.command("--socket", str(plugin.dir / "other.sock")), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=rig.LIMIT_S)
    assert second.returncode == 1 and f"{plugin.state} is in use by another plugin" in second.stdout


def test_a_mount_that_cannot_be_written_down_is_refused(plugin):
    """After a restart nobody would know of the container."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", plugin.state], check=True)
    try:
        plugin.restart()
        plugin.made("v1")
        rig.fill(plugin.state / "filler")
        assert "cannot be written" in plugin.mount("v1").error
        assert plugin.lease("v1") is None and plugin.get("v1")["Status"]["mounts"] == 0
        (plugin.state / "filler").unlink()
        plugin.mounted("v1", "c1")
        rig.fill(plugin.state / "filler")
        assert "cannot be counted" in plugin.mount("v1", "c2").error
        assert plugin.lease("v1") == plugin.member.id and plugin.get("v1")["Status"]["mounts"] == 1
        plugin.unmount("v1", "c1")
        assert plugin.lease("v1") is None
        plugin.end()
    finally:
        subprocess.run(["umount", "-l", plugin.state], check=True)


def test_who_asks_while_it_is_being_stopped_is_told_so(plugin):
    """dockerd keeps its connections."""
    request = b"POST /VolumeDriver.List HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(rig.LIMIT_S)
        s.connect(str(plugin.socket))
        s.sendall(request)
        assert b'"Volumes":[]' in s.recv(65536)
        plugin.process.send_signal(signal.SIGTERM)
        rig.wait_until("it stops", lambda: "stopping" in plugin.log)
        with contextlib.suppress(ConnectionError):
            s.sendall(request)
            answer = s.recv(65536)
            assert b"is being stopped" in answer or not answer  # it was too late
    assert plugin.process.wait(rig.LIMIT_S) == 0


def test_without_control_what_is_known_is_answered_at_once(cluster, plugin):
    for i in range(100):
        plugin.made(f"v{i}")
    place = plugin.mounted("v7")
    cluster.kill_control()
    rig.wait_until("it is noticed", lambda: plugin.get("v7")["Status"].get("warning"))
    began = time.monotonic()
    for _ in range(100):
        assert plugin.get("v7")["Mountpoint"] == str(place)
    assert (time.monotonic() - began) / 100 < 0.01 * rig.SLOWER
    assert len(plugin.names()) == 100
    assert plugin.mounted("v7", "second") == place  # it is leased and here
    assert "cannot be asked" in plugin.create("new").error
    plugin.unmount("v7", "second")
    plugin.unmount("v7")
    cluster.control.start()
    rig.wait_until("its lease is released", lambda: plugin.lease("v7") is None)
    plugin.made("new")


def test_a_control_service_that_hangs_does_not_keep_containers_from_ending(cluster, plugin):
    for name in ("v1", "v2"):
        plugin.made(name)
        plugin.mounted(name)
    cluster.control.process.send_signal(signal.SIGSTOP)
    for name in ("v1", "v2"):
        plugin.ask("Unmount", timeout=5, Name=name, ID="a" * 64)  # podman's limit
    cluster.control.process.send_signal(signal.SIGCONT)
    for name in ("v1", "v2"):
        rig.wait_until("its lease is released", lambda: plugin.lease(name) is None)


def test_a_mount_waits_for_a_control_service_that_comes_back(cluster, plugin):
    plugin.made("v1")
    cluster.kill_control()
    thread, box = plugin.mount_later("v1")
    thread.join(0.5)
    assert not box
    cluster.control.start()
    thread.join(rig.LIMIT_S)
    assert box[0].status == 200, box[0].text


def test_a_plugin_that_starts_before_control_knows_its_volumes_then(cluster, plugin):
    plugin.made("v1")
    cluster.kill_control()
    plugin.restart()
    box = []
    thread = threading.Thread(target=lambda: box.append(plugin.ask("Get", Name="v1")))
    thread.start()
    thread.join(0.5)
    assert not box
    cluster.control.start()
    thread.join(rig.LIMIT_S)
    assert box[0].status == 200, box[0].text


def test_a_certificate_that_changes_while_control_is_asked_is_shown_from_then_on(cluster, plugin):
    plugin.made("v0")  # it is connected
    cluster.control.process.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=plugin.create, args=("v1",))
    thread.start()
    thread.join(0.5)
    pair = cluster.authority.issue("user-plugin", "extendedKeyUsage=clientAuth", file=f"renewed-{plugin.dir.parent.name}")
    for end, path in zip(("crt", "key"), pair):
        (plugin.dir / f"plugin.{end}").write_bytes(path.read_bytes())
    rig.wait_until("it has read it", lambda: "certificates are read anew" in plugin.log)
    cluster.control.process.send_signal(signal.SIGCONT)
    thread.join(rig.LIMIT_S)
    plugin.made("v2")
    shown = rig.wait_until("all are written", lambda: len(
        found := re.findall(r"user-plugin \(serial (\w+)\): POST", cluster.control.log)) == 3 and found)
    assert shown[0] == shown[1] != shown[2]


def test_systemd_may_hand_the_socket_over(plugin):
    plugin.end()
    path = plugin.dir / "activated.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    command = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *plugin.command()]
    before = plugin.log.count("ready: node")
    with open(plugin.log_path, "a") as log:
        plugin.process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=(3,),
                                          preexec_fn=lambda: os.dup2(listener.fileno(), 3))
    rig.wait_until("it is ready", lambda: plugin.log.count("ready: node") > before)
    plugin.socket = path
    assert plugin.names() == []
    plugin.end()
    assert path.exists()
    listener.close()


# ---- its beginning ----

@pytest.mark.parametrize("missing,says", [("node.crt", "no certificate of a node"), ("plugin.crt", "create-api-certificate"),
                                          ("agent.yml", "agent.yml")])
def test_a_missing_file_is_named(cluster, missing, says):
    plugin = cluster.plugins[0]
    (plugin.dir / missing).unlink()
    run = subprocess.run(plugin.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=rig.LIMIT_S)
    assert run.returncode == 1 and says in run.stdout and missing in run.stdout


def test_a_wrong_option_of_the_program_is_refused():
    for option in (["--mount-limit", "0"], ["--in-use", "steal"], ["--socket", "x"], ["--control-port", "0"],
                   ["--docker-socket", "x"], ["--log-level", "loud"], ["word"], ["--user", "../root"]):
        run = subprocess.run([os.environ["FLOCKER_DOCKER_PLUGIN"], *option], capture_output=True, text=True,
                             timeout=rig.LIMIT_S)
        assert run.returncode == 1 and run.stderr.startswith("ERROR: "), option
