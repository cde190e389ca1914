/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_GATE_H
#define RINGKIT_DATAPLANE_WORKER_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/worker/out_rate.h"

struct worker;
struct io_event;

/* Room for one verdict's message, and how many leave together. */
#define GATE_VERDICT_BYTES 48
#define GATE_VERDICTS	   64

struct gate {
	int fd; /* netfilter netlink, bound to the worker's queue; -1: there is none */
	struct out_rate rate; /* limits reading */
	bool armed;
	bool begun;	    /* packets that an earlier data plane left have been sent round again */
	uint64_t resume_ns; /* when reading goes on; UINT64_MAX: reading is not paused */
	uint64_t retry_ns;  /* when verdicts are sent again; UINT64_MAX: none has to wait */
	bool lost;	    /* verdicts were given up: all packets that wait must come again */
	size_t len;
	uint8_t verdicts[GATE_VERDICTS * GATE_VERDICT_BYTES] __attribute__((aligned(8)));
};

enum gate_verdict {
	GATE_ACCEPT, /* goes on to the worker's own listener */
	GATE_DROP,
	GATE_REFUSE,
	GATE_UNREACHABLE_HOST,
	GATE_UNREACHABLE_NET,
	GATE_PROHIBIT,
};

void gate_open(struct worker *w);
void gate_event(struct worker *w, const struct io_event *ev);
/* For a hand-over (handover.h): cancels the operation; goes on. */
void gate_rest(struct worker *w);
void gate_go(struct worker *w);
/* Sends the verdicts, and reads packets that had to wait. */
void gate_tick(struct worker *w);
uint64_t gate_deadline(const struct worker *w);

/* gate_verdict.c */
/* Stores the verdict about a packet of the queue. It leaves at the end of the turn. */
void gate_decide(struct worker *w, uint32_t packet, enum gate_verdict verdict);
/* Sends the verdicts that are stored. */
void gate_flush(struct worker *w);
/* Sends every packet that waits in the queue through the rules again. */
void gate_repeat_all(struct worker *w);

#endif
