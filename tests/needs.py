# SPDX-License-Identifier: Apache-2.0
"""What tests with real mounts and loop devices need, said the same way by all of them."""
import os
import shutil


def missing(programs, paths=("/dev/loop-control", "/dev/fuse")):
    """Why they cannot run here, or None."""
    if os.geteuid() != 0:
        return "mounts and loop devices need root"
    for path in paths:
        if not os.path.exists(path):
            return f"there is no {path}"
    for program in programs:
        if not shutil.which(program):
            return f"the program {program} is missing"
    return None
