# SPDX-License-Identifier: Apache-2.0
"""Which scenarios a run goes through, how often and for how long."""

from collections import namedtuple

from . import networks, scale
from .docker import DockerBulk, DockerPorts, DockerRequests
from .drivers import PublishedBulk, PublishedRequests
from .scale import RANGE, SINGLE, AddPorts, Idle
from .scenarios import Bulk, Http, Memory, Mixed, Reload, Requests, Startup, Udp

# rounds: how many samples of each peer and scenario. seconds: how long the load of one sample lasts.
Suite = namedtuple("Suite", "scenarios rounds seconds warm_up_s")


def _quick():
    return [
        Bulk("up", 1), Bulk("down", 1), Requests(1), Requests(64),
        Requests(64, reconnect=True), Mixed(32), Udp(1400, 200000), Udp(1400, gso=True),
        Startup(), Startup(slirp=True), Memory(),
    ]


def _full():
    return [
        Bulk("up", 1, core=True), Bulk("down", 1, core=True), Bulk("both", 1),
        Bulk("up", 4), Bulk("up", 16), Bulk("up", 64), Bulk("down", 16), Bulk("both", 16),
        Requests(1, core=True), Requests(64, core=True), Requests(1000),
        Requests(64, 1), Requests(64, 512), Requests(64, 4096),
        Requests(1, reconnect=True), Requests(64, reconnect=True, core=True),
        Mixed(8), Mixed(32), Reload(2), Http(64, core=True), Http(64, close=True),
        Udp(64, 200000), Udp(1400, 200000, core=True), Udp(4096, 50000), Udp(16384, 20000),
        Udp(1400), Udp(1400, 600000, gso=True),
        Udp(64, gso=True), Udp(1400, gso=True), Udp(16384, gso=True),
        Startup(), Startup(slirp=True), Memory(), *scale.full(), *scale.by_workers(),
        *networks.full(), PublishedBulk(), PublishedRequests(64),
        DockerBulk(), DockerRequests(1), DockerRequests(64, reconnect=True), DockerPorts(500),
    ]


def _smoke():
    """One scenario of each kind, to test the bench itself. The figures mean nothing."""
    return [
        Bulk("both", 2), Requests(2), Requests(2, reconnect=True), Mixed(2), Reload(1), Udp(1400, 5000),
        Udp(1400, gso=True), Startup(), Memory(), Idle(20),
        AddPorts(20), AddPorts(20, RANGE), AddPorts(3, SINGLE), scale.WorkersMemory(),
        *networks.smoke(), PublishedBulk(), PublishedRequests(2),
        DockerBulk(), DockerRequests(2), DockerRequests(2, reconnect=True), DockerPorts(5),
    ]


def _profile():
    return [
        Bulk("up", 1), Bulk("down", 1), Bulk("both", 16), Requests(1), Requests(64),
        Requests(64, reconnect=True), Udp(1400, 200000), Udp(1400, gso=True),
    ]


def suite(kind):
    return {
        "full": lambda: Suite(_full(), 5, 0.8, 0.2),
        "quick": lambda: Suite(_quick(), 3, 0.4, 0.15),
        "smoke": lambda: Suite(_smoke(), 1, 0.1, 0.05),
        "profile": lambda: Suite(_profile(), 1, 2.0, 0.3),
    }[kind]()


# Scenarios whose result depends on pacing. Where BBR is available, they are measured with it as well.
PACED_KEYS = ("bulk-up-1", "bulk-down-1", "bulk-both-1", "bulk-up-16", "reqres-64x64",
              "connreq-64")
