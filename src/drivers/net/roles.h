/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_ROLES_H
#define RINGKIT_DRIVERS_NET_ROLES_H

/* The network drivers' roles of the binary, which inside.h starts. Each returns the exit code. */
int router_main(void);
int vpnkit_relay_main(void);
int lxc_dhcp_main(void);
int link_probe_main(void);
int readdress_main(void);

#endif
