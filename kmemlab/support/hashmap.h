/*
 * hashmap.h - the one hash map: 64-bit keys (addresses, hashes of texts) to 32-bit values (indices).
 *
 * Open addressing with linear probing over a power-of-two table at most 5/8 full. A removed entry leaves no mark: the
 * entries that follow it move up (backward shift; Knuth, TAOCP 3, 6.4, algorithm R), so a map in which entries come
 * and go for ever stays as fast as a new one. An entry costs 12 bytes and a lookup about one cache miss. Key 0 may be
 * used. The hash is a bijection: only the table's size makes keys meet.
 */
#ifndef KMEMLAB_HASHMAP_H
#define KMEMLAB_HASHMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/random.h"

/* No value may be this. */
#define KML_HASHMAP_NONE UINT32_MAX

/* Zero-initialised: empty. */
struct kml_hashmap {
	uint64_t *keys;
	uint32_t *values; /* KML_HASHMAP_NONE: the slot is empty */
	uint64_t mask;    /* slots - 1 */
	uint64_t count;
};

static inline uint64_t kml_hash64(uint64_t key)
{
	return random_mix(key + RANDOM_STEP);
}

static inline void kml_hashmap_free(struct kml_hashmap *map)
{
	free(map->keys);
	free(map->values);
	memset(map, 0, sizeof(*map));
}

static inline uint64_t kml_hashmap_slot(const struct kml_hashmap *map, uint64_t key)
{
	uint64_t slot = kml_hash64(key) & map->mask;

	/* The analyser does not see that memset filled the values. */
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
	while (map->values[slot] != KML_HASHMAP_NONE && map->keys[slot] != key)
		slot = (slot + 1) & map->mask;
	return slot;
}

/* The value, or KML_HASHMAP_NONE. */
static inline uint32_t kml_hashmap_get(const struct kml_hashmap *map, uint64_t key)
{
	return map->values == NULL ? KML_HASHMAP_NONE : map->values[kml_hashmap_slot(map, key)];
}

static inline bool kml_hashmap_grow(struct kml_hashmap *map)
{
	uint64_t slots = map->values == NULL ? 64 : (map->mask + 1) * 2;
	struct kml_hashmap bigger = {.mask = slots - 1, .count = map->count};

	bigger.keys = malloc(slots * sizeof(*bigger.keys));
	bigger.values = malloc(slots * sizeof(*bigger.values));
	if (bigger.keys == NULL || bigger.values == NULL) {
		free(bigger.keys);
		free(bigger.values);
		return false;
	}
	memset(bigger.values, 0xff, slots * sizeof(*bigger.values));
	for (uint64_t i = 0; map->values != NULL && i <= map->mask; i++) {
		if (map->values[i] == KML_HASHMAP_NONE)
			continue;
		uint64_t slot = kml_hashmap_slot(&bigger, map->keys[i]);
		bigger.keys[slot] = map->keys[i];
		bigger.values[slot] = map->values[i];
	}
	free(map->keys);
	free(map->values);
	*map = bigger;
	return true;
}

/* Set or replace. false when memory is exhausted. */
static inline bool kml_hashmap_set(struct kml_hashmap *map, uint64_t key, uint32_t value)
{
	if (map->values == NULL || (map->count + 1) * 8 > (map->mask + 1) * 5) {
		if (!kml_hashmap_grow(map))
			return false;
	}
	uint64_t slot = kml_hashmap_slot(map, key);
	map->count += map->values[slot] == KML_HASHMAP_NONE;
	map->keys[slot] = key;
	map->values[slot] = value;
	return true;
}

/* Take a key out; nothing when it is not there. */
static inline void kml_hashmap_remove(struct kml_hashmap *map, uint64_t key)
{
	if (map->values == NULL)
		return;
	uint64_t hole = kml_hashmap_slot(map, key);
	if (map->values[hole] == KML_HASHMAP_NONE)
		return;
	/* An entry moves up into the hole when its own slot does not lie behind the hole. */
	for (uint64_t next = (hole + 1) & map->mask; map->values[next] != KML_HASHMAP_NONE;
	     next = (next + 1) & map->mask) {
		uint64_t home = kml_hash64(map->keys[next]) & map->mask;
		if (((next - home) & map->mask) < ((next - hole) & map->mask))
			continue;
		map->keys[hole] = map->keys[next];
		map->values[hole] = map->values[next];
		hole = next;
	}
	map->values[hole] = KML_HASHMAP_NONE;
	map->count--;
}

#endif
