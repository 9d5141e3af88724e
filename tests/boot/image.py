# SPDX-License-Identifier: Apache-2.0
"""What the machine boots: Debian 12 on an image, made by mmdebstrap from the sources of this
machine's apt, with Debian's kernel and nothing of Flocker. Made once for a list of packages.

    CACHE/<key>.root       ext4, sparse
    CACHE/<key>.initramfs  loads what reads the disk, and hands over
"""
import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CACHE = pathlib.Path("/var/tmp/flocker-boot-cache")
sys.path.append(str(HERE.with_name("qemu")))
import guest  # noqa: E402

ROOT_SIZE = "5G"  # sparse
EARLY = ("virtio_pci", "virtio_blk", "ext4")
# What units and devices of this machine have no use for; the rest of Debian's kernel is there.
NO_MODULES = ("sound", "drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless",
              "drivers/infiniband", "drivers/staging", "drivers/usb", "drivers/iio", "drivers/hwmon")
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n"
                 "LABEL=volumes /var/lib/flocker-volumes ext4 defaults 0 2\n",
    "etc/hostname": "flocker-boot\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 flocker-boot\n",
    "etc/systemd/network/50-outside.network": "[Match]\nName=en*\n\n[Network]\nDHCP=ipv4\n",
    "etc/systemd/journald.conf.d/all.conf": "[Journal]\nStorage=persistent\nSyncIntervalSec=1s\n"
                                            "RateLimitIntervalSec=0\n",
}
# Timers that would take the processor of a slow machine, and a server that nobody asked for.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "fstrim.timer", "logrotate.timer", "man-db.timer", "e2scrub_reap.service",
          "postgresql.service", "getty.target")

ENABLED = ("flocker-agent.service", "systemd-networkd.service", "systemd-networkd-wait-online.service")


def packages():
    """As tools/packages.sh has them: to run Flocker, and its tests."""
    out = subprocess.run(["bash", "-c", '. tools/packages.sh; echo "${packages_run[@]}" "${packages_machine[@]}"'],
                         cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    return out.split()


def sources():
    """Debian's lines of apt's sources here, for its present stable release."""
    out = subprocess.run(["apt-get", "indextargets", "--format",
                          "$(CREATED_BY) $(ORIGIN) deb $(SITE) $(RELEASE) $(COMPONENT)"],
                         check=True, capture_output=True, text=True).stdout
    lines = {line.split(" ", 2)[2] for line in out.splitlines() if line.startswith("Packages Debian ")}
    return "".join(f"{line}\n" for line in sorted(lines))


def make_tree(root, kernel):
    subprocess.run(["mmdebstrap", "--quiet", "--variant=important", "--mode=root", "--format=directory",
                    '--aptopt=Apt::Install-Recommends "false"', f"--include={','.join(packages())}",
                    "bookworm", str(root), "-"], input=sources(), text=True, check=True,
                   capture_output=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "var/lib/flocker-volumes").mkdir()
    shutil.copy(HERE / "agent", root / "usr/local/lib/flocker-agent")
    shutil.copy(HERE / "flocker-agent.service", root / "etc/systemd/system")
    version = copy_modules(root, kernel)
    for command in (["depmod", version], ["systemctl", "--quiet", "mask", *MASKED],
                    ["systemctl", "--quiet", "enable", *ENABLED]):
        subprocess.run(["chroot", str(root), *command], check=True)


def copy_modules(root, kernel):
    directory, = (kernel / "lib/modules").iterdir()
    skipped = {directory / "kernel" / name for name in NO_MODULES}
    shutil.copytree(directory, root / "lib/modules" / directory.name, symlinks=True, ignore=lambda at, names: [
        n for n in names if pathlib.Path(at, n) in skipped or n in ("build", "source")])
    return directory.name


def make_initramfs(file, kernel):
    archive = guest.Archive()
    busybox = guest.fetch("busybox", lambda: "busybox-static") / "bin/busybox"
    for directory in ("proc", "dev", "disk", "bin"):
        archive.directory(directory)
    archive.add("init", HERE / "init")
    archive.add("bin/busybox", busybox)
    for name in ("sh", "mount", "umount", "insmod", "switch_root"):
        archive.link(f"bin/{name}", "busybox")
    order = guest.in_order(kernel / "lib/modules", EARLY)
    for name, source in order.items():
        archive.add(f"modules/{name}", source)
    archive.add("modules/order", "".join(f"{name}\n" for name in order).encode())
    archive.write(file)


def make_image(file, size, content=None, label="root"):
    """ext4 with what is below @content, without a mount."""
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", label, *(("-d", str(content)) if content else ()),
                    str(file), size], check=True, stdout=subprocess.DEVNULL)


def get():
    """(kernel, initramfs, root image); the image is not to be written to."""
    kernel = guest.fetch("kernel", guest.kernel_package)
    vmlinuz, = (kernel / "boot").glob("vmlinuz-*")
    what = [vmlinuz.name, *packages(), pathlib.Path(__file__).read_text(), (HERE / "init").read_text(),
            (HERE / "agent").read_text(), (HERE / "flocker-agent.service").read_text()]
    key = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
    root, initramfs = CACHE / f"{key}.root", CACHE / f"{key}.initramfs"
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            make(kernel, root, initramfs)
    return vmlinuz, initramfs, root


def make(kernel, root, initramfs):
    for old in CACHE.iterdir():  # of other keys, or half made
        if old.name != "lock":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    tree, new = CACHE / "tree", CACHE / "new"
    try:
        make_tree(tree, kernel)
        make_initramfs(initramfs, kernel)
        make_image(new, ROOT_SIZE, tree)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    new.rename(root)
