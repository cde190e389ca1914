/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BENCH_UTIL_H
#define RINGKIT_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the load programs share. A failure that makes the figures worthless ends a program: it
 * prints a line on stderr and no JSON, and exits with 1.
 */

#define UTIL_NSEC_PER_SEC UINT64_C(1000000000)

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC. It is the same in all network namespaces, so that a receiver can compare it with
 * a sender's time. */
uint64_t now_ns(void);

/* Parses a decimal number from min to max. Dies on anything else, and names the option. */
uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Parses seconds such as "0.6", at most an hour. Returns nanoseconds. */
uint64_t parse_seconds(const char *option, const char *text);

/* Raises the soft limit on descriptors to the hard one. Returns the limit. */
size_t nofile_raise(void);

/* The caller owns the descriptors that these return; they die on failure.
 * type: SOCK_STREAM or SOCK_DGRAM, with SOCK_NONBLOCK if wanted. host: an IPv4 or IPv6 literal. */
int net_connect(const char *host, uint16_t port, int type);
int net_listen(const char *host, uint16_t port, int type);

/* Like net_connect(), but returns -errno instead of dying. With SOCK_NONBLOCK the connection may
 * still be in progress. */
int net_connect_try(const char *host, uint16_t port, int type);

/* Write or read a whole buffer on a blocking stream. Return 0 or -errno; -EPIPE: the stream ended
 * early. */
int stream_write_all(int fd, const void *buf, size_t len);
int stream_read_all(int fd, void *buf, size_t len);

/* Tells the runner, on stderr, that the server accepts clients now. */
void announce_ready(void);

#endif
