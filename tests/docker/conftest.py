# SPDX-License-Identifier: Apache-2.0
"""Real container engines on a real cluster: dockerd twice, each with a node and a plugin in a mount namespace of its
own, as if on two machines.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/docker -q

Runs in the machine of tests/system/isolate.py, which takes every process and mount away at its end. Nothing is
fetched: images are made of a static busybox.
"""
import os
import pathlib
import shutil
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
sys.path[:0] = [str(HERE), str(TESTS / "system"), str(TESTS / "control"), str(TESTS)]
import cluster as clusters  # noqa: E402
import engines  # noqa: E402
import isolate  # noqa: E402
import needs  # noqa: E402

NEEDS = ("unshare", "nsenter", "losetup", "ip", "mkfs.ext4", "openssl", "dockerd", "containerd", "runc", "tar")


def missing():
    """Why the tests cannot run here, or None."""
    if why := needs.missing(NEEDS):
        return why
    for path in (engines.BUSYBOX, engines.DOCKER):
        if not os.path.exists(path):
            return f"{path} is missing"
    if not os.path.exists(engines.plugin_program()):
        return f"{engines.plugin_program()} is not built; see FLOCKER_BUILD"
    return None


def pytest_configure(config):
    isolate.configure(config, missing)


@pytest.fixture(scope="session", autouse=True)
def cgroups():
    engines.mount_cgroups()
    yield
    engines.remove_cgroups()


@pytest.fixture(scope="session")
def hosts():
    """Two machines: each has .docker, .plugin, .node."""
    base = pathlib.Path(os.environ[isolate.INSIDE]) / "docker"
    made = engines.Hosts(base)
    try:
        made.start()
        yield made
    finally:
        made.end()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def volume(hosts, request):
    """The name of a volume of the test's own; with it goes whatever the test has left."""
    name = request.node.name.replace("[", "_").replace("]", "")[:60]
    yield name
    hosts.revive()
    hosts.clean(name)


@pytest.fixture
def watched(hosts):
    """From its beginning to its end no volume is attached twice."""
    hosts.cluster.watch("--containers")
    yield
    hosts.cluster.check_watcher()


@pytest.fixture
def seed():
    value = int(os.environ.get("FLOCKER_SEED") or time.time_ns() % 1_000_000_007)
    print(f"FLOCKER_SEED={value}")
    return value


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    made = item.funcargs.get("hosts") if hasattr(item, "funcargs") else None
    if report.failed and made:
        for name, text in made.logs():
            report.sections.append((f"the end of {name}'s log", text))
