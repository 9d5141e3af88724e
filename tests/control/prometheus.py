# SPDX-License-Identifier: Apache-2.0
"""Prometheus' text format 0.0.4, read to the letter: what a scraper would refuse or take wrongly fails here."""
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
NUMBER = re.compile(r"[+-]?(Inf|[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)\Z")
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match and match[1] not in labels, text
        labels[match[1]] = match[2].replace(r"\"", '"').replace(r"\n", "\n").replace(r"\\", "\\")
        at = match.end()
    return labels


def take_head(line, families):
    """The name of the family that begins or goes on with this comment."""
    _, word, name, rest = line.split(" ", 3)
    assert word in ("HELP", "TYPE") and NAME.match(name), line
    family = families.setdefault(name, {"samples": {}})
    assert word not in family and not family["samples"], f"twice, or after its values: {line}"
    family[word] = rest
    return name


def take_sample(line, families, current):
    match = SAMPLE.match(line)
    assert match and NUMBER.match(match[3]), line
    family = families[current]
    assert match[1] in [current + e for e in ENDINGS[family["TYPE"]]], f"of another family than {current}: {line}"
    key = (match[1], tuple(sorted(labels_of(match[2] or "").items())))
    assert key not in family["samples"], f"twice: {line}"
    family["samples"][key] = float(match[3])


def check_histogram(name, samples):
    buckets = [(float(dict(labels)["le"]), v) for (n, labels), v in samples.items() if n == name + "_bucket"]
    assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), name
    assert buckets[-1][0] == float("inf") and buckets[-1][1] == samples[name + "_count", ()]
    assert samples[name + "_sum", ()] >= 0


def parse(text):
    """{family: {"HELP", "TYPE", "samples": {(name, ((label, value), ...)): number}}}"""
    text = text.decode()
    assert text.endswith("\n") and "\n\n" not in text and "\r" not in text
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            name = take_head(line, families)
            assert name == current or len(families) == len(set(families)), line
            current = name
        else:
            take_sample(line, families, current)
    for name, family in families.items():
        assert family["HELP"] and family["TYPE"] in ENDINGS and family["samples"], name
        assert (family["TYPE"] == "counter") == name.endswith("_total"), name
        if family["TYPE"] == "histogram":
            check_histogram(name, family["samples"])
    return families


class Metrics:
    def __init__(self, text):
        self.families = parse(text)

    def value(self, family, name=None, **labels):
        return self.families[family]["samples"][name or family, tuple(sorted(labels.items()))]

    def series(self):
        return {key for f in self.families.values() for key in f["samples"]}
