/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int text_parse_number(const char *s, long long *out)
{
	const char *digits = s + (*s == '+' || *s == '-');
	long long n;

	if (!*digits || digits[strspn(digits, "0123456789")])
		return -EINVAL;
	errno = 0;
	n = strtoll(s, NULL, 10);
	if (errno)
		return -errno;
	*out = n;
	return 0;
}

unsigned text_utf8_at(const char *s, uint32_t *rune)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)s;
	unsigned n = p[0] < 0x80       ? 1
		     : p[0] >> 5 == 6  ? 2
		     : p[0] >> 4 == 14 ? 3
		     : p[0] >> 3 == 30 ? 4
				       : 0;
	uint32_t r = n == 1 ? p[0] : n ? p[0] & (0x7fu >> n) : 0;

	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		r = r << 6 | (p[i] & 0x3f);
	}
	if (n == 0 || r < smallest[n] || r > 0x10ffff || (r >= 0xd800 && r < 0xe000))
		return 0;
	*rune = r;
	return n;
}

static bool is_control(uint32_t rune)
{
	return rune < 0x20 || (rune >= 0x7f && rune < 0xa0);
}

/* Unicode's separators of lines and paragraphs, and the characters that change the direction of
 * writing (UAX 9), which would show the rest of the line in another order than it has. */
static bool is_reordering(uint32_t rune)
{
	return rune == 0x61c || rune == 0x200e || rune == 0x200f ||
	       (rune >= 0x2028 && rune <= 0x202e) || (rune >= 0x2066 && rune <= 0x2069);
}

/* The length of the first character, and in *shown what to show for it: itself, or a blank. */
static unsigned printable_at(const char *s, const char **shown, unsigned *n_shown)
{
	uint32_t rune = 0;
	unsigned n = text_utf8_at(s, &rune);
	bool bad = n == 0 || is_control(rune) || is_reordering(rune);

	*shown = bad ? " " : s;
	*n_shown = bad ? 1 : n;
	return n ? n : 1;
}

char *text_make_printable(char *text)
{
	char *out = text;

	for (const char *s = text; *s;) {
		const char *shown;
		unsigned n;

		s += printable_at(s, &shown, &n);
		while (n--)
			*out++ = *shown++;
	}
	*out = '\0';
	return text;
}

void text_put_printable(const char *text, FILE *file)
{
	while (*text) {
		const char *shown;
		unsigned n;

		text += printable_at(text, &shown, &n);
		fwrite(shown, 1, n, file);
	}
}
