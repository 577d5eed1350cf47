/*
 * textbook.h - buddy systems as the textbooks tell them: a sorted array of blocks, searched from end to end.
 *
 * The reference that the engine is compared with, block for block. It shares no code and no idea with the engine: a
 * rule says into which sizes each size splits; a block carries its whole lineage, so a buddy is looked up, not
 * computed.
 *
 * Rules: Knowlton 1965 (binary), Hirschberg 1973 (Fibonacci and its generalisation), Shen & Peterson 1974 (weighted),
 * Page & Hagins 1986 (dual), Yadav & Sharma 2010 (tertiary); choice and coalescing as in Knuth, TAOCP 1, 2.5,
 * algorithms R and S: the smallest sufficient free block is split until no part is big enough, buddies join at once.
 *
 * Cost: O(blocks x classes) per operation. Units are those of the arena.
 */
#ifndef KMEMLAB_CHECK_TEXTBOOK_H
#define KMEMLAB_CHECK_TEXTBOOK_H

#include <stdbool.h>
#include <stdint.h>

#define TEXTBOOK_CLASSES_MAX 128u
#define TEXTBOOK_CHILDREN_MAX 16u
#define TEXTBOOK_DEPTH_MAX 128u

/* Class i has size_units[i], ascending, and splits into child[i][0..child_count[i]) in address order; 0: not at all. */
struct textbook_rule {
	uint32_t class_count;
	uint64_t size_units[TEXTBOOK_CLASSES_MAX];
	uint32_t child_count[TEXTBOOK_CLASSES_MAX];
	uint32_t child[TEXTBOOK_CLASSES_MAX][TEXTBOOK_CHILDREN_MAX];
};

/* Append a class that splits into pieces of these sizes, each the size of an earlier class. */
void textbook_rule_add(struct textbook_rule *rule, uint64_t size_units, uint32_t count, const uint64_t *pieces);

/* Which of several free blocks of one size is taken. */
enum textbook_policy { TEXTBOOK_LOWEST, TEXTBOOK_LIFO, TEXTBOOK_FIFO };

struct textbook_block {
	uint64_t address_units;
	uint32_t class;
	bool is_free;
	uint64_t freed_at; /* when it last became free */
	uint32_t depth;
	struct {
		uint8_t class, child; /* of this ancestor, and which of its children leads here */
	} lineage[TEXTBOOK_DEPTH_MAX];
};

struct textbook {
	const struct textbook_rule *rule;
	enum textbook_policy policy;
	struct textbook_block *blocks; /* by address */
	uint32_t count, room;
	uint64_t clock;
};

/* An empty arena; the rule is borrowed. Roots are added from address 0 on, free. */
struct textbook *textbook_create(const struct textbook_rule *rule, enum textbook_policy policy);
void textbook_destroy(struct textbook *textbook);
void textbook_add_root(struct textbook *textbook, uint32_t class);
/* Roots as Knuth tiles an arena of any size: the largest class that fits, again and again. */
void textbook_tile(struct textbook *textbook, uint64_t arena_units);

/* The granted block, or NULL when no free block can yield it. Valid until the next call. */
const struct textbook_block *textbook_alloc(struct textbook *textbook, uint64_t size_units);
/* False when no granted block starts there. */
bool textbook_free(struct textbook *textbook, uint64_t address_units);

#endif
