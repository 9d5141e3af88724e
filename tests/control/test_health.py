# SPDX-License-Identifier: Apache-2.0
"""GET /v2/health and GET /metrics: what monitors decide by."""
import datetime
import http.client
import os
import re
import signal
import ssl
import time

import pytest

import openapi
import prometheus
import rig

N1, N2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
EXPIRY = "flocker_control_certificate_expiry_timestamp_seconds"
REQUESTS = "flocker_control_http_requests_total"
COMMITS = "flocker_control_commits_total"


def metrics(control):
    answer = control.get("/metrics")
    assert (answer.status, answer.type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return prometheus.Metrics(answer.text)


def health(control, status=200):
    answer = control.get("/v2/health")
    assert answer.status == status, answer.text
    assert answer.json["ready"] == (status == 200) == (answer.json["reasons"] == [])
    return answer.json


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_service_that_works_is_ready_and_says_who_it_is(control):
    node = rig.Node(control, N1)
    node.join()
    gone = rig.Node(control, N2)
    gone.join()
    gone.close()
    seen = rig.wait_until("one node is left", lambda: (
        h := health(control))["nodes"] == {"live": 1, "known": 2} and h)
    assert seen["live"] and seen["store"] == {"writable": True} and seen["incarnation"] == 1
    assert seen["version"] == control.get("/v1/version").json["flocker"]
    own, authority = seen["certificates"]
    assert (own["file"], own["name"]) == ("control-service.crt", "control-service")
    assert own["serial"] == rig.serial_of(control.authority.control[0])
    assert (authority["file"], authority["name"]) == ("cluster.crt", "test")
    assert authority["serial"] == rig.serial_of(control.authority.ca)
    node.close()


def ask_without_looking(control, path):
    """Of a server whose certificate a client would refuse by its date."""
    context = rig.client_context(control.authority, control.authority.user)
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", control.port, timeout=rig.LIMIT_S, context=context)
    connection.request("GET", path)
    answer = rig.Answer(connection.getresponse())
    connection.close()
    openapi.check("GET", path, {}, None, answer.status, answer.headers, answer.text)
    return answer


@pytest.mark.parametrize("days, warning", [(45, None), (29, "expires within 29 days"), (1, "expires within 1 day:"),
                                           (-1, "has expired")])
def test_a_certificate_near_its_end_is_a_warning_and_no_reason(authority, tmp_path, days, warning):
    control = rig.Control(authority, tmp_path)
    pair = authority.issue("control-service", "subjectAltName=DNS:control-service,IP:127.0.0.1",
                           file=f"health-{days}", days=days)
    for source, name in zip(pair, ("control-service.crt", "control-service.key")):
        (control.certs / name).write_bytes(source.read_bytes())
    control.start()
    answer = ask_without_looking(control, "/v2/health")
    assert answer.status == 200 and answer.json["ready"]
    own, ca = answer.json["certificates"]
    assert (own["warning"] is None) == (warning is None) and (warning or "") in (own["warning"] or "")
    assert ca["warning"] is None
    end = moment(own["expires"])
    assert abs(end - time.time() - days * 86400) < 600
    seen = prometheus.Metrics(ask_without_looking(control, "/metrics").text)
    assert seen.value(EXPIRY, file="control-service.crt") == end
    assert seen.value(EXPIRY, file="cluster.crt") == moment(ca["expires"])
    control.end()


@pytest.mark.parametrize("ends, warning", [("20450101000000Z", None), ("20260102000000Z", "should have been replaced")])
def test_a_list_of_revoked_certificates_has_an_end_too(authority, tmp_path, ends, warning):
    control = rig.Control(authority, tmp_path)
    (control.certs / "cluster.crl").write_text(authority.revocations(authority.issue("user-mallory"), ends=ends))
    control.start()
    *_, listed = health(control)["certificates"]
    assert (listed["file"], listed["name"], listed["serial"]) == ("cluster.crl", "test", None)
    assert moment(listed["expires"]) == metrics(control).value(EXPIRY, file="cluster.crl")
    assert (warning or "") in (listed["warning"] or "") and (listed["warning"] is None) == (warning is None)
    control.end()


def test_a_store_that_cannot_be_written_is_told_until_it_can_be_again(small):
    small.start()
    before = metrics(small)
    assert before.value("flocker_control_ready") == before.value("flocker_control_store_writable") == 1
    rig.fill(small.data / "ballast")
    for _ in range(400):  # the log has some room left
        if small.post("/v1/configuration/datasets", {"primary": N1, "metadata": {"k": "v" * 256}}).status == 503:
            break
    seen = health(small, 503)
    assert seen["live"] and seen["store"] == {"writable": False}
    reason, = seen["reasons"]
    assert "store cannot be written (No space left on device)" in reason
    during = metrics(small)
    assert during.value("flocker_control_ready") == during.value("flocker_control_store_writable") == 0
    assert during.value(COMMITS, result="failed") >= 1
    (small.data / "ballast").unlink()
    # Nobody writes: a service that is asked before it is given work has to find out by itself.
    rig.wait_until("it is ready again", lambda: small.get("/v2/health").status == 200)
    assert metrics(small).value("flocker_control_ready") == 1


def test_a_store_that_is_too_old_is_a_reason(control):
    node = rig.Node(control)
    node.hello(incarnation=7)
    node.take("bye")
    reason, = health(control, 503)["reasons"]
    assert "flocker-control recover" in reason
    assert metrics(control).value("flocker_control_ready") == 0


def test_a_service_that_stops_says_so_on_connections_that_stand(control):
    node = rig.Node(control, N1)
    node.join()
    dataset = control.create(N1, metadata={"flocker:failover": "lease"})
    node.mount(dataset)  # a term to extend: the stop waits for the node's word
    connection = control.connect()
    connection.request("GET", "/v2/health")
    assert rig.Answer(connection.getresponse()).status == 200
    control.process.send_signal(signal.SIGTERM)
    control.wait_log("stopping; nodes keep what they have")
    connection.request("GET", "/v2/health")
    answer = rig.Answer(connection.getresponse())
    assert answer.status == 503 and answer.json["reasons"] == ["The control service stops."]
    openapi.check("GET", "/v2/health", {}, None, answer.status, answer.headers, answer.text)
    assert control.process.wait(rig.LIMIT_S) == 0


def test_datasets_nodes_and_leases_are_counted_by_their_states(control):
    node = rig.Node(control, N1)
    node.join()
    mounted, waiting = control.create(N1), control.create(N2)
    node.mount(mounted)
    control.post("/v1/configuration/leases", {"dataset_id": waiting, "node_uuid": N2, "expires": None})
    seen = rig.wait_until("one is mounted", lambda: (
        m := metrics(control)).value("flocker_control_datasets", state="mounted") == 1 and m)
    assert seen.value("flocker_control_datasets", state="waiting") == 1
    assert sum(v for k, v in seen.families["flocker_control_datasets"]["samples"].items()) == 2
    assert seen.value("flocker_control_datasets_wanted", wanted="mounted") == 2
    assert seen.value("flocker_control_nodes", state="live") == seen.value("flocker_control_node_sessions") == 1
    assert seen.value("flocker_control_leases") == 1
    control.delete(f"/v1/configuration/datasets/{waiting}")
    node.close()
    seen = rig.wait_until("the node is away", lambda: (
        m := metrics(control)).value("flocker_control_nodes", state="away") == 1 and m)
    assert seen.value("flocker_control_node_sessions") == 0
    assert seen.value("flocker_control_datasets_wanted", wanted="deleted") == 1


def test_requests_and_commits_are_counted_and_timed(control):
    before = metrics(control)
    for _ in range(7):
        control.create(N1)
    control.get("/nothere")
    control.call("MKCOL", "/v1/version")
    control.call("HEAD", "/v1/version")
    after = metrics(control)

    def grown(family, name=None, **labels):
        return after.value(family, name, **labels) - before.value(family, name, **labels)

    assert grown(REQUESTS, method="POST", status="2xx") == 7
    assert grown(REQUESTS, method="GET", status="4xx") == grown(REQUESTS, method="HEAD", status="2xx") == 1
    assert grown(REQUESTS, method="other", status="4xx") == 1
    assert grown(REQUESTS, method="GET", status="2xx") == 1  # the first look; this one is not answered yet
    duration = "flocker_control_http_request_duration_seconds"
    assert grown(duration, duration + "_count") == 11
    assert 0 < grown(duration, duration + "_sum") < 11 * rig.LIMIT_S
    assert grown(COMMITS, result="durable") == 7 and grown(COMMITS, result="failed") == 0
    commit = "flocker_control_commit_duration_seconds"
    assert grown(commit, commit + "_count") == 7 and grown(commit, commit + "_sum") > 0


def test_what_clients_and_nodes_choose_makes_no_series(control):
    before = metrics(control).series()
    for i in range(20):
        control.create(N1, metadata={"name": f"n{i}"})
        control.get(f"/nothere/{i}")
        control.call(f"VERB{i}", "/v1/version")
        rig.Node(control).join()
    assert metrics(control).series() == before


def test_the_process_is_described(control):
    seen = metrics(control)
    pid = control.process.pid
    assert seen.value("process_open_fds") == pytest.approx(len(os.listdir(f"/proc/{pid}/fd")), abs=2)
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{pid}/status").read())[1]) * 1024
    assert resident / 2 < seen.value("process_resident_memory_bytes") < resident * 2
    assert abs(seen.value("process_start_time_seconds") - time.time()) < 600
    assert seen.value("flocker_control_build_info", version=control.get("/v1/version").json["flocker"]) == 1
