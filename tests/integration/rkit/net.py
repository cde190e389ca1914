# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, and sockets that a test makes in them."""

import contextlib
import ctypes
import os
import socket
import threading

from .world import sh

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000


def in_netns(path, make):
    """Runs make() in a thread that has entered the network namespace, and returns its value. The sockets that
    it makes stay in that namespace. path None: our own."""
    if path is None:
        return make()
    result = []

    def work():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns " + path)
            finally:
                os.close(fd)
            result.append((make(), None))
        except BaseException as e:  # the caller raises it again
            result.append((None, e))
    t = threading.Thread(target=work)
    t.start()
    t.join()
    value, error = result[0]
    if error:
        raise error
    return value


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bound(kind, host, port, netns=None, v6only=True):
    """A bound socket. kind is SOCK_DGRAM or SOCK_STREAM, which listens as well."""
    def make():
        s = socket.socket(family_of(host), kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) if kind == socket.SOCK_STREAM \
            else None
        if s.family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        s.bind((host, port))
        if kind == socket.SOCK_STREAM:
            s.listen(4096)
        return s
    return in_netns(netns, make)


def connect(host, port, netns=None, timeout=60, rcvbuf=None, source=None):
    def make():
        s = socket.socket(family_of(host), socket.SOCK_STREAM)
        try:
            s.settimeout(timeout)
            if rcvbuf:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if source:
                s.bind((source, 0))
            s.connect((host, port))
        except BaseException:
            s.close()
            raise
        return s
    return in_netns(netns, make)


def udp_client(host, port, netns=None, timeout=10, source=None):
    """A UDP socket that is connected to host:port, so that only answers from there reach it."""
    def make():
        s = socket.socket(family_of(host), socket.SOCK_DGRAM)
        s.settimeout(timeout)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if source:
            s.bind((source, 0))
        s.connect((host, port))
        return s
    return in_netns(netns, make)


@contextlib.contextmanager
def neighbour(name="client", host_addresses=("192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64",
                                             "2001:db8::2/64"),
              addresses=("192.0.2.100/24", "2001:db8::100/64")):
    """A network namespace that plays another machine, joined to ours by a veth pair. Yields its path."""
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "link", "add", "to-" + name, "type", "veth", "peer", "name", "eth0", "netns", name)
        for a in host_addresses:
            sh("ip", "addr", "add", a, "dev", "to-" + name, *(["nodad"] if ":" in a else []))
        for a in addresses:
            sh("ip", "-n", name, "addr", "add", a, "dev", "eth0", *(["nodad"] if ":" in a else []))
        sh("ip", "link", "set", "to-" + name, "up")
        sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", name, "link", "set", "eth0", "up")
        yield "/run/netns/" + name
    finally:
        sh("ip", "link", "del", "to-" + name, check=False)
        sh("ip", "netns", "del", name)


@contextlib.contextmanager
def further_address(neighbour, address):
    """Another IPv4 address of a machine that neighbour() has made, whose path is given."""
    name = os.path.basename(neighbour)
    sh("ip", "-n", name, "addr", "add", address + "/32", "dev", "eth0")
    try:
        sh("ip", "route", "add", address + "/32", "dev", "to-" + name)
        yield address
    finally:
        sh("ip", "route", "del", address + "/32", check=False)
        sh("ip", "-n", name, "addr", "del", address + "/32", "dev", "eth0")
