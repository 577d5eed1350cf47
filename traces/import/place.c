/*
 * place.c - snapshots to their place in the stream: by time, or at a mark that names them.
 *
 * A snapshot labelled "04-steady" without a time belongs to the mark whose text holds "04-steady" or "04 steady". Where
 * a mark GT_SLABS_READ follows before any other snapshot's mark, that is the exact moment: the kernel walked its slabs
 * then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

/* Snapshots this far outside the recording were taken by another clock. */
#define FAR_OUTSIDE_NS (60ull * 1000000000u)

static bool text_holds(const char *text, const char *label)
{
	size_t length = strlen(label);

	for (; *text != '\0'; text++) {
		size_t i = 0;
		while (i < length && (text[i] == label[i] || (label[i] == '-' && text[i] == ' ')))
			i++;
		if (i == length && length > 0)
			return true;
	}
	return false;
}

static bool is_mark(const struct import *import, uint32_t event)
{
	return import->events.items[event].kind == RAW_MARK && import->events.items[event].name != IMPORT_NONE;
}

/* The event after which a snapshot with that label belongs, or IMPORT_NONE. */
static uint32_t find_mark(const struct import *import, const char *label)
{
	uint32_t found = IMPORT_NONE;

	for (uint32_t i = 0; i < import->events.count; i++) {
		if (!is_mark(import, i))
			continue;
		const char *text = import->names.items[import->events.items[i].name];
		if (found == IMPORT_NONE && text_holds(text, label))
			found = i;
		else if (found != IMPORT_NONE && strcmp(text, "GT_SLABS_READ") == 0)
			return i;
		else if (found != IMPORT_NONE && !text_holds(text, label))
			break;
	}
	return found;
}

/* The first event later than the time. */
static uint32_t find_time(const struct import *import, uint64_t time_ns)
{
	uint32_t begin = 0, end = import->events.count;

	while (begin < end) {
		uint32_t middle = begin + (end - begin) / 2;
		if (import->events.items[middle].time_ns <= time_ns)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

static int by_place(const void *left, const void *right)
{
	const struct stored_snapshot *a = left, *b = right;

	if (a->event != b->event)
		return a->event < b->event ? -1 : 1;
	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

static bool place_at_mark(struct import *import, struct stored_snapshot *snapshot, uint32_t *mark,
			  struct kml_error *error)
{
	/* Snapshots come in groups of one label. */
	if (*mark == IMPORT_NONE)
		*mark = find_mark(import, snapshot->label);
	if (*mark == IMPORT_NONE && import->events.count > 0)
		return kml_fail(error,
				"snapshot %s.%s has no time in its name, and no mark of the trace names it; name it "
				"NNNN-<nanoseconds of the trace's clock>.%s",
				snapshot->label, kmt_snapshot_name(snapshot->kind), kmt_snapshot_name(snapshot->kind));
	snapshot->event = *mark == IMPORT_NONE ? 0 : *mark + 1;
	snapshot->time_ns = *mark == IMPORT_NONE ? 0 : import->events.items[*mark].time_ns;
	return true;
}

static bool far_outside(const struct import *import, uint64_t time_ns)
{
	uint64_t first = import->events.items[0].time_ns;
	uint64_t last = import->events.items[import->events.count - 1].time_ns;

	return time_ns + FAR_OUTSIDE_NS < first || time_ns > last + FAR_OUTSIDE_NS;
}

bool import_place_snapshots(struct import *import, struct kml_error *error)
{
	uint32_t timed = 0, outside = 0, mark = IMPORT_NONE;
	const char *label = "";

	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		struct stored_snapshot *snapshot = &import->snapshots.items[i];

		if (snapshot->time_ns == UINT64_MAX) {
			if (strcmp(label, snapshot->label) != 0)
				mark = IMPORT_NONE;
			label = snapshot->label;
			if (!place_at_mark(import, snapshot, &mark, error))
				return false;
			continue;
		}
		snapshot->event = find_time(import, snapshot->time_ns);
		timed++;
		outside += import->events.count > 0 && far_outside(import, snapshot->time_ns);
	}
	if (timed > 0 && timed == outside)
		return kml_fail(error,
				"no snapshot was taken during the trace (the first at %llu ns, the trace begins at "
				"%llu ns): another recording, or another clock? Record with trace_clock mono",
				(unsigned long long)import->snapshots.items[0].time_ns,
				(unsigned long long)import->events.items[0].time_ns);
	if (import->snapshots.count > 0)
		qsort(import->snapshots.items, import->snapshots.count, sizeof(*import->snapshots.items), by_place);
	return true;
}
