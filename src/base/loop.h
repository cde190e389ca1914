/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_LOOP_H
#define RINGKIT_BASE_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "base/err.h"

/*
 * The parent's event loop: epoll(7), level-triggered, with timers, in one thread. The data plane
 * does not use it: a worker has its ring.
 *
 * Any callback may remove any source, its own included. A removed source's callback does not run
 * again.
 */
struct loop;
struct loop_source;

/* events: those of EPOLLIN, EPOLLOUT, EPOLLHUP and EPOLLERR that occurred. */
typedef void loop_fn(void *arg, uint32_t events);

/* 0 or -errno. */
int loop_open(struct loop **out);
void loop_close(struct loop *loop);

/* Watches fd for events. The fd stays the caller's and must outlive the source.
 * Returns NULL with errno set on failure. */
struct loop_source *loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *arg);

/* Changes what a source of loop_add_fd waits for. 0 or -errno. */
int loop_source_set_events(struct loop_source *src, uint32_t events);

/* Gives the source's callback another arg. src may be NULL. */
void loop_source_set_arg(struct loop_source *src, void *arg);

/* Runs fn once, delay_ms from now, and removes the source. NULL with errno set on failure.
 *
 * The loop keeps some sources for when memory is short: what has to be tried again, such as the
 * start of a process that has died, is not forgotten because its timer could not be had. */
struct loop_source *loop_add_timer(struct loop *loop, uint64_t delay_ms, loop_fn *fn, void *arg);

/* src may be NULL. */
void loop_remove(struct loop_source *src);

/* Runs one turn: waits at most timeout_ms (-1: for ever) and calls what is due. 0 or -errno. */
int loop_run_once(struct loop *loop, int timeout_ms);

/* Milliseconds and nanoseconds of CLOCK_MONOTONIC. */
uint64_t loop_now_ms(void);
uint64_t loop_now_ns(void);

#endif
