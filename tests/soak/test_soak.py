# SPDX-License-Identifier: Apache-2.0
"""Whatever fails, leased datasets are written again soon, in one place at a time, and with all that was
acknowledged."""
import os
import pathlib
import statistics

import pytest

import faults
import isolate
import soak as soaks
from cluster import MIB, scale
from loads import SmallDisk

LOGS = os.environ.get("FLOCKER_SOAK_LOGS")
ROUNDS = int(os.environ.get("FLOCKER_SOAK_ROUNDS") or scale(20, 300))


@pytest.fixture
def disk(request):
    """For control's store; ends after the cluster, as it was asked for before it."""
    one = SmallDisk(pathlib.Path(os.environ[isolate.INSIDE]) / request.node.name, 16 * MIB)
    yield one
    one.end()


@pytest.fixture
def make_soak(disk, make_cluster, seed):
    made = []

    def make(*options):
        cluster = make_cluster(nodes=3)
        cluster.control.data = disk.point / "data"
        made.append(soaks.Soak(cluster.start(), disk, seed, options))
        return made[-1]

    yield make
    for one in made:
        one.end()
        for name, text in one.cluster.logs() if LOGS else ():
            pathlib.Path(LOGS, name.replace(" ", "-")).write_text(text)


def test_rounds_of_faults_lose_nothing(make_soak, capsys):
    soak, say = make_soak(), capsys.disabled
    with say():
        print(f"\n{ROUNDS} rounds, FLOCKER_SEED={soak.seed}", flush=True)
    try:
        for number in range(1, ROUNDS + 1):
            line = soak.round(number)
            with say():
                print(line, flush=True)
    finally:
        with say():
            print(soak.report(), flush=True)
    lost = soak.times.of_lost_nodes()
    assert not lost or statistics.median(lost) <= soaks.GOAL_S


def test_a_writer_that_does_not_sync_is_found(make_soak):
    """The checker can fail: what was acknowledged and not synced is not there after a fence."""
    soak = make_soak("nosync")
    with pytest.raises(AssertionError, match="lost: Ack"):
        soak.round(1, faults.NodeStopped)
