/* SPDX-License-Identifier: Apache-2.0 */
#include "ports_world.h"

#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

struct port_driver drv;
struct ports *ports;
unsigned answers;
int last_id;
size_t last_n;
char last_error[1024];

int ports_setup(void **state)
{
	(void)state;
	drv = (struct port_driver){.immediate = true};
	answers = 0;
	return ports_open(&fake_ops, &drv, &ports);
}

void close_ports(void)
{
	ports_close(ports);
	ports = NULL;
}

int ports_teardown(void **state)
{
	(void)state;
	close_ports();
	return 0;
}

static void on_added(void *arg, const struct port *const *added, size_t n, const struct err *e)
{
	(void)arg;
	answers++;
	last_n = n;
	last_id = n ? added[0]->id : 0;
	snprintf(last_error, sizeof(last_error), "%s", e ? e->msg : "");
}

static void on_removed(void *arg, const struct err *e)
{
	(void)arg;
	answers++;
	snprintf(last_error, sizeof(last_error), "%s", e ? e->msg : "");
}

void add_spec(const struct port_spec *spec)
{
	ports_add(ports, spec, 1, on_added, NULL);
}

void add_all(const char *const *texts, size_t n)
{
	struct port_spec specs[8] = {{.count = 0}};

	for (size_t i = 0; i < n; i++)
		assert_int_equal(portspec_parse(texts[i], &specs[i], NULL), 0);
	ports_add(ports, specs, n, on_added, NULL);
}

void add(const char *text)
{
	add_all(&text, 1);
}

void remove_ids(long long first, long long last)
{
	ports_remove(ports, first, last, on_removed, NULL);
}

static int append_id(void *arg, const struct port *port)
{
	char *list = arg;

	sprintf(list + strlen(list), "%d ", port->id);
	return 0;
}

void assert_list(const char *want)
{
	char list[256] = "";

	ports_each(ports, append_id, list);
	assert_string_equal(list, want);
}
