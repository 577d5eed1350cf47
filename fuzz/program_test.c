/*
 * program_test.c - programs in their four forms, and their runs.
 *
 * Any bytes are a program whose events a trace may hold; bytes, text and .kmt say the same; a run depends on the
 * program alone; misuse is refused, and all memory can be taken and comes back.
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
#include "fuzz/program.h"
#include "fuzz/target.h"
#include "kmemlab/support/random.h"

static const char header[] = "kmemlab program 1\n";

/* ------------------------------------------------------------------------------------------------ helpers */

static void fill(uint8_t *bytes, size_t count, uint64_t *random)
{
	for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
		uint64_t word = random_next(random);
		memcpy(bytes + i, &word, count - i < sizeof word ? count - i : sizeof word);
	}
}

/* A setup that is a variation of one of a few, so that its stack need not be tried anew each time. */
static size_t random_bytes(uint8_t *bytes, unsigned setups, uint64_t *random)
{
	uint64_t setup = 1 + random_below(random, setups);
	/* Most are short: there are more ways to end early than late. */
	size_t most = random_below(random, 4) ? PROGRAM_SETUP_BYTES + 32 * PROGRAM_OP_BYTES : PROGRAM_BYTES_MAX;
	size_t count = random_below(random, most + 1);
	fill(bytes, PROGRAM_SETUP_BYTES, &setup);
	if (count > PROGRAM_SETUP_BYTES)
		fill(bytes + PROGRAM_SETUP_BYTES, count - PROGRAM_SETUP_BYTES, random);
	return count;
}

static void expect_same_event(const struct kmt_event *a, const struct kmt_event *b)
{
	assert_int_equal(a->time_ns, b->time_ns);
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->object, b->object);
	assert_int_equal(a->address, b->address);
	assert_int_equal(a->size_bytes, b->size_bytes);
	assert_int_equal(a->granted_bytes, b->granted_bytes);
	assert_int_equal(a->cache, b->cache);
	assert_int_equal(a->cpu, b->cpu);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->order, b->order);
	assert_int_equal(a->align_log2, b->align_log2);
}

static void expect_same(const struct program *a, const struct program *b)
{
	const struct program_setup *x = &a->setup, *y = &b->setup;
	assert_string_equal(x->stack, y->stack);
	assert_int_equal(x->arena_bytes, y->arena_bytes);
	assert_int_equal(x->page_bytes, y->page_bytes);
	assert_int_equal(x->cpu_count, y->cpu_count);
	assert_int_equal(x->seed, y->seed);
	assert_int_equal(x->check_every, y->check_every);
	assert_int_equal(x->cache_count, y->cache_count);
	for (uint32_t i = 0; i < x->cache_count; i++) {
		assert_string_equal(x->caches[i].name, y->caches[i].name);
		assert_int_equal(x->caches[i].object_bytes, y->caches[i].object_bytes);
		assert_int_equal(x->caches[i].align_bytes, y->caches[i].align_bytes);
		assert_int_equal(x->caches[i].flags, y->caches[i].flags);
	}
	assert_int_equal(a->event_count, b->event_count);
	for (uint32_t i = 0; i < a->event_count; i++)
		expect_same_event(&a->events[i], &b->events[i]);
}

static bool parse_text(struct program *program, const char *text, struct kml_error *error)
{
	FILE *stream = fmemopen((void *)text, strlen(text), "r");
	assert_non_null(stream);
	bool parsed = program_parse(program, stream, "test.ops", error);
	fclose(stream);
	return parsed;
}

static void parse_lines(struct program *program, const char *lines)
{
	char text[4096];
	struct kml_error error = {""};
	snprintf(text, sizeof text, "%s%s", header, lines);
	if (!parse_text(program, text, &error))
		fail_msg("%s", error.text);
}

/* The outcome of a program in lines, which must run. */
static struct program_outcome run_lines(const char *lines)
{
	struct program program = {0};
	struct program_outcome outcome;
	struct kml_error error;
	parse_lines(&program, lines);
	if (!program_run(&program, &outcome, &error))
		fail_msg("%s", error.text);
	program_free(&program);
	if (outcome.failed)
		fail_msg("%s", outcome.error.text);
	return outcome;
}

/* ------------------------------------------------------------------------------------------------ bytes */

static void expect_valid(const struct program *program)
{
	struct kml_error error = {""};
	struct kmt_reader *reader = program_reader(program, &error);
	if (!reader)
		fail_msg("%s", error.text);
	kmt_close(reader);
	uint64_t live = 0;
	for (uint32_t i = 0; i < program->event_count; i++) {
		const struct kmt_event *event = &program->events[i];
		bool allocates = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;
		if (allocates)
			assert_true(event->object < PROGRAM_OBJECTS && !(live >> event->object & 1));
		live |= allocates ? 1ull << event->object : 0;
		if (event->op == KMT_FREE || event->op == KMT_PAGE_FREE) {
			assert_true(live >> event->object & 1);
			live &= ~(1ull << event->object);
		}
	}
}

static void test_all_bytes_are_programs(void **state)
{
	(void)state;
	static const char *const kinds[] = {"weighted", "slub/fibonacci", "recorded"};
	enum { STRINGS = 200000, SETUPS = 100 };
	struct program program = {0};
	uint8_t bytes[PROGRAM_BYTES_MAX];
	for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
		uint64_t random = 7;
		for (uint32_t i = 0; i < STRINGS; i++) {
			size_t count = random_bytes(bytes, SETUPS, &random);
			program_decode(&program, kinds[kind], bytes, count);
			size_t ops = count > PROGRAM_SETUP_BYTES ? (count - PROGRAM_SETUP_BYTES + 5) / 6 : 0;
			assert_true(program.event_count <= ops);
			expect_valid(&program);
		}
	}
	program_free(&program);
}

/* Missing bytes are 0, and 0 is the plainest setup. */
static void test_no_bytes(void **state)
{
	(void)state;
	struct program none = {0}, zeros = {0};
	const uint8_t bytes[PROGRAM_SETUP_BYTES] = {0};
	struct program_outcome outcome;
	struct kml_error error;
	program_decode(&none, "slub/binary", NULL, 0);
	program_decode(&zeros, "slub/binary", bytes, sizeof bytes);
	expect_same(&none, &zeros);
	/* A reader of no events at NULL added 0 to it (UBSan). */
	assert_null(none.events);
	assert_true(program_run(&none, &outcome, &error));
	assert_false(outcome.failed);
	assert_string_equal(none.setup.stack, "slub/binary");
	assert_int_equal(none.setup.cpu_count, 1);
	assert_int_equal(none.setup.seed, 1);
	assert_int_equal(none.setup.check_every, 0);
	assert_int_equal(none.event_count, 0);
}

/* Of every target, bytes to program to bytes, text and back. */
static void test_forms_say_the_same(void **state)
{
	(void)state;
	enum { PROGRAMS = 12 };
	struct program program = {0}, again = {0};
	uint8_t bytes[PROGRAM_BYTES_MAX], encoded[PROGRAM_BYTES_MAX];
	uint64_t random = 11;
	size_t targets, encoded_count;
	const struct fuzz_target *target = fuzz_targets(&targets);
	for (size_t i = 0; i < targets; i++) {
		if (target[i].kind != FUZZ_STACK)
			continue;
		for (uint32_t j = 0; j < PROGRAMS; j++) {
			struct kml_error error = {""};
			program_decode(&program, target[i].stack, bytes, random_bytes(bytes, 1000, &random));
			assert_true(program_encode(&program, encoded, &encoded_count));
			program_decode(&again, target[i].stack, encoded, encoded_count);
			expect_same(&program, &again);
			FILE *stream = tmpfile();
			assert_true(program_print(&program, stream));
			rewind(stream);
			if (!program_parse(&again, stream, "printed", &error))
				fail_msg("%s", error.text);
			fclose(stream);
			expect_same(&program, &again);
		}
	}
	program_free(&program);
	program_free(&again);
}

static void test_files_say_the_same(void **state)
{
	(void)state;
	struct program program = {0}, again = {0};
	struct kml_error error = {""};
	uint8_t bytes[PROGRAM_BYTES_MAX];
	uint64_t random = 13;
	char path[200];
	const char *output = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, sizeof path, "%s/program-%ld.kmt", output && *output ? output : "/tmp", (long)getpid());
	for (int i = 0; i < 20; i++) {
		program_decode(&program, i % 2 ? "solaris/kary" : "dual", bytes, random_bytes(bytes, 1000, &random));
		if (!program_save(&program, path, &error))
			fail_msg("%s", error.text);
		assert_true(program_is(path));
		if (!program_load(&again, path, &error))
			fail_msg("%s", error.text);
		expect_same(&program, &again);
	}
	FILE *stream = fopen(path, "w");
	assert_true(program_print(&program, stream));
	fclose(stream);
	assert_true(program_is(path));
	assert_true(program_load(&again, path, &error));
	expect_same(&program, &again);
	unlink(path);
	assert_false(program_is(path));
	assert_false(program_load(&again, path, &error));
	assert_false(program_is("traces/compile.kmt"));
	assert_false(program_load(&again, "traces/compile.kmt", &error));
	assert_non_null(strstr(error.text, "carries no setup"));
	program_free(&program);
	program_free(&again);
}

/* What bytes say must be worth running: every operation, sizes on both sides of class bounds, memory that runs out
 * but not at once. */
static void test_random_bytes_are_interesting(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary", "slub/binary", "slab/first_fit"};
	static const uint64_t sizes[] = {
		1,         2,    3,    63,   64,   65,    127,  128,   129,   1536,
		4095,      4096, 4097, 8191, 8192, 12288, 8193, 12289, 16384, (1ull << 32) + 16,
		1ull << 44};
	enum { SIZES = sizeof sizes / sizeof sizes[0], PROGRAMS = 400 };
	struct program program = {0};
	struct program_outcome outcome;
	struct kml_error error;
	uint8_t bytes[PROGRAM_BYTES_MAX];
	for (size_t s = 0; s < sizeof stacks / sizeof stacks[0]; s++) {
		uint64_t random = 17, ops[KMT_OP_COUNT] = {0}, seen[SIZES] = {0};
		uint64_t allocations = 0, failures = 0, ran_out = 0, refused = 0, runs = 0;
		for (int i = 0; i < PROGRAMS; i++) {
			fill(bytes, sizeof bytes, &random);
			memset(bytes + PROGRAM_BYTE_PARAMETERS, 0, PROGRAM_SETUP_BYTES - PROGRAM_BYTE_PARAMETERS);
			program_decode(&program, stacks[s], bytes, sizeof bytes);
			for (uint32_t j = 0; j < program.event_count; j++) {
				const struct kmt_event *event = &program.events[j];
				ops[event->op]++;
				for (int k = 0; k < SIZES; k++)
					seen[k] += event->op == KMT_ALLOC && event->size_bytes == sizes[k];
			}
			if (!program_run(&program, &outcome, &error))
				continue;
			if (outcome.failed)
				fail_msg("%s: %s", program.setup.stack, outcome.error.text);
			runs++;
			allocations += outcome.result.allocations;
			uint64_t short_of =
				outcome.result.failures[KML_NO_MEMORY] + outcome.result.failures[KML_NO_RUN];
			failures += short_of;
			ran_out += short_of > 0;
			refused += outcome.result.refused_frees;
		}
		assert_true(runs >= PROGRAMS * 9 / 10);
		assert_true(ran_out >= runs / 4);               /* memory runs out */
		assert_true(allocations - failures > failures); /* but not always */
		assert_true(allocations / runs >= 20);
		assert_true(refused >= runs);
		for (int op = 0; op < KMT_OP_COUNT; op++) {
			bool is_of_caches = op == KMT_CACHE_OPEN || op == KMT_CACHE_CLOSE;
			bool never =
				op == KMT_PAGE_ADD || op == KMT_REAP || op == KMT_RCU_FREE || (is_of_caches && s == 0);
			assert_int_equal(ops[op] == 0, never);
		}
		for (int k = 0; k < SIZES; k++)
			if (seen[k] == 0)
				fail_msg("%s: no request for %llu bytes", stacks[s], (unsigned long long)sizes[k]);
	}
	program_free(&program);
}

/* Parameters that the stack's text fixes stay, whatever the bytes; others come from the bytes. */
static void test_given_parameters_stand(void **state)
{
	(void)state;
	struct program program = {0};
	uint8_t bytes[PROGRAM_SETUP_BYTES];
	uint64_t random = 19, others = 0;
	for (int i = 0; i < 200; i++) {
		fill(bytes, sizeof bytes, &random);
		program_decode(&program, "slub:min_partial=7,merge=on/binary:policy=fifo", bytes, sizeof bytes);
		assert_non_null(strstr(program.setup.stack, "slub:min_partial=7,merge=on"));
		assert_non_null(strstr(program.setup.stack, "/binary:policy=fifo"));
		assert_null(strstr(program.setup.stack, "merge=off"));
		others += strstr(program.setup.stack, "max_order=") != NULL;
	}
	assert_true(others > 0);
	program_free(&program);
}

/* ------------------------------------------------------------------------------------------------ texts */

static void test_a_text_by_hand(void **state)
{
	(void)state;
	struct program program = {0};
	parse_lines(&program, "stack slub:min_partial=5/binary # the stack\n"
			      "arena 64k\n\n"
			      "cpus 2\n"
			      "cache 0 name=dentry object=192 align=8 constructor rcu\n"
			      "cache 1 object=64 closed\n"
			      "alloc 5 cache=0 cpu=1 flags=zeroed+atomic\n"
			      "pages 6 order=2 flags=movable at=8192\n"
			      "open 1\n"
			      "alloc 7 size=100 align=64\n"
			      "free 5 cache=0\n"
			      "free 6 cpu=1\n"
			      "misuse 7 kind=interior offset=8\n"
			      "wait 2000\n"
			      "shrink 0\n"
			      "shrink\n"
			      "drain 1\n"
			      "exhaust on\n"
			      "exhaust off\n"
			      "close 1\n");
	assert_string_equal(program.setup.stack, "slub:min_partial=5/binary");
	assert_int_equal(program.setup.arena_bytes, 65536);
	assert_int_equal(program.setup.page_bytes, 4096);
	assert_int_equal(program.setup.cpu_count, 2);
	assert_int_equal(program.setup.seed, 1);
	assert_int_equal(program.setup.check_every, 0);
	assert_string_equal(program.setup.caches[0].name, "dentry");
	assert_int_equal(program.setup.caches[0].flags, KMT_CACHE_CONSTRUCTOR | KMT_CACHE_TYPESAFE_BY_RCU);
	assert_string_equal(program.setup.caches[1].name, "c1");
	static const struct kmt_event events[] = {
		{.op = KMT_ALLOC,
		 .object = 5,
		 .size_bytes = 192,
		 .cache = 0,
		 .cpu = 1,
		 .flags = KML_ZEROED | KML_ATOMIC,
		 .address = KMT_NO_ADDRESS},
		{.op = KMT_PAGE_ALLOC,
		 .object = 6,
		 .order = 2,
		 .size_bytes = 16384,
		 .cache = KMT_NO_CACHE,
		 .flags = KML_MOVABLE,
		 .address = 8192},
		{.op = KMT_CACHE_OPEN, .cache = 1, .address = KMT_NO_ADDRESS},
		{.op = KMT_ALLOC,
		 .object = 7,
		 .size_bytes = 100,
		 .align_log2 = 6,
		 .cache = KMT_NO_CACHE,
		 .address = KMT_NO_ADDRESS},
		{.op = KMT_FREE, .object = 5, .cache = 0, .address = KMT_NO_ADDRESS},
		{.op = KMT_PAGE_FREE,
		 .object = 6,
		 .order = 2,
		 .cpu = 1,
		 .cache = KMT_NO_CACHE,
		 .address = KMT_NO_ADDRESS},
		{.op = KMT_MISUSE,
		 .object = 7,
		 .order = KMT_MISUSE_INTERIOR,
		 .size_bytes = 8,
		 .cache = KMT_NO_CACHE,
		 .address = KMT_NO_ADDRESS},
		{.op = KMT_MARK, .time_ns = 2000, .cache = KMT_NO_CACHE, .address = KMT_NO_ADDRESS},
		{.op = KMT_SHRINK, .time_ns = 2000, .cache = 0, .address = KMT_NO_ADDRESS},
		{.op = KMT_SHRINK, .time_ns = 2000, .cache = KMT_NO_CACHE, .address = KMT_NO_ADDRESS},
		{.op = KMT_DRAIN, .time_ns = 2000, .cpu = 1, .cache = KMT_NO_CACHE, .address = KMT_NO_ADDRESS},
		{.op = KMT_EXHAUST, .time_ns = 2000, .order = 1, .cache = KMT_NO_CACHE, .address = KMT_NO_ADDRESS},
		{.op = KMT_EXHAUST, .time_ns = 2000, .cache = KMT_NO_CACHE, .address = KMT_NO_ADDRESS},
		{.op = KMT_CACHE_CLOSE, .time_ns = 2000, .cache = 1, .address = KMT_NO_ADDRESS},
	};
	assert_int_equal(program.event_count, sizeof events / sizeof events[0]);
	for (uint32_t i = 0; i < program.event_count; i++)
		expect_same_event(&program.events[i], &events[i]);
	program_free(&program);
}

static void test_what_is_refused(void **state)
{
	(void)state;
#define SETUP "kmemlab program 1\nstack slub\narena 64k\ncache 0 object=64\n"
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "begins with the line"},
		{"kmemlab program 2\n", "line 1: a program begins with the line"},
		{"kmemlab program 1\nstack slub\n", "the arena's size"},
		{"kmemlab program 1\narena 64k\n", "the stack"},
		{SETUP "alloc 1\n", "line 5: alloc 1: of which size"},
		{SETUP "alloc\n", "of which id"},
		{SETUP "alloc 1 size=0\n", "size 0: a number from 1"},
		{SETUP "alloc 1 size=8 cpu=1\n", "cpu 1: a number from 0 to 0"},
		{SETUP "alloc 1 cache=1\n", "cache 1: a number from 0 to 0"},
		{SETUP "alloc 1 size=8 align=12\n", "power of two"},
		{SETUP "alloc 1 size=8 order=1\n", "only size align"},
		{SETUP "alloc 1 size=8 flags=movable+fast\n", "no flag 'fast'"},
		{SETUP "alloc 99999 size=8\n", "id 99999"},
		{SETUP "alloc 1 size\n", "not name=value"},
		{SETUP "pages 1\n", "how many"},
		{SETUP "pages 1 order=60\n", "order 60"},
		{SETUP "misuse 1\n", "of which kind"},
		{SETUP "misuse 1 kind=rude\n", "no kind 'rude'"},
		{SETUP "misuse 1 kind=cache\n", "no cache is named"},
		{SETUP "exhaust\n", "exhaust: of what?"},
		{SETUP "exhaust maybe\n", "on or off"},
		{SETUP "wait 1 2\n", "too much"},
		{SETUP "drain 1\n", "cpu 1"},
		{SETUP "jump 1\n", "'jump' is neither"},
		{SETUP "shrink\narena 4k\n", "the setup comes first"},
		{SETUP "cache 2 object=8\n", "cache 2"},
		{SETUP "cache 1\n", "of what size"},
		{SETUP "cache 1 object=8 shiny\n", "'shiny'"},
		{SETUP "cache 1 object=8 closed\n", "closed, but not opened"},
		{SETUP "open 0\n", "opened while it is open"},
		{SETUP "page 5000\n", "power of two"},
		{SETUP "cpus 0\n", "cpus 0"},
	};
	struct program program = {0};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct kml_error error = {""};
		if (i > 0 && parse_text(&program, bad[i].text, &error))
			fail_msg("taken: %s", bad[i].text);
		if (i > 0 && (!strstr(error.text, bad[i].why) || !strstr(error.text, "test.ops")))
			fail_msg("\"%s\" does not say \"%s\"", error.text, bad[i].why);
	}
	program_free(&program);
}

/* ------------------------------------------------------------------------------------------------ runs */

/* The same program gives the same, whatever ran before it. */
static void test_a_run_depends_on_the_program_alone(void **state)
{
	(void)state;
	static const char *const stacks[] = {"slub/weighted", "slab/binary", "solaris/best_fit", "slob/tertiary",
					     "fibonacci"};
	enum { STACKS = sizeof stacks / sizeof stacks[0], PROGRAMS = 40 };
	static struct program_outcome outcomes[PROGRAMS];
	bool ran[PROGRAMS];
	struct program program = {0};
	struct kml_error error;
	uint8_t bytes[PROGRAM_BYTES_MAX];
	for (int pass = 0; pass < 2; pass++)
		for (int n = 0; n < PROGRAMS; n++) {
			int i = pass ? PROGRAMS - 1 - n : n;
			uint64_t random = 100u + (unsigned)i;
			struct program_outcome outcome;
			memset(&outcome, 0, sizeof outcome);
			fill(bytes, sizeof bytes, &random);
			program_decode(&program, stacks[i % STACKS], bytes, sizeof bytes);
			bool now = program_run(&program, &outcome, &error);
			outcome.result.elapsed_ns = 0;
			if (pass == 0) {
				ran[i] = now;
				outcomes[i] = outcome;
				continue;
			}
			assert_int_equal(ran[i], now);
			if (now)
				assert_memory_equal(&outcomes[i].result, &outcome.result, sizeof outcome.result);
		}
	program_free(&program);
}

static void test_misuse_is_refused(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary", "first_fit", "slub", "slab", "solaris", "slob"};
	for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++) {
		char lines[1024];
		bool has_caches = i >= 2;
		snprintf(lines, sizeof lines,
			 "stack %s\narena 256k\ncheck 1\ncache 0 object=64\ncache 1 object=192\n"
			 "alloc 1 cache=0\nalloc 2 size=200 flags=kmalloc\npages 3 order=1\nalloc 4 cache=0\nfree 4\n"
			 "misuse 1 kind=interior offset=8\nmisuse 2 kind=interior offset=4000\n"
			 "misuse 3 kind=interior offset=4096\n"
			 "misuse 1 kind=misaligned\nmisuse 3 kind=misaligned offset=77\n"
			 "misuse 4 kind=double\nmisuse 9 kind=foreign\nmisuse 9 kind=foreign offset=1000000\n"
			 "misuse 1 kind=foreign offset=18446744073709551615\n"
			 "misuse 1 kind=cache cache=1\n"
			 "misuse 1 kind=double\nmisuse 5 kind=interior\nmisuse 1 kind=cache cache=0\n",
			 stacks[i]);
		struct program_outcome outcome = run_lines(lines);
		assert_int_equal(outcome.result.refused_frees, has_caches ? 10 : 9);
		assert_int_equal(outcome.result.dead_frees, has_caches ? 3 : 4); /* nothing to misuse */
		assert_int_equal(outcome.result.frees, 1);
	}
}

/* A free into the other name of a merged cache is no misuse: the object is free then, for the books too. */
static void test_the_other_name_of_a_merged_cache(void **state)
{
	(void)state;
	struct program_outcome outcome = run_lines("stack slub:merge=on\narena 64k\ncheck 1\n"
						   "cache 0 object=64\ncache 1 object=64\n"
						   "alloc 1 cache=0\nalloc 2 cache=1\n"
						   "misuse 1 kind=cache cache=1\nmisuse 2 kind=cache cache=0\n"
						   "alloc 1 cache=0\nfree 1\nfree 2\n");
	assert_int_equal(outcome.result.refused_frees, 0);
	assert_int_equal(outcome.result.frees, 3);
	assert_int_equal(outcome.result.dead_frees, 1);
}

/* After `exhaust on` nothing is to be had, after `off` all is. */
static void test_all_memory_is_taken_and_comes_back(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary", "fibonacci", "weighted:unit=48", "best_fit",
					     "slub",   "slab/kary", "slob/first_fit"};
	for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++) {
		char lines[512];
		snprintf(lines, sizeof lines,
			 "stack %s\narena 100000\ncheck 1\nalloc 1 size=5000\nexhaust on\n"
			 "pages 2 order=1\npages 3 order=0\nfree 2\nfree 3\nexhaust off\n"
			 "pages 2 order=1\npages 3 order=0\nexhaust on\n",
			 stacks[i]);
		struct program_outcome outcome = run_lines(lines);
		uint64_t failed = 0;
		for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
			failed += outcome.result.failures[status];
		assert_int_equal(failed, 2);
		/* The end counts what was taken: all but what no allocator can split further. */
		const struct replay_sample *end = &outcome.result.at_end;
		assert_true(end->stats.held_bytes >= 98304 - 4096);
		assert_true(end->requested_bytes > 50000);
	}
}

/* A cache whose first event closes it was open before; one whose first event opens it was not. */
static void test_caches_open_and_close(void **state)
{
	(void)state;
	struct program_outcome outcome =
		run_lines("stack slab\narena 64k\ncache 0 object=64\ncache 1 object=100 closed\n"
			  "alloc 1 cache=0\nclose 0\nfree 1\nclose 0\nopen 0\nopen 1\n"
			  "alloc 1 cache=1\nalloc 2 cache=0\n");
	assert_int_equal(outcome.result.unserved_closes, 1);
	assert_int_equal(outcome.result.failures[KML_NO_MEMORY], 0);
	struct program program = {0};
	struct program_outcome closed;
	struct kml_error error = {""};
	parse_lines(&program, "stack slab\narena 64k\ncache 0 object=64 closed\nalloc 1 cache=0\nopen 0\n");
	assert_false(program_run(&program, &closed, &error));
	assert_non_null(strstr(error.text, "event 0 allocates from cache 0, which is closed"));
	program_free(&program);
}

static void test_no_run(void **state)
{
	(void)state;
	struct program program = {0};
	struct program_outcome outcome;
	struct kml_error error = {""};
	parse_lines(&program, "stack slubb\narena 64k\n");
	assert_false(program_run(&program, &outcome, &error));
	assert_non_null(strstr(error.text, "slub"));
	assert_false(outcome.failed);
	program_free(&program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_bytes_are_programs),
		cmocka_unit_test(test_no_bytes),
		cmocka_unit_test(test_forms_say_the_same),
		cmocka_unit_test(test_files_say_the_same),
		cmocka_unit_test(test_random_bytes_are_interesting),
		cmocka_unit_test(test_given_parameters_stand),
		cmocka_unit_test(test_a_text_by_hand),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_a_run_depends_on_the_program_alone),
		cmocka_unit_test(test_misuse_is_refused),
		cmocka_unit_test(test_the_other_name_of_a_merged_cache),
		cmocka_unit_test(test_all_memory_is_taken_and_comes_back),
		cmocka_unit_test(test_caches_open_and_close),
		cmocka_unit_test(test_no_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
