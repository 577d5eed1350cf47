/*
 * fidelity_test.c - WMAPE and skill of traces small enough to work them out by hand.
 *
 * `recorded` predicts what the slab page events say, so that the test decides what is predicted and what is actual.
 */
#include "workloads/testing.h"

#include <math.h>

#include "workloads/fidelity.h"

#define HEADING "slabinfo - version: 2.1\n# name\n"
#define TAIL " : tunables 0 0 0 : slabdata "

static void slab_event(struct test_trace *trace, enum kmt_op op, uint32_t id, uint16_t cache)
{
	test_trace_add(trace, (struct kmt_event){.op = (uint8_t)op,
						 .object = id,
						 .cache = cache,
						 .order = (uint8_t)cache,
						 .size_bytes = (uint64_t)TEST_PAGE_BYTES << cache,
						 .address = (uint64_t)TEST_PAGE_BYTES * 4 * (id + 1),
						 .flags = KML_PAGES | KMT_SLAB_PAGE});
}

/* `small` has slabs of a page, `large` of two. */
static void slabinfo(struct test_trace *trace, const char *label, unsigned small, unsigned large)
{
	char text[512];
	struct kml_error error;
	snprintf(text, sizeof text, HEADING "small %u %u 64 64 1" TAIL "%u %u 0\nlarge %u %u 1024 8 2" TAIL "%u %u 0\n",
		 small * 64, small * 64, small, small, large * 8, large * 8, large, large);
	struct kmt_snapshot snapshot = {.kind = KMT_SNAPSHOT_SLABINFO,
					.time_ns = trace->time_ns,
					.label = label,
					.text = text,
					.text_bytes = strlen(text)};
	if (!kmt_write_snapshot(trace->writer, &snapshot, &error))
		fail_msg("%s", error.text);
}

static bool judge(struct test_trace *trace, const char *stack, struct fidelity *fidelity, struct kml_error *error)
{
	struct kmt_reader *reader = test_trace_end(trace);
	struct kml_spec *spec = kml_spec_parse(stack, error);
	if (!spec)
		fail_msg("%s", error->text);
	const struct fidelity_options options = {.replay = {.seed = 1}};
	bool done = fidelity_run(reader, spec, &options, fidelity, error);
	kml_spec_free(spec);
	test_trace_close(trace, reader);
	return done;
}

static const struct fidelity_cache *named(const struct fidelity *fidelity, const char *name)
{
	for (uint32_t i = 0; i < fidelity->cache_count; i++)
		if (strcmp(fidelity->caches[i].name, name) == 0)
			return &fidelity->caches[i];
	fail_msg("no cache %s", name);
	return NULL;
}

/*
 * predicted small 1 2 2, large 1 1 1 slabs; actual small 1 2 4, large 1 1 0. Pages off after the first snapshot:
 * 0, then 2 of small and 2 of large: 4. Actual pages: 2 + 2, then 4 + 0: 8. Moved since the first: 1, then 3 + 2: 6.
 */
static void ratios_are_worked_out_by_hand(void **state)
{
	struct test_trace trace;
	struct fidelity fidelity;
	struct kml_error error;
	(void)state;
	test_trace_begin(&trace, "ratios");
	slab_event(&trace, KMT_PAGE_ALLOC, 0, 0);
	slab_event(&trace, KMT_PAGE_ALLOC, 1, 1);
	slabinfo(&trace, "a", 1, 1);
	slab_event(&trace, KMT_PAGE_ALLOC, 2, 0);
	slabinfo(&trace, "b", 2, 1);
	slabinfo(&trace, "c", 4, 0);
	if (!judge(&trace, "recorded", &fidelity, &error))
		fail_msg("%s", error.text);
	assert_int_equal(fidelity.judged_moments, 2);
	assert_int_equal(fidelity.sums.error, 4);
	assert_int_equal(fidelity.sums.actual, 8);
	assert_int_equal(fidelity.sums.moved, 6);
	assert_true(fabs(fidelity_wmape(&fidelity.sums) - (0.5)) < 1e-12);
	assert_true(fabs(fidelity_skill(&fidelity.sums) - (1 - 4.0 / 6)) < 1e-12);
	assert_true(fabs(fidelity_wmape(&fidelity.moments[1].sums) - (0)) < 1e-12);
	assert_true(fabs(fidelity_skill(&fidelity.moments[1].sums) - (1)) < 1e-12);
	assert_true(fabs(fidelity_wmape(&named(&fidelity, "large")->sums) - (2.0 / 2)) < 1e-12);
	assert_int_equal(named(&fidelity, "small")->worst_error_pages, -2);
	assert_int_equal(named(&fidelity, "large")->worst_error_pages, 2);
	/* Equal errors stand by name. */
	uint32_t worst[3];
	assert_int_equal(fidelity_worst(&fidelity, worst, 3), 2);
	assert_string_equal(fidelity.caches[worst[0]].name, "large");
	assert_string_equal(fidelity.caches[worst[1]].name, "small");
	assert_int_equal(fidelity_worst(&fidelity, worst, 1), 1);
	fidelity_free(&fidelity);
}

static void nothing_moved_has_no_skill(void **state)
{
	struct test_trace trace;
	struct fidelity fidelity;
	struct kml_error error;
	(void)state;
	test_trace_begin(&trace, "still");
	slab_event(&trace, KMT_PAGE_ALLOC, 0, 0);
	slabinfo(&trace, "a", 1, 0);
	slabinfo(&trace, "b", 1, 0);
	if (!judge(&trace, "recorded", &fidelity, &error))
		fail_msg("%s", error.text);
	assert_true(fabs(fidelity_wmape(&fidelity.sums) - (0)) < 1e-12);
	assert_true(isnan(fidelity_skill(&fidelity.sums)));
	fidelity_free(&fidelity);
}

/* slub sees objects alone: `large`, which has none, keeps its three slabs; a cache first seen later had none to keep.
 */
static void caches_without_events_keep_their_slabs(void **state)
{
	struct test_trace trace;
	struct fidelity fidelity;
	struct kml_error error;
	(void)state;
	test_trace_begin(&trace, "kept");
	test_trace_add(&trace,
		       (struct kmt_event){.op = KMT_ALLOC, .object = 0, .cache = 0, .size_bytes = 64, NO_PLACE});
	slabinfo(&trace, "a", 1, 3);
	slabinfo(&trace, "b", 1, 3);
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABINFO, HEADING "late 1 8 64 8 1" TAIL "1 1 0\n");
	if (!judge(&trace, "slub", &fidelity, &error))
		fail_msg("%s", error.text);
	assert_int_equal(fidelity.moments[1].sums.error, 0);
	/* small: 1 predicted, 0 actual; large: 6 kept, gone; late: 1 actual, unknown. */
	assert_int_equal(fidelity.moments[2].sums.error, 1 + 6 + 1);
	assert_non_null(strstr(named(&fidelity, "late")->reason, "no event"));
	assert_non_null(strstr(named(&fidelity, "large")->reason, "no event"));
	fidelity_free(&fidelity);
}

static void the_recorders_caches_are_left_out(void **state)
{
	struct kmt_cache caches[TEST_CACHES] = {test_caches[0], test_caches[1]};
	struct test_trace trace;
	struct fidelity fidelity;
	struct kml_error error;
	(void)state;
	caches[0].name = "gt_rb_page";
	test_trace_begin_with(&trace, "recorder", caches);
	slab_event(&trace, KMT_PAGE_ALLOC, 0, 0);
	slab_event(&trace, KMT_PAGE_ALLOC, 1, 1);
	for (int i = 0; i < 2; i++, trace.time_ns++)
		test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABINFO,
				    i == 0 ? HEADING "gt_rb_page 64 64 64 64 1" TAIL "1 1 0\n"
					   : HEADING "gt_rb_page 64 64 64 64 1" TAIL "9 9 0\nlarge 8 8 1024 8 2" TAIL
						     "1 1 0\n");
	if (!judge(&trace, "recorded", &fidelity, &error))
		fail_msg("%s", error.text);
	assert_int_equal(fidelity.judged_moments, 1);
	assert_int_equal(fidelity.sums.error, 0);
	assert_int_equal(fidelity.sums.actual, 2);
	assert_true(named(&fidelity, "gt_rb_page")->is_recorder);
	fidelity_free(&fidelity);
}

/* No slabinfo: a walk over every slab page. Two small slabs and a large one are 4 pages. */
static void walks_are_judged_in_pages(void **state)
{
	struct test_trace trace;
	struct fidelity fidelity;
	struct kml_error error;
	(void)state;
	test_trace_begin(&trace, "walk");
	slab_event(&trace, KMT_PAGE_ALLOC, 0, 0);
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABS, "S 0x1 0 slob units=1 on_list=1\n");
	slab_event(&trace, KMT_PAGE_ALLOC, 1, 0);
	slab_event(&trace, KMT_PAGE_ALLOC, 2, 1);
	trace.time_ns += 1000;
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABS, "S 0x1 0 slob units=1 on_list=1\nS 0x2 2 slob units=1\n");
	if (!judge(&trace, "recorded", &fidelity, &error))
		fail_msg("%s", error.text);
	assert_int_equal(fidelity.scale, FIDELITY_WALK);
	assert_int_equal(fidelity.sums.error, 1);
	assert_int_equal(fidelity.sums.actual, 5);
	assert_int_equal(fidelity.sums.moved, 4);
	fidelity_free(&fidelity);
}

static void what_cannot_be_judged_is_named(void **state)
{
	static const struct {
		uint32_t snapshots;
		const char *stack, *words;
	} cases[] = {{0, "recorded", "no snapshot of the kernel's slabs"},
		     {1, "recorded", "only one snapshot"},
		     {2, "binary", "binary has no slabs to compare"}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct test_trace trace;
		struct fidelity fidelity;
		struct kml_error error;
		test_trace_begin(&trace, "unfit");
		slab_event(&trace, KMT_PAGE_ALLOC, 0, 0);
		for (uint32_t n = 0; n < cases[i].snapshots; n++)
			slabinfo(&trace, n ? "b" : "a", 1, 0);
		assert_false(judge(&trace, cases[i].stack, &fidelity, &error));
		if (!strstr(error.text, cases[i].words))
			fail_msg("'%s' does not say '%s'", error.text, cases[i].words);
		fidelity_free(&fidelity);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ratios_are_worked_out_by_hand),
		cmocka_unit_test(nothing_moved_has_no_skill),
		cmocka_unit_test(caches_without_events_keep_their_slabs),
		cmocka_unit_test(the_recorders_caches_are_left_out),
		cmocka_unit_test(walks_are_judged_in_pages),
		cmocka_unit_test(what_cannot_be_judged_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
