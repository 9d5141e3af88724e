# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL in a container on a volume that moves, under load all the time: nothing that was committed is lost."""
import random
import signal
import statistics

import cluster as clusters
import postgres
import pytest

pytestmark = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))

ROUNDS = clusters.scale(10, 30)
COMMITS = clusters.scale(100, 1000)  # of each writer, at each of its places
ENDS = {}


def end(f):
    """One way in which the server at a place comes to its end."""
    ENDS[f.__name__] = f
    return f


@end
def stopped(server, load, other):
    server.stop()


@end
def killed(server, load, other):
    server.host.docker.good("kill", "--signal", "KILL", server.name)
    server.remove()


@end
def removed(server, load, other):
    server.remove()


@end
def dockerd_killed(server, load, other):
    """The container outlives its engine, and is ended by the next one."""
    docker = server.host.docker
    docker.stop(signal.SIGKILL)
    server.is_refused(other)
    load.wait(COMMITS)
    docker.start()
    docker.good("start", server.name)
    load.wait(COMMITS)
    server.stop()


@end
def plugin_killed(server, load, other):
    server.host.plugin.kill()
    load.wait(COMMITS)
    server.host.plugin.start()
    server.stop()


@end
def node_killed(server, load, other):
    node = server.host.node
    node.kill()
    server.is_refused(other)
    load.wait(COMMITS)
    node.start()
    node.cluster.wait_live(node)
    server.stop()


@end
def all_killed(server, load, other):
    """All that belongs to the machine, but for the server itself, which the next engine ends, and begins again."""
    host = server.host
    for process in (host.node.process, host.plugin.process):
        process.kill()
        process.wait()
    host.docker.stop(signal.SIGKILL)
    server.is_refused(other)
    load.wait(COMMITS)
    host.node.start()
    host.plugin.start()
    host.docker.start()
    host.docker.good("start", server.name)
    load.wait(COMMITS)
    server.stop()


@end
def control_killed(server, load, other):
    cluster = server.host.hosts.cluster
    cluster.control.kill()
    load.wait(COMMITS)
    cluster.control.start()
    cluster.wait_live()
    server.stop()


def ways(seed):
    """Of the rough ones each as often as the others, and some that are orderly."""
    rough = [f for f in ENDS.values() if f is not stopped]
    found = [stopped] * (ROUNDS // 3) + [rough[i % len(rough)] for i in range(ROUNDS - ROUNDS // 3)]
    random.Random(seed).shuffle(found)
    return found


def test_a_database_under_load_moves_and_loses_nothing(hosts, volume, watched, seed):
    a, b = hosts
    a.docker.good("volume", "create", "-d", "flocker", "-o", "size=512M", volume)
    server = postgres.Server(hosts, volume)
    server.run(a)
    server.make_tables()
    load = postgres.Load(server, seed)
    pauses = {}
    for way in ways(seed):
        load.wait(COMMITS)
        here, there = server.host, b if server.host is a else a
        way(server, load, there)
        last = load.last()
        server.run(there)
        pauses.setdefault(way.__name__, []).append(load.wait(1) - last)
        print(f"{way.__name__}: {here.node.name} to {there.node.name}, {pauses[way.__name__][-1]:.2f} s without a commit")
        if way is not stopped:
            server.check_files()
    rows = server.check(load.end())
    print(f"{rows} rows, {ROUNDS} moves; seconds without a commit:")
    for name, seconds in pauses.items():
        print(f"  {name}: {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})")
    server.stop()
