/*
 * shadow.c - the shadow model. See shadow.h.
 *
 * Invariant: `by_address` and `starts` hold the same addresses, those of the live blocks, and the blocks are disjoint;
 * so the only block that can overlap [a, b) is the last one that starts below b.
 *
 * Contents: an owner writes a pattern made from its block's number: all of a small block, head and tail of a large
 * one (writes that stray into a block stray over its ends first). It is written and compared by words of 64 bits, each
 * a constant more than the last, so that a program of a hundred operations spends a few microseconds on it.
 */
#include "allocators/check/shadow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/check/ordered_set.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/poison.h"
#include "kmemlab/support/random.h"

#define PATTERN_WHOLE_BYTES 512u /* blocks up to this size are filled whole */
#define PATTERN_EDGE_BYTES 128u  /* larger ones: this much at each end */

#define POOL_START_BLOCKS 64u

/* One of the pool. Not in use: granted_bytes is 0, and id the next that is not. */
struct kml_live_block {
	struct kml_live live;
	uint64_t id;
};

/* Addresses that a block may have: the arena's, and its window's where areas of vmalloc lie. */
static uint64_t address_limit(const struct kml_arena *arena)
{
	return arena->window_bytes > 0 ? arena->window_address + arena->window_bytes : arena->size_bytes;
}

/*
 * One shadow is kept for the next, with its tables if they are small: a fuzzer makes thousands a second. Of a kept one
 * no block is live, so its tables are empty.
 */
enum { KEPT_BLOCKS_MAX = 4096, KEPT_LIMIT_MAX = 1 << 22 };
static struct kml_shadow *kept;

static void free_shadow(struct kml_shadow *shadow)
{
	kml_hashmap_free(&shadow->by_address);
	kml_ordered_set_destroy(shadow->starts);
	free(shadow->pool);
	free(shadow);
}

/* Nothing in it but room. */
static struct kml_shadow *new_shadow(void)
{
	struct kml_shadow *shadow = kept;
	kept = NULL;
	if (shadow == NULL)
		return calloc(1, sizeof(*shadow));
	const struct kml_shadow tables = {.pool = shadow->pool,
					  .pool_room = shadow->pool_room,
					  .by_address = shadow->by_address,
					  .starts = shadow->starts,
					  .starts_limit = shadow->starts_limit};
	*shadow = tables;
	return shadow;
}

static bool make_room_below(struct kml_shadow *shadow, uint64_t limit)
{
	if (shadow->starts != NULL && limit <= shadow->starts_limit)
		return true;
	kml_ordered_set_destroy(shadow->starts);
	shadow->starts_limit = limit;
	shadow->starts = kml_ordered_set_create(limit);
	return shadow->starts != NULL;
}

struct kml_shadow *kml_shadow_create(const struct kml_stack *stack, const struct kml_arena *arena,
				     struct kml_error *error)
{
	struct kml_shadow *shadow = new_shadow();
	if (shadow == NULL || !make_room_below(shadow, address_limit(arena))) {
		if (shadow != NULL)
			free_shadow(shadow);
		kml_fail(error, "no memory for a shadow of an arena of %" PRIu64 " bytes; use a smaller arena",
			 arena->size_bytes);
		return NULL;
	}
	shadow->heap = kml_stack_top(stack);
	shadow->backing = stack->layer_count > 1 ? stack->layer[1] : NULL;
	shadow->arena = arena;
	shadow->traits = shadow->heap->allocator->traits;
	shadow->smallest_granted_bytes = UINT64_MAX;
	shadow->area_count_at_start = shadow->heap->allocator->free_areas(shadow->heap, shadow->areas_at_start);
	struct kml_stats stats;
	shadow->heap->allocator->stats(shadow->heap, &stats);
	const struct kml_heap *lowest = shadow->backing != NULL ? shadow->backing : shadow->heap;
	shadow->starts_empty = lowest->allocator->page_add != NULL && stats.free_bytes == 0 && stats.held_bytes == 0;
	return shadow;
}

void kml_shadow_destroy(struct kml_shadow *shadow)
{
	if (shadow == NULL)
		return;
	bool is_small = shadow->pool_room <= KEPT_BLOCKS_MAX && shadow->starts_limit <= KEPT_LIMIT_MAX;
	if (kept == NULL && is_small && shadow->live_blocks == 0)
		kept = shadow;
	else
		free_shadow(shadow);
}

static bool keeps_nothing(const struct kml_shadow *shadow)
{
	return (shadow->traits & KML_TRAIT_NO_REUSE) != 0;
}

static struct kml_live_block *find_block(const struct kml_shadow *shadow, uint64_t address)
{
	uint32_t index = kml_hashmap_get(&shadow->by_address, address);
	return index == KML_HASHMAP_NONE ? NULL : &shadow->pool[index];
}

/* The live block that the byte at `address` or a lower one starts, nearest first. */
static struct kml_live_block *last_block_from(const struct kml_shadow *shadow, uint64_t address)
{
	uint64_t start = kml_ordered_set_previous(shadow->starts, address);
	return start == KML_NONE ? NULL : find_block(shadow, start);
}

/* ------------------------------------------------------------------------------------------------- contents */

static bool has_contents(const struct kml_shadow *shadow)
{
	return shadow->arena->base != NULL && (shadow->traits & KML_TRAIT_NO_MEMORY) == 0;
}

/* A part of a block that carries the pattern. */
struct span {
	uint64_t offset, size_bytes;
	uint64_t word; /* the first; each next one is RANDOM_STEP more */
};
#define SPANS_MAX 2u

/* The pattern of block `id`: all of a small block, both ends of a large one. */
static uint32_t pattern_spans(uint64_t id, uint64_t block_bytes, struct span spans[SPANS_MAX])
{
	spans[0] = (struct span){.size_bytes = block_bytes, .word = random_mix((id + 1) * RANDOM_STEP)};
	if (block_bytes <= PATTERN_WHOLE_BYTES)
		return 1;
	spans[0].size_bytes = PATTERN_EDGE_BYTES;
	spans[1] = (struct span){
		.offset = block_bytes - PATTERN_EDGE_BYTES, .size_bytes = PATTERN_EDGE_BYTES, .word = ~spans[0].word};
	return 2;
}

static void fill(uint8_t *memory, uint64_t size_bytes, uint64_t word)
{
	uint64_t i = 0;
	for (; i + sizeof(word) <= size_bytes; i += sizeof(word), word += RANDOM_STEP)
		memcpy(memory + i, &word, sizeof(word));
	if (i < size_bytes)
		memcpy(memory + i, &word, size_bytes - i);
}

/* Is the memory what fill() writes, with `step` from word to word? */
static inline bool is_filled(const uint8_t *memory, uint64_t size_bytes, uint64_t word, uint64_t step)
{
	uint64_t wrong = 0, i = 0, found;
	for (; i + sizeof(word) <= size_bytes; i += sizeof(word), word += step) {
		memcpy(&found, memory + i, sizeof(found));
		wrong |= found ^ word;
	}
	found = word;
	if (i < size_bytes)
		memcpy(&found, memory + i, size_bytes - i);
	return (wrong | (found ^ word)) == 0;
}

static void write_pattern(const struct kml_shadow *shadow, const struct kml_live_block *block)
{
	if (!has_contents(shadow))
		return;
	struct span spans[SPANS_MAX];
	uint32_t count = pattern_spans(block->id, block->live.granted_bytes, spans);
	for (uint32_t i = 0; i < count; i++)
		fill(shadow->arena->base + block->live.address + spans[i].offset, spans[i].size_bytes, spans[i].word);
}

/* The first byte of a span that is not what was written. */
static void report_contents(struct kml_shadow *shadow, const struct kml_live_block *block, const struct span *span)
{
	const uint8_t *memory = shadow->arena->base + block->live.address + span->offset;
	uint8_t expected[PATTERN_WHOLE_BYTES];
	fill(expected, span->size_bytes, span->word);
	uint64_t i = 0;
	while (memory[i] == expected[i])
		i++;
	kml_reports_add(&shadow->reports, KML_INVARIANT_CONTENTS,
			"byte %" PRIu64 " of the live block at %" PRIu64 " (%" PRIu64
			" bytes) reads 0x%02x, its owner wrote 0x%02x",
			span->offset + i, block->live.address, block->live.granted_bytes, memory[i], expected[i]);
}

/* Reported once: the pattern is written anew. */
static void check_pattern(struct kml_shadow *shadow, const struct kml_live_block *block)
{
	if (!has_contents(shadow))
		return;
	const uint8_t *memory = shadow->arena->base + block->live.address;
	struct span spans[SPANS_MAX];
	uint32_t count = pattern_spans(block->id, block->live.granted_bytes, spans);
	for (uint32_t i = 0; i < count; i++) {
		if (is_filled(memory + spans[i].offset, spans[i].size_bytes, spans[i].word, RANDOM_STEP))
			continue;
		report_contents(shadow, block, &spans[i]);
		write_pattern(shadow, block);
		return;
	}
}

static void check_zeroed(struct kml_shadow *shadow, const struct kml_request *request, uint64_t address)
{
	if (!has_contents(shadow) || (request->flags & KML_ZEROED) == 0)
		return;
	struct span spans[SPANS_MAX];
	uint32_t count = pattern_spans(0, request->size_bytes, spans);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *memory = shadow->arena->base + address + spans[i].offset;
		if (is_filled(memory, spans[i].size_bytes, 0, 0))
			continue;
		uint64_t at = 0;
		while (memory[at] == 0)
			at++;
		kml_reports_add(&shadow->reports, KML_INVARIANT_ZEROED,
				"byte %" PRIu64 " of the zeroed block at %" PRIu64 " reads 0x%02x",
				spans[i].offset + at, address, memory[at]);
		return;
	}
}

void kml_shadow_check_contents(struct kml_shadow *shadow)
{
	for (uint32_t i = 0; i < shadow->pool_used; i++)
		if (shadow->pool[i].live.granted_bytes != 0)
			check_pattern(shadow, &shadow->pool[i]);
}

/* ------------------------------------------------------------------------------------------------- counters */

/* After each call. Each lie breaks one report only: the sums use the shadow's and the arena's own figures. */
static void check_counters(struct kml_shadow *shadow)
{
	if (keeps_nothing(shadow))
		return;
	struct kml_stats stats;
	shadow->heap->allocator->stats(shadow->heap, &stats);

	if (stats.granted_bytes != shadow->granted_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_GRANTED_BYTES,
				"stats say %" PRIu64 ", the %" PRIu64 " live blocks have %" PRIu64, stats.granted_bytes,
				shadow->live_blocks, shadow->granted_bytes);
	/* What the recorded kernel held is what was recorded, not what the arena shows of it. */
	uint64_t held_bytes = shadow->traits & KML_TRAIT_RECORDED ? stats.held_bytes : shadow->arena->held_bytes;
	if (stats.held_bytes != held_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_HELD_BYTES, "stats say %" PRIu64 ", the arena %" PRIu64,
				stats.held_bytes, held_bytes);

	uint64_t waste_bytes = 0;
	for (unsigned kind = 0; kind < KML_WASTE_KINDS; kind++)
		waste_bytes += stats.waste_bytes[kind];
	if (shadow->granted_bytes + waste_bytes != held_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_WASTE,
				"requested %" PRIu64 " + rounding %" PRIu64 " + waste in the allocator %" PRIu64
				" is not held %" PRIu64,
				shadow->requested_bytes, shadow->granted_bytes - shadow->requested_bytes, waste_bytes,
				held_bytes);
	if (stats.free_bytes > shadow->arena->size_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_FREE_BYTES, "%" PRIu64 " free in an arena of %" PRIu64,
				stats.free_bytes, shadow->arena->size_bytes);
	else if (stats.largest_free_bytes > stats.free_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_LARGEST_FREE,
				"largest %" PRIu64 " of %" PRIu64 " free bytes", stats.largest_free_bytes,
				stats.free_bytes);
}

/* ---------------------------------------------------------------------------------------------------- alloc */

/* Where a request of this kind may be granted. */
static bool fits_its_place(const struct kml_shadow *shadow, uint16_t flags, const struct kml_grant *grant)
{
	return kml_arena_has(shadow->arena, grant->address, grant->granted_bytes) ||
	       ((flags & KML_VMALLOC) && kml_arena_window_has(shadow->arena, grant->address, grant->granted_bytes));
}

/* A failure must be one of the three, grant nothing, and have its cause. */
static void check_failure(struct kml_shadow *shadow, const struct kml_request *request, const struct kml_grant *grant)
{
	struct kml_reports *reports = &shadow->reports;
	const char *status = kml_status_name(grant->status);
	if (grant->status == KML_POISON) {
		kml_reports_add(reports, KML_INVARIANT_CONTENTS,
				"the object for %" PRIu64 " bytes was written to while it was free (\"%s\")",
				request->size_bytes, status);
		return;
	}
	if (grant->status != KML_NO_MEMORY && grant->status != KML_NO_RUN && grant->status != KML_IMPOSSIBLE) {
		kml_reports_add(reports, KML_INVARIANT_STATUS, "alloc answered \"%s\" (%d)", status,
				(int)grant->status);
		return;
	}
	if (grant->address != KML_NO_ADDRESS || grant->granted_bytes != 0) {
		kml_reports_add(reports, KML_INVARIANT_STATUS,
				"alloc answered \"%s\" with address %" PRIu64 " and %" PRIu64 " granted bytes", status,
				grant->address, grant->granted_bytes);
		return;
	}
	/* Only a PAGES allocator's free blocks answer its requests as they are. */
	if (grant->status == KML_IMPOSSIBLE || shadow->heap->allocator->layer != KML_LAYER_PAGES ||
	    keeps_nothing(shadow))
		return;

	struct kml_stats stats;
	shadow->heap->allocator->stats(shadow->heap, &stats);
	bool may_refuse = (shadow->traits & (KML_TRAIT_MAY_WASTE_RUNS | KML_TRAIT_RECORDED)) != 0;
	if (!may_refuse && request->align_bytes <= 1 && stats.largest_free_bytes >= request->size_bytes)
		kml_reports_add(reports, KML_INVARIANT_FALSE_FAILURE,
				"%" PRIu64 " bytes refused (\"%s\") while a block of %" PRIu64 " is free",
				request->size_bytes, status, stats.largest_free_bytes);
	else if (!may_refuse && grant->status == KML_NO_RUN && stats.free_bytes < request->size_bytes)
		kml_reports_add(reports, KML_INVARIANT_STATUS,
				"%" PRIu64 " bytes refused as \"%s\" while only %" PRIu64 " are free",
				request->size_bytes, status, stats.free_bytes);
}

/* False when the block cannot be taken for live. */
static bool check_place(struct kml_shadow *shadow, uint16_t flags, const struct kml_grant *grant)
{
	if (grant->granted_bytes == 0 || !fits_its_place(shadow, flags, grant)) {
		kml_reports_add(&shadow->reports, KML_INVARIANT_INSIDE,
				"block at %" PRIu64 " of %" PRIu64 " bytes in an arena of %" PRIu64, grant->address,
				grant->granted_bytes, shadow->arena->size_bytes);
		return false;
	}
	if (keeps_nothing(shadow))
		return true;

	const struct kml_live_block *below = last_block_from(shadow, grant->address + grant->granted_bytes - 1);
	if (below != NULL && below->live.address + below->live.granted_bytes > grant->address) {
		kml_reports_add(&shadow->reports, KML_INVARIANT_OVERLAP,
				"block at %" PRIu64 " of %" PRIu64 " bytes meets the live block at %" PRIu64
				" of %" PRIu64 " bytes",
				grant->address, grant->granted_bytes, below->live.address, below->live.granted_bytes);
		return false;
	}
	if (has_contents(shadow) && kml_is_poisoned(shadow->arena->base + grant->address, grant->granted_bytes)) {
		kml_reports_add(&shadow->reports, KML_INVARIANT_INSIDE,
				"block at %" PRIu64 " of %" PRIu64
				" bytes lies in memory that was not taken from the arena",
				grant->address, grant->granted_bytes);
		return false;
	}
	return true;
}

static void check_size(struct kml_shadow *shadow, const struct kml_request *request, const struct kml_grant *grant)
{
	if (request->align_bytes > 1 && grant->address % request->align_bytes != 0)
		kml_reports_add(&shadow->reports, KML_INVARIANT_ALIGNMENT,
				"address %" PRIu64 " for an alignment of %" PRIu64, grant->address,
				request->align_bytes);
	if (grant->granted_bytes < request->size_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_SHORT_GRANT,
				"%" PRIu64 " bytes for a request of %" PRIu64, grant->granted_bytes,
				request->size_bytes);
	if (keeps_nothing(shadow))
		return;
	uint64_t usable = shadow->heap->allocator->usable(shadow->heap, grant->address);
	if (usable != grant->granted_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_USABLE,
				"usable(%" PRIu64 ") is %" PRIu64 ", %" PRIu64 " were granted", grant->address, usable,
				grant->granted_bytes);
}

/* A record that is not in use, by its place in the pool. */
static uint32_t new_record(struct kml_shadow *shadow)
{
	if (shadow->live_blocks < shadow->pool_used) {
		uint32_t index = (uint32_t)shadow->pool_free;
		shadow->pool_free = shadow->pool[index].id;
		return index;
	}
	if (shadow->pool_used == shadow->pool_room) {
		uint32_t room = shadow->pool_room == 0 ? POOL_START_BLOCKS : shadow->pool_room * 2;
		struct kml_live_block *pool = NULL;
		if (room > shadow->pool_room)
			pool = realloc(shadow->pool, room * sizeof(*pool));
		KML_CHECK(pool != NULL, "no memory for the shadow's %" PRIu64 "th block", shadow->live_blocks);
		shadow->pool = pool;
		shadow->pool_room = room;
	}
	return shadow->pool_used++;
}

static void record_block(struct kml_shadow *shadow, const struct kml_request *request, const struct kml_grant *grant)
{
	uint32_t index = new_record(shadow);
	struct kml_live_block *block = &shadow->pool[index];
	block->live = (struct kml_live){.address = grant->address,
					.requested_bytes = request->size_bytes,
					.granted_bytes = grant->granted_bytes,
					.cache = request->cache};
	block->id = shadow->next_id++;
	bool indexed = kml_hashmap_set(&shadow->by_address, grant->address, index);
	KML_CHECK(indexed, "no memory to index the shadow's %" PRIu64 "th block", shadow->live_blocks);
	kml_ordered_set_add(shadow->starts, grant->address);

	shadow->live_blocks++;
	shadow->requested_bytes += request->size_bytes;
	shadow->granted_bytes += grant->granted_bytes;
	/* What is granted of a block behind padding may be less than a unit. */
	if (request->align_bytes <= 1 && grant->granted_bytes < shadow->smallest_granted_bytes)
		shadow->smallest_granted_bytes = grant->granted_bytes;
	write_pattern(shadow, block);
}

struct kml_grant kml_shadow_alloc(struct kml_shadow *shadow, const struct kml_request *request)
{
	struct kml_grant grant = shadow->heap->allocator->alloc(shadow->heap, request);
	if (grant.status != KML_OK) {
		check_failure(shadow, request, &grant);
	} else if (check_place(shadow, request->flags, &grant)) {
		check_size(shadow, request, &grant);
		if (!keeps_nothing(shadow)) {
			check_zeroed(shadow, request, grant.address);
			record_block(shadow, request, &grant);
		}
	}
	check_counters(shadow);
	return grant;
}

/* ----------------------------------------------------------------------------------------------------- free */

static void forget_block(struct kml_shadow *shadow, struct kml_live_block *block)
{
	kml_ordered_set_remove(shadow->starts, block->live.address);
	kml_hashmap_remove(&shadow->by_address, block->live.address);
	shadow->live_blocks--;
	shadow->requested_bytes -= block->live.requested_bytes;
	shadow->granted_bytes -= block->live.granted_bytes;
	block->live.granted_bytes = 0;
	block->id = shadow->pool_free;
	shadow->pool_free = (uint64_t)(block - shadow->pool);
}

/* A free that must not be obeyed: is it named for what it is? */
static bool names_misuse(const struct kml_shadow *shadow, uint64_t address, enum kml_status status)
{
	if (!kml_arena_has(shadow->arena, address, 1) && !kml_arena_window_has(shadow->arena, address, 1))
		return status == KML_FOREIGN;
	const struct kml_live_block *below = last_block_from(shadow, address);
	if (below != NULL && below->live.address + below->live.granted_bytes > address)
		return status == KML_INTERIOR;
	/* Free memory, handed out before or never, or an allocator's own pages: it cannot always tell. */
	return status == KML_DOUBLE_FREE || status == KML_FOREIGN || status == KML_INTERIOR;
}

static bool is_wrong_cache(const struct kml_shadow *shadow, const struct kml_live_block *block, uint32_t cache)
{
	bool has_caches = shadow->heap->allocator->cache_open != NULL;
	return has_caches && cache != KML_NO_CACHE && cache != block->live.cache;
}

/* An index without figures: of a cache that is merged into another, closed, or never opened. */
static bool has_no_figures(const struct kml_heap *heap, uint32_t cache)
{
	struct kml_cache_stats stats = {0};
	if (heap->allocator->cache_stats == NULL || cache == KML_NO_CACHE)
		return false;
	return heap->allocator->cache_stats(heap, cache, &stats) && stats.name == NULL;
}

bool kml_shadow_may_be_merged(const struct kml_heap *heap, uint32_t cache, uint32_t other)
{
	return has_no_figures(heap, cache) || has_no_figures(heap, other);
}

static bool is_expected(const struct kml_shadow *shadow, const struct kml_live_block *block, uint32_t cache,
			enum kml_status status)
{
	if (!is_wrong_cache(shadow, block, cache))
		return status == KML_OK;
	bool may_be_merged = kml_shadow_may_be_merged(shadow->heap, cache, block->live.cache);
	return status == KML_WRONG_CACHE || (status == KML_OK && may_be_merged);
}

static enum kml_status free_live(struct kml_shadow *shadow, struct kml_live_block *block,
				 const struct kml_release *release)
{
	bool is_wrong = is_wrong_cache(shadow, block, release->cache);
	if (!is_wrong)
		check_pattern(shadow, block);

	enum kml_status status = shadow->heap->allocator->free(shadow->heap, release);
	if (status == KML_RED_ZONE)
		kml_reports_add(&shadow->reports, KML_INVARIANT_CONTENTS,
				"bytes around the live block at %" PRIu64 " (%" PRIu64
				" bytes) were overwritten (\"%s\")",
				release->address, block->live.granted_bytes, kml_status_name(status));
	else if (!is_expected(shadow, block, release->cache, status))
		kml_reports_add(&shadow->reports, KML_INVARIANT_STATUS,
				"free of the live block at %" PRIu64 " answered \"%s\" (%d), not \"%s\"",
				release->address, kml_status_name(status), (int)status,
				kml_status_name(is_wrong ? KML_WRONG_CACHE : KML_OK));
	if (status != KML_OK)
		return status;

	forget_block(shadow, block);
	uint64_t usable = shadow->heap->allocator->usable(shadow->heap, release->address);
	if (usable != 0)
		kml_reports_add(&shadow->reports, KML_INVARIANT_USABLE,
				"usable(%" PRIu64 ") is %" PRIu64 " after its free", release->address, usable);
	return status;
}

enum kml_status kml_shadow_free(struct kml_shadow *shadow, const struct kml_release *release)
{
	if (keeps_nothing(shadow))
		return shadow->heap->allocator->free(shadow->heap, release);

	enum kml_status status;
	struct kml_live_block *block = find_block(shadow, release->address);
	if (block != NULL) {
		status = free_live(shadow, block, release);
	} else {
		status = shadow->heap->allocator->free(shadow->heap, release);
		if (!names_misuse(shadow, release->address, status))
			kml_reports_add(&shadow->reports, KML_INVARIANT_STATUS,
					"free of %" PRIu64 ", which starts no live block, answered \"%s\" (%d)",
					release->address, kml_status_name(status), (int)status);
	}
	check_counters(shadow);
	return status;
}

/* -------------------------------------------------------------------------------------------------- queries */

bool kml_shadow_ok(const struct kml_shadow *shadow, struct kml_error *error)
{
	if (shadow->reports.count == 0)
		return true;
	return kml_fail(error, "%s", shadow->reports.first.text);
}

bool kml_shadow_next(const struct kml_shadow *shadow, uint64_t address, struct kml_live *live)
{
	uint64_t start = kml_ordered_set_next(shadow->starts, address);
	if (start == KML_NONE)
		return false;
	*live = find_block(shadow, start)->live;
	return true;
}
