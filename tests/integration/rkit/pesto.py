# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for a pasta with --conf-path and its pesto, as of 2026, for machines whose pasta is older.

The stand-in for pasta runs the real pasta, and beside it a process that forwards ports. The stand-in for
pesto sends its request to that process. When pasta cannot listen for a rule, the real programs end with
success all the same: the rule stays, and pasta listens for no other until it is removed. These do the
same."""

import contextlib
import os
import shutil
import subprocess

from .world import world, write

# A detached network namespace is pasta's standard input, which a process in the background has not got.
PASTA = r"""#!/bin/sh
for pid do :; done
into="-U -n -t $pid"
for word do
    shift
    case $word in
    --conf-path=*) conf=${word#*=};;
    --userns=*) into="--user=${word#*=} --net=/proc/self/fd/3"; set -- "$@" "$word";;
    *) set -- "$@" "$word";;
    esac
done
case "$*" in *--version*) exec REAL "$@";; esac
if [ "$conf" ]; then
    exec 3<&0
    python3 DIR/pasta-forwarder "$conf" $into &
    exec 3<&-
    while [ ! -S "$conf" ]; do sleep 0.05; done
fi
exec REAL "$@"
"""

# PR_SET_PDEATHSIG (1) ends it with its parent, which becomes pasta.
FORWARDER = r"""
import ctypes, json, os, select, socket, subprocess, sys, threading
ctypes.CDLL(None).prctl(1, 9)
path, *into = sys.argv[1:]
rules, listening = [], []
INTO = ["nsenter", *into, "--preserve-credentials", "socat", "-t5", "STDIO"]

def carry_tcp(server, port):
    while True:
        try:
            c, _ = server.accept()
        except OSError:
            return
        with c:
            subprocess.Popen(INTO + ["TCP:10.0.2.100:%d" % port], stdin=c, stdout=c,
                             stderr=subprocess.DEVNULL, pass_fds=[3])

def carry_udp(server, port):
    while True:
        try:
            data, client = server.recvfrom(65536)
        except OSError:
            return
        with subprocess.Popen(INTO + ["UDP:10.0.2.100:%d" % port], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[3]) as there:
            there.stdin.write(data)
            there.stdin.flush()
            came = select.select([there.stdout], [], [], 5)[0]
            answer = there.stdout.read1(65536) if came else b""
            there.kill()
        if answer:
            server.sendto(answer, client)

def close_all():
    while listening:
        s = listening.pop()
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()

def listen():
    close_all()
    for proto, ip, port, child in rules:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if proto == "tcp":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((ip, port))
            if proto == "tcp":
                s.listen(128)
        except OSError as e:
            s.close()
            print("Listen failed for HOST %s port %s/%d: %s" % (proto.upper(), ip, port, e.strerror),
                  file=sys.stderr)
            close_all()
            return
        listening.append(s)
        threading.Thread(target=carry_tcp if proto == "tcp" else carry_udp, args=(s, child),
                         daemon=True).start()

def carry_out(request):
    add, rule = request["add"], request["rule"]
    if add and any(r[0] == rule[0] and r[2] == rule[2] and (r[1] == rule[1] or "0.0.0.0" in (r[1], rule[1]))
                   for r in rules):
        return "Forwarding configuration conflict"
    if not add and rule not in rules:
        return "Couldn't find forwarding rule to delete"
    rules.append(rule) if add else rules.remove(rule)
    listen()
    return ""

server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(8)
while True:
    c, _ = server.accept()
    with c:
        c.sendall(json.dumps(carry_out(json.loads(c.recv(4096)))).encode())
"""

PESTO = r"""#!/usr/bin/env python3
import json, re, socket, sys
if "--version" in sys.argv:
    sys.exit(0)
what, rule, path = sys.argv[1:]
proto, ip, port, child = re.fullmatch(r"--(tcp|udp)-ports=(.*)/(\d+):(\d+)", rule).groups()
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(path)
except OSError as e:
    sys.exit("Failed to connect to %s: %s" % (path, e.strerror))
s.sendall(json.dumps({"add": what in ("-A", "--add"), "rule": [proto, ip, int(port), int(child)]}).encode())
sys.exit(json.loads(s.recv(4096)) or 0)
"""


def missing():
    """Whether this machine's pasta and pesto cannot do it."""
    return not shutil.which("pesto") or subprocess.run(
        ["pasta", "--conf-path=/", "--version"], capture_output=True).returncode != 0


@contextlib.contextmanager
def environment():
    """Yields that of a user who has a pasta and a pesto: the machine's or, where they are missing, these."""
    if not missing():
        yield world().environ()
        return
    directory = world().base + "/pesto"
    os.mkdir(directory)
    try:
        install(directory)
        yield world().environ(PATH=directory + ":" + world().environ()["PATH"])
    finally:
        shutil.rmtree(directory)


def install(directory):
    """Writes the programs into the directory, which must come first in PATH. Returns the path of pesto."""
    real = shutil.which("pasta")
    for name, text in (("pasta", PASTA), ("pasta-forwarder", FORWARDER), ("pesto", PESTO)):
        write("%s/%s" % (directory, name), text.replace("REAL", real).replace("DIR", directory), 0o755)
    return os.path.join(directory, "pesto")
