# SPDX-License-Identifier: Apache-2.0
"""Very many watchers: what they cost, and that each of them hears of each change."""
import os
import pathlib
import subprocess
import sys
import time
import uuid

import pytest

import rig
from watch import fill


def sanitized():
    with open(os.environ["FLOCKER_CONTROL"], "rb") as program:
        return b"__asan_init" in program.read()


WATCHERS = 1000 if sanitized() else 2000 if os.environ.get("FLOCKER_QUICK") else 10000
PROCESSES = 2


class Crowd:
    def __init__(self, control, count):
        self.control = control
        crt, key = control.authority.user
        self.processes = [subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("watchers.py")), str(control.port),
             str(control.authority.ca), str(crt), str(key), str(count // PROCESSES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]

    def hear(self):
        return [p.stdout.readline().split() for p in self.processes]

    def tell(self, word):
        for p in self.processes:
            p.stdin.write(word + "\n")
            p.stdin.flush()

    def end(self):
        for p in self.processes:
            p.stdin.close()
            p.wait(rig.LIMIT_S)
            p.stdout.close()


@pytest.fixture
def crowd(bare):
    made = []

    def make(count):
        made.append(Crowd(bare, count))
        return made[-1]

    yield make
    for one in made:
        one.end()


def resident_kib(control):
    with open(f"/proc/{control.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def cpu_s(control):
    with open(f"/proc/{control.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ten_thousand_watchers_cost_memory_and_no_time_and_hear_of_each_change(bare, crowd):
    bare.start("--event-memory", "1048576")
    bare.create(str(uuid.uuid4()))
    before, began = resident_kib(bare), time.monotonic()
    watchers = crowd(WATCHERS)
    assert watchers.hear() == [["connected"]] * PROCESSES
    each = (resident_kib(bare) - before) / WATCHERS
    print(f"\n{WATCHERS} watchers within {time.monotonic() - began:.1f} s, {each:.1f} KiB each", flush=True)
    idle_s, spent = time.monotonic(), cpu_s(bare)
    time.sleep(5)  # a measurement, not a wait
    idle_s, spent = time.monotonic() - idle_s, cpu_s(bare) - spent
    print(f"while nothing happens: {100 * spent / idle_s:.1f} % of a processor", flush=True)
    assert sanitized() or spent / idle_s < 0.05
    slowest = spent = 0
    for i in range(3):
        word, used = f"change-{i}", cpu_s(bare)
        watchers.tell(word)
        bare.create(str(uuid.uuid4()), metadata={"word": word})
        said = watchers.hear()
        assert [s[:2] for s in said] == [["seen", word]] * PROCESSES, said
        slowest = max(slowest, *(float(s[2]) for s in said))
        spent = max(spent, cpu_s(bare) - used)
    print(f"one change reaches all within {slowest:.3f} s, and costs {spent:.2f} s of a processor", flush=True)
    # The log is bounded, and so is what is kept for them while they are sent what it holds.
    fill(bare, str(uuid.uuid4()), 40, size=250)
    word = "the-last"
    watchers.tell(word)
    bare.create(str(uuid.uuid4()), metadata={"word": word})
    assert [s[:2] for s in watchers.hear()] == [["seen", word]] * PROCESSES
    after = (resident_kib(bare) - before) / WATCHERS
    print(f"after a burst: {after:.1f} KiB each", flush=True)
    assert sanitized() or (each < 64 and after < 96)
    assert bare.get("/v2/nodes").status == 200
