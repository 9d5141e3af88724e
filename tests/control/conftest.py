# SPDX-License-Identifier: Apache-2.0
"""Throw-away clusters for the tests of flocker-control: certificates, a server, users and nodes."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import rig  # noqa: E402
from fixtures import authority, leave_nothing, own_mount_namespace  # noqa: E402, F401


def pytest_configure(config):
    if not os.environ.get("FLOCKER_CONTROL"):
        pytest.exit("FLOCKER_CONTROL does not name the program", returncode=77)
    if not shutil.which("openssl"):
        pytest.exit("skipped: the program openssl is missing", returncode=77)
    if os.geteuid() == 0:
        own_mount_namespace()


@pytest.fixture
def control(authority, tmp_path):
    server = rig.Control(authority, tmp_path)
    server.start()
    yield server
    server.end()


@pytest.fixture
def bare(authority, tmp_path):
    """A server that the test starts."""
    server = rig.Control(authority, tmp_path)
    yield server
    server.end()


@pytest.fixture
def make_control(tmp_path):
    """make_control(authority): one that the test starts, and ends when all is well."""
    made = []

    def make(authority):
        made.append(rig.Control(authority, tmp_path))
        return made[-1]

    yield make
    for server in made:
        if server.process and server.process.poll() is None:
            server.kill()


@pytest.fixture
def small(authority, tmp_path):
    """A control service, not started, whose data path is a disk of half a MiB."""
    control = rig.Control(authority, tmp_path)
    control.data.mkdir(mode=0o700)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700",
                                            "tmpfs", str(control.data)]).returncode:
        pytest.skip("needs root and mount")
    yield control
    try:
        control.end()
    finally:
        subprocess.run(["umount", str(control.data)], check=True)
