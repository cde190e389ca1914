#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""In each process, one read or write of set-up and API after the other is a short one, and one answer of the
kernel to a netlink request after the other is a refusal. Another test has no limit of descriptors."""

import rkit
import test_inject_memory


@rkit.ours("is written in Go")
class Calls(test_inject_memory.Preloaded):
    VARIABLE, LIBRARY = "FAILCALL", "RK_FAILCALL"

    def each(self, kind, role, check):
        number = 0
        while True:
            number += 1
            with self.subTest(kind=kind, role=role, number=number):
                check(*self.preloaded("%d:%s:%s" % (number, kind, role)))
            if not self.was_hit():
                break
        print("        %s, %s: %d calls" % (role, kind, number - 1))
        return number - 1

    def as_ever(self, code, out, log):
        """The call that follows a short read or write does the rest, so that nothing is different."""
        self.check(code, out, log)
        self.assertEqual((code, "RAN\n" in out, "18081" in out), (0, True, True), log)

    def test_short_reads(self):
        tried = [self.each("read", role, self.as_ever) for role in ("parent", "child", "dataplane", "broker")]
        self.assertGreater(sum(tried), 10)

    def test_short_writes(self):
        tried = [self.each("write", role, self.as_ever) for role in ("parent", "child", "broker")]
        self.assertGreater(sum(tried), 5)

    def test_netlink_answers(self):
        """rootlesskit goes on without what was refused, or there is an error."""
        for role in ("child", "broker"):
            self.assertGreater(self.each("netlink", role, self.check), 0)

    def test_no_limit_of_descriptors(self):
        """Tables by descriptor have a million entries: the smaller limit wins."""
        options = self.OPTIONS
        for backend in ("io_uring", "epoll"):
            for role in ("parent", "dataplane"):
                with self.subTest(backend=backend, role=role):
                    self.OPTIONS = [*options, "--dataplane=" + backend]
                    self.as_ever(*self.preloaded("1:limit:" + role))
                    self.assertTrue(self.was_hit())

    @rkit.ours("has no such driver")
    def test_netlink_answers_of_the_router(self):
        self.OPTIONS = ["--net=builtin", "--ipv6", "--disable-host-loopback", *self.OPTIONS[1:]]
        for role in ("child", "router"):
            self.assertGreater(self.each("netlink", role, self.check), 5)


if __name__ == "__main__":
    rkit.main()
