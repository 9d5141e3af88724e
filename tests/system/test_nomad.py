# SPDX-License-Identifier: Apache-2.0
"""Nomad's dynamic host volumes on real nodes: what a task wrote on one machine, the next one reads on another."""
import os
import pathlib
import shutil
import signal
import sys
import time

import pytest

import cluster as clusters
from cluster import Payload, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "plugins"))
import nomad_rig  # noqa: E402
from nomad_rig import Volume  # noqa: E402

GIB = 1 << 30


@pytest.fixture
def agents(cluster, monkeypatch):
    """Nomad's agent on each machine."""
    monkeypatch.setenv("FLOCKER_NOMAD_PLUGIN", str(clusters.build() / "plugins/flocker-nomad-plugin"))
    cluster.authority.call("create-api-certificate", "plugin")
    made = []
    for node in cluster:
        for kind in ("crt", "key"):
            shutil.copy(cluster.authority.dir / f"plugin.{kind}", node.etc)
        made.append(nomad_rig.Nomad(node.dir, node.config, node.run_dir, node.uuid, cluster.control.port, node.inside))
    return made


def size(fs):
    return {"min_bytes": GIB, "max_bytes": GIB, "filesystem": fs}


def dataset_of(path):
    return path.name


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_what_a_task_wrote_here_the_next_one_reads_there(cluster, agents, fs, seed):
    payload = Payload(seed)
    for node, agent in list(zip(cluster, agents)) * 2:
        volume = Volume("data", **size(fs))
        dataset = dataset_of(agent.created(volume))
        payload.check(node.data(dataset))
        payload.write(node.data(dataset))
        assert "data is in use on node" in next(a for a in agents if a is not agent).create(Volume("data")).error
        agent.deleted(volume)
        assert not node.has(dataset)


def test_a_process_with_an_open_file_keeps_the_volume(cluster, agents):
    here, _ = cluster
    agent, _ = agents
    volume = Volume("busy", on_remove="delete", **size("ext4"))
    dataset = dataset_of(agent.created(volume))
    with open(here.data(dataset) / "file", "w"):
        error = agent.delete(volume).error
    assert f"pid {os.getpid()}" in error and "open file" in error
    assert here.has(dataset) and cluster.show(dataset)["lease"]
    agent.deleted(volume)
    cluster.wait_destroyed(dataset)


def test_after_a_reboot_create_waits_for_the_node_and_answers_with_the_data_there(cluster, agents, seed):
    _, there = cluster
    _, agent = agents
    volume, payload = Volume("data", **size("ext4")), Payload(seed)
    dataset = dataset_of(agent.created(volume))
    payload.write(there.data(dataset))
    there.reboot()
    agent.reboot()
    assert not there.has(dataset)
    process = agent.start_create(volume)  # Nomad may be faster than the node
    there.start()
    assert agent.finish(process).answer["path"] == volume.path
    payload.check(there.data(dataset))
    agent.deleted(volume)


def test_killed_while_the_data_moves_the_next_run_finishes_it(cluster, agents, seed):
    payload = Payload(seed)
    for ms in (30, 100, 300):
        for node, agent in zip(cluster, agents):
            volume = Volume("data", **size("ext4"))
            process = agent.start_create(volume)
            time.sleep(ms / 1000)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            dataset = dataset_of(agent.created(volume))
            payload.check(node.data(dataset))
            payload.add(node.data(dataset)) if payload.sums else payload.write(node.data(dataset))
            process = agent.start_delete(volume)
            time.sleep(ms / 1000)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            agent.deleted(volume)
            wait_until("it is unmounted", lambda: not node.has(dataset))
