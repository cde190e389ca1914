# SPDX-License-Identifier: Apache-2.0
"""A copy of the machine to install packages on: the root file system with an overlay over it, which ends with
the test. pivot_root(2) is used, since the kernel refuses user namespaces in a chroot."""

import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from rkit.world import sh  # noqa: E402

USER, UID, SUBID = "rkpkg", 20002, "400000-465535"
INPUT = "/run/rkit/input"
OURS = "/usr/lib/ringkit/bin"
# Files that dpkg, apt and the loader write at every installation.
BOOKS = ("var/lib/dpkg/", "var/log/", "var/cache/", "var/lib/apt/", "etc/ld.so.cache", "var/backups/",
         "var/tmp/")


def _pivot():
    base = os.environ["RKIT_BASE"]
    root = base + "/root"
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", base)
    for name in ("upper", "work", "root", "input"):
        os.mkdir("%s/%s" % (base, name))
    debs = os.environ["RK_DEBS"]
    for name in os.listdir(debs):
        if name.endswith(".deb"):
            shutil.copy("%s/%s" % (debs, name), base + "/input")
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../debian/tests/smoke"),
                base + "/input")
    sh("mount", "-t", "overlay", "overlay", "-o",
       "lowerdir=/,upperdir={0}/upper,workdir={0}/work".format(base), root)
    for name in ("dev", "proc", "sys"):
        sh("mount", "--rbind", "/" + name, "%s/%s" % (root, name))
    for name, mode in (("tmp", "1777"), ("run", "755")):
        sh("mount", "-t", "tmpfs", "-o", "mode=" + mode, "tmpfs", "%s/%s" % (root, name))
    os.makedirs(root + "/run/rkit")
    os.mkdir(root + "/run/old")
    sh("mount", "--bind", base, root + "/run/rkit")
    os.chdir(root)
    sh("pivot_root", ".", "run/old")
    os.chdir("/")
    sh("umount", "-l", "/run/old")


def set_up():
    """Makes the copy, with an ordinary user. Each test file calls it once."""
    if os.geteuid() != 0 or "RKIT_USERNS" in os.environ:
        raise unittest.SkipTest("only root can install packages")
    if "RK_DEBS" not in os.environ:
        raise unittest.SkipTest("RK_DEBS does not say where the packages are")
    _pivot()
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    with open("/usr/sbin/policy-rc.d", "w") as f:
        f.write("#!/bin/sh\nexit 101\n")
    os.chmod("/usr/sbin/policy-rc.d", 0o755)
    for name in os.listdir("/etc/dpkg/dpkg.cfg.d"):  # images for containers leave manual pages out
        if "path-exclude" in open("/etc/dpkg/dpkg.cfg.d/" + name).read():
            os.unlink("/etc/dpkg/dpkg.cfg.d/" + name)
    if os.path.exists("/var/lib/man-db/auto-update"):
        os.unlink("/var/lib/man-db/auto-update")  # else each installation indexes all manual pages
    sh("ip", "link", "set", "lo", "up")
    sh("useradd", "--create-home", "--uid", str(UID), "--shell", "/bin/sh", USER)
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = open(path).read().splitlines() if os.path.exists(path) else []
        first, last = map(int, SUBID.split("-"))
        with open(path, "w") as f:
            f.write("".join(l + "\n" for l in lines if l.split(":")[0] != USER))
            f.write("%s:%d:%d\n" % (USER, first, last - first + 1))


def deb(name):
    found = [f for f in os.listdir(INPUT) if f.startswith(name + "_")]
    assert len(found) == 1, found
    return "%s/%s" % (INPUT, found[0])


def root(*argv, **kw):
    """Runs a command as root until it ends, and returns what it printed. Fails when it fails."""
    got = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)
    if got.returncode:
        raise AssertionError("%s: %d\n%s%s" % (" ".join(argv), got.returncode, got.stdout, got.stderr))
    return got.stdout


def apt(*argv):
    """Runs apt-get. There is no network, so packages that others depend on must be installed already."""
    return root("apt-get", "-qq", "-y", "--no-install-recommends", *argv)


def user_env(**extra):
    return dict({"HOME": "/home/" + USER, "USER": USER, "LOGNAME": USER, "LANG": "C.UTF-8",
                 "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}, **extra)


def user(*argv, env=None, check=True):
    got = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, user=UID,
                         group=UID, extra_groups=[], env=env or user_env(), cwd="/home/" + USER)
    if check and got.returncode:
        raise AssertionError("%s: %d\n%s%s" % (" ".join(argv), got.returncode, got.stdout, got.stderr))
    return got


def changed_files():
    """The files that are not as on the machine, without BOOKS."""
    upper, found = "/run/rkit/upper", set()
    for directory, _, files in os.walk(upper):
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), upper)
            if not path.startswith(BOOKS):
                found.add(path)
    return found
