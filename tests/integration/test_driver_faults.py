#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every driver that runs a program of others, and every way in which that can fail: it is missing, is too
old, exits at once, hangs before it is ready, or dies later. There is one clear line, and nothing is left."""

import os
import re
import shutil
import signal

import rkit
from rkit import lxc, networks, pesto
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.world import world, write

MOON = "echo the moon is down >&2; exit 3"
HANGS = "exec sleep 1000"
ASKED = 'case "$*" in *--version*|*--help*) exec %(real)s "$@";; esac\n'


class Driver:
    """A driver and how its program fails. program: its name; options: of rootlesskit; says: what the log must
    say, for each failure; too_old: a script that behaves as an old version; net: the network driver whose
    surroundings are needed; answers: the start of a script, which answers questions such as --version before
    the script fails; dies: name and words of the process to kill."""

    def __init__(self, program, options, says, too_old, net=None, answers="", dies=None,
                 beside=None):
        self.program, self.options, self.says, self.too_old = program, options, says, too_old
        self.net, self.answers, self.dies = net, answers, dies or (program,)
        self.beside = beside  # a function that puts programs it needs beside it into a directory


DRIVERS = {
    "slirp4netns": Driver(
        "slirp4netns", ["--net=slirp4netns"], answers=ASKED,
        too_old="echo 'slirp4netns version 0.3.0'", says={
            "missing": r"apt-get install slirp4netns\).*cannot run slirp4netns: No such file",
            "too_old": r"0\.4",
            "exits": r"slirp4netns ended \(exit status 3\): the moon is down",
            "hangs": r"slirp4netns is not ready after \d+ ms",
            "dies": r"slirp4netns ended \(signal: killed\).*has lost its network"}),
    "pasta": Driver(
        "pasta", ["--net=pasta"], answers=ASKED,
        too_old="echo \"pasta: unrecognized option '--config-net'\" >&2; exit 1", says={
            "missing": r"apt-get install passt\).*cannot run pasta: No such file",
            "too_old": r"unsupported pasta version: pasta: unrecognized option '--config-net'",
            "exits": r"pasta ended \(exit status 3\): the moon is down",
            "hangs": r"pasta is not ready after \d+ ms",
            "dies": r"pasta ended \(signal: killed\).*has lost its network"}),
    "vpnkit": Driver(
        "vpnkit", ["--net=vpnkit"], too_old='VPNKIT_PEER_FAULT=bad-version exec %(real)s "$@"', says={
            "missing": r"cannot run vpnkit: No such file",
            "too_old": r"protocol has version 1, 22 is needed",
            "exits": r"vpnkit ended \(exit status 3\): the moon is down",
            "hangs": r"vpnkit does not take connections on .* after \d+ ms",
            "dies": r"vpnkit ended \(signal: killed\).*has lost its network"}),
    # lxc-user-nic has no version: an old one is one that does nothing. The process that dies later is our
    # DHCP client.
    "lxc-user-nic": Driver(
        "lxc-user-nic", ["--net=lxc-user-nic"], too_old="exit 0",
        dies=("rootlesskit", "lxc-dhcp"), says={
            "missing": r"install liblxc-common.*cannot run /nowhere/lxc-user-nic: No such file",
            "too_old": r"cannot find interface eth0",
            "exits": r"lxc-user-nic ended \(exit status 3\): the moon is down",
            "hangs": r"lxc-user-nic has not finished after \d+ ms",
            "dies": r"client of lxc-user-nic ended \(signal: killed\).*has lost its network"}),
    # Old versions have no plug-in for slirp.
    "vdeplug_slirp": Driver(
        "vde_plug", ["--net=vdeplug_slirp"], too_old="exec %(real)s nonsense:// null://",
        dies=("vde_plug", "tap://tap0"), says={
            "missing": r"apt-get install vdeplug libvdeplug-slirp.*cannot run vde_plug",
            "too_old": r"apt-get install vdeplug libvdeplug-slirp.*vde_plug slirp:// ended",
            "exits": r"vde_plug slirp:// ended \(exit status 3\): the moon is down",
            "hangs": r"vde_plug has not made its socket .* after \d+ ms",
            "dies": r"vde_plug tap:// ended \(signal: killed\).*has lost its network"}),
    "socat": Driver(
        "socat", ["--net=slirp4netns", "--port-driver=socat", "-p", "127.0.0.1:18080:80/tcp"],
        net="slirp4netns", answers='[ "$1" = -V ] && exit 0\n',
        too_old="[ $1 = -V ] && exit 0; "
                "echo '2026/01/01 00:00:00 socat[1] E unknown option \"max-children\"' >&2; exit 1",
        says={
            "missing": r"install it \(sudo apt-get install socat\).*cannot run socat",
            "too_old": r'18080.*socat ended \(exit status 1\): unknown option "max-children"',
            "exits": r"18080.*socat ended \(exit status 3\): the moon is down",
            "hangs": r"18080.*socat does not listen after \d+ ms",
            "dies": r"port 1: socat ended .*starting it again"}),
    # pesto runs for a moment only. The process that dies later is pasta.
    "pesto": Driver(
        "pesto", ["--net=pasta", "--port-driver=pesto", "-p", "127.0.0.1:18080:80/tcp"],
        net="pasta", answers='case "$*" in *--version*) exit 0;; esac\n', beside=pesto.install,
        too_old="echo \"pesto: unrecognized option '--version'\" >&2; exit 1", dies=("pasta",), says={
            "missing": r"install passt of May 2026 or later, or name pesto with --pesto-binary.*"
                       r"cannot run pesto: No such file",
            "too_old": r"pesto failed \(exit status 1\): pesto: unrecognized option '--version'",
            "exits": r"18080.*pesto ended \(exit status 3\): the moon is down",
            "hangs": r"18080.*pesto did not end within \d+ ms",
            "dies": r"pasta ended \(signal: killed\).*has lost its network"}),
}
# Drivers that run no program of others; "auto" selects one of the others. Deaths of the data plane are in
# test_crash.py. As a port driver, slirp4netns can only die (test_port_drivers.py): its other failures are
# failures of the network.
NO_PROGRAM = {"host", "none", "builtin", "implicit", "auto", "gvisor-tap-vsock"}


@rkit.ours("other words, and not for all of them")
class DriverFaults(rkit.RkTestCase):
    def setUp(self):
        if not lxc.unusable():
            lxc.prepare()
        super().setUp()
        self.dir = world().base + "/fakes"
        os.mkdir(self.dir)
        self.addCleanup(shutil.rmtree, self.dir)

    def real(self, d):
        if d.program == "vpnkit":
            return world().bin + "/vpnkit" if networks.PEER else shutil.which("vpnkit")
        return shutil.which(d.program)

    def without(self, name):
        """An environment in which everything is there but one program."""
        if os.path.exists(self.dir + "/" + name):
            os.unlink(self.dir + "/" + name)
        return self.world.environ_without(name, self.dir)

    def stand_in(self, d, script, answers=""):
        """The options and environment with which rootlesskit runs this script in the program's place."""
        text = "#!/bin/sh\n" + (answers + script).replace("%(real)s", self.real(d) or "")
        path = write("%s/%s" % (self.dir, d.program), text, 0o755)
        env = self.world.environ(PATH=self.dir + ":" + self.world.environ()["PATH"])
        return (["--lxc-user-nic-binary=" + path] if d.program == "lxc-user-nic" else []), env

    def fails(self, d, failure, options, env):
        got = rootlesskit(*d.options, *options, "--disable-host-loopback", "--copy-up=/etc", "true",
                          env=env, timeout=80)
        self.assertEqual(got.returncode, 1, got.stderr)
        errors = [line for line in got.stderr.splitlines() if "warning: " not in line]
        self.assertEqual(len(errors), 1, got.stderr)
        self.assertRegex(errors[0], d.says[failure])

    def missing(self, d):
        if d.program == "lxc-user-nic":
            self.fails(d, "missing", ["--lxc-user-nic-binary=/nowhere/lxc-user-nic"], None)
        else:
            self.fails(d, "missing", [], self.without(d.program))

    def too_old(self, d):
        self.fails(d, "too_old", *self.stand_in(d, d.too_old))

    def exits(self, d):
        self.fails(d, "exits", *self.stand_in(d, MOON, d.answers))

    def hangs(self, d):
        self.fails(d, "hangs", *self.stand_in(d, HANGS, d.answers))

    def dies(self, d):
        env = self.world.environ(PATH=self.dir + ":" + self.world.environ()["PATH"])
        with Rootlesskit(*d.options, "--disable-host-loopback", "--copy-up=/etc", env=env) as rk:
            os.kill(networks.process_named(*d.dies)[0], signal.SIGKILL)
            wait_for("a word about it", lambda: re.search(d.says["dies"], rk.log()))
            self.assertIsNone(rk.proc.poll())

    def try_one(self, name, failure):
        d = DRIVERS[name]
        network = d.net or name
        why = networks.missing(network)
        if why:
            self.skipTest(why)
        if d.beside:
            d.beside(self.dir)
        with networks.surroundings(network):
            getattr(self, failure)(d)

    def test_every_driver_is_here(self):
        for option, known in (("--net", {"slirp4netns", "pasta", "vpnkit", "lxc-user-nic",
                                         "vdeplug_slirp"}),
                              ("--port-driver", {"slirp4netns", "socat", "pesto"})):
            got = rootlesskit(option + "=nonsense", "true")
            names = set(re.search(r"available: (.*)", got.stderr).group(1).split(", "))
            self.assertEqual(names - NO_PROGRAM, known)
            self.assertLessEqual(known, set(DRIVERS))
        for d in DRIVERS.values():
            self.assertEqual(set(d.says), {"missing", "too_old", "exits", "hangs", "dies"})


def _add(name, failure):
    setattr(DriverFaults, "test_%s_%s" % (name.replace("-", "_"), failure),
            lambda self: self.try_one(name, failure))


for _name in DRIVERS:
    for _failure in ("missing", "too_old", "exits", "hangs", "dies"):
        _add(_name, _failure)

if __name__ == "__main__":
    rkit.main()
