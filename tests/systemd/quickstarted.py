# SPDX-License-Identifier: Apache-2.0
"""What ./quickstart makes on a machine: a control service, the nodes "here" and "there", and a dataset."""
import json
import re

import rig

CONTROL, NODE, THERE = "flocker-control.service", "flocker-node.service", "flocker-node-there.service"
UNITS = (CONTROL, NODE, THERE)
ADDRESS = {NODE: "127.0.0.1", THERE: "127.0.0.2"}


class Cluster:
    """What ./quickstart made, and its dataset."""

    def __init__(self, machine):
        self.machine = machine
        self.empty = machine.disk()
        self.story = machine.quickstart().stdout
        self.dataset = re.search(r"Its data is at /flocker/([0-9a-f-]{36})\.", self.story).group(1)
        self.mountpoint = f"/flocker/{self.dataset}"

    def states(self):
        return {unit: self.machine.show(unit) for unit in UNITS}

    def ctl(self, *arguments):
        return self.machine.quickstart("ctl", *arguments).stdout

    def live(self):
        """Addresses of nodes that are connected."""
        result = self.machine.quickstart("ctl", "list-nodes", "--json", check=False)
        return {n["host"] for n in json.loads(result.stdout) if n["live"]} \
            if result.returncode == 0 else set()

    def wait_mounted(self):
        """Both nodes connected, and the dataset in use as wished."""
        def mounted():
            try:
                state = self.machine.path(f"/flocker/datasets/{self.dataset}/state").read_text()
            except OSError:
                return False
            return state == "mounted\n" and self.mount()
        rig.wait_until("both nodes are connected", lambda: len(self.live()) == 2)
        rig.wait_until("the dataset is mounted", mounted)

    def mount(self):
        return next((m for m in self.machine.mounts() if m.point == self.mountpoint), None)

    def check_files(self):
        self.machine.call("sh", "-c", f"cd {self.mountpoint} && "
                          "sha256sum --quiet --check /var/lib/flocker-quickstart/demo.sha256", limit=120)
