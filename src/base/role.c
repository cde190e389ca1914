/* SPDX-License-Identifier: Apache-2.0 */
#include "base/role.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASSIGN	   ROLE_ENV "="
#define ASSIGN_LEN (sizeof(ASSIGN) - 1)

/* The variable with its value, as environ(7) has it. */
static char *const assignments[ROLE_COUNT] = {
	[ROLE_CHILD] = ASSIGN "child",
	[ROLE_DATAPLANE] = ASSIGN "dataplane",
	[ROLE_BROKER] = ASSIGN "broker",
	[ROLE_ROUTER_BROKER] = ASSIGN "router-broker",
	[ROLE_ROUTER] = ASSIGN "router",
	[ROLE_GUARD] = ASSIGN "guard",
	[ROLE_VPNKIT_RELAY] = ASSIGN "vpnkit-relay",
	[ROLE_LXC_DHCP] = ASSIGN "lxc-dhcp",
	[ROLE_READDRESS] = ASSIGN "readdress",
	[ROLE_LINK_PROBE] = ASSIGN "link-probe",
};

const char *role_name(enum role role)
{
	assert(role < ROLE_COUNT);
	return assignments[role] + ASSIGN_LEN;
}

enum role role_find(const char *name)
{
	unsigned role = 0;

	while (role < ROLE_COUNT && strcmp(role_name((enum role)role), name) != 0)
		role++;
	return (enum role)role;
}

char **role_environ(enum role role)
{
	size_t n = 0, at = 0;
	char **env;

	assert(role < ROLE_COUNT);
	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return NULL;
	env[at++] = assignments[role];
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], ASSIGN, ASSIGN_LEN) != 0)
			env[at++] = environ[i];
	return env;
}
