/*
 * shadow.h - the shadow model: what an allocator must have done, told from its calls alone.
 *
 * One model for tests, fuzzers and `replay --check`. It makes each call through the ABI, keeps every live block in
 * address order and compares after each call: the block is disjoint from all others, aligned, inside the arena (an area
 * of vmalloc: or its window) and big enough; usable() agrees; contents are kept from alloc to free and zeroed when
 * asked; granted, held and waste counters add up; a failure has a cause; misuse is named.
 *
 * What cannot be asked of an allocator is told by its traits: NO_MEMORY has no contents, NO_REUSE keeps nothing,
 * MAY_WASTE_RUNS may refuse, RECORDED fails where the recorded address is not to be had and holds what was recorded.
 *
 * Cost: O(log arena) time per call; one record per live block and a lazily touched bitmap of the arena.
 */
#ifndef KMEMLAB_CHECK_SHADOW_H
#define KMEMLAB_CHECK_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/check/report.h"
#include "allocators/registry.h"
#include "kmemlab/support/hashmap.h"

struct kml_live_block;
struct kml_ordered_set;

/* Read-only to its users. */
struct kml_shadow {
	struct kml_heap *heap;    /* top of the stack: the one callers use */
	struct kml_heap *backing; /* the PAGES layer below it, or NULL */
	const struct kml_arena *arena;
	uint32_t traits; /* of the top */

	struct kml_live_block *pool;    /* live blocks and room for more */
	uint64_t pool_free;             /* the first record of the pool that a free left */
	uint32_t pool_used, pool_room;  /* ever used; allocated */
	struct kml_hashmap by_address;  /* of the live blocks: their places in the pool */
	struct kml_ordered_set *starts; /* addresses of live blocks */
	uint64_t starts_limit;          /* they are below this */
	uint64_t live_blocks, requested_bytes, granted_bytes;
	uint64_t smallest_granted_bytes; /* of requests without alignment; UINT64_MAX before the first */
	uint64_t next_id;

	/* How the arena looked when the shadow was made; the stack must be new. */
	struct kml_free_area areas_at_start[KML_FREE_AREAS_MAX];
	uint32_t area_count_at_start;
	bool starts_empty;      /* it had no memory: all of it comes by page_add, and never goes */
	uint64_t managed_bytes; /* the most that a walk of the page layer showed */

	struct kml_reports reports;
};

/*
 * A shadow of a newly created stack in its arena; both are borrowed and outlive it. NULL and *error without memory.
 * From here on every alloc and free must go through the shadow; cache_open, shrink and drain are called directly.
 */
struct kml_shadow *kml_shadow_create(const struct kml_stack *stack, const struct kml_arena *arena,
				     struct kml_error *error);
void kml_shadow_destroy(struct kml_shadow *shadow);

/* The allocator's alloc, checked. A block that breaks `inside` or `overlap` is reported and not taken for live. */
struct kml_grant kml_shadow_alloc(struct kml_shadow *shadow, const struct kml_request *request);
/* The allocator's free, checked; also for deliberate misuse, whose answer is checked too. */
enum kml_status kml_shadow_free(struct kml_shadow *shadow, const struct kml_release *release);

/*
 * Whether an object of one of these caches may be freed into the other: the other name of a merged cache is as good as
 * its own, and one of the two has no figures then. O(1).
 */
bool kml_shadow_may_be_merged(const struct kml_heap *heap, uint32_t cache, uint32_t other);

/* True while nothing is reported; else false and *error (may be NULL) is the first report. */
bool kml_shadow_ok(const struct kml_shadow *shadow, struct kml_error *error);

/* ----------------------------------------------------------------------------- for the deep checks (invariants.c) */

struct kml_live {
	uint64_t address, requested_bytes, granted_bytes;
	uint32_t cache;
};
/* The live block with the lowest address >= `address`; false when there is none. */
bool kml_shadow_next(const struct kml_shadow *shadow, uint64_t address, struct kml_live *live);
/* Compare the contents of every live block with what was written at its alloc. O(live blocks). */
void kml_shadow_check_contents(struct kml_shadow *shadow);

#endif
