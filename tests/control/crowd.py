# SPDX-License-Identifier: Apache-2.0
"""A crowd of clients on one thread, each with a connection, datasets and leases of its own. What each does follows
from a seed. It knows what the server may answer, and what must be there afterwards: what was acknowledged, or
one write later that was not."""
import asyncio
import json
import random
import socket
import ssl
import uuid

import openapi

LIMIT_S = 120
RETRY_S = 0.1
DATASETS = "/v1/configuration/datasets"
LEASES = "/v1/configuration/leases"
ABSENT_NODE = str(uuid.UUID(int=1 << 78 | 2 << 62, version=4))


class Cut(Exception):
    """The connection ended before the answer."""


class Volume:
    """What one client knows of a dataset. More than one value: the last write was not acknowledged."""

    def __init__(self, dataset_id, name, primary):
        self.id, self.name = dataset_id, name
        self.there, self.primary, self.deleted = {True}, {primary}, {False}

    def fits(self, seen):
        if seen is None:
            return False in self.there
        return (seen["metadata"] == {"name": self.name} and seen["primary"] in self.primary
                and seen["deleted"] in self.deleted)

    def __repr__(self):
        return f"{vars(self)}"


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port, context, slow):
        sock = socket.socket()
        try:
            if slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            return cls(*await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname="control-service", ssl_handshake_timeout=LIMIT_S,
                limit=2048 if slow else 1 << 16))
        except BaseException:
            sock.close()
            raise

    def abort(self):
        self.writer.transport.abort()

    async def answer(self, head_only, pace):
        """(status, headers, body); @pace() is awaited between parts of it."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:-2])
        left, body = 0 if head_only else int(headers["Content-Length"]), b""
        while left:
            part = await self.reader.read(await pace(left))
            if not part:
                raise asyncio.IncompleteReadError(body, left)
            body += part
            left -= len(part)
        return int(lines[0].split(" ")[1]), headers, body


class Client:
    def __init__(self, crowd, number):
        self.crowd, self.number = crowd, number
        self.rng = random.Random(f"{crowd.seed}/{number}")
        self.viewer = self.rng.random() < 0.03
        self.context = crowd.viewer if self.viewer else crowd.context
        self.connection = None
        self.volumes, self.leases = [], {}  # that it goes on with; {dataset_id: node}
        self.made = 0

    # ---- one request ----

    async def connect(self, slow=False):
        while True:
            moment = self.crowd.moment()
            try:
                self.connection = await Connection.open(self.crowd.control.port, self.context, slow)
                self.connection.moment = moment  # the server may have been killed and started since
                return
            except (OSError, asyncio.IncompleteReadError) as e:
                self.crowd.excuse(moment, e, "connecting")
                await asyncio.sleep(self.rng.uniform(RETRY_S, 2 * RETRY_S))

    def hang_up(self):
        if self.connection:
            self.connection.abort()
        self.connection = None

    async def pace(self, left):
        if self.manner != "slow":
            return left
        await asyncio.sleep(self.rng.uniform(0, 0.02))
        return self.rng.choice((1, 7, 1000, 4000)) if left < 4000 else 4000

    async def ask(self, method, path, body=None, tag=None):
        """(status, headers, JSON), or Cut: nobody knows whether it was done; None: it was not even asked."""
        self.manner = self.rng.choices(("plain", "last", "slow", "stop", "die"), (86, 3, 4, 3, 4))[0]
        if self.manner == "slow":
            self.hang_up()
        if not self.connection:
            await self.connect(self.manner == "slow")
        data = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", "Host: control", f"Content-Length: {len(data)}"]
        lines += [f"X-If-Configuration-Matches: {tag}"] if tag else []
        lines += ["Connection: close"] if self.manner == "last" else []
        raw = "\r\n".join(lines + ["", ""]).encode() + data
        moment = self.connection.moment
        try:
            return await self.exchange(method, path, raw)
        except (OSError, asyncio.IncompleteReadError) as e:
            self.hang_up()
            if self.manner == "stop":
                return None  # too late for it, or the server was killed: not done either way
            self.crowd.excuse(moment, e, f"{method} {path} ({self.manner})")
            raise Cut from e

    async def exchange(self, method, path, raw):
        connection, crowd = self.connection, self.crowd
        if self.manner == "stop":
            connection.writer.write(raw[:self.rng.randrange(1, len(raw))])
            if self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.uniform(0, 0.2))
            else:
                status, headers, _ = await connection.answer(False, self.pace)
                crowd.count(status, {408}, "half a request", headers)
            self.hang_up()
            return None
        connection.writer.write(raw)
        if self.manner == "die":
            await asyncio.sleep(self.rng.choice((0, 0, 0.002, 0.02)))
            self.hang_up()
            raise Cut
        status, headers, text = await connection.answer(method == "HEAD", self.pace)
        openapi.check(method, path, {}, raw.partition(b"\r\n\r\n")[2], status, headers, text)
        assert (headers.get("Connection") == "close") == (self.manner == "last"), headers
        if self.manner in ("last", "slow"):
            self.hang_up()
        return status, headers, json.loads(text) if text else None

    async def write(self, method, path, body, expected, changes=True):
        """Like ask(); with a tag at times. None also when a tag did not fit: then nothing was done."""
        tag = None
        if self.rng.random() < self.crowd.tagged:
            tag = "stale" if self.rng.random() < 0.2 else await self.tag()
        answer = await self.ask(method, path, body, tag)
        if not answer:
            return None
        status, headers, said = answer
        if self.viewer:
            expected = {403}
        elif tag == "stale":
            expected = {412}
        elif tag:
            expected = expected | {412}
        self.crowd.count(status, expected, (method, path, body), headers, said)
        if status in (403, 412):
            return None
        if tag and changes and status < 300:
            self.crowd.winners.append(tag)
        return status, said

    async def tag(self):
        try:
            answer = await self.ask("HEAD", DATASETS)
        except Cut:
            return None
        if not answer:
            return None
        self.crowd.count(answer[0], {200}, "HEAD", answer[1])
        return answer[1]["X-Configuration-Tag"]

    # ---- what it does ----

    async def live(self, actions):
        for _ in range(actions):
            await self.rng.choices(
                (self.create, self.create_taken, self.move, self.move_unknown, self.remove, self.lease, self.release,
                 self.look, self.look_at_all, self.look_at_leases, self.look_around),
                (24, 2, 22, 2, 7, 12, 7, 12, 2, 2, 8))[0]()
            self.crowd.acts += 1
        self.hang_up()

    async def create(self):
        self.made += 1
        node = self.rng.choice(self.crowd.nodes)
        dataset_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4)) if self.rng.random() < 0.6 else None
        volume = Volume(dataset_id, f"{self.number}-{self.made}", node)
        body = {"primary": node, "metadata": {"name": volume.name}}
        if dataset_id:
            body["dataset_id"] = dataset_id
        try:
            answer = await self.write("POST", DATASETS, body, {201})
        except Cut:
            volume.there.add(False)
            self.crowd.volumes.append(volume)
            return
        if answer:
            assert dataset_id in (None, answer[1]["dataset_id"])
            volume.id = answer[1]["dataset_id"]
            assert volume.fits(answer[1]), (volume, answer)
            self.crowd.volumes.append(volume)
            self.volumes.append(volume)

    async def create_taken(self):
        if not self.volumes:
            return
        body = {"primary": ABSENT_NODE, "dataset_id": self.rng.choice(self.volumes).id}
        try:
            await self.write("POST", DATASETS, body, {409})
        except Cut:
            pass

    async def move(self):
        if not self.volumes:
            return
        volume = self.rng.choice(self.volumes)
        node = self.rng.choice(self.crowd.nodes)
        gone = True in volume.deleted
        try:
            answer = await self.write("POST", f"{DATASETS}/{volume.id}", {"primary": node}, {405 if gone else 200},
                                      node not in volume.primary)
        except Cut:
            if not gone:
                volume.primary.add(node)
                self.volumes.remove(volume)
            return
        if answer and not gone:
            volume.primary = {node}
            assert volume.fits(answer[1]), (volume, answer)

    async def move_unknown(self):
        unknown = uuid.UUID(int=self.number, version=4)
        try:
            await self.write("POST", f"{DATASETS}/{unknown}", {"primary": ABSENT_NODE}, {404})
        except Cut:
            pass

    async def remove(self):
        if not self.volumes:
            return
        volume = self.rng.choice(self.volumes)
        before = volume.deleted
        try:
            answer = await self.write("DELETE", f"{DATASETS}/{volume.id}", None, {200}, True not in before)
        except Cut:
            volume.deleted = before | {True}
            self.volumes.remove(volume)
            return
        if answer:
            volume.deleted = {True}
            assert volume.fits(answer[1]), (volume, answer)

    async def lease(self):
        if not self.volumes:
            return
        dataset = self.rng.choice(self.volumes).id
        if dataset in self.crowd.unsure:
            return
        node, held = self.rng.choice(self.crowd.nodes), self.leases.get(dataset, {None})
        expected = 201 if None in held else 200 if node in held else 409
        body = {"dataset_id": dataset, "node_uuid": node, "expires": self.rng.choice((None, 36000))}
        await self.lease_write("POST", LEASES, body, dataset, expected, {node})

    async def release(self):
        sure = sorted(set(self.leases) - self.crowd.unsure)
        if not sure:
            return
        dataset = self.rng.choice(sure)
        expected = 404 if None in self.leases[dataset] else 200
        await self.lease_write("DELETE", f"{LEASES}/{dataset}", None, dataset, expected, {None})

    async def lease_write(self, method, path, body, dataset, expected, then):
        try:
            answer = await self.ask(method, path, body)
        except Cut:
            if expected < 300 and not self.viewer:
                self.leases[dataset] = self.leases.get(dataset, {None}) | then
                self.crowd.unsure.add(dataset)
            return
        if not answer:
            return
        self.crowd.count(answer[0], {403 if self.viewer else expected}, (method, path, body), answer[1], answer[2])
        if answer[0] < 300:
            self.leases[dataset] = then

    async def see(self, path):
        """What a GET says, or None."""
        try:
            answer = await self.ask("GET", path)
        except Cut:
            return None
        if not answer:
            return None
        self.crowd.count(answer[0], {200}, path, answer[1], answer[2])
        return answer[2]

    async def look(self):
        if not self.volumes:
            return
        volume = self.rng.choice(self.volumes)
        seen = await self.see(f"/v2/datasets/{volume.id}")
        assert not seen or seen["node"] in volume.primary, (volume, seen)

    async def look_at_all(self):
        seen = await self.see(DATASETS)
        if seen is not None:
            listed = {d["dataset_id"]: d for d in seen}
            wrong = [v for v in self.volumes if not v.fits(listed.get(v.id))]
            assert not wrong, wrong

    async def look_at_leases(self):
        seen = await self.see(LEASES)
        if seen is not None:
            held = {d["dataset_id"]: d["node_uuid"] for d in seen}
            wrong = [d for d, nodes in self.leases.items() if held.get(d) not in nodes]
            assert not wrong, wrong

    async def look_around(self):
        await self.see(self.rng.choice(("/v1/version", "/v1/state/nodes", "/v1/state/datasets", "/v2/nodes")))


class Crowd:
    """@nodes: what datasets are wanted on. @user, @viewer: pairs. @tagged: how much of the writes is conditional."""

    def __init__(self, control, seed, count, nodes, user, viewer, tagged=0.2):
        self.control, self.seed, self.nodes = control, seed, nodes
        self.tagged = tagged
        self.context, self.viewer = self.make_context(user), self.make_context(viewer)
        self.kills, self.down = 0, False
        self.statuses, self.acts = {}, 0
        self.volumes, self.unsure, self.winners = [], set(), []
        self.clients = [Client(self, number) for number in range(count)]

    def make_context(self, pair):
        context = ssl.create_default_context(cafile=str(self.control.authority.ca))
        context.check_hostname = False
        context.load_cert_chain(*map(str, pair))
        return context

    # ---- what is an error ----

    def moment(self):
        return self.kills, self.down

    def excuse(self, moment, error, what):
        """A connection ends only when the server was killed."""
        assert self.moment() != (moment[0], False), f"{what}: {error!r}"

    def count(self, status, expected, what, headers, said=None):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        assert status in expected and headers["X-Request-Id"], (status, expected, what, said)
        assert status < 400 or said is None or said["description"], said

    # ---- its life ----

    async def live(self, actions, kills, when_full):
        """Everybody is connected before anybody asks; then @kills times in between the server is killed."""
        await asyncio.gather(*(client.connect() for client in self.clients))
        when_full()
        living = asyncio.gather(*(client.live(actions) for client in self.clients))
        killing = asyncio.ensure_future(self.kill_between(actions, kills))
        try:
            done, _ = await asyncio.wait({living, killing}, return_when=asyncio.FIRST_EXCEPTION)
            for one in done:
                one.result()
        finally:
            living.cancel()
            killing.cancel()
            for client in self.clients:
                client.hang_up()

    async def kill_between(self, actions, kills):
        loop = asyncio.get_running_loop()
        for n in range(kills):
            share = len(self.clients) * actions * (n + 1) // (kills + 1)
            while self.acts < share:
                await asyncio.sleep(0.01)
            self.down = True
            self.kills += 1
            self.control.process.kill()
            await loop.run_in_executor(None, self.control.kill)
            await loop.run_in_executor(None, self.control.start)
            self.kills += 1
            self.down = False

    # ---- what must be there ----

    def check(self, datasets, leases):
        by_name = {}
        for d in datasets:
            assert by_name.setdefault(d["metadata"]["name"], d) is d, f"made twice: {d}"
        wrong = [(v, by_name.get(v.name)) for v in self.volumes if not v.fits(by_name.get(v.name))
                 or v.id not in (None, by_name.get(v.name, {}).get("dataset_id", v.id))]
        assert not wrong, f"{len(wrong)} of {len(self.volumes)}: {wrong[:5]}"
        assert by_name.keys() <= {v.name for v in self.volumes}
        held = {lease["dataset_id"]: lease["node_uuid"] for lease in leases}
        known = {d: nodes for client in self.clients for d, nodes in client.leases.items()}
        wrong = [(d, nodes, held.get(d)) for d, nodes in known.items() if held.get(d) not in nodes]
        assert not wrong and held.keys() <= known.keys(), wrong[:5]
        assert len(set(self.winners)) == len(self.winners), "one tag was good for two changes"
