# SPDX-License-Identifier: Apache-2.0
"""A machine's life with Flocker: installed, used, hit, rebooted, removed. The tests are its chapters,
in this order."""
import json
import os
import pathlib
import re
import stat

import pytest

import rig
from quickstarted import CONTROL, NODE, THERE, UNITS

# What any machine writes that boots, is logged into and gets a user; and PostgreSQL, with its test.
NOT_OURS = re.compile(r"(etc|var/lib|var/log)/postgresql/|etc/apt/apt\.conf\.d/02autoremove-postgresql$|"
                      r"var/log/journal/|var/log/[wb]tmp$|var/lib/systemd/|var/tmp/systemd-private-|"
                      r"root/\.ssh$|etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|"
                      r"etc/\.pwd\.lock$")


def test_quickstart_installs_and_starts_the_units(cluster):
    for unit, shown in cluster.states().items():
        assert shown["ActiveState"] == "active", shown
        assert shown["UnitFileState"] == "enabled"
        assert shown["Type"] == "notify"  # so "active" means that it said READY=1
        assert shown["Restart"] == "always"
        assert shown["NRestarts"] == "0"
        assert shown["WatchdogUSec"] not in ("0", "infinity"), unit
    assert cluster.live() == {"127.0.0.1", "127.0.0.2"}
    assert cluster.story.count("checksums are right") == 3
    cluster.wait_mounted()
    assert cluster.machine.out("systemctl", "is-system-running") == "running\n"


def test_udev_names_the_device_and_systemd_lets_the_mount_be(cluster, machine):
    device = cluster.mount().source
    link = machine.path("/dev/disk/by-dataset", cluster.dataset)
    rig.wait_until("udev has made the link", link.is_symlink)
    assert os.path.basename(os.readlink(link)) == os.path.basename(device)
    before = cluster.mount()
    machine.call("systemctl", "daemon-reload")
    machine.call("udevadm", "trigger", "--settle", "--action=change", device)
    assert cluster.mount() == before


def test_a_second_quickstart_uses_what_is_there(cluster, machine):
    before = {unit: shown["MainPID"] for unit, shown in cluster.states().items()}
    story = machine.quickstart().stdout
    assert "they run already" in story and cluster.dataset in story
    assert "Copying" not in story
    assert before == {unit: shown["MainPID"] for unit, shown in cluster.states().items()}


@pytest.mark.parametrize("unit, limit", [
    (CONTROL, 1.5), (NODE, 6.0), ("flocker-dataset@x.service", 5.5), ("flocker-docker-plugin.service", 4.0)])
def test_units_are_hardened(cluster, machine, unit, limit):
    """Exposure by systemd's own count; that of the node cannot be low, as it mounts for the host."""
    said = machine.out("systemd-analyze", "security", "--no-pager", unit)
    assert float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said).group(1)) <= limit, said


def test_systemd_has_nothing_to_say_about_units(machine):
    units = machine.out("sh", "-c", "cd /usr/lib/systemd/system; ls flocker-*").replace("@", "@x").split()
    assert len(units) == 7
    said = machine.call("systemd-analyze", "verify", "--man=no", *units).stdout
    assert not [line for line in said.splitlines() if "flocker" in line], said


def test_changed_certificates_reach_the_service(cluster, machine):
    """Root's files, which the service itself may not read: put in place by root, in use without a restart."""
    before, taken = machine.show(CONTROL)["MainPID"], "certificates are read anew"
    quickstart = "/var/lib/flocker-quickstart"
    ca = "/usr/local/bin/flocker-ca"

    def put(script):
        said = machine.journal(CONTROL).count(taken)
        machine.call("sh", "-ec", f"cd {quickstart}/ca; {script}")
        rig.wait_until("they are taken", lambda: machine.journal(CONTROL).count(taken) > said)
        assert len(cluster.live()) == 2
        assert machine.show(CONTROL)["MainPID"] == before

    put(f"mkdir renewed; {ca} renew control-127.0.0.1.crt -o renewed; chmod 0600 renewed/*; "
        "for end in crt key; do cp renewed/control-127.0.0.1.$end /etc/flocker/control-service.$end; done")
    put(f"{ca} create-api-certificate eve; {ca} revoke eve.crt; cp cluster.crl /etc/flocker/")
    there = machine.path("/run/flocker-control")
    assert {f.name: stat.S_IMODE(f.stat().st_mode) for f in there.iterdir()} == dict.fromkeys(
        ("cluster.crt", "cluster.crl", "control-service.crt", "control-service.key"), 0o400)
    assert (there.stat().st_uid, stat.S_IMODE(there.stat().st_mode)) == (0, 0o755)
    said = machine.journal(CONTROL).count(taken)
    machine.call("systemctl", "reload", CONTROL, NODE)
    rig.wait_until("they are taken", lambda: machine.journal(CONTROL).count(taken) > said
                   and taken in machine.journal(NODE))
    machine.call("sh", "-c", f"rm -r {quickstart}/ca/renewed {quickstart}/ca/eve.* /etc/flocker/cluster.crl "
                 f"{quickstart}/ca/cluster.crl")
    assert machine.show(CONTROL)["MainPID"] == before


@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_daemon_is_back_and_its_mount_was_never_away(cluster, machine, unit):
    before, mount = machine.show(unit), cluster.mount()
    sessions = machine.journal(CONTROL).count("connected from")
    with open(machine.path(cluster.mountpoint, "held"), "wb", buffering=0) as held:
        machine.call("systemctl", "kill", "--signal=KILL", unit)
        held.write(b"before")
        rig.wait_until(f"{unit} is back", lambda: machine.show(unit)["ActiveState"] == "active"
                       and machine.show(unit)["MainPID"] not in ("0", before["MainPID"]))
        rig.wait_until("a node has come back", lambda: machine.journal(CONTROL).count(
            "connected from") > sessions)
        cluster.wait_mounted()
        held.write(b"after")
        os.fsync(held.fileno())
    assert int(machine.show(unit)["NRestarts"]) == int(before["NRestarts"]) + 1
    assert cluster.mount() == mount
    assert machine.path(cluster.mountpoint, "held").read_bytes() == b"beforeafter"
    machine.path(cluster.mountpoint, "held").unlink()


@pytest.mark.parametrize("unit", UNITS)
def test_a_daemon_that_hangs_is_ended_by_the_watchdog(cluster, machine, unit):
    directory = machine.path("/run/systemd/system", f"{unit}.d")
    directory.mkdir(parents=True)
    (directory / "watchdog.conf").write_text("[Service]\nWatchdogSec=3s\n")
    machine.call("systemctl", "daemon-reload")
    machine.call("systemctl", "restart", unit)
    pid, mount = machine.show(unit)["MainPID"], cluster.mount()
    machine.call("systemctl", "kill", "--signal=STOP", unit)
    rig.wait_until(f"{unit} is back", lambda: machine.show(unit)["ActiveState"] == "active"
                   and machine.show(unit)["MainPID"] not in ("0", pid))
    assert "Watchdog timeout" in machine.journal(unit)
    (directory / "watchdog.conf").unlink()
    directory.rmdir()
    machine.call("systemctl", "daemon-reload")
    machine.call("systemctl", "restart", unit)
    cluster.wait_mounted()
    assert cluster.mount() == mount


def test_a_stopped_node_leaves_its_mounts_and_says_so(cluster, machine):
    mount, said = cluster.mount(), machine.journal(NODE)
    machine.call("systemctl", "stop", NODE)
    assert cluster.mount() == mount
    assert "1 mounted dataset stays mounted and in use" in machine.journal(NODE)[len(said):]
    assert [m.point for m in machine.mounts()] == [cluster.mountpoint]  # the tree has gone
    machine.call("systemctl", "start", NODE)
    cluster.wait_mounted()
    assert cluster.mount() == mount


@pytest.fixture
def guest(cluster, machine):
    """A unit that uses the dataset, as a container engine would; where it says what it found."""
    unit, said = machine.path("/etc/systemd/system/guest.service"), "/var/lib/guest"
    unit.write_text(f"""[Unit]
After={NODE}
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mountpoint {cluster.mountpoint} >{said}'
[Install]
WantedBy=multi-user.target
""")
    machine.call("systemctl", "enable", unit.name)
    yield said
    machine.call("systemctl", "disable", unit.name)
    machine.call("rm", f"/etc/systemd/system/{unit.name}", said)
    machine.call("systemctl", "daemon-reload")


@pytest.mark.parametrize("how", ["reboot", "power_cycle"])
def test_datasets_come_back_before_those_who_use_them(cluster, machine, guest, how):
    getattr(machine, how)()
    assert machine.out("cat", guest) == f"{cluster.mountpoint} is a mountpoint\n"
    cluster.wait_mounted()
    cluster.check_files()


def test_a_node_without_control_does_not_hold_up_a_boot_for_long(cluster, machine):
    machine.call("systemctl", "disable", CONTROL)
    machine.power_cycle()
    assert "what needs them does not wait longer" in machine.journal(NODE)
    assert machine.show(NODE)["ActiveState"] == "active" and not cluster.mount()
    machine.call("systemctl", "enable", "--now", CONTROL)
    cluster.wait_mounted()


def test_stop_puts_everything_away_and_a_start_brings_it_back(cluster, machine):
    machine.quickstart("stop")
    assert {shown["ActiveState"] for shown in cluster.states().values()} == {"inactive"}
    assert {shown["UnitFileState"] for shown in cluster.states().values()} == {"disabled"}
    assert not machine.mounts() and not machine.loops()
    if os.environ.get("FLOCKER_FULL") == "1":
        assert machine.quickstart().stdout.count("checksums are right") == 3
    else:
        machine.call("systemctl", "enable", "--now", *UNITS)
    cluster.wait_mounted()


def test_purge_refuses_to_destroy_what_others_made_and_then_leaves_nothing(cluster, machine):
    machine.quickstart("ctl", "create", "-n", "127.0.0.2", "-s", "64M", "--name", "mine", "--wait")
    refused = machine.quickstart("purge", check=False)
    assert refused.returncode == 1 and "these datasets are not quickstart's" in refused.stdout
    machine.quickstart("ctl", "destroy", "-d", "mine", "--undelete=1h")  # its volume is kept, and goes as well
    cluster.wait_mounted()
    machine.call("systemctl", "start", "flocker-dataset@demo.service")
    machine.quickstart("purge", "--all")
    assert not machine.mounts() and not machine.loops()
    assert not machine.out("systemctl", "list-units", "--all", "--plain", "--no-legend", "flocker*")
    assert machine.out("systemctl", "is-system-running") == "running\n"
    check_disk(cluster.empty, machine)


def check_disk(empty, machine):
    """It is as before, but for what every machine writes, and what was copied up unchanged."""
    now = machine.disk()
    wrong = []
    for path in sorted(now.keys() | empty.keys()):
        if NOT_OURS.match(path) or now.get(path) == empty.get(path):
            continue
        below, here = pathlib.Path("/", path), machine.upper / path
        if path not in now or stat.S_ISCHR(here.lstat().st_mode) or not below.exists():
            wrong.append(path)  # gone, removed from what was there, or new
        elif here.is_file() and here.read_bytes() != below.read_bytes():
            wrong.append(path)
    assert not wrong
