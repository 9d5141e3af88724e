#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Numbered, checksummed records: who writes them, and who says what is wrong with them.

    records.py NAME [nosync]   writes where it is told to, as a container called NAME

Commands come on standard input, one a line: "start FILE ACKNOWLEDGED SESSION" and "stop". FILE is in a
dataset and is only written while that is mounted; ACKNOWLEDGED is elsewhere and gets a line for each
record after its fsync. Answers go to standard output: "ended WHY" when it cannot go on, "stopped" to stop.
Times are of CLOCK_BOOTTIME, in ns. With "nosync" it acknowledges what it syncs much later, so that tests of
the checker have something to find.
"""
import collections
import errno
import os
import select
import sys
import time
import zlib

PACE_MS = 4
LATE = 200  # records: how much later "nosync" syncs
BODY = "%010d %-8s %020d"  # number, name of the writer, when it began to write this one
SIZE = len(BODY % (0, "", 0)) + 10  # and the checksum and the end of the line

Ack = collections.namedtuple("Ack", "number name session begin end")


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def pack(number, name, begin):
    body = (BODY % (number, name, begin)).encode()
    return b"%s %08x\n" % (body, zlib.crc32(body))


def unpack(data):
    """(number, name, begin); None when it is damaged."""
    try:
        number, name, begin, _ = data.decode("ascii").split()
        number, begin = int(number), int(begin)
    except ValueError:
        return None
    return (number, name, begin) if data == pack(number, name, begin) else None


# ---- the writer ----

class Writer:
    def __init__(self, name, sync=True):
        self.name, self.sync = name, sync
        self.fd = self.acks = -1

    def say(self, *words):
        os.write(1, (" ".join(words) + "\n").encode())

    def open(self, path, acks, session):
        self.close()
        self.session = session
        place = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            above = os.stat(os.path.dirname(os.path.dirname(path)))
            if os.fstat(place).st_dev == above.st_dev:
                raise OSError(errno.ENODEV, "not mounted")
            self.fd = os.open(os.path.basename(path), os.O_RDWR | os.O_CREAT | os.O_APPEND |
                              os.O_CLOEXEC, 0o600, dir_fd=place)
        finally:
            os.close(place)
        size = os.fstat(self.fd).st_size
        self.number = size // SIZE
        if size % SIZE:  # of a record that was never acknowledged
            os.truncate(self.fd, self.number * SIZE)
        self.acks = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self):
        for fd in (self.fd, self.acks):
            if fd >= 0:
                os.close(fd)
        self.fd = self.acks = -1

    def write(self):
        begin = now_ns()
        os.write(self.fd, pack(self.number, self.name, begin))
        if self.sync:
            os.fsync(self.fd)
        os.write(self.acks, b"%d %s %s %d %d\n" % (self.number, self.name.encode(),
                                                  self.session.encode(), begin, now_ns()))
        self.number += 1
        if not self.sync and self.number % LATE == 0:
            os.fsync(self.fd)  # long after it was said, and so that a dead filesystem is noticed

    def attempt(self, function, *arguments):
        try:
            function(*arguments)
        except OSError as e:
            self.close()
            self.say("ended", errno.errorcode[e.errno])

    def obey(self, words):
        if words[0] == "start":
            self.attempt(self.open, *words[1:])
        else:
            self.close()
            self.say("stopped")

    def run(self):
        commands = select.poll()
        commands.register(0, select.POLLIN)
        rest = b""
        while True:
            if commands.poll(PACE_MS if self.fd >= 0 else None):
                data = os.read(0, 4096)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.obey(line.decode().split())
            if self.fd >= 0:
                self.attempt(self.write)


# ---- the checker ----

def read_acks(path):
    try:
        with open(path, encoding="ascii") as f:
            lines = [line.split() for line in f.read().split("\n")[:-1]]
    except FileNotFoundError:
        return []
    return [Ack(int(n), name, session, int(begin), int(end)) for n, name, session, begin, end in lines]


def sessions(acks):
    """[(begin, end, name, session)] of the writers, by their beginning."""
    spans = {}
    for a in acks:
        begin, end = spans.get((a.name, a.session), (a.begin, a.end))
        spans[a.name, a.session] = min(begin, a.begin), max(end, a.end)
    return sorted((*span, *who) for who, span in spans.items())


def check(data, acks):
    """What is wrong with a file of records, given what was acknowledged: [text]."""
    wrong = []
    whole = len(data) - len(data) % SIZE  # a last one that is torn was not acknowledged, or is missed below
    found = [unpack(data[at:at + SIZE]) for at in range(0, whole, SIZE)]
    for place, one in enumerate(found):
        if one is None:
            wrong.append(f"the record at place {place} is damaged: {data[place * SIZE:][:SIZE]!r}")
        elif one[0] != place:
            wrong.append(f"at place {place} is record {one[0]}")
    for a in acks:
        if a.number >= len(found):
            wrong.append(f"lost: {a}, and the file ends after {len(found)} records")
        elif found[a.number] and found[a.number] != (a.number, a.name, a.begin):
            wrong.append(f"lost: {a}, in its place is {found[a.number]}")
    spans = sessions(acks)
    for one, next_ in zip(spans, spans[1:]):
        if one[1] > next_[0]:
            wrong.append(f"two writers at once: {one[2:]} until {one[1]}, {next_[2:]} from {next_[0]}")
    return wrong


if __name__ == "__main__":
    Writer(sys.argv[1], "nosync" not in sys.argv).run()
