# SPDX-License-Identifier: Apache-2.0
"""The place where a benchmark runs: who runs the forwarders, and in which network namespace.

As root, everything outside the forwarders' namespaces happens in a network namespace made for the
run, so that its congestion control can be chosen without touching the machine's, and each peer
runs as an unprivileged user of its own, so that per-user limits (pipe pages) are not shared. As an
ordinary user, the host's own namespace and the caller's account serve.
"""

import os
import pwd
import shutil
import subprocess
import tempfile


class Skip(Exception):
    """Something optional is missing; the text says what, and what would bring it."""


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _sh(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


class Host:
    """A network namespace, users and a scratch directory, all undone by close()."""

    def __init__(self, congestion):
        self.root = os.geteuid() == 0
        self.congestion = congestion
        self.netns = None
        self.users = []
        self.dir = tempfile.mkdtemp(prefix="rkbench-")
        os.chmod(self.dir, 0o755)
        try:
            if self.root:
                self._make_netns()
            self._check_congestion()
        except BaseException:
            self.close()
            raise

    def _make_netns(self):
        name = f"rkbench-{os.getpid()}"
        _sh("ip", "netns", "add", name)
        self.netns = name
        self._ip("link", "set", "lo", "up")
        # pasta wants an interface with a route to copy from.
        self._ip("link", "add", "uplink", "type", "veth", "peer", "name", "uplink-peer")
        self._ip("addr", "add", "198.51.100.2/24", "dev", "uplink")
        for link in ("uplink", "uplink-peer"):
            self._ip("link", "set", link, "up")
        self._ip("route", "add", "default", "via", "198.51.100.1")
        self.set_congestion(self.in_host([]))

    def _ip(self, *args):
        _sh("ip", "-n", self.netns, *args)

    def _check_congestion(self):
        seen = subprocess.run(
            self.in_host(["cat", "/proc/sys/net/ipv4/tcp_congestion_control"]),
            check=True, capture_output=True, text=True).stdout.strip()
        if seen != self.congestion:
            raise Skip(f"congestion control {self.congestion}: this host uses {seen}")

    def set_congestion(self, enter):
        """Sets the default of the namespace that the command prefix `enter` leads to."""
        script = f"echo {self.congestion} >/proc/sys/net/ipv4/tcp_congestion_control"
        done = subprocess.run([*enter, "sh", "-c", script], capture_output=True, check=False)
        if done.returncode:
            raise Skip(
                f"congestion control {self.congestion}: restricted on this machine; add it to "
                "net.ipv4.tcp_allowed_congestion_control to have it measured")

    def in_host(self, argv):
        """The command, in the namespace where clients and forwarders live."""
        if self.netns:
            return ["nsenter", f"--net=/run/netns/{self.netns}", *argv]
        return list(argv)

    def user(self, label):
        """An unprivileged account for one peer, by passwd entry."""
        if not self.root:
            return pwd.getpwuid(os.geteuid())
        name = f"rkb{os.getpid()}-{label}"[:31]
        _sh("useradd", "--create-home", "--home-dir", f"{self.dir}/{label}", "--shell",
            "/bin/sh", name)
        self.users.append(name)
        return pwd.getpwnam(name)

    def as_user(self, user, argv):
        """The command, run by the account, in the host's namespace. Execs: the pid stays."""
        if not self.root:
            return self.in_host(argv)
        return self.in_host([
            "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups",
            "env", "-i", f"HOME={user.pw_dir}", f"USER={user.pw_name}",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", *argv])

    def enter(self, pid):
        """Prefix of a command that shall run in the network namespace of the process."""
        if self.root:
            return ["nsenter", f"--net=/proc/{pid}/ns/net"]
        return ["nsenter", f"--user=/proc/{pid}/ns/user", f"--net=/proc/{pid}/ns/net",
                "--preserve-credentials"]

    def close(self):
        for name in self.users:
            subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)
        self.users = []
        if self.netns:
            subprocess.run(["ip", "netns", "del", self.netns], check=False)
            self.netns = None
        shutil.rmtree(self.dir, ignore_errors=True)


def congestion_controls(root):
    """What to measure here: an unpaced one and BBR where both can be had, else the default.

    A namespace may only choose among the unrestricted ones (and inherits the machine's default);
    reno, always unrestricted, stands in for cubic where that is restricted: on loopback neither
    paces and nothing is lost.
    """
    base = "/proc/sys/net/ipv4/tcp_"
    default = _read(base + "congestion_control")
    if not root:
        return [default]
    available = _read(base + "available_congestion_control").split()
    allowed = set(_read(base + "allowed_congestion_control").split()) | {default}
    chosen = ["cubic" if "cubic" in allowed else "reno"]
    if "bbr" in allowed and "bbr" in available:
        chosen.append("bbr")
    return chosen
