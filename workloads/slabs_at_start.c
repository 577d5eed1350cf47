/* slabs_at_start.c - see slabs_at_start.h. */
#include "workloads/slabs_at_start.h"

#include <stdlib.h>

enum { ORDERS_OF_A_KERNEL = 32 }; /* far more than any has; a larger one is damage */

bool slabs_at_start_init(struct slabs_at_start *slabs, const struct kmt_cache *caches, uint32_t cache_count)
{
	*slabs = (struct slabs_at_start){.caches = caches, .added = calloc(cache_count + 1u, sizeof *slabs->added)};
	return slabs->added;
}

void slabs_at_start_free(struct slabs_at_start *slabs)
{
	free(slabs->added);
	*slabs = (struct slabs_at_start){0};
}

/* Warm slab pages were there at the start. A slab of a smaller order than usual still is one slab. */
void slabs_at_start_event(struct slabs_at_start *slabs, const struct kmt_event *event)
{
	bool taken = event->op == KMT_PAGE_ALLOC, given = event->op == KMT_PAGE_FREE;
	if (slabs->slabinfo_seen || !(taken || given) || !(event->flags & KMT_SLAB_PAGE) || (event->flags & KMT_WARM) ||
	    event->cache == KMT_NO_CACHE)
		return;
	if (slabs->caches[event->cache].pages_per_slab > 0 && event->order < ORDERS_OF_A_KERNEL)
		slabs->added[event->cache] += taken ? 1 : -1;
}

void slabs_at_start_snapshot(struct slabs_at_start *slabs, const struct kmt_snapshot *snapshot)
{
	slabs->slabinfo_seen |= snapshot->kind == KMT_SNAPSHOT_SLABINFO;
}

uint64_t slabs_at_start_of(const struct slabs_at_start *slabs, uint32_t cache)
{
	int64_t first = (int64_t)slabs->caches[cache].slabs_at_start;
	int64_t before = slabs->slabinfo_seen ? first - slabs->added[cache] : first;
	return before > 0 ? (uint64_t)before : 0;
}
