# SPDX-License-Identifier: Apache-2.0
"""Create, move, grow and delete a dataset, start a daemon, boot a node: with a daemon that dies, or a call
that fails, at a point. What a point is says points.h.
"""
import collections
import errno
import http.client
import mmap
import os
import random
import struct
import time
import uuid

from cluster import LIMIT_S, SIZES, Payload, build, executable, full, wait_until

GROWTH = 64 << 20
SAMPLE = 8  # of what is not a kill, in each test
KILL, TORN, SHORT, ERROR = range(4)
HEADER, NAME, MAX = struct.Struct("=5Q"), 16, 4096
SIZE = HEADER.size + NAME * MAX
WRITES, READS = ("write", "pwrite"), ("read", "pread")
# What these calls can say to a program that did nothing wrong.
ERRORS = {
    "write": ("ENOSPC", "EIO", "EINTR"), "pwrite": ("ENOSPC", "EIO", "EINTR"),
    "read": ("EIO", "EINTR"), "pread": ("EIO", "EINTR"), "fsync": ("ENOSPC", "EIO"), "fdatasync": ("ENOSPC", "EIO"), "syncfs": ("ENOSPC", "EIO"),
    "ftruncate": ("ENOSPC", "EIO", "EINTR"), "rename": ("ENOSPC", "EIO"),
    "unlink": ("EIO", "ENOMEM"), "rmdir": ("EIO", "ENOMEM"), "mkdir": ("ENOSPC", "EIO", "ENOMEM"),
    "create": ("ENOSPC", "EIO", "ENOMEM"), "fchmod": ("EIO",), "fchown": ("EIO",),
    "LOOP_CONFIGURE": ("EIO", "ENOMEM", "EBUSY"), "LOOP_CTL_FREE": ("ENOMEM",),
    "LOOP_SET_STATUS": ("EIO", "ENOMEM"), "LOOP_CLR_FD": ("EIO",), "mount": ("EIO", "ENOMEM"),
    "umount": ("EBUSY", "ENOMEM"), "fsmount": ("ENOMEM",), "spawn": ("ENOMEM", "EAGAIN"),
    "bind": ("ENOSPC", "EIO"), "FIFREEZE": ("EBUSY", "EIO"), "LOOP_SET_CAP": ("EIO", "ENOMEM"),
    "XFS_GROW": ("ENOSPC", "EIO"),
}

Case = collections.namedtuple("Case", "number name mode error")


def told(case):
    how = {KILL: "killed", TORN: "killed halfway", SHORT: "done by half"}.get(case.mode, case.error)
    return f"point {case.number} ({case.name}): {how}"


class Points:
    """What the test shares with one daemon; see points.h."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(SIZE))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), SIZE)

    def arm(self, case=None):
        self.map[HEADER.size:] = bytes(SIZE - HEADER.size)
        self.map[:HEADER.size] = HEADER.pack(
            0, case.number if case else 0, case.mode if case else 0,
            getattr(errno, case.error) if case and case.error else 0, 0)

    def disarm(self):
        struct.pack_into("=Q", self.map, 8, 0)

    @property
    def hit(self):
        return HEADER.unpack(self.map[:HEADER.size])[4] == 1

    def names(self):
        """Of all points since arm()."""
        count = min(HEADER.unpack(self.map[:HEADER.size])[0], MAX)
        return [self.map[at:at + NAME].rstrip(b"\0").decode()
                for at in range(HEADER.size, HEADER.size + count * NAME, NAME)]


def cases(names):
    """(kills, others) that such a run of a daemon allows."""
    kills, others = [], []
    for number, name in enumerate(names, 1):
        if name not in READS:
            kills.append(Case(number, name, KILL, None))
        if name in WRITES:
            others.append(Case(number, name, TORN, None))
        if name in WRITES + READS:
            others.append(Case(number, name, SHORT, None))
        others += [Case(number, name, ERROR, error) for error in ERRORS.get(name, ())]
    return kills, others


class Matrix:
    def __init__(self, cluster, points, helpers, seed):
        self.cluster, self.points, self.helpers = cluster, points, helpers
        self.lost = None  # a node that is meant to be dead
        self.armed = None  # the points of who is disturbed
        self.metadata = {}
        self.fs = "ext4"
        self.control, (self.a, self.b) = cluster.control, cluster
        self.random = random.Random(seed)
        self.payload = self.dataset = self.victim = None
        self.reached = self.revived = False  # in the last case
        self.here, self.there = self.a, self.b  # a move goes from here to there

    # ---- life of the daemons ----

    def revive(self):
        """Starts what has died, which only the disturbed one may."""
        for daemon, points in self.points.items():
            if daemon is not self.lost and not daemon.alive():
                assert points.hit, f"a daemon ended by itself:\n{daemon.log[-4000:]}"
                daemon.start()
                self.revived = True

    def until(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while True:
            self.revive()
            try:
                if value := condition():
                    return value
            except (OSError, http.client.HTTPException):
                pass  # control has died, or ends
            if time.monotonic() > end:
                raise AssertionError(f"waited {LIMIT_S} s in vain: {what}: "
                                     f"{self.cluster.show(self.dataset)}")
            time.sleep(0.005)

    def insist(self, method, path, body=None, done=()):
        """One request until it is granted; @done: answers that say that it was already."""
        def granted():
            status = self.control.call(method, path, body).status
            assert status < 400 or status >= 500 or status in done, f"{method} {path}: {status}"
            return status < 400 or status in done
        self.until(f"{method} {path}", granted)

    # ---- what is disturbed: a wish, from its request to its end ----

    def create(self):
        self.dataset = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self.insist("POST", "/v1/configuration/datasets", {
            "dataset_id": self.dataset, "primary": self.here.uuid, "maximum_size": SIZES[self.fs],
            "metadata": {"flocker:filesystem": self.fs, **self.metadata}}, done=(409,))
        self.until("it is mounted", lambda: self.is_mounted(self.here))

    def move(self):
        self.insist("POST", f"/v1/configuration/datasets/{self.dataset}",
                    {"primary": self.there.uuid})
        self.here, self.there = self.there, self.here
        self.until("it is mounted there", lambda: self.is_mounted(self.here))

    def grow(self):
        size = self.cluster.show(self.dataset)["size"] + GROWTH
        self.insist("PATCH", f"/v2/datasets/{self.dataset}", {"size": size}, done=(409,))
        self.until("it has grown", lambda: self.is_mounted(self.here) and self.is_grown(size))

    def is_grown(self, size):
        seen = self.cluster.show(self.dataset)
        room = os.statvfs(self.here.data(self.dataset))
        return (seen["volume_size"] == seen["size"] == size and seen["why"] == "as wished"
                and room.f_blocks * room.f_frsize > size * 0.8)

    def delete(self):
        self.insist("DELETE", f"/v1/configuration/datasets/{self.dataset}")
        self.until("it is destroyed", lambda: self.cluster.show(self.dataset)["state"] == "destroyed")

    def start(self):
        """Of the daemon that is disturbed, after a kill without warning."""
        self.victim.kill()
        self.wait_start()

    def boot(self):
        self.victim.reboot()
        self.wait_start()

    def wait_start(self):
        starts = self.victim.log.count(": ready")
        self.victim.launch()
        self.until("it has started", lambda: self.victim.log.count(": ready") > starts)
        self.until("it is mounted", lambda: self.is_mounted(self.here))

    def is_mounted(self, node):
        seen = self.cluster.show(self.dataset)
        return (seen["state"] == "mounted" and seen["owner"] == node.uuid and seen["node_live"]
                and self.here.has(self.dataset))

    # ---- before and after ----

    def prepare(self, what):
        if what == "create":
            return
        if self.dataset is None:
            self.create()
            self.payload = Payload(self.random.random(), files=2, size=20_000)
            self.payload.write(self.here.data(self.dataset))
        if what == "start":  # with something in the store's log
            self.move()
        if what == "boot" and self.here is self.a:  # which shares its namespace with the test
            self.move()

    def check(self, what):
        """Everything is as wished; what other cases would stumble over is taken away."""
        if what == "create":
            self.payload = Payload(self.random.random(), files=2, size=20_000)
            self.payload.write(self.here.data(self.dataset))
        if what != "delete":
            self.payload.check(self.here.data(self.dataset))
            assert not self.there.has(self.dataset)
            assert len(self.cluster.attached()) == 1
        if what == "create":
            self.delete()
        if what in ("create", "delete"):
            wait_until("nothing of it is left", lambda: not self.cluster.attached()
                       and not os.listdir(self.cluster.images / "volumes"))
            assert not [n for n in self.cluster if n.mounts()]
            self.dataset = None

    def run(self, what, victim, case=None):
        """One wish, disturbed in @victim; the points that it had."""
        self.prepare(what)
        role, _, helper = victim.partition("'s ")
        self.victim = {"control": self.control, "here": self.here, "there": self.there}[role]
        points = self.armed = (self.helpers if helper else self.points)[self.victim]
        self.revived = False
        points.arm(case)
        try:
            getattr(self, what)()
            points.disarm()
            names, self.reached = points.names(), points.hit
            if case and case.mode in (KILL, TORN) and self.reached and not (self.revived or helper):
                self.victim.process.wait(LIMIT_S)  # it was about to end
            self.revive()
            self.check(what)
        except BaseException:
            print(f"{what}, {victim}: {told(case) if case else 'undisturbed'}; points: "
                  f"{' '.join(points.names())}")
            raise
        return names

    def take_all(self, what, victim, kills_sample=None, sample=SAMPLE):
        """Every case of a wish, or a sample of them."""
        self.run(what, victim)
        names = self.run(what, victim)  # once all directories of the first time are there
        assert len(names) >= 3, names
        kills, others = cases(names)
        if not full():
            if kills_sample is not None:
                kills = self.random.sample(kills, min(kills_sample, len(kills)))
            others = self.random.sample(others, min(sample, len(others)))
        print(f"{what}, {victim}: {len(names)} points ({' '.join(names)}), {len(kills)} kills, "
              f"{len(others)} others")
        reached = 0
        for case in kills + others:
            begun = time.monotonic()
            self.run(what, victim, case)
            reached += self.reached
            print(f"{time.monotonic() - begun:6.2f} s  {told(case)}"
                  f"{'' if self.reached else '; not reached'}")
        assert reached >= (len(kills) + len(others)) / 2  # no two runs have quite the same points


def prepare_daemons(cluster, monkeypatch):
    """{daemon: its points}, {node: its fence helper's points}, before they are started."""
    library = str(build() / "tests/crash/libpoints.so")
    monkeypatch.setenv("LD_PRELOAD", library)
    points, helpers = {}, {}
    for daemon, program in ((cluster.control, "flocker-control"),
                            *((node, "flocker-node") for node in cluster)):
        points[daemon] = Points(daemon.dir / "points")
        environment = {"FLOCKER_POINTS": str(points[daemon].path), "FLOCKER_POINTS_OF": program}
        if daemon is cluster.control:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
        else:
            daemon.environment.update(environment, LD_PRELOAD=library)
    for node in cluster:
        helpers[node] = Points(node.dir / "helper-points")
        program = node.dir / "flocker-fence"
        program.write_text(f"""#!/bin/sh
FLOCKER_POINTS={helpers[node].path} FLOCKER_POINTS_OF=flocker-fence exec {executable("flocker-fence")} "$@"
""")
        program.chmod(0o755)
        node.options += ["--fence-helper", str(program)]
    return points, helpers
