# SPDX-License-Identifier: Apache-2.0
"""From the original to here: its state file and its images, until the datasets are mounted with their data."""
import pathlib
import subprocess

import pytest

from cluster import LIMIT_S, MIB, Payload, executable

FILES = pathlib.Path(__file__).parent.with_name("control") / "import"
N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
A, B, C, D = (f"{c * 8}-{c * 4}-4{c * 3}-8{c * 3}-{c * 12}" for c in "abcd")
SIZES = {A: 128 * MIB, D: 64 * MIB}


def run(*words, status=0):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == status, done
    return done.stderr if status else done.stdout


def state_file(cluster, format_):
    text = (FILES / f"format-{format_}.json").read_text()
    for old, node in zip((N1, N2), cluster, strict=True):
        text = text.replace(old, node.uuid)
    # What is made here need not be 75 GiB.
    text = text.replace('"maximum_size": null', f'"maximum_size": {64 * MIB}')
    file = cluster.base / "current_configuration.json"
    file.write_text(text)
    return file


def image_of_the_original(cluster, dataset, payload):
    """Made as its agent did: by mkfs with nothing but the type, under an UUID of mkfs's own choice."""
    files = cluster.base / f"files-{dataset}"
    files.mkdir()
    payload.write(files)
    image = cluster.base / f"block-{dataset}_{SIZES[dataset]}"
    with open(image, "wb") as f:
        f.truncate(SIZES[dataset])
    run("mkfs.ext4", "-q", "-F", "-d", files, image)
    return image


def take_image(cluster, node, image, dataset, **options):
    return run(executable("flocker-node"), "take-image", image, dataset, "--agent-config", node.config, **options)


def prepare(cluster, format_, payloads):
    """The cluster's control has the records; the images, by dataset, with the UUIDs that are wanted."""
    images = {d: image_of_the_original(cluster, d, p) for d, p in payloads.items()}
    run(executable("flocker-control"), "import", state_file(cluster, format_), "--apply", "--data-path",
        cluster.control.data, "--user", "nobody")
    for dataset, image in images.items():
        run("e2fsck", "-f", "-p", image)
        run("tune2fs", "-U", dataset, image)
    return images


def check_data(cluster, node, dataset, payload):
    cluster.wait_mounted(dataset, node)
    payload.check(node.data(dataset))
    assert not any(dataset in image for _, image in cluster.mkfs_runs())


@pytest.mark.parametrize("format_", range(1, 7))
def test_the_datasets_of_each_format_mount_with_their_data(make_cluster, seed, format_):
    cluster = make_cluster()
    n1, n2 = cluster
    payloads = {d: Payload(seed + i) for i, d in enumerate(SIZES)}
    images = prepare(cluster, format_, payloads)
    for dataset, node in (A, n1), (D, n2):
        assert dataset in take_image(cluster, node, images[dataset], dataset)
        assert "has a volume already" in take_image(cluster, node, images[dataset], dataset, status=1)
    cluster.start()
    check_data(cluster, n1, A, payloads[A])
    check_data(cluster, n2, D, payloads[D])
    if format_ < 4:
        cluster.wait(B, "lost", lambda d: d["state"] == "lost")
    else:
        cluster.wait_mounted(B, n1)

    for lease in cluster.call("GET", "/v1/configuration/leases"):
        cluster.call("DELETE", f"/v1/configuration/leases/{lease['dataset_id']}")
    cluster.move(D, n1)
    check_data(cluster, n1, D, payloads[D])


def test_a_dataset_is_lost_until_its_image_is_there(make_cluster, seed):
    cluster = make_cluster()
    n1, _ = cluster
    payload = Payload(seed)
    images = prepare(cluster, 2, {A: payload})
    cluster.start()
    cluster.wait(A, "lost", lambda d: d["state"] == "lost" and "missing from the backend" in d["why"])
    take_image(cluster, n1, images[A], A)
    n1.stop()  # else it looks once a minute
    n1.start()
    check_data(cluster, n1, A, payload)


def test_an_image_with_another_filesystem_is_not_mounted(make_cluster, seed):
    cluster = make_cluster()
    n1, _ = cluster
    image = image_of_the_original(cluster, A, Payload(seed))
    run(executable("flocker-control"), "import", state_file(cluster, 2), "--apply", "--data-path",
        cluster.control.data, "--user", "nobody")
    take_image(cluster, n1, image, A)
    cluster.start()
    cluster.wait(A, "refused with its reason", lambda d: f"not the ext4 filesystem {A}" in (d["why"] or ""))
    assert not n1.has(A) and not cluster.mkfs_runs()
