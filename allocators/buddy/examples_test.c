/*
 * examples_test.c - buddy systems on the examples of papers and textbooks, figure by figure.
 *
 * A state of the arena is written as its blocks in address order: [128] is granted, 128 is free, (3) is padding.
 */
#include <stdio.h>
#include <string.h>

#include "allocators/buddy/testing.h"

#define KIB 1024ull

struct picture {
	char text[4096];
	uint64_t scale;
};

static bool picture_block(void *context, const struct kml_block *block)
{
	struct picture *picture = context;
	static const char *const forms[] = {[KML_BLOCK_FREE] = "%s%llu",
					    [KML_BLOCK_GRANTED] = "%s[%llu]",
					    [KML_BLOCK_CACHED] = "%s<%llu>",
					    [KML_BLOCK_PADDING] = "%s(%llu)"};
	size_t length = strlen(picture->text);
	snprintf(picture->text + length, sizeof picture->text - length, forms[block->state], length ? " " : "",
		 (unsigned long long)(block->size_bytes / picture->scale));
	return true;
}

static void assert_blocks(const struct bench *bench, uint64_t scale, const char *expected)
{
	static struct picture picture;
	picture = (struct picture){.scale = scale};
	bench->heap->allocator->walk(bench->heap, picture_block, &picture);
	assert_string_equal(picture.text, expected);
	bench_validate(bench);
}

static uint64_t alloc_at(const struct bench *bench, uint64_t size_bytes, uint64_t address, uint64_t granted_bytes)
{
	struct kml_grant grant = bench_alloc(bench, size_bytes, 0);
	assert_int_equal(grant.status, KML_OK);
	assert_int_equal(grant.address, address);
	assert_int_equal(grant.granted_bytes, granted_bytes);
	assert_int_equal(bench->heap->allocator->usable(bench->heap, address), granted_bytes);
	return grant.address;
}

static void free_at(const struct bench *bench, uint64_t address)
{
	assert_int_equal(bench_free(bench, address), KML_OK);
}

/* The example of every lecture on the binary buddy system. */
static void binary_1024k(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "binary:unit=1k", 1024 * KIB);
	assert_blocks(&bench, KIB, "1024");
	uint64_t a = alloc_at(&bench, 70 * KIB, 0, 128 * KIB);
	assert_blocks(&bench, KIB, "[128] 128 256 512");
	uint64_t b = alloc_at(&bench, 61 * KIB, 128 * KIB, 64 * KIB);
	assert_blocks(&bench, KIB, "[128] [64] 64 256 512");
	uint64_t c = alloc_at(&bench, 100 * KIB, 256 * KIB, 128 * KIB);
	assert_blocks(&bench, KIB, "[128] [64] 64 [128] 128 512");
	free_at(&bench, a);
	assert_blocks(&bench, KIB, "128 [64] 64 [128] 128 512");
	uint64_t d = alloc_at(&bench, 33 * KIB, 192 * KIB, 64 * KIB);
	assert_blocks(&bench, KIB, "128 [64] [64] [128] 128 512");
	struct kml_stats stats = bench_stats(&bench);
	assert_int_equal(stats.granted_bytes, 256 * KIB);
	assert_int_equal(stats.free_bytes, 768 * KIB);
	assert_int_equal(stats.largest_free_bytes, 512 * KIB);
	assert_int_equal(stats.splits, 5);
	assert_int_equal(stats.merges, 0);
	free_at(&bench, b);
	assert_blocks(&bench, KIB, "128 64 [64] [128] 128 512");
	free_at(&bench, d);
	assert_blocks(&bench, KIB, "256 [128] 128 512");
	free_at(&bench, c);
	assert_blocks(&bench, KIB, "1024");
	assert_int_equal(bench_stats(&bench).merges, 5);
	bench_close(&bench);
}

static void binary_10_of_128_gets_16(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "binary:unit=1", 128);
	uint64_t a = alloc_at(&bench, 10, 0, 16);
	assert_blocks(&bench, 1, "[16] 16 32 64");
	free_at(&bench, a);
	assert_blocks(&bench, 1, "128");
	bench_close(&bench);
}

static void fibonacci_70_of_144_gets_89(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "fibonacci:unit=1", 144);
	uint64_t a = alloc_at(&bench, 70, 0, 89);
	assert_blocks(&bench, 1, "[89] 55");
	uint64_t b = alloc_at(&bench, 10, 123, 13);
	assert_blocks(&bench, 1, "[89] 34 [13] 8"); /* 55 = 34 + 21, 21 = 13 + 8 */
	free_at(&bench, b);
	assert_blocks(&bench, 1, "[89] 55");
	free_at(&bench, a);
	assert_blocks(&bench, 1, "144");
	bench_close(&bench);
}

/* Hirschberg's class of systems: j = 3 has the sizes 1 2 3 4 6 9 13 19 28 41 60 88 ... */
static void generalised_fibonacci_has_the_sizes_of_its_recurrence(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "fibonacci:unit=1,j=3", 88);
	static const uint64_t sizes[] = {1, 2, 3, 4, 6, 9, 13, 19, 28, 41, 60, 88};
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	assert_int_equal(bench.heap->allocator->free_areas(bench.heap, areas), 12);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(areas[i].block_bytes, sizes[i]);
	alloc_at(&bench, 30, 0, 41);
	assert_blocks(&bench, 1, "[41] 19 28");
	bench_close(&bench);
}

/* Shen & Peterson: 2^(r+2) = 3*2^r + 2^r, 3*2^r = 2^(r+1) + 2^r. */
static void weighted_splits_by_its_two_rules(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "weighted:unit=1", 64);
	uint64_t a = alloc_at(&bench, 33, 0, 48);
	assert_blocks(&bench, 1, "[48] 16");
	free_at(&bench, a);
	a = alloc_at(&bench, 17, 0, 24); /* 64 = 48 + 16, 48 = 32 + 16, 32 = 24 + 8 */
	assert_blocks(&bench, 1, "[24] 8 16 16");
	free_at(&bench, a);
	assert_blocks(&bench, 1, "64");
	bench_close(&bench);
}

static void weights_on_200k(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "weighted:sizes=64k+128k+256k", 200 * KIB);
	assert_blocks(&bench, KIB, "128 64"); /* and 8k that is no unit */
	uint64_t a = alloc_at(&bench, 90 * KIB, 0, 128 * KIB);
	assert_blocks(&bench, KIB, "[128] 64");
	assert_int_equal(bench_alloc(&bench, 65 * KIB, 0).status, KML_NO_MEMORY);
	assert_int_equal(bench_alloc(&bench, 129 * KIB, 0).status, KML_IMPOSSIBLE);
	free_at(&bench, a);
	assert_blocks(&bench, KIB, "128 64"); /* roots do not merge */
	bench_close(&bench);

	bench_open(&bench, "weighted:sizes=64k+128k+256k", 256 * KIB);
	a = alloc_at(&bench, 1, 0, 64 * KIB);
	assert_blocks(&bench, KIB, "[64] 64 128");
	uint64_t b = alloc_at(&bench, 90 * KIB, 128 * KIB, 128 * KIB);
	assert_int_equal(bench_free(&bench, 100 * KIB), KML_DOUBLE_FREE);
	free_at(&bench, a);
	assert_blocks(&bench, KIB, "128 [128]");
	free_at(&bench, b);
	assert_blocks(&bench, KIB, "256");
	bench_close(&bench);
}

static void ternary_20k_of_81k_gets_27k(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "kary:k=3,unit=1k", 81 * KIB);
	uint64_t a = alloc_at(&bench, 20 * KIB, 0, 27 * KIB);
	assert_blocks(&bench, KIB, "[27] 27 27");
	uint64_t b = alloc_at(&bench, KIB, 27 * KIB, KIB);
	assert_blocks(&bench, KIB, "[27] [1] 1 1 3 3 9 9 27");
	free_at(&bench, a);
	free_at(&bench, b);
	assert_blocks(&bench, KIB, "81");
	assert_int_equal(bench_stats(&bench).merges, 4);
	bench_close(&bench);
}

/* Yadav & Sharma: 2^i = 3/8 + 3/8 + 2/8; 64 has no part of 32, so 30 takes it whole. */
static void tertiary_splits_into_eighths(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "tertiary:unit=1", 64);
	uint64_t a = alloc_at(&bench, 20, 0, 24);
	assert_blocks(&bench, 1, "[24] 24 16");
	uint64_t b = alloc_at(&bench, 16, 48, 16);
	assert_int_equal(bench_alloc(&bench, 30, 0).status, KML_NO_MEMORY); /* it would be granted 64 */
	free_at(&bench, a);
	free_at(&bench, b);
	alloc_at(&bench, 30, 0, 64);
	bench_close(&bench);
}

/* Page & Hagins' sizes; the arena in the ratio 4 : 3; each family halves; one helps the other out. */
static void dual_keeps_its_families_apart(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "dual:unit=1", 56);
	assert_blocks(&bench, 1, "32 24");
	uint64_t a = alloc_at(&bench, 9, 32, 12);
	assert_blocks(&bench, 1, "32 [12] 12");
	uint64_t b = alloc_at(&bench, 8, 0, 8);
	assert_blocks(&bench, 1, "[8] 8 16 [12] 12");
	uint64_t c = alloc_at(&bench, 16, 16, 16);
	uint64_t d = alloc_at(&bench, 8, 8, 8);
	uint64_t e = alloc_at(&bench, 7, 44, 12); /* no power of two is left */
	assert_blocks(&bench, 1, "[8] [8] [16] [12] [12]");
	free_at(&bench, a);
	free_at(&bench, b);
	free_at(&bench, c);
	free_at(&bench, d);
	free_at(&bench, e);
	assert_blocks(&bench, 1, "32 24");
	bench_close(&bench);
}

/* 16 MiB of 4 KiB pages with the orders of Linux: a request of 8 KiB leaves one block on the list of each order. */
static void pages_of_16m_after_8k_and_its_free(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "binary:unit=4k,max_order=10", 16 << 20);
	for (uint32_t order = 0; order <= 10; order++)
		assert_int_equal(bench_free_blocks(&bench, 4096u << order), order == 10 ? 4 : 0);
	uint64_t a = alloc_at(&bench, 8 * KIB, 0, 8 * KIB);
	for (uint32_t order = 0; order <= 10; order++)
		assert_int_equal(bench_free_blocks(&bench, 4096u << order), order == 0 ? 0 : order == 10 ? 3 : 1);
	free_at(&bench, a);
	for (uint32_t order = 0; order <= 10; order++)
		assert_int_equal(bench_free_blocks(&bench, 4096u << order), order == 10 ? 4 : 0);
	bench_close(&bench);
}

static void nine_pages_need_order_4(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "binary:unit=4k,max_order=10", 1 << 20);
	alloc_at(&bench, 9 * 4096, 0, 4096 << 4);
	assert_int_equal(bench_stats(&bench).granted_bytes - 9 * 4096, 7 * 4096);
	bench_close(&bench);
}

static void contiguous_1m_fails_while_most_is_free(void **state)
{
	(void)state;
	enum { PAGES = 4096, PINNED_EVERY = 128 };
	struct bench bench;
	bench_open(&bench, "binary:unit=4k,max_order=10", (uint64_t)PAGES * 4096);
	for (uint32_t page = 0; page < PAGES; page++)
		alloc_at(&bench, 4096, page * 4096ull, 4096);
	assert_int_equal(bench_alloc(&bench, 4096, 0).status, KML_NO_MEMORY);
	for (uint32_t page = 0; page < PAGES; page++)
		if (page % PINNED_EVERY != 0)
			free_at(&bench, page * 4096ull);
	assert_int_equal(bench_alloc(&bench, 1 << 20, 0).status, KML_NO_RUN);
	assert_int_equal(bench_stats(&bench).free_bytes, (PAGES - PAGES / PINNED_EVERY) * 4096ull);
	for (uint32_t order = 0; order <= 10; order++) /* 127 free pages in a row: 1 + 2 + 4 + ... + 64 */
		assert_int_equal(bench_free_blocks(&bench, 4096u << order), order < 7 ? PAGES / PINNED_EVERY : 0);
	bench_close(&bench);
}

/* Knuth, TAOCP 1, 2.5 exercise 26: an arena that is no power of two is tiled by its binary digits. */
static void binary_arena_of_any_size_is_tiled(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "binary:unit=1", 11 * 1024 + 5);
	assert_blocks(&bench, 1, "8192 2048 1024 4 1");
	alloc_at(&bench, 1, 11 * 1024 + 4, 1); /* the smallest block that will do */
	bench_close(&bench);
}

/* 9 = 3 + 3 + 3 units; 4 units at a multiple of 4 fit no third, so the 9 from 9 on are granted, 3 of them lost. */
static void aligned_inside_a_block(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "kary:k=3,unit=1", 27);
	uint64_t a = alloc_at(&bench, 9, 0, 9);
	struct kml_grant grant = bench_alloc(&bench, 4, 4);
	assert_int_equal(grant.status, KML_OK);
	assert_int_equal(grant.address, 12);
	assert_int_equal(grant.granted_bytes, 6);
	assert_blocks(&bench, 1, "[9] (3) [6] 9");
	assert_int_equal(bench.heap->allocator->usable(bench.heap, 12), 6);
	assert_int_equal(bench.heap->allocator->usable(bench.heap, 9), 0);
	assert_int_equal(bench_stats(&bench).waste_bytes[KML_WASTE_MANAGEMENT], 3);
	assert_int_equal(bench.arena->taken_bytes, 18);
	assert_int_equal(bench_free(&bench, 9), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, 13), KML_INTERIOR);
	assert_int_equal(bench_free(&bench, 12), KML_OK);
	assert_int_equal(bench_free(&bench, 12), KML_DOUBLE_FREE);
	free_at(&bench, a);
	assert_blocks(&bench, 1, "27");
	bench_close(&bench);
}

/* 3..5 holds 4 and 5, which start at a multiple of 2. */
static void aligned_request_is_carved_out_where_it_fits(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, "kary:k=3,unit=1", 27);
	alloc_at(&bench, 3, 0, 3);
	struct kml_grant grant = bench_alloc(&bench, 2, 2); /* 3..5: 4 and 5 */
	assert_int_equal(grant.address, 4);
	assert_int_equal(grant.granted_bytes, 2);
	/* An empty arena would grant 0..2; now 16..18 lies in no free block, though 21 units are free. */
	assert_int_equal(bench_alloc(&bench, 3, 16).status, KML_NO_RUN);
	bench_validate(&bench);
	bench_close(&bench);
}

/* Which of two free blocks of 16 is next: the one freed last, the one freed first, the lowest. */
static void policies_choose_as_named(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		uint64_t next;
	} cases[] = {{"binary:unit=16,policy=lifo", 64},   {"binary:unit=16,policy=fifo", 32},
		     {"binary:unit=16,policy=lowest", 0},  {"weighted:unit=16,policy=lifo", 64},
		     {"weighted:unit=16,policy=fifo", 32}, {"weighted:unit=16,policy=lowest", 0}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bench bench;
		bench_open(&bench, cases[i].spec, 1024);
		uint64_t address[64];
		for (uint32_t j = 0; j < 64; j++) {
			struct kml_grant grant = bench_alloc(&bench, 16, 0);
			assert_int_equal(grant.status, KML_OK);
			address[grant.address / 16] = grant.address;
		}
		free_at(&bench, address[2]);
		free_at(&bench, address[0]);
		free_at(&bench, address[4]);
		alloc_at(&bench, 16, cases[i].next, 16);
		bench_close(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binary_1024k),
		cmocka_unit_test(binary_10_of_128_gets_16),
		cmocka_unit_test(fibonacci_70_of_144_gets_89),
		cmocka_unit_test(generalised_fibonacci_has_the_sizes_of_its_recurrence),
		cmocka_unit_test(weighted_splits_by_its_two_rules),
		cmocka_unit_test(weights_on_200k),
		cmocka_unit_test(ternary_20k_of_81k_gets_27k),
		cmocka_unit_test(tertiary_splits_into_eighths),
		cmocka_unit_test(dual_keeps_its_families_apart),
		cmocka_unit_test(pages_of_16m_after_8k_and_its_free),
		cmocka_unit_test(nine_pages_need_order_4),
		cmocka_unit_test(contiguous_1m_fails_while_most_is_free),
		cmocka_unit_test(binary_arena_of_any_size_is_tiled),
		cmocka_unit_test(aligned_inside_a_block),
		cmocka_unit_test(aligned_request_is_carved_out_where_it_fits),
		cmocka_unit_test(policies_choose_as_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
