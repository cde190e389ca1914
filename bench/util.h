/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BENCH_UTIL_H
#define RINGKIT_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the load programs share. They are short-lived and single-purpose: a failure that makes the
 * figure worthless ends the program with a line on stderr and status 1, and prints no JSON.
 */

#define UTIL_NSEC_PER_SEC UINT64_C(1000000000)

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC, the same in all network namespaces of the machine, so that a receiver may
 * compare it with a sender's stamp. */
uint64_t now_ns(void);

/* A decimal number within [min, max]; dies naming the option otherwise. */
uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Seconds such as "0.6", as nanoseconds; at most an hour. */
uint64_t parse_seconds(const char *option, const char *text);

/* Raises the soft limit on descriptors to the hard one. Returns the limit. */
size_t nofile_raise(void);

/* The caller owns the descriptors that these return; they die on failure.
 * type: SOCK_STREAM or SOCK_DGRAM, with SOCK_NONBLOCK if wanted. host: an IPv4 or IPv6 literal. */
int net_connect(const char *host, uint16_t port, int type);
int net_listen(const char *host, uint16_t port, int type);

/* As net_connect() for a stream, but gives -errno instead of dying, and may give a socket whose
 * connection is still being made (nonblocking only). */
int net_connect_try(const char *host, uint16_t port, int type);

/* Whole buffers over a blocking stream. Return 0, or -errno; -EPIPE for an early end of stream. */
int stream_write_all(int fd, const void *buf, size_t len);
int stream_read_all(int fd, void *buf, size_t len);

/* Tells the runner, on stderr, that the server accepts clients now. */
void announce_ready(void);

#endif
