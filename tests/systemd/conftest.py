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

sys.path[:0] = [str(pathlib.Path(__file__).parent),
                str(pathlib.Path(__file__).parent.with_name("system")),
                str(pathlib.Path(__file__).parent.with_name("control"))]
import isolate  # noqa: E402
import machine as machines  # noqa: E402

NEEDS = ("unshare", "nsenter", "setpriv", "pivot_root", "losetup", "ip", "hostname", "meson")
FREE_MIB = 2000


def missing_packages():
    script = '. tools/packages.sh; packages_missing "${packages_build[@]}" "${packages_run[@]}"'
    return subprocess.run(["bash", "-c", script], cwd=machines.CHECKOUT, check=True,
                          capture_output=True, text=True).stdout.split()


def missing():
    """Why the tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "mounts and loop devices need root"
    for path in ("/dev/loop-control", "/dev/fuse", "/lib/systemd/systemd"):
        if not os.path.exists(path):
            return f"there is no {path}"
    for program in NEEDS:
        if not shutil.which(program):
            return f"the program {program} is missing"
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
    if isolate.inside() or config.option.collectonly:
        return
    why = missing()
    if why:
        pytest.exit(f"skipped: {why}", returncode=isolate.SKIPPED)
    isolate.LOOPS = 64
    config.pluginmanager.get_plugin("capturemanager").stop_global_capturing()
    isolate.enter(config.invocation_params.args)


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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    one = getattr(item, "funcargs", {}).get("machine")
    if report.failed and one and one.pid:
        log = one.call("journalctl", "--quiet", "--unit=flocker-*", "--lines=80", check=False).stdout
        report.sections.append(("the end of the machine's journal", log))
