/*
 * engine.h - the one engine of all buddy systems: free lists, split, find the buddy, merge, aligned grants, figures,
 * walk and self-check. A system adds nothing but its table (table.h).
 *
 * Finding the buddy. In the binary system the address tells it: one XOR (Knowlton, CACM 8(10), 1965; Knuth, TAOCP 1,
 * 2.5). In every other system each block remembers its place in its parent (which class the parent has, which child
 * it is) and keeps the place of one ancestor for it, as Cranston & Thomas (CACM 18(6), 1975) do with two bits for
 * Fibonacci: the first child keeps the parent's own place, the last child what the parent was keeping. A merge reads
 * both back, so a block finds its buddies in O(children) at any depth, with no descent from the root:
 *
 *        split                 +----------- parent: place P, keeps K ----------+
 *        merge                 | child 0: keeps P | child 1 ... | last: keeps K |
 *
 * The two ways are the two `shapes`; a system names its shape as a constant and the engine is compiled for it.
 *
 * Descriptors lie outside the arena: 16 bytes for each unit, in reserved address space, of which only the first of
 * each block is touched. The whole root blocks at the end of the arena that were never used are not touched at all
 * (`fresh`): an arena of 1 TiB with 4 KiB units costs a few pages until it is used.
 *
 * Cost: alloc and free O(depth x children), a free list operation O(1); policy `lowest` adds eight words at most. An
 * aligned request that no class meets by nature looks at a few blocks of each class, and only when these will not do at
 * all blocks of the classes in question.
 *
 * Invariants (buddy_validate): blocks tile the arena and are nodes of the tree its roots span; children of one parent
 * are never all free; free lists, counts and totals are those of a walk.
 */
#ifndef KMEMLAB_BUDDY_ENGINE_H
#define KMEMLAB_BUDDY_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"
#include "allocators/buddy/address_set.h"
#include "allocators/buddy/table.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

#define BUDDY_NONE UINT32_MAX /* no class, no child */
#define BUDDY_NO_UNIT ADDRESS_SET_NONE
#define BUDDY_ALWAYS_INLINE static inline __attribute__((always_inline))

/* How buddies are found; always a compile-time constant. */
enum buddy_shape {
	BUDDY_HALVES, /* class i is 2^i units and splits into two of class i - 1: by address */
	BUDDY_PLACES, /* any table: by the places that blocks remember */
};

/* Which free block of a class is granted; in the order of buddy_policy_names. */
enum buddy_policy { BUDDY_LIFO, BUDDY_FIFO, BUDDY_LOWEST };
extern const char *const buddy_policy_names[];

/* What a descriptor says of its unit. Zero-filled memory reads as "no block starts here". */
enum buddy_state {
	BUDDY_INSIDE,         /* no block starts here */
	BUDDY_FREE,           /* a free block starts here */
	BUDDY_GRANTED,        /* a granted block starts here, and so does what was handed out */
	BUDDY_GRANTED_PADDED, /* a granted block starts here; what was handed out starts after some padding */
	BUDDY_HANDED_OUT,     /* the handed out address of a padded block lies in this unit */
};

enum {
	BUDDY_LINK_BITS = 48,
	BUDDY_PLACE_ROOT = 0, /* a root block has no parent; as a place it would be in class 0, which is never split */
};

/*
 * A descriptor. FREE: next and prev are units, in the list of the class, circular through the list's head.
 * GRANTED_PADDED: the padding is next units and prev bytes. HANDED_OUT: next is the unit of the block's start.
 */
struct buddy_block {
	uint32_t next_low, prev_low; /* buddy_next, buddy_prev */
	uint16_t next_high, prev_high;
	uint32_t place : 11; /* in the parent: its class * BUDDY_CHILDREN_MAX + which child; or ROOT */
	uint32_t kept : 11;  /* first child: the parent's place; last child: what the parent kept */
	uint32_t class : 7;
	uint32_t state : 3; /* enum buddy_state */
};
_Static_assert(sizeof(struct buddy_block) == 16, "a descriptor is 16 bytes");
_Static_assert(BUDDY_CLASSES_MAX *BUDDY_CHILDREN_MAX <= 1 << 11, "every place can be remembered");
_Static_assert(BUDDY_CLASSES_MAX <= 1 << 7, "every class can be remembered");

BUDDY_ALWAYS_INLINE uint64_t buddy_next(const struct buddy_block *block)
{
	return (uint64_t)block->next_high << 32 | block->next_low;
}

BUDDY_ALWAYS_INLINE uint64_t buddy_prev(const struct buddy_block *block)
{
	return (uint64_t)block->prev_high << 32 | block->prev_low;
}

BUDDY_ALWAYS_INLINE void buddy_set_next(struct buddy_block *block, uint64_t unit)
{
	block->next_low = (uint32_t)unit;
	block->next_high = (uint16_t)(unit >> 32);
}

BUDDY_ALWAYS_INLINE void buddy_set_prev(struct buddy_block *block, uint64_t unit)
{
	block->prev_low = (uint32_t)unit;
	block->prev_high = (uint16_t)(unit >> 32);
}

/* A run of equal root blocks. The roots from fresh_unit on have never been used: they are free and have no descriptor.
 */
struct buddy_run {
	uint32_t class;
	uint64_t first_unit, fresh_unit, end_unit;
};

struct buddy_heap {
	struct kml_heap heap;
	struct kml_arena *arena;

	struct buddy_block *blocks; /* a descriptor a unit, then the heads of the free lists */
	uint64_t units;
	uint32_t top_class; /* of the largest root */
	uint64_t end_bytes; /* of the last whole unit */
	uint64_t unit_bytes;
	uint32_t unit_shift; /* unit_bytes = unit_odd << unit_shift */
	uint64_t unit_odd;
	uint64_t natural_align; /* the largest power of two that divides every block address */
	enum buddy_policy policy;
	enum buddy_shape shape; /* for the self-check */

	struct buddy_class_set nonempty;        /* classes with free blocks */
	uint64_t free_count[BUDDY_CLASSES_MAX]; /* fresh roots included */
	uint64_t free_units;
	uint64_t granted_bytes, padding_bytes;
	uint64_t block_count; /* descriptors in use */
	uint64_t splits, merges;

	uint32_t run_count;
	struct buddy_run run[BUDDY_CLASSES_MAX + 1]; /* by address; one class each; then one that is empty */
	uint8_t run_of_class[BUDDY_CLASSES_MAX];     /* run_count: has no roots */
	uint64_t address_words;                      /* of the sets below, not zero */
	struct address_set *addresses;               /* policy lowest: the free blocks of each class */
	struct buddy_table table;                    /* the last: what lies before it is zeroed at creation */
};

/* What all systems are told; first in the configuration of each. */
struct buddy_config {
	uint64_t unit_bytes; /* 0: environment.unit_bytes */
	uint32_t policy;     /* enum buddy_policy */
};

/* Parameters of every system, for a configuration struct whose member `common` is a struct buddy_config. */
#define BUDDY_UNIT_PARAM(config_type)                                                                                  \
	{                                                                                                              \
		.name = "unit", .type = KML_PARAM_SIZE, .offset = offsetof(config_type, common.unit_bytes),            \
		.default_text = "auto", .minimum = 1, .maximum = 1ull << 40,                                           \
		.help = "smallest block; auto: 16 bytes for objects, the page size below an object allocator"          \
	}
#define BUDDY_COMMON_PARAMS(config_type)                                                                               \
	BUDDY_UNIT_PARAM(config_type),                                                                                 \
	{                                                                                                              \
		.name = "policy", .type = KML_PARAM_CHOICE, .offset = offsetof(config_type, common.policy),            \
		.default_text = "lifo", .choices = buddy_policy_names,                                                 \
		.help = "which free block of a size is granted: last freed, first freed, lowest address"               \
	}

/* Append a system's classes up to limit_units to an empty table. False and *error on parameters that make none. */
typedef bool buddy_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error);

/* Create a heap of the system; `config` goes to `build` only. For the ABI's create. */
struct kml_heap *buddy_create(const struct kml_allocator *allocator, const struct kml_environment *environment,
			      const struct buddy_config *common, enum buddy_shape shape, buddy_build *build,
			      const void *config, struct kml_error *error);

/* The ABI's operations that are the same in every system. */
void buddy_destroy(struct kml_heap *heap);
uint64_t buddy_usable(const struct kml_heap *heap, uint64_t address);
void buddy_stats(const struct kml_heap *heap, struct kml_stats *stats);
uint32_t buddy_free_areas(const struct kml_heap *heap, struct kml_free_area *areas);
void buddy_walk(const struct kml_heap *heap, kml_visit *visit, void *context);
bool buddy_validate(const struct kml_heap *heap, struct kml_error *error);
#define BUDDY_COMMON_OPERATIONS                                                                                        \
	.destroy = buddy_destroy, .usable = buddy_usable, .stats = buddy_stats, .free_areas = buddy_free_areas,        \
	.walk = buddy_walk, .validate = buddy_validate

/* Alloc and free of the systems with places, compiled once. */
struct kml_grant buddy_alloc_by_places(struct kml_heap *heap, const struct kml_request *request);
enum kml_status buddy_free_by_places(struct kml_heap *heap, const struct kml_release *release);

/* ------------------------------------------------------------------- cold parts of the hot path (engine.c) */

/* Give the first fresh root of the class a descriptor and put it on its list. There must be one. */
void buddy_touch_fresh(struct buddy_heap *heap, uint32_t class);
/* The first root in [from_unit, run's end) that has room for an aligned request; BUDDY_NO_UNIT. O(aligned places in the
 * run). */
uint64_t buddy_root_with_room(const struct buddy_heap *heap, const struct buddy_run *run, uint64_t from_unit,
			      const struct kml_request *request);
/* A free block with room for an aligned request, of the smallest class that has one; false: none. */
bool buddy_find_aligned(struct buddy_heap *heap, uint32_t smallest_class, const struct kml_request *request,
			uint64_t *unit, uint32_t *class);
/* Why nothing was found for a request whose smallest class this is. */
enum kml_status buddy_refusal(const struct buddy_heap *heap, uint32_t smallest_class,
			      const struct kml_request *request);
/* The granted block that was handed out at this address, or why there is none. O(1) for a padded block, else O(depth).
 */
enum kml_status buddy_resolve_slowly(const struct buddy_heap *heap, uint64_t address, uint64_t *unit);

/* ------------------------------------------------------------------------------------------------ free lists */

BUDDY_ALWAYS_INLINE uint64_t buddy_head(const struct buddy_heap *heap, uint32_t class)
{
	return heap->units + class;
}

BUDDY_ALWAYS_INLINE void buddy_link(struct buddy_heap *heap, uint64_t unit, uint64_t prev, uint64_t next)
{
	buddy_set_prev(&heap->blocks[unit], prev);
	buddy_set_next(&heap->blocks[unit], next);
	buddy_set_next(&heap->blocks[prev], unit);
	buddy_set_prev(&heap->blocks[next], unit);
}

BUDDY_ALWAYS_INLINE void buddy_push(struct buddy_heap *heap, uint64_t unit, uint32_t class)
{
	struct buddy_block *block = &heap->blocks[unit];
	uint64_t head = buddy_head(heap, class);
	block->class = (uint8_t) class;
	block->state = BUDDY_FREE;
	heap->free_count[class]++;
	heap->nonempty.word[class / 64] |= 1ull << class % 64;
	if (heap->policy == BUDDY_LIFO)
		buddy_link(heap, unit, head, buddy_next(&heap->blocks[head]));
	else if (heap->policy == BUDDY_FIFO)
		buddy_link(heap, unit, buddy_prev(&heap->blocks[head]), head);
	else
		address_set_add(&heap->addresses[class], unit);
}

BUDDY_ALWAYS_INLINE void buddy_remove(struct buddy_heap *heap, uint64_t unit, uint32_t class)
{
	const struct buddy_block *block = &heap->blocks[unit];
	bool is_last = --heap->free_count[class] == 0;
	if (is_last && !(KML_PLANTED(buddy_lowest_keeps_bit) && heap->policy == BUDDY_LOWEST))
		heap->nonempty.word[class / 64] &= ~(1ull << class % 64);
	if (heap->policy == BUDDY_LOWEST) {
		address_set_remove(&heap->addresses[class], unit);
		return;
	}
	uint64_t prev = buddy_prev(block), next = buddy_next(block);
	buddy_set_next(&heap->blocks[prev], next);
	if (!KML_PLANTED(buddy_unlink_leaves_tail) || next != buddy_head(heap, class))
		buddy_set_prev(&heap->blocks[next], prev);
}

/* The listed free block after `unit` (BUDDY_NO_UNIT: the first) in the order of the policy; BUDDY_NO_UNIT at the end.
 */
BUDDY_ALWAYS_INLINE uint64_t buddy_next_listed(const struct buddy_heap *heap, uint32_t class, uint64_t unit)
{
	if (heap->policy == BUDDY_LOWEST)
		return address_set_next(&heap->addresses[class], unit == BUDDY_NO_UNIT ? 0 : unit + 1);
	uint64_t head = buddy_head(heap, class);
	uint64_t next = buddy_next(&heap->blocks[unit == BUDDY_NO_UNIT ? head : unit]);
	return next == head ? BUDDY_NO_UNIT : next;
}

BUDDY_ALWAYS_INLINE bool buddy_has_fresh(const struct buddy_heap *heap, uint32_t class)
{
	const struct buddy_run *run = &heap->run[heap->run_of_class[class]];
	return run->fresh_unit < run->end_unit;
}

/* Take the policy's choice from a class that is not empty. Fresh roots count as freed before all others. */
BUDDY_ALWAYS_INLINE uint64_t buddy_pop(struct buddy_heap *heap, uint32_t class)
{
	uint64_t unit = buddy_next_listed(heap, class, BUDDY_NO_UNIT);
	if (__builtin_expect(buddy_has_fresh(heap, class) && (unit == BUDDY_NO_UNIT || heap->policy == BUDDY_FIFO),
			     0)) {
		unit = heap->run[heap->run_of_class[class]].fresh_unit;
		buddy_touch_fresh(heap, class);
	}
	buddy_remove(heap, unit, class);
	return unit;
}

/* ------------------------------------------------------------------------------------------------- the rule */

BUDDY_ALWAYS_INLINE uint64_t buddy_size_units(const struct buddy_heap *heap, uint32_t class, enum buddy_shape shape)
{
	/* The remainder costs nothing and tells the static analyser what it cannot see. */
	return shape == BUDDY_HALVES ? 1ull << class % 64 : heap->table.size_units[class];
}

BUDDY_ALWAYS_INLINE uint32_t buddy_child_count(const struct buddy_heap *heap, uint32_t class, enum buddy_shape shape)
{
	if (shape == BUDDY_HALVES)
		return class > 0 ? 2 : 0;
	return heap->table.split[class].child_count;
}

BUDDY_ALWAYS_INLINE uint32_t buddy_child_class(const struct buddy_heap *heap, uint32_t class, uint32_t child,
					       enum buddy_shape shape)
{
	return shape == BUDDY_HALVES ? class - 1 : heap->table.split[class].child[child];
}

BUDDY_ALWAYS_INLINE uint64_t buddy_child_offset(const struct buddy_heap *heap, uint32_t class, uint32_t child,
						enum buddy_shape shape)
{
	return shape == BUDDY_HALVES ? (uint64_t)child << (class - 1) % 64
				     : heap->table.split[class].offset_units[child];
}

BUDDY_ALWAYS_INLINE uint64_t buddy_units_for(const struct buddy_heap *heap, uint64_t size_bytes)
{
	uint64_t last_byte = KML_PLANTED(buddy_size_truncated) ? (uint32_t)(size_bytes - 1) : size_bytes - 1;
	uint64_t units = last_byte >> heap->unit_shift;
	return (__builtin_expect(heap->unit_odd == 1, 1) ? units : last_byte / heap->unit_bytes) + 1;
}

/* The unit an address lies in. */
BUDDY_ALWAYS_INLINE uint64_t buddy_unit_of(const struct buddy_heap *heap, uint64_t address)
{
	uint64_t unit = address >> heap->unit_shift;
	return __builtin_expect(heap->unit_odd == 1, 1) ? unit : unit / heap->unit_odd;
}

BUDDY_ALWAYS_INLINE bool buddy_class_in(const struct buddy_class_set *set, uint32_t class)
{
	return set->word[class / 64] >> class % 64 & 1;
}

/* The lowest class in both sets, not below `from`; BUDDY_NONE. */
BUDDY_ALWAYS_INLINE uint32_t buddy_lowest_class(const struct buddy_class_set *a, const struct buddy_class_set *b,
						uint32_t from)
{
	for (uint32_t i = from / 64; i < BUDDY_CLASS_WORDS; i++) {
		uint64_t word = a->word[i] & b->word[i];
		if (i == from / 64)
			word &= UINT64_MAX << from % 64;
		if (word)
			return i * 64 + (uint32_t)__builtin_ctzll(word);
	}
	return BUDDY_NONE;
}

/*
 * The class to take a block from: the smallest that splits into exactly what is wanted; else the smallest that is big
 * enough, so that a big enough free block always means success. BUDDY_NONE: there is none.
 */
BUDDY_ALWAYS_INLINE uint32_t buddy_source(const struct buddy_heap *heap, uint32_t class, enum buddy_shape shape)
{
	if (shape == BUDDY_HALVES) {
		uint64_t enough = heap->nonempty.word[0] & UINT64_MAX << class;
		return enough ? (uint32_t)__builtin_ctzll(enough) : BUDDY_NONE;
	}
	uint32_t source = buddy_lowest_class(&heap->nonempty, &heap->table.sources[class], class);
	if (source != BUDDY_NONE || KML_PLANTED(buddy_exact_source_only))
		return source;
	return buddy_lowest_class(&heap->nonempty, &heap->nonempty, class);
}

/* ------------------------------------------------------------------------------------------- split and merge */

/* Bytes from a block's start to the first aligned address in it. */
BUDDY_ALWAYS_INLINE uint64_t buddy_padding(const struct buddy_heap *heap, uint64_t unit, uint64_t align_bytes)
{
	return align_bytes > 1 ? -(unit * heap->unit_bytes) & (align_bytes - 1) : 0;
}

/* What a granted block in its descriptor says of it. */
BUDDY_ALWAYS_INLINE uint64_t buddy_padding_of(const struct buddy_heap *heap, const struct buddy_block *block)
{
	return block->state == BUDDY_GRANTED_PADDED ? buddy_next(block) * heap->unit_bytes + buddy_prev(block) : 0;
}

BUDDY_ALWAYS_INLINE void buddy_set_padding(const struct buddy_heap *heap, struct buddy_block *block,
					   uint64_t padding_bytes)
{
	block->state = BUDDY_GRANTED_PADDED;
	buddy_set_next(block, padding_bytes / heap->unit_bytes);
	buddy_set_prev(block, padding_bytes % heap->unit_bytes);
}

/* Has the block room for the request at an aligned address? */
BUDDY_ALWAYS_INLINE bool buddy_has_room(const struct buddy_heap *heap, uint64_t unit, uint64_t size_units,
					const struct kml_request *request)
{
	uint64_t block_bytes = size_units * heap->unit_bytes;
	uint64_t padding_bytes = buddy_padding(heap, unit, request->align_bytes);
	return padding_bytes <= block_bytes && block_bytes - padding_bytes >= request->size_bytes;
}

/* Split a block that is on no list: all children but `chosen` become free, which is left to the caller. */
BUDDY_ALWAYS_INLINE void buddy_split(struct buddy_heap *heap, uint64_t unit, uint32_t class, uint32_t chosen,
				     enum buddy_shape shape)
{
	uint32_t count = buddy_child_count(heap, class, shape);
	uint32_t place = heap->blocks[unit].place, kept = heap->blocks[unit].kept;
	for (uint32_t n = 0; n < count; n++) {
		uint32_t i = heap->policy == BUDDY_FIFO ? n : count - 1 - n; /* the lowest is next in line */
		uint64_t child = unit + buddy_child_offset(heap, class, i, shape);
		if (shape == BUDDY_PLACES) {
			heap->blocks[child].place = class * BUDDY_CHILDREN_MAX + i;
			heap->blocks[child].kept = i == 0 ? place : i == count - 1 ? kept : 0;
		}
		if (i != chosen)
			buddy_push(heap, child, buddy_child_class(heap, class, i, shape));
	}
	heap->splits++;
	heap->block_count += count - 1;
}

/*
 * The child to go on with when a block of `class` is split for the request: the smallest with room for it, one that
 * splits into exactly the wanted class before others, the lowest of equals. BUDDY_NONE: the block is granted as it is.
 */
BUDDY_ALWAYS_INLINE uint32_t buddy_choose_child(const struct buddy_heap *heap, uint64_t unit, uint32_t class,
						uint32_t wanted_class, const struct kml_request *request, bool aligned,
						enum buddy_shape shape)
{
	if (!aligned && shape == BUDDY_HALVES)
		return class > wanted_class ? 0 : BUDDY_NONE;
	uint32_t chosen = BUDDY_NONE, chosen_class = 0;
	bool chosen_exact = false;
	uint32_t count = buddy_child_count(heap, class, shape);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t child_class = buddy_child_class(heap, class, i, shape);
		if (child_class < wanted_class)
			continue;
		if (aligned && !buddy_has_room(heap, unit + buddy_child_offset(heap, class, i, shape),
					       buddy_size_units(heap, child_class, shape), request))
			continue;
		bool exact = !aligned && buddy_class_in(&heap->table.sources[wanted_class], child_class);
		if (chosen == BUDDY_NONE || exact > chosen_exact ||
		    (exact == chosen_exact && child_class < chosen_class)) {
			chosen = i;
			chosen_class = child_class;
			chosen_exact = exact;
		}
	}
	return chosen;
}

/* Split a block that is on no list down to what the request needs; *unit and *class become the block to grant. */
BUDDY_ALWAYS_INLINE void buddy_carve(struct buddy_heap *heap, uint64_t *unit, uint32_t *class, uint32_t wanted_class,
				     const struct kml_request *request, bool aligned, enum buddy_shape shape)
{
	for (;;) {
		uint32_t child = buddy_choose_child(heap, *unit, *class, wanted_class, request, aligned, shape);
		if (child == BUDDY_NONE)
			return;
		buddy_split(heap, *unit, *class, child, shape);
		*unit += buddy_child_offset(heap, *class, child, shape);
		*class = buddy_child_class(heap, *class, child, shape);
	}
}

/* By address: merge the block, on no list, with its buddy as long as that is free. */
BUDDY_ALWAYS_INLINE void buddy_merge_halves(struct buddy_heap *heap, uint64_t *unit, uint32_t *class)
{
	struct buddy_block *blocks = heap->blocks;
	while (*class < heap->top_class + KML_PLANTED(buddy_merge_across_roots)) {
		uint64_t buddy = KML_PLANTED(buddy_always_above) ? *unit + (1ull << *class) : *unit ^ 1ull << *class;
		uint64_t parent = *unit & ~(1ull << *class);
		bool inside = parent + (2ull << *class) <= heap->units;
		bool whole = KML_PLANTED(buddy_merge_any_order) || blocks[buddy].class == *class;
		if (!inside || blocks[buddy].state != BUDDY_FREE || !whole)
			return;
		buddy_remove(heap, buddy, *class);
		blocks[buddy].state = BUDDY_INSIDE;
		blocks[*unit].state = KML_PLANTED(buddy_granted_after_merge) ? blocks[*unit].state : BUDDY_INSIDE;
		*unit = parent;
		++*class;
		heap->merges++;
		heap->block_count--;
	}
}

/*
 * By place: are all other children of the parent free and whole? A free block at a child's address with the child's
 * class is that child, because the nodes of the tree that start at one address differ in class.
 */
BUDDY_ALWAYS_INLINE bool buddy_siblings_free(const struct buddy_heap *heap, const struct buddy_split *split,
					     uint64_t parent, uint32_t self)
{
	for (uint32_t i = 0; i < split->child_count; i++) {
		const struct buddy_block *sibling = &heap->blocks[parent + split->offset_units[i]];
		if (i != self && (sibling->state != BUDDY_FREE || sibling->class != split->child[i]))
			return false;
	}
	return true;
}

BUDDY_ALWAYS_INLINE void buddy_merge_places(struct buddy_heap *heap, uint64_t *unit, uint32_t *class)
{
	struct buddy_block *blocks = heap->blocks;
	while (blocks[*unit].place != BUDDY_PLACE_ROOT) {
		uint32_t place = blocks[*unit].place;
		uint32_t parent_class = place / BUDDY_CHILDREN_MAX, self = place % BUDDY_CHILDREN_MAX;
		const struct buddy_split *split = &heap->table.split[parent_class];
		uint64_t parent = *unit - split->offset_units[self];
		if (!buddy_siblings_free(heap, split, parent, self))
			return;
		for (uint32_t i = 0; i < split->child_count; i++) {
			uint64_t child = parent + split->offset_units[i];
			if (KML_PLANTED(buddy_unlinks_one) ? i == (self + 1) % split->child_count : i != self)
				buddy_remove(heap, child, split->child[i]);
			blocks[child].state = BUDDY_INSIDE;
		}
		blocks[parent].place = blocks[parent].kept;
		blocks[parent].kept = blocks[parent + split->offset_units[split->child_count - 1]].kept;
		*unit = parent;
		*class = parent_class;
		heap->merges++;
		heap->block_count -= KML_PLANTED(buddy_merge_counts_two) ? 1 : split->child_count - 1;
	}
}

/* ---------------------------------------------------------------------------------------------- alloc and free */

/* Mark the block granted and hand it out from its first aligned address on. */
BUDDY_ALWAYS_INLINE struct kml_grant buddy_grant(struct buddy_heap *heap, uint64_t unit, uint32_t class,
						 const struct kml_request *request, bool aligned,
						 enum buddy_shape shape)
{
	uint64_t size_units = buddy_size_units(heap, class, shape);
	uint64_t address = unit * heap->unit_bytes, block_bytes = size_units * heap->unit_bytes;
	uint64_t padding_bytes = aligned ? buddy_padding(heap, unit, request->align_bytes) : 0;
	struct buddy_block *block = &heap->blocks[unit];
	block->class = (uint8_t) class;
	block->state = BUDDY_GRANTED;
	if (padding_bytes > 0) {
		buddy_set_padding(heap, block, padding_bytes);
		uint64_t handed_out = buddy_unit_of(heap, address + padding_bytes);
		if (handed_out != unit) {
			heap->blocks[handed_out].state = BUDDY_HANDED_OUT;
			buddy_set_next(&heap->blocks[handed_out], unit);
		}
	}
	heap->free_units -= size_units;
	heap->granted_bytes += block_bytes - padding_bytes;
	heap->padding_bytes += padding_bytes;
	kml_arena_take(heap->arena, address, block_bytes);
	if ((request->flags & KML_ZEROED) && heap->arena->base)
		memset(heap->arena->base + address + (KML_PLANTED(buddy_zeroes_padding) ? 0 : padding_bytes), 0,
		       request->size_bytes);
	return (struct kml_grant){KML_OK, address + padding_bytes, block_bytes - padding_bytes};
}

/* Every block of the class starts at a multiple of align_bytes. */
BUDDY_ALWAYS_INLINE bool buddy_aligned_by_nature(const struct buddy_heap *heap, uint32_t class, uint64_t align_bytes,
						 enum buddy_shape shape)
{
	uint32_t doublings = shape == BUDDY_HALVES ? class + KML_PLANTED(buddy_align_one_order_more) : 0;
	return align_bytes <= heap->natural_align << doublings;
}

/* The ABI's alloc. */
BUDDY_ALWAYS_INLINE struct kml_grant buddy_alloc(struct buddy_heap *heap, const struct kml_request *request,
						 enum buddy_shape shape)
{
	if (request->size_bytes == 0 || (request->align_bytes & (request->align_bytes - 1)) != 0)
		return kml_refuse(KML_IMPOSSIBLE);
	uint64_t size_units = buddy_units_for(heap, request->size_bytes);
	if (size_units > buddy_size_units(heap, heap->top_class, shape))
		return kml_refuse(KML_IMPOSSIBLE);
	uint32_t wanted, class;
	uint64_t unit;
	if (shape == BUDDY_HALVES)
		wanted = size_units > 1 ? 64 - (uint32_t)__builtin_clzll(size_units - 1) : 0;
	else
		wanted = buddy_table_class(&heap->table, size_units);

	if (__builtin_expect(!buddy_aligned_by_nature(heap, wanted, request->align_bytes, shape), 0)) {
		if (!buddy_find_aligned(heap, wanted, request, &unit, &class))
			return kml_refuse(buddy_refusal(heap, wanted, request));
		buddy_remove(heap, unit, class);
		buddy_carve(heap, &unit, &class, wanted, request, true, shape);
		return buddy_grant(heap, unit, class, request, true, shape);
	}
	class = buddy_source(heap, wanted, shape);
	if (class == BUDDY_NONE)
		return kml_refuse(buddy_refusal(heap, wanted, request));
	unit = buddy_pop(heap, class);
	buddy_carve(heap, &unit, &class, wanted, request, false, shape);
	return buddy_grant(heap, unit, class, request, false, shape);
}

BUDDY_ALWAYS_INLINE enum kml_status buddy_resolve(const struct buddy_heap *heap, uint64_t address, uint64_t *unit)
{
	if (address < heap->end_bytes) {
		*unit = buddy_unit_of(heap, address);
		bool is_start = KML_PLANTED(buddy_interior_freed) || *unit * heap->unit_bytes == address;
		if (heap->blocks[*unit].state == BUDDY_GRANTED && is_start)
			return KML_OK;
	}
	return buddy_resolve_slowly(heap, address, unit);
}

/* The ABI's free. */
BUDDY_ALWAYS_INLINE enum kml_status buddy_free(struct buddy_heap *heap, const struct kml_release *release,
					       enum buddy_shape shape)
{
	uint64_t unit;
	enum kml_status status = buddy_resolve(heap, release->address, &unit);
	if (status != KML_OK)
		return status;
	struct buddy_block *block = &heap->blocks[unit];
	uint32_t class = block->class;
	uint64_t size_units = buddy_size_units(heap, class, shape);
	uint64_t address = unit * heap->unit_bytes, padding_bytes = 0;
	if (__builtin_expect(block->state == BUDDY_GRANTED_PADDED, 0)) {
		padding_bytes = release->address - address;
		uint64_t handed_out = buddy_unit_of(heap, release->address);
		heap->blocks[handed_out].state = BUDDY_INSIDE; /* or the block's own, set below */
	}
	heap->free_units += size_units;
	heap->granted_bytes -= size_units * heap->unit_bytes - padding_bytes;
	heap->padding_bytes -= padding_bytes;
	kml_arena_give(heap->arena, address, size_units * heap->unit_bytes);
	if (shape == BUDDY_HALVES)
		buddy_merge_halves(heap, &unit, &class);
	else
		buddy_merge_places(heap, &unit, &class);
	buddy_push(heap, unit, class);
	return KML_OK;
}

#endif
