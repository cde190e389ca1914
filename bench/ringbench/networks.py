# SPDX-License-Identifier: Apache-2.0
"""The network drivers, which have a group of scenarios: traffic out of the namespace.

The server is on the host itself (on an address of its interface), or on another host, which is a namespace
at the other end of that interface. Clients are in the namespace, or in a container behind a bridge in it.
Programs that a driver needs are looked for when it is started.
"""

import contextlib
import glob
import re
import shutil
import subprocess
import time

from rkit import lxc

from . import procs
from .host import FAR_ADDRESS, OUTSIDE_ADDRESS, Skip
from .peers import REST, Peer, RootlessKit, first_line, free_port, need, need_slirp, need_tun
from .programs import Failed, run_json
from .scenarios import Bulk, Requests, Scenario, Startup, Udp, instance, latencies

GROUP = "Networks"
# MTUs: that of Ethernet, the only one that some drivers know, and the largest that slirp4netns takes.
SMALL, LARGE = 1500, 65520
HERE, FAR, BRIDGE = "here", "far", "bridge"
DNS_PORT = 53

# Runs in the peer's namespace. It makes what Docker makes: a bridge, a veth pair, masquerading. $1 is a
# process of the container, $2 the MTU.
_BRIDGE = """set -e
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link add br0 mtu "$2" type bridge
ip addr add 172.31.0.1/16 dev br0
ip link set br0 up
ip link add c0 mtu "$2" type veth peer name eth0 mtu "$2" netns "$1"
ip link set c0 master br0 up
nft -f - <<END
table ip bench {
    chain out {
        type nat hook postrouting priority 100
        ip saddr 172.31.0.0/16 oifname != "br0" masquerade
    }
}
END
"""
_CONTAINER = """set -e
ip link set lo up
ip addr add 172.31.0.2/16 dev eth0
ip link set eth0 up
ip route add default via 172.31.0.1
"""


class Places:
    """Servers on both hosts, at the same ports. place says which one the next client uses."""

    only = GROUP
    can = frozenset()  # nothing is published
    over_loopback = False
    mtus = (SMALL, LARGE)
    place = HERE
    resolves = True  # a name server can be asked inside
    bridges = True  # a bridge can be made inside

    @property
    def address(self):
        return FAR_ADDRESS if self.place == FAR else OUTSIDE_ADDRESS

    def server_prefix(self):
        return self.host.enter(self.host.far_pid) if self.place == FAR else []

    def after_start(self, programs):
        if self.fresh_copy:
            return
        far = self.host.far_pid
        for place, prefix, pid, address in ((HERE, [], "self", OUTSIDE_ADDRESS),
                                            (FAR, self.host.enter(far), far, FAR_ADDRESS)):
            for service in "bulk", "echo", "close":
                port = self.port(service)
                argv = programs.server(service, port, address)
                self._serve(f"{service}-{place}", [*prefix, *argv], pid, port)


class DirectNetwork(Places, Peer):
    """The host itself, without any network of ours."""

    label = "the host's own path"
    forwards = False
    bridges = False

    def command(self):
        return self.rest_argv()

    def use_mtu(self, mtu, programs):
        """Nothing to do: the MTU of the host's interface is not changed."""

    def client_prefix(self):
        return []

    def name_server(self):
        return FAR_ADDRESS

    def startup_command(self, slirp):
        return None

    def forwarder_pids(self):
        return []


class Network(Places, RootlessKit):
    """A network driver of ours: the client is inside, the server outside."""

    not_counted = frozenset({REST})
    driver = "slirp4netns"
    binary_option = "--slirp4netns-binary"
    binary = None  # path of the network's program, where it is not the one in PATH
    # Whether ringkit itself carries the bytes. Only then does a failure count as ringkit's.
    relayed_by_us = False

    def __init__(self, host, name, index, program=None, label=None, binary=None):
        super().__init__(host, name, index, program or host.world.path["rootlesskit"], None,
                         label=label or f"ringkit {self.driver}")
        self.ours = self.relayed_by_us
        self.binary = binary or self.binary
        self.mtu = self.mtus[0]
        self.around = contextlib.ExitStack()

    def _forget(self):
        super()._forget()
        self.container = None
        self.published = False

    def version(self):
        return first_line(self.binary, "--version") if self.binary else super().version()

    def check(self, programs):
        """Raises Skip when something is missing."""
        if not self.binary:
            need_slirp(self.name)
        need_tun(self.name)

    def surround(self):
        """Sets up what the network needs on the host. What ends it again goes into self.around."""

    def drivers(self):
        words = [f"--net={self.driver}", f"--mtu={self.mtu}", "--disable-host-loopback",
                 "--copy-up=/etc"]
        if self.binary:
            words.append(f"{self.binary_option}={self.binary}")
        if self.published:
            words += self.publish()
        return words

    def publish(self):
        """Options that publish a port."""
        return ["--port-driver=builtin", "-p", f"127.0.0.1:{free_port()}:80/tcp"]

    def startup_command(self, slirp):
        """`true` with a published port."""
        other = self.fresh(())
        other.published = True
        return [self.program, f"--state-dir={other.state_dir()}", *other.drivers(), "true"]

    def client_prefix(self):
        if self.place != BRIDGE:
            return self.host.enter(self.inner_pid)
        if not self.container:
            self._make_container()
        return self.host.enter(self.container.pid)

    def _make_container(self):
        self.container = subprocess.Popen(
            [*self.host.enter(self.inner_pid), "unshare", "--net", REST, "1000000"],
            stdin=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while procs.comm(self.container.pid) != REST and time.monotonic() < end:
            time.sleep(0.01)
        for pid, script in (self.inner_pid, _BRIDGE), (self.container.pid, _CONTAINER):
            done = subprocess.run(
                [*self.host.enter(pid), "sh", "-c", script, "sh", str(self.container.pid),
                 str(self.mtu)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"the container's network: {done.stderr.strip()}")
        self.host.set_congestion(self.host.congestion(), self.host.enter(self.container.pid))

    def name_server(self):
        """The name server that programs inside ask."""
        with open(f"/proc/{self.inner_pid}/root/etc/resolv.conf", encoding="utf-8") as file:
            found = re.search(r"^nameserver\s+([\d.]+)$", file.read(), re.M)
        if not found:
            raise Failed("no name server inside")
        return found.group(1)

    def start(self, programs, congestion):
        self.check(programs)
        if not self.user:
            self.user = self.host.user(self.name)
        try:
            if not self.fresh_copy:
                self.surround()
            super().start(programs, congestion)
        except Skip:
            self.stop()
            raise

    def use_mtu(self, mtu, programs):
        """Starts the network again, unless it runs with this MTU."""
        if self.alive() and self.mtu == mtu:
            return
        self.stop()
        self.mtu = mtu
        try:
            self.start(programs, self.host.congestion())
        except Skip as skip:
            raise Failed(str(skip)) from None

    def stop(self):
        container = self.container
        super().stop()
        if container:
            container.kill()
            container.wait()
        if not self.fresh_copy:
            self.around.close()


class BuiltinNetwork(Network):
    """ringkit's own network: the data plane carries the traffic."""

    driver = "builtin"
    relayed_by_us = True

    def check(self, programs):
        """Nothing but the kernel is needed."""


class PastaNetwork(Network):
    driver = "pasta"
    binary_option = "--pasta-binary"

    def version(self):
        return first_line(self.binary or "pasta", "--version")

    def publish(self):
        """With pasta, only the port driver "implicit" works: it publishes every port on which something
        listens."""
        return ["--port-driver=implicit"]

    def check(self, programs):
        if not self.binary:
            need(self.name, "pasta", "passt")
        need_tun(self.name)


class _Slow:
    """A network that only takes part in the core scenarios, so that a run does not take too long."""

    core_only = True


class LxcNetwork(_Slow, Network):
    """lxc-user-nic on a bridge with a DHCP server, which start() makes. The kernel carries the bytes."""

    driver = "lxc-user-nic"

    def check(self, programs):
        why = lxc.unusable()
        if why:
            raise Skip(f"{self.name}: {why}")
        need(self.name, "dnsmasq", "dnsmasq-base")

    def surround(self):
        lxc.prepare()
        try:
            self.around.enter_context(lxc.bridge(user=self.user.pw_name, mtu=self.mtu))
            self.around.enter_context(lxc.Dnsmasq())
        except (AssertionError, OSError, subprocess.CalledProcessError) as why:
            raise Skip(f"{self.name}: bridge and DHCP server: {why}") from None


class VdeplugNetwork(_Slow, Network):
    driver = "vdeplug_slirp"
    mtus = (SMALL,)

    def check(self, programs):
        need(self.name, "vde_plug", "vdeplug")
        if not glob.glob("/usr/lib/*/vdeplug/libvdeplug_slirp.so"):
            raise Skip(f"{self.name}: package libvdeplug-slirp is not installed")
        need_tun(self.name)


class VpnkitNetwork(_Slow, Network):
    """The vpnkit in PATH, or else the stand-in of the integration tests, which is based on libslirp. With
    both, ringkit relays the frames."""

    driver = "vpnkit"
    binary_option = "--vpnkit-binary"
    mtus = (SMALL,)
    relayed_by_us = True

    def __init__(self, host, name, index):
        found = shutil.which("vpnkit")
        super().__init__(host, name, index,
                         label="ringkit vpnkit" + ("" if found else " (stand-in)"))
        self.binary = found

    def version(self):
        return RootlessKit.version(self)

    def check(self, programs):
        self.binary = self.binary or programs.paths.get("vpnkit_peer")
        if not self.binary:
            raise Skip(f"{self.name}: no vpnkit in PATH, and its stand-in was not built (package "
                       "libslirp-dev)")
        need_tun(self.name)


class RootlessKitNetwork(_Slow, Network):
    """Debian's RootlessKit with slirp4netns."""

    def __init__(self, host, name, index):
        super().__init__(host, name, index, "/usr/bin/rootlesskit", "RootlessKit slirp4netns")


# In the order of the tables. Each makes a Peer or raises Skip.
NETWORKS = {
    "net-direct": DirectNetwork,
    "net-builtin": BuiltinNetwork,
    "net-slirp4netns": Network,
    "net-pasta": PastaNetwork,
    "net-lxc-user-nic": LxcNetwork,
    "net-vdeplug_slirp": VdeplugNetwork,
    "net-vpnkit": VpnkitNetwork,
    "net-rootlesskit": RootlessKitNetwork,
}

_WORDS = {HERE: "", FAR: ", server on another host", BRIDGE: ", from a container behind a bridge"}


class _Outward:
    """A scenario of the group: for which peers it is, and where client and server are."""

    group, needs = GROUP, frozenset()
    place, mtu = HERE, None

    def set_place(self, place, mtu=None, word="net"):
        """Sets where the server is, and puts that into key and title. Scenarios with a server here are
        core scenarios."""
        self.place, self.mtu = place, mtu
        self.core = place == HERE
        self.key = f"{word}-{place}-{self.key}" if place != HERE else f"{word}-{self.key}"
        self.title += _WORDS[place]

    def applies(self, peer):
        return (peer.only == GROUP and (peer.bridges or self.place != BRIDGE)
                and (self.mtu is None or self.mtu in peer.mtus))

    def sample(self, peer, programs, seconds):
        peer.use_mtu(self.mtu or peer.mtus[-1], programs)
        peer.place = self.place
        return super().sample(peer, programs, seconds)


class NetworkBulk(_Outward, Bulk):
    """Bulk transfers between the namespace and a server outside."""

    def __init__(self, mtu, mode="up", place=HERE):
        super().__init__(mode, 1)
        word = "out of" if mode == "up" else "from outside into"
        self.key, self.title = f"{mode}-{mtu}", f"one flow {word} the namespace, MTU {mtu:,}"
        self.set_place(place, mtu)


class NetworkRequests(_Outward, Requests):
    """reqres-N and connreq-N, from inside to a server outside."""

    group = GROUP

    def __init__(self, conns, reconnect=False, place=HERE):
        super().__init__(conns, reconnect=reconnect)
        self.group, self.needs = GROUP, frozenset()
        self.set_place(place)


class NetworkUdp(_Outward, Udp):
    """udp-*, from inside to a receiver on another host."""

    def __init__(self, size, rate=0, gso=False):
        super().__init__(size, rate, gso)
        self.set_place(FAR)

    def receiver(self, peer):
        return peer.server_prefix(), peer.port("udp")


class NetworkDns(_Outward, Scenario):
    """Queries to the name server that programs inside ask, each from a socket of its own. The server that
    finally answers is on the other host."""

    primary, cpu = "rps", "cpu_s_per_kreq"

    def __init__(self, queries):
        super().__init__(f"dns-{queries}", f"name server queries, {queries} at a time")
        self.queries = queries
        self.set_place(HERE)
        self.core = False

    def applies(self, peer):
        return super().applies(peer) and peer.resolves

    def sample(self, peer, programs, seconds):
        peer.use_mtu(peer.mtus[-1], programs)
        server = subprocess.Popen(
            [*peer.host.enter(peer.host.far_pid), programs.paths["dns"], "--listen",
             "--host=0.0.0.0", f"--port={DNS_PORT}"], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        try:
            if server.stderr.readline().strip() != "ready":
                raise Failed("the name server did not start")
            peer.place = HERE
            meter = procs.Meter(peer)
            got = run_json([*peer.client_prefix(), programs.paths["dns"],
                            f"--host={peer.name_server()}", f"--port={DNS_PORT}",
                            f"--queries={self.queries}", f"--seconds={seconds}"], seconds + 20)
        finally:
            server.kill()
            server.communicate()
        if not got["requests"]:
            raise Failed("no query was answered")
        return {"rps": got["rps"], "failures": got["failures"], **latencies(got),
                **meter.finish(got["requests"] / 1000, self.cpu)}


class NetworkStartup(_Outward, Startup):
    """`true` under the launcher, with this network and a published port."""

    def __init__(self):
        Scenario.__init__(self, "startup", "start-up with a published port")
        self.slirp = False
        self.set_place(HERE)
        self.core = False

    def applies(self, peer):
        return super().applies(peer) and peer.forwards

    def check(self, programs):
        """Nothing to check: each peer raises Skip for a program that it misses."""


class NetworkMemory(_Outward, Scenario):
    """The memory of a fresh instance with a published port, programs of the network included."""

    primary, warm = "pss_mib", False

    def __init__(self):
        super().__init__("memory", "idle with a published TCP port, all processes")
        self.set_place(HERE)
        self.core = False

    def applies(self, peer):
        return super().applies(peer) and peer.forwards

    def sample(self, peer, programs, seconds):
        peer.use_mtu(peer.mtus[-1], programs)
        with instance(peer, programs, (), published=True) as own:
            got = procs.memory(own.forwarder_pids())
        return {"rss_mib": got["rss_kib"] / 1024, "pss_mib": got["pss_kib"] / 1024,
                "private_mib": got["private_kib"] / 1024, "processes": got["processes"]}


def full():
    """All scenarios of the group, in the order of the report."""
    found = []
    for place in HERE, FAR, BRIDGE:
        found += [NetworkBulk(mtu, mode, place) for mode in ("up", "down")
                  for mtu in (SMALL, LARGE)]
        if place != BRIDGE:
            found += [NetworkRequests(1, place=place), NetworkRequests(64, place=place),
                      NetworkRequests(1, reconnect=True, place=place),
                      NetworkRequests(64, reconnect=True, place=place)]
    return found + [NetworkUdp(1400, 200000), NetworkUdp(1400, gso=True), NetworkDns(16),
                    NetworkStartup(), NetworkMemory()]


def smoke():
    return [NetworkBulk(SMALL), NetworkBulk(LARGE), NetworkBulk(LARGE, "down"),
            NetworkBulk(LARGE, place=FAR), NetworkBulk(LARGE, place=BRIDGE), NetworkRequests(2),
            NetworkRequests(2, reconnect=True), NetworkUdp(1400, 5000), NetworkDns(2),
            NetworkStartup(), NetworkMemory()]
