# SPDX-License-Identifier: Apache-2.0
"""A thousand clients at once, some of them slow or dying, and a server that is killed: they see documented statuses
only, and what was acknowledged is there.

FLOCKER_FULL=1   more of everything, not what fits CI
FLOCKER_SEED=n   what they do"""
import asyncio
import os
import random
import resource
import time
import uuid

import pytest

import rig
from crowd import ABSENT_NODE, DATASETS, LEASES, Crowd
from fleet import Fleet

SEED = int(os.environ.get("FLOCKER_SEED") or time.time() // 86400)
FULL = os.environ.get("FLOCKER_FULL") == "1"

# Memory that was freed counts as freed, also with the sanitizers, which keep it for a while else.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"


def sanitized():
    with open(os.environ["FLOCKER_CONTROL"], "rb") as program:
        return b"__asan_init" in program.read()


def memory_mib(control, field):
    with open(f"/proc/{control.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":")) / 1024


def descriptors(control):
    return len(os.listdir(f"/proc/{control.process.pid}/fd"))


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def control(many_files, authority, tmp_path):
    server = rig.Control(authority, tmp_path)
    # A thousand handshakes at once take seconds on a busy machine, and who has half of one is half a request.
    server.command = lambda *extra: rig.Control.command(
        server, "--request-limit", "4", "--log-level", "notice", *extra)
    server.start()
    yield server
    server.end()


@pytest.fixture
def fleet(control):
    ids = [str(uuid.UUID(int=random.Random(f"{SEED} node {n}").getrandbits(128), version=4)) for n in range(3)]
    fleet = Fleet(control, {node: control.authority.node(node) for node in ids}, 30).start()
    fleet.wait_welcomed(1)
    yield fleet
    fleet.end()


def settled(control, fleet):
    """Every dataset is where it was wanted last, unless a lease keeps it."""
    held = {lease["dataset_id"] for lease in control.get(LEASES).json}
    members = {m.id: m for m in fleet.members}
    return all(d["dataset_id"] in members[d["primary"]].mounted for d in control.get(DATASETS).json
               if not d["deleted"] and d["primary"] in members and d["dataset_id"] not in held)


@pytest.fixture
def make_crowd(control, fleet):
    def make(count, **options):
        viewer = control.authority.issue("viewer-bob", "extendedKeyUsage=clientAuth")
        nodes = [m.id for m in fleet.members] + [ABSENT_NODE]
        return Crowd(control, SEED, count, nodes, control.authority.user, viewer, **options)

    return make


def run(crowd, actions, kills):
    """Memory that the server had at most since it was killed last, in MiB."""
    control, count = crowd.control, len(crowd.clients)
    idle, began = descriptors(control), time.monotonic()

    def all_are_in():
        assert descriptors(control) >= idle + count
        print(f"\nFLOCKER_SEED={SEED}: {count} connections in {time.monotonic() - began:.1f} s", flush=True)

    asyncio.run(crowd.live(actions, kills, all_are_in))
    peak = memory_mib(control, "VmHWM")
    print(f"{sum(crowd.statuses.values())} answers in {time.monotonic() - began:.1f} s, {len(crowd.volumes)} datasets, "
          f"{len(crowd.winners)} by tag, {dict(sorted(crowd.statuses.items()))}; at most {peak:.1f} MiB", flush=True)
    rig.wait_until("all descriptors are closed", lambda: descriptors(control) <= idle)
    return peak


def check(crowd):
    crowd.check(crowd.control.get(DATASETS).json, crowd.control.get(LEASES).json)


def test_a_crowd_sees_documented_statuses_and_loses_nothing_that_was_acknowledged(control, fleet, make_crowd):
    crowd = make_crowd(1000)
    peak = run(crowd, 60 if FULL else 8, 8 if FULL else 1)
    assert {200, 201, 403, 404, 405, 408, 409, 412} == set(crowd.statuses)
    assert peak < (128 if sanitized() else 16) + len(crowd.clients) / 25 + len(crowd.volumes) / 100
    control.kill()
    control.start()
    check(crowd)
    rig.wait_until("everything is where it is wanted", lambda: settled(control, fleet), 60)
    check(crowd)
    assert not any(m.byes for m in fleet.members)


def test_of_many_changes_by_one_tag_one_is_made(control, make_crowd):
    crowd = make_crowd(40, tagged=1)
    run(crowd, 40, 1)
    control.kill()
    control.start()
    check(crowd)
    assert crowd.statuses[412] and len(crowd.winners) > 20
