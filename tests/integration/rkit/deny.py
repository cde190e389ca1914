# SPDX-License-Identifier: Apache-2.0
"""Runs a command as the test user with some system calls refused.

    python3 -m rkit.deny UID mount=EPERM io_uring_setup=ENOSYS -- command...

SO_NETNS_COOKIE=ENOPROTOOPT refuses getsockopt(2) of that option alone.

The filter is installed as root, and so without no_new_privs, so that set-uid programs go on working.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

X86_64 = {"mount": 165, "io_uring_setup": 425, "setns": 308, "pidfd_open": 434, "move_mount": 429,
          "fsmount": 432, "sethostname": 170, "splice": 275, "unshare": 272, "socketpair": 53, "clone": 56,
          "pwritev2": 328, "getsockopt": 55}
AARCH64 = {"mount": 40, "io_uring_setup": 425, "setns": 268, "pidfd_open": 434, "move_mount": 429,
           "fsmount": 432, "sethostname": 161, "splice": 76, "unshare": 97, "socketpair": 199, "clone": 220,
           "pwritev2": 287, "getsockopt": 209}
NUMBERS = {"x86_64": X86_64, "aarch64": AARCH64}.get(platform.machine(), {})

# Names for a call with a certain argument: the call, the argument's index, its value.
WITH_ARGUMENT = {"SO_NETNS_COOKIE": ("getsockopt", 2, 71)}

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
AT_NR, AT_ARGS = 0, 16  # offsets in struct seccomp_data
ALLOW, ERRNO = 0x7fff0000, 0x00050000


def install(denied):
    """Refuses system calls of this process and what it starts. denied: {name: errno}."""
    code = []
    for name, number in denied.items():
        call, argument, value = WITH_ARGUMENT.get(name, (name, None, None))
        code.append(struct.pack("HBBI", LOAD, 0, 0, AT_NR))
        if argument is not None:
            code.append(struct.pack("HBBI", JUMP_IF_EQUAL, 0, 3, NUMBERS[call]))
            code.append(struct.pack("HBBI", LOAD, 0, 0, AT_ARGS + 8 * argument))
            code.append(struct.pack("HBBI", JUMP_IF_EQUAL, 0, 1, value))
        else:
            code.append(struct.pack("HBBI", JUMP_IF_EQUAL, 0, 1, NUMBERS[call]))
        code.append(struct.pack("HBBI", RETURN, 0, 0, ERRNO | number))
    code.append(struct.pack("HBBI", RETURN, 0, 0, ALLOW))
    buf = ctypes.create_string_buffer(b"".join(code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buf))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def main():
    uid, rest = int(sys.argv[1]), sys.argv[2:]
    at = rest.index("--")
    install({word.split("=")[0]: getattr(errno, word.split("=")[1]) for word in rest[:at]})
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execvp(rest[at + 1], rest[at + 1:])


if __name__ == "__main__":
    main()
