# SPDX-License-Identifier: Apache-2.0
"""The same by podman, which has no daemon and counts by itself."""
import shutil
import signal

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("podman"), reason="podman is missing")


@pytest.fixture(params=["crun", "runc"])
def podmen(hosts, request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is missing")
    for host in hosts:
        host.podman.runtime = request.param
        if not host.podman.ready:
            host.podman.make_image()
    return [host.podman for host in hosts]


def test_data_follows_its_container_between_engines_and_machines(hosts, podmen, volume):
    (a, b), (one, two) = hosts, podmen
    one.good("volume", "create", "--driver", "flocker", "-o", "size=64M", volume)
    assert one.run(volume, "echo podman >/data/f && cat /data/f") == "podman"
    assert hosts.dataset(volume)["lease"] is None
    assert b.docker.run(volume, "cat /data/f && echo docker >>/data/f") == "podman"
    two.good("volume", "create", "--driver", "flocker", volume)
    assert two.run(volume, "cat /data/f") == "podman\ndocker"
    one.good("volume", "rm", volume)
    two.good("volume", "rm", volume)


def test_errors_reach_the_user(hosts, podmen, volume):
    (a, b), (one, two) = hosts, podmen
    wrong = one("volume", "create", "--driver", "flocker", "-o", "size=ten", volume)
    assert wrong.status != 0 and "10G, 1.5G or 500MiB" in wrong.error
    two.good("volume", "create", "--driver", "flocker", "-o", "size=64M", volume)
    a.docker.keep(volume, "keeper")
    refused = two("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "localhost/flocker-test", "sh", "-c", "echo")
    assert refused.status != 0 and "in use on node" in refused.error and "keeper" in refused.error
    two.good("volume", "rm", volume)


def test_volumes_are_listed_and_shown(hosts, podmen, volume):
    (a, b), (one, two) = hosts, podmen
    one.good("volume", "create", "--driver", "flocker", "-o", "size=64M", volume)
    assert volume in one.good("volume", "ls", "-q").split()
    assert '"Driver": "flocker"' in one.good("volume", "inspect", volume)
    two.good("volume", "reload")
    assert volume in two.good("volume", "ls", "-q").split()
    for podman in podmen:
        podman.good("volume", "rm", volume)


def test_who_waited_too_short_finds_the_work_done(hosts, podmen, volume):
    """podman hangs up after 5 s, unless it is told otherwise."""
    (a, b), (one, two) = hosts, podmen
    a.docker.run(volume, "echo x >/data/f")
    two.good("volume", "create", "--driver", "flocker", volume)
    two.limit(1)
    a.node.process.send_signal(signal.SIGSTOP)  # so that it takes longer
    try:
        late = two("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "localhost/flocker-test", "cat", "/data/f")
        assert late.status != 0 and "x" not in late.out, late
    finally:
        a.node.process.send_signal(signal.SIGCONT)
        two.limit(60)
    hosts.wait_dataset(volume, lambda d: d["owner"] == b.node.uuid and d["state"] == "mounted")
    two.limit(1)
    try:
        assert two.run(volume, "cat /data/f") == "x"
    finally:
        two.limit(60)
    assert hosts.dataset(volume)["lease"] is None
    two.good("volume", "rm", volume)
