/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One binary, several roles: the user starts the parent; the parent starts the others, as itself
 * with a role in the environment.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "cli/options.h"
#include "dataplane/dataplane.h"
#include "drivers/net/roles.h"
#include "drivers/port/guard.h"
#include "launch/handshake.h"
#include "launch/launch.h"

static int role_main(const char *role, int argc, char **argv)
{
	if (!strcmp(role, "child"))
		return child_main(argc, argv);
	if (!strcmp(role, "dataplane"))
		return dataplane_main();
	if (!strcmp(role, "broker") || !strcmp(role, "router-broker"))
		return broker_main();
	if (!strcmp(role, "router"))
		return router_main();
	if (!strcmp(role, "guard"))
		return guard_main(argc, argv);
	if (!strcmp(role, "vpnkit-relay"))
		return vpnkit_relay_main();
	if (!strcmp(role, "lxc-dhcp"))
		return lxc_dhcp_main();
	if (!strcmp(role, "readdress"))
		return readdress_main();
	if (!strcmp(role, "link-probe"))
		return link_probe_main();
	log_error("unknown role in " PROC_ROLE_ENV ": %s", role);
	return 1;
}

static int user_main(int argc, char **argv)
{
	struct options options;
	struct err e = {0};
	int code;

	log_init("parent", false);
	if (options_parse(argc, argv, &options, &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	log_init("parent", options.debug);
	code = 0;
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
	const char *role = getenv(PROC_ROLE_ENV);

	/* Without /dev/null it goes as it must. */
	(void)fd_fill_standard();
	return role ? role_main(role, argc, argv) : user_main(argc, argv);
}
