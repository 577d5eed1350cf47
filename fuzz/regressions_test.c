/*
 * regressions_test.c - what fuzzers once found stays mended: fuzz/regressions/NAME.ops are programs,
 * fuzz/regressions/TARGET/NAME are bytes for a target; the programs that campaigns start from must pass as well. A file
 * there is a test here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/judge.h"

static void assert_passes(const struct fuzz_input *input)
{
	static struct fuzz_verdict verdict;
	struct kml_error error;
	if (!fuzz_judge(input, &verdict, &error))
		fail_msg("%s", error.text);
	if (verdict.failed)
		fail_msg("%s", verdict.trace[0] ? verdict.trace : verdict.text);
}

static void program_passes(void **state)
{
	struct program program = {0};
	struct kml_error error;
	if (!program_load(&program, *state, &error))
		fail_msg("%s", error.text);
	const struct fuzz_input input = {.program = &program};
	assert_passes(&input);
	program_free(&program);
}

static void input_passes(void **state)
{
	const char *path = *state;
	char target[256];
	const char *slash = strrchr(path, '/');
	size_t end = (size_t)(slash - path), begin = end;
	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	snprintf(target, sizeof target, "%.*s", (int)(end - begin), path + begin);

	struct stat status;
	FILE *stream = fopen(path, "rb");
	assert_non_null(stream);
	assert_int_equal(fstat(fileno(stream), &status), 0);
	uint8_t *bytes = malloc((size_t)status.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, (size_t)status.st_size, stream), status.st_size);
	fclose(stream);

	const struct fuzz_input input = {
		.target = fuzz_target_find(target), .bytes = bytes, .byte_count = (size_t)status.st_size};
	if (!input.target)
		fail_msg("%s: the folder is named after no target", path);
	assert_passes(&input);
	free(bytes);
}

/* That a find is seen at all: a program that frees what it may not, on an allocator that is wrong, must not pass. */
static void the_canary_does_not_pass(void **state)
{
	(void)state;
	struct program program = {0};
	struct kml_error error;
	static struct fuzz_verdict verdict;
	assert_non_null(fuzz_target_find("canary"));
	static const char text[] = "kmemlab program 1\nstack canary\narena 65536\n"
				   "alloc 0 size=100\nalloc 1 size=100\nalloc 2 size=100\nfree 0\nfree 1\nfree 2\n";
	FILE *stream = fmemopen((void *)(uintptr_t)text, sizeof text - 1, "r");
	assert_non_null(stream);
	if (!program_parse(&program, stream, "text", &error))
		fail_msg("%s", error.text);
	fclose(stream);
	const struct fuzz_input input = {.program = &program};
	assert_true(fuzz_judge(&input, &verdict, &error));
	assert_true(verdict.failed);
	program_free(&program);
}

static bool is_operations(const char *path)
{
	size_t length = strlen(path);
	return length > 4 && strcmp(path + length - 4, ".ops") == 0;
}

int main(void)
{
	glob_t files = {0};
	static const char *const patterns[] = {"fuzz/regressions/*.ops", "fuzz/regressions/*/*", "fuzz/seeds/*.ops"};
	for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
		glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &files);
	struct CMUnitTest *tests = calloc(files.gl_pathc + 1, sizeof *tests);
	if (!tests)
		return 1;
	tests[0] = (struct CMUnitTest)cmocka_unit_test(the_canary_does_not_pass);
	for (size_t i = 0; i < files.gl_pathc; i++)
		tests[i + 1] = (struct CMUnitTest){.name = files.gl_pathv[i],
						   .test_func = is_operations(files.gl_pathv[i]) ? program_passes
												 : input_passes,
						   .initial_state = files.gl_pathv[i]};
	int status = _cmocka_run_group_tests("regressions", tests, files.gl_pathc + 1, NULL, NULL);
	free(tests);
	globfree(&files);
	return status;
}
