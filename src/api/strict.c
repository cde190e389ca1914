/* SPDX-License-Identifier: Apache-2.0 */
#include "api/strict.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define BAD_REQUEST	   400
#define EXPECTATION_FAILED 417
#define NOT_IMPLEMENTED	   501

/* Words that are farther apart than the longest header are not in the same buffer. */
#define APART_MAX 65536

static struct strict_refusal refuse(unsigned status, const char *why)
{
	return (struct strict_refusal){.status = status, .why = why};
}

struct strict_target strict_target_read(const char *target)
{
	const char *nul = strstr(target, "%00");

	return (struct strict_target){.start = target,
				      .end = target + strlen(target),
				      .has_blank = strpbrk(target, " \t") != NULL,
				      .has_encoded_nul =
					      nul && nul < target + strcspn(target, "?")};
}

/* Whether more than blanks lies between the end of a word and the next word: then the first word
 * had a NUL in it. */
static bool was_cut(const char *end, const char *next)
{
	if (next <= end || next - end > APART_MAX)
		return false;
	while (++end < next)
		if (*end != ' ' && *end != '\t')
			return true;
	return false;
}

struct strict_refusal strict_line(const char *method, const struct strict_target *target,
				  const char *version)
{
	if (!target->start)
		return refuse(0, NULL);
	if (was_cut(method + strlen(method), target->start))
		return refuse(BAD_REQUEST, "invalid method");
	if (target->has_blank || (version && was_cut(target->end, version)))
		return refuse(BAD_REQUEST, "invalid request target");
	return refuse(0, NULL);
}

/* Whether this is a token, the syntax of a field's name: RFC 9110, 5.6.2. */
static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && (!s[i] || !strchr("!#$%&'*+-.^_`|~", s[i])))
			return false;
	return len > 0;
}

static struct strict_refusal check_length(struct strict_header *h, const char *value)
{
	if (h->content_length && strcmp(h->content_length, value) != 0)
		return refuse(BAD_REQUEST, "two different Content-Length headers");
	h->content_length = value;
	return refuse(0, NULL);
}

static struct strict_refusal check_value(struct strict_header *h, const char *name,
					 const char *value)
{
	if (!strcasecmp(name, "Content-Length"))
		return check_length(h, value);
	if (!strcasecmp(name, "Host") && ++h->hosts > 1)
		return refuse(BAD_REQUEST, "too many Host headers");
	if (!strcasecmp(name, "Transfer-Encoding") && strcasecmp(value, "chunked") != 0)
		return refuse(NOT_IMPLEMENTED, "unsupported transfer encoding");
	if (!strcasecmp(name, "Expect") && strcasecmp(value, "100-continue") != 0)
		return refuse(EXPECTATION_FAILED, "the only expectation is 100-continue");
	return refuse(0, NULL);
}

void strict_field(struct strict_header *h, const char *name, size_t name_len, const char *value,
		  size_t value_len)
{
	if (h->refusal.status)
		return;
	if (!is_token(name, name_len))
		h->refusal = refuse(BAD_REQUEST, "invalid header name");
	else if (value && memchr(value, '\0', value_len))
		h->refusal = refuse(BAD_REQUEST, "invalid header value");
	else
		h->refusal = check_value(h, name, value ? value : "");
}

struct strict_refusal strict_header_end(const struct strict_header *h, const char *version)
{
	if (!h->refusal.status && !h->hosts && version && !strcmp(version, "HTTP/1.1"))
		return refuse(BAD_REQUEST, "missing required Host header");
	return h->refusal;
}

const char *strict_path(const char *url)
{
	size_t scheme = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789+-.");
	const char *path;

	if (!scheme || !isalpha((unsigned char)url[0]) || strncmp(url + scheme, "://", 3) != 0)
		return url;
	path = strchr(url + scheme + 3, '/');
	return path ? path : "/";
}
