/*
 * solaris_test.c - Solaris' slabs and magazines by the papers' rules and OpenSolaris' numbers, worked by hand, on
 * stacks that the shadow model watches.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/solaris.c" /* NOLINT(bugprone-suspicious-include): damage is planted inside it */

enum { DESCRIPTOR = 56, CACHE = 0, OTHER = 1 };
#define SECOND 1000000000ull

static void open_on(struct test_stack *test, const char *spec, uint64_t object_bytes, uint64_t align_bytes)
{
	stack_open(test, spec, 16 * TEST_MIB);
	stack_open_cache(test, CACHE,
			 (struct kml_cache){.name = "cache", .object_bytes = object_bytes, .align_bytes = align_bytes});
}

static uint64_t object_bytes_of(const struct test_stack *test, uint32_t cache)
{
	struct kml_cache_stats stats;
	assert_true(test->allocator->cache_stats(test->heap, cache, &stats));
	return stats.slot_bytes;
}

static uint64_t take_on(struct test_stack *test, uint16_t cpu)
{
	/* Slots are never smaller than an object of at least one byte. */
	return stack_must_alloc(test, (struct kml_request){.size_bytes = 1, .cache = CACHE, .cpu = cpu});
}

static void give_on(struct test_stack *test, uint64_t address, uint16_t cpu)
{
	const struct kml_release release = {.address = address, .cache = CACHE, .cpu = cpu};
	assert_int_equal(kml_shadow_free(test->shadow, &release), KML_OK);
}

static struct kml_cache_stats cache_stats(const struct test_stack *test)
{
	struct kml_cache_stats stats;
	assert_true(test->allocator->cache_stats(test->heap, CACHE, &stats));
	return stats;
}

static uint64_t waste(const struct test_stack *test, enum kml_waste kind)
{
	struct kml_stats stats;
	test->allocator->stats(test->heap, &stats);
	return stats.waste_bytes[kind];
}

/* ---------------------------------------------------------------------------------------------------- slabs */

/* 64 bytes: (4096 - 56) / 64 = 63 objects, 8 bytes are left for colours. */
static void small_objects_share_a_page_with_their_descriptor(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 64, 8);
	uint64_t first = take_on(&test, 0), page = first & ~4095ull;
	assert_int_equal(first, page + 8 + 62 * 64); /* the first colour; the last object first */
	for (int i = 61; i >= 0; i--)
		assert_int_equal(take_on(&test, 0), page + 8 + (uint64_t)i * 64);
	assert_int_equal(cache_stats(&test).objects_per_slab, 63);
	assert_int_equal(waste(&test, KML_WASTE_MANAGEMENT), DESCRIPTOR + 8);
	assert_int_equal(waste(&test, KML_WASTE_SLAB_TAIL), 0);
	uint64_t second = take_on(&test, 0);
	assert_int_equal(second & 4095, 62 * 64); /* back to colour 0 */
	assert_int_equal(stack_free(&test, page + 4096 - 8, CACHE), KML_FOREIGN);
	stack_check(&test);
	stack_close(&test);
}

/* 200 bytes: 20 objects of 4000, colours 0 to 40 by the alignment of 8: 8 16 24 32 40 0 8. */
static void colours_go_by_the_alignment_until_the_rest_is_used(void **state)
{
	static const uint64_t expected[] = {8, 16, 24, 32, 40, 0, 8};
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 200, 8);
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		uint64_t last = 0;
		for (int object = 0; object < 20; object++)
			last = take_on(&test, 0);
		assert_int_equal(last & 4095, expected[i]);
	}
	stack_close(&test);
	open_on(&test, "solaris:percpu=off,colouring=off/binary", 200, 8);
	for (int slab = 0; slab < 3; slab++)
		for (int object = 0; object < 20; object++)
			assert_int_equal(take_on(&test, 0) & 4095, 200 * (19 - object));
	stack_close(&test);
}

/* kmem_cache_create's choice of up to eight objects, worked by hand for pages of 4096. */
static void large_objects_get_the_slab_that_wastes_least(void **state)
{
	static const struct {
		uint64_t object_bytes, pages, objects;
	} cases[] = {
		{512, 1, 8},  /* nothing is wasted */
		{704, 2, 11}, /* 1 page: 5 objects, 115 bytes each; 2 pages: 11, 40 */
		{1496, 3, 8}, /* 2 in 1 page: 552 each; 5 in 2: 142; 8 in 3: 40 */
		{2048, 1, 2},
		{3000, 3, 4}, /* 1 in 1: 1096; 2 in 2: 1096; 4 in 3 pages: 72; 5 in 4: 276; 6 in 5: 413; 8 in 6: 72 */
		{4096, 1, 1},
		{5000, 5,
		 4}, /* 1 in 2: 3192; 2 in 3: 1144; 3 in 4: 461; 4 in 5: 120; 5 in 7: 734; 6 in 8: 461; 8 in 10: 120 */
		{12288, 3, 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct test_stack test;
		open_on(&test, "solaris:percpu=off/first_fit", cases[i].object_bytes, 8);
		struct kml_cache_stats stats = cache_stats(&test);
		if (stats.pages_per_slab != cases[i].pages || stats.objects_per_slab != cases[i].objects)
			fail_msg("%llu bytes: %u objects in %u pages", (unsigned long long)cases[i].object_bytes,
				 stats.objects_per_slab, stats.pages_per_slab);
		uint64_t held_before = test.arena->held_bytes;
		give_on(&test, take_on(&test, 0), 0);
		assert_int_equal(test.arena->held_bytes, held_before);
		stack_close(&test);
	}
	(void)state;
}

/* Bonwick 1994, 3.2.3: slabs of which at most 1/8 is lost, for every size. */
static void no_slab_loses_more_than_an_eighth(void **state)
{
	struct test_stack test;
	(void)state;
	stack_open(&test, "solaris/binary", TEST_MIB);
	for (uint64_t object_bytes = 8; object_bytes <= 20000; object_bytes += 8) {
		stack_open_cache(&test, CACHE, (struct kml_cache){.name = "cache", .object_bytes = object_bytes});
		struct kml_cache_stats stats = cache_stats(&test);
		uint64_t slab_bytes = (uint64_t)stats.pages_per_slab * TEST_PAGE;
		uint64_t lost_bytes = slab_bytes - stats.objects_per_slab * object_bytes;
		if (lost_bytes * 8 > slab_bytes)
			fail_msg("%llu bytes: %llu of %llu lost", (unsigned long long)object_bytes,
				 (unsigned long long)lost_bytes, (unsigned long long)slab_bytes);
		assert_int_equal(test.allocator->cache_close(test.heap, CACHE), KML_OK);
	}
	stack_close(&test);
}

static void descriptors_of_large_objects_lie_outside(void **state)
{
	struct test_stack test;
	struct kml_stats before, after;
	(void)state;
	open_on(&test, "solaris:percpu=off,colouring=off/binary", 1024, 8);
	test.allocator->stats(test.heap, &before);
	uint64_t object = take_on(&test, 0);
	test.allocator->stats(test.heap, &after);
	assert_int_equal(object & 4095, 3072);
	assert_int_equal(after.waste_bytes[KML_WASTE_MANAGEMENT], 0);
	/* The heap's layers keep one descriptor more, and four bufctls of three words. */
	assert_true(after.metadata_bytes - before.metadata_bytes >= 4 * 3 * 8);
	/* A free object of such a cache is not written to. */
	memset(test.arena->base + (object & ~4095ull), 0x5a, 1024);
	assert_int_equal(take_on(&test, 0) & 4095, 2048);
	for (int i = 0; i < 1024; i++)
		assert_int_equal(test.arena->base[(object & ~4095ull) + (uint64_t)i], 0x5a);
	stack_check(&test);
	stack_close(&test);
}

static void the_link_of_a_small_object_is_its_last_word(void **state)
{
	struct test_stack test;
	uint64_t link;
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 60, 8);
	uint64_t first = take_on(&test, 0), second = take_on(&test, 0);
	give_on(&test, second, 0);
	give_on(&test, first, 0); /* the slab is gone; a new one lies in the same page */
	assert_int_equal(test.arena->held_bytes, 0);
	first = take_on(&test, 0);
	second = take_on(&test, 0);
	give_on(&test, first, 0);
	memcpy(&link, test.arena->base + first + 56, sizeof link);
	assert_int_equal(link, second - 64);
	stack_close(&test);
}

/* kmem_slab_free: a complete slab that gets an object back is the first of the free list, LIFO in the slab. */
static void a_slab_that_was_complete_serves_next(void **state)
{
	struct test_stack test;
	uint64_t object[40];
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 400, 8); /* 10 in a slab */
	for (int i = 0; i < 35; i++)
		object[i] = take_on(&test, 0);
	give_on(&test, object[3], 0);
	give_on(&test, object[14], 0);
	give_on(&test, object[5], 0);
	assert_int_equal(take_on(&test, 0), object[14]); /* its slab came last to the list */
	assert_int_equal(take_on(&test, 0), object[5]);  /* then the first slab: the object freed last */
	assert_int_equal(take_on(&test, 0), object[3]);
	assert_int_equal(take_on(&test, 0) & ~4095ull, object[34] & ~4095ull);
	stack_check(&test);
	stack_close(&test);
}

static void a_slab_with_nothing_out_goes_back_at_once(void **state)
{
	struct test_stack test;
	uint64_t object[20];
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 400, 8);
	for (int i = 0; i < 20; i++)
		object[i] = take_on(&test, 0);
	assert_int_equal(test.arena->held_bytes, 2 * 4096);
	for (int i = 0; i < 10; i++)
		give_on(&test, object[i], 0);
	assert_int_equal(test.arena->held_bytes, 4096);
	for (int i = 10; i < 20; i++)
		give_on(&test, object[i], 0);
	assert_int_equal(test.arena->held_bytes, 0);
	stack_close(&test);
}

/* 1496 bytes want three pages; binary grants four. */
static void granted_pages_are_used_on_demand(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 1496, 8);
	take_on(&test, 0);
	assert_int_equal(cache_stats(&test).total_objects, 8);
	assert_int_equal(waste(&test, KML_WASTE_BUDDY_ROUNDING), 4096);
	stack_close(&test);
	open_on(&test, "solaris:percpu=off,colouring=off,fit=granted/binary", 1496, 8);
	take_on(&test, 0);
	assert_int_equal(cache_stats(&test).total_objects, 16384 / 1496);
	assert_int_equal(waste(&test, KML_WASTE_BUDDY_ROUNDING), 0);
	stack_close(&test);
}

/* Every second page is taken: no two pages lie together, one page still holds five objects of 704. */
static void without_a_run_a_slab_of_one_object_is_tried(void **state)
{
	struct test_stack test;
	uint64_t page[8];
	(void)state;
	stack_open(&test, "solaris:percpu=off/binary", 8 * 4096);
	stack_open_cache(&test, CACHE, (struct kml_cache){.name = "cache", .object_bytes = 704});
	for (int i = 0; i < 8; i++)
		page[i] = stack_must_alloc(
			&test, (struct kml_request){.size_bytes = 4096, .cache = KML_NO_CACHE, .flags = KML_PAGES});
	for (int i = 0; i < 8; i++)
		if (page[i] / 4096 % 2 == 0)
			stack_must_free(&test, page[i]);
	take_on(&test, 0);
	assert_int_equal(cache_stats(&test).slab_bytes, 4096);
	assert_int_equal(cache_stats(&test).total_objects, 5);
	for (int i = 1; i < 20; i++)
		take_on(&test, 0);
	struct kml_grant grant = stack_alloc(&test, (struct kml_request){.size_bytes = 1, .cache = CACHE});
	assert_int_equal(grant.status, KML_NO_MEMORY);
	stack_check(&test);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------------ magazines */

/* Bonwick and Adams, 3.1: with magazines of three the fourth free loads a second one; they come back in turn. */
static void loaded_and_previous_are_exchanged(void **state)
{
	struct test_stack test;
	uint64_t object[8];
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 100, 8);
	for (int i = 0; i < 8; i++)
		object[i] = take_on(&test, 0);
	assert_int_equal(waste(&test, KML_WASTE_CPU_CACHED), 0);
	for (int i = 0; i < 4; i++)
		give_on(&test, object[i], 0);
	assert_int_equal(waste(&test, KML_WASTE_CPU_CACHED), 4 * object_bytes_of(&test, CACHE));
	for (int i = 3; i >= 0; i--)
		assert_int_equal(take_on(&test, 0), object[i]);
	for (int i = 0; i < 6; i++)
		give_on(&test, object[i], 0);
	for (int i = 5; i >= 0; i--)
		assert_int_equal(take_on(&test, 0), object[i]);
	assert_int_equal(waste(&test, KML_WASTE_CPU_CACHED), 0);
	stack_check(&test);
	stack_close(&test);
}

/* A cpu keeps two magazines; the third free in a row gives the first of them to the depot, where others find it. */
static void the_depot_passes_full_magazines_between_cpus(void **state)
{
	struct test_stack test;
	uint64_t object[8];
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 100, 8);
	for (int i = 0; i < 8; i++)
		object[i] = take_on(&test, 0);
	for (int i = 0; i < 7; i++)
		give_on(&test, object[i], 0);
	for (int i = 2; i >= 0; i--)
		assert_int_equal(take_on(&test, 1), object[i]);
	uint64_t fresh = take_on(&test, 1); /* the depot is empty: from a slab */
	for (int i = 0; i < 8; i++)
		assert_int_not_equal(fresh, object[i]);
	for (int i = 6; i >= 3; i--)
		assert_int_equal(take_on(&test, 0), object[i]);
	stack_check(&test);
	stack_close(&test);
}

static void draining_a_cpu_leaves_the_others(void **state)
{
	struct test_stack test;
	uint64_t object[6];
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 100, 8);
	for (int i = 0; i < 6; i++)
		object[i] = take_on(&test, 0);
	for (int i = 0; i < 3; i++)
		give_on(&test, object[i], 0);
	for (int i = 3; i < 5; i++)
		give_on(&test, object[i], 1);
	test.allocator->drain(test.heap, 0);
	assert_int_equal(waste(&test, KML_WASTE_CPU_CACHED), 2 * object_bytes_of(&test, CACHE));
	stack_check(&test);
	assert_int_equal(take_on(&test, 1), object[4]);
	give_on(&test, object[4], 1);
	give_on(&test, object[5], 1);
	test.allocator->cache_shrink(test.heap, CACHE);
	assert_int_equal(test.arena->held_bytes, 0);
	stack_close(&test);
}

/* Operations that have nothing to do with the cache: what follows overlaps nothing before. */
static void pass_time(struct test_stack *test)
{
	for (int i = 0; i < TEST_CPUS; i++)
		stack_must_free(test, stack_must_alloc(test, (struct kml_request){.size_bytes = 32,
										  .cache = KML_NO_CACHE,
										  .flags = KML_KMALLOC}));
}

/*
 * The rounds of a magazine, from outside: cpu 0 may free two magazines; one more, and cpu 1 is given the first, its
 * last round first. On entry nothing is parked; nor at the end.
 */
static uint32_t measured_rounds(struct test_stack *test)
{
	enum { MOST = 2 * 143 + 2 };
	uint64_t object[MOST];
	for (uint32_t count = 3; count < MOST; count += 2) {
		test->allocator->cache_shrink(test->heap, CACHE);
		for (uint32_t i = 0; i < count; i++)
			object[i] = take_on(test, 0);
		for (uint32_t i = 0; i < count; i++)
			give_on(test, object[i], 0);
		pass_time(test);
		uint64_t taken = take_on(test, 1);
		bool is_passed = taken == object[(count - 1) / 2 - 1];
		give_on(test, taken, 1);
		pass_time(test);
		if (is_passed) {
			test->allocator->cache_shrink(test->heap, CACHE);
			return (count - 1) / 2;
		}
	}
	return 0;
}

/* kmem_magtype: above 3200 bytes 1, above 256 3, above 64 7, else 15. */
static void magazines_begin_by_object_size(void **state)
{
	static const struct {
		uint64_t object_bytes;
		uint32_t rounds;
	} cases[] = {{8, 15}, {64, 15}, {72, 7}, {256, 7}, {264, 3}, {3200, 3}, {3208, 1}, {8192, 1}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct test_stack test;
		open_on(&test, "solaris/binary", cases[i].object_bytes, 8);
		assert_int_equal(measured_rounds(&test), cases[i].rounds);
		stack_close(&test);
	}
}

/* Both cpus find their magazines and the depot empty, in turn: each access but the first overlaps the other's. */
static void contend(struct test_stack *test, uint32_t accesses, bool far_apart)
{
	uint64_t object[64];
	test->allocator->cache_shrink(test->heap, CACHE);
	for (uint32_t i = 0; i < accesses; i++) {
		if (far_apart)
			pass_time(test);
		object[i] = take_on(test, (uint16_t)(i % 2));
	}
	for (uint32_t i = 0; i < accesses; i++)
		give_on(test, object[i], (uint16_t)((accesses - 1) % 2));
	test->allocator->cache_shrink(test->heap, CACHE);
	pass_time(test);
}

static void tick(struct test_stack *test, uint64_t seconds)
{
	uint64_t next = test->allocator->tick(test->heap, seconds * SECOND);
	assert_int_equal(next, (seconds / 15 + 1) * 15 * SECOND);
	stack_check(test);
}

static void open_contended(struct test_stack *test, const char *spec)
{
	open_on(test, spec, 128, 8);
	tick(test, 0);
}

/* More than three failed attempts in an interval; after a growth one interval is passed over. */
static void contention_makes_magazines_grow(void **state)
{
	struct test_stack test;
	(void)state;
	open_contended(&test, "solaris/binary");
	contend(&test, 4, false); /* three failed attempts: borne */
	tick(&test, 15);
	assert_int_equal(measured_rounds(&test), 7);
	tick(&test, 30);
	contend(&test, 6, false);
	tick(&test, 44); /* not yet time */
	assert_int_equal(measured_rounds(&test), 7);
	tick(&test, 45);
	assert_int_equal(measured_rounds(&test), 15);
	contend(&test, 6, false);
	tick(&test, 60);
	assert_int_equal(measured_rounds(&test), 15);
	contend(&test, 6, false);
	tick(&test, 75);
	assert_int_equal(measured_rounds(&test), 31);
	stack_close(&test);
}

/* With two cpus, accesses with more than two operations between them do not overlap. */
static void accesses_far_apart_do_not_contend(void **state)
{
	struct test_stack test;
	(void)state;
	open_contended(&test, "solaris/binary");
	contend(&test, 16, true);
	tick(&test, 15);
	assert_int_equal(measured_rounds(&test), 7);
	stack_close(&test);
}

static void magazines_of_fixed_size_or_with_resize_off_stay(void **state)
{
	struct test_stack test;
	(void)state;
	open_contended(&test, "solaris:resize=off/binary");
	contend(&test, 16, false);
	tick(&test, 15);
	assert_int_equal(measured_rounds(&test), 7);
	stack_close(&test);
	open_contended(&test, "solaris:magazine=5/binary");
	contend(&test, 16, false);
	tick(&test, 15);
	assert_int_equal(measured_rounds(&test), 5);
	stack_close(&test);
}

/* mt_maxbuf: 65536 bytes and more stay with magazines of one round. */
static void magazines_of_large_objects_stop_growing(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris/binary", 65536, 8);
	contend(&test, 8, false);
	tick(&test, 15);
	assert_int_equal(measured_rounds(&test), 1);
	stack_close(&test);
}

/* --------------------------------------------------------------------------------------------- working set */

/* Seven objects parked by cpu 0, in magazines of three: two full ones and one with the last; the first is the depot's.
 */
static void park_three_magazines(struct test_stack *test)
{
	uint64_t object[7];
	for (int i = 0; i < 7; i++)
		object[i] = take_on(test, 0);
	for (int i = 0; i < 7; i++)
		give_on(test, object[i], 0);
}

/* Slabs of one object (4096 bytes), magazines of three: what is parked is pages. */
static void what_the_depot_did_not_need_for_an_interval_is_reaped(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 4096, 8);
	tick(&test, 0);
	park_three_magazines(&test);
	assert_int_equal(test.arena->held_bytes, 7 * 4096);
	tick(&test, 15); /* during this interval the depot was empty once */
	assert_int_equal(test.arena->held_bytes, 7 * 4096);
	tick(&test, 30); /* during this one it always had one full magazine */
	assert_int_equal(test.arena->held_bytes, 4 * 4096);
	tick(&test, 60);
	assert_int_equal(test.arena->held_bytes, 4 * 4096); /* the cpu's own two stay */
	stack_close(&test);
}

static void a_magazine_that_was_used_stays(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 4096, 8);
	tick(&test, 0);
	park_three_magazines(&test);
	tick(&test, 15);
	for (int i = 0; i < 2; i++) { /* cpu 1 takes the magazine, and an eighth object; it gives all back */
		uint64_t object[4];
		for (int j = 0; j < 3; j++)
			object[j] = take_on(&test, 1);
		for (int j = 0; j < 3; j++)
			give_on(&test, object[j], 1);
		test.allocator->drain(test.heap, 1);
	}
	tick(&test, 30);
	assert_int_equal(test.arena->held_bytes, 4 * 4096);
	stack_close(&test);
	open_on(&test, "solaris:magazine=3,reap=off/binary", 4096, 8);
	park_three_magazines(&test);
	for (uint64_t seconds = 0; seconds <= 90; seconds += 15)
		tick(&test, seconds);
	assert_int_equal(test.arena->held_bytes, 7 * 4096);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------ start in mid-life */

/* Two live objects of one recorded slab and one of another: they lie so here, and the slabs go as they go. */
static void warm_objects_share_slabs_as_recorded(void **state)
{
	static const uint64_t recorded[] = {0x1000, 0x1200, 0x5000};
	uint64_t object[3];
	struct test_stack test;
	(void)state;
	stack_open(&test, "solaris:percpu=off/binary", TEST_MIB);
	stack_open_cache(&test, CACHE,
			 (struct kml_cache){.name = "cache",
					    .object_bytes = 256,
					    .recorded_slot_bytes = 256,
					    .recorded_objects_per_slab = 16,
					    .recorded_pages_per_slab = 1,
					    .recorded_slabs_at_start = 2});
	for (int i = 0; i < 3; i++) {
		const struct kml_request request = {
			.size_bytes = 256, .recorded = recorded[i], .cache = CACHE, .flags = KML_WARM};
		struct kml_grant grant = kml_shadow_alloc(test.shadow, &request);
		assert_int_equal(grant.status, KML_OK);
		object[i] = grant.address;
	}
	test.allocator->settle(test.heap);
	stack_check(&test);
	assert_int_equal(cache_stats(&test).slabs, 2);
	assert_int_equal(object[0] & ~4095ull, object[1] & ~4095ull);
	assert_int_not_equal(object[0] & ~4095ull, object[2] & ~4095ull);
	give_on(&test, object[0], 0);
	assert_int_equal(test.arena->held_bytes, 2 * 4096);
	give_on(&test, object[1], 0);
	assert_int_equal(test.arena->held_bytes, 4096);
	assert_int_equal(take_on(&test, 0) & ~4095ull, object[2] & ~4095ull);
	stack_check(&test);
	stack_close(&test);
}

/* --------------------------------------------------------------------------------------- misuse and damage */

static void misuse_is_named(void **state)
{
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris/binary", 96, 8);
	stack_open_cache(&test, OTHER, (struct kml_cache){.name = "other", .object_bytes = 96});
	uint64_t first = take_on(&test, 0), second = take_on(&test, 0);
	assert_int_equal(stack_free(&test, first, OTHER), KML_WRONG_CACHE);
	assert_int_equal(stack_free(&test, first + 8, CACHE), KML_INTERIOR);
	assert_int_equal(test.allocator->cache_close(test.heap, CACHE), KML_CACHE_BUSY);
	give_on(&test, first, 0);
	assert_int_equal(stack_free(&test, first, CACHE), KML_DOUBLE_FREE); /* parked in a magazine */
	give_on(&test, second, 1);
	assert_int_equal(test.allocator->cache_close(test.heap, CACHE), KML_OK);
	assert_int_equal(test.arena->held_bytes, 0);
	stack_close(&test);
}

static void a_damaged_free_list_is_found(void **state)
{
	struct test_stack test;
	struct kml_error error = {{0}};
	(void)state;
	open_on(&test, "solaris:percpu=off/binary", 64, 8);
	uint64_t object = take_on(&test, 0), kept, wrong = object;
	uint8_t *link = test.arena->base + (object - 64) + 56; /* of the next free object */
	memcpy(&kept, link, sizeof kept);
	memcpy(link, &wrong, sizeof wrong);
	assert_false(test.allocator->validate(test.heap, &error));
	assert_non_null(strstr(error.text, "free list"));
	memcpy(link, &kept, sizeof kept);
	stack_check(&test);
	stack_close(&test);
}

/* Objects in magazines are parked, each once; the depot has as many magazines as it counts. */
static void damaged_magazines_are_found(void **state)
{
	static const char *const names[] = {"is parked twice", "is granted", "is no object", "magazines or more",
					    "rounds in magazines of 3"};
	struct test_stack test;
	(void)state;
	open_on(&test, "solaris:magazine=3/binary", 64, 8);
	park_three_magazines(&test);
	uint64_t live = take_on(&test, 1);
	struct solaris_cache *cache = cache_of(object_heap_of(test.heap)->caches[CACHE]);
	struct magazine *full = cache->cpus[0].previous;
	const uint64_t kept = full->round[0];
	stack_check(&test);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct kml_error error = {{0}};
		const uint64_t rounds[] = {full->round[1], live, kept + 8, kept, kept};
		full->round[0] = rounds[i];
		cache->full.total += i == 3;
		cache->cpus[0].previous_rounds -= i == 4;
		assert_false(test.allocator->validate(test.heap, &error));
		if (!strstr(error.text, names[i]))
			fail_msg("'%s' does not name '%s'", error.text, names[i]);
		full->round[0] = kept;
		cache->full.total -= i == 3;
		cache->cpus[0].previous_rounds += i == 4;
	}
	stack_check(&test);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------------- at random */

static void random_run(const char *spec)
{
	enum { STEPS = 20000, LIVE = 1500 };
	static const uint64_t sizes[] = {8, 24, 100, 192, 500, 704, 2000, 5000};
	static uint64_t live[LIVE];
	struct test_stack test;
	uint64_t random = 7;
	uint32_t count = 0;
	stack_open(&test, spec, 32 * TEST_MIB);
	for (uint32_t i = 0; i < TEST_CACHE_ROOM; i++)
		stack_open_cache(&test, i,
				 (struct kml_cache){.name = "cache",
						    .object_bytes = sizes[i],
						    .align_bytes = i % 3 == 0 ? 64 : 0});
	for (uint32_t step = 0; step < STEPS; step++) {
		uint16_t cpu = (uint16_t)random_below(&random, TEST_CPUS);
		bool grows = step / 2500 % 2 == 0;
		if (count == LIVE || (count > 0 && random_below(&random, 10) < (grows ? 3u : 7u))) {
			uint64_t *victim = &live[random_below(&random, count)];
			const struct kml_release release = {.address = *victim, .cache = KML_NO_CACHE, .cpu = cpu};
			assert_int_equal(kml_shadow_free(test.shadow, &release), KML_OK);
			*victim = live[--count];
		} else {
			uint32_t cache = (uint32_t)random_below(&random, TEST_CACHE_ROOM);
			live[count++] = stack_must_alloc(
				&test, (struct kml_request){.size_bytes = sizes[cache], .cache = cache, .cpu = cpu});
		}
		if (step % 1000 == 0) {
			test.allocator->tick(test.heap, step / 1000 * 5 * SECOND);
			stack_check(&test);
		}
	}
	while (count > 0)
		stack_must_free(&test, live[--count]);
	stack_check_whole(&test);
	stack_close(&test);
}

static void random_runs_keep_every_invariant(void **state)
{
	(void)state;
	random_run("solaris/binary");
	random_run("solaris:percpu=off/fibonacci");
	random_run("solaris:magazine=2,colouring=off/weighted");
	random_run("solaris:fit=granted/kary:k=3");
	random_run("solaris:resize=off,reap=off,fit=granted/best_fit");
	random_run("solaris:debug=on/binary");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_objects_share_a_page_with_their_descriptor),
		cmocka_unit_test(colours_go_by_the_alignment_until_the_rest_is_used),
		cmocka_unit_test(large_objects_get_the_slab_that_wastes_least),
		cmocka_unit_test(no_slab_loses_more_than_an_eighth),
		cmocka_unit_test(descriptors_of_large_objects_lie_outside),
		cmocka_unit_test(the_link_of_a_small_object_is_its_last_word),
		cmocka_unit_test(a_slab_that_was_complete_serves_next),
		cmocka_unit_test(a_slab_with_nothing_out_goes_back_at_once),
		cmocka_unit_test(granted_pages_are_used_on_demand),
		cmocka_unit_test(without_a_run_a_slab_of_one_object_is_tried),
		cmocka_unit_test(loaded_and_previous_are_exchanged),
		cmocka_unit_test(the_depot_passes_full_magazines_between_cpus),
		cmocka_unit_test(draining_a_cpu_leaves_the_others),
		cmocka_unit_test(magazines_begin_by_object_size),
		cmocka_unit_test(contention_makes_magazines_grow),
		cmocka_unit_test(accesses_far_apart_do_not_contend),
		cmocka_unit_test(magazines_of_fixed_size_or_with_resize_off_stay),
		cmocka_unit_test(magazines_of_large_objects_stop_growing),
		cmocka_unit_test(what_the_depot_did_not_need_for_an_interval_is_reaped),
		cmocka_unit_test(a_magazine_that_was_used_stays),
		cmocka_unit_test(warm_objects_share_slabs_as_recorded),
		cmocka_unit_test(misuse_is_named),
		cmocka_unit_test(a_damaged_free_list_is_found),
		cmocka_unit_test(damaged_magazines_are_found),
		cmocka_unit_test(random_runs_keep_every_invariant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
