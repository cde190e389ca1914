#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the test cases of a run of `meson test`.

    summary.py TESTLOG.json STATUS

STATUS is the exit code of meson test. Prints the output of failed tests, the skipped cases, and as the last
line "N passed, N failed, N skipped". Exits with 1 if anything failed or nothing ran.

The cases of a program are cmocka's lines, or the line "cases: ..." of the integration tests. A program with
neither is one case. A failed program counts as at least one failed case, since it may have crashed before it
printed one.
"""

import json
import os
import re
import sys

OUTPUT_LINES_MAX = 60
CMOCKA = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED|ERROR) +\] (\S+)$")
CASES = re.compile(r"^cases: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
INTEGRATION_SKIP = re.compile(r"^skip +(\S.*?) +[\d.]+ s *(.*)$", re.M)

FAILED_LINE = re.compile(r"^(FAIL|ERROR|\[ +FAILED +\]) ")


def cmocka_cases(text):
    """({case: word}, [(case, reason)]). The reason is what a case printed before it was skipped."""
    words, skips, said = {}, [], []
    for line in text.splitlines():
        match = CMOCKA.match(line)
        if not match:
            said.append(line.strip())
            continue
        word, name = match.groups()
        if word == "SKIPPED" and words.get(name) == "RUN":  # cmocka lists skipped cases again at the end
            skips.append((name, " ".join(filter(None, said))))
        words[name] = word
        said = []
    return words, skips


def cases_of(test):
    """(passed, failed, skipped, [(case, reason)])"""
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    told = CASES.search(text)
    if told:
        passed, failed, skipped = map(int, told.groups())
        skips = INTEGRATION_SKIP.findall(text)
    else:
        words, skips = cmocka_cases(text)
        said = list(words.values())
        passed, skipped = said.count("OK"), said.count("SKIPPED")
        failed = len(said) - passed - skipped
    result = test["result"]
    if result == "SKIP" and not skipped:
        lines = text.strip().splitlines()
        skipped, skips = 1, [("", lines[-1] if lines else "")]
    elif result in ("FAIL", "TIMEOUT", "ERROR", "INTERRUPT", "UNEXPECTEDPASS"):
        failed = failed or 1
    elif not passed and not skipped:
        passed = 1
    return passed, failed, skipped, skips


def print_failed(test):
    print("\n--- %s: %s (exit code %s)" % (test["name"], test["result"], test["returncode"]))
    lines = ((test.get("stdout") or "") + (test.get("stderr") or "")).splitlines()
    if len(lines) > OUTPUT_LINES_MAX:
        omitted = lines[:-OUTPUT_LINES_MAX]
        for line in omitted:
            if FAILED_LINE.match(line):
                print("    " + line)
        print("    [%d lines more in meson-logs/testlog.txt]" % len(omitted))
    for line in lines[-OUTPUT_LINES_MAX:]:
        print("    " + line)


def tests_of(path):
    """The lines of a log, but for one that was cut off: those that run the tests may have been killed."""
    if not os.path.exists(path):
        return []
    with open(path, errors="replace") as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def main():
    path, status = sys.argv[1], int(sys.argv[2])
    tests = tests_of(path)
    totals, skips = [0, 0, 0], []
    for test in tests:
        passed, failed, skipped, why = cases_of(test)
        if failed:
            print_failed(test)
        totals = [a + b for a, b in zip(totals, (passed, failed, skipped))]
        skips += [(test["name"], case, reason) for case, reason in why]
    if not tests:
        print("no test ran (meson test ended with %d)" % status)
    if status and not totals[1]:
        totals[1] += 1  # meson itself failed, which must not be hidden
    if skips:
        print("\nskipped:")
        for name, case, reason in skips:
            print("    %s %s: %s" % (name, case, reason or "no reason given"))
    missing = sum(not reason.startswith("the machine") for _, _, reason in skips)
    if os.environ.get("RINGKIT_NO_SKIP") and missing:
        print("RINGKIT_NO_SKIP: a skip counts as a failure")
        totals = [totals[0], totals[1] + missing, totals[2] - missing]
    print("\n%d passed, %d failed, %d skipped" % tuple(totals), flush=True)
    sys.exit(1 if totals[1] or not tests else 0)


if __name__ == "__main__":
    main()
