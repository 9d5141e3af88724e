# SPDX-License-Identifier: Apache-2.0
"""docs/api-v1.schema.json at work: which places of a body violate it, bodies that obey it, and bodies that
violate it in one place. As much of JSON Schema as that file uses; any other keyword is an error."""
import copy
import json
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
DEFS = json.loads((DOCS / "api-v1.schema.json").read_text())["$defs"]
SAMPLES = (None, True, 7, 1.5, "x", [], {})  # one of each type
IGNORED = {"examples", "$comment"}


def definition(schema):
    return DEFS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def is_a(kind, value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"null": value is None, "boolean": isinstance(value, bool), "string": isinstance(value, str),
            "array": isinstance(value, list), "object": isinstance(value, dict), "number": number,
            "integer": number and isinstance(value, int)}[kind]  # by its spelling


def types(schema):
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def below(pointer, key):
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def check_object(schema, value, at):
    known = schema.get("properties", {})
    found = {below(at, key) for key in schema.get("required", ()) if key not in value}
    for key, others in schema.get("dependentRequired", {}).items():
        found |= {below(at, k) for k in others if key in value and k not in value}
    if len(value) > schema.get("maxProperties", len(value)):
        found.add(at)
    for key, item in value.items():
        if "propertyNames" in schema and violations(schema["propertyNames"], key):
            found.add(at)
        rule = known.get(key, schema.get("additionalProperties", {}))
        found |= {below(at, key)} if rule is False else violations(rule, item, below(at, key))
    return found


def check_number(schema, value):
    return (value < schema.get("minimum", value) or value > schema.get("maximum", value)
            or value % schema.get("multipleOf", 1) != 0)


def check_text(schema, value):
    # "$" of JSON Schema does not match before a line feed at the end.
    pattern = re.sub(r"\$$", r"\\Z", schema.get("pattern", ""))
    return not re.search(pattern, value) or len(value) > schema.get("maxLength", len(value))


def violations(schema, value, at=""):
    """Pointers to all places that are wrong."""
    schema = definition(schema)
    assert schema.keys() <= IGNORED | {
        "type", "enum", "pattern", "maxLength", "minimum", "maximum", "multipleOf", "required", "properties",
        "additionalProperties", "propertyNames", "maxProperties", "dependentRequired", "items", "allOf", "if",
        "then"}, schema.keys()
    if types(schema) and not any(is_a(kind, value) for kind in types(schema)):
        return {at}
    wrong = "enum" in schema and value not in schema["enum"]
    if is_a("integer", value):
        wrong = wrong or check_number(schema, value)
    elif isinstance(value, str):
        wrong = wrong or check_text(schema, value)
    found = {at} if wrong else set()
    if isinstance(value, dict):
        found |= check_object(schema, value, at)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            rule = schema.get("items", {})
            found |= {below(at, i)} if rule is False else violations(rule, item, below(at, i))
    for rule in schema.get("allOf", ()):
        if not violations(rule["if"], value, at):
            found |= violations(rule["then"], value, at)
    return found


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def valid(self, schema):
        while True:
            value = self.value(schema)
            if not violations(schema, value):
                return value

    def text(self, most=256):
        alphabet = self.rng.choice(("abc", "aZ09_.-/~ \"\\", "\u00e9\u4e2d\U0001d11e\u202e\u0001\x7f"))
        size = self.rng.choice((0, 1, 2, 7, 30, most - 1, most))
        return "".join(self.rng.choice(alphabet) for _ in range(size))

    def uuid(self, version):
        digits = f"{self.rng.getrandbits(128):032x}"
        text = f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{self.rng.choice('89ab')}{digits[17:20]}" \
               f"-{digits[20:]}"
        return self.rng.choice((text, text, text.upper()))

    def size(self, schema):
        least, unit = schema["minimum"], schema["multipleOf"]
        most = schema["maximum"] // unit
        return self.rng.choice((least, least + unit, 300 << 20, 75 << 30, most * unit,
                                unit * self.rng.randint(least // unit, most)))

    def name(self):
        while True:
            text = self.text() + self.rng.choice(("", "", "\n"))
            if not violations(DEFS["metadata"]["propertyNames"], text):
                return text

    def object(self, schema):
        value = {key: self.value(rule) for key, rule in schema["properties"].items()
                 if key in schema.get("required", ()) or self.rng.random() < 0.5}
        more = self.rng.choice((0, 1, 3, schema["maxProperties"])) if "maxProperties" in schema else 0
        while len(value) < more:
            value[self.name()] = self.text()
        return value

    def value(self, schema):
        if schema.get("$ref", "").endswith(("/uuid4", "/uuid")):
            return self.uuid(4 if schema["$ref"].endswith("4") else self.rng.choice("1345"))
        schema = definition(schema)
        for key in ("enum", "examples"):
            if key in schema:
                return self.rng.choice(schema[key])
        kind = self.rng.choice(types(schema))
        if kind == "object":
            return self.object(schema)
        if kind == "integer":
            return self.size(schema)
        if kind == "number":
            return self.rng.choice((self.rng.randint(1000, 100000), self.rng.uniform(1000, 100000)))
        assert kind == "null", schema
        return None

    def wrong_values(self, schema):
        """Values that this place may not have."""
        schema = definition(schema)
        yield from SAMPLES
        if "minimum" in schema:
            least = schema["minimum"]
            yield from (0, -1, -least, least - 1, least - 1024, least + 1, least + 0.0, 1e9, str(least),
                        schema["maximum"], schema["maximum"] + 1, 1 << 64, 1 << 90, -(1 << 90))
        if "pattern" in schema or "enum" in schema:
            good = self.value({"$ref": "/uuid4"}) if "[0-9A-Fa-f]" in schema.get("pattern", "") else \
                self.value(schema)
            place = self.rng.randrange(len(good))
            yield from ("", good[:-1], good + "0", " " + good, good + "\n", "{" + good + "}",
                        good[:place] + "g" + good[place + 1:], good[:14] + "1" + good[15:],
                        good[:19] + "c" + good[20:], good.replace("-", ""))
        if "maxLength" in schema:
            yield from ("v" * schema["maxLength"], "\u00e9" * schema["maxLength"],
                        "v" * (schema["maxLength"] + 1), "\u00e9" * (schema["maxLength"] + 1))

    def mutations(self, schema, value):
        """Copies of an object with one field changed."""
        schema = definition(schema)
        for key in list(value):
            yield {k: v for k, v in value.items() if k != key}
        for key in ("junk", "a/b~c", "", "\u00e9", "Primary", "deleted"):
            yield value | {key: self.rng.choice(SAMPLES)}
        for key, rule in schema["properties"].items():
            for wrong in self.wrong_values(rule):
                yield value | {key: wrong}
            if definition(rule).get("type") == "object" and isinstance(value.get(key), dict):
                for inner in self.mutations_of_map(definition(rule), value[key]):
                    yield value | {key: inner}
        for rule in schema.get("allOf", ()):  # what one field asks of another
            yield from self.at_the_limit(value, rule["if"]["properties"], rule["then"]["properties"])

    def at_the_limit(self, value, given, then):
        given = {key: {k: v["enum"][0] for k, v in rule["properties"].items()} for key, rule in given.items()}
        for key, rule in then.items():
            for size in (rule["minimum"] - 1024, rule["minimum"]):
                yield value | {key: size}
                yield {k: v for k, v in value.items() if k != "dataset_id"} | given | {key: size}

    def mutations_of_map(self, schema, value):
        for key in ("", "\n", "a\nb", "k" * 256, "k" * 257, "\u00e9" * 256 + "\n", "k\n\n"):
            yield value | {key: "v"}
        yield {str(i): "v" for i in range(schema["maxProperties"] + 1)}
        some = [k for k in value if len(k.encode()) < 40 and k not in schema["properties"]][:2]
        for key in [*schema["properties"], *some]:
            for wrong in self.wrong_values(schema["properties"].get(key, schema["additionalProperties"])):
                yield copy.deepcopy(value) | {key: wrong}
