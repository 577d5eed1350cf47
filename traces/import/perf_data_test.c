/* perf_data_test.c - perf.data files as perf itself reports them, damaged ones, and the three layouts of kmem events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "traces/import/import.h"
#include "traces/import/tracepoint.h"

static char folder[4096];

static int make_folder(void **state)
{
	(void)state;
	const char *parent = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(folder, sizeof folder, "%s/perf-data-XXXXXX", parent ? parent : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static const char *in_folder(const char *name)
{
	static char path[sizeof folder + 64];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(in_folder("broken.data"));
	unlink(in_folder("out.kmt"));
	return rmdir(folder);
}

/* NULL: not there. */
static const char *source_path(const char *path)
{
	static char full[4096];
	const char *source = getenv("KMEMLAB_SOURCE");
	snprintf(full, sizeof full, "%s/%s", source ? source : ".", path);
	return access(full, R_OK) == 0 ? full : NULL;
}

static const char *groundtruth_path(const char *path)
{
	static char full[4096];
	const char *folder_given = getenv("KMEMLAB_GROUNDTRUTH");
	const char *source = getenv("KMEMLAB_SOURCE");
	if (folder_given)
		snprintf(full, sizeof full, "%s/%s", folder_given, path);
	else
		snprintf(full, sizeof full, "%s/../shared/groundtruth/%s", source ? source : ".", path);
	return access(full, R_OK) == 0 ? full : NULL;
}

/* The file into an import, which is handed over when the file was read. */
static struct import *read_file(const char *path, struct kml_error *error)
{
	struct import_input *input = import_input_open(path, error);
	if (!input)
		return NULL;
	struct import *import = import_create(&(struct import_options){.quiet = true});
	assert_non_null(import);
	bool ok = import_perf_data(import, input, error);
	import_input_close(input);
	if (ok)
		return import;
	import_destroy(import);
	return NULL;
}

/* What `perf kmem stat` prints. */
struct perf_report {
	uint64_t requested, allocated, freed, allocations;
};

static void assert_perf_report(const char *path, const struct perf_report *expected)
{
	struct kml_error error = {0};
	assert_non_null(path);
	struct import *import = read_file(path, &error);
	if (!import)
		fail_msg("%s", error.text);
	assert_non_null(strstr(import_warning(import, 0), "RCU"));
	if (!import_write(import, in_folder("out.kmt"), &error))
		fail_msg("%s", error.text);
	const struct kmt_totals *totals = import_totals(import);
	assert_int_equal(totals->perf_requested_bytes, expected->requested);
	assert_int_equal(totals->perf_allocated_bytes, expected->allocated);
	assert_int_equal(totals->perf_freed_bytes, expected->freed);
	assert_int_equal(totals->perf_allocations, expected->allocations);
	assert_int_equal(totals->perf_cross_cpu, 0);
	import_destroy(import);
}

static void test_figures_of_perf_kmem_stat(void **state)
{
	(void)state;
	assert_perf_report(source_path("traces/import/fixtures/perf-file.data.zst"),
			   &(struct perf_report){93760, 94048, 79384, 101});
	assert_perf_report(source_path("traces/import/fixtures/perf-compressed.data.zst"),
			   &(struct perf_report){93472, 93536, 79384, 100});
	/* `perf kmem` reads no streams: the sums are those of the lines of `perf script -i -`. */
	assert_perf_report(source_path("traces/import/fixtures/perf-stream.data.zst"),
			   &(struct perf_report){93472, 93536, 79384, 100});
}

static void test_a_whole_compiler_run(void **state)
{
	(void)state;
	const char *path = groundtruth_path("linux-6.18-slub/compile-perf/perf.data.zst");
	if (!path) {
		print_message("skipped: no recordings at KMEMLAB_GROUNDTRUTH\n");
		skip();
	}
	assert_perf_report(path, &(struct perf_report){230302687, 230510184, 227873784, 107542});
}

static void test_origin(void **state)
{
	(void)state;
	struct kml_error error = {0};
	struct import *import = read_file(source_path("traces/import/fixtures/perf-stream.data.zst"), &error);
	assert_non_null(import);
	assert_true(import_write(import, in_folder("out.kmt"), &error));
	import_destroy(import);
	struct kmt_reader *reader = kmt_open(in_folder("out.kmt"), &error);
	assert_non_null(reader);
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	assert_string_equal(origin->source, "perf.data");
	assert_string_equal(origin->kernel, "Linux 6.18.44-fc-v595 x86_64");
	assert_string_equal(origin->clock, "mono");
	assert_int_equal(origin->cpu_count, 2);
	assert_int_equal(origin->page_bytes, 4096);
	assert_non_null(strstr(origin->command, "perf record"));
	kmt_close(reader);
}

/* --------------------------------------------------------------------------------------------------- damaged files */

struct bytes {
	uint8_t *data;
	size_t count;
};

static struct bytes load(const char *path)
{
	struct kml_error error;
	struct bytes bytes = {malloc(1 << 20), 0};
	struct import_input *input = import_input_open(path, &error);
	assert_non_null(input);
	int64_t got;
	while ((got = import_input_read(input, bytes.data + bytes.count, (1 << 20) - bytes.count, &error)) > 0)
		bytes.count += (size_t)got;
	assert_int_equal(got, 0);
	import_input_close(input);
	return bytes;
}

/* True when it could be read; else there must be a message that names the file. */
static bool is_read_or_refused(void)
{
	struct kml_error error = {0};
	struct import *import = read_file(in_folder("broken.data"), &error);
	if (!import)
		assert_non_null(strstr(error.text, "broken.data"));
	import_destroy(import);
	return import != NULL;
}

static bool survives(const uint8_t *data, size_t count)
{
	FILE *file = fopen(in_folder("broken.data"), "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, count, file), count);
	assert_int_equal(fclose(file), 0);
	return is_read_or_refused();
}

/* xorshift64*, Vigna 2016. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/*
 * Every length from the whole file down to nothing; under sanitizers, which make each try ten times as long, every one
 * of the first and last 2 KiB and each 13th between.
 */
#if defined(__SANITIZE_ADDRESS__)
enum { TRUNCATION_STEP_BYTES = 13 };
#else
enum { TRUNCATION_STEP_BYTES = 1 };
#endif
enum { TRUNCATION_EDGE_BYTES = 2048 };

static void test_truncated_files(void **state)
{
	(void)state;
	static const char *const fixtures[] = {"traces/import/fixtures/perf-file.data.zst",
					       "traces/import/fixtures/perf-compressed.data.zst",
					       "traces/import/fixtures/perf-stream.data.zst"};
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		struct bytes bytes = load(source_path(fixtures[i]));
		size_t readable = 0;
		assert_true(survives(bytes.data, bytes.count));
		for (size_t count = bytes.count; count-- > 0;) {
			bool is_at_an_edge =
				count < TRUNCATION_EDGE_BYTES || count + TRUNCATION_EDGE_BYTES > bytes.count;
			if (!is_at_an_edge && count % TRUNCATION_STEP_BYTES != 0)
				continue;
			assert_int_equal(truncate(in_folder("broken.data"), (off_t)count), 0);
			readable += is_read_or_refused();
		}
		/* A stream may end between any two records; a file may not end before its end. */
		bool is_stream = i == 2;
		assert_true(is_stream ? readable > 0 && readable < 200 : readable == 0);
		free(bytes.data);
	}
}

static void test_flipped_bits(void **state)
{
	(void)state;
	static const char *const fixtures[] = {"traces/import/fixtures/perf-file.data.zst",
					       "traces/import/fixtures/perf-compressed.data.zst",
					       "traces/import/fixtures/perf-stream.data.zst"};
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
		struct bytes bytes = load(source_path(fixtures[i]));
		assert_true(bytes.count > 2048);
		uint8_t *copy = malloc(bytes.count + 1);
		assert_non_null(copy);
		for (int round = 0; round < 1500; round++) {
			memcpy(copy, bytes.data, bytes.count);
			/* Half of the rounds aim at the tables in front, where every bit has a meaning. */
			size_t range = round % 2 ? bytes.count : 2048;
			for (uint64_t flips = next_random(&random) % 8 + 1; flips; flips--)
				copy[next_random(&random) % range] ^= (uint8_t)(1u << next_random(&random) % 8);
			survives(copy, bytes.count);
		}
		free(copy);
		free(bytes.data);
	}
}

static void assert_refused(const char *bytes, size_t count, const char *words)
{
	struct kml_error error = {0};
	FILE *file = fopen(in_folder("broken.data"), "w");
	assert_non_null(file);
	fwrite(bytes, 1, count, file);
	fclose(file);
	assert_null(read_file(in_folder("broken.data"), &error));
	if (!strstr(error.text, words))
		fail_msg("'%s' does not say '%s'", error.text, words);
}

static void test_files_of_another_kind(void **state)
{
	(void)state;
	assert_refused("", 0, "no perf.data");
	assert_refused("hello, this is some text", 24, "no perf.data");
	assert_refused("2ELIFREP\0\0\0\0\0\0\0\0", 16, "big-endian");
	/* A stream without a record. */
	assert_refused("PERFILE2\x10\0\0\0\0\0\0\0", 16, "no samples");
}

/* ------------------------------------------------------------------------------------- layouts, by field name alone */

#define COMMON                                                                                                         \
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"                                         \
	"\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"                                         \
	"\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"                                 \
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"

/* Linux 3.x to 5.17. The flags are those of 4.x. */
static const char LAYOUT_PLAIN[] =
	"name: kmem_cache_alloc\nID: 401\nformat:\n" COMMON
	"\tfield:unsigned long call_site;\toffset:8;\tsize:8;\tsigned:0;\n"
	"\tfield:const void * ptr;\toffset:16;\tsize:8;\tsigned:0;\n"
	"\tfield:size_t bytes_req;\toffset:24;\tsize:8;\tsigned:0;\n"
	"\tfield:size_t bytes_alloc;\toffset:32;\tsize:8;\tsigned:0;\n"
	"\tfield:gfp_t gfp_flags;\toffset:40;\tsize:4;\tsigned:0;\n\n"
	"print fmt: \"call_site=%lx gfp_flags=%s\", REC->call_site, __print_flags(REC->gfp_flags, \"|\", "
	"{(unsigned long)(((gfp_t)(0x400000u|0x2000000u)) | ((gfp_t)0x40u)), \"GFP_NOFS\"}, "
	"{(unsigned long)((gfp_t)0x8000u), \"__GFP_ZERO\"}, {(unsigned long)((gfp_t)0x400000u), "
	"\"__GFP_DIRECT_RECLAIM\"})\n";

/* 5.18 to 6.0: accounted. */
static const char LAYOUT_ACCOUNTED[] = "name: kmem_cache_alloc\nID: 402\nformat:\n" COMMON
				       "\tfield:unsigned long call_site;\toffset:8;\tsize:8;\tsigned:0;\n"
				       "\tfield:const void * ptr;\toffset:16;\tsize:8;\tsigned:0;\n"
				       "\tfield:size_t bytes_req;\toffset:24;\tsize:8;\tsigned:0;\n"
				       "\tfield:size_t bytes_alloc;\toffset:32;\tsize:8;\tsigned:0;\n"
				       "\tfield:unsigned long gfp_flags;\toffset:40;\tsize:8;\tsigned:0;\n"
				       "\tfield:bool accounted;\toffset:48;\tsize:1;\tsigned:0;\n\n"
				       "print fmt: \"call_site=%pS\", (void *)REC->call_site\n";

/* 6.1 on: the cache's name and the node. */
static const char LAYOUT_NAMED[] = "name: kmem_cache_alloc\nID: 403\nformat:\n" COMMON
				   "\tfield:unsigned long call_site;\toffset:8;\tsize:8;\tsigned:0;\n"
				   "\tfield:const void * ptr;\toffset:16;\tsize:8;\tsigned:0;\n"
				   "\tfield:__data_loc char[] name;\toffset:24;\tsize:4;\tsigned:0;\n"
				   "\tfield:size_t bytes_req;\toffset:32;\tsize:8;\tsigned:0;\n"
				   "\tfield:size_t bytes_alloc;\toffset:40;\tsize:8;\tsigned:0;\n"
				   "\tfield:unsigned long gfp_flags;\toffset:48;\tsize:8;\tsigned:0;\n"
				   "\tfield:int node;\toffset:56;\tsize:4;\tsigned:1;\n"
				   "\tfield:bool accounted;\toffset:60;\tsize:1;\tsigned:0;\n\n"
				   "print fmt: \"%s\", __print_flags(REC->gfp_flags, \"|\", {( unsigned long)(( "
				   "gfp_t)((((1UL))) << (8))), \"__GFP_ZERO\"}, "
				   "{( unsigned long)(( gfp_t)((((1UL))) << (10))), \"__GFP_DIRECT_RECLAIM\"}, "
				   "{( unsigned long)(( gfp_t)((((1UL))) << (4))), \"__GFP_RECLAIMABLE\"})\n";

/* A 32-bit kernel, and a name relative to its field. */
static const char LAYOUT_32_BITS[] = "name: kmem_cache_alloc\nID: 404\nformat:\n" COMMON
				     "\tfield:unsigned long call_site;\toffset:8;\tsize:4;\tsigned:0;\n"
				     "\tfield:const void * ptr;\toffset:12;\tsize:4;\tsigned:0;\n"
				     "\tfield:__rel_loc char[] name;\toffset:16;\tsize:4;\tsigned:0;\n"
				     "\tfield:size_t bytes_req;\toffset:20;\tsize:4;\tsigned:0;\n"
				     "\tfield:size_t bytes_alloc;\toffset:24;\tsize:4;\tsigned:0;\n\n"
				     "print fmt: \"\"\n";

static void learn(struct tracepoints *tracepoints, const char *format)
{
	struct kml_error error = {0};
	if (!tracepoints_add(tracepoints, format, strlen(format), &error))
		fail_msg("%s", error.text);
}

static void put(uint8_t *record, size_t offset, uint64_t value, size_t bytes)
{
	memcpy(record + offset, &value, bytes); /* the tests run on little-endian machines, as the product does */
}

static void test_three_layouts_of_kmem_cache_alloc(void **state)
{
	(void)state;
	struct tracepoints *tracepoints = tracepoints_create();
	struct raw_event event = RAW_EVENT_INIT;
	learn(tracepoints, LAYOUT_PLAIN);
	learn(tracepoints, LAYOUT_ACCOUNTED);
	learn(tracepoints, LAYOUT_NAMED);
	learn(tracepoints, LAYOUT_32_BITS);
	assert_int_equal(tracepoints_count(tracepoints), 4);

	uint8_t plain[44] = {0};
	put(plain, 0, 401, 2);
	put(plain, 8, 0xffffffff81234567, 8);
	put(plain, 16, 0xffff888001234560, 8);
	put(plain, 24, 190, 8);
	put(plain, 32, 192, 8);
	put(plain, 40, 0x8000, 4); /* zeroed, and no direct reclaim: atomic */
	assert_int_equal(tracepoints_decode(tracepoints, plain, sizeof plain, &event), TRACEPOINT_EVENT);
	assert_int_equal(event.kind, RAW_CACHE_ALLOC);
	assert_int_equal(event.call_site, 0xffffffff81234567);
	assert_int_equal(event.pointer, 0xffff888001234560);
	assert_int_equal(event.bytes_requested, 190);
	assert_int_equal(event.bytes_allocated, 192);
	assert_int_equal(event.gfp, RAW_GFP_ZERO | RAW_GFP_ATOMIC);
	assert_null(event.name);
	assert_false(event.accounted);
	assert_int_equal(tracepoints_node(tracepoints), -1);

	uint8_t accounted[52] = {0};
	put(accounted, 0, 402, 2);
	put(accounted, 24, 1, 8);
	put(accounted, 48, 1, 1);
	assert_int_equal(tracepoints_decode(tracepoints, accounted, sizeof accounted, &event), TRACEPOINT_EVENT);
	assert_true(event.accounted);
	assert_int_equal(event.gfp, 0); /* no table of flags: nothing is claimed */

	uint8_t named[72] = {0};
	put(named, 0, 403, 2);
	put(named, 24, 7u << 16 | 64, 4);
	put(named, 32, 5, 8);
	put(named, 40, 8, 8);
	put(named, 48, 1u << 10 | 1u << 4, 8);
	put(named, 56, UINT32_MAX, 4);
	memcpy(named + 64, "dentry", 7);
	assert_int_equal(tracepoints_decode(tracepoints, named, sizeof named, &event), TRACEPOINT_EVENT);
	assert_string_equal(event.name, "dentry");
	assert_int_equal(event.bytes_requested, 5);
	assert_int_equal(event.gfp, RAW_GFP_RECLAIMABLE);
	assert_int_equal(tracepoints_node(tracepoints), -1);
	put(named, 56, 1, 4);
	tracepoints_decode(tracepoints, named, sizeof named, &event);
	assert_int_equal(tracepoints_node(tracepoints), 1);

	uint8_t small[36] = {0};
	put(small, 0, 404, 2);
	put(small, 12, 0xc1234560, 4);
	put(small, 16, 6u << 16 | 8, 4); /* 8 bytes after the field's end at 20 */
	memcpy(small + 28, "inode", 6);
	assert_int_equal(tracepoints_decode(tracepoints, small, sizeof small, &event), TRACEPOINT_EVENT);
	assert_int_equal(event.pointer, 0xc1234560);
	assert_string_equal(event.name, "inode");
	tracepoints_destroy(tracepoints);
}

static void test_short_records_and_wild_texts(void **state)
{
	(void)state;
	struct tracepoints *tracepoints = tracepoints_create();
	struct raw_event event = RAW_EVENT_INIT;
	learn(tracepoints, LAYOUT_NAMED);
	uint8_t *record = calloc(1, 72);
	put(record, 0, 403, 2);
	put(record, 24, 7u << 16 | 64, 4);
	memcpy(record + 64, "dentry", 7);
	for (size_t count = 0; count < 71; count++) {
		uint8_t *shorter = malloc(count ? count : 1); /* so that a read beyond it is seen by the sanitizer */
		memcpy(shorter, record, count);
		assert_int_equal(tracepoints_decode(tracepoints, shorter, count, &event), TRACEPOINT_MALFORMED);
		free(shorter);
	}
	put(record, 24, 7u << 16 | 60000, 4); /* outside */
	assert_int_equal(tracepoints_decode(tracepoints, record, 72, &event), TRACEPOINT_MALFORMED);
	put(record, 24, 6u << 16 | 64, 4); /* without its NUL */
	assert_int_equal(tracepoints_decode(tracepoints, record, 72, &event), TRACEPOINT_MALFORMED);
	put(record, 0, 999, 2);
	assert_int_equal(tracepoints_decode(tracepoints, record, 72, &event), TRACEPOINT_UNKNOWN);
	free(record);
	tracepoints_destroy(tracepoints);
}

static void test_useless_formats(void **state)
{
	(void)state;
	struct tracepoints *tracepoints = tracepoints_create();
	struct kml_error error;
	static const char *const useless[] = {
		"",
		"name: kmalloc\n",
		"print fmt: \"\"\n",
		"name: kmalloc\nID: 1\nformat:\n\nprint fmt: \"\"\n",
		"name: kmalloc\nID: 1\nformat:\n" COMMON
		"\tfield:int ptr;\toffset:-5;\tsize:4;\tsigned:0;\n\nprint fmt: \"\"\n",
	};
	for (size_t i = 0; i < sizeof useless / sizeof *useless; i++)
		assert_false(tracepoints_add(tracepoints, useless[i], strlen(useless[i]), &error));
	/* Of no interest, and no error. */
	learn(tracepoints, "name: sched_switch\nID: 2\nformat:\n" COMMON "\nprint fmt: \"\"\n");
	assert_int_equal(tracepoints_count(tracepoints), 0);
	tracepoints_destroy(tracepoints);
}

static void test_failed_page_allocation(void **state)
{
	(void)state;
	struct tracepoints *tracepoints = tracepoints_create();
	struct raw_event event = RAW_EVENT_INIT;
	learn(tracepoints, "name: mm_page_alloc\nID: 7\nformat:\n" COMMON
			   "\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;\n"
			   "\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;\n"
			   "\tfield:int migratetype;\toffset:20;\tsize:4;\tsigned:1;\n\nprint fmt: \"\"\n");
	uint8_t record[24] = {0};
	put(record, 0, 7, 2);
	put(record, 8, 4660, 8);
	put(record, 16, 3, 4);
	put(record, 20, 1, 4);
	assert_int_equal(tracepoints_decode(tracepoints, record, sizeof record, &event), TRACEPOINT_EVENT);
	assert_int_equal(event.kind, RAW_PAGE_ALLOC);
	assert_int_equal(event.pfn, 4660);
	assert_int_equal(event.order, 3);
	assert_int_equal(event.migrate_type, 1);
	put(record, 8, UINT64_MAX, 8); /* trace_mm_page_alloc(NULL, ...) */
	tracepoints_decode(tracepoints, record, sizeof record, &event);
	assert_int_equal(event.kind, RAW_OTHER);
	tracepoints_destroy(tracepoints);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures_of_perf_kmem_stat),
		cmocka_unit_test(test_a_whole_compiler_run),
		cmocka_unit_test(test_origin),
		cmocka_unit_test(test_three_layouts_of_kmem_cache_alloc),
		cmocka_unit_test(test_short_records_and_wild_texts),
		cmocka_unit_test(test_useless_formats),
		cmocka_unit_test(test_failed_page_allocation),
		cmocka_unit_test(test_files_of_another_kind),
		cmocka_unit_test(test_truncated_files),
		cmocka_unit_test(test_flipped_bits),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
