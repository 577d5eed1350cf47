/*
 * zone.c - free lists, migrate types and page blocks of Linux mode; see zone.h. Functions name the one of
 * mm/page_alloc.c (Linux 6.1) whose rule they follow.
 */
#include "allocators/buddy/zone.h"

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

/* fallbacks[]: where a type without free blocks looks. */
enum { FALLBACKS = 2 };
static const enum zone_type fallbacks[ZONE_CPU_TYPES][FALLBACKS] = {
	[ZONE_UNMOVABLE] = {ZONE_RECLAIMABLE, ZONE_MOVABLE},
	[ZONE_MOVABLE] = {ZONE_RECLAIMABLE, ZONE_UNMOVABLE},
	[ZONE_RECLAIMABLE] = {ZONE_UNMOVABLE, ZONE_MOVABLE},
};

/* ----------------------------------------------------------------------------------------------------- lists */

uint64_t zone_free_list(const struct zone *zone, uint32_t order, enum zone_type type)
{
	return zone->page_count + order * ZONE_TYPES + type;
}

uint64_t zone_cpu_list(const struct zone *zone, uint32_t cpu, uint32_t list)
{
	return zone->page_count + ZONE_ORDERS_MAX * ZONE_TYPES + (uint64_t)cpu * ZONE_CPU_LISTS + list;
}

static void link_between(struct zone *zone, uint64_t page, uint64_t prev, uint64_t next)
{
	zone->pages[page].prev = (uint32_t)prev;
	zone->pages[page].next = (uint32_t)next;
	zone->pages[prev].next = (uint32_t)page;
	zone->pages[next].prev = (uint32_t)page;
}

void zone_list_add(struct zone *zone, uint64_t page, uint64_t head)
{
	link_between(zone, page, head, zone->pages[head].next);
}

void zone_list_add_tail(struct zone *zone, uint64_t page, uint64_t head)
{
	link_between(zone, page, zone->pages[head].prev, head);
}

void zone_list_remove(struct zone *zone, uint64_t page)
{
	uint32_t prev = zone->pages[page].prev, next = zone->pages[page].next;
	zone->pages[prev].next = next;
	zone->pages[next].prev = prev;
}

/* ------------------------------------------------------------------------------------------------ page blocks */

enum zone_type zone_block_type(const struct zone *zone, uint64_t page)
{
	return zone->block_types[page >> zone->rules.page_block_order] ^ zone->initial_type;
}

void zone_set_block_type(struct zone *zone, uint64_t page, enum zone_type type)
{
	zone->block_types[page >> zone->rules.page_block_order] = (uint8_t)(type ^ zone->initial_type);
}

/* change_pageblock_range */
static void set_block_types(struct zone *zone, uint64_t page, uint32_t order, enum zone_type type)
{
	uint64_t step = 1ull << zone->rules.page_block_order;
	for (uint64_t i = 0; i < 1ull << order; i += step)
		zone_set_block_type(zone, page + i, type);
}

/* -------------------------------------------------------------------------------------------- free areas */

static void count_free(struct zone *zone, uint32_t order, enum zone_type type)
{
	zone->free_count[order][type]++;
	zone->nonempty[type] |= 1ull << order;
}

static void uncount_free(struct zone *zone, uint32_t order, enum zone_type type)
{
	if (--zone->free_count[order][type] == 0)
		zone->nonempty[type] &= ~(1ull << order);
}

void zone_add_free(struct zone *zone, uint64_t page, uint32_t order, enum zone_type type, bool at_tail)
{
	struct zone_page *first = &zone->pages[page];
	first->state = ZONE_FREE;
	first->order = (uint8_t)order;
	first->type = (uint8_t)type;
	uint64_t head = zone_free_list(zone, order, type);
	if (at_tail)
		zone_list_add_tail(zone, page, head);
	else
		zone_list_add(zone, page, head);
	count_free(zone, order, type);
}

/* del_page_from_free_list */
static void remove_free(struct zone *zone, uint64_t page)
{
	struct zone_page *first = &zone->pages[page];
	zone_list_remove(zone, page);
	enum zone_type listed = (enum zone_type)first->type;
	uncount_free(zone, first->order, KML_PLANTED(zone_counts_by_block) ? zone_block_type(zone, page) : listed);
	first->state = ZONE_INSIDE;
}

/* move_to_free_list: to the tail, so that it is not granted at once. */
static void move_free(struct zone *zone, uint64_t page, enum zone_type type)
{
	uint32_t order = zone->pages[page].order;
	if (!KML_PLANTED(zone_move_lists_twice))
		remove_free(zone, page);
	zone_add_free(zone, page, order, type, true);
}

/* get_page_from_free_area: the first block of an area that is not empty. A fresh one, at the tail, gets a descriptor.
 */
static uint64_t first_free(struct zone *zone, uint32_t order, enum zone_type type)
{
	uint64_t head = zone_free_list(zone, order, type);
	if (zone->pages[head].next != head)
		return zone->pages[head].next;
	KML_CHECK(order == zone->rules.max_order && type == zone->initial_type && zone->fresh_page < zone->fresh_end,
		  "%llu free blocks of order %u and type %u are counted, none is listed",
		  (unsigned long long)zone->free_count[order][type], order, type);
	uint64_t page = zone->fresh_page;
	zone->fresh_page += 1ull << order;
	zone->block_count++;
	uncount_free(zone, order, type); /* it was counted */
	zone_add_free(zone, page, order, type, true);
	return page;
}

/* page_is_buddy */
static bool is_free_block(const struct zone *zone, uint64_t page, uint32_t order)
{
	return page < zone->page_count && zone->pages[page].state == ZONE_FREE && zone->pages[page].order == order;
}

/* ---------------------------------------------------------------------------------------------------- free */

/* buddy_merge_likely: is the block's parent's buddy free? Then the block will merge twice once its own buddy is freed.
 */
static bool merge_is_likely(const struct zone *zone, uint64_t page, uint32_t order)
{
	if (order + 1 >= zone->rules.max_order)
		return false;
	uint64_t parent = page & ~(1ull << order);
	return is_free_block(zone, parent ^ 2ull << order, order + 1);
}

/* From page block size on, what is reserved for atomic requests does not merge with what is not. */
static bool may_merge(const struct zone *zone, uint64_t buddy, uint32_t order, enum zone_type type)
{
	if (order < zone->rules.page_block_order)
		return true;
	enum zone_type other = zone_block_type(zone, buddy);
	return type == other || (type != ZONE_HIGHATOMIC && other != ZONE_HIGHATOMIC);
}

void zone_free_block(struct zone *zone, uint64_t page, uint32_t order, enum zone_type type, bool to_tail)
{
	zone->free_pages += 1ull << order;
	kml_arena_give(zone->arena, page << zone->page_shift, 1ull << order << zone->page_shift);
	zone->pages[page].state = ZONE_INSIDE;
	while (order + KML_PLANTED(zone_merge_stops_early) < zone->rules.max_order) {
		uint64_t buddy = page ^ 1ull << order;
		if (!is_free_block(zone, buddy, order) || !may_merge(zone, buddy, order, type))
			break;
		remove_free(zone, buddy);
		page &= ~(1ull << order);
		order++;
		zone->merges++;
		zone->block_count--;
	}
	bool at_tail = to_tail || (zone->rules.linux_lists && merge_is_likely(zone, page, order));
	zone_add_free(zone, page, order, type, at_tail);
}

void zone_merge_again(struct zone *zone, uint64_t page)
{
	const struct zone_page *first = &zone->pages[page];
	uint32_t order = first->order;
	enum zone_type type = (enum zone_type)first->type;
	if (first->state != ZONE_FREE || order < zone->rules.page_block_order)
		return;
	remove_free(zone, page);
	zone->free_pages -= KML_PLANTED(zone_merge_again_counts_twice) ? 0 : 1ull << order;
	kml_arena_take(zone->arena, page << zone->page_shift, 1ull << order << zone->page_shift);
	zone_free_block(zone, page, order, type, false);
}

/* --------------------------------------------------------------------------------------------------- alloc */

/* expand: keep the low half, upper halves to the heads of their lists. */
static void expand(struct zone *zone, uint64_t page, uint32_t low, uint32_t high, enum zone_type type)
{
	while (high > low) {
		high--;
		zone_add_free(zone, page + (1ull << high), high, type, false);
		zone->splits++;
		zone->block_count++;
	}
}

uint64_t zone_take_smallest(struct zone *zone, uint32_t order, enum zone_type type)
{
	uint64_t enough = zone->nonempty[type] >> order << order;
	if (enough == 0)
		return ZONE_NO_PAGE;
	uint32_t found = (uint32_t)__builtin_ctzll(enough);
	uint64_t page = first_free(zone, found, type);
	remove_free(zone, page);
	expand(zone, page, order, found, type);
	zone->pages[page].order = (uint8_t)order;
	zone->pages[page].type = (uint8_t)type;
	zone->free_pages -= 1ull << order;
	kml_arena_take(zone->arena, page << zone->page_shift, 1ull << order << zone->page_shift);
	return page;
}

uint64_t zone_move_free_pages(struct zone *zone, uint64_t page, enum zone_type type, uint64_t *movable)
{
	uint64_t size = 1ull << zone->rules.page_block_order;
	uint64_t start = page & ~(size - 1), end = start + size, moved = 0;
	*movable = 0;
	if (end > zone->end_page)
		return 0;
	if (start < zone->first_page)
		start = page;
	while (start < end) {
		const struct zone_page *first = &zone->pages[start];
		uint64_t pages = first->state == ZONE_INSIDE ? 1 : 1ull << first->order;
		if (first->state == ZONE_FREE) {
			move_free(zone, start, type);
			moved += pages;
		} else if (first->state == ZONE_GRANTED && first->movable) {
			*movable += pages;
		}
		start += pages;
	}
	return moved;
}

/* can_steal_fallback: may all free pages of the page block be taken over with a block of this order? */
static bool can_steal(const struct zone *zone, uint32_t order, enum zone_type type)
{
	return order >= zone->rules.page_block_order / 2 || type != ZONE_MOVABLE;
}

/* find_suitable_fallback: the type to take a block of this order from; ZONE_TYPES: none. */
static enum zone_type fallback_with(const struct zone *zone, uint32_t order, enum zone_type type)
{
	for (uint32_t i = 0; i < FALLBACKS; i++)
		if (zone->free_count[order][fallbacks[type][i]] > 0)
			return fallbacks[type][i];
	return ZONE_TYPES;
}

/*
 * steal_suitable_fallback: take over the block, and with it the free pages of its page block; the page block too, when
 * half of it is free or compatible.
 */
static void steal(struct zone *zone, uint64_t page, enum zone_type type, bool whole_block)
{
	uint32_t order = zone->pages[page].order;
	enum zone_type old_type = zone_block_type(zone, page);
	bool owns_blocks = order >= zone->rules.page_block_order;
	if (old_type != ZONE_HIGHATOMIC && owns_blocks)
		set_block_types(zone, page, order, type);
	if (old_type == ZONE_HIGHATOMIC || owns_blocks || !whole_block) {
		move_free(zone, page, type);
		return;
	}
	uint64_t movable, moved = zone_move_free_pages(zone, page, type, &movable);
	if (moved == 0) {
		move_free(zone, page, type);
		return;
	}
	/* What is not free and not movable in a movable page block is taken for compatible with all but movable. */
	uint64_t block_pages = 1ull << zone->rules.page_block_order, alike = 0;
	if (type == ZONE_MOVABLE)
		alike = movable;
	else if (old_type == ZONE_MOVABLE)
		alike = block_pages - (moved + movable);
	if (moved + alike >= block_pages / 2)
		zone_set_block_type(zone, page, type);
}

/*
 * __rmqueue_fallback: make another type's block one of this type. The largest first, so that what is stolen keeps
 * together; but a movable request that cannot take over the page block takes the smallest, for it does no lasting harm.
 */
static bool steal_fallback(struct zone *zone, uint32_t order, enum zone_type type)
{
	enum zone_type from = ZONE_TYPES;
	uint32_t found = zone->rules.max_order + 1;
	while (from == ZONE_TYPES && found > order)
		from = fallback_with(zone, --found, type);
	if (from == ZONE_TYPES)
		return false;
	if (!can_steal(zone, found, type) && found > order) {
		found = order;
		while ((from = fallback_with(zone, found, type)) == ZONE_TYPES)
			found++;
	}
	steal(zone, first_free(zone, found, from), type, can_steal(zone, found, type));
	return true;
}

uint64_t zone_take_block(struct zone *zone, uint32_t order, enum zone_type type)
{
	uint64_t page;
	do
		page = zone_take_smallest(zone, order, type);
	while (page == ZONE_NO_PAGE && zone->grouping && steal_fallback(zone, order, type));
	return page;
}
