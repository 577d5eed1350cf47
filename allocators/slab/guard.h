/*
 * guard.h - memory around and in the objects that shows whether someone wrote where he should not, after SLUB_DEBUG
 * (mm/slub.c: calculate_sizes, init_object, check_object, slab_pad_check).
 *
 *      |<------------------------------ slot ------------------------------>|
 *      | left zone | object           | right zone | link | padding         |  ...  | padding to the slab's end |
 *        0xcc granted, 0xbb free        0xcc, 0xbb          0x5a                      0x5a
 *                    free: 0x6b ... 0xa5
 *
 * red_zone asks for the zones, poison for the pattern in free objects and for the padding. Objects with a constructor
 * and those that are type-safe by RCU keep their contents when they are freed: they have no poison.
 *
 * What is found, and what becomes of it:
 *   free    the zones or the padding of the object are damaged: KML_RED_ZONE. They are mended and the object is not
 *           freed, as in the kernel ("Object at ... not freed"); freed again it goes.
 *   alloc   the object, its zones or its padding were written to while it was free: KML_POISON. They are mended and the
 *           object stays free. (The kernel mends them too, and gives the whole slab up.)
 *   validate names every damaged object, and mends nothing.
 *
 * A guarded cache is laid out as the kernel does it, is not merged, and has its link behind the object. Cost: every
 * alloc and free reads and writes the slot; validate reads every slot.
 */
#ifndef KMEMLAB_SLAB_GUARD_H
#define KMEMLAB_SLAB_GUARD_H

#include "allocators/slab/slab_run.h"

enum guard { GUARD_OFF = 0, GUARD_RED_ZONE = 1, GUARD_POISON = 2, GUARD_ON = GUARD_RED_ZONE | GUARD_POISON };

/* The choices of the parameter `debug`; their index is an enum guard. */
extern const char *const guard_names[];
#define GUARD_HELP "red zones around objects and poison in free ones, checked at every alloc and free (slub_debug=ZP)"

/*
 * For a strategy's cache_open: the description to compute the geometry from, as it is with GUARD_OFF. It has the zones
 * in the object, and says that nothing may be kept in a free one.
 */
struct kml_cache guard_description(const struct kml_cache *description, enum guard guards);
/* And when the geometry is filled in, before the first slab. */
void guard_open(struct slab_cache *cache, enum guard guards);

/* For slab_create: all slots are free. */
void guard_slab_created(const struct slab *slab);
/* For object_heap.c, of a cache that is guarded. KML_POISON: the object is to go back. */
enum kml_status guard_check_taken(const struct object_place *place);
/* KML_RED_ZONE: it is not to be freed. */
enum kml_status guard_check_given(const struct object_place *place);
/* All slabs of the heap; false and *error with every damaged object, as many as it has room for. O(bytes of slabs). */
bool guard_validate(const struct object_heap *heap, struct kml_error *error);

#endif
