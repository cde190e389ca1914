#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom in src/, and who may call whom in a worker. Compares the rules with the sources."""

import collections
import os
import re
import sys

SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")

# Each folder, and the folders whose headers its files may include. A folder is listed after those that it
# includes, so that there are no circles. Every folder may include itself.
FOLDERS = {
    "base": [],
    "ports": ["base"],
    "ns": ["base"],
    "dataplane": ["base", "ports", "ns"],
    "dataplane/io": ["base", "dataplane"],
    "dataplane/worker": ["base", "ns", "dataplane", "dataplane/io"],
    "dataplane/broker": ["base", "ns", "dataplane"],
    "dataplane/control": ["base", "ports", "dataplane"],
    "drivers": ["base", "ports"],
    "drivers/net": ["base", "ports", "ns", "dataplane", "drivers"],
    "drivers/port": ["base", "ports", "dataplane", "drivers", "drivers/net"],
    "api": ["base", "ports", "drivers"],
    "cli": ["base", "ports", "drivers", "drivers/net"],
    "launch": ["base", "ns", "ports", "drivers", "api", "cli"],
    "ctl": ["base", "ns", "ports", "api", "cli"],
    # main.c: the roles, each the entry of a process.
    "": ["base", "cli", "dataplane", "drivers/net", "drivers/port", "launch"],
}

# Headers with few users, whatever the folders say: a header, and patterns of the files that may include it.
DOORS = {
    "dataplane/dataplane.h": [r"dataplane/.*", r"drivers/(net|port)/builtin.*", r"main\.c"],
    # The policy of the way out is written by the driver and read by the workers.
    "dataplane/wire.h": [r"dataplane/.*", r"drivers/net/(builtin|egress).*"],
    "dataplane/stats.h": [r"dataplane/.*", r"drivers/port/builtin_stats\.c"],
    # The programs that drivers run in the namespace lock themselves down, too.
    "dataplane/sandbox.h": [r"dataplane/.*", r"drivers/port/guard\.c",
                            r"drivers/net/(vpnkit_relay|lxc_dhcp|link_probe|readdress|builtin_router)\.c"],
    # Only the data plane knows how a worker does it.
    "dataplane/sockopt.h": [r"dataplane/.*"],
    "dataplane/bind.h": [r"dataplane/.*"],
    "ns/route.h": [r"ns/.*", r"ctl/docker_proxy_api\.c"],
    "jansson.h": [r"api/.*", r"ctl/.*", r"drivers/port/slirp4netns.*"],
    "microhttpd.h": [r"api/.*"],
}

# The modules of a worker, from the bottom up. A module calls only those before it: a flow that ends leaves
# a mark, and does not call its listener.
WORKER = ["rhythm", "pipepool", "sockpool", "budget", "answers", "supply", "probes", "out_room", "egress",
          "gate_packet", "gate_verdict", "flow", "client_address", "tcp_timer", "tcp_pump", "tcp_flow",
          "times", "tcp_connect", "udp_copy", "udp_message", "udp_send", "udp_pending", "udp_target",
          "udp_ports", "udp_hash", "udp_key", "tcp", "tcp_sweep", "udp", "out_tcp", "out_icmp", "out_ping",
          "out_udp_error", "out_udp_send", "out_responder", "out_peer", "out_udp", "gate", "listener", "out",
          "handover_record", "handover_counters", "out_tcp_handover", "tcp_handover", "udp_handover",
          "out_handover", "handover_build", "handover", "requests", "worker", "main"]

INCLUDE = re.compile(r'^#include ["<]([^">]+)[">]', re.M)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def sources():
    for folder, _, names in os.walk(SRC):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                path = os.path.join(folder, name)
                with open(path) as f:
                    yield os.path.relpath(path, SRC), f.read()


def folder_errors(path, text):
    folder = os.path.dirname(path)
    if folder not in FOLDERS:
        yield "%s: no rule for this folder" % path
        return
    for header in INCLUDE.findall(text):
        target = os.path.dirname(header)
        if not os.path.exists(os.path.join(SRC, header)):
            continue
        if target != folder and target not in FOLDERS[folder]:
            yield "%s includes %s: src/%s may not know src/%s" % (path, header, folder, target)


def door_errors(path, text):
    for header in INCLUDE.findall(text):
        users = DOORS.get(header)
        if users and not any(re.fullmatch(user, path) for user in users):
            yield "%s includes %s, which is for %s" % (path, header, ", ".join(users))


def rule_errors():
    seen = set()
    for folder, known in FOLDERS.items():
        for name in known:
            if name not in seen:
                yield "the rules have a circle, or are out of order: %s, %s" % (folder, name)
        seen.add(folder)
    for a, b in (("api", "ns"), ("ns", "api")):
        if b in FOLDERS[a]:
            yield "src/%s and src/%s never meet" % (a, b)


def worker_errors(files):
    """Calls of functions that another module of the worker defines."""
    code = {os.path.basename(path)[:-2]: STRING.sub('""', COMMENT.sub("", text))
            for path, text in files if os.path.dirname(path) == "dataplane/worker" and path.endswith(".c")}
    rank = {name: i for i, name in enumerate(WORKER)}
    defined = {}
    for name, text in code.items():
        if name not in rank:
            yield "dataplane/worker/%s.c: not in the list of modules" % name
            continue
        # A definition begins in the first column, and its body at the next brace in that column.
        for match in re.finditer(r"^(?!static|#)[a-z][\w \t\*]*?\b(\w+)\([^;{}]*\)\n\{", text, re.M):
            defined[match.group(1)] = name
    for name, text in code.items():
        for word in sorted(set(re.findall(r"\b[a-z]\w+(?=\()", text))):
            owner = defined.get(word)
            if owner and owner != name and name in rank and rank[owner] > rank[name]:
                yield "dataplane/worker/%s.c calls %s() of %s.c, which is above it" % (name, word, owner)


def main():
    files = list(sources())
    errors = list(rule_errors()) + list(worker_errors(files))
    for path, text in files:
        errors += folder_errors(path, text)
        errors += door_errors(path, text)
    for error in errors:
        print(error)
    counts = collections.Counter(os.path.dirname(path) for path, _ in files)
    print("%d files in %d folders, %d errors" % (len(files), len(counts), len(errors)))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
