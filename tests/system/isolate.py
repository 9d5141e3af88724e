# SPDX-License-Identifier: Apache-2.0
"""A machine within the machine: own mounts, processes, network, /dev and /run, gone at the end.

enter() runs pytest again inside and ends this process with its status. Outside stays a supervisor,
so that loop devices and files, which no namespace holds, are cleared away even when pytest is
killed.
"""
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import kernel
import pytest

INSIDE = "FLOCKER_SYSTEM_BASE"
LOCK = "/run/lock/flocker-test-udevd"
LOCK_LIMIT_S = 600
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
LOOPS = 1200 if os.environ.get("FLOCKER_FULL") == "1" else 320  # more than tests attach at once
PR_SET_PDEATHSIG = 1
SKIPPED = 77

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{what}: {os.strerror(err)}")


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def inside():
    return INSIDE in os.environ


def lock_other_udevds_out():
    """uevents reach every udevd of the machine: one test at a time has one."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                print("skipped: another test has had its udevd for long", flush=True)
                os._exit(SKIPPED)
        time.sleep(0.05)  # flock() has no limit of its own


def add_loops():
    """An overlay need not show what its lower layer gets later: every node of /dev is there before.
    Returns the numbers of those made here."""
    made = []
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    for number in range(LOOPS):
        try:
            made.append(fcntl.ioctl(control, LOOP_CTL_ADD, number))
        except FileExistsError:
            continue
    os.close(control)
    return made


def remove_loops(numbers):
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    for number in numbers:
        try:
            fcntl.ioctl(control, LOOP_CTL_REMOVE, number)
        except OSError as e:  # somebody else uses or has removed it
            assert e.errno in (errno.EBUSY, errno.ENODEV), e
    os.close(control)


def make_machine(base):
    """As udevd expects it: /dev for its links, /run for its data, /sys of this network."""
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "unshare")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    lock_other_udevds_out()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    os.makedirs("/run/overlay/upper")
    os.makedirs("/run/overlay/work")
    run("mount", "-t", "overlay", "-o",
        "lowerdir=/dev,upperdir=/run/overlay/upper,workdir=/run/overlay/work", "overlay", "/dev")
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    run("ip", "link", "set", "lo", "up")
    # As the mount root of the quickstart: what appears here is seen by nodes, never the other way.
    run("mount", "--bind", base, base)
    run("mount", "--make-shared", base)


def init(base, arguments):
    """Process 1 of the machine: starts pytest, and takes in the orphans."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)  # signals to the group of the caller reach the supervisor alone
    make_machine(base)
    environment = dict(os.environ, **{INSIDE: base})
    tests = os.fork()
    if tests == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execve(sys.executable, [sys.executable, "-m", "pytest", *arguments], environment)
    # A KeyboardInterrupt lets fixtures end what they began.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(tests, signal.SIGINT))
    while True:
        pid, status = os.wait()
        if pid == tests:
            return os.waitstatus_to_exitcode(status)


def clear(base):
    """Everything that ran is dead, and with it every mount."""
    for loop in kernel.loops_of(base):
        subprocess.run(["losetup", "-d", f"/dev/{loop.name}"], check=False)
    shutil.rmtree(base, ignore_errors=True)


def configure(config, missing):
    """For pytest_configure() of suites that run in such a machine. @missing: says why they cannot."""
    if inside() or config.option.collectonly:
        return
    why = missing()
    if why:
        pytest.exit(f"skipped: {why}", returncode=SKIPPED)
    config.pluginmanager.get_plugin("capturemanager").stop_global_capturing()
    enter(config.invocation_params.args)


def enter(arguments):
    base = tempfile.mkdtemp(prefix="flocker-system-",
                            dir=os.environ.get("FLOCKER_SYSTEM_TMP", "/var/tmp"))
    os.chmod(base, 0o755)  # the control server is not root
    sys.stdout.flush()
    loops = add_loops()
    check(libc.unshare(CLONE_NEWPID), "unshare")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = init(base, arguments)
        except BaseException as e:  # noqa: B902 - this process must not return into pytest
            print(f"the test machine does not start: {e}", file=sys.stderr, flush=True)
        os._exit(status & 0xff)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(pid, signal.SIGTERM))
    while True:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            break
        except InterruptedError as e:
            assert e.errno == errno.EINTR
    clear(base)
    remove_loops(loops)
    os._exit(status & 0xff)
