/*
 * memory_test.c - memory of the machine's own runs out while a cache is opened: the open is refused, and nothing of it
 * stays behind, in the books neither.
 *
 * calloc, malloc and realloc of everything linked are ours (the linker's --wrap): the nth of them fails.
 */
#include <stdlib.h>

#include "allocators/slab/front_testing.h"

static uint64_t until_failure; /* this many succeed, then one fails; UINT64_MAX: none does */

static bool fails_now(void)
{
	if (until_failure == UINT64_MAX)
		return false;
	return until_failure-- == 0;
}

void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails_now() ? NULL : __real_realloc(memory, size);
}

static uint64_t metadata_bytes(const struct test_stack *test)
{
	struct kml_stats stats;
	test->allocator->stats(test->heap, &stats);
	return stats.metadata_bytes;
}

/* The open that fails at its nth request for memory; false: it has no nth. */
static bool fails_at(const struct test_stack *test, uint64_t nth)
{
	/* A name that asks for sheaves. */
	const struct kml_cache cache = {.name = "vm_area_struct", .object_bytes = 152};
	uint64_t before_bytes = metadata_bytes(test);
	until_failure = nth;
	enum kml_status status = test->allocator->cache_open(test->heap, 0, &cache);
	bool failed = until_failure == UINT64_MAX;
	until_failure = UINT64_MAX;
	assert_int_equal(status, failed ? KML_IMPOSSIBLE : KML_OK);
	if (!failed)
		assert_int_equal(test->allocator->cache_close(test->heap, 0), KML_OK);
	assert_int_equal(metadata_bytes(test), before_bytes);
	return failed;
}

static void a_cache_that_finds_no_memory_leaves_nothing(void **state)
{
	static const struct {
		const char *spec;
		uint64_t requests; /* for memory, of an open */
	} cases[] = {
		{"slub:random=on", 3},  /* cache, cpus, sheaves */
		{"slub:percpu=off", 1}, /* cache */
		{"slab", 2},            /* cache, arrays */
		{"slob", 1},            /* cache */
		{"solaris", 2},         /* cache, magazines of cpus */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct test_stack test;
		uint64_t failures = 0;
		until_failure = UINT64_MAX;
		stack_open(&test, cases[i].spec, TEST_MIB);
		while (fails_at(&test, failures))
			failures++;
		assert_int_equal(failures, cases[i].requests);
		stack_close(&test);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cache_that_finds_no_memory_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
