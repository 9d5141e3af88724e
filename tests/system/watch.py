# SPDX-License-Identifier: Apache-2.0
"""Looks at a cluster throughout a test, from a process of its own, and says what must never be.

    watch.py [--containers] BASE IMAGES NAME... - IMAGES/volumes has the volumes, BASE/NAME/flocker is a mount root;
    with --containers volumes may be mounted elsewhere as well

Looks until standard input ends, then prints {"samples": n, "releases": n, "violations": [...]}.

What it sees of several things at once it sees one after the other, so what looks wrong is looked at
again: two uses that both stand, unchanged, in two rounds were there together in between. A device that
was cut takes no writes and is no use: the next owner does not wait for the end of its mount.
"""
import json
import os
import re
import select
import sys

import kernel

PERIOD_MS = 3
DATASET = re.compile(r"[0-9a-f-]{36}$")


class Watch:
    def __init__(self, base, images, names, containers=False):
        self.containers = containers
        self.volumes = os.path.join(images, "volumes")
        self.roots = {os.path.join(base, name, "flocker"): name for name in names}
        self.samples = self.releases = 0
        self.known = set()
        self.violations = []
        self.suspects = set()
        self.released = {}

    def say(self, text):
        if text not in self.violations:
            self.violations.append(text)

    def loops(self):
        """Those on our volumes, which are told by their ids: see kernel.loops()."""
        found = kernel.loops_on_volumes()
        try:
            self.known |= set(os.listdir(self.volumes))
        except OSError:
            pass
        return [one for one in found if one[0] in self.known]

    @staticmethod
    def is_cut(loop):
        try:
            return int(kernel.read(f"/sys/block/{loop.name}/size")) <= 1
        except OSError:
            return False

    def two_devices(self, loops):
        """Pairs of devices on one image; the image's path is its identity, as nothing links it."""
        devices = {}
        for volume, loop in loops:
            devices.setdefault(volume, []).append(loop)
        for volume, several in devices.items():
            for i, a in enumerate(several):
                for b in several[i + 1:]:
                    yield f"volume {volume} has two devices, {a.name} and {b.name}", (a, b)

    def place(self, mount):
        """(node, dataset) for a mount where a node mounts datasets."""
        root, name = os.path.split(mount.point)
        node = self.roots.get(root)
        return (node, name) if node and DATASET.match(name) else None

    def two_nodes(self, loops, cut):
        """Pairs of mounts of one dataset by different nodes. A node is told by its mount root."""
        diskseq = {"/dev/" + loop.name: loop.diskseq for _, loop in loops}
        places = {}
        for namespace, mount in kernel.mounts():
            place = self.place(mount)
            if mount.source in cut:
                continue
            if place:
                use = (place[0], namespace, mount.id, mount.source, diskseq.get(mount.source))
                places.setdefault(place[1], set()).add(use)
            elif mount.source in diskseq and not self.containers:
                yield f"{mount.source} is mounted at {mount.point}", (namespace, mount.id)
        for dataset, uses in places.items():
            if len({use[0] for use in uses}) > 1:
                uses = sorted(uses, key=str)
                for a in uses:
                    for b in uses:
                        if a[0] < b[0]:
                            yield f"dataset {dataset} is mounted by {a[0]} and by {b[0]}", (a, b)

    def look_at_releases(self):
        """A claim that is given back means that all of it is on the disk. A claim that is the same
        before and after leaves no room for a new holder in between."""
        try:
            volumes = [v for v in os.listdir(self.volumes) if DATASET.match(v)]
        except OSError:
            return
        for volume in volumes:
            path = os.path.join(self.volumes, volume)
            before = kernel.claim(path)
            if not before or before["state"] != "free" or \
                    self.released.get(volume) == before["serial"]:
                continue
            try:
                dirty = kernel.dirty_pages(os.path.join(path, "image"))
            except OSError:
                continue
            if kernel.claim(path) != before:
                continue
            self.released[volume] = before["serial"]
            self.releases += 1
            if dirty:
                self.say(f"volume {volume} was given back with {dirty} dirty pages")

    def look(self):
        loops = self.loops()
        cut = {f"/dev/{loop.name}" for _, loop in loops if self.is_cut(loop)}
        loops = [one for one in loops if f"/dev/{one[1].name}" not in cut]
        suspects = set(self.two_devices(loops)) | set(self.two_nodes(loops, cut))
        for text, _ in suspects & self.suspects:
            self.say(text)
        self.suspects = suspects
        self.look_at_releases()
        self.samples += 1

    def run(self):
        end = select.poll()
        end.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
        while not end.poll(0 if self.suspects else PERIOD_MS):
            self.look()
        self.look()
        self.look()
        print(json.dumps({"samples": self.samples, "releases": self.releases,
                          "violations": self.violations}))


if __name__ == "__main__":
    containers = sys.argv[1] == "--containers"
    base, images, *names = sys.argv[1 + containers:]
    Watch(base, images, names, containers).run()
