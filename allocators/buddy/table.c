/*
 * table.c - building the table of a buddy system; see table.h.
 */
#include "allocators/buddy/table.h"

#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

void buddy_table_start(struct buddy_table *table)
{
	table->class_count = 0;
	table->family_count = 1;
	table->family_share[0] = 1;
}

static uint8_t class_of_exactly(const struct buddy_table *table, uint64_t size_units)
{
	uint32_t class = 0;
	while (class < table->class_count && table->size_units[class] != size_units)
		class ++;
	KML_CHECK(class < table->class_count, "a split asks for %llu units, no size of the table",
		  (unsigned long long)size_units);
	return (uint8_t) class;
}

bool buddy_table_add(struct buddy_table *table, uint64_t limit_units, uint64_t size_units, uint32_t count,
		     const uint64_t *pieces)
{
	if (size_units > limit_units || table->class_count == BUDDY_CLASSES_MAX)
		return false;
	uint32_t class = table->class_count;
	KML_CHECK(size_units < 1ull << BUDDY_SIZE_BITS && count != 1 && count <= BUDDY_CHILDREN_MAX,
		  "class %u of %llu units in %u pieces", class, (unsigned long long)size_units, count);
	KML_CHECK(class == 0 || size_units > table->size_units[class - 1], "class %u is not larger than the last",
		  class);
	struct buddy_split *split = &table->split[class];
	*split = (struct buddy_split){0};
	table->family[class] = 0;
	uint64_t offset_units = 0;
	for (uint32_t i = 0; i < count; i++) {
		split->child[i] = class_of_exactly(table, pieces[i]);
		split->offset_units[i] = offset_units;
		offset_units += pieces[i];
	}
	KML_CHECK(count == 0 || offset_units == size_units, "the pieces of class %u are %llu units, not %llu", class,
		  (unsigned long long)offset_units, (unsigned long long)size_units);
	split->child_count = count;
	table->size_units[class] = size_units;
	table->class_count++;
	return true;
}

static void set_add(struct buddy_class_set *set, uint32_t class)
{
	set->word[class / 64] |= 1ull << class % 64;
}

/* A class yields itself and all that its children yield; children are smaller, so they are done before it. */
static void derive_sources(struct buddy_table *table)
{
	bool yields[BUDDY_CLASSES_MAX][BUDDY_CLASSES_MAX];
	for (uint32_t class = 0; class < table->class_count; class ++) {
		memset(yields[class], false, table->class_count);
		table->sources[class] = (struct buddy_class_set){0};
		yields[class][class] = true;
		for (uint32_t i = 0; i < table->split[class].child_count; i++)
			for (uint32_t target = 0; target < class; target++)
				yields[class][target] |= yields[table->split[class].child[i]][target];
		for (uint32_t target = 0; target <= class; target++)
			if (yields[class][target])
				set_add(&table->sources[target], class);
	}
}

void buddy_table_finish(struct buddy_table *table)
{
	KML_CHECK(table->class_count > 0, "an empty table");
	derive_sources(table);
	table->first_class[0] = 0;
	for (uint32_t bits = 1; bits <= BUDDY_SIZE_BITS; bits++) {
		uint32_t class = 0;
		while (class + 1 < table->class_count &&
		       table->size_units[class] < 1ull << (bits - 1 + KML_PLANTED(table_octave_skipped)))
			class ++;
		table->first_class[bits] = (uint8_t) class;
	}
}
