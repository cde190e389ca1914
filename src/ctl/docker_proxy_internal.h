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
 *   docker_proxy.c      what dockerd sees: arguments, descriptor 3, signals, docker-proxy
 *   docker_proxy_api.c  what is asked of rootlesskit's API
 */
struct client;

/* What came of a conversation with the API. */
struct outcome {
	enum { NOTHING, WITHOUT_US, DISCARDED, PUBLISHED } what;
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
	char proto[16];	       /* "tcp4" */
	struct client *client; /* the conversation with the API; NULL: none */
	int port_id;
	bool leased;   /* the port goes when the client's connection does */
	int signal_fd; /* readable when somebody wants an end */
	sigset_t old_mask;
	struct proc real; /* docker-proxy, where it is needed */
};

/* Publishes the port as well as it can be. What came of it is in *out, which is zeroed; out->e says
 * why there is NOTHING. The connection stays open if the port depends on it. */
void docker_proxy_publish(struct proxy *p, struct outcome *out);

/* Takes p->port_id back and ends the conversation. It is well, too, when the parent is gone and its
 * ports with it. 0 or -errno. */
int docker_proxy_remove(struct proxy *p, struct err *e);

/* Whether an environment variable is a word for true, or for false; if_unset when it is not there
 * or something else. */
bool docker_proxy_env(const char *name, bool if_unset);

#endif
