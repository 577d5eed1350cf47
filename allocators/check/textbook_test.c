/*
 * textbook_test.c - every buddy system of the registry against its textbook: same program, same blocks.
 *
 * The rules are written here from the papers. After each operation the answer and every block of the walk are compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/check/random.h"
#include "allocators/check/textbook.h"
#include "allocators/registry.h"

#define UNIT_BYTES 16u
#define PAGE_BYTES 4096u
#define STEPS 3000u
#define LIVE_MAX 200u

/* --------------------------------------------------------------------------------------------------------- rules */

typedef void make_rule(struct textbook_rule *rule, uint64_t parameter, uint64_t limit_units);

/* Knowlton 1965 and its generalisation: k^i into k equal parts. */
static void equal_parts(struct textbook_rule *rule, uint64_t k, uint64_t limit_units)
{
	uint64_t pieces[TEXTBOOK_CHILDREN_MAX];
	textbook_rule_add(rule, 1, 0, NULL);
	for (uint64_t size = k; size <= limit_units; size *= k) {
		for (uint64_t i = 0; i < k; i++)
			pieces[i] = size / k;
		textbook_rule_add(rule, size, (uint32_t)k, pieces);
	}
}

/* Hirschberg 1973: a(n) = a(n-1) + a(n-j), from j ones. The distinct sizes begin 1, 2, 3, ..., j + 1. */
static void hirschberg(struct textbook_rule *rule, uint64_t j, uint64_t limit_units)
{
	uint64_t a[256] = {0};
	uint64_t n = j;
	for (uint64_t i = 0; i < j; i++)
		a[i] = 1;
	textbook_rule_add(rule, 1, 0, NULL);
	for (; n < 256 && (a[n] = a[n - 1] + a[n - j]) <= limit_units; n++)
		textbook_rule_add(rule, a[n], 2, (const uint64_t[]){a[n - 1], a[n - j]});
}

/* Shen & Peterson 1974: 2^(r+2) = 3*2^r + 2^r, 3*2^r = 2^(r+1) + 2^r. */
static void shen_peterson(struct textbook_rule *rule, uint64_t parameter, uint64_t limit_units)
{
	(void)parameter;
	textbook_rule_add(rule, 1, 0, NULL);
	textbook_rule_add(rule, 2, 2, (const uint64_t[]){1, 1});
	for (uint64_t size = 3; size <= limit_units; size++) {
		uint64_t low_bit = size & -size, r = size == low_bit ? size / 4 : low_bit;
		if (size == low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){3 * r, r});
		else if (size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){2 * r, r});
	}
}

/* Page & Hagins 1986: 2^i and 3*2^i, each into halves. */
static void page_hagins(struct textbook_rule *rule, uint64_t parameter, uint64_t limit_units)
{
	(void)parameter;
	for (uint64_t size = 1; size <= limit_units; size++) {
		uint64_t low_bit = size & -size;
		if (size == 1 || size == 3)
			textbook_rule_add(rule, size, 0, NULL);
		else if (size == low_bit || size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){size / 2, size / 2});
	}
}

/* Yadav & Sharma 2010: 2^i = 3/8 + 3/8 + 2/8; here 3*2^i = 2^(i+1) + 2^i, and 4 = 2 + 2, 2 = 1 + 1. */
static void yadav_sharma(struct textbook_rule *rule, uint64_t parameter, uint64_t limit_units)
{
	(void)parameter;
	textbook_rule_add(rule, 1, 0, NULL);
	for (uint64_t size = 2; size <= limit_units; size++) {
		uint64_t low_bit = size & -size;
		if (size == low_bit && size < 8)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){size / 2, size / 2});
		else if (size == low_bit)
			textbook_rule_add(rule, size, 3, (const uint64_t[]){size / 8 * 3, size / 8 * 3, size / 4});
		else if (size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){2 * low_bit, low_bit});
	}
}

/* A user's table of weights, in units of 16: 16, 32, 48, 112 and 240 bytes. */
static void five_weights(struct textbook_rule *rule, uint64_t parameter, uint64_t limit_units)
{
	(void)parameter;
	(void)limit_units;
	textbook_rule_add(rule, 1, 0, NULL);
	textbook_rule_add(rule, 2, 2, (const uint64_t[]){1, 1});
	textbook_rule_add(rule, 3, 2, (const uint64_t[]){2, 1});
	textbook_rule_add(rule, 7, 3, (const uint64_t[]){3, 3, 1});
	textbook_rule_add(rule, 15, 3, (const uint64_t[]){7, 7, 1});
}

struct system {
	const char *spec_text; /* policy is appended */
	make_rule *make;
	uint64_t parameter;
	bool roots_as_walked; /* two families share the arena in a way that is the program's own */
};

static const struct system systems[] = {
	{"binary:unit=16", equal_parts, 2, false},       {"fibonacci:unit=16", hirschberg, 2, false},
	{"fibonacci:unit=16,j=1", hirschberg, 1, false}, {"fibonacci:unit=16,j=3", hirschberg, 3, false},
	{"fibonacci:unit=16,j=4", hirschberg, 4, false}, {"fibonacci:unit=16,j=7", hirschberg, 7, false},
	{"weighted:unit=16", shen_peterson, 0, false},   {"weighted:sizes=16+32+48+112+240", five_weights, 0, false},
	{"kary:unit=16,k=2", equal_parts, 2, false},     {"kary:unit=16,k=3", equal_parts, 3, false},
	{"kary:unit=16,k=4", equal_parts, 4, false},     {"kary:unit=16,k=5", equal_parts, 5, false},
	{"kary:unit=16,k=10", equal_parts, 10, false},   {"kary:unit=16,k=16", equal_parts, 16, false},
	{"dual:unit=16", page_hagins, 0, true},          {"tertiary:unit=16", yadav_sharma, 0, false},
};

/* -------------------------------------------------------------------------------------------------------- compared */

struct duel {
	char spec_text[128];
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap;
	struct textbook_rule rule;
	struct textbook *textbook;
	uint32_t step;
	uint32_t next; /* in a walk */
	uint32_t successes, failures;
};

static bool add_walked_root(void *context, const struct kml_block *block)
{
	struct duel *duel = context;
	uint64_t size_units = block->size_bytes / UNIT_BYTES;
	for (uint32_t class = 0; class < duel->rule.class_count; class ++)
		if (duel->rule.size_units[class] == size_units)
			textbook_add_root(duel->textbook, class);
	return true;
}

static bool compare_block(void *context, const struct kml_block *block)
{
	struct duel *duel = context;
	if (duel->next >= duel->textbook->count)
		fail_msg("%s, step %u: the walk has more than the textbook's %u blocks", duel->spec_text, duel->step,
			 duel->textbook->count);
	const struct textbook_block *expected = &duel->textbook->blocks[duel->next++];
	uint64_t size_units = duel->rule.size_units[expected->class];
	bool is_free = block->state == KML_BLOCK_FREE;
	if (block->address != expected->address_units * UNIT_BYTES || block->size_bytes != size_units * UNIT_BYTES ||
	    is_free != expected->is_free)
		fail_msg(
			"%s, step %u: a %s block at unit %llu of %llu units; the textbook has a %s one at %llu of %llu",
			duel->spec_text, duel->step, is_free ? "free" : "granted",
			(unsigned long long)block->address / UNIT_BYTES,
			(unsigned long long)block->size_bytes / UNIT_BYTES, expected->is_free ? "free" : "granted",
			(unsigned long long)expected->address_units, (unsigned long long)size_units);
	return true;
}

static void compare_blocks(struct duel *duel)
{
	duel->next = 0;
	duel->heap->allocator->walk(duel->heap, compare_block, duel);
	assert_int_equal(duel->next, duel->textbook->count);
}

static void duel_open(struct duel *duel, const struct system *system, const char *policy, uint64_t arena_units)
{
	static const char *const policies[] = {"lowest", "lifo", "fifo"};
	struct kml_error error = {{0}};
	memset(duel, 0, sizeof(*duel));
	snprintf(duel->spec_text, sizeof(duel->spec_text), "%s,policy=%s", system->spec_text, policy);
	duel->spec = kml_spec_parse(duel->spec_text, &error);
	if (duel->spec == NULL)
		fail_msg("%s", error.text);
	duel->arena = kml_arena_create(arena_units * UNIT_BYTES, PAGE_BYTES, false, &error);
	assert_non_null(duel->arena);
	const struct kml_environment environment = {.arena = duel->arena, .page_bytes = PAGE_BYTES, .cpu_count = 1};
	if (!kml_stack_create(&duel->stack, duel->spec, &environment, &error))
		fail_msg("%s: %s", duel->spec_text, error.text);
	duel->heap = kml_stack_top(&duel->stack);

	system->make(&duel->rule, system->parameter, arena_units);
	enum textbook_policy textbook_policy = TEXTBOOK_LOWEST;
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(policy, policies[i]) == 0)
			textbook_policy = (enum textbook_policy)i;
	duel->textbook = textbook_create(&duel->rule, textbook_policy);
	if (system->roots_as_walked)
		duel->heap->allocator->walk(duel->heap, add_walked_root, duel);
	else
		textbook_tile(duel->textbook, arena_units);
	compare_blocks(duel);
}

static void duel_close(struct duel *duel)
{
	textbook_destroy(duel->textbook);
	kml_stack_destroy(&duel->stack);
	kml_arena_destroy(duel->arena);
	kml_spec_free(duel->spec);
}

/* The address, or KML_NO_ADDRESS when both refuse. */
static uint64_t duel_alloc(struct duel *duel, uint64_t size_bytes)
{
	const struct kml_request request = {.size_bytes = size_bytes, .cache = KML_NO_CACHE};
	struct kml_grant grant = duel->heap->allocator->alloc(duel->heap, &request);
	const struct textbook_block *expected =
		textbook_alloc(duel->textbook, (size_bytes + UNIT_BYTES - 1) / UNIT_BYTES);
	uint64_t address = expected == NULL ? KML_NO_ADDRESS : expected->address_units * UNIT_BYTES;
	uint64_t granted_bytes = expected == NULL ? 0 : duel->rule.size_units[expected->class] * UNIT_BYTES;
	if (grant.address != address || grant.granted_bytes != granted_bytes)
		fail_msg("%s, step %u: %llu bytes: unit %lld of %llu units; the textbook says %lld of %llu",
			 duel->spec_text, duel->step, (unsigned long long)size_bytes,
			 (long long)grant.address / UNIT_BYTES, (unsigned long long)grant.granted_bytes / UNIT_BYTES,
			 (long long)address / UNIT_BYTES, (unsigned long long)granted_bytes / UNIT_BYTES);
	if (grant.status == KML_OK)
		duel->successes++;
	else
		duel->failures++;
	return grant.address;
}

static void duel_free(struct duel *duel, uint64_t address)
{
	const struct kml_release release = {.address = address, .cache = KML_NO_CACHE};
	assert_int_equal(duel->heap->allocator->free(duel->heap, &release), KML_OK);
	assert_true(textbook_free(duel->textbook, address / UNIT_BYTES));
}

static uint64_t random_size(uint64_t *random, uint64_t arena_units)
{
	if (random_below(random, 20) == 0)
		return 1 + random_below(random, arena_units / 2 * UNIT_BYTES);
	return 1 + random_below(random, 1 + random_below(random, 50 * UNIT_BYTES));
}

static void run_duel(const struct system *system, const char *policy, uint64_t arena_units)
{
	struct duel duel;
	uint64_t live[LIVE_MAX], random = arena_units;
	uint32_t live_count = 0;
	duel_open(&duel, system, policy, arena_units);
	for (duel.step = 0; duel.step < STEPS; duel.step++) {
		uint64_t size_bytes = random_size(&random, arena_units), pick = random_next(&random);
		bool allocs = random_below(&random, 100) < (duel.step / 300 % 2 == 0 ? 65u : 40u);
		if (allocs && live_count < LIVE_MAX) {
			live[live_count] = duel_alloc(&duel, size_bytes);
			live_count += live[live_count] != KML_NO_ADDRESS;
		} else if (live_count > 0) {
			uint64_t *victim = &live[pick % live_count];
			duel_free(&duel, *victim);
			*victim = live[--live_count];
		}
		compare_blocks(&duel);
	}
	/* A duel in which nothing failed, or nothing succeeded, has compared little. */
	if (duel.failures < 10 || duel.successes < STEPS / 4)
		fail_msg("%s in %llu units: %u successes, %u failures", duel.spec_text, (unsigned long long)arena_units,
			 duel.successes, duel.failures);
	while (live_count > 0)
		duel_free(&duel, live[--live_count]);
	compare_blocks(&duel);
	duel_close(&duel);
}

/* A single root block of each system of large blocks, and many roots. */
static void run_duels(const struct system *system, const char *policy)
{
	struct textbook_rule rule = {0};
	system->make(&rule, system->parameter, 1100);
	uint64_t root_units = rule.size_units[rule.class_count - 1];
	if (root_units > 100)
		run_duel(system, policy, root_units);
	static const uint64_t arenas[] = {256, 610, 1000, 1023};
	for (size_t i = 0; i < sizeof(arenas) / sizeof(arenas[0]); i++)
		run_duel(system, policy, arenas[i]);
}

static void lowest_first_agrees_block_for_block(void **state)
{
	run_duels(*state, "lowest");
}

static void lifo_agrees_block_for_block(void **state)
{
	run_duels(*state, "lifo");
}

static void fifo_agrees_block_for_block(void **state)
{
	run_duels(*state, "fifo");
}

/* ------------------------------------------------------------------------------- the textbook against its textbooks */

/* Knuth, TAOCP 1, 2.5: 2^10 units, a request of 2^6: blocks of 2^6 (granted), 2^6, 2^7, 2^8, 2^9; then all join. */
static void knuth_reserves_and_liberates(void **state)
{
	(void)state;
	struct textbook_rule rule = {0};
	equal_parts(&rule, 2, 1024);
	struct textbook *textbook = textbook_create(&rule, TEXTBOOK_LOWEST);
	textbook_tile(textbook, 1024);
	assert_int_equal(textbook_alloc(textbook, 64)->address_units, 0);
	static const uint64_t sizes[] = {64, 64, 128, 256, 512};
	assert_int_equal(textbook->count, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(rule.size_units[textbook->blocks[i].class], sizes[i]);
	assert_null(textbook_alloc(textbook, 513));
	assert_false(textbook_free(textbook, 64));
	assert_true(textbook_free(textbook, 0));
	assert_int_equal(textbook->count, 1);
	textbook_destroy(textbook);
}

/* Hirschberg: 144 with a request of 70 gives 89 and leaves its buddy of 55. */
static void fibonacci_splits_144(void **state)
{
	(void)state;
	struct textbook_rule rule = {0};
	hirschberg(&rule, 2, 144);
	struct textbook *textbook = textbook_create(&rule, TEXTBOOK_LOWEST);
	textbook_tile(textbook, 144);
	const struct textbook_block *block = textbook_alloc(textbook, 70);
	assert_int_equal(rule.size_units[block->class], 89);
	assert_int_equal(textbook->count, 2);
	assert_int_equal(rule.size_units[textbook->blocks[1].class], 55);
	assert_true(textbook_free(textbook, 0));
	assert_int_equal(rule.size_units[textbook->blocks[0].class], 144);
	textbook_destroy(textbook);
}

int main(void)
{
	enum { SYSTEMS = sizeof(systems) / sizeof(systems[0]) };
	static char names[SYSTEMS * 3 + 2][128];
	struct CMUnitTest tests[SYSTEMS * 3 + 2];
	size_t count = 0;
	static const struct {
		const char *name;
		CMUnitTestFunction test;
	} duels[] = {{"lowest_first_agrees_block_for_block", lowest_first_agrees_block_for_block},
		     {"lifo_agrees_block_for_block", lifo_agrees_block_for_block},
		     {"fifo_agrees_block_for_block", fifo_agrees_block_for_block}};
	tests[count++] = (struct CMUnitTest)cmocka_unit_test(knuth_reserves_and_liberates);
	tests[count++] = (struct CMUnitTest)cmocka_unit_test(fibonacci_splits_144);
	for (size_t i = 0; i < SYSTEMS; i++) {
		for (size_t k = 0; k < sizeof(duels) / sizeof(duels[0]); k++) {
			snprintf(names[count], sizeof(names[count]), "%s: %s", systems[i].spec_text, duels[k].name);
			tests[count] = (struct CMUnitTest){.name = names[count],
							   .test_func = duels[k].test,
							   .initial_state = (void *)(uintptr_t)&systems[i]};
			count++;
		}
	}
	return _cmocka_run_group_tests("textbook", tests, count, NULL, NULL);
}
