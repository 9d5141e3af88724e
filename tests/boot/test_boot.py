# SPDX-License-Identifier: Apache-2.0
"""A machine's life with Flocker: installed, rebooted, its power cut, its control service away. The
tests are its chapters, in this order, and those of test_units.py go on."""
import re

# What the kernel says when a filesystem was not unmounted.
REPLAYED = re.compile(r"recovery complete|orphan cleanup|Starting recovery|log-tree replay|"
                      r"recovery required|not cleanly unmounted", re.I)


def test_systemd_is_up_and_no_unit_has_failed(machine):
    assert machine.systemd == "running", machine.run("systemctl --failed")


def test_datasets_are_made_and_udev_names_their_devices(cluster, machine):
    cluster.make_datasets()
    cluster.wait_mounted()
    for filesystem, dataset in cluster.datasets.items():
        device = cluster.tree(filesystem, "device")
        assert machine.run(f"readlink -f /dev/disk/by-dataset/{dataset}") == device
        properties = machine.run(f"udevadm info --query=property {device}").split("\n")
        assert f"FLOCKER_DATASET_ID={dataset}" in properties
        assert "flocker" in next(p for p in properties if p.startswith("TAGS=")).split(":")
        cluster.find_volume(filesystem, dataset)
    assert machine.run("systemctl is-system-running") == "running"


def test_a_reboot_leaves_clean_filesystems_and_comes_back_with_all(cluster, machine):
    before = machine.boot
    cluster.write()
    machine.go_down()
    cluster.note()
    cluster.check_clean()
    machine.start()
    assert machine.boot != before
    assert machine.systemd == "running", machine.run("systemctl --failed")
    cluster.wait_mounted()
    cluster.check()
    assert not REPLAYED.search(machine.run("journalctl --boot --quiet --output=cat"))


def test_a_power_cut_loses_nothing_that_was_confirmed(cluster, machine):
    cluster.write()
    machine.cut_power()
    cluster.note(orderly=False)
    machine.start()
    assert machine.systemd == "running", machine.run("systemctl --failed")
    cluster.wait_mounted()
    cluster.check()
    # It was a power cut, if the check of the test before can fail.
    assert REPLAYED.search(machine.run("journalctl --boot --quiet --output=cat"))


def test_a_boot_without_control_is_not_held_up(cluster, machine):
    machine.run("systemctl disable flocker-control.service")
    machine.go_down()
    machine.start()
    assert machine.systemd == "running", machine.run("systemctl --failed")
    assert machine.show("flocker-node.service", "ActiveState") == "active"
    for filesystem in cluster.datasets:
        assert cluster.tree(filesystem, "state") != "mounted"
    assert machine.run("findmnt -n -t ext4,xfs,btrfs -o TARGET | grep ^/flocker/", check=False) == ""
    machine.run("systemctl enable --now flocker-control.service")
    cluster.wait_mounted()
    cluster.check()
