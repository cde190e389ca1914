/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_CTL_HTTP_SYNTAX_H
#define RINGKIT_CTL_HTTP_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#ifdef RINGKIT_LLHTTP
#include <llhttp.h>
typedef llhttp_t http_syntax_parser;
#else
#include <http_parser.h>
typedef http_parser http_syntax_parser;
#endif

/*
 * Parses HTTP answers: by http-parser, or where that is not available by its successor llhttp.
 * meson.build chooses one of the two files http_syntax_*.c.
 */
struct http_syntax {
	http_syntax_parser parser;
	void *arg; /* argument of the functions below */
};

/* The functions of http.c that the parser calls. on_begin: an answer begins. on_body: a piece of
 * its body; returns 0 to go on. on_complete: it has ended. */
enum http_syntax_end { HTTP_SYNTAX_NEXT, HTTP_SYNTAX_STOP, HTTP_SYNTAX_WRONG };
void http_syntax_on_begin(void *arg);
int http_syntax_on_body(void *arg, const char *data, size_t n);
enum http_syntax_end http_syntax_on_complete(void *arg);

void http_syntax_init(struct http_syntax *s, void *arg);

/* Parses the next bytes; len 0: the end of the stream. Returns how many bytes it used before it
 * stopped. *wrong: NULL, or for people what is wrong. */
size_t http_syntax_read(struct http_syntax *s, const char *data, size_t len, const char **wrong);

/* The status of the answer that is being read. */
unsigned http_syntax_status(const struct http_syntax *s);
bool http_syntax_keeps_alive(const struct http_syntax *s);

#endif
