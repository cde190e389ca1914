# SPDX-License-Identifier: Apache-2.0
"""All drivers: the port drivers, which have a group of scenarios, and those of networks.py and docker.py.

Programs that a driver needs are looked for when it is started, so that a run without the driver does not
need them.
"""

from .docker import DOCKER
from .networks import NETWORKS
from .peers import REST, SERVICES, RootlessKit, SlirpPorts, first_line, need, need_tun
from .scale import WORKER_PEERS
from .scenarios import Bulk, Requests

PORT_DRIVERS = "Port drivers"


class SlirpPublished(SlirpPorts):
    """Our rootlesskit with the slirp4netns port driver."""

    only = PORT_DRIVERS
    can = frozenset({"bulk", "close"})

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"])
        self.label = "ringkit slirp4netns"
        self.ours = False  # slirp4netns carries the bytes


class SocatPublished(RootlessKit):
    """Our rootlesskit with the socat port driver."""

    only = PORT_DRIVERS
    port_driver = "socat"
    can = SlirpPublished.can
    counts_memory = False  # its processes come and go with the connections

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"], None,
                         label="ringkit socat")
        self.ours = False

    def drivers(self):
        need(self.name, "socat", "socat")
        return [*self.net(), "--port-driver=socat"]


class ImplicitPublished(RootlessKit):
    """Our rootlesskit with pasta, which publishes every port on which something listens inside."""

    only = PORT_DRIVERS
    port_driver = "implicit"
    can = SlirpPublished.can
    not_counted = frozenset({REST})

    def __init__(self, host, name, index):
        super().__init__(host, name, index, host.world.path["rootlesskit"], None,
                         label="ringkit implicit")
        self.ours = False

    def version(self):
        return first_line("pasta", "--version")

    def port(self, service):
        """A port has the same number outside as inside."""
        return SERVICES[service]

    def drivers(self):
        need(self.name, "pasta", "passt")
        need_tun(self.name)
        return ["--net=pasta", "--disable-host-loopback", "--copy-up=/etc",
                "--port-driver=implicit"]

    def command(self):
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(),
                *self.rest_argv()]


# In the order of the tables, after peers.PEERS. Each makes a Peer or raises Skip.
DRIVERS = {
    **WORKER_PEERS,
    **NETWORKS,
    "port-slirp4netns": SlirpPublished,
    "port-socat": SocatPublished,
    "port-implicit": ImplicitPublished,
    **DOCKER,
}


def _is_compared(peer):
    """Whether a peer is in the group. Of the two back ends one is enough here."""
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
