/*
 * slabs_at_start.h - how many slabs each cache had when the recording began.
 *
 * The first slabinfo of a trace counts them at its own moment: less the slabs that the trace took, more those it gave
 * back between the start and that snapshot. A capture from boot comes out with none.
 */
#ifndef KMEMLAB_SLABS_AT_START_H
#define KMEMLAB_SLABS_AT_START_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/kmt/kmt.h"

struct slabs_at_start {
	const struct kmt_cache *caches; /* of the trace */
	int64_t *added;                 /* by cache, until the first slabinfo; owned */
	bool slabinfo_seen;
};

/* False without memory. Freed in either case. */
bool slabs_at_start_init(struct slabs_at_start *slabs, const struct kmt_cache *caches, uint32_t cache_count);
void slabs_at_start_free(struct slabs_at_start *slabs);

/* Every event and every snapshot of the stream, in its order. O(1). */
void slabs_at_start_event(struct slabs_at_start *slabs, const struct kmt_event *event);
void slabs_at_start_snapshot(struct slabs_at_start *slabs, const struct kmt_snapshot *snapshot);

/* Of a cache, after the last of them. */
uint64_t slabs_at_start_of(const struct slabs_at_start *slabs, uint32_t cache);

#endif
