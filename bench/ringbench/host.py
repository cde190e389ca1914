# SPDX-License-Identifier: Apache-2.0
"""The place where a benchmark runs: users, network namespaces, congestion control.

A run takes place inside the sandbox of the integration tests: it has its own mount, network and PID
namespaces, in which we are root. Nothing of it can be seen outside, and the machine's settings stay as
they are. Each forwarder runs as an unprivileged user of its own, so that limits for each user (pipe
pages, descriptors in flight) are not shared between them.
"""

import os
import pwd
import resource
import subprocess

from rkit.world import world

# The limit of descriptors of each forwarder. The targets for many connections and ports depend on it.
NOFILE = 20000
# Clients' ports, apart from those on which forwarders listen.
LOCAL_PORTS = "41000 64999"
# Our address, on an interface, and that of the host at its other end. Clients inside a network reach
# servers outside at these.
OUTSIDE_ADDRESS, FAR_ADDRESS = "198.51.100.2", "198.51.100.1"
_FIRST_UID = 21000
_CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"


class Skip(Exception):
    """Something optional is missing. The text says what, and how to get it."""


def _sh(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def _write_in(enter, path, text):
    """Writes a sysctl in the network namespace that the prefix enters. Returns whether that worked."""
    script = f"echo {text} >{path}"
    return subprocess.run([*enter, "sh", "-c", script], capture_output=True,
                          check=False).returncode == 0


class Host:
    """The world of the integration tests, with an interface that pasta can copy and with users."""

    def __init__(self):
        self.world = world()
        self.dir = self.world.base + "/bench"
        os.mkdir(self.dir, 0o755)
        self.users = 0
        # pasta needs an interface with a route to copy.
        self.far_pid = self._far_host()
        _sh("ip", "route", "add", "default", "via", FAR_ADDRESS)
        # The networks forward the namespace's queries to this name server.
        with open("/etc/resolv.conf", "w", encoding="ascii") as file:
            file.write(f"nameserver {FAR_ADDRESS}\n")
        _write_in([], "/proc/sys/net/ipv4/ip_local_port_range", LOCAL_PORTS)

    def _far_host(self):
        """Makes another host at the end of our interface. Returns the pid of a process in its namespace,
        which ends with the sandbox."""
        _sh("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink-peer")
        _sh("ip", "addr", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "uplink")
        _sh("ip", "link", "set", "uplink", "up")
        script = ("ip link set lo up; echo ready; read line; "
                  f"ip addr add {FAR_ADDRESS}/24 dev uplink-peer; ip link set uplink-peer up; "
                  # Packets from a network of lxc-user-nic have an address of that network.
                  f"ip route add default via {OUTSIDE_ADDRESS}; echo done; exec sleep 1000000")
        far = subprocess.Popen(["unshare", "--net", "sh", "-c", script], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        far.stdout.readline()
        _sh("ip", "link", "set", "uplink-peer", "netns", str(far.pid))
        far.stdin.write("\n")
        far.stdin.flush()
        if far.stdout.readline() != "done\n":
            raise SystemExit("the other host could not be made")
        self.widen_ports(self.enter(far.pid))
        return far.pid

    def congestion_controls(self):
        """The congestion controls to measure: one that does not pace, and BBR where it is available.

        A namespace may only choose unrestricted ones. reno always is, and takes the place of a
        restricted cubic: on loopback neither paces, and nothing is lost.
        """
        found = [next((cc for cc in ("cubic", "reno") if _write_in([], _CONGESTION, cc)), None)]
        found.append("bbr" if _write_in([], _CONGESTION, "bbr") else None)
        return [cc for cc in found if cc] or [self.congestion()]

    def congestion(self):
        with open(_CONGESTION, encoding="ascii") as file:
            return file.read().strip()

    def set_congestion(self, name, enter=()):
        """Sets the default of the namespace that the prefix enters; without a prefix, of our own and of
        the other host's."""
        if not _write_in(enter, _CONGESTION, name):
            raise Skip(f"congestion control {name} cannot be chosen in a namespace")
        if not enter:
            _write_in(self.enter(self.far_pid), _CONGESTION, name)

    def widen_ports(self, enter):
        """Allows more local ports inside, for scenarios with a connection for each request."""
        _write_in(enter, "/proc/sys/net/ipv4/ip_local_port_range", "1024 65000")

    def user(self, label):
        """Makes an unprivileged account with sub-ids and a home. Returns its passwd entry."""
        number = self.users
        self.users += 1
        # A sandbox made without root has only the 65,536 ids of its user.
        first, count = (22000, 2000) if self.world.in_userns else (400000, 65536)
        name = f"bench-{label}"[:31]
        home = f"{self.dir}/{label}"
        self.world.add_user(name, _FIRST_UID + number, (first + number * count, count), home=home)
        entry = pwd.getpwnam(name)
        os.mkdir(home, 0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        return entry

    @staticmethod
    def hard_limit():
        """The hard limit of descriptors."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return hard if hard != resource.RLIM_INFINITY else 1 << 30

    def may_hold(self, descriptors):
        """Whether a process can be started with this limit of descriptors."""
        return subprocess.run(["prlimit", f"--nofile={descriptors}:{descriptors}", "true"],
                              capture_output=True, check=False).returncode == 0

    def as_user(self, user, argv, nofile=NOFILE):
        """The words that run a command as this user with a limit of descriptors. The pid stays the same."""
        limit = nofile if nofile > NOFILE else min(nofile, self.hard_limit())
        path = self.world.bin + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return ["prlimit", f"--nofile={limit}:{limit}", "setpriv", f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}", "--init-groups", "env", "-i", f"HOME={user.pw_dir}",
                f"USER={user.pw_name}", f"TMPDIR={user.pw_dir}", f"PATH={path}", *argv]

    @staticmethod
    def enter(pid):
        """The prefix of a command that is to run in the network namespace of this process."""
        return ["nsenter", f"--net=/proc/{pid}/ns/net"]
