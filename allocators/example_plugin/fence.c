/*
 * fence.c - an example plugin of the OBJECTS layer: every object on pages of its own.
 *
 *   kmemlab replay --plugin ./fence.so --trace FILE.kmt --allocator fence/fibonacci
 *
 * After Electric Fence (Bruce Perens, 1987), which puts each object on its own pages so that the hardware sees a stray
 * access. It shows what an object allocator does: it takes pages from whatever PAGES allocator stands below it
 * (environment.backing), knows caches, and marks its pages in the arena's page map.
 *
 * Cost: O(1) beside the backing's; no memory of its own but a counter per cache. All that is wasted is rounding to
 * pages. Invariant: an object starts a block of the backing, and the owner of its first page is its cache (NONE: no
 * cache).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"

struct fence_cache {
	bool is_open;
	uint64_t live;
};

struct fence_heap {
	struct kml_heap heap;
	struct kml_heap *backing;
	struct kml_arena *arena;
	uint32_t cache_count;
	struct fence_cache caches[]; /* an owner in the page map points here; past the last: no cache */
};

static const struct kml_allocator fence;

static struct fence_heap *of(const struct kml_heap *heap)
{
	return (struct fence_heap *)(uintptr_t)heap;
}

/* ----------------------------------------------------------------------------------------- create, destroy, caches */

static struct kml_heap *fence_create(const struct kml_environment *environment, const void *config,
				     struct kml_error *error)
{
	(void)config;
	if (environment->unit_bytes % environment->page_bytes != 0) {
		snprintf(error->text, sizeof(error->text),
			 "fence: needs whole pages of %u bytes from below, not units of %llu: leave unit out",
			 environment->page_bytes, (unsigned long long)environment->unit_bytes);
		return NULL;
	}
	struct fence_heap *heap =
		calloc(1, sizeof(*heap) + (environment->cache_count + 1ull) * sizeof(heap->caches[0]));
	if (heap == NULL) {
		snprintf(error->text, sizeof(error->text), "fence: no memory for %u caches", environment->cache_count);
		return NULL;
	}
	heap->heap.allocator = &fence;
	heap->backing = environment->backing;
	heap->arena = environment->arena;
	heap->cache_count = environment->cache_count;
	return &heap->heap;
}

/* The backing, destroyed after us, gives the arena back. */
static void fence_destroy(struct kml_heap *heap)
{
	free(heap);
}

static enum kml_status fence_cache_open(struct kml_heap *heap, uint32_t index, const struct kml_cache *cache)
{
	(void)cache;
	of(heap)->caches[index].is_open = true;
	return KML_OK;
}

static enum kml_status fence_cache_close(struct kml_heap *heap, uint32_t index)
{
	struct fence_cache *cache = &of(heap)->caches[index];
	if (cache->live > 0)
		return KML_CACHE_BUSY;
	cache->is_open = false;
	return KML_OK;
}

/* ------------------------------------------------------------------------------------------------------ alloc, free */

static struct fence_cache *cache_of(struct fence_heap *heap, uint32_t index)
{
	return &heap->caches[index < heap->cache_count ? index : heap->cache_count];
}

static struct kml_grant fence_alloc(struct kml_heap *base, const struct kml_request *request)
{
	struct fence_heap *heap = of(base);
	struct kml_grant grant = heap->backing->allocator->alloc(heap->backing, request);
	if (grant.status != KML_OK)
		return grant;
	struct fence_cache *cache = cache_of(heap, request->cache);
	cache->live++;
	kml_arena_page(heap->arena, grant.address)->owner = cache;
	return grant;
}

static enum kml_status fence_free(struct kml_heap *base, const struct kml_release *release)
{
	struct fence_heap *heap = of(base);
	if (heap->backing->allocator->usable(heap->backing, release->address) == 0)
		return heap->backing->allocator->free(heap->backing, release); /* it names the misuse */

	struct kml_page *page = kml_arena_page(heap->arena, release->address);
	struct fence_cache *cache = page->owner;
	if (release->cache != KML_NO_CACHE && cache_of(heap, release->cache) != cache)
		return KML_WRONG_CACHE;
	enum kml_status status = heap->backing->allocator->free(heap->backing, release);
	if (status != KML_OK)
		return status;
	cache->live--;
	page->owner = NULL;
	return KML_OK;
}

static uint64_t fence_usable(const struct kml_heap *heap, uint64_t address)
{
	return of(heap)->backing->allocator->usable(of(heap)->backing, address);
}

/* ---------------------------------------------------------------------------------------------------------- figures */

static void fence_shrink(struct kml_heap *heap)
{
	struct kml_heap *backing = of(heap)->backing;
	if (backing->allocator->shrink != NULL)
		backing->allocator->shrink(backing);
}

/* Objects are blocks of the backing: its figures are ours, and our caches come on top. */
static void fence_stats(const struct kml_heap *base, struct kml_stats *stats)
{
	const struct fence_heap *heap = of(base);
	heap->backing->allocator->stats(heap->backing, stats);
	stats->metadata_bytes += sizeof(*heap) + (heap->cache_count + 1ull) * sizeof(heap->caches[0]);
}

static uint32_t fence_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	return of(heap)->backing->allocator->free_areas(of(heap)->backing, areas);
}

struct walk {
	const struct fence_heap *heap;
	kml_visit *visit;
	void *context;
};

static bool add_owner(void *context, const struct kml_block *block)
{
	const struct walk *walk = context;
	struct kml_block shown = *block;
	if (block->state == KML_BLOCK_GRANTED) {
		const struct fence_cache *cache = kml_arena_page(walk->heap->arena, block->address)->owner;
		uint32_t index = (uint32_t)(cache - walk->heap->caches);
		shown.owner = index < walk->heap->cache_count ? index : KML_NO_CACHE;
	}
	return walk->visit(walk->context, &shown);
}

static void fence_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	struct walk walk = {of(heap), visit, context};
	of(heap)->backing->allocator->walk(of(heap)->backing, add_owner, &walk);
}

struct census {
	const struct fence_heap *heap;
	uint64_t live;
	bool is_whole;
};

static bool count_object(void *context, const struct kml_block *block)
{
	struct census *census = context;
	if (block->state != KML_BLOCK_GRANTED)
		return true;
	const struct fence_cache *cache = kml_arena_page(census->heap->arena, block->address)->owner;
	census->is_whole = cache >= census->heap->caches && cache <= census->heap->caches + census->heap->cache_count;
	census->live++;
	return census->is_whole;
}

static bool fence_validate(const struct kml_heap *base, struct kml_error *error)
{
	const struct fence_heap *heap = of(base);
	struct census census = {.heap = heap, .is_whole = true};
	heap->backing->allocator->walk(heap->backing, count_object, &census);
	uint64_t live = 0;
	for (uint32_t i = 0; i <= heap->cache_count; i++)
		live += heap->caches[i].live;
	if (census.is_whole && census.live == live)
		return true;
	snprintf(error->text, sizeof(error->text), "%llu objects on pages, the caches count %llu%s",
		 (unsigned long long)census.live, (unsigned long long)live,
		 census.is_whole ? "" : "; the last one's page has no owner");
	return false;
}

static const struct kml_allocator fence = {
	.abi_version = KML_ABI_VERSION,
	.name = "fence",
	.title = "Electric fence",
	.citation = "Bruce Perens, Electric Fence (efence(3)), 1987",
	.summary = "every object on pages of its own; the cost of the pages below",
	.layer = KML_LAYER_OBJECTS,
	.create = fence_create,
	.destroy = fence_destroy,
	.cache_open = fence_cache_open,
	.cache_close = fence_cache_close,
	.alloc = fence_alloc,
	.free = fence_free,
	.usable = fence_usable,
	.shrink = fence_shrink,
	.stats = fence_stats,
	.free_areas = fence_free_areas,
	.walk = fence_walk,
	.validate = fence_validate,
};

extern const struct kml_allocator *const kml_plugin_allocators[];
const struct kml_allocator *const kml_plugin_allocators[] = {&fence, NULL};
