/*
 * seed_test.c - a start in mid-life: what seeds and warm objects say, against where SLUB's slabs are afterwards. What a
 * case expects follows from the rules in seed.h, counted by hand.
 *
 * Slots of 512 bytes, 8 in a slab of one page. cpu_partial=8 objects stand for 2 slabs of a cpu, so a cpu takes the
 * node's slabs by three: one to allocate from, two for its list.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/slub.h"

enum { OBJECT = 512, OBJECTS = 8 };
#define SPEC "slub:profile=linux-6.18,order=0,cpu_partial=8,min_partial=2/binary"
/* Slab number n of the recorded kernel. */
#define SLAB(n) (0x100000ull + (uint64_t)(n)*TEST_PAGE)
#define SLOT(n, slot) (SLAB(n) + (uint64_t)(slot)*OBJECT)

struct seed_case {
	struct test_stack test;
	uint64_t event;
	uint64_t objects[256];
	uint32_t object_count;
};

static void begin_named(struct seed_case *start, const char *name, uint64_t slabs, uint64_t free_objects)
{
	*start = (struct seed_case){.event = 1000};
	stack_open(&start->test, SPEC, 16 * TEST_MIB);
	stack_open_cache(&start->test, 0,
			 (struct kml_cache){.name = name,
					    .object_bytes = OBJECT,
					    .recorded_slot_bytes = OBJECT,
					    .recorded_objects_per_slab = OBJECTS,
					    .recorded_pages_per_slab = 1,
					    .recorded_slabs_at_start = slabs,
					    .recorded_free_at_start = free_objects});
}

static void begin(struct seed_case *start, uint64_t slabs, uint64_t free_objects)
{
	begin_named(start, "c", slabs, free_objects);
}

/* The first `count` slots of the slab were free, and this cpu allocates them. */
static void seeds(struct seed_case *start, uint32_t slab, uint32_t count, uint16_t cpu)
{
	for (uint32_t slot = 0; slot < count; slot++) {
		const struct kml_seed seed = {
			.recorded = SLOT(slab, slot), .event = start->event++, .cache = 0, .cpu = cpu};
		start->test.allocator->seed(start->test.heap, &seed);
	}
}

static uint64_t warm_at(struct seed_case *start, uint64_t recorded)
{
	const struct kml_request request = {.size_bytes = OBJECT, .recorded = recorded, .cache = 0, .flags = KML_WARM};
	struct kml_grant grant = kml_shadow_alloc(start->test.shadow, &request);
	assert_int_equal(grant.status, KML_OK);
	return start->objects[start->object_count++] = grant.address;
}

/* Objects live in the last `count` slots of the slab. */
static void warm(struct seed_case *start, uint32_t slab, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		warm_at(start, SLOT(slab, OBJECTS - 1 - i));
}

static void warm_without_place(struct seed_case *start, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		warm_at(start, KML_NO_ADDRESS);
}

static struct slub_cache *cache_of_case(const struct seed_case *start)
{
	return slub_cache_of(object_heap_of(start->test.heap)->caches[0]);
}

static struct slub_cache *settle(struct seed_case *start)
{
	struct kml_error error;
	start->test.allocator->settle(start->test.heap);
	if (!start->test.allocator->validate(start->test.heap, &error))
		fail_msg("%s", error.text);
	return cache_of_case(start);
}

static void finish(struct seed_case *start)
{
	for (uint32_t i = 0; i < start->object_count; i++) {
		const struct kml_release release = {.address = start->objects[i], .cache = 0};
		assert_int_equal(kml_shadow_free(start->test.shadow, &release), KML_OK);
	}
	stack_close(&start->test);
}

static uint32_t free_slots(const struct slab *slab)
{
	return slab->objects - slab->in_use;
}

/* The node's list: recorded slabs by number, in its order. */
static void assert_node(const struct slub_cache *cache, const uint32_t *numbers, uint32_t count)
{
	assert_int_equal(cache->partial.count, count);
	const struct slab *slab = slab_list_first(&cache->partial);
	for (uint32_t i = 0; i < count; i++, slab = slab_list_next(&cache->partial, slab))
		assert_int_equal(slab->recorded, SLAB(numbers[i]));
}

static void warm_objects_share_slabs_as_their_addresses_do(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 0, 0);
	uint64_t a = warm_at(&start, SLOT(1, 0)), b = warm_at(&start, SLOT(2, 5)), c = warm_at(&start, SLOT(1, 7));
	assert_int_equal(a / TEST_PAGE, c / TEST_PAGE);
	assert_int_not_equal(a / TEST_PAGE, b / TEST_PAGE);
	assert_int_equal(settle(&start)->slabs.slabs, 2);
	finish(&start);
}

static void counted_slabs_are_there_and_full_where_nothing_else_is_known(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 5, 0);
	warm_without_place(&start, 5 * OBJECTS);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->slabs.slabs, 5);
	assert_int_equal(cache->partial.count, 0);
	finish(&start);
}

/* Rule 1: the slab of the cpu's first seed is its own: three allocations there, no new slab. */
static void the_first_seed_of_a_cpu_is_on_its_slab(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 2, 0);
	seeds(&start, 1, 3, 1);
	warm(&start, 1, 5);
	warm_without_place(&start, OBJECTS);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->slabs.slabs, 2);
	assert_null(cache->cpus[0].slab);
	assert_int_equal(cache->cpus[1].slab->recorded, SLAB(1));
	for (int i = 0; i < 3; i++) {
		const struct kml_request request = {.size_bytes = OBJECT, .cache = 0, .cpu = 1};
		start.objects[start.object_count++] = stack_must_alloc(&start.test, request);
		assert_int_equal(
			slab_of(object_heap_of(start.test.heap), start.objects[start.object_count - 1])->recorded,
			SLAB(1));
	}
	assert_int_equal(cache->slabs.slabs, 2);
	finish(&start);
}

/* Rule 2: the kernel counted five free objects: the last slab's three and two of the one before. */
static void what_the_kernel_counted_as_free_divides_cpu_and_node(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 4, 5);
	seeds(&start, 1, 1, 0); /* the cpu's slab */
	seeds(&start, 2, 4, 0);
	seeds(&start, 3, 2, 0);
	seeds(&start, 4, 3, 0);
	const uint32_t live[] = {0, 7, 4, 6, 5};
	for (uint32_t slab = 1; slab <= 4; slab++)
		warm(&start, slab, live[slab]);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->cpus[0].slab->recorded, SLAB(1));
	assert_int_equal(cache->cpus[0].partial_slabs, 1);
	assert_int_equal(cache->cpus[0].partial->recorded, SLAB(2));
	assert_int_equal(cache->partial_free, 5);
	assert_node(cache, (const uint32_t[]){3, 4}, 2);
	finish(&start);
}

/* Of cuts that fit alike, the one that leaves the cpus alike: both keep a slab rather than one two. */
static void equal_cuts_leave_the_cpus_alike(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 6, 4);
	for (uint32_t slab = 1; slab <= 3; slab++) {
		seeds(&start, slab, 2, 0);
		seeds(&start, slab + 3, 2, 1);
	}
	for (uint32_t slab = 1; slab <= 6; slab++)
		warm(&start, slab, OBJECTS - 2);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->cpus[0].partial_slabs, 1);
	assert_int_equal(cache->cpus[1].partial_slabs, 1);
	assert_int_equal(cache->partial_free, 4);
	finish(&start);
}

/* Rule 3: a cpu uses a batch of the node's as 1, 3, 2: what it used as 1, 2, 3 stood there as 1, 3, 2. */
static void the_node_gives_batches_that_are_used_in_reverse(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 8, 7 * 2);
	seeds(&start, 1, 1, 0);
	warm(&start, 1, 7);
	for (uint32_t slab = 2; slab <= 8; slab++)
		seeds(&start, slab, 2, 0);
	for (uint32_t slab = 2; slab <= 8; slab++)
		warm(&start, slab, 6);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->cpus[0].partial_slabs, 0);
	assert_node(cache, (const uint32_t[]){2, 4, 3, 5, 7, 6, 8}, 7);
	/* And so the cpu comes to them in the order in which it came. */
	uint64_t before = KML_NO_ADDRESS;
	uint32_t number = 1;
	for (int i = 0; i < 1 + 7 * 2; i++) {
		const struct kml_request request = {.size_bytes = OBJECT, .cache = 0, .cpu = 0};
		uint64_t object = stack_must_alloc(&start.test, request);
		start.objects[start.object_count++] = object;
		uint64_t slab = slab_of(object_heap_of(start.test.heap), object)->recorded;
		if (before != KML_NO_ADDRESS && slab != before)
			assert_int_equal(slab, SLAB(++number));
		before = slab;
	}
	assert_int_equal(number, 8);
	finish(&start);
}

/* Rule 5: free objects that no seed explains lie on slabs without seeds, half a slab each. */
static void unexplained_free_objects_lie_on_slabs_without_seeds(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 10, 12);
	warm(&start, 1, OBJECTS);
	warm_without_place(&start, 9 * OBJECTS - 12);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->slabs.slabs, 10);
	assert_int_equal(cache->partial_free, 12);
	assert_int_equal(cache->partial.count, 3);
	for (const struct slab *slab = slab_list_first(&cache->partial); slab;
	     slab = slab_list_next(&cache->partial, slab)) {
		assert_int_equal(free_slots(slab), 4);
		assert_int_not_equal(slab->recorded, SLAB(1));
	}
	finish(&start);
}

/* More objects than slots: planned free ones give way, then there is one slab more. Nothing is refused. */
static void too_many_objects_take_planned_slots_and_then_a_slab(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 2, 4);
	warm_without_place(&start, 2 * OBJECTS);
	assert_int_equal(cache_of_case(&start)->slabs.slabs, 2);
	warm_without_place(&start, 1);
	assert_int_equal(settle(&start)->slabs.slabs, 3);
	finish(&start);
}

/* What sheaves of the kernel kept counts as active there. The sheaf of the cpu gives it out first. */
static void free_slots_counted_as_active_are_in_sheaves(void **state)
{
	(void)state;
	struct seed_case start;
	begin_named(&start, "vm_area_struct", 2, 3);
	seeds(&start, 1, 2, 0);
	seeds(&start, 2, 3, 0);
	warm(&start, 1, 6);
	warm(&start, 2, 5);
	const struct slub_cache *cache = settle(&start);
	assert_int_equal(cache->parked, 2);
	assert_int_equal(cache->partial_free, 3);
	const struct kml_request request = {.size_bytes = OBJECT, .cache = 0, .cpu = 0};
	uint64_t object = start.objects[start.object_count++] = stack_must_alloc(&start.test, request);
	assert_int_equal(slab_of(object_heap_of(start.test.heap), object)->recorded, SLAB(1));
	assert_int_equal(cache->parked, 1);
	finish(&start);
}

/* A count that no arena could hold is no count; seeds of an impossible slab are too many for it. */
static void hostile_counts_are_not_believed(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, UINT64_MAX, UINT64_MAX);
	for (int i = 0; i < 40; i++)
		seeds(&start, 1, OBJECTS, 0);
	warm(&start, 1, OBJECTS);
	warm_without_place(&start, 3);
	assert_true(settle(&start)->slabs.slabs <= 3);
	finish(&start);
}

static void a_heap_may_be_destroyed_before_it_is_settled(void **state)
{
	(void)state;
	struct seed_case start;
	begin(&start, 4, 5);
	seeds(&start, 1, 3, 0);
	warm(&start, 2, 5);
	kml_shadow_destroy(start.test.shadow);
	kml_stack_destroy(&start.test.stack);
	kml_arena_destroy(start.test.arena);
	kml_spec_free(start.test.spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warm_objects_share_slabs_as_their_addresses_do),
		cmocka_unit_test(counted_slabs_are_there_and_full_where_nothing_else_is_known),
		cmocka_unit_test(the_first_seed_of_a_cpu_is_on_its_slab),
		cmocka_unit_test(what_the_kernel_counted_as_free_divides_cpu_and_node),
		cmocka_unit_test(equal_cuts_leave_the_cpus_alike),
		cmocka_unit_test(the_node_gives_batches_that_are_used_in_reverse),
		cmocka_unit_test(unexplained_free_objects_lie_on_slabs_without_seeds),
		cmocka_unit_test(too_many_objects_take_planned_slots_and_then_a_slab),
		cmocka_unit_test(free_slots_counted_as_active_are_in_sheaves),
		cmocka_unit_test(hostile_counts_are_not_believed),
		cmocka_unit_test(a_heap_may_be_destroyed_before_it_is_settled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
