#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`rootlessctl top` with a terminal, without one, and when the server or the terminal changes."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, popen, wait_for
from rkit.peers import TcpServer, echo, receive_exactly
from rkit.ports import PortTestCase, builtin
from rkit.world import world

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, words, columns=80, lines=24):
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.slave)
        env = dict(rkit.world().environ(), TERM="xterm")
        self.proc = popen(words, env=env, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                          preexec_fn=self._become_foreground, start_new_session=True)
        self.said = ""

    def _become_foreground(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns, lines):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.05):
        while select.select([self.master], [], [], seconds)[0]:
            self.said += os.read(self.master, 65536).decode().replace("\r", "")
        return self.said

    def screen(self):
        """The lines of the last complete screen."""
        shown = self.read().split("\x1b[H")[1:]
        shown = [s for s in shown if s.endswith("\x1b[K\x1b[J") or "\x1b[K\x1b[J" in s]
        return shown[-1].split("\x1b[K\x1b[J")[0].split("\x1b[K\n") if shown else []

    def await_screen(self, what, predicate):
        return wait_for(what, lambda: (lambda s: s and predicate(s) and s)(self.screen()))

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait(DEADLINE_S)
        os.close(self.slave)
        os.close(self.master)


def top_of(rk, **kw):
    """A terminal in which `rootlessctl top` runs."""
    return Terminal([world().path["rootlessctl"], "--socket", rk.state + "/api.sock", "top"], **kw)


@rkit.ours("has no top")
class Top(PortTestCase):
    options = ()

    def top(self, **kw):
        terminal = top_of(self.rk, **kw)
        self.addCleanup(terminal.close)
        return terminal

    def assertEnded(self, terminal, code=0):
        """The program has ended, and has left the terminal as it was."""
        self.assertEqual(terminal.proc.wait(DEADLINE_S), code, terminal.read())
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
        self.assertEqual(terminal.read().count(ENTER), terminal.said.count(LEAVE))

    def publish(self, n):
        got = self.rk.ctl("add-ports", "127.0.0.1:18000-%d:80-%d/tcp" % (17999 + n, 79 + n))
        self.assertEqual(got.returncode, 0, got.stderr)
        ids = got.stdout.strip()
        self.addCleanup(self.rk.ctl, "remove-ports", ids)
        return int(ids.split("-")[0])

    def test_screen(self):
        first = self.publish(50)
        top = self.top()
        screen = top.await_screen("a screen", lambda s: len(s) == 24)
        self.assertIn("50 ports", screen[0])
        self.assertTrue(all(len(line) <= 80 for line in screen), screen)
        self.assertEqual(screen[3].split()[:3], [str(first), "tcp", "127.0.0.1:18000"])
        # The busiest port is on top.
        with TcpServer(echo, port=85, netns=self.ns), net.connect("127.0.0.1", 18005) as client:
            def busy(screen):
                client.sendall(b"x" * 1000)
                receive_exactly(client, 1000)
                return "127.0.0.1:18005" in screen[3]
            screen = top.await_screen("the busiest port", busy)
            self.assertEqual(screen[3].split()[3], "1")
        top.type("q")
        self.assertEnded(top)

    def test_keys(self):
        first = self.publish(50)
        top = self.top()
        top.await_screen("a screen", lambda s: len(s) == 24)
        top.type("ir")
        top.await_screen("the last port", lambda s: s[3].split()[0] == str(first + 49))
        self.assertIn("by id (reversed)", top.screen()[-1])
        top.type("r\x1b[B\x1b[B")
        top.await_screen("the third port", lambda s: s[3].split()[0] == str(first + 2))
        top.type("\x1b[6~")
        top.await_screen("a page more", lambda s: s[3].split()[0] == str(first + 22))
        top.type("\x1b[5~\x1bOA?x\x1b")
        top.await_screen("a page back", lambda s: s[3].split()[0] == str(first + 1))
        for key, n in (("\x1b[F", 30), ("\x1b[H", 0), ("G", 30), ("g", 0), ("\x1b[4~", 30), ("\x1bOH", 0)):
            top.type(key)
            top.await_screen("an end of the list", lambda s, n=n: s[3].split()[0] == str(first + n))
        top.type(" ")
        top.await_screen("a pause", lambda s: "space go on" in s[-1])
        top.type("q")
        self.assertEnded(top)

    def test_resized(self):
        self.publish(50)
        top = self.top()
        top.await_screen("a screen", lambda s: len(s) == 24)
        for columns, lines in ((120, 40), (30, 10), (5, 2), (1, 1), (80, 24)):
            top.resize(columns, lines)
            screen = top.await_screen("%d lines" % lines, lambda s: len(s) == lines)
            self.assertTrue(all(len(line) <= columns for line in screen), screen)
        top.type("q")
        self.assertEnded(top)

    def test_signals(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(sig):
                top = self.top()
                top.await_screen("a screen", len)
                top.proc.send_signal(sig)
                self.assertEnded(top)

    def test_control_characters(self):
        top = self.top()
        top.await_screen("a screen", len)
        top.type("\x1a")
        wait_for("a stop", lambda: self.state_of(top.proc.pid) == "T")
        self.assertEqual(termios.tcgetattr(top.slave), top.before)
        self.assertTrue(top.read().endswith(LEAVE))
        top.proc.send_signal(signal.SIGCONT)
        wait_for("the screen again", lambda: top.read().count(ENTER) == 2)
        top.type("\x03")
        self.assertEnded(top)

    def state_of(self, pid):
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0]

    def test_no_terminal(self):
        """Without a terminal there is one list, and the program ends."""
        first = self.publish(50)
        got = self.rk.ctl("top")
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        lines = got.stdout.splitlines()
        self.assertEqual(len(lines), 53)
        self.assertNotIn("\x1b", got.stdout)
        self.assertEqual(lines[3].split()[:3], [str(first), "tcp", "127.0.0.1:18000"])


@rkit.ours("has no top")
class Gone(rkit.RkTestCase):
    def test_server_that_ends(self):
        with builtin() as rk:
            top = top_of(rk)
            try:
                wait_for("a screen", top.screen)
                rk.stop()
                self.assertEqual(top.proc.wait(DEADLINE_S), 1)
                self.assertEqual(termios.tcgetattr(top.slave), top.before)
                self.assertRegex(top.read().split(LEAVE)[1], r"\Aerror: ")
            finally:
                top.close()

    def test_server_that_is_stopped(self):
        """Ctrl-C and q end the program while it waits for the server's answer."""
        for key in ("\x03", "q", "jq"):
            with self.subTest(key), builtin() as rk:
                top = top_of(rk)
                try:
                    wait_for("a screen", top.screen)
                    os.kill(rk.pid, signal.SIGSTOP)
                    wait_for("a request", lambda t=top: self.waits_for_answer(t.proc.pid))
                    top.type(key)
                    # By itself it would wait for half a minute.
                    self.assertEqual(top.proc.wait(20), 0)
                    self.assertEqual(termios.tcgetattr(top.slave), top.before)
                finally:
                    os.kill(rk.pid, signal.SIGCONT)
                    top.close()

    @staticmethod
    def waits_for_answer(pid):
        """Whether it polls two descriptors, as the HTTP client does. Between requests there are three."""
        with open("/proc/%d/syscall" % pid) as f:
            words = f.read().split()
        return len(words) > 3 and int(words[2], 16) == 2


if __name__ == "__main__":
    rkit.main()
