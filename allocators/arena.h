/*
 * arena.h - the memory under study: reserved address space and the page map over it.
 *
 * Invariant: held_bytes is the number of arena pages that at least one taken byte lies in, times the page size.
 * Cost: reserving is O(1) whatever the size (only touched pages cost memory); take and give are O(1), independent
 * of the length, because only the two boundary pages of a block can be shared with another block.
 *
 * Behind the memory lies a window: addresses without memory, in which pages of the arena can be shown a second time as
 * one run (vmalloc). Nothing in it can be read or written but what is shown.
 *
 *      base                         base + size_bytes     base + window_address
 *      | the memory under study     | no access           | window ...
 *
 * Only taken memory may be touched, by anybody. AddressSanitizer is told so: whatever is not taken is poisoned, up to
 * arenas of KML_ARENA_POISON_MAX_BYTES, and a read of a free block ends the program.
 *
 * The mapping of a small arena that was left as it was found is kept for the next small one, which again reads as zero:
 * thousands of short-lived arenas a second pay no page fault.
 */
#ifndef KMEMLAB_ARENA_H
#define KMEMLAB_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

/* The memory map figure: the arena in this many cells or fewer (a cell is a power of two of bytes). */
#define KML_ARENA_CELLS 256u

/* Larger ones are not poisoned: the shadow of a tebibyte would be 128 GiB. */
#define KML_ARENA_POISON_MAX_BYTES (16ull << 20)

/* What the page map knows of one page. */
struct kml_page {
	void *owner;    /* set by an OBJECTS allocator: its slab; NULL otherwise */
	uint32_t users; /* blocks that share this page without covering it whole */
};

struct kml_arena {
	uint8_t *base; /* memory of address 0; NULL for an arena without memory */
	uint64_t size_bytes;
	uint64_t window_address; /* the first page behind the memory, and one more */
	uint64_t window_bytes;   /* 0: no window, the machine cannot map pages that small */
	uint32_t page_bytes;     /* a power of two */
	uint32_t page_shift;
	uint64_t held_bytes;
	uint64_t taken_bytes;   /* sum of taken blocks; held - taken = external waste */
	struct kml_page *pages; /* size_bytes / page_bytes, rounded up; untouched entries cost nothing */
	uint32_t cell_shift;
	uint32_t cell_count;
	uint64_t cell_taken_bytes[KML_ARENA_CELLS];   /* taken bytes in each cell */
	uint64_t cells_touched[KML_ARENA_CELLS / 64]; /* a bit a cell: ever taken from, so perhaps not zero any more */
	uint64_t shown_bytes, shared_bytes;           /* now, of the window and of the memory */
	bool is_poisoned;                             /* what is not taken */
};

/*
 * Reserve an arena of size_bytes (any size >= 1) for pages of page_bytes. with_memory = false reserves only the page
 * map. NULL and *error when the address space or the size does not do. The caller destroys it after its heaps.
 */
struct kml_arena *kml_arena_create(uint64_t size_bytes, uint32_t page_bytes, bool with_memory, struct kml_error *error);
void kml_arena_destroy(struct kml_arena *arena);

/* A block becomes taken or given back. Blocks are disjoint and inside the arena. Amortised O(1). */
void kml_arena_take(struct kml_arena *arena, uint64_t address, uint64_t size_bytes);
void kml_arena_give(struct kml_arena *arena, uint64_t address, uint64_t size_bytes);

static inline bool kml_arena_has(const struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	return address <= arena->size_bytes && size_bytes <= arena->size_bytes - address;
}

static inline bool kml_arena_window_has(const struct kml_arena *arena, uint64_t address, uint64_t size_bytes)
{
	uint64_t offset = address - arena->window_address;
	return address >= arena->window_address && offset <= arena->window_bytes &&
	       size_bytes <= arena->window_bytes - offset;
}

/*
 * Show pages a second time, in the window. The addresses (of base + address, as everywhere) and size_bytes are whole
 * pages. Show: `size_bytes` of fresh memory, all zero, at `window_address`; share: the pages at `address` become the
 * same memory as those at `window_address`, which are shown, and lose what was in them. Hide and unshare undo them;
 * pages that are unshared read as zero. What is shared is unshared before it is hidden. Both false, and nothing
 * changed, when the process can have no more mappings (vm.max_map_count). Nothing to do in an arena without memory.
 */
bool kml_arena_show(struct kml_arena *arena, uint64_t window_address, uint64_t size_bytes);
bool kml_arena_share(struct kml_arena *arena, uint64_t window_address, uint64_t address, uint64_t size_bytes);
void kml_arena_unshare(struct kml_arena *arena, uint64_t address, uint64_t size_bytes);
void kml_arena_hide(struct kml_arena *arena, uint64_t window_address, uint64_t size_bytes);

static inline struct kml_page *kml_arena_page(struct kml_arena *arena, uint64_t address)
{
	return &arena->pages[address >> arena->page_shift];
}

#endif
