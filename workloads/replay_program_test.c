/*
 * replay_program_test.c - the checks of a replay find what an allocator does wrong: misuse that is obeyed, damage that
 * comes and goes between samples, a block that cannot be freed at the end, an arena that is not whole again.
 *
 * The allocator is first_fit behind a wrapper that breaks one promise.
 */
#include "workloads/testing.h"

#include "allocators/registry.h"
#include "workloads/replay.h"

enum fault { SOUND, OBEYS, REFUSES_77, DAMAGED_WHILE_FULL, LOSES_AN_AREA };
static enum fault fault;
static uint64_t frees; /* since creation */

struct broken {
	struct kml_heap heap;
	struct kml_heap *inner;
};

static struct kml_heap *inner_of(const struct kml_heap *heap)
{
	return ((const struct broken *)heap)->inner;
}

static const struct kml_allocator broken;

static struct kml_heap *create(const struct kml_environment *environment, const void *config, struct kml_error *error)
{
	struct broken *heap = calloc(1, sizeof *heap);
	assert_non_null(heap);
	heap->heap.allocator = &broken;
	heap->inner = kml_registry_find("first_fit")->create(environment, config, error);
	assert_non_null(heap->inner);
	frees = 0;
	return &heap->heap;
}

static void destroy(struct kml_heap *heap)
{
	inner_of(heap)->allocator->destroy(inner_of(heap));
	free(heap);
}

static struct kml_grant alloc(struct kml_heap *heap, const struct kml_request *request)
{
	return inner_of(heap)->allocator->alloc(inner_of(heap), request);
}

static uint64_t usable(const struct kml_heap *heap, uint64_t address)
{
	return inner_of(heap)->allocator->usable(inner_of(heap), address);
}

static enum kml_status give_back(struct kml_heap *heap, const struct kml_release *release)
{
	frees++;
	if (fault == REFUSES_77 && usable(heap, release->address) == 80)
		return KML_DOUBLE_FREE;
	enum kml_status status = inner_of(heap)->allocator->free(inner_of(heap), release);
	return fault == OBEYS ? KML_OK : status;
}

static void stats(const struct kml_heap *heap, struct kml_stats *figures)
{
	inner_of(heap)->allocator->stats(inner_of(heap), figures);
}

static uint32_t free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	struct kml_stats figures;
	stats(heap, &figures);
	uint32_t count = inner_of(heap)->allocator->free_areas(inner_of(heap), areas);
	return fault == LOSES_AN_AREA && frees > 0 && figures.held_bytes == 0 ? count - 1 : count;
}

static void walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	inner_of(heap)->allocator->walk(inner_of(heap), visit, context);
}

static bool validate(const struct kml_heap *heap, struct kml_error *error)
{
	struct kml_stats figures;
	stats(heap, &figures);
	if (fault == DAMAGED_WHILE_FULL && figures.granted_bytes > 200) {
		snprintf(error->text, sizeof error->text, "a list is broken");
		return false;
	}
	return inner_of(heap)->allocator->validate(inner_of(heap), error);
}

static const struct kml_allocator broken = {.abi_version = KML_ABI_VERSION,
					    .name = "broken",
					    .title = "",
					    .citation = "",
					    .summary = "",
					    .create = create,
					    .destroy = destroy,
					    .alloc = alloc,
					    .free = give_back,
					    .usable = usable,
					    .stats = stats,
					    .free_areas = free_areas,
					    .walk = walk,
					    .validate = validate};

static const struct kmt_origin origin = {
	.source = "", .kernel = "", .command = "", .clock = "", .note = "", .cpu_count = 1, .page_bytes = 4096};

static struct replay_result run(enum fault what, bool check, uint32_t check_every, const struct kmt_event *events,
				uint64_t count)
{
	struct kml_error error = {""};
	struct replay_result result = {0};
	struct kml_spec *spec = kml_spec_parse("first_fit", &error);
	struct kmt_reader *reader = kmt_open_events(&origin, NULL, 0, events, count, &error);
	if (!spec || !reader) {
		fail_msg("%s", error.text);
		return result;
	}
	spec->layer[0] = &broken;
	const struct replay_options options = {
		.arena_bytes = 4096, .check = check, .check_every = check_every, .seed = 1};
	fault = what;
	if (!replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
		fail_msg("%s", error.text);
	kmt_close(reader);
	kml_spec_free(spec);
	return result;
}

static void expect_failure(const struct replay_result *result, const char *text)
{
	assert_true(result->check_failed);
	if (!strstr(result->check_error.text, text))
		fail_msg("\"%s\" does not say \"%s\"", result->check_error.text, text);
}

#define ALLOC(id, bytes)                                                                                               \
	{                                                                                                              \
		.op = KMT_ALLOC, .object = (id), .size_bytes = (bytes), .cache = KMT_NO_CACHE, NO_PLACE                \
	}
#define FREE(id)                                                                                                       \
	{                                                                                                              \
		.op = KMT_FREE, .object = (id), .cache = KMT_NO_CACHE, NO_PLACE                                        \
	}
#define MISUSE(id, kind, offset)                                                                                       \
	{                                                                                                              \
		.op = KMT_MISUSE, .object = (id), .order = (kind), .size_bytes = (offset), .cache = KMT_NO_CACHE,      \
		NO_PLACE                                                                                               \
	}
#define COUNT(events) (sizeof(events) / sizeof(events)[0])

static void misuse_that_is_obeyed(void **state)
{
	(void)state;
	static const struct kmt_event inside[] = {ALLOC(1, 100), MISUSE(1, KMT_MISUSE_INTERIOR, 16)};
	static const struct kmt_event twice[] = {ALLOC(1, 100), FREE(1), MISUSE(1, KMT_MISUSE_DOUBLE, 0)};
	static const struct kmt_event outside[] = {MISUSE(1, KMT_MISUSE_FOREIGN, 5)};
	for (int check = 0; check < 2; check++) {
		struct replay_result result = run(OBEYS, check, 0, inside, COUNT(inside));
		expect_failure(&result, "event 1 (misuse of id 1): status: ");
		result = run(OBEYS, check, 0, twice, COUNT(twice));
		expect_failure(&result, "event 2 (misuse of id 1): status: ");
		result = run(OBEYS, check, 0, outside, COUNT(outside));
		expect_failure(&result, "event 0 (misuse of id 1): status: ");
		result = run(SOUND, check, 0, inside, COUNT(inside));
		assert_false(result.check_failed);
		assert_int_equal(result.refused_frees, 1);
	}
}

/* Where a dead object was, another one lies: a free there would be right. */
static void an_address_in_use_again_is_not_misused(void **state)
{
	(void)state;
	static const struct kmt_event events[] = {ALLOC(1, 100), FREE(1), ALLOC(2, 100),
						  MISUSE(1, KMT_MISUSE_DOUBLE, 0), FREE(2)};
	for (int check = 0; check < 2; check++) {
		struct replay_result result = run(SOUND, check, 1, events, COUNT(events));
		assert_false(result.check_failed);
		assert_int_equal(result.refused_frees, 0);
		assert_int_equal(result.dead_frees, 1);
		assert_int_equal(result.frees, 2);
	}
}

static void damage_between_samples(void **state)
{
	(void)state;
	static const struct kmt_event events[] = {ALLOC(1, 100), ALLOC(2, 200), FREE(2), FREE(1)};
	assert_false(run(DAMAGED_WHILE_FULL, true, 0, events, COUNT(events)).check_failed);
	assert_false(run(DAMAGED_WHILE_FULL, true, 4, events, COUNT(events)).check_failed);
	assert_false(run(DAMAGED_WHILE_FULL, false, 1, events, COUNT(events)).check_failed);
	for (uint32_t every = 1; every <= 2; every++) {
		struct replay_result result = run(DAMAGED_WHILE_FULL, true, every, events, COUNT(events));
		expect_failure(&result, "after event 2: validate: broken: a list is broken");
	}
}

static void the_end_of_a_check_frees_all(void **state)
{
	(void)state;
	static const struct kmt_event events[] = {ALLOC(1, 100), ALLOC(2, 77)};
	assert_false(run(REFUSES_77, false, 0, events, COUNT(events)).check_failed);
	struct replay_result result = run(REFUSES_77, true, 0, events, COUNT(events));
	expect_failure(&result, "after event 2: status: ");
	result = run(LOSES_AN_AREA, true, 0, events, COUNT(events));
	expect_failure(&result, "after event 2: whole: ");
	result = run(SOUND, true, 0, events, COUNT(events));
	assert_false(result.check_failed);
	assert_int_equal(result.frees, 0); /* of the trace */
	assert_int_equal(result.at_end.live_blocks, 2);
}

/* Every byte of 16-byte units is taken, counted as requested, and given back. */
static void exhaustion_is_in_the_books(void **state)
{
	(void)state;
	static const struct kmt_event events[] = {
		ALLOC(1, 100), {.op = KMT_EXHAUST, .order = 1, .cache = KMT_NO_CACHE, NO_PLACE}, ALLOC(2, 1)};
	struct replay_result result = run(SOUND, true, 1, events, COUNT(events));
	assert_false(result.check_failed);
	assert_int_equal(result.failures[KML_NO_MEMORY], 1);
	assert_int_equal(result.at_end.stats.free_bytes, 0);
	assert_int_equal(result.at_end.requested_bytes, 4096 - 112 + 100);
	assert_int_equal(result.at_end.stats.granted_bytes, 4096);
	static const struct kmt_event back[] = {{.op = KMT_EXHAUST, .order = 1, .cache = KMT_NO_CACHE, NO_PLACE},
						{.op = KMT_EXHAUST, .order = 0, .cache = KMT_NO_CACHE, NO_PLACE},
						ALLOC(2, 4096)};
	result = run(SOUND, true, 1, back, COUNT(back));
	assert_false(result.check_failed);
	assert_int_equal(result.at_end.requested_bytes, 4096);
	assert_int_equal(result.at_end.live_blocks, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misuse_that_is_obeyed),      cmocka_unit_test(an_address_in_use_again_is_not_misused),
		cmocka_unit_test(damage_between_samples),     cmocka_unit_test(the_end_of_a_check_frees_all),
		cmocka_unit_test(exhaustion_is_in_the_books),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
