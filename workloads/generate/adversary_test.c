/*
 * adversary_test.c - Knuth's and Robson's adversaries: the figures of the literature, for every allocator there is.
 */
#include "workloads/testing.h"

#include <inttypes.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/adversary.h"
#include "workloads/generate/generate.h"
#include "workloads/replay.h"

enum { UNIT_BYTES = 16 };

/* ------------------------------------------------------------------------------------------------ stacks */

/* Configurations that choose their blocks in other ways than the registry's defaults. */
static const char *const more_stacks[] = {
	"binary:policy=fifo",      "binary:policy=lowest",   "binary:max_order=7", "fibonacci:j=3",
	"fibonacci:policy=lowest", "weighted:policy=lowest", "kary:k=4",           "kary:k=16",
	"slub/first_fit",          "slab/fibonacci",         "slob/best_fit",      "solaris/weighted",
	"slub:percpu=off/binary",
};
enum { MORE_STACKS = sizeof more_stacks / sizeof more_stacks[0], STACKS_MAX = 64 };

/* All that allocate and reuse what is freed. */
static uint32_t all_stacks(const char **stacks)
{
	size_t registered;
	const struct kml_allocator *const *allocators = kml_registry(&registered);
	uint32_t count = 0;
	for (size_t i = 0; i < registered; i++)
		if (!(allocators[i]->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED)))
			stacks[count++] = allocators[i]->name;
	for (size_t i = 0; i < MORE_STACKS; i++)
		stacks[count++] = more_stacks[i];
	assert_true(count > MORE_STACKS + 10 && count <= STACKS_MAX);
	return count;
}

static struct adversary_row measure(const char *name, uint64_t r, uint64_t live_units, const char *against,
				    uint64_t step_units)
{
	const struct adversary adversary = {.name = name, .r = r, .live_units = live_units, .unit_bytes = UNIT_BYTES};
	struct adversary_row row;
	struct kml_error error;
	if (!adversary_measure(&adversary, against, step_units, &row, &error))
		fail_msg("%s against %s: %s", name, against, error.text);
	return row;
}

static struct workload_outcome play(const char *text, const char *against)
{
	struct workload_outcome outcome;
	struct kml_error error;
	if (!workload_play(text, against, &outcome, &error))
		fail_msg("%s against %s: %s", text, against, error.text);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------ Knuth */

/* TAOCP 1, 2.5 exercise 41: lowest address first needs exactly (1 + r/2) n. */
static void knuth_lowest_first_needs_exactly(void **state)
{
	(void)state;
	for (uint64_t r = 1; r <= 10; r++) {
		for (uint64_t times = 1; times <= 3; times++) {
			uint64_t n = times << (r + 1);
			char against[64];
			snprintf(against, sizeof against, "binary:policy=lowest,max_order=%" PRIu64, r);
			struct adversary_row row = measure("knuth", r, n, against, 0);
			assert_int_equal(row.refused, 0);
			assert_int_equal(row.span_units, n + r * n / 2);
			assert_int_equal(row.bound_units, n + r * n / 2);
		}
	}
}

/* The same: no choice of blocks ever overflows (r + 1) n units. */
static void knuth_binary_never_overflows(void **state)
{
	(void)state;
	static const char *const policies[] = {"lifo", "fifo", "lowest"};
	const uint64_t largest_root = 40;
	for (uint64_t r = 1; r <= 8; r++) {
		for (uint32_t i = 0; i < 6; i++) {
			char against[64], text[64];
			snprintf(against, sizeof against, "binary:policy=%s,max_order=%" PRIu64, policies[i % 3],
				 i < 3 ? r : largest_root);
			snprintf(text, sizeof text, "knuth:r=%" PRIu64, r);
			struct workload_outcome outcome = play(text, against);
			uint64_t n = 2ull << r;
			assert_int_equal(outcome.arena_bytes, (r + 1) * n * UNIT_BYTES);
			assert_int_equal(outcome.peak_live_bytes, n * UNIT_BYTES);
			assert_int_equal(outcome.refused, 0);
			assert_true(outcome.span_bytes <= outcome.arena_bytes);
		}
	}
}

/* ------------------------------------------------------------------------------------------------ Robson */

/* N(n, 2) = floor((3n - 1)/2); N(16, 2) = 23. */
static void robson_sizes_one_and_two(void **state)
{
	(void)state;
	const char *stacks[STACKS_MAX];
	uint32_t count = all_stacks(stacks);
	assert_int_equal(measure("robson", 1, 16, "first_fit", 0).bound_units, 23);
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t n = 4; n <= 64; n += 4)
			if (measure("robson", 1, n, stacks[i], 0).span_units < (3 * n - 1) / 2)
				fail_msg("%s serves %" PRIu64 " live units in less than theory allows", stacks[i], n);
}

/* M (log2(n)/2 + 1) - n + 1, whoever allocates, and never more than M live. */
static void robson_every_allocator_needs(void **state)
{
	(void)state;
	const char *stacks[STACKS_MAX];
	uint32_t count = all_stacks(stacks);
	for (uint32_t i = 0; i < count; i++) {
		for (uint64_t r = 1; r <= 7; r++) {
			uint64_t n = 1ull << r, live = (r % 2 ? 2 : 6) * n;
			struct adversary_row row = measure("robson", r, live, stacks[i], 0);
			if (row.refused > 0)
				fail_msg("%s refuses in a roomy arena", stacks[i]);
			if (row.span_units < live * (r + 2) / 2 - n + 1)
				fail_msg("%s: r = %" PRIu64 ": %" PRIu64 " units, theory asks for %" PRIu64, stacks[i],
					 r, row.span_units, live * (r + 2) / 2 - n + 1);
		}
	}
}

/* The other side of it: in an arena that is a unit smaller everybody refuses something. */
static void robson_beats_any_smaller_arena(void **state)
{
	(void)state;
	const char *stacks[STACKS_MAX];
	uint32_t count = all_stacks(stacks);
	for (uint32_t i = 0; i < count; i++) {
		/* M = 2048 units, n = 64: 8129 units. */
		char text[64];
		snprintf(text, sizeof text, "robson:r=6,live=2048,arena=%d", 8128 * UNIT_BYTES);
		if (play(text, stacks[i]).refused == 0)
			fail_msg("%s serves everything in 8128 units", stacks[i]);
	}
}

/* What a row says of the smallest arena is between what theory asks for and what suffices. */
static void robson_smallest_arena(void **state)
{
	(void)state;
	struct adversary_row row = measure("robson", 4, 64, "binary:policy=lowest,max_order=4", 1);
	assert_true(row.needed_units >= row.bound_units && row.needed_units <= 5 * 64);
	row = measure("knuth", 4, 64, "binary:policy=lowest,max_order=4", 1);
	assert_true(row.needed_units >= 64 && row.needed_units <= row.enough_units);
	assert_int_equal(row.enough_units, 5 * 64);
}

/* ------------------------------------------------------------------------------------------------ parameters */

static void refuses(const char *text, const char *with)
{
	struct workload_outcome outcome;
	struct kml_error error;
	assert_false(workload_play(text, NULL, &outcome, &error));
	if (!strstr(error.text, with))
		fail_msg("%s: '%s' does not say '%s'", text, error.text, with);
}

static void bad_parameters_are_named(void **state)
{
	(void)state;
	refuses("knuth:r=3,live=24", "live=24: with r=3 use a multiple of 16");
	refuses("robson:r=3,live=8", "live=8: with r=3 use a multiple of 16");
	refuses("knuth:r=0", "r=0");
	refuses("robson:r=21", "r=21");
	refuses("long_lists", "it plays against no stack");
	refuses("robsen", "no such workload");
}

/* ------------------------------------------------------------------------------------------------ as traces */

/* The workload as a file. */
static struct kmt_reader *write_trace(const char *text, const char *against, const char *path)
{
	struct kml_error error;
	struct kmt_item item;
	struct kmt_reader *reader = workload_open(text, against, &error);
	if (!reader)
		fail_msg("%s against %s: %s", text, against, error.text);
	struct kmt_writer *writer = kmt_create(path, kmt_reader_origin(reader), NULL, 0, &error);
	assert_non_null(writer);
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, &error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		assert_true(kmt_write_item(writer, &item, &error));
	assert_int_equal(kind, KMT_ITEM_END);
	assert_true(kmt_finish(writer, NULL, &error));
	kmt_close(reader);
	reader = kmt_open(path, &error);
	assert_non_null(reader);
	return reader;
}

/* Lowest and highest byte that was granted at any sample. */
struct extent {
	uint64_t lowest, highest;
};

static bool stretch(void *context, const struct kml_block *block)
{
	struct extent *extent = context;
	if (block->state != KML_BLOCK_GRANTED)
		return true;
	if (block->address < extent->lowest)
		extent->lowest = block->address;
	if (block->address + block->size_bytes > extent->highest)
		extent->highest = block->address + block->size_bytes;
	return true;
}

static bool look(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		 const struct kml_arena *arena)
{
	const struct kml_heap *heap = kml_stack_top(stack);
	(void)sample;
	(void)arena;
	heap->allocator->walk(heap, stretch, context);
	return true;
}

/* The checked replay of a trace does to the same stack, in the same arena, what was done when it was made. Refusals. */
static uint64_t replay_reproduces(const char *text, const char *against)
{
	char path[3000];
	struct kml_error error;
	struct replay_result result;
	struct extent extent = {.lowest = UINT64_MAX};
	const struct workload_outcome outcome = play(text, against);
	snprintf(path, sizeof path, "%s/adversary-%ld.kmt", test_output(), (long)getpid());
	struct kmt_reader *reader = write_trace(text, against, path);
	struct kml_spec *spec = kml_spec_parse(against, &error);
	assert_non_null(spec);
	const struct replay_options options = {.arena_bytes = kmt_reader_origin(reader)->arena_bytes,
					       .check = true,
					       .samples = (uint32_t)kmt_reader_totals(reader)->events,
					       .seed = 1};
	if (!replay_run(reader, spec, &options, look, NULL, &extent, &result, &error))
		fail_msg("%s against %s: %s", text, against, error.text);
	if (result.check_failed)
		fail_msg("%s against %s: %s", text, against, result.check_error.text);
	if (replay_failures(&result) != outcome.refused || result.peak_held_bytes != outcome.peak_held_bytes ||
	    result.peak_requested_bytes != outcome.peak_live_bytes ||
	    extent.highest - extent.lowest != outcome.span_bytes)
		fail_msg("%s against %s: %" PRIu64 " failures, span %" PRIu64 " when it was made: %" PRIu64
			 ", %" PRIu64,
			 text, against, replay_failures(&result), extent.highest - extent.lowest, outcome.refused,
			 outcome.span_bytes);
	kml_spec_free(spec);
	kmt_close(reader);
	unlink(path);
	return outcome.refused;
}

static void traces_do_the_same_again(void **state)
{
	(void)state;
	static const char *const workloads[] = {
		"knuth:r=3,live=64,arena=256k",
		"robson:r=3,live=64",
		/* Where something is refused. */
		"robson:r=4,live=512,unit=64,arena=64k",
	};
	const char *stacks[STACKS_MAX];
	uint32_t count = all_stacks(stacks);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(replay_reproduces(workloads[1], stacks[i]), 0);
		replay_reproduces(workloads[0], stacks[i]);
		assert_true(replay_reproduces(workloads[2], stacks[i]) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knuth_lowest_first_needs_exactly), cmocka_unit_test(knuth_binary_never_overflows),
		cmocka_unit_test(robson_sizes_one_and_two),         cmocka_unit_test(robson_every_allocator_needs),
		cmocka_unit_test(robson_beats_any_smaller_arena),   cmocka_unit_test(robson_smallest_arena),
		cmocka_unit_test(bad_parameters_are_named),         cmocka_unit_test(traces_do_the_same_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
