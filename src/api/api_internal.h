/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_API_INTERNAL_H
#define RINGKIT_API_API_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/un.h>

#include "api/api.h"
#include "api/mhd.h"
#include "api/strict.h"

/* Counters that are watched for events. */
#define API_LIMITS 4

/* A connection. */
struct client {
	struct MHD_Connection *conn;
	int fd;	   /* libmicrohttpd's */
	pid_t pid; /* who it was that connected: what the log and events say, and no proof */
	uid_t uid;
	char program[16];
	bool streaming;	   /* listens to events */
	uint64_t spoke_ms; /* when its last request began, or itself: loop_now_ms() */
	bool evicted;	   /* has been shut down for another */
	struct lease *leases;
	struct strict_target target; /* of its last request */
	struct client *prev, *next;  /* in one of api's two lists */
};

struct request {
	struct api *api;
	struct MHD_Connection *conn;
	char method[16];
	char url[256];
	char *body; /* body_len bytes, no NUL */
	size_t body_len, body_seen;
	bool too_long;
	bool refused;	/* before it was read as a whole: nothing more is heard on its connection */
	bool served;	/* routes_serve has had it */
	bool suspended; /* waits for request_answer */
	bool closes;	/* its connection ends with the answer */
	bool lease;	/* the port that it adds is to belong to the connection */
	long long port, last_port; /* that it removes */
	/* The table of ports has it, and calls back. */
	bool ordered;
	bool gone; /* its client is gone; it is freed when the table calls back */
	/* The answer; status 0: not yet. */
	unsigned status;
	const char *type;
	char *body_out;
	struct MHD_Response *streamed; /* in place of body_out */
	struct request *prev, *next;
};

struct api {
	struct loop *loop;
	struct api_info info;
	const struct mhd *mhd;
	struct MHD_Daemon *daemon;
	struct loop_source *source, *timer;
	struct request *requests;
	struct client *clients; /* without a lease, the one that has been silent longest first */
	struct client *holders; /* with one */
	int n_clients, n_holders;
	unsigned long n_evicted;
	struct lease *leases;	/* by the number of their port */
	struct stream *streams; /* events.c */
	int n_streams;
	unsigned long long limits[API_LIMITS]; /* as they were when they were looked at last */
	unsigned long n_evicted_said;
	struct loop_source *limits_timer;
	bool closing;
	bool running, run_again; /* the server is to run once more at once */
	int listen_fd;
	int dir_fd; /* the state directory's, once the socket is in it; else -1 */
};

/* routes.c: answers the request now, or later. */
void routes_serve(struct request *r);
/* Takes over v; NULL: out of memory. */
void routes_answer(struct request *r, unsigned status, json_t *v);
/* An answer with {"message":…}. */
void routes_fail(struct request *r, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* publish.c: the requests that add and remove ports. There is a port driver. */
void publish_port(struct request *r, const char *rest);
void publish_batch(struct request *r, const char *rest);
void publish_remove(struct request *r, const char *ids);

/* clients.c: told of each connection that comes and goes (MHD_OPTION_NOTIFY_CONNECTION), and of
 * each request on one. */
void clients_notify(void *cls, struct MHD_Connection *conn, void **context,
		    enum MHD_ConnectionNotificationCode what);
void clients_spoke(struct api *api, struct MHD_Connection *conn);
/* The record of a connection; NULL when there was no memory for one. */
struct client *client_of(const struct api *api, struct MHD_Connection *conn);
/* The client has got its first lease, or lost its last. */
void client_leases_changed(struct api *api, struct client *client);

/* leases.c: ports that belong to a connection. Whether the request may have one: 0 or -errno. */
int lease_check(const struct request *r, struct err *e);
/* The port belongs to the request's connection from now on. 0 or -ENOMEM. */
int lease_take(const struct request *r, int id);
/* The port was removed, if it was. */
void lease_forget(struct api *api, long long id);
/* The connection has closed: removes its ports. */
void leases_end(struct api *api, struct client *client);
/* Removes a port that nobody waits for. */
void lease_remove_port(struct api *api, int id);

/* events.c: GET /v1/events. */
void events_get(struct request *r, const char *rest);
void events_open(struct api *api);
void events_close(struct api *api);
/* A port, or those from id to last_id, for the debug log and those who listen. spec: NULL when it
 * is gone. by: NULL when it is not known. */
void events_port(struct api *api, const char *event, const struct client *by, int id, int last_id,
		 const struct port_spec *spec);

/* api.c: the server has something to do. */
void request_run_soon(struct api *api);

/* api.c: the table of ports has called back. False: the request's client is gone, and it with it.
 */
bool request_settled(struct request *r);

/* api.c: the answer; body becomes the server's (malloc), NULL: none. type: a literal or NULL. */
void request_answer(struct request *r, unsigned status, const char *type, char *body);

#endif
