# SPDX-License-Identifier: Apache-2.0
"""A real Debian 12 in qemu: its kernel, its systemd, its udev. A reboot ends this qemu, and the next
one goes on from the same disks, so that between the two these can be looked at from outside.

    BASE/root      vda: Debian, a copy of the image that CACHE has
        /payload   vdb: what meson installs, and a checkout with what was built of it
        /volumes   vdc: /var/lib/flocker-volumes
        /console, /qemu.log
"""
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

import guest
import image

MEMORY_MIB = 2048
VOLUMES_SIZE = "6G"  # sparse
BOOT_LIMIT_S = 400  # under software emulation, on a busy machine
LIMIT_S = 180


class Gone(Exception):
    """The machine went down before a command ended."""


class Command:
    """Runs in the machine; its lines come as it prints them."""

    def __init__(self, machine, text):
        self.text, self.machine = text, machine
        self.lines, self.seen = [], threading.Condition()
        self.status = None  # None: it runs; -1: the machine is gone

    def on_message(self, line, status):
        with self.seen:
            if line is not None:
                self.lines.append(line)
            else:
                self.status = status
            self.seen.notify_all()

    def wait(self, condition, limit):
        with self.seen:
            assert self.seen.wait_for(condition, limit), \
                f"waited {limit} s in vain for '{self.text}', which said {self.lines[-5:]}"

    def wait_lines(self, count, limit=LIMIT_S):
        self.wait(lambda: len(self.lines) >= count or self.status is not None, limit)
        assert len(self.lines) >= count, f"'{self.text}' ended with {self.status}: {self.lines[-20:]}"

    def end(self, limit=LIMIT_S):
        """Its status."""
        self.wait(lambda: self.status is not None, limit)
        return self.status


class Machine:
    def __init__(self, base, payload, memory_mib=MEMORY_MIB):
        self.base, self.memory_mib = pathlib.Path(base), memory_mib
        self.kernel, self.initramfs, root = image.get()
        self.process = None
        self.disks = {name: self.base / name for name in ("root", "payload", "volumes")}
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(root), str(self.disks["root"])],
                       check=True)
        image.make_image(self.disks["payload"], "4G", payload, "payload")
        shutil.rmtree(payload)
        image.make_image(self.disks["volumes"], VOLUMES_SIZE, label="volumes")

    # ---- life ----

    def start(self, wait=True):
        """Returns when systemd has done what it had to do; or when the machine can be spoken to."""
        self.commands, self.number, self.boots = {}, 0, queue.Queue()
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "nice", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2",
             "-m", str(self.memory_mib), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", self.kernel, "-initrd", self.initramfs,
             "-append", "root=/dev/vda console=ttyS0 panic=-1 mitigations=off systemd.show_status=error systemd.log_color=0",
             # Flushes are not waited for: what qemu was given outlives it, and this machine does not go down.
             *[word for name in ("root", "payload", "volumes") for word in
               ("-drive", f"file={self.disks[name]},format=raw,if=virtio,cache=unsafe,discard=unmap")],
             # What it sends goes nowhere, and nobody reaches it.
             "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=",
             "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
             "-chardev", f"socket,id=agent,path={self.base}/agent,server=on,wait=on",
             "-device", "virtserialport,chardev=agent,name=flocker",
             "-chardev", f"file,id=console,path={self.base}/console,append=on", "-serial", "chardev:console"],
            stdin=subprocess.DEVNULL, stdout=open(self.base / "qemu.log", "ab"), stderr=subprocess.STDOUT)
        self.connection = self.connect()
        threading.Thread(target=self.read, args=(self.connection,), daemon=True).start()
        self.boot = self.boots.get(timeout=BOOT_LIMIT_S)
        if wait:
            self.systemd = self.run("systemctl is-system-running --wait", check=False, limit=BOOT_LIMIT_S)

    def connect(self):
        path, end = self.base / "agent", time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
                return connection
            except OSError:
                connection.close()
                assert self.process.poll() is None and time.monotonic() < end, self.log("qemu.log")
                time.sleep(0.01)  # nothing tells that it listens

    def read(self, connection):
        commands, boots = self.commands, self.boots
        try:
            for line in connection.makefile("r", errors="replace"):
                message = json.loads(line)
                if "boot" in message:
                    boots.put(message["boot"])
                else:
                    commands[message["id"]].on_message(message.get("line"), message.get("status"))
        except OSError:
            pass  # it was ended
        for command in commands.values():
            if command.status is None:
                command.on_message(None, -1)

    def log(self, name="console"):
        return (self.base / name).read_text(errors="replace")

    def wait_end(self, limit=LIMIT_S):
        self.process.wait(limit)
        self.connection.close()
        (self.base / "agent").unlink(missing_ok=True)

    def go_down(self, verb="reboot"):
        """As "systemctl reboot" does it, up to where the machine starts anew."""
        self.begin(f"systemctl {verb}")
        self.wait_end()

    def cut_power(self):
        """All that the machine had in memory is gone."""
        self.process.kill()
        self.wait_end()

    def end(self):
        if self.process and self.process.poll() is None:
            self.cut_power()

    # ---- what is done in it ----

    def begin(self, text):
        """Starts a line of bash."""
        self.number += 1
        command = self.commands[self.number] = Command(self, text)
        self.connection.sendall(json.dumps({"id": self.number, "command": text}).encode() + b"\n")
        return command

    def run(self, text, check=True, limit=LIMIT_S):
        """What it prints."""
        command = self.begin(text)
        status = command.end(limit)
        said = "\n".join(command.lines)
        if status == -1:
            raise Gone(f"'{text}' said {said}")
        assert not check or status == 0, f"'{text}' ended with {status}:\n{said}"
        return said

    def install(self):
        """As README.md says it for machines of one's own, after the build."""
        self.run("mount -o ro /dev/vdb /mnt && tar -C /mnt/install -c . | tar -C / -x --keep-directory-symlink && "
                 "umount /mnt && systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && "
                 "udevadm control --reload")

    def write(self, path, text):
        self.run(f"cat >{path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")

    def show(self, unit, name):
        return self.run(f"systemctl show --value -p {name} {unit}")

    def wait_run(self, what, text, expected, limit=LIMIT_S):
        """Until the line of bash prints something that matches."""
        end = time.monotonic() + limit
        while not re.fullmatch(expected, said := self.run(text, check=False)):
            assert time.monotonic() < end, f"waited {limit} s in vain: {what}; '{text}' said {said}"
            time.sleep(0.5)  # each look costs the slow machine a process
        return said


def make_payload(directory, checkout=False):
    """What meson installs; and with @checkout the sources with what was built of them."""
    install = directory / "install"
    subprocess.run(["meson", "install", "-C", str(guest.BUILD), "--no-rebuild", "--quiet", "--destdir",
                    str(install)], check=True, stdout=subprocess.DEVNULL)
    if checkout:
        other = [n for n in os.listdir(image.CHECKOUT) if n.startswith("build") and
                 (image.CHECKOUT / n).is_dir() and image.CHECKOUT / n != guest.BUILD]
        shutil.copytree(image.CHECKOUT, directory / "checkout", symlinks=True,
                        ignore=shutil.ignore_patterns(".git", "__pycache__", *other))
    return directory
