# SPDX-License-Identifier: Apache-2.0
"""docs/certificates.md: the commands on the page, as they stand there, make a cluster's certificates."""
import os
import pathlib
import re
import ssl
import subprocess

import pytest

import rig

PAGE = pathlib.Path(__file__).parents[2] / "docs/certificates.md"
NODE = "33333333-3333-4333-8333-333333333333"


def blocks():
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


class Page:
    """The authority that the page makes, as rig.Control wants one."""

    def __init__(self, directory):
        self.dir = directory
        all_blocks = blocks()
        revocation = next(i for i, b in enumerate(all_blocks) if b.startswith("touch index.txt"))
        self.issuing, self.revoking = all_blocks[:revocation], all_blocks[revocation:]
        self.sh(self.issuing)
        self.ca = directory / "cluster.crt"
        self.user = self.pair("alice")

    def sh(self, commands):
        done = subprocess.run(["/bin/sh", "-eu"], input="\n".join(commands), cwd=self.dir, text=True,
                              capture_output=True, env=dict(os.environ, HOST="localhost", NODE=NODE))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pair(self, name):
        return self.dir / f"{name}.crt", self.dir / f"{name}.key"

    def install(self, directory):
        directory.mkdir()
        for name in ("cluster.crt", "control-service.crt", "control-service.key"):
            (directory / name).write_bytes((self.dir / name).read_bytes())
            (directory / name).chmod(0o600)


def answer(control, pair, method="GET", body=None):
    """The status as the strictest of clients gets it: names, key usages and identifiers are all looked at."""
    connection = control.connect(pair)
    context = ssl.create_default_context(cafile=str(control.authority.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(*map(str, pair))
    connection.host, connection._context = "localhost", context  # noqa: SLF001
    try:
        connection.request(method, "/v1/configuration/datasets", body)
        return connection.getresponse().status
    except OSError:
        return "refused"
    finally:
        connection.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(tmp_path_factory.mktemp("page"))


def test_the_page_makes_a_cluster_and_takes_a_user_out_of_it(page, make_control):
    control = make_control(page)
    control.start()
    assert answer(control, page.user) == 200
    assert answer(control, page.pair("wall")) == 200
    assert answer(control, page.pair("wall"), "POST", "{}") == 403
    assert answer(control, page.user, "POST", "{}") == 400
    node = rig.Node(control, NODE, pair=page.pair(NODE))
    node.join()

    assert "Revoked Certificates" in page.sh(page.revoking)
    (control.certs / "cluster.crl").write_bytes((page.dir / "cluster.crl").read_bytes())
    control.wait_log("certificates are read anew")
    assert answer(control, page.user) == "refused"
    control.wait_log("certificate 'user-alice' .* was revoked")
    assert answer(control, page.pair("wall")) == 200
    node.send("ping")
    node.take("pong")
    control.end()
