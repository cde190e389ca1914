/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_COPYUP_AROUND_H
#define RINGKIT_NS_COPYUP_AROUND_H

/*
 * What surrounds the old content of a directory that is copied up, so that relative symbolic links
 * in it lead where they led. In /etc/ssl, "../../store" is /store. Where the old content is mounted
 * on /etc/.ro1, the same link would be /etc/store; mounted on /etc/.ro1.up/etc, it is
 * /etc/.ro1.up/store, which is a link to /store.
 */

/* Makes the directory `name` in top_fd, in it the directories on the way to dir (an absolute path
 * without symbolic links), and in each of them links to what is beside the next, as it is now: at
 * most LIMIT_COPY_UP_NEIGHBOURS. The descriptor of the last directory, which is empty, or -errno.
 * The caller closes it. */
int copyup_make_around(int top_fd, const char *name, const char *dir);

#endif
