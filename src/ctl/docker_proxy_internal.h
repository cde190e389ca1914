/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_DOCKER_PROXY_INTERNAL_H
#define RINGKIT_CTL_DOCKER_PROXY_INTERNAL_H

#include <limits.h>
#include <signal.h>

#include "base/err.h"
#include "base/proc.h"
#include "ctl/docker_proxy_args.h"

/*
 * rootlesskit-docker-proxy, in two files:
 *   docker_proxy.c      the process that dockerd starts, and that waits
 *   docker_proxy_api.c  what it asks of the API, in processes that end
 */

/* What came of a conversation with the API. */
struct outcome {
	enum { NOTHING, WITHOUT_US, DISCARDED, PUBLISHED, REMOVED } what;
	int port_id;			 /* PUBLISHED */
	bool direct;			 /* PUBLISHED: straight to the container */
	char child_ip[INET6_ADDRSTRLEN]; /* where docker-proxy listens in the namespace */
	char driver[64];		 /* the port driver's name */
	struct err e;			 /* why nothing came of it */
	struct err not_direct;		 /* why docker-proxy is in the way */
};

struct proxy {
	struct docker_proxy_args args;
	char program[PATH_MAX]; /* the real docker-proxy */
	struct err no_program;	/* why there is none */
	char **argv;		/* ours */
	char *socket_path;
	char proto[16]; /* "tcp4" */
	int port_id;
	int signal_fd;
	sigset_t old_mask;
	struct proc real; /* docker-proxy, where it is needed */
};

/* Publishes the port as well as it can be. What came of it is in *out, which is zeroed. */
void docker_proxy_publish(const struct proxy *p, struct outcome *out);

/* Takes p->port_id back. It is well, too, when the parent is gone and its ports with it. */
void docker_proxy_remove(const struct proxy *p, struct outcome *out);

/* Whether an environment variable is a word for true, or for false; if_unset when it is not there
 * or something else. */
bool docker_proxy_env(const char *name, bool if_unset);

#endif
