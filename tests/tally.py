#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts test cases for ./run-tests.

    tally.py STAGE COUNTS FILE...

Each FILE is a testlog of meson (*.json), a report of pytest (*.xml), or what "pytest -v" printed until it
was ended (*.log). A line is printed for each
case that failed or was skipped, with its reason; COUNTS gets one line, "passed failed skipped". A program
that runs several cases (cmocka, unittest, pytest) counts as those, any other as one.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

CMOCKA_END = re.compile(r"^\[  *(OK|FAILED|SKIPPED|ERROR)  *\] (\w+)$", re.M)
SKIPPED_WHY = re.compile(r"^skipped: (.*)$", re.M)
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
PYTEST_SKIP = re.compile(r"^SKIPPED \[(\d+)\] (.*)$", re.M)
PYTEST_LINE = re.compile(r"^(\S.*?::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b(?: \((.*)\))?.*\[ *\d+%\]$", re.M)
UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in", re.M)
UNITTEST_BAD = re.compile(r"(failures|errors|skipped)=(\d+)")


class Tally:
    def __init__(self, stage):
        self.stage = stage
        self.passed = self.failed = self.skipped = 0

    def skip(self, name, reason, count=1):
        self.skipped += count
        print(f"SKIPPED {self.stage}: {name}: {reason or 'the test gave no reason'}", flush=True)

    def fail(self, name, reason="", count=1):
        self.failed += count
        print(f"FAILED {self.stage}: {name}{': ' + reason if reason else ''}", flush=True)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def cmocka_reason(out, case):
    """What a case printed before it skipped."""
    found = re.search(rf"^\[ RUN      \] {case}\n(.*?)^\[  SKIPPED \] {case}$", out, re.M | re.S)
    return last_line(found.group(1)) if found else ""


def count_cmocka(tally, name, out, err):
    ends = {}
    for text in (out, err):
        for word, case in CMOCKA_END.findall(text):
            if ends.get(case) != "FAILED":
                ends[case] = "FAILED" if word == "ERROR" else word
    told = SKIPPED_WHY.findall(out + "\n" + err)
    for case, word in ends.items():
        if word == "OK":
            tally.passed += 1
        elif word == "SKIPPED":
            tally.skip(f"{name}: {case}", cmocka_reason(out, case) or "; ".join(told))
        else:
            tally.fail(f"{name}: {case}")
    return bool(ends)


def count_pytest(tally, name, out):
    counts = dict.fromkeys(("passed", "failed", "skipped", "error"), 0)
    for number, word in PYTEST_COUNT.findall(last_line(out)):
        counts[word.rstrip("s") if word.startswith("error") else word] = int(number)
    if not any(counts.values()):
        return False
    tally.passed += counts["passed"]
    if counts["failed"] + counts["error"]:
        tally.fail(name, last_line(out), counts["failed"] + counts["error"])
    told = PYTEST_SKIP.findall(out)
    for number, reason in told:
        tally.skip(name, reason, int(number))
    untold = counts["skipped"] - sum(int(number) for number, _ in told)
    if untold > 0:
        tally.skip(name, "", untold)
    return True


def count_unittest(tally, name, err):
    ran = UNITTEST_RAN.search(err)
    if not ran:
        return False
    bad = {word: int(number) for word, number in UNITTEST_BAD.findall(last_line(err))}
    failed = bad.get("failures", 0) + bad.get("errors", 0)
    tally.passed += int(ran.group(1)) - failed - bad.get("skipped", 0)
    if failed:
        tally.fail(name, last_line(err), failed)
    if bad.get("skipped"):
        reason = re.search(r"skipped ['\"](.*)['\"]$", err, re.M)
        tally.skip(name, reason.group(1) if reason else "", bad["skipped"])
    return True


def count_program(tally, test):
    name = test["name"].split(" / ", 1)[-1]
    out, err, result = test.get("stdout") or "", test.get("stderr") or "", test["result"]
    failed_before = tally.failed

    if result == "SKIP" and not CMOCKA_END.search(out):
        tally.skip(name, last_line(out) or last_line(err))
        return
    split = (count_cmocka(tally, name, out, err) or count_pytest(tally, name, out) or
             count_unittest(tally, name, err))
    if result in ("OK", "EXPECTEDFAIL", "SKIP"):
        tally.passed += 0 if split else 1
    elif tally.failed == failed_before:
        tally.fail(name, f"{result.lower()}, exit status {test.get('returncode')}")


def count_junit(tally, path):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if skipped is not None:
            tally.skip(name, skipped.get("message"))
        elif bad is not None:
            tally.fail(name, last_line(bad.get("message") or ""))
        else:
            tally.passed += 1


def count_printed(tally, text):
    for name, word, reason in PYTEST_LINE.findall(text):
        if word == "PASSED":
            tally.passed += 1
        elif word == "SKIPPED":
            tally.skip(name, reason)
        else:
            tally.fail(name)


def main():
    stage, counts, *files = sys.argv[1:]
    tally = Tally(stage)
    for path in files:
        if path.endswith(".xml"):
            count_junit(tally, path)
            continue
        with open(path, encoding="utf-8", errors="replace") as log:
            if path.endswith(".log"):
                count_printed(tally, log.read())
                continue
            for line in log:
                count_program(tally, json.loads(line))
    with open(counts, "w", encoding="utf-8") as out:
        print(tally.passed, tally.failed, tally.skipped, file=out)


main()
