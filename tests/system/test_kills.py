# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a node, of control, of all of them, and a machine that goes down, at random moments,
while datasets are created and moved.

Whatever was acknowledged happens, once: every dataset ends where it was last wished, with its data,
formatted once; and the watcher saw no dataset in two places at any time.
"""
import http.client
import random
import threading
import time
import uuid

import pytest

from cluster import SIZES, Payload, scale

ROUNDS, IN_FULL = 100, 500
CONVERGE_EVERY = 5  # rounds
WORST_MOMENT_S = 0.25  # a move takes about this long, and a kill comes within it


class Chaos:
    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.nodes = list(cluster)
        self.random = random.Random(seed)
        self.wishes = {}    # dataset: node, as acknowledged
        self.payloads = {}  # dataset: what is in it, once it was seen mounted

    # ---- wishes, repeated until they are acknowledged ----

    def insist(self, call):
        """One request, again and again until control answers it."""
        end = time.monotonic() + 60
        while True:
            try:
                return call()
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < end, "control does not answer"
                time.sleep(0.02)

    def create(self):
        node, fs = self.random.choice(self.nodes), self.random.choice(list(SIZES))
        dataset = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        body = {"dataset_id": dataset, "primary": node.uuid, "maximum_size": SIZES[fs],
                "metadata": {"flocker:filesystem": fs}}
        answer = self.insist(lambda: self.cluster.control.post("/v1/configuration/datasets", body))
        assert answer.status in (201, 409), answer.text  # 409: the answer to the first was lost
        self.wishes[dataset] = node

    def move(self):
        dataset = self.random.choice(sorted(self.wishes))
        node = self.random.choice(self.nodes)
        self.insist(lambda: self.cluster.move(dataset, node))
        self.wishes[dataset] = node

    def wish(self):
        if len(self.wishes) < 3 or (len(self.wishes) < 12 and self.random.random() < 0.2):
            self.create()
        else:
            self.move()

    # ---- kills ----

    def strike(self, victims, moment):
        """On a thread, so that it can hit between a request and its answer."""
        time.sleep(moment)
        for daemon in victims:
            if daemon is self.nodes[1] and self.random.random() < 0.3:
                daemon.reboot()
            elif daemon.alive():
                daemon.kill()
        for daemon in self.random_order(victims):
            daemon.start(wait=False) if daemon in self.nodes else daemon.start()

    def random_order(self, daemons):
        daemons = list(daemons)
        self.random.shuffle(daemons)
        return daemons

    def victims(self):
        control, (a, b) = self.cluster.control, self.nodes
        return self.random.choice([[a], [b], [control], [a, b], [control, a], [control, b],
                                   [control, a, b]])

    def round(self):
        thread = threading.Thread(target=self.strike, args=(
            self.victims(), self.random.uniform(0, WORST_MOMENT_S)))
        thread.start()
        for _ in range(self.random.randrange(1, 4)):
            self.wish()
        thread.join()

    # ---- what must be true when it is over ----

    def converge(self):
        for dataset, node in self.wishes.items():
            self.cluster.wait_mounted(dataset, node)
            if dataset in self.payloads:
                self.payloads[dataset].check(node.data(dataset))
                self.payloads[dataset].add(node.data(dataset))
            else:
                self.payloads[dataset] = Payload(dataset, files=4)
                self.payloads[dataset].write(node.data(dataset))
            for other in self.nodes:
                assert other is node or not other.has(dataset)


def test_kills_at_random_moments_lose_nothing(cluster, seed):
    chaos = Chaos(cluster, seed)
    for n in range(scale(ROUNDS, IN_FULL)):
        chaos.round()
        if n % CONVERGE_EVERY == CONVERGE_EVERY - 1:
            chaos.converge()
    chaos.converge()


@pytest.mark.parametrize("fs", list(SIZES))
def test_a_kill_during_the_first_format_leads_to_one_whole_filesystem(cluster, seed, fs):
    """mkfs itself is killed with the daemon, or outlives it: each image sees at most one."""
    node = list(cluster)[1]
    moments = random.Random(seed)
    for _ in range(scale(10, 100)):
        dataset = cluster.create(node, fs)
        time.sleep(moments.uniform(0, 0.15))
        node.kill()
        node.start()
        cluster.wait_mounted(dataset, node)
        Payload(dataset, files=2).write(node.data(dataset))
