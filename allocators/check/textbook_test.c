/*
 * textbook_test.c - every buddy system of the registry against its textbook: same program, same blocks.
 *
 * The rules are those of textbook_rules.c, from the papers. After each operation the answer and every block of the walk
 * are compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/check/textbook_rules.h"
#include "allocators/registry.h"
#include "kmemlab/support/random.h"

#define UNIT_BYTES 16u
#define PAGE_BYTES 4096u
#define STEPS 3000u
#define LIVE_MAX 200u

struct system {
	const char *spec_text; /* policy is appended */
};

static const struct system systems[] = {
	{"binary:unit=16"},        {"binary:unit=16,max_order=5"}, {"fibonacci:unit=16"},
	{"fibonacci:unit=16,j=1"}, {"fibonacci:unit=16,j=3"},      {"fibonacci:unit=16,j=4"},
	{"fibonacci:unit=16,j=7"}, {"weighted:unit=16"},           {"weighted:sizes=16+32+48+112+240"},
	{"kary:unit=16,k=2"},      {"kary:unit=16,k=3"},           {"kary:unit=16,k=4"},
	{"kary:unit=16,k=5"},      {"kary:unit=16,k=10"},          {"kary:unit=16,k=16"},
	{"dual:unit=16"},          {"tertiary:unit=16"},
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

	assert_true(textbook_rule_of(&duel->rule, duel->spec_text, arena_units));
	duel->textbook = textbook_create(&duel->rule, textbook_policy_of(duel->spec_text));
	textbook_lay(duel->textbook, duel->spec_text, arena_units);
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
	struct textbook_rule rule;
	assert_true(textbook_rule_of(&rule, system->spec_text, 1100));
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
	struct textbook_rule rule;
	assert_true(textbook_rule_of(&rule, "binary", 1024));
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
	struct textbook_rule rule;
	assert_true(textbook_rule_of(&rule, "fibonacci", 144));
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
