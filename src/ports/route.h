/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_ROUTE_H
#define RINGKIT_PORTS_ROUTE_H

#include <stdbool.h>
#include <sys/socket.h>

/*
 * A published port as addresses: where it listens, and where its flows go. port_address_resolve()
 * makes one of a port's spec; the data plane takes it as it is.
 */

enum port_proto { PORT_TCP, PORT_UDP };

struct port_route {
	enum port_proto proto;
	struct sockaddr_storage listen;	 /* AF_INET or AF_INET6 with port */
	bool v6only;			 /* AF_INET6 only; false on [::] takes IPv4 too */
	struct sockaddr_storage target;	 /* in the namespace */
	bool literal;			 /* target was asked for by its address */
	struct sockaddr_storage target2; /* tried when target refuses (TCP); ss_family 0: none */
	struct sockaddr_storage inside;	 /* to listen on as well, in the namespace; IPv6 alone if it
					    is IPv6; ss_family 0: none */
};

#endif
