/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_DRIVER_H
#define RINGKIT_DRIVERS_DRIVER_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "ports/driver.h"

/*
 * Network and port drivers. One file a driver under net/ and port/; registry.c holds the one table
 * of which exist and which go together. A driver knows nothing of options or the API.
 *
 * Network drivers have two halves. The parent's half runs in the host's namespaces and starts
 * whatever carries packets; what it learns (struct net_result) goes to the child, whose half
 * configures the interface from within (most drivers need no more than net_configure, ns/netif.h).
 */

#define NET_DNS_MAX 4

/* The user's wishes. Strings are owned by the caller and outlive the driver. */
struct net_params {
	const char *ifname; /* NULL: the driver's default */
	int mtu;	    /* 0: the driver's default */
	const char *cidr;   /* NULL: the driver's default */
	bool disable_host_loopback;
	bool ipv6;
	bool ipv6_auto; /* neither asked for nor refused: where the host has a way */
	bool detach_netns;
	const char *port_driver; /* the name */
	bool auto_ports;	 /* ports that are open inside are to be so outside (implicit) */
	const char *binary;	 /* --slirp4netns-binary etc; NULL: default */
	const char *sandbox;	 /* "auto", "true", "false" */
	const char *seccomp;	 /* likewise */
	const char *bridge;	 /* lxc-user-nic */
	const char *state_dir;
	const char *outbound_addr;	      /* NULL: the kernel's choice */
	const struct dp_outward_rule *egress; /* dataplane/wire.h */
	size_t n_egress;
	int workers;		/* of the data plane; 0: as many as there are CPUs */
	const char *api_socket; /* of slirp4netns, or pasta (--conf-path); NULL: not needed */
	const char *tun_path;	/* NULL: /dev/net/tun */
	/* How long a helper may take to say what it can do, and to be ready. 0: the driver's own.
	 */
	int ask_timeout_ms, ready_timeout_ms;
};

/* The namespaces as the parent holds them. All descriptors are borrowed. */
struct net_target {
	pid_t child_pid;
	int userns_fd, netns_fd;
	const char *netns_path; /* detached namespace: STATE/netns; else NULL */
	int abort_fd; /* readable when start-up must stop: a signal came or the child died */
};

/* The driver's decisions; sent to the child as they are (no pointers) and shown by the API. */
struct net_result {
	char driver[32];
	char ifname[IFNAMSIZ];
	int mtu;
	bool configure; /* the child sets address, route and MTU on ifname */
	char ip[INET6_ADDRSTRLEN];
	int prefix_len;
	char gateway[INET6_ADDRSTRLEN];
	/* With configure, a second address and default route, of IPv6; "": none. */
	char ip6[INET6_ADDRSTRLEN];
	int prefix_len6;
	char gateway6[INET6_ADDRSTRLEN];
	char dns[NET_DNS_MAX][INET6_ADDRSTRLEN]; /* "" ends the list */
	bool dynamic_child_ip;			 /* the address comes from DHCP in the child */
};

/* The name servers, into NET_DNS_MAX pointers into net. Returns how many. */
static inline size_t net_result_dns(const struct net_result *net, const char **dns)
{
	size_t n = 0;

	for (; n < NET_DNS_MAX && net->dns[n][0]; n++)
		dns[n] = net->dns[n];
	return n;
}

struct dp_outward_rule;
struct dataplane_outward; /* dataplane/outward.h */
struct listening_source;  /* ns/listening.h */
struct net_driver;	  /* each driver's own state */

/* Called when the driver's helper process ends by itself; msg is for the log. */
typedef void net_died_fn(void *arg, const char *msg);

/* Called when the interface has another address, route or name servers than before. */
typedef void net_changed_fn(void *arg, const struct net_result *result);

struct net_driver_ops {
	const char *name; /* as in --net */
	const char *default_ifname;
	int default_mtu;
	bool takes_cidr, takes_ipv6;
	bool takes_egress; /* rules of where to, and --outbound-addr */
	/* Starts it; returns when packets flow or it failed (bounded by a time-out of its own).
	 * 0 or -errno, then nothing is left running. */
	int (*start)(const struct net_params *params, const struct net_target *target,
		     struct net_driver **out, struct net_result *result, struct err *e);
	/* Watches its helper from now on. */
	int (*watch)(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg);
	/* Optional, for an address that may change; called after watch, when the child has
	 * configured the interface. From now on the driver follows the change itself, in the
	 * namespaces. 0 or -errno. */
	int (*follow)(struct net_driver *drv, struct loop *loop, net_changed_fn *changed,
		      void *arg);
	/* Optional: what the data plane is to carry. It lives as long as the driver. */
	struct dataplane_outward *(*outward)(struct net_driver *drv);
	/* Optional, with auto_ports: who asks which sockets listen inside (ns/listening.h). NULL:
	 * the driver sees to these ports itself. It lives as long as the driver. */
	struct listening_source *(*listening)(struct net_driver *drv);
	/* Optional: lists what there is to say of it (COUNTER_DRIVER), and what it has counted
	 * beside the data plane (COUNTER_TOTAL). 0 or -errno of fn. */
	int (*describe)(const struct net_driver *drv, port_counter_fn *fn, void *arg);
	/* Ends its helper and frees it. */
	void (*stop)(struct net_driver *drv);
};

/* NULL when there is none of that name. "host" has no ops: no namespace is made. */
const struct net_driver_ops *net_driver_find(const char *name);

const struct port_driver_ops *port_driver_find(const char *name);

/* Whether there is a driver of this name. 0 or -EINVAL. */
int net_driver_check(const char *name, struct err *e);
int port_driver_check(const char *name, struct err *e);

/* The names of the drivers, separated by ", ", in buf; returns buf. */
const char *net_driver_names(char *buf, size_t size);
const char *port_driver_names(char *buf, size_t size);

/* Whether both exist and go together. 0 or -EINVAL with why and what would be right. */
int driver_check_combination(const char *net, const char *port, struct err *e);

#endif
