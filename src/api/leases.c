/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <utlist.h>

#include "api/api_internal.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"

/*
 * Leases: ports that belong to the connection by which they were published ("lease": "connection").
 * When the connection ends, however its client ended, its ports are removed. Otherwise a
 * docker-proxy that is killed would leave its port behind, and that would lead to whatever gets the
 * container's address next.
 */

struct lease {
	int id; /* the port's */
	struct client *client;
	UT_hash_handle hh;
	struct lease *prev, *next; /* the client's other leases */
};

/* The most leases: each holds a descriptor, and half of the descriptors are left to everything
 * else. */
static unsigned leases_max(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur / 2 > LIMIT_API_LEASES)
		return LIMIT_API_LEASES;
	return (unsigned)rl.rlim_cur / 2;
}

int lease_check(const struct request *r, struct err *e)
{
	unsigned max = leases_max();

	if (r->closes)
		return err_set(e, -EINVAL,
			       "a lease needs a connection that stays open after the answer: use "
			       "HTTP/1.1 without \"Connection: close\"");
	if (!client_of(r->api, r->conn))
		return err_set(e, -ENOMEM, "out of memory");
	if (HASH_COUNT(r->api->leases) >= max)
		return err_set(e, -ENOSPC,
			       "%u ports belong to connections, and no more can: publish it "
			       "without a lease",
			       max);
	return 0;
}

int lease_take(const struct request *r, int id)
{
	struct client *client = client_of(r->api, r->conn);
	struct lease *lease = calloc(1, sizeof(*lease));
	bool first;

	if (!client || !lease) {
		free(lease);
		return -ENOMEM;
	}
	lease->id = id;
	lease->client = client;
	first = !client->leases;
	HASH_ADD_INT(r->api->leases, id, lease);
	if (!hash_has(&lease->hh)) {
		free(lease);
		return -ENOMEM;
	}
	DL_APPEND(client->leases, lease);
	if (first)
		client_leases_changed(r->api, client);
	return 0;
}

static void forget(struct api *api, struct lease *lease)
{
	struct client *client = lease->client;

	HASH_DEL(api->leases, lease);
	DL_DELETE(client->leases, lease);
	free(lease);
	if (!client->leases)
		client_leases_changed(api, client);
}

void lease_forget(struct api *api, long long id)
{
	struct lease *lease = NULL;
	int key = (int)id;

	if (id == key)
		HASH_FIND_INT(api->leases, &key, lease);
	if (lease)
		forget(api, lease);
}

static void on_removed(void *arg, const struct err *e)
{
	/* -ENOENT: somebody else has removed the port. */
	if (!e || e->code == -ENOENT)
		return;
	log_warning("port %d, whose client is gone, could not be removed: %s", (int)(intptr_t)arg,
		    e->msg);
}

void lease_remove_port(struct api *api, int id)
{
	if (!api->closing)
		ports_remove(api->info.ports, id, id, on_removed, (void *)(intptr_t)id);
}

void leases_end(struct api *api, struct client *client)
{
	while (client->leases) {
		int id = client->leases->id;

		forget(api, client->leases);
		events_port(api, "leaseEnded", client, id, id, NULL);
		events_port(api, "portRemoved", client, id, id, NULL);
		lease_remove_port(api, id);
	}
}
