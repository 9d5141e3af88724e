# SPDX-License-Identifier: Apache-2.0
"""The status tree of the real daemon: what it says, that it wakes, and that nothing keeps it away."""
import contextlib
import datetime
import errno
import grp
import json
import os
import select
import stat
import subprocess
import sys
import threading
import time

import pytest

import isolate
import kernel
from cluster import LIMIT_S, MIB, SIZES, Cluster, Payload, executable, scale, wait_until
from loads import HangingDisk, Writer

VALUES = ("state wanted why since owner epoch primary size wanted_size used available trimmed trimmed_bytes "
          "device filesystem fs_uuid mountpoint lease holders last_error status.json events").split()
NODE_VALUES = ("uuid era control connected certificate_expires authority_expires version watchdog "
               "capacity free promised warnings metrics status.json").split()
WAKE_S = 1  # from a change to the end of poll(2), on a busy machine


def seconds(text):
    """Since 1970, of a time as the tree writes it."""
    return datetime.datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(
        tzinfo=datetime.timezone.utc).timestamp()


def line(value):
    return "" if value is None else f"{value}\n"


# ---- what it says ----


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_every_file_of_a_mounted_dataset(cluster, fs):
    here, _ = cluster
    before = time.time()
    metadata = {"name": "web/data", "owner": "Zoë", ".hidden": "", "flocker:filesystem": fs}
    dataset = cluster.create(here, fs, metadata=metadata)
    seen = cluster.wait_mounted(dataset, here)
    tree = here.tree(dataset)
    assert sorted(os.listdir(tree)) == sorted([*VALUES, "metadata"])
    values = {name: (tree / name).read_text() for name in VALUES}
    device, = {m.source for m in here.mounts() if m.point == f"{here.root}/{dataset}"}
    space = os.statvfs(here.data(dataset))
    status = json.loads(values.pop("status.json"))
    events = values.pop("events").splitlines()
    since = seconds(values.pop("since"))
    assert before <= since <= time.time()
    assert abs(since - seconds(status["since"] + "\n")) < 0.001
    assert values == {
        "state": "mounted\n", "wanted": "hold\n", "why": "as wished\n",
        "owner": line(here.uuid), "primary": line(here.uuid), "epoch": "1\n",
        "size": line(SIZES[fs]), "wanted_size": line(SIZES[fs]), "used": line((space.f_blocks - space.f_bfree) * space.f_frsize),
        "available": line(space.f_bavail * space.f_frsize),
        "device": line(device), "filesystem": line(fs), "fs_uuid": line(seen["fs_uuid"]),
        "mountpoint": line(here.root / dataset), "lease": "", "holders": "", "last_error": "",
        "trimmed": "", "trimmed_bytes": ""}
    assert status == status | {
        "dataset_id": dataset, "name": "web/data", "state": "mounted", "wanted": "hold",
        "why": "as wished", "owner": here.uuid, "primary": here.uuid, "epoch": 1,
        "size": SIZES[fs], "wanted_size": SIZES[fs], "device": device, "filesystem": fs, "fs_uuid": seen["fs_uuid"],
        "mountpoint": str(here.root / dataset), "lease": None, "holders": [], "last_error": None,
        "metadata": metadata}
    assert abs(seconds(status["created_at"] + "\n") - before) < 2
    states = [event.split(" -> ")[1].split(":")[0] for event in events]
    assert states == ["creating", "attaching", "attached", "formatting", "mounting", "mounted"]
    assert {name: (tree / "metadata" / name).read_text() for name in os.listdir(tree / "metadata")} \
        == {"name": "web/data\n", "owner": "Zoë\n", "%2Ehidden": "\n", "flocker:filesystem": f"{fs}\n"}
    assert os.listdir(here.tree("by-name")) == ["web%2Fdata"]
    assert os.readlink(here.tree("by-name", "web%2Fdata")) == f"../{dataset}"


def test_every_file_of_the_node(cluster):
    here, _ = cluster
    cluster.make(here)
    values = {name: here.tree(".node", name).read_text() for name in NODE_VALUES}
    assert sorted(os.listdir(here.tree(".node"))) == sorted(NODE_VALUES)
    status = json.loads(values.pop("status.json"))
    for name in ("certificate_expires", "authority_expires"):
        assert values.pop(name) == line(status[name])
        assert seconds(line(status[name])) > time.time()
    assert values.pop("metrics").endswith("\n")  # see test_metrics.py
    disk = os.statvfs(cluster.images)
    assert values.pop("capacity") == line(disk.f_blocks * disk.f_frsize)
    assert abs(int(values.pop("free")) - disk.f_bavail * disk.f_frsize) < disk.f_blocks * disk.f_frsize
    assert values.pop("promised") in ("", line(SIZES["ext4"]))  # looked up by the node's clock
    assert values.pop("warnings") in ("", *(f"{w}\n" for w in status["warnings"]))
    boot = kernel.read("/proc/sys/kernel/random/boot_id")
    control = f"127.0.0.1:{cluster.control.agent_port}"
    version = subprocess.run([executable("flocker-node"), "--version"], check=True, text=True,
                             capture_output=True).stdout
    assert values == {"uuid": line(here.uuid), "era": boot, "control": line(control),
                      "connected": "yes\n", "version": version, "watchdog": "none\n"}
    assert status == status | {
        "uuid": here.uuid, "era": boot.strip(), "control": control, "connected": True,
        "version": version.strip(), "backend": "loopback", "watchdog": "none", "last_error": None,
        "datasets": 1, "mounted": 1, "troubled": 0}
    cluster.control.kill()
    wait_until("it shows that control is away",
               lambda: here.tree(".node", "connected").read_text() == "no\n")
    assert here.node_status()["last_error"]
    cluster.control.start()
    wait_until("it shows that control is back",
               lambda: here.tree(".node", "connected").read_text() == "yes\n")


def test_modes_owners_sizes_and_that_it_takes_no_writes(cluster):
    here, _ = cluster
    dataset = cluster.make(here, metadata={"name": "it", "key": "value"})
    for directory, names, files in os.walk(here.tree()):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            kind = stat.S_IFMT(st.st_mode)
            mode = {stat.S_IFDIR: 0o555, stat.S_IFREG: 0o444, stat.S_IFLNK: 0o777}[kind]
            assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (mode, 0, 0), path
            if kind == stat.S_IFREG:
                with open(path, "rb") as f:
                    assert len(f.read()) in (st.st_size, os.lstat(path).st_size), path  # it may change meanwhile
                with pytest.raises(OSError):
                    os.open(path, os.O_WRONLY)
            with pytest.raises(OSError):
                os.chown(path, 1, 1, follow_symlinks=False)
    for change in (lambda p: os.unlink(p / "state"), lambda p: os.mkdir(p / "new"),
                   lambda p: os.rename(p / "state", p / "why")):
        with pytest.raises(OSError):
            change(here.tree(dataset))


def test_both_places_show_the_same_and_who_may_enter(cluster):
    here, _ = cluster
    dataset = cluster.make(here)
    copy = here.run_dir / "datasets"
    assert os.stat(copy).st_ino == os.stat(here.tree()).st_ino
    assert os.stat(copy).st_dev == os.stat(here.tree()).st_dev
    assert (copy / dataset / "state").read_text() == "mounted\n"
    assert stat.S_IMODE(os.stat(here.root).st_mode) == 0o700
    try:
        group, mode = grp.getgrnam("flocker").gr_gid, 0o750
    except KeyError:
        group, mode = 0, 0o700
    st = os.stat(here.run_dir)
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (mode, 0, group)


# ---- that it wakes ----


class Follower:
    """Follows the state of one dataset by poll(2) alone: [(state, seconds from change to reading)]."""

    def __init__(self, node, dataset):
        self.node, self.dataset = node, dataset
        self.seen, self.woken, self.hangups = [], 0, 0
        self.leave, self.left = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.follow():
            pass

    def follow(self):
        """One life of the dataset in the tree; False at the end."""
        try:
            f = os.open(self.node.tree(self.dataset, "state"), os.O_RDONLY)
        except FileNotFoundError:
            return not select.select([self.leave], [], [], 0.005)[0]
        changed = select.poll()
        changed.register(f, select.POLLIN)
        changed.register(self.leave, select.POLLIN)
        try:
            while True:
                ready = dict(changed.poll())
                if self.leave in ready:
                    return False
                if ready[f] & select.POLLHUP:
                    self.hangups += 1
                    return True
                self.woken += 1
                try:
                    self.take(os.pread(f, 64, 0).decode().strip())
                except OSError as e:
                    assert e.errno == errno.ESTALE
                    return True  # it went in between
        finally:
            os.close(f)

    def take(self, state):
        now = time.time()
        try:
            since = seconds(self.node.tree(self.dataset, "since").read_text())
        except OSError:
            return
        self.seen.append((state, now - since))

    def wait(self, state):
        """Until the follower, woken by nothing but poll(2), has read this state."""
        wait_until(f"poll(2) tells '{state}': {self.seen}",
                   lambda: self.seen and self.seen[-1][0] == state)

    def end(self):
        os.write(self.left, b"x")
        self.thread.join(LIMIT_S)
        for fd in (self.leave, self.left):
            os.close(fd)
        return [state for state, _ in self.seen]


def in_order(few, many):
    many = iter(many)
    return all(one in many for one in few)


def test_poll_wakes_at_every_change(cluster):
    """Each step is held up once, so that none can be missed behind the next."""
    here, there = cluster
    cluster.remove_program("mkfs.ext4")
    dataset = cluster.create(here)
    followers = Follower(here, dataset), Follower(there, dataset)
    on_here, on_there = followers
    on_here.wait("failed")
    cluster.add_program("mkfs.ext4")
    on_here.wait("mounted")
    holder = open(here.data(dataset) / "held", "w")
    cluster.move(dataset, there)
    on_here.wait("unmounting")
    on_there.wait("waiting")
    holder.close()
    on_there.wait("mounted")
    wait_until("poll(2) tells that it is gone", lambda: on_here.hangups == 1)
    holder = open(there.data(dataset) / "held", "w")
    cluster.delete(dataset)
    on_there.wait("unmounting")
    holder.close()
    cluster.wait_destroyed(dataset)
    wait_until("poll(2) tells that it is gone", lambda: on_there.hangups >= 1)
    seen = [f.end() for f in followers]
    assert in_order(["failed", "mounted", "unmounting"], seen[0])
    assert in_order(["waiting", "mounted", "unmounting"], seen[1])
    for f in followers:
        # Each wake-up was for a change, and came soon after it.
        assert all(a[0] != b[0] for a, b in zip(f.seen, f.seen[1:])), f.seen
        assert max(late for _, late in f.seen) < WAKE_S, f.seen


def test_epoll_sees_changes_of_many_files_at_once(cluster):
    here, there = cluster
    datasets = [cluster.make(here) for _ in range(scale(10, 50))]
    watch, files = select.epoll(), {}
    for dataset in datasets:
        fd = os.open(here.tree(dataset, "events"), os.O_RDONLY)
        files[fd] = dataset
        os.pread(fd, 65536, 0)
        watch.register(fd, select.EPOLLIN | select.EPOLLET)
    assert watch.poll(0) == []
    for dataset in datasets:
        cluster.move(dataset, there)
    woken = set()
    end = time.monotonic() + LIMIT_S
    while len(woken) < len(datasets) and time.monotonic() < end:
        woken |= {files[fd] for fd, _ in watch.poll(1)}
    assert woken == set(datasets)
    for fd in files:
        os.close(fd)


# ---- that nothing keeps it away ----


@pytest.fixture(scope="module")
def crowd():
    """Many datasets on one node, on a disk that can hang; for tests that only look."""
    base = os.path.join(os.environ[isolate.INSIDE], "crowd")
    cluster = Cluster(base, nodes=1)
    disk = HangingDisk(cluster.images, cluster.base / "store")
    try:
        cluster.start()
        here, = cluster
        begun = time.monotonic()
        datasets = [cluster.create(here, size=64 * MIB, metadata={"name": f"d{n}"})
                    for n in range(scale(200, 1000))]
        for dataset in datasets:
            cluster.wait_mounted(dataset, here, 600)
        print(f"{len(datasets)} datasets in {time.monotonic() - begun:.1f} s")
        yield cluster, here, datasets, disk
        disk.go()
        cluster.end()
    finally:
        disk.go()
        cluster.abandon()
        disk.end()
        subprocess.run(["rm", "-rf", base], check=False)


def read_all(node):
    """As a person would; returns (number of files, their text, seconds)."""
    begun = time.monotonic()
    out = subprocess.run(f"find '{node.root}/datasets' -type f | tee /dev/stderr | xargs cat",
                         shell=True, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    return len(out.stderr.splitlines()), out.stdout, time.monotonic() - begun


@contextlib.contextmanager
def control_stopped(cluster, here, datasets, disk):
    cluster.control.pause()
    try:
        yield
    finally:
        cluster.control.resume()


@contextlib.contextmanager
def a_job_hanging(cluster, here, datasets, disk):
    new = cluster.create(here, size=64 * MIB)
    cluster.wait_mounted(new, here)
    disk.hang(f"*{cluster.show(new)['volume_id']}*")
    cluster.delete(new)
    wait_until("a worker hangs", lambda: disk.waiting() > 0)
    try:
        yield
    finally:
        disk.go()
        cluster.wait_destroyed(new)


@contextlib.contextmanager
def the_disk_busy(cluster, here, datasets, disk):
    file = cluster.base / "busy"
    writers = [subprocess.Popen(["dd", "if=/dev/zero", f"of={file}{n}", "bs=1M", "count=100000",
                                 "oflag=dsync"], stderr=subprocess.DEVNULL) for n in range(2)]
    wait_until("the disk is busy", lambda: os.path.exists(f"{file}1"))
    try:
        yield
    finally:
        for n, one in enumerate(writers):
            one.kill()
            one.wait()
            os.unlink(f"{file}{n}")


TROUBLES = [control_stopped, a_job_hanging, the_disk_busy]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: t.__name__.replace("_", " "))
def test_the_whole_tree_is_read_from_memory(crowd, trouble):
    cluster, here, datasets, _ = crowd
    files = len(datasets) * (len(VALUES) + 2) + len(NODE_VALUES)
    n, _, quiet_s = read_all(here)
    assert n == files
    with trouble(*crowd):
        found, text, took_s = read_all(here)
        print(f"{found} files: {quiet_s:.2f} s quiet, {took_s:.2f} s with {trouble.__name__}")
        assert found >= files
        assert {dataset for dataset in datasets if f"{here.root}/{dataset}\n" in text} == set(datasets)
        # Two cores, and one of them may be writing: the bound is one of kind, not of speed.
        assert took_s < 3 * quiet_s + 2


STATS = 1_000_000
STORM = """
import os, sys, time
paths, rounds = sys.argv[2:], int(sys.argv[1])
begun, gone = time.monotonic(), 0
for n in range(rounds):
    try:
        os.stat(paths[n % len(paths)])
    except FileNotFoundError:
        gone += 1
print(gone, time.monotonic() - begun)
"""


def resident_kib(pid):
    return int(kernel.read(f"/proc/{pid}/smaps_rollup").split("Rss:")[1].split()[0])


def test_a_storm_of_stats_while_things_change(crowd):
    cluster, here, datasets, _ = crowd
    paths = [str(here.root / "datasets" / d / f) for d in datasets[:50] for f in VALUES[:20]]
    before = resident_kib(here.process.pid)
    storm = [subprocess.Popen([sys.executable, "-c", STORM, str(STATS // 2), *paths],
                              stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for _ in range(5):
        new = cluster.create(here, size=64 * MIB)
        cluster.wait_mounted(new, here)
        cluster.delete(new)
        cluster.wait_destroyed(new)
    for one in storm:
        out, _ = one.communicate(timeout=600)
        assert one.returncode == 0
        gone, took = out.split()
        assert int(gone) == 0
        print(f"{STATS // 2} stats in {float(took):.2f} s")
    # A sanitizer keeps what was freed, to see who uses it.
    if "libasan" not in kernel.read(f"/proc/{here.process.pid}/maps"):
        assert resident_kib(here.process.pid) - before < 4096


def test_a_thousand_open_files_and_pollers(crowd):
    cluster, here, datasets, _ = crowd
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(here.tree(datasets[n % len(datasets)], "state")))
                 for n in range(900)]
        poll = select.poll()
        for f in files:
            assert f.read() == "mounted\n"
            poll.register(f, select.POLLIN)
        assert poll.poll(0) == []
        read_all(here)
        assert here.alive()


def test_an_open_file_outlives_its_dataset(cluster):
    here, _ = cluster
    dataset = cluster.make(here)
    read, unread = (os.open(here.tree(dataset, "why"), os.O_RDONLY) for _ in range(2))
    directory = os.open(here.tree(dataset), os.O_RDONLY)
    assert os.pread(read, 100, 0) == b"as wished\n"
    poll = select.poll()
    poll.register(read, select.POLLIN)
    cluster.delete(dataset)
    cluster.wait_destroyed(dataset)
    wait_until("it is gone from the tree", lambda: here.status(dataset) is None)
    wait_until("poll(2) tells", lambda: dict(poll.poll(1000))[read] & select.POLLHUP)
    assert os.pread(read, 100, 0).endswith(b"\n")
    for gone in (lambda: os.pread(unread, 100, 0), lambda: os.stat("state", dir_fd=directory),
                 lambda: os.listdir(directory)):
        with pytest.raises(OSError):
            gone()
    for fd in (read, unread, directory):
        os.close(fd)
    again = cluster.make(here)
    assert here.read(again, "state") == "mounted\n"


# ---- that it comes back ----


def test_it_comes_back_when_it_is_unmounted(cluster):
    here, _ = cluster
    dataset = cluster.make(here)
    writer = Writer(here.data(dataset) / "log")
    for place in (here.run_dir / "datasets", here.root / "datasets"):
        for how in ([], ["--lazy"]):
            subprocess.run(["umount", *how, str(place)], check=True)
            for back in (here.root, here.run_dir):
                wait_until("it is back", lambda: tree_stands(back / "datasets", dataset))
    writer.end()
    assert here.has(dataset)


def tree_stands(place, dataset):
    with contextlib.suppress(OSError):
        return (place / dataset / "state").read_text() == "mounted\n"


READERS = {
    "nobody": "sys.stdin.read()",
    "an open file": "f = open(sys.argv[1] + '/state'); f.read(); print(flush=True); sys.stdin.read()",
    "a working directory": "os.chdir(sys.argv[1]); print(flush=True); sys.stdin.read()",
    "somebody who polls": "f = open(sys.argv[1] + '/state'); f.read(); p = select.poll(); "
                          "p.register(f, select.POLLIN); print(flush=True); p.poll()",
    "somebody who never stops reading": "print(flush=True)\nwhile True:\n  try:\n"
                                        "    open(sys.argv[1] + '/status.json').read()\n"
                                        "  except OSError:\n    pass",
}


@pytest.mark.parametrize("reader", READERS)
def test_it_comes_back_after_a_kill(cluster, reader):
    """With readers that hold the dead one, and with data mounts that notice nothing."""
    here, _ = cluster
    dataset = cluster.make(here)
    payload = Payload("data")
    payload.write(here.data(dataset))
    mount = {m for m in here.mounts()}
    writer = Writer(here.data(dataset) / "log")
    process = subprocess.Popen([sys.executable, "-c", f"import os, select, sys\n{READERS[reader]}",
                                str(here.tree(dataset))], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    if reader != "nobody":
        assert process.stdout.readline() == b"\n"
    for _ in range(3):
        written = writer.lines
        here.kill()
        wait_until("the data is written to without a daemon", lambda: writer.lines > written + 10)
        here.start()
        wait_until("the tree is back", lambda: tree_stands(here.root / "datasets", dataset))
        wait_until("its copy is back", lambda: tree_stands(here.run_dir / "datasets", dataset))
        # One tree at each place, whoever holds the old ones.
        trees = [m.point for _, m in kernel.mounts() if m.fstype == "fuse.flocker"
                 and m.point.startswith(str(here.dir))]
        assert len(trees) == len(set(trees)) * namespaces_of(here)
    process.kill()
    process.communicate()
    payload.sums["log"] = writer.end()
    payload.check(here.data(dataset))
    assert {m for m in here.mounts()} == mount
    assert len(cluster.mkfs_runs()) == 1


def namespaces_of(node):
    """In how many namespaces its mounts are seen: its own, and those of nodes "there"."""
    return len({namespace for namespace, m in kernel.mounts()
                if m.point == str(node.root / "datasets")})
