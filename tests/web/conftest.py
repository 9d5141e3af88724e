# SPDX-License-Identifier: Apache-2.0
"""The web page in a real browser, on a cluster of real daemons.

    FLOCKER_BUILD=build-dir /usr/bin/python3 -m pytest tests/web -q

FLOCKER_WEB_SHOTS=dir  keeps pictures of the page there; without it they are made and thrown away

Runs in the machine within the machine of tests/system, with its fixtures and environment variables: what is
no part of the cluster cannot be reached from there.
"""
import importlib.util
import itertools
import os
import pathlib
import sys

import pytest

system = importlib.util.spec_from_file_location(
    "system_conftest", pathlib.Path(__file__).parent.with_name("system") / "conftest.py")
module = importlib.util.module_from_spec(system)
sys.modules["system_conftest"] = module
system.loader.exec_module(module)
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from system_conftest import *  # noqa: E402 F401 F403 - its hooks and fixtures are ours
from system_conftest import isolate, needs  # noqa: E402

import browser  # noqa: E402

isolate.LOOPS = 64  # a few datasets; adding them takes time

BROWSER_NEEDS = ("chromium", "certutil", "pk12util", "openssl")


def missing():
    return needs.missing(BROWSER_NEEDS) or module.missing()


def pytest_configure(config):
    isolate.configure(config, missing)


@pytest.fixture
def make_browser(tmp_path_factory):
    """make_browser(authority, port, pair): one that shows this certificate to the server at this port."""
    made, numbers = [], itertools.count(1)

    def make(authority, port, pair):
        home = pathlib.Path(os.environ[isolate.INSIDE]) / f"browser{next(numbers)}-{port}"
        home.mkdir()
        browser.install(home, authority, pair)
        browser.set_policy({"AutoSelectCertificateForUrls": [f'{{"pattern": "https://127.0.0.1:{port}", "filter": {{}}}}']})
        made.append(browser.Browser(home, home / "log"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def shot():
    """shot(page, name): the whole page as a picture, in light and dark."""
    def take(page, name, **look):
        directory = os.environ.get("FLOCKER_WEB_SHOTS")
        pictures = [page.look(dark=dark, calm=True, **look).shot(
            directory and pathlib.Path(directory) / f"{name}-{'dark' if dark else 'light'}.png", whole=True)
            for dark in (False, True)]
        page.look()
        return pictures

    return take
