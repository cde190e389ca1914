/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_ROLE_H
#define RINGKIT_BASE_ROLE_H

/*
 * Roles. Every process of ours is our own binary, started again with a role in the environment.
 * main.c has the function of each role.
 */
enum role {
	ROLE_CHILD,	    /* process 1 of the namespaces, or the process beside it; runs the
			     * command */
	ROLE_DATAPLANE,	    /* forwards traffic */
	ROLE_BROKER,	    /* makes sockets in the command's network namespace */
	ROLE_ROUTER_BROKER, /* makes sockets in the router's network namespace */
	ROLE_ROUTER,	    /* sets up the router's namespace */
	ROLE_GUARD,	    /* starts a helper program, and ends all that the program has started */
	ROLE_VPNKIT_RELAY,
	ROLE_LXC_DHCP,
	ROLE_READDRESS,
	ROLE_LINK_PROBE,
	ROLE_COUNT,
};

/* The environment variable that names the role of a process. */
#define ROLE_ENV "_RINGKIT_ROLE"

/* The name of the role: "broker" for ROLE_BROKER. */
const char *role_name(enum role role);

/* The role of that name, or ROLE_COUNT. */
enum role role_find(const char *name);

/* Our environment with ROLE_ENV set to that role ("_RINGKIT_ROLE=broker"), and set once. The caller
 * free()s the array; the strings are borrowed. NULL when out of memory. */
char **role_environ(enum role role);

#endif
