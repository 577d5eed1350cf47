/*
 * slub_geometry.c - sizes of SLUB's slabs. See slub_geometry.h.
 *
 * The search for an order weighs three things: enough objects in a slab that the locks are taken seldom
 * (min_objects), little left over at its end (1/16 of the slab, then 1/8, 1/4), and a small order.
 */
#include "allocators/slab/slub_geometry.h"

#include "kmemlab/support/planted.h"

#include "kmemlab/support/round.h"

enum { WORD_BYTES = 8 };

/* Bits up to the highest one that is set; value is not 0. */
static uint32_t bit_length(uint64_t value)
{
	return 64 - (uint32_t)__builtin_clzll(value);
}

static uint32_t order_of(const struct slub_tunables *tunables, uint64_t size_bytes)
{
	uint64_t pages = (size_bytes + tunables->page_bytes - 1) / tunables->page_bytes;
	return pages > 1 ? bit_length(pages - 1) : 0;
}

struct slub_slot slub_slot(uint64_t object_bytes, uint64_t align_bytes, bool keeps_contents)
{
	bool is_unaligned = align_bytes < WORD_BYTES || (KML_PLANTED(slub_constructor_unaligned) && keeps_contents);
	struct slub_slot slot = {.align_bytes = is_unaligned ? WORD_BYTES : align_bytes};
	uint64_t used_bytes = kml_round_up(object_bytes, WORD_BYTES);
	if (keeps_contents) {
		slot.link_offset = used_bytes;
		used_bytes += WORD_BYTES;
	} else { /* in the middle, away from what the neighbours may overrun */
		slot.link_offset = object_bytes / 2 / WORD_BYTES * WORD_BYTES;
	}
	slot.bytes = KML_PLANTED(slub_slot_truncated) && used_bytes > slot.align_bytes
			     ? used_bytes / slot.align_bytes * slot.align_bytes
			     : kml_round_up(used_bytes, slot.align_bytes);
	return slot;
}

/* mm/slub.c: calc_slab_order. The smallest order from min_order on that leaves at most 1/fraction of the slab. */
static uint32_t order_that_wastes(const struct slub_tunables *tunables, uint64_t slot_bytes, uint32_t min_order,
				  uint32_t fraction)
{
	uint32_t order = min_order;
	for (; order <= tunables->max_order; order++) {
		uint64_t slab_bytes = (uint64_t)tunables->page_bytes << order;
		if (slab_bytes % slot_bytes <= slab_bytes / fraction)
			break;
	}
	return order;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Since 6.7: the number of objects stays, the waste allowed grows to a half. */
static uint32_t search_6_7(const struct slub_tunables *tunables, uint64_t slot_bytes, uint64_t min_objects)
{
	uint32_t min_order = larger(tunables->min_order, order_of(tunables, min_objects * slot_bytes));
	for (uint32_t fraction = 16; fraction > 1; fraction /= 2) {
		uint32_t order = order_that_wastes(tunables, slot_bytes, min_order, fraction);
		if (order <= tunables->max_order)
			return order;
	}
	return SLUB_ORDER_NONE;
}

/* Up to 6.6: the waste allowed grows to a quarter, then the number of objects falls. */
static uint32_t search_6_6(const struct slub_tunables *tunables, uint64_t slot_bytes, uint64_t min_objects)
{
	for (; min_objects > 1; min_objects--)
		for (uint32_t fraction = 16; fraction >= 4; fraction /= 2) {
			uint32_t min_order = larger(tunables->min_order, order_of(tunables, min_objects * slot_bytes));
			uint32_t order = order_that_wastes(tunables, slot_bytes, min_order, fraction);
			if (order <= tunables->max_order)
				return order;
		}
	uint32_t order = larger(tunables->min_order, order_of(tunables, slot_bytes));
	return order <= tunables->max_order ? order : SLUB_ORDER_NONE;
}

uint32_t slub_order(const struct slub_tunables *tunables, uint64_t slot_bytes)
{
	uint64_t least_slab_bytes = (uint64_t)tunables->page_bytes << tunables->min_order;
	if (slot_bytes > (uint64_t)tunables->page_bytes << SLUB_ORDER_MAX)
		return SLUB_ORDER_NONE;
	if (least_slab_bytes / slot_bytes > SLUB_OBJECTS_PER_SLAB)
		return order_of(tunables, slot_bytes * SLUB_OBJECTS_PER_SLAB) - 1;
	uint64_t max_objects = ((uint64_t)tunables->page_bytes << tunables->max_order) / slot_bytes;
	uint64_t min_objects =
		tunables->min_objects ? tunables->min_objects : 4 * (bit_length(tunables->cpu_count) + 1);
	if (min_objects > max_objects)
		min_objects = max_objects;
	uint32_t order = tunables->profile == SLUB_LINUX_6_1
				 ? search_6_6(tunables, slot_bytes, min_objects)
				 : search_6_7(tunables, slot_bytes, min_objects ? min_objects : 1);
	return order != SLUB_ORDER_NONE ? order : order_of(tunables, slot_bytes);
}

uint32_t slub_min_partial(uint64_t slot_bytes)
{
	uint32_t half_log2 = (bit_length(slot_bytes) - 1) / 2;
	return half_log2 < 5 ? 5 : half_log2 > 10 ? 10 : half_log2; /* MIN_PARTIAL, MAX_PARTIAL */
}

uint32_t slub_cpu_partial(const struct slub_tunables *tunables, uint64_t slot_bytes)
{
	if (slot_bytes >= tunables->page_bytes)
		return 6;
	return slot_bytes >= 1024 ? 24 : slot_bytes >= 256 ? 52 : 120;
}

uint32_t slub_cpu_partial_slabs(uint64_t cpu_partial_objects, uint32_t objects_per_slab)
{
	return (uint32_t)((2 * cpu_partial_objects + objects_per_slab - 1) / objects_per_slab);
}
