/*
 * seeds_test.c - what a trace that begins in mid-life says about its start, by small traces typed by hand; and that
 * recorded ones then end where the kernel ended.
 */
#include "workloads/testing.h"

#include "workloads/fidelity.h"
#include "workloads/seeds.h"

/* "small": 64 slots of 64 bytes in a slab of one page. */
#define SLAB(n) ((uint64_t)(n)*TEST_PAGE_BYTES)
#define SLOT(n, slot) (SLAB(n) + (uint64_t)(slot)*64)

static struct kmt_event object_at(enum kmt_op op, uint32_t id, uint64_t address, uint16_t cpu, uint16_t flags)
{
	return (struct kmt_event){.op = (uint8_t)op,
				  .object = id,
				  .cache = 0,
				  .size_bytes = 64,
				  .cpu = cpu,
				  .flags = flags,
				  .address = address};
}

static struct kmt_event slab_pages(enum kmt_op op, uint32_t id, uint64_t address)
{
	return (struct kmt_event){.op = (uint8_t)op,
				  .object = id,
				  .cache = 0,
				  .size_bytes = TEST_PAGE_BYTES,
				  .flags = KML_PAGES | KMT_SLAB_PAGE,
				  .address = address};
}

/* As test_caches, the first of them counted: so many slabs, and active objects. */
static void begin_counted(struct test_trace *trace, const char *name, uint64_t slabs, uint64_t active)
{
	struct kmt_cache caches[TEST_CACHES];
	memcpy(caches, test_caches, sizeof caches);
	caches[0].slabs_at_start = slabs;
	caches[0].objects_at_start = active;
	test_trace_begin_with(trace, name, caches);
}

static struct replay_seeds collect(struct kmt_reader *reader)
{
	struct kml_error error;
	struct replay_seeds seeds;
	if (!replay_seeds_collect(reader, &seeds, &error))
		fail_msg("%s", error.text);
	return seeds;
}

static void the_first_event_of_a_slot_tells(void **state)
{
	(void)state;
	struct test_trace trace;
	test_trace_begin(&trace, "seeds-first");
	test_trace_add(&trace, object_at(KMT_ALLOC, 0, SLOT(1, 3), 0, KMT_WARM)); /* event 0: live, freed below */
	test_trace_add(&trace, object_at(KMT_ALLOC, 1, SLOT(1, 4), 1, 0));        /* 1: was free */
	test_trace_add(&trace, object_at(KMT_FREE, 0, SLOT(1, 3), 0, KMT_WARM));  /* 2 */
	test_trace_add(&trace, object_at(KMT_ALLOC, 2, SLOT(1, 3), 0, 0));        /* 3: was live */
	test_trace_add(&trace, object_at(KMT_FREE, 1, SLOT(1, 4), 0, 0));         /* 4 */
	test_trace_add(&trace, object_at(KMT_ALLOC, 1, SLOT(1, 4), 0, 0));        /* 5: seen before */
	test_trace_add(&trace, object_at(KMT_ALLOC, 3, SLOT(9, 0), 0, 0));        /* 6: was free, on another slab */
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.count, 2);
	assert_int_equal(seeds.seeds[0].recorded, SLOT(1, 4));
	assert_int_equal(seeds.seeds[0].event, 1);
	assert_int_equal(seeds.seeds[0].cpu, 1);
	assert_int_equal(seeds.seeds[1].recorded, SLOT(9, 0));
	assert_int_equal(seeds.seeds[1].event, 6);
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

static void slabs_taken_during_the_recording_have_no_seeds(void **state)
{
	(void)state;
	struct test_trace trace;
	test_trace_begin(&trace, "seeds-born");
	test_trace_add(&trace, object_at(KMT_ALLOC, 0, SLOT(1, 0), 0, KMT_WARM));
	test_trace_add(&trace, slab_pages(KMT_PAGE_ALLOC, 1, SLAB(2)));
	test_trace_add(&trace, object_at(KMT_ALLOC, 2, SLOT(2, 5), 0, 0));
	test_trace_add(&trace, object_at(KMT_ALLOC, 3, SLOT(3, 5), 0, 0));
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.count, 1);
	assert_int_equal(seeds.seeds[0].recorded, SLOT(3, 5));
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

/*
 * Three slabs of 64 slots, 190 active: two free ones were on the node. Seven seeds, four of them on the slab that the
 * cpu allocated from: three explain more than those two, so 192 - 7 slots can have been live; the importer counted 190.
 */
static void slots_that_were_free_held_no_object(void **state)
{
	(void)state;
	struct test_trace trace;
	begin_counted(&trace, "seeds-surplus", 3, 190);
	for (uint32_t id = 0; id < 190; id++)
		test_trace_add(&trace, object_at(KMT_ALLOC, id, KMT_NO_ADDRESS, 0, KMT_WARM));
	for (uint32_t i = 0; i < 4; i++)
		test_trace_add(&trace, object_at(KMT_ALLOC, 190 + i, SLOT(1, i), 0, 0));
	for (uint32_t i = 0; i < 3; i++)
		test_trace_add(&trace, object_at(KMT_ALLOC, 194 + i, SLOT(2, i), 0, 0));
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.count, 7);
	assert_int_equal(seeds.surplus[0], 190 - (192 - 7));
	assert_int_equal(seeds.surplus[1], 0);
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

/* The same, but ten were free on the node: three of them are explained, so 192 - 7 - 7 slots can have been live. */
static void free_objects_that_no_seed_explains_held_none_either(void **state)
{
	(void)state;
	struct test_trace trace;
	begin_counted(&trace, "seeds-unexplained", 3, 182);
	for (uint32_t id = 0; id < 182; id++)
		test_trace_add(&trace, object_at(KMT_ALLOC, id, KMT_NO_ADDRESS, 0, KMT_WARM));
	for (uint32_t i = 0; i < 4; i++)
		test_trace_add(&trace, object_at(KMT_ALLOC, 182 + i, SLOT(1, i), 0, 0));
	for (uint32_t i = 0; i < 3; i++)
		test_trace_add(&trace, object_at(KMT_ALLOC, 186 + i, SLOT(2, i), 0, 0));
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.surplus[0], 182 - (192 - 7 - 7));
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

/* The first slabinfo comes after the kernel took a slab: one less was there at the start. */
static void slabs_taken_before_the_first_slabinfo_were_not_there(void **state)
{
	(void)state;
	struct test_trace trace;
	begin_counted(&trace, "seeds-before", 2, 128);
	for (uint32_t id = 0; id < 70; id++)
		test_trace_add(&trace, object_at(KMT_ALLOC, id, KMT_NO_ADDRESS, 0, KMT_WARM));
	test_trace_add(&trace, slab_pages(KMT_PAGE_ALLOC, 70, SLAB(2)));
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABINFO, "slabinfo - version: 2.1\n");
	test_trace_add(&trace, slab_pages(KMT_PAGE_ALLOC, 71, SLAB(3)));
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.surplus[0], 70 - 64);
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

static void a_trace_without_a_start_in_mid_life_has_none(void **state)
{
	(void)state;
	struct test_trace trace;
	test_trace_begin(&trace, "seeds-none");
	test_trace_add(&trace, object_at(KMT_ALLOC, 0, SLOT(1, 0), 0, 0));
	struct kmt_reader *reader = test_trace_end(&trace);
	struct replay_seeds seeds = collect(reader);
	assert_int_equal(seeds.count, 0);
	replay_seeds_free(&seeds);
	test_trace_close(&trace, reader);
}

/*
 * The kernel itself says how many slabs it had: seeded, SLUB's forecast of a recording in which slabs moved is within
 * one page of a hundred at every snapshot, and explains nineteen in twenty of the pages that moved.
 */
static void a_seeded_start_ends_where_the_kernel_ended(void **state)
{
	(void)state;
	static const char *const traces[] = {"fs-scan", "reclaim", "sockets"};
	const char *source = getenv("KMEMLAB_SOURCE");
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse("slub:profile=linux-6.18/binary", &error);
	if (!spec)
		fail_msg("%s", error.text);
	for (size_t i = 0; i < sizeof traces / sizeof traces[0]; i++) {
		char path[3000];
		const struct fidelity_options options = {.replay = {.level = REPLAY_ALL, .seed = 1}};
		struct fidelity fidelity = {0};
		snprintf(path, sizeof path, "%s/traces/%s.kmt", source ? source : ".", traces[i]);
		struct kmt_reader *reader = kmt_open(path, &error);
		if (!reader || !fidelity_run(reader, spec, &options, &fidelity, &error))
			fail_msg("%s", error.text);
		double wmape = fidelity_wmape(&fidelity.sums), skill = fidelity_skill(&fidelity.sums);
		print_message("%s: WMAPE %.3f %%, skill %.3f\n", traces[i], 100 * wmape, skill);
		assert_true(wmape <= 0.01);
		assert_true(skill >= 0.95);
		fidelity_free(&fidelity);
		kmt_close(reader);
	}
	kml_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_event_of_a_slot_tells),
		cmocka_unit_test(slabs_taken_during_the_recording_have_no_seeds),
		cmocka_unit_test(slots_that_were_free_held_no_object),
		cmocka_unit_test(free_objects_that_no_seed_explains_held_none_either),
		cmocka_unit_test(slabs_taken_before_the_first_slabinfo_were_not_there),
		cmocka_unit_test(a_trace_without_a_start_in_mid_life_has_none),
		cmocka_unit_test(a_seeded_start_ends_where_the_kernel_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
