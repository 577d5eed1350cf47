/*
 * frontend_test.c - kmalloc in front of every strategy: classes, families, large sizes, alignment.
 *
 * Expected values: the size table of mm/slab_common.c (kmalloc_info, kmalloc_index), the order of families in
 * include/linux/slab.h (kmalloc_type), get_order(). SLOB has no classes: its kmalloc goes by size (mm/slob.c). The
 * smallest class of SLAB is 32 (KMALLOC_SHIFT_LOW).
 */
#include "allocators/slab/front_testing.h"

#include <stdlib.h>

static const struct {
	uint64_t bytes;
	const char *name;
} classes[] = {{8, "8"},     {16, "16"},   {32, "32"},   {64, "64"},   {96, "96"},   {128, "128"}, {192, "192"},
	       {256, "256"}, {512, "512"}, {1024, "1k"}, {2048, "2k"}, {4096, "4k"}, {8192, "8k"}};
enum { CLASSES = sizeof(classes) / sizeof(classes[0]) };

static const struct {
	uint16_t flags;
	const char *prefix;
} families[] = {
	{0, "kmalloc-"},
	{KML_ATOMIC | KML_ZEROED, "kmalloc-"},
	{KML_ACCOUNTED, "kmalloc-cg-"},
	{KML_RECLAIMABLE, "kmalloc-rcl-"},
	{KML_DMA, "dma-kmalloc-"},
	/* The first that applies of DMA, reclaimable, accounted. */
	{KML_DMA | KML_RECLAIMABLE | KML_ACCOUNTED, "dma-kmalloc-"},
	{KML_RECLAIMABLE | KML_ACCOUNTED, "kmalloc-rcl-"},
};
enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

static bool is_strategy_named(const char *spec_text, const char *name)
{
	return strncmp(spec_text, name, strlen(name)) == 0 && strchr(":/", spec_text[strlen(name)]) != NULL;
}

/* The class that serves a size: the smallest that holds it. */
static uint32_t class_of(const char *spec_text, uint64_t size_bytes)
{
	uint32_t class = is_strategy_named(spec_text, "slab") ? 2 : 0;
	while (classes[class].bytes < size_bytes)
		class ++;
	return class;
}

static struct kml_request kmalloc_request(uint64_t size_bytes, uint16_t flags)
{
	return (struct kml_request){
		.size_bytes = size_bytes, .cache = KML_NO_CACHE, .flags = (uint16_t)(KML_KMALLOC | flags)};
}

/* Live objects of the cache of that name; 0 also when there is none. */
static uint64_t live_in(const struct test_stack *test, const char *name)
{
	struct kml_cache_stats stats;
	for (uint32_t i = 0; test->allocator->cache_stats(test->heap, i, &stats); i++)
		if (stats.name != NULL && strcmp(stats.name, name) == 0)
			return stats.live_objects;
	return 0;
}

static uint64_t live_in_all(const struct test_stack *test)
{
	struct kml_cache_stats stats;
	uint64_t live = 0;
	for (uint32_t i = 0; test->allocator->cache_stats(test->heap, i, &stats); i++)
		live += stats.name != NULL ? stats.live_objects : 0;
	return live;
}

/* ---------------------------------------------------------------------------------------------------------- classes */

/* Every size up to the largest class. */
static void grants_classes(const char *spec_text)
{
	struct test_stack test;
	if (is_strategy_named(spec_text, "slob"))
		return;
	stack_open(&test, spec_text, 8 * TEST_MIB);
	for (uint64_t size_bytes = 1; size_bytes <= 8192; size_bytes++) {
		struct kml_grant grant = stack_alloc(&test, kmalloc_request(size_bytes, 0));
		assert_int_equal(grant.status, KML_OK);
		uint64_t expected = classes[class_of(spec_text, size_bytes)].bytes;
		if (grant.granted_bytes != expected)
			fail_msg("%s: kmalloc(%llu) granted %llu bytes, not %llu", spec_text,
				 (unsigned long long)size_bytes, (unsigned long long)grant.granted_bytes,
				 (unsigned long long)expected);
		stack_must_free(&test, grant.address);
	}
	stack_check_whole(&test);
	stack_close(&test);
}

static void each_size_has_the_smallest_class_that_holds_it(void **state)
{
	(void)state;
	each_stack("", "binary", grants_classes);
}

/* The ends of each class in each family: it is the cache of that name that has the object. */
static void serves_families(const char *spec_text)
{
	struct test_stack test;
	if (is_strategy_named(spec_text, "slob"))
		return;
	stack_open(&test, spec_text, 16 * TEST_MIB);
	for (uint32_t family = 0; family < FAMILIES; family++)
		for (uint32_t i = 0; i < CLASSES; i++) {
			uint32_t class = class_of(spec_text, classes[i].bytes);
			char name[32];
			snprintf(name, sizeof(name), "%s%s", families[family].prefix, classes[class].name);
			uint64_t smallest = i == 0 ? 1 : classes[i - 1].bytes + 1, before = live_in(&test, name);
			uint64_t a = stack_must_alloc(&test, kmalloc_request(smallest, families[family].flags));
			uint64_t b = stack_must_alloc(&test, kmalloc_request(classes[i].bytes, families[family].flags));
			if (live_in(&test, name) != before + 2)
				fail_msg("%s: kmalloc(%llu) and (%llu) are not in %s", spec_text,
					 (unsigned long long)smallest, (unsigned long long)classes[i].bytes, name);
			/* kfree knows neither cache nor size. */
			stack_must_free(&test, a);
			stack_must_free(&test, b);
			assert_int_equal(live_in(&test, name), before);
		}
	stack_check_whole(&test);
	stack_close(&test);
}

static void families_have_caches_of_their_own(void **state)
{
	(void)state;
	each_stack("", NULL, serves_families);
}

/* ------------------------------------------------------------------------------------------------------------ large */

static uint64_t order_bytes(uint64_t size_bytes)
{
	uint64_t bytes = TEST_PAGE;
	while (bytes < size_bytes)
		bytes *= 2;
	return bytes;
}

/* What no class holds is pages of the caller's: a power of two of them, of no cache, granted as the page layer does. */
static void grants_pages(const char *spec_text)
{
	static const uint64_t sizes[] = {8193,  12288,  16384,  16385,  40000, 65536,
					 65537, 200000, 262144, 262145, 524288};
	struct test_stack test;
	stack_open(&test, spec_text, 16 * TEST_MIB);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t live_before = live_in_all(&test);
		struct kml_grant grant = stack_alloc(&test, kmalloc_request(sizes[i], 0));
		assert_int_equal(grant.status, KML_OK);
		assert_int_equal(grant.address % TEST_PAGE, 0);
		assert_true(grant.granted_bytes >= order_bytes(sizes[i]));
		if (stack_stands_on(spec_text, "binary"))
			assert_int_equal(grant.granted_bytes, order_bytes(sizes[i]));
		/* SLOB counts them among its own (kmalloc is one cache there). */
		if (!is_strategy_named(spec_text, "slob"))
			assert_int_equal(live_in_all(&test), live_before);
		assert_int_equal(test.backing->allocator->usable(test.backing, grant.address), grant.granted_bytes);
		stack_check(&test);
		stack_must_free(&test, grant.address);
	}
	stack_check_whole(&test);
	stack_close(&test);
}

static void larger_sizes_are_pages(void **state)
{
	(void)state;
	each_stack("", NULL, grants_pages);
}

/* -------------------------------------------------------------------------------------------------------- alignment */

/* Since 5.4 a size that is a power of two is aligned to itself, up to the largest class and beyond in pages; all else
 * to a word (ARCH_KMALLOC_MINALIGN). Beyond a page that needs a page layer that aligns its blocks. */
static void aligns_naturally(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, 16 * TEST_MIB);
	for (uint32_t i = 0; i < CLASSES; i++) {
		bool is_power = (classes[i].bytes & (classes[i].bytes - 1)) == 0;
		uint64_t align_bytes = is_power ? classes[i].bytes : 8;
		if (align_bytes > TEST_PAGE && is_strategy_named(spec_text, "slob") &&
		    !stack_stands_on(spec_text, "binary"))
			align_bytes = TEST_PAGE;
		for (uint32_t j = 0; j < 50; j++) {
			uint64_t address = stack_must_alloc(&test, kmalloc_request(classes[i].bytes, 0));
			if (address % align_bytes != 0)
				fail_msg("%s: kmalloc(%llu) at %llu", spec_text, (unsigned long long)classes[i].bytes,
					 (unsigned long long)address);
		}
	}
	stack_check(&test);
	stack_close(&test);
}

static void powers_of_two_are_aligned_to_themselves(void **state)
{
	(void)state;
	each_stack("", NULL, aligns_naturally);
}

/* What asks for more than its class has goes to a class, or pages, that have it. */
static void honours_requests(const char *spec_text)
{
	static const uint64_t sizes[] = {1, 24, 65, 96, 100, 192, 1000, 5000, 8192, 10000};
	struct test_stack test;
	stack_open(&test, spec_text, 16 * TEST_MIB);
	for (uint64_t align_bytes = 1; align_bytes <= 2 * TEST_PAGE; align_bytes *= 2)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			for (uint32_t j = 0; j < 5; j++) {
				struct kml_request request = kmalloc_request(sizes[i], 0);
				request.align_bytes = align_bytes;
				/* The shadow checks the address. */
				(void)stack_must_alloc(&test, request);
			}
	stack_check(&test);
	stack_close(&test);
}

static void alignment_asked_for_is_honoured(void **state)
{
	(void)state;
	each_stack("", NULL, honours_requests);
}

/* ------------------------------------------------------------------------------------------------------------- SLOB */

/* mm/slob.c: no classes; a header of the least alignment in front, below a page. ksize is what was asked. */
static void slob_goes_by_size(void **state)
{
	(void)state;
	struct test_stack test;
	stack_open(&test, "slob/binary", 4 * TEST_MIB);
	for (uint64_t size_bytes = 1; size_bytes < TEST_PAGE - 8; size_bytes += 37) {
		struct kml_grant grant = stack_alloc(&test, kmalloc_request(size_bytes, 0));
		assert_int_equal(grant.status, KML_OK);
		assert_true(grant.granted_bytes >= size_bytes && grant.granted_bytes < size_bytes + 8);
		assert_int_equal(grant.address % 8, 0);
		stack_must_free(&test, grant.address);
	}
	struct kml_grant grant = stack_alloc(&test, kmalloc_request(TEST_PAGE, 0));
	assert_int_equal(grant.granted_bytes, TEST_PAGE);
	assert_int_equal(grant.address % TEST_PAGE, 0);
	stack_must_free(&test, grant.address);
	stack_check_whole(&test);
	stack_close(&test);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_size_has_the_smallest_class_that_holds_it),
		cmocka_unit_test(families_have_caches_of_their_own),
		cmocka_unit_test(larger_sizes_are_pages),
		cmocka_unit_test(powers_of_two_are_aligned_to_themselves),
		cmocka_unit_test(alignment_asked_for_is_honoured),
		cmocka_unit_test(slob_goes_by_size),
	};
	return cmocka_run_group_tests_name("frontend", tests, NULL, NULL);
}
