#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the table of networks and port drivers into README.md, from the results of the test matrix.

    RINGKIT_MATRIX=/tmp/matrix.json meson test -C build matrix
    tools/matrix.py /tmp/matrix.json            prints the table
    tools/matrix.py /tmp/matrix.json README.md  puts it between the two marks there
"""

import json
import sys

BEGIN, END = "<!-- matrix: begin, made by tools/matrix.py -->", "<!-- matrix: end -->"
NETWORKS = ["builtin", "none", "slirp4netns", "pasta", "vpnkit", "lxc-user-nic", "vdeplug_slirp",
            "gvisor-tap-vsock"]
WAYS = [("tcp", "TCP"), ("udp", "UDP"), ("names", "DNS"), ("ping", "ping"),
        ("detached", "`--detach-netns`")]
PORT_DRIVERS = ["builtin", "slirp4netns", "socat", "implicit", "pesto", "gvisor-tap-vsock"]
COMES_IN = {"tu": "TCP, UDP", "t": "TCP", "u": "UDP", "": "no"}
# Seen with something else in its place.
STAND_INS = {"vpnkit": ("¹", "the stand-in of `tests/peers`, not with VPNKit itself"),
             "pesto": ("²", "the stand-ins of `tests/integration/rkit/pesto.py`: Debian 12 has no pesto")}


def row(network, seen):
    def mark(name):
        return " " + STAND_INS[name][0] if name in seen["stand_ins"] else ""

    ways = ["yes" if way in seen["out"] else "no" for way, _ in WAYS]
    ports = [COMES_IN[seen["in"][d]] + mark(d) if d in seen["in"] else "–" for d in PORT_DRIVERS]
    return ["`%s`%s" % (network, mark(network))] + ways + ports


def table(seen):
    head = ["`--net`"] + [title for _, title in WAYS] + ["`%s`" % d for d in PORT_DRIVERS]
    rows = [head, ["---"] * len(head)]
    rows += [row(network, seen[network]) for network in NETWORKS if network in seen]
    lines = ["| %s |" % " | ".join(cells) for cells in rows]
    for name, (mark, text) in STAND_INS.items():
        if any(name in s["stand_ins"] for s in seen.values()):
            lines += ["", "%s Seen with %s." % (mark, text)]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    with open(sys.argv[1]) as f:
        text = table(json.load(f))
    if len(sys.argv) == 2:
        print(text, end="")
        return
    with open(sys.argv[2]) as f:
        old = f.read()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        sys.exit("%s: it must have the lines %s and %s, once each" % (sys.argv[2], BEGIN, END))
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    with open(sys.argv[2], "w") as f:
        f.write("%s%s\n%s%s%s" % (before, BEGIN, text, END, after))


if __name__ == "__main__":
    main()
