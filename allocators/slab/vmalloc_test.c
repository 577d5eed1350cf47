/*
 * vmalloc_test.c - areas of single pages: really one run of addresses, whatever the pages below.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/vmalloc.h"

#include <stdlib.h>

static struct kml_request area_request(uint64_t size_bytes)
{
	return (struct kml_request){.size_bytes = size_bytes, .cache = KML_NO_CACHE, .flags = KML_VMALLOC};
}

static struct kml_request page_request(uint64_t pages)
{
	return (struct kml_request){
		.size_bytes = pages * TEST_PAGE, .align_bytes = TEST_PAGE, .cache = KML_NO_CACHE, .flags = KML_PAGES};
}

static uint64_t free_bytes(const struct test_stack *test)
{
	struct kml_stats stats;
	test->allocator->stats(test->heap, &stats);
	return stats.free_bytes;
}

/* -------------------------------------------------------------------------------------- a run where there is none */

#define PAGES_MAX 4096u

struct pages {
	uint64_t address[PAGES_MAX];
	uint32_t count;
};

/* All of the arena, page by page, and every second one free again. */
static void fragment(struct test_stack *test, struct pages *kept)
{
	struct kml_grant grant;
	static struct pages all;
	all.count = kept->count = 0;
	while (all.count < PAGES_MAX && (grant = stack_alloc(test, page_request(1))).status == KML_OK)
		all.address[all.count++] = grant.address;
	assert_true(all.count < PAGES_MAX);
	for (uint32_t i = 0; i < all.count; i++) {
		if (i % 2 == 0)
			stack_must_free(test, all.address[i]);
		else
			kept->address[kept->count++] = all.address[i];
	}
}

/* What is written to the area is in pages of the arena that are marked as its own: each page of it in one of them. */
static void assert_is_made_of_pages(const struct test_stack *test, uint64_t area, uint64_t size_bytes)
{
	uint8_t *memory = test->arena->base + area;
	bool seen[PAGES_MAX] = {false};
	uint64_t own_pages = 0;
	for (uint64_t i = 0; i < size_bytes / TEST_PAGE; i++)
		memcpy(memory + i * TEST_PAGE, &i, sizeof(i));
	for (uint64_t page = 0; page < test->arena->size_bytes / TEST_PAGE; page++) {
		uint64_t i;
		if (test->arena->pages[page].owner != VMALLOC_OWNER)
			continue;
		memcpy(&i, test->arena->base + page * TEST_PAGE, sizeof(i));
		assert_true(i < size_bytes / TEST_PAGE);
		assert_false(seen[i]);
		seen[i] = true;
		assert_memory_equal(test->arena->base + page * TEST_PAGE, memory + i * TEST_PAGE, TEST_PAGE);
		own_pages++;
	}
	assert_int_equal(own_pages, size_bytes / TEST_PAGE);
}

/* Memory enough, no run of it: 16 pages are refused as a run, and granted page by page. */
static void succeeds_where_a_run_is_not_to_be_had(const char *spec_text)
{
	static struct pages kept;
	struct test_stack test;
	stack_open(&test, spec_text, 2 * TEST_MIB);
	fragment(&test, &kept);
	assert_int_equal(stack_alloc(&test, page_request(16)).status, KML_NO_RUN);

	uint64_t before = free_bytes(&test);
	struct kml_grant grant = stack_alloc(&test, area_request(16 * TEST_PAGE - 100));
	assert_int_equal(grant.status, KML_OK);
	assert_true(grant.address >= test.arena->window_address);
	assert_true(grant.granted_bytes >= 16 * TEST_PAGE);
	assert_int_equal(free_bytes(&test), before - grant.granted_bytes);
	stack_check(&test);
	/* The shadow's own pattern is overwritten by what follows. */
	uint8_t *contents = malloc(grant.granted_bytes);
	assert_non_null(contents);
	memcpy(contents, test.arena->base + grant.address, grant.granted_bytes);
	assert_is_made_of_pages(&test, grant.address, grant.granted_bytes);
	memcpy(test.arena->base + grant.address, contents, grant.granted_bytes);
	free(contents);

	stack_must_free(&test, grant.address);
	assert_int_equal(free_bytes(&test), before);
	stack_check(&test);
	for (uint32_t i = 0; i < kept.count; i++)
		stack_must_free(&test, kept.address[i]);
	stack_check_whole(&test);
	stack_close(&test);
}

static void an_area_needs_no_run_on_any_stack(void **state)
{
	(void)state;
	each_stack("", NULL, succeeds_where_a_run_is_not_to_be_had);
}

/* ------------------------------------------------------------------------------------------------------ the guard page
 */

/* What is there: the child has an area in common with us. */
static void guards(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, 2 * TEST_MIB);
	uint64_t first = stack_must_alloc(&test, area_request(3 * TEST_PAGE));
	uint64_t second = stack_must_alloc(&test, area_request(2 * TEST_PAGE));
	uint64_t first_end = first + test.allocator->usable(test.heap, first);
	uint64_t second_end = second + test.allocator->usable(test.heap, second);
	assert_int_equal(second, first_end + TEST_PAGE);
	uint8_t *base = test.arena->base;
	assert_false(faults(touch_byte, base + first));
	assert_false(faults(touch_byte, base + first_end - 1));
	assert_false(faults(touch_byte, base + second));
	assert_true(faults(touch_byte, base + first - 1));
	assert_true(faults(touch_byte, base + first_end));
	assert_true(faults(touch_byte, base + second - 1));
	assert_true(faults(touch_byte, base + second_end));
	/* And after the free. */
	stack_must_free(&test, first);
	assert_true(faults(touch_byte, base + first));
	assert_true(faults(touch_byte, base + first_end - 1));
	assert_false(faults(touch_byte, base + second));
	stack_must_free(&test, second);
	stack_check_whole(&test);
	stack_close(&test);
}

static void a_stray_access_faults(void **state)
{
	(void)state;
	each_stack("", "binary", guards);
}

/* --------------------------------------------------------------------------------------------------- the addresses */

/* The lowest place where an area and its guard page fit. Pages as the backing has them: one a page in binary. */
static void lowest_place_first(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, 2 * TEST_MIB);
	uint64_t start = test.arena->window_address;
	uint64_t a = stack_must_alloc(&test, area_request(4 * TEST_PAGE));
	uint64_t b = stack_must_alloc(&test, area_request(2 * TEST_PAGE));
	uint64_t c = stack_must_alloc(&test, area_request(1));
	assert_int_equal(a, start);
	assert_int_equal(b, start + 5 * TEST_PAGE);
	assert_int_equal(c, start + 8 * TEST_PAGE);
	stack_must_free(&test, a);
	/* Four pages and the guard page were a's: room for one of 2 and one of 1. */
	uint64_t d = stack_must_alloc(&test, area_request(5 * TEST_PAGE));
	uint64_t e = stack_must_alloc(&test, area_request(2 * TEST_PAGE));
	uint64_t f = stack_must_alloc(&test, area_request(1));
	uint64_t g = stack_must_alloc(&test, area_request(1));
	assert_int_equal(d, start + 10 * TEST_PAGE);
	assert_int_equal(e, start);
	assert_int_equal(f, start + 3 * TEST_PAGE);
	assert_int_equal(g, start + 16 * TEST_PAGE);
	const uint64_t all[] = {b, c, d, e, f, g};
	stack_check(&test);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		stack_must_free(&test, all[i]);
	/* Alignments beyond the page. */
	for (uint64_t align_bytes = 1; align_bytes <= 4 * TEST_MIB; align_bytes *= 2) {
		struct kml_request request = area_request(3 * TEST_PAGE);
		request.align_bytes = align_bytes;
		uint64_t aligned = stack_must_alloc(&test, request);
		assert_int_equal(aligned % align_bytes, 0);
		stack_check(&test);
		stack_must_free(&test, aligned);
	}
	stack_check_whole(&test);
	stack_close(&test);
}

static void areas_lie_at_the_lowest_place(void **state)
{
	(void)state;
	each_stack("", "binary", lowest_place_first);
}

/* Zeroed, whatever was in the pages before. */
static void zeroes(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, TEST_MIB);
	fill_arena(test.arena, 0xff);
	struct kml_request request = area_request(10 * TEST_PAGE);
	request.flags |= KML_ZEROED;
	const struct kml_request *asked = &request;
	struct kml_grant grant = test.allocator->alloc(test.heap, asked);
	assert_int_equal(grant.status, KML_OK);
	for (uint64_t i = 0; i < grant.granted_bytes; i++)
		assert_int_equal(test.arena->base[grant.address + i], 0);
	const struct kml_release release = {.address = grant.address, .cache = KML_NO_CACHE};
	assert_int_equal(test.allocator->free(test.heap, &release), KML_OK);
	stack_check_whole(&test);
	stack_close(&test);
}

static void zeroed_areas_read_as_zero(void **state)
{
	(void)state;
	each_stack("", NULL, zeroes);
}

/* ------------------------------------------------------------------------------------------------- failures, misuse */

static void refuses(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, TEST_MIB);
	assert_int_equal(stack_alloc(&test, area_request(0)).status, KML_IMPOSSIBLE);
	assert_int_equal(stack_alloc(&test, area_request(TEST_MIB + 1)).status, KML_IMPOSSIBLE);
	assert_int_equal(stack_alloc(&test, area_request(UINT64_MAX)).status, KML_IMPOSSIBLE);
	struct kml_request request = area_request(1);
	request.align_bytes = 1ull << 63;
	assert_int_equal(stack_alloc(&test, request).status, KML_IMPOSSIBLE);
	/* The whole arena, and then nothing more. */
	uint64_t all = stack_must_alloc(&test, area_request(TEST_MIB));
	assert_int_equal(free_bytes(&test), 0);
	assert_int_equal(stack_alloc(&test, area_request(1)).status, KML_NO_MEMORY);
	assert_int_equal(stack_alloc(&test, area_request(TEST_MIB)).status, KML_NO_MEMORY);
	stack_check(&test);
	stack_must_free(&test, all);
	stack_check_whole(&test);
	stack_close(&test);
}

static void impossible_and_missing_memory_are_told_apart(void **state)
{
	(void)state;
	each_stack("", NULL, refuses);
}

static void names_misuse(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, TEST_MIB);
	stack_open_cache(&test, 0, (struct kml_cache){.name = "cache", .object_bytes = 100});
	assert_int_equal(stack_free(&test, test.arena->window_address, KML_NO_CACHE), KML_FOREIGN);
	uint64_t area = stack_must_alloc(&test, area_request(3 * TEST_PAGE));
	uint64_t end = area + test.allocator->usable(test.heap, area);
	assert_int_equal(stack_free(&test, area + 1, KML_NO_CACHE), KML_INTERIOR);
	assert_int_equal(stack_free(&test, area + TEST_PAGE, KML_NO_CACHE), KML_INTERIOR);
	assert_int_equal(stack_free(&test, end - 1, KML_NO_CACHE), KML_INTERIOR);
	assert_int_equal(stack_free(&test, end, KML_NO_CACHE), KML_FOREIGN);
	assert_int_equal(stack_free(&test, end + TEST_PAGE, KML_NO_CACHE), KML_FOREIGN);
	assert_int_equal(stack_free(&test, UINT64_MAX - 1, KML_NO_CACHE), KML_FOREIGN);
	assert_int_equal(stack_free(&test, area, 0), KML_WRONG_CACHE);
	/* A page of the area, by its place in the arena. */
	for (uint64_t page = 0; page < TEST_MIB / TEST_PAGE; page++)
		if (test.arena->pages[page].owner == VMALLOC_OWNER) {
			assert_int_equal(stack_free(&test, page * TEST_PAGE, KML_NO_CACHE), KML_INTERIOR);
			assert_int_equal(test.allocator->usable(test.heap, page * TEST_PAGE), 0);
		}
	assert_int_equal(test.allocator->usable(test.heap, area + TEST_PAGE), 0);
	assert_int_equal(test.allocator->usable(test.heap, end), 0);
	stack_check(&test);
	stack_must_free(&test, area);
	assert_int_equal(stack_free(&test, area, KML_NO_CACHE), KML_DOUBLE_FREE);
	assert_int_equal(stack_free(&test, area + TEST_PAGE, KML_NO_CACHE), KML_DOUBLE_FREE);
	stack_check_whole(&test);
	stack_close(&test);
}

static void misuse_is_named(void **state)
{
	(void)state;
	each_stack("", "binary", names_misuse);
}

/* A page allocator that refuses from its n-th call on, as one does whose free pages wait on another cpu's list. */
static struct kml_allocator stingy;
static const struct kml_allocator *generous;
static uint32_t stingy_calls, stingy_limit;

static struct kml_grant stingy_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	if (stingy_calls++ >= stingy_limit)
		return (struct kml_grant){.status = KML_NO_MEMORY, .address = KML_NO_ADDRESS};
	return generous->alloc(heap, request);
}

static void gives_back_what_it_took(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, TEST_MIB);
	generous = test.backing->allocator;
	stingy = *generous;
	stingy.alloc = stingy_alloc;
	test.backing->allocator = &stingy;
	uint64_t kept = stack_must_alloc(&test, ((stingy_calls = 0, stingy_limit = 1), area_request(1)));
	struct kml_stats before, after;
	test.allocator->stats(test.heap, &before);
	for (stingy_limit = 0; stingy_limit < 20; stingy_limit++) {
		stingy_calls = 0;
		assert_int_equal(stack_alloc(&test, area_request(20 * TEST_PAGE)).status, KML_NO_MEMORY);
		assert_int_equal(stingy_calls, stingy_limit + 1);
		test.allocator->stats(test.heap, &after);
		assert_int_equal(after.held_bytes, before.held_bytes);
		assert_int_equal(after.free_bytes, before.free_bytes);
		stack_check(&test);
	}
	test.backing->allocator = generous;
	stack_must_free(&test, kept);
	stack_check_whole(&test);
	stack_close(&test);
}

static void a_failure_on_the_way_gives_everything_back(void **state)
{
	(void)state;
	each_stack("", "binary", gives_back_what_it_took);
}

static uint64_t map_limit(void)
{
	unsigned long long limit = 0;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%llu", &limit) != 1)
		limit = 0;
	fclose(file);
	return limit;
}

/* More pages that lie apart than the process may have mappings: refused, and as before. */
static void the_limit_on_mappings_is_no_memory(void **state)
{
	(void)state;
	uint64_t limit = map_limit(), pages = limit + 1000;
	if (limit == 0 || limit > 200000) {
		print_message("skipped: vm.max_map_count is %llu here\n", (unsigned long long)limit);
		skip();
	}
	struct test_stack test;
	char text[64];
	size_t count, first = 0;
	const struct kml_allocator *const *registry = kml_registry(&count);
	while (!is_strategy(registry[first]))
		first++;
	snprintf(text, sizeof(text), "%s/first_fit", registry[first]->name);
	stack_open(&test, text, pages * TEST_PAGE);
	uint64_t *address = calloc(pages, sizeof(*address));
	assert_non_null(address);
	for (uint64_t i = 0; i < pages; i++) {
		const struct kml_request request = page_request(1);
		address[i] = test.allocator->alloc(test.heap, &request).address;
		assert_int_not_equal(address[i], KML_NO_ADDRESS);
	}
	for (uint64_t i = 0; i < pages; i += 2) {
		const struct kml_release release = {.address = address[i], .cache = KML_NO_CACHE};
		assert_int_equal(test.allocator->free(test.heap, &release), KML_OK);
	}
	struct kml_stats before, after;
	test.allocator->stats(test.heap, &before);
	struct kml_request request = area_request(pages / 2 * TEST_PAGE);
	assert_int_equal(test.allocator->alloc(test.heap, &request).status, KML_NO_MEMORY);
	test.allocator->stats(test.heap, &after);
	assert_int_equal(after.free_bytes, before.free_bytes);
	assert_int_equal(after.granted_bytes, before.granted_bytes);
	/* A quarter of it is possible, and the memory is there. */
	request.size_bytes /= 4;
	struct kml_grant grant = test.allocator->alloc(test.heap, &request);
	assert_int_equal(grant.status, KML_OK);
	memset(test.arena->base + grant.address, 1, grant.granted_bytes);
	test.arena->base[address[1]] = 1;
	free(address);
	stack_close(&test);
}

/* ------------------------------------------------------------------------------------------------------ walk, destroy
 */

struct sightings {
	uint64_t in_window, in_arena_bytes, last;
	uint32_t stop_after;
};

static bool see(void *context, const struct kml_block *block)
{
	struct sightings *sightings = context;
	assert_true(sightings->last == 0 || block->address >= sightings->last);
	sightings->last = block->address + block->size_bytes;
	if (block->address < 8 * TEST_MIB)
		sightings->in_arena_bytes += block->size_bytes;
	else
		sightings->in_window++;
	return sightings->stop_after == 0 || --sightings->stop_after > 0;
}

static void walks(const char *spec_text)
{
	struct test_stack test;
	stack_open(&test, spec_text, 8 * TEST_MIB);
	uint64_t area_bytes = 0;
	for (uint64_t i = 1; i <= 5; i++) {
		struct kml_grant grant = stack_alloc(&test, area_request(i * TEST_PAGE));
		assert_int_equal(grant.status, KML_OK);
		area_bytes += grant.granted_bytes;
	}
	struct sightings sightings = {0};
	test.allocator->walk(test.heap, see, &sightings);
	assert_int_equal(sightings.in_window, 5);
	assert_int_equal(sightings.in_arena_bytes, 8 * TEST_MIB - area_bytes);
	/* Told to stop, before the areas and among them. */
	sightings = (struct sightings){.stop_after = 1};
	test.allocator->walk(test.heap, see, &sightings);
	assert_int_equal(sightings.in_window, 0);
	stack_close(&test); /* with all five live */
}

static void a_walk_shows_areas_and_not_their_pages(void **state)
{
	(void)state;
	each_stack("", NULL, walks);
}

/* The arena outlives its heaps: the next one finds plain memory. */
static void the_arena_is_as_it_was_after_a_heap_with_areas(void **state)
{
	(void)state;
	struct kml_error error = {{0}};
	struct test_stack test;
	stack_open(&test, "slob/binary", TEST_MIB);
	uint64_t area = stack_must_alloc(&test, area_request(5 * TEST_PAGE));
	kml_shadow_destroy(test.shadow);
	kml_stack_destroy(&test.stack);
	assert_true(faults(touch_byte, test.arena->base + area));
	for (uint64_t page = 0; page < TEST_MIB / TEST_PAGE; page++)
		assert_null(test.arena->pages[page].owner);
	fill_arena(test.arena, 0x77);
	const struct kml_environment environment = {.arena = test.arena, .page_bytes = TEST_PAGE, .cpu_count = 1};
	assert_true(kml_stack_create(&test.stack, test.spec, &environment, &error));
	test.shadow = kml_shadow_create(&test.stack, test.arena, &error);
	test.heap = kml_stack_top(&test.stack);
	assert_int_equal(stack_must_alloc(&test, area_request(TEST_PAGE)), area);
	stack_close(&test);
}

/* Areas, pages and objects at random, under the shadow. */
static void mixes(const char *spec_text)
{
	struct test_stack test;
	uint64_t live[200], random = 5;
	uint32_t count = 0;
	stack_open(&test, spec_text, 4 * TEST_MIB);
	stack_open_cache(&test, 0, (struct kml_cache){.name = "cache", .object_bytes = 200});
	for (uint32_t step = 0; step < 1500; step++) {
		uint64_t kind = random_below(&random, 8);
		struct kml_request request = area_request(1 + random_below(&random, 40 * TEST_PAGE));
		if (kind < 2)
			request = page_request(1 + random_below(&random, 4));
		else if (kind < 4)
			request = (struct kml_request){.size_bytes = 200, .cache = 0};
		else if (kind < 6)
			request.flags = KML_KMALLOC;
		request.cpu = (uint16_t)random_below(&random, TEST_CPUS);
		if (count < 200 && random_below(&random, 100) < 60) {
			struct kml_grant grant = stack_alloc(&test, request);
			if (grant.status == KML_OK)
				live[count++] = grant.address;
		} else if (count > 0) {
			uint64_t pick = random_below(&random, count);
			stack_must_free(&test, live[pick]);
			live[pick] = live[--count];
		}
		if (step % 100 == 0)
			stack_check(&test);
	}
	while (count > 0)
		stack_must_free(&test, live[--count]);
	stack_check_whole(&test);
	stack_close(&test);
}

static void areas_pages_and_objects_live_together(void **state)
{
	(void)state;
	each_stack("", NULL, mixes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_area_needs_no_run_on_any_stack),
		cmocka_unit_test(a_stray_access_faults),
		cmocka_unit_test(areas_lie_at_the_lowest_place),
		cmocka_unit_test(zeroed_areas_read_as_zero),
		cmocka_unit_test(impossible_and_missing_memory_are_told_apart),
		cmocka_unit_test(misuse_is_named),
		cmocka_unit_test(a_failure_on_the_way_gives_everything_back),
		cmocka_unit_test(the_limit_on_mappings_is_no_memory),
		cmocka_unit_test(a_walk_shows_areas_and_not_their_pages),
		cmocka_unit_test(the_arena_is_as_it_was_after_a_heap_with_areas),
		cmocka_unit_test(areas_pages_and_objects_live_together),
	};
	return cmocka_run_group_tests_name("vmalloc", tests, NULL, NULL);
}
