# SPDX-License-Identifier: Apache-2.0
"""One crash, or one error, at each call by which a daemon changes the world.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/crash -q

Runs in the machine within the machine of tests/system, with its fixtures and environment variables
(see conftest.py there). FLOCKER_FULL=1 takes every point; without it a sample under FLOCKER_SEED.
The build must be one without sanitizers, as these have to come first where a library is preloaded.
"""
import importlib.util
import pathlib
import sys

system = importlib.util.spec_from_file_location(
    "system_conftest", pathlib.Path(__file__).parent.with_name("system") / "conftest.py")
module = importlib.util.module_from_spec(system)
sys.modules["system_conftest"] = module
system.loader.exec_module(module)

from system_conftest import *  # noqa: E402 F401 F403 - its hooks and fixtures are ours
from system_conftest import isolate  # noqa: E402

import pytest  # noqa: E402

from matrix import prepare_daemons  # noqa: E402

isolate.LOOPS = 64  # one dataset at a time; adding them takes time


@pytest.fixture
def disturbed(make_cluster, seed, monkeypatch):
    """What a Matrix is made of; the cluster runs."""
    cluster = make_cluster()
    points, helpers = prepare_daemons(cluster, monkeypatch)
    return cluster.start(), points, helpers, seed
