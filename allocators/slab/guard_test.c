/*
 * guard_test.c - damage is planted, and must be named: red zones, poison, misuse, on every strategy that has guards.
 *
 * The layout is that of calculate_sizes in mm/slub.c, the values those of include/linux/poison.h.
 */
#include "allocators/slab/front_testing.h"
#include "allocators/slab/guard.h"

#include <stdlib.h>

enum { PLAIN, CONSTRUCTED, UNDER_RCU, ALIGNED, TEST_CACHES };

static const struct kml_cache caches[TEST_CACHES] = {
	[PLAIN] = {.name = "plain", .object_bytes = 100},
	[CONSTRUCTED] = {.name = "constructed", .object_bytes = 96, .has_constructor = true},
	[UNDER_RCU] = {.name = "under-rcu", .object_bytes = 64, .typesafe_by_rcu = true},
	[ALIGNED] = {.name = "aligned", .object_bytes = 200, .align_bytes = 64},
};

static void open_guarded(struct test_stack *test, const char *spec_text)
{
	stack_open(test, spec_text, 4 * TEST_MIB);
	for (uint32_t i = 0; i < TEST_CACHES; i++)
		stack_open_cache(test, i, caches[i]);
}

/* What is damaged on purpose goes past the shadow, which would report it. */
static struct kml_grant take(struct test_stack *test, uint32_t cache)
{
	const struct kml_request request = {
		.size_bytes = caches[cache].object_bytes, .cache = cache, .recorded = KML_NO_ADDRESS};
	return test->allocator->alloc(test->heap, &request);
}

static uint64_t must_take(struct test_stack *test, uint32_t cache)
{
	struct kml_grant grant = take(test, cache);
	if (grant.status != KML_OK)
		fail_msg("%s: %s: %s", test->text, caches[cache].name, kml_status_name(grant.status));
	return grant.address;
}

static enum kml_status give(struct test_stack *test, uint64_t address, uint32_t cache)
{
	const struct kml_release release = {.address = address, .cache = cache};
	return test->allocator->free(test->heap, &release);
}

static void assert_valid(const struct test_stack *test)
{
	struct kml_error error = {{0}};
	if (!test->allocator->validate(test->heap, &error))
		fail_msg("%s: %s", test->text, error.text);
}

static void assert_invalid(const struct test_stack *test, const char *reason)
{
	struct kml_error error = {{0}};
	if (test->allocator->validate(test->heap, &error))
		fail_msg("%s: damage went unnoticed: %s", test->text, reason);
	if (strstr(error.text, reason) == NULL)
		fail_msg("%s: \"%s\" lacks \"%s\"", test->text, error.text, reason);
}

static void assert_bytes(const struct test_stack *test, uint64_t address, uint64_t count, uint8_t value)
{
	for (uint64_t i = 0; i < count; i++)
		if (test->arena->base[address + i] != value)
			fail_msg("%s: byte %llu of %llu at %llu is 0x%02x, not 0x%02x", test->text,
				 (unsigned long long)i, (unsigned long long)count, (unsigned long long)address,
				 test->arena->base[address + i], value);
}

/* ------------------------------------------------------------------------------------------- strategies with guards */

static bool has_debug(const struct kml_allocator *allocator)
{
	for (const struct kml_param *param = allocator->params; param != NULL && param->name != NULL; param++)
		if (strcmp(param->name, "debug") == 0)
			return true;
	return false;
}

static void each_guarded(const char *guards, const char *only_backing, spec_test *test)
{
	size_t count;
	unsigned cases = 0;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; is_strategy(registry[i]) && has_debug(registry[i]) && j < count; j++) {
			char text[128];
			if (!is_backing(registry[j]) ||
			    (only_backing != NULL && strcmp(registry[j]->name, only_backing) != 0))
				continue;
			snprintf(text, sizeof(text), "%s:debug=%s/%s", registry[i]->name, guards, registry[j]->name);
			test(text);
			cases++;
		}
	assert_true(cases > 0);
}

/* ---------------------------------------------------------------------------------------------------------- layout */

/*
 * calculate_sizes with red zones: the object rounded to words, a word more where that leaves none for the right zone;
 * the free pointer and a word of padding behind; in front a left zone of a word, rounded to the alignment; all of it
 * rounded to the alignment.
 */
static uint64_t kernel_slot_bytes(uint64_t object_bytes, uint64_t align_bytes)
{
	uint64_t size = (object_bytes + 7) / 8 * 8;
	if (size == object_bytes)
		size += 8;
	uint64_t align = align_bytes < 8 ? 8 : align_bytes;
	size += 8 + 8 + (8 + align - 1) / align * align;
	return (size + align - 1) / align * align;
}

static void slub_slots_grow_as_in_the_kernel(void **state)
{
	(void)state;
	struct test_stack test;
	struct kml_cache_stats stats;
	open_guarded(&test, "slub:debug=on/binary");
	for (uint32_t i = 0; i < TEST_CACHES; i++) {
		assert_true(test.allocator->cache_stats(test.heap, i, &stats));
		assert_int_equal(stats.slot_bytes, kernel_slot_bytes(caches[i].object_bytes, caches[i].align_bytes));
	}
	/* By hand: 104 + 8 + 8 + 8; 200 + 8, 8 + 8, 64, rounded to 64. */
	assert_int_equal(kernel_slot_bytes(100, 0), 128);
	assert_int_equal(kernel_slot_bytes(200, 64), 320);
	stack_close(&test);
	/* Poison alone: the free pointer moves behind the object. */
	open_guarded(&test, "slub:debug=poison/binary");
	assert_true(test.allocator->cache_stats(test.heap, PLAIN, &stats));
	assert_int_equal(stats.slot_bytes, 104 + 8);
	stack_close(&test);
}

static void shows_its_zones(const char *spec_text)
{
	struct test_stack test;
	open_guarded(&test, spec_text);
	uint64_t object = must_take(&test, PLAIN), aligned = must_take(&test, ALIGNED);
	uint64_t constructed = must_take(&test, CONSTRUCTED);
	assert_int_equal(aligned % 64, 0);
	assert_bytes(&test, object - 8, 8, 0xcc);
	assert_bytes(&test, object + 100, 4, 0xcc);
	assert_bytes(&test, aligned - 64, 64, 0xcc);
	assert_bytes(&test, aligned + 200, 8, 0xcc);
	memset(test.arena->base + constructed, 0x42, 96);
	assert_int_equal(give(&test, object, PLAIN), KML_OK);
	assert_int_equal(give(&test, constructed, CONSTRUCTED), KML_OK);
	assert_bytes(&test, object - 8, 8, 0xbb);
	assert_bytes(&test, object, 99, 0x6b);
	assert_bytes(&test, object + 99, 1, 0xa5);
	assert_bytes(&test, object + 100, 4, 0xbb);
	assert_bytes(&test, constructed, 96, 0x42);
	assert_bytes(&test, constructed + 96, 8, 0xbb);
	assert_valid(&test);
	stack_close(&test);
}

static void zones_and_poison_are_the_kernel_s(void **state)
{
	(void)state;
	each_guarded("on", NULL, shows_its_zones);
}

/* --------------------------------------------------------------------------------------------------------- red zones
 */

static void names_red_zones(const char *spec_text)
{
	static const struct {
		int64_t offset;
		const char *name;
	} places[] = {{-1, "left red zone"}, {-8, "left red zone"}, {100, "right red zone"}, {103, "right red zone"}};
	struct test_stack test;
	open_guarded(&test, spec_text);
	(void)must_take(&test, PLAIN);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t object = must_take(&test, PLAIN);
		uint8_t *damaged = test.arena->base + object + places[i].offset;
		char expected[128];
		struct kml_stats before, after;
		test.allocator->stats(test.heap, &before);
		*damaged = 0x41;
		snprintf(expected, sizeof(expected),
			 "cache plain, %s of the object at %llu: byte %lld is 0x41, not 0xcc", places[i].name,
			 (unsigned long long)object, (long long)places[i].offset);
		assert_invalid(&test, expected);
		assert_int_equal(give(&test, object, PLAIN), KML_RED_ZONE);
		/* Not freed, and mended. */
		test.allocator->stats(test.heap, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(test.allocator->usable(test.heap, object), 100);
		assert_int_equal(*damaged, 0xcc);
		assert_valid(&test);
		assert_int_equal(give(&test, object, PLAIN), KML_OK);
		assert_int_equal(give(&test, object, PLAIN), KML_DOUBLE_FREE);
	}
	/* A write inside is nobody's business. */
	uint64_t object = must_take(&test, PLAIN);
	memset(test.arena->base + object, 0x41, 100);
	assert_valid(&test);
	assert_int_equal(give(&test, object, PLAIN), KML_OK);
	stack_close(&test);
}

static void an_overrun_is_a_red_zone(void **state)
{
	(void)state;
	each_guarded("on", NULL, names_red_zones);
	each_guarded("red_zone", "binary", names_red_zones);
}

/* ------------------------------------------------------------------------------------------------------------ poison
 */

enum { MANY = 200 };

/* Take objects until all that were free are gone: how often poison was named. Everything is given back. */
static uint32_t count_poisoned(struct test_stack *test, uint32_t cache)
{
	static uint64_t live[MANY];
	uint32_t poisoned = 0, count = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		struct kml_stats before, after;
		test->allocator->stats(test->heap, &before);
		struct kml_grant grant = take(test, cache);
		if (grant.status == KML_OK) {
			live[count++] = grant.address;
			continue;
		}
		assert_int_equal(grant.status, KML_POISON);
		assert_int_equal(grant.address, KML_NO_ADDRESS);
		assert_int_equal(grant.granted_bytes, 0);
		test->allocator->stats(test->heap, &after);
		assert_int_equal(before.granted_bytes, after.granted_bytes);
		poisoned++;
	}
	while (count > 0)
		assert_int_equal(give(test, live[--count], cache), KML_OK);
	return poisoned;
}

static void names_poison(const char *spec_text)
{
	static const int64_t offsets[] = {0, 50, 99};
	struct test_stack test;
	open_guarded(&test, spec_text);
	(void)must_take(&test, PLAIN); /* the slab stays */
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		uint64_t object = must_take(&test, PLAIN);
		char expected[128];
		assert_int_equal(give(&test, object, PLAIN), KML_OK);
		test.arena->base[object + (uint64_t)offsets[i]] = 0x41;
		snprintf(expected, sizeof(expected), "poison of the object at %llu: byte %lld is 0x41, not 0x%02x",
			 (unsigned long long)object, (long long)offsets[i], offsets[i] == 99 ? 0xa5 : 0x6b);
		assert_invalid(&test, expected);
		assert_int_equal(count_poisoned(&test, PLAIN), 1);
		assert_valid(&test);
		assert_int_equal(count_poisoned(&test, PLAIN), 0);
	}
	stack_close(&test);
}

static void a_write_after_free_is_poison(void **state)
{
	(void)state;
	each_guarded("on", NULL, names_poison);
	each_guarded("poison", "binary", names_poison);
}

/* Their contents are theirs even when they are free; what lies around them is not. */
static void spares_contents(const char *spec_text)
{
	static const uint32_t kept[] = {CONSTRUCTED, UNDER_RCU};
	struct test_stack test;
	open_guarded(&test, spec_text);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		(void)must_take(&test, kept[i]);
		uint64_t object = must_take(&test, kept[i]), object_bytes = caches[kept[i]].object_bytes;
		memset(test.arena->base + object, 0x77, object_bytes);
		assert_int_equal(give(&test, object, kept[i]), KML_OK);
		assert_bytes(&test, object, object_bytes, 0x77);
		test.arena->base[object + 5] = 0x41;
		assert_valid(&test);
		assert_int_equal(count_poisoned(&test, kept[i]), 0);
		test.arena->base[object + object_bytes] = 0x41;
		assert_invalid(&test, "right red zone");
		assert_int_equal(count_poisoned(&test, kept[i]), 1);
		assert_valid(&test);
	}
	stack_close(&test);
}

static void constructed_objects_have_no_poison(void **state)
{
	(void)state;
	each_guarded("on", NULL, spares_contents);
}

/* ---------------------------------------------------------------------------------------------------------- validate
 */

/* Three of them are all named; of forty as many as fit, and the rest counted. */
static void names_all(const char *spec_text)
{
	uint64_t objects[40];
	struct test_stack test;
	struct kml_error error = {{0}};
	open_guarded(&test, spec_text);
	for (uint32_t i = 0; i < 40; i++)
		objects[i] = must_take(&test, i % 2 == 0 ? PLAIN : ALIGNED);
	for (uint32_t damaged = 0; damaged < 40; damaged++) {
		test.arena->base[objects[damaged] - 1] = 0;
		assert_false(test.allocator->validate(test.heap, &error));
		uint32_t named = 0;
		for (uint32_t i = 0; i <= damaged; i++) {
			char address[48];
			snprintf(address, sizeof(address), "object at %llu: byte -1 is 0x00",
				 (unsigned long long)objects[i]);
			named += strstr(error.text, address) != NULL;
		}
		const char *rest = strstr(error.text, "; and ");
		unsigned long long unnamed = rest != NULL ? strtoull(rest + strlen("; and "), NULL, 10) : 0;
		assert_int_equal(named + unnamed, damaged + 1);
		assert_true(damaged >= 3 || named == damaged + 1);
	}
	stack_close(&test);
}

static void validate_names_every_damaged_object(void **state)
{
	(void)state;
	each_guarded("on", "binary", names_all);
}

/* Slots of 128 bytes leave nothing of a page; those of 320 do. */
static void names_tails(const char *spec_text)
{
	struct test_stack test;
	open_guarded(&test, spec_text);
	uint64_t object = must_take(&test, ALIGNED);
	const struct slab *slab = kml_arena_page(test.arena, object)->owner;
	const struct slab_cache *cache = slab->cache;
	uint64_t tail = slab->first + slab->objects * cache->slot_bytes,
		 end = slab->address + slab->used_bytes - cache->trailer_bytes;
	if (cache->index_bytes == 0 && tail < end) {
		char expected[64];
		assert_bytes(&test, tail, end - tail, 0x5a);
		test.arena->base[end - 1] = 0x41;
		snprintf(expected, sizeof(expected), "padding of the slab at %llu", (unsigned long long)slab->address);
		assert_invalid(&test, expected);
		test.arena->base[end - 1] = 0x5a;
	}
	/* Between the right zone and the next object. */
	uint8_t *padding = test.arena->base + object - cache->object_offset + cache->slot_bytes - 1;
	assert_int_equal(*padding, 0x5a);
	*padding = 0x41;
	assert_invalid(&test, "cache aligned, padding of the object");
	assert_int_equal(give(&test, object, ALIGNED), KML_RED_ZONE);
	assert_int_equal(give(&test, object, ALIGNED), KML_OK);
	stack_close(&test);
}

static void padding_is_guarded_too(void **state)
{
	(void)state;
	each_guarded("on", "binary", names_tails);
}

/* --------------------------------------------------------------------------------- misuse, on every strategy at all */

static void names_misuse(const char *spec_text)
{
	struct test_stack test;
	open_guarded(&test, spec_text);
	uint64_t object = stack_must_alloc(&test, (struct kml_request){.size_bytes = 100, .cache = PLAIN});
	uint64_t other = stack_must_alloc(&test, (struct kml_request){.size_bytes = 200, .cache = ALIGNED});
	assert_int_equal(stack_free(&test, object + 8, PLAIN), KML_INTERIOR);
	assert_int_equal(stack_free(&test, object + 99, KML_NO_CACHE), KML_INTERIOR);
	assert_int_equal(stack_free(&test, object, ALIGNED), KML_WRONG_CACHE);
	assert_int_equal(stack_free(&test, other, PLAIN), KML_WRONG_CACHE);
	assert_int_equal(stack_free(&test, test.arena->size_bytes, PLAIN), KML_FOREIGN);
	assert_int_equal(stack_free(&test, KML_NO_ADDRESS - 7, PLAIN), KML_FOREIGN);
	/* Before the first object of a slab: colour, management, a red zone or another slab, but no object. */
	enum kml_status status = stack_free(&test, object - 1, PLAIN);
	assert_true(status == KML_FOREIGN || status == KML_DOUBLE_FREE || status == KML_INTERIOR);
	assert_int_equal(stack_free(&test, object, PLAIN), KML_OK);
	assert_int_equal(stack_free(&test, object, PLAIN), KML_DOUBLE_FREE);
	assert_int_equal(stack_free(&test, object, KML_NO_CACHE), KML_DOUBLE_FREE);
	assert_int_equal(stack_free(&test, other, ALIGNED), KML_OK);
	stack_check_whole(&test);
	stack_close(&test);
}

static void misuse_is_named_with_and_without_guards(void **state)
{
	(void)state;
	each_stack("", NULL, names_misuse);
	each_guarded("on", NULL, names_misuse);
}

static void refuses_busy_caches(const char *spec_text)
{
	struct test_stack test;
	open_guarded(&test, spec_text);
	for (uint32_t i = 0; i < TEST_CACHES; i++) {
		const struct kml_request request = {.size_bytes = caches[i].object_bytes, .cache = i};
		uint64_t a = stack_must_alloc(&test, request), b = stack_must_alloc(&test, request);
		assert_int_equal(test.allocator->cache_close(test.heap, i), KML_CACHE_BUSY);
		assert_int_equal(stack_free(&test, a, i), KML_OK);
		assert_int_equal(test.allocator->cache_close(test.heap, i), KML_CACHE_BUSY);
		stack_check(&test);
		assert_int_equal(stack_free(&test, b, i), KML_OK);
		assert_int_equal(test.allocator->cache_close(test.heap, i), KML_OK);
		assert_int_equal(test.arena->held_bytes, 0);
		stack_open_cache(&test, i, caches[i]);
	}
	stack_check_whole(&test);
	stack_close(&test);
}

static void a_busy_cache_is_not_destroyed(void **state)
{
	(void)state;
	each_stack("", NULL, refuses_busy_caches);
	each_guarded("on", "binary", refuses_busy_caches);
}

/* ------------------------------------------------------------------------------------------------------ a long program
 */

/* At random, and every now and then a byte is damaged: as many answers as damages, each of the right kind. */
static void counts(const char *spec_text)
{
	static uint64_t live[300], last_freed;
	uint64_t random = 11;
	uint32_t count = 0, zones = 0, named_zones = 0, poisons = 0, named_poisons = 0;
	struct test_stack test;
	open_guarded(&test, spec_text);
	for (uint32_t step = 0; step < 4000; step++) {
		if (count < 300 && random_below(&random, 100) < 55) {
			struct kml_grant grant = take(&test, PLAIN);
			named_poisons += grant.status == KML_POISON;
			if (grant.status == KML_OK) {
				live[count++] = grant.address;
				memset(test.arena->base + grant.address, 0xee, 100);
			}
			last_freed = grant.status == KML_OK && grant.address == last_freed ? 0 : last_freed;
		} else if (count > 0) {
			uint64_t pick = random_below(&random, count), object = live[pick];
			bool damages = random_below(&random, 20) == 0;
			if (damages)
				test.arena->base[object + (random_below(&random, 2) ? 100 : (uint64_t)-1)] ^= 0x10;
			enum kml_status status = give(&test, object, PLAIN);
			zones += damages;
			named_zones += status == KML_RED_ZONE;
			if (status != KML_OK)
				assert_int_equal(give(&test, object, KML_NO_CACHE), KML_OK);
			live[pick] = live[--count];
			last_freed = object;
		}
		/* Of a slab that still has a live object: it is not given back with the damage. */
		const struct slab *slab = last_freed ? kml_arena_page(test.arena, last_freed)->owner : NULL;
		if (slab != NULL && slab->live > 0 && random_below(&random, 30) == 0) {
			test.arena->base[last_freed + random_below(&random, 100)] ^= 0x10;
			poisons++;
			named_poisons += count_poisoned(&test, PLAIN);
			last_freed = 0;
		}
	}
	assert_true(zones > 20 && poisons > 20);
	assert_int_equal(named_zones, zones);
	assert_int_equal(named_poisons, poisons);
	assert_valid(&test);
	while (count > 0)
		assert_int_equal(give(&test, live[--count], PLAIN), KML_OK);
	stack_check_whole(&test);
	stack_close(&test);
}

static void every_damage_is_answered_once(void **state)
{
	(void)state;
	each_guarded("on", NULL, counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slub_slots_grow_as_in_the_kernel),
		cmocka_unit_test(zones_and_poison_are_the_kernel_s),
		cmocka_unit_test(an_overrun_is_a_red_zone),
		cmocka_unit_test(a_write_after_free_is_poison),
		cmocka_unit_test(constructed_objects_have_no_poison),
		cmocka_unit_test(validate_names_every_damaged_object),
		cmocka_unit_test(padding_is_guarded_too),
		cmocka_unit_test(misuse_is_named_with_and_without_guards),
		cmocka_unit_test(a_busy_cache_is_not_destroyed),
		cmocka_unit_test(every_damage_is_answered_once),
	};
	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
