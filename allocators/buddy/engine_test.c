/*
 * engine_test.c - what holds for every buddy system, policy and arena: checked after random use against a plain model.
 */
#include <stdio.h>
#include <string.h>

#include "allocators/buddy/engine.h"
#include "allocators/buddy/testing.h"

static const char *const systems[] = {
	"binary:unit=16",
	"binary:unit=16,max_order=4",
	"binary:unit=48",
	"fibonacci:unit=16",
	"fibonacci:unit=16,j=1",
	"fibonacci:unit=24,j=3",
	"fibonacci:unit=16,j=16",
	"weighted:unit=16",
	"weighted:sizes=16+32+48+96+160+1k+8k",
	"kary:unit=16,k=2",
	"kary:unit=16,k=3",
	"kary:unit=20,k=7",
	"kary:unit=16,k=16",
	"dual:unit=16",
	"tertiary:unit=16",
	NULL,
};
static const char *const policies[] = {"lifo", "fifo", "lowest", NULL};
static const uint64_t arenas[] = {48, 1000, 4096, 65536, 65535, 100003, 81 * 1024, 200 * 1024, 0};

/* ------------------------------------------------------------------------------------------------- a plain model */

enum { LIVE_MAX = 512 };

struct live {
	uint64_t address, size_bytes, granted_bytes;
};

struct model {
	struct bench bench;
	struct live live[LIVE_MAX];
	uint32_t live_count;
	uint64_t requested_bytes;
	uint64_t seed;
};

static bool overlaps_live(const struct model *model, uint64_t address, uint64_t size_bytes)
{
	for (uint32_t i = 0; i < model->live_count; i++)
		if (address < model->live[i].address + model->live[i].granted_bytes &&
		    model->live[i].address < address + size_bytes)
			return true;
	return false;
}

struct tiling {
	const struct model *model;
	const struct kml_request *request; /* has some free block room for it? */
	uint64_t end, granted_bytes, granted_blocks, free_bytes, padding_bytes, largest_free_bytes;
	bool has_room;
};

static bool tile_block(void *context, const struct kml_block *block)
{
	struct tiling *tiling = context;
	assert_int_equal(block->address, tiling->end);
	assert_true(block->size_bytes > 0);
	tiling->end += block->size_bytes;
	uint64_t *total = block->state == KML_BLOCK_FREE      ? &tiling->free_bytes
			  : block->state == KML_BLOCK_GRANTED ? &tiling->granted_bytes
							      : &tiling->padding_bytes;
	*total += block->size_bytes;
	if (block->state == KML_BLOCK_GRANTED) {
		tiling->granted_blocks++;
		assert_true(overlaps_live(tiling->model, block->address, 1));
		assert_int_equal(
			tiling->model->bench.heap->allocator->usable(tiling->model->bench.heap, block->address),
			block->size_bytes);
	}
	if (block->state != KML_BLOCK_FREE)
		return true;
	if (block->size_bytes > tiling->largest_free_bytes)
		tiling->largest_free_bytes = block->size_bytes;
	if (tiling->request) {
		uint64_t align_bytes = tiling->request->align_bytes ? tiling->request->align_bytes : 1;
		uint64_t start = (block->address + align_bytes - 1) / align_bytes * align_bytes;
		if (start + tiling->request->size_bytes <= block->address + block->size_bytes)
			tiling->has_room = true;
	}
	return true;
}

static struct tiling walk_all(const struct model *model, const struct kml_request *request)
{
	struct tiling tiling = {.model = model, .request = request};
	model->bench.heap->allocator->walk(model->bench.heap, tile_block, &tiling);
	return tiling;
}

/* The walk, the counters and the model tell one story. */
static void check_all(const struct model *model)
{
	const struct bench *bench = &model->bench;
	bench_validate(bench);
	struct tiling tiling = walk_all(model, NULL);
	struct kml_stats stats = bench_stats(bench);
	uint64_t unit_bytes = ((const struct buddy_heap *)bench->heap)->unit_bytes;
	assert_int_equal(tiling.end, bench->arena->size_bytes / unit_bytes * unit_bytes);
	assert_int_equal(tiling.granted_blocks, model->live_count);
	assert_int_equal(tiling.granted_bytes, stats.granted_bytes);
	assert_int_equal(tiling.free_bytes, stats.free_bytes);
	assert_int_equal(tiling.largest_free_bytes, stats.largest_free_bytes);
	assert_int_equal(tiling.padding_bytes, stats.waste_bytes[KML_WASTE_MANAGEMENT]);
	uint64_t rounding_bytes = stats.granted_bytes - model->requested_bytes, waste_bytes = 0;
	for (uint32_t i = 0; i < KML_WASTE_KINDS; i++)
		waste_bytes += stats.waste_bytes[i];
	assert_int_equal(model->requested_bytes + rounding_bytes + waste_bytes, stats.held_bytes);
}

/* Some free block has room: then it must be granted. None has: then the reason must be the true one. */
static void check_refusal(const struct model *model, const struct kml_request *request, enum kml_status status)
{
	struct tiling tiling = walk_all(model, request);
	assert_false(tiling.has_room);
	assert_true(status == KML_NO_MEMORY || status == KML_NO_RUN || status == KML_IMPOSSIBLE);
	if (status == KML_NO_MEMORY)
		assert_true(request->size_bytes > tiling.free_bytes || model->live_count > 0);
	if (status == KML_NO_RUN)
		assert_true(request->size_bytes <= tiling.free_bytes);
	if (model->live_count == 0)
		assert_int_equal(status, KML_IMPOSSIBLE);
}

static void random_alloc(struct model *model)
{
	uint64_t arena_bytes = model->bench.arena->size_bytes;
	uint32_t magnitude = (uint32_t)(random_next(&model->seed) % (64 - (uint32_t)__builtin_clzll(arena_bytes)));
	uint64_t size_bytes = 1 + random_next(&model->seed) % (2ull << magnitude);
	uint64_t align_bytes = random_next(&model->seed) % 4 ? 0 : 1ull << random_next(&model->seed) % 13;
	struct kml_request request = {.size_bytes = size_bytes, .align_bytes = align_bytes, .cache = KML_NO_CACHE};
	struct kml_grant grant = bench_alloc(&model->bench, size_bytes, align_bytes);
	if (grant.status != KML_OK) {
		assert_int_equal(grant.address, KML_NO_ADDRESS);
		assert_int_equal(grant.granted_bytes, 0);
		check_refusal(model, &request, grant.status);
		return;
	}
	assert_true(grant.granted_bytes >= size_bytes);
	assert_true(grant.address + grant.granted_bytes <= arena_bytes);
	if (align_bytes)
		assert_int_equal(grant.address % align_bytes, 0);
	assert_false(overlaps_live(model, grant.address, grant.granted_bytes));
	model->live[model->live_count++] = (struct live){grant.address, size_bytes, grant.granted_bytes};
	model->requested_bytes += size_bytes;
}

/* Free one, with every kind of misuse around it. */
static void random_free(struct model *model)
{
	uint32_t victim = (uint32_t)(random_next(&model->seed) % model->live_count);
	struct live live = model->live[victim];
	if (live.granted_bytes > 1)
		assert_int_equal(bench_free(&model->bench,
					    live.address + 1 + random_next(&model->seed) % (live.granted_bytes - 1)),
				 KML_INTERIOR);
	assert_int_equal(bench_free(&model->bench, live.address), KML_OK);
	assert_int_equal(bench_free(&model->bench, live.address), KML_DOUBLE_FREE);
	assert_int_equal(bench_free(&model->bench, model->bench.arena->size_bytes + random_next(&model->seed) % 100000),
			 KML_FOREIGN);
	model->requested_bytes -= live.size_bytes;
	model->live[victim] = model->live[--model->live_count];
}

static void use_randomly(const char *spec, uint64_t arena_bytes, uint32_t steps)
{
	static struct model model;
	memset(&model, 0, sizeof model);
	model.seed = arena_bytes;
	bench_open(&model.bench, spec, arena_bytes);
	struct kml_free_area before[KML_FREE_AREAS_MAX], after[KML_FREE_AREAS_MAX];
	uint32_t areas = model.bench.heap->allocator->free_areas(model.bench.heap, before);
	check_all(&model);
	for (uint32_t step = 0; step < steps; step++) {
		bool grow = random_next(&model.seed) % 100 < (step / 100 % 2 ? 35 : 65); /* tides */
		if (model.live_count > 0 && (!grow || model.live_count == LIVE_MAX))
			random_free(&model);
		else
			random_alloc(&model);
		if (step % 16 == 0)
			check_all(&model);
	}
	while (model.live_count > 0)
		random_free(&model);
	check_all(&model);
	assert_int_equal(model.bench.heap->allocator->free_areas(model.bench.heap, after), areas);
	assert_memory_equal(before, after, areas * sizeof before[0]);
	struct kml_stats stats = bench_stats(&model.bench);
	assert_int_equal(stats.held_bytes, 0);
	bench_close(&model.bench);
}

static void random_use_keeps_every_invariant(void **state)
{
	(void)state;
	for (uint32_t i = 0; systems[i]; i++)
		for (uint32_t j = 0; policies[j]; j++)
			for (uint32_t k = 0; arenas[k]; k++) {
				char spec[128];
				snprintf(spec, sizeof spec, "%s,policy=%s", systems[i], policies[j]);
				use_randomly(spec, arenas[k], 1500);
			}
}

/* --------------------------------------------------------------------------------------------- bad parameters */

static void assert_refused(const char *spec_text, uint64_t arena_bytes, const char *words)
{
	struct kml_error error = {""};
	struct kml_arena *arena = kml_arena_create(arena_bytes, 4096, false, &error);
	struct kml_spec *spec = kml_spec_parse(spec_text, &error);
	assert_non_null(arena);
	if (spec) {
		struct kml_environment environment = {.arena = arena, .page_bytes = 4096, .cpu_count = 1};
		struct kml_stack stack;
		assert_false(kml_stack_create(&stack, spec, &environment, &error));
	}
	if (!strstr(error.text, words))
		fail_msg("%s: the error '%s' does not say '%s'", spec_text, error.text, words);
	kml_spec_free(spec);
	kml_arena_destroy(arena);
}

static void bad_parameters_are_refused_with_the_mend(void **state)
{
	(void)state;
	assert_refused("binary:unit=1M", 4096, "use a larger arena or a smaller unit");
	assert_refused("weighted:sizes=64k+100k", 1 << 20, "use 65536 or 131072");
	assert_refused("weighted:sizes=1k+1M", 1 << 20, "put a size between 1024 and 1048576");
	assert_refused("weighted:unit=4k,sizes=64k+128k", 1 << 20, "leave unit out");
	assert_refused("weighted:sizes=128k+64k", 1 << 20, "ascending");
	assert_refused("kary:k=17", 1 << 20, "from 2 to 16");
	assert_refused("fibonacci:j=0", 1 << 20, "from 1 to 16");
	assert_refused("binary:max_order=0", 1 << 20, "max_order=0");
	assert_refused("binary:unit=1", 1ull << 43, "use a larger unit or a smaller arena");
}

static void impossible_requests_are_named(void **state)
{
	(void)state;
	for (uint32_t i = 0; systems[i]; i++) {
		struct bench bench;
		bench_open(&bench, systems[i], 65536);
		assert_int_equal(bench_alloc(&bench, 0, 0).status, KML_IMPOSSIBLE);
		assert_int_equal(bench_alloc(&bench, 65537, 0).status, KML_IMPOSSIBLE);
		assert_int_equal(bench_alloc(&bench, UINT64_MAX, 0).status, KML_IMPOSSIBLE);
		assert_int_equal(bench_alloc(&bench, UINT64_MAX - 15, 1ull << 63).status, KML_IMPOSSIBLE);
		assert_int_equal(bench_alloc(&bench, 1, 3).status, KML_IMPOSSIBLE);
		assert_int_equal(bench_free(&bench, KML_NO_ADDRESS), KML_FOREIGN);
		assert_int_equal(bench_free(&bench, 0), KML_DOUBLE_FREE);
		assert_int_equal(bench_alloc(&bench, 1, 1ull << 63).address, 0); /* 0 is a multiple of everything */
		assert_int_equal(bench_alloc(&bench, 1, 1ull << 63).status, KML_NO_RUN);
		bench_validate(&bench);
		bench_close(&bench);
	}
}

/* ------------------------------------------------------------------------------------------------ huge arenas */

static uint64_t resident_bytes(void)
{
	unsigned long long size, resident;
	FILE *statm = fopen("/proc/self/statm", "r");
	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%llu %llu", &size, &resident), 2);
	fclose(statm);
	return resident * 4096;
}

/* A 1 TiB arena costs pages for what is used: descriptors are touched block by block, unused roots not at all. */
static void a_tebibyte_costs_little_memory(void **state)
{
	(void)state;
	static const char *const specs[] = {"binary:unit=4k",
					    "binary:unit=4k,max_order=10",
					    "binary:unit=4k,policy=lowest",
					    "fibonacci:unit=4k",
					    "weighted:unit=16",
					    "kary:unit=4k,k=16",
					    "dual:unit=4k",
					    "tertiary:unit=4k",
					    NULL};
	for (uint32_t i = 0; specs[i]; i++) {
		uint64_t before = resident_bytes();
		struct bench bench;
		bench_open(&bench, specs[i], 1ull << 40);
		for (uint32_t j = 0; j < 100; j++)
			assert_int_equal(bench_alloc(&bench, 10000, 0).status, KML_OK);
		bench_validate(&bench);
		assert_true(bench_stats(&bench).metadata_bytes < 64 * 1024);
		if (resident_bytes() > before + (32 << 20))
			fail_msg("%s: %llu bytes resident", specs[i], (unsigned long long)(resident_bytes() - before));
		bench_close(&bench);
	}
}

/* Fresh roots are handed out in the order in which they would be had they been listed from the start. */
static void fresh_roots_keep_the_policy(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		uint64_t next, aligned;
	} cases[] = {{"binary:unit=16,max_order=1,policy=lifo", 0, 512},
		     {"binary:unit=16,max_order=1,policy=fifo", 64, 0},
		     {"binary:unit=16,max_order=1,policy=lowest", 0, 512}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bench bench;
		bench_open(&bench, cases[i].spec, 1024);
		assert_int_equal(bench_alloc(&bench, 32, 0).address, 0);
		assert_int_equal(bench_alloc(&bench, 32, 0).address, 32);
		assert_int_equal(bench_free(&bench, 0), KML_OK);
		assert_int_equal(bench_alloc(&bench, 32, 0).address, cases[i].next);
		assert_int_equal(bench_alloc(&bench, 32, 512).address, cases[i].aligned);
		bench_validate(&bench);
		bench_close(&bench);
	}
}

/* ----------------------------------------------------------------------------------------------- the self-check */

static void assert_broken(const struct bench *bench, const char *words)
{
	struct kml_error error = {""};
	assert_false(bench->heap->allocator->validate(bench->heap, &error));
	if (!strstr(error.text, words))
		fail_msg("the self-check says '%s', not '%s'", error.text, words);
}

/* Break one thing, see it named, mend it. The arena: [8] 8 16 32 in units. */
static void self_check_names_planted_damage(void **state)
{
	(void)state;
	static const char *const specs[] = {"binary:unit=16", "kary:unit=16,k=2"};
	for (uint32_t i = 0; i < 2; i++) {
		struct bench bench;
		bench_open(&bench, specs[i], 64 * 16);
		assert_int_equal(bench_alloc(&bench, 8 * 16, 0).address, 0);
		struct buddy_heap *heap = (struct buddy_heap *)bench.heap;
		struct buddy_block *blocks = heap->blocks;
		bench_validate(&bench);

		blocks[8].class = 2;
		assert_broken(&bench, i == 0 ? "unit 12, where a block of class 0 starts, has state 0"
					     : "the block at unit 8 remembers place");
		blocks[8].class = 9;
		assert_broken(&bench, "at unit 8 starts a block of class 9, where the tree has one of class 3");
		blocks[8].class = 3;
		blocks[8].state = BUDDY_INSIDE;
		assert_broken(&bench, "unit 8, where a block of class 3 starts, has state 0");
		blocks[8].state = BUDDY_FREE;
		blocks[0].state = BUDDY_FREE;
		assert_broken(&bench, "all children of the block of class 4 at unit 0 are free and not merged");
		blocks[0].state = BUDDY_GRANTED_PADDED;
		buddy_set_next(&blocks[0], 8);
		buddy_set_prev(&blocks[0], 0);
		assert_broken(&bench, "the block at unit 0 of 128 bytes is padded by 128");
		buddy_set_next(&blocks[0], 1);
		assert_broken(&bench, "is not marked at unit 1");
		blocks[0].state = BUDDY_GRANTED;
		buddy_set_next(&blocks[8], 16);
		assert_broken(&bench, "unit 16 on the free list of class 3 is not a free block of it");
		buddy_set_next(&blocks[8], 8);
		assert_broken(&bench, "the free list of class 3 has more blocks than the 1 that are free");
		buddy_set_next(&blocks[8], heap->units + 3);
		buddy_set_prev(&blocks[8], 16);
		assert_broken(&bench, "points back to 16");
		buddy_set_prev(&blocks[8], heap->units + 3);
		buddy_set_next(&blocks[heap->units + 3], heap->units + 3);
		assert_broken(&bench, "the free list of class 3 has 0 blocks, 1 are free");
		buddy_set_next(&blocks[heap->units + 3], 8);
		heap->free_count[3]++;
		assert_broken(&bench, "2 free blocks of class 3 are counted, the walk finds 1");
		heap->free_count[3]--;
		heap->nonempty.word[0] ^= 1 << 3;
		assert_broken(&bench, "class 3 has 1 free blocks and its bit says otherwise");
		heap->nonempty.word[0] ^= 1 << 3;
		uint64_t *const totals[] = {&heap->free_units, &heap->granted_bytes, &heap->padding_bytes,
					    &heap->block_count, &heap->arena->taken_bytes};
		static const char *const names[] = {"free units", "granted bytes", "padding bytes", "blocks",
						    "taken bytes"};
		for (uint32_t j = 0; j < 5; j++) {
			++*totals[j];
			assert_broken(&bench, names[j]);
			--*totals[j];
		}
		blocks[8].place++;
		if (i == 1)
			assert_broken(&bench, "the block at unit 8 remembers place");
		blocks[8].place--;
		bench_validate(&bench);
		bench_close(&bench);
	}
}

/* ---------------------------------------------------------------------------------------------- the address set */

static void address_set_finds_the_lowest(void **state)
{
	(void)state;
	static const uint64_t capacities[] = {1, 64, 65, 4096, 5000, 300000};
	for (uint32_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
		uint64_t capacity = capacities[i], words_used = 0, seed = i, members = 0;
		struct address_set set;
		assert_true(address_set_create(&set, capacity, &words_used));
		bool *present = calloc(capacity, sizeof *present);
		assert_non_null(present);
		for (uint32_t step = 0; step < 3000; step++) {
			uint64_t member = random_next(&seed) % capacity;
			present[member] ? address_set_remove(&set, member) : address_set_add(&set, member);
			present[member] = !present[member];
			members += present[member] ? 1 : (uint64_t)-1;
			uint64_t from = random_next(&seed) % (capacity + 1), next = from;
			while (next < capacity && !present[next])
				next++;
			assert_int_equal(address_set_next(&set, from), next < capacity ? next : ADDRESS_SET_NONE);
		}
		assert_int_equal(words_used == 0, members == 0);
		free(present);
		address_set_destroy(&set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_use_keeps_every_invariant),
		cmocka_unit_test(bad_parameters_are_refused_with_the_mend),
		cmocka_unit_test(impossible_requests_are_named),
		cmocka_unit_test(a_tebibyte_costs_little_memory),
		cmocka_unit_test(fresh_roots_keep_the_policy),
		cmocka_unit_test(self_check_names_planted_damage),
		cmocka_unit_test(address_set_finds_the_lowest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
