/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_ROUTE_H
#define RINGKIT_PORTS_ROUTE_H

#include <stdbool.h>
#include <sys/socket.h>

/*
 * A published port as addresses: where it listens, and where its flows go. port_address_resolve()
 * makes it from a port's spec; the data plane uses it unchanged.
 */

enum port_proto { PORT_TCP, PORT_UDP };

struct port_route {
	enum port_proto proto;
	struct sockaddr_storage listen;	 /* AF_INET or AF_INET6 with port */
	bool v6only;			 /* AF_INET6 only; false on [::] takes IPv4 too */
	struct sockaddr_storage target;	 /* in the namespace */
	bool literal;			 /* the user named the address of target */
	struct sockaddr_storage target2; /* tried when target refuses (TCP); ss_family 0: none */
	struct sockaddr_storage inside;	 /* the address to listen on in the namespace as well; an
					    IPv6 socket takes no IPv4; ss_family 0: none */
};

#endif
