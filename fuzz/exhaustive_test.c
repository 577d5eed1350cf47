/*
 * exhaustive_test.c - every state of every page allocator in small arenas, and of object allocators with tiny slabs.
 *
 * The number of layouts is held against the count from the textbook's split rule: a system that reached one state less,
 * or one more, fails. Allocators that are wrong in one state, or remember what nobody sees, must be caught.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/registry.h"
#include "allocators/registry_internal.h"
#include "fuzz/exhaustive.h"

/* Sanitizers cost a factor of ten: smaller arenas. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

enum {
	SANITIZED_WALK_UNITS = 7,
	SANITIZED_LIST_UNITS = 5,
};

/* ---------------------------------------------------------------------------------------------- the counts themselves
 */

/* Knowlton's system: a(0) = 2, a(k) = a(k-1)^2 + 1 (OEIS A003095). */
static void binary_layouts_follow_the_recurrence(void **state)
{
	(void)state;
	uint64_t expected = 2;
	for (uint32_t k = 0; k <= 4; k++, expected = expected * expected + 1)
		assert_int_equal(exhaustive_expected_layouts("binary:policy=lowest", 1u << k), expected);
	/* Roots that are no buddies are independent: 7 = 4 + 2 + 1. */
	assert_int_equal(exhaustive_expected_layouts("binary", 7), 26 * 5 * 2);
}

/* Three thirds: a(k) = a(k-1)^3 + 1. Hirschberg's 3 = 2 + 1: 5 * 2 + 1. */
static void other_systems_follow_theirs(void **state)
{
	(void)state;
	assert_int_equal(exhaustive_expected_layouts("kary:k=3", 3), 2 * 2 * 2 + 1);
	assert_int_equal(exhaustive_expected_layouts("kary:k=3", 9), 9 * 9 * 9 + 1);
	assert_int_equal(exhaustive_expected_layouts("fibonacci", 3), 5 * 2 + 1);
	assert_int_equal(exhaustive_expected_layouts("fibonacci", 5), 11 * 5 + 1);
}

/* First fit in n units: the Fibonacci number F(2n+1). */
static void fits_follow_fibonacci(void **state)
{
	(void)state;
	uint64_t previous = 1, number = 1; /* F(1), F(2) */
	for (uint32_t n = 1; n <= 16; n++) {
		uint64_t odd = previous + number; /* F(2n+1) */
		assert_int_equal(exhaustive_expected_layouts("first_fit", n), odd);
		number += odd; /* F(2n+2) */
		previous = odd;
	}
	assert_int_equal(exhaustive_expected_layouts("slab/first_fit", 3), 0);
}

/* -------------------------------------------------------------------------------------------------- all states */

static bool is_for_this_build(const struct exhaustive_setup *setup)
{
	if (!IS_SANITIZED)
		return true;
	if (setup->cpu_count > 1)
		return strstr(setup->stack, "linux=on") == NULL;
	return setup->units <= (setup->walk_tells_all ? SANITIZED_WALK_UNITS : SANITIZED_LIST_UNITS);
}

static void search_fully(const struct exhaustive_setup *setup, struct exhaustive_result *result)
{
	struct kml_error error = {{0}};
	if (!exhaustive_search(setup, result, &error))
		fail_msg("%s in %u units: %s", setup->stack, setup->units, error.text);
	if (result->failed) {
		program_print(&result->program, stderr);
		fail_msg("%s in %u units: %s", setup->stack, setup->units, result->error.text);
	}
	if (!result->complete)
		fail_msg("%s in %u units: not all states were seen", setup->stack, setup->units);
	if (result->expected_layouts > 0 && result->layouts != result->expected_layouts)
		fail_msg("%s in %u units: %llu layouts; its rule has %llu", setup->stack, setup->units,
			 (unsigned long long)result->layouts, (unsigned long long)result->expected_layouts);
	program_free(&result->program);
}

static void every_state_of_every_system(void **state)
{
	(void)state;
	struct exhaustive_setup *setups = NULL;
	size_t count = exhaustive_setups(NULL, 0, &setups);
	uint64_t states = 0, transitions = 0, verified = 0, refuted = 0;
	uint32_t arenas = 0, counted = 0;
	for (size_t i = 0; i < count; i++) {
		struct exhaustive_result result;
		if (!is_for_this_build(&setups[i]))
			continue;
		search_fully(&setups[i], &result);
		arenas++;
		counted += result.expected_layouts > 0;
		states += result.states;
		transitions += result.transitions;
		verified += result.merges_verified;
		refuted += result.merges_refuted;
	}
	free(setups);
	print_message(
		"%u arenas, %llu states, %llu transitions; %u arenas counted beforehand; %llu of %llu merges that "
		"were verified go on in different ways\n",
		arenas, (unsigned long long)states, (unsigned long long)transitions, counted,
		(unsigned long long)refuted, (unsigned long long)verified);
	/* All page systems are counted; all but Linux mode and the object allocators are. */
	assert_true(counted >= 100 && arenas > counted);
	/* What SLUB hides is rare. */
	assert_true(refuted * 20 <= verified);
}

/* Three slabs of two objects for two cpus, without what is kept per cpu: the lists of slabs alone. */
static void three_slabs(void **state)
{
	(void)state;
	static const char *const stacks[] = {"slub:percpu=off,min_partial=1", "slab:percpu=off,max_order=0", "slob"};
	for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		struct exhaustive_setup *setups = NULL;
		struct exhaustive_result result;
		assert_int_equal(exhaustive_setups(stacks[i], 3, &setups), 1);
		search_fully(&setups[0], &result);
		print_message("%s: %llu states\n", setups[0].stack, (unsigned long long)result.states);
		free(setups);
	}
}

/* ---------------------------------------------------------------------------------------------- liars are caught */

static struct kml_allocator liar;
static uint64_t hidden_count;

static struct kml_heap *liar_create(const struct kml_environment *environment, const void *config,
				    struct kml_error *error)
{
	struct kml_heap *heap = kml_registry_find("binary")->create(environment, config, error);
	hidden_count = 0;
	if (heap != NULL)
		heap->allocator = &liar;
	return heap;
}

static struct kml_grant really_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	return kml_registry_find("binary")->alloc(heap, request);
}

/* Wrong in one state: 16 bytes are granted at 0, 32 at 32, the rest is free. */
static struct kml_grant refuses_in_one_state(struct kml_heap *heap, const struct kml_request *request)
{
	bool is_that_state = heap->allocator->usable(heap, 0) == 16 && heap->allocator->usable(heap, 32) == 32 &&
			     heap->allocator->usable(heap, 16) == 0;
	if (is_that_state)
		return (struct kml_grant){.status = KML_IMPOSSIBLE, .address = KML_NO_ADDRESS};
	return really_alloc(heap, request);
}

/* Every fifth grant is twice as large: nothing that can be seen says which will be. */
static struct kml_grant remembers_what_nobody_sees(struct kml_heap *heap, const struct kml_request *request)
{
	struct kml_request larger = *request;
	larger.size_bytes *= 2;
	struct kml_grant grant = {.status = KML_NO_RUN};
	if (++hidden_count % 5 == 0)
		grant = really_alloc(heap, &larger);
	return grant.status == KML_OK ? grant : really_alloc(heap, request);
}

static void search_liar(struct kml_grant (*alloc)(struct kml_heap *, const struct kml_request *), bool walk_tells_all,
			struct exhaustive_result *result)
{
	struct exhaustive_setup setup = {
		.stack = "liar:policy=lowest", .units = 4, .cpu_count = 1, .walk_tells_all = walk_tells_all};
	struct kml_error error = {{0}};
	const char *name = liar.name;
	liar = *kml_registry_find("binary");
	liar.name = name;
	liar.create = liar_create;
	liar.alloc = alloc;
	if (!exhaustive_search(&setup, result, &error))
		fail_msg("%s", error.text);
}

static void a_false_refusal_in_one_state_is_found(void **state)
{
	(void)state;
	struct exhaustive_result result;
	search_liar(refuses_in_one_state, true, &result);
	assert_true(result.failed);
	assert_string_equal(result.error.text,
			    "completeness: 16 bytes were refused while the largest free block has 16 bytes");
	/* 16 bytes, 32 bytes, and the request that is refused: no way is shorter. */
	assert_int_equal(result.program.event_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(result.program.events[i].op, KMT_ALLOC);
	assert_int_equal(result.program.events[2].size_bytes, 16);
	program_free(&result.program);
}

static void hidden_memory_is_found(void **state)
{
	(void)state;
	struct exhaustive_result result;
	search_liar(remembers_what_nobody_sees, false, &result);
	assert_true(result.failed);
	assert_non_null(strstr(result.error.text, "congruence"));
	program_free(&result.program);
}

/* The liar that tells the truth passes: it is the lies that are found. */
static void an_honest_wrapper_passes(void **state)
{
	(void)state;
	assert_true(kml_registry_add(&liar));
	struct exhaustive_result result;
	search_liar(really_alloc, true, &result);
	assert_false(result.failed);
	assert_int_equal(result.layouts, exhaustive_expected_layouts("binary", 4));
}

int main(void)
{
	liar = *kml_registry_find("binary");
	liar.name = "liar";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binary_layouts_follow_the_recurrence),
		cmocka_unit_test(other_systems_follow_theirs),
		cmocka_unit_test(fits_follow_fibonacci),
		cmocka_unit_test(every_state_of_every_system),
		cmocka_unit_test(three_slabs),
		/* From here on the registry has a liar. */
		cmocka_unit_test(an_honest_wrapper_passes),
		cmocka_unit_test(a_false_refusal_in_one_state_is_found),
		cmocka_unit_test(hidden_memory_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
