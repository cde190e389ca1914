/* SPDX-License-Identifier: Apache-2.0 */
/* What the results of all network drivers have in common. */
#include <stdio.h>
#include <string.h>

#include "drivers/driver.h"

const char *net_ifname(const struct net_driver_ops *ops, const struct net_params *params)
{
	return params->ifname ? params->ifname : ops->default_ifname;
}

int net_mtu(const struct net_driver_ops *ops, const struct net_params *params)
{
	return params->mtu ? params->mtu : ops->default_mtu;
}

void net_result_init(struct net_result *result, const struct net_driver_ops *ops,
		     const struct net_params *params)
{
	memset(result, 0, sizeof(*result));
	snprintf(result->driver, sizeof(result->driver), "%s", ops->name);
	snprintf(result->ifname, sizeof(result->ifname), "%s", net_ifname(ops, params));
	result->mtu = net_mtu(ops, params);
	result->configure = true;
}
