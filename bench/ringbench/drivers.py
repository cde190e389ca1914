# SPDX-License-Identifier: Apache-2.0
"""The network and port drivers, each in a group of scenarios of its own, and Docker's (docker.py).

What a driver needs is looked for and made when it is started, so that a run without it neither
makes nor misses anything.
"""

import contextlib
import glob
import shutil
import subprocess

from rkit import lxc

from .docker import DOCKER
from .host import OUTSIDE_ADDRESS, Skip
from .peers import REST, SERVICES, RootlessKit, SlirpPorts, need_slirp, need_tun
from .programs import Failed
from .scenarios import Bulk, Requests

NETWORKS, PORT_DRIVERS = "Networks", "Port drivers"
# That of Ethernet, which some drivers know alone, and the largest that slirp4netns takes.
SMALL, LARGE = 1500, 65520


def _need(what, program, package):
    if not shutil.which(program):
        raise Skip(f"{what}: {program} is not installed (package {package})")


def _first_line(*argv):
    """What a program says of its version, or ""."""
    if not shutil.which(argv[0]):
        return ""
    text = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return (text.strip().splitlines() or [""])[0]


class Network(RootlessKit):
    """A network driver of ours: the client is inside, the server outside."""

    only = NETWORKS
    can = frozenset()  # nothing is published
    not_counted = frozenset({REST})
    over_loopback = False
    address = OUTSIDE_ADDRESS
    driver = "slirp4netns"
    mtus = (SMALL, LARGE)
    # Whether a failure is held against us: elsewhere another program carries the bytes.
    relayed_by_us = False

    def __init__(self, host, name, index, program=None, label=None):
        super().__init__(host, name, index, program or host.world.path["rootlesskit"], None,
                         label=label or f"ringkit {self.driver}")
        self.ours = self.relayed_by_us
        self.mtu = self.mtus[0]
        self.around = contextlib.ExitStack()

    def check(self, programs):
        """Raises Skip when something is missing."""
        need_slirp(self.name)

    def surround(self):
        """Enters what the network needs around it into self.around."""

    def drivers(self):
        return [f"--net={self.driver}", f"--mtu={self.mtu}", "--disable-host-loopback",
                "--copy-up=/etc"]

    def client_prefix(self):
        return self.host.enter(self.inner_pid)

    def start(self, programs, congestion):
        self.check(programs)
        if not self.user:
            self.user = self.host.user(self.name)
        try:
            self.surround()
            super().start(programs, congestion)
        except Skip:
            self.stop()
            raise

    def after_start(self, programs):
        for service in "bulk", "echo", "close":
            port = self.port(service)
            self._serve(service, programs.server(service, port), "self", port)

    def use_mtu(self, mtu, programs):
        """Starts it anew where it does not run with this MTU."""
        if self.alive() and self.mtu == mtu:
            return
        self.stop()
        self.mtu = mtu
        try:
            self.start(programs, self.host.congestion())
        except Skip as skip:
            raise Failed(str(skip)) from None

    def stop(self):
        super().stop()
        self.around.close()


class BuiltinNetwork(Network):
    """The data plane carries what goes out."""

    driver = "builtin"
    relayed_by_us = True

    def check(self, programs):
        """Nothing beside the kernel is needed."""


class PastaNetwork(Network):
    driver = "pasta"

    def version(self):
        return _first_line("pasta", "--version")

    def check(self, programs):
        _need(self.name, "pasta", "passt")
        need_tun(self.name)


class LxcNetwork(Network):
    """On a bridge with a DHCP server, which it brings along. The kernel carries the bytes."""

    driver = "lxc-user-nic"

    def check(self, programs):
        why = lxc.unusable()
        if why:
            raise Skip(f"{self.name}: {why}")
        _need(self.name, "dnsmasq", "dnsmasq-base")

    def surround(self):
        lxc.prepare()
        try:
            self.around.enter_context(lxc.bridge(user=self.user.pw_name, mtu=self.mtu))
            self.around.enter_context(lxc.Dnsmasq())
        except (AssertionError, OSError, subprocess.CalledProcessError) as why:
            raise Skip(f"{self.name}: bridge and DHCP server: {why}") from None


class VdeplugNetwork(Network):
    driver = "vdeplug_slirp"
    mtus = (SMALL,)

    def check(self, programs):
        _need(self.name, "vde_plug", "vdeplug")
        if not glob.glob("/usr/lib/*/vdeplug/libvdeplug_slirp.so"):
            raise Skip(f"{self.name}: package libvdeplug-slirp is not installed")
        need_tun(self.name)


class VpnkitNetwork(Network):
    """A real vpnkit from PATH, else the one of the integration tests, with libslirp behind the
    protocol. Either way it is we who relay the frames."""

    driver = "vpnkit"
    mtus = (SMALL,)
    relayed_by_us = True

    def __init__(self, host, name, index):
        self.binary = shutil.which("vpnkit")
        super().__init__(host, name, index,
                         label="ringkit vpnkit" + ("" if self.binary else " (stand-in)"))

    def check(self, programs):
        self.binary = self.binary or programs.paths.get("vpnkit_peer")
        if not self.binary:
            raise Skip(f"{self.name}: no vpnkit in PATH, and its stand-in was not built (package "
                       "libslirp-dev)")
        need_tun(self.name)

    def drivers(self):
        return [*super().drivers(), f"--vpnkit-binary={self.binary}"]


class SlirpPublished(SlirpPorts):
    """Our rootlesskit with the slirp4netns port driver."""

    only = PORT_DRIVERS
    can = frozenset({"bulk", "close"})

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"])
        self.label = "ringkit slirp4netns"
        self.ours = False  # its bytes are slirp4netns's


class SocatPublished(RootlessKit):
    """Our rootlesskit with the socat port driver."""

    only = PORT_DRIVERS
    port_driver = "socat"
    can = SlirpPublished.can
    counts_memory = False  # processes that come and go with the connections

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"], None,
                         label="ringkit socat")
        self.ours = False

    def drivers(self):
        _need(self.name, "socat", "socat")
        return [*self.net(), "--port-driver=socat"]


class ImplicitPublished(RootlessKit):
    """Our rootlesskit with pasta, which publishes whatever listens inside."""

    only = PORT_DRIVERS
    port_driver = "implicit"
    can = SlirpPublished.can
    not_counted = frozenset({REST})

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"], None,
                         label="ringkit implicit")
        self.ours = False

    def version(self):
        return _first_line("pasta", "--version")

    def port(self, service):
        """The number outside is the one inside."""
        return SERVICES[service]

    def drivers(self):
        _need(self.name, "pasta", "passt")
        need_tun(self.name)
        return ["--net=pasta", "--disable-host-loopback", "--copy-up=/etc",
                "--port-driver=implicit"]

    def command(self):
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(),
                *self.rest_argv()]


# In the order of tables, after peers.PEERS; each makes a Peer or raises Skip.
DRIVERS = {
    "net-builtin": BuiltinNetwork,
    "net-slirp4netns": Network,
    "net-pasta": PastaNetwork,
    "net-lxc-user-nic": LxcNetwork,
    "net-vdeplug_slirp": VdeplugNetwork,
    "net-vpnkit": VpnkitNetwork,
    "net-rootlesskit": lambda host, name, index: Network(
        host, name, index, "/usr/bin/rootlesskit", "RootlessKit slirp4netns"),
    "port-slirp4netns": SlirpPublished,
    "port-socat": SocatPublished,
    "port-implicit": ImplicitPublished,
    **DOCKER,
}


class NetworkBulk(Bulk):
    """Out of the namespace, to a server that has none of the network's programs behind it."""

    needs, group = frozenset(), NETWORKS

    def __init__(self, mtu, mode="up"):
        super().__init__(mode, 1)
        word = "out of" if mode == "up" else "from outside into"
        self.key, self.title = f"net-{mode}-{mtu}", f"one flow {word} the namespace, MTU {mtu:,}"
        self.mtu = mtu

    def applies(self, peer):
        return peer.only == NETWORKS and self.mtu in peer.mtus

    def sample(self, peer, programs, seconds):
        peer.use_mtu(self.mtu, programs)
        return super().sample(peer, programs, seconds)


class NetworkRequests(Requests):
    """The same as reqres-N and connreq-N, from inside to a server outside."""

    def __init__(self, conns, reconnect=False):
        super().__init__(conns, reconnect=reconnect)
        self.key, self.needs, self.group = f"net-{self.key}", frozenset(), NETWORKS

    def applies(self, peer):
        return peer.only == NETWORKS

    def sample(self, peer, programs, seconds):
        peer.use_mtu(peer.mtus[-1], programs)
        return super().sample(peer, programs, seconds)


def _is_compared(peer):
    """Both back ends carry builtin's ports; one of them is enough here."""
    return peer.port_driver and peer.only in ("", PORT_DRIVERS) and not peer.name.endswith("-epoll")


class PublishedBulk(Bulk):
    """The same as bulk-up-1, for all port drivers."""

    group = PORT_DRIVERS

    def __init__(self):
        super().__init__("up", 1, core=True)
        self.key, self.title = "port-up", "upload through a published port, 1 flow"

    def applies(self, peer):
        return super().applies(peer) and _is_compared(peer)


class PublishedRequests(Requests):
    """The same as connreq-N, for all port drivers."""

    def __init__(self, conns):
        super().__init__(conns, reconnect=True, core=True)
        self.key, self.group = f"port-connreq-{conns}", PORT_DRIVERS

    def applies(self, peer):
        return super().applies(peer) and _is_compared(peer)
