/* queue.h - figures of the queue that is never empty: fragmentation at overflow. The procedure is in queue.c. */
#ifndef KMEMLAB_QUEUE_H
#define KMEMLAB_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

/* Means over the overflows after `skip` requests; X: live requested, A: live granted, M: the arena. */
struct queue_result {
	uint64_t overflows;
	double internal; /* 1 - X/A */
	double external; /* 1 - A/M */
	double total;    /* 1 - X/M */
};

/*
 * Play one queue, such as "queue:sizes=exponential,mean=50,seed=3", against a stack without making a trace. The figures
 * are those of the stream of the same spec. false and *error: no spec of a queue, parameters or stack that do not do,
 * a request that the empty arena cannot serve, no overflow at all. O(requests) and the stack's own cost.
 */
bool queue_run(const char *spec, const char *against, struct queue_result *result, struct kml_error *error);

#endif
