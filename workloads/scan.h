/*
 * scan.h - one pass over a trace, before any replay: what must be known beforehand.
 *
 * Cost: O(events) time, one word per object id, no allocator.
 */
#ifndef KMEMLAB_SCAN_H
#define KMEMLAB_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/kmt/kmt.h"
#include "workloads/replay.h"

/* What a trace tells of a cache first: one that is opened was closed at the start. */
enum replay_told { REPLAY_NOT_TOLD, REPLAY_OPENED_LATER, REPLAY_CLOSED_LATER };

struct replay_scan {
	uint64_t peak_requested_bytes[REPLAY_LEVELS];
	uint64_t peak_granted_bytes[REPLAY_LEVELS]; /* of the recorded kernel; requested where it is not recorded */
	uint64_t recorded_addresses;                /* allocations whose address the kernel's trace tells */
	uint64_t unplaced_bytes; /* granted by allocations whose address it does not tell, with room to align each */
	uint32_t cache_count;
	uint8_t *first_told;      /* by cache: enum replay_told; NULL: nothing is told of any */
	uint64_t *slabs_at_start; /* by cache: in the first slabinfo, less what the trace added before it; or NULL */
};

/* Whole trace, from its start. false and *error when it is damaged. The caller frees the scan. */
bool replay_scan(struct kmt_reader *reader, struct replay_scan *scan, struct kml_error *error);
/* Of the caches only: first_told. */
bool replay_scan_caches(struct kmt_reader *reader, struct replay_scan *scan, struct kml_error *error);
void replay_scan_free(struct replay_scan *scan);

/*
 * The arena that the trace was made for; else twice the recorded peak in whole 4 MiB (the largest block of a kernel
 * with 4 KiB pages), at least one.
 */
uint64_t replay_auto_arena(const struct kmt_origin *origin, uint64_t peak_granted_bytes);

/* replay_smallest_arena for a caller that has scanned the trace already. */
bool replay_smallest_arena_from(struct kmt_reader *reader, const struct kml_spec *spec,
				const struct replay_options *options, uint64_t peak_requested_bytes,
				uint64_t *arena_bytes, struct kml_error *error);

/* Bytes of the pages that serve a request of page level: page size << order. 0 when that is beyond 2^63. */
uint64_t replay_page_bytes(uint32_t page_bytes, uint64_t size_bytes);

/* Does the level feed this event as an allocation or free? Slab pages told apart are not fed at `all`. */
enum replay_kind { REPLAY_NOT_FED, REPLAY_OBJECT, REPLAY_PAGE };
static inline enum replay_kind replay_event_kind(enum replay_level level, const struct kmt_event *event)
{
	switch (event->op) {
	case KMT_ALLOC:
	case KMT_FREE:
		if (level != REPLAY_PAGES)
			return REPLAY_OBJECT;
		return event->flags & KMT_LARGE ? REPLAY_PAGE : REPLAY_NOT_FED;
	case KMT_PAGE_ALLOC:
	case KMT_PAGE_FREE:
		if (level == REPLAY_OBJECTS || (level == REPLAY_ALL && (event->flags & KMT_SLAB_PAGE)))
			return REPLAY_NOT_FED;
		return REPLAY_PAGE;
	default:
		return REPLAY_NOT_FED;
	}
}

/* Does anything come of the event at this level? Caches, shrinks and drains count: they change what the stack holds. */
bool replay_event_belongs(enum replay_level level, const struct kmt_event *event);

#endif
