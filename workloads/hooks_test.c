/*
 * hooks_test.c - what an allocator is told beside requests: warm starts, notices, the clock, memory at boot, shrinks.
 *
 * A spy takes the place of an allocator and writes down every call, one word each.
 */
#include "workloads/testing.h"

#include <inttypes.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/replay.h"

enum { LOG_BYTES = 4096, TICK_NS = 2500 };

static struct spy_log {
	char text[LOG_BYTES];
	struct kml_environment environment;
	uint64_t next; /* address */
	uint32_t live; /* blocks */
	bool fails;    /* alloc has no memory */
} spy;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	size_t length = strlen(spy.text);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(spy.text + length, LOG_BYTES - length, format, arguments);
	va_end(arguments);
}

static struct kml_heap spy_heap;

static struct kml_heap *spy_create(const struct kml_environment *environment, const void *config,
				   struct kml_error *error)
{
	(void)config;
	(void)error;
	spy.environment = *environment;
	return &spy_heap;
}

static void spy_destroy(struct kml_heap *heap)
{
	(void)heap;
}

static enum kml_status spy_cache_open(struct kml_heap *heap, uint32_t index, const struct kml_cache *cache)
{
	(void)heap;
	if (cache->is_kmalloc)
		note("kmalloc-cache:%u ", index);
	return KML_OK;
}

static enum kml_status spy_cache_close(struct kml_heap *heap, uint32_t index)
{
	(void)heap;
	(void)index;
	return KML_OK;
}

static struct kml_grant spy_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	(void)heap;
	note("alloc:%x ", request->flags);
	if (spy.fails)
		return (struct kml_grant){.status = KML_NO_MEMORY, .address = KML_NO_ADDRESS};
	spy.next += 4096;
	spy.live++;
	return (struct kml_grant){KML_OK, spy.next - 4096, request->size_bytes};
}

static enum kml_status spy_free(struct kml_heap *heap, const struct kml_release *release)
{
	(void)heap;
	spy.live--;
	note("free:%x ", release->flags);
	return KML_OK;
}

static uint64_t spy_usable(const struct kml_heap *heap, uint64_t address)
{
	(void)heap;
	(void)address;
	return 0;
}

static void spy_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	(void)heap;
	*stats = (struct kml_stats){0};
}

static uint32_t spy_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	(void)heap;
	(void)areas;
	return 0;
}

static void spy_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	(void)heap;
	(void)visit;
	(void)context;
}

static bool spy_validate(const struct kml_heap *heap, struct kml_error *error)
{
	(void)heap;
	(void)error;
	return true;
}

static void spy_shrink(struct kml_heap *heap)
{
	(void)heap;
	note("shrink ");
}

static void spy_cache_shrink(struct kml_heap *heap, uint32_t index)
{
	(void)heap;
	note("cache-shrink:%u ", index);
}

static void spy_settle(struct kml_heap *heap)
{
	(void)heap;
	note("settle ");
}

static void spy_seed(struct kml_heap *heap, const struct kml_seed *seed)
{
	(void)heap;
	note("seed:%" PRIu64 ",%u ", seed->recorded, seed->cache);
}

static void spy_notice(struct kml_heap *heap, const struct kml_notice *notice)
{
	(void)heap;
	note("notice:%d,%d,%u,%" PRIu64 "/%" PRIu64, (int)notice->kind,
	     notice->cache == KML_NO_CACHE ? -1 : (int)notice->cache, notice->cpu, notice->count, notice->batchcount);
	if (notice->address != KML_NO_ADDRESS)
		note("@%" PRIu64, notice->address);
	note(" ");
}

static uint64_t spy_tick(struct kml_heap *heap, uint64_t now_ns)
{
	(void)heap;
	note("tick:%" PRIu64 " ", now_ns);
	return now_ns + TICK_NS;
}

static enum kml_status spy_page_add(struct kml_heap *heap, uint64_t address, uint64_t size_bytes, uint16_t cpu)
{
	(void)heap;
	note("add:%" PRIu64 "+%" PRIu64 "@%u ", address, size_bytes, cpu);
	return KML_OK;
}

/* With no optional operation; each test adds what it looks at. */
static struct kml_allocator plain_spy(void)
{
	return (struct kml_allocator){
		.abi_version = KML_ABI_VERSION,
		.name = "spy",
		.layer = KML_LAYER_PAGES,
		.traits = KML_TRAIT_NO_MEMORY | KML_TRAIT_NO_REUSE,
		.create = spy_create,
		.destroy = spy_destroy,
		.alloc = spy_alloc,
		.free = spy_free,
		.usable = spy_usable,
		.stats = spy_stats,
		.free_areas = spy_free_areas,
		.walk = spy_walk,
		.validate = spy_validate,
	};
}

static bool note_snapshot(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
			  const struct kml_arena *arena)
{
	(void)context;
	assert_ptr_equal(kml_stack_top(stack), &spy_heap);
	assert_non_null(arena);
	if (snapshot->kind == KMT_SNAPSHOT_SLABINFO)
		note("snapshot:%u-live ", spy.live);
	return true;
}

static bool run_spy(struct test_trace *trace, const struct kml_allocator *allocator, struct replay_options options,
		    struct replay_result *result, struct kml_error *error)
{
	struct kmt_reader *reader = test_trace_end(trace);
	struct kml_spec spec = {.text = "spy", .layer_count = 1, .layer = {allocator}};
	bool fails = spy.fails;
	spy = (struct spy_log){.fails = fails};
	spy_heap.allocator = allocator;
	bool done = replay_run(reader, &spec, &options, NULL, note_snapshot, NULL, result, error);
	test_trace_close(trace, reader);
	return done;
}

static void expect(struct test_trace *trace, const struct kml_allocator *allocator, struct replay_options options,
		   const char *log)
{
	struct replay_result result;
	struct kml_error error;
	if (!run_spy(trace, allocator, options, &result, &error))
		fail_msg("%s", error.text);
	assert_string_equal(spy.text, log);
}

static struct kmt_event object(uint32_t id, uint16_t flags)
{
	return (struct kmt_event){.op = KMT_ALLOC, .object = id, .size_bytes = 8, .cache = 0, .flags = flags, NO_PLACE};
}

static struct kmt_event simple(enum kmt_op op, uint16_t cache)
{
	return (struct kmt_event){.op = (uint8_t)op, .cache = cache, NO_PLACE};
}

static void add_free(struct test_trace *trace, uint32_t id, uint16_t flags)
{
	test_trace_add(trace, (struct kmt_event){.op = KMT_FREE, .object = id, .flags = flags, .cache = 0, NO_PLACE});
}

/* ------------------------------------------------------------------------------------------------- flags */

/* 1000 accounted, 2000 vmalloc, 200 warm; implicit, large and slab pages are the recorded kernel's alone. */
static void flags_reach_those_that_can_use_them(void **state)
{
	const uint16_t all = KML_ATOMIC | KMT_ACCOUNTED | KMT_VMALLOC | KMT_IMPLICIT | KMT_LARGE | KMT_WARM;
	struct kml_allocator plain = plain_spy(), warm = plain_spy(), recorded = plain_spy();
	struct test_trace trace;
	(void)state;
	warm.settle = spy_settle;
	recorded.traits |= KML_TRAIT_RECORDED;
	test_trace_begin(&trace, "flags");
	test_trace_add(&trace, object(0, all));
	add_free(&trace, 0, all);
	expect(&trace, &plain, (struct replay_options){0}, "alloc:3004 free:3004 ");
	test_trace_begin(&trace, "flags-warm");
	test_trace_add(&trace, object(0, all));
	add_free(&trace, 0, all);
	expect(&trace, &warm, (struct replay_options){0}, "alloc:3204 settle free:3204 ");
	test_trace_begin(&trace, "flags-recorded");
	test_trace_add(&trace, object(0, all));
	add_free(&trace, 0, all);
	expect(&trace, &recorded, (struct replay_options){0}, "alloc:3e04 free:3e04 ");
}

/* --------------------------------------------------------------------------------------------- warm start */

static void settle_comes_once_before_the_first_recorded_event(void **state)
{
	struct kml_allocator warm = plain_spy();
	struct test_trace trace;
	(void)state;
	warm.settle = spy_settle;
	test_trace_begin(&trace, "settle");
	test_trace_add(&trace, object(0, KMT_WARM));
	test_trace_add(&trace, object(1, KMT_WARM));
	test_trace_add(&trace, object(2, 0));
	/* A free of what was warm bears the flag too and is recorded; a warm object further on is no start. */
	add_free(&trace, 0, KMT_WARM);
	test_trace_add(&trace, object(3, KMT_WARM));
	expect(&trace, &warm, (struct replay_options){0}, "alloc:200 alloc:200 settle alloc:0 free:200 alloc:0 ");
}

static void settle_comes_without_warm_events_too(void **state)
{
	struct kml_allocator warm = plain_spy();
	struct test_trace trace;
	(void)state;
	warm.settle = spy_settle;
	test_trace_begin(&trace, "settle-none");
	test_trace_add(&trace, object(0, 0));
	expect(&trace, &warm, (struct replay_options){0}, "settle alloc:0 ");
	test_trace_begin(&trace, "settle-only-warm");
	test_trace_add(&trace, object(0, KMT_WARM));
	expect(&trace, &warm, (struct replay_options){0}, "alloc:200 settle ");
	/* Before a snapshot is looked at, the start is over. */
	test_trace_begin(&trace, "settle-snapshot");
	test_trace_add(&trace, object(0, KMT_WARM));
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABINFO, "x");
	test_trace_add(&trace, object(1, 0));
	expect(&trace, &warm, (struct replay_options){0}, "alloc:200 settle snapshot:1-live alloc:0 ");
}

/* A slot is used without having been freed before: it was free at the start, beside the warm object of its slab. */
static void free_slots_come_before_all_else(void **state)
{
	struct kml_allocator warm = plain_spy();
	struct test_trace trace;
	struct kmt_event event = object(0, KMT_WARM);
	(void)state;
	warm.seed = spy_seed;
	warm.settle = spy_settle;
	test_trace_begin(&trace, "seeds");
	event.size_bytes = event.granted_bytes = 64;
	event.address = 1 << 20;
	test_trace_add(&trace, event);
	event.object = 1;
	event.flags = 0;
	event.address += 128;
	test_trace_add(&trace, event);
	/* The same slot again after a free says nothing of the start. */
	event.op = KMT_FREE;
	test_trace_add(&trace, event);
	event.op = KMT_ALLOC;
	test_trace_add(&trace, event);
	expect(&trace, &warm, (struct replay_options){0}, "seed:1048704,0 alloc:200 settle alloc:0 free:0 alloc:0 ");
	/* Pages have no slots. */
	test_trace_begin(&trace, "seeds-pages");
	event.object = 0;
	event.flags = KMT_WARM;
	test_trace_add(&trace, event);
	event.object = 1;
	event.flags = 0;
	event.address += 128;
	test_trace_add(&trace, event);
	expect(&trace, &warm, (struct replay_options){.level = REPLAY_PAGES}, "settle ");
}

/* ------------------------------------------------------------------------------------------------ notices */

static void reaps_are_told_by_kind(void **state)
{
	struct kml_allocator told = plain_spy(), deaf = plain_spy();
	struct test_trace trace;
	(void)state;
	told.notice = spy_notice;
	for (int round = 0; round < 2; round++) {
		test_trace_begin(&trace, "reaps");
		test_trace_add(&trace, simple(KMT_REAP, KMT_NO_CACHE));
		struct kmt_event reap = {.op = KMT_REAP, .order = KMT_REAP_CPU, .cache = 1, .cpu = 1, NO_PLACE};
		reap.size_bytes = 24;
		test_trace_add(&trace, reap);
		reap.order = KMT_REAP_TUNE;
		reap.size_bytes = 54;
		reap.granted_bytes = 27;
		test_trace_add(&trace, reap);
		reap.order = KMT_REAP_KINDS; /* no such kind: not told */
		test_trace_add(&trace, reap);
		expect(&trace, round ? &deaf : &told, (struct replay_options){0},
		       round ? "" : "notice:0,-1,0,0/0 notice:2,1,1,24/0 notice:5,1,1,54/27 ");
		assert_int_equal(spy.environment.reaps_told, !round);
		assert_false(spy.environment.rcu_told);
	}
}

/* The object's own address, once, although its id is long dead; and nothing for what never lived. */
static void rcu_frees_are_told_with_the_address(void **state)
{
	struct kml_allocator told = plain_spy();
	struct test_trace trace;
	(void)state;
	told.notice = spy_notice;
	test_trace_begin(&trace, "rcu");
	for (uint32_t id = 0; id < 3; id++)
		test_trace_add(&trace, object(id, 0));
	struct kmt_event rcu = {.op = KMT_RCU_FREE, .object = 1, .cache = 0, NO_PLACE};
	test_trace_add(&trace, rcu); /* still live */
	add_free(&trace, 1, 0);
	add_free(&trace, 2, 0);
	test_trace_add(&trace, rcu);
	test_trace_add(&trace, rcu); /* again */
	rcu.object = 9;              /* never there */
	test_trace_add(&trace, rcu);
	expect(&trace, &told, (struct replay_options){0},
	       "alloc:0 alloc:0 alloc:0 free:0 free:0 notice:6,0,0,1/0@4096 ");
	assert_true(spy.environment.rcu_told);

	spy.fails = true;
	test_trace_begin(&trace, "rcu-failed");
	test_trace_add(&trace, object(1, 0));
	add_free(&trace, 1, 0);
	rcu.object = 1;
	test_trace_add(&trace, rcu);
	expect(&trace, &told, (struct replay_options){0}, "alloc:0 ");
	spy.fails = false;
}

/* -------------------------------------------------------------------------------------------------- clock */

/* Events stand at 0, 1000, 2000, ... ns. */
static void the_clock_is_told_before_the_first_event_it_matters_to(void **state)
{
	struct kml_allocator timed = plain_spy();
	struct test_trace trace;
	(void)state;
	timed.tick = spy_tick;
	test_trace_begin(&trace, "tick");
	for (uint32_t id = 0; id < 4; id++)
		test_trace_add(&trace, object(id, 0));
	trace.time_ns = 6000;
	test_trace_add(&trace, object(4, 0));
	trace.time_ns = 10000;
	test_trace_snapshot(&trace, KMT_SNAPSHOT_SLABINFO, "x");
	expect(&trace, &timed, (struct replay_options){0},
	       "tick:0 alloc:0 alloc:0 alloc:0 tick:3000 alloc:0 tick:6000 alloc:0 tick:10000 snapshot:5-live ");
}

/* A clock that jumps by 584 years does not tick for each of its 2.5 microseconds. */
static void a_clock_that_jumps_ends(void **state)
{
	struct kml_allocator timed = plain_spy();
	struct replay_result result;
	struct kml_error error;
	struct test_trace trace;
	(void)state;
	timed.tick = spy_tick;
	test_trace_begin(&trace, "tick-jump");
	test_trace_add(&trace, object(0, 0));
	trace.time_ns = UINT64_MAX / 2;
	test_trace_add(&trace, object(1, 0));
	assert_true(run_spy(&trace, &timed, (struct replay_options){0}, &result, &error));
	assert_int_equal(result.allocations, 2);
}

/* ------------------------------------------------------------------------------------------ shrinks, caches */

static void one_cache_is_shrunk_by_itself(void **state)
{
	struct kml_allocator shrinks = plain_spy();
	struct test_trace trace;
	(void)state;
	shrinks.shrink = spy_shrink;
	shrinks.cache_open = spy_cache_open;
	shrinks.cache_close = spy_cache_close;
	shrinks.cache_shrink = spy_cache_shrink;
	for (int round = 0; round < 2; round++) {
		test_trace_begin(&trace, "shrink");
		test_trace_add(&trace, simple(KMT_SHRINK, 1));
		test_trace_add(&trace, simple(KMT_SHRINK, KMT_NO_CACHE));
		test_trace_add(&trace, simple(KMT_CACHE_CLOSE, 1));
		test_trace_add(&trace, simple(KMT_SHRINK, 1)); /* closed: nothing to shrink */
		expect(&trace, &shrinks, (struct replay_options){0}, round ? "shrink " : "cache-shrink:1 shrink ");
		shrinks.cache_shrink = NULL;
	}
}

static void kmalloc_caches_are_told(void **state)
{
	struct kml_allocator opens = plain_spy();
	struct kmt_cache caches[TEST_CACHES] = {test_caches[0], test_caches[1]};
	struct test_trace trace;
	(void)state;
	opens.cache_open = spy_cache_open;
	caches[1].flags = KMT_CACHE_KMALLOC;
	test_trace_begin_with(&trace, "kmalloc", caches);
	test_trace_add(&trace, object(0, 0));
	expect(&trace, &opens, (struct replay_options){0}, "kmalloc-cache:1 alloc:0 ");
}

/* ---------------------------------------------------------------------------------------- memory at boot */

static void add_memory(struct test_trace *trace)
{
	struct kmt_event add = {.op = KMT_PAGE_ADD, .order = 3, .cache = KMT_NO_CACHE, .flags = KML_PAGES};
	add.address = 1 << 20;
	add.size_bytes = add.granted_bytes = (uint64_t)TEST_PAGE_BYTES << 3;
	test_trace_add(trace, add);
	test_trace_add(trace, object(0, 0));
}

static void memory_comes_as_it_came(void **state)
{
	struct kml_allocator grows = plain_spy();
	struct replay_result result;
	struct kml_error error;
	struct test_trace trace;
	(void)state;
	grows.page_add = spy_page_add;
	test_trace_begin(&trace, "add");
	add_memory(&trace);
	expect(&trace, &grows, (struct replay_options){0}, "alloc:0 ");
	assert_false(spy.environment.starts_empty);
	test_trace_begin(&trace, "add-asked");
	add_memory(&trace);
	assert_true(run_spy(&trace, &grows, (struct replay_options){.add_pages = true}, &result, &error));
	assert_string_equal(spy.text, "add:1048576+32768@0 alloc:0 ");
	assert_true(spy.environment.starts_empty);
	assert_int_equal(result.arena_bytes, (1 << 20) + 32768); /* the recorded machine */
	assert_int_equal(result.refused_page_adds, 0);
}

static void memory_that_cannot_come_is_an_error(void **state)
{
	struct kml_allocator grows = plain_spy(), fixed = plain_spy();
	struct replay_result result;
	struct kml_error error;
	struct test_trace trace;
	(void)state;
	grows.page_add = spy_page_add;
	test_trace_begin(&trace, "add-none");
	test_trace_add(&trace, object(0, 0));
	assert_false(run_spy(&trace, &grows, (struct replay_options){.add_pages = true}, &result, &error));
	assert_non_null(strstr(error.text, "from boot"));
	test_trace_begin(&trace, "add-cannot");
	add_memory(&trace);
	assert_false(run_spy(&trace, &fixed, (struct replay_options){.add_pages = true}, &result, &error));
	assert_non_null(strstr(error.text, "cannot begin empty"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_reach_those_that_can_use_them),
		cmocka_unit_test(settle_comes_once_before_the_first_recorded_event),
		cmocka_unit_test(settle_comes_without_warm_events_too),
		cmocka_unit_test(free_slots_come_before_all_else),
		cmocka_unit_test(reaps_are_told_by_kind),
		cmocka_unit_test(rcu_frees_are_told_with_the_address),
		cmocka_unit_test(the_clock_is_told_before_the_first_event_it_matters_to),
		cmocka_unit_test(a_clock_that_jumps_ends),
		cmocka_unit_test(one_cache_is_shrunk_by_itself),
		cmocka_unit_test(kmalloc_caches_are_told),
		cmocka_unit_test(memory_comes_as_it_came),
		cmocka_unit_test(memory_that_cannot_come_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
