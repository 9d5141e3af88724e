# SPDX-License-Identifier: Apache-2.0
"""What needs a machine that can be reset.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/qemu -q

Needs neither root nor devices of this machine, but the package qemu-system-x86, and Debian's kernel and
busybox, which are downloaded and unpacked in build-test-qemu/ the first time. FLOCKER_SYSTEM_TMP is where
machines live (/var/tmp); some 100 MiB each.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.with_name("control"))]
import guest as guests  # noqa: E402
import rig  # noqa: E402

NEEDS = ("qemu-system-x86_64", "apt-get", "dpkg-deb", "mkfs.ext4", "openssl", "ldd")
LOG_TAIL = 60  # lines of each log beside a failure


def missing():
    """Why the tests cannot run here, or None."""
    for program in NEEDS:
        if not shutil.which(program):
            return f"the program {program} is missing"
    for program in guests.PROGRAMS.values():
        if not os.path.exists(program):
            return f"there is no {program}; see FLOCKER_BUILD"
    try:
        guests.fetch("kernel", guests.kernel_package)
        guests.fetch("busybox", lambda: "busybox-static")
    except (subprocess.CalledProcessError, TypeError) as e:
        why = getattr(e, "stderr", b"").decode(errors="replace").strip().split("\n")[-1]
        return f"Debian's kernel for the machine cannot be had: {why or e}"
    return None


def pytest_configure(config):
    if not config.option.collectonly and (why := missing()):
        pytest.exit(f"skipped: {why}", returncode=77)


@pytest.fixture
def base():
    directory = tempfile.mkdtemp(prefix="flocker-qemu-", dir=os.environ.get("FLOCKER_SYSTEM_TMP", "/var/tmp"))
    yield pathlib.Path(directory)
    shutil.rmtree(directory)


@pytest.fixture
def control(base):
    os.environ["FLOCKER_CONTROL"] = str(guests.BUILD / "control/flocker-control")
    (base / "control").mkdir()
    one = rig.Control(rig.Authority(base / "ca"), base / "control")
    one.start()
    yield one
    one.hang_up()
    one.end()


@pytest.fixture
def make_guest(base, control):
    """Boots a node; its UUID is in guest.node."""
    made = []

    def make(watchdog):
        node = str(uuid.uuid4())
        crt, key = control.authority.node(node)
        agent = ("version: 1", "control-service:", f"  hostname: {guests.OUTSIDE}",
                 f"  port: {control.agent_port}", "dataset:", "  backend: loopback",
                 "  root_path: /disk/volumes", "state-directory: /disk/state", "watchdog: none")
        config = {"agent.yml": "".join(f"{line}\n" for line in agent).encode(),
                  "cluster.crt": control.authority.ca, "node.crt": crt, "node.key": key}
        one = guests.Guest(base, guests.fetch("kernel", guests.kernel_package), config, watchdog)
        made.append(one)
        one.node = node
        one.boot = one.booted()
        return one

    yield make
    for one in made:
        one.end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    directory = getattr(item, "funcargs", {}).get("base")
    if report.failed and directory and directory.exists():
        for log in ("console", "qemu.log", "control/one.log"):
            if (directory / log).exists():
                lines = (directory / log).read_text(errors="replace").splitlines()[-LOG_TAIL:]
                report.sections.append((f"the end of {log}", "\n".join(lines)))
