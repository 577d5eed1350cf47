/*
 * ring.h - the kernel's trace buffers: an ftrace instance of our own, its kmem events, its raw pages.
 *
 * The instance (tracefs instances/kmemlab-PID) leaves whatever else traces this machine alone. Its buffers are freed by
 * the kernel when the program ends, however it ends; an instance of a dead process is removed by the next capture.
 */
#ifndef KMEMLAB_CAPTURE_RING_H
#define KMEMLAB_CAPTURE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/capture/store.h"
#include "traces/import/tracepoint.h"

struct ring;

/* Can this user record this kernel? false and *error saying in a sentence what is missing and what works without. */
bool ring_is_available(struct kml_error *error);

/* Set up and not yet recording; buffer_bytes for all cpus together. NULL and *error saying what is missing. */
struct ring *ring_open(uint64_t buffer_bytes, struct kml_error *error);
/* Stops the recording and removes the instance. NULL is fine. */
void ring_close(struct ring *ring);

bool ring_start(struct ring *ring, struct kml_error *error);
bool ring_stop(struct ring *ring, struct kml_error *error);
/* Move what the buffers hold to the store. O(bytes), no allocation but the store's. */
bool ring_drain(struct ring *ring, struct store *store, struct kml_error *error);

struct ring_counts {
	uint64_t read;        /* events taken from the buffers, by the kernel's count */
	uint64_t overwritten; /* lost: the buffer was full */
	uint64_t dropped;     /* lost for another reason (nested writers, no room) */
};
/* The kernel's own statistics of all cpus. After ring_stop and the last ring_drain. */
bool ring_counts(struct ring *ring, struct ring_counts *counts, struct kml_error *error);

uint32_t ring_cpu_count(const struct ring *ring);
/* Formats of the events recorded; owned by the ring. */
struct tracepoints *ring_tracepoints(const struct ring *ring);

#endif
