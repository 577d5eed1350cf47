/*
 * slab_test.c - SLAB's paths, each named by what it is for and worked through by hand from mm/slab.c of Linux 6.1; then
 * long random runs under every place of the index, and planted damage that the self-check must name.
 *
 * The source is included: what is planted lies inside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "allocators/registry.h"
#include "allocators/slab/slab.c" /* NOLINT(bugprone-suspicious-include): damage is planted inside it */
#include "kmemlab/support/random.h"

enum { PAGE_BYTES = 4096, CPUS = 2, CACHES = 8 };
#define MIB (1024u * 1024)
#define SECOND_NS 1000000000ull

static struct kml_spec *spec;
static struct kml_arena *arena;
static struct kml_stack stack;
static struct kml_heap *heap;

static void start_told(const char *text, uint64_t arena_bytes, bool reaps_told)
{
	struct kml_error error = {{0}};
	spec = kml_spec_parse(text, &error);
	if (!spec)
		fail_msg("%s", error.text);
	arena = kml_arena_create(arena_bytes, PAGE_BYTES, true, &error);
	assert_non_null(arena);
	const struct kml_environment environment = {.arena = arena,
						    .page_bytes = PAGE_BYTES,
						    .cpu_count = CPUS,
						    .cache_count = CACHES,
						    .reaps_told = reaps_told};
	if (!kml_stack_create(&stack, spec, &environment, &error))
		fail_msg("%s", error.text);
	heap = kml_stack_top(&stack);
}

static void start(const char *text)
{
	start_told(text, MIB, false);
}

static void check(void)
{
	struct kml_error error = {{0}};
	if (!object_validate(heap, &error))
		fail_msg("%s", error.text);
	struct kml_stats stats;
	object_stats(heap, &stats);
	uint64_t sum = stats.granted_bytes;
	for (uint32_t i = 0; i < KML_WASTE_KINDS; i++)
		sum += stats.waste_bytes[i];
	assert_int_equal(sum, stats.held_bytes);
}

static void finish(void)
{
	check();
	kml_stack_destroy(&stack);
	assert_int_equal(arena->held_bytes, 0);
	kml_arena_destroy(arena);
	kml_spec_free(spec);
}

static void open_described(uint32_t index, struct kml_cache description)
{
	if (!description.name)
		description.name = "objects";
	assert_int_equal(object_cache_open(heap, index, &description), KML_OK);
}

static void open_cache(uint32_t index, uint64_t object_bytes)
{
	open_described(index, (struct kml_cache){.object_bytes = object_bytes});
}

static uint64_t take_of(uint32_t cache, uint16_t cpu)
{
	const struct kml_request request = {.size_bytes = 1, .cache = cache, .cpu = cpu, .recorded = KML_NO_ADDRESS};
	struct kml_grant grant = object_alloc(heap, &request);
	assert_int_equal(grant.status, KML_OK);
	return grant.address;
}

static void give_of(uint32_t cache, uint16_t cpu, uint64_t address)
{
	const struct kml_release release = {.address = address, .cache = cache, .cpu = cpu};
	assert_int_equal(object_free(heap, &release), KML_OK);
}

static uint64_t take_on(uint16_t cpu)
{
	return take_of(0, cpu);
}

static void give_on(uint16_t cpu, uint64_t address)
{
	give_of(0, cpu, address);
}

static void take_many(uint16_t cpu, uint64_t *address, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		address[i] = take_on(cpu);
}

static void give_many(uint16_t cpu, const uint64_t *address, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		give_on(cpu, address[i]);
}

static struct kml_cache_stats figures(void)
{
	struct kml_cache_stats stats;
	assert_true(object_cache_stats(heap, 0, &stats));
	return stats;
}

static struct kmem_cache *cache_of(uint32_t index)
{
	return kmem_cache_of(object_heap_of(heap)->caches[index]);
}

static void tell(enum kml_notice_kind kind, uint32_t cache, uint16_t cpu, uint64_t count, uint64_t batchcount)
{
	const struct kml_notice notice = {
		.kind = kind, .cache = cache, .cpu = cpu, .count = count, .batchcount = batchcount};
	object_notice(heap, &notice);
}

/* -------------------------------------------------------------------------------------------- arrays and slabs */

/* Slots 0 and 1 go into the array, which is a stack: 1 comes first. */
static void objects_come_in_batches_last_first(void **state)
{
	(void)state;
	start("slab:limit=4,batchcount=2,shared=1");
	open_cache(0, 1024);
	uint64_t object[8];
	take_many(0, object, 8);
	static const uint64_t slot[4] = {1, 0, 3, 2};
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(object[i] % PAGE_BYTES, slot[i % 4] * 1024);
	assert_int_equal(object[0] / PAGE_BYTES, object[3] / PAGE_BYTES);
	assert_int_not_equal(object[0] / PAGE_BYTES, object[4] / PAGE_BYTES);
	give_on(0, object[6]);
	give_on(0, object[2]);
	assert_int_equal(take_on(0), object[2]);
	assert_int_equal(take_on(0), object[6]);
	finish();
}

/* An idle array is refilled with 16, one in use with its batchcount: 16, then what the slab of 64 has left, then 60. */
static void idle_array_is_refilled_with_sixteen(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 64);
	uint64_t object[65];
	take_many(0, object, 1);
	assert_int_equal(figures().active_objects, 16);
	take_many(0, object + 1, 16);
	assert_int_equal(figures().active_objects, 64);
	take_many(0, object + 17, 48);
	assert_int_equal(figures().slabs, 2);
	assert_int_equal(figures().active_objects, 64 + 60);
	assert_int_equal(figures().live_objects, 65);
	finish();
}

/*
 * Slabs A and B of 4. On cpu 0: A0 to A3 fill the array of 4; B0 pushes A0, A1 into the shared array of 2; B1 fits; B2
 * pushes A2, A3, and as the shared array is full, to their slab. Cpu 1 then takes from the shared array, and after it
 * from the partial slab, where A3 lies on A2.
 */
static void oldest_go_to_the_shared_array_then_to_slabs(void **state)
{
	(void)state;
	start("slab:limit=4,batchcount=2,shared=1");
	open_cache(0, 1024);
	uint64_t object[8], a[4], b[4];
	take_many(0, object, 8);
	for (uint32_t i = 0; i < 4; i++) {
		a[i] = object[0] / PAGE_BYTES * PAGE_BYTES + i * 1024;
		b[i] = object[4] / PAGE_BYTES * PAGE_BYTES + i * 1024;
	}
	give_many(0, a, 4);
	assert_int_equal(figures().shared_available, 0);
	give_on(0, b[0]);
	assert_int_equal(figures().shared_available, 2);
	assert_int_equal(figures().active_objects, 8);
	give_on(0, b[1]);
	give_on(0, b[2]);
	assert_int_equal(figures().shared_available, 2);
	assert_int_equal(figures().active_objects, 6);
	assert_int_equal(figures().live_objects, 1);
	check();
	assert_int_equal(take_on(1), a[1]);
	assert_int_equal(figures().shared_available, 0);
	assert_int_equal(take_on(1), a[0]);
	assert_int_equal(take_on(1), a[2]);
	assert_int_equal(take_on(1), a[3]);
	finish();
}

/* The shared array has room for one more of a batch of two: one goes there, the array stays at its limit less one. */
static void shared_array_takes_what_fits(void **state)
{
	(void)state;
	start("slab:limit=5,batchcount=3,shared=1");
	open_cache(0, 1024);
	uint64_t object[12];
	take_many(0, object, 12);
	give_many(0, object, 6); /* the sixth pushes three: the shared array is full */
	assert_int_equal(figures().shared_available, 3);
	take_many(1, object, 1); /* three leave it */
	assert_int_equal(figures().shared_available, 0);
	give_many(0, object + 6, 3); /* 3 + 3: pushes three */
	assert_int_equal(figures().shared_available, 3);
	give_many(0, object + 9, 3); /* 3 + 3, full: to the slabs */
	assert_int_equal(figures().shared_available, 3);
	assert_int_equal(cache_of(0)->slabs.free_objects, 12 - 3 - 3 - 1 - 2);
	finish();
}

/* Of a partly used and an empty slab the partly used one is taken from, although the other is nearer to hand. */
static void partial_slabs_come_before_free_ones(void **state)
{
	(void)state;
	start("slab:limit=4,batchcount=2,percpu=off");
	open_cache(0, 1024);
	uint64_t object[8];
	take_many(0, object, 8);
	assert_int_equal(object[0] % PAGE_BYTES, 0); /* no array: first slot first */
	give_many(0, object, 2);
	give_many(0, object + 4, 4);
	assert_int_equal(figures().active_slabs, 1);
	assert_int_equal(figures().slabs, 2);
	assert_int_equal(take_on(0), object[1]);
	assert_int_equal(take_on(0), object[0]);
	assert_int_equal(take_on(0) / PAGE_BYTES, object[4] / PAGE_BYTES);
	finish();
}

/* A slab goes to the end of the partial list with every object that returns to it: the others are taken from first. */
static void freed_to_slab_waits_longest(void **state)
{
	(void)state;
	start("slab:percpu=off");
	open_cache(0, 1024);
	uint64_t object[12];
	take_many(0, object, 12);
	give_on(0, object[0]);
	give_on(0, object[4]);
	give_on(0, object[8]);
	give_on(0, object[1]); /* order now: second, third, first slab */
	assert_int_equal(take_on(0), object[4]);
	assert_int_equal(take_on(0), object[8]);
	assert_int_equal(take_on(0), object[1]);
	assert_int_equal(take_on(0), object[0]);
	finish();
}

/*
 * (1 + 2 cpus) * 2 + 4 = 10 objects may be free before an empty slab goes: of 24 in 6 slabs, freed one after another,
 * one at the 11th, 15th, 19th and 23rd; the longest empty first.
 */
static void empty_slabs_stay_up_to_the_free_limit(void **state)
{
	(void)state;
	start("slab:limit=4,batchcount=2,percpu=off");
	open_cache(0, 1024);
	uint64_t object[24];
	take_many(0, object, 24);
	static const uint32_t slabs_after[24] = {6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 5,
						 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2};
	for (uint32_t i = 0; i < 24; i++) {
		give_on(0, object[i]);
		assert_int_equal(figures().slabs, slabs_after[i]);
		check();
	}
	assert_null(kml_arena_page(arena, object[0])->owner);
	assert_non_null(kml_arena_page(arena, object[20])->owner);
	finish();
}

/* 4096 - 4 * 896 = 512 bytes: 8 colours. The colour is stepped before it is used; the ninth slab begins anew. */
static void slabs_begin_at_different_cache_lines(void **state)
{
	(void)state;
	static const char *const specs[2] = {"slab:percpu=off", "slab:percpu=off,colouring=off"};
	for (uint32_t uncoloured = 0; uncoloured < 2; uncoloured++) {
		start(specs[uncoloured]);
		open_cache(0, 896);
		for (uint32_t slab = 0; slab < 9; slab++) {
			uint64_t colour = uncoloured ? 0 : (slab + 1) % 8 * 64;
			for (uint32_t i = 0; i < 4; i++)
				assert_int_equal(take_on(0) % PAGE_BYTES, colour + i * 896);
		}
		struct kml_stats stats;
		object_stats(heap, &stats);
		uint64_t colours = uncoloured ? 0 : 64 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 0 + 1);
		assert_int_equal(stats.waste_bytes[KML_WASTE_MANAGEMENT], colours);
		assert_int_equal(stats.waste_bytes[KML_WASTE_SLAB_TAIL], 9 * 512 - colours);
		finish();
	}
}

/* 124 slots of 32 bytes and their index of 124 bytes: 4 left. */
static void index_on_the_slab_is_management(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 32);
	take_on(0);
	struct kml_stats stats;
	object_stats(heap, &stats);
	assert_int_equal(stats.waste_bytes[KML_WASTE_MANAGEMENT], 124);
	assert_int_equal(stats.waste_bytes[KML_WASTE_SLAB_TAIL], 4);
	assert_int_equal(stats.waste_bytes[KML_WASTE_CPU_CACHED], 15 * 32);
	assert_int_equal(stats.waste_bytes[KML_WASTE_FREE_SLOTS], (124 - 16) * 32);
	/* Behind the last slot, a byte each: slot 16 is the next. */
	assert_int_equal(arena->base[PAGE_BYTES - 124 + 16], 16);
	finish();
}

/* The index lies in the object that is taken last; when all are taken there is none; then in the first that returns. */
static void index_on_the_object_moves_to_the_first_that_returns(void **state)
{
	(void)state;
	start("slab:percpu=off");
	open_cache(0, 1024);
	uint64_t object[4];
	take_many(0, object, 1);
	const struct slab *slab = slab_of(object_heap_of(heap), object[0]);
	assert_int_equal(slab->free_head, object[0] + 3 * 1024);
	take_many(0, object + 1, 3);
	assert_true(slab->free_head == KML_NO_ADDRESS);
	give_on(0, object[2]);
	assert_int_equal(slab->free_head, object[2]);
	assert_int_equal(arena->base[object[2] + 3], 2); /* entry 3: slot 2 */
	give_on(0, object[0]);
	assert_int_equal(slab->free_head, object[2]);
	assert_int_equal(take_on(0), object[0]);
	assert_int_equal(take_on(0), object[2]);
	finish();
}

/* ---------------------------------------------------------------------------------------------------- reaping */

/* 9 parked of 10: let alone as long as it was in use, then (10 + 4) / 5 = 2 each time, then half of what is left. */
static void idle_array_is_drained_by_a_fifth(void **state)
{
	(void)state;
	start("slab:limit=10,batchcount=5,shared=0");
	open_cache(0, 64);
	uint64_t object[20];
	assert_int_equal(object_tick(heap, 0), 2 * SECOND_NS - CPU_SKEW_NS); /* of cpu 1 */
	take_many(0, object, 20);
	give_many(0, object, 9);
	static const uint32_t active_after[] = {20, 18, 16, 14, 12, 11, 11};
	for (uint32_t i = 0; i < 7; i++) {
		object_tick(heap, (i + 1) * 2 * SECOND_NS);
		assert_int_equal(figures().active_objects, active_after[i]);
	}
	assert_int_equal(figures().live_objects, 11);
	finish();
}

/* Two empty slabs; one was wanted lately, so that the first time they are spared; then (10 + 19) / 20 = 1 a time. */
static void free_slabs_are_reaped_every_other_time(void **state)
{
	(void)state;
	start("slab:limit=4,batchcount=2,percpu=off");
	open_cache(0, 1024);
	uint64_t object[8];
	object_tick(heap, 0);
	take_many(0, object, 8);
	give_many(0, object, 8);
	static const uint32_t slabs_after[] = {2, 2, 2, 1, 1, 0};
	for (uint32_t i = 0; i < 6; i++) {
		object_tick(heap, (i + 1) * 2 * SECOND_NS);
		assert_int_equal(figures().slabs, slabs_after[i]);
	}
	finish();
}

/* The shared array of 8 * 5: 40 + 4 of which a fifth is 8, every four seconds. */
static void shared_array_is_reaped_every_other_time(void **state)
{
	(void)state;
	start("slab:limit=10,batchcount=5");
	open_cache(0, 64);
	uint64_t object[40];
	object_tick(heap, 0);
	take_many(0, object, 40);
	give_many(0, object, 40); /* 10 in the array, 30 shared */
	assert_int_equal(figures().shared_available, 30);
	static const uint32_t shared_after[] = {30, 22, 22, 14, 14, 6, 6, 3, 3, 1};
	for (uint32_t i = 0; i < 10; i++) {
		object_tick(heap, (i + 1) * 2 * SECOND_NS);
		assert_int_equal(figures().shared_available, shared_after[i]);
	}
	finish();
}

/* The reaper does not wake a cpu. When cpu 1 frees something, it first finds its array in use, two seconds on idle. */
static void idle_cpu_keeps_its_array(void **state)
{
	(void)state;
	start("slab:limit=10,batchcount=5,shared=0");
	open_cache(0, 64);
	uint64_t object[10];
	object_tick(heap, 0);
	take_many(1, object, 10);
	give_many(1, object, 6);
	for (uint32_t i = 1; i < 8; i++)
		object_tick(heap, i * SECOND_NS);
	assert_int_equal(figures().active_objects, 10);
	give_on(1, object[6]);
	assert_int_equal(figures().active_objects, 10);
	object_tick(heap, 9 * SECOND_NS);
	give_on(1, object[7]);
	assert_int_equal(figures().active_objects, 8);
	finish();
}

static void reaping_can_be_turned_off(void **state)
{
	(void)state;
	start("slab:reap_ms=0");
	open_cache(0, 64);
	give_on(0, take_on(0));
	assert_true(object_tick(heap, 0) == UINT64_MAX);
	assert_true(object_tick(heap, 100 * SECOND_NS) == UINT64_MAX);
	assert_int_equal(figures().active_objects, 16);
	finish();
}

enum { GAP_STEPS = 40 };

/* A busy time, a long gap - one tick, or one for each timer -, then how a second busy time is reaped. */
static void reap_after_gap(const char *text, bool in_one_tick, struct kml_cache_stats *after)
{
	const uint64_t gap_end_ns = 90 * SECOND_NS + 123456;
	uint64_t object[40], next_ns = 0;
	start(text);
	open_cache(0, 64);
	object_tick(heap, 0);
	take_many(0, object, 40);
	give_many(0, object, 40);
	give_on(1, take_on(1));
	while (!in_one_tick && (next_ns = object_tick(heap, next_ns)) <= gap_end_ns)
		check();
	object_tick(heap, gap_end_ns);
	check();
	take_many(0, object, 40);
	give_many(0, object, 40);
	give_on(1, take_on(1));
	for (uint64_t i = 0; i < GAP_STEPS; i++) {
		object_tick(heap, gap_end_ns + i * SECOND_NS / 400);
		after[i] = figures();
	}
	finish();
}

/* Timers that find nothing to do are passed over; what comes after is as if each had fired. */
static void a_gap_is_as_if_every_timer_had_fired(void **state)
{
	(void)state;
	static const char *const specs[] = {
		"slab:limit=10,batchcount=5,reap_ms=7,node_reap_ms=25",
		"slab:limit=10,batchcount=5,reap_ms=4,node_reap_ms=3",
		"slab:limit=10,batchcount=5,reap_ms=5,node_reap_ms=0",
		"slab:limit=10,batchcount=5,reap_ms=3,node_reap_ms=4000",
		"slab:limit=10,batchcount=5,reap_ms=1000",
		"slab:limit=10,batchcount=5,reap_ms=1500",
	};
	for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
		struct kml_cache_stats fired[GAP_STEPS], passed[GAP_STEPS];
		reap_after_gap(specs[i], false, fired);
		reap_after_gap(specs[i], true, passed);
		for (uint32_t step = 0; step < GAP_STEPS; step++) {
			assert_int_equal(passed[step].active_objects, fired[step].active_objects);
			assert_int_equal(passed[step].shared_available, fired[step].shared_available);
			assert_int_equal(passed[step].slabs, fired[step].slabs);
		}
	}
}

/* 584 years of timers: an end comes all the same. */
static void a_clock_that_jumps_is_followed(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 64);
	object_tick(heap, 0);
	give_on(0, take_on(0));
	assert_true(object_tick(heap, UINT64_MAX / 2) > UINT64_MAX / 2);
	assert_int_equal(figures().slabs, 0);
	finish();
}

/* ----------------------------------------------------------------------------------- the recorded kernel tells */

/*
 * Before its arrays are sized a cache has one entry a cpu, no shared array, and keeps no empty slab: what is parked
 * goes to its slab, which goes. The free limit counts the cpus that are up by then.
 */
static void arrays_wait_to_be_told_their_size(void **state)
{
	(void)state;
	start_told("slab", MIB, true);
	open_cache(0, 1024);
	open_cache(1, 1024);
	assert_int_equal(figures().limit, 1);
	assert_int_equal(figures().batchcount, 1);
	assert_int_equal(figures().shared_factor, 0);
	give_on(0, take_on(0));
	assert_int_equal(figures().active_objects, 1);
	assert_int_equal(figures().slabs, 1);
	tell(KML_NOTICE_REAP_TUNE, 0, 0, 54, 27);
	assert_int_equal(figures().slabs, 0);
	assert_int_equal(figures().limit, 54);
	assert_int_equal(figures().batchcount, 27);
	assert_int_equal(figures().shared_factor, 8);
	assert_int_equal(cache_of(0)->free_limit, 2 * 27 + 4);
	give_on(1, take_on(1));
	tell(KML_NOTICE_REAP_TUNE, 1, 0, 54, 27);
	assert_int_equal(cache_of(1)->free_limit, 3 * 27 + 4);
	assert_true(object_tick(heap, 0) == UINT64_MAX);
	finish();
}

/* A start in mid-life is none in early boot: objects that were live before say so. */
static void arrays_are_sized_where_the_recording_begins_later(void **state)
{
	(void)state;
	start_told("slab", MIB, true);
	open_cache(0, 1024);
	const struct kml_request request = {
		.size_bytes = 1024, .cache = 0, .flags = KML_WARM, .recorded = KML_NO_ADDRESS};
	assert_int_equal(object_alloc(heap, &request).status, KML_OK);
	object_settle(heap);
	assert_int_equal(figures().limit, 54);
	open_cache(1, 1024);
	assert_int_equal(cache_of(1)->tunables.limit, 54);
	finish();
}

/* Two objects were live on one slab, a third place of it was free: one slab, whose index names what is left, in every
 * place an index can have. */
static void slabs_of_the_recording_are_adopted(void **state)
{
	(void)state;
	static const struct kml_cache caches[] = {
		{.object_bytes = 1024, .recorded_objects_per_slab = 4, .recorded_pages_per_slab = 1},
		{.object_bytes = 1000,
		 .has_constructor = true,
		 .recorded_objects_per_slab = 4,
		 .recorded_pages_per_slab = 1},
		{.object_bytes = 1024,
		 .has_constructor = true,
		 .recorded_objects_per_slab = 4,
		 .recorded_pages_per_slab = 1},
	};
	static const enum slab_index_place places[] = {SLAB_INDEX_ON_OBJECT, SLAB_INDEX_ON_SLAB, SLAB_INDEX_OFF_SLAB};
	for (uint32_t i = 0; i < 3; i++) {
		start("slab");
		open_described(0, caches[i]);
		assert_int_equal(cache_of(0)->geometry.index_place, places[i]);
		const struct kml_seed seed = {.recorded = 0x10000, .event = 5, .cache = 0, .cpu = 1};
		object_seed(heap, &seed);
		for (uint64_t slot = 1; slot < 3; slot++) {
			const struct kml_request request = {.size_bytes = 1000,
							    .cache = 0,
							    .flags = KML_WARM,
							    .recorded = 0x10000 + slot * caches[i].object_bytes};
			assert_int_equal(object_alloc(heap, &request).status, KML_OK);
		}
		object_settle(heap);
		check();
		assert_int_equal(figures().slabs, 1);
		assert_int_equal(figures().live_objects, 2);
		uint64_t object[2];
		take_many(1, object, 2);
		assert_int_equal(figures().slabs, 1);
		check();
		give_many(0, object, 2);
		object_shrink(heap);
		assert_int_equal(figures().active_objects, 2);
		finish();
	}
}

static void nonsense_is_not_believed(void **state)
{
	(void)state;
	start_told("slab", MIB, true);
	open_cache(0, 1024);
	tell(KML_NOTICE_REAP_TUNE, 0, 0, UINT64_MAX, UINT64_MAX);
	assert_int_equal(figures().limit, 54);
	tell(KML_NOTICE_REAP_TUNE, 0, 0, 10, 11);
	assert_int_equal(figures().limit, 54);
	tell(KML_NOTICE_REAP_TUNE, 0, CPUS, 10, 5);
	assert_int_equal(figures().limit, 54);
	tell(KML_NOTICE_REAP_CPU, 5, 0, 10, 0); /* not open */
	tell(KML_NOTICE_REAP_FREELIST, KML_NO_CACHE, 0, 10, 0);
	tell(KML_NOTICE_REAP_END, KML_NO_CACHE, 1, 0, 0);
	finish();
}

/* What is told is done by the kernel's rule on what there is: 24 of 30 parked, then 3 of 6; of the shared array 96. */
static void told_drains_follow_the_rule(void **state)
{
	(void)state;
	start_told("slab", MIB, true);
	open_cache(0, 64);
	tell(KML_NOTICE_REAP_TUNE, 0, 0, 120, 60);
	static uint64_t object[300];
	take_many(0, object, 300);
	uint64_t parked = figures().active_objects - 300;
	give_many(0, object, 30 - (uint32_t)parked);
	uint64_t active = figures().active_objects;
	tell(KML_NOTICE_REAP_CPU, 0, 0, 1, 0);
	assert_int_equal(figures().active_objects, active - 24);
	tell(KML_NOTICE_REAP_CPU, 0, 0, 1, 0);
	assert_int_equal(figures().active_objects, active - 24 - 3);
	give_many(1, object + 30, 240); /* 120 stay, 60 and 60 go to the shared array */
	assert_int_equal(figures().shared_available, 120);
	active = figures().active_objects;
	tell(KML_NOTICE_REAP_SHARED, 0, 1, 1, 0);
	assert_int_equal(figures().shared_available, 24);
	assert_int_equal(figures().active_objects, active - 96);
	finish();
}

/* Caches that the reaper passed without a word are no longer in use, those it has not come to still are. */
static void told_reaper_passes_the_others(void **state)
{
	(void)state;
	start_told("slab", MIB, true);
	static const char *const names[4] = {"kmem_cache", "first", "second", "third"};
	for (uint32_t i = 0; i < 4; i++)
		open_described(i, (struct kml_cache){.name = names[i], .object_bytes = 64});
	for (uint32_t i = 3; i-- > 0;) /* early boot: newest first, kmem_cache last */
		tell(KML_NOTICE_REAP_TUNE, i, 0, 120, 60);
	tell(KML_NOTICE_REAP_TUNE, 3, 0, 120, 60); /* created later */
	const struct kmem_cache *at = slab_heap_of(object_heap_of(heap))->newest;
	for (uint32_t i = 4; i-- > 0; at = at->older)
		assert_ptr_equal(at, cache_of(i));
	assert_null(at);
	for (uint32_t i = 0; i < 4; i++)
		take_of(i, 0);
	tell(KML_NOTICE_REAP_BEGIN, KML_NO_CACHE, 0, 0, 0);
	tell(KML_NOTICE_REAP_FREELIST, 2, 0, 1, 0);
	assert_false(cache_of(3)->arrays[0].touched);
	assert_false(cache_of(2)->arrays[0].touched);
	assert_true(cache_of(1)->arrays[0].touched);
	tell(KML_NOTICE_REAP_FREELIST, 3, 0, 1, 0); /* behind: nothing more is passed */
	assert_true(cache_of(1)->arrays[0].touched);
	tell(KML_NOTICE_REAP_END, KML_NO_CACHE, 0, 0, 0);
	assert_false(cache_of(1)->arrays[0].touched);
	assert_false(cache_of(0)->arrays[0].touched);
	finish();
}

/* ------------------------------------------------------------------------------------------- shrink, drain, close */

static void shrink_gives_every_empty_slab_back(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 64);
	uint64_t object[300];
	take_many(0, object, 300);
	give_many(1, object + 1, 299);
	object_cache_shrink(heap, 0);
	assert_int_equal(figures().slabs, 1);
	assert_int_equal(figures().active_objects, 1);
	assert_int_equal(figures().shared_available, 0);
	give_on(0, object[0]);
	object_shrink(heap);
	assert_int_equal(figures().slabs, 0);
	assert_int_equal(arena->held_bytes, 0);
	finish();
}

static void drain_empties_one_cpu(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 64);
	uint64_t on_0 = take_on(0), on_1 = take_on(1);
	assert_int_equal(figures().active_objects, 32);
	object_drain(heap, 1);
	assert_int_equal(figures().active_objects, 17);
	give_on(0, on_0);
	give_on(1, on_1);
	finish();
}

static void cache_with_live_objects_is_not_closed(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 64);
	uint64_t object = take_on(0);
	assert_int_equal(object_cache_close(heap, 0), KML_CACHE_BUSY);
	give_on(1, object);
	assert_int_equal(object_cache_close(heap, 0), KML_OK);
	assert_int_equal(arena->held_bytes, 0);
	open_cache(0, 128);
	take_on(0);
	finish();
}

/* 256 pages; the 257th slab is refused, and an object that returns is granted again. */
static void full_arena_refuses_and_recovers(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 4096);
	uint64_t object[256];
	const struct kml_request request = {.size_bytes = 1, .cache = 0, .recorded = KML_NO_ADDRESS};
	take_many(0, object, 256);
	struct kml_grant grant = object_alloc(heap, &request);
	assert_int_equal(grant.status, KML_NO_MEMORY);
	assert_true(grant.address == KML_NO_ADDRESS);
	check();
	give_on(0, object[100]);
	assert_int_equal(take_on(0), object[100]);
	finish();
}

/* include/linux/slab.h: SLAB has no class below 32 bytes. */
static void smallest_kmalloc_is_of_32_bytes(void **state)
{
	(void)state;
	start("slab");
	const struct kml_request request = {
		.size_bytes = 8, .cache = KML_NO_CACHE, .flags = KML_KMALLOC, .recorded = KML_NO_ADDRESS};
	struct kml_grant grant = object_alloc(heap, &request);
	assert_int_equal(grant.status, KML_OK);
	assert_int_equal(grant.granted_bytes, 32);
	finish();
}

static void batch_beyond_the_limit_is_refused(void **state)
{
	(void)state;
	struct kml_error error = {{0}};
	spec = kml_spec_parse("slab:limit=4,batchcount=5", &error);
	assert_non_null(spec);
	arena = kml_arena_create(MIB, PAGE_BYTES, true, &error);
	const struct kml_environment environment = {.arena = arena, .page_bytes = PAGE_BYTES, .cpu_count = CPUS};
	assert_false(kml_stack_create(&stack, spec, &environment, &error));
	assert_non_null(strstr(error.text, "batchcount"));
	kml_arena_destroy(arena);
	kml_spec_free(spec);
}

/* ------------------------------------------------------------------------------------------------- long runs */

/* Random takes and gives on random cpus, with reaping, drains and shrinks; checked all along; then nothing is left. */
static void run_at_random(const char *text, struct kml_cache description, uint64_t seed)
{
	enum { STEPS = 20000, LIVE_MAX = 1500 };
	static uint64_t live[LIVE_MAX];
	uint32_t count = 0;
	uint64_t now_ns = 0, draws = seed;
	start_told(text, 16 * MIB, false);
	open_described(0, description);
	for (uint32_t step = 0; step < STEPS; step++) {
		uint16_t cpu = (uint16_t)(random_below(&draws, CPUS));
		bool grows = random_below(&draws, 10) < (step / 2000 % 2 ? 3u : 7u);
		if (count == 0 || (grows && count < LIVE_MAX)) {
			live[count++] = take_on(cpu);
			memset(arena->base + live[count - 1], 0xee, description.object_bytes);
		} else {
			uint32_t i = (uint32_t)random_below(&draws, count);
			give_on(cpu, live[i]);
			live[i] = live[--count];
		}
		if (step % 100 == 0)
			object_tick(heap, now_ns += SECOND_NS / 2);
		if (step % 1500 == 700)
			object_drain(heap, cpu);
		if (step % 5000 == 4000)
			object_shrink(heap);
		if (step % 500 == 0)
			check();
	}
	give_many(0, live, count);
	object_shrink(heap);
	assert_int_equal(figures().slabs, 0);
	assert_int_equal(arena->held_bytes, 0);
	finish();
}

static void every_index_survives_a_long_run(void **state)
{
	(void)state;
	static const char *const specs[] = {"slab",
					    "slab:percpu=off",
					    "slab:limit=3,batchcount=2,shared=1,colouring=off",
					    "slab:fit=granted/fibonacci",
					    "slab:fit=granted,max_order=3/weighted",
					    "slab/kary:k=3"};
	static const struct kml_cache caches[] = {
		{.name = "on_object", .object_bytes = 64},
		{.name = "off_slab", .object_bytes = 256, .has_constructor = true},
		{.name = "on_slab", .object_bytes = 32},
		{.name = "by_rcu", .object_bytes = 192, .typesafe_by_rcu = true},
		{.name = "two_pages", .object_bytes = 2144, .align_bytes = 64},
		{.name = "smallest", .object_bytes = 1},
	};
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		for (size_t k = 0; k < sizeof(caches) / sizeof(caches[0]); k++)
			run_at_random(specs[i], caches[k], i * 100 + k + 1);
}

/* ------------------------------------------------------------------------------------------- planted damage */

static void must_be_named(const char *part)
{
	struct kml_error error = {{0}};
	assert_false(object_validate(heap, &error));
	if (!strstr(error.text, part))
		fail_msg("'%s' does not name '%s'", error.text, part);
}

static void damage_is_named(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 1024);
	uint64_t object[30];
	take_many(0, object, 30);
	give_many(0, object, 3);
	struct kmem_cache *cache = cache_of(0);
	struct array_cache *array = &cache->arrays[0];
	check();

	uint64_t entry = array->entry[0];
	array->entry[0] = array->entry[1];
	must_be_named("is parked twice");
	array->entry[0] = object[10];
	must_be_named("is granted");
	array->entry[0] = entry + 8;
	must_be_named("is no object");
	array->entry[0] = MIB - PAGE_BYTES;
	must_be_named("is on no slab of its cache");
	array->entry[0] = entry;
	uint32_t avail = array->avail;
	array->avail = avail - 1;
	must_be_named("parked and 0 elsewhere");
	array->avail = array->limit + 1;
	must_be_named("its limit is");
	array->avail = avail;

	uint64_t on_slab = array->entry[--array->avail];
	free_block(cache, &on_slab, 1, 0);
	check();
	array->entry[array->avail++] = on_slab;
	must_be_named("is parked and free on its slab too");
	array->avail--;
	finish();
}

static void a_cache_that_the_reaper_misses_is_named(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 1024);
	open_cache(1, 2048);
	check();
	struct slab_heap *own = slab_heap_of(object_heap_of(heap));
	own->newest = own->newest->older;
	must_be_named("2 caches are open, the reaper's list has");
	own->newest = own->newest->newer;
	own->oldest->newer = NULL;
	must_be_named("the reaper's list has 1 in order");
	own->oldest->newer = own->newest;
	finish();
}

static void a_page_of_another_owner_is_named(void **state)
{
	(void)state;
	start("slab");
	open_cache(0, 1024);
	uint64_t object;
	take_many(0, &object, 1);
	struct object_heap *own = object_heap_of(heap);
	void *owner = slab_of(own, object);
	object_own_run(own, 0, MIB, owner); /* of every page, free ones too */
	must_be_named("(free) is marked as another's");
	object_own_run(own, 0, MIB, NULL);
	object_own_run(own, ((struct slab *)owner)->address, ((struct slab *)owner)->granted_bytes, owner);
	check();
	finish();
}

static void damaged_lists_are_named(void **state)
{
	(void)state;
	start("slab:percpu=off");
	open_cache(0, 1024);
	uint64_t object[8];
	take_many(0, object, 8);
	give_on(0, object[0]);
	give_on(0, object[1]);
	struct kmem_cache *cache = cache_of(0);
	struct slab *partial = slab_list_first(&cache->lists[LIST_PARTIAL]);
	check();

	list_move(cache, partial, LIST_FULL, true);
	must_be_named("on the full list with 2 of 4");
	list_move(cache, partial, LIST_PARTIAL, true);
	uint8_t *entry = arena->base + partial->free_head + 2; /* of slots 1 and 0 */
	assert_int_equal(entry[0], 1);
	entry[0] = 0;
	must_be_named("entry 3 of its index, 0, is there twice");
	entry[0] = 2;
	must_be_named("entry 2 of its index, 2, is granted");
	entry[0] = 4;
	must_be_named("entry 2 of its index, 4, is no object of it");
	entry[0] = 1;
	cache->lists[LIST_FULL].count++;
	must_be_named("slabs on a list that counts");
	cache->lists[LIST_FULL].count--;
	struct slab_link *kept_link = partial->link.next;
	partial->link.next = &partial->link;
	must_be_named("leads back to another");
	partial->link.next = kept_link;
	partial->used_bytes -= 1024;
	must_be_named("4 slots of 1024 bytes");
	partial->used_bytes += 1024;
	cache->slabs.free_objects++;
	must_be_named("counted as");
	cache->slabs.free_objects--;
	give_on(0, object[2]);
	give_on(0, object[3]);
	cache->free_limit = 1;
	must_be_named("empty slabs stay");
	cache->free_limit = 100;
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_come_in_batches_last_first),
		cmocka_unit_test(idle_array_is_refilled_with_sixteen),
		cmocka_unit_test(oldest_go_to_the_shared_array_then_to_slabs),
		cmocka_unit_test(shared_array_takes_what_fits),
		cmocka_unit_test(partial_slabs_come_before_free_ones),
		cmocka_unit_test(freed_to_slab_waits_longest),
		cmocka_unit_test(empty_slabs_stay_up_to_the_free_limit),
		cmocka_unit_test(slabs_begin_at_different_cache_lines),
		cmocka_unit_test(index_on_the_slab_is_management),
		cmocka_unit_test(index_on_the_object_moves_to_the_first_that_returns),
		cmocka_unit_test(idle_array_is_drained_by_a_fifth),
		cmocka_unit_test(free_slabs_are_reaped_every_other_time),
		cmocka_unit_test(shared_array_is_reaped_every_other_time),
		cmocka_unit_test(idle_cpu_keeps_its_array),
		cmocka_unit_test(reaping_can_be_turned_off),
		cmocka_unit_test(a_gap_is_as_if_every_timer_had_fired),
		cmocka_unit_test(a_clock_that_jumps_is_followed),
		cmocka_unit_test(arrays_wait_to_be_told_their_size),
		cmocka_unit_test(arrays_are_sized_where_the_recording_begins_later),
		cmocka_unit_test(slabs_of_the_recording_are_adopted),
		cmocka_unit_test(nonsense_is_not_believed),
		cmocka_unit_test(told_drains_follow_the_rule),
		cmocka_unit_test(told_reaper_passes_the_others),
		cmocka_unit_test(shrink_gives_every_empty_slab_back),
		cmocka_unit_test(drain_empties_one_cpu),
		cmocka_unit_test(cache_with_live_objects_is_not_closed),
		cmocka_unit_test(full_arena_refuses_and_recovers),
		cmocka_unit_test(smallest_kmalloc_is_of_32_bytes),
		cmocka_unit_test(batch_beyond_the_limit_is_refused),
		cmocka_unit_test(every_index_survives_a_long_run),
		cmocka_unit_test(damage_is_named),
		cmocka_unit_test(a_cache_that_the_reaper_misses_is_named),
		cmocka_unit_test(a_page_of_another_owner_is_named),
		cmocka_unit_test(damaged_lists_are_named),
	};
	return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
