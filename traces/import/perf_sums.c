/*
 * perf_sums.c - the figures of `perf kmem stat` over the same events (tools/perf/builtin-kmem.c).
 *
 * perf adds the bytes of every allocation event, failed ones included. It keeps the size last allocated at a pointer
 * for ever, so every free of a pointer that was ever allocated counts as freed, a second one in a row too.
 */
#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

bool import_perf_sums(struct import *import, struct kml_error *error)
{
	struct kml_hashmap last_alloc = {0};
	struct kmt_totals *totals = &import->totals;

	for (uint32_t i = 0; i < import->events.count; i++) {
		const struct stored_event *event = &import->events.items[i];

		if (event->kind == RAW_CACHE_ALLOC || event->kind == RAW_KMALLOC) {
			totals->perf_requested_bytes += event->bytes_requested;
			totals->perf_allocated_bytes += event->bytes_allocated;
			totals->perf_allocations++;
			totals->perf_cross_cpu += event->cross_node;
			if (!kml_hashmap_set(&last_alloc, event->place, i)) {
				kml_hashmap_free(&last_alloc);
				return kml_fail(error, "out of memory");
			}
		} else if (event->kind == RAW_CACHE_FREE || event->kind == RAW_KFREE) {
			uint32_t alloc = kml_hashmap_get(&last_alloc, event->place);
			if (alloc != KML_HASHMAP_NONE)
				totals->perf_freed_bytes += import->events.items[alloc].bytes_allocated;
		}
	}
	kml_hashmap_free(&last_alloc);
	return true;
}
