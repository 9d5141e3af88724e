# SPDX-License-Identifier: Apache-2.0
"""What a request led to is found by its id, in the log of control and of every node that had to do with it."""
import re

PATH = "/v1/configuration/datasets"


def steps(log, dataset):
    """(from, to, request) of each line about a change of state."""
    pattern = rf"dataset {dataset}: ([a-z]+) -> ([a-z]+)(?:: .*?)?(?: \[request ([^ ]+)\])?$"
    return re.findall(pattern, log, re.M)


def test_the_lines_about_the_steps_name_the_request_that_asked_for_them(cluster):
    here, there = cluster
    answer = cluster.control.post(PATH, {"primary": here.uuid, "maximum_size": 64 << 20},
                                  headers={"X-Request-Id": "make-1"})
    dataset = answer.json["dataset_id"]
    cluster.wait_mounted(dataset, here)
    made = steps(here.log, dataset)
    assert {"attaching", "mounting", "mounted"} <= {to for _, to, _ in made}
    assert {request for _, _, request in made} == {"make-1"}

    cluster.control.post(f"{PATH}/{dataset}", {"primary": there.uuid}, headers={"X-Request-Id": "move-2"})
    cluster.wait_mounted(dataset, there)
    moved = steps(here.log, dataset)[len(made):]
    assert {"unmounting", "released"} <= {to for _, to, _ in moved}
    assert {request for _, _, request in moved + steps(there.log, dataset)} == {"move-2"}
    assert re.search(rf"dataset {dataset}: mounted on node {there.uuid}.*\[request move-2\]$", cluster.control.log, re.M)
    assert re.search(rf"dataset {dataset}: wanted on node {there.uuid} \[request move-2\]$", cluster.control.log, re.M)

    own = cluster.control.delete(f"{PATH}/{dataset}").headers["X-Request-Id"]
    cluster.wait_destroyed(dataset)
    assert {request for _, _, request in steps(there.log, dataset)} == {"move-2", own}
