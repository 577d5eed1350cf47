/*
 * warm.c - what was live before the capture began: its caches and sizes, and the objects that no event ever named.
 *
 * A kfree of a warm object tells no cache. Its slab does, when another object was seen in it; else its call site does,
 * by the cache that most resolved frees of that site named (Boyer & Moore 1981: one majority candidate a site).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

/* A free that nothing tells the size of: the smallest size class. */
#define UNKNOWN_OBJECT_BYTES 8u

struct ballot {
	uint16_t cache;
	uint32_t lead;
};

struct call_sites {
	struct kml_hashmap ballot_of; /* call site -> index */
	IMPORT_VECTOR(struct ballot) ballots;
};

static void destroy_call_sites(struct call_sites *sites)
{
	kml_hashmap_free(&sites->ballot_of);
	free(sites->ballots.items);
}

static bool vote(struct call_sites *sites, uint32_t site, uint16_t cache, struct kml_error *error)
{
	uint32_t index = kml_hashmap_get(&sites->ballot_of, site);

	if (index == KML_HASHMAP_NONE) {
		index = sites->ballots.count;
		if (!import_reserve(&sites->ballots, error) || !kml_hashmap_set(&sites->ballot_of, site, index))
			return kml_fail(error, "out of memory");
		sites->ballots.items[sites->ballots.count++] = (struct ballot){cache, 0};
	}
	struct ballot *ballot = &sites->ballots.items[index];
	if (ballot->cache == cache)
		ballot->lead++;
	else if (ballot->lead == 0)
		*ballot = (struct ballot){cache, 1};
	else
		ballot->lead--;
	return true;
}

static uint16_t elected(const struct call_sites *sites, uint32_t site)
{
	uint32_t index = site == 0 ? KML_HASHMAP_NONE : kml_hashmap_get(&sites->ballot_of, site);

	return index == KML_HASHMAP_NONE ? KMT_NO_CACHE : sites->ballots.items[index].cache;
}

/* Call sites of frees whose objects' caches are known; and of allocations whose caches a free named. */
static bool hold_elections(const struct import *import, struct call_sites *frees, struct call_sites *allocs,
			   struct kml_error *error)
{
	for (uint32_t i = 0; i < import->actions.count; i++) {
		const struct action *action = &import->actions.items[i];

		if ((action->op != KMT_FREE && action->op != KMT_ALLOC) || action->implicit)
			continue;
		const struct lifetime *object = &import->lifetimes.items[action->lifetime];
		uint32_t site = import->events.items[action->event].call_site;
		if (site == 0 || object->cache == KMT_NO_CACHE || object->cache_guessed)
			continue;
		if (!vote(action->op == KMT_FREE ? frees : allocs, site, object->cache, error))
			return false;
	}
	return true;
}

static uint64_t object_bytes_of(const struct import *import, uint16_t cache)
{
	const struct kmt_cache *known = &import->caches.items[cache];

	return known->object_bytes != 0 ? known->object_bytes : known->slot_bytes;
}

static void settle_warm(struct import *import, struct lifetime *object, const struct call_sites *frees)
{
	const struct stored_event *raw = &import->events.items[object->event];

	if (object->cache == KMT_NO_CACHE && (object->flags & KMT_LARGE) == 0) {
		object->cache = import->pointers_hashed ? KMT_NO_CACHE : import_page_warm_cache(import, object->place);
		import_count(import, KMT_QUIRK_CACHE_BY_POINTER, object->cache != KMT_NO_CACHE);
	}
	if (object->cache == KMT_NO_CACHE && (object->flags & KMT_LARGE) == 0) {
		object->cache = elected(frees, raw->call_site);
		import_count(import,
			     object->cache != KMT_NO_CACHE ? KMT_QUIRK_CACHE_BY_CALL_SITE : KMT_QUIRK_CACHE_UNKNOWN, 1);
	}
	bool is_kmalloc =
		object->cache == KMT_NO_CACHE || (import->caches.items[object->cache].flags & KMT_CACHE_KMALLOC) != 0;
	object->flags |= is_kmalloc ? KML_KMALLOC : 0;
	if (object->cache != KMT_NO_CACHE) {
		object->size_bytes = object_bytes_of(import, object->cache);
		object->granted_bytes = import->caches.items[object->cache].slot_bytes;
	}
	if (object->size_bytes == 0)
		object->size_bytes = UNKNOWN_OBJECT_BYTES;
}

bool import_settle_caches(struct import *import, struct kml_error *error)
{
	struct call_sites frees = {0}, allocs = {0};
	bool done = hold_elections(import, &frees, &allocs, error);

	for (uint32_t i = 0; done && i < import->lifetimes.count; i++) {
		struct lifetime *object = &import->lifetimes.items[i];
		if (object->is_page)
			continue;
		if ((object->flags & KMT_WARM) != 0) {
			settle_warm(import, object, &frees);
		} else if (object->cache_guessed) {
			uint16_t cache = elected(&allocs, import->events.items[object->event].call_site);
			object->cache = cache != KMT_NO_CACHE ? cache : object->cache;
		}
	}
	destroy_call_sites(&frees);
	destroy_call_sites(&allocs);
	for (uint32_t i = 0; done && i < import->caches.count; i++)
		import->caches.items[i].object_bytes = object_bytes_of(import, (uint16_t)i);
	return done;
}

/* ---------------------------------------------------------------------- known from the first slabinfo only */

/* Objects of each cache that the events say live at that place in the stream. */
static void count_live(const struct import *import, uint32_t before_event, uint64_t *live)
{
	for (uint32_t i = 0; i < import->warm.count; i++) {
		const struct lifetime *object = &import->lifetimes.items[import->warm.items[i]];
		if (!object->is_page && object->cache != KMT_NO_CACHE)
			live[object->cache]++;
	}
	for (uint32_t i = 0; i < import->actions.count; i++) {
		const struct action *action = &import->actions.items[i];
		if (action->event >= before_event)
			return;
		if (action->op != KMT_ALLOC && action->op != KMT_FREE)
			continue;
		const struct lifetime *object = &import->lifetimes.items[action->lifetime];
		if (object->cache != KMT_NO_CACHE)
			live[object->cache] += action->op == KMT_ALLOC ? 1 : UINT64_MAX;
	}
}

static bool add_unseen(struct import *import, uint16_t cache, uint64_t count, struct kml_error *error)
{
	const struct kmt_cache *known = &import->caches.items[cache];
	bool is_kmalloc = (known->flags & KMT_CACHE_KMALLOC) != 0;
	struct lifetime object = {
		.address = KMT_NO_ADDRESS,
		.size_bytes = known->object_bytes == 0 ? UNKNOWN_OBJECT_BYTES : known->object_bytes,
		.granted_bytes = known->slot_bytes,
		.event = IMPORT_NONE,
		.cache = cache,
		.flags = (uint16_t)(KMT_WARM | KML_CONTIGUOUS | (is_kmalloc ? KML_KMALLOC : 0)),
		.live = true,
	};

	import_count(import, KMT_QUIRK_WARM_UNSEEN, count);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t index = import_add_lifetime(import, &object, error);
		if (index == IMPORT_NONE || !import_reserve(&import->warm, error))
			return false;
		import->warm.items[import->warm.count++] = index;
	}
	return true;
}

static const struct stored_snapshot *first_slabinfo(const struct import *import)
{
	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		if (import->snapshots.items[i].kind == KMT_SNAPSHOT_SLABINFO)
			return &import->snapshots.items[i];
	}
	return NULL;
}

/*
 * Objects that the first slabinfo counts and no event names live through the whole capture. SLUB counts free objects of
 * cpu slabs as active, so this is an upper bound there.
 */
bool import_warm_unseen(struct import *import, struct kml_error *error)
{
	const struct stored_snapshot *snapshot = first_slabinfo(import);
	uint64_t *live = calloc(import->caches.count + 1u, sizeof(*live));
	bool done = true;

	if (live == NULL)
		return kml_fail(error, "out of memory");
	if (snapshot != NULL && !import->origin.at_boot && import->events.count > 0) {
		count_live(import, snapshot->event, live);
		for (uint32_t i = 0; done && i < import->caches.count; i++) {
			uint64_t active = import->caches.items[i].objects_at_start;
			uint64_t there = live[i];
			if (active > there && active - there >= KMT_OBJECTS_MAX / 4)
				done = kml_fail(
					error, "snapshot %s claims %llu objects of %s, more than can be: it is damaged",
					snapshot->label, (unsigned long long)active, import->caches.items[i].name);
			else if (active > there)
				done = add_unseen(import, (uint16_t)i, active - there, error);
		}
	}
	free(live);
	return done;
}
