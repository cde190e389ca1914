#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tables of SUPPORT.md from the results of tests.

    support.py note GUEST            after a run of tools/kernels: adds up the results of the tests in
                                     GUEST/share, and keeps them in GUEST/seen.json
    support.py passed GUEST          prints the tests that have passed there when they ran last
    support.py show DIRECTORY...     prints the tables
    support.py update DIRECTORY...   puts them into SUPPORT.md

A DIRECTORY has results of tools/kernels (kernels/NAME/seen.json) or of .ci/run (bare-RELEASE.log, sid.log,
docker.log, lint.log): build/ and build/ci/. A row without new results stays as it is in SUPPORT.md.
"""

import datetime
import glob
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import summary  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUPPORT = os.path.join(TOP, "SUPPORT.md")
MARK = "<!-- %s: %s -->"
TOTAL = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)

KERNELS = ["5.10", "5.14", "5.15", "6.1", "6.8", "6.12", "6.18", "7"]
# The distributions of each kernel. A kernel that Debian does not have was not tried. It lies between two that
# were.
WHOSE = {"5.10": "Debian 11", "5.14": "RHEL 9", "5.15": "Ubuntu 22.04", "6.1": "Debian 12",
         "6.8": "Ubuntu 24.04", "6.12": "Debian 13, RHEL 10, Debian 12 with backports",
         "7": "Debian sid, Ubuntu 26.04"}
BETWEEN = {"5.14": "5.10 and 6.1", "5.15": "5.10 and 6.1", "6.8": "6.1 and 6.12"}
BACKEND = {"5.14": "epoll", "5.15": "epoll", "6.8": "io_uring"}

# Name, C library, the log that has the result, and what was done.
DISTRIBUTIONS = [
    ("Debian 12", "glibc 2.36", "bare-bookworm.log", "a fresh root: %s"),
    ("Debian 13", "glibc 2.41", "bare-trixie.log", "a fresh root: %s"),
    ("Debian sid", "glibc", "sid.log", "a fresh root: %s"),
    ("Debian sid, Docker 28", "glibc", "docker.log", "Debian 12's build with sid's Docker and libraries"),
    ("Alpine and others", "musl", "lint.log", "the sources compile; not linked, not run"),
]

# What each has, of November 2026, by packages.debian.org, packages.ubuntu.com, packages.fedoraproject.org and
# docs.redhat.com. None: not found there.
LIBRARIES = ["liburing", "libmicrohttpd", "jansson", "libseccomp", "HTTP parser"]
VERSIONS = {
    "Debian 12": ("6.1", "2.3", "0.9.75", "2.14", "2.5.4", "http-parser 2.9.4"),
    "Debian 13": ("6.12", "2.9", "1.0.1", "2.14", "2.6.0", "http-parser 2.9.4"),
    "Debian sid": ("7.2", "2.15", "1.0.10", "2.15.1", "2.6.1", "llhttp 9.4.3"),
    "Ubuntu 22.04": ("5.15", "2.1", "0.9.75", "2.13.1", "2.5.3", "http-parser 2.9.4"),
    "Ubuntu 24.04": ("6.8", "2.5", "1.0.0", "2.14", "2.5.5", "http-parser 2.9.4"),
    "Ubuntu 26.04": ("7.0", "2.14", "1.0.1", "2.14", "2.6.0", "http-parser 2.9.4"),
    "Fedora 44": ("6.19", "2.13", "1.0.2", "2.14", "2.6.0", "http-parser 2.9.4"),
    "Fedora 45": (None, "2.13", "1.0.10", "2.14", None, "llhttp 9.4.2"),
    "RHEL 9": ("5.14", None, None, None, None, "llhttp 9.2.1 (EPEL)"),
    "RHEL 10": ("6.12", None, None, None, None, None),
}
SEEN = ["Debian 12", "Debian 13", "Debian sid"]
WANTED = {"liburing": "2.3"}  # by meson.build


def result(total):
    passed, failed, skipped = total
    words = ["%d passed" % passed, "**%d failed**" % failed if failed else "",
             "%d skipped" % skipped if skipped else ""]
    return ", ".join(filter(None, words))


def note(guest):
    """Keeps the last result of each test on this kernel."""
    path = guest + "/seen.json"
    seen = {}
    if os.path.exists(path):
        with open(path) as f:
            seen = json.load(f)
    release = open(guest + "/share/release").read().strip()
    if seen.get("release") != release:
        seen = {"release": release, "tests": {}}
    with open(guest + "/share/backend") as f:
        seen["backend"] = f.read().strip()
    log = guest + "/share/testlog.json"
    date = datetime.date.fromtimestamp(os.path.getmtime(log)).isoformat()
    for test in summary.tests_of(log):
        seen["tests"][test["name"]] = summary.cases_of(test)[:3] + (date,)
    with open(path, "w") as f:
        json.dump(seen, f)


def passed(guest):
    try:
        with open(guest + "/seen.json") as f:
            seen = json.load(f)
    except FileNotFoundError:
        return
    for name, (_, failed, _, _) in seen["tests"].items():
        if not failed:
            print(name)


def kernel_row(name, seen):
    def of(suite):
        return {test.split()[1]: cases[:3] for test, cases in seen["tests"].items()
                if test.split()[0] == suite}

    def words(tests):
        return result([sum(column) for column in zip(*tests.values())]) if tests else "–"

    files = of("integration")
    return [name, seen["release"], WHOSE.get(name, ""), seen["backend"], words(of("main")), words(of("unit")),
            words(files) + (" (%s)" % ", ".join(sorted(files)) if files else ""),
            min(date for _, _, _, date in seen["tests"].values())]


def kernel_rows(directories):
    rows = {}
    for name in KERNELS:
        if name in BETWEEN:
            rows[name] = [name, "not tried", WHOSE[name], "%s, by its version" % BACKEND[name],
                          "between %s, which were" % BETWEEN[name], "", "", ""]
    for directory in directories:
        for path in glob.glob(directory + "/kernels/*/seen.json"):
            with open(path) as f:
                name = os.path.basename(os.path.dirname(path))
                rows[name] = kernel_row(name, json.load(f))
    return rows


def distribution_rows(directories):
    rows = {}
    for name, libc, log, how in DISTRIBUTIONS:
        for directory in directories:
            path = os.path.join(directory, log)
            if not os.path.exists(path):
                continue
            with open(path, errors="replace") as f:
                text = f.read()
            date = datetime.date.fromtimestamp(os.path.getmtime(path)).isoformat()
            totals = TOTAL.findall(text)
            said = re.search(r"^bare \w+: (.*\S)", text, re.M)
            if "%s" in how:
                how = how % (said.group(1) if said else "built, tests")
            if log == "lint.log":
                ok = re.search(r"^ok +musl$", text, re.M)
                rows[name] = [name, libc, how, "compiles" if ok else "**does not compile**", date]
            elif totals:
                rows[name] = [name, libc, how, result([int(n) for n in totals[-1]]), date]
    return rows


def parts(version):
    return [int(n) for n in re.findall(r"\d+", version)]


def by_version(name):
    """What the versions of a distribution say beside those that were seen."""
    remarks, unknown = [], 0
    for number, library in enumerate(LIBRARIES, 1):
        version = VERSIONS[name][number]
        if version is None:
            unknown += 1
            continue
        product = version.split()[0] if " " in version else ""
        seen = [parts(VERSIONS[d][number]) for d in SEEN if VERSIONS[d][number].startswith(product)]
        words = version if product else "%s %s" % (library, version)
        if parts(version) < parts(WANTED.get(library, "0")):
            remarks.insert(0, "**does not build**: %s, it wants %s" % (words, WANTED[library]))
        elif parts(version) < min(seen):
            remarks.append(words + " is older than what was tried")
        elif parts(version) > max(seen):
            remarks.append(words + " is newer than what was tried")
    if unknown:
        remarks.append("%d of %d versions are not known" % (unknown, len(LIBRARIES)))
    return "; ".join(remarks) or "each is between two that were tried"


def version_rows(_directories):
    return {name: [name] + [version or "?" for version in versions] +
            ["tried, see above" if name in SEEN else by_version(name)] for name, versions in VERSIONS.items()}


TABLES = {
    "kernels": (["kernel", "seen", "of", "back end", "main job", "unit tests", "integration tests", "date"],
                kernel_rows, KERNELS),
    "distributions": (["distribution", "C library", "what was done", "result", "date"], distribution_rows,
                      [d[0] for d in DISTRIBUTIONS]),
    "versions": (["distribution", "Linux"] + LIBRARIES + ["by its versions"], version_rows, list(VERSIONS)),
}


def old_rows(text, name):
    """The rows that the table in SUPPORT.md has now, by their first cell."""
    rows = {}
    for line in between(text, name)[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        rows[cells[0]] = cells
    return rows


def between(text, name):
    begin, end = MARK % (name, "begin, made by tools/support.py"), MARK % (name, "end")
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit("SUPPORT.md: it must have the lines %s and %s, once each" % (begin, end))
    before, rest = text.split(begin + "\n")
    middle, after = rest.split(end)
    return before + begin + "\n", middle, end + after


def table(text, name, directories):
    head, rows_of, order = TABLES[name]
    rows = old_rows(text, name)
    rows.update(rows_of(directories))
    lines = [head, ["---"] * len(head)] + [rows[key] for key in order if key in rows]
    return "".join("| %s |\n" % " | ".join(cells) for cells in lines)


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("note", "passed", "show", "update"):
        sys.exit(__doc__.strip())
    if sys.argv[1] in ("note", "passed"):
        (note if sys.argv[1] == "note" else passed)(sys.argv[2])
        return
    with open(SUPPORT) as f:
        text = f.read()
    for name in TABLES:
        made = table(text, name, sys.argv[2:])
        if sys.argv[1] == "show":
            print(made)
        before, _, after = between(text, name)
        text = before + made + after
    if sys.argv[1] == "update":
        with open(SUPPORT, "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
