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
 * Network and port drivers. Each driver is a file under net/ or port/. registry.c has the one table
 * of the drivers and of which go together. A driver knows nothing of options or the API.
 *
 * A network driver has two halves. The parent's half runs in the host's namespaces and starts
 * whatever carries packets. Its result (struct net_result) goes to the child, whose half configures
 * the interface from within; most drivers need no more there than netif_configure (ns/netif.h).
 */

#define NET_DNS_MAX 4

/* The user's wishes. Strings are owned by the caller and outlive the driver. */
struct net_params {
	const char *ifname; /* NULL: the driver's default */
	int mtu;	    /* 0: the driver's default */
	const char *cidr;   /* NULL: the driver's default */
	bool disable_host_loopback;
	bool ipv6;
	bool ipv6_auto; /* IPv6 was neither requested nor refused: on if the host has IPv6 */
	bool detach_netns;
	const char *port_driver; /* its name */
	bool auto_ports;	 /* ports that are open inside must be open outside (implicit) */
	const char *binary;	 /* --slirp4netns-binary etc; NULL: default */
	const char *sandbox;	 /* "auto", "true", "false" */
	const char *seccomp;	 /* likewise */
	const char *bridge;	 /* lxc-user-nic */
	const char *state_dir;
	const char *outbound_addr;	      /* NULL: the kernel's choice */
	const struct dp_outward_rule *egress; /* the rules of --egress-deny and --egress-allow */
	size_t n_egress;
	int workers;		/* workers of the data plane; 0: one for every two CPUs */
	const char *api_socket; /* where slirp4netns or pasta (--conf-path) is to listen; NULL: not
				 * needed */
	const char *tun_path;	/* NULL: /dev/net/tun */
	/* How long a helper may take to report its options, and to be ready. 0: the driver's
	 * default. */
	int ask_timeout_ms, ready_timeout_ms;
};

/* The namespaces as the parent holds them. All descriptors are borrowed. */
struct net_target {
	pid_t child_pid;
	int userns_fd, netns_fd;
	const char *netns_path; /* STATE/netns of a detached namespace; else NULL */
	int abort_fd; /* readable when start-up must stop: a signal came or the child died */
};

/* The driver's decisions. They are sent to the child as they are (so there are no pointers), and
 * the API shows them. */
struct net_result {
	char driver[32];
	char ifname[IFNAMSIZ];
	int mtu;
	bool configure; /* the child sets address, route and MTU on ifname */
	bool pair;	/* with configure: ifname is an end of a veth pair, and we made the other */
	char ip[INET6_ADDRSTRLEN];
	int prefix_len;
	char gateway[INET6_ADDRSTRLEN];
	/* With configure: a second address and default route, of IPv6; "": none. */
	char ip6[INET6_ADDRSTRLEN];
	int prefix_len6;
	char gateway6[INET6_ADDRSTRLEN];
	char dns[NET_DNS_MAX][INET6_ADDRSTRLEN]; /* "" ends the list */
	bool dynamic_child_ip;			 /* the address comes from DHCP in the child */
};

/* Puts the name servers into dns, NET_DNS_MAX pointers into net. Returns how many there are. */
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

/* Called when the driver's helper process ends by itself. msg is for the log. */
typedef void net_died_fn(void *arg, const char *msg);

/* Called when the interface has another address, route or name servers than before. */
typedef void net_changed_fn(void *arg, const struct net_result *result);

struct net_driver_ops {
	const char *name; /* as in --net */
	const char *default_ifname;
	int default_mtu;
	bool takes_cidr, takes_ipv6;
	bool takes_egress; /* takes rules of where the command may connect to, and
			    * --outbound-addr */
	/* Starts the network. Returns when packets flow (with finish: when the set-up has begun) or
	 * it has failed, within a time-out of the driver's. 0 or -errno; after an error nothing is
	 * left running. */
	int (*start)(const struct net_params *params, const struct net_target *target,
		     struct net_driver **out, struct net_result *result, struct err *e);
	/* Optional: waits for the set-up that start began. Called once, before what outward and
	 * listening return is used; *result is known before. 0 or -errno, and then stop is
	 * called. */
	int (*finish)(struct net_driver *drv, struct err *e);
	/* Watches the driver's helper from now on. */
	int (*watch)(struct net_driver *drv, struct loop *loop, net_died_fn *died, void *arg);
	/* Optional, for an address that may change. Called after watch, when the child has
	 * configured the interface. From now on the driver applies changes itself, in the
	 * namespaces. 0 or -errno. */
	int (*follow)(struct net_driver *drv, struct loop *loop, net_changed_fn *changed,
		      void *arg);
	/* Optional: the part of the network that the data plane carries. It lives as long as the
	 * driver. */
	struct dataplane_outward *(*outward)(struct net_driver *drv);
	/* Optional, with auto_ports: the source that reports which sockets listen inside
	 * (ns/listening.h). NULL: the driver publishes these ports itself. It lives as long as the
	 * driver. */
	struct listening_source *(*listening)(struct net_driver *drv);
	/* Optional: lists facts of the driver (COUNTER_DRIVER), and its counters beside those of
	 * the data plane (COUNTER_TOTAL). 0, or -errno of fn. */
	int (*describe)(const struct net_driver *drv, port_counter_fn *fn, void *arg);
	/* Ends the helper and frees the driver. */
	void (*stop)(struct net_driver *drv);
};

/* The interface's name and MTU: what the user asked for, or else the driver's own. */
const char *net_ifname(const struct net_driver_ops *ops, const struct net_params *params);
int net_mtu(const struct net_driver_ops *ops, const struct net_params *params);

/* Begins a driver's result, for an interface that the child configures. The addresses are empty. */
void net_result_init(struct net_result *result, const struct net_driver_ops *ops,
		     const struct net_params *params);

/* Finds a network driver; NULL when there is none of that name. "host" has no ops: no namespace is
 * made. */
const struct net_driver_ops *net_driver_find(const char *name);

const struct port_driver_ops *port_driver_find(const char *name);

/* Checks that there is a driver of this name. 0 or -EINVAL. */
int net_driver_check(const char *name, struct err *e);
int port_driver_check(const char *name, struct err *e);

/* Puts the names of the drivers, separated by ", ", into buf; returns buf. */
const char *net_driver_names(char *buf, size_t size);
const char *port_driver_names(char *buf, size_t size);

/* Checks that both exist and go together. 0, or -EINVAL with why not and what would be right. */
int driver_check_combination(const char *net, const char *port, struct err *e);

#endif
