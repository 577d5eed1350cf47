/*
 * objects_test.c - the contract of allocator.h, as far as it is that of object strategies: caches of all kinds that
 * come and go, the front ends mixed with them, what the recorded kernel is said to have done, a start in mid-life, a
 * page layer that begins empty. Under the shadow model, for every strategy of the registry on every page allocator.
 */
#include "allocators/slab/front_testing.h"

#include <stdlib.h>

#define PROGRAM_STEPS 2500u
#define LIVE_MAX 500u
#define DEEP_CHECK_STEPS 125u
#define SECOND_NS 1000000000ull

struct live {
	uint64_t address;
	uint32_t cache; /* KML_NO_CACHE: of none, or of one whose name is gone */
	bool is_orphan;
};

struct program {
	struct test_stack test;
	uint64_t random;
	struct kml_cache caches[TEST_CACHE_ROOM];
	char names[TEST_CACHE_ROOM][32];
	bool is_open[TEST_CACHE_ROOM];
	uint64_t live_of[TEST_CACHE_ROOM];
	bool merges;      /* caches may be one under several names */
	uint64_t orphans; /* objects whose name was closed while the merged cache lives on */
	struct live live[LIVE_MAX];
	uint32_t count;
	uint64_t now_ns, due_ns, opened;
};

static uint64_t below(struct program *program, uint64_t limit)
{
	return random_below(&program->random, limit);
}

/* ------------------------------------------------------------------------------------------------------------ caches
 */

static void describe_cache(struct program *program, uint32_t index)
{
	static const uint64_t aligns[] = {0, 0, 0, 8, 16, 64, 256, TEST_PAGE};
	struct kml_cache *cache = &program->caches[index];
	uint64_t most = 1ull << (3 + below(program, 11));
	snprintf(program->names[index], sizeof(program->names[index]), "cache-%llu",
		 (unsigned long long)program->opened++);
	*cache = (struct kml_cache){.name = program->names[index], .object_bytes = 1 + below(program, most)};
	cache->align_bytes = aligns[below(program, sizeof(aligns) / sizeof(aligns[0]))];
	cache->has_constructor = below(program, 4) == 0;
	cache->typesafe_by_rcu = below(program, 4) == 0;
	cache->reclaimable = below(program, 4) == 0;
}

/* Objects of a merged cache that are left behind are freed without a name. */
static void forget_name(struct program *program, uint32_t index)
{
	program->is_open[index] = false;
	program->orphans += program->live_of[index];
	program->live_of[index] = 0;
	for (uint32_t i = 0; i < program->count; i++)
		if (program->live[i].cache == index)
			program->live[i] = (struct live){program->live[i].address, KML_NO_CACHE, true};
}

/* Closing is refused exactly when an object is live; then the index may be opened as another cache. */
static void churn_cache(struct program *program, uint32_t index)
{
	struct test_stack *test = &program->test;
	if (program->is_open[index]) {
		enum kml_status status = test->allocator->cache_close(test->heap, index);
		enum kml_status expected = program->live_of[index] > 0 ? KML_CACHE_BUSY : KML_OK;
		bool is_one_name_of_many = program->merges && (status == KML_OK || status == KML_CACHE_BUSY);
		if (status != expected && !is_one_name_of_many)
			fail_msg("%s: closing cache %u with %llu live objects: %s", test->text, index,
				 (unsigned long long)program->live_of[index], kml_status_name(status));
		if (status == KML_OK)
			forget_name(program, index);
	}
	if (!program->is_open[index]) {
		describe_cache(program, index);
		stack_open_cache(test, index, program->caches[index]);
		program->is_open[index] = true;
	}
}

/* The figures of caches against what the program did. */
static void check_cache_stats(struct program *program)
{
	struct test_stack *test = &program->test;
	struct kml_cache_stats stats;
	uint64_t by_figures = 0, by_events = program->orphans;
	for (uint32_t index = 0; test->allocator->cache_stats(test->heap, index, &stats); index++) {
		if (stats.name == NULL)
			continue;
		by_figures += index < TEST_CACHE_ROOM ? stats.live_objects : 0;
		if (index < TEST_CACHE_ROOM && !program->merges) {
			assert_string_equal(stats.name, program->names[index]);
			if (stats.live_objects != program->live_of[index])
				fail_msg("%s: %s has %llu live objects by its figures, %llu by the events", test->text,
					 stats.name, (unsigned long long)stats.live_objects,
					 (unsigned long long)program->live_of[index]);
		}
		assert_true(stats.live_objects <= stats.active_objects);
		assert_true(stats.active_objects <= stats.total_objects);
		assert_true(stats.active_slabs <= stats.slabs);
		assert_true(stats.slot_bytes * stats.total_objects >= stats.total_objects);
		assert_int_equal(stats.slab_bytes % TEST_PAGE, 0);
		assert_true(stats.slab_bytes <= test->arena->held_bytes);
	}
	for (uint32_t index = 0; index < TEST_CACHE_ROOM; index++)
		by_events += program->live_of[index];
	assert_int_equal(by_figures, by_events);
}

/* ----------------------------------------------------------------------------------------------------------- requests
 */

static struct kml_request any_request(struct program *program)
{
	static const uint16_t families[] = {0, KML_ACCOUNTED, KML_RECLAIMABLE, KML_DMA, KML_ZEROED, KML_ATOMIC};
	struct kml_request request = {.cache = KML_NO_CACHE, .cpu = (uint16_t)below(program, TEST_CPUS)};
	uint32_t cache = (uint32_t)below(program, TEST_CACHE_ROOM);
	request.flags = families[below(program, sizeof(families) / sizeof(families[0]))];
	switch (below(program, 10)) {
	case 0:
		request.size_bytes = (1 + below(program, 5)) * TEST_PAGE;
		request.align_bytes = TEST_PAGE;
		request.flags |= KML_PAGES;
		break;
	case 1:
		request.size_bytes = 1 + below(program, 20 * TEST_PAGE);
		request.flags |= KML_VMALLOC;
		break;
	case 2:
		request.size_bytes = 1 + below(program, 4 * TEST_PAGE);
		request.flags |= KML_KMALLOC;
		break;
	case 3:
	case 4:
		request.size_bytes = 1 + below(program, 300);
		request.flags |= KML_KMALLOC;
		break;
	default:
		if (!program->is_open[cache])
			churn_cache(program, cache);
		request.cache = cache;
		request.size_bytes = program->caches[cache].object_bytes;
		/* A caller asks for what the cache has by itself. */
		request.align_bytes = program->caches[cache].align_bytes;
		/* Zeroing would undo the constructor. */
		if (program->caches[cache].has_constructor)
			request.flags &= (uint16_t)~KML_ZEROED;
		break;
	}
	return request;
}

static void alloc_any(struct program *program)
{
	struct kml_request request = any_request(program);
	if (program->count == LIVE_MAX)
		return;
	struct kml_grant grant = stack_alloc(&program->test, request);
	if (grant.status != KML_OK)
		return;
	program->live[program->count++] = (struct live){grant.address, request.cache, false};
	if (request.cache != KML_NO_CACHE)
		program->live_of[request.cache]++;
}

static void free_one(struct program *program, uint64_t pick)
{
	struct live *live = &program->live[pick];
	const struct kml_release release = {.address = live->address,
					    .cache = below(program, 2) == 0 ? live->cache : KML_NO_CACHE,
					    .cpu = (uint16_t)below(program, TEST_CPUS)};
	enum kml_status status = kml_shadow_free(program->test.shadow, &release);
	if (status != KML_OK)
		fail_msg("%s: free of %llu: %s", program->test.text, (unsigned long long)live->address,
			 kml_status_name(status));
	if (live->cache != KML_NO_CACHE)
		program->live_of[live->cache]--;
	program->orphans -= live->is_orphan;
	*live = program->live[--program->count];
}

/* ----------------------------------------------------------------------------------------- what nobody's memory
 * depends on */

/* Told in any order, about any cache, with any numbers: nothing of a caller's may change. */
static void notify(struct program *program)
{
	const struct kml_allocator *allocator = program->test.allocator;
	struct kml_notice notice = {.kind = (enum kml_notice_kind)below(program, KML_NOTICE_RCU_FREE + 1),
				    .cpu = (uint16_t)below(program, TEST_CPUS),
				    .cache = (uint32_t)below(program, TEST_CACHE_ROOM),
				    .count = below(program, 200),
				    .batchcount = 1 + below(program, 60),
				    .address = KML_NO_ADDRESS};
	if (below(program, 8) == 0)
		notice.cache = KML_NO_CACHE;
	/* RCU is done with what was freed: nothing waits for it here. */
	if (notice.kind == KML_NOTICE_RCU_FREE)
		notice.address = below(program, program->test.arena->size_bytes / 16) * 16;
	struct kml_live live;
	bool is_live = notice.kind == KML_NOTICE_RCU_FREE &&
		       kml_shadow_next(program->test.shadow, notice.address, &live) && live.address == notice.address;
	if (allocator->notice != NULL && !is_live)
		allocator->notice(program->test.heap, &notice);
}

static void tick(struct program *program)
{
	const struct kml_allocator *allocator = program->test.allocator;
	program->now_ns += below(program, 5 * SECOND_NS);
	if (allocator->tick == NULL || program->now_ns < program->due_ns)
		return;
	program->due_ns = allocator->tick(program->test.heap, program->now_ns);
	assert_true(program->due_ns > program->now_ns);
}

static void give_back(struct program *program)
{
	struct test_stack *test = &program->test;
	switch (below(program, 6)) {
	case 0:
		if (test->allocator->shrink != NULL)
			test->allocator->shrink(test->heap);
		return;
	case 1:
		if (test->allocator->drain != NULL)
			test->allocator->drain(test->heap, (uint16_t)below(program, TEST_CPUS));
		return;
	case 2:
		if (test->backing->allocator->shrink != NULL)
			test->backing->allocator->shrink(test->backing);
		return;
	default:
		if (test->allocator->cache_shrink != NULL)
			test->allocator->cache_shrink(test->heap, (uint32_t)below(program, TEST_CACHE_ROOM + 2));
		return;
	}
}

/* -------------------------------------------------------------------------------------------------------- programs */

static void run(struct program *program, uint32_t steps)
{
	for (uint32_t step = 0; step < steps; step++) {
		bool fills = step / 400 % 2 == 0;
		if (below(program, 100) < (fills ? 65u : 35u))
			alloc_any(program);
		else if (program->count > 0)
			free_one(program, below(program, program->count));
		if (below(program, 40) == 0)
			churn_cache(program, (uint32_t)below(program, TEST_CACHE_ROOM));
		if (below(program, 30) == 0)
			notify(program);
		if (below(program, 30) == 0)
			tick(program);
		if (below(program, 50) == 0)
			give_back(program);
		if (step % DEEP_CHECK_STEPS == 0) {
			stack_check(&program->test);
			check_cache_stats(program);
		}
	}
}

static void free_all(struct program *program)
{
	while (program->count > 0)
		free_one(program, below(program, program->count));
	stack_check_whole(&program->test);
	stack_check(&program->test);
	check_cache_stats(program);
	for (uint32_t i = 0; i < TEST_CACHE_ROOM; i++)
		if (program->is_open[i])
			assert_int_equal(program->test.allocator->cache_close(program->test.heap, i), KML_OK);
	assert_int_equal(program->test.arena->held_bytes, 0);
}

static void lives_through_everything(const char *spec_text)
{
	static struct program program;
	memset(&program, 0, sizeof(program));
	program.random = 17;
	program.merges = strstr(spec_text, "merge=on") != NULL;
	stack_open(&program.test, spec_text, 6 * TEST_MIB);
	run(&program, PROGRAM_STEPS);
	free_all(&program);
	stack_close(&program.test);
}

static void caches_and_front_ends_live_together(void **state)
{
	(void)state;
	each_stack("", NULL, lives_through_everything);
}

/* Every other choice of every parameter, and a kernel's own page allocator below. */
static void every_choice_does(void **state)
{
	(void)state;
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		const struct kml_param *param = is_strategy(registry[i]) ? registry[i]->params : NULL;
		for (; param != NULL && param->name != NULL; param++)
			for (uint32_t j = 0; param->type == KML_PARAM_CHOICE && param->choices[j] != NULL; j++) {
				char params[96];
				snprintf(params, sizeof(params), ":%s=%s", param->name, param->choices[j]);
				char text[128];
				snprintf(text, sizeof(text), "%s%s/%s", registry[i]->name, params,
					 j % 2 == 0 ? "binary" : "weighted");
				if (strcmp(param->choices[j], param->default_text) != 0)
					lives_through_everything(text);
			}
		char text[128];
		snprintf(text, sizeof(text), "%s/binary:linux=on", registry[i]->name);
		if (is_strategy(registry[i]))
			lives_through_everything(text);
	}
}

/* ------------------------------------------------------------------------------------------------- a start in mid-life
 */

/*
 * Slabs of the recorded kernel, at addresses far above ours: some slots free when the recording began (seeds), some
 * live; then objects that nobody knows the place of. What was live is freed in the end, and all is whole.
 */
static void starts_in_mid_life(const char *spec_text)
{
	enum { RECORDED_SLABS = 12, SLOTS_MAX = 16 };
	static struct program program;
	memset(&program, 0, sizeof(program));
	program.random = 23;
	stack_open(&program.test, spec_text, 6 * TEST_MIB);
	const struct kml_allocator *allocator = program.test.allocator;
	if (allocator->settle != NULL) {
		uint64_t event = 100;
		for (uint32_t i = 0; i < 3; i++) {
			snprintf(program.names[i], sizeof(program.names[i]), "warm-%u", i);
			program.caches[i] = (struct kml_cache){.name = program.names[i], .object_bytes = 64u << i};
			program.caches[i].recorded_slot_bytes = 64u << i;
			program.caches[i].recorded_objects_per_slab = TEST_PAGE / (64u << i);
			program.caches[i].recorded_pages_per_slab = 1;
			program.caches[i].recorded_slabs_at_start = RECORDED_SLABS / 3 + i;
			stack_open_cache(&program.test, i, program.caches[i]);
			program.is_open[i] = true;
		}
		for (uint32_t pass = 0; pass < 2; pass++) {
			uint64_t choices = 99;
			for (uint64_t slab = 0; slab < RECORDED_SLABS; slab++)
				for (uint64_t slot = 0; slot < SLOTS_MAX; slot++) {
					uint32_t cache = (uint32_t)(slab % 3);
					uint64_t recorded = (1ull << 30) + slab * TEST_PAGE + slot * (64u << cache);
					bool is_seed = random_below(&choices, 3) == 0;
					struct kml_seed seed = {.recorded = recorded,
								.event = event++,
								.cache = cache,
								.cpu = (uint16_t)(slot % TEST_CPUS)};
					struct kml_request request = {.size_bytes = 64u << cache,
								      .cache = cache,
								      .recorded = recorded,
								      .flags = KML_WARM};
					if (pass == 0 && is_seed && allocator->seed != NULL)
						allocator->seed(program.test.heap, &seed);
					if (pass == 0 || is_seed)
						continue;
					struct kml_grant grant = kml_shadow_alloc(program.test.shadow, &request);
					assert_int_equal(grant.status, KML_OK);
					program.live[program.count++] = (struct live){grant.address, cache, false};
					program.live_of[cache]++;
				}
		}
		for (uint32_t i = 0; i < 60; i++) {
			struct kml_request request = {.size_bytes = 64u << i % 3,
						      .cache = i % 3,
						      .recorded = KML_NO_ADDRESS,
						      .flags = KML_WARM};
			if (i % 4 == 0)
				request = (struct kml_request){.size_bytes = 1 + i * 40,
							       .cache = KML_NO_CACHE,
							       .recorded = KML_NO_ADDRESS,
							       .flags = KML_WARM | KML_KMALLOC};
			struct kml_grant grant = kml_shadow_alloc(program.test.shadow, &request);
			assert_int_equal(grant.status, KML_OK);
			program.live[program.count++] = (struct live){grant.address, request.cache, false};
			if (request.cache != KML_NO_CACHE)
				program.live_of[request.cache]++;
		}
		allocator->settle(program.test.heap);
		stack_check(&program.test);
		check_cache_stats(&program);
		allocator->settle(program.test.heap); /* once; a second time changes nothing */
		stack_check(&program.test);
	}
	run(&program, 800);
	free_all(&program);
	stack_close(&program.test);
}

static void a_start_in_mid_life_is_sound(void **state)
{
	(void)state;
	each_stack("", NULL, starts_in_mid_life);
}

/* ------------------------------------------------------------------------------------------------------ starts empty
 */

/* Memory comes in blocks, as at boot, while caches are at work. */
static void memory_may_come_later(void **state)
{
	(void)state;
	size_t count;
	unsigned cases = 0;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		static struct program program;
		char text[128];
		if (!is_strategy(registry[i]))
			continue;
		snprintf(text, sizeof(text), "%s/binary", registry[i]->name);
		memset(&program, 0, sizeof(program));
		program.random = 31;
		struct test_stack *test = &program.test;
		stack_open_empty(test, text, 8 * TEST_MIB);
		const struct kml_allocator *below_it = test->backing->allocator;
		assert_non_null(below_it->page_add);
		assert_int_equal(
			stack_alloc(test, (struct kml_request){.size_bytes = 10, .cache = KML_NO_CACHE}).status,
			KML_NO_MEMORY);
		for (uint64_t address = 0; address < 8 * TEST_MIB; address += TEST_MIB) {
			assert_int_equal(below_it->page_add(test->backing, address, TEST_MIB, 0), KML_OK);
			/* What it has already, or what is not there. */
			assert_int_not_equal(below_it->page_add(test->backing, address, TEST_MIB, 0), KML_OK);
			assert_int_not_equal(below_it->page_add(test->backing, 8 * TEST_MIB, TEST_MIB, 0), KML_OK);
			stack_check(test);
			run(&program, 300);
		}
		free_all(&program);
		struct kml_stats stats;
		test->allocator->stats(test->heap, &stats);
		assert_int_equal(stats.free_bytes, 8 * TEST_MIB);
		stack_close(test);
		cases++;
	}
	assert_true(cases > 0);
}

/* --------------------------------------------------------------------------------------------- constructors, alignment
 */

/* The strategies whose free objects are not touched (mm/slub.c, mm/slab.c). SLOB and Solaris construct anew what comes
 * from their slabs. */
static const char *const keepers[] = {"slab", "slub"};

static void constructed_contents_survive(void **state)
{
	(void)state;
	enum { OBJECTS = 300 };
	static uint64_t objects[OBJECTS];
	static const char *const guards[] = {"", ":debug=on", ":percpu=off"};
	for (size_t k = 0; k < sizeof(keepers) / sizeof(keepers[0]) * 3; k++) {
		struct test_stack test;
		char text[64];
		snprintf(text, sizeof(text), "%s%s/binary", keepers[k / 3], guards[k % 3]);
		stack_open(&test, text, 4 * TEST_MIB);
		for (uint32_t rcu = 0; rcu < 2; rcu++) {
			const struct kml_cache cache = {.name = rcu ? "rcu" : "constructed",
							.object_bytes = 120,
							.has_constructor = !rcu,
							.typesafe_by_rcu = rcu};
			const struct kml_request request = {
				.size_bytes = 120, .cache = rcu, .recorded = KML_NO_ADDRESS};
			stack_open_cache(&test, rcu, cache);
			/* Every other one stays: so do the slabs. */
			for (uint32_t i = 0; i < OBJECTS; i++) {
				objects[i] = test.allocator->alloc(test.heap, &request).address;
				assert_int_not_equal(objects[i], KML_NO_ADDRESS);
				memset(test.arena->base + objects[i], (int)(objects[i] / 8 % 251), 120);
			}
			for (uint32_t i = 0; i < OBJECTS; i += 2) {
				const struct kml_release release = {.address = objects[i], .cache = rcu};
				assert_int_equal(test.allocator->free(test.heap, &release), KML_OK);
			}
			uint32_t seen = 0;
			for (uint32_t i = 0; i < OBJECTS; i += 2) {
				uint64_t again = test.allocator->alloc(test.heap, &request).address;
				assert_int_not_equal(again, KML_NO_ADDRESS);
				bool was_ours = false;
				for (uint32_t j = 0; j < OBJECTS; j += 2)
					was_ours |= objects[j] == again;
				for (uint32_t byte = 0; was_ours && byte < 120; byte++)
					assert_int_equal(test.arena->base[again + byte], again / 8 % 251);
				seen += was_ours;
			}
			assert_true(seen > OBJECTS / 4);
		}
		stack_close(&test);
	}
}

static void aligns(const char *spec_text)
{
	for (uint64_t align_bytes = 8; align_bytes <= TEST_PAGE; align_bytes *= 2) {
		struct test_stack test;
		stack_open(&test, spec_text, 4 * TEST_MIB);
		for (uint32_t i = 0; i < 3; i++) {
			static const uint64_t sizes[] = {1, 100, 700};
			stack_open_cache(&test, i,
					 (struct kml_cache){.name = "aligned",
							    .object_bytes = sizes[i],
							    .align_bytes = align_bytes});
			for (uint32_t j = 0; j < 40; j++) {
				/* Asked for nothing: the cache's own alignment holds. */
				uint64_t object = stack_must_alloc(
					&test, (struct kml_request){.size_bytes = sizes[i], .cache = i});
				assert_int_equal(object % align_bytes, 0);
			}
		}
		stack_check(&test);
		stack_close(&test);
	}
}

static void objects_are_aligned_as_their_cache_says(void **state)
{
	(void)state;
	each_stack("", NULL, aligns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(caches_and_front_ends_live_together),
		cmocka_unit_test(every_choice_does),
		cmocka_unit_test(a_start_in_mid_life_is_sound),
		cmocka_unit_test(memory_may_come_later),
		cmocka_unit_test(constructed_contents_survive),
		cmocka_unit_test(objects_are_aligned_as_their_cache_says),
	};
	return cmocka_run_group_tests_name("objects", tests, NULL, NULL);
}
