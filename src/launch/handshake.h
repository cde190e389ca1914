/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_LAUNCH_HANDSHAKE_H
#define RINGKIT_LAUNCH_HANDSHAKE_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "drivers/driver.h"

/*
 * The messages between parent and child, over a SOCK_SEQPACKET pair, one struct a message. Both
 * processes are the same binary, so the structs need no encoding.
 *
 *   parent                                   child
 *   clone ---------------------------------> waits
 *   newuidmap, newgidmap
 *   --evacuate-cgroup2, which stays done
 *   HS_MAPPED -----------------------------> execs itself; mounts, copy-up, loopback
 *   network driver                           (at the same time)
 *           <------------------------------- HS_NETNS, only with a detached network namespace
 *   HS_SETUP ------------------------------> interface, resolv.conf, hosts
 *   port driver, ports, API                  (at the same time)
 *           <------------------------------- HS_READY
 *   child_pid
 *   HS_RUN --------------------------------> runs the command
 *
 * With --net=builtin the processes of the port driver start beside the network's set-up, before
 * HS_SETUP.
 *
 * When one end closes the channel early, it has failed, and has said why on stderr.
 */
enum hs_kind { HS_MAPPED = 1, HS_NETNS, HS_SETUP, HS_READY, HS_RUN };

struct hs_simple {
	uint32_t kind;
};

struct hs_setup {
	uint32_t kind;
	bool listen_fds;  /* LISTEN_PID named the parent, and is to name the command */
	sigset_t sigmask; /* the mask that the parent was started with */
	uint32_t parent_euid, parent_egid;
	char state_dir[PATH_MAX];
	dev_t state_dev; /* device and inode of the directory that state_dir must lead to */
	ino_t state_ino;
	struct net_result net;
};

/* The environment variable, beside its role, with the number of the child's end of the channel. */
#define HS_ENV_FD "_RINGKIT_BOOT_FD"

/* Sends a message without content. 0 or -errno. */
int hs_send(int sock, enum hs_kind kind);

/* Receives a message of this kind and size into buf (its first member is the kind). 0, -ECONNRESET
 * when the other end is gone, -EPROTO for any other message, or -errno. */
int hs_recv(int sock, enum hs_kind kind, void *buf, size_t size);

#endif
