/*
 * address_set.h - a set of small integers that finds its lowest member at once: free blocks in address order.
 *
 * A bit per possible member, a bit per 64 of those that are not all zero, and so on up to one word (the shape of van
 * Emde Boas' 1975 stratified trees with a fixed fan-out). Untouched parts cost address space only.
 *
 * Cost: add, remove, first and next are O(log64 capacity): at most eight words.
 */
#ifndef KMEMLAB_BUDDY_ADDRESS_SET_H
#define KMEMLAB_BUDDY_ADDRESS_SET_H

#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_SET_LEVELS_MAX = 8 }; /* 64^8 = 2^48 */
#define ADDRESS_SET_NONE UINT64_MAX

struct address_set {
	uint64_t *level[ADDRESS_SET_LEVELS_MAX]; /* level[0]: one bit a member */
	uint64_t word_count[ADDRESS_SET_LEVELS_MAX];
	uint32_t level_count;
	uint64_t *words_used; /* words that are not zero; may be shared by sets */
	uint64_t reserved_bytes;
};

/*
 * Empty, for members below capacity (1 to 2^48). *words_used, borrowed, is kept up to date. False when the address
 * space is not to be had.
 */
bool address_set_create(struct address_set *set, uint64_t capacity, uint64_t *words_used);
void address_set_destroy(struct address_set *set);
/* The member must be absent, or present. */
void address_set_add(struct address_set *set, uint64_t member);
void address_set_remove(struct address_set *set, uint64_t member);
/* The lowest member >= from; ADDRESS_SET_NONE when there is none. */
uint64_t address_set_next(const struct address_set *set, uint64_t from);

#endif
