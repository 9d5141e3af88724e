# SPDX-License-Identifier: Apache-2.0
"""A machine of namespaces with systemd as its process 1; see boot for how it comes up.

    BASE/upper    all that is written to its disk: what is not there is as on this machine
        /boot_id  of the running boot
"""
import os
import pathlib
import shutil
import signal
import subprocess
import uuid

import kernel
import rig

LIMIT_S = 60
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
HOME = "/flocker checkout"  # where the machine has its copy; a name as users give them
CGROUPS = pathlib.Path("/run/flocker-test-cgroups")
# What a Flocker on this machine has made must not be seen.
FLOCKER = ("/etc/flocker* /flocker /var/lib/flocker* /var/log/flocker /usr/local/*bin/flocker* "
           "/etc/default/flocker* /etc/udev/rules.d/*flocker* /usr/lib/udev/*flocker* "
           "/usr/lib/udev/rules.d/*flocker* /usr/lib/systemd/system*/*flocker* "
           "/usr/lib/sysusers.d/*flocker* /usr/lib/tmpfiles.d/*flocker*")
# Units that work on what namespaces do not divide, or have nothing to do here.
MASKED = ("systemd-udev-trigger.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
          "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
          "systemd-repart.service", "systemd-random-seed.service", "systemd-sysctl.service", "getty.target")


def ignore_builds(directory, names):
    """For copytree(): what a fresh clone does not have."""
    return [n for n in names if n in (".git", "__pycache__")
            or (n.startswith("build") and os.path.isdir(os.path.join(directory, n)))]


class Machine:
    def __init__(self, base):
        self.base = pathlib.Path(base)
        for name in ("upper", "work", "root"):
            (self.base / name).mkdir()
        self.upper = self.base / "upper"
        self.process = self.pid = self.cgroup = None
        self.make_disk()

    def make_disk(self):
        """Through the overlay, so that what is removed here is gone there."""
        subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={self.upper},"
                        f"workdir={self.base}/work", "overlay", str(self.base / "root")], check=True)
        root = self.base / "root"
        try:
            # /etc/systemd/system: no service but what Debian starts by itself.
            subprocess.run(["chroot", str(root), "sh", "-c", f"rm -rf --one-file-system {FLOCKER} "
                            "/etc/systemd/system/*"], check=True)
            for unit in MASKED:
                (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
            (root / "etc/fstab").write_text("")
            (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
            shutil.copytree(CHECKOUT, f"{root}{HOME}", symlinks=True, ignore=ignore_builds)
        finally:
            subprocess.run(["umount", str(root)], check=True)

    # ---- life ----

    def make_cgroup(self):
        CGROUPS.mkdir(exist_ok=True)
        if not os.path.ismount(CGROUPS):
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(CGROUPS)], check=True)
        own = next(line[4:].strip() for line in kernel.read("/proc/self/cgroup").splitlines()
                   if line.startswith("0::/"))
        self.cgroup = CGROUPS / own / "flocker-test-systemd"
        self.remove_cgroup()  # of a run that was killed
        self.cgroup.mkdir()

    def remove_cgroup(self):
        for directory, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(directory)

    def start(self):
        self.make_cgroup()
        (self.base / "boot_id").write_text(f"{uuid.uuid4()}\n")
        boot = pathlib.Path(__file__).with_name("boot")
        self.process = subprocess.Popen([
            "sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.cgroup),
            "unshare", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--fork",
            "--kill-child", str(boot), str(self.base), str(self.cgroup)],
            stdin=subprocess.DEVNULL)
        rig.wait_until("systemd runs", self.find_pid, LIMIT_S)
        rig.wait_until("systemd has booted", self.is_up, LIMIT_S)

    def find_pid(self):
        assert self.process.poll() is None, "the machine does not start"
        children = kernel.read(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split()
        self.pid = int(children[0]) if children else None
        return self.pid and kernel.read(f"/proc/{self.pid}/comm") == "systemd\n"

    def is_up(self):
        state = self.call("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def halt(self):
        """As if its power went: every process, mount and device is gone at once."""
        if self.process and self.process.poll() is None:
            os.kill(self.pid or self.process.pid, signal.SIGKILL)
        self.wait_end()

    def reboot(self):
        """As "systemctl reboot" does it."""
        self.call("systemctl", "reboot")
        self.wait_end()
        self.start()

    def power_cycle(self):
        self.halt()
        self.start()

    def wait_end(self):
        if self.process:
            self.process.wait(LIMIT_S)
        self.process = self.pid = None
        for loop in self.loops():
            subprocess.run(["losetup", "-d", f"/dev/{loop.name}"], check=True)
        rig.wait_until("its devices are gone", lambda: not self.loops(), LIMIT_S)
        if self.cgroup and self.cgroup.exists():
            rig.wait_until("its processes are gone", lambda: "populated 0" in
                           kernel.read(self.cgroup / "cgroup.events"), LIMIT_S)
            self.remove_cgroup()

    # ---- what is done in it ----

    def call(self, *command, check=True, limit=LIMIT_S, **options):
        """Runs @command in the machine."""
        result = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "env", "-i", "LC_ALL=C.UTF-8",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, **options)
        assert not check or result.returncode == 0, \
            f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}"
        return result

    def out(self, *command):
        return self.call(*command).stdout

    def quickstart(self, *arguments, limit=300, **options):
        return self.call(f"{HOME}/quickstart", *arguments, limit=limit, **options)

    def show(self, unit):
        """{property: value} of a unit, by systemctl."""
        lines = self.out("systemctl", "show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, unit):
        return self.out("journalctl", "--quiet", "--output=cat", f"--unit={unit}")

    def path(self, *parts):
        """A path in the machine, as the test sees it."""
        return pathlib.Path(f"/proc/{self.pid}/root", *[str(p).lstrip("/") for p in parts])

    def mounts(self):
        """Below the mount root of "here"."""
        return [m for m in kernel.parse_mountinfo(kernel.read(f"/proc/{self.pid}/mountinfo"))
                if m.point.startswith("/flocker/")]

    def loops(self):
        return kernel.loops_of(self.upper)

    def disk(self):
        """Everything that was written to its disk and is there: {path: what}."""
        found = {}
        for directory, names, files in os.walk(self.upper):
            for name in names + files:
                path = pathlib.Path(directory, name)
                st = path.lstat()
                found[str(path.relative_to(self.upper))] = (st.st_mode, st.st_uid, st.st_rdev)
        return found
