/*
 * slab_geometry.h - what SLAB computes once for each cache: size, order, where the free index lies, colours, arrays.
 *
 * Follows mm/slab.c of Linux 6.1: __kmem_cache_create, calculate_slab_order, cache_estimate, enable_cpucache,
 * init_cache_node. Pure functions of their arguments; O(orders).
 */
#ifndef KMEMLAB_SLAB_SLAB_GEOMETRY_H
#define KMEMLAB_SLAB_SLAB_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

/* Where a slab keeps which of its objects are free. */
enum slab_index_place {
	SLAB_INDEX_ON_OBJECT, /* in a free object (OBJFREELIST_SLAB) */
	SLAB_INDEX_OFF_SLAB,  /* outside (CFLGS_OFF_SLAB) */
	SLAB_INDEX_ON_SLAB,   /* behind the last object */
};

struct slab_geometry {
	uint64_t align_bytes;
	uint64_t slot_bytes; /* object and padding: `size` of struct kmem_cache */
	uint32_t order;
	uint32_t objects;
	uint64_t left_bytes; /* for colouring */
	uint32_t colours;    /* 0 as 1: all slabs alike */
	uint64_t colour_bytes;
	enum slab_index_place index_place;
	uint32_t index_width; /* bytes of an entry */
	uint64_t index_bytes; /* of a whole slab: freelist_size */
};

struct slab_tunables {
	uint32_t limit, batchcount, shared;
};

#define SLAB_MAX_ORDER_DEFAULT 1u /* SLAB_MAX_ORDER_HI: with more than 32 MiB of memory */
#define SLAB_ORDERS 11u           /* 0 to KMALLOC_MAX_ORDER */

/* false when no slab can hold such an object. */
bool slab_geometry(const struct kml_cache *description, uint32_t page_bytes, uint32_t max_order,
		   struct slab_geometry *geometry);

/* The most objects a slab's index can tell apart. */
uint32_t slab_index_limit(uint32_t page_bytes);

/* enable_cpucache. */
struct slab_tunables slab_tunables(uint64_t slot_bytes, uint32_t page_bytes, uint32_t cpu_count);

/* init_cache_node: empty slabs are kept while no more objects are free than this. */
static inline uint64_t slab_free_limit(uint32_t cpus_online, uint32_t batchcount, uint32_t objects)
{
	return (1 + (uint64_t)cpus_online) * batchcount + objects;
}

#endif
