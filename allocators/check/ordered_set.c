/*
 * ordered_set.c - a 64-ary tree of bits. See ordered_set.h.
 *
 * Invariant: bit i of level n + 1 is set exactly when word i of level n is not 0.
 */
#include "allocators/check/ordered_set.h"

#include <stddef.h>

#include "kmemlab/support/reserve.h"

#define WORD_SHIFT 6u
#define WORD_MASK 63u
#define LEVELS_MAX 11u /* 64^11 > 2^64 */

struct kml_ordered_set {
	uint32_t level_count;
	uint64_t *level[LEVELS_MAX];
	uint64_t words[LEVELS_MAX];
	void *memory;
	uint64_t memory_bytes;
};

struct kml_ordered_set *kml_ordered_set_create(uint64_t limit)
{
	struct kml_ordered_set *set = kml_reserve(sizeof(*set));
	if (set == NULL)
		return NULL;

	uint64_t word_count = 0;
	for (uint64_t bits = limit; set->level_count == 0 || bits > 1;) {
		bits = (bits >> WORD_SHIFT) + ((bits & WORD_MASK) != 0);
		set->words[set->level_count++] = bits;
		word_count += bits;
	}

	set->memory_bytes = word_count * sizeof(uint64_t);
	set->memory = kml_reserve(set->memory_bytes);
	if (set->memory == NULL) {
		kml_unreserve(set, sizeof(*set));
		return NULL;
	}
	uint64_t *next = set->memory;
	for (uint32_t level = 0; level < set->level_count; level++) {
		set->level[level] = next;
		next += set->words[level];
	}
	return set;
}

void kml_ordered_set_destroy(struct kml_ordered_set *set)
{
	if (set == NULL)
		return;
	if (set->level[set->level_count - 1][0] == 0)
		kml_unreserve_zero(set->memory, set->memory_bytes);
	else
		kml_unreserve(set->memory, set->memory_bytes);
	kml_unreserve(set, sizeof(*set));
}

void kml_ordered_set_add(struct kml_ordered_set *set, uint64_t value)
{
	for (uint32_t level = 0; level < set->level_count; level++) {
		set->level[level][value >> WORD_SHIFT] |= 1ull << (value & WORD_MASK);
		value >>= WORD_SHIFT;
	}
}

void kml_ordered_set_remove(struct kml_ordered_set *set, uint64_t value)
{
	for (uint32_t level = 0; level < set->level_count; level++) {
		uint64_t *word = &set->level[level][value >> WORD_SHIFT];
		*word &= ~(1ull << (value & WORD_MASK));
		if (*word != 0)
			return;
		value >>= WORD_SHIFT;
	}
}

/* The bits of a word at or below, at or above a position. */
static uint64_t bits_up_to(uint64_t word, unsigned bit)
{
	return word & (~0ull >> (WORD_MASK - bit));
}

static uint64_t bits_from(uint64_t word, unsigned bit)
{
	return word & (~0ull << bit);
}

static unsigned highest_bit(uint64_t word)
{
	return WORD_MASK - (unsigned)__builtin_clzll(word);
}

static unsigned lowest_bit(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

uint64_t kml_ordered_set_previous(const struct kml_ordered_set *set, uint64_t value)
{
	uint32_t level = 0;
	uint64_t found;
	while ((found = bits_up_to(set->level[level][value >> WORD_SHIFT], value & WORD_MASK)) == 0) {
		value >>= WORD_SHIFT;
		if (value == 0 || ++level == set->level_count)
			return KML_NONE;
		value--; /* the words before this one */
	}
	value = (value & ~(uint64_t)WORD_MASK) | highest_bit(found);
	while (level-- > 0)
		value = (value << WORD_SHIFT) | highest_bit(set->level[level][value]);
	return value;
}

uint64_t kml_ordered_set_next(const struct kml_ordered_set *set, uint64_t value)
{
	uint32_t level = 0;
	uint64_t found = 0;
	for (;;) {
		if (value >> WORD_SHIFT >= set->words[level])
			return KML_NONE;
		found = bits_from(set->level[level][value >> WORD_SHIFT], value & WORD_MASK);
		if (found != 0)
			break;
		value = (value >> WORD_SHIFT) + 1; /* the words after this one */
		if (++level == set->level_count)
			return KML_NONE;
	}
	value = (value & ~(uint64_t)WORD_MASK) | lowest_bit(found);
	while (level-- > 0)
		value = (value << WORD_SHIFT) | lowest_bit(set->level[level][value]);
	return value;
}
