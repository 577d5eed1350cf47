/*
 * zone_request.c - who gets a block in Linux mode: watermarks, the reserve for atomic requests, and what is tried
 * before a request is refused; see zone.h. Functions name the one of mm/page_alloc.c (Linux 6.1) whose rule they
 * follow.
 *
 * There is nobody here who reclaims or compacts: a request that the kernel would make wait for that is refused.
 */
#include "allocators/buddy/zone.h"
#include "kmemlab/support/planted.h"

enum {
	MIN_FREE_KIB_LEAST = 128, /* init_per_zone_wmark_min */
	MIN_FREE_KIB_MOST = 256 << 10,
	WATERMARK_SCALE_FACTOR = 10, /* of 10,000: /proc/sys/vm/watermark_scale_factor */
};

/* How far a request may dip: gfp_to_alloc_flags. */
struct urgency {
	enum zone_mark mark;
	bool high;   /* ALLOC_HIGH */
	bool harder; /* ALLOC_HARDER */
};
static const struct urgency at_first = {ZONE_MARK_LOW, false, false};
static const struct urgency when_it_can_wait = {ZONE_MARK_MIN, false, false};
static const struct urgency when_atomic = {ZONE_MARK_MIN, true, true};

/* int_sqrt */
static uint64_t root_of(uint64_t square)
{
	uint64_t root = 0;
	for (uint64_t bit = 1ull << 31; bit > 0; bit >>= 1)
		if ((root + bit) * (root + bit) <= square)
			root += bit;
	return root;
}

void zone_set_marks(struct zone *zone)
{
	/* calculate_min_free_kbytes: 4 * sqrt(KiB), a reserve that grows more slowly than the memory. */
	uint64_t managed_kib = (zone->managed_pages * zone->rules.page_bytes) >> 10;
	uint64_t min_free_kib = root_of(managed_kib * 16);
	if (min_free_kib < MIN_FREE_KIB_LEAST)
		min_free_kib = MIN_FREE_KIB_LEAST;
	if (min_free_kib > MIN_FREE_KIB_MOST)
		min_free_kib = MIN_FREE_KIB_MOST;
	uint64_t least = (min_free_kib << 10) / zone->rules.page_bytes;
	uint64_t distance = zone->managed_pages * WATERMARK_SCALE_FACTOR / 10000;
	if (distance < least / 4)
		distance = least / 4;
	zone->mark[ZONE_MARK_MIN] = least;
	zone->mark[ZONE_MARK_LOW] = least + distance;
	zone->mark[ZONE_MARK_HIGH] = least + 2 * distance;
}

/* __zone_watermark_ok, its first half: would enough be left? Signed, for a block may be larger than what is free. */
static bool enough_is_left(const struct zone *zone, uint64_t free_pages, uint32_t order, struct urgency urgency)
{
	int64_t left = (int64_t)free_pages - (int64_t)((1ull << order) - 1);
	if (!urgency.harder)
		left -= (int64_t)zone->highatomic_pages;
	int64_t least = (int64_t)zone->mark[urgency.mark];
	if (urgency.high)
		least -= least / 2;
	if (urgency.harder)
		least -= least / 4;
	return left > least;
}

/* __zone_watermark_ok, its second half: is there a block on a list that the request may use? */
static bool has_suitable_block(const struct zone *zone, uint32_t order, struct urgency urgency)
{
	uint64_t orders = zone->nonempty[ZONE_UNMOVABLE] | zone->nonempty[ZONE_MOVABLE] |
			  zone->nonempty[ZONE_RECLAIMABLE] | (urgency.harder ? zone->nonempty[ZONE_HIGHATOMIC] : 0);
	return order == 0 || orders >> order != 0;
}

static bool mark_is_ok(const struct zone *zone, uint32_t order, struct urgency urgency)
{
	if (!zone->rules.watermarks || (KML_PLANTED(zone_mark_ignored_order_0) && order == 0))
		return true;
	return enough_is_left(zone, zone->free_pages, order, urgency) && has_suitable_block(zone, order, urgency);
}

bool zone_mark_allows(const struct zone *zone, uint64_t free_pages, uint32_t order, bool atomic)
{
	return !zone->rules.watermarks ||
	       enough_is_left(zone, free_pages, order, atomic ? when_atomic : when_it_can_wait);
}

/* ------------------------------------------------------------------------------- the reserve for atomic requests */

/*
 * reserve_highatomic_pageblock: the page block is kept for such requests; in all 1 % of the zone and a page block. One
 * that the zone cuts off is left alone, for its pages could not be given up again (move_freepages_block refuses it).
 */
static void reserve(struct zone *zone, uint64_t page)
{
	uint64_t block_pages = 1ull << zone->rules.page_block_order, movable;
	bool is_cut = (page | (block_pages - 1)) >= zone->end_page;
	if (!zone->grouping || is_cut || zone->highatomic_pages >= zone->managed_pages / 100 + block_pages ||
	    zone_block_type(zone, page) == ZONE_HIGHATOMIC)
		return;
	zone->highatomic_pages += block_pages;
	zone_set_block_type(zone, page, ZONE_HIGHATOMIC);
	zone_move_free_pages(zone, page, ZONE_HIGHATOMIC, &movable);
}

/* Its free pages go to the lists of the type; their number. A page block that is free as a whole may merge again. */
static uint64_t unreserve_block(struct zone *zone, uint64_t page, enum zone_type type)
{
	uint64_t block_pages = 1ull << zone->rules.page_block_order, movable;
	if (zone_block_type(zone, page) == ZONE_HIGHATOMIC) {
		zone->highatomic_pages -= block_pages < zone->highatomic_pages ? block_pages : zone->highatomic_pages;
		zone_set_block_type(zone, page, type);
	}
	uint64_t moved = zone_move_free_pages(zone, page, type, &movable);
	zone_merge_again(zone, page & ~(block_pages - 1));
	return moved;
}

/*
 * unreserve_highatomic_pageblock: give one page block up to the type; false when no page was had by it. Unless forced,
 * one block is left.
 */
static bool unreserve(struct zone *zone, enum zone_type type, bool forced)
{
	if (!forced && zone->highatomic_pages <= 1ull << zone->rules.page_block_order)
		return false;
	for (uint32_t order = 0; order <= zone->rules.max_order; order++) {
		uint64_t head = zone_free_list(zone, order, ZONE_HIGHATOMIC), page = zone->pages[head].next;
		if (page != head)
			return unreserve_block(zone, page, type) > 0;
	}
	return false;
}

void zone_release_reserves(struct zone *zone)
{
	uint64_t size = 1ull << zone->rules.page_block_order;
	for (uint64_t start = 0; zone->highatomic_pages > 0 && start < zone->page_count; start += size)
		if (zone_block_type(zone, start) == ZONE_HIGHATOMIC)
			unreserve_block(zone, start < zone->first_page ? zone->first_page : start, zone->initial_type);
	zone->highatomic_pages = 0;
}

/* --------------------------------------------------------------------------------------------------- requests */

/* rmqueue, rmqueue_buddy. */
static uint64_t take(struct zone *zone, uint32_t order, enum zone_type type, struct urgency urgency, uint32_t cpu)
{
	uint64_t page = ZONE_NO_PAGE;
	if (zone->rules.percpu && order <= ZONE_COSTLY_ORDER)
		page = zone_cpu_take(zone, cpu, order, type);
	if (page == ZONE_NO_PAGE && order > 0 && urgency.harder)
		page = zone_take_smallest(zone, order, ZONE_HIGHATOMIC);
	return page == ZONE_NO_PAGE ? zone_take_block(zone, order, type) : page;
}

/* get_page_from_freelist */
static uint64_t attempt(struct zone *zone, uint32_t order, enum zone_type type, struct urgency urgency, uint32_t cpu)
{
	if (!mark_is_ok(zone, order, urgency))
		return ZONE_NO_PAGE;
	uint64_t page = take(zone, order, type, urgency, cpu);
	if (page != ZONE_NO_PAGE && order > 0 && urgency.harder)
		reserve(zone, page);
	return page;
}

/* drain_all_pages */
static void drain_all(struct zone *zone)
{
	for (uint32_t cpu = 0; cpu < zone->cpu_count; cpu++)
		zone_cpu_drain(zone, cpu);
}

/*
 * __alloc_pages_slowpath, __alloc_pages_direct_reclaim, should_reclaim_retry: who can wait has the cpus drained and, in
 * the end, every reserve for atomic requests given up.
 */
uint64_t zone_request(struct zone *zone, uint32_t order, enum zone_type type, bool atomic, uint32_t cpu)
{
	uint64_t page = attempt(zone, order, type, at_first, cpu);
	if (page == ZONE_NO_PAGE)
		page = attempt(zone, order, type, atomic ? when_atomic : when_it_can_wait, cpu);
	if (page != ZONE_NO_PAGE || atomic)
		return page;
	unreserve(zone, type, false);
	drain_all(zone);
	do
		page = attempt(zone, order, type, when_it_can_wait, cpu);
	while (page == ZONE_NO_PAGE && unreserve(zone, type, true));
	return page;
}

bool zone_could_grant(const struct zone *zone, uint32_t order, bool atomic)
{
	if (zone->starts_empty)
		return order <= zone->rules.max_order;
	struct zone empty = {.rules = zone->rules};
	for (int mark = 0; mark < ZONE_MARKS; mark++)
		empty.mark[mark] = zone->mark[mark];
	return order <= zone->largest_order && zone_mark_allows(&empty, zone->managed_pages, order, atomic);
}
