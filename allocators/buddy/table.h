/*
 * table.h - a buddy system written down: block sizes in ascending order, and into which smaller ones each splits.
 *
 * Peterson & Norman (CACM 20(6), 1977) describe every buddy system by the recurrence of its sizes, Burton (CACM 19(7),
 * 1976) allows any sizes that are sums of smaller ones. A table is just that, in units of the arena: class i has
 * size_units[i] and splits into its children in address order. All else the engine needs is derived here.
 *
 * Cost: building is O(classes^2); a table is about 21 KiB and never changes afterwards.
 * Invariants: sizes ascend strictly; children are smaller, at least two or none, and add up to the parent.
 */
#ifndef KMEMLAB_BUDDY_TABLE_H
#define KMEMLAB_BUDDY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	BUDDY_CLASSES_MAX = 128,
	BUDDY_CHILDREN_MAX = 16,
	BUDDY_FAMILIES_MAX = 2,
	BUDDY_CLASS_WORDS = BUDDY_CLASSES_MAX / 64,
	BUDDY_SIZE_BITS = 48, /* sizes are below 2^48 units */
};

/* A set of classes. */
struct buddy_class_set {
	uint64_t word[BUDDY_CLASS_WORDS];
};

struct buddy_split {
	uint32_t child_count; /* 0: this class is never split */
	uint8_t child[BUDDY_CHILDREN_MAX];
	uint64_t offset_units[BUDDY_CHILDREN_MAX]; /* of each child in its parent */
};

struct buddy_table {
	uint32_t class_count;
	uint64_t size_units[BUDDY_CLASSES_MAX];
	struct buddy_split split[BUDDY_CLASSES_MAX];

	/* Families have roots of their own; family f tiles share[f]/sum(share) of the arena. One family: all of it. */
	uint32_t family_count;
	uint32_t family_share[BUDDY_FAMILIES_MAX];
	uint8_t family[BUDDY_CLASSES_MAX];

	/* Derived by buddy_table_finish. */
	uint8_t first_class[BUDDY_SIZE_BITS + 1];          /* by bit length n: the first class of >= 2^(n-1) units */
	struct buddy_class_set sources[BUDDY_CLASSES_MAX]; /* classes that splitting turns into this one; itself too */
};

/* One family, no classes; whatever the table was before. What lies behind class_count is never read. */
void buddy_table_start(struct buddy_table *table);

/*
 * Append the class of size_units, larger than all before, that splits into pieces of these sizes, in address order
 * (count 0: never split). Every piece must be the size of an earlier class. False, and nothing appended, when it is
 * larger than limit_units or the table is full: the generator of a system then stops.
 */
bool buddy_table_add(struct buddy_table *table, uint64_t limit_units, uint64_t size_units, uint32_t count,
		     const uint64_t *pieces);

/* Derive what is derived. To be called once, after the last class. */
void buddy_table_finish(struct buddy_table *table);

/* The smallest class of at least `units`, which must not be above the largest size. O(classes in an octave). */
static inline uint32_t buddy_table_class(const struct buddy_table *table, uint64_t units)
{
	uint32_t class = table->first_class[64 - __builtin_clzll(units)];
	while (table->size_units[class] < units)
		class ++;
	return class;
}

#endif
