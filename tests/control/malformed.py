# SPDX-License-Identifier: Apache-2.0
"""Requests that are wrong: made from valid ones, each under its own seed.

Four kinds: bodies that are no JSON or not of the schema; wrong parameters; heads and framings that are no HTTP; and whatever
a few changed bytes make of a request that is refused anyway, since nothing of its name is there."""
import json
import random
import re

DATASETS = "/v1/configuration/datasets"
NOWHERE = "deadbeef-dead-4ead-8ead-deadbeefdead"
NODE = "11111111-1111-4111-8111-111111111111"
PRESENT = "22222222-2222-4222-8222-222222222222"  # the test makes it

HUGE = ["1" * 400, "-" + "9" * 100, "1e999999999", "-0.0", "9223372036854775808", "67108865", "1.5", "-1", "0"]
NOT_UTF8 = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80"]


class Request:
    def __init__(self, raw, kind, closes=False, pointer=None):
        self.raw, self.kind = raw, kind
        self.closes = closes    # it may be anything, also the beginning of more: sent on a connection of its own
        self.pointer = pointer  # the errors of its answer begin with one

    def __repr__(self):
        return f"{self.kind}: {self.raw[:2000]!r}"


def head(method, path, headers=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: control", "Content-Type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def with_body(method, path, body):
    return head(method, path, [f"Content-Length: {len(body)}"]) + body


def valid_create(rng):
    body = {"primary": NODE, "dataset_id": NOWHERE}
    if rng.random() < 0.5:
        body["maximum_size"] = rng.choice([67108864, 1 << 30, None])
    if rng.random() < 0.7:
        body["metadata"] = {f"key {i}": "v\u00e9" * rng.randrange(9) for i in range(rng.randrange(1, 9))}
    return body


def valid_create_v2(rng):
    body = {"node": NODE, "name": "n\u00e9", "metadata": {"key": "v"}, "dataset_id": NOWHERE}
    if rng.random() < 0.5:
        body["size"] = rng.choice([67108864, 1 << 30])
    if rng.random() < 0.5:
        body["failover"] = {"policy": "lease", "term": 60, "to": rng.choice(["any", [NODE], None])}
    return body


def valid_patch(rng):
    return {"node": rng.choice([NODE, None]), "metadata": {"key": None}, "size": 1 << 30,
            "failover": {"policy": "manual"}}


def targets(rng):
    """Where a body goes, how, and a valid one."""
    return rng.choice([
        ("POST", DATASETS, valid_create(rng)),
        ("POST", f"{DATASETS}/{NOWHERE}", {"primary": NODE}),
        ("POST", "/v2/datasets", valid_create_v2(rng)),
        ("PATCH", f"/v2/datasets/{PRESENT}", valid_patch(rng)),
        ("PUT", f"/v2/leases/{PRESENT}", {"node": NODE, "seconds": 60}),
        ("POST", f"/v2/nodes/{NOWHERE}/fence", {"accept_risk": True}),
    ])


# ---- bodies of another schema ----

def values_of(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from values_of(inner, path + (key,))


def put(body, path, value):
    if not path:
        return value
    place = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return body


def wrong_schema(rng):
    path, body = DATASETS, valid_create(rng)
    what = rng.randrange(8)
    if what == 0:  # another type
        place = rng.choice(list(values_of(body)))
        wrong = [[], [[]], True, 1.5, -1] + ([None] if place != ("maximum_size",) else [])
        body = put(body, place, rng.choice(wrong))
    elif what == 1:
        body[rng.choice(["", "Primary", "primary ", "deleted", "a/b", "~", "\u202e", "x" * 5000])] = NODE
    elif what == 2:
        del body["primary"]
    elif what == 3:
        body["primary"] = rng.choice(["", NODE[:-1], NODE + "0", NODE.replace("4", "1"), "{" + NODE + "}",
                                      NODE.replace("-", ""), "\u0661" * 36])
    elif what == 4:
        body["metadata"] = {str(i): "" for i in range(rng.randrange(17, 60))}
    elif what == 5:
        body["metadata"] = {"k" * rng.choice([0, 257, 9000]): ""}
    elif what == 6:
        body["metadata"] = {"k": "\U0001d11e" * rng.choice([257, 5000])}
    else:
        text = json.dumps({**body, "maximum_size": 123454321}).replace("123454321", rng.choice(HUGE))
        return Request(with_body("POST", path, text.encode()), "schema", pointer=True)
    return Request(with_body("POST", path, json.dumps(body).encode()), "schema", pointer=True)


def wrong_schema_v2(rng):
    method, path, body = rng.choice([("POST", "/v2/datasets", valid_create_v2(rng)),
                                     ("PATCH", f"/v2/datasets/{PRESENT}", valid_patch(rng)),
                                     ("PUT", f"/v2/leases/{PRESENT}", {"node": NODE, "seconds": 60})])
    what = rng.randrange(6)
    if what == 0:
        place = rng.choice(list(values_of(body)))
        body = put(body, place, rng.choice([[], [[]], True, 1.5, -1, {"x": {}}]))
    elif what == 1:
        body[rng.choice(["", "Node", "node ", "primary", "a/b", "~", "\u202e", "x" * 5000])] = NODE
    elif what == 2:
        body["node"] = rng.choice(["", NODE[:-1], NODE + "0", NODE.replace("4", "1"), "{" + NODE + "}", "\u0661" * 36])
    elif what == 3 and method != "PUT":
        body["metadata"] = rng.choice([{"k" * rng.choice([257, 9000]): ""}, {"": ""}, {"k": "\U0001d11e" * 257}, {"k": 7},
                                       {"flocker:term": "6"}, {"name": "a\x1b[31m"}])
    elif what == 4 and method != "PUT":
        body["failover"] = rng.choice([{"policy": "soon"}, {"term": 1}, {"to": []}, {"to": ["x"] * 9}, {"x" * 3000: 1}])
    else:
        number = "size" if method != "PUT" else "seconds"
        wrong = [h for h in HUGE if number == "size" or h not in ("67108865",)]
        text = json.dumps({**body, number: 123454321}).replace("123454321", rng.choice(wrong))
        return Request(with_body(method, path, text.encode()), "schema", pointer=True)
    return Request(with_body(method, path, json.dumps(body).encode()), "schema", pointer=True)


# ---- what stands behind "?" ----

def wrong_query(rng):
    """Of a list, and of writes, which then do nothing."""
    method, path = rng.choice([("GET", "/v2/datasets"), ("DELETE", f"/v2/datasets/{PRESENT}"), ("GET", "/v2/nodes"),
                               ("GET", f"/v2/datasets/{PRESENT}"), ("DELETE", f"/v2/leases/{PRESENT}")])
    query = rng.choice(["nothing", "x=1", "limit=", "%ff=1", "plan=maybe", "plan=true&plan=true", "%00", "=1",
                        "undelete=-1&limit=-1", "wait=0x1&limit=0x1&plan=0x1", "\u00e9".encode().hex(),
                        "y" * rng.choice([100, 9000]), "&".join(f"p{i}={i}" for i in range(rng.choice([9, 900]))),
                        "after=" + "1" * 400 + "&nothing=1", "name=%e2%82&name=%zz&nothing"])
    return Request(head(method, f"{path}?{query}"), "query")


# ---- bodies that are no JSON ----

def no_json(rng):
    method, path, body = targets(rng)
    text = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode()
    inside = rng.choice([i + 1 for i in range(1, len(text)) if text[i] == ord('"') and text[i - 1] in b"{ "])
    what = rng.randrange(10)
    if what == 0:
        text = text[:rng.randrange(len(text))]
    elif what == 1:
        text += rng.choice([b"{}", b"x", b"\x00", b",", text, b"]"])
    elif what == 2:
        text = text[:inside] + rng.choice(NOT_UTF8 + [b"\x00", b"\n", b"\x1f", b"\\x", b"\\u12", b"\\u0000",
                                                     b"\\ud800", b"\\udc00\\ud800"]) + text[inside:]
    elif what == 3:
        key = rng.choice(list(body))
        text = text[:-1] + b", " + json.dumps({key: body[key]}).encode()[1:]
    elif what == 4:
        depth = rng.choice([33, 1000, 200000])
        opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
        text = opening * depth + b"1" + closing * depth
    elif what == 5:
        text = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"//x\n", b"\x0b", b"\xc2\xa0"]) + text
    elif what == 6:
        text = text.replace(b'"', b"'")
    elif what == 7:
        text = text[:-1] + b', "a": ' + rng.choice([b"01", b".5", b"1.", b"+1", b"NaN", b"Infinity", b"0x10",
                                                    b"1e", b"--1", b"tru", b"nulL", b"undefined"]) + b"}"
    elif what == 8:
        text = text.replace(rng.choice([b":", b"{", b"}"]), rng.choice([b"", b";"]), 1)
    else:
        text = text[:-1] + b",}"
    if len(text) > 1 << 20:
        return Request(with_body(method, path, text), "large", closes=True)
    return Request(with_body(method, path, text), "json", pointer=True)


# ---- what is no HTTP ----

def bad_head(rng):
    body = json.dumps({"primary": NODE}).encode()
    path = f"{DATASETS}/{NOWHERE}"
    good = with_body("POST", path, body)
    first, rest = good.split(b"\r\n", 1)
    what = rng.randrange(14)
    if what == 0:
        first = rng.choice([b"", b" ", b"POST", b"POST " + path.encode(), first + b" ", first.replace(b" ", b"  ", 1),
                            b"\x16\x03\x01", first.replace(b"1.1", b"2.0"), first.replace(b"HTTP", b"http"),
                            first.replace(b"POST", b"P(ST"), first.replace(b"POST", b"X" * 40),
                            first.replace(b"/v1", b"/\x00v1"), first.replace(b"/v1", b"/\xffv1"),
                            first.replace(b" /", b"\t/")]) or b"\x01"
    elif what == 1:
        rest = rng.choice([b"no colon", b"name : x", b": x", b" folded", b"a\x00b: x", b"a: \x00", b"a: \x7f",
                           b"a: x\ry", b"\xc3\xa9: x", b"a b: c"]) + b"\r\n" + rest
    elif what == 2:
        rest = b"Content-Length: %d\r\n" % len(body) + rest
    elif what == 3:
        rest = b"Transfer-Encoding: chunked\r\n" + rest
    elif what == 4:
        rest = rest.replace(b"Content-Length: ", b"Content-Length: " + rng.choice([b"-", b"+", b"0x", b"1,", b"x "]))
    elif what == 5:
        rest = rest.replace(b"Content-Length: ", b"Content-Length: " + b"9" * rng.choice([9, 30, 500]))
    elif what == 6:
        rest = rest.replace(b"Host: control", b"Transfer-Encoding: " + rng.choice([b"gzip", b"identity", b"x"]))
        rest = rest.replace(b"Content-Length", b"X")
    elif what == 7:
        rest = b"Host: again\r\n" + rest
    elif what == 8:
        rest = b"Expect: " + rng.choice([b"", b"200-ok", b"100-continue, x"]) + b"\r\n" + rest
    elif what == 9:
        rest = b"X: y\r\n" * rng.choice([101, 400]) + rest
    elif what == 10:
        rest = b"X: " + b"y" * rng.choice([17000, 60000]) + b"\r\n" + rest
    elif what == 11:
        rest = rest.replace(b"\r\n", b"\n", 1)
    elif what == 12:
        return Request(head("POST", "/" + "y" * rng.choice([17000, 100000])), "head", closes=True)
    else:
        chunks = rng.choice([b"x\r\n", b"-1\r\n", b"\r\n", b"5\nhello", b"1\r\nab\r\n0\r\n\r\n", b"fffffffffffffffff\r\n",
                             b"ffffffff\r\n", b"1;" + b"x" * 300 + b"\r\n", b"0\r\n" + b"X: y\r\n" * 3000])
        return Request(head("POST", path, ["Transfer-Encoding: chunked"]) + chunks, "chunks", closes=True)
    return Request(first + b"\r\n" + rest, "head", closes=True)


# ---- a few bytes ----

def changed_bytes(rng):
    """Of requests about what is not there: they are refused whatever a byte makes of them. No change takes
    so much away that the path would become another's."""
    raw = rng.choice([
        with_body("POST", f"{DATASETS}/{NOWHERE}", json.dumps({"primary": NODE}).encode()),
        with_body("PATCH", f"/v2/datasets/{NOWHERE}", b'{"failover": {"policy": "lease", "term": 6}}'),
        with_body("POST", f"/v2/nodes/{NOWHERE}/fence", b'{"accept_risk": true}'),
        head("DELETE", f"{DATASETS}/{NOWHERE}"),
        head("GET", f"/v2/datasets/{NOWHERE}"),
        head("POST", f"{DATASETS}/{NOWHERE}", ["Transfer-Encoding: chunked"])
        + b'18\r\n{"primary": "11111111-11\r\n1b\r\n11-4111-8111-111111111111"}\r\n0\r\n\r\n',
    ])
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(raw))
        n = rng.randrange(1, 9)
        raw = rng.choice([
            lambda: raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1:],
            lambda: raw[:at] + rng.randbytes(n) + raw[at:],
            lambda: raw[:at] + raw[at + n:],
            lambda: raw[:at] + raw[at:at + n] * 2 + raw[at + n:],
        ])()
    if re.search(rb"/datasets[?#]", raw):  # the list, and what may be done with it
        return changed_bytes(rng)
    return Request(raw, "bytes", closes=True)


def request(seed, number):
    rng = random.Random(f"{seed}/{number}")
    return rng.choice([wrong_schema, wrong_schema_v2, wrong_query, no_json, no_json, bad_head, changed_bytes])(rng)
