# SPDX-License-Identifier: Apache-2.0
"""Writers that follow their datasets as containers would: where control shows a dataset mounted its
container runs, and one on a node that nobody reaches goes on there until its writes fail."""
import http.client
import json
import os
import pathlib
import selectors
import subprocess
import sys
import threading
import time

import cluster as clusters
import records
import rig

POLL_S = 0.02
AGAIN_S = 0.25  # before a container that failed is started on the same mount once more
ANSWER_S = 1
LEAVING = ("unmounting", "detaching")


class Client:
    """Asks control, which may be away: each answer is (status, what it says) or (0, why there is none)."""

    def __init__(self, control):
        self.control, self.connection = control, None

    def ask(self, method, path, body=None):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(
                "127.0.0.1", self.control.port, timeout=ANSWER_S,
                context=rig.client_context(self.control.authority, self.control.authority.user))
        try:
            self.connection.request(method, path, json.dumps(body) if body else None)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException) as e:
            self.hang_up()
            return 0, str(e)

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def insist(self, method, path, body=None, limit_s=clusters.LIMIT_S):
        """Until it is done."""
        end = time.monotonic() + limit_s
        while True:
            status, said = self.ask(method, path, body)
            if 200 <= status < 300:
                return said
            assert time.monotonic() < end, f"{method} {path} for {limit_s} s in vain: {status} {said}"
            time.sleep(POLL_S)


class Container:
    def __init__(self, dataset, node, options):
        self.dataset, self.node = dataset, node
        self.running, self.grant, self.failed_at = False, None, 0
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(pathlib.Path(records.__file__)), node.name, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=dict(os.environ, **{clusters.MARK: str(node.cluster.base)}))

    def tell(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())

    def start(self, grant, *words):
        """Once for a grant, and again when it failed under it a moment ago."""
        if self.running or (grant == self.grant and time.monotonic() < self.failed_at + AGAIN_S):
            return False
        self.running, self.grant = True, grant
        self.tell("start", *words)
        return True

    def stop(self):
        if self.running:
            self.tell("stop")

    def hear(self):
        for line in self.process.stdout.read(4096).decode().splitlines():
            self.running = False
            if line.startswith("ended"):
                self.failed_at = time.monotonic()

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(clusters.LIMIT_S)
        finally:
            self.process.stdout.close()


class Writers:
    """One container for each dataset on each node, and a thread that starts and stops them. After each
    look it calls @watch, which returns what is wrong."""

    def __init__(self, cluster, datasets, directory, watch, options=()):
        self.cluster, self.watch = cluster, watch
        self.directory = directory
        directory.mkdir()
        self.containers = {(d, n.uuid): Container(d, n, options) for d in datasets for n in cluster}
        self.client = Client(cluster.control)
        self.round = self.session = 0
        self.writing = False
        self.problems = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # ---- the thread ----

    def run(self):
        selector = selectors.DefaultSelector()
        for container in self.containers.values():
            selector.register(container.process.stdout, selectors.EVENT_READ, container)
        try:
            while not self.ended.is_set():
                for key, _ in selector.select(POLL_S):
                    key.data.hear()
                self.problems += self.watch()
                if self.writing:
                    status, every = self.client.ask("GET", "/v2/datasets?limit=1000")
                    for seen in every["datasets"] if status == 200 else ():
                        self.steer(seen)
        except Exception as e:  # noqa: B902 - told at the end of the round
            self.problems.append(f"the thread of the writers ends: {e!r}")
        finally:
            selector.close()

    def steer(self, seen):
        container = self.containers.get((seen["dataset_id"], seen["owner"]))
        if not container or not seen["node_live"]:
            return
        if seen["state"] in LEAVING:
            container.stop()
        elif seen["state"] == "mounted" and seen["owner"] == seen["node"] and self.writing:
            dataset = seen["dataset_id"]
            if container.start(seen["epoch"], container.node.data(dataset, self.file(self.round)),
                               self.acks_path(dataset, self.round), self.session):
                self.session += 1

    # ---- the test ----

    @staticmethod
    def file(round_):
        return f"records-{round_}"

    def acks_path(self, dataset, round_):
        return self.directory / f"{dataset}-{round_}"

    def acks(self, dataset, round_=None):
        return records.read_acks(self.acks_path(dataset, round_ or self.round))

    def begin(self, round_):
        self.round, self.writing = round_, True

    def pause(self):
        self.writing = False
        # What the thread started in this moment is seen as running by the next look.
        clusters.wait_until("no container runs", self.nobody_runs)

    def nobody_runs(self):
        for container in self.containers.values():
            container.stop()
        return not any(c.running for c in self.containers.values())

    def wait_written(self, dataset, nodes, since_ns):
        """Until a record that was begun later is acknowledged on one of them."""
        names = [node.name for node in nodes]
        clusters.wait_until(f"{dataset} is written on {' or '.join(names)}", lambda: self.problems or any(
            a.name in names and a.begin > since_ns for a in self.acks(dataset)[-3:]))

    def end(self):
        self.ended.set()
        self.thread.join(clusters.LIMIT_S)
        self.client.hang_up()
        for container in self.containers.values():
            container.end()
