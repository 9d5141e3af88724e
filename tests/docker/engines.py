# SPDX-License-Identifier: Apache-2.0
"""dockerd, its volumes' plugin and a node: a machine of the tests."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import cluster as clusters

BUSYBOX = "/bin/busybox"
DOCKER = "/usr/bin/docker"
IMAGE = "flocker-test"
LIMIT_S = 60
CGROUP_PARENT = f"/flocker-test-{os.getpid()}"


def plugin_program():
    return str(clusters.build() / "plugins/flocker-docker-plugin")


# ---- control groups: the machine has a /sys of its own, and nothing in it yet ----

def hierarchies():
    """Of version 1; empty where there is version 2 alone."""
    found = {}
    for line in pathlib.Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, number, _, enabled = line.split()
        if number != "0" and enabled == "1":
            found.setdefault(number, []).append(name)
    return [",".join(names) for names in found.values()]


def mount_cgroups():
    top = pathlib.Path("/sys/fs/cgroup")
    if not hierarchies():
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", top], check=True)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", top], check=True)
    for names in hierarchies():
        (top / names).mkdir()
        subprocess.run(["mount", "-t", "cgroup", "-o", names, "cgroup", top / names], check=True)
    (top / "systemd").mkdir()
    subprocess.run(["mount", "-t", "cgroup", "-o", "none,name=systemd", "cgroup", top / "systemd"], check=False)


def remove_cgroups():
    for top in pathlib.Path("/sys/fs/cgroup").glob(f"**{CGROUP_PARENT}"):
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass


class Result:
    def __init__(self, run):
        self.status, self.out, self.error = run.returncode, run.stdout.strip(), run.stderr.strip()

    def __repr__(self):
        return f"<{self.status}: {self.out!r} {self.error!r}>"


class Plugin:
    def __init__(self, host):
        self.host, self.process = host, None
        self.socket = "/run/docker/plugins/flocker/flocker.sock"
        self.log_path = host.dir / "plugin.log"

    def start(self, *extra):
        before = self.log.count("ready: node")
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.host.node.inside(
                plugin_program(), "--agent-config", str(self.host.node.config), "--control-port",
                str(self.host.hosts.cluster.control.port), "--state-directory", str(self.host.dir / "plugin"),
                "--docker-socket", str(self.host.docker.socket), "--log-level", "debug", *extra),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.host.node.environment)
        clusters.wait_until("the plugin is ready", lambda: self.process.poll() is not None
                            or self.log.count("ready: node") > before)
        assert self.process.poll() is None, self.log

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, call):
        """As dockerd does it; the socket is in the namespace of the host."""
        path = self.host.node.path(self.socket)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"/proc/self/fd/{os.open(path, os.O_PATH)}")
            s.sendall(f"POST /VolumeDriver.{call} HTTP/1.1\r\nHost:\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            data = b"".join(iter(lambda: s.recv(65536), b""))
        return json.loads(data.split(b"\r\n\r\n", 1)[1])

    @property
    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""


class Docker:
    def __init__(self, host):
        self.host, self.process = host, None
        self.dir = host.dir / "docker"
        self.dir.mkdir()
        self.socket = self.dir / "docker.sock"
        self.log_path = host.dir / "dockerd.log"

    def start(self, *extra):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.host.node.inside(
                "dockerd", "--data-root", str(self.dir / "data"), "--exec-root", str(self.dir / "exec"), "--pidfile",
                str(self.dir / "pid"), "--host", f"unix://{self.socket}", "--bridge", "none", "--iptables=false",
                "--ip6tables=false", "--ip-masq=false", "--storage-driver", "vfs", "--cgroup-parent", CGROUP_PARENT,
                "--exec-opt", "native.cgroupdriver=cgroupfs", *extra),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.host.node.environment | {
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        clusters.wait_until("dockerd is ready", lambda: self.process.poll() is not None
                            or self("version").status == 0)
        assert self.process.poll() is None, self.log_path.read_text()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(LIMIT_S)
        if how == signal.SIGKILL:  # what it had started is not its process group; containerd is started anew
            (self.dir / "pid").unlink(missing_ok=True)

    def command(self, *words):
        return self.host.node.inside(DOCKER, "--host", f"unix://{self.socket}", *words)

    def __call__(self, *words, limit=180):
        return Result(subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                     timeout=limit, env=dict(os.environ, DOCKER_CONFIG=str(self.dir))))

    def api(self, path):
        """A GET to dockerd without its client, which takes longer to start than dockerd to answer."""
        connection = http.client.HTTPConnection("docker", timeout=LIMIT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"/proc/self/cwd/{os.path.relpath(self.socket)}")
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def begin(self, *words):
        """Goes on while the test does something else."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def good(self, *words, **kw):
        result = self(*words, **kw)
        assert result.status == 0, f"docker {' '.join(words)}: {result}"
        return result.out

    def bad(self, *words, **kw):
        result = self(*words, **kw)
        assert result.status != 0, f"docker {' '.join(words)}: {result}"
        return result.error

    def run(self, volume, script, *options):
        """A container that ends by itself; what it printed."""
        return self.good("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "--volume-driver", "flocker",
                         *options, IMAGE, "sh", "-c", script)

    def keep(self, volume, name, *options):
        """A container that stays until it is stopped."""
        self.good("run", "-d", "--network", "none", "--name", name, "--stop-timeout", "1", "-v", f"{volume}:/data",
                  "--volume-driver", "flocker", *options, IMAGE, "sleep", "1000000")
        return name

    def inspect(self, volume):
        return json.loads(self.good("volume", "inspect", volume))[0]


class Podman:
    """Of the same machine as dockerd, with the same plugin. It has no daemon. No limits are asked for, since only who has
    CAP_SYS_RESOURCE may raise one: crun and runc refuse to start a container otherwise."""

    def __init__(self, host):
        self.host, self.ready, self.runtime = host, False, "crun"
        self.dir = host.dir / "podman"
        self.dir.mkdir()
        (self.dir / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.limit(60)

    def limit(self, seconds):
        """How long it waits for the plugin, in each call."""
        (self.dir / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = []\nlog_driver = "k8s-file"\n[engine]\ncgroup_manager = "cgroupfs"\n'
            f'events_logger = "file"\nvolume_plugin_timeout = {seconds}\n'
            f'[engine.volume_plugins]\nflocker = "{self.host.plugin.socket}"\n')

    def __call__(self, *words, limit=120):
        command = self.host.node.inside(
            "podman", "--root", str(self.dir / "data"), "--runroot", f"/run/podman-{self.host.node.name}", "--tmpdir",
            str(self.dir / "tmp"), "--storage-driver", "vfs", "--runtime", self.runtime, *words)
        environment = dict(os.environ, CONTAINERS_CONF=str(self.dir / "containers.conf"), TMPDIR=str(self.dir))
        return Result(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit,
                                     env=environment))

    def good(self, *words, **kw):
        result = self(*words, **kw)
        assert result.status == 0, f"podman {' '.join(words)}: {result}"
        return result.out

    def make_image(self):
        self.good("import", "--signature-policy", str(self.dir / "policy.json"), str(self.host.dir / "image.tar"), IMAGE)
        self.ready = True

    def run(self, volume, script, *options):
        return self.good("run", "--rm", "--network", "none", "--cgroup-parent", CGROUP_PARENT, "-v", f"{volume}:/data", *options,
                         f"localhost/{IMAGE}", "sh", "-c", script)


class Host:
    def __init__(self, hosts, node):
        self.hosts, self.node = hosts, node
        self.dir = node.dir / "host"
        self.dir.mkdir()
        for kind in ("crt", "key"):
            shutil.copy(hosts.cluster.authority.dir / f"plugin.{kind}", node.etc / f"plugin.{kind}")
        self.docker, self.plugin = Docker(self), Plugin(self)
        self.podman = Podman(self)

    def start(self):
        own = self.dir / "run"
        own.mkdir()
        pathlib.Path("/run/docker").mkdir(exist_ok=True)
        subprocess.run(self.node.inside("mount", "--bind", str(own), "/run/docker"), check=True)
        self.plugin.start()
        self.docker.start()
        self.make_image()

    def make_image(self):
        root = self.dir / "image"
        (root / "bin").mkdir(parents=True)
        for place in ("tmp", "proc", "dev", "sys", "etc"):
            (root / place).mkdir()
        shutil.copy(BUSYBOX, root / "bin/busybox")
        for name in ("sh", "cat", "sleep", "echo", "ls", "md5sum", "dd", "sync", "touch", "mount", "stat"):
            (root / "bin" / name).symlink_to("busybox")
        tar = self.dir / "image.tar"
        subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)
        self.docker.good("import", str(tar), IMAGE)


class Hosts:
    def __init__(self, base):
        self.cluster = clusters.Cluster(base)
        self.cluster.authority.call("create-api-certificate", "plugin")
        self.all = []

    def start(self):
        self.cluster.control.start()
        for node in self.cluster:
            node.start()
        self.cluster.wait_live()
        for node in self.cluster:
            self.all.append(Host(self, node))
            self.all[-1].start()

    def __iter__(self):
        return iter(self.all)

    def dataset(self, name):
        found = [d for d in self.cluster.call("GET", f"/v2/datasets?name={name}")["datasets"] if not d["deleted"]]
        return found[0] if found else None

    def wait_dataset(self, name, condition):
        return clusters.wait_until(f"dataset {name}", lambda: (d := self.dataset(name)) and condition(d) and d)

    def revive(self):
        """Daemons that a failed test has killed or stopped."""
        cluster = self.cluster
        daemons = [cluster.control, *cluster, *(d for host in self for d in (host.plugin, host.docker))]
        for daemon in daemons:
            if daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
            else:
                daemon.start()
        cluster.wait_live()

    def clean(self, volume):
        for host in self:
            ids = host.docker("ps", "-aq").out.split()
            if ids:
                host.docker("rm", "-f", *ids)
            if host.podman.ready:
                host.podman("volume", "rm", "-f", volume)
        dataset = self.dataset(volume)
        if dataset:
            self.cluster.wait(dataset["dataset_id"], "not leased", lambda d: d["lease"] is None)
            self.destroy(dataset["dataset_id"])

    def destroy(self, *datasets):
        for dataset in datasets:
            self.cluster.call("DELETE", f"/v2/datasets/{dataset}?undelete=0")
        for dataset in datasets:
            self.cluster.wait_destroyed(dataset)

    def end(self):
        for host in self:
            for process in (host.docker.process, host.plugin.process):
                if process and process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(30)
                    except subprocess.TimeoutExpired:
                        process.kill()
        self.cluster.abandon()

    def logs(self):
        for host in self:
            for path in (host.docker.log_path, host.plugin.log_path, host.node.log_path):
                if path.exists():
                    yield f"{host.node.name} {path.name}", "\n".join(path.read_text().splitlines()[-40:])
