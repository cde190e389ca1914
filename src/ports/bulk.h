/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_PORTS_BULK_H
#define RINGKIT_PORTS_BULK_H

#include "ports/table.h"

/*
 * Many ports as one: a range is added as a whole or not at all, and ports whose numbers follow each
 * other are removed by one request. Conflicts are looked for before the driver is asked for
 * anything. The driver has at most batch_max ports to answer for at a time.
 */

/* spec is a range. As ports_add. */
void bulk_add(struct ports *ports, const struct port_spec *spec, ports_added_fn *done, void *arg);

/* As ports_remove_range. */
void bulk_remove(struct ports *ports, long long first, long long last, port_done_fn *done,
		 void *arg);

#endif
