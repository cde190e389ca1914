/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LANDLOCK_H
#define RINGKIT_BASE_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A second lock behind the system call filter (landlock(7)): it says which files may be opened,
 * and what the filter cannot see, which ports may be bound and whom a signal may reach. It holds
 * for the calling thread, which must be the only one, and for all that it starts from then on.
 * Open descriptors stay. Needs no_new_privs.
 *
 * Whoever is under it can mount and unmount nothing any more, and traces nobody outside. So it is
 * never for a process that makes the command's namespaces or starts the command.
 *
 * What the kernel does not know is left out: a kernel without Landlock, or with an old version of
 * it, is no error. The functions return 0 or -errno.
 */

/* What processes without files may still do. */
struct landlock_rest {
	bool bind_tcp;	  /* bind TCP sockets */
	bool connect_tcp; /* connect TCP sockets */
	bool signal;	  /* send signals to others */
};

/* No file can be opened, made, removed or executed. Of what rest does not grant, TCP needs version
 * 4 of Landlock, and signals version 6, which also keeps abstract unix sockets of others away. */
int landlock_no_files(const struct landlock_rest *rest);

/* Files can be read and executed as ever, but made, changed and removed in one directory alone;
 * devices and standard error can be written to. The directory itself may be removed. Abstract unix
 * sockets of others are out of reach (version 6). dir_fd: of that directory. */
int landlock_write_only_in(int dir_fd);

#endif
