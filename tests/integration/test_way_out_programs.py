#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin with programs that people use: HTTP/3, curl, and downloads as of an image."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile

import rkit
from rkit.launch import popen, wait_for
from rkit.peers import TcpServer, background, payload_hash, receive, send_payload
from rkit.wayout import SERVER4, NetBuiltinCase
from rkit.world import UID

# HTTP/3 needs a key and a certificate. These were made for this test, and nobody trusts them.
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3ssTLYQPRR0DzYUM
k3XzPEKHeb3vlpVi96i4ZIfv9/ihRANCAAQjjnxkZh88pMYmF4MccSv5P/kLQW/n
YcfH5kpZJFPpKfaoky6K+lSZKw3+KDiXDb+VoCGmpt0Fb8BmIDB6sPX/
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUXHq8Wrx7QFA2q59z5bowBp08Q8swCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGc2VydmVyMCAXDTI2MTEyNTIzMTEzOVoYDzIxMjYxMTAxMjMx
MTM5WjARMQ8wDQYDVQQDDAZzZXJ2ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQjjnxkZh88pMYmF4MccSv5P/kLQW/nYcfH5kpZJFPpKfaoky6K+lSZKw3+KDiX
Db+VoCGmpt0Fb8BmIDB6sPX/o1MwUTAdBgNVHQ4EFgQUm+trA3D4Iclk+1ZiFYdx
CY3CcpowHwYDVR0jBBgwFoAUm+trA3D4Iclk+1ZiFYdxCY3CcpowDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA8Ob0UZ43kn5JC7b+6WWVjpnP7s3+
jPPBVwF0TiQpY/wCIQDKn4L1ImJ6Gr9pfrlLxvGTddmxYLviGzDlSykLDst/JQ==
-----END CERTIFICATE-----
"""


def hash_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class TestPrograms(NetBuiltinCase):
    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp(prefix="served-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.file = self.dir + "/file"
        with open(self.file, "wb") as f:
            f.write(os.urandom(20_000_000))
        self.got = self.dir + "/got"
        os.mkdir(self.got)
        for path in self.dir, self.got:
            os.chown(path, UID, UID)

    @contextlib.contextmanager
    def serve(self, *argv):
        """Runs a server outside."""
        job = popen(["nsenter", "--net=" + self.server, *argv], uid=0, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            job.kill()
            job.wait()

    def fetched(self):
        path = self.got + "/file"
        return os.path.exists(path) and hash_of(path) == hash_of(self.file)

    @rkit.needs("gtlsserver", "gtlsclient")
    def test_http3(self):
        for name, text in ("key", KEY), ("certificate", CERTIFICATE):
            with open(self.dir + "/" + name, "w") as f:
                f.write(text)
        url = "https://%s:4433/file" % SERVER4

        def fetch():
            self.rk.nsenter("timeout", "60", "gtlsclient", "-q", "--exit-on-all-streams-close",
                            "--download=" + self.got, SERVER4, "4433", url)
            return self.fetched()
        with self.serve("gtlsserver", "-q", SERVER4, "4433", self.dir + "/key",
                        self.dir + "/certificate", "-d", self.dir):
            wait_for("the file", fetch)

    @rkit.needs("curl")
    def test_curl(self):
        def fetch():
            self.rk.nsenter("curl", "-sf", "-o", self.got + "/file", "http://%s:8070/file" % SERVER4)
            return self.fetched()
        with self.serve("python3", "-m", "http.server", "-d", self.dir, "8070"):
            wait_for("the file", fetch)

    def test_pull(self):
        """Several large layers of an image are downloaded at once, and each arrives whole."""
        size, layers = 128 << 20, 4
        with TcpServer(lambda conn, _: send_payload(conn, size), port=8071, host="0.0.0.0",
                       netns=self.server):
            def pull():
                with self.inside.connect(SERVER4, 8071) as c:
                    return receive(c, size)
            for job in [background(pull) for _ in range(layers)]:
                self.assertEqual(job.result(), (size, payload_hash(size)))


if __name__ == "__main__":
    rkit.main()
