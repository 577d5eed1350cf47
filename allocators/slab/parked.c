/*
 * parked.c - see parked.h.
 */
#include "allocators/slab/parked.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *name_of(const struct parked *parked)
{
	return parked->cache->cache.description.name;
}

static const char *fault_of(const struct parked *parked, uint64_t object)
{
	const struct object_heap *heap = parked->cache->cache.heap;
	const struct slab *slab = object < heap->arena->size_bytes ? slab_of(heap, object) : NULL;
	if (!slab || slab->cache != parked->cache)
		return "is on no slab of its cache";
	if (!slab_has_object(slab, object))
		return "is no object";
	return slab_is_granted(slab, slab_slot(slab, object)) ? "is granted" : NULL;
}

bool parked_add(struct parked *parked, uint64_t object, const char *where, struct kml_error *error)
{
	const char *fault = fault_of(parked, object);
	if (fault)
		return kml_fail(error, "cache %s: %" PRIu64 " in %s %s", name_of(parked), object, where, fault);
	if (parked->count == parked->room) {
		uint64_t room = parked->room ? 2 * parked->room : 64;
		uint64_t *grown = realloc(parked->objects, room * sizeof *grown);
		if (!grown)
			return kml_fail(error, "cache %s: no memory to check %" PRIu64 " parked objects",
					name_of(parked), parked->count);
		parked->objects = grown;
		parked->room = room;
	}
	parked->objects[parked->count++] = object;
	return true;
}

static int compare_addresses(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

bool parked_sort(struct parked *parked, struct kml_error *error)
{
	if (parked->count > 1)
		qsort(parked->objects, parked->count, sizeof *parked->objects, compare_addresses);
	for (uint64_t i = 1; i < parked->count; i++)
		if (parked->objects[i] == parked->objects[i - 1])
			return kml_fail(error, "cache %s: the object at %" PRIu64 " is parked twice", name_of(parked),
					parked->objects[i]);
	return true;
}

void parked_free(struct parked *parked)
{
	free(parked->objects);
	parked->objects = NULL;
	parked->count = parked->room = 0;
}

/* The number of objects below an address. */
static uint64_t count_below(const struct parked *parked, uint64_t address)
{
	uint64_t low = 0, high = parked->count;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (parked->objects[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool parked_check_slab(const struct parked *parked, const struct slab *slab, const uint64_t *free_slots,
		       uint32_t elsewhere, struct kml_error *error)
{
	uint64_t first = count_below(parked, slab->address);
	uint64_t past = count_below(parked, slab->address + slab->granted_bytes);
	for (uint64_t i = first; free_slots && i < past; i++) {
		uint32_t slot = slab_slot(slab, parked->objects[i]);
		if (free_slots[slot / 64] >> slot % 64 & 1)
			return kml_fail(error, "cache %s: the object at %" PRIu64 " is parked and free on its slab too",
					name_of(parked), parked->objects[i]);
	}
	if (slab->in_use == slab->live + (past - first) + elsewhere)
		return true;
	return kml_fail(error,
			"cache %s, slab at %" PRIu64 ": %u slots in use, of which %u are granted, %" PRIu64
			" parked and %u elsewhere",
			name_of(parked), slab->address, slab->in_use, slab->live, past - first, elsewhere);
}
