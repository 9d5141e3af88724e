# SPDX-License-Identifier: Apache-2.0
"""Hundreds of nodes as control sees them, on one thread: each does at once what it is ordered, asks for its
terms six times while they last, and comes back when its connection ends."""
import asyncio
import itertools
import json
import ssl
import struct
import threading
import time
import uuid

import rig

RETRY_S = 0.05


class Member:
    """One node."""

    def __init__(self, fleet, node_id, pair):
        self.fleet, self.id = fleet, node_id
        self.host, self.boot = str(uuid.uuid4()), str(uuid.uuid4())
        self.address = "192.0.2.7"
        self.context = ssl.create_default_context(cafile=str(fleet.control.authority.ca))
        self.context.check_hostname = False
        self.context.load_cert_chain(str(pair[0]), str(pair[1]))
        self.holds = {}  # dataset_id: its last order to hold
        self.heard = 0   # orders
        self.free = None  # bytes for volumes, as it tells
        self.grows = False
        self.life = None
        self.mounted = set()
        self.welcomes = 0
        self.byes = []  # their reasons
        self.answered = None  # when the renewal was sent that was answered last
        self.oldest_s = 0  # that a renewal in force has been since the last look
        self.writer = None
        self.awaited, self.stamps = {}, itertools.count(1)  # pings of tests: their stamps are small

    def send(self, type_, **fields):
        self.sequence += 1
        data = json.dumps({"type": type_, "seq": self.sequence, **fields}).encode()
        self.writer.write(struct.pack(">I", len(data)) + data)

    def report(self, kind, order, state, **fields):
        self.send("report", report=kind, dataset_id=order["dataset_id"], volume_id=order["volume_id"],
                  epoch=order["epoch"], state=state, size=order["size"],
                  failover_rev=order["failover_rev"], **fields)

    def hello(self):
        self.send("hello", wire=1, version="test", host=self.host, boot=self.boot,
                  address=self.address, backend="loopback", shared=True,
                  **({"free": self.free} if self.free else {}),
                  **({"backends": [self.backend()]} if self.grows else {}), holds=[
                      {"dataset_id": o["dataset_id"], "volume_id": o["volume_id"], "epoch": o["epoch"],
                       "state": "mounted" if o["dataset_id"] in self.mounted else "attached",
                       "mounted": o["dataset_id"] in self.mounted, "failover_rev": o["failover_rev"]}
                      for o in self.holds.values()])

    def backend(self):
        room = {"capacity": 2 * self.free, "free": self.free} if self.free else {}
        return {"name": "default", "driver": "loopback", "shared": True, "capabilities": ["grow"], **room}

    def take(self, m):
        if m["type"] == "welcome":
            self.welcomes += 1
        elif m["type"] == "bye":
            self.byes.append(m["reason"])
        elif m["type"] == "ping":
            self.send("pong")
        elif m["type"] == "pong" and m.get("stamp_ms"):
            self.note_age()
            self.answered = m["stamp_ms"] / 1000
            if m["stamp_ms"] in self.awaited:
                self.awaited.pop(m["stamp_ms"]).set()
        elif m["type"] == "assign":
            self.heard += 1
            self.obey(m)

    def do(self, dataset, *steps):
        self.fleet.steps += [(dataset, self.id, step) for step in steps]

    def hold(self, order):
        dataset = order["dataset_id"]
        if dataset not in self.holds:
            self.do(dataset, *(["create"] if order["format_state"] == "never" else []), "attach")
        self.holds[dataset] = order
        if order["format_state"] == "never":
            self.do(dataset, "probe")
            self.report("ready", order, "attached")
        elif order["format_state"] == "started":
            self.do(dataset, "format")
            self.report("formatted", order, "attached", fs_uuid=order["fs_uuid"])
        else:
            self.do(dataset, *(["mount"] if dataset not in self.mounted else []))
            self.mounted.add(dataset)
            self.be_mounted(order)

    def mountpoint(self, dataset):
        return f"/flocker/{dataset}"

    def be_mounted(self, order):
        dataset, size = order["dataset_id"], order["size"]
        here = {"mounted": True, "fs_uuid": order["fs_uuid"], "mountpoint": self.mountpoint(dataset)}
        if order.get("fs_size", size) < size:
            self.do(dataset, "grow")
            self.report("grown", order, "mounted", grown=size, **here)
        elif order.get("growing", size) > size:
            self.do(dataset, "expand")
            self.report("expanded", {**order, "size": order["growing"]}, "mounted", grown=order["growing"], **here)
        else:
            self.report("status", order, "mounted", **here)

    def obey(self, order):
        dataset = order["dataset_id"]
        if order["wish"] == "hold":
            self.hold(order)
        elif order["wish"] == "release":
            self.do(dataset, *(["unmount"] if dataset in self.mounted else []),
                    *(["detach"] if dataset in self.holds else []))
            self.holds.pop(dataset, None)
            self.mounted.discard(dataset)
            self.report("released", order, "released")
        elif order["wish"] == "destroy":
            self.do(dataset, "destroy")
            self.report("destroyed", order, "destroyed")

    def ping(self):
        """An event that is set when control has answered what was sent before."""
        done, stamp = threading.Event(), next(self.stamps)
        self.awaited[stamp] = done
        self.send("ping", stamp_ms=stamp)
        return done

    def note_age(self):
        if self.answered:
            self.oldest_s = max(self.oldest_s, time.monotonic() - self.answered)

    async def session(self):
        self.sequence = 0
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.fleet.control.agent_port,
                                                           ssl=self.context)
        self.hello()
        renewing = asyncio.ensure_future(self.renew())
        try:
            while True:
                size, = struct.unpack(">I", await reader.readexactly(4))
                self.take(json.loads(await reader.readexactly(size)))
        finally:
            renewing.cancel()
            self.writer.transport.abort()

    async def renew(self):
        welcomes = self.welcomes
        while True:
            if self.welcomes > welcomes and self.holds:
                self.send("ping", stamp_ms=int(time.monotonic() * 1000))
            await asyncio.sleep(self.fleet.term_s / 6)

    async def live(self):
        while True:
            try:
                await self.session()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(RETRY_S)


class Fleet:
    def __init__(self, control, pairs, term_s):
        """@pairs: {node id: (certificate, key)}"""
        self.control, self.term_s = control, term_s
        self.steps = []  # of all, in order: (dataset_id, node, what was done)
        self.members = [Member(self, node_id, pair) for node_id, pair in pairs.items()]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self):
        self.thread.start()
        for member in self.members:
            self.wake(member)
        return self

    def wake(self, member):
        member.life = asyncio.run_coroutine_threadsafe(member.live(), self.loop)

    def sleep(self, member):
        """It goes, keeps what it has, and comes back when it is woken."""
        member.life.cancel()
        member.life = None
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result()

    def flush(self):
        """What control had sent to those that are awake is done, and control has their reports."""
        async def ping():
            return [m.ping() for m in self.members if m.life]
        for done in asyncio.run_coroutine_threadsafe(ping(), self.loop).result(rig.LIMIT_S):
            assert done.wait(rig.LIMIT_S)

    def end(self):
        for member in self.members:
            if member.life:
                member.life.cancel()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def cut(self):
        """Every connection, at once."""
        for member in self.members:
            self.loop.call_soon_threadsafe(member.writer.transport.abort)

    def wait_welcomed(self, times, limit=rig.LIMIT_S):
        rig.wait_until(f"all are welcomed {times} times",
                       lambda: all(m.welcomes >= times for m in self.members), limit)

    def wait_mounted(self, count, limit=rig.LIMIT_S):
        rig.wait_until(f"{count} are mounted", lambda: sum(len(m.mounted) for m in self.members) >= count, limit)

    def oldest_s(self):
        """How old any renewal became since the last look."""
        for member in self.members:
            member.note_age()
        oldest = max(m.oldest_s for m in self.members)
        for member in self.members:
            member.oldest_s = 0
        return oldest
