/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/value.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/array.h"

int value_parse_bool(const char *s, bool *out)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcmp(s, yes[i]) || !strcmp(s, no[i])) {
			*out = !strcmp(s, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Returns the base that the prefix of *s names, and moves *s past it. A lone 0 is decimal. */
static int number_base(const char **s)
{
	const char *p = *s;

	if (p[0] != '0' || !p[1])
		return 10;
	switch (p[1] | 0x20) {
	case 'x':
		*s += 2;
		return 16;
	case 'o':
		*s += 2;
		return 8;
	case 'b':
		*s += 2;
		return 2;
	default:
		*s += 1;
		return 8;
	}
}

int value_parse_int(const char *s, int *out)
{
	bool negative = *s == '-', prefixed, after_digit;
	long long n = 0;
	const char *digits;
	int base;

	if (*s == '-' || *s == '+')
		s++;
	digits = s;
	base = number_base(&s);
	prefixed = after_digit = s != digits;
	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s == '_' && prefixed && after_digit) {
			after_digit = false;
			continue;
		}
		if (digit_value(*s) >= base)
			return -EINVAL;
		if (n <= INT_MAX)
			n = n * base + digit_value(*s);
		after_digit = true;
	}
	if (!after_digit)
		return -EINVAL;
	if (n > INT_MAX)
		return -ERANGE;
	*out = (int)(negative ? -n : n);
	return 0;
}

/* The nanoseconds of a unit; 0 when there is no such unit. *len is the length of its name. */
static double unit_ns(const char *s, size_t *len)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ns", 1},	  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
		     {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},	   {"h", 3600e9}};

	*len = strcspn(s, ".0123456789");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == *len && !memcmp(units[i].name, s, *len))
			return units[i].ns;
	return 0;
}

/* Parses 12, 1.5, .5 or 2. with digits on at least one side of the point. strtod would not do: it
 * takes inf, nan, hexadecimal and the locale's point. */
static int parse_decimal(const char **s, double *out)
{
	double n = 0, scale = 1;
	bool any = false;

	for (; **s >= '0' && **s <= '9'; (*s)++, any = true)
		n = n * 10 + (**s - '0');
	if (**s == '.')
		for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, any = true)
			n += (**s - '0') * (scale /= 10);
	*out = n;
	return any ? 0 : -EINVAL;
}

int value_parse_duration_ms(const char *s, int *out)
{
	double total_ns = 0, n, unit;
	bool first = true;
	size_t len;

	do {
		if (parse_decimal(&s, &n) < 0)
			return -EINVAL;
		unit = first && !*s ? 1e9 : unit_ns(s, &len);
		if (!*s)
			len = 0;
		if (unit <= 0)
			return -EINVAL;
		total_ns += n * unit;
		s += len;
		first = false;
	} while (*s);
	if (total_ns > INT_MAX * 1e6)
		return -ERANGE;
	*out = (int)(total_ns / 1e6);
	if (*out * 1e6 < total_ns)
		++*out;
	return 0;
}
