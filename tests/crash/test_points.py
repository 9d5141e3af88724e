# SPDX-License-Identifier: Apache-2.0
"""Whatever a daemon was doing, it may die, or a call may fail, and all comes to its end as wished.

A run without disturbance tells how many points a daemon has; then each case disturbs one. Whatever it
was: the daemon is started anew if it died, and all is as wished, with the data, formatted once, and
nothing of it left over.
"""
import pytest

from matrix import Matrix


@pytest.mark.parametrize("what, victim", [
    ("create", "control"), ("create", "here"), ("move", "control"), ("move", "here"),
    ("move", "there"), ("delete", "control"), ("delete", "here"), ("start", "control"),
    ("start", "here"), ("boot", "here")])
def test_each_point_can_be_the_last_or_fail(disturbed, what, victim):
    Matrix(*disturbed).take_all(what, victim)


@pytest.mark.parametrize("victim", ["control", "here"])
def test_a_growth_comes_to_its_end_whatever_dies_or_fails(disturbed, victim):
    """Both halves. xfs, since to resize an ext4 needs a capability that is not there on every machine."""
    matrix = Matrix(*disturbed)
    matrix.fs = "xfs"
    matrix.take_all("grow", victim)
