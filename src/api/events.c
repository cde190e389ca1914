/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "api/api_internal.h"
#include "api/codec.h"
#include "base/event.h"
#include "base/limits.h"
#include "base/log.h"

/*
 * GET /v1/events: reports what happens, one JSON object a line, for as long as the client listens.
 *
 * Each stream has a buffer of a fixed size. While the buffer is empty the connection is suspended.
 * As libmicrohttpd does not look at a suspended connection, we watch for its end. A client that
 * reads too slowly for the buffer loses its connection rather than an event in the middle.
 *
 * The data plane counts how often it reaches a limit, in memory that it shares with the parent.
 * These counters are read once a second, and only while somebody listens.
 */

#define LIMITS_MS 1000

struct stream {
	struct api *api;
	struct client *client;
	struct MHD_Connection *conn;
	struct loop_source *hangup;
	bool suspended, over;
	size_t len;
	char buf[LIMIT_API_EVENTS_BYTES];
	struct stream *prev, *next;
};

/* The data plane's counters of limits that were reached. */
static const struct {
	const char *group, *name, *what;
} limits[API_LIMITS] = {{"resources", "acceptPaused", "acceptPaused"},
			{"tcp", "noPort", "noPort"},
			{"resources", "pipesRefused", "pipesRefused"},
			{"udp", "evicted", "udpEvicted"}};

/* Streams */

static void wake(struct stream *s)
{
	if (!s->suspended)
		return;
	s->suspended = false;
	s->api->mhd->resume_connection(s->conn);
	request_run_soon(s->api);
}

static void end(struct stream *s)
{
	s->over = true;
	wake(s);
}

static void on_hangup(void *arg, uint32_t events)
{
	struct stream *s = arg;

	(void)events;
	loop_remove(s->hangup);
	s->hangup = NULL;
	end(s);
}

static void append(struct stream *s, const char *line, size_t len)
{
	if (s->over)
		return;
	if (len > sizeof(s->buf) - s->len) {
		log_debug("API: a listener to events does not keep up, and is dropped");
		shutdown(s->client->fd, SHUT_RDWR);
		end(s);
		return;
	}
	memcpy(s->buf + s->len, line, len);
	s->len += len;
	wake(s);
}

static void emit(struct api *api, json_t *event)
{
	char *line = event ? json_dumps(event, JSON_COMPACT) : NULL;
	struct stream *s, *tmp;
	size_t len;

	json_decref(event);
	if (!line)
		return;
	len = strlen(line);
	line[len++] = '\n'; /* in place of the NUL */
	DL_FOREACH_SAFE(api->streams, s, tmp)
	{
		append(s, line, len);
	}
	free(line);
}

/* Makes an event. NULL: out of memory, and the event is lost. */
static json_t *event_new(const char *event)
{
	json_t *o = json_object();
	struct timespec now;
	struct tm tm;
	char text[64], time[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03ldZ", time, now.tv_nsec / 1000000);
	json_object_set_new(o, "time", json_string(text));
	json_object_set_new(o, "event", json_string(event));
	return o;
}

/* The events */

static void log_event(const char *event, const struct client *by, int id, int last_id,
		      const struct port_spec *spec)
{
	char text[256] = "", ids[32];

	if (!log_is_debug())
		return;
	if (spec)
		portspec_format(spec, text, sizeof(text));
	if (last_id > id)
		snprintf(ids, sizeof(ids), "%d-%d", id, last_id);
	else
		snprintf(ids, sizeof(ids), "%d", id);
	log_debug("%s: id %s%s%s, by %s (pid %d, uid %u)", event, ids, spec ? ", " : "", text,
		  by ? by->program : "?", by ? (int)by->pid : 0, by ? (unsigned)by->uid : 0);
}

void events_port(struct api *api, const char *event, const struct client *by, int id, int last_id,
		 const struct port_spec *spec)
{
	json_t *o;

	log_event(event, by, id, last_id, spec);
	if (!api->streams)
		return;
	o = event_new(event);
	json_object_set_new(o, "id", json_integer(id));
	if (last_id > id)
		json_object_set_new(o, "lastId", json_integer(last_id));
	if (spec)
		json_object_set_new(o, "spec", codec_spec_encode(spec));
	if (by) {
		json_object_set_new(o, "pid", json_integer(by->pid));
		json_object_set_new(o, "uid", json_integer(by->uid));
		json_object_set_new(o, "program", json_string(by->program));
	}
	emit(api, o);
}

static void on_event(void *arg, const char *event, const char *what, const char *message)
{
	struct api *api = arg;
	json_t *o;

	if (!api->streams)
		return;
	o = event_new(event);
	json_object_set_new(o, "what", json_string(what));
	json_object_set_new(o, "message", json_string(message));
	emit(api, o);
}

static void say_limit(struct api *api, const char *what, unsigned long long count)
{
	json_t *o = event_new("limit");

	json_object_set_new(o, "what", json_string(what));
	json_object_set_new(o, "count", json_integer((json_int_t)count));
	emit(api, o);
}

/* Limits */

static int take_counter(void *arg, const struct port_counter *c)
{
	unsigned long long *out = arg;

	if (c->scope != COUNTER_TOTAL || !c->group || c->text)
		return 0;
	for (size_t i = 0; i < API_LIMITS; i++)
		if (!strcmp(c->group, limits[i].group) && !strcmp(c->name, limits[i].name))
			out[i] = c->value;
	return 0;
}

/* Reads the counters. Other port drivers than builtin have none. */
static void read_limits(const struct api *api, unsigned long long out[API_LIMITS])
{
	struct err e;

	memset(out, 0, API_LIMITS * sizeof(out[0]));
	if (api->info.ports)
		ports_stats(api->info.ports, take_counter, out, &e);
}

static void look_at_limits(void *arg, uint32_t events)
{
	struct api *api = arg;
	unsigned long long now[API_LIMITS];

	(void)events;
	api->limits_timer = NULL;
	if (!api->streams)
		return;
	read_limits(api, now);
	for (size_t i = 0; i < API_LIMITS; i++) {
		if (now[i] > api->limits[i])
			say_limit(api, limits[i].what, now[i] - api->limits[i]);
		api->limits[i] = now[i];
	}
	if (api->n_evicted > api->n_evicted_said)
		say_limit(api, "apiConnections", api->n_evicted - api->n_evicted_said);
	api->n_evicted_said = api->n_evicted;
	api->limits_timer = loop_add_timer(api->loop, LIMITS_MS, look_at_limits, api);
}

static void watch_limits(struct api *api)
{
	if (api->limits_timer)
		return;
	read_limits(api, api->limits);
	api->n_evicted_said = api->n_evicted;
	api->limits_timer = loop_add_timer(api->loop, LIMITS_MS, look_at_limits, api);
}

/* The response */

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *s = cls;
	size_t n = s->len < max ? s->len : max;

	(void)pos;
	if (n == 0 && s->over)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		s->suspended = true;
		s->api->mhd->suspend_connection(s->conn);
		return 0;
	}
	memcpy(buf, s->buf, n);
	memmove(s->buf, s->buf + n, s->len - n);
	s->len -= n;
	return (ssize_t)n;
}

static void on_free(void *cls)
{
	struct stream *s = cls;

	loop_remove(s->hangup);
	s->client->streaming = false;
	DL_DELETE(s->api->streams, s);
	s->api->n_streams--;
	free(s);
}

static struct stream *stream_new(struct request *r, struct client *client)
{
	struct api *api = r->api;
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->api = api;
	s->client = client;
	s->conn = r->conn;
	s->hangup = loop_add_fd(api->loop, client->fd, EPOLLRDHUP, on_hangup, s);
	if (!s->hangup) {
		free(s);
		return NULL;
	}
	client->streaming = true;
	DL_APPEND(api->streams, s);
	api->n_streams++;
	return s;
}

void events_get(struct request *r, const char *rest)
{
	struct api *api = r->api;
	struct client *client = client_of(api, r->conn);
	struct stream *s;

	(void)rest;
	if (api->n_streams >= LIMIT_API_EVENT_STREAMS) {
		routes_fail(r, MHD_HTTP_SERVICE_UNAVAILABLE,
			    "%d clients listen to events, and no more can", api->n_streams);
		return;
	}
	s = client ? stream_new(r, client) : NULL;
	r->streamed = s ? api->mhd->create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, on_read,
								  s, on_free)
			: NULL;
	if (!r->streamed) {
		if (s)
			on_free(s);
		routes_out_of_memory(r);
		return;
	}
	watch_limits(api);
	/* The first event tells the client that from now on it hears everything. */
	emit(api, event_new("listening"));
	request_answer(r, MHD_HTTP_OK, "application/x-ndjson", NULL);
}

void events_open(struct api *api)
{
	event_listen(on_event, api);
}

void events_close(struct api *api)
{
	struct stream *s, *tmp;

	event_listen(NULL, NULL);
	loop_remove(api->limits_timer);
	DL_FOREACH_SAFE(api->streams, s, tmp)
	{
		end(s);
	}
}
