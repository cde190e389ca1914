/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define LOOP_BATCH 32
/* Sources that are kept for when memory is short. */
#define LOOP_RESERVE 16

struct loop_source {
	struct loop *loop;
	loop_fn *fn; /* NULL once removed */
	void *arg;
	int fd;		 /* -1: a timer */
	uint32_t events; /* that the descriptor is registered for */
	uint64_t due_ms; /* timers only */
	struct loop_source *prev, *next;
};

struct loop {
	int epoll_fd;
	struct loop_source *fds;
	struct loop_source *timers; /* by due time */
	struct loop_source *dead;   /* removed sources, freed when no callback can refer to them any
				     * more */
	struct loop_source *reserve;
	unsigned n_reserve;
};

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now_ms(void)
{
	return loop_now_ns() / 1000000;
}

static void reserve_put(struct loop *loop, struct loop_source *s)
{
	DL_PREPEND(loop->reserve, s);
	loop->n_reserve++;
}

static struct loop_source *reserve_take(struct loop *loop)
{
	struct loop_source *s = loop->reserve;

	if (!s)
		return NULL;
	DL_DELETE(loop->reserve, s);
	loop->n_reserve--;
	return s;
}

/* Whether the reserve is full. */
static bool reserve_fill(struct loop *loop)
{
	while (loop->n_reserve < LOOP_RESERVE) {
		struct loop_source *s = malloc(sizeof(*s));

		if (!s)
			return false;
		reserve_put(loop, s);
	}
	return true;
}

int loop_open(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int code;

	if (!loop)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	code = loop->epoll_fd < 0 ? -errno : reserve_fill(loop) ? 0 : -ENOMEM;
	if (code) {
		loop_close(loop);
		return code;
	}
	*out = loop;
	return 0;
}

static void free_all(struct loop_source **head)
{
	struct loop_source *s, *tmp;

	DL_FOREACH_SAFE(*head, s, tmp)
	{
		DL_DELETE(*head, s);
		free(s);
	}
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	free_all(&loop->fds);
	free_all(&loop->timers);
	free_all(&loop->dead);
	free_all(&loop->reserve);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
}

/* Removed sources fill the reserve up first. */
static void free_dead(struct loop *loop)
{
	while (loop->dead && loop->n_reserve < LOOP_RESERVE) {
		struct loop_source *s = loop->dead;

		DL_DELETE(loop->dead, s);
		reserve_put(loop, s);
	}
	free_all(&loop->dead);
}

static struct loop_source *source_new(struct loop *loop, int fd, loop_fn *fn, void *arg)
{
	struct loop_source *s = malloc(sizeof(*s));

	if (!s)
		s = reserve_take(loop);
	if (!s)
		return NULL;
	*s = (struct loop_source){.loop = loop, .fn = fn, .arg = arg, .fd = fd};
	return s;
}

struct loop_source *loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *arg)
{
	struct loop_source *s = source_new(loop, fd, fn, arg);
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (!s)
		return NULL;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(s);
		return NULL;
	}
	s->events = events;
	DL_APPEND(loop->fds, s);
	return s;
}

int loop_source_set_events(struct loop_source *src, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	if (events == src->events)
		return 0;
	if (epoll_ctl(src->loop->epoll_fd, EPOLL_CTL_MOD, src->fd, &ev) < 0)
		return -errno;
	src->events = events;
	return 0;
}

void loop_source_set_arg(struct loop_source *src, void *arg)
{
	if (src)
		src->arg = arg;
}

static int by_due(const struct loop_source *a, const struct loop_source *b)
{
	return a->due_ms < b->due_ms ? -1 : a->due_ms > b->due_ms;
}

struct loop_source *loop_add_timer(struct loop *loop, uint64_t delay_ms, loop_fn *fn, void *arg)
{
	struct loop_source *s = source_new(loop, -1, fn, arg);

	if (!s)
		return NULL;
	s->due_ms = loop_now_ms() + delay_ms;
	DL_INSERT_INORDER(loop->timers, s, by_due);
	return s;
}

void loop_remove(struct loop_source *src)
{
	struct loop *loop;

	if (!src || !src->fn)
		return;
	loop = src->loop;
	src->fn = NULL;
	if (src->fd >= 0) {
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
		DL_DELETE(loop->fds, src);
	} else {
		DL_DELETE(loop->timers, src);
	}
	DL_APPEND(loop->dead, src);
}

static int wait_ms(const struct loop *loop, int timeout_ms)
{
	uint64_t now, left;

	if (!loop->timers)
		return timeout_ms;
	now = loop_now_ms();
	left = loop->timers->due_ms > now ? loop->timers->due_ms - now : 0;
	if (timeout_ms >= 0 && left > (uint64_t)timeout_ms)
		return timeout_ms;
	return left > 3600000 ? 3600000 : (int)left;
}

static void run_timers(struct loop *loop)
{
	uint64_t now = loop_now_ms();

	while (loop->timers && loop->timers->due_ms <= now) {
		struct loop_source *s = loop->timers;
		loop_fn *fn = s->fn;
		void *arg = s->arg;

		loop_remove(s);
		assert(fn);
		fn(arg, 0);
	}
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event evs[LOOP_BATCH];
	int n;

	free_dead(loop);
	n = epoll_wait(loop->epoll_fd, evs, LOOP_BATCH, wait_ms(loop, timeout_ms));
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct loop_source *s = evs[i].data.ptr;

		if (s->fn)
			s->fn(s->arg, evs[i].events);
	}
	run_timers(loop);
	return 0;
}
