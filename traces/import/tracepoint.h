/*
 * tracepoint.h - binary records of the kmem tracepoints, as ftrace's ring buffer and perf.data hold them, to raw
 * events.
 *
 * Where a field lies is taken from the kernel's own description of the event (its `format` file), by the field's name,
 * never by position: kmem_cache_alloc alone has had three layouts. Records are untrusted: every read is checked against
 * the record's end. Cost: O(1) per record.
 */
#ifndef KMEMLAB_TRACEPOINT_H
#define KMEMLAB_TRACEPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "traces/import/import.h"

struct tracepoints;

/* NULL when memory is exhausted. */
struct tracepoints *tracepoints_create(void);
void tracepoints_destroy(struct tracepoints *tracepoints);

/*
 * Learn one event from its format text (need not end in NUL; borrowed for the call). Events other than kmem's are
 * accepted and ignored. false and *error when the text is no format or lacks what the event needs.
 */
bool tracepoints_add(struct tracepoints *tracepoints, const char *format, size_t format_bytes, struct kml_error *error);

/* Kmem events known. */
uint32_t tracepoints_count(const struct tracepoints *tracepoints);

enum tracepoint_status {
	TRACEPOINT_EVENT,     /* *event is filled in; cpu and time_ns are left as they were */
	TRACEPOINT_UNKNOWN,   /* the record is of an event never learnt */
	TRACEPOINT_MALFORMED, /* the record is too short for its fields, or a text in it lies outside of it */
};

/* `record` begins with common_type. event->name points into an own buffer: valid until the next call. */
enum tracepoint_status tracepoints_decode(struct tracepoints *tracepoints, const void *record, size_t record_bytes,
					  struct raw_event *event);

/* The NUMA node that the allocation decoded last asked for; -1: none, or the kernel does not say. */
int32_t tracepoints_node(const struct tracepoints *tracepoints);

#endif
