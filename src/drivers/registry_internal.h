/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_REGISTRY_INTERNAL_H
#define RINGKIT_DRIVERS_REGISTRY_INTERNAL_H

#include "drivers/driver.h"

/* The drivers; each is defined in its own file. */
extern const struct net_driver_ops net_auto_ops;
extern const struct net_driver_ops net_builtin_ops;
extern const struct net_driver_ops net_gvisor_ops;
extern const struct net_driver_ops net_lxc_user_nic_ops;
extern const struct net_driver_ops net_none_ops;
extern const struct net_driver_ops net_pasta_ops;
extern const struct net_driver_ops net_slirp4netns_ops;
extern const struct net_driver_ops net_vdeplug_slirp_ops;
extern const struct net_driver_ops net_vpnkit_ops;
extern const struct port_driver_ops port_builtin_ops;
extern const struct port_driver_ops port_gvisor_ops;
extern const struct port_driver_ops port_pesto_ops;
extern const struct port_driver_ops port_slirp4netns_ops;
extern const struct port_driver_ops port_socat_ops;

#endif
