/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LANDLOCK_H
#define RINGKIT_BASE_LANDLOCK_H

#include <stdbool.h>

/*
 * A second lock behind the system call filter (landlock(7)). It says which files may be opened and,
 * what the filter cannot see, which ports may be bound and which processes a signal may reach. It
 * holds for the calling thread, which must be the only one, and for all processes that it starts
 * from then on. Descriptors that are open stay usable. Needs no_new_privs.
 *
 * A restricted process can no longer mount or unmount anything, nor trace a process outside. So
 * these functions are never for a process that makes the command's namespaces or starts the
 * command.
 *
 * A kernel without Landlock, or with an old version of it, is no error: the restrictions that it
 * does not know are left out. The functions return 0 or -errno.
 */

/* What a process that may open no files may still do. */
struct landlock_rest {
	bool bind_tcp;	  /* bind TCP sockets */
	bool connect_tcp; /* connect TCP sockets */
	bool signal;	  /* send signals to others */
};

/* From now on no file can be opened, made, removed or executed. Of what rest does not grant, TCP
 * needs version 4 of Landlock, and signals version 6. Version 6 also keeps other processes'
 * abstract unix sockets out of reach. */
int landlock_no_files(const struct landlock_rest *rest);

/* From now on files can be read and executed as before, but only in one directory can they be made,
 * changed and removed. Devices and standard error can be written to. The directory itself may be
 * removed. Other processes' abstract unix sockets are out of reach (version 6). dir_fd refers to
 * the directory. */
int landlock_write_only_in(int dir_fd);

#endif
