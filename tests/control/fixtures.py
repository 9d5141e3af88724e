# SPDX-License-Identifier: Apache-2.0
"""What tests that run beside others without a machine of their own begin and end with."""
import ctypes
import shutil

import pytest

import rig


def own_mount_namespace():
    """Mounts of ours stay ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec_private = 0x20000, 0x4000 | 1 << 18
    if libc.unshare(clone_newns) or libc.mount(None, b"/", None, ms_rec_private, None):
        pytest.exit("skipped: a mount namespace is not to be had", returncode=77)


def already_gone(_function, _path, info):
    """Another pytest that ends clears away what has no lock any more, which is the first that goes."""
    if not issubclass(info[0], FileNotFoundError):
        raise info[1]


@pytest.fixture(scope="session", autouse=True)
def leave_nothing(request, tmp_path_factory):
    yield
    if not request.session.testsfailed:
        base = tmp_path_factory.getbasetemp()
        shutil.rmtree(base, onerror=already_gone)
        current = base.parent / "pytest-current"
        if current.is_symlink() and not current.exists():
            current.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return rig.Authority(tmp_path_factory.mktemp("ca"))
