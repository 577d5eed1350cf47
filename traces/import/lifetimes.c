/*
 * lifetimes.c - pairs allocations with frees: from raw events to lifetimes, and to what happens to them when.
 *
 * One pass in time order with one map from pointers to the latest lifetime there. Kernel quirks met here, each counted:
 *   kfree(NULL)                      dropped
 *   an allocation at a live address  proves that the object there was freed without a trace: freed just before it
 *   a free of an unknown object      it was live before the capture began: a warm object
 *   a free of what is free already   its allocation left no trace (bulk allocations do not): dropped
 *   a free that names another cache  caches were merged: the allocation's name stays
 * Pages follow the same rules in pages.c. O(n), 48 bytes a lifetime and 16 an action.
 */
#include <stdio.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/import/internal.h"

bool import_add_action(struct import *import, uint32_t event, enum kmt_op op, uint32_t lifetime, bool implicit,
		       struct kml_error *error)
{
	if (!import_reserve(&import->actions, error))
		return false;
	import->actions.items[import->actions.count++] = (struct action){event, lifetime, (uint8_t)op, implicit};
	return true;
}

uint32_t import_add_lifetime(struct import *import, const struct lifetime *lifetime, struct kml_error *error)
{
	if (!import_reserve(&import->lifetimes, error))
		return IMPORT_NONE;
	import->lifetimes.items[import->lifetimes.count] = *lifetime;
	return import->lifetimes.count++;
}

/* The live or dead lifetime last seen at a pointer, or NULL. */
static struct lifetime *at_pointer(const struct import *import, uint64_t pointer, uint32_t *index)
{
	*index = kml_hashmap_get(&import->lifetime_of_pointer, pointer);
	return *index == KML_HASHMAP_NONE ? NULL : &import->lifetimes.items[*index];
}

static bool set_pointer(struct import *import, uint64_t pointer, uint32_t index, struct kml_error *error)
{
	return kml_hashmap_set(&import->lifetime_of_pointer, pointer, index) || kml_fail(error, "out of memory");
}

static bool end(struct import *import, uint32_t event, uint32_t index, bool implicit, struct kml_error *error)
{
	struct lifetime *object = &import->lifetimes.items[index];

	object->live = false;
	return import_page_sees_object(import, object, -1, error) &&
	       import_add_action(import, event, KMT_FREE, index, implicit, error);
}

bool import_free_untraced(struct import *import, uint32_t event, uint32_t lifetime, struct kml_error *error)
{
	import_count(import, KMT_QUIRK_IMPLICIT_FREE, 1);
	return end(import, event, lifetime, true, error);
}

static uint16_t flags_of(const struct stored_event *event)
{
	uint32_t flags = KML_CONTIGUOUS;

	flags |= (event->gfp & RAW_GFP_MOVABLE) != 0 ? KML_MOVABLE : 0;
	flags |= (event->gfp & RAW_GFP_RECLAIMABLE) != 0 ? KML_RECLAIMABLE : 0;
	flags |= (event->gfp & RAW_GFP_ATOMIC) != 0 ? KML_ATOMIC : 0;
	flags |= (event->gfp & RAW_GFP_ZERO) != 0 ? KML_ZEROED : 0;
	flags |= (event->gfp & RAW_GFP_DMA) != 0 ? KML_DMA : 0;
	flags |= event->accounted || (event->gfp & RAW_GFP_ACCOUNT) != 0 ? KMT_ACCOUNTED : 0;
	flags |= event->kind == RAW_KMALLOC ? KML_KMALLOC : 0;
	return (uint16_t)flags;
}

static bool object_alloc(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	uint32_t index;
	bool large;

	/* There was no memory to give, or none was asked for: nothing was allocated. */
	if (raw->place <= IMPORT_ZERO_SIZE_PTR) {
		import_count(import, KMT_QUIRK_FAILED_ALLOC, raw->place == 0);
		return true;
	}
	const struct lifetime *before = at_pointer(import, raw->place, &index);
	if (before != NULL && before->live && !import_free_untraced(import, event, index, error))
		return false;
	struct lifetime object = {
		.address = import_physical(import, raw->place),
		.place = raw->place,
		.size_bytes = raw->bytes_requested == 0 ? 1 : raw->bytes_requested,
		.granted_bytes = raw->bytes_allocated,
		.event = event,
		.flags = flags_of(raw),
		.align_log2 = raw->kind == RAW_KMALLOC ? raw->order : 0,
		.live = true,
	};
	if (!import_cache_of_event(import, raw, &object.cache, &large, &object.cache_guessed, error))
		return false;
	if (large) {
		object.flags |= KMT_LARGE;
		import_page_is_large(import, raw->place);
	}
	import_count(import, KMT_QUIRK_ACCOUNTED, (object.flags & KMT_ACCOUNTED) != 0);
	index = import_add_lifetime(import, &object, error);
	return index != IMPORT_NONE && set_pointer(import, raw->place, index, error) &&
	       import_page_sees_object(import, &object, 1, error) &&
	       import_add_action(import, event, KMT_ALLOC, index, false, error);
}

/* What a free says of its object's cache: by name, by the slab the pointer lies in, or nothing. */
static bool cache_of_free(struct import *import, const struct stored_event *raw, uint16_t *cache,
			  struct kml_error *error)
{
	if (import_names_a_cache(import, raw->name))
		return import_cache_named(import, raw->name, cache, error);
	*cache = import->pointers_hashed ? KMT_NO_CACHE : import_page_cache(import, raw->place);
	import_count(import, KMT_QUIRK_CACHE_BY_POINTER, *cache != KMT_NO_CACHE);
	return true;
}

/* It was live before the capture began; its size is known once its cache is (warm.c). */
static bool free_warm(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	struct lifetime object = {
		.address = import_physical(import, raw->place),
		.place = raw->place,
		.event = event,
		.flags = KMT_WARM | KML_CONTIGUOUS,
	};

	import_count(import, KMT_QUIRK_UNMATCHED_FREE, 1);
	if (!cache_of_free(import, raw, &object.cache, error))
		return false;
	if (raw->kind == RAW_KFREE && import_name_is(import, raw->name, "large"))
		object.flags |= KMT_LARGE;
	uint32_t index = import_add_lifetime(import, &object, error);
	if (index == IMPORT_NONE || !import_reserve(&import->warm, error))
		return false;
	import->warm.items[import->warm.count++] = index;
	return set_pointer(import, raw->place, index, error) && import_page_sees_object(import, &object, 0, error) &&
	       import_add_action(import, event, KMT_FREE, index, false, error);
}

/* The free of a live object tells, or confirms, its cache. */
static bool compare_caches(struct import *import, const struct stored_event *raw, struct lifetime *object,
			   struct kml_error *error)
{
	uint16_t named;

	if (!import_names_a_cache(import, raw->name)) {
		import_count(import, KMT_QUIRK_CACHE_BY_POINTER, raw->name == IMPORT_NONE);
		return true;
	}
	if (!import_cache_named(import, raw->name, &named, error))
		return false;
	if (object->cache_guessed) {
		object->cache = named;
		object->cache_guessed = false;
	}
	import_count(import, KMT_QUIRK_CACHE_MISMATCH, object->cache != KMT_NO_CACHE && object->cache != named);
	return true;
}

static bool object_free(struct import *import, uint32_t event, struct kml_error *error)
{
	const struct stored_event *raw = &import->events.items[event];
	uint32_t index;

	if (raw->place <= IMPORT_ZERO_SIZE_PTR) {
		import_count(import, KMT_QUIRK_NULL_FREE, 1);
		return true;
	}
	struct lifetime *object = at_pointer(import, raw->place, &index);
	if (object == NULL)
		return free_warm(import, event, error);
	if (!object->live && !KML_PLANTED(lifetime_ends_twice)) {
		import_count(import, KMT_QUIRK_UNTRACED_ALLOC, 1);
		return true;
	}
	import_count(import, KMT_QUIRK_KFREE_OF_CACHE, raw->kind == RAW_KFREE && (object->flags & KML_KMALLOC) == 0);
	return compare_caches(import, raw, object, error) && end(import, event, index, false, error);
}

static bool rcu_free(struct import *import, uint32_t event, struct kml_error *error)
{
	uint32_t index;
	struct lifetime *object = at_pointer(import, import->events.items[event].place, &index);

	if (object == NULL || object->live || object->rcu_delayed)
		return true;
	object->rcu_delayed = true;
	return import_add_action(import, event, KMT_RCU_FREE, index, false, error);
}

/* A cache may be drained that no other event names: the table must know it before the first event is written. */
static bool drain(struct import *import, uint32_t event, struct kml_error *error)
{
	uint32_t name = import->events.items[event].name;
	uint16_t cache;

	if (import_names_a_cache(import, name) && !import_cache_named(import, name, &cache, error))
		return false;
	return import_add_action(import, event, KMT_REAP, IMPORT_NONE, false, error);
}

/* "... PHASE_BEGIN 11 shrink ...": every cache was shrunk now, through /sys/kernel/slab. No event of the kernel's says
 * so.
 */
static bool begins_shrink(const struct import *import, const struct stored_event *raw)
{
	const char *text = raw->name == IMPORT_NONE ? "" : import->names.items[raw->name];
	const char *phase = strstr(text, "PHASE_BEGIN ");
	char word[16];

	return phase != NULL && sscanf(phase, "PHASE_BEGIN %*u %15s", word) == 1 && strcmp(word, "shrink") == 0;
}

static bool mark(struct import *import, uint32_t event, struct kml_error *error)
{
	if (!import_add_action(import, event, KMT_MARK, IMPORT_NONE, false, error))
		return false;
	return !begins_shrink(import, &import->events.items[event]) ||
	       import_add_action(import, event, KMT_SHRINK, IMPORT_NONE, false, error);
}

static bool pair_event(struct import *import, uint32_t event, struct kml_error *error)
{
	switch ((enum raw_kind)import->events.items[event].kind) {
	case RAW_CACHE_ALLOC:
	case RAW_KMALLOC:
		return object_alloc(import, event, error);
	case RAW_CACHE_FREE:
	case RAW_KFREE:
		return object_free(import, event, error);
	case RAW_PAGE_ALLOC:
		return import_page_alloc(import, event, error);
	case RAW_PAGE_FREE:
		return import_page_free(import, event, error);
	case RAW_SLAB_PAGE_ALLOC:
		return import_slab_page_alloc(import, event, error);
	case RAW_SLOB_RCU_FREE:
		return rcu_free(import, event, error);
	case RAW_SLAB_DRAIN:
		return drain(import, event, error);
	case RAW_MARK:
		return mark(import, event, error);
	default:
		return true;
	}
}

bool import_pair(struct import *import, struct kml_error *error)
{
	for (uint32_t event = 0; event < import->events.count; event++) {
		if (!pair_event(import, event, error))
			return false;
	}
	return true;
}
