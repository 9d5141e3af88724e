# SPDX-License-Identifier: Apache-2.0
"""Control comes back and all its nodes with it, or much is moved at once: nobody is refused for load alone, no
term is lost, and memory is bounded. What is lost shows as another epoch."""
import concurrent.futures
import os
import socket
import threading
import uuid

import pytest

import rig
from fleet import Fleet

TERM_S = 6
LIMIT_S = 60
GROWTH_MIB = 16  # that three storms may cost beyond what the first two did
UNKNOWN_MAX = 512  # see agents.c


# Memory that was freed counts as freed, also with the sanitizers, which keep it for a while else.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"


def rss_mib(control):
    with open(f"/proc/{control.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) / 1024


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        yield threads


@pytest.fixture
def make_fleet(control, pool):
    """make_fleet(n, term_s): that many nodes, welcomed."""
    made = []

    def make(n, term_s):
        ids = [str(uuid.uuid4()) for _ in range(n)]
        made.append(Fleet(control, dict(zip(ids, pool.map(control.authority.node, ids))), term_s).start())
        made[-1].wait_welcomed(1, LIMIT_S)
        return made[-1]

    yield make
    for fleet in made:
        fleet.end()


def create(control, pool, nodes, metadata):
    """A dataset on each of @nodes, which may repeat."""
    return list(pool.map(lambda node: control.create(node, metadata=metadata), nodes))


def leased(term_s):
    return {"flocker:failover": "lease", "flocker:term": str(term_s)}


def epochs(control, datasets):
    control.hang_up()
    seen = {d["dataset_id"]: d["epoch"] for d in control.every()}
    return {seen[d] for d in datasets}


def test_a_storm_of_nodes_is_welcomed_and_no_term_is_lost(control, pool, make_fleet):
    fleet = make_fleet(300, TERM_S)
    ids = [m.id for m in fleet.members]
    datasets = create(control, pool, ids * 5, leased(TERM_S)) + create(control, pool, ids * 5, {})
    fleet.wait_mounted(len(datasets), LIMIT_S)
    control.hang_up()
    control.kill()
    control.start("--event-memory", "65536")  # full at once, and the same before each storm
    fleet.wait_welcomed(2, LIMIT_S)
    used = []
    for times in range(3, 7):  # the same to a control that has served them
        fleet.cut()
        fleet.wait_welcomed(times, LIMIT_S)
        used.append(rss_mib(control))
    first, *_, last = used
    print(f"a renewal in force was {fleet.oldest_s():.2f} s old at most; MiB:", *(f"{u:.1f}" for u in used))
    assert epochs(control, datasets) == {1}
    assert not any(m.byes for m in fleet.members)
    assert last < first + GROWTH_MIB


def test_three_hundred_moved_at_once_cost_no_term(control, pool, make_fleet):
    fleet = make_fleet(2, 2)
    here, there = fleet.members
    beside = create(control, pool, [here.id, there.id] * 50, leased(2))
    moved = create(control, pool, [here.id] * 300, {})
    fleet.wait_mounted(400, LIMIT_S)
    list(pool.map(lambda d: control.post(f"/v1/configuration/datasets/{d}", {"primary": there.id}), moved))
    rig.wait_until("all are there", lambda: set(moved) <= there.mounted, LIMIT_S)
    rig.wait_until("control says so", lambda: all(
        d["state"] == "mounted" and d["owner"] == d["node"] for d in control.every()))
    assert not here.mounted & set(moved)
    assert epochs(control, beside) == {1} and epochs(control, moved) == {2}


def test_who_comes_when_many_say_nothing_waits_and_is_welcomed(control):
    silent = [socket.create_connection(("127.0.0.1", control.agent_port)) for _ in range(UNKNOWN_MAX)]
    node = []
    thread = threading.Thread(target=lambda: node.append(rig.Node(control)))
    thread.start()
    for s in silent:
        s.close()
    thread.join(rig.LIMIT_S)
    node[0].join()
