# SPDX-License-Identifier: Apache-2.0
"""What makes life hard for a cluster: storage that hangs on demand or is full, and writers that never
pause."""
import hashlib
import os
import pathlib
import subprocess
import threading

from cluster import LIMIT_S, MIB, build, wait_until


class HangingDisk:
    """Volumes whose requests wait in the kernel, beyond all signals, from hang() to go()."""

    def __init__(self, images, store):
        self.images = images
        store.mkdir()
        self.process = subprocess.Popen(
            [str(build() / "tests/system/tools/hangfs"), str(store), str(images)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        wait_until(f"{images} is mounted", images.is_mount)

    def tell(self, *words):
        """Returns how many requests wait."""
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def hang(self, *patterns):
        """Whatever would change a file or directory of these names waits; reading goes on."""
        self.tell("hang changes", *patterns)

    def hang_all(self, *patterns):
        self.tell("hang all", *patterns)

    def go(self):
        if self.process.poll() is None:
            self.tell("go")

    def waiting(self):
        return self.tell("waiting")

    def end(self):
        """What still waits gets errors, what has it mounted as well."""
        subprocess.run(["umount", "--lazy", str(self.images)], check=False,
                       stderr=subprocess.DEVNULL)
        self.process.stdin.close()
        self.process.wait(LIMIT_S)
        self.process.stdout.close()


class SmallDisk:
    """An ext4 of its own at @point, on a loop device; it can be filled and emptied."""

    def __init__(self, point, size):
        self.point = pathlib.Path(point)
        self.image = self.point.with_suffix(".disk")
        self.image.touch()
        os.truncate(self.image, size)
        self.point.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(self.image)],
                       check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.point)], check=True)

    def unmount(self):
        subprocess.run(["umount", str(self.point)], check=True)

    @property
    def ballast(self):
        return self.point / "ballast"

    def fill(self):
        """To the last block."""
        with open(self.ballast, "ab", buffering=0) as f:
            for size in (MIB, 4096):
                try:
                    while f.write(b"\1" * size):
                        pass
                except OSError:
                    continue
        os.sync()

    def empty(self):
        self.ballast.unlink()

    def end(self):
        if os.path.ismount(self.point):
            self.unmount()
        self.image.unlink()


class Writer:
    """Appends to a file and syncs it, all the time; nothing may disturb it."""

    def __init__(self, path):
        self.path, self.error, self.lines = path, None, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with open(self.path, "wb", buffering=0) as f:
                while not self.ended.is_set():
                    f.write(b"%d\n" % self.lines)
                    os.fsync(f.fileno())
                    self.lines += 1
        except OSError as e:
            self.error = e

    def end(self):
        """The checksum of the file, which has every line."""
        self.ended.set()
        self.thread.join(LIMIT_S)
        assert not self.error, f"a write failed: {self.error}"
        assert self.lines
        data = self.path.read_bytes()
        assert data == b"".join(b"%d\n" % n for n in range(self.lines)), "writes were lost"
        return hashlib.sha256(data).hexdigest()
