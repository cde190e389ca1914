/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker/rhythm.h"

/* How long to look. The other side's answer takes about as long as its process takes to wake up,
 * on a virtual machine 50 us. */
#define LOOK_NS 100000u

/* A wait counts as short when looking could have replaced it: it includes the time to wake up. */
#define SHORT_NS 150000u

/* So many short waits in a row make a rhythm. */
#define ROW 16

/* The waits after a connection has begun: for its first message, for the answer, for the end. */
#define EXPECTED 3

/* After a look in vain the worker does not look for a while, which doubles each time, from 0.2 ms
 * to 0.1 s. So many looks that found something halve it. */
#define PAUSE_NS   100000u
#define MISSES_MAX 10
#define HITS	   16

/* When processors are short, looking takes time from the very processes that are waited for. */
#define CUT_PAUSE_NS 100000000u

uint32_t rhythm_begin(struct rhythm *r, uint64_t now_ns)
{
	r->began_ns = now_ns;
	r->look_ns = (r->row >= ROW || r->expected) && now_ns >= r->off_ns ? LOOK_NS : 0;
	if (r->expected)
		r->expected--;
	return r->look_ns;
}

static void hit(struct rhythm *r)
{
	if (r->misses == 0 || ++r->hits < HITS)
		return;
	r->hits = 0;
	r->misses--;
}

static void miss(struct rhythm *r, uint64_t now_ns)
{
	r->row = r->hits = r->expected = 0;
	if (r->misses < MISSES_MAX)
		r->misses++;
	r->off_ns = now_ns + ((uint64_t)PAUSE_NS << r->misses);
}

void rhythm_end(struct rhythm *r, uint64_t now_ns, bool cut)
{
	uint64_t waited_ns = now_ns - r->began_ns;

	if (cut) {
		r->row = r->expected = 0;
		r->off_ns = now_ns + CUT_PAUSE_NS;
	} else if (r->look_ns) {
		if (waited_ns < r->look_ns)
			hit(r);
		else
			miss(r, now_ns);
	} else if (waited_ns >= SHORT_NS) {
		r->row = 0;
	} else if (r->row < ROW) {
		r->row++;
	}
}

void rhythm_expect(struct rhythm *r)
{
	r->expected = EXPECTED;
}

void rhythm_break(struct rhythm *r)
{
	r->row = r->expected = 0;
}
