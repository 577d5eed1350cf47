/*
 * generate_test.c - what holds for every generator: the same events for the same spec, a stream that replays on every
 * stack, and, of one that plays against a stack, a stream that does to that stack what was done when it was made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocators/registry.h"
#include "kmemlab/support/random.h"
#include "workloads/generate/generate.h"
#include "workloads/generate/twin_fit.h"
#include "workloads/replay.h"

/* Small ones of their kind. A generator that is not here is taken as it is. */
static const struct small {
	const char *name, *params;
	bool is_fixed; /* the seed changes nothing */
} smalls[] = {
	{"dentry_storm", "files=500,rounds=2", false},
	{"dma_mix", "load=512k,buffer=64k,buffers=8", false},
	{"fork_storm", "processes=10,generations=2", false},
	{"fragmentation", "order=6", true},
	{"knuth", "r=8", true},
	{"limit", "order=6", true},
	{"long_lists", "pairs=300,rounds=2,order=shuffled", false},
	{"optimistic", "order=6", true},
	{"page_cache", "memory=2M,phases=3", false},
	{"pathological", "order=6", true},
	{"pessimistic", "order=6", true},
	{"purdom_stigler", "arrivals=2000,rate=50", false},
	{"queue", "requests=4000,skip=0,arena=1M", false},
	{"robson", "r=5", true},
	{"search", "tries=50,length=60", false},
	{"socket_storm", "connections=40,waves=2", false},
	{"steady", "events=4000,load=64k", false},
	{"task_leak", "processes=100,alive=10", false},
	{"twin", "model=", false}, /* and where it is */
	{"vmalloc", "rounds=4,arena=4M,size=128k", false},
};

static const struct small *small_of(const char *name)
{
	for (size_t i = 0; i < sizeof smalls / sizeof *smalls; i++)
		if (strcmp(smalls[i].name, name) == 0)
			return &smalls[i];
	return NULL;
}

/* A twin needs a model: that of a small workload. */
static char model_path[160];

static int write_model(void **state)
{
	struct kml_error error;
	struct twin_model model = {0};
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	(void)state;
	snprintf(model_path, sizeof model_path, "%.100s/generate-twin-%ld.json", folder && *folder ? folder : "/tmp",
		 (long)getpid());
	struct kmt_reader *reader = workload_open("steady:events=3000,load=64k,as=objects,caches=3", NULL, &error);
	FILE *stream = fopen(model_path, "w");
	bool done = reader && stream && twin_fit(reader, 16384, &model, &error) && twin_model_write(&model, stream);
	if (stream)
		done &= fclose(stream) == 0;
	twin_model_free(&model);
	kmt_close(reader);
	return done ? 0 : -1;
}

static int remove_model(void **state)
{
	(void)state;
	return unlink(model_path);
}

struct spec {
	char text[256];
};

static struct spec spec_of(const struct generator *generator, unsigned seed)
{
	struct spec spec;
	const struct small *small = small_of(generator->name);
	bool is_twin = strcmp(generator->name, "twin") == 0;
	snprintf(spec.text, sizeof spec.text, "%s:seed=%u%s%s%s", generator->name, seed, small ? "," : "",
		 small ? small->params : "", is_twin ? model_path : "");
	return spec;
}

static struct kmt_reader *open_workload(const char *text, const char *against)
{
	struct kml_error error;
	struct kmt_reader *reader = workload_open(text, against, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

static enum kmt_item_kind next(struct kmt_reader *reader, struct kmt_item *item)
{
	struct kml_error error;
	enum kmt_item_kind kind = kmt_next(reader, item, &error);
	if (kind == KMT_ITEM_ERROR)
		fail_msg("%s: %s", kmt_reader_path(reader), error.text);
	return kind;
}

static void each_generator(void (*check)(const struct generator *generator))
{
	size_t count;
	const struct generator *const *all = generators(&count);
	for (size_t i = 0; i < count; i++)
		check(all[i]);
}

/* ------------------------------------------------------------------------------------------------ the same again */

static uint64_t mix(uint64_t digest, uint64_t value)
{
	return random_mix(digest ^ value) + RANDOM_STEP;
}

static uint64_t mix_event(uint64_t digest, const struct kmt_event *event)
{
	digest = mix(mix(mix(digest, event->time_ns), event->size_bytes), event->object);
	digest = mix(digest, (uint64_t)event->cache << 48 | (uint64_t)event->cpu << 32 | event->flags);
	return mix(digest, (uint64_t)event->op << 16 | (uint64_t)event->order << 8 | event->align_log2);
}

static uint64_t mix_item(uint64_t digest, const struct kmt_item *item)
{
	if (item->kind == KMT_ITEM_SNAPSHOT)
		for (const char *text = item->snapshot->text; *text; text++)
			digest = mix(digest, (uint64_t)*text);
	for (uint32_t i = 0; item->kind == KMT_ITEM_EVENTS && i < item->event_count; i++)
		digest = mix_event(digest, &item->events[i]);
	return digest;
}

static uint64_t digest_of_rest(struct kmt_reader *reader)
{
	struct kmt_item item;
	uint64_t digest = 0;
	while (next(reader, &item) != KMT_ITEM_END)
		digest = mix_item(digest, &item);
	return digest;
}

static void check_same_again(const struct generator *generator)
{
	struct kml_error error;
	struct kmt_item item;
	struct spec spec = spec_of(generator, 7), other_spec = spec_of(generator, 8);
	struct kmt_reader *one = open_workload(spec.text, NULL), *two = open_workload(spec.text, NULL);
	uint64_t first = 0, second = 0;
	/* In turn: neither knows of the other. */
	while (next(one, &item) != KMT_ITEM_END) {
		first = mix_item(first, &item);
		if (next(two, &item) != KMT_ITEM_END)
			second = mix_item(second, &item);
	}
	if (first != second || next(two, &item) != KMT_ITEM_END)
		fail_msg("%s: two readers of one spec differ", spec.text);
	/* From the start, and after a part. */
	assert_true(kmt_rewind(one, &error));
	next(one, &item);
	assert_true(kmt_rewind(one, &error));
	if (digest_of_rest(one) != first)
		fail_msg("%s: other events after a rewind", spec.text);
	struct kmt_reader *other = open_workload(other_spec.text, NULL);
	const struct small *small = small_of(generator->name);
	if (small && (digest_of_rest(other) == first) != small->is_fixed)
		fail_msg("%s: another seed makes %s events", spec.text, small->is_fixed ? "other" : "the same");
	kmt_close(one);
	kmt_close(two);
	kmt_close(other);
}

static void the_same_spec_makes_the_same_events(void **state)
{
	(void)state;
	each_generator(check_same_again);
}

/* ------------------------------------------------------------------------------------------------ the stream */

/* Every mark has its text just before it, and no other event has one; frees are of live objects, blocks are blocks. */
static void check_stream(const struct generator *generator)
{
	struct spec spec = spec_of(generator, 1);
	struct kmt_reader *reader = open_workload(spec.text, NULL);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	uint8_t *live = calloc(totals->objects + 1, 1);
	struct kmt_item item;
	bool has_text = false;
	uint64_t events = 0, marks = 0;
	assert_non_null(live);
	while (next(reader, &item) != KMT_ITEM_END) {
		if (item.kind == KMT_ITEM_SNAPSHOT) {
			assert_int_equal(item.snapshot->kind, KMT_SNAPSHOT_MARK);
			assert_int_equal(item.snapshot->event, events);
			assert_true(item.snapshot->text_bytes > 0 && !has_text);
			has_text = true;
			continue;
		}
		assert_in_range(item.event_count, 1, KMT_BLOCK_EVENTS);
		for (uint32_t i = 0; i < item.event_count; i++, events++) {
			const struct kmt_event *event = &item.events[i];
			bool is_alloc = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;
			bool is_free = event->op == KMT_FREE || event->op == KMT_PAGE_FREE;
			if (has_text != (event->op == KMT_MARK))
				fail_msg("%s: event %llu: a mark and its text are apart", spec.text,
					 (unsigned long long)events);
			if ((is_alloc || is_free) && live[event->object] != is_free)
				fail_msg("%s: event %llu: %s of object %u", spec.text, (unsigned long long)events,
					 kmt_op_name(event->op), event->object);
			if (is_alloc || is_free)
				live[event->object] = is_alloc;
			marks += event->op == KMT_MARK;
			has_text = false;
		}
	}
	assert_int_equal(events, totals->events);
	assert_int_equal(marks, totals->op_events[KMT_MARK]);
	assert_int_equal(marks, totals->snapshots);
	free(live);
	kmt_close(reader);
}

static void marks_have_their_text_and_objects_one_life(void **state)
{
	(void)state;
	each_generator(check_stream);
	struct kmt_reader *reader = open_workload("dentry_storm:files=50,rounds=3", NULL);
	assert_int_equal(kmt_reader_totals(reader)->op_events[KMT_MARK], 6);
	kmt_close(reader);
}

/* 2n allocations, a round frees n and takes them again, at the end all 2n are freed: a step of 60,000 events. */
static void a_step_may_be_longer_than_a_block(void **state)
{
	enum { PAIRS = 20000, ROUNDS = 2 };
	struct kmt_item item;
	uint64_t events = 0;
	(void)state;
	assert_true(3 * PAIRS > 3 * KMT_BLOCK_EVENTS);
	struct kmt_reader *reader = open_workload("long_lists:pairs=20000,rounds=2", NULL);
	while (next(reader, &item) == KMT_ITEM_EVENTS) {
		assert_in_range(item.event_count, 1, KMT_BLOCK_EVENTS);
		events += item.event_count;
	}
	assert_int_equal(events, 2 * PAIRS + ROUNDS * 2 * PAIRS + 2 * PAIRS);
	assert_int_equal(kmt_reader_totals(reader)->objects, 2 * PAIRS);
	kmt_close(reader);
}

/* ------------------------------------------------------------------------------------------------ every stack */

static struct replay_result replay(struct kmt_reader *reader, const char *stack, bool check)
{
	struct kml_error error;
	struct replay_result result = {0};
	const struct replay_options options = {.check = check, .samples = 3, .seed = 1};
	struct kml_spec *spec = kml_spec_parse(stack, &error);
	if (!spec || !replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
		fail_msg("%s on %s: %s", kmt_reader_path(reader), stack, error.text);
	if (result.check_failed)
		fail_msg("%s on %s: %s", kmt_reader_path(reader), stack, result.check_error.text);
	kml_spec_free(spec);
	return result;
}

static uint64_t failures(const struct replay_result *result)
{
	uint64_t sum = 0;
	for (int status = KML_NO_MEMORY; status < KML_STATUS_COUNT; status++)
		sum += result->failures[status];
	return sum;
}

/* All that are registered, `recorded` left out: there is no kernel whose placement it could follow. */
static void check_every_stack(const struct generator *generator)
{
	struct kml_error error;
	struct spec spec = spec_of(generator, 3);
	struct kmt_reader *reader = open_workload(spec.text, NULL);
	const uint64_t *ops = kmt_reader_totals(reader)->op_events;
	size_t count;
	const struct kml_allocator *const *all = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		if (all[i]->traits & KML_TRAIT_RECORDED)
			continue;
		struct replay_result result = replay(reader, all[i]->name, true);
		assert_int_equal(result.allocations, ops[KMT_ALLOC] + ops[KMT_PAGE_ALLOC]);
		if (failures(&result) >= result.allocations)
			fail_msg("%s on %s: nothing but failures", spec.text, all[i]->name);
		if (!kmt_rewind(reader, &error))
			fail_msg("%s", error.text);
	}
	kmt_close(reader);
}

static void every_workload_runs_on_every_stack(void **state)
{
	(void)state;
	each_generator(check_every_stack);
}

/* ------------------------------------------------------------------------------------------------ reactive ones */

struct ending {
	struct kml_stats stats;
	struct workload_outcome outcome;
};

static void see_ending(void *context, const struct generate *generate, const void *state)
{
	struct ending *ending = context;
	(void)state;
	generate_stats(generate, &ending->stats);
	ending->outcome = *generate_outcome(generate);
}

static const char *write_trace(struct kmt_reader *reader)
{
	static char path[3000];
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	struct kml_error error;
	struct kmt_item item;
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	snprintf(path, sizeof path, "%s/generate-%ld.kmt", folder && *folder ? folder : "/tmp", (long)getpid());
	struct kmt_writer *writer = kmt_create(path, kmt_reader_origin(reader), caches, cache_count, &error);
	if (!writer)
		fail_msg("%s", error.text);
	while (next(reader, &item) != KMT_ITEM_END)
		assert_true(kmt_write_item(writer, &item, &error));
	if (!kmt_finish(writer, NULL, &error))
		fail_msg("%s", error.text);
	return path;
}

static void same(const char *spec, const char *against, const char *what, uint64_t replayed, uint64_t played)
{
	if (replayed != played)
		fail_msg("%s against %s: %s: %llu replayed, %llu played", spec, against, what,
			 (unsigned long long)replayed, (unsigned long long)played);
}

/* The trace of a game, replayed on the stack that played it, ends as the game did. */
static uint64_t check_game(const char *spec, const char *against)
{
	struct kml_error error;
	struct ending played;
	if (!generate_play(spec, against, see_ending, &played, &error))
		fail_msg("%s against %s: %s", spec, against, error.text);
	struct kmt_reader *workload = open_workload(spec, against);
	const char *path = write_trace(workload);
	struct kmt_reader *trace = open_workload(path, NULL);
	struct replay_result result = replay(trace, against, false);
	const struct kml_stats *stats = &result.at_end.stats;
	same(spec, against, "arena", result.arena_bytes, played.outcome.arena_bytes);
	same(spec, against, "refused", failures(&result), played.outcome.refused);
	same(spec, against, "frees of what was refused", result.skipped_frees, played.outcome.refused);
	same(spec, against, "frees of the dead", result.dead_frees, 0);
	same(spec, against, "peak held", result.peak_held_bytes, played.outcome.peak_held_bytes);
	same(spec, against, "held", stats->held_bytes, played.stats.held_bytes);
	same(spec, against, "granted", stats->granted_bytes, played.stats.granted_bytes);
	same(spec, against, "largest free", stats->largest_free_bytes, played.stats.largest_free_bytes);
	kmt_close(trace);
	kmt_close(workload);
	unlink(path);
	return played.outcome.refused;
}

static void check_games(const struct generator *generator)
{
	static const char *const stacks[] = {"binary",    "fibonacci:policy=lowest", "kary:k=3",
					     "first_fit", "slub/weighted:unit=4096", "slab",
					     "slob",      "solaris/binary:unit=4096"};
	struct spec spec = spec_of(generator, 5);
	for (size_t i = 0; generator->is_reactive && i < sizeof stacks / sizeof *stacks; i++)
		check_game(spec.text, stacks[i]);
}

static void the_trace_of_a_game_replays_as_it_was_played(void **state)
{
	(void)state;
	each_generator(check_games);
	/* Refusals there are. */
	assert_true(check_game("queue:requests=4000,skip=0,arena=1M", "slub") > 100);
}

static void the_spec_that_is_told_makes_the_same_workload(void **state)
{
	struct kml_error error;
	(void)state;
	struct kmt_reader *given = open_workload("queue:requests=100,skip=0,arena=32k", "kary:k=3,unit=32");
	const char *told = kmt_reader_origin(given)->command;
	assert_string_equal(told, "queue:requests=100,skip=0,arena=32k,against=kary:k=3,unit=32");
	struct kmt_reader *again = open_workload(told, "binary");
	assert_true(digest_of_rest(given) == digest_of_rest(again));
	assert_string_equal(kmt_reader_hash(given, &error), kmt_reader_hash(again, &error));
	kmt_close(given);
	kmt_close(again);
}

/* ------------------------------------------------------------------------------------------------ hostile specs */

static void specs_that_are_hostile_are_refused(void **state)
{
	static const struct {
		const char *spec, *expected;
	} cases[] = {
		{"steady:,", "'' is no parameter"},
		{"steady:events", "'events' is no parameter: write name=value"},
		{"steady:events=", "events=: use a number"},
		{"steady:evnets=1", "no parameter 'evnets'; the nearest is 'events'"},
		{"steady:events=1,events=2", "events is given twice"},
		{"steady:events=-1", "events=-1: use a number from 1"},
		{"steady:events=1e3", "events=1e3: use a number from 1"},
		{"steady:events=18446744073709551616", "use a number from 1"},
		{"steady:seed=-1", "seed=-1: use a number"},
		{"steady:cpus=1025", "cpus=1025: use a number from 1 to 1024"},
		{"steady:mean=1e999", "mean=1e999: use a number"},
		{"steady:mean=inf", "mean=inf: use a number"},
		{"steady:mean=0x10", "mean=0x10: use a number"},
		{"queue:against=", "no allocator ''"},
		{"queue:against=steady", "no allocator 'steady'"},
		{"queue:arena=1,against=binary", "smaller than one unit"},
		{"queue:arena=64T,against=binary:unit=1", "cannot reserve"},
		{"limit:order=999", "order=999: use a number from 1 to 20"},
		{"no_such_workload", "no_such_workload"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct kml_error error = {{0}};
		if (workload_open(cases[i].spec, NULL, &error))
			fail_msg("%s: taken, not refused with '%s'", cases[i].spec, cases[i].expected);
		if (!strstr(error.text, cases[i].expected))
			fail_msg("%s: refused with '%s', not '%s'", cases[i].spec, error.text, cases[i].expected);
	}
	/* No parameter is none that is wrong. */
	kmt_close(open_workload("limit:", NULL));
}

/* A spec of any length and any bytes. */
static void long_specs_are_refused_and_harmless(void **state)
{
	enum { LENGTH = 1 << 16 };
	char *spec = malloc(LENGTH + 1);
	uint64_t random = 3;
	(void)state;
	assert_non_null(spec);
	for (uint32_t round = 0; round < 200; round++) {
		struct kml_error error = {{0}};
		size_t length = round < 4 ? LENGTH : 8 + random_below(&random, 100);
		for (size_t i = 0; i < length; i++)
			spec[i] = round < 4 ? "a,=:"[round] : (char)(1 + random_below(&random, 255));
		spec[length] = '\0';
		memcpy(spec, "steady:", 7);
		struct kmt_reader *reader = workload_open(spec, NULL, &error);
		assert_null(reader);
		assert_true(error.text[0] != '\0');
	}
	free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_spec_makes_the_same_events),
		cmocka_unit_test(marks_have_their_text_and_objects_one_life),
		cmocka_unit_test(a_step_may_be_longer_than_a_block),
		cmocka_unit_test(every_workload_runs_on_every_stack),
		cmocka_unit_test(the_trace_of_a_game_replays_as_it_was_played),
		cmocka_unit_test(the_spec_that_is_told_makes_the_same_workload),
		cmocka_unit_test(specs_that_are_hostile_are_refused),
		cmocka_unit_test(long_specs_are_refused_and_harmless),
	};
	return cmocka_run_group_tests(tests, write_model, remove_model);
}
