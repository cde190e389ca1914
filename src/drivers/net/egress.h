/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_EGRESS_H
#define RINGKIT_DRIVERS_NET_EGRESS_H

#include <stdbool.h>

#include "base/err.h"
#include "dataplane/wire.h"

/* Parses the options that say where the command may connect to, and from which address. */

/* Parses CIDR[:PORTS] of --egress-deny and --egress-allow: 10.0.0.0/8, 192.0.2.1:443,
 * [2001:db8::/32]:1-1023. An address without a length means itself. 0, or -EINVAL with what would
 * be right. */
int egress_parse(const char *text, bool deny, struct dp_outward_rule *out, struct err *e);

/* Formats the rules as one text, "deny 10.0.0.0/8:1-1023, allow 10.1.0.0/16"; "" without any.
 * Returns buf. */
#define EGRESS_TEXT_BYTES 8192
const char *egress_text(const struct dp_outward *policy, char *buf, size_t size);

/* Parses --outbound-addr: an address of the host's, or an interface, which stands for its first
 * addresses; several are separated by commas. A family that is not named keeps its value. 0 or
 * -errno. */
int egress_outbound(const char *text, union sock_addr *v4, union sock_addr *v6, struct err *e);

#endif
