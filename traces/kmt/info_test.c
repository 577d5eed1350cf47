/*
 * info_test.c - `kmemlab info` as its users meet it: run the program on a trace written here and read what it prints.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "traces/kmt/kmt.h"

static char path[3000];
static char output[1 << 20];

/* perf's own sums of a perf.data of Linux 6.18, and what `perf kmem stat` printed for them. */
static const struct kmt_totals known = {
	.perf_requested_bytes = 230302687,
	.perf_allocated_bytes = 230510184,
	.perf_freed_bytes = 227873784,
	.perf_allocations = 107542,
	.quirks = {[KMT_QUIRK_NULL_FREE] = 12, [KMT_QUIRK_LOST] = 3},
};
static const char perf_lines[] = "Total bytes requested: 230302687\n"
				 "Total bytes allocated: 230510184\n"
				 "Total bytes freed:     227873784\n"
				 "Net total bytes allocated: 2636400\n"
				 "Total bytes wasted on internal fragmentation: 207497\n"
				 "Internal fragmentation: 0.090016%\n"
				 "Cross CPU allocations: 0/107542\n";

static const struct kmt_event events[] = {
	{.time_ns = 0, .address = 0x1000, .size_bytes = 60, .granted_bytes = 64, .flags = KML_KMALLOC | KMT_WARM},
	{.time_ns = 1500,
	 .address = 0x2000,
	 .size_bytes = 192,
	 .granted_bytes = 192,
	 .object = 1,
	 .cache = 1,
	 .cpu = 1},
	{.time_ns = 1600,
	 .address = 0x2100,
	 .size_bytes = 192,
	 .granted_bytes = 192,
	 .object = 2,
	 .cache = 1,
	 .cpu = 1},
	{.time_ns = 1700,
	 .address = 0x2000,
	 .size_bytes = 192,
	 .granted_bytes = 192,
	 .object = 1,
	 .cache = 1,
	 .op = KMT_FREE},
	{.time_ns = UINT64_C(2000000000),
	 .address = KMT_NO_ADDRESS,
	 .size_bytes = 8192,
	 .object = 1,
	 .cache = KMT_NO_CACHE,
	 .flags = KML_PAGES | KMT_SLAB_PAGE,
	 .op = KMT_PAGE_ALLOC,
	 .order = 1},
	{.time_ns = UINT64_C(2000000001), .address = KMT_NO_ADDRESS, .cache = KMT_NO_CACHE, .op = KMT_MARK},
};
enum { EVENTS = sizeof events / sizeof *events };

static int write_trace(void **state)
{
	(void)state;
	const char *base = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, sizeof path, "%s/info-%d.kmt", base ? base : "/tmp", getpid());
	struct kmt_origin origin = {.source = "test \x1b[31m\"red\"",
				    .kernel = "Linux 6.18 x86_64",
				    .command = "make \xff",
				    .clock = "mono",
				    .note = "",
				    .cpu_count = 2,
				    .page_bytes = 4096,
				    .start_ns = UINT64_MAX};
	struct kmt_cache caches[] = {
		{.name = "kmalloc-64", .object_bytes = 64, .flags = KMT_CACHE_KMALLOC},
		{.name = "a,\"cache\"", .object_bytes = 192, .objects_per_slab = 21, .pages_per_slab = 1}};
	struct kml_error error;
	struct kmt_snapshot snapshot = {.kind = KMT_SNAPSHOT_BUDDYINFO,
					.time_ns = UINT64_C(1500000000),
					.label = "0001",
					.text = "Node 0, zone DMA 1 1 0\n",
					.text_bytes = 23};
	struct kmt_writer *writer = kmt_create(path, &origin, caches, 2, &error);
	if (!writer)
		return -1;
	for (int i = 0; i < EVENTS; i++)
		if ((i == 4 && !kmt_write_snapshot(writer, &snapshot, &error)) ||
		    !kmt_write_event(writer, &events[i], &error))
			return -1;
	return kmt_finish(writer, &known, &error) ? 0 : -1;
}

static int remove_trace(void **state)
{
	(void)state;
	return unlink(path);
}

/* Runs `kmemlab info OPTIONS` with both outputs in `output`; the exit status. */
static int info(const char *options)
{
	const char *program = getenv("KMEMLAB");
	char command[8192];
	snprintf(command, sizeof command, "'%s' info %s 2>&1", program ? program : "build/kmemlab", options);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	size_t size = fread(output, 1, sizeof output - 1, pipe);
	output[size] = '\0';
	int status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int info_on_trace(const char *options)
{
	char all[4096];
	snprintf(all, sizeof all, "%s '%s'", options, path);
	return info(all);
}

static void expect_line(const char *text)
{
	if (!strstr(output, text))
		fail_msg("no \"%s\" in:\n%s", text, output);
}

static void test_summary(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace(""), 0);
	expect_line(perf_lines);
	expect_line("source        test \\x1b[31m\"red\"\n"); /* no escape sequence reaches the terminal */
	expect_line("duration      2.000000001 s\n");
	expect_line("events        6\n");
	expect_line("  alloc                  3\n");
	expect_line("  page_alloc             1\n");
	expect_line("  warm                   1");
	expect_line("null_free                   12  kfree(NULL): dropped\n");
	expect_line("lost                         3  events the kernel reported lost\n");
	assert_null(strstr(output, "unmatched_free"));
}

static void test_caches(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace("--caches"), 0);
	const char *most = strstr(output, "a,\"cache\""), *least = strstr(output, "kmalloc-64");
	assert_non_null(most);
	assert_non_null(least);
	assert_true(most < least); /* two allocations before one */
	expect_line("a,\"cache\"                     192        0     21      1         0          2          1        "
		    "  2\n");
}

static void test_events(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace("--events"), 0);
	expect_line("        0      0.000000000    0 alloc               0        60        64 0x0000000000001000     "
		    "0     0 "
		    "kmalloc-64 kmalloc|warm\n");
	expect_line("        4      2.000000000    0 page_alloc          1      8192         0                  -     "
		    "1     0 "
		    "- pages|slab_page\n");
	expect_line("        5      2.000000001    0 mark                -         0         0                  -     "
		    "0     0 "
		    "- -\n");
}

static void test_events_limited(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace("--events --csv --from 2 --limit 2"), 0);
	assert_string_equal(
		output, "event,time_ns,cpu,op,object,size_bytes,granted_bytes,address,order,align_log2,cache,flags\n"
			"2,1600,1,alloc,2,192,192,8448,0,0,\"a,\"\"cache\"\"\",\n"
			"3,1700,0,free,1,192,192,8192,0,0,\"a,\"\"cache\"\"\",\n");
	assert_int_equal(info_on_trace("--events --limit 0 --csv"), 0);
	assert_null(strstr(output, "\n0,"));
	assert_int_equal(info_on_trace("--events --from 100 --csv"), 0);
	assert_string_equal(strchr(output, '\n'), "\n");
}

static void test_snapshots(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace("--snapshots"), 0);
	expect_line("     1.500000000          4         23 buddyinfo       0001\n");
	assert_int_equal(info_on_trace("--snapshots=buddyinfo"), 0);
	assert_string_equal(output, "### 1.500000000 s, before event 4, buddyinfo 0001\nNode 0, zone DMA 1 1 0\n");
	assert_int_equal(info_on_trace("--snapshots=slabinfo"), 0);
	assert_string_equal(output, "");
	assert_int_equal(info_on_trace("--snapshots=buddy"), 2);
	expect_line("no kind of snapshot 'buddy': slabinfo, buddyinfo,");
}

static uint64_t number_at(const cJSON *root, const char *group, const char *name)
{
	const cJSON *number = cJSON_GetObjectItem(cJSON_GetObjectItem(root, group), name);
	assert_true(cJSON_IsNumber(number));
	return (uint64_t)number->valuedouble;
}

static void test_json(void **state)
{
	(void)state;
	assert_int_equal(info_on_trace("--json --caches"), 0);
	/* Numbers of 64 bits are whole in the text, not rounded to a double. */
	expect_line("18446744073709551615");
	assert_null(strchr(output, '\xff')); /* not UTF-8 */
	cJSON *root = cJSON_Parse(output);
	assert_non_null(root);
	assert_int_equal(number_at(root, "totals", "events"), EVENTS);
	assert_int_equal(number_at(root, "events_by_op", "alloc"), 3);
	assert_int_equal(number_at(root, "quirks", "null_free"), 12);
	assert_int_equal(number_at(root, "perf_kmem", "requested_bytes"), 230302687);
	const cJSON *cache = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "caches"), 0);
	assert_string_equal(cJSON_GetObjectItem(cache, "name")->valuestring, "a,\"cache\"");
	assert_int_equal(cJSON_GetObjectItem(cache, "allocs")->valueint, 2);
	assert_int_equal(strlen(cJSON_GetObjectItem(root, "xxh64")->valuestring), 16);
	cJSON_Delete(root);
}

static void test_bad_usage(void **state)
{
	(void)state;
	static const struct {
		const char *options, *why;
	} bad[] = {
		{"", "name a trace"},
		{"a.kmt b.kmt", "one trace at a time"},
		{"--limit 3 a.kmt", "go with --events"},
		{"--events --limit -3 a.kmt", "no number of events"},
		{"--events --limit 99999999999999999999 a.kmt", "no number of events"},
		{"--events --json a.kmt", "one at a time"},
		{"--nonsense a.kmt", "--nonsense"},
		{"/nowhere/a.kmt", "/nowhere/a.kmt: cannot open: No such file or directory"},
		{"/", "not a regular file"},
		{"/dev/null", "not a regular file"},
		{"/proc/self/cmdline", "empty"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(info(bad[i].options), 2);
		expect_line(bad[i].why);
	}
}

static void test_closed_pipe_and_full_disk(void **state)
{
	(void)state;
	const char *program = getenv("KMEMLAB");
	char command[8192];
	snprintf(command, sizeof command, "{ '%s' info --events '%s'; echo status $? >&2; } 2>&1 >/dev/full | cat",
		 program ? program : "build/kmemlab", path);
	FILE *pipe = popen(command, "r");
	size_t size = fread(output, 1, sizeof output - 1, pipe);
	output[size] = '\0';
	pclose(pipe);
	expect_line("status 2");
	expect_line("No space left on device");
	/* `true` reads nothing: the printer meets a closed pipe and ends well. */
	snprintf(command, sizeof command, "{ sleep 0.2; '%s' info --events '%s'; echo status $? >&2; } 2>&3 | true",
		 program ? program : "build/kmemlab", path);
	char whole[9000];
	snprintf(whole, sizeof whole, "{ %s; } 3>&1", command);
	pipe = popen(whole, "r");
	size = fread(output, 1, sizeof output - 1, pipe);
	output[size] = '\0';
	pclose(pipe);
	assert_string_equal(output, "status 0\n");
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(info("--help"), 0);
	expect_line("Examples:");
	expect_line("--snapshots");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_summary),   cmocka_unit_test(test_caches),
		cmocka_unit_test(test_events),    cmocka_unit_test(test_events_limited),
		cmocka_unit_test(test_snapshots), cmocka_unit_test(test_json),
		cmocka_unit_test(test_bad_usage), cmocka_unit_test(test_closed_pipe_and_full_disk),
		cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests_name("info", tests, write_trace, remove_trace);
}
