/*
 * guard.c - red zones and poison. See guard.h.
 *
 * Invariant of a guarded slab: every slot that is granted has its zones as they are of a granted object, every other
 * one the zones and the contents of a free one; paddings are 0x5a.
 */
#include "allocators/slab/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "allocators/slab/vmalloc.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/round.h"

/* include/linux/poison.h */
enum {
	RED_INACTIVE = 0xbb, /* SLUB_RED_INACTIVE */
	RED_ACTIVE = 0xcc,   /* SLUB_RED_ACTIVE */
	POISON_INUSE = 0x5a,
	POISON_FREE = 0x6b,
	POISON_END = 0xa5,
};

enum { WORD_BYTES = 8 };

const char *const guard_names[] = {"off", "red_zone", "poison", "on", NULL};

/* ----------------------------------------------------------------------------------------------------- the layout */

/* The end of the right zone (s->inuse), of an object that begins at 0: up to the word, and a word where that is none.
 */
static uint64_t zone_end(uint64_t object_bytes, enum guard guards)
{
	uint64_t end = kml_round_up(object_bytes, WORD_BYTES);
	return (guards & GUARD_RED_ZONE) && end == object_bytes ? end + WORD_BYTES : end;
}

/* s->red_left_pad */
static uint64_t left_zone_bytes(uint64_t align_bytes, enum guard guards)
{
	return guards & GUARD_RED_ZONE ? kml_round_up(WORD_BYTES, align_bytes > WORD_BYTES ? align_bytes : WORD_BYTES)
				       : 0;
}

struct kml_cache guard_description(const struct kml_cache *description, enum guard guards)
{
	struct kml_cache guarded = *description;
	if (guards == GUARD_OFF)
		return guarded;
	guarded.object_bytes = left_zone_bytes(description->align_bytes, guards) +
			       zone_end(description->object_bytes, guards) +
			       (guards & GUARD_RED_ZONE ? WORD_BYTES : 0); /* the padding */
	guarded.has_constructor = true;
	guarded.recorded_slot_bytes = 0; /* of a kernel without guards */
	return guarded;
}

void guard_open(struct slab_cache *cache, enum guard guards)
{
	if (guards == GUARD_OFF)
		return;
	const struct kml_cache *description = &cache->cache.description;
	bool keeps_contents = description->has_constructor || description->typesafe_by_rcu;
	cache->guards = (uint8_t)guards;
	cache->has_poison = (guards & GUARD_POISON) && !keeps_contents;
	cache->object_offset = left_zone_bytes(description->align_bytes, guards);
	cache->zone_end = zone_end(cache->cache.object_bytes, guards);
	cache->link_offset = cache->zone_end;
	cache->cache.is_guarded = true;
	cache->cache.heap->has_guards = true;
}

/* ------------------------------------------------------------------------------------------------------- the zones */

/* Bytes of one value, relative to the object, or to the slab for its padding. */
struct zone {
	const char *name;
	int64_t start;
	uint64_t size_bytes;
	uint8_t value;
	uint8_t last; /* the value of the last byte */
};

enum { ZONES = 4 };

static void add_zone(struct zone *zones, uint32_t *count, const char *name, int64_t start, int64_t end, uint8_t value)
{
	if (end > start)
		zones[(*count)++] = (struct zone){name, start, (uint64_t)(end - start), value, value};
}

/* What must be there around and in an object, in the order of addresses. */
static uint32_t zones_of(const struct slab_cache *cache, bool granted, struct zone *zones)
{
	int64_t object_bytes = (int64_t)cache->cache.object_bytes, end = (int64_t)cache->zone_end;
	int64_t slot_end = (int64_t)(cache->slot_bytes - cache->object_offset);
	uint8_t red = granted ? RED_ACTIVE : RED_INACTIVE;
	uint32_t count = 0;
	if (cache->guards & GUARD_RED_ZONE)
		add_zone(zones, &count, "left red zone", -(int64_t)cache->object_offset, 0, red);
	if (cache->has_poison && !granted) {
		add_zone(zones, &count, "poison", 0, object_bytes, POISON_FREE);
		zones[count - 1].last = POISON_END;
	}
	if (cache->guards & GUARD_RED_ZONE)
		add_zone(zones, &count, "right red zone", object_bytes, end, red);
	else
		add_zone(zones, &count, "alignment padding", object_bytes, end, POISON_INUSE);
	if (cache->guards & GUARD_POISON)
		add_zone(zones, &count, "padding", end + (cache->has_own_index ? 0 : WORD_BYTES), slot_end,
			 POISON_INUSE);
	return count;
}

static void fill_zone(uint8_t *origin, const struct zone *zone)
{
	memset(origin + zone->start, zone->value, zone->size_bytes - 1);
	origin[zone->start + (int64_t)zone->size_bytes - 1] = zone->last;
}

/* All bytes are one value when each is as the one before it. */
static bool is_intact(const uint8_t *origin, const struct zone *zone)
{
	const uint8_t *at = origin + zone->start;
	uint64_t last = zone->size_bytes - 1;
	return at[last] == zone->last && (last == 0 || (at[0] == zone->value && memcmp(at, at + 1, last - 1) == 0));
}

/* The offset of the first byte that is not as it must be; false when all are. */
static bool find_damage(const uint8_t *origin, const struct zone *zone, int64_t *offset)
{
	if (is_intact(origin, zone))
		return false;
	int64_t last = zone->start + (int64_t)zone->size_bytes - 1;
	for (int64_t at = zone->start; at <= last; at++)
		if (origin[at] != (at == last ? zone->last : zone->value)) {
			*offset = at;
			return true;
		}
	return false;
}

static void fill_object(const struct slab *slab, uint64_t object, bool granted)
{
	struct zone zones[ZONES];
	uint32_t count = zones_of(slab->cache, granted, zones);
	for (uint32_t i = 0; i < count; i++)
		fill_zone(object_memory(slab->cache->cache.heap, object), &zones[i]);
}

static bool is_damaged(const struct slab *slab, uint64_t object, bool granted)
{
	struct zone zones[ZONES];
	uint32_t count = zones_of(slab->cache, granted, zones);
	for (uint32_t i = 0; i < count; i++)
		if (!is_intact(object_memory(slab->cache->cache.heap, object), &zones[i]))
			return true;
	return false;
}

/* Behind the last slot, where no management is. */
static bool tail_of(const struct slab *slab, struct zone *zone)
{
	const struct slab_cache *cache = slab->cache;
	uint64_t start = slab->first - slab->address + slab->objects * cache->slot_bytes;
	uint64_t end = slab->used_bytes - cache->trailer_bytes;
	if (!(cache->guards & GUARD_POISON) || cache->index_bytes > 0 || start >= end)
		return false;
	*zone = (struct zone){"padding", (int64_t)start, end - start, POISON_INUSE, POISON_INUSE};
	return true;
}

/* ---------------------------------------------------------------------------------------------------- create, check */

void guard_slab_created(const struct slab *slab)
{
	struct zone zones[ZONES], tail;
	uint32_t count = zones_of(slab->cache, false, zones);
	for (uint32_t slot = 0; slot < slab->objects; slot++)
		for (uint32_t i = 0; i < count; i++)
			fill_zone(object_memory(slab->cache->cache.heap, slab_object(slab, slot)), &zones[i]);
	if (tail_of(slab, &tail))
		fill_zone(object_memory(slab->cache->cache.heap, slab->address), &tail);
}

enum kml_status guard_check_taken(const struct object_place *place)
{
	const struct slab *slab = place->run;
	if (is_damaged(slab, place->address, false)) {
		fill_object(slab, place->address, false);
		return KML_POISON;
	}
	fill_object(slab, place->address, true);
	return KML_OK;
}

enum kml_status guard_check_given(const struct object_place *place)
{
	const struct slab *slab = place->run;
	if (is_damaged(slab, place->address, true)) {
		fill_object(slab, place->address, true);
		return KML_RED_ZONE;
	}
	fill_object(slab, place->address, KML_PLANTED(guard_free_not_poisoned));
	return KML_OK;
}

/* --------------------------------------------------------------------------------------------------------- validate */

/* The list of damages, as far as the error has room. */
struct findings {
	const struct object_heap *heap;
	struct kml_error text;
	size_t length;
	uint64_t count, unnamed;
};

enum { ROOM_FOR_THE_REST = 32 };

static void add_finding(struct findings *findings, const struct slab *slab, const char *of, uint64_t address,
			const struct zone *zone, int64_t offset)
{
	char text[256];
	const uint8_t *origin = object_memory(findings->heap, address);
	uint8_t expected = offset == zone->start + (int64_t)zone->size_bytes - 1 ? zone->last : zone->value;
	int length = snprintf(text, sizeof(text),
			      "%scache %s, %s of the %s at %" PRIu64 ": byte %" PRId64 " is 0x%02x, not 0x%02x",
			      findings->count > 0 ? "; " : "", slab->cache->cache.description.name, zone->name, of,
			      address, offset, origin[offset], expected);
	findings->count++;
	size_t room = sizeof(findings->text.text) - ROOM_FOR_THE_REST - findings->length;
	if (findings->unnamed > 0 || length < 0 || (size_t)length >= sizeof(text) || (size_t)length >= room) {
		findings->unnamed++;
		return;
	}
	memcpy(findings->text.text + findings->length, text, (size_t)length + 1);
	findings->length += (size_t)length;
}

static void check_slab(struct findings *findings, const struct slab *slab)
{
	struct zone zones[2][ZONES], tail; /* of a free object, of a granted one */
	const uint32_t counts[2] = {zones_of(slab->cache, false, zones[0]), zones_of(slab->cache, true, zones[1])};
	int64_t offset;
	for (uint32_t slot = 0; slot < slab->objects; slot++) {
		uint64_t object = slab_object(slab, slot);
		bool granted = slab_is_granted(slab, slot);
		for (uint32_t i = 0; i < counts[granted]; i++)
			if (find_damage(object_memory(findings->heap, object), &zones[granted][i], &offset))
				add_finding(findings, slab, "object", object, &zones[granted][i], offset);
	}
	if (tail_of(slab, &tail) && find_damage(object_memory(findings->heap, slab->address), &tail, &offset))
		add_finding(findings, slab, "slab", slab->address, &tail, offset);
}

static bool check_run(void *context, const struct kml_block *block)
{
	struct findings *findings = context;
	if (block->state != KML_BLOCK_GRANTED)
		return true;
	void *owner = kml_arena_page(findings->heap->arena, block->address)->owner;
	const struct slab *slab = owner == VMALLOC_OWNER ? NULL : owner;
	if (slab != NULL && slab->cache->guards != GUARD_OFF)
		check_slab(findings, slab);
	return true;
}

bool guard_validate(const struct object_heap *heap, struct kml_error *error)
{
	struct findings findings = {.heap = heap};
	heap->backing->allocator->walk(heap->backing, check_run, &findings);
	if (findings.count == 0)
		return true;
	if (findings.unnamed > 0)
		snprintf(findings.text.text + findings.length, ROOM_FOR_THE_REST, "; and %" PRIu64 " more",
			 findings.unnamed);
	return kml_fail(error, "%s", findings.text.text);
}
