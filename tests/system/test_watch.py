# SPDX-License-Identifier: Apache-2.0
"""The watcher finds what it is there to find: each crime is committed once, by hand."""
import json
import os
import pathlib
import subprocess
import sys
import uuid

import pytest

import cluster as clusters
import isolate
import kernel


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True,
                          text=True).stdout.strip()


class Scene:
    """A volume as the loopback driver has it, and two mount roots."""

    def __init__(self, base):
        self.base = base
        self.volume = base / "images/volumes" / str(uuid.uuid4())
        self.image = self.volume / "image"
        self.dataset = str(uuid.uuid4())
        self.volume.mkdir(parents=True)
        self.image.touch()
        os.truncate(self.image, clusters.SIZES["ext4"])
        self.claim("held", 1)
        self.undo = []

    def claim(self, state, serial):
        text = json.dumps({"version": 1, "serial": serial, "state": state, "epoch": 1})
        (self.volume / "claim").write_text(text.ljust(4095) + "\n" + " " * 4096)

    def attach(self):
        device = run("losetup", "--show", "-f", self.image)
        self.undo.append(("losetup", "-d", device))
        return device

    def mount(self, device, node):
        place = self.base / node / "flocker" / self.dataset
        place.mkdir(parents=True)
        run("mount", device, place)
        self.undo.append(("umount", place))

    def end(self):
        for command in reversed(self.undo):
            run(*command)


@pytest.fixture
def scene(tmp_path):
    one = Scene(pathlib.Path(os.environ[isolate.INSIDE]) / f"scene-{uuid.uuid4()}")
    yield one
    one.end()


def watch(scene, commit):
    """What the watcher says of what @commit does."""
    script = pathlib.Path(clusters.__file__).with_name("watch.py")
    process = subprocess.Popen(
        [sys.executable, script, scene.base, scene.base / "images", "n1", "n2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    commit()
    out, _ = process.communicate(timeout=60)  # it looks twice more before it ends
    return json.loads(out)


def test_an_innocent_scene_is_called_so(scene):
    def commit():
        device = scene.attach()
        run("mkfs.ext4", "-q", device)
        scene.mount(device, "n1")

    seen = watch(scene, commit)
    assert seen["samples"] >= 2 and seen["violations"] == []


def test_two_devices_on_one_image_are_found(scene):
    seen = watch(scene, lambda: [scene.attach(), scene.attach()])
    assert len(seen["violations"]) == 1 and "two devices" in seen["violations"][0]


def test_a_dataset_mounted_by_two_nodes_is_found(scene):
    def commit():
        device = scene.attach()
        run("mkfs.ext4", "-q", device)
        scene.mount(device, "n1")
        scene.mount(device, "n2")

    seen = watch(scene, commit)
    assert seen["violations"] == [f"dataset {scene.dataset} is mounted by n1 and by n2"]


def test_a_dataset_mounted_elsewhere_is_found(scene):
    def commit():
        device = scene.attach()
        run("mkfs.ext4", "-q", device)
        scene.mount(device, "stranger")

    violation, = watch(scene, commit)["violations"]
    assert "is mounted at" in violation and "stranger" in violation


def test_dirty_pages_after_a_release_are_found(scene):
    if kernel.dirty_pages(scene.image) is None:
        pytest.skip("this kernel has no cachestat(2)")

    def commit():
        with open(scene.image, "r+b") as f:
            f.write(b"x" * 8192)
        scene.claim("free", 2)

    seen = watch(scene, commit)
    assert seen["releases"] == 1
    assert seen["violations"] == [
        f"volume {scene.volume.name} was given back with 2 dirty pages"]
