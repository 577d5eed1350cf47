/*
 * textbook.c - the textbook buddy systems. See textbook.h.
 *
 * Invariants: blocks are sorted and adjacent; siblings that are all free and whole do not stay in the array.
 */
#include "allocators/check/textbook.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"

static uint32_t class_of_size(const struct textbook_rule *rule, uint64_t size_units)
{
	for (uint32_t class = 0; class < rule->class_count; class ++)
		if (rule->size_units[class] == size_units)
			return class;
	KML_CHECK(false, "no class of %llu units", (unsigned long long)size_units);
	return 0;
}

void textbook_rule_add(struct textbook_rule *rule, uint64_t size_units, uint32_t count, const uint64_t *pieces)
{
	KML_CHECK(rule->class_count < TEXTBOOK_CLASSES_MAX && count <= TEXTBOOK_CHILDREN_MAX,
		  "class %u with %u children", rule->class_count, count);
	uint32_t class = rule->class_count;
	uint64_t sum_units = 0;
	for (uint32_t i = 0; i < count; i++) {
		rule->child[class][i] = class_of_size(rule, pieces[i]);
		sum_units += pieces[i];
	}
	KML_CHECK(count == 0 || sum_units == size_units, "pieces of %llu add up to %llu",
		  (unsigned long long)size_units, (unsigned long long)sum_units);
	rule->size_units[class] = size_units;
	rule->child_count[class] = count;
	rule->class_count++;
}

struct textbook *textbook_create(const struct textbook_rule *rule, enum textbook_policy policy)
{
	struct textbook *textbook = calloc(1, sizeof(*textbook));
	KML_CHECK(textbook != NULL, "no memory");
	textbook->rule = rule;
	textbook->policy = policy;
	textbook->clock = 1; /* the roots are free since 0 */
	return textbook;
}

void textbook_destroy(struct textbook *textbook)
{
	free(textbook->blocks);
	free(textbook);
}

/* Make room for `count` more blocks at `index`. */
static void open_gap(struct textbook *textbook, uint32_t index, uint32_t count)
{
	if (textbook->count + count > textbook->room) {
		textbook->room = 2 * (textbook->count + count);
		textbook->blocks = realloc(textbook->blocks, textbook->room * sizeof(textbook->blocks[0]));
		KML_CHECK(textbook->blocks != NULL, "no memory for %u blocks", textbook->room);
	}
	memmove(&textbook->blocks[index + count], &textbook->blocks[index],
		(textbook->count - index) * sizeof(textbook->blocks[0]));
	textbook->count += count;
}

static void close_gap(struct textbook *textbook, uint32_t index, uint32_t count)
{
	textbook->count -= count;
	memmove(&textbook->blocks[index], &textbook->blocks[index + count],
		(textbook->count - index) * sizeof(textbook->blocks[0]));
}

static uint64_t size_of(const struct textbook *textbook, const struct textbook_block *block)
{
	return textbook->rule->size_units[block->class];
}

void textbook_add_root(struct textbook *textbook, uint32_t class)
{
	uint64_t end_units = 0;
	if (textbook->count > 0) {
		const struct textbook_block *last = &textbook->blocks[textbook->count - 1];
		end_units = last->address_units + size_of(textbook, last);
	}
	open_gap(textbook, textbook->count, 1);
	textbook->blocks[textbook->count - 1] =
		(struct textbook_block){.address_units = end_units, .class = class, .is_free = true};
}

void textbook_tile(struct textbook *textbook, uint64_t arena_units)
{
	for (uint32_t class = textbook->rule->class_count; class -- > 0;) {
		for (; arena_units >= textbook->rule->size_units[class];
		     arena_units -= textbook->rule->size_units[class])
			textbook_add_root(textbook, class);
	}
}

/* The smallest class that a block of each class can be split down to and still hold the request; itself at worst. */
static void find_yields(const struct textbook_rule *rule, uint64_t size_units, uint32_t *yield)
{
	for (uint32_t class = 0; class < rule->class_count; class ++) {
		yield[class] = class;
		for (uint32_t i = 0; i < rule->child_count[class]; i++) {
			uint32_t child = rule->child[class][i];
			if (rule->size_units[child] >= size_units && yield[child] < yield[class])
				yield[class] = yield[child];
		}
	}
}

/* Parts of one split became free together, and so did the roots: the lowest of them comes first. */
static bool comes_first(const struct textbook *textbook, const struct textbook_block *a, const struct textbook_block *b)
{
	if (a->freed_at == b->freed_at || textbook->policy == TEXTBOOK_LOWEST)
		return a->address_units < b->address_units;
	return (a->freed_at < b->freed_at) == (textbook->policy == TEXTBOOK_FIFO);
}

/* Of the free blocks that are big enough: the least granted, then the smallest, then by policy. count: none. */
static uint32_t choose(const struct textbook *textbook, uint64_t size_units, const uint32_t *yield)
{
	uint32_t best = textbook->count;
	for (uint32_t i = 0; i < textbook->count; i++) {
		const struct textbook_block *block = &textbook->blocks[i];
		if (!block->is_free || size_of(textbook, block) < size_units)
			continue;
		if (best == textbook->count) {
			best = i;
			continue;
		}
		const struct textbook_block *other = &textbook->blocks[best];
		if (yield[block->class] != yield[other->class])
			best = yield[block->class] < yield[other->class] ? i : best;
		else if (block->class != other->class)
			best = block->class < other->class ? i : best;
		else if (comes_first(textbook, block, other))
			best = i;
	}
	return best;
}

/* Replace a block by its children; all of them free. */
static void split(struct textbook *textbook, uint32_t index)
{
	const struct textbook_rule *rule = textbook->rule;
	struct textbook_block parent = textbook->blocks[index];
	uint32_t count = rule->child_count[parent.class];
	KML_CHECK(parent.depth < TEXTBOOK_DEPTH_MAX, "depth %u", parent.depth);
	open_gap(textbook, index, count - 1);
	uint64_t address_units = parent.address_units;
	for (uint32_t i = 0; i < count; i++) {
		struct textbook_block *child = &textbook->blocks[index + i];
		*child = parent;
		child->address_units = address_units;
		child->class = rule->child[parent.class][i];
		child->lineage[parent.depth].class = (uint8_t)parent.class;
		child->lineage[parent.depth].child = (uint8_t)i;
		child->depth = parent.depth + 1;
		child->freed_at = textbook->clock;
		address_units += size_of(textbook, child);
	}
	textbook->clock++;
}

/* The child to go on with: the least yield, then the smallest, then the lowest. */
static uint32_t choose_child(const struct textbook_rule *rule, uint32_t class, uint64_t size_units,
			     const uint32_t *yield)
{
	uint32_t best = rule->child_count[class];
	for (uint32_t i = 0; i < rule->child_count[class]; i++) {
		uint32_t child = rule->child[class][i];
		if (rule->size_units[child] < size_units || yield[child] != yield[class])
			continue;
		if (best == rule->child_count[class] || child < rule->child[class][best])
			best = i;
	}
	return best;
}

const struct textbook_block *textbook_alloc(struct textbook *textbook, uint64_t size_units)
{
	uint32_t yield[TEXTBOOK_CLASSES_MAX];
	find_yields(textbook->rule, size_units, yield);
	uint32_t index = choose(textbook, size_units, yield);
	if (index == textbook->count)
		return NULL;
	while (yield[textbook->blocks[index].class] != textbook->blocks[index].class) {
		uint32_t child = choose_child(textbook->rule, textbook->blocks[index].class, size_units, yield);
		split(textbook, index);
		index += child;
	}
	textbook->blocks[index].is_free = false;
	return &textbook->blocks[index];
}

/* Does the block at this index be the given child of the same parent as `child_0`, free and whole? */
static bool is_free_sibling(const struct textbook *textbook, uint32_t first, uint32_t child)
{
	if (first + child >= textbook->count)
		return false;
	const struct textbook_block *a = &textbook->blocks[first], *b = &textbook->blocks[first + child];
	return b->is_free && b->depth == a->depth && b->lineage[a->depth - 1].child == child &&
	       b->lineage[a->depth - 1].class == a->lineage[a->depth - 1].class;
}

/* Join the block at *index with its siblings when all of them are free and whole; *index is then their parent. */
static bool join(struct textbook *textbook, uint32_t *index)
{
	const struct textbook_block block = textbook->blocks[*index];
	if (block.depth == 0)
		return false;
	uint32_t parent_class = block.lineage[block.depth - 1].class, child = block.lineage[block.depth - 1].child;
	uint32_t count = textbook->rule->child_count[parent_class];
	if (child > *index)
		return false;
	uint32_t first = *index - child;
	/* Siblings before this one that are split take more places: then `first` is not child 0 at this depth. */
	if (textbook->blocks[first].depth != block.depth)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!is_free_sibling(textbook, first, i))
			return false;

	close_gap(textbook, first, count - 1);
	struct textbook_block *parent = &textbook->blocks[first];
	*parent = block;
	for (uint32_t i = 0; i < child; i++)
		parent->address_units -= textbook->rule->size_units[textbook->rule->child[parent_class][i]];
	parent->class = parent_class;
	parent->depth = block.depth - 1;
	*index = first;
	return true;
}

bool textbook_free(struct textbook *textbook, uint64_t address_units)
{
	uint32_t index = 0;
	while (index < textbook->count && textbook->blocks[index].address_units != address_units)
		index++;
	if (index == textbook->count || textbook->blocks[index].is_free)
		return false;
	textbook->blocks[index].is_free = true;
	while (join(textbook, &index))
		;
	textbook->blocks[index].freed_at = textbook->clock++;
	return true;
}
