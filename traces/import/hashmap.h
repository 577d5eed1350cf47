/*
 * hashmap.h - the index of the import: 64-bit keys (addresses, hashes of texts) to 32-bit values (indices).
 *
 * Millions of keys that only ever come; where entries go again the project uses uthash.
 *
 * Open addressing with linear probing over a power-of-two table at most 5/8 full; keys are never removed (the users
 * keep the state of what they index beside it). An entry costs 12 bytes and a lookup about one cache miss, where a
 * node-based map (uthash) costs an allocation and three. Key 0 may be used. The hash is the finaliser of
 * splitmix64 (Steele, Lea & Flood 2014), a bijection: only the table's size makes keys meet.
 */
#ifndef KMEMLAB_IMPORT_HASHMAP_H
#define KMEMLAB_IMPORT_HASHMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
	key += 0x9e3779b97f4a7c15u;
	key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
	key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
	return key ^ (key >> 31);
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

#endif
