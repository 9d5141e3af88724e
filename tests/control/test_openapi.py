# SPDX-License-Identifier: Apache-2.0
"""control/openapi.json: it is well formed, it is what the server serves, and it lists what there is in the server's
sources and nothing else: routes, parameters, bodies, error codes, words and limits."""
import hashlib
import json
import pathlib
import re

import jsonschema
import pytest

import openapi
import rig

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC, REFUSED = openapi.SPEC, openapi.SPEC["components"]["responses"]["Refused"]
SCHEMAS = SPEC["components"]["schemas"]
SOURCES = {p.name: p.read_text() for folder in ("common", "control") for p in sorted((ROOT / folder).glob("*.[ch]"))}
MANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MKCOL")
# What an object of the document may have, and what it must: OpenAPI 3.1.0, section 4.8.
MAY = {
    "document": "openapi! info! jsonSchemaDialect servers paths! components security tags",
    "info": "title! version! summary description license",
    "path": "parameters get put post delete patch",
    "operation": "operationId! tags! summary! description parameters requestBody responses!",
    "parameter": "name! in! description required style explode schema! example",
    "body": "required! content! description",
    "response": "description! headers content x-statuses x-unread",
    "header": "description required schema!",
    "media": "schema! x-events",
}


def operations():
    for path, item in SPEC["paths"].items():
        for method in openapi.METHODS:
            if method in item:
                yield path, method, item[method]


def nodes(node, at="#"):
    """Every object of the document, with its pointer."""
    if isinstance(node, dict):
        yield at, node
        for key, value in node.items():
            yield from nodes(value, f"{at}/{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from nodes(value, f"{at}/{i}")


def schemas():
    """Every schema that stands alone, with where it is."""
    for name, schema in SCHEMAS.items():
        yield name, schema
    for at, node in nodes(SPEC["paths"]):
        if "schema" in node:
            yield at, node["schema"]
    for at, node in nodes({k: v for k, v in SPEC["components"].items() if k != "schemas"}):
        if "schema" in node:
            yield at, node["schema"]


def has_keys(kind, node, at):
    words = MAY[kind].split()
    assert node.keys() <= {w.rstrip("!") for w in words}, (kind, at, node.keys())
    assert {w[:-1] for w in words if w.endswith("!")} <= node.keys(), (kind, at, node.keys())
    return node


# ---- the document itself ----

def test_every_object_of_the_document_is_one_of_openapi():
    has_keys("document", SPEC, "#")
    has_keys("info", SPEC["info"], "#/info")
    assert re.fullmatch(r"3\.1\.\d+", SPEC["openapi"])
    for path, item in SPEC["paths"].items():
        has_keys("path", item, path)
    for path, method, op in operations():
        has_keys("operation", op, (path, method))
        if "requestBody" in op:
            check_content(has_keys("body", op["requestBody"], path), path)
        for p in map(openapi.resolve, op.get("parameters", []) + SPEC["paths"][path].get("parameters", [])):
            has_keys("parameter", p, (path, method))
            assert p["in"] in ("path", "query", "header") and (p["in"] == "path") == p.get("required", False), p
        assert "default" in op["responses"] and all(re.fullmatch("[1-5]..|default", s) for s in op["responses"])
        for response in map(openapi.resolve, op["responses"].values()):
            check_response(response, (path, method))
    for response in SPEC["components"]["responses"].values():
        check_response(response, response["description"])


def check_content(node, at):
    for media in node.get("content", {}).values():
        has_keys("media", media, at)


def check_response(response, at):
    assert has_keys("response", response, at)["description"].strip()
    check_content(response, at)
    for header in map(openapi.resolve, response.get("headers", {}).values()):
        has_keys("header", header, at)


def test_operations_are_told_apart_and_paths_name_their_parameters():
    ids = [op["operationId"] for _, _, op in operations()]
    assert len(set(ids)) == len(ids)
    tags = {t["name"] for t in SPEC["tags"]}
    assert {t for _, _, op in operations() for t in op["tags"]} == tags
    for path, method, op in operations():
        known = openapi.parameters(path, method)
        assert {n for kind, n in known if kind == "path"} == set(re.findall(r"\{(\w+)\}", path)), path


def test_every_reference_leads_somewhere_and_every_component_is_used():
    used = set()
    for _, node in nodes(SPEC):
        if isinstance(node.get("$ref"), str):
            assert openapi.RESOLVER.resolve(node["$ref"])[1]
            used.add(node["$ref"])
    for kind, members in SPEC["components"].items():
        for name in members:
            assert kind == "securitySchemes" or f"#/components/{kind}/{name}" in used, (kind, name)


def test_every_schema_is_one_and_its_examples_obey_it():
    for at, schema in schemas():
        jsonschema.Draft202012Validator.check_schema(schema)
        for _, node in nodes(schema):
            for example in node.get("examples", []) if isinstance(node.get("examples"), list) else []:
                assert not openapi.problem(node, example), (at, example)
    for _, node in nodes(SPEC):
        if "example" in node and "schema" in node:
            assert not openapi.problem(node["schema"], node["example"]), node


def is_closed(schema):
    return schema.get("additionalProperties", True) is not True or schema.get("unevaluatedProperties") is False


def test_nothing_undocumented_can_be_in_a_body():
    """Every object is closed, or is a piece of one that is."""
    pieces = {"DatasetMembers"}
    for name, schema in SCHEMAS.items():
        for at, node in nodes(schema, name):
            if node.get("type") == "object" and name not in pieces:
                assert is_closed(node), at
    for path, method, op in operations():
        for response in map(openapi.resolve, op["responses"].values()):
            for media in response.get("content", {}).values():
                rules = media["schema"].get("oneOf", [media["schema"]])
                assert all("$ref" in r or r["type"] == "string" for r in rules) or path == "/v2/openapi.json", path


# ---- the server's sources ----

ROW = re.compile(r'\{\s*(EVHTTP_REQ_\w+(?:\s*\|\s*EVHTTP_REQ_\w+)*)\s*,\s*"(/[^"]*)"\s*,\s*\w+'
                 r'(?:\s*,\s*(0|REST_\w+(?:\s*\|\s*REST_\w+)*))?(?:\s*,\s*(?:\.query\s*=\s*)?"([^"]*)")?\s*,?\s*\}')


def rows():
    """{(method, path with "*"): (flags, names of query parameters)} of all tables but v1's."""
    found = {}
    for name, text in SOURCES.items():
        if not name.startswith("rest"):
            continue
        plain = re.sub(r'"\s*\n\s*"', "", text)
        assert len(re.findall(r'\{\s*EVHTTP_REQ_\w+[^}]*"/', plain)) == len(ROW.findall(plain)), name
        for methods, path, flags, query in ROW.findall(plain):
            for method in re.findall(r"EVHTTP_REQ_(\w+)", methods):
                assert (method, path) not in found, path
                found[method, path] = (flags, set(query.split()))
    return {key: value for key, value in found.items() if not key[1].startswith("/v1/")}


def starred(path):
    return re.sub(r"\{\w+\}", "*", path)


def test_it_lists_every_route_of_the_server_and_no_other():
    assert {(method.upper(), starred(path)) for path, method, _ in operations()} == set(rows())


def test_every_table_of_routes_is_served():
    tables = {t for text in SOURCES.values() for t in re.findall(r"const struct rest_route (rest_\w+)\[\] = \{", text)}
    served = re.search(r"tables\[\] = \{([^}]*)\}", SOURCES["rest.c"])[1]
    assert tables == set(re.findall(r"rest_\w+", served))


def test_it_lists_every_parameter_and_body_that_a_route_takes():
    known = rows()
    for path, method, op in operations():
        flags, query = known[method.upper(), starred(path)]
        assert query == {n for kind, n in openapi.parameters(path, method) if kind == "query"}, (method, path)
        assert ("REST_READS_BODY" in flags) == ("requestBody" in op), (method, path)
        writes = method != "get"
        assert writes == ("403" in op["responses"]) == ("plan" in query), (method, path)


def codes():
    """{word: its statuses} as control/rest_code.c has them; v1 alone has tags."""
    text = SOURCES["rest_code.c"]
    found = {}
    for word, status in re.findall(r'\{ "([a-z-]+)", (\d+) \}', text):
        found.setdefault(word, set()).add(int(status))
    for status, word in re.findall(r'\{ (\d+), "([a-z-]+)" \}', text):
        found.setdefault(word, set()).add(int(status))
    found["bad-request"].add(408)  # of what the HTTP server itself refuses
    del found["tag"]
    return found


def documented_codes():
    found = {}

    def add(status, response):
        for media in response.get("content", {}).values():
            for word in media["schema"].get("properties", {}).get("code", {}).get("enum", ()):
                found.setdefault(word, set()).add(int(status))

    assert set(REFUSED["x-unread"]) == {400, 408, 413, 417, 431}

    for _, _, op in operations():
        for status, response in op["responses"].items():
            if status != "default":
                add(status, openapi.resolve(response))
    for word, statuses in REFUSED["x-statuses"].items():
        found.setdefault(word, set()).update(statuses)
    return found


def test_it_lists_every_error_code_with_its_status_and_no_other():
    assert documented_codes() == codes()
    assert set(SCHEMAS["Error"]["properties"]["code"]["enum"]) == set(codes())
    assert set(REFUSED["content"]["application/json"]["schema"]["oneOf"][0]["properties"]["code"]["enum"]) == \
        set(REFUSED["x-statuses"])


def test_every_error_code_is_said_somewhere():
    names = re.findall(r"\[(REST_[A-Z_]+)\] = \{", SOURCES["rest_code.c"])
    assert names
    elsewhere = "".join(text for name, text in SOURCES.items() if name not in ("rest_code.c", "rest_private.h"))
    for name in names:
        assert re.search(rf"\b{name}\b", elsewhere), name


def words(name):
    """Of an array of strings in the sources."""
    text = "".join(SOURCES.values())
    return re.findall(r'"([^"]+)"', re.search(rf"\b{name}\[\w*\] = \{{(.*?)\}}", text, re.S)[1])


def test_its_words_are_those_of_the_server():
    states = words("ds_states")
    assert SCHEMAS["DatasetState"]["enum"] == states
    assert SCHEMAS["Step"]["properties"]["state"]["enum"] == ["control", *states]
    until, = [p for p in SPEC["paths"]["/v2/datasets/{dataset_id}"]["get"]["parameters"] if p.get("name") == "until"]
    assert until["schema"]["enum"] == ["settled", *states]
    assert SCHEMAS["Filesystem"]["enum"] == words("fs_kinds")
    assert SCHEMAS["FailoverWish"]["properties"]["policy"]["enum"] == words("failover_kinds")
    assert SCHEMAS["Failover"]["properties"]["policy"]["enum"] == words("failover_kinds")
    assert SCHEMAS["Fence"]["properties"]["proof"]["enum"] == words("proof_kinds")[1:]
    assert SCHEMAS["LastError"]["properties"]["step"]["enum"] == words("ds_steps")
    assert SCHEMAS["DatasetMembers"]["properties"]["format_state"]["enum"] == words("format_states")
    assert SCHEMAS["Node"]["properties"]["state"]["enum"] == words("view_node_states")
    assert SCHEMAS["PlanStep"]["properties"]["step"]["enum"] == re.findall(
        r'"(\w+)"', re.search(r"plan_word_name.*?return|words\[\] = \{(.*?)\}", SOURCES["plan.c"], re.S)[1])
    assert set(openapi.Events.schemas) == {k + d for k in words("kinds") for d in ("", "-dropped")}


def constant(name):
    """Of a #define that is a number, or a shift or product of some."""
    text = re.search(rf"#define {name}\s+(.+?)\s*(?:/\*|$)", "".join(SOURCES.values()), re.M)[1]
    text = re.sub(r"UINT64_C\((\d+)\)|(\d+)[uUlL]+\b", lambda m: m[1] or m[2], text)
    text = re.sub(r"\b([A-Z][A-Z0-9_]+)\b", lambda m: str(constant(m[1])), text)
    assert re.fullmatch(r"[\d ()*<+-]+", text), (name, text)
    return eval(text)  # noqa: S307 - digits and operators


def test_its_limits_are_those_of_the_server():
    size, wish = SCHEMAS["Size"], SCHEMAS["FailoverWish"]["properties"]
    assert size["minimum"] == constant("DATASET_MINIMUM_SIZE")
    assert size["multipleOf"] == constant("DATASET_SIZE_UNIT")
    assert size["maximum"] == (1 << 63) - constant("DATASET_SIZE_UNIT")
    create = SCHEMAS["DatasetCreate"]
    assert create["properties"]["size"]["default"] == constant("DATASET_DEFAULT_SIZE")
    least = {k: eval(v.replace("MIB", str(constant("MIB")))) for k, v in re.findall(
        r"\[FS_(XFS|BTRFS)\] = (\d+ \* MIB)", SOURCES["types.c"])}
    for rule in create["allOf"]:
        kind = rule["if"]["properties"]["filesystem"]["const"]
        assert rule["then"]["properties"]["size"]["minimum"] == least.pop(kind.upper())
        assert f"{rule['then']['properties']['size']['minimum']}" in size["description"]
    assert not least
    assert (wish["term"]["minimum"], wish["term"]["maximum"]) == (
        constant("SCHEMA_TERM_MIN_S"), constant("SCHEMA_TERM_MAX_S"))
    assert SCHEMAS["FailoverTo"]["oneOf"][2]["maxItems"] == constant("SCHEMA_TEXT_MAX") // constant("ID128_TEXT")
    assert SCHEMAS["Name"]["maxLength"] == constant("SCHEMA_NAME_MAX")
    assert SCHEMAS["Metadata"]["maxProperties"] == constant("RECORD_METADATA_MAX")
    for name in ("Metadata", "MetadataPatch"):
        assert SCHEMAS[name]["additionalProperties"]["maxLength"] == constant("SCHEMA_TEXT_MAX")
    assert f"{{1,{constant('SCHEMA_TEXT_MAX')}}}" in SCHEMAS["MetadataKey"]["pattern"]
    assert SCHEMAS["LeaseTake"]["properties"]["seconds"]["maximum"] == constant("SCHEMA_LEASE_MAX_S")
    assert SCHEMAS["Error"]["properties"]["errors"]["maxItems"] == constant("SCHEMA_ERRORS_MAX")
    assert SCHEMAS["DatasetWithHistory"]["properties"]["history"]["maxItems"] == constant("HISTORY_STEPS_MAX")


def parameter(path, method, name):
    return next(p["schema"] for p in SPEC["paths"][path][method]["parameters"] if p.get("name") == name)


def test_the_limits_of_its_parameters_are_those_of_the_server():
    limit = parameter("/v2/datasets", "get", "limit")
    assert (limit["maximum"], limit["default"]) == (constant("LIMIT_MAX"), constant("LIMIT_DEFAULT"))
    assert SCHEMAS["DatasetList"]["properties"]["datasets"]["maxItems"] == constant("LIMIT_MAX")
    assert parameter("/v2/datasets/{dataset_id}", "get", "wait")["maximum"] == constant("WAIT_MAX_S")
    assert parameter("/v2/datasets/{dataset_id}", "delete", "undelete")["maximum"] == \
        constant("SCHEMA_UNDELETE_MAX_S")
    beat = parameter("/v2/events", "get", "heartbeat")
    assert (beat["maximum"], beat["default"]) == (constant("HEARTBEAT_MAX_S"), constant("HEARTBEAT_S"))
    for schema in (parameter("/v2/datasets", "post", "Idempotency-Key"),
                   SPEC["components"]["parameters"]["RequestId"]["schema"],
                   SPEC["components"]["headers"]["RequestId"]["schema"]):
        assert schema["maxLength"] == constant("REQUEST_ID_SIZE") - 1
    assert "[0-9a-f]{%d}" % (2 * constant("REST_ETAG_BYTES")) in SPEC["components"]["headers"]["ETag"]["schema"]["pattern"]


# ---- the server ----

def test_the_server_serves_this_document(control):
    answer = control.get("/v2/openapi.json")
    assert answer.text == (ROOT / "control" / "openapi.json").read_bytes()
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.text).hexdigest()[:32]}"'
    assert answer.json["info"]["version"] == control.get("/v1/version").json["flocker"]
    again = control.get("/v2/openapi.json", headers={"If-None-Match": f'"x", W/{answer.headers["ETag"]}'})
    assert again.status == 304 and "Content-Length" not in again.headers
    assert control.get("/v2/openapi.json", headers={"If-None-Match": '"x"'}).status == 200


def test_each_path_answers_to_its_methods_and_to_no_other(control):
    """rig's check() holds Allow against the document."""
    for path in SPEC["paths"]:
        concrete = re.sub(r"\{\w+\}", "11111111-1111-4111-8111-111111111111", path)
        for method in MANY:
            if concrete == "/v2/events" and method in ("GET", "HEAD"):
                continue  # does not end
            answer = control.call(method, concrete)
            known = openapi.operation(path, method) is not None
            assert (answer.status == 405) == (not known), (method, path, answer.status)


@pytest.mark.parametrize("method, path, headers, raw, status, code", [
    ("POST", "/v2/datasets", {}, b'"' + b"x" * (1 << 20) + b'"', 413, "too-large"),
    ("GET", "/v2/nothere", {}, None, 404, "not-found"), ("DELETE", "/nothere", {}, None, 404, None),
    ("PUT", "/metrics", {}, None, 405, None), ("GET", "/v2/datasets/%ff", {}, None, 400, "bad-request"),
    ("GET", "/v2/nodes?x=%ff", {}, None, 400, "bad-request"), ("GET", "/v2/nodes?x=1", {}, None, 400, "bad-request"),
    ("POST", "/v2/datasets", {}, b"{", 400, "bad-body"), ("POST", "/v2/datasets", {}, b"[]", 400, "bad-body"),
    ("GET", "/v2/nodes", {"X-Long": "x" * 20000}, None, 431, None), ("POST", "/v2/nodes", {"Expect": "tea"}, b"", 417, None),
], ids=lambda v: v if isinstance(v, str) else "")
def test_what_is_refused_before_it_is_looked_at_has_its_code(control, method, path, headers, raw, status, code):
    answer = control.call(method, path, headers=headers, raw=raw)
    assert (answer.status, answer.json.get("code")) == (status, code), answer.text


# ---- the checker ----

HEALTH = SCHEMAS["Health"]["examples"][0]
HEADERS = {"Content-Type": "application/json", "X-Request-Id": "a", "ETag": '"%032x"' % 0, "Date": "now"}


@pytest.mark.parametrize("status, headers, body", [
    (200, HEADERS, HEALTH | {"more": 1}), (200, HEADERS, {k: v for k, v in HEALTH.items() if k != "nodes"}),
    (200, HEADERS, HEALTH | {"ready": False}), (200, HEADERS, HEALTH | {"store": {"writable": True, "free": 1}}),
    (200, HEADERS | {"X-Other": "1"}, HEALTH), (200, HEADERS | {"Content-Type": "text/plain"}, HEALTH),
    (200, HEADERS | {"ETag": "x"}, HEALTH), (200, {k: v for k, v in HEADERS.items() if k != "ETag"}, HEALTH),
    (201, HEADERS, HEALTH), (204, {"X-Request-Id": "a"}, None), (404, HEADERS, {"description": "none"}),
    (400, HEADERS, {"code": "bad-request", "description": "nothing was wrong"}),
    (503, HEADERS, {"code": "internal", "description": "another status"}),
    (418, HEADERS, {"code": "internal", "description": "no such status"}),
])
def test_the_checker_finds_what_is_not_documented(status, headers, body):
    good = json.dumps(HEALTH).encode()
    openapi.check("GET", "/v2/health", {}, None, 200, HEADERS, good)
    with pytest.raises(openapi.Deviation):
        openapi.check("GET", "/v2/health", {}, None, status, headers, b"" if body is None else json.dumps(body).encode())


@pytest.mark.parametrize("method, target, body", [
    ("GET", "/v2/health?x=1", None), ("GET", "/v2/datasets?limit=0", None), ("GET", "/v2/datasets?limit=1001", None),
    ("GET", "/v2/datasets?limit=+1", None), ("GET", "/v2/datasets?state=mounted,happy", None),
    ("GET", "/v2/datasets?limit=1&limit=1", None), ("GET", "/v2/datasets?deleted=yes", None),
    ("PUT", f"/v2/leases/{rig.uuid.UUID(int=1)}", b'{"node": "x"}'), ("POST", "/v2/datasets", b"{"),
    ("POST", "/v2/datasets", b'{"size": 67108864.0}'), ("POST", "/v2/datasets", b'{"name": "a", "name": "b"}'),
    ("POST", "/v2/datasets", b'{"filesystem": "xfs", "size": 67108864}'), ("POST", "/v2/datasets", b'{"junk": 1}'),
    ("POST", "/v2/datasets", b'{"metadata": {"flocker:filesystem": "xfs"}}'),
])
def test_the_checker_knows_what_may_not_be_asked(method, target, body):
    path, _, query = target.partition("?")
    template, values = openapi.find(path)
    assert openapi.faults_of_request(template, method, values, query, {}, body)
