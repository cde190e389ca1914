# SPDX-License-Identifier: Apache-2.0
"""What --net=lxc-user-nic needs: a bridge with a DHCP server, and files that the set-uid program reads."""

import contextlib
import glob
import os
import socket
import struct
import subprocess
import threading

from .launch import wait_for
from .packets import ipv4_header
from .peers import background
from .world import USER, sh, world, write

PLACES = ["/usr/libexec/lxc/lxc-user-nic", "/usr/lib/*-linux-gnu/lxc/lxc-user-nic",
          "/usr/lib/lxc/lxc-user-nic"]


def unusable():
    """Why lxc-user-nic cannot run here, or None."""
    if not any(glob.glob(p) for p in PLACES):
        return "no lxc-user-nic (package liblxc-common)"
    if "RKIT_USERNS" in os.environ:
        return "lxc-user-nic is set-uid of the real root only"
    return None


def prepare():
    """Mounts what lxc-user-nic looks at in this test file's own mount namespace, at the first call."""
    if os.path.exists("/sys/class/net/lxc-marker"):
        return
    aside = world().base + "/cgroup"
    os.mkdir(aside)
    sh("mount", "--rbind", "/sys/fs/cgroup", aside)
    sh("mount", "-t", "sysfs", "sysfs", "/sys")  # a new one shows the interfaces of this network namespace
    sh("mount", "--rbind", aside, "/sys/fs/cgroup")
    sh("mount", "--make-rprivate", aside)  # else umount would take the other copies away, too
    sh("umount", "--lazy", aside)
    os.rmdir(aside)
    os.makedirs("/etc/lxc", exist_ok=True)
    os.makedirs("/run/lxc", exist_ok=True)
    sh("mount", "-t", "tmpfs", "tmpfs", "/run/lxc")  # lxc-user-nic's table of who has which interface
    sh("ip", "link", "add", "lxc-marker", "type", "bridge")


@contextlib.contextmanager
def bridge(quota=10, name="lxcbr0", user=USER, mtu=1500):
    write("/etc/lxc/lxc-usernet", "%s veth %s %d\n" % (user, name, quota))
    sh("ip", "link", "add", name, "mtu", str(mtu), "type", "bridge")
    try:
        sh("ip", "addr", "add", "10.0.3.1/24", "dev", name)
        sh("ip", "link", "set", name, "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
            f.write("1")
        yield
    finally:
        sh("ip", "link", "del", name)


def add_network(gateway="10.0.4.1", name="lxcbr0"):
    """Puts the bridge into a second network."""
    sh("ip", "addr", "add", gateway + "/24", "dev", name)


class Dnsmasq:
    """A DHCP and name server on the bridge. Its log tells what it was asked."""

    def __init__(self, *args, lease="1h", range_="10.0.3.2,10.0.3.254", interface="lxcbr0"):
        self.log_path = world().base + "/dnsmasq.log"
        self.leases = world().base + "/dnsmasq.leases"
        self.argv = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-ping", "--no-resolv",
                     "--no-hosts", "--user=root", "--interface=" + interface, "--bind-interfaces",
                     "--except-interface=lo", "--dhcp-authoritative", "--log-dhcp",
                     "--dhcp-leasefile=" + self.leases, "--dhcp-range=%s,%s" % (range_, lease),
                     "--address=/any.example/192.0.2.77", *args]

    def __enter__(self):
        self.log_file = open(self.log_path, "wb")
        self.proc = subprocess.Popen(self.argv, stdout=self.log_file, stderr=self.log_file)
        wait_for("dnsmasq", lambda: "DHCP, IP range" in self.log())
        wait_for("its port", lambda: ":67" in sh("ss", "-lunH").stdout)
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait()
        self.log_file.close()
        if exc[0]:
            print(self.log())
        for path in (self.log_path, self.leases):
            if os.path.exists(path):
                os.unlink(path)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()


def route_back(ns):
    sh("ip", "-n", os.path.basename(ns), "route", "add", "10.0.3.0/24", "via", "192.0.2.1")


class RogueDhcp:
    """A DHCP server that answers as the test says.

    answer(kind, number, address) gets the kind of message that came, how many there have been, and the
    address that it asks for. It returns a list of answers. Each is a dictionary: "type"; "address";
    "options", bytes by number; "raw", bytes to put behind the options in place of their end mark. seen lists
    the kinds of the messages that came."""

    DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
    SERVER = "10.0.3.66"

    def __init__(self, answer, interface="lxcbr0"):
        self.answer, self.interface = answer, interface
        self.seen = []

    def __enter__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.sock.bind((self.interface, 0x0800))
        self.sock.settimeout(0.1)
        self.mac = self.sock.getsockname()[4]
        self.stop = threading.Event()
        self.job = background(self.serve)
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.job.result()
        self.sock.close()

    def serve(self):
        while not self.stop.is_set():
            try:
                frame, address = self.sock.recvfrom(2048)
            except (TimeoutError, OSError):
                continue
            # Only UDP to port 67, and nothing that we have sent.
            if address[2] == socket.PACKET_OUTGOING or frame[23] != 17 or frame[36:38] != b"\0\x43":
                continue
            bootp = frame[42:]
            options = self.options(bootp[240:])
            kind = options[53][0]
            wanted = options.get(50, bootp[12:16])
            self.seen.append(kind)
            for word in self.answer(kind, len(self.seen), socket.inet_ntoa(wanted)):
                self.sock.send(self.frame(bootp, word))

    @staticmethod
    def options(data):
        found, at = {}, 0
        while at < len(data) and data[at] != 255:
            if data[at] == 0:
                at += 1
                continue
            found[data[at]] = data[at + 2:at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        return found

    def frame(self, asked, word):
        options = {53: bytes([word["type"]]), 54: socket.inet_aton(self.SERVER), **word.get("options", {})}
        tail = b"".join(bytes([code, len(value)]) + value for code, value in options.items()
                        if value is not None) + word.get("raw", b"\xff")
        bootp = (b"\x02\x01\x06\x00" + asked[4:8] + bytes(8) + socket.inet_aton(word["address"])
                 + bytes(8) + asked[28:44] + bytes(192) + b"\x63\x82\x53\x63" + tail)
        udp = struct.pack("!HHHH", 67, 68, 8 + len(bootp), 0) + bootp
        head = ipv4_header(self.SERVER, "255.255.255.255", socket.IPPROTO_UDP, len(udp))
        return b"\xff" * 6 + self.mac + b"\x08\x00" + head + udp
