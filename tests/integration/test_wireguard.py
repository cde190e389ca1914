#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin and WireGuard, where the kernel has it."""

import rkit
from rkit.launch import run
from rkit.peers import TcpServer, payload_hash, receive, send_payload
from rkit.wayout import SERVER4, NetBuiltinCase


# The namespace's root may not open /dev/stdin: the pipe belongs to root outside.
SET = 'f=$(mktemp) && cat >"$f" && wg set wg0 private-key "$f" "$@"; r=$?; rm -f "$f"; exit $r'


@rkit.needs("wg")
class TestWireguard(NetBuiltinCase):
    """A tunnel of the kernel's from inside to a neighbour, whose packets are UDP to the way out."""

    def wireguard(self, execute, address, private, *more):
        """Makes the interface wg0. execute runs a command with its standard input."""
        for words, text in ((("ip", "link", "add", "wg0", "type", "wireguard"), None),
                            (("sh", "-c", SET, "sh", *more), private),
                            (("ip", "addr", "add", address + "/24", "dev", "wg0"), None),
                            (("ip", "link", "set", "wg0", "up"), None)):
            got = execute(*words, input=text)
            if "Unknown device type" in got.stderr or "not supported" in got.stderr:
                self.skipTest("the machine's kernel has no WireGuard")
            self.assertEqual(got.returncode, 0, got.stderr)

    def test_tunnel(self):
        private = [run("wg", "genkey").stdout for _ in range(2)]
        public = [run("wg", "pubkey", input=key).stdout.strip() for key in private]
        size = 8 << 20

        def outside(*words, **kw):
            return run("nsenter", "--net=" + self.server, *words, uid=0, **kw)
        self.addCleanup(outside, "ip", "link", "del", "wg0")
        self.wireguard(outside, "10.77.0.1", private[0], "listen-port", "51820",
                       "peer", public[1], "allowed-ips", "10.77.0.2/32")
        self.wireguard(self.rk.nsenter, "10.77.0.2", private[1],
                       "peer", public[0], "allowed-ips", "10.77.0.1/32", "endpoint", SERVER4 + ":51820")
        with TcpServer(lambda conn, _: send_payload(conn, size), port=8072, host="10.77.0.1",
                       netns=self.server), \
                self.inside.connect("10.77.0.1", 8072) as c:
            self.assertEqual(receive(c, size), (size, payload_hash(size)))
        # The neighbour sends to the address that the way out has for it.
        self.assertEqual(outside("ping", "-c", "2", "-i", "0.2", "-W", "5", "10.77.0.2").returncode, 0)


if __name__ == "__main__":
    rkit.main()
