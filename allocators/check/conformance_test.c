/*
 * conformance_test.c - the contract of allocator.h, asked of every allocator in the registry.
 *
 * Cases: each PAGES allocator alone and each OBJECTS allocator on each PAGES allocator, with the defaults and (objects:
 * in brief) once with every value of each CHOICE parameter. A new allocator is tested by being registered.
 *
 *   conformance_test [--plugin FILE.so]... [--only NAME]... [SPEC]...
 *
 * With names (all of an allocator's cases) or specs (one case): these alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/check/invariants.h"
#include "allocators/check/shadow.h"
#include "allocators/registry.h"
#include "kmemlab/support/poison.h"
#include "kmemlab/support/random.h"

#define PAGE_BYTES 4096u
#define CPU_COUNT 4u
#define CACHE_COUNT 4u
#define KIB 1024ull
#define MIB (1024ull * KIB)
#define TIB (1024ull * 1024 * MIB)

#define PAGE_UNIT_ARENA (16ull * 1024 * MIB) /* larger arenas are cut into pages, not into 16 bytes */

/* With sanitizers a step costs ten times as much; the whole length runs without. */
#define PROGRAM_STEPS (KML_HAS_ADDRESS_SANITIZER ? 1200u : 3000u)
#define SHORT_PROGRAM_STEPS 1000u
#define LIVE_MAX 600u
#define DEEP_CHECK_STEPS 100u
#define WALK_MAX 300000u
#define EMPTY_ARENA_CHECKS 40u /* failures of a program that are put to an empty arena too */

static const uint64_t cache_object_bytes[CACHE_COUNT] = {24, 192, 1000, 4096};

/* ------------------------------------------------------------------------------------------------------- bench */

/* One stack in its arena, with its shadow and open caches; for RECORDED allocators a first fit plays the kernel. */
struct bench {
	const char *spec_text;
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_shadow *shadow;
	struct kml_heap *heap;
	bool has_caches;
	struct bench *kernel;
};

static bool has_trait(const struct bench *bench, uint32_t traits)
{
	return (bench->heap->allocator->traits & traits) != 0;
}

/* False, and nothing left, when the stack cannot be created; *error says why. */
static bool bench_open(struct bench *bench, const char *spec_text, uint64_t arena_bytes, struct kml_error *error)
{
	memset(bench, 0, sizeof(*bench));
	bench->spec_text = spec_text;
	bench->spec = kml_spec_parse(spec_text, error);
	if (bench->spec == NULL)
		fail_msg("%s: %s", spec_text, error->text);
	bool with_memory = (kml_spec_traits(bench->spec) & KML_TRAIT_NO_MEMORY) == 0;
	bench->arena = kml_arena_create(arena_bytes, PAGE_BYTES, with_memory, error);
	if (bench->arena == NULL)
		fail_msg("%s: %s", spec_text, error->text);

	const struct kml_environment environment = {.arena = bench->arena,
						    .page_bytes = PAGE_BYTES,
						    .cpu_count = CPU_COUNT,
						    .cache_count = CACHE_COUNT,
						    .seed = 1};
	if (!kml_stack_create(&bench->stack, bench->spec, &environment, error)) {
		kml_arena_destroy(bench->arena);
		kml_spec_free(bench->spec);
		return false;
	}
	bench->heap = kml_stack_top(&bench->stack);
	bench->shadow = kml_shadow_create(&bench->stack, bench->arena, error);
	if (bench->shadow == NULL)
		fail_msg("%s: %s", spec_text, error->text);

	bench->has_caches = bench->heap->allocator->cache_open != NULL;
	for (uint32_t i = 0; bench->has_caches && i < CACHE_COUNT; i++) {
		const struct kml_cache cache = {.name = "test", .object_bytes = cache_object_bytes[i]};
		assert_int_equal(bench->heap->allocator->cache_open(bench->heap, i, &cache), KML_OK);
	}
	if (has_trait(bench, KML_TRAIT_RECORDED)) {
		bench->kernel = calloc(1, sizeof(*bench->kernel));
		assert_non_null(bench->kernel);
		assert_true(bench_open(bench->kernel, "first_fit:unit=4096", arena_bytes, error));
	}
	return true;
}

static void bench_must_open(struct bench *bench, const char *spec_text, uint64_t arena_bytes)
{
	struct kml_error error = {{0}};
	if (!bench_open(bench, spec_text, arena_bytes, &error))
		fail_msg("%s in %llu bytes: %s", spec_text, (unsigned long long)arena_bytes, error.text);
}

static void assert_no_reports(const struct bench *bench)
{
	if (bench->shadow->reports.count > 0)
		fail_msg("%s: %llu reports, the first: %s", bench->spec_text,
			 (unsigned long long)bench->shadow->reports.count, bench->shadow->reports.first.text);
}

/* The arena must be given back whole, whatever is live. */
static void bench_close(struct bench *bench)
{
	assert_no_reports(bench);
	kml_shadow_destroy(bench->shadow);
	kml_stack_destroy(&bench->stack);
	assert_int_equal(bench->arena->held_bytes, 0);
	assert_int_equal(bench->arena->taken_bytes, 0);
	kml_arena_destroy(bench->arena);
	kml_spec_free(bench->spec);
	if (bench->kernel != NULL) {
		bench_close(bench->kernel);
		free(bench->kernel);
	}
}

/* A free list of many small blocks in a huge arena is not walked: nothing happened to most of it. */
static void bench_check_deep(struct bench *bench)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = bench->heap->allocator->free_areas(bench->heap, areas);
	uint64_t free_blocks = 0;
	for (uint32_t i = 0; i < count; i++)
		free_blocks += areas[i].count;
	if (free_blocks <= WALK_MAX)
		kml_check_deep(bench->shadow);
	assert_no_reports(bench);
}

static void bench_check_whole(struct bench *bench)
{
	kml_check_whole(bench->shadow);
	bench_check_deep(bench);
}

static void bench_stats(const struct bench *bench, struct kml_stats *stats)
{
	bench->heap->allocator->stats(bench->heap, stats);
}

static struct kml_grant bench_alloc(struct bench *bench, struct kml_request request)
{
	request.recorded = KML_NO_ADDRESS;
	struct kml_grant placed = {.status = KML_NO_MEMORY};
	if (bench->kernel != NULL) {
		request.flags |= KML_PAGES;
		placed = kml_shadow_alloc(bench->kernel->shadow, &request);
		request.recorded = placed.status == KML_OK ? placed.address : KML_NO_ADDRESS;
		request.recorded_granted_bytes = placed.granted_bytes;
	}
	struct kml_grant grant = kml_shadow_alloc(bench->shadow, &request);
	if (placed.status == KML_OK && (grant.status != KML_OK || grant.address != placed.address))
		fail_msg("%s: the kernel's block at %llu of %llu bytes is at %llu here (\"%s\")", bench->spec_text,
			 (unsigned long long)placed.address, (unsigned long long)placed.granted_bytes,
			 (unsigned long long)grant.address, kml_status_name(grant.status));
	assert_no_reports(bench);
	return grant;
}

static struct kml_grant alloc_plain(struct bench *bench, uint64_t size_bytes, uint64_t align_bytes)
{
	return bench_alloc(bench, (struct kml_request){
					  .size_bytes = size_bytes, .align_bytes = align_bytes, .cache = KML_NO_CACHE});
}

static enum kml_status bench_free(struct bench *bench, uint64_t address, uint32_t cache, uint16_t cpu)
{
	const struct kml_release release = {.address = address, .cache = cache, .cpu = cpu};
	enum kml_status status = kml_shadow_free(bench->shadow, &release);
	if (bench->kernel != NULL && status == KML_OK)
		assert_int_equal(kml_shadow_free(bench->kernel->shadow, &release), KML_OK);
	assert_no_reports(bench);
	return status;
}

static void free_plain(struct bench *bench, uint64_t address)
{
	assert_int_equal(bench_free(bench, address, KML_NO_CACHE, 0), KML_OK);
}

/* ---------------------------------------------------------------------------------------------------- programs */

struct program {
	uint64_t seed;
	bool uses_cpus;
	bool uses_caches; /* names caches also to allocators that know none */
	bool drains;
	uint32_t steps; /* 0: PROGRAM_STEPS */
};

struct live {
	uint64_t address;
	uint32_t cache;
};

/* A hash of everything the allocator answered (FNV-1a over words). */
static void mix(uint64_t *hash, uint64_t word)
{
	*hash = (*hash ^ word) * 0x100000001B3ull;
}

static uint64_t random_size(uint64_t *random, uint64_t arena_bytes)
{
	switch (random_below(random, 16)) {
	case 0:
		return 1 + random_below(random, PAGE_BYTES);
	case 1:
		return PAGE_BYTES * (1 + random_below(random, 16));
	case 2:
		return 1ull << random_below(random, 20);
	case 3:
		return 1 + random_below(random, arena_bytes / 8);
	case 4:
		return random_below(random, 8) == 0 ? 2 * arena_bytes : 1 + random_below(random, 64 * KIB);
	default:
		return 1 + random_below(random, 512);
	}
}

static struct kml_request random_request(uint64_t *random, const struct bench *bench, const struct program *program)
{
	static const uint64_t aligns[] = {0, 0, 0, 0, 0, 1, 2, 8, 16, 64, 256, PAGE_BYTES};
	static const uint16_t flags[] = {0,          KML_MOVABLE,    KML_RECLAIMABLE,
					 KML_ATOMIC, KML_VMALLOC,    KML_ZEROED,
					 KML_DMA,    KML_CONTIGUOUS, KML_MOVABLE | KML_ZEROED};
	struct kml_request request = {.cache = KML_NO_CACHE};
	request.size_bytes = random_size(random, bench->arena->size_bytes);
	request.align_bytes = aligns[random_below(random, sizeof(aligns) / sizeof(aligns[0]))];
	request.flags = flags[random_below(random, sizeof(flags) / sizeof(flags[0]))];
	uint32_t cache = (uint32_t)random_below(random, CACHE_COUNT);
	/* An area of vmalloc is of no cache. */
	bool names_cache = random_below(random, 2) == 0 && (request.flags & KML_VMALLOC) == 0;
	uint16_t cpu = (uint16_t)random_below(random, CPU_COUNT);
	if (program->uses_caches && names_cache) {
		request.cache = cache;
		if (bench->has_caches) {
			request.size_bytes = cache_object_bytes[cache];
			request.align_bytes = 0;
		}
	}
	if (program->uses_cpus)
		request.cpu = cpu;
	return request;
}

/* What fails here and now must not fail in an empty arena, unless it is impossible. */
static void check_against_empty_arena(const struct bench *bench, const struct kml_request *request,
				      enum kml_status status)
{
	struct kml_stats stats;
	bench_stats(bench, &stats);
	struct bench empty;
	bench_must_open(&empty, bench->spec_text, bench->arena->size_bytes);
	struct kml_grant grant = bench_alloc(&empty, *request);
	if ((grant.status == KML_OK) == (status == KML_IMPOSSIBLE))
		fail_msg("%s: %llu bytes aligned to %llu are \"%s\", but \"%s\" in the empty arena of %llu",
			 bench->spec_text, (unsigned long long)request->size_bytes,
			 (unsigned long long)request->align_bytes, kml_status_name(status),
			 kml_status_name(grant.status), (unsigned long long)bench->arena->size_bytes);

	bool is_plain = grant.status == KML_OK && request->align_bytes <= 1 &&
			bench->heap->allocator->layer == KML_LAYER_PAGES && !has_trait(bench, KML_TRAIT_MAY_WASTE_RUNS);
	/* A fuller arena may offer a block of a class that the empty one has to skip, but never a smaller request. */
	if (is_plain && status == KML_NO_MEMORY && stats.free_bytes >= grant.granted_bytes)
		fail_msg("%s: \"%s\" for a block of %llu with %llu bytes free", bench->spec_text,
			 kml_status_name(status), (unsigned long long)grant.granted_bytes,
			 (unsigned long long)stats.free_bytes);
	bench_close(&empty);
}

struct run {
	struct bench *bench;
	const struct program *program;
	uint64_t random, hash;
	struct live live[LIVE_MAX];
	uint32_t live_count, empty_arena_checks;
};

static void run_alloc(struct run *run)
{
	struct kml_request request = random_request(&run->random, run->bench, run->program);
	if (run->live_count == LIVE_MAX)
		return;
	struct kml_grant grant = bench_alloc(run->bench, request);
	mix(&run->hash, grant.status);
	mix(&run->hash, grant.address);
	mix(&run->hash, grant.granted_bytes);
	if (grant.status == KML_OK) {
		run->live[run->live_count++] = (struct live){grant.address, request.cache};
		return;
	}
	if (run->empty_arena_checks++ < EMPTY_ARENA_CHECKS && run->bench->kernel == NULL)
		check_against_empty_arena(run->bench, &request, grant.status);
}

static void run_free(struct run *run)
{
	uint64_t pick = random_next(&run->random);
	uint16_t cpu = (uint16_t)random_below(&run->random, CPU_COUNT);
	bool names_cache = random_below(&run->random, 2) == 0;
	if (run->live_count == 0)
		return;
	struct live *live = &run->live[pick % run->live_count];
	enum kml_status status = bench_free(run->bench, live->address, names_cache ? live->cache : KML_NO_CACHE,
					    run->program->uses_cpus ? cpu : 0);
	assert_int_equal(status, KML_OK);
	*live = run->live[--run->live_count];
}

/* Free what must not be freed: an address inside a live block, anywhere in the arena, or beyond it. */
static void run_misuse(struct run *run)
{
	uint64_t arena_bytes = run->bench->arena->size_bytes, address = random_below(&run->random, arena_bytes + 64);
	uint64_t pick = random_next(&run->random), inside = random_below(&run->random, 3);
	if (inside > 0 && run->live_count > 0) {
		const struct live *live = &run->live[pick % run->live_count];
		uint64_t usable_bytes = run->bench->heap->allocator->usable(run->bench->heap, live->address);
		address = live->address + pick / LIVE_MAX % (usable_bytes + 1);
	}
	if (inside < 2)
		address &= ~15ull;
	struct kml_live live;
	bool is_live = kml_shadow_next(run->bench->shadow, address, &live) && live.address == address;
	if (!is_live && !has_trait(run->bench, KML_TRAIT_NO_REUSE))
		mix(&run->hash, bench_free(run->bench, address, KML_NO_CACHE, 0));
}

static void run_drain(struct run *run)
{
	const struct kml_allocator *allocator = run->bench->heap->allocator;
	uint16_t cpu = (uint16_t)random_below(&run->random, CPU_COUNT);
	bool all = random_below(&run->random, 4) == 0;
	if (all && allocator->shrink != NULL)
		allocator->shrink(run->bench->heap);
	else if (!all && allocator->drain != NULL)
		allocator->drain(run->bench->heap, cpu);
}

/* Alloc and free at random, in waves that fill the arena and empty it; everything is freed in the end. */
static uint64_t run_program(struct bench *bench, const struct program *program)
{
	struct run run = {.bench = bench, .program = program, .random = program->seed, .hash = 0xCBF29CE484222325ull};
	uint32_t steps = program->steps > 0 ? program->steps : PROGRAM_STEPS;
	for (uint32_t step = 0; step < steps; step++) {
		bool fills = step / 500 % 2 == 0;
		if (random_below(&run.random, 100) < (fills ? 70u : 35u))
			run_alloc(&run);
		else
			run_free(&run);
		if (step % 8 == 0)
			run_misuse(&run);
		if (program->drains && random_below(&run.random, 50) == 0)
			run_drain(&run);
		if (step % DEEP_CHECK_STEPS == 0)
			bench_check_deep(bench);
	}
	while (run.live_count > 0)
		run_free(&run);
	bench_check_whole(bench);
	return run.hash;
}

static uint64_t hash_of_program(const char *spec_text, uint64_t arena_bytes, const struct program *program)
{
	struct bench bench;
	bench_must_open(&bench, spec_text, arena_bytes);
	uint64_t hash = run_program(&bench, program);
	bench_close(&bench);
	return hash;
}

/* ------------------------------------------------------------------------------------------------------- tests */

static const uint64_t program_arenas[] = {MIB, 3 * MIB + 12345, 40 * MIB + PAGE_BYTES * 7};

static void random_programs_pass_every_check(void **state)
{
	for (size_t i = 0; i < sizeof(program_arenas) / sizeof(program_arenas[0]); i++) {
		const struct program program = {
			.seed = 100 + i, .uses_cpus = true, .uses_caches = true, .drains = i % 2 == 1};
		hash_of_program(*state, program_arenas[i], &program);
	}
}

/* Of the many stacks that differ in one parameter of the upper layer. */
static void a_short_random_program_passes_every_check(void **state)
{
	const struct program program = {
		.seed = 11, .uses_cpus = true, .uses_caches = true, .drains = true, .steps = SHORT_PROGRAM_STEPS};
	hash_of_program(*state, MIB, &program);
}

static void same_seed_same_addresses(void **state)
{
	const struct program program = {.seed = 7, .uses_cpus = true, .uses_caches = true, .drains = true};
	assert_int_equal(hash_of_program(*state, MIB, &program), hash_of_program(*state, MIB, &program));
}

/* An allocator without caches, or without per-cpu state, answers as if there were none. */
static void ignores_what_it_has_no_use_for(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	bool knows_caches = bench.has_caches, knows_cpus = bench.heap->allocator->drain != NULL;
	bench_close(&bench);

	const struct program all = {.seed = 9, .uses_cpus = true, .uses_caches = true};
	const struct program some = {.seed = 9, .uses_cpus = knows_cpus, .uses_caches = knows_caches};
	assert_int_equal(hash_of_program(*state, MIB, &all), hash_of_program(*state, MIB, &some));
}

/* Any arena, or an error that says why not. From 1 MiB on, whatever the allocator, there is no excuse. */
static void creates_in_arenas_of_many_sizes(void **state)
{
	static const uint64_t sizes[] = {1,
					 15,
					 16,
					 17,
					 100,
					 1000,
					 4095,
					 PAGE_BYTES,
					 4097,
					 10000,
					 200 * KIB,
					 MIB - 1,
					 MIB,
					 MIB + 1,
					 MIB + 16,
					 MIB + 4112,
					 9 * PAGE_BYTES,
					 81 * KIB,
					 12345678,
					 1000000007,
					 64 * MIB,
					 1024 * MIB + 48,
					 TIB,
					 TIB + 4096 + 16};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bench bench;
		struct kml_error error = {{0}};
		if (!bench_open(&bench, *state, sizes[i], &error)) {
			assert_string_not_equal(error.text, "");
			if (sizes[i] >= MIB)
				fail_msg("%s in %llu bytes: %s", (const char *)*state, (unsigned long long)sizes[i],
					 error.text);
			continue;
		}
		assert_int_equal(bench.arena->held_bytes, 0);
		bench_check_deep(&bench);
		struct kml_grant grant = alloc_plain(&bench, 1, 0);
		bench_check_deep(&bench);
		if (grant.status == KML_OK)
			free_plain(&bench, grant.address);
		bench_check_whole(&bench);
		bench_close(&bench);
	}
}

static void names_each_failure(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	assert_int_equal(alloc_plain(&bench, 0, 0).status, KML_IMPOSSIBLE);
	assert_int_equal(alloc_plain(&bench, MIB + 1, 0).status, KML_IMPOSSIBLE);
	assert_int_equal(alloc_plain(&bench, UINT64_MAX, 0).status, KML_IMPOSSIBLE);
	assert_int_equal(alloc_plain(&bench, UINT64_MAX - 4000, PAGE_BYTES).status, KML_IMPOSSIBLE);
	assert_int_equal(alloc_plain(&bench, 1ull << 63, 1ull << 63).status, KML_IMPOSSIBLE);
	bench_check_whole(&bench);
	bench_close(&bench);
}

/* The largest free block of the empty arena can be had, one byte more cannot. */
static void grants_its_largest_block(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB + 12345);
	struct kml_stats stats;
	bench_stats(&bench, &stats);
	/* One with a reserve may keep its largest block back. */
	bool is_plain = bench.heap->allocator->layer == KML_LAYER_PAGES && bench.kernel == NULL &&
			!has_trait(&bench, KML_TRAIT_MAY_WASTE_RUNS);
	if (is_plain) {
		assert_int_equal(alloc_plain(&bench, stats.largest_free_bytes + 1, 0).status, KML_IMPOSSIBLE);
		struct kml_grant grant = alloc_plain(&bench, stats.largest_free_bytes, 0);
		assert_int_equal(grant.status, KML_OK);
		assert_int_equal(grant.granted_bytes, stats.largest_free_bytes);
		free_plain(&bench, grant.address);
	}
	bench_check_whole(&bench);
	bench_close(&bench);
}

/*
 * Fill the arena with the smallest blocks: a PAGES allocator grants every unit of it but its reserve. Then with every
 * second block freed a larger request finds memory but no run.
 */
static void fills_to_the_last_unit_and_fragments(void **state)
{
	enum { BLOCKS_MAX = 65536 };
	struct bench bench;
	bench_must_open(&bench, *state, 200 * KIB + 48);
	bool reuses = !has_trait(&bench, KML_TRAIT_NO_REUSE);
	bool has_reserve = has_trait(&bench, KML_TRAIT_MAY_WASTE_RUNS);
	uint64_t *blocks = calloc(BLOCKS_MAX, sizeof(*blocks));
	assert_non_null(blocks);

	uint32_t count = 0;
	struct kml_grant grant = {0};
	struct kml_stats stats;
	bench_stats(&bench, &stats);
	uint64_t smallest_bytes = 0, largest_at_start_bytes = stats.largest_free_bytes;
	while (reuses && count < BLOCKS_MAX && (grant = alloc_plain(&bench, 1, 0)).status == KML_OK) {
		blocks[count++] = grant.address;
		smallest_bytes = grant.granted_bytes;
	}
	bench_stats(&bench, &stats);
	if (reuses) {
		assert_int_equal(grant.status, KML_NO_MEMORY);
		if (bench.stack.layer_count == 1 && !has_reserve)
			assert_int_equal(stats.free_bytes, 0);
		bench_check_deep(&bench);
	}

	bool is_plain = reuses && !has_reserve && bench.stack.layer_count == 1 && bench.kernel == NULL && count >= 8;
	for (uint32_t i = 0; i < count; i += 2)
		free_plain(&bench, blocks[i]);
	if (is_plain) {
		if (bench.heap->allocator->shrink != NULL)
			bench.heap->allocator->shrink(bench.heap);
		bool never = smallest_bytes == largest_at_start_bytes;
		assert_int_equal(alloc_plain(&bench, smallest_bytes + 1, 0).status,
				 never ? KML_IMPOSSIBLE : KML_NO_RUN);
		bench_check_deep(&bench);
	}
	for (uint32_t i = 1; i < count; i += 2)
		free_plain(&bench, blocks[i]);
	bench_check_whole(&bench);
	bench_close(&bench);
	free(blocks);
}

/* Misuse is named and changes nothing. */
static void names_misuse_and_obeys_none(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	if (has_trait(&bench, KML_TRAIT_NO_REUSE)) {
		bench_close(&bench);
		return;
	}
	struct kml_grant a = alloc_plain(&bench, 3 * PAGE_BYTES, 0), b = alloc_plain(&bench, 3 * PAGE_BYTES, 0);
	assert_int_equal(a.status, KML_OK);
	assert_int_equal(b.status, KML_OK);
	struct kml_stats before, after;
	bench_stats(&bench, &before);

	assert_int_equal(bench_free(&bench, a.address + 1, KML_NO_CACHE, 0), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, a.address + 16, KML_NO_CACHE, 0), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, a.address + PAGE_BYTES, KML_NO_CACHE, 0), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, a.address + a.granted_bytes - 1, KML_NO_CACHE, 0), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, MIB, KML_NO_CACHE, 0), KML_FOREIGN);
	assert_int_equal(bench_free(&bench, MIB + PAGE_BYTES, KML_NO_CACHE, 0), KML_FOREIGN);
	assert_int_equal(bench_free(&bench, KML_NO_ADDRESS, KML_NO_CACHE, 0), KML_FOREIGN);
	assert_int_equal(bench_free(&bench, 1ull << 63, KML_NO_CACHE, 0), KML_FOREIGN);
	assert_int_equal(bench.heap->allocator->usable(bench.heap, a.address + 1), 0);
	assert_int_equal(bench.heap->allocator->usable(bench.heap, KML_NO_ADDRESS), 0);
	bench_stats(&bench, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	bench_check_deep(&bench);

	free_plain(&bench, a.address);
	enum kml_status again = bench_free(&bench, a.address, KML_NO_CACHE, 0);
	assert_int_equal(again, KML_DOUBLE_FREE);
	again = bench_free(&bench, a.address + 16, KML_NO_CACHE, 0);
	assert_true(again == KML_DOUBLE_FREE || again == KML_INTERIOR);
	free_plain(&bench, b.address);
	assert_int_equal(bench_free(&bench, b.address, KML_NO_CACHE, 0), KML_DOUBLE_FREE);
	bench_check_whole(&bench);
	bench_close(&bench);
}

/* Every power of two up to the page is honoured; above it, honoured or refused as impossible. */
static void honours_alignment(void **state)
{
	static const uint64_t sizes[] = {1, 16, 100, 1000, PAGE_BYTES, 3 * PAGE_BYTES};
	struct bench bench;
	bench_must_open(&bench, *state, 4 * MIB);
	struct kml_grant pin = alloc_plain(&bench, 1, 0); /* so that nothing is aligned by being first */
	assert_int_equal(pin.status, KML_OK);
	for (uint64_t align_bytes = 1; align_bytes <= 2 * MIB; align_bytes *= 2) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct kml_grant first = alloc_plain(&bench, sizes[i], align_bytes);
			struct kml_grant second = alloc_plain(&bench, sizes[i], align_bytes);
			if (bench.kernel == NULL && align_bytes <= PAGE_BYTES) {
				assert_int_equal(first.status, KML_OK);
				assert_int_equal(second.status, KML_OK);
			}
			bench_check_deep(&bench);
			if (first.status == KML_OK)
				free_plain(&bench, first.address);
			if (second.status == KML_OK)
				free_plain(&bench, second.address);
		}
	}
	free_plain(&bench, pin.address);
	bench_check_whole(&bench);
	bench_close(&bench);
}

/* bench_close demands it. */
static void gives_the_arena_back_with_live_blocks(void **state)
{
	/* Slabs may be so large that the arena is full before the last one. */
	static const uintmax_t takes[] = {KML_OK, KML_IMPOSSIBLE, KML_NO_MEMORY, KML_NO_RUN};
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	size_t expected = bench.heap->allocator->layer == KML_LAYER_OBJECTS ? 4 : 2;
	assert_int_equal(alloc_plain(&bench, 1, 0).status, KML_OK);
	for (uint64_t size_bytes = 1; size_bytes < 10 * PAGE_BYTES; size_bytes = size_bytes * 3 + 1)
		assert_in_set(alloc_plain(&bench, size_bytes, 0).status, takes, expected);
	struct kml_stats stats;
	bench_stats(&bench, &stats);
	if (!has_trait(&bench, KML_TRAIT_NO_REUSE)) {
		assert_true(stats.held_bytes > 0);
		assert_true(stats.metadata_bytes > 0);
	}
	bench_close(&bench);
}

static bool count_one_visit(void *context, const struct kml_block *block)
{
	(void)block;
	++*(uint32_t *)context;
	return false;
}

static void stops_a_walk_when_told(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	assert_int_equal(alloc_plain(&bench, PAGE_BYTES, 0).status, KML_OK);
	uint32_t visits = 0;
	bench.heap->allocator->walk(bench.heap, count_one_visit, &visits);
	assert_int_equal(visits, 1);
	bench_close(&bench);
}

/* Caches: wrong cache, busy cache, closing and opening again. */
static void keeps_caches_apart(void **state)
{
	struct bench bench;
	bench_must_open(&bench, *state, MIB);
	const struct kml_allocator *allocator = bench.heap->allocator;
	if (bench.has_caches && bench.kernel == NULL) {
		const struct kml_request request = {.size_bytes = cache_object_bytes[1], .cache = 1};
		struct kml_grant grant = bench_alloc(&bench, request);
		assert_int_equal(grant.status, KML_OK);
		assert_int_equal(bench_free(&bench, grant.address, 2, 0), KML_WRONG_CACHE);
		assert_int_equal(allocator->cache_close(bench.heap, 1), KML_CACHE_BUSY);
		assert_int_equal(bench_free(&bench, grant.address, 1, 0), KML_OK);
		assert_int_equal(allocator->cache_close(bench.heap, 1), KML_OK);
		const struct kml_cache cache = {.name = "again", .object_bytes = cache_object_bytes[1]};
		assert_int_equal(allocator->cache_open(bench.heap, 1, &cache), KML_OK);
		bench_check_whole(&bench);
	}
	bench_close(&bench);
}

/* --------------------------------------------------------------------------------------------------- descriptions */

static size_t param_value_bytes(const struct kml_param *param)
{
	switch (param->type) {
	case KML_PARAM_CHOICE:
		return sizeof(uint32_t);
	case KML_PARAM_SIZES:
		return sizeof(struct kml_sizes);
	default:
		return sizeof(uint64_t);
	}
}

static void assert_parses(const char *text, bool expected)
{
	struct kml_error error = {{0}};
	struct kml_spec *spec = kml_spec_parse(text, &error);
	if ((spec != NULL) != expected)
		fail_msg("%s: %s", text, spec != NULL ? "parsed, but should not" : error.text);
	if (spec == NULL)
		assert_string_not_equal(error.text, "");
	kml_spec_free(spec);
}

static void check_param(const struct kml_allocator *allocator, const struct kml_param *param)
{
	char text[1024];
	assert_true(param->offset + param_value_bytes(param) <= allocator->config_bytes);
	assert_non_null(param->help);
	assert_true(strlen(param->help) > 0 && strchr(param->help, '\n') == NULL);
	assert_non_null(param->default_text);
	snprintf(text, sizeof(text), "%s:%s=%s", allocator->name, param->name, param->default_text);
	assert_parses(text, true);
	snprintf(text, sizeof(text), "%s:%s=%s,%s=%s", allocator->name, param->name, param->default_text, param->name,
		 param->default_text);
	assert_parses(text, false);
	snprintf(text, sizeof(text), "%s:%s=?", allocator->name, param->name);
	assert_parses(text, false);

	if (param->type == KML_PARAM_CHOICE) {
		assert_true(param->choices != NULL && param->choices[0] != NULL);
		for (const char *const *choice = param->choices; *choice != NULL; choice++) {
			snprintf(text, sizeof(text), "%s:%s=%s", allocator->name, param->name, *choice);
			assert_parses(text, true);
		}
		return;
	}
	assert_true(param->minimum <= param->maximum);
	if (param->minimum > 0) {
		snprintf(text, sizeof(text), "%s:%s=%llu", allocator->name, param->name,
			 (unsigned long long)param->minimum - 1);
		assert_parses(text, false);
	}
	if (param->maximum < UINT64_MAX) {
		snprintf(text, sizeof(text), "%s:%s=%llu", allocator->name, param->name,
			 (unsigned long long)param->maximum + 1);
		assert_parses(text, false);
	}
}

static void assert_sentence(const char *text)
{
	assert_non_null(text);
	assert_true(strlen(text) > 0 && strchr(text, '\n') == NULL);
}

static void description_is_complete(void **state)
{
	const struct kml_allocator *allocator = kml_registry_find(*state);
	assert_non_null(allocator);
	assert_int_equal(allocator->abi_version, KML_ABI_VERSION);
	assert_int_equal(strspn(allocator->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(allocator->name));
	assert_sentence(allocator->title);
	assert_sentence(allocator->citation);
	assert_sentence(allocator->summary);
	assert_true(allocator->layer == KML_LAYER_PAGES || allocator->layer == KML_LAYER_OBJECTS);
	assert_true(allocator->create && allocator->destroy && allocator->alloc && allocator->free &&
		    allocator->usable && allocator->stats && allocator->free_areas && allocator->walk &&
		    allocator->validate);
	assert_int_equal(allocator->cache_open != NULL, allocator->cache_close != NULL);
	assert_parses(allocator->name, true);
	for (const struct kml_param *param = allocator->params; param != NULL && param->name != NULL; param++) {
		check_param(allocator, param);
		for (const struct kml_param *other = allocator->params; other != param; other++)
			assert_string_not_equal(other->name, param->name);
	}
}

/* ------------------------------------------------------------------------------------------------------- the suite */

struct suite {
	struct CMUnitTest *tests;
	size_t count, room;
};

static char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *pattern, ...)
{
	va_list arguments;
	char *text = NULL;
	va_start(arguments, pattern);
	if (vasprintf(&text, pattern, arguments) < 0)
		abort();
	va_end(arguments);
	return text;
}

static void add_test(struct suite *suite, const char *test_name, CMUnitTestFunction test, const char *subject)
{
	if (suite->count == suite->room) {
		suite->room = suite->room * 2 + 64;
		suite->tests = realloc(suite->tests, suite->room * sizeof(*suite->tests));
		if (suite->tests == NULL)
			abort();
	}
	suite->tests[suite->count++] = (struct CMUnitTest){.name = format("%s: %s", subject, test_name),
							   .test_func = test,
							   .initial_state = format("%s", subject)};
}

static void add_spec(struct suite *suite, const char *spec_text)
{
#define ADD(test) add_test(suite, #test, test, spec_text)
	ADD(random_programs_pass_every_check);
	ADD(same_seed_same_addresses);
	ADD(ignores_what_it_has_no_use_for);
	ADD(creates_in_arenas_of_many_sizes);
	ADD(names_each_failure);
	ADD(grants_its_largest_block);
	ADD(fills_to_the_last_unit_and_fragments);
	ADD(names_misuse_and_obeys_none);
	ADD(honours_alignment);
	ADD(gives_the_arena_back_with_live_blocks);
	ADD(stops_a_walk_when_told);
	ADD(keeps_caches_apart);
#undef ADD
}

/* A page allocator that others can stand on: it must really keep its blocks, and choose their places itself. */
static bool can_back(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_PAGES &&
	       (allocator->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED)) == 0;
}

/* All tests on every backing with the defaults, and with another choice on one backing; on the others a short program.
 */
static void add_layers(struct suite *suite, const struct kml_allocator *allocator, const char *spec_text)
{
	bool has_defaults = strcmp(spec_text, allocator->name) == 0;
	if (allocator->layer == KML_LAYER_PAGES) {
		add_spec(suite, spec_text);
		return;
	}
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		if (!can_back(registry[i]))
			continue;
		char *text = format("%s/%s", spec_text, registry[i]->name);
		if (has_defaults || strcmp(registry[i]->name, "binary") == 0)
			add_spec(suite, text);
		else
			add_test(suite, "a_short_random_program_passes_every_check",
				 a_short_random_program_passes_every_check, text);
		free(text);
	}
}

static void add_allocator(struct suite *suite, const struct kml_allocator *allocator)
{
	add_test(suite, "description_is_complete", description_is_complete, allocator->name);
	add_layers(suite, allocator, allocator->name);
	for (const struct kml_param *param = allocator->params; param != NULL && param->name != NULL; param++) {
		for (uint32_t i = 0; param->type == KML_PARAM_CHOICE && param->choices[i] != NULL; i++) {
			char *text = format("%s:%s=%s", allocator->name, param->name, param->choices[i]);
			if (strcmp(param->choices[i], param->default_text) != 0)
				add_layers(suite, allocator, text);
			free(text);
		}
	}
}

static void names_are_unique_and_built_ins_alphabetical(void **state)
{
	size_t count, built_in = strtoull(*state, NULL, 10);
	const struct kml_allocator *const *registry = kml_registry(&count);
	assert_true(built_in > 0);
	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(kml_registry_find(registry[i]->name), registry[i]);
		if (i > 0 && i < built_in)
			assert_true(strcmp(registry[i - 1]->name, registry[i]->name) < 0);
	}
}

/* Load every plugin of the command line. */
static bool load_plugins(int argc, char **argv)
{
	struct kml_error error = {{0}};
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--plugin") == 0 && !kml_registry_load_plugin(argv[++i], &error)) {
			fprintf(stderr, "%s\n", error.text);
			return false;
		}
	}
	return true;
}

/* What the command line asks for; everything when it names nothing. */
static bool add_cases(struct suite *suite, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (i + 1 < argc && strcmp(argv[i], "--plugin") == 0) {
			i++;
		} else if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
			const struct kml_allocator *allocator = kml_registry_find(argv[++i]);
			if (allocator == NULL) {
				fprintf(stderr, "no allocator '%s'\n", argv[i]);
				return false;
			}
			add_allocator(suite, allocator);
		} else {
			add_spec(suite, argv[i]);
		}
	}
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	bool names_nothing = suite->count == 0;
	for (size_t i = 0; names_nothing && i < count; i++)
		add_allocator(suite, registry[i]);
	return true;
}

int main(int argc, char **argv)
{
	size_t built_in;
	kml_registry(&built_in);
	struct suite suite = {0};
	if (!load_plugins(argc, argv) || !add_cases(&suite, argc, argv)) {
		free(suite.tests);
		return 2;
	}
	char *built_in_text = format("%zu", built_in);
	add_test(&suite, "names_are_unique_and_built_ins_alphabetical", names_are_unique_and_built_ins_alphabetical,
		 built_in_text);
	free(built_in_text);

	int failures = _cmocka_run_group_tests("conformance", suite.tests, suite.count, NULL, NULL);
	for (size_t i = 0; i < suite.count; i++) {
		free((char *)(uintptr_t)suite.tests[i].name);
		free(suite.tests[i].initial_state);
	}
	free(suite.tests);
	return failures != 0;
}
