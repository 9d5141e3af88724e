# SPDX-License-Identifier: Apache-2.0
"""REST v2's lists: filters, pages that hold while all around changes, and copies that are compared by their tag."""
import random
import threading
import uuid

import pytest
import rig

DATASETS = "/v2/datasets"
N1, N2 = "aaaaaaaa-0001-4000-8000-000000000001", "aaaaaaaa-0002-4000-8000-000000000002"


def make(control, **body):
    answer = control.post(DATASETS, {"node": None, **body})
    assert answer.status == 201, answer.text
    return answer.json["dataset_id"]


def ids(control, query):
    answer = control.get(f"{DATASETS}?{query}")
    assert answer.status == 200, answer.text
    return [d["dataset_id"] for d in answer.json["datasets"]]


def wrong(control, query):
    answer = control.get(f"{DATASETS}?{query}")
    assert (answer.status, answer.json["code"]) == (400, "bad-request"), answer.text
    return answer.json["errors"]


# ---- filters ----

def test_filters_pick(control):
    node = rig.Node(control, N1)
    node.join()
    db, web, gone, kept = (make(control, name=name) for name in ("db", "web", "gone", "kept"))
    there = make(control, node=N1)
    away = make(control, node=N2)
    node.mount(there)
    control.delete(f"{DATASETS}/{gone}")
    control.delete(f"{DATASETS}/{kept}?undelete=60")
    rig.wait_until("it is mounted", lambda: ids(control, "state=mounted") == [there])
    assert set(ids(control, "")) == {db, web, there, away, kept}
    assert set(ids(control, "deleted=true")) == {db, web, there, away, kept, gone}
    assert ids(control, "name=db") == [db] and ids(control, "name=gone") == []
    assert ids(control, "name=gone&deleted=true") == [gone]
    assert ids(control, f"node={N1}") == [there] == ids(control, f"owner={N1}")
    assert ids(control, f"node={N2}") == [away] and ids(control, f"owner={N2}") == []
    assert set(ids(control, "state=mounted,waiting")) == {db, web, there, away, kept}
    assert ids(control, f"state=mounted&node={N2}") == []
    control.call("PATCH", f"{DATASETS}/{there}", {"node": N2})
    assert ids(control, f"node={N1}") == [there]  # it still has it
    assert set(ids(control, f"node={N2}")) == {there, away}
    node.close()


def test_a_name_is_taken_as_it_is(control):
    names = ["a b", "a+b", "a&b=c", "\u00fcber", "a%20b", "#1"]
    made = {name: make(control, name=name) for name in names}
    for name, dataset in made.items():
        assert [d["dataset_id"] for d in control.every(name=name)] == [dataset]


@pytest.mark.parametrize("query, words", [
    ("nmae=db", "?nmae: there is no such parameter here; there are: name node owner state deleted limit after"),
    ("plan=true", "?plan: there is no such parameter"),
    ("limit=0", "?limit: must be a whole number from 1 to 1000"), ("limit=1001", "?limit: must be"),
    ("limit=+5", "?limit: must be"), ("limit=", "?limit: must be"), ("limit", "?limit: must be"),
    ("node=x", "?node: must be a UUID of 36 characters"), ("owner=", "?owner: must be a UUID"),
    ("state=gone", "?state: 'gone' is none; there are: waiting, detached,"), ("state=", "?state: '' is none"),
    ("state=mounted,,waiting", "?state: '' is none"), ("deleted=1", "?deleted: must be true or false"),
    ("after=x", '?after: must be the "next" of an earlier answer'), ("after=", "?after: must be"),
    (f"after=1.{N1}x", "?after: must be"), (f"after=-1.{N1}", "?after: must be"),
    (f"after=99999999999999999999.{N1}", "?after: must be"),
    ("limit=1&limit=1", "?limit: appears twice"), ("name=%ff", "?name: is not UTF-8"), ("%00=1", "?: is not UTF-8"),
    ("name=a%00b", "?name: is not UTF-8")])
def test_a_wrong_query_is_refused_by_its_parameter(control, query, words):
    assert wrong(control, query)[0].startswith(words)


def test_all_that_is_wrong_in_a_query_is_told(control):
    assert [e.split(":")[0] for e in wrong(control, "x=1&y=2&limit=5")] == ["?x", "?y"]
    assert [e.split(":")[0] for e in wrong(control, "limit=0&node=x&state=y")] == ["?node", "?state", "?limit"]


@pytest.mark.parametrize("path", ["/v2/nodes", "/v2/leases", "/v2/backends"])
def test_lists_without_parameters_say_so(control, path):
    answer = control.get(path + "?limit=5")
    assert (answer.status, answer.json["code"]) == (400, "bad-request")
    assert answer.json["errors"] == ["?limit: there is no such parameter here; there is none"]


def test_v1_goes_on_without_looking_at_parameters(control):
    assert control.get("/v1/configuration/datasets?limit=0&x=%ff").status == 200


# ---- pages ----

def pages(control, limit, between=lambda: None, **query):
    """The ids of each page."""
    found, after = [], ""
    while after is not None:
        text = "&".join([f"limit={limit}", *(f"{k}={v}" for k, v in query.items()), *([after] if after else [])])
        answer = control.get(f"{DATASETS}?{text}")
        assert answer.status == 200, answer.text
        found.append([d["dataset_id"] for d in answer.json["datasets"]])
        after = answer.json["next"] and "after=" + answer.json["next"]
        between()
    return found


def test_a_list_comes_in_pages_of_the_wished_size(control):
    made = [make(control) for _ in range(25)]
    assert [len(page) for page in pages(control, 10)] == [10, 10, 5]
    assert [len(page) for page in pages(control, 25)] == [25]  # nothing is announced that is not there
    assert sum(pages(control, 7), []) == sum(pages(control, 25), [])
    assert set(sum(pages(control, 1), [])) == set(made)
    assert len(ids(control, "")) == 25


def test_the_order_is_that_of_age_and_then_of_ids(control):
    for _ in range(12):
        make(control)
    every = control.every()
    assert every == sorted(every, key=lambda d: (d["created_at"], d["dataset_id"]))
    control.kill()
    control.hang_up()
    control.start()
    assert [d["dataset_id"] for d in control.every()] == [d["dataset_id"] for d in every]


def test_a_filter_goes_over_pages(control):
    made = [make(control, metadata={"name": "even"} if n == 6 else {}) for n in range(12)]
    assert sum(pages(control, 2, name="even"), []) == [made[6]]


def test_a_cursor_holds_though_its_dataset_is_gone(control):
    made = sorted(make(control) for _ in range(6))
    answer = control.get(f"{DATASETS}?limit=3")
    control.delete(f"{DATASETS}/{answer.json['datasets'][2]['dataset_id']}")
    rest = ids(control, f"limit=10&after={answer.json['next']}")
    assert [d["dataset_id"] for d in answer.json["datasets"]] + rest == ids(control, "deleted=true")
    assert sorted(ids(control, "deleted=true")) == made
    far = f"99999999999.{uuid.uuid4()}"
    assert ids(control, f"after={far}") == [] and ids(control, f"after=0.{uuid.uuid4()}") == ids(control, "")


def test_what_is_there_all_the_time_is_told_once_while_others_come_and_go(control):
    stay = {make(control) for _ in range(60)}
    come, end, problems = [], threading.Event(), []

    def churn():
        rng = random.Random(7)
        try:
            while not end.is_set():
                if come and rng.random() < 0.5:
                    control.delete(f"{DATASETS}/{come.pop(rng.randrange(len(come)))}")
                else:
                    come.append(make(control))
        except Exception as e:  # noqa: B902 - told below
            problems.append(e)
    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for limit in (1, 3, 10, 7, 1):
            seen = sum(pages(control, limit), [])
            assert len(seen) == len(set(seen))
            assert stay <= set(seen)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert not problems


def test_pages_go_on_over_a_crash(control):
    stay = [make(control) for _ in range(9)]

    def crash():
        control.kill()
        control.hang_up()
        control.start()
    seen = sum(pages(control, 4, between=crash), [])
    assert sorted(seen) == sorted(stay)


# ---- copies ----

@pytest.mark.parametrize("path", [DATASETS, f"{DATASETS}?limit=1", f"{DATASETS}/one", "/v2/leases", "/v2/backends"])
def test_an_unchanged_answer_is_not_sent_again(control, path):
    made = [make(control) for _ in range(2)]
    path = path.replace("one", made[0])
    first = control.get(path)
    tag = first.headers["ETag"]
    assert first.status == 200 and tag.startswith('"' if made[0] in path else 'W/"') and tag.endswith('"')
    strong = tag.removeprefix("W/")
    for value in (tag, strong, f'"x", {tag}', f"W/{strong}", "*"):
        again = control.get(path, headers={"If-None-Match": value})
        assert (again.status, again.text, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Content-Length"] is None
    assert control.get(path, headers={"If-None-Match": '"other"'}).text == first.text


def test_a_change_makes_another_tag(control):
    dataset = make(control, name="db")
    tags = {control.get(path).headers["ETag"] for path in (DATASETS, f"{DATASETS}/{dataset}")}
    control.call("PATCH", f"{DATASETS}/{dataset}", {"name": "web"})
    for path in (DATASETS, f"{DATASETS}/{dataset}"):
        for tag in tags:
            assert control.get(path, headers={"If-None-Match": tag}).status == 200


@pytest.mark.parametrize("path", [f"{DATASETS}?name=db", "/v2/leases", "/v2/backends", "/v2/nodes"])
def test_what_changes_elsewhere_leaves_a_list_its_tag(control, path):
    make(control, name="db")
    tag, revision = control.get(path).headers["ETag"], control.get(path).json["revision"]
    make(control, name="web")
    assert control.get(path, headers={"If-None-Match": tag}).status == 304
    assert control.get(path).json["revision"] != revision


def test_nodes_have_their_tag_until_more_than_their_silence_changes(control):
    node = rig.Node(control, N1)
    node.join()
    paths = ["/v2/nodes", f"/v2/nodes/{N1}"]
    tags = {path: control.get(path).headers["ETag"] for path in paths}

    def silent_s():
        return control.get(paths[1]).json["silent_s"]
    before = silent_s()
    rig.wait_until("it is silent for longer", lambda: silent_s() > before)
    for path in paths:
        assert control.get(path, headers={"If-None-Match": tags[path]}).status == 304
    node.close()
    rig.wait_until("it is away", lambda: not control.get(paths[1]).json["live"])
    for path in paths:
        assert control.get(path, headers={"If-None-Match": tags[path]}).status == 200


def test_a_tag_is_of_what_is_read_and_not_of_writes_or_errors(control):
    answer = control.post(DATASETS, {"node": None}, headers={"If-None-Match": "*"})
    assert (answer.status, answer.headers["ETag"]) == (201, None)
    assert control.get(f"{DATASETS}/{uuid.uuid4()}", headers={"If-None-Match": "*"}).status == 404
    assert control.get("/v1/configuration/datasets").headers["ETag"] is None


@pytest.mark.parametrize("path", [DATASETS, f"{DATASETS}/one", "/v2/nodes", "/v2/leases", "/v2/backends"])
def test_head_answers_as_get_without_the_body(control, path):
    path = path.replace("one", make(control))
    got, head = control.get(path), control.call("HEAD", path)
    assert (head.status, head.text, head.headers["ETag"]) == (200, b"", got.headers["ETag"])
    assert head.headers["Content-Length"] == str(len(got.text))
    assert control.call("HEAD", path, headers={"If-None-Match": got.headers["ETag"]}).status == 304
    assert control.call("HEAD", f"{DATASETS}/{uuid.uuid4()}").status == 404
