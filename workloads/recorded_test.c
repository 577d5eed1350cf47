/*
 * recorded_test.c - the recorded kernel on traces small enough to count its slabs by hand.
 */
#include "workloads/testing.h"

#include "allocators/registry.h"
#include "workloads/replay.h"

enum { BASE = 1 << 20 };

static struct kmt_event object_at(uint32_t id, uint16_t cache, uint64_t address)
{
	uint64_t size = test_caches[cache].object_bytes;
	return (struct kmt_event){.op = KMT_ALLOC,
				  .object = id,
				  .cache = cache,
				  .size_bytes = size,
				  .granted_bytes = size,
				  .address = address};
}

static struct kmt_event slab_page(uint32_t id, uint16_t cache, uint8_t order, uint64_t address, enum kmt_op op)
{
	return (struct kmt_event){.op = (uint8_t)op,
				  .object = id,
				  .cache = cache,
				  .order = order,
				  .size_bytes = (uint64_t)TEST_PAGE_BYTES << order,
				  .address = address,
				  .flags = KML_PAGES | KMT_SLAB_PAGE};
}

static struct replay_result replay_end(struct test_trace *trace)
{
	struct kmt_reader *reader = test_trace_end(trace);
	struct replay_options options = {.check = true, .samples = 1000, .seed = 1};
	struct replay_result result;
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse("recorded", &error);
	if (!replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
		fail_msg("%s", error.text);
	if (result.check_failed)
		fail_msg("%s", result.check_error.text);
	kml_spec_free(spec);
	test_trace_close(trace, reader);
	return result;
}

/* Slabs of two pages, eight slots of 1024 bytes, 1000 used of each. Three objects in one slab, which then goes. */
static void a_slab_lives_from_its_page_event_to_the_next(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "slab");
	test_trace_add(&trace, slab_page(9, 1, 1, BASE, KMT_PAGE_ALLOC));
	for (uint32_t i = 0; i < 3; i++)
		test_trace_add(&trace, object_at(i, 1, BASE + 1024ull * i));
	struct replay_result result = replay_end(&trace);
	const struct kml_stats *stats = &result.at_end.stats;
	assert_int_equal(result.allocations, 3);
	assert_int_equal(result.at_end.requested_bytes, 3000);
	assert_int_equal(stats->held_bytes, 8192);
	assert_int_equal(stats->waste_bytes[KML_WASTE_MANAGEMENT], 3 * 24);
	assert_int_equal(stats->waste_bytes[KML_WASTE_FREE_SLOTS], 5 * 1024);
	assert_int_equal(stats->waste_bytes[KML_WASTE_SLAB_TAIL], 0);

	test_trace_begin(&trace, "slab-gone");
	test_trace_add(&trace, slab_page(9, 1, 1, BASE, KMT_PAGE_ALLOC));
	test_trace_add(&trace, object_at(0, 1, BASE));
	free_object(&trace, 0);
	test_trace_add(&trace, slab_page(9, 1, 1, BASE, KMT_PAGE_FREE));
	add_pages(&trace, 1, 0, 0);
	result = replay_end(&trace);
	assert_int_equal(result.at_end.stats.held_bytes, TEST_PAGE_BYTES);
	assert_int_equal(result.peak_held_bytes, 8192);
}

/* slabinfo says three slabs at the start. Objects show where two of them are; a third place shows there were four. */
static void slabs_of_before_are_counted_once(void **state)
{
	static const uint64_t held_pages[] = {3, 3, 4};
	(void)state;
	for (uint32_t places = 1; places <= 3; places++) {
		struct test_trace trace;
		struct kmt_cache caches[TEST_CACHES] = {test_caches[0], test_caches[1]};
		caches[0].slabs_at_start = 3;
		test_trace_begin_with(&trace, "before", caches);
		uint32_t located = places == 3 ? 4 : places;
		for (uint32_t i = 0; i < located; i++)
			test_trace_add(&trace, object_at(i, 0, BASE + (uint64_t)TEST_PAGE_BYTES * 2 * i));
		struct replay_result result = replay_end(&trace);
		assert_int_equal(result.at_end.stats.held_bytes, held_pages[places - 1] * TEST_PAGE_BYTES);
	}
}

/* 65 live objects of 64 in a slab need two slabs, whatever the events say. Without addresses they are counted too. */
static void a_cache_has_the_slabs_its_objects_need(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "implied");
	test_trace_add(&trace, object_at(0, 0, BASE));
	for (uint32_t i = 1; i < 65; i++)
		test_trace_add(&trace, object_at(i, 0, KMT_NO_ADDRESS));
	struct replay_result result = replay_end(&trace);
	assert_int_equal(result.at_end.requested_bytes, 65 * 64);
	assert_int_equal(result.at_end.stats.held_bytes, 2 * TEST_PAGE_BYTES);
	assert_int_equal(result.at_end.stats.waste_bytes[KML_WASTE_FREE_SLOTS], 63 * 64);
}

/* A free was lost: a block comes where another still lies, an object where another is. Nothing overlaps, all is served.
 */
static void what_meets_a_live_block_is_served_elsewhere(void **state)
{
	struct test_trace trace;
	(void)state;
	test_trace_begin(&trace, "met");
	for (uint32_t i = 0; i < 2; i++)
		test_trace_add(&trace, (struct kmt_event){.op = KMT_PAGE_ALLOC,
							  .object = i,
							  .order = (uint8_t)i,
							  .size_bytes = (uint64_t)TEST_PAGE_BYTES << i,
							  .cache = KMT_NO_CACHE,
							  .flags = KML_PAGES,
							  .address = BASE});
	test_trace_add(&trace, object_at(2, 0, BASE + 16 * TEST_PAGE_BYTES));
	test_trace_add(&trace, object_at(3, 0, BASE + 16 * TEST_PAGE_BYTES));
	/* A slab goes with an object on it that was never freed. */
	test_trace_add(&trace, slab_page(4, 0, 0, BASE + 32 * TEST_PAGE_BYTES, KMT_PAGE_ALLOC));
	test_trace_add(&trace, object_at(5, 0, BASE + 32 * TEST_PAGE_BYTES + 64));
	test_trace_add(&trace, slab_page(4, 0, 0, BASE + 32 * TEST_PAGE_BYTES, KMT_PAGE_FREE));
	free_pages(&trace, 0, 0, 0);
	free_pages(&trace, 1, 1, 0);
	for (uint32_t id = 2; id <= 5; id++)
		if (id != 4)
			free_object(&trace, id);
	struct replay_result result = replay_end(&trace);
	assert_int_equal(result.failures[KML_NO_MEMORY] + result.failures[KML_NO_RUN], 0);
	assert_int_equal(result.allocations, 5);
	assert_int_equal(result.frees, 5);
	/* The slab that the first object located was never given back. */
	assert_int_equal(result.at_end.stats.held_bytes, TEST_PAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slab_lives_from_its_page_event_to_the_next),
		cmocka_unit_test(slabs_of_before_are_counted_once),
		cmocka_unit_test(a_cache_has_the_slabs_its_objects_need),
		cmocka_unit_test(what_meets_a_live_block_is_served_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
