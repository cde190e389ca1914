/* SPDX-License-Identifier: Apache-2.0 */
#include "ns/subid.h"

#include <errno.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

/* Room for a site with a line for each of its users: 100,000 users at 30 bytes. */
#define SUBID_FILE_MAX	     (4 * 1024 * 1024)
#define GETSUBIDS_TIMEOUT_MS 30000

/* The kernel takes a map in one write, shorter than a page (user_namespaces(7)). */
#define MAP_BYTES 4096

static int add_range(struct id_ranges *out, unsigned long start, unsigned long count)
{
	if (count == 0 || start > 0xffffffffUL || count > 0xffffffffUL - start) {
		out->dropped++;
		return 0;
	}
	for (size_t i = 0; i < out->n; i++) {
		const struct id_range *r = &out->range[i];

		if (start == r->start && count == r->count)
			return 0;
		if (start < r->start + r->count && r->start < start + count) {
			out->dropped++;
			return 0;
		}
	}
	if (out->n == SUBID_RANGES_MAX)
		return -E2BIG;
	out->range[out->n++] = (struct id_range){start, count};
	return 0;
}

/* Parses a decimal number that ends at one of the characters in ends; *p moves to that
 * character. */
static bool parse_number(const char **p, const char *ends, unsigned long *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*out = strtoul(*p, &end, 10);
	if (errno || (*end && !strchr(ends, *end)))
		return false;
	*p = end;
	return true;
}

static bool owner_is(const char *line, size_t len, const char *name, uid_t uid)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", (unsigned)uid);
	return (name && strlen(name) == len && !memcmp(line, name, len)) ||
	       (strlen(number) == len && !memcmp(line, number, len));
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

int subid_parse(const char *text, const char *name, uid_t uid, struct id_ranges *out)
{
	for (const char *line = text; *line; line = next_line(line)) {
		size_t owner = strcspn(line, ":\n");
		const char *p = line + owner;
		unsigned long start, count;
		int code;

		if (*p++ != ':' || !owner_is(line, owner, name, uid))
			continue;
		if (!parse_number(&p, ":", &start) || *p++ != ':')
			continue;
		if (!parse_number(&p, "\n \t\r", &count))
			continue;
		code = add_range(out, start, count);
		if (code)
			return code;
	}
	return 0;
}

int subid_parse_getsubids(const char *text, struct id_ranges *out)
{
	for (const char *line = text; *line; line = next_line(line)) {
		const char *p = line + strcspn(line, "\n ");
		unsigned long start, count;
		int code;

		if (p == line || p[-1] != ':' || *p++ != ' ')
			continue;
		p += strcspn(p, "\n ");
		if (*p++ != ' ' || !parse_number(&p, " ", &start) || *p++ != ' ')
			continue;
		if (!parse_number(&p, "\n \r", &count))
			continue;
		code = add_range(out, start, count);
		if (code)
			return code;
	}
	return 0;
}

static int read_file(const char *path, const char *name, uid_t uid, struct id_ranges *out,
		     struct err *e)
{
	auto_free char *text = malloc(SUBID_FILE_MAX);
	ssize_t n;
	int code;

	if (!text)
		return err_errno(e, -ENOMEM, "cannot read %s", path);
	n = fd_read_file(path, text, SUBID_FILE_MAX);
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return err_errno(e, (int)n, "cannot read %s", path);
	code = subid_parse(text, name, uid, out);
	return code ? err_set(e, code, "%s has more than %d ranges for one user", path,
			      SUBID_RANGES_MAX)
		    : 0;
}

static int from_files(const char *name, uid_t uid, struct subids *out, struct err *e)
{
	int code = read_file("/etc/subuid", name, uid, &out->uids, e);

	return code ? code : read_file("/etc/subgid", name, uid, &out->gids, e);
}

static int run_getsubids(const char *const *argv, int abort_fd, struct id_ranges *out,
			 struct err *e)
{
	struct proc_job job = PROC_JOB_NONE;
	char text[32768];
	int code = proc_begin(argv, &job, e);

	if (code)
		return code;
	job.abort_fd = abort_fd;
	code = proc_finish(&job, text, sizeof(text), GETSUBIDS_TIMEOUT_MS, e);
	if (code)
		return code;
	code = subid_parse_getsubids(text, out);
	return code ? err_errno(e, code, "output of getsubids") : 0;
}

static int from_getsubids(const char *name, int abort_fd, struct subids *out, struct err *e)
{
	const char *uid_argv[] = {"getsubids", name, NULL};
	const char *gid_argv[] = {"getsubids", "-g", name, NULL};
	int code = run_getsubids(uid_argv, abort_fd, &out->uids, e);

	return code ? code : run_getsubids(gid_argv, abort_fd, &out->gids, e);
}

/* Whether nsswitch.conf(5) names another source of sub-ids than files. Only then getsubids knows
 * more than we can read ourselves, and to start it costs more than all the rest of the look-up. */
static bool nss_has_subids(void)
{
	char text[16384];
	ssize_t n = fd_read_file("/etc/nsswitch.conf", text, sizeof(text));

	if (n < 0)
		return false;
	for (const char *line = text; *line; line = next_line(line)) {
		size_t blank;

		if (strncmp(line, "subid:", 6) != 0)
			continue;
		line += 6;
		blank = strspn(line, " \t");
		line += blank;
		return strncmp(line, "files", 5) != 0 || !strchr(" \t\r\n#", line[5]);
	}
	return false;
}

/* The length of the map's text, in lines as newuidmap writes them. */
static size_t map_bytes(const struct id_ranges *r)
{
	size_t bytes = strlen("0 4294967295 1\n");
	unsigned long inside = 1;

	for (size_t i = 0; i < r->n; i++) {
		bytes += (size_t)snprintf(NULL, 0, "%lu %lu %lu\n", inside, r->range[i].start,
					  r->range[i].count);
		inside += r->range[i].count;
	}
	return bytes;
}

size_t subid_fit(struct id_ranges *r)
{
	size_t before = r->n;

	while (r->n > 1 && map_bytes(r) >= MAP_BYTES)
		r->n--;
	return before - r->n;
}

static void fit(struct id_ranges *r, const char *kind)
{
	size_t left_out = subid_fit(r);

	if (r->dropped)
		log_warning("%zu sub%s ranges are left out: they overlap others, or are no ranges",
			    r->dropped, kind);
	if (left_out)
		log_warning(
			"%zu sub%s ranges are left out, all but the first %zu: an id map has less "
			"than %d bytes of text (user_namespaces(7)); fewer and larger ranges "
			"would fit",
			left_out, kind, r->n, MAP_BYTES);
}

static int check_found(const struct id_ranges *r, const char *kind, const char *name, uid_t uid,
		       struct err *e)
{
	const char *who = name ? name : "?";

	if (r->n)
		return 0;
	return err_set(
		e, -ENOENT,
		"No sub%s ranges found for user %u (\"%s\"); an administrator gives some with: "
		"usermod --add-sub%ss 100000-165535 %s (a range that is nobody else's in "
		"/etc/sub%s)",
		kind, (unsigned)uid, who, kind, who, kind);
}

int subid_lookup(const char *source, uid_t uid, int abort_fd, struct subids *out, struct err *e)
{
	bool dynamic = !strcmp(source, "dynamic"), automatic = !strcmp(source, "auto");
	const struct passwd *pw = getpwuid(uid);
	const char *name = pw ? pw->pw_name : NULL;
	int code = -ENOENT;

	memset(out, 0, sizeof(*out));
	if (dynamic && !name)
		return err_set(e, -ENOENT, "user: unknown userid %u; getsubids needs a name",
			       (unsigned)uid);
	if (dynamic || (automatic && name && nss_has_subids())) {
		code = from_getsubids(name, abort_fd, out, e);
		if (code && (dynamic || code == -ECANCELED))
			return err_wrap(e, code, "subid-source:dynamic");
		if (code && e)
			log_debug("subid-source: %s; reading the files", e->msg);
	}
	if (!dynamic && (code || !out->uids.n || !out->gids.n)) {
		memset(out, 0, sizeof(*out));
		code = from_files(name, uid, out, e);
		if (code)
			return code;
	}
	fit(&out->uids, "uid");
	fit(&out->gids, "gid");
	code = check_found(&out->uids, "uid", name, uid, e);
	return code ? code : check_found(&out->gids, "gid", name, uid, e);
}
