/*
 * fit_test.c - first fit and best fit against their definitions: a map of units, searched from end to end.
 *
 * Every placement, refusal and figure is compared. The maps are small, so that runs of all sizes, alignments and full
 * arenas come up often.
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
#include "kmemlab/support/random.h"

#define UNIT_BYTES 16u
#define UNITS_MAX 700u
#define LIVE_MAX 300u
#define STEPS 20000u

struct map {
	uint32_t unit_count;
	bool taken[UNITS_MAX];
};

struct run_of_units {
	uint32_t start, size;
};

/* The next run of free units from `from` on; size 0: none. */
static struct run_of_units next_run(const struct map *map, uint32_t from)
{
	struct run_of_units run = {from, 0};
	while (run.start < map->unit_count && map->taken[run.start])
		run.start++;
	while (run.start + run.size < map->unit_count && !map->taken[run.start + run.size])
		run.size++;
	return run;
}

/* Where the definition puts the request; UNITS_MAX: nowhere. */
static uint32_t place(const struct map *map, uint32_t size, uint64_t align_bytes, bool best)
{
	uint32_t chosen = UNITS_MAX, chosen_size = UINT32_MAX;
	uint32_t align = align_bytes <= UNIT_BYTES ? 1 : (uint32_t)(align_bytes / UNIT_BYTES);
	struct run_of_units run = next_run(map, 0);
	for (; run.size > 0; run = next_run(map, run.start + run.size)) {
		uint32_t start = (run.start + align - 1) / align * align;
		if (start + size > run.start + run.size)
			continue;
		if (!best)
			return start;
		if (run.size < chosen_size) {
			chosen = start;
			chosen_size = run.size;
		}
	}
	return chosen;
}

static uint32_t count_free(const struct map *map, uint32_t *largest)
{
	uint32_t sum = 0;
	*largest = 0;
	for (struct run_of_units run = next_run(map, 0); run.size > 0; run = next_run(map, run.start + run.size)) {
		sum += run.size;
		if (run.size > *largest)
			*largest = run.size;
	}
	return sum;
}

static void mark(struct map *map, uint32_t start, uint32_t size, bool taken)
{
	for (uint32_t unit = start; unit < start + size; unit++) {
		assert_int_equal(map->taken[unit], !taken);
		map->taken[unit] = taken;
	}
}

static enum kml_status expected_status(const struct map *map, uint32_t size, uint32_t start)
{
	uint32_t largest;
	if (size > map->unit_count)
		return KML_IMPOSSIBLE;
	if (start != UNITS_MAX)
		return KML_OK;
	return count_free(map, &largest) < size ? KML_NO_MEMORY : KML_NO_RUN;
}

struct live {
	uint32_t start, size;
};

static uint32_t random_size(uint64_t *random, uint32_t unit_count)
{
	if (random_below(random, 30) == 0)
		return 1 + (uint32_t)random_below(random, unit_count + 3);
	return 1 + (uint32_t)random_below(random, 1 + random_below(random, 20));
}

static void compare_figures(struct kml_heap *heap, const struct map *map)
{
	struct kml_stats stats;
	uint32_t largest, free_units = count_free(map, &largest);
	heap->allocator->stats(heap, &stats);
	assert_int_equal(stats.free_bytes, free_units * UNIT_BYTES);
	assert_int_equal(stats.largest_free_bytes, largest * UNIT_BYTES);
	assert_int_equal(stats.granted_bytes, (map->unit_count - free_units) * UNIT_BYTES);
}

static void run_against_the_map(const char *spec_text, uint32_t unit_count, bool best)
{
	static const uint64_t aligns[] = {0, 0, 0, 1, 16, 32, 64, 256, 1024};
	struct kml_error error = {{0}};
	struct kml_spec *spec = kml_spec_parse(spec_text, &error);
	struct kml_arena *arena = kml_arena_create(unit_count * UNIT_BYTES + UNIT_BYTES / 2, 4096, false, &error);
	const struct kml_environment environment = {.arena = arena, .page_bytes = 4096, .cpu_count = 1};
	struct kml_stack stack = {0};
	assert_true(spec != NULL && arena != NULL && kml_stack_create(&stack, spec, &environment, &error));
	struct kml_heap *heap = kml_stack_top(&stack);

	struct map map = {.unit_count = unit_count};
	struct live live[LIVE_MAX];
	uint32_t live_count = 0, refusals = 0;
	uint64_t random = unit_count;
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t size = random_size(&random, unit_count);
		uint64_t align_bytes = aligns[random_below(&random, sizeof(aligns) / sizeof(aligns[0]))];
		uint64_t short_bytes = random_below(&random, UNIT_BYTES), pick = random_next(&random);
		if (random_below(&random, 100) < 55 && live_count < LIVE_MAX) {
			const struct kml_request request = {.size_bytes = size * UNIT_BYTES - short_bytes,
							    .align_bytes = align_bytes,
							    .cache = KML_NO_CACHE};
			struct kml_grant grant = heap->allocator->alloc(heap, &request);
			uint32_t start = place(&map, size, align_bytes, best);
			enum kml_status status = expected_status(&map, size, start);
			uint64_t address = status == KML_OK ? start * UNIT_BYTES : KML_NO_ADDRESS;
			if (grant.status != status || grant.address != address)
				fail_msg("%s, step %u: %u units aligned to %llu at %lld (\"%s\"), by definition %lld "
					 "(\"%s\")",
					 spec_text, step, size, (unsigned long long)align_bytes,
					 (long long)grant.address, kml_status_name(grant.status), (long long)address,
					 kml_status_name(status));
			if (status == KML_OK) {
				mark(&map, start, size, true);
				live[live_count++] = (struct live){start, size};
			} else {
				refusals++;
			}
		} else if (live_count > 0) {
			struct live *victim = &live[pick % live_count];
			const struct kml_release release = {.address = victim->start * UNIT_BYTES,
							    .cache = KML_NO_CACHE};
			assert_int_equal(heap->allocator->free(heap, &release), KML_OK);
			mark(&map, victim->start, victim->size, false);
			*victim = live[--live_count];
		}
		compare_figures(heap, &map);
	}
	assert_true(refusals > STEPS / 100);
	kml_stack_destroy(&stack);
	kml_arena_destroy(arena);
	kml_spec_free(spec);
}

static void first_fit_takes_the_lowest(void **state)
{
	(void)state;
	run_against_the_map("first_fit:unit=16", 300, false);
	run_against_the_map("first_fit:unit=16", UNITS_MAX, false);
}

static void best_fit_takes_the_smallest(void **state)
{
	(void)state;
	run_against_the_map("best_fit:unit=16", 300, true);
	run_against_the_map("best_fit:unit=16", UNITS_MAX, true);
}

/*
 * Knuth, TAOCP 1, 2.5: areas of 1300 and 1200 are free; requests of 1000, 1100, 250 come in turn. First fit satisfies
 * all three, best fit is left with 200 and 200 and fails the last.
 */
static void knuth_s_example(void **state)
{
	(void)state;
	static const struct {
		const char *spec_text;
		enum kml_status last;
	} fits[] = {{"first_fit:unit=1", KML_OK}, {"best_fit:unit=1", KML_NO_RUN}};
	for (size_t i = 0; i < 2; i++) {
		struct kml_spec *spec = kml_spec_parse(fits[i].spec_text, NULL);
		struct kml_arena *arena = kml_arena_create(1300 + 1 + 1200, 4096, false, NULL);
		const struct kml_environment environment = {.arena = arena, .page_bytes = 4096, .cpu_count = 1};
		struct kml_stack stack = {0};
		assert_true(spec != NULL && arena != NULL && kml_stack_create(&stack, spec, &environment, NULL));
		struct kml_heap *heap = kml_stack_top(&stack);
		static const uint64_t sizes[] = {1300, 1, 1000, 1100, 250};
		for (unsigned k = 0; k < 5; k++) {
			const struct kml_request request = {.size_bytes = sizes[k], .cache = KML_NO_CACHE};
			const struct kml_release first = {.address = 0, .cache = KML_NO_CACHE};
			enum kml_status status = heap->allocator->alloc(heap, &request).status;
			assert_int_equal(status, k == 4 ? fits[i].last : KML_OK);
			if (k == 1)
				assert_int_equal(heap->allocator->free(heap, &first), KML_OK);
		}
		kml_stack_destroy(&stack);
		kml_arena_destroy(arena);
		kml_spec_free(spec);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_fit_takes_the_lowest),
		cmocka_unit_test(best_fit_takes_the_smallest),
		cmocka_unit_test(knuth_s_example),
	};
	return cmocka_run_group_tests_name("fit", tests, NULL, NULL);
}
