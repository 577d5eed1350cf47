/*
 * fidelity_reasons.c - why a cache's prediction is off, by the evidence of trace and snapshots.
 *
 * The tests stand in the order of their force: what makes a right prediction impossible first, what the numbers merely
 * allow last. The first that holds is the reason; it is a likely one, not a proof.
 */
#include "workloads/fidelity_reasons.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct suspect {
	struct fidelity_cache *cache;
	struct fidelity_point point; /* where it is farthest off */
	uint64_t error_pages;
	uint64_t error_slabs;
	bool too_many;
	uint32_t cpu_count;
};

__attribute__((format(printf, 2, 3))) static bool say(const struct suspect *suspect, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(suspect->cache->reason, sizeof suspect->cache->reason, format, arguments);
	va_end(arguments);
	return true;
}

/* The stack, or the trace, does not know the cache at all. */
static bool is_unknown(const struct suspect *suspect)
{
	const struct fidelity_cache *cache = suspect->cache;
	if (!cache->in_slabinfo)
		return say(suspect, "a cache of the stack that the kernel's slabinfo does not have");
	if (cache->evidence.events == 0)
		return say(suspect, "no event of its objects: its slabs of the first snapshot are kept");
	if (!cache->in_stack)
		return say(suspect, "the stack has no cache of this name: merged into another");
	return false;
}

static bool has_other_geometry(const struct suspect *suspect)
{
	const struct fidelity_cache *cache = suspect->cache;
	if (cache->objects_per_slab == 0 || cache->predicted_objects_per_slab == 0)
		return false;
	if (cache->objects_per_slab == cache->predicted_objects_per_slab &&
	    cache->pages_per_slab == cache->predicted_pages_per_slab)
		return false;
	return say(suspect,
		   "other slabs: %" PRIu32 " objects on %" PRIu32 " pages, the kernel's %" PRIu32 " on %" PRIu32,
		   cache->predicted_objects_per_slab, cache->predicted_pages_per_slab, cache->objects_per_slab,
		   cache->pages_per_slab);
}

/* More live objects than the kernel's slabs hold: it freed some without a trace. */
static bool misses_frees(const struct suspect *suspect)
{
	uint64_t live = suspect->point.predicted_live;
	if (!suspect->too_many)
		return false;
	if (live > suspect->point.total_objects)
		return say(suspect,
			   "frees that left no trace: %" PRIu64 " objects live, %" PRIu64
			   " fit into the kernel's slabs (bulk or RCU frees)",
			   live, suspect->point.total_objects);
	if (suspect->cache->evidence.implicit_frees > 0 && live > suspect->point.active_objects)
		return say(suspect,
			   "implicit frees: %" PRIu64 " were proved only when the address was used again; %" PRIu64
			   " objects live, %" PRIu64 " active in the kernel",
			   suspect->cache->evidence.implicit_frees, live, suspect->point.active_objects);
	return false;
}

static bool fell_back(const struct suspect *suspect)
{
	if (suspect->cache->evidence.odd_slabs == 0)
		return false;
	return say(suspect,
		   "order fallback: the kernel took %" PRIu64
		   " slabs of another order, slabinfo counts them as of the usual one",
		   suspect->cache->evidence.odd_slabs);
}

static bool is_one_slab(const struct suspect *suspect)
{
	if (suspect->error_slabs > 1)
		return false;
	uint32_t pages = suspect->cache->pages_per_slab;
	return say(suspect, "one slab, of %" PRIu32 " page%s: less cannot be off", pages, pages == 1 ? "" : "s");
}

/* Free objects parked per cpu pin slabs: which, depends on when each cpu came by. */
static bool is_parked(const struct suspect *suspect)
{
	const struct fidelity_point *point = &suspect->point;
	if (point->predicted_active <= point->predicted_live || suspect->cache->objects_per_slab == 0)
		return false;
	uint64_t parked = point->predicted_active - point->predicted_live;
	uint64_t slabs = (parked + suspect->cache->objects_per_slab - 1) / suspect->cache->objects_per_slab;
	if (suspect->error_slabs > slabs + suspect->cpu_count)
		return false;
	return say(suspect,
		   "per-cpu lists: %" PRIu64 " free objects are parked on %" PRIu32 " cpus, room for the %" PRIu64
		   " slabs",
		   parked, suspect->cpu_count, suspect->error_slabs);
}

static bool is_unseen(const struct suspect *suspect)
{
	const struct fidelity_evidence *evidence = &suspect->cache->evidence;
	if (evidence->unseen == 0)
		return false;
	return say(suspect,
		   "start in mid-life: of %" PRIu64 " objects then live, %" PRIu64
		   " are known by their count alone, not by place",
		   evidence->warm, evidence->unseen);
}

static bool misses_allocations(const struct suspect *suspect)
{
	if (suspect->too_many || suspect->point.predicted_active >= suspect->point.active_objects)
		return false;
	return say(suspect,
		   "allocations that left no trace, or objects parked in the kernel: %" PRIu64 " active here, %" PRIu64
		   " there",
		   suspect->point.predicted_active, suspect->point.active_objects);
}

void fidelity_explain(struct fidelity *fidelity, uint32_t index, uint32_t cpu_count)
{
	struct fidelity_cache *cache = &fidelity->caches[index];
	if (cache->sums.error == 0 || fidelity->scale != FIDELITY_SLABINFO)
		return;
	uint64_t pages = (uint64_t)llabs(cache->worst_error_pages);
	uint64_t per_slab = cache->pages_per_slab ? cache->pages_per_slab : 1;
	struct suspect suspect = {
		.cache = cache,
		.point = fidelity_point(&fidelity->moments[cache->worst_moment], index),
		.error_pages = pages,
		.error_slabs = (pages + per_slab - 1) / per_slab,
		.too_many = cache->worst_error_pages > 0,
		.cpu_count = cpu_count,
	};
	if (is_unknown(&suspect) || has_other_geometry(&suspect) || misses_frees(&suspect) || fell_back(&suspect) ||
	    is_one_slab(&suspect) || is_parked(&suspect) || is_unseen(&suspect) || misses_allocations(&suspect))
		return;
	say(&suspect, "placement: the same %" PRIu64 " live objects on %" PRIu64 " slabs, the kernel's on %" PRIu64,
	    suspect.point.predicted_live, suspect.point.predicted_slabs, suspect.point.actual_slabs);
}
