# SPDX-License-Identifier: Apache-2.0
"""Plugins of container engines before a real control service. Nodes are fleet's, but what they say is mounted is:
a tmpfs stands for the filesystem of a dataset, in a mount namespace of this process."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "control")]
import docker_rig  # noqa: E402
from fixtures import authority, leave_nothing, own_mount_namespace  # noqa: E402, F401


def pytest_configure(config):
    for name in ("FLOCKER_CONTROL", "FLOCKER_DOCKER_PLUGIN", "FLOCKER_DATASET"):
        if not os.environ.get(name):
            pytest.exit(f"{name} does not name the program", returncode=77)
    if not shutil.which("openssl") or not shutil.which("mount"):
        pytest.exit("skipped: the program openssl or mount is missing", returncode=77)
    if os.geteuid() != 0:
        pytest.exit("skipped: mounts need root", returncode=77)
    own_mount_namespace()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "flocker-test", "/srv"], check=True)


@pytest.fixture
def cluster(authority, tmp_path):
    made = docker_rig.Cluster(authority, tmp_path)
    try:
        yield made
    finally:
        made.end()
    made.check_logs()


@pytest.fixture
def plugin(cluster):
    return cluster.plugins[0].start()


@pytest.fixture
def other(cluster):
    return cluster.plugins[1].start()
