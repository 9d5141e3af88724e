# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: a cluster in namespaces of its own, a floor program, numbers in words.

FLOCKER_BUILD names the build directory (build), FLOCKER_BENCH_TMP where images live (/var/tmp).
"""
import contextlib
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
os.environ.setdefault("FLOCKER_BUILD", str(HERE / "../../build"))
sys.path[:0] = [str(HERE.with_name("system")), str(HERE.with_name("control"))]
import cluster as clusters  # noqa: E402

INSIDE = "FLOCKER_BENCH_INSIDE"


def enter():
    """Runs this program again where its mounts and processes end with it."""
    if os.geteuid() != 0:
        sys.exit("benchmarks mount and attach, so they need root")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        sys.stdout.flush()
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--pid", "--fork",
                              "--kill-child", "--mount-proc", sys.executable, *sys.argv])
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    print(f"kernel {platform.release()}, {os.cpu_count()} x {cpu}")


@contextlib.contextmanager
def directory():
    """A directory on a disk, a shared mount, gone at the end."""
    path = tempfile.mkdtemp(prefix="flocker-bench-", dir=os.environ.get("FLOCKER_BENCH_TMP", "/var/tmp"))
    os.chmod(path, 0o755)
    try:
        subprocess.run(["mount", "--bind", path, path], check=True)
        subprocess.run(["mount", "--make-shared", path], check=True)
        yield pathlib.Path(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=False)
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(base, nodes=2):
    """Control and nodes, running and connected."""
    one = clusters.Cluster(base / "cluster", nodes=nodes)
    try:
        one.control.start()
        for node in one:
            node.start()
        one.wait_live()
        yield one
        one.destroy_all()
    finally:
        one.abandon()


def compile_floor(base, source, *flags):
    program = base / f"program-{pathlib.Path(source).stem}"
    subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), str(HERE / source), *flags], check=True)
    return program


def median_ms(ns):
    return statistics.median(ns) / 1e6


def spread_ms(ns):
    """Median, and the middle half."""
    low, middle, high = statistics.quantiles(ns, n=4)
    return f"{middle / 1e6:7.2f} ms  ({low / 1e6:.2f} to {high / 1e6:.2f})"
