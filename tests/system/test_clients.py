# SPDX-License-Identifier: Apache-2.0
"""Programs that were written for the original's v1 API (tests/clients): they create, move, lease and delete
on a cluster of real daemons, in Python and in Go, and none of them was told that it is not the original."""
import pathlib
import shutil
import subprocess

import pytest

from cluster import MIB, Payload, wait_until

CLIENTS = pathlib.Path(__file__).resolve().parents[1] / "clients"


@pytest.fixture(scope="module")
def go_client(tmp_path_factory):
    """The Go program, by whichever compiler is here."""
    program = tmp_path_factory.mktemp("go") / "client"
    source = str(CLIENTS / "client.go")
    if shutil.which("gccgo"):
        command = ["gccgo", "-o", str(program), source]
    elif shutil.which("go"):
        command = ["go", "build", "-o", str(program), source]
    else:
        pytest.skip("there is no gccgo and no go")
    subprocess.run(command, check=True, timeout=300)
    return [str(program)]


@pytest.fixture(params=["python", "go"])
def client(request, cluster):
    """client(COMMAND, ARGUMENT...) returns what it prints; or with status, what it says of its failure."""
    program = ["/usr/bin/python3", str(CLIENTS / "client.py")] if request.param == "python" \
        else request.getfixturevalue("go_client")
    certificate, key = cluster.authority.user

    def call(*arguments, status=0):
        run = subprocess.run(
            [*program, "127.0.0.1", str(cluster.control.port), str(cluster.authority.ca), str(certificate),
             str(key), *[str(a) for a in arguments]], capture_output=True, text=True, timeout=150)
        assert run.returncode == status, run.stdout + run.stderr
        return run.stderr if status else run.stdout.strip()
    return call


def address(node):
    return node.settings["address"]


def test_a_client_of_the_original_does_its_work(cluster, client):
    here, there = cluster
    payload = Payload(1)
    dataset = client("create", "data", address(here), 64 * MIB)
    payload.write(here.data(dataset))
    assert client("wait", dataset, address(here)) == f"{here.root}/{dataset}"

    client("update", dataset, address(there))
    assert client("wait", dataset, address(there)) == f"{there.root}/{dataset}"
    payload.check(there.data(dataset))

    client("delete", dataset)
    assert cluster.show(dataset)["state"] == "destroyed"
    assert "404" in client("update", "99999999-9999-4999-8999-999999999999", address(here), status=1)
    assert "405" in client("update", dataset, address(here), status=1)


def test_a_lease_delays_a_move_and_a_delete_of_any_client(cluster, client):
    """Both are accepted and recorded. That another dataset goes the same way meanwhile shows that the
    leased one could have gone, too."""
    here, there = cluster
    payload = Payload(2)
    leased = client("create", "leased", address(here), 64 * MIB)
    free = client("create", "free", address(here), 64 * MIB)
    payload.write(here.data(leased))
    assert client("acquire", leased, address(here), 600) == "acquired"
    assert client("acquire", leased, address(here), "-") == "renewed"
    assert "409" in client("acquire", leased, address(there), 600, status=1)
    assert client("leases") == f"{leased} {here.uuid}"

    for dataset in (leased, free):
        client("update", dataset, address(there))
    client("wait", free, address(there))
    client("delete", free)
    payload.check(here.data(leased))
    assert cluster.show(leased)["owner"] == here.uuid
    assert "lease" in cluster.show(leased)["why"]

    client("release", leased)
    client("wait", leased, address(there))
    payload.check(there.data(leased))

    assert client("acquire", leased, address(there), 2) == "acquired"
    client("delete", leased)  # waits until the lease has run out and the dataset is gone
    wait_until("the lease has run out", lambda: client("leases") == "")
    assert "404" in client("release", leased, status=1)
