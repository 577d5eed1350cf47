/*
 * object_heap.c - what all object allocators share. See object_heap.h.
 *
 * The books. With B the backing's own figures, at every moment
 *
 *     held = B.granted + B.waste,   B.granted = pages to callers + runs of slabs as granted
 *     runs as granted = slots + tails + management + (granted - asked)
 *     slots = live objects + their padding + parked objects + free slots
 *
 * so that granted + waste is held, to the byte, with no counter for what is parked.
 */
#include "allocators/slab/object_heap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/guard.h"
#include "allocators/slab/vmalloc.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

static const char *const kmalloc_names[KMALLOC_FAMILIES][KMALLOC_CLASSES] = {
	{"kmalloc-8", "kmalloc-16", "kmalloc-32", "kmalloc-64", "kmalloc-96", "kmalloc-128", "kmalloc-192",
	 "kmalloc-256", "kmalloc-512", "kmalloc-1k", "kmalloc-2k", "kmalloc-4k", "kmalloc-8k"},
	{"kmalloc-cg-8", "kmalloc-cg-16", "kmalloc-cg-32", "kmalloc-cg-64", "kmalloc-cg-96", "kmalloc-cg-128",
	 "kmalloc-cg-192", "kmalloc-cg-256", "kmalloc-cg-512", "kmalloc-cg-1k", "kmalloc-cg-2k", "kmalloc-cg-4k",
	 "kmalloc-cg-8k"},
	{"kmalloc-rcl-8", "kmalloc-rcl-16", "kmalloc-rcl-32", "kmalloc-rcl-64", "kmalloc-rcl-96", "kmalloc-rcl-128",
	 "kmalloc-rcl-192", "kmalloc-rcl-256", "kmalloc-rcl-512", "kmalloc-rcl-1k", "kmalloc-rcl-2k", "kmalloc-rcl-4k",
	 "kmalloc-rcl-8k"},
	{"dma-kmalloc-8", "dma-kmalloc-16", "dma-kmalloc-32", "dma-kmalloc-64", "dma-kmalloc-96", "dma-kmalloc-128",
	 "dma-kmalloc-192", "dma-kmalloc-256", "dma-kmalloc-512", "dma-kmalloc-1k", "dma-kmalloc-2k", "dma-kmalloc-4k",
	 "dma-kmalloc-8k"},
};

enum kmalloc_family { KMALLOC_NORMAL, KMALLOC_CG, KMALLOC_RCL, KMALLOC_DMA_FAMILY };

/* -------------------------------------------------------------------------------------------- create, destroy */

struct kml_heap *object_create(const struct object_strategy *strategy, const struct kml_environment *environment,
			       const void *config, struct kml_error *error)
{
	const char *name = strategy->allocator->name;
	if (!environment->arena->base) {
		kml_fail(error, "%s: objects lie in memory, and this arena has none: create it with memory", name);
		return NULL;
	}
	if (environment->unit_bytes % environment->page_bytes != 0) {
		kml_fail(error,
			 "%s: needs whole pages of %u bytes from below, not units of %" PRIu64 ": leave unit out", name,
			 environment->page_bytes, environment->unit_bytes);
		return NULL;
	}
	struct object_heap *heap = calloc(1, strategy->heap_bytes);
	uint64_t caches = environment->cache_count + (uint64_t)KMALLOC_CACHES;
	const size_t entry_bytes = sizeof(struct object_cache *);
	struct object_cache **table = calloc(caches, entry_bytes);
	const char **names = calloc(caches, sizeof *names);
	if (!heap || !table || !names) {
		free(names);
		free(heap);
		free(table);
		kml_fail(error, "%s: no memory for %u caches", name, environment->cache_count);
		return NULL;
	}
	heap->heap.allocator = strategy->allocator;
	heap->strategy = strategy;
	heap->environment = *environment;
	heap->backing = environment->backing;
	heap->arena = environment->arena;
	heap->page_bytes = environment->page_bytes;
	heap->page_shift = (uint32_t)__builtin_ctz(environment->page_bytes);
	heap->cpu_count = environment->cpu_count;
	heap->cache_count = environment->cache_count;
	heap->caches = table;
	heap->names = names;
	heap->books.metadata_bytes = strategy->heap_bytes + caches * (entry_bytes + sizeof *names);
	if (strategy->start && !strategy->start(heap, config, error)) {
		free(names);
		free(table);
		free(heap);
		return NULL;
	}
	return &heap->heap;
}

static uint32_t cache_limit(const struct object_heap *heap)
{
	return heap->cache_count + KMALLOC_CACHES;
}

/* The cache of an index, once: not where a merged one stands again. */
static struct object_cache *cache_at(const struct object_heap *heap, uint32_t index)
{
	struct object_cache *cache = heap->caches[index];
	return cache && cache->index == index ? cache : NULL;
}

static void release_cache(struct object_heap *heap, struct object_cache *cache)
{
	if (heap->strategy->cache_release)
		heap->strategy->cache_release(cache);
	heap->books.metadata_bytes -= heap->strategy->cache_bytes;
	free(cache);
}

void object_own_run(struct object_heap *heap, uint64_t address, uint64_t size_bytes, void *owner)
{
	/* Only whole pages can be marked; what a backing grants beyond the last whole one is rounding. */
	for (uint64_t offset = 0; offset + heap->page_bytes <= size_bytes; offset += heap->page_bytes)
		kml_arena_page(heap->arena, address + offset)->owner = owner;
}

static bool forget_run(void *context, const struct kml_block *block)
{
	struct object_heap *heap = context;
	void *run = block->state == KML_BLOCK_GRANTED ? kml_arena_page(heap->arena, block->address)->owner : NULL;
	if (!run)
		return true;
	object_own_run(heap, block->address, block->size_bytes, NULL);
	heap->strategy->run_release(run);
	return true;
}

/* Whatever is live is forgotten: descriptors are ours, the pages go with the backing. */
void object_destroy(struct kml_heap *base)
{
	struct object_heap *heap = object_heap_of(base);
	vmalloc_destroy(heap);
	heap->backing->allocator->walk(heap->backing, forget_run, heap);
	for (uint32_t i = 0; i < cache_limit(heap); i++)
		heap->caches[i] = cache_at(heap, i); /* each once, also where caches are merged */
	for (uint32_t i = 0; i < cache_limit(heap); i++)
		if (heap->caches[i])
			release_cache(heap, heap->caches[i]);
	if (heap->strategy->stop)
		heap->strategy->stop(heap);
	free(heap->caches);
	free(heap->names);
	free(heap);
}

/* ------------------------------------------------------------------------------------------------- caches */

static struct object_cache *open_cache(struct object_heap *heap, uint32_t index, const struct kml_cache *description)
{
	const struct object_strategy *strategy = heap->strategy;
	struct object_cache *cache = strategy->merge ? strategy->merge(heap, description) : NULL;
	heap->names[index] = description->name;
	if (cache) {
		cache->users++;
		heap->caches[index] = cache;
		return cache;
	}
	cache = calloc(1, strategy->cache_bytes);
	if (!cache)
		return NULL;
	cache->heap = heap;
	cache->description = *description;
	cache->index = index;
	cache->users = 1;
	cache->object_bytes = description->object_bytes;
	if (!strategy->cache_open(cache)) {
		free(cache);
		return NULL;
	}
	heap->caches[index] = cache;
	heap->books.metadata_bytes += strategy->cache_bytes;
	return cache;
}

/* A cache whose object size the trace does not tell takes what slabinfo says of its slots. */
static struct kml_cache complete(const struct kml_cache *description)
{
	struct kml_cache complete = *description;
	if (complete.object_bytes == 0)
		complete.object_bytes = complete.recorded_slot_bytes ? complete.recorded_slot_bytes : 1;
	return complete;
}

enum kml_status object_cache_open(struct kml_heap *base, uint32_t index, const struct kml_cache *description)
{
	struct object_heap *heap = object_heap_of(base);
	if (index >= heap->cache_count || heap->caches[index])
		return KML_IMPOSSIBLE;
	struct kml_cache known = complete(description);
	return open_cache(heap, index, &known) ? KML_OK : KML_IMPOSSIBLE;
}

/* A merged cache is closed for one of its users only; the objects of all are counted together. */
enum kml_status object_cache_close(struct kml_heap *base, uint32_t index)
{
	struct object_heap *heap = object_heap_of(base);
	struct object_cache *cache = index < heap->cache_count ? heap->caches[index] : NULL;
	if (!cache)
		return KML_OK;
	if (cache->users == 1) {
		if (cache->live > KML_PLANTED(object_closes_with_one))
			return KML_CACHE_BUSY;
		heap->strategy->cache_close(cache);
		heap->caches[index] = NULL;
		release_cache(heap, cache);
		return KML_OK;
	}
	cache->users--;
	heap->caches[index] = NULL;
	if (cache->index == index && !KML_PLANTED(object_merge_index_stale)) /* another user gives it its index */
		for (uint32_t i = 0; i < cache_limit(heap); i++)
			if (heap->caches[i] == cache) {
				cache->index = i;
				cache->description.name = heap->names[i]; /* the other's goes with it */
				break;
			}
	return KML_OK;
}

/* ------------------------------------------------------------------------------------------------- kmalloc */

uint64_t kmalloc_class_bytes(uint32_t class)
{
	static const uint16_t class_bytes[KMALLOC_CLASSES] = {8,   16,  32,   64,   96,   128, 192,
							      256, 512, 1024, 2048, 4096, 8192};
	return class_bytes[class];
}

uint32_t kmalloc_class(uint64_t size_bytes)
{
	if (size_bytes <= 8)
		return 0;
	if (size_bytes > 64 && size_bytes <= 96)
		return 4;
	if (size_bytes > 128 && size_bytes <= 192)
		return 6;
	/* Power-of-two classes: 16 is class 1, 64 class 3; 96 and 192 push the larger ones up. */
	uint32_t log2 = 64 - (uint32_t)__builtin_clzll(size_bytes - 1);
	return log2 - 3 + (log2 >= 7) + (log2 >= 8);
}

uint32_t object_order(const struct object_heap *heap, uint64_t size_bytes)
{
	uint64_t pages = (size_bytes >> heap->page_shift) + (size_bytes % heap->page_bytes != 0);
	return pages > 1 ? 64 - (uint32_t)__builtin_clzll(pages - 1) : 0;
}

/* mm/slab.h: kmalloc_type. */
static enum kmalloc_family kmalloc_family(uint16_t flags)
{
	if (flags & KML_DMA)
		return KMALLOC_DMA_FAMILY;
	if (flags & KML_RECLAIMABLE)
		return KMALLOC_RCL;
	return flags & KML_ACCOUNTED ? KMALLOC_CG : KMALLOC_NORMAL;
}

/*
 * The size that decides the class. A class of a power of two is aligned to its size (mm/slab_common.c:
 * create_kmalloc_cache), the others to 8 bytes: what must be aligned to more goes to a power of two.
 */
static uint64_t kmalloc_class_size(const struct kml_request *request)
{
	uint64_t size_bytes = request->size_bytes, align_bytes = request->align_bytes;
	if (align_bytes <= 8 || size_bytes > KMALLOC_MAX_BYTES || align_bytes > KMALLOC_MAX_BYTES)
		return size_bytes > align_bytes ? size_bytes : align_bytes;
	if (size_bytes <= align_bytes)
		return align_bytes;
	return 1ull << (64 - __builtin_clzll(size_bytes - 1));
}

static struct object_cache *kmalloc_cache(struct object_heap *heap, uint64_t size_bytes, uint16_t flags)
{
	uint32_t class = kmalloc_class(size_bytes);
	enum kmalloc_family family = kmalloc_family(flags);
	uint32_t index = heap->cache_count + (uint32_t)family * KMALLOC_CLASSES + class;
	if (heap->caches[index])
		return heap->caches[index];
	uint64_t class_bytes = kmalloc_class_bytes(class);
	const struct kml_cache description = {
		.name = kmalloc_names[family][class],
		.object_bytes = class_bytes,
		.align_bytes = (class_bytes & (class_bytes - 1)) == 0 ? class_bytes : 8,
		.reclaimable = family == KMALLOC_RCL,
		.is_kmalloc = true,
	};
	return open_cache(heap, index, &description);
}

/* --------------------------------------------------------------------------------------------------- pages */

struct kml_grant object_take_run(struct object_heap *heap, uint64_t size_bytes, const struct kml_cache *description,
				 const struct kml_request *request, void *owner)
{
	/* Objects aligned to more than a page (kmalloc of 8k) need their slab aligned so too. */
	bool is_wider = description && description->align_bytes > heap->page_bytes;
	struct kml_request pages = {
		.size_bytes = size_bytes,
		.align_bytes = is_wider ? description->align_bytes : heap->page_bytes,
		.recorded = KML_NO_ADDRESS,
		.cache = KML_NO_CACHE,
		.cpu = request->cpu,
		.flags = (uint16_t)(KML_PAGES | (request->flags & (KML_ATOMIC | KML_DMA)) |
				    (description && description->reclaimable ? KML_RECLAIMABLE : 0)),
	};
	struct kml_grant grant = heap->backing->allocator->alloc(heap->backing, &pages);
	if (grant.status != KML_OK)
		return grant;
	object_own_run(heap, grant.address, grant.granted_bytes, owner);
	heap->books.run_granted_bytes += grant.granted_bytes;
	return grant;
}

void object_give_run(struct object_heap *heap, uint64_t address, uint64_t granted_bytes, uint16_t cpu)
{
	object_own_run(heap, address, granted_bytes, NULL);
	heap->books.run_granted_bytes -= granted_bytes;
	const struct kml_release release = {.address = address, .cache = KML_NO_CACHE, .cpu = cpu, .flags = KML_PAGES};
	enum kml_status status = heap->backing->allocator->free(heap->backing, &release);
	KML_CHECK(status == KML_OK, "%s: the page layer refused its own pages at %" PRIu64 ": %s",
		  heap->heap.allocator->name, address, kml_status_name(status));
}

struct kml_grant object_take_pages(struct object_heap *heap, const struct kml_request *request)
{
	struct kml_request pages = *request;
	pages.cache = KML_NO_CACHE;
	if (!(request->flags & KML_PAGES)) { /* a kmalloc: a power of two of pages */
		uint64_t left_out_bytes =
			KML_PLANTED(kmalloc_large_rounded_down) ? request->size_bytes % heap->page_bytes : 0;
		uint32_t order = object_order(heap, request->size_bytes - left_out_bytes);
		if (order + heap->page_shift >= 63)
			return kml_refuse(KML_IMPOSSIBLE);
		pages.size_bytes = (uint64_t)heap->page_bytes << order;
	}
	if (pages.align_bytes < heap->page_bytes)
		pages.align_bytes = heap->page_bytes;
	struct kml_grant grant = heap->backing->allocator->alloc(heap->backing, &pages);
	if (grant.status == KML_OK)
		heap->books.page_bytes += grant.granted_bytes;
	return grant;
}

/* ------------------------------------------------------------------------------------------- alloc and free */

static struct kml_grant alloc_object(struct object_cache *cache, const struct kml_request *request)
{
	struct object_heap *heap = cache->heap;
	const struct object_strategy *strategy = heap->strategy;
	if (request->size_bytes > cache->object_bytes)
		return kml_refuse(KML_IMPOSSIBLE);
	bool warm = (request->flags & KML_WARM) && strategy->take_warm && !heap->has_settled;
	struct object_place place = {.cache = cache, .granted_bytes = cache->object_bytes};
	enum kml_status status =
		warm ? strategy->take_warm(cache, request, &place) : strategy->take(cache, request, &place);
	if (status != KML_OK)
		return kml_refuse(status);
	if (cache->is_guarded && guard_check_taken(&place) != KML_OK) {
		const struct kml_release back = {.address = place.address, .cache = KML_NO_CACHE, .cpu = request->cpu};
		strategy->give(&place, &back);
		return kml_refuse(KML_POISON);
	}
	cache->live++;
	heap->books.steps++;
	if (request->flags & KML_ZEROED)
		memset(object_memory(heap, place.address), 0,
		       request->size_bytes & ~(KML_PLANTED(object_zeroes_words) ? 7ull : 0));
	return (struct kml_grant){KML_OK, place.address, place.granted_bytes};
}

/* What the caches of the strategy promise of every object's address. */
static bool meets_alignment(const struct object_cache *cache, uint64_t align_bytes)
{
	return align_bytes <= 8 || align_bytes <= cache->description.align_bytes;
}

static struct kml_grant alloc_kmalloc(struct object_heap *heap, const struct kml_request *request)
{
	if (heap->strategy->kmalloc)
		return heap->strategy->kmalloc(heap, request);
	uint64_t size_bytes = kmalloc_class_size(request);
	if (size_bytes > KMALLOC_MAX_BYTES)
		return object_take_pages(heap, request);
	if (size_bytes < heap->strategy->kmalloc_min_bytes)
		size_bytes = heap->strategy->kmalloc_min_bytes;
	struct object_cache *cache = kmalloc_cache(heap, size_bytes, request->flags);
	return cache ? alloc_object(cache, request) : kml_refuse(KML_NO_MEMORY);
}

struct kml_grant object_alloc(struct kml_heap *base, const struct kml_request *request)
{
	struct object_heap *heap = object_heap_of(base);
	if (request->size_bytes == 0 || (request->align_bytes & (request->align_bytes - 1)) != 0)
		return kml_refuse(KML_IMPOSSIBLE);
	if (request->flags & KML_VMALLOC)
		return vmalloc_alloc(heap, request);
	if (request->flags & KML_PAGES)
		return object_take_pages(heap, request);
	struct object_cache *cache = request->cache < heap->cache_count ? heap->caches[request->cache] : NULL;
	if (!cache || ((request->flags & KML_KMALLOC) && heap->strategy->kmalloc))
		return alloc_kmalloc(heap, request);
	if (!meets_alignment(cache, request->align_bytes))
		return kml_refuse(KML_IMPOSSIBLE);
	return alloc_object(cache, request);
}

/* The cache that the caller says the object is of; NULL: says none, or goes by size where the strategy does too. */
static const struct object_cache *named_cache(const struct object_heap *heap, const struct kml_release *release)
{
	if (heap->strategy->kmalloc && (release->flags & KML_KMALLOC))
		return NULL;
	return release->cache < heap->cache_count ? heap->caches[release->cache] : NULL;
}

static enum kml_status free_pages(struct object_heap *heap, const struct kml_release *release)
{
	struct kml_heap *backing = heap->backing;
	uint64_t granted_bytes = backing->allocator->usable(backing, release->address);
	if (granted_bytes > 0 && named_cache(heap, release))
		return KML_WRONG_CACHE; /* pages are of no cache */
	enum kml_status status = backing->allocator->free(backing, release);
	if (status == KML_OK)
		heap->books.page_bytes -= granted_bytes;
	return status;
}

enum kml_status object_free(struct kml_heap *base, const struct kml_release *release)
{
	struct object_heap *heap = object_heap_of(base);
	if (vmalloc_owns(heap, release->address))
		return vmalloc_free(heap, release);
	void *run = kml_arena_page(heap->arena, release->address)->owner;
	if (!run)
		return free_pages(heap, release);
	if (run == VMALLOC_OWNER)
		return KML_INTERIOR;
	struct object_place place;
	enum kml_status status = heap->strategy->resolve(heap, run, release->address, &place);
	if (status != KML_OK)
		return status;
	const struct object_cache *named = named_cache(heap, release);
	if (named && named != place.cache &&
	    !(KML_PLANTED(object_cache_by_size) && named->object_bytes == place.granted_bytes))
		return KML_WRONG_CACHE;
	if (place.cache && place.cache->is_guarded && guard_check_given(&place) != KML_OK)
		return KML_RED_ZONE;
	if (place.cache)
		place.cache->live--;
	heap->books.steps++;
	heap->strategy->give(&place, release);
	return KML_OK;
}

uint64_t object_usable(const struct kml_heap *base, uint64_t address)
{
	const struct object_heap *heap = object_heap_of(base);
	if (vmalloc_owns(heap, address))
		return vmalloc_usable(heap, address);
	void *run = kml_arena_page(heap->arena, address)->owner;
	if (!run)
		return heap->backing->allocator->usable(heap->backing, address);
	if (run == VMALLOC_OWNER)
		return 0;
	struct object_place place;
	return heap->strategy->resolve(heap, run, address, &place) == KML_OK ? place.granted_bytes : 0;
}

/* ------------------------------------------------------------------------------------------ shrink and drain */

void object_shrink(struct kml_heap *base)
{
	struct object_heap *heap = object_heap_of(base);
	for (uint32_t i = 0; i < cache_limit(heap); i++)
		if (cache_at(heap, i))
			heap->strategy->cache_shrink(heap->caches[i]);
	if (heap->strategy->heap_shrink)
		heap->strategy->heap_shrink(heap);
}

void object_cache_shrink(struct kml_heap *base, uint32_t index)
{
	struct object_heap *heap = object_heap_of(base);
	if (index < cache_limit(heap) && heap->caches[index])
		heap->strategy->cache_shrink(heap->caches[index]);
}

void object_drain(struct kml_heap *base, uint16_t cpu)
{
	struct object_heap *heap = object_heap_of(base);
	if (!heap->strategy->cache_drain || cpu >= heap->cpu_count)
		return;
	for (uint32_t i = 0; i < cache_limit(heap); i++)
		if (cache_at(heap, i))
			heap->strategy->cache_drain(heap->caches[i], cpu);
}

/* ----------------------------------------------------------------------------------------- start in mid-life */

void object_seed(struct kml_heap *base, const struct kml_seed *seed)
{
	struct object_heap *heap = object_heap_of(base);
	struct object_cache *cache = seed->cache < heap->cache_count ? heap->caches[seed->cache] : NULL;
	if (cache && heap->strategy->seed && !heap->has_settled)
		heap->strategy->seed(cache, seed);
}

void object_settle(struct kml_heap *base)
{
	struct object_heap *heap = object_heap_of(base);
	if (heap->has_settled)
		return;
	heap->has_settled = true;
	for (uint32_t i = 0; heap->strategy->cache_settle && i < cache_limit(heap); i++)
		if (cache_at(heap, i))
			heap->strategy->cache_settle(heap->caches[i]);
}

void object_notice(struct kml_heap *base, const struct kml_notice *notice)
{
	struct object_heap *heap = object_heap_of(base);
	struct object_cache *cache = notice->cache < heap->cache_count ? heap->caches[notice->cache] : NULL;
	if (heap->strategy->notice)
		heap->strategy->notice(heap, cache, notice);
}

uint64_t object_tick(struct kml_heap *base, uint64_t now_ns)
{
	struct object_heap *heap = object_heap_of(base);
	return heap->strategy->tick ? heap->strategy->tick(heap, now_ns) : UINT64_MAX;
}

/* ------------------------------------------------------------------------------------------------- figures */

void object_stats(const struct kml_heap *base, struct kml_stats *stats)
{
	const struct object_heap *heap = object_heap_of(base);
	const struct object_books *books = &heap->books;
	heap->backing->allocator->stats(heap->backing, stats);
	uint64_t *waste = stats->waste_bytes;
	uint64_t used_bytes = books->slot_bytes + books->tail_bytes + books->management_bytes;
	stats->granted_bytes = books->live_bytes + books->page_bytes;
	waste[KML_WASTE_SLAB_TAIL] += books->tail_bytes;
	waste[KML_WASTE_MANAGEMENT] += books->management_bytes + books->live_slot_bytes - books->live_bytes;
	waste[KML_WASTE_FREE_SLOTS] += books->free_slot_bytes;
	waste[KML_WASTE_CPU_CACHED] += books->slot_bytes - books->free_slot_bytes - books->live_slot_bytes;
	waste[KML_WASTE_BUDDY_ROUNDING] += books->run_granted_bytes - used_bytes;
	stats->metadata_bytes += books->metadata_bytes;
	stats->steps += books->steps;
}

bool object_cache_stats(const struct kml_heap *base, uint32_t index, struct kml_cache_stats *stats)
{
	const struct object_heap *heap = object_heap_of(base);
	*stats = (struct kml_cache_stats){0};
	if (index == cache_limit(heap) && heap->strategy->heap_stats) {
		heap->strategy->heap_stats(heap, stats);
		return true;
	}
	if (index >= cache_limit(heap))
		return false;
	const struct object_cache *cache = cache_at(heap, index);
	if (!cache)
		return true;
	heap->strategy->cache_stats(cache, stats);
	stats->name = cache->description.name;
	stats->live_objects = cache->live;
	return true;
}

uint32_t object_free_areas(const struct kml_heap *base, struct kml_free_area *areas)
{
	const struct object_heap *heap = object_heap_of(base);
	return heap->backing->allocator->free_areas(heap->backing, areas);
}

/* --------------------------------------------------------------------------------------------- walk and check */

struct walk {
	const struct object_heap *heap;
	kml_visit *visit;
	void *context;
	bool stopped;
};

/* A block of the backing: a run of the strategy's shows its objects, pages of vmalloc come with their area, all else is
 * as the backing has it. */
static bool visit_backing(void *context, const struct kml_block *block)
{
	struct walk *walk = context;
	void *run = block->state == KML_BLOCK_GRANTED ? kml_arena_page(walk->heap->arena, block->address)->owner : NULL;
	if (run == VMALLOC_OWNER)
		return true;
	bool goes_on = run ? walk->heap->strategy->walk_run(walk->heap, run, walk->visit, walk->context)
			   : walk->visit(walk->context, block);
	walk->stopped = !goes_on;
	return goes_on;
}

void object_walk(const struct kml_heap *base, kml_visit *visit, void *context)
{
	struct walk walk = {object_heap_of(base), visit, context, false};
	walk.heap->backing->allocator->walk(walk.heap->backing, visit_backing, &walk);
	if (!walk.stopped)
		vmalloc_walk(walk.heap, visit, context);
}

/* What the walk shows of runs, against the books. */
struct census {
	const struct object_heap *heap;
	struct kml_error *error;
	bool is_good;
	uint64_t run_granted_bytes, page_bytes;
};

/* All pages of a block have one owner in the page map; a free block has none, which its first page stands for. */
static bool has_one_owner(struct census *census, const struct kml_block *block, const void *owner)
{
	const struct object_heap *heap = census->heap;
	bool is_free = block->state == KML_BLOCK_FREE;
	uint64_t limit_bytes = is_free ? heap->page_bytes : block->size_bytes;
	for (uint64_t offset = 0; offset + heap->page_bytes <= limit_bytes; offset += heap->page_bytes)
		if (kml_arena_page(heap->arena, block->address + offset)->owner != (is_free ? NULL : owner))
			return kml_fail(census->error,
					"the page at %" PRIu64 " of the block at %" PRIu64 " of %" PRIu64
					" bytes (%s) is marked as another's",
					block->address + offset, block->address, block->size_bytes,
					is_free ? "free" : "granted");
	return true;
}

static bool count_backing(void *context, const struct kml_block *block)
{
	struct census *census = context;
	const struct object_strategy *strategy = census->heap->strategy;
	if (block->state != KML_BLOCK_GRANTED && block->state != KML_BLOCK_FREE)
		return true;
	void *owner = kml_arena_page(census->heap->arena, block->address)->owner;
	census->is_good = has_one_owner(census, block, owner);
	if (!census->is_good || block->state == KML_BLOCK_FREE)
		return census->is_good;
	if (owner && owner != VMALLOC_OWNER && strategy->run_validate)
		census->is_good = strategy->run_validate(census->heap, owner, census->error);
	/* Of a block in an area the caller has the whole pages. */
	uint64_t rounding_bytes = block->size_bytes % census->heap->page_bytes;
	if (!owner)
		census->page_bytes += block->size_bytes;
	else if (owner == VMALLOC_OWNER) {
		census->page_bytes += block->size_bytes - rounding_bytes;
		census->run_granted_bytes += rounding_bytes;
	} else
		census->run_granted_bytes += block->size_bytes;
	return census->is_good;
}

bool object_validate(const struct kml_heap *base, struct kml_error *error)
{
	const struct object_heap *heap = object_heap_of(base);
	struct census census = {.heap = heap, .error = error, .is_good = true};
	heap->backing->allocator->walk(heap->backing, count_backing, &census);
	if (!census.is_good)
		return false;
	if (census.run_granted_bytes != heap->books.run_granted_bytes || census.page_bytes != heap->books.page_bytes)
		return kml_fail(error,
				"the page layer granted %" PRIu64 " bytes of slabs and %" PRIu64
				" to callers, the books say %" PRIu64 " and %" PRIu64,
				census.run_granted_bytes, census.page_bytes, heap->books.run_granted_bytes,
				heap->books.page_bytes);
	uint64_t live_bytes = 0;
	for (uint32_t i = 0; i < cache_limit(heap); i++) {
		const struct object_cache *cache = cache_at(heap, i);
		if (!cache)
			continue;
		live_bytes += cache->live * cache->object_bytes;
		if (!heap->strategy->cache_validate(cache, error))
			return false;
	}
	if (!heap->strategy->kmalloc && live_bytes != heap->books.live_bytes)
		return kml_fail(error, "live objects of all caches have %" PRIu64 " bytes, the books say %" PRIu64,
				live_bytes, heap->books.live_bytes);
	if (!vmalloc_validate(heap, error) || (heap->has_guards && !guard_validate(heap, error)))
		return false;
	return !heap->strategy->heap_validate || heap->strategy->heap_validate(heap, error);
}
