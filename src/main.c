/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One binary has several roles. The user starts the parent, and the parent starts the other
 * processes: the same binary, with a role in the environment.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/role.h"
#include "cli/options.h"
#include "dataplane/dataplane.h"
#include "drivers/net/roles.h"
#include "drivers/port/guard.h"
#include "launch/launch.h"

static const struct {
	int (*run)(void);
	int (*run_with)(int argc, char **argv); /* one of the two */
} roles[ROLE_COUNT] = {
	[ROLE_CHILD] = {.run_with = child_main},
	[ROLE_DATAPLANE] = {.run = dataplane_main},
	[ROLE_BROKER] = {.run_with = broker_main},
	[ROLE_ROUTER_BROKER] = {.run_with = broker_main},
	[ROLE_ROUTER] = {.run = router_main},
	[ROLE_GUARD] = {.run_with = guard_main},
	[ROLE_VPNKIT_RELAY] = {.run = vpnkit_relay_main},
	[ROLE_LXC_DHCP] = {.run = lxc_dhcp_main},
	[ROLE_READDRESS] = {.run = readdress_main},
	[ROLE_LINK_PROBE] = {.run = link_probe_main},
};

static int role_main(const char *name, int argc, char **argv)
{
	enum role role = role_find(name);

	if (role == ROLE_COUNT) {
		log_error("unknown role in " ROLE_ENV ": %s", name);
		return EXITCODE_FAILED;
	}
	return roles[role].run ? roles[role].run() : roles[role].run_with(argc, argv);
}

static int user_main(int argc, char **argv)
{
	struct options options;
	struct err e = {0};
	int code;

	log_init("parent", false);
	if (options_parse(argc, argv, &options, &e)) {
		log_error("%s", e.msg);
		return EXITCODE_FAILED;
	}
	log_init("parent", options.debug);
	code = EXITCODE_OK;
	if (options.help)
		options_print_help();
	else if (options.version)
		options_print_version();
	else if (options.print_semver)
		options_print_semver(options.print_semver);
	else {
		options_warn(&options);
		code = parent_main(&options, argv);
	}
	options_free(&options);
	return code;
}

int main(int argc, char **argv)
{
	const char *role = getenv(ROLE_ENV);

	/* Without /dev/null we go on, since there is no better choice. */
	(void)fd_fill_standard();
	return role ? role_main(role, argc, argv) : user_main(argc, argv);
}
