/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_API_API_INTERNAL_H
#define RINGKIT_API_API_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "api/api.h"
#include "api/mhd.h"
#include "api/strict.h"

/* The number of counters that are watched for events. */
#define API_LIMITS 4

/* A client's connection. */
struct client {
	struct MHD_Connection *conn;
	int fd;	   /* belongs to libmicrohttpd */
	pid_t pid; /* who connected: for the log and events, not as a proof */
	uid_t uid;
	char program[16];
	bool streaming;	   /* listens to events */
	uint64_t spoke_ms; /* when the connection or its last request began: loop_now_ms() */
	bool evicted;	   /* was shut down to make room for another */
	struct lease *leases;
	struct strict_target target; /* the target of its last request */
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
	bool refused;	/* refused before it was read completely: the connection is not read any
			 * more */
	bool served;	/* routes_serve was called for it */
	bool suspended; /* suspended until request_answer */
	bool closes;	/* the connection closes after the answer */
	bool lease;	/* the port that it adds belongs to the connection */
	long long port, last_port; /* the ids that it removes */
	/* The table of ports works on it, and will call back. */
	bool ordered;
	bool gone; /* the client is gone; the request is freed when the table calls back */
	/* The answer. status 0: there is none yet. */
	unsigned status;
	const char *type;
	char *body_out;
	struct MHD_Response *streamed; /* instead of body_out */
	struct request *prev, *next;
};

struct api {
	struct loop *loop;
	struct api_info info;
	const struct mhd *mhd;
	struct MHD_Daemon *daemon;
	struct loop_source *source, *timer;
	struct request *requests;
	struct client *clients; /* clients without a lease; the one that has been silent longest is
				 * first */
	struct client *holders; /* clients with a lease */
	int n_clients, n_holders;
	unsigned long n_evicted;
	struct lease *leases;	/* by the id of their port */
	struct stream *streams; /* events.c */
	int n_streams;
	unsigned long long limits[API_LIMITS]; /* their values when they were last read */
	unsigned long n_evicted_said;
	struct loop_source *limits_timer;
	bool closing;
	bool running, run_again; /* run_again: the server must run once more at once */
	int listen_fd;
	int dir_fd; /* the state directory, once the socket is in it; else -1 */
};

/* routes.c: answers the request now, or later. */
void routes_serve(struct request *r);
/* Answers with v, which it takes over. NULL: out of memory. */
void routes_answer(struct request *r, unsigned status, json_t *v);
/* Answers with {"message":…}. */
void routes_fail(struct request *r, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void routes_out_of_memory(struct request *r);

/* publish.c: the requests that add and remove ports. Called only when there is a port driver. */
void publish_port(struct request *r, const char *rest);
void publish_batch(struct request *r, const char *rest);
void publish_remove(struct request *r, const char *ids);

/* clients.c: called for each connection that comes and goes (MHD_OPTION_NOTIFY_CONNECTION), and for
 * each request on one. */
void clients_notify(void *cls, struct MHD_Connection *conn, void **context,
		    enum MHD_ConnectionNotificationCode what);
void clients_spoke(struct api *api, struct MHD_Connection *conn);
/* The record of a connection; NULL when there was no memory for one. */
struct client *client_of(const struct api *api, struct MHD_Connection *conn);
/* Call it when the client has got its first lease, or lost its last. */
void client_leases_changed(struct api *api, struct client *client);

/* leases.c: ports that belong to a connection. lease_check says whether the request may have one: 0
 * or -errno with *e. */
int lease_check(const struct request *r, struct err *e);
/* Makes the port belong to the request's connection. 0 or -ENOMEM. */
int lease_take(const struct request *r, int id);
/* Drops the port's lease, if it has one. Call it when the port was removed. */
void lease_forget(struct api *api, long long id);
/* Removes the ports of a connection that has closed. */
void leases_end(struct api *api, struct client *client);
/* Removes a port without an answer to anybody. */
void lease_remove_port(struct api *api, int id);

/* events.c: GET /v1/events. */
void events_get(struct request *r, const char *rest);
void events_open(struct api *api);
void events_close(struct api *api);
/* Reports a port, or those from id to last_id, to the debug log and to those who listen. spec: NULL
 * for a port that is gone. by: NULL when unknown. */
void events_port(struct api *api, const char *event, const struct client *by, int id, int last_id,
		 const struct port_spec *spec);

/* api.c: makes the server run soon, because it has something to do. */
void request_run_soon(struct api *api);

/* api.c: called when the table of ports has called back. False: the client is gone, and the request
 * was freed. */
bool request_settled(struct request *r);

/* api.c: answers the request. The server takes over body (malloc); NULL: none. type: a literal or
 * NULL. */
void request_answer(struct request *r, unsigned status, const char *type, char *body);

#endif
