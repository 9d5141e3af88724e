# SPDX-License-Identifier: Apache-2.0
"""control/openapi.json at work: is this request, and is this answer, what the document says? Whoever asks a
control service in a test hands both to check(); what is not documented fails the test."""
import decimal
import functools
import json
import pathlib
import re
import urllib.parse

import jsonschema

SPEC = json.loads((pathlib.Path(__file__).resolve().parents[2] / "control" / "openapi.json").read_text())
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
V1 = re.compile(r"/+v1(/|$)")  # has its own document
OF_HTTP = {"date", "connection", "content-length", "content-type", "transfer-encoding"}
RESOLVER = jsonschema.RefResolver("", SPEC)


class Deviation(AssertionError):
    """What was seen and what the document says differ."""


def require(condition, *what):
    if not condition:
        raise Deviation(" ".join(str(w) for w in what))


def resolve(node):
    while "$ref" in node and len(node) == 1:
        node = RESOLVER.resolve(node["$ref"])[1]
    return node


def problem(schema, value):
    """The first violation, or None."""
    for error in jsonschema.Draft202012Validator(schema, resolver=RESOLVER).iter_errors(value):
        return f"{list(error.absolute_path)}: {error.message}"[:600]
    return None


def no_twins(pairs):
    require(len({k for k, _ in pairs}) == len(pairs), "a member stands twice:", [k for k, _ in pairs])
    return dict(pairs)


def no_constant(text):
    raise ValueError(text)


def parse(text):
    """A number with a fraction or an exponent is no integer, whatever its value is."""
    return json.loads(text, object_pairs_hook=no_twins, parse_constant=no_constant, parse_float=decimal.Decimal)


def check_texts(value):
    """What JSON can write and the server does not read: half a surrogate, U+0000."""
    if isinstance(value, str):
        value.encode()
        require("\0" not in value, "U+0000")
    elif isinstance(value, (dict, list)):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            check_texts(part)


# ---- what is asked ----

@functools.lru_cache(None)
def patterns():
    return [(re.compile("/+".join(re.escape(part) if not part.startswith("{") else f"(?P<{part[1:-1]}>[^/]+)"
                                  for part in path.split("/")) + r"\Z"), path) for path in SPEC["paths"]]


def find(path):
    """(template, values of its parameters), or (None, {})."""
    for pattern, template in patterns():
        match = pattern.match(path)
        if match:
            return template, {k: urllib.parse.unquote(v) for k, v in match.groupdict().items()}
    return None, {}


def operation(template, method):
    return SPEC["paths"][template].get("get" if method == "HEAD" else method.lower())


def parameters(template, method):
    """{(in, name): the parameter}"""
    item = SPEC["paths"][template]
    every = [resolve(p) for p in item.get("parameters", []) + operation(template, method).get("parameters", [])]
    return {(p["in"], p["name"]): p for p in every}


def typed(schema, text):
    """The text of a parameter as the value that its schema is about; the text itself when it is none."""
    schema = resolve(schema)
    if schema.get("type") == "array":
        return text.split(",")
    if schema.get("type") == "integer" and re.fullmatch("[0-9]+", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text) if schema.get("type") == "boolean" else text


def faults_of_query(known, query):
    found, seen = [], set()
    try:
        given = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="strict")
        check_texts([text for pair in given for text in pair])
    except (ValueError, Deviation):
        return ["? is no text"]
    for name, value in given:
        parameter = known.get(("query", name))
        if not parameter or name in seen:
            found.append(f"?{name}: {'twice' if parameter else 'unknown'}")
        elif problem(parameter["schema"], typed(parameter["schema"], value)):
            found.append(f"?{name}: {value}")
        seen.add(name)
    return found


def faults_of_body(op, body):
    content = op.get("requestBody", {}).get("content")
    if not content:
        return []
    try:
        value = parse((body or b"").decode())
        check_texts(value)
        found = problem(content["application/json"]["schema"], value)
    except (ValueError, Deviation, RecursionError) as e:
        found = f"no JSON: {e}"
    return [f"body: {found}"] if found else []


def faults_of_request(template, method, values, query, headers, body):
    """What of it is not as the document says, but for headers that are taken as not given then."""
    known, op = parameters(template, method), operation(template, method)
    found = [f"path: {name}" for name, value in values.items() if problem(known["path", name]["schema"], value)]
    if template.startswith("/v2/"):
        found += faults_of_query(known, query)
    for name, value in headers.items():
        if name.lower() in ("idempotency-key", "last-event-id") and \
                problem(known.get(("header", name), {}).get("schema", True), value):
            found.append(f"header: {name}")
    return found + faults_of_body(op, body)


# ---- what is answered ----

def check_headers(documented, headers, where):
    given = {name.lower(): value for name, value in headers.items()}
    documented = {name.lower(): resolve(h) for name, h in documented.items()}
    require(given.keys() <= documented.keys() | OF_HTTP, where, "undocumented headers", given.keys() - documented.keys() - OF_HTTP)
    for name, header in documented.items():
        require(name in given or not header.get("required"), where, "lacks the header", name)
        if name in given:
            found = problem(header["schema"], given[name])
            require(not found, where, f"header {name}:", found)


@functools.lru_cache(4096)
def check_text(pointer, kind, text):
    """Bodies come again and again while a test waits: each is looked at once."""
    schema = RESOLVER.resolve(pointer)[1]
    if kind.startswith("application/json"):
        found = problem(schema, parse(text))
        require(not found, found, "in", text[:2000])
        require(text.isascii(), "not ASCII:", text[:2000])
    else:
        require(not problem(schema, text.decode()), "not", schema, text[:200])


def pointer_of(template, method, status, kind):
    op = operation(template, method)
    status = str(status) if str(status) in op["responses"] else "default"
    name = "get" if method == "HEAD" else method.lower()
    pointer = f"#/paths/{template.replace('~', '~0').replace('/', '~1')}/{name}/responses/{status}"
    node = op["responses"][status]
    if "$ref" in node:
        pointer = node["$ref"]
    return f"{pointer}/content/{kind.replace('~', '~0').replace('/', '~1')}/schema"


def check_refusal(status, headers, kind, body, where, codes):
    """One that any request may meet: of this status and one of these codes; without a code outside of /v2."""
    response = SPEC["components"]["responses"]["Refused"]
    check_headers(response["headers"], headers, where)
    if body is None:
        return
    require(kind == "application/json", where, "is of type", kind)
    check_text("#/components/responses/Refused/content/application~1json/schema", kind, body)
    code = parse(body).get("code")
    if code is None:
        require(status in response["x-unread"] or not where.split(" ")[1].startswith("/v2/"), where, "has no code")
        return
    require(code in codes and status in response["x-statuses"][code], where, f"code '{code}' is not of this status")


def check_answer(template, method, status, headers, body, where):
    responses = operation(template, method)["responses"]
    kind = headers.get("Content-Type")
    unread = status in SPEC["components"]["responses"]["Refused"]["x-unread"] and kind == "application/json" and \
        body is not None and b'"code"' not in body
    if str(status) not in responses or unread:
        check_refusal(status, headers, kind, body, where, SPEC["components"]["responses"]["Refused"]["x-statuses"])
        return
    response = resolve(responses[str(status)])
    check_headers(response.get("headers", {}), headers, where)
    if "content" not in response:
        require(not body and kind is None, where, "has a body of type", kind)
        return
    require(kind in response["content"], where, f"is of type '{kind}', not of {list(response['content'])}")
    if body is not None and "event-stream" not in kind:
        check_text(pointer_of(template, method, status, kind), kind, body)


def check(method, target, request_headers, request_body, status, headers, body):
    """One request and its answer. Header names of both may be in any case; @body: bytes, or None when it was not
    read. Answers of v1 are left alone, and those to what has no readable first line."""
    path, _, query = target.partition("?")
    if V1.match(path):
        return
    path = "/" + path.lstrip("/")
    where = f"{method} {path}?{query} -> {status}"
    headers = {name.title() if name.lower() != "etag" else "ETag": value for name, value in headers.items()}
    body = None if method == "HEAD" else body
    template, values = find(path)
    try:
        if not template:
            check_refusal(status, headers, headers.get("Content-Type"), body, where,
                          {"not-found", "viewer", "cross-site", "bad-request", "too-large", "stopping"})
        elif not operation(template, method):
            check_refusal(status, headers, headers.get("Content-Type"), body, where,
                          {"method", "viewer", "cross-site", "bad-request", "too-large", "stopping"})
            allowed = {m.upper() for m in SPEC["paths"][template] if m in METHODS}
            allowed |= {"HEAD"} if "GET" in allowed else set()
            require(status != 405 or set(headers["Allow"].split(", ")) == allowed, where, "allows",
                    headers.get("Allow"), "and not", allowed)
        else:
            check_answer(template, method, status, headers, body, where)
            check_verdict(template, method, values, query, request_headers or {}, request_body, status, body, where)
    except (Deviation, ValueError, KeyError) as e:
        raise Deviation(f"{where}: {e!r}\n{(body or b'')[:2000]}") from e


# Rules that JSON Schema cannot say, by the words of their refusal.
BEYOND = re.compile("levels|is said twice|than 16 keys|at most 16 keys|cannot be grown|goes with wait|"
                    '"next" of an earlier|is no revision')


def check_verdict(template, method, values, query, request_headers, request_body, status, body, where):
    """What the document forbids is not taken, and what it allows is not called wrong."""
    faults = faults_of_request(template, method, values, query, request_headers, request_body)
    if faults:
        require(status >= 400, where, "was taken in spite of", faults)
    elif status == 400 and body and "code" in parse(body):
        error = parse(body)
        require(BEYOND.search(" ".join([error["description"], *error.get("errors", [])])), where,
                "was refused although it is as documented")


class Events:
    """What a stream of events says: hand it each event."""
    schemas = {name: s["$ref"] for name, s in SPEC["paths"]["/v2/events"]["get"]["responses"]["200"]["content"][
        "text/event-stream"]["x-events"].items()}

    @classmethod
    def check(cls, event, data, identity):
        require(event in cls.schemas, "an event of no documented kind:", event)
        require(not problem({"$ref": "#/components/schemas/Revision"}, identity), "no revision:", identity)
        check_text(cls.schemas[event], "application/json", data if isinstance(data, bytes) else data.encode())
