/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

#define PORT_MAX 65535

static const char *const known_protos[] = {"tcp",  "tcp4", "tcp6",  "udp",  "udp4",
					   "udp6", "sctp", "sctp4", "sctp6"};

/* RootlessKit's messages quote strings with Go's %q. */

/* Writes the escape of a control character; returns false when rune is not one. */
static bool escape_control(uint32_t rune, char out[8])
{
	static const char letters[] = "abtnvfr"; /* Go's letters for the characters from 7 on */

	if (rune >= 7 && rune <= 13)
		snprintf(out, 8, "\\%c", letters[rune - 7]);
	else if (rune < 0x20 || rune == 0x7f)
		snprintf(out, 8, "\\x%02x", (unsigned)rune);
	else if (rune >= 0x80 && rune < 0xa0)
		snprintf(out, 8, "\\u%04x", (unsigned)rune);
	else
		return false;
	return true;
}

static unsigned quote_one(const char *s, char out[8])
{
	uint32_t rune;
	unsigned n = text_utf8_at(s, &rune);

	if (n == 0) {
		snprintf(out, 8, "\\x%02x", (unsigned)(unsigned char)*s);
		return 1;
	}
	if (escape_control(rune, out))
		return n;
	if (rune == '"' || rune == '\\')
		snprintf(out, 8, "\\%c", (char)rune);
	else
		snprintf(out, 8, "%.*s", (int)n, s);
	return n;
}

const char *quote_go(const char *s, char *buf, size_t size)
{
	size_t len = 1;

	if (size < 3)
		return "";
	buf[0] = '"';
	while (*s) {
		char one[8];

		s += quote_one(s, one);
		if (len + strlen(one) + 2 > size)
			break;
		memcpy(buf + len, one, strlen(one));
		len += strlen(one);
	}
	buf[len++] = '"';
	buf[len] = '\0';
	return buf;
}

/* Parsing */

static bool is_known_proto(const char *proto)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_protos); i++)
		if (strcmp(proto, known_protos[i]) == 0)
			return true;
	return false;
}

static bool is_ip(const char *s)
{
	struct in6_addr a;

	return inet_pton(AF_INET, s, &a) == 1 || inet_pton(AF_INET6, s, &a) == 1;
}

/* The four fields from the end: [PARENTIP:]PARENTPORT:[CHILDIP:]CHILDPORT. Brackets keep the
 * colons of an IPv6 address together. */
struct fields {
	char text[4][64];
	int n;
};

static int split(const char *s, struct fields *f)
{
	bool bracket = false;
	size_t len = 0;

	*f = (struct fields){.n = 1};
	for (; *s; s++) {
		if (*s == '[')
			bracket = true;
		else if (*s == ']')
			bracket = false;
		if (*s == ':' && !bracket) {
			if (f->n++ == 4)
				return -EINVAL;
			len = 0;
			continue;
		}
		if (len + 1 == sizeof(f->text[0]))
			return -EINVAL;
		f->text[f->n - 1][len++] = *s;
	}
	return bracket ? -EINVAL : 0;
}

/* Copies the address without its brackets, if it has any. */
static void copy_ip(char out[64], const char field[64])
{
	size_t len = strnlen(field, 63);
	bool bracketed = len >= 2 && field[0] == '[' && field[len - 1] == ']';

	memset(out, 0, 64);
	memcpy(out, field + bracketed, bracketed ? len - 2 : len);
}

static int parse_number(const char *field, const char *what, const char *spec, long long *out,
			struct err *e)
{
	int code = text_parse_number(field, out);
	char q1[300], q2[300];

	if (!code)
		return 0;
	return err_set(e, -EINVAL,
		       "unexpected %s in PortSpec string: %s: strconv.Atoi: parsing %s: %s", what,
		       quote_go(spec, q1, sizeof(q1)), quote_go(field, q2, sizeof(q2)),
		       code == -ERANGE ? "value out of range" : "invalid syntax");
}

static bool is_port(long long n)
{
	return n >= 1 && n <= PORT_MAX;
}

static int bad_range(const char *what, const char *spec, struct err *e)
{
	char q[300];

	return err_set(e, -EINVAL,
		       "unexpected %s in PortSpec string: %s: a range goes up, from 1 to 65535 at "
		       "most",
		       what, quote_go(spec, q, sizeof(q)));
}

/* Parses a number, or FIRST-LAST. *count is 0 for a number. */
static int parse_range(const char *field, const char *what, const char *spec, long long *out,
		       long long *count, struct err *e)
{
	const char *dash = field[0] ? strchr(field + 1, '-') : NULL;
	char first[64];
	long long last = 0;
	int code;

	*count = 0;
	if (!dash)
		return parse_number(field, what, spec, out, e);
	snprintf(first, sizeof(first), "%.*s", (int)(dash - field), field);
	code = parse_number(first, what, spec, out, e);
	if (!code)
		code = parse_number(dash + 1, what, spec, &last, e);
	if (code)
		return code;
	if (*out < 1 || last > PORT_MAX || *out > last)
		return bad_range(what, spec, e);
	*count = last > *out ? last - *out + 1 : 0;
	return 0;
}

static int parse_ports(const char *parent, const char *child, const char *spec,
		       struct port_spec *out, struct err *e)
{
	long long n_child = 0;
	int code = parse_range(parent, "ParentPort", spec, &out->parent_port, &out->count, e);
	char q[300];

	if (!code)
		code = parse_range(child, "ChildPort", spec, &out->child_port, &n_child, e);
	if (code || n_child == out->count)
		return code;
	/* Beside a range, -80 is one that lacks its beginning, rather than a number. */
	if (!is_port(out->parent_port))
		return bad_range("ParentPort", spec, e);
	if (!is_port(out->child_port))
		return bad_range("ChildPort", spec, e);
	return err_set(e, -EINVAL,
		       "unexpected ChildPort in PortSpec string: %s: both ports must be ranges of "
		       "the same length, but these are %lld and %lld ports",
		       quote_go(spec, q, sizeof(q)), out->count ? out->count : 1,
		       n_child ? n_child : 1);
}

/* Which field means what depends on how many there are: of three, the middle one may be a port or
 * an address. */
static int assign(const struct fields *f, const char *spec, struct port_spec *out, struct err *e)
{
	const char *parent_port, *child_ip = "", *parent_ip = "";

	if (f->n == 2) {
		parent_port = f->text[0];
	} else if (f->n == 3 && !is_ip(f->text[1]) && f->text[1][0] != '[') {
		parent_ip = f->text[0];
		parent_port = f->text[1];
	} else if (f->n == 3) {
		parent_port = f->text[0];
		child_ip = f->text[1];
	} else {
		parent_ip = f->text[0];
		parent_port = f->text[1];
		child_ip = f->text[2];
	}
	copy_ip(out->parent_ip, parent_ip);
	copy_ip(out->child_ip, child_ip);
	return parse_ports(parent_port, f->text[f->n - 1], spec, out, e);
}

static int bad_address(const char *what, const char *spec, struct err *e)
{
	char q[300];

	return err_set(e, -EINVAL, "unexpected %s in PortSpec string: %s", what,
		       quote_go(spec, q, sizeof(q)));
}

int portspec_parse(const char *s, struct port_spec *out, struct err *e)
{
	const char *slash = strrchr(s, '/');
	char head[256], q1[300], q2[100];
	struct fields f;
	int code;

	memset(out, 0, sizeof(*out));
	if (!slash)
		return err_set(e, -EINVAL, "missing proto in PortSpec string: %s",
			       quote_go(s, q1, sizeof(q1)));
	snprintf(out->proto, sizeof(out->proto), "%s", slash + 1);
	if (!is_known_proto(slash + 1))
		return err_set(e, -EINVAL, "invalid PortSpec string: %s: unknown proto: %s",
			       quote_go(s, q1, sizeof(q1)), quote_go(slash + 1, q2, sizeof(q2)));
	if ((size_t)(slash - s) >= sizeof(head))
		return bad_address("length", s, e);
	snprintf(head, sizeof(head), "%.*s", (int)(slash - s), s);
	if (split(head, &f) < 0)
		return err_set(e, -EINVAL,
			       "unexpected PortSpec string: %s, must be like 127.0.0.1:8080:80/tcp "
			       "or [::1]:8080:[::2]:80/tcp",
			       quote_go(s, q1, sizeof(q1)));
	if (f.n < 2)
		return err_set(e, -EINVAL,
			       "unexpected PortSpec string: %s, must be like 127.0.0.1:8080:80/tcp",
			       quote_go(s, q1, sizeof(q1)));
	code = assign(&f, s, out, e);
	if (code < 0)
		return code;
	if (out->parent_ip[0] && !is_ip(out->parent_ip))
		return bad_address("ParentIP", s, e);
	if (out->child_ip[0] && !is_ip(out->child_ip))
		return bad_address("ChildIP", s, e);
	return 0;
}

/* Checks the rest of a range whose first ports are valid. */
static int validate_range(const struct port_spec *spec, struct err *e)
{
	long long first =
		spec->parent_port > spec->child_port ? spec->parent_port : spec->child_port;

	if (spec->count < 0 || spec->count > PORT_MAX || first + spec->count - 1 > PORT_MAX)
		return err_set(e, -EINVAL,
			       "invalid count: %lld: no port of a range is higher than %d",
			       spec->count, PORT_MAX);
	return 0;
}

/* RootlessKit prints the character that has this number, mostly a stray glyph. We print the number.
 */
static int bad_port(long long port, const char *member, struct err *e)
{
	return err_set(e, -EINVAL, "invalid %s: %lld: it must be 1 to 65535", member, port);
}

int portspec_validate(const struct port_spec *spec, struct err *e)
{
	char q[300];

	if (!is_known_proto(spec->proto))
		return err_set(e, -EINVAL, "unknown proto: %s",
			       quote_go(spec->proto, q, sizeof(q)));
	if (spec->parent_ip[0] && !is_ip(spec->parent_ip))
		return err_set(e, -EINVAL, "invalid ParentIP: %s",
			       quote_go(spec->parent_ip, q, sizeof(q)));
	if (!is_port(spec->parent_port))
		return bad_port(spec->parent_port, "ParentPort", e);
	if (spec->child_ip[0] && !is_ip(spec->child_ip))
		return err_set(e, -EINVAL, "invalid ChildIP: %s",
			       quote_go(spec->child_ip, q, sizeof(q)));
	if (!is_port(spec->child_port))
		return bad_port(spec->child_port, "ChildPort", e);
	if (spec->child_listen_ip[0] && !is_ip(spec->child_listen_ip))
		return err_set(e, -EINVAL, "invalid ChildListenIP: %s",
			       quote_go(spec->child_listen_ip, q, sizeof(q)));
	return spec->count ? validate_range(spec, e) : 0;
}

struct port_spec portspec_at(const struct port_spec *spec, size_t i)
{
	struct port_spec one = *spec;

	one.parent_port += (long long)i;
	one.child_port += (long long)i;
	one.count = 0;
	return one;
}

static const char *format_ip(const char *ip, char out[72])
{
	const char *colon = ip[0] ? ":" : "";

	if (strchr(ip, ':'))
		snprintf(out, 72, "[%s]:", ip);
	else
		snprintf(out, 72, "%s%s", ip, colon);
	return out;
}

/* "80", "8000-8009" */
static const char *format_port(long long port, long long count, char out[48])
{
	if (count > 1)
		snprintf(out, 48, "%lld-%lld", port, port + count - 1);
	else
		snprintf(out, 48, "%lld", port);
	return out;
}

const char *portspec_format(const struct port_spec *spec, char *buf, size_t size)
{
	char parent[72], child[72], parent_port[48], child_port[48];

	snprintf(buf, size, "%s%s:%s%s/%s", format_ip(spec->parent_ip, parent),
		 format_port(spec->parent_port, spec->count, parent_port),
		 format_ip(spec->child_ip, child),
		 format_port(spec->child_port, spec->count, child_port), spec->proto);
	return buf;
}

bool portspec_conflicts(const struct port_spec *a, const struct port_spec *b)
{
	return a->parent_port < b->parent_port + (long long)portspec_count(b) &&
	       b->parent_port < a->parent_port + (long long)portspec_count(a) &&
	       strcmp(a->proto, b->proto) == 0 && strcmp(a->parent_ip, b->parent_ip) == 0;
}
