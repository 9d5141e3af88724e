# SPDX-License-Identifier: Apache-2.0
"""A machine that can be reset: Debian's kernel in qemu with an emulated watchdog (i6300esb), and an
initramfs with busybox, flocker-node and what they need of this machine's libraries.

    CACHE   kernel and busybox, unpacked from Debian's packages and not installed here
    BASE/   disk (ext4: node state and volumes), initramfs, console, sockets
"""
import gzip
import json
import os
import pathlib
import queue
import re
import shutil
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CACHE = CHECKOUT / "build-test-qemu"
BUILD = pathlib.Path(os.environ.get("FLOCKER_BUILD") or CHECKOUT / "build").resolve()
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4", "loop", "fuse", "i6300esb")
PROGRAMS = {"flocker-node": BUILD / "nodesvc/flocker-node",
            "flocker-fence": BUILD / "fence/flocker-fence",
            "qemu-writer": BUILD / "tests/qemu/qemu_writer",
            "mkfs.ext4": "/sbin/mkfs.ext4", "e2fsck": "/sbin/e2fsck", "fsck.ext4": "/sbin/e2fsck"}
OUTSIDE = "10.0.2.2"  # 127.0.0.1 of this machine, seen from inside
DISK = 1 << 30
BOOT_LIMIT_S = 240  # under software emulation, on a busy machine


# ---- what it is made of ----

def download(package, directory):
    subprocess.run(["apt-get", "-qq", "download", package], cwd=directory, check=True,
                   capture_output=True)
    archive, = directory.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=directory, check=True)
    archive.unlink()


def fetch(what, package):
    """The directory of an unpacked package, which is whole or not there."""
    directory = CACHE / what
    if not directory.exists():
        making = CACHE / f"{what}.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        download(package(), making)
        making.rename(directory)
    return directory


def kernel_package():
    out = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True,
                         capture_output=True, text=True).stdout
    return re.search(r"Depends: (linux-image-\S+)", out)[1]


def in_order(modules, names=MODULES):
    """The files of these modules, each behind those that it needs."""
    files = {p.stem.replace("-", "_"): p for p in modules.rglob("*.ko")}
    found = {}

    def add(name):
        file = files[name.replace("-", "_")]
        needs, = re.findall(rb"\0depends=([^\0]*)\0", file.read_bytes())
        for other in filter(None, needs.decode().split(",")):
            add(other)
        found.setdefault(file.name, file)

    for name in names:
        add(name)
    # ext4 asks for its checksum by name, which nobody here loads on demand.
    return {"crc32c_generic.ko": files["crc32c_generic"], **found}


def libraries():
    out = subprocess.run(["ldd", *map(str, PROGRAMS.values())], check=True, capture_output=True,
                         text=True).stdout
    return set(re.findall(r"(/\S+) \(0x", out))


class Archive:
    """An initramfs, in the kernel's format "newc"."""

    def __init__(self):
        self.parts, self.inode, self.there = [], 0, set()

    def entry(self, name, mode, data=b""):
        self.inode += 1
        head = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        text = b"070701" + b"".join(b"%08X" % n for n in head) + name.encode() + b"\0"
        self.parts += [text, bytes(-len(text) % 4), data, bytes(-len(data) % 4)]

    def directory(self, path):
        for part in [*reversed(pathlib.PurePath(path).parents), pathlib.PurePath(path)]:
            if str(part) != "." and part not in self.there:
                self.there.add(part)
                self.entry(str(part), 0o040755)

    def add(self, path, source, mode=0o755):
        self.directory(os.path.dirname(path))
        data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
        self.entry(path, 0o100000 | mode, data)

    def link(self, path, target):
        self.entry(path, 0o120777, target.encode())

    def write(self, file):
        self.entry("TRAILER!!!", 0)
        file.write_bytes(gzip.compress(b"".join(self.parts), 1))


def make_initramfs(file, modules, busybox, config):
    archive = Archive()
    for directory in ("proc", "sys", "dev", "run", "disk", "bin", "tmp", "flocker"):
        archive.directory(directory)
    archive.add("init", HERE / "init")
    archive.add("bin/busybox", busybox)
    for name in subprocess.run([str(busybox), "--list"], check=True, capture_output=True,
                               text=True).stdout.split():
        if name != "busybox" and name not in PROGRAMS:
            archive.link(f"bin/{name}", "busybox")
    for name, source in PROGRAMS.items():
        archive.add(f"bin/{name}", source)
    for library in sorted(libraries()):
        archive.add(library.lstrip("/"), library)
    archive.add("etc/mke2fs.conf", "/etc/mke2fs.conf", 0o644)
    archive.add("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)
    archive.add("etc/group", b"root:x:0:\n", 0o644)
    order = in_order(modules)
    for name, source in order.items():
        archive.add(f"modules/{name}", source)
    archive.add("modules/order", "".join(f"{name}\n" for name in order).encode())
    for name, source in config.items():
        archive.add(f"etc/flocker/{name}", source, 0o600)
    archive.write(file)


# ---- the machine ----

class Guest:
    def __init__(self, base, kernel, config, watchdog):
        self.base = pathlib.Path(base)
        self.acks = []  # (number, when it was seen here)
        self.answers, self.events, self.boots = queue.Queue(), queue.Queue(), queue.Queue()
        disk, initramfs = self.base / "disk", self.base / "initramfs"
        content = self.base / "content"
        content.mkdir()
        (content / "config").write_text(f"{watchdog}\n")
        subprocess.run(["mkfs.ext4", "-q", "-d", str(content), str(disk), str(DISK >> 10)],
                       check=True, stdout=subprocess.DEVNULL)
        make_initramfs(initramfs, kernel / "lib/modules",
                       fetch("busybox", lambda: "busybox-static") / "bin/busybox", config)
        vmlinuz, = (kernel / "boot").glob("vmlinuz-*")
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "512",
             "-nodefaults", "-no-user-config", "-display", "none",
             "-kernel", vmlinuz, "-initrd", initramfs,
             "-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off",
             "-drive", f"file={disk},format=raw,if=virtio,cache=writeback",
             "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
             "-device", "i6300esb", "-action", "watchdog=reset",
             "-serial", f"file:{self.base}/console",
             "-chardev", f"socket,id=lines,path={self.base}/lines,server=on,wait=off",
             "-serial", "chardev:lines",
             "-qmp", f"unix:{self.base}/qmp,server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=open(self.base / "qemu.log", "wb"),
            stderr=subprocess.STDOUT)
        self.lines = self.connect("lines", self.on_line)
        self.qmp = self.connect("qmp", self.on_event)
        self.qmp.sendall(b'{"execute": "qmp_capabilities"}\n')

    def connect(self, name, on_line):
        path, end = self.base / name, time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
                break
            except OSError:
                connection.close()
                assert self.process.poll() is None and time.monotonic() < end, self.log("qemu.log")
                time.sleep(0.01)  # nothing tells that it listens
        threading.Thread(target=self.read, args=(connection, on_line), daemon=True).start()
        return connection

    def read(self, connection, on_line):
        for line in connection.makefile("r", errors="replace"):
            on_line(line.rstrip("\n"), time.monotonic())

    def on_line(self, line, now):
        word, _, rest = line.partition(" ")
        if word == "ack" and rest.isdigit():
            self.acks.append((int(rest), now))
        elif word == "ready":
            self.boots.put((rest, now))
        else:
            self.answers.put(line)

    def on_event(self, line, now):
        event = json.loads(line)
        if "event" in event:
            self.events.put((event["event"], now))

    def log(self, name="console"):
        return (self.base / name).read_text(errors="replace")

    def booted(self):
        """Its boot id, once it is up (again)."""
        return self.boots.get(timeout=BOOT_LIMIT_S)[0]

    def run(self, line, limit_s=60):
        """What the line prints."""
        self.lines.sendall(line.encode() + b"\n")
        said = []
        while not re.fullmatch(r"done \d+", answer := self.answers.get(timeout=limit_s)):
            said.append(answer)
        assert answer == "done 0", (line, said, answer)
        return "\n".join(said)

    def watchdog_fired(self, limit_s):
        """When; None: not within the limit."""
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            try:
                event, when = self.events.get(timeout=left)
            except queue.Empty:
                return None
            if event == "WATCHDOG":
                return when
        return None

    def end(self):
        self.process.kill()
        self.process.wait()
        for connection in (self.lines, self.qmp):
            connection.close()
