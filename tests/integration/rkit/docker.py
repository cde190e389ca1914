# SPDX-License-Identifier: Apache-2.0
"""Rootless Docker as Debian's package docker.io has it: dockerd-rootless.sh, run by the test user."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import unittest

from .launch import UnixConnection, popen, processes_of, rootlesskit, run, wait_for
from .leaks import processes
from .world import UID, world

SCRIPT = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
CLIENT = "/usr/bin/docker"  # the package's client: another may come first in PATH
APPLETS = ("sh", "nc", "cat", "sleep")


def _busybox():
    """The path of a static busybox, or None: an image has no libraries for another one."""
    path = shutil.which("busybox")
    if path and "not a dynamic executable" in subprocess.run(
            ["ldd", path], capture_output=True, text=True).stderr:
        return path
    return None


def major():
    """The first number of dockerd's version; 0: there is none."""
    if not shutil.which("dockerd"):
        return 0
    words = subprocess.run(["dockerd", "--version"], capture_output=True, text=True).stdout.split()
    return int(words[2].split(".")[0])


def require():
    """Skips, with the reason, where the machine cannot run rootless Docker."""
    if "rootlesskit-docker-proxy" not in world().path:
        raise unittest.SkipTest("no rootlesskit-docker-proxy")
    for path, package in ((SCRIPT, "docker.io"), (CLIENT, "docker.io"), ("/usr/bin/socat", "socat")):
        if not os.path.exists(path):
            raise unittest.SkipTest("package %s is not installed: no %s" % (package, path))
    for name in ("dockerd", "docker-proxy", "containerd", "runc", "iptables", "slirp4netns"):
        if not shutil.which(name):
            raise unittest.SkipTest("%s is not installed" % name)
    if not _busybox():
        raise unittest.SkipTest("package busybox-static is not installed")
    if world().tun_error:
        raise unittest.SkipTest(world().tun_error)
    for what in ("ip link add probe0 type bridge", "ip link add probe1 type veth peer name probe2",
                 "iptables -t nat -A POSTROUTING -s 10.1.0.0/16 -j MASQUERADE",
                 "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j ACCEPT",
                 "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"):
        got = rootlesskit("--net=none", "--copy-up=/run", *what.split())
        if got.returncode:
            raise unittest.SkipTest("the kernel lacks something: %s: %s"
                                    % (what, got.stderr.strip().split("\n")[0]))


def can_overlay():
    """Whether overlayfs may be mounted in a user namespace on the tests' file system."""
    base = world().home + "/overlay-probe"
    got = rootlesskit("sh", "-c", "mkdir -p {0}/l {0}/u {0}/w {0}/m && mount -t overlay overlay -o "
                      "lowerdir={0}/l,upperdir={0}/u,workdir={0}/w {0}/m".format(base))
    shutil.rmtree(base, ignore_errors=True)
    return got.returncode == 0


def _libraries(program):
    """The files that a program is linked with."""
    words = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [w for w in words.split() if w.startswith("/")]


def _of_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def image_tar():
    """Makes an image for `docker import`: busybox, and socat for UDP. Returns its path."""
    path = world().base + "/image.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(_busybox(), "bin/busybox", filter=_of_root)
        for name in APPLETS:
            link = tarfile.TarInfo("bin/" + name)
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for file in ["/usr/bin/socat", *_libraries("/usr/bin/socat")]:
            tar.add(os.path.realpath(file), file, filter=_of_root)
    os.chmod(path, 0o644)
    return path


# In dockerd's place: starts another when it has ended, in the same namespaces, as somebody's own script may
# do. dockerd-rootless.sh itself ends with its dockerd, and everything with it.
SUPERVISOR = """#!/bin/sh
trap 'kill -TERM $pid; wait $pid; exit' TERM
while :; do
    /usr/sbin/dockerd "$@" &
    pid=$!
    echo $pid >"$XDG_RUNTIME_DIR/dockerd.pid"
    wait $pid
done
"""


class Docker:
    """A dockerd. Its data stay in the home directory until forget(). supervised: another one starts when it
    ends."""

    def __init__(self, *args, flags=(), storage="vfs", network="", supervised=False, **env):
        w = world()
        self.supervisor = w.bin + "/dockerd" if supervised else None
        if supervised:
            with open(self.supervisor, "w") as f:
                f.write(SUPERVISOR)
            os.chmod(self.supervisor, 0o755)
        self.runtime = w.base + "/runtime"
        if not os.path.isdir(self.runtime):
            os.mkdir(self.runtime)
            os.chmod(self.runtime, 0o700)
            os.chown(self.runtime, UID, UID)
        self.state = self.runtime + "/dockerd-rootless"
        self.env = w.environ(
            XDG_RUNTIME_DIR=self.runtime, DOCKER_HOST="unix://%s/docker.sock" % self.runtime,
            DOCKERD_ROOTLESS_ROOTLESSKIT_NET=network,
            DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=" ".join(["--state-dir=" + self.state, *flags]), **env)
        self.log_path = w.base + "/dockerd.log"
        with open(self.log_path, "ab") as log:
            self.proc = popen([SCRIPT, "--storage-driver=" + storage, *args], env=self.env,
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        return self.ready()

    def __exit__(self, *exc):
        if exc[0] is not None:
            print("--- log of dockerd\n%s---" % self.log()[-6000:])
        self.stop()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def ready(self):
        def there():
            if self.proc.poll() is not None:
                raise AssertionError("dockerd ended with %d:\n%s"
                                     % (self.proc.returncode, self.log()[-6000:]))
            return self.docker("version", check=False).returncode == 0
        wait_for("dockerd", there, deadline_s=120, step_s=0.1)
        return self

    def docker(self, *args, check=True, timeout=120):
        got = run(CLIENT, *args, env=self.env, timeout=timeout)
        if check and got.returncode:
            raise AssertionError("docker %s: %s" % (" ".join(args), got.stderr))
        return got

    def run(self, name, published, *command, options=()):
        """docker run -d, with -p for each of published. Returns the container's id."""
        return self.docker("run", "-d", "--name", name, "--stop-timeout=1", *options,
                           *[w for p in published for w in ("-p", p)], "bb",
                           *command).stdout.strip()

    def specs(self):
        """The specs of the ports that rootlesskit has published."""
        conn = UnixConnection(self.state + "/api.sock")
        try:
            conn.request("GET", "/v1/ports")
            return [p["spec"] for p in json.loads(conn.getresponse().read()) or []]
        finally:
            conn.close()

    def ports(self):
        """The same ports as a sorted list of (proto, address, port)."""
        return sorted((s["proto"], s["parentIP"], s["parentPort"]) for s in self.specs())

    def detached(self):
        """Whether dockerd is in the host's network, and only what it does for containers is not."""
        return os.path.exists(self.state + "/netns")

    def netns(self):
        """The path of the network namespace that containers' bridges are in."""
        with open(self.state + "/child_pid") as f:
            proc = "/proc/" + f.read().strip()
        # It is mounted on the file only where dockerd is.
        return proc + ("/root%s/netns" % self.state if self.detached() else "/ns/net")

    def daemon(self):
        """The process id of the dockerd that runs now, when it is supervised."""
        try:
            with open(self.runtime + "/dockerd.pid") as f:
                return int(f.read())
        except (OSError, ValueError):
            return None

    def restart_daemon(self, sig):
        """Ends a supervised dockerd, and waits for the next."""
        before = self.daemon()
        os.kill(before, sig)
        wait_for("another dockerd", lambda: self.daemon() not in (None, before), deadline_s=60)
        return self.ready()

    def forget_ports(self):
        """Removes what rootlesskit publishes, behind dockerd's back."""
        conn = UnixConnection(self.state + "/api.sock")
        try:
            conn.request("GET", "/v1/ports")
            for port in json.loads(conn.getresponse().read()) or []:
                conn.request("DELETE", "/v1/ports/%d" % port["id"])
                assert conn.getresponse().read() == b""
        finally:
            conn.close()

    def kill_container(self, number):
        """Its processes, of which dockerd knows nothing any more: without cgroups containerd takes a
        container that it finds for one without processes."""
        shims = [p for p, command in processes().items() if number in command]
        for pid in [child for shim in shims for child in processes_of(shim)] + shims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self, sig):
        """Sends the signal. Returns the exit code."""
        self.proc.send_signal(sig)
        return self.proc.wait(60)

    def stop(self):
        if self.supervisor and os.path.exists(self.supervisor):
            os.unlink(self.supervisor)
        if self.proc.poll() is None:
            try:
                self.end(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise AssertionError("dockerd did not end on SIGTERM:\n" + self.log()[-3000:])
        return self.proc.returncode


def forget():
    """Removes images, containers and the log. Files of containers belong to sub-ids, so this runs as root."""
    w = world()
    for path in (w.home + "/.local", w.home + "/.docker", w.base + "/runtime"):
        shutil.rmtree(path, ignore_errors=True)
    if os.path.exists(w.base + "/dockerd.log"):
        os.unlink(w.base + "/dockerd.log")
