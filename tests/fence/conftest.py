# SPDX-License-Identifier: Apache-2.0
"""A place to fence in: mounts of its own, loop devices that go with their last user, a fence helper
whose log is read, and daemons that stand in for flocker-node.

FLOCKER_BUILD     build directory (build)
"""
import contextlib
import ctypes
import fcntl
import hashlib
import os
import pathlib
import queue
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("FLOCKER_BUILD", HERE.parent.parent / "build"))
sys.path[:0] = [str(HERE), str(HERE.parent)]
import needs  # noqa: E402
import writer  # noqa: E402

LIMIT_S = 20  # for what takes a moment
IMAGE_BYTES = 330 << 20  # sparse; mkfs.xfs takes no less than 300 MB
BLOCK = 64 << 10  # of a checksum
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_INFO_SIZE, LOOP_INFO_FLAGS, LO_FLAGS_AUTOCLEAR = 232, 52, 4
BLKGETDISKSEQ = 0x80081280
SYS_CACHESTAT = 451
NEEDS = ("fsfreeze", "losetup", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mount", "umount")

libc = ctypes.CDLL(None, use_errno=True)


def missing():
    """Why the tests cannot run here, or None."""
    if why := needs.missing(NEEDS):
        return why
    for program in ("fence/flocker-fence", "tests/fence/fence_daemon", "tests/system/tools/hangfs"):
        if not (BUILD / program).exists():
            return f"{BUILD / program} is not built; see FLOCKER_BUILD"
    return None


def pytest_configure(config):
    if config.option.collectonly:
        return
    why = missing()
    if not why and (libc.unshare(CLONE_NEWNS) != 0 or
                    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0):
        why = "there is no mount namespace to be had"
    if why:
        pytest.exit(f"skipped: {why}", returncode=77)


def run(*command):
    subprocess.run([str(c) for c in command], check=True, stdin=subprocess.DEVNULL)


def wait_for(what, condition, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < end, f"in {limit_s} s not: {what}"
        time.sleep(0.005)  # nothing wakes us: another process's doing, seen from outside
    return result


def alive(pid):
    """A zombie, that is nobody's to bury here, is not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def boottime_ms():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6


class Lines:
    """What a program says, line by line, as it says it."""

    def __init__(self, stream):
        self.all, self.new = [], queue.Queue()
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream):
        for line in stream:
            self.all.append(line.rstrip("\n"))
            self.new.put(line.rstrip("\n"))
        self.new.put(None)

    def expect(self, *words, limit_s=LIMIT_S):
        """The next line that has all these words, as words."""
        end = time.monotonic() + limit_s
        while True:
            try:
                line = self.new.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"no line with {words} in {limit_s} s: {self.all}") from None
            assert line is not None, f"it ended and said no line with {words}: {self.all}"
            if set(words) <= set(line.split()):
                return line.split()


class Daemon:
    def __init__(self, place, *options, helper="fence/flocker-fence"):
        self.place = place
        self.number = 0
        self.process = subprocess.Popen(
            [BUILD / "tests/fence/fence_daemon", BUILD / helper, place.run, place.root,
             *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=place.log_end, text=True,
            bufsize=1, start_new_session=True)
        self.heard = Lines(self.process.stdout)
        self.pid = self.process.pid

    def ready(self):
        """The helper's process id."""
        return int(self.heard.expect("ready")[1])

    def send(self, *words):
        self.number += 1
        print(*words, file=self.process.stdin, flush=True)
        return self.number

    def ask(self, *words):
        """The answer: 0 or a negative errno."""
        return int(self.heard.expect("answer", str(self.send(*words)))[2])

    def expect_state(self, dataset, state, limit_s=LIMIT_S):
        return self.heard.expect("state", dataset.id, state, limit_s=limit_s)

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self):
        """As if it was killed, when it is not dead yet."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.heard.thread.join(LIMIT_S)


class Dataset:
    """A filesystem on a loop device, at its place below the mount root."""

    def __init__(self, place, fs="ext4", direct=True, image_dir=None):
        self.place, self.fs, self.id = place, fs, str(uuid.uuid4())
        self.image = pathlib.Path(image_dir or place.dir) / f"image-{self.id}"
        self.at = place.root / self.id
        self.programs, self.writers = [], 0
        if not self.image.exists():
            with open(self.image, "wb") as f:
                f.truncate(IMAGE_BYTES)
        self.attach(direct)

    def attach(self, direct=True):
        self.device = subprocess.run(
            ["losetup", "-f", "--show", f"--direct-io={'on' if direct else 'off'}", self.image],
            check=True, capture_output=True, text=True).stdout.strip()
        self.fd = os.open(self.device, os.O_RDONLY | os.O_CLOEXEC)
        info = bytearray(fcntl.ioctl(self.fd, LOOP_GET_STATUS64, bytes(LOOP_INFO_SIZE)))
        info[LOOP_INFO_FLAGS] |= LO_FLAGS_AUTOCLEAR  # nothing is left of a test that is killed
        fcntl.ioctl(self.fd, LOOP_SET_STATUS64, bytes(info))
        self.devno = os.fstat(self.fd).st_rdev
        self.diskseq = struct.unpack("Q", fcntl.ioctl(self.fd, BLKGETDISKSEQ, bytes(8)))[0]

    def format(self):
        options = {"ext4": ["-q"], "xfs": ["-q"], "btrfs": ["-q"]}[self.fs]
        subprocess.run([f"mkfs.{self.fs}", *options, self.device], check=True, capture_output=True)
        return self

    def mount(self):
        self.at.mkdir(exist_ok=True)
        run("mount", "-t", self.fs, self.device, self.at)
        return self

    def arm(self, daemon, ms, device=True):
        """The deadline, on CLOCK_BOOTTIME in ms, to a millisecond or so."""
        deadline = boottime_ms() + ms
        assert daemon.ask("arm", self.id, ms, self.fs) == 0
        if device:
            assert daemon.ask("device", self.id, os.major(self.devno), os.minor(self.devno),
                              self.diskseq) == 0
        return deadline

    def arm_again(self, daemon, ms, *step):
        """As a daemon tells a new helper: all at once. The answer."""
        return daemon.ask("arm", self.id, ms, self.fs, os.major(self.devno), os.minor(self.devno),
                          self.diskseq, *step)

    def write(self, count=1):
        """Starts who writes, and waits for the first acknowledgement of each."""
        self.writers = count
        for n in range(count):
            self.programs.append(subprocess.Popen(
                [sys.executable, HERE / "writer.py", self.at / f"records-{n}",
                 self.acknowledged(n)], stdout=subprocess.PIPE, text=True))
        for n in range(count):
            wait_for("a first record", lambda: self.acks(n))

    def fill(self):
        """Starts who writes much and waits for nothing: dirty pages."""
        p = subprocess.Popen(["dd", "if=/dev/zero", f"of={self.at}/much", "bs=1M", "count=120"],
                             stderr=subprocess.DEVNULL)
        self.programs.append(p)

    def acknowledged(self, n):
        return self.place.dir / f"acknowledged-{self.id}-{n}"

    def acks(self, n=0):
        """Times of the acknowledgements of a writer, ms."""
        try:
            lines = self.acknowledged(n).read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [int(line.split()[1]) / 1e6 for line in lines]

    def checksum(self):
        """Of the image, as every program of this machine sees it: of each block that is not zero,
        so that it does not matter where the holes are."""
        sum_, at = hashlib.blake2b(), 0
        with open(self.image, "rb") as f:
            while at < IMAGE_BYTES:
                try:
                    data_at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                at = data_at - data_at % BLOCK
                data = os.pread(f.fileno(), BLOCK, at)
                if data.strip(b"\0"):
                    sum_.update(at.to_bytes(8, "big") + data)
                at += BLOCK
        return sum_.hexdigest()

    def unwritten_pages(self):
        """Of the image that wait in memory for the disk; 0 where the kernel does not tell."""
        stat, everything = (ctypes.c_uint64 * 5)(), (ctypes.c_uint64 * 2)()
        with open(self.image, "rb") as f:
            if libc.syscall(SYS_CACHESTAT, f.fileno(), everything, stat, 0) != 0:
                return 0
        return stat[1] + stat[2]

    def stop_programs(self):
        for p in self.programs:
            p.kill()
            p.wait()
            if p.stdout:
                p.stdout.close()
        self.programs = []

    def unmount(self):
        self.stop_programs()
        run("umount", self.at)

    def detach(self):
        os.close(self.fd)
        self.fd = None
        backing = pathlib.Path("/sys/block", self.device[len("/dev/"):], "loop")
        wait_for("the loop device goes", lambda: not backing.exists())

    def verify(self):
        """On a new device, after the journal was replayed: all that was acknowledged, in order."""
        self.attach()
        self.mount()
        for n in range(self.writers):
            there = (self.at / f"records-{n}").read_bytes().split(b"\n")[:-1]
            acked = [writer.record(i).strip() for i in range(len(self.acks(n)))]
            assert there[:len(acked)] == acked
        self.unmount()
        self.detach()

    def end(self):
        self.stop_programs()
        subprocess.run(["umount", "-l", self.at], capture_output=True)
        if self.fd is not None:
            self.detach()


class Place:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.root, self.run = self.dir / "root", self.dir / "run"
        self.root.mkdir()
        self.run.mkdir()
        read, self.log_end = os.pipe()
        self.log = Lines(os.fdopen(read))
        self.daemons, self.datasets, self.more = [], [], []

    def daemon(self, *options, **kwargs):
        self.daemons.append(Daemon(self, *options, **kwargs))
        return self.daemons[-1]

    def dataset(self, *args, **kwargs):
        self.datasets.append(Dataset(self, *args, **kwargs))
        return self.datasets[-1]

    def helpers(self):
        """Whoever has the lock: processes that are a helper here."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (p / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--fd" in words and str(self.run).encode() in words and alive(p.name):
                found.append(int(p.name))
        return found

    def end(self):
        for end in self.more:
            end()
        for d in self.daemons:
            d.end()
        for pid in self.helpers():
            with contextlib.suppress(ProcessLookupError):  # it may end by itself just now
                os.kill(pid, signal.SIGKILL)
        for d in self.datasets:
            d.end()
        wait_for("no helper is left", lambda: not self.helpers())
        os.close(self.log_end)
        self.log.thread.join(LIMIT_S)


@pytest.fixture
def place():
    directory = tempfile.mkdtemp(prefix="flocker-fence-", dir="/var/tmp")
    place = Place(directory)
    yield place
    try:
        place.end()
    finally:
        print("\n".join(place.log.all))
        shutil.rmtree(directory, ignore_errors=True)
