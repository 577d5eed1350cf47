/*
 * exhaustive_count.c - how many layouts a system has: counted from its rule, without running it. See exhaustive.h.
 *
 * Buddy systems. A block of class c is free whole, granted whole, or split, and its children are then in any of their
 * states but all free, for such would have merged:
 *
 *      f(c) = 2                                     c does not split
 *      f(c) = 2 + (f(child 1) ... f(child n) - 1)   otherwise
 *
 * and an arena has the product over its roots. For Knowlton's system this is a(0) = 2, a(k) = a(k-1)^2 + 1: 2, 5, 26,
 * 677, 458330, ... (OEIS A003095). All of them are reached, by any policy: fill the arena with the smallest blocks;
 * free those under one block of the layout that is granted whole, which merge into it, the only one free, so that a
 * request of its class gets it; and so on for each; last free the smallest blocks that are to be free.
 *
 * First fit and best fit. Granted blocks of any length and free runs of any length, no two free runs adjacent: with
 * g(n) the tilings of n units that end in a granted block (or are empty) and h(n) those that end in a free run
 *
 *      g(n) = sum over 1 <= k <= n of g(n-k) + h(n-k),  h(n) = sum over 1 <= k <= n of g(n-k),  g(0) = 1, h(0) = 0
 *
 * and g + h is the Fibonacci number F(2n+1). All are reached: grant the blocks and the runs from left to right, which
 * both take from the one free block there is, and free the runs.
 */
#include "fuzz/exhaustive.h"

#include <stdlib.h>
#include <string.h>

#include "allocators/check/textbook_rules.h"

static uint64_t layouts_of_rule(const struct textbook_rule *rule, const char *stack, uint32_t units)
{
	uint64_t of_class[TEXTBOOK_CLASSES_MAX], product = 1;
	for (uint32_t class = 0; class < rule->class_count; class ++) {
		of_class[class] = 1;
		for (uint32_t i = 0; i < rule->child_count[class]; i++)
			of_class[class] *= of_class[rule->child[class][i]];
		of_class[class] += 1;
	}
	struct textbook *textbook = textbook_create(rule, TEXTBOOK_LOWEST);
	textbook_lay(textbook, stack, units);
	for (uint32_t i = 0; i < textbook->count; i++)
		product *= of_class[textbook->blocks[i].class];
	textbook_destroy(textbook);
	return product;
}

static uint64_t layouts_of_runs(uint32_t units)
{
	uint64_t granted_last[64] = {1}, free_last[64] = {0};
	for (uint32_t n = 1; n <= units; n++)
		for (uint32_t k = 1; k <= n; k++) {
			granted_last[n] += granted_last[n - k] + free_last[n - k];
			free_last[n] += granted_last[n - k];
		}
	return granted_last[units] + free_last[units];
}

uint64_t exhaustive_expected_layouts(const char *stack, uint32_t units)
{
	enum { UNITS_MAX = 30 }; /* beyond it the counts do not fit in 64 bits */
	struct textbook_rule rule;
	if (units == 0 || units > UNITS_MAX)
		return 0;
	if (textbook_rule_of(&rule, stack, units))
		return layouts_of_rule(&rule, stack, units);
	bool is_fit = strncmp(stack, "first_fit", 9) == 0 || strncmp(stack, "best_fit", 8) == 0;
	return is_fit && strchr(stack, '/') == NULL ? layouts_of_runs(units) : 0;
}

/* ------------------------------------------------------------------------------------------------ blocks of a rule */

enum { NODE_UNITS_MAX = 64 };

/* Bit s - 1 of sizes[a]: a block of s units can start at unit a. */
struct exhaustive_rule {
	uint64_t sizes[NODE_UNITS_MAX];
};

/* A node and all below it; depth is at most that of 64 units. */
static void add_nodes(struct exhaustive_rule *nodes, const struct textbook_rule *rule, uint64_t address_units,
		      uint32_t class)
{
	nodes->sizes[address_units] |= 1ull << (rule->size_units[class] - 1);
	for (uint32_t i = 0; i < rule->child_count[class]; i++) {
		uint32_t child = rule->child[class][i];
		add_nodes(nodes, rule, address_units, child);
		address_units += rule->size_units[child];
	}
}

struct exhaustive_rule *exhaustive_rule_create(const char *stack, uint32_t units)
{
	struct textbook_rule rule;
	struct exhaustive_rule *nodes = calloc(1, sizeof(*nodes));
	if (nodes == NULL || units == 0 || units > NODE_UNITS_MAX || !textbook_rule_of(&rule, stack, units)) {
		free(nodes);
		return NULL;
	}
	struct textbook *textbook = textbook_create(&rule, TEXTBOOK_LOWEST);
	textbook_lay(textbook, stack, units);
	for (uint32_t i = 0; i < textbook->count; i++)
		add_nodes(nodes, &rule, textbook->blocks[i].address_units, textbook->blocks[i].class);
	textbook_destroy(textbook);
	return nodes;
}

void exhaustive_rule_destroy(struct exhaustive_rule *rule)
{
	free(rule);
}

bool exhaustive_rule_has(const struct exhaustive_rule *rule, uint64_t address_units, uint64_t size_units)
{
	if (rule == NULL)
		return true;
	bool inside = address_units < NODE_UNITS_MAX && size_units >= 1 && size_units <= NODE_UNITS_MAX;
	return inside && (rule->sizes[address_units] >> (size_units - 1) & 1) != 0;
}
