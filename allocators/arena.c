/*
 * arena.c - reserved address space and its page map.
 *
 * held_bytes follows from two facts: blocks are disjoint, so a page that a block covers whole has no other user; and
 * only the first and last page of a block can be shared. So a take costs two counters, whatever its length.
 *
 * The memory is a private mapping, and only pages that are shown a second time become a shared one: a page fault in
 * shared memory costs a quarter more, giving it back twice as much, and a short-lived arena half as much again
 * (measured on Linux 6.18, pages of 4 KiB), which every replay and every fuzzer would pay for the sake of vmalloc. The
 * window costs a short-lived arena one more system call.
 *
 * Small arenas share mappings of one form: KEPT_ARENA_MAX_BYTES that are accessible, then none that are. An arena lies
 * at the end of the first part, so that behind its last page an access faults whatever its size, and none of them needs
 * a system call. Invariant of a kept one: all that is accessible reads as zero, nothing is shown or shared, all of it
 * is poisoned.
 */
#include "allocators/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/poison.h"
#include "kmemlab/support/reserve.h"
#include "kmemlab/support/round.h"

static const uint64_t ARENA_MAX_BYTES = 1ull << 46; /* x86-64 user address space is 2^47 */

/*
 * All the pages of an arena can be shown, one by one with a page between, and half the window still be free for a run.
 * Beyond some hundred GiB the limit on mappings comes first, by far.
 */
static const uint64_t WINDOW_PER_ARENA = 4;
static const uint64_t WINDOW_MAX_BYTES = 1ull << 40;

static uint64_t machine_page_bytes(void)
{
	static uint64_t bytes;
	if (bytes == 0)
		bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	return bytes;
}

static void place_window(struct kml_arena *arena)
{
	uint64_t page_bytes = arena->page_bytes;
	if (page_bytes % machine_page_bytes() != 0)
		return;
	uint64_t arena_pages_bytes = kml_round_up(arena->size_bytes, page_bytes);
	arena->window_address = arena_pages_bytes + page_bytes;
	arena->window_bytes = arena_pages_bytes * WINDOW_PER_ARENA;
	if (arena->window_bytes > WINDOW_MAX_BYTES)
		arena->window_bytes = WINDOW_MAX_BYTES / page_bytes * page_bytes;
}

/* The memory and its window. */
static uint64_t span_bytes(const struct kml_arena *arena)
{
	return arena->window_bytes > 0 ? arena->window_address + arena->window_bytes : arena->size_bytes;
}

/* ------------------------------------------------------------------------------------------ kept mappings */

static const uint64_t KEPT_ARENA_MAX_BYTES = 1ull << 20;
static const uint64_t KEPT_SPAN_BYTES = 8ull << 20;
enum { KEPT_MAPPINGS = 4 };

static uint8_t *kept[KEPT_MAPPINGS];
static uint32_t kept_count;

static bool may_be_kept(const struct kml_arena *arena)
{
	return arena->size_bytes <= KEPT_ARENA_MAX_BYTES && span_bytes(arena) <= KEPT_SPAN_BYTES - KEPT_ARENA_MAX_BYTES;
}

static uint64_t accessible_bytes(const struct kml_arena *arena)
{
	return kml_round_up(arena->size_bytes, machine_page_bytes());
}

/* From the start of its mapping to the arena. */
static uint64_t offset_in_mapping(const struct kml_arena *arena)
{
	return may_be_kept(arena) ? KEPT_ARENA_MAX_BYTES - accessible_bytes(arena) : 0;
}

static uint8_t *map(uint64_t size_bytes, uint64_t accessible)
{
	uint8_t *base = mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	if (mprotect(base, accessible, PROT_READ | PROT_WRITE) == 0)
		return base;
	munmap(base, size_bytes);
	return NULL;
}

/* No access but to the arena's pages, and of a mapping that is kept to those before them. */
static uint8_t *reserve_memory(struct kml_arena *arena)
{
	arena->is_poisoned = arena->size_bytes <= KML_ARENA_POISON_MAX_BYTES;
	if (!may_be_kept(arena)) {
		uint8_t *base = map(span_bytes(arena), accessible_bytes(arena));
		if (base && arena->is_poisoned)
			kml_poison(base, arena->size_bytes);
		return base;
	}
	if (kept_count == 0) {
		uint8_t *mapping = map(KEPT_SPAN_BYTES, KEPT_ARENA_MAX_BYTES);
		if (!mapping)
			return NULL;
		kml_poison(mapping, KEPT_SPAN_BYTES);
		kept[kept_count++] = mapping;
	}
	return kept[--kept_count] + offset_in_mapping(arena);
}

static bool is_touched(const struct kml_arena *arena, uint32_t cell)
{
	return arena->cells_touched[cell / 64] >> cell % 64 & 1;
}

/* Runs of cells that blocks were taken from read as zero again. */
static void clean(const struct kml_arena *arena)
{
	for (uint32_t cell = 0; cell < arena->cell_count; cell++) {
		uint32_t first = cell;
		while (cell < arena->cell_count && is_touched(arena, cell))
			cell++;
		if (cell == first)
			continue;
		uint64_t begin = (uint64_t)first << arena->cell_shift, end = (uint64_t)cell << arena->cell_shift;
		uint64_t bytes = (end < arena->size_bytes ? end : arena->size_bytes) - begin;
		kml_unpoison(arena->base + begin, bytes);
		memset(arena->base + begin, 0, bytes);
		kml_poison(arena->base + begin, bytes);
	}
}

/* Kept when it was left as it was found. */
static void release_memory(struct kml_arena *arena)
{
	uint8_t *mapping = arena->base - offset_in_mapping(arena);
	uint64_t bytes = may_be_kept(arena) ? KEPT_SPAN_BYTES : span_bytes(arena);
	bool is_left_whole = arena->taken_bytes == 0 && arena->shown_bytes == 0 && arena->shared_bytes == 0;
	if (may_be_kept(arena) && is_left_whole && kept_count < KEPT_MAPPINGS) {
		clean(arena);
		kept[kept_count++] = mapping;
		return;
	}
	if (arena->is_poisoned)
		kml_unpoison(mapping, bytes);
	munmap(mapping, bytes);
}

/* ------------------------------------------------------------------------------------------ create and destroy */

static uint64_t page_map_bytes(const struct kml_arena *arena)
{
	return ((arena->size_bytes + arena->page_bytes - 1) >> arena->page_shift) * sizeof(struct kml_page);
}

struct kml_arena *kml_arena_create(uint64_t size_bytes, uint32_t page_bytes, bool with_memory, struct kml_error *error)
{
	if (page_bytes == 0 || (page_bytes & (page_bytes - 1)) != 0) {
		kml_fail(error, "arena: a page of %u bytes: use a power of two", page_bytes);
		return NULL;
	}
	if (size_bytes == 0 || size_bytes > ARENA_MAX_BYTES) {
		kml_fail(error, "arena: %llu bytes: use 1 byte to 64 TiB", (unsigned long long)size_bytes);
		return NULL;
	}
	struct kml_arena *arena = kml_reserve(sizeof *arena);
	if (!arena) {
		kml_fail(error, "arena: out of memory");
		return NULL;
	}
	arena->size_bytes = size_bytes;
	arena->page_bytes = page_bytes;
	arena->page_shift = (uint32_t)__builtin_ctz(page_bytes);
	while (((size_bytes - 1) >> arena->cell_shift) >= KML_ARENA_CELLS)
		arena->cell_shift++;
	arena->cell_count = (uint32_t)((size_bytes - 1) >> arena->cell_shift) + 1;
	place_window(arena);
	arena->pages = kml_reserve(page_map_bytes(arena));
	if (arena->pages && with_memory)
		arena->base = reserve_memory(arena);
	if (!arena->pages || (with_memory && !arena->base)) {
		kml_fail(error, "arena: cannot reserve %llu bytes of address space: %s: choose a smaller arena",
			 (unsigned long long)size_bytes, strerror(errno));
		kml_arena_destroy(arena);
		return NULL;
	}
	return arena;
}

void kml_arena_destroy(struct kml_arena *arena)
{
	if (!arena)
		return;
	if (arena->base)
		release_memory(arena);
	kml_unreserve(arena->pages, page_map_bytes(arena));
	kml_unreserve(arena, sizeof *arena);
}

static void touch_cells(struct kml_arena *arena, uint64_t first, uint64_t last)
{
	for (uint64_t word = first / 64; word <= last / 64; word++) {
		uint64_t from = word == first / 64 ? ~0ull << first % 64 : ~0ull;
		uint64_t up_to = word == last / 64 ? ~0ull >> (63 - last % 64) : ~0ull;
		arena->cells_touched[word] |= from & up_to;
	}
}

/* Add (or take away) the block's bytes to the cells it lies in. A block larger than a cell costs its cells: at most
 * 256 additions. */
static void count_cells(struct kml_arena *arena, uint64_t address, uint64_t size_bytes, bool taken)
{
	uint64_t end = address + size_bytes, cell_bytes = 1ull << arena->cell_shift;
	uint64_t first = address >> arena->cell_shift, last = (end - 1) >> arena->cell_shift;
	if (taken)
		touch_cells(arena, first, last);
	if (first == last) {
		arena->cell_taken_bytes[first] += taken ? size_bytes : -size_bytes;
		return;
	}
	uint64_t head = cell_bytes - (address & (cell_bytes - 1)), tail = end - (last << arena->cell_shift);
	arena->cell_taken_bytes[first] += taken ? head : -head;
	arena->cell_taken_bytes[last] += taken ? tail : -tail;
	uint64_t whole = taken ? cell_bytes : -cell_bytes;
	for (uint64_t cell = first + 1; cell < last; cell++)
		arena->cell_taken_bytes[cell] += whole;
}

/* The boundary page gets one user more or less; true when that made it held, or free. */
static inline bool share_page(struct kml_arena *arena, uint64_t page, bool taken)
{
	struct kml_page *entry = &arena->pages[page];
	if (taken)
		return entry->users++ == 0;
	KML_CHECK(entry->users > 0, "page %llu given back more often than taken", (unsigned long long)page);
	return --entry->users == 0;
}

/* Pages whose being held this block changes. */
static uint64_t pages_changed(struct kml_arena *arena, uint64_t address, uint64_t size_bytes, bool taken)
{
	uint64_t end = address + size_bytes;
	uint64_t first = address >> arena->page_shift, last = (end - 1) >> arena->page_shift;
	uint64_t offset_mask = arena->page_bytes - 1;
	bool starts_inside = (address & offset_mask) != 0;
	/* The arena's own last page may be short: it ends where the arena does. */
	bool ends_inside = (end & offset_mask) != 0 && end != arena->size_bytes;
	if (!starts_inside && !ends_inside)
		return last - first + 1;
	if (first == last)
		return share_page(arena, first, taken) ? 1 : 0;
	uint64_t whole = last - first + 1;
	if (starts_inside) {
		whole--;
		whole += share_page(arena, first, taken) ? 1 : 0;
	}
	if (ends_inside && !KML_PLANTED(arena_tail_page_unshared)) {
		whole--;
		whole += share_page(arena, last, taken) ? 1 : 0;
	}
	return whole;
}

void kml_arena_take(struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	KML_CHECK(size_bytes > 0 && kml_arena_has(arena, address, size_bytes),
		  "take of %llu bytes at %llu in an arena of %llu", (unsigned long long)size_bytes,
		  (unsigned long long)address, (unsigned long long)arena->size_bytes);
	arena->held_bytes += pages_changed(arena, address, size_bytes, true) << arena->page_shift;
	arena->taken_bytes += size_bytes;
	count_cells(arena, address, size_bytes, true);
	if (arena->is_poisoned)
		kml_unpoison(arena->base + address, size_bytes);
}

void kml_arena_give(struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	KML_CHECK(size_bytes > 0 && size_bytes <= arena->taken_bytes && kml_arena_has(arena, address, size_bytes),
		  "give of %llu bytes at %llu with %llu taken", (unsigned long long)size_bytes,
		  (unsigned long long)address, (unsigned long long)arena->taken_bytes);
	arena->held_bytes -= pages_changed(arena, address, size_bytes, false) << arena->page_shift;
	arena->taken_bytes -= size_bytes;
	count_cells(arena, address, size_bytes, false);
	if (arena->is_poisoned)
		kml_poison(arena->base + address, size_bytes);
}

/* --------------------------------------------------------------------------------------------------- the window */

static bool is_whole_pages(const struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	return size_bytes > 0 && address % arena->page_bytes == 0 && size_bytes % arena->page_bytes == 0;
}

static void check_in_window(const struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	KML_CHECK(is_whole_pages(arena, address, size_bytes) && kml_arena_window_has(arena, address, size_bytes),
		  "%llu bytes at %llu in a window of %llu at %llu", (unsigned long long)size_bytes,
		  (unsigned long long)address, (unsigned long long)arena->window_bytes,
		  (unsigned long long)arena->window_address);
}

static void check_in_memory(const struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	KML_CHECK(is_whole_pages(arena, address, size_bytes) && kml_arena_has(arena, address, size_bytes),
		  "%llu bytes at %llu in an arena of %llu", (unsigned long long)size_bytes, (unsigned long long)address,
		  (unsigned long long)arena->size_bytes);
}

/* A new mapping in the place of what is there. */
static bool map_anew(struct kml_arena *arena, uint64_t address, uint64_t size_bytes, int protection, int sharing)
{
	void *place = arena->base + address;
	return mmap(place, size_bytes, protection, sharing | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == place;
}

bool kml_arena_show(struct kml_arena *arena, uint64_t window_address, uint64_t size_bytes)
{
	check_in_window(arena, window_address, size_bytes);
	if (arena->base == NULL)
		return true;
	if (!map_anew(arena, window_address, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED))
		return false;
	arena->shown_bytes += size_bytes;
	if (arena->is_poisoned)
		kml_unpoison(arena->base + window_address, size_bytes);
	return true;
}

/* An old size of 0 makes a second mapping of shared pages: mremap(2). */
bool kml_arena_share(struct kml_arena *arena, uint64_t window_address, uint64_t address, uint64_t size_bytes)
{
	check_in_window(arena, window_address, size_bytes);
	check_in_memory(arena, address, size_bytes);
	if (arena->base == NULL)
		return true;
	void *place = arena->base + address;
	if (mremap(arena->base + window_address, 0, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) != place)
		return false;
	arena->shared_bytes += size_bytes;
	return true;
}

void kml_arena_unshare(struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	check_in_memory(arena, address, size_bytes);
	if (arena->base == NULL)
		return;
	bool done = map_anew(arena, address, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	KML_CHECK(done, "%llu bytes at %llu: %s", (unsigned long long)size_bytes, (unsigned long long)address,
		  strerror(errno));
	arena->shared_bytes -= size_bytes;
}

void kml_arena_hide(struct kml_arena *arena, uint64_t window_address, uint64_t size_bytes)
{
	check_in_window(arena, window_address, size_bytes);
	if (arena->base == NULL)
		return;
	bool done = map_anew(arena, window_address, size_bytes, PROT_NONE, MAP_PRIVATE);
	KML_CHECK(done, "%llu bytes at %llu: %s", (unsigned long long)size_bytes, (unsigned long long)window_address,
		  strerror(errno));
	arena->shown_bytes -= size_bytes;
	if (arena->is_poisoned)
		kml_poison(arena->base + window_address, size_bytes);
}
