# SPDX-License-Identifier: Apache-2.0
"""A cgroup that is delegated to the test user, as a service manager does it."""

import contextlib
import os
import subprocess
import tempfile
import unittest

from .launch import wait_for
from .world import UID, sh

CGROUP = "/sys/fs/cgroup"


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def put(text, *path):
    with open(os.path.join(*path), "w") as f:
        f.write(text)


def own(pid="self"):
    """The path of a process's cgroup below the root of our cgroup namespace."""
    for line in read("/proc/%s/cgroup" % pid).splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


@contextlib.contextmanager
def mounted(below=""):
    """Mounts cgroup2 at /sys/fs/cgroup, or in a directory below it, as beside cgroup v1. Yields where."""
    point = CGROUP + below
    try:
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "none", CGROUP)
    except subprocess.CalledProcessError as e:
        raise unittest.SkipTest("the machine takes no mount on %s: %s" % (CGROUP, e.stderr.strip()))
    try:
        os.makedirs(point, exist_ok=True)
        try:
            sh("mount", "-t", "cgroup2", "none", point)
        except subprocess.CalledProcessError as e:
            raise unittest.SkipTest("the machine has no cgroup2: " + e.stderr.strip())
        try:
            yield point
        finally:
            sh("umount", "-l", point)
    finally:
        sh("umount", "-l", CGROUP)


def _offer_controllers(point):
    """Enables every controller for the groups below. Returns those that were off, for the end."""
    before = read(point, "cgroup.subtree_control").split()
    added = []
    for name in read(point, "cgroup.controllers").split():
        if name not in before:
            with contextlib.suppress(OSError):  # in a container this may be refused
                put("+" + name, point, "cgroup.subtree_control")
                added.append(name)
    return added


def _remove(path):
    """Removes a cgroup and those below it, from the inside out, as soon as their last process has ended."""
    def gone():
        for d, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(d)
        return not os.path.exists(path)
    wait_for("the cgroup %s to be empty" % path, gone)


@contextlib.contextmanager
def delegated(below=""):
    """Yields the directory of a new cgroup, which belongs to the test user and has every controller that the
    machine has."""
    with mounted(below) as point:
        try:
            path = tempfile.mkdtemp(prefix="rkit-", dir=point)
        except OSError as e:
            raise unittest.SkipTest("the machine lets us make no cgroup: %s" % e)
        added = _offer_controllers(point)
        try:
            os.chmod(path, 0o755)
            for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(os.path.join(path, name), UID, UID)
            yield path
        finally:
            _remove(path)
            for name in added:
                with contextlib.suppress(OSError):
                    put("-" + name, point, "cgroup.subtree_control")


def within(path):
    """Arguments for Rootlesskit and run() that start the command in this cgroup, as the test user."""
    script = ("echo $$ > %s/cgroup.procs && exec setpriv --reuid=%d --regid=%d --clear-groups "
              '"$@"' % (path, UID, UID))
    return {"uid": 0, "before": ["sh", "-c", script, "sh"]}
