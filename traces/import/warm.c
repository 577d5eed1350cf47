/*
 * warm.c - what was live before the capture began: its caches and sizes, and the objects that no event ever named.
 *
 * A kfree of a warm object tells no cache. Its slab does, when another object was seen in it (pages.c). Else its call
 * site says which caches it may be of, those that resolved frees of the site had, and the addresses decide: objects of
 * a slab lie on multiples of the slot size from the slab's start, so all unknown objects of one page together must fit.
 * Pages that only one cache fits are settled first: the other pages of that slab are then known too. Of several that
 * fit the most likely is taken: votes of the call sites times the odds of such addresses, which are (slot size / page
 * size) for each object.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/call_sites.h"

/* Call sites of frees whose objects' caches are known; and of allocations whose caches a free named. */
static bool hold_elections(const struct import *import, struct call_sites *frees, struct call_sites *allocs,
			   struct kml_error *error)
{
	for (uint32_t i = 0; i < import->actions.count; i++) {
		const struct action *action = &import->actions.items[i];

		if ((action->op != KMT_FREE && action->op != KMT_ALLOC) || action->implicit)
			continue;
		const struct lifetime *object = &import->lifetimes.items[action->lifetime];
		if (object->cache == KMT_NO_CACHE || object->cache_guessed)
			continue;
		if (!call_sites_vote(action->op == KMT_FREE ? frees : allocs,
				     import->events.items[action->event].call_site, object->cache, error))
			return false;
	}
	return true;
}

static bool is_unknown(const struct lifetime *object)
{
	return object->cache == KMT_NO_CACHE && (object->flags & KMT_LARGE) == 0;
}

/* ----------------------------------------------------------------------- by slab, by call site and address */

/* The unknown objects of one page: `members` index lifetimes. */
struct group {
	const uint32_t *members;
	uint32_t count;
};

static uint32_t site_of(const struct import *import, uint32_t lifetime)
{
	return import->events.items[import->lifetimes.items[lifetime].event].call_site;
}

static bool addresses_fit(const struct import *import, const struct group *group, const struct kmt_cache *cache)
{
	uint64_t slab_bytes = (uint64_t)cache->pages_per_slab << import->page_shift;

	if (slab_bytes == 0 || cache->slot_bytes == 0 || import->pointers_hashed)
		return true;
	for (uint32_t i = 0; i < group->count; i++) {
		uint64_t offset = import->lifetimes.items[group->members[i]].place % slab_bytes;
		if (offset % cache->slot_bytes != 0 || offset + cache->slot_bytes > slab_bytes)
			return false;
	}
	return true;
}

/* The caches that the sites of a page's unknown objects had, each with the votes of all those sites. */
struct candidates {
	struct {
		uint16_t cache;
		uint64_t votes;
	} items[CALL_SITE_CACHES_MAX];
	uint32_t count;
};

static void add_candidate(struct candidates *candidates, const struct call_site_votes *votes)
{
	uint32_t i = 0;

	while (i < candidates->count && candidates->items[i].cache != votes->cache)
		i++;
	if (i == CALL_SITE_CACHES_MAX)
		return;
	if (i == candidates->count) {
		candidates->items[candidates->count].cache = votes->cache;
		candidates->items[candidates->count++].votes = 0;
	}
	candidates->items[i].votes += votes->votes;
}

static void find_candidates(const struct import *import, const struct group *group, const struct call_sites *sites,
			    struct candidates *candidates)
{
	struct call_site_votes list[CALL_SITE_CACHES_MAX];

	candidates->count = 0;
	for (uint32_t i = 0; i < group->count; i++) {
		uint32_t count = call_sites_list(sites, site_of(import, group->members[i]), list);
		for (uint32_t v = 0; v < count; v++)
			add_candidate(candidates, &list[v]);
	}
}

/* The likeliest cache of a page's unknown objects, or KMT_NO_CACHE; *fitting counts those that could be. */
static uint16_t judge_group(const struct import *import, const struct group *group, const struct call_sites *sites,
			    uint32_t *fitting)
{
	struct candidates candidates;
	uint16_t best = KMT_NO_CACHE;
	double best_odds = 0;

	*fitting = 0;
	find_candidates(import, group, sites, &candidates);
	for (uint32_t i = 0; i < candidates.count; i++) {
		const struct kmt_cache *known = &import->caches.items[candidates.items[i].cache];
		if (!addresses_fit(import, group, known))
			continue;
		++*fitting;
		double slot = known->slot_bytes == 0 ? 1 : (double)known->slot_bytes;
		double odds = log((double)candidates.items[i].votes) + group->count * log(slot);
		if (best == KMT_NO_CACHE || odds > best_odds) {
			best = candidates.items[i].cache;
			best_odds = odds;
		}
	}
	return best;
}

static int by_place(const void *left, const void *right)
{
	const struct lifetime *a = *(const struct lifetime *const *)left, *b = *(const struct lifetime *const *)right;

	return a->place < b->place ? -1 : a->place > b->place;
}

/* Unknown warm objects, by address. *count of them; NULL and *error when memory is exhausted. */
static struct lifetime **sort_unknown(struct import *import, uint32_t *count, struct kml_error *error)
{
	struct lifetime **unknown = malloc((import->warm.count + 1u) * sizeof(struct lifetime *));

	*count = 0;
	if (unknown == NULL) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	for (uint32_t i = 0; i < import->warm.count; i++) {
		struct lifetime *object = &import->lifetimes.items[import->warm.items[i]];
		if (object->is_page || !is_unknown(object))
			continue;
		object->cache = import->pointers_hashed ? KMT_NO_CACHE : import_page_warm_cache(import, object->place);
		import_count(import, KMT_QUIRK_CACHE_BY_POINTER, object->cache != KMT_NO_CACHE);
		if (object->cache == KMT_NO_CACHE)
			unknown[(*count)++] = object;
	}
	qsort(unknown, *count, sizeof(struct lifetime *), by_place);
	return unknown;
}

enum settle_pass { SETTLE_CERTAIN, SETTLE_BY_SLAB_OR_ODDS };

/* One page's objects; in the first pass only what no other cache fits. */
static void settle_group(struct import *import, const struct group *group, const struct call_sites *sites,
			 enum settle_pass pass)
{
	struct lifetime *first = &import->lifetimes.items[group->members[0]];
	uint32_t fitting;
	uint16_t cache = judge_group(import, group, sites, &fitting);

	if (pass == SETTLE_CERTAIN && fitting != 1)
		return;
	if (pass == SETTLE_BY_SLAB_OR_ODDS) {
		uint16_t told = import->pointers_hashed ? KMT_NO_CACHE : import_page_warm_cache(import, first->place);
		if (told != KMT_NO_CACHE && addresses_fit(import, group, &import->caches.items[told]))
			cache = told;
	}
	for (uint32_t i = 0; i < group->count; i++)
		import->lifetimes.items[group->members[i]].cache = cache;
	import_count(import, cache != KMT_NO_CACHE ? KMT_QUIRK_CACHE_BY_CALL_SITE : KMT_QUIRK_CACHE_UNKNOWN,
		     group->count);
	if (cache != KMT_NO_CACHE)
		import_page_tell_slab(import, first->place, cache);
}

static void settle_pages(struct import *import, struct lifetime **unknown, uint32_t count, uint32_t *members,
			 const struct call_sites *sites, enum settle_pass pass)
{
	uint32_t end;

	for (uint32_t begin = 0; begin < count; begin = end) {
		uint64_t page = unknown[begin]->place >> import->page_shift;
		for (end = begin; end < count && unknown[end]->place >> import->page_shift == page; end++)
			members[end - begin] = (uint32_t)(unknown[end] - import->lifetimes.items);
		struct group group = {members, end - begin};
		if (unknown[begin]->cache == KMT_NO_CACHE)
			settle_group(import, &group, sites, pass);
	}
}

static bool settle_unknown(struct import *import, const struct call_sites *sites, struct kml_error *error)
{
	uint32_t count;
	struct lifetime **unknown = sort_unknown(import, &count, error);
	uint32_t *members = malloc((import->warm.count + 1u) * sizeof(*members));

	if (unknown == NULL || members == NULL) {
		free(unknown);
		free(members);
		return kml_fail(error, "out of memory");
	}
	settle_pages(import, unknown, count, members, sites, SETTLE_CERTAIN);
	settle_pages(import, unknown, count, members, sites, SETTLE_BY_SLAB_OR_ODDS);
	free(unknown);
	free(members);
	return true;
}

/* ------------------------------------------------------------------------------------------ sizes of caches */

static uint64_t object_bytes_of(const struct import *import, uint16_t cache)
{
	const struct kmt_cache *known = &import->caches.items[cache];

	return known->object_bytes != 0 ? known->object_bytes : known->slot_bytes;
}

static void size_warm(const struct import *import, struct lifetime *object)
{
	if ((object->flags & KMT_LARGE) != 0 || object->cache == KMT_NO_CACHE ||
	    (import->caches.items[object->cache].flags & KMT_CACHE_KMALLOC) != 0)
		object->flags |= KML_KMALLOC;
	if (object->cache != KMT_NO_CACHE) {
		object->size_bytes = object_bytes_of(import, object->cache);
		object->granted_bytes = import->caches.items[object->cache].slot_bytes;
	}
	if (object->size_bytes == 0)
		object->size_bytes = IMPORT_UNKNOWN_OBJECT_BYTES;
}

bool import_settle_caches(struct import *import, struct kml_error *error)
{
	struct call_sites frees = {0}, allocs = {0};
	bool done = hold_elections(import, &frees, &allocs, error) && settle_unknown(import, &frees, error);

	for (uint32_t i = 0; done && i < import->lifetimes.count; i++) {
		struct lifetime *object = &import->lifetimes.items[i];
		if (object->is_page)
			continue;
		if ((object->flags & KMT_WARM) != 0) {
			size_warm(import, object);
		} else if (object->cache_guessed) {
			uint16_t cache = call_sites_favourite(&allocs, import->events.items[object->event].call_site);
			object->cache = cache != KMT_NO_CACHE ? cache : object->cache;
		}
	}
	call_sites_destroy(&frees);
	call_sites_destroy(&allocs);
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

	if (live == NULL)
		return kml_fail(error, "out of memory");
	import->unseen = live;
	if (snapshot == NULL || import->origin.at_boot || import->events.count == 0)
		return true;
	count_live(import, snapshot->event, live);
	for (uint32_t i = 0; i < import->caches.count; i++) {
		uint64_t active = import->caches.items[i].objects_at_start;
		live[i] = active > live[i] ? active - live[i] : 0;
		if (live[i] >= KMT_OBJECTS_MAX / 4)
			return kml_fail(error, "snapshot %s claims %llu objects of %s, more than can be: it is damaged",
					snapshot->label, (unsigned long long)active, import->caches.items[i].name);
		import_count(import, KMT_QUIRK_WARM_UNSEEN, live[i]);
	}
	return true;
}
