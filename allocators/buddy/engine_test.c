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
	uint32_t magnitude = (uint32_t)(bench_random(&model->seed) % (64 - (uint32_t)__builtin_clzll(arena_bytes)));
	uint64_t size_bytes = 1 + bench_random(&model->seed) % (2ull << magnitude);
	uint64_t align_bytes = bench_random(&model->seed) % 4 ? 0 : 1ull << bench_random(&model->seed) % 13;
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
	uint32_t victim = (uint32_t)(bench_random(&model->seed) % model->live_count);
	struct live live = model->live[victim];
	if (live.granted_bytes > 1)
		assert_int_equal(bench_free(&model->bench,
					    live.address + 1 + bench_random(&model->seed) % (live.granted_bytes - 1)),
				 KML_INTERIOR);
	assert_int_equal(bench_free(&model->bench, live.address), KML_OK);
	assert_int_equal(bench_free(&model->bench, live.address), KML_DOUBLE_FREE);
	assert_int_equal(
		bench_free(&model->bench, model->bench.arena->size_bytes + bench_random(&model->seed) % 100000),
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
		bool grow = bench_random(&model.seed) % 100 < (step / 100 % 2 ? 35 : 65); /* tides */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_use_keeps_every_invariant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
