# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for containers: network namespaces on a bridge in rootlesskit's, as Docker makes them."""

import contextlib
import subprocess

from .launch import popen, run, wait_for

BRIDGE4, BRIDGE6 = "172.31.0.1", "fd00:31::1"
SETUP = """
set -e
ip link show br0 >/dev/null 2>&1 || {
    ip link add br0 type bridge
    ip addr add %s/16 dev br0
    ip -6 addr add %s/64 dev br0 nodad
    ip link set lo up
    ip link set br0 up
}
ip link add %s type veth peer name eth0 netns %d
ip link set %s master br0 up
"""
INSIDE = """
set -e
ip link set lo up
ip addr add %s/16 dev eth0
ip -6 addr add %s/64 dev eth0 nodad
ip link set eth0 up
ip route add default via %s
"""


class Container:
    """A container on br0. number, from 2 to 254, is the last part of its addresses."""

    def __init__(self, rk, number=2):
        self.rk, self.number = rk, number
        self.ip4, self.ip6 = "172.31.0.%d" % number, "fd00:31::%x" % number

    def __enter__(self):
        self.proc = popen(["nsenter", "-U", "--preserve-credentials", "-m", "-n", "-t",
                           str(self.rk.child_pid), "unshare", "-n", "sleep", "infinity"])
        self.pid = self.proc.pid
        self.netns = "/proc/%d/ns/net" % self.pid
        wait_for("the container", lambda: self._command() == b"sleep")
        self.veth = "veth%d" % self.number
        self._run(self.rk.child_pid, SETUP % (BRIDGE4, BRIDGE6, self.veth, self.pid, self.veth))
        self._run(self.pid, INSIDE % (self.ip4, self.ip6, BRIDGE4))
        return self

    def _command(self):
        with open("/proc/%d/cmdline" % self.pid, "rb") as f:
            return f.read().split(b"\0")[0]

    @staticmethod
    def _run(pid, script):
        got = run("nsenter", "-U", "--preserve-credentials", "-n", "-t", str(pid), "sh", "-c", script)
        if got.returncode:
            raise AssertionError("container: " + got.stderr)

    def __exit__(self, *exc):
        # The kernel removes the namespace, and the veth with it, some time after its last process. The next
        # container may need the veth's name before that.
        self._run(self.rk.child_pid, "ip link del " + self.veth)
        self.proc.kill()
        self.proc.wait()


# accept_dad is off, since an IPv6 address cannot be used while the kernel looks for duplicates (RFC 4862).
BEHIND_BRIDGE = """
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip link add br0 type bridge
ip addr add 172.17.0.1/16 dev br0
ip -6 addr add fd00:17::1/64 dev br0 nodad
ip link set br0 up
ip link add c0 type veth peer name eth0 netns {pid}
ip link set c0 master br0 up
nsenter -n -t {pid} sh -ec '
    ip link set lo up
    ip addr add 172.17.0.2/16 dev eth0
    ip -6 addr add fd00:17::2/64 dev eth0 nodad
    ip link set eth0 up
    {routes}'
"""
FORWARD = """
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""
ROUTES = "ip route add default via 172.17.0.1; ip -6 route add default via fd00:17::1"


@contextlib.contextmanager
def behind_bridge(rk, routes=ROUTES, forward=False):
    """A container with 172.17.0.2 and fd00:17::2, without masquerading. Yields the pid of a process in it.
    With forward, it may reach what is outside."""
    enter = ["nsenter", "-U", "--preserve-credentials", "-n", "-t", str(rk.child_pid)]
    proc = popen([*enter, "-m", "unshare", "-n", "sh", "-c", "echo ready; exec sleep infinity"],
                 stdout=subprocess.PIPE)
    try:
        assert proc.stdout.readline() == b"ready\n"
        script = BEHIND_BRIDGE.format(pid=proc.pid, routes=routes)
        # The script runs in our mount namespace: in the command's, /proc/sys may be read-only.
        got = run(*enter, "sh", "-ec", (FORWARD if forward else "") + script)
        assert got.returncode == 0, got.stderr
        yield proc.pid
    finally:
        run(*enter, "sh", "-c", "ip link del c0; ip link del br0")
        proc.kill()
        proc.wait()
        proc.stdout.close()
