# SPDX-License-Identifier: Apache-2.0
"""A node has much to do at once, and keeps the terms of what is leased: that shows as epochs that stay."""
from concurrent.futures import ThreadPoolExecutor

from cluster import scale, wait_until
from test_lease import LEASE

MANY = scale(100, 1000)
LIMIT_S = scale(60, 600)


def create_many(cluster, node, count, **fields):
    with ThreadPoolExecutor(8) as pool:
        datasets = list(pool.map(lambda _: cluster.create(node, **fields), range(count)))
    wait_mounted(cluster, node, datasets)
    return datasets


def shown(cluster, datasets):
    wanted = set(datasets)
    return [d for d in cluster.datasets() if d["dataset_id"] in wanted]


def wait_mounted(cluster, node, datasets):
    wait_until("all are mounted", lambda: all(
        d["state"] == "mounted" and d["owner"] == node.uuid and d["node_live"]
        for d in shown(cluster, datasets)), LIMIT_S)


def epochs(cluster, datasets):
    return {d["epoch"] for d in shown(cluster, datasets)}


def test_a_node_with_many_datasets_boots_and_keeps_its_terms(cluster):
    _, there = cluster
    many = create_many(cluster, there, MANY)
    leased = create_many(cluster, there, 3, metadata=LEASE)
    there.reboot()
    logged = len(there.log)
    there.start()
    wait_until("what is leased is mounted again", lambda: all(there.has(d) for d in leased), LIMIT_S)
    before = epochs(cluster, leased)
    wait_mounted(cluster, there, many + leased)
    assert epochs(cluster, leased) == before and epochs(cluster, many) == {1}
    assert "its term is over" not in there.log[logged:]


def test_many_move_at_once_and_cost_no_term(cluster):
    here, there = cluster
    many = create_many(cluster, here, MANY)
    leased = create_many(cluster, here, 2, metadata=LEASE) + create_many(cluster, there, 2, metadata=LEASE)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda d: cluster.move(d, there), many))
    # Of each that is not there yet both sides say what it waits for.
    under_way = [d for d in shown(cluster, many) if d["state"] != "mounted" or d["owner"] != there.uuid]
    assert under_way and all(d["why"] for d in under_way)
    wait_mounted(cluster, there, many)
    assert not [m for m in here.mounts() if any(d in m.point for d in many)]
    assert epochs(cluster, leased) == {1} and epochs(cluster, many) == {2}
