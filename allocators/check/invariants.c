/*
 * invariants.c - the deep check. See invariants.h.
 *
 * One pass of the walk surveys a layer; the survey is then compared with what the layer says of itself. After a
 * finding the pass goes on from where the allocator says it is, so that one fault gives one report.
 */
#include "allocators/check/invariants.h"

#include <inttypes.h>
#include <string.h>

/* What one walk shows. */
struct survey {
	struct kml_shadow *shadow;
	bool tiles;         /* the layer's blocks must tile the arena */
	bool compares_live; /* its granted blocks are the shadow's */

	uint64_t end;         /* of the last block */
	uint64_t sum_bytes;   /* of all blocks */
	uint64_t pages_until; /* pages below this are counted */
	uint64_t held_bytes;
	uint64_t free_bytes, largest_free_bytes;

	struct kml_live live; /* the next live block the walk must show */
	bool has_live;

	struct kml_free_area areas[KML_FREE_AREAS_MAX]; /* as the layer says */
	uint64_t counted[KML_FREE_AREAS_MAX];           /* as the walk shows */
	uint64_t uncounted;                             /* free blocks below the first area */
	uint32_t area_count;
};

static void step_live(struct survey *survey, uint64_t address)
{
	survey->has_live = kml_shadow_next(survey->shadow, address, &survey->live);
}

static void report_missing_live(struct survey *survey)
{
	kml_reports_add(&survey->shadow->reports, KML_INVARIANT_LIVE,
			"the walk does not show the live block at %" PRIu64 " of %" PRIu64 " bytes",
			survey->live.address, survey->live.granted_bytes);
}

static void compare_live(struct survey *survey, const struct kml_block *block)
{
	while (survey->has_live && survey->live.address < block->address) {
		report_missing_live(survey);
		step_live(survey, survey->live.address + 1);
	}
	if (!survey->has_live || survey->live.address != block->address) {
		kml_reports_add(&survey->shadow->reports, KML_INVARIANT_LIVE,
				"the walk shows a granted block at %" PRIu64 " of %" PRIu64 " bytes that is not live",
				block->address, block->size_bytes);
		return;
	}
	if (survey->live.granted_bytes != block->size_bytes)
		kml_reports_add(&survey->shadow->reports, KML_INVARIANT_LIVE,
				"the walk shows %" PRIu64 " bytes at %" PRIu64 ", %" PRIu64 " were granted",
				block->size_bytes, block->address, survey->live.granted_bytes);
	step_live(survey, block->address + 1);
}

static void count_held_pages(struct survey *survey, const struct kml_block *block)
{
	uint32_t page_shift = survey->shadow->arena->page_shift;
	uint64_t first = block->address >> page_shift;
	uint64_t last = (block->address + block->size_bytes - 1) >> page_shift;
	if (first < survey->pages_until)
		first = survey->pages_until;
	if (last < first)
		return;
	survey->held_bytes += (last - first + 1) << page_shift;
	survey->pages_until = last + 1;
}

/* Areas are ascending: a free block belongs to the last one that is not larger than it. */
static void count_free_block(struct survey *survey, const struct kml_block *block)
{
	survey->free_bytes += block->size_bytes;
	if (block->size_bytes > survey->largest_free_bytes)
		survey->largest_free_bytes = block->size_bytes;

	uint32_t area = survey->area_count;
	while (area > 0 && survey->areas[area - 1].block_bytes > block->size_bytes)
		area--;
	if (area == 0)
		survey->uncounted++;
	else
		survey->counted[area - 1]++;
}

static bool check_block_place(struct survey *survey, const struct kml_block *block)
{
	const struct kml_arena *arena = survey->shadow->arena;
	/* Areas of vmalloc lie in the window. */
	bool inside = block->size_bytes > 0 &&
		      (kml_arena_has(arena, block->address, block->size_bytes) ||
		       (!survey->tiles && kml_arena_window_has(arena, block->address, block->size_bytes)));
	/* Memory that was not given yet is not shown. */
	bool tiles = survey->tiles && !survey->shadow->starts_empty;
	bool in_order = tiles ? block->address == survey->end : block->address >= survey->end;
	if (inside && in_order)
		return true;
	kml_reports_add(&survey->shadow->reports, KML_INVARIANT_TILING,
			"the walk shows a block at %" PRIu64 " of %" PRIu64 " bytes after one that ends at %" PRIu64
			", in an arena of %" PRIu64,
			block->address, block->size_bytes, survey->end, arena->size_bytes);
	return inside;
}

static bool visit_block(void *context, const struct kml_block *block)
{
	struct survey *survey = context;
	if (!check_block_place(survey, block))
		return false;
	survey->end = block->address + block->size_bytes;
	survey->sum_bytes += block->size_bytes;

	if (block->state == KML_BLOCK_ABSENT)
		return true;
	/* Objects are in no area, and their pages are counted at the layer below. */
	if (block->state == KML_BLOCK_FREE && survey->tiles)
		count_free_block(survey, block);
	else if (block->state != KML_BLOCK_FREE && survey->tiles)
		count_held_pages(survey, block);
	if (block->state == KML_BLOCK_GRANTED && survey->compares_live)
		compare_live(survey, block);
	return true;
}

/* Walk a layer. */
static void take_survey(struct survey *survey, struct kml_shadow *shadow, const struct kml_heap *heap)
{
	memset(survey, 0, sizeof(*survey));
	survey->shadow = shadow;
	survey->tiles = heap->allocator->layer == KML_LAYER_PAGES;
	survey->compares_live = heap == shadow->heap;
	survey->area_count = heap->allocator->free_areas(heap, survey->areas);
	step_live(survey, 0);
	heap->allocator->walk(heap, visit_block, survey);

	for (; survey->compares_live && survey->has_live; step_live(survey, survey->live.address + 1))
		report_missing_live(survey);
}

/* Less than one unit may be left over; a unit is not larger than the smallest block granted. */
static void check_end(const struct survey *survey)
{
	struct kml_shadow *shadow = survey->shadow;
	uint64_t left_bytes = shadow->arena->size_bytes - survey->end;
	if (shadow->starts_empty) {
		if (survey->sum_bytes < shadow->managed_bytes)
			kml_reports_add(&shadow->reports, KML_INVARIANT_TILING,
					"the blocks have %" PRIu64 " bytes together, they had %" PRIu64,
					survey->sum_bytes, shadow->managed_bytes);
		shadow->managed_bytes = survey->sum_bytes;
		return;
	}
	if (survey->compares_live && left_bytes >= shadow->smallest_granted_bytes)
		kml_reports_add(&shadow->reports, KML_INVARIANT_TILING,
				"the blocks end at %" PRIu64 " of %" PRIu64 ": %" PRIu64
				" bytes are lost, a block of %" PRIu64 " was granted before",
				survey->end, shadow->arena->size_bytes, left_bytes, shadow->smallest_granted_bytes);
}

static void check_areas(const struct survey *survey)
{
	struct kml_reports *reports = &survey->shadow->reports;
	if (survey->uncounted > 0)
		kml_reports_add(reports, KML_INVARIANT_FREE_AREAS,
				"%" PRIu64 " free blocks are smaller than the first area", survey->uncounted);
	for (uint32_t i = 0; i < survey->area_count; i++) {
		if (i > 0 && survey->areas[i].block_bytes <= survey->areas[i - 1].block_bytes)
			kml_reports_add(reports, KML_INVARIANT_FREE_AREAS,
					"area %" PRIu32 " of %" PRIu64 " bytes is not ascending", i,
					survey->areas[i].block_bytes);
		if (survey->areas[i].count != survey->counted[i])
			kml_reports_add(reports, KML_INVARIANT_FREE_AREAS,
					"%" PRIu64 " free blocks of %" PRIu64 " bytes, the walk shows %" PRIu64,
					survey->areas[i].count, survey->areas[i].block_bytes, survey->counted[i]);
	}
}

static void check_page_layer(const struct survey *survey, const struct kml_heap *heap)
{
	struct kml_reports *reports = &survey->shadow->reports;
	struct kml_stats stats;
	heap->allocator->stats(heap, &stats);
	check_end(survey);
	check_areas(survey);
	if (stats.free_bytes != survey->free_bytes)
		kml_reports_add(reports, KML_INVARIANT_FREE_BYTES, "stats say %" PRIu64 ", the walk %" PRIu64,
				stats.free_bytes, survey->free_bytes);
	if (stats.largest_free_bytes != survey->largest_free_bytes)
		kml_reports_add(reports, KML_INVARIANT_LARGEST_FREE, "stats say %" PRIu64 ", the walk %" PRIu64,
				stats.largest_free_bytes, survey->largest_free_bytes);
	if (survey->shadow->arena->held_bytes != survey->held_bytes)
		kml_reports_add(reports, KML_INVARIANT_HELD_BYTES, "the arena says %" PRIu64 ", the walk %" PRIu64,
				survey->shadow->arena->held_bytes, survey->held_bytes);
}

static void check_self(struct kml_shadow *shadow, const struct kml_heap *heap)
{
	struct kml_error error = {{0}};
	if (!heap->allocator->validate(heap, &error))
		kml_reports_add(&shadow->reports, KML_INVARIANT_VALIDATE, "%s: %s", heap->allocator->name,
				error.text[0] != '\0' ? error.text : "failed without a reason");
}

static void check_layer(struct kml_shadow *shadow, const struct kml_heap *heap)
{
	check_self(shadow, heap);
	if (heap->allocator->traits & KML_TRAIT_NO_REUSE)
		return;
	struct survey survey;
	take_survey(&survey, shadow, heap);
	if (heap->allocator->layer == KML_LAYER_PAGES)
		check_page_layer(&survey, heap);
}

bool kml_check_deep(struct kml_shadow *shadow)
{
	uint64_t before = shadow->reports.count;
	check_layer(shadow, shadow->heap);
	if (shadow->backing != NULL)
		check_layer(shadow, shadow->backing);
	kml_shadow_check_contents(shadow);
	return shadow->reports.count == before;
}

/* ---------------------------------------------------------------------------------------------------- whole */

static bool same_areas(const struct kml_shadow *shadow)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = shadow->heap->allocator->free_areas(shadow->heap, areas);
	if (count != shadow->area_count_at_start)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct kml_free_area *at_start = &shadow->areas_at_start[i];
		if (areas[i].block_bytes != at_start->block_bytes || areas[i].count != at_start->count)
			return false;
	}
	return true;
}

bool kml_check_whole(struct kml_shadow *shadow)
{
	struct kml_reports *reports = &shadow->reports;
	uint64_t before = reports->count;
	if (shadow->heap->allocator->shrink != NULL)
		shadow->heap->allocator->shrink(shadow->heap);
	if (shadow->backing != NULL && shadow->backing->allocator->shrink != NULL)
		shadow->backing->allocator->shrink(shadow->backing);

	struct kml_stats stats;
	shadow->heap->allocator->stats(shadow->heap, &stats);
	if (stats.granted_bytes != 0 || stats.held_bytes != 0 || shadow->arena->held_bytes != 0)
		kml_reports_add(reports, KML_INVARIANT_WHOLE,
				"all is freed, yet %" PRIu64 " bytes are granted and %" PRIu64
				" held (the arena says %" PRIu64 ")",
				stats.granted_bytes, stats.held_bytes, shadow->arena->held_bytes);
	else if (!shadow->starts_empty && !same_areas(shadow))
		kml_reports_add(reports, KML_INVARIANT_WHOLE,
				"all is freed, yet the free areas are not those of the start");
	return reports->count == before;
}
