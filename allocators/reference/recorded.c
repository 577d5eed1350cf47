/*
 * recorded.c - the kernel's own placement: every block lies where the recorded kernel put it.
 *
 * The real kernel as a contestant in every figure. What it held is counted, not simulated:
 *   - page demand and large kmallocs: their pages;
 *   - slabs: the pages that the kernel's slab allocator was seen to take and give back, and the slabs it had when the
 *     recording began (slabinfo). An object on a page of which no event is known locates one of those first slabs.
 * A cache never has fewer slabs than its live objects need: where the recording lost some, they are implied.
 *
 * What a trace cannot tell is kept apart. Objects without an address (live before the recording, never freed in it),
 * and blocks whose recorded place is still taken because a free was lost, are granted an address in the annex: from the
 * top of the arena down, where the caller leaves room above the recorded addresses. They count with their cache. Hence
 * the arena may hold less, or more, than stats() say the kernel held; all else of the ABI holds as for any allocator.
 *
 * Waste of a cache: slab tail = slab - slots; management = slot - granted, of each live object; free slots = the rest.
 *
 * Cost: O(size/8) time per object and O(pages) per block to mark what they cover. Memory: four bytes per eight bytes of
 * slab memory touched and four per page, in address space that is only reserved. Invariants: a page belongs to one
 * extent, eight bytes of a slab to one object; the live objects of an extent and of a cache are counted in both.
 */
#include "allocators/reference/recorded.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/reserve.h"

extern const struct kml_allocator kml_recorded;

/* 64 GiB: no page allocator hands out more at once; a hostile trace may ask. */
static const uint64_t BLOCK_PAGES_MAX = 1ull << 24;

/* include/linux/mm_types.h: struct page of a 64-bit kernel, one for each page. */
enum { STRUCT_PAGE_BYTES = 64 };

enum { GRANULE_SHIFT = 3 }; /* no kernel allocator aligns objects to less (SLOB: ARCH_KMALLOC_MINALIGN) */

/* Pages that belong together. Index 0 is none. */
enum extent_kind {
	EXTENT_UNUSED,
	EXTENT_BLOCK, /* page demand, large kmalloc: one granted block */
	EXTENT_SLAB,
	EXTENT_LOOSE, /* one page with objects of no known slab; there while they are */
};

struct extent {
	uint64_t first_page;
	uint32_t pages;
	uint32_t group;
	uint32_t live;   /* objects in it (LOOSE: that touch it) */
	uint32_t record; /* of a BLOCK */
	uint8_t kind;
	bool initial; /* a slab of before the recording */
	bool pooled;  /* a LOOSE page that the pool holds */
	uint32_t next_unused;
};

/* A granted object or block. Index 0 is none. */
struct record {
	uint64_t address;
	uint64_t granted_bytes;
	uint32_t extent; /* BLOCK or SLAB; 0: on loose pages */
	uint32_t cache;
	uint32_t group;
	bool in_annex;
	uint32_t next_unused;
};

/* What one cache holds; the last group is the pool: slabs and objects of caches whose geometry is unknown (SLOB). */
struct group {
	const char *name; /* borrowed; NULL: not open */
	uint64_t slot_bytes;
	uint32_t objects_per_slab;
	uint32_t pages_per_slab; /* 0: geometry unknown, its objects are the pool's */
	uint64_t live, granted_bytes, live_in_cache;
	uint64_t pages, capacity;   /* of slabs whose page events were seen, and of the pool's loose pages */
	uint64_t slabs;             /* as above */
	uint64_t expected, located; /* initial slabs: by slabinfo, by address */
	/* Its part in the stats. */
	uint64_t held_bytes, tail_bytes, management_bytes, free_slot_bytes;
};

struct recorded {
	struct kml_heap heap;
	struct kml_arena *arena;
	uint32_t page_shift;
	uint32_t group_count; /* caches and the pool */
	struct group *groups;

	uint32_t *page_extent;    /* by page */
	uint32_t *granule_record; /* by eight bytes of slab memory */
	uint64_t page_count;

	struct extent *extents;
	uint32_t extent_count, extent_capacity, unused_extent;
	struct record *records;
	uint32_t record_count, record_capacity, unused_record;

	uint64_t annex_bottom; /* the annex is from here up */
	uint64_t annex_live;
	uint64_t mapped_pages;
	uint64_t block_held_bytes, block_granted_bytes;
	struct kml_stats stats; /* of the groups */
};

static struct recorded *of(const struct kml_heap *heap)
{
	return (struct recorded *)(uintptr_t)heap;
}

static uint32_t pool_of(const struct recorded *recorded)
{
	return recorded->group_count - 1;
}

static uint64_t page_bytes_of(const struct recorded *recorded)
{
	return 1ull << recorded->page_shift;
}

/* Whole pages only. */
static uint64_t end_of(const struct recorded *recorded)
{
	return recorded->page_count << recorded->page_shift;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---------------------------------------------------------------------------------------- what groups hold */

static uint64_t slabs_of(const struct group *group)
{
	return group->slabs + (group->expected > group->located ? group->expected : group->located);
}

/* Slabs that must be there although no event tells of them. */
static uint64_t implied_slabs(const struct group *group)
{
	uint64_t initial = group->expected > group->located ? group->expected : group->located;
	uint64_t capacity = group->capacity + initial * group->objects_per_slab;
	if (group->live <= capacity)
		return 0;
	return (group->live - capacity + group->objects_per_slab - 1) / group->objects_per_slab;
}

static void add_part(struct recorded *recorded, const struct group *group, bool add)
{
	struct kml_stats *stats = &recorded->stats;
	uint64_t sign = add ? 1 : -1ull;
	stats->held_bytes += sign * group->held_bytes;
	stats->waste_bytes[KML_WASTE_SLAB_TAIL] += sign * group->tail_bytes;
	stats->waste_bytes[KML_WASTE_MANAGEMENT] += sign * group->management_bytes;
	stats->waste_bytes[KML_WASTE_FREE_SLOTS] += sign * group->free_slot_bytes;
}

/* Recompute a group's part in the stats after any change of it. The terms are capped in turn, so that they add up to
 * what is held even where trace and geometry contradict each other. */
static void refresh(struct recorded *recorded, uint32_t index)
{
	struct group *group = &recorded->groups[index];
	uint64_t page_bytes = page_bytes_of(recorded);
	uint64_t tail = 0, management = 0;
	add_part(recorded, group, false);
	group->held_bytes = group->pages * page_bytes;
	if (group->pages_per_slab) {
		uint64_t slab_bytes = group->pages_per_slab * page_bytes;
		uint64_t initial = group->expected > group->located ? group->expected : group->located;
		uint64_t implied = implied_slabs(group);
		group->held_bytes += (initial + implied) * slab_bytes;
		tail = (slabs_of(group) + implied) * (slab_bytes - group->objects_per_slab * group->slot_bytes);
		if (group->live * group->slot_bytes > group->granted_bytes)
			management = group->live * group->slot_bytes - group->granted_bytes;
	}
	if (group->held_bytes < group->granted_bytes)
		group->held_bytes = (group->granted_bytes + page_bytes - 1) / page_bytes * page_bytes;
	uint64_t rest = group->held_bytes - group->granted_bytes;
	group->tail_bytes = min_u64(tail, rest);
	rest -= group->tail_bytes;
	group->management_bytes = min_u64(management, rest);
	group->free_slot_bytes = rest - group->management_bytes;
	add_part(recorded, group, true);
}

/* The group that counts what belongs to this cache. */
static uint32_t group_of(const struct recorded *recorded, uint32_t cache)
{
	if (cache >= pool_of(recorded) || recorded->groups[cache].pages_per_slab == 0)
		return pool_of(recorded);
	return cache;
}

/* ------------------------------------------------------------------------------------- extents and records */

/* Index of an unused element; the table grows to twice its size when it is full. */
static uint32_t new_extent(struct recorded *recorded)
{
	if (recorded->unused_extent) {
		uint32_t index = recorded->unused_extent;
		recorded->unused_extent = recorded->extents[index].next_unused;
		return index;
	}
	if (recorded->extent_count == recorded->extent_capacity) {
		recorded->extent_capacity *= 2;
		recorded->extents = realloc(recorded->extents, recorded->extent_capacity * sizeof *recorded->extents);
		KML_CHECK(recorded->extents, "out of memory for %" PRIu32 " extents", recorded->extent_capacity);
	}
	return recorded->extent_count++;
}

static uint32_t new_record(struct recorded *recorded)
{
	if (recorded->unused_record) {
		uint32_t index = recorded->unused_record;
		recorded->unused_record = recorded->records[index].next_unused;
		return index;
	}
	if (recorded->record_count == recorded->record_capacity) {
		recorded->record_capacity *= 2;
		recorded->records = realloc(recorded->records, recorded->record_capacity * sizeof *recorded->records);
		KML_CHECK(recorded->records, "out of memory for %" PRIu32 " records", recorded->record_capacity);
	}
	return recorded->record_count++;
}

static uint32_t map_extent(struct recorded *recorded, const struct extent *extent)
{
	uint32_t index = new_extent(recorded);
	recorded->extents[index] = *extent;
	for (uint32_t i = 0; i < extent->pages; i++)
		recorded->page_extent[extent->first_page + i] = index;
	recorded->mapped_pages += extent->pages;
	kml_arena_take(recorded->arena, extent->first_page << recorded->page_shift,
		       (uint64_t)extent->pages << recorded->page_shift);
	return index;
}

static void unmap_extent(struct recorded *recorded, uint32_t index)
{
	struct extent *extent = &recorded->extents[index];
	for (uint32_t i = 0; i < extent->pages; i++)
		recorded->page_extent[extent->first_page + i] = 0;
	recorded->mapped_pages -= extent->pages;
	kml_arena_give(recorded->arena, extent->first_page << recorded->page_shift,
		       (uint64_t)extent->pages << recorded->page_shift);
	*extent = (struct extent){.kind = EXTENT_UNUSED, .next_unused = recorded->unused_extent};
	recorded->unused_extent = index;
}

static uint32_t add_record(struct recorded *recorded, const struct record *record)
{
	uint32_t index = new_record(recorded);
	recorded->records[index] = *record;
	recorded->annex_live += record->in_annex;
	if (record->cache < pool_of(recorded))
		recorded->groups[record->cache].live_in_cache++;
	return index;
}

static void drop_record(struct recorded *recorded, uint32_t index)
{
	struct record *record = &recorded->records[index];
	recorded->annex_live -= record->in_annex;
	if (record->in_annex && recorded->annex_live == 0)
		recorded->annex_bottom = end_of(recorded);
	if (record->cache < pool_of(recorded))
		recorded->groups[record->cache].live_in_cache--;
	*record = (struct record){.next_unused = recorded->unused_record};
	recorded->unused_record = index;
}

/* --------------------------------------------------------------------------------------------------- slabs */

static uint64_t slab_capacity(const struct recorded *recorded, const struct group *group, uint32_t pages)
{
	if (group->pages_per_slab == 0)
		return 0;
	if (pages >= group->pages_per_slab)
		return group->objects_per_slab;
	return ((uint64_t)pages << recorded->page_shift) / group->slot_bytes; /* order fallback */
}

/* A slab comes (or goes): count it in its group. */
static void count_slab(struct recorded *recorded, const struct extent *slab, bool comes)
{
	struct group *group = &recorded->groups[slab->group];
	bool located = slab->initial && group->pages_per_slab;
	if (located && comes) {
		group->located++;
	} else if (located) {
		group->located -= group->located > 0;
		group->expected -= group->expected > 0;
	} else if (comes) {
		group->slabs++;
		group->pages += slab->pages;
		group->capacity += slab_capacity(recorded, group, slab->pages);
	} else {
		group->slabs--;
		group->pages -= slab->pages;
		group->capacity -= slab_capacity(recorded, group, slab->pages);
	}
	refresh(recorded, slab->group);
}

static uint32_t map_slab(struct recorded *recorded, uint64_t first_page, uint32_t pages, uint32_t group, bool initial)
{
	struct extent slab = {
		.first_page = first_page, .pages = pages, .group = group, .kind = EXTENT_SLAB, .initial = initial};
	uint32_t index = map_extent(recorded, &slab);
	count_slab(recorded, &slab, true);
	return index;
}

/* One more object touches a page that is no slab's. */
static void touch_loose_page(struct recorded *recorded, uint64_t page, bool pooled)
{
	uint32_t index = recorded->page_extent[page];
	if (index == 0) {
		struct extent loose = {.first_page = page, .pages = 1, .kind = EXTENT_LOOSE, .pooled = pooled};
		loose.group = pool_of(recorded);
		index = map_extent(recorded, &loose);
		if (pooled) {
			recorded->groups[loose.group].pages++;
			refresh(recorded, loose.group);
		}
	}
	recorded->extents[index].live++;
}

static void leave_loose_page(struct recorded *recorded, uint64_t page)
{
	uint32_t index = recorded->page_extent[page];
	struct extent *loose = &recorded->extents[index];
	KML_CHECK(index != 0 && loose->kind == EXTENT_LOOSE && loose->live > 0,
		  "page %" PRIu64 " belongs to extent %" PRIu32 " of kind %d with %" PRIu32 " objects", page, index,
		  loose->kind, loose->live);
	if (--loose->live > 0)
		return;
	if (loose->pooled) {
		recorded->groups[pool_of(recorded)].pages--;
		refresh(recorded, pool_of(recorded));
	}
	unmap_extent(recorded, index);
}

/* The kernel gave back a slab. Objects that the trace still shows live on it stay where they are, on loose pages. */
static void remove_slab(struct recorded *recorded, uint32_t index)
{
	struct extent slab = recorded->extents[index];
	uint64_t per_page = page_bytes_of(recorded) >> GRANULE_SHIFT;
	uint64_t first = slab.first_page * per_page;
	uint64_t end = first + slab.pages * per_page;
	unmap_extent(recorded, index);
	count_slab(recorded, &slab, false);
	if (slab.live == 0)
		return;
	for (uint64_t granule = first; granule < end;) {
		struct record *record = &recorded->records[recorded->granule_record[granule]];
		if (recorded->granule_record[granule] == 0) {
			granule++;
			continue;
		}
		record->extent = 0;
		uint64_t last = record->address + record->granted_bytes - 1;
		for (uint64_t page = record->address >> recorded->page_shift; page <= last >> recorded->page_shift;
		     page++)
			touch_loose_page(recorded, page, false);
		granule = (last >> GRANULE_SHIFT) + 1;
	}
}

/* ----------------------------------------------------------------------------------------------- placement */

static bool inside(const struct recorded *recorded, uint64_t address, uint64_t size_bytes)
{
	uint64_t end = end_of(recorded);
	return address <= end && size_bytes <= end - address;
}

/* Pages that nothing lies on. Slabs of before the recording without a live object make way: their free was missed. */
static bool clear_pages(struct recorded *recorded, uint64_t first_page, uint64_t pages)
{
	for (uint64_t page = first_page; page < first_page + pages; page++) {
		uint32_t index = recorded->page_extent[page];
		const struct extent *extent = &recorded->extents[index];
		if (index == 0)
			continue;
		if (extent->kind != EXTENT_SLAB || !extent->initial || extent->live > 0)
			return false;
		remove_slab(recorded, index);
	}
	return true;
}

/* The highest page of the range that the annex cannot use: all but unmapped ones and loose ones free at that place. */
static uint64_t obstacle(const struct recorded *recorded, uint64_t address, uint64_t size_bytes)
{
	uint64_t end = address + size_bytes;
	for (uint64_t page = ((end - 1) >> recorded->page_shift) + 1; page-- > address >> recorded->page_shift;) {
		const struct extent *there = &recorded->extents[recorded->page_extent[page]];
		if (there->kind == EXTENT_UNUSED)
			continue;
		if (there->kind != EXTENT_LOOSE)
			return page;
		uint64_t start = page << recorded->page_shift, page_end = start + page_bytes_of(recorded);
		uint64_t from = address > start ? address : start, to = min_u64(end, page_end);
		for (uint64_t granule = from >> GRANULE_SHIFT; granule <= (to - 1) >> GRANULE_SHIFT; granule++)
			if (recorded->granule_record[granule])
				return page;
	}
	return KML_NO_ADDRESS;
}

/* A place in the annex; KML_NO_ADDRESS when it is full. Whatever lies in the way is passed by. */
static uint64_t place_in_annex(struct recorded *recorded, uint64_t size_bytes, uint64_t align_bytes)
{
	uint64_t bottom = recorded->annex_bottom;
	while (size_bytes <= bottom) {
		uint64_t address = (bottom - size_bytes) & ~(align_bytes - 1);
		uint64_t taken = obstacle(recorded, address, size_bytes);
		if (taken == KML_NO_ADDRESS) {
			recorded->annex_bottom = address;
			return address;
		}
		bottom = taken << recorded->page_shift;
	}
	return KML_NO_ADDRESS;
}

static uint64_t free_bytes_of(const struct recorded *recorded)
{
	return (recorded->page_count - recorded->mapped_pages) << recorded->page_shift;
}

static struct kml_grant refuse(const struct recorded *recorded, uint64_t size_bytes)
{
	return kml_refuse(free_bytes_of(recorded) < size_bytes ? KML_NO_MEMORY : KML_NO_RUN);
}

/* Where a run of pages goes: as recorded, else the annex. */
static uint64_t place_pages(struct recorded *recorded, const struct kml_request *request, uint64_t pages,
			    bool *in_annex)
{
	uint64_t bytes = pages << recorded->page_shift, address = request->recorded;
	uint64_t align =
		request->align_bytes > page_bytes_of(recorded) ? request->align_bytes : page_bytes_of(recorded);
	*in_annex = false;
	if (address != KML_NO_ADDRESS && (address & (align - 1)) == 0 && inside(recorded, address, bytes) &&
	    clear_pages(recorded, address >> recorded->page_shift, pages))
		return address;
	*in_annex = true;
	return place_in_annex(recorded, bytes, align);
}

static struct kml_grant alloc_slab(struct recorded *recorded, const struct kml_request *request)
{
	uint64_t pages = (request->size_bytes + page_bytes_of(recorded) - 1) >> recorded->page_shift;
	bool initial = request->flags & KML_WARM, in_annex;
	struct kml_grant grant = {KML_OK, request->recorded, request->size_bytes};
	if (initial && inside(recorded, request->recorded, request->size_bytes)) {
		/* Perhaps an object has located it already. */
		const struct extent *known =
			&recorded->extents[recorded->page_extent[request->recorded >> recorded->page_shift]];
		if (known->kind == EXTENT_SLAB && known->first_page << recorded->page_shift == request->recorded &&
		    known->pages == pages)
			return grant;
	}
	grant.address = place_pages(recorded, request, pages, &in_annex);
	if (grant.address == KML_NO_ADDRESS)
		return refuse(recorded, request->size_bytes);
	map_slab(recorded, grant.address >> recorded->page_shift, (uint32_t)pages, group_of(recorded, request->cache),
		 initial);
	return grant;
}

static struct kml_grant alloc_block(struct recorded *recorded, const struct kml_request *request,
				    uint64_t granted_bytes)
{
	uint64_t pages = (granted_bytes + page_bytes_of(recorded) - 1) >> recorded->page_shift;
	if (request->flags & KML_LARGE) /* mm/slab_common.c: alloc_pages(get_order(size)) */
		while (pages & (pages - 1))
			pages += pages & -pages;
	struct record record = {.granted_bytes = granted_bytes, .cache = request->cache, .group = pool_of(recorded)};
	record.address = place_pages(recorded, request, pages, &record.in_annex);
	if (record.address == KML_NO_ADDRESS)
		return refuse(recorded, pages << recorded->page_shift);
	struct extent block = {.first_page = record.address >> recorded->page_shift,
			       .pages = (uint32_t)pages,
			       .live = 1,
			       .kind = EXTENT_BLOCK};
	uint32_t extent = map_extent(recorded, &block);
	record.extent = extent;
	recorded->extents[extent].record = add_record(recorded, &record);
	recorded->block_held_bytes += pages << recorded->page_shift;
	recorded->block_granted_bytes += granted_bytes;
	return (struct kml_grant){KML_OK, record.address, granted_bytes};
}

/* The slab that an object of this group on unknown pages locates; 0 when it cannot be one. */
static uint32_t locate_slab(struct recorded *recorded, uint32_t index, uint64_t first_page, uint64_t last_page)
{
	const struct group *group = &recorded->groups[index];
	uint64_t pages = group->pages_per_slab;
	if (pages == 0)
		return 0;
	uint64_t start = first_page & ~(pages - 1); /* the page allocator aligns blocks to their size */
	if (last_page >= start + pages || start + pages > recorded->page_count)
		return 0;
	for (uint64_t page = start; page < start + pages; page++)
		if (recorded->page_extent[page])
			return 0;
	return map_slab(recorded, start, (uint32_t)pages, index, true);
}

/* Can the object lie where it was recorded? *extent is its slab, or 0 for loose pages. */
static bool fits_as_recorded(struct recorded *recorded, const struct kml_request *request, uint64_t granted_bytes,
			     uint32_t *extent)
{
	uint64_t address = request->recorded;
	uint64_t mask = (request->align_bytes ? request->align_bytes - 1 : 0) | ((1u << GRANULE_SHIFT) - 1);
	if (address == KML_NO_ADDRESS || (address & mask) != 0 || !inside(recorded, address, granted_bytes))
		return false;
	uint64_t last = address + granted_bytes - 1;
	for (uint64_t granule = address >> GRANULE_SHIFT; granule <= last >> GRANULE_SHIFT; granule++)
		if (recorded->granule_record[granule])
			return false;
	uint64_t first_page = address >> recorded->page_shift, last_page = last >> recorded->page_shift;
	uint32_t index = recorded->page_extent[first_page];
	const struct extent *slab = &recorded->extents[index];
	*extent = index;
	if (index && slab->kind == EXTENT_SLAB)
		return last_page < slab->first_page + slab->pages;
	*extent = 0;
	bool unknown = true;
	for (uint64_t page = first_page; page <= last_page; page++) {
		const struct extent *there = &recorded->extents[recorded->page_extent[page]];
		unknown = unknown && there->kind == EXTENT_UNUSED;
		if (there->kind != EXTENT_UNUSED && there->kind != EXTENT_LOOSE)
			return false;
	}
	if (unknown)
		*extent = locate_slab(recorded, group_of(recorded, request->cache), first_page, last_page);
	return true;
}

static void mark_granules(struct recorded *recorded, const struct record *record, uint32_t value)
{
	uint64_t end =
		((record->address + record->granted_bytes - 1) >> GRANULE_SHIFT) + !KML_PLANTED(recorded_mark_short);
	for (uint64_t granule = record->address >> GRANULE_SHIFT; granule < end; granule++)
		recorded->granule_record[granule] = value;
}

static struct kml_grant alloc_object(struct recorded *recorded, const struct kml_request *request,
				     uint64_t granted_bytes)
{
	struct record record = {.address = request->recorded, .granted_bytes = granted_bytes, .cache = request->cache};
	record.group = group_of(recorded, request->cache);
	if (!fits_as_recorded(recorded, request, granted_bytes, &record.extent)) {
		uint64_t granule_bytes = 1u << GRANULE_SHIFT;
		uint64_t align = request->align_bytes > granule_bytes ? request->align_bytes : granule_bytes;
		record.address = place_in_annex(recorded, granted_bytes, align);
		record.extent = 0;
		record.in_annex = true;
		if (record.address == KML_NO_ADDRESS)
			return refuse(recorded, granted_bytes);
	}
	if (record.extent) {
		record.group = recorded->extents[record.extent].group;
		recorded->extents[record.extent].live++;
	} else {
		bool pooled = record.group == pool_of(recorded) && !record.in_annex;
		uint64_t last_page = (record.address + granted_bytes - 1) >> recorded->page_shift;
		for (uint64_t page = record.address >> recorded->page_shift; page <= last_page; page++)
			touch_loose_page(recorded, page, pooled);
	}
	mark_granules(recorded, &record, add_record(recorded, &record));
	struct group *group = &recorded->groups[record.group];
	group->live++;
	group->granted_bytes += granted_bytes;
	recorded->stats.granted_bytes += granted_bytes;
	refresh(recorded, record.group);
	return (struct kml_grant){KML_OK, record.address, granted_bytes};
}

static struct kml_grant recorded_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct recorded *recorded = of(heap);
	uint64_t size = end_of(recorded);
	uint64_t granted_bytes = request->recorded_granted_bytes > request->size_bytes ? request->recorded_granted_bytes
										       : request->size_bytes;
	if (request->size_bytes == 0 || granted_bytes > size || request->align_bytes > size ||
	    granted_bytes >> recorded->page_shift > BLOCK_PAGES_MAX)
		return kml_refuse(KML_IMPOSSIBLE);
	if (request->flags & KML_SLAB_PAGE)
		return alloc_slab(recorded, request);
	if (request->flags & (KML_PAGES | KML_LARGE))
		return alloc_block(recorded, request, granted_bytes);
	return alloc_object(recorded, request, granted_bytes);
}

/* ---------------------------------------------------------------------------------------------------- free */

/* What lies at the address. *status tells why there is no record: named as a free would. */
static uint32_t find_record(const struct recorded *recorded, uint64_t address, enum kml_status *status)
{
	*status = KML_FOREIGN;
	if (!inside(recorded, address, 1))
		return 0;
	const struct extent *extent = &recorded->extents[recorded->page_extent[address >> recorded->page_shift]];
	uint32_t index =
		extent->kind == EXTENT_BLOCK ? extent->record : recorded->granule_record[address >> GRANULE_SHIFT];
	*status = KML_DOUBLE_FREE;
	if (index == 0)
		return 0;
	const struct record *record = &recorded->records[index];
	uint64_t skipped = address - record->address;
	if (skipped == 0 || (KML_PLANTED(recorded_interior_freed) && skipped < page_bytes_of(recorded))) {
		*status = KML_OK;
		return index;
	}
	/* The last granule may reach beyond the object. */
	if (address < record->address + record->granted_bytes || extent->kind == EXTENT_BLOCK)
		*status = KML_INTERIOR;
	return 0;
}

static void free_block(struct recorded *recorded, uint32_t index)
{
	const struct record *record = &recorded->records[index];
	uint64_t pages = recorded->extents[record->extent].pages;
	recorded->block_held_bytes -= pages << recorded->page_shift;
	recorded->block_granted_bytes -= record->granted_bytes;
	unmap_extent(recorded, record->extent);
	drop_record(recorded, index);
}

static void free_object(struct recorded *recorded, uint32_t index)
{
	struct record record = recorded->records[index];
	struct group *group = &recorded->groups[record.group];
	mark_granules(recorded, &record, 0);
	group->live--;
	group->granted_bytes -= record.granted_bytes;
	recorded->stats.granted_bytes -= record.granted_bytes;
	if (record.extent) {
		recorded->extents[record.extent].live--;
	} else {
		uint64_t last_page = (record.address + record.granted_bytes - 1) >> recorded->page_shift;
		for (uint64_t page = record.address >> recorded->page_shift; page <= last_page; page++)
			leave_loose_page(recorded, page);
	}
	refresh(recorded, record.group);
	drop_record(recorded, index);
}

static enum kml_status free_slab(struct recorded *recorded, uint64_t address)
{
	if (!inside(recorded, address, 1))
		return KML_FOREIGN;
	uint32_t index = recorded->page_extent[address >> recorded->page_shift];
	const struct extent *slab = &recorded->extents[index];
	if (slab->kind != EXTENT_SLAB)
		return KML_DOUBLE_FREE;
	if (slab->first_page << recorded->page_shift != address)
		return KML_INTERIOR;
	remove_slab(recorded, index);
	return KML_OK;
}

static enum kml_status recorded_free(struct kml_heap *heap, const struct kml_release *release)
{
	struct recorded *recorded = of(heap);
	if (release->flags & KML_SLAB_PAGE)
		return free_slab(recorded, release->address);
	enum kml_status status;
	uint32_t index = find_record(recorded, release->address, &status);
	if (index == 0)
		return status;
	const struct record *record = &recorded->records[index];
	if (release->cache != KML_NO_CACHE && release->cache != record->cache)
		return KML_WRONG_CACHE;
	if (record->extent && recorded->extents[record->extent].kind == EXTENT_BLOCK)
		free_block(recorded, index);
	else
		free_object(recorded, index);
	return KML_OK;
}

static uint64_t recorded_usable(const struct kml_heap *heap, uint64_t address)
{
	enum kml_status status;
	uint32_t index = find_record(of(heap), address, &status);
	return index ? of(heap)->records[index].granted_bytes : 0;
}

/* -------------------------------------------------------------------------------------------------- caches */

static enum kml_status recorded_cache_open(struct kml_heap *heap, uint32_t index, const struct kml_cache *cache)
{
	struct recorded *recorded = of(heap);
	struct group *group = &recorded->groups[index];
	uint64_t pages = cache->recorded_pages_per_slab, objects = cache->recorded_objects_per_slab;
	uint64_t slab_bytes = pages << recorded->page_shift;
	group->name = cache->name;
	bool known = pages > 0 && (pages & (pages - 1)) == 0 && objects > 0 && cache->recorded_slot_bytes > 0 &&
		     cache->recorded_slot_bytes <= slab_bytes / objects;
	/* Slabs of an earlier cache of this index may still be there: its geometry then stays. */
	if (!known || group->slabs > 0 || group->located > 0 || group->live > 0)
		return KML_OK;
	group->pages_per_slab = cache->recorded_pages_per_slab;
	group->objects_per_slab = cache->recorded_objects_per_slab;
	group->slot_bytes = cache->recorded_slot_bytes;
	group->expected = min_u64(cache->recorded_slabs_at_start, recorded->page_count / pages);
	refresh(recorded, index);
	return KML_OK;
}

static enum kml_status recorded_cache_close(struct kml_heap *heap, uint32_t index)
{
	struct recorded *recorded = of(heap);
	struct group *group = &recorded->groups[index];
	if (group->live_in_cache > 0)
		return KML_CACHE_BUSY;
	group->name = NULL;
	group->expected = min_u64(group->expected, group->located); /* located ones: when their pages are freed */
	refresh(recorded, index);
	return KML_OK;
}

/* ------------------------------------------------------------------------------------------------- figures */

static void recorded_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	const struct recorded *recorded = of(heap);
	*stats = recorded->stats;
	stats->granted_bytes += recorded->block_granted_bytes;
	stats->held_bytes += recorded->block_held_bytes;
	stats->waste_bytes[KML_WASTE_BUDDY_ROUNDING] = recorded->block_held_bytes - recorded->block_granted_bytes;
	stats->metadata_bytes = recorded->mapped_pages * STRUCT_PAGE_BYTES;
	stats->free_bytes = free_bytes_of(recorded);
	stats->largest_free_bytes = min_u64(stats->free_bytes, page_bytes_of(recorded));
}

/* The last is the pool: what belongs to caches of unknown geometry. The kernel's view of active objects is not in the
 * events: the live ones are shown. */
static bool recorded_cache_stats(const struct kml_heap *heap, uint32_t index, struct kml_cache_stats *stats)
{
	const struct recorded *recorded = of(heap);
	*stats = (struct kml_cache_stats){0};
	if (index >= recorded->group_count)
		return false;
	const struct group *group = &recorded->groups[index];
	bool is_pool = index == pool_of(recorded);
	stats->name = is_pool ? "(unknown slabs)" : group->name;
	stats->live_objects = stats->active_objects = is_pool ? group->live : group->live_in_cache;
	stats->slab_bytes = group->held_bytes;
	if (group->pages_per_slab == 0)
		return true;
	stats->slabs = stats->active_slabs = slabs_of(group) + implied_slabs(group);
	stats->total_objects = stats->slabs * group->objects_per_slab;
	stats->slot_bytes = group->slot_bytes;
	stats->objects_per_slab = group->objects_per_slab;
	stats->pages_per_slab = group->pages_per_slab;
	return true;
}

uint64_t recorded_slab_pages(const struct kml_heap *heap, uint32_t cache)
{
	const struct recorded *recorded = of(heap);
	uint32_t group = cache < pool_of(recorded) ? cache : pool_of(recorded);
	return recorded->groups[group].held_bytes >> recorded->page_shift;
}

uint64_t recorded_annex_blocks(const struct kml_heap *heap)
{
	return of(heap)->annex_live;
}

/* How free memory was split is not in the events (buddyinfo snapshots tell it): here it is counted in pages. */
static uint32_t recorded_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	const struct recorded *recorded = of(heap);
	uint64_t free_pages = recorded->page_count - recorded->mapped_pages;
	areas[0] = (struct kml_free_area){page_bytes_of(recorded), free_pages};
	return 1;
}

struct walker {
	const struct recorded *recorded;
	kml_visit *visit;
	void *context;
	bool stopped;
};

static void show(struct walker *walker, uint64_t start, uint64_t end, enum kml_block_state state, uint32_t owner)
{
	struct kml_block block = {.address = start, .size_bytes = end - start, .state = state, .owner = owner};
	if (end > start && !walker->stopped)
		walker->stopped = !walker->visit(walker->context, &block);
}

/* The objects of [start, end), pages of slabs or loose ones, and the gaps between them. */
static void show_objects(struct walker *walker, uint64_t start, uint64_t end)
{
	const struct recorded *recorded = walker->recorded;
	uint64_t shown = start;
	for (uint64_t at = start; at < end && !walker->stopped;) {
		uint32_t index = recorded->granule_record[at >> GRANULE_SHIFT];
		if (index == 0) {
			at += 1u << GRANULE_SHIFT;
			continue;
		}
		const struct record *record = &recorded->records[index];
		uint64_t record_end = record->address + record->granted_bytes;
		show(walker, shown, record->address, KML_BLOCK_CACHED, KML_NO_CACHE);
		show(walker, record->address, record_end, KML_BLOCK_GRANTED, record->cache);
		shown = record_end;
		at = ((record_end - 1) >> GRANULE_SHIFT << GRANULE_SHIFT) + (1u << GRANULE_SHIFT);
	}
	show(walker, shown, end, KML_BLOCK_CACHED, KML_NO_CACHE);
}

static void recorded_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	const struct recorded *recorded = of(heap);
	struct walker walker = {recorded, visit, context, false};
	for (uint64_t page = 0; page < recorded->page_count && !walker.stopped;) {
		const struct extent *extent = &recorded->extents[recorded->page_extent[page]];
		uint64_t start = page << recorded->page_shift;
		uint64_t pages = extent->kind == EXTENT_BLOCK ? extent->pages : 1;
		if (extent->kind == EXTENT_UNUSED) {
			show(&walker, start, start + page_bytes_of(recorded), KML_BLOCK_FREE, KML_NO_CACHE);
		} else if (extent->kind == EXTENT_BLOCK) {
			const struct record *record = &recorded->records[extent->record];
			uint64_t record_end = start + record->granted_bytes;
			show(&walker, start, record_end, KML_BLOCK_GRANTED, record->cache);
			show(&walker, record_end, start + (pages << recorded->page_shift), KML_BLOCK_CACHED,
			     KML_NO_CACHE);
		} else {
			/* Objects may reach from page to page. */
			while (page + pages < recorded->page_count) {
				enum extent_kind next = recorded->extents[recorded->page_extent[page + pages]].kind;
				if (next != EXTENT_SLAB && next != EXTENT_LOOSE)
					break;
				pages++;
			}
			show_objects(&walker, start, start + (pages << recorded->page_shift));
		}
		page += pages;
	}
}

static bool validate_pages(const struct recorded *recorded, struct kml_error *error)
{
	uint64_t mapped = 0;
	for (uint64_t page = 0; page < recorded->page_count; page++) {
		uint32_t index = recorded->page_extent[page];
		const struct extent *extent = &recorded->extents[index];
		mapped += index != 0;
		if (index && (extent->kind == EXTENT_UNUSED || page < extent->first_page ||
			      page >= extent->first_page + extent->pages))
			return kml_fail(error,
					"page %" PRIu64 " belongs to extent %" PRIu32 ", which has pages %" PRIu64
					" to %" PRIu64,
					page, index, extent->first_page, extent->first_page + extent->pages);
	}
	if (mapped != recorded->mapped_pages)
		return kml_fail(error, "%" PRIu64 " pages are mapped, %" PRIu64 " are counted", mapped,
				recorded->mapped_pages);
	return true;
}

/* Records against the maps; takes the sums of each group away from `groups`, a copy. */
static bool validate_records(const struct recorded *recorded, struct group *groups, uint64_t *block_bytes,
			     struct kml_error *error)
{
	for (uint32_t i = 1; i < recorded->record_count; i++) {
		const struct record *record = &recorded->records[i];
		if (record->granted_bytes == 0)
			continue;
		enum kml_status status;
		if (find_record(recorded, record->address, &status) != i)
			return kml_fail(error, "the block of %" PRIu64 " bytes at %" PRIu64 " is not on the map",
					record->granted_bytes, record->address);
		if (record->extent && recorded->extents[record->extent].kind == EXTENT_BLOCK) {
			*block_bytes += record->granted_bytes;
			continue;
		}
		groups[record->group].live--;
		groups[record->group].granted_bytes -= record->granted_bytes;
	}
	return true;
}

static bool recorded_validate(const struct kml_heap *heap, struct kml_error *error)
{
	const struct recorded *recorded = of(heap);
	struct group *groups = calloc(recorded->group_count, sizeof *groups);
	uint64_t block_bytes = 0, held_bytes = 0;
	if (!groups)
		return kml_fail(error, "out of memory for %" PRIu32 " groups", recorded->group_count);
	memcpy(groups, recorded->groups, recorded->group_count * sizeof *groups);
	bool valid = validate_pages(recorded, error) && validate_records(recorded, groups, &block_bytes, error);
	for (uint32_t i = 0; i < recorded->group_count && valid; i++) {
		held_bytes += groups[i].held_bytes;
		if (groups[i].live != 0 || groups[i].granted_bytes != 0)
			valid = kml_fail(error,
					 "cache %" PRIu32 " counts %" PRId64 " objects and %" PRId64
					 " bytes more than there are",
					 i, (int64_t)groups[i].live, (int64_t)groups[i].granted_bytes);
	}
	if (valid && block_bytes != recorded->block_granted_bytes)
		valid = kml_fail(error, "blocks of %" PRIu64 " bytes are there, %" PRIu64 " are counted", block_bytes,
				 recorded->block_granted_bytes);
	if (valid && held_bytes != recorded->stats.held_bytes)
		valid = kml_fail(error, "the caches hold %" PRIu64 " bytes, %" PRIu64 " are counted", held_bytes,
				 recorded->stats.held_bytes);
	free(groups);
	return valid;
}

/* ---------------------------------------------------------------------------------------- start and end */

static uint64_t page_map_bytes(const struct recorded *recorded)
{
	return recorded->page_count * sizeof *recorded->page_extent;
}

static uint64_t granule_map_bytes(const struct recorded *recorded)
{
	return (end_of(recorded) >> GRANULE_SHIFT) * sizeof *recorded->granule_record;
}

static void recorded_destroy(struct kml_heap *heap)
{
	struct recorded *recorded = of(heap);
	for (uint32_t i = 1; i < recorded->extent_count; i++)
		if (recorded->extents[i].kind != EXTENT_UNUSED)
			unmap_extent(recorded, i);
	kml_unreserve(recorded->page_extent, page_map_bytes(recorded));
	kml_unreserve(recorded->granule_record, granule_map_bytes(recorded));
	free(recorded->groups);
	free(recorded->extents);
	free(recorded->records);
	free(recorded);
}

static struct kml_heap *recorded_create(const struct kml_environment *environment, const void *config,
					struct kml_error *error)
{
	(void)config;
	if (environment->arena->size_bytes < environment->arena->page_bytes) {
		kml_fail(error, "recorded: an arena of %" PRIu64 " bytes holds no page: use %" PRIu32 " or more",
			 environment->arena->size_bytes, environment->arena->page_bytes);
		return NULL;
	}
	struct recorded *recorded = calloc(1, sizeof *recorded);
	if (!recorded) {
		kml_fail(error, "recorded: out of memory");
		return NULL;
	}
	recorded->heap.allocator = &kml_recorded;
	recorded->arena = environment->arena;
	recorded->page_shift = environment->arena->page_shift;
	recorded->page_count = recorded->arena->size_bytes >> recorded->page_shift;
	recorded->annex_bottom = end_of(recorded);
	recorded->group_count = environment->cache_count + 1;
	recorded->extent_capacity = recorded->record_capacity = 1024;
	recorded->extent_count = recorded->record_count = 1;
	recorded->groups = calloc(recorded->group_count, sizeof *recorded->groups);
	recorded->extents = calloc(recorded->extent_capacity, sizeof *recorded->extents);
	recorded->records = calloc(recorded->record_capacity, sizeof *recorded->records);
	recorded->page_extent = kml_reserve(page_map_bytes(recorded));
	recorded->granule_record = kml_reserve(granule_map_bytes(recorded));
	if (recorded->groups && recorded->extents && recorded->records && recorded->page_extent &&
	    recorded->granule_record)
		return &recorded->heap;
	kml_fail(error, "recorded: no address space for the maps of %" PRIu64 " bytes of recorded memory",
		 recorded->arena->size_bytes);
	recorded->extent_count = 0;
	recorded_destroy(&recorded->heap);
	return NULL;
}

const struct kml_allocator kml_recorded = {
	.abi_version = KML_ABI_VERSION,
	.name = "recorded",
	.title = "The recorded kernel",
	.citation = "the addresses in the trace (events/kmem tracepoints, /proc/slabinfo)",
	.summary = "every block where the kernel put it, held what the kernel held; O(size) to mark it",
	.layer = KML_LAYER_PAGES,
	.traits = KML_TRAIT_NO_MEMORY | KML_TRAIT_RECORDED,
	.create = recorded_create,
	.destroy = recorded_destroy,
	.cache_open = recorded_cache_open,
	.cache_close = recorded_cache_close,
	.alloc = recorded_alloc,
	.free = recorded_free,
	.usable = recorded_usable,
	.stats = recorded_stats,
	.free_areas = recorded_free_areas,
	.walk = recorded_walk,
	.validate = recorded_validate,
	.cache_stats = recorded_cache_stats,
};
