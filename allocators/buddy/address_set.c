/*
 * address_set.c - see address_set.h.
 */
#include "allocators/buddy/address_set.h"

#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/reserve.h"

static uint64_t words_for(uint64_t bits)
{
	return (bits + 63) / 64;
}

bool address_set_create(struct address_set *set, uint64_t capacity, uint64_t *words_used)
{
	memset(set, 0, sizeof *set);
	set->words_used = words_used;
	uint64_t total = 0;
	uint64_t bits = capacity;
	do {
		bits = words_for(bits);
		set->word_count[set->level_count] = bits;
		total += bits;
		set->level_count++;
	} while (bits > 1);
	uint64_t *memory = kml_reserve(total * sizeof(uint64_t));
	if (memory == NULL) {
		set->level_count = 0;
		return false;
	}
	set->reserved_bytes = total * sizeof(uint64_t);
	for (uint32_t level = 0; level < set->level_count; level++) {
		set->level[level] = memory;
		memory += set->word_count[level];
	}
	return true;
}

void address_set_destroy(struct address_set *set)
{
	if (set->level_count > 0)
		kml_unreserve(set->level[0], set->reserved_bytes);
	memset(set, 0, sizeof *set);
}

void address_set_add(struct address_set *set, uint64_t member)
{
	for (uint32_t level = 0; level < set->level_count; level++) {
		uint64_t *word = &set->level[level][member / 64], before = *word;
		KML_CHECK(level > 0 || !(before >> member % 64 & 1), "address %llu is in the set already",
			  (unsigned long long)member);
		*word |= 1ull << member % 64;
		if (before)
			return;
		++*set->words_used;
		member /= 64;
	}
}

void address_set_remove(struct address_set *set, uint64_t member)
{
	for (uint32_t level = 0; level < set->level_count; level++) {
		uint64_t *word = &set->level[level][member / 64];
		KML_CHECK(*word >> member % 64 & 1, "address %llu is not in the set", (unsigned long long)member);
		*word &= ~(1ull << member % 64);
		if (*word)
			return;
		--*set->words_used;
		member /= 64;
	}
}

/* The lowest member below the bit `position` of this level. */
static uint64_t descend(const struct address_set *set, uint32_t level, uint64_t position)
{
	while (level-- > 0)
		position = position * 64 + (uint64_t)__builtin_ctzll(set->level[level][position]);
	return position;
}

uint64_t address_set_next(const struct address_set *set, uint64_t from)
{
	uint64_t position = from;
	for (uint32_t level = 0; level < set->level_count && position / 64 < set->word_count[level]; level++) {
		uint64_t word = set->level[level][position / 64] >> position % 64;
		if (word)
			return descend(set, level, position + (uint64_t)__builtin_ctzll(word));
		position = position / 64 + !KML_PLANTED(address_set_same_word);
	}
	return ADDRESS_SET_NONE;
}
