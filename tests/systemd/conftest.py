# SPDX-License-Identifier: Apache-2.0
"""The units and ./quickstart, with systemd as process 1.

    /usr/bin/python3 -m pytest tests/systemd -q

A machine of namespaces (machine.py) boots systemd on an overlay of this machine's root, with a copy of
this checkout on its disk. ./quickstart builds, installs and runs Flocker in it, and nothing of that is
on this machine. As the tests of tests/system it runs itself again in namespaces of its own, with
loop devices that are cleared away at the end.

Needs root, and everything of tools/packages.sh installed: the machine has no network.
FLOCKER_SYSTEM_TMP is where its disk is written (/var/tmp); 2 GiB.
"""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.with_name("system")), str(HERE.with_name("control")),
                str(HERE.parent)]

import isolate  # noqa: E402
import machine as machines  # noqa: E402
import needs  # noqa: E402
import quickstarted  # noqa: E402

NEEDS = ("unshare", "nsenter", "setpriv", "pivot_root", "losetup", "ip", "hostname", "meson")
FREE_MIB = 2000


def missing_packages():
    script = '. tools/packages.sh; packages_missing "${packages_build[@]}" "${packages_run[@]}"'
    return subprocess.run(["bash", "-c", script], cwd=machines.CHECKOUT, check=True,
                          capture_output=True, text=True).stdout.split()


def missing():
    """Why the tests cannot run here, or None."""
    if why := needs.missing(NEEDS, ("/dev/loop-control", "/dev/fuse", "/lib/systemd/systemd")):
        return why
    for directory in ("/usr", "/etc", "/var/lib"):
        if os.stat(directory).st_dev != os.stat("/").st_dev:
            return f"{directory} is not on the root filesystem, and an overlay does not show it"
    if missing_packages():
        return f"packages are missing: {' '.join(missing_packages())}"
    free = shutil.disk_usage(os.environ.get("FLOCKER_SYSTEM_TMP", "/var/tmp")).free >> 20
    if free < FREE_MIB:
        return f"{free} MiB are free, and a machine with a cluster needs {FREE_MIB}"
    return None


def pytest_configure(config):
    isolate.LOOPS = 64
    isolate.configure(config, missing)


@pytest.fixture(scope="session")
def machine():
    """Booted, without Flocker."""
    try:
        one = machines.Machine(os.environ[isolate.INSIDE])
    except subprocess.CalledProcessError as e:
        pytest.skip(f"no overlay of the root filesystem here: {e}")
    try:
        one.start()
        yield one
    finally:
        one.halt()


@pytest.fixture(scope="session")
def cluster(machine):
    return quickstarted.Cluster(machine)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    one = getattr(item, "funcargs", {}).get("machine")
    if report.failed and one and one.pid:
        log = one.call("journalctl", "--quiet", "--unit=flocker-*", "--lines=80", check=False).stdout
        report.sections.append(("the end of the machine's journal", log))
