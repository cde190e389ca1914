#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The traffic of tools/quickstart: servers for inside the namespace, clients for outside.

    demo.py serve               HTTP on port 80 and UDP on port 53, until it is ended
    demo.py page URL            fetches a page and prints it
    demo.py payload URL         fetches URL/payload and compares its hash with the server's
    demo.py udp HOST PORT       sends datagrams and checks the answers
    demo.py closed PROTO HOST PORT   checks that nobody is there any more
"""

import hashlib
import http.server
import os
import socket
import sys
import threading
import time
import urllib.request

PAYLOAD_BYTES = 64 << 20
DATAGRAMS = 200
TIMEOUT_S = 120

# A proxy that the environment names is not used, since all addresses are local.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def describe():
    with open("/proc/self/uid_map") as f:
        uid_map = f.readline().split()
    interfaces = ", ".join(name for _, name in socket.if_nameindex())
    return ("Hello from inside the namespace.\n"
            "user id here: %d, outside: %s; network interfaces: %s\n"
            % (os.getuid(), uid_map[1], interfaces))


class Handler(http.server.BaseHTTPRequestHandler):
    payload = b""

    def do_GET(self):
        big = self.path == "/payload"
        body = self.payload if big else describe().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if big:
            self.send_header("X-Sha256", hashlib.sha256(body).hexdigest())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def serve_udp():
    """Answers with the datagram's bytes in reverse order."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", 53))
        while True:
            data, peer = s.recvfrom(65535)
            s.sendto(data[::-1], peer)


def serve():
    Handler.payload = os.urandom(PAYLOAD_BYTES)
    threading.Thread(target=serve_udp, daemon=True).start()
    http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()


def page(url):
    with _opener.open(url, timeout=TIMEOUT_S) as answer:
        sys.stdout.write(answer.read().decode())


def payload(url):
    start = time.monotonic()
    digest, size = hashlib.sha256(), 0
    with _opener.open(url + "/payload", timeout=TIMEOUT_S) as answer:
        told = answer.headers["X-Sha256"]
        while True:
            block = answer.read(1 << 20)
            if not block:
                break
            digest.update(block)
            size += len(block)
    if digest.hexdigest() != told:
        sys.exit("%d bytes came, but with another SHA-256 than the server sent" % size)
    print("%d MiB in %.2f s, SHA-256 as sent: %s…"
          % (size >> 20, time.monotonic() - start, told[:16]))


def udp(host, port):
    """Sends each datagram up to five times, since UDP may lose one on a busy machine."""
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((host, int(port)))
        s.settimeout(2)
        for i in range(DATAGRAMS):
            data = b"%d:" % i + os.urandom(1 + i * 6)
            for _ in range(5):
                s.send(data)
                sent += 1
                try:
                    answer = s.recv(65535)
                    while answer != data[::-1]:
                        answer = s.recv(65535)  # the first was a late answer to an earlier attempt
                    break
                except OSError:
                    continue
            else:
                sys.exit("datagram %d of %d bytes: no right answer" % (i, len(data)))
    print("%d datagrams of 3 to %d bytes answered as they should be (%d sent)"
          % (DATAGRAMS, len(data), sent))


def closed(proto, host, port):
    """Waits until the port is closed. A removed port is closed at once, but this does not rely on that."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(1)
            try:
                s.connect((host, int(port)))
                if proto == "udp":
                    s.send(b"anyone?")
                    s.recv(1)
            except ConnectionRefusedError:
                print("%s port %s: connection refused" % (proto, port))
                return
            except OSError:
                pass
        time.sleep(0.1)
    sys.exit("%s port %s is still open" % (proto, port))


if __name__ == "__main__":
    verbs = {"serve": serve, "page": page, "payload": payload, "udp": udp, "closed": closed}
    try:
        verbs[sys.argv[1]](*sys.argv[2:])
    except (OSError, KeyboardInterrupt) as e:
        sys.exit("%s: %s" % (" ".join(sys.argv[1:]), e))
