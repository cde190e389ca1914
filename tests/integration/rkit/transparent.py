# SPDX-License-Identifier: Apache-2.0
"""What the tests of --source-ip-transparent share: a machine beside this one, and a server in the namespace
that tells each client the address it sees."""

import contextlib
import subprocess

from . import net
from .container import behind_bridge
from .launch import DEADLINE_S, popen
from .ports import PortTestCase

# The addresses of net.neighbour(): of this host, and of the machine beside it.
HOST4, HOST6, CLIENT4, CLIENT6 = "192.0.2.1", "2001:db8::1", "192.0.2.100", "2001:db8::100"

# Prints "ready". Tells each client the address that it has, and then echoes.
SERVER = """
import socket, sys, threading
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if s.family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(1024)
print("ready", flush=True)
def serve(c, who):
    with c:
        c.sendall(("%s %d\\n" % who[:2]).encode())
        while data := c.recv(65536):
            c.sendall(data)
while True:
    threading.Thread(target=serve, args=s.accept(), daemon=True).start()
"""


def inside(rk, *argv, **kw):
    """Starts a process in the namespaces that servers are in, with all rights there."""
    enter = ["nsenter", "-U", "--preserve-credentials", "-t", str(rk.child_pid)]
    if "--detach-netns" in rk.proc.args:
        enter += ["-m", "nsenter", "--net=%s/netns" % rk.state]
    else:
        enter += ["-n"]
    return popen([*enter, *argv], **kw)


def do_inside(rk, script):
    """Runs a shell script there until it ends, and returns what it printed."""
    proc = inside(rk, "sh", "-ec", script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out = proc.communicate(timeout=DEADLINE_S)[0]
    if proc.returncode:
        raise AssertionError("%s\n%s" % (script, out))
    return out


@contextlib.contextmanager
def running(rk, what, *argv):
    """Runs a program there that says when it is ready. what: what there is none of when it does not."""
    proc = inside(rk, *argv, stdout=subprocess.PIPE)
    try:
        assert proc.stdout.readline() == b"ready\n", "no %s" % what
        yield proc
    finally:
        proc.kill()
        proc.wait()
        proc.stdout.close()


def server(rk, host="127.0.0.1", port=80, netns_of=None):
    """Runs SERVER in the command's network namespace, or in that of the process netns_of."""
    before = ["nsenter", "-n", "-t", str(netns_of)] if netns_of else []
    return running(rk, "server at %s" % host, *before, "python3", "-c", SERVER, host, str(port))


def seen(host, port, netns=None, payload=b"", **kw):
    """The (address, port) that SERVER sees, and the (address, port) of our socket."""
    with net.connect(host, port, netns=netns, **kw) as s:
        line = b""
        while not line.endswith(b"\n"):
            more = s.recv(1)
            if not more:
                raise AssertionError("closed after %r" % line)
            line += more
        if payload:
            s.sendall(payload)
            left = len(payload)
            while left:
                left -= len(s.recv(65536)) or left
        address, number = line.decode().split()
        return (address, int(number)), s.getsockname()[:2]


class TransparentCase(PortTestCase):
    """One rootlesskit for each class, and a machine beside this one, whose namespace is client."""

    not_reference = "sees 127.0.0.1"
    may_die = True
    workers = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = cls.enterClassContext(net.neighbour())

    def counters(self, rk=None):
        return (rk or self.rk).api("GET", "/v1/stats")[1]["total"]["tcp"]

    def seen_or_none(self):
        """seen() for a client on the other machine. None: the connection fails, as it may after a death."""
        try:
            return seen(HOST4, 18080, self.client)
        except (OSError, AssertionError):
            return None

    def counted(self, before):
        """How far the counters (transparent, transparentLost) have risen since before."""
        now = self.counters()
        return tuple(now[k] - before[k] for k in ("transparent", "transparentLost"))


# Port 8080 has the rules that dockerd 28 makes for -p 8080:80 without its userland proxy; 8083 has those
# without loopback addresses. Ports 8081 and 8082 lead to servers in the namespace itself.
TURN = """
for family in 4 6; do
    case $family in
    4) t=iptables container=172.17.0.2 loopback=127.0.0.1 own=172.17.0.1;;
    6) t=ip6tables container=[fd00:17::2] loopback=::1 own=[fd00:17::1];;
    esac
    for proto in tcp udp; do
        $t -t nat -A OUTPUT -m addrtype --dst-type LOCAL -d $loopback -p $proto --dport 8080 \
            -j DNAT --to-destination $container:80
    done
    $t -t nat -A OUTPUT -m addrtype --dst-type LOCAL -p tcp --dport 8081 -j REDIRECT --to-ports 81
    $t -t nat -A OUTPUT -m addrtype --dst-type LOCAL -p tcp --dport 8082 \
        -j DNAT --to-destination $own:82
    $t -t nat -A OUTPUT -m addrtype --dst-type LOCAL ! -d $loopback -p tcp --dport 8083 \\
        -j DNAT --to-destination $container:80
    $t -t nat -A POSTROUTING -o br0 -m addrtype --src-type LOCAL -j MASQUERADE
done
echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet
"""
TURN_BACK = "iptables -t nat -F; ip6tables -t nat -F"
TRACKED = "/proc/sys/net/netfilter/nf_conntrack_count"


@contextlib.contextmanager
def turned(rk):
    """A container, and DNAT rules (TURN) in the command's namespace. Yields the pid of a process in the
    container."""
    with behind_bridge(rk) as pid:
        do_inside(rk, TURN)
        try:
            yield pid
        finally:
            do_inside(rk, TURN_BACK)


# What dockerd 28 makes of -p 8080:80 beside its userland proxy: rules for what comes in, and none for what
# is sent to a loopback address from within.
TURN_IN = r"""
for family in 4 6; do
    case $family in
    4) t=iptables container=172.17.0.2 loopback=127.0.0.1;;
    6) t=ip6tables container=[fd00:17::2] loopback=::1;;
    esac
    $t -t nat -N RKTURN 2>/dev/null || $t -t nat -F RKTURN
    $t -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j RKTURN
    $t -t nat -A OUTPUT ! -d $loopback -m addrtype --dst-type LOCAL -j RKTURN
    for proto in tcp udp; do
        $t -t nat -A RKTURN -d $loopback ! -i br0 -p $proto --dport 8080 \
            -j DNAT --to-destination $container:80
    done
done
iptables -t raw -A PREROUTING -d 127.0.0.1 ! -i lo -p tcp --dport 8080 -j DROP
"""
TURN_IN_BACK = TURN_BACK + "; iptables -t raw -F"

# In docker-proxy's place: whoever it answers did not get to the container.
PROXY = """
import socket, sys, threading
v6 = ":" in sys.argv[1]
family = socket.AF_INET6 if v6 else socket.AF_INET
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 8080))
tcp = socket.create_server((sys.argv[1], 8080), family=family)
print("ready", flush=True)
def answer():
    while True:
        udp.sendto(b"proxy", udp.recvfrom(65536)[1])
threading.Thread(target=answer, daemon=True).start()
while True:
    c = tcp.accept()[0]
    c.sendall(b"proxy 0\\n")
    c.close()
"""


def proxy(rk, host="127.0.0.1"):
    """PROXY in the namespace."""
    return running(rk, "proxy at %s" % host, "python3", "-c", PROXY, host)
