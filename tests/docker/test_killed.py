# SPDX-License-Identifier: Apache-2.0
"""What dies under running containers: they go on with their data, and nobody else gets it; or they get errors."""
import os
import signal

import cluster as clusters
import pytest

IN_USE = "in use on node"
TERM_S = 2

# Says how far it is, each number on the disk before the next one; continues where another ended.
COUNT = """
n=$(cat /data/n 2>/dev/null || echo 0)
while n=$((n + 1)); do
	echo $n >>/data/log && echo $n >/data/n && sync || exit 1
	sleep 0.02
done
"""


class Counter:
    """A container that counts on the volume, all the time."""

    def __init__(self, host, volume, name="counter"):
        self.host, self.volume, self.name = host, volume, name
        host.docker.good("run", "-d", "--network", "none", "--name", name, "--stop-timeout", "1", "-v", f"{volume}:/data",
                         "--volume-driver", "flocker", "flocker-test", "sh", "-c", COUNT)
        self.dataset = host.hosts.dataset(volume)["dataset_id"]
        self.wait(1)

    def count(self):
        """Past the engine, which may be dead."""
        try:
            return int(self.host.node.data(self.dataset, "n").read_text() or 0)
        except FileNotFoundError:
            return 0

    def wait(self, more=5):
        before = self.count()
        clusters.wait_until("it counts", lambda: self.count() >= before + more)


def numbers(host, volume):
    return [int(line) for line in host.docker.run(volume, "cat /data/log").split()]


def refused(host, volume):
    return host.docker.bad("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "flocker-test", "echo")


def kill(daemons):
    """All of them before any is waited for, as it is when a machine runs out of memory."""
    for daemon in daemons:
        daemon.process.kill()
    for daemon in daemons:
        daemon.process.wait()


@pytest.mark.parametrize("which", clusters.scale(["node control", "node plugin dockerd"], [
    "node", "node plugin", "node dockerd", "node control", "node plugin dockerd"]))
def test_containers_outlive_daemons_and_nobody_gets_their_volume(hosts, volume, which, watched):
    a, b = hosts
    cluster = hosts.cluster
    counter = Counter(a, volume)
    epoch = hosts.dataset(volume)["epoch"]
    daemons = {"node": a.node, "plugin": a.plugin, "dockerd": a.docker, "control": cluster.control}
    kill([daemons[name] for name in which.split()])
    counter.wait()
    if "control" not in which:
        assert IN_USE in refused(b, volume)
    counter.wait()
    for name in ("control", "node", "plugin", "dockerd"):
        if name in which.split():
            daemons[name].start()
    cluster.wait_live()
    cluster.wait(counter.dataset, "adopted", lambda d: d["state"] == "mounted" and d["node_live"])
    assert IN_USE in refused(b, volume)
    if "dockerd" in which:  # ends what ran without it
        a.docker.good("start", counter.name)
    counter.wait()
    assert a.docker.inspect(volume)["Status"]["mounts"] == 1
    a.docker.good("stop", counter.name)
    assert hosts.dataset(volume)["lease"] is None
    a.docker.good("start", counter.name)
    counter.wait()
    a.docker.good("stop", counter.name)
    seen = numbers(b, volume)
    assert seen[-1] >= 20 and seen == sorted(seen) and set(seen) == set(range(1, seen[-1] + 1))
    shown = hosts.dataset(volume)
    assert shown["owner"] == b.node.uuid and shown["epoch"] == epoch + 1


def make_leased(hosts, host, volume):
    host.docker.good("volume", "create", "-d", "flocker", "-o", "size=64M", "-o", "failover=lease", volume)
    dataset = hosts.dataset(volume)["dataset_id"]
    hosts.cluster.call("PATCH", f"/v2/datasets/{dataset}", {"failover": {"policy": "lease", "term": TERM_S}})
    return dataset


@pytest.mark.parametrize("fault", clusters.scale([signal.SIGSTOP], [signal.SIGKILL, signal.SIGSTOP]), ids=lambda s: s.name)
def test_a_container_whose_term_is_over_gets_errors_and_its_volume_lives_elsewhere(hosts, volume, fault, watched):
    a, b = hosts
    cluster = hosts.cluster
    dataset = make_leased(hosts, b, volume)
    b.docker.keep(volume, "idle")
    counter = Counter(b, volume)
    os.kill(b.node.process.pid, fault)
    cluster.wait(dataset, "fenced", lambda d: d["fenced"] and d["fenced"]["proof"] == "term")
    assert b.docker.good("wait", counter.name) == "1"  # it got an error
    told = b.docker("exec", "idle", "sh", "-c", "echo x >/data/x && sync && cat /data/x")
    assert told.status != 0, told
    seen = numbers(a, volume)
    assert seen == list(range(1, len(seen) + 1)) and seen
    a.docker.keep(volume, "new")
    a.docker.good("exec", "new", "sh", "-c", "echo new >/data/new && sync")
    # Whoever still has the old mount sees nothing of it, nor an empty directory.
    old = b.docker("exec", "idle", "sh", "-c", "cat /data/log && ls /data")
    assert old.status != 0 and "new" not in old.out, old
    if fault == signal.SIGSTOP:
        b.node.process.send_signal(signal.SIGCONT)
    else:
        b.node.start()
    cluster.wait_live()
    assert IN_USE in b.docker.bad("restart", "idle")
    a.docker.good("rm", "-f", "new")
    b.docker.good("start", "idle")
    assert b.docker.good("exec", "idle", "cat", "/data/new") == "new"
    assert b.docker.good("exec", "idle", "cat", "/data/n") == str(seen[-1])
