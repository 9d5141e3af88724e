# SPDX-License-Identifier: Apache-2.0
"""Bodies made from the schemas of control/openapi.json under a seed: some that obey them, and for each some that are
wrong in one place, with the pointers to all that is wrong."""
import copy
import re

import jsonschema

import openapi

SCHEMAS = openapi.SPEC["components"]["schemas"]
SAMPLES = (None, True, 7, 1.5, "x", [], {})  # one of each type
ALPHABETS = ("abc", "aZ09_.-/~ \"\\", "\u00e9\u4e2d\U0001d11e\u202e")


def merged(schema):
    """With what it refers to."""
    while "$ref" in schema:
        schema = openapi.RESOLVER.resolve(schema["$ref"])[1] | {k: v for k, v in schema.items() if k != "$ref"}
    return schema


def types(schema):
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def pointer(path):
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


def places_of(error):
    """Where a violation is: at members that are too many or missing, and else at the value."""
    path = list(error.absolute_path)
    if error.validator == "additionalProperties":
        return {pointer([*path, k]) for k in error.instance if k not in error.schema.get("properties", {})}
    if error.validator == "required":
        return {pointer([*path, re.match("'(.*)' is a required", error.message)[1]])}
    return {pointer(path)}


def violations(name, body):
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], resolver=openapi.RESOLVER)
    spelled = openapi.parse(openapi.json.dumps(body))  # 1.0 is no integer
    return set().union(*[places_of(e) for e in validator.iter_errors(spelled)])


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def valid(self, name):
        while True:
            body = self.value(SCHEMAS[name])
            if not violations(name, body):
                return body

    def text(self, most):
        size = self.rng.choice((1, 2, 7, 30, most - 1, most))
        return "".join(self.rng.choice(self.rng.choice(ALPHABETS)) for _ in range(size))

    def uuid(self):
        digits = f"{self.rng.getrandbits(128):032x}"
        text = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{self.rng.choice('89ab')}{digits[17:20]}-{digits[20:]}"
        return self.rng.choice((text, text, text.upper()))

    def number(self, schema):
        unit = schema.get("multipleOf", 1)
        least, most = schema["minimum"] // unit, schema["maximum"] // unit
        return unit * self.rng.choice((least, least + 1, most, min(most, 300 << 10), min(most, 75 << 20),
                                       self.rng.randint(least, most)))

    def object(self, schema):
        value = {key: self.value(rule) for key, rule in schema.get("properties", {}).items()
                 if key in schema.get("required", ()) or self.rng.random() < 0.4}
        rest = schema.get("additionalProperties", False)
        if rest is not False:
            for _ in range(self.rng.choice((0, 1, 3, 12))):
                value[self.text(256)] = self.value(rest)
        return value

    def value(self, schema):
        schema = merged(schema)
        if "oneOf" in schema:
            return self.value(self.rng.choice(schema["oneOf"]))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        kind = self.rng.choice(types(schema))
        if kind == "object":
            return self.object(schema)
        if kind == "array":
            return [self.value(schema["items"]) for _ in range(self.rng.randint(schema["minItems"], schema["maxItems"]))]
        if kind == "integer":
            return self.number(schema)
        if kind == "string":
            return self.uuid() if "[0-9A-Fa-f]{8}" in schema.get("pattern", "") else self.text(schema["maxLength"])
        assert kind == "null", schema
        return None

    def wrong_values(self, schema):
        """Values that this place may not have, among some that it may."""
        schema = merged(schema)
        for rule in schema.get("oneOf", ()):
            yield from self.wrong_values(rule)
        yield from SAMPLES
        if "minimum" in schema:
            least, most = schema["minimum"], schema["maximum"]
            yield from (0, -1, least - 1, least + 1, least + 0.0, 1e9, str(least), most, most + 1, 1 << 63, 1 << 64,
                        1 << 90, -(1 << 90))
        if "[0-9A-Fa-f]{8}" in schema.get("pattern", ""):
            good = self.uuid()
            yield from ("", good[:-1], good + "0", " " + good, "{" + good + "}", good[:14] + "1" + good[15:],
                        good[:19] + "c" + good[20:], good.replace("-", ""), "g" + good[1:])
        elif "maxLength" in schema:
            most = schema["maxLength"]
            yield from ("", "v" * most, "\u00e9" * most, "v" * (most + 1), "\u00e9" * (most + 1), "a\nb", "\x7f", "\x85")
        if "enum" in schema:
            yield from ("", "ext5", "Lease", "manual ")
        if "items" in schema:
            yield from ([self.uuid()] * (schema["maxItems"] + 1), [self.uuid(), None], ["any"])

    def mutations(self, schema, value):
        """Copies of an object with one place changed, at any depth."""
        schema = merged(schema)
        for key in list(value):
            yield {k: v for k, v in value.items() if k != key}
        for key in ("junk", "a/b~c", "", "\u00e9", "Node", "primary", "a\nb", "k" * 257, "flocker:filesystem"):
            yield value | {key: self.rng.choice(("v", *SAMPLES))}
        for key, rule in schema.get("properties", {}).items():
            for wrong in self.wrong_values(rule):
                yield value | {key: copy.deepcopy(wrong)}
            if types(merged(rule)) == ["object"]:
                inner = value.get(key) if isinstance(value.get(key), dict) else self.value(rule)
                for changed in self.mutations(rule, inner):
                    yield value | {key: changed}
        if isinstance(schema.get("additionalProperties"), dict):
            for wrong in self.wrong_values(schema["additionalProperties"]):
                yield value | {"some": wrong}
