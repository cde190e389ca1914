# SPDX-License-Identifier: Apache-2.0
"""The base of the test cases, and the runner."""

import functools
import os
import shutil
import sys
import threading
import time
import traceback
import unittest

from . import leaks, sandbox
from .launch import wait_for
from .world import world

BACKENDS = ("io_uring", "epoll")


def ours(why):
    """Marks a test (or class) of something that RootlessKit 1.1.0 does not do, or does wrong. With
    RootlessKit's own binary it is skipped; why says what is different there."""
    def wrap(test):
        if isinstance(test, type):
            for name in dir(test):
                if name.startswith("test") and callable(getattr(test, name)):
                    setattr(test, name, wrap(getattr(test, name)))
            return test

        @functools.wraps(test)
        def inner(self, *args):
            if world().reference:
                self.skipTest("reference: " + why)
            return test(self, *args)
        return inner
    return wrap


def backends():
    """The back ends of the data plane that can run on this machine."""
    return [b for b in BACKENDS if b != "io_uring" or not world().uring_error]


def _missing(names):
    for name in names:
        if name in ("tun", "io_uring"):
            error = world().tun_error if name == "tun" else world().uring_error
        else:
            error = None if shutil.which(name) else "%s is not installed" % name
        if error:
            return error
    return None


def needs(*programs):
    """Marks a test (or every test of a class) that runs other programs, or needs "tun" or "io_uring". Where
    one of them is missing, the test is skipped before any of its set-up, that of the class included."""
    def wrap(test):
        test.rk_needs = vars(test).get("rk_needs", ()) + programs
        if isinstance(test, type):
            for name in ("setUpClass", "tearDownClass"):
                if hasattr(test, name):
                    setattr(test, name, _unless_missing(getattr(test, name).__func__))
        return test
    return wrap


def _class_missing(cls):
    return _missing([name for c in cls.__mro__ for name in vars(c).get("rk_needs", ())])


def _unless_missing(method):
    return classmethod(lambda cls: None if _class_missing(cls) else method(cls))


class RkTestCase(unittest.TestCase):
    """Each test must leave nothing behind: no process, mount or temporary file.

    A setUp() that makes something has it removed by addCleanup(). tearDown() is not called when the rest
    of the set-up fails or skips, but cleanups are. They run after tearDown()."""

    maxDiff = None
    failed = False

    def _callSetUp(self):
        method = getattr(self, self._testMethodName)
        missing = _class_missing(type(self)) or _missing(getattr(method, "rk_needs", ()))
        if missing:
            self.skipTest(missing)
        super()._callSetUp()

    def _callTestMethod(self, method):
        try:
            super()._callTestMethod(method)
        except BaseException:
            self.failed = True
            raise

    def setUp(self):
        self.world = world()
        self.processes_before = set(leaks.processes())
        self.mounts_before = leaks.mounts()
        self.tmp_before = leaks.tree(self.world.tmp)

    def expected_processes(self):
        """The pids that may exist when the test has ended."""
        return self.processes_before

    def left_processes(self):
        return {pid: line for pid, line in leaks.processes().items()
                if pid not in self.expected_processes()}

    def assertNothingLeft(self):
        try:
            wait_for("processes to end", lambda: not self.left_processes())
        except AssertionError:
            self.assertEqual(self.left_processes(), {})
        self.assertEqual(leaks.mounts(), self.mounts_before, "mounts left")
        if not self.world.reference:
            self.assertEqual(leaks.tree(self.world.tmp), self.tmp_before, "files left")

    def tearDown(self):
        try:
            if not self.failed:
                self.assertNothingLeft()
        finally:
            self.clean_up()

    def clean_up(self):
        """Kills and removes what the test has left, so that a failure does not disturb the next test."""
        for pid in self.left_processes():
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        for name in os.listdir(self.world.tmp):
            path = os.path.join(self.world.tmp, name)
            if path not in self.tmp_before:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


class Result(unittest.TextTestResult):
    """Prints one line for each test, with the time it took."""

    started = time.monotonic()
    passed = 0

    def startTest(self, test):
        self.started = time.monotonic()
        unittest.TestResult.startTest(self, test)

    def _line(self, word, test, note=""):
        name = test.id().replace("__main__.", "")
        print("%-7s %-62s %6.2f s%s" % (word, name, time.monotonic() - self.started,
                                        "  " + note if note else ""), flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self._line("ok", test)

    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self._line("skip", test, reason)

    def addError(self, test, err):
        unittest.TestResult.addError(self, test, err)
        self._line("ERROR", test)
        print(self.errors[-1][1], flush=True)

    def addFailure(self, test, err):
        unittest.TestResult.addFailure(self, test, err)
        self._line("FAIL", test)
        print(self.failures[-1][1], flush=True)

    def addSubTest(self, test, subtest, err):
        unittest.TestResult.addSubTest(self, test, subtest, err)
        if err is not None:
            self._line("FAIL", subtest)
            print("".join(traceback.format_exception(*err)), flush=True)

    def printErrors(self):
        pass


def main():
    """Runs the tests of the file. The program's arguments are parts of the names of the tests to run."""
    sandbox.enter(sys.argv)
    module = sys.modules["__main__"]
    loader = unittest.TestLoader()
    loader.testNamePatterns = ["*%s*" % name for name in sys.argv[1:]] or None
    suite = loader.loadTestsFromModule(module)
    # A thread that fails need not print anything: the test that waits for it gets the exception.
    threading.excepthook = lambda args: None
    result = Result(unittest.runner._WritelnDecorator(sys.stdout), False, 0)
    suite.run(result)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    passed = result.passed
    print("cases: %d passed, %d failed, %d skipped" % (passed, failed, skipped), flush=True)
    # A missing program can be installed, so its skip counts. What the machine itself cannot do ("the
    # machine ...") cannot be changed.
    missing = sum(not reason.startswith("the machine") for _, reason in result.skipped)
    if missing and os.environ.get("RINGKIT_NO_SKIP"):
        print("RINGKIT_NO_SKIP: a skip counts as a failure")
        failed += missing
    sys.stdout.flush()
    os._exit(1 if failed else 77 if skipped and not passed else 0)
