/*
 * zone_heap.c - Linux mode behind the ABI: creation, memory as it comes at boot, requests in bytes, figures, walk and
 * self-check; see zone.h.
 */
#include "allocators/buddy/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/reserve.h"

static struct zone *zone_of(struct kml_heap *heap)
{
	return (struct zone *)heap;
}

static const struct zone *const_zone_of(const struct kml_heap *heap)
{
	return (const struct zone *)heap;
}

/* ------------------------------------------------------------------------------------------ create and destroy */

static uint64_t block_type_count(const struct zone *zone)
{
	return (zone->page_count >> zone->rules.page_block_order) + 1;
}

static uint64_t descriptor_bytes(const struct zone *zone)
{
	return (zone->page_count + zone->head_count) * sizeof(struct zone_page);
}

static void release(struct zone *zone)
{
	kml_unreserve(zone->pages, descriptor_bytes(zone));
	kml_unreserve(zone->block_types, block_type_count(zone));
	free(zone->cpus);
	free(zone);
}

static bool measure(struct zone *zone, struct kml_error *error)
{
	const char *name = zone->heap.allocator->name;
	unsigned long long page_bytes = zone->rules.page_bytes;
	if ((page_bytes & (page_bytes - 1)) != 0)
		return kml_fail(error, "%s: in Linux mode the unit is a page, a power of two of bytes, not %llu", name,
				page_bytes);
	zone->page_shift = (uint32_t)__builtin_ctzll(page_bytes);
	zone->page_count = zone->arena->size_bytes >> zone->page_shift;
	zone->head_count = ZONE_ORDERS_MAX * ZONE_TYPES + (uint64_t)zone->cpu_count * ZONE_CPU_LISTS;
	if (zone->page_count == 0)
		return kml_fail(error,
				"%s: the arena of %llu bytes is smaller than a page of %llu bytes: use a larger arena "
				"or a smaller unit",
				name, (unsigned long long)zone->arena->size_bytes, page_bytes);
	if (zone->page_count + zone->head_count > UINT32_MAX)
		return kml_fail(error, "%s: in Linux mode there are at most 2^32 pages: use a larger unit", name);
	return true;
}

static bool reserve(struct zone *zone, struct kml_error *error)
{
	zone->pages = kml_reserve(descriptor_bytes(zone));
	zone->block_types = kml_reserve(block_type_count(zone));
	zone->cpus = calloc(zone->cpu_count, sizeof *zone->cpus);
	if (!zone->pages || !zone->block_types || !zone->cpus)
		return kml_fail(error,
				"%s: cannot reserve address space for the descriptors of %" PRIu64
				" pages: %s: use a larger unit or a smaller arena",
				zone->heap.allocator->name, zone->page_count, strerror(errno));
	for (uint64_t head = zone->page_count; head < zone->page_count + zone->head_count; head++)
		zone->pages[head].next = zone->pages[head].prev = (uint32_t)head;
	return true;
}

/* The whole arena is there from the start: fresh blocks of the largest order, then smaller ones to the last page. */
static void fill(struct zone *zone)
{
	uint32_t max_order = zone->rules.max_order;
	uint64_t fresh = zone->page_count >> max_order;
	zone->fresh_end = fresh << max_order;
	zone->free_count[max_order][zone->initial_type] = fresh;
	if (fresh > 0)
		zone->nonempty[zone->initial_type] = 1ull << max_order;
	uint64_t page = zone->fresh_end;
	for (uint32_t order = max_order; order-- > KML_PLANTED(zone_last_page_lost);) {
		if (!(zone->page_count >> order & 1))
			continue;
		zone_add_free(zone, page, order, zone->initial_type, true);
		zone->block_count++;
		page += 1ull << order;
	}
	zone->end_page = zone->free_pages = zone->managed_pages = zone->page_count;
	zone->largest_order = fresh > 0 ? max_order : 63 - (uint32_t)__builtin_clzll(zone->page_count);
	zone->has_begun = zone->is_up = true;
	zone_set_marks(zone);
	zone_size_cpu_lists(zone, zone->cpu_count);
}

/*
 * Nothing is there yet. The lists of the cpus keep nothing until they open (boot_pageset: high 0, batch 1). Page 0
 * is in no zone of an x86, so that memmap_init does not make the first page block movable.
 */
static void start_empty(struct zone *zone)
{
	zone->starts_empty = true;
	zone->first_page = UINT64_MAX;
	zone->batch = 1;
	if (zone->grouping)
		zone_set_block_type(zone, 0, ZONE_UNMOVABLE);
}

struct kml_heap *zone_create(const struct kml_allocator *allocator, const struct kml_environment *environment,
			     const struct zone_rules *rules, struct kml_error *error)
{
	struct zone *zone = calloc(1, sizeof *zone);
	if (!zone) {
		kml_fail(error, "%s: out of memory", allocator->name);
		return NULL;
	}
	zone->heap.allocator = allocator;
	zone->arena = environment->arena;
	zone->rules = *rules;
	zone->cpu_count = environment->cpu_count > 0 ? environment->cpu_count : 1;
	if (!measure(zone, error) || !reserve(zone, error)) {
		release(zone);
		return NULL;
	}
	/* build_all_zonelists: too little memory for a page block of each type is not grouped. */
	bool is_large = zone->page_count >= (uint64_t)ZONE_TYPES << rules->page_block_order;
	zone->grouping = rules->migrate && (is_large || environment->starts_empty);
	zone->initial_type = zone->grouping ? ZONE_MOVABLE : ZONE_UNMOVABLE;
	if (environment->starts_empty)
		start_empty(zone);
	else
		fill(zone);
	return &zone->heap;
}

/* --------------------------------------------------------------------------------------------- all blocks in order */

struct seen_block {
	uint64_t page;
	uint32_t order;
	enum zone_state state;
	bool fresh; /* has no descriptor yet */
};

/* The next block from *page on, which is moved behind it; false at the end. Memory that was never given is passed over.
 */
static bool next_block(const struct zone *zone, uint64_t *page, struct seen_block *seen)
{
	while (*page < zone->page_count) {
		const struct zone_page *first = &zone->pages[*page];
		bool fresh = *page >= zone->fresh_page && *page < zone->fresh_end;
		if (!fresh && first->state == ZONE_INSIDE) {
			KML_CHECK(zone->starts_empty, "page %" PRIu64 " is in no block", *page);
			++*page;
			continue;
		}
		*seen = (struct seen_block){*page, first->order, (enum zone_state)first->state, false};
		if (fresh)
			*seen = (struct seen_block){*page, zone->rules.max_order, ZONE_FREE, true};
		KML_CHECK(seen->order <= zone->rules.max_order, "the block at page %" PRIu64 " is of order %u", *page,
			  seen->order);
		*page += 1ull << seen->order;
		return true;
	}
	return false;
}

static uint64_t order_bytes(const struct zone *zone, uint32_t order)
{
	return zone->rules.page_bytes << order;
}

void zone_destroy(struct kml_heap *heap)
{
	struct zone *zone = zone_of(heap);
	struct seen_block seen;
	for (uint64_t page = 0; next_block(zone, &page, &seen);)
		if (seen.state != ZONE_FREE)
			kml_arena_give(zone->arena, seen.page << zone->page_shift, order_bytes(zone, seen.order));
	release(zone);
}

/* Memory that was never given, from one block to the next. */
static bool show_gap(const struct zone *zone, uint64_t from, uint64_t to, kml_visit *visit, void *context)
{
	struct kml_block gap = {.address = from << zone->page_shift,
				.size_bytes = (to - from) << zone->page_shift,
				.state = KML_BLOCK_ABSENT,
				.owner = KML_NO_CACHE};
	return from == to || visit(context, &gap);
}

static bool show_block(const struct zone *zone, const struct seen_block *seen, kml_visit *visit, void *context)
{
	static const enum kml_block_state states[] = {
		[ZONE_FREE] = KML_BLOCK_FREE, [ZONE_GRANTED] = KML_BLOCK_GRANTED, [ZONE_CACHED] = KML_BLOCK_CACHED};
	struct kml_block block = {.address = seen->page << zone->page_shift,
				  .size_bytes = order_bytes(zone, seen->order),
				  .state = states[seen->state],
				  .size_class = seen->order,
				  .owner = KML_NO_CACHE};
	if (seen->state == ZONE_CACHED)
		block.cpu = zone->pages[seen->page].cpu;
	return visit(context, &block);
}

void zone_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	const struct zone *zone = const_zone_of(heap);
	struct seen_block seen;
	uint64_t shown_until = 0;
	for (uint64_t page = 0; next_block(zone, &page, &seen); shown_until = page)
		if (!show_gap(zone, shown_until, seen.page, visit, context) || !show_block(zone, &seen, visit, context))
			return;
	show_gap(zone, shown_until, zone->page_count, visit, context);
}

/* --------------------------------------------------------------------------------------------- memory at boot */

/* The block that a page lies in; ZONE_NO_PAGE: the page was never given. Fresh ones aside. O(orders). */
static uint64_t block_around(const struct zone *zone, uint64_t page)
{
	for (uint32_t order = 0; order <= zone->rules.max_order; order++) {
		uint64_t start = page >> order << order;
		if (zone->pages[start].state != ZONE_INSIDE)
			return zone->pages[start].order >= order ? start : ZONE_NO_PAGE;
	}
	return ZONE_NO_PAGE;
}

static bool is_absent(const struct zone *zone, uint64_t page, uint64_t count)
{
	if (!zone->starts_empty || page + count > zone->page_count || block_around(zone, page) != ZONE_NO_PAGE)
		return false;
	for (uint64_t i = 0; i < count; i++)
		if (zone->pages[page + i].state != ZONE_INSIDE)
			return false;
	return true;
}

/*
 * Boot. The lists of the cpus open at setup_per_cpu_pageset, of which a page allocator sees nothing; but soon after it
 * the kernel begins to free memory that it had kept for itself (free_init_pages: "SMP alternatives"), and a second cpu
 * takes part only later. The marks are set a little later still (init_per_zone_wmark_min); nothing comes near them
 * until then.
 */
static void open_cpu_lists(struct zone *zone)
{
	zone->is_up = true;
	zone_set_marks(zone);
	zone_size_cpu_lists(zone, zone->cpu_count);
}

/*
 * A block of memory that was not managed before. Until the first request it comes from memblock (__free_pages_core): to
 * the tail of its list. Later it is memory that the kernel had kept, freed page by page like any other
 * (free_reserved_page).
 */
static void add_block(struct zone *zone, uint64_t page, uint32_t order, uint16_t cpu)
{
	zone->managed_pages += 1ull << order;
	zone->block_count++;
	zone->pages[page].order = (uint8_t)order;
	kml_arena_take(zone->arena, page << zone->page_shift, order_bytes(zone, order));
	if (zone->has_begun && zone->rules.percpu && order <= ZONE_COSTLY_ORDER)
		zone_cpu_give(zone, cpu, page, order);
	else
		zone_free_block(zone, page, order, zone_block_type(zone, page), !zone->has_begun);
}

enum kml_status zone_page_add(struct kml_heap *heap, uint64_t address, uint64_t size_bytes, uint16_t cpu)
{
	struct zone *zone = zone_of(heap);
	uint64_t page = address >> zone->page_shift, count = size_bytes >> zone->page_shift;
	bool whole = (address & (zone->rules.page_bytes - 1)) == 0 && count << zone->page_shift == size_bytes;
	if (!whole || count == 0 || page >= zone->page_count || count > zone->page_count ||
	    !is_absent(zone, page, count))
		return KML_IMPOSSIBLE;
	if (zone->has_begun && !zone->is_up && zone->rules.boot_requests == 0)
		open_cpu_lists(zone);
	uint64_t end = page + count;
	if (page < zone->first_page)
		zone->first_page = page;
	if (end > zone->end_page)
		zone->end_page = end;
	/* __free_pages_memory: as large as alignment and end allow. */
	while (page < end) {
		uint32_t order = zone->has_begun ? 0 : zone->rules.max_order;
		while (order > 0 && ((page & ((1ull << order) - 1)) != 0 || page + (1ull << order) > end))
			order--;
		add_block(zone, page, order, cpu);
		page += 1ull << order;
	}
	return KML_OK;
}

/* Another request or free comes, from this cpu. */
static void note_call(struct zone *zone, uint16_t cpu)
{
	if (__builtin_expect(zone->is_up, 1))
		return;
	zone->has_begun = true;
	bool is_told = zone->rules.boot_requests > 0;
	if (is_told ? zone->boot_requests++ == zone->rules.boot_requests : cpu != 0)
		open_cpu_lists(zone);
}

/* -------------------------------------------------------------------------------------------- alloc and free */

static enum zone_type type_of(const struct zone *zone, uint16_t flags)
{
	if (!zone->grouping)
		return ZONE_UNMOVABLE;
	if (flags & KML_MOVABLE)
		return ZONE_MOVABLE;
	return flags & KML_RECLAIMABLE ? ZONE_RECLAIMABLE : ZONE_UNMOVABLE;
}

/* A block is aligned to its size: an alignment beyond that asks for a larger block. False: larger than any. */
static bool order_for(const struct zone *zone, const struct kml_request *request, uint32_t *order)
{
	uint64_t size_bytes = request->align_bytes > request->size_bytes ? request->align_bytes : request->size_bytes;
	if (size_bytes > order_bytes(zone, zone->rules.max_order))
		return false;
	uint64_t last_page = (size_bytes - 1) >> zone->page_shift;
	*order = last_page > 0 ? 64 - (uint32_t)__builtin_clzll(last_page) : 0;
	return true;
}

static enum kml_status refusal(const struct zone *zone, uint32_t order, bool atomic)
{
	if (!zone_could_grant(zone, order, atomic))
		return KML_IMPOSSIBLE;
	bool enough = zone->free_pages >= 1ull << order && zone_mark_allows(zone, zone->free_pages, order, atomic);
	return enough ? KML_NO_RUN : KML_NO_MEMORY;
}

struct kml_grant zone_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct zone *zone = zone_of(heap);
	uint32_t order;
	if (request->size_bytes == 0 || (request->align_bytes & (request->align_bytes - 1)) != 0 ||
	    !order_for(zone, request, &order))
		return kml_refuse(KML_IMPOSSIBLE);
	note_call(zone, request->cpu);
	bool atomic = request->flags & KML_ATOMIC;
	uint64_t page = zone_request(zone, order, type_of(zone, request->flags), atomic, request->cpu);
	if (page == ZONE_NO_PAGE)
		return kml_refuse(refusal(zone, order, atomic));
	zone->pages[page].state = ZONE_GRANTED;
	zone->pages[page].movable = request->flags & KML_MOVABLE;
	zone->granted_pages += 1ull << order;
	uint64_t address = page << zone->page_shift;
	if ((request->flags & KML_ZEROED) && zone->arena->base)
		memset(zone->arena->base + address, 0, request->size_bytes);
	return (struct kml_grant){KML_OK, address, order_bytes(zone, order)};
}

/* The granted block that starts at the address, or why there is none. O(1) when there is, else O(orders). */
static enum kml_status resolve(const struct zone *zone, uint64_t address, uint64_t *page)
{
	*page = address >> zone->page_shift;
	if (*page >= zone->page_count)
		return KML_FOREIGN;
	enum zone_state state = (enum zone_state)zone->pages[*page].state;
	bool is_granted = state == ZONE_GRANTED || (KML_PLANTED(zone_frees_cached) && state == ZONE_CACHED);
	if (is_granted && *page << zone->page_shift == address)
		return KML_OK;
	if (*page >= zone->fresh_page && *page < zone->fresh_end)
		return KML_DOUBLE_FREE;
	uint64_t block = block_around(zone, *page);
	if (block == ZONE_NO_PAGE)
		return KML_FOREIGN;
	return zone->pages[block].state == ZONE_GRANTED ? KML_INTERIOR : KML_DOUBLE_FREE;
}

enum kml_status zone_free(struct kml_heap *heap, const struct kml_release *released)
{
	struct zone *zone = zone_of(heap);
	uint64_t page;
	enum kml_status status = resolve(zone, released->address, &page);
	if (status != KML_OK)
		return status;
	uint32_t order = zone->pages[page].order;
	zone->granted_pages -= 1ull << order;
	note_call(zone, released->cpu);
	if (zone->rules.percpu && order <= ZONE_COSTLY_ORDER)
		zone_cpu_give(zone, released->cpu, page, order);
	else
		zone_free_block(zone, page, order, zone_block_type(zone, page), false);
	return KML_OK;
}

uint64_t zone_usable(const struct kml_heap *heap, uint64_t address)
{
	const struct zone *zone = const_zone_of(heap);
	uint64_t page;
	return resolve(zone, address, &page) == KML_OK ? order_bytes(zone, zone->pages[page].order) : 0;
}

void zone_drain(struct kml_heap *heap, uint16_t cpu)
{
	zone_cpu_drain(zone_of(heap), cpu);
}

void zone_shrink(struct kml_heap *heap)
{
	struct zone *zone = zone_of(heap);
	for (uint32_t cpu = 0; cpu + KML_PLANTED(zone_shrink_forgets_cpu) < zone->cpu_count; cpu++)
		zone_cpu_drain(zone, cpu);
	zone_release_reserves(zone);
}

/* -------------------------------------------------------------------------------------------------------- figures */

static uint64_t orders_with_free(const struct zone *zone)
{
	uint64_t orders = 0;
	for (int type = 0; type < ZONE_TYPES; type++)
		orders |= zone->nonempty[type];
	return orders;
}

/* Descriptors of blocks that exist, list heads, cpus, and a byte for each page block that is not fresh. */
static uint64_t metadata_bytes(const struct zone *zone)
{
	uint64_t used_pages = zone->page_count - (zone->fresh_end - zone->fresh_page);
	return (zone->block_count + zone->head_count) * sizeof(struct zone_page) +
	       zone->cpu_count * sizeof(struct zone_cpu) + (used_pages >> zone->rules.page_block_order) + 1;
}

void zone_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	const struct zone *zone = const_zone_of(heap);
	uint64_t orders = orders_with_free(zone);
	uint32_t largest = orders ? 63 - (uint32_t)__builtin_clzll(orders) : 0;
	*stats = (struct kml_stats){.granted_bytes = zone->granted_pages << zone->page_shift,
				    .held_bytes = zone->arena->held_bytes,
				    .free_bytes = zone->free_pages << zone->page_shift,
				    .largest_free_bytes = orders ? order_bytes(zone, largest) : 0,
				    .metadata_bytes = metadata_bytes(zone),
				    .splits = zone->splits,
				    .merges = zone->merges};
	stats->waste_bytes[KML_WASTE_CPU_CACHED] = zone->cached_pages << zone->page_shift;
	stats->waste_bytes[KML_WASTE_EXTERNAL] = zone->arena->held_bytes - zone->arena->taken_bytes;
}

uint32_t zone_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	const struct zone *zone = const_zone_of(heap);
	for (uint32_t order = 0; order <= zone->rules.max_order; order++) {
		areas[order] = (struct kml_free_area){order_bytes(zone, order), 0};
		for (int type = 0; type < ZONE_TYPES; type++)
			areas[order].count += zone->free_count[order][type];
	}
	return zone->rules.max_order + 1;
}

/* ----------------------------------------------------------------------------------------------------- self-check */

/* What a walk found. */
struct census {
	uint64_t free_count[ZONE_ORDERS_MAX][ZONE_TYPES];
	uint64_t free_pages, cached_pages, granted_pages, blocks;
};

static bool apart_for_good(const struct zone *zone, uint64_t page, uint64_t buddy, uint32_t order)
{
	enum zone_type type = zone_block_type(zone, page), other = zone_block_type(zone, buddy);
	return order >= zone->rules.page_block_order && type != other &&
	       (type == ZONE_HIGHATOMIC || other == ZONE_HIGHATOMIC);
}

static bool check_free_block(const struct zone *zone, const struct seen_block *seen, struct census *census,
			     struct kml_error *error)
{
	const struct zone_page *first = &zone->pages[seen->page];
	enum zone_type type = seen->fresh ? zone->initial_type : (enum zone_type)first->type;
	if (type >= ZONE_TYPES)
		return kml_fail(error, "the free block at page %" PRIu64 " is of type %d", seen->page, (int)type);
	census->free_pages += 1ull << seen->order;
	census->free_count[seen->order][type]++;
	uint64_t buddy = seen->page ^ 1ull << seen->order;
	if (seen->order < zone->rules.max_order && buddy < zone->page_count && zone->pages[buddy].state == ZONE_FREE &&
	    zone->pages[buddy].order == seen->order && !apart_for_good(zone, seen->page, buddy, seen->order))
		return kml_fail(error, "the free blocks of order %u at pages %" PRIu64 " and %" PRIu64 " did not merge",
				seen->order, seen->page, buddy);
	return true;
}

static bool check_blocks(const struct zone *zone, struct census *census, struct kml_error *error)
{
	struct seen_block seen;
	for (uint64_t page = 0; next_block(zone, &page, &seen);) {
		census->blocks += !seen.fresh;
		if ((seen.page & ((1ull << seen.order) - 1)) != 0)
			return kml_fail(error, "the block of order %u at page %" PRIu64 " is not aligned", seen.order,
					seen.page);
		if (seen.state == ZONE_CACHED)
			census->cached_pages += 1ull << seen.order;
		else if (seen.state == ZONE_GRANTED)
			census->granted_pages += 1ull << seen.order;
		else if (!check_free_block(zone, &seen, census, error))
			return false;
	}
	return true;
}

/* The number of blocks on a list, of which each must be as `expected` says; UINT64_MAX and *error: one is not. */
static uint64_t count_list(const struct zone *zone, uint64_t head, const struct zone_page *expected, uint64_t *pages,
			   struct kml_error *error)
{
	uint64_t count = 0, last = head;
	for (uint64_t page = zone->pages[head].next; page != head; page = zone->pages[page].next) {
		const struct zone_page *first = &zone->pages[page];
		bool fits = page < zone->page_count && first->state == expected->state &&
			    first->order == expected->order && first->prev == last && count < zone->page_count;
		if (fits && expected->state == ZONE_FREE)
			fits = first->type == expected->type;
		if (fits && expected->state == ZONE_CACHED)
			fits = first->cpu == expected->cpu && first->list == expected->list;
		if (!fits) {
			kml_fail(error, "page %" PRIu64 " does not belong on the list of order %u, state %u, type %u",
				 page, expected->order, expected->state, expected->type);
			return UINT64_MAX;
		}
		count++;
		*pages += 1ull << first->order;
		last = page;
	}
	return count;
}

static bool check_free_lists(const struct zone *zone, const struct census *census, struct kml_error *error)
{
	for (uint32_t order = 0; order <= zone->rules.max_order; order++) {
		for (uint32_t type = 0; type < ZONE_TYPES; type++) {
			struct zone_page expected = {
				.state = ZONE_FREE, .order = (uint8_t)order, .type = (uint8_t)type};
			uint64_t pages = 0, found = census->free_count[order][type];
			uint64_t listed = count_list(zone, zone_free_list(zone, order, type), &expected, &pages, error);
			if (listed == UINT64_MAX)
				return false;
			if (order == zone->rules.max_order && type == zone->initial_type)
				listed += (zone->fresh_end - zone->fresh_page) >> order;
			bool said = zone->nonempty[type] >> order & 1;
			if (listed != found || zone->free_count[order][type] != found || said != (found > 0))
				return kml_fail(error,
						"free blocks of order %u and type %u: %" PRIu64 " counted, %" PRIu64
						" listed, the walk finds %" PRIu64,
						order, type, zone->free_count[order][type], listed, found);
		}
	}
	return true;
}

static bool check_cpu_lists(const struct zone *zone, struct kml_error *error)
{
	for (uint32_t cpu = 0; cpu < zone->cpu_count; cpu++) {
		uint64_t pages = 0;
		for (uint32_t list = 0; list < ZONE_CPU_LISTS; list++) {
			struct zone_page expected = {.state = ZONE_CACHED,
						     .order = (uint8_t)(list / ZONE_CPU_TYPES),
						     .cpu = (uint16_t)cpu,
						     .list = (uint16_t)list};
			if (count_list(zone, zone_cpu_list(zone, cpu, list), &expected, &pages, error) == UINT64_MAX)
				return false;
		}
		if (pages != zone->cpus[cpu].pages)
			return kml_fail(error, "cpu %u: %" PRIu64 " pages counted, %" PRIu64 " on its lists", cpu,
					zone->cpus[cpu].pages, pages);
	}
	return true;
}

static bool check_total(const char *what, uint64_t counted, uint64_t found, struct kml_error *error)
{
	return counted == found || kml_fail(error, "%s: %llu counted, the walk finds %llu", what,
					    (unsigned long long)counted, (unsigned long long)found);
}

/*
 * Nobody dips below the mark of the most urgent. Pages on the cpus count as left: a list is filled on the permission
 * for one block.
 */
static bool check_reserve(const struct zone *zone, struct kml_error *error)
{
	bool has_granted = zone->granted_pages > 0 && !zone->starts_empty;
	uint64_t left = zone->free_pages + zone->cached_pages;
	return !has_granted || zone_mark_allows(zone, left + 1, 0, true) ||
	       kml_fail(error, "%" PRIu64 " pages are left, fewer than the reserve below a minimum of %" PRIu64, left,
			zone->mark[ZONE_MARK_MIN]);
}

bool zone_validate(const struct kml_heap *heap, struct kml_error *error)
{
	const struct zone *zone = const_zone_of(heap);
	struct census census = {0};
	uint64_t cached_pages = 0;
	for (uint32_t cpu = 0; cpu < zone->cpu_count; cpu++)
		cached_pages += zone->cpus[cpu].pages;
	return check_blocks(zone, &census, error) && check_free_lists(zone, &census, error) &&
	       check_cpu_lists(zone, error) && check_reserve(zone, error) &&
	       check_total("free pages", zone->free_pages, census.free_pages, error) &&
	       check_total("cached pages", zone->cached_pages, census.cached_pages, error) &&
	       check_total("pages of the cpus", cached_pages, census.cached_pages, error) &&
	       check_total("granted pages", zone->granted_pages, census.granted_pages, error) &&
	       check_total("managed pages", zone->managed_pages,
			   census.free_pages + census.cached_pages + census.granted_pages, error) &&
	       check_total("blocks", zone->block_count, census.blocks, error) &&
	       check_total("taken bytes of the arena", zone->arena->taken_bytes,
			   (census.cached_pages + census.granted_pages) << zone->page_shift, error);
}
