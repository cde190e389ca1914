#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Id maps: which ranges of ids are taken from where, and which maps they make."""

import os
import shutil

import rkit
from rkit.launch import rootlesskit
from rkit.world import SUBID, UID, USER, sh, write

MAPS = ["sh", "-c", "cat /proc/self/uid_map; echo; cat /proc/self/gid_map"]


class IdMap(rkit.RkTestCase):
    def tearDown(self):
        self.world.subids(USER, USER, SUBID)
        super().tearDown()

    def maps(self, *args, env=None):
        got = rootlesskit(*args, *MAPS, env=env)
        self.assertEqual(got.returncode, 0, got.stderr)
        return [[tuple(map(int, line.split())) for line in part.splitlines()]
                for part in got.stdout.split("\n\n")]

    def test_one_range(self):
        want = [(0, UID, 1), (1, *SUBID)]
        self.assertEqual(self.maps(), [want, want])

    def test_several_ranges(self):
        self.world.subids(USER, USER, (52000, 1000), (54000, 10), (30000, 20000))
        uid, gid = self.maps()
        self.assertEqual(uid, gid)
        self.assertEqual(uid[0], (0, UID, 1))
        # Inside, the ranges follow each other without a gap. Each of the user's ranges is there once.
        at = 1
        for start, _, count in uid[1:]:
            self.assertEqual(start, at)
            at += count
        self.assertEqual(sorted((o, c) for _, o, c in uid[1:]),
                         [(30000, 20000), (52000, 1000), (54000, 10)])

    @rkit.ours("1.1.0 takes the range twice with the dynamic source")
    def test_by_numeric_id(self):
        self.world.subids(USER, str(UID), SUBID)
        want = [(0, UID, 1), (1, *SUBID)]
        self.assertEqual(self.maps(), [want, want])

    @rkit.ours("Invalid argument")
    def test_more_ranges_than_a_map_holds(self):
        self.world.subids(USER, USER, *[(100000000 + i * 20000, 10000) for i in range(200)])
        got = rootlesskit(*MAPS)
        self.assertEqual(got.returncode, 0, got.stderr)
        text = got.stdout.split("\n\n")[0].splitlines()
        self.assertGreater(len(text), 100)
        for kind in "uid", "gid":
            self.assertRegex(got.stderr, r"warning: %d sub%s ranges are left out, all but the first %d"
                             % (201 - len(text), kind, len(text) - 1))

    @rkit.ours("says nothing")
    def test_ranges_that_overlap(self):
        self.world.subids(USER, USER, SUBID, (SUBID[0] + 5, 10), SUBID)
        got = rootlesskit("true")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("warning: 1 subuid ranges are left out: they overlap", got.stderr)

    @rkit.ours("Invalid argument")
    def test_range_that_holds_one_s_own_id(self):
        for kind in "uid", "gid":
            with self.subTest(kind):
                self.world.subids(USER, USER, SUBID)
                self.world.subids(USER, USER, (UID - 1, 5), files=["/etc/sub" + kind])
                got = rootlesskit("true")
                self.assertEqual(got.returncode, 1)
                self.assertIn("the range %d:5 in /etc/sub%s holds the user's own id %d"
                              % (UID - 1, kind, UID), got.stderr)
                self.assertIn("usermod --del-sub%ss %d-%d" % (kind, UID - 1, UID + 3), got.stderr)

    @staticmethod
    def tools(directory, mode):
        for tool in "newuidmap", "newgidmap":
            shutil.copy(shutil.which(tool), directory)
            os.chmod(directory + "/" + tool, mode)

    @rkit.ours("says nothing")
    def test_programs_without_rights(self):
        d = self.world.base + "/tools"
        os.mkdir(d)
        self.addCleanup(shutil.rmtree, d)
        env = self.world.environ(PATH=d + ":" + self.world.environ()["PATH"])

        def says(words):
            got = rootlesskit("true", env=env)
            self.assertEqual(got.returncode, 1)
            self.assertIn(words, got.stderr)
        if self.world.in_userns:
            self.skipTest("the machine lets us test this only as the real root")
        self.tools(d, 0o755)
        says("lost its set-user-id bit: sudo chmod u+s")
        sh("mount", "-t", "tmpfs", "-o", "nosuid,mode=755", "tmpfs", d)
        try:
            self.tools(d, 0o4755)
            says("mounted with nosuid")
        finally:
            sh("umount", d)

    def test_uid_and_gid_differ(self):
        self.world.subids(USER, USER, (55000, 9000), files=["/etc/subgid"])
        self.assertEqual(self.maps(), [[(0, UID, 1), (1, *SUBID)],
                                       [(0, UID, 1), (1, 55000, 9000)]])

    def test_static_and_dynamic_source(self):
        want = [(0, UID, 1), (1, *SUBID)]
        for source in ("auto", "static", "dynamic"):
            with self.subTest(source):
                self.assertEqual(self.maps("--subid-source=" + source), [want, want])

    def getsubids(self, script):
        """Makes this script getsubids. Returns the environment in which it is found."""
        d = self.world.base + "/getsubids"
        os.makedirs(d, exist_ok=True)
        write(d + "/getsubids", "#!/bin/sh\n%s\n" % script, 0o755)
        self.addCleanup(shutil.rmtree, d)
        return self.world.environ(PATH=d + ":" + self.world.environ()["PATH"])

    @rkit.ours("runs /usr/bin/getsubids")
    def test_dynamic_source_takes_every_range(self):
        self.world.subids(USER, USER, (52000, 1000), (30000, 20000))
        env = self.getsubids('echo "0: %s 30000 20000"; echo "1: %s 52000 1000"' % (USER, USER))
        uid, gid = self.maps("--subid-source=dynamic", env=env)
        self.assertEqual(uid, [(0, UID, 1), (1, 30000, 20000), (20001, 52000, 1000)])
        self.assertEqual(gid, uid)

    @rkit.ours("runs /usr/bin/getsubids")
    def test_dynamic_source_that_fails(self):
        for script, words in (("echo 'Error fetching ranges' >&2; exit 1", "Error fetching ranges"),
                              ("exit 0", "No subuid ranges"), ("kill -9 $$", "signal: killed"),
                              ("echo nonsense; head -c 100000 /dev/zero", "No subuid ranges")):
            with self.subTest(script):
                got = rootlesskit("--subid-source=dynamic", "true", env=self.getsubids(script))
                self.assertEqual(got.returncode, 1)
                self.assertIn(words, got.stderr)
                self.doCleanups()

    @rkit.ours("asks getsubids in any case")
    def test_auto_asks_getsubids_where_nsswitch_says_so(self):
        old = open("/etc/nsswitch.conf").read()
        want = [(0, UID, 1), (1, SUBID[0] + 100, 1000)]
        env = self.getsubids('echo "0: %s %d 1000"' % (USER, SUBID[0] + 100))
        self.assertEqual(self.maps(env=env)[0], [(0, UID, 1), (1, *SUBID)])
        write("/etc/nsswitch.conf", old + "\nsubid: elsewhere\n")
        try:
            self.assertEqual(self.maps(env=env), [want, want])
            self.doCleanups()
            env = self.getsubids("exit 1")
            self.assertEqual(self.maps(env=env)[0], [(0, UID, 1), (1, *SUBID)])
        finally:
            write("/etc/nsswitch.conf", old)

    def test_comments_and_blank_lines(self):
        for path in ("/etc/subuid", "/etc/subgid"):
            text = open(path).read()
            write(path, "# who has what\n\n" + text)
        self.assertEqual(self.maps("--subid-source=static")[0], [(0, UID, 1), (1, *SUBID)])

    def test_other_users_ranges_are_not_taken(self):
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, "a") as f:
                f.write("%s2:700000:65536\n1%d:800000:65536\n" % (USER, UID))
        self.assertEqual(self.maps()[0], [(0, UID, 1), (1, *SUBID)])

    def test_root_inside_and_capabilities(self):
        got = rootlesskit("sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; "
                          "touch $HOME/x && chown 5:7 $HOME/x && stat -c %u:%g $HOME/x")
        self.assertEqual(got.returncode, 0, got.stderr)
        uid, gid, _, cap, owner = got.stdout.split()
        self.assertEqual((uid, gid, owner), ("0", "0", "5:7"))
        self.assertEqual(int(cap, 16) & 0x1ffffffffff, int(cap, 16))
        self.assertGreaterEqual(bin(int(cap, 16)).count("1"), 38)
        stat = os.stat(self.world.home + "/x")
        self.assertEqual((stat.st_uid, stat.st_gid), (SUBID[0] + 4, SUBID[0] + 6))
        os.unlink(self.world.home + "/x")

    def test_supplementary_groups_do_not_break_it(self):
        self.assertIn("uid=0(root) gid=0(root)", rootlesskit("id").stdout)


if __name__ == "__main__":
    rkit.main()
