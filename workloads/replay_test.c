/*
 * replay_test.c - the runner: figures worked out by hand, the books of every registered allocator, levels, failures,
 * misuse, and the smallest arena against trying every size.
 */
#include "workloads/testing.h"

#include "allocators/registry.h"
#include "workloads/figures.h"
#include "workloads/replay.h"
#include "workloads/scan.h"

static const uint64_t KIB = 1024;

static struct kml_spec *parse(const char *text)
{
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse(text, &error);
	if (!spec)
		fail_msg("%s", error.text);
	return spec;
}

static void replay_with(struct kmt_reader *reader, const char *spec_text, const struct replay_options *options,
			replay_observer *observer, void *context, struct replay_result *result)
{
	struct kml_error error = {{0}};
	struct kml_spec *spec = parse(spec_text);
	if (!replay_run(reader, spec, options, observer, NULL, context, result, &error))
		fail_msg("%s: %s", spec_text, error.text);
	kml_spec_free(spec);
}

static struct replay_result replay(struct kmt_reader *reader, const char *spec_text, uint64_t arena_bytes)
{
	struct replay_options options = {.arena_bytes = arena_bytes, .check = true, .samples = 4, .seed = 1};
	struct replay_result result;
	replay_with(reader, spec_text, &options, NULL, NULL, &result);
	if (result.check_failed)
		fail_msg("%s: %s", spec_text, result.check_error.text);
	return result;
}

/* ------------------------------------------------------------------------------------- worked out by hand */

struct seen {
	uint32_t count;
	struct replay_sample sample[16];
};

static bool see(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		const struct kml_arena *arena)
{
	struct seen *seen = context;
	(void)stack;
	(void)arena;
	assert_true(seen->count < 16);
	seen->sample[seen->count++] = *sample;
	return true;
}

/*
 * Binary buddies of 16 bytes in 64 KiB, the low half kept at each split (Knowlton 1965):
 *
 *   event             requested  granted   held
 *   alloc 100             100      128     4096   [0, 128)
 *   alloc page           4196     4224     8192   [4096, 8192)
 *   alloc 20             4216     4256     8192   [128, 160)
 *   free 100             4116     4128     8192   page 0 still has the 32 bytes
 *   alloc 5000           9116    12320    16384   [8192, 16384)
 *   free page            5020     8224    12288
 */
static void figures_of_a_trace_worked_out_by_hand(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "by-hand");
	add_object(&trace, 0, 100);
	add_pages(&trace, 1, 0, 0);
	add_object(&trace, 2, 20);
	free_object(&trace, 0);
	add_object(&trace, 0, 5000);
	free_pages(&trace, 1, 0, 0);
	struct kmt_reader *reader = test_trace_end(&trace);

	struct replay_options options = {.arena_bytes = 64 * KIB, .samples = 3, .seed = 1};
	struct replay_result result;
	struct seen seen = {0};
	replay_with(reader, "binary", &options, see, &seen, &result);
	assert_false(result.check_failed);
	assert_int_equal(result.events, 6);
	assert_int_equal(result.allocations, 4);
	assert_int_equal(result.frees, 2);
	assert_int_equal(result.peak_requested_bytes, 9116);
	assert_int_equal(result.peak_granted_bytes, 12320);
	assert_int_equal(result.peak_held_bytes, 16384);
	assert_float_equal(result.mean_requested_bytes, 26764 / 6.0, 1e-9);
	assert_float_equal(result.mean_granted_bytes, 33280 / 6.0, 1e-9);
	assert_float_equal(result.mean_held_bytes, 57344 / 6.0, 1e-9);
	assert_int_equal(result.at_peak_held.event, 4);
	assert_int_equal(result.at_peak_held.stats.waste_bytes[KML_WASTE_BUDDY_ROUNDING], 12320 - 9116);
	assert_int_equal(result.at_peak_held.stats.waste_bytes[KML_WASTE_EXTERNAL], 16384 - 12320);
	assert_int_equal(result.perf_requested_bytes, 100 + 20 + 5000);
	assert_int_equal(result.perf_allocated_bytes, 128 + 32 + 8192);

	struct replay_figures figures;
	replay_figures(&result, &figures);
	double ratios = 4096.0 / 100 + 8192.0 / 4196 + 8192.0 / 4216 + 8192.0 / 4116 + 16384.0 / 9116 + 12288.0 / 5020;
	assert_float_equal(figures.johnstone_wilson[0], ratios / 6, 1e-9);
	assert_float_equal(figures.johnstone_wilson[1], 16384.0 / 9116, 1e-9);
	assert_float_equal(figures.johnstone_wilson[2], 16384.0 / 9116, 1e-9);
	assert_float_equal(figures.johnstone_wilson[3], 16384.0 / 9116, 1e-9);
	assert_float_equal(figures.internal_fragmentation, 1 - 26764.0 / 33280, 1e-9);
	assert_float_equal(figures.slab_slack, 1 - 33280.0 / 57344, 1e-9);
	assert_float_equal(figures.perf_fragmentation_percent, 100 - 100 * 5120.0 / 8352, 1e-9);

	assert_int_equal(seen.count, 3);
	static const uint64_t requested[] = {4196, 4116, 5020}, held[] = {8192, 8192, 12288}, live[] = {2, 2, 2};
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(seen.sample[i].event, 2 * (i + 1));
		assert_int_equal(seen.sample[i].time_ns, 1000 * (2 * i + 1));
		assert_int_equal(seen.sample[i].requested_bytes, requested[i]);
		assert_int_equal(seen.sample[i].stats.held_bytes, held[i]);
		assert_int_equal(seen.sample[i].live_blocks, live[i]);
	}
	test_trace_close(&trace, reader);
}

/* The warm start is there, but it is not what happened: means and samples begin after it. */
static void the_warm_start_counts_in_peaks_only(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "warm");
	for (uint32_t i = 0; i < 3; i++)
		test_trace_add(&trace, (struct kmt_event){.op = KMT_ALLOC,
							  .object = i,
							  .size_bytes = 4096,
							  .cache = KMT_NO_CACHE,
							  .flags = KMT_WARM,
							  NO_PLACE});
	free_object(&trace, 0);
	free_object(&trace, 1);
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_options options = {.arena_bytes = 64 * KIB, .samples = 2};
	struct replay_result result;
	struct seen seen = {0};
	replay_with(reader, "first_fit", &options, see, &seen, &result);
	assert_int_equal(result.peak_requested_bytes, 3 * 4096);
	assert_float_equal(result.mean_requested_bytes, (2 + 1) * 4096 / 2.0, 1e-9);
	assert_int_equal(result.perf_requested_bytes, 0);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.sample[0].event, 4);
	assert_int_equal(seen.sample[1].event, 5);
	test_trace_close(&trace, reader);
}

static void every_level_is_fed_what_it_is(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "levels");
	add_object(&trace, 0, 100);
	add_pages(&trace, 1, 1, 0);
	add_pages(&trace, 2, 0, KMT_SLAB_PAGE);
	test_trace_add(&trace, (struct kmt_event){.op = KMT_ALLOC,
						  .object = 3,
						  .size_bytes = 9000,
						  .granted_bytes = 16384,
						  .cache = KMT_NO_CACHE,
						  .flags = KML_KMALLOC | KMT_LARGE,
						  NO_PLACE});
	struct kmt_reader *reader = test_trace_end(&trace);
	static const struct {
		uint64_t allocations, requested_bytes, recorded_peak_bytes;
	} expected[REPLAY_LEVELS] = {
		[REPLAY_ALL] = {3, 100 + 8192 + 9000, 100 + 8192 + 16384},
		[REPLAY_OBJECTS] = {2, 100 + 9000, 100 + 16384},
		/* 9000 bytes are a block of order 2 */
		[REPLAY_PAGES] = {3, 8192 + 4096 + 16384, 8192 + 4096 + 16384},
	};
	for (int level = 0; level < REPLAY_LEVELS; level++) {
		struct replay_options options = {.level = level, .arena_bytes = 64 * KIB};
		struct replay_result result;
		struct kml_error error;
		struct replay_scan scan;
		replay_with(reader, "binary", &options, NULL, NULL, &result);
		assert_int_equal(result.allocations, expected[level].allocations);
		assert_int_equal(result.peak_requested_bytes, expected[level].requested_bytes);
		assert_true(replay_scan(reader, &scan, &error));
		assert_int_equal(scan.peak_granted_bytes[level], expected[level].recorded_peak_bytes);
		replay_scan_free(&scan);
	}
	test_trace_close(&trace, reader);
}

/* Twice the peak, in whole blocks of 4 MiB. */
static void the_automatic_arena_is_twice_the_recorded_peak(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "auto");
	add_pages(&trace, 0, 10, 0); /* 4 MiB */
	add_object(&trace, 1, 1);
	struct kmt_reader *reader = test_trace_end(&trace);
	assert_int_equal(replay(reader, "binary", 0).arena_bytes, 12 << 20);
	const struct kmt_origin recorded = {0}, made_for = {.arena_bytes = 12345};
	assert_int_equal(replay_auto_arena(&recorded, 4 << 20), 8 << 20);
	assert_int_equal(replay_auto_arena(&recorded, 1), 4 << 20);
	assert_int_equal(replay_auto_arena(&made_for, 1), 12345);
	test_trace_close(&trace, reader);
}

/* ------------------------------------------------------------------------------------- failures and misuse */

static void failures_are_counted_by_reason(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "failures");
	add_object(&trace, 9, 16385); /* impossible in 16 KiB */
	for (uint32_t i = 0; i < 4; i++)
		add_pages(&trace, i, 0, 0);
	add_object(&trace, 4, 1); /* no memory */
	free_pages(&trace, 0, 0, 0);
	free_pages(&trace, 2, 0, 0);
	add_pages(&trace, 5, 1, 0); /* two pages are free, but no two buddies */
	free_pages(&trace, 5, 1, 0);
	free_object(&trace, 4);
	free_object(&trace, 7); /* never lived */
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_result result = replay(reader, "binary", 16 * KIB);
	assert_int_equal(result.failures[KML_IMPOSSIBLE], 1);
	assert_int_equal(result.failures[KML_NO_MEMORY], 1);
	assert_int_equal(result.failures[KML_NO_RUN], 1);
	assert_int_equal(result.skipped_frees, 2);
	assert_int_equal(result.dead_frees, 1);
	assert_int_equal(result.frees, 2);

	struct replay_options options = {.arena_bytes = 16 * KIB, .stop_at_failure = true};
	replay_with(reader, "binary", &options, NULL, NULL, &result);
	assert_int_equal(result.events, 1);
	test_trace_close(&trace, reader);
}

/* A fuzzer's free of a wrong address reaches the allocator, is named and not obeyed. */
static void misuse_is_refused(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "misuse");
	add_object(&trace, 0, 100);
	test_trace_add(
		&trace,
		(struct kmt_event){.op = KMT_FREE, .object = 0, .cache = KMT_NO_CACHE, .address = 16}); /* interior */
	test_trace_add(&trace, (struct kmt_event){.op = KMT_FREE,
						  .object = 0,
						  .cache = KMT_NO_CACHE,
						  .address = 1ull << 40}); /* foreign */
	free_object(&trace, 0);
	test_trace_add(&trace, (struct kmt_event){
				       .op = KMT_FREE, .object = 0, .cache = KMT_NO_CACHE, .address = 0}); /* double */
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_result result = replay(reader, "binary", 64 * KIB);
	assert_int_equal(result.refused_frees, 3);
	assert_int_equal(result.frees, 1);
	assert_int_equal(result.at_end.live_blocks, 0);
	assert_int_equal(replay(reader, "nop", 64 * KIB).dead_frees, 3);
	test_trace_close(&trace, reader);
}

static void an_id_that_is_live_cannot_be_allocated(void **state)
{
	struct test_trace trace;
	struct kml_error error;
	struct replay_result result;
	struct replay_options options = {.arena_bytes = 64 * KIB};
	(void)state;
	test_trace_begin(&trace, "live-id");
	add_object(&trace, 0, 100);
	trace.time_ns += 1;
	if (!kmt_write_event(trace.writer,
			     &(struct kmt_event){.op = KMT_ALLOC,
						 .object = 0,
						 .size_bytes = 8,
						 .time_ns = trace.time_ns,
						 .cache = KMT_NO_CACHE,
						 NO_PLACE},
			     &error)) {
		kmt_abandon(trace.writer); /* the writer may know better */
		return;
	}
	struct kmt_reader *reader = test_trace_end(&trace);
	struct kml_spec *spec = parse("binary");
	assert_false(replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error));
	assert_non_null(strstr(error.text, "event 1"));
	assert_non_null(strstr(error.text, trace.path));
	kml_spec_free(spec);
	test_trace_close(&trace, reader);
}

/* ----------------------------------------------------------------------------------- all that is registered */

static bool books_agree(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			const struct kml_arena *arena)
{
	uint32_t *samples = context;
	uint64_t sum = sample->requested_bytes;
	(void)stack;
	(void)arena;
	for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
		sum += sample->stats.waste_bytes[kind];
	assert_int_equal(sum, sample->stats.held_bytes);
	assert_true(sample->stats.granted_bytes >= sample->requested_bytes);
	assert_true(sample->stats.held_bytes >= sample->stats.granted_bytes);
	(*samples)++;
	return true;
}

static struct kmt_reader *churn(struct test_trace *trace, const char *name, uint32_t events)
{
	test_trace_begin(trace, name);
	add_churn(trace, events, 300, 3000, 12345);
	return test_trace_end(trace);
}

static void requested_and_waste_are_what_is_held_on_every_allocator(void **state)
{
	struct test_trace trace;
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	(void)state;
	struct kmt_reader *reader = churn(&trace, "books", 4000);
	for (size_t i = 0; i < count; i++) {
		for (int level = 0; level < REPLAY_LEVELS; level++) {
			struct replay_options options = {.level = level, .check = true, .samples = 50, .seed = 1};
			struct replay_result result, again;
			uint32_t samples = 0;
			replay_with(reader, registry[i]->name, &options, books_agree, &samples, &result);
			if (result.check_failed)
				fail_msg("%s at %s: %s", registry[i]->name, replay_level_name(level),
					 result.check_error.text);
			assert_int_equal(samples, 50);
			assert_true(result.allocations > 500);
			/* Same trace, spec and seed: the same figures, whether watched or not. */
			options.check = false;
			replay_with(reader, registry[i]->name, &options, NULL, NULL, &again);
			result.elapsed_ns = again.elapsed_ns = 0;
			result.check_error = again.check_error = (struct kml_error){{0}};
			assert_memory_equal(&result, &again, sizeof result);
		}
	}
	test_trace_close(&trace, reader);
}

static bool does(struct kmt_reader *reader, const char *spec_text, uint64_t arena_bytes)
{
	struct replay_options options = {.arena_bytes = arena_bytes, .seed = 1};
	struct replay_result result;
	struct kml_error error;
	struct kml_spec *spec = parse(spec_text);
	bool done = replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error);
	kml_spec_free(spec);
	return done &&
	       result.failures[KML_NO_MEMORY] + result.failures[KML_NO_RUN] + result.failures[KML_IMPOSSIBLE] == 0;
}

/* Every size is tried. Where larger is always better the answer is the least one; else one that does, with none below.
 */
static void check_smallest(struct kmt_reader *reader, const char *spec_text)
{
	enum { PAGES_MAX = 400 };
	struct replay_options options = {.seed = 1};
	struct kml_error error = {{0}};
	struct kml_spec *spec = parse(spec_text);
	uint64_t found, least = 0;
	bool orderly = true;
	if (!replay_smallest_arena(reader, spec, &options, &found, &error))
		fail_msg("%s: %s", spec_text, error.text);
	for (uint64_t pages = 1; pages <= PAGES_MAX; pages++) {
		bool works = does(reader, spec_text, pages * TEST_PAGE_BYTES);
		if (works && least == 0)
			least = pages * TEST_PAGE_BYTES;
		orderly = orderly && (works || least == 0);
	}
	assert_true(least > 0);
	assert_true(found >= least);
	if (orderly)
		assert_int_equal(found, least);
	assert_true(does(reader, spec_text, found));
	assert_false(does(reader, spec_text, found - TEST_PAGE_BYTES));
	kml_spec_free(spec);
}

static void the_smallest_arena_is_that_of_trying_every_size(void **state)
{
	struct test_trace trace;
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	(void)state;
	test_trace_begin(&trace, "smallest");
	add_churn(&trace, 300, 60, 3000, 99);
	struct kmt_reader *reader = test_trace_end(&trace);
	for (size_t i = 0; i < count; i++)
		if (!(registry[i]->traits & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE)))
			check_smallest(reader, registry[i]->name);
	test_trace_close(&trace, reader);
}

/* One page live at a time: one page does. A block larger than any arena's largest: none does. */
static void the_smallest_arena_of_simple_traces(void **state)
{
	struct test_trace trace;
	struct kml_error error;
	struct replay_options options = {.seed = 1};
	uint64_t found = 1;
	(void)state;
	test_trace_begin(&trace, "one-page");
	for (uint32_t i = 0; i < 10; i++) {
		add_pages(&trace, 0, 0, 0);
		free_pages(&trace, 0, 0, 0);
	}
	struct kmt_reader *reader = test_trace_end(&trace);
	struct kml_spec *spec = parse("binary");
	assert_true(replay_smallest_arena(reader, spec, &options, &found, &error));
	assert_int_equal(found, TEST_PAGE_BYTES);
	kml_spec_free(spec);
	spec = parse("binary:max_order=4"); /* of 16 bytes: 256 at most */
	assert_true(replay_smallest_arena(reader, spec, &options, &found, &error));
	assert_int_equal(found, 0);
	kml_spec_free(spec);
	spec = parse("recorded");
	assert_false(replay_smallest_arena(reader, spec, &options, &found, &error));
	kml_spec_free(spec);
	test_trace_close(&trace, reader);
}

/* Caches, shrink and drain reach the operations that are there, and nothing else does. */
static void caches_open_and_close(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "caches");
	const struct kmt_event open = {.op = KMT_CACHE_OPEN, .cache = 1, NO_PLACE};
	const struct kmt_event close = {.op = KMT_CACHE_CLOSE, .cache = 1, NO_PLACE};
	const struct kmt_event object = {.op = KMT_ALLOC, .cache = 1, .size_bytes = 1000, NO_PLACE};
	test_trace_add(&trace, open);
	test_trace_add(&trace, object);
	test_trace_add(&trace, close); /* refused where caches are known: an object is live */
	free_object(&trace, 0);
	test_trace_add(&trace, close);
	test_trace_add(&trace, (struct kmt_event){.op = KMT_SHRINK, .cache = KMT_NO_CACHE, NO_PLACE});
	test_trace_add(&trace, (struct kmt_event){.op = KMT_DRAIN, .cache = KMT_NO_CACHE, .cpu = 1, NO_PLACE});
	test_trace_add(&trace, (struct kmt_event){.op = KMT_REAP, .cache = 0, .cpu = 1, .size_bytes = 3, NO_PLACE});
	test_trace_add(&trace, open);
	test_trace_add(&trace, object);
	struct kmt_reader *reader = test_trace_end(&trace);
	assert_int_equal(replay(reader, "binary", 64 * KIB).unserved_closes, 0);
	assert_int_equal(replay(reader, "recorded", 0).unserved_closes, 1);
	assert_int_equal(replay(reader, "recorded", 0).allocations, 2);
	test_trace_close(&trace, reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(figures_of_a_trace_worked_out_by_hand),
		cmocka_unit_test(the_warm_start_counts_in_peaks_only),
		cmocka_unit_test(every_level_is_fed_what_it_is),
		cmocka_unit_test(the_automatic_arena_is_twice_the_recorded_peak),
		cmocka_unit_test(failures_are_counted_by_reason),
		cmocka_unit_test(misuse_is_refused),
		cmocka_unit_test(an_id_that_is_live_cannot_be_allocated),
		cmocka_unit_test(requested_and_waste_are_what_is_held_on_every_allocator),
		cmocka_unit_test(the_smallest_arena_is_that_of_trying_every_size),
		cmocka_unit_test(the_smallest_arena_of_simple_traces),
		cmocka_unit_test(caches_open_and_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
