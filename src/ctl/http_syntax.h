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
 * The syntax of HTTP answers: http-parser reads it, or where that is not to be had its successor
 * llhttp. meson.build chooses one of the two files http_syntax_*.c.
 */
struct http_syntax {
	http_syntax_parser parser;
	void *arg; /* of the functions below */
};

/* What http.c has for the parser. on_begin: an answer begins. on_body: a piece of it; 0, or
 * anything else for an end. on_complete: it has ended. */
enum http_syntax_end { HTTP_SYNTAX_NEXT, HTTP_SYNTAX_STOP, HTTP_SYNTAX_WRONG };
void http_syntax_on_begin(void *arg);
int http_syntax_on_body(void *arg, const char *data, size_t n);
enum http_syntax_end http_syntax_on_complete(void *arg);

void http_syntax_init(struct http_syntax *s, void *arg);

/* Reads the next bytes; len 0: the end of the stream. Returns how many there were before it
 * stopped. *wrong: NULL, or what does not go on, for people. */
size_t http_syntax_read(struct http_syntax *s, const char *data, size_t len, const char **wrong);

/* Of the answer that is being read. */
unsigned http_syntax_status(const struct http_syntax *s);
bool http_syntax_keeps_alive(const struct http_syntax *s);

#endif
