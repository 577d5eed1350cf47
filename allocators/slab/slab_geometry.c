/*
 * slab_geometry.c - sizes, orders and arrays of SLAB. See slab_geometry.h.
 */
#include "allocators/slab/slab_geometry.h"

#include "allocators/slab/object_heap.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/round.h"

#define WORD_BYTES 8u
#define CACHE_LINE_BYTES 64u
#define OBJECT_MIN_BYTES 16u       /* SLAB_OBJ_MIN_SIZE */
#define KMALLOC_SMALLEST_BYTES 32u /* include/linux/slab.h: KMALLOC_SHIFT_LOW of SLAB */

/* freelist_idx_t: a byte as long as no order-0 slab has more than 255 of the smallest objects. */
static uint32_t index_width(uint32_t page_bytes)
{
	return page_bytes >> 8 <= OBJECT_MIN_BYTES ? 1 : 2;
}

uint32_t slab_index_limit(uint32_t page_bytes)
{
	return (1u << index_width(page_bytes) * 8) - 1;
}

/* What an index off the slab takes of the kernel's memory: a kmalloc of its size. */
static uint64_t kmalloc_bytes(uint64_t size_bytes, uint32_t page_bytes)
{
	if (size_bytes < KMALLOC_SMALLEST_BYTES)
		return KMALLOC_SMALLEST_BYTES;
	if (size_bytes <= KMALLOC_MAX_BYTES)
		return kmalloc_class_bytes(kmalloc_class(size_bytes));
	uint64_t block_bytes = page_bytes;
	while (block_bytes < size_bytes)
		block_bytes *= 2;
	return block_bytes;
}

/*
 * calculate_slab_order, for one place of the index: the first order that wastes an eighth or less, or is max_order, or
 * the first at all of a reclaimable cache. false when no order does. The class of a kmalloc never has its own index off
 * the slab (it would have to be smaller than its index, whose class then exceeds half of it).
 */
static bool find_order(const struct kml_cache *description, uint32_t page_bytes, uint32_t max_order,
		       struct slab_geometry *geometry)
{
	enum slab_index_place place = geometry->index_place;
	uint32_t width = geometry->index_width;
	uint64_t entry_bytes = geometry->slot_bytes + (place == SLAB_INDEX_ON_SLAB ? width : 0);
	geometry->objects = 0;
	for (uint32_t order = 0; order < SLAB_ORDERS; order++) {
		uint64_t slab_bytes = (uint64_t)page_bytes << order;
		uint64_t objects = slab_bytes / entry_bytes;
		if (objects == 0)
			continue;
		if (objects > slab_index_limit(page_bytes))
			break;
		if (place == SLAB_INDEX_OFF_SLAB &&
		    kmalloc_bytes(objects * width, page_bytes) > description->object_bytes / 2)
			continue;
		geometry->order = order;
		geometry->objects = (uint32_t)objects;
		geometry->left_bytes = slab_bytes % entry_bytes;
		if (description->reclaimable || order >= max_order || geometry->left_bytes * 8 <= slab_bytes)
			break;
	}
	geometry->index_bytes = (uint64_t)geometry->objects * width;
	return geometry->objects > 0;
}

/* set_objfreelist_slab_cache, set_off_slab_cache, set_on_slab_cache. */
static bool accepts(const struct kml_cache *description, const struct slab_geometry *geometry)
{
	if (geometry->index_place == SLAB_INDEX_ON_OBJECT)
		return geometry->index_bytes <= description->object_bytes;
	if (geometry->index_place == SLAB_INDEX_OFF_SLAB)
		return geometry->left_bytes < geometry->index_bytes; /* else it fits on the slab, for nothing */
	return true;
}

bool slab_geometry(const struct kml_cache *description, uint32_t page_bytes, uint32_t max_order,
		   struct slab_geometry *geometry)
{
	*geometry = (struct slab_geometry){.align_bytes = WORD_BYTES, .index_width = index_width(page_bytes)};
	if (description->align_bytes > geometry->align_bytes)
		geometry->align_bytes = description->align_bytes;
	uint64_t largest_bytes = (uint64_t)page_bytes << (SLAB_ORDERS - 1);
	if (description->object_bytes > largest_bytes || geometry->align_bytes > largest_bytes)
		return false;
	geometry->slot_bytes = kml_round_up(kml_round_up(description->object_bytes, WORD_BYTES), geometry->align_bytes);
	/* A trace may not tell the alignment; what slabinfo says of the slot then stands for it. */
	uint64_t recorded = description->recorded_slot_bytes & ~(uint64_t)(WORD_BYTES - 1);
	if (description->align_bytes == 0 && recorded > geometry->slot_bytes)
		geometry->slot_bytes = recorded;
	if (geometry->index_width == 1 && geometry->slot_bytes < OBJECT_MIN_BYTES)
		geometry->slot_bytes = kml_round_up(OBJECT_MIN_BYTES, geometry->align_bytes);
	bool is_wide = !KML_PLANTED(slab_colour_unaligned) && geometry->align_bytes > CACHE_LINE_BYTES;
	geometry->colour_bytes = is_wide ? geometry->align_bytes : CACHE_LINE_BYTES;

	/* A constructed object must not be written to, nor one that readers under RCU may still look at. */
	bool keeps_content = description->has_constructor || description->typesafe_by_rcu;
	enum slab_index_place first = keeps_content ? SLAB_INDEX_OFF_SLAB : SLAB_INDEX_ON_OBJECT;
	for (uint32_t place = first; place <= SLAB_INDEX_ON_SLAB; place++) {
		geometry->index_place = (enum slab_index_place)place;
		if (!find_order(description, page_bytes, max_order, geometry) || !accepts(description, geometry))
			continue;
		geometry->colours = (uint32_t)(geometry->left_bytes / geometry->colour_bytes);
		return true;
	}
	return false;
}

struct slab_tunables slab_tunables(uint64_t slot_bytes, uint32_t page_bytes, uint32_t cpu_count)
{
	uint32_t limit = slot_bytes > 131072       ? 1
			 : slot_bytes > page_bytes ? 8
			 : slot_bytes > 1024       ? 24
			 : slot_bytes > 256        ? 54
						   : 120;
	return (struct slab_tunables){
		.limit = limit,
		.batchcount = (limit + 1) / 2,
		.shared = slot_bytes <= page_bytes && cpu_count > 1 ? 8 : 0,
	};
}
