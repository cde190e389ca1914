/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_NS_COPYUP_AROUND_H
#define RINGKIT_NS_COPYUP_AROUND_H

/*
 * Builds the surroundings of the old content of a directory that is copied up, so that relative
 * symbolic links in it lead where they led. In /etc/ssl, "../../store" is /store. If the old
 * content were mounted on /etc/.ro1, the same link would lead to /etc/store. It is mounted on
 * /etc/.ro1.up/etc, where the link leads to /etc/.ro1.up/store, which is a link to /store.
 */

/* Makes the directory `name` in top_fd and in it the directories on the way to dir (an absolute
 * path without symbolic links). In each of these it makes links to the neighbours of the next one,
 * as they are now: at most LIMIT_COPY_UP_NEIGHBOURS. Returns the descriptor of the last directory,
 * which is empty, or -errno. The caller closes it. */
int copyup_make_around(int top_fd, const char *name, const char *dir);

#endif
