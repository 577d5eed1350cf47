/*
 * sheaves_test.c - sheaves by worked scenarios, after alloc_from_pcs and free_to_pcs of mm/slub.c, Linux 6.18: which
 * object comes next, and how many are parked. 32 objects a sheaf; vm_area_struct: 192 bytes, 21 in a slab of one page.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/sheaves.h"

enum { OBJECT = 192, CAPACITY = 32, MANY = 2000 };
#define SPEC "slub:profile=linux-6.18/binary"

static void open_named(struct test_stack *test, const char *spec, const char *name)
{
	stack_open(test, spec, 16 * TEST_MIB);
	stack_open_cache(test, 0, (struct kml_cache){.name = name, .object_bytes = OBJECT, .align_bytes = 64});
}

static struct slub_cache *cache_of(const struct test_stack *test)
{
	return slub_cache_of(object_heap_of(test->heap)->caches[0]);
}

static uint64_t take(struct test_stack *test, uint16_t cpu)
{
	return stack_must_alloc(test, (struct kml_request){.size_bytes = OBJECT, .cache = 0, .cpu = cpu});
}

static void give(struct test_stack *test, uint64_t object, uint16_t cpu)
{
	const struct kml_release release = {.address = object, .cache = 0, .cpu = cpu};
	assert_int_equal(kml_shadow_free(test->shadow, &release), KML_OK);
}

/* An empty sheaf is filled whole: one object for the caller, 31 parked. */
static void an_allocation_fills_a_sheaf(void **state)
{
	(void)state;
	struct test_stack test;
	open_named(&test, SPEC, "vm_area_struct");
	uint64_t object = take(&test, 0);
	assert_int_equal(cache_of(&test)->parked, CAPACITY - 1);
	assert_int_equal(cache_of(&test)->slabs.slabs, 2); /* 32 of 42 objects */
	give(&test, object, 0);
	assert_int_equal(cache_of(&test)->parked, CAPACITY);
	assert_int_equal(take(&test, 0), object); /* the last freed first */
	give(&test, object, 1);                   /* whichever cpu frees: into its own sheaf */
	assert_int_equal(take(&test, 1), object);
	give(&test, object, 1);
	stack_check(&test);
	stack_close(&test);
}

/* Without leave to wait an empty sheaf is not filled: the slabs serve. */
static void an_atomic_request_goes_to_the_slabs(void **state)
{
	(void)state;
	struct test_stack test;
	open_named(&test, SPEC, "vm_area_struct");
	const struct kml_request atomic = {.size_bytes = OBJECT, .cache = 0, .flags = KML_ATOMIC};
	uint64_t object = stack_must_alloc(&test, atomic);
	assert_int_equal(cache_of(&test)->parked, 0);
	assert_int_equal(cache_of(&test)->slabs.slabs, 1);
	give(&test, object, 0);
	assert_int_equal(cache_of(&test)->parked, 1);
	stack_check(&test);
	stack_close(&test);
}

/* Freed objects stay in main, spare and ten sheaves of the barn: 384. Those beyond go to the slabs, a sheaf at once. */
static void a_cpu_and_the_barn_keep_twelve_sheaves(void **state)
{
	(void)state;
	struct test_stack test;
	static uint64_t objects[MANY];
	open_named(&test, SPEC, "vm_area_struct");
	for (int i = 0; i < MANY; i++)
		objects[i] = take(&test, 0);
	uint64_t before = cache_of(&test)->parked;
	assert_true(before < CAPACITY);
	for (int i = 0; i < MANY; i++) {
		give(&test, objects[i], 0);
		assert_true(cache_of(&test)->parked <= (2 + SHEAVES_BARN_MAX) * CAPACITY);
	}
	assert_true(cache_of(&test)->parked > (1 + SHEAVES_BARN_MAX) * CAPACITY);
	/* What was parked serves again, the last freed first, from the barn too. */
	assert_int_equal(take(&test, 0), objects[MANY - 1]);
	uint64_t slabs = cache_of(&test)->slabs.slabs;
	for (int i = 1; i < (1 + (int)SHEAVES_BARN_MAX) * CAPACITY; i++)
		take(&test, (uint16_t)(i % 2));
	assert_true(cache_of(&test)->slabs.slabs <= slabs + 2);
	stack_check(&test);
	kml_shadow_destroy(test.shadow);
	kml_stack_destroy(&test.stack);
	kml_arena_destroy(test.arena);
	kml_spec_free(test.spec);
}

/* A drain empties the cpu's sheaves, a shrink all of them: nothing is parked, no slab is left. */
static void drain_and_shrink_empty_the_sheaves(void **state)
{
	(void)state;
	struct test_stack test;
	static uint64_t objects[MANY];
	open_named(&test, SPEC, "vm_area_struct");
	for (int i = 0; i < MANY; i++)
		objects[i] = take(&test, (uint16_t)(i % 2));
	for (int i = 0; i < MANY; i++)
		give(&test, objects[i], (uint16_t)(i % 2));
	uint64_t parked = cache_of(&test)->parked;
	test.allocator->drain(test.heap, 0);
	assert_true(cache_of(&test)->parked < parked);
	assert_true(cache_of(&test)->parked >= SHEAVES_BARN_MAX * CAPACITY);
	test.allocator->cache_shrink(test.heap, 0);
	assert_int_equal(cache_of(&test)->parked, 0);
	assert_int_equal(cache_of(&test)->slabs.slabs, 0);
	stack_check_whole(&test);
	stack_check(&test);
	stack_close(&test);
}

/* kernel/fork.c and lib/maple_tree.c ask in 6.18; nobody did in 6.1, nor has a cache without lists of cpus sheaves. */
static void only_those_who_ask_have_sheaves(void **state)
{
	(void)state;
	static const struct {
		const char *spec, *name;
		bool has;
	} cases[] = {{SPEC, "vm_area_struct", true},
		     {SPEC, "maple_node", true},
		     {SPEC, "dentry", false},
		     {"slub:profile=linux-6.1/binary", "vm_area_struct", false},
		     {"slub:percpu=off/binary", "vm_area_struct", false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct test_stack test;
		open_named(&test, cases[i].spec, cases[i].name);
		assert_int_equal(cache_of(&test)->sheaves != NULL, cases[i].has);
		stack_check(&test);
		stack_close(&test);
	}
}

static void a_granted_object_in_a_sheaf_is_found(void **state)
{
	(void)state;
	struct test_stack test;
	struct kml_error error;
	open_named(&test, SPEC, "vm_area_struct");
	uint64_t object = take(&test, 0);
	sheaves_park(cache_of(&test), object, 1, false);
	assert_false(test.allocator->validate(test.heap, &error));
	assert_non_null(strstr(error.text, "is granted"));
	kml_shadow_destroy(test.shadow);
	kml_stack_destroy(&test.stack);
	kml_arena_destroy(test.arena);
	kml_spec_free(test.spec);
}

/* What is in a sheaf is nowhere else: not in another one, and not on its slab. */
static void an_object_in_two_places_is_found(void **state)
{
	(void)state;
	struct test_stack test;
	struct kml_error error;
	open_named(&test, SPEC, "vm_area_struct");
	uint64_t object = take(&test, 0);
	give(&test, object, 0);
	stack_check(&test);
	struct slub_cache *cache = cache_of(&test);
	sheaves_park(cache, object, 1, false);
	assert_false(test.allocator->validate(test.heap, &error));
	assert_non_null(strstr(error.text, "is parked twice"));
	sheaves_flush_cpu(cache, 1); /* to its slab; cpu 0 still has it */
	assert_false(test.allocator->validate(test.heap, &error));
	assert_non_null(strstr(error.text, "free on its slab too"));
	kml_shadow_destroy(test.shadow);
	kml_stack_destroy(&test.stack);
	kml_arena_destroy(test.arena);
	kml_spec_free(test.spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allocation_fills_a_sheaf),
		cmocka_unit_test(an_atomic_request_goes_to_the_slabs),
		cmocka_unit_test(a_cpu_and_the_barn_keep_twelve_sheaves),
		cmocka_unit_test(drain_and_shrink_empty_the_sheaves),
		cmocka_unit_test(only_those_who_ask_have_sheaves),
		cmocka_unit_test(a_granted_object_in_a_sheaf_is_found),
		cmocka_unit_test(an_object_in_two_places_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
