#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Namespaces, the reaper, signals, and the death of the parent."""

import os
import pty
import select
import signal

import rkit
from rkit import leaks, net
from rkit.launch import DEADLINE_S, Rootlesskit, popen, processes_of, rootlesskit, run, wait_for
from rkit.world import UID, write

# Signals 32 and 33, which glibc uses for threads. Some programs, GNU make among them, start others with these
# ignored, and a program cannot change that through the C library.
LIBRARY_SIGNALS = 3 << 31

# A command that exits with 9 on SIGUSR1.
TRAP = "trap 'exit 9' USR1; echo armed; while :; do sleep 0.05; done"


def ns(name, pid="self"):
    return os.readlink("/proc/%s/ns/%s" % (pid, name))


class Namespaces(rkit.RkTestCase):
    OPTIONS = {"pid": "--pidns", "cgroup": "--cgroupns", "uts": "--utsns", "ipc": "--ipcns"}

    def inside(self, *args):
        got = rootlesskit(*args, "sh", "-c", "cd /proc/self/ns && for n in *; do readlink $n; done")
        self.assertEqual(got.returncode, 0, got.stderr)
        return dict(line.split(":", 1) for line in got.stdout.split())

    def test_each_option_makes_its_own_and_no_other(self):
        here = {n: ns(n).split(":", 1)[1] for n in
                ("user", "mnt", "pid", "cgroup", "uts", "ipc", "net")}
        for option in [None, *self.OPTIONS.values()]:
            with self.subTest(option):
                seen = self.inside(*([option] if option else []))
                new = {n for n in here if seen[n] != here[n]}
                want = {"user", "mnt"} | {n for n, o in self.OPTIONS.items() if o == option}
                self.assertEqual(new, want)

    def test_all_together(self):
        seen = self.inside(*self.OPTIONS.values())
        for n in ("user", "mnt", *self.OPTIONS):
            self.assertNotEqual(seen[n], ns(n).split(":", 1)[1], n)

    @rkit.ours("since 2.0")
    def test_net_none(self):
        got = rootlesskit("--net=none", "sh", "-c", "readlink /proc/self/ns/net; "
                          "cat /sys/class/net/lo/operstate; ip -o addr show lo; ip -o link")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertNotIn(ns("net"), got.stdout)
        self.assertIn("127.0.0.1/8", got.stdout)
        self.assertEqual(got.stdout.count("<"), 1, "an interface beside lo")
        self.assertIn("UP", got.stdout)

    def test_host_name_is_ours_to_set(self):
        got = rootlesskit("--utsns", "sh", "-c", "hostname inside && hostname")
        self.assertEqual(got.stdout, "inside\n", got.stderr)
        self.assertNotEqual(os.uname().nodename, "inside")


class Reaper(rkit.RkTestCase):
    def zombies_below(self, pid):
        count = 0
        for p in processes_of(pid):
            try:
                with open("/proc/%d/stat" % p) as f:
                    count += f.read().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                pass
        return count

    def test_orphans_are_reaped(self):
        script = ("for i in 1 2 3 4 5 6 7 8 9; do setsid sh -c 'sleep 0.1 & exit'; done; "
                  "touch $HOME/done; exec sleep infinity")
        with Rootlesskit("--pidns", command=("sh", "-c", script)) as rk:
            wait_for("the orphans to be made", lambda: os.path.exists(self.world.home + "/done"))
            os.unlink(self.world.home + "/done")
            wait_for("orphans to be gone", lambda: len(processes_of(rk.child_pid)) == 2)
            self.assertEqual(self.zombies_below(rk.pid), 0)

    def test_everything_inside_ends_with_the_command(self):
        got = rootlesskit("--pidns", "sh", "-c", "setsid sleep 1000 & exit 3", timeout=30)
        self.assertEqual(got.returncode, 3)

    def test_terminal_is_kept_without_reaper(self):
        """The command has a session of its own with the reaper, and keeps its terminal without."""
        for value, own in (("true", True), ("false", False)):
            got = rootlesskit("--pidns", "--reaper=" + value, "sh", "-c",
                              "cut -d' ' -f6 /proc/self/stat")
            self.assertEqual(got.stdout.strip() != "0", own, value)


class Signals(rkit.RkTestCase):
    def test_are_forwarded(self):
        names = ["HUP", "INT", "TERM", "USR1", "USR2", "WINCH", "QUIT"]
        script = "".join("trap 'echo %s >> $HOME/got' %s; " % (n, n) for n in names)
        for extra in ([], ["--pidns"], ["--pidns", "--reaper=false"]):
            path = self.world.home + "/got"
            with self.subTest(extra):
                with Rootlesskit(*extra, command=("sh", "-c", script + "touch $HOME/armed; "
                                 "while ! grep -q TERM $HOME/got; do sleep 0.02; done; exit 7")) as rk:
                    wait_for("traps", lambda: os.path.exists(self.world.home + "/armed"))
                    for n in names:
                        if n == "TERM":
                            continue
                        os.kill(rk.pid, getattr(signal, "SIG" + n))
                        wait_for("SIG" + n, lambda: os.path.exists(path)
                                 and n in open(path).read().split())
                    os.kill(rk.pid, signal.SIGTERM)
                    self.assertEqual(rk.wait(), 7)
                    self.assertEqual(sorted(open(path).read().split()), sorted(names))
                os.unlink(self.world.home + "/armed")
                os.unlink(path)

    def test_sigterm_ends_a_command_that_does_not_mind(self):
        for extra in ([], ["--pidns"]):
            rk = Rootlesskit(*extra).ready()
            wait_for("the command", lambda: "sleep infinity " in leaks.processes().values())
            self.assertEqual(rk.stop(), 255, rk.log())
            self.assertIn("signal: terminated", rk.log())

    def test_stop_and_continue(self):
        with Rootlesskit(command=("sh", "-c", TRAP)) as rk:
            wait_for("the trap", lambda: "armed" in rk.out())
            os.kill(rk.pid, signal.SIGSTOP)
            os.kill(rk.pid, signal.SIGUSR1)
            os.kill(rk.pid, signal.SIGCONT)
            self.assertEqual(rk.wait(), 9)

    @rkit.ours("waits for SIGCONT")
    def test_child_that_is_stopped_hears_sigterm(self):
        for extra in ([], ["--pidns"]):
            with self.subTest(extra):
                rk = Rootlesskit(*extra).ready()
                os.kill(rk.child_pid, signal.SIGSTOP)
                self.assertEqual(rk.stop(), 255, rk.log())

    def test_mask_and_dispositions_of_the_command_are_clean(self):
        got = rootlesskit("grep", "^Sig", "/proc/self/status")
        seen = dict(line.split(":\t") for line in got.stdout.splitlines())
        self.assertEqual(int(seen["SigBlk"], 16), 0)
        # Python restores SIGPIPE for what it starts, so an ignored signal would be rootlesskit's doing.
        self.assertEqual(int(seen["SigIgn"], 16) & ~LIBRARY_SIGNALS, 0)


class EverySignal(rkit.RkTestCase):
    """The command writes down the number of each signal that it gets."""

    # SIGKILL and SIGSTOP cannot be caught. rootlesskit needs SIGCHLD for its own children. 32 and 33 are
    # LIBRARY_SIGNALS.
    NUMBERS = sorted(set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 32, 33})
    RECORD = """if 1:
        import os, signal, sys
        def note(number, frame):
            os.write(1, str(number).encode() + bytes([10]))
            if number == signal.SIGTERM:
                os._exit(5)
        for n in %r:
            signal.signal(n, note)
        os.write(1, b"armed\\n")
        while True:
            signal.pause()
    """ % (NUMBERS,)

    @rkit.ours("loses some, and its child dies of others")
    def test_each_reaches_the_command_once(self):
        order = [n for n in self.NUMBERS if n != signal.SIGTERM] + [signal.SIGTERM]
        for extra in ([], ["--pidns"], ["--pidns", "--reaper=false"]):
            with self.subTest(extra):
                with Rootlesskit(*extra, command=("python3", "-c", self.RECORD)) as rk:
                    wait_for("the handlers", lambda: "armed" in rk.out())
                    for n in order:
                        os.kill(rk.pid, n)
                        wait_for("signal %d" % n, lambda: str(n) in rk.out().split())
                    self.assertEqual(rk.wait(), 5, rk.log())
                    self.assertEqual([int(w) for w in rk.out().split()[1:]], order)

    def test_ones_that_are_ignored_stay_ignored(self):
        """The command ignores SIGHUP when nohup(1) has started rootlesskit."""
        look = ["grep", "SigIgn", "/proc/self/status"]
        got = run("nohup", self.world.path["rootlesskit"], *look)
        ignored = int(got.stdout.split()[1], 16)
        self.assertEqual(ignored & ~LIBRARY_SIGNALS, 1 << (signal.SIGHUP - 1), got.stdout)

    def test_ones_that_are_blocked_stay_blocked(self):
        code = ("import os,signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}); "
                "os.execvp('rootlesskit', ['rootlesskit', 'grep', 'SigBlk', '/proc/self/status'])")
        got = run("python3", "-c", code)
        self.assertEqual(int(got.stdout.split()[1], 16), 1 << (signal.SIGUSR2 - 1), got.stdout)

    @rkit.ours("waits")
    def test_during_the_set_up_some_end_it(self):
        """These signals end rootlesskit while its set-up waits for a slow program."""
        fake = self.world.base + "/slow"
        os.mkdir(fake)
        env = self.world.environ(PATH=fake + ":" + self.world.environ()["PATH"])
        for program, options in (("newuidmap", ["--net=none"]), ("newgidmap", ["--net=none"]),
                                 ("getsubids", ["--subid-source=dynamic"]),
                                 ("slirp4netns", ["--net=slirp4netns"])):
            if program == "slirp4netns" and self.world.tun_error:
                continue
            write(fake + "/" + program, "#!/bin/sh\nexec sleep 600\n", 0o755)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                with self.subTest(program=program, number=number):
                    rk = Rootlesskit(*options, env=env)
                    wait_for(program, lambda: "sleep 600 " in leaks.processes().values())
                    os.kill(rk.pid, number)
                    self.assertEqual(rk.wait(), -number)
                    self.assertIn("interrupted", rk.log())
                    self.assertFalse(os.path.exists(rk.state))
            os.unlink(fake + "/" + program)
        os.rmdir(fake)


class SignalsToAll(rkit.RkTestCase):
    """Ctrl-C reaches a whole process group, and a service manager's SIGTERM a whole cgroup. Forwarding must
    go on as long as the command does, so that a server can still give its answer."""

    SERVER = """if 1:
        import os, signal, socket
        told = []
        for n in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            signal.signal(n, lambda *_: told.append(1))
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 80))
        s.listen()
        c = s.accept()[0]
        c.sendall(c.recv(64))
        while not told:
            signal.sigtimedwait([], 0.05)
        c.sendall(b"told " + c.recv(64))
        if patient:
            c.shutdown(socket.SHUT_WR)
            c.recv(1)
        c.close()
        os._exit(0)  # Python's own exit would restore the default actions before the signal comes again
    """

    def talk(self, send, *options, patient=False):
        """The client gets an echo, and after send(rk) the answer to its second word. A patient server stays
        until the client has got it."""
        server = "patient = %s\n%s" % (patient, self.SERVER)
        rk = Rootlesskit("--disable-host-loopback", "-p", "127.0.0.1:18080:80/tcp", *options,
                         command=("python3", "-c", server), start_new_session=True).ready()
        try:
            def first():
                try:
                    c = net.connect("127.0.0.1", 18080)
                    c.sendall(b"one")
                    if c.recv(64) == b"one":
                        return c
                except OSError:
                    pass
                return None
            with wait_for("the server", first) as c:
                send(rk)
                c.sendall(b"two")
                self.assertEqual(c.recv(64), b"told two", rk.log())
            self.assertEqual(rk.wait(), 0, rk.log())
        finally:
            rk.stop()
        self.assertNotIn("starting it again", rk.log())

    def ways(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            yield number, lambda rk, n=number: os.killpg(rk.pid, n)

        def everybody(rk):
            for pid in [*processes_of(rk.pid), rk.pid]:
                os.kill(pid, signal.SIGTERM)
        yield "SIGTERM to each process", everybody

    @rkit.ours("has one process for all of it")
    def test_builtin(self):
        for name, send in self.ways():
            for backend in rkit.backends():
                with self.subTest(name, backend=backend):
                    self.talk(send, "--net=none", "--port-driver=builtin", "--dataplane=" + backend)

    @rkit.ours("its slirp4netns ends")
    @rkit.needs("slirp4netns")
    def test_programs_of_others(self):
        if self.world.tun_error:
            self.skipTest(self.world.tun_error)
        for name, send in self.ways():
            for driver in "slirp4netns", "socat":
                with self.subTest(name, driver=driver):
                    # These programs end with the command, and drop what they still have.
                    self.talk(send, "--net=slirp4netns", "--port-driver=" + driver, patient=True)


class Terminal(rkit.RkTestCase):
    """A key such as Ctrl-C reaches the command once, by its process group or forwarded by rootlesskit."""

    COUNT = ("n=0; trap 'n=$((n+1)); echo got $n' INT; echo armed; "
             "while [ ! -e $HOME/enough ]; do sleep 0.05; done; echo total $n")

    def on_terminal(self, *args, command):
        """Starts rootlesskit as the leader of a session with a terminal of its own. Returns the process and
        the terminal."""
        outer, inner = pty.openpty()
        argv = ["setsid", "--ctty", "--wait", self.world.path["rootlesskit"], *args, *command]
        with open(os.ttyname(inner), "r+b", buffering=0) as tty:
            proc = popen(argv, stdin=tty, stdout=tty, stderr=tty)
        os.close(inner)
        return proc, outer

    def read_until(self, fd, word, seen):
        def more():
            ready, _, _ = select.select([fd], [], [], 0.1)
            if ready:
                try:
                    seen.append(os.read(fd, 4096).decode())
                except OSError:
                    return True
            return word in "".join(seen)
        wait_for("%r in %r" % (word, seen), more)
        self.assertIn(word, "".join(seen))

    @rkit.ours("its child dies of it with --pidns")
    def test_control_c_comes_once(self):
        enough = self.world.home + "/enough"
        for extra in ([], ["--pidns"], ["--pidns", "--reaper=false"]):
            with self.subTest(extra):
                proc, fd = self.on_terminal(*extra, command=("sh", "-c", self.COUNT))
                seen = []
                self.read_until(fd, "armed", seen)
                os.write(fd, b"\x03")
                self.read_until(fd, "got 1", seen)
                os.write(fd, b"\x03")
                self.read_until(fd, "got 2", seen)
                write(enough, "")
                self.read_until(fd, "total", seen)
                os.unlink(enough)
                self.assertIn("total 2", "".join(seen))
                os.close(fd)
                proc.wait(DEADLINE_S)

    def test_shell_without_reaper_has_job_control(self):
        proc, fd = self.on_terminal("--pidns", "--reaper=false", command=("bash", "--norc", "-i"))
        seen = []
        os.write(fd, b"sleep 300\n")
        wait_for("sleep", lambda: "sleep 300 " in leaks.processes().values())
        os.write(fd, b"\x1a")
        self.read_until(fd, "Stopped", seen)
        os.write(fd, b"fg\n")
        self.read_until(fd, "fg\r\nsleep 300", seen)
        os.write(fd, b"\x03")
        os.write(fd, b"exit 3\n")
        self.assertEqual(proc.wait(DEADLINE_S), 3, "".join(seen))
        self.assertNotIn("no job control", "".join(seen))
        os.close(fd)


class AsProcess1(rkit.RkTestCase):
    """rootlesskit as process 1, the entry point of a container."""

    BEFORE = ("unshare", "-p", "-f", "-m", "--mount-proc", "--kill-child", "setpriv",
              "--reuid=%d" % UID, "--regid=%d" % UID, "--clear-groups")
    # A process whose parent ends before it does.
    ORPHAN = """if 1:
        import os, time
        r, w = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                os.write(w, str(os.getpid()).encode())
                time.sleep(0.1)
            os._exit(0)
        os.wait()
        pid = os.read(r, 100).decode()
        end = time.monotonic() + 30
        while os.path.exists("/proc/" + pid) and time.monotonic() < end:
            time.sleep(0.01)
        print("zombie" if os.path.exists("/proc/" + pid) else "reaped", flush=True)
        os._exit(7)
    """

    def start(self, *command):
        """Starts rootlesskit as process 1. Returns it, and its pid in our PID namespace."""
        rk = Rootlesskit("--net=none", command=command, before=self.BEFORE, uid=0)
        wait_for("child_pid", lambda: os.path.exists(rk.state + "/child_pid"))
        return rk, processes_of(rk.pid)[1]

    @rkit.ours("leaves them")
    def test_orphans_are_reaped(self):
        for extra in ([], ["--pidns"], ["--net=none", "--port-driver=builtin"]):
            with self.subTest(extra):
                got = run(*self.BEFORE, self.world.path["rootlesskit"], *extra, "python3", "-c",
                          self.ORPHAN, uid=0)
                self.assertEqual((got.returncode, got.stdout), (7, "reaped\n"), got.stderr)

    def test_signals(self):
        rk, one = self.start("sh", "-c", TRAP)
        wait_for("the trap", lambda: "armed" in rk.out())
        os.kill(one, signal.SIGUSR1)
        self.assertEqual(rk.wait(), 9, rk.log())

    def test_killed(self):
        rk, one = self.start("sleep", "infinity")
        os.kill(one, signal.SIGKILL)
        rk.wait()
        wait_for("all to die", lambda: not set(leaks.processes()) - self.processes_before)
        rk.forget_state()


class DeathOfTheParent(rkit.RkTestCase):
    @rkit.needs("slirp4netns", "tun")
    def test_by_sigkill_takes_everything_along(self):
        for extra in ([], ["--pidns"], ["--net=slirp4netns", "--port-driver=builtin",
                                        "--disable-host-loopback", "--pidns"]):
            with self.subTest(extra):
                rk = Rootlesskit(*extra, "-p", "127.0.0.1:18080:80/tcp") if len(extra) > 1 \
                    else Rootlesskit(*extra)
                rk.ready()
                self.assertGreater(len(leaks.processes()), 1)
                rk.proc.kill()
                rk.wait()
                wait_for("all to die: %s" % leaks.processes(),
                         lambda: not set(leaks.processes()) - self.processes_before)
                rk.forget_state()

    def test_child_killed(self):
        for extra in ([], ["--pidns"]):
            rk = Rootlesskit(*extra).ready()
            os.kill(rk.child_pid, signal.SIGKILL)
            self.assertNotEqual(rk.wait(), 0)
            self.assertIn("signal: killed", rk.log())

    def test_the_commands_own_children_in_the_background(self):
        """Without a PID namespace, a daemon that the command has started lives on: rootlesskit does not end
        it."""
        got = rootlesskit("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!")
        pid = int(got.stdout)
        self.assertIn(pid, leaks.processes())
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    rkit.main()
