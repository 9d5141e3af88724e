# SPDX-License-Identifier: Apache-2.0
"""Tests of whole clusters: real daemons, loop devices, filesystems, FUSE trees, udev and TLS.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/system -q

FLOCKER_BUILD     build directory (build)
FLOCKER_FULL=1    the full number of rounds, not what fits CI
FLOCKER_SEED=n    of everything random; printed with a failure
FLOCKER_SYSTEM_TMP  where clusters live (/var/tmp); on a disk

Needs root. Runs itself again in namespaces of its own (isolate.py): nothing leaks to the host. A
test takes the fixture `cluster` (control and two nodes, running and watched) or `make_cluster`; at
its end every dataset is destroyed and whatever is left over fails it.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.with_name("control")), str(HERE.parent)]
import cluster as clusters  # noqa: E402
import isolate  # noqa: E402
import needs  # noqa: E402

UDEVD = "/lib/systemd/systemd-udevd"
LOG_TAIL = 80  # lines of each log beside a failure
NEEDS = ("unshare", "nsenter", "losetup", "ip", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "openssl")


def missing():
    """Why the tests cannot run here, or None."""
    if why := needs.missing(NEEDS):
        return why
    if not os.path.exists(clusters.executable("flocker-node")):
        return f"{clusters.executable('flocker-node')} is not built; see FLOCKER_BUILD"
    return None


def pytest_configure(config):
    isolate.configure(config, missing)


@pytest.fixture(scope="session", autouse=True)
def udevd():
    """The real one, with our rules; it belongs to this machine within the machine."""
    rules = (clusters.build() / "udev/60-flocker.rules").read_text()
    helper = clusters.build() / "udev/flocker-udev-helper"
    os.makedirs("/run/udev/rules.d")
    pathlib.Path("/run/udev/rules.d/60-flocker.rules").write_text(
        rules.replace('"flocker-udev-helper ', f'"{helper} '))
    process = subprocess.Popen([UDEVD, "--children-max=4"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    clusters.wait_until("udevd is up", lambda: os.path.exists("/run/udev/control"))
    yield process
    process.terminate()
    process.wait(clusters.LIMIT_S)


@pytest.fixture
def seed():
    value = int(os.environ.get("FLOCKER_SEED") or time.time_ns() % 1_000_000_007)
    print(f"FLOCKER_SEED={value}")
    return value


@pytest.fixture
def make_cluster(request):
    """make_cluster(nodes=2, ...) makes a cluster that is not started yet."""
    made = []

    def make(**options):
        base = pathlib.Path(os.environ[isolate.INSIDE]) / f"c{next(numbers)}"
        made.append(clusters.Cluster(base, **options))
        request.node.clusters = made
        return made[-1]

    yield make
    failed = getattr(request.node, "failed", False)
    try:
        if not failed:
            for one in made:
                one.end()
    finally:
        for one in made:
            one.abandon()
        request.node.logs = logs_of(request.node)
        for one in made:
            shutil.rmtree(one.base, ignore_errors=True)


@pytest.fixture
def cluster(make_cluster):
    return make_cluster().start()


numbers = iter(range(1, 1_000_000))


def logs_of(item):
    """The end of each daemon's log; when a teardown failed, as it was before the files went."""
    return getattr(item, "logs", None) or [
        (name, "\n".join(text.splitlines()[-LOG_TAIL:]))
        for one in getattr(item, "clusters", []) for name, text in one.logs()]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        item.failed = True
        for name, text in logs_of(item):
            report.sections.append((f"the end of {name}'s log", text))
