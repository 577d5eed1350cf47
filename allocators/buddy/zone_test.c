/*
 * zone_test.c - Linux mode of binary, rule by rule. Each expected value is worked by hand from the function of
 * mm/page_alloc.c (Linux 6.1) that is named; the sizes of the marks and batches are those that kernels of these sizes
 * print.
 */
#include "allocators/buddy/testing.h"

#include <string.h>

#include "allocators/buddy/zone.h"

#define PAGE 4096ull
#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

struct zone_bench {
	struct kml_arena *arena;
	struct kml_spec *spec;
	struct kml_stack stack;
	struct zone *zone;
};

static void zone_open_with(struct zone_bench *bench, const char *spec_text, uint64_t arena_bytes, bool starts_empty)
{
	struct kml_error error = {""};
	*bench = (struct zone_bench){0};
	bench->arena = kml_arena_create(arena_bytes, PAGE, false, &error);
	bench->spec = kml_spec_parse(spec_text, &error);
	struct kml_environment environment = {
		.arena = bench->arena, .page_bytes = PAGE, .cpu_count = 2, .starts_empty = starts_empty};
	if (!bench->arena || !bench->spec || !kml_stack_create(&bench->stack, bench->spec, &environment, &error))
		fail_msg("%s: %s", spec_text, error.text);
	bench->zone = (struct zone *)kml_stack_top(&bench->stack);
}

static void zone_open(struct zone_bench *bench, const char *spec_text, uint64_t arena_bytes)
{
	zone_open_with(bench, spec_text, arena_bytes, false);
}

static void must_be_valid(const struct zone_bench *bench)
{
	struct kml_error error = {""};
	if (!bench->zone->heap.allocator->validate(&bench->zone->heap, &error))
		fail_msg("%s: %s", bench->spec->text, error.text);
}

static void zone_close(struct zone_bench *bench)
{
	must_be_valid(bench);
	kml_stack_destroy(&bench->stack);
	assert_int_equal(bench->arena->taken_bytes, 0);
	kml_spec_free(bench->spec);
	kml_arena_destroy(bench->arena);
}

static struct kml_grant ask(const struct zone_bench *bench, uint32_t order, uint16_t flags, uint16_t cpu)
{
	struct kml_request request = {.size_bytes = PAGE << order,
				      .recorded = KML_NO_ADDRESS,
				      .cache = KML_NO_CACHE,
				      .cpu = cpu,
				      .flags = flags};
	return bench->zone->heap.allocator->alloc(&bench->zone->heap, &request);
}

/* The number of the first page granted. */
static uint64_t take_flags(const struct zone_bench *bench, uint32_t order, uint16_t flags)
{
	struct kml_grant grant = ask(bench, order, flags, 0);
	assert_int_equal(grant.status, KML_OK);
	assert_int_equal(grant.granted_bytes, PAGE << order);
	return grant.address / PAGE;
}

static uint64_t take(const struct zone_bench *bench, uint32_t order)
{
	return take_flags(bench, order, 0);
}

static void give_on(const struct zone_bench *bench, uint64_t page, uint16_t cpu)
{
	struct kml_release release = {.address = page * PAGE, .cache = KML_NO_CACHE, .cpu = cpu};
	assert_int_equal(bench->zone->heap.allocator->free(&bench->zone->heap, &release), KML_OK);
}

static void give(const struct zone_bench *bench, uint64_t page)
{
	give_on(bench, page, 0);
}

static void take_all(const struct zone_bench *bench, uint32_t order, uint16_t flags)
{
	while (ask(bench, order, flags, 0).status == KML_OK)
		;
}

/* ------------------------------------------------------------------------------------------------ free lists */

/* expand(): the low half is kept, and what is left is on its lists; __rmqueue_smallest(): the smallest that is enough.
 */
static void a_split_keeps_the_low_half(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:policy=linux,max_order=4", 16 * PAGE);
	assert_int_equal(take(&bench, 0), 0); /* leaves 1, 2-3, 4-7, 8-15 */
	assert_int_equal(take(&bench, 2), 4);
	assert_int_equal(take(&bench, 0), 1);
	assert_int_equal(take(&bench, 0), 2);
	assert_int_equal(bench.zone->splits, 5);
	zone_close(&bench);
}

/*
 * buddy_merge_likely(): page 1 is freed while 2-3, the buddy of 0-1, is free: once 0 is freed too, it merges twice. So
 * it goes to the tail, and page 8, freed before it, is granted first; last freed, first granted would give 1.
 */
static void what_will_soon_merge_is_granted_last(void **state)
{
	static const struct {
		const char *spec;
		uint64_t first, second;
	} cases[] = {{"binary:policy=linux,max_order=4", 8, 1}, {"binary:percpu=off,policy=lifo,migrate=on", 1, 8}};
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct zone_bench bench;
		zone_open(&bench, cases[i].spec, 16 * PAGE);
		take_all(&bench, 0, 0);
		give(&bench, 2);
		give(&bench, 3);
		give(&bench, 8);
		give(&bench, 1);
		assert_int_equal(take(&bench, 0), cases[i].first);
		assert_int_equal(take(&bench, 0), cases[i].second);
		zone_close(&bench);
	}
}

/* The same one order below the largest: such a block merges only once more, which is not asked about. */
static void the_two_largest_orders_are_not_asked(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:policy=linux,max_order=2", 16 * PAGE);
	take_all(&bench, 1, 0);
	give(&bench, 8);
	give(&bench, 4);
	give(&bench, 6); /* 4-7 */
	give(&bench, 0); /* its buddy 2-3 is taken; 4-7, the buddy of 0-3, is free */
	assert_int_equal(take(&bench, 1), 0);
	zone_close(&bench);
}

/* --------------------------------------------------------------------------------------- marks, batch and high */

/*
 * zone_batchsize(): 1/1024 of the zone, at most 1 MiB, a quarter; half as much again; rounded down to a power of two;
 * less one. 128 MiB: 32 pages, 8, 12, 8, 7. rmqueue_bulk() takes that many, the first is granted.
 */
static void a_batch_is_as_large_as_the_zone_says(void **state)
{
	static const struct {
		uint64_t arena_bytes, batch;
	} cases[] = {{4 * MIB, 1},    {16 * MIB, 1}, {128 * MIB, 7}, {256 * MIB, 15},
		     {512 * MIB, 31}, {GIB, 63},     {64 * GIB, 63}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct zone_bench bench;
		struct kml_stats stats;
		zone_open(&bench, "binary:percpu=on", cases[i].arena_bytes);
		take(&bench, 0);
		bench.zone->heap.allocator->stats(&bench.zone->heap, &stats);
		assert_int_equal(stats.waste_bytes[KML_WASTE_CPU_CACHED], (cases[i].batch - 1) * PAGE);
		assert_int_equal(stats.held_bytes, cases[i].batch * PAGE);
		zone_close(&bench);
	}
}

/* __rmqueue_pcplist(): for order o a 2^o-th of the batch, at least two. Above order 3 there are no lists. */
static void larger_blocks_come_in_smaller_batches(void **state)
{
	static const uint64_t blocks[] = {63, 31, 15, 7, 1};
	(void)state;
	for (uint32_t order = 0; order <= 4; order++) {
		struct zone_bench bench;
		zone_open(&bench, "binary:percpu=on", GIB);
		take(&bench, order);
		assert_int_equal(bench.zone->cached_pages, (blocks[order] - 1) << order);
		zone_close(&bench);
	}
}

/*
 * __setup_per_zone_wmarks(): 1 GiB: 4 * sqrt(1048576 KiB) = 4096 KiB, 1024 pages; the next marks are a quarter of that
 * or 10/10000 of the zone (262) higher. zone_highsize(): 1286 pages for 2 cpus, 643 each.
 */
static void marks_grow_with_the_root_of_the_memory(void **state)
{
	static const struct {
		uint64_t arena_bytes, mark[ZONE_MARKS], high;
	} cases[] = {
		{4 * MIB, {64, 80, 96}, 40},   /* 256 KiB */
		{512 * KIB, {32, 40, 48}, 20}, /* never below 128 KiB */
		{GIB, {1024, 1286, 1548}, 643},
		{8192 * GIB,
		 {65536, 65536 + 2147483, 65536 + 2 * 2147483},
		 (65536 + 2147483) / 2}, /* never above 256 MiB */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct zone_bench bench;
		zone_open(&bench, "binary:linux=on", cases[i].arena_bytes);
		for (int mark = 0; mark < ZONE_MARKS; mark++)
			assert_int_equal(bench.zone->mark[mark], cases[i].mark[mark]);
		assert_int_equal(bench.zone->high, cases[i].high);
		zone_close(&bench);
	}
}

/* ------------------------------------------------------------------------------------------------- cpu lists */

/* rmqueue_bulk() lists in the order of taking, free_unref_page_commit() puts at the head. */
static void a_cpu_grants_what_it_freed_last(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:percpu=on", 128 * MIB);
	for (uint64_t page = 0; page < 3; page++)
		assert_int_equal(take(&bench, 0), page);
	give(&bench, 1);
	give(&bench, 0);
	assert_int_equal(take(&bench, 0), 0);
	assert_int_equal(take(&bench, 0), 1);
	assert_int_equal(take(&bench, 0), 3);
	assert_int_equal(ask(&bench, 0, 0, 1).address,
			 7 * PAGE); /* the other cpu's batch comes after the first's seven */
	zone_close(&bench);
}

/*
 * nr_pcp_free(): at `high` pages (643 here) a batch goes back: 63, then 126, then 252, then 504, and from then on
 * high - batch = 580, as long as the cpu only frees; an allocation halves the number.
 */
static void a_cpu_that_only_frees_gives_back_more_and_more(void **state)
{
	static const uint64_t left[] = {643 - 63, 643 - 126, 643 - 252, 643 - 504, 643 - 580, 643 - 580};
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:percpu=on", GIB);
	for (uint64_t page = 0; page < 4096; page++)
		assert_int_equal(take(&bench, 0), page);
	uint64_t page = 0;
	for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
		while (bench.zone->cpus[1].pages < 642)
			give_on(&bench, page++, 1);
		give_on(&bench, page++, 1);
		assert_int_equal(bench.zone->cpus[1].pages, left[i]);
	}
	assert_int_equal(bench.zone->cpus[1].free_factor, 4);
	ask(&bench, 0, 0, 1);
	assert_int_equal(bench.zone->cpus[1].free_factor, 2);
	zone_close(&bench);
}

/* free_unref_page_commit(), free_high: a block of order 1 to 3 freed while the cpu only frees sends everything back. */
static void a_larger_block_sends_everything_back(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:percpu=on", GIB);
	uint64_t pair = take(&bench, 1), first = take(&bench, 0);
	for (int i = 1; i < 643; i++)
		take(&bench, 0);
	give_on(&bench, pair, 1);
	assert_int_equal(bench.zone->cpus[1].pages, 2); /* nothing was given back before: free_factor is 0 */
	for (uint64_t i = 0; i < 641; i++)
		give_on(&bench, first + i, 1);
	assert_int_equal(bench.zone->cpus[1].pages, 643 - 63);
	uint64_t another = take(&bench, 1);
	give_on(&bench, another, 1);
	assert_int_equal(bench.zone->cpus[1].pages, 0);
	zone_close(&bench);
}

/*
 * free_pcppages_bulk(): the oldest blocks of the list just freed to, until it is empty, then the next list. With order
 * 1 on list 3 and order 0 on list 0, a page too many sends back from list 0 alone.
 */
static void the_list_just_freed_to_goes_back_first(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:percpu=on", 4 * MIB); /* batch 1, high 40 */
	uint64_t pair = take(&bench, 1);
	uint64_t pages[64];
	for (int i = 0; i < 64; i++)
		pages[i] = take(&bench, 0);
	give_on(&bench, pair, 1);
	for (int i = 0; i < 38; i++)
		give_on(&bench, pages[i], 1);
	assert_int_equal(bench.zone->cpus[1].pages, 39);
	assert_int_equal(bench.zone->pages[pages[0]].state, ZONE_FREE); /* the oldest of its list */
	assert_int_equal(bench.zone->pages[pages[1]].state, ZONE_CACHED);
	assert_int_equal(bench.zone->pages[pair].state, ZONE_CACHED);
	zone_close(&bench);
}

/* A request that can wait has the cpus drained before it is refused (drain_all_pages); an atomic one has not. */
static void a_refusal_drains_the_cpus_first(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:percpu=on", 4 * MIB);
	take_all(&bench, 0, 0);
	for (uint64_t page = 0; page < 16; page++)
		give_on(&bench, page, 1);
	assert_int_equal(bench.zone->cpus[1].pages, 16);
	assert_int_equal(ask(&bench, 4, KML_ATOMIC, 0).status, KML_NO_MEMORY);
	assert_int_equal(bench.zone->cpus[1].pages, 16);
	assert_int_equal(ask(&bench, 4, 0, 0).address, 0);
	assert_int_equal(bench.zone->cpus[1].pages, 0);
	zone_close(&bench);
}

static bool count_cached(void *context, const struct kml_block *block)
{
	if (block->state == KML_BLOCK_CACHED && block->cpu == 1)
		*(uint64_t *)context += block->size_bytes;
	return true;
}

/* Pages on a cpu are in no free area (as in /proc/buddyinfo), are shown with their cpu, and go back by drain. */
static void cached_pages_are_not_free(void **state)
{
	struct zone_bench bench;
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint64_t cached_bytes = 0;
	(void)state;
	zone_open(&bench, "binary:percpu=on", 128 * MIB);
	struct kml_heap *heap = &bench.zone->heap;
	assert_int_equal(ask(&bench, 0, 0, 1).address, 0); /* and pages 1 to 6 are cached; 7 is left of the eight */
	assert_int_equal(heap->allocator->free_areas(heap, areas), 11);
	assert_int_equal(areas[0].count, 1);
	heap->allocator->walk(heap, count_cached, &cached_bytes);
	assert_int_equal(cached_bytes, 6 * PAGE);
	struct kml_release again = {.address = 3 * PAGE, .cache = KML_NO_CACHE};
	assert_int_equal(heap->allocator->free(heap, &again), KML_DOUBLE_FREE);
	heap->allocator->drain(heap, 0);
	assert_int_equal(bench.zone->cached_pages, 6);
	heap->allocator->drain(heap, 1);
	assert_int_equal(bench.zone->cached_pages, 0);
	heap->allocator->free_areas(heap, areas);
	assert_int_equal(areas[1].count, 1); /* 1, 2-3, 4-7 */
	assert_int_equal(areas[2].count, 1);
	zone_close(&bench);
}

/* ---------------------------------------------------------------------------------------------- migrate types */

/*
 * All page blocks are movable at first. An unmovable request takes the largest movable block over, page blocks and all
 * (steal_suitable_fallback()), and further ones stay there; movable ones go elsewhere.
 */
static void types_keep_to_their_page_blocks(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:migrate=on", 64 * MIB);
	assert_int_equal(take(&bench, 0), 0);
	assert_int_equal(take_flags(&bench, 0, KML_MOVABLE), 1024);
	assert_int_equal(take_flags(&bench, 0, KML_RECLAIMABLE), 2048);
	assert_int_equal(take(&bench, 0), 1);
	assert_int_equal(take_flags(&bench, 0, KML_MOVABLE), 1025);
	assert_int_equal(take_flags(&bench, 0, KML_RECLAIMABLE), 2049);
	static const enum zone_type types[] = {ZONE_UNMOVABLE,   ZONE_UNMOVABLE,   ZONE_MOVABLE, ZONE_MOVABLE,
					       ZONE_RECLAIMABLE, ZONE_RECLAIMABLE, ZONE_MOVABLE};
	for (uint64_t block = 0; block < 7; block++)
		assert_int_equal(zone_block_type(bench.zone, block * 512), types[block]);
	zone_close(&bench);
}

/* build_all_zonelists(): fewer page blocks than types, here 3 and 4: pages are not grouped. */
static void too_little_memory_is_not_grouped(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:migrate=on", 6 * MIB);
	assert_int_equal(take(&bench, 0), 1024); /* of the last 2 MiB, the smallest block */
	assert_int_equal(take_flags(&bench, 0, KML_MOVABLE), 1025);
	zone_close(&bench);
}

/* Page blocks of 8 pages, four of them; every page taken as movable. */
static void open_small_blocks(struct zone_bench *bench)
{
	zone_open(bench, "binary:migrate=on,max_order=3,page_block_order=3,policy=linux", 32 * PAGE);
	take_all(bench, 0, KML_MOVABLE);
}

/*
 * steal_suitable_fallback(): 4 of 8 pages of the page block are free, the others movable: half of it is enough to take
 * the page block over. With 3 free pages it stays movable, though its free pages are on the unmovable lists.
 */
static void half_a_free_page_block_is_taken_over(void **state)
{
	(void)state;
	for (uint64_t free_pages = 3; free_pages <= 4; free_pages++) {
		struct zone_bench bench;
		open_small_blocks(&bench);
		for (uint64_t page = 0; page < free_pages; page++)
			give(&bench, 8 + page);
		/* The largest first: of 3 pages 8-9, of 4 pages 8-11. Moved, then the smallest is granted: 10, or 8. */
		assert_int_equal(take(&bench, 0), free_pages == 3 ? 10 : 8);
		assert_int_equal(zone_block_type(bench.zone, 8), free_pages == 3 ? ZONE_MOVABLE : ZONE_UNMOVABLE);
		assert_int_equal(bench.zone->nonempty[ZONE_MOVABLE], 0);
		zone_close(&bench);
	}
}

/* The same with what is not movable counted as compatible: 1 free page and 3 unmovable ones beside 4 movable. */
static void unmovable_pages_count_for_taking_over(void **state)
{
	struct zone_bench bench;
	(void)state;
	open_small_blocks(&bench);
	for (uint64_t page = 8; page < 11; page++) {
		give(&bench, page);
		assert_int_equal(take(&bench, 0), page);
		assert_int_equal(zone_block_type(bench.zone, 8), ZONE_MOVABLE);
	}
	give(&bench, 11);
	assert_int_equal(take(&bench, 0), 11);
	assert_int_equal(zone_block_type(bench.zone, 8), ZONE_UNMOVABLE);
	zone_close(&bench);
}

/* __rmqueue_fallback(): a movable request that may not take a page block over (below half its order) takes the
 * smallest. */
static void a_movable_request_takes_the_smallest(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:migrate=on,max_order=9,page_block_order=9,policy=linux", 2048 * PAGE);
	take_all(&bench, 0, 0);
	for (uint64_t page = 0; page < 8; page++)
		give(&bench, page); /* one of order 3 = 9/2 - 1 */
	give(&bench, 1024);
	assert_int_equal(take_flags(&bench, 0, KML_MOVABLE), 1024);
	assert_int_equal(zone_block_type(bench.zone, 1024), ZONE_UNMOVABLE);
	assert_int_equal(take_flags(&bench, 0, KML_MOVABLE), 0);
	zone_close(&bench);
}

/* fallbacks[]: unmovable tries reclaimable before movable, movable reclaimable before unmovable, reclaimable unmovable.
 */
static void types_fall_back_in_order(void **state)
{
	static const struct {
		uint16_t flags, first;
	} cases[] = {{0, KML_RECLAIMABLE}, {KML_MOVABLE, KML_RECLAIMABLE}, {KML_RECLAIMABLE, 0}};
	static const uint16_t types[] = {0, KML_MOVABLE, KML_RECLAIMABLE};
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct zone_bench bench;
		uint64_t page[3];
		zone_open(&bench, "binary:migrate=on,max_order=3,page_block_order=3,policy=linux", 32 * PAGE);
		for (int t = 0; t < 3; t++)
			page[t] = take_flags(&bench, 3, types[t]);
		take_all(&bench, 3, KML_MOVABLE);
		uint64_t expected = 0;
		for (int t = 0; t < 3; t++) {
			if (types[t] != cases[i].flags)
				give(&bench, page[t]);
			if (types[t] == cases[i].first)
				expected = page[t];
		}
		assert_int_equal(take_flags(&bench, 0, cases[i].flags), expected);
		zone_close(&bench);
	}
}

/* -------------------------------------------------------------------------------------------------- watermarks */

/*
 * __zone_watermark_ok(): 16 MiB, min 4 * sqrt(16384) = 512 KiB = 128 pages. The last request that can wait leaves 128;
 * an atomic one may go to 128 - 128/2 - 64/4 = 48.
 */
static void atomic_requests_dip_into_the_reserve(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open(&bench, "binary:watermarks=on", 16 * MIB);
	assert_true(bench.zone->heap.allocator->traits & KML_TRAIT_MAY_WASTE_RUNS);
	take_all(&bench, 0, 0);
	assert_int_equal(bench.zone->free_pages, 128);
	assert_int_equal(ask(&bench, 0, 0, 0).status, KML_NO_MEMORY);
	take_all(&bench, 0, KML_ATOMIC);
	assert_int_equal(bench.zone->free_pages, 48);
	assert_int_equal(ask(&bench, 0, KML_ATOMIC, 0).status, KML_NO_MEMORY);
	/* Not even the empty zone could spare 4096 pages, were there a block of them. */
	zone_close(&bench);
}

/*
 * reserve_highatomic_pageblock(): an atomic request of order > 0 below the low mark reserves its page block. Others get
 * no page of it until they would be refused (unreserve_highatomic_pageblock()).
 */
static void a_large_atomic_request_reserves_its_page_block(void **state)
{
	struct zone_bench bench;
	(void)state;
	/* 64 MiB: min 256, low 320 pages. */
	zone_open(&bench, "binary:watermarks=on,migrate=on", 64 * MIB);
	while (bench.zone->free_pages > 512 + 320)
		take(&bench, 0);
	take(&bench, 9); /* leaves 320: the low mark is not met any more */
	uint64_t page = take_flags(&bench, 1, KML_ATOMIC);
	assert_int_equal(zone_block_type(bench.zone, page), ZONE_HIGHATOMIC);
	assert_int_equal(bench.zone->highatomic_pages, 512);
	assert_true(bench.zone->nonempty[ZONE_HIGHATOMIC] != 0);
	must_be_valid(&bench);
	take_all(&bench, 0, 0);
	assert_int_equal(bench.zone->highatomic_pages, 0);
	assert_int_equal(bench.zone->free_pages, 256);
	zone_close(&bench);
}

/* ------------------------------------------------------------------------------------------- memory as at boot */

static bool count_absent(void *context, const struct kml_block *block)
{
	uint64_t *counts = context; /* absent bytes, and where the blocks end */
	assert_int_equal(block->address, counts[1]);
	counts[1] += block->size_bytes;
	if (block->state == KML_BLOCK_ABSENT)
		counts[0] += block->size_bytes;
	return true;
}

static enum kml_status add(const struct zone_bench *bench, uint64_t page, uint64_t pages, uint16_t cpu)
{
	struct kml_heap *heap = &bench->zone->heap;
	return heap->allocator->page_add(heap, page * PAGE, pages * PAGE, cpu);
}

/*
 * memblock_free_pages(): blocks go to the tails of their lists, so that the lowest is granted first; what touches
 * merges. Page 0 is in no zone: the first page block stays unmovable (memmap_init), and the first request is served
 * there.
 */
static void memory_comes_as_at_boot(void **state)
{
	struct zone_bench bench;
	struct kml_release foreign = {.address = 50 * PAGE, .cache = KML_NO_CACHE};
	(void)state;
	zone_open_with(&bench, "binary:linux=on", 64 * MIB, true);
	assert_int_equal(ask(&bench, 0, 0, 0).status, KML_NO_MEMORY);
	zone_close(&bench);

	zone_open_with(&bench, "binary:linux=on", 64 * MIB, true);
	assert_int_equal(add(&bench, 1024, 1024, 0), KML_OK);
	assert_int_equal(add(&bench, 2048, 1024, 0), KML_OK);
	assert_int_equal(add(&bench, 16, 16, 0), KML_OK);
	assert_int_equal(add(&bench, 32, 32, 0), KML_OK);
	assert_int_equal(bench.zone->merges, 0);         /* 16-31 and 32-63 are not of one size */
	assert_int_equal(add(&bench, 64, 3, 0), KML_OK); /* 64-65, 66 */
	assert_int_equal(bench.zone->free_pages, 2048 + 16 + 32 + 3);
	assert_int_equal(add(&bench, 66, 1, 0), KML_IMPOSSIBLE);
	assert_int_equal(add(&bench, 15, 2, 0), KML_IMPOSSIBLE);
	assert_int_equal(add(&bench, 1030, 1, 0), KML_IMPOSSIBLE);
	assert_int_equal(add(&bench, 16384, 1, 0), KML_IMPOSSIBLE);
	assert_int_equal(bench.zone->heap.allocator->free(&bench.zone->heap, &foreign), KML_DOUBLE_FREE);
	uint64_t counts[2] = {0, 0};
	bench.zone->heap.allocator->walk(&bench.zone->heap, count_absent, counts);
	assert_int_equal(counts[0], (16384 - 2048 - 16 - 32 - 3) * PAGE);
	assert_int_equal(counts[1], 64 * MIB);
	foreign.address = 100 * PAGE;
	assert_int_equal(bench.zone->heap.allocator->free(&bench.zone->heap, &foreign), KML_FOREIGN);
	assert_int_equal(take(&bench, 0), 66);
	assert_int_equal(take(&bench, 0), 64);
	assert_int_equal(take_flags(&bench, 3, KML_MOVABLE), 1024);
	zone_close(&bench);
}

/*
 * Until the cpu lists open, a freed page goes straight back (boot_pageset: high 0, batch 1). They open when memory
 * comes that the kernel had kept; that memory goes to the lists of the cpu that gives it (free_reserved_page()).
 */
static void cpu_lists_open_late_in_boot(void **state)
{
	struct zone_bench bench;
	(void)state;
	zone_open_with(&bench, "binary:linux=on", GIB, true);
	for (uint64_t page = 1024; page < 262144 - 1024; page += 1024)
		assert_int_equal(add(&bench, page, 1024, 0), KML_OK);
	give(&bench, take(&bench, 0));
	assert_int_equal(bench.zone->cached_pages, 0);
	assert_int_equal(bench.zone->high, 0);
	assert_int_equal(add(&bench, 512, 4, 1), KML_OK);
	assert_int_equal(bench.zone->batch, 63);
	assert_int_equal(bench.zone->cpus[1].pages, 4);
	zone_close(&bench);
}

/* ---------------------------------------------------------------------------------------------------- all rules */

/* With no rule but Knowlton's, given memory block by block, it is the same system as the engine's. */
static void without_rules_it_is_the_plain_system(void **state)
{
	struct zone_bench bench;
	struct bench plain;
	uint64_t random = 5, live[256];
	uint32_t count = 0;
	(void)state;
	bench_open(&plain, "binary:unit=4k,max_order=10", 32 * MIB);
	zone_open_with(&bench, "binary", 32 * MIB, true);
	assert_int_equal(add(&bench, 0, 8192, 0), KML_OK);
	for (int i = 0; i < 20000; i++) {
		uint64_t number = random_next(&random);
		if (count == 256 || (count > 0 && number % 5 < 2)) {
			uint64_t victim = number / 7 % count;
			give(&bench, live[victim] / PAGE);
			assert_int_equal(bench_free(&plain, live[victim]), KML_OK);
			live[victim] = live[--count];
			continue;
		}
		uint32_t order = (uint32_t)(number / 11 % 9);
		struct kml_grant ours = ask(&bench, order, 0, 0), theirs = bench_alloc(&plain, PAGE << order, 0);
		assert_int_equal(ours.status, theirs.status);
		assert_int_equal(ours.address, theirs.address);
		if (ours.status == KML_OK)
			live[count++] = ours.address;
	}
	assert_int_equal(bench.zone->splits, bench_stats(&plain).splits);
	assert_int_equal(bench.zone->merges, bench_stats(&plain).merges);
	zone_close(&bench);
	bench_close(&plain);
}

/* Random use in tight memory, everything on: always valid, and whole again after all is freed and shrunk. */
static void random_use_stays_valid_and_ends_whole(void **state)
{
	static const char *const specs[] = {
		"binary:linux=on",
		"binary:linux=on,page_block_order=10",
		"binary:linux=on,page_block_order=3,max_order=6",
		"binary:linux=on,page_block_order=1,max_order=1",
		"binary:linux=on,watermarks=off",
		"binary:linux=on,percpu=off",
		"binary:migrate=on,watermarks=on,page_block_order=4,max_order=12",
		"binary:percpu=on,migrate=on",
	};
	enum { LIVE = 3000 };
	static uint64_t live[LIVE];
	(void)state;
	for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
		struct zone_bench bench;
		struct kml_free_area before[KML_FREE_AREAS_MAX], after[KML_FREE_AREAS_MAX];
		uint64_t random = 77 + i;
		uint32_t count = 0;
		zone_open(&bench, specs[i], 16 * MIB + 7 * PAGE);
		struct kml_heap *heap = &bench.zone->heap;
		uint32_t areas = heap->allocator->free_areas(heap, before);
		for (int step = 0; step < 60000; step++) {
			uint64_t number = random_next(&random);
			bool fills = step / 6000 % 2 == 0;
			if (count == LIVE || (count > 0 && number % 10 < (fills ? 3 : 7))) {
				uint64_t victim = number / 16 % count;
				give_on(&bench, live[victim], (uint16_t)(number >> 40 & 1));
				live[victim] = live[--count];
			} else {
				static const uint16_t flags[] = {0, KML_MOVABLE, KML_RECLAIMABLE, KML_ATOMIC};
				uint32_t order = (uint32_t)__builtin_ctzll(number >> 8 | 1 << 5);
				struct kml_grant grant =
					ask(&bench, order, flags[number >> 32 & 3], (uint16_t)(number >> 40 & 1));
				if (grant.status == KML_OK)
					live[count++] = grant.address / PAGE;
			}
			if (step % 500 == 0)
				must_be_valid(&bench);
		}
		for (uint32_t k = 0; k < count; k++)
			give_on(&bench, live[k], (uint16_t)(k & 1));
		heap->allocator->shrink(heap);
		assert_int_equal(heap->allocator->free_areas(heap, after), areas);
		assert_memory_equal(before, after, areas * sizeof before[0]);
		assert_int_equal(bench.zone->highatomic_pages, 0);
		zone_close(&bench);
	}
}

/* Damage done on purpose is found, and named. */
static void planted_damage_is_found(void **state)
{
	struct zone_bench bench;
	struct kml_error error;
	(void)state;
	zone_open(&bench, "binary:linux=on,page_block_order=3,max_order=4", 512 * PAGE);
	struct zone *zone = bench.zone;
	struct kml_heap *heap = &zone->heap;
	take(&bench, 0);
	uint64_t a = take(&bench, 4), b = take(&bench, 4);
	give(&bench, a);
	give(&bench, b);
	must_be_valid(&bench);

#define MUST_FIND(damage, repair, words)                                                                               \
	do {                                                                                                           \
		damage;                                                                                                \
		assert_false(heap->allocator->validate(heap, &error));                                                 \
		assert_non_null(strstr(error.text, words));                                                            \
		repair;                                                                                                \
		must_be_valid(&bench);                                                                                 \
	} while (0)
	uint64_t order_4 = zone_free_list(zone, 4, ZONE_UNMOVABLE);
	uint64_t listed = zone->pages[order_4].next, behind = zone->pages[listed].next;
	assert_true(listed != order_4);
	MUST_FIND(zone->free_pages++, zone->free_pages--, "free pages");
	MUST_FIND(zone->granted_pages--, zone->granted_pages++, "granted pages");
	MUST_FIND(zone->block_count++, zone->block_count--, "blocks");
	MUST_FIND(zone->cpus[0].pages++, zone->cpus[0].pages--, "cpu 0");
	MUST_FIND(zone->free_count[4][ZONE_UNMOVABLE]++, zone->free_count[4][ZONE_UNMOVABLE]--, "counted");
	MUST_FIND(zone->nonempty[ZONE_RECLAIMABLE] |= 1, zone->nonempty[ZONE_RECLAIMABLE] &= ~1ull,
		  "free blocks of order 0");
	MUST_FIND(zone->pages[listed].type = ZONE_MOVABLE, zone->pages[listed].type = ZONE_UNMOVABLE,
		  "does not belong");
	MUST_FIND(zone->pages[listed].next = (uint32_t)listed, zone->pages[listed].next = (uint32_t)behind,
		  "does not belong");
	MUST_FIND(zone->pages[listed].state = ZONE_GRANTED, zone->pages[listed].state = ZONE_FREE, "");
	zone_close(&bench);
}

/* Names and limits: what contradicts Linux mode is refused with the mend. */
static void contradictions_are_refused(void **state)
{
	static const struct {
		const char *spec, *words;
	} cases[] = {{"binary:linux=on,policy=fifo", "policy=lifo or policy=linux"},
		     {"binary:percpu=on,policy=lowest", "policy=lifo or policy=linux"},
		     {"binary:linux=on,unit=5000", "a power of two"},
		     {"binary:linux=on,max_order=32", "below 32"},
		     {"binary:linux=on,unit=4M", "smaller than a page"}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kml_error error = {""};
		struct kml_arena *arena = kml_arena_create(MIB, PAGE, false, &error);
		struct kml_spec *spec = kml_spec_parse(cases[i].spec, &error);
		struct kml_environment environment = {.arena = arena, .page_bytes = PAGE, .cpu_count = 1};
		struct kml_stack stack;
		assert_non_null(spec);
		assert_false(kml_stack_create(&stack, spec, &environment, &error));
		if (!strstr(error.text, cases[i].words))
			fail_msg("%s: %s", cases[i].spec, error.text);
		kml_spec_free(spec);
		kml_arena_destroy(arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_split_keeps_the_low_half),
		cmocka_unit_test(what_will_soon_merge_is_granted_last),
		cmocka_unit_test(the_two_largest_orders_are_not_asked),
		cmocka_unit_test(a_batch_is_as_large_as_the_zone_says),
		cmocka_unit_test(larger_blocks_come_in_smaller_batches),
		cmocka_unit_test(marks_grow_with_the_root_of_the_memory),
		cmocka_unit_test(a_cpu_grants_what_it_freed_last),
		cmocka_unit_test(a_cpu_that_only_frees_gives_back_more_and_more),
		cmocka_unit_test(a_larger_block_sends_everything_back),
		cmocka_unit_test(the_list_just_freed_to_goes_back_first),
		cmocka_unit_test(a_refusal_drains_the_cpus_first),
		cmocka_unit_test(cached_pages_are_not_free),
		cmocka_unit_test(types_keep_to_their_page_blocks),
		cmocka_unit_test(too_little_memory_is_not_grouped),
		cmocka_unit_test(half_a_free_page_block_is_taken_over),
		cmocka_unit_test(unmovable_pages_count_for_taking_over),
		cmocka_unit_test(a_movable_request_takes_the_smallest),
		cmocka_unit_test(types_fall_back_in_order),
		cmocka_unit_test(atomic_requests_dip_into_the_reserve),
		cmocka_unit_test(a_large_atomic_request_reserves_its_page_block),
		cmocka_unit_test(memory_comes_as_at_boot),
		cmocka_unit_test(cpu_lists_open_late_in_boot),
		cmocka_unit_test(without_rules_it_is_the_plain_system),
		cmocka_unit_test(random_use_stays_valid_and_ends_whole),
		cmocka_unit_test(planted_damage_is_found),
		cmocka_unit_test(contradictions_are_refused),
	};
	return cmocka_run_group_tests_name("Linux mode of binary", tests, NULL, NULL);
}
