/*
 * slob.c - SLOB, the simple list of blocks: a first-fit heap of units inside pages, without slabs.
 *
 * Matt Mackall, 2005; Linux mm/slob.c as of 6.1 (gone since 6.4). K&R's heap on pages: a page is cut into units of 2
 * bytes (4 where an offset in the page does not fit in 16 bits), its free blocks are chained in address order through
 * their own memory, and the pages with free units are on three lists, for requests below 256, below 1024 and of more
 * bytes.
 *
 *      slob_alloc   the first page of the list that has the units and a block that holds them when aligned; first fit
 *                   in the page; the list is turned so that the next search begins there (Knuth, vol. 1, 2.5)
 *      slob_free    both neighbours merge; a page that becomes wholly free goes back at once; one that was full goes
 *                   to the head of the list for the size of the freed block
 *      kmalloc      a header with the size before the object; natural alignment of powers of two; a page less the
 *                   header or more: whole pages
 *      caches       objects of all caches share the pages, with their own alignment and no header; a page or more:
 *                   whole pages; SLAB_TYPESAFE_BY_RCU: struct slob_rcu behind the object, which stays as it is until
 *                   the grace period is over (told by KML_NOTICE_RCU_FREE, else at once)
 *
 * The free list is kept as the kernel encodes it. A free block of n > 1 units holds n and the offset of the next free
 * block, a block of one unit the negative offset alone; the last points to the end of the page:
 *
 *      page | used | n next ...... | used | -next | used | n end ... |
 *
 * Beyond the kernel: a record of the blocks of each page beside the page, which tells double, foreign, interior and
 * wrong-cache frees (the kernel has none and damages itself); and a bound of each page's largest free block, so that
 * pages that cannot serve are passed over unread. It changes no decision.
 *
 * Cost: O(pages on the list + free blocks of the pages looked into) per alloc, O(blocks of the page) per free. The
 * price of the small footprint. Metadata: a descriptor a page, 8 bytes a block.
 *
 * Invariants (heap_validate): blocks and free blocks tile each page; no two free blocks are neighbours; a page is on a
 * list exactly when it has free units; no page is wholly free; a kmalloc header says the size of its record.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/object_heap.h"
#include "allocators/slab/vmalloc.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

enum {
	SLOB_BREAK1 = 256, /* mm/slob.c */
	SLOB_BREAK2 = 1024,
	SLOB_MINALIGN = 8,   /* ARCH_KMALLOC_MINALIGN and arch_slab_minalign() of 64-bit kernels; the kmalloc header */
	SLOB_RCU_BYTES = 24, /* struct slob_rcu: a struct rcu_head and an int */
	SLOB_INDEX_MAX = 32767, /* slobidx_t is 16 bits wide while a page is at most twice that */
	SLOB_PAGE_MIN = 64,
	SLOB_PAGE_MAX = 65536, /* what a block's record can number */
};
#define SLOB_KMALLOC 0x7fffffffu /* a block of no cache */
#define SLOB_NONE UINT32_MAX
#define SLOB_UNIT_MASK 0x7fffu
#define SLOB_SIZE_MASK 0x1ffffu

enum slob_list { SLOB_SMALL, SLOB_MEDIUM, SLOB_LARGE, SLOB_LISTS };

/* A block that is not free. */
struct slob_block {
	uint32_t unit : 15;       /* where it begins in the page */
	uint32_t size_bytes : 17; /* with the header or the footer, as slob_alloc was asked; 0 of whole pages */
	uint32_t cache : 31;      /* index, or SLOB_KMALLOC */
	uint32_t is_parked : 1;   /* freed, and waits for the grace period of RCU */
};
_Static_assert(sizeof(struct slob_block) == 8, "the record of a block is one word");

/* A page of blocks, or the pages of one object of a cache of large ones: then one block and no free units. */
struct slob_run {
	struct slob_run *next, *prev; /* on a list while it has free units */
	uint32_t free_units;
	uint32_t largest_units; /* at least its largest free block */
	uint32_t total_units;
	uint32_t first_free;
	struct slob_run *all_next, *all_prev;
	struct slob_heap *slob;
	uint64_t address, asked_bytes, granted_bytes;
	struct slob_block *blocks; /* by address */
	uint32_t block_count, block_capacity;
	bool is_page;
	uint8_t list; /* enum slob_list while free_units > 0 */
};

struct slob_heap {
	struct object_heap heap;
	struct slob_run list[SLOB_LISTS]; /* heads: next and prev alone */
	struct slob_run all;              /* head: all_next and all_prev alone */
	uint32_t unit_bytes, page_units;
	bool has_wide_index; /* units of 4 bytes */
	uint64_t pages, live_blocks, parked_blocks;
};

struct slob_cache {
	struct object_cache cache;
	uint64_t size_bytes; /* object and footer */
	uint64_t align_bytes;
	uint64_t parked;
};

/* What slob_alloc is asked for: the address `offset` bytes into the block is aligned. */
struct slob_demand {
	uint64_t size_bytes, align_bytes, offset_bytes;
	uint32_t cache;
};

static struct slob_heap *slob_of(const struct object_heap *heap)
{
	return (struct slob_heap *)(uintptr_t)heap;
}

static struct slob_cache *slob_cache_of(const struct object_cache *cache)
{
	return (struct slob_cache *)(uintptr_t)cache;
}

static uint32_t units_of(const struct slob_heap *slob, uint64_t size_bytes)
{
	return (uint32_t)((size_bytes + slob->unit_bytes - 1) / slob->unit_bytes);
}

static enum slob_list list_of(uint64_t size_bytes)
{
	if (size_bytes < SLOB_BREAK1)
		return SLOB_SMALL;
	return size_bytes < SLOB_BREAK2 ? SLOB_MEDIUM : SLOB_LARGE;
}

/* ------------------------------------------------------------------------ the free list, in the page's memory */

static int32_t read_index(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit)
{
	const uint8_t *at = object_memory(&slob->heap, run->address) + (uint64_t)unit * slob->unit_bytes;
	int32_t wide;
	int16_t narrow;
	if (slob->has_wide_index) {
		memcpy(&wide, at, sizeof wide);
		return wide;
	}
	memcpy(&narrow, at, sizeof narrow);
	return narrow;
}

static void write_index(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit, int32_t value)
{
	uint8_t *at = object_memory(&slob->heap, run->address) + (uint64_t)unit * slob->unit_bytes;
	int16_t narrow = (int16_t)value;
	if (slob->has_wide_index)
		memcpy(at, &value, sizeof value);
	else
		memcpy(at, &narrow, sizeof narrow);
}

static void set_free(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit, uint32_t units,
		     uint32_t next)
{
	if (units == 1) {
		write_index(slob, run, unit, -(int32_t)next);
		return;
	}
	write_index(slob, run, unit, (int32_t)units);
	write_index(slob, run, unit + 1, (int32_t)next);
}

static uint32_t free_units(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit)
{
	int32_t index = read_index(slob, run, unit);
	return index > 0 ? (uint32_t)index : 1;
}

/* total_units after the last. */
static uint32_t free_next(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit)
{
	int32_t index = read_index(slob, run, unit);
	return (uint32_t)(index < 0 ? -index : read_index(slob, run, unit + 1));
}

/* The same where it is relied on. */
static uint32_t sound_free_next(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit)
{
	uint32_t next = free_next(slob, run, unit);
	KML_CHECK(next > unit && next <= run->total_units,
		  "slob page at %" PRIu64 ": its free list leads from unit %u to %u: a free block was written to",
		  run->address, unit, next);
	return next;
}

/* `next` follows the free block `previous`, or is the first. */
static void link_free(const struct slob_heap *slob, struct slob_run *run, uint32_t previous, uint32_t next)
{
	if (previous == SLOB_NONE)
		run->first_free = next;
	else
		set_free(slob, run, previous, free_units(slob, run, previous), next);
}

/* ------------------------------------------------------------------------------------------- lists of pages */

static void list_insert(struct slob_run *run, struct slob_run *after)
{
	run->next = after->next;
	run->prev = after;
	after->next->prev = run;
	after->next = run;
}

static void list_remove(struct slob_run *run)
{
	run->prev->next = run->next;
	run->next->prev = run->prev;
	run->next = run->prev = NULL;
}

/* The list begins with this page, and what was before it comes last (list_rotate_to_front). */
static void list_rotate(struct slob_run *head, struct slob_run *run)
{
	if (head->next == run)
		return;
	list_remove(head);
	list_insert(head, run->prev);
}

/* ------------------------------------------------------------------------------------------------------ runs */

static uint64_t record_bytes(const struct slob_run *run)
{
	return run->block_capacity * sizeof(struct slob_block);
}

/* The run in the books; sign -1 takes it out. All of it counts as free. */
static void book_run(struct slob_heap *slob, const struct slob_run *run, int64_t sign)
{
	struct object_books *books = &slob->heap.books;
	books->slot_bytes += (uint64_t)sign * run->asked_bytes;
	books->free_slot_bytes += (uint64_t)sign * run->asked_bytes;
	books->metadata_bytes += (uint64_t)sign * (sizeof *run + record_bytes(run));
	slob->pages += (uint64_t)sign * run->is_page;
}

/* Room for one more block in the record. */
static bool reserve_record(struct slob_heap *slob, struct slob_run *run)
{
	if (run->block_count < run->block_capacity)
		return true;
	uint32_t capacity = run->is_page ? run->block_capacity * 2 + 8 : 1;
	struct slob_block *blocks = realloc(run->blocks, capacity * sizeof *blocks);
	if (!blocks)
		return false;
	slob->heap.books.metadata_bytes += (capacity - run->block_capacity) * sizeof *blocks;
	run->blocks = blocks;
	run->block_capacity = capacity;
	return true;
}

static void run_release(void *owner)
{
	struct slob_run *run = owner;
	free(run->blocks);
	free(run);
}

/* Pages with nothing in them, on no list. */
static struct slob_run *run_create(struct slob_heap *slob, uint64_t asked_bytes, bool is_page,
				   const struct kml_cache *description, const struct kml_request *request,
				   enum kml_status *status)
{
	struct slob_run *run = calloc(1, sizeof *run);
	*status = KML_NO_MEMORY;
	if (!run)
		return NULL;
	run->slob = slob;
	run->is_page = is_page;
	book_run(slob, run, 1); /* for the record; nothing asked yet */
	struct kml_grant grant = {.status = KML_NO_MEMORY};
	if (reserve_record(slob, run))
		grant = object_take_run(&slob->heap, asked_bytes, description, request, run);
	book_run(slob, run, -1);
	*status = grant.status;
	if (grant.status != KML_OK) {
		run_release(run);
		return NULL;
	}
	run->address = grant.address;
	run->asked_bytes = asked_bytes;
	run->granted_bytes = grant.granted_bytes;
	run->total_units = run->free_units = run->largest_units = units_of(slob, asked_bytes);
	run->all_next = slob->all.all_next;
	run->all_prev = &slob->all;
	run->all_next->all_prev = run->all_prev->all_next = run;
	book_run(slob, run, 1);
	return run;
}

/* Wholly free, and on no list any more. */
static void run_destroy(struct slob_heap *slob, struct slob_run *run, uint16_t cpu)
{
	KML_CHECK(run->block_count == 0, "page at %" PRIu64 " goes back with %u blocks", run->address,
		  run->block_count);
	book_run(slob, run, -1);
	run->all_prev->all_next = run->all_next;
	run->all_next->all_prev = run->all_prev;
	object_give_run(&slob->heap, run->address, run->granted_bytes, cpu);
	run_release(run);
}

/* --------------------------------------------------------------------------------------- the record of blocks */

/* The number of blocks that begin before or at a unit. */
static uint32_t blocks_up_to(const struct slob_run *run, uint32_t unit)
{
	uint32_t low = 0, high = run->block_count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (run->blocks[middle].unit <= unit)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Bytes before the object in its block. */
static uint64_t header_bytes(const struct slob_block *block)
{
	return block->cache == SLOB_KMALLOC ? SLOB_MINALIGN : 0;
}

static uint64_t block_bytes(const struct slob_heap *slob, const struct slob_block *block)
{
	return (uint64_t)units_of(slob, block->size_bytes) * slob->unit_bytes;
}

/* What the caller may use: of a kmalloc all its units (__ksize), of a cache the object. */
static uint64_t usable_bytes(const struct slob_heap *slob, const struct slob_block *block)
{
	if (block->cache == SLOB_KMALLOC)
		return block_bytes(slob, block) - SLOB_MINALIGN;
	return slob->heap.caches[block->cache]->object_bytes;
}

static uint64_t object_address(const struct slob_heap *slob, const struct slob_run *run, const struct slob_block *block)
{
	return run->address + (uint64_t)block->unit * slob->unit_bytes + header_bytes(block);
}

/* A block leaves the free units; there is room in the record. Its number. */
static uint32_t record_block(struct slob_heap *slob, struct slob_run *run, uint32_t unit,
			     const struct slob_demand *demand)
{
	uint32_t at = blocks_up_to(run, unit);
	memmove(run->blocks + at + 1, run->blocks + at, (run->block_count - at) * sizeof *run->blocks);
	run->blocks[at] = (struct slob_block){.unit = unit & SLOB_UNIT_MASK,
					      .size_bytes = run->is_page ? demand->size_bytes & SLOB_SIZE_MASK : 0,
					      .cache = demand->cache & SLOB_KMALLOC};
	run->block_count++;
	slob->live_blocks++;
	uint64_t held_bytes = run->is_page ? block_bytes(slob, &run->blocks[at]) : run->asked_bytes;
	struct object_books *books = &slob->heap.books;
	books->free_slot_bytes -= held_bytes;
	books->live_slot_bytes += held_bytes;
	books->live_bytes += usable_bytes(slob, &run->blocks[at]);
	return at;
}

/* The caller has given it back; its units are not free yet. */
static void park_block(struct slob_heap *slob, struct slob_run *run, struct slob_block *block)
{
	struct object_books *books = &slob->heap.books;
	books->live_slot_bytes -= run->is_page ? block_bytes(slob, block) : run->asked_bytes;
	books->live_bytes -= usable_bytes(slob, block);
	slob->live_blocks--;
	slob->parked_blocks++;
	block->is_parked = 1;
	if (block->cache != SLOB_KMALLOC)
		slob_cache_of(slob->heap.caches[block->cache])->parked++;
}

/* ------------------------------------------------------------------------------------------- alloc and free */

/* Units from a free block to the place in it where the demand is aligned. */
static uint32_t units_to_align(const struct slob_heap *slob, uint32_t unit, const struct slob_demand *demand)
{
	uint64_t object = (uint64_t)unit * slob->unit_bytes + demand->offset_bytes;
	uint64_t aligned = (object + demand->align_bytes - 1) & ~(demand->align_bytes - 1);
	return (uint32_t)((aligned - object) / slob->unit_bytes);
}

/* Cut a block out of the free block `current`; what is left on either side stays free. */
static uint32_t cut_block(const struct slob_heap *slob, struct slob_run *run, uint32_t previous, uint32_t current,
			  uint32_t skipped, uint32_t units)
{
	uint32_t start = current + skipped;
	uint32_t left_units = free_units(slob, run, current) - skipped - units;
	uint32_t next = sound_free_next(slob, run, current);
	if (left_units > 0) {
		set_free(slob, run, start + units, left_units, next);
		next = start + units;
	}
	if (skipped > 0)
		set_free(slob, run, current, skipped, next);
	else
		link_free(slob, run, previous, next);
	run->free_units -= units;
	if (run->free_units == 0)
		list_remove(run);
	return start;
}

/* First fit in a page: the unit where the block begins, or SLOB_NONE. mm/slob.c: slob_page_alloc. */
static uint32_t page_take(struct slob_heap *slob, struct slob_run *run, const struct slob_demand *demand)
{
	uint32_t units = units_of(slob, demand->size_bytes);
	uint32_t previous = SLOB_NONE, largest_units = 0;
	for (uint32_t current = run->first_free; current != run->total_units;
	     current = sound_free_next(slob, run, current)) {
		uint32_t found_units = free_units(slob, run, current);
		uint32_t skipped = units_to_align(slob, current, demand);
		slob->heap.books.steps++;
		if (found_units >= skipped + units)
			return cut_block(slob, run, previous, current, skipped, units);
		if (found_units > largest_units)
			largest_units = found_units;
		previous = current;
	}
	run->largest_units = largest_units;
	return SLOB_NONE;
}

/* A page of the list that serves the demand, which is done then; NULL: none. */
static struct slob_run *search(struct slob_heap *slob, struct slob_run *head, const struct slob_demand *demand,
			       uint32_t *unit)
{
	uint32_t units = units_of(slob, demand->size_bytes);
	for (struct slob_run *run = head->next; run != head; run = run->next) {
		KML_CHECK(run, "a list of pages has no end");
		slob->heap.books.steps++;
		if (run->free_units < units || run->largest_units < units || !reserve_record(slob, run))
			continue;
		*unit = page_take(slob, run, demand);
		if (*unit == SLOB_NONE)
			continue;
		if (run->free_units > 0)
			list_rotate(head, run);
		return run;
	}
	return NULL;
}

static struct slob_run *add_page(struct slob_heap *slob, enum slob_list list, const struct kml_request *request,
				 enum kml_status *status)
{
	struct slob_run *run = run_create(slob, slob->heap.page_bytes, true, NULL, request, status);
	if (!run)
		return NULL;
	set_free(slob, run, 0, run->total_units, run->total_units);
	run->list = (uint8_t)list;
	list_insert(run, &slob->list[list]);
	return run;
}

/* mm/slob.c: slob_alloc. The place is filled but for its cache. */
static enum kml_status slob_alloc(struct slob_heap *slob, const struct slob_demand *demand,
				  const struct kml_request *request, struct object_place *place)
{
	enum slob_list list = list_of(demand->size_bytes);
	uint32_t unit;
	struct slob_run *run = search(slob, &slob->list[list], demand, &unit);
	if (!run) {
		enum kml_status status;
		run = add_page(slob, list, request, &status);
		if (!run)
			return status;
		unit = page_take(slob, run, demand);
		KML_CHECK(unit != SLOB_NONE, "an empty page has no room for %" PRIu64 " bytes", demand->size_bytes);
	}
	uint32_t slot = record_block(slob, run, unit, demand);
	place->address = object_address(slob, run, &run->blocks[slot]);
	place->granted_bytes = usable_bytes(slob, &run->blocks[slot]);
	place->run = run;
	place->slot = slot;
	return KML_OK;
}

/* Units between two free blocks become free. */
static void merge_free(struct slob_heap *slob, struct slob_run *run, uint32_t unit, uint32_t units)
{
	uint32_t previous = SLOB_NONE, next = run->first_free;
	while (next < unit) {
		previous = next;
		next = sound_free_next(slob, run, next);
		slob->heap.books.steps++;
	}
	if (!KML_PLANTED(slob_next_not_merged) && unit + units == next && next != run->total_units) {
		units += free_units(slob, run, next);
		next = sound_free_next(slob, run, next);
	}
	uint32_t previous_units = previous == SLOB_NONE ? 0 : free_units(slob, run, previous);
	if (previous_units > 0 && previous + previous_units == unit) {
		unit = previous;
		units += previous_units;
		set_free(slob, run, unit, units, next);
	} else {
		set_free(slob, run, unit, units, next);
		link_free(slob, run, previous, unit);
	}
	if (units > run->largest_units)
		run->largest_units = units;
}

/* A parked block is really free: mm/slob.c: slob_free. The run may be gone after it. */
static void release_block(struct slob_heap *slob, struct slob_run *run, uint32_t slot, uint16_t cpu)
{
	struct slob_block block = run->blocks[slot];
	uint32_t units = run->is_page ? units_of(slob, block.size_bytes) : run->total_units;
	slob->parked_blocks--;
	if (block.cache != SLOB_KMALLOC)
		slob_cache_of(slob->heap.caches[block.cache])->parked--;
	run->block_count--;
	memmove(run->blocks + slot, run->blocks + slot + 1, (run->block_count - slot) * sizeof *run->blocks);
	slob->heap.books.free_slot_bytes += (uint64_t)units * slob->unit_bytes;

	if (run->free_units + units + 4 * KML_PLANTED(slob_page_early) >= run->total_units) {
		if (run->free_units > 0)
			list_remove(run);
		run_destroy(slob, run, cpu);
		return;
	}
	if (run->free_units == 0) {
		run->free_units = run->largest_units = units;
		run->first_free = block.unit;
		set_free(slob, run, block.unit, units, run->total_units);
		run->list = (uint8_t)list_of(block.size_bytes);
		list_insert(run, &slob->list[KML_PLANTED(slob_full_page_list) ? SLOB_SMALL : run->list]);
		return;
	}
	run->free_units += units;
	merge_free(slob, run, block.unit, units);
}

/* What a run has parked, of one cache or (SLOB_KMALLOC) of all. The run may be gone after it. */
static void release_parked(struct slob_heap *slob, struct slob_run *run, uint32_t cache)
{
	for (uint32_t slot = run->block_count; slot-- > 0;) {
		const struct slob_block *block = &run->blocks[slot];
		if (!block->is_parked || (cache != SLOB_KMALLOC && block->cache != cache))
			continue;
		bool is_last = run->block_count == 1;
		release_block(slob, run, slot, 0);
		if (is_last)
			return;
	}
}

/* As after a grace period: rcu_barrier. */
static void release_all_parked(struct slob_heap *slob, uint32_t cache)
{
	struct slob_run *next;
	for (struct slob_run *run = slob->all.all_next; run != &slob->all; run = next) {
		next = run->all_next;
		release_parked(slob, run, cache);
	}
}

/* ------------------------------------------------------------------------------------------- the strategy */

static bool slob_start(struct object_heap *heap, const void *config, struct kml_error *error)
{
	(void)config;
	struct slob_heap *slob = slob_of(heap);
	slob->has_wide_index = heap->page_bytes > 2u * SLOB_INDEX_MAX;
	slob->unit_bytes = slob->has_wide_index ? sizeof(int32_t) : sizeof(int16_t);
	slob->page_units = heap->page_bytes / slob->unit_bytes;
	if (heap->page_bytes < SLOB_PAGE_MIN || heap->page_bytes > SLOB_PAGE_MAX)
		return kml_fail(error, "slob: pages of %u bytes; they need %d to %d", heap->page_bytes, SLOB_PAGE_MIN,
				SLOB_PAGE_MAX);
	if (heap->cache_count >= SLOB_KMALLOC - KMALLOC_CACHES)
		return kml_fail(error, "slob: %u caches; at most %u can be told apart", heap->cache_count,
				SLOB_KMALLOC - KMALLOC_CACHES - 1);
	for (int i = 0; i < SLOB_LISTS; i++)
		slob->list[i].next = slob->list[i].prev = &slob->list[i];
	slob->all.all_next = slob->all.all_prev = &slob->all;
	return true;
}

/* mm/slob.c: __kmem_cache_create; the alignment as calculate_alignment of mm/slab_common.c leaves it. */
static bool slob_cache_open(struct object_cache *cache)
{
	struct slob_cache *own = slob_cache_of(cache);
	uint64_t align_bytes = cache->description.align_bytes;
	if ((align_bytes & (align_bytes - 1)) != 0)
		return false;
	/* Of a size class of kmalloc no object is ever taken here. */
	if (align_bytes > cache->heap->page_bytes && !cache->description.is_kmalloc)
		return false;
	own->align_bytes = align_bytes > SLOB_MINALIGN ? align_bytes : SLOB_MINALIGN;
	own->size_bytes = cache->object_bytes + (cache->description.typesafe_by_rcu ? SLOB_RCU_BYTES : 0);
	return own->size_bytes >= cache->object_bytes && own->size_bytes <= UINT32_MAX;
}

static void slob_cache_close(struct object_cache *cache)
{
	if (slob_cache_of(cache)->parked > 0)
		release_all_parked(slob_of(cache->heap), cache->index);
}

static enum kml_status take_large(struct slob_heap *slob, const struct slob_demand *demand,
				  const struct kml_cache *description, const struct kml_request *request,
				  struct object_place *place)
{
	uint64_t asked_bytes = (uint64_t)slob->heap.page_bytes << object_order(&slob->heap, demand->size_bytes);
	enum kml_status status;
	struct slob_run *run = run_create(slob, asked_bytes, false, description, request, &status);
	if (!run)
		return status;
	run->free_units = 0;
	place->slot = record_block(slob, run, 0, demand);
	place->address = run->address;
	place->run = run;
	return KML_OK;
}

/* mm/slob.c: slob_alloc_node. */
static enum kml_status slob_take(struct object_cache *cache, const struct kml_request *request,
				 struct object_place *place)
{
	const struct slob_cache *own = slob_cache_of(cache);
	struct slob_heap *slob = slob_of(cache->heap);
	const struct slob_demand demand = {
		.size_bytes = own->size_bytes, .align_bytes = own->align_bytes, .cache = cache->index};
	if (own->align_bytes > slob->heap.page_bytes)
		return KML_IMPOSSIBLE;
	if (own->size_bytes >= slob->heap.page_bytes)
		return take_large(slob, &demand, &cache->description, request, place);
	return slob_alloc(slob, &demand, request, place);
}

/* mm/slob.c: __do_kmalloc_node. */
static struct kml_grant slob_kmalloc(struct object_heap *heap, const struct kml_request *request)
{
	uint64_t size_bytes = request->size_bytes;
	struct slob_demand demand = {
		.align_bytes = SLOB_MINALIGN, .offset_bytes = SLOB_MINALIGN, .cache = SLOB_KMALLOC};
	if (size_bytes >= heap->page_bytes - SLOB_MINALIGN)
		return object_take_pages(heap, request);
	if ((size_bytes & (size_bytes - 1)) == 0 && size_bytes > SLOB_MINALIGN)
		demand.align_bytes = size_bytes;
	/* The kernel's kmalloc has no alignment of the caller's. What an empty page cannot hold goes to pages. */
	if (request->align_bytes > demand.align_bytes)
		demand.align_bytes = request->align_bytes;
	if (demand.align_bytes + size_bytes > heap->page_bytes)
		return object_take_pages(heap, request);
	demand.size_bytes = size_bytes + (KML_PLANTED(slob_header_left_out) ? 0 : SLOB_MINALIGN);
	struct object_place place;
	enum kml_status status = slob_alloc(slob_of(heap), &demand, request, &place);
	if (status != KML_OK)
		return kml_refuse(status);
	if (request->flags & KML_ZEROED)
		memset(object_memory(heap, place.address), 0, size_bytes);
	uint32_t header = (uint32_t)size_bytes;
	memcpy(object_memory(heap, place.address - SLOB_MINALIGN), &header, sizeof header);
	return (struct kml_grant){KML_OK, place.address, place.granted_bytes};
}

static enum kml_status slob_resolve(const struct object_heap *heap, void *owner, uint64_t address,
				    struct object_place *place)
{
	const struct slob_heap *slob = slob_of(heap);
	struct slob_run *run = owner;
	uint64_t offset_bytes = address - run->address;
	if (offset_bytes >= run->asked_bytes)
		return KML_FOREIGN; /* rounding of the page layer: never handed out */
	uint32_t at = blocks_up_to(run, (uint32_t)(offset_bytes / slob->unit_bytes));
	const struct slob_block *block = at > 0 ? &run->blocks[at - 1] : NULL;
	uint64_t held_bytes = block ? (run->is_page ? block_bytes(slob, block) : run->asked_bytes) : 0;
	if (!block || offset_bytes >= (uint64_t)block->unit * slob->unit_bytes + held_bytes || block->is_parked)
		return KML_DOUBLE_FREE;
	uint64_t object = object_address(slob, run, block);
	uint64_t granted_bytes = usable_bytes(slob, block);
	if (address != object)
		return address > object && address < object + granted_bytes ? KML_INTERIOR : KML_FOREIGN;
	*place = (struct object_place){
		.address = object,
		.granted_bytes = granted_bytes,
		.cache = block->cache == SLOB_KMALLOC ? NULL : heap->caches[block->cache],
		.run = run,
		.slot = at - 1,
	};
	return KML_OK;
}

/* mm/slob.c: kfree, kmem_cache_free. */
static void slob_give(const struct object_place *place, const struct kml_release *release)
{
	struct slob_run *run = place->run;
	struct slob_heap *slob = run->slob;
	park_block(slob, run, &run->blocks[place->slot]);
	if (place->cache && place->cache->description.typesafe_by_rcu && slob->heap.environment.rcu_told)
		return;
	release_block(slob, run, place->slot, release->cpu);
}

static void slob_notice(struct object_heap *heap, struct object_cache *cache, const struct kml_notice *notice)
{
	(void)cache;
	if (notice->kind != KML_NOTICE_RCU_FREE || notice->address >= heap->arena->size_bytes)
		return;
	struct slob_heap *slob = slob_of(heap);
	void *owner = kml_arena_page(heap->arena, notice->address)->owner;
	if (!owner || owner == VMALLOC_OWNER)
		return;
	struct slob_run *run = owner;
	uint32_t at = blocks_up_to(run, (uint32_t)((notice->address - run->address) / slob->unit_bytes));
	if (at > 0 && run->blocks[at - 1].is_parked &&
	    object_address(slob, run, &run->blocks[at - 1]) == notice->address)
		release_block(slob, run, at - 1, notice->cpu);
}

/* Nothing is kept but what waits for RCU, and of that no cache's alone (mm/slob.c: __kmem_cache_shrink). */
static void slob_cache_shrink(struct object_cache *cache)
{
	(void)cache;
}

static void slob_heap_shrink(struct object_heap *heap)
{
	if (slob_of(heap)->parked_blocks > 0)
		release_all_parked(slob_of(heap), SLOB_KMALLOC);
}

/* --------------------------------------------------------------------------------------- figures and checks */

/* The pages belong to no cache; active counts what waits for RCU. */
static void slob_cache_stats(const struct object_cache *cache, struct kml_cache_stats *stats)
{
	const struct slob_heap *slob = slob_of(cache->heap);
	const struct slob_cache *own = slob_cache_of(cache);
	stats->active_objects = stats->total_objects = cache->live + own->parked;
	stats->slot_bytes = (uint64_t)units_of(slob, own->size_bytes) * slob->unit_bytes;
}

static void slob_heap_stats(const struct object_heap *heap, struct kml_cache_stats *stats)
{
	const struct slob_heap *slob = slob_of(heap);
	stats->name = "slob";
	stats->live_objects = slob->live_blocks;
	stats->active_objects = stats->total_objects = slob->live_blocks + slob->parked_blocks;
	stats->slabs = stats->active_slabs = slob->pages;
	stats->slab_bytes = slob->pages * heap->page_bytes;
	stats->slot_bytes = slob->unit_bytes;
	stats->objects_per_slab = slob->page_units;
	stats->pages_per_slab = 1;
}

static bool visit_block(const struct slob_heap *slob, const struct slob_run *run, const struct slob_block *block,
			kml_visit *visit, void *context)
{
	struct kml_block shown = {
		.address = object_address(slob, run, block),
		.size_bytes = usable_bytes(slob, block),
		.state = block->is_parked ? KML_BLOCK_CACHED : KML_BLOCK_GRANTED,
		.size_class = run->is_page ? list_of(block->size_bytes) : SLOB_LISTS,
		.owner = block->cache == SLOB_KMALLOC ? KML_NO_CACHE : block->cache,
	};
	uint64_t before_bytes = header_bytes(block);
	struct kml_block header = shown;
	header.address -= before_bytes;
	header.size_bytes = before_bytes;
	header.state = KML_BLOCK_PADDING;
	return (before_bytes == 0 || visit(context, &header)) && visit(context, &shown);
}

static bool visit_free(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit, kml_visit *visit,
		       void *context)
{
	const struct kml_block shown = {
		.address = run->address + (uint64_t)unit * slob->unit_bytes,
		.size_bytes = (uint64_t)free_units(slob, run, unit) * slob->unit_bytes,
		.state = KML_BLOCK_FREE,
		.size_class = run->list,
		.owner = KML_NO_CACHE,
	};
	return visit(context, &shown);
}

/* The free block after this one; of a damaged list the end, where it does not lead on. */
static uint32_t shown_free_next(const struct slob_heap *slob, const struct slob_run *run, uint32_t unit)
{
	uint32_t next = free_next(slob, run, unit);
	return next > unit && next <= run->total_units ? next : run->total_units;
}

static bool slob_walk_run(const struct object_heap *heap, void *owner, kml_visit *visit, void *context)
{
	const struct slob_heap *slob = slob_of(heap);
	const struct slob_run *run = owner;
	uint32_t hole = run->free_units > 0 ? run->first_free : run->total_units;
	for (uint32_t slot = 0; slot < run->block_count; slot++) {
		for (; hole < run->blocks[slot].unit; hole = shown_free_next(slob, run, hole))
			if (!visit_free(slob, run, hole, visit, context))
				return false;
		if (!visit_block(slob, run, &run->blocks[slot], visit, context))
			return false;
	}
	for (; hole < run->total_units; hole = shown_free_next(slob, run, hole))
		if (!visit_free(slob, run, hole, visit, context))
			return false;
	return true;
}

/* Of a kmalloc the header says what was asked; of a cache the size is the cache's; both are aligned. */
static bool check_block(const struct slob_heap *slob, const struct slob_run *run, const struct slob_block *block,
			struct kml_error *error)
{
	const struct object_cache *cache = block->cache == SLOB_KMALLOC ? NULL : slob->heap.caches[block->cache];
	uint32_t asked_bytes = 0;
	if (block->cache == SLOB_KMALLOC) {
		uint64_t at = object_address(slob, run, block) - SLOB_MINALIGN;
		memcpy(&asked_bytes, object_memory(&slob->heap, at), sizeof asked_bytes);
		if (asked_bytes + SLOB_MINALIGN != block->size_bytes)
			return kml_fail(error,
					"slob page at %" PRIu64 ": the kmalloc header at unit %u says %u bytes, %u "
					"were asked",
					run->address, block->unit, asked_bytes, block->size_bytes - SLOB_MINALIGN);
	} else if (!cache) {
		return kml_fail(error, "slob page at %" PRIu64 ": the block at unit %u is of cache %u, which is closed",
				run->address, block->unit, block->cache);
	} else if (run->is_page && block->size_bytes != slob_cache_of(cache)->size_bytes) {
		return kml_fail(error,
				"slob page at %" PRIu64 ": the block at unit %u has %u bytes, objects of cache %s "
				"have %" PRIu64,
				run->address, block->unit, block->size_bytes, cache->description.name,
				slob_cache_of(cache)->size_bytes);
	}
	uint64_t align_bytes = cache ? slob_cache_of(cache)->align_bytes : SLOB_MINALIGN;
	if (object_address(slob, run, block) % align_bytes == 0)
		return true;
	return kml_fail(error,
			"slob page at %" PRIu64 ": the object in the block at unit %u is not aligned to %" PRIu64,
			run->address, block->unit, align_bytes);
}

/* The blocks between two free ones, or the page's ends, leave no gap: the first after them, and *unit moves on. */
static bool check_blocks(const struct slob_heap *slob, const struct slob_run *run, uint32_t *slot, uint32_t *unit,
			 uint32_t limit, struct kml_error *error)
{
	for (; *unit < limit; (*slot)++) {
		const struct slob_block *block = &run->blocks[*slot];
		if (*slot == run->block_count || block->unit != *unit)
			return kml_fail(error, "slob page at %" PRIu64 ": unit %u is neither in a block nor free",
					run->address, *unit);
		if (!check_block(slob, run, block, error))
			return false;
		*unit += run->is_page ? units_of(slob, block->size_bytes) : run->total_units;
	}
	if (*unit > limit)
		return kml_fail(error, "slob page at %" PRIu64 ": a block reaches beyond unit %u", run->address, limit);
	return true;
}

/* Blocks and free blocks tile the run. The free list is read with care: it lies in the memory under study. */
static bool check_run(const struct slob_heap *slob, const struct slob_run *run, struct kml_error *error)
{
	uint32_t unit = 0, slot = 0, found_units = 0;
	uint32_t hole = run->free_units > 0 ? run->first_free : run->total_units;
	bool after_hole = false;
	while (hole != run->total_units) {
		if (hole > run->total_units || hole < unit || (after_hole && hole == unit))
			return kml_fail(error, "slob page at %" PRIu64 ": its free list leads to unit %u after %u",
					run->address, hole, unit);
		if (!check_blocks(slob, run, &slot, &unit, hole, error))
			return false;
		uint32_t units = free_units(slob, run, hole);
		uint32_t next = free_next(slob, run, hole);
		if (units > run->total_units - hole || units > run->largest_units)
			return kml_fail(error, "slob page at %" PRIu64 ": a free block of %u units at unit %u",
					run->address, units, hole);
		found_units += units;
		unit = hole + units;
		hole = next;
		after_hole = true;
	}
	if (!check_blocks(slob, run, &slot, &unit, run->total_units, error))
		return false;
	if (slot != run->block_count || found_units != run->free_units || run->block_count == 0)
		return kml_fail(error, "slob page at %" PRIu64 ": %u of %u blocks and %u free units, %u are counted",
				run->address, slot, run->block_count, found_units, run->free_units);
	if (kml_arena_page(slob->heap.arena, run->address)->owner != run)
		return kml_fail(error, "slob page at %" PRIu64 ": is not marked as its own", run->address);
	return true;
}

static bool check_lists(const struct slob_heap *slob, uint64_t expected, struct kml_error *error)
{
	uint64_t listed = 0;
	for (int list = 0; list < SLOB_LISTS; list++)
		for (const struct slob_run *run = slob->list[list].next; run != &slob->list[list]; run = run->next) {
			if (run->free_units == 0 || run->list != list || !run->is_page || listed == expected)
				return kml_fail(error,
						"slob list %d holds the page at %" PRIu64 " of list %u, %u units free",
						list, run->address, run->list, run->free_units);
			listed++;
		}
	if (listed != expected)
		return kml_fail(error, "slob: %" PRIu64 " pages have free units, %" PRIu64 " are on a list", expected,
				listed);
	return true;
}

static bool slob_cache_validate(const struct object_cache *cache, struct kml_error *error)
{
	const struct slob_heap *slob = slob_of(cache->heap);
	uint64_t live = 0, parked = 0;
	for (const struct slob_run *run = slob->all.all_next; run != &slob->all; run = run->all_next)
		for (uint32_t slot = 0; slot < run->block_count; slot++) {
			const struct slob_block *block = &run->blocks[slot];
			bool is_own = block->cache == cache->index;
			live += is_own && !block->is_parked;
			parked += is_own && block->is_parked;
		}
	if (live != cache->live || parked != slob_cache_of(cache)->parked)
		return kml_fail(error,
				"cache %s: %" PRIu64 " live and %" PRIu64 " parked objects in pages, %" PRIu64
				" and %" PRIu64 " counted",
				cache->description.name, live, parked, cache->live, slob_cache_of(cache)->parked);
	return true;
}

static bool slob_heap_validate(const struct object_heap *heap, struct kml_error *error)
{
	const struct slob_heap *slob = slob_of(heap);
	uint64_t pages = 0, partial = 0, blocks = 0, run_bytes = 0, free_bytes = 0, live_bytes = 0;
	for (const struct slob_run *run = slob->all.all_next; run != &slob->all; run = run->all_next) {
		if (!check_run(slob, run, error))
			return false;
		pages += run->is_page;
		partial += run->free_units > 0;
		blocks += run->block_count;
		run_bytes += run->asked_bytes;
		free_bytes += (uint64_t)run->free_units * slob->unit_bytes;
		for (uint32_t slot = 0; slot < run->block_count; slot++)
			live_bytes += run->blocks[slot].is_parked ? 0 : usable_bytes(slob, &run->blocks[slot]);
	}
	const struct object_books *books = &heap->books;
	if (pages != slob->pages || blocks != slob->live_blocks + slob->parked_blocks)
		return kml_fail(error,
				"slob: %" PRIu64 " pages with %" PRIu64 " blocks, %" PRIu64 " and %" PRIu64 " counted",
				pages, blocks, slob->pages, slob->live_blocks + slob->parked_blocks);
	if (run_bytes != books->slot_bytes || free_bytes != books->free_slot_bytes || live_bytes != books->live_bytes)
		return kml_fail(error,
				"slob: %" PRIu64 " bytes of pages, %" PRIu64 " free, %" PRIu64
				" granted; the books say %" PRIu64 ", %" PRIu64 ", %" PRIu64,
				run_bytes, free_bytes, live_bytes, books->slot_bytes, books->free_slot_bytes,
				books->live_bytes);
	return check_lists(slob, partial, error);
}

static const struct object_strategy strategy;

static struct kml_heap *slob_create(const struct kml_environment *environment, const void *config,
				    struct kml_error *error)
{
	return object_create(&strategy, environment, config, error);
}

const struct kml_allocator kml_slob = {
	.abi_version = KML_ABI_VERSION,
	.name = "slob",
	.title = "SLOB",
	.citation = "M. Mackall, Linux mm/slob.c, 2.6.16 to 6.3",
	.summary = "address-ordered first fit in pages of three size lists, next fit over pages; smallest, and slow",
	.layer = KML_LAYER_OBJECTS,
	.create = slob_create,
	OBJECT_COMMON_OPERATIONS,
	.notice = object_notice,
};

static const struct object_strategy strategy = {
	.allocator = &kml_slob,
	.heap_bytes = sizeof(struct slob_heap),
	.cache_bytes = sizeof(struct slob_cache),
	.start = slob_start,
	.cache_open = slob_cache_open,
	.cache_close = slob_cache_close,
	.run_release = run_release,
	.take = slob_take,
	.give = slob_give,
	.kmalloc = slob_kmalloc,
	.resolve = slob_resolve,
	.cache_shrink = slob_cache_shrink,
	.heap_shrink = slob_heap_shrink,
	.cache_stats = slob_cache_stats,
	.heap_stats = slob_heap_stats,
	.walk_run = slob_walk_run,
	.cache_validate = slob_cache_validate,
	.heap_validate = slob_heap_validate,
	.notice = slob_notice,
};
