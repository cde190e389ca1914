/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "api/api_internal.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

/*
 * The connections of the API. When LIMIT_API_CONNECTIONS of them are open, each new one closes the
 * one that has been silent longest, so that clients that are stuck hold nobody up. A client that
 * has connected or spoken within LIMIT_API_GRACE_MS is spared, as long as there are fewer than
 * LIMIT_API_RUSH. A connection that has a lease on a port is silent by its nature: it does not
 * count, and is never closed for another or for its silence. LIMIT_API_LEASES bounds these.
 */

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

static bool is_in_grace(const struct client *client)
{
	return loop_now_ms() - client->spoke_ms < LIMIT_API_GRACE_MS;
}

/* Makes room for a newcomer. After the shutdown libmicrohttpd sees the end of file, closes the
 * connection, and accepts again. */
static void close_silent(struct api *api, const struct client *newcomer)
{
	struct client *client;

	DL_FOREACH(api->clients, client)
	{
		if (client == newcomer || client->evicted || client->streaming ||
		    waits_for_driver(api, client))
			continue;
		if (is_in_grace(client) && api->n_clients < LIMIT_API_RUSH)
			return;
		client->evicted = true;
		shutdown(client->fd, SHUT_RDWR);
		if (!api->n_evicted++)
			log_warning(
				"API: %d connections are open, and no more are to be: the one that "
				"has been silent longest is closed, now and whenever that "
				"happens again",
				LIMIT_API_CONNECTIONS);
		return;
	}
}

static void find_caller(struct client *client)
{
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);
	char path[64];
	ssize_t n;

	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred.uid = (uid_t)-1;
	client->pid = cred.pid;
	client->uid = cred.uid;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)cred.pid);
	n = fd_read_file(path, client->program, sizeof(client->program));
	if (n < 0)
		snprintf(client->program, sizeof(client->program), "?");
	client->program[strcspn(client->program, "\n")] = '\0';
	text_make_printable(client->program);
}

static void client_new(struct api *api, struct MHD_Connection *conn, void **context)
{
	const union MHD_ConnectionInfo *info =
		api->mhd->get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = calloc(1, sizeof(*client));

	if (!client || !info) {
		free(client); /* the connection works, but can have no leases and is never closed
			       * early */
		return;
	}
	client->conn = conn;
	client->spoke_ms = loop_now_ms();
	client->fd = info->connect_fd;
	find_caller(client);
	*context = client;
	DL_APPEND(api->clients, client);
	if (++api->n_clients >= LIMIT_API_CONNECTIONS)
		close_silent(api, client);
}

struct client *client_of(const struct api *api, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		api->mhd->get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void clients_spoke(struct api *api, struct MHD_Connection *conn)
{
	struct client *client = client_of(api, conn);

	if (!client)
		return;
	client->spoke_ms = loop_now_ms();
	if (client->leases)
		return;
	DL_DELETE(api->clients, client);
	DL_APPEND(api->clients, client);
}

/* Leaves out a client that has closed: libmicrohttpd has removed it from its lists of time-outs. */
static void set_timeout(struct api *api, const struct client *client, unsigned seconds)
{
	if (client->conn)
		api->mhd->set_connection_option(client->conn, MHD_CONNECTION_OPTION_TIMEOUT,
						seconds);
}

void client_leases_changed(struct api *api, struct client *client)
{
	if (client->leases) {
		DL_DELETE(api->clients, client);
		DL_APPEND(api->holders, client);
		api->n_clients--;
		api->n_holders++;
		set_timeout(api, client, 0);
	} else {
		DL_DELETE(api->holders, client);
		DL_APPEND(api->clients, client);
		api->n_holders--;
		api->n_clients++;
		set_timeout(api, client, LIMIT_API_IDLE_S);
	}
}

static void client_free(struct api *api, struct client *client)
{
	/* libmicrohttpd stops waiting for the listening socket at its limit, and when accept4(2)
	 * finds no descriptor or no memory. It begins again in the run after one in which a
	 * connection has gone, and nothing else would cause that run. */
	api->run_again = true;
	client->conn = NULL;
	leases_end(api, client);
	DL_DELETE(api->clients, client);
	api->n_clients--;
	free(client);
}

void clients_notify(void *cls, struct MHD_Connection *conn, void **context,
		    enum MHD_ConnectionNotificationCode what)
{
	struct api *api = cls;

	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		client_new(api, conn, context);
	else if (*context)
		client_free(api, *context);
}
