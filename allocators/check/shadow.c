/*
 * shadow.c - the shadow model. See shadow.h.
 *
 * Invariant: `blocks` and `starts` hold the same addresses, and the blocks are disjoint; so the only block that can
 * overlap [a, b) is the last one that starts below b.
 *
 * Contents: an owner writes a pattern made from its block's number: all of a small block, head and tail of a large
 * one (writes that stray into a block stray over its ends first).
 */
#include "allocators/check/shadow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "allocators/check/ordered_set.h"
#include "kmemlab/support/error.h"

#define PATTERN_WHOLE_BYTES 512u /* blocks up to this size are filled whole */
#define PATTERN_EDGE_BYTES 128u  /* larger ones: this much at each end */

struct kml_live_block {
	struct kml_live live;
	uint64_t id;
	UT_hash_handle hh;
};

/* Addresses that a block may have: the arena's, and its window's where areas of vmalloc lie. */
static uint64_t address_limit(const struct kml_arena *arena)
{
	return arena->window_bytes > 0 ? arena->window_address + arena->window_bytes : arena->size_bytes;
}

struct kml_shadow *kml_shadow_create(const struct kml_stack *stack, const struct kml_arena *arena,
				     struct kml_error *error)
{
	struct kml_shadow *shadow = calloc(1, sizeof(*shadow));
	struct kml_ordered_set *starts = kml_ordered_set_create(address_limit(arena));
	if (shadow == NULL || starts == NULL) {
		free(shadow);
		kml_ordered_set_destroy(starts);
		kml_fail(error, "no memory for a shadow of an arena of %" PRIu64 " bytes; use a smaller arena",
			 arena->size_bytes);
		return NULL;
	}
	shadow->heap = kml_stack_top(stack);
	shadow->backing = stack->layer_count > 1 ? stack->layer[1] : NULL;
	shadow->arena = arena;
	shadow->traits = shadow->heap->allocator->traits;
	shadow->starts = starts;
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
	struct kml_live_block *block = shadow->blocks;
	HASH_CLEAR(hh, shadow->blocks);
	while (block != NULL) {
		struct kml_live_block *next = block->hh.next;
		free(block);
		block = next;
	}
	kml_ordered_set_destroy(shadow->starts);
	free(shadow);
}

static bool keeps_nothing(const struct kml_shadow *shadow)
{
	return (shadow->traits & KML_TRAIT_NO_REUSE) != 0;
}

static struct kml_live_block *find_block(const struct kml_shadow *shadow, uint64_t address)
{
	struct kml_live_block *block = NULL;
	HASH_FIND(hh, shadow->blocks, &address, sizeof(address), block);
	return block;
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

static uint8_t pattern_byte(uint64_t id, uint64_t offset)
{
	uint64_t mixed = (id + 1) * 0x9E3779B97F4A7C15ull + offset * 0xD1B54A32D192ED03ull;
	return (uint8_t)(mixed >> 56);
}

/* The offset after `offset` that carries the pattern: large blocks skip from their head to their tail. */
static uint64_t next_pattern_offset(const struct kml_live *live, uint64_t offset)
{
	offset++;
	if (live->granted_bytes > PATTERN_WHOLE_BYTES && offset == PATTERN_EDGE_BYTES)
		offset = live->granted_bytes - PATTERN_EDGE_BYTES;
	return offset;
}

static void write_pattern(const struct kml_shadow *shadow, const struct kml_live_block *block)
{
	if (!has_contents(shadow))
		return;
	uint8_t *memory = shadow->arena->base + block->live.address;
	for (uint64_t i = 0; i < block->live.granted_bytes; i = next_pattern_offset(&block->live, i))
		memory[i] = pattern_byte(block->id, i);
}

/* Reported once: the pattern is written anew. */
static void check_pattern(struct kml_shadow *shadow, const struct kml_live_block *block)
{
	if (!has_contents(shadow))
		return;
	const uint8_t *memory = shadow->arena->base + block->live.address;
	for (uint64_t i = 0; i < block->live.granted_bytes; i = next_pattern_offset(&block->live, i)) {
		uint8_t expected = pattern_byte(block->id, i);
		if (memory[i] == expected)
			continue;
		kml_reports_add(&shadow->reports, KML_INVARIANT_CONTENTS,
				"byte %" PRIu64 " of the live block at %" PRIu64 " (%" PRIu64
				" bytes) reads 0x%02x, its owner wrote 0x%02x",
				i, block->live.address, block->live.granted_bytes, memory[i], expected);
		write_pattern(shadow, block);
		return;
	}
}

static void check_zeroed(struct kml_shadow *shadow, const struct kml_request *request, uint64_t address)
{
	if (!has_contents(shadow) || (request->flags & KML_ZEROED) == 0)
		return;
	const struct kml_live live = {.granted_bytes = request->size_bytes};
	const uint8_t *memory = shadow->arena->base + address;
	for (uint64_t i = 0; i < live.granted_bytes; i = next_pattern_offset(&live, i)) {
		if (memory[i] == 0)
			continue;
		kml_reports_add(&shadow->reports, KML_INVARIANT_ZEROED,
				"byte %" PRIu64 " of the zeroed block at %" PRIu64 " reads 0x%02x", i, address,
				memory[i]);
		return;
	}
}

void kml_shadow_check_contents(struct kml_shadow *shadow)
{
	for (struct kml_live_block *block = shadow->blocks; block != NULL; block = block->hh.next)
		check_pattern(shadow, block);
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

static void record_block(struct kml_shadow *shadow, const struct kml_request *request, const struct kml_grant *grant)
{
	struct kml_live_block *block = calloc(1, sizeof(*block));
	KML_CHECK(block != NULL, "no memory for the shadow's %" PRIu64 "th block", shadow->live_blocks);
	block->live = (struct kml_live){.address = grant->address,
					.requested_bytes = request->size_bytes,
					.granted_bytes = grant->granted_bytes,
					.cache = request->cache};
	block->id = shadow->next_id++;
	HASH_ADD(hh, shadow->blocks, live.address, sizeof(block->live.address), block);
	kml_ordered_set_add(shadow->starts, grant->address);

	shadow->live_blocks++;
	shadow->requested_bytes += request->size_bytes;
	shadow->granted_bytes += grant->granted_bytes;
	if (grant->granted_bytes < shadow->smallest_granted_bytes)
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
	HASH_DEL(shadow->blocks, block);
	shadow->live_blocks--;
	shadow->requested_bytes -= block->live.requested_bytes;
	shadow->granted_bytes -= block->live.granted_bytes;
	free(block);
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
static bool has_no_figures(const struct kml_shadow *shadow, uint32_t cache)
{
	const struct kml_allocator *allocator = shadow->heap->allocator;
	struct kml_cache_stats stats = {0};
	if (allocator->cache_stats == NULL || cache == KML_NO_CACHE)
		return false;
	return allocator->cache_stats(shadow->heap, cache, &stats) && stats.name == NULL;
}

/* The other name of a merged cache is as good as its own. */
static bool is_expected(const struct kml_shadow *shadow, const struct kml_live_block *block, uint32_t cache,
			enum kml_status status)
{
	if (!is_wrong_cache(shadow, block, cache))
		return status == KML_OK;
	bool may_be_merged = has_no_figures(shadow, cache) || has_no_figures(shadow, block->live.cache);
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
