# SPDX-License-Identifier: Apache-2.0
"""A control service and a node on the machine, installed as README.md says."""
import json
import re
import subprocess

import image

SIZES = {"ext4": 128, "xfs": 300, "btrfs": 128}
ENVIRONMENT = ("export FLOCKER_CONTROL_SERVICE=127.0.0.1 FLOCKER_CERTS_PATH=/etc/flocker FLOCKER_USER=user "
               "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; ")
CERTIFICATES = """
set -e
mkdir /root/ca
cd /root/ca
flocker-ca initialize boot
flocker-ca create-control-certificate 127.0.0.1
flocker-ca create-api-certificate user
install -m 0644 cluster.crt /etc/flocker
for what in crt key; do
	install -m 0600 control-127.0.0.1.$what /etc/flocker/control-service.$what
	install -m 0600 user.$what /etc/flocker
done
flocker-ca create-node-certificate
for what in crt key; do
	install -m 0600 ????????-*.$what /etc/flocker/node.$what
done
"""
AGENT = """version: 1
control-service:
  hostname: 127.0.0.1
  port: 4524
dataset:
  backend: loopback
  root_path: /var/lib/flocker-volumes
"""


class Cluster:
    """A control service and a node on the machine, with a dataset of each filesystem that is written to."""

    def __init__(self, machine):
        self.machine = machine
        self.call(CERTIFICATES)
        machine.write("/etc/flocker/agent.yml", AGENT)
        machine.run("systemctl enable --now flocker-control.service flocker-node.service")
        machine.wait_run("the node is connected",
                         f"{ENVIRONMENT}flockerctl list-nodes --json | grep -c '\"live\": *true'", "1")
        self.datasets = {}
        self.writers, self.volumes = {}, {}
        self.acknowledged = dict.fromkeys(SIZES, 0)
        machine.write("/root/writer", (image.HERE / "writer").read_text())

    def call(self, text):
        return self.machine.run(ENVIRONMENT + text)

    def create(self, filesystem, name, size_mib):
        """Returns its dataset_id."""
        out = self.call(f"flockerctl create -n 127.0.0.1 -s {size_mib}M --name {name} "
                        f"--metadata flocker:filesystem={filesystem} --json")
        return json.loads(out)["dataset_id"]

    def make_datasets(self):
        for filesystem, size_mib in SIZES.items():
            self.datasets[filesystem] = self.create(filesystem, filesystem, size_mib)

    def file(self, filesystem):
        return f"/flocker/{self.datasets[filesystem]}/records"

    def tree(self, filesystem, name):
        return self.machine.run(f"cat /flocker/datasets/{self.datasets[filesystem]}/{name}")

    def write(self):
        """Starts a writer on each dataset, and sees each write."""
        for filesystem in self.datasets:
            self.writers[filesystem] = self.machine.begin(f"python3 /root/writer {self.file(filesystem)}")
        for writer in self.writers.values():
            writer.wait_lines(20)

    def note(self, orderly=True):
        """When the machine is down: what the writers were told to be on disk."""
        for filesystem, writer in self.writers.items():
            writer.end()
            told = [line for line in writer.lines if line.isdigit()]
            assert told == writer.lines or not orderly, f"it had its data taken away: {writer.lines[-5:]}"
            self.acknowledged[filesystem] = int(told[-1])
        self.writers = {}

    def check(self):
        """Each record that was confirmed is there, in order."""
        for filesystem, count in self.acknowledged.items():
            said = self.machine.run(f"head -n {count} {self.file(filesystem)} | "
                                    f"cmp - <(seq -f 'record %.0f' {count}) && echo right")
            assert said == "right", (filesystem, said)

    def wait_mounted(self):
        for filesystem, dataset in self.datasets.items():
            self.machine.wait_run(f"{filesystem} is mounted", f"cat /flocker/datasets/{dataset}/state", "mounted")
            assert self.machine.run(f"findmnt -n -o FSTYPE /flocker/{dataset}") == filesystem

    def find_volume(self, filesystem, dataset):
        """Where its image is, on the disk that has the volumes."""
        loop = self.machine.run(f"cat /flocker/datasets/{dataset}/device").removeprefix("/dev/")
        path = self.machine.run(f"cat /sys/block/{loop}/loop/backing_file")
        self.volumes[path.removeprefix("/var/lib/flocker-volumes")] = filesystem

    def check_clean(self):
        """Of a machine that is down: no filesystem has a journal to be replayed."""
        disks = self.machine.disks
        for disk in (disks["root"], disks["volumes"]):
            check_ext4(disk)
        copy = self.machine.base / "copy"
        for path, filesystem in self.volumes.items():
            run("debugfs", "-R", f"dump {path} {copy}", disks["volumes"])
            CLEAN[filesystem](copy)
            copy.unlink()


def run(*command):
    result = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    return result.stdout


def check_ext4(device):
    out = run("dumpe2fs", "-h", device)
    assert re.search(r"^Filesystem state: +clean$", out, re.M) and "needs_recovery" not in out, out


def check_xfs(device):
    out = run("xfs_logprint", "-t", device)
    assert "<CLEAN>" in out, out


def check_btrfs(device):
    out = run("btrfs", "inspect-internal", "dump-super", device)
    assert re.search(r"^log_root\s+0$", out, re.M), out


CLEAN = {"ext4": check_ext4, "xfs": check_xfs, "btrfs": check_btrfs}
