/*
 * minimise_test.c - how runs end is read right, and finds become small. The canary (canary.c) forgets the third of
 * three frees of equal blocks in a row; the drain at the end of a run frees what is live: three allocations of one size
 * are the smallest program that shows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/judge.h"
#include "fuzz/minimise.h"
#include "kmemlab/support/random.h"

enum { STATUS_EXIT_1 = 1 << 8, STATUS_ABORTED = SIGABRT }; /* as wait tells them (wait(2)) */

static struct fuzz_verdict read_verdict(const char *printed, int status)
{
	static struct fuzz_verdict verdict;
	fuzz_read_verdict(printed, status, &verdict);
	return verdict;
}

/* ---------------------------------------------------------------------------------------------- verdicts */

static void a_quiet_end_passes(void **state)
{
	(void)state;
	struct fuzz_verdict verdict = read_verdict("kmemlab: overlap: of an earlier run\n", 0);
	assert_false(verdict.failed);
}

static void an_oracle_is_named_before_the_abort(void **state)
{
	(void)state;
	struct fuzz_verdict verdict = read_verdict("noise\nkmemlab: overlap: event 7: two blocks\n"
						   "==1==ERROR: AddressSanitizer: ABRT on unknown address\n"
						   "    #0 0x1 in tile /src/allocators/buddy/engine.c:12:3\n",
						   STATUS_ABORTED);
	assert_true(verdict.failed);
	assert_string_equal(verdict.oracle, "overlap");
	assert_string_equal(verdict.text, "overlap: event 7: two blocks");
	assert_string_equal(verdict.place, "");
}

static void a_broken_invariant_is_placed_by_frame_or_file(void **state)
{
	(void)state;
	struct fuzz_verdict verdict = read_verdict(
		"/src/allocators/buddy/engine.c:40: broken invariant: order < 5: order 7\n", STATUS_ABORTED);
	assert_string_equal(verdict.oracle, "check");
	assert_string_equal(verdict.place, "engine.c");
	verdict = read_verdict("/src/allocators/buddy/engine.c:40: broken invariant: order < 5: order 7\n"
			       "    #0 0x1 in abort stdlib/abort.c:79:7\n"
			       "    #1 0x1 in kml_check_failed /src/kmemlab/support/error.c:31:2\n"
			       "    #2 0x1 in merge /src/allocators/buddy/engine.c:40:2\n",
			       STATUS_ABORTED);
	assert_string_equal(verdict.place, "merge");
}

static void sanitizers_are_placed_by_our_innermost_function(void **state)
{
	(void)state;
	struct fuzz_verdict verdict = read_verdict(
		"==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1 at pc 0x2\nREAD of size 9\n"
		"    #0 0x1 in __interceptor_memcpy (/bin/x+0x1)\n"
		"    #1 0x1 in read_block /src/traces/kmt/reader.c:77:9\n"
		"    #2 0x1 in kmt_next /src/traces/kmt/reader.c:99:9\n",
		STATUS_EXIT_1);
	assert_string_equal(verdict.oracle, "heap-buffer-overflow");
	assert_string_equal(verdict.place, "read_block");
	verdict = read_verdict("/src/traces/kmt/bytes.c:9:4: runtime error: shift exponent 64 is too large\n"
			       "    #0 0x1 in get_varint /src/traces/kmt/bytes.c:9:4\n",
			       STATUS_EXIT_1);
	assert_string_equal(verdict.oracle, "undefined");
	assert_string_equal(verdict.place, "get_varint");
	verdict = read_verdict("==7==ERROR: AddressSanitizer: attempting double-free on 0x1 in thread T0:\n"
			       "    #0 0x1 in free\n    #1 0x1 in drop /src/traces/a.c:1:1\n",
			       STATUS_EXIT_1);
	assert_string_equal(verdict.oracle, "double-free");
	assert_string_equal(verdict.place, "drop");
}

static void a_silent_death_is_named_by_its_signal(void **state)
{
	(void)state;
	assert_string_equal(read_verdict("", SIGKILL).oracle, "signal-9");
	assert_string_equal(read_verdict("", SIGPROF).oracle, "timeout");
	assert_string_equal(read_verdict("", STATUS_EXIT_1).oracle, "exit-1");
}

static void one_find_is_one_oracle_in_one_place(void **state)
{
	(void)state;
	struct fuzz_verdict first = {.failed = true, .oracle = "check", .place = "merge", .text = "order 7"};
	struct fuzz_verdict second = {.failed = true, .oracle = "check", .place = "merge", .text = "order 8"};
	assert_true(fuzz_same_find(&first, &second));
	strcpy(second.place, "split");
	assert_false(fuzz_same_find(&first, &second));
	assert_false(fuzz_same_find(&first, &(struct fuzz_verdict){.oracle = "check", .place = "merge"}));
}

/* ---------------------------------------------------------------------------------------------- programs */

static void parse(struct program *program, const char *text)
{
	struct kml_error error;
	fuzz_target_find("canary"); /* makes it known as a stack */
	FILE *stream = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	assert_non_null(stream);
	if (!program_parse(program, stream, "text", &error))
		fail_msg("%s", error.text);
	fclose(stream);
}

static void judge_program(const struct program *program, struct fuzz_verdict *verdict)
{
	struct kml_error error;
	const struct fuzz_input input = {.program = program};
	if (!fuzz_judge(&input, verdict, &error))
		fail_msg("%s", error.text);
}

static void programs_become_small(void **state)
{
	(void)state;
	struct program program = {0};
	static struct fuzz_verdict wanted, left;
	struct fuzz_effort effort = {0};
	struct kml_error error;
	parse(&program,
	      "kmemlab program 1\nstack canary:policy=fifo\narena 65536\ncpus 4\nseed 9\n"
	      "cache 0 name=a object=64\ncache 1 name=b object=200 constructor\n"
	      "alloc 30 size=700 cpu=3\nalloc 9 size=300 align=16 flags=zeroed\nwait 1000\nalloc 8 size=300\n"
	      "misuse 8 kind=interior offset=8\nalloc 7 size=300 cpu=2 cache=1\nalloc 6 size=40 cache=0\n"
	      "drain 2\nfree 9\nfree 8\nshrink\nfree 7\nalloc 5 size=100\nfree 30\nexhaust on\nexhaust off\n");
	judge_program(&program, &wanted);
	assert_true(wanted.failed);
	if (!fuzz_minimise_program(&program, &wanted, &effort, &error))
		fail_msg("%s", error.text);
	judge_program(&program, &left);
	assert_true(fuzz_same_find(&left, &wanted));
	assert_int_equal(program.event_count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct kmt_event *event = &program.events[i];
		assert_int_equal(event->op, KMT_ALLOC);
		assert_int_equal(event->object, i);
		assert_int_equal(event->size_bytes, 1);
		assert_int_equal(event->flags | event->cpu | event->align_log2, 0);
		assert_int_equal(event->cache, KMT_NO_CACHE);
	}
	assert_string_equal(program.setup.stack, "canary");
	assert_int_equal(program.setup.cpu_count, 1);
	assert_int_equal(program.setup.cache_count, 0);
	assert_true(program.setup.arena_bytes <= 4096);
	program_free(&program);
}

static void what_passes_is_refused(void **state)
{
	(void)state;
	struct program program = {0};
	struct fuzz_effort effort = {0};
	struct kml_error error;
	const struct fuzz_verdict wanted = {.failed = true, .oracle = "overlap"};
	parse(&program, "kmemlab program 1\nstack binary\narena 65536\nalloc 0 size=100\n");
	assert_false(fuzz_minimise_program(&program, &wanted, &effort, &error));
	assert_non_null(strstr(error.text, "overlap"));
	assert_int_equal(program.event_count, 1);
	assert_int_equal(effort.tries, 1);
	program_free(&program);
}

static void tries_are_limited(void **state)
{
	(void)state;
	struct program program = {0};
	static struct fuzz_verdict wanted, left;
	struct fuzz_effort effort = {.tries_max = 5};
	struct kml_error error;
	parse(&program,
	      "kmemlab program 1\nstack canary\narena 65536\nalloc 0 size=10\nalloc 1 size=10\nalloc 2 size=10\n"
	      "alloc 3 size=999\n");
	judge_program(&program, &wanted);
	assert_true(fuzz_minimise_program(&program, &wanted, &effort, &error));
	assert_int_equal(effort.tries, 5);
	judge_program(&program, &left);
	assert_true(fuzz_same_find(&left, &wanted));
	program_free(&program);
}

/* ------------------------------------------------------------------------------------------------- bytes */

static void bytes_lose_whole_operations(void **state)
{
	(void)state;
	static uint8_t bytes[PROGRAM_BYTES_MAX];
	static struct fuzz_verdict wanted, left;
	struct fuzz_effort effort = {0};
	struct kml_error error;
	struct fuzz_input input = {.target = fuzz_target_find("canary"), .bytes = bytes, .byte_count = sizeof bytes};
	uint64_t random = 1;
	for (int tries = 0; tries < 1000 && !wanted.failed; tries++) {
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)(random_next(&random) >> 32);
		assert_true(fuzz_judge(&input, &wanted, &error));
	}
	assert_true(wanted.failed);
	if (!fuzz_minimise_bytes(input.target, bytes, &input.byte_count, &wanted, &effort, &error))
		fail_msg("%s", error.text);
	assert_true(fuzz_judge(&input, &left, &error));
	assert_true(fuzz_same_find(&left, &wanted));
	/* A setup, whole, and as few operations as any way to it needs: at most three allocations and three frees. */
	assert_int_equal((input.byte_count - PROGRAM_SETUP_BYTES) % PROGRAM_OP_BYTES, 0);
	assert_in_range(input.byte_count, PROGRAM_SETUP_BYTES, PROGRAM_SETUP_BYTES + 6 * PROGRAM_OP_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_end_passes),
		cmocka_unit_test(an_oracle_is_named_before_the_abort),
		cmocka_unit_test(a_broken_invariant_is_placed_by_frame_or_file),
		cmocka_unit_test(sanitizers_are_placed_by_our_innermost_function),
		cmocka_unit_test(a_silent_death_is_named_by_its_signal),
		cmocka_unit_test(one_find_is_one_oracle_in_one_place),
		cmocka_unit_test(programs_become_small),
		cmocka_unit_test(what_passes_is_refused),
		cmocka_unit_test(tries_are_limited),
		cmocka_unit_test(bytes_lose_whole_operations),
	};
	return cmocka_run_group_tests_name("minimise", tests, NULL, NULL);
}
