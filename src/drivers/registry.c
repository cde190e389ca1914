/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers and which of them go together: one line for each.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "drivers/driver.h"
#include "drivers/registry_internal.h"

struct net_row {
	const char *name;
	const struct net_driver_ops *ops; /* NULL for host, which makes no namespace */
};

static const struct net_row net_table[] = {
	{"host", NULL},
	{"builtin", &net_builtin_ops},
	{"none", &net_none_ops},
	{"slirp4netns", &net_slirp4netns_ops},
	{"vpnkit", &net_vpnkit_ops},
	{"lxc-user-nic", &net_lxc_user_nic_ops},
	{"vdeplug_slirp", &net_vdeplug_slirp_ops},
	{"pasta", &net_pasta_ops},
	{"gvisor-tap-vsock", &net_gvisor_ops},
	{"auto", &net_auto_ops},
};

/* The networks that a port driver goes with. */
enum port_needs {
	NEEDS_NOTHING,
	NEEDS_NETNS,   /* any network but host */
	NEEDS_TRANSIT, /* any network that carries packets: neither host nor none */
	NEEDS_SLIRP4NETNS,
	NEEDS_PASTA,
	NEEDS_GVISOR,
	NEEDS_WATCHER, /* a network that follows what listens inside: pasta or builtin */
};

struct port_row {
	const char *name;
	enum port_needs needs;
	/* NULL for none, and for implicit, which is done by pasta, or by the builtin driver and
	 * launch/implicit.c */
	const struct port_driver_ops *ops;
};

static const struct port_row port_table[] = {
	{"none", NEEDS_NOTHING, NULL},
	{"builtin", NEEDS_NETNS, &port_builtin_ops},
	{"slirp4netns", NEEDS_SLIRP4NETNS, &port_slirp4netns_ops},
	{"socat", NEEDS_TRANSIT, &port_socat_ops},
	{"implicit", NEEDS_WATCHER, NULL},
	{"pesto", NEEDS_PASTA, &port_pesto_ops},
	{"gvisor-tap-vsock", NEEDS_GVISOR, &port_gvisor_ops},
};

static const struct net_row *net_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(net_table); i++)
		if (!strcmp(net_table[i].name, name))
			return &net_table[i];
	return NULL;
}

static const struct port_row *port_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(port_table); i++)
		if (!strcmp(port_table[i].name, name))
			return &port_table[i];
	return NULL;
}

const struct net_driver_ops *net_driver_find(const char *name)
{
	const struct net_row *row = net_row(name);

	return row ? row->ops : NULL;
}

const struct port_driver_ops *port_driver_find(const char *name)
{
	const struct port_row *row = port_row(name);

	return row ? row->ops : NULL;
}

static void append_name(char *buf, size_t size, const char *name)
{
	size_t len = strlen(buf);

	snprintf(buf + len, size - len, "%s%s", len ? ", " : "", name);
}

const char *net_driver_names(char *buf, size_t size)
{
	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(net_table); i++)
		append_name(buf, size, net_table[i].name);
	return buf;
}

const char *port_driver_names(char *buf, size_t size)
{
	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(port_table); i++)
		append_name(buf, size, port_table[i].name);
	return buf;
}

int net_driver_check(const char *name, struct err *e)
{
	char names[256];

	if (net_row(name))
		return 0;
	return err_set(e, -EINVAL, "unknown network mode: %.64s; available: %s", name,
		       net_driver_names(names, sizeof(names)));
}

int port_driver_check(const char *name, struct err *e)
{
	char names[256];

	if (port_row(name))
		return 0;
	return err_set(e, -EINVAL, "unknown port driver: %.64s; available: %s", name,
		       port_driver_names(names, sizeof(names)));
}

/* A network that the port driver goes with. */
static const char *net_for(const struct port_row *port)
{
	switch (port->needs) {
	case NEEDS_SLIRP4NETNS:
		return "slirp4netns";
	case NEEDS_PASTA:
		return "pasta";
	case NEEDS_GVISOR:
		return "gvisor-tap-vsock";
	default:
		return "builtin";
	}
}

/* Checks the rules about which network a port driver goes with. */
static int check_needs(const struct port_row *port, const char *net, struct err *e)
{
	if (port->needs != NEEDS_NOTHING && !strcmp(net, "host"))
		return err_set(e, -EINVAL,
			       "port driver requires non-host network: "
			       "--port-driver=%s goes with --net=%s, not with --net=host",
			       port->name, net_for(port));
	if (port->needs == NEEDS_SLIRP4NETNS && strcmp(net, "slirp4netns") != 0)
		return err_set(
			e, -EINVAL,
			"port driver requires slirp4netns network: "
			"--port-driver=slirp4netns goes with --net=slirp4netns, not with --net=%s",
			net);
	if ((port->needs == NEEDS_PASTA && strcmp(net, "pasta") != 0) ||
	    (port->needs == NEEDS_GVISOR && strcmp(net, "gvisor-tap-vsock") != 0))
		return err_set(e, -EINVAL, "--port-driver=%s goes with --net=%s, not with --net=%s",
			       port->name, port->needs == NEEDS_PASTA ? "pasta" : port->name, net);
	/* --net=auto checks this again, for each network that it tries. */
	if (port->needs == NEEDS_WATCHER && strcmp(net, "pasta") != 0 &&
	    strcmp(net, "builtin") != 0 && strcmp(net, "auto") != 0)
		return err_set(
			e, -EINVAL,
			"--port-driver=%s goes with --net=builtin or pasta, not with --net=%s",
			port->name, net);
	if (port->needs == NEEDS_TRANSIT && !strcmp(net, "none"))
		return err_set(e, -EINVAL,
			       "--net=none goes with --port-driver=none or builtin, not with %s",
			       port->name);
	if (!strcmp(net, "pasta") && port->needs != NEEDS_PASTA && port->needs != NEEDS_WATCHER &&
	    port->needs != NEEDS_NOTHING)
		return err_set(
			e, -EINVAL,
			"--net=pasta goes with --port-driver=none, implicit or pesto, not with %s",
			port->name);
	return 0;
}

int driver_check_combination(const char *net, const char *port, struct err *e)
{
	const struct port_row *row = port_row(port);
	int code;

	if (net_row(net) && row) {
		code = check_needs(row, net, e);
		if (code < 0)
			return code;
	}
	code = net_driver_check(net, e);
	return code < 0 ? code : port_driver_check(port, e);
}
