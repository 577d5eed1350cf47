/*
 * parked.h - the check of what a cache keeps off its slabs for later: in arrays (slab), magazines (solaris), sheaves.
 *
 * Invariants: each is a slot of a slab of the cache, granted to nobody, on no free list, and kept once; every slab has
 * as many of them as it has slots in use that are not granted. Cost: O(parked * log(parked)), 8 bytes each meanwhile.
 */
#ifndef KMEMLAB_SLAB_PARKED_H
#define KMEMLAB_SLAB_PARKED_H

#include "allocators/slab/slab_run.h"

/* Begins with the cache alone; parked_free frees what it owns. */
struct parked {
	const struct slab_cache *cache;
	uint64_t *objects;
	uint64_t count, room;
};

/* One more, as found in `where` ("a sheaf"); false and *error when it cannot be parked: no slot, granted. */
bool parked_add(struct parked *parked, uint64_t object, const char *where, struct kml_error *error);
/* When all are added: false and *error when one is there twice. The rest is asked after it. */
bool parked_sort(struct parked *parked, struct kml_error *error);
void parked_free(struct parked *parked);

/* The slab's slots in use are granted, parked, or `elsewhere` (a number that the strategy knows); none that is parked
 * is among its free slots (a bit each; NULL: it has none). O(log(parked) + parked there). */
bool parked_check_slab(const struct parked *parked, const struct slab *slab, const uint64_t *free_slots,
		       uint32_t elsewhere, struct kml_error *error);

#endif
