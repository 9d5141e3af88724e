# SPDX-License-Identifier: Apache-2.0
"""The checker of the soak has to be able to fail."""
import pytest

import records
from records import Ack


def story(*writers):
    """(data, acks) of writers who follow each other: (name, how many records)."""
    data, acks, at = b"", [], 1000
    for session, (name, count) in enumerate(writers):
        for _ in range(count):
            number = len(acks)
            data += records.pack(number, name, at)
            acks.append(Ack(number, name, str(session), at, at + 5))
            at += 10
    return data, acks


def cut(data, number, by=b""):
    return data[:number * records.SIZE] + by + data[(number + 1) * records.SIZE:]


def test_what_is_right_is_right():
    data, acks = story(("n1", 3), ("n2", 4), ("n1", 1))
    assert records.check(data, acks) == []
    assert records.check(data, acks[:-1]) == []  # written, and not acknowledged
    assert records.check(data + data[:20], acks) == []  # the beginning of one more
    assert [s[2] for s in records.sessions(acks)] == ["n1", "n2", "n1"]
    assert records.check(b"", []) == []


@pytest.mark.parametrize("spoil,words", [
    (lambda d: d[:-records.SIZE], "lost: Ack(number=6"),
    (lambda d: d[:-3], "lost: Ack(number=6"),
    (lambda d: cut(d, 2), "at place 2 is record 3"),
    (lambda d: cut(d, 2, b"\0" * records.SIZE), "place 2 is damaged"),
    (lambda d: d.replace(b"n2", b"n3", 1), "place 3 is damaged"),
    (lambda d: cut(d, 4, records.pack(4, "n1", 5)), "lost: Ack(number=4"),
    (lambda d: d[records.SIZE:2 * records.SIZE] + d[:records.SIZE] + d[2 * records.SIZE:],
     "at place 0 is record 1"),
], ids=["lost", "torn", "left out", "zeros", "changed", "replaced", "out of order"])
def test_a_spoilt_file_is_told(spoil, words):
    data, acks = story(("n1", 3), ("n2", 4))
    assert any(words in text for text in records.check(spoil(data), acks))


def test_two_writers_at_once_are_told():
    data, acks = story(("n1", 3), ("n2", 4))
    late = acks[2]._replace(end=acks[3].begin + 1)
    assert "two writers at once" in records.check(data, [*acks[:2], late, *acks[3:]])[0]


def test_a_record_acknowledged_by_two_is_told():
    data, acks = story(("n1", 3), ("n2", 4))
    again = acks[1]._replace(name="n2", session="9", begin=5000, end=5005)
    assert any("lost" in text for text in records.check(data, [*acks, again]))
