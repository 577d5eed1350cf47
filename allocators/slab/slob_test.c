/*
 * slob_test.c - SLOB by its own rules (Linux 6.1, mm/slob.c): worked by hand, then against a plain model.
 *
 * The model knows no free list: a page is a map of units, a list of pages is an array. Every placement is compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "allocators/registry.h"
#include "allocators/slab/slob.c" /* NOLINT(bugprone-suspicious-include): damage is planted inside it */
#include "kmemlab/support/random.h"

enum { PAGE = 4096, UNITS = PAGE / 2, HEADER = 8, CACHES = 16 };

struct bench {
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap;
	const struct kml_allocator *allocator;
	uint32_t caches;
};

static void bench_open(struct bench *bench, uint32_t page_bytes, bool rcu_told)
{
	struct kml_error error = {{0}};
	*bench = (struct bench){.spec = kml_spec_parse("slob/binary", &error)};
	bench->arena = kml_arena_create(8u << 20, page_bytes, true, &error);
	assert_non_null(bench->spec);
	assert_non_null(bench->arena);
	const struct kml_environment environment = {.arena = bench->arena,
						    .page_bytes = page_bytes,
						    .cpu_count = 2,
						    .cache_count = CACHES,
						    .seed = 1,
						    .rcu_told = rcu_told};
	if (!kml_stack_create(&bench->stack, bench->spec, &environment, &error))
		fail_msg("%s", error.text);
	bench->heap = kml_stack_top(&bench->stack);
	bench->allocator = bench->heap->allocator;
}

static void check(const struct bench *bench)
{
	struct kml_error error = {{0}};
	if (!bench->allocator->validate(bench->heap, &error))
		fail_msg("%s", error.text);
}

static void bench_close(struct bench *bench)
{
	check(bench);
	kml_stack_destroy(&bench->stack);
	kml_spec_free(bench->spec);
	kml_arena_destroy(bench->arena);
}

static uint32_t open_cache(struct bench *bench, uint64_t object_bytes, uint64_t align_bytes, bool typesafe_by_rcu)
{
	static const char *const names[CACHES] = {"c0", "c1", "c2",  "c3",  "c4",  "c5",  "c6",  "c7",
						  "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15"};
	const struct kml_cache cache = {.name = names[bench->caches],
					.object_bytes = object_bytes,
					.align_bytes = align_bytes,
					.typesafe_by_rcu = typesafe_by_rcu};
	assert_int_equal(bench->allocator->cache_open(bench->heap, bench->caches, &cache), KML_OK);
	return bench->caches++;
}

static struct kml_grant ask(const struct bench *bench, uint32_t cache, uint64_t size_bytes)
{
	const struct kml_request request = {.size_bytes = size_bytes,
					    .recorded = KML_NO_ADDRESS,
					    .cache = cache,
					    .flags = cache == KML_NO_CACHE ? KML_KMALLOC : 0};
	return bench->allocator->alloc(bench->heap, &request);
}

/* The address is where the rules put it. */
static uint64_t take(const struct bench *bench, uint32_t cache, uint64_t size_bytes)
{
	struct kml_grant grant = ask(bench, cache, size_bytes);
	assert_int_equal(grant.status, KML_OK);
	assert_true(grant.granted_bytes >= size_bytes);
	return grant.address;
}

static uint64_t take_kmalloc(const struct bench *bench, uint64_t size_bytes)
{
	return take(bench, KML_NO_CACHE, size_bytes);
}

static enum kml_status give(const struct bench *bench, uint64_t address, uint32_t cache, uint16_t flags)
{
	const struct kml_release release = {.address = address, .cache = cache, .flags = flags};
	return bench->allocator->free(bench->heap, &release);
}

static void drop(const struct bench *bench, uint64_t address)
{
	assert_int_equal(give(bench, address, KML_NO_CACHE, 0), KML_OK);
}

static struct kml_stats stats_of(const struct bench *bench)
{
	struct kml_stats stats;
	bench->allocator->stats(bench->heap, &stats);
	return stats;
}

static uint64_t pages_of(const struct bench *bench)
{
	struct kml_cache_stats stats = {0}, last = {0};
	for (uint32_t i = 0; bench->allocator->cache_stats(bench->heap, i, &stats); i++)
		last = stats;
	assert_string_equal(last.name, "slob");
	assert_int_equal(last.slab_bytes, last.slabs * bench->arena->page_bytes);
	return last.slabs;
}

static int16_t index_at(const struct bench *bench, uint64_t address)
{
	int16_t index;
	memcpy(&index, bench->arena->base + address, sizeof index);
	return index;
}

/* ------------------------------------------------------------------------------------------- worked by hand */

/* The first allocations of a Linux 6.1 boot, with the offsets that the kernel itself gave them. */
static void the_first_allocations_of_a_boot_lie_where_the_kernel_put_them(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t kmem_cache = open_cache(&bench, 64, 8, false), mm_struct = open_cache(&bench, 912, 64, false);
	uint64_t small = take(&bench, kmem_cache, 64);
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x40);
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x80);
	uint64_t medium = take(&bench, mm_struct, 912);
	assert_int_not_equal(medium, small);
	assert_int_equal(medium % PAGE, 0);
	assert_int_equal(take_kmalloc(&bench, 192), small + 0xc8);
	assert_int_equal(take_kmalloc(&bench, 64), small + 0x1c0);   /* naturally aligned, its header before it */
	assert_int_equal(take_kmalloc(&bench, 512), medium + 0x400); /* the head of the free block is left over */
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x200);
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x240);
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x280);
	assert_int_equal(take(&bench, kmem_cache, 64), small + 0x2c0);
	assert_int_equal(take_kmalloc(&bench, 192), small + 0x308);
	assert_int_equal(take_kmalloc(&bench, 64), small + 0x400);
	assert_int_equal(take_kmalloc(&bench, 512), medium + 0x800);
	assert_int_equal(take_kmalloc(&bench, 24), small + 0x190); /* first fit: 0x188 to 0x1b8 was left over */
	bench_close(&bench);
}

static void the_free_list_lies_in_the_page_as_the_kernel_encodes_it(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c100 = open_cache(&bench, 104, 8, false), c8 = open_cache(&bench, 8, 8, false);
	uint64_t page = take(&bench, c100, 104);
	uint64_t second = take(&bench, c8, 8), third = take(&bench, c100, 104), fourth = take(&bench, c8, 8);
	assert_int_equal(second, page + 104);
	/* What is left after 224 bytes: its units, and the end of the page as its successor. */
	assert_int_equal(index_at(&bench, page + 224), UNITS - 112);
	assert_int_equal(index_at(&bench, page + 226), UNITS);
	drop(&bench, second);
	assert_int_equal(index_at(&bench, second), 4);
	assert_int_equal(index_at(&bench, second + 2), 112);
	drop(&bench, page); /* merges with what follows */
	assert_int_equal(index_at(&bench, page), 56);
	assert_int_equal(index_at(&bench, page + 2), 112);
	drop(&bench, third); /* both sides are free after this one goes: all but the fourth */
	assert_int_equal(index_at(&bench, page), 108);
	assert_int_equal(index_at(&bench, page + 2), 112);
	check(&bench);
	drop(&bench, fourth);
	assert_int_equal(pages_of(&bench), 0);
	bench_close(&bench);
}

/* A cache of 62 bytes leaves a hole of one unit before the next multiple of 8. */
static void a_free_block_of_one_unit_holds_the_negative_offset_alone(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c62 = open_cache(&bench, 62, 8, false);
	uint64_t first = take(&bench, c62, 62), second = take(&bench, c62, 62);
	assert_int_equal(second, first + 64);
	assert_int_equal(index_at(&bench, first + 62), -63); /* 126 bytes, 63 units: the free block after the second */
	check(&bench);
	drop(&bench, first);
	assert_int_equal(index_at(&bench, first), 32);
	bench_close(&bench);
}

/* By the bytes that slob_alloc is asked for, header and footer with them: below 256, below 1024, the rest. */
static void three_lists_by_the_size_of_the_request(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint64_t small = take_kmalloc(&bench, 247), medium = take_kmalloc(&bench, 248);
	assert_int_not_equal(small / PAGE, medium / PAGE);
	uint64_t large = take_kmalloc(&bench, 1016);
	assert_int_equal(take_kmalloc(&bench, 1015) / PAGE, medium / PAGE);
	assert_int_not_equal(large / PAGE, small / PAGE);
	assert_int_not_equal(large / PAGE, medium / PAGE);
	uint32_t c255 = open_cache(&bench, 255, 8, false), c1023 = open_cache(&bench, 1023, 8, false);
	uint32_t typesafe = open_cache(&bench, 232, 8, true); /* 256 with its footer of 24 */
	assert_int_equal(take(&bench, c255, 255) / PAGE, small / PAGE);
	assert_int_equal(take(&bench, c1023, 1023) / PAGE, medium / PAGE);
	assert_int_equal(take(&bench, typesafe, 232) / PAGE, medium / PAGE);
	assert_int_equal(pages_of(&bench), 3);
	bench_close(&bench);
}

/*
 * Pages of four objects of 1024 bytes. A page that was full and gets room is the first of its list; the search that
 * ends at a page turns the list so that the next begins there.
 */
static void the_search_begins_where_the_last_one_ended(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c1024 = open_cache(&bench, 1024, 8, false), c2048 = open_cache(&bench, 2048, 8, false);
	uint64_t object[16];
	for (int i = 0; i < 16; i++)
		object[i] = take(&bench, c1024, 1024);
	assert_int_equal(pages_of(&bench), 4);
	drop(&bench, object[0]); /* page 0: one hole */
	drop(&bench, object[4]); /* page 1: two, one block */
	drop(&bench, object[5]);
	drop(&bench, object[8]);  /* page 2: one */
	drop(&bench, object[12]); /* page 3: two, one block; the list is 3 2 1 0 */
	drop(&bench, object[13]);
	assert_int_equal(take(&bench, c1024, 1024), object[12]); /* the first page: no turn */
	assert_int_equal(take(&bench, c2048, 2048), object[4]);  /* fills page 1, which leaves the list: 3 2 0 */
	drop(&bench, object[9]);                                 /* page 2: now two */
	assert_int_equal(take(&bench, c2048, 2048), object[8]);  /* page 2 leaves too: 3 0 */
	drop(&bench, object[1]);                                 /* page 0: two */
	drop(&bench, object[2]);                                 /* page 0: three; 3 0 */
	assert_int_equal(take(&bench, c2048, 2048), object[0]);  /* page 0 keeps one hole and comes first: 0 3 */
	assert_int_equal(take(&bench, c1024, 1024), object[2]);  /* begins at page 0, not at page 3 */
	assert_int_equal(take(&bench, c1024, 1024), object[13]);
	bench_close(&bench);
}

static void a_wholly_free_page_goes_back_at_once(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c64 = open_cache(&bench, 64, 8, false);
	uint64_t object[65];
	for (int i = 0; i < 65; i++)
		object[i] = take(&bench, c64, 64);
	assert_int_equal(stats_of(&bench).held_bytes, 2 * PAGE);
	drop(&bench, object[64]);
	assert_int_equal(stats_of(&bench).held_bytes, PAGE);
	for (int i = 0; i < 64; i++)
		drop(&bench, object[i]);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

/* __do_kmalloc_node: below a page less the header in a SLOB page, else pages of get_order. */
static void kmalloc_has_a_header_below_a_page_and_none_above(void **state)
{
	struct bench bench;
	uint32_t header;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint64_t most = take_kmalloc(&bench, PAGE - HEADER - 1);
	assert_int_equal(most % PAGE, HEADER);
	memcpy(&header, bench.arena->base + most - HEADER, sizeof header);
	assert_int_equal(header, PAGE - HEADER - 1);
	assert_int_equal(bench.allocator->usable(bench.heap, most), PAGE - HEADER);
	assert_int_equal(pages_of(&bench), 1);
	uint64_t page = take_kmalloc(&bench, PAGE - HEADER), two = take_kmalloc(&bench, PAGE + 1);
	assert_int_equal(page % PAGE, 0);
	assert_int_equal(bench.allocator->usable(bench.heap, page), PAGE);
	assert_int_equal(bench.allocator->usable(bench.heap, two), 2 * PAGE);
	assert_int_equal(pages_of(&bench), 1);
	assert_int_equal(give(&bench, page, KML_NO_CACHE, KML_KMALLOC), KML_OK);
	drop(&bench, two);
	drop(&bench, most);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

static void a_cache_of_objects_of_a_page_or_more_takes_pages(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t below = open_cache(&bench, PAGE - 1, 64, false), page = open_cache(&bench, PAGE, 64, false);
	uint32_t footed = open_cache(&bench, 2 * PAGE - 8, 8, true); /* beyond two pages with its footer */
	uint64_t first = take(&bench, below, PAGE - 1), second = take(&bench, page, PAGE);
	assert_int_equal(pages_of(&bench), 1);
	assert_int_equal(stats_of(&bench).held_bytes, 2 * PAGE);
	uint64_t third = take(&bench, footed, 2 * PAGE - 8);
	assert_int_equal(stats_of(&bench).held_bytes, 6 * PAGE);
	assert_int_equal(give(&bench, second, below, 0), KML_WRONG_CACHE);
	assert_int_equal(give(&bench, second + 64, page, 0), KML_INTERIOR);
	drop(&bench, first);
	drop(&bench, second);
	assert_int_not_equal(give(&bench, second, page, 0), KML_OK);
	drop(&bench, third);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

/* What a trace calls kmalloc-64 is not a cache to SLOB. */
static void kmalloc_goes_by_size_whatever_cache_is_named(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t kmalloc_64 = open_cache(&bench, 64, 64, false);
	const struct kml_request request = {
		.size_bytes = 40, .recorded = KML_NO_ADDRESS, .cache = kmalloc_64, .flags = KML_KMALLOC};
	struct kml_grant grant = bench.allocator->alloc(bench.heap, &request);
	assert_int_equal(grant.granted_bytes, 40);
	assert_int_equal(grant.address % PAGE, HEADER);
	assert_int_equal(give(&bench, grant.address, kmalloc_64, 0), KML_WRONG_CACHE);
	assert_int_equal(give(&bench, grant.address, kmalloc_64, KML_KMALLOC), KML_OK);
	bench_close(&bench);
}

static void zeroed_means_zero(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c96 = open_cache(&bench, 96, 8, false);
	for (int i = 0; i < 2; i++) {
		uint64_t keep = take_kmalloc(&bench, 16); /* so that the page stays */
		const struct kml_request request = {.size_bytes = 96,
						    .recorded = KML_NO_ADDRESS,
						    .cache = i ? c96 : KML_NO_CACHE,
						    .flags = (uint16_t)(KML_ZEROED | (i ? 0 : KML_KMALLOC))};
		uint64_t first = bench.allocator->alloc(bench.heap, &request).address;
		memset(bench.arena->base + first, 0xa5, 96);
		drop(&bench, first);
		uint64_t again = bench.allocator->alloc(bench.heap, &request).address;
		assert_int_equal(again, first);
		for (int at = 0; at < 96; at++)
			assert_int_equal(bench.arena->base[again + (uint64_t)at], 0);
		drop(&bench, again);
		drop(&bench, keep);
	}
	bench_close(&bench);
}

/* ----------------------------------------------------------------------------------------------------- RCU */

/* anon_vma of the kernel: 96 bytes, 120 with struct slob_rcu. */
static void a_typesafe_object_stays_until_rcu_gives_it_back(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, true);
	uint32_t anon_vma = open_cache(&bench, 96, 8, true);
	uint64_t first = take(&bench, anon_vma, 96), second = take(&bench, anon_vma, 96);
	assert_int_equal(second, first + 120);
	assert_int_equal(give(&bench, first, anon_vma, 0), KML_OK);
	assert_int_equal(give(&bench, first, anon_vma, 0), KML_DOUBLE_FREE);
	assert_int_equal(stats_of(&bench).waste_bytes[KML_WASTE_CPU_CACHED], 120);
	assert_int_equal(take(&bench, anon_vma, 96), second + 120);
	check(&bench);
	struct kml_notice told = {.kind = KML_NOTICE_RCU_FREE, .cache = anon_vma, .address = first + 2};
	bench.allocator->notice(bench.heap, &told); /* no object there: nothing happens */
	assert_int_equal(stats_of(&bench).waste_bytes[KML_WASTE_CPU_CACHED], 120);
	told.address = first;
	bench.allocator->notice(bench.heap, &told);
	bench.allocator->notice(bench.heap, &told);
	assert_int_equal(stats_of(&bench).waste_bytes[KML_WASTE_CPU_CACHED], 0);
	assert_int_equal(take(&bench, anon_vma, 96), first);
	told.address = second; /* live: nobody freed it */
	bench.allocator->notice(bench.heap, &told);
	drop(&bench, second);
	bench_close(&bench);
}

/* kmem_cache_destroy waits for RCU; so does a demand to give back all. */
static void closing_and_shrinking_wait_for_rcu(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, true);
	uint32_t first = open_cache(&bench, 96, 8, true), second = open_cache(&bench, 300, 8, true);
	uint64_t a = take(&bench, first, 96), b = take(&bench, second, 300), c = take(&bench, first, 96);
	drop(&bench, a);
	drop(&bench, b);
	assert_int_equal(bench.allocator->cache_close(bench.heap, first), KML_CACHE_BUSY);
	drop(&bench, c);
	assert_int_equal(pages_of(&bench), 2);
	assert_int_equal(bench.allocator->cache_close(bench.heap, first), KML_OK);
	assert_int_equal(pages_of(&bench), 1);
	bench.allocator->shrink(bench.heap);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

static void without_word_of_rcu_objects_go_at_once(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t cache = open_cache(&bench, 96, 8, true);
	drop(&bench, take(&bench, cache, 96));
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

/* -------------------------------------------------------------------------------------------------- misuse */

static void misuse_is_named_and_changes_nothing(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c64 = open_cache(&bench, 64, 8, false), other = open_cache(&bench, 64, 8, false);
	uint64_t first = take(&bench, c64, 64), second = take(&bench, c64, 64), kmalloc = take_kmalloc(&bench, 100);
	assert_int_equal(give(&bench, first, other, 0), KML_WRONG_CACHE);
	assert_int_equal(give(&bench, kmalloc, c64, 0), KML_WRONG_CACHE);
	assert_int_equal(give(&bench, first + 8, c64, 0), KML_INTERIOR);
	assert_int_equal(give(&bench, kmalloc + 99, KML_NO_CACHE, KML_KMALLOC), KML_INTERIOR);
	assert_int_equal(give(&bench, kmalloc - HEADER, KML_NO_CACHE, KML_KMALLOC), KML_FOREIGN);
	assert_int_equal(give(&bench, UINT64_MAX - 1, KML_NO_CACHE, 0), KML_FOREIGN);
	drop(&bench, first);
	assert_int_equal(give(&bench, first, c64, 0), KML_DOUBLE_FREE);
	assert_int_equal(give(&bench, first + 20, c64, 0), KML_DOUBLE_FREE);
	assert_int_equal(give(&bench, second + 1000, c64, 0), KML_DOUBLE_FREE); /* never given out, and free */
	check(&bench);
	drop(&bench, second);
	drop(&bench, kmalloc);
	assert_int_not_equal(give(&bench, kmalloc, KML_NO_CACHE, KML_KMALLOC), KML_OK);
	bench_close(&bench);
}

/* The damage that a write outside an object does to SLOB itself is found by validate. */
static void overwritten_headers_and_links_are_found(void **state)
{
	struct bench bench;
	struct kml_error error;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint64_t first = take_kmalloc(&bench, 24), second = take_kmalloc(&bench, 24);
	uint8_t *memory = bench.arena->base;
	const struct {
		uint64_t address;
		const char *said;
	} damage[] = {
		{second - HEADER, "kmalloc header"},
		{second + 24, "free block"},      /* its units */
		{second + 26, "free list leads"}, /* its successor */
	};
	for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
		int16_t kept = index_at(&bench, damage[i].address), wrong = 31000;
		memcpy(memory + damage[i].address, &wrong, sizeof wrong);
		assert_false(bench.allocator->validate(bench.heap, &error));
		if (!strstr(error.text, damage[i].said))
			fail_msg("damage %zu: %s", i, error.text);
		memcpy(memory + damage[i].address, &kept, sizeof kept);
		check(&bench);
	}
	drop(&bench, first);
	bench_close(&bench);
}

/* The record of a block tells what its cache does. */
static void a_damaged_record_is_found(void **state)
{
	struct bench bench;
	struct kml_error error;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t cache = open_cache(&bench, 64, 64, false);
	uint64_t first = take(&bench, cache, 64), second = take(&bench, cache, 64);
	struct object_heap *heap = object_heap_of(bench.heap);
	struct slob_run *run = kml_arena_page(bench.arena, second)->owner;
	struct slob_block *block = &run->blocks[1], kept = *block;
	const struct {
		uint32_t size_bytes, cache;
		uint64_t align_bytes;
		const char *said;
	} damage[] = {
		{62, cache, 64, "has 62 bytes, objects of cache"},
		{64, cache + 1, 64, "which is closed"},
		{64, cache, 128, "not aligned to 128"},
	};
	check(&bench);
	for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
		block->size_bytes = damage[i].size_bytes & SLOB_SIZE_MASK;
		block->cache = damage[i].cache & SLOB_KMALLOC;
		slob_cache_of(heap->caches[cache])->align_bytes = damage[i].align_bytes;
		assert_false(check_run(slob_of(heap), run, &error));
		if (!strstr(error.text, damage[i].said))
			fail_msg("damage %zu: %s", i, error.text);
	}
	slob_cache_of(heap->caches[cache])->align_bytes = 64;
	*block = kept;
	check(&bench);
	drop(&bench, first);
	drop(&bench, second);
	bench_close(&bench);
}

/* ---------------------------------------------------------------------------------- against a plain model */

enum { MODEL_PAGES = 400, MODEL_LIVE = 4000, MODEL_STEPS = 60000 };

struct model_page {
	uint64_t address;
	uint32_t free_units;
	bool exists, taken[UNITS];
};

static struct model_page model[MODEL_PAGES];
static int model_list[3][MODEL_PAGES], model_count[3];

static void list_delete(int list, int at)
{
	memmove(&model_list[list][at], &model_list[list][at + 1], (size_t)(model_count[list] - at - 1) * sizeof(int));
	model_count[list]--;
}

static void list_push_front(int list, int page)
{
	memmove(&model_list[list][1], &model_list[list][0], (size_t)model_count[list] * sizeof(int));
	model_list[list][0] = page;
	model_count[list]++;
}

/* The list from `at` on, then what was before it. */
static void list_turn(int list, int at)
{
	int turned[MODEL_PAGES];
	for (int i = 0; i < model_count[list]; i++)
		turned[i] = model_list[list][(at + i) % model_count[list]];
	memcpy(model_list[list], turned, (size_t)model_count[list] * sizeof(int));
}

/* First fit: the first free unit in whose free block the aligned request fits. UNITS: none. */
static uint32_t model_fit(const struct model_page *page, uint32_t units, uint32_t align_bytes, uint32_t offset_bytes)
{
	for (uint32_t start = 0, end; start < UNITS; start = end) {
		for (; start < UNITS && page->taken[start]; start++)
			;
		for (end = start; end < UNITS && !page->taken[end]; end++)
			;
		uint32_t object = (start * 2 + offset_bytes + align_bytes - 1) / align_bytes * align_bytes;
		uint32_t unit = (object - offset_bytes) / 2;
		if (start < UNITS && unit + units <= end)
			return unit;
	}
	return UNITS;
}

static int size_list(uint32_t size_bytes)
{
	return size_bytes < 256 ? 0 : size_bytes < 1024 ? 1 : 2;
}

/* The page, and *unit; *is_new says that no page of the list served. */
static int model_take(uint32_t size_bytes, uint32_t align_bytes, uint32_t offset_bytes, uint32_t *unit, bool *is_new)
{
	int list = size_list(size_bytes), page = -1, at;
	uint32_t units = (size_bytes + 1) / 2;
	for (at = 0; at < model_count[list] && page < 0; at++) {
		struct model_page *tried = &model[model_list[list][at]];
		*unit = tried->free_units >= units ? model_fit(tried, units, align_bytes, offset_bytes) : UNITS;
		if (*unit < UNITS)
			page = model_list[list][at--];
	}
	*is_new = page < 0;
	if (*is_new) {
		for (page = 0; model[page].exists; page++)
			assert_true(page + 1 < MODEL_PAGES);
		memset(&model[page], 0, sizeof model[page]);
		model[page].exists = true;
		model[page].free_units = UNITS;
		*unit = model_fit(&model[page], units, align_bytes, offset_bytes);
		list_push_front(list, page);
		at = 0;
	}
	memset(&model[page].taken[*unit], true, units);
	model[page].free_units -= units;
	if (model[page].free_units == 0)
		list_delete(list, at);
	else if (!*is_new)
		list_turn(list, at);
	return page;
}

static void model_give(int page, uint32_t unit, uint32_t size_bytes)
{
	uint32_t units = (size_bytes + 1) / 2;
	int list = size_list(size_bytes);
	bool was_full = model[page].free_units == 0;
	memset(&model[page].taken[unit], false, units);
	model[page].free_units += units;
	if (model[page].free_units == UNITS) {
		model[page].exists = false;
		for (int at = 0; at < model_count[list]; at++)
			if (model_list[list][at] == page)
				list_delete(list, at);
	} else if (was_full) {
		list_push_front(list, page);
	}
}

struct model_object {
	uint64_t address, size_bytes;
	uint32_t block_bytes, unit;
	int page;
};

static void every_placement_is_that_of_a_plain_model(void **state)
{
	static struct model_object live[MODEL_LIVE];
	static const struct {
		uint32_t object_bytes, align_bytes;
	} shapes[] = {{6, 8},     {64, 8},   {62, 8},   {136, 64},  {192, 8},
		      {256, 256}, {424, 64}, {704, 64}, {1200, 64}, {2880, 64}};
	enum { SHAPES = sizeof shapes / sizeof *shapes };
	struct bench bench;
	uint64_t random = 42, requested_bytes = 0;
	uint32_t count = 0;
	(void)state;
	memset(model, 0, sizeof model);
	memset(model_count, 0, sizeof model_count);
	bench_open(&bench, PAGE, false);
	for (uint32_t i = 0; i < SHAPES; i++)
		open_cache(&bench, shapes[i].object_bytes, shapes[i].align_bytes, false);
	for (uint32_t step = 0; step < MODEL_STEPS; step++) {
		bool grows = step / 4000 % 2 == 0; /* waves, so that pages fill and empty */
		if (count > 0 && (count == MODEL_LIVE || random_below(&random, 10) < (grows ? 4u : 6u))) {
			struct model_object *object = &live[random_below(&random, count)];
			model_give(object->page, object->unit, object->block_bytes);
			requested_bytes -= object->size_bytes;
			drop(&bench, object->address);
			*object = live[--count];
		} else {
			struct model_object *object = &live[count++];
			uint32_t shape = (uint32_t)random_below(&random, SHAPES);
			bool is_kmalloc = random_below(&random, 2) == 0, is_new;
			uint32_t size_bytes = shapes[shape].object_bytes, align_bytes = shapes[shape].align_bytes;
			if (is_kmalloc) {
				size_bytes = 1 + (uint32_t)random_below(&random, 1u << (3 + random_below(&random, 9)));
				bool is_power = (size_bytes & (size_bytes - 1)) == 0;
				align_bytes = is_power && size_bytes > 8 ? size_bytes : 8;
			}
			uint32_t header = is_kmalloc ? HEADER : 0;
			object->size_bytes = size_bytes;
			object->block_bytes = size_bytes + header;
			object->page = model_take(object->block_bytes, align_bytes, header, &object->unit, &is_new);
			object->address = take(&bench, is_kmalloc ? KML_NO_CACHE : shape, size_bytes);
			requested_bytes += size_bytes;
			if (is_new)
				model[object->page].address = object->address / PAGE * PAGE;
			assert_int_equal(object->address, model[object->page].address + object->unit * 2 + header);
		}
		if (step % 512 == 0) {
			struct kml_stats stats = stats_of(&bench);
			uint64_t waste_bytes = 0;
			for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
				waste_bytes += stats.waste_bytes[kind];
			assert_int_equal(stats.granted_bytes + waste_bytes, stats.held_bytes);
			assert_true(stats.granted_bytes >= requested_bytes);
			check(&bench);
		}
	}
	while (count > 0)
		drop(&bench, live[--count].address);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

/* A page of 64 KiB does not fit in a signed 16-bit index: the kernel widens it, and the unit with it. */
static void pages_of_64k_have_units_of_four_bytes(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, 65536, false);
	uint32_t c6 = open_cache(&bench, 6, 8, false);
	uint64_t first = take(&bench, c6, 6), second = take(&bench, c6, 6), last = take_kmalloc(&bench, 33);
	int32_t units, next;
	assert_int_equal(second, first + 8);
	assert_int_equal(bench.allocator->usable(bench.heap, last), 36);
	memcpy(&units, bench.arena->base + last + 36, sizeof units);
	memcpy(&next, bench.arena->base + last + 40, sizeof next);
	assert_int_equal(next, 16384);
	assert_int_equal(units, (int32_t)(16384 - (last + 36 - first) / 4));
	check(&bench);
	drop(&bench, first);
	drop(&bench, last);
	drop(&bench, second);
	assert_int_equal(stats_of(&bench).held_bytes, 0);
	bench_close(&bench);
}

/* The backing is full: nothing changes, and the answer says why. */
static void a_full_arena_is_refused_with_the_reason(void **state)
{
	struct bench bench;
	(void)state;
	bench_open(&bench, PAGE, false);
	uint32_t c4000 = open_cache(&bench, 4000, 8, false);
	uint64_t pages = (8u << 20) / PAGE, first = take(&bench, c4000, 4000);
	for (uint64_t i = 1; i < pages; i++)
		take(&bench, c4000, 4000);
	assert_int_equal(ask(&bench, c4000, 4000).status, KML_NO_MEMORY);
	assert_int_equal(ask(&bench, KML_NO_CACHE, 2000).status, KML_NO_MEMORY);
	check(&bench);
	drop(&bench, first);
	assert_int_equal(take(&bench, c4000, 4000), first);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_allocations_of_a_boot_lie_where_the_kernel_put_them),
		cmocka_unit_test(the_free_list_lies_in_the_page_as_the_kernel_encodes_it),
		cmocka_unit_test(a_free_block_of_one_unit_holds_the_negative_offset_alone),
		cmocka_unit_test(three_lists_by_the_size_of_the_request),
		cmocka_unit_test(the_search_begins_where_the_last_one_ended),
		cmocka_unit_test(a_wholly_free_page_goes_back_at_once),
		cmocka_unit_test(kmalloc_has_a_header_below_a_page_and_none_above),
		cmocka_unit_test(a_cache_of_objects_of_a_page_or_more_takes_pages),
		cmocka_unit_test(kmalloc_goes_by_size_whatever_cache_is_named),
		cmocka_unit_test(zeroed_means_zero),
		cmocka_unit_test(a_typesafe_object_stays_until_rcu_gives_it_back),
		cmocka_unit_test(closing_and_shrinking_wait_for_rcu),
		cmocka_unit_test(without_word_of_rcu_objects_go_at_once),
		cmocka_unit_test(misuse_is_named_and_changes_nothing),
		cmocka_unit_test(overwritten_headers_and_links_are_found),
		cmocka_unit_test(a_damaged_record_is_found),
		cmocka_unit_test(every_placement_is_that_of_a_plain_model),
		cmocka_unit_test(pages_of_64k_have_units_of_four_bytes),
		cmocka_unit_test(a_full_arena_is_refused_with_the_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
