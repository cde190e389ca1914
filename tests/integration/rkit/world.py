# SPDX-License-Identifier: Apache-2.0
"""The little machine that the tests run on: users, paths, /etc, devices. Each test file builds it once."""

import ctypes
import os
import platform
import pwd
import struct
import shutil
import subprocess

USER = "rktest"
UID = int(os.environ.get("RKIT_UID", 20001))  # sandbox.enter() sets it
SUBID = (30000, 20000)  # start, count. All ids are below 65536: a user namespace may have no others

BINARIES = {
    "rootlesskit": ("RK_ROOTLESSKIT", "/usr/bin/rootlesskit"),
    "rootlessctl": ("RK_ROOTLESSCTL", "/usr/bin/rootlessctl"),
    "rootlesskit-docker-proxy": ("RK_DOCKER_PROXY", "/usr/bin/rootlesskit-docker-proxy"),
}


def sh(*argv, check=True):
    return subprocess.run(argv, check=check, capture_output=True, text=True)


def write(path, text, mode=0o644):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def _is_ours(path, fields):
    """Whether a line has our user's name or number. In the shadow files the third field is no user id."""
    return fields[0] == USER or ("shadow" not in path and fields[2:3] == [str(UID)])


class World:
    """base is a tmpfs that ends with the tests' mount namespace. bin and lib are copies of the binaries and
    of this package, so that any user may read them, wherever the sources are."""

    def __init__(self):
        self.base = os.environ["RKIT_BASE"]
        self.uid = UID
        self.in_userns = "RKIT_USERNS" in os.environ
        self.bin = self.base + "/bin"
        self.lib = self.base + "/lib"
        self.tmp = self.base + "/tmp"
        self.home = self.base + "/home"
        # The name is unique, since test files that run at the same time may share /run.
        self.run_user = "/run/" + os.path.basename(self.base)
        sh("mount", "--make-rshared", "/")
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.base)
        for d, mode in ((self.bin, 0o755), (self.tmp, 0o1777), (self.home, 0o700)):
            os.mkdir(d)
            os.chmod(d, mode)
        self._etc()
        os.chown(self.home, UID, UID)
        shutil.copytree(os.path.dirname(os.path.abspath(__file__)), self.lib + "/rkit",
                        ignore=shutil.ignore_patterns("__pycache__"))
        self._binaries()
        self.tun_error = self._tun()
        self.fuse_error = self._fuse()
        self.uring_error = self._uring()
        self._net()

    def _etc(self):
        """Mounts a copy of /etc, so that the tests may change users and sub-ids."""
        copy = self.base + "/etc"
        os.mkdir(copy)
        subprocess.run(["cp", "-a", "/etc/.", copy], check=False, stderr=subprocess.DEVNULL)
        if not os.path.exists(copy + "/shadow"):  # an ordinary user may not copy this file
            write(copy + "/shadow", "root:*:19000:0:99999:7:::\n", 0o640)
        sh("mount", "--bind", copy, "/etc")
        self._forget_users()
        self.add_user(USER, UID, SUBID)
        write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        write("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n")  # Debian's minbase has none
        # A /run of our own: two runs at once would meet in the machine's, and the root of a user namespace
        # may not write to it.
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        # ip(8) keeps its namespaces here, and would mount something on the directory at its first use, which
        # then looks like a mount that a test has left.
        os.mkdir("/run/netns")
        sh("mount", "-t", "tmpfs", "tmpfs", "/run/netns", check=False)

    def _forget_users(self):
        """Removes users of the machine that have our user's name or number, and all sub-ids."""
        for path in ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"):
            if os.path.exists(path):
                lines = open(path).read().splitlines(keepends=True)
                mode = os.stat(path).st_mode & 0o777
                write(path, "".join(l for l in lines if not _is_ours(path, l.split(":"))), mode)
        for path in ("/etc/subuid", "/etc/subgid"):
            write(path, "")
        # A directory service might have such users, too.
        write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")

    def add_user(self, name, uid, *ranges, home=None):
        with open("/etc/passwd", "a") as f:
            f.write("%s:x:%d:%d::%s:/bin/sh\n" % (name, uid, uid, home or self.home))
        with open("/etc/group", "a") as f:
            f.write("%s:x:%d:\n" % (name, uid))
        self.subids(name, name, *ranges)

    def subids(self, name, key, *ranges, files=("/etc/subuid", "/etc/subgid")):
        """Replaces the sub-id ranges of a user. key is what the files call the user: name or number."""
        uid = str(pwd.getpwnam(name).pw_uid)
        for path in files:
            old = open(path).read().splitlines() if os.path.exists(path) else []
            keep = [l for l in old if l.split(":")[0] not in (name, uid)]
            keep += ["%s:%d:%d" % (key, start, count) for start, count in ranges]
            write(path, "".join(l + "\n" for l in keep))

    def _binaries(self):
        self.path = {}
        for name, (var, default) in BINARIES.items():
            src = os.environ.get(var) or default
            if name == "rootlesskit-docker-proxy" and not os.path.exists(src):
                continue  # older packages have it in another directory
            dst = "%s/%s" % (self.bin, name)
            shutil.copy2(src, dst)
            os.chmod(dst, 0o755)
            self.path[name] = dst
        if self.in_userns:
            # Set-uid programs of the real root have no effect in a user namespace: copies belong to its root.
            for name in ("newuidmap", "newgidmap"):
                shutil.copy(shutil.which(name), self.bin)
                os.chmod(self.bin + "/" + name, 0o4755)
        version = sh(self.path["rootlesskit"], "--version").stdout
        self.version = version.split()[-1] if version.split() else ""
        # With RootlessKit's own binary, the reference, tests of what it cannot do are skipped.
        self.reference = "ringkit" not in version

    def _tun(self):
        """None, or why there is no usable /dev/net/tun. Where we may make devices, one of our own hides the
        machine's: a test changes its mode, and others use the machine's."""
        self.own_tun = False
        if not os.path.exists("/dev/net/tun"):
            return "no /dev/net/tun"
        try:
            sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev/net")
            sh("mknod", "-m", "666", "/dev/net/tun", "c", "10", "200")
            self.own_tun = True
        except subprocess.CalledProcessError as e:
            sh("umount", "/dev/net", check=False)
            if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
                return "/dev/net/tun is not for users: " + e.stderr.strip()
        return None

    def _fuse(self):
        """None, or why the test user cannot use /dev/fuse. Where udev does not run, only root may open the
        machine's."""
        if not os.path.exists("/dev/fuse"):
            return "no /dev/fuse"
        if os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
            return None
        directory = self.base + "/device"
        os.mkdir(directory)
        sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)
        try:
            sh("mknod", "-m", "666", directory + "/fuse", "c", "10", "229")
            sh("mount", "--bind", directory + "/fuse", "/dev/fuse")
        except subprocess.CalledProcessError as e:
            return "/dev/fuse is not for users: " + e.stderr.strip()
        finally:
            sh("umount", directory)
            os.rmdir(directory)
        return None

    def _uring(self):
        """None, or why the kernel has no rings with the flags that the data plane sets: SINGLE_ISSUER and
        DEFER_TASKRUN."""
        libc = ctypes.CDLL(None, use_errno=True)
        params = ctypes.create_string_buffer(struct.pack("III", 0, 0, 1 << 12 | 1 << 13), 120)
        fd = libc.syscall(425, 4, params)  # io_uring_setup(2)
        if fd < 0:
            return "no io_uring as of Linux 6.1 (this is %s): %s" % (
                platform.release(), os.strerror(ctypes.get_errno()))
        os.close(fd)
        return None

    def _net(self):
        sh("ip", "link", "set", "lo", "up")

    def environ(self, **extra):
        """The environment of an ordinary user's processes. extra adds variables; None removes one."""
        env = {
            "HOME": self.home, "USER": USER, "LOGNAME": USER, "LANG": "C.UTF-8",
            "TMPDIR": self.tmp,
            "PATH": self.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        for var in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
            if var in os.environ:
                env[var] = os.environ[var]
        env.update(extra)
        return {k: v for k, v in env.items() if v is not None}

    def environ_without(self, name, directory):
        """environ() with a PATH on which this program is not. The PATH consists of the directory, which gets
        links to all other programs."""
        for path in self.environ()["PATH"].split(":"):
            for program in os.listdir(path) if os.path.isdir(path) else ():
                link = directory + "/" + program
                if program != name and not os.path.lexists(link):
                    os.symlink(path + "/" + program, link)
        return self.environ(PATH=directory)


_world = None


def world():
    global _world
    if _world is None:
        _world = World()
    return _world
