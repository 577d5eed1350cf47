/*
 * slab_run.c - slabs. See slab_run.h.
 */
#include "allocators/slab/slab_run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/guard.h"
#include "kmemlab/support/planted.h"

const char *const slab_fit_names[] = {"asked", "granted", NULL};

static uint64_t bitmap_words(uint32_t objects)
{
	return (objects + 63) / 64;
}

static uint64_t descriptor_bytes(uint32_t objects)
{
	return sizeof(struct slab) + bitmap_words(objects) * sizeof(uint64_t);
}

/* ------------------------------------------------------------------------------------------ create, destroy */

/* All slots of a new slab, in address order. */
static void chain(struct slab *slab)
{
	uint64_t next = KML_NO_ADDRESS;
	for (uint32_t i = slab->objects; i-- > 0;) {
		uint64_t object = slab_object(slab, i);
		*slab_link(slab, object) = next;
		next = object;
	}
	slab->free_head = next;
}

/* What the slab holds, in the books; sign -1 takes it out. */
static void book_slab(const struct slab *slab, int64_t sign)
{
	struct slab_cache *cache = slab->cache;
	struct object_books *books = &cache->cache.heap->books;
	uint64_t slots = slab->objects * cache->slot_bytes;
	uint64_t used_bytes = slab->used_bytes;
	books->slot_bytes += (uint64_t)sign * slots;
	books->free_slot_bytes += (uint64_t)sign * slots;
	books->management_bytes += (uint64_t)sign * slab->management_bytes;
	books->tail_bytes += (uint64_t)sign * (used_bytes - slots - slab->management_bytes);
	books->metadata_bytes += (uint64_t)sign * descriptor_bytes(slab->objects);
	cache->slabs += (uint64_t)sign;
	cache->slab_bytes += (uint64_t)sign * slab->asked_bytes;
	cache->total_objects += (uint64_t)sign * slab->objects;
	cache->free_objects += (uint64_t)sign * slab->objects;
}

struct slab *slab_create(struct slab_cache *cache, uint32_t order, enum slab_fit fit, uint64_t colour_bytes,
			 const struct kml_request *request, enum kml_status *status)
{
	uint64_t asked_bytes = (uint64_t)cache->cache.heap->page_bytes << order;
	return slab_create_sized(cache, asked_bytes, fit, colour_bytes, request, status);
}

struct slab *slab_create_sized(struct slab_cache *cache, uint64_t asked_bytes, enum slab_fit fit, uint64_t colour_bytes,
			       const struct kml_request *request, enum kml_status *status)
{
	struct object_heap *heap = cache->cache.heap;
	struct kml_grant grant = object_take_run(heap, asked_bytes, &cache->cache.description, request, NULL);
	*status = grant.status;
	if (grant.status != KML_OK)
		return NULL;
	uint64_t whole_bytes = grant.granted_bytes & ~(uint64_t)(heap->page_bytes - 1);
	uint64_t used_bytes = fit == SLAB_FIT_GRANTED ? whole_bytes : asked_bytes;
	uint64_t first_bytes = colour_bytes + cache->reserved_bytes;
	uint64_t before_bytes = KML_PLANTED(slab_colour_overlap) ? cache->reserved_bytes : first_bytes;
	uint64_t slots_bytes = used_bytes - before_bytes - cache->trailer_bytes;
	uint32_t objects = KML_PLANTED(slab_fallback_objects)
				   ? cache->objects
				   : (uint32_t)(slots_bytes / (cache->slot_bytes + cache->index_bytes));
	uint32_t objects_max = cache->objects_max ? cache->objects_max : SLAB_OBJECTS_MAX;
	if (fit == SLAB_FIT_GRANTED && objects > objects_max)
		objects = objects_max;
	struct slab *slab = calloc(1, descriptor_bytes(objects));
	if (!slab) {
		object_give_run(heap, grant.address, grant.granted_bytes, request->cpu);
		*status = KML_NO_MEMORY;
		return NULL;
	}
	slab->cache = cache;
	slab->address = grant.address;
	slab->asked_bytes = asked_bytes;
	slab->granted_bytes = grant.granted_bytes;
	slab->used_bytes = used_bytes;
	slab->first = grant.address + first_bytes;
	slab->management_bytes = first_bytes + cache->trailer_bytes + (uint64_t)objects * cache->index_bytes;
	slab->recorded = KML_NO_ADDRESS;
	slab->objects = objects;
	object_own_run(heap, grant.address, grant.granted_bytes, slab);
	slab->free_head = KML_NO_ADDRESS;
	book_slab(slab, 1);
	heap->books.steps += objects;
	if (!cache->has_own_index)
		chain(slab);
	if (cache->guards != GUARD_OFF)
		guard_slab_created(slab);
	return slab;
}

void slab_destroy(struct slab *slab, uint16_t cpu)
{
	KML_CHECK(slab->in_use == 0 && slab->live == 0, "slab at %" PRIu64 " of cache %s: %u slots in use, %u live",
		  slab->address, slab->cache->cache.description.name, slab->in_use, slab->live);
	book_slab(slab, -1);
	object_give_run(slab->cache->cache.heap, slab->address, slab->granted_bytes, cpu);
	slab_release(slab);
}

void slab_release(void *run)
{
	struct slab *slab = run;
	free(slab->index);
	free(slab);
}

/* -------------------------------------------------------------------------------------------------- objects */

void slab_grant(struct slab *slab, uint64_t object, struct object_place *place)
{
	struct slab_cache *cache = slab->cache;
	struct object_books *books = &cache->cache.heap->books;
	uint32_t slot = slab_slot(slab, object);
	slab->granted[slot / 64] |= 1ull << slot % 64;
	slab->live++;
	books->live_bytes += cache->cache.object_bytes;
	books->live_slot_bytes += cache->slot_bytes;
	place->address = object;
	place->run = slab;
	place->slot = slot;
}

void slab_ungrant(const struct object_place *place)
{
	struct slab *slab = place->run;
	struct slab_cache *cache = slab->cache;
	struct object_books *books = &cache->cache.heap->books;
	slab->granted[place->slot / 64] &=
		KML_PLANTED(slab_mask_narrow) ? ~(1u << place->slot % 32) : ~(1ull << place->slot % 64);
	slab->live--;
	books->live_bytes -= cache->cache.object_bytes;
	books->live_slot_bytes -= cache->slot_bytes;
}

enum kml_status slab_resolve(const struct object_heap *heap, void *run, uint64_t address, struct object_place *place)
{
	(void)heap;
	const struct slab *slab = run;
	const struct slab_cache *cache = slab->cache;
	if (address < slab->first || address >= slab->first + slab->objects * cache->slot_bytes)
		return KML_FOREIGN; /* management, tail: never handed out */
	uint32_t slot = slab_slot(slab, address);
	if (!slab_is_granted(slab, slot))
		return KML_DOUBLE_FREE;
	uint64_t object = slab_object(slab, slot);
	if (address != object && !(KML_PLANTED(slab_interior_last) && slot + 1 == slab->objects))
		return address > object && address < object + cache->cache.object_bytes ? KML_INTERIOR : KML_FOREIGN;
	*place = (struct object_place){.address = object,
				       .granted_bytes = cache->cache.object_bytes,
				       .cache = &slab->cache->cache,
				       .run = run,
				       .slot = slot};
	return KML_OK;
}

/* ------------------------------------------------------------------------------------------- walk and check */

uint64_t *slab_chain_slots(const struct slab *slab, struct kml_error *error)
{
	uint64_t *bits = calloc(bitmap_words(slab->objects) + 1, sizeof *bits);
	if (!bits) {
		kml_fail(error, "no memory to check a slab of %u objects", slab->objects);
		return NULL;
	}
	const char *name = slab->cache->cache.description.name;
	uint32_t count = 0;
	for (uint64_t object = slab->free_head; object != KML_NO_ADDRESS; object = *slab_link(slab, object)) {
		uint32_t slot = slab_slot(slab, object);
		const char *fault = NULL;
		if (!slab_has_object(slab, object))
			fault = "is no object of it";
		else if (bits[slot / 64] >> slot % 64 & 1)
			fault = "is there twice";
		else if (slab_is_granted(slab, slot))
			fault = "is granted";
		if (fault) {
			kml_fail(error, "cache %s, slab at %" PRIu64 ": free list entry %u, %" PRIu64 ", %s", name,
				 slab->address, count, object, fault);
			free(bits);
			return NULL;
		}
		bits[slot / 64] |= 1ull << slot % 64;
		count++;
	}
	if (count != slab->objects - slab->in_use) {
		kml_fail(error, "cache %s, slab at %" PRIu64 ": %u objects on its free list, %u of %u in use", name,
			 slab->address, count, slab->in_use, slab->objects);
		free(bits);
		return NULL;
	}
	return bits;
}

bool slab_walk_slots(const struct slab *slab, const uint64_t *free_slots, kml_visit *visit, void *context)
{
	for (uint32_t slot = 0; slot < slab->objects; slot++) {
		bool is_free = free_slots && (free_slots[slot / 64] >> slot % 64 & 1);
		const struct kml_block block = {
			.address = slab_object(slab, slot),
			.size_bytes = slab->cache->cache.object_bytes,
			.state = slab_is_granted(slab, slot) ? KML_BLOCK_GRANTED
				 : is_free                   ? KML_BLOCK_FREE
							     : KML_BLOCK_CACHED,
			.size_class = (uint32_t)slab->cache->slot_bytes,
			.owner = slab->cache->cache.index,
			.cpu = slab->cpu,
		};
		if (!visit(context, &block))
			return false;
	}
	return true;
}

bool slab_walk_run(const struct object_heap *heap, void *run, kml_visit *visit, void *context)
{
	(void)heap;
	struct kml_error error;
	uint64_t *free_slots = slab_chain_slots(run, &error);
	bool goes_on = slab_walk_slots(run, free_slots, visit, context);
	free(free_slots);
	return goes_on;
}

bool slab_check(const struct slab *slab, struct kml_error *error)
{
	const struct slab_cache *cache = slab->cache;
	const char *name = cache->cache.description.name;
	uint32_t granted = 0;
	for (uint64_t i = 0; i < bitmap_words(slab->objects); i++)
		granted += (uint32_t)__builtin_popcountll(slab->granted[i]);
	if (granted != slab->live || slab->live > slab->in_use || slab->in_use > slab->objects)
		return kml_fail(error,
				"cache %s, slab at %" PRIu64 ": %u granted, %u live, %u in use of %u: must not rise",
				name, slab->address, granted, slab->live, slab->in_use, slab->objects);
	uint64_t before_bytes = slab->first - slab->address, slots_bytes = slab->objects * cache->slot_bytes;
	uint64_t after_bytes = cache->trailer_bytes + (uint64_t)slab->objects * cache->index_bytes;
	if (slab->first < slab->address || before_bytes + slots_bytes + after_bytes > slab->used_bytes ||
	    slab->used_bytes > slab->granted_bytes)
		return kml_fail(error,
				"cache %s, slab at %" PRIu64 ": %u slots of %" PRIu64 " bytes from %" PRIu64
				" on and %" PRIu64 " bytes behind them, on %" PRIu64 " bytes of %" PRIu64,
				name, slab->address, slab->objects, cache->slot_bytes, slab->first, after_bytes,
				slab->used_bytes, slab->granted_bytes);
	if (slab_of(slab->cache->cache.heap, slab->address) != slab)
		return kml_fail(error, "cache %s, slab at %" PRIu64 ": its pages are not marked as its own", name,
				slab->address);
	return true;
}

bool slab_list_check(const struct slab_list *list, uint64_t most, const char *name, struct kml_error *error)
{
	uint64_t count = 0;
	const struct slab_link *before = &list->head;
	for (const struct slab_link *link = before->next; link != &list->head; link = link->next) {
		if (link->prev != before || ++count > most)
			return kml_fail(error,
					"cache %s: link %" PRIu64 " of a list of slabs leads back to another, or the "
					"list is longer than the %" PRIu64 " slabs there are",
					name, count, most);
		before = link;
	}
	if (count == list->count && list->head.prev == before)
		return true;
	return kml_fail(error, "cache %s: %" PRIu64 " slabs on a list that counts %" PRIu64, name, count, list->count);
}
