/*
 * compare_test.c - distances of traces small enough to work them out by hand.
 *
 * On `slub` over `binary` an object of the cache `small` takes its slab; what the objects ask for is the test's own.
 */
#include "workloads/testing.h"

#include <math.h>

#include "workloads/compare.h"

static const struct replay_options by_four = {.seed = 1, .samples = 4};

/* Objects of 64 bytes: `counts[i]` are live in the i-th quarter of the trace, whose length is `quarter_ns`. */
static struct kmt_reader *stairs(struct test_trace *trace, const char *name, const uint32_t counts[4],
				 uint64_t quarter_ns)
{
	uint32_t live = 0;
	test_trace_begin(trace, name);
	for (uint64_t quarter = 0; quarter < 4; quarter++) {
		trace->time_ns = quarter * quarter_ns + 1;
		for (; live < counts[quarter]; live++)
			test_trace_add(
				trace,
				(struct kmt_event){
					.op = KMT_ALLOC, .object = live, .cache = 0, .size_bytes = 64, NO_PLACE});
		while (live > counts[quarter])
			test_trace_add(trace,
				       (struct kmt_event){.op = KMT_FREE, .object = --live, .cache = 0, NO_PLACE});
	}
	trace->time_ns = 4 * quarter_ns;
	test_trace_add(trace, (struct kmt_event){.op = KMT_MARK, .cache = KMT_NO_CACHE, NO_PLACE});
	return test_trace_end(trace);
}

static void compare(struct kmt_reader *const readers[COMPARE_SIDES], const char *stack,
		    const struct replay_options *options, struct comparison *comparison)
{
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse(stack, &error);
	if (!spec)
		fail_msg("%s", error.text);
	if (!compare_run(readers, spec, options, comparison, &error))
		fail_msg("%s", error.text);
	kml_spec_free(spec);
}

/*
 * Live at the ends of the quarters: a 10 20 30 10, b 10 25 15 10; the second trace is three times as slow, which
 * must not matter. Off: 0 5 15 0 of 70 objects of 64 bytes; farthest at the third sample, by -15.
 */
static void distances_are_worked_out_by_hand(void **state)
{
	struct test_trace a, b;
	struct comparison comparison = {0};
	(void)state;
	struct kmt_reader *readers[COMPARE_SIDES] = {
		stairs(&a, "compare-a", (const uint32_t[]){10, 20, 30, 10}, 1000000),
		stairs(&b, "compare-b", (const uint32_t[]){10, 25, 15, 10}, 3000000)};
	compare(readers, "slub", &by_four, &comparison);
	const struct compare_distance *requested = &comparison.curves[COMPARE_REQUESTED];
	assert_int_equal(comparison.samples, 4);
	assert_int_equal(requested->base_bytes, 70 * 64);
	assert_int_equal(requested->error_bytes, 20 * 64);
	assert_int_equal(requested->moved_bytes, -10 * 64);
	assert_int_equal(requested->most_bytes, -15 * 64);
	assert_int_equal(requested->most_sample, 2);
	assert_int_equal(requested->peak_bytes[COMPARE_A], 30 * 64);
	assert_int_equal(requested->peak_bytes[COMPARE_B], 25 * 64);
	assert_true(fabs(compare_wape(requested) - 20.0 / 70) < 1e-12);
	for (int side = 0; side < COMPARE_SIDES; side++)
		for (uint64_t i = 0; i < 4; i++)
			assert_int_equal(comparison.sample[side][i].time_ns,
					 (i + 1) * (side == COMPARE_A ? 1000000 : 3000000));
	assert_int_equal(comparison.result[COMPARE_A].arena_bytes, comparison.result[COMPARE_B].arena_bytes);
	/* Slots are of 64 bytes, so the live bytes of the cache are those requested. */
	uint32_t worst[2];
	assert_int_equal(compare_worst(&comparison, worst, 2), 1);
	assert_string_equal(comparison.caches.name[worst[0]], "small");
	assert_int_equal(comparison.cache[worst[0]][COMPARE_LIVE].error_bytes, 20 * 64);
	assert_int_equal(comparison.by_cache[COMPARE_LIVE].error_bytes, 20 * 64);
	compare_free(&comparison);
	test_trace_close(&a, readers[COMPARE_A]);
	test_trace_close(&b, readers[COMPARE_B]);
}

/* At every sample: waste = held - requested = the sum of its terms. */
static void terms_add_up(void **state)
{
	struct test_trace a, b;
	struct comparison comparison = {0};
	(void)state;
	test_trace_begin(&a, "compare-terms-a");
	add_churn(&a, 4000, 300, 3000, 7);
	test_trace_begin(&b, "compare-terms-b");
	add_churn(&b, 2500, 200, 6000, 8);
	struct kmt_reader *readers[COMPARE_SIDES] = {test_trace_end(&a), test_trace_end(&b)};
	static const char *const stacks[] = {"slub", "slab", "slob", "binary"};
	for (size_t s = 0; s < sizeof stacks / sizeof *stacks; s++) {
		const struct replay_options options = {.seed = 1, .samples = 25, .check = true};
		compare(readers, stacks[s], &options, &comparison);
		for (int side = 0; side < COMPARE_SIDES; side++)
			for (uint32_t i = 0; i < 25; i++) {
				const uint64_t *bytes = comparison.sample[side][i].bytes;
				uint64_t terms = 0;
				for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
					terms += bytes[COMPARE_WASTE_TERMS + kind];
				assert_int_equal(bytes[COMPARE_WASTE], terms);
				assert_int_equal(bytes[COMPARE_HELD], bytes[COMPARE_REQUESTED] + terms);
			}
		compare_free(&comparison);
	}
	test_trace_close(&a, readers[COMPARE_A]);
	test_trace_close(&b, readers[COMPARE_B]);
}

static void a_trace_is_as_near_as_can_be_to_itself(void **state)
{
	struct test_trace trace;
	struct comparison comparison = {0};
	uint32_t worst[1];
	(void)state;
	test_trace_begin(&trace, "compare-itself");
	add_churn(&trace, 3000, 300, 3000, 9);
	struct kmt_reader *reader = test_trace_end(&trace);
	compare((struct kmt_reader *[]){reader, reader}, "slab", &by_four, &comparison);
	for (int curve = 0; curve < COMPARE_CURVES; curve++)
		assert_int_equal(comparison.curves[curve].error_bytes, 0);
	assert_int_equal(compare_worst(&comparison, worst, 1), 0);
	compare_free(&comparison);
	test_trace_close(&trace, reader);
}

/* All of its events at one instant: every sample stands at the end. */
static void a_trace_without_duration_has_its_samples_too(void **state)
{
	struct test_trace trace;
	struct comparison comparison = {0};
	(void)state;
	test_trace_begin(&trace, "compare-instant");
	for (uint32_t id = 0; id < 10; id++) {
		add_object(&trace, id, 100);
		trace.time_ns = 0;
	}
	struct kmt_reader *reader = test_trace_end(&trace);
	compare((struct kmt_reader *[]){reader, reader}, "binary", &by_four, &comparison);
	for (int i = 0; i < 4; i++)
		assert_int_equal(comparison.sample[COMPARE_B][i].bytes[COMPARE_REQUESTED], 1000);
	compare_free(&comparison);
	test_trace_close(&trace, reader);
}

static void what_cannot_be_compared_is_refused(void **state)
{
	struct test_trace trace;
	struct comparison comparison = {0};
	struct kml_error error;
	(void)state;
	test_trace_begin(&trace, "compare-refused");
	add_object(&trace, 0, 100);
	struct kmt_reader *reader = test_trace_end(&trace);
	struct kmt_reader *readers[] = {reader, reader};
	struct kml_spec *recorded = kml_spec_parse("recorded", &error), *binary = kml_spec_parse("binary", &error);
	assert_false(compare_run(readers, recorded, &by_four, &comparison, &error));
	assert_non_null(strstr(error.text, "recorded"));
	compare_free(&comparison);
	/* An object of a page or less is nothing that the page level sees. */
	const struct replay_options pages = {.seed = 1, .samples = 4, .level = REPLAY_PAGES};
	assert_false(compare_run(readers, binary, &pages, &comparison, &error));
	assert_non_null(strstr(error.text, "no allocation at level pages"));
	compare_free(&comparison);
	kml_spec_free(recorded);
	kml_spec_free(binary);
	test_trace_close(&trace, reader);
}

static void ratios_without_a_base(void **state)
{
	(void)state;
	assert_true(isnan(compare_wape(&(struct compare_distance){0})));
	assert_true(isinf(compare_wape(&(struct compare_distance){.error_bytes = 1})));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distances_are_worked_out_by_hand),
		cmocka_unit_test(terms_add_up),
		cmocka_unit_test(a_trace_is_as_near_as_can_be_to_itself),
		cmocka_unit_test(a_trace_without_duration_has_its_samples_too),
		cmocka_unit_test(what_cannot_be_compared_is_refused),
		cmocka_unit_test(ratios_without_a_base),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
