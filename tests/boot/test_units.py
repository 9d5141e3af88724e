# SPDX-License-Identifier: Apache-2.0
"""A service that follows its data (flocker-dataset@.service), on a real machine: PostgreSQL over a reboot
and a power cut. Goes on where test_boot.py ends."""
import json
import re

import pytest

NAME = "database"
PLACE = f"/srv/flocker/{NAME}"
POSTGRES = "/usr/lib/postgresql/15/bin"
UNIT = f"""[Unit]
BindsTo=flocker-dataset@{NAME}.service
After=flocker-dataset@{NAME}.service

[Service]
Type=notify
User=postgres
RuntimeDirectory=postgresql
ExecStart={POSTGRES}/postgres -D {PLACE}/data -k /run/postgresql -c listen_addresses=
TimeoutStartSec=5min

[Install]
WantedBy=multi-user.target
"""
PSQL = "runuser -u postgres -- psql -h /run/postgresql -qAt"
WRITE = f"while {PSQL} -c 'INSERT INTO records DEFAULT VALUES RETURNING id'; do :; done"
STOPPED = "9d1aaa27d60140bd96365438aad20286"  # of systemd's message that a unit was stopped


@pytest.fixture(scope="module")
def database(cluster, machine):
    """A server that runs on a dataset, with an empty table."""
    cluster.call("flocker-ca create-api-certificate plugin -i /root/ca -o /root/ca && "
                 "install -m 0600 /root/ca/plugin.* /etc/flocker")
    dataset = cluster.create("ext4", NAME, 300)
    machine.write("/etc/default/flocker-dataset@database", 'FLOCKER_DATASET_OPTIONS="--owner postgres --mode 0700"')
    machine.write("/etc/systemd/system/database.service", UNIT)
    machine.run(f"systemctl start flocker-dataset@{NAME}.service")
    cluster.find_volume("ext4", dataset)
    machine.run(f"cd /; runuser -u postgres -- {POSTGRES}/initdb --no-sync -D {PLACE}/data && sync", limit=400)
    machine.run("systemctl enable --now database.service", limit=400)
    machine.run(f"{PSQL} -c 'CREATE TABLE records (id serial PRIMARY KEY)' -c 'CREATE EXTENSION amcheck'")
    return NAME


def write(machine):
    """Starts a client that inserts until its server goes."""
    client = machine.begin(WRITE)
    client.wait_lines(10)
    return client


def confirmed(client):
    client.end()
    return [line for line in client.lines if line.isdigit()]


def check(machine, ids):
    assert machine.show("database.service", "ActiveState") == "active"
    found = set(machine.run(f"{PSQL} -c 'SELECT id FROM records'").split())
    assert ids and set(ids) <= found
    assert machine.run(f"{PSQL} -c \"SELECT bt_index_check('records_pkey', true)\"") == ""


def stopped(machine):
    """{unit: when systemd had stopped it}, of the boot before."""
    out = machine.run(f"journalctl --boot=-1 --quiet --output=json MESSAGE_ID={STOPPED}")
    entries = [json.loads(line) for line in out.split("\n")]
    return {e["UNIT"]: int(e["__MONOTONIC_TIMESTAMP"]) for e in entries if "UNIT" in e}


def test_a_service_finds_its_data_after_a_reboot_by_itself(database, cluster, machine):
    client = write(machine)
    machine.go_down()
    ids = confirmed(client)
    cluster.check_clean()
    machine.start()
    assert machine.systemd == "running", machine.run("systemctl --failed")
    check(machine, ids)
    log = machine.run("journalctl --boot --quiet --output=cat --unit=database.service")
    assert "database system was shut down at" in log and "not properly shut down" not in log, log


def test_a_shutdown_ends_services_then_datasets_then_the_node_then_the_network(database, cluster, machine):
    when = stopped(machine)
    order = ["database.service", f"flocker-dataset@{NAME}.service", "flocker-node.service", "network.target"]
    assert sorted(order, key=when.__getitem__) == order, when
    # The status tree goes with the node, which serves it.
    mounts = [unit for unit in when if re.fullmatch(r"flocker-[0-9a-f]{8}\\x2d.*\.mount", unit)]
    assert mounts, when
    for mount in mounts:
        assert when[mount] > when["flocker-node.service"], (mount, when)


def test_a_service_finds_its_data_after_a_power_cut(database, cluster, machine):
    client = write(machine)
    machine.cut_power()
    ids = confirmed(client)
    machine.start()
    machine.wait_run("the server is back", "systemctl is-active database.service", "active", 300)
    check(machine, ids)


def test_a_boot_without_control_starts_no_service_without_its_data(database, cluster, machine):
    machine.run("systemctl disable flocker-control.service")
    machine.go_down()
    machine.start(wait=False)
    machine.wait_run("it is booted but for what waits", "systemctl is-active sysinit.target flocker-node.service | uniq",
                     "active")
    assert machine.show("database.service", "ActiveState") != "active"
    assert machine.run(f"findmnt -n {PLACE}", check=False) == ""
    assert machine.run(f"ls -A {PLACE} 2>&-", check=False) == ""
    machine.run("systemctl enable --now flocker-control.service")
    machine.run("systemctl start database.service", limit=300)
    machine.wait_run("the server is back", "systemctl is-active database.service", "active", 300)
    check(machine, ["1"])
