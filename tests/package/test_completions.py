#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The completions, in their shells. (The unit test docs checks that they know every option.) They ask
RK_ROOTLESSCTL for the ids of published ports."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import rkit  # noqa: E402
from rkit.launch import Rootlesskit  # noqa: E402

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
COMPLETIONS = os.path.normpath(TREE + "/completions")
NETWORKS = {"host", "none", "slirp4netns", "vpnkit", "lxc-user-nic", "vdeplug_slirp", "pasta", "builtin",
            "gvisor-tap-vsock", "auto"}


def bash(line, env=None):
    """The candidates for the last word of a line. They are asked for as bash does."""
    script = r"""
. /usr/share/bash-completion/bash_completion
. "$1/rootlesskit.bash" && . "$1/rootlessctl.bash"
COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 COMP_KEY=9
# readline makes = and : words of their own.
read -ra words <<<"$(sed 's/\([=:]\)/ \1 /g' <<<"$COMP_LINE")"
COMP_WORDS=("${words[@]}")
[[ $COMP_LINE == *[\ =:] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"_${words[0]}" "${words[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"""
    got = subprocess.run(["bash", "--norc", "-c", script, "bash", COMPLETIONS, line], text=True,
                         capture_output=True, env=env or dict(os.environ))
    return set(got.stdout.split())


def fish(line, env=None):
    script = "source %s/rootlesskit.fish; source %s/rootlessctl.fish; complete -C%s" % (
        COMPLETIONS, COMPLETIONS, "'" + line + "'")
    got = subprocess.run(["fish", "--no-config", "-c", script], text=True, capture_output=True,
                         env=env or dict(os.environ, HOME=rkit.world().tmp))
    if got.stderr:
        raise AssertionError(got.stderr)
    return {l.split("\t")[0] for l in got.stdout.splitlines()}


def zsh(line, *expected):
    """Types the line and Tab in an interactive zsh, and waits until it has shown all that is expected."""
    rc = ("fpath=(%s $fpath); autoload -Uz compinit && compinit -u -D; PS1='<rea''dy>'; "
          "unset zle_bracketed_paste; setopt nolistbeep; LISTMAX=9999\n" % COMPLETIONS)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", HOME=rkit.world().tmp)
        os.execvp("zsh", ["zsh", "-f", "-i"])
    seen = ""

    def read_until(there, deadline_s=60):
        nonlocal seen
        end = time.monotonic() + deadline_s
        while not there(seen):
            if time.monotonic() > end:
                raise AssertionError("not there in time; seen: %r" % seen)
            if select.select([fd], [], [], 0.1)[0]:
                seen += os.read(fd, 65536).decode(errors="replace")
    try:
        os.write(fd, ("stty columns 400 rows 200; " + rc).encode())
        read_until(lambda text: "<ready>" in text)
        seen = ""
        os.write(fd, (line + "\t").encode())
        read_until(lambda text: set(expected) <= set(re.findall(r"[\w+.:/-]+", text)))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


class Bash(unittest.TestCase):
    def setUp(self):
        if not os.path.exists("/usr/share/bash-completion/bash_completion"):
            self.skipTest("bash-completion is not installed")

    def test_options(self):
        self.assertEqual(bash("rootlesskit --net"), {"--net="})
        self.assertEqual(bash("rootlesskit --slirp4netns-s"),
                         {"--slirp4netns-sandbox=", "--slirp4netns-seccomp="})

    def test_values(self):
        self.assertEqual(bash("rootlesskit --net "), NETWORKS)
        self.assertEqual(bash("rootlesskit --net="), NETWORKS)
        self.assertEqual(bash("rootlesskit --pidns --port-driver=bu"), {"builtin"})
        self.assertEqual(bash("rootlesskit --ipv6="), {"true", "false"})
        self.assertEqual(bash("rootlesskit --state-dir=/us"), {"/usr"})

    def test_command(self):
        self.assertIn("nsenter", bash("rootlesskit --net=none --pidns nsent"))
        self.assertIn("nsenter", bash("rootlesskit --net none -p 127.0.0.1:80:80/tcp -- nsent"))

    def test_arguments_of_the_command(self):
        """Words after the command are completed by its own completion, however readline splits the line."""
        for before in ("", "--net=none --pidns ", "-p 127.0.0.1:80:80/tcp ", "--copy-up=/etc -- ",
                       "-p=[::1]:80:80/tcp --net none --"):
            with self.subTest(before):
                self.assertEqual(bash("rootlesskit %s rootlessctl stats --w" % before), {"--watch"})

    def test_ctl(self):
        self.assertEqual(bash("rootlessctl a"), {"add-ports"})
        self.assertEqual(bash("rootlessctl list-ports --j"), {"--json"})

    def test_ctl_ids(self):
        check_ids(self, bash)


def check_ids(test, shell):
    """The shell offers the ids of published ports."""
    w = rkit.world()
    with Rootlesskit("--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp", "-p",
                     "127.0.0.1:18081:80/tcp") as rk:
        env = dict(os.environ, ROOTLESSKIT_STATE_DIR=rk.state, HOME=w.tmp,
                   PATH=w.bin + ":" + os.environ["PATH"])
        test.assertEqual(shell("rootlessctl remove-ports ", env), {"1", "2"})


class Fish(unittest.TestCase):
    def setUp(self):
        if not os.path.exists("/usr/bin/fish"):
            self.skipTest("fish is not installed")

    def test_options_and_values(self):
        self.assertEqual(fish("rootlesskit --print-"), {"--print-semver"})
        self.assertEqual(fish("rootlesskit --net="), {"--net=" + n for n in NETWORKS})
        self.assertEqual(fish("rootlesskit --net "), NETWORKS)
        self.assertIn("nsenter", fish("rootlesskit --pidns nsent"))

    def test_ctl(self):
        self.assertEqual(fish("rootlessctl a"), {"add-ports"})
        self.assertIn("--json", fish("rootlessctl list-ports --j"))

    def test_ctl_ids(self):
        check_ids(self, fish)


class Zsh(unittest.TestCase):
    def setUp(self):
        if not os.path.exists("/usr/bin/zsh"):
            self.skipTest("zsh is not installed")

    def test_options_and_values(self):
        zsh("rootlesskit --slirp4netns-s", "--slirp4netns-sandbox", "--slirp4netns-seccomp")
        zsh("rootlesskit --net=", *NETWORKS)

    def test_ctl(self):
        zsh("rootlessctl ", "list-ports", "add-ports", "remove-ports", "info", "stats",
            "top", "metrics")


if __name__ == "__main__":
    rkit.main()
