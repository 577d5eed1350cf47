/* front_testing.h - a stack in its arena, for the tests of what all object strategies share. Every strategy of the
 * registry is tested, on every page allocator that can stand below one. */
#ifndef KMEMLAB_SLAB_FRONT_TESTING_H
#define KMEMLAB_SLAB_FRONT_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocators/check/invariants.h"
#include "allocators/check/shadow.h"
#include "allocators/registry.h"
#include "allocators/slab/object_heap.h"
#include "allocators/tests/faults.h"
#include "kmemlab/support/poison.h"
#include "kmemlab/support/random.h"

enum { TEST_PAGE = 4096, TEST_CPUS = 2, TEST_CACHE_ROOM = 8 };
#define TEST_MIB (1024ull * 1024)

struct test_stack {
	char text[128];
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_shadow *shadow;
	struct kml_heap *heap;
	const struct kml_allocator *allocator;
	struct kml_heap *backing;
};

static inline void stack_open_in(struct test_stack *test, const char *text, uint64_t arena_bytes, bool starts_empty)
{
	struct kml_error error = {{0}};
	memset(test, 0, sizeof(*test));
	snprintf(test->text, sizeof(test->text), "%s", text);
	test->spec = kml_spec_parse(text, &error);
	if (test->spec == NULL)
		fail_msg("%s", error.text);
	test->arena = kml_arena_create(arena_bytes, TEST_PAGE, true, &error);
	if (test->arena == NULL)
		fail_msg("%s: %s", text, error.text);
	const struct kml_environment environment = {.arena = test->arena,
						    .page_bytes = TEST_PAGE,
						    .cpu_count = TEST_CPUS,
						    .cache_count = TEST_CACHE_ROOM,
						    .starts_empty = starts_empty,
						    .seed = 1};
	if (!kml_stack_create(&test->stack, test->spec, &environment, &error))
		fail_msg("%s: %s", text, error.text);
	test->heap = kml_stack_top(&test->stack);
	test->backing = test->stack.layer[1];
	test->allocator = test->heap->allocator;
	test->shadow = kml_shadow_create(&test->stack, test->arena, &error);
	if (test->shadow == NULL)
		fail_msg("%s: %s", text, error.text);
}

static inline void stack_open(struct test_stack *test, const char *text, uint64_t arena_bytes)
{
	stack_open_in(test, text, arena_bytes, false);
}

/* All memory comes by page_add. */
static inline void stack_open_empty(struct test_stack *test, const char *text, uint64_t arena_bytes)
{
	stack_open_in(test, text, arena_bytes, true);
}

/* Nothing may have been reported; the arena is given back whole, whatever is live. */
static inline void stack_close(struct test_stack *test)
{
	struct kml_error error;
	if (!kml_shadow_ok(test->shadow, &error))
		fail_msg("%s: %s", test->text, error.text);
	kml_shadow_destroy(test->shadow);
	kml_stack_destroy(&test->stack);
	assert_int_equal(test->arena->held_bytes, 0);
	kml_arena_destroy(test->arena);
	kml_spec_free(test->spec);
}

static inline void stack_check(struct test_stack *test)
{
	struct kml_error error;
	kml_check_deep(test->shadow);
	if (!kml_shadow_ok(test->shadow, &error))
		fail_msg("%s: %s", test->text, error.text);
}

/* When all is freed. */
static inline void stack_check_whole(struct test_stack *test)
{
	struct kml_error error;
	kml_check_whole(test->shadow);
	if (!kml_shadow_ok(test->shadow, &error))
		fail_msg("%s: %s", test->text, error.text);
}

static inline struct kml_grant stack_alloc(struct test_stack *test, struct kml_request request)
{
	request.recorded = KML_NO_ADDRESS;
	return kml_shadow_alloc(test->shadow, &request);
}

static inline uint64_t stack_must_alloc(struct test_stack *test, struct kml_request request)
{
	struct kml_grant grant = stack_alloc(test, request);
	if (grant.status != KML_OK)
		fail_msg("%s: %llu bytes: %s", test->text, (unsigned long long)request.size_bytes,
			 kml_status_name(grant.status));
	return grant.address;
}

static inline enum kml_status stack_free(struct test_stack *test, uint64_t address, uint32_t cache)
{
	const struct kml_release release = {.address = address, .cache = cache};
	return kml_shadow_free(test->shadow, &release);
}

static inline void stack_must_free(struct test_stack *test, uint64_t address)
{
	enum kml_status status = stack_free(test, address, KML_NO_CACHE);
	if (status != KML_OK)
		fail_msg("%s: free of %llu: %s", test->text, (unsigned long long)address, kml_status_name(status));
}

static inline void stack_open_cache(struct test_stack *test, uint32_t index, struct kml_cache cache)
{
	enum kml_status status = test->allocator->cache_open(test->heap, index, &cache);
	if (status != KML_OK)
		fail_msg("%s: cache %s: %s", test->text, cache.name, kml_status_name(status));
}

/* What somebody left in an arena of which nothing is taken now. */
static inline void fill_arena(struct kml_arena *arena, int byte)
{
	kml_arena_take(arena, 0, arena->size_bytes);
	memset(arena->base, byte, arena->size_bytes);
	kml_arena_give(arena, 0, arena->size_bytes);
}

/* ----------------------------------------------------------------------------------------- every strategy, every
 * backing */

typedef void spec_test(const char *spec_text);

static inline bool is_strategy(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_OBJECTS &&
	       !(allocator->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED));
}

static inline bool is_backing(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_PAGES && !(allocator->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED));
}

/* Each strategy, with `params` (":name=value", or "") on each page allocator, or on the one named; how many cases. */
static inline unsigned each_stack(const char *params, const char *only_backing, spec_test *test)
{
	size_t count;
	unsigned cases = 0;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; is_strategy(registry[i]) && j < count; j++) {
			char text[128];
			if (!is_backing(registry[j]) ||
			    (only_backing != NULL && strcmp(registry[j]->name, only_backing) != 0))
				continue;
			snprintf(text, sizeof(text), "%s%s/%s", registry[i]->name, params, registry[j]->name);
			test(text);
			cases++;
		}
	}
	assert_true(cases > 0);
	return cases;
}

static inline bool stack_stands_on(const char *spec_text, const char *backing)
{
	const char *slash = strchr(spec_text, '/');
	return slash != NULL && strcmp(slash + 1, backing) == 0;
}

#endif
