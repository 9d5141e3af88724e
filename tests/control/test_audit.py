# SPDX-License-Identifier: Apache-2.0
"""Every answer has an id, and every write a line in the log that says who asked for what, and what came of it."""
import re
import uuid

import rig

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
DATASETS = "/v1/configuration/datasets"


def audit_lines(control, request):
    return [line for line in control.log.splitlines()
            if line.startswith("<5>") and "audit: " in line and line.endswith(f"[request {request}]")]


def audited(control, answer):
    """The one line of this answer's request."""
    line, = rig.wait_until("the line is there",
                           lambda: audit_lines(control, answer.headers["X-Request-Id"]))
    return line


def test_every_answer_has_an_id_of_its_own(control):
    answers = [control.get("/v1/version"), control.get("/nothere"), control.call("PATCH", "/v1/version"),
               control.post(DATASETS, raw=b"{"), control.post(DATASETS, {"primary": N1}),
               control.call("HEAD", "/v1/version"), control.get("/v1/version", headers={"X": "x" * 20000})]
    assert [a.status for a in answers] == [200, 404, 405, 400, 201, 200, 431]
    ids = [a.headers["X-Request-Id"] for a in answers]
    assert len(set(ids)) == len(ids) and all(uuid.UUID(i).version == 4 for i in ids)


def test_the_clients_id_is_taken_where_it_has_the_form(control):
    for given in ("a", "Deploy_7.1-b", "x" * 64):
        assert control.get("/v1/version", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given
    for given in ("", "x" * 65, "two words", "a/b", "\u00e9"):
        assert control.get("/v1/version", headers={"X-Request-Id": given}).headers["X-Request-Id"] != given


def test_a_write_says_who_asked_for_what_and_what_it_changed(control):
    serial = re.search("serial=(.*)", rig.subprocess.run(
        ["openssl", "x509", "-in", control.authority.user[0], "-noout", "-serial"], check=True,
        capture_output=True, text=True).stdout)[1]
    answer = control.post(DATASETS, {"primary": N1, "maximum_size": 1 << 30, "metadata": {"a": "b"}})
    dataset = answer.json["dataset_id"]
    line = audited(control, answer)
    found = re.search(r"audit: user-alice \(serial (\w+)\): POST /v1/configuration/datasets: done \(201\): ", line)
    assert found and int(found[1], 16) == int(serial, 16)
    assert f"dataset {dataset}: " in line
    assert f"created, primary {N1}, maximum_size {1 << 30}, filesystem ext4, failover manual, 1 metadata" in line
    path = f"{DATASETS}/{dataset}"
    assert f"POST {path}: done (200): primary {N1} -> {N2}" in audited(control, control.post(path, {"primary": N2}))
    assert "nothing to change" in audited(control, control.post(path, {"primary": N2}))
    answer = control.call("PATCH", f"/v2/datasets/{dataset}", {"failover": {"policy": "lease", "term": 9}})
    assert "failover manual -> lease of 9 s" in audited(control, answer)
    assert "deleted false -> true" in audited(control, control.delete(path))
    assert "nothing to change" in audited(control, control.delete(path))


def test_leases_and_what_operators_say_of_nodes_are_in_the_audit(control):
    dataset = control.create(N1)
    leases = "/v1/configuration/leases"
    for body, words in (({"expires": 60}, "for 60.000 s"), ({"expires": None}, "without end")):
        line = audited(control, control.post(leases, {"dataset_id": dataset, "node_uuid": N1, **body}))
        assert f"dataset {dataset}: " in line and f"leased for node {N1}, {words}" in line
    assert "refused (409): Lease already held." in audited(
        control, control.post(leases, {"dataset_id": dataset, "node_uuid": N2, "expires": 1}))
    assert f"lease for node {N1} released" in audited(control, control.delete(f"{leases}/{dataset}"))
    node = rig.Node(control, N1)
    node.join()
    node.close()
    rig.wait_until("it is away", lambda: not control.get("/v2/nodes").json["nodes"][0]["live"])
    line = audited(control, control.post(f"/v2/nodes/{N1}/fence", {"accept_risk": True}))
    assert f"node {N1}: " in line and "done (200): fenced by an operator's word" in line


def test_writes_of_v2_say_what_they_change(control):
    node = rig.Node(control, N1)
    node.join()
    answer = control.post("/v2/datasets", {"name": "db", "size": 1 << 28, "metadata": {"team": "a"}})
    assert f"created, primary {N1} (chosen), name db, maximum_size {1 << 28}, " in audited(control, answer)
    dataset = answer.json["dataset_id"]
    path = f"/v2/datasets/{dataset}"
    for method, where, body, words in (
            ("PATCH", path, {"name": "web", "node": None, "size": 1 << 29, "metadata": {"team": None, "key": "secret"}},
             f"primary {N1} -> none, size {1 << 28} -> {1 << 29}, name db -> web, metadata key added, "
             "metadata team removed"),
            ("PATCH", path, {"name": None}, "name web -> none"), ("PATCH", path, {}, "nothing to change"),
            ("PATCH", path + "?plan=true", {"name": "db"}, "nothing was changed: a plan was asked for"),
            ("PUT", f"/v2/leases/{dataset}", {"node": N1, "seconds": 60}, f"leased for node {N1}, for 60 s"),
            ("PUT", f"/v2/leases/{dataset}", {"node": N1}, f"leased for node {N1}, without end"),
            ("PUT", f"/v2/leases/{dataset}", {"node": N2}, "refused (409): Dataset"),
            ("DELETE", f"/v2/leases/{dataset}", None, f"lease for node {N1} released"),
            ("DELETE", path + "?undelete=60", None, "deleted false -> true, kept until none -> 2"),
            ("POST", path + "/undelete", None, "deleted true -> false, kept until 2"),
            ("DELETE", path + "?undelete=60", None, "deleted false -> true"),
            ("POST", path + "/purge", None, "kept until 2"),
            ("POST", path + "/undelete", None, "refused (409): Dataset"),
            ("POST", f"/v2/nodes/{N1}/drain", None, "it drains: its datasets go elsewhere"),
            ("POST", f"/v2/nodes/{N1}/undrain", None, "it drains no more"),
            ("POST", f"/v2/nodes/{N1}/replace", None, "refused (409): Node"),
            ("POST", "/v2/datasets", {"size": 1}, "refused (400): ")):
        answer = control.call(method, where, body)
        line = audited(control, answer)
        assert words in line and "secret" not in line, (method, where, line)
        assert (f"node {N1}: " if "/nodes/" in where else f"dataset {dataset}: ") in line or answer.status >= 400
    node.close()


def test_a_create_that_is_said_again_says_so(control):
    for words in ("created, primary none, ", "made before with this Idempotency-Key: dataset "):
        assert words in audited(control, control.post("/v2/datasets", {"node": None}, headers={"Idempotency-Key": "k"}))


def test_refused_writes_say_why(control):
    missing = f"{DATASETS}/{uuid.uuid4()}"
    for answer, words in (
            (control.post(DATASETS, {"primary": "x"}), r"refused \(400\): .*schema. /primary: must be"),
            (control.post(DATASETS, raw=b'{"primary": tru}'), r"refused \(400\): .*/primary: no JSON value at byte 12"),
            (control.delete(missing), rf"DELETE {missing}: refused \(404\): Dataset not found."),
            (control.call("PUT", DATASETS), r"PUT .*: refused \(405\)"),
            (control.post(DATASETS, {"primary": N1}, headers={"X-If-Configuration-Matches": "x"}), r"refused \(412\)"),
            (control.post(DATASETS, raw=b" " * (1 << 21)), r"refused \(413\)")):
        assert re.search(words, audited(control, answer)), answer.text
        control.hang_up()


def test_what_only_looks_is_not_in_the_audit(control):
    for path in ("/v1/version", DATASETS, "/nothere"):
        control.get(path)
        control.call("HEAD", path)
    answer = control.post(DATASETS, {"primary": N1})
    audited(control, answer)
    assert control.log.count("audit: ") == 1


def test_the_request_travels_to_the_node_and_stays_over_a_restart(control):
    answer = control.post(DATASETS, {"primary": N1}, headers={"X-Request-Id": "deploy-7"})
    dataset = answer.json["dataset_id"]
    node = rig.Node(control, N1)
    node.join()
    order = node.take_wish(dataset, "hold")
    assert order["request"] == "deploy-7"
    assert control.get(f"/v2/datasets/{dataset}").json["request"] == "deploy-7"
    node.report("status", order, "attaching")
    control.wait_log(rf"dataset {dataset}: attaching on node {N1}.* \[request deploy-7\]")
    node.close()
    control.hang_up()
    assert control.stop() == 0
    control.start()
    node = rig.Node(control, N1, host=node.host)
    node.join()
    assert node.take_wish(dataset, "hold")["request"] == "deploy-7"
    control.post(f"{DATASETS}/{dataset}", {"primary": N2}, headers={"X-Request-Id": "move-8"})
    assert node.take_wish(dataset, "release")["request"] == "move-8"
    node.close()
