/*
 * capture_testing.h - captures of real kernels for tests: where they are, their files, imported to a .kmt.
 *
 * They are not part of the source: $KMEMLAB_GROUNDTRUTH, else ../shared/groundtruth beside it. A test that needs one
 * skips, with the place it looked at, where it is absent.
 */
#ifndef KMEMLAB_IMPORT_CAPTURE_TESTING_H
#define KMEMLAB_IMPORT_CAPTURE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "traces/import/import.h"

struct test_capture {
	char folder[2048];
	char kmt[3000]; /* "" until imported */
	struct kmt_totals totals;
};

/* A file of a capture ("" is its folder), whether it is there or not. */
static inline void test_capture_path(const char *capture, const char *file, char *path, size_t path_bytes)
{
	const char *given = getenv("KMEMLAB_GROUNDTRUTH"), *source = getenv("KMEMLAB_SOURCE");
	if (given && *given)
		snprintf(path, path_bytes, "%s/%s/%s", given, capture, file);
	else
		snprintf(path, path_bytes, "%s/../shared/groundtruth/%s/%s", source && *source ? source : ".", capture,
			 file);
}

/* NULL, and said, where it cannot be read. */
static inline FILE *test_capture_table(const char *capture, const char *file)
{
	char path[4096];
	test_capture_path(capture, file, path, sizeof path);
	FILE *table = fopen(path, "r");
	if (!table)
		print_message("skipped: %s cannot be read (set KMEMLAB_GROUNDTRUTH)\n", path);
	return table;
}

/* False, and said, where the capture is absent. */
static inline bool test_capture_find(struct test_capture *capture, const char *name)
{
	*capture = (struct test_capture){0};
	test_capture_path(name, "", capture->folder, sizeof capture->folder);
	if (access(capture->folder, R_OK) == 0)
		return true;
	print_message("skipped: no capture at %s (set KMEMLAB_GROUNDTRUTH)\n", capture->folder);
	return false;
}

/* A capture that was found, with its snapshots and, unless NULL, its table of caches. Fails the test. */
static inline void test_capture_import(struct test_capture *capture, const char *table, bool strict)
{
	const char *output = getenv("KMEMLAB_TEST_OUTPUT");
	char trace[2100], snapshots[2100], caches[2100];
	struct kml_error error = {{0}};
	const struct import_options options = {.strict = strict, .quiet = true};
	snprintf(trace, sizeof trace, "%strace.txt.zst", capture->folder);
	snprintf(snapshots, sizeof snapshots, "%ssnapshots.tar.zst", capture->folder);
	snprintf(caches, sizeof caches, "%s%s", capture->folder, table ? table : "");
	snprintf(capture->kmt, sizeof capture->kmt, "%s/capture-%ld.kmt", output && *output ? output : "/tmp",
		 (long)getpid());
	struct import *import = import_create(&options);
	struct import_input *input = import_input_open(trace, &error);
	bool done = import && input && (!table || import_cache_table(import, caches, &error)) &&
		    import_any(import, input, &error) && import_snapshots(import, snapshots, &error) &&
		    import_write(import, capture->kmt, &error);
	if (!done)
		fail_msg("%s: %s", capture->folder, error.text);
	capture->totals = *import_totals(import);
	import_input_close(input);
	import_destroy(import);
}

/* Skips the test where there was none to import. The caller closes the reader. */
static inline struct kmt_reader *test_capture_open(const struct test_capture *capture)
{
	struct kml_error error = {{0}};
	if (!capture->kmt[0])
		skip();
	struct kmt_reader *reader = kmt_open(capture->kmt, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

static inline void test_capture_remove(const struct test_capture *capture)
{
	if (capture->kmt[0])
		unlink(capture->kmt);
}

static inline void test_capture_prepare(struct test_capture *capture, const char *name, const char *table)
{
	if (test_capture_find(capture, name))
		test_capture_import(capture, table, false);
}

static inline int test_capture_finish(const struct test_capture *capture, int failed)
{
	test_capture_remove(capture);
	return failed;
}

/* What main returns of an array of tests on one capture: imported before them, with a table of caches unless it is
 * NULL, and removed after. */
#define test_capture_run(tests, capture, name, table)                                                                  \
	(test_capture_prepare(capture, name, table),                                                                   \
	 test_capture_finish(capture, cmocka_run_group_tests(tests, NULL, NULL)))

#endif
