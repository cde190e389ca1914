/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_table.h"

#include <assert.h>
#include <string.h>

#include "cli/options.h"

const char *const option_group_names[GROUP_COUNT] = {
	[GROUP_MISC] = "Misc",
	[GROUP_MOUNT] = "Mount",
	[GROUP_NETWORK] = "Network",
	[GROUP_BUILTIN] = "Network [builtin]",
	[GROUP_LXC_USER_NIC] = "Network [lxc-user-nic]",
	[GROUP_PASTA] = "Network [pasta]",
	[GROUP_SLIRP4NETNS] = "Network [slirp4netns]",
	[GROUP_VPNKIT] = "Network [vpnkit]",
	[GROUP_PORT] = "Port",
	[GROUP_DATA_PLANE] = "Data plane",
	[GROUP_PROCESS] = "Process",
	[GROUP_STATE] = "State",
	[GROUP_SUBID] = "SubID",
};

static const char *const v_semver[] = {"major", "minor", "patch", NULL};
static const char *const v_copy_up_mode[] = {"tmpfs+symlink", NULL};
static const char *const v_propagation[] = {"rprivate", "rslave", "rshared", "private",
					    "slave",	"shared", NULL};
static const char *const v_marks[] = {"auto", "nft", "iptables", NULL};
static const char *const v_auto[] = {"auto", "true", "false", NULL};
static const char *const v_dataplane[] = {"auto", "io_uring", "epoll", NULL};
static const char *const v_subid[] = {"auto", "dynamic", "static", NULL};

/* NOLINTBEGIN(bugprone-macro-parentheses): member is a name */
#define ROW(kind_, group_, name_, member)                                                          \
	.name = name_, .kind = OPTION_##kind_, .group = GROUP_##group_,                            \
	.offset = offsetof(struct options, member)
/* NOLINTEND(bugprone-macro-parentheses) */

const struct option_def option_table[OPT_COUNT] = {
	[OPT_DEBUG] = {ROW(BOOL, MISC, "debug", debug), .fallback = "false", .usage = "debug mode"},
	[OPT_HELP] = {ROW(BOOL, MISC, "help", help), .letter = 'h', .fallback = "false",
		      .usage = "show help"},
	[OPT_VERSION] = {ROW(BOOL, MISC, "version", version), .letter = 'v', .fallback = "false",
			 .usage = "print the version"},
	[OPT_PRINT_SEMVER] = {ROW(STRING, MISC, "print-semver", print_semver), .values = v_semver,
			      .usage = "print one number of the version"},

	[OPT_COPY_UP] = {ROW(DIRS, MOUNT, "copy-up", copy_up),
			 .usage = "mount a filesystem and copy-up the contents. e.g. "
				  "\"--copy-up=/etc\" (typically required for non-host network)"},
	[OPT_COPY_UP_MODE] = {ROW(STRING, MOUNT, "copy-up-mode", copy_up_mode),
			      .values = v_copy_up_mode, .fallback = "tmpfs+symlink",
			      .usage = "copy-up mode"},
	[OPT_PROPAGATION] = {ROW(STRING, MOUNT, "propagation", propagation),
			     .values = v_propagation, .fallback = "rprivate",
			     .usage = "mount propagation; rshared and shared not with --copy-up"},

	[OPT_NET] = {ROW(STRING, NETWORK, "net", net), .fallback = "host",
		     .usage = "network driver"},
	[OPT_MTU] = {ROW(INT, NETWORK, "mtu", mtu), .fallback = "0",
		     .usage = "MTU for non-host network; 0 means 65520 for builtin, "
			      "gvisor-tap-vsock, slirp4netns and "
			      "pasta, 1500 for others"},
	[OPT_CIDR] = {ROW(STRING, NETWORK, "cidr", cidr),
		      .usage = "network address for builtin, gvisor-tap-vsock, slirp4netns and "
			       "pasta, 10.0.2.0/24 unless "
			       "given"},
	[OPT_IFNAME] = {ROW(STRING, NETWORK, "ifname", ifname),
			.usage = "network interface name, tap0 unless given, eth0 for builtin and "
				 "lxc-user-nic"},
	[OPT_DISABLE_HOST_LOOPBACK] = {ROW(BOOL, NETWORK, "disable-host-loopback",
					   disable_host_loopback),
				       .fallback = "false",
				       .usage = "prohibit connecting to 127.0.0.1:* on the host "
						"namespace"},
	[OPT_IPV6] = {ROW(BOOL, NETWORK, "ipv6", ipv6), .fallback = "false",
		      .usage = "enable IPv6 routing, for slirp4netns and pasta; builtin has it "
			       "where the "
			       "host has. Unrelated to port forwarding"},
	[OPT_DETACH_NETNS] = {ROW(BOOL, NETWORK, "detach-netns", detach_netns), .fallback = "false",
			      .usage = "keep the network namespace at STATE/netns and run the "
				       "command in the host's"},

	[OPT_EGRESS_DENY] = {ROW(EGRESS, BUILTIN, "egress-deny", egress),
			     .usage = "refuse connections to a network, with or without ports. "
				      "e.g. \"169.254.169.254/32\", \"10.0.0.0/8:1-1023\""},
	[OPT_EGRESS_ALLOW] = {ROW(EGRESS, BUILTIN, "egress-allow", egress),
			      .usage = "allow what a shorter prefix of --egress-deny refuses"},
	[OPT_OUTBOUND_ADDR] = {ROW(STRING, BUILTIN, "outbound-addr", outbound_addr),
			       .usage = "address or interface of the host to connect from"},

	[OPT_LXC_USER_NIC_BINARY] = {ROW(STRING, LXC_USER_NIC, "lxc-user-nic-binary",
					 lxc_user_nic_binary),
				     .usage = "path of lxc-user-nic binary for --net=lxc-user-nic"},
	[OPT_LXC_USER_NIC_BRIDGE] = {ROW(STRING, LXC_USER_NIC, "lxc-user-nic-bridge",
					 lxc_user_nic_bridge),
				     .fallback = "lxcbr0", .usage = "lxc-user-nic bridge name"},
	[OPT_PASTA_BINARY] = {ROW(STRING, PASTA, "pasta-binary", pasta_binary), .fallback = "pasta",
			      .usage = "path of pasta binary for --net=pasta"},
	[OPT_PESTO_BINARY] = {ROW(STRING, PASTA, "pesto-binary", pesto_binary), .fallback = "pesto",
			      .usage = "path of pesto binary for --port-driver=pesto"},
	[OPT_SLIRP4NETNS_BINARY] = {ROW(STRING, SLIRP4NETNS, "slirp4netns-binary",
					slirp4netns_binary),
				    .fallback = "slirp4netns",
				    .usage = "path of slirp4netns binary for --net=slirp4netns"},
	[OPT_SLIRP4NETNS_SANDBOX] = {ROW(STRING, SLIRP4NETNS, "slirp4netns-sandbox",
					 slirp4netns_sandbox),
				     .values = v_auto,
				     .fallback = "false", .usage = "enable slirp4netns sandbox"},
	[OPT_SLIRP4NETNS_SECCOMP] = {ROW(STRING, SLIRP4NETNS, "slirp4netns-seccomp",
					 slirp4netns_seccomp),
				     .values = v_auto,
				     .fallback = "false", .usage = "enable slirp4netns seccomp"},
	[OPT_VPNKIT_BINARY] = {ROW(STRING, VPNKIT, "vpnkit-binary", vpnkit_binary),
			       .fallback = "vpnkit",
			       .usage = "path of VPNKit binary for --net=vpnkit"},

	[OPT_PORT_DRIVER] = {ROW(STRING, PORT, "port-driver", port_driver), .fallback = "none",
			     .usage = "port driver for non-host network"},
	[OPT_PUBLISH] = {ROW(PORTS, PORT, "publish", publish), .letter = 'p',
			 .usage = "publish ports. e.g. \"127.0.0.1:8080:80/tcp\""},
	[OPT_SOURCE_IP_TRANSPARENT] = {ROW(BOOL, PORT, "source-ip-transparent",
					   source_ip_transparent),
				       .fallback = "true",
				       .usage = "let servers see the client's address (TCP, "
						"builtin)"},

	[OPT_SOURCE_IP_TRANSPARENT_BACKEND] = {ROW(STRING, PORT, "source-ip-transparent-backend",
						   source_ip_transparent_backend),
					       .values = v_marks, .fallback = "auto",
					       .usage = "how packets are marked for that: by "
							"nftables, without a program"},

	[OPT_DATAPLANE] = {ROW(STRING, DATA_PLANE, "dataplane", dataplane), .values = v_dataplane,
			   .fallback = "auto",
			   .usage = "how the builtin network and port driver move bytes"},
	[OPT_WORKERS] = {ROW(INT, DATA_PLANE, "workers", workers), .fallback = "0",
			 .usage = "worker threads of the builtin network and port driver; 0 means "
				  "one for every two CPUs"},
	[OPT_UDP_TIMEOUT] = {ROW(DURATION_MS, DATA_PLANE, "udp-timeout", udp_timeout_ms),
			     .fallback = "90s",
			     .usage = "forget a UDP client after this long without a datagram"},
	[OPT_DATAPLANE_SANDBOX] = {ROW(BOOL, DATA_PLANE, "dataplane-sandbox", dataplane_sandbox),
				   .fallback = "true",
				   .usage = "lock the data plane down to what it needs"},

	[OPT_PIDNS] = {ROW(BOOL, PROCESS, "pidns", pidns), .fallback = "false",
		       .usage = "create a PID namespace"},
	[OPT_CGROUPNS] = {ROW(BOOL, PROCESS, "cgroupns", cgroupns), .fallback = "false",
			  .usage = "create a cgroup namespace"},
	[OPT_UTSNS] = {ROW(BOOL, PROCESS, "utsns", utsns), .fallback = "false",
		       .usage = "create a UTS namespace"},
	[OPT_IPCNS] = {ROW(BOOL, PROCESS, "ipcns", ipcns), .fallback = "false",
		       .usage = "create an IPC namespace"},
	[OPT_REAPER] = {ROW(STRING, PROCESS, "reaper", reaper), .values = v_auto,
			.fallback = "auto", .usage = "enable process reaper. Requires --pidns"},
	[OPT_EVACUATE_CGROUP2] = {ROW(STRING, PROCESS, "evacuate-cgroup2", evacuate_cgroup2),
				  .usage = "evacuate processes into the specified subgroup. "
					   "Requires --pidns and --cgroupns"},

	[OPT_STATE_DIR] = {ROW(STRING, STATE, "state-dir", state_dir), .usage = "state directory"},
	[OPT_SUBID_SOURCE] = {ROW(STRING, SUBID, "subid-source", subid_source), .values = v_subid,
			      .fallback = "auto",
			      .usage = "the source of the subids. \"dynamic\" executes "
				       "/usr/bin/getsubids. \"static\" reads /etc/{subuid,subgid}"},
};

static_assert(OPT_COUNT <= 64, "struct options.given has a bit for every row");

const struct option_def *option_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		const struct option_def *def = &option_table[i];

		if (strlen(def->name) == len && !memcmp(def->name, name, len))
			return def;
		if (def->letter && len == 1 && def->letter == name[0])
			return def;
	}
	return NULL;
}

#define NAME_MAX_LEN 40

static unsigned min2(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Counts insertions, deletions, replacements and neighbours that have changed places (the
 * restricted Damerau-Levenshtein distance), with three rows of the matrix at a time. Both words are
 * shorter than NAME_MAX_LEN. */
static unsigned edit_distance(const char *a, size_t a_len, const char *b)
{
	unsigned rows[3][NAME_MAX_LEN + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3],
			 *two_up = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = min2(min2(above[j], row[j - 1]) + 1,
				      above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min2(row[j], two_up[j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

/* A name may be off by a third of its letters. A name that was cut short counts as near, so that
 * --slirp4netns-bin finds --slirp4netns-binary. */
const char *option_nearest(const char *name, size_t len)
{
	unsigned best = (unsigned)len / 3 + 1;
	const char *found = NULL;

	if (len < 2 || len >= NAME_MAX_LEN)
		return NULL;
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		const char *candidate = option_table[i].name;
		unsigned d = edit_distance(name, len, candidate);

		if (len >= 4 && !strncmp(candidate, name, len))
			d = 1;
		if (d < best) {
			best = d;
			found = candidate;
		}
	}
	return found;
}
