/*
 * slub_test.c - SLUB's paths by worked scenarios: which object, from which slab, and where the slab goes. The cases
 * follow mm/slub.c function by function; what a case expects is counted by hand from its rules.
 *
 * Slots of 512 bytes in slabs of one page: 8 objects. cpu_partial=8 objects stand for 2 slabs; min_partial=1.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/slub.h"

enum { OBJECT = 512, OBJECTS = 8 };
#define SPEC "slub:profile=linux-6.1,order=0,cpu_partial=8,min_partial=1"

static struct kml_cache plain(const char *name, uint64_t object_bytes)
{
	return (struct kml_cache){.name = name, .object_bytes = object_bytes};
}

static void open_one(struct test_stack *test, const char *spec)
{
	stack_open(test, spec, 16 * TEST_MIB);
	stack_open_cache(test, 0, plain("c", OBJECT));
}

static struct slub_cache *cache_at(const struct test_stack *test, uint32_t index)
{
	return slub_cache_of(object_heap_of(test->heap)->caches[index]);
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

/* Of a stack that was changed behind the back of its shadow. */
static void abandon(struct test_stack *test)
{
	kml_shadow_destroy(test->shadow);
	kml_stack_destroy(&test->stack);
	kml_arena_destroy(test->arena);
	kml_spec_free(test->spec);
}

/* One slab's worth of objects for a cpu that has no slab, or a used-up one: the whole of a new slab. */
static void take_slab(struct test_stack *test, uint64_t objects[OBJECTS], uint16_t cpu)
{
	for (uint32_t i = 0; i < OBJECTS; i++)
		objects[i] = take(test, cpu);
	for (uint32_t i = 1; i < OBJECTS; i++)
		assert_int_equal(objects[i], objects[0] + i * OBJECT); /* a new slab: in address order */
}

static struct slab *slab_at(const struct test_stack *test, uint64_t object)
{
	return slab_of(object_heap_of(test->heap), object);
}

static uint64_t happened(const struct test_stack *test, enum slub_event event)
{
	return cache_at(test, 0)->events[event];
}

/* --------------------------------------------------------------------------------------------- the cpu slab */

static void a_free_to_ones_own_slab_is_taken_next(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a = take(&test, 0), b = take(&test, 0);
	give(&test, a, 0);
	give(&test, b, 0);
	assert_int_equal(take(&test, 0), b);
	assert_int_equal(take(&test, 0), a);
	assert_int_equal(happened(&test, SLUB_FREE_FASTPATH), 2);
	assert_int_equal(happened(&test, SLUB_ALLOC_SLOWPATH), 1);
	assert_int_equal(happened(&test, SLUB_ALLOC_SLAB), 1);
	stack_close(&test);
}

/* get_freelist: what others freed on a cpu's slab comes when its own list is used up, the last one first. */
static void remote_frees_are_taken_when_the_own_list_is_used_up(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a = take(&test, 0), b = take(&test, 0);
	give(&test, a, 1);
	give(&test, b, 1);
	assert_int_equal(happened(&test, SLUB_FREE_FROZEN), 2);
	for (uint32_t i = 2; i < OBJECTS; i++)
		assert_int_equal(take(&test, 0), a + i * OBJECT);
	assert_int_equal(take(&test, 0), b);
	assert_int_equal(take(&test, 0), a);
	assert_int_equal(happened(&test, SLUB_ALLOC_REFILL), 1);
	assert_int_equal(happened(&test, SLUB_ALLOC_SLAB), 1);
	stack_close(&test);
}

/* ---------------------------------------------------------------------------------------- cpu partial lists */

/* put_cpu_partial: a full slab belongs to the cpu that frees its first object. */
static void a_full_slab_goes_to_the_cpu_that_frees_from_it(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t old[OBJECTS];
	take_slab(&test, old, 0);
	uint64_t newer = take(&test, 0); /* the old slab is full and on no list */
	give(&test, old[3], 1);
	assert_int_equal(slab_at(&test, old[3])->list, SLUB_CPU_PARTIAL);
	assert_int_equal(take(&test, 0), newer + OBJECT);
	assert_int_equal(take(&test, 1), old[3]); /* and cpu 1 allocates from it first */
	assert_int_equal(happened(&test, SLUB_CPU_PARTIAL_FREE), 1);
	assert_int_equal(happened(&test, SLUB_CPU_PARTIAL_ALLOC), 1);
	stack_close(&test);
}

/* Three full slabs A, B, C and a cpu list that holds two: the third free moves B, A to the node's list, in that order.
 */
static void a_list_that_is_long_enough_moves_to_the_node(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a[OBJECTS], b[OBJECTS], c[OBJECTS], d[OBJECTS];
	take_slab(&test, a, 0);
	take_slab(&test, b, 0);
	take_slab(&test, c, 0);
	take_slab(&test, d, 0); /* the last one is the cpu's */
	give(&test, a[0], 0);
	give(&test, b[0], 0);
	assert_int_equal(happened(&test, SLUB_CPU_PARTIAL_DRAIN), 0);
	give(&test, c[0], 0);
	assert_int_equal(happened(&test, SLUB_CPU_PARTIAL_DRAIN), 1);
	const struct slab_list *node = &cache_at(&test, 0)->partial;
	assert_int_equal(node->count, 2);
	assert_ptr_equal(slab_list_first(node), slab_at(&test, b[0]));
	assert_ptr_equal(slab_list_last(node), slab_at(&test, a[0]));
	assert_int_equal(slab_at(&test, c[0])->list, SLUB_CPU_PARTIAL);
	stack_close(&test);
}

/* get_partial_node: with room for 2 slabs a cpu takes one for itself and 2/2 + 1 for its list, from the list's head. */
static void a_cpu_takes_more_than_one_slab_from_the_node(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t slabs[6][OBJECTS];
	for (uint32_t i = 0; i < 6; i++)
		take_slab(&test, slabs[i], 0);
	for (uint32_t i = 0; i < 5; i++) /* moves 1 0, then 3 2; 4 stays on the list of cpu 0 */
		give(&test, slabs[i][0], 0);
	assert_int_equal(take(&test, 1), slabs[1][0]);
	assert_int_equal(happened(&test, SLUB_ALLOC_FROM_PARTIAL), 1);
	assert_int_equal(happened(&test, SLUB_CPU_PARTIAL_NODE), 2);
	assert_int_equal(cache_at(&test, 0)->partial.count, 1);
	assert_int_equal(take(&test, 1), slabs[3][0]); /* the one taken last is on top */
	assert_int_equal(take(&test, 1), slabs[0][0]);
	assert_int_equal(take(&test, 1), slabs[2][0]);
	stack_close(&test);
}

/* An empty slab stays on a cpu's list; when the list moves it is freed if the node has min_partial slabs. */
static void an_empty_slab_waits_on_a_cpu_list(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a[OBJECTS], b[OBJECTS], c[OBJECTS], d[OBJECTS];
	take_slab(&test, a, 0);
	take_slab(&test, b, 0);
	take_slab(&test, c, 0);
	take_slab(&test, d, 0);
	for (uint32_t i = 0; i < OBJECTS; i++)
		give(&test, a[i], 0);
	give(&test, b[0], 0);
	assert_int_equal(happened(&test, SLUB_FREE_SLAB), 0);
	give(&test, c[0], 0); /* b goes to the node, which then has min_partial = 1: a is freed */
	assert_int_equal(happened(&test, SLUB_DEACTIVATE_EMPTY), 1);
	assert_int_equal(happened(&test, SLUB_FREE_SLAB), 1);
	assert_int_equal(cache_at(&test, 0)->slabs.slabs, 3);
	stack_close(&test);
}

/* --------------------------------------------------------------------------------------------- the node */

/* A slab that empties on the node's list is freed iff the list has min_partial slabs, itself among them. */
static void the_node_keeps_less_than_min_partial_empty_slabs(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, "slub:profile=linux-6.1,order=0,cpu_partial=8,min_partial=2");
	uint64_t a[OBJECTS];
	take_slab(&test, a, 0);
	take(&test, 0);
	give(&test, a[0], 0);
	test.allocator->drain(test.heap, 0); /* a to the node's tail, the cpu's slab to its head */
	assert_int_equal(cache_at(&test, 0)->partial.count, 2);
	for (uint32_t i = 1; i < OBJECTS; i++)
		give(&test, a[i], 0);
	assert_int_equal(happened(&test, SLUB_FREE_REMOVE_PARTIAL), 1);
	assert_int_equal(cache_at(&test, 0)->partial.count, 1);

	uint64_t other = slab_object(slab_list_first(&cache_at(&test, 0)->partial), 0);
	give(&test, other, 0); /* empty, but one is less than two */
	assert_int_equal(happened(&test, SLUB_FREE_SLAB), 1);
	assert_int_equal(cache_at(&test, 0)->partial.count, 1);
	stack_close(&test);
}

/* deactivate_slab: to the head of the list; to its tail when other cpus freed on the slab. The cpu's list comes before
 * what they freed. */
static void a_flushed_slab_goes_to_head_or_tail(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a = take(&test, 0), b = take(&test, 1);
	take(&test, 1);
	give(&test, b, 0); /* freed on cpu 1's slab by cpu 0 */
	test.allocator->drain(test.heap, 0);
	test.allocator->drain(test.heap, 1);
	const struct slab_list *node = &cache_at(&test, 0)->partial;
	assert_ptr_equal(slab_list_first(node), slab_at(&test, a));
	assert_ptr_equal(slab_list_last(node), slab_at(&test, b));
	assert_int_equal(happened(&test, SLUB_DEACTIVATE_TO_HEAD), 1);
	assert_int_equal(happened(&test, SLUB_DEACTIVATE_TO_TAIL), 1);
	assert_int_equal(happened(&test, SLUB_DEACTIVATE_REMOTE_FREES), 1);
	assert_int_equal(slab_at(&test, b)->free_head, b + 2 * OBJECT);
	stack_close(&test);
}

/* __kmem_cache_do_shrink: no empty slab is left, the fullest come first. */
static void a_shrink_frees_the_empty_and_sorts_the_rest(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t slabs[4][OBJECTS];
	for (uint32_t i = 0; i < 4; i++)
		take_slab(&test, slabs[i], 0);
	static const uint32_t freed[4] = {5, 8, 1, 3};
	for (uint32_t i = 0; i < 4; i++)
		for (uint32_t k = 0; k < freed[i]; k++)
			give(&test, slabs[i][k], 0);
	test.allocator->cache_shrink(test.heap, 0);
	const struct slab_list *node = &cache_at(&test, 0)->partial;
	const struct slab *slab = slab_list_first(node);
	assert_int_equal(node->count, 3);
	assert_ptr_equal(slab, slab_at(&test, slabs[2][7]));
	slab = slab_list_next(node, slab);
	assert_ptr_equal(slab, slab_at(&test, slabs[3][7]));
	slab = slab_list_next(node, slab);
	assert_ptr_equal(slab, slab_at(&test, slabs[0][7]));
	assert_int_equal(cache_at(&test, 0)->slabs.slabs, 3);
	stack_check(&test);
	stack_close(&test);
}

/* More than 32 free objects are not told apart: such slabs stay behind, in their order. */
static void a_shrink_leaves_emptier_slabs_in_their_order(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub:profile=linux-6.1,order=0,min_partial=1", 16 * TEST_MIB);
	stack_open_cache(&test, 0, plain("c", 64)); /* 64 a slab */
	uint64_t objects[3][64];
	for (uint32_t i = 0; i < 3; i++)
		for (uint32_t k = 0; k < 64; k++)
			objects[i][k] = stack_must_alloc(&test, (struct kml_request){.size_bytes = 64, .cache = 0});
	static const uint32_t freed[3] = {40, 33, 32};
	for (uint32_t i = 0; i < 3; i++)
		for (uint32_t k = 0; k < freed[i]; k++)
			give(&test, objects[i][k], 1);
	test.allocator->cache_shrink(test.heap, 0);
	/* Slab 2 was cpu 0's and came to the head. The list of cpu 1, slab 1 above slab 0, came behind it. */
	const struct slab_list *node = &cache_at(&test, 0)->partial;
	const struct slab *slab = slab_list_first(node);
	assert_ptr_equal(slab, slab_at(&test, objects[2][63]));
	slab = slab_list_next(node, slab);
	assert_ptr_equal(slab, slab_at(&test, objects[1][63]));
	assert_ptr_equal(slab_list_next(node, slab), slab_at(&test, objects[0][63]));
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------- single lock */

/* alloc_single_from_partial, free_to_partial_list: one list, object by object; a slab that was full comes to its end.
 */
static void without_cpus_all_take_from_the_head_of_one_list(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, "slub:order=0,min_partial=1,percpu=off");
	uint64_t a[OBJECTS], b[OBJECTS];
	for (uint32_t i = 0; i < OBJECTS; i++)
		a[i] = take(&test, (uint16_t)(i % TEST_CPUS));
	assert_int_equal(a[OBJECTS - 1], a[0] + (OBJECTS - 1) * OBJECT);
	assert_int_equal(cache_at(&test, 0)->partial.count, 0);
	b[0] = take(&test, 0);
	give(&test, a[2], 1);
	assert_int_equal(take(&test, 1), b[0] + OBJECT); /* a came to the end of the list */
	assert_int_equal(cache_at(&test, 0)->partial.count, 2);
	for (uint32_t i = 0; i < OBJECTS; i++)
		if (i != 2)
			give(&test, a[i], 0);
	assert_int_equal(happened(&test, SLUB_FREE_SLAB), 1);
	stack_check(&test);
	stack_close(&test);
}

/* CONFIG_SLUB_CPU_PARTIAL=n: a cpu slab, but a slab that was full goes to the node at once. */
static void without_cpu_partial_lists_full_slabs_go_to_the_node(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, "slub:order=0,min_partial=1,percpu=slab");
	uint64_t a[OBJECTS];
	take_slab(&test, a, 0);
	take(&test, 0);
	give(&test, a[0], 0);
	assert_int_equal(slab_at(&test, a[0])->list, SLUB_NODE);
	assert_int_equal(happened(&test, SLUB_FREE_ADD_PARTIAL), 1);
	assert_int_equal(take(&test, 1), a[0]);
	stack_check(&test);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------- geometry at work */

/* Objects of 1024 bytes want 16 of them in 4 pages; a page layer whose largest block is 2 pages gives none of those. */
static void the_order_falls_back_when_the_pages_are_not_there(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub/binary:max_order=1", 16 * TEST_MIB);
	stack_open_cache(&test, 0, plain("c", 1024));
	assert_int_equal(cache_at(&test, 0)->slabs.order, 2);
	uint64_t object = stack_must_alloc(&test, (struct kml_request){.size_bytes = 1024, .cache = 0});
	assert_int_equal(slab_at(&test, object)->asked_bytes, TEST_PAGE);
	assert_int_equal(slab_at(&test, object)->objects, 4);
	assert_int_equal(happened(&test, SLUB_ORDER_FALLBACK), 1);
	stack_check(&test);
	stack_close(&test);
}

static void parameters_decide_the_order(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		uint32_t order;
	} cases[] = {{"slub", 2},
		     {"slub:order=0", 0},
		     {"slub:order=5", 5},
		     {"slub:max_order=1", 1},
		     {"slub:min_objects=4", 0},
		     {"slub:min_order=3", 3}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct test_stack test;
		stack_open(&test, cases[i].spec, 16 * TEST_MIB);
		stack_open_cache(&test, 0, plain("c", 1024));
		assert_int_equal(cache_at(&test, 0)->slabs.order, cases[i].order);
		stack_close(&test);
	}
}

/* Without an alignment in the trace a slot is what slabinfo said. */
static void a_slot_is_as_recorded_where_nobody_told_the_alignment(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub", 16 * TEST_MIB);
	stack_open_cache(&test, 0, (struct kml_cache){.name = "a", .object_bytes = 216, .recorded_slot_bytes = 256});
	stack_open_cache(
		&test, 1,
		(struct kml_cache){.name = "b", .object_bytes = 216, .align_bytes = 8, .recorded_slot_bytes = 256});
	assert_int_equal(cache_at(&test, 0)->slabs.slot_bytes, 256);
	assert_int_equal(cache_at(&test, 1)->slabs.slot_bytes, 216);
	stack_close(&test);
}

/* Regression: SLOB keeps no multiples of the alignment, so its 160 bytes of a cache type-safe by RCU were taken for a
 * slot, and objects aligned to cache lines were not. */
static void a_recorded_slot_keeps_the_alignment(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub", 16 * TEST_MIB);
	stack_open_cache(&test, 0,
			 (struct kml_cache){.name = "a",
					    .object_bytes = 160,
					    .align_bytes = 64,
					    .typesafe_by_rcu = true,
					    .recorded_slot_bytes = 160});
	assert_int_equal(cache_at(&test, 0)->slabs.slot_bytes, 192);
	stack_close(&test);
}

/* find_mergeable: less than a word of difference, aligned at least as well, nothing that sets them apart. */
static void caches_of_like_size_share_slabs(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub:merge=on", 16 * TEST_MIB);
	stack_open_cache(&test, 0, (struct kml_cache){.name = "root", .object_bytes = 128, .align_bytes = 64});
	stack_open_cache(&test, 1, plain("shares", 124));
	stack_open_cache(&test, 2, plain("smaller", 120));
	stack_open_cache(&test, 3, (struct kml_cache){.name = "apart", .object_bytes = 128, .has_constructor = true});
	stack_open_cache(&test, 4, (struct kml_cache){.name = "reclaimable", .object_bytes = 128, .reclaimable = true});
	const struct object_heap *heap = object_heap_of(test.heap);
	assert_ptr_equal(heap->caches[1], heap->caches[0]);
	for (uint32_t i = 2; i < 5; i++)
		assert_ptr_not_equal(heap->caches[i], heap->caches[0]);
	uint64_t object = stack_must_alloc(&test, (struct kml_request){.size_bytes = 124, .cache = 1});
	assert_int_equal(stack_free(&test, object, 0), KML_OK);
	stack_close(&test);
}

/* Every slot once; the same seed gives the same order, another seed another one. */
static void random_lists_are_permutations_by_the_seed(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slub:order=0,random=on", 16 * TEST_MIB);
	stack_open_cache(&test, 0, plain("c", 64));
	uint64_t seen = 0;
	bool in_order = true;
	for (uint32_t i = 0; i < 64; i++) {
		uint64_t object = stack_must_alloc(&test, (struct kml_request){.size_bytes = 64, .cache = 0});
		uint32_t slot = slab_slot(slab_at(&test, object), object);
		assert_false(seen >> slot & 1);
		seen |= 1ull << slot;
		in_order = in_order && slot == i;
	}
	assert_int_equal(cache_at(&test, 0)->slabs.slabs, 1);
	assert_false(in_order);
	stack_check(&test);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------- figures, start */

/* get_slabinfo: free objects of cpu slabs and cpu lists are active, those on the node's list are not. */
static void active_objects_are_the_kernels(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	uint64_t a[OBJECTS];
	struct kml_cache_stats stats;
	take_slab(&test, a, 0);
	take(&test, 0);
	give(&test, a[0], 0);
	give(&test, a[1], 0);
	assert_true(test.allocator->cache_stats(test.heap, 0, &stats));
	assert_int_equal(stats.live_objects, 7);
	assert_int_equal(stats.active_objects, 16);
	test.allocator->drain(test.heap, 0);
	assert_true(test.allocator->cache_stats(test.heap, 0, &stats));
	assert_int_equal(stats.active_objects, 7);
	assert_int_equal(stats.total_objects, 16);
	assert_int_equal(stats.slabs, 2);
	assert_int_equal(stats.active_slabs, 2);
	stack_close(&test);
}

/* A start in mid-life: slabs are shaped slot by slot and put where they were. */
static void a_slab_can_be_adopted_in_any_state(void **state)
{
	(void)state;
	struct test_stack test;
	open_one(&test, SPEC);
	struct slub_cache *cache = cache_at(&test, 0);
	const struct kml_request request = {.size_bytes = OBJECT, .cache = 0};
	enum kml_status status;
	static const enum slub_list lists[] = {SLUB_NODE, SLUB_CPU_PARTIAL, SLUB_CPU};
	static const uint32_t free_slots[] = {5, 2};
	struct slab *slabs[3];
	for (uint32_t i = 0; i < 3; i++) {
		slabs[i] = slub_slab_new(cache, &request, &status);
		slub_slab_shape(slabs[i], free_slots, 2);
		assert_int_equal(slabs[i]->in_use, OBJECTS - 2);
		for (uint32_t slot = 0; slot < OBJECTS; slot++) {
			struct object_place place;
			if (slot != 5 && slot != 2)
				slab_grant(slabs[i], slab_object(slabs[i], slot), &place);
		}
		cache->slabs.cache.live += OBJECTS - 2;
		slub_slab_adopt(slabs[i], lists[i], 1);
	}
	struct kml_error error;
	if (!test.allocator->validate(test.heap, &error))
		fail_msg("%s", error.text);
	const struct kml_request next = {.size_bytes = OBJECT, .cache = 0, .cpu = 1};
	for (uint32_t i = 3; i-- > 0;) /* the cpu's slab first, the node's last */
		for (uint32_t k = 0; k < 2; k++)
			assert_int_equal(test.allocator->alloc(test.heap, &next).address,
					 slab_object(slabs[i], free_slots[k]));
	abandon(&test);
}

/* ---------------------------------------------------------------------------------------------- self-check */

typedef void plant(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own);

static void link_in_circle(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)parked, (void)own;
	*slab_link(node, node->free_head) = node->free_head;
}

static void link_to_nowhere(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)node, (void)own;
	*slab_link(parked, parked->free_head) = parked->first + 4;
}

static void cpu_list_in_circle(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked;
	*slab_link(own, cache->cpus[0].freelist) = cache->cpus[0].freelist;
}

static void cpu_list_of_another_slab(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)parked, (void)own;
	cache->cpus[0].freelist = node->first;
}

static void wrong_state(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)node, (void)own;
	parked->list = SLUB_NODE;
}

static void wrong_cpu(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)node, (void)parked;
	own->cpu = 1;
}

static void node_count(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked, (void)own;
	cache->partial.count++;
}

static void node_free_count(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked, (void)own;
	cache->partial_free++;
}

static void node_link_back(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)own;
	node->link.prev = &parked->link;
}

static void cpu_list_count(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked, (void)own;
	cache->cpus[0].partial_slabs = 0;
}

static void cpu_partials_in_circle(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)node, (void)own;
	parked->link.next = &parked->link;
}

static void slots_in_use(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)parked, (void)own;
	node->in_use--;
}

static void lost_slab(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked, (void)own;
	cache->cpus[0].partial = NULL;
	cache->cpus[0].partial_slabs = 0;
}

static void lost_object(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)parked, (void)own;
	cache->cpus[0].freelist = *slub_link(cache, cache->cpus[0].freelist);
}

static void lost_free_objects(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)node, (void)own;
	parked->free_head = *slab_link(parked, parked->free_head);
	slab_count(parked, 1);
}

static void full_without_being_it(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)node, (void)own;
	lost_slab(cache, node, parked, own);
	parked->list = SLUB_FULL;
}

static void too_many_slots(struct slub_cache *cache, struct slab *node, struct slab *parked, struct slab *own)
{
	(void)cache, (void)parked, (void)own;
	node->first += 8;
}

/* Each kind of damage is found and named; nobody stumbles over it. */
static void damage_is_found(void **state)
{
	(void)state;
	static plant *const plants[] = {link_in_circle,
					link_to_nowhere,
					cpu_list_in_circle,
					cpu_list_of_another_slab,
					wrong_state,
					wrong_cpu,
					node_count,
					node_free_count,
					node_link_back,
					cpu_list_count,
					cpu_partials_in_circle,
					slots_in_use,
					lost_slab,
					lost_object,
					lost_free_objects,
					full_without_being_it,
					too_many_slots};
	for (size_t i = 0; i < sizeof plants / sizeof plants[0]; i++) {
		struct test_stack test;
		struct kml_error error = {{0}};
		open_one(&test, SPEC);
		uint64_t a[OBJECTS], b[OBJECTS];
		take_slab(&test, a, 0);
		take_slab(&test, b, 0);
		give(&test, a[1], 0);
		give(&test, a[2], 0);
		test.allocator->drain(test.heap, 0);
		give(&test, b[1], 0);
		give(&test, b[2], 0); /* a on the node's list, b on cpu 0's */
		struct slub_cache *cache = cache_at(&test, 0);
		enum kml_status status;
		const struct kml_request request = {.size_bytes = OBJECT, .cache = 0};
		struct slab *own = slub_slab_new(cache, &request, &status);
		slub_slab_adopt(own, SLUB_CPU, 0);
		if (!test.allocator->validate(test.heap, &error))
			fail_msg("before damage %zu: %s", i, error.text);
		plants[i](cache, slab_at(&test, a[0]), slab_at(&test, b[0]), own);
		assert_false(test.allocator->validate(test.heap, &error));
		assert_non_null(strstr(error.text, "cache c"));
		abandon(&test);
	}
}

static void orders_that_contradict_are_refused(void **state)
{
	(void)state;
	struct kml_error error = {{0}};
	struct kml_spec *spec = kml_spec_parse("slub:min_order=2,max_order=1", &error);
	assert_non_null(spec);
	struct kml_arena *arena = kml_arena_create(TEST_MIB, TEST_PAGE, true, &error);
	struct kml_stack stack;
	const struct kml_environment environment = {
		.arena = arena, .page_bytes = TEST_PAGE, .cpu_count = 1, .cache_count = 1};
	assert_false(kml_stack_create(&stack, spec, &environment, &error));
	assert_non_null(strstr(error.text, "min_order"));
	kml_arena_destroy(arena);
	kml_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_free_to_ones_own_slab_is_taken_next),
		cmocka_unit_test(remote_frees_are_taken_when_the_own_list_is_used_up),
		cmocka_unit_test(a_full_slab_goes_to_the_cpu_that_frees_from_it),
		cmocka_unit_test(a_list_that_is_long_enough_moves_to_the_node),
		cmocka_unit_test(a_cpu_takes_more_than_one_slab_from_the_node),
		cmocka_unit_test(an_empty_slab_waits_on_a_cpu_list),
		cmocka_unit_test(the_node_keeps_less_than_min_partial_empty_slabs),
		cmocka_unit_test(a_flushed_slab_goes_to_head_or_tail),
		cmocka_unit_test(a_shrink_frees_the_empty_and_sorts_the_rest),
		cmocka_unit_test(a_shrink_leaves_emptier_slabs_in_their_order),
		cmocka_unit_test(without_cpus_all_take_from_the_head_of_one_list),
		cmocka_unit_test(without_cpu_partial_lists_full_slabs_go_to_the_node),
		cmocka_unit_test(the_order_falls_back_when_the_pages_are_not_there),
		cmocka_unit_test(parameters_decide_the_order),
		cmocka_unit_test(a_slot_is_as_recorded_where_nobody_told_the_alignment),
		cmocka_unit_test(a_recorded_slot_keeps_the_alignment),
		cmocka_unit_test(caches_of_like_size_share_slabs),
		cmocka_unit_test(random_lists_are_permutations_by_the_seed),
		cmocka_unit_test(active_objects_are_the_kernels),
		cmocka_unit_test(a_slab_can_be_adopted_in_any_state),
		cmocka_unit_test(damage_is_found),
		cmocka_unit_test(orders_that_contradict_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
