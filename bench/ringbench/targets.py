# SPDX-License-Identifier: Apache-2.0
"""The performance targets of ringkit, and the check whether a run met them.

Most targets are ratios to another peer of the same run, so that they do not depend on the machine.
"""

from collections import namedtuple

OURS, EPOLL = "ringkit", "ringkit-epoll"
# By which share the epoll back end may be worse than io_uring.
BACKEND_SHARE = 0.15
# How many descriptors of pipes the workers may keep for later flows.
POOLED_PIPES = 16

# A condition. The median of `metric` of the peer `who` in `scenario` is divided by the median of `peer`, and
# the ratio is compared with `limit` by `op`. If `peer` is "", the median itself is compared. base: the
# scenario of the peer's median, if it is another one. plus: the peer's median is subtracted instead of
# divided by, so that the limit has the metric's unit.
Target = namedtuple("Target", "row scenario variant who metric peer op limit base plus",
                    defaults=("", False))


def _against(row, scenarios, peer, variant="unpaced", who=OURS, **limits):
    """limits: metric=(op, limit)."""
    return [Target(row, scenario, variant, who, metric, peer, op, limit)
            for scenario in scenarios for metric, (op, limit) in limits.items()]


def _way_out():
    """Targets of ringkit's own network. In scenarios named net-far-* the server is on another host, in the
    others it is on the same host."""
    us, rows = "net-builtin", []

    def add(row, key, peer, **limits):
        rows.extend(_against(row, (key,), peer, who=us, **limits))
    for mode in "up", "down":
        for mtu, times in (65520, 3), (1500, 10):
            row, key = "the way out, one flow", f"net-far-{mode}-{mtu}"
            add(row, key, "net-slirp4netns", gbps=(">=", times))
            add(row, key, "net-pasta", gbps=(">=", 3))
            add(row, key, "net-direct", gbps=(">=", 0.7))
            add(row, key, "", cpu_s_per_gb=("<=", 0.12))
            row = "the same, server on the host"
            key = f"net-{mode}-{mtu}"
            add(row, key, "net-slirp4netns", gbps=(">=", times))
            add(row, key, "net-pasta", gbps=(">=", 3))
            add(row, key, "net-direct", gbps=(">=", 0.7))
            add(row, key, "", cpu_s_per_gb=("<=", 0.12))
            rows.append(Target("from a container behind a bridge", f"net-bridge-{mode}-{mtu}",
                               "unpaced", us, "gbps", us, ">=", 0.8, base=f"net-{mode}-{mtu}"))
    for word in "net-far-", "net-":
        row = "the way out, requests" if word == "net-far-" else "the same, server on the host"
        for peer, kept in ("net-slirp4netns", 1.5), ("net-pasta", 1):
            add(row, word + "connreq-64", peer, rps=(">=", 2))
            for conns in 1, 64:
                add(row, f"{word}reqres-{conns}x64", peer, rps=(">=", kept))
        rows.append(Target(row, word + "connreq-1", "unpaced", us, "p50_us", "net-direct", "<=",
                           80, plus=True))
    row = "the way out, UDP and DNS"
    add(row, "net-far-udp-1400-200", "", lost_pct=("<=", 0))
    add(row, "net-far-udp-gso-1400-max", "net-pasta", kdps=(">=", 4))
    add(row, "net-dns-16", "net-slirp4netns", rps=(">=", 3))
    row = "the way out, idle with a port"
    add(row, "net-startup", "net-slirp4netns", wall_ms=("<=", 0.7))
    add(row, "net-memory", "", pss_mib=("<=", 2.5))
    return rows


def _list():
    one = ("bulk-up-1", "bulk-down-1")
    rows = []
    row = "bulk TCP, one flow, each direction"
    rows += _against(row, one, "rootlesskit", gbps=(">=", 1.4), cpu_s_per_gb=("<=", 0.3))
    rows += _against(row, one, "pasta", gbps=(">=", 1.0), cpu_s_per_gb=("<=", 0.7))
    rows += _against(row, one, "direct", gbps=(">=", 0.95))
    row = "the same on a BBR host"
    rows += _against(row, one, "rootlesskit", "bbr", gbps=(">=", 1.5))
    rows += _against(row, one, "pasta", "bbr", gbps=(">=", 1.3))
    rows += _against(row, one, "direct", "bbr", gbps=(">=", 1.0))
    row = "request/response, 64 connections"
    many = ("reqres-64x64",)
    rows += _against(row, many, "rootlesskit", rps=(">=", 1.15), p99_us=("<=", 0.4))
    rows += _against(row, many, "pasta", rps=(">=", 1.05), p99_us=("<=", 1.0))
    row = "request/response, 1 connection"
    single = ("reqres-1x64",)
    rows += _against(row, single, "rootlesskit", p50_us=("<=", 0.9))
    rows += _against(row, single, "pasta", p50_us=("<=", 1.05))
    rows += _against(row, single, "direct", p50_us=("<=", 1.6))
    row = "connection per request"
    each = ("connreq-64",)
    rows += _against(row, each, "rootlesskit", rps=(">=", 1.8), p99_us=("<=", 0.5))
    rows += _against(row, each, "pasta", rps=(">=", 1.25), p99_us=("<=", 0.8))
    rows += _against(row, each, "direct", rps=(">=", 0.6))
    row = "requests beside 32 bulk flows"
    rows += _against(row, ("mixed-32",), "", rps=(">=", 500), p99_us=("<=", 40000))
    rows += _against("longest request while the data plane is started anew", ("reload-2",), "",
                     max_us=("<=", 20000))
    for row, key, limits in (
            ("UDP, 1,400 bytes, 200 k/s offered", "udp-1400-200", (5, 1.8, 0.9)),
            ("UDP from GSO senders", "udp-gso-1400-max", (5, 4, 0.5))):
        for peer, limit in zip(("rootlesskit", "pasta", "direct"), limits):
            rows += _against(row, (key,), peer, kdps=(">=", limit))
    rows += _against("start-up", ("startup",), "rootlesskit", wall_ms=("<=", 0.35))
    rows += _against("start-up", ("startup-slirp-port",), "rootlesskit", wall_ms=("<=", 0.6))
    rows += _against("resident memory, idle with one port", ("memory",), "rootlesskit",
                     rss_mib=("<=", 0.4), pss_mib=("<=", 0.4))
    for row, who in (("8,000 idle connections", OURS), ("the same, epoll", EPOLL)):
        rows += _against(row, ("idle-8000",), "", who=who, held=(">=", 8000),
                         grown_rss_mib=("<=", 6), idle_cpu_ms_per_s=("<=", 0.5),
                         pipes_held=("<=", POOLED_PIPES))
    rows += _way_out()
    row = "container: straight, beside docker-proxy"
    for key, limits in (("docker-up", {"gbps": (">=", 1.5)}),
                        ("docker-reqres-1x64", {"p50_us": ("<=", 0.8)}),
                        ("docker-connreq-64", {"rps": (">=", 1.5)}),
                        ("docker-ports-500", {"add_s": ("<=", 1.0)})):
        rows += _against(row, (key,), "docker-proxy", who="docker-direct", **limits)
    rows += _against("publishing ports of a container", ("docker-ports-500",),
                     "docker-rootlesskit", who="docker-direct", add_s=("<=", 0.7),
                     remove_s=("<=", 0.7))
    # Docker publishes a port for IPv4 and for IPv6, which makes two ports, and both together may take 1 MiB.
    rows += _against("memory of a container's port", ("docker-ports-500",), "", who="docker-direct",
                     pss_kib_per_port=("<=", 512))
    row = "10,000 ports"
    rows += _against(row, ("ports-10000",), "rootlesskit", add_s=("<", 1.0),
                     rss_kib_per_port=("<=", 0.4))
    rows += _against(row, ("ports-10000",), "", add_s=("<=", 0.5),
                     descriptors_per_port=("<=", 1.1))
    rows += _against("the same, as a range", ("ports-range-10000",), "", add_s=("<=", 0.2))
    return rows


TARGETS = _list()


def _median(entry, peer, metric):
    of = entry["peers"].get(peer) if entry else None
    stat = of["summary"].get(metric) if of else None
    return stat["median"] if stat else None


def judge(op, value, limit):
    return {">=": value >= limit, "<=": value <= limit, "<": value < limit}[op]


def _missing(entry, peer):
    """Why the peer has no figure in the scenario. Keys: note, a text, and unmeasured: True if the run did
    not measure it at all."""
    if entry is None:
        return {"note": "scenario not run", "unmeasured": True}
    of = entry["peers"].get(peer)
    if of is None:
        return {"note": f"{peer} not measured", "unmeasured": True}
    return {"note": f"{peer} failed" if of["failures"] else f"{peer}: no figure"}


def _one(entry, base, target):
    """The target with its figures. entry: result of the target's scenario. base: result of the scenario
    that the peer's figure is taken from."""
    ours = _median(entry, target.who, target.metric)
    theirs = _median(base, target.peer, target.metric) if target.peer else 1.0
    found = dict(target._asdict(), ours=ours, theirs=theirs if target.peer else None, value=None,
                 met=None, note="", unmeasured=False)
    if not entry or (target.peer and (not base or target.peer not in base["peers"])):
        found.update(_missing(base if entry else None, target.peer))
    elif ours is None:
        found.update(_missing(entry, target.who))
    elif theirs is None:
        found.update(_missing(base, target.peer))
    elif not theirs:
        found["note"] = f"{target.peer}: 0"
    else:
        found["value"] = ours - theirs if target.plus else ours / theirs
        found["met"] = judge(target.op, found["value"], target.limit)
    return found


def _backends(results):
    """A target for every scenario in which both back ends took part: epoll compared with io_uring."""
    found = []
    for entry in results:
        if OURS not in entry["peers"] or EPOLL not in entry["peers"]:
            continue
        metric = entry["primary"]
        # These two vary too much for a ratio: one is a few hundred KiB, the other the longest of all
        # requests. They have absolute targets above.
        if metric in ("grown_rss_mib", "max_us"):
            continue
        higher = metric in ("gbps", "rps", "kdps")
        limit = 1 - BACKEND_SHARE if higher else 1 + BACKEND_SHARE
        ours, uring = _median(entry, EPOLL, metric), _median(entry, OURS, metric)
        target = Target("epoll back end against io_uring", entry["scenario"], entry["variant"],
                        EPOLL, metric, OURS, ">=" if higher else "<=", limit)
        known = ours is not None and bool(uring)
        found.append(dict(target._asdict(), ours=ours, theirs=uring,
                          value=ours / uring if known else None,
                          met=judge(target.op, ours / uring, limit) if known else None,
                          note="" if known else "no figure", unmeasured=False))
    return found


def evaluate(results):
    """Every target with its figures. met: True, False, or None, in which case note says why."""
    by_key = {(entry["scenario"], entry["variant"]): entry for entry in results}
    found = [_one(by_key.get((t.scenario, t.variant)),
                  by_key.get((t.base or t.scenario, t.variant)), t) for t in TARGETS]
    return found + _backends(results)
