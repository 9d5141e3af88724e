# SPDX-License-Identifier: Apache-2.0
"""A real Debian 12: its kernel, systemd and udev, reboots and power cuts. See machine.py.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/boot -q

Needs root (mmdebstrap), qemu-system-x86, and apt's sources for what the machine is made of. It is kept in
/var/tmp/flocker-boot-cache (1.2 GiB). FLOCKER_SYSTEM_TMP is where machines live (/var/tmp); 3 GiB.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.with_name("qemu")), str(HERE.with_name("control"))]
import cluster as clusters  # noqa: E402
import guest  # noqa: E402
import image  # noqa: E402
import machine as machines  # noqa: E402

NEEDS = ("qemu-system-x86_64", "mmdebstrap", "apt-get", "dpkg-deb", "mkfs.ext4", "debugfs", "xfs_logprint",
         "btrfs", "meson", "setpriv")
FREE_MIB = 5000
LOG_TAIL = 60  # lines of each log beside a failure


def missing():
    """Why the tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "mmdebstrap makes a root filesystem as root"
    for program in NEEDS:
        if not shutil.which(program):
            return f"the program {program} is missing"
    if not (guest.BUILD / "nodesvc/flocker-node").exists():
        return f"nothing is built in {guest.BUILD}; see FLOCKER_BUILD"
    free = shutil.disk_usage(os.environ.get("FLOCKER_SYSTEM_TMP", "/var/tmp")).free >> 20
    if free < FREE_MIB:
        return f"{free} MiB are free, and a machine needs {FREE_MIB}"
    try:
        image.get()
    except (subprocess.CalledProcessError, TypeError) as e:
        why = str(getattr(e, "stderr", "") or e).strip().split("\n")[-1]
        return f"Debian 12 cannot be had for the machine: {why}"
    return None


def pytest_configure(config):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # fixtures end what they began
    if not config.option.collectonly and (why := missing()):
        pytest.exit(f"skipped: {why}", returncode=77)


@pytest.fixture(scope="session")
def machine(request):
    """Booted, with Flocker's files installed and nothing of it configured."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="flocker-boot-", dir=os.environ.get("FLOCKER_SYSTEM_TMP", "/var/tmp")))
    one = None
    try:
        one = machines.Machine(base, machines.make_payload(base / "content"))
        request.config.machine = one
        one.start()
        one.install()
        yield one
    finally:
        if one:
            one.end()
        shutil.rmtree(base)


@pytest.fixture(scope="session")
def cluster(machine):
    return clusters.Cluster(machine)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    one = getattr(item.config, "machine", None)
    if not report.failed or not one:
        return
    logs = [("the machine's console", one.log())]
    if one.process.poll() is None:
        logs.append(("the machine's journal", one.run("journalctl --quiet --boot | tail -n 60", check=False)))
    for name, text in logs:
        report.sections.append((f"the end of {name}", "\n".join(text.splitlines()[-LOG_TAIL:])))
