# SPDX-License-Identifier: Apache-2.0
"""A whole cluster of real daemons: a control server and nodes with mount namespaces of their own.

    BASE/<cluster>/ca            certificates
                  /control       data, certs and log of the control server
                  /images        where the loopback driver has its volumes, for all nodes
                  /bin           the nodes' PATH: mkfs programs that write down each run, and e2fsck
                  /<node>/etc /<node>/state /<node>/run /<node>/flocker (mount root) /<node>/log

The first node is "here": it mounts in the namespace of the test, as flocker-node does on a host.
The others are "there": in slaves of it, which live as long as the node, not its daemon, as a host.
Waiting is always for something that is seen, with a limit; nothing sleeps for a time.
"""
import hashlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid

import kernel
import rig

LIMIT_S = 60 * rig.SLOWER
IDLE_S = 120  # after which control ends a connection: the default of --idle-limit
MIB = 1 << 20
SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
MKFS = ("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
PROGRAMS = ("e2fsck", "fsck.ext4", "fsck.xfs", "fsck.btrfs", "xfs_repair", "btrfs")
MARK = "FLOCKER_TEST_CLUSTER"  # in the environment of everything a cluster starts


def full():
    return os.environ.get("FLOCKER_FULL") == "1"


def scale(default, in_full):
    """A number of rounds: what fits CI, or what FLOCKER_FULL=1 asks for."""
    return in_full if full() else default


def build():
    here = pathlib.Path(__file__).parent
    return pathlib.Path(os.environ.get("FLOCKER_BUILD") or here / "../../build").resolve()


def executable(name):
    folder = {"flocker-control": "control", "flocker-node": "nodesvc", "flocker-fence": "fence"}.get(name, "cli")
    return str(build() / folder / name)


def wait_until(what, condition, limit=LIMIT_S):
    return rig.wait_until(what, condition, limit)


class Authority:
    """The certificates of one cluster, by flocker-ca."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir()
        self.call("initialize", "test", inputs=False)
        self.call("create-control-certificate", "127.0.0.1")
        self.call("create-api-certificate", "user")
        self.ca = self.dir / "cluster.crt"
        self.user = (self.dir / "user.crt", self.dir / "user.key")

    def call(self, *arguments, inputs=True):
        where = ["-i", str(self.dir)] if inputs else []
        return subprocess.run([executable("flocker-ca"), arguments[0], *where, "-o", str(self.dir),
                               *arguments[1:]], check=True, capture_output=True, text=True).stdout

    def install(self, directory):
        """For the control server; see rig.Control."""
        directory.mkdir()
        for name, source in (("cluster.crt", "cluster.crt"),
                             ("control-service.crt", "control-127.0.0.1.crt"),
                             ("control-service.key", "control-127.0.0.1.key")):
            shutil.copy(self.dir / source, directory / name)
            shutil.chown(directory / name, "nobody")
            (directory / name).chmod(0o600)
        return directory

    def install_node(self, directory):
        """Returns the UUID of a new node."""
        before = set(self.dir.glob("*.crt"))
        self.call("create-node-certificate")
        crt, = set(self.dir.glob("*.crt")) - before
        shutil.copy(self.ca, directory / "cluster.crt")
        shutil.copy(crt, directory / "node.crt")
        shutil.copy(crt.with_suffix(".key"), directory / "node.key")
        return crt.stem


class Control(rig.Control):
    """The control server, unprivileged as in production."""

    def __init__(self, cluster):
        self.cluster = cluster
        directory = cluster.base / "control"
        directory.mkdir()
        super().__init__(cluster.authority, directory, "log")
        self.starts = 0

    def command(self, *extra):
        return [executable("flocker-control"), "--data-path", str(self.data), "--port",
                f"tcp:{self.port}:interface=127.0.0.1", "--agent-port",
                f"tcp:{self.agent_port}:interface=127.0.0.1", "--certificates-directory",
                str(self.certs), "--user", "nobody", *extra]

    def launch(self, *extra, **options):
        self.starts += 1
        options.setdefault("env", dict(os.environ, **{MARK: str(self.cluster.base)}))
        super().launch(*extra, **options)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def call(self, *args, **kw):
        """A connection is not used beyond the process that it is to, nor when that may end it as idle. Each thread has
        its own."""
        now = time.monotonic()
        if getattr(self.local, "starts", None) != self.starts or now - self.local.used > IDLE_S / 2:
            self.hang_up()
            self.local.starts = self.starts
        self.local.used = now
        return super().call(*args, **kw)

    def restart(self):
        self.kill()
        self.start()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Node:
    def __init__(self, cluster, name, here, backend_root):
        self.cluster, self.name, self.here = cluster, name, here
        self.dir = cluster.base / name
        self.etc = self.dir / "etc"
        self.etc.mkdir(parents=True)
        self.root, self.run_dir = self.dir / "flocker", self.dir / "run"
        self.state = self.dir / "state"
        self.log_path = self.dir / "log"
        self.config = self.etc / "agent.yml"
        self.uuid = cluster.authority.install_node(self.etc)
        self.process = self.holder = None
        self.boot = None
        self.options = []
        self.environment = dict(os.environ, PATH=str(cluster.bin), **{MARK: str(cluster.base)})
        self.settings = {
            "address": f"127.0.1.{cluster.next_address()}",
            "mount-root": self.root, "run-directory": self.run_dir, "state-directory": self.state,
            "watchdog": "none"}  # one of this machine would mean it
        self.write_config(backend_root)

    def write_config(self, backend_root):
        lines = ["version: 1", "control-service:", '  hostname: "127.0.0.1"',
                 f"  port: {self.cluster.control.agent_port}", "dataset:", '  backend: "loopback"',
                 f'  root_path: "{backend_root}"']
        lines += [f'{key}: "{value}"' for key, value in self.settings.items()]
        self.config.write_text("\n".join(lines) + "\n")

    # ---- its namespace ----

    def enter_namespace(self):
        """A process that keeps the namespace until its standard input ends."""
        command = ["cat"] if self.here else ["unshare", "--mount", "--propagation", "slave", "cat"]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdin.write(b"\n")
        self.holder.stdin.flush()
        assert self.holder.stdout.read(1) == b"\n"  # it runs, so unshare(1) is done

    def leave_namespace(self):
        if self.holder:
            self.holder.stdin.close()
            self.holder.stdout.close()
            self.holder.wait(LIMIT_S)
        self.holder = None

    def inside(self, *command):
        """@command, to be run where this node mounts."""
        return [shutil.which("nsenter"), f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", *command]

    def path(self, *parts):
        """A path of this node's namespace, as the test sees it."""
        return pathlib.Path(f"/proc/{self.holder.pid}/root", *[str(p).lstrip("/") for p in parts])

    # ---- its daemon ----

    def launch(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                self.inside(executable("flocker-node"), "--agent-config", str(self.config),
                            "--fence-helper", executable("flocker-fence"), *self.options),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)

    def start(self, wait=True):
        if not self.holder:
            self.enter_namespace()
        before = self.log.count(": ready\n")
        self.launch()
        if wait:
            wait_until(f"{self.name} is ready", lambda: not self.alive()
                       or self.log.count(": ready\n") > before)
            assert self.alive(), self.log

    def fails(self):
        """Starts in vain; the last line of its log."""
        if not self.holder:
            self.enter_namespace()
        self.launch()
        assert self.process.wait(LIMIT_S) == 1, self.log
        return self.log.splitlines()[-1]

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(LIMIT_S)
        assert status == 0, f"{self.name} ended with {status}"

    def reboot(self):
        """Every process, mount and loop device of the machine ends; disks stay. "here" shares its
        namespace with the test and cannot."""
        assert not self.here
        if self.alive():
            self.kill()
        for pid in self.processes():  # a mkfs may outlive its daemon
            os.kill(pid, signal.SIGKILL)
        wait_until("its processes are gone", lambda: not self.processes())
        devices = self.devices()
        self.leave_namespace()
        for loop in devices:  # one may go with its last user, before we come to it
            subprocess.run(["losetup", "-d", f"/dev/{loop.name}"], check=False)
        wait_until("its devices are gone", lambda: not {(d.name, d.diskseq) for d in devices} &
                   {(d.name, d.diskseq) for d in kernel.loops()})
        self.enter_namespace()
        self.boot = self.dir / "boot_id"
        self.boot.write_text(f"{uuid.uuid4()}\n")
        subprocess.run(self.inside("mount", "--bind", str(self.boot),
                                   "/proc/sys/kernel/random/boot_id"), check=True)

    def processes(self):
        """In its namespace, beside the one that keeps it."""
        namespace, found = os.readlink(f"/proc/{self.holder.pid}/ns/mnt"), []
        for pid in kernel.pids():
            try:
                if os.readlink(f"/proc/{pid}/ns/mnt") == namespace and pid != self.holder.pid:
                    found.append(pid)
            except OSError:
                continue
        return found

    def helpers(self):
        """Process ids of its fence helpers."""
        return [pid for pid, words in self.cluster.processes()
                if words.split(" ")[0].endswith("/flocker-fence") and f"{self.dir}/" in words]

    def helper(self):
        found = self.helpers()
        assert len(found) == 1, found
        return found[0]

    def devices(self):
        """Loop devices on volumes that it claims."""
        volumes = self.cluster.images / "volumes"
        claims = {loop: kernel.claim(volumes / volume)
                  for volume, loop in self.cluster.attached()}
        return [loop for loop, claim in claims.items()
                if claim and claim["node"] == self.uuid and claim["state"] == "held"]

    @property
    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_log(self, text, after=0, limit=LIMIT_S):
        """Until @text is in what was logged after the first @after characters."""
        return wait_until(f"'{text}' in the log of {self.name}",
                          lambda: text in self.log[after:], limit)

    # ---- what it shows and has ----

    def tree(self, *parts):
        return self.path(self.root, "datasets", *parts)

    def read(self, dataset, file):
        """One file of a dataset in the tree; None when the dataset is not there."""
        try:
            return self.tree(dataset, file).read_text()
        except (FileNotFoundError, NotADirectoryError, ConnectionError, OSError):
            return None

    def status(self, dataset):
        text = self.read(dataset, "status.json")
        return json.loads(text) if text else None

    def node_status(self):
        return json.loads(self.tree(".node", "status.json").read_text())

    def wait_state(self, dataset, state, limit=LIMIT_S):
        """Until the tree says so; between its words poll(2) waits for the next one."""
        end = time.monotonic() + limit
        wait_until(f"{self.name} shows {dataset}", lambda: self.read(dataset, "state"), limit)
        with open(self.tree(dataset, "state"), "rb", buffering=0) as f:
            changed = select.poll()
            changed.register(f.fileno(), select.POLLIN)
            while (seen := os.pread(f.fileno(), 64, 0).decode().strip()) != state:
                left = end - time.monotonic()
                assert left > 0, f"{dataset} is {seen} and not {state}: {self.read(dataset, 'why')}"
                changed.poll(left * 1000)

    def data(self, dataset, *parts):
        """A path in the mounted dataset."""
        return self.path(self.root, str(dataset), *parts)

    def mounts(self):
        """Mounts of datasets below its mount root, in whatever namespace."""
        return {m for _, m in kernel.mounts() if m.point.startswith(f"{self.root}/")
                and m.fstype != "fuse.flocker"}

    def thaw(self):
        """What a killed fence helper left frozen would keep whoever writes to it, and so this test, for ever."""
        for mount in self.mounts() if self.holder else ():
            subprocess.run(self.inside("fsfreeze", "--unfreeze", mount.point), check=False,
                           stderr=subprocess.DEVNULL)

    def has(self, dataset):
        return any(m.point == f"{self.root}/{dataset}" for m in self.mounts())


class Payload:
    """Files of pseudo-random bytes, and their checksums."""

    def __init__(self, seed, files=8, size=200_000):
        self.files, self.size = files, size
        self.random = random.Random(seed)
        self.sums = {}

    def put(self, directory, name, sync=True):
        data = self.random.randbytes(self.random.randrange(1, self.size))
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        with open(file, "wb") as f:
            f.write(data)
            if sync:
                f.flush()
                os.fsync(f.fileno())
        self.sums[name] = hashlib.sha256(data).hexdigest()

    def write(self, directory, sync=True):
        for n in range(self.files):
            self.put(directory, f"d{n % 3}/file-{n}", sync)

    def add(self, directory):
        """One file anew, with other data."""
        self.put(directory, self.random.choice(sorted(self.sums)))

    def check(self, directory):
        found = {str(f.relative_to(directory)): hashlib.sha256(f.read_bytes()).hexdigest()
                 for f in directory.rglob("*") if f.is_file()}
        wrong = sorted(name for name in found.keys() | self.sums.keys()
                       if found.get(name) != self.sums.get(name))
        assert not wrong, f"of {len(self.sums)} files below {directory} these differ: {wrong}"


class Watcher:
    def __init__(self, cluster, *options):
        command = [sys.executable, str(pathlib.Path(__file__).with_name("watch.py")), *options,
                   str(cluster.base), str(cluster.images), *cluster.nodes]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self):
        """What it saw: {"samples", "releases", "violations"}."""
        out, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0, "the watcher died"
        return json.loads(out)


class Cluster:
    """start() it, use it, end() it; abandon() it when something went wrong."""

    def __init__(self, base, nodes=2, images=None):
        self.base = pathlib.Path(base)
        self.base.mkdir()
        self.addresses = 0
        self.authority = Authority(self.base / "ca")
        self.images = pathlib.Path(images or self.base / "images")
        self.images.mkdir(exist_ok=True)
        self.bin = self.base / "bin"
        self.make_programs()
        self.control = Control(self)
        self.nodes = {}
        for n in range(nodes):
            name = f"n{n + 1}"
            self.nodes[name] = Node(self, name, n == 0, self.images)
        self.watcher = None
        self.seen = None
        self.volumes = set()
        self.destroyed = []

    def next_address(self):
        self.addresses += 1
        return self.addresses

    def __iter__(self):
        return iter(self.nodes.values())

    # ---- programs of the nodes ----

    def make_programs(self):
        self.bin.mkdir()
        for name in MKFS + PROGRAMS:
            self.add_program(name)

    def add_program(self, name):
        real = shutil.which(name)
        if not real:
            return
        if name not in MKFS:
            (self.bin / name).symlink_to(real)
            return
        # The last argument is the device; its image tells the volume. One write is one line.
        (self.bin / name).write_text(f"""#!/bin/sh
for device; do :; done
read -r image </sys/class/block/${{device##*/}}/loop/backing_file
echo "{name} $image" >>{self.base}/mkfs.log
exec {real} "$@"
""")
        (self.bin / name).chmod(0o755)

    def remove_program(self, name):
        (self.bin / name).unlink()

    def mkfs_runs(self):
        """[(program, image)] in the order of their starts."""
        log = self.base / "mkfs.log"
        return [tuple(line.split(" ", 1)) for line in log.read_text().splitlines()] \
            if log.exists() else []

    # ---- life ----

    def start(self):
        self.control.start()
        for node in self:
            node.start()
        self.watch()
        self.wait_live()
        return self

    def remove_node(self, node):
        """It is stopped and has to leave nothing; the end does not wait for it."""
        node.stop()
        assert not node.mounts() and not node.devices() and not node.processes()
        assert os.listdir(node.root) == ["datasets"] and not os.listdir(node.root / "datasets")
        node.leave_namespace()
        del self.nodes[node.name]

    def wait_live(self, *nodes):
        """Until control has a session with these nodes; without any, with all."""
        wanted = {n.uuid for n in nodes or self}
        wait_until("the nodes are live", lambda: wanted <= {
            n["uuid"] for n in self.call("GET", "/v2/nodes")["nodes"] if n["live"]})

    # ---- the API ----

    def call(self, method, path, body=None):
        answer = self.control.call(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json

    def create(self, node, fs="ext4", size=None, **fields):
        """The id of a new dataset; it is not there yet."""
        metadata = {"flocker:filesystem": fs, **fields.pop("metadata", {})}
        return self.call("POST", "/v1/configuration/datasets", {
            "primary": node.uuid, "maximum_size": size or SIZES[fs], "metadata": metadata,
            **fields})["dataset_id"]

    def move(self, dataset, node):
        return self.call("POST", f"/v1/configuration/datasets/{dataset}", {"primary": node.uuid})

    def delete(self, dataset):
        return self.call("DELETE", f"/v1/configuration/datasets/{dataset}")

    def show(self, dataset):
        return self.call("GET", f"/v2/datasets/{dataset}")

    def datasets(self):
        return self.call("GET", "/v2/datasets?deleted=true&limit=1000")["datasets"]

    def wait(self, dataset, what, condition, limit=LIMIT_S):
        """Until the API shows the dataset so; returns what it then shows."""
        end = time.monotonic() + limit
        while not condition(seen := self.show(dataset)):
            assert time.monotonic() < end, \
                f"waited {limit} s in vain: {dataset} is {what}: {json.dumps(seen, indent=1)}"
            time.sleep(0.01)
        return seen

    def wait_mounted(self, dataset, node, limit=LIMIT_S):
        """And its node is connected: control shows the last word of one that is not."""
        return self.wait(dataset, f"mounted on {node.name}", lambda d: d["state"] == "mounted"
                         and d["owner"] == node.uuid and d["mountpoint"] and d["node_live"], limit)

    def wait_destroyed(self, dataset, limit=LIMIT_S):
        return self.wait(dataset, "destroyed", lambda d: d["state"] == "destroyed", limit)

    def make(self, node, fs="ext4", **fields):
        """A mounted new dataset."""
        dataset = self.create(node, fs, **fields)
        self.wait_mounted(dataset, node)
        return dataset

    # ---- the end ----

    def watch(self, *options):
        self.watcher = Watcher(self, *options)

    def stop_watching(self):
        if self.watcher:
            self.seen = self.watcher.end()
            self.watcher = None
        return self.seen

    def destroy_all(self):
        """Every dataset goes the way a user would send it."""
        every = self.datasets()
        self.volumes |= {d["volume_id"] for d in every}
        ids = [d["dataset_id"] for d in every if d["state"] != "destroyed"]
        for dataset in ids:
            self.delete(dataset)
        for dataset in ids:
            self.wait_destroyed(dataset)
        self.destroyed = [d["dataset_id"] for d in every]

    def end(self):
        """Destroys what is there, stops everything and looks for what is left."""
        for daemon in (self.control, *self):
            if not daemon.alive():
                daemon.start()
        self.wait_live()
        self.destroy_all()
        self.check_watcher()
        self.check_mkfs()
        for node in self:
            node.stop()
            assert "Sanitizer" not in node.log and "runtime error" not in node.log
        self.control.end()
        self.no_leftovers()
        for node in self:
            node.leave_namespace()

    def check_watcher(self):
        seen = self.stop_watching()
        assert seen["samples"] > 0
        assert not seen["violations"], "\n".join(seen["violations"])

    def check_mkfs(self):
        images = [image for _, image in self.mkfs_runs()]
        assert all(image.startswith(f"{self.images}/volumes/") for image in images), images
        twice = {image for image in images if images.count(image) > 1}
        assert not twice, f"mkfs ran more than once on {twice}"

    def processes(self):
        found = []
        for pid in kernel.pids():
            try:
                if f"{MARK}={self.base}\0" in kernel.read(f"/proc/{pid}/environ"):
                    found.append((pid, kernel.read(f"/proc/{pid}/cmdline").replace("\0", " ")))
            except OSError:
                continue
        return found

    def attached(self):
        """[(volume_id, Loop)]: what is attached of this cluster, also of volumes that are gone."""
        try:
            self.volumes |= set(os.listdir(self.images / "volumes"))
        except OSError:
            pass
        return [one for one in kernel.loops_on_volumes() if one[0] in self.volumes]

    def devices(self):
        return [loop for _, loop in self.attached()]

    def no_leftovers(self):
        """With every dataset destroyed and every daemon stopped, nothing of them is left."""
        base = f"{self.base}/"
        assert not self.processes()
        assert not [m for _, m in kernel.mounts() if m.point.startswith(base)
                    and m.point != str(self.images)]
        assert not self.devices()
        assert [p for p in self.images.rglob("*") if p.name != "lost+found"] == \
            [self.images / "volumes"]
        for node in self:
            assert os.listdir(node.root) == ["datasets"] and not os.listdir(node.root / "datasets")
        wait_until("udev's links are gone", lambda: not any(
            os.path.lexists(f"/dev/disk/by-dataset/{dataset}") for dataset in self.destroyed))

    def abandon(self):
        """By force, so that the next test starts on clean ground."""
        self.attached()  # learns the volumes before their names go
        if self.watcher:
            self.watcher.process.kill()
            self.watcher.process.communicate()
        for daemon in (self.control, *self):
            if daemon.alive():
                daemon.kill()
        for pid, _ in self.processes():
            os.kill(pid, signal.SIGKILL)
        for node in self:
            node.thaw()
            node.leave_namespace()
        base = f"{self.base}/"
        for _, mount in reversed(kernel.mounts()):
            if mount.point.startswith(base):
                subprocess.run(["umount", "--lazy", mount.point], check=False,
                               stderr=subprocess.DEVNULL)
        for loop in set(self.devices()) | set(kernel.loops_of(self.base, self.images)):
            subprocess.run(["losetup", "-d", f"/dev/{loop.name}"], check=False)

    def logs(self):
        """[(name, text)] for the report of a failed test."""
        return [("flocker-control", self.control.log),
                *((f"flocker-node {node.name}", node.log) for node in self)]
