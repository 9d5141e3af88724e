# SPDX-License-Identifier: Apache-2.0
"""Failover for real, round after round: see soak.py.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest -s tests/soak

FLOCKER_SOAK_ROUNDS=n  this many rounds; without it 20, or 300 with FLOCKER_FULL=1
FLOCKER_SEED=n         the faults and their order; printed
FLOCKER_SOAK_LOGS=dir  keeps the daemons' logs, whole, in this directory

Runs in the machine within the machine of tests/system, with its fixtures and environment variables.
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

isolate.LOOPS = 64  # a few datasets, and adding them takes time
