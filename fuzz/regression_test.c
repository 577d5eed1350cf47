/*
 * regression_test.c - the files of a find: a program comes back from its text and its trace as it was, bytes as they
 * were, and the C tests compile without a warning. That such a test fails as the find did, kmemlab/tests proves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/regression.h"

static const char *folder(void)
{
	const char *told = getenv("KMEMLAB_TEST_OUTPUT");
	return told ? told : "/tmp";
}

static const char *in_folder(const char *name)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s/%s", folder(), name);
	return path;
}

static void assert_compiles(const char *name)
{
	char command[8192];
	snprintf(command, sizeof command, "cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I. '%s'",
		 in_folder(name));
	assert_int_equal(system(command), 0); /* NOLINT(bugprone-command-processor): our own path */
}

static struct fuzz_verdict verdict = {
	.failed = true, .oracle = "overlap", .text = "overlap: a \"quote\", a \\, a */ and a \t in the words"};

static void a_program_comes_back(void **state)
{
	(void)state;
	static const char text[] =
		"kmemlab program 1\nstack slub:min_partial=5/binary\narena 70000\ncpus 2\ncheck 3\n"
		"cache 0 name=dentry object=64 align=8 rcu\n"
		"alloc 0 cache=0 cpu=1\nmisuse 0 kind=interior offset=8\nfree 0 cache=0\nwait 5\nshrink\n";
	struct program program = {0}, again = {0};
	struct kml_error error;
	FILE *stream = fmemopen((void *)(uintptr_t)text, sizeof text - 1, "r");
	assert_true(program_parse(&program, stream, "text", &error));
	fclose(stream);
	const struct fuzz_input input = {.program = &program};
	if (!fuzz_write_find(in_folder("find-program"), &input, &verdict, &error))
		fail_msg("%s", error.text);
	static const char *const names[] = {"find-program.ops", "find-program.kmt"};
	for (size_t i = 0; i < 2; i++) {
		if (!program_load(&again, in_folder(names[i]), &error))
			fail_msg("%s", error.text);
		assert_string_equal(again.setup.stack, program.setup.stack);
		assert_int_equal(again.setup.arena_bytes, 70000);
		assert_int_equal(again.event_count, program.event_count);
		for (uint32_t event = 0; event < program.event_count; event++) {
			assert_int_equal(again.events[event].op, program.events[event].op);
			assert_int_equal(again.events[event].time_ns, program.events[event].time_ns);
		}
	}
	assert_compiles("find-program_test.c");
	program_free(&program);
	program_free(&again);
}

static void assert_bytes_come_back(const char *name, const uint8_t *bytes, size_t count)
{
	char file[128];
	uint8_t read[64];
	struct kml_error error;
	const struct fuzz_input input = {.target = fuzz_target_find("kmt"), .bytes = bytes, .byte_count = count};
	assert_non_null(input.target);
	if (!fuzz_write_find(in_folder(name), &input, &verdict, &error))
		fail_msg("%s", error.text);
	snprintf(file, sizeof file, "%s.input", name);
	FILE *stream = fopen(in_folder(file), "rb");
	assert_non_null(stream);
	assert_int_equal(fread(read, 1, sizeof read, stream), count);
	fclose(stream);
	if (count)
		assert_memory_equal(read, bytes, count);
	snprintf(file, sizeof file, "%s_test.c", name);
	assert_compiles(file);
}

static void bytes_come_back(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0x89, 'K', 'M', 'T', 0, 0xff, '"', '\\', '\n', 1, 2, 3, 4, 5, 6, 7, 8, 9};
	assert_bytes_come_back("find-bytes", bytes, sizeof bytes);
	assert_bytes_come_back("find-nothing", bytes, 0);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
	(void)state;
	struct kml_error error;
	static const uint8_t byte;
	const struct fuzz_input input = {.target = fuzz_target_find("kmt"), .bytes = &byte, .byte_count = 1};
	assert_false(fuzz_write_find("/no/such/folder/find", &input, &verdict, &error));
	assert_non_null(strstr(error.text, "/no/such/folder"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_comes_back),
		cmocka_unit_test(bytes_come_back),
		cmocka_unit_test(a_folder_that_is_not_there_is_named),
	};
	return cmocka_run_group_tests_name("regression", tests, NULL, NULL);
}
