/*
 * testing.h - a buddy system on an arena of its own, for the tests of this folder.
 */
#ifndef KMEMLAB_BUDDY_TESTING_H
#define KMEMLAB_BUDDY_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "allocators/registry.h"
#include "kmemlab/support/random.h"

struct bench {
	struct kml_arena *arena;
	struct kml_spec *spec;
	struct kml_stack stack;
	struct kml_heap *heap;
};

/* Fails the test when the spec or the arena will not do. The arena has no memory: addresses are what is tested. */
static inline void bench_open(struct bench *bench, const char *spec_text, uint64_t arena_bytes)
{
	struct kml_error error = {""};
	*bench = (struct bench){0};
	bench->arena = kml_arena_create(arena_bytes, 4096, false, &error);
	bench->spec = kml_spec_parse(spec_text, &error);
	struct kml_environment environment = {.arena = bench->arena, .page_bytes = 4096, .cpu_count = 1};
	if (!bench->arena || !bench->spec || !kml_stack_create(&bench->stack, bench->spec, &environment, &error))
		fail_msg("%s: %s", spec_text, error.text);
	bench->heap = kml_stack_top(&bench->stack);
}

static inline void bench_close(struct bench *bench)
{
	kml_stack_destroy(&bench->stack);
	assert_int_equal(bench->arena->taken_bytes, 0);
	assert_int_equal(bench->arena->held_bytes, 0);
	kml_spec_free(bench->spec);
	kml_arena_destroy(bench->arena);
}

static inline struct kml_grant bench_alloc(const struct bench *bench, uint64_t size_bytes, uint64_t align_bytes)
{
	struct kml_request request = {.size_bytes = size_bytes,
				      .align_bytes = align_bytes,
				      .recorded = KML_NO_ADDRESS,
				      .cache = KML_NO_CACHE};
	return bench->heap->allocator->alloc(bench->heap, &request);
}

static inline enum kml_status bench_free(const struct bench *bench, uint64_t address)
{
	struct kml_release release = {.address = address, .cache = KML_NO_CACHE};
	return bench->heap->allocator->free(bench->heap, &release);
}

static inline struct kml_stats bench_stats(const struct bench *bench)
{
	struct kml_stats stats;
	bench->heap->allocator->stats(bench->heap, &stats);
	return stats;
}

static inline void bench_validate(const struct bench *bench)
{
	struct kml_error error = {""};
	if (!bench->heap->allocator->validate(bench->heap, &error))
		fail_msg("%s: %s", bench->spec->text, error.text);
}

/* Free blocks of exactly this size. */
static inline uint64_t bench_free_blocks(const struct bench *bench, uint64_t block_bytes)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = bench->heap->allocator->free_areas(bench->heap, areas);
	for (uint32_t i = 0; i < count; i++)
		if (areas[i].block_bytes == block_bytes)
			return areas[i].count;
	return 0;
}

#endif
