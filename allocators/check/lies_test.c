/*
 * lies_test.c - the checkers under test: an allocator that lies on demand must give exactly the reports that each lie
 * deserves, and none while it is honest.
 *
 * The liar passes everything on to first fit and falsifies one thing. Each case sets up the same small arena, tells one
 * lie and lists the reports it must cause.
 *
 *   0     112            4208           9216                      65536
 *   | A   |    free      |      C       |        free             |
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

#define ARENA_BYTES 65536u
#define PAGE_BYTES 4096u
#define A_REQUESTED 100u
#define A_GRANTED 112u
#define B_REQUESTED 4096u
#define C_REQUESTED 5000u
#define C_ADDRESS (A_GRANTED + B_REQUESTED)
#define C_GRANTED 5008u
#define C_END (C_ADDRESS + C_GRANTED)

enum lie {
	HONEST,
	/* alloc */
	GRANTS_A_LIVE_BLOCK,
	GRANTS_OVER_A_LIVE_TAIL,
	GRANTS_OUTSIDE,
	GRANTS_PAST_THE_END,
	IGNORES_ALIGNMENT,
	GRANTS_HALF,
	DOES_NOT_ZERO,
	SMASHES_A_NEIGHBOUR,
	FAILS_FOR_NO_REASON,
	FAILS_WITH_A_WRONG_STATUS,
	FAILS_WITH_AN_ADDRESS,
	SAYS_NO_RUN_WITHOUT_MEMORY,
	SAYS_POISON,
	GRANTS_IN_THE_WINDOW,
	GRANTS_PAST_THE_WINDOW,
	/* free */
	SAYS_RED_ZONE,
	REFUSES_A_FREE,
	OBEYS_MISUSE,
	MISNAMES_MISUSE,
	/* usable */
	USABLE_IS_SMALL,
	USABLE_AFTER_FREE,
	/* stats */
	GRANTED_IS_OFF,
	HELD_IS_OFF,
	WASTE_IS_OFF,
	FREE_IS_OFF,
	FREE_IS_ABSURD,
	LARGEST_IS_OFF,
	LARGEST_IS_ABSURD,
	/* free areas, walk, validate */
	AREA_IS_OFF,
	AREAS_DESCEND,
	AREA_IS_TOO_LARGE,
	WALK_LOSES_C,
	WALK_INVENTS_A_BLOCK,
	WALK_SHRINKS_C,
	WALK_ENDS_EARLY,
	WALK_LEAVES_THE_ARENA,
	VALIDATE_FAILS,
	/* after all is freed */
	MISSES_A_MERGE,
	KEEPS_A_BLOCK,
};

struct liar {
	struct kml_heap heap;
	struct kml_heap *honest;
	struct kml_arena *arena;
	enum lie lie;
};

static struct liar *liar_of(const struct kml_heap *heap)
{
	return (struct liar *)(uintptr_t)heap;
}

/* ------------------------------------------------------------------------------------------------------- the liar */

static struct kml_grant liar_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct liar *liar = liar_of(heap);
	struct kml_request changed = *request;
	switch (liar->lie) {
	case GRANTS_A_LIVE_BLOCK:
		return (struct kml_grant){KML_OK, C_ADDRESS, C_GRANTED};
	case GRANTS_OVER_A_LIVE_TAIL:
		return (struct kml_grant){KML_OK, C_END - 16, request->size_bytes};
	case GRANTS_OUTSIDE:
		return (struct kml_grant){KML_OK, ARENA_BYTES, request->size_bytes};
	case GRANTS_PAST_THE_END:
		return (struct kml_grant){KML_OK, ARENA_BYTES - 16, request->size_bytes};
	case IGNORES_ALIGNMENT:
		changed.align_bytes = 0;
		break;
	case GRANTS_HALF:
		changed.size_bytes /= 2;
		break;
	case DOES_NOT_ZERO:
		changed.flags = 0;
		break;
	case SMASHES_A_NEIGHBOUR:
		liar->arena->base[C_END - 1] ^= 0x55;
		break;
	case FAILS_FOR_NO_REASON:
	case SAYS_NO_RUN_WITHOUT_MEMORY:
		return (struct kml_grant){KML_NO_RUN, KML_NO_ADDRESS, 0};
	case FAILS_WITH_A_WRONG_STATUS:
		return (struct kml_grant){KML_DOUBLE_FREE, KML_NO_ADDRESS, 0};
	case SAYS_POISON:
		return (struct kml_grant){KML_POISON, KML_NO_ADDRESS, 0};
	case GRANTS_IN_THE_WINDOW:
		return (struct kml_grant){KML_OK, liar->arena->window_address, PAGE_BYTES};
	case GRANTS_PAST_THE_WINDOW:
		return (struct kml_grant){KML_OK, liar->arena->window_address + liar->arena->window_bytes - 16,
					  PAGE_BYTES};
	case FAILS_WITH_AN_ADDRESS:
		return (struct kml_grant){KML_IMPOSSIBLE, 0, 0};
	default:
		break;
	}
	return liar->honest->allocator->alloc(liar->honest, &changed);
}

static enum kml_status liar_free(struct kml_heap *heap, const struct kml_release *release)
{
	struct liar *liar = liar_of(heap);
	if (liar->lie == REFUSES_A_FREE)
		return KML_DOUBLE_FREE;
	if (liar->lie == SAYS_RED_ZONE)
		return KML_RED_ZONE;
	if (liar->lie == OBEYS_MISUSE)
		return KML_OK;
	if (liar->lie == MISNAMES_MISUSE)
		return KML_WRONG_CACHE;
	return liar->honest->allocator->free(liar->honest, release);
}

static uint64_t liar_usable(const struct kml_heap *heap, uint64_t address)
{
	const struct liar *liar = liar_of(heap);
	uint64_t usable = liar->honest->allocator->usable(liar->honest, address);
	if (liar->lie == USABLE_IS_SMALL)
		return usable - 1;
	if (liar->lie == USABLE_AFTER_FREE && usable == 0)
		return 16;
	return usable;
}

static void liar_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	const struct liar *liar = liar_of(heap);
	liar->honest->allocator->stats(liar->honest, stats);
	switch (liar->lie) {
	case GRANTED_IS_OFF:
		stats->granted_bytes += 16;
		break;
	case HELD_IS_OFF:
		stats->held_bytes += PAGE_BYTES;
		break;
	case WASTE_IS_OFF:
		stats->waste_bytes[KML_WASTE_MANAGEMENT] += 1;
		break;
	case FREE_IS_OFF:
		stats->free_bytes -= 16;
		break;
	case FREE_IS_ABSURD:
		stats->free_bytes = ARENA_BYTES + 1;
		break;
	case LARGEST_IS_OFF:
		stats->largest_free_bytes -= 16;
		break;
	case LARGEST_IS_ABSURD:
		stats->largest_free_bytes = stats->free_bytes + 1;
		break;
	default:
		break;
	}
}

static uint32_t liar_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	const struct liar *liar = liar_of(heap);
	uint32_t count = liar->honest->allocator->free_areas(liar->honest, areas);
	if (liar->lie == AREA_IS_OFF)
		areas[0].count++;
	if (liar->lie == AREA_IS_TOO_LARGE)
		areas[0].block_bytes += 1;
	if (liar->lie == AREAS_DESCEND)
		areas[count++] = (struct kml_free_area){.block_bytes = 16, .count = 0};
	if (liar->lie == MISSES_A_MERGE)
		areas[0] = (struct kml_free_area){.block_bytes = ARENA_BYTES / 2, .count = 2};
	return count;
}

struct walk {
	const struct liar *liar;
	kml_visit *visit;
	void *context;
};

static bool liar_visit(void *context, const struct kml_block *honest)
{
	const struct walk *walk = context;
	struct kml_block block = *honest;
	bool is_c = block.address == C_ADDRESS, is_gap = block.address == A_GRANTED, is_last = block.address == C_END;
	switch (walk->liar->lie) {
	case WALK_LOSES_C:
		if (is_c)
			return true;
		break;
	case WALK_INVENTS_A_BLOCK:
		if (is_gap)
			block.state = KML_BLOCK_GRANTED;
		break;
	case WALK_SHRINKS_C:
		if (is_c)
			block.size_bytes -= 16;
		break;
	case WALK_ENDS_EARLY:
		if (is_last)
			block.size_bytes -= 4096;
		break;
	case WALK_LEAVES_THE_ARENA:
		if (is_last)
			block.size_bytes += 16;
		break;
	default:
		break;
	}
	return walk->visit(walk->context, &block);
}

static void liar_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	const struct liar *liar = liar_of(heap);
	struct walk walk = {liar, visit, context};
	liar->honest->allocator->walk(liar->honest, liar_visit, &walk);
}

static bool liar_validate(const struct kml_heap *heap, struct kml_error *error)
{
	const struct liar *liar = liar_of(heap);
	return liar->lie != VALIDATE_FAILS && liar->honest->allocator->validate(liar->honest, error);
}

static const struct kml_allocator liar_allocator = {
	.abi_version = KML_ABI_VERSION,
	.name = "liar",
	.layer = KML_LAYER_PAGES,
	.alloc = liar_alloc,
	.free = liar_free,
	.usable = liar_usable,
	.stats = liar_stats,
	.free_areas = liar_free_areas,
	.walk = liar_walk,
	.validate = liar_validate,
};

/* -------------------------------------------------------------------------------------------------------- scenes */

struct scene {
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack honest;
	struct liar liar;
	struct kml_shadow *shadow;
};

static void ask(struct scene *scene, uint64_t size_bytes, uint64_t align_bytes, uint16_t flags)
{
	const struct kml_request request = {
		.size_bytes = size_bytes, .align_bytes = align_bytes, .cache = KML_NO_CACHE, .flags = flags};
	kml_shadow_alloc(scene->shadow, &request);
}

static void release(struct scene *scene, uint64_t address)
{
	const struct kml_release release = {.address = address, .cache = KML_NO_CACHE};
	kml_shadow_free(scene->shadow, &release);
}

static void set_scene(struct scene *scene)
{
	struct kml_error error;
	memset(scene, 0, sizeof(*scene));
	scene->spec = kml_spec_parse("first_fit:unit=16", &error);
	assert_non_null(scene->spec);
	scene->arena = kml_arena_create(ARENA_BYTES, PAGE_BYTES, true, &error);
	assert_non_null(scene->arena);
	const struct kml_environment environment = {.arena = scene->arena, .page_bytes = PAGE_BYTES, .cpu_count = 1};
	assert_true(kml_stack_create(&scene->honest, scene->spec, &environment, &error));
	scene->liar = (struct liar){{&liar_allocator}, kml_stack_top(&scene->honest), scene->arena, HONEST};
	const struct kml_stack stack = {.layer = {&scene->liar.heap}, .layer_count = 1};
	scene->shadow = kml_shadow_create(&stack, scene->arena, &error);
	assert_non_null(scene->shadow);

	ask(scene, A_REQUESTED, 0, 0);
	ask(scene, B_REQUESTED, 0, 0);
	ask(scene, C_REQUESTED, 0, 0);
	release(scene, A_GRANTED);
	assert_int_equal(scene->shadow->live_blocks, 2);
	assert_true(kml_check_deep(scene->shadow));
}

static void clear_scene(struct scene *scene)
{
	kml_shadow_destroy(scene->shadow);
	kml_stack_destroy(&scene->honest);
	kml_arena_destroy(scene->arena);
	kml_spec_free(scene->spec);
}

/* ------------------------------------------------------------------------------------------------------ what is done
 */

static void asks_100(struct scene *scene)
{
	ask(scene, 100, 0, 0);
}

static void asks_100_aligned_to_64(struct scene *scene)
{
	ask(scene, 100, 64, 0); /* address 112 is free and aligned to 16 */
}

static void asks_100_zeroed(struct scene *scene)
{
	ask(scene, 100, 0, KML_ZEROED); /* B lay there, and its owner wrote to it */
}

static void asks_an_area(struct scene *scene)
{
	ask(scene, 100, 0, KML_VMALLOC);
}

/* More than is free: honest is NO_MEMORY. */
static void asks_too_much(struct scene *scene)
{
	ask(scene, ARENA_BYTES - C_GRANTED, 0, 0);
}

static void frees_c(struct scene *scene)
{
	release(scene, C_ADDRESS);
}

static void smashes_and_frees_c(struct scene *scene)
{
	ask(scene, 16, 0, 0);
	scene->liar.lie = HONEST;
	release(scene, C_ADDRESS);
}

static void smashes_and_checks_twice(struct scene *scene)
{
	ask(scene, 16, 0, 0);
	scene->liar.lie = HONEST;
	kml_check_deep(scene->shadow);
	kml_check_deep(scene->shadow);
	release(scene, C_ADDRESS);
}

static void frees_inside_c(struct scene *scene)
{
	release(scene, C_ADDRESS + 16);
}

static void frees_the_gap(struct scene *scene)
{
	release(scene, A_GRANTED);
}

static void frees_outside(struct scene *scene)
{
	release(scene, ARENA_BYTES);
}

static void checks(struct scene *scene)
{
	kml_check_deep(scene->shadow);
}

/* Where memory comes bit by bit a gap in the walk is none, but what was there must stay. */
static void checks_memory_that_came(struct scene *scene)
{
	enum lie lie = scene->liar.lie;
	scene->shadow->starts_empty = true;
	scene->liar.lie = HONEST;
	kml_check_deep(scene->shadow);
	scene->liar.lie = lie;
	kml_check_deep(scene->shadow);
}

static void frees_all(struct scene *scene)
{
	enum lie lie = scene->liar.lie;
	scene->liar.lie = HONEST;
	release(scene, 0);
	if (lie != KEEPS_A_BLOCK)
		release(scene, C_ADDRESS);
	scene->liar.lie = lie;
	kml_check_whole(scene->shadow);
}

/* --------------------------------------------------------------------------------------------------------- cases */

#define EXPECTED_MAX 5u

struct expected {
	enum kml_invariant invariant;
	uint32_t count;
};

struct lie_case {
	const char *name;
	enum lie lie;
	void (*act)(struct scene *scene);
	struct expected expected[EXPECTED_MAX];
};

static const struct lie_case lie_cases[] = {
	{"a live block is granted again", GRANTS_A_LIVE_BLOCK, asks_100, {{KML_INVARIANT_OVERLAP, 1}}},
	{
		"a grant meets the tail of a live block",
		GRANTS_OVER_A_LIVE_TAIL,
		asks_100,
		{{KML_INVARIANT_OVERLAP, 1}},
	},
	{"a grant outside the arena", GRANTS_OUTSIDE, asks_100, {{KML_INVARIANT_INSIDE, 1}}},
	{"a grant past the end", GRANTS_PAST_THE_END, asks_100, {{KML_INVARIANT_INSIDE, 1}}},
	{"alignment ignored", IGNORES_ALIGNMENT, asks_100_aligned_to_64, {{KML_INVARIANT_ALIGNMENT, 1}}},
	{"half is granted", GRANTS_HALF, asks_100, {{KML_INVARIANT_SHORT_GRANT, 1}}},
	{"not zeroed", DOES_NOT_ZERO, asks_100_zeroed, {{KML_INVARIANT_ZEROED, 1}}},
	{
		"a neighbour's byte is changed, seen at its free",
		SMASHES_A_NEIGHBOUR,
		smashes_and_frees_c,
		{{KML_INVARIANT_CONTENTS, 1}},
	},
	{
		"a neighbour's byte is changed, seen once by a deep check",
		SMASHES_A_NEIGHBOUR,
		smashes_and_checks_twice,
		{{KML_INVARIANT_CONTENTS, 1}},
	},
	{"a failure with a free block", FAILS_FOR_NO_REASON, asks_100, {{KML_INVARIANT_FALSE_FAILURE, 1}}},
	{"no run, without the memory", SAYS_NO_RUN_WITHOUT_MEMORY, asks_too_much, {{KML_INVARIANT_STATUS, 1}}},
	{"alloc answers double free", FAILS_WITH_A_WRONG_STATUS, asks_100, {{KML_INVARIANT_STATUS, 1}}},
	{"a free object was written to", SAYS_POISON, asks_100, {{KML_INVARIANT_CONTENTS, 1}}},
	{"a grant in the window", GRANTS_IN_THE_WINDOW, asks_100, {{KML_INVARIANT_INSIDE, 1}}},
	{"an area past the window", GRANTS_PAST_THE_WINDOW, asks_an_area, {{KML_INVARIANT_INSIDE, 1}}},
	{"a red zone was overwritten", SAYS_RED_ZONE, frees_c, {{KML_INVARIANT_CONTENTS, 1}}},
	{"a failure with an address", FAILS_WITH_AN_ADDRESS, asks_100, {{KML_INVARIANT_STATUS, 1}}},
	{"a live block is not freed", REFUSES_A_FREE, frees_c, {{KML_INVARIANT_STATUS, 1}}},
	{"an interior free is obeyed", OBEYS_MISUSE, frees_inside_c, {{KML_INVARIANT_STATUS, 1}}},
	{"a double free is obeyed", OBEYS_MISUSE, frees_the_gap, {{KML_INVARIANT_STATUS, 1}}},
	{"a foreign free is obeyed", OBEYS_MISUSE, frees_outside, {{KML_INVARIANT_STATUS, 1}}},
	{"an interior free is misnamed", MISNAMES_MISUSE, frees_inside_c, {{KML_INVARIANT_STATUS, 1}}},
	{"a double free is misnamed", MISNAMES_MISUSE, frees_the_gap, {{KML_INVARIANT_STATUS, 1}}},
	{"a foreign free is misnamed", MISNAMES_MISUSE, frees_outside, {{KML_INVARIANT_STATUS, 1}}},
	{"usable disagrees", USABLE_IS_SMALL, asks_100, {{KML_INVARIANT_USABLE, 1}}},
	{"usable after the free", USABLE_AFTER_FREE, frees_c, {{KML_INVARIANT_USABLE, 1}}},
	{"granted counter", GRANTED_IS_OFF, asks_100, {{KML_INVARIANT_GRANTED_BYTES, 1}}},
	{"held counter", HELD_IS_OFF, asks_100, {{KML_INVARIANT_HELD_BYTES, 1}}},
	{"waste counter", WASTE_IS_OFF, asks_100, {{KML_INVARIANT_WASTE, 1}}},
	{"free counter, absurd", FREE_IS_ABSURD, asks_100, {{KML_INVARIANT_FREE_BYTES, 1}}},
	{"largest counter, absurd", LARGEST_IS_ABSURD, asks_100, {{KML_INVARIANT_LARGEST_FREE, 1}}},
	{"free counter", FREE_IS_OFF, checks, {{KML_INVARIANT_FREE_BYTES, 1}}},
	{"largest counter", LARGEST_IS_OFF, checks, {{KML_INVARIANT_LARGEST_FREE, 1}}},
	{"free area counts one more", AREA_IS_OFF, checks, {{KML_INVARIANT_FREE_AREAS, 1}}},
	/* The gap is below the first area, which then counts one that is not there. */
	{"free area above its blocks", AREA_IS_TOO_LARGE, checks, {{KML_INVARIANT_FREE_AREAS, 2}}},
	/* The third area, of 16 bytes, is out of order and takes the free blocks of the other two. */
	{"free areas descend", AREAS_DESCEND, checks, {{KML_INVARIANT_FREE_AREAS, 4}}},
	/* The block after the hole is out of place; C's pages are not held by anyone. */
	{
		"the walk loses a block",
		WALK_LOSES_C,
		checks,
		{{KML_INVARIANT_TILING, 1}, {KML_INVARIANT_LIVE, 1}, {KML_INVARIANT_HELD_BYTES, 1}},
	},
	/* The gap ends on the pages of A and C: the held pages stay the same. */
	{
		"the walk shows a free block as granted",
		WALK_INVENTS_A_BLOCK,
		checks,
		{{KML_INVARIANT_LIVE, 1}, {KML_INVARIANT_FREE_BYTES, 1}, {KML_INVARIANT_FREE_AREAS, 1}},
	},
	/* C is shorter than granted and leaves a hole. */
	{
		"the walk shows a block too small",
		WALK_SHRINKS_C,
		checks,
		{{KML_INVARIANT_LIVE, 1}, {KML_INVARIANT_TILING, 1}},
	},
	{
		"the walk loses a block of memory that came",
		WALK_LOSES_C,
		checks_memory_that_came,
		{{KML_INVARIANT_TILING, 1}, {KML_INVARIANT_LIVE, 1}, {KML_INVARIANT_HELD_BYTES, 1}},
	},
	{
		"the walk loses the end of the arena",
		WALK_ENDS_EARLY,
		checks,
		{{KML_INVARIANT_TILING, 1}, {KML_INVARIANT_FREE_BYTES, 1}, {KML_INVARIANT_LARGEST_FREE, 1}},
	},
	/* The walk is not believed from there on: the last free block and its area are missed. */
	{
		"the walk leaves the arena",
		WALK_LEAVES_THE_ARENA,
		checks,
		{{KML_INVARIANT_TILING, 2},
		 {KML_INVARIANT_FREE_BYTES, 1},
		 {KML_INVARIANT_LARGEST_FREE, 1},
		 {KML_INVARIANT_FREE_AREAS, 1}},
	},
	{"validate fails", VALIDATE_FAILS, checks, {{KML_INVARIANT_VALIDATE, 1}}},
	{"a merge is missed", MISSES_A_MERGE, frees_all, {{KML_INVARIANT_WHOLE, 1}}},
	{"a block is kept", KEEPS_A_BLOCK, frees_all, {{KML_INVARIANT_WHOLE, 1}}},
};

static void assert_reports(const struct lie_case *lie_case, const struct kml_reports *reports)
{
	uint64_t expected[KML_INVARIANT_COUNT] = {0};
	for (uint32_t i = 0; i < EXPECTED_MAX; i++)
		expected[lie_case->expected[i].invariant] += lie_case->expected[i].count;
	for (unsigned i = 0; i < KML_INVARIANT_COUNT; i++)
		if (reports->of[i] != expected[i])
			fail_msg("%s: %llu reports of %s, %llu expected; the first of all: %s", lie_case->name,
				 (unsigned long long)reports->of[i], kml_invariant_name(i),
				 (unsigned long long)expected[i], reports->first.text);
}

static void each_lie_is_reported_exactly(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lie_cases) / sizeof(lie_cases[0]); i++) {
		struct scene scene;
		set_scene(&scene);
		scene.liar.lie = lie_cases[i].lie;
		lie_cases[i].act(&scene);
		assert_reports(&lie_cases[i], &scene.shadow->reports);
		struct kml_error error = {{0}};
		assert_false(kml_shadow_ok(scene.shadow, &error));
		const char *name = kml_invariant_name(lie_cases[i].expected[0].invariant);
		bool starts_with_a_name = strchr(error.text, ':') != NULL;
		assert_true(starts_with_a_name);
		if (lie_cases[i].expected[1].count == 0)
			assert_memory_equal(error.text, name, strlen(name));
		clear_scene(&scene);
	}
}

static void honesty_is_not_reported(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lie_cases) / sizeof(lie_cases[0]); i++) {
		struct scene scene;
		set_scene(&scene);
		lie_cases[i].act(&scene);
		if (scene.shadow->reports.count != 0)
			fail_msg("%s, honestly: %s", lie_cases[i].name, scene.shadow->reports.first.text);
		clear_scene(&scene);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_lie_is_reported_exactly),
		cmocka_unit_test(honesty_is_not_reported),
	};
	return cmocka_run_group_tests_name("lies", tests, NULL, NULL);
}
