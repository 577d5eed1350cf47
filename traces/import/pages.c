/*
 * pages.c - which block of pages, and which slab, each page belongs to as the events go by.
 *
 * Ties objects to the pages they lie in, and by that: tells the slab allocator's own pages from page demand (a block in
 * which an object was seen while the block lived), finds caches of kfrees, leaves out the page events that a large
 * kmalloc stands for, and finds blocks freed without a trace. Blocks are naturally aligned powers of two, so any two
 * nest or are disjoint. 8 bytes a page touched, in chunks of 16 pages; O(2^order) per page event, O(1) per object.
 *
 * Blocks freed in other sizes than allocated (split_page(), alloc_pages_exact(), torn huge pages):
 *   part of a block: the block is freed and its remaining buddies are allocated again, marked KMT_IMPLICIT
 *   several blocks:  each is freed
 */
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

/* A large kmalloc's pages are freed right after its kfree (mm/slub.c, free_large_kmalloc). */
enum { LARGE_FREE_EVENTS = 256 };

static struct page *find_page(const struct import *import, uint64_t pfn)
{
	uint32_t chunk = kml_hashmap_get(&import->pages.chunk_of, pfn / PAGES_IN_CHUNK);

	return chunk == KML_HASHMAP_NONE ? NULL : &import->pages.chunks.items[chunk][pfn % PAGES_IN_CHUNK];
}

/* Found or made. NULL and *error when memory is exhausted. */
static struct page *make_page(struct import *import, uint64_t pfn, struct kml_error *error)
{
	struct page *page = find_page(import, pfn);

	if (page != NULL)
		return page;
	if (import->pages.chunks.count >= IMPORT_CHUNKS_MAX) {
		kml_fail(error,
			 "the trace touches more than %u pages: is it damaged? Else split it and import the parts",
			 IMPORT_CHUNKS_MAX * PAGES_IN_CHUNK);
		return NULL;
	}
	struct page *chunk = malloc(PAGES_IN_CHUNK * sizeof(*chunk));
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): a vector of pointers to chunks */
	if (chunk == NULL || !import_reserve(&import->pages.chunks, error) ||
	    !kml_hashmap_set(&import->pages.chunk_of, pfn / PAGES_IN_CHUNK, import->pages.chunks.count)) {
		free(chunk);
		kml_fail(error, "out of memory");
		return NULL;
	}
	for (int i = 0; i < PAGES_IN_CHUNK; i++)
		chunk[i] = (struct page){.owner = PAGE_WARM, .warm_cache = SLAB_UNSEEN};
	import->pages.chunks.items[import->pages.chunks.count++] = chunk;
	return &chunk[pfn % PAGES_IN_CHUNK];
}

void import_pages_destroy(struct pages *pages)
{
	for (uint32_t i = 0; i < pages->chunks.count; i++)
		free(pages->chunks.items[i]);
	free(pages->chunks.items);
	kml_hashmap_free(&pages->chunk_of);
}

static struct lifetime *owner_of(const struct import *import, const struct page *page)
{
	return page == NULL || page->owner >= PAGE_FREE ? NULL : &import->lifetimes.items[page->owner];
}

static bool set_owner(struct import *import, uint64_t pfn, uint32_t order, uint32_t owner, struct kml_error *error)
{
	for (uint64_t i = pfn; i < pfn + (1ull << order); i++) {
		struct page *page = make_page(import, i, error);
		if (page == NULL)
			return false;
		page->owner = owner;
	}
	return true;
}

/* Every object lies on a multiple of 8 (ARCH_KMALLOC_MINALIGN), so these are all the places to look at. */
static bool free_objects_in(struct import *import, uint32_t event, uint32_t block, struct kml_error *error)
{
	const struct lifetime *pages = &import->lifetimes.items[block];
	uint64_t begin = import->origin.direct_map_base + (pages->place << import->page_shift);
	uint64_t end = begin + (pages->dropped ? 8 : pages->size_bytes);

	for (uint64_t pointer = begin; pointer < end && import->lifetimes.items[block].live_objects > 0; pointer += 8) {
		uint32_t object = kml_hashmap_get(&import->lifetime_of_pointer, pointer);
		if (object != KML_HASHMAP_NONE && import->lifetimes.items[object].live &&
		    !import_free_untraced(import, event, object, error))
			return false;
	}
	return true;
}

/* The block is free. Objects still in it went without a trace before it. */
static bool release(struct import *import, uint32_t event, uint32_t block, bool implicit, struct kml_error *error)
{
	if (import->lifetimes.items[block].live_objects > 0 && !free_objects_in(import, event, block, error))
		return false;
	struct lifetime *pages = &import->lifetimes.items[block];
	pages->live = false;
	import_count(import, KMT_QUIRK_IMPLICIT_FREE, implicit);
	if (!set_owner(import, pages->place, pages->order, PAGE_FREE, error))
		return false;
	if (!pages->dropped)
		return import_add_action(import, event, KMT_PAGE_FREE, block, implicit, error);
	import_count(import, KMT_QUIRK_LARGE_PAGES, 1);
	return true;
}

static struct lifetime new_block(const struct import *import, uint32_t event, uint64_t pfn, uint32_t order,
				 uint32_t flags)
{
	uint64_t bytes = (uint64_t)import_page_bytes(import) << order;

	return (struct lifetime){
		.address = pfn << import->page_shift,
		.place = pfn,
		.size_bytes = bytes,
		.granted_bytes = bytes,
		.event = event,
		.cache = KMT_NO_CACHE,
		.flags = (uint16_t)(flags | KML_PAGES | KML_CONTIGUOUS),
		.order = (uint8_t)order,
		.is_page = true,
	};
}

static uint32_t flags_of(const struct stored_event *event)
{
	uint32_t flags = 0;

	/* Migrate types: 0 unmovable, 1 movable, 2 reclaimable; the gfp mask says the same in every version. */
	if ((event->gfp & RAW_GFP_MOVABLE) != 0)
		flags |= KML_MOVABLE;
	if ((event->gfp & RAW_GFP_RECLAIMABLE) != 0)
		flags |= KML_RECLAIMABLE;
	if ((flags & (KML_MOVABLE | KML_RECLAIMABLE)) == 0 && event->migrate_type == 1)
		flags |= KML_MOVABLE;
	if ((flags & (KML_MOVABLE | KML_RECLAIMABLE)) == 0 && event->migrate_type == 2)
		flags |= KML_RECLAIMABLE;
	flags |= (event->gfp & RAW_GFP_ATOMIC) != 0 ? KML_ATOMIC : 0;
	flags |= (event->gfp & RAW_GFP_ZERO) != 0 ? KML_ZEROED : 0;
	flags |= (event->gfp & RAW_GFP_DMA) != 0 ? KML_DMA : 0;
	flags |= event->accounted || (event->gfp & RAW_GFP_ACCOUNT) != 0 ? KMT_ACCOUNTED : 0;
	return flags;
}

static bool start_block(struct import *import, uint32_t event, const struct lifetime *block, bool implicit,
			struct kml_error *error)
{
	uint32_t index = import_add_lifetime(import, block, error);

	if (index == IMPORT_NONE)
		return false;
	import->lifetimes.items[index].live = true;
	return set_owner(import, block->place, block->order, index, error) &&
	       import_add_action(import, event, KMT_PAGE_ALLOC, index, implicit, error);
}

bool import_page_alloc(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	uint64_t end = raw->place + (1ull << raw->order);

	/* What still lives there was freed without a trace. */
	for (uint64_t pfn = raw->place; pfn < end; pfn++) {
		const struct page *page = find_page(import, pfn);
		if (owner_of(import, page) != NULL && !release(import, event, page->owner, true, error))
			return false;
	}
	struct lifetime block = new_block(import, event, raw->place, raw->order, flags_of(raw));
	return start_block(import, event, &block, false, error);
}

/* A part of the block is freed: its other parts live on. */
static bool split(struct import *import, uint32_t event, uint32_t block, uint64_t pfn, uint32_t order,
		  struct kml_error *error)
{
	const struct lifetime whole = import->lifetimes.items[block];

	import_count(import, KMT_QUIRK_SPLIT_PAGES, 1);
	if (!release(import, event, block, false, error))
		return false;
	for (uint32_t half = order; half < whole.order; half++) {
		uint64_t buddy = (pfn & ~((1ull << half) - 1)) ^ (1ull << half);
		struct lifetime part = new_block(import, event, buddy, half, whole.flags & ~(uint32_t)KMT_WARM);
		part.cache = whole.cache;
		if (!start_block(import, event, &part, true, error))
			return false;
	}
	return true;
}

/* The largest block that starts at pfn, ends before `end` and is in one state. */
static uint32_t uniform_order(const struct import *import, uint64_t pfn, uint64_t end, uint32_t state)
{
	uint32_t order = 0;

	for (;; order++) {
		uint64_t size = 1ull << order;
		if (order == IMPORT_ORDER_MAX || (pfn & size) != 0 || pfn + 2 * size > end)
			return order;
		for (uint64_t i = pfn + size; i < pfn + 2 * size; i++) {
			const struct page *page = find_page(import, i);
			if ((page == NULL ? PAGE_WARM : page->owner) != state)
				return order;
		}
	}
}

/* Whether objects were seen in the block before its first event; *cache: whose, when known. */
static bool held_objects(const struct import *import, uint64_t pfn, uint32_t order, uint16_t *cache)
{
	bool held = false;

	for (uint64_t i = pfn; i < pfn + (1ull << order); i++) {
		const struct page *page = find_page(import, i);
		held = held || (page != NULL && page->warm_cache != SLAB_UNSEEN);
		if (page != NULL && page->warm_cache < SLAB_UNTOLD)
			*cache = (uint16_t)page->warm_cache;
	}
	return held;
}

/*
 * A kfree of something unknown, and now its pages go: it was a large kmalloc. Then the object stands for the pages.
 */
static bool was_large(struct import *import, uint32_t event, uint64_t pfn, uint32_t order)
{
	uint64_t pointer = import->origin.direct_map_base + (pfn << import->page_shift);
	uint32_t index = kml_hashmap_get(&import->lifetime_of_pointer, pointer);

	if (index == KML_HASHMAP_NONE || import->origin.direct_map_base == 0)
		return false;
	struct lifetime *object = &import->lifetimes.items[index];
	if ((object->flags & KMT_WARM) == 0 || event - object->event > LARGE_FREE_EVENTS ||
	    object->cache != KMT_NO_CACHE || import->events.items[object->event].kind != RAW_KFREE)
		return false;
	object->flags |= KMT_LARGE;
	object->size_bytes = object->granted_bytes = (uint64_t)import_page_bytes(import) << order;
	import_count(import, KMT_QUIRK_LARGE_PAGES, 1);
	return true;
}

/* Pages that no event allocated: handed over by the boot code, or allocated before the capture began. */
static bool free_warm(struct import *import, uint32_t event, uint64_t pfn, uint32_t order, struct kml_error *error)
{
	struct lifetime block = new_block(import, event, pfn, order, 0);
	bool boot = import->origin.at_boot;

	if (!boot && was_large(import, event, pfn, order))
		return set_owner(import, pfn, order, PAGE_FREE, error);
	if (!boot)
		block.flags |= KMT_WARM | (held_objects(import, pfn, order, &block.cache) ? KMT_SLAB_PAGE : 0);
	uint32_t index = import_add_lifetime(import, &block, error);
	if (index == IMPORT_NONE || !set_owner(import, pfn, order, PAGE_FREE, error))
		return false;
	if (boot)
		return import_add_action(import, event, KMT_PAGE_ADD, index, false, error);
	import_count(import, KMT_QUIRK_UNMATCHED_FREE, 1);
	if (!import_reserve(&import->warm, error))
		return false;
	import->warm.items[import->warm.count++] = index;
	return import_add_action(import, event, KMT_PAGE_FREE, index, false, error);
}

bool import_page_free(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	uint64_t end = raw->place + (1ull << raw->order);

	for (uint64_t pfn = raw->place; pfn < end;) {
		const struct page *page = find_page(import, pfn);
		uint32_t owner = page == NULL ? PAGE_WARM : page->owner;
		uint32_t order;

		if (owner < PAGE_FREE) {
			order = import->lifetimes.items[owner].order;
			if (order > raw->order)
				return split(import, event, owner, raw->place, raw->order, error);
			import_count(import, KMT_QUIRK_SPLIT_PAGES, order < raw->order);
			if (!release(import, event, owner, false, error))
				return false;
		} else {
			order = uniform_order(import, pfn, end, owner);
			if (owner == PAGE_FREE)
				import_count(import, KMT_QUIRK_UNTRACED_ALLOC, 1);
			else if (!free_warm(import, event, pfn, order, error))
				return false;
		}
		pfn += 1ull << order;
	}
	return true;
}

bool import_slab_page_alloc(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	struct lifetime *block = owner_of(import, find_page(import, raw->place));
	uint16_t cache = KMT_NO_CACHE;

	if (block == NULL)
		return true;
	block->flags |= KMT_SLAB_PAGE;
	if (!import_names_a_cache(import, raw->name))
		return true;
	if (!import_cache_named(import, raw->name, &cache, error))
		return false;
	block->cache = cache;
	return true;
}

/* A slab's other pages belong to the same cache; slabs are naturally aligned blocks. */
static bool see_warm(struct import *import, uint64_t pfn, uint16_t cache, struct kml_error *error)
{
	uint32_t pages = cache == KMT_NO_CACHE ? 1 : import->caches.items[cache].pages_per_slab;

	if (pages == 0 || (pages & (pages - 1)) != 0 || pages > 1u << IMPORT_ORDER_MAX)
		pages = 1;
	uint64_t first = pfn & ~((uint64_t)pages - 1);
	for (uint64_t i = first; i < first + pages; i++) {
		struct page *page = make_page(import, i, error);
		if (page == NULL)
			return false;
		if (page->owner == PAGE_WARM)
			page->warm_cache = cache == KMT_NO_CACHE ? SLAB_UNTOLD : cache;
	}
	return true;
}

bool import_page_sees_object(struct import *import, const struct lifetime *object, int32_t live_change,
			     struct kml_error *error)
{
	if (import->pointers_hashed || object->place < import->origin.direct_map_base ||
	    (object->flags & KMT_LARGE) != 0)
		return true;
	uint64_t pfn = import_pfn(import, object->place);
	struct page *page = find_page(import, pfn);
	struct lifetime *block = owner_of(import, page);
	if (block != NULL) {
		if (!block->dropped)
			block->flags |= KMT_SLAB_PAGE;
		if (block->cache == KMT_NO_CACHE)
			block->cache = object->cache;
		if (live_change > 0 || block->live_objects > 0)
			block->live_objects += (uint32_t)live_change;
		return true;
	}
	if (page != NULL && (page->owner == PAGE_FREE || page->warm_cache < SLAB_UNTOLD))
		return true;
	if (page != NULL && page->warm_cache == SLAB_UNTOLD && object->cache == KMT_NO_CACHE)
		return true;
	return see_warm(import, pfn, object->cache, error);
}

void import_page_is_large(struct import *import, uint64_t pointer)
{
	struct lifetime *block;
	uint64_t pfn;

	if (import->origin.direct_map_base == 0 || pointer < import->origin.direct_map_base)
		return;
	pfn = import_pfn(import, pointer);
	block = owner_of(import, find_page(import, pfn));
	if (block == NULL || block->place != pfn || block->dropped)
		return;
	block->dropped = true;
	block->flags &= (uint16_t)~KMT_SLAB_PAGE;
	block->live_objects = 1;
	import_count(import, KMT_QUIRK_LARGE_PAGES, 1);
}

uint16_t import_page_cache(const struct import *import, uint64_t pointer)
{
	const struct page *page = find_page(import, import_pfn(import, pointer));
	const struct lifetime *block = owner_of(import, page);

	if (block != NULL)
		return block->cache;
	return page == NULL || page->owner != PAGE_WARM ? KMT_NO_CACHE : import_page_warm_cache(import, pointer);
}

uint16_t import_page_warm_cache(const struct import *import, uint64_t pointer)
{
	const struct page *page = find_page(import, import_pfn(import, pointer));

	return page == NULL || page->warm_cache >= SLAB_UNTOLD ? KMT_NO_CACHE : (uint16_t)page->warm_cache;
}

void import_page_tell_slab(struct import *import, uint64_t pointer, uint16_t cache)
{
	uint64_t pages = import->caches.items[cache].pages_per_slab;

	if (import->pointers_hashed || pointer < import->origin.direct_map_base || pages == 0 ||
	    (pages & (pages - 1)) != 0 || pages > 1u << IMPORT_ORDER_MAX)
		return;
	uint64_t first = import_pfn(import, pointer) & ~(pages - 1);
	for (uint64_t i = first; i < first + pages; i++) {
		struct page *page = find_page(import, i);
		if (page != NULL && page->warm_cache >= SLAB_UNTOLD)
			page->warm_cache = cache;
	}
}
