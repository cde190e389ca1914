/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "api/api_internal.h"
#include "base/limits.h"
#include "base/log.h"

/*
 * The connections of the API, the one that has been silent longest first. With
 * LIMIT_API_CONNECTIONS of them open libmicrohttpd accepts no more: so that clients which are stuck
 * hold nobody up, the first of the list is closed for each one that comes then.
 */

struct client {
	struct MHD_Connection *conn;
	int fd; /* libmicrohttpd's */
	struct client *prev, *next;
};

static bool waits_for_driver(const struct api *api, const struct client *client)
{
	const struct request *r;

	DL_FOREACH(api->requests, r)
	{
		if (r->conn == client->conn && r->suspended)
			return true;
	}
	return false;
}

/* libmicrohttpd sees the end of file, closes it, and accepts again. */
static void close_silent(struct api *api, const struct client *newcomer)
{
	const struct client *client;

	DL_FOREACH(api->clients, client)
	{
		if (client == newcomer || waits_for_driver(api, client))
			continue;
		shutdown(client->fd, SHUT_RDWR);
		if (!api->n_evicted++)
			log_warning(
				"API: %d connections are open, and no more can be: the one that "
				"has been silent longest is closed, now and whenever that "
				"happens again",
				LIMIT_API_CONNECTIONS);
		return;
	}
}

static void client_new(struct api *api, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		api->mhd->get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = calloc(1, sizeof(*client));

	if (!client || !info) {
		free(client); /* not to be closed early, that is all */
		return;
	}
	client->conn = conn;
	client->fd = info->connect_fd;
	DL_APPEND(api->clients, client);
	if (++api->n_clients >= LIMIT_API_CONNECTIONS)
		close_silent(api, client);
}

static struct client *client_find(const struct api *api, const struct MHD_Connection *conn)
{
	struct client *client;

	DL_FOREACH(api->clients, client)
	{
		if (client->conn == conn)
			return client;
	}
	return NULL;
}

void clients_spoke(struct api *api, const struct MHD_Connection *conn)
{
	struct client *client = client_find(api, conn);

	if (!client)
		return;
	DL_DELETE(api->clients, client);
	DL_APPEND(api->clients, client);
}

void clients_notify(void *cls, struct MHD_Connection *conn, void **context,
		    enum MHD_ConnectionNotificationCode what)
{
	struct api *api = cls;
	struct client *client;

	(void)context;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		client_new(api, conn);
		return;
	}
	client = client_find(api, conn);
	if (!client)
		return;
	DL_DELETE(api->clients, client);
	/* At the limit it does not wait for the listening socket; the next run begins again. */
	if (api->n_clients-- >= LIMIT_API_CONNECTIONS)
		api->run_again = true;
	free(client);
}
