/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CLI_OPTION_TABLE_H
#define RINGKIT_CLI_OPTION_TABLE_H

#include <stddef.h>

/*
 * The one list of rootlesskit's options. The parser, the help, and the tests of the manual page and
 * the shell completions all read it.
 */

enum option_kind {
	OPTION_BOOL,
	OPTION_STRING,
	OPTION_INT,
	OPTION_DURATION_MS, /* 90, 90s, 1m30s */
	OPTION_DIRS,	    /* may repeat */
	OPTION_PORTS,	    /* may repeat */
	OPTION_EGRESS,	    /* may repeat */
};

enum option_group {
	GROUP_MISC,
	GROUP_MOUNT,
	GROUP_NETWORK,
	GROUP_BUILTIN,
	GROUP_LXC_USER_NIC,
	GROUP_PASTA,
	GROUP_SLIRP4NETNS,
	GROUP_VPNKIT,
	GROUP_PORT,
	GROUP_DATA_PLANE,
	GROUP_PROCESS,
	GROUP_STATE,
	GROUP_SUBID,
	GROUP_COUNT,
};

/* The numbers of the rows. Bit i of options.given is row i. */
enum option_id {
	OPT_DEBUG,
	OPT_HELP,
	OPT_VERSION,
	OPT_PRINT_SEMVER,
	OPT_COPY_UP,
	OPT_COPY_UP_MODE,
	OPT_PROPAGATION,
	OPT_NET,
	OPT_MTU,
	OPT_CIDR,
	OPT_IFNAME,
	OPT_DISABLE_HOST_LOOPBACK,
	OPT_IPV6,
	OPT_DETACH_NETNS,
	OPT_EGRESS_DENY,
	OPT_EGRESS_ALLOW,
	OPT_OUTBOUND_ADDR,
	OPT_LXC_USER_NIC_BINARY,
	OPT_LXC_USER_NIC_BRIDGE,
	OPT_PASTA_BINARY,
	OPT_PESTO_BINARY,
	OPT_SLIRP4NETNS_BINARY,
	OPT_SLIRP4NETNS_SANDBOX,
	OPT_SLIRP4NETNS_SECCOMP,
	OPT_VPNKIT_BINARY,
	OPT_PORT_DRIVER,
	OPT_PUBLISH,
	OPT_SOURCE_IP_TRANSPARENT,
	OPT_SOURCE_IP_TRANSPARENT_BACKEND,
	OPT_DATAPLANE,
	OPT_WORKERS,
	OPT_UDP_TIMEOUT,
	OPT_DATAPLANE_SANDBOX,
	OPT_PIDNS,
	OPT_CGROUPNS,
	OPT_UTSNS,
	OPT_IPCNS,
	OPT_REAPER,
	OPT_EVACUATE_CGROUP2,
	OPT_STATE_DIR,
	OPT_SUBID_SOURCE,
	OPT_COUNT,
};

struct option_def {
	const char *name;
	char letter; /* the one-letter form, or 0 */
	enum option_kind kind;
	enum option_group group;
	size_t offset;		   /* offset of the member in struct options */
	const char *const *values; /* the only values allowed, NULL at the end; NULL: any */
	const char *fallback; /* the default as the help shows it and, unless that is a text for
			       * humans, as the parser takes it; NULL: none */
	const char *usage;    /* one line; the help adds the values */
};

extern const struct option_def option_table[OPT_COUNT];
extern const char *const option_group_names[GROUP_COUNT];

/* Finds the row for a name without dashes, "p" and "publish" alike; NULL when there is none. */
const struct option_def *option_find(const char *name, size_t len);

/* The name that is most likely meant by a mistyped one, or NULL when none is near. */
const char *option_nearest(const char *name, size_t len);

static inline unsigned option_id(const struct option_def *def)
{
	return (unsigned)(def - option_table);
}

#endif
