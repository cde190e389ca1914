# SPDX-License-Identifier: Apache-2.0
"""Packets that tests make themselves. A program for the command's namespaces can have these functions, too:
inspect.getsource() of this module before its own text."""

import socket
import struct

SYN, ACK, RST = 0x02, 0x10, 0x04


def checksum(data):
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4_header(source, destination, protocol, size):
    """A header for size bytes."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def tcp_segment(source, destination, source_port, port, flags, sequence=1, acknowledged=0):
    """A segment without data, for IPv4."""
    segment = struct.pack("!HHIIBBHHH", source_port, port, sequence, acknowledged, 5 << 4, flags, 1000, 0, 0)
    pseudo = (socket.inet_aton(source) + socket.inet_aton(destination)
              + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)))
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
