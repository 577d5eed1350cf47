/*
 * search_test.c - the searching adversary: better than chance, the same every time, within what theory allows.
 */
#include "workloads/testing.h"

#include <inttypes.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/generate/generate.h"
#include "workloads/replay.h"

static struct workload_outcome play(const char *text, const char *against)
{
	struct workload_outcome outcome;
	struct kml_error error;
	if (!workload_play(text, against, &outcome, &error))
		fail_msg("%s against %s: %s", text, against, error.text);
	return outcome;
}

/* With the same number of programs played it does at least as well as chance, and better where blocks may lie anywhere:
 * a binary buddy system has few places, and chance finds the easy half of what there is. */
static void annealing_beats_chance(void **state)
{
	(void)state;
	static const struct {
		const char *stack;
		int tries, seed;
		bool strictly;
	} cases[] = {
		{"binary", 5000, 1, false},   {"binary", 5000, 2, false},   {"first_fit", 5000, 1, true},
		{"first_fit", 5000, 2, true}, {"best_fit", 10000, 1, true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char annealed[64], at_random[128];
		snprintf(annealed, sizeof annealed, "search:tries=%d,seed=%d", cases[i].tries, cases[i].seed);
		snprintf(at_random, sizeof at_random, "%s,method=random", annealed);
		uint64_t best = play(annealed, cases[i].stack).span_bytes;
		uint64_t chance = play(at_random, cases[i].stack).span_bytes;
		print_message("%s, seed %d: span %" PRIu64 " bytes, by chance %" PRIu64 "\n", cases[i].stack,
			      cases[i].seed, best, chance);
		assert_true(cases[i].strictly ? best > chance : best >= chance);
	}
}

/*
 * Sizes 1, 2, 4 and n = 16 units. Knuth: lowest address first can be made to need (1 + r/2) n = 32 units of 16 bytes;
 * never more than (r + 1) n = 48, of any choice. The search finds a program that needs the 32, unaided.
 */
static void it_finds_what_knuth_found(void **state)
{
	(void)state;
	struct workload_outcome outcome =
		play("search:sizes=16+32+64,tries=20000,length=80,seed=2", "binary:policy=lowest,max_order=2");
	print_message("span %" PRIu64 " bytes\n", outcome.span_bytes);
	assert_true(outcome.span_bytes >= 32 * 16 && outcome.span_bytes <= 48 * 16);
}

/* No search overflows (r + 1) n units of a binary buddy system: it finds no refusal there. */
static void it_finds_no_refusal_where_there_is_none(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary:policy=lowest", "binary:policy=fifo",
					     "binary:policy=lifo,max_order=3"};
	for (int i = 0; i < 3; i++) {
		struct workload_outcome outcome = play("search:objective=failures,tries=1000,arena=1024", stacks[i]);
		assert_int_equal(outcome.arena_bytes, 4 * 256);
		assert_int_equal(outcome.refused, 0);
	}
}

/* It keeps to its limit, and to what it is asked to make large. */
static void objectives_are_kept(void **state)
{
	(void)state;
	struct workload_outcome outcome = play("search:tries=200,live=512", "first_fit");
	assert_true(outcome.peak_live_bytes <= 512);
	/* The best of many holds no less than the first of them. */
	uint64_t held = play("search:tries=500,objective=held,length=40,live=4k,sizes=1k+2k", "slub").peak_held_bytes;
	uint64_t once = play("search:tries=1,objective=held,length=40,live=4k,sizes=1k+2k", "slub").peak_held_bytes;
	assert_true(held >= once && held % 4096 == 0 && held > 0);
	/* Fewer units than anybody needs: refusals are there to be found. */
	assert_true(play("search:tries=500,objective=failures,arena=304", "first_fit").refused > 0);
}

static uint64_t hash_of(const char *text, const char *against)
{
	struct kml_error error;
	struct kmt_reader *reader = workload_open(text, against, &error);
	if (!reader)
		fail_msg("%s: %s", text, error.text);
	const char *hash = kmt_reader_hash(reader, &error);
	assert_non_null(hash);
	uint64_t value = strtoull(hash, NULL, 16);
	kmt_close(reader);
	return value;
}

static void same_seed_same_program(void **state)
{
	(void)state;
	assert_true(hash_of("search:tries=300,seed=7", "binary") == hash_of("search:tries=300,seed=7", "binary"));
	assert_true(hash_of("search:tries=300,seed=7", "binary") != hash_of("search:tries=300,seed=8", "binary"));
}

/* Against every allocator; a checked replay of the program, which rewinds it, has the same refusals and held pages. */
static void plays_against_every_allocator(void **state)
{
	(void)state;
	size_t count;
	const struct kml_allocator *const *allocators = kml_registry(&count);
	static const char text[] = "search:tries=20,length=60";
	for (size_t i = 0; i < count; i++) {
		if (allocators[i]->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED))
			continue;
		const char *against = allocators[i]->name;
		const struct workload_outcome outcome = play(text, against);
		struct kml_error error;
		struct replay_result result;
		struct kmt_reader *reader = workload_open(text, against, &error);
		struct kml_spec *spec = kml_spec_parse(against, &error);
		assert_true(reader && spec);
		const struct replay_options options = {
			.arena_bytes = outcome.arena_bytes, .check = true, .samples = 10, .seed = 1};
		if (!replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
			fail_msg("%s: %s", against, error.text);
		if (result.check_failed)
			fail_msg("%s: %s", against, result.check_error.text);
		assert_int_equal(result.peak_held_bytes, outcome.peak_held_bytes);
		assert_int_equal(result.peak_requested_bytes, outcome.peak_live_bytes);
		assert_int_equal(result.failures[KML_NO_MEMORY] + result.failures[KML_NO_RUN] +
					 result.failures[KML_IMPOSSIBLE],
				 outcome.refused);
		kml_spec_free(spec);
		kmt_close(reader);
	}
}

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
	refuses("search:live=64", "live=64: use at least the largest size, 128");
	refuses("search:tries=0", "tries=0");
	refuses("search:sizes=32+16", "sizes=32+16");
	refuses("search:objective=spam", "the nearest is 'span'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(annealing_beats_chance),
		cmocka_unit_test(it_finds_what_knuth_found),
		cmocka_unit_test(it_finds_no_refusal_where_there_is_none),
		cmocka_unit_test(objectives_are_kept),
		cmocka_unit_test(same_seed_same_program),
		cmocka_unit_test(plays_against_every_allocator),
		cmocka_unit_test(bad_parameters_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
