/*
 * sort.c - events by time, stable: events of equal time keep the order in which the source gave them.
 *
 * ftrace text is in global order already, so nothing is moved unless an event is older than its predecessor. Bottom-up
 * merge sort of what is there: O(n log n), one copy of the events.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

static void merge(const struct stored_event *from, struct stored_event *to, uint64_t begin, uint64_t middle,
		  uint64_t end)
{
	uint64_t left = begin, right = middle;

	for (uint64_t i = begin; i < end; i++) {
		bool take_left = left < middle && (right == end || from[left].time_ns <= from[right].time_ns);
		to[i] = take_left ? from[left++] : from[right++];
	}
}

static uint64_t count_out_of_order(const struct import *import)
{
	uint64_t out_of_order = 0;

	for (uint32_t i = 1; i < import->events.count; i++)
		out_of_order += import->events.items[i].time_ns < import->events.items[i - 1].time_ns;
	return out_of_order;
}

bool import_sort(struct import *import, struct kml_error *error)
{
	uint64_t count = import->events.count;
	uint64_t out_of_order = count_out_of_order(import);

	if (out_of_order == 0)
		return true;
	import_count(import, KMT_QUIRK_OUT_OF_ORDER, out_of_order);
	struct stored_event *from = import->events.items;
	struct stored_event *to = malloc(count * sizeof(*to));
	if (to == NULL)
		return kml_fail(error, "out of memory while sorting %llu events", (unsigned long long)count);
	for (uint64_t width = 1; width < count; width *= 2) {
		for (uint64_t begin = 0; begin < count; begin += 2 * width) {
			uint64_t middle = begin + width < count ? begin + width : count;
			uint64_t end = begin + 2 * width < count ? begin + 2 * width : count;
			merge(from, to, begin, middle, end);
		}
		struct stored_event *sorted = to;
		to = from;
		from = sorted;
	}
	free(to);
	import->events.items = from;
	import->events.capacity = (uint32_t)count;
	return true;
}
