# SPDX-License-Identifier: Apache-2.0
"""What ?plan=true foretells is what the write then does: the same answer, and the same steps of the same nodes.

Writes of all kinds are made up under a seed, good ones and bad ones, on nodes that come and go, drain, are fenced
and forgotten."""
import collections
import os
import random
import uuid

import fleet
import pytest
import rig

SEED = int(os.environ.get("FLOCKER_PLAN_SEED", "1"))
N_WRITES = 1000  # and more until each kind and each refusal was among them
MOST_WRITES = 5000
N_NODES = 6
N_FORGOTTEN = 2  # more would leave nobody to work with
N_LIVING = 14
MIB = 1 << 20
SIZES = [64 * MIB, 128 * MIB, 320 * MIB, 1 << 30]
NAMES = ["db", "web", "queue", "mail", "wiki", "logs"]
LONG_S = 36000
KINDS = {"create", "patch", "delete", "undelete", "purge", "lease", "release", "drain", "undrain", "replace", "fence", "forget"}
REFUSALS = {"bad-body", "not-found", "name-in-use", "exists", "deleted", "leased", "node-draining", "node-answers", "shrink"}
NODE_STEPS = {"unmount", "detach", "create", "attach", "probe", "format", "mount", "expand", "grow", "destroy"}
WORDS = NODE_STEPS | {"record", "wait", "fence", "forget"}
# What is of a moment, or chosen with the write.
PASSING = {"since", "why", "request", "revision", "history", "created_at", "deleted_at", "undelete_until", "silent_s"}


def essence(thing):
    """All but what is of a moment."""
    if isinstance(thing, dict):
        return {k: essence(v) for k, v in thing.items() if k not in PASSING}
    return [essence(v) for v in thing] if isinstance(thing, list) else thing


def is_settled(d):
    if d["wanted"] == "deleted":
        return d["owner"] is None and (d["volume_id"] is None or d["undelete_until"] is not None)
    if d["wanted"] == "unplaced":
        return d["owner"] is None
    return d["owner"] == d["node"] and d["state"] == "mounted" and d["volume_size"] == d["size"]


def wish_of(d):
    return d and {k: d[k] for k in ("node", "size", "metadata", "deleted")} | {
        "failover": [d["failover"][k] for k in ("policy", "term", "to")], "kept": d["undelete_until"] is not None}


class World:
    def __init__(self, control, nodes, seed):
        self.control, self.nodes = control, nodes
        self.rng = random.Random(seed)
        self.forgotten = set()
        self.flips = 0
        self.gone, self.known = [], set()
        self.outcomes = collections.Counter()
        answer = control.post("/v2/datasets", {"node": None, "name": "the one that tells when all is done"})
        self.scratch = answer.json["dataset_id"]

    # ---- looking ----

    def datasets(self):
        """Those that are not deleted for good, and one that is."""
        found = {d["dataset_id"]: d for d in self.control.every(deleted="false") if d["dataset_id"] != self.scratch}
        self.gone += [d for d in self.known if d not in found and d not in self.gone]
        self.known = set(found)
        if self.gone:
            dataset = self.rng.choice(self.gone)
            found[dataset] = self.see(dataset)
        return found

    def see(self, dataset):
        answer = self.control.get(f"/v2/datasets/{dataset}")
        return answer.json if answer.status == 200 else None

    def settle(self):
        """Until nothing is on its way. An answer to a write comes when all before it is durable, and what
        waited for that is sent by then."""
        quiet = 0
        while quiet < 2:
            before = sum(m.heard for m in self.nodes.members)
            self.flips += 1
            answer = self.control.call("PATCH", f"/v2/datasets/{self.scratch}",
                                       {"metadata": {"n": str(self.flips)}})
            assert answer.status == 200, answer.text
            self.nodes.flush()
            quiet = quiet + 1 if sum(m.heard for m in self.nodes.members) == before else 0

    # ---- what happens around ----

    def happen(self):
        """A node goes or comes back."""
        member = self.rng.choice(self.nodes.members)
        asleep = [m for m in self.nodes.members if not m.life]
        if member.life and len(asleep) < N_NODES // 2:
            self.nodes.sleep(member)
            rig.wait_until("it is away", lambda: not self.control.get(f"/v2/nodes/{member.id}").json["live"])
        elif not member.life and member.id not in self.forgotten:
            times = member.welcomes
            self.nodes.wake(member)
            rig.wait_until("it is welcome", lambda: member.welcomes > times)
        self.settle()

    # ---- writes ----

    def uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def node(self):
        return self.rng.choice(self.nodes.members).id

    def any_node(self):
        return self.rng.choice([self.node(), self.node(), self.node(), self.node(), None, self.uuid()])

    def failover(self):
        return self.rng.choice([{"policy": "manual"}, {"policy": "lease", "term": LONG_S},
                                {"to": self.rng.choice(["any", None, [self.node(), self.node()]])}])

    def create(self, every):
        rng, body = self.rng, {}
        if rng.random() < 0.6:
            body["name"] = rng.choice(NAMES)
        if rng.random() < 0.6:
            body["node"] = self.any_node()
        if rng.random() < 0.5:
            body["size"] = rng.choice(SIZES)
        if rng.random() < 0.3:
            body["dataset_id"] = rng.choice([self.uuid(), rng.choice(list(every) or [self.uuid()])])
        if rng.random() < 0.3:
            body["filesystem"] = rng.choice(["ext4", "btrfs"])
        if rng.random() < 0.3:
            body["failover"] = self.failover()
        if rng.random() < 0.05:
            body.update(rng.choice([{"size": 1}, {"nope": 1}, {"node": "x"}, {"failover": {"policy": "soon"}}]))
        return "create", "POST", "/v2/datasets", body

    def patch(self, dataset):
        rng, body = self.rng, {}
        if rng.random() < 0.6:
            body["node"] = self.any_node()
        if rng.random() < 0.3:
            body["name"] = rng.choice([*NAMES, None])
        if rng.random() < 0.3:
            body["metadata"] = {f"k{rng.randrange(20)}": rng.choice(["v", None]) for _ in range(rng.randrange(1, 16))}
        if rng.random() < 0.2:
            body["size"] = rng.choice(SIZES)
        if rng.random() < 0.2:
            body["failover"] = self.failover()
        if rng.random() < 0.05:
            body.update(rng.choice([{"size": None}, {"filesystem": "xfs"}, {"metadata": []}, {"name": ""}]))
        return "patch", "PATCH", f"/v2/datasets/{dataset}", body

    def lease(self, dataset, seen):
        owner = seen["owner"] if seen else None
        body = {"node": self.rng.choice([owner or self.node(), self.node()])}
        if self.rng.random() < 0.5:
            body["seconds"] = LONG_S
        return "lease", "PUT", f"/v2/leases/{dataset}", body

    def of_node(self):
        rng, risk = self.rng, {"accept_risk": True}
        asleep = [m.id for m in self.nodes.members if not m.life]
        node = rng.choice([self.node(), self.node(), rng.choice(asleep or [self.node()]), self.uuid()])
        verbs = ["drain", "drain", "undrain", "undrain", "undrain", "replace", "fence", "fence", "forget"]
        verb = rng.choice(verbs)
        if rng.random() < 0.3:  # what came up least
            verb = min(sorted(set(verbs)), key=lambda v: self.outcomes[v])
        if verb == "forget" and len(self.forgotten) >= N_FORGOTTEN and node in asleep:
            verb = "fence"
        body = rng.choice([risk] * 9 + [{}]) if verb in ("fence", "forget") else None
        return verb, "POST", f"/v2/nodes/{node}/{verb}", body

    def write(self):
        every = self.datasets()
        living = [d for d in every if not every[d]["deleted"]]
        kind = self.rng.choice(["create"] * 3 + ["patch"] * 8 + ["delete"] * 2 + ["undelete", "purge", "lease", "lease",
                                                                            "release", "node", "node", "node"])
        if kind == "create" and len(living) >= N_LIVING:
            kind = "delete"
        kept = [d for d in every if every[d]["undelete_until"]]
        leased = [d for d in every if every[d]["lease"]]
        good = {"undelete": kept, "purge": kept, "release": leased, "delete": living, "patch": living}
        pool = good.get(kind) if self.rng.random() < 0.8 and good.get(kind) else list(every)
        dataset = self.rng.choice(pool + [self.uuid()] * (not pool or self.rng.random() < 0.05))
        if kind == "create":
            return self.create(every)
        if kind == "patch":
            return self.patch(dataset)
        if kind == "lease":
            return self.lease(dataset, every.get(dataset))
        if kind == "node":
            return self.of_node()
        if kind == "release":
            return kind, "DELETE", f"/v2/leases/{dataset}", None
        if kind == "delete":
            return kind, "DELETE", f"/v2/datasets/{dataset}" + self.rng.choice(["", f"?undelete={LONG_S}"]), None
        return kind, "POST", f"/v2/datasets/{dataset}/{kind}", None


def planned(path):
    return path + ("&" if "?" in path else "?") + "plan=true"


def by_dataset(steps):
    found = collections.defaultdict(list)
    for dataset, node, step in steps:
        found[dataset].append((node, step))
    return dict(found)


def check_object(kind, plan, answer):
    """What would be is what is, but for what is chosen with the write."""
    if kind == "release":
        assert plan["lease"] is None
        return
    key = {"lease": "lease", "create": "dataset", "patch": "dataset", "delete": "dataset", "undelete": "dataset",
           "purge": "dataset"}.get(kind, "node")
    would, does = essence(plan[key]), essence(answer)
    for chosen in ("dataset_id", "volume_id", "fs_uuid") if kind == "create" else ():
        if would[chosen] is None:
            does[chosen] = None
    for thing in (would, does):
        thing.pop("expires", None)
        (thing.get("lease") or {}).pop("expires", None)
    assert would == does


def check_steps(world, kind, plan, before, answer, began):
    dataset = answer.get("dataset_id")
    foretold = [(s["dataset_id"] or (dataset if kind == "create" else None), s["node"], s["step"])
                for s in plan["steps"]]
    assert {s for _, _, s in foretold} <= WORDS
    assert all(s["what"] for s in plan["steps"])
    done = world.nodes.steps[began:]
    assert by_dataset([s for s in foretold if s[2] in NODE_STEPS]) == by_dataset(done)
    waits = {d for d, _, s in foretold if s == "wait"}
    about = {d for d, _, _ in foretold if d} | ({dataset} if dataset else set())
    seen = {d: world.see(d) for d in about}
    assert {d for d in about if seen[d] and not is_settled(seen[d])} == waits
    if kind in ("create", "patch", "delete", "undelete", "purge"):
        records = [d for d, _, s in foretold if s == "record"]
        assert records == ([dataset] if wish_of(before) != wish_of(answer) else [])
    if kind in ("fence", "forget"):
        assert foretold[0] == (None, answer["uuid"], kind)


@pytest.fixture
def world(control):
    ids = [str(uuid.UUID(int=(0xaaaa0000 + i) << 96 | 0x4000 << 64 | 0x8 << 60, version=4)) for i in range(N_NODES)]
    nodes = fleet.Fleet(control, {i: control.authority.node(i) for i in ids}, 60)
    for number, member in enumerate(nodes.members):
        member.free = (10 + number) << 30
        member.grows = number != 1  # one is of an older version
        member.address = f"192.0.2.{number + 1}"
    nodes.start()
    nodes.wait_welcomed(1)
    yield World(control, nodes, SEED)
    nodes.end()


def test_plan_and_reality_agree_on_writes_of_all_kinds(control, world):
    outcomes, words = world.outcomes, collections.Counter()
    world.settle()
    for number in range(MOST_WRITES):
        if number >= N_WRITES and KINDS | REFUSALS <= outcomes.keys() and set(words) == WORDS:
            break
        if world.rng.random() < 0.15:
            world.happen()
        kind, method, path, body = world.write()
        before = world.see(path.split("/")[3].split("?")[0]) if path.startswith("/v2/datasets/") else None
        tag = control.get("/v1/configuration/datasets").headers["X-Configuration-Tag"]
        plan = control.call(method, planned(path), body)
        assert control.get("/v1/configuration/datasets").headers["X-Configuration-Tag"] == tag
        began = len(world.nodes.steps)
        answer = control.call(method, path, body)
        if answer.status == 200 and kind == "forget":
            world.forgotten.add(answer.json["uuid"])
        world.settle()
        try:
            if answer.status >= 300:
                assert (plan.status, plan.json) == (answer.status, answer.json)
                assert len(world.nodes.steps) == began
                outcomes[answer.json["code"]] += 1
                continue
            assert (plan.status, plan.json["status"]) == (200, answer.status)
            check_object(kind, plan.json, answer.json)
            check_steps(world, kind, plan.json, before, answer.json, began)
        except AssertionError as e:
            told = [(s["dataset_id"], s["node"], s["step"], s["what"]) for s in plan.json.get("steps", [])]
            lines = [f"write {number}: {method} {path} {body}: {answer.status}", "foretold:", *map(str, told), "done:",
                     *map(str, world.nodes.steps[began:])]
            raise AssertionError("\n".join(lines)) from e
        outcomes[kind] += 1
        words.update(s["step"] for s in plan.json["steps"])
    print(number, dict(outcomes), dict(words))
    assert KINDS | REFUSALS <= outcomes.keys(), outcomes
    assert set(words) == WORDS, words


def test_a_plan_for_nobody_says_so(control):
    answer = control.post("/v2/datasets?plan=true", {"name": "db"})
    assert (answer.status, answer.json["code"]) == (409, "no-node")


def test_a_plan_is_wanted_in_one_way(control):
    answer = control.post("/v2/datasets?plan=yes", {"node": None})
    assert (answer.status, answer.json["errors"]) == (400, ["?plan: must be true or false"])
    assert control.post("/v2/datasets?plan=false", {"node": None}).status == 201
    assert len(control.every()) == 1


def test_who_may_only_look_may_not_plan_either(control):
    viewer = control.authority.issue("viewer-v", "extendedKeyUsage=clientAuth")
    connection = control.connect(viewer)
    connection.request("POST", "/v2/datasets?plan=true", b'{"node": null}')
    answer = rig.Answer(connection.getresponse())
    connection.close()
    assert (answer.status, answer.json["code"]) == (403, "viewer")
