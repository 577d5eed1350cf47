/*
 * differential_test.c - every law of the differential targets on random programs, and that broken laws are seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fuzz/differential.h"
#include "kmemlab/support/random.h"

enum { EVENTS = 300, OBJECTS = 48, ROUNDS = 20 };

static const enum textbook_policy policies[] = {TEXTBOOK_LOWEST, TEXTBOOK_LIFO, TEXTBOOK_FIFO};
static const char *const policy_names[] = {"lowest", "lifo", "fifo"};

/* Allocs and frees in an arena in which memory runs out. */
static void random_program(struct program *program, uint64_t seed)
{
	uint64_t random = seed;
	bool live[OBJECTS] = {false};
	program->event_count = 0;
	program->setup.arena_bytes = 1000 + random_below(&random, 16000);
	program->setup.cpu_count = 2;
	for (uint32_t i = 0; i < EVENTS; i++) {
		uint32_t id = (uint32_t)random_below(&random, OBJECTS);
		struct kmt_event event = {.op = live[id] ? KMT_FREE : KMT_ALLOC,
					  .object = id,
					  .cache = KMT_NO_CACHE,
					  .cpu = (uint16_t)random_below(&random, 2),
					  .address = KMT_NO_ADDRESS};
		event.size_bytes = 1 + random_below(&random, 1 + random_below(&random, 3000));
		live[id] = !live[id];
		assert_true(program_add(program, &event));
	}
}

static void every_system_follows_its_textbook(void **state)
{
	(void)state;
	struct program program = {0};
	struct kml_error error = {{0}};
	uint32_t systems = 0;
	for (; *differential_system(systems) != '\0'; systems++)
		for (uint32_t round = 0; round < 3 * ROUNDS; round++) {
			const char *system = differential_system(systems);
			char spec[128];
			snprintf(spec, sizeof(spec), "%s%cpolicy=%s", system, strchr(system, ':') ? ',' : ':',
				 policy_names[round % 3]);
			random_program(&program, systems * 1000 + round);
			if (!differential_textbook(&program, spec, spec, &error))
				fail_msg("%s", error.text);
		}
	/* binary, dual, fibonacci, kary, tertiary and weighted, with 16 of j and 15 of k. */
	assert_true(systems >= 6 + 16 + 15);
	program_free(&program);
}

static void every_pair_agrees(void **state)
{
	(void)state;
	struct program program = {0};
	struct differential_pair pair;
	struct kml_error error = {{0}};
	uint32_t number = 0;
	for (; differential_pair(number, TEXTBOOK_LOWEST, &pair); number++)
		for (uint32_t round = 0; round < 3 * ROUNDS; round++) {
			differential_pair(number, policies[round % 3], &pair);
			random_program(&program, number * 1000 + round);
			if (pair.law == DIFFERENTIAL_KMALLOC || pair.law == DIFFERENTIAL_PAGES)
				program.setup.arena_bytes *= 16;
			if (!differential_stacks(&program, &pair, &error))
				fail_msg("%s", error.text);
		}
	/* Eight laws, and four object strategies on eight page allocators. */
	assert_true(number >= 8 + 4 * 8);
	program_free(&program);
}

/* ------------------------------------------------------------------------------------------------ broken laws are seen
 */

static void add_alloc(struct program *program, uint32_t object, uint64_t size_bytes)
{
	const struct kmt_event event = {.op = KMT_ALLOC, .object = object, .size_bytes = size_bytes};
	assert_true(program_add(program, &event));
}

/* 1 of 8 units: the binary textbook halves three times; the ternary system takes one of 3 of a root of 3. */
static void another_system_is_not_the_textbook(void **state)
{
	(void)state;
	struct program program = {.setup = {.arena_bytes = 128, .cpu_count = 1}};
	struct kml_error error = {{0}};
	add_alloc(&program, 0, 16);
	assert_true(differential_textbook(&program, "kary:k=2", "binary", &error));
	assert_false(differential_textbook(&program, "kary:k=3", "binary", &error));
	assert_non_null(strstr(error.text, "event 0"));
	/* Three units are four of Knowlton's. */
	program.event_count = 0;
	add_alloc(&program, 0, 48);
	assert_false(differential_textbook(&program, "weighted", "binary", &error));
	assert_non_null(strstr(error.text, "48 bytes"));
	program_free(&program);
}

/* Of two free blocks that are no buddies the one freed last is another than the lowest. */
static void another_policy_is_not_the_textbook(void **state)
{
	(void)state;
	struct program program = {.setup = {.arena_bytes = 64, .cpu_count = 1}};
	struct kml_error error = {{0}};
	static const uint32_t freed[] = {0, 2};
	for (uint32_t i = 0; i < 4; i++)
		add_alloc(&program, i, 16);
	for (uint32_t i = 0; i < 2; i++)
		assert_true(program_add(&program, &(struct kmt_event){.op = KMT_FREE, .object = freed[i]}));
	add_alloc(&program, 4, 16);
	assert_true(differential_textbook(&program, "binary:policy=lowest", "binary:policy=lowest", &error));
	assert_true(differential_textbook(&program, "binary:policy=lowest", "binary:policy=fifo", &error));
	assert_false(differential_textbook(&program, "binary:policy=lowest", "binary:policy=lifo", &error));
	assert_non_null(strstr(error.text, "event 6"));
	program_free(&program);
}

static void stacks_that_differ_are_told(void **state)
{
	(void)state;
	struct program program = {.setup = {.arena_bytes = 65536, .cpu_count = 1}};
	struct kml_error error = {{0}};
	static const struct differential_pair pairs[] = {
		{"binary", "weighted", DIFFERENTIAL_BLOCKS},                         /* 48 bytes: 64 and 48 */
		{"first_fit", "binary", DIFFERENTIAL_FITS},                          /* the same */
		{"slub", "slob", DIFFERENTIAL_KMALLOC},                              /* SLOB has no classes */
		{"binary:unit=4096", "slub/kary:unit=4096,k=3", DIFFERENTIAL_PAGES}, /* 2 pages: 2 and 3 */
	};
	add_alloc(&program, 0, 48);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		program.events[0].op = pairs[i].law == DIFFERENTIAL_PAGES ? KMT_PAGE_ALLOC : KMT_ALLOC;
		program.events[0].order = 1;
		assert_false(differential_stacks(&program, &pairs[i], &error));
	}
	program_free(&program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_system_follows_its_textbook),
		cmocka_unit_test(every_pair_agrees),
		cmocka_unit_test(another_system_is_not_the_textbook),
		cmocka_unit_test(another_policy_is_not_the_textbook),
		cmocka_unit_test(stacks_that_differ_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
