#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command lines of BuildKit, Usernetes and k3s, and the examples of RootlessKit's documentation.
Stand-ins for the daemons do, as root of the namespaces, what such daemons do there."""

import contextlib
import os
import shutil
import socket
import unittest

import rkit
from rkit import cgroups, net, networks
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import said
from rkit.peers import TcpServer, UdpServer, hello
from rkit.world import SUBID, UID, write

# What all daemons do: they are root, give files to other ids, mount, and run programs as other users and in
# PID namespaces.
COMMON = r"""
set -e
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
test "$(id -u):$(id -g)" = 0:0
test "$(wc -l < /proc/self/uid_map)" -ge 2
echo allow | cmp - /proc/self/setgroups
test -d "$ROOTLESSKIT_STATE_DIR" -a -S "$ROOTLESSKIT_STATE_DIR/api.sock"
test "$ROOTLESSKIT_PARENT_EUID" = @UID@
root=$(mktemp -d "$HOME/root-XXXXXX")
chown 100:200 "$root"
test "$(stat -c %u:%g "$root")" = 100:200
test "$(setpriv --reuid=100 --regid=200 --clear-groups id -u)" = 100
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/lower" "$root/upper" "$root/work" "$root/merged" "$root/proc"
mount -t overlay -o lowerdir="$root/lower",upperdir="$root/upper",workdir="$root/work" overlay \
    "$root/merged" 2> /dev/null || echo "no overlayfs in a user namespace here"
mount --bind "$root/lower" "$root/upper"
test "$(unshare --pid --fork --mount-proc sh -c 'echo $$')" = 1
umount -R "$root"
rmdir "$root"
""".replace("@UID@", str(UID))

# Directories that are copied up can be written to.
WRITABLE = r"""
for d in %s; do
    touch $d/new
    mkdir -p $d/own/below
    rm $d/new
done
"""

# The namespaces of a node: it has its own processes, name and shared memory.
NODE = r"""
test "$(cat /proc/1/comm)" = exe -o "$(cat /proc/1/comm)" = rootlesskit
test "$PPID" = 1
hostname node7
test "$(uname -n)" = node7
test "$(wc -l < /proc/sysvipc/shm)" = 1
"""

CGROUP = r"""
cd /sys/fs/cgroup
test "$(sed -n s/^0:://p /proc/self/cgroup)" = /EVAC
test "$(tr ' ' '\n' < cgroup.controllers | sort)" = "$(tr ' ' '\n' < cgroup.subtree_control | sort)"
mkdir -p kubepods/pod1
sleep 60 &
echo $! > kubepods/pod1/cgroup.procs
grep -q '^0::/kubepods/pod1$' /proc/$!/cgroup
kill $!
wait $! || true
cd /
"""

# A pod is a network namespace on a bridge. The node forwards for it.
POD = r"""
ip netns add pod
ip link add cni0 type bridge
ip addr add 10.42.0.1/24 dev cni0
ip link set cni0 up
ip link add veth0 type veth peer name eth0 netns pod
ip link set veth0 master cni0 up
ip -n pod addr add 10.42.0.5/24 dev eth0
ip -n pod link set lo up
ip -n pod link set eth0 up
ip -n pod route add default via 10.42.0.1
echo 1 > /proc/sys/net/ipv4/ip_forward
"""

END = """
echo READY
exec sleep infinity
"""


class ShapeCase(rkit.RkTestCase):
    def setUp(self):
        super().setUp()
        self.runtime = self.world.run_user
        os.mkdir(self.runtime)
        self.addCleanup(shutil.rmtree, self.runtime)
        os.chown(self.runtime, UID, UID)
        self.env = self.world.environ(XDG_RUNTIME_DIR=self.runtime)

    @contextlib.contextmanager
    def daemon(self, *options, script, cgroup=None, **kw):
        """Runs a stand-in, and waits until it has done its script."""
        how = cgroups.within(cgroup) if cgroup else {}
        with Rootlesskit(*options, command=["bash", "-c", COMMON + script + END], env=self.env,
                         **{**how, **kw}) as rk:
            wait_for("the daemon", lambda: "READY" in rk.out() or rk.proc.poll() is not None)
            self.assertIn("READY", rk.out(), rk.log())
            yield rk

    def assertQuiet(self, rk):
        """There are no warnings with the options that the projects use."""
        if not self.world.reference:
            self.assertEqual(rk.log(), "")


class Docker29(ShapeCase):
    """dockerd-rootless.sh of Docker 29: the daemon is in the host's network. It enters the detached namespace
    by nsenter and setns(2) for what it does there."""

    # The steps of the script, then commands that dockerd runs, and a server in docker-proxy's place.
    DAEMON = r"""
set -e
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
rm -f /run/docker /run/containerd /run/xtables.lock
test -e "$ROOTLESSKIT_STATE_DIR/netns"
netns=$ROOTLESSKIT_STATE_DIR/netns
test "$(readlink /proc/self/ns/net)" != "$(nsenter -n"$netns" readlink /proc/self/ns/net)"
nsenter -n"$netns" sysctl -qw net.ipv4.ip_forward=1
nsenter -n"$netns" sysctl -qw net.ipv6.conf.all.forwarding=1
nsenter -n"$netns" -F -- ip link add docker0 type bridge
nsenter -n"$netns" -F -- ip addr add 172.17.0.1/16 dev docker0
if command -v iptables >&2; then
    nsenter -n"$netns" -F -- iptables --wait -t nat -N DOCKER
    nsenter -n"$netns" -F -- iptables --wait -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
fi
echo READY
exec nsenter -n"$netns" -F -- python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 18080))
while True:
    c = s.accept()[0]
    c.sendall(b"proxy")
    c.close()'
"""
    OPTIONS = ["--mtu=65520", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto",
               "--disable-host-loopback", "--copy-up=/etc", "--copy-up=/run", "--propagation=rslave",
               "--detach-netns"]

    def publishes(self, *options):
        """Publishes a port as dockerd does, and connects to it."""
        with networks.outside(), self.daemon(*options, *self.OPTIONS, script=self.DAEMON) as rk:
            rk.add(18080, 18080, "tcp4", parent_ip="0.0.0.0", child_ip="127.0.0.1")
            self.assertEqual(wait_for("the server", lambda: said("127.0.0.1", 18080)), b"proxy")

    @rkit.needs("slirp4netns", "tun", "nsenter")
    def test_slirp4netns(self):
        self.publishes("--net=slirp4netns", "--port-driver=builtin")

    @rkit.needs("pasta", "nsenter")
    def test_pasta(self):
        """The script's choice where there is no slirp4netns: what is open inside is open outside."""
        with networks.outside(), self.daemon("--net=pasta", "--port-driver=implicit", *self.OPTIONS,
                                             script=self.DAEMON):
            def answer():
                try:
                    with net.connect("127.0.0.1", 18080) as c:
                        return c.recv(10)
                except OSError:
                    return None  # pasta looks once a second
            self.assertEqual(wait_for("the server", answer), b"proxy")

    @rkit.needs("nsenter")
    def test_what_it_falls_back_to(self):
        self.publishes("--net=gvisor-tap-vsock", "--port-driver=builtin")

    @rkit.needs("nsenter")
    def test_builtin(self):
        self.publishes("--net=builtin", "--port-driver=builtin")


class BuildKitCase(ShapeCase):
    """`rootlesskit buildkitd`, as in BuildKit's unit and image, and with a network of its own."""

    # The daemon listens below $XDG_RUNTIME_DIR and keeps its data in the home directory.
    LISTEN = r"""
mkdir -p "$XDG_RUNTIME_DIR/buildkit" "$HOME/.local/share/buildkit"
exec python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print("READY", flush=True)
while True:
    s.accept()[0].close()' "$XDG_RUNTIME_DIR/buildkit/buildkitd.sock"
"""

    def tearDown(self):
        shutil.rmtree(self.world.home + "/.local", ignore_errors=True)
        super().tearDown()

    def reached(self):
        """Connects to the daemon, as a client on the host."""
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(self.runtime + "/buildkit/buildkitd.sock")


class BuildKit(BuildKitCase):
    def test_in_the_hosts_network(self):
        for options in ([], ["--net=host"], ["--net=host", "--copy-up=/etc", "--pidns"]):
            with self.subTest(options), self.daemon(*options, script=self.LISTEN) as rk:
                self.reached()
                self.assertQuiet(rk)
            shutil.rmtree(self.runtime + "/buildkit")


class BuildKitNetworks:
    network = None

    def test_in_a_network_of_its_own(self):
        script = WRITABLE % "/etc" + "test ! -L /etc/resolv.conf\n" + \
            "grep -q '^nameserver 10.0.2.3$' /etc/resolv.conf\n" + self.LISTEN
        with networks.outside(), self.daemon("--net=" + self.network, "--copy-up=/etc",
                                             "--disable-host-loopback", script=script) as rk:
            self.reached()
            self.assertEqual(networks.probe(rk, "tcp", "192.0.2.100", "80"), "question")
            self.assertEqual(networks.probe(rk, "name", "any.example."), "192.0.2.77")
            self.assertQuiet(rk)

    @rkit.ours("since 2.0")
    def test_with_a_detached_network(self):
        """The daemon pulls images through the host's network. Containers are in the detached one."""
        script = """
other=$(nsenter --net=$ROOTLESSKIT_STATE_DIR/netns readlink /proc/self/ns/net)
test "$(readlink /proc/self/ns/net)" != "$other"
nsenter --net=$ROOTLESSKIT_STATE_DIR/netns ip link add br0 type bridge
grep -q '^nameserver 10.0.2.3$' $ROOTLESSKIT_STATE_DIR/resolv.conf
""" + self.LISTEN
        with networks.outside(), self.daemon("--net=" + self.network, "--copy-up=/etc",
                                             "--disable-host-loopback", "--detach-netns",
                                             script=script) as rk:
            self.reached()
            self.assertEqual(networks.probe(rk, "tcp", "192.0.2.100", "80",
                                            netns=rk.state + "/netns"), "question")
            self.assertQuiet(rk)


@rkit.needs("slirp4netns", "tun")
class BuildKitBySlirp(BuildKitNetworks, BuildKitCase):
    network = "slirp4netns"


@rkit.ours("has no --net=builtin")
class BuildKitByBuiltin(BuildKitNetworks, BuildKitCase):
    network = "builtin"


class Usernetes(ShapeCase):
    """boot/rootlesskit.sh of Usernetes: it runs itself again in the namespaces. There it makes directories
    whose paths are fixed in Kubernetes, and publishes ports by rootlessctl."""

    OPTIONS = ["--disable-host-loopback", "--port-driver=builtin", "--copy-up=/etc", "--copy-up=/run",
               "--copy-up=/var/lib", "--copy-up=/opt",
               "--copy-up-mode=tmpfs+symlink", "--propagation=rslave", "--pidns"]
    LATER = ["--cgroupns", "--ipcns", "--utsns", "--evacuate-cgroup2=rootlesskit_evac"]
    SLIRP = ["--net=slirp4netns", "--mtu=65520", "--slirp4netns-sandbox=true", "--slirp4netns-seccomp=true"]

    SCRIPT = WRITABLE % "/etc /run /var/lib /opt" + r"""
rm -f /run/xtables.lock /run/flannel /run/netns /run/runc /run/crun /run/containerd /run/crio \
    /etc/cni /etc/containerd /etc/containers /etc/crio /etc/kubernetes
mkdir -p /etc/cni/net.d /run/flannel /opt/cni/bin "$HOME/bin"
touch /etc/cni/net.d/50-bridge.conf
mount --bind "$HOME/bin" /opt/cni/bin
for f in /var/lib/kubelet /var/lib/cni /var/log; do
    mkdir -p "$HOME/usernetes$f" $f
    mount --bind "$HOME/usernetes$f" $f
done
test "$ROOTLESSKIT_STATE_DIR" = "$XDG_RUNTIME_DIR/usernetes/rootlesskit"
cat $ROOTLESSKIT_STATE_DIR/child_pid > $ROOTLESSKIT_STATE_DIR/_child_pid.u7s-ready
rootlessctl --socket $ROOTLESSKIT_STATE_DIR/api.sock add-ports 0.0.0.0:10250:10250/tcp \
    0.0.0.0:8472:8472/udp 0.0.0.0:30080:10.42.0.5:80/tcp
""" + POD

    def tearDown(self):
        for d in ("bin", "usernetes"):
            shutil.rmtree(self.world.home + "/" + d, ignore_errors=True)
        super().tearDown()

    def state(self):
        return self.runtime + "/usernetes/rootlesskit"

    def check(self, rk):
        self.assertIn("1\n2\n3\nREADY\n", rk.out())  # the ids of its ports
        self.assertEqual(open(self.state() + "/_child_pid.u7s-ready").read(), str(rk.child_pid))
        self.assertEqual(networks.probe(rk, "tcp", "192.0.2.100", "80"), "question")
        self.assertEqual(networks.probe(rk, "name", "any.example."), "192.0.2.77")
        with TcpServer(hello("kubelet"), port=10250, netns=rk.netns()), UdpServer(
                port=8472, netns=rk.netns()):
            with net.connect("192.0.2.1", 10250) as c:
                self.assertEqual(c.recv(10), b"kubelet")
            with net.udp_client("192.0.2.1", 8472) as c:
                c.send(b"overlay")
                self.assertEqual(c.recv(10), b"overlay")
        # A NodePort leads to a server in the pod, over the bridge.
        server = rk.nsenter("sh", "-c", "ip netns exec pod python3 -c 'import socket; "
                            "s = socket.create_server((\"\", 80)); c = s.accept()[0]; "
                            "c.sendall(b\"pod\")' > /dev/null 2>&1 &")
        self.assertEqual(server.returncode, 0, server.stderr)
        self.assertEqual(wait_for("the pod", lambda: said("192.0.2.1", 30080)), b"pod")

    @rkit.ours("has no --net=builtin")
    def test_builtin(self):
        with networks.outside(), self.daemon("--net=builtin", *self.OPTIONS, script=self.SCRIPT,
                                             state=self.state()) as rk:
            self.check(rk)
            self.assertQuiet(rk)

    @rkit.needs("slirp4netns", "tun")
    def test_first_versions(self):
        with networks.outside(), self.daemon(*self.SLIRP, *self.OPTIONS, script=self.SCRIPT,
                                             state=self.state()) as rk:
            self.check(rk)
            self.assertQuiet(rk)
        self.assertFalse(os.path.exists(self.state()))

    @unittest.skipUnless(networks.PEER, "built without libslirp")
    def test_with_vpnkit(self):
        with networks.vpnkit_stand_in(), networks.outside(), \
                self.daemon("--net=vpnkit", "--mtu=1500", *self.OPTIONS, script=self.SCRIPT,
                            state=self.state()) as rk:
            self.check(rk)
            self.assertQuiet(rk)

    @rkit.needs("slirp4netns", "tun")
    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_with_every_namespace_and_cgroups(self):
        script = self.SCRIPT + NODE + CGROUP.replace("EVAC", "rootlesskit_evac")
        with networks.outside(), cgroups.delegated() as path, \
                self.daemon(*self.SLIRP, *self.OPTIONS, *self.LATER, script=script, cgroup=path,
                            state=self.state()) as rk:
            self.check(rk)
            self.assertQuiet(rk)

    @rkit.needs("slirp4netns", "tun")
    def test_spelling_of_others(self):
        """--copy-up of a directory inside another one that is copied up, with a slash at the end, or with one
        dash."""
        write("/etc/rkit-sysconfig", "")
        os.mkdir("/etc/sysconfig")
        write("/etc/sysconfig/network", "here\n")
        try:
            with networks.outside(), self.daemon(
                    *self.SLIRP, *self.OPTIONS, "--copy-up=/etc/sysconfig/", "-copy-up=/usr/libexec/",
                    script=self.SCRIPT + WRITABLE % "/etc/sysconfig /usr/libexec"
                    + "grep -q here /etc/sysconfig/network\ntest -e /etc/rkit-sysconfig\n",
                    state=self.state()) as rk:
                self.check(rk)
        finally:
            shutil.rmtree("/etc/sysconfig")
            os.unlink("/etc/rkit-sysconfig")


class K3sServer:
    """k3s --rootless uses RootlessKit as a library. These are the options for what it does."""

    network = interface = None
    OPTIONS = ["--mtu=0", "--cidr=10.41.0.0/16", "--disable-host-loopback",
               "--port-driver=builtin", "--pidns", "--cgroupns", "--utsns", "--ipcns",
               "--reaper=true", "--copy-up=/etc", "--copy-up=/var/run", "--copy-up=/run",
               "--copy-up=/var/lib"]
    SCRIPT = WRITABLE % "/etc /run /var/run /var/lib" + r"""
for f in /var/log /var/lib/cni /var/lib/kubelet /etc/rancher; do
    mkdir -p "$HOME/k3s$f" $f
    mount --bind "$HOME/k3s$f" $f
done
rm -rf /run/netns
mkdir -p /run/k3s/containerd /run/flannel
ip -o -4 addr show INTERFACE | grep -q ' 10.41.0.100/16 '
ip route | grep -q 'default via 10.41.0.2 dev INTERFACE'
ip -o link show INTERFACE | grep -q ' mtu 65520 '
grep -q '^nameserver 10.41.0.3$' /etc/resolv.conf
""" + NODE + POD

    def setUp(self):
        super().setUp()
        self.options = ["--net=" + self.network, *self.OPTIONS]
        self.script = self.SCRIPT.replace("INTERFACE", self.interface)

    def tearDown(self):
        shutil.rmtree(self.world.home + "/k3s", ignore_errors=True)
        super().tearDown()

    def check(self, rk):
        self.assertEqual(networks.probe(rk, "tcp", "192.0.2.100", "80"), "question")
        got = rk.add(6443, 6443, parent_ip="0.0.0.0")  # k3s uses the API
        with TcpServer(hello("kube"), port=6443, netns=rk.netns()):
            with net.connect("192.0.2.1", 6443) as c:
                self.assertEqual(c.recv(10), b"kube")
        rk.remove(got)

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_server(self):
        with networks.outside(), cgroups.delegated() as path, \
                self.daemon(*self.options, "--evacuate-cgroup2=k3s_evac",
                            script=self.script + CGROUP.replace("EVAC", "k3s_evac"),
                            cgroup=path) as rk:
            self.check(rk)
            self.assertQuiet(rk)

    @rkit.ours("waits for router advertisements")
    def test_with_ipv6(self):
        """K3S_ROOTLESS_ENABLE_IPV6 on a node that forwards."""
        with networks.outside(), self.daemon(
                *self.options, "--ipv6", script=self.script
                + "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n") as rk:
            self.check(rk)
            self.assertEqual(networks.probe(rk, "tcp", "2001:db8::100", "80"), "question")


@rkit.needs("slirp4netns", "tun")
class K3s(K3sServer, ShapeCase):
    network, interface = "slirp4netns", "tap0"


@rkit.ours("has no --net=builtin")
class K3sByBuiltin(K3sServer, ShapeCase):
    network, interface = "builtin", "eth0"


@rkit.needs("runc", "curl")
class Container(ShapeCase):
    """A real container by runc, which all these projects use in the end. Its programs are the machine's."""

    # The argument is a cgroup for the container, or is missing.
    RUN = r"""
import json, os, subprocess, sys
os.chdir(os.environ["HOME"] + "/bundle")
subprocess.check_call(["runc", "spec"])
with open("config.json") as f:
    config = json.load(f)
config["process"]["terminal"] = False
config["process"]["args"] = ["sh", "-c", "id -u; uname -n; ls -d /proc/[1-9]* | wc -l; "
                             "grep ^0:: /proc/self/cgroup; curl -sS http://192.0.2.100:80/"]
config["mounts"].append({"destination": "/usr", "type": "none", "source": "/usr",
                         "options": ["rbind", "nosuid", "nodev", "ro"]})
linux = config["linux"]
linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] not in ("network", "cgroup")]
if sys.argv[1:]:
    linux["cgroupsPath"] = sys.argv[1]
else:  # as BuildKit does: a new sysfs could not be mounted without a network namespace of its own
    config["mounts"] = [m for m in config["mounts"] if m["type"] not in ("sysfs", "cgroup")]
    config["mounts"].append({"destination": "/sys", "type": "none", "source": "/sys",
                             "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
config["hostname"] = "container"
with open("config.json", "w") as f:
    json.dump(config, f)
os.execvp("runc", ["runc", "--root", os.environ["HOME"] + "/runc", "run", "c1"])
"""

    def setUp(self):
        super().setUp()
        self.bundle = self.world.home + "/bundle"
        for d in (self.bundle, self.world.home + "/runc"):
            self.addCleanup(shutil.rmtree, d, ignore_errors=True)
        for d in ("usr", "proc", "sys", "dev", "tmp", "etc"):
            os.makedirs("%s/rootfs/%s" % (self.bundle, d))
        for d in ("bin", "sbin", "lib", "lib64"):
            os.symlink("usr/" + d, "%s/rootfs/%s" % (self.bundle, d))
        for d, _, _ in os.walk(self.bundle):
            os.chown(d, UID, UID)

    def run_container(self, path, *args, options=()):
        how = cgroups.within(path)

        def page(conn, _address):
            conn.recv(1000)
            conn.sendall(b"HTTP/1.0 200 OK\r\n\r\npage\n")
        with net.neighbour("server") as ns, TcpServer(page, host="0.0.0.0", netns=ns):
            got = rkit.launch.run(*how["before"], self.world.path["rootlesskit"], *options,
                                  "python3", "-c", self.RUN, *args, uid=0, env=self.env)
        self.assertEqual(got.returncode, 0, got.stderr)
        uid, hostname, processes, group, page = got.stdout.split()
        self.assertEqual((uid, hostname, page), ("0", "container", "page"))
        self.assertLess(int(processes), 6)  # the container sees its own processes alone
        return group

    def test_as_buildkit(self):
        with cgroups.delegated() as path:
            self.run_container(path)

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    @rkit.needs("slirp4netns", "tun")
    def test_as_usernetes(self):
        with cgroups.delegated() as path:
            group = self.run_container(
                path, "/kubepods/c1", options=[*Usernetes.SLIRP, *Usernetes.OPTIONS,
                                               *Usernetes.LATER])
            self.assertEqual(group, "0::/kubepods/c1")


class Documented(ShapeCase):
    """The examples of RootlessKit's README that no other file has."""

    def test_id_and_shadow(self):
        got = rootlesskit("sh", "-c", "id; cat /etc/shadow; stat -c %U:%G /etc/shadow")
        self.assertIn("uid=0(root) gid=0(root)", got.stdout)
        self.assertIn("Permission denied", got.stderr)
        self.assertIn("nobody:nogroup", got.stdout)

    @rkit.needs("slirp4netns", "tun")
    def test_network_namespaces_inside(self):
        got = rootlesskit("--copy-up=/etc", "--copy-up=/run", "--net=slirp4netns",
                          "--disable-host-loopback", "sh", "-c",
                          "rm -rf /run/netns; ip netns add foo && ip netns exec foo ip -o link && ip netns")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("LOOPBACK", got.stdout)
        self.assertTrue(got.stdout.endswith("foo\n"), got.stdout)

    def test_resolv_conf_is_ours_to_remove(self):
        got = rootlesskit("--copy-up=/etc", "sh", "-c", "rm /etc/resolv.conf && echo nameserver "
                          "192.0.2.9 > /etc/resolv.conf && cat /etc/resolv.conf")
        self.assertEqual(got.stdout, "nameserver 192.0.2.9\n", got.stderr)
        self.assertEqual(open("/etc/resolv.conf").read(), "nameserver 127.0.0.1\n")

    @rkit.needs("slirp4netns", "tun", "socat")
    def test_ports_with_socat_and_nsenter(self):
        """RootlessKit's documentation exposes a port in this way, without a port driver."""
        with Rootlesskit("--net=slirp4netns", "--disable-host-loopback") as rk, \
                TcpServer(hello("inside"), netns=rk.netns()):
            pid = open(rk.state + "/child_pid").read()
            got = rkit.launch.run("nsenter", "-U", "--preserve-credentials", "-n", "-t", pid, "socat",
                                  "-t", "5", "-", "TCP4:127.0.0.1:80")
            self.assertEqual(got.stdout, "inside", got.stderr)

    def test_ids_of_files(self):
        """A file of another user inside belongs to a sub-id outside."""
        got = rootlesskit("sh", "-c", "touch $HOME/f && chown 3:4 $HOME/f")
        self.assertEqual(got.returncode, 0, got.stderr)
        st = os.stat(self.world.home + "/f")
        os.unlink(self.world.home + "/f")
        self.assertEqual((st.st_uid, st.st_gid), (SUBID[0] + 2, SUBID[0] + 3))


if __name__ == "__main__":
    rkit.main()
