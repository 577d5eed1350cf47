/*
 * caches.c - the cache table: names of events, geometry of the first /proc/slabinfo, and the size classes of kmalloc.
 *
 * A kmalloc event names no cache (but on instrumented kernels). Its class is told by the bytes granted, its family by
 * the gfp flags, as kmalloc_type() does (include/linux/slab.h): DMA, else reclaimable, else charged to a cgroup, else
 * normal. A family that the kernel does not have (no such name in slabinfo) is the normal one's.
 * Before 5.19 kmem_cache_alloc named no cache either: one is guessed by the sizes until a free of the object names it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"
#include "traces/proc/cache_names.h"

/* The table's last two indices mean "none" and "not known yet" in pages.c. */
#define CACHES_MAX (KMT_CACHES_MAX - 2u)

enum family { FAMILY_NORMAL, FAMILY_RECLAIMABLE, FAMILY_CGROUP, FAMILY_DMA, FAMILIES };

bool import_names_a_cache(const struct import *import, uint32_t name)
{
	return name != IMPORT_NONE && import->names.items[name][0] != '\0' && !import_name_is(import, name, "-") &&
	       !import_name_is(import, name, "large") && !import_name_is(import, name, "slob");
}

static uint16_t find_cache(const struct import *import, uint32_t name)
{
	uint32_t index = kml_hashmap_get(&import->cache_of_name, name);

	return index == KML_HASHMAP_NONE ? KMT_NO_CACHE : (uint16_t)index;
}

bool import_cache_named(struct import *import, uint32_t name, uint16_t *cache, struct kml_error *error)
{
	*cache = find_cache(import, name);
	if (*cache != KMT_NO_CACHE)
		return true;
	if (import->caches.count >= CACHES_MAX)
		return kml_fail(error, "the trace names more than %u caches: is it damaged?", CACHES_MAX);
	if (!import_reserve(&import->caches, error) ||
	    !kml_hashmap_set(&import->cache_of_name, name, import->caches.count))
		return kml_fail(error, "out of memory");
	import->caches.items[import->caches.count] = (struct kmt_cache){.name = import->names.items[name]};
	*cache = (uint16_t)import->caches.count++;
	return true;
}

static bool cache_with_name(struct import *import, const char *text, uint16_t *cache, struct kml_error *error)
{
	uint32_t name = import_name(import, text, strlen(text), error);

	return name != IMPORT_NONE && import_cache_named(import, name, cache, error);
}

/* Whether a cache of that name is in the table already. */
static bool known_cache(struct import *import, const char *text, uint16_t *cache, struct kml_error *error)
{
	uint32_t name = import_name(import, text, strlen(text), error);

	*cache = name == IMPORT_NONE ? KMT_NO_CACHE : find_cache(import, name);
	return *cache != KMT_NO_CACHE;
}

/* --------------------------------------------------------------------------------------- /proc/slabinfo */

bool import_cache_of_slabinfo(struct import *import, const struct slabinfo_line *line, uint16_t *index,
			      struct kml_error *error)
{
	if (!cache_with_name(import, line->name, index, error))
		return false;
	struct kmt_cache *cache = &import->caches.items[*index];
	cache->slot_bytes = line->slot_bytes;
	cache->objects_per_slab = line->objects_per_slab;
	cache->pages_per_slab = line->pages_per_slab;
	cache->slabs_at_start = line->slabs;
	cache->objects_at_start = line->active_objects;
	if (cache_name_is_kmalloc(line->name)) {
		cache->flags |= KMT_CACHE_KMALLOC;
		cache->object_bytes = line->slot_bytes;
	}
	return true;
}

static const struct stored_snapshot *first_slabinfo(const struct import *import)
{
	const struct stored_snapshot *first = NULL;

	/* Snapshots are in stream order by now. */
	for (uint32_t i = 0; i < import->snapshots.count && first == NULL; i++) {
		if (import->snapshots.items[i].kind == KMT_SNAPSHOT_SLABINFO)
			first = &import->snapshots.items[i];
	}
	return first;
}

bool import_caches_from_slabinfo(struct import *import, struct kml_error *error)
{
	const struct stored_snapshot *snapshot = first_slabinfo(import);
	struct slabinfo_line line;
	enum slabinfo_kind kind;
	uint16_t cache;

	if (snapshot == NULL)
		return true;
	for (const char *text = snapshot->text; (kind = slabinfo_read(&text, &line)) != SLABINFO_END;) {
		if (kind == SLABINFO_DAMAGED)
			import_count(import, KMT_QUIRK_MALFORMED, 1);
		else if (kind == SLABINFO_CACHE && !import_cache_of_slabinfo(import, &line, &cache, error))
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------------------------- caches of events */

static enum family family_of(const struct stored_event *event)
{
	if ((event->gfp & RAW_GFP_DMA) != 0)
		return FAMILY_DMA;
	if ((event->gfp & RAW_GFP_RECLAIMABLE) != 0)
		return FAMILY_RECLAIMABLE;
	return event->accounted || (event->gfp & RAW_GFP_ACCOUNT) != 0 ? FAMILY_CGROUP : FAMILY_NORMAL;
}

static bool is_class(uint64_t bytes)
{
	return bytes >= 8 && ((bytes & (bytes - 1)) == 0 || bytes == 96 || bytes == 192);
}

/* "kmalloc-4k" since 5.4, "kmalloc-4096" before, "size-4096" of SLAB before 3.9: what is in the table, or none. */
static bool find_class(struct import *import, enum family family, uint64_t bytes, uint16_t *cache,
		       struct kml_error *error)
{
	static const char *const prefixes[FAMILIES] = {"kmalloc-", "kmalloc-rcl-", "kmalloc-cg-", "dma-kmalloc-"};
	static const char *const prefixes_of_old[FAMILIES] = {"size-", "size-", "size-", "size-"};
	char text[64];

	if (bytes >= 1024 && bytes % 1024 == 0) {
		bool mega = bytes >= 1 << 20 && bytes % (1 << 20) == 0;
		snprintf(text, sizeof(text), "%s%" PRIu64 "%c", prefixes[family], bytes >> (mega ? 20 : 10),
			 mega ? 'M' : 'k');
		if (known_cache(import, text, cache, error))
			return true;
	}
	snprintf(text, sizeof(text), "%s%" PRIu64, prefixes[family], bytes);
	if (known_cache(import, text, cache, error))
		return true;
	snprintf(text, sizeof(text), "%s%" PRIu64, prefixes_of_old[family], bytes);
	return known_cache(import, text, cache, error);
}

/* No slabinfo tells which families there are: all kmallocs of a size are one class. */
static bool add_class(struct import *import, uint64_t bytes, uint16_t *cache, struct kml_error *error)
{
	char text[64];

	snprintf(text, sizeof(text), bytes >= 1024 ? "kmalloc-%" PRIu64 "k" : "kmalloc-%" PRIu64,
		 bytes >= 1024 ? bytes >> 10 : bytes);
	if (!cache_with_name(import, text, cache, error))
		return false;
	struct kmt_cache *class = &import->caches.items[*cache];
	class->object_bytes = class->slot_bytes = bytes;
	class->flags |= KMT_CACHE_KMALLOC;
	return true;
}

static bool cache_of_kmalloc(struct import *import, const struct stored_event *event, uint16_t *cache, bool *large,
			     struct kml_error *error)
{
	enum family family = family_of(event);
	uint64_t bytes = event->bytes_allocated;
	uint64_t key = bytes << 2 | family;
	uint64_t classes_end = 2ull * import_page_bytes(import);
	uint32_t known = kml_hashmap_get(&import->cache_of_class, key);

	if (known == KML_HASHMAP_NONE) {
		bool found = find_class(import, family, bytes, cache, error) ||
			     find_class(import, FAMILY_NORMAL, bytes, cache, error);
		if (!found && is_class(bytes) && bytes <= classes_end && !add_class(import, bytes, cache, error))
			return false;
		if (!kml_hashmap_set(&import->cache_of_class, key, *cache))
			return kml_fail(error, "out of memory");
		known = *cache;
	}
	*cache = (uint16_t)known;
	/* SLUB's classes end at two pages, SLAB's at what its slabinfo shows. */
	*large = *cache == KMT_NO_CACHE && bytes > classes_end;
	return true;
}

/* An allocation from a cache that the event does not name: those of the same sizes are taken for one. */
static bool guess_cache(struct import *import, const struct stored_event *event, uint16_t *cache,
			struct kml_error *error)
{
	char text[80];

	snprintf(text, sizeof(text), "unnamed-%" PRIu64 "-%" PRIu64, event->bytes_requested, event->bytes_allocated);
	uint64_t key = kml_hash64(event->bytes_requested) ^ event->bytes_allocated;
	uint32_t known = kml_hashmap_get(&import->cache_of_size, key);
	if (known == KML_HASHMAP_NONE) {
		if (!cache_with_name(import, text, cache, error))
			return false;
		if (!kml_hashmap_set(&import->cache_of_size, key, *cache))
			return kml_fail(error, "out of memory");
		return true;
	}
	*cache = (uint16_t)known;
	return true;
}

bool import_cache_of_event(struct import *import, const struct stored_event *event, uint16_t *cache, bool *large,
			   bool *guessed, struct kml_error *error)
{
	bool is_kmalloc = event->kind == RAW_KMALLOC;

	*large = is_kmalloc && import_name_is(import, event->name, "large");
	*guessed = false;
	*cache = KMT_NO_CACHE;
	if (*large)
		return true;
	if (!import_names_a_cache(import, event->name)) {
		*guessed = !is_kmalloc;
		if (is_kmalloc && event->name != IMPORT_NONE)
			return true; /* SLOB has no classes */
		if (is_kmalloc)
			return cache_of_kmalloc(import, event, cache, large, error);
		if (!guess_cache(import, event, cache, error))
			return false;
	} else if (!import_cache_named(import, event->name, cache, error)) {
		return false;
	}
	struct kmt_cache *named = &import->caches.items[*cache];
	if (is_kmalloc)
		named->flags |= KMT_CACHE_KMALLOC;
	if (named->object_bytes == 0)
		named->object_bytes = is_kmalloc ? event->bytes_allocated : event->bytes_requested;
	if (named->slot_bytes == 0)
		named->slot_bytes = event->bytes_allocated;
	return true;
}
