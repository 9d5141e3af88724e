# SPDX-License-Identifier: Apache-2.0
"""Rounds of faults on a cluster whose datasets are written all the time.

A round breaks something, now and then two things, moves the leased datasets of a lost node to living ones
(for half of them control chooses), mends what was broken, and when everything is as wished compares each
dataset with what was acknowledged elsewhere. What a round breaks, when, and where its datasets go comes from
the seed and its number.
"""
import http.client
import os
import random
import re
import statistics
import time

import faults
import kernel
import links
import records
import writers
from cluster import LIMIT_S

TERM_S = 2
GOAL_S = 1.1 * TERM_S + 2
LEASE = {"flocker:failover": "lease", "flocker:term": str(TERM_S)}
ROAMING = dict(LEASE, **{"flocker:failover-to": "any"})
LEASED = ("ext4", "ext4", "btrfs", "btrfs")  # no xfs: here the dead mount lives on the kernel of the new one
TWO_AT_ONCE = 0.2
UNDER_WAY = 0.3  # how often a dataset is moved a moment before the fault
KEPT = 40  # rounds whose records stay in the dataset
AGED = 8   # rounds that a process has lived when its growth is looked at
MAX_GROWTH = {"descriptors": 8, "KiB": 4096}
BROKEN = re.compile(r"Sanitizer|runtime error|assertion|Assertion|SIGSEGV")


class Plan:
    """The faults of a round, or the one of @kind, and where leased datasets go: {dataset: node}, or to which
    of the living nodes control likes."""

    def __init__(self, soak, number, kind=None):
        self.random = random.Random(f"{soak.seed}-{number}")
        owners = soak.owners()
        victim = owners[self.random.choice(soak.leased)]
        self.of_nodes = [k for k in faults.OF_NODES if k not in soak.left_out]
        kinds = [kind] if kind else [*self.of_nodes, *faults.OF_CONTROL]
        self.faults = [self.random.choice(kinds)(soak, self.random, victim)]
        if not kind and self.random.random() < TWO_AT_ONCE:
            self.faults.append(self.second(soak, set(owners[d] for d in soak.leased) - {victim}, victim))
        self.faults.sort(key=lambda f: not isinstance(f, faults.ControlFull))  # it needs a cluster at work
        self.delays = [self.random.uniform(0, 0.5) for _ in self.faults]
        self.under_way = self.random.choice(soak.leased) if self.random.random() < UNDER_WAY else None
        if self.under_way:
            owners[self.under_way] = self.random.choice(list(soak.cluster))
            self.destination = owners[self.under_way]
            self.lead_s = self.random.uniform(0, 0.3)  # a move takes about as long
        self.moves = self.choose_moves(soak, owners)

    def second(self, soak, others, victim):
        if self.faults[0].of_control:
            return self.random.choice(self.of_nodes)(soak, self.random, victim)
        if others and self.random.random() < 0.5:
            node = self.random.choice(sorted(others, key=lambda n: n.name))
            # On one kernel a dataset cannot be taken over again before the first dead mount is gone.
            kinds = [k for k in self.of_nodes if not (self.faults[0].loses and k.may_lose or
                                                      self.faults[0].may_lose and k.loses)]
            return self.random.choice(kinds)(soak, self.random, node)
        return self.random.choice(faults.OF_CONTROL)(soak, self.random)

    def choose_moves(self, soak, owners):
        lost = {f.node for f in self.faults if f.loses}
        self.roaming = []
        left = [n for n in soak.cluster if n not in {f.node for f in self.faults}] or \
            [n for n in soak.cluster if n not in lost]
        if isinstance(self.faults[0], faults.ControlFull) and not lost:
            dataset = self.random.choice(soak.leased)
            return {dataset: self.random.choice([n for n in soak.cluster if n is not owners[dataset]])}
        homeless = {d: self.random.choice(left) for d in soak.leased if owners[d] in lost}
        # Control chooses for what a lost node had, not for what it was about to get.
        self.roaming = [d for d in homeless if d in soak.roaming and d != self.under_way]
        self.living = [n for n in soak.cluster if n not in lost]
        return {d: node for d, node in homeless.items() if d not in self.roaming}

    def __str__(self):
        text = " and ".join(map(str, self.faults))
        return f"{text}, {self.lead_s:.2f} s after a move to {self.destination.name}" if self.under_way else text

    @property
    def kind(self):
        return self.faults[0].kind if len(self.faults) == 1 else "two at once"


class Times:
    """How long datasets could not be written, by kind of fault."""

    def __init__(self):
        self.rounds, self.stopped, self.pauses, self.loses = {}, {}, {}, set()

    def add(self, plan, stopped, pause):
        self.rounds[plan.kind] = self.rounds.get(plan.kind, 0) + 1
        self.stopped.setdefault(plan.kind, []).extend(stopped)
        self.pauses[plan.kind] = max(pause, self.pauses.get(plan.kind, 0))
        if plan.kind != "two at once" and plan.faults[0].loses:
            self.loses.add(plan.kind)

    def of_lost_nodes(self):
        return [s for kind in self.loses for s in self.stopped[kind]]

    @staticmethod
    def row(name, rounds, values, pause=None):
        figures = f"{statistics.median(values):7.2f} {max(values):7.2f}" if values else f"{'-':>7} {'-':>7}"
        return f"{name:42}{rounds:7}{len(values):9} {figures}" + (f"{pause:10.2f}" if pause else "")

    def table(self):
        order = [k.kind for k in faults.OF_NODES + faults.OF_CONTROL] + ["two at once"]
        lines = [f"{'fault':42}{'rounds':>7}{'stopped':>9} {'median':>7} {'worst':>7}{'pause':>10}"]
        lines += [self.row(k, self.rounds[k], self.stopped[k], self.pauses[k])
                  for k in order if k in self.rounds]
        lost = self.of_lost_nodes()
        lines.append(self.row("faults that lose a node, one at a time",
                              sum(self.rounds[k] for k in self.loses), lost))
        lines += ["Seconds, of datasets that stopped: from the fault, or from the end of control's, to the next",
                  "acknowledged record; pause: the longest between two records of a dataset that did not stop.",
                  f"The goal of {GOAL_S} s for a lost node was missed by {sum(s > GOAL_S for s in lost)} of {len(lost)}."]
        return lines


class Growth:
    """Descriptors and memory of the daemons, for as long as each lives."""

    def __init__(self):
        self.seen = {}

    def look(self, name, pid):
        status = kernel.read(f"/proc/{pid}/status")
        rss = int(re.search(r"VmRSS:\s*(\d+)", status).group(1))
        self.seen.setdefault((name, pid), []).append(
            {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "KiB": rss})

    def problems(self):
        for (name, pid), looks in self.seen.items():
            for what, limit in MAX_GROWTH.items():
                values = [look[what] for look in looks]
                if len(values) > AGED and min(values[-3:]) - max(values[:3]) > limit:
                    yield f"{name} ({pid}) grows: {what} {values}"

    def table(self):
        names = sorted({name for name, _ in self.seen})
        for name in names:
            lives = [looks for (n, _), looks in self.seen.items() if n == name]
            most = {what: max(look[what] for looks in lives for look in looks) for what in MAX_GROWTH}
            yield (f"{name:20} {len(lives):4} lives, the longest of {max(map(len, lives))} rounds; at most "
                   f"{most['descriptors']} descriptors, {most['KiB']} KiB")


class Soak:
    term_s = TERM_S

    def __init__(self, cluster, disk, seed, options=()):
        self.cluster, self.control, self.disk, self.seed = cluster, cluster.control, disk, seed
        self.links = links.Links(list(cluster), cluster.control.agent_port)
        self.left_out = self.kinds_left_out()
        self.client = writers.Client(cluster.control)
        self.down = set()  # daemons that the test ended
        self.killed_by_helper = 0
        nodes = list(cluster)
        self.leased = [cluster.create(nodes[n % len(nodes)], fs, metadata=ROAMING if n % 2 else LEASE)
                       for n, fs in enumerate(LEASED)]
        self.roaming = self.leased[1::2]
        self.manual = cluster.create(nodes[-1], "xfs")
        self.datasets = [*self.leased, self.manual]
        self.primaries = {d["dataset_id"]: d["node"] for d in cluster.datasets()}
        self.times, self.growth = Times(), Growth()
        self.checked = {}  # what the files of earlier rounds have to be
        self.writers = writers.Writers(cluster, self.datasets, cluster.base.with_suffix(".acks"),
                                       self.watch_daemons, options)
        self.settle()

    def end(self):
        self.writers.end()
        self.client.hang_up()
        self.links.end()

    # ---- what is where ----

    def node(self, uuid):
        return next(n for n in self.cluster if n.uuid == uuid)

    def owners(self):
        return {d: self.node(self.primaries[d]) for d in self.datasets}

    def kinds_left_out(self):
        return [] if self.links.can_slow else \
            [k for k in faults.OF_NODES if issubclass(k, faults.LinkCut) and
             (not self.links.can_drop or k is faults.LinkSlow)]

    def watch_daemons(self):
        """As their units: what was killed by its helper is started again. Nothing else may end."""
        problems = []
        for daemon in (self.control, *self.cluster):
            process = daemon.process
            if daemon in self.down or process.poll() is None:
                continue
            name = "control" if daemon is self.control else daemon.name
            if f"daemon {process.pid} has a step in flight and is killed" in daemon.log:
                self.killed_by_helper += 1
                daemon.start(wait=False)
            else:
                self.down.add(daemon)
                problems.append(f"the daemon of {name} ended by itself with {process.returncode}")
        return problems

    def unsettled(self):
        """What is not as wished yet, or is there beside it."""
        for seen in self.cluster.datasets():
            dataset = seen["dataset_id"]
            if dataset in self.roaming:
                self.primaries[dataset] = seen["node"]
            if (seen["state"], seen["owner"], seen["node"], seen["node_live"]) != \
                    ("mounted", self.primaries[dataset], self.primaries[dataset], True):
                return f"{dataset}: {seen}"
        for node in self.cluster:
            wanted = {f"{node.root}/{d}" for d, n in self.owners().items() if n is node}
            found = {m.point for m in node.mounts()}
            if found != wanted or len(node.helpers()) != 1:
                return f"{node.name} has mounted {found} and not {wanted}, helpers {node.helpers()}"
        devices = self.cluster.devices()
        return len(devices) != len(self.datasets) and f"devices of volumes: {devices}"

    def settle(self):
        end = time.monotonic() + LIMIT_S
        self.cluster.wait_live()
        while what := self.unsettled():
            assert time.monotonic() < end, f"not as wished after {LIMIT_S} s: {what}"
            time.sleep(0.02)

    def wait_writers(self):
        """Until every dataset is written where it is wanted."""
        since = records.now_ns()
        for dataset, node in self.owners().items():
            self.writers.wait_written(dataset, [node], since)

    # ---- a round ----

    def move(self, dataset, node):
        self.client.insist("POST", f"/v1/configuration/datasets/{dataset}", {"primary": node.uuid})
        self.primaries[dataset] = node.uuid

    def note(self, text):
        """In every log, with the time, as the daemons tell none."""
        for daemon in (self.control, *self.cluster):
            with open(daemon.log_path, "a") as log:
                log.write(f"==== {records.now_ns() / 1e9:.2f} {text}\n")

    def suffer(self, plan):
        """From the first fault until all is mended."""
        if plan.under_way:
            self.move(plan.under_way, plan.destination)
            faults.wait_s(plan.lead_s)
        for fault, delay in zip(plan.faults, plan.delays):
            fault.begin()
            self.note(f"{fault} has begun")
            faults.wait_s(delay if len(plan.faults) > 1 else 0)
        for dataset, node in plan.moves.items():  # a user tries at once, whatever the answer
            self.client.ask("POST", f"/v1/configuration/datasets/{dataset}", {"primary": node.uuid})
        for fault in plan.faults:
            fault.hold()
        since = max(f.counted_from for f in plan.faults)
        for dataset, node in plan.moves.items():
            self.move(dataset, node)
        for dataset, node in plan.moves.items():
            self.writers.wait_written(dataset, [node], since)
        for dataset in plan.roaming:
            self.writers.wait_written(dataset, plan.living, since)
        for fault in plan.faults:
            fault.heal()
        self.note("all is mended")

    def measure(self, plan):
        since = max(f.counted_from for f in plan.faults)
        stopped, pause = [], 0.0
        for dataset in self.leased:
            acks = self.writers.acks(dataset)
            last = records.sessions(acks)[-1]
            if dataset == plan.under_way and dataset not in (*plan.moves, *plan.roaming):
                continue  # it stops by its move, whatever else happens
            if last[0] > since:
                stopped.append((last[0] - since) / 1e9)
            else:
                after = [a for a in acks if a.end > since]
                pause = max([pause, *((b.end - a.end) / 1e9 for a, b in zip(after, after[1:]))])
        self.times.add(plan, stopped, pause)
        return stopped

    def check(self):
        """What is wrong at the end of a round, when nobody writes."""
        problems = list(self.writers.problems)
        for dataset, node in self.owners().items():
            name = self.writers.file(self.writers.round)
            data = node.data(dataset, name).read_bytes()
            acks = self.writers.acks(dataset)
            problems += [f"{dataset} on {node.name}: {text}" for text in records.check(data, acks)]
            self.checked.setdefault(dataset, {})[name] = data
            problems += self.check_earlier(dataset, node)
        if len(records.sessions(self.writers.acks(self.manual))) != 1:
            problems.append(f"{self.manual} is manual and was stopped")
        for daemon in (self.control, *self.cluster):
            problems += [f"{daemon.log_path}: {line}" for line in daemon.log.splitlines() if BROKEN.search(line)]
        return problems + self.check_processes() + self.check_watcher()

    def check_earlier(self, dataset, node):
        files = self.checked[dataset]
        wrong = [f"{dataset} on {node.name}: {name} has changed since it was checked"
                 for name, data in files.items() if node.data(dataset, name).read_bytes() != data]
        while len(files) > KEPT:
            name = next(iter(files))
            del files[name]
            node.data(dataset, name).unlink()
        return wrong

    def check_processes(self):
        self.growth.look("flocker-control", self.control.process.pid)
        for node in self.cluster:
            self.growth.look(f"flocker-node {node.name}", node.process.pid)
            self.growth.look(f"flocker-fence {node.name}", node.helper())
        return list(self.growth.problems())

    def check_watcher(self):
        seen = self.cluster.stop_watching()
        self.cluster.watch()
        return seen["violations"] if seen["samples"] else ["the watcher saw nothing"]

    def round(self, number, kind=None):
        """One line of what happened; raises AssertionError with all that is wrong."""
        plan = Plan(self, number, kind)
        self.note(f"round {number}: {plan}")
        self.writers.begin(number)
        self.wait_writers()
        try:
            self.suffer(plan)
            self.settle()
            self.wait_writers()
            self.writers.pause()
            stopped = self.measure(plan)
            problems = self.check()
        except (AssertionError, OSError, http.client.HTTPException) as e:
            problems = [*self.writers.problems, str(e)]
        assert not problems, f"round {number}, seed {self.seed}, {plan}:\n" + "\n".join(problems)
        return f"round {number}: {plan}: {', '.join(f'{s:.2f} s' for s in stopped) or 'nothing stopped'}"

    def report(self):
        lines = self.times.table()
        lines.append(f"{self.killed_by_helper} daemons were ended by their fence helpers, with a step under way.")
        lines += [f"left out, as this kernel cannot: {kind.kind}" for kind in self.left_out]
        return "\n".join([*lines, *self.growth.table()])
