# SPDX-License-Identifier: Apache-2.0
"""Plain services that follow their data: flocker-dataset@.service, by a real systemd."""
import json
import re
import shutil
import subprocess

import kernel
import pytest

import rig
from machine import CHECKOUT
from quickstarted import CONTROL, NODE

USER = "daemon"  # of any Debian
ORDER = "/var/lib/flocker-test-order"  # who saw what as it was stopped


class Service:
    """A service that is not root, writes to its dataset, and writes there as well when it is stopped."""

    def __init__(self, cluster, name, *options):
        self.cluster, self.machine, self.name = cluster, cluster.machine, name
        cluster.ctl("create", "-n", "127.0.0.2", "-s", "64M", "--name", name, "--wait", *options)
        self.id = next(d["dataset_id"] for d in self.list() if d["metadata"].get("name") == name)
        self.place = f"/srv/flocker/{name}"
        self.unit, self.user = f"flocker-dataset@{name}.service", f"user-{name}.service"
        self.files = [f"/etc/default/flocker-dataset@{name}", f"/etc/systemd/system/{self.user}"]
        self.put(self.files[0], f'FLOCKER_DATASET_OPTIONS="--owner {USER} --mode 0700"\n')
        self.put(self.files[1], f"""[Unit]
BindsTo={self.unit}
After={self.unit}
[Service]
User={USER}
ExecStartPre=/usr/bin/mountpoint {self.place}
ExecStart=/bin/sh -c 'while :; do date >{self.place}/written; sleep 0.1; done'
ExecStop=/bin/sh -c 'sleep 0.5; echo stopped >>{self.place}/stopped && sync {self.place}/stopped'
[Install]
WantedBy=multi-user.target
""")
        self.machine.call("systemctl", "daemon-reload")

    def put(self, path, text):
        self.machine.path(path).write_text(text)

    def list(self):
        return json.loads(self.cluster.ctl("list", "--json"))

    def start(self):
        """And with it what it is bound to."""
        self.machine.call("systemctl", "reset-failed", self.unit, self.user, check=False)
        self.machine.call("systemctl", "start", self.user)
        return self

    def states(self):
        return self.machine.show(self.unit)["ActiveState"], self.machine.show(self.user)["ActiveState"]

    def wait_states(self, *states):
        rig.wait_until(f"it is {states}", lambda: self.states() == states)

    def stops(self):
        """How often it could write as it was stopped, by the dataset where the node has it."""
        path = self.machine.path("/flocker", self.id, "stopped")
        return path.read_text().count("stopped\n") if path.exists() else 0

    def leases(self):
        return self.cluster.ctl("lease", "list").count(self.id)

    def is_bound(self):
        return bool([m for m in kernel.parse_mountinfo(kernel.read(f"/proc/{self.machine.pid}/mountinfo"))
                     if m.point == self.place])

    def end(self):
        self.machine.call("systemctl", "disable", "--now", self.user)
        self.machine.call("systemctl", "stop", self.unit)
        self.machine.call("systemctl", "reset-failed", self.unit, check=False)
        self.machine.call("rm", *self.files)
        self.machine.call("systemctl", "daemon-reload")
        self.cluster.ctl("destroy", "-d", self.id)
        rig.wait_until("its dataset is gone", lambda: self.id not in [d["dataset_id"] for d in self.list()])


@pytest.fixture(scope="module")
def service(cluster):
    one = Service(cluster, "data")
    yield one
    one.end()


def test_a_service_is_started_with_its_data(service, machine):
    assert machine.show(service.unit)["Type"] == "notify"
    service.start()
    assert service.states() == ("active", "active") and service.is_bound() and service.leases() == 1
    st = machine.path(service.place).stat()
    assert (machine.out("id", "-u", USER).strip(), st.st_mode & 0o7777) == (str(st.st_uid), 0o700)
    assert {"nosuid", "nodev"} <= set(machine.out("findmnt", "-no", "VFS-OPTIONS", service.place).strip().split(","))
    assert f'"at {service.place}"' in machine.out("systemctl", "status", service.unit)


def test_restarts_of_node_and_control_do_not_stop_it(service, machine):
    before = machine.show(service.user)["MainPID"]
    machine.call("systemctl", "restart", NODE, CONTROL)
    service.cluster.wait_mounted()
    assert service.states() == ("active", "active") and machine.show(service.user)["MainPID"] == before


def test_a_killed_child_is_begun_again_and_the_service_goes_on(service, machine):
    main, user = machine.show(service.unit)["MainPID"], machine.show(service.user)["MainPID"]
    machine.call("pkill", "-KILL", "--parent", main)
    rig.wait_until("it works again", lambda: "as it was left there" in machine.journal(service.unit))
    assert service.states() == ("active", "active")
    assert (machine.show(service.unit)["MainPID"], machine.show(service.user)["MainPID"]) == (main, user)


def test_a_killed_main_process_stops_the_service_in_order_and_comes_back(service, machine):
    before = service.stops()
    machine.call("systemctl", "kill", "--kill-who=main", "--signal=KILL", service.unit)
    rig.wait_until("the service has ended", lambda: service.stops() == before + 1)
    service.wait_states("active", "inactive")
    assert service.is_bound() and service.leases() == 1
    service.start()


def test_stopping_it_stops_the_service_first_and_gives_everything_back(service, machine):
    before = service.stops()
    machine.call("systemctl", "stop", service.unit)
    assert service.states() == ("inactive", "inactive") and service.stops() == before + 1
    assert service.leases() == 0 and not service.is_bound()
    assert not machine.path(service.place).exists() and not list(machine.path("/run/flocker/users").iterdir())


def test_one_that_nobody_needs_any_more_may_stop_by_itself(service, machine):
    dropin = machine.path("/run/systemd/system", f"{service.unit}.d")
    dropin.mkdir()
    (dropin / "unneeded.conf").write_text("[Unit]\nStopWhenUnneeded=yes\n")
    machine.call("systemctl", "daemon-reload")
    service.start()
    machine.call("systemctl", "restart", service.user)
    assert service.states() == ("active", "active")
    machine.call("systemctl", "stop", service.user)
    service.wait_states("inactive", "inactive")
    machine.call("rm", "-r", f"/run/systemd/system/{service.unit}.d")
    machine.call("systemctl", "daemon-reload")


def test_what_is_in_use_elsewhere_is_refused_with_the_reason(service, machine):
    service.cluster.ctl("lease", "acquire", service.id, "-n", "127.0.0.2")
    refused = machine.call("systemctl", "start", service.user, check=False)
    assert refused.returncode != 0 and service.states() == ("failed", "inactive")
    said = machine.call("systemctl", "status", service.unit, check=False).stdout
    assert re.search(r"volume data is in use on node .*127\.0\.0\.2", said), said
    assert machine.show(service.unit)["NRestarts"] == "0"
    service.cluster.ctl("lease", "release", service.id)


@pytest.mark.parametrize("name, why", [("nosuch", "there is no dataset nosuch"), ("a-b", "cannot be a directory")])
def test_wrong_names_fail_with_the_reason(machine, name, why, cluster):
    unit = f"flocker-dataset@{name}.service".replace("a-b", r"a\x2fb")
    assert machine.call("systemctl", "start", unit, check=False).returncode != 0
    assert why in machine.journal(unit)
    machine.call("systemctl", "reset-failed", unit)


def fence(service):
    """An operator says that its node is gone, which has lost its connection."""
    service.machine.call("systemctl", "stop", NODE)
    rig.wait_until("its node is away", lambda: "127.0.0.1" not in service.cluster.live())
    service.cluster.ctl("node", "fence", "127.0.0.1", "--accept-risk")


def unmount(service):
    service.machine.call("umount", "--lazy", f"/flocker/{service.id}")


@pytest.mark.parametrize("lose, why", [(fence, "was taken from this node"), (unmount, "was unmounted")])
def test_a_lost_dataset_stops_the_service_while_it_can_write(service, machine, lose, why):
    service.start()
    before = service.stops()
    lose(service)
    service.wait_states("failed", "inactive")  # the service by its own ExecStop=, else it had failed
    assert not service.is_bound()
    assert re.search(f'Status: ".*{why}', machine.call("systemctl", "status", service.unit, check=False).stdout)
    machine.call("systemctl", "start", NODE)
    service.cluster.wait_mounted()
    assert service.start().stops() == before + 1
    machine.call("systemctl", "stop", service.unit)


def test_a_term_that_ends_stops_the_service_while_it_can_write(cluster, machine):
    one = Service(cluster, "leased", "--policy=lease", "--term=3").start()
    machine.call("systemctl", "mask", "--runtime", CONTROL)
    machine.call("systemctl", "kill", "--signal=KILL", CONTROL)
    rig.wait_until("the service has ended", lambda: machine.show(one.user)["ActiveState"] == "inactive")
    assert one.stops() == 1  # and its node has not cut it off yet
    machine.call("systemctl", "unmask", "--runtime", CONTROL)
    machine.call("systemctl", "start", CONTROL)
    one.wait_states("failed", "inactive")
    assert "half over and not renewed" in machine.journal(one.unit)
    cluster.wait_mounted()
    assert one.start().stops() == 1
    one.end()


def documented(heading):
    """The commands below a heading of docs/systemd.md, a list for each block."""
    text = (CHECKOUT / "docs/systemd.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [re.findall(r"(?m)^    # (.+)$", block) for block in re.split(r"\n(?=\S)", text) if "\n    # " in block]


@pytest.mark.skipif(not shutil.which("pg_createcluster"), reason="Debian's postgresql-15 is missing")
def test_the_documented_postgresql_follows_its_data(cluster, machine):
    """Word for word. This machine is the first one, and then another."""
    def run(*commands):
        for command in commands:
            command = command.replace("192.0.2.1", "127.0.0.1").replace("-s 20G", "-s 512M").replace(
                "flockerctl", "'/flocker checkout/quickstart' ctl").replace("ssh 127.0.0.1 tar -C /etc -c postgresql/15", "cat /run/tar")
            machine.call("sh", "-c", command)

    def sql(statement):
        return machine.out("runuser", "-u", "postgres", "--", "psql", "-Atc", statement).strip()

    prepare, first, stop, again = documented("PostgreSQL")
    machine.call("pg_dropcluster", "--stop", "15", "main", check=False)
    run(*[c for c in prepare if not c.startswith(("apt", "pg_dropcluster"))])
    run(*first)
    assert sql("SHOW data_directory") == "/srv/flocker/pgdata"
    sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    run(*stop)
    assert machine.show("postgresql@15-main.service")["ActiveState"] == "inactive"
    assert "database system is shut down" in machine.out("sh", "-c", "tail -n 3 /var/log/postgresql/postgresql-15-main.log")
    # What another machine does not have.
    machine.call("sh", "-c", "tar -C /etc -cf /run/tar postgresql/15 && rm -r /etc/postgresql/15")
    run(*again)
    assert sql("SELECT sum(n) FROM t") == "500500"
    run(*stop)
    machine.call("sh", "-c", "rm -r /etc/postgresql/15 /etc/systemd/system/postgresql@15-main.service.d "
                 "/etc/default/flocker-dataset@pgdata /var/log/postgresql/postgresql-15-main.log; systemctl daemon-reload")
    cluster.ctl("destroy", "-d", "pgdata")


@pytest.fixture
def broken(cluster, machine):
    """The volume of a mounted dataset, to be removed as the machine is off."""
    cluster.ctl("create", "-n", "127.0.0.1", "-s", "64M", "--name", "broken", "--wait")
    dataset = machine.path("/flocker/datasets/by-name/broken")
    loop = (dataset / "device").read_text().strip().rsplit("/")[-1]
    image = machine.path(f"/sys/block/{loop}/loop/backing_file").read_text().strip()
    yield (machine.upper / image[1:]).parent
    cluster.ctl("destroy", "-d", "broken")


def test_a_shutdown_ends_service_dataset_node_and_mounts_in_this_order(service, machine, cluster, broken):
    """Each notes as it has ended what is still mounted; the network is the last; and the filesystems are clean. The next
    boot does not wait for a dataset that is lost."""
    see = f"for p in {service.place} /flocker/{service.id}; do mountpoint -q $p && echo yes || echo no; done"
    units = {service.user: "service $({see})", service.unit: "dataset $({see})", NODE: "node $({see})",
             "network.service": "network"}
    service.put("/etc/systemd/system/network.service", """[Unit]
Before=network.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=true
[Install]
WantedBy=multi-user.target
""")
    for unit, word in units.items():
        directory = machine.path("/etc/systemd/system", f"{unit}.d")
        directory.mkdir()
        (directory / "order.conf").write_text(
            f"[Service]\nExecStopPost=+/bin/sh -c 'echo {word.format(see=see)} >>{ORDER}; sync {ORDER}'\n")
    machine.call("systemctl", "daemon-reload")
    machine.call("systemctl", "enable", "--now", service.user, "network.service")
    service.start()
    before = service.stops()
    machine.call("systemctl", "reboot")
    machine.wait_end()
    said = (machine.upper / ORDER[1:]).read_text().splitlines()
    images = [p for p in (machine.upper / "var/lib/flocker-volumes").rglob("*") if p.is_file() and p.stat().st_size >= 64 << 20]
    states = [subprocess.run(["dumpe2fs", "-h", p], capture_output=True, text=True).stdout for p in images]
    shutil.rmtree(broken)
    machine.start()
    assert said == ["service yes yes", "dataset no yes", "node no yes", "network"]
    assert len(states) >= 2
    for state in states:
        assert re.search(r"(?m)^Filesystem state: +clean$", state) and "needs_recovery" not in state, state
    service.wait_states("active", "active")
    assert service.stops() == before + 1
    cluster.wait_mounted()
    assert "what needs them does not wait longer" not in machine.out("journalctl", "--boot", "--unit", NODE)
    assert machine.path("/flocker/datasets/by-name/broken/state").read_text() == "lost\n"
    for unit in units:  # ExecStopPost= of the last reboot is not wanted again
        machine.call("rm", "-r", f"/etc/systemd/system/{unit}.d")
    machine.call("systemctl", "disable", "--now", "network.service")
    machine.call("rm", ORDER, "/etc/systemd/system/network.service")
    machine.call("systemctl", "daemon-reload")
