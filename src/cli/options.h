/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CLI_OPTIONS_H
#define RINGKIT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ports/spec.h"

/* The options of rootlesskit after parsing and validation. Strings point into argv or are literals,
 * except those of copy_up, which are allocated. */
struct options {
	bool debug, help, version;
	const char *print_semver; /* NULL, "major", "minor", "patch" */
	const char *state_dir;	  /* NULL: a temporary one */
	const char *net;
	const char *slirp4netns_binary, *vpnkit_binary, *pasta_binary, *lxc_user_nic_binary;
	const char *pesto_binary;
	const char *lxc_user_nic_bridge;
	const char *slirp4netns_sandbox, *slirp4netns_seccomp; /* auto, true, false */
	int mtu;
	const char *cidr;   /* NULL: default */
	const char *ifname; /* NULL: default */
	bool disable_host_loopback, ipv6;
	struct dp_outward_rule *egress; /* allocated */
	size_t n_egress;
	const char *outbound_addr; /* NULL: the kernel's choice */
	bool ipv6_given;	   /* --ipv6 was on the command line */
	char **copy_up;		   /* allocated, and so are its n_copy_up strings */
	size_t n_copy_up;
	const char *copy_up_mode;
	const char *port_driver;
	struct port_spec *publish; /* allocated */
	size_t n_publish;
	bool source_ip_transparent;
	const char *source_ip_transparent_backend; /* all values mean nftables, see options_warn */
	bool pidns, cgroupns, utsns, ipcns, detach_netns;
	const char *propagation;
	const char *reaper;	      /* auto, true, false */
	bool reaper_on;		      /* whether the reaper runs, with auto resolved */
	const char *evacuate_cgroup2; /* NULL: no */
	const char *subid_source;
	const char *dataplane; /* auto, io_uring, epoll */
	int workers;	       /* 0: one for every two CPUs */
	int udp_timeout_ms;
	bool dataplane_sandbox;
	uint64_t given; /* bit i: row i of option_table was on the command line */
	char **command; /* NULL at the end; at least one word unless help, version, print_semver */
};

/* Parses the command line, and checks everything that can be checked without touching the system.
 * 0, or -EINVAL with one line that says what is wrong and what would be right. */
int options_parse(int argc, char **argv, struct options *out, struct err *e);

/* Warns of what is allowed but likely not meant (log_warning). */
void options_warn(const struct options *o);

void options_free(struct options *o);

/* Prints the help on stdout. */
void options_print_help(void);
void options_print_version(void);

/* Prints the part of the version that --print-semver names ("major", "minor" or "patch"). */
void options_print_semver(const char *part);

#endif
