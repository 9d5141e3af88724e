# SPDX-License-Identifier: Apache-2.0
"""Plugins of container engines before a real control service. Nodes are fleet's, but what they say is mounted is:
a tmpfs stands for the filesystem of a dataset, in a mount namespace of this process."""
import ctypes
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "control")]
import docker_rig  # noqa: E402
import rig  # noqa: E402


def pytest_configure(config):
    for name in ("FLOCKER_CONTROL", "FLOCKER_DOCKER_PLUGIN"):
        if not os.environ.get(name):
            pytest.exit(f"{name} does not name the program", returncode=77)
    if not shutil.which("openssl") or not shutil.which("mount"):
        pytest.exit("skipped: the program openssl or mount is missing", returncode=77)
    if os.geteuid() != 0:
        pytest.exit("skipped: mounts need root", returncode=77)
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec_private = 0x20000, 0x4000 | 1 << 18
    if libc.unshare(clone_newns) or libc.mount(None, b"/", None, ms_rec_private, None):
        pytest.exit("skipped: a mount namespace is not to be had", returncode=77)


@pytest.fixture(scope="session", autouse=True)
def leave_nothing(request, tmp_path_factory):
    yield
    if not request.session.testsfailed:
        base = tmp_path_factory.getbasetemp()
        shutil.rmtree(base)
        current = base.parent / "pytest-current"
        if current.is_symlink() and not current.exists():
            current.unlink()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return rig.Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def cluster(authority, tmp_path):
    made = docker_rig.Cluster(authority, tmp_path)
    try:
        yield made
    finally:
        made.end()
    made.check_logs()
