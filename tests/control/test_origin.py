# SPDX-License-Identifier: Apache-2.0
"""A browser shows a user's certificate for whatever page asks: what other sites' pages send changes nothing."""
import pytest

NODE = "33333333-3333-4333-8333-333333333333"


@pytest.mark.parametrize("headers, status", [
    ({}, 201),
    ({"Origin": "https://127.0.0.1:{port}"}, 201),
    ({"Origin": "https://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, 201),
    ({"Sec-Fetch-Site": "none"}, 201),
    ({"Origin": "http://127.0.0.1:{port}"}, 403),
    ({"Origin": "https://127.0.0.1:1"}, 403),
    ({"Origin": "null"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
])
def test_only_the_servers_own_page_may_write(control, headers, status):
    headers = {k: v.format(port=control.port) for k, v in headers.items()}
    answer = control.post("/v1/configuration/datasets", {"primary": NODE}, headers=headers)
    assert answer.status == status, answer.text
    assert len(control.get("/v1/configuration/datasets").json) == (1 if status == 201 else 0)
    assert control.get("/v1/configuration/datasets", headers=headers).status == 200


def test_the_refusal_has_a_word_of_its_own(control):
    answer = control.post("/v2/datasets", {"node": None}, headers={"Origin": "https://elsewhere.example"})
    assert (answer.status, answer.json["code"]) == (403, "cross-site")
    assert control.get("/v2/datasets").json["datasets"] == []
