#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The installed units and examples in a real `systemd --user`. RK_DEBS is the directory of the packages. The
tests write the settings that the comments of the installed files tell users to write."""

import os
import re
import shutil
import signal
import subprocess
import unittest
import urllib.request

import installed
from installed import OURS, UID, USER, apt, deb, user_env

import rkit
from rkit.launch import processes_of, wait_for
from rkit.world import sh

SYSTEMD = "/lib/systemd/systemd"
RUNTIME = "/run/user/%d" % UID
CONFIG = "/home/%s/.config" % USER
SHARE = "/usr/share/ringkit"
CGROUP = "/sys/fs/cgroup/rkit-%d" % os.getpid()
ENV = user_env(XDG_RUNTIME_DIR=RUNTIME)
manager = None


def _cgroup():
    """Makes a cgroup that belongs to the user, as systemd's system manager does."""
    try:
        sh("umount", "-R", "/sys/fs/cgroup", check=False)
        sh("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
        os.mkdir(CGROUP)
        for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
            os.chown(CGROUP + name, UID, UID)
    except (OSError, subprocess.CalledProcessError) as e:
        raise unittest.SkipTest("the machine lets us make no cgroup: %s" % e)


def _join():
    with open(CGROUP + "/cgroup.procs", "w") as f:
        f.write("0")


def setUpModule():
    global manager
    installed.set_up()
    if not os.path.exists(SYSTEMD):
        raise unittest.SkipTest("systemd is not installed")
    apt("install", deb("ringkit"))
    os.makedirs("/run/systemd/system")  # sd_booted(3): a user instance does not start without it
    os.makedirs(RUNTIME)
    os.chmod(RUNTIME, 0o700)
    os.chown(RUNTIME, UID, UID)
    _cgroup()
    pid = os.fork()
    if pid == 0:
        _join()
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        os.chdir("/home/" + USER)
        log = os.open("/home/%s/systemd.log" % USER, os.O_CREAT | os.O_WRONLY, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(SYSTEMD, [SYSTEMD, "--user", "--unit=basic.target"],
                  dict(ENV, SYSTEMD_LOG_TARGET="console"))
    manager = pid
    wait_for("systemd --user", lambda: ctl("is-active", "basic.target", check=False) == "active\n")


def tearDownModule():
    if manager:
        os.kill(manager, signal.SIGTERM)
        os.waitpid(manager, 0)
    if os.path.isdir(CGROUP):
        with open(CGROUP + "/cgroup.kill", "w") as f:
            f.write("1")
        wait_for("the cgroup to empty",
                 lambda: "populated 0" in open(CGROUP + "/cgroup.events").read())
        for directory, _, _ in os.walk(CGROUP, topdown=False):
            os.rmdir(directory)


def ctl(*args, check=True):
    got = installed.user("systemctl", "--user", *args, env=ENV, check=False)
    if check and got.returncode:
        raise AssertionError("systemctl --user %s: %s%s\n%s" % (
            " ".join(args), got.stdout, got.stderr, open("/home/%s/systemd.log" % USER).read()))
    return got.stdout


def prop(unit, name):
    return ctl("show", "--value", "-p", name, unit).strip()


def write(path, text):
    """Writes a file in the user's configuration, and makes the directories above it."""
    path = "%s/%s" % (CONFIG, path)
    installed.user("mkdir", "-p", os.path.dirname(path))
    with open(path, "w") as f:
        f.write(text)
    os.chown(path, UID, UID)
    ctl("daemon-reload")


def settings(path):
    """The lines RINGKIT_...=... from a file's comments."""
    return "".join(m + "\n" for m in re.findall(r"^#\s+(RINGKIT_\w+=.*)$", open(path).read(), re.M))


def page(port):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d/" % port, timeout=5) as answer:
            return answer.status
    except OSError:
        return None


class Units(unittest.TestCase):
    def setUp(self):
        ctl("reset-failed")

    def tearDown(self):
        ctl("stop", "ringkit@*.service", "ringkit@*.socket", "docker.service", check=False)
        shutil.rmtree(CONFIG, ignore_errors=True)
        ctl("daemon-reload")

    def test_verify(self):
        """systemd's own check finds nothing, not even a warning."""
        write("ringkit/x.conf", "RINGKIT_COMMAND=true\n")
        got = installed.user("systemd-analyze", "--user", "--man=no", "verify", "ringkit@x.service",
                             env=ENV)
        self.assertEqual([l for l in (got.stdout + got.stderr).split("\n") if "ringkit" in l], [])

    def test_service_with_published_port(self):
        text = settings("/usr/lib/systemd/user/ringkit@.service")
        self.assertIn("--net=slirp4netns", text)
        if not os.path.exists("/dev/net/tun") or os.stat("/dev/net/tun").st_mode & 6 != 6:
            text = re.sub("--net=slirp4netns --disable-host-loopback", "--net=none", text)
        write("ringkit/web.conf", text)
        ctl("start", "ringkit@web")
        wait_for("the page", lambda: page(8080) == 200)
        self.assertTrue(os.path.exists(RUNTIME + "/ringkit/web/api.sock"))
        ctl("stop", "ringkit@web")
        self.assertEqual(prop("ringkit@web", "ActiveState"), "inactive")
        self.assertEqual(prop("ringkit@web", "Result"), "success")
        self.assertFalse(os.path.exists(RUNTIME + "/ringkit/web"))
        self.assertIsNone(page(8080))

    def test_starts_again_when_the_command_is_killed(self):
        write("ringkit/loop.conf", "RINGKIT_OPTIONS=--pidns\nRINGKIT_COMMAND=sleep 1000\n")
        ctl("start", "ringkit@loop")
        main = int(prop("ringkit@loop", "MainPID"))
        wait_for("it to run", lambda: os.path.exists(RUNTIME + "/ringkit/loop/child_pid"))
        sleep = wait_for("the command", lambda: [
            p for p in processes_of(main) if open("/proc/%d/comm" % p).read() == "sleep\n"])
        os.kill(sleep[0], signal.SIGKILL)
        wait_for("another", lambda: prop("ringkit@loop", "NRestarts") == "1"
                 and prop("ringkit@loop", "ActiveState") == "active")
        ctl("stop", "ringkit@loop")
        self.assertEqual(prop("ringkit@loop", "ActiveState"), "inactive")

    def test_failure_is_told(self):
        write("ringkit/wrong.conf", "RINGKIT_OPTIONS=--nett=none\nRINGKIT_COMMAND=true\n")
        write("systemd/user/ringkit@wrong.service.d/once.conf", "[Service]\nRestart=no\n")
        ctl("start", "ringkit@wrong", check=False)
        wait_for("it to fail", lambda: prop("ringkit@wrong", "ActiveState") == "failed")
        self.assertEqual(prop("ringkit@wrong", "ExecMainStatus"), "1")
        ctl("start", "ringkit@missing", check=False)
        self.assertEqual(prop("ringkit@missing", "Result"), "resources")

    def test_command_that_tells_when_it_is_ready(self):
        """sd_notify(3) works from inside, although the process has another pid there."""
        code = ("import os,socket,time; time.sleep(0.3); s=socket.socket(socket.AF_UNIX,"
                "socket.SOCK_DGRAM); s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']);"
                "time.sleep(1000)")
        write("ringkit/ready.conf", "RINGKIT_OPTIONS=--pidns --net=none --copy-up=/run\n"
              "RINGKIT_COMMAND=python3 -c \"%s\"\n" % code)
        write("systemd/user/ringkit@ready.service.d/notify.conf",
              "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=60\n")
        ctl("start", "ringkit@ready")
        self.assertEqual(prop("ringkit@ready", "ActiveState"), "active")

    def test_socket_activation(self):
        """The example, with the settings from its comment."""
        example = SHARE + "/web.socket"
        write("ringkit/web.conf", settings(example))
        write("systemd/user/ringkit@web.socket", open(example).read())
        ctl("start", "ringkit@web.socket")
        self.assertEqual(prop("ringkit@web.service", "ActiveState"), "inactive")
        wait_for("the page", lambda: page(8080) == 200)
        self.assertEqual(prop("ringkit@web.service", "ActiveState"), "active")

    def test_docker_beside(self):
        """The link that docker.conf tells users to make works with a unit like that of
        dockerd-rootless-setuptool.sh."""
        text = open(SHARE + "/docker.conf").read()
        write("systemd/user/docker.service",
              "[Service]\nEnvironment=PATH=/usr/bin:/sbin:/usr/sbin:/bin\nType=oneshot\n"
              "ExecStart=/bin/sh -c 'for p in rootlesskit rootlesskit-docker-proxy; do command -v $p; "
              "done >%s/which'\n" % RUNTIME)
        for command in re.findall(r"^#\s+((?:mkdir|ln) .*)$", text, re.M):
            installed.user("sh", "-c", command)
        ctl("daemon-reload")
        ctl("start", "docker")
        self.assertEqual(open(RUNTIME + "/which").read().split(),
                         [OURS + "/rootlesskit", OURS + "/rootlesskit-docker-proxy"])


if __name__ == "__main__":
    rkit.main()
