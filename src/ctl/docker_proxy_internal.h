/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_DOCKER_PROXY_INTERNAL_H
#define RINGKIT_CTL_DOCKER_PROXY_INTERNAL_H

#include <limits.h>
#include <netinet/in.h>
#include <signal.h>

#include "base/err.h"
#include "base/proc.h"
#include "ctl/docker_proxy_args.h"

/*
 * rootlesskit-docker-proxy, in two files:
 *   docker_proxy.c      what dockerd sees: arguments, descriptor 3, signals, docker-proxy
 *   docker_proxy_api.c  requests to rootlesskit's API
 */
struct client;

/* The result of the requests to the API. */
struct outcome {
	enum { NOTHING, WITHOUT_US, DISCARDED, PUBLISHED } what;
	bool direct;			 /* if PUBLISHED: the port leads straight to the
					  * container */
	char child_ip[INET6_ADDRSTRLEN]; /* where docker-proxy listens in the namespace */
	char driver[64];		 /* the port driver's name */
	struct err e;			 /* why there is NOTHING */
	struct err not_direct;		 /* why docker-proxy is needed */
};

struct proxy {
	struct docker_proxy_args args;
	char program[PATH_MAX]; /* the real docker-proxy */
	struct err no_program;	/* why there is no docker-proxy */
	char **argv;		/* ours */
	char *socket_path;
	char proto[16];	       /* "tcp4" */
	struct client *client; /* the connection to the API; NULL: none */
	int port_id;
	bool leased;   /* the port is removed when the connection closes */
	int signal_fd; /* readable when somebody wants an end */
	sigset_t old_mask;
	struct proc real; /* docker-proxy, where needed */
};

/* Publishes the port as well as possible. *out, which is zeroed, gets the result; out->e says why
 * there is NOTHING. The connection stays open if the port depends on it. */
void docker_proxy_publish(struct proxy *p, struct outcome *out);

/* Removes the port p->port_id and closes the connection. It is a success, too, when the parent is
 * gone and its ports with it. 0 or -errno. */
int docker_proxy_remove(struct proxy *p, struct err *e);

/* The value of an environment variable that is a word for true or false; if_unset when it is
 * missing or something else. */
bool docker_proxy_env(const char *name, bool if_unset);

#endif
