/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_LANDLOCK_H
#define RINGKIT_DATAPLANE_LANDLOCK_H

/*
 * A second lock behind the system call filter (landlock(7)): the calling thread, which must be the
 * only one, can open, make, remove and execute nothing in any file system any more. Open
 * descriptors stay. Needs no_new_privs. 0, also where the kernel has no Landlock or it is switched
 * off; else -errno.
 */
int landlock_no_files(void);

#endif
