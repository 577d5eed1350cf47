/*
 * vmalloc.c - memory page by page, made contiguous by mapping. See vmalloc.h.
 *
 * After mm/vmalloc.c of Linux: __vmalloc_area_node takes single pages, vmap_pages_range maps them, __vunmap gives them
 * back in the order they were taken.
 *
 * Invariants: the areas are in address order, disjoint, in the window, each with a page after it that belongs to none;
 * the blocks of an area, joined in order, are as long as the area; every page of a block has VMALLOC_OWNER.
 */
#include "allocators/slab/vmalloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

const char vmalloc_owner;

/* What the backing granted for a page: one page, or more where its smallest block is larger. Whole pages of it. */
struct page_block {
	uint64_t address, size_bytes;
};

struct area {
	uint64_t address, size_bytes;
	uint64_t block_count, block_room;
	uint64_t rounding_bytes; /* ends of blocks too short for a page */
	struct page_block blocks[];
};

struct vmalloc_areas {
	struct area **areas; /* in address order */
	uint64_t count, room;
	uint64_t size_bytes;  /* of all */
	uint64_t top_address; /* addresses below were an area's once */
};

static const size_t AREA_ENTRY_BYTES = sizeof(struct area *);

static uint64_t area_metadata_bytes(const struct area *area)
{
	return sizeof(*area) + area->block_room * sizeof(area->blocks[0]);
}

/* The index of the first area that ends above the address; the count when there is none. O(log areas). */
static uint64_t first_area_above(const struct vmalloc_areas *areas, uint64_t address)
{
	uint64_t low = 0, high = areas == NULL ? 0 : areas->count;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		const struct area *area = areas->areas[middle];
		if (area->address + area->size_bytes > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* The area that the address lies in, or NULL. */
static struct area *area_of(const struct object_heap *heap, uint64_t address, uint64_t *index)
{
	*index = first_area_above(heap->vmalloc, address);
	if (heap->vmalloc == NULL || *index == heap->vmalloc->count)
		return NULL;
	struct area *area = heap->vmalloc->areas[*index];
	return address >= area->address ? area : NULL;
}

/* ---------------------------------------------------------------------------------------------------- the books */

static bool make_room(struct object_heap *heap)
{
	if (heap->vmalloc == NULL) {
		heap->vmalloc = calloc(1, sizeof(*heap->vmalloc));
		if (heap->vmalloc == NULL)
			return false;
		heap->books.metadata_bytes += sizeof(*heap->vmalloc);
	}
	struct vmalloc_areas *areas = heap->vmalloc;
	if (areas->count < areas->room)
		return true;
	uint64_t room = areas->room * 2 + 16;
	struct area **larger = realloc(areas->areas, room * AREA_ENTRY_BYTES);
	if (larger == NULL)
		return false;
	heap->books.metadata_bytes += (room - areas->room) * AREA_ENTRY_BYTES;
	areas->areas = larger;
	areas->room = room;
	return true;
}

static void insert_area(struct object_heap *heap, struct area *area, uint64_t index)
{
	struct vmalloc_areas *areas = heap->vmalloc;
	memmove(&areas->areas[index + 1], &areas->areas[index], (areas->count - index) * AREA_ENTRY_BYTES);
	areas->areas[index] = area;
	areas->count++;
	areas->size_bytes += area->size_bytes;
	if (areas->top_address < area->address + area->size_bytes)
		areas->top_address = area->address + area->size_bytes;
	heap->books.page_bytes += area->size_bytes;
	heap->books.run_granted_bytes += area->rounding_bytes;
	heap->books.metadata_bytes += area_metadata_bytes(area);
}

static void remove_area(struct object_heap *heap, const struct area *area, uint64_t index)
{
	struct vmalloc_areas *areas = heap->vmalloc;
	areas->count--;
	memmove(&areas->areas[index], &areas->areas[index + 1], (areas->count - index) * AREA_ENTRY_BYTES);
	areas->size_bytes -= area->size_bytes;
	heap->books.page_bytes -= area->size_bytes;
	heap->books.run_granted_bytes -= area->rounding_bytes;
	heap->books.metadata_bytes -= area_metadata_bytes(area);
}

/* ------------------------------------------------------------------------------------------------------ the pages */

static void mark_pages(struct object_heap *heap, const struct page_block *block, void *owner)
{
	for (uint64_t offset = 0; offset < block->size_bytes; offset += heap->page_bytes)
		kml_arena_page(heap->arena, block->address + offset)->owner = owner;
}

static void give_pages(struct object_heap *heap, const struct area *area, uint16_t cpu, uint16_t flags)
{
	for (uint64_t i = 0; i < area->block_count; i++) {
		const struct page_block *block = &area->blocks[i];
		const struct kml_release release = {.address = block->address,
						    .cache = KML_NO_CACHE,
						    .cpu = cpu,
						    .flags = (uint16_t)((flags | KML_PAGES) & ~KML_VMALLOC)};
		mark_pages(heap, block, NULL);
		enum kml_status status = heap->backing->allocator->free(heap->backing, &release);
		KML_CHECK(status == KML_OK, "%s refused to free a page of an area at %" PRIu64 ": %s",
			  heap->backing->allocator->name, block->address, kml_status_name(status));
	}
}

/* Blocks until they are long enough together; on failure the area keeps what it has. */
static enum kml_status take_pages(struct object_heap *heap, struct area *area, uint64_t need_bytes,
				  const struct kml_request *from)
{
	struct kml_request request = *from;
	request.size_bytes = request.align_bytes = heap->page_bytes;
	request.recorded = KML_NO_ADDRESS;
	request.recorded_granted_bytes = 0;
	request.cache = KML_NO_CACHE;
	request.flags =
		(uint16_t)((from->flags | KML_PAGES) & ~(KML_VMALLOC | KML_KMALLOC | KML_CONTIGUOUS | KML_ZEROED));
	/* The mapping is fresh memory: it is zero. */
	while (area->size_bytes < need_bytes) {
		struct kml_grant grant = heap->backing->allocator->alloc(heap->backing, &request);
		if (grant.status != KML_OK)
			return grant.status;
		struct page_block *block = &area->blocks[area->block_count++];
		uint64_t rounding_bytes = grant.granted_bytes % heap->page_bytes;
		*block = (struct page_block){grant.address, grant.granted_bytes - rounding_bytes};
		area->size_bytes += block->size_bytes;
		area->rounding_bytes += rounding_bytes;
		mark_pages(heap, block, VMALLOC_OWNER);
	}
	return KML_OK;
}

/* ---------------------------------------------------------------------------------------------------- the mapping */

/* From block `first` on, blocks that lie one behind the other: the length of the run, and the block after it. */
static uint64_t run_bytes(const struct area *area, uint64_t first, uint64_t *next)
{
	const struct page_block *blocks = area->blocks;
	uint64_t end = blocks[first].address + blocks[first].size_bytes, i = first + 1;
	for (; i < area->block_count &&
	       (blocks[i].address == end || (KML_PLANTED(vmalloc_run_over_gap) && blocks[i].address > end));
	     i++)
		end += blocks[i].size_bytes;
	*next = i;
	return end - blocks[first].address;
}

/* The runs of the blocks below `block_count`. */
static void unmap(struct object_heap *heap, const struct area *area, uint64_t block_count)
{
	uint64_t next;
	for (uint64_t i = 0; i < block_count; i = next)
		kml_arena_unshare(heap->arena, area->blocks[i].address, run_bytes(area, i, &next));
	kml_arena_hide(heap->arena, area->address, area->size_bytes);
}

static bool map(struct object_heap *heap, const struct area *area)
{
	if (!kml_arena_show(heap->arena, area->address, area->size_bytes))
		return false;
	uint64_t address = area->address, next;
	for (uint64_t i = 0; i < area->block_count; i = next) {
		uint64_t size_bytes = run_bytes(area, i, &next);
		if (!kml_arena_share(heap->arena, address, area->blocks[i].address, size_bytes)) {
			unmap(heap, area, i);
			return false;
		}
		address += size_bytes;
	}
	return true;
}

static uint64_t align_up(uint64_t address, uint64_t align_bytes)
{
	return (address + align_bytes - 1) & ~(align_bytes - 1);
}

/* The lowest place for an area and its guard page: between which areas. False when none is wide enough. O(areas). */
static bool find_place(const struct object_heap *heap, struct area *area, uint64_t align_bytes, uint64_t *index)
{
	const struct vmalloc_areas *areas = heap->vmalloc;
	uint64_t start = heap->arena->window_address, end = start + heap->arena->window_bytes;
	for (*index = 0; *index <= areas->count; ++*index) {
		const struct area *next = *index < areas->count ? areas->areas[*index] : NULL;
		area->address = align_up(start, align_bytes);
		uint64_t guard_bytes = KML_PLANTED(vmalloc_gap_without_guard) ? 0 : heap->page_bytes;
		if (area->address + area->size_bytes + guard_bytes <= (next != NULL ? next->address : end))
			return true;
		if (next != NULL)
			start = next->address + next->size_bytes +
				(KML_PLANTED(vmalloc_no_guard) ? 0 : heap->page_bytes);
	}
	return false;
}

/* --------------------------------------------------------------------------------------------------- alloc, free */

/* What an empty arena could not grant either. */
static bool is_impossible(const struct object_heap *heap, const struct kml_request *request, uint64_t align_bytes,
			  const struct kml_stats *below)
{
	const struct kml_arena *arena = heap->arena;
	uint64_t page_bytes = heap->page_bytes, end = arena->window_address + arena->window_bytes;
	uint64_t capacity_bytes = below->granted_bytes + below->free_bytes + below->waste_bytes[KML_WASTE_CPU_CACHED] +
				  below->waste_bytes[KML_WASTE_MANAGEMENT];
	if (request->size_bytes == 0 || request->size_bytes > capacity_bytes || align_bytes > end)
		return true;
	uint64_t size_bytes = align_up(request->size_bytes, page_bytes);
	uint64_t address = align_up(arena->window_address, align_bytes);
	return size_bytes > capacity_bytes || address + size_bytes + page_bytes > end;
}

static enum kml_status build(struct object_heap *heap, struct area *area, uint64_t need_bytes, uint64_t align_bytes,
			     const struct kml_request *request, uint64_t *index)
{
	enum kml_status status = take_pages(heap, area, need_bytes, request);
	if (status != KML_OK)
		return status;
	if (!find_place(heap, area, align_bytes, index))
		return KML_NO_RUN;
	return map(heap, area) ? KML_OK : KML_NO_MEMORY;
}

struct kml_grant vmalloc_alloc(struct object_heap *heap, const struct kml_request *request)
{
	struct kml_stats below;
	heap->backing->allocator->stats(heap->backing, &below);
	uint64_t page_bytes = heap->page_bytes;
	uint64_t align_bytes = request->align_bytes > page_bytes ? request->align_bytes : page_bytes;
	if (is_impossible(heap, request, align_bytes, &below))
		return kml_refuse(KML_IMPOSSIBLE);
	uint64_t need_bytes = align_up(request->size_bytes, page_bytes);
	if (need_bytes > below.free_bytes + below.waste_bytes[KML_WASTE_CPU_CACHED])
		return kml_refuse(KML_NO_MEMORY);

	uint64_t pages = need_bytes / page_bytes, index;
	struct area *area = malloc(sizeof(*area) + pages * sizeof(area->blocks[0]));
	if (area == NULL || !make_room(heap)) {
		free(area);
		return kml_refuse(KML_NO_MEMORY);
	}
	*area = (struct area){.block_room = pages};
	enum kml_status status = build(heap, area, need_bytes, align_bytes, request, &index);
	if (status != KML_OK) {
		if (!KML_PLANTED(vmalloc_failure_leaks))
			give_pages(heap, area, request->cpu, request->flags);
		free(area);
		return kml_refuse(status);
	}
	insert_area(heap, area, index);
	return (struct kml_grant){KML_OK, area->address, area->size_bytes};
}

enum kml_status vmalloc_free(struct object_heap *heap, const struct kml_release *release)
{
	uint64_t address = release->address, index;
	struct area *area = area_of(heap, address, &index);
	if (area == NULL) {
		/* The page after an area was nobody's as long as it is there. */
		bool was_granted = heap->vmalloc != NULL && address >= heap->arena->window_address &&
				   address < heap->vmalloc->top_address;
		return was_granted ? KML_DOUBLE_FREE : KML_FOREIGN;
	}
	if (address != area->address)
		return KML_INTERIOR;
	if (release->cache != KML_NO_CACHE)
		return KML_WRONG_CACHE;
	unmap(heap, area, area->block_count);
	give_pages(heap, area, release->cpu, release->flags);
	remove_area(heap, area, index);
	free(area);
	return KML_OK;
}

uint64_t vmalloc_usable(const struct object_heap *heap, uint64_t address)
{
	uint64_t index;
	const struct area *area = area_of(heap, address, &index);
	return area != NULL && area->address == address ? area->size_bytes : 0;
}

void vmalloc_destroy(struct object_heap *heap)
{
	struct vmalloc_areas *areas = heap->vmalloc;
	if (areas == NULL)
		return;
	for (uint64_t i = 0; i < areas->count; i++) {
		struct area *area = areas->areas[i];
		unmap(heap, area, area->block_count);
		for (uint64_t j = 0; j < area->block_count; j++)
			mark_pages(heap, &area->blocks[j], NULL);
		free(area);
	}
	free(areas->areas);
	free(areas);
	heap->vmalloc = NULL;
}

/* --------------------------------------------------------------------------------------------------- walk, check */

bool vmalloc_walk(const struct object_heap *heap, kml_visit *visit, void *context)
{
	for (uint64_t i = 0; heap->vmalloc != NULL && i < heap->vmalloc->count; i++) {
		const struct area *area = heap->vmalloc->areas[i];
		const struct kml_block block = {.address = area->address,
						.size_bytes = area->size_bytes,
						.state = KML_BLOCK_GRANTED,
						.owner = KML_NO_CACHE};
		if (!visit(context, &block))
			return false;
	}
	return true;
}

static bool validate_area(const struct object_heap *heap, const struct area *area, uint64_t lowest,
			  struct kml_error *error)
{
	const struct kml_arena *arena = heap->arena;
	uint64_t end = arena->window_address + arena->window_bytes, sum_bytes = 0;
	if (area->address < lowest || area->address + area->size_bytes + heap->page_bytes > end)
		return kml_fail(error,
				"vmalloc: the area at %" PRIu64 " of %" PRIu64
				" bytes does not lie between the guard page before %" PRIu64
				" and the window's end at %" PRIu64,
				area->address, area->size_bytes, lowest, end);
	for (uint64_t i = 0; i < area->block_count; i++) {
		const struct page_block *block = &area->blocks[i];
		sum_bytes += block->size_bytes;
		uint64_t usable_bytes = heap->backing->allocator->usable(heap->backing, block->address);
		if (usable_bytes < block->size_bytes || usable_bytes - block->size_bytes >= heap->page_bytes)
			return kml_fail(error,
					"vmalloc: the area at %" PRIu64 " has a block at %" PRIu64 " of %" PRIu64
					" bytes, the backing says %" PRIu64,
					area->address, block->address, block->size_bytes, usable_bytes);
		for (uint64_t at = block->address; at < block->address + block->size_bytes; at += heap->page_bytes)
			if (kml_arena_page(heap->arena, at)->owner != VMALLOC_OWNER)
				return kml_fail(error,
						"vmalloc: the page at %" PRIu64 " of the area at %" PRIu64
						" is marked as another's",
						at, area->address);
	}
	return sum_bytes == area->size_bytes ||
	       kml_fail(error, "vmalloc: the area at %" PRIu64 " of %" PRIu64 " bytes has pages of %" PRIu64,
			area->address, area->size_bytes, sum_bytes);
}

bool vmalloc_validate(const struct object_heap *heap, struct kml_error *error)
{
	const struct vmalloc_areas *areas = heap->vmalloc;
	if (areas == NULL)
		return true;
	uint64_t lowest = heap->arena->window_address, sum_bytes = 0;
	for (uint64_t i = 0; i < areas->count; i++) {
		const struct area *area = areas->areas[i];
		if (!validate_area(heap, area, lowest, error))
			return false;
		lowest = area->address + area->size_bytes + heap->page_bytes;
		sum_bytes += area->size_bytes;
	}
	return sum_bytes == areas->size_bytes ||
	       kml_fail(error, "vmalloc: the areas have %" PRIu64 " bytes, the books say %" PRIu64, sum_bytes,
			areas->size_bytes);
}
