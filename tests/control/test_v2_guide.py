# SPDX-License-Identifier: Apache-2.0
"""docs/api-v2.md: its examples are run as they stand there, and answer as they stand there; its tables name what there
is."""
import pathlib
import re
import shutil
import subprocess

import pytest

import fleet
import openapi
import prometheus
import rig

GUIDE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "api-v2.md").read_text()
ELSEWHERE = "https://control.example.com:4523"


def examples():
    """[(command, the lines that it prints)] in their order."""
    found = []
    for line in GUIDE.splitlines():
        if line.startswith("    $ "):
            found.append((line[6:], []))
        elif line.startswith("    ") and found and found[-1][1] is not None:
            found[-1][1].append(line[4:])
        elif found:
            found.append(("", None))
    return [(command, lines) for command, lines in found if command]


def matches(shown, printed):
    """"..." stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, printed, re.S)


@pytest.fixture
def directory(control, tmp_path):
    for name, source in (("cluster.crt", control.authority.ca), ("user.crt", control.authority.user[0]),
                         ("user.key", control.authority.user[1])):
        shutil.copy(source, tmp_path / name)
    return tmp_path


def test_its_examples_answer_as_they_stand_there(control, directory, authority):
    if not shutil.which("curl"):
        pytest.skip("the program curl is missing")
    node = rig.uuid.uuid4()
    nodes = fleet.Fleet(control, {str(node): authority.node(str(node))}, 6).start()
    nodes.wait_welcomed(1)
    script, every = "set -euo pipefail\n", examples()
    for i, (command, lines) in enumerate(every):
        command = command.replace(ELSEWHERE, f"https://127.0.0.1:{control.port}")
        script += f"{{\n{command}\n}} {f'>{i}.out' if lines else ''}\n"
    run = subprocess.run(["bash", "-c", script], cwd=directory, capture_output=True, text=True, timeout=rig.LIMIT_S * 3)
    nodes.end()
    assert run.returncode == 0 and len(every) > 20, run.stderr
    for i, (command, lines) in enumerate(every):
        if lines:
            printed = (directory / f"{i}.out").read_text().rstrip("\n ")
            assert matches("\n".join(lines), printed), f"{command}\n{lines}\n{printed}"


def table(heading):
    """First cells of the rows of a section's table, as sets of words in backticks."""
    section = GUIDE[GUIDE.index(f"## {heading}\n"):]
    section = section[:section.index("\n## ")] if "\n## " in section else section
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in section.splitlines() if row.startswith("| `")]


def test_it_names_every_code_with_its_status():
    named = {word for row in table("Errors") for word in row}
    assert named == set(openapi.SPEC["components"]["schemas"]["Error"]["properties"]["code"]["enum"])


def test_it_names_every_figure_and_no_other(control):
    families = prometheus.Metrics(control.get("/metrics").text).families
    named = {word for row in table("Metrics") for word in row} - {"process_*"}
    assert named == {name for name in families if not name.startswith("process_")}
    assert any(name.startswith("process_") for name in families)
