/*
 * cells.c - an example plugin: an allocator from outside the tree, in one file. Copy it to start your own.
 *
 *   cc -shared -fPIC -I KMEMLAB_SOURCE cells.c -o cells.so
 *   kmemlab list --plugin ./cells.so            (every command takes --plugin)
 *   conformance_test --plugin ./cells.so        (and tested like the built-in ones)
 *
 * It needs allocators/allocator.h, the whole contract, and two functions of allocators/arena.h, kml_arena_take and
 * kml_arena_give, which the program exports: they keep the page map that held bytes and memory maps come from.
 *
 * The allocator is the simplest that conforms: the arena is cut into equal cells, a request gets one cell or nothing,
 * free cells are a stack (a memory pool of one size, as in Kenwright, "Fast efficient fixed-size memory pool",
 * COMPUTATION TOOLS 2012). No external fragmentation; everything is lost inside the cells.
 *
 * Cost: O(1) per operation, creation too: cells from `untouched` on were never handed out; 4 bytes per touched cell,
 * outside the arena.
 * Invariants: below `untouched`, next[i] is GRANTED for a granted cell, else the free cell below i in the stack; the
 * stack and the untouched cells together are free_count cells.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"

#define GRANTED UINT32_MAX
#define BOTTOM (UINT32_MAX - 1)

struct cells_config {
	uint64_t cell_bytes;
};

struct cells_heap {
	struct kml_heap heap; /* first: a heap pointer is a pointer to this */
	struct kml_arena *arena;
	uint64_t cell_bytes;
	uint32_t cell_count, free_count;
	uint32_t top;       /* of the stack of freed cells */
	uint32_t untouched; /* cells from here on were never handed out */
	uint32_t next[];
};

static const struct kml_allocator cells;

static bool is_granted(const struct cells_heap *heap, uint64_t cell)
{
	return cell < heap->untouched && heap->next[cell] == GRANTED;
}

/* ----------------------------------------------------------------------------------------------- create, destroy */

static struct kml_heap *cells_create(const struct kml_environment *environment, const void *config,
				     struct kml_error *error)
{
	uint64_t cell_bytes = ((const struct cells_config *)config)->cell_bytes;
	uint64_t cell_count = environment->arena->size_bytes / cell_bytes;
	if (cell_count == 0 || cell_count >= BOTTOM) {
		snprintf(error->text, sizeof(error->text),
			 "an arena of %llu bytes has %llu cells of %llu: choose another cell=SIZE",
			 (unsigned long long)environment->arena->size_bytes, (unsigned long long)cell_count,
			 (unsigned long long)cell_bytes);
		return NULL;
	}
	struct cells_heap *heap = calloc(1, sizeof(*heap) + cell_count * sizeof(heap->next[0]));
	if (heap == NULL) {
		snprintf(error->text, sizeof(error->text), "no memory for %llu cells: choose a larger cell=SIZE",
			 (unsigned long long)cell_count);
		return NULL;
	}
	heap->heap.allocator = &cells;
	heap->arena = environment->arena;
	heap->cell_bytes = cell_bytes;
	heap->cell_count = heap->free_count = (uint32_t)cell_count;
	heap->top = BOTTOM;
	return &heap->heap;
}

static void cells_destroy(struct kml_heap *base)
{
	struct cells_heap *heap = (struct cells_heap *)base;
	for (uint32_t cell = 0; cell < heap->untouched; cell++)
		if (heap->next[cell] == GRANTED)
			kml_arena_give(heap->arena, cell * heap->cell_bytes, heap->cell_bytes);
	free(heap);
}

/* --------------------------------------------------------------------------------------------------- alloc, free */

static struct kml_grant cells_alloc(struct kml_heap *base, const struct kml_request *request)
{
	struct cells_heap *heap = (struct cells_heap *)base;
	struct kml_grant grant = {.status = KML_OK, .address = KML_NO_ADDRESS};
	/* A cell lies at a multiple of its size, so it is aligned to every power of two up to the largest in it. */
	uint64_t cell_align_bytes = heap->cell_bytes & -heap->cell_bytes;
	if (request->size_bytes == 0 || request->size_bytes > heap->cell_bytes ||
	    request->align_bytes > cell_align_bytes)
		grant.status = KML_IMPOSSIBLE;
	else if (heap->free_count == 0)
		grant.status = KML_NO_MEMORY;
	if (grant.status != KML_OK)
		return grant;

	uint32_t cell = heap->top;
	if (cell != BOTTOM)
		heap->top = heap->next[cell];
	else
		cell = heap->untouched++;
	heap->next[cell] = GRANTED;
	heap->free_count--;
	grant.address = cell * heap->cell_bytes;
	grant.granted_bytes = heap->cell_bytes;
	kml_arena_take(heap->arena, grant.address, grant.granted_bytes);
	if ((request->flags & KML_ZEROED) != 0 && heap->arena->base != NULL)
		memset(heap->arena->base + grant.address, 0, request->size_bytes);
	return grant;
}

static enum kml_status cells_free(struct kml_heap *base, const struct kml_release *release)
{
	struct cells_heap *heap = (struct cells_heap *)base;
	uint64_t cell = release->address / heap->cell_bytes;
	if (cell >= heap->cell_count)
		return KML_FOREIGN;
	if (!is_granted(heap, cell))
		return KML_DOUBLE_FREE;
	if (release->address % heap->cell_bytes != 0)
		return KML_INTERIOR;

	kml_arena_give(heap->arena, release->address, heap->cell_bytes);
	heap->next[cell] = heap->top;
	heap->top = (uint32_t)cell;
	heap->free_count++;
	return KML_OK;
}

static uint64_t cells_usable(const struct kml_heap *base, uint64_t address)
{
	const struct cells_heap *heap = (const struct cells_heap *)base;
	uint64_t cell = address / heap->cell_bytes;
	bool is_start = cell < heap->cell_count && address % heap->cell_bytes == 0;
	return is_start && is_granted(heap, cell) ? heap->cell_bytes : 0;
}

/* ------------------------------------------------------------------------------------------------------- figures */

static void cells_stats(const struct kml_heap *base, struct kml_stats *stats)
{
	const struct cells_heap *heap = (const struct cells_heap *)base;
	memset(stats, 0, sizeof(*stats));
	stats->granted_bytes = (heap->cell_count - heap->free_count) * heap->cell_bytes;
	stats->held_bytes = heap->arena->held_bytes;
	stats->free_bytes = heap->free_count * heap->cell_bytes;
	stats->largest_free_bytes = heap->free_count > 0 ? heap->cell_bytes : 0;
	stats->metadata_bytes = sizeof(*heap) + heap->untouched * sizeof(heap->next[0]);
	stats->waste_bytes[KML_WASTE_EXTERNAL] = stats->held_bytes - stats->granted_bytes;
}

static uint32_t cells_free_areas(const struct kml_heap *base, struct kml_free_area *areas)
{
	const struct cells_heap *heap = (const struct cells_heap *)base;
	areas[0].block_bytes = heap->cell_bytes;
	areas[0].count = heap->free_count;
	return 1;
}

static void cells_walk(const struct kml_heap *base, kml_visit *visit, void *context)
{
	const struct cells_heap *heap = (const struct cells_heap *)base;
	struct kml_block block = {.size_bytes = heap->cell_bytes, .owner = KML_NO_CACHE};
	for (uint32_t cell = 0; cell < heap->cell_count; cell++) {
		block.address = cell * heap->cell_bytes;
		block.state = is_granted(heap, cell) ? KML_BLOCK_GRANTED : KML_BLOCK_FREE;
		if (!visit(context, &block))
			return;
	}
}

static bool cells_validate(const struct kml_heap *base, struct kml_error *error)
{
	const struct cells_heap *heap = (const struct cells_heap *)base;
	uint32_t freed = heap->free_count - (heap->cell_count - heap->untouched), reached = 0;
	uint32_t cell = heap->top;
	/* A stack longer than its count has a cycle: stop there. */
	while (cell < heap->untouched && reached <= freed) {
		reached++;
		cell = heap->next[cell];
	}
	if (cell == BOTTOM && reached == freed)
		return true;
	snprintf(error->text, sizeof(error->text), "the stack of freed cells has %u of %u, then cell %u", reached,
		 heap->free_count, cell);
	return false;
}

/* ------------------------------------------------------------------------------------------------- description */

static const struct kml_param cells_params[] = {
	{.name = "cell",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct cells_config, cell_bytes),
	 .default_text = "32k",
	 .minimum = 16,
	 .maximum = 1ull << 30,
	 .help = "size of every block"},
	{.name = NULL},
};

static const struct kml_allocator cells = {
	.abi_version = KML_ABI_VERSION,
	.name = "cells",
	.title = "Fixed-size cells",
	.citation = "Kenwright, Fast efficient fixed-size memory pool, COMPUTATION TOOLS 2012",
	.summary = "equal cells on a stack: one cell or nothing; O(1)",
	.layer = KML_LAYER_PAGES,
	.params = cells_params,
	.config_bytes = sizeof(struct cells_config),
	.create = cells_create,
	.destroy = cells_destroy,
	.alloc = cells_alloc,
	.free = cells_free,
	.usable = cells_usable,
	.stats = cells_stats,
	.free_areas = cells_free_areas,
	.walk = cells_walk,
	.validate = cells_validate,
};

/* What the program looks for. */
extern const struct kml_allocator *const kml_plugin_allocators[];
const struct kml_allocator *const kml_plugin_allocators[] = {&cells, NULL};
