/*
 * slub_geometry.h - how SLUB cuts slabs: slot size, order, and how many slabs it keeps (mm/slub.c: calculate_sizes,
 * calculate_order, set_min_partial, set_cpu_partial). Pure functions of sizes, the number of cpus and the tunables.
 */
#ifndef KMEMLAB_SLAB_SLUB_GEOMETRY_H
#define KMEMLAB_SLAB_SLUB_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

enum slub_profile { SLUB_LINUX_6_1, SLUB_LINUX_6_18 };

#define SLUB_ORDER_MAX 10u           /* MAX_PAGE_ORDER */
#define SLUB_ORDER_NONE UINT32_MAX   /* no slab can hold such an object */
#define SLUB_OBJECTS_PER_SLAB 32767u /* MAX_OBJS_PER_PAGE: 15 bits in struct slab */

struct slub_tunables {
	enum slub_profile profile;
	uint32_t page_bytes, cpu_count;
	uint32_t min_order, max_order; /* slub_min_order, slub_max_order: 0 and PAGE_ALLOC_COSTLY_ORDER = 3 */
	uint64_t min_objects;          /* slub_min_objects; 0: by the number of cpus */
};

/* What one object takes. link_offset: of the free list's link in a free object. */
struct slub_slot {
	uint64_t bytes, align_bytes, link_offset;
};

/*
 * The slot of an object. A link may not lie in an object that must survive its free: one with a constructor or one
 * that is type-safe by RCU; then it lies behind. align_bytes 0: a word.
 */
struct slub_slot slub_slot(uint64_t object_bytes, uint64_t align_bytes, bool keeps_contents);

/* The order of the slabs for slots of this size, or SLUB_ORDER_NONE. */
uint32_t slub_order(const struct slub_tunables *tunables, uint64_t slot_bytes);

/* Empty slabs are kept while the node's list is shorter than this. */
uint32_t slub_min_partial(uint64_t slot_bytes);

/* Free objects that a cpu's partial list should hold, and the slabs that stands for. */
uint32_t slub_cpu_partial(const struct slub_tunables *tunables, uint64_t slot_bytes);
uint32_t slub_cpu_partial_slabs(uint64_t cpu_partial_objects, uint32_t objects_per_slab);

#endif
